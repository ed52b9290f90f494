"""The builds of the Cython kernels for several instruction sets, and which of them is loaded."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import complains, missing, printed_by, run_python

import lenet_fast
from lenet_fast import ops

try:
    from lenet_fast.backends import cython_backend
except ImportError:
    cython_backend = None

CHOSEN = (
    "from lenet_fast.backends import cython_backend as c; print(c.isa(), *c.instruction_sets())"
)
SETS = ("baseline", "avx2", "avx512")
NEEDED = {
    "baseline": set(),
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"},
}


@pytest.fixture(autouse=True)
def _compiled():
    if cython_backend is None:
        missing("the cython backend is not compiled here")


def supported_here():
    """Return the sets that this CPU has, as the kernel of the system says, not the library."""
    file = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64"):
        return ["baseline"]
    if not file.exists():
        missing("no /proc/cpuinfo to judge by")
    flags = {
        flag
        for line in file.read_text().splitlines()
        if line.startswith("flags")
        for flag in line.split(":")[1].split()
    }
    return [name for name in SETS if flags >= NEEDED[name]]


def test_every_set_of_this_cpu_is_there_and_no_other():
    found = cython_backend.instruction_sets()
    expected = supported_here()
    assert set(found) <= set(expected)
    assert found == [name for name in SETS if name in found], "slowest first"
    if found != expected:
        missing(f"only {', '.join(found)} of {', '.join(expected)} are built")


def test_default_is_the_best():
    first, *rest = printed_by(CHOSEN).split()
    assert first == rest[-1]
    assert rest == cython_backend.instruction_sets()
    assert printed_by(CHOSEN, LENET_FAST_ISA="").split()[0] == rest[-1]


@pytest.mark.parametrize("isa", SETS)
def test_environment_variable_forces_one(isa):
    if isa not in cython_backend.instruction_sets():
        missing(f"{isa} is not among {', '.join(cython_backend.instruction_sets())}")
    assert printed_by(CHOSEN, LENET_FAST_ISA=isa).split()[0] == isa
    code = """
import numpy as np
from lenet_fast import backends, ops
print(ops.dense(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), backend="cython")[0, 0])
print(backends.available()["cython"].detail)
"""
    result, detail = printed_by(code, LENET_FAST_ISA=isa).splitlines()
    assert result == "11.0"
    assert isa in detail


@pytest.mark.parametrize("wrong", ["sse", "AVX2", "avx2 ", "native", "../_avx2"])
def test_unknown_set_raises_when_the_backend_is_wanted(wrong):
    use = "import numpy as np, lenet_fast.ops as o; o.tanh(np.ones(2), backend='cython')"
    for code in (CHOSEN, use):
        done = run_python(code, LENET_FAST_ISA=wrong)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("ValueError: LENET_FAST_ISA: expected one of baseline"), last
        assert f"got {wrong!r}" in last
    # It concerns no other backend, nor the import.
    other = use.replace("cython", "numpy")
    assert run_python(other, LENET_FAST_ISA=wrong).returncode == 0


@pytest.fixture(scope="module")
def only_one(tmp_path_factory):
    """Return a folder with the package as it is where one instruction set was built, and its name:
    as installs from source have it."""
    folder, name = tmp_path_factory.mktemp("one"), cython_backend.instruction_sets()[0]
    shutil.copytree(
        Path(lenet_fast.__file__).parent,
        folder / "lenet_fast",
        ignore=shutil.ignore_patterns(
            *(f"_{other}.*" for other in SETS if other != name), "__pycache__", "sample"
        ),
    )
    return folder, name


def test_set_that_was_not_built_raises(only_one):
    folder, name = only_one
    assert printed_by(CHOSEN, path=folder).split() == [name, name]
    other = next(other for other in SETS if other != name)
    done = run_python(CHOSEN, path=folder, LENET_FAST_ISA=other)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ValueError: LENET_FAST_ISA: expected one of {name} here, got {other!r}"
    )
    assert "not built" in last


def test_kernels_for_another_cpu_are_not_loaded(only_one, tmp_path):
    """Such as those that were compiled on the newest machine of a cluster, on its oldest."""
    folder, name = only_one
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    backend = tmp_path / "lenet_fast" / "backends" / "cython_backend"
    (said,) = backend.glob("_cpu.*")
    said.unlink()
    (backend / "_cpu.py").write_text("def supported():\n    return ['none']\n")
    (kernels,) = backend.glob(f"_{name}.*")
    kernels.write_bytes(b"what would crash if it were loaded")
    code = "import lenet_fast.backends as b; print(b.available()['cython'].detail)"
    detail = printed_by(code, path=tmp_path)
    assert f"compiled for {name}, which this CPU does not support" in detail
    assert "LENET_FAST_BUILD_ISA=all" in detail


def test_set_that_this_cpu_lacks_raises(monkeypatch):
    monkeypatch.setattr(cython_backend, "built", lambda: list(SETS))
    monkeypatch.setattr(cython_backend, "instruction_sets", lambda: ["baseline"])
    with complains("name", got="CPU"), cython_backend.use_isa("avx512"):
        pytest.fail("entered")


def test_use_isa_switches_and_is_undone_also_after_an_error():
    before = cython_backend.isa()
    kernel = cython_backend.dense
    for isa in cython_backend.instruction_sets():
        with cython_backend.use_isa(isa):
            assert cython_backend.isa() == isa
            assert cython_backend.dense.__module__.endswith(f"_{isa}")
            assert isa in cython_backend.describe()
            found = ops.tanh(np.array([0.0, 20.0]), backend="cython")
            np.testing.assert_array_equal(found, [0.0, 1.0])
    with pytest.raises(KeyError), cython_backend.use_isa(isa):
        raise KeyError
    assert cython_backend.isa() == before
    assert cython_backend.dense is kernel


def test_unknown_name_in_use_isa():
    with complains("name", got="sse"), cython_backend.use_isa("sse"):
        pytest.fail("entered")


def test_every_build_offers_the_same_kernels():
    offered = set()
    for isa in cython_backend.instruction_sets():
        with cython_backend.use_isa(isa):
            offered.add(
                tuple(sorted(name for name in vars(cython_backend) if not name.startswith("_")))
            )
    assert len(offered) == 1
