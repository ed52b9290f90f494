"""``lenet-fast export``: write a model as an ONNX file, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.network import Network

_IMAGES = 10
_LARGEST = 1e-4
"""Largest difference that rounding can explain, relative to the largest output; usually it is below
1e-6."""


@click.command(cls=help.Command, epilog=help.example("lenet-fast export runs/lenet5 lenet5.onnx"))
@click.argument("run_or_model", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.onnx", type=click.Path(path_type=Path))
def export(run_or_model: Path, out: Path) -> None:
    """Write a model as an ONNX file, which other programs can run.

    RUN_OR_MODEL is the folder of a run, or a model file. An existing OUT.onnx is replaced. Before
    it is written, onnx's checker must accept it, and its outputs for some images of the bundled
    sample must agree with ours.

    The exported network reads floats (n, 1, rows, columns) in the range that the command prints.
    It does not end in a softmax.

    Needs onnx, the extra "onnx". onnxruntime, if installed, runs the comparison.
    """
    from lenet_fast import disk, onnx

    _check_out(out)
    file, network, _ = common.read_model(run_or_model)
    common.line("model", file)
    background, foreground = network.pixel_range
    size = " x ".join(map(str, network.input_shape))
    values = f"{background} background to {foreground} foreground"
    common.line("input", f"images, n x {size}", network.dtype, values)
    if network.reduced:
        common.line("", "digits of 16 x 16 in the middle, as by lenet_fast.data.as_1990")
    common.line("output", f"outputs, n x {network.output_shape[0]}", network.output)
    model = onnx.to_bytes(network)
    common.line("checked", f"by onnx's checker, opset {onnx.OPSET}")
    found = onnx.compare(model, network, _images(network))
    difference = f"{found.largest:.1e}, {found.relative:.1e} of the largest output"
    if not found.relative <= _LARGEST:
        raise ArithmeticError(
            f"{out}: expected outputs that differ from ours by rounding only, but those of "
            f"{found.runtime} differ by up to {difference}; nothing is written"
        )
    common.line("compared", f"with {found.runtime}", f"{_IMAGES} images of the sample")
    common.line("", f"largest difference {difference}")
    disk.write_atomic(out, model)
    common.line("written", out, f"{len(model):,} bytes")


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"out: expected a name that ends in .onnx, got {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"out: expected an existing folder, but there is no {out.parent}")


def _images(network: Network) -> Array:
    """Return the first test images of the sample, prepared for the network."""
    from lenet_fast import data

    size = network.input_shape[-1]
    images = common.fitted(network, data.load("sample").test.images[:_IMAGES])
    background, foreground = network.pixel_range
    return data.prepare(
        images, size=size, dtype=network.dtype, background=background, ink=foreground
    )
