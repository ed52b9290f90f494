"""Exported programs in C beside the network that they come from: one digit at a time.

python -m benchmarks.export [--network lenet5|...] [--cc CC] [--calls N]

Each program is compiled as a shared library, and called through ctypes, which takes about a
microsecond; all are given bytes, and take turns. Their outputs are checked first: those in float
against the network's, those in integers against what :meth:`lenet_fast.export.Quantised.predict`
computes.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from lenet_fast import backends, data, export, models
from lenet_fast.bench import rounds
from lenet_fast.bench.rounds import Contender
from lenet_fast.network import Network

NETWORKS = ("lenet5", "lenet4", "lenet1", "lenet1989")
FLAGS = ("-O2", "-O3 -march=native", "-O3 -march=native -ffast-math")
OURS = "Network.predict"


def contenders(network: Network, cc: str, folder: Path) -> list[Contender]:
    """Return the network, and its programs in float and in integers with each of FLAGS."""
    sample = data.load("sample")
    size = network.input_shape[-1]
    image = data.fitted(sample.test.images[:1], size)[0]
    seen = data.fitted(sample.train.images[:1000], size)
    expected = network.predict(image)
    made = [Contender(OURS, partial(network.predict, image), partial(_check, OURS, expected))]
    for kind in ("float", "int8", "int16"):
        model: Any = network
        wanted = expected
        if kind != "float":
            model = export.quantise(network, seen, values=kind)
            wanted = model.predict(image[np.newaxis])[0] / model.unit
        done = export.to_c(model, folder / kind, name="net")
        for flags in FLAGS if kind == "float" else FLAGS[:2]:
            name = f"C, {kind}, {flags}"
            compiled, library = (folder / f"{len(made)}{end}" for end in (".o", ".so"))
            command = [cc, "-std=c99", *flags.split(), "-fPIC", "-c", done.files[0]]
            subprocess.run([*command, "-o", compiled], check=True)
            # Without the flags: by -ffast-math, a library makes denormals 0 in the whole thread.
            subprocess.run([cc, "-shared", compiled, "-lm", "-o", library], check=True)
            run = _caller(library, image, wanted.astype(np.float32 if kind == "float" else "i4"))
            made.append(Contender(name, run, partial(_check, name, wanted)))
    return made


def _caller(library: Path, image: np.ndarray, outputs: np.ndarray) -> Any:
    classify = ctypes.CDLL(str(library)).net_classify
    pixels = np.ascontiguousarray(image)
    given = ctypes.c_void_p(pixels.ctypes.data), *map(ctypes.c_int, pixels.shape)
    place = ctypes.c_void_p(outputs.ctypes.data)
    outputs[...] = 0

    def run() -> np.ndarray:
        classify(*given, place)
        return outputs

    run.image = pixels  # the pointers do not keep it
    return run


def _check(name: str, expected: np.ndarray, found: np.ndarray) -> None:
    rounds.compare(name, (found.astype(np.float64),), (expected.astype(np.float64),), "float32")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.export", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--network", choices=NETWORKS, default="lenet5", help="which (lenet5)")
    parser.add_argument("--cc", default="gcc", help="compiler (gcc)")
    parser.add_argument("--calls", type=positive, default=2000, help="of each (2000)")
    options = parser.parse_args(arguments)
    network = getattr(models, options.network)()
    with tempfile.TemporaryDirectory() as folder:
        made = contenders(network, options.cc, Path(folder))
        group = rounds.measure_calls(made, options.calls)
    for name, timing in group.timings.items():
        if timing.error is not None:
            raise SystemExit(f"{name}: {timing.error}")
    ours = median(group.timings[OURS].samples)
    module = backends.get(backends.current())
    kernels = f", {module.isa()} kernels" if hasattr(module, "isa") else ""
    print(f"{options.network}, one digit, one thread; {OURS} on {backends.current()}{kernels}")
    print("| | microseconds | times as long |")
    print("|---|---:|---:|")
    for name, timing in group.timings.items():
        took = median(timing.samples)
        print(f"| {name} | {1e6 * took:,.1f} | {took / ours:.1f} |")


if __name__ == "__main__":
    main()
