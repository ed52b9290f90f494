"""A checked form of an ONNX model: a chain of steps, each with its options and constants.

Files are untrusted, and onnx's compiled code never sees them: only protobuf's parser and this
module read them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from lenet_fast.checks import Array, quoted
from lenet_fast.onnx import form

_DOMAINS = ("", "ai.onnx")  # both mean ONNX's own operators

_FOLDED = ("Identity", "Gather", "Unsqueeze", "Concat")
"""Operators that are evaluated here if they read only constants. PyTorch writes ``Identity`` for a
second array of the same values, and the others for the shape of ``x.view(len(x), -1)``."""

_MOST_FOLDED = 8  # numbers in a constant that is not a weight


class _Operator(NamedTuple):
    """The allowed inputs and options of an operator.

    An option has either a default, which determines its type and length, or a tuple of the only
    allowed values, with the default first.
    """

    most_constants: int  # inputs besides the data
    options: Mapping[str, Any] = {}


_POOL: dict[str, Any] = {
    "auto_pad": ("NOTSET",),
    "ceil_mode": (0,),
    "dilations": ([1, 1],),
    "kernel_shape": [0, 0],  # required, because layers refuse this value
    "pads": ([0, 0, 0, 0],),
    "strides": [1, 1],
}
OPERATORS = {
    "Add": _Operator(1),
    # Without padding, this option has no effect.
    "AveragePool": _Operator(0, _POOL | {"count_include_pad": (0, 1)}),
    "Concat": _Operator(0, {"axis": (0,)}),
    "Conv": _Operator(
        2,
        {
            "auto_pad": ("NOTSET",),
            "dilations": [1, 1],
            "group": 1,
            "kernel_shape": [0, 0],
            "pads": [0, 0, 0, 0],
            "strides": [1, 1],
        },
    ),
    "Div": _Operator(1),
    "Dropout": _Operator(2, {"seed": 0}),
    "Erf": _Operator(0),
    "Flatten": _Operator(0, {"axis": (1,)}),
    "Gather": _Operator(1, {"axis": 0}),
    "Gemm": _Operator(2, {"alpha": (1.0,), "beta": (1.0,), "transA": (0,), "transB": (0, 1)}),
    "Identity": _Operator(0),
    "LogSoftmax": _Operator(0, {"axis": (-1, 1)}),
    "MatMul": _Operator(1),
    "MaxPool": _Operator(0, _POOL | {"storage_order": (0,)}),
    "Mul": _Operator(1),
    "Pad": _Operator(2, {"mode": ("constant",)}),
    "Pow": _Operator(1),
    "ReduceSum": _Operator(1, {"keepdims": (1, 0), "noop_with_empty_axes": (0,)}),
    "Reshape": _Operator(1, {"allowzero": (0, 1)}),
    "Shape": _Operator(0),
    "Softmax": _Operator(0, {"axis": (-1, 1)}),
    "Sub": _Operator(1),
    "Unsqueeze": _Operator(1),
    **{
        operator: _Operator(0, {name: getattr(kind(), option) for option, name in names.items()})
        for kind, (operator, names) in form.ACTIVATIONS.items()
    },
}
_EITHER_SIDE = ("Add", "Mul")
_KINDS = {int: "an int", float: "a float", str: "a string"}


class Step(NamedTuple):
    """A node that transforms the output of the previous node."""

    operator: str
    where: str  # its name in error messages
    name: str
    options: dict[str, Any]
    constants: list[Array | None]  # its other inputs; None for an omitted one
    value: str  # what it reads
    also: str | None  # an earlier output that it reads besides

    def not_in_a_chain(self) -> ValueError:
        """Return the error for a branch that is no part of a layer."""
        return _not_in_a_chain(self.value, self.also or "")


def _not_in_a_chain(value: str, found: str) -> ValueError:
    return ValueError(
        f"expected a chain of nodes, each of which reads the output of the previous one, "
        f"{quoted(value)}, got one that reads {quoted(found)}"
    )


class Row(NamedTuple):
    """A model: its input, and the steps in order."""

    dtype: np.dtype[Any]
    input_shape: tuple[int, ...]
    batch: int | None  # if it is fixed
    steps: list[Step]
    metadata: dict[str, str]


def row_of(onnx: Any, model: Any) -> Row:
    """Return the steps of a ModelProto; ValueError if it is not a chain of known operators."""
    _check_form(onnx, model)
    graph = model.graph
    if len(graph.node) > form.MAX_NODES:
        raise ValueError(f"graph: expected at most {form.MAX_NODES} nodes, got {len(graph.node)}")
    if len(graph.sparse_initializer):
        raise ValueError("graph: expected dense arrays, got sparse ones")
    constants: dict[str, Array] = {}
    for tensor in graph.initializer:
        _define(constants, tensor.name, _array(onnx, f"array {quoted(tensor.name)}", tensor))
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ValueError(
            f"graph: expected one input and one output, got {_listed(inputs)} and "
            f"{_listed(graph.output)}"
        )
    dtype, input_shape, batch = _images(onnx, inputs[0])
    steps = _steps(onnx, graph, constants, inputs[0].name)
    metadata = {each.key: each.value for each in model.metadata_props}
    return Row(dtype, input_shape, batch, steps, metadata)


def _listed(values: Any) -> str:
    names = ", ".join(quoted(each.name) for each in values[:3])
    return f"{len(values)} ({names})" if names else "none"


def _check_form(onnx: Any, model: Any) -> None:
    if not model.HasField("graph"):
        raise ValueError("expected an ONNX model, got a file without a graph")
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise ValueError(
            f"ir_version: expected 3 to {onnx.IR_VERSION}, which onnx {onnx.__version__} supports, "
            f"got {model.ir_version}"
        )
    oldest, newest = form.OPSETS
    versions = [each.version for each in model.opset_import if each.domain in _DOMAINS]
    if len(versions) != 1 or not oldest <= versions[0] <= newest:
        found = ", ".join(map(str, versions[:3])) or "none"
        raise ValueError(f"opset: expected one version, from {oldest} to {newest}, got {found}")
    for part in ("functions", "training_info"):
        if len(getattr(model, part)):
            raise ValueError(f"{part}: expected none, got {len(getattr(model, part))}")


def _define(constants: dict[str, Array], name: str, array: Array) -> None:
    if name in constants or not name:
        raise ValueError(f"graph: expected arrays with different names, got {quoted(name)}")
    constants[name] = array


def _array(onnx: Any, what: str, tensor: Any) -> Array:
    kinds = onnx.TensorProto
    if tensor.data_location == kinds.EXTERNAL or len(tensor.external_data):
        raise ValueError(
            f"{what}: expected values within the file, got external data; export with "
            "external_data=False in PyTorch"
        )
    # Dropout has a bool; no layer takes one for its numbers.
    if tensor.data_type not in (kinds.FLOAT, kinds.DOUBLE, kinds.INT64, kinds.BOOL):
        raise ValueError(
            f"{what}: expected float, double or int64, got {_kind(onnx, tensor.data_type)}"
        )
    dims = list(tensor.dims)
    if min(dims, default=1) < 0 or math.prod(dims) > form.MAX_BYTES:
        raise ValueError(f"{what}: expected a shape that fits into the file, got {dims[:8]}")
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{what}: expected as many values as shape {dims[:8]} has, got another number"
        ) from error


def _kind(onnx: Any, number: int) -> str:
    names = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    return names.get(number, f"kind {number}")


def _images(onnx: Any, value: Any) -> tuple[np.dtype[Any], tuple[int, ...], int | None]:
    """Return the dtype, the shape of one image, and the number of images if it is fixed."""
    what, tensor = f"input {quoted(value.name)}", value.type.tensor_type
    kinds = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}
    if tensor.elem_type not in kinds:
        raise ValueError(f"{what}: expected float or double, got {_kind(onnx, tensor.elem_type)}")
    sizes = [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]
    batch, *sides = sizes or [None]
    shape = tuple(size for size in sides if size is not None and size > 0)
    if len(sides) != 3 or len(shape) != 3:
        text = ", ".join("?" if size is None else str(size) for size in sizes[:8])
        raise ValueError(
            f"{what}: expected images (n, c, h, w) of a fixed size, of which only n may be open, "
            f"got ({text})"
        )
    return np.dtype(kinds[tensor.elem_type]), shape, batch


def _steps(onnx: Any, graph: Any, constants: dict[str, Array], value: str) -> list[Step]:
    """Return the nodes that depend on the images; evaluate the others."""
    steps: list[Step] = []
    earlier = {value}
    for index, node in enumerate(graph.node):
        label = quoted(node.name) if node.name else str(index)
        where = f"node {label} ({node.op_type[:64]})"
        try:
            step = _step(onnx, node, where, constants, value, earlier)
            made = node.output[0]
            if made == value or made in constants:
                raise ValueError(f"expected a new output, got {quoted(made)} again")
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{where}: {error}") from error
        if not isinstance(step, Step):
            _define(constants, made, step)
            continue
        value = made
        earlier.add(value)
        if step.operator not in ("Identity", "Dropout"):  # which changes nothing in prediction
            steps.append(step)
    if graph.output[0].name != value:
        raise ValueError(
            f"output {quoted(graph.output[0].name)}: expected that of the last node, "
            f"{quoted(value)}"
        )
    return steps


def _step(
    onnx: Any,
    node: Any,
    where: str,
    constants: Mapping[str, Array],
    value: str,
    earlier: Collection[str],
) -> Step | Array:
    """Return a node as a step, or the constant that it evaluates to."""
    operator = node.op_type
    # Dropout may name its mask besides, which no other node can read in a chain.
    if len(node.output) != 1 and not (operator == "Dropout" and len(node.output) == 2):
        raise ValueError(f"expected one output, got {len(node.output)}")
    if operator == "Constant" and node.domain in _DOMAINS:
        return _constant(onnx, node)
    if operator not in OPERATORS or node.domain not in _DOMAINS:
        raise ValueError(
            f"expected one of the operators {', '.join(OPERATORS)}, got {operator[:64]}"
            + (f" of {node.domain[:64]}" if node.domain else "")
        )
    options = _options(onnx, node, OPERATORS[operator].options)
    inputs = list(node.input)
    if len(inputs) > 1 + max(OPERATORS[operator].most_constants, _MOST_FOLDED):
        raise ValueError(f"expected fewer inputs, got {len(inputs)}")
    arrays = [constants.get(name) for name in inputs]
    branched = operator in _EITHER_SIDE and len(inputs) == 2 and value in inputs
    also = None
    for name, array in zip(inputs, arrays, strict=True):
        if name and name != value and array is None:
            if not branched or name not in earlier:
                raise _not_in_a_chain(value, name)
            also = name
    if value not in inputs:
        return _folded(operator, options, arrays)
    if operator == "Shape":
        return np.zeros(1, np.int64)  # only n, which a Reshape copies where it reads 0
    data = inputs.index(value)
    if branched and inputs.count(value) > 1:
        also = value
    elif inputs.count(value) > 1 or (data and operator not in _EITHER_SIDE):
        raise ValueError(f"expected {quoted(value)} as its first input only")
    del arrays[data]
    most = OPERATORS[operator].most_constants
    if len(arrays) > most:
        raise ValueError(f"expected at most {most} more inputs, got {len(arrays)}")
    arrays += [None] * (most - len(arrays))
    if operator == "Dropout" and arrays[1] is not None and arrays[1].any():
        raise ValueError(
            "training_mode: expected false, because it is read for prediction, got true"
        )
    return Step(operator, where, node.name, options, arrays, value, also)


def _constant(onnx: Any, node: Any) -> Array:
    if len(node.input) or [each.name for each in node.attribute] != ["value"]:
        raise ValueError("expected only a value that is an array")
    if node.attribute[0].type != onnx.AttributeProto.TENSOR:
        raise ValueError("value: expected an array")
    return _array(onnx, "value", node.attribute[0].t)


def _options(onnx: Any, node: Any, allowed: Mapping[str, Any]) -> dict[str, Any]:
    options = {
        name: default[0] if isinstance(default, tuple) else default
        for name, default in allowed.items()
    }
    for attribute in node.attribute:
        name = attribute.name
        if name not in allowed:
            known = f"one of {', '.join(allowed)}" if allowed else "none"
            raise ValueError(f"attribute: expected {known}, got {quoted(name)}")
        value, default = _value(onnx, attribute), allowed[name]
        if isinstance(default, tuple):
            if value not in default or type(value) is not type(default[0]):
                choices = " or ".join(map(str, default))
                raise ValueError(f"{name}: expected {choices}, got {str(value)[:64]}")
        elif type(value) is not type(default) or (
            isinstance(default, list) and len(value) != len(default)
        ):
            what = f"{len(default)} ints" if isinstance(default, list) else _KINDS[type(default)]
            raise ValueError(f"{name}: expected {what}, got {str(value)[:64]}")
        options[name] = value
    return options


def _value(onnx: Any, attribute: Any) -> Any:
    """Return an attribute's value, or None for a type that no known option has."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.INT:
        return int(attribute.i)
    if attribute.type == kinds.FLOAT:
        # By its shortest text: 0.01 in float32 is 0.01 again, and not 0.00999999977.
        return float(str(np.float32(attribute.f)))
    if attribute.type == kinds.STRING:
        return str(attribute.s[:64].decode())
    return list(attribute.ints) if attribute.type == kinds.INTS else None


def _folded(operator: str, options: Mapping[str, Any], arrays: list[Array | None]) -> Array:
    """Evaluate a node on constants."""
    given = [array for array in arrays if array is not None]
    if operator not in _FOLDED or len(given) != len(arrays) or not given:
        raise ValueError("expected a node that depends on the images")
    if operator == "Identity":
        return given[0]
    if options.get("axis"):
        raise ValueError(f"axis: expected 0 among constants, got {options['axis']}")
    if any(array.dtype != np.int64 or array.size > _MOST_FOLDED for array in given):
        raise ValueError(f"expected constants of at most {_MOST_FOLDED} int64 each")
    if operator == "Concat":
        joined = np.concatenate(given)
        if joined.size > _MOST_FOLDED:
            raise ValueError(f"expected at most {_MOST_FOLDED} numbers, got {joined.size}")
        return joined
    first, second = given
    if operator == "Gather":
        if second.size and not -len(first) <= second.min() <= second.max() < len(first):
            raise ValueError(
                f"expected indices below {len(first)}, because a Shape stands for n only, got "
                f"{second.ravel().tolist()}"
            )
        return np.asarray(np.take(first, second, axis=0))
    return np.expand_dims(first, tuple(map(int, second.flat)))
