"""The options of ``lenet-fast train``: check them, fill in defaults, build the run's parts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures, defaults
from lenet_fast.cli import common, types

if TYPE_CHECKING:
    from lenet_fast.data import Distortion, Splits
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network
    from lenet_fast.training.optimisers import Optimiser
    from lenet_fast.training.schedules import Schedule

FREE = {
    *("epochs", "folder", "backend", "engine", "threads", "checkpoint_every", "resume", "out"),
    *("as_json", "distributed", "distributed_mixed"),
}
"""Options that may change when a run resumes; the others define the run."""

NOT_RECORDED = {*FREE, "overwrite", "config"}
"""Options that the run's ``config.toml`` lacks; it has the folder of the data as ``data``, however,
and the number of epochs in another table."""

MODEL_OPTIONS = (
    *("pooling", "connections", "output", "activation", "output_activation", "extra_dense"),
    "initialiser",
)
LOSS_OPTIONS = ("smoothing", "j", "curvature", "on", "off", "scale")
OPTIMISER_OPTIONS = (
    *("momentum", "nesterov", "weight_decay", "beta1", "beta2", "epsilon", "alpha", "centered"),
    *("rho", "mu", "patterns", "gamma"),
)
SPELLED = {"on": "--target-on", "off": "--target-off", "scale": "--loss-scale", "folder": "--data"}
"""Options whose names in Python are not those of the command line."""

_SCHEDULE_OPTIONS = {"warmup", "last_rate", "step", "decay_rate"}  # besides rates
_ADDED = {"model": "lenet5", "shuffle": True, "dtype": "float32"}  # runs from before lack them
_LONGEST_PATH = 4096  # characters; no system allows longer ones


def spelled(name: str) -> str:
    """Return an option as it is written on the command line."""
    return SPELLED.get(name, f"--{name.replace('_', '-')}")


def default_text(name: str, *more: str) -> str:
    """Return the end of an option's help: its default by the recipes."""
    paper, *others = ((recipe, each[name]) for recipe, (_, each) in defaults.RECIPES.items())
    found = [paper[1]]
    if others[0][1] != paper[1]:
        found.append(f"recipes {' and '.join(recipe for recipe, _ in others)} {others[0][1]}")
    return f"[default: {'; '.join([*found, *more])}]"


def fill_in(
    options: dict[str, Any], given: set[str], config: Mapping[str, Any] | None = None
) -> None:
    """Refuse options that contradict each other, and fill in those that depend on others.

    `given` names those on the command line; `config` has those of an earlier run, which they
    override.
    """
    named = _fill_in_base(options, given, dict(config or {}))
    _fill_in_model(options, named)
    _fill_in_schedule(options, named)
    if options["overwrite"] and options["out"] is None:
        raise click.UsageError("--overwrite: expected together with --out")
    if options["engine"] == "online" and options["batch_size"] != 1:
        raise click.UsageError(
            f"--engine online: expected with --batch-size 1, got {options['batch_size']}"
        )
    check_average(options["average_from"], options["epochs"])
    _fill_in_optimiser(options, named)
    schedule, last = options["schedule"], options["last_rate"]
    if options["rate"] is None and schedule != "rate_list":
        if options["optimiser"] == "sdlm":
            raise click.UsageError(
                f"--optimiser sdlm: expected together with --rate for the schedule {schedule}"
            )
        options["rate"] = _usual_rate(options)
    if last is not None and last > options["rate"]:
        raise click.UsageError(
            f"--last-rate: expected at most --rate, {options['rate']:g}, got {last:g}"
        )


def _usual_rate(options: Mapping[str, Any]) -> float:
    """Return the rate for a loss, an optimiser and a schedule."""
    loss = options.get("loss") or defaults.LOSSES[options["output"]]
    schedule = options.get("schedule") or "one_cycle"
    return defaults.scheduled_rate(schedule, loss, options["optimiser"], options["batch_size"])


def _fill_in_base(options: dict[str, Any], given: set[str], config: dict[str, Any]) -> set[str]:
    """Put in what the recipe, the network or the earlier run say, unless an option overrides it.

    Returns the names of the options that somebody chose.
    """
    chosen = {name: options[name] for name in given}
    model = chosen.get("model") or config.get("model", "lenet5")
    if config.get("model", "lenet5") != model:
        only = {*MODEL_OPTIONS, *LOSS_OPTIONS, "model", "recipe", "loss", "rate"}
        config = {name: value for name, value in config.items() if name not in only}
    recipe = chosen.get("recipe") or config.get("recipe")
    if recipe is not None and model != "lenet5":
        raise click.UsageError(f"--recipe: expected with --model lenet5 only, got {model}")
    if "recipe" in chosen and config:
        raise click.UsageError("--recipe: expected without --config, which has all options")
    if model == "lenet5":
        recipe = recipe or "paper"
        base = dict(defaults.RECIPES[recipe][1])
    else:
        base = dict(defaults.MODELS[model])
    usual = dict(base)
    if "rate" in config and config["rate"] == _default_rate(usual, config):
        config = {name: value for name, value in config.items() if name != "rate"}
    base = _changed(_changed(base, config), chosen)
    if "rate" in base and "rate" not in given | set(config):
        base["rate"] = defaults.recipe_rate(usual, base["batch_size"])
    base |= {"model": model, "recipe": recipe}
    options.update({name: value for name, value in base.items() if name not in given})
    options["dtype"] = options["dtype"] or "float32"
    return given | {name for name in config if name in base}


def _default_rate(base: dict[str, Any], config: dict[str, Any]) -> float | None:
    """Return the rate that an earlier run had if nobody chose one; None where somebody must."""
    others = {name: value for name, value in config.items() if name != "rate"}
    options = _changed(base, others)
    if "rate" in options:
        return defaults.recipe_rate(base, options["batch_size"])
    return _usual_rate(options) if options["optimiser"] in defaults.OPTIMISERS else None


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return options with changes, and without those that are meant for what they changed."""
    kept = dict(base)
    known = {"loss": defaults.LOSSES[base["output"]], **base}
    names = {name for name, value in changes.items() if known.get(name) != value}
    dropped: set[str] = set()
    if "optimiser" in names:
        dropped |= {*OPTIMISER_OPTIONS}
        if changes["optimiser"] == "sdlm":
            dropped |= _SCHEDULE_OPTIONS
            kept |= {"batch_size": 1, "epochs": defaults.EPOCHS, "schedule": "rate_list"}
            kept["rates"] = None  # the paper's
        elif kept.get("rates"):
            dropped |= {"schedule", "rates"}
    elif changes.get("batch_size") == 1 or changes.get("momentum") == 0:
        kept["nesterov"] = False  # with batches of one, the online engine is faster without
    if names & {"rates", "schedule", "rate", *_SCHEDULE_OPTIONS}:
        dropped |= {"rates"}
        if "rates" in names or kept.get("schedule") == "rate_list":
            dropped |= {"schedule", "rate", *_SCHEDULE_OPTIONS}
    schedule = changes.get("schedule") or _implied_schedule(names)
    if schedule not in (None, kept.get("schedule")):
        dropped |= {"schedule", *_SCHEDULE_OPTIONS}
        if schedule in defaults.BY_EPOCH and kept.get("schedule") not in defaults.BY_EPOCH:
            dropped |= {"rate"}  # the highest of a run that ends at 0
    if kept["optimiser"] == "sdlm" and changes.get("batch_size", 1) > 1:
        dropped |= {"rates"}
    if names & {"optimiser", "output", "loss", "rates"}:
        dropped |= {"rate"}
    if names & {"output", "loss"}:
        dropped |= {*LOSS_OPTIONS, "loss"}
    if names & {"output", "pooling", "activation"}:
        dropped |= {"initialiser"}
    return {name: value for name, value in kept.items() if name not in dropped} | changes


def _fill_in_model(options: dict[str, Any], named: set[str]) -> None:
    """Refuse options that the network does not have, and put in its initialiser."""
    from lenet_fast import models

    model = options["model"]
    taken = {name: signature(getattr(models, name)).parameters for name in _models()}
    for name in MODEL_OPTIONS:
        if name in taken[model]:
            continue
        if name in named:
            others = " or ".join(each for each in taken if name in taken[each])
            raise click.UsageError(
                f"{spelled(name)}: expected with --model {others} only, got {model}"
            )
        options[name] = "linear" if name == "output" else None
    if options["initialiser"] is None:
        if model == "lenet5":
            pooling = None if options["pooling"] == "none" else options["pooling"]
            options["initialiser"] = models.default_initialiser(
                pooling, options["output"], options["activation"]
            )
        else:
            usual = defaults.MODELS[model]["initialiser"]
            chosen = options["activation"] or "scaled_tanh"  # not every model takes another
            options["initialiser"] = models.unless_sigmoid(chosen, usual)


def _models() -> tuple[str, ...]:
    return ("lenet5", *defaults.MODELS)


def _implied_schedule(named: set[str]) -> str | None:
    """Return the only schedule that has an option among these, if one does."""
    if named & {"step", "decay_rate"}:
        return "step_decay"
    return "cosine" if "last_rate" in named else None


def _fill_in_schedule(options: dict[str, Any], named: set[str]) -> None:
    """Refuse options that the schedule does not have, and put in what it takes by default."""
    steps = {"step", "decay_rate"}
    if "rates" in named:
        if named & {"rate", "schedule", "warmup", "last_rate", *steps}:
            raise click.UsageError(
                "--rates: expected without --rate, --schedule, --warmup, --last-rate, --step and "
                "--decay-rate"
            )
        options["schedule"] = "rate_list"
    elif "schedule" not in named:
        options["schedule"] = _implied_schedule(named) or options["schedule"]
    sdlm = options["optimiser"] == "sdlm" and not named & {"rate", "rates", "warmup"}
    default = "rate_list" if sdlm else "one_cycle"
    chosen = options["schedule"] = options["schedule"] or default
    if named & steps and chosen != "step_decay":
        raise click.UsageError(
            f"--step, --decay-rate: expected with --schedule step_decay only, got {chosen}"
        )
    if "last_rate" in named and chosen != "cosine":
        raise click.UsageError(f"--last-rate: expected with --schedule cosine only, got {chosen}")
    if chosen == "rate_list" and options["rates"] is None:  # of sdlm, by default
        from lenet_fast.training.schedules import LENET5_1998_RATES

        if options["batch_size"] > 1:
            raise click.UsageError(
                "--optimiser sdlm: expected together with --rate or --rates for batches of "
                f"{options['batch_size']}; the paper's rates are for --batch-size 1"
            )
        options["rates"] = list(LENET5_1998_RATES)
    if chosen == "step_decay":
        options["step"] = options["step"] or defaults.STEP
        options["decay_rate"] = options["decay_rate"] or defaults.DECAY_RATE
    if chosen == "cosine" and "warmup" not in named:
        options["warmup"] = 0.0
    elif chosen == "one_cycle":
        if options["warmup"] is None:
            options["warmup"] = defaults.RECIPES[options["recipe"] or "paper"][1]["warmup"]
    elif chosen != "cosine":
        if "warmup" in named:
            raise click.UsageError(
                f"--warmup: expected with --schedule one_cycle or cosine only, got {chosen}"
            )
        options["warmup"] = None


def _fill_in_optimiser(options: dict[str, Any], named: set[str]) -> None:
    """Refuse options that the optimiser does not have, and put in what it takes by default."""
    from lenet_fast.training import OPTIMISERS

    chosen = options["optimiser"]
    taken = {name: signature(kind).parameters for name, kind in OPTIMISERS.items()}
    for name in OPTIMISER_OPTIONS:
        if name not in taken[chosen]:
            if name in named:
                others = " or ".join(each for each in taken if name in taken[each])
                raise click.UsageError(
                    f"{spelled(name)}: expected with --optimiser {others} only, got {chosen}"
                )
            options[name] = None
        elif options[name] is None:
            loss = options["loss"] or defaults.LOSSES[options["output"]]
            ours = {("sgd", "momentum"): defaults.MOMENTUM, ("sdlm", "mu"): defaults.MU[loss]}
            options[name] = ours.get((chosen, name), taken[chosen][name].default)
    if options["nesterov"] and not options["momentum"]:
        raise click.UsageError("--nesterov: expected with a --momentum above 0, got 0")


def check_average(average_from: int | None, epochs: int) -> None:
    """Refuse an average that no epoch would contribute to."""
    if average_from is not None and average_from > epochs:
        raise click.UsageError(
            f"--average-from: expected at most the last epoch, {epochs} by --epochs, got "
            f"{average_from}, which leaves nothing to average"
        )


@contextlib.contextmanager
def _as_options(names: tuple[str, ...]) -> Iterator[None]:
    """Turn the library's error about one of these arguments into one about the option."""
    try:
        yield
    except (TypeError, ValueError) as error:
        name, _, rest = str(error).partition(": ")
        if name not in names:
            raise
        raise click.UsageError(f"{spelled(name)}: {rest}") from None


def network(options: dict[str, Any], classes: int = 10, channels: int = 1) -> tuple[Network, Loss]:
    """Return the network that the options describe, and its loss.

    Classes and channels are those of the data; before they are loaded, ten classes and grey images
    let the other options be checked.
    """
    from lenet_fast import losses, models

    arguments = network_arguments(options, classes, channels)
    with _as_options(MODEL_OPTIONS):
        net: Network = getattr(models, options["model"])(**arguments, seed=options["seed"])
    net.reduced = options["model"] == "lenet1"
    fitting = losses.all_for(net)
    if options["loss"] is None:
        options["loss"] = losses.default_for(net).name
    elif options["loss"] not in fitting:
        raise click.UsageError(
            f"--loss: expected {' or '.join(fitting)} with --output {net.output}, got "
            f"{options['loss']}"
        )
    return net, _loss(options, fitting[options["loss"]])


def network_arguments(
    options: dict[str, Any], classes: int = 10, channels: int = 1
) -> dict[str, Any]:
    """Return the arguments of the model's function, without the seed, as JSON can hold them."""
    from lenet_fast import models

    taken = signature(getattr(models, options["model"])).parameters
    found: dict[str, Any] = {
        name: None if (name, options[name]) == ("pooling", "none") else options[name]
        for name in MODEL_OPTIONS
        if name in taken
    }
    found |= {"classes": classes, "dtype": options["dtype"]}
    return found | {"channels": channels} if channels > 1 else found


def for_data(
    options: dict[str, Any], net: Network, loss: Loss, splits: Splits
) -> tuple[Network, Loss]:
    """Return a network and its loss for the classes and channels of the data."""
    classes, channels = len(splits.train.classes), splits.train.channels
    if classes == len(net.classes) and channels == 1:
        return net, loss
    if classes != 10 and net.output == "rbf":
        raise click.UsageError(
            f"--output: expected softmax or linear for the {classes} classes of "
            f"{splits.title}, got rbf, whose bitmaps are those of the ten digits; pass "
            "--output softmax"
        )
    return network(options, classes, channels)


def _loss(options: dict[str, Any], default: Loss) -> Loss:
    """Return a loss like the default one, with the options that are given."""
    for name in LOSS_OPTIONS:
        if name in default.options:
            if options[name] is None:
                options[name] = getattr(default, name)
        elif options[name] is not None:
            fitting = {"smoothing": "cross_entropy", "j": "map", "curvature": "map"}
            raise click.UsageError(
                f"{spelled(name)}: expected with --loss "
                f"{fitting.get(name, 'mean_squared_error')} only, got {default.name}"
            )
    with _as_options(LOSS_OPTIONS):
        return type(default)(**{name: options[name] for name in default.options})


def schedule(options: dict[str, Any]) -> Schedule:
    """Return the learning rates that the options describe."""
    from lenet_fast.training import schedules

    taken = {
        "rate_list": {"rates": "rates"},
        "step_decay": {name: name for name in ("rate", "step", "decay_rate")},
        "one_cycle": {"rate": "rate", "warmup": "warmup"},
        "cosine": {"rate": "rate", "warmup": "warmup", "last": "last_rate"},
    }
    names = taken.get(options["schedule"], {"rate": "rate"})
    made = {name: options[option] for name, option in names.items()}
    with _as_options(("rate", "rates", "warmup", "step", "decay_rate")):
        return schedules.SCHEDULES[options["schedule"]](**made)


def optimiser(options: dict[str, Any]) -> Optimiser:
    """Return the optimiser that the options describe."""
    from lenet_fast.training import OPTIMISERS

    kind = OPTIMISERS[options["optimiser"]]
    taken = signature(kind).parameters
    with _as_options(OPTIMISER_OPTIONS):
        return kind(**{name: options[name] for name in OPTIMISER_OPTIONS if name in taken})


def distortion(options: dict[str, Any]) -> Distortion | None:
    """Return the distortions that the options name, if any."""
    if options["distort"] in (None, "none"):
        return None
    found: Distortion = types.distortion(options["distort"])
    return found


def digits(splits: Splits, model: str, limit: int | None) -> Splits:
    """Return data with at most `limit` training images, of the size that the network expects.

    Like ``lenet-fast reproduce``, give the older networks digits of 16x16 pixels. The zip codes
    have this size already.
    """
    from lenet_fast import data

    if limit is not None:
        if limit > len(splits.train):
            raise click.UsageError(
                f"--limit: expected at most the {len(splits.train):,} training images, got {limit}"
            )
        splits = dataclasses.replace(splits, train=splits.train.subset(limit))
    if splits.train.channels > 1 and model != "lenet5":
        raise click.UsageError(
            f"--model: expected lenet5 for the {splits.train.channels} channels of "
            f"{splits.title}, got {model}, which reads grey images"
        )
    reduced = {"lenet1": data.as_1990, "lenet1989": data.as_1989}.get(model)
    size = splits.train.images.shape[-2:]
    if reduced is None:
        common.check_size(splits, common.LARGEST, f"--model {model}")
    elif size not in ((16, 16), (28, 28)):
        raise click.UsageError(
            f"--data: expected images of 28x28 or 16x16 for --model {model}, got "
            f"{size[0]}x{size[1]}"
        )
    if reduced is None or size == (16, 16):
        return splits
    return dataclasses.replace(splits, train=reduced(splits.train), test=reduced(splits.test))


def recorded(options: dict[str, Any], splits: Splits) -> dict[str, Any]:
    """Return the options that define the run, and the location of its data."""
    from lenet_fast.data.sources import SAMPLE_SOURCE

    kept = {name: value for name, value in options.items() if name not in NOT_RECORDED}
    kept["distort"] = options["distort"] or "none"
    if options["model"] in ("lenet1", "lenet1989"):
        kept["output"] = None  # there is no choice
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
            what = f"a run; resume it with {cures.shell(['--resume', os.fspath(out)])}, "
        raise click.UsageError(
            f"--out: {out} holds {what}replace it with --overwrite, or choose another folder"
        ) from None


def of_run(recorded: dict[str, Any], folder: Path) -> tuple[str, Path | None, str, int | None]:
    """Return data set, folder, model and limit from a run's options, which are untrusted."""
    from lenet_fast import checks
    from lenet_fast.errors import FileFormatError
    from lenet_fast.training import runs

    try:
        dataset = checks.choice("dataset", recorded.get("dataset", "auto"), common.DATASETS)
        model = checks.choice("model", recorded.get("model", "lenet5"), _models())
        data, limit = recorded.get("data"), recorded.get("limit")
        named = isinstance(data, str) and "\0" not in data and len(data) <= _LONGEST_PATH
        if data is not None and not named:
            raise TypeError(f"data: expected the name of a folder, got {checks.kind(data)}")
        if limit is not None:
            checks.integer("limit", limit, 1)
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{folder / runs.CHECKPOINT}: options: {error}") from None
    return dataset, None if data is None else Path(data), model, limit


def check_same(
    options: dict[str, Any], given: set[str], recorded: dict[str, Any], folder: Path
) -> None:
    """Refuse options that would change what defines the run."""
    out = options["out"]
    if "out" in given and not (out.exists() and os.path.samefile(out, folder)):
        raise click.UsageError(f"--out: a run resumes in its own folder, {folder}")
    if "overwrite" in given:
        raise click.UsageError("--overwrite: a run is either replaced or resumed")
    if "config" in given:
        raise click.UsageError("--config: a run resumes with its own options")
    for name in sorted(given - FREE):
        had = recorded.get(name, _ADDED.get(name))
        now = options[name]
        if name == "distort":
            had, now = had or "none", now or "none"
        if now != had:
            had = "none" if had is None else str(had)[:80]
            raise click.UsageError(
                f"{spelled(name)}: the run in {folder} has {had}, got {now}; omit the option"
            )
