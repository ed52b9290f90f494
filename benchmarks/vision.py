"""torchvision, and files of digits that its MNIST reads."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import Any

import numpy as np

_KEPT: list[Any] = []


def torchvision() -> Any:
    """Import torchvision.

    It is built for CUDA, and the CPU build of PyTorch cannot load its operators. No data set uses
    them, but two must be known at import.
    """
    import torch

    if not _KEPT:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        _KEPT.append(operators)
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                operators.define(f"{name}(Tensor dets, Tensor scores, float iou) -> Tensor")
    importlib.import_module("torchvision.transforms.v2")
    return importlib.import_module("torchvision")


def write_mnist(root: Path, train: int, test: int, size: int = 28) -> None:
    """Write random pictures for ``torchvision.datasets.MNIST(root)``; `size` is their side."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1998)
    for name, n in {"train": train, "t10k": test}.items():
        images = rng.integers(0, 256, (n, size, size), np.uint8)
        labels = rng.integers(0, 10, n, np.uint8)
        head = struct.pack(">iiii", 0x803, n, size, size)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">ii", 0x801, n)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
