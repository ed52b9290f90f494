"""Activation functions, element by element, on arrays of any shape.

Slopes are computed from the output y, so a backward pass does not need the input; except for GELU,
whose slope is computed from the input x.
"""

from __future__ import annotations

import inspect
from typing import get_args

from lenet_fast import backends, checks, choices, docstrings
from lenet_fast.checks import Array
from lenet_fast.docstrings import Documented
from lenet_fast.ops._operation import operation

__all__ = [
    "elu",
    "elu_backward",
    "elu_hessian",
    "gelu",
    "gelu_backward",
    "gelu_hessian",
    "leaky_relu",
    "leaky_relu_backward",
    "leaky_relu_hessian",
    "relu",
    "relu_backward",
    "relu_hessian",
    "scaled_tanh",
    "scaled_tanh_backward",
    "scaled_tanh_hessian",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_hessian",
    "tanh",
    "tanh_backward",
    "tanh_hessian",
]

GELU_FORMS = get_args(choices.GeluForm)
"""Forms of GELU, as PyTorch calls them."""


def _forward(
    function: str, x: object, backend: choices.Backend | None, out: object, option: float = 0.0
) -> Array:
    values = checks.floats("x", x, None)
    run = backends.get(backend).activation
    y = checks.output("out", out, values.shape, values.dtype, [("x", x)])
    run(values.reshape(-1), y.reshape(-1), function, option)
    return checks.returned(out, y)


def _backward(
    function: str,
    dy: tuple[str, object],
    seen: tuple[str, object],
    backend: choices.Backend | None,
    out: object,
    option: float = 0.0,
) -> Array:
    """`seen` is what the slope is taken from."""
    values = checks.floats(*seen, None)
    incoming = checks.incoming(*dy, values.shape, values)
    kernels = backends.get(backend)
    run = kernels.activation_hessian if dy[0] == "hy" else kernels.activation_backward
    dx = checks.output("out", out, values.shape, values.dtype, [dy, seen])
    run(incoming.reshape(-1), values.reshape(-1), dx.reshape(-1), function, option)
    return checks.returned(out, dx)


_SEEN = {"y": "The forward's output.", "x": "The forward's input: two of them may have one output."}
_WHAT = {"dy": "Gradient", "hy": "Diagonal of the Hessian"}
_DROPPED = "The term in f'' is dropped (LeCun et al. 1998, appendix C)."


def _gradient(function: Documented) -> Documented:
    """Complete the docstring of a ``_backward`` or ``_hessian``, from its name and arguments."""
    incoming, seen, *options = inspect.signature(function).parameters
    forward = function.__name__.rpartition("_")[0]
    parameters = f"{incoming} : ndarray\n    {_WHAT[incoming]} at the output."
    parameters += f"\n{seen} : ndarray, the same shape\n    {_SEEN[seen]}"
    for option in options[:-2]:  # without backend and out
        parameters += f"\n{option}\n    As for :func:`{forward}`."
    notes = {"Notes": _DROPPED} if incoming == "hy" else {}
    result = f"{incoming[0]}x : ndarray, the same shape"
    return operation(docstrings.completed(Parameters=parameters, Returns=result, **notes)(function))


def _gelu_of(approximate: object) -> str:
    exact = checks.choice("approximate", approximate, GELU_FORMS) == "none"
    return "gelu" if exact else "gelu_tanh"


@operation
def scaled_tanh(
    x: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return ``1.7159 tanh(2 x / 3)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between -1.7159 and 1.7159.

    Notes
    -----
    LeCun et al. 1998, appendix A: f(1) = 1 and f(-1) = -1, where the curvature is largest.
    Within 5 units in the last place in every backend.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.scaled_tanh(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-1.,  0.,  1.])
    """
    return _forward("scaled_tanh", x, backend, out)


@_gradient
def scaled_tanh_backward(
    dy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`scaled_tanh`: ``dx = f' dy``.

    ``f' = (2 / 3) (1.7159 - y^2 / 1.7159)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.scaled_tanh(np.array([0.0, 1.0, 5.0]))
    >>> ops.scaled_tanh_backward(np.ones(3), y).round(4)  # steep at 0, flat when saturated
    array([1.1439, 0.7554, 0.0058])
    """
    return _backward("scaled_tanh", ("dy", dy), ("y", y), backend, out)


@_gradient
def scaled_tanh_hessian(
    hy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`scaled_tanh`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.scaled_tanh(np.array([0.0, 1.0]))
    >>> ops.scaled_tanh_hessian(np.ones(2), y).round(4)  # 1.1439 and 0.7554, squared
    array([1.3086, 0.5706])
    """
    return _backward("scaled_tanh", ("hy", hy), ("y", y), backend, out)


@operation
def tanh(x: Array, *, backend: choices.Backend | None = None, out: Array | None = None) -> Array:
    """Return ``tanh(x)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between -1 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.tanh(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.7616,  0.    ,  0.7616])
    """
    return _forward("tanh", x, backend, out)


@_gradient
def tanh_backward(
    dy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`tanh`: ``dx = f' dy``, ``f' = 1 - y^2``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.tanh(np.array([-1.0, 0.0, 1.0]))
    >>> ops.tanh_backward(np.ones(3), y).round(4)
    array([0.42, 1.  , 0.42])
    """
    return _backward("tanh", ("dy", dy), ("y", y), backend, out)


@_gradient
def tanh_hessian(
    hy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`tanh`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.tanh_hessian(np.array([3.0]), np.array([0.5]))  # 3 (1 - 0.25)^2
    array([1.6875])
    """
    return _backward("tanh", ("hy", hy), ("y", y), backend, out)


@operation
def sigmoid(x: Array, *, backend: choices.Backend | None = None, out: Array | None = None) -> Array:
    """Return ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.sigmoid(np.array([-1.0, 0.0, 1.0])).round(4)
    array([0.2689, 0.5   , 0.7311])
    """
    return _forward("sigmoid", x, backend, out)


@_gradient
def sigmoid_backward(
    dy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`sigmoid`: ``dx = f' dy``, ``f' = y (1 - y)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.sigmoid(np.array([0.0, 4.0]))
    >>> ops.sigmoid_backward(np.ones(2), y).round(4)  # never above 1/4
    array([0.25  , 0.0177])
    """
    return _backward("sigmoid", ("dy", dy), ("y", y), backend, out)


@_gradient
def sigmoid_hessian(
    hy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`sigmoid`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.sigmoid_hessian(np.array([1.0]), np.array([0.5]))  # (1/4)^2
    array([0.0625])
    """
    return _backward("sigmoid", ("hy", hy), ("y", y), backend, out)


@operation
def relu(x: Array, *, backend: choices.Backend | None = None, out: Array | None = None) -> Array:
    """Return ``max(x, 0)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.

    Returns
    -------
    y : ndarray
        Of the shape of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.relu(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    return _forward("relu", x, backend, out)


@_gradient
def relu_backward(
    dy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`relu`: ``dx = f' dy``.

    ``f' = 1 where y > 0, else 0``, but NaN where y is NaN. In place of the forward's output, y may
    be its input, which has the same sign.

    Notes
    -----
    A NaN in `y` gives a NaN, as in the other functions here, so that it is not lost on the way
    back. PyTorch returns `dy` there.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.relu(np.array([-2.0, 0.0, 3.0]))
    >>> ops.relu_backward(np.array([10.0, 20.0, 30.0]), y)
    array([ 0.,  0., 30.])
    """
    return _backward("relu", ("dy", dy), ("y", y), backend, out)


@_gradient
def relu_hessian(
    hy: Array, y: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`relu`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.relu_hessian(np.array([10.0, 30.0]), np.array([0.0, 3.0]))
    array([ 0., 30.])
    """
    return _backward("relu", ("hy", hy), ("y", y), backend, out)


@operation
def leaky_relu(
    x: Array,
    *,
    slope: float = 0.01,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``x`` where it is positive, else ``slope x``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    slope : float
        0 or more: below 0, the output would not tell whether the input was positive.

    Returns
    -------
    y : ndarray
        Of the shape of `x`.

    Notes
    -----
    Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    PyTorch's ``leaky_relu``, which takes negative slopes, too, calls it `negative_slope`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.leaky_relu(np.array([-1.0, 0.0, 1.0]), slope=0.2)
    array([-0.2,  0. ,  1. ])
    """
    return _forward("leaky_relu", x, backend, out, checks.not_negative("slope", slope))


@_gradient
def leaky_relu_backward(
    dy: Array,
    y: Array,
    *,
    slope: float = 0.01,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`leaky_relu`: ``dx = f' dy``.

    ``f' = 1 where y > 0, else slope``, but NaN where y is. In place of the forward's output, y may
    be its input, which has the same sign.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.leaky_relu(np.array([-2.0, 3.0]), slope=0.25)
    >>> ops.leaky_relu_backward(np.ones(2), y, slope=0.25)
    array([0.25, 1.  ])
    """
    slope = checks.not_negative("slope", slope)
    return _backward("leaky_relu", ("dy", dy), ("y", y), backend, out, slope)


@_gradient
def leaky_relu_hessian(
    hy: Array,
    y: Array,
    *,
    slope: float = 0.01,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`leaky_relu`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.leaky_relu_hessian(np.ones(2), np.array([-0.5, 3.0]), slope=0.25)
    array([0.0625, 1.    ])
    """
    slope = checks.not_negative("slope", slope)
    return _backward("leaky_relu", ("hy", hy), ("y", y), backend, out, slope)


@operation
def elu(
    x: Array,
    *,
    alpha: float = 1.0,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``x`` where it is positive, else ``alpha (exp(x) - 1)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    alpha : float
        Above 0; the output approaches its negative on the left.

    Returns
    -------
    y : ndarray
        Of the shape of `x`.

    Notes
    -----
    Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by
    exponential linear units (ELUs)". Within 4 units in the last place in every backend.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.elu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.6321,  0.    ,  1.    ])
    """
    return _forward("elu", x, backend, out, checks.positive("alpha", alpha))


@_gradient
def elu_backward(
    dy: Array,
    y: Array,
    *,
    alpha: float = 1.0,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`elu`: ``dx = f' dy``.

    ``f' = 1 where y > 0, else y + alpha``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> y = ops.elu(np.array([-1.0, 2.0]))
    >>> ops.elu_backward(np.ones(2), y).round(4)  # exp(-1) and 1
    array([0.3679, 1.    ])
    """
    alpha = checks.positive("alpha", alpha)
    return _backward("elu", ("dy", dy), ("y", y), backend, out, alpha)


@_gradient
def elu_hessian(
    hy: Array,
    y: Array,
    *,
    alpha: float = 1.0,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`elu`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.elu_hessian(np.ones(2), np.array([-0.5, 2.0]))  # (1 - 0.5)^2 and 1
    array([0.25, 1.  ])
    """
    alpha = checks.positive("alpha", alpha)
    return _backward("elu", ("hy", hy), ("y", y), backend, out, alpha)


@operation
def gelu(
    x: Array,
    *,
    approximate: choices.GeluForm = "none",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``x Phi(x)``, Phi being the distribution function of the standard normal.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    approximate : {"none", "tanh"}
        "tanh": ``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`` in its place, which is off by
        up to 0.0005.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, -0.17 or more.

    Notes
    -----
    Hendrycks and Gimpel 2016, "Gaussian error linear units (GELUs)". Within 5 units in the last
    place in every backend, and within ``5 (1 + x^2)`` of them on the left of zero, where y falls
    like ``exp(-x^2 / 2)``. At minus infinity it is 0, where PyTorch has NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([-1.0, 0.0, 1.0])
    >>> ops.gelu(x).round(4), ops.gelu(x, approximate="tanh").round(4)
    (array([-0.1587,  0.    ,  0.8413]), array([-0.1588,  0.    ,  0.8412]))
    """
    return _forward(_gelu_of(approximate), x, backend, out)


@_gradient
def gelu_backward(
    dy: Array,
    x: Array,
    *,
    approximate: choices.GeluForm = "none",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`gelu`: ``dx = f' dy``.

    ``f' = Phi(x) + x phi(x)``, phi being the density.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([-1.0, 0.0, 1.0])
    >>> ops.gelu_backward(np.ones(3), x).round(4)  # below 0 on the left, above 1 on the right
    array([-0.0833,  0.5   ,  1.0833])
    """
    return _backward(_gelu_of(approximate), ("dy", dy), ("x", x), backend, out)


@_gradient
def gelu_hessian(
    hy: Array,
    x: Array,
    *,
    approximate: choices.GeluForm = "none",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`gelu`: ``hx = f'^2 hy``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.gelu_hessian(np.ones(2), np.array([0.0, 1.0])).round(4)
    array([0.25  , 1.1736])
    """
    return _backward(_gelu_of(approximate), ("hy", hy), ("x", x), backend, out)
