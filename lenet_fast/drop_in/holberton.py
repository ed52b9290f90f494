"""The functions of Holberton School's machine learning course (``supervised_learning/cnn``).

They have the same names as DeepLearning.AI's, but other arguments, so they have a module of their
own::

    from lenet_fast.drop_in.holberton import conv_backward, conv_forward
    from lenet_fast.drop_in.holberton import pool_backward, pool_forward

Images are (m, h, w, c), kernels (kh, kw, c_prev, c_new), biases (1, 1, 1, c_new). There is no
cache: the backward functions take the inputs of the forward ones again. If all arrays of a call are
float32, so are its results; otherwise all real numbers are converted to float64. Sums are added in
another order than a loop does, so results agree to rounding. Returned images are views of memory in
the kernels' order: see :mod:`lenet_fast.drop_in`.

Padding "same" adds ``ceil(((h - 1) sh + kh - h) / 2)`` rows of zeros above and below, and columns
likewise. With a stride of 1 and kernels of odd sizes, as in the course's examples, every student's
formula gives this. Where yours rounds down or adds one, pass what it gives, ``padding=(ph, pw)``.

Examples
--------
A layer of LeNet-5, and its gradients:

>>> import numpy as np
>>> from lenet_fast.drop_in import holberton
>>> rng = np.random.default_rng(1)
>>> X = rng.normal(size=(10, 28, 28, 1))
>>> W, b = rng.normal(size=(3, 3, 1, 6)), np.zeros((1, 1, 1, 6))
>>> A = holberton.conv_forward(X, W, b, np.tanh)
>>> P = holberton.pool_forward(A, (2, 2), stride=(2, 2))
>>> A.shape, P.shape
((10, 28, 28, 6), (10, 14, 14, 6))
>>> dA = holberton.pool_backward(np.ones_like(P), A, (2, 2), stride=(2, 2))
>>> dX, dW, db = holberton.conv_backward(dA * (1 - A**2), X, W, b)
>>> dX.shape, dW.shape, db.shape
((10, 28, 28, 1), (3, 3, 1, 6), (1, 1, 1, 6))
"""

from __future__ import annotations

from collections.abc import Callable

from lenet_fast import checks, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in._channels_last import Convolution, Pooling, convolution, pooling
from lenet_fast.drop_in._shared import arrays, notebook_function

__all__ = ["conv_backward", "conv_forward", "pool_backward", "pool_forward"]

MODES = ("max", "avg")
PADDINGS = ("same", "valid")

Pair = tuple[int, int]


@notebook_function
def conv_forward(
    A_prev: Array,
    W: Array,
    b: Array,
    activation: Callable[[Array], Array],
    padding: str | Pair = "same",
    stride: Pair = (1, 1),
) -> Array:
    """Convolve a batch of images with a set of kernels, and apply an activation.

    Parameters
    ----------
    A_prev : ndarray (m, h_prev, w_prev, c_prev)
        Images.
    W : ndarray (kh, kw, c_prev, c_new)
        Kernels; they are not flipped.
    b : ndarray (1, 1, 1, c_new)
        One bias per kernel.
    activation : callable
        A function of an array, such as ``np.tanh``.
    padding : {"same", "valid"} or (ph, pw)
        Rows and columns of zeros on each side: see :mod:`lenet_fast.drop_in.holberton`. "valid":
        none.
    stride : (sh, sw)
        Pixels between windows.

    Returns
    -------
    A : ndarray (m, h_new, w_new, c_new)
        What `activation` returns. ``h_new = (h_prev + 2 ph - kh) // sh + 1``, and w_new likewise.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.holberton import conv_forward
    >>> images, kernels = np.arange(16.0).reshape(1, 4, 4, 1), np.ones((3, 3, 1, 1))
    >>> bias = np.full((1, 1, 1, 1), -85.0)
    >>> relu = lambda z: np.maximum(z, 0)
    >>> conv_forward(images, kernels, bias, relu, padding="valid")[0, :, :, 0]
    array([[0., 0.],
           [0., 5.]])
    """
    if not callable(activation):
        raise TypeError(f"activation: expected a function, got {checks.kind(activation)}")
    images, kernels, bias = arrays(A_prev=A_prev, W=W, b=b)
    return activation(_convolution(images, kernels, bias, padding, stride).forward())


@notebook_function
def conv_backward(
    dZ: Array,
    A_prev: Array,
    W: Array,
    b: Array,
    padding: str | Pair = "same",
    stride: Pair = (1, 1),
) -> tuple[Array, Array, Array]:
    """Return the gradients of a convolution.

    Parameters
    ----------
    dZ : ndarray (m, h_new, w_new, c_new)
        Gradient at the output, before the activation.
    A_prev, W, b, padding, stride
        As for :func:`conv_forward`.

    Returns
    -------
    dA_prev : ndarray (m, h_prev, w_prev, c_prev)
    dW : ndarray (kh, kw, c_prev, c_new)
        Summed over the batch.
    db : ndarray (1, 1, 1, c_new)
        Summed over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.holberton import conv_backward
    >>> images, kernels = np.arange(16.0).reshape(1, 4, 4, 1), np.ones((3, 3, 1, 1))
    >>> bias, dZ = np.zeros((1, 1, 1, 1)), np.ones((1, 2, 2, 1))
    >>> dA_prev, dW, db = conv_backward(dZ, images, kernels, bias, padding="valid")
    >>> dA_prev[0, :, :, 0]  # how many of the four windows cover each pixel
    array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]])
    """
    # All in one dtype, so that a float64 gradient is not rounded to the images' float32.
    images, kernels, bias, incoming = arrays(A_prev=A_prev, W=W, b=b, dZ=dZ)
    plan = _convolution(images, kernels, bias, padding, stride)
    return plan.back(ops.conv2d_backward, "dZ", incoming, images, kernels)


@notebook_function
def pool_forward(
    A_prev: Array, kernel_shape: Pair, stride: Pair = (1, 1), mode: str = "max"
) -> Array:
    """Return the largest value of each window, or the mean.

    Parameters
    ----------
    A_prev : ndarray (m, h_prev, w_prev, c_prev)
        Images.
    kernel_shape : (kh, kw)
        Rows and columns of the window.
    stride : (sh, sw)
        Pixels between windows.
    mode : {"max", "avg"}

    Returns
    -------
    A : ndarray (m, h_new, w_new, c_prev)
        ``h_new = (h_prev - kh) // sh + 1``, and w_new likewise.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.holberton import pool_forward
    >>> images = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> pool_forward(images, (2, 2), (2, 2))[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> pool_forward(images, (4, 4), mode="avg").ravel()
    array([7.5])
    """
    largest = checks.choice("mode", mode, MODES) == "max"
    (images,) = arrays(A_prev=A_prev)
    return _pooling(images, kernel_shape, stride).forward(largest)


@notebook_function
def pool_backward(
    dA: Array, A_prev: Array, kernel_shape: Pair, stride: Pair = (1, 1), mode: str = "max"
) -> Array:
    """Return the gradient of :func:`pool_forward`.

    Each of several equal maxima gets the whole gradient of its window, as from the course's masks.

    Parameters
    ----------
    dA : ndarray (m, h_new, w_new, c_prev)
        Gradient at the output.
    A_prev, kernel_shape, stride, mode
        As for :func:`pool_forward`.

    Returns
    -------
    dA_prev : ndarray (m, h_prev, w_prev, c_prev)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in.holberton import pool_backward
    >>> images, dA = np.array([[[[1.0], [5.0]], [[5.0], [2.0]]]]), np.full((1, 1, 1, 1), 10.0)
    >>> pool_backward(dA, images, (2, 2), (2, 2))[0, :, :, 0]  # 5 is there twice
    array([[ 0., 10.],
           [10.,  0.]])
    >>> pool_backward(dA, images, (2, 2), (2, 2), "avg")[0, :, :, 0]
    array([[2.5, 2.5],
           [2.5, 2.5]])
    """
    images, incoming = arrays(A_prev=A_prev, dA=dA)
    largest = checks.choice("mode", mode, MODES) == "max"
    return _pooling(images, kernel_shape, stride).back(incoming, largest)


def _convolution(
    images: Array, kernels: Array, bias: Array, padding: object, stride: object
) -> Convolution:
    down, across = _pair("stride", stride, "sh, sw", 1)
    pad = (0, 0)
    if not isinstance(padding, str):
        pad = _pair("padding", padding, '"same", "valid" or ph, pw', 0)
    elif checks.choice("padding", padding, PADDINGS) == "same" and images.ndim == 4:
        sizes = zip(images.shape[1:3], kernels.shape, (down, across), strict=False)
        above, left = (-(-((size - 1) * step + taps - size) // 2) for size, taps, step in sizes)
        pad = above, left
    names = "m, h_prev, w_prev, c_prev", "kh, kw, c_prev, c_new"
    return convolution(images, kernels, bias, (down, across), pad, names)


def _pooling(images: Array, kernel_shape: object, stride: object) -> Pooling:
    kernel = _pair("kernel_shape", kernel_shape, "kh, kw", 1)
    names = "m, h_prev, w_prev, c_prev"
    return pooling(images, "kernel_shape", kernel, _pair("stride", stride, "sh, sw", 1), names)


def _pair(name: str, value: object, parts: str, least: int) -> Pair:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name}: expected ({parts}), got {checks.kind(value)}")
    first, second = (checks.integer(name, each, least) for each in value)
    return first, second
