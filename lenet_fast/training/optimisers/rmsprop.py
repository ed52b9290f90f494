"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.training import states
from lenet_fast.training.optimisers.base import Base


class RMSprop(Base):
    """Gradients divided by the root of their mean square, as PyTorch defines it.

    For each parameter w with gradient g, mean square s and velocity v, which start at zero::

        g <- g + weight_decay * w
        s <- alpha * s + (1 - alpha) * g^2
        v <- momentum * v + g / (sqrt(s) + epsilon)
        w <- w - rate * factors * v

    With `centered`, the root is that of s - m^2, where the mean m also starts at zero::

        m <- alpha * m + (1 - alpha) * g

    Parameters
    ----------
    alpha : float, default 0.99
        In [0, 1): the share of the mean square, and of the mean, that each step keeps.
    epsilon : float, default 1e-8
        As for :class:`AdamW`.
    momentum : float, default 0.0
        In [0, 1).
    centered : bool, default False
        Whether to divide gradients by the root of their variance instead of their mean square;
        needs an alpha above 0.
    weight_decay : float, default 0.0
        Not negative; acts on weights, coefficients and biases alike.
    factors : mapping of str to ndarray, optional
        As for :class:`SGD`.

    Attributes
    ----------
    rule : Rule
        The options: `alpha` is its ``beta2``, and with `centered` its ``beta1``, too.
    steps : int
        Number of steps done.
    factors : dict of str to ndarray
        May be replaced, or changed in place, between two steps.

    Notes
    -----
    Tieleman and Hinton 2012, "Neural networks for machine learning", lecture 6e; centered by Graves
    2013, "Generating sequences with recurrent neural networks", who has epsilon inside the root.
    Where rounding makes the variance negative, it counts as 0; PyTorch's root is NaN there. The
    velocity contains neither the rate nor the factors. Everything is computed in the dtype of the
    parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import RMSprop
    >>> w, g = {"w": np.array([1.0, 1.0])}, {"w": np.array([2.0, -0.02])}
    >>> RMSprop(alpha=0.75).step(w, g, rate=0.1)
    >>> w["w"].round(6)                     # 1 - 0.1 * (sign of g) / sqrt(0.25)
    array([0.8, 1.2])
    """

    _rule_name = "rmsprop"
    _arguments: ClassVar = {
        "alpha": "beta2",
        **{name: name for name in ("epsilon", "momentum", "weight_decay")},
    }

    def __init__(
        self,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        alpha, momentum = checks.below_one("alpha", alpha), checks.below_one("momentum", momentum)
        if checks.flag("centered", centered) and not alpha:
            raise ValueError("centered: expected an alpha above 0 with it, got an alpha of 0")
        slots = ["second_moments"]
        if momentum:
            slots.append("velocities")
        if centered:
            slots.append("first_moments")
        super().__init__(
            tuple(slots),
            factors,
            momentum=momentum,
            weight_decay=states.not_negative("weight_decay", weight_decay),
            beta1=alpha if centered else 0.0,
            beta2=alpha,
            epsilon=states.divisor("epsilon", epsilon),
        )

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        rule, (s, *others) = self._rule, slots
        g = gradient + rule.weight_decay * w if rule.weight_decay else gradient
        s *= rule.beta2
        s += (1 - rule.beta2) * (g * g)
        spread = s
        if rule.beta1:
            m = others.pop()
            m *= rule.beta1
            m += (1 - rule.beta1) * g
            spread = np.maximum(s - m * m, 0)
        change: Array = g / (np.sqrt(spread) + rule.epsilon)
        for v in others:  # the velocity, if there is a momentum
            v *= rule.momentum
            v += change
            change = v
        return change

    def _options(self) -> dict[str, Any]:
        return super()._options() | ({"centered": True} if self._rule.beta1 else {})
