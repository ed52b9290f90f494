"""Windows over images: the types of their arguments, and output sizes, on plain integers."""

from __future__ import annotations

IntPair = int | tuple[int, int]
"""Both, or (vertical, horizontal)."""

Padding = int | tuple[int, int] | tuple[int, int, int, int]
"""All sides, (vertical, horizontal), or (top, bottom, left, right)."""


def window_extent(kernel: int, dilation: int) -> int:
    """Return the number of pixels that a dilated kernel covers along one axis.

    Examples
    --------
    >>> from lenet_fast.windows import window_extent
    >>> window_extent(3, dilation=1), window_extent(3, dilation=2)
    (3, 5)
    """
    return (kernel - 1) * dilation + 1


def output_size(size: int, kernel: int, stride: int, dilation: int = 1, padding: int = 0) -> int:
    """Return how many windows fit along an axis of `size` pixels, plus `padding` on both sides
    together; 0 if none does. A last window that does not fit is dropped ("floor" mode).

    Examples
    --------
    >>> from lenet_fast.windows import output_size
    >>> output_size(32, 5, 1), output_size(28, 2, 2), output_size(16, 5, 2, padding=4)
    (28, 14, 8)
    """
    room = size + padding - window_extent(kernel, dilation)
    return 0 if room < 0 else room // stride + 1
