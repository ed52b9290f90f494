"""The examples of these pages run as doctests: in an empty folder, and with what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import require

collect_ignore = ["conf.py"]  # Sphinx's, and no module with doctests

DOCS = Path(__file__).parent
CYTHON = "lenet_fast.backends.cython_backend"
NEEDS = {
    "engines/index.rst": [CYTHON],
    "engines/lanes.rst": [CYTHON],
    "engines/online.rst": [CYTHON],
    "onnx.rst": ["onnx", "onnxruntime"],
    "sklearn.rst": ["sklearn"],
    "torch.rst": ["torch"],
}
"""What the examples of a page cannot do without."""


@pytest.fixture(autouse=True)
def _page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a page out if a library is missing; else what it writes goes to a folder of its own."""
    for module in NEEDS.get(request.path.relative_to(DOCS).as_posix(), []):
        require(module)
    monkeypatch.chdir(tmp_path)
