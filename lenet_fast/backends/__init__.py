"""Three implementations of the kernels behind one interface, loaded on first use.

The backend of a call is, in this order: its ``backend=`` argument, the innermost
:func:`use_backend`, the environment variable ``LENET_FAST_BACKEND``, and else the first of
cython, numba, numpy that is usable here. A backend that is named but missing raises an error; there
is no silent fallback.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from lenet_fast import cures

__all__ = ["ENVIRONMENT_VARIABLE", "NAMES", "Status", "available", "current", "get", "use_backend"]

NAMES = ("cython", "numba", "numpy")
"""The backends, in the order of preference for the default."""

ENVIRONMENT_VARIABLE = "LENET_FAST_BACKEND"
"""Environment variable that selects the default backend."""

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("backend", default=None)


class Status(NamedTuple):
    """Whether a backend is usable here; ``detail`` has its version, or the reason and a fix.

    Examples
    --------
    >>> from lenet_fast import backends
    >>> status = backends.available()["numpy"]
    >>> status.usable, status.detail.split()[0]
    (True, 'NumPy')
    """

    usable: bool
    detail: str


_ANEW = ("--force-reinstall", "--no-deps", "--no-cache-dir")


@functools.cache
def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{__name__}.{name}_backend")
    except ImportError as error:
        cure = {
            "numba": f"; install it with: {cures.install('numba')}",
            "cython": "; install a C compiler (gcc or clang, and Python's headers), then install "
            f"again from the source: {cures.pip('install', *_ANEW)} FOLDER",
        }
        raise ImportError(f"{error}{cure.get(name, '')}") from error


def _checked(name: object, source: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{source}: expected a backend's name, got {type(name).__name__}")
    if name not in NAMES:
        raise ValueError(f"{source}: expected one of {', '.join(NAMES)}, got {name!r}")
    return name


def available() -> dict[str, Status]:
    """Return for each backend whether it is usable here, and why not.

    Examples
    --------
    >>> from lenet_fast import backends
    >>> backends.available()["numpy"].usable
    True
    """
    found = {}
    for name in NAMES:
        try:
            found[name] = Status(True, _load(name).describe())
        except ImportError as error:
            found[name] = Status(False, str(error))
    return found


@functools.cache
def _default() -> str:
    for name in NAMES:
        try:
            _load(name)
        except ImportError:
            continue
        return name
    raise ImportError("no backend can be imported; lenet_fast needs at least NumPy")


def current() -> str:
    """Return the name of the backend that a call without ``backend=`` would use.

    Raises
    ------
    ValueError
        If ``LENET_FAST_BACKEND`` holds an unknown name.

    Examples
    --------
    >>> from lenet_fast import backends
    >>> backends.current() in backends.NAMES
    True
    >>> with backends.use_backend("numpy"):
    ...     backends.current()
    'numpy'
    """
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    return _checked(name, ENVIRONMENT_VARIABLE) if name else _default()


def get(name: str | None = None) -> ModuleType:
    """Return the module of a backend, the current one by default.

    Parameters
    ----------
    name : {"cython", "numba", "numpy"}, optional

    Raises
    ------
    TypeError, ValueError
        If `name` is not a string, or not the name of a backend.
    ImportError
        If the backend is missing; the message gives the reason and a fix.

    Examples
    --------
    >>> from lenet_fast import backends
    >>> backends.get("numpy").__name__
    'lenet_fast.backends.numpy_backend'
    >>> backends.get("nympy")
    Traceback (most recent call last):
    ValueError: backend: expected one of cython, numba, numpy, got 'nympy'
    """
    return _load(current() if name is None else _checked(name, "backend"))


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the calls inside a ``with`` block on one backend, in this thread or task only.

    Parameters
    ----------
    name : {"cython", "numba", "numpy"}

    Raises
    ------
    TypeError, ValueError, ImportError
        Like :func:`.backends.get`, on entering the block.

    Examples
    --------
    >>> import lenet_fast
    >>> with lenet_fast.use_backend("numpy"):
    ...     lenet_fast.backends.current()
    'numpy'
    """
    get(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)
