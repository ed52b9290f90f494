"""Losses at a network's outputs: value, gradient and the diagonal of the Hessian."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_args

import numpy as np

from lenet_fast import backends, checks, choices, docstrings
from lenet_fast.checks import Array
from lenet_fast.docstrings import Documented
from lenet_fast.ops._operation import ERRORS

__all__ = [
    "map_loss",
    "map_loss_backward",
    "map_loss_hessian",
    "mean_squared_error",
    "mean_squared_error_backward",
    "mean_squared_error_hessian",
    "penalty_loss",
    "penalty_loss_backward",
    "penalty_loss_hessian",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_hessian",
]

_loss = docstrings.completed(
    Parameters="""reduction : {"mean", "sum", "none"}
    Over the batch; the mean of an empty one is 0.
backend, out
    See :mod:`lenet_fast.ops`; `out` only with ``reduction="none"``.""",
    Raises=ERRORS,
)
"""Completes the docstring of a loss: what all losses share."""


def _gradient(function: Documented) -> Documented:
    """Complete the docstring of a loss's ``_backward`` or ``_hessian``."""
    names, loss = ", ".join(inspect.signature(function).parameters), function.__name__
    as_for = f'As for :func:`{loss.rpartition("_")[0]}`, but `reduction` cannot be "none".'
    return docstrings.completed(Parameters=f"{names}\n    {as_for}", Raises=ERRORS)(function)


REDUCTIONS = get_args(choices.LossReduction)


def _reduced(losses: Array, reduction: choices.LossReduction) -> float | Array:
    """Return a batch's losses, reduced; sums are accumulated in float64."""
    if reduction == "none":
        return losses
    total = float(losses.sum(dtype=np.float64))
    return total / len(losses) if reduction == "mean" and len(losses) else total


def _value(
    x: object,
    labels: object,
    option: object,
    name: str,
    reduction: object,
    backend: choices.Backend | None,
    out: object,
) -> float | Array:
    outputs = checks.floats("x", x, "n, k")
    answers, number = _answers(outputs, labels, name), _number(outputs, option, name)
    chosen = checks.choice("reduction", reduction, REDUCTIONS)
    if out is not None and chosen != "none":
        raise ValueError(f"out: expected None with reduction={chosen!r}, got an array")
    run = backends.get(backend).loss_values
    inputs = [("x", x), (_ANSWERS[name], labels)]
    losses = checks.output("out", out, outputs.shape[:1], outputs.dtype, inputs)
    run(outputs, answers, losses, name, number)
    return _reduced(checks.returned(out, losses), chosen)


def _derivative(
    x: object,
    labels: object,
    option: object,
    name: str,
    which: str,
    reduction: object,
    backend: choices.Backend | None,
    out: object,
) -> Array:
    outputs = checks.floats("x", x, "n, k")
    answers, number = _answers(outputs, labels, name), _number(outputs, option, name)
    chosen = checks.choice("reduction", reduction, REDUCTIONS[:2])
    kernels = backends.get(backend)
    run = kernels.loss_hessians if which == "hessian" else kernels.loss_gradients
    inputs = [("x", x), (_ANSWERS[name], labels)]
    result = checks.output("out", out, outputs.shape, outputs.dtype, inputs)
    run(outputs, answers, result, name, number)
    if chosen == "mean" and len(result):
        result *= result.dtype.type(1 / len(result))
    return checks.returned(out, result)


_ANSWERS = {
    "softmax_cross_entropy": "labels",
    "mean_squared_error": "targets",
    "map_loss": "labels",
    "penalty_loss": "labels",
}


def _answers(outputs: Array, given: object, name: str) -> Array:
    argument = _ANSWERS[name]
    if argument == "labels":
        return checks.labels(argument, given, *outputs.shape)
    targets = checks.floats(argument, given, None, like=outputs)
    checks.same_shape(argument, targets, outputs.shape, "that of x")
    return targets


def _number(outputs: Array, option: object, name: str) -> float:
    """Check the number that a loss takes; 0 if it takes none."""
    if name == "mean_squared_error":
        return checks.real("scale", option, outputs.dtype)
    if name == "map_loss":
        return rubbish(option, outputs.dtype)
    if name == "softmax_cross_entropy":
        return checks.below_one("smoothing", option, outputs.dtype)
    return 0.0


def rubbish(j: object, dtype: np.dtype[Any]) -> float:
    """Return the penalty of the rubbish class in the form that kernels take: 0 to infinity."""
    if isinstance(j, float | np.floating) and float(j) > checks.largest(dtype):
        return math.inf  # e^-j is 0 either way
    value = checks.real("j", j, dtype)
    if value < 0:
        raise ValueError(f"j: expected a number from 0 to infinity, got {value}")
    return value


@_loss
def softmax_cross_entropy(
    x: Array,
    labels: Array,
    *,
    smoothing: float = 0.0,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> float | Array:
    """Return the cross-entropy of softmax(x) against class labels.

    Parameters
    ----------
    x : ndarray (n, k)
        Outputs before the softmax, float32 or float64.
    labels : integer ndarray (n,)
        Classes, 0 to k - 1.
    smoothing : float
        Label smoothing s, from 0 to below 1: the target t is 1 - s for the right class, plus s / k
        for every class, including the right one.

    Returns
    -------
    float, or ndarray (n,) with ``reduction="none"``
        ``log sum_i exp(x_i) - sum_i t_i x_i``, in nats: ``- x_label`` without smoothing.

    Notes
    -----
    Label smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture for computer
    vision", section 7; PyTorch's ``label_smoothing``. With it, a perfect answer's loss is not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> round(ops.softmax_cross_entropy(np.zeros((1, 10)), np.array([3])), 4)
    2.3026
    """
    return _value(x, labels, smoothing, "softmax_cross_entropy", reduction, backend, out)


@_gradient
def softmax_cross_entropy_backward(
    x: Array,
    labels: Array,
    *,
    smoothing: float = 0.0,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`softmax_cross_entropy`.

    Returns
    -------
    dx : ndarray (n, k)
        ``p - t``, with the softmax p and the targets t; divided by n for the mean.

    Examples
    --------
    Each image's gradient adds up to 0: what the right class gains, the others lose.

    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.softmax_cross_entropy_backward(np.zeros((1, 4)), np.array([3]))
    array([[ 0.25,  0.25,  0.25, -0.75]])
    >>> ops.softmax_cross_entropy_backward(np.zeros((1, 4)), np.array([3]), smoothing=0.5)
    array([[ 0.125,  0.125,  0.125, -0.375]])
    """
    return _derivative(
        x, labels, smoothing, "softmax_cross_entropy", "backward", reduction, backend, out
    )


@_gradient
def softmax_cross_entropy_hessian(
    x: Array,
    labels: Array,
    *,
    smoothing: float = 0.0,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the diagonal of the Hessian of :func:`softmax_cross_entropy`.

    Returns
    -------
    hx : ndarray (n, k)
        ``p (1 - p)``, exact, whatever the targets; divided by n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.softmax_cross_entropy_hessian(np.zeros((1, 4)), np.array([3]))  # 1/4 * 3/4
    array([[0.1875, 0.1875, 0.1875, 0.1875]])
    """
    return _derivative(
        x, labels, smoothing, "softmax_cross_entropy", "hessian", reduction, backend, out
    )


@_loss
def mean_squared_error(
    x: Array,
    targets: Array,
    *,
    scale: float = 0.5,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> float | Array:
    """Return the squared error, summed over the outputs.

    Parameters
    ----------
    x, targets : ndarray (n, k)
        Outputs and their targets, of one dtype.
    scale : float
        Factor: 1/2 as in the papers; ``1 / k`` gives the mean over the outputs.

    Returns
    -------
    float, or ndarray (n,) with ``reduction="none"``
        ``scale * sum over i of (x_i - t_i)^2``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.mean_squared_error(np.array([[1.0, -1.0]]), np.array([[0.0, 1.0]]))
    2.5
    """
    return _value(x, targets, scale, "mean_squared_error", reduction, backend, out)


@_gradient
def mean_squared_error_backward(
    x: Array,
    targets: Array,
    *,
    scale: float = 0.5,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`mean_squared_error`.

    Returns
    -------
    dx : ndarray (n, k)
        ``2 scale (x - t)``; divided by n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.mean_squared_error_backward(np.array([[1.0, -1.0]]), np.array([[0.0, 1.0]]))
    array([[ 1., -2.]])
    """
    return _derivative(x, targets, scale, "mean_squared_error", "backward", reduction, backend, out)


@_gradient
def mean_squared_error_hessian(
    x: Array,
    targets: Array,
    *,
    scale: float = 0.5,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the diagonal of the Hessian of :func:`mean_squared_error`.

    Returns
    -------
    hx : ndarray (n, k)
        ``2 scale``; divided by n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.mean_squared_error_hessian(np.array([[1.0, -1.0]]), np.array([[0.0, 1.0]]))
    array([[1., 1.]])
    """
    return _derivative(x, targets, scale, "mean_squared_error", "hessian", reduction, backend, out)


@_loss
def map_loss(
    x: Array,
    labels: Array,
    *,
    j: float,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> float | Array:
    """Return the maximum a posteriori criterion of 1998.

    Parameters
    ----------
    x : ndarray (n, k)
        Penalties y_i, such as the squared distances of :func:`lenet_fast.ops.rbf`.
    labels : integer ndarray (n,)
        Classes D, 0 to k - 1.
    j : float
        Penalty of the constant "rubbish" class, in units of `x`, from 0 to infinity (no such
        class). The paper gives no value.

    Returns
    -------
    float, or ndarray (n,) with ``reduction="none"``
        ``y_D + log(exp(-j) + sum over i of exp(-y_i))``.

    Notes
    -----
    LeCun et al. 1998, eq. 9. The logarithm of the sum subtracts its largest term first.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> round(ops.map_loss(np.array([[0.0, 12.0]]), np.array([0]), j=10.0), 6)
    5.2e-05
    """
    return _value(x, labels, j, "map_loss", reduction, backend, out)


@_gradient
def map_loss_backward(
    x: Array,
    labels: Array,
    *,
    j: float,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`map_loss`.

    Returns
    -------
    dx : ndarray (n, k)
        ``[i = D] - p_i``, ``p_i = exp(-y_i) / (exp(-j) + sum exp(-y))``; divided by n for the
        mean.

    Examples
    --------
    The right class is pulled closer, and wrong classes are pushed away, the more the closer they
    are. Without the rubbish class (``j=np.inf``) both forces are equal:

    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.map_loss_backward(np.array([[2.0, 2.0]]), np.array([0]), j=np.inf)
    array([[ 0.5, -0.5]])
    >>> ops.map_loss_backward(np.array([[2.0, 2.0]]), np.array([0]), j=2.0).round(4)
    array([[ 0.6667, -0.3333]])
    """
    return _derivative(x, labels, j, "map_loss", "backward", reduction, backend, out)


@_gradient
def map_loss_hessian(
    x: Array,
    labels: Array,
    *,
    j: float,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the diagonal of the Hessian of :func:`map_loss`.

    Returns
    -------
    hx : ndarray (n, k)
        ``p_i (1 - p_i)``, exact; divided by n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.map_loss_hessian(np.array([[2.0, 2.0]]), np.array([0]), j=2.0).round(4)  # 1/3 * 2/3
    array([[0.2222, 0.2222]])
    """
    return _derivative(x, labels, j, "map_loss", "hessian", reduction, backend, out)


@_loss
def penalty_loss(
    x: Array,
    labels: Array,
    *,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> float | Array:
    """Return the plain criterion of 1998: the penalty of the right class.

    Parameters
    ----------
    x : ndarray (n, k)
        Penalties y_i, such as the squared distances of :func:`lenet_fast.ops.rbf`.
    labels : integer ndarray (n,)
        Classes D, 0 to k - 1.

    Returns
    -------
    float, or ndarray (n,) with ``reduction="none"``
        ``y_D``.

    Notes
    -----
    LeCun et al. 1998, eq. 8. It does not push wrong classes away, unlike :func:`map_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.penalty_loss(np.array([[0.5, 12.0], [3.0, 1.0]]), np.array([0, 1]))
    0.75
    """
    return _value(x, labels, None, "penalty_loss", reduction, backend, out)


@_gradient
def penalty_loss_backward(
    x: Array,
    labels: Array,
    *,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`penalty_loss`.

    Returns
    -------
    dx : ndarray (n, k)
        ``[i = D]``; divided by n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.penalty_loss_backward(np.array([[0.5, 12.0], [3.0, 1.0]]), np.array([0, 1]))
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    return _derivative(x, labels, None, "penalty_loss", "backward", reduction, backend, out)


@_gradient
def penalty_loss_hessian(
    x: Array,
    labels: Array,
    *,
    reduction: choices.LossReduction = "mean",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the diagonal of the Hessian of :func:`penalty_loss`.

    Returns
    -------
    hx : ndarray (n, k)
        Zeros: the loss is linear. Curvature below it comes only from the RBF units, for which
        :func:`lenet_fast.ops.rbf_hessian` needs the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.penalty_loss_hessian(np.array([[0.5, 12.0]]), np.array([0]))
    array([[0., 0.]])
    """
    return _derivative(x, labels, None, "penalty_loss", "hessian", reduction, backend, out)
