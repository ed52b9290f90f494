"""Convolution and pooling of images (m, n_H, n_W, n_C), as two of the courses have them.

The kernels' order is (m, n_C, n_H, n_W); results are views in the courses' order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in import _blocks
from lenet_fast.drop_in._shared import axes, windows
from lenet_fast.windows import IntPair


class Convolution(NamedTuple):
    """A convolution with checked arguments, in the kernels' order."""

    x: Array  # (m, n_C_prev, n_H_prev, n_W_prev), a view if possible
    w: Array  # (n_C, n_C_prev, f, f)
    b: Array  # (n_C,)
    shape: _blocks.Shape  # of Z: (m, n_C, n_H, n_W)
    options: dict[str, Any]

    def forward(self) -> Array:
        """Return Z."""
        return interleaved(_blocks.convolve(self.x, self.w, self.b, self.shape, **self.options))

    def back(
        self, run: Callable[..., Any], name: str, dZ: Array, A_prev: Array, W: Array
    ) -> tuple[Array, Array, Array]:
        """Return dA_prev, dW and db; `name` is that of dZ, `run` the operation."""
        dz = planar_like(name, dZ, self.shape)
        dx, dw, db = _blocks.convolve_back(run, dz, self.x, self.w, **self.options)
        dW = dw.transpose(2, 3, 1, 0).reshape(W.shape)
        return interleaved(dx).reshape(A_prev.shape), dW, db.reshape(1, 1, 1, -1)


def convolution(
    images: Array,
    filters: Array,
    bias: Array,
    stride: IntPair,
    pad: IntPair,
    names: tuple[str, str] = ("m, n_H_prev, n_W_prev, n_C_prev", "f, f, n_C_prev, n_C"),
) -> Convolution:
    """Check the arrays A_prev, W and b, whose axes have these names."""
    axes("A_prev", images, names[0])
    axes("W", filters, names[1])
    m, *size, maps = images.shape
    *kernel, seen, count = filters.shape
    past, made = names[1].split(", ")[2:]
    if seen != maps:
        raise ValueError(f"W: expected {maps} maps ({past} of A_prev), got {seen}")
    checks.same_shape("b", bias, (1, 1, 1, count), f"one for each of the {made} filters of W")
    shape = (m, count, *windows("W", size, kernel, stride, pad))
    if kernel == size and pad in (0, (0, 0)):
        # One window covers the whole image: its pixels can serve as the maps of a single pixel,
        # whose order in memory is already the kernels'.
        images, filters = (
            images.reshape(m, 1, 1, filters[..., 0].size),
            filters.reshape(1, 1, -1, count),
        )
    w = np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
    return Convolution(
        planar(images), w, bias.reshape(-1), shape, {"stride": stride, "padding": pad}
    )


class Pooling(NamedTuple):
    """A pooling with checked arguments."""

    x: Array  # (m, n_C, n_H_prev, n_W_prev), a view
    shape: _blocks.Shape  # of A: (m, n_C, n_H, n_W)
    window: dict[str, Any]

    def forward(self, largest: bool) -> Array:
        """Return the maxima, or the means."""
        run = ops.max_pool2d if largest else ops.avg_pool2d
        return interleaved(_blocks.pool(run, self.x, self.shape, **self.window))

    def back(
        self, dA: Array, largest: bool, ties: choices.Ties = "all", curvature: bool = False
    ) -> Array:
        """Return dA_prev."""
        da = planar_like("dA", dA, self.shape)
        if largest:
            dx = _blocks.max_pool_back(da, self.x, **self.window, ties=ties)
        else:
            run = ops.avg_pool2d_hessian if curvature else ops.avg_pool2d_backward
            dx = _blocks.avg_pool_back(run, da, self.x.shape, **self.window)
        return interleaved(dx)


def pooling(
    images: Array,
    name: str,
    kernel: tuple[int, int],
    stride: IntPair,
    names: str = "m, n_H_prev, n_W_prev, n_C",
) -> Pooling:
    """Check the array A_prev, whose axes have these names; `name` is the kernel's argument."""
    axes("A_prev", images, names)
    m, *size, maps = images.shape
    shape = (m, maps, *windows(name, size, kernel, stride))
    return Pooling(planar(images), shape, {"kernel": kernel, "stride": stride})


def planar(array: Array) -> Array:
    """Return a view (m, n_C, n_H, n_W) of images (m, n_H, n_W, n_C)."""
    return array.transpose(0, 3, 1, 2)


def planar_like(name: str, array: Array, shape: _blocks.Shape) -> Array:
    """Return a gradient (m, n_H, n_W, n_C) as such a view, after checking its shape."""
    m, n_c, n_h, n_w = shape
    checks.same_shape(name, array, (m, n_h, n_w, n_c), "that of the output")
    return planar(array)


def interleaved(array: Array) -> Array:
    """Return a view (m, n_H, n_W, n_C) of images (m, n_C, n_H, n_W)."""
    return array.transpose(0, 2, 3, 1)
