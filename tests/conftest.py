"""Fixtures: every backend, instruction set and engine of this machine, both dtypes, one seed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import Result
from helpers import (
    BACKENDS,
    LANE_BACKENDS,
    missing,
    new_rng,
    require,
    using,
    using_lanes,
    using_online,
)
from hypothesis import HealthCheck, settings
from mirror_cases import Server

from lenet_fast import data, engines
from lenet_fast.engines import Engine
from lenet_fast.losses import Loss
from lenet_fast.network import Network

BROWSER_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

# When several processes share the tests, each marks the processes that it starts as its helpers;
# pytest-benchmark would then refuse to measure in them.
for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
    del os.environ[name]

# The function-scoped fixtures only say which backend and dtype: the same for all examples.
settings.register_profile(
    "lenet_fast",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("lenet_fast")


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> Iterator[None]:
    """Let signals do what they do by default, here and in the processes that tests start: whoever
    runs the tests by nohup, from cron or in the background of a script ignores some of them."""
    ignored = [
        number
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) == signal.SIG_IGN
    ]
    for number in ignored:
        by_default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, by_default)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield what to pass as ``backend=``; for Cython, with each build of this machine in turn."""
    with using(request.param) as name:
        yield name


@pytest.fixture(params=LANE_BACKENDS)
def lane_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Likewise, those with kernels for the lane engine."""
    with using_lanes(request.param) as name:
        yield name


@pytest.fixture(params=LANE_BACKENDS)
def online_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Likewise, for the online engine."""
    with using_online(request.param) as name:
        yield name


MINI_BATCH_ENGINES = [
    *(f"layers-{build}" for build in BACKENDS),
    *(f"lanes-{build}" for build in LANE_BACKENDS),
]
ENGINES = [*MINI_BATCH_ENGINES, *(f"online-{build}" for build in LANE_BACKENDS)]


@pytest.fixture(params=MINI_BATCH_ENGINES)
def create(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Yield a function that makes engines of one kind: every kind that trains with mini-batches,
    on every backend, in turn."""
    yield from _create(request.param)


@pytest.fixture(params=ENGINES)
def create_any(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Likewise, and those for batches of one, too."""
    yield from _create(request.param)


def _create(engine_and_build: str) -> Iterator[Callable[..., Engine]]:
    kind, _, build = engine_and_build.partition("-")
    made: list[Engine] = []
    with {"layers": using, "lanes": using_lanes, "online": using_online}[kind](build) as name:

        def new(network: Network, loss: Loss, threads: int | None = None) -> Engine:
            made.append(engines.create(network, loss, engine=kind, backend=name, threads=threads))
            return made[-1]

        yield new
        for engine in made:
            engine.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what takes long as a whole, unless it is marked as quick: tests in a browser,
    and the cases of Numba that are not in float32: it compiles each kernel for each dtype."""
    for item in items:
        values = [*map(str, item.callspec.params.values())] if hasattr(item, "callspec") else []
        # Such as lanes-numba, or test_lanes_numba.py.
        on_numba = any(name.endswith("numba") for name in (*values, item.path.stem))
        compiles = on_numba and values and "float32" not in values
        in_browser = "browser" in getattr(item, "fixturenames", ())
        if (compiles or in_browser) and item.get_closest_marker("quick") is None:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Return a dtype that the kernels know."""
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fresh generator from the tests' seed."""
    return new_rng()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Yield a function that starts a web server with the given files."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any) -> Server:
            server = Server(*arguments)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="session")
def page_network() -> Network:
    """Return what the page trains for itself unless told otherwise, on MNIST where it is at hand,
    else on the bundled sample."""
    for library in ("flask", "waitress"):
        require(library)
    from lenet_fast.web.training_requests import TrainingRequest

    splits = data.load("mnist" if os.environ.get("LENET_FAST_DATA") else "sample")
    request = TrainingRequest.from_json({}, len(splits.train))
    trainer = request.trainer()
    trainer.fit(splits.train, splits.test, request.epochs)
    return trainer.network


@pytest.fixture(scope="module")
def page_url(page_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a page that is served, with that network and the bundled sample."""
    from page_cases import serving

    from lenet_fast.web import server
    from lenet_fast.web.manager import TrainingManager

    folder = tmp_path_factory.mktemp("saved") / "page"
    taught = TrainingManager(data.load("sample"), folder, page_network, "a model")
    with serving(taught) as served:
        yield server.address(served, "127.0.0.1")


@pytest.fixture(scope="module")  # while it is open, others can run no event loop
def browser() -> Iterator[Any]:
    """Yield Debian's Chromium, without a window; Playwright's own is never fetched."""
    api = require("playwright.sync_api")
    names = "chromium", "chromium-browser", "google-chrome"
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing(f"none of {', '.join(names)} is installed")
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=path, args=[*BROWSER_FLAGS])
        except api.Error as error:
            missing(f"{path} does not start: {error}")
        yield started
        started.close()


@pytest.fixture
def calm_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let PyTorch begin anew, on one thread as our engines, and leave it as it was."""
    import torch

    monkeypatch.setenv("LENET_FAST_THREADS", "1")
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1998)
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


@pytest.fixture
def lenet_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Any:
    """Return a function that runs the command line in an empty folder, within this process."""
    from lenet_fast import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENET_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LENET_FAST_OFFLINE", "1")
    for name in ("COLUMNS", "LENET_FAST_DATA", "LENET_FAST_BACKEND", "LENET_FAST_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(int(exit_info.value.code or 0), out, err)

    return run
