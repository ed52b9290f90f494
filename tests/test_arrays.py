"""Digits in arrays: in .npy and IDX files, of any shape and scale; told, or refused in words."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import missing

from lenet_fast import data
from lenet_fast.data import arrays, idx
from lenet_fast.errors import FileFormatError

SAMPLE = data.load("sample").test.images
FEW = SAMPLE[:12]
SMALL = SAMPLE[:200, 2:26, 2:26].reshape(200, 8, 3, 8, 3).mean(axis=(2, 4)).astype(np.uint8)


def read(array: Any, **options: Any) -> arrays.Digits:
    return arrays.digits(np.asarray(array), **options)


def assert_digits(found: arrays.Digits, expected: Any, *notes: str) -> None:
    """Check images, that none is refused, and that each note has its words."""
    np.testing.assert_array_equal(found.images, expected)
    assert not found.faults
    assert len(found.notes) == len(notes), found.notes
    for note, words in zip(found.notes, notes, strict=True):
        assert words in note


# --- scales --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i4", "<i8", "f4"])
@pytest.mark.parametrize("ink", [1, 2, 15, 16, 99, 127])
def test_a_small_scale_is_stretched_and_said(dtype: str, ink: int) -> None:
    small = (FEW.astype(int) * ink + 127) // 255
    images = (small / (255 if dtype == "f4" else 1)).astype(dtype)
    expected = np.rint(small * (255 / ink))
    assert_digits(read(images), expected, f"{images.max():g}, not")
    assert read(images).images.max() == 255


@pytest.mark.parametrize(("paper", "ink"), [(1, 10), (100, 185), (40, 255), (68, 255)])
@pytest.mark.parametrize("inverted", [False, True])
def test_grey_paper_is_stretched_and_said(paper: int, ink: int, inverted: bool) -> None:
    shares = (FEW.astype(int) * (ink - paper) + 127) // 255
    images = np.uint8(ink) - shares if inverted else np.uint8(paper) + shares
    expected = np.rint(shares * (255 / (ink - paper)))
    expected = np.rint(255 - shares * (255 / (ink - paper))) if inverted else expected
    words = f"from {paper} to {ink}, not"
    assert_digits(read(images.astype(np.uint8), inverted=inverted), expected, words)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x / 255 * (1 + 1e-7) - 1e-8,  # rounded
        lambda x: x.astype(np.int64),
        lambda x: x / 255,
        lambda x: (x / 255).astype(np.float16),
        lambda x: x * (1.275 / 255) - 0.1,
        lambda x: np.asfortranarray(x.astype(">f4") / 255),
    ],
)
def test_usual_scales_need_no_word(change: Callable[[Any], Any]) -> None:
    assert_digits(read(change(FEW)), FEW)


def test_bools_are_black_and_white() -> None:
    assert_digits(read(FEW > 127), np.where(FEW > 127, 255, 0))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (FEW.astype(np.int8), "integers from 0 (background) to 255 (foreground), got -128 to 127"),
        (FEW.astype(np.uint16) * 257, "got 0 to 65535"),
        (FEW.astype(np.float32), "got 0.0 to 255.0"),
        (FEW / 127.5 - 1, "got -1.0 to 1.0"),
        (FEW / 16, "got 0.0 to 15.9375"),
        ((FEW / 255 - 0.1307) / 0.3081, "got -0.42"),
        (FEW / 255 - 0.05, "got -0.05"),  # neither of the two scales
    ],
)
def test_other_scales_are_refused_with_what_came(images: Any, words: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        read(images)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("f4", 0, 255),
        ("f8", 0, 16),
        ("f8", 0, 2),
        ("f8", 1, 2),
        ("f4", -1, 1),
        ("f8", -0.4242, 2.8215),
        ("f2", -0.5, 0.5),
        ("i1", -1, 1),
        ("i2", -32768, 32767),
        ("i8", 1, 256),
        ("u2", 0, 1023),
        ("u2", 0, 65535),
        ("u4", 0, 2**32 - 1),
    ],
)
def test_what_other_scales_are_told_to_do_helps(dtype: str, low: float, high: float) -> None:
    images = low + (FEW > 127) * np.float64(high - low)
    images = images.astype(dtype)
    with pytest.raises(ValueError, match="expected") as error:
        read(images)
    way_out = str(error.value).rpartition("; ")[2].removeprefix("convert them with ")
    scaled = images / 255 if way_out == "divide by 255" else eval(way_out, {"images": images})
    assert_digits(read(scaled), np.where(FEW > 127, 255, 0))


def test_no_images_look_like_nothing() -> None:
    none = SAMPLE[:0]
    assert not arrays.look_inverted(none)
    assert not arrays.look_transposed(none)
    assert not arrays.differ(True, none)


def test_dark_ink_is_turned_or_told() -> None:
    for images in (255 - FEW, 1 - FEW / 255, ~(FEW > 127)):
        found = read(images)
        bright = np.where(FEW > 127, 255, 0) if images.dtype == bool else FEW
        assert_digits(found, bright, "dark digits on light")
        assert_digits(read(images, inverted=True), 255 - bright)
        for as_it_is in ({"centred": False}, {"inverted": None}):
            assert_digits(read(images, **as_it_is), 255 - bright, "not inverted")
    assert_digits(read(FEW, inverted=True), 255 - FEW, "bright digits on dark")


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("others", [1, 6, 11])
def test_images_that_are_the_reverse_of_the_rest_are_turned(others: int, inverted: bool) -> None:
    mixed = FEW.copy()
    mixed[:others] = 255 - mixed[:others]
    count = 12 - others if inverted else others
    expected = 255 - FEW if inverted else FEW
    assert_digits(read(mixed, inverted=inverted), expected, f"{count} of 12 have ")
    assert_digits(read(mixed, inverted=None), mixed, "not inverted")
    assert_digits(read(mixed, centred=False), mixed, "not inverted")


def test_ink_on_most_of_the_border_turns_no_image_among_others() -> None:
    images = FEW.copy()
    images[3, :, :2] = images[3, :, -2:] = images[3, :5] = 255  # such as a coat
    assert_digits(read(images), images)


@pytest.mark.parametrize(
    "blank",
    [
        np.zeros((28, 28), np.uint8),
        np.full((28, 28), 255, np.uint8),
        np.zeros((1, 28, 28), np.uint8),
        np.zeros((1, 40, 30), np.uint8),
        np.zeros((1, 784), np.uint8),
        np.full((28, 28, 3), 255, np.uint8),
        np.zeros((32, 32), bool),
        np.full((32, 32), -0.1, np.float32),
        np.ones((28, 28)),
        np.zeros((40, 30)),
        np.zeros((400, 400)),
        np.eye(1, 784, 5, dtype=np.uint8).reshape(28, 28) * 255,  # a speck
    ],
)
def test_blank_images_are_refused(blank: Any) -> None:
    found = read(blank)
    assert len(found.images) == 0
    assert [*found.faults] == [0]
    assert "blank" in found.faults[0]


def test_one_image_of_several_may_be_blank_faint_or_no_numbers() -> None:
    images = FEW / 255
    images[1] = 0
    images[3] = np.nan
    images[5] /= 255  # on another scale than the others
    images[7] = 0
    images[7, 3, 3] = 1  # a speck
    found = read(images)
    assert found.numbers == [0, 2, 4, 6, 8, 9, 10, 11]
    np.testing.assert_array_equal(found.images, FEW[found.numbers])
    assert "all 0 of 255" in found.faults[1]
    assert "nan" in found.faults[3]
    assert "0 to 1 of 255" in found.faults[5]
    assert "blank" in found.faults[7]


def test_a_stray_value_does_not_make_images_of_0_and_1_bytes() -> None:
    image = (FEW[0] > 127).astype(np.uint8)
    image[0, 0] = 255
    assert "0 to 255" in read(image).faults[0]


# --- shapes --------------------------------------------------------------------------------------


def colours(images: Any, channels: int = 3) -> Any:
    return np.repeat(images[..., np.newaxis], channels, axis=-1)


SHAPES: dict[str, tuple[Any, Any, bool]] = {
    "one": (FEW[0], FEW[:1], False),
    "several": (FEW, FEW, True),
    "one of several": (FEW[:1], FEW[:1], True),
    "as many as rows": (SAMPLE[:28], SAMPLE[:28], True),
    "grey channel behind": (FEW[0][..., None], FEW[:1], False),
    "grey channels behind": (FEW[..., None], FEW, True),
    "grey channels before": (FEW[:, None], FEW, True),
    "table": (FEW.reshape(12, 784), FEW, True),
    "table of one": (FEW[:1].reshape(1, 784), FEW[:1], True),
    "table of many": (SAMPLE.reshape(-1, 784), SAMPLE, True),
    "table with a channel": (FEW.reshape(12, 784, 1), FEW, True),
    "table with a row": (FEW.reshape(12, 1, 784), FEW, True),
    "the same twice": (np.tile(FEW[0].ravel(), (4, 1)), FEW[[0] * 4], True),
    "table of 32x32": (
        np.pad(FEW, ((0, 0), (2, 2), (2, 2))).reshape(12, -1),
        np.pad(FEW, ((0, 0), (2, 2), (2, 2))),
        True,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_can_be_told(name: str) -> None:
    array, expected, several = SHAPES[name]
    for change in (lambda x: x, lambda x: x / 255, lambda x: x > 127):
        found = read(change(array))
        wanted = np.where(expected > 127, 255, 0) if change(array).dtype == bool else expected
        said = ("rows" if len(expected) > 1 else "1 row",) if name.startswith(("ta", "the")) else ()
        assert_digits(found, wanted, *said)
        assert found.several == several


@pytest.mark.parametrize("count", [2, 3, 20, 100])
def test_tables_of_one_digit_are_told_from_pictures(count: int) -> None:
    labels = data.load("sample").test.labels
    for digit in range(10):
        alike = SAMPLE[labels == digit][:count]
        assert_digits(read(alike.reshape(len(alike), 784)), alike, "rows of 784")


@pytest.mark.parametrize("count", [8, 40, 200])
def test_tables_of_small_images_in_order_are_tables(count: int) -> None:
    order = np.argsort(data.load("sample").test.labels[:count], kind="stable")
    table = SMALL[order].reshape(count, 64)
    assert arrays.as_images(table)[0].shape == (count, 8, 8)
    with pytest.raises(ValueError, match="without the column"):
        arrays.as_images(np.insert(table, 0, 7, axis=1))


@pytest.mark.parametrize("shape", [(784, 784), (400, 784), (768, 1024), (100, 100), (64, 256)])
def test_pictures_as_wide_as_a_table_are_pictures(shape: tuple[int, int], rng: Any) -> None:
    rows, columns = (np.arange(side) * 28 // side for side in shape)
    picture = FEW[0][rows][:, columns] + rng.integers(0, 3, shape).astype(np.uint8)
    images, several, notes = arrays.as_images(picture)
    assert images.shape == (1, *shape)
    assert not several
    assert not notes


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("one", [True, False])
def test_colours_become_grey(one: bool, before: bool) -> None:
    images = FEW[:1] if one else FEW
    found = read(
        np.moveaxis(colours(images), -1, 1)
        if before
        else colours(images[0])
        if one
        else colours(images)
    )
    assert_digits(found, images, "colours converted to grey")
    tinted = (colours(images) * np.array([1, 0.75, 0])).astype(np.uint8)
    expected = np.rint(tinted @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    assert_digits(read(tinted), expected, "colours converted to grey")


REFUSED: dict[str, tuple[Any, str]] = {
    "a number": (np.array(7), "shape ()"),
    "a line": (FEW[0].ravel(), "reshape it to (28, 28)"),
    "labels in front": (np.insert(FEW.reshape(12, 784), 0, 7, axis=1), "without the column"),
    "an index too": (np.insert(FEW.reshape(12, 784), [0, 0], 7, axis=1), "without the columns"),
    "labels in front of one": (np.insert(FEW[:1].reshape(1, 784), 0, 7, axis=1), "column"),
    "images in columns": (FEW.reshape(12, 784).T, "save the transpose"),
    "images behind": (np.moveaxis(FEW, 0, -1), "numpy.moveaxis"),
    "28 images behind": (np.moveaxis(SAMPLE[:28], 0, -1), "numpy.moveaxis"),
    "transparency": (colours(FEW[0], 4), "(28, 28, 4)"),
    "transparencies": (colours(FEW, 4), "(12, 28, 28, 4)"),
    "five axes": (FEW[None, None], "(1, 1, 12, 28, 28)"),
    "lines": (FEW.reshape(4, -1)[:, :2000], "too narrow"),
    "rows": (FEW[:, :1], "too narrow"),
    "rows between": (FEW[0][:, None], "too narrow"),
    "one as MATLAB has it": (FEW[0][:, :, None, None], "(28, 28, 1, 1)"),
    "three as MATLAB has them": (FEW[:3].transpose(1, 2, 0)[:, :, None], "(28, 28, 1, 3)"),
    "a batch of a batch": (FEW[None], "(1, 12, 28, 28)"),
    "images between": (np.moveaxis(FEW, 0, 1), "numpy.moveaxis(images, 1, 0)"),
    "tables of colours": (colours(SAMPLE[:200]).reshape(200, -1), "three colours"),
    "planes of colours": (np.tile(SAMPLE[:200].reshape(200, -1), 3), "three colours"),
    "labels of small ones": (np.insert(SMALL.reshape(200, 64), 0, 7, axis=1), "without the column"),
    "small ones in columns": (SMALL[:40].reshape(40, 64).T, "save the transpose"),
    "two below each other": (FEW[:2].reshape(56, 28), "2 images of 28x28"),
    "many beside each other": (FEW.transpose(1, 0, 2).reshape(28, -1), "12 images of 28x28"),
    "none": (FEW[:0], "got 0"),
    "none in a table": (FEW[:0].reshape(0, 784), "got 0"),
}


def test_as_many_images_as_rows_may_be_alike() -> None:
    one = SAMPLE[data.load("sample").test.labels == 1][0]
    assert_digits(read(np.repeat(one[None], 28, axis=0)), np.repeat(one[None], 28, axis=0))


@pytest.mark.parametrize("name", REFUSED)
def test_shapes_that_cannot_be_told_are_refused(name: str) -> None:
    array, words = REFUSED[name]
    with pytest.raises(ValueError, match=r"expected .*, got ") as error:
        read(array)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["complex64", "U1", "M8[s]", "O"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="expected grey images of real numbers"):
        read(np.zeros((28, 28), dtype))


def test_digits_on_their_sides_are_told() -> None:
    lying = SAMPLE[:40].transpose(0, 2, 1)
    assert_digits(read(lying), lying, "--transpose")
    assert_digits(read(255 - lying), lying, "dark digits", "--transpose")
    assert_digits(read(lying, transposed=True), SAMPLE[:40])
    assert not read(SAMPLE[:40]).notes


# --- files ---------------------------------------------------------------------------------------


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_files_of_all_versions(version: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a"
    for array in (FEW, np.asfortranarray(FEW), FEW.astype(">i4"), FEW[:0]):
        path.write_bytes(npy(array, version))
        found = arrays.read_array(path)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


HEADERS = {
    "no brace": b"{'descr': '|u1', 'fortran_order': False, 'shape': (28, 28), ",
    "leading zero": b"{'descr': '|u1', 'fortran_order': False, 'shape': (028, 28), }",
    "negative": b"{'descr': '|u1', 'fortran_order': False, 'shape': (-28, 28), }",
    "huge": b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 28), }",
    "deep": b"{'descr': '|u1', 'fortran_order': False, 'shape': " + b"(" * 5000 + b"}",
    "signs": b"{'descr': '|u1', 'fortran_order': False, 'shape': " + b"-" * 9000 + b"1}",
    "floats": b"{'descr': '|u1', 'fortran_order': False, 'shape': (28.0, 28), }",
    "a call": b"{'descr': '|u1', 'fortran_order': False, 'shape': exit(), }",
    "no dict": b"['descr']",
    "unknown key": b"{'descr': '|u1', 'fortran_order': False, 'shape': (28, 28), 'x': 1}",
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (28, 28), }",
    "structure": b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (28, 28), }",
    "dates": b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (7, 14), }",
    "complex": b"{'descr': '<c8', 'fortran_order': False, 'shape': (7, 14), }",
    "no dtype": b"{'descr': 'hello', 'fortran_order': False, 'shape': (28, 28), }",
    "number": b"{'descr': 1if 1 else 2, 'fortran_order': False, 'shape': (28, 28), }",
    "zero bytes": b"{'descr': '|u1', 'fortran_order': False, 'shape': (28, 28), }\0\0",
    "too few": b"{'descr': '|u1', 'fortran_order': False, 'shape': (29, 28), }",
    "too many": b"{'descr': '|u1', 'fortran_order': False, 'shape': (27, 28), }",
}


@pytest.mark.parametrize("name", HEADERS)
def test_damaged_headers(name: str, tmp_path: Path) -> None:
    header = HEADERS[name]
    path = tmp_path / "digit.npy"
    size = len(header).to_bytes(2, "little")
    path.write_bytes(b"\x93NUMPY\x01\x00" + size + header + FEW[0].tobytes())
    with pytest.raises(FileFormatError, match="expected") as error:
        arrays.read_array(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 200


def test_mutated_npy_files_never_surprise(tmp_path: Path) -> None:
    files = [
        npy(FEW[:3]),
        npy(FEW[0] / 255, (2, 0)),
        npy(FEW.reshape(12, 784).astype(">u2"), (3, 0)),
        npy(np.asfortranarray(FEW[:2].astype(np.longdouble))),
    ]
    words = [b"(", b"}", b"'", b"-", b"0", b"9" * 20, b"1e5", b"\0", b"\xff", b"<O", b"(" * 200]
    random_ = random.Random(7)
    path = tmp_path / "mutated.npy"
    outcomes = {"read": 0, "refused": 0}
    messages: list[str] = []
    for _ in range(1500):
        content = bytearray(random_.choice(files))
        for _ in range(random_.choice((1, 1, 2, 5))):
            at = random_.randrange(6, 140)
            change = random_.randrange(4)
            if change == 0:
                content[at % len(content)] = random_.randrange(256)
            elif change == 1:
                word = random_.choice(words)
                content[at : at + len(word) * random_.randrange(2)] = word
            elif change == 2:
                del content[at : at + random_.choice((1, 3, 40))]
            elif random_.random() < 0.3:
                del content[random_.randrange(7, len(content)) :]
        path.write_bytes(content)
        try:
            arrays.digits(arrays.read_array(path))
            outcomes["read"] += 1
        except (FileFormatError, ValueError, TypeError) as error:
            outcomes["refused"] += 1
            messages.append(str(error))
    assert all("expected" in message and "\n" not in message for message in messages)
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (npy(FEW), True),
        (idx.encode(FEW), True),
        (idx.encode(FEW / 255), True),
        (b"\x1f\x8b\x08\x00", True),
        (b"\0\0\0\x18ftypheic", False),
        (b"\0\0\0\x20ftypavif", False),
        (b"\0\0\1\0\1\0", False),  # ICO
        (b"\0\0\2\0\0\0", False),  # TGA
        (b"\0\0\x0a\0\0\0", False),  # TGA, packed
        (b"\0\0\x0b\0\0\0", False),  # TGA, packed, grey
        (b"\0\0\x08\x09", False),
        (b"\0\0\x08", False),
        (b"", False),
        (b"PK\3\4", False),
    ],
)
def test_what_a_file_is_is_told_by_its_head(head: bytes, expected: bool) -> None:
    assert arrays.is_array(head) == expected


# --- bombs ---------------------------------------------------------------------------------------


def test_files_of_too_many_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays.containers, "MAX_BYTES", FEW.nbytes)
    for name in ("few.idx", "few.gz"):
        idx.write(tmp_path / name, FEW)
        np.testing.assert_array_equal(arrays.read_array(tmp_path / name), FEW)
        idx.write(tmp_path / name, FEW.astype(np.int16))
        with pytest.raises(FileFormatError, match=f"expected at most {FEW.nbytes:,} bytes of"):
            arrays.read_array(tmp_path / name)
    np.save(tmp_path / "few.npy", FEW)
    np.testing.assert_array_equal(arrays.read_array(tmp_path / "few.npy"), FEW)
    np.save(tmp_path / "few.npy", FEW.astype(np.float64))
    with pytest.raises(FileFormatError, match=rf"expected at most {FEW.nbytes:,} .*; split it"):
        arrays.read_array(tmp_path / "few.npy")


@pytest.mark.parametrize("size", [28, 8])
def test_too_many_images_are_refused(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_IMAGES", len(FEW))
    read(FEW)
    with pytest.raises(ValueError, match="expected 1 to 12 images, got 13; split the file"):
        read(SAMPLE[:13, :size, :size])


def test_the_largest_sets_that_are_known_fit() -> None:
    assert arrays.MAX_BYTES >= 60_000 * 784 * 8  # MNIST as float64
    assert arrays.MAX_IMAGES >= 240_000  # EMNIST's digits
    assert arrays.MAX_BYTES >= 240_000 * 784


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    else:
        missing("this system has no pipes with names")
    with pytest.raises(FileFormatError, match="expected a regular file, got a device or a pipe"):
        arrays.read_array(tmp_path / "pipe")
