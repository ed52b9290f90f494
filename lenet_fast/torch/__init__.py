"""PyTorch's front end: training of existing modules with our engines, our kernels as differentiable
functions, and our layers as modules.

- The functions of :mod:`lenet_fast.torch.functional` are those of :mod:`lenet_fast.ops`, on tensors
  and with gradients.
- :class:`Conv2d`, :class:`SubSampling2d`, :class:`RBF`, :class:`ScaledTanh`, :class:`MAPLoss` and
  :class:`PenaltyLoss` are modules that PyTorch lacks.
- :func:`from_torch` and :func:`to_torch` convert networks.
- :func:`fit` trains a module in place, with the fast engines instead of PyTorch's own loop.
- :func:`wrap` lets a module compute its outputs and gradients by the engines, in any loop.
- :func:`per_example_gradients` returns the gradient of each image, or their clipped sum.

Tensors must be dense, on the CPU, and float32 or float64. They share their memory with the arrays
that the kernels read; only non-contiguous tensors are copied. Nothing is converted to another dtype
or moved from another device; such tensors raise TypeError.

Examples
--------
>>> import torch
>>> from torch import nn
>>> from lenet_fast.torch import from_torch
>>> module = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 24 * 24, 10))
>>> network = from_torch(module, (1, 28, 28), output="softmax")
>>> network.counts().parameters
34726
"""

from lenet_fast import cures as _cures

try:
    import torch  # noqa: F401  (to name what is missing, before a module fails)
except ImportError as error:
    raise ImportError(
        f"lenet_fast.torch needs PyTorch: {_cures.install('lenet_fast[torch]')}"
    ) from error

from lenet_fast.torch import functional
from lenet_fast.torch.converting import from_torch, to_torch
from lenet_fast.torch.fitting import fit
from lenet_fast.torch.modules import RBF, Conv2d, MAPLoss, PenaltyLoss, ScaledTanh, SubSampling2d
from lenet_fast.torch.per_example import per_example_gradients
from lenet_fast.torch.wrapping import wrap

__all__ = [
    "RBF",
    "Conv2d",
    "MAPLoss",
    "PenaltyLoss",
    "ScaledTanh",
    "SubSampling2d",
    "fit",
    "from_torch",
    "functional",
    "per_example_gradients",
    "to_torch",
    "wrap",
]
