"""The operations of :mod:`lenet_fast.ops` on tensors, with gradients.

Names, options, results and errors are those of :mod:`lenet_fast.ops`, with tensors instead of
arrays and without ``out``. Tensors must be dense, on the CPU, float32 or float64, one dtype per
call. ``torch.autocast`` has no effect here; half-precision tensors that other modules produce under
it raise TypeError. Only first derivatives are supported: differentiating a gradient
(``create_graph=True``) raises RuntimeError.

Examples
--------
>>> import torch
>>> from lenet_fast.torch import functional
>>> x = torch.ones(1, 1, 4, 4, requires_grad=True)
>>> functional.avg_pool2d(functional.scaled_tanh(x)).sum().backward()
>>> x.grad[0, 0, 0]  # (2 / 3) (1.7159 - 1 / 1.7159) / 4
tensor([0.1889, 0.1889, 0.1889, 0.1889])
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.overrides import handle_torch_function, has_torch_function

from lenet_fast import backends, choices
from lenet_fast.checks import Array
from lenet_fast.torch import gradients, tensors
from lenet_fast.windows import IntPair, Padding

Tensor = torch.Tensor

__all__ = [
    "avg_pool2d",
    "conv2d",
    "dense",
    "dropout",
    "elu",
    "gelu",
    "leaky_relu",
    "map_loss",
    "max_pool2d",
    "mean_squared_error",
    "penalty_loss",
    "rbf",
    "relu",
    "scaled_tanh",
    "sigmoid",
    "softmax_cross_entropy",
    "subsample2d",
    "tanh",
]


_Function = TypeVar("_Function", bound=Callable[..., Tensor])


def _overridable(function: _Function) -> _Function:
    """Let subclasses of tensors and function modes see each call, as of PyTorch's functions."""

    @functools.wraps(function)
    def overridable(*args: Any, **kwargs: Any) -> Any:
        given = tuple(each for each in args if isinstance(each, Tensor))
        if has_torch_function(given):
            return handle_torch_function(overridable, given, *args, **kwargs)
        return function(*args, **kwargs)

    return overridable  # type: ignore[return-value]


def _settled(backend: choices.Backend | None) -> str:
    """Return the name of a backend, so that the backward pass uses that of the forward pass."""
    return backends.current() if backend is None else backend


@_overridable
def conv2d(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    connections: Tensor | Array | None = None,
    pad_value: float = 0.0,
    algorithm: choices.Algorithm = "auto",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Convolve a batch of images with a set of kernels; see :func:`lenet_fast.ops.conv2d`.

    `connections` may be a bool tensor or a bool array.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x, w = torch.arange(16.0).reshape(1, 1, 4, 4), torch.ones(1, 1, 3, 3, requires_grad=True)
    >>> y = functional.conv2d(x, w)
    >>> y.detach()
    tensor([[[[45., 54.],
              [81., 90.]]]])
    >>> y.sum().backward()
    >>> w.grad[0, 0]  # the four pixels that each weight met, added up
    tensor([[10., 14., 18.],
            [26., 30., 34.],
            [42., 46., 50.]])
    """
    options = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "connections": tensors.table("connections", connections),
        "pad_value": pad_value,
        "algorithm": algorithm,
        "backend": _settled(backend),
    }
    return gradients.Conv2d.apply(x, w, b, "conv2d", options)


@_overridable
def max_pool2d(
    x: Tensor,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the largest value of each window; see :func:`lenet_fast.ops.max_pool2d`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.tensor([[[[1.0, 5.0], [3.0, 4.0]]]], requires_grad=True)
    >>> functional.max_pool2d(x).sum().backward()
    >>> x.grad[0, 0]
    tensor([[0., 1.],
            [0., 0.]])
    """
    return _pool("max_pool2d", x, kernel, stride, backend)


@_overridable
def avg_pool2d(
    x: Tensor,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the mean of each window; see :func:`lenet_fast.ops.avg_pool2d`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.tensor([[[[1.0, 5.0], [3.0, 4.0]]]])
    >>> functional.avg_pool2d(x).item()
    3.25
    """
    return _pool("avg_pool2d", x, kernel, stride, backend)


def _pool(
    name: str, x: Tensor, kernel: IntPair, stride: IntPair | None, backend: choices.Backend | None
) -> Tensor:
    options = {"kernel": kernel, "stride": stride, "backend": _settled(backend)}
    return gradients.Pool2d.apply(x, name, options)


@_overridable
def subsample2d(
    x: Tensor,
    w: Tensor,
    b: Tensor,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    reduction: choices.WindowReduction = "sum",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Add up each window, multiply by a coefficient and add a bias, both per map, as in 1998.

    See :func:`lenet_fast.ops.subsample2d`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.tensor([[[[1.0, 5.0], [3.0, 4.0]]]])
    >>> functional.subsample2d(x, torch.tensor([0.5]), torch.tensor([1.0])).item()  # 0.5 * 13 + 1
    7.5
    """
    options: dict[str, Any] = {"kernel": kernel, "stride": stride, "reduction": reduction}
    options["backend"] = _settled(backend)
    return gradients.Subsample2d.apply(x, w, b, "subsample2d", options)


@_overridable
def dense(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, backend: choices.Backend | None = None
) -> Tensor:
    """Return ``x w^T + b``; see :func:`lenet_fast.ops.dense`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]], requires_grad=True)
    >>> functional.dense(x, w).backward()
    >>> w.grad
    tensor([[1., 2.]])
    """
    return gradients.Dense.apply(x, w, b, "dense", {"backend": _settled(backend)})


@_overridable
def rbf(x: Tensor, w: Tensor, *, backend: choices.Backend | None = None) -> Tensor:
    """Return the squared distance of each input to each centre; see :func:`lenet_fast.ops.rbf`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.rbf(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([[4., 5.]])
    """
    return gradients.RBF.apply(x, w, None, "rbf", {"backend": _settled(backend)})


def _activation(name: str, x: Tensor, backend: choices.Backend | None, **options: Any) -> Tensor:
    return gradients.Activation.apply(x, name, {**options, "backend": _settled(backend)})


@_overridable
def scaled_tanh(x: Tensor, *, backend: choices.Backend | None = None) -> Tensor:
    """Return ``1.7159 tanh(2 x / 3)``; see :func:`lenet_fast.ops.scaled_tanh`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.scaled_tanh(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-1.0000,  0.0000,  1.0000])
    """
    return _activation("scaled_tanh", x, backend)


@_overridable
def tanh(x: Tensor, *, backend: choices.Backend | None = None) -> Tensor:
    """Return ``tanh(x)``; see :func:`lenet_fast.ops.tanh`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> functional.tanh(x).sum().backward()
    >>> x.grad  # 1 - tanh(x)^2
    tensor([1.0000, 0.4200])
    """
    return _activation("tanh", x, backend)


@_overridable
def sigmoid(x: Tensor, *, backend: choices.Backend | None = None) -> Tensor:
    """Return ``1 / (1 + exp(-x))``; see :func:`lenet_fast.ops.sigmoid`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.sigmoid(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.2689, 0.5000, 0.7311])
    """
    return _activation("sigmoid", x, backend)


@_overridable
def relu(x: Tensor, *, backend: choices.Backend | None = None) -> Tensor:
    """Return ``max(x, 0)``; see :func:`lenet_fast.ops.relu`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.relu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 0., 1.])
    """
    return _activation("relu", x, backend)


@_overridable
def leaky_relu(x: Tensor, *, slope: float = 0.01, backend: choices.Backend | None = None) -> Tensor:
    """Return ``x``, or ``slope x`` on the left; see :func:`lenet_fast.ops.leaky_relu`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.leaky_relu(torch.tensor([-1.0, 0.0, 1.0]), slope=0.25)
    tensor([-0.2500,  0.0000,  1.0000])
    """
    return _activation("leaky_relu", x, backend, slope=slope)


@_overridable
def elu(x: Tensor, *, alpha: float = 1.0, backend: choices.Backend | None = None) -> Tensor:
    """Return ``x``, or ``alpha (exp(x) - 1)`` on the left; see :func:`lenet_fast.ops.elu`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.elu(torch.tensor([-10.0, 0.0, 1.0]), alpha=0.5)
    tensor([-0.5000,  0.0000,  1.0000])
    """
    return _activation("elu", x, backend, alpha=alpha)


@_overridable
def gelu(x: Tensor, *, approximate: str = "none", backend: choices.Backend | None = None) -> Tensor:
    """Return ``x Phi(x)``; see :func:`lenet_fast.ops.gelu`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    return _activation("gelu", x, backend, approximate=approximate)


@_overridable
def dropout(
    x: Tensor,
    p: float,
    *,
    seed: int = 0,
    step: int = 0,
    layer: int = 0,
    first: int = 0,
    by_map: bool = False,
    backend: choices.Backend | None = None,
) -> Tensor:
    """Drop units, and scale the others by ``1 / (1 - p)``; see :func:`lenet_fast.ops.dropout`.

    PyTorch's random generators have no part in it.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.dropout(torch.ones(1, 8), 0.5)
    tensor([[2., 0., 2., 0., 2., 0., 0., 0.]])
    >>> functional.dropout(torch.ones(1, 8), 0.5, step=1)  # other units in the next step
    tensor([[0., 0., 0., 0., 0., 2., 0., 2.]])
    """
    options = {"seed": seed, "step": step, "layer": layer, "first": first, "by_map": by_map}
    return gradients.Dropout.apply(x, p, options | {"backend": _settled(backend)})


@_overridable
def softmax_cross_entropy(
    x: Tensor,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the cross-entropy of softmax(x) against classes.

    `labels` are integers; the result is a tensor of the dtype of `x`, without axes unless
    `reduction` is "none". The mean over no images is 0. See
    :func:`lenet_fast.ops.softmax_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.zeros(1, 4, requires_grad=True)
    >>> functional.softmax_cross_entropy(x, torch.tensor([3])).backward()
    >>> x.grad
    tensor([[ 0.2500,  0.2500,  0.2500, -0.7500]])
    """
    return _loss("softmax_cross_entropy", x, labels, reduction, backend, smoothing=smoothing)


@_overridable
def mean_squared_error(
    x: Tensor,
    targets: Tensor,
    *,
    scale: float = 0.5,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the squared error, summed over the outputs, times `scale`.

    The mean is over the images: ``nn.MSELoss`` corresponds to ``scale=1 / k``. `targets` get no
    gradient, and must not require one. See :func:`lenet_fast.ops.mean_squared_error`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x, targets = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.0, 1.0]])
    >>> functional.mean_squared_error(x, targets), torch.nn.functional.mse_loss(x, targets)
    (tensor(2.5000), tensor(2.5000))
    >>> functional.mean_squared_error(x, targets, reduction="none")
    tensor([2.5000])
    """
    return _loss("mean_squared_error", x, targets, reduction, backend, scale=scale)


@_overridable
def map_loss(
    x: Tensor,
    labels: Tensor,
    *,
    j: float,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the maximum a posteriori criterion of 1998; see :func:`lenet_fast.ops.map_loss`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> x = torch.tensor([[2.0, 2.0]], requires_grad=True)
    >>> functional.map_loss(x, torch.tensor([0]), j=float("inf")).backward()
    >>> x.grad  # pulls the right class closer, and pushes the other away
    tensor([[ 0.5000, -0.5000]])
    """
    return _loss("map_loss", x, labels, reduction, backend, j=j)


@_overridable
def penalty_loss(
    x: Tensor,
    labels: Tensor,
    *,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
) -> Tensor:
    """Return the penalty of the right class; see :func:`lenet_fast.ops.penalty_loss`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import functional
    >>> functional.penalty_loss(torch.tensor([[0.5, 12.0], [3.0, 1.0]]), torch.tensor([0, 1]))
    tensor(0.7500)
    """
    return _loss("penalty_loss", x, labels, reduction, backend)


def _loss(
    name: str,
    x: Tensor,
    answers: Tensor,
    reduction: choices.LossReduction,
    backend: choices.Backend | None,
    **options: Any,
) -> Tensor:
    by_targets = name == "mean_squared_error"
    argument, dtypes = ("targets", tensors.FLOATS) if by_targets else ("labels", tensors.INTEGERS)
    tensors.without_gradient(argument, answers, dtypes)
    options["backend"] = _settled(backend)
    return gradients.Loss.apply(x, answers, name, reduction, options)
