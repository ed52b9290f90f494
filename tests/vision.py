"""torchvision, and files of digits that its MNIST reads."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from pathlib import Path
from types import ModuleType

from helpers import missing, new_rng, require

torch = require("torch")

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


def torchvision() -> ModuleType:
    """Import it, or leave the test out.

    It is built for CUDA, and the CPU build of PyTorch cannot load its operators. No data set uses
    them, but two must be known at import.
    """
    if importlib.util.find_spec("torchvision") is None:
        missing("torchvision cannot be imported: it is not installed")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")


def write_mnist(root: Path, train: int, test: int) -> None:
    """Write random pictures for ``torchvision.datasets.MNIST(root)``."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = new_rng()
    for name, n in {"train": train, "t10k": test}.items():
        images = rng.integers(0, 256, (n, 28, 28), dtype="uint8")
        labels = rng.integers(0, 10, n, dtype="uint8")
        head = struct.pack(">iiii", 0x803, n, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">ii", 0x801, n)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
