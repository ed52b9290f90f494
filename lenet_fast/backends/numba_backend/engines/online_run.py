"""The arguments of the online engine's loops.

The twin of kernels/engines/online_run.pxi.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lenet_fast.backends.numba_backend.program import (
    ACTIVATION,
    CONVOLUTION_ALONG_COLUMNS,
    CONVOLUTION_ALONG_MAPS,
    DISTANCES,
    DROPOUT,
    FULL,
    MAXIMUM,
    SUBSAMPLING,
)

ONLINE_KINDS = (
    CONVOLUTION_ALONG_COLUMNS,
    CONVOLUTION_ALONG_MAPS,
    SUBSAMPLING,
    MAXIMUM,
    ACTIVATION,
    FULL,
    DISTANCES,
    DROPOUT,
)

# No literal: Numba compiles a function anew for each that it is called with.
NONE = np.intp(-1)


class Run(NamedTuple):
    """The arguments of run_online in kernels/engines/online.pxi."""

    steps: Any
    masks: Any
    input: Any
    parameters: Any
    bytes_images: Any
    float_images: Any
    order: Any
    labels: Any
    loss: Any
    updates: Any  # by image
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
    pitch: int  # numbers per row of a dense or RBF layer's


def tap_table(steps: Any) -> tuple[Any, Any]:
    """Return where the taps of each step's kernel look, from the first one on, in the order of its
    weights; and where each step's begin, the end of the last ones behind.

    One loop over a table starts once, three loops over rows, columns and maps again and again.
    """
    tables, ends = [np.empty(0, np.intp)], [0]
    for step in steps:
        if step["kind"] in (CONVOLUTION_ALONG_COLUMNS, CONVOLUTION_ALONG_MAPS):
            c, u, v = np.indices((step["c_in"], step["kh"], step["kw"]))
            row, column = u * step["dilation_v"], v * step["dilation_h"]
            if step["kind"] == CONVOLUTION_ALONG_COLUMNS:
                taps = (c * step["h_in"] + row) * step["w_in"] + column
            else:
                taps = ((row * step["w_in"] + column) * step["c_in"] + c).transpose(1, 2, 0)
            tables.append(taps.reshape(-1))
        ends.append(sum(map(len, tables)))
    return np.concatenate(tables), np.array(ends, np.intp)
