"""Checks of what a trainer is made of, before anything begins.

An optimiser, a schedule or a callback may be anybody's, as long as it has what is used of it. That
is checked, and that it is an object and not the class or the name of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lenet_fast import checks, data
from lenet_fast.engines import Engine
from lenet_fast.training.callbacks import Callback
from lenet_fast.training.optimisers import Optimiser
from lenet_fast.training.schedules import Schedule

_OPTIMISER = (
    *("rule", "steps", "factors", "curvature_images", "slots", "step", "follow"),
    *("state", "load_state", "config"),
)
_SCHEDULE = ("rate", "config")
_ENGINE = ("evaluate", "predict")
_CALLBACK = ("on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end")


def optimiser(value: Any) -> Optimiser:
    """Return an optimiser; raise TypeError for anything else."""
    what = "an optimiser, such as lenet_fast.training.AdamW()"
    _require("optimiser", value, _OPTIMISER, what)
    return value


def schedule(value: Any) -> Schedule:
    """Return a schedule; raise TypeError for anything else."""
    what = "a schedule, such as lenet_fast.training.Constant(0.01)"
    _require("schedule", value, _SCHEDULE, what)
    return value


def callbacks(value: Any) -> list[Callback]:
    """Return callbacks in a list; raise TypeError for anything else."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            "callbacks: expected a list of callbacks, such as [lenet_fast.training.EpochTable()], "
            f"got {checks.kind(value)}"
        )
    found = list(value)
    for i, each in enumerate(found):
        what = "a callback, such as lenet_fast.training.EpochTable()"
        _require(f"callbacks[{i}]", each, _CALLBACK, what)
    return found


def dataset(name: str, value: Any) -> data.Dataset:
    """Return a data set; raise TypeError for anything else."""
    if not isinstance(value, data.Dataset):
        raise TypeError(f"{name}: expected a Dataset, got {checks.kind(value)}")
    return value


def engine(value: Any) -> Engine:
    """Return an engine; raise TypeError for anything else."""
    _require("engine", value, _ENGINE, "an engine, from lenet_fast.engines.create")
    return value


def _require(name: str, value: object, attributes: Sequence[str], what: str) -> None:
    if isinstance(value, type) or not all(hasattr(value, each) for each in attributes):
        raise TypeError(f"{name}: expected {what}, got {checks.kind(value)}")
