"""The compiled backend: one build of kernels/ for each instruction set, chosen at import.

``LENET_FAST_ISA`` forces one; by default it is the last of those built that this CPU supports.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

ENVIRONMENT_VARIABLE = "LENET_FAST_ISA"

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
"""Every set that can be built, slowest first."""

_isa = ""  # set by _install


@functools.cache
def _build(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}._{name}")


@functools.cache
def built() -> list[str]:
    """Return the instruction sets whose extension is installed, slowest first."""
    found = importlib.util.find_spec
    return [name for name in INSTRUCTION_SETS if found(f"{__name__}._{name}") is not None]


@functools.cache
def instruction_sets() -> list[str]:
    """Return the instruction sets that are installed and that this CPU supports."""
    supported = _build("cpu").supported()
    return [name for name in built() if name in supported]


def _choose() -> str:
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    if not wanted:
        return instruction_sets()[-1]
    return _checked(wanted, ENVIRONMENT_VARIABLE)


def _checked(name: str, source: str) -> str:
    if name not in INSTRUCTION_SETS:
        allowed = ", ".join(INSTRUCTION_SETS)
        raise ValueError(f"{source}: expected one of {allowed}, got {name!r}")
    if name not in instruction_sets():
        why = "this CPU does not support it" if name in built() else "it was not built"
        usable = ", ".join(instruction_sets())
        raise ValueError(f"{source}: expected one of {usable} here, got {name!r} ({why})")
    return name


def isa() -> str:
    """Return the instruction set whose kernels are in use."""
    return _isa


def _install(name: str) -> None:
    global _isa
    build = _build(name)
    globals().update({key: getattr(build, key) for key in build.KERNELS})
    _isa = name


@contextlib.contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Run a ``with`` block on another instruction set, in the whole process: for tests.

    Raises
    ------
    ValueError
        If there is no such set, or it was not built, or the CPU does not support it.
    """
    before = _isa
    _install(_checked(name, "name"))
    try:
        yield
    finally:
        _install(before)


def lane_kernels() -> tuple[
    dict[str, int], Callable[..., Any], Callable[..., None], Callable[[], None]
]:
    """Return the kernels of the lane engine, for the instruction set in use.

    Returns
    -------
    lanes : dict
        Images per vector, by dtype.
    program : callable
        ``LanesProgram`` of kernels/engines/lanes.pxi.
    run : callable
        Takes the arguments of ``run_lanes`` without the last two, a list of memories, one per
        thread, and what runs a function on all of them at the same time: not used here, as the
        kernels have threads of their own, which need not wait for Python's lock.
    close : callable
        Ends these threads; the next call starts new ones.
    """
    build = _build(_isa)
    helpers = build.LanesHelpers()

    def run(arguments: tuple[Any, ...], memories: list[Any], _: Callable[..., None]) -> None:
        build.run_lanes(*arguments, memories, helpers)

    lanes = dict(zip(("float32", "float64"), build.lane_counts(), strict=True))
    return lanes, build.LanesProgram, run, helpers.close


def online_kernels() -> tuple[Callable[..., None], Callable[..., Callable[[Any, Any], None]]]:
    """Return the kernels of the online engine, for the instruction set in use.

    Returns
    -------
    run : callable
        ``run_online`` of kernels/engines/online.pxi.
    predictor : callable
        ``OnlinePredictor`` of kernels/engines/online_predict.pxi.
    """
    build = _build(_isa)
    return build.run_online, build.OnlinePredictor


def conv2d_algorithm(n: int, h_out: int, w_out: int) -> str:
    """Return what "auto" means for a batch of n and outputs of h_out x w_out.

    "direct" fills vectors with images, so it needs a batch; one output per map is a plain matrix
    product. The threshold was measured on LeNet-5's layers with each instruction set.
    """
    return "im2col" if n < 4 or h_out * w_out == 1 else "direct"


def describe() -> str:
    """Return a description of the platform that this backend uses."""
    return f"{_isa} kernels"


if not built() or importlib.util.find_spec(f"{__name__}._cpu") is None:
    raise ImportError("the cython backend was not compiled when lenet_fast was installed")
if not instruction_sets():
    raise ImportError(
        f"the cython backend was compiled for {', '.join(built())}, which this CPU does not "
        "support (LENET_FAST_BUILD_ISA=all compiles for every CPU)"
    )

_install(_choose())
