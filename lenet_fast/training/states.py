"""Checks of the numbers and arrays that optimisers are given, or load from files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array

SMALLEST = float(np.finfo(np.float32).smallest_normal)
"""Smallest divisor allowed."""

MOST_STEPS = 2**62
"""Largest step count accepted from a file, so that counting on cannot overflow."""


def not_negative(name: str, value: object) -> float:
    number = checks.real(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected a number not below 0, got {value}")
    return number


def divisor(name: str, value: object) -> float:
    """Return a number that float32 can divide by."""
    number = checks.real(name, value)
    if number < SMALLEST:
        raise ValueError(f"{name}: expected a number of at least {SMALLEST:.8g}, got {value}")
    return number


def checked_factors(factors: Mapping[str, Array] | None) -> dict[str, Array]:
    """Return copies of the factors: arrays of finite numbers of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import states
    >>> states.checked_factors({"w": np.array([1.0, -1.0])})
    Traceback (most recent call last):
    ValueError: factors['w']: expected finite numbers not below 0, got -1.0
    """
    if factors is None:
        return {}
    if not isinstance(factors, Mapping):
        raise TypeError(f"factors: expected a mapping of arrays, got {checks.kind(factors)}")
    found = {}
    for name, given in factors.items():
        if not isinstance(name, str):
            raise TypeError(f"factors: expected names of parameters, got {checks.kind(name)}")
        what = f"factors[{name!r}]"
        array = checks.floats(what, given, None)
        check_numbers(what, array, negative=False)
        found[name] = array.copy()
    return found


def checked_state(kind: str, name: str, array: Array, w: Array) -> Array:
    """Return a checked copy of an untrusted array."""
    try:
        check_fit(kind, name, array, w)
        negative = kind in ("velocities", "first_moments")
        check_numbers(f"{kind}[{name!r}]", array, negative=negative)
    except (TypeError, ValueError) as error:
        raise ValueError(f"state: {error}") from None
    return array.copy()


def checked_steps(array: Array | None) -> int:
    if array is None or array.dtype != np.int64 or array.shape != (1,) or array[0] < 0:
        got = "none" if array is None else f"{array.dtype} of shape {array.shape}: {array.flat[:1]}"
        raise ValueError(f"state: expected steps, one int64 not below 0, got {got}")
    if array[0] > MOST_STEPS:
        raise ValueError(f"state: expected at most {MOST_STEPS} steps, got {array[0]}")
    return int(array[0])


def check_fit(kind: str, name: str, array: Array, w: Array) -> None:
    """Raise unless an array has the dtype and shape of its parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import states
    >>> states.check_fit("velocities", "w", np.zeros(3), np.zeros(2))
    Traceback (most recent call last):
    ValueError: velocities['w']: expected shape (2,) (the parameter's), got (3,)
    """
    if array.dtype == w.dtype and array.shape == w.shape:
        return
    what = f"{kind}[{name!r}]"
    if array.dtype != w.dtype:
        raise TypeError(f"{what}: expected dtype {w.dtype} of the parameter, got {array.dtype}")
    checks.same_shape(what, array, w.shape, "the parameter's")


def check_numbers(what: str, array: Array, *, negative: bool) -> None:
    good = np.isfinite(array) if negative else np.isfinite(array) & (array >= 0)
    if not good.all():
        allowed = "finite numbers" if negative else "finite numbers not below 0"
        raise ValueError(f"{what}: expected {allowed}, got {array[~good][0]}")
