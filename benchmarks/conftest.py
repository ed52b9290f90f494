"""Set-up of the suite; scheduler.py lets the contenders take turns."""

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
"""Defaults for options of pytest-benchmark."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set this suite's defaults: the plugin's own, a second per test, would take an hour."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("the suite needs pytest-benchmark: pip install -e '.[bench]'")
    # A saved run of another machine gives a warning, which this project's tests turn into an error.
    warnings.filterwarnings("default", message="Benchmark machine_info")
    given = " ".join(map(str, config.invocation_params.args))
    for name, value in DEFAULTS.items():
        if f"--benchmark-{name}" not in given:
            setattr(config.option, f"benchmark_{name.replace('-', '_')}", value)
    config.option.benchmark_disable_gc = True  # recorded in the results; rounds.measure does it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow warnings of other libraries: the suite judges only their speed."""
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Add the machine, the limits of one core (or why they are unknown), and versions."""
    about = machine.describe()
    if installed("torch"):
        about["versions"] += f", PyTorch {metadata.version('torch')}"
    output_json["lenet_fast"] = about


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: Any) -> None:
    """Remove the current clock rate, which would make every run look like another machine's."""
    for name in ("hz_actual", "hz_actual_friendly"):
        machine_info.get("cpu", {}).pop(name, None)


@pytest.fixture(scope="session")
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def report(benchmark: Any) -> Callable[..., None]:
    """Return a function that passes a timing to pytest-benchmark, or fails if there is none."""

    def give(timing: rounds.Timing, group: rounds.Group, dtype: str, **info: Any) -> None:
        if timing.error is not None:
            raise timing.error
        replay(benchmark, timing.samples)
        benchmark.extra_info.update(info, dtype=dtype, **group.info(dtype))
        benchmark.extra_info.update(timing.info)

    return give


collect_ignore = ["flower_clients.py"]  # imports Flower, which has an environment of its own
