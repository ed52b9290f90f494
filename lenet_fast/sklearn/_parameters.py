"""The estimators' parameters: their other names, their ranges, and what goes with what."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from lenet_fast import backends, checks, defaults, engines, layers, models
from lenet_fast.data import Distortion
from lenet_fast.engines import Optimiser, online
from lenet_fast.training import OPTIMISERS, SGD, parts, states

OTHER_NAMES = {"epochs": "max_iter", "optimiser": "solver", "learning_rate": "learning_rate_init"}
"""Names of MLPClassifier for parameters that have one of ours, too."""

OPTIMISER = "adamw"
"""The default."""

SCHEDULES = ("cosine", "one_cycle", "linear_decay", "step_decay", "constant")

SETTLED = (
    *("model", "pooling", "activation", "output", "image_shape", "optimiser", "momentum"),
    *("nesterovs_momentum", "beta_1", "beta_2", "epsilon", "weight_decay", "dtype"),
)
"""Parameters that determine network and optimiser, and cannot change once learning has begun."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "model": ("lenet5", "lenet4", "lenet1"),
    "output": ("softmax", "rbf"),
    "optimiser": defaults.OPTIMISERS,
    "engine": engines.NAMES,
}
_MOMENTS = {"beta_1": "beta1", "beta_2": "beta2", "epsilon": "epsilon"}
_OPTIONS = {
    "sgd": {"momentum": "momentum", "nesterovs_momentum": "nesterov"},
    "adam": _MOMENTS,
    "adamw": _MOMENTS,
}
"""The arguments that parameters are of an optimiser, apart from the weight decay."""

_USED_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("pooling", "activation", "output"), ("model", ("lenet5",))),
    **{
        name: ("optimiser", tuple(rule for rule, options in _OPTIONS.items() if name in options))
        for options in _OPTIONS.values()
        for name in options
    },
    "validation_fraction": ("early_stopping", (True,)),
}
"""Parameters that apply only with some choices of another parameter."""


def value(estimator: Any, name: str) -> Any:
    """Return a parameter, given by whichever of its names; an activation as text."""
    found = getattr(estimator, name)
    if name == "activation":
        return layers.activation(name, found).text
    if name in OTHER_NAMES:
        other = getattr(estimator, OTHER_NAMES[name])
        if found is not None and other is not None and found != other:
            raise ValueError(
                f"{OTHER_NAMES[name]}: expected {found!r} or None, since it is another name of "
                f"{name}, got {other!r}"
            )
        found = other if found is None else found
    return OPTIMISER if name == "optimiser" and found is None else found


def shown(estimator: Any, name: str) -> str:
    """Return the name by which a parameter was given."""
    other = OTHER_NAMES.get(name)
    return other if other and getattr(estimator, other) is not None else name


def optimiser(estimator: Any) -> Optimiser:
    """Return a new optimiser with the options that are parameters."""
    rule = value(estimator, "optimiser")
    options = {ours: getattr(estimator, name) for name, ours in _OPTIONS.get(rule, {}).items()}
    return OPTIMISERS[rule](weight_decay=estimator.weight_decay, **options)


def stops_early(estimator: Any) -> bool:
    """Return whether a fit may stop before its last epoch."""
    given = estimator.tol, estimator.n_iter_no_change
    return bool(estimator.early_stopping) or any(each is not None for each in given)


def check(estimator: Any) -> None:
    """Raise TypeError or ValueError unless each parameter is valid and applies with the others."""
    for name, allowed in _CHOICES.items():
        checks.choice(shown(estimator, name), value(estimator, name), allowed)
    layers.activation("activation", estimator.activation)
    checks.choice_or_none("pooling", estimator.pooling, models.POOLINGS)
    if estimator.backend is not None:
        backends.get(checks.choice("backend", estimator.backend, backends.NAMES))
    _check_numbers(estimator)
    _check_schedule(estimator)
    for name in ("nesterovs_momentum", "shuffle", "early_stopping", "warm_start"):
        checks.flag(name, getattr(estimator, name))
    if not isinstance(estimator.distortion, Distortion | None):
        raise TypeError(
            f"distortion: expected a Distortion, got {checks.kind(estimator.distortion)}"
        )
    if not isinstance(estimator.verbose, (bool, np.bool_, int)):  # a level, as elsewhere
        raise TypeError(f"verbose: expected a bool, got {checks.kind(estimator.verbose)}")
    _check_random_state(estimator.random_state)
    _check_class_weight(estimator.class_weight)
    _check_used(estimator)
    if estimator.nesterovs_momentum and not estimator.momentum:
        raise ValueError("nesterovs_momentum: expected a momentum above 0 with it, got 0")


def _check_numbers(estimator: Any) -> None:
    epochs, rate = value(estimator, "epochs"), value(estimator, "learning_rate")
    if epochs is not None:
        checks.integer(shown(estimator, "epochs"), epochs, 1)
    checks.integer("batch_size", estimator.batch_size, 1)
    if estimator.engine == "online":
        online.check_batch_size(estimator.batch_size)
    if rate is not None:
        name = shown(estimator, "learning_rate")
        if isinstance(rate, str):
            raise TypeError(
                f"{name}: expected a number, got {checks.kind(rate)}; schedule= says how the rate "
                f"changes: {', '.join(SCHEDULES)}"
            )
        if checks.real(name, rate) <= 0:
            raise ValueError(f"{name}: expected a number above 0, got {rate}")
    SGD(estimator.momentum, estimator.weight_decay)
    for name in ("beta_1", "beta_2"):
        checks.below_one(name, getattr(estimator, name))
    states.divisor("epsilon", estimator.epsilon)
    if estimator.tol is not None:
        checks.not_negative("tol", estimator.tol)
    if estimator.n_iter_no_change is not None:
        checks.integer("n_iter_no_change", estimator.n_iter_no_change, 1)
    fraction = checks.below_one("validation_fraction", estimator.validation_fraction)
    if fraction == 0:
        raise ValueError("validation_fraction: expected a number above 0, got 0")


def _check_schedule(estimator: Any) -> None:
    if isinstance(estimator.schedule, (str, int, float, np.number)):  # a rate is learning_rate=
        checks.choice("schedule", estimator.schedule, SCHEDULES)
        return
    parts.schedule(estimator.schedule)
    if value(estimator, "learning_rate") is not None:
        raise ValueError(
            f"{shown(estimator, 'learning_rate')}: expected None with a schedule that has rates of "
            f"its own, {estimator.schedule!r}, got {value(estimator, 'learning_rate')}"
        )


def _check_random_state(state: object) -> None:
    try:
        check_random_state(state)
    except ValueError:
        raise ValueError(
            "random_state: expected an int from 0 to 4294967295, a RandomState or None, got "
            f"{checks.kind(state)}"
        ) from None


def _check_class_weight(weights: object) -> None:
    if isinstance(weights, dict):
        for label, weight in weights.items():
            checks.not_negative(f"class_weight[{label!r}]", weight)
    elif weights is not None and not (isinstance(weights, str) and weights == "balanced"):
        raise (ValueError if isinstance(weights, str) else TypeError)(
            f"class_weight: expected None, 'balanced', or a dict from classes to weights, got "
            f"{checks.kind(weights)}"
        )


def _check_used(estimator: Any) -> None:
    """Raise ValueError if a parameter has a value that the others leave without effect."""
    usual = {name: each.default for name, each in signature(type(estimator)).parameters.items()}
    for name, (other, values) in _USED_WITH.items():
        got, chosen = value(estimator, name), value(estimator, other)
        if chosen not in values and got != usual[name]:
            among = " or ".join(f"{each!r}" for each in values)
            raise ValueError(
                f"{name}: expected {usual[name]!r}, the default, with "
                f"{shown(estimator, other)}={chosen!r}, which ignores it, got {got!r}; it applies "
                f"with {other}={among}"
            )
