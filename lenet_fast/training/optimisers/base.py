"""Shared by the optimisers: step count, arrays, factors and state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lenet_fast import checks, defaults, memory
from lenet_fast.checks import Array
from lenet_fast.engines.interface import Rule
from lenet_fast.training import states

_STEPS, _FACTORS = "steps", "factors"
_MOST_STEPS = 2**63 - 1


class Base:
    """Base class of the optimisers.

    A subclass provides the name of its rule, the rule's options, the names of its slots, and
    :meth:`_change`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import SGD
    >>> sgd = SGD(factors={"w": np.array([1.0, 0.0])})  # the second weight stays
    >>> weights = {"w": np.array([1.0, 1.0])}
    >>> sgd.step(weights, {"w": np.array([2.0, 2.0])}, rate=0.25)
    >>> weights["w"], sgd.steps, sgd.factors["w"]
    (array([0.5, 1. ]), 1, array([1., 0.]))
    """

    curvature_images = 0
    _rule_name = ""
    _type = ""
    """The type in configurations, by default the name of the rule."""
    _arguments: ClassVar[dict[str, str]] = {}
    """The fields of the rule that hold the arguments of ``__init__``, by the arguments' names."""

    def __init__(
        self, slots: tuple[str, ...], factors: Mapping[str, Array] | None, **options: Any
    ) -> None:
        self._rule = Rule(self._rule_name, **options)
        self._slots: dict[str, dict[str, Array]] = {slot: {} for slot in slots}
        self._factors = states.checked_factors(factors)
        self._steps = 0

    def __init_subclass__(cls, **options: Any) -> None:
        """Give a subclass with its own steps its own rule, which no engine knows, because the rule
        of the base class does not describe it; and its own type in configurations, which no file
        is read with, because the base class would continue it differently."""
        super().__init_subclass__(**options)
        named: Any = next(
            each for each in cls.__mro__ if {"_rule_name", "_type"} & vars(each).keys()
        )
        name = cls.__name__
        if name in (*defaults.OPTIMISERS, "sdlm"):  # which engines and files would take for ours
            name = f"{cls.__module__}.{name}"
        if cls.step is not named.step or cls._change is not named._change:
            cls._rule_name = cls._type = name
        elif cls.follow is not named.follow:
            cls._type = name

    @property
    def rule(self) -> Rule:
        """The update rule, in numbers."""
        return self._rule

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps = checks.integer("steps", steps, 0, _MOST_STEPS)

    @property
    def factors(self) -> dict[str, Array]:
        """Factors of each weight's rate, by parameter; empty without factors."""
        return self._factors

    @factors.setter
    def factors(self, factors: Mapping[str, Array] | None) -> None:
        self._factors = states.checked_factors(factors)

    def slots(self, parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return the optimiser's own arrays for these parameters; not copies.

        See :meth:`lenet_fast.engines.Optimiser.slots`.
        """
        for name, array in self._factors.items():
            if name not in parameters:
                known = ", ".join(parameters)
                raise ValueError(f"factors: expected parameters out of {known}, got {name!r}")
            states.check_fit(_FACTORS, name, array, parameters[name])
        lacking = [
            (arrays, name)
            for arrays in self._slots.values()
            for name in parameters
            if name not in arrays
        ]
        # One behind the other: so the engines for batches need no copies of them.
        new = memory.zeros_like([parameters[name] for _, name in lacking])
        for (arrays, name), zeros in zip(lacking, new, strict=True):
            arrays[name] = zeros
        for kind, arrays in self._slots.items():
            for name, w in parameters.items():
                states.check_fit(kind, name, arrays[name], w)
        return [{name: arrays[name] for name in parameters} for arrays in self._slots.values()]

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Change, in place, the parameters that have a gradient; do not change the gradients."""
        trained = {name: parameters[name] for name in gradients}
        slots = self.slots(trained)
        rate = float(rate)  # a NumPy scalar would promote float32 to float64
        self._steps += 1
        for name, w in trained.items():
            change = self._change(w, gradients[name], [slot[name] for slot in slots])
            if name in self._factors:
                change = self._factors[name] * change
            w -= rate * change

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Do nothing: only :class:`SDLM` uses the curvature."""

    def state(self) -> dict[str, Array]:
        """Return the step count, the optimiser's arrays and the factors.

        The keys are ``steps``, a slot and a parameter such as ``velocities/C1.w``, and
        ``factors/C1.w``. The arrays of the last two kinds are not copies.
        """
        kinds = self._slots | {_FACTORS: self._factors}
        return {_STEPS: np.array([self._steps], np.int64)} | {
            f"{kind}/{name}": array
            for kind, arrays in kinds.items()
            for name, array in arrays.items()
        }

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Replace the whole state, including factors, by a result of :meth:`state`.

        Raises
        ------
        ValueError
            If it is not the state of such an optimiser, with the names, shapes and dtypes of these
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
        """Return a description that JSON can hold, for :func:`.optimisers.from_config`.

        It does not contain the factors, which are part of the state.
        """
        return {"type": self._type or self._rule.name} | self._options()

    def __repr__(self) -> str:
        options = [f"{name}={value}" for name, value in self._options().items()]
        if self._factors:
            options.append(f"factors of {', '.join(self._factors)}")
        return f"{type(self).__name__}({', '.join(options)})"

    def _options(self) -> dict[str, Any]:
        """Return the arguments that recreate this optimiser."""
        return {name: getattr(self._rule, field) for name, field in self._arguments.items()}

    def _change(self, w: Array, gradient: Array, slots: list[Array]) -> Array:
        """Return the change to subtract, before rate and factors; update the slots."""
        raise NotImplementedError
