"""The content of a module: layers without arrays, and the tensors of their parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from lenet_fast import choices, initialisers, layers
from lenet_fast.checks import Array
from lenet_fast.layers import Layer
from lenet_fast.network import Network
from lenet_fast.torch import modules, tensors
from lenet_fast.torch.recording import Value

_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
"""Of the outputs, relative to the largest; ours and PyTorch's add in another order."""


View = Callable[[Array], Array]
"""Returns the same memory in another layout."""


class Place(NamedTuple):
    """The tensors of a layer's arrays, and what else the module says of the layer."""

    path: str  # of the module, or the line of the user's code
    parameters: dict[str, torch.Tensor | None]  # by our names; None: omitted biases
    constants: dict[str, torch.Tensor]  # by our names: arrays that are no parameters of the module
    masks: dict[str, torch.Tensor]  # of ones and zeros, by our names, that broadcast to parameters
    views: dict[str, View]  # by our names: the layer's layout of a parameter that has another
    training: bool  # of dropout: whether it drops


class Row:
    """What a module computes: layers without arrays, and the places of their parameters.

    Attributes
    ----------
    input_shape : (c, h, w)
        Of the network. A module that reshapes its input may get the same numbers in another shape.
    layers : list of Layer
    places : list of Place
        One per layer.
    softmax : nn.Softmax, nn.LogSoftmax or None
        What the module ends with. The network ends before it.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.places: list[Place] = []
        self.softmax: nn.Softmax | nn.LogSoftmax | None = None
        self.without_gradients = False  # whether parameters were taken as constants
        self.outputs: list[tuple[Any, Value]] = []  # all, of each pass, and their common value
        self.beside: list[torch.Tensor] = []  # with which outputs are made of the network's
        self.output_shape: tuple[int, ...] = ()  # of one output of the module
        self.names: dict[int, str] = {}  # of the module's tensors, by id
        self.samples: list[tuple[Array, Array]] = []  # images, and the module's outputs for them

    @property
    def output(self) -> choices.Output:
        """The output kind of a network that ends like this."""
        if self.softmax is not None:
            return "softmax"
        return "rbf" if self.layers and isinstance(self.layers[-1], layers.RBF) else "linear"

    def network(self, output: choices.Output, pixel_range: tuple[float, float] | None) -> Network:
        """Return a network with copies of the parameters, whose outputs are the module's.

        ValueError or TypeError if its outputs for a few random images are others, or if the
        parameters share memory or differ in dtype.
        """
        given = [
            (self._called(place, name, tensor), tensor)
            for place in self.places
            for name, tensor in place.parameters.items()
            if tensor is not None
        ]
        arrays = [tensors.array(path, tensor) for path, tensor in given]
        if any(itertools.starmap(np.shares_memory, itertools.combinations(arrays, 2))):
            raise ValueError("module: expected separate parameters in each module, got shared ones")
        dtype: Any = "float32" if not given else str(given[0][1].dtype).removeprefix("torch.")
        with initialisers.deferred():  # whose weights would be overwritten
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
            for name, constant in place.constants.items():
                layer.parameters[name][...] = tensors.array(place.path, constant)
        masks, views = self.masks(network), self.views(network)
        for name, tensor in self.tensors(network).items():
            array = tensors.array(name, tensor)
            network.parameters[name][...] = views[name](array) if name in views else array
            if name in masks:
                network.parameters[name][...] *= tensors.array(name, masks[name])
        self._check(network)
        return network

    def tensors(self, network: Network) -> dict[str, torch.Tensor]:
        """Return the module's tensors by the names of the network's parameters."""
        found = {}
        for layer, place in zip(network.layers, self.places, strict=True):
            for name, tensor in place.parameters.items():
                if tensor is not None:
                    found[f"{layer.name}.{name}"] = tensor
                    expected = network.parameters[f"{layer.name}.{name}"].shape
                    if name not in place.views and tuple(tensor.shape) != expected:
                        raise ValueError(
                            f"{self._called(place, name, tensor)}: expected shape {expected}, got "
                            f"{tuple(tensor.shape)}"
                        )
        return found

    def masks(self, network: Network) -> dict[str, torch.Tensor]:
        """Return masks of ones and zeros by the names of the parameters that they prune, in the
        parameters' shape."""
        found = {}
        for layer, place in zip(network.layers, self.places, strict=True):
            for name, mask in place.masks.items():
                tensor = place.parameters[name]
                assert tensor is not None
                found[f"{layer.name}.{name}"] = mask.expand_as(tensor)
        return found

    def views(self, network: Network) -> dict[str, View]:
        """Return the layouts of parameters that have others, by the names of the network's."""
        return {
            f"{layer.name}.{name}": view
            for layer, place in zip(network.layers, self.places, strict=True)
            for name, view in place.views.items()
        }

    def _called(self, place: Place, name: str, tensor: torch.Tensor) -> str:
        return self.names.get(id(tensor), f"{place.path}.{modules.NAMES[name]}")

    def _check(self, network: Network) -> None:
        for images, expected in self.samples:
            y = images
            with np.errstate(all="ignore"):
                for layer in network.layers:
                    y = layer.forward(y)
                scale = max(1.0, float(np.abs(expected).max(initial=0)))
                same = np.allclose(
                    *(y, expected), 0, _TOLERANCE[network.dtype.name] * scale, equal_nan=True
                )
            if not same and np.isfinite(expected).all():
                raise ValueError(
                    "module: expected the same function of the images in each call, made of the "
                    "functions of PyTorch that were seen in it, got outputs that differ from "
                    f"theirs by {np.abs(y - expected).max():.2g}"
                )
