"""SIGTERM and SIGHUP: a long command saves and stops, as after Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

import click

from lenet_fast.cli import common
from lenet_fast.training import Callback, Trainer

_NAMES = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stop(Callback):
    """On the first signal, stop the current training, or else raise KeyboardInterrupt.

    Later signals change nothing: a terminal that closes sends SIGHUP twice, and a system that
    shuts down sends SIGTERM before SIGHUP. To stop at once, press Ctrl-C twice.
    """

    def __init__(self) -> None:
        self.status = common.STOPPED  # of the exit, as in shells: 128 + the first signal's number
        self.came = False  # whether one of the signals has arrived
        self._trainer: Trainer | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Stop this trainer from now on, or at once if a signal has arrived."""
        self._trainer = trainer
        if self.came:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        """Forget this trainer."""
        self._trainer = None

    def handle(self, number: int, frame: object) -> None:
        """Handle a signal."""
        if self.came:
            return
        self.came = True
        self.status = 128 + number
        if self._trainer is None:
            raise KeyboardInterrupt
        self._trainer.stop()

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has arrived.

        The handler's own exception may be lost: compiled modules ignore it while they load.
        """
        if self.came:
            raise KeyboardInterrupt

    def leave(self) -> click.exceptions.Exit:
        """Return the exception that ends the command with the exit status, terminal or not."""
        common.flush(sys.stdout, sys.stderr)
        return click.exceptions.Exit(self.status)


@contextlib.contextmanager
def on_signals() -> Iterator[Stop]:
    """Within the block, SIGTERM and SIGHUP stop a training that has the yielded callback.

    Without a training they end the command. Signals that the process ignores, as under ``nohup``,
    stay ignored. Handlers are set on the main thread only.
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    except KeyboardInterrupt:
        if not stop.came:
            raise
        common.fail("stopped")
        raise stop.leave() from None
    except OSError as error:
        # The terminal went away with the signal, after the training had stopped and saved.
        if not stop.came or error.filename is not None:
            raise
        raise stop.leave() from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
