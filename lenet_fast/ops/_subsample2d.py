"""The trainable sub-sampling layer of 1998."""

from __future__ import annotations

from typing import get_args

from lenet_fast import backends, checks, choices
from lenet_fast.checks import Array
from lenet_fast.ops._operation import operation
from lenet_fast.ops._pool2d import Window, window
from lenet_fast.windows import IntPair

__all__ = ["subsample2d", "subsample2d_backward", "subsample2d_hessian"]

REDUCTIONS = get_args(choices.WindowReduction)


def _plan(
    x: object, w: object, kernel: object, stride: object, reduction: object
) -> tuple[Array, Array, tuple[int, ...], Window, float]:
    images = checks.floats("x", x, "n, c, h_in, w_in")
    coefficients = checks.floats("w", w, "c_out", like=images)
    maps, count = images.shape[1], coefficients.size
    if count % maps:
        raise ValueError(f"w: expected {maps} coefficients (c of x), or a multiple, got {count}")
    (n, _, h_out, w_out), taps = window(images, kernel, stride)
    mean = checks.choice("reduction", reduction, REDUCTIONS) == "mean"
    scale = 1 / (taps[0] * taps[1]) if mean else 1.0
    return images, coefficients, (n, count, h_out, w_out), taps, scale


@operation
def subsample2d(
    x: Array,
    w: Array,
    b: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    reduction: choices.WindowReduction = "sum",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Add the inputs of each window, multiply by the map's coefficient, add the map's bias.

    Parameters
    ----------
    x : ndarray (n, c, h_in, w_in)
        Images, float32 or float64.
    w, b : ndarray (c_out,)
        Coefficient and bias of each output map. There may be m times as many output maps as maps
        of x: output map o then reads map ``o // m`` of x, with its own coefficient and bias.
    kernel, stride
        The window, as for :func:`lenet_fast.ops.max_pool2d`.
    reduction : {"sum", "mean"}
        The paper adds; many reproductions average. Both express the same functions, but the
        coefficient's gradient differs in size.

    Returns
    -------
    y : ndarray (n, c_out, h_out, w_out)
        Before the activation.

    Notes
    -----
    LeCun et al. 1998, section II.B, layers S2 and S4. LeNet-4 has more output maps than input
    maps: two of them read the same map.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> ops.subsample2d(x, np.array([0.5]), np.array([1.0]))
    array([[[[ 6., 10.],
             [22., 26.]]]])
    """
    images, coefficients, shape, taps, scale = _plan(x, w, kernel, stride, reduction)
    biases = checks.floats("b", b, "c_out", like=images)
    checks.same_shape("b", biases, coefficients.shape, "one bias per coefficient of w")
    run = backends.get(backend).subsample2d
    y = checks.output("out", out, shape, images.dtype, [("x", x), ("w", w), ("b", b)])
    run(images, coefficients, biases, y, *taps, scale)
    return checks.returned(out, y)


def _gradients(
    function: str,
    names: tuple[str, str, str],
    dy: tuple[str, object],
    x: object,
    w: object,
    kernel: object,
    stride: object,
    reduction: object,
    backend: choices.Backend | None,
    out: object,
) -> tuple[Array, Array, Array]:
    images, coefficients, shape, taps, scale = _plan(x, w, kernel, stride, reduction)
    incoming = checks.incoming(*dy, shape, images)
    run = getattr(backends.get(backend), function)
    shapes = [images.shape, coefficients.shape, coefficients.shape]
    dx, dw, db = checks.outputs(out, names, shapes, images.dtype, [dy, ("x", x), ("w", w)])
    assert dx is not None and dw is not None and db is not None
    run(incoming, images, coefficients, dx, dw, db, *taps, scale)
    return checks.all_returned(out, dx, dw, db)


@operation
def subsample2d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    reduction: choices.WindowReduction = "sum",
    backend: choices.Backend | None = None,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`subsample2d`.

    Parameters
    ----------
    dy : ndarray (n, c_out, h_out, w_out)
        Gradient at the output.
    x, w, kernel, stride, reduction, backend, out
        As for :func:`subsample2d`; `out` is ``(dx, dw, db)``.

    Returns
    -------
    dx : ndarray (n, c, h_in, w_in)
    dw, db : ndarray (c_out,)
        Summed over the batch.

    Examples
    --------
    The coefficient's gradient is `dy` times the sum of the window:

    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> dx, dw, db = ops.subsample2d_backward(np.array([[[[2.0]]]]), x, np.array([0.5]))
    >>> dx.ravel(), dw, db
    (array([1., 1., 1., 1.]), array([20.]), array([2.]))
    """
    names = ("dx", "dw", "db")
    options = (kernel, stride, reduction, backend, out)
    return _gradients("subsample2d_backward", names, ("dy", dy), x, w, *options)


def subsample2d_hessian(
    hy: Array,
    x: Array,
    w: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    reduction: choices.WindowReduction = "sum",
    backend: choices.Backend | None = None,
    out: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Pass the diagonal of the Hessian back through :func:`subsample2d`.

    Parameters, shapes of the results and errors are those of :func:`subsample2d_backward`.

    Returns
    -------
    hx, hw, hb : ndarray
        ``w^2 hy``, ``hy s^2`` and ``hy``, each summed where it is shared, with s the window's sum.
        With ``reduction="mean"``, s is the mean, and hx has the squared factor, 1/16.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> hx, hw, hb = ops.subsample2d_hessian(np.array([[[[2.0]]]]), x, np.array([0.5]))
    >>> hx.ravel(), hw, hb
    (array([0.5, 0.5, 0.5, 0.5]), array([200.]), array([2.]))
    """
    names = ("hx", "hw", "hb")
    options = (kernel, stride, reduction, backend, out)
    return _gradients("subsample2d_hessian", names, ("hy", hy), x, w, *options)
