"""Adam, with weight decay in the gradient or decoupled from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.training import states
from lenet_fast.training.optimisers.base import Base


class _Moments(Base):
    """Shared by Adam and AdamW."""

    _arguments: ClassVar = {name: name for name in ("beta1", "beta2", "epsilon", "weight_decay")}

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(
            ("first_moments", "second_moments"),
            factors,
            weight_decay=states.not_negative("weight_decay", weight_decay),
            beta1=checks.below_one("beta1", beta1),
            beta2=checks.below_one("beta2", beta2),
            epsilon=states.divisor("epsilon", epsilon),
        )

    def _quotient(self, gradient: Array, slots: list[Array]) -> Array:
        """Return the mean gradient divided by the root of the mean square."""
        rule, t = self._rule, self._steps
        m, v = slots
        m *= rule.beta1
        m += (1 - rule.beta1) * gradient
        v *= rule.beta2
        v += (1 - rule.beta2) * (gradient * gradient)
        root = v / (1 - rule.beta2**t)
        np.sqrt(root, out=root)
        root += rule.epsilon
        quotient: Array = m / (1 - rule.beta1**t)
        quotient /= root
        return quotient


class Adam(_Moments):
    """Adam, with weight decay in the gradient, as PyTorch defines it.

    For each parameter w with gradient g and moments m and v, which start at zero, at step t,
    the first being 1::

        g <- g + weight_decay * w
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        w <- w - rate * factors * m' / (sqrt(v') + epsilon)

    with m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t).

    Parameters
    ----------
    beta1, beta2, epsilon, factors
        As for :class:`AdamW`.
    weight_decay : float, default 0.0
        Not negative; acts on weights, coefficients and biases alike. It is part of the gradient, so
        a weight with large gradients decays less; with :class:`AdamW` all decay alike.

    Attributes
    ----------
    rule : Rule
        The options.
    steps : int
        Number of steps done, t of the last one. It is one number for all parameters.
    factors : dict of str to ndarray
        May be replaced, or changed in place, between two steps.

    Notes
    -----
    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1. Everything is
    computed in the dtype of the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import Adam
    >>> w, g = {"w": np.array([1.0, 1.0])}, {"w": np.array([2.0, -0.02])}
    >>> Adam(weight_decay=0.5).step(w, g, rate=0.1)
    >>> w["w"].round(6)                     # 1 - 0.1 * sign(g + 0.5 * 1)
    array([0.9, 0.9])
    """

    _rule_name = "adam"

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        decay = self._rule.weight_decay
        return self._quotient(gradient + decay * w if decay else gradient, slots)


class AdamW(_Moments):
    """Adam with decoupled weight decay, as PyTorch defines it.

    For each parameter w with gradient g and moments m and v, which start at zero, at step t,
    the first being 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        w <- w - rate * factors * (m' / (sqrt(v') + epsilon) + weight_decay * w)

    with m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t).

    Parameters
    ----------
    beta1, beta2 : float, default 0.9 and 0.999
        In [0, 1): the share of the mean gradient and of the mean square that each step keeps.
    epsilon : float, default 1e-8
        At least 1.2e-38, the smallest normal number of float32. A weight of zero with a gradient
        of zero, such as that of an absent link, stays zero.
    weight_decay : float, default 0.01
        Not negative; acts on weights, coefficients and biases alike.
    factors : mapping of str to ndarray, optional
        As for :class:`SGD`.

    Attributes
    ----------
    rule : Rule
        The options.
    steps : int
        Number of steps done, t of the last one. It is one number for all parameters.
    factors : dict of str to ndarray
        May be replaced, or changed in place, between two steps.

    Notes
    -----
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the
    rate instead of alpha times the schedule multiplier, and applied to the decay as well, as in
    PyTorch. Moments and bias correction are those of Kingma and Ba 2015. Everything is computed
    in the dtype of the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import AdamW
    >>> w, g = {"w": np.array([1.0, 1.0])}, {"w": np.array([2.0, -0.02])}
    >>> AdamW(weight_decay=0.5).step(w, g, rate=0.1)
    >>> w["w"].round(6)                      # 1 - 0.1 * (sign of g) - 0.1 * 0.5 * 1
    array([0.85, 1.05])
    """

    _rule_name = "adamw"

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(beta1, beta2, epsilon, weight_decay, factors)

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        change = self._quotient(gradient, slots)
        if self._rule.weight_decay:
            change += self._rule.weight_decay * w
        return change
