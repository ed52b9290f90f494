"""``lenet-fast plot``: figures of runs, a model, or data."""

from __future__ import annotations

import functools
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
_DIGITS = ("features", "saliency", "occlusion")
PICTURES = (
    *("errors", "architecture", "filters", "weights", "features", "saliency", "occlusion"),
    *("bitmaps", "confusion", "mistakes", "embedding", "table"),
    *_DATA_ALONE,
)
WHAT = (*PICTURES, "all")
_COUNTS = {
    "mistakes": (98, 980),
    "samples": (70, 980),
    "saliency": (6, 10),
    "occlusion": (6, 10),
    "embedding": (1000, 10_000),
}
"""How many digits by default, and at most: more take minutes, or are too small to see."""


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast plot runs/lenet5 --what errors",
        "lenet-fast plot runs/a runs/b --what errors --log --out both.pdf",
        "lenet-fast plot runs/lenet5 --what features --image 7 --out seven.pdf",
        "lenet-fast plot runs/lenet5 --what mistakes --count 28",
        "lenet-fast plot runs/lenet5 --what all --out pictures",
        "lenet-fast plot --what samples --out samples.svg",
    ),
)
@click.argument("run_or_model", nargs=-1, type=click.Path(path_type=Path))
@help.option(
    "--what", type=click.Choice(WHAT), metavar="WHAT", required=True, help="One of these words."
)
@help.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File to write: .png, .svg or .pdf. An existing file is replaced. With --what all, a "
    "folder.  [default: WHAT.png; for all, plots]",
)
@common.integer_option(
    "--dpi", "Pixels per inch of a .png; a figure is 8 inches wide.", 150, least=10, most=2400
)
@common.integer_option(
    "--image",
    "Which test image to show, counted from 0; the first of them for saliency and occlusion.",
    0,
    least=0,
    metavar="INDEX",
)
@common.integer_option(
    "--count",
    "How many digits to show.  [default: mistakes 98, samples 70, saliency and occlusion 6, "
    "embedding 1,000; at most 980, 980, 10 and 10,000]",
)
@help.option("--log", is_flag=True, help="Error rates on a logarithmic axis; with --what errors.")
@common.data_options
@common.onnx_options
@click.pass_context
def plot(
    context: click.Context,
    run_or_model: tuple[Path, ...],
    what: str,
    out: Path | None,
    dpi: int,
    image: int,
    count: int | None,
    log: bool,
    folder: Path | None,
    dataset: str,
) -> None:
    """Draw a figure of a run, a model, or data.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. WHAT is one of:

    \b
    errors        error rates by epoch; of one run or several
    architecture  the layers and what connects them
    filters       kernels of the first two convolutions
    weights       distribution of the weights, by layer
    features      outputs of every layer for a test image
    saliency      which pixels speak for the answer, by the gradient
    occlusion     which parts the answer needs, by covering them
    bitmaps       centres of the RBF outputs
    confusion     how often each class was classified as each
    mistakes      test images that are misclassified, worst first
    embedding     the last layer's inputs for test images, in two dimensions
    table         which maps are connected to which
    distribution  number of images of each class; needs no model
    samples       the first training images; needs no model
    all           each of these that there is

    Needs matplotlib, the extra "plot".
    """
    from lenet_fast import plots

    _check_options(what, common.given(context))
    if count is not None and count > _COUNTS[what][1]:
        raise click.UsageError(
            f"--count: expected 1 to {_COUNTS[what][1]} with --what {what}, got {count}"
        )
    if what in _DATA_ALONE and run_or_model:
        raise click.UsageError(
            f"RUN_OR_MODEL: expected none with --what {what}, got {run_or_model[0]}"
        )
    if len(run_or_model) > 1 and what != "errors":
        raise click.UsageError(
            f"RUN_OR_MODEL: expected one with --what {what}, got {len(run_or_model)}; only "
            "errors takes several"
        )
    if not run_or_model and what not in (*_DATA_ALONE, "all"):
        raise click.UsageError(f"RUN_OR_MODEL: expected one for --what {what}, got none")
    source = _Source(run_or_model, dataset, folder)
    if what == "all":
        _draw_all(source, out or Path("plots"), dpi)
        return
    out = out or Path(f"{what}.png")
    common.prepare_plots()
    with common.writing_out():
        plots.check_out(out)  # first: loading the data and running the network may take a while
    plots.save(source.draw(what, image, count, log), out, dpi=dpi)
    common.line("picture", out)


def _check_options(what: str, given: set[str]) -> None:
    for option, allowed in (("image", _DIGITS), ("count", tuple(_COUNTS)), ("log", ("errors",))):
        if option in given and what not in allowed:
            names = ", ".join(allowed)
            raise click.UsageError(f"--{option}: expected with --what {names}, got --what {what}")


def _draw_all(source: _Source, folder: Path, dpi: int) -> None:
    """Draw into a folder whatever there is of a run, a model, or data."""
    from lenet_fast import plots

    with common.writing_out():
        common.make_folder("--out", folder)
    left_out = []
    for what in PICTURES if source.paths else _DATA_ALONE:
        if (reason := source.lacks(what)) is not None:
            left_out.append(f"left out  {what}: {reason}")
            continue
        out = folder / f"{what}.png"
        picture = source.draw(what)
        with common.writing_out():
            plots.save(picture, out, dpi=dpi)
        common.line("picture", out)
    for words in left_out:
        click.echo(words)


class _Source:
    """What there is to draw: runs or a model, and data, each loaded when first needed."""

    def __init__(self, paths: tuple[Path, ...], dataset: str, folder: Path | None) -> None:
        self.paths = paths
        self._dataset, self._folder = dataset, folder

    @functools.cached_property
    def splits(self) -> Splits:
        splits = common.load_data(self._dataset, self._folder)
        common.line("data", splits.source)
        return splits

    @property
    def test(self) -> Dataset:
        return self.splits.test

    @functools.cached_property
    def model(self) -> tuple[Network, Loss]:
        file, network, loss = common.read_model(self.paths[0])
        common.line("model", file)
        return network, loss

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the data's classes; raises if the network has others."""
        return common.class_names(self.paths[0], self.model[0], self.splits)

    @functools.cached_property
    def turned(self) -> bool:
        return common.turned(self.model[0], self.test.images)

    @functools.cached_property
    def outputs(self) -> Array:
        """The network's outputs for all test images."""
        import numpy as np

        from lenet_fast import engines

        network, loss = self.model
        runner = engines.create(network, loss)
        common.engine_lines(runner)
        images = self.test.images
        parts = [y for _, y in common.outputs(runner, network, images, turned=self.turned)]
        runner.close()
        return np.concatenate(parts)

    def lacks(self, what: str) -> str | None:
        """Return why there is no such picture, or None if there is."""
        if what in _DATA_ALONE:
            return None
        if what == "errors":
            return None if self.paths[0].is_dir() else "a model file has no history"
        network, _ = self.model
        if what in _DIGITS and network.input_shape[0] > 1:
            return "the network reads images of several channels"
        if what == "bitmaps" and network.output != "rbf":
            return "the network has no RBF outputs"
        if what == "table" and all(getattr(each, "table", None) is None for each in network.layers):
            return "no layer has a connection table"
        if what == "filters" and all(not hasattr(each, "c_out") for each in network.layers):
            return "the network has no convolution"
        return None

    def draw(self, what: str, image: int = 0, count: int | None = None, log: bool = False) -> Any:
        """Return a picture."""
        from lenet_fast import plots

        count = count or _COUNTS.get(what, (1,))[0]
        if what == "errors":
            return plots.errors(list(self.paths) if len(self.paths) > 1 else self.paths[0], log=log)
        if what == "samples":
            return plots.samples(self.splits.train, count)
        if what == "distribution":
            return plots.class_distribution(self.splits)
        network, _ = self.model
        of_model = {
            "architecture": plots.architecture,
            "filters": plots.filters,
            "bitmaps": plots.bitmaps,
            "table": plots.connection_table,
            "weights": plots.weights,
        }
        if what in of_model:
            return of_model[what](network)
        if what in _DIGITS:
            return self._draw_digits(what, image, count)
        if what == "embedding":
            network.classes = self.classes
            images = common.fitted(network, self.test.images[:count], turned=self.turned)
            return plots.embedding(network, images, self.test.labels[:count])
        predicted = network.classify_outputs(self.outputs)
        if what == "confusion":
            return plots.confusion(self.test.labels, predicted, self.classes)
        images, labels = self.test.images, self.test.labels
        return plots.mistakes(
            images, labels, predicted, outputs=self.outputs, classes=self.classes, limit=count
        )

    def _draw_digits(self, what: str, image: int, count: int) -> Any:
        from lenet_fast import plots

        if image >= len(self.test):
            raise click.UsageError(f"--image: expected 0 to {len(self.test) - 1}, got {image}")
        network, _ = self.model
        if (reason := self.lacks(what)) is not None:
            raise click.UsageError(f"--what {what}: {reason}")
        chosen = slice(image, image + count)
        images = common.fitted(network, self.test.images[chosen], turned=self.turned)
        labels = self.test.labels[chosen]
        network.classes = self.classes
        if what == "features":
            return plots.features(network, images[0], labels[0])
        return (plots.saliency if what == "saliency" else plots.occlusion)(network, images, labels)
