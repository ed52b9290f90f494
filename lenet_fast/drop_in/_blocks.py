"""Convolution and pooling of batches in the kernels' order (n, c, h, w), block by block.

The arguments have been checked. Results are those of :mod:`lenet_fast.ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast import ops
from lenet_fast.checks import Array
from lenet_fast.drop_in._shared import in_blocks

Shape = tuple[int, int, int, int]


def convolve(x: Array, w: Array, b: Array, shape: Shape, **options: Any) -> Array:
    """Return the convolution, of a known shape."""
    z = np.empty(shape, x.dtype)

    def one(block: slice) -> tuple[()]:
        ops.conv2d(x[block], w, b, **options, out=z[block])
        return ()

    in_blocks(one, z, x)
    return z


def convolve_back(
    run: Callable[..., tuple[Any, ...]], dz: Array, x: Array, w: Array, **options: Any
) -> tuple[Array, Array, Array]:
    """Return dx, dw and db; `run` is the operation, of gradients or of second derivatives."""
    dx = np.empty(x.shape, x.dtype)

    def one(block: slice) -> tuple[Array, ...]:
        return run(dz[block], x[block], w, **options, out=(dx[block], None, None))[1:]

    dw, db = in_blocks(one, dx, dz)
    return dx, dw, db


def pool(run: Callable[..., Any], x: Array, shape: Shape, **options: Any) -> Array:
    """Return what a pooling operation gives, of a known shape."""
    a = np.empty(shape, x.dtype)

    def one(block: slice) -> tuple[()]:
        run(x[block], **options, out=a[block])
        return ()

    in_blocks(one, a, x)
    return a


def max_pool_back(da: Array, x: Array, **options: Any) -> Array:
    """Return the gradient of max pooling at its input."""
    dx = np.empty(x.shape, x.dtype)

    def one(block: slice) -> tuple[()]:
        ops.max_pool2d_backward(da[block], x[block], **options, out=dx[block])
        return ()

    in_blocks(one, dx)
    return dx


def avg_pool_back(
    run: Callable[..., Any], da: Array, shape: tuple[int, ...], **options: Any
) -> Array:
    """Return the gradient of average pooling at its input, of a known shape; `run` is the
    operation, of gradients or of second derivatives."""
    dx = np.empty(shape, da.dtype)

    def one(block: slice) -> tuple[()]:
        out = dx[block]
        # It reads only the shape of the images, so they are not rearranged.
        run(da[block], np.empty_like(out), **options, out=out)
        return ()

    in_blocks(one, dx)
    return dx
