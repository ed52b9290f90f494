"""``--distributed mpi``: several processes train one network, and end together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast.cli import common, failures

if TYPE_CHECKING:
    from lenet_fast.engines.ranks import Link
    from lenet_fast.training import Ranks

_SECONDS = 2.0
"""How long a process that fails waits whether all others fail, too, before it ends them."""


@contextlib.contextmanager
def together(options: dict[str, Any]) -> Iterator[Ranks | None]:
    """Yield the processes that are to train together; None without --distributed.

    Within the block only the first of them prints, and gets signals. Where all fail alike, it
    reports that. One that fails alone says why and ends the others.
    """
    from lenet_fast.engines.ranks import Link, launched, leave_signals_to_the_first, library
    from lenet_fast.training import Ranks

    if options["distributed"] is None:
        if options["distributed_mixed"]:
            raise click.UsageError("--distributed-mixed: expected with --distributed, got it alone")
        if launched() > 1 and options["out"] is None and options["resume"] is None:
            raise click.UsageError(
                f"--distributed: expected mpi to make one training of the {launched()} processes "
                "that mpiexec has started, got none; for a training of each, give each its --out"
            )
        yield None
        return
    mpi = library("--distributed mpi")
    link = Link(mpi, mpi.COMM_WORLD)
    link.alike = True  # in that nobody compares anything yet
    try:
        ranks = Ranks(mixed=options["distributed_mixed"])
        link = ranks.link
        with contextlib.ExitStack() as quiet:
            if link.rank:
                leave_signals_to_the_first()
                nowhere = quiet.enter_context(open(os.devnull, "w"))
                quiet.enter_context(contextlib.redirect_stdout(nowhere))
                quiet.enter_context(contextlib.redirect_stderr(nowhere))
            yield ranks
    except BaseException as error:
        _end(link, error)
        if link.rank:
            raise click.exceptions.Exit(0) from None
        raise


def _end(link: Link, error: BaseException) -> None:
    """Return if all ranks fail; else report why this one does, and end all."""
    from lenet_fast.training import RankError, TrainingDiverged

    if not link.alike:  # the others wait for that
        with contextlib.suppress(RankError):
            link.fail(failures.explained(error))
    alike = isinstance(error, click.exceptions.Exit | RankError | TrainingDiverged)
    # The first one may have to save.
    if link.all_come(None if link.rank and alike else _SECONDS):
        return
    status = common.STOPPED
    if isinstance(error, click.exceptions.Exit):
        status = error.exit_code
    elif isinstance(error, Exception):
        status = failures.reported(error, f"{link.here()} failed: " if link.rank else "")
    link.abort(status)


def locked(folder: Path, ranks: Ranks | None, *, new: bool = False) -> Any:
    """Return the context of a run's folder: a :class:`LockedFolder` for the process that writes to
    it, a path for others. With `new`, append a number if the name is taken."""
    from lenet_fast.engines.ranks import launched
    from lenet_fast.locks import LockedFolder

    if ranks is not None and ranks.rank:
        return contextlib.nullcontext(folder)
    try:
        return LockedFolder.new(folder) if new else LockedFolder(folder)
    except BlockingIOError as error:
        if ranks is not None or launched() == 1:
            raise
        raise BlockingIOError(
            f"{error}; --distributed mpi makes one training of the {launched()} processes that "
            "mpiexec has started"
        ) from error
