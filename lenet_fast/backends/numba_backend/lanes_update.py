"""What an optimiser does to a piece of the parameters: see update_item in lanes_engine.pyx."""

from __future__ import annotations

import math

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.lanes_plan import (
    ADAMW,
    BETA1,
    BETA2,
    BLOCK,
    DECAY,
    EPSILON,
    FIRST,
    IMAGES,
    LAST,
    MOMENTUM,
    NESTEROV,
    RATE,
    RULE,
    SGD,
    STEP,
)


@part
def update_item(run, item):
    """Add the gradients of all blocks, in their order, and change the parameters by the mean."""
    first, last, trained = item[FIRST], item[LAST], run.trained
    gradient = run.gradients[first:last]
    real = gradient.dtype.type
    for block in range(1, item[BLOCK]):
        other = run.gradients[block * trained + first : block * trained + last]
        for i in range(gradient.size):
            gradient[i] += other[i]
    share = real(1.0 / item[IMAGES])
    for i in range(gradient.size):
        gradient[i] *= share
    if run.update[RULE] == SGD:
        _sgd(run, gradient, first)
    elif run.update[RULE] == ADAMW:
        _adamw(run, gradient, first, run.updates_done + item[STEP] + 1)


@part
def _sgd(run, gradient, first):
    update, size, real = run.update, gradient.size, gradient.dtype.type
    rate, momentum, decay = real(update[RATE]), real(update[MOMENTUM]), real(update[DECAY])
    w, state, factors = run.parameters[first:], run.state[first:], run.factors[first:]
    for i in range(size):
        g = gradient[i] + decay * w[i]
        if len(run.state):
            state[i] = momentum * state[i] + g
            g = g + momentum * state[i] if update[NESTEROV] else state[i]
        w[i] -= rate * (factors[i] * g if len(run.factors) else g)


@part
def _adamw(run, gradient, first, number):
    update, size, real = run.update, gradient.size, gradient.dtype.type
    rate, decay, epsilon = real(update[RATE]), real(update[DECAY]), real(update[EPSILON])
    beta1, beta2 = real(update[BETA1]), real(update[BETA2])
    rest1, rest2 = real(1 - update[BETA1]), real(1 - update[BETA2])
    first_scale = real(1 / (1 - update[BETA1] ** float(number)))
    second_scale = real(1 / (1 - update[BETA2] ** float(number)))
    w, factors = run.parameters[first:], run.factors[first:]
    state, second = run.state[first:], run.state[run.trained + first :]
    for i in range(size):
        g = gradient[i]
        state[i] = beta1 * state[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        step = first_scale * state[i] / (math.sqrt(second_scale * second[i]) + epsilon)
        step += decay * w[i]
        w[i] -= rate * (factors[i] * step if len(run.factors) else step)
