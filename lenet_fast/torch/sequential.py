"""Conversion of an ``nn.Sequential`` to our layers, and the tensors of their parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from lenet_fast import checks, layers
from lenet_fast.layers import Layer, Shape
from lenet_fast.layers.base import NAME
from lenet_fast.network import Network
from lenet_fast.torch import modules, tensors

SIZES = (32, 28, 16)
"""Image sizes that are tried if none is given."""

ACTIVATIONS: dict[type[nn.Module], tuple[type[Layer], dict[str, str]]] = {
    nn.ReLU: (layers.ReLU, {}),
    nn.LeakyReLU: (layers.LeakyReLU, {"slope": "negative_slope"}),
    nn.ELU: (layers.ELU, {"alpha": "alpha"}),
    nn.GELU: (layers.GELU, {"approximate": "approximate"}),
    nn.Tanh: (layers.Tanh, {}),
    nn.Sigmoid: (layers.Sigmoid, {}),
    modules.ScaledTanh: (layers.ScaledTanh, {}),
}
"""Layers by their modules, and what these call the layers' options."""

DROPOUTS: dict[type[nn.Module], type[layers.Dropout]] = {
    nn.Dropout: layers.Dropout,
    nn.Dropout2d: layers.Dropout2D,
}
"""Layers by their modules."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Place(NamedTuple):
    """The tensors of a layer's parameters, and their module."""

    path: str  # of the module
    module: nn.Module
    parameters: dict[str, torch.Tensor | None]  # by our names; None: omitted biases


class Row:
    """The content of a module: layers without arrays, and the places of their parameters."""

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self.input_shape = input_shape
        self.shape: Shape = input_shape
        self.layers: list[Layer] = []
        self.places: list[Place] = []
        self.softmax: nn.Module | None = None  # the final one

    @property
    def output(self) -> str:
        """The output kind of a network that ends like this."""
        if self.softmax is not None:
            return "softmax"
        return "rbf" if self.layers and isinstance(self.layers[-1], layers.RBF) else "linear"

    def network(self, output: str, pixel_range: tuple[float, float] | None) -> Network:
        """Return the network; its parameters are set later, except omitted biases, which are 0."""
        given = [
            (f"{place.path}.{modules.NAMES[name]}", tensor)
            for place in self.places
            for name, tensor in place.parameters.items()
            if tensor is not None
        ]
        arrays = [tensors.array(path, tensor) for path, tensor in given]
        for path, tensor in given:
            if tensor.dtype != given[0][1].dtype:
                raise TypeError(
                    f"{path}: expected {given[0][1].dtype}, as {given[0][0]} has, got "
                    f"{tensor.dtype}"
                )
        if any(itertools.starmap(np.shares_memory, itertools.combinations(arrays, 2))):
            raise ValueError("module: expected separate parameters in each module, got shared ones")
        dtype = "float32" if not given else str(given[0][1].dtype).removeprefix("torch.")
        network = Network(
            self.layers,
            input_shape=self.input_shape,
            output=output,
            dtype=dtype,
            pixel_range=pixel_range,
        )
        for layer, place in zip(self.layers, self.places, strict=True):
            for name, given_tensor in place.parameters.items():
                if given_tensor is None:
                    layer.parameters[name][...] = 0
        return network

    def tensors(self, network: Network) -> dict[str, torch.Tensor]:
        """Return the module's tensors by the names of the network's parameters."""
        found = {}
        for layer, place in zip(network.layers, self.places, strict=True):
            for name, tensor in place.parameters.items():
                if tensor is not None:
                    found[f"{layer.name}.{name}"] = tensor
                    expected = network.parameters[f"{layer.name}.{name}"].shape
                    if tuple(tensor.shape) != expected:
                        raise ValueError(
                            f"{place.path}.{modules.NAMES[name]}: expected shape {expected}, got "
                            f"{tuple(tensor.shape)}"
                        )
        return found


class _Misfit(Exception):  # noqa: N818  (named after the event)
    """The images do not fit; others might. Internal to this module."""


def read(module: nn.Module, input_shape: tuple[int, int, int] | None) -> Row:
    """Return the content of a module, for images of a given shape or the only usual one that fits.

    Raises
    ------
    TypeError, ValueError
        If it is not an ``nn.Sequential`` of modules with known layers; or if no shape is given and
        several fit, or none.
    """
    leaves = list(_leaves("", module))
    if input_shape is not None:
        try:
            return _read(leaves, checks.image_shape("input_shape", input_shape))
        except _Misfit as misfit:
            raise ValueError(str(misfit)) from None
    c_in = next((maps for _, leaf in leaves if (maps := _maps(leaf)) is not None), None)
    if c_in is None:
        raise ValueError("input_shape: expected (c, h, w) for a module without Conv2d, got None")
    rows = []
    for size in SIZES:
        try:
            rows.append(_read(leaves, (c_in, size, size)))
        except _Misfit as misfit:
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


def _leaves(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of nested sequences, with their paths."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Sequential, got {checks.kind(module)}")
    if path or isinstance(module, nn.Sequential):
        check_plain(path or "module", module)
    # A subclass may compute something else.
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children() omits repeated ones
            assert child is not None
            yield from _leaves(f"{path}.{name}" if path else name, child)
    elif not path:
        raise TypeError(f"module: expected an nn.Sequential, got {type(module).__name__}")
    else:
        yield path, module


def check_plain(name: str, module: nn.Module) -> None:
    """Raise ValueError if an instance computes something else than its class."""
    if any(getattr(module, hooks) for hooks in _HOOKS) or "forward" in vars(module):
        raise ValueError(
            f"{name}: expected a module without hooks and without its own forward, got "
            f"{type(module).__name__}"
        )


def _read(leaves: list[tuple[str, nn.Module]], input_shape: tuple[int, int, int]) -> Row:
    row = Row(input_shape)
    for path, module in leaves:
        if row.softmax is not None:
            raise ValueError(f"{path}: expected nothing after a softmax, got {module}")
        kind = type(module)
        if kind is nn.Identity:
            continue
        if kind is nn.Flatten:
            _allow(path, module, start_dim=(1,), end_dim=(-1,))
            row.shape = (math.prod(row.shape),)
        elif kind in (nn.Softmax, nn.LogSoftmax):
            _allow(path, module, dim=(1, -1))
            row.softmax = module
        elif kind in READERS:
            if kind in _FLAT and len(row.shape) != 1:
                raise _Misfit(
                    f"{path}: expected a Flatten before it, got images of shape {row.shape}"
                )
            layer, parameters = READERS[kind](path, module)
            layer.name = _name(path)
            try:
                row.shape = layer.output_shape(row.shape)
            except ValueError as error:
                raise _Misfit(f"{path}: {error}") from error
            row.layers.append(layer)
            row.places.append(Place(path, module, parameters))
        else:
            known = (*READERS, nn.Flatten, nn.Identity, nn.Softmax, nn.LogSoftmax)
            # Our Conv2d has the same name as PyTorch's.
            names = ", ".join(dict.fromkeys(each.__name__ for each in known))
            raise ValueError(
                f"{path}: expected one of {names}, got {kind.__name__} as module {path} of the "
                "nn.Sequential"
            )
    return row


def _name(path: str) -> str:
    """Return a module's path if it is valid for a layer and not only numbers, else ""."""
    return path if NAME.fullmatch(path) and not path.replace(".", "").isdigit() else ""


def _maps(module: nn.Module) -> int | None:
    """Return the number of maps that a module reads, if it is fixed."""
    if type(module) is nn.Conv2d:
        return module.in_channels
    if type(module) is modules.Conv2d:
        return module.layer.c_in
    return module.layer.channels if type(module) is modules.SubSampling2d else None


def _allow(path: str, module: nn.Module, **allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless the options of a module have allowed values."""
    for option, values in allowed.items():
        value = getattr(module, option)
        if value not in values:
            text = " or ".join(map(repr, values))
            raise ValueError(
                f"{path}: expected {option} {text} of {type(module).__name__}, got {value!r}"
            )


Read = tuple[Layer, dict[str, torch.Tensor | None]]


def _conv2d(path: str, module: nn.Conv2d) -> Read:
    if any(module.padding if isinstance(module.padding, tuple) else (module.padding == "same",)):
        _allow(path, module, padding_mode=("zeros",))
    padding: Any = module.padding
    options: dict[str, Any] = {
        name: getattr(module, name) for name in ("stride", "dilation", "groups")
    }
    if padding == "valid":
        padding = 0
    elif padding == "same":  # an odd pixel goes below and on the right
        pairs = zip(module.dilation, module.kernel_size, strict=True)
        borders = [dilation * (kernel - 1) for dilation, kernel in pairs]
        padding = tuple(side for total in borders for side in (total // 2, total - total // 2))
    kernel: Any = module.kernel_size
    layer = layers.Conv2D(
        *(module.in_channels, module.out_channels, kernel),
        padding=padding,
        bias=None if module.bias is None else "map",
        **options,
    )
    return layer, _weights(module) if module.bias is not None else {"w": module.weight}


def _weights(module: Any) -> dict[str, torch.Tensor | None]:
    return {name: getattr(module, called) for name, called in modules.NAMES.items()}


def _linear(path: str, module: nn.Linear) -> Read:
    return layers.Dense(module.in_features, module.out_features), _weights(module)


def _max_pool2d(path: str, module: nn.MaxPool2d) -> Read:
    _allow(
        *(path, module),
        padding=(0, (0, 0)),
        dilation=(1, (1, 1)),
        ceil_mode=(False,),
        return_indices=(False,),
    )
    return layers.MaxPool2D(module.kernel_size, module.stride), {}


def _avg_pool2d(path: str, module: nn.AvgPool2d) -> Read:
    _allow(path, module, padding=(0, (0, 0)), ceil_mode=(False,), divisor_override=(None,))
    return layers.AvgPool2D(module.kernel_size, module.stride), {}


def _activation(path: str, module: nn.Module) -> Read:
    kind, options = ACTIVATIONS[type(module)]
    try:
        return kind(**{ours: getattr(module, theirs) for ours, theirs in options.items()}), {}
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {type(module).__name__}: {error}") from None


def _dropout(path: str, module: nn.Dropout | nn.Dropout2d) -> Read:
    try:
        return DROPOUTS[type(module)](module.p), {}
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {type(module).__name__}: {error}") from None


def _ours(path: str, module: modules.FromLayer) -> Read:
    parameters = {
        name: getattr(module, called)
        for name, called in modules.NAMES.items()
        if getattr(module, called, None) is not None
    }
    return layers.from_config({**module.layer.config(), "name": None}), parameters


READERS: dict[type[nn.Module], Callable[[str, Any], Read]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys(DROPOUTS, _dropout),
    **dict.fromkeys((modules.Conv2d, modules.SubSampling2d, modules.RBF), _ours),
}
_FLAT = (nn.Linear, modules.RBF)
