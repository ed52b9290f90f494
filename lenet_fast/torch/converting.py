"""Conversion between modules and networks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from lenet_fast import checks, layers
from lenet_fast.layers import Layer
from lenet_fast.network import Network
from lenet_fast.torch import modules, sequential, tensors


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, int, int] | None = None,
    *,
    output: str | None = None,
    pixel_range: tuple[float, float] | None = None,
) -> Network:
    """Return a network that computes the same as an ``nn.Sequential``.

    Parameters
    ----------
    module : nn.Sequential
        Made of the modules listed in the notes, also nested.
    input_shape : (c, h, w), optional
        Shape of one image; by default that of 32 x 32, 28 x 28 and 16 x 16 which fits, with the
        maps of the first convolution. If several fit, it is required.
    output : {"linear", "softmax", "rbf"}, optional
        As for :class:`lenet_fast.network.Network`. By default "rbf" if the last module is an RBF,
        "softmax" if it is a Softmax or LogSoftmax, else "linear".
    pixel_range : (background, foreground), optional
        Values of the bytes 0 and 255 in the module's training images: (0.0, 1.0) with
        ``ToTensor``, and ((0 - mean) / std, (1 - mean) / std) with ``Normalize`` after it. A module
        does not record them. Without them the network takes prepared floats only, and refuses
        bytes until its ``pixel_range`` is set.

    Returns
    -------
    Network
        In the dtype of the module's parameters, with copies of them. A final Softmax or LogSoftmax
        is not included. Layers get the names of the modules, unless those are only numbers.

    Raises
    ------
    TypeError, ValueError
        If a module, or an option of one, has no counterpart. The message names it; if several image
        shapes fit, it lists them.

    Notes
    -----
    Supported are Conv2d (padded with zeros or not), Linear, MaxPool2d and AvgPool2d (without
    padding and ``ceil_mode``), ReLU, LeakyReLU (of a slope of at least 0), ELU (of an alpha above
    0), GELU, Tanh, Sigmoid, Dropout and Dropout2d (of a p below 1), Flatten, Identity, and the
    modules of :mod:`lenet_fast.torch`. A Linear without biases becomes a layer with biases of zero.
    The network drops units in training only, whatever mode the module is in.

    Examples
    --------
    >>> from torch import nn
    >>> from lenet_fast.torch import from_torch
    >>> module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 10))
    >>> from_torch(module).counts()
    Counts(units=4170, parameters=31474, connections=112906)
    """
    row = sequential.read(module, input_shape)
    if output is None:
        output = row.output
    network = row.network(output, pixel_range)
    for name, tensor in row.tensors(network).items():
        network.parameters[name][...] = tensors.array(name, tensor)
    return network


def to_torch(network: Network) -> nn.Sequential:
    """Return an ``nn.Sequential`` that computes the same as a network.

    Parameters
    ----------
    network : Network
        With the layers of :mod:`lenet_fast.layers`.

    Returns
    -------
    nn.Sequential
        Of PyTorch's own modules where they exist, else of those of :mod:`lenet_fast.torch`, with a
        Flatten before dense layers. The parameters are copies. A name such as ``C1.activation``
        becomes ``C1_activation``, because PyTorch allows no dots. A softmax is not included, as in
        the network. Like every new module it is in training mode: if it has dropout, put it into
        evaluation mode before predicting.

    Raises
    ------
    TypeError
        If it is not a network, or has other layers.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.torch import to_torch
    >>> to_torch(models.lenet5(pooling="max", output="softmax"))[:3]
    Sequential(
      (C1): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))
      (C1_activation): ScaledTanh()
      (S2): MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=0, dilation=1, ceil_mode=False)
    )
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    made: OrderedDict[str, nn.Module] = OrderedDict()

    def add(name: str, module: nn.Module) -> None:
        name = name.replace(".", "_")
        while name in made or hasattr(nn.Sequential, name):
            name += "_"
        made[name] = module

    # The modules' random initial values are overwritten; PyTorch's generator must not advance.
    with torch.random.fork_rng(devices=[]):
        for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
            if isinstance(layer, layers.Dense | layers.RBF) and len(shape) > 1:
                add("flatten", nn.Flatten())
            add(layer.name, _module(layer, shape).to(tensors.dtype(network.dtype)))
    with torch.no_grad():
        for layer, module in zip(
            network.layers,
            (module for module in made.values() if not isinstance(module, nn.Flatten)),
            strict=True,
        ):
            for name, array in layer.parameters.items():
                getattr(module, modules.NAMES[name]).copy_(torch.from_numpy(array.copy()))
    return nn.Sequential(made)


def _module(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    """Return a new module that computes the same as a layer."""
    options: dict[str, Any] = {name: getattr(layer, name) for name in layer.options}
    if type(layer) is layers.Conv2D:
        return _convolution(layer, options, shape)
    if type(layer) is layers.MaxPool2D:
        return nn.MaxPool2d(layer.kernel, layer.stride)
    if type(layer) is layers.AvgPool2D:
        return nn.AvgPool2d(layer.kernel, layer.stride)
    if type(layer) is layers.Subsample2D:
        return modules.SubSampling2d(**options)
    if type(layer) is layers.Dense:
        return nn.Linear(layer.n_in, layer.n_out)
    if type(layer) is layers.RBF:
        return modules.RBF(layer.n_in, layer.n_out, centres=layer.parameters["w"])
    for dropout, ours in sequential.DROPOUTS.items():
        if type(layer) is ours:
            return dropout(layer.p)
    for kind, (activation, names) in sequential.ACTIVATIONS.items():
        if type(layer) is activation:
            return kind(**{names[option]: value for option, value in options.items()})
    raise TypeError(
        f"network: expected layers of lenet_fast.layers, got {type(layer).__name__} ({layer.name})"
    )


def _convolution(
    layer: layers.Conv2D, options: dict[str, Any], shape: tuple[int, ...]
) -> nn.Module:
    top, bottom, left, right = layer.padding
    padded = any(layer.padding)
    if (
        layer.table is None
        and layer.bias != "unit"
        and (top, left) == (bottom, right)
        and not (padded and layer.pad_value)
    ):
        return nn.Conv2d(
            *(layer.c_in, layer.c_out, layer.kernel),
            stride=layer.stride,
            padding=(top, left),
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
        )
    options["connections"] = layer.table
    if layer.bias == "unit":
        options["input_size"] = shape[1:]
    return modules.Conv2d(**options)
