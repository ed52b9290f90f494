"""``lenet-fast sweep``: try configurations of ``lenet-fast train``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, help, jobs, sweep_files
from lenet_fast.cli.train import train

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.jobs.clusters import Cluster
    from lenet_fast.sweeps.runs import Job, Result
    from lenet_fast.sweeps.search import Standing

_SHOWN = 20
"""Most rows of the table on the screen."""


@click.command(
    cls=help.Command,
    epilog="\b\nFILE has, for example:\n"
    "  [sweep]\n"
    "  seeds = 3                    # runs per configuration\n"
    "  validation = 5000            # images that judge; default: a sixth\n"
    "  [options]                    # of train, in all runs\n"
    '  recipe = "fast"\n'
    "  [space]\n"
    "  rate = { low = 0.01, high = 0.3, log = true, steps = 4 }\n"
    "  batch_size = [32, 64]\n\n"
    "The method is a grid unless [sweep] says otherwise. To draw configurations, "
    'method = "random" and runs = 20. Successive halving, with either: halving = 3 '
    "lets the best third go on at a third of the epochs, and so on.\n\n"
    + help.example("lenet-fast sweep rates.toml", "lenet-fast sweep rates.toml --out runs/rates"),
)
@click.argument("file", type=click.Path(path_type=Path))
@jobs.at_once_option
@common.integer_option(
    "--max-runs", "Refuse a file that asks for more runs.", sweep_files.MOST_RUNS
)
@help.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for runs and results. Runs that it already holds are not repeated.  "
    "[default: runs/ and the name of FILE]",
)
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@common.data_options
@jobs.cluster_options
def sweep(file: Path, max_runs: int, **options: Any) -> None:
    """Try many configurations of train, and find the best.

    FILE names options of train, in TOML, and the values to try. Each run trains on one part of the
    training set and is judged by another; the test set is not used. Means and deviations are over
    seeds. The best configuration is saved for train --config. After Ctrl-C, SIGTERM or SIGHUP, the
    same command continues with the missing runs; so it does when FILE has changed.
    """
    from lenet_fast.cli import stopping
    from lenet_fast.locks import LockedFolder

    if options["out"] is None:
        options["out"] = Path("runs", file.stem)
    with stopping.on_signals() as stop, jobs.opened(options) as (cluster, worked):
        if worked:
            return
        plan = sweep_files.read(file, train.make_context("train", []))
        points = plan.points(max_runs)
        with common.writing_out():
            locked = LockedFolder(options["out"])
        with locked:
            _sweep(plan, points, max_runs, options, stop, cluster)


def _sweep(
    plan: sweep_files.Plan,
    points: list[dict[str, Any]],
    max_runs: int,
    options: dict[str, Any],
    stop: Stop,
    cluster: Cluster | None,
) -> None:
    from lenet_fast import plots, threads
    from lenet_fast.sweeps import search, summary

    out, as_json = options["out"], options["as_json"]
    varied = dict.fromkeys(name for space in plan.spaces for name in space)
    if others := summary.foreign(varied, out):
        raise click.UsageError(
            f"--out: expected a folder of a sweep or without its files, but {out} holds "
            f"{', '.join(others)} of something else; choose another folder"
        )
    common.prepare_plots()
    plots.check_out(out / "picture.png")  # first: the runs take a while
    splits = common.load_data(options["dataset"], options["folder"])
    given = {name: options[name] for name in ("dataset", "folder")}
    context = train.make_context("train", [])
    found = sweep_files.configurations(plan, points, given, context, splits)
    if not as_json:
        at_once = options["jobs"] or threads.default_threads()
        _describe(plan, found, splits, options, cluster, at_once)
    words: list[object] = ["sweep", plan.file, "--dataset", options["dataset"]]
    words += [] if options["folder"] is None else ["--data", options["folder"]]
    words += ["--max-runs", max_runs] if max_runs != sweep_files.MOST_RUNS else []
    go_on = jobs.go_on(words, options, cluster)

    def run(todo: list[Job]) -> list[Result]:
        return jobs.run(todo, {None: splits}, options, stop, None if as_json else _words, cluster)

    with jobs.continued(stop, go_on):
        standings = search.search(found, plan.seeds, plan.halving, plan.metric, run)
    best = standings[0]
    if best.failed:
        raise click.ClickException(
            f"no configuration without a failed run; the first: {_failure(best)}"
        )
    files = summary.write(standings, best.configuration.options, out)
    if as_json:
        common.print_json(
            {
                "data": splits.source,
                "out": str(out),
                "files": files,
                "configurations": summary.rows(standings),
                "best": best.configuration.options,
            }
        )
        return
    _conclude(standings, files, options)


def _describe(
    plan: sweep_files.Plan,
    found: list[Any],
    splits: Any,
    options: dict[str, Any],
    cluster: Cluster | None,
    at_once: int,
) -> None:
    """Print what the sweep does."""
    import json

    from lenet_fast.sweeps.runs import parts

    settings = json.loads(found[0].settings)
    train, validation = parts(splits, settings["validation"], settings["images"], "lenet5")
    common.line("data", splits.source)
    counts = f"{len(train):,} training images", f"{len(validation):,} for validation"
    common.line("", *counts)
    seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
    common.line("sweep", f"{len(found)} configurations", seeds, plan.method)
    if plan.halving is not None:
        from lenet_fast.sweeps.search import rungs

        after = ", ".join(map(str, rungs(settings["epochs"], plan.halving)[:-1]))
        common.line("", f"the best 1/{plan.halving} go on after epoch {after}")
    where = f"{at_once} at once" if cluster is None else cluster.about()
    common.line("runs", f"{len(found) * plan.seeds} in {options['out']}", where)


def _words(result: Result) -> str:
    """Return how a run ended."""
    if result.failed:
        return result.failed
    row = result.rows[-1]
    error = 100 * row["test_errors"] / result.validation_images
    return f"{error:.2f} % validation error, {result.seconds:.1f} s"


def _failure(standing: Standing) -> str:
    why = next(each.failed for each in standing.results if not standing.reached(each))
    return f"{standing.configuration.words}: {why}"


def _conclude(standings: list[Standing], files: list[str], options: dict[str, Any]) -> None:
    """Print the table, and what to do with the best configuration."""
    from lenet_fast.sweeps import summary

    metric = standings[0].metric
    unit = " (%)" if metric == "validation_error" else ""
    names = summary.varied(standings)
    epochs = len({each.epoch for each in standings}) > 1
    click.echo()
    common.table(
        [
            {
                **{name: _shown(each.configuration.point.get(name)) for name in names},
                f"{metric.replace('_', ' ')}{unit}": _mean(each),
                "runs": str(len(each.results)),
                **({"epochs": str(each.epoch)} if epochs else {}),
            }
            for each in standings[:_SHOWN]
        ]
    )
    if len(standings) > _SHOWN:
        click.echo(f"and {len(standings) - _SHOWN} more in {summary.TABLE}")
    failed = [each for each in standings if each.failed]
    if failed:
        click.echo()
        click.echo(common.wrapped(f"{len(failed)} with failed runs, such as {_failure(failed[0])}"))
    click.echo()
    common.line("files", *files)
    common.command("next", cures.command("train", "--config", options["out"]))


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _mean(standing: Standing) -> str:
    """Return mean and deviation over the seeds."""
    if standing.failed:
        return f"{standing.failed} failed"
    number = ".2f" if standing.metric == "validation_error" else ".4f"
    if math.isnan(standing.deviation):
        return f"{standing.mean:{number}}"
    return f"{standing.mean:{number}} +- {standing.deviation:{number}}"
