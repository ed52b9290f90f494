"""The convolution layer."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from lenet_fast import checks, choices, ops
from lenet_fast import connections as tables
from lenet_fast.checks import Array
from lenet_fast.layers.base import MAX_VALUES, Layer, Operations, Shape, images, size, windows
from lenet_fast.windows import IntPair, Padding

_GEOMETRY = ("stride", "padding", "dilation", "groups", "pad_value", "algorithm")


class Conv2D(Layer):
    """A convolution; see :func:`lenet_fast.ops.conv2d`.

    Parameters
    ----------
    c_in, c_out : int
        Input and output maps.
    kernel : int or (vertical, horizontal)
        Rows and columns of the kernels.
    stride, padding, dilation, groups, pad_value, algorithm
        As for :func:`lenet_fast.ops.conv2d`.
    connections : bool ndarray (c_out, c_in // groups), optional
        Which output map reads which input map; each must read at least one. Absent links have
        weights of zero, and count neither as parameters nor as connections.
    bias : {"map", "unit"} or None
        One bias per map, one per unit (as in the network of 1989), or none.
    name : str, optional

    Attributes
    ----------
    table : bool ndarray or None
        `connections`.

    Examples
    --------
    C3 of LeNet-5, whose maps read 3, 4 or 6 of the maps of S2:

    >>> from lenet_fast import connections, layers
    >>> c3 = layers.Conv2D(6, 16, 5, connections=connections.LENET5_C3, name="C3")
    >>> c3.output_shape((6, 14, 14)), c3.kernel, c3.padding
    ((16, 10, 10), (5, 5), (0, 0, 0, 0))
    >>> int(c3.links.sum()), c3.links[0].astype(int)
    (60, array([1, 1, 1, 0, 0, 0]))
    """

    operations = Operations(ops.conv2d, ops.conv2d_backward, ops.conv2d_hessian)
    options = (
        *("c_in", "c_out", "kernel", "stride", "padding", "dilation", "groups"),
        *("connections", "pad_value", "bias", "algorithm"),
    )
    label = "conv"
    trainable = True

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: IntPair = 5,
        *,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        connections: tables.Table | None = None,
        pad_value: float = 0.0,
        bias: choices.Bias | None = "map",
        algorithm: choices.Algorithm = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.c_in = size("c_in", c_in)
        self.c_out = size("c_out", c_out)
        self.kernel = checks.pair("kernel", kernel)
        self.stride = checks.pair("stride", stride)
        self.padding = checks.four_sides("padding", padding)
        self.dilation = checks.pair("dilation", dilation)
        self.groups = checks.integer("groups", groups, 1)
        if self.c_in % self.groups or self.c_out % self.groups:
            raise ValueError(
                f"groups: expected a divisor of c_in = {c_in} and c_out = {c_out}, got {groups}"
            )
        self.pad_value = checks.real("pad_value", pad_value, np.dtype(np.float32))
        self.bias = None if bias is None else checks.choice("bias", bias, get_args(choices.Bias))
        self.algorithm = checks.choice("algorithm", algorithm, get_args(choices.Algorithm))
        self._width = self.c_in // self.groups
        self.table: tables.Table | None = None
        if connections is not None:
            self.table = tables.checked("connections", connections, (self.c_out, self._width))

    @property
    def links(self) -> tables.Table:
        """Which output map reads which input map: bool (c_out, c_in), groups included."""
        links = np.zeros((self.c_out, self.c_in), np.bool_)
        for o in range(self.c_out):
            first = o // (self.c_out // self.groups) * self._width
            links[o, first : first + self._width] = True if self.table is None else self.table[o]
        return links

    def output_shape(self, input_shape: Shape) -> Shape:
        c, h, w = images(input_shape, self.c_in)
        top, bottom, left, right = self.padding
        padded = (h + top + bottom, w + left + right)
        if c * math.prod(padded) > MAX_VALUES:
            raise ValueError(
                f"padding: expected at most {MAX_VALUES} pixels in all, got {c} maps of "
                f"{padded[0]} x {padded[1]}"
            )
        return self.c_out, *windows(padded, self.kernel, self.stride, self.dilation)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"w": (self.c_out, self._width, *self.kernel)}
        if self.bias == "map":
            shapes["b"] = (self.c_out,)
        elif self.bias == "unit":
            shapes["b"] = self.output_shape(input_shape)
        return shapes

    def connections(self, input_shape: Shape) -> int:
        _, h_out, w_out = self.output_shape(input_shape)
        biases = self.c_out if self.bias else 0
        return (int(self.fan_in().sum()) + biases) * h_out * w_out

    def parameter_count(self) -> int:
        if self.table is None or not self.parameters:
            return super().parameter_count()
        absent = int((~self.table).sum()) * math.prod(self.kernel)
        return super().parameter_count() - absent

    def fan_in(self) -> Array:
        links = np.full(self.c_out, self._width) if self.table is None else self.table.sum(axis=1)
        return links * math.prod(self.kernel)

    def fan_out(self) -> float:
        return float(self.fan_in().sum()) / self.c_in

    def config(self) -> dict[str, Any]:
        config = super().config()
        config["connections"] = None if self.table is None else self.table.astype(int).tolist()
        return config

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _GEOMETRY} | {"connections": self.table}

    def _argument(self, option: str) -> str:
        if option != "connections":
            return super()._argument(option)
        if self.table is None:
            return "None"
        return f"<{np.count_nonzero(self.table)} of {self.table.size} links>"

    def _back_arguments(self, to_input: bool) -> dict[str, Any]:
        return {"bias": self.bias or "map", "input_gradient": to_input}
