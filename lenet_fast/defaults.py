"""Default settings of a training run.

Uses only the standard library: ``lenet-fast train --help`` imports it and should be quick.
"""

import math
from typing import Any, get_args

from lenet_fast import choices

EPOCHS = 20
"""Epochs of a :class:`~lenet_fast.training.Trainer`, as in the 1998 paper."""

BATCH_SIZE = 32
"""Images per step, for which the rates below are meant."""

MOMENTUM = 0.9
"""Momentum of SGD."""

MU = {"map": 1.0, "penalty": 1.0, "cross_entropy": 0.1, "mean_squared_error": 0.1}
"""``mu`` of SDLM by loss: LeNet-5 with the MAP criterion diverges with the paper's 0.02."""

LOSSES = {"rbf": "map", "softmax": "cross_entropy", "linear": "mean_squared_error"}
"""Losses by the network's kind of output."""

RATES = {"map": 0.0007, "penalty": 0.0007, "cross_entropy": 0.01, "mean_squared_error": 0.0025}
"""Initial rates of SGD by loss, with that momentum, with which LeNet-5 learns MNIST well."""

ADAPTIVE_RATES = {"adamw": 0.001, "adam": 0.001, "rmsprop": 0.0005, "adadelta": 1.0}
"""Initial rates of the optimisers that scale each weight's gradient, for all losses."""

OPTIMISERS = ("sgd", *ADAPTIVE_RATES)
"""Optimisers that need no settings. SDLM is missing: see MU."""

STEP, DECAY_RATE = 6, 0.4
"""The rate is multiplied by DECAY_RATE every STEP epochs."""

SCHEDULES = get_args(choices.Schedule)
"""Schedules that can be selected by name."""

BY_EPOCH = ("step_decay", "constant")
"""Those of them that begin with their highest rate; the others fall to about 0 by the end."""

WARMUP = 0.15
"""Share of the steps in which the rate of one cycle rises."""

PEAKS = {"sgd": 3}
"""Factor of the initial rate for schedules that fall to about 0, by optimiser; for others 2."""

_SGD = {
    "optimiser": "sgd",
    "momentum": MOMENTUM,
    "nesterov": True,
    "weight_decay": 0.0,
    "batch_size": BATCH_SIZE,
    "schedule": "one_cycle",
    "warmup": 0.3,
    "distort": None,
}

_MODERN = {
    **_SGD,
    "pooling": "max",
    "connections": "full",
    "output": "softmax",
    "activation": "relu",
    "weight_decay": 5e-4,
    "batch_size": 64,
    "rate": 0.1,
    "warmup": WARMUP,
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": (
        "the network of 1998, to 98.9 % in 6 epochs",
        {
            **_SGD,
            "pooling": "subsample",
            "connections": "table",
            "output": "rbf",
            "activation": "scaled_tanh",
            "rate": 0.0028,
            "epochs": 6,
        },
    ),
    "fast": ("99.0 % in the least time, 2 epochs", {**_MODERN, "epochs": 2}),
    "accurate": (
        "99.5 % with distorted digits, 14 epochs",
        {**_MODERN, "distort": "elastic", "epochs": 14},
    ),
}
"""Purpose and options of the recipes of :mod:`lenet_fast.training.recipes`."""

_OLDER = {**_SGD, "rate": 0.015, "initialiser": "eblearn"}

MODELS: dict[str, dict[str, Any]] = {
    "lenet4": {**_OLDER, "connections": "table", "output": "linear", "epochs": 6},
    "lenet1": {**_OLDER, "output": "linear", "epochs": 12},
    "lenet1989": {**_OLDER, "activation": "scaled_tanh", "output": "linear", "epochs": 12},
}
"""Options of ``lenet-fast train`` for the networks besides LeNet-5, chosen like those of the
recipes: on the last 5,000 training images."""


def rate(loss: str, optimiser: str, batch_size: int) -> float:
    """Return the default initial rate.

    Below BATCH_SIZE it is scaled with the batch size (SGD) or with its square root (others).

    Examples
    --------
    >>> from lenet_fast import defaults
    >>> defaults.rate("cross_entropy", "sgd", 32), defaults.rate("cross_entropy", "sgd", 8)
    (0.01, 0.0025)
    >>> defaults.rate("cross_entropy", "adamw", 8)  # half, for a quarter of the images
    0.0005
    """
    share = min(1, batch_size / BATCH_SIZE)
    if optimiser in ADAPTIVE_RATES:
        return ADAPTIVE_RATES[optimiser] * math.sqrt(share)
    return RATES[loss] * share


def peak(loss: str, optimiser: str, batch_size: int) -> float:
    """Return the default highest rate of a schedule that falls to about 0 by the end.

    Examples
    --------
    >>> from lenet_fast import defaults
    >>> defaults.peak("cross_entropy", "sgd", 32), defaults.peak("cross_entropy", "adamw", 32)
    (0.03, 0.002)
    """
    return PEAKS.get(optimiser, 2) * rate(loss, optimiser, batch_size)


def scheduled_rate(schedule: str, loss: str, optimiser: str, batch_size: int) -> float:
    """Return the default rate of a schedule by name: the initial one if it goes by epoch, or else
    the highest.

    Examples
    --------
    >>> from lenet_fast import defaults
    >>> [defaults.scheduled_rate(name, "map", "sgd", 32) for name in ("constant", "one_cycle")]
    [0.0007, 0.0021]
    """
    return (rate if schedule in BY_EPOCH else peak)(loss, optimiser, batch_size)


def recipe_rate(options: dict[str, Any], batch_size: int) -> float:
    """Return the highest rate of a recipe: in proportion to batches smaller than its own.

    Examples
    --------
    >>> from lenet_fast import defaults
    >>> defaults.recipe_rate({"rate": 0.1, "batch_size": 64}, 16)
    0.025
    """
    highest: float = options["rate"] * min(1, batch_size / options["batch_size"])
    return highest
