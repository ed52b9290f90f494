"""The settings of a training that a visitor can choose, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from lenet_fast import checks, defaults, models
from lenet_fast.data import distort
from lenet_fast.network import Network
from lenet_fast.training import Constant, Cosine, LinearDecay, OneCycle, Trainer
from lenet_fast.training.schedules import Schedule

MAX_EPOCHS = 100
MAX_RATE = 10.0

_IMAGES = 100_000
"""Approximate number of images of a default training: a few seconds."""


@dataclass(frozen=True)
class _Kind:
    title: str
    outputs: tuple[str, ...]
    build: Callable[..., Network]  # takes the output and the number of classes

    def fitting(self, classes: int) -> tuple[str, ...]:
        """Return the outputs for a number of classes: the bitmaps of RBF are ten."""
        return tuple(each for each in self.outputs if each != "rbf" or classes == 10)


def _lenet1(output: str, classes: int) -> Network:
    return models.lenet1(classes=classes)


_ALL = ("rbf", "softmax", "linear")
KINDS = {
    "lenet5": _Kind("LeNet-5 (1998)", _ALL, models.lenet5),
    "lenet5-max": _Kind("LeNet-5, max pool", _ALL, partial(models.lenet5, pooling="max")),
    "lenet5-average": _Kind("LeNet-5, mean pool", _ALL, partial(models.lenet5, pooling="average")),
    "lenet4": _Kind("LeNet-4", ("linear", "softmax"), models.lenet4),
    "lenet1": _Kind("LeNet-1 (1990)", ("linear",), _lenet1),
}
"""The networks to choose from, and the outputs that each can have."""

ENGINES = {
    "auto": defaults.BATCH_SIZE,
    "lanes": defaults.BATCH_SIZE,
    "online": 1,
    "layers": defaults.BATCH_SIZE,
}
"""The engines to choose from, and the batch size with each."""


SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "cosine": Cosine,
    "one_cycle": lambda rate, epochs: OneCycle(rate),
    "linear_decay": lambda rate, epochs: LinearDecay(rate),
    "constant": lambda rate, epochs: Constant(rate),
}
"""The schedules to choose from, by rate and epochs; the cosine falls by epoch."""


@dataclass(frozen=True)
class TrainingRequest:
    """Settings of a training.

    Examples
    --------
    >>> from lenet_fast.web.training_requests import TrainingRequest
    >>> request = TrainingRequest.from_json({"model": "lenet1", "epochs": 4}, images=5_000)
    >>> request.output, request.epochs, request.schedule
    ('linear', 4, 'cosine')
    >>> request.trainer().network.counts().parameters
    2578
    """

    model: str  # one of KINDS
    output: str  # one of its outputs
    engine: Any  # one of ENGINES; "online" trains one image at a time, the others in batches
    distort: str  # "none", or one of distort.PRESETS
    epochs: int
    rate: float  # the highest
    schedule: str  # one of SCHEDULES

    @classmethod
    def from_json(cls, given: object, images: int, classes: int = 10) -> TrainingRequest:
        """Return the settings in a request; missing ones get their defaults.

        `images` and `classes` are those of the training set.

        Examples
        --------
        >>> from lenet_fast.web.training_requests import TrainingRequest
        >>> TrainingRequest.from_json({"epochs": 1000}, images=5_000)
        Traceback (most recent call last):
        ValueError: epochs: expected an int from 1 to 100, got 1000
        """
        if not isinstance(given, dict):
            raise TypeError("training: expected an object with the settings")
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"training: expected no setting {unknown[0][:40]!r}")
        model = checks.choice("model", given.get("model", "lenet5"), tuple(KINDS))
        outputs = KINDS[model].fitting(classes)
        output = checks.choice("output", given.get("output", outputs[0]), outputs)
        engine = checks.choice("engine", given.get("engine", "auto"), tuple(ENGINES))
        name = checks.choice("distort", given.get("distort", "elastic"), ("none", *distort.PRESETS))
        epochs = checks.integer(
            "epochs", given.get("epochs", default_epochs(images)), 1, MAX_EPOCHS
        )
        rate = checks.real("rate", given.get("rate", default_rate(output, engine)))
        if not 0 < rate <= MAX_RATE:
            raise ValueError(f"rate: expected more than 0, at most {MAX_RATE:g}, got {rate:g}")
        schedule = checks.choice("schedule", given.get("schedule", "cosine"), tuple(SCHEDULES))
        return cls(model, output, engine, name, epochs, rate, schedule)

    def to_json(self) -> dict[str, Any]:
        """Return the settings, and the name of the network."""
        return asdict(self) | {"title": KINDS[self.model].title}

    def trainer(self, classes: int = 10, **options: Any) -> Trainer:
        """Return a trainer with a new network; raises as :class:`Trainer` does."""
        return Trainer(
            KINDS[self.model].build(output=self.output, classes=classes),
            schedule=SCHEDULES[self.schedule](self.rate, self.epochs),
            batch_size=ENGINES[self.engine],
            distortion=distort.PRESETS.get(self.distort),
            engine=self.engine,
            **options,
        )


def default_epochs(images: int) -> int:
    """Return the default number of epochs for a training set of this size.

    Examples
    --------
    >>> from lenet_fast.web.training_requests import default_epochs
    >>> default_epochs(60_000), default_epochs(5_000), default_epochs(100)
    (3, 20, 20)
    """
    return max(3, min(20, round(_IMAGES / images)))


def default_rate(output: str, engine: str) -> float:
    """Return the default rate: that of the library, in proportion to the batch."""
    return defaults.rate(defaults.LOSSES[output], "sgd", ENGINES[engine])


def choices(images: int, classes: int = 10) -> dict[str, Any]:
    """Return the choices that the page offers for a training set, with their defaults."""
    return {
        "models": [
            {"value": key, "title": kind.title, "outputs": kind.fitting(classes)}
            for key, kind in KINDS.items()
        ],
        "engines": list(ENGINES),
        "rates": {
            output: {engine: default_rate(output, engine) for engine in ENGINES} for output in _ALL
        },
        "epochs": default_epochs(images),
        "max_epochs": MAX_EPOCHS,
        "max_rate": MAX_RATE,
    }
