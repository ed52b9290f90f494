"""Gradients on demand: from given ones at the outputs, at the images, and of each example.

What the engines compute for every option of every layer is in test_lanes.py and test_online.py.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from engine_cases import EVERYTHING, copied, examples, incoming, norms
from helpers import assert_within, normal, require, slopes

from lenet_fast import losses, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import LanesEngine, LayersEngine, OnlineEngine, Totals
from lenet_fast.layers import RBF, Conv2D, Dense, Dropout, MaxPool2D, Tanh
from lenet_fast.network import Network
from lenet_fast.pixels import prepare
from lenet_fast.training import SGD


def lenet5(dtype: object = np.float64, output: str = "softmax") -> Network:
    """Return a LeNet-5 whose outputs depend on the input, with the same weights in both dtypes."""
    net = models.lenet5(output=output)
    net.initialise("eblearn", 2)
    return copied(net, dtype)


# --- against difference quotients ---------------------------------------------------------------


def test_gradients_at_the_images_are_slopes(create_any):
    net = EVERYTHING.network(np.float64)
    engine = create_any(net, EVERYTHING.loss, threads=1)
    x, labels = examples(net, 5)
    _, _, d_inputs = engine.loss_and_gradients(x, labels, inputs=True)
    expected = slopes(lambda moved: engine.evaluate(moved, labels).loss / 5, x, 1e-5)
    assert_within(d_inputs, expected, 1e-8, np.float64)
    assert np.abs(expected).max() > 1e-3


def test_backward_gives_slopes(create_any):
    """Of any function of the outputs: here their products with given numbers, summed."""
    net = EVERYTHING.network(np.float64)
    engine = create_any(net, EVERYTHING.loss, threads=1)
    x, _ = examples(net, 5)
    given = incoming((5, 3)).astype(np.float64)
    assert_within(engine.forward(x), engine.predict(x), 0)
    gradients, d_inputs = engine.backward(given, inputs=True)
    assert list(gradients) == net.trainable_names
    expected = slopes(lambda moved: float((engine.predict(moved) * given).sum()), x, 1e-5)
    assert_within(d_inputs, expected, 1e-7, np.float64)
    for name, gradient in gradients.items():
        array = net.parameters[name]
        original = array.copy()

        def value(moved, array=array):
            array[...] = moved
            return float((engine.predict(x) * given).sum())

        expected = slopes(value, original, 1e-5)
        array[...] = original
        assert_within(gradient, expected, 1e-7, np.float64, name)


# --- against PyTorch ----------------------------------------------------------------------------


def twin(torch, net: Network):
    """Return a LeNet-5 with softmax as a function of PyTorch's, and its parameters."""
    f = torch.nn.functional
    table = torch.tensor(LENET5_C3)[:, :, None, None]

    def squash(a):
        return 1.7159 * torch.tanh(2 * a / 3)

    def pool(p, name, a):
        s = 4 * f.avg_pool2d(a, 2)
        return squash(s * p[f"{name}.w"][:, None, None] + p[f"{name}.b"][:, None, None])

    def outputs(p, x):
        a = pool(p, "S2", squash(f.conv2d(x, p["C1.w"], p["C1.b"])))
        a = pool(p, "S4", squash(f.conv2d(a, p["C3.w"] * table, p["C3.b"])))
        a = squash(f.conv2d(a, p["C5.w"], p["C5.b"])).flatten(1)
        a = squash(f.linear(a, p["F6.w"], p["F6.b"]))
        return f.linear(a, p["OUTPUT.w"], p["OUTPUT.b"])

    p = {name: torch.tensor(array, requires_grad=True) for name, array in net.parameters.items()}
    return outputs, p


def assert_near(found: np.ndarray, expected: np.ndarray, dtype: object, what: str) -> None:
    share = 2000 * np.finfo(np.dtype(dtype)).eps
    assert_within(found, expected, share * np.abs(expected).max(), dtype, what)


def test_backward_is_that_of_pytorch(rng, dtype, create_any):
    torch = require("torch")
    net = lenet5(dtype)
    outputs, p = twin(torch, copied(net, np.float64))
    x, given = normal(rng, 19, 1, 32, 32, dtype=np.float32), incoming((19, 10))
    seen = torch.tensor(x.astype(float), requires_grad=True)
    y = outputs(p, seen)
    y.backward(torch.tensor(given.astype(float)))
    engine = create_any(net, losses.CrossEntropy())
    assert_near(engine.forward(x.astype(dtype)), y.detach().numpy(), dtype, "outputs")
    gradients, d_inputs = engine.backward(given.astype(dtype), inputs=True)
    assert_near(d_inputs, seen.grad.numpy(), dtype, "images")
    for name, gradient in gradients.items():
        assert_near(gradient, p[name].grad.numpy(), dtype, name)


def test_gradients_per_example_are_those_of_pytorch(rng, dtype, create_any):
    torch = require("torch")
    net = lenet5(dtype)
    outputs, p = twin(torch, copied(net, np.float64))
    x, labels = normal(rng, 19, 1, 32, 32, dtype=np.float32), rng.integers(0, 10, 19)

    def loss(p, image, label):
        return torch.nn.functional.cross_entropy(outputs(p, image[None]), label[None])

    per_example = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    p = {name: value.detach() for name, value in p.items()}
    expected = per_example(p, torch.tensor(x.astype(float)), torch.tensor(labels))
    expected = {name: array.numpy() for name, array in expected.items()}
    engine = create_any(net, losses.CrossEntropy(), threads=2)
    totals, found = engine.gradients_per_example(x.astype(dtype), labels)
    evaluated = engine.evaluate(x.astype(dtype), labels)
    assert (totals.errors, totals.images) == (evaluated.errors, 19)
    assert totals.loss == pytest.approx(evaluated.loss, rel=1e-6)
    assert list(found) == net.trainable_names
    for name, array in found.items():
        assert array.dtype == dtype
        assert array.shape == (19, *net.parameters[name].shape)
        assert_near(array, expected[name], dtype, name)
    # Abadi et al. 2016, algorithm 1: g / max(1, |g| / C), summed.
    found = {name: expected[name] for name in found}
    clip = float(np.median(norms(found)))
    shares = 1 / np.maximum(1, norms(found) / clip)
    assert 5 < (shares < 1).sum() < 14
    _, clipped = engine.gradients_per_example(x.astype(dtype), labels, clip=clip)
    for name, array in clipped.items():
        assert_near(array, np.tensordot(shares, expected[name], 1), dtype, name)


# --- what they have in common with the mean gradient --------------------------------------------


@pytest.mark.parametrize("n", [1, 40])
def test_the_mean_of_all_is_the_gradient(n, dtype, create_any):
    net = EVERYTHING.network(dtype)
    engine = create_any(net, EVERYTHING.loss, threads=2)
    x, labels = examples(net, n)
    totals, gradients = engine.loss_and_gradients(x, labels)
    each_totals, each = engine.gradients_per_example(x, labels)
    sum_totals, whole = engine.gradients_per_example(x, labels, clip=1e6)
    assert each_totals.errors == sum_totals.errors == totals.errors
    for found in (each_totals, sum_totals):
        assert found.loss == pytest.approx(totals.loss, rel=1e-5)
        assert found.images == n
    for name, gradient in gradients.items():
        bound = 1e-3 if dtype == np.float32 else 1e-12
        bound *= np.abs(gradient).max()
        assert_within(each[name].mean(axis=0), gradient, bound, dtype, name)
        assert_within(whole[name] / n, gradient, bound, dtype, name)


def test_no_example_counts_for_more_than_the_clip(rng, dtype, create_any):
    """The sum of one image is its gradient; with a large loss, it is cut to the norm asked for."""
    net = lenet5(dtype)
    engine = create_any(net, losses.CrossEntropy())
    x = normal(rng, 3, 1, 32, 32, dtype=dtype)
    for i, clip in enumerate((0.25, 1.0, 2.0)):
        image, label = x[i : i + 1], engine.predict(x[i : i + 1]).argmin(axis=1)
        _, each = engine.gradients_per_example(image, label)
        _, clipped = engine.gradients_per_example(image, label, clip=clip)
        assert norms(each)[0] > clip
        norm = norms({name: array[None] for name, array in clipped.items()})[0]
        assert norm == pytest.approx(clip, rel=1e-5)


def test_threads_change_no_bit(dtype, create_any):
    net = lenet5(dtype, "rbf")
    x, labels = examples(net, 75)
    given = incoming((75, 10)).astype(dtype)
    expected = None
    for threads in (1, 2, 3, 7):
        engine = create_any(net, losses.MAP(), threads=threads)
        engine.forward(x)
        found = [
            engine.loss_and_gradients(x, labels, inputs=True),
            engine.backward(given, inputs=True),
            engine.gradients_per_example(x, labels),
            engine.gradients_per_example(x, labels, clip=0.5),
        ]
        expected = expected or found
        np.testing.assert_equal(found, expected)


def test_an_image_has_its_gradient_in_any_batch(dtype, lane_backend):
    """Alone or among others, bit for bit: no lane reaches another."""
    net = lenet5(dtype)
    engine = LanesEngine(net, losses.CrossEntropy(), backend=lane_backend, threads=2)
    x, labels = examples(net, 40)
    _, each = engine.gradients_per_example(x, labels)
    _, one = engine.gradients_per_example(x[33:34], labels[33:34])
    for name, array in one.items():
        np.testing.assert_array_equal(array[0], each[name][33], name)
        assert array.any()


def test_gradients_per_example_overwrite_those_of_an_earlier_call(dtype, create_any):
    net = EVERYTHING.network(dtype)
    engine = create_any(net, EVERYTHING.loss, threads=2)
    x, labels = examples(net, 20)
    first_totals, first = engine.gradients_per_example(x, labels)
    kept = {name: array.copy() for name, array in first.items()}
    _, expected = engine.gradients_per_example(x[::-1], labels[::-1])
    totals, again = engine.gradients_per_example(x[::-1], labels[::-1], out=first)
    assert totals.errors == first_totals.errors
    for name, array in expected.items():
        assert np.shares_memory(again[name], first[name])
        np.testing.assert_array_equal(again[name], array, name)
        np.testing.assert_array_equal(again[name][::-1], kept[name], name)


def test_wrong_outs(rng, create_any):
    net = lenet5(np.float32)
    engine = create_any(net, losses.CrossEntropy())
    x, labels = normal(rng, 20, 1, 32, 32, dtype=np.float32), rng.integers(0, 10, 20)
    _, found = engine.gradients_per_example(x, labels)
    # Rounded up to cache lines, 20 images have space for 32; the rest is the loops' affair.
    _, more = engine.gradients_per_example(x[:17], labels[:17], out=found)
    assert more["C1.b"].shape == (17, 6)
    for count in (16, 0):
        with pytest.raises(
            ValueError, match=f"^out: expected the gradients of an earlier call for {count} images"
        ):
            engine.gradients_per_example(x[:count], labels[:count], out=found)
    with pytest.raises(TypeError, match=r"^out: expected the gradients of an earlier call, got"):
        engine.gradients_per_example(x, labels, out=dict(found))
    with pytest.raises(ValueError, match=r"^out: expected None with clip, whose result is small$"):
        engine.gradients_per_example(x, labels, clip=1.0, out=found)


def test_an_absent_link_has_no_gradient(dtype, create_any):
    net = lenet5(dtype)
    x, labels = examples(net, 20)
    _, each = create_any(net, losses.CrossEntropy()).gradients_per_example(x, labels)
    linked = each["C3.w"].reshape(20, 16, 6, 25)
    assert (linked[:, ~LENET5_C3] == 0).all()
    assert (linked[:, LENET5_C3] != 0).any(axis=(0, 2)).all()


# --- which gradients go where -------------------------------------------------------------------


def test_layers_that_do_not_learn_pass_gradients_to_the_images(rng, create_any):
    """Below the first layer that learns, and in a network where none does."""
    lower = Network(
        [MaxPool2D(2), Tanh(), Conv2D(1, 2, 2), Dense(18, 3)], input_shape=(1, 8, 8), dtype="f8"
    )
    lower.initialise("lecun_sqrt", 3)
    centres = np.arange(12.0).reshape(3, 4) / 5
    none = Network(
        [RBF(4, 3, centres=centres)], input_shape=(1, 2, 2), output="rbf", dtype="float64"
    )
    for net, loss in ((lower, losses.MeanSquaredError()), (none, losses.MAP())):
        engine = create_any(net, loss, threads=1)
        x = rng.permutation(np.linspace(-1, 1, 7 * int(np.prod(net.input_shape))))
        x = x.reshape(7, *net.input_shape)
        labels = rng.integers(0, 3, 7)
        _, _, d_inputs = engine.loss_and_gradients(x, labels, inputs=True)
        expected = slopes(lambda moved: engine.evaluate(moved, labels).loss / 7, x, 1e-5)  # noqa: B023
        assert_within(d_inputs, expected, 1e-8, np.float64)
        assert np.abs(expected).max() > 1e-3


def test_a_network_without_weights_has_no_gradients_per_example(rng, create_any):
    net = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    engine = create_any(net, losses.MAP())
    x, labels = normal(rng, 5, 1, 2, 2, dtype=np.float32), np.zeros(5, int)
    for clip in (None, 1.0):
        totals, gradients = engine.gradients_per_example(x, labels, clip=clip)
        assert totals.loss == pytest.approx(engine.evaluate(x, labels).loss)
        assert gradients == {}
    engine.forward(x)
    assert engine.backward(np.ones((5, 3), np.float32)) == {}


def test_bytes_have_the_gradients_of_prepared_images(rng, create_any):
    net = lenet5(np.float64, "rbf")
    net.pixel_range = (-0.1, 1.175)
    engine = create_any(net, losses.MAP())
    x, labels = rng.integers(0, 256, (20, 28, 28), np.uint8), rng.integers(0, 10, 20)
    prepared = prepare(x, dtype=np.float64)
    given = incoming((20, 10)).astype(np.float64)
    for run in (
        lambda x: engine.loss_and_gradients(x, labels, inputs=True)[2],
        lambda x: engine.backward(given, inputs=True, x=x)[1],
        lambda x: engine.gradients_per_example(x, labels)[1]["C1.w"],
    ):
        found, expected = run(x), run(prepared)
        assert found.shape == expected.shape
        assert_within(found, expected, 1e-11 * np.abs(expected).max(), np.float64)


# --- forward, then backward ---------------------------------------------------------------------


def test_backward_belongs_to_the_last_forward(rng, create_any):
    net = lenet5()
    engine = create_any(net, losses.CrossEntropy())
    x, other = normal(rng, 2, 3, 1, 32, 32)
    given = incoming((3, 10)).astype(np.float64)
    engine.forward(other)
    expected = engine.backward(given)
    engine.forward(x)
    changed = x.copy()
    first = engine.backward(given)
    x[...] = 0  # the engine has its own copy
    np.testing.assert_equal(engine.backward(given), first)  # again, with the same images
    engine.predict(other)  # keeps nothing
    np.testing.assert_equal(engine.backward(given), first)
    np.testing.assert_equal(engine.backward(given, x=changed), first)
    np.testing.assert_equal(engine.backward(given, x=other), expected)
    assert (first["C1.w"] != expected["C1.w"]).any()


def test_backward_takes_the_weights_of_the_moment(rng, create_any):
    net = lenet5()
    engine = create_any(net, losses.CrossEntropy())
    x, given = normal(rng, 3, 1, 32, 32), incoming((3, 10)).astype(np.float64)
    engine.forward(x)
    before = engine.backward(given)
    net.parameters["F6.w"][...] *= 1.5
    after = engine.backward(given)
    assert (before["C1.w"] != after["C1.w"]).any()
    np.testing.assert_equal(after, engine.backward(given, x=x))


def test_passes_of_many_kinds_in_turn_disturb_none(dtype, create_any):
    """The programs with and without gradients at the images share memory."""
    net = EVERYTHING.network(dtype)
    engine = create_any(net, EVERYTHING.loss, threads=2)
    x, labels = examples(net, 40)
    runs = [
        lambda: engine.loss_and_gradients(x, labels),
        lambda: engine.loss_and_gradients(x, labels, inputs=True),
        lambda: engine.gradients_per_example(x, labels),
        lambda: engine.gradients_per_example(x, labels, clip=0.3),
        lambda: engine.hessian_diagonal(x, labels),
        lambda: engine.predict(x),
    ]
    expected = [run() for run in runs]
    for _ in range(2):
        for run, result in reversed(list(zip(runs, expected, strict=True))):
            np.testing.assert_equal(run(), result)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_training_after_gradients_on_demand(batch_size, lane_backend):
    """They change nothing that a training reads."""
    nets = [lenet5(np.float32) for _ in range(2)]
    x, labels = examples(nets[0], 40)
    kind = OnlineEngine if batch_size == 1 else LanesEngine
    for k, net in enumerate(nets):
        engine = kind(net, losses.CrossEntropy(), backend=lane_backend, threads=2)
        if k:
            engine.loss_and_gradients(x, labels, inputs=True)
            engine.gradients_per_example(x, labels)
        engine.train(x, labels, np.arange(40), batch_size, SGD(0.9), 0.01)
    for name, array in nets[0].parameters.items():
        np.testing.assert_array_equal(array, nets[1].parameters[name], name)


# --- dropout ------------------------------------------------------------------------------------


def test_dropout_is_the_same_forward_and_back(dtype, create_any):
    """And that of each image: the mean of the gradients per example is the gradient."""
    net = Network(
        [Dense(30, 20), Tanh(), Dropout(0.4), Dense(20, 3)], input_shape=(1, 5, 6), dtype=dtype
    )
    net.initialise("lecun_sqrt", 3)
    loss = losses.MeanSquaredError()
    engine = create_any(net, loss, threads=2)
    x, labels = examples(net, 70)
    totals, expected, to_images = engine.loss_and_gradients(x, labels, True, dropout=(5, 9))
    _, plain = engine.loss_and_gradients(x, labels)
    outputs = engine.forward(x, dropout=(5, 9))
    assert (outputs != engine.predict(x)).any()
    given = loss.gradient(outputs, labels, "numpy") / 70
    gradients, d_inputs = engine.backward(given.astype(dtype), inputs=True)
    again = engine.backward(given.astype(dtype), x=x, dropout=(5, 9))
    np.testing.assert_equal(gradients, again)
    each_totals, each = engine.gradients_per_example(x, labels, dropout=(5, 9))
    _, whole = engine.gradients_per_example(x, labels, clip=1e6, dropout=(5, 9))
    assert each_totals.loss == pytest.approx(totals.loss, rel=1e-5)
    bound = 1e-5 if dtype == np.float32 else 1e-13
    assert_within(d_inputs, to_images, bound * np.abs(to_images).max(), dtype)
    for name, array in expected.items():
        scale = bound * np.abs(array).max()
        assert np.abs(array - plain[name]).max() > 1e3 * scale
        assert_within(gradients[name], array, scale, dtype, name)
        assert_within(each[name].mean(axis=0), array, scale, dtype, name)
        assert_within(whole[name] / 70, array, scale, dtype, name)


def test_dropout_is_chosen_once(rng, create_any):
    engine = create_any(lenet5(), losses.CrossEntropy())
    x = normal(rng, 3, 1, 32, 32)
    engine.forward(x, dropout=(1, 2))
    with pytest.raises(ValueError, match=r"^dropout: expected None without x, since forward"):
        engine.backward(np.zeros((3, 10)), dropout=(1, 2))
    for run in (
        lambda: engine.forward(x, dropout=3),
        lambda: engine.backward(np.zeros((3, 10)), x=x, dropout=3),
        lambda: engine.gradients_per_example(x, np.zeros(3, int), dropout=3),
    ):
        with pytest.raises(TypeError, match=r"^dropout: expected \(seed, step\) or None, got"):
            run()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_what_is_no_number_stays_none(rng, create_any, activation):
    net = models.lenet5(pooling="max", connections="full", activation=activation, output="softmax")
    engine = create_any(net, losses.CrossEntropy())
    x, d_outputs = normal(rng, 3, 1, 32, 32).astype(np.float32), np.ones((3, 10), np.float32)
    d_outputs[1, 3] = np.nan
    gradients, d_inputs = engine.backward(d_outputs, True, x=x)
    assert all(np.isnan(array).any() for array in gradients.values())
    assert np.isnan(d_inputs).any(axis=(1, 2, 3)).tolist() == [False, True, False]
    x[2, 0, 9, 9] = np.nan
    assert np.isnan(engine.forward(x)).all(axis=1).tolist() == [False, False, True]


# --- arguments ----------------------------------------------------------------------------------


def test_no_images(create_any):
    net = models.lenet5()
    engine = create_any(net, losses.MAP())
    x, labels = np.zeros((0, 1, 32, 32), np.float32), np.zeros(0, int)
    totals, gradients, d_inputs = engine.loss_and_gradients(x, labels, inputs=True)
    assert totals == Totals()
    assert d_inputs.shape == x.shape
    assert engine.forward(x).shape == (0, 10)
    gradients, d_inputs = engine.backward(np.zeros((0, 10), np.float32), inputs=True)
    assert d_inputs.shape == x.shape
    assert not any(array.any() for array in gradients.values())
    totals, each = engine.gradients_per_example(x, labels)
    assert totals == Totals()
    for name, array in each.items():
        assert array.shape == (0, *net.parameters[name].shape)
    totals, clipped = engine.gradients_per_example(x, labels, clip=1.0)
    assert totals == Totals()
    np.testing.assert_equal(clipped, gradients)


def test_nan_is_not_hidden(rng, create_any):
    net = lenet5(np.float32)
    engine = create_any(net, losses.CrossEntropy())
    x, labels = normal(rng, 5, 1, 32, 32, dtype=np.float32), rng.integers(0, 10, 5)
    x[2, 0, 7, 7] = np.nan
    _, each = engine.gradients_per_example(x, labels)
    assert (
        np.isnan(each["C1.w"]).any(axis=(1, 2, 3, 4)).tolist() == [False] * 2 + [True] + [False] * 2
    )
    _, clipped = engine.gradients_per_example(x, labels, clip=1.0)
    assert np.isnan(clipped["C1.w"]).any()


def test_backward_before_forward(create_any):
    engine = create_any(lenet5(), losses.CrossEntropy())
    with pytest.raises(
        RuntimeError, match=r"^backward: expected x, or a call of forward before this one$"
    ):
        engine.backward(np.zeros((3, 10)))


@pytest.mark.parametrize(
    ("d_outputs", "error", "text"),
    [
        (
            np.zeros((2, 10)),
            ValueError,
            "d_outputs: expected shape (3, 10) (that of the outputs)",
        ),
        (np.zeros((3, 9)), ValueError, "d_outputs: expected shape (3, 10) (that of the outputs)"),
        (np.zeros(30), ValueError, "d_outputs: expected shape (3, 10) (that of the outputs), got"),
        (np.zeros((3, 10), "f4"), TypeError, "d_outputs: expected dtype float64 of the network, "),
        (np.zeros((3, 10), int), TypeError, "d_outputs: expected dtype float32 or float64"),
        ([[0.0] * 10] * 3, TypeError, "d_outputs: expected a NumPy array, got list"),
    ],
)
def test_wrong_gradients_at_the_outputs(d_outputs, error, text, create_any):
    engine = create_any(lenet5(), losses.CrossEntropy())
    engine.forward(np.zeros((3, 1, 32, 32)))
    with pytest.raises(error, match=f"(?s)^{re.escape(text)}"):
        engine.backward(d_outputs)


@pytest.mark.parametrize(
    ("clip", "error", "text"),
    [
        (0.0, ValueError, "clip: expected a number above 0, got 0.0"),
        (-1, ValueError, "clip: expected a number above 0, got -1"),
        (float("nan"), ValueError, "clip: expected a number that is finite in float32, got nan"),
        (float("inf"), ValueError, "clip: expected a number that is finite in float32, got inf"),
        ("1", TypeError, "clip: expected a number, got str '1'"),
        (True, TypeError, "clip: expected a number, got bool True"),
    ],
)
def test_wrong_clips(clip, error, text, create_any):
    engine = create_any(lenet5(), losses.CrossEntropy())
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        engine.gradients_per_example(np.zeros((3, 1, 32, 32)), np.zeros(3, int), clip=clip)


def test_wrong_flags(create_any):
    engine = create_any(lenet5(), losses.CrossEntropy())
    x, labels = np.zeros((3, 1, 32, 32)), np.zeros(3, int)
    with pytest.raises(TypeError, match=r"^inputs: expected a bool, got int 1$"):
        engine.loss_and_gradients(x, labels, inputs=1)
    engine.forward(x)
    with pytest.raises(TypeError, match=r"^inputs: expected a bool, got str 'x'$"):
        engine.backward(np.zeros((3, 10)), inputs="x")


def test_layouts_of_given_gradients_do_not_matter(rng):
    net = lenet5()
    engine = LayersEngine(net, losses.CrossEntropy()), LanesEngine(net, losses.CrossEntropy())
    x, given = normal(rng, 6, 1, 32, 32), incoming((6, 10)).astype(np.float64)
    for each in engine:
        expected = each.backward(given, x=x)
        for changed in (np.asfortranarray(given), np.repeat(given, 2, axis=1)[:, ::2]):
            np.testing.assert_equal(each.backward(changed, x=x), expected)
