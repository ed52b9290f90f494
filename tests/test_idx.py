"""The IDX parser: sound files come back as they were, all others get one clear error."""

import gzip
import hashlib
import os
import struct
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_fast.data import idx
from lenet_fast.errors import FileFormatError

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)


SOUND = header(0x08, 2, 3) + bytes(range(6))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1,), (5,), (0,), (2, 0, 3), (3, 4, 5), (1, 2, 1, 2, 1, 2, 1, 2)]
)
def test_what_is_written_is_read(tmp_path, dtype, shape, ending):
    numbers = np.random.default_rng(1).integers(-128, 128, shape)
    array = numbers.astype(dtype)
    path = tmp_path / f"numbers{ending}"
    idx.write(path, array)
    got = idx.read(path)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)
    assert got.shape == shape


@pytest.mark.parametrize(
    ("code", "form", "dtype"),
    [
        (0x08, "B", "uint8"),
        (0x09, "b", "int8"),
        (0x0B, "h", "int16"),
        (0x0C, "i", "int32"),
        (0x0D, "f", "float32"),
        (0x0E, "d", "float64"),
    ],
)
def test_bytes_are_laid_out_as_the_format_says(code, form, dtype):
    values = [1, 2, 3, 100]
    by_hand = header(code, 2, 2) + struct.pack(f">4{form}", *values)
    array = np.array(values, dtype).reshape(2, 2)
    assert idx.encode(array) == by_hand
    np.testing.assert_array_equal(idx.loads(by_hand, "by hand"), array)
    assert idx.digest(array) == hashlib.sha256(by_hand).hexdigest()


@pytest.mark.parametrize("order", ["C", "F", "strided", "big-endian", "read-only"])
def test_writing_takes_any_layout(order):
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    laid_out = {
        "C": array,
        "F": np.asfortranarray(array),
        "strided": np.repeat(array, 2, axis=1)[:, ::2],
        "big-endian": array.astype(">i4"),
        "read-only": array.copy(),
    }[order]
    laid_out.flags.writeable = order != "read-only"
    assert idx.encode(laid_out) == idx.encode(array)
    assert idx.digest(laid_out) == idx.digest(array)


def test_packing_is_told_from_the_content(tmp_path):
    (tmp_path / "packed").write_bytes(gzip.compress(SOUND))
    (tmp_path / "plain.gz").write_bytes(SOUND)
    np.testing.assert_array_equal(idx.read(tmp_path / "packed"), idx.read(tmp_path / "plain.gz"))


def test_packed_files_are_reproducible(tmp_path):
    array = np.arange(100, dtype=np.uint8)
    for name in ("one.gz", "two.gz"):
        idx.write(tmp_path / name, array)
    content = (tmp_path / "one.gz").read_bytes()
    assert content == (tmp_path / "two.gz").read_bytes()
    assert content[4:8] == bytes(4), "a time in the gzip header"


def test_gzip_in_several_members_is_one_file():
    parts = gzip.compress(SOUND[:7]) + gzip.compress(SOUND[7:])
    np.testing.assert_array_equal(idx.loads(parts, "parts"), idx.loads(SOUND, "whole"))


MALFORMED = {
    "empty": (b"", "got 0 bytes"),
    "three bytes": (b"\0\0\x08", "got 3 bytes"),
    "not zero": (b"\1\0\x08\1" + bytes(8), "begin with 00 00, got 01 00"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(20), "begin with 00 00, got 89 50"),
    "type 0": (header(0x00, 1) + b"x", "element type: .* got 00"),
    "type 0x0a": (header(0x0A, 1) + b"x", "element type: .* got 0a"),
    "type 0xff": (header(0xFF, 1) + b"x", "element type: .* got ff"),
    "no dimension": (header(0x08) + b"x", "dimensions: expected 1 to 8, got 0"),
    "nine dimensions": (header(0x08, *[1] * 9) + b"x", "dimensions: expected 1 to 8, got 9"),
    "255 dimensions": (b"\0\0\x08\xff" + bytes(1020), "dimensions: expected 1 to 8, got 255"),
    "no sizes": (header(0x08, 2, 3)[:4], "header: expected 12 bytes, got 4"),
    "half a size": (header(0x08, 2, 3)[:10], "header: expected 12 bytes, got 10"),
    "no elements": (header(0x08, 2, 3), "expected 6 bytes of elements after the header, got 0"),
    "one byte short": (SOUND[:-1], "expected 6 bytes .* got 5"),
    "short of two-byte elements": (header(0x0B, 3) + bytes(5), "expected 6 bytes .* got 5"),
    "huge size": (header(0x08, 2**32 - 1) + b"x", "at most 1,073,741,824 bytes"),
    "32-bit overflow": (header(0x08, 2**16, 2**16) + b"x", "at most .* uint8 \\(65536, 65536\\)"),
    "64-bit overflow": (header(0x0E, *[2**32 - 1] * 8) + b"x", "at most .* float64"),
    "hidden by a zero": (header(0x08, 0, 2**32 - 1, 2**32 - 1), "at most .* uint8 \\(0, "),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_name_the_fault(tmp_path, case, packed):
    content, message = MALFORMED[case]
    path = tmp_path / "broken"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(FileFormatError, match=message) as caught:
        idx.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_trailing_bytes_are_refused():
    with pytest.raises(FileFormatError, match=r"expected 6 bytes .* got 7"):
        idx.loads(SOUND + b"x", "long")
    with pytest.raises(FileFormatError, match=r"expected 6 bytes .* got more"):
        idx.loads(gzip.compress(SOUND + b"x"), "long")
    with pytest.raises(FileFormatError, match="long: damaged gzip data"):
        idx.loads(gzip.compress(SOUND) + b"x", "long")


@pytest.mark.parametrize("kept", [2, 9, 12, -9, -8, -4, -1])
def test_truncated_gzip_is_refused(kept):
    with pytest.raises(FileFormatError, match="cut: "):
        idx.loads(gzip.compress(SOUND)[:kept], "cut")


def test_every_altered_byte_of_a_gzip_file_is_noticed_or_harmless():
    packed = gzip.compress(SOUND, mtime=0)
    harmless = 0
    for at in range(len(packed)):
        altered = bytearray(packed)
        altered[at] ^= 0x10
        try:
            got = idx.loads(bytes(altered), "altered")
        except FileFormatError:
            continue
        np.testing.assert_array_equal(got, idx.loads(SOUND, "sound"))
        harmless += 1
    assert harmless <= 6, "only time, compression level and system are unprotected"


def test_a_wrong_check_sum_is_noticed():
    packed = bytearray(gzip.compress(SOUND))
    packed[-8] ^= 1
    with pytest.raises(FileFormatError, match="CRC check failed"):
        idx.loads(bytes(packed), "altered")


def peak_memory(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(SOUND + bytes(50_000_000))

    def read():
        with pytest.raises(FileFormatError, match="got more"):
            idx.loads(bomb, "bomb")

    assert peak_memory(read) < 1_000_000


def test_a_header_alone_takes_no_memory():
    promise = header(0x08, 10**9)

    def read():
        with pytest.raises(FileFormatError, match=r"got 4$"):
            idx.loads(promise + b"more", "plain")
        with pytest.raises(FileFormatError, match="a gzip file too small"):
            idx.loads(gzip.compress(promise + b"more"), "packed")

    assert peak_memory(read) < 1_000_000


def test_the_limit_is_the_callers():
    assert idx.loads(SOUND, "six", max_bytes=6).size == 6
    with pytest.raises(FileFormatError, match="six: expected at most 5 bytes"):
        idx.loads(SOUND, "six", max_bytes=5)


def loaded(content: bytes) -> np.ndarray | str:
    """The array, or the message of the one error that may come."""
    try:
        return idx.loads(content, "fuzz")
    except FileFormatError as error:
        return str(error)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_array_or_the_error(content):
    got = loaded(content)
    if isinstance(got, str):
        assert got.startswith("fuzz: ")
    else:
        assert idx.loads(idx.encode(got), "again").tobytes() == got.tobytes()


@given(
    st.sampled_from([*idx.TYPES, 0, 0x0A, 0x0F]),
    st.lists(st.integers(0, 5) | st.integers(0, 2**32 - 1), max_size=10),
    st.binary(max_size=100),
    st.booleans(),
    st.none() | st.tuples(st.integers(0, 200), st.integers(0, 255)),
)
@settings(max_examples=300)
def test_likely_headers_give_an_array_or_the_error(code, sizes, elements, packed, flip):
    content = header(code, *sizes) + elements
    content = gzip.compress(content, 1) if packed else content
    if flip is not None and flip[0] < len(content):
        content = content[: flip[0]] + bytes([flip[1]]) + content[flip[0] + 1 :]
    got = loaded(content)
    if isinstance(got, str):
        assert got.startswith("fuzz: ")
    else:
        assert got.nbytes <= 1032 * len(content)


@given(st.data())
def test_sound_files_of_any_shape_are_read(data):
    dtype = idx.TYPES[data.draw(st.sampled_from(sorted(idx.TYPES)))]
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=6)))
    count = int(np.prod(shape)) * dtype.itemsize
    elements = data.draw(st.binary(min_size=count, max_size=count))
    code = next(code for code, each in idx.TYPES.items() if each == dtype)
    got = idx.loads(header(code, *shape) + elements, "sound")
    assert got.shape == shape
    assert got.astype(dtype).tobytes() == elements


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_what_is_no_regular_file_is_not_written_to(tmp_path, ending):
    path = tmp_path / f"pipe{ending}"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="expected a regular file, got a device or a pipe"):
        idx.write(path, np.arange(3, dtype=np.uint8))
    assert os.listdir(tmp_path) == [path.name]


def test_images_and_labels_are_checked(tmp_path):
    pictures = np.zeros((2, 28, 28), np.uint8)
    idx.write(tmp_path / "images", pictures)
    idx.write(tmp_path / "labels", np.array([0, 9], np.uint8))
    assert idx.read_images(tmp_path / "images").shape == (2, 28, 28)
    assert idx.read_labels(tmp_path / "labels").tolist() == [0, 9]
    with pytest.raises(FileFormatError, match=r"labels: expected images, .* got uint8 \(2,\)"):
        idx.read_images(tmp_path / "labels")
    with pytest.raises(FileFormatError, match=r"images: expected labels, .* got uint8 \(2, 28, 28"):
        idx.read_labels(tmp_path / "images")
    with pytest.raises(FileFormatError, match=r"\(n, 32, 32\), got uint8 \(2, 28, 28\)"):
        idx.read_images(tmp_path / "images", shape=(32, 32))
    with pytest.raises(FileFormatError, match=r"labels 0 to 8, got 9 \(label 1\)"):
        idx.read_labels(tmp_path / "labels", classes=9)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_images_and_labels_are_bytes(tmp_path, dtype):
    idx.write(tmp_path / "images", np.zeros((2, 28, 28), dtype))
    idx.write(tmp_path / "labels", np.zeros(2, dtype))
    with pytest.raises(FileFormatError, match=f"expected images, uint8 .* got {dtype}"):
        idx.read_images(tmp_path / "images")
    with pytest.raises(FileFormatError, match=f"expected labels, uint8 .* got {dtype}"):
        idx.read_labels(tmp_path / "labels")


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool", "complex64", "float16", "object"])
def test_other_types_cannot_be_written(dtype):
    with pytest.raises(TypeError, match=r"array: expected uint8, int8, .* got "):
        idx.encode(np.zeros(3, dtype))


def test_other_shapes_cannot_be_written():
    with pytest.raises(ValueError, match="expected 1 to 8 dimensions, got 0"):
        idx.encode(np.array(1, np.uint8))
    with pytest.raises(ValueError, match="expected 1 to 8 dimensions, got 9"):
        idx.encode(np.zeros([1] * 9, np.uint8))
    with pytest.raises(ValueError, match="sizes below 2"):
        idx.encode(np.broadcast_to(np.uint8(0), (2**32,)))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "nothing")
    with pytest.raises(FileFormatError, match=f"{tmp_path.name}: expected a file, got a folder"):
        idx.read(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    faults = []

    def read():
        try:
            idx.read(tmp_path / "pipe")
        except FileFormatError as error:
            faults.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert faults == [f"{tmp_path / 'pipe'}: expected a regular file, got a device or a pipe"]


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_no_number_is_in_memory_twice(dtype, tmp_path):
    array = np.ones((1000, 1000), dtype)
    idx.write(tmp_path / "ones.gz", array)
    tracemalloc.start()
    try:
        got = idx.read(tmp_path / "ones.gz")
        assert tracemalloc.get_traced_memory()[1] < 1.1 * array.nbytes + 4 * idx._CHUNK
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(got, array)
    assert got.dtype == dtype
