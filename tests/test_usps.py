"""The zip codes of 1989: their two text formats, and a reader that trusts no file."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import missing

from lenet_fast import data
from lenet_fast.cli import group
from lenet_fast.data import usps
from lenet_fast.errors import FileFormatError

RNG = np.random.default_rng(0)
NUMBERS = RNG.integers(-1000, 1001, (4, 256)) / 1000
LABELS = [6, 0, 9, 3]
IMAGES = np.rint((NUMBERS + 1) * 127.5).astype(np.uint8).reshape(4, 16, 16)

BOOK = "".join(
    f"{label:.4f} " + " ".join(f"{x:.4f}" for x in row) + " \n"
    for label, row in zip(LABELS, NUMBERS, strict=True)
).encode()
LIBSVM = "".join(
    f"{label + 1} " + " ".join(f"{i}:{x:.6g}" for i, x in enumerate(row, 1) if x) + "\n"
    for label, row in zip(LABELS, NUMBERS, strict=True)
).encode()

REAL = Path(os.environ.get("LENET_FAST_DATA", "")).parent / "usps"


@pytest.mark.parametrize("text", [BOOK, LIBSVM], ids=["book", "libsvm"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_both_formats(tmp_path: Path, text: bytes, pack: object) -> None:
    path = tmp_path / "digits"
    path.write_bytes(pack(text))
    images, labels = usps.read(path)
    np.testing.assert_array_equal(images, IMAGES)
    assert (labels.tolist(), images.dtype, labels.dtype) == (LABELS, np.uint8, np.uint8)


def test_bytes_are_the_numbers_on_the_networks_scale() -> None:
    images, _ = usps.loads(BOOK, "x")
    np.testing.assert_allclose(images.reshape(4, 256) / 127.5 - 1, NUMBERS, atol=1 / 255)


def test_pixels_that_libsvm_leaves_out_are_0() -> None:
    images, labels = usps.loads(b"10 1:-1 256:1\n", "x")
    assert (images[0, 0, 0], images[0, 15, 15], set(images.flat), labels[0]) == (
        *(0, 255),
        {0, 128, 255},
        9,
    )


def line(*pixels: object, label: object = 1) -> bytes:
    return " ".join(map(str, (label, *pixels, *[-1] * (256 - len(pixels))))).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x: expected at least one digit, got an empty file"),
        (line()[:-3], "x, line 1: expected a class and 256 pixels, got 256 numbers"),
        (line() + b"\n\n" + line(), "x, line 2: expected a class and 256 pixels, got 0 numbers"),
        (line() + b" 1", "x, line 1: expected a class and 256 pixels, got 258 numbers"),
        (line(label=10), "x, line 1: class: expected an integer from 0 to 9, got '10'"),
        (line(label=1.5), "x, line 1: class: expected an integer from 0 to 9, got '1.5'"),
        (line(label="nan"), "x, line 1: class: expected an integer from 0 to 9, got 'nan'"),
        (line(label="one"), "x, line 1: could not convert string to float: 'one'"),
        (line("junk"), "x, line 1: could not convert string to float"),
        (line(1.001), "x, line 1: pixels: expected -1 to 1, got another number"),
        (line("nan"), "x, line 1: pixels: expected -1 to 1, got another number"),
        (line("-inf"), "x, line 1: pixels: expected -1 to 1, got another number"),
        (line() + b"\n" + line(255), "x, line 2: pixels: expected -1 to 1"),
        (b"\x00\x01\xff", "x: expected lines of numbers, got the byte ff"),
        (b"0 1:1", "x, line 1: class: expected an integer from 1 to 10, got '0'"),
        (b"1 257:1", "x, line 1: expected pixel numbers from 1 to 256 in order, got 257"),
        (b"1 0:1", "x, line 1: expected pixel numbers from 1 to 256 in order, got 0"),
        (b"1 2:1 2:1", "x, line 1: expected pixel numbers from 1 to 256 in order, got 2"),
        (b"1 2:1 3", "x, line 1: could not convert string to float: ''"),
        (b"1 2:1\n\n", "x, line 2: class: expected an integer from 1 to 10, got ''"),
        (gzip.compress(BOOK, mtime=0)[:-50], "x: damaged compressed data"),
        (gzip.compress(BOOK, mtime=0)[:60] + b"\0" * 40, "x: damaged compressed data"),
        (bz2.compress(BOOK)[:-50], "x: damaged compressed data"),
        (b"BZh9junk", "x: damaged compressed data"),
    ],
)
def test_what_is_no_digits_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        usps.loads(content, "x")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_a_bomb_is_not_unpacked(pack: object) -> None:
    with pytest.raises(FileFormatError, match="x: expected at most 1,000 bytes of text, got more"):
        usps.loads(pack(b" " * 1_000_000), "x", max_bytes=1000)


@pytest.mark.parametrize("model", ["lenet1989", "lenet1", "lenet5"])
def test_every_network_trains_on_them(tmp_path: Path, model: str) -> None:
    """Digits of 16x16 are not reduced again for the networks that want this size."""
    for name in ("zip.train", "zip.test"):
        (tmp_path / name).write_bytes(BOOK * 3)
    words = ["train", "--model", model, "--dataset", "usps", "--data", str(tmp_path)]
    out = tmp_path / "run"
    done = CliRunner().invoke(group, [*words, "--epochs", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    words = ["evaluate", str(out), "--dataset", "usps", "--data", str(tmp_path), "--json"]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 0, done.output
    assert '"images": 12' in done.stdout


def test_the_real_ones() -> None:
    if not REAL.is_dir():
        missing("the zip codes, in a folder usps beside that of LENET_FAST_DATA")
    splits = data.load("usps", REAL)
    counts = [np.bincount(each.labels).tolist() for each in (splits.train, splits.test)]
    # The table that comes with the files.
    assert counts == [
        [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644],
        [359, 264, 198, 166, 200, 160, 170, 147, 166, 177],
    ]
    assert splits.notice is None
    assert splits.train.images.shape[1:] == (16, 16)
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
