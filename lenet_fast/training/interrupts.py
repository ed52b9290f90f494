"""Ctrl-C: once to save and stop, twice to stop at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol


class Stoppable(Protocol):
    """An object with a ``stop`` method that knows whether it was called."""

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` has been called."""

    def stop(self) -> None:
        """Stop as soon as the state is consistent."""


class Stop:
    """Set by the first Ctrl-C."""

    stopping = False

    def stop(self) -> None:
        self.stopping = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came."""
        if self.stopping:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_sigint(target: Stoppable) -> Iterator[threading.Event]:
    """Within the block, the first SIGINT calls ``stop``, the next raises KeyboardInterrupt.

    The first one also sets the event. Only the main thread may set signal handlers; in other
    threads this does nothing. A process that ignores the signal, for example under ``nohup``,
    keeps ignoring it.
    """
    came = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or previous is None or previous == signal.SIG_IGN:
        yield came  # None: a handler that Python could not restore
        return

    def handle(number: int, frame: object) -> None:
        if target.stopping:
            raise KeyboardInterrupt
        came.set()
        target.stop()

    signal.signal(signal.SIGINT, handle)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, previous)
