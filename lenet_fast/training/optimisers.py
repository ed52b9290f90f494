"""How gradients change the weights.

An optimiser keeps its own arrays (velocities, for instance), one or more a parameter, and
hands them out by name, so that a checkpoint can hold them and a resumed run goes on with the
same bits. The rate comes with each step, from a schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from lenet_fast import checks, configs
from lenet_fast.checks import Array


class Optimiser(Protocol):
    """What the trainer needs of an optimiser."""

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Change, in place, the parameters that have a gradient."""

    def state(self) -> dict[str, Array]:
        """Return the optimiser's own arrays by name; empty before the first step."""

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Take over the arrays that :meth:`state` gave, for these trainable parameters."""

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`from_config`."""


class SGD:
    """Stochastic gradient descent with momentum and weight decay, as PyTorch defines them.

    For each parameter w with gradient g and velocity v, which starts at zero::

        v <- momentum * v + (g + weight_decay * w)
        w <- w - rate * v

    Parameters
    ----------
    momentum : float, default 0.0
        In [0, 1).
    weight_decay : float, default 0.0
        Not negative; acts on weights, coefficients and biases alike. A weight of zero with a
        gradient of zero, such as that of an absent link, stays zero.

    Notes
    -----
    The velocity does not contain the rate, so a new rate acts in full from the next step on.
    Everything is computed in the dtype of the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> w, g = {"w": np.array([1.0])}, {"w": np.array([2.0])}
    >>> sgd = SGD(momentum=0.5)
    >>> sgd.step(w, g, rate=0.1)
    >>> sgd.step(w, g, rate=0.1)
    >>> w["w"]                                          # 1 - 0.1 * 2 - 0.1 * (0.5 * 2 + 2)
    array([0.5])
    """

    def __init__(self, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.momentum = checks.real("momentum", momentum)
        self.weight_decay = checks.real("weight_decay", weight_decay)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: expected a number from 0 to below 1, got {momentum}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay: expected a number not below 0, got {weight_decay}")
        self._velocities: dict[str, Array] = {}

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Change, in place, the parameters that have a gradient; leave the gradients alone."""
        for name, gradient in gradients.items():
            w = parameters[name]
            change = gradient
            if self.weight_decay:
                change = gradient + self.weight_decay * w
            if self.momentum:
                if name not in self._velocities:
                    self._velocities[name] = np.zeros_like(w)
                velocity = self._velocities[name]
                velocity *= self.momentum
                velocity += change
                change = velocity
            w -= rate * change

    def state(self) -> dict[str, Array]:
        """Return the velocities, by the names of their parameters."""
        return dict(self._velocities)

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Take over velocities that :meth:`state` gave.

        Raises
        ------
        ValueError
            If their names, shapes or dtypes are not those of the parameters.
        """
        for name, velocity in state.items():
            w = parameters.get(name)
            if w is None or w.shape != velocity.shape or w.dtype != velocity.dtype:
                raise ValueError(
                    "state: expected velocities of the shape and dtype of the parameters, "
                    f"got {velocity.dtype} of shape {velocity.shape} for {name}"
                )
        self._velocities = {name: velocity.copy() for name, velocity in state.items()}

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`from_config`."""
        return {"type": "sgd", "momentum": self.momentum, "weight_decay": self.weight_decay}

    def __repr__(self) -> str:
        return f"SGD(momentum={self.momentum}, weight_decay={self.weight_decay})"


_TYPES = {"sgd": SGD}


def from_config(config: Mapping[str, Any]) -> Optimiser:
    """Return the optimiser that a :meth:`~Optimiser.config` describes.

    Raises
    ------
    ValueError, TypeError
        If there is no such optimiser, or not with these options.
    """
    optimiser = configs.kind_of("optimiser", config, "type", _TYPES)
    return optimiser(**{key: value for key, value in config.items() if key != "type"})
