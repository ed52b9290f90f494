"""Files on disk: only regular files are read, and files are written completely or not at all.

All output files go through :func:`write_atomic` or :func:`write_beside`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lenet_fast import locks
from lenet_fast.errors import FileFormatError

_NOT_A_FILE = "expected a file, got a folder"
_NOT_REGULAR = "expected a regular file, got a device or a pipe"


def open_regular(path: str | os.PathLike[str], limit: int | None = None) -> BinaryIO:
    """Open a file for reading, unless it might block or never end.

    FileFormatError if it is a folder, a pipe, a socket or a device, or not of 1 to `limit` bytes.
    """
    info = os.stat(path)  # before opening: opening a pipe would block
    if not stat.S_ISREG(info.st_mode):
        fault = _NOT_A_FILE if stat.S_ISDIR(info.st_mode) else _NOT_REGULAR
        raise FileFormatError(f"{os.fspath(path)}: {fault}")
    if limit is not None and not 0 < info.st_size <= limit:
        raise FileFormatError(
            f"{os.fspath(path)}: expected a file of 1 to {limit} bytes, got {info.st_size} bytes"
        )
    return open(path, "rb")


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file of 1 to `limit` bytes; see :func:`open_regular`.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import disk
    >>> from lenet_fast.errors import FileFormatError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     disk.write_atomic(f"{folder}/a", bytes(100))
    ...     try:
    ...         disk.read_bytes(f"{folder}/a", limit=10)
    ...     except FileFormatError as error:
    ...         print(str(error).rpartition(": ")[2])
    expected a file of 1 to 10 bytes, got 100 bytes
    """
    with open_regular(path, limit) as file:
        return file.read(limit + 1)


def write_atomic(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file so that its name always refers to the complete old or the complete new file.

    The bytes go to a temporary file in the same folder and are flushed to disk; then the file is
    renamed. On any failure the old file stays and the temporary one is removed. A temporary file
    of a killed process is removed by the next write to the same name. The new file takes over the
    permissions of the old one and, where the system allows it, its owner. A symbolic link is
    followed, not replaced. `content` can be a function that writes to the open file it is given.

    OSError, with `path` as its ``filename``, if the folder is missing, full or not writable, or
    `path` is a folder, a device or a pipe.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet_fast import disk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     disk.write_atomic(f"{folder}/a", b"old")
    ...     disk.write_atomic(f"{folder}/a", lambda file: file.write(b"new") and None)
    ...     [path.name for path in Path(folder).iterdir()], Path(folder, "a").read_bytes()
    (['a'], b'new')
    """
    _replace(Path(os.path.realpath(path)), content, path, None)


def write_beside(
    path: str | os.PathLike[str],
    content: bytes | Callable[[BinaryIO], None],
    other: str | os.PathLike[str],
) -> None:
    """Write a file of a run as :func:`write_atomic` does, but replace a symbolic link.

    A run's folder may come from elsewhere, with links that lead anywhere. A new file gets the
    permissions of the run's `other` file, if that exists.
    """
    _replace(Path(path), content, path, Path(other))


def _replace(
    target: Path,
    content: bytes | Callable[[BinaryIO], None],
    path: str | os.PathLike[str],
    other: Path | None,
) -> None:
    try:
        old = _replaced(target, path)
        like = old if old is not None or other is None else _regular(other)
        remove_leftovers(target)
        _write(target, content, old, like)
    except OSError as error:
        if _names_another(error, target):
            raise
        # Report the target's name: the temporary file's name means nothing to users.
        if error.errno is None:
            raise OSError(f"{os.fspath(path)}: {error}") from error
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes left behind while writing a file.

    Files that a process is still writing are locked, and stay.
    """
    path = Path(path)
    pattern = re.compile(rf"\.{re.escape(path.name[:50])}\.[0-9a-f]{{16}}\.tmp")
    with contextlib.suppress(OSError):  # an unreadable folder is for the writer to report
        for name in os.listdir(path.parent):
            if not pattern.fullmatch(name):
                continue
            with contextlib.suppress(OSError), open(path.parent / name, "r+b") as file:
                if locks.try_lock(file.fileno()):
                    os.unlink(path.parent / name)


def _replaced(target: Path, path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of the file that will be replaced; None if there is none."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, _NOT_A_FILE, os.fspath(path))
    # A rename would replace /dev/null by a file, for all other programs too.
    if not stat.S_ISREG(found.st_mode):
        raise FileExistsError(errno.EEXIST, _NOT_REGULAR, os.fspath(path))
    return found


def _regular(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return found if stat.S_ISREG(found.st_mode) else None
    return None


def _write(
    target: Path,
    content: bytes | Callable[[BinaryIO], None],
    old: os.stat_result | None,
    like: os.stat_result | None,
) -> None:
    file, temporary = _new_temporary(target, 0o666 if like is None else like.st_mode & 0o777)
    try:
        with file:
            if like is not None and hasattr(os, "fchmod"):
                _take_over(file.fileno(), old, like)
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.name != "nt":  # under the lock, where an open file can be renamed
                os.replace(temporary, target)
        if os.name == "nt":
            os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it was renamed to the target
            os.unlink(temporary)
    # Flush the rename too, in case of a power cut. Not every system can flush a folder; the file
    # is complete either way.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _new_temporary(target: Path, mode: int) -> tuple[BinaryIO, Path]:
    """Return a new, open, locked file in the target's folder, and its path."""
    while True:
        temporary = target.parent / f".{target.name[:50]}.{secrets.token_hex(8)}.tmp"
        file = open(  # noqa: SIM115  (the caller closes it)
            temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)
        )
        try:
            try:
                locked = locks.try_lock(file.fileno())
            except OSError:
                return file, temporary  # without locks, nobody else can remove it either
            # Between creation and locking, another process may have removed it as a leftover.
            if locked and os.path.exists(temporary):
                return file, temporary
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _take_over(descriptor: int, old: os.stat_result | None, like: os.stat_result) -> None:
    """Give a file the permissions of another, and the owner of the file that it replaces."""
    if old is not None:
        new = os.fstat(descriptor)
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            with contextlib.suppress(OSError):  # only the superuser may give files away
                os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):  # created with these permissions, except for the umask
        os.fchmod(descriptor, like.st_mode & 0o777)


def _names_another(error: OSError, target: Path) -> bool:
    """Return whether an error is about a file other than the one being written."""
    if error.filename is None:
        return False
    name = os.path.basename(os.fsdecode(error.filename))
    return not (name == target.name or (name.startswith(".") and name.endswith(".tmp")))
