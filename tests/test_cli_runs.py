"""``lenet-fast runs``, ``compare``, ``completion`` and ``notebook``; printed commands."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_cases import assert_one_line

import lenet_fast as package
from lenet_fast import cures
from lenet_fast.locks import LockedFolder

SHORT = ("train", "--dataset", "sample", "--limit", "128", "--epochs", "1")


@pytest.fixture
def three(lenet_fast: Any) -> Any:
    """Train three runs, the second of which waits for a second epoch."""
    for out, *options in (
        ("runs/one",),
        ("runs/deep/two", "--output", "softmax", "--rate", "0.02"),
        ("runs/three", "--model", "lenet4", "--seed", "1"),
    ):
        assert lenet_fast(*SHORT, *options, "--out", out).status == 0
    return lenet_fast


def strict(text: str) -> Any:
    """Return what JSON says; Python's own reader takes more than JSON allows."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_json_has_no_infinity(lenet_fast: Any) -> None:
    done = lenet_fast(*SHORT, "--j", "inf", "--out", "runs/one", "--json")
    assert strict(done.out)["options"]["j"] == "inf"
    assert lenet_fast(*SHORT, "--out", "runs/two").status == 0
    runs = {each["run"]: each["options"]["j"] for each in strict(lenet_fast("runs", "--json").out)}
    assert runs == {"runs/one": "inf", "runs/two": 20.0}
    compared = strict(lenet_fast("compare", "runs/one", "runs/two", "--json").out)
    assert [each["options"]["j"] for each in compared] == ["inf", 20.0]
    resumed = lenet_fast("train", "--resume", "runs/one", "--epochs", "2", "--json")
    assert strict(resumed.out)["options"]["j"] == "inf"


# --- runs -----------------------------------------------------------------------------------


def test_runs_lists_what_there_is(three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = three("runs")
    assert result.status == 0
    assert result.err == ""
    lines = result.out.splitlines()
    # Those that started in the same second come in any order.
    assert {line.split()[0] for line in lines} == {"run", "runs/one", "runs/deep/two", "runs/three"}
    two = next(line for line in lines if "/two" in line)
    for part in ("lenet5 softmax", "sample 128", "1/1", " %", "0.02", "finished"):
        assert part in two
    facts = {each["run"]: each for each in json.loads(three("runs", "--json").out)}
    assert facts["runs/three"]["network"] == "lenet4"
    assert facts["runs/three"]["options"]["seed"] == 1
    assert three("runs", "runs/deep").out.count("finished") == 1


def test_runs_tells_states_apart(three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    from lenet_fast.training import Trainer, callbacks

    class Stop(callbacks.Callback):
        def on_batch_end(self, trainer: Trainer, progress: callbacks.Progress) -> None:
            trainer.stop()

    trainer = Trainer.resume("runs/one", callbacks=[Stop()])
    from lenet_fast import data

    sample = data.load("sample")
    trainer.fit(sample.train.subset(128), sample.test, 3)
    Path("runs/three/history.csv").write_text("nonsense")
    with LockedFolder("runs/deep/two"):
        result = three("runs")
    state = {line.split()[0]: line.split()[-1] for line in result.out.splitlines()[1:]}
    assert state == {"runs/one": "stopped", "runs/deep/two": "running", "runs/three": "damaged"}
    assert "runs/one  " in result.out
    assert " 1/3 " in result.out
    assert result.err.startswith("runs/three: ")


def test_runs_without_runs(lenet_fast: Any) -> None:
    assert_one_line(lenet_fast("runs", "nowhere"), "there is no nowhere", status=2)
    for arguments, folder in (((), "runs"), ((".",), ".")):
        result = lenet_fast("runs", *arguments)
        assert (result.status, result.out) == (0, "")
        assert f"There are no runs in {folder}. To start one:" in result.err
        assert result.err.splitlines()[-1].endswith(" train")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_number_is_cut_on_a_narrow_terminal(
    three: Any, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads(three("runs", "--json").out)
    monkeypatch.setenv("COLUMNS", str(columns))
    text = three("runs").out
    assert max(map(len, text.splitlines())) <= columns
    for each in facts:
        assert f"{each['best']:.2f} %" in text
        assert each["started"][:16].replace("T", " ") in text
    text = three("compare", "runs/one", "runs/deep/two").out
    assert max(map(len, text.splitlines())) <= columns
    assert "0.0028" in text


# --- compare --------------------------------------------------------------------------------


def test_compare(three: Any) -> None:
    result = three("compare", "runs/one", "runs/deep/two", "--out", "errors.svg")
    assert result.status == 0, result.err
    assert Path("errors.svg").read_text().startswith("<?xml")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][0] == "run"
    assert [lines[1][0], lines[2][0]] == ["one", "deep/two"]
    assert ["--rate", "0.0028", "0.02"] in lines
    assert ["--output", "rbf", "softmax"] in lines
    assert not any(line[:1] == ["--seed"] for line in lines)
    facts = json.loads(three("compare", "runs/one", "runs/three", "--json").out)
    assert [each["best_epoch"] for each in facts] == [1, 1]
    assert three(*SHORT, "--out", "runs/four").status == 0
    assert "are the same" in three("compare", "runs/one", "runs/four").out


def test_compare_writes_options_as_they_are_given(
    three: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = ", ".join(f"0.1{number}" for number in range(11, 60) if number % 10)
    options = ("--output", "linear", "--target-on", "0.9", "--target-off", "-0.9")
    options += ("--loss-scale", "0.3", "--rates", rates.replace(" ", ""))
    assert three(*SHORT, *options, "--out", "runs/four").status == 0
    text = three("compare", "runs/one", "runs/four").out
    lines = [line.split() for line in text.splitlines()]
    for line in ("--target-on - 0.9", "--target-off - -0.9", "--loss-scale - 0.3"):
        assert line.split() in lines
    assert ["--rates", "-", *rates.split()] in lines
    assert "\n--target-off " in text  # flush left, unlike numbers
    monkeypatch.setenv("COLUMNS", "60")
    text = three("compare", "runs/one", "runs/four").out
    assert max(map(len, text.splitlines())) <= 60
    assert rates in " ".join(text.split())


def test_compare_refuses(three: Any) -> None:
    assert_one_line(three("compare", "runs/one"), "two runs or more, got runs/one", status=2)
    assert_one_line(three("compare", "runs/one", "./runs/one"), "different runs", status=2)
    assert_one_line(three("compare", "runs/one", "runs/none"), "RUN: ", "there is no", status=2)
    result = three("compare", "runs/one", "runs/three", "--log")
    assert_one_line(result, "--log: expected together with --out", status=2)
    result = three("compare", "runs/one", "runs/three", "--out", "x.bmp")
    assert_one_line(result, "--out: expected a name that ends in one of .png", status=2)


# --- completion -----------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(lenet_fast: Any, shell: str) -> None:
    result = lenet_fast("completion", shell)
    assert result.status == 0
    assert f"_LENET_FAST_COMPLETE={shell}_complete" in result.out
    assert "lenet-fast" in result.out
    text = lenet_fast("completion", "--help").out
    assert 'eval "$(lenet-fast completion bash)"' in text


def test_bash_completes(lenet_fast: Any, tmp_path: Path) -> None:
    Path("script").write_text(lenet_fast("completion", "bash").out)
    program = tmp_path / "lenet-fast"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lenet_fast "$@"\n')
    program.chmod(0o755)
    lines = (
        "source script",
        "COMP_WORDS=(lenet-fast train --mod)",
        "COMP_CWORD=2",
        "_lenet_fast_completion lenet-fast",
        'echo "${COMPREPLY[*]}"',
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],
        env=os.environ
        | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["--model"]


# --- notebook -------------------------------------------------------------------------------


def test_notebook_copies_the_lessons_and_keeps_what_a_student_wrote(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # paths of any length
    result = lenet_fast("notebook", "my lessons")
    assert result.status == 0, result.err
    copied = sorted(Path("my lessons").glob("*.ipynb"))
    assert copied
    assert f"copied    {len(copied)} notebooks" in result.out
    assert json.loads(copied[0].read_text())["cells"]
    copied[0].write_text("mine")
    copied[1].unlink()
    result = lenet_fast("notebook", "my lessons")
    assert result.status == 0
    assert "copied    1 notebook to" in result.out
    assert f"kept      {copied[0].absolute()}" in result.out
    assert copied[0].read_text() == "mine"
    assert_one_line(lenet_fast("notebook", copied[0]), "expected a folder, got the file", status=2)


def test_notebook_takes_the_lessons_of_an_installed_package_first(
    lenet_fast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons = tmp_path / "site" / "lenet_fast" / "lessons"
    lessons.mkdir(parents=True)
    monkeypatch.setattr(package, "__file__", str(lessons.parent / "__init__.py"))
    assert_one_line(lenet_fast("notebook", "mine"), "lessons: expected notebooks in")
    (lessons / "1.ipynb").write_text("{}")
    assert lenet_fast("notebook", "mine").status == 0
    assert [path.name for path in Path("mine").iterdir()] == ["1.ipynb"]


# --- printed commands -----------------------------------------------------------------------


def test_cures_name_this_python_and_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shlex.split(cures.install("lenet_fast[plot]")) == [
        *(sys.executable, "-m", "pip", "install", "lenet_fast[plot]")
    ]
    monkeypatch.setattr(sys, "executable", "/a b/python")
    assert cures.install("numba") == "'/a b/python' -m pip install numba"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cures.install("numba") == "uv pip install numba --python '/a b/python'"


def test_a_cure_works_where_it_is_printed() -> None:
    """The package is installed: pip needs no index to find it."""
    command = shlex.split(cures.install("lenet_fast[plot]"))
    done = subprocess.run(
        [*command, "--dry-run", "--no-index", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_printed_commands_run(three: Any) -> None:
    line = cures.command("info", "runs/one")
    done = subprocess.run(
        line,
        shell=True,
        env=os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "60,000" in done.stdout


# --- reproduce ------------------------------------------------------------------------------


def test_reproduce_prints_json(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lenet_fast.reproduce import catalogue

    quick = catalogue.LENET1989
    monkeypatch.setitem(
        catalogue.RECIPES, "1989", (dataclasses.replace(quick, epochs=1, digits=_few),)
    )
    command = ("reproduce", "1989", "--quick", "--dataset", "sample", "--out", "papers")
    result = lenet_fast(*command, "--json")
    assert (result.status, result.err) == (0, "")
    facts = json.loads(result.out)
    assert facts["runs"][0]["recipe"] == "1989"
    assert facts["runs"][0]["test_images"] == 50
    assert Path(facts["report"]).is_file()
    monkeypatch.setenv("COLUMNS", "60")
    text = lenet_fast(*command).out
    rate = 2 * facts["runs"][0]["test_errors"]
    assert f"**{rate:.2f}**" in text


def _few(splits: Any, seed: int) -> Any:
    from lenet_fast import data

    return dataclasses.replace(
        splits,
        train=data.as_1989(splits.train.subset(200)),
        test=data.as_1989(splits.test.subset(50)),
    )


def test_reproduce_says_how_to_go_on_when_the_disk_is_full(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_fast.jobs import runner

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "papers/1989/seed-0/history.csv")

    monkeypatch.setattr(runner, "run_all", full)
    result = lenet_fast("reproduce", "1989", "--quick", "--dataset", "sample", "--out", "papers")
    assert_one_line(result, "seed-0/history.csv: No space left", "To continue: ", "--out papers")


# --- a user without a home, a system without threads ----------------------------------------

HOMELESS = """
import pwd, sys
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody  # as for the user of a container
from lenet_fast.cli import main
main(sys.argv[1:])
"""
THREADLESS = """
import sys, threading
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
from lenet_fast.cli import main
main(sys.argv[1:])
"""


def run_as(code: str, *arguments: object, **environment: str) -> Any:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    root = str(Path(package.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"LENET_FAST_OFFLINE": "1", "PYTHONPATH": root} | kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (*SHORT, "--out", "again", "--distort", "elastic"),
        ("evaluate", "runs/one", "--dataset", "sample"),
        ("plot", "runs/one", "--what", "errors", "--out", "errors.png"),
        ("runs", "."),
        ("info",),
        ("notebook", "lessons"),
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("code", [HOMELESS, THREADLESS], ids=["no home", "no threads"])
def test_everything_that_needs_no_more_works(
    three: Any, code: str, arguments: tuple[str, ...]
) -> None:
    done = run_as(code, *arguments, OMP_NUM_THREADS="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_needs_a_cache_names_the_variable(lenet_fast: Any, tmp_path: Path) -> None:
    done = run_as(HOMELESS, "data")
    assert done.returncode == 1
    assert "set LENET_FAST_CACHE to a cache folder" in done.stderr
    done = run_as(HOMELESS, "info")
    assert "set LENET_FAST_CACHE to a cache folder" in done.stdout
    done = run_as(HOMELESS, "info", LENET_FAST_CACHE=str(tmp_path / "cache"))
    assert f"not in the cache, {tmp_path / 'cache' / 'mnist'}" in done.stdout


def test_matplotlib_keeps_its_cache_with_ours(three: Any, tmp_path: Path) -> None:
    command = ("plot", "runs/one", "--what", "errors", "--out", "errors.png")
    done = run_as(HOMELESS, *command, LENET_FAST_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "cache" / "matplotlib").is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (">/dev/full", {1}, "lenet-fast: error: standard output: No space left on device\n"),
        ("| true; exit ${PIPESTATUS[0]}", {0, 1}, ""),  # 0 if all fits into the pipe
        (">&-", {0}, ""),
    ],
    ids=["full", "pipe", "closed"],
)
@pytest.mark.parametrize(
    "arguments", [("runs",), ("info",), ("train", "--help"), SHORT], ids=lambda words: words[0]
)
def test_a_full_or_closed_output(
    three: Any, arguments: tuple[str, ...], end: str, status: set[int], words: str
) -> None:
    command = f"{cures.shell([sys.executable, '-m', 'lenet_fast', *arguments])}"
    root = str(Path(package.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "LENET_FAST_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", f"{command} {end}"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode in status, done.stderr) == (True, words)
