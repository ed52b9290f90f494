"""The settings of a training that a visitor can choose, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

from lenet_fast import checks, data, defaults, models
from lenet_fast.data import Splits, distort
from lenet_fast.network import Network
from lenet_fast.training import SGD, Trainer, recipes, schedules
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
    network = models.lenet1(classes=classes)
    network.reduced = True  # see _REDUCED
    return network


def _lenet1989(output: str, classes: int) -> Network:
    return models.lenet1989(classes=classes)


_MODERN: dict[str, Any] = {"pooling": "max", "activation": "relu", "connections": "full"}


_ALL = ("rbf", "softmax", "linear")
KINDS = {
    "lenet5": _Kind("LeNet-5 (1998)", _ALL, models.lenet5),
    "lenet5-max": _Kind("LeNet-5, max pool", _ALL, partial(models.lenet5, pooling="max")),
    "lenet5-average": _Kind("LeNet-5, mean pool", _ALL, partial(models.lenet5, pooling="average")),
    "lenet5-modern": _Kind(
        "LeNet-5, max pool, ReLU", ("softmax", "linear"), partial(models.lenet5, **_MODERN)
    ),
    "lenet4": _Kind("LeNet-4", ("linear", "softmax"), models.lenet4),
    "lenet1": _Kind("LeNet-1 (1990)", ("linear",), _lenet1),
    "lenet1989": _Kind("Network of 1989", ("linear",), _lenet1989),
}
"""The networks to choose from, and the outputs that each can have."""

_REDUCED: dict[str, Callable[[data.Dataset], data.Dataset]] = {
    "lenet1": data.as_1990,
    "lenet1989": data.as_1989,
}
"""The older networks read digits of 16x16, as ``lenet-fast train`` gives them."""

ENGINES = {
    "auto": defaults.BATCH_SIZE,
    "lanes": defaults.BATCH_SIZE,
    "online": 1,
    "layers": defaults.BATCH_SIZE,
}
"""The engines to choose from, and the batch size with each."""


SCHEDULES = ("cosine", "one_cycle", "linear_decay", "step_decay", "constant")
"""The schedules to choose from."""

WARMUPS = {"cosine": 0.0, "one_cycle": defaults.WARMUP}
"""Default warm-ups: the share of the steps in which the rate rises. The others have none."""

_RECIPE_MODELS = {"paper": "lenet5", "fast": "lenet5-modern", "accurate": "lenet5-modern"}

RECIPES: dict[str, dict[str, Any]] = {
    **{name: options for name, (_, options) in defaults.RECIPES.items()},
    **defaults.MODELS,
}
"""Options of ``lenet-fast train`` with ``--recipe`` or, for the older networks, ``--model``."""

DATA = ("page", "zip")
"""What to learn from: the data of the page, or the zip codes of 1989."""


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

    With a recipe, everything else has a default:

    >>> TrainingRequest.from_json({"recipe": "fast"}, images=5_000).trainer().schedule
    OneCycle(0.1, warmup=0.15)
    """

    model: str  # one of KINDS
    output: str  # one of its outputs
    engine: Any  # one of ENGINES; "online" trains one image at a time, the others in batches
    distort: str  # "none", or one of distort.PRESETS
    epochs: int
    rate: float  # the highest
    schedule: str  # one of SCHEDULES
    warmup: float  # share of the steps; 0 unless the schedule is one of WARMUPS
    recipe: str = ""  # one of RECIPES, or empty
    data: str = "page"  # one of DATA

    @classmethod
    def from_json(cls, given: object, images: int, classes: int = 10) -> TrainingRequest:
        """Return the settings in a request; missing ones get their defaults.

        `images` and `classes` are those of the training set. A recipe determines network, outputs,
        distortions and schedule.

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
        recipe = given.get("recipe", "")
        if recipe != "":
            recipe = checks.choice("recipe", recipe, tuple(RECIPES) if classes == 10 else ())
        usual = preset(recipe) if recipe else {}
        for name in usual.keys() & given.keys() & {"model", "output", "distort", "schedule"}:
            if given[name] != usual[name]:
                raise ValueError(
                    f"{name}: expected {usual[name]!r} with the recipe {recipe!r}, got "
                    f"{str(given[name])[:40]!r}"
                )
        given = usual | given
        model = checks.choice("model", given.get("model", "lenet5"), tuple(KINDS))
        outputs = KINDS[model].fitting(classes)
        output = checks.choice("output", given.get("output", outputs[0]), outputs)
        engine = checks.choice("engine", given.get("engine", "auto"), tuple(ENGINES))
        usual_distortion = "none" if model == "lenet1989" else "elastic"  # meant for 28x28
        name = checks.choice(
            "distort", given.get("distort", usual_distortion), ("none", *distort.PRESETS)
        )
        epochs = checks.integer(
            "epochs", given.get("epochs", default_epochs(images)), 1, MAX_EPOCHS
        )
        usual_rate = _recipe_rate(recipe, engine) if recipe else default_rate(output, engine)
        rate = checked_rate(given.get("rate", usual_rate))
        schedule = checks.choice("schedule", given.get("schedule", "cosine"), SCHEDULES)
        warmup = checks.below_one("warmup", given.get("warmup", WARMUPS.get(schedule, 0.0)))
        if warmup and schedule not in WARMUPS:
            raise ValueError(
                f"warmup: expected 0 with the schedule {schedule!r}, got {warmup:g}; the schedules "
                f"{' and '.join(WARMUPS)} have one"
            )
        source = checks.choice("data", given.get("data", DATA[0]), DATA)
        return cls(model, output, engine, name, epochs, rate, schedule, warmup, recipe, source)

    def to_json(self) -> dict[str, Any]:
        """Return the settings, and the name of the network."""
        return asdict(self) | {"title": KINDS[self.model].title}

    def schedule_at(self, rate: float) -> Schedule:
        """Return the schedule with another highest rate."""
        options = {"warmup": self.warmup} if self.schedule in WARMUPS else {}
        return schedules.SCHEDULES[self.schedule](rate, **options)

    @property
    def size(self) -> str:
        """The name of the size of digits that the network reads; empty: that of MNIST."""
        return self.model if self.model in _REDUCED else ""

    def fitted(self, splits: Splits) -> Splits:
        """Return data of the size that the network reads; may take seconds."""
        reduced = _REDUCED.get(self.model)
        if reduced is None or splits.train.images.shape[1:] != (28, 28):
            return splits
        return replace(splits, train=reduced(splits.train), test=reduced(splits.test))

    def trainer(self, classes: int = 10, **options: Any) -> Trainer:
        """Return a trainer with a new network; raises as :class:`Trainer` does."""
        schedule = self.schedule_at(self.rate)
        if self.recipe in recipes.RECIPES:
            size = {"batch_size": 1} if self.engine == "online" else {}
            return recipes.named(self.recipe).trainer(
                schedule=schedule, engine=self.engine, **size, **options
            )
        optimiser = None
        if self.recipe:
            chosen = RECIPES[self.recipe]
            make = getattr(models, self.model)
            names = signature(make).parameters.keys() & chosen.keys()
            network = make(**{name: chosen[name] for name in names})
            network.reduced = self.model == "lenet1"
            optimiser = SGD(defaults.MOMENTUM, nesterov=ENGINES[self.engine] > 1)
        else:
            network = KINDS[self.model].build(output=self.output, classes=classes)
        return Trainer(
            network,
            optimiser=optimiser,
            schedule=schedule,
            batch_size=ENGINES[self.engine],
            distortion=distort.PRESETS.get(self.distort),
            engine=self.engine,
            **options,
        )


def checked_rate(rate: object) -> float:
    """Return a rate; TypeError or ValueError if it is none, or too large.

    Examples
    --------
    >>> from lenet_fast.web.training_requests import checked_rate
    >>> checked_rate(0.1)
    0.1
    """
    found = checks.real("rate", rate)
    if not 0 < found <= MAX_RATE:
        raise ValueError(f"rate: expected more than 0, at most {MAX_RATE:g}, got {found:g}")
    return found


def preset(recipe: str) -> dict[str, Any]:
    """Return the settings of a recipe, with the engine "auto".

    Examples
    --------
    >>> from lenet_fast.web.training_requests import preset
    >>> preset("accurate")["distort"], preset("lenet1989")["epochs"]
    ('elastic', 12)
    """
    options = RECIPES[recipe]
    return {
        "model": _RECIPE_MODELS.get(recipe, recipe),
        "output": options["output"],
        "distort": options["distort"] or "none",
        "schedule": options["schedule"],
        "warmup": options["warmup"],
        "epochs": options["epochs"],
    }


def _recipe_rate(recipe: str, engine: str) -> float:
    options = RECIPES[recipe]
    size = options["batch_size"]
    return defaults.recipe_rate(options, 1 if engine == "online" else size)


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
        "schedules": SCHEDULES,
        "warmups": WARMUPS,
        "recipes": [
            {
                "value": recipe,
                **preset(recipe),
                "rates": {engine: _recipe_rate(recipe, engine) for engine in ENGINES},
            }
            for recipe in (RECIPES if classes == 10 else ())
        ],
        "rates": {
            output: {engine: default_rate(output, engine) for engine in ENGINES} for output in _ALL
        },
        "epochs": default_epochs(images),
        "max_epochs": MAX_EPOCHS,
        "max_rate": MAX_RATE,
    }
