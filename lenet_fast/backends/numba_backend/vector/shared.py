"""What threads share while they work off one list, the clock, and how the processor treats small
numbers: see kernels/vector/vectors.h."""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Any

import numpy as np
from numba import types
from numba.core.cgutils import ir
from numba.extending import intrinsic

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.vector.vectors import Writer


@intrinsic
def add_shared(typing: Any, shared: Any, at: Any, number: Any) -> Any:
    """Add to an int64 that threads share; return what it was."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = Writer(context, builder).address(shared, values[0], values[1], 1)
        return builder.atomic_rmw("add", where, values[2], "acq_rel")

    return types.int64(shared, types.intp, types.int64), generate


@intrinsic
def read_shared(typing: Any, shared: Any, at: Any) -> Any:
    """Return an int64 that threads share, and see all that was written before it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = Writer(context, builder).address(shared, values[0], values[1], 1)
        return builder.load_atomic(where, "acquire", 8)

    return types.int64(shared, types.intp), generate


_FLUSH = 0x8040  # in the x86 control register: flush results to zero, and read inputs as zero


@intrinsic
def flush_small(typing: Any) -> Any:
    """Let numbers too small for a full mantissa count as 0 on this thread, until
    :func:`restore_small`; return what that takes. Only x86 is slow with them."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.alloca(ir.IntType(32))
        if not _x86():
            return ir.Constant(ir.IntType(32), 0)
        _control(builder, "st", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(before.type, _FLUSH)), place)
        _control(builder, "ld", place)
        return before

    return types.uint32(), generate


@intrinsic
def restore_small(typing: Any, before: Any) -> Any:
    """Undo :func:`flush_small`, which returned this."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if _x86():
            place = builder.alloca(values[0].type)
            builder.store(values[0], place)
            _control(builder, "ld", place)
        return context.get_dummy_value()

    return types.void(types.uint32), generate


def _x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _control(builder: Any, way: str, place: Any) -> None:
    """Load or store the control register."""
    pointer = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic(
        f"llvm.x86.sse.{way}mxcsr", (), ir.FunctionType(ir.VoidType(), [pointer])
    )
    builder.call(function, [builder.bitcast(place, pointer)])


@intrinsic
def _call_clock(typing: Any, address: Any, kind: Any, clock: Any) -> Any:
    """Let clock_gettime, wherever it is, write seconds and nanoseconds behind its own address and
    number."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        where = Writer(context, builder).address(clock, values[2], values[0].type(2), 2)
        number = ir.IntType(32)
        form = ir.FunctionType(number, [number, where.type])
        function = builder.inttoptr(values[0], form.as_pointer())
        return builder.call(function, [builder.trunc(values[1], number), where])

    return types.int32(types.intp, types.intp, clock), generate


@part
def seconds_now(clock):
    """Return the time, by what :func:`new_clock` returned."""
    _call_clock(clock[0], clock[1], clock)
    return clock[2] + 1e-9 * clock[3]


def new_clock(wanted: bool) -> Any:
    """Return the address of clock_gettime, the number of its steady clock, and two places for the
    time; all zeros if no clock is needed.

    Raises
    ------
    NotImplementedError
        If the system has none.
    """
    clock = np.zeros(4, np.int64)
    if wanted:
        try:
            function = ctypes.CDLL(None).clock_gettime
            clock[0] = ctypes.cast(function, ctypes.c_void_p).value or 0
            clock[1] = time.CLOCK_MONOTONIC
        except (AttributeError, TypeError, OSError) as error:
            raise NotImplementedError(
                f"seconds: the numba backend reads clock_gettime, which is missing here ({error})"
            ) from None
    return clock
