"""The defaults of ``lenet-fast train``: those of the library (a test compares them).

They are repeated here because the library's modules would make ``--help`` slow.
"""

import math

EPOCHS = 20
BATCH_SIZE = 32
MOMENTUM = 0.9
WEIGHT_DECAYS = {"sgd": 0.0, "adamw": 0.01}
"""By ``--optimiser``."""
RATES = {"rbf": 0.0007, "softmax": 0.01, "linear": 0.0025}
"""The first rate of SGD, by ``--output``."""
ADAMW_RATE = 0.001
"""The first rate of AdamW, for every output."""
DISTORTIONS = ("paper", "elastic")
"""Choices of ``--distort``."""
STEP, DECAY_RATE = 6, 0.4
"""The rate is multiplied by DECAY_RATE every STEP epochs, unless a rate is given."""


def rate(output: str, optimiser: str, batch_size: int) -> float:
    """Return the default first rate.

    Below BATCH_SIZE it shrinks: in proportion to the batch with SGD, to its root with AdamW.
    """
    share = min(1, batch_size / BATCH_SIZE)
    return RATES[output] * share if optimiser == "sgd" else ADAMW_RATE * math.sqrt(share)
