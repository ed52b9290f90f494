"""SIGTERM and SIGHUP stop a training in good order, as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lenet_fast
from lenet_fast import data, models
from lenet_fast.cli import stopping
from lenet_fast.training import Trainer, runs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")

ROOT = Path(lenet_fast.__file__).parents[1]
SHORT = ("--dataset", "sample", "--limit", "128", "--output", "softmax", "--threads", "1")


class Training:
    """A process that trains in the folder ``run``; it is killed if a test ends before it does."""

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        self.out = folder / "run"
        words = arguments or ("train", *SHORT, "--epochs", "10000", "--out", "run")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lenet_fast", *words],
            cwd=folder,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "LENET_FAST_CACHE": str(folder / "cache"),
                "LENET_FAST_OFFLINE": "1",
            },
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options,
        )

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 60
        while not path.exists() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.exists()

    def rows(self) -> int:
        return len(runs.read_history(self.out).rows)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order_and_the_run_goes_on(tmp_path, number, times):
    with Training(tmp_path) as training:
        training.wait_for(training.out / runs.HISTORY)
        for _ in range(times):
            training.process.send_signal(number)
        _, err = training.process.communicate(timeout=60)
    assert training.process.returncode == 128 + number, err
    assert "saved. To resume:" in err
    assert "train --resume run" in err
    assert "Traceback" not in err
    assert set(os.listdir(training.out)) == set(runs.FILES)
    done = training.rows()
    words = ("train", "--resume", "run", "--epochs", str(done + 1))
    with Training(tmp_path, *words) as again:
        _, err = again.process.communicate(timeout=60)
    assert again.process.returncode == 0, err
    assert again.rows() == done + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_so(tmp_path, number):
    """As after nohup."""

    def ignore() -> None:
        signal.signal(number, signal.SIG_IGN)

    with Training(tmp_path, preexec_fn=ignore) as training:
        training.wait_for(training.out / runs.HISTORY)
        training.process.send_signal(number)
        before = training.rows()
        deadline = time.monotonic() + 60
        while training.rows() < before + 3 and time.monotonic() < deadline:
            assert training.process.poll() is None
            time.sleep(0.02)
        other = signal.SIGHUP if number == signal.SIGTERM else signal.SIGTERM
        training.process.send_signal(other)
        training.process.communicate(timeout=60)
        assert training.process.returncode == 128 + other


def test_a_terminal_that_is_closed_stops_the_training_in_order(tmp_path):
    """The kernel sends SIGHUP, and nothing can be written any more."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    options = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    words = (
        "import fcntl, os, runpy, sys, termios; os.setsid(); "
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv = sys.argv[1:]; "
        "runpy.run_module('lenet_fast', run_name='__main__', alter_sys=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", words, "lenet-fast", "train", *SHORT, "--epochs", "10000",
         "--out", "run"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "LENET_FAST_OFFLINE": "1", "LENET_FAST_CACHE": str(tmp_path)},
        **options,
    )  # fmt: skip
    os.close(theirs)
    try:
        os.set_blocking(ours, False)
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / runs.HISTORY).exists() and time.monotonic() < deadline:
            try:
                os.read(ours, 2**16)
            except BlockingIOError:
                time.sleep(0.02)
        os.close(ours)
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    finally:
        process.kill()
        process.wait()
    assert set(os.listdir(tmp_path / "run")) == set(runs.FILES)
    done = len(runs.read_history(tmp_path / "run").rows)
    with Training(tmp_path, "train", "--resume", "run", "--epochs", str(done + 1)) as again:
        _, err = again.process.communicate(timeout=60)
    assert again.process.returncode == 0, err
    assert again.rows() == done + 1


def test_a_signal_before_the_training_leaves_nothing(tmp_path):
    """While the data are loaded: here they never come."""
    words = (
        "import lenet_fast.cli.common as common, signal, sys, os; from pathlib import Path\n"
        "def load_data(*_):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
        "common.load_data = load_data\n"
        "from lenet_fast import cli; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", words, "train", *SHORT, "--out", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, "lenet-fast: error: stopped\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_whose_exception_is_lost_stops_the_training(times):
    """As while a compiled module is loaded, which ignores what is raised meanwhile."""
    sample = data.load("sample")
    with stopping.on_signals() as stop:
        for _ in range(times):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        trainer = Trainer(models.lenet5(), callbacks=[stop], backend="numpy", threads=1)
        history = trainer.fit(sample.train.subset(32), sample.test.subset(10), epochs=1)
    assert history.interrupted
    assert not history.rows
    assert stop.leave().exit_code == 143


def test_reproduce_stops_as_after_ctrl_c(tmp_path):
    words = ("reproduce", "1989", "--seeds", "3", "--dataset", "sample", "--out", "run")
    with Training(tmp_path, *words, "--jobs", "2") as training:
        training.wait_for(training.out)
        time.sleep(1)
        with Training(tmp_path, *words) as other:
            _, err = other.process.communicate(timeout=60)
        assert (other.process.returncode, "run is in use" in err) == (1, True)
        training.process.terminate()
        _, err = training.process.communicate(timeout=60)
    assert training.process.returncode == 143, err
    assert "Traceback" not in err
    assert "reproduce 1989 --seeds 3" in err or "error: stopped" in err


def test_only_default_handlers_are_replaced_and_put_back():
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with stopping.on_signals() as stop:
            assert signal.getsignal(signal.SIGTERM) is mine
        old = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert old is mine
        with stopping.on_signals() as stop:
            assert signal.getsignal(signal.SIGTERM) == stop.handle
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
