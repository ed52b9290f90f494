"""How ``lenet-fast train`` trains unless told otherwise: as the library does (a test says so).

The library's own values stand in modules that would make ``--help`` slow.
"""

import math

EPOCHS = 20
BATCH_SIZE = 32
MOMENTUM = 0.9
WEIGHT_DECAYS = {"sgd": 0.0, "adamw": 0.01}
"""For each ``--optimiser``."""
RATES = {"rbf": 0.0007, "softmax": 0.01, "linear": 0.0025}
"""The first rate of SGD for each ``--output``."""
ADAMW_RATE = 0.001
"""That of AdamW for all of them."""
DISTORTIONS = ("paper", "elastic")
"""For ``--distort``."""
STEP, DECAY_RATE = 6, 0.4
"""How it falls, unless a rate is given."""


def rate(output: str, optimiser: str, batch_size: int) -> float:
    """Return the first rate of a run that names none.

    Below BATCH_SIZE it is smaller, in proportion to the batch with SGD and to its root with AdamW.
    """
    share = min(1, batch_size / BATCH_SIZE)
    return RATES[output] * share if optimiser == "sgd" else ADAMW_RATE * math.sqrt(share)
