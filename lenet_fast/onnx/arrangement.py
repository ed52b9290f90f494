"""Which number of a network's layer each number of a file's array is.

A file may keep maps as (n, h, w, c), as Keras does, and images as rows. Reshape, Transpose and the
like only move numbers: they are applied to an array of numbered places, and a layer that needs an
order, such as a convolution, finds it there.
"""

from __future__ import annotations

import math

import numpy as np

from lenet_fast import layers
from lenet_fast.checks import Array
from lenet_fast.onnx.graphs import Graph, Step


class Arrangement:
    """Follows the arrangement from the input to the output.

    Attributes
    ----------
    layer_shape : tuple of int or None
        Shape of an output of the last layer; None before a layer that needs an order of the pixels.
    is_output : bool
        Whether nothing has been read since the last layer but rearrangements.
    affine : (str, ndarray (size,), ndarray (size,)) or None
        Node, factors and summands by which the layer's outputs are still to be rescaled.
    pixels : ndarray (size,) of int
        Number of each of the file's pixels among those of an image (c, h, w) of the network.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._places = _numbered(graph.sizes)
        self._input_shape = _likely(graph.sizes[1:])
        self.layer_shape: tuple[int, ...] | None = None
        self.is_output = False
        self.affine: tuple[str, Array, Array] | None = None
        self.pixels = np.arange(math.prod(graph.sizes[1:]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the file's array, with its batch."""
        return tuple(self._places.shape)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of an image for the network."""
        self.settle()
        return self._input_shape

    def rearrange(self, step: Step) -> None:
        """Follow a Reshape, Transpose or the like; ValueError if it mixes images."""
        places = self._graph.rearranged(step, self._places)
        batch, size = len(self._places), self._places[0].size
        rows = places.reshape(-1, size) if places.ndim > 1 else places
        offsets = size * np.arange(batch)[:, np.newaxis]
        if len(places) != batch or rows.ndim < 2 or (rows != rows[0] + offsets).any():
            raise ValueError(
                f"expected images to stay separate, got shape {places.shape} from {self.shape}"
                + (f" for {batch} images" if self._graph.open else "")
            )
        self._places = places

    def append(self, layer: layers.Layer) -> None:
        """Follow a layer."""
        self.is_output = not isinstance(layer, layers.Activation)
        if not self.is_output:
            return
        shape = layer.output_shape(self.settle())
        batch = len(self._places)
        self._graph.charge(batch * math.prod(shape))  # before they are allocated
        self.layer_shape = shape
        self._places = _numbered((batch, *shape))

    def transpose(self, order: list[int]) -> None:
        """Follow maps whose four axes get another order."""
        if len(self.shape) != len(order):
            raise ValueError(f"expected maps (n, c, h, w) as its input, got {self._found()}")
        self._places = self._places.transpose(order)

    def drop_sides(self) -> None:
        """Follow maps of a single pixel that become numbers."""
        self._places = self._places.reshape(self.shape[:2])

    def maps(self) -> tuple[int, int, int]:
        """Return (c, h, w) of the maps that a layer reads; ValueError if these are no maps."""
        shape = self.shape[1:]
        if len(shape) == 3 and self.layer_shape is None:
            pixels = np.empty_like(self.pixels)
            pixels[self._places[0].reshape(-1)] = np.arange(len(pixels))
            self._set_input(shape, pixels)
        if len(shape) != 3 or shape != self.layer_shape or not self.in_order():
            raise ValueError(f"expected maps (n, c, h, w) as its input, got {self._found()}")
        return shape

    def check_flat(self, what: str) -> None:
        """Raise ValueError unless there are rows (n, k), in the order of the layer's outputs."""
        self.settle()
        if len(self.shape) != 2 or not self.in_order():
            raise ValueError(f"expected {what} (n, k), as after a Flatten, got {self._found()}")

    def columns(self, w: Array) -> Array:
        """Return weights (n_out, k) of rows (n, k) with their columns in the layer's order."""
        self.settle()
        if len(self.shape) != 2 or w.shape[1] != self.shape[1]:
            raise ValueError(
                f"expected an input (n, {w.shape[1]}), as after a Flatten, got {self._found()}"
            )
        if self.in_order():
            return w
        ordered = np.empty_like(w)
        ordered[:, self._places[0]] = w
        return ordered

    def spread(self, array: Array) -> Array:
        """Return the number in a constant for each output of the layer (size,), as doubles."""
        shape = self.shape
        if (
            array.ndim > len(shape)
            or np.broadcast_shapes(array.shape, shape) != shape
            or (array.ndim == len(shape) and array.shape[0] != 1)
        ):
            raise ValueError(f"expected an array that fits {shape}, got shape {array.shape}")
        self._graph.charge(self._places[0].size)
        spread = np.empty(self._places[0].size)
        spread[self._places[0].reshape(-1)] = np.broadcast_to(array, (1, *shape[1:])).reshape(-1)
        return spread

    def by_map(self, numbers: Array) -> Array | None:
        """Return numbers for all outputs as one per map (c,), or per output of a Dense; or None."""
        shape = self.settle()
        table = numbers.reshape(shape[0], -1)
        return None if (table != table[:, :1]).any() else table[:, 0]

    def settle(self) -> tuple[int, ...]:
        """Return the shape of the layer's output; before the first layer, that of an image."""
        if self.layer_shape is None:
            sides, pixels = self._graph.sizes[1:], self.pixels
            if len(sides) == 3 and sides != self._input_shape:  # (h, w, c)
                pixels = pixels.reshape(self._input_shape).transpose(1, 2, 0).reshape(-1)
            self._set_input(self._input_shape, pixels)
        assert self.layer_shape is not None
        return self.layer_shape

    def _set_input(self, shape: tuple[int, int, int], pixels: Array) -> None:
        """Settle the shape of images, and renumber what was numbered as the file's pixels."""
        size = len(pixels)
        self._input_shape = self.layer_shape = shape
        self.pixels = pixels
        self._places = pixels[self._places % size] + self._places // size * size
        if self.affine is not None:
            where, *arrays = self.affine
            ordered = np.empty((2, size))
            ordered[:, pixels] = arrays
            self.affine = where, ordered[0], ordered[1]

    def in_order(self) -> bool:
        """Return whether the file's array has the order of the layer's outputs."""
        return bool((np.diff(self._places[0].reshape(-1)) == 1).all())

    def _found(self) -> str:
        return f"shape {self.shape}" + ("" if self.in_order() else " in another order")


def _numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(math.prod(shape)).reshape(shape)


def _likely(sides: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of images (c, h, w) that a file keeps in this shape."""
    if len(sides) == 1:
        side = math.isqrt(sides[0])
        return (1, side, side) if side * side == sides[0] else (1, 1, sides[0])
    if len(sides) == 2:
        return 1, sides[0], sides[1]
    c, h, w = sides
    return (w, c, h) if w in (1, 3) and c not in (1, 3) else (c, h, w)
