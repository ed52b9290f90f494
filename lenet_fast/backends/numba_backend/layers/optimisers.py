"""The update rules. Only `optimise` and `fused` distinguish them.

The twin of kernels/layers/optimisers.pxi.
"""

from __future__ import annotations

import math

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.program import (
    ADADELTA,
    ADAM,
    ADAMW,
    NO_RULE,
    RMSPROP,
    SGD,
)

RULES = (NO_RULE, SGD, ADAMW, ADAM, RMSPROP, ADADELTA)


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
def _adam(update, number, gradient, w, first, second, factors):
    """Change parameters by their gradient, in the step of this number, counted from 1."""
    size, real, decoupled = gradient.size, gradient.dtype.type, update.rule == ADAMW
    rate, decay, epsilon = real(update.rate), real(update.weight_decay), real(update.epsilon)
    beta1, beta2 = real(update.beta1), real(update.beta2)
    rest1, rest2 = real(1 - update.beta1), real(1 - update.beta2)
    first_scale = real(1 / (1 - update.beta1 ** float(number)))
    second_scale = real(1 / (1 - update.beta2 ** float(number)))
    for i in range(size):
        g = gradient[i]
        if not decoupled:
            g += decay * w[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        change = first_scale * first[i] / (math.sqrt(second_scale * second[i]) + epsilon)
        if decoupled:
            change += decay * w[i]
        w[i] -= rate * (factors[i] * change if len(factors) else change)


@part
def _rmsprop(update, gradient, w, state, apart, factors):
    size, real = gradient.size, gradient.dtype.type
    rate, decay, epsilon = real(update.rate), real(update.weight_decay), real(update.epsilon)
    beta1, beta2, momentum = real(update.beta1), real(update.beta2), real(update.momentum)
    rest1, rest2 = real(1 - update.beta1), real(1 - update.beta2)
    heavy, centered = update.momentum > 0, update.beta1 > 0
    velocity, means = state[apart:], state[(2 if heavy else 1) * apart :]
    for i in range(size):
        g = gradient[i] + decay * w[i]
        state[i] = beta2 * state[i] + rest2 * g * g
        spread = state[i]
        if centered:
            means[i] = beta1 * means[i] + rest1 * g
            spread -= means[i] * means[i]
            spread = real(0) if spread < 0 else spread  # by rounding
        change = g / (math.sqrt(spread) + epsilon)
        if heavy:
            velocity[i] = momentum * velocity[i] + change
            change = velocity[i]
        w[i] -= rate * (factors[i] * change if len(factors) else change)


@part
def _adadelta(update, gradient, w, squares, changes, factors):
    size, real = gradient.size, gradient.dtype.type
    rate, decay, epsilon = real(update.rate), real(update.weight_decay), real(update.epsilon)
    beta2, rest2 = real(update.beta2), real(1 - update.beta2)
    for i in range(size):
        g = gradient[i] + decay * w[i]
        squares[i] = beta2 * squares[i] + rest2 * g * g
        change = math.sqrt(changes[i] + epsilon) / math.sqrt(squares[i] + epsilon) * g
        changes[i] = beta2 * changes[i] + rest2 * change * change
        w[i] -= rate * (factors[i] * change if len(factors) else change)


@part
def optimise_at_once(update, gradient, w, state, factors):
    """Change parameters by their gradient if the rule is `fused`, and else do nothing.

    The code of the other rules would be compiled at each place that calls `optimise`.
    """
    if fused(update):
        _sgd(update, gradient, w, state, factors)


@part
def optimise(update, number, gradient, w, state, apart, factors):
    """Change parameters by their gradient, in the step of this number, counted from 1; nothing
    without a rule. `state` begins with the first of the arrays that the rule keeps, and is empty
    where it keeps none; each of the others begins `apart` numbers behind the one before."""
    if update.rule == SGD:
        _sgd(update, gradient, w, state, factors)
    elif update.rule in (ADAMW, ADAM):
        _adam(update, number, gradient, w, state, state[apart:], factors)
    elif update.rule == RMSPROP:
        _rmsprop(update, gradient, w, state, apart, factors)
    elif update.rule == ADADELTA:
        _adadelta(update, gradient, w, state, state[apart:], factors)
