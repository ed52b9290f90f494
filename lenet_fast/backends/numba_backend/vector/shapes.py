"""Sizes and windows of layers: see kernels/vector/shapes.pxd."""

from __future__ import annotations

from typing import NamedTuple


class Maps(NamedTuple):
    """The size of one image at one place of a network."""

    count: int  # type: ignore[assignment]  # hides a method of tuples
    rows: int
    columns: int


class Window(NamedTuple):
    """Where the taps of a kernel, or of a pool, look."""

    kh: int
    kw: int
    stride_v: int
    stride_h: int
    dilation_v: int
    dilation_h: int
