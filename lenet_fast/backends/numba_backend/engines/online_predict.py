"""Single predictions: the online engine's forward pass, with as little overhead as possible.

The twin of kernels/engines/online_predict.pxi.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from lenet_fast.backends.numba_backend.engines.online_images import (
    copy_numbers,
    fill_bytes,
    fill_floats,
    set_borders,
)
from lenet_fast.backends.numba_backend.engines.online_run import (
    NONE,
    ONLINE_KINDS,
    Weights,
    tap_table,
)
from lenet_fast.backends.numba_backend.engines.online_steps import step_forward
from lenet_fast.backends.numba_backend.engines.steps import check_steps
from lenet_fast.backends.numba_backend.jit import borrowing_kernel, once, part, sources
from lenet_fast.backends.numba_backend.vector.blocks import array_at
from lenet_fast.backends.numba_backend.vector.vectors import lane_count


class _Bound(NamedTuple):
    """Where the loops find the parameters."""

    bindings: Any
    index: Any
    arrays: Any  # by binding: address and size of the array
    of_steps: Any  # by step: the bindings of w and b, or -1
    taps: Any  # see tap_table
    ends: Any


@part
def _gather(bound, memory):
    """Put parameters into the order of the loops, where it is not their own."""
    for i in range(len(bound.bindings)):
        binding = bound.bindings[i]
        if binding.place >= 0:
            array = array_at(bound.arrays[i, 0], bound.arrays[i, 1], memory)
            chosen = bound.index[binding.first : binding.first + binding.count]
            made = memory[binding.place : binding.place + binding.count]
            for k in range(len(chosen)):
                made[k] = array[chosen[k]] if chosen[k] >= 0 else 0


@part
def _found(bound, i, memory):
    """Return an array, and where in it a parameter begins; -1 if there is none."""
    if i < 0:
        return memory, NONE
    if bound.bindings[i].place >= 0:
        return memory, bound.bindings[i].place
    return array_at(bound.arrays[i, 0], bound.arrays[i, 1], memory), NONE + 1


@once
def _forward(steps, bound, memory, square):
    for k in range(len(steps)):
        of_w = bound.of_steps[k, 0]
        w, w_at = _found(bound, of_w, memory)
        b, b_at = _found(bound, bound.of_steps[k, 1], memory)
        pitch = bound.bindings[of_w].pitch if of_w >= 0 else NONE
        weights = Weights(w, w_at, b, b_at, pitch)
        taps = bound.taps[bound.ends[k] : bound.ends[k + 1]]
        step_forward(steps[k], taps, weights, memory, square)


@functools.cache
def _compiled(version: str, dtype: Any, *records: Any) -> tuple[Any, Any]:
    """Return what prepares a memory, and what predicts with it.

    `records` are the dtypes of steps, input and bindings.
    """

    @borrowing_kernel
    def prepare(steps, memory):
        """Write what stays between images."""
        version  # noqa: B018  (closed over: what is kept on disk is of these sources)
        set_borders(steps, memory)

    @borrowing_kernel
    def predict(
        steps, input, bindings, index, arrays, of_steps, taps, ends, memory, square, pixels, floats,
        outputs,
    ):  # fmt: skip
        """One of `pixels` and `floats` is empty."""
        version  # noqa: B018
        bound = _Bound(bindings, index, arrays, of_steps, taps, ends)
        _gather(bound, memory)
        if len(floats):
            fill_floats(memory, input[0], floats.reshape(-1), 0)
        else:
            fill_bytes(memory, input[0], pixels)
        _forward(steps, bound, memory, square)
        last = steps[len(steps) - 1]
        copy_numbers(memory, last.y, outputs, 0, last.c_out)

    real = from_dtype(dtype)

    def fixed(number: Any, dimensions: int) -> Any:
        return types.Array(number, dimensions, "C", readonly=True)

    steps, inputs, bound = (fixed(from_dtype(each), 1) for each in records)
    tables, table = fixed(types.intp, 2), fixed(types.intp, 1)
    written = types.Array(real, 1, "C")
    # One signature, whether an image can be written to or not: each would be compiled anew.
    prepare.compile((steps, written))
    predict.compile((
        steps, inputs, bound, fixed(types.intc, 1), tables, tables, table, table, written, written,
        fixed(types.uint8, 2), fixed(real, 3), written,
    ))  # fmt: skip
    prepare.disable_compile()
    predict.disable_compile()
    return prepare, predict


class OnlinePredictor:
    """The outputs of a network for one image, from the arrays that this was made with.

    lenet_fast/engines/online.py builds the arguments. Calls may come from many threads at once:
    each takes a memory, and leaves it for later ones.
    """

    def __init__(
        self,
        steps: Any,
        input: Any,
        size: int,
        bindings: Any,
        index: Any,
        arrays: list[Any],
        item: int,
    ) -> None:
        check_steps(steps, ONLINE_KINDS)
        dtype = np.dtype(f"f{item}")
        self._predict: Any = None  # compiled by the first call
        self._keeps = arrays  # their addresses stay theirs
        addresses = [(array.ctypes.data, array.size) for array in arrays]
        of_steps = np.full((len(steps), 2), -1, np.intp)
        of_steps[bindings["step"], bindings["bias"]] = np.arange(len(bindings))
        self._tables = (
            *(steps, input, bindings, index),
            np.array(addresses, np.intp).reshape(len(arrays), 2),
            of_steps,
            *tap_table(steps),
        )
        self._rows, self._columns = int(input["rows"][0]), int(input["columns"][0])
        self._shape = (int(input["maps"][0]), self._rows, self._columns)
        self._outputs = (int(steps["c_out"][-1]),)
        self._size, self._square = size, lane_count(from_dtype(dtype)) ** 2
        self._no_pixels, self._no_floats = np.empty((0, 0), np.uint8), np.empty((0, 0, 0), dtype)
        self._free: list[tuple[Any, Any]] = []

    def __call__(self, image: Any, outputs: Any) -> None:
        """Set the outputs (k,) for an image: bytes (rows, columns), or prepared (c, h, w)."""
        if outputs.shape != self._outputs:
            raise ValueError(f"outputs: expected {self._outputs}, got {outputs.shape}")
        pixels, floats = self._no_pixels, image
        if image.itemsize == 1:
            pixels, floats = image, self._no_floats
            if self._shape[0] != 1 or image.ndim != 2 or not self._fits(*image.shape):
                raise ValueError("image: expected bytes (rows, columns) that fit")
        elif image.shape != self._shape:
            raise ValueError(f"image: expected the network's input, got {image.shape}")
        try:
            memory, square = self._free.pop()
        except IndexError:
            memory, square = self._new()
        self._predict(*self._tables, memory, square, pixels, floats, outputs)
        self._free.append((memory, square))

    def _fits(self, rows: int, columns: int) -> bool:
        return rows <= self._rows and columns <= self._columns

    def _new(self) -> tuple[Any, Any]:
        """Return memory for one image at a time, and scratch."""
        dtype = self._no_floats.dtype
        memory, square = _aligned(self._size, dtype), _aligned(self._square, dtype)
        records = (table.dtype for table in self._tables[:3])
        prepare, self._predict = _compiled(sources(), dtype, *records)
        prepare(self._tables[0], memory)
        return memory, square


def _aligned(count: int, dtype: Any) -> Any:
    """Return an array that begins with a cache line: no vector lies in two."""
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + count * dtype.itemsize].view(dtype)
