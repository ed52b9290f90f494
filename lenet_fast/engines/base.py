"""What the engines have in common: settings, threads, and checks of the arguments."""

from __future__ import annotations

import math

import numpy as np

from lenet_fast import backends, checks
from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.engines.interface import Engine, Optimiser, Totals
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.threads import Pool, resolve


class BaseEngine(Engine):
    """Checks arguments, and leaves the work to its subclasses."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        *,
        backend: str | None = None,
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
        self._set_up()

    def _set_up(self) -> None:
        """Make what calls need; raise Unsupported if the engine cannot run the network."""
        raise NotImplementedError

    def predict_one(self, image: Array) -> Array:
        return self.predict(inputs.image(self.network, image)[np.newaxis])[0]

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
    ) -> list[Totals]:
        self._check_training(batch_size, optimiser)
        x = inputs.images(self.network, x)
        order = inputs.order(order, len(x))
        labels = inputs.chosen(self.network, labels, order, len(x))
        rates = inputs.rates(rate, math.ceil(len(order) / batch_size))
        inputs.check_writeable(self.network)
        seed = checks.seed(seed)
        return self._train(x, labels, order, batch_size, optimiser, rates, seed)

    def _check_training(self, batch_size: int, optimiser: Optimiser) -> None:
        checks.integer("batch_size", batch_size, 1)

    def _train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        size: int,
        optimiser: Optimiser,
        rates: Array,
        seed: int,
    ) -> list[Totals]:
        """Train with arguments that have been checked; the labels are those of `order`, and there
        is one rate per step."""
        raise NotImplementedError

    def close(self) -> None:
        self._pool.close()

    def _zeros(self) -> dict[str, Array]:
        """Return zeros for the derivative of each trainable parameter."""
        parameters = self.network.parameters
        return {name: np.zeros_like(parameters[name]) for name in self.network.trainable_names}
