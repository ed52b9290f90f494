"""CIFAR-10 in its binary version: per image a label, then the bytes of red, green and blue.

data_batch_1.bin ... data_batch_5.bin, test_batch.bin
1 byte label, 1,024 bytes red, 1,024 green, 1,024 blue, row by row; 10,000 times per file
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lenet_fast import disk
from lenet_fast.errors import FileFormatError

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
FOLDERS = ("cifar-10-batches-bin", "")

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_MAX_BYTES = 2**28

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Images (n, 3, 32, 32) and labels (n,)."""


def lacking(folder: Path) -> tuple[Path, list[str]]:
    """Return where the six files are, the folder or a usual one in it, and which are missing."""
    place = next((folder / name for name in FOLDERS if (folder / name / TEST[0]).exists()), folder)
    return place, [name for name in (*TRAIN, *TEST) if not (place / name).exists()]


def read(place: Path) -> tuple[Images, Images]:
    """Return the training and test images of a folder with the six files.

    FileFormatError if one is not made of whole records, or has a label above 9.
    """
    parts = [
        loads(disk.read_bytes(place / name, _MAX_BYTES), str(place / name))
        for name in (*TRAIN, *TEST)
    ]
    return joined(parts)


def joined(parts: Sequence[Images]) -> tuple[Images, Images]:
    """Return the training and test images of the six files, given in the order of their names."""
    return _joined(parts[: len(TRAIN)]), _joined(parts[len(TRAIN) :])


def _joined(parts: Sequence[Images]) -> Images:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def loads(content: bytes, name: str, *, max_bytes: int = _MAX_BYTES) -> Images:
    """Read a file, of 1 to `max_bytes` bytes, from memory; `name` is the file, for messages."""
    if not 0 < len(content) <= max_bytes or len(content) % _RECORD:
        raise FileFormatError(
            f"{name}: expected records of {_RECORD:,} bytes, at most {max_bytes:,} in all, got "
            f"{len(content):,} bytes"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise FileFormatError(
            f"{name}: expected labels 0 to 9, got {labels.max()} (record {int(labels.argmax())})"
        )
    return records[:, 1:].reshape(-1, *_SHAPE), labels
