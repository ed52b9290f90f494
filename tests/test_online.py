"""The online engine: judged step for step by the layers engine on NumPy in float64."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from engine_cases import (
    ADAPTIVE,
    ALL,
    OPTIMISERS,
    Fences,
    assert_close,
    copied,
    examples,
    rounding,
    state_of,
)
from helpers import assert_within, layouts

import lenet_fast
from lenet_fast import data, layers, losses, memory, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import (
    LanesEngine,
    LayersEngine,
    OnlineEngine,
    Rule,
    Totals,
    Unsupported,
    single,
)
from lenet_fast.layers import AvgPool2D, Conv2D, Dense, MaxPool2D, ReLU, Subsample2D, Tanh
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.pixels import prepare
from lenet_fast.training import SGD, Adadelta, Adam, AdamW, RMSprop

# --- the judge ----------------------------------------------------------------------------------

ORDER = np.array([3, 0, 0, 4, 1, 3])  # one image twice in a row, one left out
RATE = 0.02

Training = tuple[list[Totals], dict[str, np.ndarray]]


def trained(engine, title: str, order: np.ndarray = ORDER, rate: float = RATE) -> Training:
    """Return what a training on examples comes to, and all that it changes."""
    net = engine.network
    optimiser = OPTIMISERS[title](net)
    x, labels = examples(net, 5)
    totals = engine.train(x, labels, order, 1, optimiser, rate)
    return totals, state_of(net, optimiser)


def judged(net: Network, loss: Loss, title: str, rate: float = RATE) -> Training:
    """Return what NumPy's layers and the optimiser's own steps make of it, in float64."""
    twin = copied(net, np.float64)
    return trained(LayersEngine(twin, loss, backend="numpy", threads=1), title, rate=rate)


@functools.cache
def judged_case(name: str, title: str) -> Training:
    return judged(ALL[name].network(np.float64), ALL[name].loss, title)


def assert_trained(found: Training, expected: Training, net: Network) -> None:
    """Compare within twice :func:`rounding` of as many images as there were steps: they add up,
    and gradients are off by their own errors and by those of the weights that they are taken at.
    """
    share = 2 * rounding(net, len(ORDER))
    assert [(each.errors, each.images) for each in found[0]] == [
        (each.errors, each.images) for each in expected[0]
    ]
    for one, other in zip(found[0], expected[0], strict=True):
        assert abs(one.loss - other.loss) <= share * (1 + abs(other.loss))
    assert_close(found[1], expected[1], share, net.dtype)


def assert_padding_is_zero(engine: OnlineEngine) -> None:
    """Nothing has leaked into what stands for no weight."""
    padding = np.ones(engine._single.values, bool)
    for place in engine._single.parameters:
        padding[place.first + np.flatnonzero(place.index >= 0)] = False
    assert not engine._packed[padding].any()


def check(
    net: Network, loss: Loss, title: str, expected: Training, backend: str, rate: float = RATE
) -> None:
    """Judge the online engine on a network, in training and in single predictions."""
    engine = OnlineEngine(net, loss, backend=backend, threads=1)
    assert_trained(trained(engine, title, rate=rate), expected, net)
    assert_padding_is_zero(engine)
    x = examples(net, 3)[0]
    judge = LayersEngine(copied(net, np.float64), loss, backend="numpy", threads=1)
    outputs = judge.predict(x.astype(np.float64))
    bound = rounding(net, 1) * np.abs(outputs).max()
    for image, output in zip(x, outputs, strict=True):
        assert_within(engine.predict_one(image), output, bound, net.dtype)


@pytest.fixture(autouse=True)
def fences(monkeypatch):
    """Put a fence on both sides of all memory, NaN into it, and look at the fences afterwards."""
    fences = Fences()
    monkeypatch.setattr(memory, "aligned", fences.aligned)
    yield fences
    assert fences.hold()


# --- every option of every layer, every rule ----------------------------------------------------


@pytest.mark.parametrize("title", ["momentum", "nesterov"])  # changed at once, and at the end
@pytest.mark.parametrize("name", ALL)
def test_layers(name, title, dtype, online_backend):
    expected = judged_case(name, title)
    check(ALL[name].network(dtype), ALL[name].loss, title, expected, online_backend)
    before = ALL[name].network(np.float64)
    for parameter in before.trainable_names:
        assert (expected[1][parameter] != before.parameters[parameter]).any(), parameter


@pytest.mark.parametrize("name", ["table", "sub-sampled sum, rest"])
@pytest.mark.parametrize("title", OPTIMISERS)
def test_rules(title, name, dtype, online_backend):
    expected = judged_case(name, title)
    check(ALL[name].network(dtype), ALL[name].loss, title, expected, online_backend)


def lenet5(dtype: object = np.float32, **options: object) -> Network:
    """Return a LeNet-5 with the same weights in both dtypes, and all of them at work."""
    net = models.lenet5(**options)
    net.initialise("eblearn", 2)
    return copied(net, dtype)


@functools.cache
def judged_lenet5(**options: object) -> Training:
    net = lenet5(np.float64, **options)
    return judged(net, losses.default_for(net), "momentum", 1e-3)


@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
@pytest.mark.parametrize("connections", ["table", "full"])
@pytest.mark.parametrize("output", ["rbf", "softmax", "linear"])
@pytest.mark.parametrize("pooling", ["subsample", "average", "max", None])
def test_lenet5(pooling, output, connections, activation, dtype, online_backend):
    options = {"pooling": pooling, "output": output, "activation": activation}
    options |= {"connections": connections}
    net = lenet5(dtype, **options)
    expected = judged_lenet5(**options)
    check(net, losses.default_for(net), "momentum", expected, online_backend, 1e-3)


# --- a thousand steps ---------------------------------------------------------------------------

THOUSAND = {
    "1998": ({}, lambda: SGD(), 0.0005),
    "plain": (
        {"pooling": "average", "output": "softmax", "connections": "full"},
        lambda: SGD(0.9),
        0.001,
    ),
}


@pytest.mark.parametrize("frozen", [("C1",), ("C1", "S2"), ("C1", "S2", "C3")])
@pytest.mark.parametrize("pooling", ["subsample", "max"])
def test_layers_that_do_not_learn(pooling, frozen, dtype, online_backend):
    net = lenet5(dtype, pooling=pooling)
    expected = copied(net, np.float64)
    for layer, twin in zip(net.layers, expected.layers, strict=True):
        layer.trainable = twin.trainable = layer.trainable and layer.name not in frozen
    before = state_of(net, SGD())
    found = trained(OnlineEngine(net, losses.MAP(), backend=online_backend), "momentum")
    judge = LayersEngine(expected, losses.MAP(), backend="numpy", threads=1)
    assert_trained(found, trained(judge, "momentum"), net)
    for name, array in state_of(net, SGD()).items():
        if name.split(".")[0] in frozen:
            np.testing.assert_array_equal(array, before[name])


def thousand(title: str, dtype: object, make, changed: float = 0.0) -> Training:
    options, optimiser, rate = THOUSAND[title]
    net, chosen = copied(models.lenet5(**options), dtype), optimiser()
    net.parameters["C1.w"][...] *= 1 + changed
    train = data.load("sample").train
    totals = make(net, losses.default_for(net)).train(
        train.images, train.labels, np.arange(1000), 1, chosen, rate
    )
    return totals, state_of(net, chosen)


@functools.cache
def judged_thousand(title: str) -> Training:
    return thousand(
        title, np.float64, lambda net, loss: LayersEngine(net, loss, backend="numpy", threads=1)
    )


def assert_thousand(found: Training, expected: Training, title: str, dtype: object) -> None:
    """Compare the means of the losses, and all weights.

    A step adds rounding errors within :func:`rounding`, of either sign. At a rate at which a
    training converges, later steps do not make them larger, so they add up like a random walk:
    the bound of a thousand steps is sqrt(1000) times that of one. The largest seen is 0.4 % of
    it: gradients' errors reach the weights times the rate. (At a rate near the largest that
    converges they grow without bound, in any engine.)
    """
    share = math.sqrt(1000) * rounding(models.lenet5(**THOUSAND[title][0]), 1, dtype)
    assert len(found[0]) == len(expected[0]) == 1000
    one, other = (np.mean([each.loss for each in totals]) for totals in (found[0], expected[0]))
    assert abs(one - other) <= share * other
    assert_close(found[1], expected[1], share, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("title", THOUSAND)
def test_a_thousand_steps(title, dtype, online_backend):
    expected = judged_thousand(title)
    found = thousand(
        title, dtype, lambda net, loss: OnlineEngine(net, loss, backend=online_backend)
    )
    assert_thousand(found, expected, title, dtype)
    early, late = (
        np.mean([each.loss for each in part]) for part in (found[0][:200], found[0][800:])
    )
    assert late < 0.8 * early  # it learns


@pytest.mark.slow
def test_planted_a_thousand_steps_from_another_weight(online_backend):
    found = thousand(
        "plain",
        np.float64,
        lambda net, loss: OnlineEngine(net, loss, backend=online_backend),
        changed=1e-10,
    )
    with pytest.raises(AssertionError):
        assert_thousand(found, judged_thousand("plain"), "plain", np.float64)


# --- planted errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field", "change"),
    [
        ("padding", "top", lambda column: 0 * column),
        ("Tanh", "activation", lambda column: np.where(column < 0, column, (column + 1) % 4)),
        ("maximum, rest", "planar", lambda column: 0 * column),
        ("sub-sampling first", "stride_h", lambda column: 0 * column + 1),
        ("no bias", "b", lambda column: 0 * column),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_judge_sees_a_planted_error(name, field, change, online_backend, monkeypatch):
    lay_out = single.lay_out

    def wrong(network, lanes):
        made = lay_out(network, lanes)
        made.steps[field] = change(made.steps[field])
        return made

    monkeypatch.setattr(single, "lay_out", wrong)
    expected = judged_case(name, "momentum")
    with pytest.raises(AssertionError):
        check(ALL[name].network(np.float32), ALL[name].loss, "momentum", expected, online_backend)


def test_the_judge_sees_one_wrong_weight(online_backend):
    net = ALL["table"].network(np.float32)
    net.parameters["conv2.w"].reshape(-1)[np.flatnonzero(net.parameters["conv2.w"])[7]] *= 1.01
    with pytest.raises(AssertionError):
        check(net, ALL["table"].loss, "momentum", judged_case("table", "momentum"), online_backend)


# --- what stays as it is ------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["momentum", "nesterov, factors", *ADAPTIVE])
def test_absent_links_and_bitmaps_stay(title, dtype, online_backend):
    net = lenet5(dtype)
    linked = np.broadcast_to(LENET5_C3[:, :, None, None], net.parameters["C3.w"].shape)
    net.parameters["C3.w"][~linked] = np.nan  # no number that is read, or changed, would be lost
    bitmaps = net.parameters["OUTPUT.w"].copy()
    optimiser = OPTIMISERS[title](net)
    x, labels = examples(net, 20)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    totals = engine.train(x, labels, np.arange(20), 1, optimiser, 1e-4)
    assert all(math.isfinite(each.loss) for each in totals)
    for name, array in state_of(net, optimiser).items():
        if name.endswith("C3.w") and not name.startswith("factors"):
            assert (array[linked] != 0).mean() > 0.9, name
            absent = array[~linked]
            assert np.isnan(absent).all() if name == "C3.w" else not absent.any(), name
    np.testing.assert_array_equal(net.parameters["OUTPUT.w"], bitmaps)
    assert "OUTPUT.w" not in optimiser.state()
    assert np.isfinite(engine.predict_one(x[0])).all()


# --- bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["nesterov, factors", "momentum", *ADAPTIVE])
@pytest.mark.parametrize("raw", [True, False], ids=("bytes", "floats"))
def test_the_same_bits_whatever_the_calls(title, raw, online_backend, monkeypatch):
    """Also in pieces of a call, and from an engine that has done other things before."""
    ends = []
    for cuts, piece, used in (
        ([0, 60], 4096, False),
        ([0, 60], 4096, True),
        ([0, 1, 17, 59, 60], 4096, False),
        ([0, 60], 7, False),
    ):
        monkeypatch.setattr(OnlineEngine, "_BATCHES", piece)
        net = lenet5()
        optimiser = OPTIMISERS[title](net)
        engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
        x, labels = digits(40) if raw else examples(net, 40)
        order = np.random.default_rng(6).integers(0, 40, 60)
        if used:
            weights = {name: array.copy() for name, array in net.parameters.items()}
            x[3] = 255
            engine.train(x, labels, order[::-1], 1, SGD(), 1e-3)
            engine.predict_one(x[5])
            for name, array in weights.items():
                net.parameters[name][...] = array
            x = (digits(40) if raw else examples(net, 40))[0]
        totals = []
        for first, last in itertools.pairwise(cuts):
            totals += engine.train(x, labels, order[first:last], 1, optimiser, 1e-3)
        ends.append((totals, state_of(net, optimiser)))
    for totals, state in ends[1:]:
        assert totals == ends[0][0]
        assert state.keys() == ends[0][1].keys()
        for name, array in state.items():
            np.testing.assert_array_equal(array, ends[0][1][name], name)


def digits(n: int, rows: int = 28, columns: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes, half of them paper, and labels."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (n, rows, columns), np.uint8)
    x[rng.random(x.shape) < 0.5] = 0
    return x, rng.integers(0, 10, n)


def test_memory_that_was_never_set_is_not_read(online_backend):
    """What is not read cannot spoil: a bias a unit ends where its room begins, and rules that need
    all gradients at once change that room, too. (The fences put NaN there.)"""
    for optimiser in (
        *(SGD(0.9, nesterov=True), AdamW(), Adam(weight_decay=0.1)),
        *(RMSprop(momentum=0.9, centered=True, weight_decay=0.1), Adadelta(weight_decay=0.1)),
    ):
        net = Network(
            [Conv2D(1, 1, 2, padding=1, bias="unit"), Tanh(), Dense(9, 3)],
            input_shape=(1, 2, 2),
            output="softmax",
        )
        net.initialise("lecun_sqrt", 1)
        engine = OnlineEngine(net, losses.CrossEntropy(), backend=online_backend)
        x, labels = examples(net, 20)
        assert len(engine.train(x, labels, np.arange(20), 1, optimiser, 0.1)) == 20
        assert_padding_is_zero(engine)


def test_what_pooling_writes_beyond_its_maps_is_not_learned(online_backend):
    """A vector of them reaches to where the dense layer's rows are padded."""
    for pool in (MaxPool2D(2), AvgPool2D((1, 2), 1), Subsample2D(1, 2)):
        size = math.prod(pool.output_shape((1, 4, 6)))
        net = Network([pool, Dense(size, 3)], input_shape=(1, 4, 6), output="softmax")
        net.initialise("lecun_sqrt", 1)
        engine = OnlineEngine(net, losses.CrossEntropy(), backend=online_backend)
        x, labels = examples(net, 5)
        assert len(engine.train(x, labels, np.arange(5), 1, SGD(0.9), 0.1)) == 5
        assert_padding_is_zero(engine)


# --- losses that are no numbers -----------------------------------------------------------------


def rectified(dtype) -> Network:
    """Return a network that large numbers pass through."""
    net = Network(
        [Conv2D(1, 3, 2), ReLU(), Subsample2D(3, 2), Dense(12, 3)],
        input_shape=(1, 5, 5),
        dtype=dtype,
    )
    net.initialise("he_normal", 1)
    return net


@pytest.mark.parametrize("piece", [4096, 4])
@pytest.mark.parametrize("at", [0, 7, 11])
@pytest.mark.parametrize("optimiser", [lambda: SGD(0.9), lambda: AdamW()], ids=["sgd", "adamw"])
@pytest.mark.parametrize("kind", ["NaN", "infinite"])
def test_training_ends_before_an_image_that_is_no_number(
    kind, optimiser, at, piece, dtype, online_backend, monkeypatch
):
    monkeypatch.setattr(OnlineEngine, "_BATCHES", piece)
    x, labels = examples(rectified(dtype), 12)
    x[at] = np.nan if kind == "NaN" else np.finfo(dtype).max / 4
    ends = []
    for order in (np.arange(12), np.arange(at)):
        net, chosen = rectified(dtype), optimiser()
        engine = OnlineEngine(net, losses.MeanSquaredError(), backend=online_backend)
        totals = engine.train(x, labels, order, 1, chosen, 0.01)
        ends.append((totals, chosen.steps, state_of(net, chosen)))
        # The engine goes on as if nothing had happened.
        assert np.isfinite(engine.predict_one(x[at - 1 if at else 1])).all()
        assert len(engine.train(x, labels, np.full(3, 5), 1, chosen, 0.01)) == 3
    (totals, steps, state), (expected, until, before) = ends
    assert totals[:-1] == expected
    assert not math.isfinite(totals[-1].loss)
    assert math.isnan(totals[-1].loss) or kind == "infinite"
    assert steps == until == at
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array, name)


@pytest.mark.parametrize("title", ["momentum", "adamw"])
def test_weights_that_were_no_numbers_leave_nothing(title, online_backend):
    """Of a loss that is finite, with infinite gradients. Restored weights are as good as new."""

    def new() -> Network:
        table = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], bool)
        net = Network(
            [
                *(Conv2D(2, 3, 2), Tanh(), Conv2D(3, 3, 2, connections=table), Tanh()),
                *(Dense(12, 5), Tanh(), Dense(5, 3)),
            ],
            input_shape=(2, 4, 4),
            output="softmax",
        )
        net.initialise("lecun_sqrt", 1)
        return net

    net = new()
    engine = OnlineEngine(net, losses.CrossEntropy(), backend=online_backend)
    for name, array in net.parameters.items():
        array[...] = 1e30 if name.endswith(".w") else 0
    labels = np.zeros(1, int)
    totals = engine.train(
        np.zeros((1, 2, 4, 4), np.float32), labels, labels, 1, OPTIMISERS[title](net), 0.1
    )
    assert math.isfinite(totals[0].loss)
    assert np.isnan(net.parameters["conv1.w"]).all()
    for name, array in new().parameters.items():
        net.parameters[name][...] = array
    found = trained(engine, title)
    expected = trained(OnlineEngine(new(), losses.CrossEntropy(), backend=online_backend), title)
    assert found[0] == expected[0]
    for name, array in expected[1].items():
        np.testing.assert_array_equal(found[1][name], array, name)
    assert_padding_is_zero(engine)


# --- arguments ----------------------------------------------------------------------------------


def test_batches_of_more_than_one_are_refused(online_backend):
    net, sgd = lenet5(), SGD()
    before = state_of(net, sgd)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    x, labels = examples(net, 5)
    with pytest.raises(
        Unsupported, match=r"^batch_size: expected 1 for the online engine, got 2; "
    ):
        engine.train(x, labels, np.arange(5), 2, sgd, 0.1)
    for name, array in state_of(net, sgd).items():
        np.testing.assert_array_equal(array, before[name])


def test_an_unknown_rule_is_refused(online_backend):
    class Mine(SGD):
        @property
        def rule(self):
            return Rule("mine")

    net = lenet5()
    x, labels = examples(net, 5)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    with pytest.raises(
        Unsupported, match=r"^optimiser: only engine='layers' knows the rule 'mine'"
    ):
        engine.train(x, labels, np.arange(5), 1, Mine(), 0.1)


def test_profile(online_backend):
    net = lenet5()
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    x, labels = examples(net, 20)
    before = state_of(net, SGD())
    seconds = engine.profile(x, labels)
    assert seconds.shape == (len(net.layers), 3)
    forward, to_input, to_weights = seconds.T
    assert (forward > 0).all()
    assert to_input[0] == 0 < to_weights[0]
    assert (to_input[2:] > 0).all()  # and S2's is C1's squashing's, too, where S2 is planar
    assert not engine.profile(x, labels, train=False)[:, 1:].any()
    assert not engine.profile(x[:0], labels[:0]).any()
    for name, array in state_of(net, SGD()).items():
        np.testing.assert_array_equal(array, before[name])


# --- single predictions -------------------------------------------------------------------------


def test_one_prediction_is_that_of_the_other_engines(dtype, online_backend):
    net = lenet5(dtype)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    judge = LayersEngine(net, losses.MAP(), backend="numpy", threads=1)
    for x in (digits(6)[0], digits(6, 32, 32)[0], prepare(digits(6)[0], dtype=dtype)):
        expected = judge.predict(x)
        bound = rounding(net, 1) * np.abs(expected).max()
        for image, outputs in zip(x, expected, strict=True):
            found = engine.predict_one(image)
            assert_within(found, outputs, bound, dtype)
            np.testing.assert_array_equal(engine.predict(image[np.newaxis]), [found])
        assert_within(engine.predict(x), expected, bound, dtype)
        assert (np.ptp(expected, axis=0) > 100 * bound).all()


def test_bytes_of_several_sizes_in_turn(online_backend):
    """Nothing of an image is left in the next one's paper."""
    net = lenet5()
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    for _ in range(2):
        for size in ((32, 32), (28, 28), (1, 32), (31, 1), (1, 1), (27, 25), (32, 32), (2, 3)):
            image = np.full(size, 255, np.uint8)
            expected = OnlineEngine(net, losses.MAP(), backend=online_backend).predict_one(image)
            np.testing.assert_array_equal(engine.predict_one(image), expected)


def test_any_layout_of_an_image(online_backend, tmp_path):
    net = lenet5()
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    for image in (digits(1)[0][0], prepare(digits(1)[0])[0]):
        expected = engine.predict_one(image)
        image.tofile(tmp_path / "image")
        mapped = np.memmap(tmp_path / "image", image.dtype, "r", shape=image.shape)
        # What came from another process has a dtype of its own.
        for title, given in (*layouts(image), ("file", mapped), ("", copy.deepcopy(image))):
            for predict in (engine.predict_one, net.predict):
                with lenet_fast.use_backend(online_backend):
                    np.testing.assert_array_equal(predict(given), expected, title)


def test_results_are_the_callers_own(online_backend):
    engine = OnlineEngine(lenet5(), losses.MAP(), backend=online_backend)
    x, _ = digits(2)
    first = engine.predict_one(x[0])
    kept = first.copy()
    engine.predict_one(x[1])
    np.testing.assert_array_equal(first, kept)
    first.fill(7)
    np.testing.assert_array_equal(engine.predict_one(x[0]), kept)


@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (np.zeros((1, 28, 28), "f4"), ValueError, r"x: expected shape \(1, 1, 32, 32\)"),
        (np.zeros((1, 32, 32), "f8"), TypeError, "x: expected dtype float32 of the network"),
        (np.zeros((1, 32, 32), ">f4"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((1, 32, 32), "i4"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((32, 32), "f4"), ValueError, r"image: expected .* got float32 of shape \(32, 32"),
        (np.zeros((1, 28, 28), "u1"), ValueError, r"image: expected bytes \(rows, columns\)"),
        (np.zeros((33, 28), "u1"), ValueError, "x: expected bytes .*at most 32 by 32, got"),
        (np.zeros((28, 0), "u1"), ValueError, "x: expected bytes .*at most 32 by 32, got"),
        (np.array(3, "u1"), ValueError, r"image: expected bytes .* got uint8 of shape \(\)"),
        (np.ma.zeros((28, 28), "u1"), TypeError, "x: expected a NumPy array, got MaskedArray"),
        ([[0] * 28] * 28, TypeError, "x: expected a NumPy array, got list"),
        (None, TypeError, "x: expected a NumPy array, got NoneType"),
    ],
)
def test_a_wrong_image(image, error, text, create_any):
    engine = create_any(lenet5(), losses.MAP())
    engine.predict_one(np.zeros((28, 28), np.uint8))
    for _ in range(2):
        with pytest.raises(error, match=f"^{text}"):
            engine.predict_one(image)


@pytest.mark.parametrize("kind", [LanesEngine, OnlineEngine])
def test_bytes_follow_a_pixel_range_that_is_set_later(kind, online_backend):
    def network() -> Network:
        net = Network([Dense(9, 2)], input_shape=(1, 3, 3), output="softmax")
        net.initialise("lecun_sqrt", 1)
        return net

    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
    net, moved = network(), network()
    engine = kind(moved, losses.CrossEntropy(), backend=online_backend, threads=1)
    before = engine.predict_one(pixels[0])
    net.pixel_range = moved.pixel_range = (-3.0, 5.0)
    expected = kind(net, losses.CrossEntropy(), backend=online_backend, threads=1)
    assert not np.array_equal(engine.predict_one(pixels[0]), before)
    np.testing.assert_array_equal(engine.predict_one(pixels[0]), expected.predict_one(pixels[0]))
    np.testing.assert_array_equal(engine.predict(pixels), expected.predict(pixels))
    for each in (engine, expected):
        each.train(pixels, np.array([0, 1]), np.arange(2), 1, SGD(), 0.1)
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(moved.parameters[name], array)


def test_a_wrong_image_of_a_network(online_backend):
    net = Network([Dense(70, 3)], input_shape=(2, 5, 7))
    with lenet_fast.use_backend(online_backend):
        with pytest.raises(ValueError, match="x: expected prepared images for a network whose inp"):
            net.predict(np.zeros((5, 7), np.uint8))
        with pytest.raises(TypeError, match="x: expected a NumPy array of images, got list"):
            net.predict([[[0.0]]])
        with pytest.raises(TypeError, match="x: expected a NumPy array, got MaskedArray"):
            net.predict(np.ma.zeros((2, 5, 7), np.float32))
        with pytest.raises(
            ValueError, match=r"\(2, 5, 7\), or \(n, 2, 5, 7\) .* got shape \(5, 7\)"
        ):
            net.predict(np.zeros((5, 7), np.float32))
        assert net.predict(np.zeros((0, 2, 5, 7), np.float32)).shape == (0, 3)


def test_a_network_predicts_on_the_current_backend(online_backend):
    net = lenet5()
    x, _ = digits(3)
    found = {}
    for name in ("numpy", online_backend, "numpy", online_backend):
        with lenet_fast.use_backend(name):
            outputs = net.predict(x[0])
            assert_within(net.predict(x)[0], outputs, rounding(net, 1) * np.abs(outputs).max())
            assert net.predict(x).shape == (3, 10)
        np.testing.assert_array_equal(found.setdefault(name, outputs), outputs)
    assert_within(found["numpy"], found[online_backend], rounding(net, 1) * np.abs(outputs).max())


# --- the weights of the moment ------------------------------------------------------------------


def fresh(net: Network, image: np.ndarray, backend: str) -> np.ndarray:
    """Return what a new network of the same weights predicts."""
    return OnlineEngine(copied(net, net.dtype), losses.MAP(), backend=backend).predict_one(image)


def test_weights_of_the_moment_predict(dtype, online_backend):
    net = lenet5(dtype)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    image = digits(1)[0][0]
    seen = [engine.predict_one(image)]
    for layer in net.layers:
        for name, array in layer.parameters.items():
            array += dtype.type(0.01)  # in place
            for replaced in (False, True):
                if replaced:
                    layer.parameters[name] = array * dtype.type(0.875) + dtype.type(0.01)
                seen.append(engine.predict_one(image))
                np.testing.assert_array_equal(seen[-1], fresh(net, image, online_backend), name)
    for one, other in itertools.pairwise(seen):
        assert (one != other).any()


def test_weights_in_another_layout(dtype, create_any):
    """They predict, and they are trained, if not as fast."""
    image = digits(1)[0][0]
    x, labels = digits(6)
    ends = []
    for wide in (False, True):
        net = lenet5(dtype)
        engine = create_any(net, losses.MAP(), threads=1)
        engine.predict_one(image)
        if wide:
            for layer, name in ((net.layers[0], "w"), (net.layers[4], "w"), (net.layers[-3], "w")):
                layer.parameters[name] = np.asfortranarray(layer.parameters[name])
                assert not layer.parameters[name].flags.c_contiguous
        outputs = engine.predict_one(image)
        engine.train(x, labels, np.arange(6), 1, SGD(), 1e-3)
        ends.append((outputs, net.parameters))
    bound = rounding(net, 6)
    assert_within(ends[1][0], ends[0][0], bound * np.abs(ends[0][0]).max(), dtype)
    before = lenet5(dtype).parameters
    for name, array in ends[1][1].items():
        np.testing.assert_array_equal(array, ends[0][1][name], name)
        assert name == "OUTPUT.w" or (array != before[name]).any(), name


def test_weights_of_another_dtype(online_backend):
    net = lenet5(np.float32)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    image = digits(1)[0][0]
    expected = engine.predict_one(image)
    layer = net.layers[0]
    layer.parameters["w"] = layer.parameters["w"].astype(np.float64)
    bound = rounding(net, 1) * np.abs(expected).max()
    assert_within(engine.predict_one(image), expected, bound, np.float32)


@pytest.mark.parametrize("change", [lambda w: w[:5].copy(), lambda w: np.concatenate([w, w])])
def test_weights_of_another_size_are_refused(change, online_backend):
    net = lenet5()
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    layer = net.layers[-3]
    layer.parameters["w"] = change(layer.parameters["w"])
    for call in (
        lambda: engine.predict_one(digits(1)[0][0]),
        lambda: engine.train(*digits(3), np.arange(3), 1, SGD(), 0.1),
    ):
        with pytest.raises(ValueError, match=r"^F6\.w: expected 10080 numbers, got (600|20160)$"):
            call()


def test_two_threads_that_meet_other_weights_at_once(online_backend):
    """What one of them has made of the weights before must not stay.

    The worst moment is made sure of: between any two steps of the one, the other does all of its.
    """
    net = lenet5()
    image = digits(1)[0][0]
    layer = net.layers[0]
    nested = False

    class Interrupted(OnlineEngine):
        def __setattr__(self, name, value):
            nonlocal nested
            super().__setattr__(name, value)
            if armed and not nested:
                nested = True
                layer.parameters["w"] = layer.parameters["w"] * np.float32(0.5)
                self.predict_one(image)
                nested = False

    armed = False
    engine = Interrupted(net, losses.MAP(), backend=online_backend)
    armed = True
    layer.parameters["w"] = layer.parameters["w"] * np.float32(0.5)
    engine.predict_one(image)
    armed = False
    expected = fresh(net, image, online_backend)
    np.testing.assert_array_equal(engine.predict_one(image), expected)


# --- one prediction after the other, and many at once -------------------------------------------


@pytest.mark.parametrize("pooling", ["average", "max", "subsample"])
def test_an_image_that_is_no_number_does_not_last(pooling, dtype, online_backend):
    net = lenet5(dtype, pooling=pooling)
    engine = OnlineEngine(net, losses.MAP(), backend=online_backend)
    x = prepare(digits(1)[0], dtype=dtype)[0]
    expected = engine.predict_one(x)
    for value in (np.nan, np.inf, -np.inf):
        assert not np.isfinite(engine.predict_one(np.full_like(x, value))).all() or value == np.inf
        np.testing.assert_array_equal(engine.predict_one(x), expected)


def test_many_threads_at_once_have_the_bits_of_one(online_backend):
    net = lenet5()
    x, _ = digits(25)
    with lenet_fast.use_backend(online_backend):
        expected = [net.predict(image) for image in x]
        assert any((one != expected[0]).any() for one in expected)
        wrong: list[str] = []
        start = threading.Barrier(8)

        def work(shift: int) -> None:
            start.wait(30)
            with lenet_fast.use_backend(online_backend):
                for k in range(200):
                    at = (k + shift) % 25
                    if (net.predict(x[at]) != expected[at]).any():
                        wrong.append(f"{shift}, {k}")

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            workers = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
        finally:
            sys.setswitchinterval(interval)
        assert not any(worker.is_alive() for worker in workers)
        assert wrong == []


@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_of_a_network_that_has_predicted(way, online_backend):
    net = lenet5()
    image = digits(1)[0][0]
    with lenet_fast.use_backend(online_backend):
        expected = net.predict(image)
        twin = way(net)
        assert twin._engines == {}
        np.testing.assert_array_equal(twin.predict(image), expected)  # the same engine's bits
        twin.parameters["F6.b"][...] += 1
        assert (twin.predict(image) != expected).any()
        np.testing.assert_array_equal(net.predict(image), expected)


def test_nothing_grows(online_backend):
    net = lenet5()
    image = digits(1)[0][0]
    with lenet_fast.use_backend(online_backend):
        for _ in range(10):
            net.predict(image)
        tracemalloc.start()
        traced = []
        for _ in range(4):
            for _ in range(2000):
                net.predict(image)
            traced.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    # The least, since other threads of this process may have got some memory meanwhile.
    assert np.diff(traced).min() < 1000
