"""ONNX files: judged by onnx's checker and reference, by onnxruntime, and by PyTorch's exporter."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import new_rng, require
from network_cases import NETWORKS, distance, filled, images

from lenet_fast import layers, models, onnx
from lenet_fast.errors import FileFormatError
from lenet_fast.layers import (
    GELU,
    RBF,
    Conv2D,
    Dense,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Subsample2D,
)
from lenet_fast.network import Network
from lenet_fast.onnx import form

library = require("onnx")
runtime = require("onnxruntime")
helper = library.helper

TOLERANCE = 1e-5  # of the largest output


def small() -> Network:
    """Return a network whose file is small, with a table, a bias a unit, a border and an RBF."""
    table = np.array([[1, 0], [1, 1]], bool)
    layers = [
        Conv2D(1, 2, 3, padding=1, pad_value=-1.0, bias="unit", name="C1"),
        ScaledTanh(name="C1.activation"),
        Subsample2D(2, 2, name="S2"),
        Conv2D(2, 2, 2, connections=table, name="C3"),
        MaxPool2D(3, name="S4"),
        Dense(2, 3, name="F6"),
        RBF(3, 2, centres=np.ones((2, 3)), name="OUTPUT"),
    ]
    return Network(layers, input_shape=(1, 8, 8), output="rbf")


def reference(model: bytes, x: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(model).run(["outputs"], {"images": x})[0])


def test_a_file_has_no_gradients_so_ties_make_no_difference() -> None:
    files = []
    for ties in ("first", "all"):
        layers = [MaxPool2D(2, ties=ties, name="S2"), Dense(16, 2, name="F6")]
        files.append(onnx.to_bytes(Network(layers, input_shape=(1, 8, 8), output="softmax")))
    assert files[0] == files[1]


# --- written, and read again -------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_every_judge_finds_our_outputs_and_the_same_network_comes_back(
    name: str, dtype: np.dtype, tmp_path: Path
) -> None:
    # So many squashing functions in a row would saturate, or else fade out.
    network = filled(NETWORKS[name](dtype.name), 1 if name == "everything" else 3)
    x = images(network)
    ours = network.predict(x)
    assert distance(ours[:1], ours[1:2]) > 1e-2
    path = tmp_path / "a.onnx"
    onnx.export(network, path)
    raw = path.read_bytes()
    assert distance(reference(raw, x), ours) < TOLERANCE
    if dtype == np.float32:
        session = runtime.InferenceSession(raw, providers=["CPUExecutionProvider"])
        assert distance(session.run(["outputs"], {"images": x})[0], ours) < TOLERANCE
    found = onnx.load(path)
    assert found.config() == network.config()
    assert found.counts() == network.counts()
    np.testing.assert_array_equal(found.predict(x), ours)
    assert onnx.to_bytes(found) == raw


def test_the_file_says_what_it_is() -> None:
    model = library.load_model_from_string(onnx.to_bytes(models.lenet5(output="softmax")))
    (given,), (made,) = model.graph.input, model.graph.output
    sizes = [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim]
    assert (given.name, sizes) == ("images", ["n", 1, 32, 32])
    sizes = [each.dim_param or each.dim_value for each in made.type.tensor_type.shape.dim]
    assert (made.name, sizes) == ("outputs", ["n", 10])
    metadata = {each.key: each.value for each in model.metadata_props}
    assert metadata["lenet_fast.output"] == "softmax"
    assert json.loads(metadata["lenet_fast.pixel_range"]) == [-0.1, 1.175]
    assert np.array(json.loads(metadata["lenet_fast.connections"])["C3"]).sum() == 60
    assert "-0.1 background to 1.175 foreground" in model.doc_string
    assert [(each.domain, each.version) for each in model.opset_import] == [("", onnx.OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    assert {"C1", "S2", "C3.activation", "OUTPUT"} <= {node.name for node in model.graph.node}


def test_compare_sees_a_difference() -> None:
    network, x = small(), images(small())
    model = onnx.to_bytes(network)
    same = onnx.compare(model, network, x)
    assert same.runtime == f"onnxruntime {runtime.__version__}"
    assert same.relative < TOLERANCE
    network.parameters["F6.b"][1] += 0.01
    other = onnx.compare(model, network, x)
    assert other.relative > 1e-4
    assert other.largest == pytest.approx(other.relative * np.abs(network.predict(x)).max())
    for wrong in (x[:0], x[0].tolist()):
        with pytest.raises(ValueError, match="x: expected images"):
            onnx.compare(model, network, wrong)


def test_compare_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = onnx.compare(onnx.to_bytes(small()), small(), images(small()))
    assert found.runtime == f"the reference of onnx {library.__version__}"
    assert found.relative < TOLERANCE


def test_what_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="network: expected a Network, got str"):
        onnx.export("a.onnx", path)
    network = small()
    network.parameters["F6.w"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite parameters, .* in F6.w"):
        onnx.export(network, path)

    class Cube(ReLU):
        pass

    with pytest.raises(TypeError, match=r"layers of lenet_fast.layers, got Cube \(activation1\)"):
        onnx.export(Network([Dense(1024, 2), Cube()]), path)
    monkeypatch.setattr(form, "MAX_BYTES", 2**20 + 100)
    with pytest.raises(ValueError, match="at most 100 bytes"):
        onnx.export(small(), path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for run in (lambda: onnx.export(small(), tmp_path / "a"), lambda: onnx.load(tmp_path / "a")):
        with pytest.raises(ImportError, match=r"pip install 'lenet_fast\[onnx\]'"):
            run()


# --- of other programs -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporters warn of themselves, and of each other
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("way", ["size", "minus", "flatten"])
@pytest.mark.parametrize("exporter", ["TorchScript", "torch.export"])
def test_pytorch(exporter: str, way: str, fixed: bool, tmp_path: Path) -> None:
    """Three ways to flatten, with their ends, activations and poolings, by both exporters."""
    torch = require("torch")
    if exporter == "torch.export":
        require("onnxscript")
    nn = torch.nn

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1, self.c3 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5, bias=False)
            self.pool = nn.AvgPool2d(2) if way == "size" else nn.MaxPool2d(2, 2)
            self.f5, self.f6 = nn.Linear(400, 30), nn.Linear(30, 20, bias=False)
            self.out = nn.Linear(20, 10)

        def forward(self, x: Any) -> Any:
            squash = {
                "size": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
                "minus": torch.relu,
                "flatten": torch.sigmoid,
            }[way]
            x = self.pool(squash(self.c3(self.pool(squash(self.c1(x))))))
            if way == "size":
                return torch.log_softmax(self.ends(x.view(x.size(0), -1), squash), dim=1)
            if way == "minus":
                return torch.softmax(self.ends(x.view(-1, 400), squash), dim=-1)
            return self.ends(torch.flatten(x, 1), squash)

        def ends(self, x: Any, squash: Any) -> Any:
            return self.out(squash(self.f6(squash(self.f5(x)))))

    torch.manual_seed(1)
    network, path = LeNet().eval(), tmp_path / "a.onnx"
    x = torch.rand(3, 1, 28, 28)
    if exporter == "TorchScript":
        axes = {"dynamic_axes": None if fixed else {"x": {0: "batch"}}}
        torch.onnx.export(network, (x[:1],), path, dynamo=False, input_names=["x"], **axes)
    else:
        shapes = None if fixed else ({0: torch.export.Dim("batch")},)
        options = {"dynamic_shapes": shapes, "external_data": False, "verbose": False}
        torch.onnx.export(network, (x[: 1 if fixed else 2],), path, **options)
    found = onnx.load(path, pixel_range=(0.0, 1.0))
    assert found.pixel_range == (0.0, 1.0)
    assert found.pixel_range_known
    assert not onnx.load(path).pixel_range_known  # PyTorch does not say what bytes were
    assert found.output == ("linear" if way == "flatten" else "softmax")
    outputs = found.predict(x.numpy())
    if found.output == "softmax":
        outputs = found.probabilities(outputs)
    with torch.no_grad():
        expected = network(x).numpy()
    assert distance(outputs, np.exp(expected) if way == "size" else expected) < TOLERANCE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(
    ("exporter", "opset"),
    [("TorchScript", 17), ("TorchScript", 20), ("torch.export", 18), ("torch.export", 20)],
)
def test_activations_of_pytorch(
    exporter: str, opset: int, approximate: str, tmp_path: Path
) -> None:
    """GELU as an operator, and as the rows of nodes that it is for older opsets."""
    torch = require("torch")
    if exporter == "torch.export":
        require("onnxscript")
    nn = torch.nn
    torch.manual_seed(1)
    module = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.GELU(approximate), nn.AvgPool2d(2), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(75, 9), nn.ELU(0.7), nn.Linear(9, 5), nn.GELU(approximate)),
    ).eval()
    x, path = 3 * torch.randn(4, 1, 12, 12), tmp_path / "a.onnx"
    options = {"dynamo": False} if exporter == "TorchScript" else {"external_data": False}
    torch.onnx.export(module, (x,), path, opset_version=opset, verbose=False, **options)
    raw = library.load(path)
    assert ("Gelu" in {node.op_type for node in raw.graph.node}) == (opset == 20)
    network = onnx.load(path)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Conv2D", "GELU", "AvgPool2D", "LeakyReLU", "Dense", "ELU", "Dense", "GELU"]
    assert [network.layers[k].arguments for k in (1, 3, 5, 7)] == [
        {"approximate": approximate}, {"slope": 0.2}, {"alpha": 0.7}, {"approximate": approximate},
    ]  # fmt: skip
    with torch.no_grad():
        assert distance(network.predict(x.numpy()), module(x).numpy()) < TOLERANCE


def test_dropout_is_not_written() -> None:
    body = [
        *(layers.Dropout(0.1), layers.Conv2D(1, 3, 3), ReLU(), layers.Dropout2D(0.5)),
        *(Dense(48, 5), layers.Dropout(0.5)),
    ]
    network = filled(Network(body, input_shape=(1, 6, 6)), 2)
    model = library.load_model_from_string(onnx.to_bytes(network))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "Flatten", "Gemm"]
    x = images(network)
    assert distance(reference(onnx.to_bytes(network), x), network.predict(x)) < TOLERANCE
    # Nothing else: a graph must have a node.
    bare = Network([Dense(4, 2), layers.Dropout()], input_shape=(1, 2, 2))
    assert onnx.compare(onnx.to_bytes(bare), bare, images(bare)).relative < TOLERANCE


@pytest.mark.parametrize("mode", [None, False, True])
@pytest.mark.parametrize("outputs", [["a"], ["a", "mask"]])
def test_dropout_is_read_as_nothing(mode: bool | None, outputs: list[str], tmp_path: Path) -> None:
    arrays = {"w": np.ones((4, 2), np.float32), "ratio": np.array(0.3, np.float32)}
    inputs = ["x", "ratio"]
    if mode is not None:
        arrays["mode"] = np.array(mode)
        inputs.append("mode")
    nodes = [
        helper.make_node("Dropout", inputs, outputs, "drop", seed=3),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    path = tmp_path / "a.onnx"
    library.save(from_nodes(nodes, arrays, [7, 1, 2, 2]), path)
    if mode:
        with pytest.raises(FileFormatError, match=r"drop.*training_mode: expected false"):
            onnx.load(path)
        return
    network = onnx.load(path)
    assert [type(layer).__name__ for layer in network.layers] == ["Dense"]
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(network.predict(x), [[6, 6]])


def gelu(approximate: str, row: int = 0) -> Any:
    """Return a model that begins with GELU as a row of nodes n0, n1, ... and constants c0, ..."""
    nodes, arrays, value = [], {"w": np.ones((4, 2), np.float32)}, "x"
    for k, (operator, other) in enumerate(form.GELUS[approximate][row]):
        more = [] if other is None else ["x"] if other == form.X else [f"c{k}"]
        if more == [f"c{k}"]:
            arrays[f"c{k}"] = np.array(other, np.float32)
        nodes.append(helper.make_node(operator, [value, *more], [f"v{k}"], f"n{k}"))
        value = f"v{k}"
    nodes[-1].output[0] = "gelu"
    nodes.append(helper.make_node("Flatten", ["gelu"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["y"]))
    return from_nodes(nodes, arrays, [7, 1, 2, 2])


@pytest.mark.parametrize(
    ("approximate", "row"), [(name, k) for name in form.GELUS for k in range(len(form.GELUS[name]))]
)
def test_gelu_as_a_row_of_nodes(approximate: str, row: int, tmp_path: Path) -> None:
    model = gelu(approximate, row)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    layer, _ = onnx.load(path).layers
    assert type(layer) is GELU
    assert layer.approximate == approximate
    for node in model.graph.node:  # either side of sums and products
        if node.op_type in ("Add", "Mul"):
            node.input[:] = reversed(node.input)
    path.write_bytes(model.SerializeToString())
    assert onnx.load(path).layers[0].arguments == {"approximate": approximate}


GELU_CHANGES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "divisor": ("none", lambda m: set_array(m, "c0", np.float32(1.5)), r"'n1' \(Erf\): .* GELU"),
    "sum": ("none", lambda m: set_array(m, "c2", np.float32(2)), r"'n1' \(Erf\): expected it in"),
    "half": ("none", lambda m: set_array(m, "c3", np.float32(0.25)), r"'n1' \(Erf\): expected it"),
    "other x": (
        "none",
        lambda m: m.graph.node[4].input.__setitem__(1, "v0"),
        r"'n1' \(Erf\): expected it in GELU",
    ),
    "cube": ("tanh", lambda m: set_array(m, "c0", np.float32(2)), r"'n0' \(Pow\): expected it in"),
    "factor": ("tanh", lambda m: set_array(m, "c1", np.float32(0.04)), r"'n0' \(Pow\): .* GELU"),
    "short": (
        "none",
        lambda m: (m.graph.node.pop(4), m.graph.node[3].output.__setitem__(0, "gelu")),
        r"'n1' \(Erf\): expected it in GELU",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", GELU_CHANGES)
def test_what_is_nearly_gelu_is_refused(change: str, tmp_path: Path) -> None:
    approximate, make, text = GELU_CHANGES[change]
    model = gelu(approximate)
    make(model)
    refused(model, tmp_path / "a.onnx", text)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_other_branches_are_refused(operator: str, tmp_path: Path) -> None:
    """A residual sum, and x times its ReLU, also behind a layer that might have a bias."""
    node = helper.make_node
    nodes = [node("Relu", ["x"], ["1"]), node(operator, ["1", "x"], ["y"])]
    text = rf"node 1 \({operator}\): expected a chain of nodes, .* '1', got one that reads 'x'"
    refused(from_nodes(nodes, {}, [7, 1, 2, 2]), tmp_path / "a.onnx", text)
    nodes = [node("Conv", ["x", "w"], ["1"]), node(operator, ["x", "1"], ["y"])]
    arrays = {"w": np.ones((1, 1, 1, 1), np.float32)}
    refused(from_nodes(nodes, arrays, [7, 1, 2, 2]), tmp_path / "a.onnx", text)
    nodes = [node("Relu", ["x"], ["1"]), node(operator, ["1", "1"], ["y"])]
    text = rf"node 1 \({operator}\): expected a chain of nodes, .* got one that reads '1'"
    refused(from_nodes(nodes, {}, [7, 1, 2, 2]), tmp_path / "a.onnx", text)


@pytest.mark.parametrize(
    ("operator", "attributes", "text"),
    [
        ("LeakyRelu", {"alpha": -0.5}, r"\(LeakyRelu\): slope: expected .* 0, got -0.5"),
        ("LeakyRelu", {"alpha": 1}, r"\(LeakyRelu\): alpha: expected a float, got 1"),
        ("LeakyRelu", {"slope": 0.1}, r"\(LeakyRelu\): attribute: expected one of alpha, got"),
        ("Elu", {"alpha": 0.0}, r"\(Elu\): alpha: expected a number above 0, got 0.0"),
        ("Elu", {"alpha": float("nan")}, r"\(Elu\): alpha: expected .* finite .*, got nan"),
        ("Gelu", {"approximate": "erf"}, r"\(Gelu\): approximate: expected .* tanh, got 'erf'"),
        ("Gelu", {"approximate": 1}, r"\(Gelu\): approximate: expected a string, got 1"),
        ("Relu", {"alpha": 0.1}, r"\(Relu\): attribute: expected none, got 'alpha'"),
    ],
)
def test_options_of_activations_are_checked(
    operator: str, attributes: dict[str, Any], text: str, tmp_path: Path
) -> None:
    model = from_nodes([helper.make_node(operator, ["x"], ["y"], **attributes)], {}, [7, 1, 2, 2])
    refused(model, tmp_path / "a.onnx", text)


def from_nodes(nodes: list[Any], arrays: dict[str, np.ndarray], sizes: list[Any]) -> Any:
    """Return a model of given nodes from x to y."""
    tensors = [library.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    describe = helper.make_tensor_value_info
    values = [describe("x", 1, sizes)], [describe("y", 1, None)]
    graph = helper.make_graph(nodes, "g", *values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_plain_file(tmp_path: Path) -> None:
    """A convolution's bias that is added, Identity, MatMul with Add, no names; by hand: ones."""
    node = helper.make_node
    nodes = [
        node("Identity", ["b"], ["same"]),
        node("Conv", ["x", "w"], ["1"]),
        node("Add", ["same", "1"], ["2"]),
        node("Identity", ["2"], ["3"]),
        node("Reshape", ["3", "flat"], ["4"]),
        node("MatMul", ["4", "m"], ["5"]),
        node("Add", ["5", "a"], ["y"]),
    ]
    arrays = {
        "w": np.ones((2, 1, 1, 2), np.float32),
        "b": np.array([[[1]], [[2]]], np.float32),
        "flat": np.array([7, -1]),
        "m": np.arange(12, dtype=np.float32).reshape(4, 3),
        "a": np.array([[0, 0, 10]], np.float32),
    }
    path = tmp_path / "a.onnx"
    path.write_bytes(from_nodes(nodes, arrays, [7, 1, 2, 2]).SerializeToString())
    network = onnx.load(path)
    assert network.layers[0].bias == "map"
    assert not network.pixel_range_known
    # Sums of two pixels, plus 1 and 2: 4, 8 and 5, 9.
    found = network.predict(np.array([[[[1, 2], [3, 4]]]], np.float32))
    np.testing.assert_array_equal(found, [[8 * 3 + 5 * 6 + 9 * 9, 135 + 26, 161 + 26 + 10]])


@pytest.mark.parametrize("operators", [("Gemm",), ("MatMul", "Add")])
def test_a_single_output_may_have_a_bias_without_axes(
    operators: tuple[str, ...], tmp_path: Path
) -> None:
    w, b = np.array([[2], [3]], np.float32), np.array(5, np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    if operators == ("Gemm",):
        nodes += [helper.make_node("Gemm", ["flat", "w", "b"], ["y"])]
    else:
        nodes += [
            helper.make_node("MatMul", ["flat", "w"], ["sum"]),
            helper.make_node("Add", ["sum", "b"], ["y"]),
        ]
    path = tmp_path / "a.onnx"
    path.write_bytes(from_nodes(nodes, {"w": w, "b": b}, [7, 1, 1, 2]).SerializeToString())
    found = onnx.load(path).predict(np.array([[[[10, 100]]]], np.float32))
    np.testing.assert_array_equal(found, [[325]])


# --- what is refused -----------------------------------------------------------------------------


def refused(model: Any, path: Path, text: str) -> None:
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(FileFormatError, match=text) as info:
        onnx.load(path)
    assert str(info.value).startswith(f"{path}: ")


def node_of(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def array_of(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def put(model: Any, name: str, key: str, value: Any) -> None:
    """Set an attribute of a node."""
    node = node_of(model, name)
    others = [each for each in node.attribute if each.name != key]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute(key, value)])


def set_array(model: Any, name: str, array: np.ndarray) -> None:
    array_of(model, name).CopyFrom(library.numpy_helper.from_array(array, name))


def external(model: Any) -> None:
    tensor = array_of(model, "F6.w")
    tensor.data_location = library.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", 1, [1]))


def dim(model: Any, index: int) -> Any:
    return model.graph.input[0].type.tensor_type.shape.dim[index]


def metadata(model: Any, key: str, value: str) -> None:
    next(each for each in model.metadata_props if each.key.endswith(key)).value = value


def half(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = library.TensorProto.FLOAT16


def cycle(model: Any) -> None:
    node_of(model, "C3").input[0] = "S4/y"


def branch(model: Any) -> None:
    node_of(model, "S4").input[0] = "S2/bias/y"


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "external": (external, "array 'F6.w': expected values within the file, got external data"),
    "two inputs": (two_inputs, r"expected one input, got 2 \('images', 'more'\)"),
    "no output": (
        lambda m: m.graph.output.pop(),
        "expected the name of one of .* outputs, none",
    ),
    "other output": (
        lambda m: setattr(m.graph.output[0], "name", "S4/y"),
        r"outputs: expected \(n, k\) .* 2, 1, 1\)",
    ),
    "past a layer": (branch, "expected names of Conv nodes, got 'C3'"),  # which no output needs
    "a cycle": (cycle, "graph: expected no cycles, got one through 'S4/y'"),
    "nobody's": (
        lambda m: node_of(m, "S4").input.__setitem__(0, "nobody's"),
        "node 'S4' .MaxPool.: expected inputs that are made before, got \"nobody's\"",
    ),
    "operator": (
        lambda m: setattr(node_of(m, "S4"), "op_type", "LpPool"),
        r"node 'S4' \(LpPool\): expected an operator that .*load reads, got LpPool",
    ),
    "domain": (lambda m: setattr(node_of(m, "S4"), "domain", "com.x"), "got MaxPool of com.x"),
    "auto_pad": (
        lambda m: put(m, "C3", "auto_pad", "SAME"),
        "'C3' .* auto_pad: expected NOTSET or VALID or SAME_UPPER or SAME_LOWER, got SAME",
    ),
    "ceil_mode": (
        lambda m: (put(m, "S2", "ceil_mode", 1), put(m, "S2", "kernel_shape", [3, 3])),
        "'S2' .*: expected windows within maps of 8 x 8, .*, ceil_mode 1",
    ),
    "padding": (
        lambda m: (put(m, "S2", "pads", [1, 1, 1, 1]), put(m, "S2", "count_include_pad", 1)),
        "'S2' .*: expected windows within maps of 8 x 8, .* got pads .1, 1, 1, 1.",
    ),
    "storage_order": (lambda m: put(m, "S4", "storage_order", 1), "storage_order: expected 0"),
    "attribute": (lambda m: put(m, "S4", "colour", 1), "attribute: expected one of auto_pad, .*'c"),
    "kind": (lambda m: put(m, "C3", "strides", 1), "'C3' .* strides: expected 2 ints, got 1"),
    "pads below 0": (lambda m: put(m, "C3", "pads", [-1, 0, 0, 0]), "'C3' .* padding: expected"),
    "group": (lambda m: put(m, "C3", "group", 2**40), "'C3' .* c_in: expected"),
    "kernel": (lambda m: put(m, "C3", "kernel_shape", [3, 2]), "'C3' .* kernel_shape: expected"),
    "no kernel": (lambda m: node_of(m, "S4").ClearField("attribute"), "'S4' .* kernel: expected"),
    "alpha": (lambda m: put(m, "F6", "alpha", 1), "'F6' .* alpha: expected a float, got 1"),
    "mode": (lambda m: put(m, "C1/pad", "mode", "edge"), "'C1/pad' .* mode: expected constant"),
    "keepdims": (lambda m: put(m, "OUTPUT/sum", "keepdims", 1), "expected squared distances"),
    "size": (lambda m: dim(m, 2).ClearField("dim_value"), "of a fixed size, .* got .*1, ., 8"),
    "axes": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(),
        "'C1/pad' .*pads: expected 6, got",
    ),
    "maps": (lambda m: setattr(dim(m, 1), "dim_value", 2), "'C1/pad' .* input: expected 1 maps"),
    "half": (half, "input 'images': expected float or double, got float16"),
    "dtypes": (lambda m: set_array(m, "F6.w", np.ones((3, 2))), "'F6' .* of float32, got float64"),
    "integers": (
        lambda m: set_array(m, "F6.w", np.ones((3, 2), np.int8)),
        "array 'F6.w': expected float, double or int64, got int8",
    ),
    "shape": (lambda m: array_of(m, "F6.w").dims.append(2), "'F6.w': expected as many values"),
    "huge": (lambda m: array_of(m, "F6.w").dims.extend([2**62] * 3), "shape that fits into the"),
    "nan": (
        lambda m: set_array(m, "F6.w", np.full((3, 2), np.nan, np.float32)),
        "F6.w: expected finite values",
    ),
    "old": (lambda m: setattr(m.opset_import[0], "version", 6), "opset: .* 7 to 28, got 6"),
    "new": (lambda m: setattr(m.opset_import[0], "version", 29), "opset: .* 7 to 28, got 29"),
    "of another opset": (
        lambda m: setattr(m.opset_import[0], "version", 12),
        "check: expected a model that onnx's reference can run, got: Attribute 'axes'",
    ),
    "format": (lambda m: setattr(m, "ir_version", 99), "ir_version: expected 3 to .*, got 99"),
    "functions": (lambda m: m.functions.add(), "functions: expected none, got 1"),
    "no graph": (lambda m: m.ClearField("graph"), "got a file without a graph"),
    "table": (lambda m: metadata(m, "connections", '{"C3": [[1, 0]]}'), "'C3' .* connections:"),
    "links": (lambda m: metadata(m, "connections", '{"C3": [[1,0],[0,1]]}'), "'C3' .* zeros where"),
    "whose": (lambda m: metadata(m, "connections", '{"C9": [[1]]}'), "names of Conv .*'C9'"),
    "json": (lambda m: metadata(m, "connections", "[" * 9999), "connections: expected JSON"),
    "range": (lambda m: metadata(m, "pixel_range", "[0, 1, 2]"), "pixel_range: expected"),
    "inverted": (
        lambda m: m.metadata_props.add(key="lenet_fast.inverted", value="1"),
        "inverted: expected true or false, got 1",
    ),
    "classes": (
        lambda m: m.metadata_props.add(key="lenet_fast.classes", value='["a"]'),
        "classes: expected 2 names, one per class, got 1",
    ),
    "output": (lambda m: metadata(m, "output", "linear"), "output: expected 'rbf'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_refused(change: str, tmp_path: Path) -> None:
    model = library.load_model_from_string(onnx.to_bytes(small()))
    make, text = CHANGES[change]
    make(model)
    refused(model, tmp_path / "a.onnx", text)


EQUAL: dict[str, Callable[[Any], object]] = {
    "area": lambda m: set_array(m, "S2/area", np.float32(3.0)),
    "slope": lambda m: set_array(m, "slope", np.float32(0.5)),
    "alpha": lambda m: put(m, "F6", "alpha", 0.5),
    "beta": lambda m: put(m, "F6", "beta", -2.0),
    "auto_pad": lambda m: put(m, "S4", "auto_pad", "VALID"),
    "ceil_mode": lambda m: put(m, "S4", "ceil_mode", 1),
}


@pytest.mark.parametrize("change", EQUAL)
def test_other_numbers_and_what_changes_nothing_are_read(change: str, tmp_path: Path) -> None:
    model = library.load_model_from_string(onnx.to_bytes(small()))
    EQUAL[change](model)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    x = images(small())
    outputs = reference(path.read_bytes(), x)
    assert (distance(outputs, small().predict(x)) > 1e-3) == (change in tuple(EQUAL)[:4])
    assert distance(onnx.load(path).predict(x), outputs) < TOLERANCE


def test_an_output_that_depends_on_no_pixel_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "i"], ["y"])]
    model = from_nodes(nodes, {"i": np.array(1)}, [7, 1, 2, 2])
    refused(model, tmp_path / "a.onnx", "output 'y': expected one that depends on the input 'x'")


def test_refused_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.onnx"
    raw = onnx.to_bytes(small())
    refused(b"", path, "expected a file of 1 to")
    refused(b"a text", path, "another file or a truncated one|without a graph")
    refused(raw[:-3], path, "another file or a truncated one")
    with pytest.raises(FileNotFoundError):
        onnx.load(tmp_path / "b.onnx")
    with pytest.raises(FileFormatError, match="got a folder"):
        onnx.load(tmp_path)
    monkeypatch.setattr(form, "MAX_NODES", 3)
    refused(raw, path, "expected at most 3 nodes, got")
    monkeypatch.setattr(form, "MAX_BYTES", len(raw) - 1)
    refused(raw, path, f"expected a file of 1 to {len(raw) - 1} bytes, got {len(raw)}")


def test_damaged_files_do_no_harm(tmp_path: Path) -> None:
    """Each is refused in words, or is a network that predicts."""
    path, rng = tmp_path / "a.onnx", new_rng()
    raw = onnx.to_bytes(small())
    loaded, refusals = 0, []
    for turn in range(400):
        damaged = bytearray(raw)
        if turn % 4 == 0:
            del damaged[rng.integers(1, len(raw)) :]
        elif turn % 4 == 1:
            first, other, count = rng.integers(len(raw)), rng.integers(len(raw)), rng.integers(60)
            damaged[first : first + count] = raw[other : other + rng.integers(60)]
        else:
            for place in rng.integers(len(raw), size=turn % 5 + 1):
                damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            network = onnx.load(path)
        except FileFormatError as error:
            refusals.append(str(error))
            continue
        loaded += 1
        with np.errstate(all="ignore"):  # an exponent may have been hit
            assert len(network.predict(images(network))) == 3
    assert loaded > 10
    assert len(set(refusals)) > 50
    assert all(text.startswith(f"{path}: ") for text in refusals)


def test_what_is_not_known_of_bytes_and_what_is_of_ink_stays_so(tmp_path: Path) -> None:
    network = models.lenet5()
    network.pixel_range_known = False
    network.inverted = network.reduced = True
    network.classes = [f"{digit}!" for digit in range(10)]
    onnx.export(network, tmp_path / "a.onnx")
    found = onnx.load(tmp_path / "a.onnx")
    assert found.config() == network.config()
    with pytest.raises(ValueError, match="set its pixel_range"):
        found.predict(np.full((28, 28), 255, np.uint8))


def test_pixels_that_are_darker_the_more_ink_there_is(tmp_path: Path) -> None:
    network = models.lenet1()
    network.pixel_range = (1.0, 0.0)
    onnx.export(network, tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx").pixel_range == (1.0, 0.0)


def _field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf's that has a length."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


BOMBS = {
    "nodes": lambda many: _field(7, b"\x0a\x00" * many),
    "arrays": lambda many: _field(7, b"\x2a\x00" * many),
    "attributes": lambda many: _field(7, _field(1, b"\x2a\x00" * many)),
    "inputs of a node": lambda many: _field(7, _field(1, b"\x0a\x00" * many)),
    "numbers": lambda many: _field(7, _field(1, _field(5, b"\x40\x01" * many))),
    "metadata": lambda many: b"\x72\x00" * many,
    "two graphs": lambda many: 2 * _field(7, b"\x0a\x00" * (many // 2)),
    "unknown fields": lambda many: b"\xfa\x07\x00" * many,
    "and then cut": lambda many: _field(7, b"\x0a\x00" * many) + b"\x72\x05",
    "in a graph within": lambda many: _field(
        7, _field(1, _field(5, _field(6, b"\x0a\x00" * many)))
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_before_they_are_parsed(
    bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bytes each, in a file of half a megabyte; the limit is for 32."""

    def parse(_: bytes) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(form.library(), "load_model_from_string", parse)
    expected = "expected at most 262144 fields"
    if bomb == "and then cut":
        expected += "|truncated"
    refused(BOMBS[bomb](2**18 + 2), tmp_path / "a.onnx", expected)


@pytest.mark.parametrize(
    "raw", [b"\x0b\x0c", b"\x3a\x05\x0a", b"\xff" * 11, b"\x3a", b"\x09\x00", b"\x3e\x00"]
)
def test_what_is_no_message_is_not_parsed(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group, a length beyond the end, a number without end, none, half of one, no type."""
    monkeypatch.delattr(form.library(), "load_model_from_string")
    refused(raw, tmp_path / "a.onnx", "another file or a truncated one")


def test_the_comparison_asks_for_no_threads(monkeypatch):
    """Where the system has none left, the runtime would raise an error of its own."""
    asked = []

    def session(model, options, *, create=runtime.InferenceSession, **others):
        asked.append(options.intra_op_num_threads)
        return create(model, options, **others)

    monkeypatch.setattr(runtime, "InferenceSession", session)
    onnx.compare(onnx.to_bytes(small()), small(), images(small()))
    assert asked == [1]
