"""`lenet-fast sweep`: its file, its runs, here and on a cluster, and what it leaves."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line
from helpers import require

from lenet_fast import data, models
from lenet_fast.jobs.runner import RESULT, Marks, Stopped
from lenet_fast.sweeps import runs, search, space, summary
from lenet_fast.sweeps.space import Range
from lenet_fast.training import SDLM, SGD, Constant, OneCycle, Trainer

require("matplotlib")

SMALL = "[sweep]\nimages = 128\nvalidation = 100\n"
FAST = '[options]\nrecipe = "fast"\nepochs = 1\n'


@pytest.fixture
def sweep(lenet_fast: Any, tmp_path: Path) -> Any:
    """Return a function that sweeps over the sample as a file says."""

    def run(text: str, *words: object) -> Any:
        Path("rates.toml").write_text(text)
        return lenet_fast("sweep", "rates.toml", "--dataset", "sample", *words)

    return run


def table(name: str, out: str = "runs/rates") -> list[dict[str, str]]:
    with open(Path(out, name), newline="") as file:
        return list(csv.DictReader(file))


# --- points  ---


def test_a_grid_of_a_range() -> None:
    points = space.grid(
        [{"rate": Range(0.001, 0.1, True, 3), "batch_size": Range(8, 9, steps=5, whole=True)}]
    )
    assert [each["rate"] for each in points] == [0.001, 0.001, 0.01, 0.01, 0.1, 0.1]
    assert [each["batch_size"] for each in points[:2]] == [8, 9]


def test_draws_stay_where_they_are_when_something_else_changes() -> None:
    first = {"rate": Range(1e-4, 1, log=True), "pooling": ["max", "average"]}
    few, more = space.drawn([first], 5, 0), space.drawn([first], 50, 0)
    assert more[:5] == few
    assert space.drawn([first], 5, 1) != few
    other = space.drawn([first | {"pooling": ["max", "none"]}], 50, 0)
    assert [each["rate"] for each in other] == [each["rate"] for each in more]
    rates = np.log10([each["rate"] for each in space.drawn([first], 400, 0)])
    assert -4 <= rates.min() < -3.9
    assert abs(rates.mean() + 2) < 0.2  # evenly over the logarithms
    assert {each["pooling"] for each in more} == {"max", "average"}


def test_all_points_of_a_small_space_can_be_drawn() -> None:
    small = [{"a": [1, 2, 3], "b": [True, False]}]
    assert sorted(map(str, space.drawn(small, 6, 0))) == sorted(map(str, space.grid(small)))


def test_ranges_may_have_fewer_points_than_are_wanted() -> None:
    found = space.drawn([{"batch_size": Range(16, 18, whole=True)}], 9, 0)
    assert sorted(each["batch_size"] for each in found) == [16, 17, 18]


# --- the file  ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate = [", ["rates.toml: expected TOML"]),
        ("[space]\nrate = [1]\nrate = [2]", ["expected TOML"]),
        ("[sweep]\nseeds = 2", ["space: expected a table [space] of options"]),
        (
            "[spaces]\nrate = [1]",
            ["expected sweep, options, space, got spaces; did you mean space?"],
        ),
        (
            "[space]\nrates_ = [1]",
            ["space: expected options of lenet-fast train, got rates_", "rates?"],
        ),
        ("[space]\nbatch-size = [1]", ["got batch-size; did you mean batch_size?"]),
        ("[space]\nthreads = [1]", ["expected options of lenet-fast train, got threads"]),
        ("[space]\nseed = [1, 2]", ["seed: expected no such option here: seeds = N in [sweep]"]),
        ("[options]\nlimit = 5\n[space]\nrate = [1]", ["limit: expected no such", "images = N"]),
        ("[space]\nrate = []", ["space: rate: expected at least one value, got an empty list"]),
        ("[space]\nrate = [0.1, 0.2, 0.1]", ["rate: expected different values, got 0.1 twice"]),
        ('[space]\nrate = ["high"]', ["space: rate = 'high'", "not a valid number"]),
        ("[space]\nrate = [0.1, -1]", ["space: rate = -1"]),
        ('[space]\npooling = ["median"]', ["pooling = 'median'", "'max'"]),
        ("[space]\nshuffle = [1]", ["shuffle = 1: expected true or false"]),
        ("[space]\npooling = {low = 1, high = 2}", ["pooling: expected a list of values"]),
        ("[space]\nnesterov = {low = 0, high = 1}", ["nesterov: expected a list of values"]),
        ("[space]\nrate = {low = 0.1}", ["rate: expected a range with low and high, got no high"]),
        ("[space]\nrate = {low = 0.1, high = 1, step = 2}", ["got step; did you mean steps?"]),
        ("[space]\nrate = {low = 0.1, high = 1}", ["rate: expected the number of steps", "random"]),
        ("[space]\nrate = {low = 1, high = 0.1, steps = 2}", ["expected a finite high above low"]),
        (
            "[space]\nrate = {low = 0.1, high = 1, steps = 1}",
            ["steps: expected a whole number from 2"],
        ),
        (
            "[space]\nmomentum = {low = 0, high = 0.9, log = true, steps = 2}",
            ["momentum: low: expected a number above 0 with log = true, got 0"],
        ),
        ("[space]\nbatch_size = {low = 1.5, high = 4, steps = 2}", ["batch_size: low = 1.5"]),
        ("[options]\nrate = 1\n[space]\nrate = [1]", ["rate: expected in [options] or in [space]"]),
        (
            '[sweep]\nmetric = "test_error"\n[space]\nrate = [1]',
            ["'test_error'; the test set is for"],
        ),
        (
            '[sweep]\nmetric = "speed"\n[space]\nrate = [1]',
            ["metric: expected validation_error or v"],
        ),
        (
            '[sweep]\nmethod = "tpe"\n[space]\nrate = [1]',
            ["method: expected grid or random, got 'tpe'"],
        ),
        ('[sweep]\nmethod = "random"\n[space]\nrate = [1]', ["runs: expected the number of conf"]),
        ('[sweep]\nmethod = "random"\nruns = 3\n[space]\nrate = [1, 2]', ["at most the 2 conf"]),
        (
            '[sweep]\nmethod = "random"\nruns = 4\n[space]\nbatch_size = {low = 1, high = 3}',
            ["at most the 3 configurations that there are, got 4"],
        ),
        (
            '[sweep]\nmethod = "random"\nruns = 3\n' + "[[space]]\nrate = [1, 2]\n" * 2,
            ["at most the 2 configurations that there are, got 3"],
        ),
        ("[sweep]\nruns = 3\n[space]\nrate = [1]", ['runs: expected with method = "random" only']),
        (
            "[sweep]\nseeds = 0\n[space]\nrate = [1]",
            ["seeds: expected a whole number of at least 1"],
        ),
        (
            "[sweep]\nseeds = true\n[space]\nrate = [1]",
            ["seeds: expected a whole number of at least"],
        ),
        (
            "[sweep]\nhalving = 1\n[space]\nrate = [1]",
            ["halving: expected a whole number of at least 2"],
        ),
        (
            "[sweep]\nvalidation = 5000\n[space]\nrate = [1]",
            ["validation: expected fewer than the 5,000"],
        ),
        (
            "[sweep]\nimages = 4500\n[space]\nrate = [1]",
            ["images: expected at most the 4,167 training"],
        ),
        (
            "[sweep]\nhalving = 2\n[space]\nepochs = [2, 4]",
            ["halving: expected the same number of ep"],
        ),
        (
            "[sweep]\nhalving = 9\n[space]\nrate = [1]",
            ["halving: expected at most the number of epochs"],
        ),
        (
            '[space]\noptimiser = ["sgd", "adamw"]\nmomentum = [0.5]',
            ["optimiser=adamw momentum=0.5: --momentum: expected with --optimiser sgd"],
        ),
        (
            "[sweep]\nseeds = 2\n[space]\n"
            + "".join(
                f"{name} = {{low = 0.1, high = 0.9, steps = 100}}\n"
                for name in ("rate", "momentum", "warmup")
            ),
            ["at most 1,000 runs, got 2,000,000: 1,000,000 configurations", "--max-runs 2000000"],
        ),
    ],
)
def test_what_is_wrong_with_a_file(sweep: Any, text: str, words: list[str]) -> None:
    assert_one_line(sweep(text), *words, status=2)
    assert not Path("runs/rates/runs").exists()


def test_there_is_no_file(lenet_fast: Any) -> None:
    assert_one_line(lenet_fast("sweep", "no.toml"), "FILE: expected a TOML file, but", status=2)


# --- runs  ---


def job(seed: int = 0, until: int = 3, **changes: Any) -> runs.Job:
    settings = {
        "model": "lenet5",
        "network": {"pooling": "max", "output": "softmax"},
        "loss": {"name": "cross_entropy", "smoothing": 0.0},
        "optimiser": SGD(0.9).config(),
        "schedule": OneCycle(0.05).config(),
        "distortion": None,
        "batch_size": 16,
        "shuffle": True,
        "average_from": None,
        "evaluate_train": False,
        "epochs": 3,
        "images": 96,
        "validation": 50,
    }
    return runs.Job(json.dumps(settings | changes), seed, until)


def do(one: runs.Job, splits: data.Splits, folder: Path, stop: Any = None) -> runs.Result:
    folder.mkdir(exist_ok=True)
    marks = Marks.of(splits)
    one.run(splits, marks, 1, lambda done: None, stop or threading.Event(), folder)
    found = one.read(folder)
    assert found is not None
    assert one.has(found, marks)
    return found


def bits(result: runs.Result) -> list[Any]:
    """Return what a run has measured, without times."""
    times = ("train_seconds", "images_per_second")
    return [{name: row[name] for name in row if name not in times} for row in result.rows]


SAMPLE = data.load("sample")


def test_a_run_is_that_of_a_trainer_and_never_sees_the_test_set(tmp_path: Path) -> None:
    train, validation = runs.parts(SAMPLE, 50, 96, "lenet5")
    network = models.lenet5(pooling="max", output="softmax", seed=3)
    trainer = Trainer(network, optimiser=SGD(0.9), schedule=OneCycle(0.05), batch_size=16, seed=3)
    expected = trainer.fit(train, validation, 3, verbose=False)
    blind = dataclasses.replace(SAMPLE, test=SAMPLE.test.subset(1))
    found = do(job(3), blind, tmp_path)
    assert [row["test_loss"] for row in found.rows] == [row.test_loss for row in expected.rows]
    assert [path.name for path in tmp_path.iterdir()] == [RESULT]


def test_the_parts_do_not_overlap() -> None:
    marked = dataclasses.replace(
        SAMPLE.train, images=SAMPLE.train.images.copy(), labels=SAMPLE.train.labels
    )
    marked.images[:, 0, 0] = np.arange(5000) % 251
    marked.images[:, 0, 1] = np.arange(5000) // 251
    train, validation = runs.parts(dataclasses.replace(SAMPLE, train=marked), 1000, None, "lenet5")
    seen = [{(int(a), int(b)) for a, b in each.images[:, 0, :2]} for each in (train, validation)]
    assert [len(each) for each in seen] == [4000, 1000]
    assert not seen[0] & seen[1]
    assert np.bincount(validation.labels).min() > 70  # not sorted by class


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "optimiser": SDLM(0.1, gamma=0.5, patterns=20).config(),
            "schedule": Constant(0.001).config(),
            "batch_size": 1,
        },
        {"average_from": 2},
    ],
    ids=["one cycle", "sdlm", "average"],
)
def test_a_training_that_pauses_has_the_bits_of_one_that_does_not(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = do(job(**changes), SAMPLE, tmp_path / "whole")
    for until in (1, 2, 3):
        found = do(job(until=until, **changes), SAMPLE, tmp_path / "parts")
        assert bits(found) == bits(whole)[:until]
        assert (tmp_path / "parts/checkpoint.safetensors").exists() == (until < 3)
    assert job(until=1).name == job(until=3).name != job(1).name


def test_a_checkpoint_of_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    other = dataclasses.replace(SAMPLE, train=SAMPLE.train.subset(500))
    do(job(until=1), SAMPLE, tmp_path / "a")
    found = do(job(), other, tmp_path / "a")
    assert bits(found) == bits(do(job(), other, tmp_path / "b"))


def test_a_pause_whose_result_was_lost_does_not_train_further(tmp_path: Path) -> None:
    do(job(until=1), SAMPLE, tmp_path)
    before = (tmp_path / RESULT).read_bytes()
    do(job(until=2), SAMPLE, tmp_path)
    (tmp_path / RESULT).write_bytes(before)  # as if killed between the two files
    assert len(do(job(until=2), SAMPLE, tmp_path).rows) == 2
    assert len(do(job(until=3), SAMPLE, tmp_path).rows) == 3


def test_a_run_that_is_stopped_leaves_no_result(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        do(job(), SAMPLE, tmp_path, stop)
    assert not (tmp_path / RESULT).exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": 1}', "nan"])
def test_a_result_that_is_not_whole_is_none(tmp_path: Path, content: str) -> None:
    found = do(job(), SAMPLE, tmp_path)
    assert runs.load(tmp_path) == found
    (tmp_path / RESULT).write_text(content or " ")
    assert runs.load(tmp_path) is None


# --- the search  ---


def made(number: int, rate: float = 0.1, epochs: int = 9) -> search.Configuration:
    return search.Configuration(number, {"rate": rate}, {"epochs": epochs}, f"{number}")


def results(todo: list[runs.Job], error: Any) -> list[runs.Result]:
    """Return results with `error(number, seed, epoch)` wrong images of a hundred; None fails."""
    found = []
    for each in todo:
        wrong = [error(int(each.settings), each.seed, epoch) for epoch in range(1, each.until + 1)]
        row = {"test_loss": 0.5}
        rows = [row | {"test_errors": one} for one in wrong if one is not None]
        failed = "diverged" if None in wrong else ""
        found.append(runs.Result({}, each.seed, {}, {}, 10, 100, rows, 1.0, failed))
    return found


def test_ranks_by_the_mean_of_the_seeds_and_failures_last() -> None:
    def error(number: int, seed: int, epoch: int) -> int | None:
        return None if (number, seed) == (1, 2) else {1: 0, 2: 20, 3: 10}[number] + seed

    four = [made(number, epochs=2) for number in (1, 2, 3)]
    found = search.search(four, 3, None, "validation_error", lambda todo: results(todo, error))
    assert [each.configuration.number for each in found] == [3, 2, 1]
    assert (found[0].mean, found[0].deviation, found[0].epoch) == (11, 1, 2)
    assert (found[2].failed, found[2].mean) == (1, np.inf)


def test_a_run_that_failed_later_has_not_failed_yet() -> None:
    """Its folder may know more than a rung of halving asks for."""
    early, late = (runs.Result({}, seed, {}, {}, 10, 100) for seed in range(2))
    early.rows = late.rows = [{"test_errors": 7, "test_loss": 0.1}]
    late.failed = "diverged"
    standing = search.Standing(made(1), (early, late), 1, "validation_error")
    assert (standing.values, standing.failed) == ([7, 7], 0)
    assert [row["failed"] for row in summary.run_rows([standing])] == ["", ""]
    assert standing._replace(epoch=2, results=(late,)).failed == 1


def test_halving_lets_the_best_go_on() -> None:
    """The ninth is the best at first, but the eighth and the seventh overtake it."""
    steps = []

    def run(todo: list[runs.Job]) -> list[runs.Result]:
        steps.append([(int(each.settings), each.seed, each.until) for each in todo])
        return results(todo, lambda n, seed, epoch: 50 - n if epoch == 1 else 20 + n)

    nine = [made(number) for number in range(1, 10)]
    found = search.search(nine, 2, 3, "validation_error", run)
    assert [len(step) for step in steps] == [18, 6, 2]
    assert {step[0][2] for step in steps} == {1, 3, 9}
    assert [each.configuration.number for each in found] == [7, 8, 9, 6, 5, 4, 3, 2, 1]
    assert [each.epoch for each in found] == [9, 3, 3, 1, 1, 1, 1, 1, 1]


# --- the command  ---


def test_a_sweep_from_the_file_to_the_pictures(sweep: Any, lenet_fast: Any) -> None:
    text = SMALL + "seeds = 2\n" + FAST + "[space]\nrate = [0.01, 0.05]\nbatch_size = [16, 32]\n"
    done = sweep(text, "--jobs", "1")
    assert done.status == 0, done.err
    assert done.err.count(" % validation error, ") == 8
    assert "sweep     4 configurations, 2 seeds, grid\nruns      8 in runs/rates" in done.out
    found = table("configurations.csv")
    means = [float(row["validation_error"]) for row in found]
    assert means == sorted(means)
    assert {(row["rate"], row["batch_size"]) for row in found} == {
        (rate, size) for rate in ("0.01", "0.05") for size in ("16", "32")
    }
    each = table("runs.csv")
    of_best = [row for row in each if row["configuration"] == found[0]["configuration"]]
    assert [row["seed"] for row in of_best] == ["0", "1"]
    assert np.mean([float(row["validation_errors"]) for row in of_best]) == means[0]
    names = ("parallel.png", "rate.png", "batch_size.png")
    assert all(Path("runs/rates", name).stat().st_size > 10_000 for name in names)
    # The best configuration, for a run with the same settings, but on the whole training set.
    options = tomllib.loads(Path("runs/rates/config.toml").read_text())["options"]
    assert (str(options["rate"]), str(options["batch_size"])) == (
        found[0]["rate"],
        found[0]["batch_size"],
    )
    assert {"seed", "limit"}.isdisjoint(options)
    assert (
        lenet_fast("train", "--config", "runs/rates", "--limit", "64", "--out", "best").status == 0
    )
    again = tomllib.loads(Path("best/config.toml").read_text())["options"]
    assert {name: again[name] for name in options if name != "epochs"} == {
        name: value for name, value in options.items() if name != "epochs"
    }

    # Nothing is computed again, and an edited file computes what is new.
    before = {path: path.stat().st_mtime_ns for path in Path("runs/rates").glob("runs/*/*")}
    done = sweep(text.replace("0.05]", "0.02]"), "--json")
    facts = json.loads(done.out)
    assert [row["runs"] for row in facts["configurations"]] == [2] * 4
    after = {path: path.stat().st_mtime_ns for path in Path("runs/rates").glob("runs/*/*")}
    assert len(after) == len(before) + 4
    assert {path: after[path] for path in before} == before

    # No figure stays of which the table no longer tells.
    sweep(text.replace("[16, 32]", "32"))
    assert {path.name for path in Path("runs/rates").glob("*.png")} == {"parallel.png", "rate.png"}


@pytest.mark.parametrize("name", ["config.toml", "runs.csv", "rate.png"])
def test_files_of_something_else_stay(sweep: Any, name: str) -> None:
    path = Path("runs/rates", name)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    done = sweep(SMALL + FAST + "[space]\nrate = [0.01]\n")
    assert_one_line(done, f"but runs/rates holds {name} of something else", status=2)
    assert path.read_text() == "mine"
    assert not Path("runs/rates/runs").exists()


def test_random_and_halving_and_what_diverges(sweep: Any) -> None:
    text = (
        '[sweep]\nmethod = "random"\nruns = 4\nhalving = 2\nimages = 64\nvalidation = 50\n'
        'metric = "validation_loss"\n[options]\nrecipe = "fast"\nepochs = 2\n'
        "[[space]]\nrate = {low = 0.001, high = 0.1, log = true}\n"
        '[[space]]\noptimiser = "adamw"\nrate = [1e30]\n'
    )
    done = sweep(text)
    assert done.status == 0, done.err
    assert "1 with failed runs, such as optimiser=adamw rate=1e+30: epoch" in " ".join(
        done.out.split()
    )
    found = table("configurations.csv")
    assert [row["epochs"] for row in found] == ["2", "2", "1", "1"]
    assert found[-1]["failed"] == "1"
    assert found[-1]["validation_loss"] == ""
    assert Path("runs/rates/curves.png").exists()
    kept = list(Path("runs/rates/runs").glob("*/checkpoint.safetensors"))
    assert len(kept) == 1  # of the one that may still go on


def test_values_without_a_place_on_an_axis(sweep: Any) -> None:
    """Infinity, lists and bools."""
    text = SMALL + (
        "[options]\nepochs = 1\n[space]\nj = [5.0, inf]\nrates = [[0.001], [0.002, 0.001]]\n"
        "shuffle = [true, false]\n"
    )
    done = sweep(text)
    assert done.status == 0, done.err
    assert {row["j"] for row in table("configurations.csv")} == {"5.0", "inf"}
    assert {row["rates"] for row in table("configurations.csv")} == {"[0.001]", "[0.002, 0.001]"}


def test_nothing_works(sweep: Any) -> None:
    done = sweep(SMALL + FAST + "[space]\nrate = [1e30]\n")
    assert done.status == 1
    said = "no configuration without a failed run; the first: rate=1e+30: epoch 1"
    assert said in done.err.splitlines()[-1]
    assert not Path("runs/rates/config.toml").exists()


def test_the_file_of_the_documentation(lenet_fast: Any) -> None:
    file = Path(__file__).parents[1] / "docs/howto/sweep.toml"
    done = lenet_fast("sweep", file, "--dataset", "sample")
    assert done.status == 0, done.err
    assert "7 configurations, 2 seeds, grid" in done.out
    names = ("config.toml", "parallel.png", "rate.png", "batch_size.png")
    assert all(Path("runs/sweep", name).exists() for name in names)


def test_ctrl_c_says_how_to_go_on(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lenet_fast.jobs import runner

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_all", stopped)
    done = sweep(SMALL + FAST + "[space]\nrate = [1]\n", "--jobs", "2", "--out", "here")
    assert done.status == 130
    assert " sweep rates.toml --dataset sample --out here --jobs 2\n" in done.err


@pytest.mark.slow
def test_two_dask_workers_have_the_bits_of_here(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each a process of its own; by halving, so that checkpoints travel to and fro."""
    distributed = require("distributed")
    monkeypatch.setenv("PYTHONPATH", str(Path(models.__file__).parents[1]))
    text = (
        "[sweep]\nhalving = 2\nimages = 128\nvalidation = 100\nseeds = 2\n"
        + FAST.replace("1", "2")
        + "[space]\nrate = [0.01, 0.05]\n"
    )
    assert sweep(text, "--out", "here").status == 0
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        done = sweep(text, "--out", "there", "--cluster", cluster.scheduler_address)
    assert done.status == 0, done.err
    assert "2 workers, 2 runs at once" in done.out
    for path in Path("here").glob("runs/*"):
        here, there = runs.load(path), runs.load(Path("there/runs", path.name))
        assert here is not None
        assert there is not None
        assert bits(there) == bits(here)
    assert table("configurations.csv", "there") == table("configurations.csv", "here")
    shutil.rmtree("there")
