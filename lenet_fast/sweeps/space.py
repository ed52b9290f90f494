"""What a sweep tries: lists and ranges of values, and the points that are taken from them."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_DRAWS = 10_000
"""How many draws without a new point show that there is none left."""


class Range(NamedTuple):
    """Numbers from `low` to `high`, evenly spread over them or over their logarithms.

    Examples
    --------
    >>> from lenet_fast.sweeps.space import Range
    >>> Range(0.001, 0.1, log=True, steps=3).points()
    [0.001, 0.01, 0.1]
    >>> Range(16, 64, log=True, whole=True).at(0.25)
    23
    """

    low: float
    high: float
    log: bool = False
    steps: int | None = None  # of a grid
    whole: bool = False

    def at(self, share: float) -> float:
        """Return the number at a share of the way; reals have four digits."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        value = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(value, self.low), self.high)

    def points(self) -> list[float]:
        """Return `steps` numbers, without those that rounding makes equal."""
        assert self.steps is not None
        return list(dict.fromkeys(self.at(k / (self.steps - 1)) for k in range(self.steps)))


Point = dict[str, Any]
"""A value for each option that a sweep varies."""

Space = Mapping[str, Sequence[Any] | Range]
"""For each option, the values that it may have."""


def size(spaces: Sequence[Space]) -> float:
    """Return how many points there are; infinity with a range without steps.

    Examples
    --------
    >>> from lenet_fast.sweeps.space import Range, size
    >>> size([{"rate": [0.1, 0.2], "j": Range(1, 9, steps=3)}, {"rate": [1.0]}])
    7
    >>> size([{"rate": Range(0.1, 1)}])
    inf
    """

    def count(values: Sequence[Any] | Range) -> float:
        if isinstance(values, Range):
            return math.inf if values.steps is None else len(values.points())
        return len(values)

    return sum(math.prod(map(count, space.values())) for space in spaces)


def grid(spaces: Sequence[Space]) -> list[Point]:
    """Return all points, those that are in several spaces once.

    Examples
    --------
    >>> from lenet_fast.sweeps.space import grid
    >>> grid([{"rate": [0.1, 0.2]}, {"rate": [0.2], "mu": [1]}])
    [{'rate': 0.1}, {'rate': 0.2}, {'rate': 0.2, 'mu': 1}]
    """
    return _distinct(_grid(spaces))


def _grid(spaces: Sequence[Space]) -> Iterator[Point]:
    for space in spaces:
        lists = [each.points() if isinstance(each, Range) else each for each in space.values()]
        for values in itertools.product(*lists):
            yield dict(zip(space, values, strict=True))


def drawn(spaces: Sequence[Space], count: int, seed: int) -> list[Point]:
    """Return different points, drawn from a space that is itself drawn for each: `count`, or fewer
    if its ranges are so narrow that many draws bring no other point.

    A value depends on the seed, the number of the point and the name of the option only: more
    points, and changes of other options, leave it as it is.

    Examples
    --------
    >>> from lenet_fast.sweeps.space import Range, drawn
    >>> space = {"rate": Range(0.001, 0.1, log=True), "pooling": ["max", "average"]}
    >>> points = drawn([space], 3, seed=0)
    >>> len(points), points[:2] == drawn([space], 2, seed=0)
    (3, True)
    """

    def points() -> Iterator[Point]:
        for number in itertools.count():
            which = spaces[_index(len(spaces), seed, number, "")]
            point: Point = {}
            for name, values in which.items():
                if isinstance(values, Range) and values.steps is None:
                    point[name] = values.at(_share(seed, number, name))
                    continue
                listed = values.points() if isinstance(values, Range) else values
                point[name] = listed[_index(len(listed), seed, number, name)]
            yield point

    # A list of points is exhausted at some time, however rare some are; so it needs no limit.
    return _distinct(points(), count, _DRAWS if math.isinf(size(spaces)) else None)


def _share(seed: int, number: int, name: str) -> float:
    """Return a number from 0 to below 1; Python promises that it stays the same."""
    return random.Random(f"{seed} {number} {name}").random()


def _index(count: int, seed: int, number: int, name: str) -> int:
    return int(count * _share(seed, number, name))


def _distinct(
    points: Iterator[Point], count: int | None = None, most: int | None = None
) -> list[Point]:
    """Return the first `count` different points, or all; or those before `most` repetitions."""
    found: dict[str, Point] = {}
    repeated = 0
    for point in points:
        before = len(found)
        found.setdefault(json.dumps(point, sort_keys=True), point)
        repeated = repeated + 1 if len(found) == before else 0
        if len(found) == count or repeated == most:
            break
    return list(found.values())
