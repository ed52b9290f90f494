"""``lenet-fast reproduce``: repeat the papers' experiments, and write a report."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.data import Splits
    from lenet_fast.reproduce.clusters import Cluster
    from lenet_fast.reproduce.recipes import Recipe
    from lenet_fast.reproduce.results import Result
    from lenet_fast.reproduce.runner import Job

OUT = Path("runs", "reproduce")
SEEDS = 5
FEW_SEEDS = 2
"""For the sweep over j."""

NAMES = {
    "1989": "the network of 1989, with A. Karpathy's settings",
    "1989-usps": "the networks of 1989, 1990 and 1998 on the zip codes of 1989",
    "lenet1": "LeNet-1, of 1990",
    "lenet4": "LeNet-4",
    "boosted-lenet4": "three LeNet-4, boosted",
    "lenet5": "LeNet-5: RBF, MAP criterion, SDLM",
    "lenet5-distorted": "LeNet-5 with distortions",
    "seed0": "softmax outputs, 7 epochs",
    "seed1": "average pooling, batches of 256; without pooling",
    "seed2": "the network of 1989 with sigmoid outputs",
    "seed3": "LeNet-5 with plain gradients, 50 epochs",
    "best": "LeNet-5 for accuracy, in a minute",
    "j": "a sweep over the constant j of the MAP criterion",
    "outputs": "RBF, softmax and plain dense outputs",
    "mu": "the paper's constant mu of the rates, read in three ways",
    "figures": "figures 5, 6, 8 and 10 to 13 of the paper of 1998",
}
"""Those of :data:`lenet_fast.reproduce.catalogue.RECIPES`, whose import would slow ``--help``."""


@click.command(
    cls=help.Command,
    epilog="\b\nNames:\n"
    + "\n".join(f"  {name:<18}{what}" for name, what in NAMES.items())
    + "\n  all               all of them: over an hour on two cores\n\n"
    + help.example(
        "lenet-fast reproduce lenet5 --quick", "lenet-fast reproduce all --out runs/reproduce"
    ),
)
@click.argument(
    "names", nargs=-1, required=True, type=click.Choice((*NAMES, "all")), metavar="NAME..."
)
@common.integer_option(
    "--seeds", f"Runs per recipe; at most {FEW_SEEDS} for the sweep.", SEEDS, most=1000
)
@help.option("--quick", is_flag=True, help="One seed, as --seeds 1.")
@common.integer_option(
    "--jobs", "Runs at a time, one thread each.  [default: one per physical core]", most=1024
)
@help.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=OUT,
    help="Folder for runs and report. Runs that it already holds are not repeated.",
)
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@common.data_options
@help.section(
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
def reproduce(
    names: tuple[str, ...], seeds: int, quick: bool, jobs: int | None, **options: Any
) -> None:
    """Repeat the papers' experiments with their sources' settings, and write a report.

    The report shows our errors beside the source's, with the spread over seeds, and lists what the
    source leaves open. After Ctrl-C, SIGTERM or SIGHUP, the same command continues with the
    missing runs.
    """
    from lenet_fast.cli import stopping
    from lenet_fast.locks import LockedFolder

    if quick and seeds != SEEDS:
        raise click.UsageError(f"--quick: expected without --seeds, got --seeds {seeds}")
    with stopping.on_signals() as stop, _cluster(jobs, options) as (cluster, worked):
        if worked:
            return
        with common.writing_out():
            locked = LockedFolder(options["out"])
        with locked:
            _reproduce(names, 1 if quick else seeds, quick, jobs, options, stop, cluster)


@contextlib.contextmanager
def _cluster(jobs: int | None, options: dict[str, Any]) -> Iterator[tuple[Cluster | None, bool]]:
    """Yield the cluster, if one is asked for, and whether this process was one of its workers."""
    address, tls = options["cluster"], options["cluster_tls"]
    if address is None:
        for name, given in (("--cluster-tls", tls), ("--cluster-mixed", options["cluster_mixed"])):
            if given:
                raise click.UsageError(f"{name}: expected with --cluster, got it without")
        yield None, False
        return
    from lenet_fast.reproduce import clusters, runner

    if address != clusters.MPI and "://" not in address:
        raise click.UsageError(
            f"--cluster: expected mpi, or an address such as tcp://HOST:8786, got {address!r}"
        )
    if address == clusters.MPI and tls:
        raise click.UsageError("--cluster-tls: expected without --cluster mpi, got both")
    if jobs is not None:
        raise click.UsageError(
            f"--jobs: expected without --cluster, whose workers decide that, got --jobs {jobs}"
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


def _reproduce(
    names: tuple[str, ...],
    seeds: int,
    quick: bool,
    jobs: int | None,
    options: dict[str, Any],
    stop: Stop,
    cluster: Cluster | None,
) -> None:
    from lenet_fast import plots, threads
    from lenet_fast.reproduce import runner, summary

    out = options["out"]
    common.prepare_plots()
    plots.check_out(out / "picture.png")  # first: the runs take a while
    wanted = summary.recipes_of(names)
    data = _data([recipe for _, recipes in wanted for recipe in recipes], options)
    source = "; ".join(splits.source for splits in data.values())
    todo = list(
        dict.fromkeys(
            runner.Job(recipe, seed)
            for name, recipes in wanted
            for recipe in recipes
            for seed in range(min(seeds, FEW_SEEDS) if name == "j" else seeds)
        )
    )
    cores = threads.default_threads()
    as_json = options["as_json"]
    if not as_json:
        common.line("data", source)
        if cluster is None:
            common.line("runs", f"{len(todo)} in {out}", *_at_once(todo, jobs or cores))
        else:
            common.line("runs", f"{len(todo)} in {out}")
            common.line("cluster", cluster.about())
    again = ["reproduce", *names, *(["--quick"] if quick else ["--seeds", seeds])]
    again += ["--dataset", options["dataset"]]
    if options["folder"] is not None:
        again += ["--data", options["folder"]]
    more = ["--out", out] if jobs is None else ["--jobs", jobs, "--out", out]
    if cluster is not None:
        more += ["--cluster", options["cluster"]]
        more += ["--cluster-tls", *options["cluster_tls"]] if options["cluster_tls"] else []
        more += ["--cluster-mixed"] if options["cluster_mixed"] else []
    go_on = (cluster.started_by if cluster else "") + cures.command(*again, *more)
    try:
        with _bars(todo, silent=as_json) as (moved, ended):
            stop.check()
            found = runner.run_all(
                todo,
                data,
                out,
                at_once=jobs or cores,
                threads=cores,
                report=moved,
                finished=ended,
                cluster=cluster,
            )
    except KeyboardInterrupt:
        common.say(f"\nStopped. To continue:\n  {go_on}")
        raise stop.leave() from None
    except OSError as failed:
        if failed.strerror is None or failed.filename is None:
            raise
        what = f"{failed.filename}: {failed.strerror}; the complete runs are kept"
        raise click.ClickException(f"{what}. To continue: {go_on}") from failed
    sections = summary.sections(wanted, {(each.recipe, each.seed): each for each in found})
    path = summary.write(sections, data, out, f"lenet-fast {shlex.join(map(str, again))}")
    if as_json:
        common.print_json({"data": source, "report": str(path), "runs": _facts(found)})
    else:
        click.echo()
        _print(summary.table(sections))
        click.echo()
        common.line("report", path)
    for splits in data.values():
        if splits.notice:
            common.notice(splits.notice)
    if any(each.failed for each in found):
        raise click.ClickException("some runs failed; the report says which, and why")


def _data(recipes: Sequence[Recipe], options: dict[str, Any]) -> dict[str | None, Splits]:
    """Load what the recipes train on: the data set that the user names, or their own, from the
    user's folder or, if it has other data, from wherever it is found."""
    from lenet_fast import data

    found: dict[str | None, Splits] = {}
    folder = options["folder"]
    for name in dict.fromkeys(recipe.dataset for recipe in recipes):
        try:
            splits = common.load_data(name or options["dataset"], folder)
        except data.DataNotFoundError:
            if name is None or folder is None:
                raise
            splits = common.load_data(name, None)
        if len(splits.train.classes) != 10:
            raise click.UsageError(
                f"--dataset, --data: expected ten digits, got {len(splits.train.classes)} classes"
            )
        common.check_size(splits, common.LARGEST, "LeNet-5")
        found[name] = splits
    return found


def _at_once(todo: Sequence[Job], most: int) -> list[str]:
    """Return how many runs go on at a time, in words; nothing for a single run."""
    found = min(most, sum(not job.recipe.alone for job in todo))
    if len(todo) < 2:
        return []
    return [f"{found} at once" if found > 1 else "one after the other"]


def _print(table: str) -> None:
    """Print a Markdown table; on a terminal that is too narrow, row by row."""
    lines = table.splitlines()
    if max(map(len, lines)) <= common.columns_of_terminal():
        click.echo(table)
        return
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    common.table([dict(zip(head, row, strict=True)) for row in rows])


def _facts(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Return what --json prints of the runs."""
    names = (
        *("recipe", "seed", "failed", "seconds", "threads"),
        *("train_images", "train_errors", "test_images", "test_errors", "code"),
    )
    return [{name: getattr(result, name) for name in names} for result in found]


@contextlib.contextmanager
def _bars(
    todo: Sequence[Job], silent: bool
) -> Iterator[tuple[Callable[[Job, float], None], Callable[[Job, Result], None]]]:
    """Show progress bars, on a terminal, of each current run and of all, and a line for each
    finished run, unless they are to be silent."""
    from rich import progress

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn())
    times = (progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    tasks: dict[Job, progress.TaskID] = {}
    over: set[Job] = set()
    lock = threading.Lock()
    # Runs of more epochs take longer; how much longer, only they know.
    weights = {job: job.recipe.epochs * (3 if job.recipe.boosted else 1) for job in todo}
    shares = dict.fromkeys(todo, 0.0)
    with common.progress_bar(*columns, *times) as bar:
        whole = bar.add_task(f"all {len(todo)} runs", total=sum(weights.values()))
        bar.update(whole, visible=len(todo) > 1)

        def moved(job: Job, done: float) -> None:
            with lock:
                if job in over:  # a cluster's report may come late
                    return
                if job not in tasks:
                    tasks[job] = bar.add_task(job.name, total=1.0)
                bar.update(tasks[job], completed=done)
                _share(job, done)

        def _share(job: Job, done: float) -> None:
            shares[job] = done
            bar.update(whole, completed=sum(weights[each] * shares[each] for each in todo))

        def ended(job: Job, result: Result) -> None:
            with lock:
                over.add(job)
                if job in tasks:
                    bar.remove_task(tasks.pop(job))
                _share(job, 1.0)
            if silent:
                return
            what = result.failed or f"{result.test_rate:.2f} % errors, {result.seconds:.0f} s"
            line = f"{job.name:<32} {what}"
            bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield moved, ended
