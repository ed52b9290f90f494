"""Whether all ranks that are about to train a network do the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from lenet_fast.checks import Array
from lenet_fast.engines.ranks import RankError, Ranks
from lenet_fast.training import runs
from lenet_fast.training.checkpoints import Fingerprint


class Facts(NamedTuple):
    """What has to be the same in all ranks."""

    code: dict[str, Any]  # see runs.code
    settings: dict[str, Any]
    data: dict[str, Fingerprint]
    arrays: str  # a digest of the weights and the optimiser's state


def digest(arrays: Mapping[str, Array]) -> str:
    """Return a number that arrays of other names or bits do not have, whatever their order.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import agreement
    >>> one, two = np.zeros(2), np.ones(3)
    >>> agreement.digest({"a": one, "b": two}) == agreement.digest({"b": two, "a": one})
    True
    """
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()


def check(ranks: Ranks, mine: Facts) -> None:
    """Raise RankError in all ranks unless all have the same facts."""
    first, *others = ranks.link.gather(mine)
    ranks.link.alike = True
    for rank, other in enumerate(others, 1):
        _compare(ranks, rank, first, other)


def _compare(ranks: Ranks, rank: int, first: Facts, other: Facts) -> None:
    who = f"{ranks.link.name(rank)}: expected"
    code = None if ranks.mixed else runs.differing(first.code, other.code)
    if code is not None:
        raise RankError(
            f"{who} {code[0]}, as the first rank has, got {code[1]}; the numbers would differ in "
            f"the last digits. Either {code[2]}, or allow it with --distributed-mixed, in Python "
            "with Ranks(mixed=True)"
        )
    for name, value in first.settings.items():
        if other.settings[name] != value:
            expected, got = (json.dumps(each)[:80] for each in (value, other.settings[name]))
            raise RankError(
                f"{who} {name} {expected}, as the first rank has, got {got}; start all ranks with "
                "the same options"
            )
    for name, data in first.data.items():
        there = other.data[name]
        if (there.images, there.sha256) != (data.images, data.sha256):
            raise RankError(
                f"{who} the first rank's data for {name} ({data.name}, {data.images} images), got "
                f"others ({there.name}, {there.images} images); LENET_FAST_DATA names the folder "
                "of a rank's data"
            )
    if other.arrays != first.arrays:
        raise RankError(
            f"{who} the first rank's weights, got others; build the network with the same seed, or "
            "resume the same checkpoint"
        )
