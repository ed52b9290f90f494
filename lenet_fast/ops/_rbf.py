"""Euclidean radial basis function units, the output layer of 1998."""

from __future__ import annotations

import numpy as np

from lenet_fast import backends, checks, choices
from lenet_fast.checks import Array
from lenet_fast.ops._losses import rubbish
from lenet_fast.ops._operation import operation

__all__ = ["map_rbf_hessian", "rbf", "rbf_backward", "rbf_hessian"]


def _plan(x: object, w: object) -> tuple[Array, Array]:
    images = checks.floats("x", x, "n, n_in")
    centres = checks.floats("w", w, "n_out, n_in", like=images)
    if centres.shape[1] != images.shape[1]:
        raise ValueError(
            f"w: expected centres of {images.shape[1]} numbers (n_in of x), got {centres.shape[1]}"
        )
    return images, centres


@operation
def rbf(
    x: Array, w: Array, *, backend: choices.Backend | None = None, out: Array | None = None
) -> Array:
    """Return the squared Euclidean distance of each input to each centre.

    Parameters
    ----------
    x : ndarray (n, n_in)
        A batch of vectors, float32 or float64.
    w : ndarray (n_out, n_in)
        One centre per output unit.

    Returns
    -------
    y : ndarray (n, n_out)
        ``y_i = sum over j of (x_j - w_ij)^2``, a penalty: the smallest wins. There is no factor
        1/2.

    Notes
    -----
    LeCun et al. 1998, section II.B, RBF output units.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.rbf(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 0.0]]))
    array([[4., 5.]])
    """
    images, centres = _plan(x, w)
    run = backends.get(backend).rbf
    shape = (images.shape[0], centres.shape[0])
    y = checks.output("out", out, shape, images.dtype, [("x", x), ("w", w)])
    run(images, centres, y)
    return checks.returned(out, y)


@operation
def rbf_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    backend: choices.Backend | None = None,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Return the gradients of :func:`rbf`.

    Parameters
    ----------
    dy : ndarray (n, n_out)
        Gradient at the output.
    x, w, backend, out
        As for :func:`rbf`; `out` is ``(dx, dw)``.

    Returns
    -------
    dx : ndarray (n, n_in)
    dw : ndarray (n_out, n_in)
        Summed over the batch.

    Examples
    --------
    The gradient points from the centre to the input, and the centre's the other way:

    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[3.0, 0.0]]), np.array([[1.0, 1.0]])
    >>> ops.rbf_backward(np.array([[1.0]]), x, w)
    (array([[ 4., -2.]]), array([[-4.,  2.]]))
    """
    images, centres = _plan(x, w)
    incoming = checks.incoming("dy", dy, (images.shape[0], centres.shape[0]), images)
    run = backends.get(backend).rbf_backward
    inputs: list[tuple[str, object]] = [("dy", dy), ("x", x), ("w", w)]
    shapes = [images.shape, centres.shape]
    dx, dw = checks.outputs(out, ("dx", "dw"), shapes, images.dtype, inputs)
    assert dx is not None and dw is not None
    run(incoming, images, centres, dx, dw)
    return checks.all_returned(out, dx, dw)


@operation
def rbf_hessian(
    hy: Array,
    x: Array,
    w: Array,
    dy: Array | None = None,
    *,
    backend: choices.Backend | None = None,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Pass the diagonal of the Hessian back through :func:`rbf`.

    Parameters
    ----------
    hy : ndarray (n, n_out)
        Second derivative at the output.
    x, w
        As for :func:`rbf`.
    dy : ndarray (n, n_out), optional
        First derivative at the output. With it, the result includes the curvature of the RBF
        itself; without it, it is the Gauss-Newton part alone.
    backend, out
        See :mod:`lenet_fast.ops`; `out` is ``(hx, hw)``.

    Returns
    -------
    hx : ndarray (n, n_in)
        ``sum over i of 4 hy_i (x_j - w_ij)^2 + 2 dy_i``.
    hw : ndarray (n_out, n_in)
        The same terms summed over the batch.

    Notes
    -----
    A criterion that is linear in y, such as the plain one of LeCun et al. 1998 (eq. 8), has
    ``hy = 0``: without `dy` every second derivative below the RBF would be zero.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w, zero = np.array([[3.0, 0.0]]), np.array([[1.0, 1.0]]), np.zeros((1, 1))
    >>> ops.rbf_hessian(zero, x, w)[0], ops.rbf_hessian(zero, x, w, dy=np.ones((1, 1)))[0]
    (array([[0., 0.]]), array([[2., 2.]]))
    """
    images, centres = _plan(x, w)
    shape = (images.shape[0], centres.shape[0])
    second = checks.incoming("hy", hy, shape, images)
    if dy is None:
        first = np.zeros(shape, images.dtype)
    else:
        first = checks.incoming("dy", dy, shape, images)
    run = backends.get(backend).rbf_hessian
    inputs: list[tuple[str, object]] = [("hy", hy), ("x", x), ("w", w), ("dy", dy)]
    shapes = [images.shape, centres.shape]
    hx, hw = checks.outputs(out, ("hx", "hw"), shapes, images.dtype, inputs)
    assert hx is not None and hw is not None
    run(second, first, images, centres, hx, hw)
    return checks.all_returned(out, hx, hw)


@operation
def map_rbf_hessian(
    y: Array,
    x: Array,
    w: Array,
    *,
    j: float,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the diagonal of the Hessian of :func:`.map_loss` with respect to RBF units' inputs.

    It is exact; :func:`rbf_hessian`, which uses only the diagonal at the outputs, drops the terms
    between two outputs.

    Parameters
    ----------
    y : ndarray (n, n_out)
        The output of :func:`rbf` for `x`.
    x, w
        As for :func:`rbf`.
    j : float
        As for :func:`lenet_fast.ops.map_loss`.

    Returns
    -------
    hx : ndarray (n, n_in)
        ``2 (1 - sum p_i) + 4 [sum p_i d_i^2 - (sum p_i d_i)^2]`` with ``d_i = x_j - w_ij`` and
        ``p_i = exp(-y_i) / (exp(-j) + sum exp(-y))``; it does not depend on the labels. Per image,
        and never negative.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[0.0]]), np.array([[1.0], [-1.0]])
    >>> ops.map_rbf_hessian(ops.rbf(x, w), x, w, j=np.inf)
    array([[4.]])
    """
    images, centres = _plan(x, w)
    penalties = checks.incoming("y", y, (images.shape[0], centres.shape[0]), images)
    number = rubbish(j, images.dtype)
    run = backends.get(backend).map_rbf_hessian
    inputs: list[tuple[str, object]] = [("y", y), ("x", x), ("w", w)]
    hx = checks.output("out", out, images.shape, images.dtype, inputs)
    run(penalties, images, centres, hx, number)
    return checks.returned(out, hx)
