"""Checks of a trainer's parts before training begins.

Any object can be an optimiser, schedule or callback if it has the attributes that the trainer uses.
That is checked, and that it is an instance, not a class or a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from inspect import get_annotations
from typing import Any

import numpy as np

from lenet_fast import checks, data, defaults
from lenet_fast.data import Distortion, distort
from lenet_fast.engines import Engine
from lenet_fast.training.callbacks import Callback
from lenet_fast.training.optimisers import OPTIMISERS, SDLM, SGD, Optimiser
from lenet_fast.training.schedules import SCHEDULES, Constant, Schedule


class _EpochSchedule:
    """What a trainer needs of a schedule without ``rate_at``."""

    rate: Any
    config: Any


def optimiser(value: Any, loss: str = "map") -> Optimiser:
    """Return an optimiser, or the one of a name with its default options, for a loss; raise
    TypeError for anything else.

    Raise ValueError for an unknown name, and for one that files would take for one of ours.

    Examples
    --------
    >>> from lenet_fast.training import parts
    >>> parts.optimiser("sgd").rule.momentum, parts.optimiser("adamw").rule.name
    (0.9, 'adamw')
    """
    if isinstance(value, str):
        kind: Any = OPTIMISERS[checks.choice("optimiser", value, tuple(OPTIMISERS))]
        # Options in which a trainer's optimisers differ from those of the class.
        ours = {SGD: {"momentum": defaults.MOMENTUM}, SDLM: {"mu": defaults.MU.get(loss, 1.0)}}
        made: Optimiser = kind(**ours.get(kind, {}))
        return made
    what = f"one of {', '.join(OPTIMISERS)}, or an optimiser, such as lenet_fast.training.AdamW()"
    _require("optimiser", value, Optimiser, what)
    kind = OPTIMISERS.get(str(value.config().get("type")))
    if kind is not None and not isinstance(value, kind):  # subclasses have types of their own
        raise _mistaken("optimiser", value)
    return value


def rule(optimiser: Optimiser) -> str:
    """Return an optimiser's name in `OPTIMISERS`, if it is one of them.

    Examples
    --------
    >>> from lenet_fast.training import SDLM, parts
    >>> parts.rule(SDLM(mu=1.0))
    'sdlm'
    """
    return "sdlm" if optimiser.curvature_images else optimiser.rule.name


def schedule(value: Any, named: Callable[[str], Schedule] | None = None) -> Schedule:
    """Return a schedule, that of a constant rate, or what `named` returns for a name; raise
    TypeError for anything else.

    Raise ValueError for one that files would take for one of ours.

    Examples
    --------
    >>> from lenet_fast.training import parts
    >>> parts.schedule(0.01)
    Constant(0.01)
    """
    if isinstance(value, str) and named is not None:
        return named(checks.choice("schedule", value, defaults.SCHEDULES))
    if isinstance(value, (int, float, np.integer, np.floating)):
        return Constant(checks.positive("schedule", value))
    what = (
        f"a rate, one of {', '.join(defaults.SCHEDULES)}, or a schedule, such as "
        "lenet_fast.training.OneCycle(0.1)"
    )
    by_epoch = not hasattr(value, "rate_at") and hasattr(value, "rate")  # of the user's own
    _require("schedule", value, _EpochSchedule if by_epoch else Schedule, what)
    kind = SCHEDULES.get(str(value.config().get("type")))
    methods = ("rate", "rate_at")
    if kind is not None and any(
        getattr(type(value), method, None) is not getattr(kind, method, None) for method in methods
    ):
        raise _mistaken("schedule", value)
    return value


def _mistaken(name: str, value: Any) -> ValueError:
    """Return the error for a part that files would take for one of ours."""
    return ValueError(
        f"{name}: expected {type(value).__name__} with a type of its own in its config(), got "
        f"{value.config()['type']!r}, for which a resumed run would take lenet_fast's"
    )


def distortion(value: Any) -> Distortion | None:
    """Return a distortion, that of a name, or None; raise TypeError for anything else.

    Examples
    --------
    >>> from lenet_fast.training import parts
    >>> print(parts.distortion("paper"))
    shift 2, scale 0.15, squeeze 0.1, shear 0.2
    """
    if isinstance(value, str):
        return distort.PRESETS[checks.choice("distortion", value, tuple(distort.PRESETS))]
    if not isinstance(value, Distortion | None):
        raise TypeError(
            f"distortion: expected one of {', '.join(distort.PRESETS)}, or a Distortion, got "
            f"{checks.kind(value)}"
        )
    return value


def callbacks(value: Any) -> list[Callback]:
    """Return callbacks in a list; raise TypeError for anything else.

    Examples
    --------
    >>> from lenet_fast.training import EpochTable, parts
    >>> len(parts.callbacks((EpochTable(),)))
    1
    >>> try:
    ...     parts.callbacks([EpochTable])  # the class, not an object
    ... except TypeError as error:
    ...     print(str(error).rpartition(", ")[2])
    got the class EpochTable
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            "callbacks: expected a list of callbacks, such as [lenet_fast.training.EpochTable()], "
            f"got {checks.kind(value)}"
        )
    found = list(value)
    for i, each in enumerate(found):
        what = "a callback, such as lenet_fast.training.EpochTable()"
        _require(f"callbacks[{i}]", each, Callback, what)
    return found


def dataset(name: str, value: Any) -> data.Dataset:
    """Return a data set; raise TypeError for anything else."""
    if not isinstance(value, data.Dataset):
        got = checks.kind(value)
        if isinstance(value, data.Splits):
            got = "Splits; pass its train or its test"
        like = "a Dataset, such as lenet_fast.data.Dataset(images, labels)"
        raise TypeError(f"{name}: expected {like}, got {got}")
    return value


def subset(name: str, dataset: data.Dataset, indices: Any) -> data.Dataset:
    """Return the images with the given indices, at least one; None: all."""
    if indices is None:
        return dataset
    try:
        indices = np.asarray(indices)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{name}: expected indices, integers (n,), got {error}") from error
    if not indices.size:
        raise ValueError(f"{name}: expected at least one image, got none")
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected indices, integers (n,), got {indices.dtype} of shape {indices.shape}"
        )
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= len(dataset):
        raise ValueError(
            f"{name}: expected indices from 0 to {len(dataset) - 1}, got {low} to {high}"
        )
    return replace(
        dataset,
        images=dataset.images[indices],
        labels=dataset.labels[indices],
        weights=None if dataset.weights is None else dataset.weights[indices],
    )


def engine(value: Any) -> Engine:
    """Return an engine; raise TypeError for anything else."""
    _require("engine", value, Engine, "an engine, from lenet_fast.engines.create")
    return value


def _require(name: str, value: object, like: type, what: str) -> None:
    """Raise TypeError unless a value has all that a protocol, or a base class, names."""
    names = (each for each in {**get_annotations(like), **vars(like)} if not each.startswith("_"))
    if isinstance(value, type) or not all(hasattr(value, each) for each in names):
        raise TypeError(f"{name}: expected {what}, got {checks.kind(value)}")
