"""Skip the doctests of front ends whose library is not installed; run all as if pasted into a new
Python, so that each has the imports that it needs."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "lenet_fast"
NEEDS = {"onnx": "onnx", "plots": "matplotlib", "sklearn": "sklearn", "torch": "torch"}

collect_ignore_glob = [
    f"lenet_fast/{folder}/*"
    for folder, library in NEEDS.items()
    if os.environ.get("LENET_FAST_REQUIRE_ALL") != "1" and importlib.util.find_spec(library) is None
]


@pytest.fixture(autouse=True)
def _pasted(request: pytest.FixtureRequest) -> None:
    """Take the names of its module from the example of a docstring."""
    if isinstance(request.node, pytest.DoctestItem) and PACKAGE in request.path.parents:
        request.node.dtest.globs.clear()
