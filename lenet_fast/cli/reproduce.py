"""``lenet-fast reproduce``: repeat the papers' experiments, and write a report."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.reproduce.results import Result
    from lenet_fast.reproduce.runner import Job

OUT = Path("runs", "reproduce")
SEEDS = 5
FEW_SEEDS = 2
"""For the sweep over j."""

NAMES = {
    "1989": "the network of 1989, with A. Karpathy's settings",
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
}
"""Those of :data:`lenet_fast.reproduce.catalogue.RECIPES`, whose import would slow ``--help``."""


@click.command(
    cls=help.Command,
    epilog="\b\nNames:\n"
    + "\n".join(f"  {name:<18}{what}" for name, what in NAMES.items())
    + "\n  all               all of them: nearly an hour on two cores\n\n"
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
@common.data_options
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
    with LockedFolder(options["out"]), stopping.on_signals() as stop:
        _reproduce(names, 1 if quick else seeds, quick, jobs, options, stop)


def _reproduce(
    names: tuple[str, ...],
    seeds: int,
    quick: bool,
    jobs: int | None,
    options: dict[str, Any],
    stop: Stop,
) -> None:
    from lenet_fast import plots, threads
    from lenet_fast.reproduce import runner, summary

    out = options["out"]
    plots.check_out(out / "picture.png")  # first: the runs take a while
    wanted = summary.recipes_of(names)
    splits = common.load_data(options["dataset"], options["folder"])
    todo = list(
        dict.fromkeys(
            runner.Job(recipe, seed)
            for name, recipes in wanted
            for recipe in recipes
            for seed in range(min(seeds, FEW_SEEDS) if name == "j" else seeds)
        )
    )
    cores = threads.default_threads()
    common.line("data", splits.source)
    common.line("runs", f"{len(todo)} in {out}", *_at_once(todo, jobs or cores))
    again = ["reproduce", *names, *(["--quick"] if quick else ["--seeds", seeds])]
    again += ["--dataset", options["dataset"]]
    if options["folder"] is not None:
        again += ["--data", options["folder"]]
    try:
        with _bars() as (moved, ended):
            stop.check()
            found = runner.run_all(
                todo,
                splits,
                out,
                at_once=jobs or cores,
                threads=cores,
                report=moved,
                finished=ended,
            )
    except KeyboardInterrupt:
        more = ["--out", out] if jobs is None else ["--jobs", jobs, "--out", out]
        common.say(f"\nStopped. To continue:\n  {common.command_line(*again, *more)}")
        raise stop.leave() from None
    sections = summary.sections(wanted, {(each.recipe, each.seed): each for each in found})
    path = summary.write(sections, splits, out, f"lenet-fast {shlex.join(map(str, again))}")
    click.echo(f"\n{summary.table(sections)}\n")
    common.line("report", path)
    if splits.notice:
        common.notice(splits.notice)
    if any(each.failed for each in found):
        raise click.ClickException("some runs failed; the report says which, and why")


def _at_once(todo: Sequence[Job], most: int) -> list[str]:
    """Return how many runs go on at a time, in words; nothing for a single run."""
    found = min(most, sum(not job.recipe.alone for job in todo))
    if len(todo) < 2:
        return []
    return [f"{found} at once" if found > 1 else "one after the other"]


@contextlib.contextmanager
def _bars() -> Iterator[tuple[Callable[[Job, float], None], Callable[[Job, Result], None]]]:
    """Show a progress bar for each current run, on a terminal, and a line for each finished one."""
    from rich import progress

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn())
    times = (progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    tasks: dict[Job, progress.TaskID] = {}
    lock = threading.Lock()
    with common.progress_bar(*columns, *times) as bar:

        def moved(job: Job, done: float) -> None:
            with lock:
                if job not in tasks:
                    tasks[job] = bar.add_task(job.name, total=1.0)
                bar.update(tasks[job], completed=done)

        def ended(job: Job, result: Result) -> None:
            with lock:
                if job in tasks:
                    bar.remove_task(tasks.pop(job))
            what = result.failed or f"{result.test_rate:.2f} % errors, {result.seconds:.0f} s"
            line = f"{job.name:<32} {what}"
            bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield moved, ended
