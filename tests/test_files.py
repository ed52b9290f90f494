"""Model files: what goes in comes out, and nothing else is taken for one."""

import json
import os
import stat

import numpy as np
import pytest

import lenet_fast
from lenet_fast import disk, files, losses, models
from lenet_fast.errors import FileFormatError


@pytest.fixture
def network():
    return models.lenet5(seed=3)


@pytest.fixture
def model(tmp_path, network):
    path = tmp_path / "model.safetensors"
    files.save_model(path, network, losses.MAP(j=2.5), {"epoch": 7})
    return path


def resealed(path, change_tensors=None, **metadata):
    """Write the file again, changed but with a valid seal."""
    tensors, old = files.read_tensors(path, "model")
    old = {key: old[key] for key in ("network", "loss", "extra")} | metadata
    tensors = {name: array.copy() for name, array in tensors.items()}
    if change_tensors is not None:
        change_tensors(tensors)
    files.write_tensors(path, "model", tensors, old)


def left_over(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


# ------------------------------------------------------------------ write_atomic


def test_write_atomic_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    disk.write_atomic(path, b"old and longer")
    disk.write_atomic(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_keeps_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disk.write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_write_atomic_keeps_the_old_file_when_the_disk_fails(tmp_path, monkeypatch, function):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        disk.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_replaces_no_device_and_no_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # stands for /dev/null, which the superuser could replace
    with pytest.raises(FileExistsError, match="expected a regular file, got a device or a pipe"):
        disk.write_atomic(pipe, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_write_atomic_gives_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        disk.write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_write_atomic_follows_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    disk.write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_write_atomic_needs_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        disk.write_atomic(tmp_path / "absent" / "file", b"new")


def test_write_atomic_does_not_replace_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        disk.write_atomic(tmp_path / "folder", b"new")
    assert os.listdir(tmp_path) == ["folder"]


# ------------------------------------------------------------------ round trip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "max", "output": "softmax", "activation": "relu", "connections": "full"},
        {"pooling": None, "output": "linear", "activation": "tanh", "extra_dense": 30},
    ],
)
def test_a_model_comes_back_with_its_bits(tmp_path, dtype, options):
    network = models.lenet5(dtype=dtype, seed=5, **options)
    path = tmp_path / "model.safetensors"
    files.save_model(path, network)
    loaded = files.load_model(path)
    assert loaded.config() == network.config()
    assert loaded.parameters.keys() == network.parameters.keys()
    for name, array in network.parameters.items():
        assert loaded.parameters[name].dtype == dtype
        np.testing.assert_array_equal(loaded.parameters[name], array)
    assert loaded.trainable_names == network.trainable_names


def test_loss_extra_and_version_come_back(model):
    saved = files.read_model(model)
    assert saved.loss.config() == losses.MAP(j=2.5).config()
    assert saved.extra == {"epoch": 7}
    assert saved.library_version
    assert not left_over(model.parent)


def test_a_loss_without_rubbish_class_comes_back(tmp_path, network):
    files.save_model(tmp_path / "file", network, losses.MAP(j=float("inf")))
    assert files.read_model(tmp_path / "file").loss.config() == losses.MAP(j=np.inf).config()


def test_a_loaded_model_can_be_changed(model):
    network = files.load_model(model)
    before = network.parameters["C1.w"].copy()
    for array in network.parameters.values():
        array += 1
    np.testing.assert_array_equal(network.parameters["C1.w"], before + 1)


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, network):
    network.parameters["C3.w"][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"network: .* in C3\.w"):
        files.save_model(tmp_path / "file", network)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------ what is refused


def test_a_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"^path: expected a model file or the folder of a run, but .* no .*sent\.safetensors",
    ):
        files.load_model(tmp_path / "absent.safetensors")


def test_a_folder(tmp_path):
    with pytest.raises(FileFormatError, match="got a folder"):
        files.load_model(tmp_path)


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="a device or a pipe"):
        files.load_model(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"7", bytes(8), b"\xff" * 64, b"#!/bin/sh\n" * 50],
    ids=["empty", "png", "one byte", "zeros", "ones", "text"],
)
def test_a_file_of_another_format(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"picture\.png: expected"):
        files.load_model(path)


def test_a_safetensors_file_of_another_program(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    for metadata in (None, {}, {"format": "pt"}):
        save_file({"w": np.zeros(3)}, path, metadata)
        with pytest.raises(FileFormatError, match="the safetensors file of another program"):
            files.load_model(path)


def test_a_dtype_that_numpy_lacks(tmp_path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "other.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(FileFormatError, match=r"other\.safetensors: expected"):
        files.load_model(path)


def test_every_truncation_is_noticed(model):
    content = model.read_bytes()
    for length in [*range(0, 4000, 97), *range(4000, len(content), 9973), len(content) - 1]:
        model.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"model\.safetensors: expected"):
            files.load_model(model)
    model.write_bytes(content + b"\0")
    with pytest.raises(FileFormatError):
        files.load_model(model)
    model.write_bytes(content)
    assert files.load_model(model).counts().parameters == 60_000


def test_every_alteration_is_noticed(model):
    content = model.read_bytes()
    for place in [*range(0, 5000, 23), *range(5000, len(content), 5003), len(content) - 1]:
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        # A changed blank behind the header's JSON is the one change without a meaning; a
        # changed bit makes it no blank.
        model.write_bytes(altered)
        with pytest.raises(FileFormatError, match=r"model\.safetensors: expected"):
            files.load_model(model)


def test_a_file_of_another_kind(tmp_path, model):
    tensors, _ = files.read_tensors(model, "model")
    files.write_tensors(tmp_path / "file", "checkpoint", tensors, {})
    with pytest.raises(FileFormatError, match="a lenet_fast model file, got a lenet_fast check"):
        files.load_model(tmp_path / "file")


def test_a_newer_format(model, monkeypatch):
    monkeypatch.setattr(files, "FORMAT_VERSION", 2)
    resealed_by_a_newer = model.parent / "newer"
    files.save_model(resealed_by_a_newer, models.lenet5())
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="format version 1, got 2, written by"):
        files.load_model(resealed_by_a_newer)


def test_sizes_are_bounded(model, monkeypatch):
    size = model.stat().st_size
    monkeypatch.setattr(files, "MAX_BYTES", size - 1)
    with pytest.raises(FileFormatError, match=f"got {size} bytes"):
        files.load_model(model)
    with pytest.raises(ValueError, match="bytes of arrays"):
        files.save_model(model, models.lenet5())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("C1.w"), r"missing or not expected: 'C1\.w'"),
        (lambda t: t.update(other=np.zeros(1)), "missing or not expected: 'other'"),
        (lambda t: t.update({"C1.w": t["C1.w"][:5]}), r"C1\.w: expected float32 of shape \(6,"),
        (lambda t: t.update({"C1.w": t["C1.w"].astype("f8")}), r"C1\.w: .* got float64"),
        (lambda t: t["C1.w"].fill(np.inf), r"C1\.w: expected finite values"),
    ],
    ids=["missing", "too many", "shape", "dtype", "infinite"],
)
def test_arrays_that_do_not_fit_the_architecture(model, change, message):
    resealed(model, change)
    with pytest.raises(FileFormatError, match=message):
        files.load_model(model)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"network": None}, "a description of the network, got none"),
        ({"network": {}}, "a network that this version knows"),
        ({"network": {"layers": 5}}, "a network that this version knows"),
        ({"network": [1, 2]}, "a description of the network"),
        ({"loss": {"name": "unheard of"}}, "a loss that this version knows"),
        ({"loss": "text"}, "a description of the loss"),
    ],
)
def test_an_architecture_or_loss_that_cannot_be_built(model, metadata, message):
    resealed(model, **metadata)
    with pytest.raises(FileFormatError, match=message):
        files.load_model(model)


@pytest.mark.parametrize("text", ["", "[" * 200_000, "5", "[1, 2]", "{}", '{"format": 3}'])
def test_metadata_that_no_version_has_written(tmp_path, text):
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    save_file({"w": np.zeros(3)}, path, {"lenet_fast": text})
    with pytest.raises(FileFormatError, match=r"other\.safetensors: expected a lenet_fast model"):
        files.load_model(path)


def test_the_same_model_gives_the_same_bytes(model, network):
    files.save_model(model.parent / "again", network, losses.MAP(j=2.5), {"epoch": 7})
    assert (model.parent / "again").read_bytes() == model.read_bytes()


def test_a_network_saves_itself_and_the_package_loads_it(tmp_path, network):
    network.save(tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", tmp_path, str(tmp_path)):
        found = lenet_fast.load(path)
        assert found.config() == network.config()
        np.testing.assert_array_equal(found.parameters["C1.w"], network.parameters["C1.w"])
    with pytest.raises(
        FileNotFoundError,
        match=r"^path: expected a model file or the folder of a run, but .* no .*sent\.safetensors",
    ):
        lenet_fast.load(tmp_path / "absent.safetensors")
    for wrong in (5, None, b"model.safetensors", network):
        with pytest.raises(TypeError, match=r"^path: expected a path, got "):
            lenet_fast.load(wrong)
        with pytest.raises(TypeError, match=r"^path: expected a path, got "):
            network.save(wrong)


def test_the_folder_of_a_run_will_do(tmp_path):
    network = models.lenet5(seed=3)
    network.inverted = True
    files.save_model(tmp_path / "model.safetensors", network)
    found = files.load_model(tmp_path)
    assert found.inverted is True
    np.testing.assert_array_equal(found.parameters["C1.w"], network.parameters["C1.w"])
    assert files.read_model(str(tmp_path)).extra == {}
    with pytest.raises(FileFormatError, match=r"got a folder without a model\.safetensors"):
        files.load_model(tmp_path.parent)


# ------------------------------------------------------------------ headers of no sense


def safetensors_file(path, header):
    """Write a file of a header, JSON or what is to be taken for it, and no arrays."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


@pytest.mark.parametrize(
    ("kind", "arrays"), [("model", 300_000), ("model", 17_000), ("checkpoint", 100_000)]
)
def test_many_empty_arrays_are_refused_before_they_are_read(tmp_path, monkeypatch, kind, arrays):
    """300,000 took 16 s and 616 MB."""
    import safetensors.numpy

    def never(raw):
        raise AssertionError("the arrays are read")

    monkeypatch.setattr(safetensors.numpy, "load", never)
    safetensors_file(tmp_path / "file", {f"a{k}": EMPTY for k in range(arrays)})
    with pytest.raises(FileFormatError, match=r"file: expected .*(header of at most|arrays, got)"):
        files.read_tensors(tmp_path / "file", kind)


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_a_long_header_is_not_even_read(tmp_path, monkeypatch, kind):
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.write((100_000_000).to_bytes(8, "little"))
        file.truncate(100_000_008)

    def never(path, limit):
        raise AssertionError("the file is read")

    monkeypatch.setattr(disk, "read_bytes", never)
    with pytest.raises(FileFormatError, match=r"file: expected .* header of at most .* 100000000"):
        files.read_tensors(path, kind)


TWICE = (
    b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, '
    b'"a": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}}'
)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"{",
        b"\xff\xfe{}",
        b'{"__metadata__": 5}',
        b'{"__metadata__": []}',
        b'{"__metadata__": null}',
        b'{"__metadata__": {"lenet_fast": 5}}',
        b'{"__metadata__": {"lenet_fast": "5"}}',
        b'{"__metadata__": {"lenet_fast": "[]"}}',
        b'{"__metadata__": {"lenet_fast": "[[1, 2, 3]]"}}',
        b'{"__metadata__": {"lenet_fast": "' + b"[" * 100_000 + b'"}}',
        b"[" * 100_000,
        b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
        TWICE,
        {"a": EMPTY | {"dtype": "BF16"}},
        {"a": EMPTY | {"dtype": "F4"}},
        {"a": EMPTY | {"shape": [-1]}},
        {"a": EMPTY | {"shape": [2**62, 2**62]}},
        {"a": EMPTY | {"data_offsets": [0, 2**62]}},
        {"a": EMPTY, "__metadata__": {"other": "1"}},
    ],
)
def test_headers_that_are_none(tmp_path, header):
    safetensors_file(tmp_path / "file", header)
    for kind in ("model", "checkpoint"):
        with pytest.raises(FileFormatError, match=r"file: expected a "):
            files.read_tensors(tmp_path / "file", kind)


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_files_of_few_bytes(tmp_path, size):
    (tmp_path / "file").write_bytes(b"\x01" * size)
    with pytest.raises(FileFormatError, match="cut short or not in the safetensors format"):
        files.load_model(tmp_path / "file")


def test_what_could_not_be_read_back_is_not_written(tmp_path, network):
    with pytest.raises(ValueError, match="expected at most 1048576 bytes besides the arrays"):
        files.save_model(tmp_path / "file", network, extra={"notes": "x" * 2**20})
    assert os.listdir(tmp_path) == []
