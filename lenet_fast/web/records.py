"""The record of a training on the page: its curves, epochs, last update and files."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import __version__, disk, files, losses
from lenet_fast.training import History, Row, runs
from lenet_fast.web.snapshots import NetworkSnapshot
from lenet_fast.web.training_requests import TrainingRequest

MAX_POINTS = 150

REACHED = 0.1
"""Runs are compared by the time until they misclassify at most this share."""

_FIRST_SECONDS = 0.1
"""Initial time between two points of the error curve; doubled whenever there are too many."""


class Point(NamedTuple):
    """A point of the curves.

    Training loss and error are those of the images since the last point, as the network met them;
    None at the first one.
    """

    images: int  # of training so far
    seconds: float
    error: float  # share of the probed test images
    loss: float | None = None  # their mean loss
    train_error: float | None = None
    train_loss: float | None = None
    gradients: tuple[float, ...] = ()  # root mean square by layer, as in Run.layers

    def to_json(self) -> list[Any]:
        """Return the values in this order, rounded; None for what is not finite."""
        return [
            self.images,
            round(self.seconds, 3),
            round(self.error, 5),
            _number(self.loss),
            _number(self.train_error),
            _number(self.train_loss),
            [_number(each) for each in self.gradients],
        ]


@dataclass(frozen=True)
class Update:
    """One step of a training that is paused: what it met, and what it changed."""

    epoch: int
    images: int  # of this step
    loss: float | None  # their mean, before the step
    errors: int
    image: list[list[int]] | None  # of a step of one image, as the network saw it: grey values
    label: int | None
    read: int | None  # the digit that the network read before the step
    layers: list[dict[str, Any]]  # name, and root mean squares of weights and change
    maps: dict[str, Any]  # the first layer's weights by map, before the step and their change


@dataclass(eq=False)
class Run:
    """A training that the page has started, and its current state."""

    number: int
    name: str
    request: TrainingRequest
    data: str
    train_name: str
    test_name: str
    train_images: int
    test_images: int
    snapshot: NetworkSnapshot
    loss: losses.Loss
    layers: list[str]
    rate: float  # the highest of the schedule, which a visitor may change
    batch_size: int
    state: str = "waiting"  # "running", "paused"; then "done", "stopped" or "failed"
    reason: str = ""
    diverged: bool = False
    rate_now: float = 0.0
    new_rate: float | None = None  # from the next batches on
    changes: list[tuple[int, float]] = field(default_factory=list)  # images before, new rate
    update: Update | None = None  # the last step, if it was a single one
    epoch: int = 0
    images: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    every: float = _FIRST_SECONDS
    points: list[Point] = field(default_factory=list)
    reached: float | None = None  # seconds until the error was REACHED or less
    rows: list[Row] = field(default_factory=list)
    folder: str = ""
    stopping: bool = False

    def add(self, point: Point) -> None:
        """Add a point to the curve; if there are too many, drop every other one."""
        if self.reached is None and point.error <= REACHED:
            self.reached = point.seconds  # recorded, because the point may be dropped later
        self.points.append(point)
        if len(self.points) > MAX_POINTS:
            self.points = [*self.points[:-1:2], point]
            self.every *= 2

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows of the run."""
        return {
            "number": self.number,
            "name": self.name,
            "lesson": self.request.to_json(),
            "data": self.data,
            "state": self.state,
            "reason": self.reason,
            "diverged": self.diverged,
            "rate": self.new_rate or self.rate,
            "rate_now": self.rate_now,
            "changes": self.changes,
            "batch_size": self.batch_size,
            "layers": self.layers,
            "chance": 1 - 1 / len(self.snapshot.network.classes),  # the errors of guesses
            "update": None if self.update is None else asdict(self.update),
            "epoch": self.epoch,
            "images": self.images,
            "total": self.train_images * self.request.epochs,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second),
            "reached": None if self.reached is None else round(self.reached, 3),
            "points": [point.to_json() for point in self.points],
            "epochs": [
                {
                    "images": row.epoch * self.train_images,
                    "train": row.train_errors / self.train_images,
                    "test": row.test_errors / self.test_images,
                    "train_loss": _number(row.train_loss),
                    "test_loss": _number(row.test_loss),
                    "rate": row.rate,
                }
                for row in self.rows
            ],
            "folder": self.folder,
        }

    def save(self, folder: Path) -> None:
        """Write the files that other commands read: the network, the errors and the settings.

        On failure the folder is removed, so that no incomplete run remains.
        """
        network = self.snapshot.network
        extra = {"images": self.images, "lesson": self.request.to_json()}
        history = History(self.rows, self.train_images, self.test_images)
        tables = {
            "run": {
                "name": self.name,
                "images": self.images,
                "seconds": round(self.seconds, 3),
                "state": self.state,
                "rate_changes": [{"images": images, "rate": rate} for images, rate in self.changes],
            },
            "lesson": self.request.to_json(),
            "code": {"lenet_fast": __version__},
            "data": {
                "train": {"name": self.train_name, "images": self.train_images},
                "test": {"name": self.test_name, "images": self.test_images},
            },
            "network": network.config(),
        }
        head = "# What was trained on the page, and how far.\n\n"
        try:
            files.save_model(folder / runs.MODEL, network, self.loss, extra)
            disk.write_atomic(folder / runs.HISTORY, history.to_csv().encode())
            disk.write_atomic(folder / runs.CONFIG, (head + runs.to_toml(tables)).encode())
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _number(value: float | None) -> float | None:
    """Return a number that JSON has, with six digits."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
