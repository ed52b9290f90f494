"""The networks that people write, trained and evaluated beside PyTorch eager and onnxruntime.

``python -m benchmarks.networks`` prints milliseconds a batch and how many times as long the others
take, medians of rounds in which all take turns. Before anything is timed, outputs and gradients
without dropout are compared with PyTorch's, and outputs with onnxruntime's.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import engines, onnx
from lenet_fast.bench import machine
from lenet_fast.bench.rounds import compare
from lenet_fast.initialisers import initialise
from lenet_fast.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Layer,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Tanh,
)
from lenet_fast.losses import CrossEntropy
from lenet_fast.network import Network
from lenet_fast.training import SGD

MOMENTUM, RATE = 0.9, 0.001


def layers_of(number: int) -> tuple[tuple[int, int, int], list[Layer]]:
    """Return the input shape and the layers of one of the networks, in the order of NAMES."""
    pool, relu = MaxPool2D, ReLU
    networks: list[Callable[[], list[Layer]]] = [
        lambda: [
            *(Conv2D(1, 6, 5, padding=2), Tanh(), AvgPool2D(2)),
            *(Conv2D(6, 16, 5), Tanh(), AvgPool2D(2)),
            *(Dense(400, 120), Tanh(), Dense(120, 84), Tanh(), Dense(84, 10)),
        ],
        lambda: [
            *(Conv2D(1, 6, 5, padding=2), Sigmoid(), pool(2)),
            *(Conv2D(6, 16, 5), Sigmoid(), pool(2)),
            *(Dense(400, 120), relu(), Dense(120, 84), relu(), Dense(84, 10)),
        ],
        lambda: [
            *(Conv2D(1, 32, 3), relu(), Conv2D(32, 64, 3), relu(), pool(2), Dropout(0.25)),
            *(Dense(9216, 128), relu(), Dropout(0.5), Dense(128, 10)),
        ],
        lambda: [
            *(Conv2D(1, 10, 5), pool(2), relu()),
            *(Conv2D(10, 20, 5), Dropout2D(0.5), pool(2), relu()),
            *(Dense(320, 50), relu(), Dropout(0.5), Dense(50, 10)),
        ],
        lambda: [
            *(Conv2D(1, 20, 5), relu(), pool(2), Conv2D(20, 50, 5), relu(), pool(2)),
            *(Dense(800, 500), relu(), Dense(500, 10)),
        ],
        lambda: [
            *(Conv2D(1, 32, 5, padding=2), relu(), pool(2)),
            *(Conv2D(32, 64, 5, padding=2), relu(), pool(2)),
            *(Dense(3136, 1024), relu(), Dense(1024, 10)),
        ],
        lambda: [
            *(Conv2D(1, 64, 3, padding=1), relu()),
            *(Conv2D(64, 64, 3, padding=1), relu(), pool(2)),
            *(Dense(12544, 256), relu(), Dense(256, 256), relu(), Dense(256, 10)),
        ],
        lambda: [
            *(Conv2D(1, 16, 8, stride=2, padding=3), relu(), pool(2, 1)),
            *(Conv2D(16, 32, 4, stride=2), relu(), pool(2, 1)),
            *(Dense(512, 32), relu(), Dense(32, 10)),
        ],
        lambda: [
            *(Conv2D(1, 32, 3), relu(), pool(2), Conv2D(32, 64, 3), relu(), pool(2)),
            *(Dense(1600, 200), relu(), Dense(200, 10)),
        ],
        lambda: [
            *(Conv2D(3, 6, 5), relu(), pool(2), Conv2D(6, 16, 5), relu(), pool(2)),
            *(Dense(400, 120), relu(), Dense(120, 84), relu(), Dense(84, 10)),
        ],
        lambda: [Dense(784, 300), relu(), Dense(300, 100), relu(), Dense(100, 10)],
        lambda: [Conv2D(1, 8, 3), relu(), pool(2), Dense(1352, 10)],
    ]
    return (3, 32, 32) if number == 10 else (1, 28, 28), networks[number - 1]()


NAMES = (
    "LeNet-5: tanh, average pooling",
    "LeNet-5: sigmoid, ReLU",
    "32-64 3x3, 128 (pytorch/examples)",
    "10-20 5x5, 50",
    "20-50 5x5, 500",
    "32-64 5x5, 1024",
    "64-64 3x3, 256-256",
    "16 8x8, 32 4x4, strides of 2",
    "32-64 3x3 with pooling, 200",
    "6-16 5x5 on 3x32x32",
    "784-300-100-10",
    "8 3x3",
)


def network_of(number: int) -> Network:
    """Return one of the networks, initialised."""
    shape, layers = layers_of(number)
    network = Network(layers, input_shape=shape, output="softmax", pixel_range=(0.0, 1.0))
    initialise(network.layers, "he_normal", seed=0)
    return network


class Bench:
    """One network and its contenders."""

    def __init__(self, number: int, batch: int, threads: int) -> None:
        import torch

        from lenet_fast.torch import to_torch

        torch.set_num_threads(threads)
        random = np.random.default_rng(0)
        self.network, self.batch = network_of(number), batch
        self.x = random.random((batch, *self.network.input_shape), np.float32)
        self.labels = random.integers(0, 10, batch)
        self.engine = engines.create(self.network, CrossEntropy(), engine="lanes", threads=threads)
        self.optimiser = SGD(MOMENTUM)
        self.module = to_torch(self.network)
        self.frozen = copy.deepcopy(self.module).eval()
        self.criterion = torch.nn.CrossEntropyLoss()
        self.theirs = torch.optim.SGD(self.module.parameters(), lr=RATE, momentum=MOMENTUM)
        self.tensors = torch.from_numpy(self.x), torch.from_numpy(self.labels)
        self.session: Any = _session(self.network, threads) if installed("onnxruntime") else None
        self.check()

    def contenders(self) -> dict[str, dict[str, Callable[[], Any]]]:
        evaluations = {"lenet_fast": self.evaluate, "PyTorch": self.evaluate_torch}
        if self.session is not None:
            evaluations["onnxruntime"] = self.evaluate_onnx
        trainings = {"lenet_fast": self.train, "PyTorch": self.train_torch}
        return {"training": trainings, "evaluation": evaluations}

    def train(self) -> None:
        self.engine.train(
            self.x, self.labels, np.arange(self.batch), self.batch, self.optimiser, RATE
        )

    def train_torch(self) -> None:
        x, labels = self.tensors
        self.theirs.zero_grad()
        self.criterion(self.module(x), labels).backward()
        self.theirs.step()

    def evaluate(self) -> Any:
        return self.engine.predict(self.x)

    def evaluate_torch(self) -> Any:
        import torch

        with torch.no_grad():
            return self.frozen(self.tensors[0]).numpy()

    def evaluate_onnx(self) -> Any:
        return self.session.run(None, {"images": self.x})[0]

    def check(self) -> None:
        """Raise WrongAnswerError unless all outputs agree, and our gradients without dropout with
        PyTorch's in float64: in float32, two pixels of a window can change places."""
        x, labels = self.tensors
        outputs = (self.evaluate(),)
        compare("PyTorch", (self.evaluate_torch(),), outputs, "float32")
        if self.session is not None:
            compare("onnxruntime", (self.evaluate_onnx(),), outputs, "float32")
        exact = copy.deepcopy(self.frozen).double()
        self.criterion(exact(x.double()), labels).backward()
        expected = tuple(np.asarray(each.grad) for each in exact.parameters())
        gradients = self.engine.loss_and_gradients(self.x, self.labels)[1]
        found = tuple(
            array.reshape(other.shape)
            for array, other in zip(gradients.values(), expected, strict=True)
        )
        compare("gradients", found, expected, "float32")


def _session(network: Network, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = onnx.to_bytes(network)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


WARM_UP = 0.1
"""Seconds that a contender runs before its run counts: threads that have nothing more to do keep a
core busy for a while, and those of onnxruntime and PyTorch would slow down whoever comes next; one
of onnxruntime's on two cores was seen to do so for 60 ms."""


def medians(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender; they take turns."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            begun = time.perf_counter()
            while time.perf_counter() - begun < WARM_UP:
                run()
            started = time.perf_counter()
            run()
            if turn:  # the first round does not count
                samples[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in samples.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.networks", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--batch", type=positive, default=64, metavar="N", help="images a batch (64)"
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads (1)")
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="turns of each (15)"
    )
    parser.add_argument(
        "--only",
        type=int,
        nargs="+",
        choices=range(1, 13),
        default=range(1, 13),
        metavar="K",
        help="networks, 1 to 12",
    )
    options = parser.parse_args(arguments)
    if not installed("torch"):
        parser.error("needs PyTorch: pip install torch")
    about = machine.describe()
    print(f"{about['cpu']}; batch {options.batch}, threads {options.threads}, float32")
    ratios: dict[str, list[float]] = {}
    for number in options.only:
        bench = Bench(number, options.batch, options.threads)
        print(f"{number:2}. {NAMES[number - 1]}")
        for work, contenders in bench.contenders().items():
            found = medians(contenders, options.rounds)
            ours = found["lenet_fast"]
            others = []
            for name, seconds in found.items():
                if name != "lenet_fast":
                    ratios.setdefault(f"{work}, {name}", []).append(seconds / ours)
                    others.append(f"{name} {seconds / ours:.2f} x")
            print(f"    {work:10} {1e3 * ours:8.2f} ms   {', '.join(others)}", flush=True)
    for name, values in ratios.items():
        mean = statistics.geometric_mean(values)
        print(f"{name}: geometric mean {mean:.2f} x, least {min(values):.2f} x")


if __name__ == "__main__":
    main()
