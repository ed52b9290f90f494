"""``lenet-fast evaluate``: measure the errors of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenet_fast import choices
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from rich.table import Table

    from lenet_fast.checks import Array

_SHORT = 3  # characters of a name above a column


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast evaluate runs/lenet5 --data ~/mnist",
        "lenet-fast evaluate runs/lenet5/model.safetensors --json",
    ),
)
@click.argument("run_or_model", type=click.Path(path_type=Path))
@common.data_options
@common.onnx_options
@common.engine_options
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def evaluate(
    run_or_model: Path,
    folder: Path | None,
    dataset: choices.Dataset,
    backend: choices.Backend | None,
    engine: choices.Engine,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure a model's errors on the test images.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. Prints the number of errors,
    the accuracy, and the confusion matrix: how often each class was classified as each.
    """
    import time

    import numpy as np

    from lenet_fast import engines

    file, network, loss = common.read_model(run_or_model)
    runner = engines.create(network, loss, engine=engine, backend=backend, threads=threads)
    splits = common.load_data(dataset, folder)
    classes = common.class_names(file, network, splits)
    images, labels = splits.test.images, splits.test.labels.astype(np.intp)
    turned = common.turned(network, images)
    confusion = np.zeros((len(classes), len(classes)), np.intp)
    loss_sum = 0.0
    started = time.perf_counter()
    for part, outputs in common.outputs(runner, network, images, turned=turned):
        found = network.classify_outputs(outputs)
        np.add.at(confusion, (labels[part], found), 1)
        values = loss.values(outputs, labels[part], runner.backend)
        loss_sum += float(values.sum(dtype=np.float64))
    seconds = time.perf_counter() - started
    runner.close()
    errors = int(confusion.sum() - np.trace(confusion))
    if as_json:
        report = {
            "model": os.fspath(file),
            "data": splits.source,
            "images": len(images),
            "errors": errors,
            "accuracy": 1 - errors / len(images),
            "loss": loss_sum / len(images),
            "classes": list(classes),
            "confusion": confusion.tolist(),
            "backend": runner.backend,
            "engine": runner.name,
            "threads": runner.threads,
            "seconds": seconds,
        }
        common.print_json(report)
        return
    common.line("model", file)
    common.line("data", splits.source)
    common.engine_lines(runner)
    common.line("loss", f"{loss_sum / len(images):.4f}, {loss!r}")
    common.line("errors", f"{errors:,} of {len(images):,} test images")
    common.line("accuracy", f"{100 * (1 - errors / len(images)):.2f} %")
    common.line("time", f"{seconds:.2f} s", f"{len(images) / seconds:,.0f} images/s")
    _print_confusion(confusion, classes)


def _print_confusion(confusion: Array, classes: tuple[str, ...]) -> None:
    """Print it whole; on a narrow terminal closer together, or in several tables."""
    from rich.console import Console

    from lenet_fast import checks

    # Long names stand beside their rows only; the columns have the numbers of the classes.
    short = all(len(name) <= _SHORT for name in classes)
    heads = classes if short else tuple(map(str, range(len(classes))))
    columns = {
        head: [str(count or ".") for count in confusion[:, k]] for k, head in enumerate(heads)
    }
    for k, head in enumerate(heads):
        columns[head][k] = f"[bold]{confusion[k, k] or '.'}[/bold]"
    columns["wrong"] = [str(row.sum() - row[k]) for k, row in enumerate(confusion)]
    names = classes if short else tuple(map(" ".join, zip(heads, classes, strict=True)))
    what = "digit" if classes == checks.DIGITS else "class"
    console = Console()
    console.print(f"Rows: true {what}. Columns: predicted {what}.", style="italic")
    while columns:
        layouts = [(count, gap) for count in range(len(columns), 0, -1) for gap in (1, 0)]
        for count, gap in layouts:
            table = _table(dict(list(columns.items())[:count]), names, gap)
            width = Console(width=1000).measure(table).maximum
            if width <= console.width:
                break
        # A line that is still too long wraps in the terminal; rich would truncate the counts.
        Console(width=max(width, console.width)).print(table, "")
        columns = dict(list(columns.items())[count:])


def _table(columns: dict[str, list[str]], names: tuple[str, ...], gap: int) -> Table:
    """Return a table of some of the columns, with the classes as row labels."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE, show_edge=False, padding=(0, gap, 0, 0))
    table.add_column("", style="bold", no_wrap=True)
    for head in columns:
        table.add_column(escape(head), justify="right", no_wrap=True)
    for name, cells in zip(names, zip(*columns.values(), strict=True), strict=True):
        table.add_row(escape(common.printable(name)), *cells)
    return table
