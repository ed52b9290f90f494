"""ONNX files in lenet_fast beside onnxruntime: one image, and a thousand, on one thread.

python -m benchmarks.onnx_files [FILE ...] [--calls N]

Without files: LeNets that PyTorch exports, with random weights. Each file is loaded as
:func:`lenet_fast.onnx.load` does. Both are given prepared floats, take turns, and must agree first.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from lenet_fast import engines, losses, onnx, threads
from lenet_fast.bench import rounds
from lenet_fast.bench.rounds import Contender

BATCHES = (1, 1000)
OURS, THEIRS = "lenet_fast", "onnxruntime"


def examples(folder: Path) -> list[Path]:
    """Return files of PyTorch's older exporter, which needs PyTorch alone."""
    import torch

    nn = torch.nn
    paths = []
    for name, size, activation, pool, maps in (
        ("LeNet-5, tanh, average pooling", 32, nn.Tanh, nn.AvgPool2d, (6, 16)),
        ("LeNet-5, ReLU, max pooling", 32, nn.ReLU, nn.MaxPool2d, (6, 16)),
        ("20 and 50 maps, 500 units", 28, nn.ReLU, nn.MaxPool2d, (20, 50)),
    ):
        first, second = maps
        flat = second * ((size - 12) // 4) ** 2
        wide = (120, 84) if first == 6 else (500,)
        module = nn.Sequential(
            *(nn.Conv2d(1, first, 5), nn.BatchNorm2d(first), activation(), pool(2)),
            *(nn.Conv2d(first, second, 5), activation(), pool(2), nn.Flatten()),
        )
        for n_in, n_out in zip((flat, *wide), (*wide, 10), strict=True):
            module.extend([nn.Linear(n_in, n_out), activation()])
        paths.append(folder / f"{name}.onnx")
        axes = {"x": {0: "n"}}
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module[:-1].eval(),
                (torch.rand(1, 1, size, size),),
                paths[-1],
                dynamo=False,
                input_names=["x"],
                dynamic_axes=axes,
            )
    return paths


def measure(path: Path, batch: int, calls: int) -> dict[str, float]:
    """Return the median seconds of a call; WrongAnswerError if the outputs differ."""
    import onnxruntime

    found = onnx.read_model(path)
    x = np.random.default_rng(0).random((batch, *found.network.input_shape), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    theirs: Any = partial(session.run, [found.output], {found.input: x})
    expected = theirs()[0]

    def check(outputs: Any) -> None:
        rounds.compare(OURS, (np.reshape(outputs, expected.shape),), (expected,), "float32")

    ours = found.network.predict  # on one thread for one image
    if batch > 1:
        loss = losses.default_for(found.network)
        ours = engines.create(found.network, loss, batch_size=batch, threads=1).predict
    group = rounds.measure_calls(
        [
            Contender(OURS, partial(ours, x), check),
            Contender(THEIRS, theirs, lambda outputs: check(outputs[0])),
        ],
        calls,
    )
    for timing in group.timings.values():
        if timing.error is not None:
            raise timing.error
    return {name: median(timing.samples) for name, timing in group.timings.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_files", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path)
    parser.add_argument(
        "--calls", type=positive, default=1000, help="of each, with one image (1000)"
    )
    options = parser.parse_args(arguments)
    print(f"{'microseconds per call':34}{'images':>8}{OURS:>12}{THEIRS:>13}{'times':>7}")
    with tempfile.TemporaryDirectory() as folder, threads.alone_with_blas():
        for path in options.files or examples(Path(folder)):
            for batch in BATCHES:
                found = measure(path, batch, max(options.calls // batch, 20))
                ours, theirs = (1e6 * found[name] for name in (OURS, THEIRS))
                print(f"{path.stem:34}{batch:8,}{ours:12,.1f}{theirs:13,.1f}{theirs / ours:7.2f}")


if __name__ == "__main__":
    main()
