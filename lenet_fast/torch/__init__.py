"""PyTorch's front end: our kernels as differentiable functions.

- The functions of :mod:`lenet_fast.torch.functional` are those of :mod:`lenet_fast.ops`, on tensors
  and with gradients.

Tensors are dense, on the CPU, float32 or float64. They share their memory with the arrays that the
kernels read; only tensors that are not contiguous are copied. Nothing is converted to another dtype
or moved from another device: such tensors raise TypeError.
"""

try:
    import torch  # noqa: F401  (to say what is missing, before a module does)
except ImportError as error:
    raise ImportError("lenet_fast.torch needs PyTorch: pip install 'lenet_fast[torch]'") from error

from lenet_fast.torch import functional

__all__ = ["functional"]
