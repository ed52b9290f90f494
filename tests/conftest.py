"""Fixtures: every backend and instruction set of this machine, both dtypes, one seed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest
from helpers import missing, new_rng
from hypothesis import HealthCheck, settings

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


def _cython_builds() -> list[str]:
    try:
        module = importlib.import_module("lenet_fast.backends.cython_backend")
    except ImportError:
        return ["cython"]  # one place-holder, which says why it is left out
    return [f"cython-{isa}" for isa in module.instruction_sets()]


BACKENDS = ["numpy", "numba", *_cython_builds()]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield what to pass as ``backend=``; for Cython, with each build of this machine in turn."""
    name, _, isa = request.param.partition("-")
    try:
        module = importlib.import_module(f"lenet_fast.backends.{name}_backend")
    except ImportError as error:
        missing(f"the {name} backend cannot be used: {error}")
    if isa:
        with module.use_isa(isa):
            yield name
    else:
        yield name


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Return a dtype that the kernels know."""
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fresh generator from the tests' seed."""
    return new_rng()
