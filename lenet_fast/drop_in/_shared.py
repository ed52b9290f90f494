"""Shared by the drop-in functions: checks, conversion to and from the kernels' order, threads."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lenet_fast import backends, checks, docstrings, threads
from lenet_fast.checks import Array
from lenet_fast.windows import IntPair, output_size

BLOCK_IMAGES, BLOCK_BYTES = 32, 2**19
"""Smallest size of a block: with less, the calls would cost as much as the work. Blocks hold a
multiple of BLOCK_IMAGES, so that the kernels' vectors of images are full."""

notebook_function = docstrings.completed(
    Raises="TypeError, ValueError\n    See :mod:`lenet_fast.drop_in`."
)
"""Completes the docstring of a function of notebooks: the errors that all of them share."""


def arrays(**named: Any) -> list[Array]:
    """Return arrays as they are, but in one dtype: float32 if all have it, else float64."""
    found = []
    for name, value in named.items():
        # A kernel would silently drop the meaning of subclasses such as masked arrays.
        if type(value) not in (np.ndarray, np.memmap) or not np.can_cast(value.dtype, np.float64):
            raise TypeError(f"{name}: expected an array of real numbers, got {checks.kind(value)}")
        found.append(value)
    single = all(array.dtype == np.float32 for array in found)
    return [array.astype(np.float32 if single else np.float64, copy=False) for array in found]


def axes(name: str, array: Array, names: str) -> None:
    """Raise ValueError unless an array has these axes and only the first (m or N) may be empty."""
    if array.ndim != names.count(",") + 1:
        raise ValueError(f"{name}: expected axes ({names}), got {checks.shape(array)}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{name}: expected at least 1 along ({names}), got {checks.shape(array)}")


def settings(name: str, value: object, *keys: str) -> list[int]:
    """Return ints from a dict of options; all are at least 1, except that "pad" may be 0."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a dict, got {checks.kind(value)}")
    for key in keys:
        if key not in value:
            raise ValueError(f'{name}: expected the key "{key}", got {list(value)}')
    return [
        checks.integer(f'{name}["{key}"]', value[key], 0 if key == "pad" else 1) for key in keys
    ]


def cached(value: object, function: str, *names: str) -> tuple[Any, ...]:
    """Return the parts of a cache."""
    if not isinstance(value, tuple) or len(value) != len(names):
        raise TypeError(
            f"cache: expected ({', '.join(names)}), as {function} returns it, "
            f"got {checks.kind(value)}"
        )
    return value


def windows(
    name: str, size: Sequence[int], kernel: Sequence[int], stride: IntPair, pad: IntPair = 0
) -> tuple[int, int]:
    """Return the number of windows in rows and columns; `name` is the argument with their size."""
    (down, across), (above, left) = (
        each if isinstance(each, tuple) else (each, each) for each in (stride, pad)
    )
    rows = output_size(size[0], kernel[0], down, padding=2 * above)
    columns = output_size(size[1], kernel[1], across, padding=2 * left)
    if not (rows and columns):
        raise ValueError(
            f"{name}: expected a window that fits into {size[0]} x {size[1]} pixels with a "
            f"padding of {pad}, got {kernel[0]} x {kernel[1]}"
        )
    return rows, columns


def in_blocks(function: Callable[[slice], tuple[Array, ...]], *images: Array) -> list[Array]:
    """Call a function with each block of a batch, and add up its results in order.

    Blocks depend on the sizes of `images`, the inputs and outputs, but not on the number of
    threads, which therefore does not change a bit of the results. The kernels' checks rearrange
    images to their memory order block by block, if necessary.
    """
    m, largest = len(images[0]), max(array.nbytes for array in images)
    # NumPy's matrix products use their own threads.
    most = 1 if backends.current() == "numpy" else largest // BLOCK_BYTES
    size = BLOCK_IMAGES * max(1, -(-m // (BLOCK_IMAGES * max(most, 1))))
    if m <= size:
        return list(function(slice(0, m)))
    pool = _pool(os.environ.get(threads.ENVIRONMENT_VARIABLE))
    found = [slice(first, min(first + size, m)) for first in range(0, m, size)]
    sums: list[Array] = []
    with contextlib.closing(pool.run(function, found)) as results:
        for parts in results:
            for one, part in zip(sums, parts, strict=False):  # initially there are no sums
                one += part
            sums = sums or list(parts)
    return sums


@functools.cache
def _pool(setting: str | None) -> threads.Pool:
    """Return the threads for a value of LENET_FAST_THREADS, which :func:`resolve` reads."""
    return threads.Pool(threads.resolve(None))
