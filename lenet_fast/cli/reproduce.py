"""``lenet-fast reproduce``: repeat the papers' experiments, and write a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast.cli import common, help, jobs

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.data import Splits
    from lenet_fast.jobs.clusters import Cluster
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
@jobs.at_once_option
@help.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=OUT,
    help="Folder for runs and report. Runs that it already holds are not repeated.",
)
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@common.data_options
@jobs.cluster_options
def reproduce(names: tuple[str, ...], seeds: int, quick: bool, **options: Any) -> None:
    """Repeat the papers' experiments with their sources' settings, and write a report.

    The report shows our errors beside the source's, with the spread over seeds, and lists what the
    source leaves open. After Ctrl-C, SIGTERM or SIGHUP, the same command continues with the
    missing runs.
    """
    from lenet_fast.cli import stopping
    from lenet_fast.locks import LockedFolder

    if quick and seeds != SEEDS:
        raise click.UsageError(f"--quick: expected without --seeds, got --seeds {seeds}")
    with stopping.on_signals() as stop, jobs.opened(options) as (cluster, worked):
        if worked:
            return
        with common.writing_out():
            locked = LockedFolder(options["out"])
        with locked:
            _reproduce(names, 1 if quick else seeds, quick, options, stop, cluster)


def _reproduce(
    names: tuple[str, ...],
    seeds: int,
    quick: bool,
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
    at_once = options["jobs"] or threads.default_threads()
    as_json = options["as_json"]
    if not as_json:
        common.line("data", source)
        if cluster is None:
            common.line("runs", f"{len(todo)} in {out}", *_at_once(todo, at_once))
        else:
            common.line("runs", f"{len(todo)} in {out}")
            common.line("cluster", cluster.about())
    again = ["reproduce", *names, *(["--quick"] if quick else ["--seeds", seeds])]
    again += ["--dataset", options["dataset"]]
    if options["folder"] is not None:
        again += ["--data", options["folder"]]
    go_on = jobs.go_on(again, options, cluster)
    with jobs.continued(stop, go_on):
        found = jobs.run(todo, data, options, stop, None if as_json else _words, cluster)
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


def _words(result: Result) -> str:
    """Return how a run ended."""
    return result.failed or f"{result.test_rate:.2f} % errors, {result.seconds:.0f} s"
