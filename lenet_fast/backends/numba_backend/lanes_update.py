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
    w, state, factors = run.parameters[first:], run.state[first:], run.factors[first:]
    if run.update[RULE] == SGD:
        sgd(run.update, gradient, w, state, factors)
    elif run.update[RULE] == ADAMW:
        number = run.updates_done + item[STEP] + 1
        adamw(run.update, number, gradient, w, state, run.state[trained + first :], factors)


@part
def sgd(update, gradient, w, state, factors):
    """Change parameters by their gradient; there may be no state, and no factors."""
    size, real = gradient.size, gradient.dtype.type
    rate, momentum, decay = real(update[RATE]), real(update[MOMENTUM]), real(update[DECAY])
    for i in range(size):
        g = gradient[i] + decay * w[i]
        if len(state):
            state[i] = momentum * state[i] + g
            g = g + momentum * state[i] if update[NESTEROV] else state[i]
        w[i] -= rate * (factors[i] * g if len(factors) else g)


@part
def adamw(update, number, gradient, w, state, second, factors):
    """Change parameters by their gradient, in the step of this number, counted from 1."""
    size, real = gradient.size, gradient.dtype.type
    rate, decay, epsilon = real(update[RATE]), real(update[DECAY]), real(update[EPSILON])
    beta1, beta2 = real(update[BETA1]), real(update[BETA2])
    rest1, rest2 = real(1 - update[BETA1]), real(1 - update[BETA2])
    first_scale = real(1 / (1 - update[BETA1] ** float(number)))
    second_scale = real(1 / (1 - update[BETA2] ** float(number)))
    for i in range(size):
        g = gradient[i]
        state[i] = beta1 * state[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        step = first_scale * state[i] / (math.sqrt(second_scale * second[i]) + epsilon)
        step += decay * w[i]
        w[i] -= rate * (factors[i] * step if len(factors) else step)
