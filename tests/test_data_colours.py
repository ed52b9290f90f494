"""Images of several channels: CIFAR-10's files, engines, training and the command line."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line
from PIL import Image

from lenet_fast import data, engines, files, losses, models, plots
from lenet_fast.data import cifar10, distort
from lenet_fast.errors import FileFormatError
from lenet_fast.training import Trainer


def colours(count: int, seed: int) -> tuple[Any, Any]:
    """Return noisy images (n, 3, 32, 32) of one colour per class, and labels."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    means = np.stack([labels // 5 * 200, labels % 5 * 50, 120 + 0 * labels], 1)[:, :, None, None]
    return (means + random.integers(0, 50, (count, 3, 32, 32))).astype(np.uint8), labels


def write_cifar10(folder: Path) -> Path:
    """Write the six files of the binary version: a label, then red, green and blue."""
    folder.mkdir(parents=True)
    for number, name in enumerate((*cifar10.TRAIN, *cifar10.TEST)):
        images, labels = colours(60, number)
        records = np.concatenate([labels[:, None], images.reshape(60, 3072)], axis=1)
        (folder / name).write_bytes(records.tobytes())
    return folder


def test_the_binary_version(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "cifar-10-batches-bin")
    for place in (tmp_path, folder):
        splits = data.load("cifar-10", place)
        assert splits.train.images.shape == (300, 3, 32, 32)
        np.testing.assert_array_equal(splits.train.images[60:120], colours(60, 1)[0])
        np.testing.assert_array_equal(splits.test.images, colours(60, 5)[0])
        np.testing.assert_array_equal(splits.test.labels, colours(60, 5)[1])
        assert splits.train.classes[3] == "cat"
        assert splits.train.channels == 3
    assert "60 images of 3 x 32 x 32" in splits.test._repr_html_()
    pytest.importorskip("matplotlib")
    [axes] = plots.samples(splits.train, 4).axes
    assert axes.texts[3].get_text() == "cat"


def test_damaged_files(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "cifar")
    name = folder / "data_batch_2.bin"
    content = name.read_bytes()
    for bad, message in (
        (content[:-1], "records of 3,073 bytes, at most .* got 184,379 bytes"),
        (content[:3073] + b"\x0a" + content[3074:], r"labels 0 to 9, got 10 \(record 1\)"),
        (b"", "expected a file of 1 to"),
    ):
        name.write_bytes(bad)
        with pytest.raises(FileFormatError, match=message):
            data.load("cifar-10", folder)
    name.unlink()
    with pytest.raises(data.DataNotFoundError, match=r"missing: data_batch_2\.bin; get cifar-10-b"):
        data.load("cifar-10", folder)


@pytest.mark.parametrize("engine", ["lanes", "layers", "online"])
def test_engines_read_bytes_with_channels(engine: Any) -> None:
    network = models.lenet5(pooling="max", output="softmax", channels=3, seed=1)
    images, labels = colours(5, 0)
    floats = np.stack([data.prepare(images[:, c])[:, 0] for c in range(3)], axis=1)
    runner = engines.create(network, losses.CrossEntropy(), engine=engine, batch_size=1)
    with contextlib.closing(runner):
        np.testing.assert_array_equal(runner.predict(images), runner.predict(floats))
        assert runner.evaluate(images, labels) == runner.evaluate(floats, labels)
        small = np.pad(images[:, :, 2:30, 2:30], ((0, 0), (0, 0), (2, 2), (2, 2)))
        np.testing.assert_array_equal(
            runner.predict(images[:, :, 2:30, 2:30]), runner.predict(small)
        )
        for wrong in (images[:, :2], np.zeros((1, 3, 33, 32), np.uint8)):
            with pytest.raises(ValueError, match=r"x: expected bytes \(n, 3, rows, columns\)"):
                runner.predict(wrong)
    np.testing.assert_array_equal(network.predict(images), network.predict(floats))


def test_channels_are_distorted_alike() -> None:
    images, labels = colours(20, 0)
    grey = np.repeat(images[:, :1], 3, axis=1)
    trainer = Trainer(
        models.lenet5(pooling="max", output="softmax", channels=3), distortion="elastic"
    )
    seen, _ = trainer._examples(data.Dataset(grey, labels), np.arange(3, 9), epoch=2, batch_size=6)
    alone = distort.ELASTIC(images[3:9, 0], np.arange(3, 9), 2, 0, size=32)
    for channel in range(3):
        np.testing.assert_array_equal(seen[:, channel], alone)


def test_colours_on_the_command_line(lenet_fast: Any, tmp_path: Path) -> None:
    where = ("--dataset", "cifar-10", "--data", write_cifar10(tmp_path / "cifar"))
    options = ("--recipe", "fast", "--rate", "0.01", "--epochs", "6", "--out", "run")
    result = lenet_fast("train", *where, *options, "--batch-size", "16")
    assert result.status == 0, result.err
    network = files.load_model("run")
    assert (network.input_shape, network.classes) == ((3, 32, 32), cifar10.CLASSES)
    report = json.loads(lenet_fast("evaluate", "run", *where, "--json").out)
    assert report["errors"] < 20
    whole = Trainer.resume("run")
    splits = data.load("cifar-10", where[3])
    whole.fit(splits.train, splits.test, epochs=7)
    assert_one_line(
        lenet_fast("train", *where, "--model", "lenet1"),
        "--model: expected lenet5 for the 3 channels of CIFAR-10",
        status=2,
    )
    result = lenet_fast("plot", "run", "--what", "features", *where)
    assert "the network reads images of several channels" in result.err
    assert lenet_fast("plot", "run", "--what", "mistakes", *where).status == 0


def write_run(dataset: data.Dataset) -> Any:
    """Train a network a little and save it; return its answers to the first five test images."""
    network = models.lenet5(pooling="max", output="softmax", channels=3, seed=1)
    Trainer(network).fit(dataset, dataset, epochs=1, verbose=False)
    files.save_model("trained", network)
    return network.probabilities(network.predict(dataset.images[:5]))


def test_predict_reads_colours(lenet_fast: Any, tmp_path: Path) -> None:
    images, labels = colours(60, 5)
    dim = (images * 0.6).astype(np.uint8)  # is not brightened: photographs may be dim
    known = write_run(data.Dataset(dim, labels, classes=cifar10.CLASSES))
    last = np.moveaxis(dim[:5], 1, -1)
    np.save("first.npy", dim[:5])
    np.save("last.npy", last / 255)
    np.save("one.npy", dim[2])
    for i in range(5):
        Image.fromarray(last[i]).save(f"{i}.png")
    wide = np.zeros((64, 100, 3), np.uint8)  # twice as large, between black bars
    wide[:, 18:82] = last[1].repeat(2, 0).repeat(2, 1)
    Image.fromarray(wide).save("wide.bmp")
    opaque = np.concatenate([last[1], np.full((32, 32, 1), 255, np.uint8)], axis=-1)
    Image.fromarray(opaque).save("opaque.png")
    names = ["first.npy", "last.npy", "one.npy", *(f"{i}.png" for i in range(5))]
    result = lenet_fast("predict", "trained", *names, "wide.bmp", "opaque.png", "--json")
    assert (result.status, result.err) == (0, "")
    found = json.loads(result.out)
    expected = known[[*range(5), *range(5), 2, *range(5), 1, 1]]
    np.testing.assert_allclose([each["probabilities"] for each in found], expected, rtol=1e-4)
    assert found[0]["name"] == cifar10.CLASSES[known[0].argmax()]
    assert [each["index"] for each in found[-9:]] == [4, None, *[None] * 7]
    assert lenet_fast("predict", "trained", *names, "--out", "t.csv").status == 0
    rows = [line.split(",") for line in Path("t.csv").read_text().splitlines()[1:]]
    np.testing.assert_allclose([float(row[4]) for row in rows], expected[:-2].max(1), rtol=1e-4)
    spoilt = (dim[:3] / 255).astype(np.float32)
    spoilt[1, 2, 0, 0] = np.nan
    np.save("nan.npy", spoilt)
    result = lenet_fast("predict", "trained", "nan.npy", "--json")
    assert "nan.npy[1]: expected finite values, got nan or infinity" in result.err
    assert [each["index"] for each in json.loads(result.out)] == [0, 2]
    np.save("grey.npy", images[:, 0])
    np.save("large.npy", np.zeros((3, 40, 40), np.uint8))
    np.save("dark.npy", dim[:1] // 100)
    words = (
        r"grey.npy: expected images of 3 channels, (n, 3, rows, columns) or (n, rows, columns, 3)"
    )
    assert_one_line(lenet_fast("predict", "trained", "grey.npy", "--json"), words)
    assert "at most 32 by 32" in lenet_fast("predict", "trained", "large.npy").err
    assert "values up to 1 of 255: nearly black" in lenet_fast("predict", "trained", "dark.npy").err
    assert_one_line(
        lenet_fast("predict", "trained", "one.npy", "--centre"),
        "--centre: expected with a network for grey images",
        status=2,
    )


def test_other_commands_and_networks_of_several_channels(lenet_fast: Any, tmp_path: Path) -> None:
    where = ("--dataset", "cifar-10", "--data", write_cifar10(tmp_path / "cifar"))
    write_run(data.load("cifar-10", where[3]).train)
    assert "3 x 32 x 32" in lenet_fast("info", "trained").out
    result = lenet_fast("export", "trained", "c", "--format", "c", "--quantise", "int16", *where)
    assert result.status == 0, result.err
    result = lenet_fast("export", "trained", "a.npz", "--format", "npz", *where)
    assert "labelled airplane" in result.out
    with np.load("a.npz") as made:
        assert made["image"].shape == (3, 32, 32)
    refused = lenet_fast("export", "trained", "b.npz", "--format", "npz", "--dataset", "sample")
    assert_one_line(refused, "expected a network for square images of one map, as the bundled samp")
    if importlib.util.find_spec("flask"):
        words = "expected a network for grey images, as the page draws grey digits, got one for 3"
        assert_one_line(lenet_fast("serve", "trained"), words)
        words = "--dataset: expected grey images, as the page draws grey digits, got those of CIFAR"
        assert words in lenet_fast("serve", *where).err
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        result = lenet_fast("export", "trained", "run.onnx")
        assert "random images" in result.out, result.err
        np.save("x.npy", colours(5, 0)[0])
        found = [
            json.loads(lenet_fast("predict", name, "x.npy", "--json").out)
            for name in ("trained", "run.onnx")
        ]
        assert found[0][3]["name"] == found[1][3]["name"]
