"""Activation functions, element by element, on arrays of any shape.

Slopes are computed from the output y, so a backward pass does not need the input.
"""

from __future__ import annotations

from lenet_fast import backends, checks
from lenet_fast.checks import Array


def _forward(name: str, x: object, backend: str | None, out: object) -> Array:
    values = checks.floats("x", x, None)
    run = getattr(backends.get(backend), name)
    y = checks.output("out", out, values.shape, values.dtype, [("x", x)])
    run(values.reshape(-1), y.reshape(-1))
    return checks.returned(out, y)


def _backward(
    name: str, dy: tuple[str, object], y: object, backend: str | None, out: object
) -> Array:
    values = checks.floats("y", y, None)
    incoming = checks.incoming(*dy, values.shape, values)
    run = getattr(backends.get(backend), name)
    dx = checks.output("out", out, values.shape, values.dtype, [dy, ("y", y)])
    run(incoming.reshape(-1), values.reshape(-1), dx.reshape(-1))
    return checks.returned(out, dx)


def scaled_tanh(x: Array, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Return ``1.7159 tanh(2 x / 3)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between -1.7159 and 1.7159.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

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


def scaled_tanh_backward(
    dy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`scaled_tanh`: ``dx = f' dy``.

    Parameters
    ----------
    dy : ndarray
        Gradient at the output.
    y : ndarray, the same shape
        The forward's output; ``f' = (2 / 3) (1.7159 - y^2 / 1.7159)``.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    dx : ndarray, the same shape

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.
    """
    return _backward("scaled_tanh_backward", ("dy", dy), y, backend, out)


def scaled_tanh_hessian(
    hy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`scaled_tanh`: ``hx = f'^2 hy``.

    Parameters, result and errors are those of :func:`scaled_tanh_backward`, with `hy` for `dy`.
    The term in f'' is dropped (LeCun et al. 1998, appendix C).
    """
    return _backward("scaled_tanh_hessian", ("hy", hy), y, backend, out)


def tanh(x: Array, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Return ``tanh(x)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between -1 and 1.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.tanh(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.7616,  0.    ,  0.7616])
    """
    return _forward("tanh", x, backend, out)


def tanh_backward(
    dy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`tanh`: ``dx = f' dy``.

    Parameters
    ----------
    dy : ndarray
        Gradient at the output.
    y : ndarray, the same shape
        The forward's output; ``f' = 1 - y^2``.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    dx : ndarray, the same shape

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.
    """
    return _backward("tanh_backward", ("dy", dy), y, backend, out)


def tanh_hessian(
    hy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`tanh`: ``hx = f'^2 hy``.

    Parameters, result and errors are those of :func:`tanh_backward`, with `hy` for `dy`.
    The term in f'' is dropped (LeCun et al. 1998, appendix C).
    """
    return _backward("tanh_hessian", ("hy", hy), y, backend, out)


def sigmoid(x: Array, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Return ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    y : ndarray
        Of the shape of `x`, between 0 and 1.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.sigmoid(np.array([-1.0, 0.0, 1.0])).round(4)
    array([0.2689, 0.5   , 0.7311])
    """
    return _forward("sigmoid", x, backend, out)


def sigmoid_backward(
    dy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`sigmoid`: ``dx = f' dy``.

    Parameters
    ----------
    dy : ndarray
        Gradient at the output.
    y : ndarray, the same shape
        The forward's output; ``f' = y (1 - y)``.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    dx : ndarray, the same shape

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.
    """
    return _backward("sigmoid_backward", ("dy", dy), y, backend, out)


def sigmoid_hessian(
    hy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`sigmoid`: ``hx = f'^2 hy``.

    Parameters, result and errors are those of :func:`sigmoid_backward`, with `hy` for `dy`.
    The term in f'' is dropped (LeCun et al. 1998, appendix C).
    """
    return _backward("sigmoid_hessian", ("hy", hy), y, backend, out)


def relu(x: Array, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Return ``max(x, 0)``.

    Parameters
    ----------
    x : ndarray, any shape
        Weighted sums, float32 or float64.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    y : ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.relu(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    return _forward("relu", x, backend, out)


def relu_backward(
    dy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Return the gradient of :func:`relu`: ``dx = f' dy``.

    Parameters
    ----------
    dy : ndarray
        Gradient at the output.
    y : ndarray, the same shape
        The forward's output, or its input, which has the same sign; ``f' = 1 where y > 0, else 0``,
        but NaN where y is NaN.
    backend, out
        See :mod:`lenet_fast.ops`.

    Returns
    -------
    dx : ndarray, the same shape

    Raises
    ------
    TypeError, ValueError, ImportError
        See :mod:`lenet_fast.ops`.

    Notes
    -----
    A NaN in `y` gives a NaN, as in the other functions here, so that it is not lost on the way
    back. PyTorch returns `dy` there.
    """
    return _backward("relu_backward", ("dy", dy), y, backend, out)


def relu_hessian(
    hy: Array, y: Array, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`relu`: ``hx = f'^2 hy``.

    Parameters, result and errors are those of :func:`relu_backward`, with `hy` for `dy`.
    The term in f'' is dropped (LeCun et al. 1998, appendix C).
    """
    return _backward("relu_hessian", ("hy", hy), y, backend, out)
