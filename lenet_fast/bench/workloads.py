"""Whole networks: training, evaluation, and prediction of one image at a time.

There are two networks: LeNet-5 of 1998 (connection table, trainable sub-sampling, RBF outputs,
MAP), and the plain one (all connections, average pooling, softmax, cross-entropy). All contenders
start from the same weights. Training counts only if the losses of the first steps match the
reference's; prediction, if the outputs do. The engines train on bytes, as the trainer does. One
image at a time, contenders that need a Python call per step run part of the steps, and their time
is scaled.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import backends, counts, data, engines, losses, models
from lenet_fast.bench.rounds import Contender, WrongAnswerError, compare
from lenet_fast.checks import Array
from lenet_fast.engines import Engine, Unsupported
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training import SGD

NETWORKS: dict[str, dict[str, Any]] = {
    "1998": {},
    "plain": {"pooling": "average", "connections": "full", "output": "softmax"},
}
"""Arguments of :func:`lenet_fast.models.lenet5`."""

RATES = {"1998": 0.0005, "plain": 0.02}
"""Rates for batches of 32 and more; for smaller batches they shrink in proportion."""
MOMENTUM = 0.9
TOLERANCE = 1e-4
"""Tolerance of the losses: rounding errors grow from step to step."""
PART = 32
"""Steps of one image for contenders that need a call per step; and number of compared losses."""


class Start(NamedTuple):
    """The common initial state."""

    network: Network
    loss: Loss
    rate: float


@dataclass(frozen=True)
class Work:
    """A repeated piece of work: `images` images, `batch` at a time, on one of NETWORKS."""

    name: str
    batch: int
    images: int
    trains: bool
    network: str = "1998"

    @property
    def part(self) -> int:
        """Number of images for contenders that need a call per step."""
        return min(self.images, PART) if self.batch == 1 else self.images

    @property
    def parts(self) -> list[tuple[Array, Array]]:
        """Prepared images, and labels, of each batch."""
        _, x, labels = examples(self.images)
        n = self.batch
        return [(x[i : i + n], labels[i : i + n]) for i in range(0, self.images, n)]

    @property
    def flops(self) -> int:
        """Operations for all images (a multiply-add is two); see :mod:`lenet_fast.counts`"""
        return 2 * counts.of(fresh(self.network).network, self.trains) * self.images


WORKS = (
    Work("training, batch 256", 256, 768, True),
    Work("training, batch 32", 32, 768, True),
    Work("training, batch 1", 1, 1024, True),
    Work("evaluation, batch 1000", 1000, 1000, False),
    Work("one image", 1, 1, False),
    Work("plain: training, batch 256", 256, 768, True, "plain"),
    Work("plain: training, batch 32", 32, 768, True, "plain"),
    Work("plain: training, batch 1", 1, 1024, True, "plain"),
    Work("plain: evaluation, batch 1000", 1000, 1000, False, "plain"),
    Work("plain: one image", 1, 1, False, "plain"),
)
BY_NAME = {work.name: work for work in WORKS}
LATENCIES = tuple(work for work in WORKS if not work.trains and work.batch == 1)
"""Work whose single calls are timed, too."""


@functools.cache
def examples(n: int) -> tuple[Array, Array, Array]:
    """Return images as bytes, the same images prepared, and their labels."""
    train = data.load("sample").train.subset(n)
    return train.images, data.prepare(train.images), train.labels.astype(np.int64)


def fresh(name: str = "1998", batch: int = 32) -> Start:
    """Return one of NETWORKS in the common initial state, its loss, and its learning rate."""
    network = models.lenet5(**NETWORKS[name])
    return Start(network, losses.default_for(network), RATES[name] * min(1, batch / 32))


Train = Callable[[Array, Array, int], list[float]]
"""Function from images as bytes, labels and the batch size to the mean loss of each batch."""
Step = Callable[[Array, Array], float]
Predict = Callable[[Array], Any]


def contender(
    name: str,
    work: Work,
    step: Step | Predict,
    convert: Callable[[Any], Array] = np.asarray,
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    **info: Any,
) -> Contender:
    """Return a contender from a function on batches.

    `step` trains on images and labels and returns the mean loss, or maps images to outputs, which
    `convert` makes an array. When training one image at a time, it gets ``work.part`` images.
    """
    parts = work.parts[: math.ceil(work.part / work.batch)]
    if work.trains:
        train: Any = step

        def run() -> Any:
            return [train(x, labels) for x, labels in parts]

    else:
        predict: Any = step

        def run() -> Any:
            return [predict(x) for x, _ in parts]

    scale = work.images / work.part
    return Contender(name, run, checker(name, work, convert), around, scale, info)


def checker(
    name: str, work: Work, convert: Callable[[Any], Array] = np.asarray
) -> Callable[[Any], None]:
    """Return the check of a contender's result: a loss, or outputs, per batch.

    The losses of the first batches are compared; the others must exist and be finite.
    """

    def check(value: Any) -> None:
        if work.trains:
            found, right = np.asarray([float(one) for one in value]), expected(work)
            first = found[: len(right)]
            if not (
                len(found) in {math.ceil(n / work.batch) for n in (work.part, work.images)}
                and np.allclose(first, right, rtol=TOLERANCE)
                and np.isfinite(found).all()
            ):
                raise WrongAnswerError(f"{name}: expected losses {right}, got {found}")
        else:
            found = np.concatenate([convert(one) for one in value])
            compare(name, (found,), (expected(work),), "float32")

    return check


@functools.cache
def expected(work: Work) -> Array:
    """Return the reference's losses or outputs."""
    made = make("layers numpy", work, threads=1)
    with made.around():
        found = made.run()
    return np.concatenate([*map(np.atleast_1d if work.trains else np.atleast_2d, found)])


def names(batch: int) -> list[str]:
    """Return the contenders: the engines on every backend that works here.

    A batch of one selects the online engine, larger ones the lane engine, as for users, once per
    instruction set of the compiled backend, the best first; in both cases also the layers engine.
    """
    fast = "online" if batch == 1 else "lanes"
    found = []
    for engine in (fast, "layers"):
        backend: Any
        for backend, state in backends.available().items():
            if not state.usable:
                continue
            sets = backends.get(backend).instruction_sets()[::-1] if backend == "cython" else ()
            here = [f"{engine} {backend} {isa}" for isa in sets if engine == fast]
            if has_engine(engine, backend):
                found += here or [f"{engine} {backend}"]
    return found


def has_engine(engine: str, backend: str) -> bool:
    """Return whether a backend has kernels for an engine."""
    try:
        create(f"{engine} {backend}", fresh(), threads=1).close()
    except (Unsupported, ImportError):
        return False
    return True


def create(name: str, start: Start, threads: int) -> Engine:
    """Return an engine by a contender's name: engine, backend and, if not in use, the set."""
    engine: Any
    backend: Any
    engine, backend, *sets = name.split()
    with backends.get(backend).use_isa(*sets) if sets else contextlib.nullcontext():
        return engines.create(
            start.network, start.loss, engine=engine, backend=backend, threads=threads
        )


def make(name: str, work: Work, threads: int) -> Contender:
    """Return one of the contenders named by :func:`names`."""
    start = fresh(work.network, work.batch)
    engine = create(name, start, threads)
    backend: Any
    engine_name, backend, *sets = name.split()
    isa = [*sets, backends.get(backend).isa()][0] if backend == "cython" else None
    info: dict[str, Any] = {"backend": backend, "engine": engine_name, "isa": isa}
    if not work.trains:
        # One image is given alone, not as a batch of one.
        predict = engine.predict if work.batch > 1 else lambda x: engine.predict_one(x[0])
        return contender(name, work, predict, np.atleast_2d, **info)
    count = work.part if engine_name == "layers" else work.images
    images, _, labels = (array[:count] for array in examples(work.images))
    run = partial(trainer(engine, start.rate), images, labels, work.batch)
    scale = work.images / count
    return Contender(name, run, checker(name, work), scale=scale, info=info)


def trainer(engine: Engine, rate: float) -> Train:
    """Return a function that trains with an engine, as the trainer does."""
    optimiser = SGD(momentum=MOMENTUM)

    def train(images: Array, labels: Array, batch: int) -> list[float]:
        totals = engine.train(images, labels, np.arange(len(images)), batch, optimiser, rate)
        return [each.loss / each.images for each in totals]

    return train


def latency(name: str, work: Work) -> Contender:
    """Return a contender whose single calls are timed: a user's ``Network.predict``."""
    backend: Any
    engine, backend, *sets = name.split()
    network = fresh(work.network).network
    image = work.parts[0][0][0]
    module = backends.get(backend)
    with backends.use_backend(backend), module.use_isa(*sets) if sets else contextlib.nullcontext():
        network.predict(image)  # creates its engine, with this instruction set
        isa = module.isa() if backend == "cython" else None
    check = checker(name, work)
    return Contender(
        name,
        partial(network.predict, image),
        lambda y: check([y[None]]),
        partial(backends.use_backend, backend),
        info={"backend": backend, "engine": engine, "isa": isa},
    )


def latency_names() -> list[str]:
    """Return the names of :func:`latency`'s contenders: the online engine on every backend."""
    return [name for name in names(1) if name.startswith("online")]
