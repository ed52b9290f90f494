"""The names that arguments take, as types: ``models.lenet5(output="sofmax")`` fails a type check.
And the American names of arguments, in place of the British.

Uses only the standard library, so that the command line can list them quickly. ``get_args`` of a
type are its names in the order of messages and help texts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")

Backend = Literal["cython", "numba", "numpy"]
"""In the order of preference; see :mod:`lenet_fast.backends`."""

Engine = Literal["auto", "lanes", "online", "layers"]
"""See :func:`lenet_fast.engines.create`."""

Output = Literal["linear", "softmax", "rbf"]
"""Kinds of network output; see :class:`lenet_fast.network.Network`."""

DType = Literal["float32", "float64"]
"""Of parameters and images."""

Pooling = Literal["subsample", "average", "max"]
"""See :func:`lenet_fast.models.lenet5`, which also takes None."""

Connections = Literal["table", "full"]
"""Which maps of S2 those of C3 read; see :func:`lenet_fast.models.lenet5`."""

Initialiser = Literal[
    "lecun1998", "lecun_sqrt", "eblearn", "glorot_uniform", "glorot_sigmoid", "he_normal"
]
"""See :mod:`lenet_fast.initialisers`."""

Activation = Literal["scaled_tanh", "tanh", "sigmoid", "relu", "leaky_relu", "elu", "gelu"]
"""Arguments take these names also with an option, "leaky_relu:0.2"; see
:func:`lenet_fast.layers.activation`."""

Loss = Literal["cross_entropy", "mean_squared_error", "map", "penalty"]
"""See :mod:`lenet_fast.losses`."""

Optimiser = Literal["sgd", "adamw", "adam", "rmsprop", "adadelta", "sdlm"]
"""See :mod:`lenet_fast.training.optimisers`."""

Schedule = Literal["one_cycle", "linear_decay", "cosine", "step_decay", "constant"]
"""Schedules that have default rates; see :mod:`lenet_fast.training.schedules`."""

Dataset = Literal[
    "auto",
    "mnist",
    "sample",
    "fashion-mnist",
    "kmnist",
    "qmnist",
    "emnist-digits",
    "emnist-letters",
    "emnist-balanced",
    "emnist-bymerge",
    "emnist-byclass",
    "emnist-mnist",
    "usps",
    "digits",
    "cifar-10",
]
"""See :func:`lenet_fast.data.load`."""

Bias = Literal["map", "unit"]
"""Of a convolution; see :class:`lenet_fast.layers.Conv2D`."""

Algorithm = Literal["auto", "direct", "im2col"]
"""Of a convolution; see :func:`lenet_fast.ops.conv2d`."""

WindowReduction = Literal["sum", "mean"]
"""What the coefficient of sub-sampling multiplies; see :func:`lenet_fast.ops.subsample2d`."""

Ties = Literal["first", "all"]
"""Which of equal maxima gets the gradient; see :func:`lenet_fast.ops.max_pool2d_backward`."""

LossReduction = Literal["mean", "sum", "none"]
"""Of a loss over the images; see :func:`lenet_fast.ops.softmax_cross_entropy`."""

GeluForm = Literal["none", "tanh"]
"""See :func:`lenet_fast.ops.gelu`."""

Curvature = Literal["paper", "exact"]
"""See :class:`lenet_fast.losses.MAP`."""

Distortion = Literal["paper", "elastic"]
"""See :mod:`lenet_fast.data.distort`."""

_AMERICAN = {"optimizer": "optimiser", "initializer": "initialiser"}


def american(function: Callable[P, Result]) -> Callable[P, Result]:
    """Let a function take `optimizer` and `initializer` for its `optimiser` and `initialiser`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        for american, british in _AMERICAN.items():
            if american in kwargs:
                if british in kwargs:
                    raise TypeError(f"{british}: expected once, got it as {american}, too")
                kwargs[british] = kwargs.pop(american)
        return function(*args, **kwargs)

    return call
