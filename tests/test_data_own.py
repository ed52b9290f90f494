"""Data sets of the user's: .npz, CSV and folders of pictures, in the formats of other programs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line
from PIL import Image, ImageDraw

from lenet_fast import data, files, models
from lenet_fast.errors import FileFormatError

SAMPLE = data.load("sample")
TRAIN, TEST = SAMPLE.train.subset(60), SAMPLE.test.subset(20)


def arrays() -> dict[str, Any]:
    """Return the arrays of Keras' mnist.npz."""
    return {
        "x_train": TRAIN.images,
        "y_train": TRAIN.labels,
        "x_test": TEST.images,
        "y_test": TEST.labels,
    }


def assert_same(splits: data.Splits) -> None:
    for found, expected in ((splits.train, TRAIN), (splits.test, TEST)):
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)


# --- .npz -----------------------------------------------------------------------------------


def changes(**changed: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **(arrays() | changed))  # type: ignore[arg-type]


GOOD_NPZ = {
    "as from Keras": {},
    "with an axis of channels": {
        "x_train": TRAIN.images[..., None],
        "x_test": TEST.images[:, None],
    },
    "as rows": {"x_train": TRAIN.images.reshape(60, 784)},
    "with int64 labels in a column": {"y_test": TEST.labels.astype(np.int64)[:, None]},
    "as shares": {"x_train": (TRAIN.images / 255).astype(np.float32)},
    "with another array": {"names": np.array(["a", "b"])},
}


@pytest.mark.parametrize("case", GOOD_NPZ)
def test_npz(tmp_path: Path, case: str) -> None:
    np.savez_compressed(tmp_path / "mnist.npz", **(arrays() | GOOD_NPZ[case]))  # type: ignore[arg-type]
    splits = data.load(folder=tmp_path / "mnist.npz")
    assert_same(splits)
    assert splits.notice is None
    assert splits.title == "own images"
    assert splits.train.classes == tuple("0123456789")
    assert splits.train.name == "mnist-train"


def test_images_on_another_scale_are_noticed(tmp_path: Path) -> None:
    for largest in (1, 16):
        scaled = {key: array for key, array in arrays().items() if key[0] == "y"}
        for key in ("x_train", "x_test"):
            scaled[key] = np.rint(arrays()[key] / 255 * largest).astype(np.uint8)
        np.savez(tmp_path / "few.npz", **scaled)
        splits = data.load(folder=tmp_path / "few.npz")
        words = f"values from 0 to {largest}, not 0 to 255: read as background to foreground"
        assert str(splits.notice).count(words) == 2
        assert splits.train.images.max() == 255


def shapes(*labels: int, tested: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Return the arrays of images with these labels in turn."""
    x = np.random.default_rng(0).integers(0, 256, (12, 28, 28)).astype(np.uint8)
    y_train, y_test = (np.resize(each, 12) for each in (labels, tested or labels))
    return {"x_train": x, "y_train": y_train, "x_test": x, "y_test": y_test}


def test_labels_without_names_are_digits_only_if_all_ten_occur(
    lenet_fast: Any, tmp_path: Path
) -> None:
    path = tmp_path / "own.npz"
    for labels, classes in ((range(3), 3), ((0, 20), 21), (range(9), 9), (range(10), 10)):
        np.savez(path, **shapes(*labels))
        assert data.load(folder=path).train.classes == tuple(map(str, range(classes)))
    np.savez(path, **shapes(*range(3)))
    refused = lenet_fast("train", "--data", path, "--out", "run")
    words = "--output: expected softmax or linear for the 3 classes of own images, got rbf, whose"
    assert_one_line(refused, words, "pass --output softmax", status=2)
    assert not (tmp_path / "run").exists()
    trained = lenet_fast("train", "--data", path, "--recipe", "fast", "--epochs", "1", "--out", "r")
    assert trained.status == 0, trained.err
    assert files.load_model("r").output_shape == (3,)
    # Those who say that these are digits get digits, as do those who name the classes.
    assert data.load("mnist", path).train.classes == tuple("0123456789")
    trained = lenet_fast(
        "train", "--dataset", "mnist", "--data", path, "--epochs", "1", "--out", "digits"
    )
    assert files.load_model("digits").output_shape == (10,)
    words = trained.out.partition(" evaluate ")[2].splitlines()[0].split()
    assert lenet_fast("evaluate", *words).status == 0, words
    names = np.array(list("0123456789"))
    np.savez(path, **shapes(*range(3)), classes=names)
    assert data.load(folder=path).train.classes == tuple("0123456789")
    np.savez(path, **shapes(*range(3)), classes=np.array(["bar", "circle", "cross"]))
    assert data.load(folder=path).test.classes == ("bar", "circle", "cross")
    np.savez(path, **shapes(0))
    with pytest.raises(
        FileFormatError, match=r"own\.npz: expected at least two classes, got the l"
    ):
        data.load(folder=path)


def test_classes_without_training_images_are_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **shapes(0, 1, 2, tested=(0, 1, 5, 8)))
    notice = str(data.load(folder=tmp_path / "own.npz").notice)
    assert "The test images have classes without training images: 5, 8." in notice
    np.savez(tmp_path / "own.npz", **shapes(0, 1, 2, tested=(0, 1)))
    assert "without" not in str(data.load(folder=tmp_path / "own.npz").notice)


def test_images_larger_than_the_input_are_refused_at_once(lenet_fast: Any, tmp_path: Path) -> None:
    large = {
        key: np.pad(x, ((0, 0), (6, 6), (6, 6))) for key, x in arrays().items() if key[0] == "x"
    }
    np.savez(tmp_path / "large.npz", **(arrays() | large))  # type: ignore[arg-type]
    start = ("train", "--data", "large.npz", "--epochs", "1")
    words = "--data: expected images of at most 32x32 for --model lenet5, got 40x40"
    assert_one_line(lenet_fast(*start), words, status=2)
    assert_one_line(lenet_fast(*start, "--out", "mine"), words, status=2)
    words = "--data: expected images of 28x28 or 16x16 for --model lenet1, got 40x40"
    assert_one_line(lenet_fast(*start, "--model", "lenet1"), words, status=2)
    models.lenet5().save("model")
    result = lenet_fast("evaluate", "model", "--data", "large.npz")
    assert_one_line(
        result, "--data: expected images of at most 32x32 for model, got 40x40", status=2
    )
    pytest.importorskip("flask")
    result = lenet_fast("serve", "--data", "large.npz")
    assert_one_line(result, "--data: expected images of at most 32x32 for the page, got", status=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.npz", "model"]


def test_advice_about_emnist_is_for_its_images_only(tmp_path: Path) -> None:
    lying = {"x_train": TRAIN.images.swapaxes(1, 2), "x_test": TEST.images.swapaxes(1, 2)}
    cases: list[tuple[dict[str, Any], bool]] = [
        (arrays() | lying, True),
        (arrays() | {key: np.pad(x, ((0, 0), (2, 2), (2, 2))) for key, x in lying.items()}, False),
        (arrays() | {key: x[:, 4:24] for key, x in lying.items()}, False),
        (arrays() | lying | {"classes": np.array(list("abcdefghij"))}, False),
    ]
    for content, told in cases:
        np.savez(tmp_path / "own.npz", **content)
        notice = str(data.load(folder=tmp_path / "own.npz").notice)
        assert ("as in EMNIST's files" in notice) == told


def with_nan(images: Any, value: float = np.nan) -> Any:
    images = images.copy()
    images[7, 3, 3] = value
    return images


def write_pickle(path: Path) -> None:
    np.savez(path, **(arrays() | {"x_train": np.array([{}], object)}), allow_pickle=True)  # type: ignore[arg-type]


def write_false_header(path: Path) -> None:
    changes()(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["x_train.npy"] = parts["x_train.npy"].replace(b"(60, 28, 28)", b"(9**9,28,28)")
    header = parts["x_test.npy"].replace(b"(20, 28, 28)", b"(19, 28, 28)")
    for name, content in (("x_train.npy", None), ("x_test.npy", header)):
        with zipfile.ZipFile(path, "w") as archive:
            for each, old in parts.items():
                new = content if each == name and content else old
                archive.writestr(each, new)
        if name == "x_train.npy":
            with pytest.raises(FileFormatError, match=r"an intact \.npz"):
                data.load(folder=path)
            parts["x_train.npy"] = parts["x_train.npy"].replace(b"(9**9,28,28)", b"(60, 28, 28)")


BAD_NPZ = {
    "a missing array": (
        lambda path: np.savez(path, x=TRAIN.images, y=TRAIN.labels),
        "with the arrays x_train, y_train, x_test, y_test, got one with 'x', 'y'",
    ),
    "a pickle": (write_pickle, "x_train: expected numbers, got Python objects"),
    "numbers as names": (
        changes(classes=np.arange(10)),
        r"bad\.npz, classes: expected the names of the classes, texts \(n,\), got int64",
    ),
    "too few names": (changes(classes=np.array(["a", "b"])), "y_train: expected labels 0 to 1, g"),
    "one name": (
        changes(
            **dict.fromkeys(("y_train", "y_test"), np.zeros(60, int)),
            classes=np.array(["a"]),
            x_test=TRAIN.images,
        ),
        "expected at least two classes",
    ),
    "too few labels": (changes(y_test=TEST.labels[:9]), "y_test: expected 20 labels, .* got 9"),
    "fractions as labels": (changes(y_test=TEST.labels + 0.5), "y_test: expected labels, integers"),
    "NaN as labels": (changes(y_test=np.full(20, np.nan)), "y_test: expected labels, integers"),
    "negative labels": (
        changes(y_test=np.full(20, -1)),
        "y_test: expected labels 0 to 255, got -1",
    ),
    "texts": (
        changes(x_test=np.full((20, 28, 28), "a")),
        "x_test: expected grey images of numbers",
    ),
    "colours": (
        changes(x_test=np.zeros((20, 28, 28, 3), np.uint8)),
        "x_test: expected grey images",
    ),
    "no images": (changes(x_test=TEST.images[:0], y_test=TEST.labels[:0]), "at least one image"),
    "pixels above 255": (
        changes(x_test=TEST.images.astype(np.int64) * 2),
        "x_test: expected integ",
    ),
    "another scale": (changes(x_test=TEST.images - 128.0), "x_test: expected floats from 0"),
    "bytes behind an array": (write_false_header, "x_test: expected one array, got more behind"),
    "NaN in shares": (
        changes(x_train=with_nan(TRAIN.images / 255)),
        r"bad\.npz, x_train: expected numbers, got NaN or infinity in image 7",
    ),
    "infinity in bytes": (
        changes(x_test=with_nan(TEST.images.astype(np.float32), np.inf)),
        r"bad\.npz, x_test: expected numbers, got NaN or infinity in image 7",
    ),
    "two sizes": (
        changes(x_test=TEST.images[:, 4:24, 4:24]),
        r"x_test: expected images of 28x28, as in .*x_train, got 20x20",
    ),
    "half a file": (
        lambda path: (changes()(path), path.write_bytes(path.read_bytes()[:9000])),
        "an intact .npz",
    ),
    "no zip": (lambda path: path.write_bytes(b"PK\3\4" + bytes(100)), "an intact .npz"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz(tmp_path: Path, case: str) -> None:
    write, message = BAD_NPZ[case]
    write(tmp_path / "bad.npz")
    with pytest.raises(FileFormatError, match=message):
        data.load(folder=tmp_path / "bad.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lenet_fast.data.own.MAX_BYTES", 50_000)
    np.savez_compressed(
        tmp_path / "zeros.npz", **(arrays() | {"x_test": np.zeros(10**6, np.uint8)})
    )  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="x_test: expected at most 50,000 bytes, got 1,000,"):
        data.load(folder=tmp_path / "zeros.npz")


# --- CSV ------------------------------------------------------------------------------------


def csv(
    dataset: data.Dataset, *, head: str = "", labels: bool = True, first: int | None = None
) -> str:
    """Return a data set as Kaggle and others have it: the label, then the pixels."""
    lines = [head] if head else []
    for i, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
        numbers = [*([first + i] if first is not None else []), *([label] if labels else [])]
        lines.append(",".join(map(str, [*numbers, *image.ravel()])))
    return "\n".join(lines) + "\n"


LAST = np.zeros(60, bool)
for _label in range(10):
    _of_class = [i for i in range(60) if TRAIN.labels[i] == _label]
    LAST[_of_class[len(_of_class) - len(_of_class) // 6 :]] = True

PIXELS = ",".join(f"pixel{i}" for i in range(784))


def test_kaggles_digits(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv(TRAIN, head=f"label,{PIXELS}"))
    (tmp_path / "test.csv").write_text(csv(TEST, head=PIXELS, labels=False))
    for place in (tmp_path, tmp_path / "train.csv"):
        splits = data.load(folder=place)
        words = f"has no test set: the last sixth of each class, {LAST.sum()} of 60 images"
        assert words in str(splits.notice)
        np.testing.assert_array_equal(splits.train.images, TRAIN.images[~LAST])
        np.testing.assert_array_equal(splits.test.images, TRAIN.images[LAST])
        np.testing.assert_array_equal(splits.test.labels, TRAIN.labels[LAST])


def test_a_sorted_table_has_each_class_in_both_sets(tmp_path: Path) -> None:
    order = np.argsort(TRAIN.labels, kind="stable")
    (tmp_path / "sorted.csv").write_text(
        csv(data.Dataset(TRAIN.images[order], TRAIN.labels[order]))
    )
    splits = data.load(folder=tmp_path / "sorted.csv")
    for label in range(10):
        of_class = TRAIN.images[TRAIN.labels == label]
        kept = len(of_class) - len(of_class) // 6
        np.testing.assert_array_equal(
            splits.train.images[splits.train.labels == label], of_class[:kept]
        )
        np.testing.assert_array_equal(
            splits.test.images[splits.test.labels == label], of_class[kept:]
        )
    assert (np.diff(splits.train.labels.astype(int)) >= 0).all()
    (tmp_path / "few.csv").write_text(
        csv(data.Dataset(TRAIN.images[order], TRAIN.labels[order]).subset(5))
    )
    with pytest.raises(FileFormatError, match="expected at least 6 images of a class"):
        data.load(folder=tmp_path / "few.csv")


@pytest.mark.parametrize("head", ["", f"label,{PIXELS}", f'\ufeff"label",{PIXELS}'])
def test_two_tables(tmp_path: Path, head: str) -> None:
    (tmp_path / "mnist_train.csv").write_text(csv(TRAIN, head=head), encoding="utf-8")
    (tmp_path / "mnist_test.csv").write_text(csv(TEST, head=head), encoding="utf-8")
    for place in (tmp_path, tmp_path / "mnist_train.csv"):
        splits = data.load(folder=place)
        assert_same(splits)
        assert splits.notice is None


def test_labels_may_be_the_last_column(tmp_path: Path) -> None:
    rows = [
        ",".join(map(str, [*x.ravel(), y])) for x, y in zip(TRAIN.images, TRAIN.labels, strict=True)
    ]
    (tmp_path / "mnist_784.csv").write_text("\n".join([f"{PIXELS},class", *rows]))
    splits = data.load(folder=tmp_path / "mnist_784.csv")
    np.testing.assert_array_equal(splits.train.images, TRAIN.images[~LAST])
    np.testing.assert_array_equal(splits.train.labels, TRAIN.labels[~LAST])
    (tmp_path / "mnist_784.csv").write_text("\n".join(rows))
    with pytest.raises(FileFormatError, match=r"784\.csv: .*name the column label in a header"):
        data.load(folder=tmp_path / "mnist_784.csv")
    for row in range(len(rows)):
        rows[row] = f"{37 * row % 256}{rows[row][1:]}"  # backgrounds that differ
    (tmp_path / "mnist_784.csv").write_text("\n".join(rows))
    with pytest.raises(FileFormatError, match="those seem to be in the last"):
        data.load(folder=tmp_path / "mnist_784.csv")


def test_first_columns_that_are_labels(tmp_path: Path) -> None:
    """The last pixels could be labels, but so could the first numbers."""
    images = TRAIN.images.copy()
    images[:, -1, -1] = np.arange(60) % 3
    for labels in (np.arange(60) % 4, 1 + np.arange(60) % 9):
        (tmp_path / "own.csv").write_text(
            csv(data.Dataset(images, labels.astype(np.uint8), classes=tuple(map(str, range(27)))))
        )
        splits = data.load(folder=tmp_path / "own.csv")
        counts = [np.bincount(each.labels, minlength=27) for each in (splits.train, splits.test)]
        np.testing.assert_array_equal(sum(counts), np.bincount(labels, minlength=27))


def test_a_table_of_a_known_data_set(tmp_path: Path) -> None:
    """EMNIST's letters: images on their sides, labels from 1."""
    lying = data.Dataset(
        TRAIN.images.transpose(0, 2, 1), TRAIN.labels + np.uint8(1), classes=tuple("abcdefghijk")
    )
    (tmp_path / "emnist-letters-train.csv").write_text(csv(lying))
    (tmp_path / "emnist-letters-test.csv").write_text(csv(lying.subset(20)))
    splits = data.load("emnist-letters", tmp_path)
    np.testing.assert_array_equal(splits.train.images, TRAIN.images)
    np.testing.assert_array_equal(splits.train.labels, TRAIN.labels)
    assert splits.train.classes[:2] == ("A", "B")


def test_more_than_ten_labels_are_numbers(tmp_path: Path) -> None:
    labels = TRAIN.labels + np.uint8(5)
    named = data.Dataset(TRAIN.images, labels, classes=tuple(map(str, range(20))))
    (tmp_path / "mine.csv").write_text(csv(named))
    assert data.load(folder=tmp_path / "mine.csv").train.classes == tuple(map(str, range(15)))


ROWS = csv(TRAIN)
BAD_CSV = {
    "an index": (csv(TRAIN, head=f",label,{PIXELS}", first=0), "one of which seems to be an index"),
    "an index without a name": (csv(TRAIN, first=0), "one of which seems to be an index"),
    "an id": (csv(TRAIN, head=f"id,{PIXELS}", labels=False, first=1), "seems to be an index"),
    "no labels": (csv(TRAIN, head=PIXELS, labels=False), "expected a column of labels"),
    "no labels and no head": (csv(TRAIN, labels=False), "expected a column of labels"),
    "a text": (
        ROWS.replace("\n", "\nx", 1),
        "could not convert string 'x.*' to float32 in line 2",
    ),
    "a short line": (ROWS + "1,2,3\n", "the number of columns changed from 785 to 3 in line 61"),
    "nothing but a head": (f"label,{PIXELS}\n", "expected lines of 785 numbers, got none"),
    "semicolons": (ROWS.replace(",", ";"), "separated by commas, got 1 columns"),
    "other sizes": ("1,2,3,4\n1,2,3,4\n", "expected a column of labels"),
    "large pixels": (ROWS + "3," + ",".join(["256"] * 784), "got 256 in line 61"),
    "not a number": (
        ROWS + "3," + ",".join(["nan"] * 784),
        r"bad\.csv: expected numbers, got NaN or infinity in line 61 \(image 60\)",
    ),
    "infinity among shares": (
        f"label,{PIXELS}\n" + ("1," + ",".join(["0.5"] * 784) + "\n") * 9 + f"2,inf{',0' * 783}",
        r"bad\.csv: expected numbers, got NaN or infinity in line 11 \(image 9\)",
    ),
    "large labels": ("300," + ",".join(["0.5"] * 784) + "\n" + ROWS, "got"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path: Path, case: str) -> None:
    text, message = BAD_CSV[case]
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        data.load(folder=tmp_path / "bad.csv")


# --- pictures -------------------------------------------------------------------------------


def export(folder: Path, dataset: data.Dataset) -> None:
    """Write a picture per image into a folder per class, as many programs do with MNIST."""
    for i, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:05}.png")


@pytest.mark.parametrize("parts", [("train", "test"), ("training", "testing"), ("train", "val")])
def test_pictures_of_mnist(tmp_path: Path, parts: tuple[str, str]) -> None:
    export(tmp_path / parts[0], TRAIN)
    export(tmp_path / parts[1], TEST)
    (tmp_path / parts[0] / ".DS_Store").write_bytes(b"not a class")
    (tmp_path / parts[0] / "3" / ".DS_Store").write_bytes(b"not a picture")
    splits = data.load(folder=tmp_path)
    assert splits.notice is None
    for found, expected in ((splits.train, TRAIN), (splits.test, TEST)):
        order = np.argsort(expected.labels, kind="stable")
        np.testing.assert_array_equal(found.images, expected.images[order])
        np.testing.assert_array_equal(found.labels, expected.labels[order])


def write_shapes(folder: Path, names: tuple[str, ...] = ("bar", "circle", "cross")) -> None:
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(0, 24, 4):
            image = Image.new("L", (100, 120), 255)
            draw, box = ImageDraw.Draw(image), (20 + i, 30, 60 + i, 80)
            if k == 0:
                draw.line((40 + i, 30, 40 + i, 80), 0, 7)
            elif k == 1:
                draw.ellipse(box, outline=0, width=7)
            else:
                draw.line(box, 0, 7)
                draw.line((box[2], box[1], box[0], box[3]), 0, 7)
            image.save(folder / name / f"{i}.jpg")


def test_own_pictures_on_the_command_line(lenet_fast: Any, tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes")
    shown = lenet_fast("data", "--data", "shapes")
    assert "classes   3: bar, circle, cross" in shown.out
    assert "the last sixth of each class, 3 images, are the test images" in shown.err
    assert "18 pictures were centred and scaled to 28x28" in shown.err
    options = ("--data", "shapes", "--recipe", "fast", "--epochs", "25", "--batch-size", "4")
    result = lenet_fast("train", *options, "--out", "run")
    assert result.status == 0, result.err
    assert files.load_model("run").classes == ("bar", "circle", "cross")
    answer = lenet_fast("predict", "run", "shapes/circle/4.jpg", "shapes/bar/4.jpg").out
    assert [line.split()[1] for line in answer.splitlines()[-2:]] == ["circle", "bar"]
    table = lenet_fast("evaluate", "run", "--data", "shapes").out
    assert "1 circle" in table


def test_bad_folders_of_pictures(tmp_path: Path) -> None:
    export(tmp_path / "train", TRAIN)
    export(tmp_path / "test", TEST)
    wrong = tmp_path / "train" / "3" / "notes.txt"
    wrong.write_text("hello")
    with pytest.raises(FileFormatError, match=r"notes\.txt: .* got text .a picture of the class 3"):
        data.load(folder=tmp_path)
    wrong.unlink()
    (tmp_path / "test" / "3").rename(tmp_path / "test" / "three")
    with pytest.raises(
        FileFormatError, match=r"test: expected the classes of .*train, got also thr"
    ):
        data.load(folder=tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "train" / "3").rename(tmp_path / "one" / "3")
    with pytest.raises(FileFormatError, match="expected at least two classes, got 3 alone"):
        data.load(folder=tmp_path / "one")
    blank = tmp_path / "two" / "blank"
    blank.mkdir(parents=True)
    (tmp_path / "one" / "3").rename(tmp_path / "two" / "3")
    Image.new("L", (50, 50)).save(blank / "0.png")
    with pytest.raises(
        FileFormatError,
        match=r"0\.png: expected a drawing, got a blank .* the class blank by its f",
    ):
        data.load(folder=tmp_path / "two")


def test_other_files_and_no_files(lenet_fast: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert_one_line(lenet_fast("data", "--data", "notes.txt"), "an .npz or a .csv, got a file")
    assert_one_line(lenet_fast("data", "--data", "nothing"), "there is no such folder")
    changes()(tmp_path / "own.npz")
    for name in ("usps", "cifar-10"):
        shown = lenet_fast("data", "--dataset", name, "--data", "own.npz")
        assert_one_line(shown, "own.npz (a file, not a folder): expected the")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays())  # type: ignore[arg-type]
    (tmp_path / "named_as_it_likes").write_bytes(buffer.getvalue())
    assert_same(data.load(folder=tmp_path / "named_as_it_likes"))
