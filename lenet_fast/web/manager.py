"""Trainings that the page starts: one at a time, in a thread, visible while they run."""

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
from lenet_fast.web.records import Point, Run
from lenet_fast.web.snapshots import NetworkSnapshot
from lenet_fast.web.training_requests import TrainingRequest

KEPT_RUNS = 8
"""Runs whose networks and curves stay in memory, besides the network that the page began with."""

MAX_SAVES = 100
"""Most networks that can be saved until the server ends, so that a visitor cannot fill the disk."""

_SHOW_SECONDS = 0.1
"""Shortest time between two snapshots of the network in training."""

_PROBE_IMAGES = 1000
"""Approximate number of test images behind each point of the error curve."""

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """A training is already running, there is nothing to do, or no resources are left."""


class _Watch(Callback):
    """Copies the network's weights between two batches, and measures its error now and then."""

    def __init__(self, manager: TrainingManager, run: Run, test: Dataset) -> None:
        self._manager, self._run = manager, run
        step = max(1, len(test) // _PROBE_IMAGES)
        self._images, self._labels = test.images[::step].copy(), test.labels[::step].copy()
        self._shown = self._probed = 0.0  # time of the last one
        self._before = 0.0  # seconds of the epochs before this one
        self._last = 0, 0, 0.0  # epoch, images, seconds

    def on_train_begin(self, trainer: Trainer) -> None:
        if self._run.stopping:  # requested before the trainer existed
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
        with self._manager.changing():
            self._run.rows.append(row)

    def on_train_end(self, trainer: Trainer) -> None:
        if self._show(trainer):
            self._probe(trainer)  # extend the curve to the end

    def _probe(self, trainer: Trainer) -> None:
        _, images, seconds = self._last
        found = trainer.engine.evaluate(self._images, self._labels)
        with self._manager.changing():
            self._run.add(Point(images, seconds, found.errors / found.images))

    def _show(self, trainer: Trainer) -> bool:
        """Show the network; return whether that was possible: if it diverges, the last good
        weights stay."""
        run = self._run
        arrays = trainer.network.parameters.values()
        if not all(np.isfinite(array).all() for array in arrays):
            return False
        snapshot = NetworkSnapshot(trainer.network, run.number, run.snapshot.name)
        with self._manager.changing():
            run.epoch, run.images, run.seconds = self._last
            run.images_per_second = run.images / max(run.seconds, 1e-9)
            self._manager.put(run, snapshot)
        return True


class TrainingManager:
    """The networks of the page, and the current training; thread-safe.

    Runs are saved to `folder`, or with -2, -3 and so on appended to its name. Without a first
    `network`, whose origin is `name`, a training starts at once.
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
        self._given = None if network is None else NetworkSnapshot(network, 0, name)
        self._snapshot = self._given
        if self._given is None:
            self.start({})

    # ------------------------------------------------------------------ state

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The current snapshot of the network that reads drawings."""
        assert self._snapshot is not None  # set by the first training
        return self._snapshot

    def current(self) -> dict[str, Any]:
        """Return the latest run, and which network reads."""
        with self._changed:
            last = self._runs.get(self._count)
            return {
                "begun": self._begun,  # distinguishes this server from an earlier one
                "version": self._version,
                "reading": self.snapshot.number,
                "run": None if last is None else last.to_json(),
            }

    def everything(self) -> dict[str, Any]:
        """Return all runs, and the networks to choose from."""
        with self._changed:
            return self.current() | {
                "runs": [run.to_json() for run in self._runs.values()],
                "networks": [
                    {"number": snapshot.number, "name": snapshot.name}
                    for snapshot in self._snapshots()
                ],
            }

    def _snapshots(self) -> list[NetworkSnapshot]:
        """Return the networks to choose from."""
        given = [] if self._given is None else [self._given]
        return given + [run.snapshot for run in self._runs.values()]

    def wait(self, version: int, seconds: float) -> bool:
        """Wait for a version later than `version`; return whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version > version, seconds)

    # ------------------------------------------------------------------ actions

    def start(self, given: object) -> None:
        """Start to train a new network; BusyError if a training is already running.

        TypeError, ValueError or ImportError if the settings are invalid, or cannot be run here.
        """
        train, test = self.splits.train, self.splits.test
        request = TrainingRequest.from_json(given, len(train), len(train.classes))
        with self._changed:
            if self._thread is not None:
                raise BusyError("a training is in progress; stop it first")
            trainer = request.trainer(len(train.classes))
            trainer.network.classes = train.classes  # the page shows them from the start
            number = self._count + 1
            run = Run(
                number=number,
                request=request,
                data=self.splits.title,
                train_images=len(train),
                test_images=len(test),
                snapshot=NetworkSnapshot(trainer.network, number, f"run {number}"),
                loss=trainer.loss,
            )
            trainer.callbacks.append(_Watch(self, run, test))
            thread = threading.Thread(
                target=self._train, args=(trainer, run), name="training", daemon=True
            )
            try:
                thread.start()  # its first change waits until this one is complete
            except RuntimeError as error:  # from Python, if the system has no thread left
                raise BusyError(f"the system has no room for the training: {error}") from error
            self._count = number
            self._runs[number] = run
            for old in list(self._runs)[:-KEPT_RUNS]:
                del self._runs[old]
            self._trainer, self._thread = trainer, thread
            with self.changing():
                self._snapshot = run.snapshot

    def stop(self) -> None:
        """Ask the training to stop, if there is one."""
        with self._changed:
            if self._trainer is not None:
                self._runs[self._count].stopping = True
                self._trainer.stop()

    def use(self, number: object) -> None:
        """Choose the network that reads drawings, by its run's number; 0 for the page's first.

        BusyError if a training is running: then its network reads.
        """
        with self._changed:
            if self._thread is not None:
                raise BusyError("the network in training reads; stop it first")
            chosen = {snapshot.number: snapshot for snapshot in self._snapshots()}
            if type(number) is not int or number not in chosen:
                raise ValueError("network: expected the number of an existing one")
            with self.changing():
                self._snapshot = chosen[number]

    def save(self) -> Path:
        """Write the network that reads, and its history, to a new folder; return the folder.

        BusyError if it was not trained here, or :data:`MAX_SAVES` networks have been saved.
        """
        with self._changed:
            run = self._runs.get(self.snapshot.number)
            if run is None:
                raise BusyError("this network comes from a file already")
            if self._saved == MAX_SAVES:
                raise BusyError(
                    f"{MAX_SAVES} networks have been saved since the server started, which is its "
                    "limit; start it again to save more"
                )
            self._saved += 1
            kept = dataclasses.replace(run, rows=list(run.rows))  # a copy of the current state
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
        """Stop the training, and end the event streams; returns at once."""
        with self.changing():
            self.closed = True
            self.stop()

    def close(self) -> None:
        """Like :meth:`leave`, but wait until the training has ended."""
        self.leave()
        thread = self._thread
        if thread is not None:
            thread.join()

    # ------------------------------------------------------------------ used by the training

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Within the block, the state may be changed; afterwards, waiting threads are notified."""
        with self._changed:
            yield
            self._version += 1
            self._changed.notify_all()

    def put(self, run: Run, snapshot: NetworkSnapshot) -> None:
        """Set a run's current snapshot; call within :meth:`changing`."""
        if self._snapshot is run.snapshot:
            self._snapshot = snapshot
        run.snapshot = snapshot

    def _train(self, trainer: Trainer, run: Run) -> None:
        state, reason = "failed", ""
        try:
            sets = self.splits.train, self.splits.test
            history = trainer.fit(*sets, run.request.epochs, verbose=False)
            state = "stopped" if history.interrupted else "done"
        except TrainingDiverged:
            reason = f"The rate {run.request.rate:g} is too high: the loss is no longer finite."
        except Exception as error:  # logged and shown; the page must keep running
            _log.exception("training")
            reason = f"{type(error).__name__}: {error}"[:300]
        finally:
            with self.changing():
                run.state, run.reason = state, reason
                self._trainer = self._thread = None
