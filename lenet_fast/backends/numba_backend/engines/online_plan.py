"""What a call of the online engine is given, and the columns of its table: the structs of
kernels/engines/online_plan.pxi.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lenet_fast.backends.numba_backend.engines.lanes_plan import (
    C_IN,
    DILATION_H,
    DILATION_V,
    H_IN,
    KH,
    KIND,
    KW,
    W_BARE,
    W_IN,
)

# The columns of the plan's table: the fields of Step in lenet_fast/engines/online_plan.py. Up to
# W_BARE they are those of the lane engine.
ROOM, D_ROOM, MASK, PLANAR, PITCH, NUMBERS = range(W_BARE + 1, W_BARE + 7)
ALONG_COLUMNS, ALONG_MAPS, POOLING, POOLED_MAXIMUM, SQUASHED, ROWS, ROW_DISTANCES = range(7)

# What the plan's places are.
INPUT_AT, INPUT_MAPS, INPUT_ROWS, INPUT_COLUMNS, INPUT_PLANAR, WORK = range(6)

# No literal: Numba compiles a function anew for each that it is called with.
NONE = np.intp(-1)


class Run(NamedTuple):
    """The arguments of run_online in kernels/engines/online.pxi."""

    steps: Any
    reals: Any
    masks: Any
    places: Any
    parameters: Any
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
    totals: Any
    seconds: Any
    memory: Any


class Weights(NamedTuple):
    """Where the parameters of a step are."""

    w: Any
    w_at: int  # -1: there are none
    b: Any
    b_at: int
    pitch: int  # numbers a row of a dense or RBF layer's


def tap_table(steps: Any) -> tuple[Any, Any]:
    """Return where the taps of each step's kernel look, from the first one on, in the order of its
    weights; and where each step's begin, the end of the last ones behind.

    One loop over a table starts once, three loops over rows, columns and maps again and again.
    """
    tables, ends = [np.empty(0, np.intp)], [0]
    for step in steps:
        if step[KIND] in (ALONG_COLUMNS, ALONG_MAPS):
            c, u, v = np.indices((step[C_IN], step[KH], step[KW]))
            row, column = u * step[DILATION_V], v * step[DILATION_H]
            if step[KIND] == ALONG_COLUMNS:
                taps = (c * step[H_IN] + row) * step[W_IN] + column
            else:
                taps = ((row * step[W_IN] + column) * step[C_IN] + c).transpose(1, 2, 0)
            tables.append(taps.reshape(-1))
        ends.append(sum(map(len, tables)))
    return np.concatenate(tables), np.array(ends, np.intp)
