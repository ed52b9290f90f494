"""What becomes of the parameters: the update rules, and what a call says of them.

The twin of kernels/layers/optimisers.pxi.
"""

from __future__ import annotations

import math

from lenet_fast.backends.numba_backend.jit import part

# What an update holds, and its rules.
RULE, RATE, MOMENTUM, NESTEROV, DECAY, BETA1, BETA2, EPSILON = range(8)
NO_RULE, SGD, ADAMW = range(3)


@part
def fused(update):
    """Return whether a weight can be changed as soon as its gradient is known."""
    return update[RULE] == SGD and update[NESTEROV] == 0


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
