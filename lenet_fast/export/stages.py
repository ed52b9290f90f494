"""A network as a list of stages: what an exported program computes one after the other.

A stage is a layer together with the activation that follows it, so that a program needs no pass of
its own for the activation. Dropout, which changes nothing in prediction, is no stage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import checks, files, pixels
from lenet_fast.checks import Array
from lenet_fast.layers import (
    RBF,
    Activation,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Layer,
    MaxPool2D,
    Shape,
    Subsample2D,
)
from lenet_fast.network import Network

MAX_PARAMETERS = 2**22
"""Most parameters of an exported network: as text, each takes about ten bytes."""

TABLES = ("scaled_tanh", "tanh", "sigmoid", "elu", "gelu", "gelu_tanh")
"""Functions that are tables in integers."""

FUNCTIONS = (*TABLES, "relu", "leaky_relu")
"""Activations that a program has."""

_LAYERS = (Conv2D, MaxPool2D, AvgPool2D, Subsample2D, Dense, RBF)
_MNIST = 28


class Constant(NamedTuple):
    """An array of a program that never changes: weights, or where they belong."""

    name: str
    array: Array
    meaning: str


@dataclass
class Stage:
    """A layer and the activation that follows it; without a layer, an activation that follows
    another one, or comes first.

    Attributes
    ----------
    name : str
        An identifier of C.
    layer : Layer or None
    activation : Activation or None
    before, after : tuple of int
        Shapes of its input and output.
    w, b : ndarray or None
        Its parameters, C-ordered. Weights of a dense layer have the axes of its input; those of a
        convolution with links have one kernel per link.
    """

    name: str
    layer: Layer | None
    activation: Activation | None
    before: Shape
    after: Shape
    w: Array | None = None
    b: Array | None = None

    @property
    def links(self) -> tuple[Array, Array] | None:
        """Of a convolution whose maps do not read all maps: `first`, where the links of each output
        map begin, and `maps`, which input map each link reads. None if all maps are read."""
        if not isinstance(self.layer, Conv2D) or self.layer.links.all():
            return None
        counts = self.layer.links.sum(axis=1)
        first = np.concatenate([[0], np.cumsum(counts)])
        return _smallest(first), _smallest(np.nonzero(self.layer.links)[1])

    @property
    def window(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of a pooling layer's window, and the distance between windows."""
        layer: Any = self.layer
        return layer.kernel, layer.stride

    def constants(self) -> Iterator[Constant]:
        """Yield what a program stores for the stage."""
        if self.w is not None:
            yield Constant(f"{self.name}_w", self.w, "weights")
        if self.b is not None:
            yield Constant(f"{self.name}_b", self.b, "biases")
        if self.links is not None:
            first, maps = self.links
            meaning = "where the links of each output map begin"
            yield Constant(f"{self.name}_first", first, meaning)
            yield Constant(f"{self.name}_maps", maps, "the input map that each link reads")

    @property
    def title(self) -> str:
        """What it does, in a line."""
        if self.layer is None and self.activation is not None:
            return f"{self.activation.function}, {_size(self.after)}"
        words = f"{self._what()}, {_size(self.before)} to {_size(self.after)}"
        return f"{words}; then {self.activation.function}" if self.activation else words

    def _what(self) -> str:
        layer: Any = self.layer
        if isinstance(layer, Dense):
            return "dense"
        if isinstance(layer, RBF):
            return "squared distances to the centres"
        kernel = "x".join(map(str, layer.kernel))
        if isinstance(layer, Conv2D):
            return f"convolution {kernel}" + (", by links" if self.links is not None else "")
        kinds: dict[type, str] = {
            MaxPool2D: "maximum of",
            AvgPool2D: "mean of",
            Subsample2D: "sub-sampling of",
        }
        return f"{kinds[type(layer)]} {kernel}"


def stages(network: Network) -> list[Stage]:
    """Return the stages of a network, with its parameters in float32.

    Raises
    ------
    TypeError, ValueError
        If it is not a network, has a layer that is not of :mod:`lenet_fast.layers` (the message
        names it), parameters that are not finite in float32, or more than
        :data:`MAX_PARAMETERS`; or if the values of the bytes 0 and 255 are unknown.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.export.stages import stages
    >>> for stage in stages(models.lenet5())[-3:]:
    ...     print(stage.name, "-", stage.title)
    C5 - convolution 5x5, 16x5x5 to 120x1x1; then scaled_tanh
    F6 - dense, 120x1x1 to 84; then scaled_tanh
    OUTPUT - squared distances to the centres, 84 to 10
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    files.check_finite(network)
    count = sum(array.size for array in network.parameters.values())
    if count > MAX_PARAMETERS:
        raise ValueError(f"network: expected at most {MAX_PARAMETERS} parameters, got {count}")
    if not network.pixel_range_known:
        raise ValueError(
            "network: expected one that knows the values of the bytes 0 and 255, got one that "
            "does not; set its pixel_range"
        )
    found: list[Stage] = []
    names: set[str] = set()
    for layer, before, after in zip(
        network.layers, network.shapes[:-1], network.shapes[1:], strict=True
    ):
        if type(layer) in (Dropout, Dropout2D):
            continue
        known = layer.function in FUNCTIONS if isinstance(layer, Activation) else False
        if not known and type(layer) not in _LAYERS:
            raise TypeError(
                f"network: expected layers of lenet_fast.layers, got {type(layer).__name__} "
                f"({layer.name})"
            )
        if isinstance(layer, Activation):
            if found and found[-1].activation is None:
                found[-1].activation = layer
            else:
                found.append(Stage(_identifier(layer.name, names), None, layer, before, after))
            continue
        stage = Stage(_identifier(layer.name, names), layer, None, before, after)
        stage.w, stage.b = (_float32(layer, key) for key in ("w", "b"))
        if isinstance(layer, Dense | RBF) and stage.w is not None:
            stage.w = stage.w.reshape(-1, *before)
        if isinstance(layer, Conv2D) and stage.w is not None and stage.links is not None:
            table = np.ones(stage.w.shape[:2], np.bool_) if layer.table is None else layer.table
            stage.w = stage.w[table]  # in the order of the links: map by map
        found.append(stage)
    return found


def bytes_shape(network: Network) -> tuple[int, int]:
    """Return rows and columns of the images that a program reads: MNIST's for LeNet-5, whose
    input is padded, else those of the network's input.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.export.stages import bytes_shape
    >>> bytes_shape(models.lenet5()), bytes_shape(models.lenet1989())
    ((28, 28), (16, 16))
    """
    _, rows, columns = network.input_shape
    return (_MNIST, _MNIST) if network.input_shape == (1, 32, 32) else (rows, columns)


def centred(network: Network, images: object, name: str = "images") -> Array:
    """Return images as bytes (n, c, h, w) of the network's input, in its middle.

    Parameters
    ----------
    network : Network
    images : ndarray of uint8
        (n, rows, columns) or (n, c, h, w).
    name : str
        Of the argument, for messages.

    Raises
    ------
    TypeError, ValueError
        If they are no bytes, do not fit the network, or are on another scale than 0 to 255.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import models
    >>> from lenet_fast.export.stages import centred
    >>> centred(models.lenet5(), np.zeros((2, 28, 28), np.uint8)).shape
    (2, 1, 32, 32)
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise TypeError(f"{name}: expected an array of bytes, got {checks.kind(images)}")
    maps, h, w = network.input_shape
    rows, columns = images.shape[-2:] if images.ndim > 2 else (0, 0)
    several = images.shape[1:2] == (maps,) if images.ndim == 4 else images.ndim == 3 and maps == 1
    if not several or not (0 < rows <= h and 0 < columns <= w):
        raise ValueError(
            f"{name}: expected bytes of at most {h} x {w} pixels, in {maps} map{'s' * (maps > 1)}, "
            f"got shape {images.shape}"
        )
    pixels.check_bytes(name, images)
    result = np.zeros((len(images), maps, h, w), np.uint8)
    top, left = (h - rows) // 2, (w - columns) // 2
    result[:, :, top : top + rows, left : left + columns] = images.reshape(-1, maps, rows, columns)
    return result


def values_of_bytes(network: Network) -> Array:
    """Return what the network reads for each byte, in float64.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.export.stages import values_of_bytes
    >>> values_of_bytes(models.lenet5())[[0, 255]]
    array([-0.1  ,  1.175])
    """
    background, foreground = network.pixel_range
    share = np.arange(256) / 255
    return np.asarray(background * (1 - share) + foreground * share)


def _float32(layer: Layer, key: str) -> Array | None:
    if key not in layer.parameters:
        return None
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(layer.parameters[key], np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            f"network: expected parameters that float32 can hold, got larger ones in "
            f"{layer.name}.{key}"
        )
    return values


def _identifier(name: str, taken: set[str]) -> str:
    """Return a layer's name as C has it.

    In a program, everything of a layer is called after it with an ending, C1_w, so a name may be a
    word of C.
    """
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not text[0].isalpha():
        text = f"L{text}"
    chosen, number = text, 2
    while chosen in taken:
        chosen, number = f"{text}_{number}", number + 1
    taken.add(chosen)
    return chosen


def _smallest(numbers: Array) -> Array:
    """Return numbers from 0 in the smallest unsigned dtype."""
    return numbers.astype(np.min_scalar_type(int(numbers.max())))


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def dimensions(shape: Shape) -> str:
    """Return a shape as C has it.

    Examples
    --------
    >>> from lenet_fast.export.stages import dimensions
    >>> dimensions((6, 28, 28))
    '[6][28][28]'
    """
    return "".join(f"[{size}]" for size in shape)


def area(stage: Stage) -> int:
    """Return how many pixels a pooling layer's window has."""
    return math.prod(stage.window[0])
