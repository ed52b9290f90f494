"""Conversion between models and networks."""

from __future__ import annotations

from typing import Any

import keras

from lenet_fast import checks, choices, layers
from lenet_fast.keras.reading import Reading
from lenet_fast.layers import Layer
from lenet_fast.network import Network

_ACTIVATIONS: dict[type[Layer], Any] = {
    layers.ReLU: lambda layer, name: keras.layers.ReLU(**name),
    layers.LeakyReLU: lambda layer, name: keras.layers.LeakyReLU(layer.slope, **name),
    layers.ELU: lambda layer, name: keras.layers.ELU(layer.alpha, **name),
    layers.Tanh: lambda layer, name: keras.layers.Activation("tanh", **name),
    layers.Sigmoid: lambda layer, name: keras.layers.Activation("sigmoid", **name),
}
"""What makes Keras' layers of our activations."""


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
        By default a new ``keras.Sequential`` for images (n, h, w, c), with copies of the weights,
        that ends with a softmax if the network's output is "softmax". It is not compiled. Absent
        links of a connection table become weights of zero, which training in Keras would change.

    Raises
    ------
    TypeError, ValueError
        If the network has other layers than Keras: scaled tanh, sub-sampling with coefficients,
        RBF, one bias per unit, gradients to all tied maxima; or if the layers of `model` are
        others.

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
    made = _new(network) if model is None else model
    reading = Reading(made)
    kinds = [
        [(type(layer), layer.config() | {"name": ""}) for layer in each.layers]
        for each in (network, reading.network)
    ]
    if model is not None and kinds[0] != kinds[1]:
        raise ValueError(
            f"model: expected the layers of the network, {_words(network)}, got "
            f"{_words(reading.network)}"
        )
    for ours, read in zip(network.layers, reading.network.layers, strict=True):
        for name, array in ours.parameters.items():
            read.parameters[name][...] = array
    reading.give()
    return made


def _of_logits(model: Any) -> bool:
    """Return whether a model is compiled with a crossentropy of classes."""
    loss = model.loss if model.compiled else None
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    return "categorical_crossentropy" in name or name in ("crossentropy", "ce")


def _words(network: Network) -> str:
    return ", ".join(map(repr, network.layers))


def _new(network: Network) -> keras.Model:
    """Return a model of the same layers, with weights of its own."""
    c, h, w = network.input_shape
    dtype = network.dtype.name
    row: list[Any] = [keras.layers.Input((h, w, c), dtype=dtype)]
    for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
        if isinstance(layer, layers.Dense) and len(shape) > 1:
            row.append(keras.layers.Flatten(dtype=dtype))
        row += _layers(layer, dtype)
    if network.output == "softmax":
        row.append(keras.layers.Softmax(dtype=dtype))
    return keras.Sequential(row)


def _layers(layer: Layer, dtype: str) -> list[Any]:
    """Return new layers that together compute the same as one of ours."""
    name = {"name": layer.name.replace(".", "_"), "dtype": dtype}
    if type(layer) is layers.Conv2D and layer.bias != "unit" and not layer.pad_value:
        options = {
            "strides": layer.stride,
            "dilation_rate": layer.dilation,
            "groups": layer.groups,
            "use_bias": layer.bias is not None,
        }
        top, bottom, left, right = layer.padding
        padding = ((top, bottom), (left, right))
        padded = [keras.layers.ZeroPadding2D(padding, dtype=dtype)] if any(layer.padding) else []
        return [*padded, keras.layers.Conv2D(layer.c_out, layer.kernel, **options, **name)]
    if type(layer) is layers.MaxPool2D and layer.ties == "first":
        return [keras.layers.MaxPooling2D(layer.kernel, layer.stride, **name)]
    if type(layer) is layers.AvgPool2D:
        return [keras.layers.AveragePooling2D(layer.kernel, layer.stride, **name)]
    if type(layer) is layers.Dense:
        return [keras.layers.Dense(layer.n_out, **name)]
    if type(layer) is layers.Dropout2D:
        return [keras.layers.SpatialDropout2D(layer.p, **name)]
    if type(layer) is layers.Dropout:
        return [keras.layers.Dropout(layer.p, **name)]
    if type(layer) is layers.GELU and layer.approximate == "none":
        return [keras.layers.Activation("gelu", **name)]
    if type(layer) in _ACTIVATIONS:
        return [_ACTIVATIONS[type(layer)](layer, name)]
    raise TypeError(
        f"network: expected layers that Keras has, got {layer!r} ({layer.name}); lenet_fast.onnx "
        "writes all layers"
    )
