"""``lenet-fast runs`` and ``lenet-fast compare``: what earlier runs did, side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures, locks
from lenet_fast.cli import common, help, settings

if TYPE_CHECKING:
    from lenet_fast.training import History

ROOT = Path("runs")
"""Where runs are looked for; ``lenet-fast train`` puts them there."""

_DEEPEST = 4  # levels of folders that are searched
_NOT_COMPARED = {"data"}  # options that say where something is, not what is done


@click.command(
    cls=help.Command, epilog=help.example("lenet-fast runs", "lenet-fast runs ~/experiments")
)
@click.argument("folder", metavar="[DIR]", default=ROOT, type=click.Path(path_type=Path))
@help.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in a folder and the folders in it, the latest last.

    DIR is the folder, by default runs. Each run is shown with its network, its data, the epochs
    that are complete, the fewest test errors, the highest rate, when it was last started, and its
    state: finished, stopped (and can be resumed), or running.
    """
    obstacle = locks.in_the_way(folder)
    if obstacle is not None or not (folder.is_dir() or folder == ROOT):  # training creates runs
        got = f"but there is no {folder}" if obstacle is None else f"got {obstacle}"
        raise click.UsageError(f"DIR: expected a folder with runs in it, {got}")
    found = sorted((_facts(each) for each in _below(folder)), key=lambda facts: facts["started"])
    if as_json:
        common.print_json(found)
        return
    if not found:
        common.say(f"There are no runs in {folder}. To start one:\n  {cures.command('train')}")
        return
    common.table([_row(facts) for facts in found])
    for facts in found:
        if "problem" in facts:
            common.say(f"{facts['run']}: {facts['problem']}", style="yellow")


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast compare runs/lenet5 runs/lenet5-2",
        "lenet-fast compare runs/* --out errors.png",
    ),
)
@click.argument(
    "folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@help.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw the error rates here, too: .png, .svg or .pdf. An existing file is replaced.",
)
@help.option("--log", is_flag=True, help="Draw the error rates on a logarithmic axis.")
@help.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
def compare(folders: tuple[Path, ...], out: Path | None, log: bool, as_json: bool) -> None:
    """Compare runs: their results, and the options in which they differ.

    Each RUN is the folder of a run. Speeds are of training alone.
    """
    if len(folders) < 2:
        raise click.UsageError(f"RUN: expected two runs or more, got {folders[0]} alone")
    if log and out is None:
        raise click.UsageError("--log: expected together with --out")
    if out is not None:
        from lenet_fast import plots

        common.prepare_plots()
        with common.writing_out():
            plots.check_out(out)
    from lenet_fast.training.runs import read_history

    names = _names(folders)
    histories = [read_history(folder) for folder in folders]
    found = [_facts(folder) for folder in folders]
    for folder, facts, history in zip(folders, found, histories, strict=True):
        if not history.rows:
            raise click.UsageError(f"RUN: expected runs with a complete epoch, got {folder}")
        facts |= _measured(history)
    if as_json:
        common.print_json(found)
    else:
        pairs = list(zip(names, found, strict=True))
        common.table([{"run": name} | _results(facts) for name, facts in pairs])
        differing = _differing([facts["options"] for facts in found])
        click.echo()
        if differing:
            common.table(
                [
                    {
                        "option": settings.spelled(option),
                        **dict(zip(names, map(_text, values), strict=True)),
                    }
                    for option, values in differing.items()
                ]
            )
        else:
            click.echo("The options of these runs are the same.")
    if out is not None:
        with common.writing_out():
            plots.save(plots.errors(histories, names, log=log), out)
        common.say(f"wrote {out}") if as_json else common.line("picture", out)


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yield a folder and those below it, if they are runs; links are not followed."""
    from lenet_fast.training import runs

    if (folder / runs.CONFIG).is_file() and (folder / runs.CHECKPOINT).exists():
        yield folder
    if depth < _DEEPEST:
        try:
            inner = sorted(each for each in folder.iterdir() if not each.is_symlink())
        except OSError:
            return  # one that may not be read has no runs for us
        for each in inner:
            if each.is_dir():
                yield from _below(each, depth + 1)


def _facts(folder: Path) -> dict[str, Any]:
    """Return what the files of a run say, as JSON can hold it; "problem" if they are damaged."""
    import tomllib

    from lenet_fast.training import runs

    facts: dict[str, Any] = {"run": os.fspath(folder), "started": "", "options": {}}
    try:
        config = tomllib.loads(runs.text(folder / runs.CONFIG))
        facts["started"] = str(config["run"]["started"])
        facts["epochs"] = int(config["run"]["epochs"])
        facts["options"] = {
            key: value if isinstance(value, int | float | list) else str(value)
            for key, value in config.get("options", {}).items()
        }
        facts["network"] = _network(config)
        facts["data"] = str(config["data"]["train"]["name"])
        facts["images"] = int(config["data"]["train"]["images"])
        facts["rate"] = _rate(config["schedule"])
        facts["done"] = 0
        facts["best"] = None
        if (folder / runs.HISTORY).exists():  # else the first epoch is not complete
            history = runs.read_history(folder)
            facts["done"] = len(history.rows)
            if history.best is not None:
                facts["best"] = 100 * history.best.test_errors / history.test_images
        ended = "finished" if facts["done"] == facts["epochs"] else "stopped"
        facts["state"] = "running" if locks.is_locked(folder) else ended
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        facts |= {"state": "damaged", "problem": text}
    return facts


def _network(config: dict[str, Any]) -> str:
    """Return a run's network in a few words."""
    options = config.get("options", {})
    if "model" not in options and "pooling" not in options:  # not from the command line
        return f"{len(config['network']['layers'])} layers, {config['network']['output']}"
    words = [str(options.get("model", "lenet5"))]
    plain = {"pooling": "subsample", "output": "rbf", "activation": "scaled_tanh"}
    for name, usual in plain.items():
        if options.get(name, usual) != usual and (words[0], name) != ("lenet4", "output"):
            words.append(str(options[name]))
    return " ".join(words)


def _rate(schedule: dict[str, Any]) -> float:
    """Return the highest rate of a schedule."""
    rates = schedule.get("rates")
    return float(max(rates) if rates else schedule["rate"])


def _row(facts: dict[str, Any]) -> dict[str, str]:
    """Return the line of a run in the list."""
    if "problem" in facts:
        columns = ("network", "data", "epochs", "best error", "rate", "started")
        return {"run": facts["run"], **dict.fromkeys(columns, ""), "state": "damaged"}
    return {
        "run": facts["run"],
        "network": facts["network"],
        "data": f"{facts['data'].partition('-train')[0]} {facts['images']:,}",
        "epochs": f"{facts['done']}/{facts['epochs']}",
        "best error": "" if facts["best"] is None else f"{facts['best']:.2f} %",
        "rate": f"{facts['rate']:.3g}",
        "started": facts["started"][:16].replace("T", " "),
        "state": facts["state"],
    }


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Return the runs' names without the folders that they share."""
    whole = [os.path.abspath(folder) for folder in folders]
    if len(set(whole)) < len(whole):
        twice = next(each for each in whole if whole.count(each) > 1)
        raise click.UsageError(f"RUN: expected different runs, got {twice} twice")
    shared = os.path.commonpath(whole)
    return [os.path.relpath(each, shared) for each in whole]


def _measured(history: History) -> dict[str, Any]:
    best, last = history.best, history.rows[-1]
    assert best is not None
    seconds = sum(row.train_seconds for row in history.rows)
    return {
        "best_epoch": best.epoch,
        "last": 100 * last.test_errors / history.test_images,
        "train": 100 * last.train_errors / history.train_images,
        "test_loss": last.test_loss,
        "seconds": seconds,
        "images_per_second": history.train_images * len(history.rows) / max(seconds, 1e-9),
    }


def _results(facts: dict[str, Any]) -> dict[str, str]:
    """Return the line of a run in the comparison."""
    return {
        "epochs": f"{facts['done']}/{facts['epochs']}" if "done" in facts else "",
        "best test": f"{facts['best']:.2f} %",
        "in epoch": str(facts["best_epoch"]),
        "last test": f"{facts['last']:.2f} %",
        "train": f"{facts['train']:.2f} %",
        "seconds": f"{facts['seconds']:.1f}",
        "images/s": f"{facts['images_per_second']:,.0f}",
    }


def _differing(options: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the options whose values are not all the same, with the value of each run."""
    names = dict.fromkeys(name for each in options for name in each if name not in _NOT_COMPARED)
    values = {name: [each.get(name) for each in options] for name in names}
    return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


def _text(value: Any) -> str:
    """Return a value of an option; that of several, such as rates, can fill several lines."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
