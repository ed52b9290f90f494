"""Fully connected layers."""

from __future__ import annotations

import numpy as np

from lenet_fast import backends, checks, choices
from lenet_fast.checks import Array
from lenet_fast.ops._operation import operation

__all__ = ["dense", "dense_backward", "dense_hessian"]


def _plan(x: object, w: object) -> tuple[Array, Array]:
    images = checks.floats("x", x, "n, n_in")
    weights = checks.floats("w", w, "n_out, n_in", like=images)
    if weights.shape[1] != images.shape[1]:
        raise ValueError(
            f"w: expected {images.shape[1]} inputs (n_in of x), got {weights.shape[1]}"
        )
    return images, weights


@operation
def dense(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``x w^T + b``.

    Parameters
    ----------
    x : ndarray (n, n_in)
        A batch of vectors, float32 or float64.
    w : ndarray (n_out, n_in)
        Weights.
    b : ndarray (n_out,), optional
        Biases.

    Returns
    -------
    y : ndarray (n, n_out)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.dense(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([0.5]))
    array([[11.5]])
    """
    images, weights = _plan(x, w)
    n_out = weights.shape[0]
    if b is None:
        biases = np.zeros(n_out, images.dtype)
    else:
        biases = checks.floats("b", b, "n_out", like=images)
        checks.same_shape("b", biases, (n_out,), "one bias per output of w")
    run = backends.get(backend).dense
    shape = (images.shape[0], n_out)
    y = checks.output("out", out, shape, images.dtype, [("x", x), ("w", w), ("b", b)])
    run(images, weights, biases, y)
    return checks.returned(out, y)


def _gradients(
    names: tuple[str, str, str],
    dy: tuple[str, object],
    x: object,
    w: object,
    squared: bool,
    input_gradient: bool,
    backend: choices.Backend | None,
    out: object,
) -> tuple[Array | None, Array, Array]:
    images, weights = _plan(x, w)
    n, n_out = images.shape[0], weights.shape[0]
    incoming = checks.incoming(*dy, (n, n_out), images)
    module = backends.get(backend)
    shapes = [images.shape if input_gradient else None, weights.shape, (n_out,)]
    inputs = [dy, ("x", x), ("w", w)]
    dx, dw, db = checks.outputs(out, names, shapes, images.dtype, inputs)
    assert dw is not None and db is not None
    if squared:
        images, weights = np.square(images), np.square(weights)
    if dx is not None:
        module.dense_input_gradient(incoming, weights, dx)
    module.dense_weight_gradient(incoming, images, dw, db)
    return checks.all_returned(out, dx, dw, db)


@operation
def dense_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    input_gradient: bool = True,
    backend: choices.Backend | None = None,
    out: tuple[Array | None, Array, Array] | None = None,
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of :func:`dense`.

    Parameters
    ----------
    dy : ndarray (n, n_out)
        Gradient at the output.
    x, w
        As for :func:`dense`.
    input_gradient : bool
        False: `dx` is not computed.
    backend, out
        See :mod:`lenet_fast.ops`; `out` is ``(dx, dw, db)``.

    Returns
    -------
    dx : ndarray (n, n_in), or None
    dw : ndarray (n_out, n_in)
        Summed over the batch.
    db : ndarray (n_out,)
        Summed over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    >>> ops.dense_backward(np.array([[10.0]]), x, w)
    (array([[30., 40.]]), array([[10., 20.]]), array([10.]))
    """
    names = ("dx", "dw", "db")
    return _gradients(names, ("dy", dy), x, w, False, input_gradient, backend, out)


def dense_hessian(
    hy: Array,
    x: Array,
    w: Array,
    *,
    input_gradient: bool = True,
    backend: choices.Backend | None = None,
    out: tuple[Array | None, Array, Array] | None = None,
) -> tuple[Array | None, Array, Array]:
    """Pass the diagonal of the Hessian back through :func:`dense`: the backward pass on squares.

    Parameters, shapes of the results and errors are those of :func:`dense_backward`.

    Returns
    -------
    hx, hw, hb : ndarray
        ``hy w^2``, ``hy^T x^2`` and the sum of `hy`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    >>> ops.dense_hessian(np.array([[10.0]]), x, w)
    (array([[ 90., 160.]]), array([[10., 40.]]), array([10.]))
    """
    names = ("hx", "hw", "hb")
    return _gradients(names, ("hy", hy), x, w, True, input_gradient, backend, out)
