"""The engine that runs every network, layer by layer: the reference for the others.

A batch is cut into blocks, depending only on its size. A block passes through the whole network and
back, so that its data stay in the cache. Every block has its own gradients, and these are added in
the order of the blocks, so results are bit-identical for every number of threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.engines.base import BaseEngine, PerExample
from lenet_fast.engines.interface import Optimiser, Totals
from lenet_fast.layers import RBF, Dropout, Gradients
from lenet_fast.losses import MAP
from lenet_fast.threads import alone_with_blas, with_one_blas_thread

SMALL, LARGE, MANY = 32, 64, 8
"""Blocks have up to 32 images if there are fewer than eight of them, else up to 64. For LeNet-5
larger blocks do not fit into the cache, and in smaller ones calls take as long as the work."""

Result = TypeVar("Result")


class _Draw(NamedTuple):
    """What dropout layers need to know about a block in training."""

    seed: int
    step: int
    first: int  # the place of the first image in its batch


def _draw(dropout: tuple[int, int] | None, first: int) -> _Draw | None:
    return None if dropout is None else _Draw(*dropout, first)


def blocks(n: int) -> list[slice]:
    """Return the blocks of a batch of n images, nearly equal in size.

    Examples
    --------
    >>> from lenet_fast.engines.layers import blocks
    >>> blocks(32)
    [slice(0, 16, None), slice(16, 32, None)]
    """
    count = max(-(-n // LARGE), min(-(-n // SMALL), MANY))
    if n >= SMALL:
        count = max(count, 2)  # for two threads
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


class LayersEngine(BaseEngine):
    """See :func:`lenet_fast.engines.create` and :class:`lenet_fast.engines.Engine`.

    Examples
    --------
    >>> from lenet_fast import engines, losses, models
    >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="layers", backend="numpy")
    >>> engine.name, engine.backend
    ('layers', 'numpy')
    """

    name = "layers"
    images_a_call = 512

    def _set_up(self) -> None:
        network = self.network
        trained = [i for i, layer in enumerate(network.layers) if layer.trainable]
        self._first = trained[0] if trained else len(network.layers)
        """Index of the first trainable layer; no gradient is needed below it."""
        curved = [i for i, layer in enumerate(network.layers) if layer.curved]
        self._lowest_curved = curved[0] if curved else len(network.layers)
        """Index of the first layer whose Hessian needs a gradient."""

    def predict(self, x: Array) -> Array:
        x = inputs.images(self.network, x)
        outputs = np.empty((len(x), *self.network.output_shape), self.network.dtype)

        def one(block: slice) -> None:
            outputs[block] = self._outputs(self._prepared(x[block]))

        with self._results(one, len(x)) as results:
            for _ in results:
                pass
        return outputs

    def activations(self, x: Array) -> dict[str, Array]:
        """Return the outputs (n, ...) of every layer, by name, for all images at once.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="layers")
        >>> outputs = engine.activations(np.zeros((2, 28, 28), np.uint8))
        >>> outputs["C1"].shape, outputs["S4"].shape
        ((2, 6, 28, 28), (2, 16, 5, 5))
        """
        passed = self._passed(self._prepared(inputs.images(self.network, x)))
        return {layer.name: y for layer, y in zip(self.network.layers, passed[1:], strict=True)}

    def evaluate(self, x: Array, labels: Array) -> Totals:
        x, labels = inputs.examples(self.network, x, labels)

        def one(block: slice) -> Totals:
            return self._totals(self._outputs(self._prepared(x[block])), labels[block])

        with self._results(one, len(x)) as results:
            return sum(results, Totals())

    def _forward(self, x: Array, dropout: tuple[int, int] | None) -> Array:
        outputs = np.empty((len(x), *self.network.output_shape), self.network.dtype)

        def one(block: slice) -> None:
            draw = _draw(dropout, block.start)
            outputs[block] = self._passed(self._prepared(x[block]), draw)[-1]

        with self._results(one, len(x)) as results:
            for _ in results:
                pass
        return outputs

    def _differentiate(
        self,
        x: Array,
        labels: Array | None,
        d_outputs: Array | None,
        to_inputs: bool,
        dropout: tuple[int, int] | None,
        weights: Array | None = None,
    ) -> tuple[Totals, dict[str, Array], Array | None]:
        d_inputs = self._empty_d_inputs(len(x), to_inputs)

        def one(block: slice) -> tuple[Totals, dict[str, Array]]:
            draw = _draw(dropout, block.start)
            passed = self._passed(self._prepared(x[block]), draw)
            totals = Totals()
            if labels is not None:
                some = None if weights is None else weights[block]
                totals, dy = self._scored(passed[-1], labels[block], some)
            else:
                assert d_outputs is not None
                dy = d_outputs[block]
            dx, gradients = self._back(passed, dy, -1 if to_inputs else self._first, draw)
            if d_inputs is not None:
                d_inputs[block] = dx
            return totals, gradients

        totals, sums = self._summed(one, len(x))
        if labels is not None:
            _mean(sums, len(x))
            _mean({} if d_inputs is None else {"x": d_inputs}, len(x))
        return totals, sums, d_inputs

    def _each_gradient(
        self, x: Array, labels: Array, dropout: tuple[int, int] | None, found: PerExample
    ) -> Totals:
        def one(block: slice) -> tuple[Totals, dict[str, Array]]:
            totals = Totals()
            for i in range(block.start, block.stop):
                part, gradients = self._of_one(x[i : i + 1], labels[i : i + 1], _draw(dropout, i))
                totals += part
                for name, array in gradients.items():
                    found[name][i] = array
            return totals, {}

        return self._summed(one, len(x))[0]

    def _clipped_sum(
        self, x: Array, labels: Array, clip: float, dropout: tuple[int, int] | None
    ) -> tuple[Totals, dict[str, Array]]:
        def one(block: slice) -> tuple[Totals, dict[str, Array]]:
            totals, sums = Totals(), self._zeros()
            for i in range(block.start, block.stop):
                part, gradients = self._of_one(x[i : i + 1], labels[i : i + 1], _draw(dropout, i))
                totals += part
                norm = math.sqrt(sum(_squared_norm(array) for array in gradients.values()))
                share = self.network.dtype.type(clip / norm if norm > clip else 1)
                _add(sums, {name: share * array for name, array in gradients.items()})
            return totals, sums

        return self._summed(one, len(x))

    def _of_one(
        self, x: Array, label: Array, draw: _Draw | None
    ) -> tuple[Totals, dict[str, Array]]:
        """Return loss and gradients of a single image, as a batch of one."""
        passed = self._passed(self._prepared(x), draw)
        totals, dy = self._scored(passed[-1], label)
        return totals, self._back(passed, dy, self._first, draw)[1]

    def _summed(
        self, function: Callable[[slice], tuple[Totals, dict[str, Array]]], n: int
    ) -> tuple[Totals, dict[str, Array]]:
        """Return the sums of what a function gives for each block, in their order."""
        totals, sums = Totals(), self._zeros()
        with self._results(function, n) as results:
            for part, gradients in results:
                totals += part
                _add(sums, gradients)
        return totals, sums

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        x, labels = inputs.examples(self.network, x, labels)

        def one(block: slice) -> dict[str, Array]:
            return self._hessian(self._prepared(x[block]), labels[block])

        sums = self._zeros()
        with self._results(one, len(x)) as results:
            for part in results:
                _add(sums, part)
        return _mean(sums, len(x))

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
        found: list[Totals] = []
        done = optimiser.steps
        for step, rate in enumerate(rates.tolist()):
            batch = slice(step * size, (step + 1) * size)
            some = None if weights is None else weights[batch]
            totals, gradients, _ = self._differentiate(
                x[order[batch]], labels[batch], None, False, (seed, done + step), some
            )
            found.append(totals)
            if not math.isfinite(totals.loss):
                break
            optimiser.step(self.network.parameters, gradients, rate)
        return found

    def _prepared(self, x: Array) -> Array:
        return inputs.prepared(self.network, x)

    @contextlib.contextmanager
    def _results(self, function: Callable[[slice], Result], n: int) -> Iterator[Iterator[Result]]:
        """Yield a function's results block by block, in order; at the end no call is running."""
        alone: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.backend == "numpy":
            # NumPy's own threads would compete with ours, and their number would change bits.
            alone, function = alone_with_blas(), with_one_blas_thread(function)
        with alone, contextlib.closing(self._pool.run(function, blocks(n))) as results:
            yield results

    def _outputs(self, x: Array) -> Array:
        for layer in self.network.layers:
            x = layer.forward(x, self.backend)
        return x

    def _passed(self, x: Array, draw: _Draw | None = None) -> list[Array]:
        """Return the input of each layer, and the output of the last; with a draw, as training
        does."""
        passed = [x]
        for i, layer in enumerate(self.network.layers):
            if draw is not None and isinstance(layer, Dropout):
                passed.append(self._dropped(layer, i, passed[-1], draw))
            else:
                passed.append(layer.forward(passed[-1], self.backend))
        return passed

    def _dropped(self, layer: Dropout, i: int, x: Array, draw: _Draw) -> Array:
        return layer.drop(x, draw.seed, draw.step, i, draw.first, self.backend)

    def _back(
        self, passed: list[Array], dy: Any, lowest: int, draw: _Draw | None
    ) -> tuple[Any, dict[str, Array]]:
        """Return the gradient at the images if `lowest` is -1, else None, and those of the
        parameters, from the layer `lowest` on."""
        y = passed.pop()
        sums: dict[str, Array] = {}
        for i in reversed(range(max(lowest, 0), len(self.network.layers))):
            layer, x = self.network.layers[i], passed.pop()
            if draw is not None and isinstance(layer, Dropout):
                dy = self._dropped(layer, i, dy, draw)
            else:
                dy, gradients = layer.backward(dy, x, y, self.backend, i > lowest)
                sums |= {f"{layer.name}.{name}": array for name, array in gradients.items()}
            y = x
        return dy, sums

    def _hessian(self, x: Array, labels: Array) -> dict[str, Array]:
        passed = self._passed(x)
        y = passed.pop()
        dy: Any = self.loss.gradient(y, labels, self.backend)
        hy: Any = self.loss.hessian(y, labels, self.backend)
        sums: dict[str, Array] = {}
        for i in reversed(range(self._first, len(self.network.layers))):
            layer, x = self.network.layers[i], passed.pop()
            hy, diagonal = self._hessian_of(i, hy, dy, x, y)
            # The gradient is passed down to the lowest layer whose own curvature needs it.
            below = i > max(self._first, self._lowest_curved)
            dy = layer.backward(dy, x, y, self.backend)[0] if below else None
            sums |= {f"{layer.name}.{name}": array for name, array in diagonal.items()}
            y = x
        return sums

    def _hessian_of(
        self, i: int, hy: Array, dy: Array | None, x: Array, y: Array
    ) -> tuple[Array | None, Gradients]:
        """Pass the diagonal of the Hessian back through a layer."""
        layer, loss = self.network.layers[i], self.loss
        is_last = i == len(self.network.layers) - 1
        if is_last and isinstance(loss, MAP) and loss.curvature == "exact":
            assert isinstance(layer, RBF)  # the loss fits no other layer
            return layer.map_hessian(x, y, loss.j, self.backend), {}
        return layer.hessian(hy, dy, x, y, self.backend, i > self._first)


def _add(sums: dict[str, Array], parts: dict[str, Array]) -> None:
    for name, part in parts.items():
        sums[name] += part


def _squared_norm(array: Array) -> float:
    numbers = array.astype(np.float64).reshape(-1)
    return float((numbers * numbers).sum())


def _mean(sums: dict[str, Array], n: int) -> dict[str, Array]:
    for array in sums.values():
        array *= array.dtype.type(1 / max(n, 1))
    return sums
