"""What a training run takes unless told otherwise.

Needs the standard library alone: ``lenet-fast train --help`` reads it, too, and is to be quick.
"""

import math

EPOCHS = 20
"""How often a run sees all images: as often as in the 1998 paper."""

BATCH_SIZE = 32
"""Images per step. The rates below are for it."""

MOMENTUM = 0.9
"""Of SGD."""

LOSSES = {"rbf": "map", "softmax": "cross_entropy", "linear": "mean_squared_error"}
"""By what a network puts out."""

RATES = {"map": 0.0007, "penalty": 0.0007, "cross_entropy": 0.01, "mean_squared_error": 0.0025}
"""By loss, first rates of SGD, with that momentum, at which LeNet-5 learns MNIST well."""

ADAPTIVE_RATES = {"adamw": 0.001, "adam": 0.001, "rmsprop": 0.0005, "adadelta": 1.0}
"""Those of the optimisers that scale each weight's gradient, whatever the loss."""

OPTIMISERS = ("sgd", *ADAPTIVE_RATES)
"""Those to choose from by name. SDLM is not: it needs the curvature, and a number for it."""

STEP, DECAY_RATE = 6, 0.4
"""How the rate falls: every so many epochs it is multiplied by this."""


def rate(loss: str, optimiser: str, batch_size: int) -> float:
    """Return the first rate of a run that names none.

    Below BATCH_SIZE it is smaller: in proportion to the batch with SGD, to its root with others.
    """
    share = min(1, batch_size / BATCH_SIZE)
    if optimiser in ADAPTIVE_RATES:
        return ADAPTIVE_RATES[optimiser] * math.sqrt(share)
    return RATES[loss] * share
