"""The time of gradients on demand, as ratios to a plain gradient of the mean loss.

python -m benchmarks.gradients [--threads N] [--rounds N] [--images N ...]

For LeNet-5 with average pooling, all connections and softmax, in float32, on the lane engine:
gradients at the images; backward, from gradients given at the outputs; the gradients of all images,
and their clipped sum. For comparison, one call per image, and PyTorch's plain gradient and its
`vmap` of `grad`, with the same weights. All answers are checked first. They take turns; the table
shows medians over the rounds, of microseconds per image and of ratios to the plain gradient in the
same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import engines, losses
from lenet_fast.bench import workloads
from lenet_fast.network import Network
from lenet_fast.threads import resolve

PLAIN = "gradient of the mean loss"
TOLERANCE = 1e-4
"""Largest error allowed, relative to the largest value of a parameter's gradient."""

Array = np.ndarray[Any, Any]
Gradients = dict[str, Array]


def ours(
    network: Network, x: Array, labels: Array, threads: int
) -> dict[str, Callable[[], Gradients]]:
    """Return what computes gradients by parameter name: one, or one per image."""
    loss = losses.CrossEntropy()
    engine = engines.create(network, loss, engine="lanes", threads=threads)
    kept = engine.gradients_per_example(x, labels)[1]
    given = loss.gradient(engine.forward(x), labels) / np.float32(len(x))

    def one_by_one() -> Gradients:
        rows = [engine.loss_and_gradients(*pair)[1] for pair in _alone(x, labels)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return {
        PLAIN: lambda: engine.loss_and_gradients(x, labels)[1],
        "the same, and at the images": lambda: engine.loss_and_gradients(x, labels, True)[1],
        "backward": lambda: engine.backward(given),
        "per example": lambda: engine.gradients_per_example(x, labels)[1],
        "per example, into memory of an earlier call": lambda: engine.gradients_per_example(
            x, labels, out=kept
        )[1],
        "clipped sum": lambda: engine.gradients_per_example(x, labels, clip=1e9)[1],
        "one call per image": one_by_one,
    }


def _alone(x: Array, labels: Array) -> list[tuple[Array, Array]]:
    return [(x[i : i + 1], labels[i : i + 1]) for i in range(len(x))]


def pytorch(
    network: Network, x: Array, labels: Array, threads: int
) -> dict[str, Callable[[], Gradients]]:
    """Return PyTorch's plain gradient, and one per image."""
    import torch

    f = torch.nn.functional

    def squash(a: Any) -> Any:
        return 1.7159 * torch.tanh(2 / 3 * a)

    def loss(p: Any, images: Any, right: Any) -> Any:
        a = f.avg_pool2d(squash(f.conv2d(images, p["C1.w"], p["C1.b"])), 2)
        a = f.avg_pool2d(squash(f.conv2d(a, p["C3.w"], p["C3.b"])), 2)
        a = squash(f.conv2d(a, p["C5.w"], p["C5.b"])).flatten(1)
        a = squash(f.linear(a, p["F6.w"], p["F6.b"]))
        return f.cross_entropy(f.linear(a, p["OUTPUT.w"], p["OUTPUT.b"]), right)

    def of_one(p: Any, image: Any, right: Any) -> Any:
        return loss(p, image[None], right[None])

    torch.set_num_threads(threads)
    parameters = {name: torch.tensor(array) for name, array in network.parameters.items()}
    images, right = torch.tensor(x), torch.tensor(labels)
    plain = torch.func.grad(loss)
    each = torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0, 0))

    def arrays(gradients: Any) -> Gradients:
        return {name: array.numpy() for name, array in gradients.items()}

    return {
        "PyTorch": lambda: arrays(plain(parameters, images, right)),
        "PyTorch, vmap of grad": lambda: arrays(each(parameters, images, right)),
    }


def verify(runs: dict[str, Callable[[], Gradients]], n: int) -> None:
    """Raise SystemExit unless all give the plain gradient, as a mean, a sum or a mean of rows."""
    expected = runs[PLAIN]()
    for name, run in runs.items():
        found = run()
        for parameter, array in expected.items():
            one = found[parameter] / n if name == "clipped sum" else found[parameter]
            if one.ndim > array.ndim:
                one = one.mean(axis=0)
            error = np.abs(one - array).max() / np.abs(array).max()
            if not error <= TOLERANCE:
                raise SystemExit(f"{name}: {parameter}: relative error {error:.1g}")


def measure(runs: dict[str, Callable[[], Gradients]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # the others' data are in the caches
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradients", description=__doc__)
    parser.add_argument(
        "--images", type=positive, nargs="+", default=[32, 64, 256], help="(32 64 256)"
    )
    parser.add_argument("--rounds", type=positive, default=31, help="rounds (31)")
    parser.add_argument("--threads", type=positive, default=1, help="threads (1)")
    options = parser.parse_args()
    threads = resolve(options.threads)
    network = workloads.fresh("plain", 32).network
    for n in options.images:
        rng = np.random.default_rng(1)
        x, labels = rng.standard_normal((n, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, n)
        runs = ours(network, x, labels, threads)
        if installed("torch"):
            runs |= pytorch(network, x, labels, threads)
        verify(runs, n)
        seconds = measure(runs, options.rounds)
        print(f"\n| {n} images, {threads} threads | us per image | time |\n|---|---:|---:|")
        for name, samples in seconds.items():
            pairs = zip(samples, seconds[PLAIN], strict=True)
            ratio = statistics.median(one / plain for one, plain in pairs)
            print(f"| {name} | {1e6 * statistics.median(samples) / n:.1f} | {ratio:.2f} x |")


if __name__ == "__main__":
    main()
