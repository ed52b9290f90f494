"""Images of several channels: CIFAR-10's files, engines, training and the command line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line

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
        (content[:-1], "records of 3,073 bytes, got 184,379 bytes"),
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
    seen, _ = trainer._examples(data.Dataset(grey, labels), np.arange(3, 9), epoch=2)
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
    np.save("x.npy", splits.test.images[0, 0])
    assert_one_line(lenet_fast("predict", "run", "x.npy"), "square images of one map")
    result = lenet_fast("plot", "run", "--what", "features", *where)
    assert "the network reads images of several channels" in result.err
    assert lenet_fast("plot", "run", "--what", "mistakes", *where).status == 0
