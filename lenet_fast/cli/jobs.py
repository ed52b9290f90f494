"""What commands that do many trainings share: the options of a cluster, and progress bars."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.jobs.clusters import Cluster
    from lenet_fast.jobs.runner import AnyJob, Data, Job

at_once_option = common.integer_option(
    "--jobs", "Runs at a time, one thread each.  [default: one per physical core]", most=1024
)
"""Add the option that says how many runs go on at a time here."""

cluster_options = help.section(
    "Cluster",
    help.option(
        "--cluster",
        metavar="ADDRESS",
        help="Run on the workers of a Dask scheduler, such as tcp://HOST:8786; or mpi, on those "
        "processes of mpiexec that follow the first. The numbers are those of a run here. Who "
        "reaches a scheduler can run any program on its workers: use tls:// outside a network "
        "that you trust.",
    ),
    help.option(
        "--cluster-tls",
        nargs=3,
        type=click.Path(exists=True, dir_okay=False),
        metavar="CA CERT KEY",
        help="Files for a scheduler with TLS: certificate of the authority, ours, and its key.  "
        "[default: those of Dask's own configuration]",
    ),
    help.option(
        "--cluster-mixed",
        is_flag=True,
        help="Allow workers with other versions or instruction sets, whose numbers differ in the "
        "last digits.",
    ),
)
"""Add the options that select a cluster."""


@contextlib.contextmanager
def opened(options: dict[str, Any]) -> Iterator[tuple[Cluster | None, bool]]:
    """Yield the cluster, if one is asked for, and whether this process was one of its workers."""
    address, tls, at_once = options["cluster"], options["cluster_tls"], options["jobs"]
    if address is None:
        for name, given in (("--cluster-tls", tls), ("--cluster-mixed", options["cluster_mixed"])):
            if given:
                raise click.UsageError(f"{name}: expected with --cluster, got it without")
        yield None, False
        return
    from lenet_fast.jobs import clusters, runner

    if address != clusters.MPI and "://" not in address:
        raise click.UsageError(
            f"--cluster: expected mpi, or an address such as tcp://HOST:8786, got {address!r}"
        )
    if address == clusters.MPI and tls:
        raise click.UsageError("--cluster-tls: expected without --cluster mpi, got both")
    if at_once is not None:
        raise click.UsageError(
            f"--jobs: expected without --cluster, whose workers decide that, got --jobs {at_once}"
        )
    folder = options["folder"]
    asked = clusters.Asked(
        address,
        options["dataset"],
        None if folder is None else os.path.abspath(folder),
        tls,
        options["cluster_mixed"],
    )
    try:
        with clusters.opened(asked, common.say) as cluster:
            yield cluster, cluster is None
    except (clusters.ClusterError, runner.WorkersLost) as error:
        raise click.ClickException(str(error)) from error


def run(
    todo: Sequence[AnyJob],
    data: Data,
    options: dict[str, Any],
    stop: Stop,
    words: Callable[[Any], str] | None,
    cluster: Cluster | None,
) -> list[Any]:
    """Do jobs here or on a cluster, below bars as in :func:`bars`; return their results."""
    from lenet_fast import threads
    from lenet_fast.jobs import runner

    cores = threads.default_threads()
    with bars(todo, words) as (moved, ended):
        stop.check()
        return runner.run_all(
            todo,
            data,
            options["out"],
            at_once=options["jobs"] or cores,
            threads=cores,
            report=moved,
            finished=ended,
            cluster=cluster,
        )


@contextlib.contextmanager
def continued(stop: Stop, command: str) -> Iterator[None]:
    """Within the block, tell what ends the jobs, and the command that goes on with them."""
    try:
        yield
    except KeyboardInterrupt:
        common.say(f"\nStopped. To continue:\n  {command}")
        raise stop.leave() from None
    except OSError as failed:
        if failed.strerror is None or failed.filename is None:
            raise
        what = f"{failed.filename}: {failed.strerror}; the complete runs are kept"
        raise click.ClickException(f"{what}. To continue: {command}") from failed


def go_on(words: Sequence[object], options: dict[str, Any], cluster: Cluster | None) -> str:
    """Return the command line that goes on with the jobs of one that was called with `words`."""
    more: list[object] = ["--out", options["out"]]
    if options["jobs"] is not None:
        more += ["--jobs", options["jobs"]]
    if cluster is not None:
        more += ["--cluster", options["cluster"]]
        more += ["--cluster-tls", *options["cluster_tls"]] if options["cluster_tls"] else []
        more += ["--cluster-mixed"] if options["cluster_mixed"] else []
    return (cluster.started_by if cluster else "") + cures.command(*words, *more)


@contextlib.contextmanager
def bars(
    todo: Sequence[Job[Any]], words: Callable[[Any], str] | None
) -> Iterator[tuple[Callable[[Any, float], None], Callable[[Any, Any], None]]]:
    """Show progress bars, on a terminal, of each current job and of all, and for each finished job
    a line with the words for its result, unless there are none.

    Yields what reports the share of a job that is done, and what tells that it has a result.
    """
    from rich import progress

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn())
    times = (progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    tasks: dict[Job[Any], progress.TaskID] = {}
    over: set[Job[Any]] = set()
    lock = threading.Lock()
    shares = dict.fromkeys(todo, 0.0)
    width = max((len(job.title) for job in todo), default=0)
    with common.progress_bar(*columns, *times) as bar:
        whole = bar.add_task(f"all {len(todo)} runs", total=sum(job.size for job in todo))
        bar.update(whole, visible=len(todo) > 1)

        def moved(job: Job[Any], done: float) -> None:
            with lock:
                if job in over:  # a cluster's report may come late
                    return
                if job not in tasks:
                    tasks[job] = bar.add_task(job.title, total=1.0)
                bar.update(tasks[job], completed=done)
                _share(job, done)

        def _share(job: Job[Any], done: float) -> None:
            shares[job] = done
            bar.update(whole, completed=sum(each.size * shares[each] for each in todo))

        def ended(job: Job[Any], result: Any) -> None:
            with lock:
                over.add(job)
                if job in tasks:
                    bar.remove_task(tasks.pop(job))
                _share(job, 1.0)
            if words is None:
                return
            line = f"{job.title:<{width}}  {words(result)}"
            bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield moved, ended
