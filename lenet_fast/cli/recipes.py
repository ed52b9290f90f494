"""How ``lenet-fast train`` trains unless told otherwise: as the library does (a test says so).

The library's own values stand in modules that would make ``--help`` slow.
"""

EPOCHS = 20
BATCH_SIZE = 64
MOMENTUM = 0.9
RATES = {"rbf": 0.001, "softmax": 0.02, "linear": 0.005}
"""The first rate for each ``--output``."""
STEP, DECAY_RATE = 7, 0.4
"""How it falls, unless a rate is given."""
