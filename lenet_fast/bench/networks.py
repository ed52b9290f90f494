"""The whole network: LeNet-5 of 1998 in training, in evaluation, and for one image at a time.

Every contender starts from the same weights. Training counts only if the losses of its first steps
are those of the reference; prediction, if the outputs are.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lenet_fast import backends, data, engines, losses, models
from lenet_fast.bench.contenders import Contender, WrongAnswerError, compare, installed
from lenet_fast.checks import Array
from lenet_fast.connections import LENET5_C3
from lenet_fast.network import Network
from lenet_fast.training import SGD

RATE, MOMENTUM = 0.0005, 0.9
TOLERANCE = 1e-3
"""Of the losses: rounding grows from step to step."""

PYTORCH = ("PyTorch eager", "PyTorch channels_last", "PyTorch compile")


@dataclass(frozen=True)
class Work:
    """What is done again and again: `images` images, `batch` at a time."""

    name: str
    batch: int
    images: int
    trains: bool

    @property
    def parts(self) -> list[tuple[Array, Array]]:
        """Images and labels of each batch."""
        x, labels = _examples(self.images)
        n = self.batch
        return [(x[i : i + n], labels[i : i + n]) for i in range(0, self.images, n)]


WORKS = (
    Work("training, batch 256", 256, 768, True),
    Work("training, batch 32", 32, 256, True),
    Work("training, batch 1", 1, 32, True),
    Work("evaluation, batch 1000", 1000, 1000, False),
    Work("one image", 1, 1, False),
)
BY_NAME = {work.name: work for work in WORKS}


@functools.cache
def _examples(n: int) -> tuple[Array, Array]:
    train = data.load("sample").train.subset(n)
    return data.prepare(train.images), train.labels.astype(np.int64)


def fresh() -> tuple[Network, losses.MAP]:
    """Return the network as everyone starts with it, and its loss."""
    network = models.lenet5()
    loss = losses.default_for(network)
    assert isinstance(loss, losses.MAP)
    return network, loss


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
        From images and labels to the mean loss, having trained; or from images to outputs.
    convert : callable
        From the outputs to an array.
    around, info
        As for :class:`Contender`.
    """
    parts = work.parts
    if work.trains:
        train: Any = step

        def run() -> Any:
            return [train(x, labels) for x, labels in parts]

    else:
        predict: Any = step

        def run() -> Any:
            return [predict(x) for x, _ in parts]

    return Contender(name, run, checker(name, work, convert), around, info=info)


def checker(
    name: str, work: Work, convert: Callable[[Any], Array] = np.asarray
) -> Callable[[Any], None]:
    """Return the check of what a contender's run returned: a loss, or outputs, for each batch."""

    def check(value: Any) -> None:
        if work.trains:
            found = np.asarray([float(one) for one in value])
            if not np.allclose(found, expected(work), rtol=TOLERANCE):
                raise WrongAnswerError(f"{name}: expected losses {expected(work)}, got {found}")
        else:
            found = np.concatenate([convert(one) for one in value])
            compare(name, (found,), (expected(work),), "float32")

    return check


@functools.cache
def expected(work: Work) -> Array:
    """Return the losses, or the outputs, of the reference."""
    made = ours("layers numpy", work, threads=1)
    with made.around():
        return np.concatenate([np.atleast_1d(one) for one in made.run()])


def names() -> list[str]:
    """Return the contenders that are here: each engine on each backend, and PyTorch."""
    found = []
    network, loss = fresh()
    for engine in engines.NAMES:
        for backend, state in backends.available().items():
            if engine == "auto" or not state.usable:
                continue
            with contextlib.suppress(ValueError, ImportError):  # an engine may not have a backend
                engines.create(network, loss, engine=engine, backend=backend, threads=1).close()
                found.append(f"{engine} {backend}")
    if installed("torch"):
        compiler = os.environ.get("CXX", "g++")
        found += PYTORCH if shutil.which(compiler) else PYTORCH[:2]
    return found


def make(name: str, work: Work, threads: int) -> Contender:
    """Return one of the contenders that :func:`names` gives."""
    return pytorch(name, work, threads) if name in PYTORCH else ours(name, work, threads)


def ours(name: str, work: Work, threads: int) -> Contender:
    """Return one of our engines on one of our backends."""
    engine_name, backend = name.split()
    network, loss = fresh()
    engine = engines.create(network, loss, engine=engine_name, backend=backend, threads=threads)
    optimiser = SGD(momentum=MOMENTUM)

    def step(x: Array, labels: Array) -> float:
        totals, gradients = engine.loss_and_gradients(x, labels)
        optimiser.step(network.parameters, gradients, RATE)
        return totals.loss / totals.images

    module = backends.get(backend)
    isa = module.isa() if backend == "cython" else None
    info: dict[str, Any] = {"backend": backend, "engine": engine_name, "isa": isa}
    return contender(name, work, step if work.trains else engine.predict, **info)


def pytorch(name: str, work: Work, threads: int) -> Contender:
    """Return PyTorch, eager, with its other memory layout, or compiled."""
    import torch

    net = PyTorch(*fresh(), channels_last=name.endswith("channels_last"))
    if name.endswith("compile"):
        net.compile()

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        torch.set_num_threads(threads)
        yield

    step: Any = net.step if work.trains else net.predict
    return contender(name, work, step, lambda y: y.numpy(), around)


class PyTorch:
    """LeNet-5 of 1998 (RBF output, MAP loss) as a PyTorch user would write it, trained by SGD.

    Parameters
    ----------
    network : Network
        Gives the weights to start with.
    loss : MAP
    channels_last : bool
        Whether images and kernels are laid out with their channels innermost.
    """

    def __init__(self, network: Network, loss: losses.MAP, channels_last: bool = False) -> None:
        import torch

        self._torch = torch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.weights = {
            name: self._laid_out(torch.tensor(array)).requires_grad_(
                name in network.trainable_names
            )
            for name, array in network.parameters.items()
        }
        trained = [weight for weight in self.weights.values() if weight.requires_grad]
        self._optimiser = torch.optim.SGD(trained, lr=RATE, momentum=MOMENTUM)
        self._table = torch.tensor(LENET5_C3[:, :, None, None].astype(np.float32))
        self._j = loss.j
        self._outputs: Callable[[Any], Any] = self.outputs
        self._loss: Callable[[Any, Any], Any] = self.loss

    def compile(self) -> None:
        """Compile passes and loss at their first calls, which takes a while."""
        compiled = partial(self._torch.compile, dynamic=False)
        self._outputs, self._loss = compiled(self.outputs), compiled(self.loss)

    def _laid_out(self, tensor: Any) -> Any:
        return tensor.contiguous(memory_format=self._layout) if tensor.dim() == 4 else tensor

    def outputs(self, x: Any) -> Any:
        """Return the distances to the ten bitmaps."""
        functional, p = self._torch.nn.functional, self.weights

        def squash(a: Any) -> Any:
            return 1.7159 * (2 / 3 * a).tanh()

        def subsample(a: Any, name: str) -> Any:
            sums = functional.avg_pool2d(a, 2, divisor_override=1)
            return squash(sums * p[f"{name}.w"][:, None, None] + p[f"{name}.b"][:, None, None])

        x = squash(functional.conv2d(x, p["C1.w"], p["C1.b"]))
        x = subsample(x, "S2")
        x = squash(functional.conv2d(x, p["C3.w"] * self._table, p["C3.b"]))
        x = subsample(x, "S4")
        x = squash(functional.conv2d(x, p["C5.w"], p["C5.b"])).flatten(1)
        x = squash(functional.linear(x, p["F6.w"], p["F6.b"]))
        return (x[:, None, :] - p["OUTPUT.w"]).square().sum(2)

    def loss(self, x: Any, labels: Any) -> Any:
        """Return the mean of the MAP criterion."""
        y = self.outputs(x)
        right = y.gather(1, labels[:, None])[:, 0]
        rubbish = self._torch.nn.functional.pad(-y, (0, 1), value=-self._j)
        return (right + rubbish.logsumexp(1)).mean()

    def step(self, x: Array, labels: Array) -> float:
        """Train on one batch; return its mean loss."""
        torch = self._torch
        loss = self._loss(self._laid_out(torch.from_numpy(x)), torch.from_numpy(labels))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())

    def predict(self, x: Array) -> Any:
        """Return the outputs for a batch."""
        with self._torch.no_grad():
            return self._outputs(self._laid_out(self._torch.from_numpy(x)))
