"""Locks on files and folders that end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import warnings
import weakref
from pathlib import Path

_WINDOWS_NAME = ".lock"
_TRIES = 100  # a process that fails may remove the folder before it is locked
_LOOKS, _LOOK_SECONDS = 20, 0.005  # is_locked locks the folder itself, for an instant


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file, or a folder where the system can open one, without waiting.

    The lock ends when the descriptor and its copies in forked processes are closed. Return False if
    another process, or another descriptor of this one, holds a lock on it; if both are shared, they
    do not mind each other, except on Windows. OSError if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def is_locked(folder: str | os.PathLike[str]) -> bool:
    """Return whether a run writes to a folder; False if that cannot be known.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast.locks import LockedFolder, is_locked
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with LockedFolder(folder):
    ...         print(is_locked(folder))
    ...     print(is_locked(folder))
    True
    False
    """
    try:
        descriptor = os.open(_target(Path(folder)), os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _target(folder: Path) -> Path:
    """Return what is locked: Windows cannot open a folder."""
    return folder / _WINDOWS_NAME if sys.platform == "win32" else folder


def in_the_way(folder: Path) -> str | None:
    """Return what keeps a folder from being there or being created, or None if nothing does.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet_fast.locks import in_the_way
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "file")
    ...     path.touch()
    ...     in_the_way(path / "below") == f"the file {path}", in_the_way(Path(folder, "new"))
    (True, None)
    """
    for each in (folder, *folder.parents):
        # In this order: another process may create the folder in between.
        if os.path.lexists(each):
            if each.is_dir():
                return None
            return f"the {'file' if each.exists() else 'link to nowhere'} {each}"
    return None


class LockedFolder(os.PathLike[str]):
    """A folder that only one run writes to until it is released; usable as a path.

    The lock is on the folder itself, so a killed process leaves nothing behind. Readers need no
    lock. A forked child does not inherit it. A missing folder is created, with its parents.

    BlockingIOError if another process, or another thread of this one, holds the lock,
    NotADirectoryError if a file or a link to nowhere has that name, and another OSError if the
    folder cannot be created or read.

    The lock is that of ``flock``. Over NFS it holds only among the processes of one machine. If the
    file system has no locks at all, a UserWarning says so and the run continues without one.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast.locks import LockedFolder
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with LockedFolder(f"{parent}/run"):
    ...         try:
    ...             LockedFolder(f"{parent}/run")
    ...         except BlockingIOError as error:
    ...             print(str(error).partition(",")[0])
    out: expected a folder that no other training writes to
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        self._made: list[Path] = []
        if (obstacle := in_the_way(self.path)) is not None:
            raise NotADirectoryError(f"out: expected a folder, got {obstacle}")
        try:
            for _ in range(_TRIES):
                if self._lock():
                    break
            else:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        except BaseException:
            self.release()
            raise
        _held.add(self)

    @classmethod
    def new(cls, path: str | os.PathLike[str]) -> LockedFolder:
        """Create a new folder; if the name is taken, append -2, -3 and so on.

        Examples
        --------
        >>> import tempfile
        >>> from lenet_fast.locks import LockedFolder
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with LockedFolder.new(f"{parent}/run") as first:
        ...         with LockedFolder.new(f"{parent}/run") as second:
        ...             first.path.name, second.path.name
        ('run', 'run-2')
        """
        folder, number = Path(path), 1
        while True:
            if not os.path.lexists(folder):
                with contextlib.suppress(BlockingIOError):
                    locked = cls(folder)
                    if folder in locked._made:
                        return locked
                    locked.release()
            number += 1
            folder = Path(path).with_name(f"{Path(path).name}-{number}")

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __enter__(self) -> LockedFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise FileNotFoundError if the folder is no longer the one that was locked.

        Otherwise a user who moves it away and starts another run with its name gets a mixture.
        """
        if self._descriptor is not None and not self._is_same(self._descriptor):
            what = "moved, removed or replaced while a run was using it"
            raise FileNotFoundError(errno.ENOENT, what, str(self.path))

    def release(self) -> None:
        """Let others write; remove folders that were created for this one and are still empty."""
        on_windows = sys.platform == "win32"
        if on_windows:
            self._close()  # Windows cannot remove an open file
            with contextlib.suppress(OSError):
                (self.path / _WINDOWS_NAME).unlink()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made = []
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _lock(self) -> bool:
        """Return whether the folder is now locked; BlockingIOError if it is in use."""
        self._make()
        try:
            self._descriptor = self._open()
        except FileNotFoundError:
            return False
        try:
            for _ in range(_LOOKS):
                if free := try_lock(self._descriptor):
                    break
                time.sleep(_LOOK_SECONDS)
        except OSError as error:
            warnings.warn(
                f"{self.path}: the file system has no locks ({error.strerror}); make sure that no "
                "other process trains there meanwhile",
                stacklevel=5,
            )
            return True
        if not free:
            self._made = []  # created here, but used by another run now
            raise BlockingIOError(
                f"out: expected a folder that no other training writes to, but {self.path} is in "
                "use; wait for that training to end, stop it, or choose another folder"
            )
        same = self._is_same(self._descriptor)
        if not same:
            self._close()
        return same

    def _is_same(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(_target(self.path)), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _make(self) -> None:
        missing = []
        folder = self.path
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            try:
                each.mkdir()
            except FileExistsError:
                if not each.is_dir():
                    raise  # created meanwhile
            except FileNotFoundError:
                return  # its parent has been removed meanwhile
            else:
                self._made.append(each)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT if sys.platform == "win32" else os.O_RDONLY
        return os.open(_target(self.path), flags)


def _forget() -> None:
    """Close the copies in a forked child, which would keep the parent's locks alive."""
    for folder in list(_held):
        folder._made = []
        folder._close()


_held: weakref.WeakSet[LockedFolder] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
