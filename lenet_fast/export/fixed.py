"""Networks in integers: weights of 8 bits, values of 8 or 16, sums of 32.

Every number is an integer times a power of two, q / 2^p, where p, the *point*, is the number of
digits behind the binary point. There is one point per layer for its outputs, and one per output map
for its weights. So rescaling is a shift, and a multiplication of floats is never needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lenet_fast import ops
from lenet_fast.checks import Array
from lenet_fast.export.stages import Constant, Stage, centred
from lenet_fast.layers import RBF, AvgPool2D, Conv2D, Dense, MaxPool2D, Subsample2D
from lenet_fast.layers.activations import Activation
from lenet_fast.network import Network

Values = Literal["int8", "int16"]
"""Integers for what goes from layer to layer."""

LIMITS = {"int8": 127, "int16": 32767}

SUMS = 2**30
"""Largest sum of a layer: an int32 has room for it, and for what is added to round."""

TABLE, INTERVALS, REACH = 12, 256, 8
"""Tables of functions: the point of their arguments, and how many intervals they have from -8 to 8.
Between two entries, they are straight lines."""

SLOPE = 12
"""Point of the slope of a leaky ReLU."""


@dataclass
class FixedStage(Stage):
    """A stage in integers.

    Attributes
    ----------
    source, target : int
        Points of its input and output.
    shift : int or ndarray
        Digits that a sum loses to become an output or the argument of a function, for all output
        maps or each; negative: digits that it gains.
    limit : int or None
        Largest output, on either side; None for those of the network.
    factor : int
        What a mean is multiplied by, in place of a division.
    border : int
        Value of the pixels that a convolution adds around its input.
    function : Function or None
        The activation, if it needs a table.
    """

    source: int = 0
    target: int = 0
    shift: Any = 0
    limit: int | None = None
    factor: int = 1
    border: int = 0
    function: Function | None = None

    def constants(self) -> Iterator[Constant]:
        """Yield what a program stores for the stage."""
        yield from super().constants()
        if isinstance(self.shift, np.ndarray):
            point = TABLE if self.function else self.target
            meaning = f"digits that each map's sum loses; what is left is times 2^{point}"
            yield Constant(f"{self.name}_shift", self.shift.astype(np.int8), meaning)


@dataclass(frozen=True)
class Function:
    """An activation as a table: what is left of it once the part max(x, 0) is taken away, if it has
    such a part.

    Attributes
    ----------
    name : str
        An identifier of C.
    entries : ndarray of int16
        Values at -8, -8 + 1/16 and so on to 8.
    point : int
        Of the entries.
    linear : bool
        Whether there is a part max(x, 0).
    """

    name: str
    entries: Array
    point: int
    linear: bool

    @classmethod
    def of(cls, activation: Activation) -> Function:
        """Return the table of an activation; ValueError if it has values that are too large."""
        x = np.linspace(-REACH, REACH, INTERVALS + 1)
        linear = activation.function in ("elu", "gelu", "gelu_tanh")
        y = activation.forward(x, "numpy") - (np.maximum(x, 0) if linear else 0)
        point = largest_point(y, LIMITS["int16"], most=14)
        if point < TABLE:
            raise ValueError(
                f"network: expected activations whose values fit a table, got {activation!r} "
                f"({activation.name})"
            )
        option = f"_{activation.option:g}".replace(".", "_") if activation.options else ""
        name = activation.function + (option if activation.function == "elu" else "")
        return cls(name, rounded(y, point).astype(np.int16), point, linear)

    def __call__(self, x: Array) -> Array:
        """Return the values at integers with the point :data:`TABLE`."""
        half = REACH * 2**TABLE
        place = np.clip(x, -half, half - 1) + half
        width = 2 * half // INTERVALS
        index = (place // width).astype(np.intp)
        entries = self.entries.astype(np.float64)
        rise = entries[index + 1] - entries[index]
        y = entries[index] + scaled(rise * (place % width), width.bit_length() - 1)
        if self.linear:
            y += np.clip(x, 0, 2**24) * 2 ** (self.point - TABLE)
        return np.asarray(y)

    @property
    def constant(self) -> Constant:
        """The array that a program stores."""
        meaning = f"{self.name} from -{REACH} to {REACH}, times 2^{self.point}"
        meaning += ", without max(x, 0)" if self.linear else ""
        return Constant(f"{self.name}_table", self.entries, meaning)


@dataclass(eq=False)
class Quantised:
    """A network in integers, as :func:`quantise` returns it; it computes what the C program does.

    Attributes
    ----------
    network : Network
    values : {"int8", "int16"}
    stages : list of FixedStage
    pixels : ndarray (256,)
        The input's value for each byte.
    point : int
        Of the input.

    Examples
    --------
    >>> from lenet_fast import data, export, models
    >>> images = data.load("sample").train.images
    >>> quantised = export.quantise(models.lenet1(), images)
    >>> quantised.point, quantised.pixels[[0, 255]]
    (6, array([-6, 75], dtype=int8))
    >>> stage = quantised.stages[0]
    >>> stage.name, stage.w.dtype.name, stage.b.dtype.name, stage.shift
    ('H1', 'int8', 'int32', array([4, 4, 4, 4]))
    """

    network: Network
    values: Values
    stages: list[FixedStage]
    pixels: Array
    point: int

    @property
    def unit(self) -> float:
        """What 1 means in the outputs.

        Examples
        --------
        >>> from lenet_fast import data, export, models
        >>> images = data.load("sample").train.images
        >>> export.quantise(models.lenet5(), images).unit  # the centres are 64 and -64
        0.000244140625
        """
        return float(2.0 ** -self.stages[-1].target)

    def prepare(self, images: Array) -> Array:
        """Return the inputs for images, as :meth:`predict` takes them.

        Examples
        --------
        >>> from lenet_fast import data, export, models
        >>> images = data.load("sample").train.images
        >>> quantised = export.quantise(models.lenet5(), images)
        >>> quantised.prepare(images[:1])[0, 0, 14, 14:20].astype(int)
        array([74, 75, 75, 75, 75, 75])
        """
        return self.pixels[centred(self.network, images)].astype(np.float64)

    def steps(self, images: Array) -> Iterator[tuple[FixedStage, Array, Array]]:
        """Yield each stage with the sums of its units and its outputs, integers as float64.

        Examples
        --------
        >>> from lenet_fast import data, export, models
        >>> images = data.load("sample").train.images
        >>> quantised = export.quantise(models.lenet5(), images)
        >>> for stage, sums, outputs in quantised.steps(images[:1]):
        ...     print(stage.name, sums.shape, outputs.shape)
        ...     break
        C1 (1, 6, 28, 28) (1, 6, 28, 28)
        """
        x = self.prepare(images)
        for stage in self.stages:
            sums = _sums(stage, x)
            x = _outputs(stage, sums)
            yield stage, sums, x

    def predict(self, images: Array) -> Array:
        """Return the outputs for images, in the units of the network's.

        Parameters
        ----------
        images : ndarray of uint8
            (n, rows, columns); for a network with several input maps (n, c, h, w).

        Returns
        -------
        ndarray (n, k), float64

        Raises
        ------
        TypeError, ValueError
            If they are no bytes, or do not fit the network.

        Examples
        --------
        >>> from lenet_fast import data, export, models
        >>> network = models.lenet5(pooling="max", output="softmax")
        >>> images = data.load("sample").train.images[:100]
        >>> quantised = export.quantise(network, images)
        >>> bool(abs(quantised.predict(images) - network.predict(images)).max() < 0.1)
        True
        """
        parts = [self._run(images[k : k + 500]) for k in range(0, len(images), 500)]
        return np.concatenate(parts or [np.zeros((0, *self.network.output_shape))])

    def _run(self, images: Array) -> Array:
        *_, (_, _, outputs) = self.steps(images)
        return outputs * self.unit

    def classify(self, images: Array) -> Array:
        """Return the class of each image; parameters as for :meth:`predict`.

        Examples
        --------
        >>> from lenet_fast import data, export, models
        >>> images = data.load("sample").train.images[:100]
        >>> export.quantise(models.lenet5(), images).classify(images).shape
        (100,)
        """
        return np.asarray(self.network.winners(self.predict(images)))


def scaled(x: Array, shift: Any) -> Array:
    """Return x / 2^shift, rounded to the nearest, as the C function of this name does."""
    shift = np.asarray(shift)
    if np.all(shift > 0):
        return np.asarray(np.floor((x + 2.0 ** (shift - 1)) * 2.0**-shift))
    down, up = np.maximum(shift, 0), np.maximum(-shift, 0)
    whole = np.floor((x + np.where(shift > 0, 2.0 ** (down - 1.0), 0)) * 2.0**-down)
    most = np.floor(SUMS / 2.0**up)
    return np.asarray(np.clip(whole, -most, most) * 2.0**up)


def rounded(x: Array, point: int) -> Array:
    """Return integers for numbers that they are, times 2^point."""
    return np.asarray(np.rint(x * 2.0**point))


def largest_point(x: Array, limit: int, most: int = 24) -> int:
    """Return the largest point at which no number is above the limit."""
    largest = float(abs(x).max())
    if largest == 0:
        return most
    point = min(most, math.floor(math.log2(limit / largest)))
    while np.rint(largest * 2.0**point) > limit:
        point -= 1
    return point


# --- what the C program computes -----------------------------------------------------------------


def _sums(stage: FixedStage, x: Array) -> Array:
    """Return the sums of a stage's units. Integers in float64 are exact up to 2^53."""
    return np.asarray(_SUMS.get(type(stage.layer), lambda stage, x: x)(stage, x))


def _conv2d(stage: FixedStage, x: Array) -> Array:
    layer: Any = stage.layer
    w = np.zeros((layer.c_out, layer.c_in, *layer.kernel))
    w[layer.links] = _float(stage.w).reshape(-1, *layer.kernel)
    b = None if stage.b is None else _float(stage.b)
    options = {key: getattr(layer, key) for key in ("stride", "padding", "dilation")}
    return ops.conv2d(x, w, b, pad_value=stage.border, **options)


def _subsample2d(stage: FixedStage, x: Array) -> Array:
    kernel, stride = stage.window
    w, b = _float(stage.w), _float(stage.b)
    return ops.subsample2d(x, w, b, kernel=kernel, stride=stride)


def _avg_pool2d(stage: FixedStage, x: Array) -> Array:
    kernel, stride = stage.window
    channels = x.shape[1]
    w, b = np.full(channels, float(stage.factor)), np.zeros(channels)
    return ops.subsample2d(x, w, b, kernel=kernel, stride=stride)


def _max_pool2d(stage: FixedStage, x: Array) -> Array:
    kernel, stride = stage.window
    return ops.max_pool2d(x, kernel=kernel, stride=stride)


def _dense(stage: FixedStage, x: Array) -> Array:
    w = _float(stage.w)
    return ops.dense(x.reshape(len(x), -1), w.reshape(len(w), -1), _float(stage.b))


def _rbf(stage: FixedStage, x: Array) -> Array:
    w = _float(stage.w)
    return ops.rbf(x.reshape(len(x), -1), w.reshape(len(w), -1))


_SUMS: dict[type, Callable[[FixedStage, Array], Array]] = {
    Conv2D: _conv2d,
    Subsample2D: _subsample2d,
    AvgPool2D: _avg_pool2d,
    MaxPool2D: _max_pool2d,
    Dense: _dense,
    RBF: _rbf,
}


def _outputs(stage: FixedStage, sums: Array) -> Array:
    """Return the outputs of a stage for the sums of its units."""
    shift = stage.shift
    if isinstance(shift, np.ndarray):
        shift = shift.reshape(-1, *(1,) * (sums.ndim - 2))
    y = scaled(sums, shift)
    name = stage.activation.function if stage.activation else ""
    if name == "relu":
        y = np.maximum(y, 0)
    elif name == "leaky_relu" and stage.activation:
        slope = slope_of(stage.activation)
        y = np.where(y < 0, scaled(np.maximum(y, -(2**16)) * slope, SLOPE), y)
    elif stage.function:
        y = scaled(stage.function(y), stage.function.point - stage.target)
    return y if stage.limit is None else np.clip(y, -stage.limit, stage.limit)


def slope_of(activation: Activation) -> int:
    """Return the slope of a leaky ReLU as an integer; ValueError if it is too large."""
    slope = round(activation.option * 2**SLOPE)
    if slope > 2**14:
        raise ValueError(
            f"network: expected a slope of at most 4 in fixed point, got {activation!r} "
            f"({activation.name})"
        )
    return slope


def _float(array: Array | None) -> Array:
    return np.zeros(0) if array is None else array.astype(np.float64)
