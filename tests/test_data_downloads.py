"""Downloads: archives of EMNIST and CIFAR-10, QMNIST's files, all from a server on the loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import io
import os
import shutil
import ssl
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import missing
from mirror_cases import Server, fill, unreachable

from lenet_fast import data
from lenet_fast.data import cifar10, datasets, fetch, idx, sources
from lenet_fast.errors import FileFormatError

Put = Callable[..., None]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data of the user's, no network but the loopback, an empty cache, no waiting."""
    monkeypatch.delenv("LENET_FAST_DATA", raising=False)
    monkeypatch.delenv("LENET_FAST_OFFLINE", raising=False)
    monkeypatch.setenv("LENET_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(fetch, "_CHUNK_BYTES", 500)


def random_images(n: int, seed: int, shape: tuple[int, ...] = (28, 28)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def emnist_members() -> dict[str, bytes]:
    """Members of gzip.zip: those of two splits, and a list of classes."""
    members = {"gzip/": b"", "gzip/emnist-letters-mapping.txt": b"1 65 97\n"}
    for split, first in (("letters", 1), ("digits", 0)):
        for part, n in (("train", 60), ("test", 30)):
            name = f"gzip/emnist-{split}-{part}"
            labels = (np.arange(n) % 10 + first).astype(np.uint8)
            for what, array in (("images-idx3", random_images(n, n)), ("labels-idx1", labels)):
                members[f"{name}-{what}-ubyte.gz"] = gzip.compress(idx.encode(array), mtime=0)
    return members


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def cifar_members() -> dict[str, bytes]:
    members = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    for number, name in enumerate((*cifar10.TRAIN, *cifar10.TEST)):
        labels = (np.arange(20) % 10).astype(np.uint8)
        images = random_images(20, number, (3072,))
        records = np.concatenate([labels[:, None], images], axis=1)
        members[f"cifar-10-batches-bin/{name}"] = records.tobytes()
    return members


def tarred(members: dict[str, bytes], change: Any = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change is not None:
                change(member)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


GZIP_ZIP = zipped(emnist_members())
CIFAR_TAR = tarred(cifar_members())
ARCHIVES = {
    "emnist-letters": ("gzip.zip", GZIP_ZIP),
    "emnist-digits": ("gzip.zip", GZIP_ZIP),
    "cifar-10": ("cifar-10-binary.tar.gz", CIFAR_TAR),
}


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Let small archives pass for the published ones, with the given mirrors."""

    def change(*mirrors: str, content: bytes | None = None, **changes: Any) -> None:
        for name, (_, small) in ARCHIVES.items():
            whole = small if content is None else content
            collection = datasets.CIFAR10 if name == "cifar-10" else sources._COLLECTIONS[name]
            assert collection.archive is not None
            sha256 = hashlib.sha256(whole).hexdigest()
            new = {"sha256": sha256, "size": len(whole), "mirrors": mirrors, **changes}
            archive = dataclasses.replace(collection.archive, **new)
            collection = dataclasses.replace(collection, archive=archive)
            if name == "cifar-10":
                monkeypatch.setattr(sources, "CIFAR10", collection)
            else:
                monkeypatch.setitem(sources._COLLECTIONS, name, collection)

    return change


def assert_letters(splits: data.Splits) -> None:
    assert (len(splits.train), len(splits.test)) == (60, 30)
    np.testing.assert_array_equal(splits.test.images, random_images(30, 30).transpose(0, 2, 1))
    np.testing.assert_array_equal(splits.train.labels, np.arange(60) % 10)
    assert splits.train.classes[2] == "C"


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- as it should be -------------------------------------------------------------------------


def test_emnist_comes_as_one_archive_for_all_splits(
    tmp_path: Path, put: Put, serve: Callable[..., Server]
) -> None:
    server = serve({"gzip.zip": GZIP_ZIP})
    put(server.url)
    lines: list[str] = []
    steps: list[tuple[int, int]] = []
    splits = data.load(
        "emnist-letters", report=lines.append, progress=lambda *step: steps.append(step)
    )
    assert_letters(splits)
    assert splits.source == f"EMNIST letters, {server.url}"
    assert f"downloading {server.url}gzip.zip, 0 MB" in lines
    assert steps[-1] == (len(GZIP_ZIP), len(GZIP_ZIP))
    assert steps == sorted(steps)
    assert everything(tmp_path / "cache") == ["emnist", "emnist/gzip.zip"]
    assert (tmp_path / "cache" / "emnist" / "gzip.zip").read_bytes() == GZIP_ZIP
    digits = data.load("emnist-digits")
    assert digits.source == f"EMNIST digits, the cache {tmp_path / 'cache' / 'emnist'}"
    assert len(digits.train.classes) == 10
    assert server.asked == ["/gzip.zip"]


def test_cifar_comes_as_an_archive(tmp_path: Path, put: Put, serve: Callable[..., Server]) -> None:
    server = serve({"cifar-10-binary.tar.gz": CIFAR_TAR})
    put(server.url)
    splits = data.load("cifar-10")
    assert splits.train.images.shape == (100, 3, 32, 32)
    np.testing.assert_array_equal(
        splits.test.images, random_images(20, 5, (3072,)).reshape(-1, 3, 32, 32)
    )
    assert splits.source == f"CIFAR-10, {server.url}"
    assert "cache" in splits.attempts[0]
    again = data.load("cifar-10")
    np.testing.assert_array_equal(again.train.images, splits.train.images)
    assert again.source == f"CIFAR-10, the cache {tmp_path / 'cache' / 'cifar-10'}"
    assert len(server.asked) == 1


def qmnist_files() -> dict[str, bytes]:
    files = {}
    for part, n in (("train", 40), ("test", 50)):
        table = np.arange(n * 8, dtype=">i4").reshape(n, 8)
        table[:, 0] = np.arange(n) % 10
        images = idx.encode(random_images(n, n))
        labels = struct.pack(">III", 0xC02, n, 8) + table.tobytes()
        files[f"qmnist-{part}-images-idx3-ubyte.gz"] = gzip.compress(images, mtime=0)
        files[f"qmnist-{part}-labels-idx2-int.gz"] = gzip.compress(labels, mtime=0)
    return files


@pytest.mark.parametrize("damaged", [False, True])
def test_qmnist_is_checked_by_md5_and_has_extended_labels(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Server], damaged: bool
) -> None:
    files = qmnist_files()
    md5 = tuple(hashlib.md5(each, usedforsecurity=False).hexdigest() for each in files.values())
    if damaged:
        files["qmnist-test-labels-idx2-int.gz"] = files["qmnist-train-labels-idx2-int.gz"]
    server = serve(files)
    collection = dataclasses.replace(datasets.QMNIST, md5=md5, mirrors=(server.url,))
    monkeypatch.setitem(sources._COLLECTIONS, "qmnist", collection)
    if damaged:
        with pytest.raises(data.DataNotFoundError, match=f"expected MD5 {md5[3]}, got {md5[1]}"):
            data.load("qmnist")
        return
    for origin in (server.url, "the cache"):
        splits = data.load("qmnist")
        assert origin in splits.source
        for each in (splits.train, splits.test):
            assert each.extended is not None
            assert each.extended.shape == (len(each), 8)
            np.testing.assert_array_equal(each.extended[:, 0], each.labels)
            np.testing.assert_array_equal(each.extended[:, 2], np.arange(len(each)) * 8 + 2)
    few = splits.test.subset(5)
    assert few.extended is not None
    np.testing.assert_array_equal(few.extended[:, 2], np.arange(5) * 8 + 2)
    assert len(server.asked) == 4


def test_extended_labels_are_checked() -> None:
    images, labels = random_images(3, 0), np.zeros(3, np.uint8)
    for bad in (np.zeros((3, 8)), np.zeros((2, 8), np.int32), np.zeros(3, np.int32), [1, 2, 3]):
        with pytest.raises(ValueError, match=r"extended: expected an array \(3, m\) of int32"):
            data.Dataset(images, labels, extended=bad)  # type: ignore[arg-type]


def test_a_download_over_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Put, serve: Callable[..., Server]
) -> None:
    """A certificate that nobody has signed is refused, and so is the archive behind it."""
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem"
    subprocess.run([*command.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = serve({"gzip.zip": GZIP_ZIP}, context)
    assert server.url.startswith("https://")
    put(server.url)
    with pytest.raises(data.DataNotFoundError, match=r"127\.0\.0\.1.*: .*self.signed"):
        data.load("emnist-letters")
    assert not server.asked
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert_letters(data.load("emnist-letters"))


def test_a_redirection_is_followed(put: Put, serve: Callable[..., Server]) -> None:
    target = serve({"gzip.zip": GZIP_ZIP})

    def redirect(handler: Any, server: Server) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{target.url}elsewhere/gzip.zip")
        handler.end_headers()

    put(serve({"gzip.zip": redirect}).url)
    assert_letters(data.load("emnist-letters"))
    assert target.asked == ["/elsewhere/gzip.zip"]


# --- broken connections ----------------------------------------------------------------------


class Breaking:
    """A file whose connection breaks after `step` bytes, each time."""

    def __init__(self, content: bytes, step: int, *, ranges: bool = True, whole: int = 99) -> None:
        self.content, self.step, self.ranges, self.whole = content, step, ranges, whole
        self.number = 0

    def __call__(self, handler: Any, server: Server) -> None:
        self.number += 1
        first = 0
        if self.ranges and (asked := handler.headers["Range"]):
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        else:
            handler.send_response(200)
        step = self.step if self.number < self.whole else len(self.content)
        handler.send_header("Content-Length", str(len(self.content) - first))
        handler.end_headers()
        handler.wfile.write(self.content[first : first + step])


def test_a_broken_connection_is_taken_up_where_it_broke(
    put: Put, serve: Callable[..., Server]
) -> None:
    step = (len(GZIP_ZIP) // 2000 + 1) * 500
    server = serve({"gzip.zip": Breaking(GZIP_ZIP, step)})
    put(server.url)
    assert_letters(data.load("emnist-letters"))
    assert server.ranges == [None, *(f"bytes={step * i}-" for i in (1, 2, 3))]


def test_a_server_without_ranges_is_asked_from_the_start(
    put: Put, serve: Callable[..., Server]
) -> None:
    server = serve({"gzip.zip": Breaking(GZIP_ZIP, 5000, ranges=False, whole=3)})
    put(server.url)
    assert_letters(data.load("emnist-letters"))
    assert len(server.asked) == 3


def test_a_connection_that_breaks_again_and_again(
    tmp_path: Path, put: Put, serve: Callable[..., Server]
) -> None:
    bad, good = serve({"gzip.zip": Breaking(GZIP_ZIP, 1000)}), serve({"gzip.zip": GZIP_ZIP})
    put(bad.url, good.url)
    splits = data.load("emnist-letters")
    assert_letters(splits)
    assert splits.source == f"EMNIST letters, {good.url}"
    (attempt,) = [each for each in splits.attempts if each.startswith(bad.url)]
    assert attempt.endswith(f"got 5,000 of {len(GZIP_ZIP):,} bytes")
    assert everything(tmp_path / "cache") == ["emnist", "emnist/gzip.zip"]


def too_long(handler: Any, server: Server) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):  # the other side has hung up, as it should
        handler.wfile.write(GZIP_ZIP + b"x")


def too_short(handler: Any, server: Server) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(GZIP_ZIP[:-1])


def dripping(handler: Any, server: Server) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GZIP_ZIP)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        for byte in GZIP_ZIP[:100]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.1)


def no_http(handler: Any, server: Server) -> None:
    handler.wfile.write(b"\x1b[31mred\r\n\r\n")


BAD = {
    "another file": (GZIP_ZIP[:-1] + bytes([GZIP_ZIP[-1] ^ 1]), "gzip.zip: expected SHA-256 "),
    "a web page": (b"<html>Please log in</html>", f"expected {len(GZIP_ZIP):,} bytes, got 26"),
    "too long": (too_long, f"expected {len(GZIP_ZIP):,} bytes, got more"),
    "too short": (too_short, f"the connection ended; got {len(GZIP_ZIP) - 1:,} of"),
    "nothing there": (None, "404"),
    "no HTTP": (no_http, ": [31mred"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_leaves_nothing(
    tmp_path: Path, put: Put, serve: Callable[..., Server], case: str
) -> None:
    content, message = BAD[case]
    put(serve({"gzip.zip": content}).url)
    with pytest.raises(data.DataNotFoundError) as caught:
        data.load("emnist-letters")
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert everything(tmp_path / "cache") == ["emnist"]
    place = tmp_path / "cache" / "emnist"
    assert f"put it into {place}, or unpack it, and give the folder with" in str(caught.value)
    assert "get gzip.zip from https://www.nist.gov/" in str(caught.value)


def test_a_server_that_drips_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch, put: Put, serve: Callable[..., Server]
) -> None:
    monkeypatch.setattr(fetch, "_DOWNLOAD_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "_SLOWEST", 1e9)
    put(serve({"gzip.zip": dripping}).url)
    start = time.monotonic()
    with pytest.raises(data.DataNotFoundError, match=r"expected to end within 0\.5 seconds"):
        data.load("emnist-letters")
    assert time.monotonic() - start < 5


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, put: Put) -> None:
    nobody = unreachable()
    put(nobody, nobody)
    with pytest.raises(data.DataNotFoundError, match=r"refused") as caught:
        data.load("cifar-10")
    assert len(caught.value.attempts) == 3, "asked more than once"
    monkeypatch.setenv("LENET_FAST_OFFLINE", "1")
    with pytest.raises(data.DataNotFoundError, match="skipped, because LENET_FAST_OFFLINE"):
        data.load("emnist-letters")
    fill(tmp_path / "cache" / "emnist", {"gzip.zip": GZIP_ZIP})
    assert_letters(data.load("emnist-letters"))


# --- the cache -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [GZIP_ZIP[:1000], b"", None])
def test_a_damaged_archive_in_the_cache_is_fetched_again(
    tmp_path: Path, put: Put, serve: Callable[..., Server], content: bytes | None
) -> None:
    path = tmp_path / "cache" / "emnist" / "gzip.zip"
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    put(serve({"gzip.zip": GZIP_ZIP}).url)
    if content is None:  # nobody's folder is removed
        with pytest.raises(data.DataNotFoundError, match="expected a file, got a folder"):
            data.load("emnist-letters")
        return
    assert_letters(data.load("emnist-letters"))
    assert path.read_bytes() == GZIP_ZIP


def test_too_little_space_is_told_before_the_download(
    monkeypatch: pytest.MonkeyPatch, put: Put, serve: Callable[..., Server]
) -> None:
    server = serve({"gzip.zip": GZIP_ZIP})
    put(server.url, server.url)
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
    words = f"expected {len(GZIP_ZIP):,} bytes of free space, got 1,000; LENET_FAST_CACHE chooses"
    with pytest.raises(data.DataNotFoundError, match=words):
        data.load("emnist-letters")
    assert not server.asked


@pytest.mark.skipif(os.name == "nt", reason="limits of files are Unix's")
def test_a_full_disk_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Put, serve: Callable[..., Server]
) -> None:
    """The disk is full after some of the file: the system refuses to write more."""
    server = serve({"gzip.zip": GZIP_ZIP})
    put(server.url, server.url)
    write = fetch._Sink.write

    def full(sink: Any, content: bytes) -> None:
        write(sink, content[:100])
        sink._file.flush()
        assert len(everything(tmp_path / "cache")) == 2, "the half file"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch._Sink, "write", full)
    with pytest.raises(data.DataNotFoundError, match=r"No space left.*; LENET_FAST_CACHE chooses"):
        data.load("emnist-letters")
    assert everything(tmp_path / "cache") == ["emnist"]
    assert len(server.asked) == 1, "another mirror would not help"


def test_an_interrupted_download_leaves_no_half_file(
    tmp_path: Path, put: Put, serve: Callable[..., Server]
) -> None:
    put(serve({"gzip.zip": GZIP_ZIP}).url)

    def interrupt(done: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.load("emnist-letters", progress=interrupt)
    assert everything(tmp_path / "cache") == ["emnist"]


# --- hostile archives ------------------------------------------------------------------------


def test_paths_in_an_archive_do_no_harm(
    tmp_path: Path, put: Put, serve: Callable[..., Server]
) -> None:
    hostile = {"../escaped": b"x", "/tmp/lenet_fast_absolute": b"x", **emnist_members()}
    for content, dataset in (
        (zipped(hostile), "emnist-letters"),
        (tarred({**hostile, **cifar_members()}), "cifar-10"),
    ):
        put(serve({ARCHIVES[dataset][0]: content}).url, content=content)
        assert len(data.load(dataset).train)  # type: ignore[arg-type]
    assert everything(tmp_path) == [
        *("cache", "cache/cifar-10", "cache/cifar-10/cifar-10-binary.tar.gz"),
        *("cache/emnist", "cache/emnist/gzip.zip"),
    ]
    assert not Path("/tmp/lenet_fast_absolute").exists()


FIRST = "gzip/emnist-letters-train-images-idx3-ubyte.gz"


def lying_zip() -> bytes:
    """An archive whose directory says that its first large member has ten bytes."""
    content = bytearray(zipped({**emnist_members(), FIRST: bytes(300_000)}))
    place = content.index(b"PK\x01\x02")
    while content[place + 46 : place + 46 + len(FIRST)] != FIRST.encode():
        place = content.index(b"PK\x01\x02", place + 4)
    content[place + 24 : place + 28] = struct.pack("<I", 10)
    return bytes(content)


HOSTILE = {
    "a huge member": (zipped({**emnist_members(), FIRST: bytes(300_000)}), "at most 200,000 bytes"),
    "a member that says that it is small": (lying_zip(), "damaged archive: Bad CRC-32"),
    "a bomb in a member": (
        zipped({**emnist_members(), FIRST: gzip.compress(idx.encode(np.zeros(300_000, np.uint8)))}),
        "expected at most 200,000",
    ),
    "a member missing": (
        zipped({name: each for name, each in emnist_members().items() if name != FIRST}),
        f"expected {FIRST} in it, got none",
    ),
    "no archive": (b"x" * 1000, "damaged archive"),
    "half an archive": (GZIP_ZIP[: len(GZIP_ZIP) // 2], "damaged archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_zip_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, put: Put, serve: Callable[..., Server], case: str
) -> None:
    """Even if its checksum were right."""
    monkeypatch.setattr(fetch, "_ARCHIVED_BYTES", 200_000)
    content, message = HOSTILE[case]
    put(serve({"gzip.zip": content}).url, content=content)
    with pytest.raises(data.DataNotFoundError, match=message):
        data.load("emnist-letters")


def test_a_hostile_tar_file_is_refused(tmp_path: Path) -> None:
    def link(member: tarfile.TarInfo) -> None:
        if member.name.endswith("test_batch.bin"):
            member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0

    inner = "cifar-10-batches-bin/{}"
    for content, message in (
        (tarred({**cifar_members(), "huge": bytes(500_000)}), "expected at most 400,000 bytes"),
        (tarred(cifar_members(), link), "expected cifar-10-batches-bin/test_batch.bin in it"),
        (CIFAR_TAR[:-300], "damaged archive"),
    ):
        path = tmp_path / "cifar-10-binary.tar.gz"
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            fetch.unpack(path, cifar10.TEST, inner, 400_000)
