"""``lenet-fast info``: what is available, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, help

if TYPE_CHECKING:
    from lenet_fast.network import Network
    from lenet_fast.onnx import LoadedModel


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast info", "LENET_FAST_ISA=avx2 lenet-fast info", "lenet-fast info runs/lenet5"
    ),
)
@click.argument("run_or_model", type=click.Path(path_type=Path), required=False)
@common.onnx_options
@help.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def info(run_or_model: Path | None, as_json: bool) -> None:
    """Show versions, backends, instruction sets, threads and data; or a network.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX: its layers with their output,
    units, parameters and connections, as the papers count them.
    """
    if run_or_model is not None:
        _show_network(run_or_model, as_json)
        return
    facts = _facts()
    if as_json:
        common.print_json(facts)
        return
    common.line("version", f"lenet_fast {facts['version']}", facts["folder"])
    common.line("python", f"Python {facts['python']}", f"NumPy {facts['numpy']}", facts["system"])
    common.line("threads", f"{facts['threads']} by default")
    click.echo()
    for name, state in facts["backends"].items():
        marker = "*" if name == facts["backend"] else " "
        reason, *cure = (("" if state["usable"] else "missing: ") + state["detail"]).split("; ")
        common.line(f"{marker} {name}", reason)
        for text in cure:
            common.line("", text)
    hint = "  * is the default; --backend or LENET_FAST_BACKEND selects another"
    click.echo(common.wrapped(hint, indent=4) + "\n")
    sets = facts["instruction_sets"]
    if sets:
        built = ", ".join(
            name if name in sets["usable"] else f"{name} (not for this CPU)"
            for name in sets["built"]
        )
        common.line("kernels", f"built: {built}")
        common.line("", f"in use: {sets['used']}; LENET_FAST_ISA selects another")
        click.echo()
    common.line("MNIST", facts["mnist"])


def _show_network(run_or_model: Path, as_json: bool) -> None:
    from lenet_fast import counts

    if run_or_model.is_file() and (model := common.read_onnx(run_or_model)) is not None:
        file, network, loss = run_or_model, model.network, None  # of any size
        of_onnx = _of_onnx(model)
    else:
        file, network, loss = common.read_model(run_or_model)
        of_onnx = {}
    note = counts.note_on_speed(network)
    if as_json:
        facts = network.config() | {"loss": loss.config() if loss else None}
        facts |= {"counts": network.counts()._asdict(), "file": os.fspath(file), "note": note}
        common.print_json(facts | of_onnx)
        return
    common.line("file", os.fspath(file))
    for label, text in of_onnx.items():
        common.line(label, text)
    if loss is not None:
        common.line("loss", repr(loss))
    if network.reduced:
        common.line("digits", "reduced to 16x16, as by lenet_fast.data.as_1990")
    summary = network.summary()
    click.echo()
    if len(summary.partition("\n")[0]) <= common.columns_of_terminal():
        click.echo(summary)
    else:
        common.table(_layers(network))
    if note is not None:
        click.echo(f"\n{common.wrapped(f'{note}.')}")


def _of_onnx(model: LoadedModel) -> dict[str, str]:
    """Return what an ONNX file says besides its layers."""
    network, comparison = model.network, model.comparison
    size = " x ".join(map(str, network.input_shape))
    facts = {
        "format": f"ONNX, opset {model.opset}, by {model.producer or 'an unnamed program'}",
        "input": f"{model.input}, n x {size}, {network.dtype}",
        "output": f"{model.output}, n x {network.output_shape[0]}, {network.output}",
    }
    if network.pixel_range_known:
        facts["pixels"] = "{:g} background to {:g} foreground".format(*network.pixel_range)
    else:
        facts["pixels"] = "the file does not say what the bytes 0 and 255 are"
    if comparison is not None:
        difference = f"largest difference {comparison.largest:.1e}"
        facts["checked"] = f"by {comparison.runtime}, random images, {difference}"
    return facts


def _layers(network: Network) -> list[dict[str, str]]:
    """Return what the summary of a network has, layer by layer."""
    rows = []
    shapes = zip(network.layers, network.shapes[:-1], network.shapes[1:], strict=True)
    for layer, before, after in shapes:
        counts = (layer.units(before), layer.parameter_count(), layer.connections(before))
        names = ("units", "parameters", "connections")
        row = {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "output": " x ".join(map(str, after)),
        }
        rows.append(
            row | {name: f"{n:,}" if n else "" for name, n in zip(names, counts, strict=True)}
        )
    totals = network.counts()._asdict()
    rows.append({"layer": "total", **{name: f"{count:,}" for name, count in totals.items()}})
    return rows


def _facts() -> dict[str, Any]:
    import numpy as np

    import lenet_fast
    from lenet_fast import backends, threads

    states = backends.available()
    return {
        "version": lenet_fast.__version__,
        "folder": os.fspath(Path(lenet_fast.__file__).parent),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads.default_threads(),
        "backend": backends.current(),
        "backends": {name: state._asdict() for name, state in states.items()},
        "instruction_sets": _instruction_sets() if states["cython"].usable else None,
        "mnist": _mnist(),
    }


def _instruction_sets() -> dict[str, Any]:
    from lenet_fast.backends import cython_backend

    return {
        "used": cython_backend.isa(),
        "built": cython_backend.built(),
        "usable": cython_backend.instruction_sets(),
    }


def _mnist() -> str:
    """Return where MNIST is, judging by file names only."""
    from lenet_fast.data import fetch
    from lenet_fast.data.datasets import MNIST
    from lenet_fast.data.sources import DATA_VARIABLE

    named = os.environ.get(DATA_VARIABLE)
    if named:
        return f"in the folder of {DATA_VARIABLE}, {named}"
    try:
        folder = fetch.cache_folder() / MNIST.name
    except FileNotFoundError as error:
        return f"no cache: {error}"
    if all(os.path.exists(folder / name) for name in MNIST.files):
        return f"in the cache, {folder}"
    return f"not in the cache, {folder}; download it with: {cures.command('data')}"
