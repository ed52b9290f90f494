"""The whole network in training, in evaluation, and for one image at a time.

There are two: LeNet-5 of 1998 (table of connections, trainable sub-sampling, RBF outputs, MAP), and
the plain one (all connections, average pooling, softmax, cross-entropy). Every contender starts
from the same weights. Training counts only if the losses of its first steps match the reference;
prediction, if the outputs do. The engines train on bytes, as the trainer lets them. At one image at
a time, contenders that need a call per step run part of the steps, and their time is scaled.
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

from lenet_fast import backends, data, engines, losses, models
from lenet_fast.bench import counts
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
"""What :func:`lenet_fast.models.lenet5` is told."""

RATES = {"1998": 0.0005, "plain": 0.02}
"""For batches of 32 and more; a smaller batch gets as much less."""
MOMENTUM = 0.9
TOLERANCE = 1e-4
"""Of the losses: rounding grows from step to step."""
PART = 32
"""Steps of one image, by those that need a call for each; and losses that are compared."""


class Start(NamedTuple):
    """What everyone starts with."""

    network: Network
    loss: Loss
    rate: float


@dataclass(frozen=True)
class Work:
    """What is done again and again: `images` images, `batch` at a time, by one of NETWORKS."""

    name: str
    batch: int
    images: int
    trains: bool
    network: str = "1998"

    @property
    def part(self) -> int:
        """How many of the images those go through that need a call for each step."""
        return min(self.images, PART) if self.batch == 1 else self.images

    @property
    def parts(self) -> list[tuple[Array, Array]]:
        """Images, prepared, and labels of each batch."""
        _, x, labels = examples(self.images)
        n = self.batch
        return [(x[i : i + n], labels[i : i + n]) for i in range(0, self.images, n)]

    @property
    def flops(self) -> int:
        """Operations of all images, a multiply-add being two; see :mod:`lenet_fast.bench.counts`"""
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
"""Those whose single calls are timed, too."""


@functools.cache
def examples(n: int) -> tuple[Array, Array, Array]:
    """Return images as bytes, the same prepared, and their labels."""
    train = data.load("sample").train.subset(n)
    return train.images, data.prepare(train.images), train.labels.astype(np.int64)


def fresh(name: str = "1998", batch: int = 32) -> Start:
    """Return one of NETWORKS as everyone starts with it, its loss, and the rate to train it at."""
    network = models.lenet5(**NETWORKS[name])
    return Start(network, losses.default_for(network), RATES[name] * min(1, batch / 32))


Train = Callable[[Array, Array, int], list[float]]
"""From images as bytes, labels and the size of a batch to the mean loss of each batch."""
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
    """Return a contender from what it does with a batch.

    Parameters
    ----------
    name : str
    work : Work
    step : callable
        From images and labels to the mean loss, having trained; or from images to outputs. Of
        training one image at a time it gets ``work.part`` images.
    convert : callable
        From the outputs to an array.
    around, info
        As for :class:`Contender`.
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
    """Return the check of what a contender's run returned: a loss, or outputs, for each batch.

    The losses of the first batches are compared, those of the others must be there and finite.
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
    """Return the losses, or the outputs, of the reference."""
    made = make("layers numpy", work, threads=1)
    with made.around():
        found = made.run()
    return np.concatenate([*map(np.atleast_1d if work.trains else np.atleast_2d, found)])


def names(batch: int) -> list[str]:
    """Return the contenders: the engines on every backend that works here.

    Parameters
    ----------
    batch : int
        Images per step. For one it is the online engine, for more the lane engine, as users get
        them; the engine that goes by layers is there for both. The first two are there once per
        instruction set of the compiled backend, the best first.
    """
    fast = "online" if batch == 1 else "lanes"
    found = []
    for engine in (fast, "layers"):
        for backend, state in backends.available().items():
            if not state.usable:
                continue
            sets = backends.get(backend).instruction_sets()[::-1] if backend == "cython" else ()
            here = [f"{engine} {backend} {isa}" for isa in sets if engine == fast]
            if has_engine(engine, backend):
                found += here or [f"{engine} {backend}"]
    return found


def has_engine(engine: str, backend: str) -> bool:
    """Return whether a backend has the kernels for an engine."""
    try:
        create(f"{engine} {backend}", fresh(), threads=1).close()
    except (Unsupported, ImportError):
        return False
    return True


def create(name: str, start: Start, threads: int) -> Engine:
    """Return an engine by a contender's name: engine, backend and, if not that in use, the set."""
    engine, backend, *sets = name.split()
    with backends.get(backend).use_isa(*sets) if sets else contextlib.nullcontext():
        return engines.create(
            start.network, start.loss, engine=engine, backend=backend, threads=threads
        )


def make(name: str, work: Work, threads: int) -> Contender:
    """Return one of the contenders that :func:`names` gives."""
    start = fresh(work.network, work.batch)
    engine = create(name, start, threads)
    engine_name, backend, *sets = name.split()
    isa = [*sets, backends.get(backend).isa()][0] if backend == "cython" else None
    info: dict[str, Any] = {"backend": backend, "engine": engine_name, "isa": isa}
    if not work.trains:
        predict = engine.predict if work.batch > 1 else _one(engine)
        return contender(name, work, predict, np.atleast_2d, **info)
    count = work.part if engine_name == "layers" else work.images
    images, _, labels = (array[:count] for array in examples(work.images))
    run = partial(trainer(engine, start.rate), images, labels, work.batch)
    scale = work.images / count
    return Contender(name, run, checker(name, work), scale=scale, info=info)


def _one(engine: Engine) -> Predict:
    """Return what gives an engine the first image as such, not a batch of one."""
    return lambda x: engine.predict_one(x[0])


def trainer(engine: Engine, rate: float) -> Train:
    """Return what trains by an engine, as :class:`lenet_fast.training.Trainer` does."""
    optimiser = SGD(momentum=MOMENTUM)

    def train(images: Array, labels: Array, batch: int) -> list[float]:
        totals = engine.train(images, labels, np.arange(len(images)), batch, optimiser, rate)
        return [each.loss / each.images for each in totals]

    return train


def latency(name: str, work: Work) -> Contender:
    """Return one of the contenders whose single calls are timed: a user's ``Network.predict``."""
    engine, backend, *sets = name.split()
    network = fresh(work.network).network
    image = work.parts[0][0][0]
    module = backends.get(backend)
    with (
        backends.use_backend(backend),
        module.use_isa(*sets) if sets else contextlib.nullcontext(),
    ):
        network.predict(image)  # from now on it has an engine, with these instructions
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
    """Return the contenders that :func:`latency` makes: the online engine on every backend."""
    return [name for name in names(1) if name.startswith("online")]
