"""Networks of the papers."""

from __future__ import annotations

import numpy.typing as npt

from lenet_fast import checks
from lenet_fast.connections import LENET5_C3
from lenet_fast.layers import (
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    Layer,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from lenet_fast.network import OUTPUTS, Network

SQUASHING: dict[str, type[Layer]] = {
    "scaled_tanh": ScaledTanh,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "relu": ReLU,
}

_INITIALISERS = {
    "scaled_tanh": "lecun_sqrt",
    "tanh": "lecun_sqrt",
    "sigmoid": "glorot_uniform",
    "relu": "he_normal",
}


def lenet5(
    *,
    pooling: str | None = "subsample",
    connections: str = "table",
    output: str = "rbf",
    activation: str = "scaled_tanh",
    extra_dense: int | None = None,
    initialiser: str | None = None,
    seed: int = 0,
    dtype: npt.DTypeLike = "float32",
) -> Network:
    """Return LeNet-5; without arguments, the network of the paper of 1998.

    Its layers are C1, S2, C3, S4, C5, F6 and OUTPUT, and the squashing after one of them is called
    C1.squash, and so on. Images are 32x32 with a background of -0.1 and ink of 1.175.

    Parameters
    ----------
    pooling : {"subsample", "average", "max"} or None
        S2 and S4: trainable sub-sampling, squashed, as in the paper; pooling over 2x2, not
        squashed again; or no such layers. Without them C1 and C3 take steps of two pixels, as the
        convolutions of 1989 do, so that all sizes and weights from C3 on stay what they were.
    connections : {"table", "full"}
        Whether the maps of C3 see those of S2 by the paper's table, or all of them.
    output : {"rbf", "softmax", "linear"}
        Squared distances to the bitmaps of the ten digits, as in the paper; or ten weighted sums,
        for cross-entropy and for squared error.
    activation : {"scaled_tanh", "tanh", "sigmoid", "relu"}
        Squashing function. The bitmaps consist of +1 and -1, which the first reaches, the second
        approaches, and the others cannot reach on both sides. With "sigmoid" it takes epochs, and
        larger rates, before anything is learned.
    extra_dense : int, optional
        Units of one more dense layer, EXTRA, squashed, between C5 and F6.
    initialiser : str, optional
        One of :data:`lenet_fast.initialisers.INITIALISERS`. By default the paper's, "lecun1998",
        for the paper's network: sub-sampling, RBF outputs, scaled tanh. Its weights are so small
        that others are slow to begin to learn; these get "lecun_sqrt" (scaled tanh, tanh),
        "he_normal" (relu) or "glorot_uniform" (sigmoid, which is slow to begin all the same).
    seed : int
        See :meth:`lenet_fast.network.Network.initialise`.
    dtype : {"float32", "float64"}

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        If an argument is none of those.

    Notes
    -----
    LeCun et al. 1998, section II.B: 60,000 free parameters and 340,908 connections.

    Examples
    --------
    >>> from lenet_fast import models
    >>> models.lenet5().counts()
    Counts(units=9118, parameters=60000, connections=340908)
    """
    if pooling is not None:
        pooling = checks.choice("pooling", pooling, ("subsample", "average", "max"))
    table = (
        LENET5_C3
        if checks.choice("connections", connections, ("table", "full")) == "table"
        else None
    )
    output = checks.choice("output", output, OUTPUTS)
    squash = SQUASHING[checks.choice("activation", activation, tuple(SQUASHING))]
    stride = 2 if pooling is None else 1

    def squashed(layer: Layer) -> list[Layer]:
        return [layer, squash(name=f"{layer.name}.squash")]

    def pool(name: str, channels: int) -> list[Layer]:
        if pooling is None:
            return []
        if pooling == "subsample":
            return squashed(Subsample2D(channels, 2, name=name))
        return [AvgPool2D(2, name=name) if pooling == "average" else MaxPool2D(2, name=name)]

    layers = [
        *squashed(Conv2D(1, 6, 5, stride=stride, name="C1")),
        *pool("S2", 6),
        *squashed(Conv2D(6, 16, 5, stride=stride, connections=table, name="C3")),
        *pool("S4", 16),
        *squashed(Conv2D(16, 120, 5, name="C5")),
    ]
    if extra_dense is not None:
        extra_dense = checks.integer("extra_dense", extra_dense, 1)
        layers += squashed(Dense(120, extra_dense, name="EXTRA"))
    layers += squashed(Dense(extra_dense or 120, 84, name="F6"))
    layers.append(RBF(84, 10, name="OUTPUT") if output == "rbf" else Dense(84, 10, name="OUTPUT"))
    network = Network(layers, output=output, dtype=dtype)
    if initialiser is None:
        initialiser = default_initialiser(pooling, output, activation)
    network.initialise(initialiser, seed)
    return network


def default_initialiser(pooling: str | None, output: str, activation: str) -> str:
    """Return the initialiser that :func:`lenet5` uses for its arguments unless told otherwise."""
    if (pooling, output, activation) == ("subsample", "rbf", "scaled_tanh"):
        return "lecun1998"
    return _INITIALISERS[activation]
