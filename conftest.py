"""Skip the doctests of front ends whose library is not installed."""

from __future__ import annotations

import importlib.util
import os

NEEDS = {"onnx": "onnx", "plots": "matplotlib", "sklearn": "sklearn", "torch": "torch"}

collect_ignore_glob = [
    f"lenet_fast/{folder}/*"
    for folder, library in NEEDS.items()
    if os.environ.get("LENET_FAST_REQUIRE_ALL") != "1" and importlib.util.find_spec(library) is None
]
