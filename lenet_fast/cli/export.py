"""``lenet-fast export``: write a model for other programs and for hardware."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.data import Splits
    from lenet_fast.export import Quantised
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network

FORMATS = ("onnx", "c", "headers", "mem", "npz")
_WITH_A_DIGIT = ("headers", "mem", "npz")
_CALIBRATION = 1000
_MANY = 5  # files, which are not listed
_IMAGES = 10
_LARGEST = 1e-4
"""Largest difference that rounding can explain, relative to the largest output; usually it is below
1e-6."""


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast export runs/lenet5 lenet5.onnx",
        "lenet-fast export runs/lenet5 firmware --format c --quantise int8",
        "lenet-fast export runs/lenet5 bench --format mem --quantise int16 --image 7",
    ),
)
@click.argument("run_or_model", type=click.Path(path_type=Path))
@click.argument("out", required=False, type=click.Path(path_type=Path))
@help.option(
    "--format", "format_", type=click.Choice(FORMATS), default="onnx", help="What to write."
)
@help.option(
    "--quantise",
    also=("--quantize",),
    type=click.Choice(("int8", "int16")),
    help="Integers in place of floats: weights of 8 bits, values between layers of 8 or 16.",
)
@help.option("--name", default="lenet", help="Of the files, and of the functions in C.")
@common.integer_option(
    "--image",
    "Which test image the activations are of, counted from 0.",
    0,
    least=0,
    metavar="INDEX",
)
@help.option("--overwrite", is_flag=True, help="Replace files that exist; always done for ONNX.")
@common.data_options
@common.onnx_options
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.pass_context
def export(
    context: click.Context,
    run_or_model: Path,
    out: Path | None,
    format_: str,
    quantise: Any,
    name: str,
    image: int,
    overwrite: bool,
    folder: Path | None,
    dataset: str,
    as_json: bool,
) -> None:
    """Write a model for other programs, microcontrollers or FPGAs.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. The formats are:

    \b
    onnx     OUT is a file, OUT.onnx, for programs that run ONNX
    c        a program in C99, NAME.c and NAME.h in the folder OUT
    headers  weights, and what each layer makes of a digit, as arrays of C
    mem      the same for Verilog's $readmemh, a file per array
    npz      the same for NumPy; OUT is a file, OUT.npz

    By default OUT is NAME, or NAME.npz; onnx has no default. An ONNX file is checked before it is
    written: by onnx's checker, and by its outputs for some digits, which must agree with ours. It
    reads floats (n, channels, rows, columns) in the range that the command prints, and does not end
    in a softmax.

    With --quantise, the first 1,000 training images show how large the values become, and the
    errors on the test images are counted before and after.

    ONNX needs onnx, the extra "onnx".
    """
    _check_options(format_, quantise, common.given(context))
    if format_ == "onnx":
        out = _onnx_file(out)
        file, network, _ = _read(run_or_model, out)
        report = _export_onnx(file, network, out, quiet=as_json)
    else:
        out = out or Path(f"{name}.npz" if format_ == "npz" else name)
        file, network, _ = _read(run_or_model, out)
        work = _Work(file, network, format_, quantise, dataset, folder, image)
        report = work.export(out, name, overwrite, quiet=as_json)
    if as_json:
        common.print_json({"model": os.fspath(file), "format": format_} | report)


def _read(run_or_model: Path, out: Path) -> tuple[Path, Network, Loss]:
    """Read a model, unless it would be replaced by what is to be written."""
    found = common.read_model(run_or_model)
    if out.exists() and out.samefile(found[0]):
        raise click.UsageError(f"OUT: expected another file than the model, got {out}")
    return found


def _check_options(format_: str, quantise: str | None, given: set[str]) -> None:
    with_data = format_ in _WITH_A_DIGIT or quantise is not None
    for option, shown, allowed, where in (
        ("quantise", "--quantise", format_ != "onnx", "--format c, headers, mem or npz"),
        ("name", "--name", format_ not in ("onnx", "npz"), "--format c, headers or mem"),
        ("image", "--image", format_ in _WITH_A_DIGIT, "--format headers, mem or npz"),
        ("folder", "--data", with_data, "--quantise, or with --format headers, mem or npz"),
        ("dataset", "--dataset", with_data, "--quantise, or with --format headers, mem or npz"),
    ):
        if option in given and not allowed:
            raise click.UsageError(f"{shown}: expected with {where}, got --format {format_}")


class _Work:
    """A model, and the data that its export needs."""

    def __init__(
        self,
        file: Path,
        network: Network,
        format_: str,
        quantise: Any,
        dataset: str,
        folder: Path | None,
        image: int,
    ) -> None:
        self._file, self._network = file, network
        self._format, self._quantise, self._image = format_, quantise, image
        self._splits: Splits | None = None
        if quantise or format_ in _WITH_A_DIGIT:
            self._splits = common.load_data(dataset, folder)
            common.check_images(file, network, self._splits)
            if image >= len(self._splits.test):
                most = len(self._splits.test) - 1
                raise click.UsageError(f"--image: expected 0 to {most}, got {image}")
            self._turned = common.turned(network, self._splits.test.images)

    def _fitted(self, images: Array) -> Array:
        return common.fitted(self._network, images, turned=self._turned)

    def export(self, out: Path, name: str, overwrite: bool, quiet: bool) -> dict[str, Any]:
        """Write the files; return, and unless `quiet` print, what was done."""
        from lenet_fast import export

        report: dict[str, Any] = {"quantise": self._quantise}
        model: Network | Quantised = self._network
        if self._quantise and self._splits:
            images = self._fitted(self._splits.train.images[:_CALIBRATION])
            model = export.quantise(self._network, images, values=self._quantise)
        options: dict[str, Any] = {"overwrite": overwrite}
        if self._format != "npz":
            options["name"] = name
        with common.writing_out():
            if self._format == "c":
                done = export.to_c(model, out, **options)
            elif self._splits:
                test = self._splits.test
                digit = self._fitted(test.images[self._image : self._image + 1])[0]
                write = {"headers": export.to_headers, "mem": export.to_mem, "npz": export.to_npz}
                done = write[self._format](model, out, digit, **options)
                label = test.classes[test.labels[self._image]]
                report |= {"image": self._image, "label": label}
        files = [os.fspath(path) for path in done.files]
        report |= {"files": files, "flash": done.flash, "ram": done.ram}
        if self._splits:
            report["data"] = self._splits.source
        if isinstance(model, export.Quantised):
            report |= self._errors(model)
        if not quiet:
            self._print(report, name)
        return report

    def _errors(self, model: Quantised) -> dict[str, int]:
        """Count the errors on the test images, in float and in integers."""
        assert self._splits is not None
        images, labels = self._fitted(self._splits.test.images), self._splits.test.labels
        answers = [self._network.classify(images), model.classify(images)]
        wrong = [int((answer != labels).sum()) for answer in answers]
        otherwise = int((answers[0] != answers[1]).sum())
        return {
            "images": len(labels),
            "errors_float": wrong[0],
            "errors_integers": wrong[1],
            "answered_otherwise": otherwise,
        }

    def _print(self, report: dict[str, Any], name: str) -> None:
        common.line("model", self._file)
        if "data" in report:
            common.line("data", report["data"])
        if self._quantise:
            digits = self._quantise.removeprefix("int")
            common.line("integers", f"weights of 8 bits, values of {digits}")
            count = report["images"]
            for label, key in (("before", "errors_float"), ("after", "errors_integers")):
                share = f"{100 * (1 - report[key] / count):.2f} %"
                common.line(label, f"{report[key]:,} errors of {count:,} test images", share)
            common.line("", f"{report['answered_otherwise']:,} images are answered otherwise")
        if "label" in report:
            common.line("image", f"test image {report['image']}", f"labelled {report['label']}")
        common.line("flash", f"{report['flash']:,} bytes of weights and tables")
        common.line("RAM", f"{report['ram']:,} bytes of buffers")
        files = report["files"]
        for path in files if len(files) < _MANY else files[-1:]:
            common.line("written", path, f"{os.path.getsize(path):,} bytes")
        if len(files) >= _MANY:
            common.line("", f"and {len(files) - 1} files .mem, which it lists")
        if self._format == "c":
            source = files[0]
            program = os.path.splitext(source)[0]
            libraries = [] if self._quantise else ["-lm"]
            words = ["cc", "-std=c99", "-O2", f"-D{name.upper()}_MAIN", source, *libraries]
            common.command("compile", cures.shell([*words, "-o", program]))


def _export_onnx(file: Path, network: Network, out: Path, quiet: bool) -> dict[str, Any]:
    """Write an ONNX file; return, and unless `quiet` print, what was done."""
    from lenet_fast import disk, onnx

    def line(label: str, *parts: object) -> None:
        if not quiet:
            common.line(label, *parts)

    line("model", file)
    background, foreground = network.pixel_range
    size = " x ".join(map(str, network.input_shape))
    values = f"{background} background to {foreground} foreground"
    line("input", f"images, n x {size}", network.dtype, values)
    if network.reduced:
        line("", "digits of 16 x 16 in the middle, as by lenet_fast.data.as_1990")
    line("output", f"outputs, n x {network.output_shape[0]}", network.output)
    model = onnx.to_bytes(network)
    line("checked", f"by onnx's checker, opset {onnx.OPSET}")
    found = onnx.compare(model, network, _images(network))
    difference = f"{found.largest:.1e}, {found.relative:.1e} of the largest output"
    if not found.relative <= _LARGEST:
        raise ArithmeticError(
            f"{out}: expected outputs that differ from ours by rounding only, but those of "
            f"{found.runtime} differ by up to {difference}; nothing is written"
        )
    which = f"{_IMAGES} images of the sample" if network.input_shape[0] == 1 else "random images"
    line("compared", f"with {found.runtime}", which)
    line("", f"largest difference {difference}")
    disk.write_atomic(out, model)
    line("written", out, f"{len(model):,} bytes")
    return {
        "files": [os.fspath(out)],
        "opset": onnx.OPSET,
        "runtime": found.runtime,
        "difference": found.largest,
    }


def _onnx_file(out: Path | None) -> Path:
    if out is None or out.suffix.lower() != ".onnx":
        got = "none" if out is None else out
        raise click.UsageError(f"OUT: expected a name that ends in .onnx, got {got}")
    if not out.parent.is_dir():
        raise click.UsageError(f"OUT: expected an existing folder, but there is no {out.parent}")
    return out


def _images(network: Network) -> Array:
    """Return the first test images of the sample, prepared for the network; random ones for one of
    several channels."""
    import numpy as np

    from lenet_fast import data

    channels, _, size = network.input_shape
    if channels == 1:
        images = common.fitted(network, data.load("sample").test.images[:_IMAGES])
    else:
        shape = _IMAGES * channels, size, size
        images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    background, foreground = network.pixel_range
    prepared = data.prepare(
        images, size=size, dtype=network.dtype, background=background, ink=foreground
    )
    return prepared.reshape(_IMAGES, *network.input_shape)
