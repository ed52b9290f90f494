"""What all engines take and refuse: bytes and floats, layouts, empty batches, wrong arguments."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from engine_cases import Results, assert_agree, batch, copied, examples, results, rounding
from helpers import assert_within, layouts

from lenet_fast import losses, models
from lenet_fast.engines import LanesEngine, Totals
from lenet_fast.layers import Dense
from lenet_fast.network import Network
from lenet_fast.pixels import INK, prepare
from lenet_fast.training import SGD, AdamW


def lenet5(dtype: object = np.float32) -> Network:
    """Return a LeNet-5 whose outputs depend on the input, with the same weights in both dtypes."""
    net = models.lenet5()
    net.initialise("eblearn", 2)
    return copied(net, dtype)


def digits(rng, n: int, rows: int = 28, columns: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes, half of them paper, and labels."""
    x = rng.integers(0, 256, (n, rows, columns), np.uint8)
    x[rng.random(x.shape) < 0.5] = 0
    return x, rng.integers(0, 10, n)


def same(found: Results, expected: Results, what: str) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, f"{what}: {name}")


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28), (27, 25), (32, 32), (1, 32), (31, 2)])
def test_bytes_become_what_prepare_makes_of_them(size, rng, dtype, create_any):
    # The outputs of this network are its inputs, exactly: sums of one of them and zeros.
    net = Network([Dense(1024, 1024)], dtype=dtype)
    net.parameters["dense1.w"][...] = np.eye(1024)
    net.parameters["dense1.b"][...] = 0
    x = rng.permutation(np.arange(19 * size[0] * size[1]) % 256).astype(np.uint8)
    x = x.reshape(19, *size)
    found = create_any(net, losses.MeanSquaredError(), threads=1).predict(x)
    expected = prepare(x, dtype=dtype).reshape(19, 1024)
    assert expected.min() < 0 < 1 < expected.max()
    # Near zero the two terms cancel, so the unit is that of the largest: two of those.
    assert_within(found, expected, 2 * np.spacing(dtype.type(INK)), dtype)
    with pytest.raises(AssertionError, match="off"):
        assert_within(np.roll(found, 1, axis=1), expected, 2 * np.spacing(dtype.type(INK)))


@pytest.mark.parametrize("size", [(28, 28), (27, 25), (32, 32)])
def test_bytes_give_what_prepared_images_give(size, rng, dtype, create):
    net = lenet5(dtype)
    engine = create(net, losses.MAP(), threads=2)
    x, labels = digits(rng, 21, *size)
    found = results(engine, x, labels)
    assert_agree(found, results(engine, prepare(x, dtype=dtype), labels), net, 21)
    moved = results(engine, np.roll(x, 1, axis=2), labels)
    with pytest.raises(AssertionError):
        assert_agree(found, moved, net, 21)


def test_training_on_bytes_is_training_on_prepared_images(rng, create):
    nets = [lenet5(np.float64), lenet5(np.float64)]
    x, labels = digits(rng, 40)
    order = rng.integers(0, 40, 70)
    totals = [
        create(net, losses.MAP(), threads=2).train(seen, labels, order, 16, SGD(0.9), 0.005)
        for net, seen in zip(nets, (x, prepare(x, dtype=np.float64)), strict=True)
    ]
    share = rounding(nets[0], 70)
    for one, other in zip(*totals, strict=True):
        assert (one.errors, one.images) == (other.errors, other.images)
        assert one.loss == pytest.approx(other.loss, rel=share)
    before = lenet5(np.float64).parameters
    for name, array in nets[0].parameters.items():
        expected = nets[1].parameters[name]
        assert_within(array, expected, share * np.abs(expected).max(), None, name)
        assert name == "OUTPUT.w" or (array != before[name]).any()


def test_bytes_for_other_sizes_of_networks(rng, create_any):
    net = Network([Dense(49, 3)], input_shape=(1, 7, 7))
    net.initialise("lecun_sqrt")
    engine = create_any(net, losses.MeanSquaredError())
    for rows, columns in ((7, 7), (6, 5), (1, 2)):
        x, _ = digits(rng, 5, rows, columns)
        expected = engine.predict(prepare(x, size=7))
        bound = rounding(net, 5) * np.abs(expected).max()
        assert_within(engine.predict(x), expected, bound, np.float32)


def test_bytes_for_another_range_of_pixels(rng, create_any):
    net = Network([Dense(49, 3)], input_shape=(1, 7, 7), pixel_range=(-1.0, 1.0))
    net.initialise("lecun_sqrt")
    engine = create_any(net, losses.MeanSquaredError())
    x, _ = digits(rng, 5, 6, 6)
    expected = engine.predict(prepare(x, size=7, background=-1, ink=1))
    bound = rounding(net, 5) * np.abs(expected).max()
    assert_within(engine.predict(x), expected, bound, np.float32)
    assert_within(engine.predict_one(x[0]), expected[0], bound, np.float32)


# --- memory -------------------------------------------------------------------------------------


def peak(call) -> int:
    """Return the most memory that NumPy and Python hold during a call."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_bytes_are_never_all_made_floats(rng, create):
    net = lenet5()
    engine = create(net, losses.MAP(), threads=1)  # how many blocks are at work is not left to luck
    x, labels = (np.tile(array, (20, *(1,) * (array.ndim - 1))) for array in digits(rng, 1000))
    if isinstance(engine, LanesEngine):  # as floats 20,000 images are 82 MB, 5,000 are 20 MB
        assert peak(lambda: engine.predict(x)) < 5e6
        assert peak(lambda: engine.evaluate(x, labels)) < 5e6
        order = np.arange(0, 20_000, 4)
        assert peak(lambda: engine.train(x, labels, order, 250, SGD(), 1e-4)) < 10e6
    else:
        few, many = (peak(lambda n=n: engine.evaluate(x[:n], labels[:n])) for n in (500, 2500))
        assert many < few + 1e6  # 2,000 more as floats are 8 MB


# --- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False], ids=("bytes", "floats"))
def test_any_layout(raw, rng, create):
    net = lenet5()
    engine = create(net, losses.MAP(), threads=1)
    x, labels = digits(rng, 9)
    images = x if raw else prepare(x)
    expected = results(engine, images, labels)
    for title, given in layouts(images):
        same(results(engine, given, labels), expected, title)
    for title, given in layouts(labels):
        same(results(engine, images, given), expected, title)
    for kind in (np.uint8, np.int16, np.uint64):
        same(results(engine, images, labels.astype(kind)), expected, str(kind))


def test_a_file_on_disk(rng, tmp_path, create_any):
    """A map of a file that may not be written to, as large data sets come."""
    net = lenet5()
    engine = create_any(net, losses.MAP(), threads=1)
    x, labels = digits(rng, 20)
    for images in (x, prepare(x)):
        path = tmp_path / f"{images.dtype}.bin"
        images.tofile(path)
        mapped = np.memmap(path, images.dtype, "r", shape=images.shape)
        same(results(engine, mapped, labels), results(engine, images, labels), str(images.dtype))
        size = batch(engine, 10)
        totals = engine.train(mapped, labels, np.arange(20), size, SGD(), 0.001)
        assert len(totals) == 20 // size


def test_any_layout_in_training(rng, create_any):
    x, labels = digits(rng, 9)
    order = np.array([3, 8, 0, 0, 5, 2, 7], np.int64)
    for images in (x, prepare(x)):
        found = []
        for kind in (np.uint8, np.int32, np.uint64):
            for (_, given), (_, numbers) in zip(
                layouts(images), layouts(order.astype(kind)), strict=True
            ):
                net = lenet5()
                engine = create_any(net, losses.MAP(), threads=1)
                totals = engine.train(given, labels, numbers, batch(engine, 3), SGD(), 0.001)
                found.append((totals, net.parameters["C1.w"].tobytes()))
        assert all(each == found[0] for each in found)


def test_what_is_given_is_left_alone(rng, create_any):
    net = lenet5()
    engine = create_any(net, losses.MAP(), threads=2)
    x, labels = digits(rng, 20)
    order = rng.permutation(20)
    given = (x, prepare(x), labels, order)
    before = [array.copy() for array in given]
    weights = {name: array.copy() for name, array in net.parameters.items()}
    for images in given[:2]:
        results(engine, images, labels)
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(array, weights[name])
    for images in given[:2]:
        engine.train(images, labels, order, batch(engine, 8), SGD(), 0.001)
    for array, original in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, original)
    np.testing.assert_array_equal(net.parameters["OUTPUT.w"], weights["OUTPUT.w"])


def test_results_are_the_callers_own(rng, create):
    net = lenet5()
    engine = create(net, losses.MAP(), threads=1)
    x, labels = digits(rng, 20)
    first = results(engine, x, labels)
    kept = {name: array.copy() for name, array in first.items()}
    results(engine, x[::-1], labels)
    same(first, kept, "a later call")
    for array in first.values():
        array.fill(7)
    same(results(engine, x, labels), kept, "after writing to results")


# --- empty batches ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x", [np.zeros((0, 1, 32, 32), np.float32), np.zeros((0, 28, 28), np.uint8)], ids=("f4", "u1")
)
@pytest.mark.parametrize("output", ["rbf", "softmax", "linear"])
def test_no_images(output, x, create_any):
    net = models.lenet5(output=output)
    engine = create_any(net, losses.default_for(net), threads=2)
    labels = np.zeros(0, int)
    assert engine.predict(x).shape == (0, 10)
    assert engine.predict(x).dtype == np.float32
    assert engine.evaluate(x, labels) == Totals(0.0, 0, 0)
    totals, gradients = engine.loss_and_gradients(x, labels)
    assert totals == Totals()
    for found in (gradients, engine.hessian_diagonal(x, labels)):
        assert list(found) == net.trainable_names
        for name, array in found.items():
            assert array.shape == net.parameters[name].shape
            assert array.dtype == np.float32
            assert not array.any()
    sgd = SGD(0.9)
    before = net.parameters["C1.w"].copy()
    assert engine.train(x, labels, np.zeros(0, int), batch(engine, 16), sgd, 0.1) == []
    assert sgd.steps == 0
    np.testing.assert_array_equal(net.parameters["C1.w"], before)


def test_no_order(rng, create_any):
    net = lenet5()
    x, labels = digits(rng, 5)
    adamw = AdamW()
    for order in (np.zeros(0, int), np.array([]), []):
        engine = create_any(net, losses.MAP())
        assert engine.train(x, labels, order, batch(engine, 2), adamw, 0.1) == []
    assert adamw.steps == 0


# --- wrong arguments ----------------------------------------------------------------------------

FLOATS, BYTES = np.zeros((2, 1, 32, 32), "f4"), np.zeros((2, 28, 28), "u1")


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((2, 1, 28, 28), "f4"), ValueError, r"x: expected shape \(2, 1, 32, 32\)"),
        (np.zeros((2, 1, 32, 32), "f8"), TypeError, "x: expected dtype float32 of the network"),
        (np.zeros((2, 1, 28, 28), "u1"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((2, 1, 32, 32), ">f4"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((2, 28, 28), "i1"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((2, 32, 32), "f4"), ValueError, "x: expected 4 axes"),
        (np.zeros((28, 28), "u1"), TypeError, "x: expected dtype float32 or float64"),
        (np.zeros((2, 33, 28), "u1"), ValueError, "x: expected bytes .*at most 32 by 32, got"),
        (np.zeros((2, 28, 33), "u1"), ValueError, r"x: expected bytes .* got \(2, 28, 33\)"),
        (np.zeros((2, 0, 28), "u1"), ValueError, r"x: expected bytes .* got \(2, 0, 28\)"),
        ([[0.0]], TypeError, "x: expected a NumPy array"),
        (np.ma.zeros((2, 28, 28), "u1"), TypeError, "x: expected a NumPy array, got MaskedArray"),
        (None, TypeError, "x: expected a NumPy array"),
    ],
)
def test_wrong_images(x, error, text, create_any):
    engine = create_any(lenet5(), losses.MAP())
    labels = np.zeros(2, int)
    with pytest.raises(error, match=f"(?s)^{text}"):
        engine.predict(x)
    for run in (engine.evaluate, engine.loss_and_gradients, engine.hessian_diagonal):
        with pytest.raises(error, match=f"(?s)^{text}"):
            run(x, labels)
    with pytest.raises(error, match=f"(?s)^{text}"):
        engine.train(x, labels, np.arange(2), batch(engine, 2), SGD(), 0.1)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 8, 7)])
def test_bytes_for_an_input_that_is_not_one_square_map(shape, create_any):
    net = Network([Dense(math.prod(shape), 3)], input_shape=shape)
    with pytest.raises(ValueError, match="x: expected prepared images for a network whose input"):
        create_any(net, losses.MeanSquaredError()).predict(np.zeros((2, 7, 7), np.uint8))


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ([0], ValueError, r"labels: expected shape \(2,\)"),
        ([[0, 1]], ValueError, r"labels: expected shape \(2,\)"),
        ([0, 10], ValueError, "labels: expected labels from 0 to 9, got 10"),
        ([-1, 0], ValueError, "labels: expected labels from 0 to 9, got -1"),
        ([0.0, 1.0], TypeError, "labels: expected an integer dtype"),
        ([True, False], TypeError, "labels: expected an integer dtype"),
    ],
)
def test_wrong_labels(labels, error, text, create_any):
    engine = create_any(lenet5(), losses.MAP())
    labels = np.array(labels)
    for x in (FLOATS, BYTES):
        for run in (engine.evaluate, engine.loss_and_gradients, engine.hessian_diagonal):
            with pytest.raises(error, match=f"^{text}"):
                run(x, labels)
        with pytest.raises(error, match=f"^{text}"):
            engine.train(x, labels, np.arange(2), batch(engine, 2), SGD(), 0.1)


def test_labels_of_images_that_are_left_out_do_not_matter(create_any):
    for x in (np.zeros((4, 28, 28), "u1"), np.zeros((4, 1, 32, 32), "f4")):
        engine, labels = create_any(lenet5(), losses.MAP()), np.array([1, -7, 2, 10])
        size = batch(engine, 3)
        totals = engine.train(x, labels, np.array([2, 0, 2]), size, SGD(), 0.001)
        assert len(totals) == 3 // size
        for wrong, got in ((1, "-7"), (3, "10")):
            with pytest.raises(ValueError, match=f"^labels: expected labels from 0 .*, got {got}"):
                engine.train(x, labels, np.array([0, wrong]), size, SGD(), 0.1)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        (
            {"order": np.array([0, 2])},
            ValueError,
            "order: expected numbers from 0 to 1, got 0 to 2",
        ),
        ({"order": np.array([-1, 1])}, ValueError, "order: .* from 0 to 1, got -1 to 1"),
        ({"order": np.array([2**63], "u8")}, ValueError, "order: expected numbers from 0 to 1"),
        (
            {"order": np.array([0.0, 1.0])},
            TypeError,
            r"order: expected integers \(n,\), got ndarray",
        ),
        ({"order": np.array([True])}, TypeError, "order: expected integers"),
        ({"order": np.array([[0, 1]])}, TypeError, "order: expected integers"),
        ({"order": np.array(0)}, TypeError, "order: expected integers"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int from 1"),
        ({"batch_size": -3}, ValueError, "batch_size: expected an int from 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an int"),
        (
            {"optimiser": SGD(factors={"C1.w": np.ones((6, 1, 5, 4), "f4")})},
            ValueError,
            r"factors\['C1.w'\]: expected shape",
        ),
        (
            {"optimiser": SGD(factors={"C9.w": np.ones(3, "f4")})},
            ValueError,
            "factors: expected parameters out of",
        ),
    ],
)
def test_wrong_training(changes, error, text, create_any):
    net = lenet5()
    engine = create_any(net, losses.MAP())
    before = {name: array.copy() for name, array in net.parameters.items()}
    for x in (FLOATS, BYTES):
        arguments = {"order": np.arange(2), "batch_size": 1, "optimiser": SGD(), "rate": 0.1}
        with pytest.raises(error, match=f"^{text}"):
            engine.train(x, np.zeros(2, int), **(arguments | changes))
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("rate", "error"),
    [(math.nan, ValueError), (math.inf, ValueError), ("0.1", TypeError), (None, TypeError)],
)
def test_wrong_rate(rate, error, create_any):
    net, sgd = lenet5(), SGD(0.9)
    before = net.parameters["C1.w"].copy()
    with pytest.raises(error, match=r"^rate: expected a number"):
        create_any(net, losses.MAP()).train(BYTES, np.zeros(2, int), np.arange(2), 1, sgd, rate)
    np.testing.assert_array_equal(net.parameters["C1.w"], before)
    assert sgd.steps == 0


@pytest.mark.parametrize(
    ("rates", "error", "text"),
    [
        (np.full(1, 0.1), ValueError, r"expected a number, or an array of shape \(2,\), .*\(1,\)"),
        (np.full(3, 0.1), ValueError, r"expected a number, or an array of shape \(2,\), .*\(3,\)"),
        (np.full((2, 1), 0.1), ValueError, r"expected a number, or .* got shape \(2, 1\)"),
        (np.array(0.1), ValueError, r"expected a number, or .* got shape \(\)"),
        (np.array([0.1, math.nan]), ValueError, "expected finite numbers, got nan"),
        (np.array([1, 2]), TypeError, "expected dtype float32 or float64"),
        ([0.1, 0.1], TypeError, "expected a number, got list"),
    ],
)
def test_wrong_rates_by_step(rates, error, text, create_any):
    net, sgd = lenet5(), SGD(0.9)
    before = net.parameters["C1.w"].copy()
    with pytest.raises(error, match=f"^rate: {text}"):
        create_any(net, losses.MAP()).train(BYTES, np.zeros(2, int), np.arange(2), 1, sgd, rates)
    np.testing.assert_array_equal(net.parameters["C1.w"], before)
    assert sgd.steps == 0


def test_weights_that_cannot_be_changed_are_refused(create_any):
    net, sgd = lenet5(), SGD(0.9)
    engine = create_any(net, losses.MAP())
    net.parameters["F6.w"].flags.writeable = False
    before = net.parameters["C1.w"].copy()
    with pytest.raises(ValueError, match=r"^network: expected F6.w to be writeable"):
        engine.train(BYTES, np.zeros(2, int), np.arange(2), 1, sgd, 0.1)
    np.testing.assert_array_equal(net.parameters["C1.w"], before)
    assert sgd.steps == 0
    assert engine.predict(BYTES).shape == (2, 10)  # which changes none
    net.parameters["F6.w"].flags.writeable = True
    net.parameters["OUTPUT.w"].flags.writeable = False  # the bitmaps are not learned
    assert len(engine.train(BYTES, np.zeros(2, int), np.arange(2), 1, sgd, 0.001)) == 2


def test_each_class_has_a_loss_of_its_own(create):
    engine = create(lenet5(), losses.MAP())
    x, _ = examples(lenet5(), 10)
    found = [engine.evaluate(x[:1], np.array([label])).loss for label in range(10)]
    assert all(one != other for one, other in itertools.pairwise(sorted(found)))
