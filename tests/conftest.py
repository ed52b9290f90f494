"""Fixtures: every backend, instruction set and engine of this machine, both dtypes, one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers import BACKENDS, LANE_BACKENDS, new_rng, using, using_lanes
from hypothesis import HealthCheck, settings

from lenet_fast import engines
from lenet_fast.engines import Engine
from lenet_fast.losses import Loss
from lenet_fast.network import Network

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


@pytest.fixture(
    params=[
        *(f"layers-{build}" for build in BACKENDS),
        *(f"lanes-{build}" for build in LANE_BACKENDS),
    ]
)
def create(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Yield a function that makes engines of one kind: every kind, on every backend, in turn."""
    kind, _, build = request.param.partition("-")
    made: list[Engine] = []
    with using(build) if kind == "layers" else using_lanes(build) as name:

        def new(network: Network, loss: Loss, threads: int | None = None) -> Engine:
            made.append(engines.create(network, loss, engine=kind, backend=name, threads=threads))
            return made[-1]

        yield new
        for engine in made:
            engine.close()


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Return a dtype that the kernels know."""
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fresh generator from the tests' seed."""
    return new_rng()
