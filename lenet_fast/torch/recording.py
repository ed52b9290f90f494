"""Recording of a module's forward pass: which functions of PyTorch make its output of the images.

The pass runs for real, on a few random images, under a ``TorchFunctionMode`` that sees each call of
a function of PyTorch or of :mod:`lenet_fast.torch.functional`, whoever makes it: a module, a helper
function, or the module that prunes weights. It takes a millisecond.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from lenet_fast.torch.datasets import Watch

_LIBRARIES = tuple(str(Path(file).parent) + os.sep for file in (torch.__file__, __file__))
_OURS = "lenet_fast."

_FACTS = frozenset(
    (
        *("size", "shape", "dim", "ndim", "ndimension", "numel", "nelement", "__len__", "dtype"),
        *("device", "get_device", "is_cuda", "is_cpu", "is_mps", "is_sparse", "is_quantized"),
        *("layout", "is_contiguous", "stride", "storage_offset", "element_size", "itemsize"),
        *("is_floating_point", "is_complex", "requires_grad", "is_leaf", "grad_fn", "grad"),
        *("__repr__", "__format__", "__hash__", "names", "has_names", "_version", "data_ptr"),
    )
)
"""Functions whose results, if they are not tensors, do not depend on the values in a tensor."""

_LIKE = frozenset(("to", "type_as", "view_as", "reshape_as"))
"""Functions that take the shape or the dtype of a second tensor, and no numbers."""

_SHAPED = frozenset(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"))
"""Functions that take only the shape of a tensor."""

_DROPOUTS = frozenset(("dropout", "dropout2d", "feature_dropout"))


@dataclass(eq=False)
class Value:
    """A tensor at one time: functions that work in place make another one of it."""

    tensor: torch.Tensor
    step: Step | None = None  # that made it; None: images, parameters and other constants
    from_images: bool = False


@dataclass(eq=False)
class Step:
    """A call of a function."""

    name: str  # such as "relu", also for torch.relu_ and Tensor.relu
    function: Callable[..., Any]
    args: tuple[Any, ...]  # with values in place of tensors
    kwargs: dict[str, Any]
    where: str  # for messages: the line of the user's code, and the module
    path: str  # of the innermost module that is PyTorch's or ours
    module: nn.Module | None  # that one
    results: list[Value] = field(default_factory=list)
    same_order: bool = False  # whether the result is the images' numbers, each at its place

    @cached_property
    def inputs(self) -> list[Value]:
        """All values among the arguments."""
        return list(_values([self.args, list(self.kwargs.values())]))

    @cached_property
    def images(self) -> list[Value]:
        """The inputs that depend on the images, except for those that only lend their shape."""
        if self.name in _SHAPED:
            return []
        inputs = self.inputs[:1] if self.name in _LIKE else self.inputs
        return [value for value in inputs if value.from_images]


def custom_function(tensor: torch.Tensor) -> str | None:
    """Return the name of the ``torch.autograd.Function`` that made a tensor and will differentiate
    it, if it is not one of ours."""
    made_by = getattr(tensor.grad_fn, "_forward_cls", None)
    if made_by is None or made_by.__module__.startswith(_OURS):
        return None
    name: str = made_by.__name__
    return name


class ForwardError(Exception):
    """A forward pass ended in an error of its own, perhaps because the images do not fit.

    Attributes
    ----------
    batch : int or None
        The number of images that a view asked for, if it was another.
    """

    def __init__(self, message: str, batch: int | None) -> None:
        super().__init__(message)
        self.batch = batch


class _Refused(Exception):  # noqa: N818  (named after the event)
    """A pass does what cannot be read. Internal to this module."""


class Recorder(TorchFunctionMode):
    """Records a forward pass.

    Dropout drops nothing while it is recorded, and batch norm takes its running statistics, so that
    the output is the same in each call; what they were asked to do is recorded.
    """

    def __init__(self, module: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self.module = module
        self.images = Value(images, from_images=True)
        self._paths = {id(each): path for path, each in module.named_modules()}
        # All values are kept, so that no two tensors get the same id.
        self._current = {id(images): self.images}
        self._kept: list[Any] = []
        self._place: tuple[str, str, nn.Module | None] = ("module", "", None)
        self._refusal: str | None = None
        self._batch: int | None = None
        parameters = module.parameters()
        self._parameters = {each.untyped_storage().data_ptr() for each in parameters}

    def run(self) -> Any:
        """Return the output, with values in place of tensors.

        ForwardError if the pass itself fails; ValueError if it looks into the images.
        """
        try:
            with self:
                output = self.module(self.images.tensor)
        except _Refused:
            pass
        except Exception as error:
            text = str(error).strip().split("\n")[0]
            raise ForwardError(
                f"{self._place[0]}: expected a forward pass without errors, got "
                f"{type(error).__name__}: {text} for images of shape "
                f"{tuple(self.images.tensor.shape[1:])}",
                self._batch,
            ) from error
        if self._refusal is not None:
            raise ValueError(self._refusal)
        return self._replaced(output)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = _name(function)
        if name in _FACTS:
            return function(*args, **kwargs)
        self._place = self._where()
        where = self._place[0]
        if _works_in_place(function) and self._is_parameter(args[0] if args else None):
            self._refusal = (
                f"{where}: expected a forward pass that leaves the parameters as they are, got "
                f"{name} of one in place; do it after each step"
            )
            raise _Refused
        step = Step(name, function, self._replaced(args), self._replaced(kwargs), *self._place)
        if name in _DROPOUTS:
            result = args[0] if args else kwargs["input"]
            if not (kwargs.get("inplace") or any(args[3:]) or _works_in_place(function)):
                result = result.clone()  # for what it is made of may be an output, too
        elif name == "batch_norm" and (args[1:2] or (kwargs.get("running_mean"),))[0] is not None:
            result = _evaluated(function, args, kwargs)
        else:
            result = function(*args, **kwargs)
        from_images = bool(step.images)
        if from_images and name in ("view", "reshape") and self._batch is None:
            sizes = _flat(args[1:])
            self._batch = next((size for size in sizes if isinstance(size, int)), None)
        if name == "__setitem__":
            self._set(args[0], step, from_images)
        tensors = [each for each in _flat(result) if isinstance(each, torch.Tensor)]
        if from_images and len(tensors) == 1:
            # Of random numbers; now, because functions that work in place may follow.
            step.same_order = _same_order(step.images[0].tensor, tensors[0])
        for tensor in tensors:
            self._set(tensor, step, from_images)
        # Names of types and devices are no values.
        if from_images and not tensors and name != "__setitem__" and not isinstance(result, str):
            self._refusal = self._refusal or (
                f"{step.where}: expected the same functions for all images, got {name} of values "
                "that depend on them: lenet_fast cannot see what is done with the result"
            )
        return result

    def _is_parameter(self, given: object) -> bool:
        return (
            isinstance(given, torch.Tensor)
            and given.untyped_storage().data_ptr() in self._parameters
        )

    def _set(self, tensor: torch.Tensor, step: Step, from_images: bool) -> None:
        value = Value(tensor, step, from_images)
        self._current[id(tensor)] = value
        step.results.append(value)
        self._kept.append(tensor)

    def _replaced(self, given: Any) -> Any:
        """Return arguments or results with values in place of tensors."""
        if isinstance(given, torch.Tensor):
            if id(given) not in self._current:
                images = self.images.tensor
                # The constructor Variable(x) is no function: it makes another name of the images.
                if given.data_ptr() == images.data_ptr() and given.shape == images.shape:
                    value = self._current[id(images)]
                else:
                    value = Value(given)
                self._current[id(given)] = value
                self._kept.append(given)
            return self._current[id(given)]
        if isinstance(given, dict):
            return {key: self._replaced(each) for key, each in given.items()}
        if isinstance(given, list | tuple) and not isinstance(given, torch.Size):
            replaced = [self._replaced(each) for each in given]
            return replaced if isinstance(given, list) else tuple(replaced)
        return given

    def _where(self) -> tuple[str, str, nn.Module | None]:
        """Return the place of the current call for messages, and the module that makes it."""
        frame: FrameType | None = sys._getframe(2)
        line, path, module = "", None, None
        while frame is not None and frame.f_code is not Recorder.run.__code__:
            code = frame.f_code
            owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            if isinstance(owner, FunctionCtx):  # report the line that calls it
                line, frame = "", frame.f_back
                continue
            if path is None and isinstance(owner, nn.Module):
                path = self._paths.get(id(owner))
                module = owner if path is not None else None
            if not line and not code.co_filename.startswith(_LIBRARIES):
                text = linecache.getline(code.co_filename, frame.f_lineno).strip()
                line = f"{code.co_filename}:{frame.f_lineno}: {text}".removesuffix(": ")
            frame = frame.f_back
        written = type(module).__module__.startswith(("torch.nn.", _OURS))
        if module is None or not written:
            path, module = "", None
        where = " in ".join(filter(None, (path, line))) or "module"
        return where, path or "", module


def _name(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", str(function))
    if name == "__get__":
        name = function.__self__.__name__  # type: ignore[attr-defined]  # a property of tensors
    if not name.startswith("_"):
        name = name.removesuffix("_")
    elif name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        name = f"__{name[3:]}"
    ours = (getattr(function, "__module__", None) or "").startswith(_OURS)
    return _OURS + name if ours else name


def _works_in_place(function: Callable[..., Any]) -> bool:
    name = getattr(function, "__name__", "")
    return (name.endswith("_") and not name.startswith("_")) or name == "__setitem__"


def _evaluated(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of ``F.batch_norm`` in evaluation, whatever was asked for."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum")
    given = dict(zip((*names, "eps"), args, strict=False)) | kwargs
    return function(**given | {"training": False})


def _same_order(before: torch.Tensor, after: torch.Tensor) -> bool:
    return before.shape[:1] == after.shape[:1] and torch.equal(
        *(each.detach().flatten() for each in (before, after))
    )


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for each in given:
            yield from _flat(each)
    elif isinstance(given, dict):
        yield from _flat(list(given.values()))
    else:
        yield given


def _values(given: Any) -> Iterator[Value]:
    return (each for each in _flat(given) if isinstance(each, Value))


def replayed(value: Value, source: Value, given: torch.Tensor) -> torch.Tensor:
    """Return what the functions between a source and a value make of another tensor."""
    if value is source:
        return given
    step = value.step
    if step is None:
        return value.tensor
    args, kwargs = (with_tensors(each, source, given) for each in (step.args, step.kwargs))
    made = step.function(*args, **kwargs)
    tensors = [each for each in _flat(made) if isinstance(each, torch.Tensor)]
    return tensors[step.results.index(value)]


def with_tensors(found: Any, source: Value, given: torch.Tensor) -> Any:
    """Return arguments or outputs with tensors in place of values."""
    if isinstance(found, Value):
        return replayed(found, source, given)
    if isinstance(found, list | tuple):
        made = [with_tensors(each, source, given) for each in found]
        return made if isinstance(found, list) else tuple(made)
    if isinstance(found, dict):
        return {key: with_tensors(each, source, given) for key, each in found.items()}
    return found


def constants(found: Any, source: Value) -> list[torch.Tensor]:
    """Return the tensors, besides the images, that are made into outputs after a source."""
    tensors = []
    for value in _values(found):
        if value.step is not None and value is not source:
            tensors += constants([value.step.args, value.step.kwargs], source)
        elif value is not source:
            tensors.append(value.tensor)
    return tensors


def common(found: Any) -> Value | None:
    """Return the last value of which all outputs of the images are made, each in a chain."""
    chains = [_chain(value) for value in _values(found) if value.from_images]
    if not chains:
        return None
    shared = (
        [each for each in chains[0] if all(each in chain for chain in chains)] if chains else []
    )
    return shared[0] if shared else None


def _chain(value: Value) -> list[Value]:
    found = [value]
    while value.step is not None and len(inputs := set(value.step.images)) == 1:
        (value,) = inputs
        found.append(value)
    return found


def _is_wrapped(module: nn.Module) -> bool:
    """Whether the engines run a module's forward pass, which hides what it is."""
    forward = vars(module).get("forward")
    return (getattr(forward, "__module__", None) or "").startswith(_OURS)


@contextmanager
def undisturbed(module: nn.Module, *, evaluation: bool) -> Iterator[Watch]:
    """Keep what a forward pass may change: attributes, buffers, random generators.

    With `evaluation`, all modules are in evaluation mode meanwhile.
    """
    attributes = [(each, dict(vars(each))) for each in module.modules()]
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in module.buffers()]
    try:
        # Outside evaluation it is of interest where no gradients pass.
        with torch.inference_mode(False), torch.set_grad_enabled(not evaluation), Watch() as watch:
            for each, _ in attributes:
                if _is_wrapped(each):
                    del each.forward
                if evaluation:
                    each.training = False
            yield watch
    finally:
        for each, before in attributes:
            vars(each).update(before)
            for name in vars(each).keys() - before.keys():
                del vars(each)[name]
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)
