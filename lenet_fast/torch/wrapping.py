"""A module's own forward and backward passes, run by our engines in an unchanged loop."""

from __future__ import annotations

import inspect
import logging
import threading
from typing import Any, TypeVar

import torch
from torch import nn

from lenet_fast import checks, choices, counts
from lenet_fast.torch.passes import Options, Reading

Module = TypeVar("Module", bound=nn.Module)

_log = logging.getLogger(__name__)

_KEPT = 4  # readings: as many as there are combinations of mode and image size in a usual script


def wrap(
    module: Module,
    *,
    output: int | str | None = None,
    backend: choices.Backend | None = None,
    threads: int | None = None,
) -> Module:
    """Let our engines compute a module's outputs and gradients, in a loop that stays as it is.

    Data, criterion, optimizer, scheduler and everything else remain PyTorch's: only the module's
    ``forward`` is replaced, by one function of autograd for the whole network.

    Parameters
    ----------
    module : nn.Module
        One that :func:`fit` supports, float32 or float64, on the CPU. It is read when it is first
        called, for only then is the size of its images known; and again when a mode, an attribute,
        a parameter or a submodule is another one, which takes some milliseconds.
    output : int or str, optional
        Which of several outputs the wrapped module returns: a place in the module's tuple, or a key
        of its dict. By default it returns all, as before: what the module makes of the last value
        that they have in common, such as features, is then made by PyTorch.
    backend : optional
        As in :func:`lenet_fast.engines.create`.
    threads : int, optional
        Default: PyTorch's number, see ``torch.set_num_threads``, but not more than the engines'
        own default.

    Returns
    -------
    nn.Module
        The same object, with a ``forward`` of its own: so its class, methods, parameters and
        ``state_dict`` are what they were. A copy, also by ``pickle``, is wrapped, too. ``del
        module.forward`` ends it.

    Raises
    ------
    TypeError, ValueError
        When it is called: if the module cannot be read, or the images do not fit it, or are not
        dense, on the CPU and in the dtype of the parameters.
    RuntimeError
        When it is called under ``torch.jit.trace``; and from autograd for second derivatives
        (``create_graph=True``), and if parameters or images were changed in place between the
        forward and the backward pass.

    Notes
    -----
    Each pass reads the parameters as they are then. Gradients go through autograd: to hooks, to
    ``grad`` of the parameters, and to the images if they require it. One image without
    gradients takes the fast path of :meth:`lenet_fast.network.Network.predict`.

    Where a module's layers are so large that little is gained, the logger
    ``lenet_fast.torch.wrapping`` says so at its first reading, at level WARNING.

    Further arguments of ``forward`` must be its defaults. Under ``torch.no_grad``, batch norm in
    evaluation mode and factors that are parameters may be read as numbers; elsewhere they must not
    require a gradient.

    The module's own ``forward`` runs when it is read, and no more: what it does besides computing
    its outputs, such as counting its calls, is not done.

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
    vars(module)["forward"] = Wrapper(module, Options(output, backend, threads)).forward
    return module


def wrapper_of(module: nn.Module) -> Wrapper | None:
    """Return what a module was wrapped in, if it was."""
    wrapper = getattr(vars(module).get("forward"), "__self__", None)
    return wrapper if isinstance(wrapper, Wrapper) else None


class Wrapper:
    """The readings of a module, and the method that is its ``forward``."""

    def __init__(self, module: nn.Module, options: Options) -> None:
        self._module, self._options = module, options
        self._readings: list[Reading] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy what was given alone; a copied module may not be complete yet."""
        return type(self), (self._module, self._options)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's outputs."""
        x = args[0] if len(args) == 1 and not kwargs else self._images(args, kwargs)
        if torch.compiler.is_dynamo_compiling():
            # torch.compile leaves the engines as they are, and compiles the code around them.
            return torch.compiler.disable(self._run)(x)
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise RuntimeError(
                "forward: expected no tracing or export of a wrapped module; `del module.forward` "
                "before"
            )
        return self._run(x)

    def _images(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the first argument of the module's own forward; the others must be defaults."""
        signature = inspect.signature(type(self._module).forward)
        given = signature.bind(self._module, *args, **kwargs).arguments
        _, (_, x), *others = given.items()
        for name, value in others:
            default = signature.parameters[name].default
            plain = isinstance(value, bool | int | float | str)
            if not (value is default or (plain and value == default)):
                raise TypeError(
                    f"{name}: expected the default, {default!r}, because a wrapped module is read "
                    f"with the images alone, got {value!r}; make it an attribute of the module, "
                    "which is read again when that changes"
                )
        return x

    def _run(self, x: torch.Tensor) -> Any:
        return self.reading(x)(x)

    def reading(self, x: torch.Tensor, kind: choices.Output | None = None) -> Reading:
        """Return the module as it is now, for such images; by default with its own output kind."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x: expected a tensor of images, got {checks.kind(x)}")
        shape, kept = x.shape[1:], self._readings
        for each in kept:
            if each.fits(shape, kind) and each.is_current():
                return each
        if not 2 <= x.ndim <= 4:
            raise ValueError(f"x: expected images of shape (n, c, h, w), got {tuple(x.shape)}")
        with self._lock:
            new = Reading(self._module, shape, kind, self._options)
            if not kept and (note := counts.note_on_speed(new.network)) is not None:
                _log.warning(note)
            self._readings = [new, *kept[: _KEPT - 1]]
        return new
