"""Data sets of other classes than digits: EMNIST's files, names, and all that shows them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line
from PIL import Image

from lenet_fast import data, files, models, plots
from lenet_fast.data import datasets, sources
from lenet_fast.errors import FileFormatError
from lenet_fast.network import Network
from lenet_fast.training import Evaluation, Trainer

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def shapes(count: int, classes: int, seed: int) -> tuple[Any, Any]:
    """Return images that show their class: bars at the places of its number's bits."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        for bit in range(6):
            if (label + 1) >> bit & 1:
                row, column = 5 + bit % 3 * 7, 5 + bit // 3 * 10
                row, column = row + random.integers(2), column + random.integers(2)
                image[row : row + 4, column : column + 6] = 200 + random.integers(56)
    return images, labels


def write_emnist(folder: Path, split: str, classes: int, first: int = 0) -> Path:
    """Write the four files of a split of EMNIST byte for byte as NIST has them, not packed."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("train", 52 * 20, 1), ("test", 208, 2)):
        images, labels = shapes(count, classes, seed)
        name = f"emnist-{split}-{part}"
        lying = images.transpose(0, 2, 1)  # columns first
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + lying.tobytes())
        header = struct.pack(">II", 0x801, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            header + (labels + first).astype(np.uint8).tobytes()
        )
    return folder


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("letters", LETTERS),
        ("digits", tuple("0123456789")),
        ("mnist", tuple("0123456789")),
        ("balanced", tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")),
        ("bymerge", tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")),
        ("byclass", tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")),
    ],
)
def test_emnist_is_upright_with_its_classes(tmp_path: Path, split: str, names: Any) -> None:
    write_emnist(tmp_path / "gzip", split, len(names), 1 if split == "letters" else 0)
    splits = data.load(f"emnist-{split}", tmp_path)  # type: ignore[arg-type]
    images, labels = shapes(208, len(names), 2)
    np.testing.assert_array_equal(splits.test.images, images)
    np.testing.assert_array_equal(splits.test.labels, labels)
    assert splits.train.classes == splits.test.classes == names
    assert splits.test.name == f"emnist-{split}-test"
    assert splits.title == f"EMNIST {split}"
    assert "unchecked" in splits.source
    assert splits.train.subset(3).classes == names
    assert data.as_1989(splits.test).classes == names


def write_qmnist(folder: Path, **changed: Any) -> None:
    """Write QMNIST's four files byte for byte as published, packed: labels of eight numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        images, labels = shapes(30, 10, 1)
        extended = np.zeros((30, 8), ">i4")
        extended[:, 0] = labels
        extended[:, 1:] = [4, 3599, 16, 51, 292, 0, 0]  # series, writer, and where it comes from
        if part == "train" and changed:
            extended[5, 0] = changed["label"]
        files = {
            "images-idx3-ubyte": struct.pack(">IIII", 0x803, 30, 28, 28) + images.tobytes(),
            "labels-idx2-int": struct.pack(">III", 0xC02, 30, 8) + extended.tobytes(),
        }
        for name, content in files.items():
            (folder / f"qmnist-{part}-{name}.gz").write_bytes(gzip.compress(content))


def test_qmnist_has_extended_labels(tmp_path: Path) -> None:
    write_qmnist(tmp_path / "QMNIST" / "raw")
    splits = data.load("qmnist", tmp_path)
    np.testing.assert_array_equal(splits.train.labels, shapes(30, 10, 1)[1])
    np.testing.assert_array_equal(splits.test.images, shapes(30, 10, 1)[0])
    assert splits.title == "QMNIST"
    for label in (10, -1, 256, 2**31 - 1):
        write_qmnist(tmp_path / "bad", label=label)
        with pytest.raises(FileFormatError, match=r"labels-idx2-int.gz: expected labels 0 to 9"):
            data.load("qmnist", tmp_path / "bad")
    name = tmp_path / "bad" / "qmnist-train-labels-idx2-int.gz"
    name.write_bytes(gzip.compress(struct.pack(">III", 0xC02, 30, 7) + bytes(840)))
    with pytest.raises(
        FileFormatError, match=r"expected labels, int32 \(n, 8\), got int32 \(30, 7"
    ):
        data.load("qmnist", tmp_path / "bad")


def test_kmnist_is_known_by_its_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("train", "t10k"):
        images, labels = shapes(30, 10, 1)
        for name, content in (
            ("images-idx3", struct.pack(">IIII", 0x803, 30, 28, 28) + images.tobytes()),
            ("labels-idx1", struct.pack(">II", 0x801, 30) + labels.tobytes()),
        ):
            (tmp_path / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
    other = data.load("kmnist", tmp_path)
    assert "do not match Kuzushiji-MNIST" in other.source
    assert other.train.classes[3] == "tsu"
    sums = [
        hashlib.sha256((tmp_path / f"{name}.gz").read_bytes()).hexdigest()
        for name in datasets.KMNIST.files
    ]
    known = dataclasses.replace(datasets.KMNIST, sha256=tuple(sums))
    monkeypatch.setitem(sources._COLLECTIONS, "kmnist", known)
    assert data.load("kmnist", tmp_path).title == "Kuzushiji-MNIST"
    assert data.load("auto", tmp_path).title == "Kuzushiji-MNIST"  # whatever the folder is called
    with pytest.raises(FileFormatError, match="expected Fashion-MNIST, got Kuzushiji-MNIST"):
        data.load("fashion-mnist", tmp_path)


def test_labels_of_letters_begin_with_1(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 26)  # from 0, as nobody writes them
    with pytest.raises(FileFormatError, match=r"expected labels 1 to 26, got 0 \(label 0\)"):
        data.load("emnist-letters", tmp_path)
    write_emnist(tmp_path, "letters", 27, first=1)
    with pytest.raises(FileFormatError, match=r"expected labels 0 to 26, got 27"):
        data.load("emnist-letters", tmp_path)


def test_a_folder_of_another_split_is_named(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 26, 1)
    with pytest.raises(data.DataNotFoundError, match="has those of --dataset emnist-letters"):
        data.load("mnist", tmp_path)
    name = datasets.EMNIST[1].files[0]
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(FileFormatError, match="bytes of elements after the header"):
        data.load("emnist-letters", tmp_path)


def test_names_are_checked() -> None:
    images, labels = shapes(3, 3, 0)
    for names, error, message in (
        ("abc", TypeError, "classes: expected a list of names, got str"),
        (("a", 2, "c"), TypeError, "classes: expected texts, got int 2"),
        (("a", "b", "a"), ValueError, "classes: expected different names, got 'a' twice"),
        (("a", "b"), ValueError, "labels: expected 0 to 1, got 2"),
        (("a", "b", "c\n"), ValueError, "printable"),
        (("a", "b", ""), ValueError, "1 to 64 printable characters"),
        (("a", "b", "c" * 65), ValueError, "1 to 64 printable characters"),
        (tuple(map(str, range(257))), ValueError, "expected 1 to 256 names, got 257"),
    ):
        with pytest.raises(error, match=message):
            data.Dataset(images, labels, classes=names)  # type: ignore[arg-type]
    assert data.Dataset(images, labels, classes=["a", "b", "c"]).classes == ("a", "b", "c")  # type: ignore[arg-type]
    assert "a b c" in data.Dataset(images, labels, classes=("a", "b", "c"))._repr_html_()


def test_training_names_the_outputs(tmp_path: Path) -> None:
    images, labels = shapes(64, 3, 0)
    names = ("cat", "dog", "<b>")
    three = data.Dataset(images, labels, "three", classes=names)
    network = models.lenet5(pooling="max", output="softmax", classes=3)
    assert network.classes == ("0", "1", "2")
    assert "classes" not in network.config()
    trainer = Trainer(network, batch_size=16)
    trainer.fit(three, three, epochs=1)
    assert network.classes == names
    found = trainer.evaluate(three)
    assert found.classes == names
    assert "&lt;b&gt;" in found._repr_html_()
    files.save_model(tmp_path / "model", network)
    assert files.load_model(tmp_path / "model").classes == names
    with pytest.raises(
        ValueError, match=r"train: expected 10 classes, one per output .* got 3; bui"
    ):
        Trainer(models.lenet5(output="softmax")).fit(three, three)
    unnamed = data.Dataset(images, labels)
    with pytest.raises(ValueError, match="test: expected the classes of train"):
        Trainer(models.lenet5(output="softmax", classes=3)).fit(three, unnamed)
    Trainer(models.lenet5(output="softmax", classes=3)).fit(unnamed, unnamed, epochs=1)
    with pytest.raises(ValueError, match="classes: expected 3 names, one per class, got 2"):
        network.classes = ("a", "b")
    config = network.config()
    for wrong in (["a"], "abc", [1, 2, 3]):
        with pytest.raises(ValueError, match="classes: expected"):
            Network.from_config(config | {"classes": wrong})


@pytest.mark.parametrize("build", [models.lenet5, models.lenet4, models.lenet1, models.lenet1989])
def test_models_have_any_number_of_outputs(build: Any) -> None:
    options = {"output": "softmax"} if build in (models.lenet5, models.lenet4) else {}
    network = build(classes=26, **options)
    ten = build(**options)
    assert network.output_shape == (26,)
    per_output = network.counts().parameters - ten.counts().parameters
    assert per_output == 16 * (ten.parameters["OUTPUT.w"].shape[1] + 1)
    with pytest.raises(ValueError, match="classes: expected an int from 2 to 256, got 257"):
        build(classes=257, **options)


def test_bitmaps_are_those_of_ten_digits() -> None:
    with pytest.raises(ValueError, match="output: expected 'softmax' or 'linear' for 26 classes"):
        models.lenet5(classes=26)


def test_letters_on_the_command_line(lenet_fast: Any, tmp_path: Path) -> None:
    where = ("--dataset", "emnist-letters", "--data", write_emnist(tmp_path, "letters", 26, 1))
    refused = lenet_fast("train", *where, "--epochs", "1", "--out", "run")
    assert_one_line(refused, "26 classes of EMNIST letters", "pass --output softmax", status=2)
    trained = lenet_fast(
        "train", *where, "--recipe", "fast", "--epochs", "6", "--limit", "1000", "--out", "run"
    )
    assert trained.status == 0, trained.err
    assert "26 classes" in trained.out
    network = files.load_model("run")
    assert network.classes == LETTERS
    found = lenet_fast("evaluate", "run", *where)
    assert "Rows: true class. Columns: predicted class." in found.out
    assert all(f"\n{letter} " in found.out for letter in LETTERS)
    report = json.loads(lenet_fast("evaluate", "run", *where, "--json").out)
    assert report["classes"] == list(LETTERS)
    assert report["accuracy"] > 0.9
    assert np.shape(report["confusion"]) == (26, 26)
    np.save("q.npy", shapes(26, 26, 3)[0][16])
    answer = json.loads(lenet_fast("predict", "run", "q.npy", "--json").out)[0]
    assert (answer["class"], answer["name"]) == (16, "Q")
    assert lenet_fast("predict", "run", "q.npy").out.splitlines()[-1].split()[1] == "Q"
    assert lenet_fast("train", "--resume", "run", "--epochs", "7").status == 0
    assert_one_line(
        lenet_fast("evaluate", "run", "--dataset", "sample"),
        "expected a network with 10 outputs, one per class of the bundled sample",
    )


def test_other_names_of_as_many_classes_are_noticed(lenet_fast: Any, tmp_path: Path) -> None:
    network = models.lenet5(pooling="max", output="softmax")
    network.classes = tuple("abcdefghij")
    network.inverted = False
    network.save("model")
    result = lenet_fast("evaluate", "model", "--dataset", "sample")
    assert "The model was trained on other classes, a, b, c" in result.err


@pytest.mark.slow
def test_plots_name_the_classes(lenet_fast: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    where = ("--dataset", "emnist-balanced", "--data", write_emnist(tmp_path, "balanced", 47))
    models.lenet5(pooling="max", output="softmax", classes=47).save("model")
    for what in ("confusion", "mistakes", "features", "saliency"):
        result = lenet_fast("plot", "model", "--what", what, *where)
        assert result.status == 0, result.err
        with Image.open(f"{what}.png") as picture:
            assert picture.size[0] > 800
    assert lenet_fast("plot", "--what", "distribution", *where).status == 0
    splits = data.load("emnist-balanced", tmp_path)
    ticks = plots.class_distribution(splits).axes[1].get_xticklabels()
    assert tuple(each.get_text() for each in ticks) == splits.test.classes
    labels = splits.test.labels
    wrong = (labels + 1) % 47
    [axes] = plots.confusion(labels, wrong, splits.test.classes).axes
    assert axes.get_title() == "208 of 208 images misclassified (100.00 %)"
    assert axes.get_yticklabels()[46].get_text() == "t"
    [axes] = plots.mistakes(splits.test.images, labels, wrong, classes=splits.test.classes).axes
    assert axes.texts[10].get_text() == "A→B"
    assert axes.get_title().endswith("(0→1: a 0, read as a 1)")
    long = ("Ankle boot", "T-shirt/top")
    [axes] = plots.mistakes(
        splits.test.images[:2], np.array([0, 1]), np.array([1, 0]), classes=long
    ).axes
    assert axes.texts[0].get_text() == "Ankle boot\n→ T-shirt/top"


def test_an_evaluation_counts_its_classes() -> None:
    assert Evaluation(0.0, np.eye(3, dtype=np.intp)).classes == ("0", "1", "2")


def test_fashion_has_names() -> None:
    assert datasets.FASHION_MNIST.classes[9] == "Ankle boot"
    assert len(datasets.FASHION_MNIST.classes) == 10


def test_the_page_names_the_classes(lenet_fast: Any, tmp_path: Path) -> None:
    pytest.importorskip("flask")
    from lenet_fast.web import app
    from lenet_fast.web.manager import TrainingManager
    from lenet_fast.web.pupils import Pupils

    splits = data.load("emnist-letters", write_emnist(tmp_path, "letters", 26, 1))
    manager = TrainingManager(splits, tmp_path / "saved")  # trains at once
    try:
        client = app.create(Pupils(manager)).test_client()
        about = client.get("/api/about").get_json()
        assert about["digits"] is False
        assert [model["outputs"][0] for model in about["models"]] == [
            *("softmax", "softmax", "softmax", "softmax", "linear", "linear", "linear")
        ]
        assert client.get("/api/network").get_json()["classes"] == list(LETTERS)
        headers = {"Origin": "http://localhost"}
        answer = client.post("/api/read", json={"digit": 3}, headers=headers).get_json()
        assert (answer["label"], answer["name"], len(answer["values"])) == (3, "D", 26)
        refused = client.post("/api/training", json={"output": "rbf"}, headers=headers)
        assert "output: expected" in refused.get_json()["error"]
    finally:
        manager.close()
    models.lenet5(output="softmax").save("ten")
    result = lenet_fast("serve", "ten", "--dataset", "emnist-letters", "--data", tmp_path)
    assert_one_line(result, "expected a network with 26 outputs")
