"""Dropout, with masks that follow from numbers: seed, step, layer, image and unit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lenet_fast import backends, checks, choices
from lenet_fast.backends.numpy_backend.warp import splitmix64
from lenet_fast.checks import Array
from lenet_fast.ops._operation import operation

__all__ = ["dropout"]

_LARGEST = 2**63 - 1


@operation
def dropout(
    x: Array,
    p: float,
    *,
    seed: int = 0,
    step: int = 0,
    layer: int = 0,
    first: int = 0,
    by_map: bool = False,
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Drop each unit with probability `p`, and divide the others by ``1 - p``.

    Which units are dropped is a function of the numbers below alone: every backend, dtype and
    instruction set drops the same ones, and any part of a batch can be computed by itself. The
    operation is linear, so its gradient is the same call on `dy`.

    Parameters
    ----------
    x : ndarray (n, ...)
        A batch of any shape, float32 or float64.
    p : float
        From 0 to below 1.
    seed, step, layer : int
        From 0 to 2**63 - 1. In a network, `step` is the number of training steps before this one,
        and `layer` the layer's place in ``network.layers``.
    first : int
        The place of the first image in its batch; the others follow.
    by_map : bool
        Whether a draw is for a whole map, ``x[i, c]``, instead of a single unit.

    Returns
    -------
    y : ndarray, of the shape of x

    Notes
    -----
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", in
    the inverted form, in which evaluation needs no scaling; by map, it is the SpatialDropout of
    Tompson et al. 2015. The numbers are mixed to a key per image by splitmix64 (Steele, Lea and
    Flood 2014), and a unit is dropped where a 32-bit hash of key and unit is below ``p 2**32``.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> ops.dropout(np.ones((2, 5)), 0.5, seed=1)
    array([[0., 2., 2., 0., 2.],
           [0., 0., 2., 0., 2.]])
    """
    images = checks.floats("x", x, None)
    rate = checks.below_one("p", p)
    by_map = checks.flag("by_map", by_map)
    if images.ndim < 2:
        raise ValueError(f"x: expected shape (n, ...), got {images.shape}")
    n, units = len(images), math.prod(images.shape[1:])
    size = math.prod(images.shape[2:]) if by_map else 1
    keys = _keys(seed, step, layer, checks.integer("first", first, 0, _LARGEST), n)
    run = backends.get(backend).dropout
    y = checks.output("out", out, images.shape, images.dtype, [("x", x)])
    flat = (n, units // max(size, 1), size)
    run(images.reshape(flat), keys, rate, y.reshape(flat))
    return checks.returned(out, y)


def _keys(seed: int, step: int, layer: int, first: int, n: int) -> npt.NDArray[np.uint64]:
    """Return a key for each image."""
    state = np.zeros(1, np.uint64)
    for name, number in (("seed", seed), ("step", step), ("layer", layer)):
        state = splitmix64(state ^ np.uint64(checks.integer(name, number, 0, _LARGEST)))
    return splitmix64(state ^ np.arange(first, first + n, dtype=np.uint64))
