"""Trainings that the page starts: in threads, visible and controllable while they run."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.data import Splits
from lenet_fast.locks import LockedFolder
from lenet_fast.network import Network
from lenet_fast.training import Callback, Progress, Row, Trainer, TrainingDiverged
from lenet_fast.training.batches import shuffled
from lenet_fast.web.records import Point, Run, Update
from lenet_fast.web.shared import BusyError, Shared
from lenet_fast.web.snapshots import NetworkSnapshot
from lenet_fast.web.training_requests import TrainingRequest, checked_rate

KEPT_RUNS = 8
"""Runs whose networks and curves stay in memory, besides the network that the page began with."""

MAX_SAVES = 100
"""Most networks that can be saved until the server ends, so that a visitor cannot fill the disk."""

MAX_NAME = 40
"""Most letters of a run's name."""

TURN_SECONDS = 20.0
"""A training gives its place to the one that has waited longest after this time."""

_SHOW_SECONDS = 0.1
"""Shortest time between two snapshots of the network in training."""

_PROBE_IMAGES = 1000
"""Approximate number of test images behind each point of the curves."""

_GRADIENT_IMAGES = 64
"""Number of training images behind each point of the gradients."""

_FIRST_POINTS = 8
"""So many points are measured batch by batch: what diverges does so at once."""

_MEANINGFUL = 32
"""Fewest training images whose error is worth a point."""

_log = logging.getLogger(__name__)


class _Watch(Callback):
    """Measures a training between two batches, copies its weights, and lets it wait."""

    def __init__(self, manager: TrainingManager, run: Run, splits: Splits) -> None:
        self._manager, self._run, self._train = manager, run, splits.train
        test = splits.test
        step = max(1, len(test) // _PROBE_IMAGES)
        self._images, self._labels = test.images[::step].copy(), test.labels[::step].copy()
        self._shown = self._probed = 0.0  # time of the last one
        self._before = 0.0  # seconds of the epochs before this one
        self._last = 0, 0, 0.0  # epoch, images, seconds
        self._progress: Progress | None = None  # the last one of this epoch
        self._since: list[float] = [0, 0.0, 0]  # images, loss and errors since the last point
        self._single = False  # the next call of the engine is a single step
        self._batch = 1

    def on_train_begin(self, trainer: Trainer) -> None:
        if self._run.stopping:  # requested before the trainer existed
            trainer.stop()
            return
        self._probe(trainer)
        self._wait(trainer)

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        if progress.phase != "train":
            return
        seconds = self._before + progress.images / progress.images_per_second
        images = (progress.epoch - 1) * progress.total + progress.images
        self._last = progress.epoch, images, seconds
        met = self._count(progress)
        update = self._update(trainer, progress, met) if self._single else None
        now = time.perf_counter()
        early = len(self._run.points) < _FIRST_POINTS
        if early or update or now - self._probed >= self._run.every:
            self._probed = now
            self._probe(trainer)
        with self._manager.shared.changed:
            self._run.update = update
            waits = self._manager.must_wait(self._run)
        if update or waits or now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            self._show(trainer)
        self._wait(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        self._before += row.train_seconds
        self._progress = None
        with self._manager.changing():
            self._run.rows.append(row)

    def on_train_end(self, trainer: Trainer) -> None:
        measured = self._run.points and self._run.points[-1].images == self._last[1]
        if self._show(trainer) and not measured:
            self._probe(trainer)  # extend the curves to the end

    def _count(self, progress: Progress) -> list[float]:
        """Return images, loss and errors of the last call; add them to those since the point."""
        now = [progress.images, progress.loss * progress.images, progress.errors]
        if (before := self._progress) is not None:
            old = before.images, before.loss * before.images, before.errors
            now = [a - b for a, b in zip(now, old, strict=True)]
        self._progress = progress
        self._since = [a + b for a, b in zip(self._since, now, strict=True)]
        return now

    def _probe(self, trainer: Trainer) -> None:
        _, images, seconds = self._last
        engine, few = trainer.engine, slice(_GRADIENT_IMAGES)
        with np.errstate(over="ignore", invalid="ignore"):
            found = engine.evaluate(self._images, self._labels)
            _, gradients = engine.loss_and_gradients(
                self._train.images[few], self._train.labels[few]
            )
        count, loss, errors = self._since
        if count < _MEANINGFUL:
            count = 0  # the next point has them, too
        else:
            self._since = [0, 0.0, 0]
        point = Point(
            images,
            seconds,
            found.errors / found.images,
            found.loss / found.images,
            errors / count if count else None,
            loss / count if count else None,
            tuple(
                _root_mean_square(*(gradients[f"{layer}.{key}"] for key in keys))
                for layer, keys in by_layer(trainer.network).items()
            ),
        )
        with self._manager.changing():
            self._run.add(point)

    def _update(self, trainer: Trainer, progress: Progress, met: list[float]) -> Update:
        """Describe the step that was just made; the run's snapshot is from before it."""
        before, after = self._run.snapshot.network.parameters, trainer.network.parameters
        images = round(met[0])
        image = label = read = None
        if images == 1 and self._train.images.ndim == 3:
            order = shuffled(progress.total, trainer.seed, progress.epoch)
            chosen = order[progress.images - 1 : progress.images]
            seen = self._train.images[chosen]
            if trainer.distortion is not None:
                seen = trainer.distortion(
                    seen,
                    samples=chosen,
                    epoch=progress.epoch,
                    seed=trainer.seed,
                    size=trainer.network.input_shape[-1],
                    backend=trainer.engine.backend,
                )
            image, label = seen[0].tolist(), int(self._train.labels[chosen[0]])
            read = int(self._run.snapshot.network.classify(seen[0]))
        layers = [
            {
                "name": layer,
                "weights": _root_mean_square(*(before[f"{layer}.{key}"] for key in keys)),
                "change": _root_mean_square(
                    *(after[f"{layer}.{key}"] - before[f"{layer}.{key}"] for key in keys)
                ),
            }
            for layer, keys in by_layer(trainer.network).items()
        ]
        first = f"{layers[0]['name']}.w"
        maps = {
            "name": layers[0]["name"],
            "shape": list(before[first].shape),
            "before": _rounded(before[first]),
            "change": _rounded(after[first] - before[first]),
        }
        loss = met[1] / met[0]
        errors = round(met[2])
        return Update(progress.epoch, images, loss, errors, image, label, read, layers, maps)

    def _show(self, trainer: Trainer) -> bool:
        """Show the network; return whether that was possible: if it diverges, the last good
        weights stay."""
        run = self._run
        arrays = trainer.network.parameters.values()
        if not all(np.isfinite(array).all() for array in arrays):
            return False
        snapshot = NetworkSnapshot(trainer.network, run.number, run.name)
        with self._manager.changing():
            run.epoch, run.images, run.seconds = self._last
            run.images_per_second = run.images / max(run.seconds, 1e-9)
            run.rate_now = self._rate(trainer)
            self._manager.put(run, snapshot)
        return True

    def _rate(self, trainer: Trainer) -> float:
        """Return the rate of the last step."""
        epoch, images, _ = self._last
        batches = -(-len(self._train) // trainer.batch_size)
        within = images - (epoch - 1) * len(self._train)
        step = max(0, (epoch - 1) * batches + -(-within // trainer.batch_size) - 1)
        steps = self._run.request.epochs * batches
        return trainer.schedule.rate_at(min(step, steps - 1), steps, max(1, epoch))

    def _wait(self, trainer: Trainer) -> None:
        """Return when the training may go on; take over a new rate."""
        with self._manager.shared.changed:
            waits = self._manager.must_wait(self._run)
        if waits:
            trainer.engine.close()  # many may wait; the next call starts its threads again
        self._single = self._manager.wait_for_turn(self._run)
        with self._manager.changing() if self._run.new_rate else contextlib.nullcontext():
            rate, self._run.new_rate = self._run.new_rate, None
            if rate is not None:
                self._run.rate = rate
                self._run.changes.append((self._last[1], rate))
                trainer.schedule = self._run.request.schedule_at(rate)
        # How much an engine learns in a call changes no bit.
        engine = trainer.engine
        by_batch = self._single or len(self._run.points) < _FIRST_POINTS
        engine.images_a_call = trainer.batch_size if by_batch else type(engine).images_a_call


class TrainingManager:
    """The networks of the page, and the current training; thread-safe.

    Runs are saved to `folder`, or with -2, -3 and so on appended to its name; at most `saves` of
    them. Without a first `network`, whose origin is `name`, a training starts at once; a snapshot
    has its name already.
    """

    def __init__(
        self,
        splits: Splits,
        folder: Path,
        network: Network | NetworkSnapshot | None = None,
        name: str = "",
        *,
        shared: Shared | None = None,
        saves: int = MAX_SAVES,
    ) -> None:
        self.splits = splits
        self.folder = folder
        self.shared = shared or Shared(splits)
        self._changed = self.shared.changed
        self._version = 0
        self._begun = time.time()
        self._runs: dict[int, Run] = {}
        self._count = 0
        self._saved, self._saves = 0, saves
        self._trainer: Trainer | None = None
        self._thread: threading.Thread | None = None
        self._paused = False
        self._steps = 0  # wanted while paused
        self._turn_began = 0.0
        self.closed = False
        given = NetworkSnapshot(network, 0, name) if isinstance(network, Network) else network
        self._given = self._snapshot = given
        if given is None:
            self.start({})

    def for_pupil(self, saves: int) -> TrainingManager:
        """Return a state of its own for another visitor, beginning with the network that reads.

        The two share places for trainings; `saves` networks can be saved from the new one.
        """
        given = copy.copy(self.snapshot)
        given.number = 0
        return TrainingManager(self.splits, self.folder, given, shared=self.shared, saves=saves)

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
            run = None
            if last is not None:
                run = last.to_json() | {"before": self.shared.before(last)}
            return {
                "begun": self._begun,  # distinguishes this state from an earlier one
                "version": self._all_changes,
                "reading": self.snapshot.number,
                "run": run,
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

    @property
    def _all_changes(self) -> int:
        return self._version + self.shared.version

    @property
    def active(self) -> bool:
        """Whether a training runs or waits for its place; not while it is paused."""
        return self._thread is not None and not self._paused

    @property
    def used(self) -> bool:
        """Whether a training has begun here, so that something would be lost with this state."""
        return self._count > 0

    def _snapshots(self) -> list[NetworkSnapshot]:
        """Return the networks to choose from."""
        given = [] if self._given is None else [self._given]
        return given + [run.snapshot for run in self._runs.values()]

    def wait(self, version: int, seconds: float) -> bool:
        """Wait for a version later than `version`; return whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._all_changes > version, seconds)

    # ------------------------------------------------------------------ actions

    def start(self, given: object, *, name: object = "", paused: object = False) -> None:
        """Start to train a new network; BusyError if a training is already running.

        It waits if others have all places; or, if `paused`, for :meth:`step` or :meth:`go_on`.
        TypeError, ValueError or ImportError if the settings are invalid, or cannot be run here.
        """
        train = self.splits.train
        request = TrainingRequest.from_json(given, len(train), len(train.classes))
        name = _checked_name(name)
        if type(paused) is not bool:
            raise TypeError("paused: expected true or false")
        with self._changed:
            if self._thread is not None:
                raise BusyError("a training is in progress; stop it first", "busy")
        splits = self.shared.loaded(
            (request.data, request.size), lambda: request.fitted(self._data(request.data))
        )
        with self._changed:
            if self._thread is not None:
                raise BusyError("a training is in progress; stop it first", "busy")
            train, test = splits.train, splits.test
            trainer = request.trainer(len(train.classes))
            trainer.network.classes = train.classes  # the page shows them from the start
            number = self._count + 1
            name = name or f"Run {number}"
            run = Run(
                number=number,
                name=name,
                request=request,
                data=splits.title,
                train_name=train.name,
                test_name=test.name,
                train_images=len(train),
                test_images=len(test),
                snapshot=NetworkSnapshot(trainer.network, number, name),
                loss=trainer.loss,
                layers=list(by_layer(trainer.network)),
                rate=request.rate,
                batch_size=trainer.batch_size,
            )
            trainer.callbacks.append(_Watch(self, run, splits))
            if not paused:
                self.shared.check_room()
            thread = threading.Thread(
                target=self._train, args=(trainer, run, splits), name="training", daemon=True
            )
            try:
                thread.start()  # its first change waits until this one is complete
            except RuntimeError as error:  # from Python, if the system has no thread left
                raise BusyError(
                    f"the system has no room for the training: {error}", "room"
                ) from error
            self._count = number
            self._runs[number] = run
            for old in list(self._runs)[:-KEPT_RUNS]:
                del self._runs[old]
            self._trainer, self._thread = trainer, thread
            self._paused, self._steps = paused, 0
            if paused:
                run.state = "paused"
            else:
                self.shared.join(run)
                run.state = "waiting" if self.shared.before(run) else "running"
            with self.changing():
                self._snapshot = run.snapshot

    def _data(self, name: str) -> Splits:
        if name == "page":
            return self.splits
        if not self.shared.has_zip_codes:
            raise ValueError(
                "data: the zip codes of 1989 are not on this machine, or do not fit the page's "
                "data; `lenet-fast data --dataset usps` gets them"
            )
        return self.shared.zip_codes()

    def stop(self) -> None:
        """Ask the training to stop, if there is one."""
        with self._changed:
            if self._trainer is not None:
                self._runs[self._count].stopping = True
                self._trainer.stop()
                self._changed.notify_all()

    def pause(self) -> None:
        """Let the training wait after the current batches; others may run meanwhile."""
        self._in_training()
        with self.changing():
            self._paused, self._steps = True, 0

    def go_on(self) -> None:
        """Let a paused training go on, when there is a place for it."""
        self._in_training()
        with self.changing():
            self._paused = False

    def step(self) -> None:
        """Let a paused training learn from one batch, with the engine "online" from one image."""
        self._in_training()
        with self.changing():
            self._paused = True
            self._steps = min(self._steps + 1, 3)  # a key that is held down

    def set_rate(self, rate: object) -> None:
        """Let the training go on with another highest rate of its schedule."""
        found = checked_rate(rate)
        run = self._in_training()
        with self.changing():
            run.new_rate = found

    def _in_training(self) -> Run:
        with self._changed:
            if self._thread is None:
                raise BusyError("no training is in progress", "idle")
            return self._runs[self._count]

    def rename(self, number: object, name: object) -> None:
        """Name a run; without a name, it is called by its number."""
        name = _checked_name(name)
        with self._changed:
            if type(number) is not int or number not in self._runs:
                raise ValueError("number: expected that of an existing run")
            run = self._runs[number]
            with self.changing():
                run.name = run.snapshot.name = name or f"Run {number}"

    def use(self, number: object) -> None:
        """Choose the network that reads drawings, by its run's number; 0 for the page's first.

        BusyError if a training is running: then its network reads.
        """
        with self._changed:
            if self._thread is not None:
                raise BusyError("the network in training reads; stop it first", "reads")
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
                raise BusyError("this network comes from a file already", "file")
            if self.shared.saved >= MAX_SAVES:
                raise BusyError(
                    f"{MAX_SAVES} networks have been saved since the server started, which is its "
                    "limit; start it again to save more",
                    "saves",
                    most=MAX_SAVES,
                )
            if self._saved >= self._saves:
                raise BusyError(
                    f"you have saved {self._saves} networks, which is the limit",
                    "ownSaves",
                    most=self._saves,
                )
            self._saved += 1
            self.shared.saved += 1
            kept = dataclasses.replace(run, rows=list(run.rows))  # a copy of the current state
        try:
            with LockedFolder.new(self.folder) as locked:
                kept.save(locked.path)
        except BaseException:
            with self._changed:
                self._saved -= 1
                self.shared.saved -= 1
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
        self.join()

    def join(self) -> None:
        """Wait until the training has ended, if there is one."""
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

    def must_wait(self, run: Run) -> bool:
        """Return whether a training may not go on now; call with the lock of `shared`."""
        over = time.monotonic() - self._turn_began >= TURN_SECONDS and self.shared.queued
        return self._paused or over or not self.shared.runs(run)

    def wait_for_turn(self, run: Run) -> bool:
        """Return when a training may go on; true if for a single step."""
        with self._changed:
            if not run.stopping and not self.must_wait(run):
                return False
            if self.shared.runs(run):
                self.shared.leave(run)
            while not run.stopping:
                if not self._paused:
                    self.shared.join(run)
                    self._set_state(run, "waiting" if self.shared.before(run) else "running")
                    if self.shared.take(run, lambda: run.stopping or self._paused):
                        self._turn_began = time.monotonic()
                        self._set_state(run, "running")
                        return False
                self.shared.leave(run)
                self._set_state(run, "paused")
                if self._steps:  # which take no place
                    self._steps -= 1
                    return True
                self._changed.wait()
            return False

    def _set_state(self, run: Run, state: str) -> None:
        if run.state != state:
            with self.changing():
                run.state = state

    def _train(self, trainer: Trainer, run: Run, splits: Splits) -> None:
        state, reason = "failed", ""
        try:
            history = trainer.fit(splits.train, splits.test, run.request.epochs, verbose=False)
            state = "stopped" if history.interrupted else "done"
        except TrainingDiverged:
            run.diverged = True
            reason = f"The rate {run.rate:g} is too high: the loss is no longer finite."
        except Exception as error:  # logged and shown; the page must keep running
            _log.exception("training")
            reason = f"{type(error).__name__}: {error}"[:300]
        finally:
            with self.changing():
                self.shared.leave(run)
                run.state, run.reason = state, reason
                self._trainer = self._thread = None
                self._paused = False


def by_layer(network: Network) -> dict[str, list[str]]:
    """Return the names of the trainable parameters by layer.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.web.manager import by_layer
    >>> by_layer(models.lenet1())["H1"]
    ['w', 'b']
    """
    found: dict[str, list[str]] = {}
    for name in network.trainable_names:
        layer, _, key = name.rpartition(".")
        found.setdefault(layer, []).append(key)
    return found


def _root_mean_square(*arrays: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays)
    return float(f"{(total / sum(array.size for array in arrays)) ** 0.5:.6g}")


def _rounded(array: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in array.ravel().tolist()]


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError("name: expected a text")
    name = " ".join(name.split())
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"name: expected at most {MAX_NAME} letters, got {name[:60]!r}")
    return name
