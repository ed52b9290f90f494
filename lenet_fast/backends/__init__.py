"""Three implementations of the kernels behind one interface, loaded on first use.

The backend of a call is, in this order: its ``backend=`` argument, the innermost block of
:class:`use_backend`, its last call without a block, the environment variable
``LENET_FAST_BACKEND``, and else the first of cython, numba, numpy that is usable here. A backend
that is named but missing raises an error; there is no silent fallback.

Examples
--------
All backends compute the same, within rounding:

>>> import numpy as np
>>> from lenet_fast import backends, ops
>>> x, w = np.arange(16.0).reshape(1, 1, 4, 4), np.ones((1, 1, 3, 3))
>>> for name, status in backends.available().items():
...     if status.usable:
...         assert np.allclose(ops.conv2d(x, w, backend=name), [[45, 54], [81, 90]])
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast, get_args

from lenet_fast import choices, cures

P = ParamSpec("P")
Result = TypeVar("Result")

__all__ = ["ENVIRONMENT_VARIABLE", "NAMES", "Status", "available", "current", "get", "use_backend"]

NAMES = get_args(choices.Backend)
"""The backends, in the order of preference for the default."""

ENVIRONMENT_VARIABLE = "LENET_FAST_BACKEND"
"""Environment variable that selects the default backend."""


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
            "cython": "; with a C compiler (gcc or clang) and Python's headers, install again from "
            f"the source: {cures.pip('install', *_ANEW)} FOLDER",
        }
        raise ImportError(f"{error}{cure.get(name, '')}") from error


def _checked(name: Any, source: str) -> choices.Backend:
    if not isinstance(name, str):
        raise TypeError(f"{source}: expected a backend's name, got {type(name).__name__}")
    if name not in NAMES:
        raise ValueError(f"{source}: expected one of {', '.join(NAMES)}, got {name!r}")
    return cast("choices.Backend", name)


def available() -> dict[choices.Backend, Status]:
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
def _default() -> choices.Backend:
    for name in NAMES:
        try:
            _load(name)
        except ImportError:
            continue
        return name
    raise ImportError("no backend can be imported; lenet_fast needs at least NumPy")


def current() -> choices.Backend:
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
    if _thread.made:  # and kept, as a notebook keeps what it shows
        for made in _thread.made:
            if choice := made():
                choice._hold()
        _thread.made = []
    if blocks := _blocks.get():
        return blocks[-1].name
    if chosen := _process[1]:
        return chosen
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    return _checked(name, ENVIRONMENT_VARIABLE) if name else _default()


def get(name: choices.Backend | None = None) -> ModuleType:
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


class use_backend:  # noqa: N801  (it is called as a function)
    """Choose the backend of the calls that follow, or of those in a ``with`` block.

    ``use_backend("numpy")`` holds for the whole process, other threads included, until the next
    such call. ``with use_backend("numpy"):`` holds for the block, in this thread or task only; it
    takes precedence, also over a call within it. As a decorator it holds for the calls of the
    function, like a block.

    Engines keep the backend that they were created with, and other processes have their own.

    Parameters
    ----------
    name : {"cython", "numba", "numpy"}

    Raises
    ------
    TypeError, ValueError, ImportError
        Like :func:`.backends.get`, at once.

    Notes
    -----
    A call holds for the process as soon as its value is dropped, which a statement of its own does
    at once, or shown, as by a notebook. If the value is kept (``choice = use_backend("numpy")``)
    and has begun no block yet, it holds from the next time that the thread which made it asks for
    the current backend, as every operation without ``backend=`` does. Blocks never change the
    choice for the process.

    Examples
    --------
    >>> import lenet_fast
    >>> before = lenet_fast.backends.current()
    >>> with lenet_fast.use_backend("numpy"):
    ...     lenet_fast.backends.current()
    'numpy'
    >>> lenet_fast.backends.current() == before
    True
    >>> lenet_fast.use_backend("numpy")
    use_backend('numpy')
    >>> lenet_fast.backends.current()
    'numpy'
    """

    _open = False  # whether it may still become a choice for the process, a block or a decorator

    def __init__(self, name: choices.Backend) -> None:
        self.name = _checked(name, "backend")
        _load(self.name)
        self._number = next(_numbers)
        self._open = True
        # Weak, so that a value that nobody keeps is dropped at once.
        _thread.made = [made for made in _thread.made if made() is not None] + [weakref.ref(self)]

    def _hold(self) -> None:
        """Let the choice hold for the process, if it is no block and no later one holds."""
        global _process
        if self._open:
            self._open = False
            _process = max(_process, (self._number, self.name))

    __del__ = _hold

    def __enter__(self) -> None:
        self._open = False
        _blocks.set((*_blocks.get(), self))

    def __exit__(self, *_: object) -> None:
        blocks = _blocks.get()
        if self not in blocks:
            raise RuntimeError(
                "use_backend: expected the block to end in the thread or task in which it began, "
                "got another"
            )
        last = len(blocks) - 1 - blocks[::-1].index(self)
        _blocks.set(blocks[:last])

    def __call__(self, function: Callable[P, Result]) -> Callable[P, Result]:
        self._open = False

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            with self:
                return function(*args, **kwargs)

        return call

    def __repr__(self) -> str:
        self._hold()  # a shell shows a value when its statement is complete, and then keeps it
        return f"use_backend({self.name!r})"


class _Thread(threading.local):
    def __init__(self) -> None:
        self.made: list[weakref.ref[use_backend]] = []


_thread = _Thread()
"""What each thread has made since it last asked for the current backend."""

_numbers = itertools.count(1)

_process: tuple[int, choices.Backend | None] = (0, None)
"""Number and name of the last call without a block."""

_blocks: contextvars.ContextVar[tuple[use_backend, ...]] = contextvars.ContextVar(
    "blocks", default=()
)
"""The blocks around this place in the thread or task; the last one counts."""
