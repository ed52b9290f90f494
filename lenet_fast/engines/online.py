"""The engine for one image at a time: the papers' stochastic gradient, and single predictions.

Whole passes over images in a given order run in one call without the GIL: forward, loss, back,
update, next. Vectors run along the maps or the columns of one image; the weights are put into the
order in which the loops read them when a call begins, and put back when it ends.

What takes many images at a time (evaluation, Hessian diagonals) runs on the lane engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lenet_fast import backends, checks
from lenet_fast.checks import Array
from lenet_fast.engines import inputs, online_plan, plan
from lenet_fast.engines.interface import Optimiser, Rule, Totals
from lenet_fast.engines.lanes import LanesEngine, update_record
from lenet_fast.engines.program import Binding, Kind, Step
from lenet_fast.layers import Layer
from lenet_fast.losses import Loss
from lenet_fast.network import Network

_BYTES = np.dtype(np.uint8)


@dataclass(frozen=True)
class _Bindings:
    """Where the loops find the parameters when they predict: in the network's own arrays, but for
    those in another order than theirs."""

    names: list[tuple[int, str, int]]  # steps, names and sizes
    table: Array  # of Binding
    index: Array
    room: int  # numbers of memory for those in another order


@dataclass(frozen=True)
class _Bound:
    """The arrays of one moment, and what predicts with them: None if they cannot be read in
    place."""

    arrays: list[tuple[Layer, str, Array]]
    predict: Callable[[Array, Array], None] | None


class OnlineEngine(LanesEngine):
    """See :func:`lenet_fast.engines.create` and :class:`lenet_fast.engines.Engine`."""

    name = "online"
    images_a_call = 4096
    _BATCHES = 4096  # of one image

    def __init__(
        self,
        network: Network,
        loss: Loss,
        *,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(network, loss, backend=backend, threads=threads)
        self._run_online, self._new_predictor = backends.get(self.backend).online_kernels()
        self._online = online_plan.make(network, self._lanes)
        self._inputs.append(self._online.input)  # the predictor reads it at every call
        self._packed = plan.aligned(self._online.values, network.dtype)
        self._sums = plan.aligned(self._online.trained, network.dtype)
        self._sums[...] = 0  # some rules change the padding, too: by nothing, then
        self._memory = plan.aligned(self._online.size, network.dtype)
        self._bindings = _bindings(network, self._online, self._lanes)
        self._bound = self._bind()
        self._seen: tuple[int, ...] = ()  # the shape of bytes that passed the full check

    def predict(self, x: Array) -> Array:
        """Return the network's outputs (n, k)."""
        x = inputs.images(self.network, x)
        return self.predict_one(x[0])[np.newaxis] if len(x) == 1 else super().predict(x)

    def predict_one(self, image: Array) -> Array:
        """Return the outputs (k,) for one image."""
        network = self.network
        # Most images are as they should be; the full check takes as long as two layers.
        plain = type(image) is np.ndarray
        if plain:
            image = image.view()  # another thread may set the shape of the array itself
        if not plain or not (
            (image.dtype == network.dtype and image.shape == network.input_shape)
            or (image.dtype == _BYTES and image.shape == self._seen)
        ):
            image = inputs.image(network, image)
            if image.dtype == _BYTES:
                self._seen = image.shape
        flags = image.flags
        if not (flags.c_contiguous and flags.aligned):
            image = image.copy()
        bound = self._bound  # once: another thread may put the next one there
        for layer, name, array in bound.arrays:
            if layer.parameters[name] is not array:
                bound = self._bound = self._bind()
                break
        if bound.predict is None:
            return super().predict(image[np.newaxis])[0]
        self._follow_scale()
        outputs = np.empty(network.output_shape, network.dtype)
        bound.predict(image, outputs)
        return outputs

    def _bind(self) -> _Bound:
        """Return the arrays of the moment, and what predicts with them."""
        layers, dtype = self.network.layers, self.network.dtype
        bound = [
            (layers[step], name, layers[step].parameters[name])
            for step, name, _ in self._bindings.names
        ]
        arrays = [array for _, _, array in bound]
        sizes = [size for _, _, size in self._bindings.names]
        if not all(
            array.flags.c_contiguous
            and array.flags.aligned
            and array.dtype == dtype
            and array.size == size
            for array, size in zip(arrays, sizes, strict=True)
        ):
            return _Bound(bound, None)
        predict = self._new_predictor(
            self._online.steps,
            self._online.input,
            self._online.size + self._bindings.room,
            self._bindings.table,
            self._bindings.index,
            arrays,
            dtype.itemsize,
        )
        return _Bound(bound, predict)

    def train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float,
    ) -> list[Totals]:
        """Make one step of the optimiser for each image of `order`, in turn."""
        check_batch_size(batch_size)
        return super().train(x, labels, order, batch_size, optimiser, rate)

    def _train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float,
    ) -> list[Totals]:
        trained = self._online.trained
        learned = [place for place in self._online.parameters if place.first < trained]
        with self._pool.alone:
            arrays = self.network.parameters
            slots = optimiser.slots({place.name: arrays[place.name] for place in learned})
            state = self._arranged(learned, slots)
            factors = self._arranged(learned, [optimiser.factors] if optimiser.factors else [], 1)
            update = update_record(optimiser.rule, rate, optimiser.steps)
            totals = self._learn(x, labels, order, update, state, factors)
            for place in learned:
                place.unpack(self._packed, arrays[place.name])
                for k, slot in enumerate(slots):
                    place.unpack(state[k * trained :], slot[place.name])
            finite = np.isfinite(totals[:, 0])
            done = len(order) if finite.all() else int(finite.argmin())
            optimiser.steps += done
        return [Totals(loss, int(errors), 1) for loss, errors in totals[: done + 1].tolist()]

    def _arranged(
        self,
        learned: Sequence[online_plan.Place],
        kinds: Sequence[Mapping[str, Array]],
        padding: float = 0,
    ) -> Array:
        """Return arrays by name, one kind behind the other, in the order of the loops."""
        size = self._online.trained
        made = plan.aligned(len(kinds) * size, self.network.dtype)
        made[...] = padding
        for k, arrays in enumerate(kinds):
            for place in learned:
                if place.name in arrays:
                    place.pack(arrays[place.name], made[k * size : (k + 1) * size])
        return made

    def profile(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        """Return the seconds of one thread by layer: forward, to the input, to the weights.

        The update counts as part of "to the weights", and with dense layers all three, but for
        forward, as part of "to the input": they are done at once.

        Parameters and results are those of :meth:`LanesEngine.profile`; without `train` it is the
        lane engine's.
        """
        if not train:
            return super().profile(x, labels, train=False)
        x, labels = inputs.examples(self.network, x, labels)
        seconds = np.zeros((len(self.network.layers), 3))
        state = np.zeros(self._online.trained, self.network.dtype)
        with self._pool.alone:
            update = update_record(Rule("sgd", momentum=0.9), 0.0, 0)  # changes nothing
            self._learn(x, labels, np.arange(len(x)), update, state, state[:0], seconds)
        full = self._online.steps["kind"] == Kind.FULL
        seconds[full, 1] += seconds[full, 2]
        seconds[full, 2] = 0  # but for the clock's own time
        return seconds

    def _learn(
        self,
        x: Array,
        labels: Array,
        order: Array,
        update: Array,
        state: Array,
        factors: Array,
        seconds: Array | None = None,
    ) -> Array:
        """Learn, in the packed parameters; return loss and errors of each image, NaN behind one
        whose loss is not finite."""
        dtype = self.network.dtype
        raw = x.dtype == np.uint8
        self._follow_scale()
        totals = np.full((len(order), 2), np.nan)
        arrays = self.network.parameters
        self._packed[...] = 0  # the padding, too: weights that were no numbers have spoilt it
        for place in self._online.parameters:
            place.pack(arrays[place.name], self._packed)
        self._run_online(
            self._online.steps,
            self._online.masks,
            self._online.input,
            self._packed,
            x if raw else np.empty((0, 1, 1), np.uint8),
            np.empty((0, 1, 1, 1), dtype) if raw else x,
            order,
            labels,
            self._loss_record,
            update,
            state,
            factors,
            self._sums,
            totals,
            np.empty((0, 3)) if seconds is None else seconds,
            self._memory,
        )
        return totals


def check_batch_size(batch_size: int) -> None:
    """Raise Unsupported unless the online engine can train with steps of so many images: one."""
    if checks.integer("batch_size", batch_size, 1) != 1:
        raise plan.Unsupported(
            f"batch_size: expected 1 for the online engine, got {batch_size}; use engine='lanes'"
        )


def _bindings(network: Network, made: online_plan.Plan, lanes: int) -> _Bindings:
    numbers = {layer.name: k for k, layer in enumerate(network.layers)}
    names, rows, index, first, room = [], [], [np.zeros(0, np.intc)], 0, 0
    for place in made.parameters:
        layer, _, name = place.name.rpartition(".")
        step = Step(*made.steps[numbers[layer]].tolist())
        size = network.parameters[place.name].size
        by_rows = step.kind in (Kind.FULL, Kind.DISTANCES)
        pitch, at, count = step.pitch, -1, 0
        if by_rows and (name == "b" or size // step.c_out >= lanes):
            pitch = size // step.c_out
        else:
            at, count = made.size + room, place.index.size
            room += online_plan.whole(count, online_plan.ALIGNED) + online_plan.ALIGNED
            index.append(place.index.astype(np.intc))
        names.append((numbers[layer], name, size))
        rows.append(Binding(numbers[layer], int(name == "b"), pitch, at, first, count))
        first += count
    return _Bindings(names, plan.records(Binding, rows), np.concatenate(index), room)
