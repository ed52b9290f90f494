"""Initial weights of a network, by name of the rule.

Every array is drawn from its own random stream, which depends on the seed, the layer's position in
the network and the parameter, but not on the other layers. Numbers are drawn in float64 and then
rounded, so that networks of both dtypes start alike. F is the number of inputs of a unit: those
that a connection table links, and 4 for a 2x2 sub-sampling unit.

Examples
--------
How far the weights of F6 spread; with the rule of 1998 by far the least:

>>> from lenet_fast import initialisers, models
>>> network = models.lenet5()
>>> for name in initialisers.INITIALISERS:
...     network.initialise(name)
...     print(f"{name:15}{network.parameters['F6.w'].std():.3f}")
lecun1998      0.012
lecun_sqrt     0.127
eblearn        0.053
glorot_uniform 0.099
glorot_sigmoid 0.595
he_normal      0.129
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import numpy as np

from lenet_fast import checks, choices, docstrings
from lenet_fast.checks import Array
from lenet_fast.layers import Conv2D, Layer, Shape, Subsample2D

__all__ = [
    "INITIALISERS",
    "deferred",
    "eblearn",
    "glorot_sigmoid",
    "glorot_uniform",
    "he_normal",
    "initialise",
    "lecun1998",
    "lecun_sqrt",
]

_DEFERRED: ContextVar[bool] = ContextVar("deferred", default=False)

_PURPOSE = 1  # separates these streams from others with the same seed


def _scaled(values: Array, factors: Array) -> Array:
    """Multiply in place by factors, one per entry of the first axis."""
    values *= factors.reshape(-1, *[1] * (values.ndim - 1))
    return values


def _uniform(random: np.random.Generator, shape: Shape, half_width: Array) -> Array:
    return _scaled(random.uniform(-1, 1, shape), half_width)


_rule = docstrings.completed(
    Parameters="""layer : Layer
name : {"w", "b"}
    Which of its parameters.
shape : tuple of int
    That of the parameter.
random : numpy.random.Generator""",
    Returns="float64 ndarray of this shape",
)
"""Completes the docstring of a function that draws an array."""


@_rule
def lecun1998(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw everything uniformly from +-2.4 / F: weights, biases and sub-sampling coefficients.

    The rule of LeCun et al. 1998. Because it does not take the root of F, the outputs start close
    to zero: the more layers, the longer a network stays at chance level.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> w = initialisers.lecun1998(layers.Dense(24, 500), "w", (500, 24), random)
    >>> w.min().round(3), w.max().round(3)
    (np.float64(-0.1), np.float64(0.1))
    """
    return _uniform(random, shape, 2.4 / layer.fan_in())


@_rule
def lecun_sqrt(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights and sub-sampling coefficients from +-2.4 / sqrt(F); biases are zero.

    A. Karpathy's reading of the paper of 1989, in which he suspects a missing root.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> w = initialisers.lecun_sqrt(layers.Dense(64, 500), "w", (500, 64), random)
    >>> w.min().round(3), w.max().round(3)
    (np.float64(-0.3), np.float64(0.3))
    """
    if name == "b":
        return np.zeros(shape)
    return _uniform(random, shape, 2.4 / np.sqrt(layer.fan_in()))


@_rule
def eblearn(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from +-1 / sqrt(F); coefficients are 1 / sqrt(F) and biases zero.

    The default of EBLearn, the library of LeCun's laboratory.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> initialisers.eblearn(layers.Subsample2D(3, 2), "w", (3,), random)
    array([0.5, 0.5, 0.5])
    """
    if name == "b":
        return np.zeros(shape)
    half_width = 1 / np.sqrt(layer.fan_in())
    return half_width if isinstance(layer, Subsample2D) else _uniform(random, shape, half_width)


@_rule
def glorot_uniform(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from +-sqrt(6 / (F + fan-out)); coefficients average, biases are zero.

    Fan-out is the number of weights that read an input, averaged over the input maps.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> w = initialisers.glorot_uniform(layers.Dense(100, 500), "w", (500, 100), random)
    >>> w.min().round(3), w.max().round(3)  # sqrt(6 / 600)
    (np.float64(-0.1), np.float64(0.1))
    >>> initialisers.glorot_uniform(layers.Subsample2D(3, 2), "w", (3,), random)
    array([0.25, 0.25, 0.25])
    """
    if name == "b":
        return np.zeros(shape)
    if isinstance(layer, Subsample2D):
        return _mean(layer)
    return _uniform(random, shape, np.sqrt(6 / (layer.fan_in() + layer.fan_out())))


@_rule
def glorot_sigmoid(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights six times as far as glorot_uniform; biases take away half of their sum.

    For sigmoids, whose outputs lie around 1/2 and whose slope there is 1/4. Without the factor each
    layer's outputs vary less than those of the layer before, and learning hardly begins. Four times
    is what X. Glorot and Y. Bengio's results suggest; six, with sub-sampling, learns sooner. The
    biases centre what the layers pass on.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> layer = layers.Dense(100, 500)
    >>> layer.build((100,), "float64")
    >>> initialisers.initialise([layer], "glorot_sigmoid")
    >>> w, b = layer.parameters.values()
    >>> w.min().round(2), w.max().round(2)  # 6 * sqrt(6 / 600)
    (np.float64(-0.6), np.float64(0.6))
    >>> bool(np.abs(w @ np.full(100, 0.5) + b).max() < 1e-6)
    True
    """
    if name != "b":
        return 6 * glorot_uniform(layer, name, shape, random)
    w = layer.parameters["w"].astype(np.float32)  # so that networks of both dtypes start alike
    sums = w.reshape(len(w), -1).sum(axis=1, dtype=np.float64)
    if isinstance(layer, Subsample2D) and layer.reduction == "sum":
        sums *= layer.fan_in()
    return _scaled(np.full(shape, -0.5), sums)


@_rule
def he_normal(layer: Layer, name: str, shape: Shape, random: np.random.Generator) -> Array:
    """Draw weights from a normal distribution of variance 2 / F; others as glorot_uniform.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import initialisers, layers
    >>> random = np.random.default_rng(0)
    >>> w = initialisers.he_normal(layers.Dense(50, 500), "w", (500, 50), random)
    >>> w.std().round(2)  # sqrt(2 / 50)
    np.float64(0.2)
    """
    if name == "b":
        return np.zeros(shape)
    if isinstance(layer, Subsample2D):
        return _mean(layer)
    return _scaled(random.standard_normal(shape), np.sqrt(2 / layer.fan_in()))


def _mean(layer: Subsample2D) -> Array:
    """Return coefficients that make sub-sampling start as average pooling."""
    return np.ones(layer.c_out) if layer.reduction == "mean" else 1 / layer.fan_in()


INITIALISERS: dict[str, Callable[[Layer, str, Shape, np.random.Generator], Array]] = {
    "lecun1998": lecun1998,
    "lecun_sqrt": lecun_sqrt,
    "eblearn": eblearn,
    "glorot_uniform": glorot_uniform,
    "glorot_sigmoid": glorot_sigmoid,
    "he_normal": he_normal,
}
"""The functions that draw one array of a layer, by name."""


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Leave parameters as they are within the block, zeros in a new network, for whoever sets them
    after it.

    Examples
    --------
    >>> from lenet_fast import initialisers, models
    >>> with initialisers.deferred():
    ...     network = models.lenet1()
    >>> bool(network.parameters["H1.w"].any())
    False
    >>> network.initialise("lecun_sqrt", 1)
    >>> bool(network.parameters["H1.w"].any())
    True
    """
    token = _DEFERRED.set(True)
    try:
        yield
    finally:
        _DEFERRED.reset(token)


def initialise(
    layers: Sequence[Layer], initialiser: choices.Initialiser = "lecun1998", seed: int = 0
) -> None:
    """Set the trainable parameters of layers, in place; not within :func:`deferred`.

    Parameters
    ----------
    layers : sequence of Layer
        All layers of a network, in order; fixed parameters do not change.
    initialiser : str
        One of `INITIALISERS`.
    seed : int
        From 0 to 2**63 - 1.

    Raises
    ------
    TypeError, ValueError
        If `initialiser` is not in the list, or `seed` is not such an int.

    Examples
    --------
    >>> from lenet_fast import initialisers, layers
    >>> layer = layers.Dense(24, 10)
    >>> layer.build((24,), "float32")
    >>> initialisers.initialise([layer], "lecun1998", seed=1)
    >>> first = layer.parameters["w"].copy()
    >>> initialisers.initialise([layer], "lecun1998", seed=2)
    >>> bool((layer.parameters["w"] == first).any())
    False
    >>> initialisers.initialise([layer], "lecun1998", seed=1)
    >>> bool((layer.parameters["w"] == first).all())
    True
    """
    draw = INITIALISERS[checks.choice("initialiser", initialiser, tuple(INITIALISERS))]
    seed = checks.seed(seed)
    if _DEFERRED.get():
        return
    for index, layer in enumerate(layers):
        if not layer.trainable:
            continue
        for number, (name, array) in enumerate(layer.parameters.items()):
            source = np.random.SeedSequence(seed, spawn_key=(_PURPOSE, index, number))
            random = np.random.Generator(np.random.Philox(source))
            array[...] = draw(layer, name, array.shape, random)
            if name == "w" and isinstance(layer, Conv2D) and layer.table is not None:
                array[~layer.table] = 0
