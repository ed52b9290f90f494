"""What `--select` of the root's conftest.py selects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def collected(*arguments: str, file: str = "tests/test_rbf.py") -> list[str]:
    """Return the names of the tests of a file that the arguments select."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *arguments, file], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_quick_selection_has_every_value_of_every_parameter_and_rest_has_the_others() -> None:
    others = "-k", "not numba"
    everything, quick = collected(*others), collected(*others, "--select=quick")
    rest = collected(*others, "--select=rest")
    assert sorted(quick + rest) == sorted(everything)
    assert len(quick) < len(everything)

    def values(names: list[str]) -> set[tuple[str, str]]:
        found = set()
        for name in names:
            test, _, parameters = name.partition("[")
            found |= {(test, value) for value in parameters.rstrip("]").split("-")}
        return found

    assert values(quick) == values(everything)
    assert quick == collected(*others, "--select=quick"), "the same ones in each run"


@pytest.mark.parametrize("file", ["tests/test_lanes.py", "tests/test_conv2d.py"])
def test_quick_selection_has_numba_in_float32_alone(file: str) -> None:
    parameters = [name.partition("[")[2] for name in collected("--select=quick", file=file)]
    of_numba = [each for each in parameters if "numba" in each]
    assert of_numba
    assert all("float32" in each for each in of_numba)
    assert any("float64" in each for each in parameters)
