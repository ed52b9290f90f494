"""The layers of *Deep Learning from Scratch* (K. Saitoh; oreilly-japan on GitHub).

In place of those of ``common/layers.py`` and ``common/util.py``::

    from lenet_fast.drop_in.dlfs import Convolution, Pooling, col2im, im2col

The book's networks spend most of their time in :class:`Convolution` and :class:`Pooling`; to
replace `im2col` alone hardly helps, since these do more than that.

Images are (N, C, H, W), filters (FN, C, FH, FW), biases (FN,). If all arrays of a call are float32,
so are its results, where the book's functions return float64; otherwise all real numbers are
converted to float64. Sums are added in another order than the book's, so results agree to rounding.

Examples
--------
>>> import numpy as np
>>> from lenet_fast.drop_in.dlfs import Convolution, Pooling
>>> rng = np.random.default_rng(1)
>>> conv = Convolution(rng.normal(size=(30, 1, 5, 5)), np.zeros(30))
>>> pool = Pooling(2, 2, stride=2)
>>> x = rng.normal(size=(10, 1, 28, 28))
>>> out = pool.forward(conv.forward(x))
>>> dx = conv.backward(pool.backward(np.ones_like(out)))
>>> out.shape, dx.shape, conv.dW.shape, conv.db
((10, 30, 12, 12), (10, 1, 28, 28), (30, 1, 5, 5), array([1440., ..., 1440.]))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet_fast import checks, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in import _blocks, _columns
from lenet_fast.drop_in._shared import arrays, axes, notebook_function, windows

__all__ = ["Convolution", "Pooling", "col2im", "im2col"]


class Convolution:
    """A convolution, with the gradients of its last backward pass.

    Parameters
    ----------
    W : ndarray (FN, C, FH, FW)
        Filters; they are not flipped. Each call reads them again, so they may change in place.
    b : ndarray (FN,)
        One bias per filter.
    stride : int
        Pixels between windows.
    pad : int
        Pixels of zeros on each side.

    Attributes
    ----------
    W, b, stride, pad
        As given.
    x : ndarray (N, C, H, W)
        The images of the last forward pass; None before it.
    col, col_W : ndarray
        `im2col` of `x`, and the filters as columns
        (C * FH * FW, FN); None before a forward pass. They are made when they are read, since no
        pass needs them.
    dW, db : ndarray
        The gradients of the last backward pass, summed over the batch; None before it.

    Raises
    ------
    TypeError, ValueError
        If `stride` or `pad` is not an int from 1 or 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.dlfs import Convolution
    >>> conv = Convolution(np.ones((1, 1, 3, 3)), np.zeros(1))
    >>> conv.forward(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[45., 54.],
             [81., 90.]]]])
    >>> dx = conv.backward(np.ones((1, 1, 2, 2)))
    >>> conv.dW[0, 0]
    array([[10., 14., 18.],
           [26., 30., 34.],
           [42., 46., 50.]])
    """

    def __init__(self, W: Array, b: Array, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b = W, b
        self.stride = checks.integer("stride", stride, 1)
        self.pad = checks.integer("pad", pad, 0)
        self.x: Array | None = None
        self.dW: Array | None = None
        self.db: Array | None = None

    @property
    def col(self) -> Array | None:
        """The columns of `x`, as by `im2col`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Convolution
        >>> conv = Convolution(np.ones((6, 1, 5, 5)), np.zeros(6))
        >>> out = conv.forward(np.ones((1, 1, 28, 28)))
        >>> conv.col.shape, conv.col_W.shape  # out is their product, and the biases
        ((576, 25), (25, 6))
        """
        if self.x is None:
            return None
        rows, columns = self.W.shape[2:]
        return im2col(self.x, rows, columns, self.stride, self.pad)

    @property
    def col_W(self) -> Array | None:
        """The filters as columns.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Convolution
        >>> conv = Convolution(np.ones((6, 1, 5, 5)), np.zeros(6))
        >>> conv.col_W is None
        True
        """
        return None if self.x is None else self.W.reshape(len(self.W), -1).T

    def forward(self, x: Array) -> Array:
        """Return the convolution of images (N, C, H, W), (N, FN, out_h, out_w).

        ``out_h = 1 + (H + 2 pad - FH) // stride``, and out_w likewise.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Convolution
        >>> conv = Convolution(np.ones((6, 1, 5, 5)), np.zeros(6), pad=2)
        >>> conv.forward(np.ones((1, 1, 28, 28))).shape
        (1, 6, 28, 28)
        """
        images, filters, bias = arrays(x=x, W=self.W, b=self.b)
        shape = self._shape(images, filters, bias)
        out = _blocks.convolve(images, filters, bias, shape, **self._options())
        self.x = x
        return out

    def backward(self, dout: Array) -> Array:
        """Set `dW` and `db`, and return the gradient (N, C, H, W) at the images of `forward`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Convolution
        >>> conv = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
        >>> out = conv.forward(np.zeros((1, 1, 3, 3)))
        >>> conv.backward(np.ones_like(out))[0, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]])
        """
        if self.x is None:
            raise ValueError("dout: expected the gradient of a forward pass, got one before it")
        images, filters, bias, incoming = arrays(x=self.x, W=self.W, b=self.b, dout=dout)
        shape = self._shape(images, filters, bias)
        checks.same_shape("dout", incoming, shape, "that of the output")
        dx, self.dW, self.db = _blocks.convolve_back(
            ops.conv2d_backward, incoming, images, filters, **self._options()
        )
        return dx

    def _options(self) -> dict[str, int]:
        return {"stride": self.stride, "padding": self.pad}

    def _shape(self, images: Array, filters: Array, bias: Array) -> _blocks.Shape:
        axes("x", images, "N, C, H, W")
        axes("W", filters, "FN, C, FH, FW")
        (n, maps, *size), (count, seen, *kernel) = images.shape, filters.shape
        if seen != maps:
            raise ValueError(f"x: expected {seen} maps (C of W), got {maps}")
        checks.same_shape("b", bias, (count,), "one for each of the FN filters of W")
        return (n, count, *windows("W", size, kernel, self.stride, self.pad))


class Pooling:
    """Max pooling. Of several equal maxima, the first in scan order gets the gradient.

    Parameters
    ----------
    pool_h, pool_w : int
        Rows and columns of the window.
    stride : int
        Pixels between windows. The default, as in the book, is 1: windows overlap.
    pad : int
        Pixels of zeros on each side; a zero may be the largest value of a window. (In the book,
        most sizes fail with padding: the class counts windows without it.)

    Attributes
    ----------
    pool_h, pool_w, stride, pad
        As given.
    x : ndarray (N, C, H, W)
        The images of the last forward pass; None before it.
    arg_max : ndarray (N * out_h * out_w * C,)
        The place of the maximum in each window, row by row; None before a forward pass. It is
        computed when it is read, since no pass needs it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an int from 1, or from 0 for `pad`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.dlfs import Pooling
    >>> pool = Pooling(2, 2, stride=2)
    >>> pool.forward(np.array([[[[1.0, 5.0], [5.0, 2.0]]]]))
    array([[[[5.]]]])
    >>> pool.backward(np.array([[[[10.0]]]])), pool.arg_max
    (array([[[[ 0., 10.],
             [ 0.,  0.]]]]), array([1]))
    """

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h = checks.integer("pool_h", pool_h, 1)
        self.pool_w = checks.integer("pool_w", pool_w, 1)
        self.stride = checks.integer("stride", stride, 1)
        self.pad = checks.integer("pad", pad, 0)
        self.x: Array | None = None

    @property
    def arg_max(self) -> Array | None:
        """The places of the maxima.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Pooling
        >>> pool = Pooling(2, 2, stride=2)
        >>> out = pool.forward(np.array([[[[1.0, 2.0, 7.0, 6.0], [3.0, 4.0, 5.0, 4.0]]]]))
        >>> pool.arg_max
        array([3, 0])
        """
        if self.x is None:
            return None
        col = im2col(self.x, self.pool_h, self.pool_w, self.stride, self.pad)
        found: Array = col.reshape(-1, self.pool_h * self.pool_w).argmax(axis=1)
        return found

    def forward(self, x: Array) -> Array:
        """Return the largest value of each window of images (N, C, H, W), (N, C, out_h, out_w).

        ``out_h = 1 + (H + 2 pad - pool_h) // stride``, and out_w likewise.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Pooling
        >>> Pooling(2, 2, stride=2).forward(np.ones((1, 6, 28, 28))).shape
        (1, 6, 14, 14)
        """
        (images,) = arrays(x=x)
        padded, shape = self._padded(images)
        out = _blocks.pool(ops.max_pool2d, padded, shape, **self._window())
        self.x = x
        return out

    def backward(self, dout: Array) -> Array:
        """Return the gradient (N, C, H, W) at the images of `forward`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.drop_in.dlfs import Pooling
        >>> pool = Pooling(2, 2)
        >>> out = pool.forward(np.array([[[[1.0, 2.0, 0.0], [3.0, 9.0, 4.0]]]]))
        >>> pool.backward(np.ones_like(out))  # 9 is the maximum of both windows
        array([[[[0., 0., 0.],
                 [0., 2., 0.]]]])
        """
        if self.x is None:
            raise ValueError("dout: expected the gradient of a forward pass, got one before it")
        images, incoming = arrays(x=self.x, dout=dout)
        padded, shape = self._padded(images)
        checks.same_shape("dout", incoming, shape, "that of the output")
        dx = _blocks.max_pool_back(incoming, padded, **self._window())
        rows, columns = images.shape[2:]
        return dx[:, :, self.pad : self.pad + rows, self.pad : self.pad + columns]

    def _window(self) -> dict[str, Any]:
        return {"kernel": (self.pool_h, self.pool_w), "stride": self.stride}

    def _padded(self, images: Array) -> tuple[Array, _blocks.Shape]:
        axes("x", images, "N, C, H, W")
        n, maps, *size = images.shape
        kernel = self.pool_h, self.pool_w
        found = windows("pool_h and pool_w", size, kernel, self.stride, self.pad)
        sides = (self.pad, self.pad)
        padded = np.pad(images, ((0, 0), (0, 0), sides, sides)) if self.pad else images
        return padded, (n, maps, *found)


@notebook_function
def im2col(input_data: Array, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """Copy the pixels of each window of a batch of images into a row.

    Parameters
    ----------
    input_data : ndarray (N, C, H, W)
        Images.
    filter_h, filter_w : int
        Rows and columns of the window.
    stride : int
        Pixels between windows.
    pad : int
        Pixels of zeros on each side.

    Returns
    -------
    col : ndarray (N * out_h * out_w, C * filter_h * filter_w)
        Rows by image, then by row and column of the window; columns by map, then by row and column
        in the window.

    Notes
    -----
    Saitoh, *Deep Learning from Scratch*, ``common/util.py``. CS231n has the transpose, with windows
    before images: :func:`lenet_fast.drop_in.cs231n.im2col_indices`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.dlfs import im2col
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    (images,) = arrays(input_data=input_data)
    fields = _fields(filter_h, filter_w, stride, pad)
    axes("input_data", images, "N, C, H, W")
    n, c, *size = images.shape
    rows, columns = windows("filter_h and filter_w", size, *fields)
    col = np.empty((n, rows, columns, c, *fields[0]), images.dtype)
    _columns.gather(images, *fields, col.transpose(0, 3, 4, 5, 1, 2))
    return col.reshape(n * rows * columns, c * fields[0][0] * fields[0][1])


@notebook_function
def col2im(
    col: Array,
    input_shape: Sequence[int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
) -> Array:
    """Add the rows of :func:`im2col` up at their pixels: the gradient of :func:`im2col`.

    Parameters
    ----------
    col : ndarray (N * out_h * out_w, C * filter_h * filter_w)
        In the order of :func:`im2col`.
    input_shape : tuple
        ``(N, C, H, W)``.
    filter_h, filter_w, stride, pad : int
        As for :func:`im2col`.

    Returns
    -------
    img : ndarray (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.dlfs import col2im, im2col
    >>> col = im2col(np.ones((1, 1, 3, 3)), 2, 2)
    >>> col2im(col, (1, 1, 3, 3), 2, 2)[0, 0]  # how many of the four windows cover each pixel
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    (values,) = arrays(col=col)
    fields = _fields(filter_h, filter_w, stride, pad)
    n, c, *size = _columns.shape_of("input_shape", input_shape)
    rows, columns = windows("filter_h and filter_w", size, *fields)
    expected = (n * rows * columns, c * fields[0][0] * fields[0][1])
    checks.same_shape("col", values, expected, "rows and columns of im2col")
    seen = values.reshape(n, rows, columns, c, *fields[0]).transpose(0, 3, 4, 5, 1, 2)
    return _columns.scatter(seen, size, *fields)


def _fields(filter_h: object, filter_w: object, stride: object, pad: object) -> _columns.Geometry:
    return _columns.geometry(("filter_h", filter_h), ("filter_w", filter_w), stride, "pad", pad)
