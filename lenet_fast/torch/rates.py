"""The learning rate of each step, as a scheduler of PyTorch sets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lenet_fast import checks
from lenet_fast.checks import Array


class Rates:
    """The rates of an optimizer: constant, or as a scheduler changes them after each step.

    TypeError or ValueError if it is no scheduler of that optimizer, or needs a loss.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: object) -> None:
        self._optimizer, self._scheduler = optimizer, scheduler
        self._before: Any = None
        if scheduler is None:
            return
        if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
            raise TypeError(
                "scheduler: expected one of torch.optim.lr_scheduler that needs no loss, got "
                f"{checks.kind(scheduler)}"
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError("scheduler: expected one of the optimizer, got one of another")

    def take(self, steps: int) -> Array:
        """Return the rates of the next steps, and let the scheduler make these steps."""
        scheduler = self._scheduler
        if not isinstance(scheduler, LRScheduler):
            return np.full(steps, self._rate())
        self._before = self._state()
        others = self._others()
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # else it would warn
        rates = []
        for _ in range(steps):
            rates.append(self._rate())
            scheduler.step()
            if self._others() != others:
                self._restore()
                raise ValueError(
                    "scheduler: expected one that changes only the learning rate, got one that "
                    "changes other options too, such as the momentum; pass cycle_momentum=False"
                )
        return np.array(rates)

    def undo(self, done: int) -> None:
        """Leave only this many of the steps last taken."""
        if isinstance(self._scheduler, LRScheduler):
            self._restore()
            for _ in range(done):
                self._scheduler.step()

    def _rate(self) -> float:
        rates = {float(group["lr"]) for group in self._optimizer.param_groups}
        if len(rates) > 1:
            raise ValueError(f"scheduler: expected one lr for all parameters, got {sorted(rates)}")
        return rates.pop()

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
