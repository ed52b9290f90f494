"""The engine for mini-batches: one image per vector lane, the whole network tile by tile.

A batch is cut into blocks of whole tiles, depending only on its size. Every block has its own
gradient, and these are added in the order of the blocks, so results are bit-identical for every
number of threads. A list of batches, with the optimiser's step after each, runs in one call without
the GIL.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
from collections import deque
from typing import Any

import numpy as np

from lenet_fast import memory
from lenet_fast.checks import Array
from lenet_fast.engines import compiled, inputs, tile
from lenet_fast.engines.base import BaseEngine, PerExample
from lenet_fast.engines.compile import Program, Unsupported, records
from lenet_fast.engines.interface import Optimiser, Totals
from lenet_fast.engines.program import ItemKind, Update
from lenet_fast.threads import MAX_THREADS

_NO_UPDATES = records(Update, [Update()])

_KEPT_BYTES = 1 << 27
"""Most memory that a recorded pass keeps; LeNet-5 takes less for 1,000 images, and two
convolutions of 64 maps on 28 x 28 pixels for 64."""


class Recorded:
    """A forward pass whose values are kept for the way back: see :meth:`LanesEngine.record`.

    Attributes
    ----------
    outputs : ndarray (n, k)
        The network's outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import engines, losses, models
    >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="lanes")
    >>> recorded = engine.record(np.zeros((4, 28, 28), np.uint8))
    >>> recorded.outputs.shape
    (4, 10)
    """

    def __init__(
        self,
        engine: LanesEngine,
        x: Array,
        to_inputs: bool,
        dropout: tuple[int, int] | None,
        memory: Array,
    ) -> None:
        self._engine, self._x, self._to_inputs, self._dropout = engine, x, to_inputs, dropout
        self._memory = memory
        with engine._pool.lock:
            self.outputs = engine._outputs(x, dropout, self._memory, to_inputs)
            self._packing = engine._packing

    def backward(self, d_outputs: Array) -> tuple[dict[str, Array], Array | None]:
        """Return what :meth:`.Engine.backward` returns, with None for the gradient at the images
        where it was not asked for. It may be called more than once.

        Parameters
        ----------
        d_outputs : ndarray (n, k)

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="lanes")
        >>> recorded = engine.record(np.zeros((4, 1, 32, 32), np.float32), inputs=True)
        >>> gradients, d_inputs = recorded.backward(np.ones((4, 10), np.float32))
        >>> gradients["C1.w"].shape, d_inputs.shape
        ((6, 1, 5, 5), (4, 1, 32, 32))
        """
        d_outputs = inputs.d_outputs(self._engine.network, d_outputs, len(self._x))
        d_inputs = self._engine._empty_d_inputs(len(self._x), self._to_inputs)
        _, gradients = self._engine._derivatives(
            *(ItemKind.GRADIENT, self._x, None, False),
            d_outputs=d_outputs,
            d_inputs=d_inputs,
            updates=_drawing(self._dropout),
            kept=self._memory,
            packing=self._packing,
        )
        return gradients, d_inputs

    def __del__(self) -> None:
        self._engine._spare.append(self._memory)


class LanesEngine(BaseEngine):
    """See :func:`lenet_fast.engines.create` and :class:`lenet_fast.engines.Engine`.

    Examples
    --------
    >>> from lenet_fast import engines, losses, models
    >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="lanes", threads=2)
    >>> engine.name, engine.threads, engine.note
    ('lanes', 2, '')
    """

    name = "lanes"
    images_a_call = 512
    _BATCHES = 256

    def _set_up(self) -> None:
        network = self.network
        kernels = self._kernels.lane_kernels()
        if kernels is None:
            raise Unsupported(
                f"engine: expected 'layers' with the {self.backend} backend, which has no kernels "
                f"for {self.name!r}"
            )
        lanes, self._check_program, self._run_lanes, self._end_threads = kernels
        self._lanes = lanes[network.dtype.name]
        program = self._program = tile.lay_out(network, self._lanes)
        self._together = int(program.input["tiles"][0])
        self._inputs = [program.input]  # of all programs: they hold the pixel range
        self._pixel_range = network.pixel_range
        self._loss_record = compiled.loss_record(self.loss, smallest_wins=network.output == "rbf")
        self._checked = self._check(program)
        self._to_inputs: tuple[Program, Any] | None = None
        self._multiply_adds = tile.multiply_adds(program)
        self._memories: list[Array] = []
        self._copies = np.empty(0, network.dtype)  # of the parameters, where they lie apart
        self._packing: object = None  # which copies these are; None: they are old
        layers = {layer.name: layer for layer in network.layers}
        names = (part.name.rpartition(".") for part in program.parameters)
        self._places = [(layers[layer], name) for layer, _, name in names]
        self._own = compiled.Shared(program.parameters, program.values)
        # The program that trains on weighted images, its parameters if they are not those that
        # _values returns, and the optimiser's arrays. Subclasses may train others differently.
        self._weighted = program, None, compiled.Shared(program.learned, program.trained)
        self._training: tuple[Program, Array | None, compiled.Shared] = self._weighted
        self._gradients = np.empty(0, network.dtype)  # the gradients of the blocks
        # Memory of recorded passes that are over. Its methods are atomic: threads share it.
        self._spare: deque[Array] = deque(maxlen=2)

    def _check(self, program: Program) -> Any:
        """Return a program and the loss as the loops take them."""
        return self._check_program(
            *(program.steps, program.tables, program.input, self._loss_record),
            *(program.trained, _NO_UPDATES),
        )

    def _program_to_inputs(self) -> tuple[Program, Any]:
        """Return the program whose gradients go back to the images; made at its first use."""
        if self._to_inputs is None:
            program = tile.lay_out(self.network, self._lanes, inputs=True)
            self._to_inputs = program, self._check(program)
            self._inputs.append(program.input)
        return self._to_inputs

    def close(self) -> None:
        super().close()
        with self._pool.lock:
            self._end_threads()

    def predict(self, x: Array) -> Array:
        return self._outputs(inputs.images(self.network, x))

    def record(
        self, x: Array, *, inputs: bool = False, dropout: tuple[int, int] | None = None
    ) -> Recorded | None:
        """Run images forward, and keep all values: the way back then takes two thirds of the time
        of :meth:`backward`. The gradients are the same bits, if the parameters are the same.

        Parameters
        ----------
        x : ndarray
            Images as for :meth:`predict`.
        inputs : bool
            Whether the gradient at the images will be wanted.
        dropout : (seed, step), optional
            See :meth:`loss_and_gradients`.

        Returns
        -------
        Recorded or None
            None if there are no images, or too many: their values would take more than 128 MiB.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP(), engine="lanes")
        >>> recorded = engine.record(np.zeros((4, 1, 32, 32), np.float32))
        >>> gradients, _ = recorded.backward(np.ones((4, 10), np.float32))  # of the outputs' sum
        >>> gradients["C3.w"].shape
        (16, 6, 5, 5)
        """
        x, dropout = self._given(x, dropout)
        count = self._kept_numbers(len(x), self._program_to_inputs()[0])
        if not 0 < count * self.network.dtype.itemsize <= _KEPT_BYTES:
            return None
        return Recorded(self, x, inputs, dropout, self._take(count))

    def _given(
        self, x: Array, dropout: tuple[int, int] | None
    ) -> tuple[Array, tuple[int, int] | None]:
        return inputs.images(self.network, x), inputs.dropout(dropout)

    def _kept_numbers(self, count: int, program: Program) -> int:
        """Return how many numbers the tiles of so many images take."""
        return -(-count // self._lanes) * int(program.input["size"][0]) * self._lanes

    def _take(self, count: int) -> Array:
        """Return memory for a recorded pass; that of an earlier one, if it is large enough: to get
        it anew from the system takes as long as a forward pass."""
        with contextlib.suppress(IndexError):
            while len(found := self._spare.pop()) < count:
                pass
            return found
        return memory.aligned(count, self.network.dtype)

    def _outputs(
        self,
        x: Array,
        dropout: tuple[int, int] | None = None,
        kept: Array | None = None,
        to_inputs: bool = False,
        parameters: Array | None = None,
    ) -> Array:
        outputs = np.empty((len(x), *self.network.output_shape), self.network.dtype)
        if len(x):
            threads = tile.threads_worth(len(x) * self._multiply_adds)
            # Tiles that share the reading of large weights are parted only for another thread.
            items = tile.ITEMS if self._together == 1 else min(threads, self.threads)
            work = tile.predict_items(len(x), self._lanes, items)
            self._process(
                *(work, x),
                outputs=outputs,
                kept=kept,
                parameters=parameters,
                to_inputs=to_inputs,
                updates=_drawing(dropout),
                threads=threads,
            )
        return outputs

    def evaluate(self, x: Array, labels: Array) -> Totals:
        x, labels = inputs.examples(self.network, x, labels)
        if not len(x):
            return Totals()
        return self._run(tile.forward_items(len(x), self._lanes), x, labels)[0]

    def _forward(self, x: Array, dropout: tuple[int, int] | None) -> Array:
        return self.predict(x) if dropout is None else self._outputs(x, dropout)

    def _differentiate(
        self,
        x: Array,
        labels: Array | None,
        d_outputs: Array | None,
        to_inputs: bool,
        dropout: tuple[int, int] | None,
    ) -> tuple[Totals, dict[str, Array], Array | None]:
        d_inputs = self._empty_d_inputs(len(x), to_inputs)
        totals, gradients = self._derivatives(
            *(ItemKind.GRADIENT, x, labels, labels is not None),
            d_outputs=d_outputs,
            d_inputs=d_inputs,
            updates=_drawing(dropout),
        )
        if labels is not None and d_inputs is not None:
            d_inputs *= d_inputs.dtype.type(1 / max(len(x), 1))
        return totals, gradients, d_inputs

    def _each_gradient(
        self, x: Array, labels: Array, dropout: tuple[int, int] | None, found: PerExample
    ) -> Totals:
        if not len(x):
            return Totals()
        drawing = _drawing(dropout)
        if not found:
            work = tile.forward_items(len(x), self._lanes)
            return self._run(work, x, labels, updates=drawing)[0]
        work = tile.example_items(len(x), self._lanes)
        return self._run(work, x, labels, examples=found.memory, updates=drawing)[0]

    def _clipped_sum(
        self, x: Array, labels: Array, clip: float, dropout: tuple[int, int] | None
    ) -> tuple[Totals, dict[str, Array]]:
        drawing = _drawing(dropout)
        return self._derivatives(ItemKind.CLIPPED, x, labels, False, clip=clip, updates=drawing)

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        x, labels = inputs.examples(self.network, x, labels)
        return self._derivatives(ItemKind.CURVATURE, x, labels)[1]

    def _check_training(self, batch_size: int, optimiser: Optimiser) -> None:
        super()._check_training(batch_size, optimiser)
        compiled.check_rule(optimiser)

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
        totals: list[Totals] = []
        for step in range(0, len(rates), self._BATCHES):
            some = rates[step : step + self._BATCHES]
            part = slice(step * size, (step + len(some)) * size)
            totals += self._train_part(
                *(x, labels[part], order[part], size, optimiser, some, seed),
                None if weights is None else weights[part],
            )
            if not math.isfinite(totals[-1].loss):
                break
        return totals

    def _train_part(
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
        """Run the steps of one call of the loops."""
        program, packed, places = self._training if weights is None else self._weighted
        with self._pool.lock:
            arrays = self.network.parameters
            slots = optimiser.slots({part.name: arrays[part.name] for part in program.learned})
            updates = compiled.update_records(optimiser, slots, rates, seed)
            shared = places.find([slot[part.name] for slot in slots for part in program.learned])
            state = (
                compiled.packed(program, slots, self.network.dtype) if shared is None else shared
            )
            some = [optimiser.factors] if optimiser.factors else []
            factors = compiled.packed(program, some, self.network.dtype, padding=1)
            if weights is None:
                totals = self._learn(x, labels, order, size, updates, state, factors)
            else:
                totals = self._learn_weighted(
                    x, labels, order, size, weights, updates, state, factors
                )
            if packed is None and self._own.find(self._arrays()) is None:
                packed = self._copies
            for part in program.learned:
                if packed is not None:
                    part.unpack(packed, arrays[part.name])
                for k, slot in enumerate(slots if shared is None else ()):
                    part.unpack(state[k * program.trained :], slot[part.name])
            optimiser.steps += len(totals) - (not math.isfinite(totals[-1].loss))
        return totals

    def _learn(
        self, x: Array, labels: Array, order: Array, size: int, *optimiser: Array
    ) -> list[Totals]:
        """Run the steps with their update records, the optimiser's state and its factors."""
        if x.dtype != np.uint8:  # only bytes are gathered as tiles are filled
            x = x[order]
        updates, state, factors = optimiser
        work = self._batch_items(len(order), size, ItemKind.GRADIENT)
        return self._run(work, x, labels, order, updates=updates, state=state, factors=factors)

    def _learn_weighted(
        self, x: Array, labels: Array, order: Array, size: int, weights: Array, *optimiser: Array
    ) -> list[Totals]:
        """Do the same with weighted images: the loops know none, so the gradient at the outputs
        gets them, between the way forward and the way back."""
        updates, state, factors = optimiser
        found: list[Totals] = []
        parameters = self._values(None)  # which the steps change
        for step in range(len(updates)):
            batch = slice(step * size, (step + 1) * size)
            images = x[order[batch]]
            count = self._kept_numbers(len(images), self._program)
            few = count * self.network.dtype.itemsize <= _KEPT_BYTES
            kept = self._take(count) if few else None
            drawing = int(updates["seed"][step]), int(updates["done"][step])
            outputs = self._outputs(images, drawing, kept, parameters=parameters)
            totals, d_outputs = self._scored(outputs, labels[batch], weights[batch])
            found.append(totals)
            if not math.isfinite(totals.loss):
                break
            self._run(
                self._batch_items(len(images), len(images), ItemKind.GRADIENT),
                images,
                d_outputs=d_outputs,
                kept=kept,
                parameters=parameters,
                updates=updates[step : step + 1],
                state=state,
                factors=factors,
            )
            if kept is not None:
                self._spare.append(kept)
        return found

    def profile(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        """Return one thread's seconds by layer: forward, input gradients, weight gradients.

        In Cython's loops, a ReLU behind a convolution counts with it on the way forward, and any
        activation counts with the pooling behind it, in both directions.

        Parameters
        ----------
        x, labels : ndarray
            As for :meth:`evaluate`.
        train : bool
            Whether to include the backward pass.

        Returns
        -------
        float64 ndarray (layers, 3)

        Examples
        --------
        >>> from lenet_fast import data, engines, losses, models
        >>> network = models.lenet5()
        >>> engine = engines.create(network, losses.MAP(), engine="lanes")
        >>> test = data.load("sample").test.subset(100)
        >>> seconds = engine.profile(test.images, test.labels)
        >>> seconds.shape == (len(network.layers), 3), bool(seconds.sum() > 0)
        (True, True)
        >>> float(seconds[0, 1])  # the first layer has no input gradient
        0.0
        """
        x, labels = inputs.examples(self.network, x, labels)
        seconds = np.zeros((len(self.network.layers), 3))
        if len(x):
            work = tile.forward_items(len(x), self._lanes)
            if train:
                work = self._batch_items(len(x), len(x), ItemKind.GRADIENT)
            drawing = _drawing((0, 0) if train else None)
            self._run(work, x, labels, updates=drawing, seconds=seconds)
        return seconds

    def _derivatives(
        self, kind: ItemKind, x: Array, labels: Array | None, mean: bool = True, **options: Any
    ) -> tuple[Totals, dict[str, Array]]:
        """Run one batch; return its totals, and the mean or the sum of the derivatives."""
        if not len(x):
            return Totals(), self._zeros()
        parameters = self.network.parameters
        names = self.network.trainable_names
        derivatives = {name: np.empty_like(parameters[name]) for name in names}
        with self._pool.lock:
            work = self._batch_items(len(x), len(x), kind, mean)
            totals = self._run(work, x, labels, **options)[0]
            for part in self._program.learned:
                part.unpack(self._gradients, derivatives[part.name])
        return totals, derivatives

    def _batch_items(self, n: int, batch_size: int, kind: ItemKind, mean: bool = True) -> tile.Work:
        program = self._program
        return tile.batch_items(
            n, batch_size, self._lanes, program.trained, kind, mean, self._together
        )

    def _run(
        self,
        work: tile.Work,
        x: Array,
        labels: Array | None = None,
        order: Array | None = None,
        **options: Any,
    ) -> list[Totals]:
        """Run a list of items; return the totals per batch, up to the first non-finite loss."""
        totals = self._process(work, x, labels, order, **options)
        return [Totals()] if labels is None else batch_totals(work, totals)

    def _process(
        self,
        work: tile.Work,
        x: Array,
        labels: Array | None = None,
        order: Array | None = None,
        *,
        outputs: Array | None = None,
        d_outputs: Array | None = None,
        d_inputs: Array | None = None,
        kept: Array | None = None,
        packing: object = None,
        parameters: Array | None = None,
        to_inputs: bool = False,
        examples: Array | None = None,
        clip: float = 0.0,
        updates: Array | None = None,
        state: Array | None = None,
        factors: Array | None = None,
        seconds: Array | None = None,
        threads: int = MAX_THREADS,
    ) -> Array:
        """Run a list of items, on at most `threads` threads; return loss and errors of each. The
        `parameters` are by default those of an earlier `packing`, or of the network."""
        dtype, squared = self.network.dtype, None
        with self._pool.lock:
            program, checked = self._program, self._checked
            if to_inputs or d_inputs is not None:
                program, checked = self._program_to_inputs()
            self._follow_pixel_range()
            if parameters is None:
                parameters = self._values(packing)
            summed = work.kind not in (ItemKind.FORWARD, ItemKind.EXAMPLES)
            if summed:
                self._reserve(work.blocks)
            if work.kind == ItemKind.CURVATURE:
                with np.errstate(over="ignore"):  # overflow shows up in the result
                    squared = parameters * parameters
            totals = np.empty((len(work.items), 2))
            totals.fill(np.nan)  # faster than np.full
            arguments = (
                checked,
                work.items,
                parameters,
                squared,
                *compiled.image_arguments(x),
                order,
                labels,
                updates,
                state,
                factors,
                self._gradients,
                outputs,
                d_outputs,
                None if d_inputs is None else d_inputs.reshape(len(x), -1),
                kept,
                examples,
                clip,
                totals,
                seconds,
            )
            threads = 1 if seconds is not None else min(threads, self.threads, work.blocks)
            size = program.size * self._lanes
            self._memories = [each for each in self._memories if len(each) >= size]
            while len(self._memories) < threads:
                self._memories.append(memory.aligned(size, dtype))
            self._run_lanes(arguments, self._memories[:threads], self._pool.run_all)
        return totals

    def _reserve(self, blocks: int) -> None:
        """Get memory for the gradients of so many blocks."""
        if len(self._gradients) < blocks * self._program.trained:
            self._gradients = np.empty(blocks * self._program.trained, self.network.dtype)

    def _arrays(self) -> list[Array]:
        """Return the network's parameters, in the program's order."""
        return [layer.parameters[name] for layer, name in self._places]

    def _values(self, packing: object) -> Array:
        """Return the parameters as the loops read them: where they are, or else copies; those of
        an earlier packing, if no other one came after it."""
        shared = self._own.find(self._arrays())
        if shared is not None:
            self._packing = None
            return shared
        if not len(self._copies):
            self._copies = memory.aligned(self._program.values, self.network.dtype)
        if packing is None or packing is not self._packing:
            compiled.pack(self._program, self.network, self._copies)
            self._packing = object()
        return self._copies

    def _follow_pixel_range(self) -> None:
        """Pass the network's current pixel range to the loops."""
        pixel_range = self.network.pixel_range
        if pixel_range is not self._pixel_range:
            for image in self._inputs:
                image["background"], image["foreground"] = pixel_range
            self._pixel_range = pixel_range


def _drawing(dropout: tuple[int, int] | None) -> Array | None:
    """Return what tells dropout layers how to draw, without a rule for the gradients."""
    if dropout is None:
        return None
    seed, step = dropout
    return records(Update, [Update(done=step, seed=seed)])


def batch_totals(work: tile.Work, totals: Array) -> list[Totals]:
    """Return the totals per batch, up to the first non-finite loss."""
    found = []
    for batch, images in zip(work.batches, work.images, strict=True):
        # NumPy would warn of an overflow, which the loss shows anyway; and sum() rounds differently
        # from Python 3.12 on.
        loss, errors = (
            functools.reduce(operator.add, column) for column in totals[batch].T.tolist()
        )
        found.append(Totals(loss, int(errors), images))
        if not math.isfinite(loss):
            break
    return found
