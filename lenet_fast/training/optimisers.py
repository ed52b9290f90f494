"""How gradients change the weights.

An optimiser keeps its own arrays (velocities, for instance), one or more a parameter, and
hands them out by name, so that a checkpoint can hold them and a resumed run goes on with the
same bits. The rate comes with each step, from a schedule. What is written here in NumPy is the
reference for engines that update the weights on their own; see
:class:`lenet_fast.engines.Optimiser`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lenet_fast import checks, configs
from lenet_fast.checks import Array
from lenet_fast.engines.interface import Optimiser, Rule
from lenet_fast.training import states

__all__ = ["SDLM", "SGD", "AdamW", "from_config"]

_STEPS, _FACTORS = "steps", "factors"
_MOST_STEPS = 2**63 - 1


class _Common:
    """What the optimisers share: the count of steps, arrays by name, rates by weight.

    A subclass gives the rule, the names of its slots, and :meth:`_change`.
    """

    curvature_images = 0

    def __init__(
        self, rule: Rule, slots: tuple[str, ...], factors: Mapping[str, Array] | None
    ) -> None:
        self._rule = rule
        self._slots: dict[str, dict[str, Array]] = {slot: {} for slot in slots}
        self._factors = states.checked_factors(factors)
        self._steps = 0

    @property
    def rule(self) -> Rule:
        """How the weights are changed, in numbers."""
        return self._rule

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps = checks.integer("steps", steps, 0, _MOST_STEPS)

    @property
    def factors(self) -> dict[str, Array]:
        """By parameter, what multiplies the rate of each weight; empty where nothing does."""
        return self._factors

    @factors.setter
    def factors(self, factors: Mapping[str, Array] | None) -> None:
        self._factors = states.checked_factors(factors)

    def slots(self, parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return the optimiser's own arrays, live, for these parameters.

        See :meth:`lenet_fast.engines.Optimiser.slots`.
        """
        for name, array in self._factors.items():
            if name not in parameters:
                known = ", ".join(parameters)
                raise ValueError(f"factors: expected parameters out of {known}, got {name!r}")
            states.check_fit(_FACTORS, name, array, parameters[name])
        for kind, arrays in self._slots.items():
            for name, w in parameters.items():
                if name not in arrays:
                    arrays[name] = np.zeros(w.shape, w.dtype)
                states.check_fit(kind, name, arrays[name], w)
        return [{name: arrays[name] for name in parameters} for arrays in self._slots.values()]

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Change, in place, the parameters that have a gradient; leave the gradients alone."""
        trained = {name: parameters[name] for name in gradients}
        slots = self.slots(trained)
        rate = float(rate)  # a NumPy scalar would draw float32 up to float64
        self._steps += 1
        for name, w in trained.items():
            change = self._change(w, gradients[name], [slot[name] for slot in slots])
            if name in self._factors:
                change = self._factors[name] * change
            w -= rate * change

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Do nothing: only :class:`SDLM` follows the curvature."""

    def state(self) -> dict[str, Array]:
        """Return the count of steps, the optimiser's arrays and the factors.

        Their names are ``steps``, a slot's and a parameter's such as ``velocities/C1.w``, and
        ``factors/C1.w``. The arrays of the last two kinds are live.
        """
        kinds = self._slots | {_FACTORS: self._factors}
        return {_STEPS: np.array([self._steps], np.int64)} | {
            f"{kind}/{name}": array
            for kind, arrays in kinds.items()
            for name, array in arrays.items()
        }

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Take over what :meth:`state` gave, in place of all there is; the factors, too.

        Raises
        ------
        ValueError
            If it is not the state of such an optimiser, with names, shapes and dtypes of these
            parameters.
        """
        kinds: dict[str, dict[str, Array]] = {kind: {} for kind in (*self._slots, _FACTORS)}
        for key, array in state.items():
            kind, _, name = key.partition("/")
            if key == _STEPS:
                continue
            if kind not in kinds or name not in parameters:
                raise ValueError(
                    f"state: expected {', '.join((_STEPS, *kinds))} of the parameters, got {key}"
                )
            kinds[kind][name] = states.checked_state(kind, name, array, parameters[name])
        steps, factors = states.checked_steps(state.get(_STEPS)), kinds.pop(_FACTORS)
        for kind, arrays in kinds.items():
            lacking = [name for name in parameters if name not in arrays]
            if lacking and (steps or len(lacking) < len(parameters)):  # none before the first step
                raise ValueError(f"state: expected {kind} of all parameters, got none of {lacking}")
        self._steps, self._slots, self._factors = steps, kinds, factors

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`.optimisers.from_config`.

        The factors are not in it, but in the state.
        """
        return {"type": self._rule.name} | self._options()

    def __repr__(self) -> str:
        options = [f"{name}={value}" for name, value in self._options().items()]
        if self._factors:
            options.append(f"factors of {', '.join(self._factors)}")
        return f"{type(self).__name__}({', '.join(options)})"

    def _options(self) -> dict[str, Any]:
        raise NotImplementedError

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        """Return what, times rate and factors, is taken off the weights; change the slots."""
        raise NotImplementedError


class SGD(_Common):
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
        By the name of a parameter, an array of its shape and dtype, finite and not negative,
        that the rate of each of its weights is multiplied by. It is copied. Parameters that are
        missing have the factor 1.

    Attributes
    ----------
    rule : Rule
        The options.
    steps : int
        How many steps were made.
    factors : dict of str to ndarray
        May be set anew, or changed in place, between two steps.

    Notes
    -----
    The velocity does not contain the rate, so a new rate acts in full from the next step on.
    Nor does it contain the factors. Everything is computed in the dtype of the parameter.

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

    def __init__(
        self,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        momentum = checks.below_one("momentum", momentum)
        if not isinstance(nesterov, (bool, np.bool_)):
            raise TypeError(f"nesterov: expected a bool, got {checks.kind(nesterov)}")
        if nesterov and not momentum:
            raise ValueError("nesterov: expected a momentum above 0 with it, got a momentum of 0")
        decay = states.not_negative("weight_decay", weight_decay)
        rule = Rule("sgd", momentum=momentum, nesterov=bool(nesterov), weight_decay=decay)
        super().__init__(rule, ("velocities",) if momentum else (), factors)

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        rule = self._rule
        g = gradient + rule.weight_decay * w if rule.weight_decay else gradient
        for v in slots:  # the velocity, where there is a momentum
            v *= rule.momentum
            v += g
            g = g + rule.momentum * v if rule.nesterov else v
        return g

    def _options(self) -> dict[str, Any]:
        rule = self._rule
        return {
            "momentum": rule.momentum,
            "weight_decay": rule.weight_decay,
            "nesterov": rule.nesterov,
        }


class AdamW(_Common):
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
        In [0, 1): what is kept, at each step, of the mean gradient and the mean square.
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
        How many steps were made: t of the last one. It is one number for all parameters.
    factors : dict of str to ndarray
        May be set anew, or changed in place, between two steps.

    Notes
    -----
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the
    rate in place of alpha times the schedule multiplier, and acting on the decay as well, as in
    PyTorch. Moments and bias correction are those of Kingma and Ba 2015. Everything is computed
    in the dtype of the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> w, g = {"w": np.array([1.0, 1.0])}, {"w": np.array([2.0, -0.02])}
    >>> AdamW(weight_decay=0.5).step(w, g, rate=0.1)
    >>> w["w"].round(6)                      # 1 - 0.1 * (sign of g) - 0.1 * 0.5 * 1
    array([0.85, 1.05])
    """

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        rule = Rule(
            "adamw",
            weight_decay=states.not_negative("weight_decay", weight_decay),
            beta1=checks.below_one("beta1", beta1),
            beta2=checks.below_one("beta2", beta2),
            epsilon=checks.real("epsilon", epsilon),
        )
        if rule.epsilon < states.SMALLEST:
            raise ValueError(
                f"epsilon: expected a number of at least {states.SMALLEST:.8g}, got {epsilon}"
            )
        super().__init__(rule, ("first_moments", "second_moments"), factors)

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        rule, t = self._rule, self._steps
        m, v = slots
        m *= rule.beta1
        m += (1 - rule.beta1) * gradient
        v *= rule.beta2
        v += (1 - rule.beta2) * (gradient * gradient)
        root = v / (1 - rule.beta2**t)
        np.sqrt(root, out=root)
        root += rule.epsilon
        change: Array = m / (1 - rule.beta1**t)
        change /= root
        if rule.weight_decay:
            change += rule.weight_decay * w
        return change

    def _options(self) -> dict[str, Any]:
        rule = self._rule
        return {
            "beta1": rule.beta1,
            "beta2": rule.beta2,
            "epsilon": rule.epsilon,
            "weight_decay": rule.weight_decay,
        }


class SDLM(SGD):
    """Stochastic gradient descent at rates that follow the curvature, a rate of its own a weight.

    Before each epoch the diagonal h of the Hessian is estimated, in the mean over the first images
    of the epoch's order. For each weight w with gradient g, through the epoch::

        w <- w - rate / (mu + h) * g

    Parameters
    ----------
    mu : float
        Above 0: where there is no curvature, the rate is divided by it. The paper takes 0.02. With
        that LeNet-4 and squared errors learn well at the paper's rates; LeNet-5 and the MAP
        criterion, as they are here, diverge in the second epoch, and learn well with 1.
    patterns : int, default 500
        Images that h is estimated from.
    gamma : float, default 1
        Share of the new estimate in a moving average, above 0: h becomes (1 - gamma) h + gamma
        times the estimate. With 1, as in the paper of 1998, what was estimated before is forgotten.
    momentum : float, default 0
        As for :class:`SGD`, for mini-batches; the paper has none.
    factors : mapping of str to ndarray, optional
        As for :class:`SGD`; until the first estimate.

    Attributes
    ----------
    rule : Rule
        That of plain SGD.
    steps : int
        How many steps were made.
    factors : dict of str to ndarray
        1 / (mu + h) of the last estimate.
    curvature_images : int
        `patterns`.

    Notes
    -----
    LeCun et al. 1998, section II.C and appendix C: "stochastic diagonal Levenberg-Marquardt". The
    paper's steps are those of single images. The moving average is that of LeCun, Bottou, Orr and
    Mueller 1998, "Efficient BackProp".

    Examples
    --------
    >>> import numpy as np
    >>> sdlm = SDLM(mu=0.5)
    >>> sdlm.follow({"w": np.array([0.0, 1.5])})
    >>> sdlm.factors["w"]
    array([2. , 0.5])
    """

    def __init__(
        self,
        mu: float,
        patterns: int = 500,
        gamma: float = 1.0,
        momentum: float = 0.0,
        factors: Mapping[str, Array] | None = None,
    ) -> None:
        super().__init__(momentum=momentum, factors=factors)
        self.mu = checks.real("mu", mu)
        if self.mu < states.SMALLEST:
            raise ValueError(f"mu: expected a number of at least {states.SMALLEST:.8g}, got {mu}")
        self.curvature_images = checks.integer("patterns", patterns, 1)
        self.gamma = checks.real("gamma", gamma)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma: expected a number above 0, at most 1, got {gamma}")
        if factors and self.gamma < 1:  # they are no estimate to be averaged with others
            raise ValueError(f"factors: expected none with gamma below 1, got {gamma} and factors")

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Set the rates by the curvature: by name, the diagonal of the Hessian.

        Raises
        ------
        TypeError, ValueError
            If they are not arrays of finite numbers, not below 0.
        """
        for name, h in diagonal.items():
            states.check_numbers(f"diagonal[{name!r}]", np.asarray(h), negative=False)
        self.factors = {name: 1 / (self.mu + self._mean(name, h)) for name, h in diagonal.items()}

    def _mean(self, name: str, h: Array) -> Array:
        """Return the moving average; the one before follows from its factors."""
        if self.gamma == 1 or name not in self._factors:
            return h
        before = np.maximum(1 / self._factors[name] - self.mu, 0)
        return (1 - self.gamma) * before + self.gamma * h

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`.optimisers.from_config`.

        The factors are not in it, but in the state.
        """
        return {"type": "sdlm"} | self._options()

    def _options(self) -> dict[str, Any]:
        return {
            "mu": self.mu,
            "patterns": self.curvature_images,
            "gamma": self.gamma,
            "momentum": self.rule.momentum,
        }


_TYPES: dict[str, Callable[..., Optimiser]] = {"sgd": SGD, "adamw": AdamW, "sdlm": SDLM}


def from_config(config: Mapping[str, Any]) -> Optimiser:
    """Return the optimiser that a :meth:`~lenet_fast.engines.Optimiser.config` describes.

    Raises
    ------
    ValueError, TypeError
        If there is no such optimiser, or not with these options.
    """
    optimiser = configs.kind_of("optimiser", config, "type", _TYPES)
    return optimiser(**{key: value for key, value in config.items() if key != "type"})
