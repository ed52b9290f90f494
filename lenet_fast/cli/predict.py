"""``lenet-fast predict``: read digits from files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import choices
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.data.arrays import Digits
    from lenet_fast.network import Network

VALUES = {
    "softmax": ("probability", "probabilities"),
    "rbf": ("penalty", "penalties"),
    "linear": ("score", "scores"),
}
"""Name of the value that a network gives each class, by output layer: singular and plural."""


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast predict runs/lenet5 three.png seven.jpg",
        "lenet-fast predict runs/lenet5 t10k-images-idx3-ubyte.gz --json",
        "lenet-fast predict runs/lenet5 scans/ --out predictions.csv",
    ),
)
@click.argument("run_or_model", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@help.option(
    "--centre/--no-centre",
    default=None,
    also=("--center/--no-center",),
    help="Centre and scale the digit, as in MNIST.  [default: all but arrays of 28x28 or 32x32]",
)
@help.option(
    "--transpose",
    is_flag=True,
    help="Swap rows and columns first: in EMNIST's files, digits lie on their sides.",
)
@common.engine_options
@common.onnx_options
@help.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
@help.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write a table, .csv or .parquet, with a row per image, of any number of images.",
)
@help.option("--overwrite", is_flag=True, help="Replace the file of --out if it exists.")
def predict(
    run_or_model: Path,
    files: tuple[Path, ...],
    centre: bool | None,
    transpose: bool,
    backend: choices.Backend | None,
    engine: choices.Engine,
    threads: int | None,
    as_json: bool,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Classify the digits in images.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. FILES are pictures of one digit
    each (PNG, JPEG and others), NumPy's .npy, or IDX, plain or .gz.

    A dark digit on light is inverted. The digit is cut out, scaled to fit 20x20 pixels, and put
    into 28x28 with its centre of mass in the middle, as in MNIST.

    Arrays hold grey values of shape (rows, columns) or (n, rows, columns), with or without an
    axis of channels, or are tables with one image per row. Values are integers from 0 (background)
    to 255 (foreground), floats from 0 to 1, or the network's own scale, from -0.1 to 1.175.
    Arrays of 28x28 or 32x32 pixels are used unchanged, others are treated like pictures. Where the
    values suggest another scale, or dark digits on light, a line says how they are read.

    A network of three channels reads colours: pictures, whose middle square is scaled to its input
    if they are larger, and arrays with the axis of channels first or last. Nothing else is changed.

    Blank grey images are refused; the other images are still classified, and the exit status is 1.

    With --out, FILES may be folders, too: all files in them and in their folders are read, except
    hidden ones.
    """
    from lenet_fast import engines
    from lenet_fast.cli import bulk

    if out is not None:
        out = bulk.checked(out, overwrite)
    elif overwrite:
        raise click.UsageError("--overwrite: expected together with --out")
    file, network, loss = common.read_model(run_or_model)
    if centre and network.input_shape[0] > 1:
        raise click.UsageError(
            f"--centre: expected with a network for grey images, got {file} for "
            f"{network.input_shape[0]} channels"
        )
    runner = engines.create(network, loss, engine=engine, backend=backend, threads=threads)
    if not as_json:
        common.line("model", file)
        common.engine_lines(runner)
        click.echo()
    if out is not None:
        one = VALUES[network.output][0]
        options: dict[str, Any] = {"centre": centre, "transpose": transpose, "values": one}
        begun = time.perf_counter()
        rows, faults = bulk.predict(out, files, runner, network, **options)
        seconds = time.perf_counter() - begun
        runner.close()
        if as_json:
            common.print_json({"file": os.fspath(out), "images": rows, "faults": faults})
        else:
            bulk.report(out, rows, seconds)
        if faults:
            raise click.exceptions.Exit(1)
        return
    results = []
    failed = 0
    for path in files:
        try:
            digits = _read(path, network, centre, transpose)
            found = [
                result
                for _, outputs in common.outputs(runner, network, digits.images)
                for result in _results(network, outputs)
            ]
        except (ValueError, TypeError, OSError) as error:
            common.fail(bulk.naming(path, error))
            failed += 1
            continue
        names = {
            number: f"{path}[{number}]" if digits.several else f"{path}"
            for number in (*digits.numbers, *digits.faults)
        }
        for note in digits.notes:
            common.say(f"{path}: {note}", style="yellow")
        for number, fault in digits.faults.items():
            common.fail(f"{names[number]}: {fault}")
            failed += 1
        if as_json:
            results += [
                {"file": os.fspath(path), "index": number if digits.several else None} | result
                for number, result in zip(digits.numbers, found, strict=True)
            ]
            continue
        width = max(map(len, (*map(str, files), *names.values())))
        for number, result in zip(digits.numbers, found, strict=True):
            name = common.printable(names[number])
            click.echo(f"{name:<{width}}  {_text(network, result)}")
    runner.close()
    if as_json:
        common.print_json(results)
    if failed:
        raise click.exceptions.Exit(1)


def _read(path: Path, network: Network, centre: bool | None, transpose: bool) -> Digits:
    """Return the digits in a file, in the form that the network reads."""
    from lenet_fast.cli import bulk
    from lenet_fast.data import arrays

    options = bulk.reading(network, transpose)
    # The content decides, not the file's name.
    if arrays.is_array(bulk.head(path)):
        return arrays.digits(arrays.read_array(path), centred=centre, **options)
    return bulk.picture(network, path, centred=centre is not False, **options)


def _results(network: Network, outputs: Array) -> list[dict[str, Any]]:
    """Return the class, its name, and the value of each class, for every row of outputs (n, k)."""
    from lenet_fast.cli import bulk

    one, several = VALUES[network.output]
    values = bulk.shown(network, outputs)
    return [
        {
            "class": int(label),
            "name": network.classes[label],
            one: float(row[label]),
            several: row.tolist(),
        }
        for label, row in zip(network.classify_outputs(outputs), values, strict=True)
    ]


def _text(network: Network, result: dict[str, Any]) -> str:
    one, several = VALUES[network.output]
    values = result[several]
    # Python's sort is stable, and the network's answer is the first of equals too.
    order = sorted(range(len(values)), key=values.__getitem__, reverse=network.output != "rbf")
    second = order[1]
    digits = 2 if network.output == "rbf" else 4
    return (
        f"{result['name']}  {one} {result[one]:.{digits}f}, "
        f"then {network.classes[second]}: {values[second]:.{digits}f}"
    )
