"""The layers of a network.

A layer stores nothing about the batches that pass: ``backward`` and ``hessian`` get the input and
the output of ``forward``, so that several threads can run one layer on different batches.

Examples
--------
>>> from lenet_fast import layers
>>> from lenet_fast.network import Network
>>> body = [layers.Conv2D(1, 8, 3), layers.ReLU(), layers.MaxPool2D(2)]
>>> network = Network([*body, layers.Dense(8 * 15 * 15, 10)], output="softmax")
>>> [layer.name for layer in network.layers], network.shapes[-2]
(['conv1', 'activation1', 'pool1', 'dense1'], (8, 15, 15))
"""

from __future__ import annotations

from lenet_fast import configs
from lenet_fast.layers.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    Activation,
    LeakyReLU,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Tanh,
    activation,
)
from lenet_fast.layers.base import MAX_VALUES, Gradients, Layer, Shape
from lenet_fast.layers.conv2d import Conv2D
from lenet_fast.layers.dense import RBF, Dense
from lenet_fast.layers.dropout import Dropout, Dropout2D
from lenet_fast.layers.pool2d import AvgPool2D, MaxPool2D, Subsample2D

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "MAX_VALUES",
    "RBF",
    "Activation",
    "AvgPool2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Dropout2D",
    "Gradients",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "ReLU",
    "ScaledTanh",
    "Shape",
    "Sigmoid",
    "Subsample2D",
    "Tanh",
    "activation",
    "from_config",
]

_KINDS: tuple[type[Layer], ...] = (
    *(Conv2D, MaxPool2D, AvgPool2D, Subsample2D, Dense, RBF, Dropout, Dropout2D),
)
_TYPES = {kind.__name__: kind for kind in (*_KINDS, *ACTIVATIONS.values())}


def from_config(config: object) -> Layer:
    """Return the layer described by an untrusted :meth:`Layer.config`, fully checked.

    Raises
    ------
    ValueError
        If it is not such a description: a type or key is unknown or missing, or a value is of the
        wrong kind or out of range.

    Examples
    --------
    >>> from lenet_fast import layers
    >>> description = layers.MaxPool2D(2, name="S2").config()
    >>> layers.from_config(description).output_shape((6, 28, 28))
    (6, 14, 14)
    >>> layers.from_config({"type": "MaxPool2D", "name": "S2", "kernel": 0, "stride": 2})
    Traceback (most recent call last):
    ValueError: kernel: expected an int from 1 to 2147483647, got 0
    """
    layer = configs.kind_of("layer", config, "type", _TYPES)
    keys = ("type", "name", *layer.options)
    options = dict(configs.checked(layer.__name__, config, keys, layer.added))
    del options["type"]
    try:
        return layer(**options)
    except TypeError as error:
        raise ValueError(f"{layer.__name__}: {error}") from error
