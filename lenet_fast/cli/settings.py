"""The options of ``lenet-fast train``: check them, fill in defaults, build the run's parts."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import defaults
from lenet_fast.cli import common

if TYPE_CHECKING:
    from lenet_fast.data import Distortion, Splits
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network
    from lenet_fast.training.optimisers import Optimiser
    from lenet_fast.training.schedules import Schedule

FREE = {
    *("epochs", "folder", "backend", "engine", "threads", "checkpoint_every", "resume", "out"),
}
"""Options that may change when a run resumes; the others define the run."""

_LONGEST_PATH = 4096  # characters; no system allows longer ones


class Number(click.FloatRange):
    """A finite number in a range; NaN would pass every comparison."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return the number in an option's text."""
        number = float(super().convert(value, param, context))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, context)
        return number


RATE = Number(min=0, min_open=True)


class Activation(click.ParamType):
    """An activation by its name, with its option behind a colon."""

    name = "activation"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows, where alone the list is needed."""
        from lenet_fast import layers

        return f"[{'|'.join(layers.ACTIVATIONS)}]"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        """Return the text in the form in which a run records it."""
        from lenet_fast import layers

        try:
            return layers.activation("activation", value).text
        except (TypeError, ValueError) as error:
            self.fail(str(error).removeprefix("activation: "), param, context)


class Rates(click.ParamType):
    """Learning rates, separated by commas."""

    name = "rates"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> list[float]:
        """Return the numbers in an option's text."""
        try:
            numbers = [float(rate) for rate in value.split(",")]
        except ValueError:
            self.fail(f"expected numbers separated by commas, got {value!r}", param, context)
        return [RATE.convert(rate, param, context) for rate in numbers]


def default_text(name: str) -> str:
    """Return the end of an option's help: its default by the recipes."""
    paper, *others = ((recipe, each[name]) for recipe, (_, each) in defaults.RECIPES.items())
    if others[0][1] == paper[1]:
        return f"[default: {paper[1]}]"
    names = " and ".join(recipe for recipe, _ in others)
    return f"[default: {paper[1]}; recipes {names} {others[0][1]}]"


def fill_in(options: dict[str, Any], given: set[str]) -> None:
    """Refuse options that contradict each other, and fill in those that depend on others."""
    _fill_in_recipe(options, given)
    _fill_in_schedule(options, given)
    if options["overwrite"] and options["out"] is None:
        raise click.UsageError("--overwrite: expected together with --out")
    if options["engine"] == "online" and options["batch_size"] != 1:
        raise click.UsageError(
            f"--engine online: expected with --batch-size 1, got {options['batch_size']}"
        )
    check_average(options["average_from"], options["epochs"])
    _fill_in_optimiser(options, given)
    if options["schedule"] == "rate_list" or options["rate"] is not None:
        return
    loss = options["loss"] or defaults.LOSSES[options["output"]]
    by_epoch = options["schedule"] in ("step_decay", "constant")
    of = defaults.rate if by_epoch else defaults.peak
    options["rate"] = of(loss, options["optimiser"], options["batch_size"])


def _fill_in_recipe(options: dict[str, Any], given: set[str]) -> None:
    """Put in what the recipe says, unless an option overrides it or what it is meant for."""
    recipe = dict(defaults.RECIPES[options["recipe"]][1])
    if "optimiser" in given and options["optimiser"] != recipe["optimiser"]:
        for name in ("momentum", "nesterov", "weight_decay"):
            del recipe[name]
    elif options["batch_size"] == 1 or options["momentum"] == 0:
        recipe["nesterov"] = False  # with batches of one, the online engine is faster without
    if given & {"optimiser", "output", "loss", "rates"}:
        del recipe["rate"]
    elif "batch_size" in given:
        recipe["rate"] = defaults.recipe_rate(recipe, options["batch_size"])
    for name, value in recipe.items():
        if name not in given:
            options[name] = value


def _fill_in_schedule(options: dict[str, Any], given: set[str]) -> None:
    """Refuse options that the schedule does not have, and put in what it takes by default."""
    steps = {"step", "decay_rate"}
    if "rates" in given:
        if given & {"rate", "schedule", "warmup", *steps}:
            raise click.UsageError(
                "--rates: expected without --rate, --schedule, --warmup, --step and --decay-rate"
            )
        options["schedule"] = "rate_list"
    elif given & steps and "schedule" not in given:
        options["schedule"] = "step_decay"
    chosen = options["schedule"]
    if given & steps and chosen != "step_decay":
        raise click.UsageError(
            f"--step, --decay-rate: expected with --schedule step_decay only, got {chosen}"
        )
    if chosen == "step_decay":
        options["step"] = options["step"] or defaults.STEP
        options["decay_rate"] = options["decay_rate"] or defaults.DECAY_RATE
    if chosen == "cosine" and "warmup" not in given:
        options["warmup"] = 0.0
    elif chosen not in ("one_cycle", "cosine"):
        if "warmup" in given:
            raise click.UsageError(
                f"--warmup: expected with --schedule one_cycle or cosine only, got {chosen}"
            )
        options["warmup"] = None


def _fill_in_optimiser(options: dict[str, Any], given: set[str]) -> None:
    """Refuse options that the optimiser does not have, and put in what it takes by default."""
    from lenet_fast.training import OPTIMISERS

    chosen = options["optimiser"]
    taken = {name: signature(OPTIMISERS[name]).parameters for name in defaults.OPTIMISERS}
    for name in ("momentum", "nesterov", "weight_decay"):
        if name not in taken[chosen]:
            if name in given:
                others = " or ".join(each for each in taken if name in taken[each])
                raise click.UsageError(
                    f"--{name.replace('_', '-')}: expected with --optimiser {others} only, "
                    f"got {chosen}"
                )
        elif options[name] is None:
            sgd = chosen == "sgd" and name == "momentum"
            options[name] = defaults.MOMENTUM if sgd else taken[chosen][name].default
    if options["nesterov"] and not options["momentum"]:
        raise click.UsageError("--nesterov: expected with a --momentum above 0, got 0")


def check_average(average_from: int | None, epochs: int) -> None:
    """Refuse an average that no epoch would contribute to."""
    if average_from is not None and average_from > epochs:
        raise click.UsageError(
            f"--average-from: expected at most the last epoch, {epochs} by --epochs, got "
            f"{average_from}, which leaves nothing to average"
        )


def network(options: dict[str, Any]) -> tuple[Network, Loss]:
    """Return the network that the options describe, and its loss."""
    from lenet_fast import losses, models

    pooling = None if options["pooling"] == "none" else options["pooling"]
    if options["initialiser"] is None:
        options["initialiser"] = models.default_initialiser(
            pooling, options["output"], options["activation"]
        )
    net = models.lenet5(
        pooling=pooling,
        connections=options["connections"],
        output=options["output"],
        activation=options["activation"],
        initialiser=options["initialiser"],
        seed=options["seed"],
    )
    fitting = losses.all_for(net)
    if options["loss"] is None:
        options["loss"] = losses.default_for(net).name
    elif options["loss"] not in fitting:
        raise click.UsageError(
            f"--loss: expected {' or '.join(fitting)} with --output {net.output}, got "
            f"{options['loss']}"
        )
    return net, fitting[options["loss"]]


def schedule(options: dict[str, Any]) -> Schedule:
    """Return the learning rates that the options describe."""
    from lenet_fast.training import schedules

    taken = {
        "rate_list": ("rates",),
        "step_decay": ("rate", "step", "decay_rate"),
        "one_cycle": ("rate", "warmup"),
        "cosine": ("rate", "warmup"),
    }
    names = taken.get(options["schedule"], ("rate",))
    return schedules.SCHEDULES[options["schedule"]](**{name: options[name] for name in names})


def optimiser(options: dict[str, Any]) -> Optimiser:
    """Return the optimiser that the options describe."""
    from lenet_fast.training import OPTIMISERS

    kind = OPTIMISERS[options["optimiser"]]
    taken = signature(kind).parameters
    names = ("momentum", "nesterov", "weight_decay")
    return kind(**{name: options[name] for name in names if name in taken})


def distortion(options: dict[str, Any]) -> Distortion | None:
    """Return the distortions that the options name, if any."""
    from lenet_fast.data import distort

    return distort.PRESETS.get(options["distort"])


def limited(splits: Splits, limit: int | None) -> Splits:
    """Return data with at most `limit` training images."""
    if limit is None:
        return splits
    if limit > len(splits.train):
        raise click.UsageError(
            f"--limit: expected at most the {len(splits.train):,} training images, got {limit}"
        )
    return dataclasses.replace(splits, train=splits.train.subset(limit))


def recorded(options: dict[str, Any], splits: Splits) -> dict[str, Any]:
    """Return the options that define the run, and the location of its data."""
    from lenet_fast.data.sources import SAMPLE_SOURCE

    kept = {name: value for name, value in options.items() if name not in FREE}
    del kept["overwrite"]
    # A resumed run uses the data set that "auto" found, even if MNIST is available by then.
    kept["dataset"] = "sample" if splits.source == SAMPLE_SOURCE else options["dataset"]
    if options["folder"] is not None:
        kept["data"] = os.fspath(common.full_path("--data", options["folder"]))
    return kept


def check_out(out: Path) -> None:
    """Refuse a folder that holds a run, and say what to do."""
    from lenet_fast.training import runs

    try:
        runs.check_free(out)
    except FileExistsError:
        taken = [name for name in runs.FILES if os.path.lexists(out / name)]
        what = f"{', '.join(taken)}, but no {runs.CHECKPOINT} to resume from; "
        if runs.CHECKPOINT in taken:
            what = f"a run; resume it with --resume {shlex.quote(os.fspath(out))}, "
        raise click.UsageError(
            f"--out: {out} holds {what}replace it with --overwrite, or choose another folder"
        ) from None


def of_run(recorded: dict[str, Any], folder: Path) -> tuple[str, Path | None, int | None]:
    """Return data set, folder and limit from a run's recorded options, which are untrusted."""
    from lenet_fast import checks
    from lenet_fast.errors import FileFormatError
    from lenet_fast.training import runs

    try:
        dataset = checks.choice("dataset", recorded.get("dataset", "auto"), common.DATASETS)
        data, limit = recorded.get("data"), recorded.get("limit")
        named = isinstance(data, str) and "\0" not in data and len(data) <= _LONGEST_PATH
        if data is not None and not named:
            raise TypeError(f"data: expected the name of a folder, got {checks.kind(data)}")
        if limit is not None:
            checks.integer("limit", limit, 1)
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{folder / runs.CHECKPOINT}: options: {error}") from None
    return dataset, None if data is None else Path(data), limit


def check_same(
    options: dict[str, Any], given: set[str], recorded: dict[str, Any], folder: Path
) -> None:
    """Refuse options that would change what defines the run."""
    out = options["out"]
    if "out" in given and not (out.exists() and os.path.samefile(out, folder)):
        raise click.UsageError(f"--out: a run resumes in its own folder, {folder}")
    if "overwrite" in given:
        raise click.UsageError("--overwrite: a run is either replaced or resumed")
    for name in sorted(given - FREE):
        if options[name] != recorded.get(name):
            option = f"--{name.replace('_', '-')}"
            had = "none" if recorded.get(name) is None else str(recorded[name])[:80]
            raise click.UsageError(
                f"{option}: the run in {folder} has {had}, got {options[name]}; omit the option"
            )
