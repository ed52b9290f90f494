"""The training run of 1989: 23 passes over 7,291 digits, one pattern at a time, 167,693 steps.

python -m benchmarks.lenet1989 [--data DIR] [--backend NAME] [--passes N] [--steps N]

The network of 1989 in the online engine, on one thread, with plain stochastic gradient descent and
a constant order; and beside it PyTorch (eager), if installed, for fewer steps, scaled. They take
turns. Digits are MNIST's, or those of the bundled sample, shrunk to 16x16: 7,291 for training and
2,007 for testing; if there are fewer, some are repeated. A contender counts only if its first
losses match the NumPy backend's.

Rate, loss and border are those of karpathy/lecun1989-repro, which took 90 s in PyTorch on a laptop
(M1), and, translated to JavaScript (lecun1989-cnn.vercel.app), 27 s.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import backends, data, engines, models
from lenet_fast.connections import LENET1989_H2
from lenet_fast.data.images import resize
from lenet_fast.engines import Engine
from lenet_fast.losses import MeanSquaredError
from lenet_fast.network import Network
from lenet_fast.training import SGD

TRAIN, TEST, PASSES = 7_291, 2_007, 23
RATE = 0.03
STEPS = 2_300
"""Number of PyTorch's steps."""
COMPARED = 32
"""Tolerance of the losses: rounding errors grow with every step."""
SCALE = 0.1
"""The loss is the mean over ten outputs, without the factor 1/2."""

Array = np.ndarray[Any, Any]


def digits(found: data.Dataset, count: int, seed: int) -> tuple[Array, Array]:
    """Return images (count, 1, 16, 16) from -1 to 1, and labels, drawn at random.

    They are different, unless there are too few.
    """
    order = np.random.default_rng(seed).permutation(len(found))
    chosen = np.resize(order, count)
    small = resize(found.images[chosen].astype(np.float64), 16, 16) / 127.5 - 1
    return small[:, None].astype(np.float32), found.labels[chosen].astype(np.int64)


def engine(network: Network, name: str, backend: str) -> Engine:
    """Return an engine for the network of 1989, on one thread."""
    return engines.create(
        network, MeanSquaredError(scale=SCALE), engine=name, backend=backend, threads=1
    )


def learn(made: Engine, x: Array, labels: Array) -> list[float]:
    """Train on patterns, one after the other; return their losses."""
    order = np.arange(len(x))
    return [each.loss for each in made.train(x, labels, order, 1, SGD(), RATE)]


class PyTorch:
    """The network of 1989 as a PyTorch user would write it.

    Parameters
    ----------
    network : Network
        Has the initial weights.
    """

    def __init__(self, network: Network) -> None:
        import torch

        self._torch = torch
        self.weights = {
            name: torch.tensor(array).requires_grad_() for name, array in network.parameters.items()
        }
        self._optimiser = torch.optim.SGD([*self.weights.values()], lr=RATE)
        self._table = torch.tensor(LENET1989_H2[:, :, None, None].astype(np.float32))

    def outputs(self, x: Any) -> Any:
        """Return the ten outputs, after the activation, for images (n, 1, 16, 16)."""
        functional, p = self._torch.nn.functional, self.weights

        def squash(a: Any) -> Any:
            return 1.7159 * (2 / 3 * a).tanh()

        def conv(a: Any, w: Any, b: Any) -> Any:
            bordered = functional.pad(a, (2, 2, 2, 2), value=-1.0)
            return squash(functional.conv2d(bordered, w, stride=2) + b)

        x = conv(x, p["H1.w"], p["H1.b"])
        x = conv(x, p["H2.w"] * self._table, p["H2.b"]).flatten(1)
        x = squash(functional.linear(x, p["H3.w"], p["H3.b"]))
        return squash(functional.linear(x, p["OUTPUT.w"], p["OUTPUT.b"]))

    def step(self, x: Array, label: int) -> float:
        """Train on one pattern (1, 1, 16, 16); return its loss."""
        torch = self._torch
        target = torch.full((1, 10), -1.0)
        target[0, label] = 1.0
        loss = (self.outputs(torch.from_numpy(x)) - target).square().mean()
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())

    def learn(self, x: Array, labels: Array) -> list[float]:
        """Train on patterns, one after the other; return their losses."""
        self._torch.set_num_threads(1)
        return [self.step(x[i : i + 1], int(labels[i])) for i in range(len(x))]


def verify(name: str, found: list[float], x: Array, labels: Array) -> None:
    """Raise unless losses match those of the NumPy backend, layer by layer."""
    expected = learn(engine(models.lenet1989(), "layers", "numpy"), x[:COMPARED], labels[:COMPARED])
    if not np.allclose(found[:COMPARED], expected, rtol=1e-4):
        raise SystemExit(f"{name}: expected the losses {expected}, got {found[:COMPARED]}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lenet1989", description=__doc__)
    parser.add_argument("--data", help="folder of MNIST's files")
    parser.add_argument("--dataset", default="auto", help="as for lenet-fast train (auto)")
    parser.add_argument("--backend", default=backends.current(), help="cython or numba")
    parser.add_argument(
        "--passes", type=positive, default=PASSES, help=f"over all digits ({PASSES})"
    )
    parser.add_argument("--steps", type=positive, default=STEPS, help=f"of PyTorch ({STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="of digits and weights (0)")
    options = parser.parse_args(arguments)
    splits = data.load(options.dataset, options.data)
    x, labels = digits(splits.train, TRAIN, options.seed)
    tests = digits(splits.test, min(TEST, len(splits.test)), options.seed)

    network = models.lenet1989(seed=options.seed)
    made = engine(network, "online", options.backend)
    verify(
        "ours", learn(engine(models.lenet1989(), "online", options.backend), x, labels), x, labels
    )
    torch = PyTorch(models.lenet1989()) if options.steps > 0 and installed("torch") else None
    if torch is not None:
        verify("PyTorch", torch.learn(x[:COMPARED], labels[:COMPARED]), x, labels)

    ours = theirs = 0.0
    parts = np.array_split(np.arange(max(0, options.steps)) % TRAIN, options.passes)
    for part in parts:
        started = time.perf_counter()
        learn(made, x, labels)
        ours += time.perf_counter() - started
        if torch is not None:
            started = time.perf_counter()
            torch.learn(x[part], labels[part])
            theirs += time.perf_counter() - started

    print(f"{splits.train.name}: {min(TRAIN, len(splits.train)):,} digits to learn from")
    print(table(ours / (options.passes * TRAIN), theirs / options.steps if torch else None))
    for name, (images, right) in (("learned", (x, labels)), ("test", tests)):
        totals = made.evaluate(images, right)
        print(
            f"{name}: {totals.errors} of {totals.images:,} wrong "
            f"({100 * totals.errors / totals.images:.2f} %), loss {totals.loss / totals.images:.3g}"
        )


def table(ours: float, theirs: float | None) -> str:
    """Return the seconds of a step as a Markdown table, with what the whole run takes."""
    steps = PASSES * TRAIN
    rows = [("online engine", ours)] + ([("PyTorch eager", theirs)] if theirs else [])
    lines = [f"| | us a step | seconds for {steps:,} steps | times ours |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {1e6 * took:,.1f} | {took * steps:,.1f} | {took / ours:.1f} |"
        for name, took in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
