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

Examples
--------
>>> import numpy as np
>>> from lenet_fast import ops
>>> x, w, y = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), np.empty((1, 1, 2, 2))
>>> ops.conv2d(x, w, out=y, backend="numpy") is y
True
>>> ops.conv2d(x, np.ones((1, 2, 3, 3)))
Traceback (most recent call last):
ValueError: w: expected 1 input maps (c_in of x), got 2
"""

from lenet_fast.ops import (
    _activations,
    _conv2d,
    _dense,
    _dropout,
    _losses,
    _pool2d,
    _rbf,
    _subsample2d,
)
from lenet_fast.ops._activations import *
from lenet_fast.ops._conv2d import *
from lenet_fast.ops._dense import *
from lenet_fast.ops._dropout import *
from lenet_fast.ops._losses import *
from lenet_fast.ops._pool2d import *
from lenet_fast.ops._rbf import *
from lenet_fast.ops._subsample2d import *

__all__ = [
    *_activations.__all__,
    *_conv2d.__all__,
    *_dense.__all__,
    *_dropout.__all__,
    *_losses.__all__,
    *_pool2d.__all__,
    *_rbf.__all__,
    *_subsample2d.__all__,
]
