"""The file of a sweep, and the configurations that it describes: with the checks of ``train``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lenet_fast.cli import common, configs, settings, types

if TYPE_CHECKING:
    from lenet_fast.data import Splits
    from lenet_fast.sweeps.search import Configuration, Metric
    from lenet_fast.sweeps.space import Point, Space

MOST_RUNS = 1000
"""Most runs of a sweep, unless --max-runs says otherwise."""

_MOST_STEPS = 10_000
METHODS = ("grid", "random")
_METRICS = ("validation_error", "validation_loss")
_ELSEWHERE = {
    "seed": "seeds = N in [sweep] repeats each configuration with the seeds 0 to N-1",
    "limit": "images = N in [sweep] trains on N images",
    "dataset": "--dataset on the command line names the data",
    "data": "--data on the command line names the data",
}
"""Options of train that a sweep has in other places."""


class Plan(NamedTuple):
    """What a file asks for."""

    file: Path
    options: dict[str, Any]  # of all configurations
    spaces: list[Space]
    method: str
    runs: int | None  # configurations to draw
    seeds: int
    seed: int  # of the draws
    metric: Metric
    validation: int | None  # images
    images: int | None
    halving: int | None

    def points(self, most: int) -> list[Point]:
        """Return the points; UsageError if there are more than `most` runs."""
        from lenet_fast.sweeps import space

        there = space.size(self.spaces)
        count = there if self.runs is None else self.runs
        if count * self.seeds > most:
            raise click.UsageError(
                f"{self.file}: expected at most {most:,} runs, got {count * self.seeds:,}: "
                f"{count:,} configurations with {self.seeds:,} seeds each; --max-runs "
                f'{count * self.seeds} allows them, and method = "random" draws some'
            )
        if self.method == "grid":
            return space.grid(self.spaces)
        if there <= count * len(self.spaces):  # each point may be in all of them
            there = len(space.grid(self.spaces))
        points = [] if there < count else space.drawn(self.spaces, int(count), self.seed)
        if len(points) < count:
            there = int(min(there, len(points) or there))
            raise click.UsageError(
                f"{self.file}: sweep: runs: expected at most the {there} configurations that there "
                f"are, got {count}; ask for fewer, or make the lists and ranges in [space] longer"
            )
        return points


def read(file: Path, train: click.Context) -> Plan:
    """Return what a file asks for; UsageError names the file, the table, the key and what is
    allowed. `train` is the context of ``lenet-fast train`` without options."""
    import tomllib

    from lenet_fast.training import runs

    try:
        tables = tomllib.loads(runs.text(file))
    except FileNotFoundError:
        raise click.UsageError(f"FILE: expected a TOML file, but there is no {file}") from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file}: expected TOML ({error})") from None
    _known(f"{file}", tables, ("sweep", "options", "space"))
    for name in ("sweep", "options"):
        if not isinstance(tables.get(name, {}), dict):
            raise click.UsageError(f"{file}: {name}: expected a table, [{name}]")
    given = tables.get("space")
    spaces: list[Any] = given if isinstance(given, list) else [given]
    if not spaces or not all(isinstance(each, dict) and each for each in spaces):
        raise click.UsageError(
            f"{file}: space: expected a table [space] of options and their values, such as "
            "rate = [0.01, 0.1], or several, [[space]], got none"
        )
    options = tables.get("options", {})
    where = f"{file}: options"
    fixed = {
        name: _value(f"{where}: {name}", _option(where, name, train), value, train)
        for name, value in options.items()
    }
    for name in options:
        if any(name in each for each in spaces):
            raise click.UsageError(f"{file}: {name}: expected in [options] or in [space], got both")
    where = f"{file}: space"
    found = [
        {name: _values(where, name, value, train) for name, value in each.items()}
        for each in spaces
    ]
    return _plan(file, tables.get("sweep", {}), fixed, found)


def _plan(file: Path, given: dict[str, Any], options: dict[str, Any], spaces: list[Any]) -> Plan:
    """Check the table [sweep]."""
    where = f"{file}: sweep"
    names = ("method", "runs", "seeds", "seed", "metric", "validation", "images", "halving")
    _known(where, given, names)

    def whole(name: str, least: int, default: int | None = None) -> int | None:
        value = given.get(name, default)
        if value is not None and (type(value) is not int or value < least):
            raise click.UsageError(
                f"{where}: {name}: expected a whole number of at least {least}, got {value!r}"
            )
        return value

    def word(name: str, allowed: Sequence[str], more: str = "") -> str:
        value = given.get(name, allowed[0])
        if value not in allowed:
            raise click.UsageError(
                f"{where}: {name}: expected {' or '.join(allowed)}, got {value!r}{more}"
            )
        return str(value)

    tested = "test" in str(given.get("metric"))
    metric = word(
        "metric",
        _METRICS,
        "; the test set is for the network that is chosen, not for choosing it" if tested else "",
    )
    method, runs = word("method", METHODS), whole("runs", 1)
    if method == "random" and runs is None:
        raise click.UsageError(f"{where}: runs: expected the number of configurations to draw")
    if method == "grid":
        for name in ("runs", "seed"):
            if name in given:
                raise click.UsageError(f'{where}: {name}: expected with method = "random" only')
        for space in spaces:
            for name, values in space.items():
                if not isinstance(values, list) and values.steps is None:
                    raise click.UsageError(
                        f"{file}: space: {name}: expected the number of steps of the range for a "
                        'grid, such as steps = 5; or method = "random" in [sweep]'
                    )
    return Plan(
        file,
        options,
        spaces,
        method,
        runs,
        whole("seeds", 1, 1) or 1,
        whole("seed", 0, 0) or 0,
        metric,  # type: ignore[arg-type]
        whole("validation", 1),
        whole("images", 1),
        whole("halving", 2),
    )


def _known(where: str, table: Mapping[str, Any], names: Collection[str]) -> None:
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(
                f"{where}: expected {', '.join(names)}, got {common.printable(name)}{hint}"
            )


def _option(where: str, name: str, train: click.Context) -> click.Parameter:
    options = configs.allowed(train.command)
    if name in _ELSEWHERE:
        raise click.UsageError(f"{where}: {name}: expected no such option here: {_ELSEWHERE[name]}")
    if name not in options:
        raise configs.unknown(where, name, options)
    return options[name]


def _value(where: str, option: click.Parameter, value: Any, train: click.Context) -> Any:
    """Return a value of an option in the form in which a run records it."""
    try:
        found = configs.checked(option, value, train)
    except click.BadParameter as error:
        raise click.UsageError(f"{where} = {value!r}: {error.message}") from None
    return found


def _values(table: str, name: str, given: Any, train: click.Context) -> Any:
    """Return the values that an option may have: a list, or a range."""
    from lenet_fast.sweeps.space import Range

    option, where = _option(table, name, train), f"{table}: {name}"
    if not isinstance(given, dict):
        listed = given if isinstance(given, list) else [given]
        if not listed:
            raise click.UsageError(f"{where}: expected at least one value, got an empty list")
        values = [_value(where, option, value, train) for value in listed]
        for i, value in enumerate(values):
            if value in values[:i]:
                raise click.UsageError(f"{where}: expected different values, got {value!r} twice")
        return values
    whole = isinstance(option.type, types.Integer)
    if not (whole or isinstance(option.type, types.Number)):
        raise click.UsageError(
            f"{where}: expected a list of values, since they are no numbers, got a range"
        )
    _known(where, given, ("low", "high", "log", "steps"))
    for key in ("low", "high"):
        if key not in given:
            raise click.UsageError(f"{where}: expected a range with low and high, got no {key}")
    low, high = (_value(f"{where}: {key}", option, given[key], train) for key in ("low", "high"))
    log, steps = given.get("log", False), given.get("steps")
    if not isinstance(log, bool):
        raise click.UsageError(f"{where}: log: expected true or false, got {log!r}")
    if steps is not None and (type(steps) is not int or not 2 <= steps <= _MOST_STEPS):
        raise click.UsageError(
            f"{where}: steps: expected a whole number from 2 to {_MOST_STEPS}, got {steps!r}"
        )
    if not low < high < float("inf"):
        raise click.UsageError(
            f"{where}: expected a finite high above low, got low = {low:g}, high = {high:g}"
        )
    if log and low <= 0:
        raise click.UsageError(
            f"{where}: low: expected a number above 0 with log = true, got {low:g}"
        )
    return Range(low, high, log, steps, whole)


def configurations(
    plan: Plan,
    points: Sequence[Point],
    given: Mapping[str, Any],
    train: click.Context,
    splits: Splits,
) -> list[Configuration]:
    """Return the configurations of points, each checked as the command line of a run would be.

    `given` has the data set and the folder of the data.
    """
    from lenet_fast.initialisers import deferred
    from lenet_fast.sweeps.search import Configuration

    validation = _validation(plan, splits)
    found = []
    for number, point in enumerate(points, 1):
        options = train.params | dict(given)
        try:
            with deferred():  # the weights do not matter here
                description = _described(options, plan.options | point, splits)
        except click.UsageError as error:
            words = " ".join(f"{name}={value}" for name, value in point.items())
            raise click.UsageError(f"{plan.file}: {words}: {error.message}") from None
        description |= {"validation": validation, "images": plan.images}
        recorded = settings.recorded(options, splits) | {"epochs": options["epochs"]}
        for name in ("seed", "limit"):
            del recorded[name]
        found.append(
            Configuration(number, point, recorded, json.dumps(description, sort_keys=True))
        )
    if plan.halving is not None:
        epochs = {each.epochs for each in found}
        if len(epochs) > 1:
            raise click.UsageError(
                f"{plan.file}: sweep: halving: expected the same number of epochs in all "
                f"configurations, got {' and '.join(map(str, sorted(epochs)))}"
            )
        if max(epochs) < plan.halving:
            raise click.UsageError(
                f"{plan.file}: sweep: halving: expected at most the number of epochs, "
                f"{max(epochs)}, got {plan.halving}"
            )
    return found


def _described(options: dict[str, Any], values: dict[str, Any], splits: Splits) -> dict[str, Any]:
    """Fill in options, and return the settings of their runs: see :class:`.sweeps.runs.Job`."""
    values = dict(values)
    if values.get("distort") == "none":
        values["distort"] = None
    settings.fill_in(options, set(), values)
    network, loss = settings.network(options)
    schedule, optimiser = settings.schedule(options), settings.optimiser(options)
    distortion = settings.distortion(options)
    first = splits.train.subset(1)
    settings.digits(type(splits)(first, first, splits.source), options["model"], None)
    network, loss = settings.for_data(options, network, loss, splits)
    classes, channels = len(splits.train.classes), splits.train.channels
    return {
        "model": options["model"],
        "network": settings.network_arguments(options, classes, channels),
        "loss": loss.config(),
        "optimiser": optimiser.config(),
        "schedule": schedule.config(),
        "distortion": None if distortion is None else distortion.config(),
        **{
            name: options[name]
            for name in ("epochs", "batch_size", "shuffle", "average_from", "evaluate_train")
        },
    }


def _validation(plan: Plan, splits: Splits) -> int:
    """Return how many images the validation part has; refuse more than there are."""
    there = len(splits.train)
    validation = there // 6 if plan.validation is None else plan.validation
    if validation >= there:
        raise click.UsageError(
            f"{plan.file}: sweep: validation: expected fewer than the {there:,} training images, "
            f"got {validation:,}"
        )
    if plan.images is not None and plan.images > there - validation:
        raise click.UsageError(
            f"{plan.file}: sweep: images: expected at most the {there - validation:,} training "
            f"images that are not for validation, got {plan.images:,}"
        )
    return validation
