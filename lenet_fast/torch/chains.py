"""Conversion of a chain of functions to layers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lenet_fast import checks, choices, layers
from lenet_fast.checks import Array
from lenet_fast.layers import Layer, Shape
from lenet_fast.layers.activations import ACTIVATIONS
from lenet_fast.layers.base import NAME
from lenet_fast.layers.pool2d import Pool2D
from lenet_fast.torch import composites, modules
from lenet_fast.torch.composites import ARITHMETIC
from lenet_fast.torch.recording import Step, Value, custom_function
from lenet_fast.torch.rows import Place, Row, View

_T = TypeVar("_T")


class Misfit(Exception):  # noqa: N818  (named after the event)
    """The images do not fit; others might."""


def before(value: Value) -> Value:
    """Return the only value from the images of which a step made another one."""
    step = value.step
    if step is None or not value.from_images:
        raise ValueError(
            "module: expected an output that functions of PyTorch make of the images, got one from "
            "elsewhere; NumPy, torch.autograd.Function and compiled code cannot be read"
        )
    inputs = list(dict.fromkeys(step.images))
    if len(inputs) != 1:
        raise ValueError(
            f"{step.where}: expected a chain, in which each function reads what one other made, "
            f"got {step.name} of {len(inputs)} results; networks with branches, such as residual "
            "ones, are not supported"
        )
    if value is not step.results[0]:
        raise ValueError(f"{step.where}: expected the first result of {step.name}, got another")
    return inputs[0]


class Reader:
    """Converts a chain of steps to layers. The methods for functions of PyTorch have the same
    arguments, without the images."""

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, int, int],
        n: int,
        evaluation: bool,
        constants: bool,
    ) -> None:
        self.row = Row(input_shape)
        named = [*module.named_parameters(), *module.named_buffers()]
        self.row.names = {id(tensor): path for path, tensor in named}
        self._evaluation = evaluation
        self._constants = constants  # whether parameters may be taken as numbers
        self._n = n
        self._steps: deque[Step] = deque()
        self._shape: Shape = input_shape  # of what the next step reads
        self._made: Shape = input_shape  # by the last layer, before it was reshaped
        self._border: tuple[tuple[int, ...], float] | None = None  # of a padding before its layer
        self._masks: dict[int, torch.Tensor] = {}  # by the id of the weights
        self._views: dict[int, View] = {}
        self._dtype = torch.float32
        self._ending = 0  # steps from the softmax on

    def read(self, value: Value) -> int:
        """Read all steps up to a value; return how many of them are the softmax at the end."""
        self.row.output_shape = tuple(value.tensor.shape[1:])
        while value.step is not None or not value.from_images:
            step = value.step and composites.merged(value.step)
            if step is None:
                previous, step = before(value), value.step
            else:
                previous = step.args[0]
            assert step is not None
            self._steps.appendleft(step)
            value = previous
        if not self._steps:
            raise ValueError("module: expected layers, got none between the images and the output")
        self._dtype = value.tensor.dtype
        self._shape = tuple(value.tensor.shape[1:])
        self._made = self._shape if len(self._shape) == 3 else self.row.input_shape
        while self._steps:
            step = self._steps.popleft()
            try:
                self._read(step)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{step.where}: {error}") from None
            except Misfit as misfit:
                raise Misfit(f"{step.where}: {misfit}") from None
        if len(self._made) != 1:
            self._finish()
        return self._ending

    def _finish(self) -> None:
        """End with one number per class, where the last layer makes maps of one pixel."""
        if math.prod(self._shape) != self._shape[0]:
            raise Misfit(
                "module: expected outputs (n, k), one number per class, got "
                f"(n, {', '.join(map(str, self._shape))})"
            )
        size = self._shape[0]
        self._shape = (size,)
        constants = {"w": torch.eye(size, dtype=self._dtype)}
        self._append(layers.Dense(size, size), {"b": None}, constants)

    def _read(self, step: Step) -> None:
        self._step = step
        reader = _READERS.get(step.name)
        if reader is None:
            raise ValueError(f"{_HINTS.get(step.name, _HINT)}, got {step.name}{_WAY_OUT}")
        if self._border is not None and reader is not Reader.conv2d:
            self._bordered(*self._border)
        if self._ending and reader not in _AFTER_SOFTMAX:
            raise ValueError(f"expected nothing after a softmax, got {step.name}")
        self._ending += bool(self._ending)
        args, kwargs = list(step.args), dict(step.kwargs)
        if reader is not Reader.arithmetic:
            first = kwargs.pop("x" if "x" in kwargs else "input", None)
            if args:
                first, *args = args
            if not (isinstance(first, Value) and first.from_images):
                raise ValueError(f"expected the images first, got {step.name} of other arguments")
        reader(self, *args, **kwargs)
        step = self._step  # or a later one that belongs to the same layer
        result = step.results[0].tensor
        needed = not self._evaluation and any(each.tensor.requires_grad for each in step.inputs)
        if needed and not result.requires_grad:
            raise ValueError(
                f"expected functions through which gradients pass, got {step.name}, perhaps under "
                "torch.no_grad; parameters are frozen by requires_grad_(False)"
            )
        if (name := custom_function(result)) is not None:
            raise ValueError(f"expected functions of PyTorch, got the autograd.Function {name}")
        n, *shape = result.shape or (0,)
        if n != self._n:
            raise Misfit(
                f"expected the {self._n} images to stay apart, got {step.name} to shape "
                f"{tuple(result.shape)}"
            )
        if result.dtype != self._dtype:
            raise TypeError(f"expected {self._dtype} in all functions, got {result.dtype}")
        if self._border is None:  # else the convolution pads
            self._shape = tuple(shape)

    def conv2d(
        self,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        connections: Array | None = None,
        parts: int = 1,  # several that are read together
    ) -> None:
        if parts > 1 and not self._evaluation:
            raise ValueError(
                f"expected one convolution, got {parts} of some maps each; from_torch reads them, "
                "and lenet_fast.torch.Conv2d(connections=...) is a module that trains them as one"
            )
        w = self._weights(weight)
        kernel = checks.pair("kernel", tuple(w.shape[2:]))
        if padding == "same":  # an odd pixel goes below and on the right
            pairs = zip(checks.pair("dilation", dilation), kernel, strict=True)
            borders = [each * (size - 1) for each, size in pairs]
            (above, below), (left, right) = ((each // 2, each - each // 2) for each in borders)
            sides = above, below, left, right
        else:
            sides = checks.four_sides("padding", 0 if padding == "valid" else padding)
        value = 0.0
        if self._border is not None:
            outer, value = self._border
            if value and any(sides):
                raise ValueError(f"expected one padding, got zeros around one of {value}")
            sides = checks.four_sides("padding", tuple(map(sum, zip(sides, outer, strict=True))))
            self._border = None
        c_out, width = w.shape[:2]
        layer = layers.Conv2D(
            *(width * groups, c_out, kernel),
            stride=stride,
            padding=sides,
            dilation=dilation,
            groups=groups,
            connections=connections,
            pad_value=value,
            bias=None if bias is None else "map",
        )
        self._append(layer, {"w": w} if bias is None else {"w": w, "b": self._weights(bias)})

    def pad(self, pad: Any, mode: str = "constant", value: float | None = None) -> None:
        if mode != "constant":
            raise ValueError(f"expected a padding with one value, got mode {mode!r}")
        left, right, top, bottom, *others = (*pad, 0, 0, 0, 0)[: max(4, len(pad))]
        if any(others):
            raise ValueError(f"expected padding of rows and columns, got {tuple(pad)}")
        if any(pad):
            self._border = (top, bottom, left, right), float(value or 0)

    def linear(self, weight: Value, bias: Value | None = None) -> None:
        self._dense(self._weights(weight), None if bias is None else self._weights(bias))

    def matmul(self, other: Value) -> None:
        self._dense(self._weights(other, transposed=True), None)

    def _dense(self, w: torch.Tensor, b: torch.Tensor | None) -> None:
        if len(self._shape) != 1:
            raise Misfit(f"expected a Flatten before it, got images of shape {self._shape}")
        n_out = self._step.results[0].tensor.shape[-1]
        self._append(layers.Dense(self._shape[0], n_out), {"w": w, "b": b})

    def max_pool2d(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        _allow("MaxPool2d", "dilation", dilation, (1, (1, 1)))
        self._pool(layers.MaxPool2D, kernel_size, stride, padding)

    def avg_pool2d(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        _allow("AvgPool2d", "divisor_override", divisor_override, (None,))
        maps = self._shape[0]
        trained = composites.subsampling(list(self._steps)[:2], maps)
        if trained is not None and not padding and not ceil_mode:
            arrays = [self._weights(each, (maps,)) for each in trained]
            layer = layers.Subsample2D(maps, kernel_size, stride or None, reduction="mean")
            self._skip(2)
            self._append(layer, dict(zip("wb", arrays, strict=True)))
            return
        self._pool(layers.AvgPool2D, kernel_size, stride, padding, count_include_pad)

    def _pool(
        self,
        kind: type[Pool2D],
        kernel: Any,
        stride: Any,
        padding: Any,
        count_include_pad: bool = True,
    ) -> None:
        layer = kind(kernel, stride or None)
        above, left = checks.pair("padding", padding, 0)
        rows, columns = self._step.results[0].tensor.shape[-2:]
        # Of the padding below and on the right, some windows reach less, others go beyond.
        below = (rows - 1) * layer.stride[0] + layer.kernel[0] - above - self._shape[-2]
        right = (columns - 1) * layer.stride[1] + layer.kernel[1] - left - self._shape[-1]
        sides = (above, max(below, 0), left, max(right, 0))
        if any(sides):
            if kind is layers.AvgPool2D:
                _allow("AvgPool2d", "ceil_mode", below > above or right > left, (False,))
                _allow("AvgPool2d", "count_include_pad", count_include_pad, (True,))
            self._bordered(sides, 0.0 if kind is layers.AvgPool2D else _NEVER)
        self._append(layer)

    def _bordered(self, sides: tuple[int, ...], value: float) -> None:
        """Add a layer of constants that puts a border around each map."""
        self._border = None
        c = self._shape[0]
        border = checks.four_sides("padding", sides)
        layer = layers.Conv2D(c, c, 1, groups=c, padding=border, pad_value=value, bias=None)
        self._append(layer, {}, {"w": torch.ones(c, 1, 1, 1, dtype=self._dtype)}, named=False)
        self._shape = self._made

    def adaptive_avg_pool2d(self, output_size: Any) -> None:
        self._adaptive(layers.AvgPool2D, output_size)

    def adaptive_max_pool2d(self, output_size: Any, return_indices: bool = False) -> None:
        self._adaptive(layers.MaxPool2D, output_size)

    def _adaptive(self, kind: type[Pool2D], output_size: Any) -> None:
        if len(self._shape) != 3:
            raise Misfit(f"expected images (c, h, w), got some of shape {self._shape}")
        sides = self._shape[-2:]
        sizes = output_size if isinstance(output_size, list | tuple) else (output_size,) * 2
        wanted = [side if size is None else size for side, size in zip(sides, sizes, strict=True)]
        if any(side % size for side, size in zip(sides, wanted, strict=True)):
            raise ValueError(
                f"expected an output size that divides {sides}, got {tuple(wanted)}; pooling "
                "with a kernel_size and a stride has windows of one size"
            )
        window = [side // size for side, size in zip(sides, wanted, strict=True)]
        kernel = checks.pair("output_size", window)
        if kernel != (1, 1):
            self._append(kind(kernel))

    def mean(self, dim: Any = None, keepdim: bool = False) -> None:
        """Read the mean of all pixels, also ``x.mean(3).mean(2)`` and ``x.flatten(2).mean(2)``."""
        axes = composites.mean_axes([self._step, *self._steps], len(self._shape))
        self._skip(len(axes) - 1 if isinstance(dim, int) else 0)
        flat = len(self._made) == 3 and self._shape == (self._made[0], math.prod(self._made[1:]))
        if not (flat and axes == [2]) and (len(self._shape) != 3 or sorted(axes) != [2, 3]):
            raise ValueError(f"expected a mean over rows and columns, dim (2, 3), got dim {dim}")
        self._shape = self._made
        self._append(layers.AvgPool2D((self._made[1], self._made[2])))

    def relu(self, inplace: bool = False) -> None:
        self._append(layers.ReLU())

    def threshold(self, threshold: float, value: float, inplace: bool = False) -> None:
        if threshold or value:
            raise ValueError(f"expected a threshold at 0, which is relu, got {threshold}, {value}")
        self.relu()

    def clamp(self, min: Any = None, max: Any = None) -> None:
        self._zero(min if max is None else None)

    def maximum(self, other: Any = None, keepdim: bool = False) -> None:
        self._zero(other if isinstance(other, Value) else None)

    def _zero(self, least: Any) -> None:
        """Read what no number of the images is below, if that is relu in evaluation."""
        zero = least.tensor if isinstance(least, Value) else torch.tensor(least or 0.0)
        if least is None or zero.requires_grad or zero.any():
            raise ValueError(f"expected relu, got {self._step.name} without a lower bound of 0")
        if not self._evaluation:
            raise ValueError(
                f"expected relu, whose derivative at 0 is 0, got {self._step.name}, whose is not; "
                "from_torch reads it"
            )
        self.relu()

    def neg(self) -> None:
        self._rescale(-torch.ones(self._shape[0]), torch.zeros(self._shape[0]))

    def leaky_relu(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self._append(_new("LeakyReLU", layers.LeakyReLU, negative_slope))

    def elu(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._append(_new("ELU", layers.ELU, alpha))

    def selu(self, inplace: bool = False) -> None:
        self._append(layers.ELU(_SELU[1]))
        size = self._shape[0]
        self._rescale(torch.full((size,), _SELU[0], dtype=torch.float64), torch.zeros(size))

    def gelu(self, approximate: choices.GeluForm = "none") -> None:
        self._append(_new("GELU", layers.GELU, approximate))

    def tanh(self) -> None:
        self._append(layers.Tanh())

    def sigmoid(self) -> None:
        self._append(layers.Sigmoid())

    def dropout(self, p: float = 0.5, training: bool = True, inplace: bool = False) -> None:
        self._append(_new("Dropout", layers.Dropout, p), training=training)

    def dropout2d(self, p: float = 0.5, training: bool = True, inplace: bool = False) -> None:
        # Of vectors, it drops each number, as PyTorch does with a warning.
        kind = layers.Dropout2D if len(self._shape) == 3 else layers.Dropout
        self._append(_new("Dropout2d", kind, p), training=training)

    def batch_norm(
        self,
        running_mean: Value | None,
        running_var: Value | None,
        weight: Value | None = None,
        bias: Value | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        trained = [each for each in (weight, bias) if each and each.tensor.requires_grad]
        trains = training and not self._evaluation
        if trains or (trained and not self._as_constant()):
            raise ValueError(
                "expected functions of one image at a time in training, got batch_norm; from_torch "
                "reads it, as it is in evaluation; so do fit and wrap in evaluation mode if it is "
                "frozen by requires_grad_(False), and wrap also under torch.no_grad(); "
                "torch.nn.utils.fusion.fuse_conv_bn_eval removes it from a trained module"
            )
        if running_mean is None or running_var is None:
            raise ValueError("expected batch norm with track_running_stats=True, got none")
        scale = (running_var.tensor.double() + eps).rsqrt()
        if weight is not None:
            scale = scale * weight.tensor
        shift = -running_mean.tensor * scale
        shift = shift if bias is None else shift + bias.tensor
        self._rescale(scale.detach(), shift.detach())

    def _as_constant(self) -> bool:
        """Whether a parameter may be a constant; the row says that one is."""
        self.row.without_gradients = self.row.without_gradients or not self._evaluation
        return self._evaluation or self._constants

    def arithmetic(self, *args: Any, **kwargs: Any) -> None:
        """Read a sum, difference, product or quotient of the images and a constant."""
        step = self._step
        other = composites.constant(step)
        if step.name == "add" and isinstance(other, Value) and self._bias(other):
            return
        if self._scaled_tanh() or self._squared_distances():
            return
        if other is None:
            raise ValueError(f"expected a constant besides the images, got {step.name} of others")
        if isinstance(other, Value) and other.tensor.requires_grad and not self._as_constant():
            self._refuse_computed("parameters as weights or biases of layers", "others")
        number = other.tensor.detach() if isinstance(other, Value) else other
        if isinstance(number, complex) or (
            isinstance(number, torch.Tensor) and number.is_complex()
        ):
            raise TypeError("expected real numbers, got complex ones")
        number = torch.as_tensor(number, dtype=torch.float64)
        factor, summand = {
            "mul": (number, 0 * number),
            "div": (1 / number, 0 * number),
            "add": (0 * number + 1, number),
            "sub": (0 * number + 1, -number),
            "__rsub__": (0 * number - 1, number),
        }[ARITHMETIC[step.name]]
        self._rescale(self._by_map(factor), self._by_map(summand))

    def _by_map(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return one number per map, or per output, of an array that is combined with images."""
        try:
            every = torch.broadcast_to(numbers, (1, *self._shape)).reshape(self._shape[0], -1)
        except RuntimeError:
            raise ValueError(
                "expected one number, or one per map, got numbers of shape "
                f"{tuple(numbers.shape)} for images of shape {self._shape}"
            ) from None
        if not torch.equal(every, every[:, :1].expand_as(every)):
            raise ValueError("expected one number, or one per map, got others")
        return every[:, 0]

    def _bias(self, other: Value) -> bool:
        """Read the sum of a layer without biases and a parameter, if it is one."""
        layer = self.row.layers[-1] if self.row.layers else None
        if self._made != self._shape or not isinstance(layer, layers.Conv2D | layers.Dense):
            return False
        place = self.row.places[-1]
        units = torch.Size(self._shape)
        sizes = (units.numel(), units[0])
        if place.parameters.get("b") is not None or other.tensor.numel() not in sizes:
            return False
        kind = "unit" if other.tensor.shape[-3:] == units and len(units) == 3 else "map"
        b = self._weights(other, units if kind == "unit" else units[:1])
        if isinstance(layer, layers.Conv2D):
            layer.bias = kind
        self.row.places[-1] = place._replace(
            parameters=place.parameters | {"b": b},
            views=place.views | _taken(self._views, {"b": b}),
        )
        return True

    def _scaled_tanh(self) -> bool:
        """Read the steps of ``1.7159 tanh(2 x / 3)``, if it is one."""
        count = composites.scaled_tanh([self._step, *self._steps])
        if count:
            self._skip(count - 1)
            self._append(layers.ScaledTanh())
        return bool(count)

    def _squared_distances(self) -> bool:
        """Read the steps of an RBF layer, if it is one."""
        w = composites.squared_distances([self._step, *self._steps])
        if w is None or math.prod(self._shape) != w.shape[1]:
            return False
        if w.requires_grad and not self._evaluation:
            raise ValueError("expected centres that are not trained, got some that are")
        self._skip(2)
        self._shape = (w.shape[1],)
        w = w.detach().to(self._dtype)
        self._append(layers.RBF(w.shape[1], w.shape[0], centres=w.numpy()), {}, {"w": w})
        return True

    def _skip(self, count: int) -> None:
        """Take further steps, which belong to the same layer."""
        for _ in range(count):
            self._step = self._steps.popleft()

    def _rescale(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Multiply and add numbers by map: in the layer before, or else in one of its own."""
        layer = self.row.layers[-1] if self.row.layers else None
        place = self.row.places[-1] if self.row.layers else None
        size = len(scale)
        linear = isinstance(layer, layers.Conv2D | layers.Dense) and self._made == self._shape
        if linear and place and (self._evaluation or place.constants):
            arrays: dict[str, Any] = place.constants or place.parameters
            w, b = arrays["w"], arrays.get("b")
            if isinstance(layer, layers.Conv2D):
                layer.bias = layer.bias or "map"
            if b is not None:
                shift = _times(b, scale) + shift.reshape(-1, *[1] * (b.dim() - 1))
            arrays = self._cast({"w": _times(w, scale), "b": shift})
            self.row.places[-1] = (
                place._replace(constants=arrays)
                if place.constants
                else place._replace(parameters=arrays)
            )
        elif len(self._shape) == 3:
            arrays = self._cast({"w": scale.reshape(-1, 1, 1, 1), "b": shift})
            self._append(layers.Conv2D(size, size, 1, groups=size), {}, arrays)
        else:
            arrays = self._cast({"w": scale.diag(), "b": shift})
            self._append(layers.Dense(size, size), {}, arrays)

    def _cast(self, arrays: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        return {name: each.to(self._dtype) for name, each in arrays.items()}

    def softmax(self, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> None:
        self._end(nn.Softmax(dim=1), dim)

    def log_softmax(self, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> None:
        self._end(nn.LogSoftmax(dim=1), dim)

    def _end(self, softmax: nn.Softmax | nn.LogSoftmax, dim: int | None) -> None:
        if len(self._shape) != 1:
            raise Misfit(f"expected a Flatten before it, got images of shape {self._shape}")
        if dim not in (None, 1, -1):
            raise ValueError(
                f"expected a softmax over the classes, dim=1, got dim={dim}; over the images of a "
                "batch it does not give each one's probabilities"
            )
        self.row.softmax = softmax
        self._ending = 1

    def log(self) -> None:
        if not isinstance(self.row.softmax, nn.Softmax):
            raise ValueError("expected it after a softmax only, got log")
        self.row.softmax = nn.LogSoftmax(dim=1)

    def ours(self, *args: Any, **kwargs: Any) -> None:
        """Read a function of lenet_fast in one of its modules."""
        module = self._step.module
        if not isinstance(module, modules.FromLayer):
            raise ValueError(f"expected a module of lenet_fast.torch, got {self._step.name}")
        if isinstance(module, modules.RBF) and len(self._shape) != 1:
            raise Misfit(f"expected a Flatten before it, got images of shape {self._shape}")
        weights = [each for each in args if isinstance(each, Value)]
        parameters: dict[str, torch.Tensor | None] = dict(
            zip(modules.NAMES, map(self._weights, weights), strict=False)
        )
        self._append(layers.from_config({**module.layer.config(), "name": None}), parameters)

    def our_activation(self, backend: choices.Backend | None = None, **options: Any) -> None:
        """Read an activation of lenet_fast.torch.functional."""
        kind = ACTIVATIONS[self._step.name.removeprefix("lenet_fast.")]
        self._append(kind(**options))

    def reshape(self, *args: Any, **kwargs: Any) -> None:
        """Read a change of shape that keeps the numbers of an image, and their order."""
        if not self._step.same_order:
            result = tuple(self._step.results[0].tensor.shape)
            raise Misfit(
                f"expected all numbers of each of the {self._n} images, in their order, got "
                f"{self._step.name} to shape {result}"
            )
        shape = self._step.results[0].tensor.shape[1:]
        if not self.row.layers and len(shape) == 3:
            self._made = self.row.input_shape = (shape[0], shape[1], shape[2])

    def same(self, *args: Any, **kwargs: Any) -> None:
        """Read a function that changes nothing."""

    def _append(
        self,
        layer: Layer,
        parameters: Mapping[str, torch.Tensor | None] = MappingProxyType({}),
        constants: Mapping[str, torch.Tensor] = MappingProxyType({}),
        *,
        training: bool = True,
        named: bool = True,
    ) -> Place:
        """Add a layer."""
        if len(self._shape) == 3 and self._shape != self._made:
            raise ValueError(
                f"expected images of shape {self._made}, as the layer before makes them, got "
                f"{self._shape}"
            )
        try:
            self._made = layer.output_shape(self._shape)
        except ValueError as error:
            raise Misfit(str(error)) from error
        path = self._step.path
        usable = NAME.fullmatch(path) and not path.replace(".", "").isdigit()
        if named and usable and all(path != each.name for each in self.row.layers):
            layer.name = path
        place = Place(
            path or self._step.where,
            dict(parameters),
            dict(constants),
            _taken(self._masks, parameters),
            _taken(self._views, parameters),
            training,
        )
        self.row.layers.append(layer)
        self.row.places.append(place)
        return place

    def _weights(
        self, value: Value, shape: Shape | None = None, transposed: bool = False
    ) -> torch.Tensor:
        """Return a parameter of the module, and keep how it is seen; in evaluation also what it
        computes of some."""
        if value.from_images:
            raise ValueError("expected weights that do not depend on the images")
        if self._evaluation:
            tensor = value.tensor.t() if transposed else value.tensor
            return tensor if shape is None else tensor.reshape(shape)
        step, mask = value.step, None
        if transposed and step is not None and step.name in _TRANSPOSED:
            weights, transposed = step.inputs[0], False
        elif step is not None and step.name == "mul" and len(step.inputs) == 2:
            weights, other = sorted(step.inputs, key=lambda each: not each.tensor.requires_grad)
            mask = _unchanged(other, _VIEWS)
        else:
            weights = value
        own = _unchanged(weights, () if shape is None else _RESHAPES)
        tensor = own.tensor
        passes = value.tensor.requires_grad == tensor.requires_grad
        if own.step is not None or id(tensor) not in self.row.names or not passes:
            self._refuse_computed("weights that are parameters of the module", "computed ones")
        if mask is not None:
            numbers = other.tensor  # of the mask's shape, or of one that broadcasts to the weights'
            binary = value.tensor.shape == tensor.shape and ((numbers == 0) | (numbers == 1)).all()
            if mask.step is not None or numbers.requires_grad or not binary:
                self._refuse_computed("weights times a fixed mask of ones and zeros", "other ones")
            self._masks[id(tensor)] = numbers
        if transposed:
            self._views[id(tensor)] = np.transpose
        elif shape is not None and tensor.shape != shape:
            self._views[id(tensor)] = partial(np.reshape, shape=shape)
        return tensor

    def _refuse_computed(self, expected: str, got: str) -> None:
        if not self._evaluation:
            raise ValueError(
                f"expected {expected}, got {got}; from_torch can copy them, but training in place "
                "cannot"
            )


def _taken(kept: dict[int, _T], parameters: Mapping[str, torch.Tensor | None]) -> dict[str, _T]:
    """Remove what was kept of parameters, and return it by their names."""
    return {name: kept.pop(id(each)) for name, each in parameters.items() if id(each) in kept}


def _unchanged(value: Value, others: tuple[str, ...] = ()) -> Value:
    """Return what functions have passed on as it was, or in another shape."""
    while value.step is not None and value.step.name in (*_SAME, *others):
        value = value.step.inputs[0]
    return value


def _times(array: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return array.double() * scale.reshape(-1, *[1] * (array.dim() - 1))


def _new(name: str, kind: Callable[[Any], Layer], option: Any) -> Layer:
    try:
        return kind(option)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _allow(name: str, option: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless an option has one of some values."""
    if value not in allowed:
        text = " or ".join(map(repr, allowed))
        raise ValueError(f"expected {option} {text} of {name}, got {value!r}")


_SELU = 1.0507009873554805, 1.6732632423543772
"""The factor, and the alpha of the ELU (Klambauer et al. 2017)."""

_NEVER = -1e30
"""A number that is never the largest in a window."""

_SAME = (
    *("contiguous", "clone", "to", "float", "double", "cpu", "type", "type_as", "requires_grad"),
    *("alias", "positive", "as_tensor", "detach", "data", "half", "bfloat16"),
)
"""Functions that return the same numbers, if the dtype is the same; it is checked."""

_RESHAPES = ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten")

_VIEWS = (*_RESHAPES, "expand", "expand_as", "view_as", "__getitem__")
"""Functions by which a mask gets the weights' shape; what they make shares its memory."""

_TRANSPOSED = ("t", "T", "mT", "transpose", "permute")

_READERS: dict[str, Callable[..., None]] = {
    "conv2d": Reader.conv2d,
    "pad": Reader.pad,
    "linear": Reader.linear,
    **dict.fromkeys(("matmul", "mm", "__matmul__"), Reader.matmul),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), Reader.max_pool2d),
    "avg_pool2d": Reader.avg_pool2d,
    "adaptive_avg_pool2d": Reader.adaptive_avg_pool2d,
    "adaptive_max_pool2d": Reader.adaptive_max_pool2d,
    "mean": Reader.mean,
    "relu": Reader.relu,
    **dict.fromkeys(("clamp", "clip", "clamp_min"), Reader.clamp),
    **dict.fromkeys(("maximum", "max"), Reader.maximum),
    **dict.fromkeys(("neg", "negative", "__neg__"), Reader.neg),
    **dict.fromkeys(("threshold", "_threshold"), Reader.threshold),
    "leaky_relu": Reader.leaky_relu,
    "elu": Reader.elu,
    "gelu": Reader.gelu,
    "selu": Reader.selu,
    "tanh": Reader.tanh,
    "sigmoid": Reader.sigmoid,
    "dropout": Reader.dropout,
    **dict.fromkeys(("dropout2d", "feature_dropout"), Reader.dropout2d),
    "batch_norm": Reader.batch_norm,
    **dict.fromkeys(ARITHMETIC, Reader.arithmetic),
    "softmax": Reader.softmax,
    "log_softmax": Reader.log_softmax,
    "log": Reader.log,
    **dict.fromkeys(_RESHAPES, Reader.reshape),
    **dict.fromkeys(
        ("view_as", "reshape_as", "__getitem__", "select", "transpose", "permute", "movedim"),
        Reader.reshape,
    ),
    **dict.fromkeys(_SAME, Reader.same),
    **{f"lenet_fast.{name}": Reader.ours for name in ("conv2d", "subsample2d", "rbf")},
    **{f"lenet_fast.{name}": Reader.our_activation for name in ACTIVATIONS},
}

_AFTER_SOFTMAX = (Reader.log, Reader.same, Reader.reshape)

_HINT = (
    "expected convolutions, linear layers, pooling, relu, leaky_relu, elu, selu, gelu, tanh, "
    "sigmoid, dropout, changes of shape, or a softmax at the end"
)
_WAY_OUT = "; modules and functions of lenet_fast.torch work among PyTorch's in any module"
_RESIZE = "expected images of the right size; resize them in the data set"
_HINTS = {
    "interpolate": _RESIZE,
    "upsample": _RESIZE,
    "lp_pool2d": "expected max_pool2d or avg_pool2d",
    **dict.fromkeys(
        ("instance_norm", "layer_norm", "group_norm", "local_response_norm", "normalize"),
        "expected no normalisation but batch norm in evaluation",
    ),
}
