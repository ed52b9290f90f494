"""Activations, element by element. They belong to the units of the layer before them, and so have
no units of their own."""

from __future__ import annotations

from typing import Any, ClassVar

from lenet_fast import checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.layers.base import Layer, Operations, Shape
from lenet_fast.ops._activations import GELU_FORMS


class Activation(Layer):
    """What all of them share.

    Attributes
    ----------
    initialiser : str
        Of the weights before it, for a network that begins to learn at once.
    needs_input : bool
        Whether the slope is taken from the input: two inputs may have one output. It is taken from
        the output otherwise.

    Examples
    --------
    >>> from lenet_fast import layers
    >>> layer = layers.LeakyReLU(0.2)
    >>> layer.text, layer.function, layer.option
    ('leaky_relu:0.2', 'leaky_relu', 0.2)
    >>> layer.initialiser, layer.needs_input, layers.GELU().needs_input
    ('he_normal', False, True)
    """

    label = "activation"
    initialiser: ClassVar[choices.Initialiser] = "he_normal"
    needs_input: ClassVar[bool] = False

    @property
    def function(self) -> str:
        """The name of the function, as the kernels call it."""
        return self.operations.forward.__name__

    @property
    def option(self) -> float:
        """The number that the kernels take with it; 0 if there is none."""
        return next((value for value in self.arguments.values() if isinstance(value, float)), 0.0)

    def named(self, name: str) -> Activation:
        """Return a new one of the same kind and options.

        Examples
        --------
        >>> from lenet_fast import layers
        >>> layers.LeakyReLU(0.2).named("C1.activation").config()
        {'type': 'LeakyReLU', 'name': 'C1.activation', 'slope': 0.2}
        """
        return type(self)(**self.arguments, name=name)

    @property
    def text(self) -> str:
        """What :func:`activation` reads: "relu", "leaky_relu:0.2"."""
        kind = type(self)
        name = next((name for name, each in ACTIVATIONS.items() if each is kind), kind.__name__)
        changed = self.arguments != kind().arguments
        return ":".join(map(str, [name, *(self.arguments.values() if changed else ())]))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{type(self).__name__}({options})"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def units(self, input_shape: Shape) -> int:
        return 0

    def _seen(self, x: Array, y: Array) -> Array:
        return x if self.needs_input else y


class ScaledTanh(Activation):
    """``1.7159 tanh(2 x / 3)``, that of 1998; see :func:`lenet_fast.ops.scaled_tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.ScaledTanh().forward(np.array([-1.0, 1.0, 10.0])).round(4)
    array([-1.    ,  1.    ,  1.7159])
    """

    operations = Operations(ops.scaled_tanh, ops.scaled_tanh_backward, ops.scaled_tanh_hessian)
    initialiser = "lecun_sqrt"


class Tanh(Activation):
    """``tanh(x)``; see :func:`lenet_fast.ops.tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.Tanh().forward(np.array([-1.0, 1.0, 10.0])).round(4)
    array([-0.7616,  0.7616,  1.    ])
    """

    operations = Operations(ops.tanh, ops.tanh_backward, ops.tanh_hessian)
    initialiser = "lecun_sqrt"


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``; see :func:`lenet_fast.ops.sigmoid`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.Sigmoid().forward(np.array([-1.0, 0.0, 1.0])).round(4)
    array([0.2689, 0.5   , 0.7311])
    """

    operations = Operations(ops.sigmoid, ops.sigmoid_backward, ops.sigmoid_hessian)
    initialiser = "glorot_sigmoid"


class ReLU(Activation):
    """``max(x, 0)``; see :func:`lenet_fast.ops.relu`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.ReLU().forward(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """

    operations = Operations(ops.relu, ops.relu_backward, ops.relu_hessian)


class LeakyReLU(Activation):
    """``x``, or ``slope x`` on the left; see :func:`lenet_fast.ops.leaky_relu`.

    Parameters
    ----------
    slope : float
        0 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.LeakyReLU(0.25).forward(np.array([-1.0, 0.0, 1.0]))
    array([-0.25,  0.  ,  1.  ])
    """

    operations = Operations(ops.leaky_relu, ops.leaky_relu_backward, ops.leaky_relu_hessian)
    options = ("slope",)

    def __init__(self, slope: float = 0.01, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.slope = checks.not_negative("slope", slope)


class ELU(Activation):
    """``x``, or ``alpha (exp(x) - 1)`` on the left; see :func:`lenet_fast.ops.elu`.

    Parameters
    ----------
    alpha : float
        Above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.ELU(0.5).forward(np.array([-10.0, 0.0, 1.0])).round(4)
    array([-0.5,  0. ,  1. ])
    """

    operations = Operations(ops.elu, ops.elu_backward, ops.elu_hessian)
    options = ("alpha",)

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha = checks.positive("alpha", alpha)


class GELU(Activation):
    """``x Phi(x)``; see :func:`lenet_fast.ops.gelu`.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Phi itself, or a tanh that comes near it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.GELU().forward(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """

    operations = Operations(ops.gelu, ops.gelu_backward, ops.gelu_hessian)
    options = ("approximate",)
    needs_input = True

    def __init__(self, approximate: choices.GeluForm = "none", *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.approximate = checks.choice("approximate", approximate, GELU_FORMS)

    @property
    def function(self) -> str:
        """The name of the function, as the kernels call it."""
        return "gelu" if self.approximate == "none" else "gelu_tanh"


ACTIVATIONS: dict[str, type[Activation]] = {
    "scaled_tanh": ScaledTanh,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
}
"""By the names that models, the command line and the estimators take."""


def activation(name: str, value: object) -> Activation:
    """Return what an argument called `name` chooses.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : str or Activation
        One of :data:`ACTIVATIONS`, with its option behind a colon if that is not the default:
        "leaky_relu:0.2"; or a layer.

    Raises
    ------
    TypeError, ValueError
        If it is neither.

    Examples
    --------
    >>> from lenet_fast import layers
    >>> layers.activation("activation", "leaky_relu:0.2")
    LeakyReLU(slope=0.2)
    >>> layers.activation("activation", "tanh:0.2")
    Traceback (most recent call last):
    ValueError: activation: expected tanh without an option, got 'tanh:0.2'
    """
    if isinstance(value, Activation):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a name or a layer, got {checks.kind(value)}")
    key, colon, text = value.partition(":")
    kind = ACTIVATIONS[checks.choice(name, key, tuple(ACTIVATIONS))]
    if not colon:
        return kind()
    if not kind.options:
        raise ValueError(f"{name}: expected {key} without an option, got {checks.quoted(value)}")
    try:
        option: Any = float(text)
    except ValueError:
        option = text
    try:
        return kind(**{kind.options[0]: option})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {key}: {error}") from None
