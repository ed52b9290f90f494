"""IDX files, the format of MNIST: a header of sizes, then the numbers.

    2 bytes 0, 1 byte element type, 1 byte number of dimensions,
    one 4-byte big-endian size per dimension, the elements (big-endian, C order)

The reader does not trust the header: every byte that it announces must be there and none may be
left over. The reader never reads, unpacks or allocates more than that.

Examples
--------
>>> import tempfile
>>> import numpy as np
>>> from lenet_fast.data import idx
>>> with tempfile.TemporaryDirectory() as folder:
...     idx.write(f"{folder}/images.gz", np.zeros((2, 28, 28), np.uint8))
...     idx.read_images(f"{folder}/images.gz").shape
(2, 28, 28)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import tempfile
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from lenet_fast import disk
from lenet_fast.checks import Array
from lenet_fast.errors import FileFormatError

__all__ = [
    "MAX_BYTES",
    "MAX_DIMENSIONS",
    "TYPES",
    "digest",
    "encode",
    "loads",
    "read",
    "read_images",
    "read_labels",
    "write",
]

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
"""Element types by their code in the header."""

MAX_BYTES = 2**30
"""Largest size of the elements, in bytes, unless the caller allows more."""

MAX_DIMENSIONS = 8
"""Largest number of dimensions."""

_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # the best compression of deflate, so a gzip file's size bounds its content
_CHUNK = 1 << 20


def read(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, mapped: bool = False
) -> Array:
    """Read an IDX file, plain or compressed with gzip.

    Parameters
    ----------
    path : path
        The file. Its content decides whether it is compressed, not its name.
    max_bytes : int
        Largest size of the elements, in bytes.
    mapped : bool
        Whether the elements stay on disk: they are mapped into memory, those of a compressed file
        from a temporary one.

    Returns
    -------
    ndarray
        The elements, in the machine's byte order, of any of the six IDX types.

    Raises
    ------
    FileFormatError
        If the file is not IDX, is truncated, altered or longer than its header says, or holds
        more than `max_bytes`. The message names the file, the problem and the limit.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from lenet_fast.data.idx import read, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/three.gz", np.array([1, 2, 3], np.uint8))
    ...     read(f"{folder}/three.gz")
    array([1, 2, 3], dtype=uint8)
    """
    with disk.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _read(file, size, os.fspath(path), max_bytes, mapped)


def loads(content: bytes, name: str, *, max_bytes: int = MAX_BYTES) -> Array:
    """Read an IDX file from memory.

    Parameters
    ----------
    content : bytes
        The whole file, plain or compressed with gzip.
    name : str
        The name to use in error messages.
    max_bytes : int
        As in :func:`read`.

    Returns
    -------
    ndarray
        As from :func:`read`.

    Raises
    ------
    FileFormatError
        As from :func:`read`.

    Examples
    --------
    >>> from lenet_fast.data import idx
    >>> idx.loads(b"\\x00\\x00\\x08\\x01\\x00\\x00\\x00\\x03\\x07\\x02\\x01", "three bytes")
    array([7, 2, 1], dtype=uint8)
    """
    return _read(io.BytesIO(content), len(content), name, max_bytes)


def read_images(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] = (28, 28),
    max_bytes: int = MAX_BYTES,
) -> npt.NDArray[np.uint8]:
    """Read an IDX file of images.

    Parameters
    ----------
    path : path
        The file, plain or compressed with gzip.
    shape : pair of int
        Rows and columns that the images must have.
    max_bytes : int
        As in :func:`read`.

    Returns
    -------
    ndarray, (n, rows, columns), uint8
        Grey values, from 0 (background) to 255 (foreground).

    Raises
    ------
    FileFormatError
        As from :func:`read`, or if the file holds anything but images of this shape.

    Examples
    --------
    >>> from lenet_fast.data import idx, sources
    >>> idx.read_images(sources.SAMPLE_FOLDER / "t10k-images-idx3-ubyte.gz").shape
    (1000, 28, 28)
    """
    return check_images(read(path, max_bytes=max_bytes), os.fspath(path), shape=shape)


def read_labels(
    path: str | os.PathLike[str], *, classes: int = 10, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8]:
    """Read an IDX file of labels.

    Parameters
    ----------
    path : path
        The file, plain or compressed with gzip.
    classes : int
        Labels must be 0 to ``classes - 1``.
    max_bytes : int
        As in :func:`read`.

    Returns
    -------
    ndarray, (n,), uint8
        Labels.

    Raises
    ------
    FileFormatError
        As from :func:`read`, or if the file holds anything but such labels.

    Examples
    --------
    >>> from lenet_fast.data import idx, sources
    >>> idx.read_labels(sources.SAMPLE_FOLDER / "t10k-labels-idx1-ubyte.gz")[:5]
    array([4, 0, 6, 2, 5], dtype=uint8)
    """
    return check_labels(read(path, max_bytes=max_bytes), os.fspath(path), classes=classes)


def check_images(
    array: Array, name: str, *, shape: tuple[int, int] = (28, 28)
) -> npt.NDArray[np.uint8]:
    """Return `array` if it holds grey images of `shape`; `name` is the file, for messages."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1:] != shape:
        rows, columns = shape
        raise FileFormatError(
            f"{name}: expected images, uint8 (n, {rows}, {columns}), "
            f"got {array.dtype} {array.shape}"
        )
    return array


def check_labels(array: Array, name: str, *, classes: int = 10) -> npt.NDArray[np.uint8]:
    """Return `array` if it holds labels below `classes`; `name` is the file, for messages."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FileFormatError(
            f"{name}: expected labels, uint8 (n,), got {array.dtype} {array.shape}"
        )
    if array.size and array.max() >= classes:
        at = int(np.argmax(array >= classes))
        raise FileFormatError(
            f"{name}: expected labels 0 to {classes - 1}, got {array[at]} (label {at})"
        )
    return array


def write(path: str | os.PathLike[str], array: Array) -> None:
    """Write an IDX file, compressed with gzip if the name ends in ``.gz``.

    The same array gives the same bytes: a compressed file contains neither name nor time.

    Parameters
    ----------
    path : path
        The file; an existing one is replaced.
    array : ndarray
        Elements of one of the six IDX types, 1 to 8 dimensions.

    Raises
    ------
    TypeError
        If IDX has no such element type.
    ValueError
        If there are too few or too many dimensions, or one is longer than 2**32 - 1.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from lenet_fast.data import idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     idx.write(f"{folder}/labels", np.array([7, 2, 1], np.uint8))
    ...     idx.read_labels(f"{folder}/labels")
    array([7, 2, 1], dtype=uint8)
    """
    content = encode(array)
    if os.fspath(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    disk.write_atomic(path, content)


def encode(array: Array) -> bytes:
    """Return the uncompressed IDX file with an array.

    Parameters
    ----------
    array : ndarray
        As for :func:`write`.

    Returns
    -------
    bytes

    Raises
    ------
    TypeError, ValueError
        As :func:`write` does.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import idx
    >>> idx.encode(np.array([7, 2, 1], np.uint8)).hex(" ")  # type 08, 1 dimension of size 3
    '00 00 08 01 00 00 00 03 07 02 01'
    """
    elements = _big_endian(array)
    return _header(elements) + elements.tobytes()


def digest(array: Array) -> str:
    """Return the SHA-256 of the uncompressed IDX file with an array.

    It does not depend on the compression of a file.

    Parameters
    ----------
    array : ndarray
        As for :func:`write`.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError, ValueError
        As :func:`write` does.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import idx
    >>> idx.digest(np.array([7, 2, 1], np.uint8))[:16]
    'e10ef6244367a3de'
    """
    elements = _big_endian(array)
    sha256 = hashlib.sha256(_header(elements))
    sha256.update(elements.data)
    return sha256.hexdigest()


def _big_endian(array: Array) -> Array:
    dtype = array.dtype.newbyteorder(">")
    if dtype not in TYPES.values():
        allowed = ", ".join(each.newbyteorder("=").name for each in TYPES.values())
        raise TypeError(f"array: expected {allowed}, got {array.dtype}")
    if not 1 <= array.ndim <= MAX_DIMENSIONS:
        raise ValueError(f"array: expected 1 to {MAX_DIMENSIONS} dimensions, got {array.ndim}")
    if max(array.shape) >= 2**32:
        raise ValueError(f"array: expected sizes below 2**32, got {array.shape}")
    return np.ascontiguousarray(array, dtype)


def _header(elements: Array) -> bytes:
    code = next(code for code, dtype in TYPES.items() if dtype == elements.dtype)
    sizes = np.array(elements.shape, ">u4").tobytes()
    return bytes([0, 0, code, elements.ndim]) + sizes


def _read(
    file: BinaryIO, file_bytes: int, name: str, max_bytes: int, mapped: bool = False
) -> Array:
    packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    if not packed:
        return _parse(file, file_bytes, name, max_bytes, packed=False, mapped=mapped)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            # The parser only uses read and readinto, which GzipFile has.
            stream = cast(BinaryIO, unpacked)
            most = file_bytes * _DEFLATE_RATIO
            return _parse(stream, most, name, max_bytes, packed=True, mapped=mapped)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileFormatError(f"{name}: damaged gzip data: {error}") from error


def _parse(
    stream: BinaryIO, available: int, name: str, max_bytes: int, *, packed: bool, mapped: bool
) -> Array:
    """Parse an IDX stream of `available` bytes (if `packed`, of at most this many)."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise FileFormatError(f"{name}: expected an IDX header, got {len(magic)} bytes in all")
    if magic[:2] != b"\0\0":
        raise FileFormatError(
            f"{name}: not an IDX file: expected it to begin with 00 00, got {magic[:2].hex(' ')}"
        )
    if magic[2] not in TYPES:
        codes = ", ".join(f"{code:02x}" for code in TYPES)
        raise FileFormatError(f"{name}: element type: expected one of {codes}, got {magic[2]:02x}")
    dimensions = magic[3]
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise FileFormatError(
            f"{name}: dimensions: expected 1 to {MAX_DIMENSIONS}, got {dimensions}"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise FileFormatError(
            f"{name}: header: expected {4 + 4 * dimensions} bytes, got {4 + len(sizes)}"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    dtype = TYPES[magic[2]]
    # Python's integers cannot overflow. A size of 0 must not hide the others: NumPy refuses
    # (0, 2**32 - 1, 2**32 - 1).
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:
        raise FileFormatError(
            f"{name}: expected at most {max_bytes:,} bytes of elements, got {dtype.name} {shape}"
        )
    expected = math.prod(shape) * dtype.itemsize
    wrong = f"{name}: expected {expected:,} bytes of elements after the header, got "
    rest = available - 4 - len(sizes)
    if packed and rest < expected:
        raise FileFormatError(f"{wrong}a gzip file too small to hold as many")
    if not packed and rest != expected:
        raise FileFormatError(f"{wrong}{rest:,}")
    mapped = mapped and expected > 0
    if mapped and not packed:
        return np.memmap(stream, dtype, "r", 4 + len(sizes), shape)
    elements: npt.NDArray[np.uint8] = np.empty(0 if mapped else expected, np.uint8)
    if mapped:
        with tempfile.TemporaryFile() as file:  # the mapping keeps it
            elements = np.memmap(file, np.uint8, "w+", shape=(expected,))
    filled = _fill(stream, elements)
    if filled < expected:
        raise FileFormatError(f"{wrong}{filled:,}")
    # In a gzip file this also reads the end, and so verifies its checksum.
    if stream.read(1):
        raise FileFormatError(f"{wrong}more")
    array = elements.view(dtype).reshape(shape)
    if dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(dtype.newbyteorder("="))  # in its own memory


def _fill(stream: BinaryIO, target: npt.NDArray[np.uint8]) -> int:
    """Read until `target` is full or the stream ends; return the number of bytes read."""
    filled = 0
    while filled < len(target):
        chunk = stream.read(min(_CHUNK, len(target) - filled))
        if not chunk:
            break
        target[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    return filled
