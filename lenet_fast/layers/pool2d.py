"""Layers that read their input through windows, map by map."""

from __future__ import annotations

import math
from typing import Any, ClassVar, get_args

import numpy as np

from lenet_fast import checks, choices, docstrings, ops
from lenet_fast.checks import Array
from lenet_fast.layers.base import Layer, Operations, Shape, images, size, windows
from lenet_fast.windows import IntPair

_pooling = docstrings.completed(
    Parameters="""kernel : int or (vertical, horizontal)
    Rows and columns of the window.
stride : int or (vertical, horizontal), optional
    Pixels between windows, by default those of `kernel`.
name : str, optional"""
)


class Pool2D(Layer):
    """A pooling layer without parameters."""

    options: ClassVar[tuple[str, ...]] = ("kernel", "stride")
    label = "pool"

    def __init__(
        self, kernel: IntPair = 2, stride: IntPair | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.kernel = checks.pair("kernel", kernel)
        self.stride = self.kernel if stride is None else checks.pair("stride", stride)

    def output_shape(self, input_shape: Shape) -> Shape:
        c, h, w = images(input_shape)
        return c, *windows((h, w), self.kernel, self.stride)

    def connections(self, input_shape: Shape) -> int:
        return self.units(input_shape) * math.prod(self.kernel)


class MaxPool2D(Pool2D):
    """The largest value of each window; see :func:`lenet_fast.ops.max_pool2d`.

    Parameters
    ----------
    kernel : int or (vertical, horizontal)
        Rows and columns of the window.
    stride : int or (vertical, horizontal), optional
        Pixels between windows, by default those of `kernel`.
    ties : {"first", "all"}
        Which of several equal maxima gets the gradient of its window: the first in scan order, as
        in PyTorch and TensorFlow, or each of them, as in many courses. Only the layers engine runs
        "all", which ``engine="auto"`` then selects; outputs are the same. ONNX files and PyTorch
        have no such option: an ONNX file, which only predicts, leaves it out, and
        :func:`lenet_fast.torch.to_torch` refuses the layer.
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.MaxPool2D(2).forward(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))
    array([[[[6.]]]])
    >>> layers.MaxPool2D(3, 2).output_shape((16, 28, 28))  # overlapping windows
    (16, 13, 13)
    >>> x = np.array([[[[5.0, 5.0], [0.0, 0.0]]]])
    >>> layer = layers.MaxPool2D(2, ties="all")
    >>> layer.backward(np.ones((1, 1, 1, 1)), x, layer.forward(x))[0]
    array([[[[1., 1.],
             [0., 0.]]]])
    """

    operations = Operations(ops.max_pool2d, ops.max_pool2d_backward, ops.max_pool2d_hessian)
    options: ClassVar[tuple[str, ...]] = ("kernel", "stride", "ties")
    added: ClassVar[dict[str, Any]] = {"ties": "first"}

    def __init__(
        self,
        kernel: IntPair = 2,
        stride: IntPair | None = None,
        *,
        ties: choices.Ties = "first",
        name: str | None = None,
    ) -> None:
        super().__init__(kernel, stride, name=name)
        self.ties = checks.choice("ties", ties, get_args(choices.Ties))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "stride": self.stride}

    def _back_arguments(self, to_input: bool) -> dict[str, Any]:
        return {"ties": self.ties}

    def config(self) -> dict[str, Any]:
        # Without the default, versions that lack the option can read the file.
        config = super().config()
        return config if self.ties != "first" else {k: v for k, v in config.items() if k != "ties"}


@_pooling
class AvgPool2D(Pool2D):
    """The mean of each window; see :func:`lenet_fast.ops.avg_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import layers
    >>> layers.AvgPool2D(2).forward(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))
    array([[[[3.]]]])
    """

    operations = Operations(ops.avg_pool2d, ops.avg_pool2d_backward, ops.avg_pool2d_hessian)


class Subsample2D(Layer):
    """The trainable sub-sampling of 1998; see :func:`lenet_fast.ops.subsample2d`.

    Parameters
    ----------
    channels : int
        Maps of the input.
    kernel : int or (vertical, horizontal)
        Rows and columns of the window.
    stride : int or (vertical, horizontal), optional
        Pixels between windows, by default those of `kernel`.
    reduction : {"sum", "mean"}
        What the coefficient multiplies.
    multiplier : int
        Output maps per input map, side by side: output map o reads input map
        ``o // multiplier``. Each has a coefficient ``w`` and a bias ``b``.
    name : str, optional

    Examples
    --------
    S2 of LeNet-5 has two parameters per map:

    >>> from lenet_fast import layers
    >>> s2 = layers.Subsample2D(6, 2, name="S2")
    >>> s2.output_shape((6, 28, 28)), s2.parameter_shapes((6, 28, 28))
    ((6, 14, 14), {'w': (6,), 'b': (6,)})
    """

    operations = Operations(ops.subsample2d, ops.subsample2d_backward, ops.subsample2d_hessian)
    options: ClassVar[tuple[str, ...]] = ("channels", "kernel", "stride", "reduction", "multiplier")
    added: ClassVar[dict[str, Any]] = {"multiplier": 1}
    label = "subsample"
    trainable = True

    def __init__(
        self,
        channels: int,
        kernel: IntPair = 2,
        stride: IntPair | None = None,
        *,
        reduction: choices.WindowReduction = "sum",
        multiplier: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.channels = size("channels", channels)
        self.kernel = checks.pair("kernel", kernel)
        self.stride = self.kernel if stride is None else checks.pair("stride", stride)
        self.reduction = checks.choice("reduction", reduction, get_args(choices.WindowReduction))
        self.multiplier = size("multiplier", multiplier)
        self.c_out = size("channels * multiplier", self.channels * self.multiplier)

    def output_shape(self, input_shape: Shape) -> Shape:
        _, h, w = images(input_shape, self.channels)
        return self.c_out, *windows((h, w), self.kernel, self.stride)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"w": (self.c_out,), "b": (self.c_out,)}

    def connections(self, input_shape: Shape) -> int:
        return self.units(input_shape) * (math.prod(self.kernel) + 1)

    def fan_in(self) -> Array:
        return np.full(self.c_out, math.prod(self.kernel))

    def fan_out(self) -> float:
        return float(self.multiplier)

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("kernel", "stride", "reduction")}
