"""What the engines have in common: settings, threads, and checks of the arguments."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal, overload

import numpy as np

from lenet_fast import backends, checks, choices, memory
from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.engines.interface import Engine, Optimiser, Totals
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.threads import Pool, resolve


class PerExample(dict[str, Array]):
    """Gradients per example by parameter name: views of one stretch of memory.

    Attributes
    ----------
    memory : ndarray
        All gradients of one parameter, then all of the next one, with space for `room` images. So
        every parameter's begin at a cache line.
    room : int
    """

    def __init__(self, network: Network, count: int, memory: Array) -> None:
        parameters = {name: network.parameters[name] for name in network.trainable_names}
        self.memory, self.room, first = memory, _room(count), 0
        for name, array in parameters.items():
            part = memory[first : first + count * array.size]
            self[name] = part.reshape(count, *array.shape)
            first += self.room * array.size

    @classmethod
    def new(cls, network: Network, count: int, out: dict[str, Array] | None) -> PerExample:
        """Return new ones, or those of an earlier call, to be overwritten."""
        trained = sum(network.parameters[name].size for name in network.trainable_names)
        size = _room(count) * trained
        if out is None:
            return cls(network, count, memory.aligned(size, network.dtype))
        if not isinstance(out, PerExample):
            raise TypeError(
                f"out: expected the gradients of an earlier call, got {checks.kind(out)}"
            )
        if out.memory.dtype != network.dtype or out.memory.size != size:
            raise ValueError(
                f"out: expected the gradients of an earlier call for {count} images of this network"
            )
        return cls(network, count, out.memory)


def _room(count: int) -> int:
    """Return a number of images rounded up to a multiple of the numbers in a cache line."""
    return -(-count // 16) * 16


class BaseEngine(Engine):
    """Checks arguments, and leaves the work to its subclasses."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        *,
        backend: choices.Backend | None = None,
        threads: int | None = None,
        note: str = "",
    ) -> None:
        loss.check(network)
        self.network = network
        self.loss = loss
        self.note = note
        # Keep the name: a choice by use_backend ends with its block.
        self.backend = backends.current() if backend is None else backend
        self._kernels = backends.get(self.backend)
        self.threads = resolve(threads)
        self._pool = Pool(self.threads)
        self._forwarded: tuple[Array, tuple[int, int] | None] | None = None  # by the last forward
        self._set_up()

    def __repr__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return (
            f"{type(self).__name__}(<{len(self.network.layers)} layers>, {self.loss!r}, "
            f"backend={self.backend!r}, {threads})"
        )

    @abstractmethod
    def _set_up(self) -> None:
        """Make what calls need; raise Unsupported if the engine cannot run the network."""

    def predict_one(self, image: Array) -> Array:
        return self.predict(inputs.image(self.network, image)[np.newaxis])[0]

    def forward(self, x: Array, *, dropout: tuple[int, int] | None = None) -> Array:
        dropout = inputs.dropout(dropout)
        x = inputs.images(self.network, x).copy()  # the caller may change them before backward
        outputs = self._forward(x, dropout)
        self._forwarded = x, dropout
        return outputs

    @abstractmethod
    def _forward(self, x: Array, dropout: tuple[int, int] | None) -> Array:
        """Return the outputs for images that have been checked."""

    @overload
    def backward(
        self,
        d_outputs: Array,
        inputs: Literal[False] = False,
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> dict[str, Array]: ...
    @overload
    def backward(
        self,
        d_outputs: Array,
        inputs: Literal[True],
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[dict[str, Array], Array]: ...
    def backward(
        self,
        d_outputs: Array,
        inputs: bool = False,
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> dict[str, Array] | tuple[dict[str, Array], Array]:
        checks.flag("inputs", inputs)
        x, d_outputs, dropout = self._incoming(x, d_outputs, dropout)
        _, gradients, d_inputs = self._differentiate(x, None, d_outputs, inputs, dropout)
        return gradients if d_inputs is None else (gradients, d_inputs)

    def _incoming(
        self, x: Array | None, d_outputs: Array, dropout: tuple[int, int] | None
    ) -> tuple[Array, Array, tuple[int, int] | None]:
        """Return images, gradient at the outputs and dropout of a backward pass."""
        if x is not None:
            x, dropout = inputs.images(self.network, x), inputs.dropout(dropout)
        elif self._forwarded is None:
            raise RuntimeError("backward: expected x, or a call of forward before this one")
        elif dropout is not None:
            raise ValueError("dropout: expected None without x, since forward has chosen it")
        else:
            x, dropout = self._forwarded
        return x, inputs.d_outputs(self.network, d_outputs, len(x)), dropout

    @overload
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: Literal[False] = False,
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array]]: ...
    @overload
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: Literal[True],
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array], Array]: ...
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: bool = False,
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array]] | tuple[Totals, dict[str, Array], Array]:
        checks.flag("inputs", inputs)
        x, labels, dropout = self._examples(x, labels, dropout)
        totals, gradients, d_inputs = self._differentiate(x, labels, None, inputs, dropout)
        return (totals, gradients) if d_inputs is None else (totals, gradients, d_inputs)

    def _examples(
        self, x: Array, labels: Array, dropout: tuple[int, int] | None
    ) -> tuple[Array, Array, tuple[int, int] | None]:
        return *inputs.examples(self.network, x, labels), inputs.dropout(dropout)

    @abstractmethod
    def _differentiate(
        self,
        x: Array,
        labels: Array | None,
        d_outputs: Array | None,
        to_inputs: bool,
        dropout: tuple[int, int] | None,
    ) -> tuple[Totals, dict[str, Array], Array | None]:
        """Return totals, gradients by name, and the gradient at the images if it is wanted: those
        of the mean loss, or with `d_outputs` the sums that these give."""

    def gradients_per_example(
        self,
        x: Array,
        labels: Array,
        *,
        clip: float | None = None,
        dropout: tuple[int, int] | None = None,
        out: dict[str, Array] | None = None,
    ) -> tuple[Totals, dict[str, Array]]:
        x, labels, dropout = self._examples(x, labels, dropout)
        if clip is None:
            found = PerExample.new(self.network, len(x), out)
            return self._each_gradient(x, labels, dropout, found), found
        if out is not None:
            raise ValueError("out: expected None with clip, whose result is small")
        return self._clipped_sum(x, labels, checks.positive("clip", clip), dropout)

    @abstractmethod
    def _each_gradient(
        self, x: Array, labels: Array, dropout: tuple[int, int] | None, found: PerExample
    ) -> Totals:
        """Set the gradients of all images."""

    @abstractmethod
    def _clipped_sum(
        self, x: Array, labels: Array, clip: float, dropout: tuple[int, int] | None
    ) -> tuple[Totals, dict[str, Array]]:
        """Return totals, and the sum of the gradients, each scaled to a norm of at most `clip`."""

    def train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float | Array,
        *,
        seed: int = 0,
        weights: Array | None = None,
    ) -> list[Totals]:
        self._check_training(batch_size, optimiser)
        x = inputs.images(self.network, x)
        order = inputs.order(order, len(x))
        labels = inputs.chosen(self.network, labels, order, len(x))
        rates = inputs.rates(rate, math.ceil(len(order) / batch_size))
        inputs.check_writeable(self.network)
        seed = checks.seed(seed)
        if weights is not None:
            weights = inputs.weights(self.network, weights, order, len(x))
        return self._train(x, labels, order, batch_size, optimiser, rates, seed, weights)

    def _check_training(self, batch_size: int, optimiser: Optimiser) -> None:
        checks.integer("batch_size", batch_size, 1)

    @abstractmethod
    def _train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        size: int,
        optimiser: Optimiser,
        rates: Array,
        seed: int,
        weights: Array | None,
    ) -> list[Totals]:
        """Train with arguments that have been checked; the labels, and the weights if there are
        any, are those of `order`, and there is one rate per step."""

    def _totals(self, outputs: Array, labels: Array, weights: Array | None = None) -> Totals:
        """Return the sum of the losses, weighted if there are weights, and the errors."""
        values = self.loss.values(outputs, labels, self.backend)
        if weights is not None:
            values = values * weights
        errors = np.count_nonzero(self.network.winners(outputs) != labels)
        return Totals(float(values.sum(dtype=np.float64)), int(errors), len(labels))

    def _scored(
        self, outputs: Array, labels: Array, weights: Array | None = None
    ) -> tuple[Totals, Array]:
        """Return loss and errors, and the gradient at the outputs; both with the weights."""
        totals = self._totals(outputs, labels, weights)
        d_outputs = self.loss.gradient(outputs, labels, self.backend)
        if weights is not None:
            d_outputs = d_outputs * weights[:, np.newaxis]
        return totals, d_outputs

    def close(self) -> None:
        self._pool.close()

    def _zeros(self) -> dict[str, Array]:
        """Return zeros for the derivative of each trainable parameter."""
        parameters = self.network.parameters
        return {name: np.zeros_like(parameters[name]) for name in self.network.trainable_names}

    def _empty_d_inputs(self, count: int, wanted: bool) -> Array | None:
        """Return room for the gradients at the images; None if they are not wanted."""
        return np.empty((count, *self.network.input_shape), self.network.dtype) if wanted else None
