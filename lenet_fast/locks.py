"""Locks on files and folders that end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
import weakref
from pathlib import Path
from types import TracebackType

_WINDOWS_NAME = ".lock"
_TRIES = 100  # a folder may be removed, by who has failed, before it is locked


def try_lock(descriptor: int) -> bool:
    """Lock an open file, or a folder where that can be opened, without waiting.

    The lock ends when the descriptor, and all copies of it in forked processes, are closed.

    Returns
    -------
    bool
        False if somebody else holds a lock on it: another process, or another descriptor here.

    Raises
    ------
    OSError
        If the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


class LockedFolder(os.PathLike[str]):
    """A folder that one run alone writes to, until it is released; stands for its path.

    The lock is on the folder itself, so nothing is left behind when a process is killed. Whoever
    only reads takes no lock. A forked child does not inherit it.

    Parameters
    ----------
    path : path
        It is made if it is missing, with the folders above it.

    Attributes
    ----------
    path : Path

    Raises
    ------
    BlockingIOError
        If another process, or another thread of this one, holds the lock.
    NotADirectoryError
        If there is a file of that name.
    OSError
        If the folder cannot be made or read.

    Notes
    -----
    The lock is that of ``flock``. Over NFS it holds among the processes of one machine only. Where
    the file system has no locks at all, a UserWarning says so and the run goes on without one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        self._made: list[Path] = []
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"out: expected a folder, got the file {self.path}")
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
        """Make a folder that was not there, with -2, -3 and so on behind its name if it is taken.

        Raises
        ------
        OSError
            If it cannot be made.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def check(self) -> None:
        """Raise FileNotFoundError if the folder is no longer the one that was locked.

        Who moves it away and begins another run of that name must not find both in it.
        """
        if self._descriptor is not None and not self._is_same(self._descriptor):
            what = "moved, removed or replaced while a run went on in it"
            raise FileNotFoundError(errno.ENOENT, what, str(self.path))

    def release(self) -> None:
        """Let others write; remove the folders that were made for this one and are still empty."""
        on_windows = sys.platform == "win32"
        if on_windows:
            self._close()  # an open file cannot be removed there
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
        """Return whether the folder of this name is locked; BlockingIOError if it is in use."""
        self._make()
        try:
            self._descriptor = self._open()
        except FileNotFoundError:
            return False
        try:
            free = try_lock(self._descriptor)
        except OSError as error:
            warnings.warn(
                f"{self.path}: the file system has no locks ({error.strerror}); see to it that no "
                "other process trains there meanwhile",
                stacklevel=5,
            )
            return True
        if not free:
            raise BlockingIOError(
                f"out: expected a folder that no other training writes to, but {self.path} is in "
                "use; wait for that training to end, stop it, or name another folder"
            )
        same = self._is_same(self._descriptor)
        if not same:
            self._close()
        return same

    def _is_same(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._target()), os.fstat(descriptor))
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
                    what = "expected a folder, got a link that leads to none"
                    raise FileExistsError(errno.EEXIST, what, str(each)) from None
            except FileNotFoundError:
                return  # the one above it has been removed meanwhile
            else:
                self._made.append(each)

    def _target(self) -> Path:
        return self.path / _WINDOWS_NAME if sys.platform == "win32" else self.path

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT if sys.platform == "win32" else os.O_RDONLY
        return os.open(self._target(), flags)


def _forget() -> None:
    """Close a forked child's copies: otherwise they would hold the locks of its parent."""
    for folder in list(_held):
        folder._made = []
        folder._close()


_held: weakref.WeakSet[LockedFolder] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
