"""How gradients change the weights.

An optimiser keeps its own arrays (velocities, for instance), one or more a parameter, and
hands them out by name, so that a checkpoint can hold them and a resumed run goes on with the
same bits. The rate comes with each step, from a schedule. What is written here in NumPy is the
reference for engines that update the weights on their own; see
:class:`lenet_fast.engines.interface.Optimiser`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lenet_fast import checks, configs
from lenet_fast.checks import Array
from lenet_fast.engines.interface import Optimiser, Rule

_STEPS, _FACTORS = "steps", "factors"
_MOST_STEPS = 2**63 - 1
_SMALLEST = float(np.finfo(np.float32).smallest_normal)


class _Common:
    """What the optimisers share: the count of steps, arrays by name, rates by weight.

    A subclass gives the rule, the names of its slots, and :meth:`_change`.
    """

    def __init__(
        self, rule: Rule, slots: tuple[str, ...], factors: Mapping[str, Array] | None
    ) -> None:
        self._rule = rule
        self._slots: dict[str, dict[str, Array]] = {slot: {} for slot in slots}
        self._factors = _checked_factors(factors)
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
        self._factors = _checked_factors(factors)

    def slots(self, parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return the optimiser's own arrays, live, for these parameters.

        See :meth:`lenet_fast.engines.interface.Optimiser.slots`.
        """
        for name, array in self._factors.items():
            if name not in parameters:
                known = ", ".join(parameters)
                raise ValueError(f"factors: expected parameters out of {known}, got {name!r}")
            _check_fit(_FACTORS, name, array, parameters[name])
        for kind, arrays in self._slots.items():
            for name, w in parameters.items():
                if name not in arrays:
                    arrays[name] = np.zeros(w.shape, w.dtype)
                _check_fit(kind, name, arrays[name], w)
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
            kinds[kind][name] = _checked_state(kind, name, array, parameters[name])
        steps, factors = _checked_steps(state.get(_STEPS)), kinds.pop(_FACTORS)
        for kind, arrays in kinds.items():
            lacking = [name for name in parameters if name not in arrays]
            if lacking and (steps or len(lacking) < len(parameters)):  # none before the first step
                raise ValueError(f"state: expected {kind} of all parameters, got none of {lacking}")
        self._steps, self._slots, self._factors = steps, kinds, factors

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`from_config`; factors are part of the state."""
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
        momentum = _below_one("momentum", momentum)
        if not isinstance(nesterov, (bool, np.bool_)):
            raise TypeError(f"nesterov: expected a bool, got {checks.kind(nesterov)}")
        if nesterov and not momentum:
            raise ValueError("nesterov: expected a momentum above 0 with it, got a momentum of 0")
        decay = _not_negative("weight_decay", weight_decay)
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
            weight_decay=_not_negative("weight_decay", weight_decay),
            beta1=_below_one("beta1", beta1),
            beta2=_below_one("beta2", beta2),
            epsilon=checks.real("epsilon", epsilon),
        )
        if rule.epsilon < _SMALLEST:
            raise ValueError(
                f"epsilon: expected a number of at least {_SMALLEST:.8g}, got {epsilon}"
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


_TYPES: dict[str, Callable[..., Optimiser]] = {"sgd": SGD, "adamw": AdamW}


def from_config(config: Mapping[str, Any]) -> Optimiser:
    """Return the optimiser that a :meth:`~Optimiser.config` describes.

    Raises
    ------
    ValueError, TypeError
        If there is no such optimiser, or not with these options.
    """
    optimiser = configs.kind_of("optimiser", config, "type", _TYPES)
    return optimiser(**{key: value for key, value in config.items() if key != "type"})


def _below_one(name: str, value: object) -> float:
    number = checks.real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name}: expected a number from 0 to below 1, got {value}")
    return number


def _not_negative(name: str, value: object) -> float:
    number = checks.real(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected a number not below 0, got {value}")
    return number


def _checked_factors(factors: Mapping[str, Array] | None) -> dict[str, Array]:
    """Return copies of the factors, which must be arrays of finite numbers not below zero."""
    if factors is None:
        return {}
    if not isinstance(factors, Mapping):
        raise TypeError(f"factors: expected a mapping of arrays, got {checks.kind(factors)}")
    found = {}
    for name, given in factors.items():
        what = f"factors[{name!r}]"
        array = checks.floats(what, given, None)
        _check_numbers(what, array, negative=False)
        found[name] = array.copy()
    return found


def _checked_state(kind: str, name: str, array: Array, w: Array) -> Array:
    """Return a copy of an array that may come from any file."""
    try:
        _check_fit(kind, name, array, w)
        negative = kind in ("velocities", "first_moments")
        _check_numbers(f"{kind}[{name!r}]", array, negative=negative)
    except (TypeError, ValueError) as error:
        raise ValueError(f"state: {error}") from None
    return array.copy()


def _checked_steps(array: Array | None) -> int:
    if array is None or array.dtype != np.int64 or array.shape != (1,) or array[0] < 0:
        got = "none" if array is None else f"{array.dtype} of shape {array.shape}: {array.flat[:1]}"
        raise ValueError(f"state: expected steps, one int64 not below 0, got {got}")
    return int(array[0])


def _check_fit(kind: str, name: str, array: Array, w: Array) -> None:
    """Raise unless an array has the dtype and the shape of its parameter."""
    if array.dtype == w.dtype and array.shape == w.shape:
        return
    what = f"{kind}[{name!r}]"
    if array.dtype != w.dtype:
        raise TypeError(f"{what}: expected dtype {w.dtype} of the parameter, got {array.dtype}")
    checks.same_shape(what, array, w.shape, "that of the parameter")


def _check_numbers(what: str, array: Array, *, negative: bool) -> None:
    good = np.isfinite(array) if negative else np.isfinite(array) & (array >= 0)
    if not good.all():
        allowed = "finite numbers" if negative else "finite numbers not below 0"
        raise ValueError(f"{what}: expected {allowed}, got {array[~good][0]}")
