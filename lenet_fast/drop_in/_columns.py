"""Windows of images as columns, and back, in any order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.drop_in._shared import in_blocks

Geometry = tuple[tuple[int, int], int, int]
"""Rows and columns of a window, stride, padding."""


def geometry(
    height: tuple[str, object], width: tuple[str, object], stride: object, name: str, pad: object
) -> Geometry:
    """Return checked ints. Height and width are arguments with their names, `name` that of pad."""
    kernel = checks.integer(*height, 1), checks.integer(*width, 1)
    return kernel, checks.integer("stride", stride, 1), checks.integer(name, pad, 0)


def shape_of(name: str, value: object) -> tuple[int, int, int, int]:
    """Return the shape of a batch of images, of which only N may be 0."""
    if not isinstance(value, Sequence) or len(value) != 4:
        raise TypeError(f"{name}: expected (N, C, H, W), got {checks.kind(value)}")
    n, c, h, w = (checks.integer(name, length, min(i, 1)) for i, length in enumerate(value))
    return n, c, h, w


def gather(images: Array, kernel: tuple[int, int], stride: int, pad: int, out: Array) -> None:
    """Copy the pixels of each window to `out`, a view (N, C, kh, kw, rows, columns)."""

    def one(block: slice) -> tuple[()]:
        padded = np.pad(images[block], ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        seen = sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
        out[block] = seen.transpose(0, 1, 4, 5, 2, 3)
        return ()

    in_blocks(one, out)


def scatter(
    seen: Array, size: Sequence[int], kernel: tuple[int, int], stride: int, pad: int
) -> Array:
    """Return images (N, C, *size): `seen`, in the order of :func:`gather`, added up."""
    n, c, _, _, rows, columns = seen.shape
    img = np.zeros((n, c, size[0] + 2 * pad, size[1] + 2 * pad), seen.dtype)

    def one(block: slice) -> tuple[()]:
        for u in range(kernel[0]):
            for v in range(kernel[1]):
                down = slice(u, u + stride * (rows - 1) + 1, stride)
                across = slice(v, v + stride * (columns - 1) + 1, stride)
                img[block, :, down, across] += seen[block, :, u, v]
        return ()

    in_blocks(one, img)
    return img[:, :, pad : pad + size[0], pad : pad + size[1]]
