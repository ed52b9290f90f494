"""The complete state of a run between two batches, from which it resumes with the same bits.

A checkpoint holds the weights, the optimiser's arrays, the position in the epoch, the history, and
everything else that the next batch depends on. It does not hold the order of the images and their
distortions, which follow from the seed and the epoch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from lenet_fast import backends, checks, configs, disk, engines, files, losses
from lenet_fast.checks import Array
from lenet_fast.data import distort
from lenet_fast.errors import FileFormatError
from lenet_fast.network import Network
from lenet_fast.training import optimisers, schedules
from lenet_fast.training.history import Row, checked_row


@dataclasses.dataclass
class Position:
    """Position of a run: `epoch` epochs are complete, and `batch` batches of the next one.

    ``loss_sum``, ``errors`` and ``seconds`` are totals over those batches.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    errors: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.batch:
            return f"after {self.batch} batches of epoch {self.epoch + 1}"
        return f"after epoch {self.epoch}" if self.epoch else "before the first epoch"


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Identifies a data set."""

    name: str
    images: int
    sha256: str


@dataclasses.dataclass
class Checkpoint:
    """The complete state of a run; ``code`` records engine, backend and versions."""

    network: Network
    loss: losses.Loss
    optimiser: optimisers.Optimiser
    schedule: schedules.Schedule
    batch_size: int
    seed: int
    distortion: distort.Distortion | None
    evaluate_train: bool
    epochs: int
    code: dict[str, Any]
    train: Fingerprint
    test: Fingerprint
    options: dict[str, Any]
    position: Position
    rows: list[Row]
    shuffle: bool = True
    average_from: int = 0  # 0: no average of the weights
    averaged: int = 0  # number of epochs in the average
    average: dict[str, Array] = dataclasses.field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint atomically; a symbolic link is replaced."""
        disk.write_beside(path, self.packed(path), path)

    def packed(self, path: str | os.PathLike[str]) -> bytes:
        """Return the bytes that :meth:`save` would write; errors name `path`."""
        tensors = {f"weights/{name}": w for name, w in self.network.parameters.items()}
        tensors |= {f"optimiser/{name}": array for name, array in self.optimiser.state().items()}
        tensors |= {f"average/{name}": array for name, array in self.average.items()}
        parts = {
            "network": self.network.config(),
            "loss": self.loss.config(),
            "optimiser": self.optimiser.config(),
            "schedule": self.schedule.config(),
            "distortion": None if self.distortion is None else self.distortion.config(),
        }
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in parts and field.name != "average"
        }
        plain |= {
            "train": dataclasses.asdict(self.train),
            "test": dataclasses.asdict(self.test),
            "position": dataclasses.asdict(self.position),
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        return files.packed(path, "checkpoint", tensors, parts | {"run": plain})


def load(
    path: str | os.PathLike[str],
    optimiser: optimisers.Optimiser | None = None,
    schedule: schedules.Schedule | None = None,
) -> Checkpoint:
    """Read a checkpoint, with an optimiser or a schedule of the user's own.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not a checkpoint, or was truncated or altered.
    ValueError
        If the optimiser or the schedule differs from the run's.
    """
    tensors, metadata = files.read_tensors(path, "checkpoint")
    weights, arrays = _below(tensors, "weights/"), _below(tensors, "optimiser/")
    network = files.build_network(path, metadata.get("network"), weights)
    optimiser = _part(path, "optimiser", metadata, optimiser, optimisers.from_config)
    try:
        optimiser.load_state(arrays, {name: weights[name] for name in network.trainable_names})
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from None

    loss = files.build(path, "loss", losses.from_config, metadata.get("loss"))
    schedule = _part(path, "schedule", metadata, schedule, schedules.from_config)
    distortion = files.build(
        path, "distortion", distort.from_config, metadata.get("distortion"), optional=True
    )
    average = _below(tensors, "average/")

    def assemble(run: dict[str, Any]) -> Checkpoint:
        values = checked_run(run)
        loss.check(network)
        _check_average(average, network, values)
        return Checkpoint(
            network=network,
            loss=loss,
            optimiser=optimiser,
            schedule=schedule,
            average=average,
            distortion=distortion,
            **values,
        )

    checkpoint: Checkpoint = files.build(path, "run", assemble, metadata.get("run"))
    return checkpoint


_OURS: dict[str, Collection[str]] = {
    "optimiser": optimisers.OPTIMISERS,
    "schedule": schedules.SCHEDULES,
}
"""Parts of a run that may be of the user's own, and the types that files can describe."""


def _part(
    path: str | os.PathLike[str],
    name: str,
    metadata: dict[str, Any],
    own: Any,
    from_config: Callable[[dict[str, Any]], Any],
) -> Any:
    """Return a part of a run that may be of the user's own: then it must be the same again."""
    config = metadata.get(name)
    if own is None:
        try:
            return files.build(path, name, from_config, config)
        except FileFormatError as error:
            kind = config.get("type") if isinstance(config, dict) else None
            if not isinstance(kind, str) or kind in _OURS[name]:
                raise
            hint = f"if it is your own, pass it to Trainer.resume({name}=...)"
            raise FileFormatError(f"{error}; {hint}") from error
    found = json.loads(json.dumps(own.config()))  # as a file holds it: with lists for tuples
    if found != config:
        raise ValueError(f"{name}: expected the run's, {config}, got {found}")
    return own


def checked_run(run: object) -> dict[str, Any]:
    """Return a checkpoint's JSON description of its run, with every part checked.

    TypeError or ValueError if one is missing, of the wrong type, out of range, or contradicts
    another.
    """
    found = configs.checked("run", run, _RUN_KEYS, _ADDED)
    for name, (least, most) in _INTEGERS.items():
        found[name] = checks.integer(name, found[name], least, most)
    for name in ("evaluate_train", "shuffle"):
        if not isinstance(found[name], bool):
            raise TypeError(f"{name}: expected a bool, got {checks.kind(found[name])}")
    found["code"] = _checked_code(found["code"], found["batch_size"])
    train, test = (_checked_fingerprint(name, found[name]) for name in ("train", "test"))
    found["train"], found["test"] = train, test
    found["rows"] = _checked_rows(found["rows"], train.images, test.images)
    found["position"] = _checked_position(found["position"], train.images, found["batch_size"])
    epoch, rows = found["position"].epoch, len(found["rows"])
    if not epoch == rows <= found["epochs"]:
        raise ValueError(
            f"position: expected the epoch of the last of {rows} rows, and at most "
            f"{found['epochs']}, got epoch {epoch}"
        )
    _check_options(found["options"])
    return found


_LARGEST = 2**31 - 1
_RUN_KEYS = (
    *("batch_size", "seed", "evaluate_train", "epochs", "code", "train", "test", "options"),
    *("position", "rows", "shuffle", "average_from", "averaged"),
)
_ADDED = {"shuffle": True, "average_from": 0, "averaged": 0}  # older files lack them
_INTEGERS = {
    "batch_size": (1, _LARGEST),
    "seed": (0, 2**63 - 1),
    "epochs": (1, _LARGEST),
    "average_from": (0, _LARGEST),
    "averaged": (0, _LARGEST),
}
_LONGEST = 1000  # characters of names and versions, which messages repeat
_DEEPEST = 20  # nesting of tables and lists in the options


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {checks.kind(value)}")
    if len(value) > _LONGEST:
        raise ValueError(f"{name}: expected at most {_LONGEST} characters, got {len(value)}")
    return value


def _checked_code(code: object, batch_size: int) -> dict[str, str]:
    if not isinstance(code, dict):
        raise TypeError(f"code: expected a dict, got {checks.kind(code)}")
    for name, value in code.items():
        _text(f"code.{name}", value)
    engine = checks.choice("code.engine", code.get("engine"), engines.NAMES[1:])
    checks.choice("code.backend", code.get("backend"), backends.NAMES)
    if engine == "online" and batch_size != 1:
        raise ValueError(f"batch_size: expected 1 with the engine online, got {batch_size}")
    return code


def _checked_fingerprint(name: str, given: object) -> Fingerprint:
    values = configs.checked(name, given, _names(Fingerprint))
    if not re.fullmatch("[0-9a-f]{64}", _text(f"{name}.sha256", values["sha256"])):
        raise ValueError(f"{name}.sha256: expected 64 hexadecimal digits")
    return Fingerprint(
        name=_text(f"{name}.name", values["name"]),
        images=checks.integer(f"{name}.images", values["images"], 1),
        sha256=values["sha256"],
    )


def _checked_rows(given: object, train_images: int, test_images: int) -> list[Row]:
    if not isinstance(given, list):
        raise TypeError(f"rows: expected a list, got {checks.kind(given)}")
    rows = []
    for epoch, values in enumerate(given, 1):
        row = checked_row(values, epoch, train_images, test_images)
        if not math.isfinite(row.train_loss + row.test_loss):
            raise ValueError(f"row {epoch}: expected finite losses, got NaN or infinity")
        rows.append(row)
    return rows


def _checked_position(given: object, images: int, batch_size: int) -> Position:
    values = configs.checked("position", given, _names(Position))
    batch = checks.integer("position.batch", values["batch"], 0, math.ceil(images / batch_size))
    seen = min(batch * batch_size, images)
    position = Position(
        epoch=checks.integer("position.epoch", values["epoch"], 0),
        batch=batch,
        loss_sum=checks.real("position.loss_sum", values["loss_sum"]),
        errors=checks.integer("position.errors", values["errors"], 0, seen),
        seconds=checks.real("position.seconds", values["seconds"]),
    )
    if position.seconds < 0:
        raise ValueError(f"position.seconds: expected at least 0, got {position.seconds}")
    if batch == 0 and (position.loss_sum or position.seconds):
        raise ValueError("position: expected no loss and no seconds without batches")
    return position


def _check_average(average: dict[str, Any], network: Network, run: dict[str, Any]) -> None:
    """Raise unless the average exists if the run has one, over a possible number of epochs."""
    first, epoch = run["average_from"], run["position"].epoch
    if not first:
        if average or run["averaged"]:
            raise ValueError("average: expected none in a run that does not average its weights")
        return
    complete = max(0, epoch - first + 1)
    checks.integer("averaged", run["averaged"], complete, max(0, epoch - first + 2))
    for name in network.trainable_names:
        if name in average and average[name].dtype != np.float64:
            raise TypeError(f"average: expected float64, got {average[name].dtype} of {name}")


def _check_options(options: object) -> None:
    if not isinstance(options, dict):
        raise TypeError(f"options: expected a dict, got {checks.kind(options)}")
    inner: list[Any] = [options]
    for _ in range(_DEEPEST):
        inner = [
            item
            for each in inner
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
        if any(isinstance(each, list) and None in each for each in inner):
            raise ValueError("options: expected no null in a list, which TOML cannot hold")
    if inner:
        raise ValueError(f"options: expected at most {_DEEPEST} levels")


def _below(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
