"""The input of one image: what stays between images, bytes, prepared floats."""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.program import CONVOLUTION_ALONG_MAPS


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
def set_borders(steps, memory):
    """Write what stays: zeros, and what the padding is."""
    memory[:] = 0
    for k in range(len(steps)):
        step = steps[k]
        if step.kind == CONVOLUTION_ALONG_MAPS and step.padded >= 0:
            count = step.c_in * step.h_in * step.w_in
            memory[step.padded : step.padded + count] = step.pad_value


@part
def fill_bytes(memory, input, image):
    """Set the input to bytes, in the middle of the background."""
    rows, columns, real = input.rows, input.columns, memory.dtype.type
    background, at = real(input.background), input.at
    scale = real((input.foreground - input.background) / 255)
    memory[at : at + rows * columns] = background
    at += (rows - len(image)) // 2 * columns + (columns - image.shape[1]) // 2
    for r in range(len(image)):
        for k in range(image.shape[1]):
            memory[at + r * columns + k] = real(image[r, k]) * scale + background


@part
def fill_floats(memory, input, image, first):
    """Set the input to prepared floats, which begin at `first`."""
    pixels = input.rows * input.columns
    if input.planar or input.maps == 1:
        copy_numbers(image, first, memory, input.at, input.maps * pixels)
    else:
        by_pixel(image, first, input.maps, pixels, memory, input.at)
