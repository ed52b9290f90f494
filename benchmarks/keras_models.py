"""Keras models as people write them, trained by ``model.fit`` and by ``lenet_fast.keras.fit``.

``python -m benchmarks.keras_models`` prints images per second of both, medians of rounds in which
they take turns, for an epoch in batches as the model's authors have them. Before anything is timed,
the outputs of both are compared, and the weights after some steps from the same start, without
dropout.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import data
from lenet_fast.bench import machine

Make = Callable[[Any], list[Any]]


class Model(NamedTuple):
    """How a model is made and trained."""

    name: str
    layers: Make
    batch: int
    optimizer: Callable[[Any], Any] = lambda keras: "adam"
    shape: tuple[int, ...] = (28, 28, 1)


def _lenet5(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(6, 5, padding="same", activation="tanh"), L.AveragePooling2D(2)),
        *(L.Conv2D(16, 5, activation="tanh"), L.AveragePooling2D(2)),
        *(L.Conv2D(120, 5, activation="tanh"), L.Flatten()),
        *(L.Dense(84, activation="tanh"), L.Dense(10, activation="softmax")),
    ]


def _lenet5_relu(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(6, 5, activation="relu"), L.MaxPooling2D(2)),
        *(L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(2), L.Flatten()),
        *(L.Dense(120, activation="relu"), L.Dense(84, activation="relu")),
        L.Dense(10, activation="softmax"),
    ]


def _mnist_convnet(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(32, 3, activation="relu"), L.MaxPooling2D(2)),
        *(L.Conv2D(64, 3, activation="relu"), L.MaxPooling2D(2)),
        *(L.Flatten(), L.Dropout(0.5), L.Dense(10, activation="softmax")),
    ]


def _mnist_cnn(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(32, 3, activation="relu"), L.Conv2D(64, 3, activation="relu")),
        *(L.MaxPooling2D(2), L.Dropout(0.25), L.Flatten()),
        *(L.Dense(128, activation="relu"), L.Dropout(0.5), L.Dense(10, activation="softmax")),
    ]


def _lenet_20_50(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(20, 5, padding="same", activation="relu"), L.MaxPooling2D(2, strides=2)),
        *(L.Conv2D(50, 5, padding="same", activation="relu"), L.MaxPooling2D(2, strides=2)),
        *(L.Flatten(), L.Dense(500, activation="relu"), L.Dense(10, activation="softmax")),
    ]


def _single(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"), L.MaxPooling2D(2)),
        *(L.Flatten(), L.Dense(100, activation="relu", kernel_initializer="he_uniform")),
        L.Dense(10, activation="softmax"),
    ]


def _book(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        *(L.Conv2D(32, 3, activation="relu"), L.MaxPooling2D(2)),
        *(L.Conv2D(64, 3, activation="relu"), L.MaxPooling2D(2)),
        *(L.Conv2D(128, 3, activation="relu"), L.Flatten(), L.Dense(10, activation="softmax")),
    ]


def _beginner(keras: Any) -> list[Any]:
    L = keras.layers  # noqa: N806
    return [
        L.Flatten(),
        *(L.Dense(128, activation="relu"), L.Dropout(0.2), L.Dense(10, activation="softmax")),
    ]


MODELS = (
    Model("LeNet-5 on 28 x 28: tanh, average pooling", _lenet5, 32),
    Model("the same, SGD", _lenet5, 128, lambda keras: "sgd"),
    Model("LeNet-5 on 32 x 32: ReLU, max pooling", _lenet5_relu, 128, shape=(32, 32, 1)),
    Model("32-64 3x3, dropout (keras.io's MNIST convnet)", _mnist_convnet, 128),
    Model(
        "32-64 3x3, 128, Adadelta (Keras' old mnist_cnn)",
        *(_mnist_cnn, 128, lambda keras: keras.optimizers.Adadelta(1.0)),
    ),
    Model("20-50 5x5, 500", _lenet_20_50, 128),
    Model(
        "32 3x3, 100, SGD with momentum",
        *(_single, 32, lambda keras: keras.optimizers.SGD(0.01, momentum=0.9)),
    ),
    Model("32-64-128 3x3, RMSprop (a textbook's)", _book, 64, lambda keras: "rmsprop"),
    Model("128, dropout (TensorFlow's quickstart)", _beginner, 32, shape=(28, 28)),
)


class Bench:
    """One model, twice, and its data."""

    def __init__(self, model: Model, images: int) -> None:
        import keras

        self.batch, self._keras = model.batch, keras
        splits = data.load("sample")
        x = splits.train.images[:images].astype(np.float32) / 255
        if model.shape[0] == 32:
            x = np.pad(x, ((0, 0), (2, 2), (2, 2)))
        self.x = x.reshape(len(x), *model.shape)
        self.y = splits.train.labels[: len(x)].astype(int)
        self.theirs = self._compiled(model)
        self.ours = keras.models.clone_model(self.theirs)
        self.ours.compile(
            model.optimizer(keras), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        self._model = model

    def _compiled(self, model: Model, optimizer: Any = None, drops: bool = True) -> Any:
        keras = self._keras
        keras.utils.set_random_seed(0)
        row = model.layers(keras)
        if not drops:
            row = [each for each in row if not isinstance(each, keras.layers.Dropout)]
        made = keras.Sequential([keras.layers.Input(model.shape), *row])
        made.compile(
            optimizer or model.optimizer(keras),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return made

    def check(self, steps: int = 10) -> tuple[float, float]:
        """Return the largest differences of outputs, and of weights after some steps of SGD.

        Adam would enlarge rounding, because it divides gradients by their own size.
        """
        from lenet_fast.keras import fit, from_keras

        sgd = self._keras.optimizers.SGD
        first, second = (self._compiled(self._model, sgd(0.01), drops=False) for _ in range(2))
        x, y = self.x[: steps * self.batch], self.y[: steps * self.batch]
        expected = first.predict(x[:100], verbose=0)
        network = from_keras(first)
        images = x[:100].reshape(-1, *network.input_shape)
        outputs = network.probabilities(network.predict(images))
        options: dict[str, Any] = {"batch_size": self.batch, "shuffle": False, "verbose": 0}
        first.fit(x, y, **options)
        fit(second, x, y, threads=1, **options)
        pairs = zip(first.get_weights(), second.get_weights(), strict=True)
        return (
            float(np.abs(outputs - expected).max()),
            max(float(np.abs(a - b).max()) for a, b in pairs),
        )

    def run_keras(self, threads: int) -> None:
        self.theirs.fit(self.x, self.y, batch_size=self.batch, verbose=0)

    def run_ours(self, threads: int) -> None:
        from lenet_fast.keras import fit

        fit(self.ours, self.x, self.y, batch_size=self.batch, verbose=0, threads=threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.keras_models", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads (1)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns of each (5)")
    parser.add_argument(
        "--images", type=positive, default=5000, metavar="N", help="of an epoch (5000)"
    )
    parser.add_argument(
        "--only",
        type=int,
        nargs="+",
        choices=range(1, len(MODELS) + 1),
        default=range(1, len(MODELS) + 1),
        metavar="K",
    )
    options = parser.parse_args(arguments)
    if not installed("torch") or not installed("keras"):
        parser.error("needs Keras and PyTorch: pip install keras torch")
    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    torch.set_num_threads(options.threads)
    about = machine.describe()
    print(f"{about['cpu']}; threads {options.threads}, float32, Keras on PyTorch")
    ratios = []
    for number in options.only:
        model = MODELS[number - 1]
        bench = Bench(model, options.images)
        outputs, weights = bench.check()
        if max(outputs, weights) > 1e-3:
            raise SystemExit(f"{model.name}: outputs differ by {outputs}, weights by {weights}")
        samples: dict[str, list[float]] = {"Keras": [], "lenet_fast": []}
        for turn in range(options.rounds + 1):
            for name, run in (("Keras", bench.run_keras), ("lenet_fast", bench.run_ours)):
                started = time.perf_counter()
                run(options.threads)
                if turn:  # the first round does not count
                    samples[name].append(time.perf_counter() - started)
        theirs, ours = (len(bench.x) / statistics.median(each) for each in samples.values())
        ratios.append(ours / theirs)
        print(
            f"{number}. {model.name}, batch {model.batch}: {ours:,.0f} images/s, Keras "
            f"{theirs:,.0f}: {ratios[-1]:.1f} x; outputs {outputs:.0e}, weights {weights:.0e}",
            flush=True,
        )
    print(f"geometric mean {statistics.geometric_mean(ratios):.1f} x, least {min(ratios):.1f} x")


if __name__ == "__main__":
    main()
