"""Pooling and sub-sampling, with the names used in notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lenet_fast import checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.drop_in._channels_last import Pooling, interleaved, planar_like, pooling
from lenet_fast.drop_in._shared import arrays, cached, in_blocks, notebook_function, settings

MODES = ("max", "average")
TIES = ("all", "first")

PoolCache = tuple[Array, Mapping[str, Any]]
SubsamplingCache = tuple[Array, Array, Array, Mapping[str, Any]]


@notebook_function
def pool_forward(
    A_prev: Array, hparameters: Mapping[str, Any], mode: str = "max"
) -> tuple[Array, PoolCache]:
    """Return the largest value of each window, or the mean.

    Parameters
    ----------
    A_prev : ndarray (m, n_H_prev, n_W_prev, n_C)
        Images.
    hparameters : dict
        "f", rows and columns of the window, and "stride", pixels between windows.
    mode : {"max", "average"}

    Returns
    -------
    A : ndarray (m, n_H, n_W, n_C)
        ``n_H = (n_H_prev - f) // stride + 1``, and n_W likewise.
    cache : tuple
        ``(A_prev, hparameters)``, for :func:`pool_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import pool_forward
    >>> images = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> A, cache = pool_forward(images, {"f": 2, "stride": 2})
    >>> A[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> pool_forward(images, {"f": 2, "stride": 2}, mode="average")[0][0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    (images,) = arrays(A_prev=A_prev)
    plan = _plan(images, hparameters)
    largest = checks.choice("mode", mode, MODES) == "max"
    return plan.forward(largest), (A_prev, hparameters)


@notebook_function
def pool_backward(
    dA: Array,
    cache: PoolCache,
    mode: str = "max",
    *,
    ties: choices.Ties = "all",
    curvature: bool = False,
) -> Array:
    """Return the gradient of :func:`pool_forward`.

    Parameters
    ----------
    dA : ndarray (m, n_H, n_W, n_C)
        Gradient at the output.
    cache : tuple
        The cache of :func:`pool_forward`.
    mode : {"max", "average"}
        The mode of the forward pass.
    ties : {"all", "first"}
        Which of several equal maxima gets the gradient of its window. In the notebooks each of them
        gets all of it, so the sum is too large. (Behind a ReLU this does not show in windows of
        zeros, where the slope is zero.) "first", the first in scan order, gives a subgradient, as
        in :func:`lenet_fast.ops.max_pool2d_backward`.
    curvature : bool
        Whether `dA` holds second derivatives: then the inputs of a mean get the squared factor,
        1/16 for a window of 2 x 2. LeNet-from-Scratch passes them back like gradients, with a
        factor of 1/4. For maxima there is no difference.

    Returns
    -------
    dA_prev : ndarray (m, n_H_prev, n_W_prev, n_C)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import pool_backward, pool_forward
    >>> images = np.array([[[[1.0], [5.0]], [[5.0], [2.0]]]])
    >>> A, cache = pool_forward(images, {"f": 2, "stride": 2})
    >>> pool_backward(np.full((1, 1, 1, 1), 10.0), cache)[0, :, :, 0]  # 5 is there twice
    array([[ 0., 10.],
           [10.,  0.]])
    >>> pool_backward(np.full((1, 1, 1, 1), 10.0), cache, ties="first")[0, :, :, 0]
    array([[ 0., 10.],
           [ 0.,  0.]])
    """
    A_prev, hparameters = cached(cache, "pool_forward", "A_prev", "hparameters")
    images, incoming = arrays(A_prev=A_prev, dA=dA)
    plan = _plan(images, hparameters)
    checks.choice("ties", ties, TIES)
    largest = checks.choice("mode", mode, MODES) == "max"
    return plan.back(incoming, largest, ties, curvature)


def create_mask_from_window(x: Array) -> Array:
    """Return where the largest value of a window is.

    Parameters
    ----------
    x : ndarray (f, f)
        The values in the window.

    Returns
    -------
    mask : ndarray (f, f)
        Bool, true at the largest value; if there are several, at each of them, as
        :func:`pool_backward` does by default.

    Raises
    ------
    TypeError, ValueError
        If it is not an array of real numbers, or is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import create_mask_from_window
    >>> create_mask_from_window(np.array([[1.0, 3.0], [4.0, 2.0]]))
    array([[False, False],
           [ True, False]])
    """
    arrays(x=x)
    if not x.size:
        raise ValueError(f"x: expected at least one number, got {checks.shape(x)}")
    return np.asarray(x == x.max())


def distribute_value(dz: float, shape: tuple[int, int]) -> Array:
    """Spread a number evenly over a window: the gradient of its mean.

    Parameters
    ----------
    dz : float
        Gradient at the mean.
    shape : (n_H, n_W)
        Rows and columns of the window.

    Returns
    -------
    a : ndarray (n_H, n_W)
        ``dz / (n_H n_W)`` everywhere; in float32 if `dz` is a NumPy number of that dtype, else in
        float64.

    Raises
    ------
    TypeError, ValueError
        If `dz` is not a real number, or `shape` is not a pair of positive ints.

    Examples
    --------
    >>> from lenet_fast.drop_in import distribute_value
    >>> distribute_value(2, (2, 2))
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    if isinstance(dz, (str, bytes, list, tuple)):
        raise TypeError(f"dz: expected a number, got {checks.kind(dz)}")
    (value,) = arrays(dz=np.asarray(dz))
    if value.size != 1:
        raise ValueError(f"dz: expected one number, got {checks.shape(value)}")
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        raise TypeError(f"shape: expected (n_H, n_W), got {checks.kind(shape)}")
    rows, columns = (checks.integer("shape", length, 1) for length in shape)
    return np.full((rows, columns), value.reshape(-1)[0] / (rows * columns), value.dtype)


@notebook_function
def subsampling_forward(
    A_prev: Array, weight: Array, b: Array, hparameters: Mapping[str, Any]
) -> tuple[Array, SubsamplingCache]:
    """Multiply the mean of each window by a coefficient, and add a bias.

    Parameters
    ----------
    A_prev : ndarray (m, n_H_prev, n_W_prev, n_C)
        Images.
    weight, b : ndarray (1, 1, 1, n_C)
        Coefficient and bias of each map.
    hparameters : dict
        "f" and "stride" as for :func:`pool_forward`; optionally "reduction": "mean", as in
        LeNet-from-Scratch, or "sum", as in LeCun et al. 1998, who add the inputs of a window.

    Returns
    -------
    A : ndarray (m, n_H, n_W, n_C)
    cache : tuple
        ``(A_prev, weight, b, hparameters)``, for :func:`subsampling_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import subsampling_forward
    >>> images, one = np.arange(4.0).reshape(1, 2, 2, 1), np.ones((1, 1, 1, 1))
    >>> A, cache = subsampling_forward(images, 2 * one, one, {"f": 2, "stride": 2})
    >>> A.ravel()  # 2 * 1.5 + 1
    array([4.])
    """
    plan, w, bias, reduction, _ = _subsampling(A_prev, weight, b, hparameters)
    a = np.empty(plan.shape, plan.x.dtype)

    def one(block: slice) -> tuple[()]:
        ops.subsample2d(plan.x[block], w, bias, **plan.window, reduction=reduction, out=a[block])
        return ()

    in_blocks(one, a, plan.x)
    return interleaved(a), (A_prev, weight, b, hparameters)


@notebook_function
def subsampling_backward(
    dA: Array, *cache: Any, curvature: bool = False
) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`subsampling_forward`.

    Parameters
    ----------
    dA : ndarray (m, n_H, n_W, n_C)
        Gradient at the output.
    *cache
        The cache of :func:`subsampling_forward`; or, as in LeNet-from-Scratch, ``weight, b,
        cache``.
    curvature : bool
        Whether `dA` and the results are second derivatives: `dA_prev` with the squared coefficient
        and factor, `dweight` with the squared means.

    Returns
    -------
    dA_prev : ndarray (m, n_H_prev, n_W_prev, n_C)
    dweight, db : ndarray (1, 1, 1, n_C)
        Summed over the batch, map by map.

    Notes
    -----
    The functions published in LeNet-from-Scratch cannot run: the forward returns an undefined name.
    With that fixed, the backward adds `dweight` up over all maps, and `db` not at all. So there
    are no results to reproduce; these follow the definition.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.drop_in import subsampling_backward, subsampling_forward
    >>> images, one = np.arange(4.0).reshape(1, 2, 2, 1), np.ones((1, 1, 1, 1))
    >>> A, cache = subsampling_forward(images, 2 * one, one, {"f": 2, "stride": 2})
    >>> dA_prev, dweight, db = subsampling_backward(np.ones_like(A), cache)
    >>> dA_prev.ravel(), dweight.ravel(), db.ravel()
    (array([0.5, 0.5, 0.5, 0.5]), array([1.5]), array([1.]))
    """
    if len(cache) not in (1, 3):
        raise TypeError(f"cache: expected the cache, or weight, b, cache, got {len(cache)} values")
    A_prev, weight, b, hparameters = cached(
        cache[-1], "subsampling_forward", "A_prev", "weight", "b", "hparameters"
    )
    if len(cache) == 3:
        weight, b = cache[:2]
    plan, w, _, reduction, incoming = _subsampling(A_prev, weight, b, hparameters, dA=dA)
    da = planar_like("dA", incoming, plan.shape)
    run: Callable[..., tuple[Array, ...]] = (
        ops.subsample2d_hessian if curvature else ops.subsample2d_backward
    )
    dx = np.empty(plan.x.shape, plan.x.dtype)

    def one(block: slice) -> tuple[Array, ...]:
        out = (dx[block], None, None)
        return run(da[block], plan.x[block], w, **plan.window, reduction=reduction, out=out)[1:]

    dw, db = in_blocks(one, dx)
    return interleaved(dx), dw.reshape(1, 1, 1, -1), db.reshape(1, 1, 1, -1)


def _plan(images: Array, hparameters: object) -> Pooling:
    f, stride = settings("hparameters", hparameters, "f", "stride")
    return pooling(images, 'hparameters["f"]', (f, f), stride)


def _subsampling(
    A_prev: object, weight: object, b: object, hparameters: Any, **incoming: object
) -> tuple[Pooling, Array, Array, Any, Array]:
    """Return a plan, coefficients, biases, the reduction, and the incoming gradient if any."""
    found = arrays(A_prev=A_prev, weight=weight, b=b, **incoming)
    images, w, bias = found[:3]
    plan = _plan(images, hparameters)
    for name, array in (("weight", w), ("b", bias)):
        checks.same_shape(name, array, (1, 1, 1, plan.shape[1]), "one for each of the n_C maps")
    reduction = checks.choice(
        'hparameters["reduction"]', hparameters.get("reduction", "mean"), ("mean", "sum")
    )
    return plan, w.reshape(-1), bias.reshape(-1), reduction, found[-1]
