"""ONNX models like the public ones: the structures that other programs write, with random weights.

Each builder returns a model of a kind that was found among public MNIST and LeNet files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers import require

onnx = require("onnx")
node = onnx.helper.make_node

Arrays = dict[str, np.ndarray]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    fan_in = max(1, int(np.prod(shape[1:])))
    rng = np.random.default_rng(seed + sum(shape))
    return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def model(
    nodes: list[Any],
    arrays: Arrays,
    sizes: list[Any],
    opset: int,
    outputs: tuple[str, ...] = ("y",),
    *,
    as_inputs: bool = False,
) -> Any:
    """Return a model from x to outputs; before IR 4, arrays were inputs, too."""
    describe = onnx.helper.make_tensor_value_info
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    inputs = [describe("x", 1, sizes)]
    if as_inputs:
        inputs += [describe(each.name, each.data_type, each.dims) for each in tensors]
    made = [describe(name, 7 if name == "label" else 1, None) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "kind", inputs, made, tensors)
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=3 if as_inputs else 8, producer_name="a test"
    )


# --- PyTorch -----------------------------------------------------------------------------------


def lenet(
    opset: int,
    flat: list[Any],
    more: Arrays | None = None,
    *,
    between: Callable[[str, str], list[Any]] = lambda read, made: [],
    pool: str = "MaxPool",
    pads: list[int] | None = None,
    batch: Any = "n",
    side: int = 28,
    tail: list[Any] | None = None,
    **options: Any,
) -> Any:
    """Return Conv, Relu, pool, twice, nodes `flat` from "p2" to "f", Gemm, Relu, Gemm."""
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": pads or [0, 0, 0, 0]}
    nodes = []
    for k, value in ((1, "x"), (2, "p1")):
        nodes += [
            node("Conv", [value, f"c{k}.w", f"c{k}.b"], [f"c{k}"], kernel_shape=[5, 5]),
            node("Relu", [f"c{k}"], [f"r{k}"]),
        ]
        inner = between(f"r{k}", f"q{k}")
        nodes += [*inner, node(pool, [f"q{k}" if inner else f"r{k}"], [f"p{k}"], **window)]
    nodes += [
        *flat,
        node("Gemm", ["f", "f1.w", "f1.b"], ["f1"], transB=1),
        node("Relu", ["f1"], ["r3"]),
        node("Gemm", ["r3", "f2.w", "f2.b"], ["logits" if tail else "y"], transB=1),
        *(tail or []),
    ]
    arrays = {
        "c1.w": weights(6, 1, 5, 5),
        "c1.b": weights(6),
        "c2.w": weights(16, 6, 5, 5),
        "c2.b": weights(16),
        "f1.w": weights(84, 256),
        "f1.b": weights(84),
        "f2.w": weights(10, 84),
        "f2.b": weights(10),
    }
    return model(nodes, arrays | (more or {}), [batch, 1, side, side], opset, **options)


FLATTEN = [node("Flatten", ["p2"], ["f"], axis=1)]
SOFTMAX = [node("Softmax", ["logits"], ["y"], axis=1)]
NUMBERS: Arrays = {"zero": np.array(0), "minus": np.array([-1]), "k": np.array([256])}


def nothing_padded(opset: int) -> Callable[[str, str], list[Any]]:
    """Pad by nothing before AveragePool, as PyTorch until 1.10 wrote it."""
    if opset < 11:
        return lambda read, made: [node("Pad", [read], [made], mode="constant", pads=[0] * 8)]
    zeros = onnx.numpy_helper.from_array(np.zeros(8, np.int64))
    return lambda read, made: [
        node("Constant", [], [f"{made}.pads"], value=zeros),
        node("Pad", [read, f"{made}.pads"], [made], mode="constant"),
    ]


def size_of(value: str, opset: int) -> list[Any]:
    """x.view(value.size(0), -1), as the older exporter writes it."""
    nodes = [node("Shape", [value], ["s"]), node("Gather", ["s", "zero"], ["n"], axis=0)]
    if opset < 13:
        nodes.append(node("Unsqueeze", ["n"], ["n1"], axes=[0]))
    else:
        nodes.append(node("Unsqueeze", ["n", "axis"], ["n1"]))
    return [
        *nodes,
        node("Concat", ["n1", "minus"], ["shape"], axis=0),
        node("Reshape", ["p2", "shape"], ["f"]),
    ]


def newer_view() -> list[Any]:
    """x.view(x.size(0), -1), as the newer exporter of PyTorch 2.9 and 2.10 writes it."""
    return [
        node("Shape", ["x"], ["n"], name="node_Shape_0", start=0, end=1),
        node("Concat", ["n", "k"], ["shape"], axis=0),
        node("Reshape", ["p2", "shape"], ["f"], allowzero=1),
    ]


def padded_first(opset: int) -> Any:
    """nn.ZeroPad2d(2) first, whose numbers the older exporter computes in the graph."""
    arrays = {
        "given": np.array([2, 2, 2, 2]),
        "four": np.array([4]),
        "pairs": np.array([-1, 2]),
        "minus": np.array([-1]),
        "least": np.array([-(2**63) + 1]),
        "zero": np.array([0]),
        "nothing": np.array(0, np.float32),
    }
    zeros = onnx.numpy_helper.from_array(np.array([0]))
    network = lenet(opset, FLATTEN, arrays, side=24)
    nodes = [
        node("ConstantOfShape", ["four"], ["zeros"], value=zeros),
        node("Concat", ["given", "zeros"], ["all"], axis=0),
        node("Reshape", ["all", "pairs"], ["table"]),
        node("Slice", ["table", "minus", "least", "zero", "minus"], ["reversed"]),
        node("Transpose", ["reversed"], ["turned"], perm=[1, 0]),
        node("Reshape", ["turned", "minus"], ["row"]),
        node("Cast", ["row"], ["pads"], to=7),
        node("Pad", ["x", "pads", "nothing"], ["padded"], mode="constant"),
    ]
    network.graph.node[0].input[0] = "padded"
    for each in reversed(nodes):
        network.graph.node.insert(0, each)
    return network


def num_flat_features() -> list[Any]:
    """The tutorial's loop over x.size()[1:], left as shapes."""
    return [
        node("Shape", ["p2"], ["s"]),
        node("Slice", ["s", "one", "far"], ["sides"]),
        node("ReduceProd", ["sides"], ["k1"], keepdims=1),
        node("Concat", ["minus", "k1"], ["shape"], axis=0),
        node("Reshape", ["p2", "shape"], ["f"]),
    ]


# --- Microsoft's CNTK, of the model zoo ----------------------------------------------------------


def model_zoo(opset: int, *, folded: bool = False) -> Any:
    """Return the model zoo's MNIST: mnist-7, mnist-8, mnist-12; `folded` as optimisers leave it."""
    conv = {
        "auto_pad": "SAME_UPPER",
        "dilations": [1, 1],
        "group": 1,
        "kernel_shape": [5, 5],
        "strides": [1, 1],
    }
    pool = {"auto_pad": "NOTSET", "pads": [0, 0, 0, 0]}
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    wide = {"kernel_shape": [3, 3], "strides": [3, 3]}
    nodes = [
        node("Reshape", ["P193", "P193_shape"], ["P193_"], "Times212_reshape1"),
        node("Conv", ["x", "P5"], ["C28"], "Convolution28", **conv),
        node("Add", ["C28", "P6"], ["P30"], "Plus30"),
        node("Relu", ["P30"], ["R32"], "ReLU32"),
        node("MaxPool", ["R32"], ["P66"], "Pooling66", **pool, **window),
        node("Conv", ["P66", "P87"], ["C110"], "Convolution110", **conv),
        node("Add", ["C110", "P88"], ["P112"], "Plus112"),
        node("Relu", ["P112"], ["R114"], "ReLU114"),
        node("MaxPool", ["R114"], ["P160"], "Pooling160", **pool, **wide),
        node("Reshape", ["P160", "P160_shape"], ["T212_"], "Times212_reshape0"),
        node("MatMul", ["T212_", "P193_"], ["T212"], "Times212"),
        node("Add", ["T212", "P194"], ["y"], "Plus214"),
    ]
    arrays = {
        "P193": weights(16, 4, 4, 10),
        "P193_shape": np.array([256, 10]),
        "P5": weights(8, 1, 5, 5),
        "P6": weights(8, 1, 1),
        "P87": weights(16, 8, 5, 5),
        "P88": weights(16, 1, 1),
        "P160_shape": np.array([1, 256]),
        "P194": weights(1, 10),
    }
    if folded:
        del nodes[0]
        arrays["P193_"] = arrays.pop("P193").reshape(256, 10)
        for name, at in (("P6", 1), ("P88", 5)):
            arrays[name] = arrays[name].reshape(-1)
            nodes[at].output[0] = "unread"
            nodes[at - 1].input.append(name)
            nodes[at + 1].input[0] = nodes[at - 1].output[0]
        nodes = [each for each in nodes if each.output[0] != "unread"]
    return model(nodes, arrays, [1, 1, 28, 28], opset, as_inputs=opset < 9)


# --- Keras -------------------------------------------------------------------------------------


def keras(
    opset: int,
    *,
    entrance: str = "transpose",
    flat: bool = True,
    same: bool = False,
    channels: int = 1,
    shuffled: bool = False,
    norm: bool = False,
) -> Any:
    """Return a channels_last network, as tf2onnx and keras2onnx write it."""
    conv: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [1, 1]}
    conv |= {"auto_pad": "SAME_UPPER"} if same else {"auto_pad": "VALID"}
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "VALID"}
    side = 7 if same else 5
    ways: dict[str, Any] = {
        "transpose": node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        "reshape": node("Reshape", ["x", "image"], ["t"]),
    }
    names = ("gamma", "beta", "mean", "variance")
    nodes = [
        node("Identity", ["x"], ["id"]),
        ways[entrance],
        node("Conv", ["t", "c1.w", "c1.b"], ["c1"], "lenet/conv2d/BiasAdd", **conv),
        *([node("BatchNormalization", ["c1", *names], ["b1"], epsilon=1e-3)] if norm else []),
        node("Relu", ["b1" if norm else "c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], **window),
        node("Conv", ["p1", "c2.w", "c2.b"], ["c2"], **conv),
        node("Relu", ["c2"], ["r2"]),
        node("MaxPool", ["r2"], ["p2"], **window),
        node("Transpose", ["p2"], ["back"], perm=[0, 2, 3, 1]),
        node("Cast", ["back"], ["same"], to=1),
        node("Reshape", ["same", "rows"], ["f"]) if flat else node("Flatten", ["same"], ["f"]),
        node("MatMul", ["f", "d1.w"], ["d1"]),
        node("Add", ["d1", "d1.b"], ["d1.y"]),
        node("Tanh", ["d1.y"], ["a1"]),
        node("MatMul", ["a1", "d2.w"], ["d2"]),
        node("Add", ["d2", "d2.b"], ["logits"]),
        node("Softmax", ["logits"], ["y"], axis=-1 if opset > 12 else 1),
    ]
    if shuffled:
        nodes.reverse()
    arrays = {
        "image": np.array([-1, channels, 28, 28]),
        "rows": np.array([-1, 16 * side * side]),
        "c1.w": weights(8, channels, 3, 3),
        "c1.b": weights(8),
        "c2.w": weights(16, 8, 3, 3),
        "c2.b": weights(16),
        "d1.w": weights(16 * side * side, 20),
        "d1.b": weights(20),
        "d2.w": weights(20, 10),
        "d2.b": weights(10),
        "gamma": 1 + weights(8, seed=1),
        "beta": weights(8, seed=2),
        "mean": weights(8, seed=3),
        "variance": 1 + weights(8, seed=4) ** 2,
    }
    return model(nodes, arrays, ["n", 28, 28, channels], opset)


# --- dense networks, and parts of networks --------------------------------------------------------


def dense(opset: int, sizes: list[Any], *, flat: str = "", last: str = "Softmax") -> Any:
    nodes = {
        "": [node("Identity", ["x"], ["f"])],
        "Flatten": [node("Flatten", ["x"], ["f"], axis=1)],
        "Reshape": [node("Reshape", ["x", "rows"], ["f"])],
    }[flat]
    nodes += [
        node("MatMul", ["f", "1.w"], ["1"]),
        node("Add", ["1.b", "1"], ["1.y"]),
        node("Relu", ["1.y"], ["r"]),
        node("Dropout", ["r"], ["d", "mask"]),
        node("Gemm", ["d", "2.w", "2.b"], ["2"], transB=1, alpha=0.5),
        node(last, ["2"], ["y"], axis=1),
    ]
    arrays = {
        "rows": np.array([-1, 784]),
        "1.w": weights(784, 30) / 3,
        "1.b": weights(30),
        "2.w": weights(10, 30),
        "2.b": weights(1, 10),
    }
    return model(nodes, arrays, sizes, opset)


def with_norms(opset: int) -> Any:
    """Batch norm after the input, a Conv, a pool, a Gemm, and an activation of a Gemm."""
    nodes, arrays = [], {}

    def norm(value: str, made: str, maps: int) -> Any:
        names = [f"{made}.{k}" for k in range(4)]
        arrays.update({name: 0.5 + weights(maps, seed=k) ** 2 for k, name in enumerate(names)})
        return node("BatchNormalization", [value, *names], [made], made, epsilon=1e-5)

    arrays |= {"c.w": weights(4, 1, 5, 5), "f1.w": weights(20, 144), "f1.b": weights(20)}
    arrays |= {"f2.w": weights(10, 20), "f2.b": weights(10)}
    nodes += [
        norm("x", "b0", 1),
        node("Conv", ["b0", "c.w"], ["c"], kernel_shape=[5, 5]),
        norm("c", "b1", 4),
        node("Relu", ["b1"], ["r"]),
        node("AveragePool", ["r"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        norm("p", "b2", 4),
        node("Flatten", ["b2"], ["f"]),
        node("Gemm", ["f", "f1.w", "f1.b"], ["f1"], transB=1),
        norm("f1", "b3", 20),
        node("Sigmoid", ["b3"], ["s"]),
        norm("s", "b4", 20),
        node("Gemm", ["b4", "f2.w", "f2.b"], ["y"], transB=1),
    ]
    return model(nodes, arrays, ["n", 1, 28, 28], opset)


def in_front(operators: list[tuple[str, Any]], *, first: bool = True, batch: Any = "n") -> Any:
    """Return a network that computes with the pixels and constants first."""
    nodes, arrays, value = [], {}, "x"
    for k, (operator, number) in enumerate(operators):
        arrays[f"n{k}"] = np.asarray(number, np.float32)
        inputs = [value, f"n{k}"] if first else [f"n{k}", value]
        nodes.append(node(operator, inputs, [f"v{k}"], f"front{k}"))
        value = f"v{k}"
    network = lenet(13, FLATTEN, arrays, batch=batch)
    network.graph.node[0].input[0] = value
    for each in reversed(nodes):
        network.graph.node.insert(0, each)
    return network


def with_tail(*nodes: Any, outputs: tuple[str, ...] = ("y",), opset: int = 13, **more: Any) -> Any:
    arrays = {name: np.asarray(array) for name, array in more.items()}
    return lenet(opset, FLATTEN, arrays, tail=list(nodes), outputs=outputs)


def global_pool(operator: str, opset: int, inputs: Arrays, **options: Any) -> Any:
    """Return two convolutions, whose ten maps become ten numbers."""
    nodes = [
        node("Conv", ["x", "c1.w", "c1.b"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("LeakyRelu", ["c1"], ["r1"], alpha=0.2),
        node("Conv", ["r1", "c2.w"], ["c2"]),
        node(operator, ["c2", *inputs], ["p"], **options),
        node("Flatten", ["p"], ["y"]),
    ]
    arrays = {"c1.w": weights(6, 1, 3, 3), "c1.b": weights(6), "c2.w": weights(10, 6, 3, 3)}
    return model(nodes, arrays | inputs, ["n", 1, 28, 28], opset)


def mean_of_rows(keepdims: int) -> Any:
    """Return a Keras network without a Dense: ReduceMean of (n, h, w, c)."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "c.w"], ["c"], strides=[3, 2]),
        node("Transpose", ["c"], ["back"], perm=[0, 2, 3, 1]),
        node("Add", ["back", "c.b"], ["b"]),
        node("ReduceMean", ["b"], ["m"], axes=[1, 2], keepdims=keepdims),
        node("Reshape", ["m", "rows"], ["y"]),
    ]
    arrays = {"c.w": weights(10, 1, 5, 5), "c.b": weights(10), "rows": np.array([-1, 10])}
    return model(nodes, arrays, ["n", 28, 28, 1], 13)


CAST_SAME = [node("Cast", ["logits"], ["y"], to=1)]
SQUEEZED = [
    node("Unsqueeze", ["logits"], ["u"], axes=[2, 3]),
    node("Squeeze", ["u"], ["y"], axes=[2, 3]),
]

READ: dict[str, Callable[[], Any]] = {
    **{f"PyTorch, opset {k}": lambda k=k: lenet(k, FLATTEN) for k in range(7, 24)},
    "PyTorch, LogSoftmax": lambda: lenet(
        11, FLATTEN, tail=[node("LogSoftmax", ["logits"], ["y"], axis=1)]
    ),
    "PyTorch, Softmax, fixed batch": lambda: lenet(12, FLATTEN, batch=4, tail=SOFTMAX),
    "PyTorch, arrays as inputs": lambda: lenet(9, FLATTEN, as_inputs=True),
    **{
        f"Pad of nothing, opset {k}": lambda k=k: lenet(
            k, FLATTEN, between=nothing_padded(k), pool="AveragePool"
        )
        for k in (9, 10, 11, 13, 17)
    },
    "view(input.size(0), -1), opset 9": lambda: lenet(9, size_of("x", 9), NUMBERS),
    "view(input.size(0), -1), opset 17": lambda: lenet(
        17, size_of("x", 17), NUMBERS | {"axis": np.array([0])}
    ),
    "view(len(x), -1), opset 11": lambda: lenet(11, size_of("p2", 11), NUMBERS),
    "view(-1, n) of shapes": lambda: lenet(
        13, num_flat_features(), NUMBERS | {"one": np.array([1]), "far": np.array([2**63 - 1])}
    ),
    "Shape(start, end), Concat, Reshape(allowzero)": lambda: lenet(18, newer_view(), NUMBERS),
    "Reshape to a fixed batch": lambda: lenet(
        11, [node("Reshape", ["p2", "rows"], ["f"])], {"rows": np.array([1, 256])}, batch=1
    ),
    **{f"model zoo, opset {k}": lambda k=k: model_zoo(k) for k in (7, 8, 12)},
    "model zoo, optimised": lambda: model_zoo(8, folded=True),
    "Keras by tf2onnx": lambda: keras(13),
    "Keras by tf2onnx, same padding": lambda: keras(15, same=True),
    "Keras by tf2onnx, Flatten": lambda: keras(17, flat=False),
    "Keras by tf2onnx, Reshape at the entrance": lambda: keras(9, entrance="reshape"),
    "Keras by tf2onnx, batch norm": lambda: keras(13, norm=True),
    "Keras in colours": lambda: keras(13, channels=3),
    "Keras by keras2onnx, nodes out of order": lambda: keras(11, shuffled=True),
    "MLP on (n, 784)": lambda: dense(9, ["n", 784]),
    "MLP on (n, 784), LogSoftmax": lambda: dense(11, [1, 784], last="LogSoftmax"),
    "MLP on (n, 28, 28)": lambda: dense(12, ["n", 28, 28], flat="Flatten"),
    "MLP on (n, 28, 28), Reshape": lambda: dense(11, ["n", 28, 28], flat="Reshape"),
    "MLP on (n, 1, 28, 28)": lambda: dense(8, ["n", 1, 28, 28], flat="Reshape"),
    "MLP on (n, 28, 28, 1)": lambda: dense(11, ["n", 28, 28, 1], flat="Flatten"),
    "batch norm everywhere, opset 9": lambda: with_norms(9),
    "batch norm everywhere, opset 17": lambda: with_norms(17),
    "x / 255": lambda: in_front([("Div", 255)]),
    "(x - mean) / std": lambda: in_front([("Sub", [[[0.1307]]]), ("Div", [[[0.3081]]])]),
    "1 - x": lambda: in_front([("Sub", 1)], first=False),
    "ceil_mode without effect": lambda: lenet(
        10, FLATTEN, between=lambda read, made: [
            node("MaxPool", [read], [made], kernel_shape=[1, 1], strides=[1, 1], ceil_mode=1)
        ]
    ),
    "pads at the end that no window reaches": lambda: lenet(9, FLATTEN, pads=[0, 0, 1, 1]),
    "Pad of computed numbers": lambda: padded_first(11),
    "Cast to the same type": lambda: with_tail(*CAST_SAME),
    "Unsqueeze and Squeeze": lambda: with_tail(*SQUEEZED, opset=11),
    "Flatten(axis=-3)": lambda: lenet(13, [node("Flatten", ["p2"], ["f"], axis=-3)]),
    "a factor per output, at the end": lambda: with_tail(
        node("Relu", ["logits"], ["r"]), node("Mul", ["r", "by"], ["y"]), by=weights(10)
    ),
    "GlobalAveragePool": lambda: global_pool("GlobalAveragePool", 9, {}),
    "GlobalMaxPool": lambda: global_pool("GlobalMaxPool", 13, {}),
    "ReduceMean with axes as attribute": lambda: global_pool(
        "ReduceMean", 13, {}, axes=[2, 3], keepdims=0
    ),
    "Keras, GlobalAveragePooling2D": lambda: mean_of_rows(0),
    "Keras, GlobalAveragePooling2D(keepdims=True)": lambda: mean_of_rows(1),
    "ReduceMean with axes as input": lambda: global_pool(
        "ReduceMean", 18, {"axes": np.array([-1, -2])}, keepdims=1
    ),
}  # fmt: skip
"""Kinds that are read, by name."""

PROBABILITIES = node("Softmax", ["logits"], ["probs"], axis=-1)
LABELS = node("ArgMax", ["probs"], ["label"], axis=1, keepdims=0)

CHOSEN: dict[str, tuple[Callable[[], Any], str]] = {
    "logits of (logits, probs)": (
        lambda: with_tail(PROBABILITIES, outputs=("logits", "probs")),
        "logits",
    ),
    "probs of (logits, probs)": (
        lambda: with_tail(PROBABILITIES, outputs=("logits", "probs")),
        "probs",
    ),
    "probabilities of (label, probabilities)": (
        lambda: with_tail(PROBABILITIES, LABELS, outputs=("label", "probs")),
        "probs",
    ),
}
"""Kinds with several outputs, and the one that is read."""

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "two outputs, none chosen": (
        lambda: with_tail(PROBABILITIES, outputs=("logits", "probs")),
        r"output .*: expected the name of one of .* outputs, 2 \('logits', 'probs'\), got none",
    ),
    "a label": (
        lambda: with_tail(PROBABILITIES, LABELS, outputs=("label",)),
        r"node \d+ \(ArgMax\): expected an operator that lenet_fast.onnx.load reads",
    ),
    "a residual sum": (
        lambda: with_tail(
            node("Relu", ["logits"], ["r"]), node("Add", ["r", "logits"], ["y"], "skip")
        ),
        r"node 'skip' \(Add\): expected a chain of nodes",
    ),
    "ReLU6": (
        lambda: with_tail(node("Clip", ["logits", "low", "high"], ["y"], "relu6"),
                          low=np.float32(0), high=np.float32(6)),
        r"node 'relu6' \(Clip\): expected an operator that lenet_fast.onnx.load reads",
    ),
    "padded pool": (
        lambda: lenet(13, FLATTEN, between=lambda read, made: [
            node("MaxPool", [read], [made], f"padded {read}", kernel_shape=[3, 3],
                 strides=[1, 1], pads=[1, 1, 1, 1])]),
        r"node 'padded r1' \(MaxPool\): expected windows within maps of 24 x 24",
    ),
    "an attribute that reads another file": (
        lambda: _with_tensor(lenet(13, FLATTEN)),
        r"node \d+ \(Flatten\): more: expected a number, numbers or a text",
    ),
    "external data of a constant": (
        lambda: _external(lenet(9, FLATTEN, between=nothing_padded(11), pool="AveragePool")),
        r"node \d+ \(Constant\): value: .* got external data in 'key'",
    ),
    "a huge ConstantOfShape": (
        lambda: with_tail(node("ConstantOfShape", ["sizes"], ["c"], "fill"),
                          node("Add", ["logits", "c"], ["y"]), sizes=np.array([2**40, 2**20])),
        r"node 'fill' \(ConstantOfShape\): graph: expected less than",
    ),
    "ceil_mode with an effect": (
        lambda: lenet(13, FLATTEN, between=lambda read, made: [
            node("MaxPool", [read], [made], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)]),
        r"node \d+ \(MaxPool\): expected windows within maps of 24 x 24, .* ceil_mode 1",
    ),
    "a fixed number of rows for an open batch": (
        lambda: lenet(13, [node("Reshape", ["p2", "rows"], ["f"], "view")],
                      {"rows": np.array([1, 256])}),
        r"node 'view' \(Reshape\): expected inputs that fit it",
    ),
    "images mixed": (
        lambda: lenet(13, [node("Transpose", ["p2"], ["t"], "mix", perm=[1, 0, 2, 3]),
                           node("Flatten", ["t"], ["f"])]),
        r"node 'mix' \(Transpose\): expected images to stay separate, got shape \(16, 3, 4, 4\)",
    ),
    "sound": (
        lambda: model([node("Identity", ["x"], ["y"])], {}, ["n", 2, 3, 4, 5], 13),
        r"input 'x': expected images",
    ),
    "an open size": (
        lambda: model([node("Identity", ["x"], ["y"])], {}, ["n", 1, "h", "w"], 13),
        r"input 'x': expected images .* got \(\?, 1, \?, \?\)",
    ),
    "recurrent": (
        lambda: with_tail(node("LSTM", ["logits", "w", "w"], ["y"], "lstm"), w=np.float32(0)),
        r"node 'lstm' \(LSTM\): expected an operator that lenet_fast.onnx.load reads",
    ),
    "a loop": (
        lambda: with_tail(node("Loop", ["logits"], ["y"], "again")),
        r"node 'again' \(Loop\): expected an operator that lenet_fast.onnx.load reads",
    ),
    "an operator of another domain": (
        lambda: with_tail(node("FusedGemm", ["logits"], ["y"], "fused", domain="com.microsoft")),
        r"node 'fused' \(FusedGemm\): .* of com.microsoft",
    ),
    "a layer after the softmax": (
        lambda: with_tail(PROBABILITIES, node("Relu", ["probs"], ["y"], "late")),
        r"node 'late' \(Relu\): expected nothing after a softmax",
    ),
    "two softmaxes": (
        lambda: with_tail(PROBABILITIES, node("Softmax", ["probs"], ["y"], "again", axis=-1)),
        r"node 'again' \(Softmax\): expected nothing after a softmax",
    ),
    "a number per output that no layer can take in": (
        lambda: with_tail(
            node("Mul", ["logits", "by"], ["a"]), node("Relu", ["a"], ["r"]),
            node("Mul", ["r", "by"], ["b"], "times"), node("Relu", ["b"], ["y"]), by=weights(10)),
        r"node 'times' \(Mul\): expected one number per map here, or a Gemm or MatMul after it",
    ),
    "huge maps of a small file": (
        lambda: _huge(),
        r"node 'huge' \(Conv\): graph: expected less than .* numbers",
    ),
    "huge constants of a small file": (
        lambda: with_tail(node("Add", ["a", "b"], ["c"], "outer"),
                          node("Add", ["logits", "c"], ["y"]),
                          a=np.zeros((5000, 1), np.float32), b=np.zeros(5000, np.float32)),
        r"node 'outer' \(Add\): graph: expected less than",
    ),
}  # fmt: skip
"""Kinds that are refused, with the reason."""


def _tensor_elsewhere() -> Any:
    tensor = onnx.numpy_helper.from_array(np.zeros(8, np.int64))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="key")
    tensor.ClearField("raw_data")
    return tensor


def _with_tensor(network: Any) -> Any:
    """The reference converts all attributes, also those that no operator has."""
    flatten = next(each for each in network.graph.node if each.op_type == "Flatten")
    flatten.attribute.append(onnx.helper.make_attribute("more", _tensor_elsewhere()))
    return network


def _external(network: Any) -> Any:
    constant = next(each for each in network.graph.node if each.op_type == "Constant")
    constant.attribute[0].t.CopyFrom(_tensor_elsewhere())
    return network


def _huge() -> Any:
    nodes = [node("Conv", ["x", "w"], ["y"], "huge", pads=[2**11] * 4)]
    arrays = {"w": weights(4, 1, 3, 3)}
    return model(nodes, arrays, ["n", 1, 28, 28], 13)
