"""The decorator of every compiled function here: Numba's, with the same options throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call with each kind of arguments; keep the result on disk.

    No fast-math: sums keep their order, NaN and infinity their meaning. NumPy's error model:
    0 / 0 is NaN, and no branch for it hinders the vectoriser.
    """
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # Neither NUMBA_CACHE_DIR, the package's folder nor the user's cache folder can be written:
        # each process compiles for itself.
        return njit(nogil=True, error_model="numpy")(function)
