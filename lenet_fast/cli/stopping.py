"""SIGTERM and SIGHUP: a command that works for long stops in good order, as after Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

import click

from lenet_fast.cli import common
from lenet_fast.training import Callback, Trainer

_NAMES = ("SIGTERM", "SIGHUP")  # the second is unknown on Windows


class Stop(Callback):
    """What the signals do: stop the training in work, or else raise KeyboardInterrupt, once.

    A terminal that is closed sends SIGHUP twice, and a system that shuts down SIGTERM before
    SIGHUP: all but the first change nothing. Ctrl-C, twice, is for those who are in a hurry.

    Attributes
    ----------
    status : int
        The exit status after Ctrl-C or the first signal, as shells have it: 128 + its number.
    came : bool
        Whether one of the signals has come.
    """

    def __init__(self) -> None:
        self.status = common.STOPPED
        self.came = False
        self._trainer: Trainer | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Stop this one from now on, or at once if a signal has come."""
        self._trainer = trainer
        if self.came:
            trainer.stop()

    def on_train_end(self, trainer: Trainer) -> None:
        """Leave it alone."""
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
        """Raise KeyboardInterrupt if a signal has come.

        The first one may be lost: compiled modules ignore what is raised while they are loaded.
        """
        if self.came:
            raise KeyboardInterrupt

    def leave(self) -> click.exceptions.Exit:
        """Return what ends the command with the exit status, be there a terminal or not."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return click.exceptions.Exit(self.status)


@contextlib.contextmanager
def on_signals() -> Iterator[Stop]:
    """Within the block, let SIGTERM and SIGHUP stop a training that has the yielded callback.

    Without a training they end the command. Signals that the process ignores, as one started by
    ``nohup`` does, stay ignored; and only the main thread may set handlers.
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
        # The terminal has gone with the signal, after the training has stopped and is saved.
        if not stop.came or error.filename is not None:
            raise
        raise stop.leave() from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
