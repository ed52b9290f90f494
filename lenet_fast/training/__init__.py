"""Training: the trainer and its parts."""

from lenet_fast.training.callbacks import Callback, EpochTable, Progress, ProgressBar
from lenet_fast.training.evaluation import Evaluation
from lenet_fast.training.history import History, Row
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
    "RateList",
    "Row",
    "StepDecay",
    "Trainer",
    "TrainingDiverged",
    "TrainingInterrupted",
    "evaluate",
]
