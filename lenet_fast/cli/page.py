"""``lenet-fast page``: the page of a network as a file, which needs no server."""

from __future__ import annotations

from pathlib import Path

import click

from lenet_fast.cli import common, help

NAME = "index.html"
_DIGITS = 1000


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast page runs/lenet5 --out demo",
        "lenet-fast page runs/lenet5 --out demo --dataset sample --digits 200",
    ),
)
@click.argument("run_or_model", type=click.Path(path_type=Path))
@common.data_options
@common.onnx_options
@help.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help=f"Folder for the page, {NAME}.",
)
@common.integer_option(
    "--digits",
    f"Test images in the page, the first ones of the set.  [default: {_DIGITS}, or all]",
    least=1,
)
@help.option(
    "--overwrite",
    is_flag=True,
    help=f"Write also where another {NAME} or other files are. A page of lenet-fast is always "
    "replaced.",
)
def page(
    run_or_model: Path,
    folder: Path | None,
    dataset: str,
    out: Path,
    digits: int | None,
    overwrite: bool,
) -> None:
    """Write a page to draw digits on and to inspect a network, which needs no server.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. The page is one file, which
    opens from a disk, a USB stick or any web host. It holds the network, test images with their
    labels, and what the network reads in them. The browser computes; nothing is loaded from the
    internet.

    Everyone who gets the page gets the test images. The page names who made those of MNIST and
    other public sets, and their licence. The zip codes "usps" have none, so they are refused.
    """
    from lenet_fast import disk
    from lenet_fast.web import still
    from lenet_fast.web.snapshots import NetworkSnapshot

    out = common.full_path("--out", out)
    file = out / NAME
    if not overwrite:
        _check_ours(out, still.MARK)
    if dataset == "usps":
        raise click.UsageError(
            "--dataset: expected images that may be passed on, got usps, which come without a "
            "licence; mnist and sample may be"
        )
    model, network, _ = common.read_model(run_or_model)
    if network.input_shape[0] > 1:
        raise ValueError(
            f"{model}: expected a network for grey images, as the page draws grey digits, got one "
            f"for {network.input_shape[0]} channels"
        )
    splits = common.load_data(dataset, folder)
    network.classes = common.class_names(model, network, splits)
    test = splits.test
    if digits is not None and digits > len(test):
        raise click.UsageError(f"--digits: expected at most {len(test)}, got {digits}")
    count = min(len(test), _DIGITS) if digits is None else digits
    name = run_or_model.resolve().name  # not the whole path: the page may go anywhere
    html = still.page(NetworkSnapshot(network, 0, name), test, count)
    common.make_folder("--out", out)
    with common.writing_out():
        disk.write_atomic(file, html)
    common.line("model", model)
    common.line("data", splits.source, f"{count:,} test images")
    common.line("written", file, f"{len(html) / 1000:,.0f} kB")


def _check_ours(out: Path, mark: str) -> None:
    """Refuse a folder with other files than a page of ours."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        with open(out / NAME, encoding="utf-8", errors="replace") as opened:
            ours = mark in opened.read(10_000)
    except OSError:
        ours = False
    if not ours:
        raise click.UsageError(
            "--out: expected a new or an empty folder, or one with a page of lenet-fast, got "
            f"{out}; --overwrite writes there"
        )
