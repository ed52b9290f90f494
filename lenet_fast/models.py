"""The networks of the papers.

Examples
--------
>>> from lenet_fast import models
>>> for build in (models.lenet1989, models.lenet1, models.lenet4, models.lenet5):
...     print(f"{build.__name__:10}{build().counts().parameters:6}")
lenet1989   9760
lenet1      2578
lenet4     50673
lenet5     60000
"""

from __future__ import annotations

import itertools
from typing import Any, Literal, get_args

from lenet_fast import checks, choices, docstrings
from lenet_fast.connections import LENET1_H3, LENET4_C3, LENET5_C3, LENET1989_H2, Table
from lenet_fast.initialisers import deferred
from lenet_fast.layers import (
    ACTIVATIONS,
    RBF,
    Activation,
    AvgPool2D,
    Conv2D,
    Dense,
    Layer,
    MaxPool2D,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
)
from lenet_fast.layers import activation as activation_of
from lenet_fast.network import OUTPUTS, DTypeLike, Network

__all__ = [
    "POOLINGS",
    "SQUASHING",
    "default_initialiser",
    "lenet1",
    "lenet4",
    "lenet5",
    "lenet1989",
]


def __dir__() -> list[str]:
    """Complete ``lf.models.`` to the networks, not to the layers that they are made of."""
    return sorted(__all__)


SQUASHING = ACTIVATIONS
"""An older name of :data:`lenet_fast.layers.ACTIVATIONS`, for scripts that have it; until 0.2."""

MAX_CLASSES = 256
"""Labels are bytes."""

POOLINGS = get_args(choices.Pooling)
"""Choices of ``pooling``, besides None."""

_factory = docstrings.completed(
    Parameters="""seed : int
    See :meth:`lenet_fast.network.Network.initialise`.
dtype : {"float32", "float64"}""",
    Returns="Network",
    Raises="TypeError, ValueError\n    If an argument is not one of the above.",
)
"""Completes the docstring of a function that returns a network."""


@_factory
@choices.american
def lenet5(
    *,
    pooling: choices.Pooling | None = "subsample",
    connections: choices.Connections = "table",
    output: choices.Output = "rbf",
    activation: choices.Activation | str | Activation = "scaled_tanh",
    extra_dense: int | None = None,
    classes: int = 10,
    channels: int = 1,
    initialiser: choices.Initialiser | None = None,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Network:
    """Return LeNet-5; without arguments, the network of the paper of 1998.

    Its layers are C1, S2, C3, S4, C5, F6 and OUTPUT. The activation after C1 is called
    C1.activation, and so on. Images are 32x32, from -0.1 (background) to 1.175 (foreground).

    Parameters
    ----------
    pooling : {"subsample", "average", "max"} or None
        S2 and S4: trainable sub-sampling followed by an activation, as in the paper; or pooling
        over 2x2 without an activation; or no such layers. With None, C1 and C3 have a stride of 2,
        as in 1989, so that all sizes and weights from C3 on stay the same.
    connections : {"table", "full"}
        Whether the maps of C3 read those of S2 by the paper's table, or all of them.
    output : {"rbf", "softmax", "linear"}
        Squared distances to the bitmaps of the ten digits, as in the paper; or ten weighted sums,
        for cross-entropy ("softmax") or squared error ("linear").
    activation : str or Activation
        One of :data:`lenet_fast.layers.ACTIVATIONS`: "scaled_tanh", "tanh", "sigmoid", "relu",
        "leaky_relu", "elu" or "gelu". An option follows a colon, "leaky_relu:0.2", "elu:0.5",
        "gelu:tanh"; or pass a layer, ``LeakyReLU(0.2)``. The bitmaps consist of +1 and -1.
        "scaled_tanh" reaches both, "tanh" approaches both, most others can reach only one: with
        "sigmoid", softmax outputs learn sooner.
    extra_dense : int, optional
        Units of an additional dense layer, EXTRA, with an activation, between C5 and F6.
    classes : int
        Outputs. With others than ten, `output` cannot be "rbf".
    channels : int
        Maps of an image: 3 for colours, all of which each map of C1 reads.
    initialiser : str, optional
        One of :data:`lenet_fast.initialisers.INITIALISERS`. The default for the paper's network
        (sub-sampling, RBF outputs, scaled tanh) is the paper's, "lecun1998". Its weights are so
        small that other networks are slow to start learning; their defaults are "lecun_sqrt"
        (scaled tanh, tanh), "glorot_sigmoid" (sigmoid) and "he_normal" (the others).

    Notes
    -----
    LeCun et al. 1998, section II.B: 60,000 free parameters and 340,908 connections.

    Examples
    --------
    >>> from lenet_fast import models
    >>> models.lenet5().counts()
    Counts(units=9118, parameters=60000, connections=340908)
    """
    pooling = checks.choice_or_none("pooling", pooling, POOLINGS)
    by_table = checks.choice("connections", connections, get_args(choices.Connections)) == "table"
    table = LENET5_C3 if by_table else None
    output = checks.choice("output", output, OUTPUTS)
    chosen = activation_of("activation", activation)
    stride = 2 if pooling is None else 1
    classes = checks.integer("classes", classes, 2, MAX_CLASSES)
    channels = checks.integer("channels", channels, 1)
    if output == "rbf" and classes != 10:
        raise ValueError(
            f"output: expected 'softmax' or 'linear' for {classes} classes, got 'rbf', whose "
            "bitmaps are those of the ten digits"
        )

    def pool(name: str, channels: int) -> list[Layer]:
        if pooling is None:
            return []
        if pooling == "subsample":
            return _activated(chosen, Subsample2D(channels, 2, name=name))
        return [AvgPool2D(2, name=name) if pooling == "average" else MaxPool2D(2, name=name)]

    layers = [
        *_activated(chosen, Conv2D(channels, 6, 5, stride=stride, name="C1")),
        *pool("S2", 6),
        *_activated(chosen, Conv2D(6, 16, 5, stride=stride, connections=table, name="C3")),
        *pool("S4", 16),
        *_activated(chosen, Conv2D(16, 120, 5, name="C5")),
    ]
    if extra_dense is not None:
        extra_dense = checks.integer("extra_dense", extra_dense, 1)
        layers += _activated(chosen, Dense(120, extra_dense, name="EXTRA"))
    layers += _activated(chosen, Dense(extra_dense or 120, 84, name="F6"))
    last = RBF(84, name="OUTPUT") if output == "rbf" else Dense(84, classes, name="OUTPUT")
    layers.append(last)
    if initialiser is None:
        initialiser = default_initialiser(pooling, output, chosen)
    options: dict[str, Any] = {"input_shape": (channels, 32, 32), "output": output}
    return _initialised(layers, initialiser, seed, dtype=dtype, **options)


def _activated(activation: Activation, *layers: Layer) -> list[Layer]:
    """Return layers, each followed by an activation named after it."""
    pairs = ((layer, activation.named(f"{layer.name}.activation")) for layer in layers)
    return [*itertools.chain.from_iterable(pairs)]


def _initialised(
    layers: list[Layer], initialiser: choices.Initialiser, seed: int, **options: Any
) -> Network:
    with deferred():
        network = Network(layers, **options)
    network.initialise(initialiser, seed)
    return network


def default_initialiser(
    pooling: choices.Pooling | None,
    output: choices.Output,
    activation: choices.Activation | str | Activation,
) -> choices.Initialiser:
    """Return the name of the initialiser that :func:`lenet5` uses for its arguments by default.

    Parameters
    ----------
    pooling, output, activation
        As for :func:`lenet5`.

    Examples
    --------
    >>> from lenet_fast import models
    >>> models.default_initialiser("subsample", "rbf", "scaled_tanh")  # the paper's network
    'lecun1998'
    >>> models.default_initialiser("max", "softmax", "relu")
    'he_normal'
    """
    chosen = activation_of("activation", activation)
    if (pooling, output, type(chosen)) == ("subsample", "rbf", ScaledTanh):
        return "lecun1998"
    return chosen.initialiser


def unless_sigmoid(
    activation: choices.Activation | str | Activation, initialiser: choices.Initialiser
) -> choices.Initialiser:
    """Return `initialiser`, or with sigmoids their own: few others let them begin to learn."""
    chosen = activation_of("activation", activation)
    return chosen.initialiser if isinstance(chosen, Sigmoid) else initialiser


@_factory
@choices.american
def lenet1(
    *,
    classes: int = 10,
    initialiser: choices.Initialiser = "lecun1998",
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Network:
    """Return the network of 1990, which the paper of 1998 calls LeNet-1.

    Its layers are H1, H2, H3, H4 and OUTPUT, each followed by an activation, H1.activation and so
    on. Images are 28x28, from -0.1 (background) to 1.175 (foreground). The paper's digits were
    reduced to 16x16 and put into the middle; see :func:`lenet_fast.data.as_1990`. Train it with
    :class:`lenet_fast.losses.MeanSquaredError`, whose targets are +1 and -1.

    Parameters
    ----------
    classes : int
        Outputs.
    initialiser : str
        One of :data:`lenet_fast.initialisers.INITIALISERS`; by default "lecun1998".

    Notes
    -----
    LeCun et al. 1990, "Handwritten digit recognition with a back-propagation network", NIPS 2:
    2,578 free parameters, 98,442 connections, and 4,635 units, including a constant one for the
    biases that :meth:`~lenet_fast.network.Network.counts` leaves out. :func:`lenet1989` is another
    network.

    Examples
    --------
    >>> from lenet_fast import models
    >>> models.lenet1().counts()
    Counts(units=4634, parameters=2578, connections=98442)
    """
    layers = _activated(
        ScaledTanh(),
        Conv2D(1, 4, 5, name="H1"),
        Subsample2D(4, 2, name="H2"),
        Conv2D(4, 12, 5, connections=LENET1_H3, name="H3"),
        Subsample2D(12, 2, name="H4"),
        Dense(192, checks.integer("classes", classes, 2, MAX_CLASSES), name="OUTPUT"),
    )
    return _initialised(layers, initialiser, seed, input_shape=(1, 28, 28), dtype=dtype)


@_factory
@choices.american
def lenet4(
    *,
    connections: choices.Connections = "table",
    output: Literal["linear", "softmax"] = "linear",
    classes: int = 10,
    initialiser: choices.Initialiser = "lecun1998",
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Network:
    """Return LeNet-4, as far as it is documented.

    Its layers are C1, S2, C3, S4, C5 and OUTPUT, each followed by an activation, C1.activation and
    so on. Images are 32x32, from -0.1 (background) to 1.175 (foreground). With the default output,
    train it with :class:`lenet_fast.losses.MeanSquaredError`, whose targets are +1 and -1.

    Parameters
    ----------
    connections : {"table", "full"}
        Whether the maps of C3 read those of S2 by :data:`lenet_fast.connections.LENET4_C3`, which
        is our choice, or all of them.
    output : {"linear", "softmax"}
        Ten units with an activation, for squared error; or ten weighted sums, for cross-entropy.
    classes : int
        Outputs.
    initialiser : str
        One of :data:`lenet_fast.initialisers.INITIALISERS`; by default "lecun1998".

    Notes
    -----
    LeCun et al. 1998, section III.C: 4 maps in C1, 8 sub-sampling maps connected in pairs to them,
    that is, two per map of C1, 16 maps in C3, 16 sub-sampling maps, 120 units, 10 outputs. The
    paper does not say which maps of S2 those of C3 read. It counts about 17,000 parameters and
    260,000 connections, but no such network has both: C5 alone has 48,120 parameters. With the 47
    links of our table there are 50,673 and 259,806; with all 128, 52,698 and 462,306.

    Examples
    --------
    >>> from lenet_fast import models
    >>> models.lenet4().counts()
    Counts(units=7858, parameters=50673, connections=259806)
    """
    by_table = checks.choice("connections", connections, get_args(choices.Connections)) == "table"
    output = checks.choice("output", output, ("linear", "softmax"))
    layers = _activated(
        ScaledTanh(),
        Conv2D(1, 4, 5, name="C1"),
        Subsample2D(4, 2, multiplier=2, name="S2"),
        Conv2D(8, 16, 5, connections=LENET4_C3 if by_table else None, name="C3"),
        Subsample2D(16, 2, name="S4"),
        Conv2D(16, 120, 5, name="C5"),
        Dense(120, checks.integer("classes", classes, 2, MAX_CLASSES), name="OUTPUT"),
    )
    if output == "softmax":
        layers.pop()
    return _initialised(layers, initialiser, seed, output=output, dtype=dtype)


@_factory
@choices.american
def lenet1989(
    *,
    activation: choices.Activation | str | Activation = "scaled_tanh",
    output_activation: choices.Activation | str | Activation | None = None,
    classes: int = 10,
    initialiser: choices.Initialiser | None = None,
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Network:
    """Return the network of 1989, the first LeNet.

    Its layers are H1, H2, H3 and OUTPUT, each followed by an activation, H1.activation and so on.
    There is no pooling: the convolutions have a stride of 2, and a bias per unit. Images are 16x16,
    from -1 (background) to 1 (foreground); bytes are converted to that scale. See
    :func:`lenet_fast.data.as_1989`. Train it with
    :class:`lenet_fast.losses.MeanSquaredError`, whose targets are +1 and -1.

    Parameters
    ----------
    activation : str or Activation
        Activation function of all layers; see :func:`lenet5`.
    output_activation : str or Activation, optional
        Activation function of OUTPUT, if it is a different one.
    classes : int
        Outputs.
    initialiser : str, optional
        One of :data:`lenet_fast.initialisers.INITIALISERS`; by default the paper's, "lecun1998":
        uniform over +-2.4 / F, where F is the number of inputs of a unit. With sigmoids it is
        "glorot_sigmoid", because those hardly begin to learn with the paper's.

    Notes
    -----
    LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition", Neural
    Computation 1(4): 1,256 units, 9,760 free parameters and 64,660 connections. Where the paper is
    silent, two choices follow A. Karpathy's reproduction (karpathy/lecun1989-repro): which 8 of the
    12 maps of H1 each map of H2 reads, and that both convolutions are padded by two pixels of -1,
    the background. The activation is 1.7159 tanh(2x / 3); his is tanh.

    What the paper of 1998 calls LeNet-1 is another network, of 1990: :func:`lenet1`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import models
    >>> network = models.lenet1989()
    >>> network.counts()
    Counts(units=1256, parameters=9760, connections=64660)
    >>> network.predict(np.full((1, 16, 16), -1, np.float32)).shape
    (10,)
    """

    def conv(c_in: int, name: str, table: Table | None = None) -> Conv2D:
        window: dict[str, Any] = {"stride": 2, "padding": 2, "pad_value": -1.0}
        return Conv2D(c_in, 12, 5, **window, bias="unit", connections=table, name=name)

    chosen = last = activation_of("activation", activation)
    if output_activation is not None:
        last = activation_of("output_activation", output_activation)
    hidden = conv(1, "H1"), conv(12, "H2", LENET1989_H2), Dense(192, 30, name="H3")
    classes = checks.integer("classes", classes, 2, MAX_CLASSES)
    layers = _activated(chosen, *hidden) + _activated(last, Dense(30, classes, name="OUTPUT"))
    if initialiser is None:
        initialiser = unless_sigmoid(chosen, "lecun1998")
    options: dict[str, Any] = {"input_shape": (1, 16, 16), "pixel_range": (-1.0, 1.0)}
    return _initialised(layers, initialiser, seed, dtype=dtype, **options)
