"""The reference: each operation in plain NumPy, without optimisation.

Functions get checked, C-contiguous inputs and ready outputs, overwrite the outputs and return
nothing; :mod:`lenet_fast.ops` is their only caller. The other backends have the same functions
and parameters.
"""

import numpy as _np

from lenet_fast.backends.numpy_backend.activations import *
from lenet_fast.backends.numpy_backend.conv2d import *
from lenet_fast.backends.numpy_backend.dense import *
from lenet_fast.backends.numpy_backend.dropout import *
from lenet_fast.backends.numpy_backend.losses import *
from lenet_fast.backends.numpy_backend.pool2d import *
from lenet_fast.backends.numpy_backend.rbf import *
from lenet_fast.backends.numpy_backend.subsample2d import *
from lenet_fast.backends.numpy_backend.warp import *


def describe() -> str:
    """Return a description of the platform that this backend uses."""
    return f"NumPy {_np.__version__}"


def lane_kernels() -> None:
    """Return the kernels of the lane engine: none in this backend."""
    return


def conv2d_algorithm(n: int, h_out: int, w_out: int) -> str:
    """Return what "auto" means for a batch of n and outputs of h_out x w_out: always "im2col".

    BLAS beats the loop over taps at every layer of LeNet-5.
    """
    return "im2col"
