"""``lenet_fast.keras`` against Keras' own layers, ``fit`` and ``predict``, on PyTorch."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import require

from benchmarks import keras_models
from lenet_fast import models
from lenet_fast.layers import (
    ELU,
    GELU,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    MaxPool2D,
    ScaledTanh,
)
from lenet_fast.network import Network

torch = require("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = require("keras")
from keras import layers as L  # noqa: E402, N812
from keras import optimizers as O  # noqa: E402, N812

from lenet_fast.keras import fit, from_keras, to_keras  # noqa: E402
from lenet_fast.training import TrainingDiverged  # noqa: E402

X = np.random.default_rng(0).random((150, 12, 12, 1)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 4, 150)
ONE_HOT = np.eye(4, dtype=np.float32)[Y]


@pytest.fixture(autouse=True)
def seeded(calm_torch: None) -> None:
    keras.utils.clear_session(free_memory=False)  # else names would depend on other tests
    keras.utils.set_random_seed(1998)


def lenet(*last: Any, side: int = 12, maps: int = 1) -> Any:
    """Return a small network, by default one that ends with a softmax."""
    return keras.Sequential(
        [
            L.Input((side, side, maps)),
            L.Conv2D(3, 5, padding="same", activation="tanh"),
            L.AveragePooling2D(2),
            L.Conv2D(5, 3, use_bias=False, activation="relu"),
            L.MaxPooling2D(2),
            L.Flatten(),
            L.Dense(7, activation="sigmoid"),
            *(last or [L.Dense(4, activation="softmax")]),
        ]
    )


def logits() -> Any:
    return lenet(L.Dense(4))


def numbers(variables: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(each) for each in variables]


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def compare(
    make: Callable[[], Any],
    optimizer: Callable[[], Any],
    loss: Any = "sparse_categorical_crossentropy",
    y: Any = Y,
    metrics: Any = ("accuracy",),
    tolerance: float = 2e-5,
    **options: Any,
) -> Any:
    """Train two copies, by Keras and by us; compare weights, optimizers, histories, predictions.

    Return ours.
    """
    theirs = make()
    ours = keras.models.clone_model(theirs)
    ours.set_weights(theirs.get_weights())
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0} | options
    histories = []
    for model, train in ((theirs, theirs.fit), (ours, functools.partial(fit, ours))):
        model.compile(optimizer(), loss, metrics=list(metrics))
        histories.append(train(X, y, **options))
    expected, found = (each.history for each in histories)
    assert found is ours.history.history
    assert isinstance(histories[1], keras.callbacks.History)
    assert list(found) == list(expected)
    assert histories[1].epoch == histories[0].epoch
    assert_close(list(found.values()), list(expected.values()), tolerance)
    assert_close(ours.get_weights(), theirs.get_weights(), tolerance)
    assert_close(numbers(ours.optimizer.variables), numbers(theirs.optimizer.variables), tolerance)
    assert_close(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), tolerance)
    return ours


# --- reading  ---


def functional(shape: tuple[int, ...], *row: Any) -> Any:
    first = keras.Input(shape)
    y = first
    for layer in row:
        y = layer(y)
    return keras.Model(first, y)


ROWS: dict[str, Any] = {
    "lenet": lenet,
    "colour": lambda: lenet(maps=3),
    "functional": lambda: functional((9, 9, 2), L.Conv2D(3, 2), L.ReLU(), L.Flatten(), L.Dense(4)),
    "same, stride, odd": lambda: functional(
        (11, 8, 1),
        L.Conv2D(4, (5, 2), strides=(2, 3), padding="same", activation="elu"),
        L.Conv2D(4, 3, padding="same", groups=2, activation="leaky_relu"),
        L.MaxPooling2D((2, 1), strides=(1, 1)),
        L.Flatten(),
        L.Dense(4, activation="gelu"),
    ),
    "depthwise": lambda: functional(
        (9, 9, 2),
        L.ZeroPadding2D(1),
        L.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=3, activation="relu"),
        *(L.Flatten(), L.Dense(4)),
    ),
    "dilation": lambda: functional((11, 11, 1), L.Conv2D(2, 3, dilation_rate=2), L.Flatten()),
    "padded": lambda: functional(
        (9, 9, 1), L.ZeroPadding2D(((2, 1), (0, 3))), L.Conv2D(2, 3, padding="same"), L.Flatten()
    ),
    "global": lambda: functional(
        (8, 8, 1), L.Conv2D(5, 3), L.LeakyReLU(0.1), L.GlobalAveragePooling2D(), L.Dense(4)
    ),
    "global maximum": lambda: functional((8, 8, 1), L.Conv2D(5, 3), L.GlobalMaxPooling2D()),
    "rows": lambda: functional(
        (64,), L.Reshape((8, 8, 1)), L.Conv2D(5, 3), L.ELU(0.5), L.Flatten(), L.Dense(4)
    ),
    "planes": lambda: functional((8, 8), L.Flatten(), L.Dense(5, "relu"), L.Dense(4), L.Softmax()),
    "pixels of colours": lambda: functional((8, 8, 3), L.Flatten(), L.Dense(5), L.Dense(4)),
    "rescaled": lambda: functional(
        (8, 8, 1), L.Rescaling(1 / 127.5, -1), L.Conv2D(2, 3), L.Flatten(), L.Dense(4)
    ),
    "dropout": lambda: functional(
        (8, 8, 1), L.Conv2D(5, 3), L.SpatialDropout2D(0.5), L.Flatten(), L.Dropout(0.5), L.Dense(4)
    ),
    "nested": lambda: keras.Sequential(
        [L.Input((12, 12, 1)), functional((12, 12, 1), L.Conv2D(2, 3), L.Flatten()), L.Dense(4)]
    ),
    "channels first": lambda: functional(
        (2, 8, 8),
        L.Conv2D(3, 3, data_format="channels_first"),
        L.MaxPooling2D(2, data_format="channels_first"),
        L.Flatten(data_format="channels_last"),
        L.Dense(4, activation="log_softmax"),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_outputs_are_those_of_the_model(name: str) -> None:
    model = ROWS[name]()
    model.set_weights(
        [
            np.random.default_rng(k).normal(0, 0.3, w.shape)
            for k, w in enumerate(model.get_weights())
        ]
    )
    if name in ("dilation", "padded", "global maximum"):  # whose outputs are maps
        model = keras.Sequential([*model.layers, L.Dense(4)])
    network = from_keras(model)
    shape = model.input_shape[1:]
    x = np.random.default_rng(5).random((6, *shape)).astype(np.float32)
    expected = numbers([model(x)])[0]
    images = x * network.pixel_range[1] if name == "rescaled" else x
    if name == "rescaled":
        assert network.pixel_range == pytest.approx((-1, 1))
        images = x / 127.5 - 1
    if name == "channels first":
        images = x
    elif len(shape) == 3:
        images = images.transpose(0, 3, 1, 2)
    y = network.predict(np.ascontiguousarray(images.reshape(6, *network.input_shape)))
    if network.output == "softmax":
        y = network.probabilities(y)
        y = np.log(y) if name == "channels first" else y
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    assert network.counts().parameters >= model.count_params()


def test_batch_norm_is_folded_for_evaluation() -> None:
    norms = [L.BatchNormalization(), L.BatchNormalization(scale=False)]
    row = [L.Conv2D(3, 3, use_bias=False), norms[0], L.ReLU(), L.Flatten(), L.Dense(4), norms[1]]
    model = functional((8, 8, 1), *row)
    rng = np.random.default_rng(0)
    for each in norms:
        each.set_weights([rng.random(w.shape) + 0.5 for w in each.get_weights()])
    x = rng.random((5, 8, 8, 1)).astype(np.float32)
    y = from_keras(model).predict(x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(y, model.predict(x, verbose=0), rtol=0, atol=1e-5)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="expected no BatchNormalization in training"):
        fit(model, x, np.zeros(5, int))


def test_output_follows_from_softmax_and_loss() -> None:
    assert from_keras(lenet()).output == "softmax"
    model = logits()
    assert from_keras(model).output == "linear"
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    assert from_keras(model).output == "softmax"
    assert from_keras(model, output="linear").output == "linear"
    assert not from_keras(model).pixel_range_known
    assert from_keras(model, pixel_range=(0.0, 1.0)).pixel_range == (0.0, 1.0)


class Doubled(L.Dense):
    """A layer whose class is the user's."""

    def call(self, x: Any) -> Any:
        return 2 * super().call(x)


def residual() -> Any:
    first = keras.Input((8, 8, 1))
    y = L.Conv2D(2, 3, padding="same", name="branch")(first)
    y = L.Flatten()(L.Add(name="sum")([y, L.Conv2D(2, 1)(first)]))
    return keras.Model(first, y)


class Subclass(keras.Model):
    """A model that only says in Python what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(4)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def subclass() -> Any:
    model = Subclass()
    model(np.zeros((1, 4), np.float32))
    return model


def operation() -> Any:
    first = keras.Input((4,))
    return keras.Model(first, keras.ops.sin(L.Dense(4)(first)))


def twice() -> Any:
    layer = L.Dense(4, name="shared")
    return functional((4,), layer, layer)


REFUSED: dict[str, tuple[Any, str]] = {
    "no model": (lambda: 3, "expected a keras.Model, got int 3"),
    "unbuilt": (lambda: keras.Sequential([L.Dense(4)]), "expected a built one"),
    "branches": (residual, "layer sum: expected a row, .* got 2 inputs"),
    "subclass": (subclass, "got the subclass Subclass"),
    "operation": (operation, "expected layers only, got Sin"),
    "shared": (twice, "layer shared: expected it once, got it twice"),
    "layer": (
        lambda: functional((8, 8, 1), L.Conv2DTranspose(2, 3, name="up")),
        "layer up: .* got",
    ),
    "own": (lambda: functional((4,), Doubled(4, name="mine")), "layer mine: .* Doubled"),
    "activation": (
        lambda: functional((4,), L.Dense(4, activation="swish", name="d")),
        "layer d: expected activation linear, relu, .* got silu",
    ),
    "pooling": (
        lambda: functional((7, 7, 1), L.MaxPooling2D(2, padding="same", name="p")),
        "layer p: expected padding='valid', or windows that cover the 7 x 7 pixels",
    ),
    "maps": (lambda: functional((7, 7, 1), L.Conv2D(2, 3)), "one number per class"),
    "no Flatten": (lambda: functional((7, 7, 1), L.Dense(2, name="d")), "layer d: .* a Flatten"),
    "ReLU": (lambda: functional((4,), L.ReLU(6.0, name="six"), L.Dense(2)), "layer six: .* 6.0"),
    "scaled later": (
        lambda: functional((4,), L.Dense(2), L.Rescaling(2.0, name="r")),
        "layer r: expected one number for all pixels, before the first other layer",
    ),
    "softmax within": (
        lambda: functional((4,), L.Softmax(), L.Dense(2, name="d")),
        "layer d: expected the softmax to be the last layer",
    ),
    "sizes": (lambda: functional((None, None, 1), L.GlobalMaxPooling2D()), "of a fixed shape"),
    "noise": (
        lambda: functional((4,), L.Dropout(0.5, noise_shape=(1, 4), name="n"), L.Dense(2)),
        "layer n: expected noise_shape=None",
    ),
    "all dropped": (
        lambda: functional((4,), L.Dropout(1.0, name="n"), L.Dense(2)),
        r"layer n: rate: expected a number from 0 to below 1, got 1\.0",
    ),
    "half": (lambda: functional((4,), L.Dense(4, dtype="float16")), "expected one dtype"),
    "padding": (
        lambda: functional((8, 8, 1), L.ZeroPadding2D(1), L.MaxPooling2D(2, name="p")),
        "layer p: expected a Conv2D after ZeroPadding2D, got MaxPooling2D",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_layer_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        from_keras(make())


# --- writing  ---


def test_round_trip() -> None:
    model = lenet(maps=2)
    network = from_keras(model)
    again = to_keras(network)
    x = np.random.default_rng(0).random((6, 12, 12, 2)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=0, atol=1e-6)
    assert_close(again.get_weights(), model.get_weights(), 0)
    network.parameters["dense.w"][...] *= 2
    assert to_keras(network, model) is model
    assert_close(to_keras(network).get_weights(), model.get_weights(), 0)
    with pytest.raises(ValueError, match="model: expected the layers of the network, Conv2D"):
        to_keras(network, lenet())


def test_networks_of_ours_are_written() -> None:
    network = Network(
        [
            Conv2D(2, 4, 3, stride=2, padding=(1, 0, 2, 1), groups=2, bias=None),
            *(GELU(), Dropout2D(0.25), AvgPool2D(2, 1), ELU(0.5)),
            *(Conv2D(4, 3, 2, dilation=2), "tanh", MaxPool2D(2), "leaky_relu:0.3"),
            *(Dense(12, 5), "sigmoid", Dropout(0.5), "relu", Dense(5, 3)),
        ],
        input_shape=(2, 14, 14),
        output="softmax",
    )
    network.initialise("he_normal", seed=3)
    model = to_keras(network)
    x = np.random.default_rng(0).random((6, 14, 14, 2)).astype(np.float32)
    y = network.probabilities(network.predict(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
    np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=0, atol=1e-6)
    assert [repr(each) for each in from_keras(model).layers] == list(map(repr, network.layers))
    with pytest.raises(TypeError, match=r"layers that Keras has, got RBF\(84, 10, name='OUTPUT'"):
        to_keras(models.lenet5())
    ties = Network([MaxPool2D(2, ties="all"), Dense(4, 2)], input_shape=(1, 4, 4))
    with pytest.raises(TypeError, match=r"layers that Keras has, got MaxPool2D\(2, ties='all'"):
        to_keras(ties)
    with pytest.raises(TypeError, match="network: expected a Network, got int 3"):
        to_keras(3)


@pytest.mark.parametrize("options", [{}, {"pooling": "max"}, {"connections": "full"}])
def test_the_papers_networks_are_written(options: Any, tmp_path: Path) -> None:
    """Sub-sampling, the scaled tanh, a table of connections; and saved by Keras."""
    network = models.lenet5(output="softmax", **options)
    network.initialise("lecun_sqrt", seed=5)
    to_keras(network).save(tmp_path / "lenet5.keras")
    model = keras.saving.load_model(tmp_path / "lenet5.keras")
    x = np.random.default_rng(0).random((6, 32, 32, 1)).astype(np.float32)
    y = network.probabilities(network.predict(x.reshape(6, 1, 32, 32)))
    np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=0, atol=1e-6)
    again = from_keras(model)
    np.testing.assert_allclose(
        again.predict(x.reshape(6, 1, 32, 32)),
        network.predict(x.reshape(6, 1, 32, 32)),
        rtol=0,
        atol=1e-5,
    )
    kinds = [[type(each) for each in one.layers] for one in (again, network)]
    assert kinds[0].count(ScaledTanh) == kinds[1].count(ScaledTanh) >= 4


# --- training  ---


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: O.SGD(0.1),
    "SGD, decay": lambda: O.SGD(0.1, weight_decay=0.05),
    "momentum": lambda: O.SGD(0.1, momentum=0.9),
    "nesterov": lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: O.Adam(0.003),
    "large epsilon": lambda: O.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=0.01),
    "Adam, decay": lambda: O.Adam(0.003, weight_decay=0.1),
    "AdamW": lambda: O.AdamW(0.003),
    "Adadelta": lambda: O.Adadelta(1.0),
    "schedule": lambda: O.SGD(O.schedules.CosineDecay(0.1, 15)),
    "Adam, schedule": lambda: O.Adam(O.schedules.ExponentialDecay(0.003, 4, 0.7)),
}
AROUND: dict[str, tuple[Callable[[], Any], str]] = {
    "RMSprop": (O.RMSprop, "SGD, Adam, AdamW and Adadelta, got RMSprop"),
    "clipnorm": (lambda: O.Adam(0.003, clipnorm=0.01), "clipnorm unset, got 0.01"),
    "amsgrad": (lambda: O.Adam(0.003, amsgrad=True), "amsgrad=False"),
    "average": (lambda: O.SGD(0.1, use_ema=True, ema_momentum=0.9), "use_ema unset, got True"),
    "momentum, schedule": (
        lambda: O.SGD(O.schedules.CosineDecay(0.1, 15), momentum=0.9),
        "a constant learning_rate with SGD's momentum",
    ),
    "momentum, decay": (
        lambda: O.SGD(0.1, momentum=0.9, weight_decay=0.1),
        "no weight_decay with momentum or Adadelta",
    ),
    "Lion": (lambda: O.Lion(0.001), "got Lion"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_engines_train_as_keras_does(name: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(lenet, OPTIMIZERS[name], validation_split=0.1)
    assert not caplog.records


@pytest.mark.parametrize("name", AROUND)
def test_other_optimizers_run_around(name: str, caplog: pytest.LogCaptureFixture) -> None:
    optimizer, reason = AROUND[name]
    compare(lenet, optimizer, validation_split=0.1)
    assert reason in caplog.text


LOSSES: dict[str, Any] = {
    "logits": (logits, keras.losses.SparseCategoricalCrossentropy(from_logits=True), Y),
    "column": (lenet, "sparse_categorical_crossentropy", Y[:, None].astype(np.float32)),
    "one-hot": (lenet, "categorical_crossentropy", ONE_HOT),
    "ce": (lenet, "crossentropy", ONE_HOT),
    "smoothing": (
        logits,
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        ONE_HOT,
    ),
    "mse": (logits, "mse", 2 * ONE_HOT - 1),
    "mse, sigmoid": (lambda: lenet(L.Dense(4, "sigmoid")), "mean_squared_error", ONE_HOT),
    "log-softmax": (
        lambda: lenet(L.Dense(4, "log_softmax")),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        Y,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    make, loss, y = LOSSES[name]
    compare(make, OPTIMIZERS["nesterov"], loss, y, validation_data=(X[:50], y[:50]))


def test_metrics_and_weights_are_keras_own(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(2)
    metrics = ["acc", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")]
    weights = rng.random(150)
    compare(lenet, OPTIMIZERS["Adam"], metrics=metrics, validation_split=0.2)
    assert "got SparseTopKCategoricalAccuracy" in caplog.text
    compare(lenet, OPTIMIZERS["momentum"], sample_weight=weights, validation_split=0.2)
    compare(
        lenet,
        OPTIMIZERS["SGD"],
        class_weight={0: 2.0, 3: 0.25},
        validation_data=(X, Y, rng.random(150)),
    )
    compare(lenet, OPTIMIZERS["SGD"], metrics=["sparse_categorical_accuracy"])


def test_regularizers_and_constraints() -> None:
    def make() -> Any:
        regularized: Any = {
            "kernel_regularizer": keras.regularizers.L1L2(0.001, 0.01),
            "bias_regularizer": "l2",
            "kernel_constraint": keras.constraints.MaxNorm(0.8),
        }
        return lenet(L.Dense(5, "tanh", **regularized), L.Dense(4, "softmax"))

    compare(make, OPTIMIZERS["momentum"], validation_split=0.2)


@pytest.mark.parametrize("engine", ["layers", "lanes", "online"])
def test_engines_backends_and_threads(engine: str) -> None:
    """The weights of one epoch; in batches of one, in which "auto" is the online engine."""
    found = []
    for options in (
        {"engine": engine},
        {"engine": engine, "threads": 2},
        {"backend": "numpy"},
        {"engine": "auto"},
    ):
        keras.utils.set_random_seed(1)
        model = lenet()
        model.compile("adam", "sparse_categorical_crossentropy")
        size = 1 if engine == "online" else 16
        fit(model, X[:50], Y[:50], batch_size=size, shuffle=False, verbose=0, **options)
        found.append(model.get_weights())
    for each in found[1:]:
        assert_close(each, found[0], 2e-5)


def test_frozen_layers_do_not_change() -> None:
    def make() -> Any:
        model = lenet()
        model.layers[0].trainable = False
        return model

    for name in ("AdamW", "momentum"):
        compare(make, OPTIMIZERS[name])
    compare(make, AROUND["RMSprop"][0])


def test_training_goes_on_either_way() -> None:
    """Two epochs of Keras, two of ours, two of Keras; and the numbers of the epochs."""
    for name in ("nesterov", "AdamW"):
        a, b = lenet(), lenet()
        b.set_weights(a.get_weights())
        for model in (a, b):
            model.compile(OPTIMIZERS[name](), "sparse_categorical_crossentropy")
        options: Any = {"batch_size": 32, "shuffle": False, "verbose": 0}
        a.fit(X, Y, epochs=6, **options)
        b.fit(X, Y, epochs=2, **options)
        history = fit(b, X, Y, epochs=4, initial_epoch=2, **options)
        assert history.epoch == [2, 3]
        b.fit(X, Y, epochs=6, initial_epoch=4, **options)
        assert_close(b.get_weights(), a.get_weights(), 2e-5)


def test_callbacks(tmp_path: Path) -> None:
    def callbacks(folder: Path) -> list[Any]:
        folder.mkdir()
        return [
            keras.callbacks.EarlyStopping("loss", patience=1, min_delta=10, verbose=0),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1)),
            keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
            keras.callbacks.CSVLogger(folder / "log.csv"),
        ]

    model = lenet()
    weights = model.get_weights()
    found = {}
    for name in ("theirs", "ours"):
        model.set_weights(weights)
        model.compile(O.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
        train = model.fit if name == "theirs" else functools.partial(fit, model)
        made = callbacks(tmp_path / name)
        history = train(
            X, Y, epochs=9, callbacks=made, shuffle=False, verbose=0, validation_split=0.3
        )
        assert len(history.history["loss"]) == 2
        assert model.stop_training
        files = sorted(each.name for each in (tmp_path / name).iterdir())
        assert files == ["1.keras", "2.keras", "log.csv"]
        saved = [keras.saving.load_model(tmp_path / name / each) for each in files[:2]]
        found[name] = [
            *(each for one in saved for each in one.get_weights()),
            *(each for one in saved for each in numbers(one.optimizer.variables)),
            *history.history.values(),
        ]
        lines = (tmp_path / name / "log.csv").read_text().splitlines()
        assert lines[0] == "epoch,learning_rate,loss,val_loss"
    assert_close(found["ours"], found["theirs"], 2e-5)


def test_a_run_that_broke_off_is_restored(tmp_path: Path) -> None:
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise RuntimeError("broken off")

    found = {}
    for name in ("theirs", "ours"):
        for breaks in (True, False):
            keras.utils.set_random_seed(1)
            model = compiled()
            backup = keras.callbacks.BackupAndRestore(tmp_path / name)
            train = model.fit if name == "theirs" else functools.partial(fit, model)
            options: Any = {"epochs": 4, "shuffle": False, "verbose": 0}
            if breaks:
                with pytest.raises(RuntimeError, match="broken off"):
                    train(X, Y, callbacks=[backup, Break()], **options)
            else:
                assert train(X, Y, callbacks=[backup], **options).epoch == [2, 3]
        found[name] = model.get_weights()
    assert_close(found["ours"], found["theirs"], 2e-5)


class Watcher(keras.callbacks.Callback):
    """Records what it sees; changes rate and weights between batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.1 / (batch + 1)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen += [batch, logs["loss"], *self.model.get_weights()]
        if batch == 2:
            self.model.layers[-1].bias.assign([0.5, 0, 0, 0])
        if batch == 5:
            self.model.stop_training = True


def test_callbacks_see_and_change_the_model_after_each_batch() -> None:
    watchers = [Watcher(), Watcher()]
    for watcher in watchers:
        keras.utils.set_random_seed(1)
        model = lenet()
        model.compile(O.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
        call = model.fit if watcher is watchers[0] else functools.partial(fit, model)
        call(X, Y, batch_size=16, epochs=3, shuffle=False, verbose=0, callbacks=[watcher])
    theirs, ours = watchers
    assert len(theirs.seen) == 6 * (2 + 7)
    assert_close(ours.seen, theirs.seen, 2e-5)


def test_shuffling_and_dropout_follow_the_seed() -> None:
    def train(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(3)
        model = lenet(L.Dropout(0.5), L.Dense(4, "softmax"))
        model.compile("adam", "sparse_categorical_crossentropy")
        keras.utils.set_random_seed(seed)
        fit(model, X, Y, epochs=2, verbose=0)
        return model.get_weights()

    first = train(1)
    assert_close(train(1), first, 0)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(first, train(2), strict=True))


def test_validation_only_when_due() -> None:
    for due in (2, [1, 3]):
        compare(
            lenet, OPTIMIZERS["SGD"], epochs=3, validation_freq=due, validation_data=(X[:9], Y[:9])
        )


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    model = lenet()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    fit(model, X, Y, epochs=2, verbose=2, validation_split=0.2)
    out = capsys.readouterr().out
    assert "Epoch 2/2" in out
    assert "4/4" in out
    assert "val_accuracy: " in out
    fit(model, X, Y, verbose=0)
    assert not capsys.readouterr().out


def test_images_of_other_kinds() -> None:
    """Bytes, without the axis of the map, and PyTorch's tensors: as Keras takes them."""
    x = np.random.default_rng(0).integers(0, 3, (40, 12, 12, 1), np.uint8)
    weights = []
    for given in (x, x[..., 0], torch.from_numpy(x).float(), x.astype(np.float64)):
        keras.utils.set_random_seed(1)
        model = lenet()
        model.compile("sgd", "sparse_categorical_crossentropy")
        fit(model, given, Y[:40], shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for each in weights[1:]:
        assert_close(each, weights[0], 0)


def test_divergence_ends_training() -> None:
    model = logits()
    model.compile(O.SGD(1e30), "mse")
    with pytest.raises(TrainingDiverged, match="expected a finite loss"):
        fit(model, X, ONE_HOT, verbose=0)
    model = logits()
    model.compile(O.SGD(1e30), "mse")
    fit(model, X, ONE_HOT, verbose=0, epochs=5, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert model.stop_training


def test_ctrl_c() -> None:
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    model = lenet()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(KeyboardInterrupt):
        fit(model, X, Y, epochs=5, batch_size=16, verbose=0, callbacks=[Interrupt()])
    assert int(numbers([model.optimizer.iterations])[0]) == 3


def compiled(make: Callable[[], Any] = lenet, loss: Any = "sparse_categorical_crossentropy") -> Any:
    model = make()
    model.compile("sgd", loss)
    return model


def test_fit_says_where_large_layers_gain_less(caplog: pytest.LogCaptureFixture) -> None:
    def dense(units: int) -> Any:
        layers = [L.Flatten(), L.Dense(units, "relu"), L.Dense(10, "softmax")]
        return keras.Sequential([L.Input((28, 28, 1)), *layers])

    images = np.zeros((4, 28, 28, 1), np.float32)
    fit(compiled(functools.partial(dense, 256)), images, np.zeros(4, np.int64), epochs=1, verbose=0)
    assert "99% of the multiply-adds are in" in caplog.text
    caplog.clear()
    fit(compiled(functools.partial(dense, 16)), images, np.zeros(4, np.int64), epochs=1, verbose=0)
    assert "multiply-adds" not in caplog.text


SCCE = keras.losses.SparseCategoricalCrossentropy

WRONG: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "not compiled": (lenet, {}, "model: expected a compiled one"),
    "loss": (lambda: compiled(loss="kl_divergence"), {}, "loss: expected sparse_.* got kl_diver"),
    "sum": (lambda: compiled(loss=SCCE(reduction="sum")), {}, "expected reduction='sum_over_b"),
    "ignored": (lambda: compiled(loss=SCCE(ignore_class=2)), {}, "expected ignore_class=None"),
    "softmax twice": (lambda: compiled(loss=SCCE(from_logits=True)), {}, "takes the softmax twice"),
    "no softmax": (lambda: compiled(logits), {}, "expected from_logits=True, or a model that ends"),
    "mse": (lambda: compiled(loss="mse"), {"y": ONE_HOT}, "expected a crossentropy after"),
    "one-hot": (compiled, {"y": ONE_HOT}, r"y: expected labels of shape \(n,\)"),
    "labels": (compiled, {"y": Y + 1}, "y: expected labels from 0 to 3, got 4"),
    "soft": (
        lambda: compiled(loss="categorical_crossentropy"),
        {"y": ONE_HOT * 0.9 + 0.025},
        "y: expected one-hot targets",
    ),
    "count": (compiled, {"y": Y[:7]}, "y: expected one target per image, 150, got 7"),
    "shape": (compiled, {"x": X[:, :9]}, r"x: expected images of shape \(n, 12, 12, 1\)"),
    "generator": (compiled, {"x": iter(X)}, "x: expected an array or a tensor, got"),
    "epochs": (compiled, {"epochs": 0}, "epochs: expected"),
    "shuffle": (compiled, {"shuffle": "batch"}, "shuffle: expected"),
    "split": (compiled, {"validation_split": 1.5}, "validation_split: expected"),
    "tiny split": (compiled, {"validation_split": 0.999}, "leaves images on both sides"),
    "validation": (compiled, {"validation_data": X}, r"validation_data: expected \(x, y\)"),
    "both": (
        compiled,
        {"class_weight": {0: 2.0}, "sample_weight": np.ones(150)},
        "class_weight: expected None beside sample_weight",
    ),
    "NaN weights": (compiled, {"sample_weight": np.full(150, np.nan)}, "finite numbers, got NaN"),
    "a class": (compiled, {"class_weight": {"a": 2.0}}, r"class_weight\['a'\]: class: expected"),
    "no class": (compiled, {"class_weight": {10: 2.0}}, r"class_weight\[10\]: class: .* 0 to 3"),
    "weights": (compiled, {"sample_weight": np.ones((150, 2))}, "sample_weight: expected one numb"),
    "activity": (
        lambda: compiled(lambda: lenet(L.Dense(4, "softmax", activity_regularizer="l2", name="d"))),
        {},
        "layer d: expected activity_regularizer=None, got L2",
    ),
    "engine": (compiled, {"engine": "fast"}, "engine: expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_trained_changes_nothing(name: str) -> None:
    make, options, message = WRONG[name]
    model = make()
    before = model.get_weights()
    with pytest.raises((TypeError, ValueError), match=message):
        fit(model, **({"x": X, "y": Y, "verbose": 0} | options))
    assert_close(model.get_weights(), before, 0)


def test_own_steps_are_refused() -> None:
    class Own(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return {}

    model = Own([L.Input((12, 12, 1)), L.Flatten(), L.Dense(4, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(TypeError, match="expected Keras' own train_step, got that of Own"):
        fit(model, X, Y)


def test_the_benchmark_compares_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    keras_models.main(["--only", "1", "--rounds", "1", "--images", "64"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("1. LeNet-5 on 28 x 28: tanh, average pooling, batch 32: ")
    assert lines[2].startswith("geometric mean ")
