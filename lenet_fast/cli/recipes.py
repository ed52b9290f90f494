"""How ``lenet-fast train`` trains unless told otherwise: as the library does (a test says so).

The library's own values stand in modules that would make ``--help`` slow.
"""

EPOCHS = 20
BATCH_SIZE = 32
MOMENTUM = 0.9
WEIGHT_DECAYS = {"sgd": 0.0, "adamw": 0.01}
"""For each ``--optimiser``."""
RATES = {"rbf": 0.0007, "softmax": 0.01, "linear": 0.0025}
"""The first rate of SGD for each ``--output``."""
ADAMW_RATE = 0.001
"""That of AdamW for all of them."""
STEP, DECAY_RATE = 6, 0.4
"""How it falls, unless a rate is given."""
