"""The layers of CS231n (Stanford, *Deep Learning for Computer Vision*), assignment 2.

The course's ``cs231n/fast_layers.py`` needs a Cython extension that Cython 3 no longer compiles.
These functions take its place, without a compiler, and are faster; and so are those of
``layers.py`` that students write as loops, and the "sandwich" layers of ``layer_utils.py``::

    from lenet_fast.drop_in.cs231n import conv_forward_fast, conv_backward_fast

Images are (N, C, H, W), filters (F, C, HH, WW), biases (F,). `conv_param` has the keys "stride" and
"pad", `pool_param` the keys "pool_height", "pool_width" and "stride". If all arrays of a call are
float32, so are its results; otherwise all real numbers are converted to float64. Sums are added in
another order than the course's, so results agree to rounding.

Caches are the course's tuples, except that what only its own backward functions need, the columns
of ``im2col``, is None. Each forward function goes with the backward function of the same ending.

Where windows do not fill the image, the naive functions and `conv_forward_strides` ignore what is
left over. The others raise an AssertionError in the course, and a ValueError here.

Batch normalisation needs statistics over the batch, which lenet_fast does not keep; so there are no
``conv_bn_relu`` layers. A student's own work with these functions.

Examples
--------
A convolution, a ReLU and pooling, forward and back:

>>> import numpy as np
>>> from lenet_fast.drop_in.cs231n import conv_relu_pool_backward, conv_relu_pool_forward
>>> rng = np.random.default_rng(1)
>>> x, w, b = rng.normal(size=(2, 3, 16, 16)), rng.normal(size=(5, 3, 3, 3)), np.zeros(5)
>>> conv_param = {"stride": 1, "pad": 1}
>>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
>>> out, cache = conv_relu_pool_forward(x, w, b, conv_param, pool_param)
>>> dx, dw, db = conv_relu_pool_backward(np.ones_like(out), cache)
>>> out.shape, dx.shape, dw.shape, db.shape
((2, 5, 8, 8), (2, 3, 16, 16), (5, 3, 3, 3), (5,))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in import _blocks, _columns
from lenet_fast.drop_in._shared import arrays, axes, cached, notebook_function, settings, windows

__all__ = [
    "affine_backward",
    "affine_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "col2im_indices",
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_naive",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_naive",
    "conv_forward_strides",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "get_im2col_indices",
    "im2col_indices",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_naive",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_naive",
    "max_pool_forward_reshape",
    "relu_backward",
    "relu_forward",
]

Param = Mapping[str, int]
Gradients = tuple[Array, Array, Array]


# --- convolution ---


@notebook_function
def conv_forward_naive(x: Array, w: Array, b: Array, conv_param: Param) -> tuple[Array, Any]:
    """Convolve a batch of images with a set of filters.

    Parameters
    ----------
    x : ndarray (N, C, H, W)
        Images.
    w : ndarray (F, C, HH, WW)
        Filters; they are not flipped.
    b : ndarray (F,)
        One bias per filter.
    conv_param : dict
        "stride", pixels between windows, and "pad", pixels of zeros on each side.

    Returns
    -------
    out : ndarray (N, F, H', W')
        ``H' = 1 + (H + 2 pad - HH) // stride``, and W' likewise.
    cache : tuple
        ``(x, w, b, conv_param)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_forward_naive
    >>> x, w, b = np.arange(16.0).reshape(1, 1, 4, 4), np.ones((1, 1, 3, 3)), np.zeros(1)
    >>> out, cache = conv_forward_naive(x, w, b, {"stride": 1, "pad": 0})
    >>> out
    array([[[[45., 54.],
             [81., 90.]]]])
    """
    return _convolution(x, w, b, conv_param).forward(), (x, w, b, conv_param)


@notebook_function
def conv_forward_strides(x: Array, w: Array, b: Array, conv_param: Param) -> tuple[Array, Any]:
    """Convolve as :func:`conv_forward_naive` does; `conv_forward_fast` is another name.

    Parameters
    ----------
    x, w, b, conv_param
        As for :func:`conv_forward_naive`.

    Returns
    -------
    out : ndarray (N, F, H', W')
    cache : tuple
        ``(x, w, b, conv_param, None)``; in the course, the columns of `x` come last.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_forward_strides
    >>> x, w, b = np.ones((1, 2, 8, 8)), np.ones((3, 2, 3, 3)), np.zeros(3)
    >>> out, cache = conv_forward_strides(x, w, b, {"stride": 2, "pad": 1})
    >>> out.shape, len(cache)
    ((1, 3, 4, 4), 5)
    """
    out, cache = conv_forward_naive(x, w, b, conv_param)
    return out, (*cache, None)


conv_forward_fast = conv_forward_strides


@notebook_function
def conv_forward_im2col(x: Array, w: Array, b: Array, conv_param: Param) -> tuple[Array, Any]:
    """Convolve as :func:`conv_forward_strides` does, if windows fill the padded image.

    Parameters
    ----------
    x, w, b, conv_param
        As for :func:`conv_forward_naive`. The stride has to divide ``H + 2 pad - HH`` and
        ``W + 2 pad - WW``.

    Returns
    -------
    out : ndarray (N, F, H', W')
    cache : tuple
        ``(x, w, b, conv_param, None)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_forward_im2col
    >>> x, w, b = np.ones((1, 2, 8, 8)), np.ones((3, 2, 3, 3)), np.zeros(3)
    >>> conv_forward_im2col(x, w, b, {"stride": 2, "pad": 1})
    Traceback (most recent call last):
    ValueError: conv_param["stride"]: expected a divisor of 7 and 7, the rows and columns that a \
window can move by, got 2
    """
    plan = _convolution(x, w, b, conv_param)
    stride, pad = settings("conv_param", conv_param, "stride", "pad")
    _filled('conv_param["stride"]', plan.x.shape[2:], plan.w.shape[2:], stride, pad)
    return plan.forward(), (x, w, b, conv_param, None)


@notebook_function
def conv_backward_naive(dout: Array, cache: Any) -> Gradients:
    """Return the gradients of a convolution.

    `conv_backward_fast`, `conv_backward_im2col` and `conv_backward_strides` are other names: this
    function takes the cache of each forward function.

    Parameters
    ----------
    dout : ndarray (N, F, H', W')
        Gradient at the output.
    cache : tuple
        ``(x, w, b, conv_param)``, or with a fifth element, which is not read.

    Returns
    -------
    dx : ndarray (N, C, H, W)
    dw : ndarray (F, C, HH, WW)
        Summed over the batch.
    db : ndarray (F,)
        Summed over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_backward_naive, conv_forward_naive
    >>> x, w, b = np.arange(16.0).reshape(1, 1, 4, 4), np.ones((1, 1, 3, 3)), np.zeros(1)
    >>> out, cache = conv_forward_naive(x, w, b, {"stride": 1, "pad": 0})
    >>> dx, dw, db = conv_backward_naive(np.ones_like(out), cache)
    >>> dx[0, 0]  # how many of the four windows cover each pixel
    array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]])
    """
    parts = cache[:4] if isinstance(cache, tuple) and len(cache) == 5 else cache
    x, w, b, conv_param = cached(parts, "conv_forward_naive", "x", "w", "b", "conv_param")
    # All in one dtype, so that a float64 gradient is not rounded to the images' float32.
    x, w, b, dout = arrays(x=x, w=w, b=b, dout=dout)
    plan = _convolution(x, w, b, conv_param)
    checks.same_shape("dout", dout, plan.shape, "that of the output")
    return _blocks.convolve_back(ops.conv2d_backward, dout, plan.x, plan.w, **plan.options)


conv_backward_fast = conv_backward_im2col = conv_backward_strides = conv_backward_naive


class _Convolution(NamedTuple):
    """A convolution with checked arguments."""

    x: Array
    w: Array
    b: Array
    shape: _blocks.Shape
    options: dict[str, int]

    def forward(self) -> Array:
        return _blocks.convolve(self.x, self.w, self.b, self.shape, **self.options)


def _convolution(x: object, w: object, b: object, conv_param: object) -> _Convolution:
    images, filters, bias = arrays(x=x, w=w, b=b)
    axes("x", images, "N, C, H, W")
    axes("w", filters, "F, C, HH, WW")
    stride, pad = settings("conv_param", conv_param, "stride", "pad")
    (n, maps, *size), (count, seen, *kernel) = images.shape, filters.shape
    if seen != maps:
        raise ValueError(f"w: expected {maps} maps (C of x), got {seen}")
    checks.same_shape("b", bias, (count,), "one for each of the F filters of w")
    shape = (n, count, *windows("w", size, kernel, stride, pad))
    return _Convolution(images, filters, bias, shape, {"stride": stride, "padding": pad})


def _filled(
    name: str, size: Sequence[int], kernel: Sequence[int], stride: int, pad: int = 0
) -> None:
    """Raise ValueError unless windows fill the padded image, as the course asserts."""
    rows, columns = (length + 2 * pad - taps for length, taps in zip(size, kernel, strict=True))
    if rows % stride or columns % stride:
        raise ValueError(
            f"{name}: expected a divisor of {rows} and {columns}, the rows and columns that a "
            f"window can move by, got {stride}"
        )


# --- max pooling ---


@notebook_function
def max_pool_forward_naive(x: Array, pool_param: Param) -> tuple[Array, Any]:
    """Return the largest value of each window.

    Parameters
    ----------
    x : ndarray (N, C, H, W)
        Images.
    pool_param : dict
        "pool_height" and "pool_width", rows and columns of the window, and "stride", pixels
        between windows.

    Returns
    -------
    out : ndarray (N, C, H', W')
        ``H' = 1 + (H - pool_height) // stride``, and W' likewise.
    cache : tuple
        ``(x, pool_param)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_forward_naive
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> max_pool_forward_naive(np.arange(16.0).reshape(1, 1, 4, 4), pool_param)[0]
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    return _pooling(x, pool_param).forward(), (x, pool_param)


@notebook_function
def max_pool_backward_naive(dout: Array, cache: Any, *, ties: choices.Ties = "first") -> Array:
    """Return the gradient of :func:`max_pool_forward_naive`.

    Parameters
    ----------
    dout : ndarray (N, C, H', W')
        Gradient at the output.
    cache : tuple
        ``(x, pool_param)``.
    ties : {"first", "all"}
        Which of several equal maxima gets the gradient of its window. The course leaves that to its
        students: the first in scan order does where they use ``argmax``, and each of them where
        they compare with the maximum.

    Returns
    -------
    dx : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_backward_naive, max_pool_forward_naive
    >>> x = np.array([[[[1.0, 5.0], [5.0, 2.0]]]])
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_naive(x, pool_param)
    >>> max_pool_backward_naive(np.ones((1, 1, 1, 1)), cache)
    array([[[[0., 1.],
             [0., 0.]]]])
    >>> max_pool_backward_naive(np.ones((1, 1, 1, 1)), cache, ties="all")
    array([[[[0., 1.],
             [1., 0.]]]])
    """
    x, pool_param = cached(cache, "max_pool_forward_naive", "x", "pool_param")
    plan, incoming = _pooled(dout, x, pool_param)
    return _blocks.max_pool_back(incoming, plan.x, **plan.window, ties=ties)


@notebook_function
def max_pool_forward_im2col(x: Array, pool_param: Param) -> tuple[Array, Any]:
    """Return the largest value of each window, if windows fill the image.

    Parameters
    ----------
    x, pool_param
        As for :func:`max_pool_forward_naive`. The stride has to divide ``H - pool_height`` and
        ``W - pool_width``.

    Returns
    -------
    out : ndarray (N, C, H', W')
    cache : tuple
        ``(x, None, None, pool_param)``; in the course, the columns of `x` and the places of the
        maxima are in the middle.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_forward_im2col
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 1}
    >>> max_pool_forward_im2col(np.arange(9.0).reshape(1, 1, 3, 3), pool_param)[0]
    array([[[[4., 5.],
             [7., 8.]]]])
    """
    plan = _pooling(x, pool_param)
    stride = plan.window["stride"]
    _filled('pool_param["stride"]', plan.x.shape[2:], plan.window["kernel"], stride)
    return plan.forward(), (x, None, None, pool_param)


@notebook_function
def max_pool_backward_im2col(dout: Array, cache: Any) -> Array:
    """Return the gradient of :func:`max_pool_forward_im2col`.

    Of several equal maxima, the first in scan order gets the gradient.

    Parameters
    ----------
    dout : ndarray (N, C, H', W')
        Gradient at the output.
    cache : tuple
        ``(x, x_cols, x_cols_argmax, pool_param)``; the two in the middle are not read.

    Returns
    -------
    dx : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_backward_im2col, max_pool_forward_im2col
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 1}
    >>> out, cache = max_pool_forward_im2col(np.array([[[[0.0, 7.0, 1.0], [7.0, 2.0, 3.0]]]]),
    ...                                      pool_param)
    >>> max_pool_backward_im2col(np.ones_like(out), cache)  # both windows have the upper 7
    array([[[[0., 2., 0.],
             [0., 0., 0.]]]])
    """
    names = "x", "x_cols", "x_cols_argmax", "pool_param"
    x, _, _, pool_param = cached(cache, "max_pool_forward_im2col", *names)
    return max_pool_backward_naive(dout, (x, pool_param))


@notebook_function
def max_pool_forward_reshape(x: Array, pool_param: Param) -> tuple[Array, Any]:
    """Return the largest value of each window, if square windows tile the image.

    Parameters
    ----------
    x, pool_param
        As for :func:`max_pool_forward_naive`. "pool_height", "pool_width" and "stride" have to be
        equal, and divide H and W.

    Returns
    -------
    out : ndarray (N, C, H', W')
    cache : tuple
        ``(x, x_reshaped, out)``, with `x_reshaped`
        (N, C, H', pool_height, W', pool_width).

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_forward_reshape
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_reshape(np.arange(16.0).reshape(1, 1, 4, 4), pool_param)
    >>> out.shape, cache[1].shape
    ((1, 1, 2, 2), (1, 1, 2, 2, 2, 2))
    """
    plan = _pooling(x, pool_param)
    n, maps, rows, columns = plan.x.shape
    if not plan.tiles:
        raise ValueError(
            f"pool_param: expected square windows that tile {rows} x {columns} pixels, with the "
            f"stride as their size, got {dict(pool_param)}"
        )
    out, side = plan.forward(), plan.window["stride"]
    return out, (x, x.reshape(n, maps, rows // side, side, columns // side, side), out)


@notebook_function
def max_pool_backward_reshape(dout: Array, cache: Any) -> Array:
    """Return the gradient of :func:`max_pool_forward_reshape`.

    Several equal maxima share the gradient equally.

    Parameters
    ----------
    dout : ndarray (N, C, H', W')
        Gradient at the output.
    cache : tuple
        ``(x, x_reshaped, out)``.

    Returns
    -------
    dx : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_backward_reshape, max_pool_forward_reshape
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> x = np.array([[[[1.0, 5.0], [5.0, 2.0]]]])
    >>> out, cache = max_pool_forward_reshape(x, pool_param)
    >>> max_pool_backward_reshape(np.ones_like(out), cache)
    array([[[[0. , 0.5],
             [0.5, 0. ]]]])
    """
    x, x_reshaped, _ = cached(cache, "max_pool_forward_reshape", "x", "x_reshaped", "out")
    if not isinstance(x_reshaped, np.ndarray) or x_reshaped.ndim != 6:
        raise TypeError(
            "cache: expected x_reshaped (N, C, H', pool_height, W', pool_width), "
            f"got {checks.kind(x_reshaped)}"
        )
    side = x_reshaped.shape[3]
    plan, incoming = _pooled(dout, x, {"pool_height": side, "pool_width": side, "stride": side})
    # How many maxima each window has: the sum of the gradients that a 1 gives to all of them.
    ones = np.ones_like(incoming)
    seen = _blocks.max_pool_back(ones, plan.x, **plan.window, ties="all")
    means = _blocks.pool(ops.avg_pool2d, seen, plan.shape, **plan.window)
    share = incoming / np.rint(means * side**2)
    return _blocks.max_pool_back(share, plan.x, **plan.window, ties="all")


@notebook_function
def max_pool_forward_fast(x: Array, pool_param: Param) -> tuple[Array, Any]:
    """Return the largest value of each window, if windows fill the image.

    Parameters
    ----------
    x, pool_param
        As for :func:`max_pool_forward_im2col`.

    Returns
    -------
    out : ndarray (N, C, H', W')
    cache : tuple
        ``("reshape", cache)`` with that of :func:`max_pool_forward_reshape` if square windows tile
        the image, else ``("im2col", cache)`` with that of :func:`max_pool_forward_im2col`. It
        decides what :func:`max_pool_backward_fast` does with several equal maxima.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_forward_fast
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> max_pool_forward_fast(np.zeros((1, 1, 4, 4)), pool_param)[1][0]
    'reshape'
    >>> max_pool_forward_fast(np.zeros((1, 1, 4, 4)), {**pool_param, "stride": 1})[1][0]
    'im2col'
    """
    method = "reshape" if _pooling(x, pool_param).tiles else "im2col"
    run = max_pool_forward_reshape if method == "reshape" else max_pool_forward_im2col
    out, cache = run(x, pool_param)
    return out, (method, cache)


@notebook_function
def max_pool_backward_fast(dout: Array, cache: Any) -> Array:
    """Return the gradient of :func:`max_pool_forward_fast`.

    Parameters
    ----------
    dout : ndarray (N, C, H', W')
        Gradient at the output.
    cache : tuple
        ``("reshape", cache)`` for :func:`max_pool_backward_reshape`, or ``("im2col", cache)`` for
        :func:`max_pool_backward_im2col`.

    Returns
    -------
    dx : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import max_pool_backward_fast, max_pool_forward_fast
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), pool_param)
    >>> max_pool_backward_fast(np.ones_like(out), cache)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    method, parts = cached(cache, "max_pool_forward_fast", "method", "cache")
    if checks.choice("cache[0]", method, ("reshape", "im2col")) == "reshape":
        return max_pool_backward_reshape(dout, parts)
    return max_pool_backward_im2col(dout, parts)


class _Pooling(NamedTuple):
    """A pooling with checked arguments."""

    x: Array
    shape: _blocks.Shape
    window: dict[str, Any]
    tiles: bool  # whether square windows tile the image

    def forward(self) -> Array:
        return _blocks.pool(ops.max_pool2d, self.x, self.shape, **self.window)


def _pooling(x: object, pool_param: object) -> _Pooling:
    (images,) = arrays(x=x)
    axes("x", images, "N, C, H, W")
    keys = "pool_height", "pool_width", "stride"
    height, width, stride = settings("pool_param", pool_param, *keys)
    n, maps, *size = images.shape
    shape = (n, maps, *windows("pool_param", size, (height, width), stride))
    tiles = height == width == stride and not (size[0] % stride or size[1] % stride)
    return _Pooling(images, shape, {"kernel": (height, width), "stride": stride}, tiles)


def _pooled(dout: object, x: object, pool_param: object) -> tuple[_Pooling, Array]:
    images, incoming = arrays(x=x, dout=dout)
    plan = _pooling(images, pool_param)
    checks.same_shape("dout", incoming, plan.shape, "that of the output")
    return plan, incoming


# --- columns ---


@notebook_function
def get_im2col_indices(
    x_shape: Sequence[int],
    field_height: int,
    field_width: int,
    padding: int = 1,
    stride: int = 1,
) -> tuple[Array, Array, Array]:
    """Return where each entry of :func:`im2col_indices` lies in a padded image.

    Parameters
    ----------
    x_shape : tuple
        ``(N, C, H, W)``.
    field_height, field_width : int
        Rows and columns of the window.
    padding : int
        Pixels of zeros on each side.
    stride : int
        Pixels between windows. It has to divide ``H + 2 padding - field_height`` and
        ``W + 2 padding - field_width``.

    Returns
    -------
    k : ndarray (C * field_height * field_width, 1)
        Maps.
    i, j : ndarray (C * field_height * field_width, H' * W')
        Rows and columns.

    Examples
    --------
    >>> from lenet_fast.drop_in.cs231n import get_im2col_indices
    >>> k, i, j = get_im2col_indices((1, 1, 3, 3), 2, 2, padding=0)
    >>> i
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [1, 1, 2, 2],
           [1, 1, 2, 2]])
    """
    fields = _columns.geometry(
        ("field_height", field_height), ("field_width", field_width), stride, "padding", padding
    )
    _, maps, *size = _columns.shape_of("x_shape", x_shape)
    rows, columns = _fields(size, *fields)
    k, u, v = np.indices((maps, *fields[0])).reshape(3, -1, 1)
    r, s = np.indices((rows, columns)).reshape(2, 1, -1)
    return k, u + stride * r, v + stride * s


@notebook_function
def im2col_indices(
    x: Array, field_height: int, field_width: int, padding: int = 1, stride: int = 1
) -> Array:
    """Copy the pixels of each window of a batch of images into a column.

    Parameters
    ----------
    x : ndarray (N, C, H, W)
        Images.
    field_height, field_width, padding, stride
        As for :func:`get_im2col_indices`.

    Returns
    -------
    cols : ndarray (C * field_height * field_width, H' * W' * N)
        Rows by map, then by row and column in the window; columns by row and column of the window,
        then by image.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import im2col_indices
    >>> im2col_indices(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2, padding=0)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    (images,) = arrays(x=x)
    axes("x", images, "N, C, H, W")
    fields = _columns.geometry(
        ("field_height", field_height), ("field_width", field_width), stride, "padding", padding
    )
    n, maps, *size = images.shape
    rows, columns = _fields(size, *fields)
    cols = np.empty((maps, *fields[0], rows, columns, n), images.dtype)
    _columns.gather(images, *fields, cols.transpose(5, 0, 1, 2, 3, 4))
    return cols.reshape(maps * fields[0][0] * fields[0][1], rows * columns * n)


@notebook_function
def col2im_indices(
    cols: Array,
    x_shape: Sequence[int],
    field_height: int = 3,
    field_width: int = 3,
    padding: int = 1,
    stride: int = 1,
) -> Array:
    """Add the columns of :func:`im2col_indices` up at their pixels.

    Parameters
    ----------
    cols : ndarray (C * field_height * field_width, H' * W' * N)
        In the order of :func:`im2col_indices`.
    x_shape, field_height, field_width, padding, stride
        As for :func:`get_im2col_indices`.

    Returns
    -------
    x : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import col2im_indices, im2col_indices
    >>> cols = im2col_indices(np.ones((1, 1, 3, 3)), 2, 2, padding=0)
    >>> col2im_indices(cols, (1, 1, 3, 3), 2, 2, padding=0)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    (values,) = arrays(cols=cols)
    fields = _columns.geometry(
        ("field_height", field_height), ("field_width", field_width), stride, "padding", padding
    )
    n, maps, *size = _columns.shape_of("x_shape", x_shape)
    rows, columns = _fields(size, *fields)
    expected = (maps * fields[0][0] * fields[0][1], rows * columns * n)
    checks.same_shape("cols", values, expected, "rows and columns of im2col_indices")
    seen = values.reshape(maps, *fields[0], rows, columns, n).transpose(5, 0, 1, 2, 3, 4)
    return _columns.scatter(seen, size, *fields)


def _fields(size: Sequence[int], kernel: tuple[int, int], stride: int, pad: int) -> tuple[int, int]:
    found = windows("field_height and field_width", size, kernel, stride, pad)
    _filled("stride", size, kernel, stride, pad)
    return found


# --- other layers, and several in one ---


@notebook_function
def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """Return ``x w + b``, by NumPy's matrix product, as in the course.

    Parameters
    ----------
    x : ndarray (N, d_1, ..., d_k)
        Each image is a row of ``D = d_1 * ... * d_k`` numbers.
    w : ndarray (D, M)
        Weights.
    b : ndarray (M,)
        Biases.

    Returns
    -------
    out : ndarray (N, M)
    cache : tuple
        ``(x, w, b)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import affine_forward
    >>> affine_forward(np.ones((1, 1, 2, 2)), np.ones((4, 3)), np.zeros(3))[0]
    array([[4., 4., 4.]])
    """
    rows, weights, bias = _affine(x, w, b)[1:]
    return rows @ weights + bias, (x, w, b)


@notebook_function
def affine_backward(dout: Array, cache: Any) -> Gradients:
    """Return the gradients of :func:`affine_forward`.

    Parameters
    ----------
    dout : ndarray (N, M)
        Gradient at the output.
    cache : tuple
        ``(x, w, b)``.

    Returns
    -------
    dx : ndarray (N, d_1, ..., d_k)
    dw : ndarray (D, M)
    db : ndarray (M,)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import affine_backward, affine_forward
    >>> out, cache = affine_forward(np.ones((1, 2)), np.ones((2, 3)), np.zeros(3))
    >>> [each.shape for each in affine_backward(np.ones_like(out), cache)]
    [(1, 2), (2, 3), (3,)]
    """
    x, w, b = cached(cache, "affine_forward", "x", "w", "b")
    x, w, b, dout = arrays(x=x, w=w, b=b, dout=dout)
    images, rows, weights, _ = _affine(x, w, b)
    checks.same_shape("dout", dout, (len(rows), weights.shape[1]), "that of the output")
    return (dout @ weights.T).reshape(images.shape), rows.T @ dout, dout.sum(axis=0)


def _affine(x: object, w: object, b: object) -> tuple[Array, Array, Array, Array]:
    """Return the images, as they are and as rows, the weights and the biases."""
    images, weights, bias = arrays(x=x, w=w, b=b)
    if images.ndim < 2:
        raise ValueError(f"x: expected axes (N, d_1, ..., d_k), got {checks.shape(images)}")
    axes("w", weights, "D, M")
    rows = images.reshape(len(images), int(np.prod(images.shape[1:])))
    if weights.shape[0] != rows.shape[1]:
        raise ValueError(f"w: expected {rows.shape[1]} rows (D of x), got {weights.shape[0]}")
    checks.same_shape("b", bias, weights.shape[1:], "one for each of the M columns of w")
    return images, rows, weights, bias


@notebook_function
def relu_forward(x: Array) -> tuple[Array, Array]:
    """Return ``max(0, x)``.

    Parameters
    ----------
    x : ndarray
        Of any shape.

    Returns
    -------
    out : ndarray
        Of that shape.
    cache : ndarray
        `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import relu_forward
    >>> relu_forward(np.array([-1.0, 2.0]))[0]
    array([0., 2.])
    """
    (values,) = arrays(x=x)
    return ops.relu(values), x


@notebook_function
def relu_backward(dout: Array, cache: Array) -> Array:
    """Return the gradient of :func:`relu_forward`.

    Parameters
    ----------
    dout : ndarray
        Gradient at the output.
    cache : ndarray
        The input `x`.

    Returns
    -------
    dx : ndarray
        `dout` where `x` is above 0, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import relu_backward
    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    incoming, x = arrays(dout=dout, cache=cache)
    checks.same_shape("dout", incoming, x.shape, "that of the output")
    return ops.relu_backward(incoming, x)  # its input is above 0 where its output is


@notebook_function
def affine_relu_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """:func:`affine_forward`, then :func:`relu_forward`.

    Parameters
    ----------
    x, w, b
        As for :func:`affine_forward`.

    Returns
    -------
    out : ndarray (N, M)
    cache : tuple
        ``(fc_cache, relu_cache)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import affine_relu_forward
    >>> affine_relu_forward(np.ones((1, 2)), np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2))[0]
    array([[2., 0.]])
    """
    a, fc_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    return out, (fc_cache, relu_cache)


@notebook_function
def affine_relu_backward(dout: Array, cache: Any) -> Gradients:
    """Return the gradients of :func:`affine_relu_forward`.

    Parameters
    ----------
    dout : ndarray (N, M)
        Gradient at the output.
    cache : tuple
        ``(fc_cache, relu_cache)``.

    Returns
    -------
    dx, dw, db : ndarray
        As from :func:`affine_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import affine_relu_backward, affine_relu_forward
    >>> out, cache = affine_relu_forward(np.ones((1, 2)), np.ones((2, 3)), np.zeros(3))
    >>> affine_relu_backward(np.ones_like(out), cache)[0]
    array([[3., 3.]])
    """
    fc_cache, relu_cache = cached(cache, "affine_relu_forward", "fc_cache", "relu_cache")
    return affine_backward(relu_backward(dout, relu_cache), fc_cache)


@notebook_function
def conv_relu_forward(x: Array, w: Array, b: Array, conv_param: Param) -> tuple[Array, Any]:
    """:func:`conv_forward_fast`, then :func:`relu_forward`.

    Parameters
    ----------
    x, w, b, conv_param
        As for :func:`conv_forward_naive`.

    Returns
    -------
    out : ndarray (N, F, H', W')
    cache : tuple
        ``(conv_cache, relu_cache)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_relu_forward
    >>> x, w, b = np.ones((1, 1, 2, 2)), np.full((1, 1, 2, 2), -1.0), np.zeros(1)
    >>> conv_relu_forward(x, w, b, {"stride": 1, "pad": 0})[0]
    array([[[[0.]]]])
    """
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    out, relu_cache = relu_forward(a)
    return out, (conv_cache, relu_cache)


@notebook_function
def conv_relu_backward(dout: Array, cache: Any) -> Gradients:
    """Return the gradients of :func:`conv_relu_forward`.

    Parameters
    ----------
    dout : ndarray (N, F, H', W')
        Gradient at the output.
    cache : tuple
        ``(conv_cache, relu_cache)``.

    Returns
    -------
    dx, dw, db : ndarray
        As from :func:`conv_backward_naive`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_relu_backward, conv_relu_forward
    >>> x, w, b = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), np.zeros(1)
    >>> out, cache = conv_relu_forward(x, w, b, {"stride": 1, "pad": 0})
    >>> conv_relu_backward(np.ones_like(out), cache)[2]
    array([1.])
    """
    conv_cache, relu_cache = cached(cache, "conv_relu_forward", "conv_cache", "relu_cache")
    return conv_backward_fast(relu_backward(dout, relu_cache), conv_cache)


@notebook_function
def conv_relu_pool_forward(
    x: Array, w: Array, b: Array, conv_param: Param, pool_param: Param
) -> tuple[Array, Any]:
    """:func:`conv_relu_forward`, then :func:`max_pool_forward_fast`.

    Parameters
    ----------
    x, w, b, conv_param
        As for :func:`conv_forward_naive`.
    pool_param
        As for :func:`max_pool_forward_im2col`.

    Returns
    -------
    out : ndarray (N, F, H'', W'')
    cache : tuple
        ``(conv_cache, relu_cache, pool_cache)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_relu_pool_forward
    >>> x, w, b = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)), np.zeros(1)
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> conv_relu_pool_forward(x, w, b, {"stride": 1, "pad": 0}, pool_param)[0]
    array([[[[24.]]]])
    """
    a, (conv_cache, relu_cache) = conv_relu_forward(x, w, b, conv_param)
    out, pool_cache = max_pool_forward_fast(a, pool_param)
    return out, (conv_cache, relu_cache, pool_cache)


@notebook_function
def conv_relu_pool_backward(dout: Array, cache: Any) -> Gradients:
    """Return the gradients of :func:`conv_relu_pool_forward`.

    Parameters
    ----------
    dout : ndarray (N, F, H'', W'')
        Gradient at the output.
    cache : tuple
        ``(conv_cache, relu_cache, pool_cache)``.

    Returns
    -------
    dx, dw, db : ndarray
        As from :func:`conv_backward_naive`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.cs231n import conv_relu_pool_backward, conv_relu_pool_forward
    >>> x, w, b = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2)), np.zeros(1)
    >>> pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = conv_relu_pool_forward(x, w, b, {"stride": 1, "pad": 0}, pool_param)
    >>> conv_relu_pool_backward(np.ones_like(out), cache)[1]  # the window of the largest sum
    array([[[[4., 5.],
             [7., 8.]]]])
    """
    names = "conv_cache", "relu_cache", "pool_cache"
    conv_cache, relu_cache, pool_cache = cached(cache, "conv_relu_pool_forward", *names)
    da = max_pool_backward_fast(dout, pool_cache)
    return conv_relu_backward(da, (conv_cache, relu_cache))
