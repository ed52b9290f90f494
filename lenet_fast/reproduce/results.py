"""The result of a run, as a file that later reports read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from lenet_fast import checks, disk
from lenet_fast.jobs.runner import RESULT
from lenet_fast.training import History, Row
from lenet_fast.training.history import checked_row

_MAX_BYTES = 2**26
_CODE = {"lenet_fast", "numpy", "backend"}  # shown in reports
MODEL = "model.safetensors"
REJECTED = "test images to reject for {:g} % errors among the others (%)"
"""Name of a remark, for the per cent of errors: see :func:`.training.rejected`."""


@dataclasses.dataclass
class Result:
    """One run of a recipe.

    Errors are those of the network after the last epoch, not the best one, and on undistorted
    training images.

    Examples
    --------
    >>> from lenet_fast.reproduce.results import Result
    >>> result = Result("lenet5", 0, {}, {}, {}, train_images=60_000, test_images=10_000)
    >>> result.test_errors = 95
    >>> result.test_rate
    0.95
    """

    recipe: str  # its name
    seed: int
    description: dict[str, Any]  # everything that determines the run: Recipe.description
    code: dict[str, str]  # versions
    data: dict[str, str]
    seconds: float = 0.0  # from the first image to the last test
    threads: int = 1
    train_images: int = 0
    train_errors: int = 0
    test_images: int = 0
    test_errors: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # the history, of a single training
    predicted: list[int] = field(default_factory=list)  # the class of each test image
    rates: list[float] = field(default_factory=list)  # see Watch.rates
    remarks: dict[str, float] = field(default_factory=dict)  # other figures, by description
    failed: str = ""  # why there are no figures

    @property
    def test_rate(self) -> float:
        """Test errors in per cent."""
        return 100 * self.test_errors / self.test_images

    @property
    def train_rate(self) -> float:
        """Training errors in per cent."""
        return 100 * self.train_errors / self.train_images

    def history(self) -> History:
        """Return the rows as a history."""
        rows = [Row(**row) for row in self.rows]
        return History(rows, self.train_images, self.test_images)

    def save(self, folder: Path) -> None:
        """Write the result to the folder of its run."""
        path = folder / RESULT
        disk.write_beside(path, json.dumps(dataclasses.asdict(self)).encode(), path)


def middle(found: Sequence[Result]) -> Result:
    """Return the run with the median of the test errors."""
    return sorted(found, key=lambda each: each.test_errors)[len(found) // 2]


def plain(value: Any) -> Any:
    """Return a value as JSON would return it: lists for tuples, and no NumPy numbers.

    Examples
    --------
    >>> from lenet_fast.reproduce.results import plain
    >>> plain({"kernel": (5, 5)})
    {'kernel': [5, 5]}
    """
    return json.loads(json.dumps(value))


def load(folder: Path) -> Result | None:
    """Return the result in a run's folder; None if there is none, or an incomplete one.

    Raises
    ------
    OSError, FileFormatError
        If it cannot be read, or is a pipe or a device, which could not be replaced either.
    """
    try:
        with disk.open_regular(folder / RESULT) as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(content) > _MAX_BYTES:
        return None
    try:
        found = Result(**json.loads(content))
        _check(found)
    except (TypeError, ValueError, RecursionError):
        return None
    return found


def _check(found: Result) -> None:
    """Raise TypeError or ValueError unless all fields are as a run writes them."""
    empty = Result("", 0, {}, {}, {})
    for name, value in vars(found).items():
        if type(value) is not type(getattr(empty, name)):
            raise TypeError(f"{name}: expected {type(getattr(empty, name))}, got {type(value)}")
    if not found.code.keys() >= _CODE:
        raise ValueError(f"code: expected {', '.join(sorted(_CODE))}, got {', '.join(found.code)}")
    checks.integer("threads", found.threads, 1)
    for name, number in {"seconds": found.seconds, **found.remarks}.items():
        if checks.real(name, number) < 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {number}")
    if found.failed:
        return
    checks.integer("train_images", found.train_images, 1)
    checks.integer("test_images", found.test_images, 1)
    checks.integer("train_errors", found.train_errors, 0, found.train_images)
    checks.integer("test_errors", found.test_errors, 0, found.test_images)
    for epoch, row in enumerate(found.rows, 1):
        checked_row(row, epoch, found.train_images, found.test_images)
    if len(found.predicted) != found.test_images:
        raise ValueError("predicted: expected one digit per image")
    for digit in found.predicted:
        checks.integer("predicted", digit, 0, 9)
    rates = [checks.real("rates", rate) for rate in found.rates]
    if len(rates) not in (0, 3) or rates != sorted(rates):
        raise ValueError(
            f"rates: expected the smallest, median and largest rate, got {found.rates}"
        )
