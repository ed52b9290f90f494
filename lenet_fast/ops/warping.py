"""Warping of images, with checked arguments, for :mod:`lenet_fast.data.distort`.

The arithmetic uses integers, so that every backend returns the same bytes. These functions are not
network operations, and not among the names of :mod:`lenet_fast.ops`.
"""

from __future__ import annotations

import numpy as np

from lenet_fast import backends, checks, choices
from lenet_fast.backends.numpy_backend.warp import POSITION_BITS as POSITION_BITS
from lenet_fast.backends.numpy_backend.warp import splitmix64 as splitmix64
from lenet_fast.backends.numpy_backend.warp import stream as stream
from lenet_fast.checks import Array

MAX_SIZE = 256
"""Most rows and columns of an image, because positions are 32-bit numbers."""


def smooth_noise(
    keys: Array,
    down: Array,
    across: Array,
    factor: float,
    *,
    backend: choices.Backend | None = None,
) -> Array:
    """Return smoothed noise as displacements for :func:`warp`.

    Parameters
    ----------
    keys : ndarray, (n,), uint64
        Initial state of each image's random stream; the noise starts at its ninth number.
    down, across : ndarray, (h, h) and (w, w), float32
        Matrices that smooth columns and rows: integers, about 2**13 in total per row.
    factor : float
        Factor of the noise, which consists of integers of up to 2**23.
    backend : {"cython", "numba", "numpy"}, optional

    Returns
    -------
    ndarray, (n, 2, h, w), int32

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.
    """
    keys = _array("keys", keys, np.uint64, (None,))
    down, across = _square("down", down), _square("across", across)
    fields = np.empty((len(keys), 2, len(down), len(across)), np.int32)
    factor = checks.real("factor", factor)
    backends.get(backend).smooth_noise(keys, down, across, factor, fields)
    return fields


def warp(
    images: Array,
    matrices: Array,
    fields: Array | None,
    out: Array,
    *,
    backend: choices.Backend | None = None,
) -> Array:
    """Set each pixel of `out` to the image's value at ``matrix @ (row, column, 1) + field``.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Up to 256 x 256; everything outside is 0.
    matrices : ndarray, (n, 2, 3), int32
    fields : ndarray, (n, 2, h, w), int32, optional
        Displacements, like the matrices in units of 2**-18 pixels.
    out : ndarray, (n, h, w), uint8
    backend : {"cython", "numba", "numpy"}, optional

    Returns
    -------
    ndarray
        `out`.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

    Examples
    --------
    One pixel to the right, in units of 2**-18 pixels:

    >>> import numpy as np
    >>> from lenet_fast.ops import warping
    >>> images, one = np.array([[[10, 20, 30]]], np.uint8), 2**18
    >>> matrices = np.array([[[one, 0, 0], [0, one, -one]]], np.int32)
    >>> warping.warp(images, matrices, None, np.empty_like(images))
    array([[[ 0, 10, 20]]], dtype=uint8)
    """
    images = checked("images", images)
    h, w = checked("out", out).shape[1:]
    matrices = _array("matrices", matrices, np.int32, (len(images), 2, 3))
    if fields is None:
        fields = np.empty((0, 2, h, w), np.int32)
    else:
        fields = _array("fields", fields, np.int32, (len(images), 2, h, w))
    inputs = [("images", images), ("matrices", matrices), ("fields", fields)]
    warped = checks.output("out", out, (len(images), h, w), np.dtype(np.uint8), inputs)
    backends.get(backend).warp(images, matrices, fields, warped)
    return out


def checked(name: str, images: object) -> Array:
    """Return images of up to 256 x 256 in the layout that kernels read.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.ops import warping
    >>> warping.checked("images", np.zeros((2, 300, 28), np.uint8))
    Traceback (most recent call last):
    ValueError: images: expected (n, rows, columns), 1 to 256 of each, got (2, 300, 28)
    """
    images = _array(name, images, np.uint8, (None, None, None))
    if not 0 < min(images.shape[1:]) <= max(images.shape[1:]) <= MAX_SIZE:
        raise ValueError(
            f"{name}: expected (n, rows, columns), 1 to {MAX_SIZE} of each, got {images.shape}"
        )
    images.flags.writeable = False  # so that Numba compiles for one type only
    return images


def _square(name: str, matrix: object) -> Array:
    matrix = _array(name, matrix, np.float32, (None, None))
    checks.same_shape(name, matrix, (len(matrix),) * 2, "a square matrix")
    return matrix


def _array(name: str, value: object, dtype: type, shape: tuple[int | None, ...]) -> Array:
    """Return a C-contiguous view of an array with a dtype and a shape; None: any length."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        raise TypeError(
            f"{name}: expected a NumPy array of {np.dtype(dtype)}, got {checks.kind(value)}"
        )
    fits = value.ndim == len(shape) and all(
        size in (None, length) for size, length in zip(shape, value.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({wanted}), got {value.shape}")
    return np.ascontiguousarray(value).view(np.ndarray)
