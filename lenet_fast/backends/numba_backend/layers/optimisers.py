"""What becomes of the parameters: the update rules. Only `optimise` and `fused` tell them apart.

The twin of kernels/layers/optimisers.pxi.
"""

from __future__ import annotations

import math

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.program import ADAMW, SGD


@part
def fused(update):
    """Return whether a weight can be changed as soon as its gradient is known."""
    return update.rule == SGD and not update.nesterov


@part
def _sgd(update, gradient, w, state, factors):
    """Change parameters by their gradient; there may be no state, and no factors."""
    size, real = gradient.size, gradient.dtype.type
    rate, momentum, decay = real(update.rate), real(update.momentum), real(update.weight_decay)
    for i in range(size):
        g = gradient[i] + decay * w[i]
        if len(state):
            state[i] = momentum * state[i] + g
            g = g + momentum * state[i] if update.nesterov else state[i]
        w[i] -= rate * (factors[i] * g if len(factors) else g)


@part
def _adamw(update, number, gradient, w, state, second, factors):
    """Change parameters by their gradient, in the step of this number, counted from 1."""
    size, real = gradient.size, gradient.dtype.type
    rate, decay, epsilon = real(update.rate), real(update.weight_decay), real(update.epsilon)
    beta1, beta2 = real(update.beta1), real(update.beta2)
    rest1, rest2 = real(1 - update.beta1), real(1 - update.beta2)
    first_scale = real(1 / (1 - update.beta1 ** float(number)))
    second_scale = real(1 / (1 - update.beta2 ** float(number)))
    for i in range(size):
        g = gradient[i]
        state[i] = beta1 * state[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        step = first_scale * state[i] / (math.sqrt(second_scale * second[i]) + epsilon)
        step += decay * w[i]
        w[i] -= rate * (factors[i] * step if len(factors) else step)


@part
def optimise(update, number, gradient, w, first, second, factors):
    """Change parameters by their gradient, in the step of this number, counted from 1; nothing
    without a rule. `first` and `second` are what the rule remembers, empty where it does not."""
    if update.rule == SGD:
        _sgd(update, gradient, w, first, factors)
    elif update.rule == ADAMW:
        _adamw(update, number, gradient, w, first, second, factors)
