"""``lenet-fast predict --out``: classify any number of images into a table, in constant memory."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from lenet_fast.cli import common

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.data.arrays import Digits
    from lenet_fast.engines import Engine
    from lenet_fast.network import Network

PIECE = 1024
"""Images of an array that are read at a time."""

PICTURES = 64
"""Picture files that are read at a time."""

_GROUP = 1 << 16  # rows of a Parquet file that are written together


@dataclass
class Piece:
    """Some images as the network reads them: in arrays, each of images of one size.

    `places` are the file and the number of each, `faults` say what is wrong with others.
    """

    images: list[Array] = field(default_factory=list)
    places: list[tuple[str, int | None]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, network: Network, path: Path, found: Digits) -> None:
        """Add digits of a file; raise ValueError if the network cannot read them."""
        import numpy as np

        from lenet_fast.engines import inputs

        images = inputs.images(network, common.fitted(network, found.images))
        name = os.fspath(path)
        self.notes += [f"{name}: {note}" for note in found.notes]
        for number, fault in found.faults.items():
            self.faults.append(f"{name}{f'[{number}]' * found.several}: {fault}")
        if not found.numbers:
            return
        if self.images and self.images[-1].shape[1:] == images.shape[1:]:
            images = np.concatenate([self.images.pop(), images])
        self.images.append(images)
        self.places += [(name, number if found.several else None) for number in found.numbers]


def predict(
    out: Path,
    files: Sequence[Path],
    engine: Engine,
    network: Network,
    *,
    centre: bool | None,
    transpose: bool,
    values: str,
) -> tuple[int, int]:
    """Write a row per image of files and folders; return how many there are, and the faults.

    `values` names the column of the winning value. Files are read in threads while the engine
    computes; a few pieces are in memory at a time.
    """
    import numpy as np

    from lenet_fast import disk

    rows = faults = 0

    def write(file: BinaryIO) -> None:
        nonlocal rows, faults
        said: set[str] = set()
        with (
            _TABLES[out.suffix.lower()](file, ("file", "index", "class", "name", values)) as put,
            _progress() as advance,
            contextlib.closing(pieces(files, network, centre, transpose, engine.threads)) as found,
        ):
            for piece in found:
                for note in piece.notes:
                    if note not in said:
                        said.add(note)
                        common.say(note, style="yellow")
                for fault in piece.faults:
                    common.fail(fault)
                faults += len(piece.faults)
                if not piece.places:
                    continue
                outputs = np.concatenate([engine.predict(each) for each in piece.images])
                labels = network.classify_outputs(outputs).tolist()
                best = shown(network, outputs)[range(len(labels)), labels].tolist()
                names = [network.classes[label] for label in labels]
                places = [list(column) for column in zip(*piece.places, strict=True)]
                put([*places, labels, names, best])
                rows += len(labels)
                advance(len(labels))

    with common.writing_out():
        disk.write_atomic(out, write)
    return rows, faults


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:,.0f} images"), TimeElapsedColumn()
    with common.progress_bar(*columns) as bar:
        task = bar.add_task("images", total=None)
        yield lambda count: bar.advance(task, count)


def report(out: Path, rows: int, seconds: float) -> None:
    """Print what was written."""
    common.line("written", out, f"{rows:,} images", f"{rows / max(seconds, 1e-9):,.0f} per second")


def checked(out: Path, overwrite: bool) -> Path:
    """Return where to write; raise for a wrong ending, a file that exists, or a missing library."""
    if out.suffix.lower() not in _TABLES:
        raise click.UsageError(f"--out: expected a name in .csv or .parquet, got {out}")
    if not out.absolute().parent.is_dir():
        raise click.UsageError(f"--out: expected an existing folder, but there is no {out.parent}")
    if os.path.lexists(out) and not overwrite:
        raise click.UsageError(f"--out: {out} exists; --overwrite replaces it")
    if out.suffix.lower() == ".parquet":
        _pyarrow()
    return out


def shown(network: Network, outputs: Array) -> Array:
    """Return the values of the classes (n, k) that are shown for outputs."""
    return network.probabilities(outputs) if network.output == "softmax" else outputs


# --- reading ---------------------------------------------------------------------------------


def pieces(
    files: Iterable[Path], network: Network, centre: bool | None, transpose: bool, threads: int
) -> Generator[Piece]:
    """Yield the images of files in order, read ahead in threads."""
    from lenet_fast.threads import Pool

    pool = Pool(max(threads, 2))
    try:
        with contextlib.closing(
            pool.run(lambda read: read(), _reads(files, network, centre, transpose))
        ) as found:
            yield from found
    finally:
        pool.close()


def _reads(
    files: Iterable[Path], network: Network, centre: bool | None, transpose: bool
) -> Iterator[Callable[[], Piece]]:
    """Yield functions that read the next images each: a group of pictures, or part of an array."""
    from lenet_fast.data import arrays

    options = reading(network, transpose)
    pictures: list[Path] = []
    group = partial(_pictures, network, centred=centre is not False, **options)
    for path in _walk(files):
        count, piece = 0, None
        fault: Exception | None = None
        try:
            if arrays.is_array(head(path)):
                array = arrays.read_array(path, mapped=True)
                count, piece = arrays.pieces(array, PIECE, centred=centre, **options)
            else:
                pictures.append(path)
        except (ValueError, TypeError, OSError) as error:
            fault = error
        if pictures and (count or fault or len(pictures) == PICTURES):
            yield partial(group, pictures)
            pictures = []
        if fault is not None:
            yield partial(_fault, path, fault)
        for k in range(count):
            assert piece is not None
            yield partial(_part, network, path, piece, k)
    if pictures:
        yield partial(group, pictures)


def _walk(files: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and those in folders and their folders, by name, except hidden ones."""
    for path in files:
        if not path.is_dir():
            yield path
            continue
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(folder, name)


def head(path: Path) -> bytes:
    """Return the first bytes of a file, which decide what it is."""
    from lenet_fast import disk

    with disk.open_regular(path) as file:
        head = file.read(6)
    if not head:
        raise ValueError("expected a picture, .npy or IDX, got an empty file")
    return head


def reading(network: Network, transpose: bool) -> dict[str, Any]:
    """Return the options of :func:`lenet_fast.data.arrays.digits` for a network."""
    channels = network.input_shape[0]
    return {"transposed": transpose, "inverted": network.inverted, "channels": channels}


def picture(network: Network, path: Path, **options: Any) -> Digits:
    """Return the image of a picture in the form that the network reads: grey, or in colours."""
    import numpy as np

    from lenet_fast import data
    from lenet_fast.data import arrays, pictures

    channels, size, _ = network.input_shape
    if channels not in (1, 3):
        raise ValueError(f"expected a .npy file for a network of {channels} channels, got another")
    image = data.read_image(path) if channels == 1 else pictures.read_colours(path, size)
    return arrays.digits(image[np.newaxis], **options)._replace(several=False)


def _pictures(network: Network, paths: list[Path], **options: Any) -> Piece:
    """Return a group of pictures."""
    piece = Piece()
    for path in paths:
        try:
            piece.add(network, path, picture(network, path, **options))
        except (ValueError, TypeError, OSError) as error:
            piece.faults.append(naming(path, error))
    return piece


def _part(network: Network, path: Path, read: Callable[[int], Digits], k: int) -> Piece:
    """Return a part of an array."""
    piece = Piece()
    try:
        piece.add(network, path, read(k))
    except OSError as error:
        piece.faults.append(naming(path, error))
    except (ValueError, TypeError) as error:
        if k == 0:  # images of a size that the network cannot read: so are those of each part
            piece.faults.append(naming(path, error))
    return piece


def _fault(path: Path, error: Exception) -> Piece:
    return Piece(faults=[naming(path, error)])


def naming(path: Path, error: Exception) -> str:
    """Return what went wrong, with the file's name unless the message has it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    text = str(error)
    return text if text.startswith(str(path)) else f"{path}: {text}"


# --- writing ---------------------------------------------------------------------------------


Put = Callable[[list[list[Any]]], None]
"""Writes rows, given as columns."""


@contextlib.contextmanager
def _csv(file: BinaryIO, names: Sequence[str]) -> Iterator[Put]:
    # File names may be bytes that are no text; they are written as they are.
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(names)
        yield lambda columns: writer.writerows(zip(*columns, strict=True))
    finally:
        text.detach()  # flushes; the file stays open


@contextlib.contextmanager
def _parquet(file: BinaryIO, names: Sequence[str]) -> Iterator[Put]:
    pyarrow, parquet = _pyarrow()
    kinds = pyarrow.string(), pyarrow.int64(), pyarrow.int64(), pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema(list(zip(names, kinds, strict=True)))
    kept: list[list[Any]] = [[] for _ in names]
    with parquet.ParquetWriter(file, schema) as writer:

        def write() -> None:
            kept[0] = [os.fsencode(name).decode(errors="backslashreplace") for name in kept[0]]
            writer.write_table(pyarrow.table(kept, schema))
            for column in kept:
                column.clear()

        def put(columns: list[list[Any]]) -> None:
            for column, more in zip(kept, columns, strict=True):
                column += more
            if len(kept[0]) >= _GROUP:
                write()

        yield put
        write()


_TABLES: dict[str, Callable[..., contextlib.AbstractContextManager[Put]]] = {
    ".csv": _csv,
    ".parquet": _parquet,
}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        from lenet_fast import cures

        raise ImportError(
            f"Parquet files need pyarrow: {cures.install('lenet_fast[parquet]')}; a .csv needs none"
        ) from error
    return pyarrow, parquet
