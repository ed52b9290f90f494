"""The folder of a run: one process writes to it, kills leave no dead end, links are replaced."""

from __future__ import annotations

import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lenet_fast
from lenet_fast import data, disk, files, locks, models
from lenet_fast.data import idx
from lenet_fast.locks import LockedFolder
from lenet_fast.training import Callback, Constant, Trainer, TrainingDiverged, checkpoints, runs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and links are those of POSIX")

ROOT = Path(lenet_fast.__file__).parents[1]
OPTIONS = ("--output", "softmax", "--backend", "numpy", "--threads", "1")
SHORT = ("--dataset", "sample", "--limit", "64", *OPTIONS)


@pytest.fixture(scope="module")
def sets():
    sample = data.load("sample")
    return sample.train.subset(64), sample.test.subset(20)


def new_trainer(**options: Any) -> Trainer:
    return Trainer(models.lenet5(output="softmax", pooling="max"), **{"backend": "numpy"} | options)


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "LENET_FAST_CACHE": str(folder / "cache"),
        "LENET_FAST_OFFLINE": "1",
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lenet_fast", *map(str, arguments)]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def few(sets, tmp_path_factory):
    """Return options for as few images as make a run."""
    folder = tmp_path_factory.mktemp("data")
    for name, images in zip(("train", "t10k"), sets, strict=True):
        idx.write(folder / f"{name}-images-idx3-ubyte", images.images)
        idx.write(folder / f"{name}-labels-idx1-ubyte", images.labels)
    return ("--data", folder, *OPTIONS)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------ the lock


def test_a_folder_is_locked_for_all_but_one(tmp_path):
    path = tmp_path / "runs" / "one"
    with LockedFolder(path) as one:
        assert os.fspath(one) == str(one) == str(path)
        with pytest.raises(
            BlockingIOError, match=r"out: .* but .*one is in use; wait .* or choose"
        ):
            LockedFolder(path)
        link = tmp_path / "link"
        link.symlink_to(path)
        with pytest.raises(BlockingIOError, match="link is in use"):
            LockedFolder(link)
        found = []

        def other() -> None:
            try:
                LockedFolder(path)
            except BlockingIOError as error:
                found.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(found) == 1
        (path / "file").write_text("mine")
    with LockedFolder(path):
        pass
    assert [each.name for each in path.iterdir()] == ["file"]


def test_a_folder_that_stays_empty_is_taken_back(tmp_path):
    (tmp_path / "kept").mkdir()
    with LockedFolder(tmp_path / "kept" / "a" / "b"):
        assert (tmp_path / "kept" / "a" / "b").is_dir()
    assert os.listdir(tmp_path / "kept") == []
    with LockedFolder(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "run"
    tries = []

    def slow(descriptor: int, lock: Any = locks.try_lock) -> bool:
        tries.append(descriptor)
        if len(tries) == 1:
            path.rmdir()
        return bool(lock(descriptor))

    monkeypatch.setattr(locks, "try_lock", slow)
    with LockedFolder(path):
        monkeypatch.undo()
        assert len(tries) == 2
        with pytest.raises(BlockingIOError):
            LockedFolder(path)


def test_a_folder_that_another_process_creates_meanwhile_is_none_in_the_way(tmp_path, monkeypatch):
    folder, looked = tmp_path / "run", os.path.lexists

    def created_just_before(path):
        folder.mkdir(exist_ok=True)
        return looked(path)

    monkeypatch.setattr(os.path, "lexists", created_just_before)
    assert locks.in_the_way(folder) is None


def test_no_folder_of_that_name(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/below"):
        with pytest.raises(NotADirectoryError):
            LockedFolder(tmp_path / name)
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent" / "folder")
    with pytest.raises(NotADirectoryError, match="expected a folder, got the link to nowhere "):
        LockedFolder(tmp_path / "nowhere")
    if os.path.isdir("/proc"):
        with pytest.raises(FileNotFoundError):
            LockedFolder("/proc/absent/folder")


def test_new_folders_have_names_of_their_own(tmp_path):
    with LockedFolder.new(tmp_path / "run") as one, LockedFolder.new(tmp_path / "run") as two:
        assert [one.path.name, two.path.name] == ["run", "run-2"]
        (one.path / "file").write_text("mine")
    with LockedFolder.new(tmp_path / "run") as three:
        assert three.path.name == "run-2"


def test_without_locks_a_run_goes_on_and_says_so(tmp_path, monkeypatch):
    def none(descriptor: int) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "try_lock", none)
    with pytest.warns(UserWarning, match=r"run: the file system has no locks .* not supported"):
        LockedFolder(tmp_path / "run").release()
    disk.write_atomic(tmp_path / "file", b"new")
    disk.write_atomic(tmp_path / "file", b"newer")
    assert os.listdir(tmp_path) == ["file"]


def test_a_forked_child_holds_no_lock(tmp_path):
    """A worker that outlives its parent must not keep the folder."""
    fork = multiprocessing.get_context("fork")
    begun, end = fork.Event(), fork.Event()

    def work() -> None:
        begun.set()
        end.wait(60)

    with LockedFolder(tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other tests leave threads
            child = fork.Process(target=work)
            child.start()
        assert begun.wait(60)
        with pytest.raises(BlockingIOError):
            LockedFolder(tmp_path)
    with LockedFolder(tmp_path):
        end.set()
    child.join()


class Wait(Callback):
    """Stops a training in its first epoch until it is told to go on."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def on_batch_end(self, trainer: Trainer, progress: Any) -> None:
        self.begun.set()
        assert self.end.wait(60)


def test_who_looks_whether_a_run_goes_on_does_not_keep_one_from_starting(tmp_path):
    """Nor do two that look see each other."""
    end, seen = threading.Event(), []

    def look() -> None:
        while not end.is_set():
            seen.append(locks.is_locked(tmp_path))

    def while_two_look(do: Callable[[], None]) -> None:
        end.clear()
        lookers = [threading.Thread(target=look) for _ in range(2)]
        for each in lookers:
            each.start()
        try:
            do()
        finally:
            end.set()
            for each in lookers:
                each.join()

    def start_runs() -> None:
        for _ in range(300):
            LockedFolder(tmp_path).release()

    while_two_look(start_runs)
    seen.clear()
    while_two_look(lambda: time.sleep(0.2))
    assert seen
    assert not any(seen)
    with LockedFolder(tmp_path):
        assert locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path / "absent")


def test_trainings_in_two_threads_do_not_share_a_folder(sets, tmp_path):
    out, wait = tmp_path / "run", Wait()
    other, late = new_trainer(out=out), new_trainer(out=out, overwrite=True)
    thread = threading.Thread(target=new_trainer(out=out, callbacks=[wait]).fit, args=(*sets, 1))
    thread.start()
    assert wait.begun.wait(60)
    try:
        before = contents(out)
        for trainer in (other, late, Trainer.resume(out)):
            with pytest.raises(BlockingIOError, match="in use"):
                trainer.fit(*sets, epochs=1)
        assert contents(out) == before
    finally:
        wait.end.set()
        thread.join()
    with pytest.raises(FileExistsError, match="resume that run, choose another folder"):
        other.fit(*sets, epochs=1)
    late.fit(*sets, epochs=1)


def test_a_trainer_goes_on_with_its_own_run_only(sets, tmp_path):
    one = new_trainer(out=tmp_path / "run")
    one.fit(*sets, epochs=1)
    stale = Trainer.resume(tmp_path / "run")
    one.fit(*sets, epochs=2)
    before = contents(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"checkpoint\.safetensors has changed; resume"):
        stale.fit(*sets, epochs=2)
    new_trainer(out=tmp_path / "run", overwrite=True, seed=3).fit(*sets, epochs=1)
    with pytest.raises(FileExistsError, match=r"checkpoint\.safetensors has changed; resume"):
        one.fit(*sets, epochs=3)
    assert checkpoints.load(tmp_path / "run" / runs.CHECKPOINT).seed == 3
    assert before.keys() == set(runs.FILES)


def test_a_folder_that_another_run_locked_first_stays(tmp_path, monkeypatch):
    """Created by the one, locked by the other, and still empty."""
    make = LockedFolder._make
    others = []

    def beaten(folder):
        make(folder)
        if not others:
            others.append(folder)
            others.append(LockedFolder(folder.path))

    monkeypatch.setattr(LockedFolder, "_make", beaten)
    with pytest.raises(BlockingIOError, match="in use"):
        LockedFolder(tmp_path / "run")
    others[1].check()
    others[1].release()


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_race_for_a_folder(tmp_path, times):
    """One of them has it, and its files are of one run."""
    for _ in range(times):
        seeds = (1, 2, 3)
        processes = [
            subprocess.Popen(
                command("train", *SHORT, "--epochs", 2, "--seed", seed, "--out", "run"),
                cwd=tmp_path,
                env=environment(tmp_path),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in seeds
        ]
        errors = [process.communicate(timeout=120)[1] for process in processes]
        winners = [
            seed for seed, process in zip(seeds, processes, strict=True) if process.returncode == 0
        ]
        assert len(winners) == 1, errors
        for error, process in zip(errors, processes, strict=True):
            if process.returncode:
                assert "run is in use" in error or "run holds a run" in error
                assert error.count("\n") == 1
        saved = checkpoints.load(tmp_path / "run" / runs.CHECKPOINT)
        assert saved.seed == winners[0]
        assert f"seed = {winners[0]}\n" in (tmp_path / "run" / runs.CONFIG).read_text()
        assert set(os.listdir(tmp_path / "run")) == set(runs.FILES)
        runs.clear(tmp_path / "run")


# ------------------------------------------------------------------ kills

KILLS = """
import os, shutil, signal, sys
from pathlib import Path
from lenet_fast import cli, files
from lenet_fast.training import Trainer, checkpoints, runs
import rich.progress, rich.console, safetensors.numpy

out = Path("run").absolute()
quiet = os.open(os.devnull, os.O_WRONLY)

def child(arguments, kill_at=0):
    number = os.fork()
    if number:
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    count = 0
    def step(*_):
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, arguments):
        if event == "open" or event.startswith("os."):
            if any(isinstance(each, str) and each.startswith((str(out), "run")) for each in
                   map(lambda each: os.fspath(each) if isinstance(each, os.PathLike) else each,
                       arguments)):
                step()
    sync = os.fsync
    def fsync(descriptor):
        step()
        sync(descriptor)
    os.fsync = fsync
    sys.addaudithook(hook)
    try:
        cli.main(arguments)
    except SystemExit as error:
        os._exit(int(error.code or 0))
    finally:
        os._exit(99)

def clean():
    for path in out.glob("*"):
        path.unlink()
    for path in out.glob(".*"):
        path.unlink()
    if out.exists():
        out.rmdir()

# By epoch: a rate by step depends on how many epochs there will be when a run goes on.
begin = ["train", *sys.argv[2:], "--out", "run", "--schedule", "step_decay"]
resume = ["train", "--resume", "run"]
results = set()
kind, kill_at = sys.argv[1], 0
seed = "7" if kind == "overwrite" else "0"
arguments = begin + ["--epochs", "1"]
if kind == "overwrite":
    arguments += ["--overwrite"]
elif kind == "resume":
    arguments = resume + ["--epochs", "2"]
if kind != "new":
    assert child(begin + ["--epochs", "1", "--seed", seed]) == 0
    shutil.copytree(out, "old")
while True:
    kill_at += 1
    clean()
    if kind != "new":
        shutil.copytree("old", out)
    status = child(arguments, kill_at)
    assert status in (0, -signal.SIGKILL), (kind, kill_at, status)
    killed = status != 0
    if killed:
        where = sorted(os.listdir(out)) if out.exists() else None
        again = [child(begin + ["--epochs", "1"]), child(resume + ["--epochs", "2"])]
        # One of them goes on; a new run may then be resumed, too.
        assert again[1] == 0 and again[0] in (0, 2), (kind, kill_at, where, again)
    assert set(os.listdir(out)) == set(runs.FILES), (kind, kill_at, os.listdir(out))
    saved = checkpoints.load(out / runs.CHECKPOINT)
    rows = [(r.epoch, r.train_loss, r.train_errors, r.test_errors) for r in saved.rows]
    assert runs.read_history(out).rows[-1].epoch == len(rows)
    if killed:
        results.add((saved.seed, *rows))
        files.read_model(out / runs.MODEL)
    else:
        break
print(kill_at, len(results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["new", "overwrite", "resume"])
def test_a_kill_at_any_write_leaves_no_dead_end(few, tmp_path, kind):
    """Every open, rename, removal and fsync of a run's files is tried, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", KILLS, kind, *map(str, few)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kills, results = map(int, done.stdout.split())
    assert kills > 15
    # All ended alike; where an old run is overwritten, it may be the old one that goes on.
    assert results == (2 if kind == "overwrite" else 1)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_what_a_kill_left_behind_is_removed(sets, tmp_path, how):
    out = tmp_path / "run"
    new_trainer(out=out).fit(*sets, epochs=1)
    for name in runs.FILES:
        (out / f".{name}.0123456789abcdef.tmp").write_text("half")
    others = [".mine.tmp", ".other.0123456789abcdef.tmp", "checkpoint.safetensors.tmp"]
    for name in others:
        (out / name).write_text("mine")
    trainer = Trainer.resume(out) if how == "resume" else new_trainer(out=out, overwrite=True)
    trainer.fit(*sets, epochs=2)
    assert set(os.listdir(out)) == {*runs.FILES, *others}


def test_a_write_removes_what_a_killed_one_left_but_not_what_goes_on(tmp_path):
    left = tmp_path / ".file.0123456789abcdef.tmp"
    left.write_text("half")

    def content(file: Any) -> None:
        file.write(b"outer")
        disk.write_atomic(tmp_path / "file", b"inner")  # as another process might
        assert len([name for name in os.listdir(tmp_path) if name.endswith(".tmp")]) == 1

    disk.write_atomic(tmp_path / "file", content)
    assert contents(tmp_path) == {"file": b"outer"}


def test_a_folder_without_a_checkpoint_is_no_run_to_go_on_with(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("mine")
    done = run(tmp_path, "train", *SHORT, "--epochs", 1, "--out", "run")
    assert done.returncode == 2
    assert "holds config.toml, but no checkpoint.safetensors to resume from; rep" in done.stderr
    assert "--resume" not in done.stderr
    with pytest.raises(FileExistsError, match=r"holds config\.toml; choose another folder"):
        new_trainer(out=tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").read_text() == "mine"
    done = run(tmp_path, "train", *SHORT, "--epochs", 1, "--out", "run", "--overwrite")
    assert done.returncode == 0, done.stderr


def test_resuming_a_finished_run_changes_no_byte(sets, tmp_path):
    out = tmp_path / "run"
    new_trainer(out=out).fit(*sets, epochs=2)
    before = {path.name: (path.read_bytes(), path.stat()) for path in out.iterdir()}
    time.sleep(0.01)
    history = Trainer.resume(out).fit(*sets)
    assert len(history.rows) == 2
    assert {path.name: (path.read_bytes(), path.stat()) for path in out.iterdir()} == before


# ------------------------------------------------------------------ divergence


@pytest.mark.parametrize("options", [(), ("--checkpoint-every", "32")])
def test_a_run_that_diverges_at_once_leaves_its_folder_free(tmp_path, options):
    arguments = ("train", *SHORT, "--epochs", 1, "--out", "run", *options)
    done = run(tmp_path, *arguments, "--rate", "1e9", "--batch-size", 8)
    assert done.returncode == 1
    assert "hold" not in done.stderr
    words = "such as 0.0025. Nothing is kept: no epoch was complete, and run is free again."
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
    done = run(tmp_path, *arguments, "--rate", "0.01")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [(), ("--checkpoint-every", "32")])
def test_a_run_that_diverges_at_once_leaves_the_one_it_would_have_replaced(tmp_path, options):
    arguments = ("train", *SHORT, "--epochs", 1, "--out", "run")
    assert run(tmp_path, *arguments).returncode == 0
    before = contents(tmp_path / "run")
    again = (*arguments, "--overwrite", "--batch-size", 8, *options)
    done = run(tmp_path, *again, "--rate", "1e9")
    assert done.returncode == 1
    assert "No epoch was complete, so run still holds the run from before." in done.stderr
    assert contents(tmp_path / "run") == before
    assert run(tmp_path, *again, "--seed", 2).returncode == 0
    assert checkpoints.load(tmp_path / "run" / runs.CHECKPOINT).seed == 2
    assert {*contents(tmp_path / "run")} == {*runs.FILES}


def test_a_run_that_cannot_be_replaced_is_found_out_before_the_first_epoch(
    sets, tmp_path, monkeypatch
):
    new_trainer(out=tmp_path).fit(*sets, epochs=1)
    before = contents(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # also for the superuser
    with pytest.raises(PermissionError, match=r"checkpoint\.safetensors"):
        new_trainer(out=tmp_path, overwrite=True, schedule=Constant(1e30)).fit(*sets, epochs=1)
    assert contents(tmp_path) == before


def test_a_trainer_that_diverges_at_once_leaves_the_run_it_would_have_replaced(sets, tmp_path):
    new_trainer(out=tmp_path / "run").fit(*sets, epochs=1)
    before = contents(tmp_path / "run")
    trainer = new_trainer(out=tmp_path / "run", overwrite=True, schedule=Constant(1e30))
    with pytest.raises(TrainingDiverged, match=r"overwritten in .*run is still there\.$"):
        trainer.fit(*sets, epochs=1)
    assert contents(tmp_path / "run") == before


def test_a_run_that_is_stopped_in_its_first_epoch_replaces_an_earlier_one(sets, tmp_path):
    out, seen = tmp_path / "run", []
    new_trainer(out=out).fit(*sets, epochs=1)
    before = contents(out)

    class Stop(Callback):
        def on_batch_end(self, trainer: Trainer, progress: Any) -> None:
            seen.append(contents(out))
            trainer.stop()

    new_trainer(out=out, overwrite=True, seed=2, callbacks=[Stop()]).fit(*sets, epochs=1)
    assert seen[0] == seen[-1] == before
    saved = checkpoints.load(out / runs.CHECKPOINT)
    assert (saved.seed, saved.position.epoch, saved.rows) == (2, 0, [])
    assert {*contents(out)} == {runs.CHECKPOINT, runs.CONFIG}


def test_a_run_that_diverges_later_says_what_it_has(tmp_path):
    arguments = ("train", *SHORT, "--epochs", 3, "--out", "run", "--rates")
    done = run(tmp_path, *arguments, "0.01,1e9", "--batch-size", 8)
    assert done.returncode == 1
    words = "run holds the last good state, after epoch 1, but --resume would fail here again"
    assert words in done.stderr
    assert len(runs.read_history(tmp_path / "run").rows) == 1
    done = run(tmp_path, *arguments, "0.01", "--overwrite")
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ full disks


def limited(folder: Path, size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command that may write no file larger than so many bytes."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder) | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_no_room_for_the_first_checkpoint(tmp_path):
    arguments = ("train", *SHORT, "--epochs", 1, "--out", "run")
    done = limited(tmp_path, 100_000, *arguments)
    assert done.returncode == 1
    assert done.stderr == (
        "lenet-fast: error: run/checkpoint.safetensors: File too large; nothing was saved, and run "
        "holds no run\n"
    )
    assert not (tmp_path / "run").exists()
    assert run(tmp_path, *arguments).returncode == 0


def test_no_room_for_the_old_run_to_be_replaced(tmp_path):
    assert run(tmp_path, "train", *SHORT, "--epochs", 1, "--out", "run").returncode == 0
    before = contents(tmp_path / "run")
    done = limited(
        tmp_path, 100_000, "train", *SHORT, "--epochs", 1, "--seed", 2, "--out", "run",
        "--overwrite",
    )  # fmt: skip
    assert done.returncode == 1
    words = "File too large; nothing was saved, and run holds what it held before"
    assert f"run/checkpoint.safetensors: {words}" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path / "run") == before


def test_a_disk_that_fills_up_later(tmp_path):
    assert run(tmp_path, "train", *SHORT, "--epochs", 1, "--out", "run").returncode == 0
    before = contents(tmp_path / "run")
    done = limited(tmp_path, 100_000, "train", "--resume", "run", "--epochs", 9)
    assert done.returncode == 1
    assert done.stderr.startswith("lenet-fast: error: run/")
    assert done.stderr.endswith(" train --resume run\n")
    assert done.stderr.count("\n") == 1
    words = "safetensors: File too large; the last saved state, after epoch 1, is kept. To resume: "
    assert words in done.stderr
    assert ".tmp" not in done.stderr
    after = contents(tmp_path / "run")
    assert after["checkpoint.safetensors"] == before["checkpoint.safetensors"]
    assert set(after) == set(runs.FILES)
    assert run(tmp_path, "train", "--resume", "run", "--epochs", 2).returncode == 0


class Do(Callback):
    """Does something once, after the first epoch."""

    def __init__(self, do: Any) -> None:
        self.do = do

    def on_epoch_end(self, trainer: Trainer, row: Any) -> None:
        if row.epoch == 1:
            self.do()


def test_a_folder_that_goes_away_is_named(sets, tmp_path):
    out = tmp_path / "run"

    def remove() -> None:
        runs.clear(out)
        out.rmdir()

    trainer = new_trainer(out=out, callbacks=[Do(remove)])
    with pytest.raises(FileNotFoundError) as caught:
        trainer.fit(*sets, epochs=2)
    assert Path(caught.value.filename) == out


@pytest.mark.parametrize("every", [None, 32])
def test_a_folder_that_is_replaced_is_left_alone(sets, tmp_path, every):
    """As by 'mv run old' and a new run of the same name."""
    out = tmp_path / "run"

    def replace() -> None:
        out.rename(tmp_path / "old")
        new_trainer(out=out, seed=9).fit(*sets, epochs=1)

    trainer = new_trainer(out=out, callbacks=[Do(replace)], checkpoint_every=every)
    with pytest.raises(FileNotFoundError, match="moved, removed or replaced") as caught:
        trainer.fit(*sets, epochs=2)
    assert Path(caught.value.filename) == out
    assert checkpoints.load(out / runs.CHECKPOINT).seed == 9
    assert len(runs.read_history(out).rows) == 1
    Trainer.resume(tmp_path / "old").fit(*sets, epochs=2)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: disk.write_atomic(path, b"new"),
        lambda path: files.save_model(path, models.lenet5()),
    ],
)
def test_errors_name_the_file_that_was_asked_for(tmp_path, write, monkeypatch):
    (tmp_path / "folder").mkdir()
    for path, kind in ((tmp_path / "folder", IsADirectoryError), (tmp_path / "no" / "f", OSError)):
        with pytest.raises(kind) as caught:
            write(path)
        assert (caught.value.filename, caught.value.filename2) == (str(path), None)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == ["folder"]


# ------------------------------------------------------------------ links and permissions


@pytest.mark.parametrize("name", runs.FILES)
def test_links_among_a_runs_files_are_replaced(sets, tmp_path, name):
    out = tmp_path / "run"
    new_trainer(out=out).fit(*sets, epochs=1)
    victim = tmp_path / "victim"
    victim.write_bytes((out / name).read_bytes())
    (out / name).unlink()
    (out / name).symlink_to(victim)
    before = victim.read_bytes()
    for do in (
        lambda: Trainer.resume(out).fit(*sets, epochs=3),
        lambda: new_trainer(out=out, overwrite=True, seed=2).fit(*sets, epochs=1),
    ):
        do()
        assert victim.read_bytes() == before
        assert set(os.listdir(out)) == set(runs.FILES)
        assert name == runs.MODEL or not (out / name).is_symlink()
    assert not (out / name).is_symlink()


def test_a_new_run_does_not_write_through_a_link_to_nowhere(sets, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / runs.HISTORY).symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        new_trainer(out=tmp_path / "run")
    new_trainer(out=tmp_path / "run", overwrite=True).fit(*sets, epochs=1)
    assert not (tmp_path / "victim").exists()


def test_hard_links_keep_the_old_content(sets, tmp_path):
    out = tmp_path / "run"
    new_trainer(out=out).fit(*sets, epochs=1)
    for name in runs.FILES:
        os.link(out / name, tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in runs.FILES}
    Trainer.resume(out).fit(*sets, epochs=3)
    assert before == {name: (tmp_path / name).read_bytes() for name in runs.FILES}


def test_a_run_may_be_a_link_to_a_folder(sets, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to("there")
    new_trainer(out=tmp_path / "run").fit(*sets, epochs=1)
    assert set(os.listdir(tmp_path / "there")) == set(runs.FILES)
    assert (tmp_path / "run").is_symlink()


@pytest.mark.parametrize("how", ["resume", "overwrite"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_permissions_stay(sets, tmp_path, how, mode):
    out = tmp_path / "run"
    new_trainer(out=out).fit(*sets, epochs=1)
    for name in runs.FILES:
        (out / name).chmod(mode)
    old = os.umask(0o027)
    try:
        trainer = Trainer.resume(out) if how == "resume" else new_trainer(out=out, overwrite=True)
        trainer.fit(*sets, epochs=3)
        new_trainer(out=tmp_path / "new").fit(*sets, epochs=1)
    finally:
        os.umask(old)
    for name in runs.FILES:
        assert stat.S_IMODE((out / name).stat().st_mode) == mode
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o640


def test_what_is_being_written_is_never_more_open_than_before(tmp_path):
    (tmp_path / "file").write_text("secret")
    (tmp_path / "file").chmod(0o600)
    seen = []

    def content(file: Any) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    disk.write_atomic(tmp_path / "file", content)
    assert seen == [0o600]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_pictures_and_models_keep_permissions_and_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o604)
    link.symlink_to(target)
    files.save_model(link, models.lenet5())  # the user has named it
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    files.load_model(target)
