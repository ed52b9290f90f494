"""Conversion of PyTorch's optimisers to ours and back, with their state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lenet_fast.checks import Array
from lenet_fast.engines import Optimiser
from lenet_fast.torch import tensors
from lenet_fast.torch.refusals import Beyond
from lenet_fast.torch.rows import View
from lenet_fast.training import SGD, Adadelta, Adam, AdamW, RMSprop

_Made = tuple[Optimiser, tuple[str, ...]]
"""One of ours, and what the arrays of its slots are called in the state of theirs."""


def _sgd(options: dict[str, Any]) -> _Made:
    momentum, decay = options["momentum"], options["weight_decay"]
    ours = SGD(momentum=momentum, weight_decay=decay, nesterov=options["nesterov"])
    return ours, ("momentum_buffer",) if momentum else ()


def _adam(options: dict[str, Any]) -> _Made:
    beta1, beta2 = (float(beta) for beta in options["betas"])
    kind = AdamW if options.get("decoupled_weight_decay") else Adam
    ours = kind(beta1, beta2, epsilon=options["eps"], weight_decay=options["weight_decay"])
    return ours, ("exp_avg", "exp_avg_sq")


def _adamw(options: dict[str, Any]) -> _Made:
    return _adam(options | {"decoupled_weight_decay": True})


def _rmsprop(options: dict[str, Any]) -> _Made:
    taken = ("alpha", "momentum", "centered", "weight_decay")
    ours = RMSprop(epsilon=options["eps"], **{name: options[name] for name in taken})
    kept = {"square_avg": True, "momentum_buffer": ours.rule.momentum, "grad_avg": ours.rule.beta1}
    return ours, tuple(name for name, is_kept in kept.items() if is_kept)


def _adadelta(options: dict[str, Any]) -> _Made:
    ours = Adadelta(options["rho"], epsilon=options["eps"], weight_decay=options["weight_decay"])
    return ours, ("square_avg", "acc_delta")


_MAKERS: dict[type, Callable[[dict[str, Any]], _Made]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adamw,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adadelta: _adadelta,
}
"""Of the optimisers we have, what makes ours of the options of theirs."""

_REFUSED: dict[str, Any] = {
    "dampening": 0,
    "maximize": False,
    "amsgrad": False,
}
"""Options without a counterpart, with their only allowed values; the others change only speed."""


def check_kind(optimizer: object) -> None:
    """Raise TypeError or ValueError unless it is an optimizer of which a loop calls ``step()``."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer: expected one of torch.optim, got {tensors.kind(optimizer)}")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise TypeError(
            "optimizer: expected one whose step() needs no closure, got "
            f"{tensors.kind(optimizer)}; lenet_fast.torch.wrap takes any"
        )
    if any(group.get("differentiable") for group in optimizer.param_groups):
        raise ValueError("optimizer: expected differentiable=False, got True")


def check_parameters(optimizer: torch.optim.Optimizer, allowed: Iterable[torch.Tensor]) -> None:
    """Raise ValueError if an optimizer steps other parameters."""
    known = {id(tensor) for tensor in allowed}
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            if tensor.requires_grad and id(tensor) not in known:
                raise ValueError(
                    "optimizer: expected only parameters of the module, got another of shape "
                    f"{tuple(tensor.shape)}"
                )


def stepped(
    optimizer: torch.optim.Optimizer, given: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return those of the tensors that an optimizer steps."""
    ids = {id(each) for group in optimizer.param_groups for each in group["params"]}
    return {name: tensor for name, tensor in given.items() if id(tensor) in ids}


def check(optimizer: torch.optim.Optimizer) -> None:
    """Raise Beyond if an optimizer is of another kind than those of `_MAKERS`, or has options or
    hooks without a counterpart."""
    if type(optimizer) not in _MAKERS:
        names = ", ".join(kind.__name__ for kind in _MAKERS)
        raise Beyond(
            f"optimizer: expected an instance of torch.optim's {names}, got "
            f"{tensors.kind(optimizer)}"
        )
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    if any(getattr(optimizer, kind) for kind in hooks):
        raise Beyond("optimizer: expected one without hooks, got some")
    _made(optimizer)


class Bridge:
    """An optimiser of PyTorch for tensors by the network's names, and ``ours``, which continues
    from its state.

    The rates of parameter groups are `shares` of the rate of each step; numbers whose mask is 0 do
    not change, and their state is 0.

    Beyond if :func:`check` raises it, or if parameters have hooks or differ in their steps;
    TypeError or ValueError if it has state without a counterpart, or other parameters.
    """

    def __init__(
        self,
        optimizer: Any,
        trained: Mapping[str, torch.Tensor],
        shares: Sequence[float] = (1.0,),
        masks: Mapping[str, Array] | None = None,
        unused: Iterable[torch.Tensor] = (),
        views: Mapping[str, View] | None = None,
    ) -> None:
        check(optimizer)
        self._optimizer = optimizer
        self._trained = dict(trained)
        self._masks = dict(masks or {})
        self._views = dict(views or {})
        # Without a gradient, PyTorch's optimizers do not change unused ones either.
        check_parameters(optimizer, (*self._trained.values(), *unused))
        self._check_tensors()
        self.ours, self._names = _made(optimizer)
        self._take_state()
        self.ours.factors = self._factors(shares)

    def _factors(self, shares: Sequence[float]) -> dict[str, Array]:
        """Return what the rates of numbers are multiplied with, where it is not 1."""
        share = {
            id(tensor): value
            for group, value in zip(self._optimizer.param_groups, shares, strict=True)
            for tensor in group["params"]
        }
        factors = {}
        for name, tensor in self._trained.items():
            if (value := share[id(tensor)]) != 1:
                factors[name] = np.full_like(self._array(name, tensor), value, order="C")
            if (mask := self._masks.get(name)) is not None:
                factors[name] = factors.get(name, 1) * mask
        return factors

    def give_back(self) -> None:
        """Copy our state to the optimizer, so that it can continue."""
        if not self.ours.steps:
            return
        for name, tensor in self._trained.items():
            state = self._optimizer.state[tensor]
            for kind, slot in self._slots.items():
                if (mask := self._masks.get(name)) is not None:
                    slot[name] *= mask
                if not isinstance(state.get(kind), torch.Tensor):
                    state[kind] = torch.empty_like(
                        tensor, requires_grad=False, memory_format=torch.contiguous_format
                    )
                self._array(name, state[kind])[...] = slot[name]
            if not isinstance(self.ours, SGD):  # which counts no steps there
                state["step"] = torch.tensor(float(self.ours.steps), dtype=torch.float32)
        self._optimizer._opt_called = True  # else schedulers would warn

    def _array(self, name: str, tensor: torch.Tensor) -> Array:
        """Return a tensor of a parameter's shape in our layout; they share memory."""
        array = tensors.array(name, tensor)
        return self._views[name](array) if name in self._views else array

    def _check_tensors(self) -> None:
        """Raise an error if numbers share memory, or hooks affect gradients or steps."""
        for name, tensor in self._trained.items():
            sides = zip(tensor.shape, tensor.stride(), strict=True)
            if any(length > 1 and not step for length, step in sides):
                raise ValueError(f"module: expected unshared numbers, got {name} expanded")
            if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
                raise Beyond(f"module: expected parameters without hooks, got some of {name}")

    def _take_state(self) -> None:
        steps = set()
        arrays = {name: self._array(name, tensor) for name, tensor in self._trained.items()}
        # Not copies: give_back reads what the engine writes to them.
        self._slots = dict(zip(self._names, self.ours.slots(arrays), strict=True))
        for name, tensor in self._trained.items():
            state = self._optimizer.state.get(tensor, {})
            found = [kind for kind in self._names if state.get(kind) is not None]
            steps.add(float(state.get("step", 1)) if found else 0.0)
            for kind in found:
                value = tensors.array(f"optimizer: {kind} of {name}", state[kind])
                expected = tuple(tensor.shape), arrays[name].dtype
                if (value.shape, value.dtype) != expected:
                    raise ValueError(
                        f"optimizer: expected {kind} of {expected[0]} {expected[1]} for {name}, "
                        f"got {value.shape} {value.dtype}"
                    )
                self._slots[kind][name][...] = self._array(name, state[kind])
                if (mask := self._masks.get(name)) is not None:
                    self._slots[kind][name] *= mask
        if len(steps) > 1:
            raise Beyond(
                "optimizer: expected the same number of steps for every parameter, got "
                f"{', '.join(f'{count:g}' for count in sorted(steps))}"
            )
        self.ours.steps = int(steps.pop()) if steps else 0


def _made(optimizer: Any) -> _Made:
    """Return our optimiser for the parameter groups, which may differ only in the rate."""
    first, *others = (
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    )
    for group in others:
        for name, value in first.items():
            if name not in ("lr", "initial_lr") and group.get(name) != value:
                raise Beyond(
                    f"optimizer: expected one {name} for all parameters, got {value} and "
                    f"{group.get(name)}"
                )
    for name, only in _REFUSED.items():
        if first.get(name, only) != only:
            raise Beyond(f"optimizer: expected {name}={only}, got {first[name]}")
    try:
        return _MAKERS[type(optimizer)](first)
    except ValueError as error:
        raise Beyond(f"optimizer: {error}") from None


def without(parameters: Mapping[str, Array], names: set[str]) -> dict[str, Array]:
    """Return factors of zero, with which the parameters of these names do not change."""
    return {name: np.zeros_like(parameters[name], order="C") for name in sorted(names)}
