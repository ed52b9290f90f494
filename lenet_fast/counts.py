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

    Examples
    --------
    The convolution of H1 has 4 x 25 weights, at 24 x 24 places:

    >>> from lenet_fast import models
    >>> from lenet_fast import counts
    >>> counts.by_layer(models.lenet1())[0]
    Counts(forward=57600, to_input=0, to_weights=57600)
    """
    found = []
    passes = False  # whether a layer below is trainable
    for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
        count = _forward(layer, shape)
        found.append(Counts(count, count * passes, count * layer.trainable))
        passes = passes or layer.trainable
    return found


def of(network: Network, training: bool) -> int:
    """Return the multiply-adds of a network in training, or only of its forward pass.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast import counts
    >>> counts.of(models.lenet5(), training=False), counts.of(models.lenet5(), training=True)
    (326520, 861120)
    """
    counts = by_layer(network)
    return sum(map(sum, counts)) if training else sum(count.forward for count in counts)


def _forward(layer: Layer, input_shape: Shape) -> int:
    if isinstance(layer, Conv2D):
        _, h_out, w_out = layer.output_shape(input_shape)
        return int(layer.fan_in().sum()) * h_out * w_out
    return layer.n_out * layer.n_in if isinstance(layer, Dense | RBF) else 0


MANY_MAPS, MANY_WEIGHTS = 32, 1 << 17
"""Maps on both sides from which on a convolution is large, and weights of a large dense layer."""


def note_on_speed(network: Network) -> str | None:
    """Return where other libraries may be as fast, or faster; None for most networks.

    Networks with more than half of their multiply-adds in large layers are those of
    ``benchmarks/networks.py`` that gain least.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast import counts
    >>> counts.note_on_speed(models.lenet5()) is None
    True
    """
    pairs = list(zip(network.layers, by_layer(network), strict=True))
    large = sum(count.forward for layer, count in pairs if _is_large(layer))
    share = large / max(sum(count.forward for _, count in pairs), 1)
    if share <= 1 / 2:
        return None
    return (
        f"{share:.0%} of the multiply-adds are in convolutions of {MANY_MAPS} maps and more, or in "
        f"dense layers of {MANY_WEIGHTS:,} weights and more: onnxruntime may predict batches "
        "as fast or faster, and training gains less over PyTorch"
    )


def _is_large(layer: Layer) -> bool:
    if isinstance(layer, Conv2D):
        return min(layer.c_in // layer.groups, layer.c_out) >= MANY_MAPS
    return isinstance(layer, Dense) and layer.n_in * layer.n_out >= MANY_WEIGHTS
