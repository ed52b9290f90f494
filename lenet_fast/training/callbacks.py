"""Reports on a training run in progress: the callback protocol, and two callbacks for the terminal.

rich is imported when training starts, so that nothing else needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lenet_fast import checks, threads
from lenet_fast.training.history import Row

if TYPE_CHECKING:
    from rich.console import Console

    from lenet_fast.training.trainer import Trainer


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
    images_per_second : float
        Speed of this phase so far.
    """

    phase: Literal["train", "evaluate"]
    epoch: int
    epochs: int
    images: int
    total: int
    loss: float
    images_per_second: float


class Callback:
    """Base class of callbacks; every method does nothing and may be overridden.

    Each method may call ``trainer.stop()``. An exception in one ends the training.
    """

    def on_train_begin(self, trainer: Trainer) -> None:
        """Training starts or resumes; ``trainer.history`` has the completed epochs."""

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        """A batch has been trained on or evaluated."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """An epoch is complete, and its files are written."""

    def on_train_end(self, trainer: Trainer) -> None:
        """Training has ended, normally or by an exception."""


def _checked(console: Console | None) -> Console | None:
    if console is not None and not hasattr(console, "is_terminal"):
        raise TypeError(f"console: expected a rich.console.Console, got {checks.kind(console)}")
    return console


class ProgressBar(Callback):
    """A progress bar per epoch, with images/s and remaining time; only on a terminal.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw. By default rich's own, which :class:`EpochTable` also uses, so that its
        lines appear above the bar.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = _checked(console)
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Start the bar."""
        from rich import get_console, progress

        console = self._console or get_console()
        if not console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rest]}"),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, rest="")
        threads.start_bar(self._bar)

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        description = f"epoch {progress.epoch}/{progress.epochs}"
        if progress.phase == "evaluate":
            description = "evaluating"
        shown = self._bar.tasks[0]
        if (description, progress.total) != (shown.description, shown.total):
            self._bar.reset(self._task, total=progress.total, description=description, rest="")
        self._bar.update(
            self._task,
            completed=progress.images,
            rest=f"{progress.images_per_second:,.0f} images/s  loss {progress.loss:.4f}",
        )

    def on_train_end(self, trainer: Trainer) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class EpochTable(Callback):
    """One line per epoch: loss, error and misclassified images on both sets, in 80 columns.

    A resumed run's earlier epochs come first. A star marks an epoch that is the best so far, as
    defined by :attr:`History.best`.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to print; by default rich's own.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = _checked(console)
        self._best: tuple[int, float] | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Print the table's header, and the completed epochs."""
        self._best = None
        self._print("               --------- train --------  --------- test ---------")
        self._print("epoch    rate      loss    error  wrong      loss    error  wrong  seconds")
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
        self._print(
            f"{row.epoch:5} {row.rate:7.2g} "
            f"{row.train_loss:9.4f} {train_error:7.2f}% {row.train_errors:6} "
            f"{row.test_loss:9.4f} {test_error:7.2f}% {row.test_errors:6} "
            f"{row.train_seconds:8.1f}{' *' if best else ''}"
        )

    def _print(self, line: str) -> None:
        from rich import get_console

        console = self._console or get_console()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
