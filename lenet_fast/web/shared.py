"""What the visitors of one server share: places for trainings, saved networks, the zip codes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from lenet_fast import data
from lenet_fast.data import Splits, datasets, fetch, sources

MAX_WAITING = 30
"""Most trainings that can wait for a place."""


class RefusedError(Exception):
    """What a visitor asks for is refused; the reason is in English.

    The page says it in its own language: `key` is the sentence below ``refused`` in
    static/strings.js, `values` are those of its placeholders.
    """

    def __init__(self, reason: str, key: str, status: int = 409, **values: object) -> None:
        super().__init__(reason)
        self.key, self.status, self.values = key, status, values


class BusyError(RefusedError):
    """What is asked for cannot be had now: a training runs already, or a limit is reached."""


class Shared:
    """What the visitors of one server share.

    `trainings` run at a time; the others wait in order. The methods about places must be
    called with `changed` held, the lock of all states on this server; its waiters are notified when
    a place is taken or free.

    Parameters
    ----------
    splits : Splits
        The data that the page shows.
    folder : Path, optional
        Where else the zip codes of 1989 may be.
    trainings : int
        At least 1.

    Attributes
    ----------
    version : int
        The number of changes to the places so far.
    saved : int
        The number of networks saved so far.
    """

    def __init__(self, splits: Splits, folder: Path | None = None, trainings: int = 1) -> None:
        self.splits = splits
        self.trainings = trainings
        self.changed = threading.Condition()
        self.version = 0
        self.saved = 0
        self._running: list[object] = []
        self._waiting: list[object] = []
        self._zip_folder = _zip_folder(folder)
        self._loading = threading.RLock()
        self._loaded: dict[object, Splits] = {}

    # ------------------------------------------------------------------ places

    def check_room(self) -> None:
        """Raise BusyError if too many trainings wait."""
        if len(self._waiting) >= MAX_WAITING:
            raise BusyError(
                f"{MAX_WAITING} trainings are waiting already; try again later",
                "full",
                most=MAX_WAITING,
            )

    def join(self, training: object) -> None:
        """Let a training wait at the end of the queue, unless it is in it."""
        if training not in self._waiting:
            self._waiting.append(training)
            self._notify()

    def before(self, training: object) -> int:
        """Return how many trainings must end or pause before this one can run."""
        if training not in self._waiting:
            return 0
        busy = len(self._running) - self.trainings + 1
        return max(0, self._waiting.index(training) + busy)

    def take(self, training: object, given_up: Callable[[], bool]) -> bool:
        """Wait for a place; return whether the training has one, and did not give up."""
        self.join(training)
        self.changed.wait_for(lambda: given_up() or self.before(training) == 0)
        self._waiting.remove(training)
        has = not given_up()
        if has:
            self._running.append(training)
        self._notify()
        return has

    def leave(self, training: object) -> None:
        """Give up a training's place, or its place in the queue, if it has one."""
        for places in (self._running, self._waiting):
            if training in places:
                places.remove(training)
                self._notify()

    def runs(self, training: object) -> bool:
        """Return whether a training has a place."""
        return training in self._running

    @property
    def queued(self) -> bool:
        """Whether trainings wait."""
        return bool(self._waiting)

    def _notify(self) -> None:
        self.version += 1
        self.changed.notify_all()

    # ------------------------------------------------------------------ data

    def loaded(self, key: object, load: Callable[[], Splits]) -> Splits:
        """Return the data that `load` returns, which is called once per key."""
        with self._loading:
            if key not in self._loaded:
                self._loaded[key] = load()
            return self._loaded[key]

    @property
    def has_zip_codes(self) -> bool:
        """Whether the zip codes of 1989 are on this machine, and fit the page's digits."""
        train = self.splits.train
        return self._zip_folder is not None and train.images.shape[1:] == (28, 28) and digits(train)

    def zip_codes(self) -> Splits:
        """Return the zip codes of 1989 as MNIST has its digits, from the disk at the first call."""

        def load() -> Splits:
            found = data.load("usps", self._zip_folder)
            return Splits(data.as_mnist(found.train), data.as_mnist(found.test), found.source)

        return self.loaded("zip", load)


def digits(dataset: data.Dataset) -> bool:
    """Return whether a data set's classes are the ten digits."""
    return dataset.classes == tuple("0123456789")


def _zip_folder(folder: Path | None) -> Path | None:
    """Return a folder that holds the zip codes; they are never downloaded."""
    named = os.environ.get(sources.DATA_VARIABLE)
    try:
        cache = fetch.cache_folder()
    except FileNotFoundError:
        cache = None
    for each in (folder, Path(named) if named else None, cache):
        for place in () if each is None else (each, each / "usps", each / "../usps"):
            names = datasets.USPS_NAMES
            if all(any((place / name).is_file() for name in either) for either in names):
                return place
    return None
