"""Training by an engine: the steps are those of its gradients and the optimiser, bit for bit so
for any number of threads, and it ends where a loss is no number."""

from __future__ import annotations

import itertools
import math
import platform
import threading

import numpy as np
import pytest
from engine_cases import (
    ADAPTIVE,
    CASES,
    OPTIMISERS,
    assert_close,
    batch,
    copied,
    examples,
    rounding,
    state_of,
)
from helpers import assert_within

from lenet_fast import losses, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import LanesEngine, LayersEngine, OnlineEngine, Totals
from lenet_fast.layers import RBF, Dense, ReLU
from lenet_fast.network import Network
from lenet_fast.training import SGD, AdamW


def by_hand(engine, x, labels, order, batch_size, optimiser, rate) -> list[Totals]:
    """Train as the interface says it, with the engine's own gradients."""
    found = []
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        totals, gradients = engine.loss_and_gradients(x[chosen], labels[chosen])
        found.append(totals)
        optimiser.step(engine.network.parameters, gradients, rate)
    return found


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


# --- the same as by hand ------------------------------------------------------------------------


@pytest.mark.parametrize("title", OPTIMISERS)
def test_training_is_gradients_and_steps(title, dtype, create):
    """Images repeat, some are left out, and the last batch is short."""
    case = CASES["table"]
    nets = [case.network(dtype), case.network(dtype)]
    optimisers = [OPTIMISERS[title](net) for net in nets]
    x, labels = examples(nets[0], 50)
    order = np.random.default_rng(5).integers(0, 45, 103)
    assert len(np.unique(order)) < 45
    totals = create(nets[0], case.loss, threads=2).train(x, labels, order, 20, optimisers[0], 0.05)
    hand = create(nets[1], case.loss, threads=2)
    expected = by_hand(hand, x, labels, order, 20, optimisers[1], 0.05)
    assert [each.images for each in totals] == [20] * 5 + [3]
    assert [each.errors for each in totals] == [each.errors for each in expected]
    # The bound is that of one gradient; the largest difference seen after six steps is half of it.
    share = rounding(nets[0], 103)
    for one, other in zip(totals, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=share)
    found = [state_of(net, optimiser) for net, optimiser in zip(nets, optimisers, strict=True)]
    assert_close(*found, share, dtype)
    assert optimisers[0].steps == 6
    before = case.network(dtype).parameters
    for name in nets[0].trainable_names:
        assert np.abs(nets[0].parameters[name] - before[name]).max() > 1e-3, name


def test_first_step_of_sgd_to_the_last_bits(dtype, create):
    """The gradient has the same bits in training, and each weight is rounded a few times."""
    case = CASES["table"]
    net, sgd = case.network(dtype), SGD(0.9)
    x, labels = examples(net, 30)
    engine = create(net, case.loss)
    _, gradients = engine.loss_and_gradients(x, labels)
    before = {name: array.copy() for name, array in net.parameters.items()}
    engine.train(x, labels, np.arange(30), 30, sgd, 0.05)
    velocities = sgd.slots(net.parameters)[0]
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(velocities[name], gradient)
        expected = before[name] - np.float64(0.05) * gradient
        bound = np.spacing(np.maximum(np.abs(before[name]), np.abs(0.05 * gradient)))
        assert_within(net.parameters[name], expected, 2 * bound, dtype, name)


def test_first_step_of_adamw_to_the_last_bits(dtype, create, request):
    case = CASES["table"]
    net, adamw = case.network(dtype), AdamW(0.9, 0.999, 1e-8, 0.0)
    x, labels = examples(net, 30)
    engine = create(net, case.loss)
    _, gradients = engine.loss_and_gradients(x, labels)
    engine.train(x, labels, np.arange(30), 30, adamw, 0.01)
    first, second = adamw.slots(net.parameters)
    for name, gradient in gradients.items():
        wide = gradient.astype(np.float64)
        for found, expected in (
            (first[name], (1 - adamw.rule.beta1) * wide),
            (second[name], (1 - adamw.rule.beta2) * wide * wide),
        ):
            bound = 3 * np.spacing(np.abs(expected).astype(dtype))
            assert_within(found, expected, bound, dtype, name)


@pytest.mark.parametrize("title", ["momentum", "nesterov, factors", *ADAPTIVE])
def test_training_agrees_with_the_reference(title, create):
    # In float64, where rounding cannot hide anything, against NumPy's layers and NumPy's steps.
    nets = [copied(models.lenet5(pooling="max", output="softmax"), np.float64) for _ in range(2)]
    optimisers = [OPTIMISERS[title](net) for net in nets]
    x, labels = examples(nets[0], 60)
    order = np.random.default_rng(5).permutation(60)
    totals = create(nets[0], losses.CrossEntropy(), threads=2).train(
        x, labels, order, 25, optimisers[0], 0.02
    )
    judge = LayersEngine(nets[1], losses.CrossEntropy(), backend="numpy", threads=1)
    expected = by_hand(judge, x, labels, order, 25, optimisers[1], 0.02)
    share = rounding(nets[0], 60)
    for one, other in zip(totals, expected, strict=True):
        assert (one.errors, one.images) == (other.errors, other.images)
        assert one.loss == pytest.approx(other.loss, rel=share)
    found = [state_of(net, optimiser) for net, optimiser in zip(nets, optimisers, strict=True)]
    assert_close(*found, share, np.float64)


def test_planted_a_wrong_step_is_seen(create):
    """Planted: a weight decay larger by a tenth, in two small steps, is seen."""
    case = CASES["table"]
    nets = [case.network(np.float32), case.network(np.float32)]
    x, labels = examples(nets[0], 40)
    order = np.arange(40)
    create(nets[0], case.loss).train(x, labels, order, 20, SGD(weight_decay=0.011), 0.05)
    by_hand(create(nets[1], case.loss), x, labels, order, 20, SGD(weight_decay=0.01), 0.05)
    with pytest.raises(AssertionError, match="off"):
        assert_close(nets[0].parameters, nets[1].parameters, rounding(nets[0], 40), np.float32)


@pytest.mark.parametrize("title", ["nesterov, factors", *ADAPTIVE])
@pytest.mark.parametrize("raw", [True, False], ids=("bytes", "floats"))
def test_two_calls_are_one(title, raw, create):
    """Cut between two batches, a training has the same bits: the trainer cuts it for Ctrl-C."""
    x = np.random.default_rng(5).integers(0, 256, (50, 30, 28)).astype(np.uint8)
    labels = np.arange(50) % 10
    order = np.random.default_rng(6).permutation(50)
    ends = []
    for cuts in ([0, 50], [0, 16, 48, 50]):
        net = models.lenet5()
        optimiser = OPTIMISERS[title](net)
        engine = create(net, losses.MAP(), threads=2)
        images = x if raw else examples(net, 50)[0]
        totals = []
        for first, last in itertools.pairwise(cuts):
            totals += engine.train(images, labels, order[first:last], 16, optimiser, 0.003)
        ends.append((totals, state_of(net, optimiser)))
    assert ends[0][0] == ends[1][0]
    assert_same(ends[0][1], ends[1][1])


def test_a_batch_of_one_and_one_of_more_than_all(create):
    case = CASES["padding"]
    for batch_size, count in ((1, 5), (5, 1), (1000, 1)):
        nets = [case.network(np.float64), case.network(np.float64)]
        x, labels = examples(nets[0], 5)
        order = np.arange(5)[::-1]
        totals = create(nets[0], case.loss).train(x, labels, order, batch_size, SGD(), 0.05)
        assert len(totals) == count
        assert sum(each.images for each in totals) == 5
        by_hand(create(nets[1], case.loss), x, labels, order, batch_size, SGD(), 0.05)
        share = rounding(nets[0], 5)
        assert_close(nets[0].parameters, nets[1].parameters, share, np.float64)


def test_totals_come_before_the_step(create_any):
    net = models.lenet5()
    engine = create_any(net, losses.MAP())
    x, labels = examples(net, 40)
    size = batch(engine, 16)
    before = engine.evaluate(x[:size], labels[:size])
    found = engine.train(x, labels, np.arange(40), size, SGD(), 0.001)
    assert found[0].loss == pytest.approx(before.loss, rel=1e-5)  # another engine's, if online
    assert found[0].errors == before.errors
    after = engine.evaluate(x[:size], labels[:size]).loss
    assert after != pytest.approx(before.loss, rel=1e-3)


def test_a_network_that_learns_nothing(create_any):
    net = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    engine = create_any(net, losses.MAP())
    x, labels = examples(net, 20)
    adamw = AdamW()
    totals = engine.train(x, labels, np.arange(20), batch(engine, 8), adamw, 0.1)
    assert sum(each.images for each in totals) == 20
    assert sum(each.loss for each in totals) == pytest.approx(engine.evaluate(x, labels).loss)
    assert adamw.steps == len(totals)
    np.testing.assert_array_equal(net.parameters["rbf1.w"], np.eye(3, 4, dtype=np.float32))


def test_weights_of_the_moment_are_trained(create_any):
    """What others did to weights, factors and state between two calls counts."""
    ends = []
    for scale in (1.0, 2.0):
        net = models.lenet5()
        engine, sgd = create_any(net, losses.MAP()), SGD(0.9)
        x, labels = examples(net, 20)
        engine.train(x, labels, np.arange(20), batch(engine, 10), sgd, 0.001)
        net.parameters["F6.b"][...] *= scale
        sgd.slots({"F6.b": net.parameters["F6.b"]})[0]["F6.b"][...] = 0
        sgd.factors = {"F6.w": np.zeros_like(net.parameters["F6.w"])}
        weights = {name: net.parameters[name].copy() for name in ("F6.w", "C5.w")}
        engine.train(x, labels, np.arange(20), batch(engine, 10), sgd, 0.001)
        np.testing.assert_array_equal(net.parameters["F6.w"], weights["F6.w"])
        assert (net.parameters["C5.w"] != weights["C5.w"]).any()
        ends.append(net.parameters["F6.b"])
    assert (ends[0] != ends[1]).all()


# --- rates by step ------------------------------------------------------------------------------


@pytest.mark.parametrize("title", OPTIMISERS)
def test_each_step_has_its_own_rate(title, dtype, create_any, monkeypatch):
    """As many calls with a rate each have the same bits, also where the engine cuts its own."""
    rates = np.array([0.02, 0.0, 0.05, 0.011])
    ends = []
    for each_alone in (True, False):
        net = CASES["table"].network(dtype)
        engine, optimiser = create_any(net, CASES["table"].loss, threads=2), OPTIMISERS[title](net)
        monkeypatch.setattr(engine, "_BATCHES", 3, raising=False)  # cut after the third step
        size = batch(engine, 20)
        x, labels = examples(net, 4 * size)
        order = np.random.default_rng(5).permutation(4 * size)[: 4 * size - size // 2]
        totals = []
        if each_alone:
            for k, rate in enumerate(rates.tolist()):
                part = order[k * size : (k + 1) * size]
                totals += engine.train(x, labels, part, size, optimiser, rate)
        else:
            totals = engine.train(x, labels, order, size, optimiser, rates)
        ends.append((totals, state_of(net, optimiser), optimiser.steps))
    assert ends[0][0] == ends[1][0]
    assert_same(ends[1][1], ends[0][1])
    assert ends[0][2] == ends[1][2] == 4


def test_rates_by_step_agree_with_the_reference(create):
    nets = [copied(models.lenet5(pooling="max", output="softmax"), np.float64) for _ in range(2)]
    optimisers = [SGD(0.9, 5e-4, nesterov=True) for _ in nets]
    x, labels = examples(nets[0], 60)
    rates = np.array([0.01, 0.03, 0.002])
    engine = create(nets[0], losses.CrossEntropy(), threads=2)
    engine.train(x, labels, np.arange(60), 25, optimisers[0], rates)
    judge = LayersEngine(nets[1], losses.CrossEntropy(), backend="numpy", threads=1)
    for k, rate in enumerate(rates):
        part = np.arange(60)[25 * k : 25 * (k + 1)]
        by_hand(judge, x, labels, part, 25, optimisers[1], rate)
    found = [state_of(net, optimiser) for net, optimiser in zip(nets, optimisers, strict=True)]
    assert_close(*found, rounding(nets[0], 60), np.float64)


# --- small numbers ------------------------------------------------------------------------------


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="only x86 has a switch for them"
)
@pytest.mark.parametrize("kind", [LanesEngine, OnlineEngine])
@pytest.mark.parametrize("threads", [1, 2])
def test_small_numbers_count_as_zero_during_a_call_only(kind, threads, dtype, lane_backend):
    """Else Intel's cores take ten times as long, as soon as the network is sure of its digits."""
    smallest = np.finfo(dtype).smallest_normal
    net = Network([Dense(4, 3, name="D")], input_shape=(1, 2, 2), dtype=dtype)
    net.initialise("he_normal", 1)
    engine = kind(net, losses.MeanSquaredError(), backend=lane_backend, threads=threads)
    for x, flushed in ((smallest / 2, True), (smallest * 64, False)):
        sgd = SGD(0.9)
        engine.train(
            np.full((1, 1, 2, 2), x, dtype), np.zeros(1, int), np.zeros(1, int), 1, sgd, 0.1
        )
        (velocities,) = sgd.slots({name: net.parameters[name] for name in net.trainable_names})
        assert (velocities["D.b"] != 0).all()
        assert (velocities["D.w"] == 0).all() == flushed
    halves = np.full(64, smallest) * np.full(64, 0.5, dtype)
    assert (halves > 0).all(), "the switch is left on"


# --- absent links -------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["momentum", "nesterov, factors", *ADAPTIVE])
def test_absent_links_stay_zero(title, create):
    net = models.lenet5()
    x, labels = examples(net, 40)
    optimiser = OPTIMISERS[title](net)
    create(net, losses.MAP()).train(x, labels, np.arange(40), 15, optimiser, 0.01)
    for name, array in state_of(net, optimiser).items():
        if name.endswith("C3.w") and not name.startswith("factors"):
            linked = array.reshape(16, 6, 25)
            assert (linked[~LENET5_C3] == 0).all(), name
            assert (linked[LENET5_C3] != 0).mean() > 0.9, name


# --- threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimiser", "batch_size", "n"),
    [
        (lambda: SGD(0.9), 32, 70),
        (lambda: AdamW(), 32, 70),
        (lambda: SGD(0.9), 50, 70),  # no multiple of the lanes
        (lambda: AdamW(), 1, 6),
    ],
    ids=["sgd-32", "adamw-32", "sgd-50", "adamw-1"],
)
def test_two_epochs_have_the_same_bits_with_any_number_of_threads(optimiser, batch_size, n, create):
    ends = []
    for threads in (1, 2, 3, 7):
        net, chosen = models.lenet5(), optimiser()
        engine = create(net, losses.MAP(), threads=threads)
        assert engine.threads == threads
        x, labels = examples(net, n)
        totals = []
        for epoch in (1, 2):
            order = np.random.default_rng(epoch).permutation(n)
            totals += engine.train(x, labels, order, batch_size, chosen, 0.005)
        ends.append((totals, state_of(net, chosen)))
        engine.close()
    for totals, state in ends[1:]:
        assert totals == ends[0][0]
        assert_same(state, ends[0][1])
    assert all(math.isfinite(each.loss) for each in ends[0][0])


def test_two_trainings_at_once_have_the_bits_of_each_alone(create):
    def train(seed: int) -> tuple[list[Totals], dict[str, np.ndarray]]:
        net, sgd = models.lenet5(seed=seed), SGD(0.9)
        engine = create(net, losses.MAP(), threads=2)
        x, labels = examples(net, 70)
        order = np.random.default_rng(seed).permutation(70)
        totals = engine.train(x, labels, order, 24, sgd, 0.005)
        totals += engine.train(x, labels, order, 24, sgd, 0.005)
        return totals, state_of(net, sgd)

    expected = [train(seed) for seed in (0, 1)]
    found: dict[int, tuple[list[Totals], dict[str, np.ndarray]]] = {}
    workers = [
        threading.Thread(target=lambda seed=seed: found.update({seed: train(seed)}), daemon=True)
        for seed in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(found) == [0, 1], "a training hangs, or has failed"
    for seed in (0, 1):
        assert found[seed][0] == expected[seed][0]
        assert_same(found[seed][1], expected[seed][1])
    assert expected[0][0] != expected[1][0]


# --- losses that are no numbers -----------------------------------------------------------------


def rectified(dtype) -> Network:
    """Return a network that large numbers pass through."""
    net = Network([Dense(9, 20), ReLU(), Dense(20, 3)], input_shape=(1, 3, 3), dtype=dtype)
    net.initialise("he_normal", 1)
    return net


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("optimiser", [lambda: SGD(0.9), lambda: AdamW()], ids=["sgd", "adamw"])
@pytest.mark.parametrize("kind", ["NaN", "infinite"])
def test_training_ends_with_an_image_that_is_no_number(kind, optimiser, threads, dtype, create):
    x, labels = examples(rectified(dtype), 150)
    x[77] = np.nan if kind == "NaN" else np.finfo(dtype).max / 16
    ends = []
    for order in (np.arange(150), np.arange(60)):
        net, chosen = rectified(dtype), optimiser()
        engine = create(net, losses.MeanSquaredError(), threads=threads)
        with np.errstate(all="ignore"):
            totals = engine.train(x, labels, order, 30, chosen, 0.01)
        ends.append((net, chosen, totals))
    (net, chosen, totals), (twin, until, expected) = ends
    assert totals[:2] == expected
    assert len(totals) == 3
    assert not math.isfinite(totals[2].loss)
    assert math.isnan(totals[2].loss) == (kind == "NaN")
    assert totals[2].images == 30
    assert chosen.steps == 2
    assert_same(state_of(net, chosen), state_of(twin, until))
    with np.errstate(all="ignore"):
        failed = create(net, losses.MeanSquaredError()).evaluate(x[60:90], labels[60:90])
    assert totals[2].errors == failed.errors > 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_training_ends_where_it_diverges(threads, dtype, create):
    net = rectified(dtype)
    x, labels = examples(net, 90)
    rate = math.sqrt(float(np.finfo(dtype).max)) * 100
    with np.errstate(all="ignore"):
        engine = create(net, losses.MeanSquaredError(), threads=threads)
        totals = engine.train(x, labels, np.arange(90), 30, SGD(), rate)
    assert [math.isfinite(each.loss) for each in totals] == [True, False]
    assert all(np.isfinite(array).all() for array in net.parameters.values())
    assert np.abs(net.parameters["dense2.b"]).max() > rate / 1000  # one step was made


@pytest.mark.parametrize("at", [0, 149])
def test_training_may_end_with_the_first_batch_or_the_last(at, create):
    net = rectified(np.float32)
    x, labels = examples(net, 150)
    x[at] = np.nan
    sgd = SGD(0.9)
    engine = create(net, losses.MeanSquaredError(), threads=2)
    before = state_of(net, sgd)
    totals = engine.train(x, labels, np.arange(150), 40, sgd, 0.01)
    assert [math.isnan(each.loss) for each in totals] == [False] * (len(totals) - 1) + [True]
    assert len(totals) == (1 if at == 0 else 4)
    assert sgd.steps == len(totals) - 1
    changed = (net.parameters["dense1.w"] != before["dense1.w"]).any()
    assert changed == (at != 0)
    # The engine goes on as if nothing had happened.
    x[at] = 0
    assert len(engine.train(x, labels, np.arange(150), 40, sgd, 0.01)) == 4


# --- weights of images --------------------------------------------------------------------------


def trained(engine, x, labels, order, size, optimiser, **options):
    totals = engine.train(x, labels, order, size, optimiser, 0.05, **options)
    return totals, state_of(engine.network, optimiser)


@pytest.mark.parametrize("title", ["nesterov, factors", "adamw, options"])
def test_weights_of_one_change_no_bit(title, dtype, create):
    """Neither do threads. The sum of the losses is added in another order."""
    case = CASES["table"]
    found = []
    for weights, threads in ((None, 2), (np.ones(50), 2), (np.ones(50, np.float32), 1)):
        net = case.network(dtype)
        x, labels = examples(net, 50)
        order = np.random.default_rng(5).integers(0, 45, 103)
        engine, optimiser = create(net, case.loss, threads=threads), OPTIMISERS[title](net)
        found.append(trained(engine, x, labels, order, 20, optimiser, weights=weights))
        assert optimiser.steps == 6
    for totals, state in found[1:]:
        assert_same(state, found[0][1])
        for one, other in zip(totals, found[0][0], strict=True):
            assert (one.errors, one.images) == (other.errors, other.images)
            assert one.loss == pytest.approx(other.loss, rel=1e-6)


@pytest.mark.parametrize(
    "title", ["table", "label smoothing", "mean squared error, options", "RBF, j = 5.0"]
)
def test_a_weight_is_how_often_an_image_counts(title, dtype, create):
    """In a batch of all images, divided by the mean; 0 leaves one out. The first step of SGD."""
    case = CASES[title]
    nets = [case.network(dtype), case.network(dtype)]
    x, labels = examples(nets[0], 40)
    counts = np.arange(40) % 4
    often, weights = np.arange(40).repeat(counts), counts / counts.mean()
    weighted, repeated = (
        create(net, case.loss).train(x, labels, order, 200, SGD(0.9), 0.5, **options)
        for net, order, options in (
            (nets[0], np.arange(40), {"weights": weights}),
            (nets[1], often, {}),
        )
    )
    share = rounding(nets[0], 60)
    assert weighted[0].loss / 40 == pytest.approx(repeated[0].loss / 60, rel=share)
    assert_close(nets[0].parameters, nets[1].parameters, share, dtype)
    start = case.network(dtype).parameters
    for name in nets[0].trainable_names:
        assert np.abs(nets[0].parameters[name] - start[name]).max() > 1e-3, name


def test_weighted_steps_are_those_of_weighted_gradients(dtype, create_any):
    """Batches of one image, for every engine: the gradient of each is its weight times its own.
    With dropout, whose masks follow from the step."""
    net = CASES["dropout"].network(dtype)
    twin = copied(net, dtype)
    x, labels = examples(net, 5)
    weights = np.array([0.5, 0, 2, 1, 3.0])
    order = np.array([4, 1, 0, 2])
    loss, optimiser, other = CASES["dropout"].loss, SGD(0.9), SGD(0.9)
    engine, hand = create_any(net, loss), create_any(twin, loss)
    totals = engine.train(x, labels, order, 1, optimiser, 0.05, seed=3, weights=weights)
    for step, i in enumerate(order):
        one, gradients = hand.loss_and_gradients(x[i : i + 1], labels[i : i + 1], dropout=(3, step))
        scaled = {name: dtype.type(weights[i]) * array for name, array in gradients.items()}
        other.step(twin.parameters, scaled, 0.05)
        assert totals[step].loss == pytest.approx(weights[i] * one.loss, rel=1e-4)
    assert_close(net.parameters, twin.parameters, rounding(net, 4), dtype)


def test_weights_of_bytes_of_parted_parameters_and_of_a_large_batch(dtype, lane_backend):
    """Batches whose values are not kept, and parameters that the loops need copies of."""
    found = []
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    labels, weights = np.arange(60) % 10, np.arange(60.0)
    for apart, kept in ((False, 1 << 27), (True, 1 << 27), (False, 0)):
        net = models.lenet5(pooling="max", output="softmax", dtype=dtype)
        if apart:
            for layer in net.layers:
                layer.parameters.update({k: v.copy() for k, v in layer.parameters.items()})
        engine = LanesEngine(net, losses.CrossEntropy(), backend=lane_backend)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lenet_fast.engines.lanes._KEPT_BYTES", kept)
            optimiser = AdamW()
            engine.train(images, labels, np.arange(60), 25, optimiser, 0.01, weights=weights)
        found.append(state_of(net, optimiser))
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_a_weighted_loss_that_is_no_number_ends_training(create):
    net = models.lenet5(pooling="max", output="softmax")
    x, labels = examples(net, 9)
    net.parameters["OUTPUT.b"][...] = np.nan
    before = net.get_weights()
    optimiser = SGD(0.9)
    with np.errstate(invalid="ignore"):
        totals = create(net, losses.CrossEntropy()).train(
            x, labels, np.arange(9), 3, optimiser, 0.1, weights=np.ones(9)
        )
    assert (len(totals), optimiser.steps) == (1, 0)
    np.testing.assert_equal(net.get_weights(), before)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(8), ValueError, r"weights: expected shape \(9,\) \(one per image\), got \(8,\)"),
        (np.ones((9, 1)), ValueError, "weights: expected shape"),
        (np.ones(9, int), TypeError, "weights: expected dtype float32 or float64"),
        ([1.0] * 9, TypeError, "weights: expected a NumPy array, got list"),
        (np.full(9, -1.0), ValueError, "weights: expected finite numbers not below 0, got -1"),
        (np.full(9, np.nan), ValueError, "weights: expected finite numbers not below 0, got nan"),
        (np.full(9, 1e39), ValueError, r"weights: expected finite numbers .*, got 1e\+39"),
        (np.full(9, np.inf), ValueError, "weights: expected finite numbers not below 0, got inf"),
    ],
)
def test_wrong_weights_are_named(weights, error, message):
    net = models.lenet5(pooling="max", output="softmax")
    x, labels = examples(net, 9)
    engine = LayersEngine(net, losses.CrossEntropy())
    with pytest.raises(error, match=message):
        engine.train(x, labels, np.arange(9), 3, SGD(), 0.1, weights=weights)
