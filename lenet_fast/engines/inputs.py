"""Checks of the arguments of engines.

Kernels run without Python's GIL, and other threads may change the caller's arrays meanwhile:
:mod:`lenet_fast.checks` explains which arrays are therefore copied, and which are used as views.
"""

from __future__ import annotations

import numpy as np

from lenet_fast import checks, pixels
from lenet_fast.checks import Array
from lenet_fast.network import Network


def images(network: Network, x: Array) -> Array:
    """Return images that an engine can read: prepared floats, or unchanged bytes.

    Raises
    ------
    TypeError, ValueError
        If they are neither (n, c, h, w) in the network's dtype and input shape, nor bytes
        (n, rows, columns) that fit into a square input of one map, nor bytes
        (n, c, rows, columns) that fit into one of several maps.
    """
    if type(x) in (np.ndarray, np.memmap):
        x = x.view()
        if x.dtype == np.uint8:
            if x.ndim == 3:
                return _bytes(network, x)
            if x.ndim == 4 and network.input_shape[0] > 1:
                return _colours(network, x)
    x = checks.floats("x", x, "n, c, h, w")
    shape = (len(x), *network.input_shape)
    checks.same_shape("x", x, shape, "n and the network's input_shape")
    if x.dtype != network.dtype:
        raise TypeError(f"x: expected dtype {network.dtype} of the network, got {x.dtype}")
    return x


def image(network: Network, x: Array) -> Array:
    """Return one image that an engine can read; see :func:`images` for several."""
    if type(x) in (np.ndarray, np.memmap):
        x = x.view()
        if x.ndim != (2 if x.dtype == np.uint8 else 3):
            raise ValueError(
                "image: expected bytes (rows, columns), or floats (c, h, w), got "
                f"{x.dtype} of shape {x.shape}"
            )
        x = x[np.newaxis]
    return images(network, x)[0]


def _bytes(network: Network, x: Array) -> Array:
    maps, rows, columns = network.input_shape
    if maps != 1 or rows != columns:
        raise ValueError(
            "x: expected prepared images for a network whose input is not one square map, got "
            f"bytes for {network.input_shape}"
        )
    if max(x.shape[1:]) > rows or 0 in x.shape[1:]:
        raise ValueError(
            f"x: expected bytes (n, rows, columns), at most {rows} by {columns}, got {x.shape}"
        )
    _check_range(network)
    return np.ascontiguousarray(x)


def _colours(network: Network, x: Array) -> Array:
    """Return bytes (n, c, rows, columns) as floats: the loops convert grey images only."""
    maps, rows, columns = network.input_shape
    n, channels, *size = x.shape
    if channels != maps or rows != columns or max(size) > rows or 0 in size:
        raise ValueError(
            f"x: expected bytes (n, {maps}, rows, columns), at most {rows} by {columns}, for a "
            f"network that reads {network.input_shape}, got {x.shape}"
        )
    _check_range(network)
    background, foreground = network.pixel_range
    flat = x.reshape(n * channels, *size)
    seen = pixels.prepared(flat, rows, network.dtype, background, foreground)
    return seen.reshape(n, maps, rows, columns)


def _check_range(network: Network) -> None:
    if not network.pixel_range_known:
        raise ValueError(
            "x: expected floats, since the network does not know which values the bytes 0 and 255 "
            "had in training, got bytes; set its pixel_range, for instance to (0.0, 1.0)"
        )


def examples(network: Network, x: Array, labels: Array) -> tuple[Array, Array]:
    """Return images and their labels that an engine can read."""
    x = images(network, x)
    return x, checks.labels("labels", labels, len(x), network.output_shape[0])


def chosen(network: Network, labels: Array, order: Array, count: int) -> Array:
    """Return the labels of the selected images; only those are checked."""
    array = np.asarray(labels).view()
    if array.shape != (count,):
        raise ValueError(
            f"labels: expected shape ({count},), one label per image, got {array.shape}"
        )
    return checks.labels("labels", array[order], len(order), network.output_shape[0])


def d_outputs(network: Network, value: Array, count: int) -> Array:
    """Return the gradient at the outputs of so many images."""
    array = checks.floats("d_outputs", value, None)
    expected = count, *network.output_shape
    checks.same_shape("d_outputs", array, expected, "that of the outputs")
    if array.dtype != network.dtype:
        raise TypeError(
            f"d_outputs: expected dtype {network.dtype} of the network, got {array.dtype}"
        )
    return array


def prepared(network: Network, x: Array) -> Array:
    """Return images as floats in the network's dtype and size."""
    if x.dtype != np.uint8:
        return x
    background, foreground = network.pixel_range
    size = network.input_shape[-1]
    return pixels.prepared(x, size, network.dtype, background, foreground)


def order(order: Array, count: int) -> Array:
    """Return a copy of the indices of the selected images, in order; each is below `count`."""
    array = np.array(order, order="C")  # a copy, so that nothing changes it after the checks
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"order: expected integers (n,), got {checks.kind(order)}")
    if array.size and not (array.min() >= 0 and array.max() < count):
        raise ValueError(
            f"order: expected numbers from 0 to {count - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.intp, copy=False)


def weights(network: Network, value: object, order: Array, count: int) -> Array:
    """Return a copy of the weights of the selected images, in the network's dtype."""
    return checks.weights("weights", value, count)[order].astype(network.dtype)


def rates(rate: object, steps: int) -> Array:
    """Return the rate of each step as float64, from one rate for all of them or one for each."""
    if not isinstance(rate, np.ndarray):
        return np.full(steps, checks.real("rate", rate))
    array = checks.floats("rate", rate, None).astype(np.float64)  # a copy, as of the order
    if array.shape != (steps,):
        raise ValueError(
            f"rate: expected a number, or an array of shape ({steps},), one rate per step, got "
            f"shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"rate: expected finite numbers, got {array[~np.isfinite(array)][0]}")
    return array


def dropout(numbers: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the seed and the step by which dropout layers draw; None: they do not."""
    if numbers is None:
        return None
    if not isinstance(numbers, tuple) or len(numbers) != 2:
        raise TypeError(f"dropout: expected (seed, step) or None, got {checks.kind(numbers)}")
    seed, step = (
        checks.integer(f"dropout[{i}]", number, 0, 2**63 - 1) for i, number in enumerate(numbers)
    )
    return seed, step


def check_writeable(network: Network) -> None:
    """Raise ValueError unless all trainable parameters are writeable."""
    parameters = network.parameters
    for name in network.trainable_names:
        if not parameters[name].flags.writeable:
            raise ValueError(
                f"network: expected {name} to be writeable for training, got read-only"
            )
