"""The learning rate of each step: schedules by epoch, and schedules by step.

A trainer asks a schedule for ``rate_at(step, steps, epoch)``. Steps are counted from 0 over the
whole run of `steps` steps, epochs from 1. The rate depends on nothing else, so that a resumed run
gets the same rates.

Examples
--------
>>> from lenet_fast.training import Cosine, LinearDecay, OneCycle
>>> for schedule in (LinearDecay(0.1), OneCycle(0.1), Cosine(0.1)):
...     print([round(schedule.rate_at(step, 100, epoch=1), 4) for step in (0, 15, 50, 99)])
[0.1, 0.085, 0.05, 0.001]
[0.0067, 0.1, 0.0588, 0.0012]
[0.1, 0.0946, 0.0505, 0.001]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lenet_fast import checks, choices, configs, defaults
from lenet_fast.checks import Array
from lenet_fast.losses import Loss

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_RATES",
    "LENET5_1998_RATES",
    "Constant",
    "Cosine",
    "EpochSchedule",
    "LinearDecay",
    "OneCycle",
    "RateList",
    "Schedule",
    "StepDecay",
    "default_for",
    "from_config",
    "named",
    "rates",
]

LENET5_1998_RATES = (0.0005,) * 2 + (0.0002,) * 3 + (0.0001,) * 3 + (0.00005,) * 4 + (0.00001,) * 8
"""The global rates of the 20 passes of LeCun et al. 1998, for batch size 1 with their per-weight
rates (stochastic diagonal Levenberg-Marquardt), not for plain mini-batches."""

DEFAULT_RATES = defaults.RATES
"""First rates, by loss, that train LeNet-5 well on MNIST with batch size 32 and momentum 0.9."""

DEFAULT_BATCH_SIZE = defaults.BATCH_SIZE
"""The batch size of the default rates; a smaller batch gets a smaller rate."""


class Schedule(Protocol):
    """The methods that the trainer needs of a schedule.

    A class of your own with ``rate(epoch)`` in place of ``rate_at`` is a schedule, too: its rate
    changes by epoch.

    Examples
    --------
    A schedule of your own, which halves the rate after half of the run:

    >>> class Halved:
    ...     def rate_at(self, step, steps, epoch):
    ...         return 0.1 if step < steps / 2 else 0.05
    ...     def config(self):
    ...         return {"type": "halved"}
    >>> [Halved().rate_at(step, 4, epoch=1) for step in range(4)]
    [0.1, 0.1, 0.05, 0.05]
    """

    def rate_at(self, step: int, steps: int, epoch: int) -> float:
        """Return the rate of a step.

        Parameters
        ----------
        step : int
            Steps before this one, those of earlier epochs included.
        steps : int
            Steps of the whole run.
        epoch : int
            The epoch that the step is in, the first being 1.

        Examples
        --------
        >>> from lenet_fast.training import LinearDecay, StepDecay
        >>> LinearDecay(0.1).rate_at(step=500, steps=1000, epoch=1)
        0.05
        >>> StepDecay(0.1, step=2, decay_rate=0.5).rate_at(step=500, steps=1000, epoch=3)
        0.05
        """

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`.

        Examples
        --------
        >>> from lenet_fast.training import OneCycle
        >>> OneCycle(0.1, warmup=0.25).config()
        {'type': 'one_cycle', 'rate': 0.1, 'warmup': 0.25}
        """


class EpochSchedule:
    """Base class of schedules whose rate changes by epoch only; they have ``rate(epoch)``.

    Examples
    --------
    A schedule of your own, by epoch:

    >>> from lenet_fast.training.schedules import EpochSchedule
    >>> class Inverse(EpochSchedule):
    ...     def rate(self, epoch):
    ...         return 0.1 / epoch
    >>> [Inverse().rate_at(step, 4, epoch=1 + step // 2) for step in range(4)]
    [0.1, 0.1, 0.05, 0.05]
    """

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1.

        Examples
        --------
        >>> from lenet_fast.training import StepDecay
        >>> StepDecay(0.1, step=2, decay_rate=0.5).rate(3)
        0.05
        """
        raise NotImplementedError

    def rate_at(self, step: int, steps: int, epoch: int) -> float:
        """Return the rate of a step, which is that of its epoch; see :class:`.Schedule`."""
        return self.rate(epoch)

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        raise NotImplementedError


class Constant(EpochSchedule):
    """The same rate in every epoch.

    Parameters
    ----------
    rate : float
        Above 0.

    Examples
    --------
    >>> from lenet_fast.training import Constant
    >>> Constant(0.1).rate(20)
    0.1
    """

    def __init__(self, rate: float) -> None:
        self._rate = _positive("rate", rate)

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1."""
        _check_epoch(epoch)
        return self._rate

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {"type": "constant", "rate": self._rate}

    def __repr__(self) -> str:
        return f"Constant({self._rate})"


class StepDecay(EpochSchedule):
    """A rate that is multiplied by `decay_rate` every `step` epochs.

    Parameters
    ----------
    rate : float
        Rate of the first `step` epochs.
    step : int, default 6
        Epochs between two changes.
    decay_rate : float, default 0.4
        Factor of each change, above 0; below 1 the rate falls.

    Examples
    --------
    >>> from lenet_fast.training import StepDecay
    >>> schedule = StepDecay(0.5, step=2, decay_rate=0.5)
    >>> [schedule.rate(epoch) for epoch in (1, 2, 3, 4, 5)]
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(
        self, rate: float, step: int = defaults.STEP, decay_rate: float = defaults.DECAY_RATE
    ) -> None:
        self._rate = _positive("rate", rate)
        self._step = checks.integer("step", step, 1)
        self._decay_rate = _positive("decay_rate", decay_rate)

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1."""
        _check_epoch(epoch)
        return self._rate * self._decay_rate ** ((epoch - 1) // self._step)

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {
            "type": "step_decay",
            "rate": self._rate,
            "step": self._step,
            "decay_rate": self._decay_rate,
        }

    def __repr__(self) -> str:
        return f"StepDecay({self._rate}, step={self._step}, decay_rate={self._decay_rate})"


class RateList(EpochSchedule):
    """One rate per epoch; the last rate applies to all later epochs.

    Parameters
    ----------
    rates : sequence of float, or ndarray
        At least one, each above 0.

    Examples
    --------
    >>> from lenet_fast.training import LENET5_1998_RATES, RateList
    >>> schedule = RateList([0.1, 0.05])
    >>> [schedule.rate(epoch) for epoch in (1, 2, 3)]
    [0.1, 0.05, 0.05]
    >>> RateList(LENET5_1998_RATES).rate(3)
    0.0002
    """

    def __init__(self, rates: Sequence[float]) -> None:
        if isinstance(rates, str) or not isinstance(rates, Sequence | np.ndarray):
            raise TypeError(f"rates: expected a sequence of numbers, got {checks.kind(rates)}")
        if len(rates) == 0:
            raise ValueError("rates: expected at least one rate, got none")
        self._rates = [_positive(f"rates[{i}]", rate) for i, rate in enumerate(rates)]

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1."""
        _check_epoch(epoch)
        return self._rates[min(epoch, len(self._rates)) - 1]

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {"type": "rate_list", "rates": list(self._rates)}

    def __repr__(self) -> str:
        return f"RateList({self._rates})"


class Cosine(EpochSchedule):
    """Rates that fall along half a period of a cosine: by epoch, or by step over the whole run.

    Parameters
    ----------
    rate : float
        The first rate; with a warm-up, the highest.
    epochs : int, optional
        Number of epochs of the fall, by epoch; later epochs use the last rate. Default: the rate
        changes with each step, and falls until the end of the run.
    last : float, optional
        The last rate, at most `rate`; default: a hundredth of it.
    warmup : float, default 0
        Share of the run's steps, from 0 to below 1, in which the rate first rises in proportion to
        the step. Only without `epochs`.

    Notes
    -----
    Loshchilov and Hutter 2017, "SGDR", without restarts.

    Examples
    --------
    >>> from lenet_fast.training import Cosine
    >>> schedule = Cosine(0.1, epochs=3, last=0.01)
    >>> [round(schedule.rate(epoch), 3) for epoch in (1, 2, 3, 4)]
    [0.1, 0.055, 0.01, 0.01]
    >>> schedule = Cosine(0.1, last=0.01, warmup=0.25)
    >>> [round(schedule.rate_at(step, 8, epoch=1), 3) for step in range(8)]
    [0.05, 0.1, 0.1, 0.094, 0.077, 0.055, 0.033, 0.016]
    """

    def __init__(
        self,
        rate: float,
        epochs: int | None = None,
        last: float | None = None,
        warmup: float = 0.0,
    ) -> None:
        self._rate = _positive("rate", rate)
        self._epochs = None if epochs is None else checks.integer("epochs", epochs, 1)
        self._last = self._rate / 100 if last is None else _positive("last", last)
        if self._last > self._rate:
            raise ValueError(f"last: expected at most the rate, {self._rate}, got {self._last}")
        self._warmup = checks.below_one("warmup", warmup)
        if self._epochs is not None and self._warmup:
            raise ValueError(f"warmup: expected 0 for a rate that changes by epoch, got {warmup}")

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1; ValueError if it changes by step."""
        _check_epoch(epoch)
        if self._epochs is None:
            raise ValueError(
                "rate: expected a schedule by epoch, Cosine(rate, epochs), got one by step; see "
                "rate_at"
            )
        return self._fallen(min(1, (epoch - 1) / max(1, self._epochs - 1)))

    def rate_at(self, step: int, steps: int, epoch: int) -> float:
        """Return the rate of a step; see :class:`.Schedule`."""
        if self._epochs is not None:
            return self.rate(epoch)
        rise, fall = _shares(step, steps, self._warmup)
        return rise * self._fallen(fall)

    def _fallen(self, share: float) -> float:
        return self._last + (self._rate - self._last) * (1 + math.cos(math.pi * share)) / 2

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        config = {"type": "cosine", "rate": self._rate, "last": self._last}
        if self._epochs is None:
            return config | {"warmup": self._warmup}
        return config | {"epochs": self._epochs}

    def __repr__(self) -> str:
        if self._epochs is None:
            return f"Cosine({self._rate}, last={self._last}, warmup={self._warmup})"
        return f"Cosine({self._rate}, epochs={self._epochs}, last={self._last})"


class OneCycle:
    """A rate that rises in proportion to the step, and then falls linearly to 0 by the end.

    Parameters
    ----------
    rate : float
        The highest rate.
    warmup : float, default 0.15
        Share of the run's steps, from 0 to below 1, in which the rate rises.

    Notes
    -----
    After Smith and Topin 2018, "Super-convergence", without their change of the momentum. A short
    run gains most: large rates find the way, and the fall to 0 averages the noise out.

    The first rate and the last are above 0: step k of n has the lower of the two lines that reach
    the highest rate after the share `warmup` of the steps, one from 0 before the first step, the
    other to 0 after the last.

    Examples
    --------
    >>> from lenet_fast.training import OneCycle
    >>> schedule = OneCycle(0.1, warmup=0.25)
    >>> [round(schedule.rate_at(step, 8, epoch=1), 3) for step in range(8)]
    [0.05, 0.1, 0.1, 0.083, 0.067, 0.05, 0.033, 0.017]
    """

    def __init__(self, rate: float, warmup: float = defaults.WARMUP) -> None:
        self._rate = _positive("rate", rate)
        self._warmup = checks.below_one("warmup", warmup)

    def rate_at(self, step: int, steps: int, epoch: int) -> float:
        """Return the rate of a step; see :class:`.Schedule`."""
        rise, fall = _shares(step, steps, self._warmup)
        return self._rate * rise * (1 - fall)

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {"type": "one_cycle", "rate": self._rate, "warmup": self._warmup}

    def __repr__(self) -> str:
        return f"OneCycle({self._rate}, warmup={self._warmup})"


class LinearDecay:
    """A rate that falls linearly, step by step, to 0 at the end of the run.

    Parameters
    ----------
    rate : float
        Rate of the first step.

    Examples
    --------
    >>> from lenet_fast.training import LinearDecay
    >>> schedule = LinearDecay(0.1)
    >>> [round(schedule.rate_at(step, 4, epoch=1), 3) for step in range(4)]
    [0.1, 0.075, 0.05, 0.025]
    """

    def __init__(self, rate: float) -> None:
        self._rate = _positive("rate", rate)

    def rate_at(self, step: int, steps: int, epoch: int) -> float:
        """Return the rate of a step; see :class:`.Schedule`."""
        return self._rate * (1 - _shares(step, steps, 0.0)[1])

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {"type": "linear_decay", "rate": self._rate}

    def __repr__(self) -> str:
        return f"LinearDecay({self._rate})"


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "linear_decay": LinearDecay,
    "one_cycle": OneCycle,
    "step_decay": StepDecay,
    "rate_list": RateList,
}
"""All schedules, by their names in files."""


def from_config(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule described by a :meth:`~Schedule.config`.

    Raises
    ------
    ValueError, TypeError
        If there is no such schedule, or it does not take these options.

    Examples
    --------
    >>> from lenet_fast.training import schedules
    >>> schedules.from_config({"type": "one_cycle", "rate": 0.1, "warmup": 0.25})
    OneCycle(0.1, warmup=0.25)
    """
    schedule = configs.kind_of("schedule", config, "type", SCHEDULES)
    return schedule(**{key: value for key, value in config.items() if key != "type"})


def default_for(
    loss: Loss, optimiser: choices.Optimiser = "sgd", batch_size: int = DEFAULT_BATCH_SIZE
) -> EpochSchedule:
    """Return the default schedule of a run of 20 epochs: four falling rates, or for "sdlm" those of
    the paper of 1998, which has a rate per weight.

    Parameters
    ----------
    loss : Loss
    optimiser : str
        A name in ``lenet_fast.training.OPTIMISERS``.
    batch_size : int
        Images per step. Below 32 the rate shrinks: for SGD in proportion to the batch, for the
        others to its square root. The paper's rates, for "sdlm", are for steps of one image.

    Raises
    ------
    TypeError, ValueError
        If the loss is not one of :mod:`lenet_fast.losses`, the optimiser is unknown, or the batch
        size is not a positive int.

    Examples
    --------
    >>> from lenet_fast.losses import MAP
    >>> from lenet_fast.training.schedules import default_for
    >>> default_for(MAP())
    StepDecay(0.0007, step=6, decay_rate=0.4)
    >>> default_for(MAP(), batch_size=1)  # 0.0007 / 32
    StepDecay(2.1875e-05, step=6, decay_rate=0.4)
    """
    if checks.choice("optimiser", optimiser, (*defaults.OPTIMISERS, "sdlm")) == "sdlm":
        return RateList(LENET5_1998_RATES)
    if loss.name not in DEFAULT_RATES:
        raise ValueError(f"schedule: expected one for the loss {loss.name}, got none")
    batch_size = checks.integer("batch_size", batch_size, 1)
    rate = defaults.rate(loss.name, optimiser, batch_size)
    return StepDecay(rate)


def named(
    name: str,
    loss: Loss,
    optimiser: choices.Optimiser = "sgd",
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Schedule:
    """Return the schedule of a name, at its default rates.

    Parameters
    ----------
    name : {"one_cycle", "linear_decay", "cosine", "step_decay", "constant"}
        The first three fall to about 0 by the end of the run. Their highest rate is twice (with
        "sgd" three times) the rate of the other two, which :func:`default_for` also takes.
    loss, optimiser, batch_size
        As for :func:`default_for`.

    Raises
    ------
    TypeError, ValueError
        As for :func:`default_for`; also for an optimiser without such rates, "sdlm".

    Examples
    --------
    >>> from lenet_fast.losses import MAP
    >>> from lenet_fast.training.schedules import named
    >>> named("one_cycle", MAP())
    OneCycle(0.0021, warmup=0.15)
    """
    name = checks.choice("schedule", name, defaults.SCHEDULES)
    if not isinstance(default_for(loss, optimiser, batch_size), StepDecay):
        raise ValueError(
            f"schedule: expected a rate or a schedule with the optimiser {optimiser}, got {name!r}"
        )
    return SCHEDULES[name](defaults.scheduled_rate(name, loss.name, optimiser, batch_size))


def rates(schedule: Any, epoch: int, first: int, last: int, *, batches: int, epochs: int) -> Array:
    """Return the rates of some batches of an epoch, as an engine takes them.

    Parameters
    ----------
    schedule : Schedule
        Or an object with ``rate(epoch)``.
    epoch : int
        The first is 1.
    first, last : int
        The batches are those from `first` to before `last`; 0 is the first of the epoch.
    batches, epochs : int
        Batches per epoch, and epochs of the run.

    Returns
    -------
    float64 ndarray (last - first,)

    Raises
    ------
    TypeError, ValueError
        If the schedule's rate is not a finite number, or negative.

    Examples
    --------
    >>> from lenet_fast.training.schedules import LinearDecay, StepDecay, rates
    >>> rates(LinearDecay(1.0), 2, 0, 3, batches=4, epochs=2).tolist()
    [0.5, 0.375, 0.25]
    >>> rates(StepDecay(1.0, 1, 0.5), 2, 0, 3, batches=4, epochs=2).tolist()
    [0.5, 0.5, 0.5]
    """
    if not hasattr(schedule, "rate_at"):  # a class of the user's own, by epoch
        return np.full(last - first, checks.not_negative("rate", schedule.rate(epoch)))
    before, steps = (epoch - 1) * batches, epochs * batches
    found = [schedule.rate_at(before + batch, steps, epoch) for batch in range(first, last)]
    for rate in {type(rate): rate for rate in found}.values():  # there may be thousands
        checks.not_negative("rate", rate)
    array = np.array(found, np.float64)
    for rate in array[~((array >= 0) & np.isfinite(array))][:1]:
        checks.not_negative("rate", rate)
    return array


def _shares(step: int, steps: int, warmup: float) -> tuple[float, float]:
    """Return how far the rate has risen, and how far fallen, each from 0 to 1."""
    if not (type(step) is type(steps) is int and 0 <= step < steps):  # asked for every step
        steps = checks.integer("steps", steps, 1)
        step = checks.integer("step", step, 0, steps - 1)
    warm = warmup * steps
    rise = min(1.0, (step + 1) / warm) if warm else 1.0
    return rise, max(0.0, (step - warm) / (steps - warm))


def _positive(name: str, value: object) -> float:
    return checks.positive(name, value, checks.FLOATS[1])


def _check_epoch(epoch: int) -> None:
    checks.integer("epoch", epoch, 1)
