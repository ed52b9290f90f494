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


class Conv2d(Function):
    """The convolution."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, options: Options) -> torch.Tensor:
        bias = tensors.optional("b", b)
        y = ops.conv2d(tensors.array("x", x), tensors.array("w", w), bias, **options)
        ctx.save_for_backward(x, w)
        ctx.options = options
        ctx.bias = "unit" if bias is not None and bias.ndim > 1 else "map"
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = (tensors.array("saved", tensor) for tensor in ctx.saved_tensors)
        needed = ctx.needs_input_grad
        dx, dw, db = ops.conv2d_backward(
            tensors.array("dy", dy), x, w, bias=ctx.bias, input_gradient=needed[0], **ctx.options
        )
        return _tensor(dx), _tensor(dw, needed[1]), _tensor(db, needed[2]), None


class Dense(Function):
    """Weighted sums."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, backend: str) -> torch.Tensor:
        arrays = tensors.array("x", x), tensors.array("w", w), tensors.optional("b", b)
        ctx.save_for_backward(x, w)
        ctx.backend = backend
        return torch.from_numpy(ops.dense(*arrays, backend=backend))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = (tensors.array("saved", tensor) for tensor in ctx.saved_tensors)
        needed, incoming = ctx.needs_input_grad, tensors.array("dy", dy)
        dx, dw, db = ops.dense_backward(
            incoming, x, w, input_gradient=needed[0], backend=ctx.backend
        )
        return _tensor(dx), _tensor(dw, needed[1]), _tensor(db, needed[2]), None


class Subsample2d(Function):
    """Trainable sub-sampling."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, options: Options) -> torch.Tensor:
        arrays = tensors.array("x", x), tensors.array("w", w), tensors.array("b", b)
        ctx.save_for_backward(x, w)
        ctx.options = options
        return torch.from_numpy(ops.subsample2d(*arrays, **options))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = (tensors.array("saved", tensor) for tensor in ctx.saved_tensors)
        found = ops.subsample2d_backward(tensors.array("dy", dy), x, w, **ctx.options)
        return *map(_tensor, found, ctx.needs_input_grad), None


class RBF(Function):
    """Squared distances."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, backend: str) -> torch.Tensor:
        y = ops.rbf(tensors.array("x", x), tensors.array("w", w), backend=backend)
        ctx.save_for_backward(x, w)
        ctx.backend = backend
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = (tensors.array("saved", tensor) for tensor in ctx.saved_tensors)
        found = ops.rbf_backward(tensors.array("dy", dy), x, w, backend=ctx.backend)
        return *map(_tensor, found, ctx.needs_input_grad), None


class Pool2d(Function):
    """Max and average pooling."""

    @staticmethod
    def forward(ctx: Any, x: Any, name: str, options: Options) -> torch.Tensor:
        y = getattr(ops, name)(tensors.array("x", x), **options)
        ctx.save_for_backward(x)
        ctx.name, ctx.options = name, options
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        run = getattr(ops, f"{ctx.name}_backward")
        dx = run(tensors.array("dy", dy), tensors.array("saved", x), **ctx.options)
        return torch.from_numpy(dx), None, None


class Activation(Function):
    """Activation functions, whose slopes are computed from their outputs or else their inputs."""

    @staticmethod
    def forward(ctx: Any, x: Any, name: str, options: Options) -> torch.Tensor:
        y = torch.from_numpy(getattr(ops, name)(tensors.array("x", x), **options))
        ctx.save_for_backward(x if ACTIVATIONS[name].needs_input else y)
        ctx.name, ctx.options = name, options
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (seen,) = ctx.saved_tensors
        run = getattr(ops, f"{ctx.name}_backward")
        dx = run(tensors.array("dy", dy), tensors.array("saved", seen), **ctx.options)
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
