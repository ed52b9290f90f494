"""The engine for mini-batches: one image a vector lane, the whole network a tile at a time.

A batch is cut into blocks of whole tiles by a rule of its size alone. Each block has a gradient of
its own, and they are added in the order of the blocks, so the number of threads changes no bit of
a result. Whole lists of batches, with the optimiser's step after each, run in one call without
the GIL.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import backends, checks, losses
from lenet_fast.checks import Array
from lenet_fast.engines import inputs, plan, program
from lenet_fast.engines.interface import Optimiser, Rule, Totals
from lenet_fast.engines.program import Item, ItemKind, LossKind, Update
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.threads import Pool, resolve

BLOCKS = 8
"""Most blocks that a batch is cut into: as many threads can work on it. Each has a gradient, and
all of them should stay in the cache together."""

TILES = 4
"""Tiles that go forward at a time, where nothing comes back."""

PIECE = 8192
"""Parameters that are updated at a time."""

_RULES = {"": program.Rule.NO_RULE, "sgd": program.Rule.SGD, "adamw": program.Rule.ADAMW}
_NO_UPDATE = plan.records(Update, [Update()])


class _Work(NamedTuple):
    """A list of items, and where in it the images of each batch are."""

    items: Array
    batches: tuple[slice, ...]
    blocks: int  # most of a batch


class LanesEngine:
    """See :func:`lenet_fast.engines.create` and :class:`lenet_fast.engines.Engine`."""

    name = "lanes"
    images_a_call = 512
    _BATCHES = 256  # of a call: its list of items stays small, and Ctrl-C is heard

    def __init__(
        self,
        network: Network,
        loss: Loss,
        *,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        loss.check(network)
        self.network = network
        self.loss = loss
        self.note = ""
        # By name from here on: the choice of a use_backend block ends with the block.
        self.backend = backends.current() if backend is None else backend
        kernels = backends.get(self.backend).lane_kernels()
        if kernels is None:
            raise plan.Unsupported(
                f"engine: expected 'layers' with the {self.backend} backend, which has no kernels "
                f"for {self.name!r}"
            )
        self.threads = resolve(threads)
        lanes, self._run_kernels = kernels
        self._lanes = lanes[network.dtype.name]
        self._plan = plan.make(network, self._lanes)
        self._inputs = [self._plan.input]
        self._scale = network.pixel_range  # which the inputs hold
        self._loss_record = loss_record(loss, smallest_wins=network.output == "rbf")
        self._pool = Pool(self.threads)
        self._memories: list[Array] = []
        self._parameters = np.empty(self._plan.values, network.dtype)
        self._gradients = np.empty(0, network.dtype)

    def predict(self, x: Array) -> Array:
        """Return the network's outputs (n, k)."""
        x = inputs.images(self.network, x)
        outputs = np.empty((len(x), *self.network.output_shape), self.network.dtype)
        if len(x):
            self._run(_forward(len(x), self._lanes), x, outputs=outputs)
        return outputs

    def predict_one(self, image: Array) -> Array:
        """Return the outputs (k,) for one image."""
        return self.predict(inputs.image(self.network, image)[np.newaxis])[0]

    def evaluate(self, x: Array, labels: Array) -> Totals:
        """Return loss and errors."""
        x, labels = inputs.examples(self.network, x, labels)
        if not len(x):
            return Totals()
        work = _forward(len(x), self._lanes)
        return self._run(work, x, labels)[0]

    def loss_and_gradients(self, x: Array, labels: Array) -> tuple[Totals, dict[str, Array]]:
        """Return loss and errors, and by parameter name the gradient of the mean loss."""
        return self._derivative(ItemKind.GRADIENT, x, labels)

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        """Return, by parameter name, the diagonal of the Hessian in the mean over the images."""
        return self._derivative(ItemKind.CURVATURE, x, labels)[1]

    def train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float,
    ) -> list[Totals]:
        """Make one step of the optimiser for each mini-batch of `order`, in turn."""
        x = inputs.images(self.network, x)
        order = inputs.order(order, len(x))
        labels = inputs.chosen(self.network, labels, order, len(x))
        checks.integer("batch_size", batch_size, 1)
        rate = checks.real("rate", rate)
        inputs.check_writeable(self.network)
        if optimiser.rule.name not in _RULES:
            raise plan.Unsupported(
                f"optimiser: only engine='layers' knows the rule {optimiser.rule.name!r}"
            )
        found: list[Totals] = []
        step = self._BATCHES * batch_size
        for first in range(0, len(order), step):
            part = slice(first, first + step)
            found += self._train(x, labels[part], order[part], batch_size, optimiser, rate)
            if not math.isfinite(found[-1].loss):
                break
        return found

    def _train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float,
    ) -> list[Totals]:
        """Make the steps of one call."""
        if x.dtype != np.uint8:  # only bytes are gathered as tiles are filled
            x, order = x[order], np.arange(len(order))
        work = _train(len(order), batch_size, self._lanes, self._plan.trained)
        with self._pool.alone:
            trained = [p for p in self._plan.parameters if p.last <= self._plan.trained]
            arrays = self.network.parameters
            slots = optimiser.slots({place.name: arrays[place.name] for place in trained})
            state = np.empty(len(slots) * self._plan.trained, self.network.dtype)
            for k, slot in enumerate(slots):
                _gather(trained, slot, state[k * self._plan.trained :])
            factors = np.empty(0, self.network.dtype)
            if optimiser.factors:
                factors = np.ones(self._plan.trained, self.network.dtype)
                known = [place for place in trained if place.name in optimiser.factors]
                _gather(known, optimiser.factors, factors)
            totals = self._run(
                work,
                x,
                labels,
                order,
                update=update_record(optimiser.rule, rate, optimiser.steps),
                state=state,
                factors=factors,
            )
            _scatter(trained, self._parameters, arrays)
            for k, slot in enumerate(slots):
                _scatter(trained, state[k * self._plan.trained :], slot)
            optimiser.steps += sum(math.isfinite(each.loss) for each in totals)
        return totals

    def close(self) -> None:
        """End the engine's threads; the next call would start new ones."""
        self._pool.close()

    def profile(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        """Return the seconds of one thread by layer: forward, to the input, to the weights.

        Parameters
        ----------
        x, labels : ndarray
            As for :meth:`evaluate`.
        train : bool
            Whether to go back as well.

        Returns
        -------
        float64 ndarray (layers, 3)
        """
        x, labels = inputs.examples(self.network, x, labels)
        seconds = np.zeros((len(self.network.layers), 3))
        if len(x):
            work = (
                _derivative(len(x), self._lanes, self._plan.trained, ItemKind.GRADIENT)
                if train
                else _forward(len(x), self._lanes)
            )
            self._run(work, x, labels, seconds=seconds)
        return seconds

    def _derivative(self, kind: int, x: Array, labels: Array) -> tuple[Totals, dict[str, Array]]:
        x, labels = inputs.examples(self.network, x, labels)
        arrays = self.network.parameters
        made = {name: np.zeros_like(arrays[name]) for name in self.network.trainable_names}
        if not len(x):
            return Totals(), made
        with self._pool.alone:
            work = _derivative(len(x), self._lanes, self._plan.trained, kind)
            totals = self._run(work, x, labels)[0]
            _scatter([p for p in self._plan.parameters if p.name in made], self._gradients, made)
        return totals, made

    def _run(
        self,
        work: _Work,
        x: Array,
        labels: Array | None = None,
        order: Array | None = None,
        *,
        outputs: Array | None = None,
        update: Array = _NO_UPDATE,
        state: Array | None = None,
        factors: Array | None = None,
        seconds: Array | None = None,
    ) -> list[Totals]:
        """Work off a list of items; return what each batch came to, those after a loss that is
        not finite left out."""
        dtype = self.network.dtype
        none = np.empty(0, dtype)
        raw = x.dtype == np.uint8
        self._follow_scale()
        with self._pool.alone:
            _gather(self._plan.parameters, self.network.parameters, self._parameters)
            if len(self._gradients) < work.blocks * self._plan.trained:
                self._gradients = np.empty(work.blocks * self._plan.trained, dtype)
            squared = none
            if work.items["kind"][0] == ItemKind.CURVATURE:
                with np.errstate(over="ignore"):  # what overflows is told by the result
                    squared = self._parameters * self._parameters
            totals = np.full((len(work.items), 2), np.nan)
            arguments = (
                self._plan.steps,
                self._plan.tables,
                self._plan.input,
                work.items,
                self._parameters,
                squared,
                self._plan.trained,
                x if raw else np.empty((0, 1, 1), np.uint8),
                np.empty((0, 1, 1, 1), dtype) if raw else x,
                np.arange(len(x)) if order is None else order,
                np.empty(0, np.intp) if labels is None else labels,
                self._loss_record,
                update,
                none if state is None else state,
                none if factors is None else factors,
                self._gradients,
                np.empty((0, 1), dtype) if outputs is None else outputs,
                totals,
                np.empty((0, 3)) if seconds is None else seconds,
            )
            threads = 1 if seconds is not None else min(self.threads, self._most(work))
            while len(self._memories) < threads:
                self._memories.append(plan.aligned(self._plan.size * self._lanes, dtype))
            self._run_kernels(arguments, self._memories[:threads], self._pool.together)
        return list(_batch_totals(work, totals))

    def _follow_scale(self) -> None:
        """Give the loops the network's pixel range of the moment."""
        scale = self.network.pixel_range
        if scale is not self._scale:
            for image in self._inputs:
                image["background"], image["foreground"] = scale
            self._scale = scale

    @staticmethod
    def _most(work: _Work) -> int:
        return max(batch.stop - batch.start for batch in work.batches)


def _batch_totals(work: _Work, totals: Array) -> list[Totals]:
    found = []
    for batch in work.batches:
        items = work.items[batch]
        # NumPy would warn of an overflow, which is what the loss is to tell; and sum() has other
        # bits from Python 3.12 on.
        loss, errors = (
            functools.reduce(operator.add, column) for column in totals[batch].T.tolist()
        )
        images = int((items["last"] - items["first"]).sum())
        found.append(Totals(float(loss), int(errors), images))
        if not math.isfinite(loss):
            break
    return found


def _gather(places: Sequence[plan.Place], arrays: Any, flat: Array) -> None:
    for place in places:
        flat[place.first : place.last] = arrays[place.name].reshape(-1)


def _scatter(places: Sequence[plan.Place], flat: Array, arrays: Any) -> None:
    for place in places:
        array = arrays[place.name]
        array[...] = flat[place.first : place.last].reshape(array.shape)


def update_record(rule: Rule, rate: float, done: int) -> Array:
    """Return a step's rule as a record: its rate, and how many steps there were before."""
    update = Update(
        _RULES[rule.name], rate, rule.momentum, int(rule.nesterov), rule.weight_decay, rule.beta1,
        rule.beta2, rule.epsilon, done,
    )  # fmt: skip
    return plan.records(Update, [update])


def loss_record(loss: Loss, *, smallest_wins: bool) -> Array:
    """Return a loss as a record."""
    if type(loss) is losses.CrossEntropy:
        record = program.Loss(
            LossKind.CROSS_ENTROPY, floor=-math.inf, smoothing=float(loss.smoothing)
        )
    elif type(loss) is losses.MeanSquaredError:
        record = program.Loss(LossKind.SQUARED_ERROR, scale=loss.scale, on=loss.on, off=loss.off)
    elif type(loss) is losses.MAP:
        record = program.Loss(LossKind.MAP, floor=-loss.j, exact=int(loss.curvature == "exact"))
    elif type(loss) is losses.Penalty:
        record = program.Loss(LossKind.PENALTY)
    else:
        raise plan.Unsupported(f"loss: only engine='layers' knows {type(loss).__name__}")
    return plan.records(program.Loss, [record._replace(smallest_wins=int(smallest_wins))])


def _blocks(first: int, last: int, lanes: int) -> list[tuple[int, int]]:
    """Return the blocks of a batch: whole tiles, but for the last one."""
    tiles = -(-(last - first) // lanes)
    count = min(tiles, BLOCKS)
    edges = [min(first + tiles * k // count * lanes, last) for k in range(count + 1)]
    return list(itertools.pairwise(edges))


@functools.lru_cache(maxsize=16)
def _forward(n: int, lanes: int) -> _Work:
    step = TILES * lanes
    items = [Item(ItemKind.FORWARD, k, min(k + step, n), 0) for k in range(0, n, step)]
    return _Work(_frozen(items), (slice(0, len(items)),), 0)


@functools.lru_cache(maxsize=16)
def _derivative(n: int, lanes: int, trained: int, kind: int) -> _Work:
    return _list(n, n, lanes, trained, kind)


@functools.lru_cache(maxsize=16)
def _train(n: int, batch_size: int, lanes: int, trained: int) -> _Work:
    return _list(n, batch_size, lanes, trained, ItemKind.GRADIENT)


def _list(n: int, batch_size: int, lanes: int, trained: int, kind: int) -> _Work:
    items: list[Item] = []
    batches = []
    for step, start in enumerate(range(0, n, batch_size)):
        stop = min(start + batch_size, n)
        opened = len(items)
        blocks = _blocks(start, stop, lanes)
        items += [Item(kind, *block, opened, k) for k, block in enumerate(blocks)]
        batches.append(slice(opened, len(items)))
        opened, images = len(items), stop - start
        items += [
            Item(ItemKind.UPDATE, k, min(k + PIECE, trained), opened, len(blocks), images, step)
            for k in range(0, trained, PIECE)
        ]
    most = max(batch.stop - batch.start for batch in batches)
    return _Work(_frozen(items), tuple(batches), most)


def _frozen(items: list[Item]) -> Array:
    array = plan.records(Item, items)
    array.setflags(write=False)
    return array
