"""ONNX files that PyTorch and Keras write from modules as people write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import require
from network_cases import distance

from lenet_fast import onnx

torch = require("torch")
require("onnx")
require("onnxscript")
nn = torch.nn
functional = nn.functional

TOLERANCE = 1e-5  # of the largest output

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own


class LeNet(nn.Module):
    """A class with its own forward, which `view` and `ends` complete."""

    def __init__(self, view: Callable[[Any, Any], Any], *, several: bool = False) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5, padding="same"), nn.Conv2d(6, 16, 5)
        self.f1, self.f2 = nn.Linear(400, 84), nn.Linear(84, 10)
        self.view, self.several = view, several

    def forward(self, x: Any) -> Any:
        y = functional.max_pool2d(functional.relu(self.c1(x)), 2)
        y = self.view(x, functional.max_pool2d(functional.relu(self.c2(y)), 2))
        y = self.f2(functional.relu(self.f1(y)))
        return (y, functional.softmax(y, dim=1)) if self.several else y


def with_norms() -> Any:
    return nn.Sequential(
        *(nn.BatchNorm2d(1), nn.Conv2d(1, 6, 5, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(864, 20)),
        *(nn.BatchNorm1d(20), nn.Sigmoid(), nn.BatchNorm1d(20), nn.Dropout(), nn.Linear(20, 10)),
    )


MODULES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "view(x.size(0), -1)": (lambda: LeNet(lambda x, y: y.view(x.size(0), -1)), (1, 28, 28)),
    "shape[1] * shape[2] * shape[3]": (
        lambda: LeNet(lambda _, y: y.reshape(-1, y.shape[1] * y.shape[2] * y.shape[3])),
        (1, 28, 28),
    ),
    "two outputs": (
        lambda: LeNet(lambda _, y: torch.flatten(y, 1), several=True),
        (1, 28, 28),
    ),
    "batch norm": (with_norms, (1, 28, 28)),
    "rows": (lambda: nn.Sequential(nn.Linear(784, 30), nn.ELU(), nn.Linear(30, 10)), (784,)),
    "(n, 28, 28)": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (28, 28)),
}
WAYS = {"opset 9": 9, "opset 11": 11, "torch.export": 18}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODULES)
def test_pytorch(name: str, way: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    build, shape = MODULES[name]
    module, x, path = build(), torch.rand(4, *shape), tmp_path / "a.onnx"
    if name == "batch norm":
        module(torch.randn(64, *shape))  # statistics other than 0 and 1
    module.eval()
    if way == "torch.export":
        shapes = ({0: torch.export.Dim("n")},)
        torch.onnx.export(module, (x,), path, dynamic_shapes=shapes, verbose=False)
    else:
        options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
        torch.onnx.export(module, (x,), path, dynamo=False, opset_version=WAYS[way], **options)
    model = require("onnx").load(path, load_external_data=False)
    outputs = [each.name for each in model.graph.output]
    output = outputs[0] if name == "two outputs" else None
    network = onnx.load(path, output=output, external_data=True)
    with torch.no_grad():
        expected = module(x)
    expected = expected[0] if name == "two outputs" else expected
    found = network.predict(x.numpy().reshape(4, 1, 28, 28))
    assert distance(found, expected.numpy()) < TOLERANCE


def test_keras(calm_torch: None, tmp_path: Path) -> None:
    """Its exporter writes Transpose around each layer, and casts to the same type."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    layers = require("keras").layers
    model = require("keras").Sequential(
        [
            *(layers.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Conv2D(6, 5)),
            *(layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()),
            *(layers.Conv2D(16, 5, padding="same", activation="tanh"), layers.Dropout(0.5)),
            *(layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(10, "softmax")),
        ]
    )
    x = np.random.default_rng(0).random((3, 28, 28, 1)).astype(np.float32) * 255
    expected = model.predict(x, verbose=0)
    path = tmp_path / "a.onnx"
    model.export(path, format="onnx", verbose=False)
    network = onnx.load(path, external_data=True)
    kinds = [type(layer).__name__ for layer in network.layers]
    body = ["ReLU", "MaxPool2D", "Conv2D", "Tanh", "AvgPool2D", "Dense"]
    assert kinds == ["Subsample2D", "Conv2D", *body]
    found = network.probabilities(network.predict(x.reshape(3, 1, 28, 28)))
    assert distance(found, expected) < TOLERANCE
