"""Loading of a network from an ONNX file whose nodes are a chain of known layers."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from lenet_fast import bitmaps, choices, disk, files, layers
from lenet_fast.checks import Array, quoted
from lenet_fast.errors import FileFormatError
from lenet_fast.layers.base import NAME
from lenet_fast.network import Network
from lenet_fast.onnx import form
from lenet_fast.onnx.graphs import Row, Step, row_of

_SUBSAMPLINGS = (
    ("Mul", "Add"),
    ("Gather", "Mul", "Add"),
    ("Mul", "Mul", "Add"),
    ("Mul", "Gather", "Mul", "Add"),
)
"""Nodes after the means: factor of the area for sums, choice of maps, coefficient, bias."""


def load(
    path: str | os.PathLike[str], *, pixel_range: tuple[float, float] | None = None
) -> Network:
    """Load a network from an ONNX file of :func:`export`, or of another program's plain LeNet.

    Parameters
    ----------
    path : path
        The file.
    pixel_range : (background, foreground), optional
        Values of the bytes 0 and 255 on the network's scale; by default those in the file, if
        :func:`export` wrote it. Other files do not contain them; without them, the network takes
        prepared floats only, and refuses bytes until its ``pixel_range`` is set.

    Returns
    -------
    Network
        Its outputs are those of the graph, except for a final Softmax or LogSoftmax, which is
        dropped; the network's output is then "softmax". Layers get the names of their nodes, if
        these are valid for layers.

    Raises
    ------
    ImportError
        If onnx is missing.
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not an ONNX model, is too large (:data:`MAX_BYTES`, :data:`MAX_FIELDS`), truncated
        or damaged; if its opset is not within :data:`OPSETS`; or if the graph is not a chain of
        known layers from one input (n, c, h, w) of float or double to one output. The message
        names the node and says what is allowed there.

    Notes
    -----
    Besides files of :func:`export`, it reads Conv, MaxPool and AveragePool without padding, Relu,
    LeakyRelu, Elu, Gelu (also as PyTorch writes it for opsets below 20), Tanh, Sigmoid, Flatten or
    an equivalent Reshape, Gemm, MatMul with or without Add, a final Softmax or LogSoftmax, Constant
    and Identity; and Dropout, which changes nothing in prediction and becomes no layer. PyTorch
    writes such files with ``torch.onnx.export(..., external_data=False)``, or ``dynamo=False``,
    from a model without dropout or in evaluation mode. Loading runs nothing in the file and reads
    no other file.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet_fast import models, onnx
    >>> network = models.lenet4(output="softmax")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lenet4.onnx")
    ...     onnx.export(network, path)
    ...     onnx.load(path).config() == network.config()
    True
    """
    onnx = form.library()
    from google.protobuf.message import DecodeError

    raw = disk.read_bytes(path, form.MAX_BYTES)
    try:
        form.check_fields(raw, onnx.ModelProto.DESCRIPTOR)
        reader = _Reader(row_of(onnx, onnx.load_model_from_string(raw)))
        network = reader.network(pixel_range)
    except DecodeError as error:
        raise FileFormatError(
            f"{path}: expected an ONNX model, got another file or a truncated one"
        ) from error
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise FileFormatError(f"{path}: {error}") from error
    tensors = {
        f"{layer.name}.{name}": array
        for layer, arrays in zip(network.layers, reader.arrays, strict=True)
        for name, array in arrays.items()
    }
    files.check_arrays(path, tensors, network.parameters)
    for name, array in network.parameters.items():
        array[...] = tensors[name]
    return network


class _Reader:
    """Converts steps to layers, one or a few steps at a time."""

    def __init__(self, row: Row) -> None:
        self.arrays: list[dict[str, Array]] = []  # per layer, by parameter name
        self._row = row
        self._layers: list[layers.Layer] = []
        self._shape: layers.Shape = row.input_shape
        self._steps = deque(row.steps)
        self._tables = _tables(row.metadata)
        self._taken: set[str] = set()
        self._output: Any = row.metadata.get(form.OUTPUT)

    def network(self, pixel_range: tuple[float, float] | None) -> Network:
        """Return the network; its parameters are set later."""
        while self._steps:
            step = self._steps.popleft()
            try:
                if step.also is not None and step.operator != "Mul":
                    raise step.not_in_a_chain()
                reader = _READERS.get(step.operator)
                if reader is None:
                    raise ValueError(_HINTS.get(step.operator, "expected it as part of a layer"))
                reader(self, step)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{step.where}: {error}") from error
        if self._tables:
            names = ", ".join(map(quoted, list(self._tables)[:3]))
            raise ValueError(f"{form.CONNECTIONS}: expected names of Conv nodes, got {names}")
        if self._output is None:
            is_rbf = bool(self._layers) and isinstance(self._layers[-1], layers.RBF)
            self._output = "rbf" if is_rbf else "linear"
        if pixel_range is None:
            pixel_range = _json(self._row.metadata, form.PIXEL_RANGE)
        c, h, w = self._row.input_shape
        network = Network(
            self._layers,
            input_shape=(c, h, w),
            output=self._output,
            dtype=self._row.dtype,
            pixel_range=pixel_range,
        )
        network.inverted = _flag(self._row.metadata, form.INVERTED)
        network.reduced = _flag(self._row.metadata, form.REDUCED) or False
        return network

    def conv2d(self, step: Step) -> None:
        """Read [Pad], Conv, [Add]."""
        top, left, bottom, right, value = 0, 0, 0, 0, 0.0
        if step.operator == "Pad":
            (top, left, bottom, right), value = self._border(step)
            (step,) = self._follow("Conv")
        options = step.options
        w, b = self._floats(step, 0, 4), None
        if options["kernel_shape"] not in ([0, 0], list(w.shape[2:])):
            raise ValueError(
                f"kernel_shape: expected {list(w.shape[2:])}, as the weights have, got "
                f"{options['kernel_shape']}"
            )
        if any(options["pads"]):
            if any((top, left, bottom, right)):
                raise ValueError("pads: expected 0 on all sides after a Pad")
            top, left, bottom, right = options["pads"]
        if step.constants[1] is not None:
            b = self._floats(step, 1, 1)
        name = self._name(step)
        layer = layers.Conv2D(
            w.shape[1] * options["group"],
            w.shape[0],
            tuple(w.shape[2:]),
            stride=tuple(options["strides"]),
            padding=(top, bottom, left, right),
            dilation=tuple(options["dilations"]),
            groups=options["group"],
            connections=self._tables.pop(step.name, None),
            pad_value=value,
            bias=None if b is None else "map",
            name=name,
        )
        if layer.table is not None and w[~layer.table].any():
            raise ValueError("weights: expected zeros where the table has no link, got others")
        if b is None and self._upcoming(1) == ("Add",):
            (add,) = self._follow("Add")
            b = self._floats(add, 0)
            unit = layer.output_shape(self._shape)
            if b.shape in (unit, (1, *unit)):
                layer.bias, b = "unit", b.reshape(unit)
            else:
                layer.bias, b = "map", _by_map(b, layer.c_out)
        self._append(layer, w=w, **({} if b is None else {"b": b}))

    def _border(self, step: Step) -> tuple[list[int], float]:
        """Return top, left, bottom, right of a Pad, and its value."""
        pads = self._integers(step, 0)
        if len(pads) != 8 or any(pads[side] for side in (0, 1, 4, 5)):
            raise ValueError(f"pads: expected 8, for rows and columns only, got {pads[:8]}")
        value = 0.0 if step.constants[1] is None else self._scalar(step, 1)
        return [pads[side] for side in (2, 3, 6, 7)], value

    def max_pool2d(self, step: Step) -> None:
        """Read MaxPool."""
        kernel, stride = step.options["kernel_shape"], step.options["strides"]
        self._append(layers.MaxPool2D(tuple(kernel), tuple(stride), name=self._name(step)))

    def avg_pool2d(self, step: Step) -> None:
        """Read AveragePool, alone or as the beginning of trainable sub-sampling."""
        upcoming = self._upcoming(4)
        for sequence in _SUBSAMPLINGS:
            if upcoming[: len(sequence)] == sequence:
                self._subsample2d(step, self._follow(*sequence))
                return
        kernel, stride = step.options["kernel_shape"], step.options["strides"]
        self._append(layers.AvgPool2D(tuple(kernel), tuple(stride), name=self._name(step)))

    def _subsample2d(self, step: Step, rest: list[Step]) -> None:
        reduction: choices.WindowReduction = "mean"
        kernel, channels = step.options["kernel_shape"], self._shape[0]
        *before, times, plus = rest
        if before and before[0].operator == "Mul":
            area, found = math.prod(kernel), self._scalar(before[0], 0)
            if found != area:
                raise ValueError(f"expected a Mul by its {area} pixels after it, got {found}")
            reduction = "sum"
        multiplier = 1
        if before and before[-1].operator == "Gather":
            seen = self._integers(before[-1], 0)
            multiplier = len(seen) // channels
            whole = multiplier * channels == len(seen)
            axis = before[-1].options["axis"]
            if axis != 1 or not whole or seen != [o // multiplier for o in range(len(seen))]:
                raise ValueError("expected a Gather after it that repeats each map equally often")
        layer = layers.Subsample2D(
            channels,
            tuple(kernel),
            tuple(step.options["strides"]),
            reduction=reduction,
            multiplier=multiplier,
            name=self._name(step),
        )
        w, b = (_by_map(self._floats(each, 0), layer.c_out) for each in (times, plus))
        self._append(layer, w=w, b=b)

    def flatten(self, step: Step) -> None:
        """Read Flatten, or an equivalent Reshape; it needs no layer, because Dense flattens."""
        size = math.prod(self._shape)
        if step.operator == "Reshape":
            shape = self._integers(step, 0)
            # A zero copies the input's size, unless zeros are allowed as sizes.
            n = {-1, self._row.batch} | ({0} if not step.options["allowzero"] else set())
            if (
                len(shape) != 2
                or shape[0] not in n
                or shape[1] not in (-1, size)
                or sum(shape) == -2
            ):
                raise ValueError(f"expected a shape (-1, {size}) or (0, -1), got {shape[:8]}")
        self._shape = (size,)

    def gemm(self, step: Step) -> None:
        """Read Gemm."""
        w = self._floats(step, 0, 2)
        bias = None if step.constants[1] is None else self._floats(step, 1)
        self._dense(step, w if step.options["transB"] else w.T, bias)

    def matmul(self, step: Step) -> None:
        """Read MatMul, [Add]."""
        w = self._floats(step, 0, 2).T
        bias = self._floats(self._follow("Add")[0], 0) if self._upcoming(1) == ("Add",) else None
        self._dense(step, w, bias)

    def _dense(self, step: Step, w: Array, bias: Array | None) -> None:
        self._check_flat()
        n_out, n_in = w.shape
        if bias is None:
            bias = np.zeros(n_out, w.dtype)
        if bias.size != n_out or bias.shape[-1:] not in ((), (n_out,)):
            raise ValueError(f"expected a bias of shape ({n_out},), got {bias.shape}")
        self._append(layers.Dense(n_in, n_out, name=self._name(step)), w=w, b=bias.reshape(n_out))

    def rbf(self, step: Step) -> None:
        """Read Unsqueeze, Sub, Pow, ReduceSum: squared distances."""
        minus, power, total = self._follow("Sub", "Pow", "ReduceSum")
        self._check_flat()
        w = self._floats(minus, 0, 2)
        if (
            self._integers(step, 0) != [1]
            or self._scalar(power, 0) != 2
            or self._integers(total, 0) not in ([2], [-1])
            or total.options["keepdims"]
        ):
            raise ValueError("expected squared distances, as lenet_fast writes its RBF")
        n_out, n_in = w.shape
        is_ours = w.shape == (10, bitmaps.ROWS * bitmaps.COLUMNS)
        digits = is_ours and np.array_equal(w, bitmaps.centres())
        centres = "digits" if digits else "given"
        self._append(layers.RBF(n_in, n_out, centres=centres, name=self._name(minus)), w=w)

    def gelu(self, step: Step) -> None:
        """Read GELU where it is written as a row of nodes, all of which read the first one's x."""
        for approximate, rows in form.GELUS.items():
            for row in rows:
                found = [step, *islice(self._steps, len(row) - 1)]
                if [each.operator for each in found] == [operator for operator, _ in row] and all(
                    self._reads(each, other, step.value)
                    for each, (_, other) in zip(found, row, strict=True)
                ):
                    for _ in row[1:]:
                        self._steps.popleft()
                    main = next(each for each in found if each.operator in ("Erf", "Tanh"))
                    self._append(layers.GELU(approximate, name=self._name(main)))
                    return
        if step.also is not None:
            raise step.not_in_a_chain()
        raise ValueError(_HINTS[step.operator])

    def _reads(self, step: Step, other: float | str | None, x: str) -> bool:
        """Return whether a step reads a number besides the data, or x, or nothing."""
        if isinstance(other, float):
            return step.also is None and bool(
                np.isclose(self._scalar(step, 0), other, rtol=1e-6, atol=0)
            )
        return step.also == (x if other == form.X else None)

    def product(self, step: Step) -> None:
        """Read Mul, Tanh, Mul with the constants of 1998; or GELU."""
        if step.also is not None:
            self.gelu(step)
            return
        if self._upcoming(2) != ("Tanh", "Mul"):
            raise ValueError(_HINTS["Mul"])
        tanh, after = self._follow("Tanh", "Mul")
        found = [self._scalar(step, 0), self._scalar(after, 0)]
        if not np.allclose(found, [form.SLOPE, form.AMPLITUDE], rtol=1e-6, atol=0):
            raise ValueError(f"expected 1.7159 tanh(2 x / 3), got {found[1]} tanh({found[0]} x)")
        self._append(layers.ScaledTanh(name=self._name(tanh)))

    def activation(self, step: Step) -> None:
        """Read an activation that is a single node."""
        kind, names = _ACTIVATIONS[step.operator]
        options = {option: step.options[name] for option, name in names.items()}
        self._append(kind(**options, name=self._name(step)))

    def softmax(self, step: Step) -> None:
        """Read Softmax or LogSoftmax, which is not part of our networks."""
        self._check_flat()
        if self._steps:
            raise ValueError("expected it as the last node, got others after it")
        self._output = "softmax"

    def _append(self, layer: layers.Layer, **arrays: Array) -> None:
        self._shape = layer.output_shape(self._shape)
        self._layers.append(layer)
        self.arrays.append(arrays)

    def _name(self, step: Step) -> str | None:
        """Return a node's name if it is valid for a layer, else None, for a generated one."""
        if not NAME.fullmatch(step.name) or step.name in self._taken:
            return None
        self._taken.add(step.name)
        return step.name

    def _upcoming(self, count: int) -> tuple[str, ...]:
        """Return the next operators, without the names of those that read something besides."""
        ahead = islice(self._steps, count)
        return tuple(step.operator if step.also is None else "a branch" for step in ahead)

    def _follow(self, *operators: str) -> list[Step]:
        """Take the next steps; ValueError if they are not these operators."""
        found = self._upcoming(len(operators))
        if found != operators:
            raise ValueError(
                f"expected {', '.join(operators)} after it, got {', '.join(found) or 'nothing'}"
            )
        return [self._steps.popleft() for _ in operators]

    def _check_flat(self) -> None:
        if len(self._shape) != 1:
            raise ValueError(f"expected a Flatten before it, got images of shape {self._shape}")

    def _floats(self, step: Step, index: int, axes: int | None = None) -> Array:
        """Return an input of a step, in the network's dtype and with this number of axes."""
        array = step.constants[index]
        if array is None:
            raise ValueError("expected an array as a further input, got none")
        if array.dtype != self._row.dtype:
            raise ValueError(f"expected an array of {self._row.dtype}, got {array.dtype}")
        if axes is not None and array.ndim != axes:
            raise ValueError(f"expected an array of {axes} axes, got shape {array.shape}")
        return array

    def _scalar(self, step: Step, index: int) -> float:
        array = self._floats(step, index)
        if array.size != 1 or array.ndim > 1:
            raise ValueError(f"expected a single number in {step.where}, got shape {array.shape}")
        # From its shortest text: 0.1 in float32 becomes 0.1, not 0.10000000149.
        return float(str(array.item(0) if array.dtype == np.float64 else array.reshape(())[()]))

    def _integers(self, step: Step, index: int) -> list[int]:
        array = step.constants[index]
        if array is None or array.dtype != np.int64 or array.ndim != 1:
            raise ValueError(f"expected a constant list of int64 in {step.where}")
        return [int(number) for number in array]


def _by_map(array: Array, maps: int) -> Array:
    if array.shape not in ((maps, 1, 1), (1, maps, 1, 1)):
        raise ValueError(f"expected one number per map, ({maps}, 1, 1), got shape {array.shape}")
    return array.reshape(maps)


def _tables(metadata: dict[str, str]) -> dict[str, Any]:
    tables = _json(metadata, form.CONNECTIONS, "{}")
    if not isinstance(tables, dict):
        raise ValueError(f"{form.CONNECTIONS}: expected tables by layer name, got none")
    return tables


def _flag(metadata: dict[str, str], key: str) -> bool | None:
    flag = _json(metadata, key)
    if not isinstance(flag, bool | None):
        raise ValueError(f"{key}: expected true or false, got {flag!r}")
    return flag


def _json(metadata: dict[str, str], key: str, default: str = "null") -> Any:
    try:
        return json.loads(metadata.get(key, default))
    except (ValueError, RecursionError):
        raise ValueError(f"{key}: expected JSON, got {metadata[key][:64]!r}") from None


_ACTIVATIONS: dict[str, tuple[type[layers.Activation], dict[str, str]]] = {
    operator: (kind, names) for kind, (operator, names) in form.ACTIVATIONS.items()
}
_GELU = "expected it in GELU, as PyTorch writes it, with the constants of one of its two forms"

_HINTS = {
    "Mul": "expected it in 1.7159 tanh(2 x / 3), Mul, Tanh, Mul, or after an AveragePool, with Add",
    "Add": "expected it after a MatMul or a Conv without a bias, or after AveragePool, Mul",
    "Div": _GELU,
    "Pow": _GELU,
}

_READERS: dict[str, Callable[[_Reader, Step], None]] = {
    "Pad": _Reader.conv2d,
    "Conv": _Reader.conv2d,
    "MaxPool": _Reader.max_pool2d,
    "AveragePool": _Reader.avg_pool2d,
    "Flatten": _Reader.flatten,
    "Reshape": _Reader.flatten,
    "Gemm": _Reader.gemm,
    "MatMul": _Reader.matmul,
    "Unsqueeze": _Reader.rbf,
    "Mul": _Reader.product,
    "Div": _Reader.gelu,
    "Pow": _Reader.gelu,
    **dict.fromkeys(_ACTIVATIONS, _Reader.activation),
    "Softmax": _Reader.softmax,
    "LogSoftmax": _Reader.softmax,
}
