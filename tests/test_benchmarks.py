"""The benchmarks: right answers only, turns in order, honest sums; no time is judged here."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import missing

from benchmarks import (
    baselines,
    charts,
    contenders,
    courses,
    distortions,
    epochs,
    gradients,
    latency,
    lenet1989,
    operations,
    peers,
    pytorch_network,
    report,
    shares,
    time_to_accuracy,
)
from benchmarks.report import Run
from lenet_fast import backends, cli, counts, data, models
from lenet_fast.bench import comparison, machine, profile, rounds, tables, workloads
from lenet_fast.bench.rounds import Contender, WrongAnswerError
from lenet_fast.bench.tables import Row

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the probe out, where its quarters of a second add up."""
    monkeypatch.setattr(machine, "probe", lambda memory=False, isa=None: None)


# --- the machine ---


@pytest.mark.slow
def test_the_probe_finds_limits_of_this_world() -> None:
    if machine.missing():
        missing(machine.missing() or "")
    probes = [machine.probe(memory=True) for _ in range(3)]
    # The best of each, since other processes take part of the time.
    float32, float64, bandwidth = (
        max(getattr(limits, name) for limits in probes)
        for name in ("float32", "float64", "bandwidth")
    )
    assert 1e9 < float64 < float32 < 1e12
    assert float32 / float64 == pytest.approx(2, rel=0.5)
    assert 1e8 < bandwidth < 1e12


@pytest.mark.parametrize("isa", list(machine._flags()))
def test_the_probe_does_all_the_operations_that_it_counts(isa: str) -> None:
    # Of twelve sums one was 1 * 0.999 + 0.001 for ever: compilers left it out.
    if platform.machine() != "x86_64":
        pytest.skip("counts x86's instructions")
    if machine.missing():
        missing(machine.missing() or "")
    done = subprocess.run(
        # Not unrolled, or eleven of twelve would be twenty-two.
        [*machine._compiling(isa), "-fno-unroll-loops", "-x", "c", "-S", "-", "-o", "-"],
        input=machine._SOURCE,
        text=True,
        capture_output=True,
        check=True,
    )
    for kind in ("ps", "pd"):
        found = re.findall(rf"\bv?(?:fmadd\d*|mul){kind}\b", done.stdout)
        assert len(found) >= 12, kind


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
        flops = operations.BY_NAME[f"{name} forward"].flops
        assert (flops - units) // 2 + units == connections
        assert operations.BY_NAME[f"{name} backward"].flops == 2 * (flops - units)


def test_a_case_is_the_same_every_time_and_knows_its_bytes() -> None:
    case = operations.case("F6 forward", "float32", 3)
    operations.case.cache_clear()
    again = operations.case("F6 forward", "float32", 3)
    assert case is not again
    for one, other in zip(case.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.ptp(one) > 0.5
    assert case.bytes == 4 * (3 * 120 + 84 * 120 + 84 + 3 * 84)
    assert case.flops == 3 * 2 * 84 * 120


@pytest.mark.slow
@pytest.mark.parametrize("dtype", operations.DTYPES)
@pytest.mark.parametrize("step", operations.STEPS, ids=lambda step: step.name)
def test_every_contender_of_a_step_is_right(step: operations.Step, dtype: str) -> None:
    case = operations.case(step.name, dtype, 5)
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
        step = operations.BY_NAME[name]
        case = operations.case(name, "float32", 8)
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
    rounds.compare("right", right, right, "float32")
    with pytest.raises(WrongAnswerError, match="planted"):
        rounds.compare("planted", wrong, right, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("work", workloads.WORKS, ids=lambda work: work.name)
def test_every_contender_of_the_network_is_right(work: workloads.Work) -> None:
    made = [workloads.make(name, work, 1) for name in workloads.names(work.batch)]
    for name in pytorch_network.names():
        if not name.endswith("compile"):  # a minute each
            made.append(pytorch_network.contender(name, work, 1))
    for each in made:
        with each.around():
            each.check(each.run())


def test_of_batches_of_one_the_slow_ones_do_a_part() -> None:
    work = workloads.BY_NAME["plain: training, batch 1"]
    assert (work.part, workloads.BY_NAME["one image"].part) == (32, 1)
    assert workloads.BY_NAME["training, batch 32"].part == 768
    slow = workloads.make("layers numpy", work, 1)
    assert slow.scale == work.images / 32
    losses = slow.run()
    assert len(losses) == 32
    fast = next(name for name in workloads.names(1) if name.startswith("online"))
    each = workloads.make(fast, work, 1)
    assert each.scale == 1
    found = each.run()
    assert len(found) == work.images
    each.check(found)
    each.check(losses)
    for wrong in (found[:-1], found[:31], [*found[:-1], math.nan]):
        with pytest.raises(WrongAnswerError, match="expected losses"):
            each.check(wrong)
    assert workloads.fresh("plain", 1).rate == workloads.RATES["plain"] / 32
    assert workloads.fresh("plain", 256).rate == workloads.RATES["plain"]


@pytest.mark.parametrize(
    "name",
    [
        *("training, batch 256", "plain: training, batch 32"),
        *("training, batch 1", "plain: training, batch 1"),
    ],
)
def test_a_network_that_learns_otherwise_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = workloads.BY_NAME[name]
    workloads.expected(work)
    monkeypatch.setattr(workloads, "MOMENTUM", 0.8)
    each = workloads.make("layers numpy", work, 1)
    with pytest.raises(AssertionError, match="expected losses"), each.around():
        each.check(each.run())


def test_peers_know_both_networks() -> None:
    """Those that begin at once; the suite itself checks all before it times them."""
    for name in ("evaluation, batch 1000", "plain: evaluation, batch 1000"):
        work = workloads.BY_NAME[name]
        for peer in {"modified", "onnxruntime"} & {*peers.names(work)}:
            each = peers.make(peer, work, 1)
            with each.around():
                each.check(each.run())
    assert "modified" not in peers.names(workloads.BY_NAME["plain: training, batch 256"])


def test_names_of_contenders() -> None:
    """The engine of a batch comes with every instruction set; the short version takes that in use.

    It is the lane engine for many images, and the online engine for one.
    """
    if not backends.available()["cython"].usable:
        missing("the cython backend cannot be used")
    module = backends.get("cython")
    for batch, fast, other in ((1, "online", "lanes"), (32, "lanes", "online")):
        names = workloads.names(batch)
        assert not [name for name in names if name.startswith(other)]
        found = [name for name in names if name.startswith(f"{fast} cython")]
        assert found == [f"{fast} cython {isa}" for isa in module.instruction_sets()[::-1]]
        for name in found:
            engine = workloads.make(name, workloads.BY_NAME["one image"], 1)
            assert engine.info == {"backend": "cython", "engine": fast, "isa": name.split()[-1]}
        assert sum(map(comparison._usual, found)) == 1
        assert comparison._usual(f"{fast} cython {module.isa()}")
        assert {"layers cython", "layers numpy"} <= {*filter(comparison._usual, names)}
    assert not workloads.has_engine("online", "numpy")
    assert workloads.has_engine("layers", "numpy")


def test_latency_is_that_of_the_network_itself() -> None:
    assert [work.name for work in workloads.LATENCIES] == ["one image", "plain: one image"]
    names = workloads.latency_names()
    assert not [name for name in names if not name.startswith("online")]
    if backends.available()["cython"].usable:
        sets = backends.get("cython").instruction_sets()[::-1]
        assert names[: len(sets)] == [f"online cython {isa}" for isa in sets]
    for work in workloads.LATENCIES:
        everyone = latency.names(work)
        assert everyone[: len(names)] == names
        assert ("PyTorch eager" in everyone) == contenders.installed("torch")
        for name in names:
            each = latency.make(name, work)
            _, backend, *sets = name.split()
            with each.around():
                assert backends.current() == backend
                outputs = each.run()
            assert outputs.shape == (10,)
            each.check(outputs)
            with pytest.raises(WrongAnswerError, match=name):
                each.check(outputs + 1)
            assert each.info["isa"] == (sets[0] if sets else None)


def test_multiply_adds_are_those_of_the_layers() -> None:
    plain, paper = (workloads.fresh(name).network for name in ("plain", "1998"))
    assert counts.of(plain, training=False) == 416_520
    assert counts.of(plain, training=True) == 1_131_960
    by_name = dict(zip((layer.name for layer in plain.layers), counts.by_layer(plain), strict=True))
    assert by_name["C1"] == (25 * 6 * 784, 0, 25 * 6 * 784)
    assert by_name["C3"] == (240_000,) * 3
    assert by_name["S2"] == by_name["C1.activation"] == (0, 0, 0)
    by_name = dict(zip((layer.name for layer in paper.layers), counts.by_layer(paper), strict=True))
    assert by_name["C3"] == (150_000,) * 3  # 60 of 96 pairs of maps
    assert by_name["OUTPUT"] == (840, 840, 0)  # the centres are fixed
    assert counts.of(paper, training=False) == 326_520
    assert counts.of(paper, training=True) == 861_120
    # A connection is a multiply-add or a bias, where there are no windows to add up.
    bare = models.lenet5(pooling=None, output="softmax")
    biases = sum(map(math.prod, (bare.shapes[k + 1] for k in (0, 2, 4, 6, 8))))
    assert counts.of(bare, training=False) == bare.counts().connections - biases
    assert workloads.BY_NAME["plain: evaluation, batch 1000"].flops == 2 * 416_520 * 1000


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


@pytest.mark.usefixtures("no_probe")
def test_single_calls_take_turns_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_BLOCK", 3)
    calls: list[str] = []

    def contender(name: str, right: bool = True) -> Contender:
        def check(value: object) -> None:
            if not right:
                raise WrongAnswerError(name)

        return Contender(name, functools.partial(calls.append, name), check, info={"backend": name})

    made = [contender("a"), contender("wrong", right=False), contender("b")]
    group = rounds.measure_calls(made, 7)
    assert calls[:5] == ["a", "a", "wrong", "b", "b"]  # checked, and once more, warm
    first = ["a"] * 8 + ["b"] * 8  # of each turn five do not count
    assert calls[5:] == [*first, *first[::-1], *["a"] * 6, *["b"] * 6]
    for name in "ab":
        timing = group.timings[name]
        assert len(timing.samples) == timing.info["calls"] == 7
        assert sorted(timing.samples)[-2] <= timing.info["p99"] <= max(timing.samples)
        assert timing.info["backend"] == name
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
    published = "| C1 forward | 9.389 | 0.153 | 0.0571 | 30 |  | 0.1 |  | 0.01 | 10 x | 3,000 x |"
    assert published in text
    assert "float32" not in text.partition("\n## ")[2]


def test_the_report_says_what_is_missing() -> None:
    text = report.markdown(run_of(row("F6 forward", "cython x direct", 1), probe="no C compiler"))
    assert "unknown: no C compiler" in text
    assert "PyTorch is not installed here" in text


def test_network_rows_are_images_a_second() -> None:
    info = {"images": 500, "threads": 2, "flops": 10**9, "peak_before": 3e10, "peak_after": 2e10}
    rows = [
        Row("network", "training", "float32", "layers cython", 0.1, info),
        Row("network", "training", "float32", "PyTorch eager", 0.2, info),
        Row("network", "training", "float32", "JAX", 0.4, info | {"threads": "all"}),
    ]
    text = report.markdown(run_of(*rows))
    # 10^10 operations a second, of two cores with 2.5 * 10^10 each.
    assert "| training | layers cython | 2 | 5,000 | 200 | 2.00 x | 20 % |" in text
    assert "| training | JAX | all | 1,250 | 800 | 0.50 x |  |" in text


def test_the_notebooks_functions_are_compared_with_the_published_ones() -> None:
    times = {"modified": 30, "vectorised": 6, "drop_in": 2, "drop_in chained": 1}
    rows = [
        dataclasses.replace(row("C1 forward", name, took), kind="drop_in")
        for name, took in times.items()
    ]
    rows += [
        dataclasses.replace(row("C3 forward", name, took), kind="drop_in")
        for name, took in (("modified", 10), ("drop_in", 2))
    ]
    rows += [dataclasses.replace(row("C3 forward", "modified", 8, "float32"), kind="drop_in")]
    text = report.markdown(run_of(*rows))
    assert "| C1 forward | float64 | 30 | 6 | 2 | 1 | 15 x | 3.0 x | 30 x |" in text
    assert "| C3 forward | float64 | 10 |  | 2 |  | 5.0 x |  |  |" in text
    # 15 and 5 times as fast.
    assert "10.0 times as fast as the published method (mean over 2 functions; " in text
    assert "geometric mean 8.7)." in text


def test_front_ends_are_compared_with_what_they_stand_for() -> None:
    rows = [
        dataclasses.replace(
            row("torch: fit", name, 100 * k, ours=k == 1, images=500), kind="front end"
        )
        for k, name in ((2, "PyTorch eager"), (1, "lenet_fast.torch.fit"), (4, "JAX"))
    ]
    alone = row("sklearn: folds", "MLPClassifier", 5, ours=False, images=1)
    text = report.markdown(run_of(*rows, dataclasses.replace(alone, kind="front end")))
    for other, speed, times in (("PyTorch eager", "2,500", "2.0"), ("JAX", "1,250", "4.0")):
        cells = f"lenet_fast.torch.fit | {other} | 5,000 | {speed} | {times} x |"
        assert f"| torch: fit | float64 | {cells}" in text
    assert "sklearn" not in text


def test_latencies_are_microseconds() -> None:
    rows = [
        Row("latency", "one image", "float32", name, took, {"calls": 10_000, "p99": 3 * took})
        for name, took in (("PyTorch eager", 4e-4), ("online cython x", 2e-5))
    ]
    text = report.markdown(run_of(*rows))
    assert "## The latency of one image\n\n10,000 calls each" in text
    lines = [line for line in text.splitlines() if line.startswith("| one image")]
    assert lines == [
        "| one image | online cython x | 20.0 | 60.0 | 20 x |",
        "| one image | PyTorch eager | 400.0 | 1,200.0 | 1.0 x |",
    ]
    assert "latency" not in report.markdown(run_of(*STEPS))


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
    drawn = charts.draw(run, tmp_path)
    assert [path.name for path in drawn] == ["pytorch.png", "published.png", "roofline-float64.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


# --- the front ends ---


@pytest.mark.slow
@pytest.mark.usefixtures("no_probe")
def test_the_command_measures_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(comparison, "CALLS", 20)
    arguments = ["bench", "--only", "plain: ONE image", "--seconds", "0.001"]
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*arguments, "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    assert exit_info.value.code == 0, err
    assert (tmp_path / "report.md").read_text() == out
    whole, _, single = out.partition("## The latency of one image\n\n20 calls each")
    names = [*filter(comparison._usual, workloads.names(1))]
    fast = [*filter(comparison._usual, workloads.latency_names())]
    for part, expected in ((whole, names), (single, fast)):
        found = re.findall(r"^\| plain: one image \| ([^|]*) \|", part, re.MULTILINE)
        assert sorted(found) == sorted(expected)
    assert "against" not in out
    assert "unknown" in out  # the limits of the core
    os.remove(tmp_path / "report.md")
    os.mkfifo(tmp_path / "report.md")
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*arguments, "--out", str(tmp_path)])
    assert exit_info.value.code == 1
    assert "report.md: expected a regular file, got a device or a pipe" in capsys.readouterr().err


def test_the_command_says_where_single_operations_are_measured(capsys: Any) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--only", "C3"])
    assert exit_info.value.code == 2
    error = " ".join(re.sub("[│╭╮╯╰─]", "", capsys.readouterr().err).split())
    assert "--only: expected a part of a name such as 'training, batch 256'" in error
    assert "got 'C3'; single operations are measured from the source: pytest benchmarks/" in error


@pytest.mark.usefixtures("no_probe")
def test_the_command_names_who_was_wrong(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(rounds.TOLERANCE, "float32", -1.0)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--only", "plain: one image", "--seconds", "0.001"])
    assert exit_info.value.code == 1
    error = capsys.readouterr().err
    assert "plain: one image: layers numpy: layers numpy: result 0: wrong by" in error
    assert "plain: one image, latency: online" in error


@pytest.fixture
def one_profile(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the probe find 100 Gflop/s; return a backend with the lane engine's kernels."""
    limits = machine.Limits(1e11, 5e10)
    monkeypatch.setattr(machine, "probe", lambda memory=False, isa=None: limits)
    for name in ("cython", "numba"):
        if backends.available()[name].usable and backends.get(name).lane_kernels() is not None:
            return name
    missing("no backend has kernels for the lane engine")
    return ""


@pytest.mark.slow
def test_a_profile_knows_time_and_multiply_adds_of_each_layer(one_profile: str) -> None:
    found = profile.measure("1998", one_profile, seconds=1e-4)
    network = workloads.fresh().network
    assert found.layers == tuple(layer.name for layer in network.layers)
    # Every layer goes forward; those that learn have gradients of their weights.
    assert (found.seconds[:, 0] > 0).all()
    learns = [layer.trainable for layer in network.layers]
    assert [bool(time > 0) for time in found.seconds[:, 2]] == learns
    assert found.counts.sum() == counts.of(network, training=True)
    assert found.peak == 1e11
    assert [row.row for row in found.whole] == ["training, batch 256", "evaluation, batch 1000"]


@pytest.mark.slow
def test_a_profile_of_the_online_engine_has_weights_on_the_way_back(one_profile: str) -> None:
    if not workloads.has_engine("online", one_profile):
        missing(f"{one_profile} has no kernels for the online engine")
    found = profile.measure("plain", one_profile, 1e-4, "online")
    network = workloads.fresh("plain").network
    assert (found.seconds[:, 0] > 0).all()
    by_name = dict(zip(found.layers, zip(found.seconds, found.counts, strict=True), strict=True))
    for name in ("C1", "C3"):
        seconds, counted = by_name[name]
        assert seconds[2] > 0
        assert counted[2] == counted[0]
    for name in ("C5", "F6", "OUTPUT"):
        seconds, counted = by_name[name]
        assert seconds[1] > 0 == seconds[2]
        assert tuple(counted) == (counted[0], 2 * counted[0], 0)
    assert found.counts.sum() == counts.of(network, training=True)
    assert [row.row for row in found.whole] == ["training, batch 1", "one image"]
    text = profile.markdown([found])
    assert "The online engine in training, one thread, batch 1, float32" in text
    assert "| back, us |" in text
    assert "updated" in text


def test_a_profile_is_a_table_that_can_be_read() -> None:
    info = {"images": 1000, "flops": 2 * 10**8, "peak_before": 1e11, "peak_after": 1e11}
    one = profile.Profile(
        "plain",
        "a backend",
        "lanes",
        ("C1", "C1.activation"),
        np.array([[2e-6, 0, 4e-6], [1e-6, 5e-7, 0]]),
        np.array([[50_000, 0, 50_000], [0, 0, 0]]),
        1e11,
        (Row("network", "training, batch 256", "float32", "lanes", 0.01, info),),
    )
    text = profile.markdown([one])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(set(map(len, table))) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert cells[0][:3] == ["layer", "forward, us", "madds"]
    # 10^5 operations in 2 us are half of 10^11 in a second.
    assert cells[2] == ["C1", "2.00", "50,000", "50 %", "", "", "", "4.00", "50,000", "25 %"]
    assert cells[3] == ["C1.activation", "1.00", "", "", "0.50", "", "", "", "", ""]
    assert cells[4][:4] == ["all", "3.00", "50,000", "33 %"]
    assert "all layers: 7.50 us, 100,000 madds, 27 % of the peak" in text
    assert "256: 100,000 images/s, 10.00 us, 100,000 madds, 20 % of the peak" in text
    without = dataclasses.replace(one, peak=None)
    assert "Peak of the core: unknown" in profile.markdown([without])


def test_the_peak_of_a_profile_is_the_most_of_probes_between_its_runs(
    one_profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, one alone would be too low, and shares of it above 100 %."""
    peaks = iter([3e9, 2e9, 9e11, 5e9])
    asked: list[str | None] = []

    def probe(memory: bool = False, isa: str | None = None) -> machine.Limits:
        if isa is None:  # around the group, by the widest instruction set
            return machine.Limits(1e15, 1)
        asked.append(isa)
        return machine.Limits(next(peaks, 1e9), 1)

    if one_profile != "cython":
        missing("without the Cython backend, kernels have the widest instruction set")
    monkeypatch.setattr(machine, "probe", probe)
    monkeypatch.setattr(machine, "missing", lambda: None)
    found = profile.measure("1998", one_profile, seconds=1e-4)
    assert found.peak == 9e11
    assert [row.info["peak_after"] for row in found.whole] == [9e11, 9e11]
    assert all(row.share is not None and 0 < row.share < 1 for row in found.whole)
    assert tables.MORE not in profile.markdown([found])
    # AVX2's kernels are compared with what AVX2 can do.
    assert {*asked} == {backends.get("cython").isa()} == {found.isa}
    assert f"900 Gflop/s with {found.isa}" in profile.markdown([found])


@pytest.mark.slow
def test_a_profile_above_the_peak_is_measured_again(
    one_profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    measure = rounds.measure

    def counted(*arguments: Any) -> rounds.Group:
        groups.append(1)
        return measure(*arguments)

    def probe(memory: bool = False, isa: str | None = None) -> machine.Limits:
        return machine.Limits(1e15 if len(groups) == 2 else 1.0, 1)

    monkeypatch.setattr(rounds, "measure", counted)
    monkeypatch.setattr(machine, "probe", probe)
    monkeypatch.setattr(machine, "missing", lambda: None)
    found = profile.measure("1998", one_profile, seconds=1e-4)
    assert (found.peak, len(groups)) == (1e15, 2)
    monkeypatch.setattr(machine, "probe", lambda memory=False, isa=None: machine.Limits(1.0, 1))
    groups.clear()
    found = profile.measure("1998", one_profile, seconds=1e-4)
    assert len(groups) == 3
    assert tables.NOTE_OF_MORE in profile.markdown([found])


def test_shares_that_cannot_be_are_marked() -> None:
    assert [tables.percent(share) for share in (None, 0.5, 1.004, 1.006, 6.53)] == [
        *("", "50 %", "100 %", "101 % ~", "653 % ~")
    ]
    info = {"images": 1000, "flops": 2 * 10**8, "peak_before": 1e10, "peak_after": 1e10}
    row = Row("network", "training, batch 256", "float32", "lanes", 0.01, info)
    one = profile.Profile(
        *("plain", "a backend", "lanes", ("C1",), np.array([[2e-6, 0, 4e-6]])),
        *(np.array([[50_000, 0, 50_000]]), 1e10, (row,)),
    )
    text = profile.markdown([one])
    assert "500 % ~ |" in text
    assert "200 % ~ of the peak" in text
    assert tables.NOTE_OF_MORE in text
    idle = dataclasses.replace(row, info=info | {"peak_before": 1e12, "peak_after": 1e12})
    one = dataclasses.replace(one, peak=1e12, whole=(idle,))
    assert tables.NOTE_OF_MORE not in profile.markdown([one])
    assert tables.NOTE_OF_MORE in report.markdown(Run([row], {}))
    assert tables.NOTE_OF_MORE not in report.markdown(Run([idle], {}))


@pytest.mark.slow
def test_the_command_profiles_both_networks(one_profile: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--profile", "--backend", one_profile, "--seconds", "0.001"])
    out, err = capsys.readouterr()
    assert exit_info.value.code == 0, err
    online = workloads.has_engine("online", one_profile)
    assert out.count("| C3.activation ") == 2 + 2 * online
    assert out.count("\ntraining, batch 256: ") == 2
    assert out.count("\ntraining, batch 1: ") == out.count("\none image: ") == 2 * online
    assert "Peak of the core: 100 Gflop/s" in out
    assert "1,131,960 madds" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "--backend", "numpy"], "expected a --backend with kernels for the lane"),
        (["--profile", "--only", "C3"], "--only: expected without --profile"),
        (["--profile", "--out", "x"], "--out: expected without --profile"),
        (["--backend", "numpy"], "--backend: expected together with --profile"),
    ],
)
def test_the_command_refuses_what_does_not_go_together(
    options: list[str], message: str, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", *options])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_a_profile_of_an_engine_that_is_wrong_is_refused(
    one_profile: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(workloads, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "--profile", "--backend", one_profile])
    assert exit_info.value.code == 1
    assert "expected losses" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("network", "batch"), [("1998", 32), ("plain", 32), ("plain", 1)])
def test_epochs_lets_all_begin_with_the_same_losses(
    network: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "installed", lambda library: False)  # TensorFlow takes a while
    images, _, labels = workloads.examples(3 * batch)
    runs = {
        name: functools.partial(run, images, labels, batch)
        for name, run in epochs.contenders(network, 1, batch).items()
    }
    epochs.verify(runs)
    seconds = epochs.measure(runs, rounds=1)
    assert list(seconds) == list(runs)
    with pytest.raises(SystemExit, match="planted: expected the losses"):
        epochs.verify(runs | {"planted": lambda: [1.0, 2.0, 3.0]})


def test_the_table_of_epochs() -> None:
    text = epochs.table({"lanes": 2.0, "layers": 3.0, "lanes 2": 1.0}, 6_000, 1.5)
    lines = text.splitlines()
    assert "lanes is faster" in lines[0]
    assert lines[2] == "| lanes 2 | 10.0 | 6,000 | 150 % ~ | 0.50 x |"
    assert lines[4] == "| layers | 30.0 | 2,000 | 50 % | 1.50 x |"


@pytest.mark.slow
@pytest.mark.usefixtures("no_probe")
def test_latency_alone_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(peers, "installed", lambda library: False)
    latency.main(["--network", "plain", "--calls", "20"])
    out = capsys.readouterr().out
    assert "20 calls each" in out
    lines = [line for line in out.splitlines() if line.startswith("| plain: one image")]
    assert len(lines) == len(latency.names(workloads.BY_NAME["plain: one image"]))
    monkeypatch.setitem(rounds.TOLERANCE, "float32", -1.0)
    with pytest.raises(SystemExit, match=r"plain: one image: .*wrong by"):
        latency.main(["--network", "plain", "--calls", "20"])
    with pytest.raises(SystemExit):
        latency.main(["--calls", "0"])
    assert "--calls: expected an int, at least 1, got '0'" in capsys.readouterr().err


@pytest.mark.parametrize("name", courses.COURSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_way_of_a_course_has_the_same_results(name: str, dtype: str) -> None:
    course = courses.COURSES[name]
    few = course._replace(batch=2)
    for way in course.ways:
        made = courses.contender(few, way, dtype)
        value = made.run()
        made.check(value)
        assert {array.dtype.name for array in value} == {dtype} or way == courses.LOOPS
        with pytest.raises(rounds.WrongAnswerError, match=way):
            made.check((value[0] * 1.01, *value[1:]))


@pytest.mark.slow
@pytest.mark.usefixtures("no_probe")
def test_courses_print_a_table(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    arguments = ["--course", "Deep Learning from Scratch", "--dtype", "float32", "--seconds", "0"]
    courses.main(arguments)
    out = capsys.readouterr().out
    assert "float32, one thread" in out
    (line,) = [line for line in out.splitlines() if line.startswith("| Deep Learning")]
    assert re.search(r"\| columns \| [\d.]+ \| [\d.]+ \| [\d.]+ x \|", line)
    monkeypatch.setitem(rounds.TOLERANCE, "float32", -1.0)
    with pytest.raises(SystemExit, match=r"Deep Learning from Scratch: columns: .*wrong by"):
        courses.main(arguments)


def test_the_digits_of_1989() -> None:
    train = workloads.data.load("sample").train
    x, labels = lenet1989.digits(train, 7_291, 0)
    assert x.shape == (7_291, 1, 16, 16)
    assert x.dtype == np.float32
    assert x.min() == -1
    assert 0.9 < x.max() <= 1
    assert (labels[:-5_000] == labels[5_000:]).all()  # there are 5,000
    few, others = lenet1989.digits(train, 50, 0), lenet1989.digits(train, 50, 1)
    np.testing.assert_array_equal(few[0], x[:50])
    assert (few[0] != others[0]).any()


def test_the_run_of_1989(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(lenet1989, "TRAIN", 200)
    backend = next((b for b in backends.NAMES if workloads.has_engine("online", b)), None)
    if backend is None:
        missing("no backend has kernels for the online engine")
    options = ["--dataset", "sample", "--passes", "2", "--steps", "40", "--backend", str(backend)]
    lenet1989.main(options)
    out = capsys.readouterr().out
    assert "sample-train: 200 digits to learn from" in out
    assert "| online engine |" in out
    assert ("| PyTorch eager |" in out) == contenders.installed("torch")
    assert "learned: " in out
    x, labels = lenet1989.digits(workloads.data.load("sample").train, 40, 0)
    with pytest.raises(SystemExit, match="planted: expected the losses"):
        lenet1989.verify("planted", [1.0] * 40, x, labels)


@pytest.mark.slow
def test_distortions_are_verified_and_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "x",
        "--dataset",
        "sample",
        "--images",
        "64",
        "--rounds",
        "1",
        "--batch-size",
        "32",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    distortions.main()
    out = capsys.readouterr().out
    assert ("| SciPy |" in out) == contenders.installed("scipy")
    assert {"| none |", "| paper |", "| elastic |"} <= set(
        re.findall(r"^\| \w+ \|", out, re.MULTILINE)
    )
    images = workloads.data.load("sample").train.images[:8]
    runs = distortions.contenders(images, "paper")
    with pytest.raises(SystemExit, match="planted: expected the bytes of numpy, got a diff"):
        distortions.verify(runs | {"planted": lambda: runs["numpy"]() // 2})


def test_gradients_are_verified_and_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--images", "3", "20", "--rounds", "1"])
    gradients.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    timed = [row for row in rows if len(row) == 3 and row[2].endswith(" x |")]
    assert len(timed) == 2 * (9 if contenders.installed("torch") else 7)
    assert [row[2] for row in timed if row[0] == f"| {gradients.PLAIN}"] == ["1.00 x |"] * 2
    x = np.random.default_rng(1).standard_normal((5, 1, 32, 32)).astype(np.float32)
    network = workloads.fresh("plain", 32).network
    runs = gradients.ours(network, x, np.arange(5), 1)
    gradients.verify(runs, 5)
    half = {name: array / 2 for name, array in runs["per example"]().items()}
    with pytest.raises(SystemExit, match=r"^planted: C1\.w: relative error 0\.5$"):
        gradients.verify(runs | {"planted": lambda: half}, 5)


@pytest.mark.slow
def test_the_table_of_shares(capsys: pytest.CaptureFixture[str]) -> None:
    if not backends.available()["cython"].usable or machine.missing():
        missing("no compiled kernels, or no C compiler for the probe")
    shares.main(["--seconds", "0.01"])
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == (
        "| instruction set | Gflop/s | training, batch 256 | training, batch 1 | "
        "evaluation, batch 1000 |"
    )
    known = backends.get("cython").instruction_sets()[::-1]
    assert [row.split()[1] for row in rows] == list(known)
    assert all(re.fullmatch(r"\| \w+ \| \d+ \| \d+% \| \d+% \| \d+% \|", row) for row in rows)


def test_the_table_of_1989() -> None:
    lines = lenet1989.table(1e-5, 1e-3).splitlines()
    assert lines[2] == "| online engine | 10.0 | 1.7 | 1.0 |"
    assert lines[3] == "| PyTorch eager | 1,000.0 | 167.7 | 100.0 |"
    assert len(lenet1989.table(1e-5, None).splitlines()) == 3


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
    # On a machine with other work the peak may move between the probes; the row is then marked.
    assert re.search(r"\| F6 backward( ~)? \|", report.markdown(run))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> data.Splits:
    """Return few digits, which time_to_accuracy loads."""
    sample = data.load("sample")
    splits = dataclasses.replace(sample, train=sample.train.subset(700), test=sample.test)
    monkeypatch.setattr(time_to_accuracy.data, "load", lambda *_: splits)
    return splits


def test_time_to_accuracy_prints_a_table(few: data.Splits, capsys: Any) -> None:
    arguments = ["--goals", "98", "98.9", "--seeds", "2", "--pytorch-seeds", "0", "--threads", "1"]
    time_to_accuracy.main(arguments)
    head, _, *rows = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "|"]
    assert "recipe" in head
    number = r"\d+\.\d+"
    for row, (accuracy, name, count) in zip(
        rows, (("98", "fast", 1), ("98.9", "paper", 6)), strict=True
    ):
        pattern = rf"\| {accuracy} % \| `{name}` \| {count} \| {number} % \({number}, 2 seeds\) "
        assert re.match(rf"{pattern}\| {number} \({number}\) \|  \|  \|$", row), row


def test_pytorch_trains_by_the_same_recipe(few: data.Splits) -> None:
    """A few hundred images, distorted or not, are learned about equally well."""
    pytest.importorskip("torch")
    for goal in time_to_accuracy.GOALS[1:4:2]:
        goal = dataclasses.replace(goal, epochs=2)
        found = [
            run(goal, few, 3, 1).accuracy
            for run in (time_to_accuracy.ours, time_to_accuracy.pytorch)
        ]
        assert abs(found[0] - found[1]) < 0.5, found
        assert found[0] > 30
