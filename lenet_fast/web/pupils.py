"""Each pupil's own state on a server for a class, and the token that lets pupils in."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import Counter
from typing import NamedTuple

from lenet_fast.web.manager import TrainingManager
from lenet_fast.web.shared import BusyError

MOST = 40
"""Most pupils with a state of their own, by default: some 10 MB each."""

MAX_SAVES = 5
"""Most networks that each of them can save."""

IDLE_SECONDS = 1800.0
"""A state that nobody has asked for so long may be dropped, unless it trains."""

UNUSED_SECONDS = 90.0
"""The same for a state in which nothing was trained. An open page asks once a minute."""

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look alike on a blackboard
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_KEY = re.compile(r"[0-9a-f]{32}")


def new_token() -> str:
    """Return a random token of ten letters: some 10**15 are possible."""
    return "".join(secrets.choice(_LETTERS) for _ in range(10))


def checked_token(token: str) -> str:
    """Return a token; ValueError unless it is one.

    Examples
    --------
    >>> from lenet_fast.web.pupils import checked_token
    >>> checked_token("class-5b-2026")
    'class-5b-2026'
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError("token: expected 8 to 64 letters, digits, hyphens and underscores")
    return token


def same(given: str, token: str) -> bool:
    """Return whether a token is the right one, in a time that does not tell how much of it is."""
    return secrets.compare_digest(given.encode(errors="replace"), token.encode())


class _Place(NamedTuple):
    state: TrainingManager
    asked: float  # a time
    address: str


class Pupils:
    """The states of a server: the first one, and one for each pupil up to `most`.

    With `most` 0 there is one state for everybody. Thread-safe.

    If all places are taken, a newcomer gets one of an idle state; or of one in which nothing was
    trained, of the address that has most of them: whoever makes up keys takes no others' places.
    A class behind one address may have them all. A state with a run is dropped only if it is idle.
    """

    def __init__(self, first: TrainingManager, most: int = 0) -> None:
        self.first = first
        self.most = most
        self._lock = threading.Lock()
        self._states: dict[str, _Place] = {}

    def new_key(self) -> str:
        """Return the key of a new pupil, for a cookie."""
        return secrets.token_hex(16)

    def knows(self, key: str) -> bool:
        """Return whether a key is one that :meth:`new_key` may have returned."""
        return _KEY.fullmatch(key) is not None

    def of(self, key: str, address: str = "") -> TrainingManager:
        """Return the state of a pupil at a network address; it begins with the first request.

        Whoever sends no key, such as a program, has the first one. BusyError if there are too many.
        """
        if not self.most or not self.knows(key):
            return self.first
        with self._lock:
            now = time.monotonic()
            if key in self._states:
                found = self._states[key].state
            else:
                self._make_room(now, address)
                if len(self._states) >= self.most:
                    raise BusyError(
                        f"{self.most} pupils are here already; try again later, or start the "
                        "server with a larger --pupils",
                        "pupils",
                        most=self.most,
                    )
                found = self.first.for_pupil(MAX_SAVES)
            self._states[key] = _Place(found, now, address)
            return found

    def _make_room(self, now: float, address: str) -> None:
        """Drop the states that are idle; if none is, an unused one of an address with too many."""
        for key, (state, asked, _) in list(self._states.items()):
            most = IDLE_SECONDS if state.used else min(IDLE_SECONDS, UNUSED_SECONDS)
            if now - asked > most and not state.active:
                self._drop(key)
        if len(self._states) < self.most:
            return
        unused = {key: place for key, place in self._states.items() if not place.state.used}
        counts = Counter(place.address for place in unused.values())
        for other, count in counts.most_common(1):
            if count > counts[address] + 1:  # else the two would drop each other in turn
                self._drop(
                    min(
                        (key for key, place in unused.items() if place.address == other),
                        key=lambda key: unused[key].asked,
                    )
                )

    def _drop(self, key: str) -> None:
        self._states.pop(key).state.leave()

    @property
    def all(self) -> list[TrainingManager]:
        """The first state, and those of the pupils."""
        with self._lock:
            return [self.first, *(place.state for place in self._states.values())]

    def leave(self) -> None:
        """Stop all trainings, and end the event streams; returns at once."""
        for state in self.all:
            state.leave()

    def close(self) -> None:
        """Like :meth:`leave`, but wait until all trainings have ended."""
        self.leave()
        for state in self.all:
            state.close()
