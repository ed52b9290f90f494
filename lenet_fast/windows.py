"""Windows over images: the types of their arguments, and output sizes, on plain integers."""

from __future__ import annotations

IntPair = int | tuple[int, int]
"""Both, or (vertical, horizontal)."""

Padding = int | tuple[int, int] | tuple[int, int, int, int]
"""All sides, (vertical, horizontal), or (top, bottom, left, right)."""


def window_extent(kernel: int, dilation: int) -> int:
    """Return the number of pixels that a dilated kernel covers along one axis."""
    return (kernel - 1) * dilation + 1


def output_size(size: int, kernel: int, stride: int, dilation: int = 1, padding: int = 0) -> int:
    """Return how many windows fit along one axis; 0 if none does.

    Parameters
    ----------
    size : int
        Input pixels along the axis, before padding.
    kernel, stride, dilation : int
        Size of the kernel, distance between windows, distance between taps; all at least 1.
    padding : int
        Pixels added, on both sides together.

    Notes
    -----
    A last window that does not fit is dropped ("floor" mode).
    """
    room = size + padding - window_extent(kernel, dilation)
    return 0 if room < 0 else room // stride + 1
