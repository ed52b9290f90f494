"""What a run came to, as a file that later reports read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lenet_fast import files
from lenet_fast.training import History, Row

RESULT = "result.json"
MODEL = "model.safetensors"


@dataclasses.dataclass
class Result:
    """One run of a recipe.

    Attributes
    ----------
    recipe, seed
        Which.
    description : dict
        All that the run follows from; see :meth:`lenet_fast.reproduce.recipes.Recipe.description`.
    code, data : dict
        With what it was computed, and from what.
    seconds : float
        From the first image to the last test, everything included.
    threads : int
        How many worked on it.
    train_images, train_errors, test_images, test_errors : int
        Of the network at the end, not the best one; training images as they are, not distorted.
    rows : list of dict
        The history, a row an epoch; empty where there was more than one training.
    predicted : list of int
        The class that each test image got.
    rates : list of float
        The least, the median and the greatest rate of a weight in the first epoch, for SDLM.
    remarks : dict of str to float
        Other figures, by their names for people.
    failed : str
        Why there are no figures, if there are none.
    """

    recipe: str
    seed: int
    description: dict[str, Any]
    code: dict[str, str]
    data: dict[str, str]
    seconds: float = 0.0
    threads: int = 1
    train_images: int = 0
    train_errors: int = 0
    test_images: int = 0
    test_errors: int = 0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    predicted: list[int] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)
    remarks: dict[str, float] = dataclasses.field(default_factory=dict)
    failed: str = ""

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
        """Write the result into the folder of its run."""
        path = folder / RESULT
        files.write_beside(path, json.dumps(dataclasses.asdict(self)).encode(), path)


def plain(value: Any) -> Any:
    """Return a value as it comes back from JSON: with lists for tuples, and no NumPy numbers."""
    return json.loads(json.dumps(value))


def load(folder: Path) -> Result | None:
    """Return the result in a run's folder, if there is one, and a whole one."""
    try:
        found = Result(**json.loads((folder / RESULT).read_text()))
        found.history()
    except (FileNotFoundError, TypeError, ValueError):
        return None
    empty = Result("", 0, {}, {}, {})
    if any(type(value) is not type(getattr(empty, name)) for name, value in vars(found).items()):
        return None
    whole = found.train_images > 0 and 0 < found.test_images == len(found.predicted)
    return found if whole or found.failed else None
