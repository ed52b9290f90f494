"""Conversion of a table's rows to a network's images, for any number of features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.data.images import SIZE
from lenet_fast.network import Network

PIECE = 4096
"""Rows at a time, where each needs an intermediate result."""


Shape = tuple[int, int, int]
"""Channels, rows and columns of an image."""


def flattened(X: Any) -> tuple[Any, Shape | None]:
    """Return images as rows, and their shape; what is a table already, or neither, as it is."""
    if isinstance(X, list | tuple) and len(X) and getattr(X[0], "ndim", 0) > 1:
        X = np.asarray(X)
    if getattr(X, "ndim", 2) not in (3, 4):
        return X, None
    X = np.asarray(X)
    count, *channels, height, width = X.shape
    if 0 in X.shape[1:]:
        raise ValueError(f"X: expected images with pixels, got shape {X.shape}")
    if channels and width in (1, 3) and channels[0] > 4:
        raise ValueError(
            f"X: expected images (n, channels, rows, columns), got shape {X.shape}, which has the "
            "channels last; use X.transpose(0, 3, 1, 2)"
        )
    return X.reshape(count, -1), (*(channels or [1]), height, width)


def image_shape(features: int, given: object) -> Shape:
    """Return channels, rows and columns of the image in a table's row: the given ones, where one
    channel may be left out, or a square."""
    if given is None:
        side = math.isqrt(features - 1) + 1
        return 1, side, side
    if isinstance(given, tuple | list) and len(given) == 3:
        shape = checks.image_shape("image_shape", tuple(given))
    else:
        shape = 1, *checks.pair("image_shape", given)
    if math.prod(shape) != features:
        raise ValueError(
            f"image_shape: expected as many pixels as X has features, {features}, got {given}"
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
    values: Array, shape: Shape, pixel_range: tuple[float, float], network: Network
) -> Array:
    """Return rows (n, features) as a network's images (n, channels, size, size).

    The ends of the pixel range become the network's background and foreground. Pixels that a row
    lacks for an image of this shape, and the surroundings of the image, become background.
    """
    background, foreground = network.pixel_range
    size = network.input_shape[-1]
    channels, height, width = shape
    drawn = drawn_shape((height, width), size)
    top, left = ((size - side) // 2 for side in drawn)
    down, across = averages(height, drawn[0]), averages(width, drawn[1])
    made = np.full((len(values), channels, size, size), background, network.dtype)
    for first in range(0, len(values), PIECE):
        part = shares(values[first : first + PIECE], *pixel_range)
        part = np.pad(part, ((0, 0), (0, math.prod(shape) - part.shape[1]))).reshape(-1, *shape)
        if drawn != (height, width):
            part = down @ part @ across.T
        window = made[first : first + PIECE, :, top : top + drawn[0], left : left + drawn[1]]
        window[...] = background + (foreground - background) * part
    return made


def as_bytes(prepared: Array, network: Network) -> Array:
    """Return a network's images as bytes (n, size, size), 0 (background) to 255 (foreground)."""
    background, foreground = network.pixel_range
    shares = (prepared[:, 0] - background) * (255 / (foreground - background))
    return np.rint(shares).clip(0, 255).astype(np.uint8)
