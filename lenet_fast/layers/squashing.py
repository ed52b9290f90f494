"""Squashing functions, element by element. They squash the units of the layer before them, and
so have no units of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lenet_fast import ops
from lenet_fast.checks import Array
from lenet_fast.layers.base import Gradients, Layer, Operations, Shape


class Squashing(Layer):
    """What all of them share."""

    label = "squash"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def units(self, input_shape: Shape) -> int:
        return 0

    def forward(self, x: Array, backend: str | None = None) -> Array:
        y: Array = self.operations.forward(x, backend=backend)
        return y

    def _back(
        self,
        operation: Callable[..., Any],
        dy: Array,
        x: Array,
        y: Array,
        backend: str | None,
        to_input: bool,
    ) -> tuple[Array | None, Gradients]:
        return operation(dy, y, backend=backend) if to_input else None, {}


class ScaledTanh(Squashing):
    """``1.7159 tanh(2 x / 3)``, the squashing of 1998; see :func:`lenet_fast.ops.scaled_tanh`."""

    operations = Operations(ops.scaled_tanh, ops.scaled_tanh_backward, ops.scaled_tanh_hessian)


class Tanh(Squashing):
    """``tanh(x)``; see :func:`lenet_fast.ops.tanh`."""

    operations = Operations(ops.tanh, ops.tanh_backward, ops.tanh_hessian)


class Sigmoid(Squashing):
    """``1 / (1 + exp(-x))``; see :func:`lenet_fast.ops.sigmoid`."""

    operations = Operations(ops.sigmoid, ops.sigmoid_backward, ops.sigmoid_hessian)


class ReLU(Squashing):
    """``max(x, 0)``; see :func:`lenet_fast.ops.relu`."""

    operations = Operations(ops.relu, ops.relu_backward, ops.relu_hessian)
