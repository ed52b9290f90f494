"""How the suite is run; the contenders' turns are those of scheduler.py."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from benchmarks.contenders import installed
from benchmarks.scheduler import Scheduler, replay
from lenet_fast.bench import machine, rounds

DEFAULTS = {
    "max-time": rounds.SECONDS,
    "columns": ["median", "iqr", "rounds"],
    "sort": "median",
}
"""Of options of pytest-benchmark that are not given."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set this suite's defaults: a second a test, the plugin's own, would take an hour."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("the suite needs pytest-benchmark: pip install -e '.[bench]'")
    # A saved run of another machine deserves a warning; this project's tests make them errors.
    warnings.filterwarnings("default", message="Benchmark machine_info")
    given = " ".join(map(str, config.invocation_params.args))
    for name, value in DEFAULTS.items():
        if f"--benchmark-{name}" not in given:
            setattr(config.option, f"benchmark_{name.replace('-', '_')}", value)
    config.option.benchmark_disable_gc = True  # said in the results; rounds.measure does it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let other libraries warn: the suite judges their speed, not their manners."""
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Add the machine, the limits of one core, or why they are unknown, and versions."""
    about = machine.describe()
    if installed("torch"):
        about["versions"] += f", PyTorch {metadata.version('torch')}"
    output_json["lenet_fast"] = about


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: Any) -> None:
    """Leave out the clock's rate of the moment, for which no two runs would be of one machine."""
    for name in ("hz_actual", "hz_actual_friendly"):
        machine_info.get("cpu", {}).pop(name, None)


@pytest.fixture(scope="session")
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def report(benchmark: Any) -> Callable[..., None]:
    """Return a function that gives a timing to pytest-benchmark, or fails if there is none."""

    def give(timing: rounds.Timing, group: rounds.Group, dtype: str, **info: Any) -> None:
        if timing.error is not None:
            raise timing.error
        replay(benchmark, timing.samples)
        benchmark.extra_info.update(info, dtype=dtype, **group.info(dtype))
        benchmark.extra_info.update(timing.info)

    return give
