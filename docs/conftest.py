"""The examples of these pages run as doctests, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import missing, require

from benchmarks import vision
from lenet_fast import data
from lenet_fast.data import idx

collect_ignore = ["conf.py"]  # Sphinx's settings, without doctests

DOCS = Path(__file__).parent
CYTHON = "lenet_fast.backends.cython_backend"
NEEDS = {
    "clusters.rst": ["distributed", "sklearn"],
    "engines/index.rst": [CYTHON],
    "engines/lanes.rst": [CYTHON],
    "engines/online.rst": [CYTHON],
    "keras.rst": ["torch", "keras"],
    "howto/keras.rst": ["matplotlib", "sklearn"],
    "howto/many.rst": ["joblib"],
    "howto/notebook.rst": ["matplotlib"],
    "howto/sweep.rst": ["matplotlib"],
    "onnx.rst": ["onnx", "onnxruntime"],
    "sklearn.rst": ["sklearn"],
    "torch.rst": ["torch"],
}
"""The libraries that the examples of a page need."""


@pytest.fixture(autouse=True)
def _page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip a page if a library is missing; run its examples in an empty folder."""
    for module in NEEDS.get(request.path.relative_to(DOCS).as_posix(), []):
        require(module)
    monkeypatch.chdir(tmp_path)
    if request.path.name == "torch.rst":
        _offer_mnist()


def _offer_mnist() -> None:
    """Let torchvision find the sample in place of MNIST, so that it downloads nothing."""
    try:
        vision.torchvision()
    except ImportError as error:
        missing(f"torchvision cannot be imported: {error}")
    sample = data.load("sample")
    folder = Path("data", "MNIST", "raw")
    folder.mkdir(parents=True)
    for name, digits in {"train": sample.train, "t10k": sample.test}.items():
        idx.write(folder / f"{name}-images-idx3-ubyte", digits.images)
        idx.write(folder / f"{name}-labels-idx1-ubyte", digits.labels)
