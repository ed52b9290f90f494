"""Conversion between models and networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from lenet_fast import checks, choices, layers
from lenet_fast.checks import Array
from lenet_fast.keras.reading import SCALED_TANH, Reading, conv_to_keras, dense_views
from lenet_fast.layers import Layer, Shape
from lenet_fast.network import Network

_MADE: dict[type[Layer], Callable[[Any, dict[str, Any]], Any]] = {
    layers.MaxPool2D: lambda one, name: keras.layers.MaxPooling2D(one.kernel, one.stride, **name),
    layers.AvgPool2D: lambda one, name: keras.layers.AveragePooling2D(
        one.kernel, one.stride, **name
    ),
    layers.Dense: lambda one, name: keras.layers.Dense(one.n_out, **name),
    layers.Dropout: lambda one, name: keras.layers.Dropout(one.p, **name),
    layers.Dropout2D: lambda one, name: keras.layers.SpatialDropout2D(one.p, **name),
    layers.ReLU: lambda one, name: keras.layers.ReLU(**name),
    layers.LeakyReLU: lambda one, name: keras.layers.LeakyReLU(one.slope, **name),
    layers.ELU: lambda one, name: keras.layers.ELU(one.alpha, **name),
    layers.Tanh: lambda one, name: keras.layers.Activation("tanh", **name),
    layers.Sigmoid: lambda one, name: keras.layers.Activation("sigmoid", **name),
}
"""What makes one layer of Keras of one of ours."""


def from_keras(
    model: keras.Model,
    *,
    output: choices.Output | None = None,
    pixel_range: tuple[float, float] | None = None,
) -> Network:
    """Return a network that computes the same as a Keras model.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, built, float32 or float64: a row of the layers that :func:`fit`
        lists. BatchNormalization directly after a Conv2D or Dense is folded into its weights.
    output : {"linear", "softmax"}, optional
        As for :class:`lenet_fast.network.Network`: by default "softmax" if the model ends with one,
        or is compiled with a crossentropy of logits, else "linear".
    pixel_range : (background, foreground), optional
        Values of the bytes 0 and 255 in the model's training images: (0.0, 1.0) if they were
        divided by 255. By default those of a Rescaling or Normalization layer. A model without one
        does not record them: the network then takes prepared floats only, and refuses bytes until
        its ``pixel_range`` is set.

    Returns
    -------
    Network
        In the dtype of the model, with copies of its weights in the order (maps, rows, columns). It
        takes images (n, c, h, w), after Rescaling and Normalization; a final softmax is not
        included. Layers get the names of the model's.

    Raises
    ------
    TypeError, ValueError
        If a layer, or an option of one, has no counterpart; the message names them. Also if the
        outputs for a few random images are others than the model's.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from lenet_fast.keras import from_keras
    >>> model = keras.Sequential(
    ...     [
    ...         keras.layers.Input((28, 28, 1)),
    ...         keras.layers.Conv2D(4, 5, activation="relu"),
    ...         keras.layers.Flatten(),
    ...         keras.layers.Dense(10, activation="softmax"),
    ...     ]
    ... )
    >>> network = from_keras(model, pixel_range=(0.0, 1.0))
    >>> network.counts()
    Counts(units=3098, parameters=23154, connections=82954)
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    >>> theirs = model.predict(images[..., None] / 255, verbose=0)
    >>> ours = network.probabilities(network.predict(images))
    >>> bool(np.allclose(ours, theirs, atol=1e-6))
    True
    """
    reading = Reading(model, output, pixel_range, evaluation=True)
    if output is None and _of_logits(model):
        reading.network.output = "softmax"
    return reading.network


def to_keras(network: Network, model: keras.Model | None = None) -> keras.Model:
    """Return a Keras model that computes the same as a network, or copy the weights into one.

    Parameters
    ----------
    network : Network
    model : keras.Model, optional
        One of the same layers, such as that from which :func:`from_keras` made the network. Its
        weights are set, and it is returned.

    Returns
    -------
    keras.Model
        By default a new ``keras.Sequential`` for images (n, h, w, c) on the network's scale, with
        copies of the weights, that ends with a softmax if the network's output is "softmax". It is
        not compiled. Absent links of a connection table become weights of zero, which training in
        Keras would change. Sub-sampling becomes AveragePooling2D and DepthwiseConv2D, and the
        scaled tanh a tanh between two Rescaling layers.

    Raises
    ------
    TypeError, ValueError
        If the network has layers that Keras has not: RBF, one bias per unit, padding by another
        number than 0, gradients to all tied maxima, GELU's tanh form; or if the layers of `model`
        are others.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.keras import to_keras
    >>> network = models.lenet5(pooling="max", activation="relu", output="softmax")
    >>> model = to_keras(network)
    >>> model.input_shape, model.output_shape, model.layers[0].name
    ((None, 32, 32, 1), (None, 10), 'C1')
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    if model is None:
        return _new(network)
    reading = Reading(model)
    kinds = [
        [(type(layer), layer.config() | {"name": ""}) for layer in each.layers]
        for each in (network, reading.network)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"model: expected the layers of the network, {_words(network)}, got "
            f"{_words(reading.network)}"
        )
    for ours, read in zip(network.layers, reading.network.layers, strict=True):
        for name, array in ours.parameters.items():
            read.parameters[name][...] = array
    reading.give()
    return model


def _of_logits(model: Any) -> bool:
    """Return whether a model is compiled with a crossentropy of classes."""
    loss = model.loss if model.compiled else None
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    return "categorical_crossentropy" in name or name in ("crossentropy", "ce")


def _words(network: Network) -> str:
    return ", ".join(map(repr, network.layers))


def _new(network: Network) -> keras.Model:
    """Return a model of the same layers and weights."""
    c, h, w = network.input_shape
    dtype = network.dtype.name
    row: list[Any] = [keras.layers.Input((h, w, c), dtype=dtype)]
    weights: list[tuple[Any, list[Array]]] = []
    for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
        if isinstance(layer, layers.Dense) and len(shape) > 1:
            row.append(keras.layers.Flatten(dtype=dtype))
        row += _layers(layer, {"name": layer.name.replace(".", "_"), "dtype": dtype})
        if layer.parameters:
            weights.append((row[-1], _weights(layer, shape)))
    if network.output == "softmax":
        row.append(keras.layers.Softmax(dtype=dtype))
    model = keras.Sequential(row)
    for new, arrays in weights:
        new.set_weights(arrays)
    return model


def _weights(layer: Layer, shape: Shape) -> list[Array]:
    """Return the arrays of a layer's parameters in the layout of Keras."""
    w, *b = layer.parameters.values()
    if isinstance(layer, layers.Dense):
        c, h, columns = (*shape, 1, 1)[:3]
        return [dense_views((c, h, columns))[1](w), *b]
    if isinstance(layer, layers.Subsample2D):
        factor = math.prod(layer.kernel) if layer.reduction == "sum" else 1
        return [w.reshape(1, 1, layer.channels, layer.multiplier) * w.dtype.type(factor), *b]
    return [conv_to_keras(w), *b]


def _layers(layer: Layer, name: dict[str, Any]) -> list[Any]:
    """Return new layers that together compute the same as one of ours; weights are the last one's.

    `name` is what all layers take: name and dtype.
    """
    kind = type(layer)
    dtype, new = {"dtype": name["dtype"]}, keras.layers
    if isinstance(layer, layers.Conv2D) and layer.bias != "unit" and not layer.pad_value:
        options = {
            "strides": layer.stride,
            "dilation_rate": layer.dilation,
            "groups": layer.groups,
            "use_bias": layer.bias is not None,
        }
        top, bottom, left, right = layer.padding
        padding = ((top, bottom), (left, right))
        padded = [new.ZeroPadding2D(padding, **dtype)] if any(layer.padding) else []
        return [*padded, new.Conv2D(layer.c_out, layer.kernel, **options, **name)]
    if isinstance(layer, layers.Subsample2D):
        means = new.AveragePooling2D(layer.kernel, layer.stride, **dtype)
        return [means, new.DepthwiseConv2D(1, depth_multiplier=layer.multiplier, **name)]
    if isinstance(layer, layers.ScaledTanh):
        inner, outer = SCALED_TANH
        return [
            new.Rescaling(inner, **dtype),
            new.Activation("tanh", **name),
            new.Rescaling(outer, **dtype),
        ]
    if kind is layers.GELU and layer.arguments["approximate"] == "none":
        return [new.Activation("gelu", **name)]
    all_maxima = isinstance(layer, layers.MaxPool2D) and layer.ties != "first"
    if kind in _MADE and not all_maxima:
        return [_MADE[kind](layer, name)]
    raise TypeError(
        f"network: expected layers that Keras has, got {layer!r}; lenet_fast.onnx writes all layers"
    )
