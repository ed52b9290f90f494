"""The input of one image: what stays between images, bytes, prepared floats."""

from __future__ import annotations

from lenet_fast.backends.numba_backend.engines.lanes_plan import C_IN, H_IN, KIND, W_IN
from lenet_fast.backends.numba_backend.engines.online_plan import (
    ALONG_MAPS,
    INPUT_AT,
    INPUT_COLUMNS,
    INPUT_MAPS,
    INPUT_PLANAR,
    INPUT_ROWS,
    ROOM,
)
from lenet_fast.backends.numba_backend.jit import part


@part
def copy_numbers(source, at, target, to, count):
    """Copy `count` numbers."""
    for i in range(count):
        target[to + i] = source[at + i]


@part
def by_pixel(source, at, maps, pixels, target, to):
    """From (maps, pixels) to (pixels, maps); with the sizes exchanged, back."""
    for c in range(maps):
        for k in range(pixels):
            target[to + k * maps + c] = source[at + c * pixels + k]


@part
def repeat_maps(memory, x, maps, times, y):
    for k in range(maps):
        memory[y + k * times : y + (k + 1) * times] = memory[x + k]


@part
def add_repeated(memory, dy, maps, times, dx):
    for k in range(maps):
        memory[dx + k] = memory[dy + k * times]
        for j in range(1, times):
            memory[dx + k] += memory[dy + k * times + j]


@part
def set_borders(steps, reals, memory):
    """Write what stays: zeros, and what the padding is."""
    memory[:] = 0
    for k in range(len(steps)):
        step = steps[k]
        if step[KIND] == ALONG_MAPS and step[ROOM] >= 0:
            count = step[C_IN] * step[H_IN] * step[W_IN]
            memory[step[ROOM] : step[ROOM] + count] = reals[k]


@part
def fill_bytes(memory, places, scale, image):
    """Set the input to bytes, in the middle of the paper."""
    rows, columns, real = places[INPUT_ROWS], places[INPUT_COLUMNS], memory.dtype.type
    step, paper, at = real((scale[1] - scale[0]) / 255), real(scale[0]), places[INPUT_AT]
    memory[at : at + rows * columns] = paper
    at += (rows - len(image)) // 2 * columns + (columns - image.shape[1]) // 2
    for r in range(len(image)):
        for k in range(image.shape[1]):
            memory[at + r * columns + k] = real(image[r, k]) * step + paper


@part
def fill_floats(memory, places, image, first):
    """Set the input to prepared floats, which begin at `first`."""
    maps, pixels = places[INPUT_MAPS], places[INPUT_ROWS] * places[INPUT_COLUMNS]
    if places[INPUT_PLANAR] or maps == 1:
        copy_numbers(image, first, memory, places[INPUT_AT], maps * pixels)
    else:
        by_pixel(image, first, maps, pixels, memory, places[INPUT_AT])
