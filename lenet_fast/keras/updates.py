"""Conversion of Keras' optimizers to ours and back, with their state."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines import Rule
from lenet_fast.keras.reading import Reading
from lenet_fast.training import SGD, Adadelta, Adam, AdamW

_LATE = 2**40
"""A step number at which Adam's bias correction is 1, because ``beta ** _LATE`` is 0."""

_UNUSED = (
    *("clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps"),
    "loss_scale_factor",
)
"""Options of all optimizers that only Keras computes."""


def beyond(optimizer: Any) -> str:
    """Return why our engines cannot compute an optimizer's steps; "" if they can."""
    kind = _kind(optimizer)
    if kind == "":
        name = type(optimizer).__name__
        return f"optimizer: expected one of Keras' SGD, Adam, AdamW and Adadelta, got {name}"
    for option in _UNUSED:
        if value := getattr(optimizer, option, None):
            return f"optimizer: expected {option} unset, got {value}"
    if getattr(optimizer, "amsgrad", False):
        return "optimizer: expected amsgrad=False, got True"
    excluded = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    if optimizer.weight_decay and any(getattr(optimizer, each, None) for each in excluded):
        return "optimizer: expected the same weight decay for all weights, got some excluded"
    momentum = kind == "SGD" and optimizer.momentum
    if optimizer.weight_decay and (momentum or kind == "Adadelta"):
        return "optimizer: expected no weight_decay with momentum or Adadelta, got some"
    if momentum and not _constant(optimizer):
        return (
            "optimizer: expected a constant learning_rate with SGD's momentum, got one per step, "
            "which Keras multiplies into the momentum"
        )
    return ""


class Update:
    """Our optimiser with the state of Keras'.

    Attributes
    ----------
    ours : lenet_fast.training.SGD, Adam, AdamW or Adadelta
    one_step : bool
        Whether the rule changes from step to step, so that the engine is called for each.
    """

    def __init__(self, model: Any, reading: Reading) -> None:
        optimizer, trained = model.optimizer, model.trainable_variables
        self._optimizer = optimizer
        if not optimizer.built:
            optimizer.build(trained)
        ids = {id(variable) for variable in trained}
        kind, decay = _kind(optimizer), float(optimizer.weight_decay or 0)
        self._adam, self._decay = kind in ("Adam", "AdamW"), decay
        self._momentum = float(optimizer.momentum) if kind == "SGD" else 0.0
        self.one_step = self._adam and decay > 0
        if self._adam:
            made = AdamW if decay else Adam
            self.ours: Any = made(
                beta1=float(optimizer.beta_1),
                beta2=float(optimizer.beta_2),
                epsilon=float(optimizer.epsilon),
                weight_decay=decay,
            )
        elif kind == "Adadelta":
            self.ours = Adadelta(float(optimizer.rho), epsilon=float(optimizer.epsilon))
        else:
            nesterov = bool(optimizer.nesterov and self._momentum)
            self.ours = SGD(self._momentum, weight_decay=decay, nesterov=nesterov)
        network = reading.network
        trainable = {
            f"{link.layer.name}.{link.name}": link
            for link in reading.links
            if id(link.variable) in ids
        }
        parameters = {name: network.parameters[name] for name in network.trainable_names}
        slots = self.ours.slots(parameters)
        self._pairs = [
            (ours[name], theirs, link)
            for name, link in trainable.items()
            for ours, theirs in zip(slots, self._theirs(link.variable), strict=True)
        ]
        # Frozen weights, and biases that the model lacks.
        self.ours.factors = {
            name: np.zeros_like(array, order="C")
            for name, array in parameters.items()
            if name not in trainable
        }

    def _theirs(self, variable: Any) -> list[Any]:
        """Return the optimizer's own variables for a variable of the model."""
        index, optimizer = self._optimizer._get_variable_index(variable), self._optimizer
        kinds: tuple[str, ...] = ("momentums",) if self._momentum else ()
        if self._adam:
            kinds = ("_momentums", "_velocities")
        elif isinstance(self.ours, Adadelta):
            kinds = ("_accumulated_grads", "_accumulated_delta_vars")
        return [getattr(optimizer, kind)[index] for kind in kinds]

    def take(self) -> None:
        """Copy the optimizer's state to ours."""
        self.steps = int(keras.ops.convert_to_numpy(self._optimizer.iterations))
        self.ours.steps = self.steps + _LATE * self._adam
        self._rate = rate(self._optimizer)
        if self._momentum and self._rate <= 0:
            raise ValueError(
                "optimizer: expected a learning_rate above 0 with SGD's momentum, got "
                f"{self._rate:g}"
            )
        for ours, theirs, link in self._pairs:
            ours[...] = link.to_ours(keras.ops.convert_to_numpy(theirs))
            if self._momentum:  # the velocity, which holds the rate in Keras
                ours /= -self._rate

    def give(self) -> None:
        """Copy our state to the optimizer."""
        for ours, theirs, link in self._pairs:
            array = link.to_keras(ours)
            theirs.assign(array * -self._rate if self._momentum else array)
        self._optimizer.iterations.assign(self.steps)

    def rates(self, count: int) -> Array:
        """Return the rates of the next steps, and count these."""
        steps = np.arange(self.steps, self.steps + count)
        self.steps += count
        found = self._plain(steps)
        if not self._adam:
            return found
        # Keras' epsilon is added to the root before its bias correction, as in the last lines of
        # section 2 of Kingma and Ba 2015: so the corrections are factors of the rate.
        rule = self.ours.rule
        factors = np.sqrt(1 - rule.beta2 ** (steps + 1.0)) / (1 - rule.beta1 ** (steps + 1.0))
        if self.one_step:
            # The decay has the plain rate.
            changed: Rule = rule._replace(weight_decay=float(self._decay / factors[0]))
            self.ours._rule = changed
        return found * factors

    def undo(self, count: int) -> None:
        """Do not count steps that were not made."""
        self.steps -= count

    def _plain(self, steps: Array) -> Array:
        if _constant(self._optimizer):
            return np.full(len(steps), self._rate)
        schedule = self._optimizer._learning_rate
        return np.array([_number(schedule(keras.ops.convert_to_tensor(int(k)))) for k in steps])


def rate(optimizer: Any) -> float:
    """Return the learning rate of an optimizer's next step."""
    return _number(optimizer.learning_rate)


def _number(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(value))


def _constant(optimizer: Any) -> bool:
    """Return whether the rate is the same for all steps, until someone sets it."""
    return not callable(optimizer._learning_rate)


def _kind(optimizer: Any) -> str:
    """Return "SGD", "Adam", "AdamW" or "Adadelta"; "" for others, subclasses of users included."""
    if not type(optimizer).__module__.startswith("keras."):
        return ""
    # A backend may have its own subclasses, of the same name.
    name = type(optimizer).__name__
    return name if name in ("SGD", "Adam", "AdamW", "Adadelta") else ""
