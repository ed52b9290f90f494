"""The reference: each operation in plain NumPy, without optimisation.

Functions get checked, C-contiguous inputs and ready outputs, overwrite the outputs and return
nothing; :mod:`lenet_fast.ops` is their only caller. The other backends have the same functions
and parameters.
"""

import numpy as _np

from lenet_fast.backends.numpy_backend.activations import *  # noqa: F403
from lenet_fast.backends.numpy_backend.activations import OPERATIONS as _ACTIVATIONS
from lenet_fast.backends.numpy_backend.conv2d import (
    conv2d_direct,
    conv2d_im2col,
    conv2d_input_gradient_direct,
    conv2d_input_gradient_im2col,
    conv2d_weight_gradient_direct,
    conv2d_weight_gradient_im2col,
)
from lenet_fast.backends.numpy_backend.dense import (
    dense,
    dense_input_gradient,
    dense_weight_gradient,
)
from lenet_fast.backends.numpy_backend.losses import (
    map_loss,
    map_loss_backward,
    map_loss_hessian,
    map_rbf_hessian,
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
from lenet_fast.backends.numpy_backend.pool2d import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from lenet_fast.backends.numpy_backend.rbf import (
    rbf,
    rbf_backward,
    rbf_hessian,
)
from lenet_fast.backends.numpy_backend.subsample2d import (
    subsample2d,
    subsample2d_backward,
    subsample2d_hessian,
)
from lenet_fast.backends.numpy_backend.warp import smooth_noise, warp

__all__ = [
    *_ACTIVATIONS,
    "avg_pool2d",
    "avg_pool2d_backward",
    "conv2d_algorithm",
    "conv2d_direct",
    "conv2d_im2col",
    "conv2d_input_gradient_direct",
    "conv2d_input_gradient_im2col",
    "conv2d_weight_gradient_direct",
    "conv2d_weight_gradient_im2col",
    "dense",
    "dense_input_gradient",
    "dense_weight_gradient",
    "describe",
    "map_loss",
    "map_loss_backward",
    "map_loss_hessian",
    "map_rbf_hessian",
    "max_pool2d",
    "max_pool2d_backward",
    "mean_squared_error",
    "mean_squared_error_backward",
    "mean_squared_error_hessian",
    "penalty_loss",
    "penalty_loss_backward",
    "penalty_loss_hessian",
    "rbf",
    "rbf_backward",
    "rbf_hessian",
    "smooth_noise",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_hessian",
    "subsample2d",
    "subsample2d_backward",
    "subsample2d_hessian",
    "warp",
]


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
