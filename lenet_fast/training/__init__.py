"""Training: the trainer and its parts.

Examples
--------
Every part has a default, a name, or a class of its own:

>>> from lenet_fast import data, models
>>> from lenet_fast.training import OneCycle, SGD, Trainer
>>> network = models.lenet5(pooling="max", activation="relu", output="softmax")
>>> trainer = Trainer(
...     network,
...     optimiser=SGD(momentum=0.9, nesterov=True),
...     schedule=OneCycle(0.1),
...     batch_size=64,
...     distortion="paper",
... )
>>> sample = data.load("sample")
>>> history = trainer.fit(sample.train.subset(640), sample.test, epochs=2)
>>> [row.epoch for row in history.rows], trainer.optimiser.steps
([1, 2], 20)
"""

from lenet_fast.engines.ranks import RankError, Ranks
from lenet_fast.training.callbacks import Callback, EpochTable, Progress, ProgressBar
from lenet_fast.training.evaluation import Evaluation
from lenet_fast.training.history import History, Row
from lenet_fast.training.many import Trained, train_many
from lenet_fast.training.optimisers import OPTIMISERS, SDLM, SGD, Adadelta, Adam, AdamW, RMSprop
from lenet_fast.training.schedules import (
    LENET5_1998_RATES,
    Constant,
    Cosine,
    LinearDecay,
    OneCycle,
    RateList,
    StepDecay,
)
from lenet_fast.training.trainer import Trainer, TrainingDiverged, TrainingInterrupted, evaluate

__all__ = [
    "LENET5_1998_RATES",
    "OPTIMISERS",
    "SDLM",
    "SGD",
    "Adadelta",
    "Adam",
    "AdamW",
    "Callback",
    "Constant",
    "Cosine",
    "EpochTable",
    "Evaluation",
    "History",
    "LinearDecay",
    "OneCycle",
    "Progress",
    "ProgressBar",
    "RMSprop",
    "RankError",
    "Ranks",
    "RateList",
    "Row",
    "StepDecay",
    "Trained",
    "Trainer",
    "TrainingDiverged",
    "TrainingInterrupted",
    "evaluate",
    "train_many",
]
