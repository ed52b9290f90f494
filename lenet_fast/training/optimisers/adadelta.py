"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.training import states
from lenet_fast.training.optimisers.base import Base


class Adadelta(Base):
    """Gradients scaled by previous changes and gradients, as PyTorch defines it.

    For each parameter w with gradient g and the mean squares s of gradients and u of changes, which
    start at zero::

        g <- g + weight_decay * w
        s <- rho * s + (1 - rho) * g^2
        d <- sqrt(u + epsilon) / sqrt(s + epsilon) * g
        u <- rho * u + (1 - rho) * d^2
        w <- w - rate * factors * d

    Parameters
    ----------
    rho : float, default 0.9
        In [0, 1): the share of the mean squares that each step keeps.
    epsilon : float, default 1e-6
        At least 1.2e-38, the smallest normal number of float32. The first changes are about as
        large as its root.
    weight_decay : float, default 0.0
        Not negative; acts on weights, coefficients and biases alike.
    factors : mapping of str to ndarray, optional
        As for :class:`SGD`.

    Attributes
    ----------
    rule : Rule
        The options: `rho` is its ``beta2``.
    steps : int
        Number of steps done.
    factors : dict of str to ndarray
        May be replaced, or changed in place, between two steps.

    Notes
    -----
    Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1, where the rate is 1. The
    changes in u contain neither the rate nor the factors. Everything is computed in the dtype of
    the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import Adadelta
    >>> w, g = {"w": np.array([1.0, 1.0])}, {"w": np.array([2.0, -0.02])}
    >>> Adadelta(rho=0.75, epsilon=1e-6).step(w, g, rate=1)
    >>> w["w"].round(3)                     # 1 - sqrt(1e-6) * (sign of g) / sqrt(0.25)
    array([0.998, 1.002])
    """

    _rule_name = "adadelta"
    _arguments: ClassVar = {"rho": "beta2", "epsilon": "epsilon", "weight_decay": "weight_decay"}

    def __init__(
        self,
        rho: float = 0.9,
        epsilon: float = 1e-6,
        weight_decay: float = 0.0,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(
            ("second_moments", "squared_changes"),
            factors,
            weight_decay=states.not_negative("weight_decay", weight_decay),
            beta2=checks.below_one("rho", rho),
            epsilon=states.divisor("epsilon", epsilon),
        )

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        rule, (s, u) = self._rule, slots
        g = gradient + rule.weight_decay * w if rule.weight_decay else gradient
        s *= rule.beta2
        s += (1 - rule.beta2) * (g * g)
        change: Array = np.sqrt(u + rule.epsilon) / np.sqrt(s + rule.epsilon) * g
        u *= rule.beta2
        u += (1 - rule.beta2) * (change * change)
        return change
