"""Multiply-adds of a network, counted from its layers, for shares of a core's peak."""

from __future__ import annotations

from typing import NamedTuple

from lenet_fast.layers import RBF, Conv2D, Dense, Layer, Shape
from lenet_fast.network import Network


class Counts(NamedTuple):
    """Multiply-adds per image: of the forward pass, and of the gradients to inputs and weights."""

    forward: int
    to_input: int
    to_weights: int


def by_layer(network: Network) -> list[Counts]:
    """Return the multiply-adds of each layer.

    Notes
    -----
    Convolutions (links x taps x positions, including padding), dense layers and distances count;
    pooling, sub-sampling, activations, biases and the loss do not. No gradient goes back below the
    first trainable layer, and fixed weights have none.
    """
    found = []
    passes = False  # whether a layer below is trainable
    for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
        count = _forward(layer, shape)
        found.append(Counts(count, count * passes, count * layer.trainable))
        passes = passes or layer.trainable
    return found


def of(network: Network, training: bool) -> int:
    """Return the multiply-adds of a network in training, or only of its forward pass."""
    counts = by_layer(network)
    return sum(map(sum, counts)) if training else sum(count.forward for count in counts)


def _forward(layer: Layer, input_shape: Shape) -> int:
    if isinstance(layer, Conv2D):
        _, h_out, w_out = layer.output_shape(input_shape)
        return int(layer.fan_in().sum()) * h_out * w_out
    return layer.n_out * layer.n_in if isinstance(layer, Dense | RBF) else 0
