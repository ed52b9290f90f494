"""The learning rate of each step, as a scheduler of PyTorch sets it."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lenet_fast.checks import Array
from lenet_fast.torch import tensors
from lenet_fast.torch.refusals import Beyond

_STEPS = ("batch", "epoch")
_TRIED = 10_000  # steps of a scheduler, which takes 0.1 seconds


class Schedule:
    """An optimizer's scheduler, if there is one, which makes its step after a batch or an epoch.

    TypeError or ValueError if it is no scheduler of that optimizer.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, scheduler: object, step: object, tested: bool
    ) -> None:
        self._optimizer, self._scheduler, self._step = optimizer, scheduler, step
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
        if isinstance(scheduler, ReduceLROnPlateau) and (
            step == "batch" or not tested or scheduler.mode != "min"
        ):
            raise ValueError(
                "scheduler: expected ReduceLROnPlateau with mode='min', scheduler_step='epoch' and "
                f"test=, whose loss it needs, got mode={scheduler.mode!r}, scheduler_step="
                f"{step!r} and {'a' if tested else 'no'} test"
            )

    @property
    def highest(self) -> float:
        """The highest rate of a parameter group; 0 if the optimizer has none."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups if "lr" in group]
        return max(rates, default=0.0)

    def end_batch(self) -> None:
        """Let a scheduler by batch make its step."""
        if self._step == "batch":
            assert isinstance(self._scheduler, LRScheduler)
            self._scheduler.step()

    def end_epoch(self, loss: float) -> None:
        """Step a scheduler that is stepped per epoch; `loss` is the loss on the test data."""
        if self._step == "epoch":
            if isinstance(self._scheduler, ReduceLROnPlateau):
                self._scheduler.step(loss)
            else:
                assert isinstance(self._scheduler, LRScheduler)
                self._scheduler.step()


class Rates(Schedule):
    """The rates of an optimizer: constant, or as a scheduler changes them.

    With parameter groups it is the rate of the group that had the highest at first; those of the
    others are constant shares of it.

    `steps` is the number of steps that the scheduler will make, as far as it is known. Beyond if
    one of the first 10,000 changes more than the rate, or ValueError if the first is impossible.

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
        steps: int = 1,
    ) -> None:
        super().__init__(optimizer, scheduler, step, tested)
        self._before: Any = None
        groups = optimizer.param_groups
        first = [float(group.get("initial_lr", group["lr"])) for group in groups]
        self._highest = first.index(max(first))
        highest = first[self._highest]
        self.shares = [rate / highest if highest else 1.0 for rate in first]
        self._rate()
        if scheduler is not None and not isinstance(scheduler, ReduceLROnPlateau):
            self._check(steps)

    def _check(self, steps: int) -> None:
        """Make the steps, and take them back."""
        self._take(1)
        self._restore()
        try:
            self._take(min(steps, _TRIED))
        except Beyond:
            raise
        except Exception:  # such as at its end, before which a callback may end training
            pass
        self._restore()

    def take(self, steps: int) -> Array:
        """Return the rates of the next steps, and let a scheduler by batch make these steps."""
        if self._step == "batch":
            return self._take(steps)
        return np.full(steps, self._rate())

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
        try:
            for _ in range(steps):
                rates.append(self._rate())
                self._scheduler.step()
                if self._others() != others:
                    raise Beyond(
                        "scheduler: expected one that changes only the learning rate, got one that "
                        "changes other options too, such as the momentum (cycle_momentum=False)"
                    )
        except Exception:
            self._restore()
            raise
        return np.array(rates)

    def _rate(self) -> float:
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        highest = rates[self._highest]
        for rate, share in zip(rates, self.shares, strict=True):
            if not math.isclose(rate, share * highest, rel_tol=1e-9):
                raise Beyond(
                    "scheduler: expected one that changes the lr of all parameter groups in "
                    f"proportion, got {rates}"
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
            # Schedulers write to rates that are tensors.
            {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        assert isinstance(self._scheduler, LRScheduler)
        return dict(self._scheduler.state_dict()), groups

    def _restore(self) -> None:
        assert isinstance(self._scheduler, LRScheduler)
        state, groups = self._before
        self._scheduler.load_state_dict(state)
        for group, before in zip(self._optimizer.param_groups, groups, strict=True):
            for name, value in before.items():
                if isinstance(value, torch.Tensor):
                    group[name].copy_(value)
                else:
                    group[name] = value
