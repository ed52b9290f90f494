"""Bulk prediction: images per second of `lenet-fast predict --out`, beside reading alone.

    python -m benchmarks.bulk [--images 60000]

Digits of the bundled sample, repeated: an IDX file, plain and packed, and a folder of PNG files.
Reading alone is the same code without the network and without a table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.arguments import positive
from lenet_fast import data, engines, losses, models
from lenet_fast.cli import bulk
from lenet_fast.data import idx


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=positive, default=60_000)
    parser.add_argument("--pictures", type=positive, default=3_000)
    parser.add_argument("--rounds", type=positive, default=3)
    options = parser.parse_args(arguments)
    digits = data.load("sample").test.images
    network = models.lenet5(pooling="max", activation="relu", output="softmax")
    engine = engines.create(network, losses.CrossEntropy())
    print(f"{engine.name}, {engine.backend}, {engine.threads} threads")
    print(f"{'images of':<22}{'reading/s':>12}{'engine/s':>12}{'predict --out/s':>17}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        many = np.resize(digits, (options.images, 28, 28))
        idx.write(here / "digits", many)
        idx.write(here / "digits.gz", many)
        (here / "pictures").mkdir()
        for i in range(options.pictures):
            picture = Image.fromarray(255 - digits[i % len(digits)])
            picture.save(here / "pictures" / f"{i:06}.png")
        for name, count in (
            ("digits", options.images),
            ("digits.gz", options.images),
            ("pictures", options.pictures),
        ):

            def read(name: str = name) -> None:
                for _ in bulk.pieces([here / name], network, None, False, engine.threads):
                    pass

            def whole(name: str = name) -> None:
                bulk.predict(
                    *(here / "out.csv", [here / name], engine, network),
                    centre=None,
                    transpose=False,
                    values="probability",
                )

            def compute(count: int = count) -> None:
                for first in range(0, count, bulk.PIECE):
                    engine.predict(many[first : min(first + bulk.PIECE, count)])

            rates = [count / _best(function, options.rounds) for function in (read, compute, whole)]
            numbers = f"{rates[0]:>12,.0f}{rates[1]:>12,.0f}{rates[2]:>17,.0f}"
            print(f"{name:<22}{numbers}{rates[2] / rates[0]:>8.2f}", flush=True)


def _best(function: Callable[[], None], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
