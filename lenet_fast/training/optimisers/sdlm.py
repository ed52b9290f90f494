"""Stochastic gradient descent at rates that follow the curvature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.training import states
from lenet_fast.training.optimisers.sgd import SGD


class SDLM(SGD):
    """Stochastic gradient descent at rates that follow the curvature, one rate per weight.

    Before each epoch the diagonal h of the Hessian is estimated as the mean over the first images
    of the epoch's order. For each weight w with gradient g, the steps of the epoch are::

        w <- w - rate / (mu + h) * g

    Parameters
    ----------
    mu : float
        Above 0. Without curvature, the rate is divided by it. The paper's value is 0.02. With it,
        LeNet-4 with squared errors learns well at the paper's rates, but LeNet-5 with the MAP
        criterion, as implemented here, diverges in the second epoch, because units saturate and
        most rates become the largest one; it learns with `gamma` 0.1, and well with mu = 1.
    patterns : int, default 500
        Number of images for the estimate of h.
    gamma : float, default 1
        Share of the new estimate in a moving average, above 0: h becomes (1 - gamma) h + gamma
        times the estimate. With 1, as in the paper of 1998, previous estimates are discarded.
    momentum : float, default 0
        As for :class:`SGD`, for mini-batches; the paper uses none.
    factors : mapping of str to ndarray, optional
        As for :class:`SGD`; used until the first estimate.

    Attributes
    ----------
    rule : Rule
        That of plain SGD.
    steps : int
        Number of steps done.
    factors : dict of str to ndarray
        1 / (mu + h) of the last estimate.
    curvature_images : int
        `patterns`.

    Notes
    -----
    LeCun et al. 1998, section II.C and appendix C: "stochastic diagonal Levenberg-Marquardt". The
    paper's steps are of single images. The moving average is that of LeCun, Bottou, Orr and
    Mueller 1998, "Efficient BackProp".

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import SDLM
    >>> sdlm = SDLM(mu=0.5)
    >>> sdlm.follow({"w": np.array([0.0, 1.5])})
    >>> sdlm.factors["w"]
    array([2. , 0.5])
    """

    _type = "sdlm"

    def __init__(
        self,
        mu: float,
        patterns: int = 500,
        gamma: float = 1.0,
        momentum: float = 0.0,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(momentum=momentum, factors=factors)
        self.mu = states.divisor("mu", mu)
        self.curvature_images = checks.integer("patterns", patterns, 1)
        self.gamma = checks.real("gamma", gamma)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma: expected a number above 0, at most 1, got {gamma}")
        if factors and self.gamma < 1:  # given factors are no estimate to average with
            raise ValueError(f"factors: expected none with gamma below 1, got {gamma} and factors")

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Set the rates from the diagonal of the Hessian, given by parameter name.

        Raises
        ------
        TypeError, ValueError
            If they are not arrays of finite numbers of at least 0.
        """
        for name, h in diagonal.items():
            states.check_numbers(f"diagonal[{name!r}]", np.asarray(h), negative=False)
        self.factors = {name: 1 / (self.mu + self._mean(name, h)) for name, h in diagonal.items()}

    def _mean(self, name: str, h: Array) -> Array:
        """Return the moving average; the previous one follows from the factors."""
        if self.gamma == 1 or name not in self._factors:
            return h
        before = np.maximum(1 / self._factors[name] - self.mu, 0)
        return (1 - self.gamma) * before + self.gamma * h

    def _options(self) -> dict[str, Any]:
        return {
            "mu": self.mu,
            "patterns": self.curvature_images,
            "gamma": self.gamma,
            "momentum": self.rule.momentum,
        }
