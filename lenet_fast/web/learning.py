"""Trainings that the page starts: one at a time, in a thread, with something to see meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lenet_fast.data import Dataset, Splits
from lenet_fast.locks import LockedFolder
from lenet_fast.network import Network
from lenet_fast.training import Callback, Progress, Row, Trainer, TrainingDiverged
from lenet_fast.web.lessons import Lesson
from lenet_fast.web.records import Point, Run
from lenet_fast.web.thinking import Mind

KEPT_RUNS = 8
"""Runs whose networks and curves stay in memory; the page itself keeps the first network, too."""

MAX_SAVES = 100
"""How many runs can be saved until the server ends: a visitor must not fill the disk."""

_SHOW_SECONDS = 0.1
"""The page sees the network in training ten times a second, at most."""

_PROBE_IMAGES = 1000
"""How many test images a point of the error curve is from, about."""

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """There is a training already, or nothing to be done, or no room for it."""


class _Watch(Callback):
    """Takes the network's weights between two batches, and measures its error now and then."""

    def __init__(self, learning: Learning, run: Run, test: Dataset) -> None:
        self._learning, self._run = learning, run
        step = max(1, len(test) // _PROBE_IMAGES)
        self._images, self._labels = test.images[::step].copy(), test.labels[::step].copy()
        self._shown = self._probed = 0.0  # when
        self._before = 0.0  # seconds of the epochs before this one
        self._last = 0, 0, 0.0  # epoch, images, seconds

    def on_train_begin(self, trainer: Trainer) -> None:
        if self._run.stopping:  # from before the trainer began to listen
            trainer.stop()
        self._probe(trainer)

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        if progress.phase != "train":
            return
        seconds = self._before + progress.images / progress.images_per_second
        images = (progress.epoch - 1) * progress.total + progress.images
        self._last = progress.epoch, images, seconds
        now = time.perf_counter()
        if now - self._probed >= self._run.every:
            self._probed = now
            self._probe(trainer)
        if now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            self._show(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        self._before += row.train_seconds
        with self._learning.changing():
            self._run.rows.append(row)

    def on_train_end(self, trainer: Trainer) -> None:
        if self._show(trainer):
            self._probe(trainer)  # the curve goes on to the end

    def _probe(self, trainer: Trainer) -> None:
        _, images, seconds = self._last
        found = trainer.engine.evaluate(self._images, self._labels)
        with self._learning.changing():
            self._run.add(Point(images, seconds, found.errors / found.images))

    def _show(self, trainer: Trainer) -> bool:
        """Show the network; return whether it can be: of one that diverges, the last good weights
        stay."""
        run = self._run
        arrays = trainer.network.parameters.values()
        if not all(np.isfinite(array).all() for array in arrays):
            return False
        mind = Mind(trainer.network, run.number, run.mind.name)
        with self._learning.changing():
            run.epoch, run.images, run.seconds = self._last
            run.images_per_second = run.images / max(run.seconds, 1e-9)
            self._learning.put(run, mind)
        return True


class Learning:
    """The networks of the page, and the training in progress; for any number of threads.

    Parameters
    ----------
    splits : Splits
        What is learned, and tested on.
    folder : Path
        Where runs are saved: there, or with -2, -3 and so on behind its name.
    network : Network, optional
        What the page begins with. By default a training begins at once.
    name : str
        For the visitor, where that network is from.
    """

    def __init__(
        self, splits: Splits, folder: Path, network: Network | None = None, name: str = ""
    ) -> None:
        self.splits = splits
        self.folder = folder
        self._changed = threading.Condition()
        self._version = 0
        self._begun = time.time()
        self._runs: dict[int, Run] = {}
        self._count = 0
        self._saved = 0
        self._trainer: Trainer | None = None
        self._thread: threading.Thread | None = None
        self.closed = False
        self._given = None if network is None else Mind(network, 0, name)
        self._mind = self._given
        if self._given is None:
            self.start({})

    # ------------------------------------------------------------------ what there is to see

    @property
    def mind(self) -> Mind:
        """The network that reads, as it is at this moment."""
        assert self._mind is not None  # the first training has put one there
        return self._mind

    def current(self) -> dict[str, Any]:
        """Return the run that began last, and which network reads."""
        with self._changed:
            last = self._runs.get(self._count)
            return {
                "begun": self._begun,  # tells this server from one that was here before
                "version": self._version,
                "reading": self.mind.number,
                "run": None if last is None else last.to_json(),
            }

    def everything(self) -> dict[str, Any]:
        """Return all runs, and the networks that may be chosen."""
        with self._changed:
            return self.current() | {
                "runs": [run.to_json() for run in self._runs.values()],
                "networks": [{"number": mind.number, "name": mind.name} for mind in self._minds()],
            }

    def _minds(self) -> list[Mind]:
        """Return the networks that may be chosen."""
        given = [] if self._given is None else [self._given]
        return given + [run.mind for run in self._runs.values()]

    def wait(self, version: int, seconds: float) -> bool:
        """Wait for a later version than one; return whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version > version, seconds)

    # ------------------------------------------------------------------ what can be done

    def start(self, given: object) -> None:
        """Begin to train a new network.

        Raises
        ------
        BusyError
            If there is a training already.
        TypeError, ValueError, ImportError
            If the settings are none, or nothing here can run them.
        """
        train, test = self.splits.train, self.splits.test
        lesson = Lesson.from_json(given, len(train))
        with self._changed:
            if self._thread is not None:
                raise BusyError("a training is in progress; stop it first")
            trainer = lesson.trainer()
            number = self._count + 1
            run = Run(
                number=number,
                lesson=lesson,
                data=self.splits.source.partition(",")[0],  # without the folder
                train_images=len(train),
                test_images=len(test),
                mind=Mind(trainer.network, number, f"run {number}"),
                loss=trainer.loss,
            )
            trainer.callbacks.append(_Watch(self, run, test))
            thread = threading.Thread(
                target=self._train, args=(trainer, run), name="training", daemon=True
            )
            try:
                thread.start()  # it waits at its first change, until this one is done
            except RuntimeError as error:  # Python's, where the system has no thread left
                raise BusyError(f"the system has no room for the training: {error}") from error
            self._count = number
            self._runs[number] = run
            for old in list(self._runs)[:-KEPT_RUNS]:
                del self._runs[old]
            self._trainer, self._thread = trainer, thread
            with self.changing():
                self._mind = run.mind

    def stop(self) -> None:
        """Ask the training to stop; nothing happens if there is none."""
        with self._changed:
            if self._trainer is not None:
                self._runs[self._count].stopping = True
                self._trainer.stop()

    def use(self, number: object) -> None:
        """Let another network read.

        Parameters
        ----------
        number : int
            Of a run; 0 for the network that the page began with.

        Raises
        ------
        BusyError
            If there is a training: its network reads.
        ValueError
            If there is no network of that number.
        """
        with self._changed:
            if self._thread is not None:
                raise BusyError("the network in training reads; stop it first")
            chosen = {mind.number: mind for mind in self._minds()}
            if type(number) is not int or number not in chosen:
                raise ValueError("network: expected the number of one that is here")
            with self.changing():
                self._mind = chosen[number]

    def save(self) -> Path:
        """Write the network that reads, and its history, to a new folder; return the folder.

        Raises
        ------
        BusyError
            If it is none that was trained here, or :data:`MAX_SAVES` were saved before.
        OSError
            If the folder cannot be written.
        """
        with self._changed:
            run = self._runs.get(self.mind.number)
            if run is None:
                raise BusyError("this network is from a file already")
            if self._saved == MAX_SAVES:
                raise BusyError(
                    f"{MAX_SAVES} networks have been saved since the server started, which is its "
                    "limit; start it again to save more"
                )
            self._saved += 1
            kept = dataclasses.replace(run, rows=list(run.rows))  # as it is now
        try:
            with LockedFolder.new(self.folder) as locked:
                kept.save(locked.path, self.splits)
        except BaseException:
            with self._changed:
                self._saved -= 1
            raise
        with self.changing():
            run.folder = str(locked.path)
        return locked.path

    def leave(self) -> None:
        """Stop the training, and tell the listeners to go; returns at once."""
        with self.changing():
            self.closed = True
            self.stop()

    def close(self) -> None:
        """Likewise, and wait until the training has ended."""
        self.leave()
        thread = self._thread
        if thread is not None:
            thread.join()

    # ------------------------------------------------------------------ for the training

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Within the block, what there is to see may be changed; whoever waits is told after it."""
        with self._changed:
            yield
            self._version += 1
            self._changed.notify_all()

    def put(self, run: Run, mind: Mind) -> None:
        """Take a run's network as it is now; within :meth:`changing`."""
        if self._mind is run.mind:
            self._mind = mind
        run.mind = mind

    def _train(self, trainer: Trainer, run: Run) -> None:
        state, reason = "failed", ""
        try:
            history = trainer.fit(self.splits.train, self.splits.test, run.lesson.epochs)
            state = "stopped" if history.interrupted else "done"
        except TrainingDiverged:
            reason = f"The rate {run.lesson.rate:g} is too high: the loss is no longer finite."
        except Exception as error:  # the page must live on, whatever it was
            _log.exception("training")
            reason = f"{type(error).__name__}: {error}"[:300]
        finally:
            with self.changing():
                run.state, run.reason = state, reason
                self._trainer = self._thread = None
