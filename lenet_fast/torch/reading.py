"""Conversion of modules of any class to our layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lenet_fast import checks
from lenet_fast.torch import modules, recording, tensors
from lenet_fast.torch.chains import Misfit, Reader, before
from lenet_fast.torch.recording import Recorder, Value
from lenet_fast.torch.rows import Row

SIZES = (32, 28, 16)
"""Image sizes that are tried if none is given."""

_SAMPLES = (3, 2)
"""Images in each of the recorded passes. Numbers that no class chooses for a shape by accident."""

TOGETHER = "\0together"
"""Instead of one output: the last value of which a module makes all."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def read(
    module: nn.Module,
    input_shape: tuple[int, ...] | None,
    output: int | str | None = None,
    *,
    evaluation: bool = False,
    masks: bool = False,
    views: bool = False,
    constants: bool = False,
) -> Row:
    """Return what a module computes from images of a given shape, or the only usual one that fits.

    Its forward pass is run for a few random images, and changes nothing that outlives it.

    Parameters
    ----------
    module : nn.Module
        Of any class.
    input_shape : (c, h, w), (h, w) or (k,), or None
        Shape of one image as the module takes it; (k,) are vectors of pixels.
    output : int or str, optional
        Which of several outputs.
    evaluation : bool
        Whether to read what the module computes in evaluation mode. Weights may then be computed
        by it, so that batch norm and other factors become part of the weights. By default the
        modes are as they are, and weights are parameters.
    masks : bool
        Whether the caller heeds :meth:`Row.masks`; pruned weights are refused otherwise, except in
        evaluation.
    views : bool
        Whether the caller heeds :meth:`Row.views`; parameters in another layout than the layer's
        are refused otherwise, except in evaluation.
    constants : bool
        Whether no gradients are needed, so that parameters without a place in a layer may be taken
        as numbers: those of batch norm in evaluation mode, and factors.

    Raises
    ------
    TypeError, ValueError
        If the module computes something for which there are no layers, or not the same for all
        images; or if no shape is given and several fit, or none.
    """
    module = getattr(module, "_orig_mod", module)  # under torch.compile
    _check_module(module)
    if input_shape is not None:
        try:
            return _read(module, _shape(input_shape), output, evaluation, masks, views, constants)
        except (Misfit, recording.ForwardError) as misfit:
            raise ValueError(str(misfit)) from None
    c_in = next((maps for each in module.modules() if (maps := _maps(each)) is not None), None)
    rows = []
    for c in (1, 3) if c_in is None else (c_in,):
        for size in SIZES:
            try:
                shape = (c, size, size)
                rows.append(_read(module, shape, output, evaluation, masks, views, constants))
            except (Misfit, recording.ForwardError) as misfit:
                last = misfit
    if len(rows) == 1:
        return rows[0]
    tried = ", ".join(f"{size} x {size}" for size in SIZES)
    if not rows:
        raise ValueError(
            f"input_shape: expected (c, h, w), because none of {tried} fits ({last}), got None"
        )
    fitting = " and ".join(str(row.input_shape) for row in rows)
    raise ValueError(
        f"input_shape: expected (c, h, w), because {fitting} fit, and the module does not record "
        "which it was trained on, got None"
    )


def _shape(input_shape: Any) -> tuple[int, ...]:
    if isinstance(input_shape, tuple) and len(input_shape) in (1, 2):
        return tuple(checks.integer("input_shape", number, 1) for number in input_shape)
    return checks.image_shape("input_shape", input_shape)


def _maps(module: nn.Module) -> int | None:
    """Return the number of maps that a module reads, if it is fixed."""
    if isinstance(module, nn.Conv2d):
        return module.in_channels
    if isinstance(module, modules.Conv2d):
        return module.layer.c_in
    if isinstance(module, modules.SubSampling2d):
        return module.layer.channels
    kernels = [each for each in module.parameters(recurse=False) if each.dim() == 4]
    return kernels[0].shape[1] if kernels else None


def _check_module(module: object) -> None:
    """Raise TypeError or ValueError unless a module can be called, and its calls be seen."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {checks.kind(module)}")
    first: tuple[str, torch.dtype] | None = None
    for path, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"{path}: expected a parameter with a shape; call the module once with a batch of "
                "images, which gives it one"
            )
        tensors.array(path, parameter)
        first = first or (path, parameter.dtype)
        if parameter.dtype != first[1]:
            raise TypeError(
                f"{path}: expected {first[1]}, as {first[0]} has, got {parameter.dtype}"
            )
    for path, each in module.named_modules():
        if isinstance(each, torch.jit.ScriptModule):
            raise TypeError(
                f"{path or 'module'}: expected the module from before torch.jit, got "
                f"{type(each).__name__}"
            )
        check_hooks(path or "module", each)


def check_hooks(name: str, module: nn.Module) -> None:
    """Raise ValueError if a module calls more than its own forward pass."""
    for hooks in _HOOKS:
        for hook in getattr(module, hooks).values():
            # Those that make weights, for instance of a mask, are recorded.
            if not type(hook).__module__.startswith("torch.nn.utils."):
                raise ValueError(
                    f"{name}: expected a module without hooks, got {type(module).__name__} with "
                    f"{checks.kind(hook)}; remove it by its handle's remove()"
                )


def _read(
    module: nn.Module,
    shape: tuple[int, ...],
    output: int | str | None,
    evaluation: bool,
    masks: bool,
    views: bool,
    constants: bool,
) -> Row:
    try:
        passes = [_run(module, shape, n, output, evaluation) for n in _SAMPLES]
    except recording.ForwardError as error:
        if error.batch is None or error.batch < 1:
            raise
        # The class demands this number of images.
        try:
            passes = [_run(module, shape, error.batch, output, evaluation) for _ in _SAMPLES]
        except recording.ForwardError:
            raise error from None
    (images, first, drawn, _), *_ = passes
    c, h, w = (1, 1, *shape)[-3:]
    reader = Reader(module, (c, h, w), len(images), evaluation, constants)
    end = reader.read(first)
    row = reader.row
    if drawn:
        raise ValueError(
            "module: expected a forward pass without random numbers but those of dropout, got one "
            "that draws some"
        )
    for place in row.places:
        if place.views and not (views or evaluation):
            raise ValueError(
                f"{place.path}: expected parameters in the shape that the layer has, got others"
            )
        if place.masks and not masks:
            raise ValueError(
                f"{place.path}: expected weights without a mask, got pruned ones; "
                "torch.nn.utils.prune.remove makes them plain parameters, and masks= of fit keeps "
                "their zeros"
            )
    if output == TOGETHER:
        row.outputs = [(found, value) for _, value, _, found in passes]
    for given, value, _, _ in passes:
        for _ in range(end):
            value = before(value)
        images = given.reshape(len(given), *row.input_shape)
        row.samples.append((images.numpy(), value.tensor.detach().reshape(len(given), -1).numpy()))
    return row


def _run(
    module: nn.Module, shape: tuple[int, ...], n: int, output: int | str | None, evaluation: bool
) -> tuple[torch.Tensor, Value, bool, Any]:
    """Return random images, the recorded output for them, whether numbers were drawn, and all
    outputs."""
    dtype = next((each.dtype for each in module.parameters()), torch.float32)
    numbers = np.random.default_rng(n).normal(size=(n, *shape))
    # PyTorch's functions that work in place may change the images.
    given, images = (torch.from_numpy(numbers).to(dtype, copy=True) for _ in range(2))
    with recording.undisturbed(module, evaluation=evaluation) as watch:
        found = Recorder(module, images).run()
    return given, _chosen(found, output), watch.drawn, found


def _chosen(found: Any, output: int | str | None) -> Value:
    """Return one of a module's outputs."""
    if isinstance(found, Value):
        if output not in (None, 0):
            raise ValueError(f"output: expected None for a module of one output, got {output!r}")
        return found
    if output == TOGETHER:
        if (value := recording.common(found)) is None:
            raise ValueError(
                "output: expected outputs that are made of one another in a chain, got others"
            )
        return value
    named: dict[Any, Any] = {}
    if isinstance(found, Mapping):
        named = dict(found)
    elif isinstance(found, list | tuple):
        named = dict(enumerate(found))
    named = {
        key: value for key, value in named.items() if isinstance(value, Value) and value.from_images
    }
    if output is None and len(named) == 1:
        (output,) = named
    if output not in named:
        shapes = ", ".join(
            f"{key!r} of shape (n, {', '.join(map(str, value.tensor.shape[1:]))})"
            for key, value in named.items()
        )
        if not shapes:
            raise TypeError(f"module: expected a tensor as its output, got {checks.kind(found)}")
        raise ValueError(f"output: expected one of the module's outputs, {shapes}, got {output!r}")
    chosen: Value = named[output]
    return chosen
