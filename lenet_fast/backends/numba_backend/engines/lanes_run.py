"""The arguments of the lane engine's loops.

The twin of kernels/engines/lanes_run.pxi.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Program(NamedTuple):
    """A network and its loss."""

    steps: Any
    tables: Any
    input: Any
    loss: Any
    trained: int
    no_updates: Any  # in calls without any


class Run(NamedTuple):
    """What all threads of a call share: a program, and the arguments of run_lanes in
    kernels/engines/lanes.pxi."""

    steps: Any
    tables: Any
    input: Any
    loss: Any
    trained: int
    no_updates: Any
    items: Any
    parameters: Any
    weights_squared: Any
    bytes_images: Any
    float_images: Any
    order: Any
    labels: Any
    updates: Any  # by the step's number in this call
    state: Any
    factors: Any
    gradients: Any
    outputs: Any
    d_outputs: Any
    d_inputs: Any
    kept: Any
    examples: Any
    clip: Any
    totals: Any
    seconds: Any


class Draw(NamedTuple):
    """How dropout layers draw for a tile."""

    drops: bool
    seed: int
    number: int  # of the step
    place: int  # of the tile's first image in its batch


class Lists(NamedTuple):
    """The links of each convolution, one row each: see layers/conv2d.py."""

    links: Any
    ends: Any  # by step: where those forward begin, those backward, those by input; the last end
