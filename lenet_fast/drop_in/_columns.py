"""Images to columns and back, with the names and order of *Deep Learning from Scratch*."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.drop_in._shared import arrays, axes, in_blocks, notebook_function, windows


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
    Saitoh, *Deep Learning from Scratch*, ``common/util.py``. ``im2col_indices(x, h, w, padding,
    stride)`` of CS231n is the transpose with windows before images:
    ``col.reshape(N, out_h * out_w, -1).transpose(2, 1, 0).reshape(C * h * w, -1)``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import im2col
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    (images,) = arrays(input_data=input_data)
    kernel, stride, pad = _geometry(filter_h, filter_w, stride, pad)
    axes("input_data", images, "N, C, H, W")
    n, c, *size = images.shape
    rows, columns = windows("filter_h and filter_w", size, kernel, stride, pad)
    col = np.empty((n, rows, columns, c, *kernel), images.dtype)

    def one(block: slice) -> tuple[()]:
        padded = np.pad(images[block], ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        seen = sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
        col[block] = seen.transpose(0, 2, 3, 1, 4, 5)
        return ()

    in_blocks(one, col)
    return col.reshape(n * rows * columns, c * kernel[0] * kernel[1])


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
    >>> from lenet_fast.drop_in import col2im, im2col
    >>> col = im2col(np.ones((1, 1, 3, 3)), 2, 2)
    >>> col2im(col, (1, 1, 3, 3), 2, 2)[0, 0]  # how many of the four windows cover each pixel
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    (values,) = arrays(col=col)
    kernel, stride, pad = _geometry(filter_h, filter_w, stride, pad)
    if not isinstance(input_shape, Sequence) or len(input_shape) != 4:
        raise TypeError(f"input_shape: expected (N, C, H, W), got {checks.kind(input_shape)}")
    n, c, *size = (
        checks.integer("input_shape", length, min(i, 1)) for i, length in enumerate(input_shape)
    )
    rows, columns = windows("filter_h and filter_w", size, kernel, stride, pad)
    expected = (n * rows * columns, c * kernel[0] * kernel[1])
    checks.same_shape("col", values, expected, "rows and columns of im2col")
    seen = values.reshape(n, rows, columns, c, *kernel).transpose(0, 3, 4, 5, 1, 2)
    img = np.zeros((n, c, size[0] + 2 * pad, size[1] + 2 * pad), values.dtype)

    def one(block: slice) -> tuple[()]:
        for u in range(kernel[0]):
            for v in range(kernel[1]):
                down = slice(u, u + stride * (rows - 1) + 1, stride)
                across = slice(v, v + stride * (columns - 1) + 1, stride)
                img[block, :, down, across] += seen[block, :, u, v]
        return ()

    in_blocks(one, img)
    return img[:, :, pad : pad + size[0], pad : pad + size[1]]


def _geometry(
    filter_h: object, filter_w: object, stride: object, pad: object
) -> tuple[tuple[int, int], int, int]:
    kernel = checks.integer("filter_h", filter_h, 1), checks.integer("filter_w", filter_w, 1)
    return kernel, checks.integer("stride", stride, 1), checks.integer("pad", pad, 0)
