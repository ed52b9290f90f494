"""The decorators of every compiled function here: Numba's, with the same options everywhere."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_NOT_FOR_PYTHON: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# The Python caller holds references to the arrays. Counting references here as well would take
# longer than an inner block, and force its sums out of their registers.
_BORROWING: dict[str, Any] = {"_nrt": False}
_OWNING: dict[str, Any] = {"_nrt": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call with each kind of arguments; keep the result on disk.

    No fast-math: sums keep their order, NaN and infinity their meaning. NumPy's error model:
    0 / 0 is NaN, and no branch for it hinders the vectoriser.
    """
    return _kept(function, _OPTIONS)


def borrowing_kernel(function: Callable[..., Any]) -> Any:
    """Like :func:`kernel`, for a function that allocates no arrays."""
    return _kept(function, _OPTIONS | _BORROWING)


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    if _nowhere():
        return njit(**options)(function)
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither NUMBA_CACHE_DIR, the package's folder nor the user's cache folder can be written:
        # each process compiles for itself.
        return njit(**options)(function)


@functools.cache
def keeps() -> bool:
    """Return whether compiled code is kept on disk; else each process compiles for itself."""
    if _nowhere():
        return False
    try:
        njit(cache=True)(_named)  # compiles nothing, but looks for a folder
    except RuntimeError:
        return False
    return True


@functools.cache
def _nowhere() -> bool:
    """Whether Numba would keep what it compiles in a folder named ~, in whatever folder this runs:
    so it does for a container's user without a home."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")
    return not (
        config.CACHE_DIR  # type: ignore[attr-defined]  # set as it is imported
        or os.path.isabs(caches)
        or os.access(Path(__file__).parent, os.W_OK)
    )


def part(function: Callable[..., Any]) -> Any:
    """Compile `function` into the kernel that calls it, which may be in another file; what is kept
    on disk is the kernel alone. Such a kernel must close over :func:`sources`.

    It must neither allocate nor return arrays: with reference counting off they would leak.
    """
    return njit(**_OPTIONS, **_NOT_FOR_PYTHON, **_BORROWING)(_named(function))


def array_part(function: Callable[..., Any]) -> Any:
    """Like :func:`part`, for a function that allocates arrays. If it returns them, its caller must
    be a kernel."""
    return njit(**_OPTIONS, **_NOT_FOR_PYTHON, **_OWNING)(function)


def block(function: Callable[..., Any]) -> Any:
    """Like :func:`part`, for an inner block: a call would cost a tenth of its work."""
    options = _OPTIONS | _NOT_FOR_PYTHON | _BORROWING
    return njit(**options, forceinline=True)(_named(function))


def once(function: Callable[..., Any]) -> Any:
    """Like :func:`part`, for a function whose code becomes the caller's before anything is
    compiled; it may return arrays. For one with a single caller: in a chain of callers all the code
    below is optimised anew at each link.
    """
    return njit(inline="always", **_OPTIONS)(function)


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give functions that one factory makes names of their own, by what they close over.

    Numba tells functions of one name apart by a number, and counts anew in each process: a kernel
    from the disk and one just compiled could take each other's parts.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [getattr(value, "py_func", value) for value in cells]
    if values:
        names = repr([getattr(value, "__qualname__", value) for value in values])
        function.__qualname__ += f"_{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    return function


@functools.cache
def sources() -> str:
    """Return a digest of all files of this backend.

    To find out whether what it kept is out of date, Numba looks at a kernel's own file alone, and
    at the values that the kernel closes over.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_only(value: Any) -> Any:
    """Return an argument in the one type that is compiled for: arrays that are not written are read
    only, whether they were or not."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view
