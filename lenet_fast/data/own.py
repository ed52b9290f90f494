"""Data sets in other files than IDX: NumPy's .npz, tables of numbers (CSV), folders of pictures.

None is trusted: sizes are limited, nothing in a file is executed, and every number is checked.
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast import checks, disk
from lenet_fast.checks import Array
from lenet_fast.data import images, pictures
from lenet_fast.data.arrays import as_bytes
from lenet_fast.data.arrays.containers import DAMAGED
from lenet_fast.errors import FileFormatError

MAX_BYTES = 2**30
"""Most bytes of a file, and of an array in it."""

MAX_PICTURES = 2**20
"""Most pictures in a folder."""

KEYS = ("x_train", "y_train", "x_test", "y_test")
"""Arrays in an .npz, as Keras' mnist.npz has them."""

NAMES = "classes"
"""Another array that it may have: the names of the classes."""

SPLITS = (("train", "test"), ("training", "testing"), ("train", "val"))
"""Folders of the training and the test pictures."""

_KEPT = images.SIZE, images.SIZE  # of pictures that are taken as they are
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".webp")
_TEST_SHARE = 6  # one of so many images is for tests, where there is no test set
_MAX_COLUMNS = 2**16
_LABELS = ("label", "class")
_INDEX = ("", "index", "id", "imageid", "unnamed: 0")

Report = Callable[[str], None]


class Found(NamedTuple):
    """What files contain."""

    contents: list[Array]  # training images, training labels, test images, test labels; bytes
    names: list[str]  # what these are called in messages
    classes: tuple[str, ...] | None  # None: unnamed
    notices: list[str]


def find(path: Path, report: Report) -> Found | None:
    """Return the content of an .npz, a CSV file, or a folder of CSV files or pictures.

    None if `path` is none of these. FileFormatError if it is, but cannot be read.
    """
    if path.is_dir():
        tables = sorted(path.glob("*train.csv"))
        if len(tables) == 1:
            return _tables(tables[0], report)
        return _folders(path, report)
    if not path.exists():
        return None
    with disk.open_regular(path, MAX_BYTES) as file:
        head = file.read(4)
    if head == b"PK\3\4":
        return _npz(path)
    return _tables(path, report) if path.suffix.lower() == ".csv" else None


def _finished(
    contents: list[Array], names: list[str], classes: tuple[str, ...] | None, notices: list[str]
) -> Found:
    """Return images and labels as bytes, on the usual scale; FileFormatError if they are others."""
    made: list[Array] = []
    for part, first in (("training", 0), ("test", 2)):
        x, y = contents[first : first + 2]
        try:
            x = _squares(x)
            if not (finite := np.isfinite(x).all(axis=(1, 2))).all():
                raise ValueError(
                    f"expected numbers, got NaN or infinity in image {finite.argmin()}"
                )
            x, notes = as_bytes(x)
        except ValueError as error:
            raise FileFormatError(f"{names[first]}: {error}") from None
        notices += [f"The {part} images have {note}." for note in notes]
        made += [x, _labels(y, names[first + 1])]
        if len(x) != len(made[-1]):
            raise FileFormatError(
                f"{names[first + 1]}: expected {len(x):,} labels, one per image, got "
                f"{len(made[-1]):,}"
            )
        if not len(x):
            raise FileFormatError(f"{names[first]}: expected at least one image, got none")
    (rows, columns), (rows_of_test, columns_of_test) = made[0].shape[1:], made[2].shape[1:]
    if (rows, columns) != (rows_of_test, columns_of_test):
        raise FileFormatError(
            f"{names[2]}: expected images of {rows}x{columns}, as in {names[0]}, got "
            f"{rows_of_test}x{columns_of_test}"
        )
    return Found(made, names, classes, notices)


def _squares(x: Array) -> Array:
    """Return grey images (n, rows, columns), also from rows of a table."""
    if x.ndim == 4 and 1 in (x.shape[1], x.shape[3]):
        x = x.reshape(len(x), *(x.shape[2:] if x.shape[1] == 1 else x.shape[1:3]))
    if x.ndim == 2 and (side := math.isqrt(x.shape[1])) ** 2 == x.shape[1]:
        x = x.reshape(len(x), side, side)
    if x.dtype.kind not in "biuf" or x.ndim != 3 or 0 in x.shape[1:]:
        raise ValueError(
            f"expected grey images of numbers, (n, rows, columns), got {x.dtype} {x.shape}"
        )
    return x


def _labels(y: Array, name: str) -> npt.NDArray[np.uint8]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.ndim == 1 and (y.dtype.kind in "iu" or (y.dtype.kind == "f" and (y == y // 1).all()))
    if not whole:
        raise FileFormatError(f"{name}: expected labels, integers (n,), got {y.dtype} {y.shape}")
    if y.size and not 0 <= y.min() <= y.max() <= 255:
        raise FileFormatError(f"{name}: expected labels 0 to 255, got {y.min():g} to {y.max():g}")
    return y.astype(np.uint8)


def _npz(path: Path) -> Found:
    """Read an archive of NumPy arrays."""
    found = []
    try:
        with disk.open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            missing = [key for key in KEYS if key not in names]
            if missing:
                raise FileFormatError(
                    f"{path}: expected an .npz with the arrays {', '.join(KEYS)}, got one with "
                    f"{', '.join(map(checks.quoted, names[:8])) or 'nothing'}"
                )
            keys = [*KEYS, NAMES] if NAMES in names else KEYS
            for key in keys:
                info = archive.getinfo(f"{key}.npy")
                if info.file_size > MAX_BYTES:
                    raise FileFormatError(
                        f"{path}: {key}: expected at most {MAX_BYTES:,} bytes, got "
                        f"{info.file_size:,}"
                    )
                content = io.BytesIO(archive.read(info))
                if _has_objects(content):
                    raise FileFormatError(f"{path}: {key}: expected numbers, got Python objects")
                found.append(np.load(content, allow_pickle=False))
                if found[-1].nbytes and content.read(1):
                    raise FileFormatError(f"{path}: {key}: expected one array, got more behind it")
    except FileFormatError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, *DAMAGED) as error:
        reason = re.split(r": |; |\n", str(error))[0][:90]
        raise FileFormatError(f"{path}: expected an intact .npz, got: {reason}") from None
    classes = _names(found.pop(), f"{path}, {NAMES}") if len(found) > len(KEYS) else None
    return _finished(found, [f"{path}, {key}" for key in KEYS], classes, [])


def _has_objects(content: io.BytesIO) -> bool:
    """Return whether an array in .npy format is a pickle, which might execute anything."""
    version = np.lib.format.read_magic(content)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    dtype = read(content)[2]
    content.seek(0)
    return bool(dtype.hasobject)


def _names(array: Array, name: str) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise FileFormatError(
            f"{name}: expected the names of the classes, texts (n,), got {array.dtype} "
            f"{array.shape}"
        )
    try:
        return checks.class_names(name, array.tolist())
    except ValueError as error:
        raise FileFormatError(str(error)) from None


def _tables(path: Path, report: Report) -> Found:
    """Read a table of training images, and that of test images beside it, if that has labels."""
    report(f"reading {path}")
    images, labels = _table(path)
    head, train, tail = path.name.rpartition("train")
    other = path.with_name(f"{head}test{tail}")
    if train and other.is_file() and _label_column(other, _first_line(other)) is not None:
        report(f"reading {other}")
        sets = [images, labels, *_table(other)]
        names = [str(path), str(path), str(other), str(other)]
        return _finished(sets, names, None, [])
    return _finished(*_divided(images, labels, str(path)))


def _divided(images: Array, labels: Array, name: str) -> tuple[Any, Any, None, list[str]]:
    """Return the last images of each class as test images."""
    test = _last_of_each(_labels(labels, name))
    if not test.any():
        raise FileFormatError(
            f"{name}: expected at least {_TEST_SHARE} images of a class, the last of which are for "
            "tests, got fewer of each"
        )
    notice = (
        f"{name} has no test set: the last sixth of each class, {test.sum():,} of {len(images):,} "
        "images, are the test images."
    )
    contents = [images[~test], labels[~test], images[test], labels[test]]
    return contents, [name] * 4, None, [notice]


def _last_of_each(labels: Array) -> npt.NDArray[np.bool_]:
    """Return which images are the last sixth of their class."""
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        test[of_class[len(of_class) - len(of_class) // _TEST_SHARE :]] = True
    return test


def _first_line(path: Path) -> list[str]:
    with disk.open_regular(path, MAX_BYTES) as file:
        line = file.readline(2**20)
    if not line.endswith(b"\n") and len(line) == 2**20:
        raise FileFormatError(f"{path}: expected lines of at most {2**20:,} bytes, got longer ones")
    text = line.decode("utf-8-sig", "replace").strip()
    return [field.strip().strip('"').lower() for field in text.split(",")]


def _label_column(path: Path, fields: list[str]) -> int | None:
    """Return which column of a table has the labels, given its first line; None if none has."""
    columns = len(fields)
    if not 2 <= columns <= _MAX_COLUMNS:
        raise FileFormatError(
            f"{path}: expected a label and pixels in each line, separated by commas, got "
            f"{columns} columns"
        )
    index = next((field for field in fields if field in _INDEX), None) if _head(fields) else None
    square, longer = (math.isqrt(n) ** 2 == n for n in (columns - 1, columns - 2))
    if index is not None or (longer and not square):
        raise FileFormatError(
            f"{path}: expected a label and pixels only, got {columns} columns, one of which seems "
            "to be an index or a name; leave it out (pandas: to_csv(..., index=False))"
        )
    if not _head(fields):
        return 0 if square else None
    return next((k for k, field in enumerate(fields) if field in _LABELS), None)


def _head(fields: list[str]) -> bool:
    """Return whether a line is the names of columns."""
    return not all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", field) for field in fields)


def _table(path: Path) -> tuple[Array, Array]:
    """Return images (n, rows, columns) and labels of a table with one image per line."""
    fields = _first_line(path)
    column = _label_column(path, fields)
    if column is None or math.isqrt(len(fields) - 1) ** 2 != len(fields) - 1:
        raise FileFormatError(
            f"{path}: expected a column of labels, the first one or that called label, and one "
            f"column per pixel of a square image, such as 784, got {len(fields)} columns"
        )
    skipped = int(_head(fields))
    try:
        table = _numbers(path, skipped, np.uint8)
    except ValueError:
        try:  # shares from 0 to 1, perhaps
            table = _numbers(path, skipped, np.float32)
        except ValueError as error:
            reason = str(error).partition(";")[0].rstrip(".")
            # NumPy counts rows from 0 where it names a column, else from 1.
            before = skipped + ("column " in reason)
            line = re.sub(r"at row (\d+)", lambda row: f"in line {int(row[1]) + before}", reason)
            raise FileFormatError(f"{path}: expected numbers: {line}") from None
    if table.shape[1] != len(fields):  # an empty table has no columns
        raise FileFormatError(f"{path}: expected lines of {len(fields)} numbers, got none")
    values = np.delete(table, column, axis=1)
    if not (finite := np.isfinite(values).all(axis=1)).all():
        image = int(finite.argmin())
        raise FileFormatError(
            f"{path}: expected numbers, got NaN or infinity in line {image + 1 + skipped} (image "
            f"{image})"
        )
    if not skipped and _labels_seem_last(table):
        raise FileFormatError(
            f"{path}: expected the labels in the first column, but those seem to be in the last; "
            "name the column label in a header"
        )
    if values.dtype == np.float32 and values.max(initial=0) > 1:
        at = np.argwhere(~np.isin(values, np.arange(256)))
        if len(at):
            row, pixel = at[0]
            raise FileFormatError(
                f"{path}: expected pixels from 0 to 255, integers, or from 0 to 1, got "
                f"{values[row, pixel]:g} in line {row + 1 + skipped}"
            )
        values = values.astype(np.uint8)
    side = math.isqrt(values.shape[1])
    return values.reshape(len(values), side, side), table[:, column]


def _labels_seem_last(table: Array) -> bool:
    """Return whether the last column looks like labels, and the first one does not."""
    first, last = np.unique(table[:, 0]), np.unique(table[:, -1])
    if len(last) < 2 or (last != last // 1).any():
        return False
    return len(first) == 1 or (len(last) > 2 and _counted(last) and not _counted(first))


def _counted(labels: Array) -> bool:
    """Return whether sorted labels are 0, 1, 2, ... or, as EMNIST's letters, 1, 2, 3, ..."""
    return labels[0] in (0, 1) and np.array_equal(labels, labels[0] + np.arange(len(labels)))


def _numbers(path: Path, skipped: int, dtype: type[np.generic]) -> Array:
    with (
        disk.open_regular(path, MAX_BYTES) as file,
        io.TextIOWrapper(file, "utf-8-sig", errors="replace") as text,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # refused later
        return np.loadtxt(
            text, dtype, delimiter=",", comments=None, quotechar='"', skiprows=skipped, ndmin=2
        )


def _folders(folder: Path, report: Report) -> Found | None:
    """Read pictures from a folder per class, and a folder of these per set, if there are any."""
    parts: tuple[Path, ...]
    for pair in SPLITS:
        parts = folder / pair[0], folder / pair[1]
        if all(part.is_dir() and _class_folders(part) for part in parts):
            break
    else:
        parts = (folder,)
    classes = [each.name for each in _class_folders(parts[0])] if parts[0].is_dir() else []
    if not classes:
        return None
    try:
        names = checks.class_names("names", classes)
        if len(names) < 2:
            raise ValueError(f"expected at least two classes, got {names[0]} alone")
    except ValueError as error:
        raise FileFormatError(f"{parts[0]}: a folder per class: {error}") from None
    paths: list[list[tuple[Path, int]]] = []
    for part in parts:
        others = {each.name for each in _class_folders(part)} - set(names)
        if others:
            raise FileFormatError(
                f"{part}: expected the classes of {parts[0]}, got also {', '.join(sorted(others))}"
            )
        paths.append([(path, k) for k, name in enumerate(names) for path in _files(part / name)])
    notices = []
    if len(parts) == 1:
        test = _last_of_each(np.array([k for _, k in paths[0]]))
        paths = [
            [each for each, chosen in zip(paths[0], test, strict=True) if chosen == of_test]
            for of_test in (False, True)
        ]
        notices.append(
            f"{folder} has no folders train and test: the last sixth of each class, "
            f"{len(paths[1]):,} images, are the test images."
        )
    if not all(paths):
        raise FileFormatError(f"{folder}: expected pictures to train on and to test, got too few")
    if sum(map(len, paths)) > MAX_PICTURES:
        raise FileFormatError(f"{folder}: expected at most {MAX_PICTURES:,} pictures, got more")
    report(f"reading {sum(map(len, paths)):,} pictures")
    contents = []
    centred = 0
    for of_set in paths:
        small = np.empty((len(of_set), *_KEPT), np.uint8)
        for i, (path, _) in enumerate(of_set):
            try:
                picture = pictures.read_image(path)
                if picture.shape != _KEPT:
                    picture = _centred(picture, path)
                    centred += 1
            except FileFormatError as error:
                what = f"a picture of the class {names[of_set[i][1]]} by its folder"
                raise FileFormatError(f"{error} ({what})") from error
            small[i] = picture
        contents += [small, np.array([k for _, k in of_set], np.uint8)]
    if centred:
        notices.append(
            f"{centred:,} pictures were centred and scaled to 28x28, as MNIST's digits are."
        )
    places = [str(part) for part in (parts * 2)[:2]]
    return _finished(contents, [places[0]] * 2 + [places[1]] * 2, names, notices)


def _class_folders(folder: Path) -> list[Path]:
    """Return the folders with pictures in a folder, numbers in their order."""
    found = [
        each
        for each in folder.iterdir()
        if each.is_dir() and any(name.lower().endswith(_ENDINGS) for name in os.listdir(each))
    ]
    whole = all(each.name.isdecimal() for each in found)
    return sorted(found, key=lambda each: (int(each.name) if whole else 0, each.name))


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder; a class may lack one in the test set."""
    if not folder.is_dir():
        return []
    hidden = (".", "Thumbs.db")
    names = sorted(name for name in os.listdir(folder) if not name.startswith(hidden))
    return [folder / name for name in names]


def _centred(image: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    try:
        return images.centre(image)
    except ValueError as error:
        reason = str(error).removeprefix("image: ").replace("a digit", "a drawing")
        raise FileFormatError(f"{path}: {reason}") from None
