"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.training import states
from lenet_fast.training.optimisers.base import Base


class SGD(Base):
    """Stochastic gradient descent with momentum and weight decay, as PyTorch defines them.

    For each parameter w with gradient g and velocity v, which starts at zero::

        g <- g + weight_decay * w
        v <- momentum * v + g
        w <- w - rate * factors * v                      or, with nesterov,
        w <- w - rate * factors * (g + momentum * v)

    Parameters
    ----------
    momentum : float, default 0.0
        In [0, 1).
    weight_decay : float, default 0.0
        Not negative; acts on weights, coefficients and biases alike. A weight of zero with a
        gradient of zero, such as that of an absent link, stays zero.
    nesterov : bool, default False
        Whether a step looks ahead along the velocity; needs a momentum.
    factors : mapping of str to ndarray, optional
        Factors of each weight's rate: arrays by parameter name, of the parameter's shape and dtype,
        finite and not negative. They are copied. Missing parameters have the factor 1.

    Attributes
    ----------
    rule : Rule
        The options.
    steps : int
        Number of steps done.
    factors : dict of str to ndarray
        May be replaced, or changed in place, between two steps.

    Notes
    -----
    The velocity contains neither the rate nor the factors, so a new rate takes full effect from the
    next step on. Everything is computed in the dtype of the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import SGD
    >>> w, g = {"w": np.array([1.0])}, {"w": np.array([2.0])}
    >>> sgd = SGD(momentum=0.5)
    >>> sgd.step(w, g, rate=0.1)
    >>> sgd.step(w, g, rate=0.1)
    >>> w["w"]                                          # 1 - 0.1 * 2 - 0.1 * (0.5 * 2 + 2)
    array([0.5])
    """

    _rule_name = "sgd"
    _arguments: ClassVar = {name: name for name in ("momentum", "weight_decay", "nesterov")}

    def __init__(
        self,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        momentum = checks.below_one("momentum", momentum)
        if checks.flag("nesterov", nesterov) and not momentum:
            raise ValueError("nesterov: expected a momentum above 0 with it, got a momentum of 0")
        decay = states.not_negative("weight_decay", weight_decay)
        slots = ("velocities",) if momentum else ()
        options = {"momentum": momentum, "nesterov": bool(nesterov), "weight_decay": decay}
        super().__init__(slots, factors, **options)

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        rule = self._rule
        g = gradient + rule.weight_decay * w if rule.weight_decay else gradient
        for v in slots:  # the velocity, if there is a momentum
            v *= rule.momentum
            v += g
            g = g + rule.momentum * v if rule.nesterov else v
        return g
