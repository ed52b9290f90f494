"""What a training on the page has come to: the curve, the epochs, and the files of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import __version__, disk, files, losses
from lenet_fast.data import Splits
from lenet_fast.training import History, Row, runs
from lenet_fast.web.lessons import Lesson
from lenet_fast.web.thinking import Mind

MAX_POINTS = 150

REACHED = 0.1
"""Runs are compared by the time that they take until they misread no more than this share."""

_FIRST_SECONDS = 0.1
"""The time between two points of the error curve at first; doubled whenever there are too many."""


class Point(NamedTuple):
    """A point of the error curve: images and seconds of training so far, share of errors."""

    images: int
    seconds: float
    error: float


@dataclass
class Run:
    """A training that the page has started, as far as it has come."""

    number: int
    lesson: Lesson
    data: str
    train_images: int
    test_images: int
    mind: Mind
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
        """Add a point to the curve; of too many, every other one is left out from now on."""
        if self.reached is None and point.error <= REACHED:
            self.reached = point.seconds  # of the points, this one may be left out
        self.points.append(point)
        if len(self.points) > MAX_POINTS:
            self.points = [*self.points[:-1:2], point]
            self.every *= 2

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        return {
            "number": self.number,
            "lesson": self.lesson.to_json(),
            "data": self.data,
            "state": self.state,
            "reason": self.reason,
            "epoch": self.epoch,
            "images": self.images,
            "total": self.train_images * self.lesson.epochs,
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
        """Write what other commands read of a run: the network, the errors, and what was done.

        The folder is removed if that fails: half a run is none.
        """
        try:
            self._write(folder, splits)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _write(self, folder: Path, splits: Splits) -> None:
        network = self.mind.network
        extra = {"images": self.images, "lesson": self.lesson.to_json()}
        files.save_model(folder / runs.MODEL, network, self.loss, extra)
        history = History(self.rows, self.train_images, self.test_images)
        disk.write_atomic(folder / runs.HISTORY, history.to_csv().encode())
        sets = {"train": splits.train, "test": splits.test}
        tables = {
            "run": {"images": self.images, "seconds": round(self.seconds, 3), "state": self.state},
            "lesson": self.lesson.to_json(),
            "code": {"lenet_fast": __version__},
            "data": {key: {"name": each.name, "images": len(each)} for key, each in sets.items()},
            "network": network.config(),
        }
        head = "# What was trained on the page, and how far.\n\n"
        disk.write_atomic(folder / runs.CONFIG, (head + runs.to_toml(tables)).encode())
