"""How the weights of a network start, by name.

Every array is drawn from a random stream of its own, which follows from the seed, the place of
the layer in the network and the parameter; what the other layers look like has no part in it.
Numbers are drawn in float64 and then rounded, so that networks of both dtypes start alike.
F stands for the number of inputs of a unit, of the links that are there where a connection table
says so, and 4 for a sub-sampling unit of 2x2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.layers import Conv2D, Layer, Shape, Subsample2D

__all__ = [
    "INITIALISERS",
    "eblearn",
    "glorot_uniform",
    "he_normal",
    "initialise",
    "lecun1998",
    "lecun_sqrt",
]

_PURPOSE = 1  # keeps these streams apart from others that grow from the same seed


def _scaled(values: Array, factors: Array) -> Array:
    """Multiply, in place, by factors that have one entry along the first axis."""
    values *= factors.reshape(-1, *[1] * (values.ndim - 1))
    return values


def _uniform(random: np.random.Generator, shape: Shape, half_width: Array) -> Array:
    return _scaled(random.uniform(-1, 1, shape), half_width)


def lecun1998(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw everything uniformly from +-2.4 / F: weights, biases and sub-sampling coefficients.

    The rule of LeCun et al. 1998. With no root of F the outputs start close to zero: the more
    layers, the longer a network stays at chance before it gets going.
    """
    return _uniform(random, shape, 2.4 / layer.fan_in())


def lecun_sqrt(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights and sub-sampling coefficients from +-2.4 / sqrt(F); biases are zero.

    A. Karpathy's reading of the paper of 1989, in which he believes that a root is missing.
    """
    if name == "b":
        return np.zeros(shape)
    return _uniform(random, shape, 2.4 / np.sqrt(layer.fan_in()))


def eblearn(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from +-1 / sqrt(F); coefficients are 1 / sqrt(F) and biases zero.

    What EBLearn, the library of LeCun's laboratory, does by default.
    """
    if name == "b":
        return np.zeros(shape)
    half_width = 1 / np.sqrt(layer.fan_in())
    return half_width if isinstance(layer, Subsample2D) else _uniform(random, shape, half_width)


def glorot_uniform(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from +-sqrt(6 / (F + fan-out)); coefficients take the mean, biases are zero.

    Fan-out is the number of weights that an input goes through, in the mean over the input maps.
    """
    if name == "b":
        return np.zeros(shape)
    if isinstance(layer, Subsample2D):
        return _mean(layer)
    return _uniform(random, shape, np.sqrt(6 / (layer.fan_in() + layer.fan_out())))


def he_normal(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from a normal distribution of variance 2 / F; the rest as glorot_uniform."""
    if name == "b":
        return np.zeros(shape)
    if isinstance(layer, Subsample2D):
        return _mean(layer)
    return _scaled(random.standard_normal(shape), np.sqrt(2 / layer.fan_in()))


def _mean(layer: Subsample2D) -> Array:
    """Return the coefficients with which sub-sampling starts as average pooling."""
    return np.ones(layer.c_out) if layer.reduction == "mean" else 1 / layer.fan_in()


INITIALISERS: dict[str, Callable[[Layer, str, Shape, np.random.Generator], Array]] = {
    "lecun1998": lecun1998,
    "lecun_sqrt": lecun_sqrt,
    "eblearn": eblearn,
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
}
"""By name, the functions that draw one array of a layer."""


def initialise(layers: Sequence[Layer], initialiser: str = "lecun1998", seed: int = 0) -> None:
    """Set the trainable parameters of layers, in place.

    Parameters
    ----------
    layers : sequence of Layer
        All layers of a network, in order; what is fixed stays as it is.
    initialiser : str
        One of `INITIALISERS`.
    seed : int
        From 0 to 2**63 - 1.

    Raises
    ------
    TypeError, ValueError
        If `initialiser` is not a name in the list, or `seed` is not such an int.
    """
    draw = INITIALISERS[checks.choice("initialiser", initialiser, tuple(INITIALISERS))]
    seed = checks.seed(seed)
    for index, layer in enumerate(layers):
        if not layer.trainable:
            continue
        for number, (name, array) in enumerate(layer.parameters.items()):
            source = np.random.SeedSequence(seed, spawn_key=(_PURPOSE, index, number))
            random = np.random.Generator(np.random.Philox(source))
            array[...] = draw(layer, name, array.shape, random)
        if isinstance(layer, Conv2D) and layer.table is not None:
            layer.parameters["w"][~layer.table] = 0
