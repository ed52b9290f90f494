"""LeNet-5 of 1998: exact, and fast on a CPU."""

from lenet_fast import backends, ops
from lenet_fast.backends import use_backend

__version__ = "0.1.0"
"""The version of this package."""

__all__ = ["__version__", "backends", "ops", "use_backend"]
