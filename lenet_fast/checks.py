"""Argument checks and their error messages.

The kernels trust their caller, and a compiled kernel writes wherever it is told to. So what passes
these checks must be safe, and stay safe while a kernel runs without Python's lock, whatever other
threads do with the caller's arrays. Integers that decide where to read or write are therefore
copied, and the copy is checked; float arrays are used through a view, whose shape no one else can
change.

Every message reads ``argument: expected ..., got ...``.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Choice = TypeVar("Choice", bound=str)

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_LARGEST = 2**31 - 1
_LONGEST = 64  # characters of a quoted text in a message
_LONGEST_NAME = 64  # characters of a class's name

DIGITS = tuple("0123456789")
"""Names of the classes of MNIST and its like."""


def kind(value: object) -> str:
    """Return the kind of a value, for an error message.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.kind(3), checks.kind(np.zeros(2)), checks.kind(dict)
    ('int 3', 'ndarray of dtype float64', 'the class dict')
    >>> checks.kind((np.zeros(2), 3))
    'tuple of ndarray of dtype float64, int 3'
    """
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} of dtype {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, FunctionType):
        return f"the function {value.__name__}"
    if type(value).__repr__ is object.__repr__:  # it would print a memory address
        return f"an object of type {type(value).__name__}"
    if isinstance(value, tuple | list) and any(isinstance(each, np.ndarray) for each in value[:3]):
        parts = [kind(each) for each in value[:3]] + ["..."] * (len(value) > 3)
        return f"{type(value).__name__} of {', '.join(parts)}"
    name, text = type(value).__name__, " ".join(repr(value).split())
    return (text if text.startswith(f"{name}(") else f"{name} {text}")[:80]


def quoted(text: str) -> str:
    """Return an untrusted text, quoted and shortened for a message.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.quoted("relu"), len(checks.quoted("x" * 1000))
    ("'relu'", 69)
    """
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}..."


def _array(name: str, value: object) -> Array:
    """Return a view of an array; another thread may change the shape of the array itself."""
    # A kernel would silently drop the meaning of subclasses such as masked arrays.
    if type(value) is not np.ndarray and not isinstance(value, np.memmap):
        raise TypeError(f"{name}: expected a NumPy array, got {kind(value)}")
    return value.view()


def _ready(value: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """Return the array in the layout that kernels read: C order, aligned, with the dtype."""
    if dtype in (None, value.dtype) and value.flags.c_contiguous and value.flags.aligned:
        return value  # np.require would take a microsecond for this test
    return np.require(value, dtype, ("C_CONTIGUOUS", "ALIGNED"))


def floats(name: str, value: object, axes: str | None, *, like: Array | None = None) -> Array:
    """Return a float array, C-contiguous and aligned.

    Raise TypeError unless it is an array of float32 or float64, or of the dtype of `like`, and
    ValueError unless it has the `axes`, such as ``"n, c, h, w"``, of which only ``n`` may be empty;
    None: any shape.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.floats("x", np.zeros((3, 2)).T, "n, c").flags.c_contiguous
    True
    >>> checks.floats("x", np.zeros((3, 2), int), "n, c")
    Traceback (most recent call last):
    TypeError: x: expected dtype float32 or float64 in native byte order, got int64
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
        for axis, size in zip(names, array.shape, strict=True) if 0 in array.shape else ():
            if size == 0 and axis != "n":
                raise ValueError(f"{name}: expected at least 1 along {axis}, got {shape(array)}")
    return _ready(array)


def shape(array: Array) -> str:
    """Return "shape (2, 3)", for messages."""
    return f"shape {array.shape}"


def same_shape(name: str, array: Array, expected: tuple[int, ...], why: str) -> None:
    """Raise ValueError unless an array has the expected shape.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.same_shape("b", np.zeros(3), (2,), "one per map")
    Traceback (most recent call last):
    ValueError: b: expected shape (2,) (one per map), got (3,)
    """
    if array.shape != expected:
        raise ValueError(f"{name}: expected shape {expected} ({why}), got {array.shape}")


def incoming(name: str, value: object, expected: tuple[int, ...], like: Array) -> Array:
    """Return a gradient (or Hessian diagonal) with respect to an output of a known shape."""
    array = floats(name, value, None, like=like)
    same_shape(name, array, expected, "that of the output")
    return array


def integer(name: str, value: object, minimum: int, maximum: int = _LARGEST) -> int:
    """Return a plain int from `minimum` to `maximum`; the default exceeds any image size.

    Bools and floats are a TypeError, numbers out of range a ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.integer("stride", np.int8(2), 1)
    2
    >>> checks.integer("stride", 0, 1)
    Traceback (most recent call last):
    ValueError: stride: expected an int from 1 to 2147483647, got 0
    >>> checks.integer("stride", 2.0, 1)
    Traceback (most recent call last):
    TypeError: stride: expected an int, got float 2.0
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
    """Return a bool; raise TypeError for anything else.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.flag("nesterov", 1)
    Traceback (most recent call last):
    TypeError: nesterov: expected a bool, got int 1
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a bool, got {kind(value)}")
    return bool(value)


def seed(value: object) -> int:
    """Return a random seed: an int from 0 to 2**63 - 1."""
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
    """Return (vertical, horizontal) from an int or a pair of ints.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.pair("stride", 2), checks.pair("stride", (2, 1))
    ((2, 2), (2, 1))
    """
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
    """Return (top, bottom, left, right) from an int, a pair (vertical, horizontal), or all four.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.four_sides("padding", 2), checks.four_sides("padding", (1, 0))
    ((2, 2, 2, 2), (1, 1, 0, 0))
    """
    numbers = _integers(name, value, 0, (2, 4))
    if len(numbers) == 4:
        top, bottom, left, right = numbers
        return top, bottom, left, right
    return numbers[0], numbers[0], numbers[-1], numbers[-1]


def real(name: str, value: object, dtype: np.dtype[Any] = FLOATS[1]) -> float:
    """Return a float that is finite, also after conversion to the kernel's dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.real("rate", 1)
    1.0
    >>> checks.real("rate", 1e300, np.dtype("float32"))
    Traceback (most recent call last):
    ValueError: rate: expected a number that is finite in float32, got 1e+300
    """
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
    """Return a float from 0 to below 1.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.below_one("momentum", 1)
    Traceback (most recent call last):
    ValueError: momentum: expected a number from 0 to below 1, got 1
    """
    number = real(name, value, dtype)
    if not 0 <= number < 1:
        raise ValueError(f"{name}: expected a number from 0 to below 1, got {value}")
    return number


def not_negative(name: str, value: object) -> float:
    """Return a float that is 0 or more, and finite in both dtypes.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.not_negative("slope", 0)
    0.0
    """
    number = real(name, value, FLOATS[0])
    if number < 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {value}")
    return number


def positive(name: str, value: object, dtype: np.dtype[Any] = FLOATS[0]) -> float:
    """Return a float above 0 that is finite in a dtype; by default in both.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.positive("alpha", 0)
    Traceback (most recent call last):
    ValueError: alpha: expected a number above 0, got 0
    """
    number = real(name, value, dtype)
    if not number > 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}")
    return number


def largest(dtype: np.dtype[Any]) -> float:
    """Return the largest finite number of a float dtype."""
    return float(np.finfo(dtype).max)


def pathlike(name: str, value: object) -> Path:
    """Return a path as it is; TypeError if it is none, such as the number of an open file.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.pathlike("folder", 3)
    Traceback (most recent call last):
    TypeError: folder: expected a path, got int 3
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name}: expected a path, got {kind(value)}")
    return Path(value)


def path(name: str, value: str | os.PathLike[str]) -> Path:
    """Return a path, with a leading ``~`` expanded to the home folder.

    TypeError if it is none; FileNotFoundError if no home folder is known, as for some users of
    containers.
    """
    try:
        return pathlike(name, value).expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            f"{name}: expected a path, got {os.fspath(value)!r}, but no home folder is known here; "
            "give the full path"
        ) from None


def choice(name: str, value: object, allowed: Sequence[Choice]) -> Choice:
    """Return a string that is one of the allowed ones.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.choice("pooling", "median", ("average", "max"))
    Traceback (most recent call last):
    ValueError: pooling: expected one of average, max, got 'median'
    """
    return _choice(name, value, allowed, allowed)


def choice_or_none(name: str, value: object, allowed: Sequence[Choice]) -> Choice | None:
    """Return None, or a string that is one of the allowed ones.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.choice_or_none("pooling", None, ("average", "max"))
    >>> checks.choice_or_none("pooling", 2, ("average", "max"))
    Traceback (most recent call last):
    TypeError: pooling: expected one of average, max, None, got int 2
    """
    return None if value is None else _choice(name, value, allowed, (*allowed, "None"))


def _choice(name: str, value: object, allowed: Sequence[Choice], named: Sequence[str]) -> Choice:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(named)}, got {kind(value)}")
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(named)}, got {quoted(value)}")
    return cast(Choice, value)


def table(name: str, value: object, expected: tuple[int, int]) -> Array:
    """Return a connection table as uint8, 1 for a link."""
    array = _array(name, value)
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected dtype bool, got {array.dtype}")
    same_shape(name, array, expected, "output maps, input maps per group")
    return _ready(array, np.dtype(np.uint8))


def labels(name: str, value: object, count: int, classes: int) -> Array:
    """Return a copy of class labels, contiguous intp, of `count` entries below `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.labels("labels", np.array([3, 1], np.uint8), 2, 10)
    array([3, 1])
    >>> checks.labels("labels", np.array([3, 10]), 2, 10)
    Traceback (most recent call last):
    ValueError: labels: expected labels from 0 to 9, got 10
    """
    given = _array(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {given.dtype}")
    same_shape(name, given, (count,), "one label per image")
    array = np.array(given, order="C")  # a copy, which no one else can change after the check
    if count:
        smallest, largest = int(array.min()), int(array.max())
        if smallest < 0 or largest >= classes:
            wrong = smallest if smallest < 0 else largest
            raise ValueError(f"{name}: expected labels from 0 to {classes - 1}, got {wrong}")
    return array.astype(np.intp, copy=False)


def class_names(name: str, value: object, count: int | None = None) -> tuple[str, ...]:
    """Return the names of classes as a tuple: `count` different texts, 1 to 256 of them.

    Examples
    --------
    >>> from lenet_fast import checks
    >>> checks.class_names("classes", ["cat", "dog"], 2)
    ('cat', 'dog')
    >>> checks.class_names("classes", ["cat", "dog"], 3)
    Traceback (most recent call last):
    ValueError: classes: expected 3 names, one per class, got 2
    """
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name}: expected a list of names, got {kind(value)}")
    for each in value:
        if not isinstance(each, str):
            raise TypeError(f"{name}: expected texts, got {kind(each)}")
        if not 1 <= len(each) <= _LONGEST_NAME or not each.isprintable() or each != each.strip():
            raise ValueError(
                f"{name}: expected names of 1 to {_LONGEST_NAME} printable characters, got "
                f"{quoted(each)}"
            )
    if count is not None and len(value) != count:
        raise ValueError(f"{name}: expected {count} names, one per class, got {len(value)}")
    if not 1 <= len(value) <= 256:
        raise ValueError(f"{name}: expected 1 to 256 names, got {len(value)}")
    if len(set(value)) < len(value):
        twice = next(each for each in value if value.count(each) > 1)
        raise ValueError(f"{name}: expected different names, got {quoted(twice)} twice")
    return tuple(value)


def weights(name: str, value: object, count: int) -> Array:
    """Return `count` weights of images, float32 or float64: finite in both dtypes, not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> checks.weights("weights", np.array([1.0, -1.0]), 2)
    Traceback (most recent call last):
    ValueError: weights: expected finite numbers not below 0, got -1
    """
    array = floats(name, value, None)
    same_shape(name, array, (count,), "one per image")
    wrong = ~((array >= 0) & (array <= largest(FLOATS[0])))
    if wrong.any():
        raise ValueError(f"{name}: expected finite numbers not below 0, got {array[wrong][0]:g}")
    return array


def output(
    name: str,
    value: object,
    expected: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: Sequence[tuple[str, object]],
) -> Array:
    """Return the array for a kernel to write to: a new one, or a view of the caller's if it is
    suitable. :func:`returned` gives back the caller's own.

    Raise TypeError unless it is a plain array of the dtype, and ValueError if it has another shape,
    is read-only, not C-contiguous and aligned, or shares memory with an input or another output.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import checks
    >>> x = np.zeros(4)
    >>> checks.output("out", None, (2,), x.dtype, [("x", x)]).shape
    (2,)
    >>> checks.output("out", x[:2], (2,), x.dtype, [("x", x)])
    Traceback (most recent call last):
    ValueError: out: expected an array with its own memory, got one that overlaps x
    """
    if value is None:
        return np.empty(expected, dtype)
    array = _array(name, value)
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    same_shape(name, array, expected, "that of the result")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, got a read-only one")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name}: expected a C-contiguous, aligned array, got one that is not")
    for other_name, other in inputs:
        if isinstance(other, np.ndarray) and _overlap(array, other):
            raise ValueError(
                f"{name}: expected an array with its own memory, got one that overlaps {other_name}"
            )
    return array


def _overlap(a: Array, b: Array) -> bool:
    effort: Any = 1000  # NumPy's annotation allows only -1 and 0
    try:
        return np.shares_memory(a, b, max_work=effort)
    except np.exceptions.TooHardError:
        return True  # views interleaved too tightly to tell


def outputs(
    value: object,
    names: Sequence[str],
    expected: Sequence[tuple[int, ...] | None],
    dtype: np.dtype[Any],
    inputs: Sequence[tuple[str, object]],
) -> list[Array | None]:
    """Return the arrays for several results, as :func:`output` does for one. An expected shape of
    None means: not computed. :func:`all_returned` gives back the caller's own."""
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
    """Return the result of :func:`output` as the caller's own array instead of our view of it."""
    return result if value is None else value


def all_returned(value: Any, *results: Array | None) -> Any:
    """Return the results of :func:`outputs` as the caller's own arrays, not our views of them."""
    if value is None:
        return results
    return tuple(result if one is None else one for one, result in zip(value, results, strict=True))
