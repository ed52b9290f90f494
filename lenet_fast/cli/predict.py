"""``lenet-fast predict``: read digits from files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast.cli import common

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.network import Network

VALUES = {
    "softmax": ("probability", "probabilities"),
    "rbf": ("penalty", "penalties"),
    "linear": ("score", "scores"),
}
"""What the numbers are that a network of each output gives to the classes: one, and several."""


@click.command(
    epilog=common.example(
        "lenet-fast predict runs/lenet5 three.png seven.jpg",
        "lenet-fast predict runs/lenet5 t10k-images-idx3-ubyte.gz --json",
    )
)
@click.argument("run_or_model", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--centre/--no-centre",
    default=None,
    help="Whether to bring images into MNIST's form.  [default: all but arrays of 28x28 or 32x32]",
)
@common.engine_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for programs.")
def predict(
    run_or_model: Path,
    files: tuple[Path, ...],
    centre: bool | None,
    backend: str | None,
    engine: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Print the digit that a model sees in images.

    RUN_OR_MODEL is the folder of a run, or a model file. FILES are pictures of one digit each
    (PNG, JPEG and others), NumPy's .npy, or IDX, plain or .gz.

    A picture is turned bright on dark if it is dark on light; its ink is fitted into 20x20 pixels
    and put into 28x28 with its centre of mass in the middle, as MNIST's was. Arrays, (rows,
    columns) or (n, rows, columns), hold grey values: integers from 0 paper to 255 ink, or floats
    from 0 to 1, or the networks' own from -0.1 to 1.175. Those of 28x28 or 32x32 pixels are taken
    as they are, others treated like pictures.
    """
    from lenet_fast import engines

    file, network, loss = common.read_model(run_or_model)
    runner = engines.create(network, loss, engine=engine, backend=backend, threads=threads)
    if not as_json:
        common.line("model", file)
        common.engine_lines(runner)
        click.echo()
    results = []
    failed = 0
    for path in files:
        try:
            images, several = _read(path, centre)
            found = [
                result
                for _, outputs in common.outputs(runner, network, images)
                for result in _results(network, outputs)
            ]
        except (ValueError, TypeError, OSError) as error:
            common.fail(_naming(path, error))
            failed += 1
            continue
        if as_json:
            results += [
                {"file": os.fspath(path), "index": index if several else None} | result
                for index, result in enumerate(found)
            ]
            continue
        names = [f"{path}[{index}]" if several else f"{path}" for index in range(len(found))]
        width = max(map(len, (*map(str, files), *names)))
        for name, result in zip(names, found, strict=True):
            click.echo(f"{common.printable(name):<{width}}  {_text(network, result)}")
    runner.close()
    if as_json:
        click.echo(json.dumps(results, allow_nan=False))
    if failed:
        raise click.exceptions.Exit(1)


def _read(path: Path, centre: bool | None) -> tuple[Array, bool]:
    """Return the images of a file, (n, rows, columns) uint8, and whether it may hold several."""
    import numpy as np

    from lenet_fast import data
    from lenet_fast.data import idx

    if path.is_dir():
        raise ValueError("expected a file, got a folder")
    if path.exists() and not path.is_file():
        raise ValueError("expected a regular file, got a pipe or device")
    with open(path, "rb") as file:
        head = file.read(6)
    # By what is in them, not by their names.
    if head == b"\x93NUMPY":
        array = np.load(path, mmap_mode="r")  # mapped, so that a false header takes no memory
    elif head[:2] in (b"\0\0", b"\x1f\x8b"):
        array = idx.read(path)
    elif not head:
        raise ValueError("expected a picture, .npy or IDX, got an empty file")
    else:
        picture = data.read_image(path)
        return np.stack([data.centre(picture) if centre is not False else picture]), False
    several = array.ndim != 2
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    images = array if several else array[np.newaxis]
    if images.ndim != 3 or images.dtype.kind not in "biuf":
        raise ValueError(
            f"expected grey images, (rows, columns) or (n, rows, columns), got {array.dtype} of "
            f"shape {array.shape}"
        )
    if centre is None:
        centre = images.shape[1:] not in ((28, 28), (32, 32))
    if not centre:
        return _bytes(images), several
    return np.stack([np.zeros((28, 28), np.uint8), *map(data.centre, images)])[1:], several


def _bytes(images: Array) -> Array:
    """Return grey values as bytes, from any of the scales that `predict` knows."""
    import numpy as np

    if images.dtype == np.uint8 or not images.size:
        return np.asarray(images, np.uint8)
    low, high = images.min(), images.max()
    if images.dtype.kind in "biu":
        largest = 1 if images.dtype.kind == "b" else 255
        if low < 0 or high > largest:
            raise ValueError(f"expected integers from 0 paper to 255 ink, got {low} to {high}")
        return np.asarray(images, np.uint8) * np.uint8(255 // largest)
    paper, ink = (0.0, 1.0) if low >= 0 and high <= 1 else (-0.1, 1.175)
    margin = 1e-6  # -0.1 and 1.175 are not exact in float32
    if not (low >= paper - margin and high <= ink + margin):  # neither if there is a NaN
        raise ValueError(
            "expected floats from 0 paper to 1 ink, or from -0.1 to 1.175, the networks' own "
            f"scale, got {low} to {high}"
        )
    return np.rint((images - paper) * (255 / (ink - paper))).clip(0, 255).astype(np.uint8)


def _results(network: Network, outputs: Array) -> list[dict[str, Any]]:
    """Return class, and value of each class, for every row of outputs (n, k)."""
    one, several = VALUES[network.output]
    values = network.probabilities(outputs) if network.output == "softmax" else outputs
    return [
        {"class": int(label), one: float(row[label]), several: row.tolist()}
        for label, row in zip(network.classify(outputs), values, strict=True)
    ]


def _text(network: Network, result: dict[str, Any]) -> str:
    one, several = VALUES[network.output]
    values = result[several]
    # Python's sort keeps the order of equals, and the winner is the first of equals too.
    order = sorted(range(len(values)), key=values.__getitem__, reverse=network.output != "rbf")
    second = order[1]
    digits = 2 if network.output == "rbf" else 4
    return (
        f"{result['class']}  {one} {result[one]:.{digits}f}, "
        f"then {second}: {values[second]:.{digits}f}"
    )


def _naming(path: Path, error: Exception) -> str:
    """Return what went wrong, with the name of the file unless it is in the message."""
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    text = str(error)
    return text if text.startswith(str(path)) else f"{path}: {text}"
