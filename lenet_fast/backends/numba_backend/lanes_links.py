"""Which map is linked to which, as lists that the loops of lanes_conv2d.py run over."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import array_part, part
from lenet_fast.backends.numba_backend.lanes import CONV_MAPS, GRADIENT_MAPS
from lenet_fast.backends.numba_backend.lanes_plan import (
    C_IN,
    C_OUT,
    CONVOLUTION,
    H_IN,
    H_OUT,
    KH,
    KIND,
    KW,
    TABLE,
    W_IN,
    W_OUT,
    WIDTH,
    Lists,
    window_of,
)

# A link is a row of numbers: a source map, how many target maps are linked to it, up to MOST, then
# where each begins in its tile, and where the kernel of each begins in the weights.
SOURCE, COUNT, TARGET = 0, 1, 2
MOST = max(CONV_MAPS, GRADIENT_MAPS)
KERNEL = TARGET + MOST
LINK = KERNEL + MOST


@part
def _kernel_of(table, c_out, c_in, width, o, c):
    """Return the number of the kernel through which map o sees map c; -1 if it does not."""
    if o // (c_out // (c_in // width)) == c // width and table[o * width + c % width]:
        return o * width + c % width
    return -1


@part
def _add_target(link, target, kernel):
    link[TARGET + link[COUNT]] = target
    link[KERNEL + link[COUNT]] = kernel
    link[COUNT] += 1


@part
def _list_by_target(table, c_out, c_in, width, taps, positions, backward, together, links):
    """List the links with so many targets `together`, whose sums then stay in the cache.

    Forward the targets are output maps; backward input maps, and kernels are read from their end.
    A target map has so many positions. Return how many links there are.
    """
    count = 0
    targets, sources = (c_in, c_out) if backward else (c_out, c_in)
    for first in range(0, targets, together):
        for source in range(sources):
            link = links[count]
            link[SOURCE], link[COUNT] = source, 0
            for target in range(first, min(first + together, targets)):
                o, c = (source, target) if backward else (target, source)
                kernel = _kernel_of(table, c_out, c_in, width, o, c)
                if kernel >= 0:
                    last_tap = taps - 1 if backward else 0
                    _add_target(link, target * positions, kernel * taps + last_tap)
            count += link[COUNT] > 0
    return count


@part
def _list_by_input(table, c_out, c_in, width, taps, positions, links):
    """List for each input map the output maps it feeds: GRADIENT_MAPS at a time, then singly."""
    count = 0
    for c in range(c_in):
        rest = 0
        for o in range(c_out):
            rest += _kernel_of(table, c_out, c_in, width, o, c) >= 0
        links[count, COUNT] = 0
        for o in range(c_out):
            kernel = _kernel_of(table, c_out, c_in, width, o, c)
            if kernel >= 0:
                links[count, SOURCE] = c
                _add_target(links[count], o * positions, kernel * taps)
                if links[count, COUNT] == (GRADIENT_MAPS if rest >= GRADIENT_MAPS else 1):
                    rest -= links[count, COUNT]
                    count += 1
                    links[count, COUNT] = 0
    return count


@part
def without_gaps(window):
    """Return whether neither stride nor dilation leaves gaps."""
    return (
        window.stride_v == 1
        and window.stride_h == 1
        and window.dilation_v == 1
        and window.dilation_h == 1
    )


@array_part
def list_links(run):
    """Return the links of all convolutions."""
    room = 1
    for k in range(len(run.steps)):
        if run.steps[k, KIND] == CONVOLUTION:
            room += 3 * run.steps[k, C_IN] * run.steps[k, C_OUT] + 1
    links, ends = np.zeros((room, LINK), np.int64), np.zeros((len(run.steps), 4), np.int64)
    at = 0
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step[KIND] != CONVOLUTION:
            continue
        table, taps = run.tables[step[TABLE] :], step[KH] * step[KW]
        c_out, c_in, width = step[C_OUT], step[C_IN], step[WIDTH]
        seen, made = step[H_IN] * step[W_IN], step[H_OUT] * step[W_OUT]
        ends[k, 0] = at
        for backward in range(2):
            positions = seen if backward else made
            together = 1 if backward and without_gaps(window_of(step)) else CONV_MAPS
            at += _list_by_target(
                table, c_out, c_in, width, taps, positions, backward, together, links[at:]
            )
            ends[k, 1 + backward] = at
        at += _list_by_input(table, c_out, c_in, width, taps, made, links[at:])
        ends[k, 3] = at
    return Lists(links, ends)
