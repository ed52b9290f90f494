"""What a call of the lane engine is given, as its loops read it.

The twin of kernels/engines/lanes_plan.pxi.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Run(NamedTuple):
    """What all threads of a call share: the arguments of run_lanes in kernels/engines/lanes.pxi."""

    steps: Any
    tables: Any
    input: Any
    items: Any
    parameters: Any
    weights_squared: Any
    trained: int
    bytes_images: Any
    float_images: Any
    order: Any
    labels: Any
    loss: Any
    update: Any
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
