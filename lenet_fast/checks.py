"""Checks of arguments, and the texts of their errors.

The kernels trust their caller, and a compiled one writes wherever it is told to: what passes
here must be safe, and stay so while a kernel runs without Python's lock, whatever other threads do
with the caller's arrays meanwhile. So numbers that say where to read or write are copied, and the
copy is checked; and floats are taken by a view, whose shape nobody else can set.

Every message reads ``argument: expected ..., got ...``.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_LARGEST = 2**31 - 1
_LONGEST = 64  # characters of a text, in a message


def kind(value: object) -> str:
    """Return what a value is, in the words of an error message."""
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} of dtype {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, FunctionType):
        return f"the function {value.__name__}"
    if type(value).__repr__ is object.__repr__:  # which would be an address in memory
        return f"an object of type {type(value).__name__}"
    return " ".join(f"{type(value).__name__} {value!r}".split())[:80]


def quoted(text: str) -> str:
    """Return a text, which may be from any file, as it may stand in a message."""
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}..."


def _array(name: str, value: object) -> Array:
    """Return a view of an array: another thread may set the shape of the array itself."""
    # Subclasses such as masked arrays carry meaning that a kernel would silently drop.
    if type(value) is not np.ndarray and not isinstance(value, np.memmap):
        raise TypeError(f"{name}: expected a NumPy array, got {kind(value)}")
    return value.view()


def _ready(value: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """Return the array in the layout that kernels read: C order, aligned, of a dtype."""
    if dtype in (None, value.dtype) and value.flags.c_contiguous and value.flags.aligned:
        return value  # np.require would take a microsecond to find out
    return np.require(value, dtype, ("C_CONTIGUOUS", "ALIGNED"))


def floats(name: str, value: object, axes: str | None, *, like: Array | None = None) -> Array:
    """Return a float array, C-contiguous and aligned.

    Parameters
    ----------
    name : str
        Argument, for the message.
    value : object
        What came.
    axes : str or None
        Names of the axes, such as ``"n, c, h, w"``; all but ``n`` must hold something.
        None: any shape.
    like : ndarray, optional
        The array whose dtype this one must share; called ``x`` in the message.

    Raises
    ------
    TypeError
        If it is no array, or not of dtype float32 or float64 (or of another than `like`).
    ValueError
        If the number of axes is wrong or an axis other than the batch is empty.
    """
    array = _array(name, value)
    if like is not None and array.dtype != like.dtype:
        raise TypeError(
            f"{name}: expected dtype {like.dtype}, as the first array has, got {array.dtype}"
        )
    if array.dtype not in FLOATS:
        raise TypeError(
            f"{name}: expected dtype float32 or float64 in native byte order, "
            f"got {array.dtype if array.dtype.isnative else array.dtype.str}"
        )
    if axes is not None:
        names = axes.split(", ")
        if array.ndim != len(names):
            raise ValueError(f"{name}: expected {len(names)} axes ({axes}), got {shape(array)}")
        for axis, size in zip(names, array.shape, strict=True):
            if size == 0 and axis != "n":
                raise ValueError(f"{name}: expected at least 1 along {axis}, got {shape(array)}")
    return _ready(array)


def shape(array: Array) -> str:
    """Return "shape (2, 3)", for messages."""
    return f"shape {array.shape}"


def same_shape(name: str, array: Array, expected: tuple[int, ...], why: str) -> None:
    """Raise ValueError unless an array has the expected shape."""
    if array.shape != expected:
        raise ValueError(f"{name}: expected shape {expected} ({why}), got {array.shape}")


def incoming(name: str, value: object, expected: tuple[int, ...], like: Array) -> Array:
    """Return a gradient (or Hessian diagonal) that arrives at an output of a known shape."""
    array = floats(name, value, None, like=like)
    same_shape(name, array, expected, "that of the output")
    return array


def integer(name: str, value: object, minimum: int, maximum: int = _LARGEST) -> int:
    """Return a plain int from `minimum` to `maximum`, by default more than any image could want.

    Raises
    ------
    TypeError
        If it is not an integer (a bool and a float are not).
    ValueError
        If it is out of range.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # the TypeError is the point
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {kind(value)}") from None
    if not minimum <= number <= maximum:
        raise ValueError(f"{name}: expected an int from {minimum} to {maximum}, got {number}")
    return number


def flag(name: str, value: object) -> bool:
    """Return a bool; raise TypeError for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a bool, got {kind(value)}")
    return bool(value)


def seed(value: object) -> int:
    """Return a seed of random streams: an int from 0 to 2**63 - 1."""
    return integer("seed", value, 0, 2**63 - 1)


def _integers(name: str, value: object, minimum: int, counts: tuple[int, ...]) -> list[int]:
    if isinstance(value, (tuple, list)):
        if len(value) not in counts:
            allowed = " or ".join(str(count) for count in counts)
            raise ValueError(f"{name}: expected an int or {allowed} ints, got {kind(value)}")
        return [integer(name, item, minimum) for item in value]
    try:
        return [integer(name, value, minimum)]
    except TypeError:
        raise TypeError(f"{name}: expected an int or a tuple of ints, got {kind(value)}") from None


def pair(name: str, value: object, minimum: int = 1) -> tuple[int, int]:
    """Return (vertical, horizontal) from an int or a pair of ints."""
    numbers = _integers(name, value, minimum, (2,))
    return numbers[0], numbers[-1]


def image_shape(name: str, value: object) -> tuple[int, int, int]:
    """Return (c, h, w), the shape of one image."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: expected (c, h, w), got {kind(value)}")
    if len(value) != 3:
        raise ValueError(f"{name}: expected three numbers (c, h, w), got {len(value)}")
    c, h, w = (integer(name, number, 1) for number in value)
    return c, h, w


def four_sides(name: str, value: object) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) from an int, a pair (vertical, horizontal), or all four."""
    numbers = _integers(name, value, 0, (2, 4))
    if len(numbers) == 4:
        top, bottom, left, right = numbers
        return top, bottom, left, right
    return numbers[0], numbers[0], numbers[-1], numbers[-1]


def real(name: str, value: object, dtype: np.dtype[Any] = FLOATS[1]) -> float:
    """Return a float that is finite, also in the dtype that a kernel will hold it in."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name}: expected a number, got {kind(value)}")
    try:
        number = float(value)
    except OverflowError:  # an int of hundreds of digits
        number = np.inf
    if not abs(number) <= largest(dtype):
        raise ValueError(f"{name}: expected a number that is finite in {dtype}, got {number}")
    return number


def below_one(name: str, value: object, dtype: np.dtype[Any] = FLOATS[1]) -> float:
    """Return a float from 0 to below 1."""
    number = real(name, value, dtype)
    if not 0 <= number < 1:
        raise ValueError(f"{name}: expected a number from 0 to below 1, got {value}")
    return number


def largest(dtype: np.dtype[Any]) -> float:
    """Return the largest finite number of a float dtype."""
    return float(np.finfo(dtype).max)


def path(name: str, value: str | os.PathLike[str]) -> Path:
    """Return a path, with the home folder for a ``~`` at its beginning.

    Raises
    ------
    FileNotFoundError
        If there is a ``~``, and nobody knows that folder: a container's user may have none.
    """
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            f"{name}: expected a path, got {os.fspath(value)!r}, and no home folder is known here; "
            "give it in full"
        ) from None


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """Return a string that is one of those allowed."""
    return _choice(name, value, allowed, allowed)


def choice_or_none(name: str, value: object, allowed: Sequence[str]) -> str | None:
    """Return None, or a string that is one of those allowed."""
    return None if value is None else _choice(name, value, allowed, (*allowed, "None"))


def _choice(name: str, value: object, allowed: Sequence[str], named: Sequence[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(named)}, got {kind(value)}")
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(named)}, got {quoted(value)}")
    return value


def table(name: str, value: object, expected: tuple[int, int]) -> Array:
    """Return a connection table as uint8, 1 for a link."""
    array = _array(name, value)
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected dtype bool, got {array.dtype}")
    same_shape(name, array, expected, "output maps, input maps a group")
    return _ready(array, np.dtype(np.uint8))


def labels(name: str, value: object, count: int, classes: int) -> Array:
    """Return a copy of class labels, contiguous intp, of `count` entries below `classes`."""
    given = _array(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {given.dtype}")
    same_shape(name, given, (count,), "one label an image")
    array = np.array(given, order="C")  # checked below, and then nobody can change it
    if count:
        smallest, largest = int(array.min()), int(array.max())
        if smallest < 0 or largest >= classes:
            wrong = smallest if smallest < 0 else largest
            raise ValueError(f"{name}: expected labels from 0 to {classes - 1}, got {wrong}")
    return array.astype(np.intp, copy=False)


def output(
    name: str,
    value: object,
    expected: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: Sequence[tuple[str, object]],
) -> Array:
    """Return the array that a kernel may write to: a new one, or a view of the caller's if it is
    fit. :func:`returned` gives back the caller's own.

    Raises
    ------
    TypeError
        If it is no plain array, or of the wrong dtype.
    ValueError
        If its shape is wrong, it is read-only, not C-contiguous and aligned, or shares memory
        with an input or another output.
    """
    if value is None:
        return np.empty(expected, dtype)
    array = _array(name, value)
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    same_shape(name, array, expected, "that of the result")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected an array that can be written to, got a read-only one")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name}: expected a C-contiguous, aligned array, got one that is not")
    for other_name, other in inputs:
        if isinstance(other, np.ndarray) and _overlap(array, other):
            raise ValueError(
                f"{name}: expected memory of its own, got an array that overlaps {other_name}"
            )
    return array


def _overlap(a: Array, b: Array) -> bool:
    effort: Any = 1000  # NumPy's own annotation knows of -1 and 0 only
    try:
        return np.shares_memory(a, b, max_work=effort)
    except np.exceptions.TooHardError:
        return True  # pieces of one work space, woven too tightly to tell


def outputs(
    value: object,
    names: Sequence[str],
    expected: Sequence[tuple[int, ...] | None],
    dtype: np.dtype[Any],
    inputs: Sequence[tuple[str, object]],
) -> list[Array | None]:
    """Return the arrays for several results, as :func:`output` does for one; an expected shape of
    None means that it is not asked for. :func:`all_returned` gives back the caller's own."""
    if value is None:
        given: Sequence[object] = [None] * len(names)
    elif isinstance(value, (tuple, list)) and len(value) == len(names):
        given = value
    else:
        raise TypeError(
            f"out: expected a tuple of {len(names)} arrays ({', '.join(names)}), got {kind(value)}"
        )
    results: list[Array | None] = []
    taken = list(inputs)
    for name, array, size in zip(names, given, expected, strict=True):
        label = f"out ({name})"
        if size is None:
            if array is not None:
                raise ValueError(f"{label}: expected None, as it is not computed, got an array")
            results.append(None)
            continue
        result = output(label, array, size, dtype, taken)
        results.append(result)
        if array is not None:
            taken.append((label, result))
    return results


def returned(value: Any, result: Array) -> Array:
    """Return what :func:`output` made of `value`, as the caller knows it: not our view of it."""
    return result if value is None else value


def all_returned(value: Any, *results: Array | None) -> Any:
    """Return what :func:`outputs` made of `value`, as the caller knows it: not our views of it."""
    if value is None:
        return results
    return tuple(result if one is None else one for one, result in zip(value, results, strict=True))
