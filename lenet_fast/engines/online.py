"""The engine for one image at a time: the papers' stochastic gradient, and single predictions.

A whole pass over images in a given order runs in one call without the GIL: forward pass, loss,
backward pass and update of one image, then the next. Vectors run along the maps or the columns of
one image. At the start of a call the weights are copied into the order in which the loops read
them, and at its end back.

Operations on many images (evaluation, Hessian diagonals) run on the lane engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lenet_fast import checks, memory
from lenet_fast.checks import Array
from lenet_fast.engines import compiled, inputs, single
from lenet_fast.engines.compile import Program, Unsupported, records, whole
from lenet_fast.engines.interface import Optimiser, Totals
from lenet_fast.engines.lanes import LanesEngine
from lenet_fast.engines.program import Binding, Kind, Rule, Step, Update
from lenet_fast.layers import Layer
from lenet_fast.network import Network

_BYTES = np.dtype(np.uint8)


@dataclass(frozen=True)
class _Bindings:
    """Where the loops find the parameters in predictions: in the network's own arrays, or in a
    copy if the loops need another order."""

    names: list[tuple[int, str, int]]  # steps, names and sizes
    table: Array  # of Binding
    index: Array
    size: int  # of the copies, in numbers


@dataclass(frozen=True)
class _Bound:
    """The current arrays, and the function that predicts with them: None if they cannot be read
    in place."""

    arrays: list[tuple[Layer, str, Array]]
    predict: Callable[[Array, Array], None] | None


class OnlineEngine(LanesEngine):
    """See :func:`lenet_fast.engines.create` and :class:`lenet_fast.engines.Engine`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import data, engines, losses, models, training
    >>> network = models.lenet5()
    >>> engine = engines.create(network, losses.MAP(), engine="online")
    >>> train = data.load("sample").train.subset(20)
    >>> steps = engine.train(train.images, train.labels, np.arange(20), 1, training.SGD(), 0.0001)
    >>> len(steps), steps[0].images  # a step of the optimiser for each image
    (20, 1)
    """

    name = "online"
    images_a_call = 4096
    _BATCHES = 4096

    def _set_up(self) -> None:
        super()._set_up()
        network = self.network
        self._run_online, self._new_predictor = self._kernels.online_kernels()
        self._single = single.lay_out(network, self._lanes)
        self._inputs.append(self._single.input)  # the predictor reads it at every call
        self._packed = memory.aligned(self._single.values, network.dtype)
        self._sums = memory.aligned(self._single.trained, network.dtype)
        self._sums[...] = 0  # some rules update the padding, too; with zeros it does not change
        self._memory = memory.aligned(self._single.size, network.dtype)
        places = compiled.Shared(self._single.learned, self._single.trained)
        self._training = self._single, self._packed, places
        self._bindings = _bindings(network, self._single, self._lanes)
        self._bound = self._bind()
        self._seen: tuple[int, ...] = ()  # the shape of bytes that passed the full check

    def predict(self, x: Array) -> Array:
        x = inputs.images(self.network, x)
        return self.predict_one(x[0])[np.newaxis] if len(x) == 1 else super().predict(x)

    def predict_one(self, image: Array) -> Array:
        network = self.network
        # Most images are valid; the full check takes as long as two layers.
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
        bound = self._bound  # read once: another thread may replace it
        for layer, name, array in bound.arrays:
            if layer.parameters[name] is not array:
                bound = self._bound = self._bind()
                break
        if bound.predict is None:
            return super().predict(image[np.newaxis])[0]
        self._follow_pixel_range()
        outputs = np.empty(network.output_shape, network.dtype)
        bound.predict(image, outputs)
        return outputs

    def _bind(self) -> _Bound:
        """Return the current arrays, and the function that predicts with them."""
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
            self._single.steps,
            self._single.input,
            self._single.size + self._bindings.size,
            self._bindings.table,
            self._bindings.index,
            arrays,
            dtype.itemsize,
        )
        return _Bound(bound, predict)

    def _check_training(self, batch_size: int, optimiser: Optimiser) -> None:
        check_batch_size(batch_size)
        super()._check_training(batch_size, optimiser)

    def _learn(
        self, x: Array, labels: Array, order: Array, size: int, *optimiser: Array
    ) -> list[Totals]:
        totals = self._run_single(x, labels, order, *optimiser)
        finite = np.isfinite(totals[:, 0])
        done = len(order) if finite.all() else int(finite.argmin())
        losses, errors = totals[: done + 1].T
        return list(map(Totals, losses.tolist(), errors.astype(int).tolist(), itertools.repeat(1)))

    def profile(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        """Return one thread's seconds by layer: forward, input gradients, weight gradients.

        The update counts as part of the weight gradients. Dense layers compute both gradients and
        the update in one pass, which counts as input gradients.

        Parameters and results are those of :meth:`LanesEngine.profile`; without `train` that method
        runs.
        """
        if not train:
            return super().profile(x, labels, train=False)
        x, labels = inputs.examples(self.network, x, labels)
        seconds = np.zeros((len(self.network.layers), 3))
        state = memory.aligned(self._single.trained, self.network.dtype)
        state[...] = 0
        with self._pool.lock:
            at_rest = Update(Rule.SGD, momentum=0.9, seed=0)  # with a rate of 0 it changes nothing
            updates = np.repeat(records(Update, [at_rest]), len(x))
            self._run_single(x, labels, np.arange(len(x)), updates, state, state[:0], seconds)
        full = self._single.steps["kind"] == Kind.FULL
        seconds[full, 1] += seconds[full, 2]
        seconds[full, 2] = 0  # only the overhead of the clock
        return seconds

    def _run_single(
        self,
        x: Array,
        labels: Array,
        order: Array,
        updates: Array,
        state: Array,
        factors: Array,
        seconds: Array | None = None,
    ) -> Array:
        """Train; return loss and errors per image, NaN after the first non-finite loss."""
        program = self._single
        self._follow_pixel_range()
        totals = np.full((len(order), 2), np.nan)
        self._packed[...] = 0  # NaN weights of an earlier call may have reached the padding
        compiled.pack(program, self.network, self._packed)
        self._run_online(
            program.steps,
            program.tables,
            program.input,
            self._packed,
            *compiled.image_arguments(x),
            order,
            labels,
            self._loss_record,
            updates,
            state,
            factors,
            self._sums,
            totals,
            seconds,
            self._memory,
        )
        return totals


def check_batch_size(batch_size: int) -> None:
    """Raise Unsupported unless the batch size is 1, the only one of the online engine."""
    if checks.integer("batch_size", batch_size, 1) != 1:
        raise Unsupported(
            f"batch_size: expected 1 for the online engine, got {batch_size}; use engine='lanes'"
        )


def _bindings(network: Network, program: Program, lanes: int) -> _Bindings:
    numbers = {layer.name: k for k, layer in enumerate(network.layers)}
    names, rows, index, first, size = [], [], [np.zeros(0, np.intc)], 0, 0
    for part in program.parameters:
        layer, _, name = part.name.rpartition(".")
        step = Step(*program.steps[numbers[layer]].tolist())
        values = network.parameters[part.name].size
        by_rows = step.kind in (Kind.FULL, Kind.DISTANCES)
        pitch, at, count = step.pitch, -1, 0
        if by_rows and (name == "b" or values // step.c_out >= lanes):
            pitch = values // step.c_out
        else:
            at, count = program.size + size, part.index.size
            size += whole(count, single.ALIGNED) + single.ALIGNED
            index.append(part.index.astype(np.intc))
        names.append((numbers[layer], name, values))
        rows.append(Binding(numbers[layer], int(name == "b"), pitch, at, first, count))
        first += count
    return _Bindings(names, records(Binding, rows), np.concatenate(index), size)
