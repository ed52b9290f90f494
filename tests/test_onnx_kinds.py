"""ONNX files of other programs: read with equal outputs, judged by onnxruntime, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_kinds
import pytest
from cli_cases import assert_one_line
from helpers import require
from network_cases import distance

from lenet_fast import data, layers, onnx
from lenet_fast.errors import FileFormatError
from lenet_fast.layers import Conv2D, Dense, MaxPool2D
from lenet_fast.network import Network
from lenet_fast.training import Constant, Trainer

SAMPLE = data.load("sample")

library = require("onnx")
runtime = require("onnxruntime")

TOLERANCE = 1e-5  # of the largest output


def pixels(sizes: list[Any], count: int = 5) -> np.ndarray:
    """Return images for a model's input; how many, if their number is open."""
    shape = [count if isinstance(sizes[0], str) else sizes[0], *sizes[1:]]
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def as_images(x: np.ndarray) -> np.ndarray:
    """Return images of any layout as (n, c, h, w)."""
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    side = round(np.sqrt(x[0].size))
    return x if x.ndim == 4 else x.reshape(len(x), 1, side, side)


def differs(model: Any, path: Path, name: str = "y", **options: Any) -> float:
    """Return by how much the outputs of onnxruntime and of the network differ, relatively."""
    path.write_bytes(model.SerializeToString())
    network = onnx.load(path, **options)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    x = pixels([each.dim_param or each.dim_value for each in dims])
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (theirs,) = session.run([name], {"x": x})
    ours = network.predict(as_images(x))
    operators = {node.op_type: node for node in model.graph.node if name in node.output}
    if "Softmax" in operators:
        ours = network.probabilities(ours)
    elif "LogSoftmax" in operators:
        ours = np.log(network.probabilities(ours))
    assert distance(theirs[0], theirs[-1]) > 1e-4 or len(theirs) == 1
    return distance(ours, theirs)


@pytest.mark.parametrize("kind", onnx_kinds.READ)
def test_read(kind: str, tmp_path: Path) -> None:
    assert differs(onnx_kinds.READ[kind](), tmp_path / "a.onnx") < TOLERANCE


@pytest.mark.parametrize("kind", onnx_kinds.CHOSEN)
def test_an_output_is_chosen(kind: str, tmp_path: Path) -> None:
    build, output = onnx_kinds.CHOSEN[kind]
    assert differs(build(), tmp_path / "a.onnx", output, output=output) < TOLERANCE


@pytest.mark.parametrize("kind", onnx_kinds.REFUSED)
def test_refused(kind: str, tmp_path: Path) -> None:
    build, reason = onnx_kinds.REFUSED[kind]
    path = tmp_path / "a.onnx"
    path.write_bytes(build().SerializeToString())
    with pytest.raises(FileFormatError, match=reason):
        onnx.load(path)


@pytest.mark.slow
def test_damaged_files_do_no_harm(tmp_path: Path) -> None:
    """Each is refused in words, or read as onnx's reference reads it."""
    rng, path = np.random.default_rng(0), tmp_path / "a.onnx"
    kinds = [build().SerializeToString() for build in onnx_kinds.READ.values()]
    refusals = set()
    for _ in range(300):
        damaged = bytearray(kinds[rng.integers(len(kinds))])
        for place in rng.integers(min(len(damaged), 2000), size=rng.integers(1, 4)):
            damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            onnx.load(path)
        except FileFormatError as error:
            refusals.add(str(error))
    assert 50 < len(refusals) < 290
    assert all(text.startswith(f"{path}: ") for text in refusals)


# --- external data ----------------------------------------------------------------------------


def with_external_data(folder: Path) -> Path:
    """Write a model whose weights lie in another file, as PyTorch's newer exporter does."""
    path = folder / "a.onnx"
    model = onnx_kinds.lenet(18, onnx_kinds.newer_view(), onnx_kinds.NUMBERS)
    options = {"all_tensors_to_one_file": True, "location": "a.onnx.data", "size_threshold": 0}
    library.save_model(model, path, save_as_external_data=True, **options)
    return path


def test_external_data_is_read_on_request(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    with pytest.raises(
        FileFormatError,
        match=r"array 'c1.w': expected values .* 'a.onnx.data'; external_data=True",
    ):
        onnx.load(path)
    network = onnx.load(path, external_data=True)
    whole = tmp_path / "whole.onnx"
    library.save(library.load(path), whole)
    x = pixels(["n", 1, 28, 28])
    np.testing.assert_array_equal(network.predict(x), onnx.load(whole).predict(x))


ENTRIES: dict[str, tuple[dict[str, str], str]] = {
    "above": ({"location": "../secret"}, "in a file of the model's folder, got '../secret'"),
    "absolute": ({"location": "/etc/passwd"}, "in a file of the model's folder, got '/etc/passwd'"),
    "below": ({"location": "in/a"}, "in a file of the model's folder"),
    "itself": ({"location": "."}, "in a file of the model's folder"),
    "drive": ({"location": "c:a"}, "in a file of the model's folder"),
    "nowhere": ({"location": ""}, "in a file of the model's folder"),
    "link": ({"location": "link"}, "expected external data in a file, got a link"),
    "absent": ({"location": "absent"}, "external data: .*absent: No such file"),
    "folder": ({"location": "in"}, "expected a file, got a folder"),
    "long name": ({"location": "a" * 5000}, "external data: .*name too long"),
    "offset": ({"offset": "-1"}, "of 600 bytes for its shape, .*, got offset '-1'"),
    "beyond": ({"offset": "9" * 30}, r"expected 1000\d+ bytes or more in .*a.onnx.data, got \d+"),
    "length": ({"length": "601"}, "of 600 bytes for its shape, .*, length '601'"),
    "words": ({"length": "many"}, "of 600 bytes for its shape, .*, length 'many'"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_external_data_elsewhere_or_of_another_size_is_refused(entry: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    path = with_external_data(folder)
    for name in (tmp_path / "secret", folder / "in" / "a"):
        name.write_bytes(bytes(10**6))
    (folder / "link").symlink_to(tmp_path / "secret")
    model = library.load(path, load_external_data=False)
    tensor = next(each for each in model.graph.initializer if each.name == "c1.w")
    changes, reason = ENTRIES[entry]
    about = {each.key: each.value for each in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in about.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match=f"array 'c1.w': .*{reason}"):
        onnx.load(path, external_data=True)


def test_external_data_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_external_data(tmp_path)
    monkeypatch.setattr(onnx.form, "MAX_BYTES", 3000)
    with pytest.raises(FileFormatError, match=r"array 'c2.w': .* at most 3000 in all"):
        onnx.load(path, external_data=True)


# --- the check --------------------------------------------------------------------------------


def test_what_the_check_found(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_kinds.keras(13).SerializeToString())
    found = onnx.read_model(path)
    assert found.comparison is not None
    assert found.comparison.runtime == f"the reference of onnx {library.__version__}"
    assert 0 < found.comparison.relative < TOLERANCE
    assert found[2:] == (13, "a test", "x", "y")
    assert found.network.input_shape == (1, 28, 28)
    assert onnx.read_model(path, check=False).comparison is None


def test_a_network_with_other_outputs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the reader took one thing for another."""
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_kinds.lenet(13, onnx_kinds.FLATTEN).SerializeToString())
    tanh = (layers.Tanh, {})
    monkeypatch.setitem(onnx.reading._ACTIVATIONS, "Relu", tanh)
    with pytest.raises(FileFormatError, match="outputs: expected those of onnx's reference for 3"):
        onnx.load(path)
    assert "Tanh" in str(onnx.load(path, check=False).layers)


def test_a_network_that_is_too_large_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_kinds.lenet(13, onnx_kinds.FLATTEN).SerializeToString())
    monkeypatch.setattr(onnx.loading, "_MOST_CONNECTIONS", 1000)
    with pytest.warns(UserWarning, match="outputs not compared with those of onnx's reference"):
        assert onnx.read_model(path).comparison is None
    assert onnx.load(path, check=False).output_shape == (10,)


# --- the command line -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> Network:
    """Return a small network of the structure of the model zoo's."""
    sizes = [Conv2D(1, 8, 5, padding=2), "relu", MaxPool2D(2), Conv2D(8, 16, 5, padding=2), "relu"]
    network = Network(
        [*sizes, MaxPool2D(3), Dense(256, 10)],
        input_shape=(1, 28, 28),
        output="softmax",
        pixel_range=(0, 1),
    )
    network.initialise("glorot_uniform")
    trainer = Trainer(network, schedule=Constant(0.05), batch_size=32)
    trainer.fit(SAMPLE.train.subset(2000), SAMPLE.test, epochs=3)
    return network


def as_model_zoo(network: Network, path: Path) -> None:
    """Write a network as the model zoo's MNIST is, for pixels from 0 to 255."""
    model, p = onnx_kinds.model_zoo(8), network.parameters
    arrays = {
        "P5": p["conv1.w"] / 255,
        "P6": p["conv1.b"].reshape(8, 1, 1),
        "P87": p["conv2.w"],
        "P88": p["conv2.b"].reshape(16, 1, 1),
        "P193": p["dense1.w"].T.reshape(16, 4, 4, 10),
        "P194": p["dense1.b"].reshape(1, 10),
    }
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            array = np.ascontiguousarray(arrays[tensor.name], np.float32)
            tensor.CopyFrom(library.numpy_helper.from_array(array, tensor.name))
    path.write_bytes(model.SerializeToString())


def test_evaluate_the_model_zoo(lenet_fast: Any, trained: Network, tmp_path: Path) -> None:
    path = tmp_path / "mnist-8.onnx"
    as_model_zoo(trained, path)
    expected = int((trained.classify(SAMPLE.test.images) != SAMPLE.test.labels).sum())
    assert expected < 150
    result = lenet_fast("evaluate", path, "--dataset", "sample", "--json")
    assert result.status == 0, result.err
    assert json.loads(result.out)["errors"] == expected
    assert "does not say what pixels it reads: taken as 0 (background) to 255" in result.err
    options = ("--pixel-range", 0, 255)
    result = lenet_fast("evaluate", path, "--dataset", "sample", "--json", *options)
    assert json.loads(result.out)["errors"] == expected
    assert result.err == ""


def test_other_commands_read_onnx_files(lenet_fast: Any, trained: Network, tmp_path: Path) -> None:
    path, digit = tmp_path / "a.ONNX", tmp_path / "digit.npy"
    as_model_zoo(trained, path)
    np.save(digit, SAMPLE.test.images[:3])
    options = ("--pixel-range", "0", "255")
    result = lenet_fast("predict", path, digit, *options, "--json")
    found = [each["class"] for each in json.loads(result.out)]
    assert found == trained.classify(SAMPLE.test.images[:3]).tolist()
    picture = tmp_path / "a.png"
    result = lenet_fast("plot", path, "--what", "architecture", "--out", picture, *options)
    assert (result.status, picture.exists()) == (0, True), result.err
    text = lenet_fast("info", path).out
    assert "ONNX, opset 8, by a test" in text
    assert "x, n x 1 x 28 x 28, float32" in text
    assert "the file does not say what the bytes 0 and 255 are" in text
    assert "by the reference of onnx" in text
    assert "Pooling160" in text
    facts = json.loads(lenet_fast("info", path, "--json", *options).out)
    assert facts["pixels"] == "0 background to 255 foreground"
    assert facts["counts"]["parameters"] == trained.counts().parameters


def test_errors_of_commands(lenet_fast: Any, trained: Network, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_kinds.lenet(13, onnx_kinds.FLATTEN).SerializeToString())
    result = lenet_fast("evaluate", path, "--dataset", "sample")  # random weights
    assert_one_line(result, "one of the usual pixel ranges", "--pixel-range names another")
    two = onnx_kinds.CHOSEN["probs of (logits, probs)"][0]()
    path.write_bytes(two.SerializeToString())
    assert_one_line(lenet_fast("info", path), "expected the name of one of", "'probs'")
    assert "softmax" in lenet_fast("info", path, "--onnx-output", "probs").out
    model = tmp_path / "model.safetensors"
    trained.save(model)
    result = lenet_fast("info", model, "--onnx-output", "probs")
    assert (result.status, "--onnx-output: expected with a model in .onnx" in result.err) == (
        2,
        True,
    )
    result = lenet_fast("info", path, "--pixel-range", 1, 1)
    assert (result.status, "--pixel-range" in result.err) == (2, True)
    external = with_external_data(tmp_path)
    assert_one_line(lenet_fast("info", external), "external_data=True")
    assert "Conv2D" in lenet_fast("info", external, "--external-data").out
