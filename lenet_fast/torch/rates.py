"""The learning rate of each step, as a scheduler of PyTorch sets it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lenet_fast.checks import Array
from lenet_fast.torch import tensors

_STEPS = ("batch", "epoch")


class Rates:
    """The rates of an optimizer: constant, or as a scheduler changes them.

    With parameter groups it is the rate of the group that had the highest at first; those of the
    others are constant shares of it.

    TypeError or ValueError if it is no scheduler of that optimizer, or changes something else.

    Attributes
    ----------
    shares : list of float
        The rate of each parameter group, divided by that of this object.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler: object,
        step: object,
        tested: bool,
    ) -> None:
        self._optimizer, self._scheduler, self._step = optimizer, scheduler, step
        self._before: Any = None
        groups = optimizer.param_groups
        first = [float(group.get("initial_lr", group["lr"])) for group in groups]
        self._highest = first.index(max(first))
        highest = first[self._highest]
        self.shares = [rate / highest if highest else 1.0 for rate in first]
        self._rate()
        if scheduler is None:
            if step is not None:
                raise ValueError(f"scheduler_step: expected None without a scheduler, got {step!r}")
            return
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(
                "scheduler: expected one of torch.optim.lr_scheduler, got "
                f"{tensors.kind(scheduler)}"
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError("scheduler: expected one of the optimizer, got one of another")
        if step not in _STEPS:
            raise ValueError(
                "scheduler_step: expected 'batch' or 'epoch', after which the scheduler makes a "
                f"step, got {step!r}"
            )
        self._check(scheduler, tested)

    def _check(self, scheduler: LRScheduler, tested: bool) -> None:
        """Raise ValueError if the next step is impossible, or changes more than rates."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            self._take(1)
            self._restore()
        elif self._step == "batch" or not tested or scheduler.mode != "min":
            raise ValueError(
                "scheduler: expected ReduceLROnPlateau with mode='min', scheduler_step='epoch' and "
                f"test=, whose loss it needs, got mode={scheduler.mode!r}, scheduler_step="
                f"{self._step!r} and {'a' if tested else 'no'} test"
            )

    def take(self, steps: int) -> Array:
        """Return the rates of the next steps, and let a scheduler by batch make these steps."""
        if self._step == "batch":
            return self._take(steps)
        return np.full(steps, self._rate())

    def end_epoch(self, loss: float) -> None:
        """Let a scheduler by epoch make its step; the loss is that of the test data."""
        if self._step == "epoch":
            if isinstance(self._scheduler, ReduceLROnPlateau):
                self._scheduler.step(loss)
            else:
                self._take(1)

    def undo(self, done: int) -> None:
        """Leave only this many of the steps last taken."""
        if self._step == "batch":
            assert isinstance(self._scheduler, LRScheduler)
            self._restore()
            for _ in range(done):
                self._scheduler.step()

    def _take(self, steps: int) -> Array:
        assert isinstance(self._scheduler, LRScheduler)
        self._before = self._state()
        others = self._others()
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # else it would warn
        rates = []
        for _ in range(steps):
            rates.append(self._rate())
            self._scheduler.step()
            if self._others() != others:
                self._restore()
                raise ValueError(
                    "scheduler: expected one that changes only the learning rate, got one that "
                    "changes other options too, such as the momentum; pass cycle_momentum=False, "
                    "or use lenet_fast.torch.wrap"
                )
        return np.array(rates)

    def _rate(self) -> float:
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        highest = rates[self._highest]
        for rate, share in zip(rates, self.shares, strict=True):
            if not math.isclose(rate, share * highest, rel_tol=1e-9):
                raise ValueError(
                    "scheduler: expected one that changes the lr of all parameter groups in "
                    f"proportion, got {rates}; lenet_fast.torch.wrap takes any"
                )
        return highest

    def _others(self) -> list[dict[str, Any]]:
        """Return the options that no scheduler may change."""
        return [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in self._optimizer.param_groups
        ]

    def _state(self) -> Any:
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        assert isinstance(self._scheduler, LRScheduler)
        return dict(self._scheduler.state_dict()), groups

    def _restore(self) -> None:
        assert isinstance(self._scheduler, LRScheduler)
        state, groups = self._before
        self._scheduler.load_state_dict(state)
        for group, before in zip(self._optimizer.param_groups, groups, strict=True):
            group.update(before)
