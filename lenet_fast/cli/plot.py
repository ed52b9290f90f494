"""``lenet-fast plot``: figures of a run, a model, or data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.data import Dataset, Splits
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network

_DATA_ALONE = ("distribution", "samples")
WHAT = (
    *("errors", "filters", "features", "bitmaps", "confusion", "mistakes", "table"),
    *_DATA_ALONE,
)


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast plot runs/lenet5 --what errors --out errors.png",
        "lenet-fast plot runs/lenet5 --what features --image 7 --out seven.pdf",
        "lenet-fast plot --what samples --out samples.svg",
    ),
)
@click.argument("run_or_model", required=False, type=click.Path(path_type=Path))
@help.option(
    "--what", type=click.Choice(WHAT), metavar="WHAT", required=True, help="One of these words."
)
@help.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .png, .svg or .pdf. An existing file is replaced.",
)
@common.integer_option(
    "--image",
    "Which test image to show, counted from 0; with --what features.",
    0,
    least=0,
    metavar="INDEX",
)
@common.data_options
@click.pass_context
def plot(
    context: click.Context,
    run_or_model: Path | None,
    what: str,
    out: Path,
    image: int,
    folder: Path | None,
    dataset: str,
) -> None:
    """Draw a figure of a run, a model, or data.

    RUN_OR_MODEL is the folder of a run, or a model file. WHAT is one of:

    \b
    errors        error rates by epoch; of a run only
    filters       kernels of the first two convolutions
    features      outputs of every layer for a test image
    bitmaps       centres of the RBF outputs
    confusion     how often each digit was classified as each
    mistakes      test images that are misclassified
    table         which maps are connected to which
    distribution  number of images of each digit; needs no model
    samples       the first training images; needs no model

    Needs matplotlib, the extra "plot".
    """
    from lenet_fast import plots

    if what != "features" and "image" in common.given(context):
        raise click.UsageError(f"--image: expected with --what features, got --what {what}")
    if what in _DATA_ALONE and run_or_model is not None:
        raise click.UsageError(
            f"RUN_OR_MODEL: expected none with --what {what}, got {run_or_model}"
        )
    plots.check_out(out)  # first: loading the data and running the network may take a while
    if what in _DATA_ALONE:
        splits = _data(dataset, folder)
        picture = (
            plots.samples(splits.train) if what == "samples" else plots.class_distribution(splits)
        )
    elif run_or_model is None:
        raise click.UsageError(f"RUN_OR_MODEL: expected one for --what {what}, got none")
    elif what == "errors":
        picture = plots.errors(run_or_model)
    else:
        file, network, loss = common.read_model(run_or_model)
        common.line("model", file)
        if what == "filters":
            picture = plots.filters(network)
        elif what == "bitmaps":
            picture = plots.bitmaps(network)
        elif what == "table":
            picture = plots.connection_table(network)
        else:
            picture = _of_answers(what, network, loss, _data(dataset, folder).test, image)
    plots.save(picture, out)
    common.line("picture", out)


def _of_answers(what: str, network: Network, loss: Loss, test: Dataset, image: int) -> Any:
    from lenet_fast import plots

    if what == "features":
        if image >= len(test):
            raise click.UsageError(f"--image: expected 0 to {len(test) - 1}, got {image}")
        chosen = test.images[image : image + 1]
        turned = common.turned(network, test.images)
        return plots.features(network, common.fitted(network, chosen, turned=turned)[0])
    predicted = _predicted(network, loss, test)
    if what == "confusion":
        return plots.confusion(test.labels, predicted)
    return plots.mistakes(test.images, test.labels, predicted)


def _data(dataset: str, folder: Path | None) -> Splits:
    splits = common.load_data(dataset, folder)
    common.line("data", splits.source)
    return splits


def _predicted(network: Network, loss: Loss, test: Dataset) -> Array:
    import numpy as np

    from lenet_fast import engines

    runner = engines.create(network, loss)
    common.engine_lines(runner)
    predicted = np.empty(len(test), np.intp)
    turned = common.turned(network, test.images)
    for part, outputs in common.outputs(runner, network, test.images, turned=turned):
        predicted[part] = network.classify_outputs(outputs)
    runner.close()
    return predicted
