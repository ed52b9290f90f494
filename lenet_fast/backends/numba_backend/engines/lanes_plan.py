"""What a call of the lane engine is given, and the columns of its tables: the structs of
kernels/engines/lanes_plan.pxi.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.vector.shapes import Maps, Window

# The columns of the plan's table: the fields of Step in lenet_fast/engines/plan.py.
# fmt: off
(
    KIND, FUNCTION, X, Y, DX, DY, W, B, UNIT, LEARNS, PASSES, C_IN, H_IN, W_IN, C_OUT, H_OUT, W_OUT,
    KH, KW, STRIDE_V, STRIDE_H, DILATION_V, DILATION_H, TOP, LEFT, H_BARE, W_BARE, PADDED, SUMS_W,
    SUMS_B, TABLE, WIDTH,
) = range(32)
# fmt: on
CONVOLUTION, SUBSAMPLING, MAXIMUM, SQUASHING, FULL, DISTANCES = range(6)

# The columns of an item: the fields of _Item in lenet_fast/engines/lanes.py.
ITEM_KIND, FIRST, LAST, OPENED, BLOCK, IMAGES, STEP = range(7)
FORWARD, GRADIENT, CURVATURE, UPDATE = range(4)

# What the plan's places are.
INPUT_AT, INPUT_MAPS, INPUT_ROWS, INPUT_COLUMNS, WORK, ROWS = range(6)


class Run(NamedTuple):
    """What all threads of a call share: the arguments of run_lanes in kernels/engines/lanes.pxi."""

    steps: Any
    reals: Any
    tables: Any
    places: Any
    items: Any
    parameters: Any
    weights_squared: Any
    trained: int
    bytes_images: Any
    float_images: Any
    scale: Any
    order: Any
    labels: Any
    loss: Any
    smallest_wins: bool
    update: Any
    updates_done: int
    state: Any
    factors: Any
    gradients: Any
    outputs: Any
    totals: Any
    seconds: Any


class Lists(NamedTuple):
    """The links of each convolution, one row each: see layers/conv2d.py."""

    links: Any
    ends: Any  # by step: where those forward begin, those backward, those by input; the last end


@part
def source_of(step):
    return Maps(step[C_IN], step[H_IN], step[W_IN])


@part
def result_of(step):
    return Maps(step[C_OUT], step[H_OUT], step[W_OUT])


@part
def window_of(step):
    return Window(
        step[KH], step[KW], step[STRIDE_V], step[STRIDE_H], step[DILATION_V], step[DILATION_H]
    )


@part
def inputs_of(step):
    return step[C_IN] * step[H_BARE] * step[W_BARE]


@part
def outputs_of(step):
    return step[C_OUT] * step[H_OUT] * step[W_OUT]
