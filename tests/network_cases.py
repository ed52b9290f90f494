"""Networks of every kind for the tests of other formats, and images for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from helpers import new_rng

from lenet_fast import models
from lenet_fast.layers import (
    ELU,
    GELU,
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from lenet_fast.network import Network


def everything(dtype: str) -> Network:
    """Return a network with every option that those of the papers leave alone."""
    links = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], bool)
    layers = [
        Conv2D(2, 4, (3, 2), stride=(1, 2), padding=(1, 2, 0, 3), pad_value=0.3, groups=2),
        Tanh(),
        Subsample2D(4, (3, 1), (1, 2), reduction="mean", multiplier=2),
        ReLU(name="a.b"),
        Conv2D(8, 4, 2, dilation=(2, 1), groups=4, connections=links, bias="unit", padding=1),
        AvgPool2D((2, 3), 1),
        ScaledTanh(),
        Conv2D(4, 3, 1, bias=None, pad_value=-1.0, padding=(0, 0, 1, 0)),
        MaxPool2D((2, 1), (3, 1)),
        Subsample2D(3, 2, 1, multiplier=3),
        Dense(81, 5),
        Sigmoid(),
        RBF(5, 3, centres=np.arange(15.0).reshape(3, 5) / 7),
    ]
    return Network(
        layers, input_shape=(2, 14, 13), output="rbf", dtype=dtype, pixel_range=(0.0, 1 / 3)
    )


def activations(dtype: str) -> Network:
    """Return a network with every option of an activation, which those of the papers have not."""
    layers = [
        *(Conv2D(1, 4, 3), GELU("tanh"), AvgPool2D(2), LeakyReLU(0.2)),
        *(Conv2D(4, 6, 3), ELU(0.7), LeakyReLU(), Dense(54, 20), GELU(name="F.gelu")),
        *(Dense(20, 15), ELU(), Dense(15, 5)),
    ]
    return Network(layers, input_shape=(1, 12, 12), output="softmax", dtype=dtype)


NETWORKS: dict[str, Callable[[str], Network]] = {
    "lenet5": lambda dtype: models.lenet5(dtype=dtype),
    "average": lambda dtype: models.lenet5(
        pooling="average", connections="full", output="softmax", activation="relu", dtype=dtype
    ),
    "max": lambda dtype: models.lenet5(
        pooling="max", output="linear", activation="sigmoid", extra_dense=20, dtype=dtype
    ),
    "none": lambda dtype: models.lenet5(pooling=None, activation="tanh", dtype=dtype),
    "lenet4": lambda dtype: models.lenet4(dtype=dtype),
    "lenet4-softmax": lambda dtype: models.lenet4(
        connections="full", output="softmax", dtype=dtype
    ),
    "lenet1": lambda dtype: models.lenet1(dtype=dtype),
    "lenet1989": lambda dtype: models.lenet1989(dtype=dtype),
    "everything": everything,
    "activations": activations,
}


def filled(network: Network, gain: float) -> Network:
    """Return a network whose outputs tell images apart, with weights where there are no links."""
    rng = new_rng()
    for layer in network.layers:
        if layer.trainable:
            for array in layer.parameters.values():
                array[...] = gain * rng.normal(size=array.shape) / np.sqrt(layer.fan_in().mean())
        if isinstance(layer, Conv2D) and layer.table is not None:
            layer.parameters["w"][~layer.table] = 7
    return network


def images(network: Network, n: int = 3) -> np.ndarray:
    return new_rng().uniform(-1, 1.2, (n, *network.input_shape)).astype(network.dtype)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float(np.abs(found - expected).max() / np.abs(expected).max())
