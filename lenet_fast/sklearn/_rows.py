"""Conversion of a table's rows to a network's images, for any number of features."""

from __future__ import annotations

import math

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.data.images import SIZE
from lenet_fast.network import Network

PIECE = 4096
"""Rows at a time, where each needs an intermediate result."""


def image_shape(features: int, given: object) -> tuple[int, int]:
    """Return rows and columns of the image in a table's row: the given ones, or a square."""
    if given is None:
        side = math.isqrt(features - 1) + 1
        return side, side
    shape = checks.pair("image_shape", given)
    if math.prod(shape) != features:
        raise ValueError(
            f"image_shape: expected as many pixels as X has features, {features}, got {shape}"
        )
    return shape


def drawn_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return rows and columns that an image occupies in a network's input of a given size."""
    longest = max(shape)
    if longest > size:
        height, width = (max(1, round(side * SIZE / longest)) for side in shape)
    else:
        height, width = (side * max(1, SIZE // longest) for side in shape)
    return height, width


def averages(n_in: int, n_out: int) -> Array:
    """Return the matrix (n_out, n_in) that resizes one axis.

    Each output is the mean of the inputs that it covers, weighted by the covered share. If the
    number of outputs per input is an integer, the inputs are repeated.
    """
    # In units in which an input is n_out long and an output n_in, all lengths are integers.
    first, start = np.arange(n_in) * n_out, np.arange(n_out)[:, np.newaxis] * n_in
    covered = np.minimum(first + n_out, start + n_in) - np.maximum(first, start)
    return covered.clip(min=0) / n_in


def shares(values: Array, lowest: float, highest: float) -> Array:
    """Return the relative position of values between lowest and highest, 0 to 1; in float64."""
    # Halves, because the difference may exceed the largest number.
    way = highest / 2 - lowest / 2
    if not way:
        return np.zeros(values.shape)
    return (values.astype(np.float64).clip(lowest, highest) / 2 - lowest / 2) / way


def images(
    values: Array, shape: tuple[int, int], pixel_range: tuple[float, float], network: Network
) -> Array:
    """Return rows (n, features) as a network's images (n, 1, size, size).

    The ends of the pixel range become the network's background and foreground. Pixels that a row
    lacks for an image of this shape, and the surroundings of the image, become background.
    """
    background, foreground = network.pixel_range
    size = network.input_shape[-1]
    drawn = drawn_shape(shape, size)
    top, left = ((size - side) // 2 for side in drawn)
    down, across = averages(shape[0], drawn[0]), averages(shape[1], drawn[1])
    made = np.full((len(values), 1, size, size), background, network.dtype)
    for first in range(0, len(values), PIECE):
        part = shares(values[first : first + PIECE], *pixel_range)
        part = np.pad(part, ((0, 0), (0, math.prod(shape) - part.shape[1]))).reshape(-1, *shape)
        if drawn != shape:
            part = down @ part @ across.T
        window = made[first : first + PIECE, 0, top : top + drawn[0], left : left + drawn[1]]
        window[...] = background + (foreground - background) * part
    return made


def as_bytes(prepared: Array, network: Network) -> Array:
    """Return a network's images as bytes (n, size, size), 0 (background) to 255 (foreground)."""
    background, foreground = network.pixel_range
    shares = (prepared[:, 0] - background) * (255 / (foreground - background))
    return np.rint(shares).clip(0, 255).astype(np.uint8)
