"""The public operations: this package checks the arguments, then one of three backends computes.

Arrays are float32 or float64 (one dtype per call), images in NCHW order: ``x (n, c, h, w)``. Inputs
may be read-only, strided or in Fortran order; a batch may be empty. Results are C-contiguous.

Kernels run without Python's lock. Labels and connection tables are copied first, so another thread
may change them safely; a thread that changes values of the other arrays changes only the result.

All functions take these options:

backend : {"cython", "numba", "numpy"}, optional
    The implementation to run; see :mod:`lenet_fast.backends` for the default.
out : ndarray, or a tuple of them for several results, optional
    Arrays to write to: of the right shape and dtype, C-contiguous, writable, not overlapping any
    input.

All functions raise TypeError for an argument of the wrong kind or dtype, ValueError for a wrong
shape or value, and ImportError for a missing backend. ``_backward`` functions return gradients in
the order of the forward's arrays. ``_hessian`` functions pass the diagonal of the Hessian back by
the recursion of LeCun et al. 1998, appendix C: ``hx`` corresponds to ``dx``; the terms in f'' and
between parameters that share a weight are dropped, so that it is never negative.
"""

from lenet_fast.ops import _activations
from lenet_fast.ops._activations import *  # noqa: F403
from lenet_fast.ops._conv2d import conv2d, conv2d_backward, conv2d_hessian
from lenet_fast.ops._dense import dense, dense_backward, dense_hessian
from lenet_fast.ops._losses import (
    map_loss,
    map_loss_backward,
    map_loss_hessian,
    mean_squared_error,
    mean_squared_error_backward,
    mean_squared_error_hessian,
    penalty_loss,
    penalty_loss_backward,
    penalty_loss_hessian,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_hessian,
)
from lenet_fast.ops._pool2d import (
    avg_pool2d,
    avg_pool2d_backward,
    avg_pool2d_hessian,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_hessian,
)
from lenet_fast.ops._rbf import map_rbf_hessian, rbf, rbf_backward, rbf_hessian
from lenet_fast.ops._subsample2d import (
    subsample2d,
    subsample2d_backward,
    subsample2d_hessian,
)

__all__ = [
    *_activations.__all__,
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool2d_hessian",
    "conv2d",
    "conv2d_backward",
    "conv2d_hessian",
    "dense",
    "dense_backward",
    "dense_hessian",
    "map_loss",
    "map_loss_backward",
    "map_loss_hessian",
    "map_rbf_hessian",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_hessian",
    "mean_squared_error",
    "mean_squared_error_backward",
    "mean_squared_error_hessian",
    "penalty_loss",
    "penalty_loss_backward",
    "penalty_loss_hessian",
    "rbf",
    "rbf_backward",
    "rbf_hessian",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_hessian",
    "subsample2d",
    "subsample2d_backward",
    "subsample2d_hessian",
]
