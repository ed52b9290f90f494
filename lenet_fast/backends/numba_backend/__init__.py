"""The Numba backend: the loops of ``kernels/`` in Python, compiled at their first call.

Nothing is compiled at import. Compiled code is cached on disk, so that the next process starts at
once: in ``NUMBA_CACHE_DIR`` if that is set, else next to these files, else in the user's cache
folder; where none of these can be written, each process compiles for itself.

Folders and files have the names of their twins in ``kernels/``. To find out whether what it kept is
out of date, Numba looks at a function's own file, not at those it imports. So a kernel that uses
loops of other files closes over a digest of all files, ``sources`` in jit.py: those of the engines
and of direct convolution do. Other operations call functions of their own file alone.
"""

from collections.abc import Callable
from typing import Any

try:
    import numba as _numba
except ImportError as error:
    raise ImportError(
        f"the numba backend needs Numba, which cannot be imported here ({error})"
    ) from error

from lenet_fast.backends.numba_backend.engines.lanes import checked_program as _checked_program
from lenet_fast.backends.numba_backend.engines.lanes import run as _run
from lenet_fast.backends.numba_backend.engines.online import run_online as _run_online
from lenet_fast.backends.numba_backend.engines.online_predict import (
    OnlinePredictor as _OnlinePredictor,
)
from lenet_fast.backends.numba_backend.images.warp import *
from lenet_fast.backends.numba_backend.layers.activations import *
from lenet_fast.backends.numba_backend.layers.conv2d import *
from lenet_fast.backends.numba_backend.layers.conv2d_im2col import *
from lenet_fast.backends.numba_backend.layers.dense import *
from lenet_fast.backends.numba_backend.layers.dropout import *
from lenet_fast.backends.numba_backend.layers.losses import *
from lenet_fast.backends.numba_backend.layers.pool2d import *
from lenet_fast.backends.numba_backend.layers.rbf import *
from lenet_fast.backends.numba_backend.layers.subsample2d import *
from lenet_fast.backends.numba_backend.vector.vectors import lane_count as _lane_count


def conv2d_algorithm(n: int, h_out: int, w_out: int) -> str:
    """Return what "auto" means for a batch of n and outputs of h_out x w_out.

    "direct" fills vectors with images, so it needs a batch; one output per map is a plain matrix
    product. The threshold was measured on LeNet-5's layers. Vectors of images need the compiler.
    """
    settings: Any = _numba.config
    few = n < 6 or h_out * w_out == 1
    return "im2col" if few or settings.DISABLE_JIT else "direct"


def lane_kernels() -> (
    tuple[dict[str, int], Callable[..., Any], Callable[..., None], Callable[[], None]] | None
):
    """Return the kernels of the lane engine; None if Numba does not compile.

    Returns
    -------
    lanes : dict
        Images per vector, by dtype.
    program, run : callable
        See :mod:`lenet_fast.backends.numba_backend.engines.lanes`.
    close : callable
        Does nothing: there are no threads but the engine's.
    """
    settings: Any = _numba.config
    if settings.DISABLE_JIT:
        return None
    lanes = {name: _lane_count(getattr(_numba, name)) for name in ("float32", "float64")}
    return lanes, _checked_program, _run, lambda: None


def online_kernels() -> tuple[Callable[..., None], Callable[..., Callable[[Any, Any], None]]]:
    """Return the kernels of the online engine.

    Returns
    -------
    run : callable
        See :func:`lenet_fast.backends.numba_backend.engines.online.run_online`.
    predictor : callable
        See :class:`lenet_fast.backends.numba_backend.engines.online_predict.OnlinePredictor`.
    """
    return _run_online, _OnlinePredictor


def describe() -> str:
    """Return a description of the platform that this backend uses."""
    return f"Numba {_numba.__version__}"
