"""Reports on a training run in progress: the callback protocol, and callbacks that show the run.

They draw on a terminal or in a notebook.

rich is imported when training starts, so that nothing else needs it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lenet_fast import checks, counts, notebooks, threads
from lenet_fast.training.history import Row

if TYPE_CHECKING:
    from rich.console import Console

    from lenet_fast.training.trainer import Trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Progress within an epoch.

    Attributes
    ----------
    phase : {"train", "evaluate"}
        Training or evaluation; ``images`` and ``total`` count the images of this phase.
    epoch, epochs : int
        The current epoch, from 1, and the number of epochs.
    loss : float
        Mean loss of this phase so far.
    errors : int
        Misclassified images of this phase so far.
    images_per_second : float
        Speed of this phase so far.

    Examples
    --------
    Half of the first of two epochs:

    >>> from lenet_fast.training import Progress
    >>> now = Progress("train", 1, 2, 30_000, 60_000, loss=0.4, errors=3_000, images_per_second=5e4)
    >>> now.images / now.total, now.errors / now.images
    (0.5, 0.1)
    """

    phase: Literal["train", "evaluate"]
    epoch: int
    epochs: int
    images: int
    total: int
    loss: float
    errors: int
    images_per_second: float


class Callback:
    """Base class of callbacks; every method does nothing and may be overridden.

    Each method may call ``trainer.stop()``, and may give the trainer another ``schedule``, which
    applies from the next batch on. An exception in one ends the training.

    Examples
    --------
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import Callback, Trainer
    >>> class StopAfterTwo(Callback):
    ...     def on_epoch_end(self, trainer, row):
    ...         if row.epoch == 2:
    ...             trainer.stop()
    >>> sample = data.load("sample")
    >>> trainer = Trainer(models.lenet5(), callbacks=[StopAfterTwo()])
    >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=10)
    >>> len(history.rows), history.interrupted
    (2, True)
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def on_train_begin(self, trainer: Trainer) -> None:
        """Training starts or resumes; ``trainer.history`` has the completed epochs.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Callback, Trainer
        >>> class Plan(Callback):
        ...     def on_train_begin(self, trainer):
        ...         print("epochs:", trainer.epochs, "from", len(trainer.history.rows))
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), callbacks=[Plan()])
        >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=1)
        epochs: 1 from 0
        """

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        """A batch has been trained on or evaluated.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Callback, Trainer
        >>> class Done(Callback):
        ...     def on_batch_end(self, trainer, progress):
        ...         print(progress.phase, progress.images, "of", progress.total)
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), callbacks=[Done()])
        >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=1)
        train 64 of 64
        evaluate 50 of 50
        """

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """An epoch is complete, and its files are written.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Callback, Trainer
        >>> class Rate(Callback):
        ...     def on_epoch_end(self, trainer, row):
        ...         print(f"epoch {row.epoch}: rate {row.rate:g}")
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), schedule=0.0007, callbacks=[Rate()])
        >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=1)
        epoch 1: rate 0.0007
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """Training has ended, normally or by an exception.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Callback, Trainer
        >>> class Bell(Callback):
        ...     def on_train_end(self, trainer):
        ...         print("done:", trainer.optimiser.steps, "steps")
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), batch_size=32, callbacks=[Bell()])
        >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=1)
        done: 2 steps
        """


def _checked(console: Console | None) -> Console | None:
    if console is not None and not hasattr(console, "is_terminal"):
        raise TypeError(f"console: expected a rich.console.Console, got {checks.kind(console)}")
    return console


class ProgressBar(Callback):
    """A bar for the whole run: loss, errors, images/s, and the time that is left.

    It is shown on a terminal and in a notebook; elsewhere there is none.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw. By default in the notebook, if the code runs in one, else on rich's own
        console, which :class:`EpochTable` also uses, so that its lines appear above the bar.

    Examples
    --------
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import ProgressBar, Trainer
    >>> sample = data.load("sample")
    >>> trainer = Trainer(models.lenet5(), callbacks=[ProgressBar()])  # as fit has by default
    >>> history = trainer.fit(sample.train.subset(320), sample.test.subset(100), epochs=1)
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = _checked(console)
        self._bar: Any = None
        self._display: notebooks.Display | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Start the bar."""
        self._clock = _Clock()
        self._words: list[str] = []
        self._shown = 0.0
        if self._console is None and notebooks.in_notebook():
            self._display = notebooks.Display()
            return
        from rich import get_console, progress

        console = self._console or get_console()
        if not console.is_terminal:
            return
        # What a narrow terminal has no room for is left out, not cut off.
        self._room = sum(console.width >= width for width in (47, 62, 80))
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=8),
            progress.TextColumn("{task.fields[rest]}"),
            console=console,
            transient=True,
        )
        self._bar.add_task(f"{trainer.epochs} epochs", total=1, rest="")
        threads.start_bar(self._bar)

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        """Move the bar."""
        now = time.perf_counter()
        left = self._clock.left(progress, now)
        if self._bar is None and (self._display is None or now - self._shown < _REFRESH):
            return
        self._shown = now
        self._show(progress, left)

    def _show(self, progress: Progress, left: float) -> None:
        share = progress.epoch / progress.epochs
        if progress.phase == "train":
            share -= (1 - progress.images / progress.total) / progress.epochs
            self._words = [
                f"loss {progress.loss:.4f}",
                f"{100 * progress.errors / progress.images:5.2f} % wrong",
                f"{progress.images_per_second:7,.0f} images/s",
            ]
        head, left_words = f"epoch {progress.epoch}/{progress.epochs}", f"{_duration(left)} left"
        if self._display is not None:
            words = [f"{100 * share:.0f} %", *self._words, left_words]
            self._display.show(_bar_page(head, share, words), "  ".join([head, *words]))
        else:
            rest = "  ".join([*self._words[: self._room], left_words])
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=share, description=head, rest=rest)

    def on_train_end(self, trainer: Trainer) -> None:
        """Remove the bar; a notebook keeps a line with the time that it took."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._display is not None:
            done, whole = len(trainer.history.rows), trainer.epochs
            words = f"{done} epochs" if done == whole else f"stopped in epoch {done + 1} of {whole}"
            words = f"{words}, after {_duration(self._clock.seconds())}"
            page = f'<span style="{notebooks.GREY}">{words}</span>'
            self._display.show(page, words)
            self._display = None


_REFRESH = 0.1  # seconds between two pictures in a notebook


def _bar_page(head: str, share: float, words: Sequence[str]) -> str:
    bar = f'<progress value="{share:.4f}" max="1" style="width: 12em"></progress>'
    rest = " &nbsp; ".join(map(notebooks.escaped, words))
    style = "font-variant-numeric: tabular-nums; white-space: nowrap"
    return f'<div style="{style}">{notebooks.escaped(head)} &nbsp; {bar} &nbsp; {rest}</div>'


class _Clock:
    """Estimates the time left of a run: from the last epoch; in the first, from its images/s."""

    def __init__(self) -> None:
        self._started = self._began = time.perf_counter()  # the run, the current epoch
        self._epoch = self._last = 0.0  # its number; seconds of the one before

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._started

    def left(self, progress: Progress, now: float) -> float:
        """Return the seconds that are left."""
        if progress.epoch != self._epoch:
            if self._epoch:
                self._last = now - self._began
                self._began = now
            self._epoch = progress.epoch
        more = progress.epochs - progress.epoch
        taken = now - self._began
        if self._last:
            return more * self._last + max(0.0, self._last - taken)
        if progress.phase == "train":
            images = (more + 1) * progress.total - progress.images
            return images / progress.images_per_second
        return more * taken


def _duration(seconds: float) -> str:
    """Return a time in words: 2.5 s, 18 s, 1:20 min, 2:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


_WIDTHS = (5, 7, 9, 8, 6, 9, 8, 6, 8, 1)
_COLUMNS = tuple(range(len(_WIDTHS)))
_NARROW = ((80, _COLUMNS), (58, (0, 3, 5, 6, 7, 8, 9)), (0, (0, 3, 6, 7, 9)))
"""Columns of an epoch's line, by the least width of a terminal: those of errors come first."""


class EpochTable(Callback):
    """One line per epoch: loss, error and misclassified images on both sets, in 80 columns.

    A resumed run's earlier epochs come first. A star marks an epoch that is the best so far, as
    defined by :attr:`History.best`. In a notebook it is a table that grows. If most of the network
    is in large layers, a warning of this module's logger first says that others may be as fast.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to print; by default in the notebook, if the code runs in one, else rich's own.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from lenet_fast import models
    >>> from lenet_fast.training import EpochTable, History, Row
    >>> row = Row(1, 2.0, 3e4, 0.21, 3900, 0.06, 190, 0.1)
    >>> history = History([row], 60_000, 10_000)
    >>> run = SimpleNamespace(network=models.lenet5(), history=history)  # as a trainer has them
    >>> EpochTable().on_train_begin(run)
                   --------- train --------  --------- test ---------
    epoch    rate      loss    error  wrong      loss    error  wrong  seconds
        1     0.1    0.2100    6.50%   3900    0.0600    1.90%    190      2.0 *
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = _checked(console)
        self._best: tuple[int, float] | None = None
        self._display: notebooks.Display | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Print the table's header, and the completed epochs."""
        if (note := counts.note_on_speed(trainer.network)) is not None:
            _log.warning(note)
        self._best = None
        self._rows: list[list[str]] = []
        self._lines: list[str] = []
        self._display = None
        if self._console is None and notebooks.in_notebook():
            self._display = notebooks.Display()
        columns = self._columns()
        if columns == _COLUMNS:
            self._print("               --------- train --------  --------- test ---------")
        names = ("epoch", "rate", *("loss", "error", "wrong") * 2, "seconds", "")
        if columns != _COLUMNS:
            names = ("epoch", "", "", "train", "", "loss", "test", "wrong", "seconds", "")
        self._print_cells(names, columns)
        for row in trainer.history.rows:
            self.on_epoch_end(trainer, row)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Print the line of an epoch."""
        history = trainer.history
        train_error = 100 * row.train_errors / history.train_images
        test_error = 100 * row.test_errors / history.test_images
        order = (row.test_errors, row.test_loss)
        best = self._best is None or order < self._best
        if best:
            self._best = order
        self._rows.append(
            [
                *(f"{row.epoch}", f"{row.rate:.2g}"),
                *(f"{row.train_loss:.4f}", f"{train_error:.2f}%", f"{row.train_errors}"),
                *(f"{row.test_loss:.4f}", f"{test_error:.2f}%", f"{row.test_errors}"),
                *(f"{row.train_seconds:.1f}", "*" if best else ""),
            ]
        )
        self._print_cells(self._rows[-1], self._columns())

    def _columns(self) -> tuple[int, ...]:
        """Return the columns that there is room for; numbers are left out, not cut."""
        from rich import get_console

        console = self._console or get_console()
        if self._display is not None or not console.is_terminal:
            return _COLUMNS
        return next((each for width, each in _NARROW if console.width >= width), _NARROW[-1][1])

    def _print_cells(self, cells: Sequence[str], columns: Sequence[int]) -> None:
        shown = (cells[column].rjust(_WIDTHS[column]) for column in columns)
        self._print(" ".join(shown).rstrip())

    def _print(self, line: str) -> None:
        if self._display is not None:
            self._lines.append(line)
            head = [
                *("epoch", "rate", "train loss", "train error", "train wrong"),
                *("test loss", "test error", "test wrong", "seconds", ""),
            ]
            self._display.show(notebooks.table(head, self._rows), "\n".join(self._lines))
            return
        from rich import get_console

        console = self._console or get_console()
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def reports(verbose: object, callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that show the progress, for the `verbose` of a trainer's ``fit``.

    There are none if `callbacks` show it already, and with "auto" none where nobody would see them.
    """
    if not isinstance(verbose, int | str) or verbose not in (True, False, "auto"):
        raise TypeError(f"verbose: expected True, False or 'auto', got {checks.kind(verbose)}")
    if not verbose or any(isinstance(each, (ProgressBar, EpochTable)) for each in callbacks):
        return []
    is_seen = notebooks.in_notebook() or (sys.stdout is not None and sys.stdout.isatty())
    return [EpochTable(), ProgressBar()] if is_seen or verbose != "auto" else []
