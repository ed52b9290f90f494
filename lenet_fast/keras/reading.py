"""A Keras model as a row of our layers, and the variables of their parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np

from lenet_fast import checks, choices, initialisers, layers
from lenet_fast.checks import Array
from lenet_fast.layers import Layer, Shape
from lenet_fast.layers.activations import Activation
from lenet_fast.network import DTYPES, Network
from lenet_fast.windows import window_extent

_TOLERANCE = 1e-4
"""Of the outputs, relative to the largest; ours and Keras' add in another order. With PyTorch,
Keras multiplies matrices in float32 also in models of float64."""

_ACTIVATIONS: dict[Callable[..., Any], Callable[[], Activation]] = {
    keras.activations.relu: layers.ReLU,
    keras.activations.tanh: layers.Tanh,
    keras.activations.sigmoid: layers.Sigmoid,
    keras.activations.elu: layers.ELU,
    keras.activations.leaky_relu: lambda: layers.LeakyReLU(0.2),
    keras.activations.gelu: layers.GELU,
}
"""Our layers by Keras' functions, with the options that Keras gives them by default."""

_SOFTMAX = (keras.activations.softmax, keras.activations.log_softmax)


SCALED_TANH = 2 / 3, 1.7159
"""Factors before and after a tanh; see :func:`lenet_fast.ops.scaled_tanh`."""


class Link(NamedTuple):
    """A variable of the model, which is one parameter of a layer."""

    layer: Layer
    name: str  # of the layer's parameter
    variable: Any
    to_ours: Callable[[Array], Array]
    to_keras: Callable[[Array], Array]


class Reading:
    """What a model computes: layers, and the variables of their parameters.

    Attributes
    ----------
    network : Network
        With copies of the weights. It ends before a softmax.
    links : list of Link
    softmax : str
        "softmax" or "log_softmax" if the model ends with one, else "".
    row : list of keras.Layer
        The layers of the model, in order.

    Raises
    ------
    TypeError, ValueError
        If the model is no row of layers that we have; the message names the layer and the option.
    """

    def __init__(
        self,
        model: Any,
        output: choices.Output | None = None,
        pixel_range: tuple[float, float] | None = None,
        *,
        evaluation: bool = False,
    ) -> None:
        self._evaluation = evaluation
        self.links: list[Link] = []
        self.softmax = ""
        self.shape = _input_shape(model)  # in Keras' order, without the batch
        self._given = self.shape
        self._layers: list[Layer] = []
        self._shapes: list[Shape] = []  # of our layers' outputs
        self._first: Shape = ()  # what the first layer reads, in Keras' order
        self._format = ""  # "channels_last" or "channels_first", once a layer says it
        self._scale, self._offset = 1.0, 0.0
        self._padding = (0, 0, 0, 0)  # that waits for a convolution
        self._flat = False
        self._factors: list[tuple[Layer, Array, Array]] = []  # of batch norm, to fold
        self.row = _row(model)
        self._check_dtypes()
        row = list(self.row)
        while row:
            if _is_scaled_tanh(row[:3]):
                self._add(layers.ScaledTanh(), row[1])
                del row[:3]
            else:
                self._read(row.pop(0))
        if any(self._padding):
            raise ValueError("model: expected a convolution after ZeroPadding2D, got another layer")
        if not self._layers:
            raise ValueError("model: expected layers such as Conv2D and Dense, got none")
        if len(self._shapes[-1]) != 1:
            raise ValueError(
                "model: expected a last layer with one number per class, such as Dense(10), got "
                f"outputs of shape {self.shape}"
            )
        if self._offset or self._scale != 1:
            pixel_range = pixel_range or (self._offset, 255 * self._scale + self._offset)
        with initialisers.deferred():
            self.network = Network(
                self._layers,
                input_shape=self._input_shape(),
                output=output or ("softmax" if self.softmax else "linear"),
                dtype=self._dtype,
                pixel_range=pixel_range,
            )
        self.take()
        for ours, factor, summand in self._factors:
            w, b = ours.parameters["w"], ours.parameters["b"]
            w *= factor.reshape(-1, *[1] * (w.ndim - 1))
            b *= factor
            b += summand
        self._check(model)

    # --- weights  ---

    def take(self) -> None:
        """Copy the model's weights to the network."""
        for link in self.links:
            array = keras.ops.convert_to_numpy(link.variable)
            link.layer.parameters[link.name][...] = link.to_ours(array)

    def give(self) -> None:
        """Copy the network's weights to the model."""
        for link in self.links:
            link.variable.assign(link.to_keras(link.layer.parameters[link.name]))

    # --- images  ---

    def images(self, name: str, x: Any) -> Array:
        """Return images as the network takes them, from an array as the model takes it."""
        array = as_array(name, x)
        shape = array.shape[1:]
        if _squeezed(shape) != _squeezed(self._given) or array.ndim < 2:
            raise ValueError(
                f"{name}: expected images of shape ({', '.join(map(str, ('n', *self._given)))}), "
                f"as the model takes them, got {array.shape}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: expected numbers, got {array.dtype}")
        array = array.reshape(len(array), *self._first)
        if len(self._first) == 3 and self._format != "channels_first":
            array = array.transpose(0, 3, 1, 2)
        array = np.ascontiguousarray(array.reshape(len(array), *self._input_shape()), self._dtype)
        if self._scale != 1 or self._offset:
            array = array * array.dtype.type(self._scale) + array.dtype.type(self._offset)
        return array

    def _input_shape(self) -> tuple[int, int, int]:
        return self._maps(self._first)

    def _maps(self, shape: Shape) -> tuple[int, int, int]:
        """Return Keras' shape as (c, h, w)."""
        if len(shape) == 3 and self._format == "channels_first":
            return shape[0], shape[1], shape[2]
        if len(shape) == 3:
            return shape[2], shape[0], shape[1]
        return (1, *([1] * (2 - len(shape))), *shape)  # type: ignore[return-value]

    # --- layers  ---

    def _read(self, layer: Any) -> None:
        reader = _READERS.get(type(layer))
        if reader is None:
            known = ", ".join(sorted(kind.__name__ for kind in _READERS))
            raise TypeError(
                f"model: layer {layer.name}: expected one of Keras' {known}, got "
                f"{type(layer).__module__.partition('.')[0]}'s {type(layer).__name__}"
            )
        if self.softmax:
            raise ValueError(
                f"model: layer {layer.name}: expected the softmax to be the last layer, got "
                f"{type(layer).__name__} after it"
            )
        reader(self, layer)

    def _add(self, layer: Layer, keras_layer: Any) -> Layer:
        """Append a layer; it gets the name of the model's."""
        if not self._layers:
            if not self._first:
                self._first = self.shape
            self._shapes = [self._input_shape()]
        if any(self._padding):
            raise ValueError(
                f"model: layer {keras_layer.name}: expected a Conv2D after ZeroPadding2D, got "
                f"{type(keras_layer).__name__}"
            )
        layer.name = self._name(keras_layer.name, isinstance(layer, Activation))
        try:
            self._shapes.append(layer.output_shape(self._shapes[-1]))
        except ValueError as error:
            raise ValueError(f"model: layer {keras_layer.name}: {error}") from None
        self._layers.append(layer)
        return layer

    def _name(self, name: str, of_activation: bool) -> str:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:50]
        if of_activation and any(name == each.name for each in self._layers):
            name += ".activation"
        while any(name == each.name for each in self._layers):
            name += "_"
        return name

    def _order(self, layer: Any) -> None:
        """Follow the order of axes that a layer expects."""
        if len(self.shape) != 3 or self._flat:
            raise ValueError(
                f"model: layer {layer.name}: expected images of three axes, got {self.shape}"
            )
        if self._format not in ("", layer.data_format):
            raise ValueError(
                f"model: layer {layer.name}: expected data_format={self._format!r} as before, got "
                f"{layer.data_format!r}"
            )
        self._format = layer.data_format

    def _of_layer(self) -> None:
        """Set Keras' shape after a layer of ours that reads images."""
        c, h, w = self._shapes[-1]
        self.shape = (c, h, w) if self._format == "channels_first" else (h, w, c)

    def _activate(self, function: Any, layer: Any) -> None:
        if function is None or function is keras.activations.linear:
            return
        if function in _SOFTMAX:
            if len(self.shape) != 1:
                raise ValueError(
                    f"model: layer {layer.name}: expected a softmax over one axis, got {self.shape}"
                )
            self.softmax = function.__name__
        elif function in _ACTIVATIONS:
            self._add(_ACTIVATIONS[function](), layer)
        else:
            known = ", ".join(each.__name__ for each in (*_ACTIVATIONS, *_SOFTMAX))
            raise ValueError(
                f"model: layer {layer.name}: expected activation linear, {known}, got "
                f"{getattr(function, '__name__', type(function).__name__)}"
            )

    def _link(self, ours: Layer, layer: Any, to_ours: Any, to_keras: Any) -> None:
        self.links.append(Link(ours, "w", layer.kernel, to_ours, to_keras))
        if layer.use_bias:
            self.links.append(Link(ours, "b", layer.bias, _same, _same))

    def _conv2d(self, layer: Any) -> None:
        self._convolve(layer, layer.filters, layer.groups, _conv_to_ours, conv_to_keras)

    def _depthwise(self, layer: Any) -> None:
        c, *_ = self._maps(self.shape)
        views = _depthwise_to_ours, partial(_depthwise_to_keras, c)
        self._convolve(layer, c * layer.depth_multiplier, c, *views)

    def _convolve(self, layer: Any, c_out: int, groups: int, to_ours: Any, to_keras: Any) -> None:
        self._order(layer)
        c, h, w = self._maps(self.shape)
        extents = map(window_extent, layer.kernel_size, layer.dilation_rate)
        padding = list(self._padding)
        if layer.padding == "same":
            height, width = h + padding[0] + padding[1], w + padding[2] + padding[3]
            sides = zip((height, width), extents, layer.strides, strict=True)
            same = [side for each in sides for side in _same_padding(*each)]
            padding = [a + b for a, b in zip(padding, same, strict=True)]
        self._padding = (0, 0, 0, 0)
        ours = layers.Conv2D(
            *(c, c_out, layer.kernel_size),
            stride=layer.strides,
            padding=tuple(padding),  # type: ignore[arg-type]
            dilation=layer.dilation_rate,
            groups=groups,
            bias="map" if layer.use_bias else None,
        )
        self._link(self._add(ours, layer), layer, to_ours, to_keras)
        self._of_layer()
        self._activate(layer.activation, layer)

    def _dense(self, layer: Any) -> None:
        if len(self.shape) != 1:
            raise ValueError(
                f"model: layer {layer.name}: expected a Flatten before Dense, got inputs of shape "
                f"{self.shape}"
            )
        if not self._layers and not self._first:
            self._first = self.shape
        before = self._shapes[-1] if self._layers else self._input_shape()
        ours = layers.Dense(math.prod(before), layer.units)
        if len(before) < 3 or self._format == "channels_first":
            maps: tuple[int, int, int] = (math.prod(before), 1, 1)
        else:
            maps = before[0], before[1], before[2]
        self._link(self._add(ours, layer), layer, *dense_views(maps))
        self.shape, self._flat = (layer.units,), False
        self._activate(layer.activation, layer)

    def _pool(self, layer: Any) -> None:
        self._order(layer)
        kind = layers.MaxPool2D if type(layer) is keras.layers.MaxPooling2D else layers.AvgPool2D
        _, h, w = self._maps(self.shape)
        sides = zip((h, w), layer.pool_size, layer.strides, strict=True)
        if layer.padding == "same" and any(any(_same_padding(*each)) for each in sides):
            raise ValueError(
                f"model: layer {layer.name}: expected padding='valid', or windows that cover the "
                f"{h} x {w} pixels, got padding='same'"
            )
        self._add(kind(layer.pool_size, layer.strides), layer)
        self._of_layer()

    def _global_pool(self, layer: Any) -> None:
        self._order(layer)
        average = type(layer) is keras.layers.GlobalAveragePooling2D
        kind = layers.AvgPool2D if average else layers.MaxPool2D
        c, h, w = self._maps(self.shape)
        self._add(kind((h, w)), layer)
        self._of_layer()
        if not layer.keepdims:
            self.shape, self._flat = (c,), True

    def _flatten(self, layer: Any) -> None:
        if len(self.shape) == 3 and not self._layers and not self._first:
            self._format = self._format or layer.data_format
        if len(self.shape) == 3 and layer.data_format != "channels_last":
            # Keras would move the maps to the end.
            raise ValueError(
                f"model: layer {layer.name}: expected data_format='channels_last', got "
                f"{layer.data_format!r}"
            )
        self._flattened()

    def _flattened(self) -> None:
        if not self._layers and not self._first:
            self._first = self.shape
        self._flat = len(self.shape) > 1
        self.shape = (math.prod(self.shape),)

    def _reshape(self, layer: Any) -> None:
        target = tuple(layer.compute_output_shape((None, *self.shape))[1:])
        if _squeezed(target) == _squeezed(self.shape) or (not self._layers and len(target) > 1):
            if self._layers and target != self.shape:
                raise ValueError(
                    f"model: layer {layer.name}: expected Reshape before the first layer only, or "
                    f"as Flatten, got one to {target}"
                )
            self.shape = target
        elif len(target) == 1:
            self._flattened()
        else:
            raise ValueError(
                f"model: layer {layer.name}: expected Reshape before the first layer only, or as "
                f"Flatten, got one to {target}"
            )

    def _rescaling(self, layer: Any) -> None:
        self._scaled(layer, layer.scale, layer.offset)

    def _normalization(self, layer: Any) -> None:
        mean, variance = (keras.ops.convert_to_numpy(v) for v in (layer.mean, layer.variance))
        factor = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
        if layer.invert:
            raise ValueError(f"model: layer {layer.name}: expected invert=False, got True")
        self._scaled(layer, factor, -mean * factor)

    def _scaled(self, layer: Any, scale: Any, offset: Any) -> None:
        scale, offset = np.asarray(scale), np.asarray(offset)
        if self._layers or scale.size != 1 or offset.size != 1:
            raise ValueError(
                f"model: layer {layer.name}: expected one number for all pixels, before the first "
                f"other layer, got {scale.size} after {len(self._layers)} layers"
            )
        self._scale *= scale.item()
        self._offset = self._offset * scale.item() + offset.item()

    def _zero_padding(self, layer: Any) -> None:
        self._order(layer)
        (top, bottom), (left, right) = layer.padding
        sides = zip(self._padding, (top, bottom, left, right), strict=True)
        self._padding = tuple(a + b for a, b in sides)

    def _dropout(self, layer: Any) -> None:
        if getattr(layer, "noise_shape", None) is not None:
            raise ValueError(
                f"model: layer {layer.name}: expected noise_shape=None, got {layer.noise_shape}"
            )
        if type(layer) is keras.layers.SpatialDropout2D:
            self._order(layer)
        if checks.below_one(f"model: layer {layer.name}: rate", layer.rate):
            spatial = type(layer) is keras.layers.SpatialDropout2D
            self._add((layers.Dropout2D if spatial else layers.Dropout)(layer.rate), layer)

    def _activation(self, layer: Any) -> None:
        self._activate(layer.activation, layer)

    def _softmax(self, layer: Any) -> None:
        if layer.axis not in (-1, 1):
            raise ValueError(f"model: layer {layer.name}: expected axis=-1, got {layer.axis}")
        self._activate(keras.activations.softmax, layer)

    def _relu(self, layer: Any) -> None:
        if layer.max_value is not None or layer.threshold:
            raise ValueError(
                f"model: layer {layer.name}: expected max_value=None and threshold=0, got "
                f"{layer.max_value} and {layer.threshold}"
            )
        slope = float(layer.negative_slope)
        self._add(layers.LeakyReLU(slope) if slope else layers.ReLU(), layer)

    def _leaky_relu(self, layer: Any) -> None:
        self._add(layers.LeakyReLU(float(layer.negative_slope)), layer)

    def _elu(self, layer: Any) -> None:
        self._add(layers.ELU(float(layer.alpha)), layer)

    def _batch_norm(self, layer: Any) -> None:
        if not self._evaluation:
            raise ValueError(
                f"model: layer {layer.name}: expected no BatchNormalization in training, which "
                "needs statistics over the batch; from_keras reads it for evaluation"
            )
        axis = -1 if len(self.shape) == 1 or self._format != "channels_first" else 1
        if self._flat or layer.axis not in (axis, axis % (len(self.shape) + 1)):
            raise ValueError(
                f"model: layer {layer.name}: expected one factor per map or unit, not directly "
                f"after Flatten, got axis={layer.axis} of {self.shape}"
            )
        number = keras.ops.convert_to_numpy
        factor = 1 / np.sqrt(number(layer.moving_variance).astype(np.float64) + layer.epsilon)
        factor *= number(layer.gamma) if layer.scale else 1
        summand = -number(layer.moving_mean) * factor
        summand += number(layer.beta) if layer.center else 0
        if not self._layers or type(self._layers[-1]) not in (layers.Conv2D, layers.Dense):
            raise ValueError(
                f"model: layer {layer.name}: expected BatchNormalization directly after a Conv2D "
                "or Dense without activation, got it elsewhere"
            )
        last = self._layers[-1]
        if isinstance(last, layers.Conv2D):
            last.bias = "map"  # of zero, if the model has none
        self._factors.append((last, factor, summand))

    # --- checks  ---

    def _check_dtypes(self) -> None:
        dtypes = {layer.compute_dtype for layer in self.row} | {
            each.dtype for layer in self.row for each in layer.trainable_variables
        }
        if len(dtypes) != 1 or not dtypes <= set(DTYPES):
            raise TypeError(
                f"model: expected one dtype, float32 or float64, got {', '.join(sorted(dtypes))}"
            )
        self._dtype: Any = dtypes.pop()

    def _check(self, model: Any) -> None:
        """Compare the outputs for a few random images with the model's."""
        x = np.random.default_rng(0).random((4, *self._given))
        x = ((x - self._offset) / self._scale).astype(self._dtype)  # the network sees 0 to 1
        expected = keras.ops.convert_to_numpy(model(x, training=False))
        y = self.images("x", x)
        with np.errstate(all="ignore"):
            for layer in self.network.layers:
                y = layer.forward(y)
            y = self.outputs(y)
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        bound = _TOLERANCE * scale
        if np.isfinite(expected).all() and not np.allclose(y, expected, 0, bound):
            raise ValueError(
                "model: expected layers that compute what Keras' layers of their names do, got "
                f"outputs that differ by {np.abs(y - expected).max():.2g}"
            )

    def outputs(self, y: Array) -> Array:
        """Return the model's outputs from the network's."""
        if not self.softmax:
            return y
        y = y - y.max(axis=1, keepdims=True)
        total = np.exp(y).sum(axis=1, keepdims=True)
        return np.exp(y) / total if self.softmax == "softmax" else y - np.log(total)


_READERS: dict[type, Callable[[Reading, Any], None]] = {
    keras.layers.Activation: Reading._activation,
    keras.layers.AveragePooling2D: Reading._pool,
    keras.layers.BatchNormalization: Reading._batch_norm,
    keras.layers.Conv2D: Reading._conv2d,
    keras.layers.Dense: Reading._dense,
    keras.layers.DepthwiseConv2D: Reading._depthwise,
    keras.layers.Dropout: Reading._dropout,
    keras.layers.ELU: Reading._elu,
    keras.layers.Flatten: Reading._flatten,
    keras.layers.GlobalAveragePooling2D: Reading._global_pool,
    keras.layers.GlobalMaxPooling2D: Reading._global_pool,
    keras.layers.LeakyReLU: Reading._leaky_relu,
    keras.layers.MaxPooling2D: Reading._pool,
    keras.layers.Normalization: Reading._normalization,
    keras.layers.ReLU: Reading._relu,
    keras.layers.Rescaling: Reading._rescaling,
    keras.layers.Reshape: Reading._reshape,
    keras.layers.Softmax: Reading._softmax,
    keras.layers.SpatialDropout2D: Reading._dropout,
    keras.layers.ZeroPadding2D: Reading._zero_padding,
}
"""What reads the layers of Keras; their subclasses may compute something else."""


def as_array(name: str, value: Any) -> Array:
    """Return an array or a tensor as an array of one image per row."""
    if keras.ops.is_tensor(value):
        array = keras.ops.convert_to_numpy(value)
    elif isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(f"{name}: expected rows of one length, got others") from None
    else:
        raise TypeError(
            f"{name}: expected an array or a tensor, got {checks.kind(value)}; gather the batches "
            "of a data set or generator first, or call model.fit"
        )
    if array.ndim < 1 or not len(array):
        raise ValueError(f"{name}: expected one row per image, got shape {array.shape}")
    return array


def _input_shape(model: Any) -> Shape:
    if not isinstance(model, keras.Model):
        raise TypeError(f"model: expected a keras.Model, got {checks.kind(model)}")
    if not model.built:
        raise ValueError(
            "model: expected a built one; begin it with keras.layers.Input, or call model.build"
        )
    _check_one(model)
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape or not 1 <= len(shape) <= 3:
        raise ValueError(
            f"model: expected inputs of a fixed shape with one to three axes, got {shape}"
        )
    return shape


def _check_one(model: Any) -> None:
    """Raise TypeError unless a model says what it is made of, and has one input and output."""
    inputs = getattr(model, "inputs", None)
    if not inputs or not getattr(model, "outputs", None):
        raise TypeError(
            "model: expected a Sequential or functional model, got the subclass "
            f"{type(model).__name__}, which only says in Python what it computes; "
            "keras.Sequential([...]) of its layers would do"
        )
    if len(inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"model: expected one input and one output, got {len(inputs)} and {len(model.outputs)}"
        )


def _row(model: Any) -> list[Any]:
    """Return the layers of a model in order, those of models within it included."""
    _check_one(model)
    found: list[Any] = []
    tensor, first = model.outputs[0], model.inputs[0]
    while tensor is not first:
        layer, node, _ = tensor._keras_history
        given = layer._inbound_nodes[node].input_tensors
        if not isinstance(layer, keras.Layer):
            raise TypeError(f"model: expected layers only, got {type(layer).__name__} of keras.ops")
        if len(given) != 1:
            raise ValueError(
                f"model: layer {layer.name}: expected a row, in which each layer reads one other, "
                f"got {len(given)} inputs"
            )
        if any(layer is each for each in found):
            raise ValueError(f"model: layer {layer.name}: expected it once, got it twice")
        found[:0] = _row(layer) if isinstance(layer, keras.Model) else [layer]
        tensor = given[0]
    return found


def _squeezed(shape: Iterable[int]) -> Shape:
    """Return a shape without axes of one at the end."""
    sizes = list(shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis that padding="same" adds."""
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _same(array: Array) -> Array:
    return array


def _conv_to_ours(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


def conv_to_keras(w: Array) -> Array:
    return w.transpose(2, 3, 1, 0)


def _depthwise_to_ours(kernel: Array) -> Array:
    kh, kw, c, multiplier = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(c * multiplier, 1, kh, kw)


def _depthwise_to_keras(c: int, w: Array) -> Array:
    """Return Keras' layout, with `c` input maps."""
    return w.reshape(c, -1, *w.shape[2:]).transpose(2, 3, 0, 1)


def _is_scaled_tanh(row: list[Any]) -> bool:
    """Return whether three layers are those of :data:`SCALED_TANH`."""
    if [type(each).__name__ for each in row] != ["Rescaling", "Activation", "Rescaling"]:
        return False
    first, function, last = row
    factors, offsets = zip(*((each.scale, each.offset) for each in (first, last)), strict=True)
    known = factors == SCALED_TANH and offsets == (0, 0)
    return known and function.activation is keras.activations.tanh


def dense_views(maps: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return the layouts of a kernel whose inputs Keras flattens from (h, w, c)."""
    c, h, w = maps

    def to_ours(kernel: Array) -> Array:
        return kernel.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(-1, c * h * w)

    def to_keras(weights: Array) -> Array:
        return weights.reshape(-1, c, h, w).transpose(2, 3, 1, 0).reshape(h * w * c, -1)

    return to_ours, to_keras
