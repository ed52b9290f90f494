"""Padding and convolution, with the names used in notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lenet_fast import checks, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in._channels_last import Convolution, convolution
from lenet_fast.drop_in._shared import arrays, axes, cached, notebook_function, settings

Cache = tuple[Array, Array, Array, Mapping[str, Any]]


def zero_pad(X: Array, pad: int) -> Array:
    """Put rows and columns of zeros around images.

    Parameters
    ----------
    X : ndarray (m, n_H, n_W, n_C)
    pad : int
        Number of them on each of the four sides.

    Returns
    -------
    X_pad : ndarray (m, n_H + 2 pad, n_W + 2 pad, n_C)

    Raises
    ------
    TypeError, ValueError
        If `X` is not an array of four axes, or `pad` is not an int of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import zero_pad
    >>> zero_pad(np.ones((1, 1, 2, 1)), 1)[0, :, :, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 1., 0.],
           [0., 0., 0., 0.]])
    """
    (images,) = arrays(X=X)
    axes("X", images, "m, n_H, n_W, n_C")
    sides = (checks.integer("pad", pad, 0),) * 2
    return np.pad(images, ((0, 0), sides, sides, (0, 0)))


def conv_single_step(a_slice_prev: Array, W: Array, b: Array | float) -> np.float64 | np.float32:
    """Apply one filter at one position.

    Parameters
    ----------
    a_slice_prev, W : ndarray (f, f, n_C_prev)
        The pixels under the filter, and its weights.
    b : ndarray (1, 1, 1) or float
        Its bias.

    Returns
    -------
    Z : numpy.float64, or numpy.float32
        In the dtype of the arrays; a plain number as `b` does not change it.

    Raises
    ------
    TypeError, ValueError
        If they are not arrays, or not of these shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import conv_single_step
    >>> pixels = np.arange(4.0).reshape(2, 2, 1)
    >>> conv_single_step(pixels, np.ones((2, 2, 1)), 0.5)  # 0 + 1 + 2 + 3 + 0.5
    np.float64(6.5)
    """
    plain = type(b) in (int, float) and getattr(a_slice_prev, "dtype", None) == np.float32
    bias = np.asarray(b, np.float32 if plain else None)
    seen, weights, bias = arrays(a_slice_prev=a_slice_prev, W=W, b=bias)
    checks.same_shape("W", weights, seen.shape, "that of a_slice_prev")
    if bias.size != 1:
        raise ValueError(f"b: expected one number, got {checks.shape(bias)}")
    z: np.float64 | np.float32 = np.sum(seen * weights) + bias.reshape(-1)[0]
    return z


@notebook_function
def conv_forward(
    A_prev: Array, W: Array, b: Array, hparameters: Mapping[str, Any]
) -> tuple[Array, Cache]:
    """Convolve a batch of images with a set of filters.

    Parameters
    ----------
    A_prev : ndarray (m, n_H_prev, n_W_prev, n_C_prev)
        Images.
    W : ndarray (f, f, n_C_prev, n_C)
        Filters; they are not flipped.
    b : ndarray (1, 1, 1, n_C)
        One bias per filter.
    hparameters : dict
        "stride", pixels between windows, and "pad", pixels of zeros on each side.

    Returns
    -------
    Z : ndarray (m, n_H, n_W, n_C)
        ``n_H = (n_H_prev - f + 2 pad) // stride + 1``, and n_W likewise.
    cache : tuple
        ``(A_prev, W, b, hparameters)``, for :func:`conv_backward` and :func:`conv_SDLM`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import conv_forward
    >>> images, filters = np.arange(16.0).reshape(1, 4, 4, 1), np.ones((3, 3, 1, 1))
    >>> bias = np.zeros((1, 1, 1, 1))
    >>> Z, cache = conv_forward(images, filters, bias, {"stride": 1, "pad": 0})
    >>> Z[0, :, :, 0]
    array([[45., 54.],
           [81., 90.]])
    """
    images, filters, bias = arrays(A_prev=A_prev, W=W, b=b)
    return _plan(images, filters, bias, hparameters).forward(), (A_prev, W, b, hparameters)


@notebook_function
def conv_backward(dZ: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`conv_forward`.

    Parameters
    ----------
    dZ : ndarray (m, n_H, n_W, n_C)
        Gradient at the output.
    cache : tuple
        The cache of :func:`conv_forward`.

    Returns
    -------
    dA_prev : ndarray (m, n_H_prev, n_W_prev, n_C_prev)
    dW : ndarray (f, f, n_C_prev, n_C)
        Summed over the batch.
    db : ndarray (1, 1, 1, n_C)
        Summed over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import conv_backward, conv_forward
    >>> images, filters = np.arange(16.0).reshape(1, 4, 4, 1), np.ones((3, 3, 1, 1))
    >>> bias = np.zeros((1, 1, 1, 1))
    >>> Z, cache = conv_forward(images, filters, bias, {"stride": 1, "pad": 0})
    >>> dA_prev, dW, db = conv_backward(np.ones_like(Z), cache)
    >>> dA_prev[0, :, :, 0]  # how many of the four windows cover each pixel
    array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]])
    """
    return _back("dZ", dZ, cache, ops.conv2d_backward)


@notebook_function
def conv_SDLM(d2Z: Array, cache: Cache, bias: bool = False) -> tuple[Array, ...]:
    """Pass the diagonal of the Hessian back through :func:`conv_forward`.

    Parameters
    ----------
    d2Z : ndarray (m, n_H, n_W, n_C)
        Second derivatives at the output.
    cache : tuple
        The cache of :func:`conv_forward`.
    bias : bool
        Whether to return those of the biases, too. The published function returns two results.

    Returns
    -------
    d2A_prev, d2W : ndarray
        `d2Z` with the squared filters, and with the squared images, summed over the batch.
    d2b : ndarray (1, 1, 1, n_C)
        Only with `bias`.

    Notes
    -----
    LeCun et al. 1998, appendix C, has one rate per weight, from its own entry of ``d2W / m``.
    LeNet-from-Scratch adds them all up and gives the layer one rate, too small by about the number
    of its weights. Its layers do that, so a notebook that uses them keeps doing it.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import conv_forward, conv_SDLM
    >>> images, filters = np.array([[[[1.0], [2.0], [3.0]]]]), np.full((1, 1, 1, 1), 3.0)
    >>> Z, cache = conv_forward(images, filters, np.zeros((1, 1, 1, 1)), {"stride": 1, "pad": 0})
    >>> d2A_prev, d2W = conv_SDLM(np.ones_like(Z), cache)
    >>> d2A_prev.ravel(), d2W.ravel()  # 3^2, and 1^2 + 2^2 + 3^2
    (array([9., 9., 9.]), array([14.]))
    """
    found = _back("d2Z", d2Z, cache, ops.conv2d_hessian)
    return found if bias else found[:2]


def _plan(A_prev: Array, W: Array, b: Array, hparameters: object) -> Convolution:
    stride, pad = settings("hparameters", hparameters, "stride", "pad")
    return convolution(A_prev, W, b, stride, pad)


def _back(
    name: str, value: object, cache: object, run: Callable[..., tuple[Any, ...]]
) -> tuple[Array, Array, Array]:
    A_prev, W, b, hparameters = cached(cache, "conv_forward", "A_prev", "W", "b", "hparameters")
    # All in one dtype, so that a float64 gradient is not rounded to the images' float32.
    A_prev, W, b, incoming = arrays(A_prev=A_prev, W=W, b=b, **{name: value})
    return _plan(A_prev, W, b, hparameters).back(run, name, incoming, A_prev, W)
