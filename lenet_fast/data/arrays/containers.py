"""Arrays of digits in files: NumPy's .npy, and IDX, plain or compressed."""

from __future__ import annotations

import os
import re
import tokenize
import warnings

import numpy as np

from lenet_fast import disk
from lenet_fast.checks import Array
from lenet_fast.data import idx
from lenet_fast.errors import FileFormatError

MAX_BYTES = 2**29
"""Most bytes of numbers that are read: MNIST's training set takes 376 million bytes as float64. A
compressed file of half a million bytes could hold as many."""

MAX_MAPPED = 2**34
"""Most bytes of numbers that are mapped: those of a compressed file need as much space on disk."""

_NPY_MAGIC = b"\x93NUMPY"

# Errors that NumPy raises on damaged headers, which it passes to Python's own parser.
DAMAGED = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    AttributeError,
    EOFError,
)


def is_array(head: bytes) -> bool:
    """Return whether a file is .npy, IDX or gzip, given its first four bytes or more.

    Some pictures also begin with two zero bytes: HEIC, AVIF, ICO and TGA.

    Parameters
    ----------
    head : bytes

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import arrays, idx
    >>> arrays.is_array(idx.encode(np.zeros((2, 28, 28), np.uint8))), arrays.is_array(b"\\x89PNG")
    (True, False)
    """
    is_idx = head[:2] == b"\0\0" and len(head) > 3 and head[2] in idx.TYPES
    is_idx = is_idx and 1 <= head[3] <= idx.MAX_DIMENSIONS
    return is_idx or head.startswith((_NPY_MAGIC, b"\x1f\x8b"))


def read_array(path: str | os.PathLike[str], *, mapped: bool = False) -> Array:
    """Read a .npy file, or an IDX file, plain or compressed with gzip.

    Parameters
    ----------
    path : path
        The file. Its content decides what it is, not its name.
    mapped : bool
        Whether numbers of any kind of file stay on disk; then `MAX_MAPPED` is the limit.

    Returns
    -------
    ndarray
        Real numbers. A .npy file is memory-mapped, so a false header allocates nothing.

    Raises
    ------
    FileFormatError
        If the file is neither, damaged, longer than its header says, or holds anything but real
        numbers, or more than :data:`MAX_BYTES` of them. Nothing in it is ever executed.
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from lenet_fast.data import arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/digits.npy", np.zeros((2, 28, 28)))
    ...     arrays.read_array(f"{folder}/digits.npy").shape
    (2, 28, 28)
    """
    with disk.open_regular(path) as file:
        head = file.read(len(_NPY_MAGIC))
    if head == _NPY_MAGIC:
        return _read_npy(os.fspath(path), MAX_MAPPED if mapped else MAX_BYTES)
    return idx.read(path, max_bytes=MAX_MAPPED if mapped else MAX_BYTES, mapped=mapped)


def _read_npy(name: str, max_bytes: int) -> Array:
    size = os.stat(name).st_size
    try:
        with warnings.catch_warnings():
            # Python's parser warns of tokens such as 1if; the header is refused anyway.
            warnings.simplefilter("ignore")
            array = np.load(name, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        # The first argument of a SyntaxError is its text, without the location. After a colon may
        # come the whole header, and after a semicolon a hint about Python.
        text = error.args[0] if error.args else ""
        if "Python objects" in str(text):
            raise FileFormatError(
                f"{name}: expected grey images of real numbers, got Python objects"
            ) from None
        reason = re.split(r": |; |\n", str(text))[0][:90] or type(error).__name__
        raise FileFormatError(
            f"{name}: expected an intact .npy file, got a damaged one ({reason})"
        ) from None
    if array.dtype.kind not in "biuf":
        raise FileFormatError(f"{name}: expected grey images of real numbers, got {array.dtype}")
    if array.nbytes > max_bytes:
        raise FileFormatError(
            f"{name}: expected at most {max_bytes:,} bytes, got {array.nbytes:,}; split it"
        )
    end = array.offset + array.nbytes
    if array.size and end != size:
        raise FileFormatError(
            f"{name}: expected one array, {end:,} bytes with its header, got {size:,} bytes"
        )
    return array
