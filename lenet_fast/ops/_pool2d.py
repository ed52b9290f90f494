"""Max and average pooling."""

from __future__ import annotations

from typing import get_args

from lenet_fast import backends, checks, choices
from lenet_fast.checks import Array
from lenet_fast.ops._operation import operation
from lenet_fast.windows import IntPair, output_size

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool2d_hessian",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_hessian",
]

TIES = get_args(choices.Ties)

Window = tuple[int, int, int, int]  # kernel rows and columns, strides


def window(x: Array, kernel: object, stride: object) -> tuple[tuple[int, ...], Window]:
    """Check the window of a pooling operation; return the output's shape and the window."""
    kh, kw = checks.pair("kernel", kernel)
    stride_v, stride_h = (kh, kw) if stride is None else checks.pair("stride", stride)
    n, c, h_in, w_in = x.shape
    h_out, w_out = output_size(h_in, kh, stride_v), output_size(w_in, kw, stride_h)
    if not (h_out and w_out):
        raise ValueError(
            f"kernel: expected one that fits the input of {h_in} x {w_in} pixels, got {kh} x {kw}"
        )
    return (n, c, h_out, w_out), (kh, kw, stride_v, stride_h)


def _pool(
    name: str,
    x: object,
    kernel: object,
    stride: object,
    backend: choices.Backend | None,
    out: object,
) -> Array:
    images = checks.floats("x", x, "n, c, h_in, w_in")
    shape, taps = window(images, kernel, stride)
    run = getattr(backends.get(backend), name)
    y = checks.output("out", out, shape, images.dtype, [("x", x)])
    run(images, y, *taps)
    return checks.returned(out, y)


def _backward(
    dy: tuple[str, object],
    x: object,
    kernel: object,
    stride: object,
    backend: choices.Backend | None,
    out: object,
    *,
    ties: object = TIES[0],
    power: int = 0,
) -> Array:
    """Go back through max pooling, or, with the `power` of the shares, through average pooling."""
    images = checks.floats("x", x, "n, c, h_in, w_in")
    shape, taps = window(images, kernel, stride)
    incoming = checks.incoming(*dy, shape, images)
    every = checks.choice("ties", ties, TIES) == "all"
    module = backends.get(backend)
    dx = checks.output("out", out, images.shape, images.dtype, [dy, ("x", x)])
    if power:
        module.avg_pool2d_backward(incoming, dx, *taps, (1 / (taps[0] * taps[1])) ** power)
    else:
        module.max_pool2d_backward(incoming, images, dx, *taps, every)
    return checks.returned(out, dx)


@operation
def max_pool2d(
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the largest value of each window.

    Parameters
    ----------
    x : ndarray (n, c, h_in, w_in)
        Images, float32 or float64.
    kernel : int or (vertical, horizontal)
        Rows and columns of the window.
    stride : int or (vertical, horizontal), optional
        Distance between windows in pixels; by default `kernel`, so that windows tile the image.
        Rows and columns left over at the end are ignored.

    Returns
    -------
    y : ndarray (n, c, h_out, w_out)
        ``h_out = (h_in - kh) // stride + 1``. NaN counts as the largest value.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    return _pool("max_pool2d", x, kernel, stride, backend, out)


@operation
def max_pool2d_backward(
    dy: Array,
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    ties: choices.Ties = "first",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`max_pool2d`.

    Parameters
    ----------
    dy : ndarray (n, c, h_out, w_out)
        Gradient at the output.
    x, kernel, stride, backend, out
        As for :func:`max_pool2d`.
    ties : {"first", "all"}
        Which of several equal maxima gets the `dy` of its window: only the first in scan order, a
        subgradient; or each of them, as in many notebooks, which makes the sum too large. In a
        window with NaN, "first" is the first NaN, and "all" is none.

    Returns
    -------
    dx : ndarray (n, c, h_in, w_in)
        Each window passes its `dy` to its maximum, and zero to the others.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]])
    >>> dy = np.array([[[[10.0, 20.0]]]])
    >>> ops.max_pool2d_backward(dy, x)  # in the second window, all are equal
    array([[[[ 0., 10., 20.,  0.],
             [ 0.,  0.,  0.,  0.]]]])
    >>> ops.max_pool2d_backward(dy, x, ties="all").sum()
    np.float64(90.0)
    """
    return _backward(("dy", dy), x, kernel, stride, backend, out, ties=ties)


def max_pool2d_hessian(
    hy: Array,
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    ties: choices.Ties = "first",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`max_pool2d`: `hy` goes to the winner.

    Parameters, result and errors are those of :func:`max_pool2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.array([[[[1.0, 5.0], [3.0, 4.0]]]])
    >>> ops.max_pool2d_hessian(np.array([[[[10.0]]]]), x)
    array([[[[ 0., 10.],
             [ 0.,  0.]]]])
    """
    return _backward(("hy", hy), x, kernel, stride, backend, out, ties=ties)


def avg_pool2d(
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the mean of each window.

    Parameters, shape of the result and errors are those of :func:`max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    return _pool("avg_pool2d", x, kernel, stride, backend, out)


@operation
def avg_pool2d_backward(
    dy: Array,
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Return the gradient of :func:`avg_pool2d`.

    Parameters
    ----------
    dy : ndarray (n, c, h_out, w_out)
        Gradient at the output.
    x : ndarray (n, c, h_in, w_in)
        The forward's input; only its shape and dtype matter.
    kernel, stride, backend, out
        As for :func:`avg_pool2d`.

    Returns
    -------
    dx : ndarray (n, c, h_in, w_in)
        Every input of a window gets an equal share of its `dy`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.avg_pool2d_backward(np.array([[[[10.0]]]]), np.zeros((1, 1, 2, 2)))
    array([[[[2.5, 2.5],
             [2.5, 2.5]]]])
    """
    return _backward(("dy", dy), x, kernel, stride, backend, out, power=1)


def avg_pool2d_hessian(
    hy: Array,
    x: Array,
    *,
    kernel: IntPair = 2,
    stride: IntPair | None = None,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Pass the diagonal of the Hessian back through :func:`avg_pool2d`.

    Parameters, result and errors are those of :func:`avg_pool2d_backward`; each input gets
    `hy` times the squared share, 1/16 for a window of 2 x 2.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.avg_pool2d_hessian(np.array([[[[16.0]]]]), np.zeros((1, 1, 2, 2)))
    array([[[[1., 1.],
             [1., 1.]]]])
    """
    return _backward(("hy", hy), x, kernel, stride, backend, out, power=2)
