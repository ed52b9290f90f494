"""The record of a training on the page: its error curve, epochs and files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import __version__, disk, files, losses
from lenet_fast.data import Splits
from lenet_fast.training import History, Row, runs
from lenet_fast.web.snapshots import NetworkSnapshot
from lenet_fast.web.training_requests import TrainingRequest

MAX_POINTS = 150

REACHED = 0.1
"""Runs are compared by the time until they misclassify at most this share."""

_FIRST_SECONDS = 0.1
"""Initial time between two points of the error curve; doubled whenever there are too many."""


class Point(NamedTuple):
    """A point of the error curve: images and seconds of training so far, share of errors."""

    images: int
    seconds: float
    error: float


@dataclass
class Run:
    """A training that the page has started, and its current state."""

    number: int
    request: TrainingRequest
    data: str
    train_images: int
    test_images: int
    snapshot: NetworkSnapshot
    loss: losses.Loss
    state: str = "running"  # then "done", "stopped" or "failed"
    reason: str = ""
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
            "lesson": self.request.to_json(),
            "data": self.data,
            "state": self.state,
            "reason": self.reason,
            "epoch": self.epoch,
            "images": self.images,
            "total": self.train_images * self.request.epochs,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second),
            "reached": None if self.reached is None else round(self.reached, 3),
            "points": [(n, round(t, 3), round(e, 5)) for n, t, e in self.points],
            "epochs": [
                {
                    "images": row.epoch * self.train_images,
                    "train": row.train_errors / self.train_images,
                    "test": row.test_errors / self.test_images,
                }
                for row in self.rows
            ],
            "folder": self.folder,
        }

    def save(self, folder: Path, splits: Splits) -> None:
        """Write the files that other commands read: the network, the errors and the settings.

        On failure the folder is removed, so that no incomplete run remains.
        """
        network = self.snapshot.network
        extra = {"images": self.images, "lesson": self.request.to_json()}
        history = History(self.rows, self.train_images, self.test_images)
        sets = {"train": splits.train, "test": splits.test}
        tables = {
            "run": {"images": self.images, "seconds": round(self.seconds, 3), "state": self.state},
            "lesson": self.request.to_json(),
            "code": {"lenet_fast": __version__},
            "data": {key: {"name": each.name, "images": len(each)} for key, each in sets.items()},
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
