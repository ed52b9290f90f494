"""The learning rate of each epoch. Epochs are counted from 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lenet_fast import checks, configs, defaults
from lenet_fast.losses import Loss

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_RATES",
    "LENET5_1998_RATES",
    "Constant",
    "Cosine",
    "RateList",
    "Schedule",
    "StepDecay",
    "default_for",
    "from_config",
]

LENET5_1998_RATES = (0.0005,) * 2 + (0.0002,) * 3 + (0.0001,) * 3 + (0.00005,) * 4 + (0.00001,) * 8
"""The global rates of the 20 passes of LeCun et al. 1998, for batch size 1 with their per-weight
rates (stochastic diagonal Levenberg-Marquardt), not for plain mini-batches."""

DEFAULT_RATES = defaults.RATES
"""First rates, by loss, that train LeNet-5 well on MNIST with batch size 32 and momentum 0.9."""

DEFAULT_BATCH_SIZE = defaults.BATCH_SIZE
"""The batch size of the default rates; a smaller batch gets a smaller rate."""


class Schedule(Protocol):
    """The methods that the trainer needs of a schedule."""

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1."""

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""


class Constant:
    """The same rate in every epoch.

    Parameters
    ----------
    rate : float
        Above 0.

    Examples
    --------
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


class StepDecay:
    """A rate that is multiplied by `decay_rate` every `step` epochs.

    Parameters
    ----------
    rate : float
        Rate of the first `step` epochs.
    step : int
        Epochs between two changes.
    decay_rate : float
        Factor of each change, above 0; below 1 the rate falls.

    Examples
    --------
    >>> schedule = StepDecay(0.5, step=2, decay_rate=0.5)
    >>> [schedule.rate(epoch) for epoch in (1, 2, 3, 4, 5)]
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(self, rate: float, step: int, decay_rate: float) -> None:
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


class RateList:
    """One rate per epoch; the last rate applies to all later epochs.

    Parameters
    ----------
    rates : sequence of float, or ndarray
        At least one, each above 0.

    Examples
    --------
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


class Cosine:
    """Rates that fall along half a period of a cosine.

    Parameters
    ----------
    rate : float
        Rate of the first epoch.
    epochs : int
        Number of epochs of the fall; later epochs use the last rate.
    last : float, optional
        Rate of the last epoch; default: a hundredth of the first.

    Notes
    -----
    Loshchilov and Hutter 2017, "SGDR", without restarts.

    Examples
    --------
    >>> schedule = Cosine(0.1, epochs=3, last=0.01)
    >>> [round(schedule.rate(epoch), 3) for epoch in (1, 2, 3, 4)]
    [0.1, 0.055, 0.01, 0.01]
    """

    def __init__(self, rate: float, epochs: int, last: float | None = None) -> None:
        self._rate = _positive("rate", rate)
        self._epochs = checks.integer("epochs", epochs, 1)
        self._last = self._rate / 100 if last is None else _positive("last", last)

    def rate(self, epoch: int) -> float:
        """Return the rate of an epoch, the first being 1."""
        _check_epoch(epoch)
        share = min(1, (epoch - 1) / max(1, self._epochs - 1))
        return self._last + (self._rate - self._last) * (1 + math.cos(math.pi * share)) / 2

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.schedules.from_config`."""
        return {"type": "cosine", "rate": self._rate, "epochs": self._epochs, "last": self._last}

    def __repr__(self) -> str:
        return f"Cosine({self._rate}, epochs={self._epochs}, last={self._last})"


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
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
    """
    schedule = configs.kind_of("schedule", config, "type", SCHEDULES)
    return schedule(**{key: value for key, value in config.items() if key != "type"})


def default_for(
    loss: Loss, optimiser: str = "sgd", batch_size: int = DEFAULT_BATCH_SIZE
) -> Schedule:
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
    return StepDecay(rate, defaults.STEP, defaults.DECAY_RATE)


def _positive(name: str, value: object) -> float:
    return checks.positive(name, value, checks.FLOATS[1])


def _check_epoch(epoch: int) -> None:
    checks.integer("epoch", epoch, 1)
