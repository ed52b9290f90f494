"""A wrapped module as it was read, and its passes through our engines, as autograd sees them."""

from __future__ import annotations

import operator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lenet_fast import choices, engines, layers, losses
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.threads import default_threads
from lenet_fast.torch import outputs, tensors

Draw = tuple[int, int] | None
Memory = tuple[int, tuple[int, ...]]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Options(NamedTuple):
    """Those of :func:`lenet_fast.torch.wrap`, an engine, and whether a module must have one output
    if none is chosen."""

    output: int | str | None = None
    backend: choices.Backend | None = None
    threads: int | None = None
    engine: choices.Engine = "auto"
    alone: bool = False


class Reading:
    """A module at one moment: a network in the parameters' memory, and its engines."""

    def __init__(
        self, module: nn.Module, shape: torch.Size, kind: choices.Output | None, options: Options
    ) -> None:
        row, self._result = outputs.read(module, tuple(shape), options.output, options.alone)
        self._shape, self._kind = shape, kind
        self.network = row.network(row.output if kind is None else kind, None)
        self.softmax = row.softmax
        self._without_gradients = row.without_gradients
        given = row.tensors(self.network)
        masks, views = row.masks(self.network), row.views(self.network)
        self.names = list(given)
        self._tensors = list(given.values())
        self._masks = {k: masks[name] for k, name in enumerate(given) if name in masks}
        self._views = {k: views[name] for k, name in enumerate(given) if name in views}
        layers_of = {layer.name: layer for layer in self.network.layers}
        names = [name.rpartition(".") for name in given]
        self._places = [(layers_of[layer], name) for layer, _, name in names]
        self._memory: list[Memory] = []
        self._drops = False
        for layer, place in zip(self.network.layers, row.places, strict=True):
            if isinstance(layer, layers.Dropout):
                if not place.training:
                    layer.p = 0.0
                self._drops = self._drops or layer.p > 0
        own = {id(each) for each in [*module.parameters(), *module.buffers()]}
        fixed = [mask for place in row.places for mask in place.masks.values()]
        constant = any(place.constants for place in row.places) or not own >= set(map(id, fixed))
        beside = [each for each in [*fixed, *row.beside] if id(each) in own]
        self._watch(module, [*self._tensors, *beside], constant)
        self._options, self._threads = options, options.threads
        self._torch_threads = torch.get_num_threads()
        if self._threads is None:
            self._threads = min(self._torch_threads, default_threads())
        self._kinds = [(tensor.dtype, tensor.shape) for tensor in self._tensors]
        self.bind(self._tensors)
        self._engines: dict[str, engines.Engine] = {}
        self.engine = self.engine_for(losses.default_for(self.network))

    def engine_for(self, loss: Loss) -> engines.Engine:
        """Return the engine with this loss."""
        key = repr(loss.config())
        if key not in self._engines:
            # The online engine predicts one image at once, and is the lane engine for more.
            self._engines[key] = engines.create(
                self.network,
                loss,
                engine=self._options.engine,
                batch_size=1,
                backend=self._options.backend,
                threads=self._threads,
            )
        return self._engines[key]

    def trained(self) -> dict[str, int]:
        """Return the paths of trainable parameters that require a gradient, and their places."""
        names = set(self.network.trainable_names)
        return {
            self._paths[k]: k
            for k, (name, tensor) in enumerate(zip(self.names, self._tensors, strict=True))
            if name in names and tensor.requires_grad
        }

    def masks(self) -> dict[str, torch.Tensor]:
        """Return the masks of pruned parameters, by their paths."""
        return {self._paths[k]: mask for k, mask in self._masks.items()}

    def _watch(self, module: nn.Module, read: list[torch.Tensor], constant: bool) -> None:
        """Remember everything on which the reading depends: with `constant`, also the values of
        what is not among the weights."""
        below = list(module.modules())
        hooks = [getattr(each, kind) for each in below for kind in _HOOKS]
        self._no_hooks = [each for each in hooks if not each]
        self._now: list[dict[Any, Any]] = [
            *map(vars, below),
            *(each._modules for each in below),
            *filter(None, hooks),
        ]
        self._then = [dict(each) for each in self._now]
        found = {
            id(tensor): (f"{path}.{name}" if path else name, held, name)
            for path, each in module.named_modules()
            for held in (each._parameters, each._buffers)
            for name, tensor in held.items()
        }
        weights = set(map(id, read))
        held = [*module.parameters(), *module.buffers()]
        self._constants = [each for each in held if constant and id(each) not in weights]
        self._values = list(map(_value, self._constants))
        self._read = [*read, *self._constants]
        rows = [found[id(tensor)] for tensor in self._read]
        self._paths = [path for path, _, _ in rows]
        self._slots = [(held, name) for _, held, name in rows]
        self._pruned = {}
        for k in self._masks:
            owner, _, name = self._paths[k].rpartition(".")
            at = below.index(module.get_submodule(owner))
            if (name := name.removesuffix("_orig")) in self._now[at]:
                self._pruned[k] = name, self._now[at], self._then[at]

    def fits(self, shape: torch.Size, kind: choices.Output | None) -> bool:
        """Whether it was made for images of this shape, this output kind, and gradients if they are
        needed now."""
        same = self._shape == shape and self._kind == kind
        return same and not (self._without_gradients and torch.is_grad_enabled())

    def is_current(self) -> bool:
        """Whether the module is the same as when it was read, except in its weights."""
        try:
            same = self._now == self._then
        except Exception:  # whatever users' attributes raise: they are others
            return False
        if not same or any(self._no_hooks) or self._torch_threads != torch.get_num_threads():
            return False
        read_now = [held.get(name) for held, name in self._slots]
        if not all(map(operator.is_, read_now, self._read)):
            return False
        return list(map(_value, self._constants)) == self._values and self._rebound()

    def _rebound(self) -> bool:
        """Follow parameters whose ``data`` was set; return whether they still fit."""
        if _memory(self._tensors) == self._memory:
            return True
        if [(tensor.dtype, tensor.shape) for tensor in self._tensors] != self._kinds:
            return False
        self.bind(self._tensors)
        return True

    def bind(self, given: list[torch.Tensor]) -> None:
        """Let the network's arrays be the memory of these tensors."""
        memory = _memory(given)
        if memory != self._memory:
            for k, (layer, name) in enumerate(self._places):
                array = seen = tensors.array(self._paths[k], given[k])
                if k in self._views and not np.may_share_memory(
                    seen := self._views[k](array), array
                ):
                    raise ValueError(f"{self._paths[k]}: expected a contiguous tensor, got others")
                layer.parameters[name] = seen
            self._memory = memory

    def as_tensor(self, k: int, gradient: Array, *, each: bool = False) -> torch.Tensor:
        """Return the gradient of a tensor, or that of each image, in the tensor's layout."""
        if k in self._views:
            shape = tuple(self._tensors[k].shape)
            found = np.empty((len(gradient), *shape) if each else shape, gradient.dtype)
            for part, value in zip(found, gradient, strict=True) if each else [(found, gradient)]:
                self._views[k](part)[...] = value
            gradient = found
        return torch.from_numpy(gradient)

    def draw(self) -> Draw:
        """Return what dropout needs for a pass: a new seed; None if nothing is dropped."""
        return (int(torch.randint(2**63 - 1, ())), 0) if self._drops else None

    def silence(self) -> AbstractContextManager[object]:
        """Let the layers engine overflow without NumPy's warning, as PyTorch does."""
        return np.errstate(all="ignore") if self.engine.name == "layers" else nullcontext()

    def __call__(self, x: torch.Tensor) -> Any:
        """Return the module's outputs, as it returns them."""
        given = self.weights()
        if x.ndim < 4:
            x = self.images(x)
        if torch.is_grad_enabled():
            y = _Pass.apply(self, self.draw(), x, *given)
        else:
            y = self.outputs(x, self.draw())
        return self._result(y)

    def evaluated(self, x: torch.Tensor) -> Any:
        """Return the module's outputs without dropout and gradients."""
        self.weights()
        return self._result(self.outputs(self.images(x), None))

    def weights(self) -> list[torch.Tensor]:
        """Return the weights, which the network now has: the parameters, or their products with
        masks where they are pruned."""
        if not self._masks:
            return self._tensors
        given = list(self._tensors)
        for k, mask in self._masks.items():
            given[k] = given[k] * mask
            if (seen := self._pruned.get(k)) is not None:
                # torch.nn.utils.prune does so in each forward pass, and prunes further by it.
                name, *attributes = seen
                for each in attributes:
                    each[name] = given[k]
        self.bind(given)
        return given

    def images(self, x: torch.Tensor) -> torch.Tensor:
        """Return images as the network takes them."""
        return x.reshape(len(x), *self.network.input_shape)

    def record(self, x: torch.Tensor, drawn: Draw, to_x: bool) -> engines.Recorded | None:
        """Return a pass forward whose values are kept, if the engine can, and they are not many."""
        if not isinstance(self.engine, engines.LanesEngine):
            return None
        return self.engine.record(_array("x", x), inputs=to_x, dropout=drawn)

    def outputs(self, x: torch.Tensor, drawn: Draw) -> torch.Tensor:
        """Return the network's outputs."""
        array = _array("x", x)
        with self.silence():
            if drawn is None:
                return torch.from_numpy(self.engine.predict(array))
            return torch.from_numpy(self.engine.forward(array, dropout=drawn))


class _Pass(Function):
    """The network's outputs, as a function of images and parameters."""

    @staticmethod
    def forward(
        ctx: Any, reading: Reading, drawn: Draw, x: torch.Tensor, *parameters: torch.Tensor
    ) -> torch.Tensor:
        ctx.reading, ctx.drawn, ctx.recorded = reading, drawn, None
        ctx.save_for_backward(x, *parameters)
        # One image is predicted faster alone, mostly by people who forgot torch.no_grad().
        if len(x) > 1 and any(ctx.needs_input_grad):
            ctx.recorded = reading.record(x, drawn, ctx.needs_input_grad[2])
        if ctx.recorded is None:
            return reading.outputs(x, drawn)
        return torch.from_numpy(ctx.recorded.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors  # raises if one of them was changed
        reading, (to_x, *needed) = ctx.reading, ctx.needs_input_grad[2:]
        reading.bind(parameters)
        with reading.silence():
            if ctx.recorded is not None:
                gradients, dx = ctx.recorded.backward(_array("dy", dy))
            else:
                found = reading.engine.backward(
                    _array("dy", dy), to_x, x=_array("x", x), dropout=ctx.drawn
                )
                gradients, dx = found if to_x else (found, None)
        return (
            *(None, None),
            None if dx is None else torch.from_numpy(dx),
            *(
                reading.as_tensor(k, gradients[name]) if needed[k] else None
                for k, name in enumerate(reading.names)
            ),
        )


def _value(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what changes when the numbers in a tensor do, or whether it is trained."""
    version = 0 if tensor.is_inference() else tensor._version
    return version, tensor.data_ptr(), tensor.requires_grad


def _memory(given: list[torch.Tensor]) -> list[Memory]:
    """Return where tensors are, and how they lie there."""
    return [(tensor.data_ptr(), tensor.stride()) for tensor in given]


def _array(name: str, tensor: torch.Tensor) -> Array:
    """Return the array that shares a tensor's memory."""
    try:  # most tensors are dense, on the CPU and without a gradient; to ask all that takes longer
        array: Array = tensor.numpy()
    except (RuntimeError, TypeError):
        return tensors.array(name, tensor)
    return array
