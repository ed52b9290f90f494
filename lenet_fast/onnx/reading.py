"""Conversion of a graph's steps to layers, one or a few steps at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from lenet_fast import bitmaps, choices, layers
from lenet_fast.checks import Array, quoted
from lenet_fast.layers.base import NAME
from lenet_fast.network import Network
from lenet_fast.onnx import form
from lenet_fast.onnx.arrangement import Arrangement
from lenet_fast.onnx.graphs import REARRANGING, Graph, Step, located
from lenet_fast.onnx.windows import padding, pool_window

_SUBSAMPLINGS = (
    ("Mul", "Add"),
    ("Gather", "Mul", "Add"),
    ("Mul", "Mul", "Add"),
    ("Mul", "Gather", "Mul", "Add"),
)
"""Nodes after the means: factor of the area for sums, choice of maps, coefficient, bias."""

_MOST_OUTPUTS = 1000  # of a network whose last layer is none of ours


class Reader:
    """Converts the steps of a graph to a network.

    Attributes
    ----------
    arrays : list of dict of str to ndarray
        Per layer, by parameter name; the network's own are set by the caller.
    arrangement : Arrangement
    outputs : str
        The value in the graph that the network's outputs equal: that before a softmax.
    """

    def __init__(self, graph: Graph) -> None:
        self.arrays: list[dict[str, Array]] = []
        self.arrangement = Arrangement(graph)
        self.outputs = graph.input  # so far
        self._graph = graph
        self._layers: list[layers.Layer] = []
        self._steps = deque(graph.steps)
        self._tables = form.tables_of(graph.metadata)
        self._taken: set[str] = set()
        self._value = graph.input  # what was read last
        self._softmax = False
        self._output: Any = graph.metadata.get(form.OUTPUT)

    def network(self, pixel_range: tuple[float, float] | None) -> Network:
        """Return the network; its parameters are set later."""
        while self._steps:
            step = self._take()
            with located(step.where):
                if step.also is not None and step.operator != "Mul":
                    raise step.not_in_a_chain()
                reader = _READERS.get(step.operator)
                if reader is None:
                    raise ValueError(_HINTS.get(step.operator, "expected it as part of a layer"))
                if self._softmax and reader not in (Reader.rearrange, Reader.nothing):
                    raise ValueError("expected nothing after a softmax, got another layer")
                reader(self, step)
                self._graph.shape(self._value, self.arrangement.shape)
                if not self._softmax:
                    self.outputs = self._value
        self._finish()
        if self._tables:
            names = ", ".join(map(quoted, list(self._tables)[:3]))
            raise ValueError(f"{form.CONNECTIONS}: expected names of Conv nodes, got {names}")
        if self._output is None:
            is_rbf = bool(self._layers) and isinstance(self._layers[-1], layers.RBF)
            self._output = "rbf" if is_rbf else "linear"
        metadata = self._graph.metadata
        if pixel_range is None:
            pixel_range = form.json_of(metadata, form.PIXEL_RANGE)
        if not self._layers:
            raise ValueError("graph: expected at least one layer, got none")
        network = Network(
            self._layers,
            input_shape=self.arrangement.input_shape,
            output=self._output,
            dtype=self._graph.dtype,
            pixel_range=pixel_range,
        )
        network.inverted = form.flag_of(metadata, form.INVERTED)
        network.reduced = form.flag_of(metadata, form.REDUCED) or False
        if form.CLASSES in metadata:
            network.classes = form.json_of(metadata, form.CLASSES)
        return network

    def rearrange(self, step: Step) -> None:
        """Read Flatten, Reshape, Transpose and the like, which need no layer; or an RBF."""
        if step.operator == "Unsqueeze" and self._upcoming(3) == ("Sub", "Pow", "ReduceSum"):
            self._rbf(step)
        else:
            self.arrangement.rearrange(step)

    def nothing(self, step: Step) -> None:
        """Read what changes nothing in prediction."""
        mode = self._graph.constant(step.others[1]) if len(step.others) > 1 else None
        if step.operator == "Dropout" and mode is not None and mode.any():
            raise ValueError(
                "training_mode: expected false, because it is read for prediction, got true"
            )
        dtype = {1: np.float32, 11: np.float64}.get(step.options.get("to", 0))
        if step.operator == "Cast" and dtype != self._graph.dtype:
            raise ValueError(f"to: expected the input's {self._graph.dtype}, got another dtype")

    def conv2d(self, step: Step) -> None:
        """Read [Pad], Conv, [Add]."""
        top, left, bottom, right, value = 0, 0, 0, 0, 0.0
        if step.operator == "Pad":
            (top, left, bottom, right), value = self._border(step)
            if not any((top, left, bottom, right)):
                self.nothing(step)
                return
            (step,) = self._follow("Conv")
        options = step.options
        w, b = self._graph.floats(step, 0, 4), None
        if options["kernel_shape"] not in ([0, 0], list(w.shape[2:])):
            raise ValueError(
                f"kernel_shape: expected {list(w.shape[2:])}, as the weights have, got "
                f"{options['kernel_shape']}"
            )
        pads = padding(options, self._maps()[1:], w.shape[2:])
        if any(pads):
            if any((top, left, bottom, right)):
                raise ValueError("pads: expected 0 on all sides after a Pad")
            top, left, bottom, right = pads
        if self._graph.has(step, 1):
            b = self._graph.floats(step, 1, 1)
        layer = layers.Conv2D(
            w.shape[1] * options["group"],
            w.shape[0],
            (w.shape[2], w.shape[3]),
            stride=tuple(options["strides"]),
            padding=(top, bottom, left, right),
            dilation=tuple(options["dilations"]),
            groups=options["group"],
            connections=self._tables.pop(step.name, None),
            pad_value=value,
            bias=None if b is None else "map",
            name=self._name(step),
        )
        if layer.table is not None and w[~layer.table].any():
            raise ValueError("weights: expected zeros where the table has no link, got others")
        self._append(layer, w=w, **({} if b is None else {"b": b}))

    def _border(self, step: Step) -> tuple[list[int], float]:
        """Return top, left, bottom, right of a Pad, and its value."""
        pads = step.options["pads"]  # an input since opset 11
        if pads is None:
            pads = self._graph.integers(step, 0)
        axes = len(self.arrangement.shape)
        if self._graph.has(step, 2):
            raise ValueError("axes: expected none, got an input")
        if len(pads) != 2 * axes:
            raise ValueError(f"pads: expected {2 * axes}, got {pads[:8]}")
        if not any(pads):
            return [0, 0, 0, 0], 0.0
        if axes != 4 or any(pads[side] for side in (0, 1, 4, 5)):
            raise ValueError(f"pads: expected 8, for rows and columns only, got {pads[:8]}")
        value = self._graph.scalar(step, 1) if self._graph.has(step, 1) else step.options["value"]
        return [pads[side] for side in (2, 3, 6, 7)], value

    def max_pool2d(self, step: Step) -> None:
        """Read MaxPool."""
        kernel, stride = pool_window(step.options, self._maps()[1:])
        self._append(layers.MaxPool2D(kernel, stride, name=self._name(step)))

    def avg_pool2d(self, step: Step) -> None:
        """Read AveragePool, alone or as the beginning of trainable sub-sampling."""
        upcoming = self._upcoming(4)
        for sequence in _SUBSAMPLINGS:
            if upcoming[: len(sequence)] == sequence and self._subsample2d(step, sequence):
                return
        kernel, stride = pool_window(step.options, self._maps()[1:])
        self._append(layers.AvgPool2D(kernel, stride, name=self._name(step)))

    def global_pool2d(self, step: Step) -> None:
        """Read GlobalAveragePool, GlobalMaxPool, or ReduceMean over rows and columns."""
        axes, keep = [2, 3], True
        if step.operator == "ReduceMean":
            axes = step.options["axes"]  # an input since opset 18
            if axes is None:
                axes = self._graph.integers(step, 0)
            axes, keep = sorted(axis % 4 for axis in axes), bool(step.options["keepdims"])
            if axes not in ([2, 3], [1, 2]):
                raise ValueError(f"axes: expected those of rows and columns, got {axes}")
        order = [0, 6 - sum(axes), *axes]  # (n, h, w, c) has the maps last
        self.arrangement.transpose(order)
        h, w = self._maps()[1:]
        kind = layers.MaxPool2D if step.operator == "GlobalMaxPool" else layers.AvgPool2D
        self._append(kind((h, w), name=self._name(step)))
        if keep:
            self.arrangement.transpose([order.index(axis) for axis in range(4)])
        else:
            self.arrangement.drop_sides()

    def _subsample2d(self, step: Step, sequence: tuple[str, ...]) -> bool:
        """Read trainable sub-sampling; return whether it is one, and not other sums and factors."""
        kernel, stride = pool_window(step.options, self._maps()[1:])
        channels = self._maps()[0]
        *before, times, plus = islice(self._steps, len(sequence))
        reduction: choices.WindowReduction = "mean"
        if before and before[0].operator == "Mul":
            if not self._graph.is_number(before[0], math.prod(kernel)):
                return False
            reduction = "sum"
        multiplier = 1
        if before and before[-1].operator == "Gather":
            seen = self._graph.integers(before[-1], 0)
            multiplier = len(seen) // channels
            whole = multiplier * channels == len(seen)
            axis = before[-1].options["axis"]
            if axis != 1 or not whole or seen != [o // multiplier for o in range(len(seen))]:
                raise ValueError("expected a Gather after it that repeats each map equally often")
        maps = channels * multiplier
        arrays = [self._graph.floats(each, 0) for each in (times, plus)]
        if any(each.shape not in ((maps, 1, 1), (1, maps, 1, 1)) for each in arrays):
            return False
        w, b = (each.reshape(maps) for each in arrays)
        layer = layers.Subsample2D(
            *(channels, kernel, stride),
            reduction=reduction,
            multiplier=multiplier,
            name=self._name(step),
        )
        self._follow(*sequence)
        self._append(layer, w=w, b=b)
        return True

    def gemm(self, step: Step) -> None:
        """Read Gemm, or MatMul."""
        w = self._graph.floats(step, 0, 2)
        w = w if step.options.get("transB") else w.T
        n_out = len(w)
        bias = self._graph.floats(step, 1) if self._graph.has(step, 1) else np.zeros(n_out, w.dtype)
        if bias.size not in (1, n_out) or bias.shape[-1:] not in ((), (1,), (n_out,)):
            raise ValueError(f"expected a bias of shape ({n_out},), got {bias.shape}")
        bias = np.broadcast_to(bias.reshape(-1), n_out)
        alpha, beta = (w.dtype.type(step.options.get(name, 1)) for name in ("alpha", "beta"))
        w, bias = (w if alpha == 1 else alpha * w), (bias if beta == 1 else beta * bias)
        self._dense(w, bias, self._name(step))

    def _dense(self, w: Array, bias: Array, name: str | None) -> None:
        n_out, n_in = w.shape
        w = self.arrangement.columns(w)
        if self.arrangement.affine is not None:
            _, scale, shift = self.arrangement.affine
            self.arrangement.affine = None
            bias = (bias + w.astype(np.float64) @ shift).astype(w.dtype)
            w = (w * scale).astype(w.dtype)
        self._append(layers.Dense(n_in, n_out, name=name), w=w, b=bias)

    def _rbf(self, step: Step) -> None:
        """Read Unsqueeze, Sub, Pow, ReduceSum: squared distances."""
        self._flush()
        self.arrangement.check_flat("input")
        minus, power, total = self._follow("Sub", "Pow", "ReduceSum")
        w = self._graph.floats(minus, 0, 2)
        axes = [step.options.get("axes"), total.options["axes"]]
        axes = [
            self._graph.integers(each, 0) if found is None else found
            for each, found in zip((step, total), axes, strict=True)
        ]
        if (
            axes[0] != [1]
            or axes[1] not in ([2], [-1])
            or not self._graph.is_number(power, 2)
            or total.options["keepdims"]
        ):
            raise ValueError("expected squared distances, as lenet_fast writes its RBF")
        n_out, n_in = w.shape
        is_ours = w.shape == (10, bitmaps.ROWS * bitmaps.COLUMNS)
        digits = is_ours and np.array_equal(w, bitmaps.centres())
        centres = "digits" if digits else "given"
        self._append(layers.RBF(n_in, n_out, centres=centres, name=self._name(minus)), w=w)

    def arithmetic(self, step: Step) -> None:
        """Read a sum, product, ... with constants; or what begins 1.7159 tanh(2 x / 3) or GELU."""
        if step.also is not None or step.operator in ("Div", "Mul", "Pow"):
            if self._gelu(step):
                return
            if step.also is not None:
                raise step.not_in_a_chain()
        if step.operator == "Pow":
            raise ValueError(_GELU)
        if step.operator == "Mul" and self._upcoming(2) == ("Tanh", "Mul"):
            tanh, after = islice(self._steps, 2)
            if self._graph.is_number(step, form.SLOPE) and self._graph.is_number(
                after, form.AMPLITUDE
            ):
                self._follow("Tanh", "Mul")
                self._append(layers.ScaledTanh(name=self._name(tanh)))
                return
        number = self._graph.floats(step, 0).astype(np.float64)
        one, zero = np.ones(()), np.zeros(())
        if step.operator == "Div" and step.data:
            raise ValueError("expected the data as its first input")
        scale, shift = {
            "Add": (one, number),
            "Sub": (-one, number) if step.data else (one, -number),
            "Mul": (number, zero),
            "Div": (1 / number, zero),
        }[step.operator]
        self._rescale(step, scale, shift)

    def batch_norm(self, step: Step) -> None:
        """Read BatchNormalization with the statistics of the training set."""
        gamma, beta, mean, variance = (
            self._graph.floats(step, index, 1).astype(np.float64) for index in range(4)
        )
        scale = gamma / np.sqrt(variance + step.options["epsilon"])
        shift = beta - mean * scale
        axes = (1,) * (len(self.arrangement.shape) - 2)
        self._rescale(step, scale.reshape(-1, *axes), shift.reshape(-1, *axes))

    def _rescale(self, step: Step, scale: Array, shift: Array) -> None:
        """Read scale * x + shift, each number per output, per map, or one for all."""
        arrangement = self.arrangement
        scale, shift = arrangement.spread(scale), arrangement.spread(shift)
        if arrangement.affine is not None:
            _, before, offset = arrangement.affine
            arrangement.affine = step.where, before * scale, offset * scale + shift
        elif not self._folded(scale, shift):
            arrangement.affine = step.where, scale, shift

    def _folded(self, scale: Array, shift: Array) -> bool:
        """Let the last layer compute scale * x + shift of its outputs; return whether it can."""
        last = self._layers[-1] if self.arrangement.is_output else None
        if not isinstance(last, layers.Conv2D | layers.Dense):
            return False
        arrays = self.arrays[-1]
        w, b = arrays["w"], arrays.get("b")
        scales, shifts = self.arrangement.by_map(scale), self.arrangement.by_map(shift)
        if scales is None:
            return False
        if shifts is None:
            # A bias per unit, as in the net of 1989.
            if b is not None or not isinstance(last, layers.Conv2D):
                return False
            last.bias, shifts = "unit", shift.reshape(self.arrangement.settle())
        elif isinstance(last, layers.Conv2D) and last.bias is None:
            last.bias = "map"
        b = shifts if b is None else _per_row(scales, b) * b + _per_row(shifts, b)
        arrays["b"] = b.astype(w.dtype)
        if (scales != 1).any():
            arrays["w"] = (_per_row(scales, w) * w).astype(w.dtype)
        return True

    def _flush(self) -> None:
        """Make a layer of sums and products that no other layer took in."""
        if self.arrangement.affine is None:
            return
        (where, *arrays), self.arrangement.affine = self.arrangement.affine, None
        with located(where):
            shape = self.arrangement.settle()
            w, b = map(self.arrangement.by_map, arrays)
            if w is None or b is None or len(shape) != 3:
                raise ValueError("expected one number per map here, or a Gemm or MatMul after it")
            self._append(
                layers.Subsample2D(shape[0], 1, reduction="mean"),
                w=w.astype(self._graph.dtype),
                b=b.astype(self._graph.dtype),
            )

    def _gelu(self, step: Step) -> bool:
        """Read GELU where it is written as a row of nodes, all of which read the first one's x."""
        for approximate, rows in form.GELUS.items():
            for row in rows:
                found = [step, *islice(self._steps, len(row) - 1)]
                if [each.operator for each in found] == [operator for operator, _ in row] and all(
                    self._reads(each, other, step.value)
                    for each, (_, other) in zip(found, row, strict=True)
                ):
                    for _ in row[1:]:
                        self._take()
                    main = next(each for each in found if each.operator in ("Erf", "Tanh"))
                    self._append(layers.GELU(approximate, name=self._name(main)))
                    return True
        return False

    def _reads(self, step: Step, other: float | str | None, x: str) -> bool:
        """Return whether a step reads a number besides the data, or x, or nothing."""
        if isinstance(other, float):
            return step.also is None and self._graph.is_number(step, other)
        return step.also == (x if other == form.X else None)

    def activation(self, step: Step) -> None:
        """Read an activation that is a single node."""
        kind, names = _ACTIVATIONS[step.operator]
        options = {option: step.options[name] for option, name in names.items()}
        self._append(kind(**options, name=self._name(step)))

    def softmax(self, step: Step) -> None:
        """Read Softmax or LogSoftmax, which is not part of our networks."""
        self._finish()
        self._output, self._softmax = "softmax", True

    def _finish(self) -> None:
        """Let a layer of ones make what is left, such as a last convolution, a row of numbers."""
        arrangement = self.arrangement
        n = math.prod(arrangement.shape[1:])
        if len(arrangement.shape) != 2 or n > _MOST_OUTPUTS:
            raise ValueError(
                f"outputs: expected (n, k) of at most {_MOST_OUTPUTS} each, as after a Flatten, "
                f"got shape {arrangement.shape}"
            )
        if (
            arrangement.affine is not None
            or arrangement.settle() != (n,)
            or not arrangement.in_order()
        ):
            self._dense(np.eye(n, dtype=self._graph.dtype), np.zeros(n, self._graph.dtype), None)

    def _append(self, layer: layers.Layer, **arrays: Array) -> None:
        self._flush()
        self.arrangement.append(layer)
        self._layers.append(layer)
        self.arrays.append(arrays)

    def _maps(self) -> tuple[int, int, int]:
        """Return the shape of the maps that a layer reads; ValueError if there are none."""
        maps = self.arrangement.maps()
        self._flush()
        return maps

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
        return [self._take() for _ in operators]

    def _take(self) -> Step:
        """Take the next step."""
        step = self._steps.popleft()
        self._value = step.made
        return step


def _per_row(numbers: Array, array: Array) -> Array:
    """Return one number per row of an array, in as many axes."""
    return numbers.reshape(numbers.shape + (1,) * (array.ndim - numbers.ndim))


_ACTIVATIONS: dict[str, tuple[type[layers.Activation], dict[str, str]]] = {
    operator: (kind, names) for kind, (operator, names) in form.ACTIVATIONS.items()
}
_GELU = "expected it in GELU, as PyTorch writes it, with the constants of one of its two forms"

_HINTS = {"Erf": _GELU}

_READERS: dict[str, Callable[[Reader, Step], None]] = {
    **dict.fromkeys(REARRANGING, Reader.rearrange),
    **dict.fromkeys(("Cast", "Dropout", "Identity"), Reader.nothing),
    "Pad": Reader.conv2d,
    "Conv": Reader.conv2d,
    "MaxPool": Reader.max_pool2d,
    "AveragePool": Reader.avg_pool2d,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean"), Reader.global_pool2d),
    **dict.fromkeys(("Gemm", "MatMul"), Reader.gemm),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), Reader.arithmetic),
    "BatchNormalization": Reader.batch_norm,
    **dict.fromkeys(_ACTIVATIONS, Reader.activation),
    **dict.fromkeys(("Softmax", "LogSoftmax"), Reader.softmax),
}
