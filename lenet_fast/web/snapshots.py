"""A network for the page: what JavaScript needs to run it, and the outputs of every layer."""

from __future__ import annotations

import base64
import copy
import functools
import threading
from typing import Any, NamedTuple

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
    layers.RBF: "RBF",
    layers.Dropout: "dropout",
    layers.Dropout2D: "dropout",
    **dict.fromkeys(layers.ACTIVATIONS.values(), "activation"),
}

MAX_WEIGHTS = 2**24
"""Most numbers of a network, 64 MiB: the page keeps them all in the browser."""

_BOUNDS: dict[type[Layer], float] = {
    layers.ScaledTanh: 1.7159,
    layers.Tanh: 1.0,
    layers.Sigmoid: 1.0,
}
"""Limits of the values of activation functions; those of other layers are unlimited."""


class Predictions(NamedTuple):
    """What a network reads in the images of a test set, an entry per image."""

    first: Array
    """int16: the class that wins; -1 if an output is not finite."""
    second: Array
    """int16: the next one; -1 likewise."""
    margins: Array
    """float32: by how much the output of the first one is better; 0 likewise."""

    def to_json(self, test: Dataset) -> dict[str, Any]:
        """Return the arrays and the labels, little-endian, in base64."""
        columns = {"labels": test.labels.astype("<i2"), **self._asdict()}
        return {name: _base64(values) for name, values in columns.items()}


class NetworkSnapshot:
    """An immutable copy of a network, which any number of threads may use.

    `number` is that of the network's run, 0 for the first network of the page; `name` is shown to
    visitors. ValueError if the network does not read square images of one map, does not know the
    values of bytes, or has more than :data:`MAX_WEIGHTS` numbers.
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
        count = sum(array.size for array in network.parameters.values())
        if count > MAX_WEIGHTS:
            raise ValueError(
                f"{name}: expected a network of at most {MAX_WEIGHTS:,} weights, which the page "
                f"keeps in the browser, got {count:,}"
            )
        self._size = rows
        self.network = copy.deepcopy(network)
        self.number = number
        self.name = name
        self._lock = threading.Lock()
        self._answers: tuple[Dataset, Predictions] | None = None

    @functools.cached_property
    def _stages(self) -> dict[str, str]:
        """The network's stages except the last one, which gives the answer."""
        stages = self.network.stages
        stages.popitem()
        return stages

    def describe(self) -> dict[str, Any]:
        """Return the network as ``network.js`` reads it: layers, stages, weights, and words.

        A layer is its :meth:`.Layer.config` with its ``kind``, the ``shape`` of its outputs, of
        three axes, and the shapes of its ``weights``; links are lists of the maps that a map reads.
        A stage is a layer with the activation after it, from layer ``first`` to ``last``, whose
        values are at most ``limit`` (0: unlimited). ``weights`` are all arrays, in base64.
        """
        network = self.network
        described = [self._layer(k) for k in range(len(network.layers))]
        places = {layer.name: k for k, layer in enumerate(network.layers)}
        stages = []
        for name, last in network.stages.items():
            first, end = places[name], places[last]
            stage = {key: described[first][key] for key in ("name", "kind", "shape", "links")}
            limit = self._limits[end]
            stages.append({**stage, "first": first, "last": end, "limit": limit})
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
            "input_shape": list(network.input_shape),
            "pixel_range": list(network.pixel_range),
            "inverted": network.inverted,
            "reduced": network.reduced,
            "layers": described,
            "stages": stages[:-1],
            "answer": stages[-1],
            "bitmaps": np.nan_to_num(centres).tolist() if centres.shape == (10, units) else None,
            "weights": base64.b64encode(self.weights()).decode(),
        }

    def _layer(self, k: int) -> dict[str, Any]:
        layer, shapes = self.network.layers[k], self.network.shapes
        before, shape = ((*shapes[at], 1, 1)[:3] for at in (k, k + 1))
        return layer.config() | {
            "kind": _KINDS[type(layer)],
            "shape": list(shape),
            "links": _links(layer, before[0], shape[0]),
            # A list, because JSON objects need not keep their order.
            "weights": [[name, list(array.shape)] for name, array in layer.parameters.items()],
        }

    def weights(self) -> bytes:
        """Return all arrays one behind the other, float32, little-endian."""
        arrays = self.network.parameters.values()
        with np.errstate(over="ignore"):  # of float64; the page then shows no digit
            return b"".join(array.astype("<f4").tobytes() for array in arrays)

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
        limits = dict(zip(found, self._limits, strict=True))
        for name, last in self._stages.items():
            maps = np.nan_to_num(found[last])  # JSON has neither NaN nor infinity
            limit = limits[last] or float(np.abs(maps).max()) or 1.0
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
    def _limits(self) -> list[float]:
        """The limit of each layer's values, if known; else 0."""
        limits: list[float] = []
        for layer in self.network.layers:
            # Pooling keeps the range, and so does dropout, which does nothing here.
            if not isinstance(layer, layers.AvgPool2D | layers.MaxPool2D | layers.Dropout):
                limits.append(_BOUNDS.get(type(layer), 0.0))
            else:
                limits.append(limits[-1] if limits else 0.0)
        return limits

    def predictions(self, test: Dataset) -> Predictions:
        """Return what the network reads in all test images; computed once for a test set."""
        with self._lock:  # a second caller waits for the first one's result
            if self._answers is None or self._answers[0] is not test:
                self._answers = test, self._predicted(test)
            return self._answers[1]

    def _predicted(self, test: Dataset) -> Predictions:
        network = self.network
        engine = engines.create(network, losses.default_for(network))
        turned = self._turned(look_inverted(test.images))
        seen = fitted(test.images, self._size, turned=turned, reduced=network.reduced)
        outputs = engine.predict(seen)
        engine.close()
        sound = np.isfinite(outputs.sum(axis=1))
        scores = np.where(sound[:, np.newaxis], outputs, 0)
        scores = -scores if network.output == "rbf" else scores
        best = np.argsort(-scores, axis=1, kind="stable")[:, :2]  # the first one in a tie
        scores = np.take_along_axis(scores, best, axis=1)
        first, second = np.where(sound, best[:, [0, -1]].T, -1).astype("<i2")
        return Predictions(first, second, (scores[:, 0] - scores[:, -1]).astype("<f4"))


def images_json(test: Dataset, indices: list[int]) -> dict[str, Any]:
    """Return test images for the page: their sides, their bytes in base64, and their labels."""
    _, rows, columns = test.images.shape
    return {
        "rows": rows,
        "columns": columns,
        "pixels": _base64(test.images[indices]),
        "labels": test.labels[indices].tolist(),
    }


def _base64(values: Array) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _links(layer: Layer, before: int, maps: int) -> list[list[int]] | None:
    """Return which maps of the previous layer each map reads; None if all, or its own one."""
    if isinstance(layer, layers.Conv2D):
        table = layer.links
        return None if table.all() else [np.flatnonzero(row).tolist() for row in table]
    if isinstance(layer, layers.AvgPool2D | layers.MaxPool2D | layers.Subsample2D):
        return [[each * before // maps] for each in range(maps)]
    return None
