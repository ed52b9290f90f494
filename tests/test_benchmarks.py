"""The benchmarks: right answers only, turns in order, honest sums; no time is judged here."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import missing

from benchmarks import baselines
from lenet_fast import cli
from lenet_fast.bench import contenders, machine, networks, pictures, report, rounds, steps
from lenet_fast.bench.contenders import Contender, WrongAnswerError
from lenet_fast.bench.report import Row, Run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the probe out, where its quarters of a second add up."""
    monkeypatch.setattr(machine, "probe", lambda memory=False: None)


# --- the machine ---


def test_the_probe_finds_limits_of_this_world() -> None:
    if machine.missing():
        missing(machine.missing() or "")
    limits = machine.probe(memory=True)
    assert limits is not None
    assert 1e9 < limits.float64 < limits.float32 < 1e12
    assert limits.float32 / limits.float64 == pytest.approx(2, rel=0.5)
    assert 1e8 < limits.bandwidth < 1e12


def test_without_a_compiler_there_is_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    machine._program.cache_clear()
    try:
        assert machine.probe() is None
        assert "no C compiler" in (machine.missing() or "")
    finally:
        machine._program.cache_clear()


@pytest.mark.parametrize(("after", "moved"), [(100.0, False), (86.0, False), (84.0, True)])
def test_a_peak_that_moves_is_noticed(after: float, moved: bool) -> None:
    first, second = machine.Limits(100.0, 50.0), machine.Limits(after, 50.0)
    assert machine.moved(first, second, "float32") is moved
    assert machine.moved(second, first, "float32") is moved
    assert not machine.moved(first, second, "float64")
    assert not machine.moved(None, second, "float32")


# --- steps and contenders ---


def test_operations_are_those_of_the_paper() -> None:
    """A connection is a multiply-add or a bias: LeCun et al. 1998, section II.B."""
    for name, units, connections in (
        ("C1", 4_704, 122_304),
        ("C3 table", 1_600, 151_600),
        ("C5", 120, 48_120),
    ):
        flops = steps.BY_NAME[f"{name} forward"].flops
        assert (flops - units) // 2 + units == connections
        assert steps.BY_NAME[f"{name} backward"].flops == 2 * (flops - units)


def test_a_case_is_the_same_every_time_and_knows_its_bytes() -> None:
    case = steps.case("F6 forward", "float32", 3)
    steps.case.cache_clear()
    again = steps.case("F6 forward", "float32", 3)
    assert case is not again
    for one, other in zip(case.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.ptp(one) > 0.5
    assert case.bytes == 4 * (3 * 120 + 84 * 120 + 84 + 3 * 84)
    assert case.flops == 3 * 2 * 84 * 120


@pytest.mark.parametrize("dtype", steps.DTYPES)
@pytest.mark.parametrize("step", steps.STEPS, ids=lambda step: step.name)
def test_every_contender_of_a_step_is_right(step: steps.Step, dtype: str) -> None:
    case = steps.case(step.name, dtype, 5)
    made = [contenders.make(name, case) for name in contenders.names(step)]
    for name in baselines.names(step, dtype):
        made.append(baselines.make(name, case))
        assert made[-1].scale == 5 / min(5, baselines.BATCHES[name])
    assert len(made) >= 2
    for each in made:
        with each.around():
            each.check(each.run())


def test_one_contender_of_a_convolution_is_what_a_call_without_options_takes() -> None:
    for name in ("C3 forward", "C3 backward", "C5 forward", "C5 backward"):
        step = steps.BY_NAME[name]
        case = steps.case(name, "float32", 8)
        infos = [contenders.make(each, case).info for each in contenders.names(step)]
        assert sum(info.get("default", False) for info in infos) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        (np.array([1.0, 2.01]),),
        (np.array([1.0, np.nan]),),
        (np.array([1.0]),),
        (np.array([1.0, 2.0]), np.array(0.0)),
    ],
    ids=["value", "nan", "shape", "count"],
)
def test_a_wrong_answer_is_seen(wrong: tuple[Any, ...]) -> None:
    right = (np.array([1.0, 2.0]),)
    contenders.compare("right", right, right, "float32")
    with pytest.raises(WrongAnswerError, match="planted"):
        contenders.compare("planted", wrong, right, "float32")


@pytest.mark.parametrize("work", networks.WORKS[1:], ids=lambda work: work.name)
def test_every_contender_of_the_network_is_right(work: networks.Work) -> None:
    for name in networks.names():
        if not name.endswith("compile"):  # a minute each
            each = networks.make(name, work, 1)
            with each.around():
                each.check(each.run())


def test_a_network_that_learns_otherwise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    work = networks.BY_NAME["training, batch 32"]
    networks.expected(work)
    monkeypatch.setattr(networks, "RATE", networks.RATE * 3)
    each = networks.make("layers numpy", work, 1)
    with pytest.raises(AssertionError, match="expected losses"), each.around():
        each.check(each.run())


# --- turns ---


@pytest.mark.usefixtures("no_probe")
def test_contenders_take_turns_and_the_wrong_one_has_none() -> None:
    calls: list[str] = []

    def contender(name: str, right: bool = True, scale: float = 1.0) -> Contender:
        def check(value: object) -> None:
            if not right:
                raise WrongAnswerError(name)

        @contextlib.contextmanager
        def around() -> Any:
            calls.append(name)
            yield

        return Contender(name, lambda: None, check, around, scale, {"backend": name})

    made = [contender("a"), contender("wrong", right=False), contender("b", scale=1000.0)]
    group = rounds.measure(made, seconds=0, rounds=4)
    assert calls[:3] == ["a", "wrong", "b"]  # checked
    assert sorted(calls[3:]) == ["a"] * 4 + ["b"] * 4
    assert all(set(calls[i : i + 2]) == {"a", "b"} for i in range(3, 11, 2))
    assert group.timings["a"].info == {"backend": "a"}
    assert len(group.timings["a"].samples) == len(group.timings["b"].samples) == 4
    assert min(group.timings["b"].samples) > 10 * min(group.timings["a"].samples)
    assert isinstance(group.timings["wrong"].error, WrongAnswerError)
    assert group.timings["wrong"].samples == []


# --- the report ---


def run_of(*rows: Row, **limits: float) -> Run:
    return Run(list(rows), {"cpu": "a CPU", "system": "a system", **limits})


def row(name: str, contender: str, milliseconds: float, dtype: str = "float64", **info: Any) -> Row:
    usual = {"flops": 10**9, "bytes": 10**8, "batch": 256, "peak_before": 5e11, "peak_after": 3e11}
    if contender.startswith(("cython", "numpy")):
        usual |= {"backend": contender.split()[0], "default": contender == "cython x direct"}
    return Row("step", name, dtype, contender, milliseconds / 1000, usual | info)


STEPS = (
    row("C1 forward", "cython x direct", 10),
    row("C1 forward", "cython x im2col", 5),
    row("C1 forward", "PyTorch", 50),
    row("C1 forward", "PyTorch channels_last", 40),
    row("C1 forward", "modified", 100),
    row("C1 forward", "original", 30_000),
    row("S2 max forward", "cython x direct", 4, peak_moved=True),
    row("S2 max forward", "PyTorch", 1),
)


def test_the_report_compares_what_users_get_with_the_best_of_the_others() -> None:
    text = report.markdown(run_of(*STEPS, float32=6e11, float64=3e11, bandwidth=1e10))
    assert "1.00 times PyTorch's best in the geometric mean of 2 steps" in text  # 4 and 1 / 4
    assert "Slower, in bold: S2 max forward (0.25)." in text
    assert "| **0.25 x** |" in text
    assert "| S2 max forward ~ |" in text
    # 10^9 operations in 10 ms: 100 Gflop/s, a quarter of the mean of the probes.
    cells = "| C1 forward | 10 | cython x direct |  |  | 40 | 4.00 x | 100.0 | 25 % |"
    assert cells in text
    published = "| C1 forward | 9.389 | 0.153 | 0.0571 | 30 |  | 0.1 | 0.01 | 10 x | 3,000 x |"
    assert published in text
    assert "float32" not in text.partition("\n## ")[2]


def test_the_report_says_what_is_missing() -> None:
    text = report.markdown(run_of(row("F6 forward", "cython x direct", 1), probe="no C compiler"))
    assert "unknown: no C compiler" in text
    assert "PyTorch is not installed here" in text


def test_network_rows_are_images_a_second() -> None:
    rows = [
        Row("network", "training", "float32", "layers cython", 0.1, {"images": 500, "threads": 2}),
        Row("network", "training", "float32", "PyTorch eager", 0.2, {"images": 500, "threads": 2}),
    ]
    text = report.markdown(run_of(*rows))
    assert "| training | layers cython | 2 | 5,000 | 200 | 2.00 x |" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"benchmarks": [{"stats": {}}]}'])
def test_a_file_that_holds_no_results_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected results of this suite"):
        report.read(path)


def test_the_geometric_mean() -> None:
    assert report.geometric_mean([2, 8]) == pytest.approx(4)
    assert report.geometric_mean([0.5, 2]) == pytest.approx(1)


def test_pictures_are_drawn(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib is not installed")
    run = run_of(*STEPS, float32=6e11, float64=3e11, bandwidth=1e10)
    drawn = pictures.draw(run, tmp_path)
    assert [path.name for path in drawn] == ["pytorch.png", "published.png", "roofline-float64.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


# --- the front ends ---


@pytest.mark.usefixtures("no_probe")
def test_the_command_measures_and_reports(tmp_path: Path, capsys: Any) -> None:
    arguments = ["bench", "--only", "squared error", "--seconds", "0.001", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert exit_info.value.code == 0, err
    assert "| squared error backward |" in out
    assert (tmp_path / "report.md").read_text() == out


def test_the_command_refuses_a_step_that_is_none(capsys: Any) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--only", "C17"])
    assert exit_info.value.code == 2
    assert "--only" in capsys.readouterr().err


@pytest.mark.usefixtures("no_probe")
def test_the_command_names_who_was_wrong(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(contenders.TOLERANCE, "float32", -1.0)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--only", "squared error forward", "--seconds", "0.001"])
    assert exit_info.value.code == 1
    assert "squared error forward, float32: cython" in capsys.readouterr().err


def test_the_suite_writes_results_that_the_report_reads(tmp_path: Path) -> None:
    if importlib.util.find_spec("pytest_benchmark") is None:
        missing("pytest-benchmark is not installed")
    results = tmp_path / "results.json"
    options = ["--benchmark-only", "--benchmark-min-rounds=2", "--benchmark-max-time=0.001"]
    command = [sys.executable, "-m", "pytest", "benchmarks/test_bench_steps.py", *options]
    command += ["-p", "no:cacheprovider", "-k", "F6 and backward and float32 and (numpy or numba)"]
    done = subprocess.run(
        [*command, f"--benchmark-json={results}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for one in json.loads(results.read_text())["benchmarks"]:
        assert one["stats"]["rounds"] >= 2
        # The seconds are those that were measured, not those of the clock's hand.
        assert 1e-7 < one["stats"]["median"] < 1
    run = report.read(results)
    assert {each.row for each in run.rows} == {"F6 backward", "F6 tanh backward"}
    assert math.isfinite(sum(each.seconds for each in run.rows))
    text = report.markdown(run)
    assert "| F6 backward |" in text
