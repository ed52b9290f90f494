"""Where the windows of convolutions and pools lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def padding(options: dict[str, Any], sides: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Return top, left, bottom, right of a window's padding."""
    if min(options["strides"]) < 1:
        raise ValueError(f"strides: expected 1 or more, got {options['strides']}")
    if options["auto_pad"] == "NOTSET":
        return list(options["pads"])
    if options["auto_pad"] == "VALID":
        return [0, 0, 0, 0]
    before, after = [], []
    for side, k, stride, gap in zip(
        sides, kernel, options["strides"], options["dilations"], strict=True
    ):
        total = max((math.ceil(side / stride) - 1) * stride + (k - 1) * gap + 1 - side, 0)
        less, more = total // 2, total - total // 2
        upper = options["auto_pad"] == "SAME_UPPER"
        before.append(less if upper else more)
        after.append(more if upper else less)
    return before + after


def pool_window(
    options: dict[str, Any], sides: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return kernel and stride of a pool; ValueError if a window goes beyond the maps."""
    (kh, kw), (vertical, horizontal) = options["kernel_shape"], options["strides"]
    kernel, stride = (kh, kw), (vertical, horizontal)
    pads = padding(options, sides, kernel)
    for side, k, s, before, after in zip(sides, kernel, stride, pads, pads[2:], strict=False):
        # PyTorch pads at the end for its ceil_mode, also where no window gets there.
        beyond = side + after - k + (s - 1 if options["ceil_mode"] else 0)
        if before or beyond // s != (side - k) // s:
            raise ValueError(
                f"expected windows within maps of {sides[0]} x {sides[1]}, because pools have "
                f"no padding here, got pads {pads}, ceil_mode {options['ceil_mode']}"
            )
    return kernel, stride
