"""Build the package's sample of MNIST from the verified files.

    python -m lenet_fast.data.make_sample --data FOLDER [--out FOLDER]

Training: 500 images of each digit. Test: 50 of each digit from the first 5,000 test images and
50 from the last 5,000, which are harder. Images stay in the order of the files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_fast.data import idx, sources
from lenet_fast.data.datasets import MNIST

SEED = 1998
TRAIN_PER_DIGIT = 500
TEST_PER_DIGIT = 50
"""Test images of each digit from each half of the test set."""

NOTICE = sources.SAMPLE_FOLDER / "NOTICE.md"
"""The sample's authors and licence."""


def choose(labels: npt.NDArray[np.uint8], per_digit: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the indices, ascending, of as many images of each digit, chosen at random.

    The same seed makes the same choice with every version of NumPy, which guarantees the raw
    numbers of a bit generator, but not the methods of `Generator`.
    """
    lots = np.random.PCG64(seed).random_raw(len(labels))
    drawn = np.argsort(lots, kind="stable")
    chosen = [drawn[labels[drawn] == digit][:per_digit] for digit in range(10)]
    return np.sort(np.concatenate(chosen))


def make(splits: sources.Splits) -> tuple[npt.NDArray[Any], ...]:
    """Return the four arrays of the sample, in the order of MNIST's files."""
    train, test = splits.train, splits.test
    half = len(test) // 2
    for_training = choose(train.labels, TRAIN_PER_DIGIT, SEED)
    for_test = np.concatenate(
        [
            choose(test.labels[:half], TEST_PER_DIGIT, SEED),
            choose(test.labels[half:], TEST_PER_DIGIT, SEED + 1) + half,
        ]
    )
    return (
        train.images[for_training],
        train.labels[for_training],
        test.images[for_test],
        test.labels[for_test],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read MNIST, choose, and write the sample and its notice."""
    parser = argparse.ArgumentParser(
        prog="python -m lenet_fast.data.make_sample",
        description="Build the sample of MNIST that comes with the package.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's four files")
    parser.add_argument("--out", type=Path, default=sources.SAMPLE_FOLDER, help="folder to write")
    given = parser.parse_args(arguments)
    splits = sources.from_folder(given.data, MNIST)
    if splits.train.name != "mnist-train":
        parser.error(f"--data: expected the original MNIST, got {splits.source}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name, array in zip(MNIST.files, make(splits), strict=True):
        idx.write(given.out / f"{name}.gz", array)
    (given.out / NOTICE.name).write_bytes(NOTICE.read_bytes())


if __name__ == "__main__":
    main()
