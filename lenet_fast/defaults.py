"""Default settings of a training run.

Uses only the standard library: ``lenet-fast train --help`` imports it and should be quick.
"""

import math

EPOCHS = 20
"""Epochs of a run, as in the 1998 paper."""

BATCH_SIZE = 32
"""Images per step, for which the rates below are meant."""

MOMENTUM = 0.9
"""Momentum of SGD."""

LOSSES = {"rbf": "map", "softmax": "cross_entropy", "linear": "mean_squared_error"}
"""Losses by the network's kind of output."""

RATES = {"map": 0.0007, "penalty": 0.0007, "cross_entropy": 0.01, "mean_squared_error": 0.0025}
"""Initial rates of SGD by loss, with that momentum, with which LeNet-5 learns MNIST well."""

ADAPTIVE_RATES = {"adamw": 0.001, "adam": 0.001, "rmsprop": 0.0005, "adadelta": 1.0}
"""Initial rates of the optimisers that scale each weight's gradient, for all losses."""

OPTIMISERS = ("sgd", *ADAPTIVE_RATES)
"""Optimisers that can be selected by name. SDLM is missing: it needs settings for curvature."""

STEP, DECAY_RATE = 6, 0.4
"""The rate is multiplied by DECAY_RATE every STEP epochs."""


def rate(loss: str, optimiser: str, batch_size: int) -> float:
    """Return the default initial rate.

    Below BATCH_SIZE it is scaled with the batch size (SGD) or with its square root (others).
    """
    share = min(1, batch_size / BATCH_SIZE)
    if optimiser in ADAPTIVE_RATES:
        return ADAPTIVE_RATES[optimiser] * math.sqrt(share)
    return RATES[loss] * share
