"""The base class of all layers, and what they share."""

from __future__ import annotations

import functools
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast import checks, choices
from lenet_fast.checks import Array
from lenet_fast.windows import output_size, window_extent

Shape = tuple[int, ...]
"""Shape of one image, or of a layer's output for it, without an axis for the batch."""

Gradients = dict[str, Array]
"""Gradients of a layer's parameters, by name."""

MAX_VALUES = 2**26
"""Largest number of parameters of a network, or of units of a layer. A larger model file
is broken or hostile, and must not make us allocate."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Allowed layer names."""


class Operations(NamedTuple):
    """The ops that a layer calls."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    hessian: Callable[..., Any]


class Layer(ABC):
    """A step of a network: its arrays, its shapes and counts, and the ops it calls.

    Parameters
    ----------
    name : str, optional
        Up to 64 letters, digits and ``_ . -``. A network names its unnamed layers.

    Attributes
    ----------
    name : str
        Empty until the layer is named.
    parameters : dict of str to ndarray
        ``w`` and ``b``, if the layer has them. Empty until the layer joins a network.
    trainable : bool
        Whether the parameters are learned.
    curved : bool
        Whether :meth:`hessian` needs the gradient at the output, because it includes the second
        derivative of the layer itself.

    Examples
    --------
    C1 of LeNet-5 has 156 parameters and 122,304 connections (LeCun et al. 1998, section II.B):

    >>> from lenet_fast import layers
    >>> c1 = layers.Conv2D(1, 6, 5, name="C1")
    >>> c1.build((1, 32, 32), "float32")
    >>> c1.parameter_count(), c1.connections((1, 32, 32))
    (156, 122304)
    >>> c1.name, c1.trainable, c1.arguments["stride"]
    ('C1', True, (1, 1))
    """

    operations: ClassVar[Operations]
    options: ClassVar[tuple[str, ...]] = ()  # arguments of __init__, stored under the same names
    added: ClassVar[dict[str, Any]] = {}  # defaults of options that older model files lack
    label: ClassVar[str]  # prefix of the names that a network gives
    trainable: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    def __init__(self, *, name: str | None = None) -> None:
        self.name = ""
        self.parameters: dict[str, Array] = {}
        if name is not None:
            self.name = _checked_name(name)

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one image's output; ValueError if the input does not fit.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.Conv2D(1, 6, 5).output_shape((1, 32, 32))
        (6, 28, 28)
        """

    @property
    def arguments(self) -> dict[str, Any]:
        """The options that its operations take, by name."""
        return {option: getattr(self, option) for option in self.options}

    def forward(self, x: Array, backend: choices.Backend | None = None) -> Array:
        """Return the outputs for a batch of inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import layers
        >>> layers.MaxPool2D(2).forward(np.arange(16.0).reshape(1, 1, 4, 4))
        array([[[[ 5.,  7.],
                 [13., 15.]]]])
        """
        parameters = self.parameters.values()
        y: Array = self.operations.forward(x, *parameters, **self.arguments, backend=backend)
        return y

    def _seen(self, x: Array, y: Array) -> Array:
        """Return what a backward pass reads: the input, or what stands for it."""
        return x

    def _back_arguments(self, to_input: bool) -> dict[str, Any]:
        """Return the options that only the backward operations take."""
        return {}

    def _back(
        self,
        operation: Callable[..., Any],
        dy: Array,
        x: Array,
        y: Array,
        backend: choices.Backend | None,
        to_input: bool,
    ) -> tuple[Array | None, Gradients]:
        """Run a backward or a Hessian pass, which differ only in the operation."""
        if not (to_input or self.trainable):
            return None, {}
        weights = [self.parameters["w"]] if self.parameters else []
        options = {**self.arguments, **self._back_arguments(to_input), "backend": backend}
        found = operation(dy, self._seen(x, y), *weights, **options)
        dx, *gradients = found if weights else (found,)
        # A convolution without biases has one gradient more than parameters.
        of_parameters = zip(self.parameters, gradients, strict=False) if self.trainable else ()
        return dx.reshape(x.shape) if to_input else None, dict(of_parameters)

    def backward(
        self,
        dy: Array,
        x: Array,
        y: Array,
        backend: choices.Backend | None = None,
        input_gradient: bool = True,
    ) -> tuple[Array | None, Gradients]:
        """Return the gradient at the input, and the parameters' gradients summed over the batch.

        Parameters
        ----------
        dy : ndarray
            Gradient at the output.
        x, y : ndarray
            Input and output of :meth:`forward`.
        backend : str, optional
            See :mod:`lenet_fast.backends`.
        input_gradient : bool
            False: the first result is None.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import layers
        >>> layer = layers.Dense(2, 1)
        >>> layer.build((2,), "float64")
        >>> layer.parameters["w"][...] = 3.0, 4.0
        >>> x = np.array([[1.0, 2.0]])
        >>> layer.backward(np.array([[10.0]]), x, layer.forward(x))
        (array([[30., 40.]]), {'w': array([[10., 20.]]), 'b': array([10.])})
        """
        return self._back(self.operations.backward, dy, x, y, backend, input_gradient)

    def hessian(
        self,
        hy: Array,
        dy: Array | None,
        x: Array,
        y: Array,
        backend: choices.Backend | None = None,
        input_hessian: bool = True,
    ) -> tuple[Array | None, Gradients]:
        """Pass the diagonal of the Hessian back (LeCun et al. 1998, appendix C).

        Parameters and results are those of :meth:`backward`, with `hy` instead of `dy`. Only
        `curved` layers need `dy`; for the others it is None.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import layers
        >>> layer = layers.Dense(2, 1)
        >>> layer.build((2,), "float64")
        >>> layer.parameters["w"][...] = 3.0, 4.0
        >>> x = np.array([[1.0, 2.0]])
        >>> layer.hessian(np.array([[10.0]]), None, x, layer.forward(x))
        (array([[ 90., 160.]]), {'w': array([[10., 40.]]), 'b': array([10.])})
        """
        operation = self.operations.hessian
        if self.curved:
            operation = functools.partial(operation, dy=dy)
        return self._back(operation, hy, x, y, backend, input_hessian)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Return the shape of each parameter.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.Conv2D(1, 6, 5).parameter_shapes((1, 32, 32))
        {'w': (6, 1, 5, 5), 'b': (6,)}
        """
        return {}

    def build(self, input_shape: Shape, dtype: npt.DTypeLike) -> None:
        """Allocate the parameters: zeros, or fixed values.

        Examples
        --------
        A network does this, and then draws the weights:

        >>> from lenet_fast import layers
        >>> layer = layers.Dense(120, 84)
        >>> layer.parameters
        {}
        >>> layer.build((120,), "float32")
        >>> layer.parameters["w"].shape, layer.parameters["b"].shape
        ((84, 120), (84,))
        """
        shapes = self.parameter_shapes(input_shape)
        self.parameters = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}

    def units(self, input_shape: Shape) -> int:
        """Return the number of units, as the papers count them.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.Conv2D(1, 6, 5).units((1, 32, 32)), layers.ReLU().units((6, 28, 28))
        (4704, 0)
        """
        return math.prod(self.output_shape(input_shape))

    def connections(self, input_shape: Shape) -> int:
        """Return the number of connections as in the papers: inputs and bias of every unit.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.Subsample2D(6).connections((6, 28, 28))  # S2: 1,176 units, 5 each
        5880
        """
        return 0

    def parameter_count(self) -> int:
        """Return the number of free parameters that are allocated, without absent links.

        Examples
        --------
        >>> from lenet_fast import connections, layers
        >>> c3 = layers.Conv2D(6, 16, 5, connections=connections.LENET5_C3)
        >>> c3.build((6, 14, 14), "float32")
        >>> c3.parameter_count()  # 25 for each of 60 links, and 16 biases
        1516
        """
        return sum(array.size for array in self.parameters.values()) if self.trainable else 0

    def fan_in(self) -> Array:
        """Return the number of inputs of a unit, per output map or unit; empty without weights.

        Examples
        --------
        >>> from lenet_fast import connections, layers
        >>> c3 = layers.Conv2D(6, 16, 5, connections=connections.LENET5_C3)
        >>> c3.fan_in().tolist()  # 3, 4 or all 6 maps of 25 pixels
        [75, 75, 75, 75, 75, 75, 100, 100, 100, 100, 100, 100, 100, 100, 100, 150]
        """
        return np.zeros(0)

    def fan_out(self) -> float:
        """Return the mean number of weights that read an input; border and stride are ignored.

        Examples
        --------
        >>> from lenet_fast import connections, layers
        >>> c3 = layers.Conv2D(6, 16, 5, connections=connections.LENET5_C3)
        >>> c3.fan_out()  # each map of S2 feeds 10 maps, with 25 weights each
        250.0
        """
        return 0.0

    def __repr__(self) -> str:
        """Return the call that creates such a layer, without what is left at its default."""
        words: list[str] = []
        given: Any = self
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if name not in (*self.options, "name"):
                continue
            if name == "stride" and parameter.default is None and given.stride == given.kernel:
                continue
            text = self._argument(name)
            if parameter.kind == parameter.POSITIONAL_OR_KEYWORD:
                words += [text] if text else []
            elif text not in ("", repr(parameter.default)):
                words.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(words)})"

    def _argument(self, option: str) -> str:
        """Return the shortest argument that sets an option; "" for no name."""
        value = getattr(self, option)
        if isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        return repr(value) if value or option != "name" else ""

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`lenet_fast.layers.from_config`.

        It does not contain the arrays.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.MaxPool2D(2, name="S2").config()
        {'type': 'MaxPool2D', 'name': 'S2', 'kernel': [2, 2], 'stride': [2, 2]}
        """
        config: dict[str, Any] = {"type": type(self).__name__, "name": self.name}
        for option in self.options:
            value = getattr(self, option)
            config[option] = list(value) if isinstance(value, tuple) else value
        return config


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {checks.kind(name)}")
    if not NAME.fullmatch(name):
        raise ValueError(f"name: expected 1 to 64 of A-Z a-z 0-9 _ . -, got {name[:80]!r}")
    return name


def size(name: str, value: object) -> int:
    """Return a number of maps or units."""
    return checks.integer(name, value, 1, MAX_VALUES)


def images(input_shape: Shape, maps: int | None = None) -> tuple[int, int, int]:
    """Return (c, h, w) if an input shape has three axes and `maps` maps, else raise ValueError.

    Examples
    --------
    >>> from lenet_fast.layers.base import images
    >>> images((6, 14, 14), maps=6)
    (6, 14, 14)
    >>> images((1, 14, 14), maps=6)
    Traceback (most recent call last):
    ValueError: input: expected 6 maps, got 1 (shape (1, 14, 14))
    """
    if len(input_shape) != 3:
        raise ValueError(f"input: expected images (c, h, w), got shape {input_shape}")
    c, h, w = input_shape
    if maps is not None and c != maps:
        raise ValueError(f"input: expected {maps} maps, got {c} (shape {input_shape})")
    return c, h, w


def windows(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Return how many windows fit (rows, columns); ValueError if none does.

    Examples
    --------
    >>> from lenet_fast.layers.base import windows
    >>> windows((32, 32), kernel=(5, 5), stride=(1, 1))
    (28, 28)
    >>> windows((32, 32), kernel=(5, 5), stride=(2, 2), dilation=(1, 2))
    (14, 12)
    """
    rows = output_size(size[0], kernel[0], stride[0], dilation[0])
    columns = output_size(size[1], kernel[1], stride[1], dilation[1])
    if not (rows and columns):
        covered = [window_extent(k, d) for k, d in zip(kernel, dilation, strict=True)]
        raise ValueError(
            f"kernel: expected one that fits {size[0]} x {size[1]} pixels, padding included, "
            f"got one that covers {covered[0]} x {covered[1]}"
        )
    return rows, columns
