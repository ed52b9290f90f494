"""Ctrl-C: once to stop in good order, twice to stop at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol


class Stoppable(Protocol):
    """Something that can be asked to stop, and knows whether it was."""

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` has been called."""

    def stop(self) -> None:
        """Stop as soon as everything is in order."""


@contextlib.contextmanager
def stop_on_sigint(target: Stoppable) -> Iterator[None]:
    """Within the block, let the first SIGINT call ``stop``, and the next raise KeyboardInterrupt.

    Only the main thread may set signal handlers; in others this does nothing. A process that
    ignores the signal, as one started by ``nohup`` may, goes on ignoring it.
    """
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or previous is None or previous == signal.SIG_IGN:
        yield  # None: a handler that Python could not put back
        return

    def handle(number: int, frame: object) -> None:
        if target.stopping:
            raise KeyboardInterrupt
        target.stop()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
