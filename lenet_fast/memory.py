"""Arrays for the compiled loops: aligned, and several of them one behind the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array

_LINE = 64


def aligned(count: int, dtype: npt.DTypeLike) -> Array:
    """Return an uninitialised array that is aligned to a cache line.

    Examples
    --------
    >>> from lenet_fast import memory
    >>> memory.aligned(10, "float32").ctypes.data % 64
    0
    """
    dtype = np.dtype(dtype)
    raw = np.empty(count * dtype.itemsize + _LINE, np.uint8)
    first = -raw.ctypes.data % _LINE
    return raw[first : first + count * dtype.itemsize].view(dtype)


def zeros_like(arrays: Sequence[Array]) -> list[Array]:
    """Return arrays of zeros of the same shapes and dtypes; of one dtype, they lie one behind the
    other.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import memory
    >>> w, b = memory.zeros_like([np.ones((2, 3)), np.ones(2)])
    >>> w.shape, b.shape, b.ctypes.data - w.ctypes.data  # six numbers of eight bytes
    ((2, 3), (2,), 48)
    """
    if len({array.dtype for array in arrays}) != 1:
        return [np.zeros_like(array) for array in arrays]
    edges = np.cumsum([0, *(array.size for array in arrays)])
    whole = aligned(edges[-1], arrays[0].dtype)
    whole[...] = 0
    return [
        whole[first:last].reshape(array.shape)
        for first, last, array in zip(edges, edges[1:], arrays, strict=False)
    ]
