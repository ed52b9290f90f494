"""A module's own forward and backward passes, run by our engines in an unchanged loop."""

from __future__ import annotations

import operator
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lenet_fast import checks, engines, layers, losses
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.threads import default_threads
from lenet_fast.torch import reading, tensors

Module = TypeVar("Module", bound=nn.Module)
Draw = tuple[int, int] | None
Memory = tuple[int, tuple[int, ...]]

_KEPT = 4  # readings: as many as there are combinations of mode and image size in a usual script
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def wrap(module: Module, *, backend: str | None = None, threads: int | None = None) -> Module:
    """Let our engines compute a module's outputs and gradients, in a loop that stays as it is.

    Data, criterion, optimizer, scheduler and everything else remain PyTorch's: only the module's
    ``forward`` is replaced, by one function of autograd for the whole network.

    Parameters
    ----------
    module : nn.Module
        One that :func:`from_torch` supports, float32 or float64, on the CPU. It is read when it is
        first called, for only then is the size of its images known; and again after it has
        changed, except in its weights.
    backend : optional
        As in :func:`lenet_fast.engines.create`.
    threads : int, optional
        Default: PyTorch's number, see ``torch.set_num_threads``, but not more than the engines'
        own default.

    Returns
    -------
    nn.Module
        The same object, with a ``forward`` of its own: so its class, its parameters, their names
        and those in ``state_dict`` are what they were. A copy, also by ``pickle``, is wrapped, too.
        ``del module.forward`` ends it.

    Raises
    ------
    TypeError, ValueError
        When it is called: if the module cannot be read, or the images are not (n, c, h, w), dense,
        on the CPU and in the dtype of the parameters.
    RuntimeError
        When it is called under ``torch.jit.trace``; and from autograd for second derivatives
        (``create_graph=True``), and if parameters or images were changed in place between the
        forward and the backward pass.

    Notes
    -----
    The engines read and write the memory of the parameters; nothing is copied. Gradients go through
    autograd: to hooks, to ``grad`` of the parameters, and to the images if they require it. One
    image without gradients takes the fast path of :meth:`lenet_fast.network.Network.predict`.

    Dropout and Dropout2d in training mode drop other units than in PyTorch, with the same
    probabilities: those of :func:`lenet_fast.ops.dropout`, by a seed that each forward pass draws
    from PyTorch's default generator.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> import lenet_fast.torch
    >>> module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10))
    >>> module = lenet_fast.torch.wrap(module)
    >>> optimizer = torch.optim.Adadelta(module.parameters())
    >>> images, labels = torch.rand(64, 1, 28, 28), torch.arange(64) % 10
    >>> loss = nn.functional.cross_entropy(module(images), labels)
    >>> loss.backward()
    >>> optimizer.step()
    >>> module[0].weight.grad.shape
    torch.Size([4, 1, 5, 5])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {checks.kind(module)}")
    if "forward" in vars(module) and wrapper_of(module) is None:
        raise ValueError(
            f"module: expected one without its own forward, got {type(module).__name__}"
        )
    vars(module)["forward"] = Wrapper(module, backend, threads).forward
    return module


def wrapper_of(module: nn.Module) -> Wrapper | None:
    """Return what a module was wrapped in, if it was."""
    wrapper = getattr(vars(module).get("forward"), "__self__", None)
    return wrapper if isinstance(wrapper, Wrapper) else None


class Wrapper:
    """The readings of a module, and the method that is its ``forward``."""

    def __init__(self, module: nn.Module, backend: str | None, threads: int | None) -> None:
        self._given = module, backend, threads
        self._readings: list[Reading] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy what was given alone; a copied module may not be complete yet."""
        return type(self), self._given

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the module's outputs."""
        if torch.compiler.is_dynamo_compiling():
            # torch.compile leaves the engines as they are, and compiles the code around them.
            return torch.compiler.disable(self._run)(x)
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise RuntimeError(
                "forward: expected no tracing or export of a wrapped module; `del module.forward` "
                "before"
            )
        return self._run(x)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        return self.reading(x)(x)

    def reading(self, x: torch.Tensor, output: str | None = None) -> Reading:
        """Return the module as it is now, for such images; by default with its own output kind."""
        if not isinstance(x, torch.Tensor) or x.ndim != 4:
            raise _no_images(x)
        shape, kept = x.shape[1:], self._readings
        for each in kept:
            if each.fits(shape, output) and each.is_current():
                return each
        module, backend, given = self._given
        with self._lock:
            forward = vars(module).pop("forward", None)
            try:
                reading = Reading(module, tuple(shape), output, backend, given)
            finally:
                if forward is not None:
                    vars(module)["forward"] = forward
            reading.watch(module)
            self._readings = [reading, *kept[: _KEPT - 1]]
        return reading


def _no_images(x: object) -> Exception:
    if isinstance(x, torch.Tensor):
        return ValueError(f"x: expected images of shape (n, c, h, w), got {tuple(x.shape)}")
    return TypeError(f"x: expected a tensor of images, got {checks.kind(x)}")


class Reading:
    """A module at one moment: a network in the parameters' memory, and its engines."""

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        output: str | None,
        backend: str | None,
        threads: int | None,
    ) -> None:
        c, h, w = shape
        row = reading.read(module, (c, h, w))
        self._shape, self._output = torch.Size(shape), output
        self.network = row.network(row.output if output is None else output, None)
        self.softmax = row.softmax
        given = row.tensors(self.network)
        self.names = list(given)
        self._tensors = list(given.values())
        self._paths, self._slots = _slots(module, self._tensors)
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
        self._backend, self._threads = backend, threads
        self._torch_threads = torch.get_num_threads()
        if threads is None:
            self._threads = min(self._torch_threads, default_threads())
        self.bind(self._tensors)
        self._engines: dict[str, engines.Engine] = {}
        self.engine = self.engine_for(losses.default_for(self.network))

    def engine_for(self, loss: Loss) -> engines.Engine:
        """Return the engine with this loss."""
        key = repr(loss.config())
        if key not in self._engines:
            # The online engine predicts one image at once, and is the lane engine for more.
            self._engines[key] = engines.create(
                self.network, loss, batch_size=1, backend=self._backend, threads=self._threads
            )
        return self._engines[key]

    def trained(self) -> dict[str, str]:
        """Return the names of trainable parameters that require a gradient, and their paths."""
        names = set(self.network.trainable_names)
        return {
            name: path
            for name, path, tensor in zip(self.names, self._paths, self._tensors, strict=True)
            if name in names and tensor.requires_grad
        }

    def watch(self, module: nn.Module) -> None:
        """Remember everything on which the reading depends."""
        below = list(module.modules())
        self._now: list[dict[str, Any]] = [*map(vars, below), *(each._modules for each in below)]
        self._then = [dict(each) for each in self._now]
        self._hooks = [getattr(each, hooks) for each in below for hooks in _HOOKS]

    def fits(self, shape: torch.Size, output: str | None) -> bool:
        """Whether it was made for images of this shape, and this output kind."""
        return self._shape == shape and self._output == output

    def is_current(self) -> bool:
        """Whether the module is the same as when it was read, except in its weights."""
        try:
            same = self._now == self._then
        except Exception:  # whatever users' attributes raise: they are others
            return False
        if not same or any(self._hooks) or self._torch_threads != torch.get_num_threads():
            return False
        tensors_now = [slot.get(name) for slot, name in self._slots]
        return all(map(operator.is_, tensors_now, self._tensors)) and self._rebound()

    def _rebound(self) -> bool:
        """Follow parameters whose ``data`` was set; return whether they still fit."""
        if _memory(self._tensors) == self._memory:
            return True
        arrays = [layer.parameters[name] for layer, name in self._places]
        for tensor, array in zip(self._tensors, arrays, strict=True):
            if tensors.dtype(array.dtype) != tensor.dtype or array.shape != tuple(tensor.shape):
                return False
        self.bind(self._tensors)
        return True

    def bind(self, given: list[torch.Tensor]) -> None:
        """Let the network's arrays be the memory of these tensors."""
        memory = _memory(given)
        if memory != self._memory:
            for (layer, name), path, tensor in zip(self._places, self._paths, given, strict=True):
                layer.parameters[name] = tensors.array(path, tensor)
            self._memory = memory

    def draw(self) -> Draw:
        """Return what dropout needs for a pass: a new seed; None if nothing is dropped."""
        return (int(torch.randint(2**63 - 1, ())), 0) if self._drops else None

    def silence(self) -> AbstractContextManager[object]:
        """Let the layers engine overflow without NumPy's warning, as PyTorch does."""
        return np.errstate(all="ignore") if self.engine.name == "layers" else nullcontext()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            y = _Pass.apply(self, self.draw(), x, *self._tensors)
        else:
            y = self.outputs(x, self.draw())
        return y if self.softmax is None else self.softmax(y)

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
        ctx.reading, ctx.drawn = reading, drawn
        ctx.save_for_backward(x, *parameters)
        return reading.outputs(x, drawn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors  # raises if one of them was changed
        reading, (to_x, *needed) = ctx.reading, ctx.needs_input_grad[2:]
        reading.bind(parameters)
        with reading.silence():
            found = reading.engine.backward(
                _array("dy", dy), to_x, x=_array("x", x), dropout=ctx.drawn
            )
        gradients, dx = found if to_x else (found, None)
        return (
            *(None, None),
            None if dx is None else torch.from_numpy(dx),
            *(
                torch.from_numpy(gradients[name]) if wanted else None
                for name, wanted in zip(reading.names, needed, strict=True)
            ),
        )


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


def _slots(
    module: nn.Module, given: list[torch.Tensor]
) -> tuple[list[str], list[tuple[dict[str, Any], str]]]:
    """Return the names of tensors in a module's state, and the dicts that hold them."""
    found = {
        id(tensor): (f"{path}.{name}" if path else name, held, name)
        for path, each in module.named_modules()
        for held in (each._parameters, each._buffers)
        for name, tensor in held.items()
    }
    rows = [found[id(tensor)] for tensor in given]
    return [path for path, _, _ in rows], [(held, name) for _, held, name in rows]
