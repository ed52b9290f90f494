"""A checked, simplified form of an ONNX model: a chain of steps, each with its options.

Files are untrusted: protobuf's parser, this module and onnx's reference operators, which are NumPy
code, are all that sees them. onnx's compiled version converter does not, because damaged files can
crash it. So opsets are read as they are: what an older one keeps elsewhere is looked up there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lenet_fast.checks import Array, quoted
from lenet_fast.onnx import form
from lenet_fast.onnx.external import External
from lenet_fast.onnx.operators import ELEMENTWISE, FOLDED, OPERATORS, REARRANGING, options_of

DOMAINS = ("", "ai.onnx")  # both mean ONNX's own operators

BATCH = 3
"""Images in the batch for which the shapes of an open number of images are computed."""

_SHAPES = ("Shape", "Size")
_TWO_SIDED = ("Add", "Mul", "Sub", "Div")


class Step(NamedTuple):
    """A node that transforms the output of the previous node."""

    operator: str
    where: str  # its name in error messages
    name: str
    options: dict[str, Any]
    others: list[str]  # names of its other inputs, "" for an omitted one
    data: int  # place of the data among all inputs
    value: str  # what it reads
    also: str | None  # an earlier output that it reads besides
    made: str  # its output
    node: Any

    def not_in_a_chain(self) -> ValueError:
        """Return the error for a branch that is no part of a layer."""
        return _not_in_a_chain(self.value, self.also or "")


def _not_in_a_chain(value: str, found: str) -> ValueError:
    return ValueError(
        f"expected a chain of nodes, each of which reads the output of the previous one, "
        f"{quoted(value)}, got one that reads {quoted(found)}"
    )


class Graph:
    """The part of a model that one of its outputs needs.

    Attributes
    ----------
    dtype : numpy.dtype
    input : str
        Name of the input.
    sizes : tuple of int
        Shape of the input; of one whose number of images is open, that for BATCH images.
    open : bool
        Whether the number of images is open.
    output : str
    steps : list of Step
        In order; each reads the output of the one before.
    nodes : list of NodeProto
        All nodes that the output needs, in order.
    metadata : dict of str to str
    opset : int
    """

    def __init__(self, onnx: Any, model: Any, output: str | None, external: External) -> None:
        self._onnx = onnx
        self.opset = _checked_opset(onnx, model)
        graph = model.graph
        self._constants: dict[str, Array] = {}
        for tensor in graph.initializer:
            what = f"array {quoted(tensor.name)}"
            self._define(tensor.name, array(onnx, what, tensor, external))
        inputs = [each for each in graph.input if each.name not in self._constants]
        if len(inputs) != 1:
            raise ValueError(f"graph: expected one input, got {_listed(inputs)}")
        self.input = inputs[0].name
        self.dtype, self.sizes, self.open = _images(onnx, inputs[0])
        self.output = _chosen(graph.output, output)
        self.metadata = {each.key: each.value for each in model.metadata_props}
        self._left = form.MAX_NUMBERS
        self._pending: list[tuple[str, Any]] = []  # nodes that depend on shapes alone
        self._shapes = {self.input: self.sizes}
        self.nodes = _needed(graph, self.output)
        self.steps = self._steps(external)

    def shape(self, value: str, shape: tuple[int, ...]) -> None:
        """Record the shape of a step's output, which later nodes may ask for."""
        self._shapes[value] = shape

    def constant(self, name: str) -> Array | None:
        """Return a constant, or None if there is none of this name."""
        if name not in self._constants and name:
            waiting = []
            for where, node in self._pending:
                shapes = self._shapes if node.op_type in _SHAPES else {}
                read = filter(None, node.input)
                if all(name in self._constants or name in shapes for name in read):
                    with located(where):
                        self._fold(node)
                else:
                    waiting.append((where, node))
            self._pending = waiting
        return self._constants.get(name)

    def has(self, step: Step, index: int) -> bool:
        """Return whether a step has this input besides the data."""
        return len(step.others) > index and bool(step.others[index])

    def _given(self, step: Step, index: int) -> Array:
        array = self.constant(step.others[index]) if self.has(step, index) else None
        if array is None:
            raise ValueError("expected an array as a further input, got none")
        return array

    def floats(self, step: Step, index: int, axes: int | None = None) -> Array:
        """Return an input of a step, in the network's dtype and with this number of axes."""
        array = self._given(step, index)
        if array.dtype != self.dtype:
            raise ValueError(f"expected an array of {self.dtype}, got {array.dtype}")
        if axes is not None and array.ndim != axes:
            raise ValueError(f"expected an array of {axes} axes, got shape {array.shape}")
        return array

    def scalar(self, step: Step, index: int) -> float:
        """Return an input of a step that is a single number."""
        array = self.floats(step, index)
        if array.size != 1 or array.ndim > 1:
            raise ValueError(f"expected a single number in {step.where}, got shape {array.shape}")
        # From its shortest text: 0.1 in float32 becomes 0.1, not 0.10000000149.
        return float(str(array.item(0) if array.dtype == np.float64 else array.reshape(())[()]))

    def is_number(self, step: Step, number: float) -> bool:
        """Return whether a step reads this number besides the data, and nothing else."""
        array = self.floats(step, 0)
        return array.size == 1 and bool(np.isclose(array.item(0), number, rtol=1e-6, atol=0))

    def integers(self, step: Step, index: int) -> list[int]:
        """Return an input of a step that is a list of int64."""
        array = self._given(step, index)
        if array.dtype != np.int64 or array.ndim != 1:
            raise ValueError(f"expected a constant list of int64 in {step.where}")
        return [int(number) for number in array]

    def rearranged(self, step: Step, x: Array) -> Array:
        """Return what a step of REARRANGING makes of an array."""
        arrays = {step.value: x}
        for name in filter(None, step.others):
            other = self.constant(name)
            if other is None:
                raise ValueError(f"expected a constant or a shape, got {quoted(name)}")
            arrays[name] = other
        return self._evaluate(step.node, arrays)

    def charge(self, size: int) -> None:
        """Count numbers that are computed; ValueError if a small file makes too many of them."""
        self._left -= size
        if self._left < 0:
            raise ValueError(
                f"graph: expected less than {form.MAX_NUMBERS} numbers in all layers and computed "
                f"constants for {self.sizes[0]} images, got more"
            )

    def _define(self, name: str, constant: Array) -> None:
        if name in self._constants or not name:
            raise ValueError(f"graph: expected arrays with different names, got {quoted(name)}")
        self._constants[name] = constant

    def _steps(self, external: External) -> list[Step]:
        """Return the nodes that depend on the images; evaluate those that do not."""
        steps: list[Step] = []
        value, earlier = self.input, {self.input}
        of_shapes: set[str] = set()
        for index, node in self.nodes:
            label = quoted(node.name) if node.name else str(index)
            where = f"node {label} ({node.op_type[:64]})"
            with located(where):
                self._check_operator(node, external)
                made = node.output[0]
                if made in earlier or made in self._constants or made in of_shapes:
                    raise ValueError(f"expected a new output, got {quoted(made)} again")
                if node.op_type == "Constant":
                    self._define(made, _constant(self._onnx, node, external))
                    continue
                read = [name for name in node.input if name]
                if node.op_type in _SHAPES or of_shapes.intersection(read):
                    if not earlier.intersection(read) or node.op_type in _SHAPES:
                        _check_folded(node)
                        of_shapes.add(made)
                        self._pending.append((where, node))
                        continue
                elif all(name in self._constants for name in read):
                    self._fold(node)
                    continue
                step = self._step(node, where, value, earlier, of_shapes)
            steps.append(step)
            value = made
            earlier.add(made)
        if self.output != value:
            raise ValueError(
                f"output {quoted(self.output)}: expected one that depends on the input "
                f"{quoted(self.input)}"
            )
        return steps

    def _step(
        self, node: Any, where: str, value: str, earlier: set[str], of_shapes: set[str]
    ) -> Step:
        also = None
        inputs = list(node.input)
        places = [place for place, name in enumerate(inputs) if name in earlier]
        for name in inputs:
            if name and name not in earlier | of_shapes and name not in self._constants:
                raise ValueError(f"expected inputs that are made before, got {quoted(name)}")
        if value not in inputs:
            raise _not_in_a_chain(value, inputs[places[0]])
        data = inputs.index(value)
        if len(places) > 1:
            (branch, *more) = (place for place in places if place != data)
            also = inputs[branch]
            if more or node.op_type not in ("Add", "Mul"):
                raise _not_in_a_chain(value, also)
        elif data and node.op_type not in _TWO_SIDED:
            raise ValueError(f"expected {quoted(value)} as its first input only")
        others = [name for place, name in enumerate(inputs) if place != data]
        options = {}
        if node.op_type in OPERATORS:
            options = options_of(self._onnx, node)
        elif node.op_type not in REARRANGING:
            raise ValueError("expected it on constants and shapes only, got one on the data")
        made = node.output[0]
        return Step(node.op_type, where, node.name, options, others, data, value, also, made, node)

    def _check_operator(self, node: Any, external: External) -> None:
        known = node.op_type in (*OPERATORS, *FOLDED, "Constant")
        if not known or node.domain not in DOMAINS:
            domain = f" of {node.domain[:64]}" if node.domain else ""
            raise ValueError(
                "expected an operator that lenet_fast.onnx.load reads, got "
                f"{node.op_type[:64]}{domain}"
            )
        if not node.output:
            raise ValueError("expected an output, got none")
        kinds = self._onnx.AttributeProto
        for each in node.attribute:
            if each.type == kinds.TENSOR and node.op_type in ("Constant", "ConstantOfShape"):
                # The reference would read external data from anywhere; this reads what is allowed.
                array(self._onnx, each.name, each.t, external)
            elif each.type not in (kinds.INT, kinds.INTS, kinds.FLOAT, kinds.FLOATS, kinds.STRING):
                raise ValueError(f"{each.name}: expected a number, numbers or a text")

    def _fold(self, node: Any) -> None:
        """Evaluate a node on constants and shapes."""
        _check_folded(node)
        if node.op_type in _SHAPES and node.input[0] in self._shapes:
            # Without its numbers: they are not known, and not asked for.
            arrays = {node.input[0]: np.broadcast_to(np.int8(0), self._shapes[node.input[0]])}
        else:
            arrays = {name: self._constants[name] for name in node.input if name}
        self._define(node.output[0], self._evaluate(node, arrays))

    def _evaluate(self, node: Any, arrays: dict[str, Array]) -> Array:
        """Evaluate a node by onnx's reference, within the memory that is left."""
        size = 0
        if node.op_type not in _SHAPES:
            size = _most(node.op_type, list(arrays.values()))
        self.charge(size)
        helper = self._onnx.helper
        graph = helper.make_graph(
            [node],
            "node",
            [self._onnx.ValueInfoProto(name=name) for name in arrays],
            [self._onnx.ValueInfoProto(name=node.output[0])],
        )
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=form.IR_VERSION)
        from onnx.reference import ReferenceEvaluator

        try:
            (result,) = ReferenceEvaluator(model).run(None, arrays)
        except Exception as error:  # the operators raise errors of many kinds
            shapes = ", ".join(str(each.shape) for each in arrays.values())
            raise ValueError(
                f"expected inputs that fit it, got shapes {shapes}, for which onnx's reference "
                f"fails: {str(error)[:200]}"
            ) from error
        return np.asarray(result)


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Within the block, say in errors at which node they arose."""
    try:
        yield
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        if str(error).startswith("node "):
            raise
        raise ValueError(f"{where}: {error}") from error


def _listed(values: Any) -> str:
    names = ", ".join(quoted(each.name) for each in values[:3])
    return f"{len(values)} ({names})" if names else "none"


def _checked_opset(onnx: Any, model: Any) -> int:
    if not model.HasField("graph"):
        raise ValueError("expected an ONNX model, got a file without a graph")
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise ValueError(
            f"ir_version: expected 3 to {onnx.IR_VERSION}, which onnx {onnx.__version__} supports, "
            f"got {model.ir_version}"
        )
    oldest, newest = form.OPSETS
    versions = [each.version for each in model.opset_import if each.domain in DOMAINS]
    if len(versions) != 1 or not oldest <= versions[0] <= newest:
        found = ", ".join(map(str, versions[:3])) or "none"
        raise ValueError(f"opset: expected one version, from {oldest} to {newest}, got {found}")
    for part in ("functions", "training_info"):
        if len(getattr(model, part)):
            raise ValueError(f"{part}: expected none, got {len(getattr(model, part))}")
    if len(model.graph.node) > form.MAX_NODES:
        raise ValueError(
            f"graph: expected at most {form.MAX_NODES} nodes, got {len(model.graph.node)}"
        )
    if len(model.graph.sparse_initializer):
        raise ValueError("graph: expected dense arrays, got sparse ones")
    return int(versions[0])


def _chosen(outputs: Any, output: str | None) -> str:
    names = [each.name for each in outputs]
    if output is None and len(names) == 1:
        return str(names[0])
    if output is None or output not in names:
        found = "none" if output is None else quoted(output)
        raise ValueError(
            f"output (--onnx-output): expected the name of one of the model's outputs, "
            f"{_listed(outputs)}, got {found}"
        )
    return output


def _needed(graph: Any, output: str) -> list[tuple[int, Any]]:
    """Return the nodes that an output needs, with their numbers, each after those it reads."""
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers:
                raise ValueError(f"graph: expected outputs of different names, got {quoted(name)}")
            makers[name] = index
    order, entered, done = [], set(), set()
    stack = [(output, False)]
    while stack:
        name, left = stack.pop()
        if name not in makers or makers[name] in done:
            continue
        index = makers[name]
        node = graph.node[index]
        if left:
            done.add(index)
            order.append((index, node))
        elif index in entered:
            raise ValueError(f"graph: expected no cycles, got one through {quoted(name)}")
        else:
            entered.add(index)
            stack.append((name, True))
            stack += [(each, False) for each in reversed(node.input) if each]
    return order


def array(onnx: Any, what: str, tensor: Any, external: External) -> Array:
    """Return a tensor's values."""
    kinds = onnx.TensorProto
    # Dropout has a bool, shapes may be int32; no layer takes them for its numbers.
    allowed = (kinds.FLOAT, kinds.DOUBLE, kinds.INT64, kinds.INT32, kinds.BOOL)
    if tensor.data_type not in allowed:
        raise ValueError(
            f"{what}: expected float, double or int64, got {_kind(onnx, tensor.data_type)}"
        )
    dims = list(tensor.dims)
    if min(dims, default=1) < 0 or math.prod(dims) > form.MAX_BYTES:
        raise ValueError(f"{what}: expected a shape that fits into the file, got {dims[:8]}")
    if tensor.data_location == kinds.EXTERNAL or len(tensor.external_data):
        external.fill(what, tensor, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{what}: expected as many values as shape {dims[:8]} has, got another number"
        ) from error


def _kind(onnx: Any, number: int) -> str:
    names = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    return names.get(number, f"kind {number}")


def _images(onnx: Any, value: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return the dtype, the shape of a batch, and whether the number of images is open."""
    what, tensor = f"input {quoted(value.name)}", value.type.tensor_type
    kinds = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}
    if tensor.elem_type not in kinds:
        raise ValueError(f"{what}: expected float or double, got {_kind(onnx, tensor.elem_type)}")
    sizes = [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]
    batch, *sides = sizes or [None]
    known = [size for size in sides if size is not None and size > 0]
    if not 1 <= len(sides) <= 3 or len(known) != len(sides):
        text = ", ".join("?" if size is None else str(size) for size in sizes[:8])
        raise ValueError(
            f"{what}: expected images (n, c, h, w), (n, h, w, c), (n, h, w) or rows (n, k) of a "
            f"fixed size, of which only n may be open, got ({text})"
        )
    is_open = batch is None or batch < 1
    shape = (BATCH if is_open or batch is None else batch, *known)
    if math.prod(shape) > form.MAX_NUMBERS:
        raise ValueError(f"{what}: expected at most {form.MAX_NUMBERS} numbers, got shape {shape}")
    return np.dtype(kinds[tensor.elem_type]), shape, is_open


def _check_folded(node: Any) -> None:
    if node.op_type not in FOLDED:
        raise ValueError("expected a node that depends on the images")
    if not node.input:
        raise ValueError("expected inputs, got none")


def _most(operator: str, arrays: list[Array]) -> int:
    """Return the most numbers that an operator can make of arrays."""
    if operator in ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*(each.shape for each in arrays)))
    if operator == "ConstantOfShape":
        return abs(math.prod(map(int, arrays[0].reshape(-1))))
    if operator == "Gather":
        return math.prod(each.size for each in arrays)
    return sum(each.size for each in arrays)


def _constant(onnx: Any, node: Any, external: External) -> Array:
    kinds = {"value_int": int, "value_ints": list, "value_float": float, "value_floats": list}
    (attribute,) = node.attribute if len(node.attribute) == 1 else (None,)
    if attribute is None or len(node.input):
        raise ValueError("expected a value, and nothing else")
    if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
        return array(onnx, "value", attribute.t, external)
    value = onnx.helper.get_attribute_value(attribute) if attribute.name in kinds else None
    if value is None or not isinstance(value, kinds[attribute.name]):
        raise ValueError(f"value: expected numbers, got {quoted(attribute.name)}")
    return np.array(value, np.int64 if "int" in attribute.name else np.float32)
