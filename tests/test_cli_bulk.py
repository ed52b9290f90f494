"""``lenet-fast predict --out``: tables of any number of images, in constant memory."""

import csv
import gzip
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import bulk as bulk_benchmark
from lenet_fast import data, engines, files, losses, models
from lenet_fast.cli import bulk
from lenet_fast.data import arrays, idx

SAMPLE = data.load("sample")
IMAGES = SAMPLE.test.images


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    network = models.lenet5(output="softmax", pooling="max")
    files.save_model(path, network, losses.CrossEntropy())
    return path


def rows(name: str = "out.csv") -> list[dict[str, str]]:
    with open(name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_are_those_of_predict(lenet_fast: Any, model: Path) -> None:
    os.makedirs("in/a")
    names = []
    for i in range(70):  # more than a group
        names.append(f"in/{'a/' if i > 65 else ''}{i:02}.png")
        Image.fromarray(255 - IMAGES[i]).save(names[-1])
    np.save("floats.npy", IMAGES[:1500] / 255)
    idx.write("images.gz", np.pad(IMAGES[:3], ((0, 0), (1, 5), (9, 0))))
    result = lenet_fast("predict", model, "in", "floats.npy", "images.gz", "--out", "out.csv")
    assert result.status == 0
    assert result.err == ""
    assert "out.csv, 1,073 images" in result.out
    found = rows()
    one_by_one = lenet_fast("predict", model, *names, "floats.npy", "images.gz", "--json")
    expected = json.loads(one_by_one.out)
    assert len(found) == len(expected) == 1073
    for row, each in zip(found, expected, strict=True):
        assert row["file"] == each["file"]
        assert row["index"] == ("" if each["index"] is None else str(each["index"]))
        assert (int(row["class"]), row["name"]) == (each["class"], each["name"])
        assert float(row["probability"]) == pytest.approx(each["probability"], rel=1e-5)


def test_names_of_classes_and_penalties(lenet_fast: Any) -> None:
    network = models.lenet5()
    network.classes = [f"digit, {k}" for k in range(10)]
    files.save_model("paper.safetensors", network, losses.MAP())
    np.save("some.npy", IMAGES[:5])
    assert lenet_fast("predict", "paper.safetensors", "some.npy", "--out", "out.csv").status == 0
    outputs = network.predict(IMAGES[:5])
    for row, values in zip(rows(), outputs, strict=True):
        assert row["name"] == f"digit, {row['class']}"
        assert int(row["class"]) == values.argmin()
        assert float(row["penalty"]) == pytest.approx(values.min(), rel=1e-5)


def test_parquet(lenet_fast: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(bulk, "_GROUP", 2000)
    idx.write("images", np.tile(IMAGES, (5, 1, 1)))
    for out in ("out.csv", "out.parquet"):
        assert lenet_fast("predict", model, "images", "--out", out).status == 0
    assert parquet.ParquetFile("out.parquet").num_row_groups > 1
    for row, each in zip(rows(), parquet.read_table("out.parquet").to_pylist(), strict=True):
        assert {name: str(value) for name, value in each.items()} == row


def test_parquet_without_pyarrow(
    lenet_fast: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = lenet_fast("predict", model, "images", "--out", "out.parquet")
    assert result.status != 0
    assert "Parquet files need pyarrow" in result.err
    assert "pip install 'lenet_fast[parquet]'" in result.err


def test_damaged_files_are_named_and_others_go_on(lenet_fast: Any, model: Path) -> None:
    os.mkdir("in")
    Path("in/.hidden").write_text("no picture")
    Path("in/bad.png").write_bytes(b"\x89PNGxx")
    Path("in/empty.png").touch()
    Image.fromarray(255 - IMAGES[0]).save("in/good.png")
    Image.new("L", (30, 30), 255).save("in/white.png")
    some = np.tile(IMAGES, (2, 1, 1))[:1030]
    some[1026] = 0
    np.save("in/some.npy", some)
    np.save("in/large.npy", np.pad(some, ((0, 0), (30, 30), (30, 30))))
    Path("in/cut").write_bytes(idx.encode(some)[:-1])
    result = lenet_fast(
        *("predict", model, "in", "missing.png", "--out", "out.csv", "--json", "--no-centre")
    )
    assert result.status == 1
    assert json.loads(result.out) == {"file": "out.csv", "images": 1030, "faults": 7}
    lines = [line for line in result.err.splitlines() if "error" in line]
    for line, name in zip(
        lines,
        ("bad.png", "cut", "empty.png", "large.npy", "some.npy[1026]", "white.png", "missing.png"),
        strict=True,
    ):
        assert f"lenet-fast: error: {'' if name == 'missing.png' else 'in/'}{name}: " in line
    found = rows()
    assert [row["file"] for row in found[:2]] == ["in/good.png", "in/some.npy"]
    assert [row["index"] for row in found[-4:]] == ["1025", "1027", "1028", "1029"]


def test_out_is_written_at_the_end_and_not_replaced(
    lenet_fast: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("some.npy", IMAGES[:3])
    Path("out.csv").write_text("mine")
    result = lenet_fast("predict", model, "some.npy", "--out", "out.csv")
    assert result.status == 2
    assert "--out: out.csv exists; --overwrite replaces it" in result.err
    with monkeypatch.context() as patch:
        patch.setattr(bulk.common, "fitted", lambda *_: 1 / 0)
        assert lenet_fast("predict", model, "some.npy", "--out", "out.csv", "--overwrite").status
    assert Path("out.csv").read_text() == "mine"
    assert sorted(os.listdir()) == ["out.csv", "some.npy"]
    assert lenet_fast("predict", model, "some.npy", "--out", "out.csv", "--overwrite").status == 0
    assert len(rows()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "out.txt"), "--out: expected a name in .csv or .parquet, got out.txt"),
        (("--out", "no/out.csv"), "--out: expected an existing folder, but there is no no"),
        (("--overwrite",), "--overwrite: expected together with --out"),
    ],
)
def test_bad_options(lenet_fast: Any, model: Path, options: Any, message: str) -> None:
    np.save("some.npy", IMAGES[:3])
    result = lenet_fast("predict", model, "some.npy", *options)
    assert result.status == 2
    assert message in result.err


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("images", marks=pytest.mark.slow),
        "images.gz",
        pytest.param("images.npy", marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_images(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    network = files.load_model(model)
    engine = engines.create(network, losses.CrossEntropy(), threads=2)
    peaks = []
    for times in (10, 40):
        many = np.tile(IMAGES, (times, 1, 1))
        if name.endswith(".npy"):
            np.save(name, many)
        else:
            content = idx.encode(many)
            Path(name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
            del content
        del many
        tracemalloc.start()
        try:
            options: Any = {"centre": None, "transpose": False, "values": "probability"}
            count, _ = bulk.predict(tmp_path / "out.csv", [Path(name)], engine, network, **options)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert count == times * 1000
    assert peaks[1] < peaks[0] + 4e6
    assert peaks[1] < 25e6  # the images alone are 31 million bytes


def test_pieces_are_read_like_the_whole() -> None:
    dark = np.minimum(IMAGES, 120)  # only the whole has the full range
    dark[700:] = IMAGES[700:]
    for images in (dark, dark / 255, (IMAGES > 99).astype(np.uint8), 255 - IMAGES):
        whole = arrays.digits(images)
        count, piece = arrays.pieces(images, 300)
        parts = [piece(k) for k in range(count)]
        assert (np.concatenate([part.images for part in parts]) == whole.images).all()
        assert [number for part in parts for number in part.numbers] == whole.numbers
    with pytest.raises(ValueError, match="expected at least 1 image, got 0"):
        arrays.pieces(IMAGES[:0], 300)


@pytest.mark.parametrize("name", ["array", "array.gz"])
def test_mapped_idx(name: str, tmp_path: Path) -> None:
    for array in (IMAGES[:5], np.arange(6, dtype=np.int32).reshape(2, 3), IMAGES[:0]):
        idx.write(tmp_path / name, array)
        mapped = idx.read(tmp_path / name, mapped=True)
        assert (mapped == array).all()
        assert mapped.shape == array.shape
        assert isinstance(mapped, np.memmap) or not array.size


def test_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    bulk_benchmark.main(["--images", "40", "--pictures", "3", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["digits", "digits.gz", "pictures"]
