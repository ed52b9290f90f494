"""What engines check of what they are given.

Kernels run without Python's lock, and other threads may change the caller's arrays meanwhile:
:mod:`lenet_fast.checks` says what is copied for that, and what is seen through a view.
"""

from __future__ import annotations

import numpy as np

from lenet_fast import checks, pixels
from lenet_fast.checks import Array
from lenet_fast.network import Network


def images(network: Network, x: Array) -> Array:
    """Return images as an engine may read them: prepared floats, or bytes as they are.

    Raises
    ------
    TypeError, ValueError
        If they are neither (n, c, h, w) in the network's dtype and input shape, nor bytes
        (n, rows, columns) that fit into a square input of one map.
    """
    if type(x) in (np.ndarray, np.memmap):
        x = x.view()
        if x.dtype == np.uint8 and x.ndim == 3:
            return _bytes(network, x)
    x = checks.floats("x", x, "n, c, h, w")
    shape = (len(x), *network.input_shape)
    checks.same_shape("x", x, shape, "n and the network's input_shape")
    if x.dtype != network.dtype:
        raise TypeError(f"x: expected dtype {network.dtype} of the network, got {x.dtype}")
    return x


def image(network: Network, x: Array) -> Array:
    """Return one image as an engine may read it: what :func:`images` takes several of."""
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
    if not network.pixel_range_known:
        raise ValueError(
            "x: expected floats, since it is not known what the bytes 0 and 255 were in the "
            "network's training, got bytes; set its pixel_range, such as to (0.0, 1.0)"
        )
    return np.ascontiguousarray(x)


def examples(network: Network, x: Array, labels: Array) -> tuple[Array, Array]:
    """Return images and their labels as an engine may read them."""
    x = images(network, x)
    return x, checks.labels("labels", labels, len(x), network.output_shape[0])


def chosen(network: Network, labels: Array, order: Array, count: int) -> Array:
    """Return the labels of the images to go through; only those are looked at."""
    array = np.asarray(labels).view()
    if array.shape != (count,):
        raise ValueError(
            f"labels: expected shape ({count},), one label an image, got {array.shape}"
        )
    return checks.labels("labels", array[order], len(order), network.output_shape[0])


def prepared(network: Network, x: Array) -> Array:
    """Return images as floats in the network's dtype and size."""
    if x.dtype != np.uint8:
        return x
    background, foreground = network.pixel_range
    size = network.input_shape[-1]
    return pixels.prepared(x, size, network.dtype, background, foreground)


def order(order: Array, count: int) -> Array:
    """Return a copy of the numbers of the images to go through, in order; each below `count`."""
    array = np.array(order, order="C")  # checked below, and then nobody can change it
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"order: expected integers (n,), got {checks.kind(order)}")
    if array.size and not (array.min() >= 0 and array.max() < count):
        raise ValueError(
            f"order: expected numbers from 0 to {count - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.intp, copy=False)


def check_writeable(network: Network) -> None:
    """Raise ValueError unless all parameters that learn can be changed."""
    for name in network.trainable_names:
        if not network.parameters[name].flags.writeable:
            raise ValueError(
                f"network: expected {name} to be writeable for training, got read-only"
            )
