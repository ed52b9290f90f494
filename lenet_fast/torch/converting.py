"""Conversion between modules and networks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from lenet_fast import checks, layers
from lenet_fast.layers import Layer
from lenet_fast.network import OUTPUTS, Network
from lenet_fast.torch import modules, reading, tensors

_ACTIVATIONS: dict[type[Layer], tuple[type[nn.Module], dict[str, str]]] = {
    layers.ReLU: (nn.ReLU, {}),
    layers.LeakyReLU: (nn.LeakyReLU, {"slope": "negative_slope"}),
    layers.ELU: (nn.ELU, {"alpha": "alpha"}),
    layers.GELU: (nn.GELU, {"approximate": "approximate"}),
    layers.Tanh: (nn.Tanh, {}),
    layers.Sigmoid: (nn.Sigmoid, {}),
    layers.ScaledTanh: (modules.ScaledTanh, {}),
}
"""Modules by their layers, and what they call the layers' options."""

_DROPOUTS: dict[type[Layer], type[nn.Module]] = {
    layers.Dropout: nn.Dropout,
    layers.Dropout2D: nn.Dropout2d,
}


def from_torch(
    module: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    *,
    output: str | int | None = None,
    pixel_range: tuple[float, float] | None = None,
) -> Network:
    """Return a network that computes the same as a module of any class.

    Parameters
    ----------
    module : nn.Module
        Its forward pass must be a chain of the functions listed in the notes, from one tensor of
        images, on the CPU, in float32 or float64.
    input_shape : (c, h, w), (h, w) or (k,), optional
        Shape of one image as the module takes it; by default that of 32 x 32, 28 x 28 and 16 x 16
        which fits, with the maps of the first convolution. If several fit, it is required. The
        network takes images (c, h, w) in any case.
    output : {"linear", "softmax", "rbf"}, or int or str, optional
        As for :class:`lenet_fast.network.Network`. By default "rbf" if the module ends with an RBF,
        "softmax" if it ends with a softmax or log-softmax, else "linear". For a module that returns
        several tensors it is the place of one in the tuple, or its key in the dict.
    pixel_range : (background, foreground), optional
        Values of the bytes 0 and 255 in the module's training images: (0.0, 1.0) with
        ``ToTensor``, and ((0 - mean) / std, (1 - mean) / std) with ``Normalize`` after it. A module
        does not record them. Without them the network takes prepared floats only, and refuses
        bytes until its ``pixel_range`` is set.

    Returns
    -------
    Network
        In the dtype of the module's parameters, with copies of them. A final softmax or log-softmax
        is not included. Layers get the names of the modules, unless those are only numbers.

    Raises
    ------
    TypeError, ValueError
        If a function, or an option of one, has no counterpart. The message gives the line of the
        user's code and the module; if several image shapes fit, it lists them.

    Notes
    -----
    The module's forward pass is run twice in evaluation mode, with a few random images, while each
    call of a function of PyTorch is recorded; the network's outputs for them are compared with the
    module's. Nothing of the module changes, nor do PyTorch's random generators.

    Read are conv2d (of any padding with one value, also by ``F.pad`` before it, and of any stride,
    dilation and groups), linear and matmul, also with parameters used directly, a sum with a bias
    per map or unit; max_pool2d and avg_pool2d, adaptive pooling to sizes that divide the image, a
    mean over all pixels; relu, leaky_relu (of a slope of at least 0), elu (of an alpha above 0),
    selu, gelu, tanh, sigmoid, ``1.7159 tanh(2 x / 3)``; dropout and dropout2d (of a p below 1);
    flatten, view, reshape and the like; and the modules of :mod:`lenet_fast.torch`. It does not
    matter whether functions, methods or modules are called, and how often.

    Batch norm, and factors and summands that are numbers or one per map, become part of the layer
    before them or a 1 x 1 convolution; padding before a pooling becomes one, too. An average times
    a coefficient plus a bias per map becomes sub-sampling; convolutions of some maps each, whose
    results `cat` joins, become one with a connection table; and sums of squared differences an RBF
    layer. A linear layer without biases becomes one with biases of zero. After a last layer that
    makes maps of one pixel comes a linear layer that changes nothing. The network drops units in
    training only.

    Not read are other branches (residual networks), control flow that depends on the images,
    ``torch.autograd.Function``, NumPy and ``torch.jit`` within a forward pass, and hooks.

    Examples
    --------
    >>> import torch
    >>> import torch.nn.functional as F
    >>> from torch import nn
    >>> from lenet_fast.torch import from_torch
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = nn.Conv2d(1, 4, 5)
    ...         self.fc = nn.Linear(3136, 10)
    ...
    ...     def forward(self, x):
    ...         x = F.relu(self.conv(x))
    ...         return self.fc(x.view(x.size(0), -1))
    >>> from_torch(Net()).counts()
    Counts(units=4170, parameters=31474, connections=112906)
    """
    kind: Any = output if output in OUTPUTS else None
    row = reading.read(module, input_shape, output if kind is None else None, evaluation=True)
    return row.network(row.output if kind is None else kind, pixel_range)


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
    ValueError
        If a layer is MaxPool2D with ``ties="all"``, which PyTorch lacks.

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
        if layer.ties != "first":
            raise ValueError(
                "network: expected MaxPool2D layers with ties='first', the only way of "
                f"nn.MaxPool2d, got ties={layer.ties!r} ({layer.name})"
            )
        return nn.MaxPool2d(layer.kernel, layer.stride)
    if type(layer) is layers.AvgPool2D:
        return nn.AvgPool2d(layer.kernel, layer.stride)
    if type(layer) is layers.Subsample2D:
        return modules.SubSampling2d(**options)
    if type(layer) is layers.Dense:
        return nn.Linear(layer.n_in, layer.n_out)
    if type(layer) is layers.RBF:
        return modules.RBF(layer.n_in, layer.n_out, centres=layer.parameters["w"])
    if isinstance(layer, layers.Dropout) and type(layer) in _DROPOUTS:
        return _DROPOUTS[type(layer)](layer.p)
    if type(layer) in _ACTIVATIONS:
        kind, names = _ACTIVATIONS[type(layer)]
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
