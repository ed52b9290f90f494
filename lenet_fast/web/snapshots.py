"""The outputs of a network for an image, for the page: maps of every layer, a value per class."""

from __future__ import annotations

import base64
import copy
import functools
import threading
from typing import Any

import numpy as np

from lenet_fast import bitmaps, engines, layers, losses
from lenet_fast.checks import Array
from lenet_fast.data import Dataset, fitted
from lenet_fast.data.arrays import look_inverted
from lenet_fast.layers import Layer
from lenet_fast.network import Network

VALUES = {
    "softmax": {"one": "probability", "smallest_wins": False},
    "rbf": {"one": "penalty", "smallest_wins": True},
    "linear": {"one": "score", "smallest_wins": False},
}
"""The value that a network gives each class, by output layer."""

_KINDS: dict[type[Layer], str] = {
    layers.Conv2D: "convolution",
    layers.Subsample2D: "sub-sampling",
    layers.AvgPool2D: "average pooling",
    layers.MaxPool2D: "max pooling",
    layers.Dense: "dense",
}

_BOUNDS: dict[type[Layer], float] = {
    layers.ScaledTanh: 1.7159,
    layers.Tanh: 1.0,
    layers.Sigmoid: 1.0,
}
"""Limits of the values of activation functions; those of other layers are unlimited."""


class NetworkSnapshot:
    """An immutable copy of a network, which any number of threads may use.

    `number` is that of the network's run, 0 for the first network of the page; `name` is shown to
    visitors. ValueError if the network does not read square images of one map.
    """

    def __init__(self, network: Network, number: int, name: str) -> None:
        maps, rows, columns = network.input_shape
        if maps != 1 or rows != columns:
            raise ValueError(
                f"{name}: expected a network for square images of one map, got one for "
                f"{maps} x {rows} x {columns}"
            )
        if not network.pixel_range_known:
            raise ValueError(
                f"{name}: expected a network that records the values of the bytes 0 and 255, got "
                "one that does not; set its pixel_range"
            )
        self._size = rows
        self.network = copy.deepcopy(network)
        self.number = number
        self.name = name
        self._lock = threading.Lock()
        self._answers: tuple[Dataset, Array] | None = None

    @functools.cached_property
    def _stages(self) -> dict[str, str]:
        """The network's stages except the last one, which gives the answer."""
        stages = self.network.stages
        stages.popitem()
        return stages

    def describe(self) -> dict[str, Any]:
        """Return what the page needs to know about the network besides its weights."""
        network = self.network
        by_name = {layer.name: layer for layer in network.layers}
        shapes = dict(zip(by_name, network.shapes[1:], strict=True))
        before = 1
        stages = []
        for name, last in self._stages.items():
            shape = shapes[last]
            stages.append(
                {
                    "name": name,
                    "kind": _KINDS.get(type(by_name[name]), ""),
                    "shape": list(shape),
                    "links": _links(by_name[name], before, shape[0]),
                }
            )
            before = shape[0]
        units = bitmaps.ROWS * bitmaps.COLUMNS
        centres = network.layers[-1].parameters["w"] if network.output == "rbf" else np.zeros(0)
        return {
            "number": self.number,
            "name": self.name,
            "output": network.output,
            "classes": network.classes,
            **VALUES[network.output],
            "parameters": network.counts().parameters,
            "connections": network.counts().connections,
            "stages": stages,
            "bitmaps": np.nan_to_num(centres).tolist() if centres.shape == (10, units) else None,
        }

    def inspect(self, image: Array, *, inverted: bool = False) -> dict[str, Any]:
        """Return the outputs for one image, (28, 28) uint8, which is resized to the input.

        `inverted`: whether the image comes from a set of dark digits on light.

        The outputs of a layer are int8 in base64; 127 is the layer's limit. If the network
        overflows, there is no digit.
        """
        network = self.network
        turned = self._turned(inverted)
        seen = fitted(image[np.newaxis], self._size, turned=turned, reduced=network.reduced)
        found = network.activations(seen[0])
        outputs = found[network.layers[-1].name][np.newaxis]
        values = outputs
        if network.output == "softmax" and np.isfinite(outputs).all():
            values = network.probabilities(outputs)
        order = np.argsort(outputs if network.output == "rbf" else -outputs, kind="stable")[0]
        stages = {}
        for name, last in self._stages.items():
            maps = np.nan_to_num(found[last])  # JSON has neither NaN nor infinity
            limit = self._limits[name] or float(np.abs(maps).max()) or 1.0
            bytes_ = np.rint(maps / limit * 127).clip(-127, 127).astype(np.int8).tobytes()
            stages[name] = {"limit": limit, "values": base64.b64encode(bytes_).decode()}
        first, second = (int(each) for each in order[:2])
        read = bool(np.isfinite(outputs[0, first]) and not np.isnan(outputs).any())
        return {
            "number": self.number,
            "digit": first if read else None,
            "second": second if read else None,
            "values": np.nan_to_num(values[0]).tolist(),
            "stages": stages,
        }

    def _turned(self, inverted: bool) -> bool:
        """Return whether the network was trained on inverted images of this kind."""
        return self.network.inverted is not None and self.network.inverted != inverted

    @functools.cached_property
    def _limits(self) -> dict[str, float]:
        """The limit of each stage's values, if known; else 0."""
        limits: dict[str, float] = {}
        bound = 0.0
        ends = {last: name for name, last in self._stages.items()}
        for layer in self.network.layers:
            # Pooling keeps the range, and so does dropout, which does nothing here.
            if not isinstance(layer, layers.AvgPool2D | layers.MaxPool2D | layers.Dropout):
                bound = _BOUNDS.get(type(layer), 0.0)
            if layer.name in ends:
                limits[ends[layer.name]] = bound
        return limits

    def mistakes(self, test: Dataset) -> Array:
        """Return the indices of the test images that the network misclassifies."""
        with self._lock:  # a second caller waits for the first one's result
            if self._answers is None or self._answers[0] is not test:
                engine = engines.create(self.network, losses.default_for(self.network))
                turned = self._turned(look_inverted(test.images))
                reduced = self.network.reduced
                seen = fitted(test.images, self._size, turned=turned, reduced=reduced)
                outputs = engine.predict(seen)
                found = np.full(len(test), -1)  # no digit if the network overflows
                sound = np.isfinite(outputs).all(axis=1)
                found[sound] = self.network.classify_outputs(outputs[sound])
                engine.close()
                self._answers = test, np.flatnonzero(found != test.labels)
            return self._answers[1]


def _links(layer: Layer, before: int, maps: int) -> list[list[int]] | None:
    """Return which maps of the previous stage each map reads; None if all read all."""
    if isinstance(layer, layers.Conv2D):
        table = layer.links
        return None if table.all() else [np.flatnonzero(row).tolist() for row in table]
    if isinstance(layer, layers.Dense):
        return None
    return [[each * before // maps] for each in range(maps)]
