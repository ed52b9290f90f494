"""The kernels as autograd functions: forward passes that save what their backward passes need.

Only first derivatives are supported: for a second one, autograd raises RuntimeError instead of
returning a wrong answer. A backward pass uses the backend of its forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lenet_fast import ops
from lenet_fast.checks import Array
from lenet_fast.layers import ACTIVATIONS
from lenet_fast.torch import tensors

Options = dict[str, Any]


def _tensor(array: Array | None, needed: bool = True) -> torch.Tensor | None:
    return None if array is None or not needed else torch.from_numpy(array)


def _answers(tensor: torch.Tensor) -> Array:
    """Return labels or targets, already checked."""
    return tensors.array("answers", tensor, (tensor.dtype,))


class _Weighted(Function):
    """An operation with weights and, unless it is an RBF, biases."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, name: str, options: Options) -> torch.Tensor:
        arrays = [tensors.array("x", x), tensors.array("w", w)]
        if b is not None or name == "subsample2d":  # which has no default
            arrays.append(tensors.array("b", b))
        y = getattr(ops, name)(*arrays, **options)
        ctx.save_for_backward(x, w)
        ctx.name, ctx.options = name, options
        ctx.bias = "unit" if len(arrays) > 2 and arrays[2].ndim > 1 else "map"
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = (tensors.array("saved", tensor) for tensor in ctx.saved_tensors)
        options = {**ctx.options}
        if ctx.name in ("conv2d", "dense"):
            options["input_gradient"] = ctx.needs_input_grad[0]
        if ctx.name == "conv2d":
            options["bias"] = ctx.bias
        found = getattr(ops, f"{ctx.name}_backward")(tensors.array("dy", dy), x, w, **options)
        dx, dw, db = (*found, None)[:3]
        return *map(_tensor, (dx, dw, db), ctx.needs_input_grad[:3]), None, None


class Conv2d(_Weighted):
    """The convolution."""


class Dense(_Weighted):
    """Weighted sums."""


class Subsample2d(_Weighted):
    """Trainable sub-sampling."""


class RBF(_Weighted):
    """Squared distances."""


class _Plain(Function):
    """An operation on images alone."""

    @staticmethod
    def forward(ctx: Any, x: Any, name: str, options: Options) -> torch.Tensor:
        y = torch.from_numpy(getattr(ops, name)(tensors.array("x", x), **options))
        by_output = name in ACTIVATIONS and not ACTIVATIONS[name].needs_input
        ctx.save_for_backward(y if by_output else x)
        ctx.name, ctx.options = name, options
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (seen,) = ctx.saved_tensors
        run = getattr(ops, f"{ctx.name}_backward")
        dx = run(tensors.array("dy", dy), tensors.array("saved", seen), **ctx.options)
        return torch.from_numpy(dx), None, None


class Pool2d(_Plain):
    """Max and average pooling."""


class Activation(_Plain):
    """Activation functions, whose slopes are computed from their outputs or else their inputs."""


class Dropout(Function):
    """Dropout, which is linear: the gradient at its output is dropped and scaled alike."""

    @staticmethod
    def forward(ctx: Any, x: Any, p: float, options: Options) -> torch.Tensor:
        ctx.p, ctx.options = p, options
        return torch.from_numpy(ops.dropout(tensors.array("x", x), p, **options))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dx = ops.dropout(tensors.array("dy", dy), ctx.p, **ctx.options)
        return torch.from_numpy(dx), None, None


class Loss(Function):
    """Losses; only the outputs get a gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, answers: torch.Tensor, name: str, reduction: str, options: Options
    ) -> torch.Tensor:
        arrays = tensors.array("x", x), _answers(answers)
        value = getattr(ops, name)(*arrays, reduction=reduction, **options)
        ctx.save_for_backward(x, answers)  # autograd raises if one of them is changed
        ctx.name, ctx.reduction, ctx.options = name, reduction, options
        return torch.as_tensor(value, dtype=x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, answers = ctx.saved_tensors
        arrays = tensors.array("saved", x), _answers(answers)
        run = getattr(ops, f"{ctx.name}_backward")
        dx = torch.from_numpy(run(*arrays, reduction="sum", **ctx.options))
        if ctx.reduction == "none":
            dy = dy[:, None]
        elif ctx.reduction == "mean":
            dy = dy / max(len(dx), 1)
        return dx.mul_(dy), None, None, None, None
