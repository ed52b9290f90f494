"""Skip the modules of front ends whose library is not installed; run all as if pasted into a new
Python, so that each has the imports that it needs. Select tests by ``--select``."""

from __future__ import annotations

import importlib.util
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent / "lenet_fast"
NEEDS = {
    "keras": ("keras", "torch"),
    "onnx": ("onnx",),
    "plots": ("matplotlib",),
    "sklearn": ("sklearn",),
    "torch": ("torch",),
    "web": ("flask",),
}

# Keras reads the name of its backend when it is first imported; PyTorch is the one that tests have.
os.environ.setdefault("KERAS_BACKEND", "torch")

MISSING = [
    folder
    for folder, libraries in NEEDS.items()
    if os.environ.get("LENET_FAST_REQUIRE_ALL") != "1"
    and any(importlib.util.find_spec(library) is None for library in libraries)
]
collect_ignore_glob = [f"lenet_fast/{folder}/*" for folder in MISSING]
# In CI, too: Flower has an environment of its own there.
if importlib.util.find_spec("flwr") is None:
    collect_ignore_glob.append("lenet_fast/federated/flower.py")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before Flower is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Modules that tests use, and no tests themselves.
collect_ignore_glob += [f"tests/{folder}_*.py" for folder in MISSING]


@pytest.fixture(autouse=True)
def _pasted(request: pytest.FixtureRequest) -> None:
    """Take the names of its module from the example of a docstring."""
    if isinstance(request.node, pytest.DoctestItem) and PACKAGE in request.path.parents:
        request.node.dtest.globs.clear()


@pytest.fixture(autouse=True)
def _own_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo the choice of a backend that an example makes for the process."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    from lenet_fast import backends

    before = backends._process
    yield
    backends.current()  # lets a choice that the shell keeps hold, before it is undone
    backends._process = before


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--select",
        choices=("quick", "rest"),
        help="quick: each test that is not slow, with each value of each parameter once, not all "
        "combinations; rest: what quick leaves out",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what has a file's fixtures and what needs Numba, so that no two processes
    compile the same."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "numba" if "numba" in nodeid else nodeid.partition("::")[0]

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select few tests that show each value of each parameter, or the others."""
    wanted = config.getoption("--select")
    if wanted is None:
        return
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") is None:
            by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    quick = {item for of_one_test in by_test.values() for item in _few(of_one_test)}
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if (item in quick) == (wanted == "quick") else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def _few(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield items of one test until each value of each parameter was shown, those first that show
    most new ones.

    Equals are taken in an order that is mixed, and the same in every run, so that the values of one
    parameter meet different values of the others.
    """
    items = sorted(items, key=lambda item: zlib.crc32(item.nodeid.encode()))
    seen: set[tuple[int, str]] = set()
    values = {item: _values(item) for item in items}
    for new in range(max(map(len, values.values())), 0, -1):
        for item in items:
            if len(values[item] - seen) >= new:
                seen |= values[item]
                yield item


def _values(item: pytest.Item) -> set[tuple[int, str]]:
    """Return the values of an item's parameters, with their places; a test without any has one."""
    call = getattr(item, "callspec", None)
    return set(enumerate(call._idlist if call else [""]))
