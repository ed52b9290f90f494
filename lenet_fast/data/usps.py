"""The zip codes of 1989, files of text: one digit per line, its class and 256 numbers from -1 to 1.

Two formats are read: that of *The Elements of Statistical Learning* (``zip.train.gz``),

    6.0000 -1.0000 -0.6310 0.8620 ...       class, and the pixels row by row

and that of LIBSVM (``usps.bz2``), whose classes are 1 to 10 and whose pixels of 0 are left out:

    7 1:-1 2:-0.631 3:0.862 ...             class + 1, and the pixels by number

The reader does not trust a file: every line must be complete, and every number in its range.
"""

from __future__ import annotations

import bz2
import gzip
import io
import math
import os
import zlib

import numpy as np
import numpy.typing as npt

from lenet_fast import disk
from lenet_fast.checks import Array
from lenet_fast.errors import FileFormatError

SIZE = 16
"""Rows and columns of an image."""

MAX_BYTES = 2**26
"""Largest size of a file, packed or not: four times that of the training set's text."""

_PIXELS = SIZE * SIZE
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"

Digits = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Images (n, 16, 16) and labels (n,)."""


def read(path: str | os.PathLike[str]) -> Digits:
    """Read a file of digits, plain or compressed with gzip or bzip2.

    Parameters
    ----------
    path : path
        The file. Its content decides the format and the compression, not its name.

    Returns
    -------
    images : ndarray (n, 16, 16) uint8
        Grey values, from 0 (-1 in the file, background) to 255 (1, foreground). The file's numbers
        have three decimals; a byte differs from them by at most 0.004.
    labels : ndarray (n,) uint8

    Raises
    ------
    FileFormatError
        If the file is damaged, truncated or too large, or holds anything but digits. The message
        names the file and the line.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast.data import usps
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/one", "w") as file:
    ...         print("7.0", *[-1.0] * 255, 1.0, file=file)
    ...     images, labels = usps.read(f"{folder}/one")
    >>> images.shape, int(images[0, 15, 15]), labels
    ((1, 16, 16), 255, array([7], dtype=uint8))
    """
    return loads(disk.read_bytes(path, MAX_BYTES), os.fspath(path))


def loads(content: bytes, name: str, *, max_bytes: int = MAX_BYTES) -> Digits:
    """Read a file of digits from memory; `name` is the file, for messages.

    Results and errors are those of :func:`read`; the text must not be longer than `max_bytes`.
    """
    text = _unpacked(content, name, max_bytes)
    try:
        lines = text.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{name}: expected lines of numbers, got the byte {text[error.start]:02x}"
        ) from None
    if not lines:
        raise FileFormatError(f"{name}: expected at least one digit, got an empty file")
    parse = _sparse if ":" in lines[0] else _dense
    images = np.empty((len(lines), SIZE, SIZE), np.uint8)
    labels = np.empty(len(lines), np.uint8)
    for i, line in enumerate(lines):
        try:
            labels[i], pixels = parse(line.split())
            if not (np.abs(pixels) <= 1).all():  # NaN is not, either
                raise ValueError("pixels: expected -1 to 1, got another number")
        except ValueError as error:
            raise FileFormatError(f"{name}, line {i + 1}: {error}") from None
        images[i] = np.rint((pixels + 1) * 127.5).reshape(SIZE, SIZE)
    return images, labels


def _dense(fields: list[str]) -> tuple[int, Array]:
    """Return class and pixels of a line of *The Elements of Statistical Learning*."""
    if len(fields) != 1 + _PIXELS:
        raise ValueError(f"expected a class and {_PIXELS} pixels, got {len(fields)} numbers")
    return _label(fields[0], 0), np.array(fields[1:], np.float64)


def _sparse(fields: list[str]) -> tuple[int, Array]:
    """Return class and pixels of a line of LIBSVM."""
    pixels = np.zeros(_PIXELS)
    last = 0
    for field in fields[1:]:
        number, _, value = field.partition(":")
        place = int(number)
        if not last < place <= _PIXELS:
            raise ValueError(f"expected pixel numbers from 1 to {_PIXELS} in order, got {number}")
        pixels[place - 1] = float(value)
        last = place
    return _label(fields[0] if fields else "", 1), pixels


def _label(field: str, least: int) -> int:
    value = float(field) if field else math.nan
    if value not in range(least, least + 10):
        raise ValueError(f"class: expected an integer from {least} to {least + 9}, got {field!r}")
    return int(value) - least


def _unpacked(content: bytes, name: str, max_bytes: int) -> bytes:
    """Return the text of a file, of at most `max_bytes`."""
    file = io.BytesIO(content)
    try:
        if content.startswith(_GZIP):
            text = gzip.GzipFile(fileobj=file).read(max_bytes + 1)
        elif content.startswith(_BZIP2):
            text = bz2.BZ2File(file).read(max_bytes + 1)
        else:
            text = content
    except (EOFError, OSError, zlib.error) as error:  # BadGzipFile is an OSError
        raise FileFormatError(f"{name}: damaged compressed data: {error}") from error
    if len(text) > max_bytes:
        raise FileFormatError(f"{name}: expected at most {max_bytes:,} bytes of text, got more")
    return text
