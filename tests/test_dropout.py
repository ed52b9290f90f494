"""Dropout: what is dropped, against a bare definition and by its statistics; and in the engines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine_cases import OPTIMISERS, batch, copied, rounding, state_of
from helpers import assert_within, complains, new_rng, normal, require, slopes

from lenet_fast import data, files, layers, losses, ops
from lenet_fast.engines import LayersEngine
from lenet_fast.layers import (
    GELU,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Tanh,
)
from lenet_fast.network import Network
from lenet_fast.training import SGD, AdamW, Callback, Constant, OneCycle, Trainer

# --- the operation  ---

U64, U32 = 2**64 - 1, 2**32 - 1


def mixed(state: int) -> int:
    z = (state + 0x9E3779B97F4A7C15) & U64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
    return z ^ (z >> 31)


def is_kept(p: float, seed: int, step: int, layer: int, image: int, unit: int) -> bool:
    """The definition, in whole numbers of any size."""
    key = mixed(mixed(mixed(mixed(seed) ^ step) ^ layer) ^ image)
    h = ((key & U32) + unit) & U32
    h = ((h ^ (h >> 16)) * 0x21F0AAAD) & U32
    h ^= key >> 32
    h = ((h ^ (h >> 15)) * 0x735A2D97) & U32
    return h >= int(p * 2**32)


@pytest.mark.parametrize("by_map", [False, True], ids=["units", "maps"])
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.9, 1 - 2**-40])
def test_definition(p, by_map, backend, dtype, rng):
    x = normal(rng, 5, 3, 4, 7, dtype=dtype)
    x[x == 0] = 1
    numbers = {"seed": 2**63 - 1, "step": 123_456_789_012, "layer": 3, "first": 11}
    found = ops.dropout(x, p, by_map=by_map, backend=backend, **numbers)
    expected = np.zeros_like(x)
    for i, c, r, s in np.ndindex(*x.shape):
        unit = c if by_map else (c * 4 + r) * 7 + s
        if is_kept(p, 2**63 - 1, 123_456_789_012, 3, 11 + i, unit):
            expected[i, c, r, s] = x[i, c, r, s] * dtype.type(1 / (1 - p))
    np.testing.assert_array_equal(found, expected)
    assert by_map or p not in (0.25, 0.5) or 0 < np.count_nonzero(found) < x.size


def test_vectors_have_the_units_of_images(backend, rng):
    x = normal(rng, 6, 60)
    np.testing.assert_array_equal(
        ops.dropout(x, 0.3, seed=4, backend=backend).reshape(6, 3, 4, 5),
        ops.dropout(x.reshape(6, 3, 4, 5), 0.3, seed=4, backend=backend),
    )
    np.testing.assert_array_equal(
        ops.dropout(x, 0.3, by_map=True, backend=backend), ops.dropout(x, 0.3, backend=backend)
    )


def test_part_of_a_batch_has_the_draws_of_the_whole(backend, dtype, rng):
    x = normal(rng, 9, 4, 5, dtype=dtype)
    for by_map in (False, True):
        whole = ops.dropout(x, 0.5, step=2, by_map=by_map, backend=backend)
        part = ops.dropout(x[4:7], 0.5, step=2, first=4, by_map=by_map, backend=backend)
        np.testing.assert_array_equal(part, whole[4:7])


def test_the_operation_is_its_own_gradient(backend, rng):
    """It multiplies by a diagonal matrix."""
    x, dy = normal(rng, 2, 3, 4), normal(rng, 2, 3, 4)
    options = {"seed": 5, "step": 1, "backend": backend}

    def loss(x):
        return float((ops.dropout(x, 0.4, **options) * dy).sum())

    assert_within(ops.dropout(dy, 0.4, **options), slopes(loss, x.copy()), 1e-8, np.float64)


def test_a_dropped_unit_is_zero_whatever_it_was(backend, dtype):
    for value in (np.inf, -np.inf, np.nan):
        y = ops.dropout(np.full((4, 3, 50), value, dtype), 0.5, backend=backend)
        z = ops.dropout(np.full((4, 3, 50), value, dtype), 0.5, by_map=True, backend=backend)
        for found in (y, z):
            assert 0 < np.count_nonzero(found == 0) < found.size
            assert not np.isfinite(found[found != 0]).any()


def test_wrong_arguments():
    x = np.ones((2, 3))
    for p in (-0.1, 1.0, 1.5, math.nan):
        with complains("p"):
            ops.dropout(x, p)
    for wrong in ("0.5", None, True):
        with complains("p", TypeError):
            ops.dropout(x, wrong)
    for name in ("seed", "step", "layer", "first"):
        with complains(name):
            ops.dropout(x, 0.5, **{name: -1})
        with complains(name, TypeError):
            ops.dropout(x, 0.5, **{name: 0.5})
    with complains("by_map", TypeError):
        ops.dropout(x, 0.5, by_map=1)
    with complains("x", got="(3,)"):
        ops.dropout(np.ones(3), 0.5)


def draws(n: int, units: int, **numbers: int) -> np.ndarray:
    """Return whether units are dropped, with probability one half: -1 or 1."""
    return np.sign(ops.dropout(np.ones((n, units)), 0.5, **numbers) - 0.5)


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.9])
def test_the_rate_is_p(p):
    n, units = 500, 2000
    dropped = ops.dropout(np.ones((n, units)), p, seed=1) == 0
    deviation = math.sqrt(p * (1 - p))
    assert abs(dropped.mean() - p) < 5 * deviation / math.sqrt(n * units)
    # Each image, and each unit over the images: no place is favoured.
    for means, count in ((dropped.mean(axis=1), units), (dropped.mean(axis=0), n)):
        z = (means - p) / (deviation / math.sqrt(count))
        assert np.abs(z).max() < 5.5
        assert abs(z.std() - 1) < 0.12


def test_draws_that_differ_in_one_number_are_independent():
    """Of neighbours in each number that decides them, and in all pairs of units or images."""
    n, units = 400, 1000
    one = draws(n, units)
    limit = 5 / math.sqrt(n * units)
    others = {
        "next unit": (one[:, :-1], one[:, 1:]),
        "row below": (one[:, :-28], one[:, 28:]),
        "next image": (one[:-1], one[1:]),
        "diagonal": (one[:-1, :-1], one[1:, 1:]),
        "image 16 on": (one[:-16], one[16:]),
        **{
            f"{name} {k}": (one, draws(n, units, **{name: k}))
            for name in ("seed", "step", "layer")
            for k in (1, 2, 16, 256, 2**32)
        },
        "seed and step exchanged": (draws(n, units, seed=1), draws(n, units, step=1)),
        "step and layer exchanged": (draws(n, units, layer=1), draws(n, units, step=1)),
    }
    for name, (a, b) in others.items():
        assert abs((a * b).mean()) < limit, name
    images = one @ one.T / units
    features = one.T @ one / n
    for products, count in ((images, units), (features, n)):
        z = products[np.triu_indices(len(products), 1)] * math.sqrt(count)
        assert np.abs(z).max() < 6.5
        assert abs(z.std() - 1) < 0.02
    three = one[:, :-2] * one[:, 1:-1] * one[:, 2:]
    assert abs(three.mean()) < limit


# --- the layers  ---


@pytest.mark.parametrize("kind", [Dropout, Dropout2D])
def test_layers_change_nothing_by_themselves(kind, backend, dtype, rng):
    layer, x = kind(0.5), normal(rng, 3, 2, 4, 5, dtype=dtype)
    y = layer.forward(x, backend)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(y, x)
    for run in (
        lambda dy, **k: layer.backward(dy, x, y, backend, **k),
        lambda hy, **k: layer.hessian(hy, None, x, y, backend, *k.values()),
    ):
        dx, gradients = run(x)
        np.testing.assert_array_equal(dx, x)
        assert gradients == {}
        assert run(x, input_gradient=False) == (None, {})
    numbers = (7, 3, 5, 2)
    dropped = layer.drop(x, *numbers, backend)
    expected = ops.dropout(
        *(x, 0.5), seed=7, step=3, layer=5, first=2, by_map=kind is Dropout2D, backend="numpy"
    )
    np.testing.assert_array_equal(dropped, expected)
    assert (layer.parameters, layer.parameter_count(), layer.units((2, 4, 5))) == ({}, 0, 0)
    assert layer.output_shape((2, 4, 5)) == (2, 4, 5)


def test_layers_are_described_and_read():
    for layer in (Dropout(name="d"), Dropout(0.25, name="a"), Dropout2D(0.1, name="b")):
        twin = layers.from_config(layer.config())
        assert (type(twin), twin.p, twin.name) == (type(layer), layer.p, layer.name)
    for p in (-0.1, 1.0, math.inf):
        with complains("p"):
            Dropout(p)
        with complains("p"):
            layers.from_config({"type": "Dropout2D", "name": None, "p": p})
    with complains("p", TypeError):
        Dropout("half")
    assert Dropout(0).p == 0
    with complains("input", got="(10,)"):
        Dropout2D().output_shape((10,))
    assert Dropout().output_shape((10,)) == (10,)


def test_summary_and_stages():
    net = network("float32")
    assert "dropout2 Dropout2D 3 x 7 x 8" in " ".join(net.summary().split())
    assert net.counts().units == 1 * 9 * 10 + 3 * 7 * 8 + 3 * 3 * 4 + 4 * 2 * 3 + 9 + 3
    small = Network(
        [Dense(4, 3, name="A"), Tanh(name="t"), Dropout(name="d"), Dense(3, 2, name="B")],
        input_shape=(1, 2, 2),
    )
    assert small.stages == {"A": "d", "B": "B"}


# --- the engines  ---


def network(dtype: object, p: float = 0.4, pool: type = MaxPool2D) -> Network:
    """Return a network with dropout in every position: first, last, twice, before and behind
    activations that take their slope from the output or the input, and between other layers."""
    body = [
        *(Dropout(p / 2), Conv2D(1, 3, 3), Tanh(), Dropout2D(p), pool(2), Dropout(p)),
        *(Conv2D(3, 4, 2), ReLU(), Dropout(p), ScaledTanh(), Dropout2D(p), GELU(), Dropout(p)),
        *(Dense(24, 9), Sigmoid(), Dropout(p), Dropout(p / 2), Dense(9, 3), Dropout(p / 4)),
    ]
    net = Network(body, input_shape=(1, 9, 10), output="softmax", dtype="float32")
    net.initialise("lecun_sqrt", 3)
    return copied(net, dtype)


def convolutional(dtype: object) -> Network:
    """Return a small relative of the MNIST network of pytorch/examples."""
    body = [
        *(Conv2D(1, 5, 3), ReLU(), Conv2D(5, 6, 3), ReLU(), MaxPool2D(2), Dropout(0.25)),
        *(Dense(6 * 4 * 5, 16), ReLU(), Dropout(0.5), Dense(16, 3)),
    ]
    net = Network(body, input_shape=(1, 12, 14), output="softmax", dtype="float32")
    net.initialise("he_normal", 3)
    return copied(net, dtype)


def planar(dtype: object) -> Network:
    """Return a network whose first maps the online engine keeps map by map."""
    body = [
        *(Conv2D(1, 2, 3), Tanh(), AvgPool2D(2), Dropout2D(0.5), Conv2D(2, 5, 2), Dropout2D(0.3)),
        *(ReLU(), Dense(5 * 2 * 15, 3)),
    ]
    net = Network(body, input_shape=(1, 8, 34), output="softmax", dtype="float32")
    net.initialise("lecun_sqrt", 3)
    return copied(net, dtype)


NETWORKS = {"every position": network, "convolutional": convolutional, "planar": planar}


def examples(net: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = new_rng()
    x = rng.standard_normal((n, *net.input_shape)).astype(np.float32)
    return x.astype(net.dtype), rng.integers(0, 3, n)


def judge(net: Network) -> LayersEngine:
    return LayersEngine(copied(net, np.float64), losses.CrossEntropy(), backend="numpy", threads=1)


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_alike(found, expected, net: Network, n: int) -> None:
    """Compare gradients within rounding, which grows with the factors of dropout."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert array.any(), f"{name}: nothing to compare"
        bound = 4 * rounding(net, n) * np.abs(array).max()
        assert_within(found[name], array, bound, net.dtype, name)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_a_training_step(name, create, dtype):
    net = NETWORKS[name](dtype)
    n = 41  # a full tile and a rest, several blocks
    x, labels = examples(net, n)
    totals, gradients = create(net, losses.CrossEntropy(), threads=2).loss_and_gradients(
        x, labels, dropout=(5, 1234)
    )
    right, expected = judge(net).loss_and_gradients(x.astype(np.float64), labels, dropout=(5, 1234))
    assert totals.loss == pytest.approx(right.loss, rel=100 * rounding(net, n))
    assert_alike(gradients, expected, net, n)
    plain = judge(net).loss_and_gradients(x.astype(np.float64), labels)
    assert abs(plain[0].loss - right.loss) > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_on_demand_drop_the_same(name, create, dtype):
    """Those of given gradients at the outputs, at the images, and of each image."""
    net = NETWORKS[name](dtype)
    n = 37
    x, labels = examples(net, n)
    d_outputs = normal(new_rng(), n, 3, dtype=dtype)
    found = []
    for engine in (create(net, losses.CrossEntropy(), threads=2), judge(net)):
        x, d_outputs = (each.astype(engine.network.dtype) for each in (x, d_outputs))
        outputs = engine.forward(x, dropout=(5, 6))
        gradients, d_images = engine.backward(d_outputs, inputs=True)
        each = engine.gradients_per_example(x, labels, dropout=(5, 6))[1]
        clipped = engine.gradients_per_example(x, labels, clip=0.5, dropout=(5, 6))[1]
        found.append({"outputs": outputs, "images": d_images, **gradients})
        found[-1] |= {f"each {key}": array for key, array in each.items()}
        found[-1] |= {f"clipped {key}": array for key, array in clipped.items()}
        sums = {key: array.sum(axis=0) / n for key, array in each.items()}
        whole = engine.loss_and_gradients(x, labels, dropout=(5, 6))[1]
        for key, array in whole.items():
            bound = 16 * rounding(net, n) * np.abs(array).max()
            assert_within(sums[key], array, bound, engine.network.dtype, key)
    assert_alike(found[0], found[1], net, n)


def test_wrong_numbers_of_a_draw(create):
    net = planar("float32")
    x, labels = examples(net, 3)
    engine = create(net, losses.CrossEntropy())
    for wrong in (5, (1,), [1, 2], (1, 2, 3)):
        with complains("dropout", TypeError):
            engine.loss_and_gradients(x, labels, dropout=wrong)
    with complains("dropout[0]"):
        engine.loss_and_gradients(x, labels, dropout=(-1, 2))
    with complains("dropout[1]", TypeError):
        engine.loss_and_gradients(x, labels, dropout=(1, 0.5))
    with complains("seed"):
        engine.train(x, labels, np.arange(3), 1, SGD(), 0.1, seed=-1)


@pytest.mark.slow
def test_gradients_are_slopes_with_the_mask_fixed():
    net = network(np.float64)
    engine = judge(net)
    x, labels = examples(net, 3)
    _, gradients = engine.loss_and_gradients(x, labels, dropout=(1, 2))
    for name, array in engine.network.parameters.items():

        def loss(moved, array=array):
            array[...] = moved
            return engine.loss_and_gradients(x, labels, dropout=(1, 2))[0].loss / 3

        original = array.copy()
        expected = slopes(loss, original.copy())
        array[...] = original
        assert_within(gradients[name], expected, 1e-7, np.float64, name)


def test_gradients_are_those_of_pytorch_with_the_same_masks():
    torch = require("torch")
    net = network(np.float64)
    x, labels = examples(net, 7)
    _, gradients = judge(net).loss_and_gradients(x, labels, dropout=(9, 8))
    values = torch.from_numpy(x)
    tensors = {
        name: torch.from_numpy(array.copy()).requires_grad_()
        for name, array in net.parameters.items()
    }
    f = torch.nn.functional
    for k, layer in enumerate(net.layers):
        w, b = (tensors.get(f"{layer.name}.{key}") for key in "wb")
        if isinstance(layer, Dropout):
            ones = np.ones(tuple(values.shape))
            values = values * torch.from_numpy(layer.drop(ones, 9, 8, k))
        elif isinstance(layer, Conv2D):
            values = f.conv2d(values, w, b)
        elif isinstance(layer, Dense):
            values = f.linear(values.flatten(1), w, b)
        elif isinstance(layer, MaxPool2D):
            values = f.max_pool2d(values, 2)
        else:
            functions = {
                *((Tanh, torch.tanh), (ReLU, f.relu), (GELU, f.gelu), (Sigmoid, torch.sigmoid)),
                (ScaledTanh, lambda z: 1.7159 * torch.tanh(2 * z / 3)),
            }
            values = dict(functions)[type(layer)](values)
    f.cross_entropy(values, torch.from_numpy(labels)).backward()
    for name, tensor in tensors.items():
        expected = tensor.grad.numpy()
        assert_within(gradients[name], expected, 1e-12 * np.abs(expected).max(), np.float64, name)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adamw"])
def test_training(optimiser, name, create_any, dtype):
    """A few steps, begun anew in the middle, against the layers engine in float64."""
    nets = NETWORKS[name](dtype), NETWORKS[name](np.float64)
    n = 50
    ends = []
    for net in nets:
        engine = create_any(net, losses.CrossEntropy(), threads=2) if not ends else judge(net)
        size = 1 if engine.name == "online" or (ends and ends[0][2] == "online") else 19
        chosen = OPTIMISERS[optimiser](engine.network)
        chosen.steps = 7 if optimiser != "adamw" else 0
        x, labels = examples(engine.network, n)
        order = new_rng().permutation(n)
        found = engine.train(x, labels, order[:38], size, chosen, 0.01, seed=3)
        found += engine.train(x, labels, order[38:], size, chosen, 0.01, seed=3)
        ends.append((found, state_of(engine.network, chosen), engine.name))
    (found, state, _), (right, expected, _) = ends
    for one, other in zip(found, right, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3 if dtype == np.float32 else 1e-9)
    share = 2e-3 if dtype == np.float32 else 1e-9
    for key, array in expected.items():
        if key != "steps":
            bound = share * np.abs(array).max(initial=0.0)
            assert_within(state[key], array.astype(dtype), bound, dtype, key)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_dropout_outside_training(name, create_any, dtype):
    """Its results are those of the network without the layers, bit for bit."""
    net = NETWORKS[name](dtype)
    bare = Network(
        [layers.from_config(layer.config()) for layer in net.layers if "dropout" not in layer.name],
        input_shape=net.input_shape,
        output="softmax",
        dtype=net.dtype,
    )
    for key, array in bare.parameters.items():
        array[...] = net.parameters[key]
    x, labels = examples(net, 20)
    found = []
    for each in (net, bare):
        engine = create_any(each, losses.CrossEntropy(), threads=2)
        totals, gradients = engine.loss_and_gradients(x, labels)
        arrays = {"outputs": engine.predict(x), "one": engine.predict_one(x[0])} | gradients
        diagonal = engine.hessian_diagonal(x, labels)
        arrays |= {f"curvature of {key}": array for key, array in diagonal.items()}
        found.append((totals, engine.evaluate(x, labels), arrays))
        assert np.array_equal(engine.predict(x), arrays["outputs"])
    assert found[0][:2] == found[1][:2]
    assert_same(found[0][2], found[1][2])


def test_p_of_zero_is_no_dropout(create_any, dtype):
    ends = []
    for p, seed in ((0.0, 0), (0.0, 1), (0.4, 0), (0.4, 1)):
        net = network(dtype, p)
        engine, sgd = create_any(net, losses.CrossEntropy(), threads=1), SGD(0.9)
        x, labels = examples(net, 20)
        engine.train(x, labels, np.arange(20), batch(engine, 6), sgd, 0.01, seed=seed)
        ends.append(net.parameters)
    assert_same(ends[0], ends[1])
    for one, other in ((0, 2), (2, 3)):
        assert any(not np.array_equal(ends[one][key], ends[other][key]) for key in ends[0])


@pytest.mark.parametrize("pool", [MaxPool2D, AvgPool2D])
def test_bits_do_not_depend_on_threads_or_on_calls(pool, create_any, dtype):
    ends = []
    for threads, cuts in ((1, [90]), (2, [90]), (3, [30, 90]), (7, [15, 30, 75, 90])):
        net = network(dtype, pool=pool)
        engine, sgd = create_any(net, losses.CrossEntropy(), threads=threads), SGD(0.9)
        x, labels = examples(net, 90)
        totals = []
        for first, last in zip([0, *cuts], cuts, strict=False):
            part = np.arange(first, last)
            totals += engine.train(x, labels, part, batch(engine, 15), sgd, 0.01, seed=11)
        ends.append((totals, state_of(net, sgd)))
    for totals, state in ends[1:]:
        assert totals == ends[0][0]
        assert_same(state, ends[0][1])


def test_bytes_are_dropped_like_floats(create_any):
    """Also by a first layer, which must not overwrite the image."""
    ends = []
    for as_bytes in (True, False):
        net = Network(
            [Dropout(0.3), Conv2D(1, 4, 3), ReLU(), Dropout(0.5), Dense(4 * 64, 3)],
            input_shape=(1, 10, 10),
            output="softmax",
            pixel_range=(0.0, 255.0),
        )
        rng = new_rng()
        images = rng.integers(0, 256, (30, 8, 8), np.uint8)
        x = images if as_bytes else np.pad(images, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
        engine, sgd = create_any(net, losses.CrossEntropy(), threads=2), SGD()
        given = x if as_bytes else x[:, np.newaxis]
        labels = rng.integers(0, 3, 30)
        engine.train(given, labels, np.arange(30), batch(engine, 10), sgd, 1e-7, seed=1)
        ends.append(net.parameters)
    for key, array in ends[0].items():
        assert_within(array, ends[1][key], 1e-4 * np.abs(array).max(), np.float32, key)


# --- a run  ---


def digits(seed: int = 0) -> Network:
    """Return a small network for digits with both kinds of dropout."""
    body = [
        *(Conv2D(1, 4, 5, name="C1"), ReLU(), Dropout2D(0.2), MaxPool2D(4), Dropout(0.1)),
        *(Dense(196, 20, name="F2"), ReLU(), Dropout(0.5, name="half"), Dense(20, 10, name="OUT")),
    ]
    net = Network(body, output="softmax")
    net.initialise("he_normal", seed)
    return net


@pytest.mark.parametrize("schedule", [Constant(0.002), OneCycle(0.004)], ids=["constant", "cycle"])
@pytest.mark.parametrize("engine", ["layers", "lanes", "online"])
def test_a_run_that_stops_and_resumes_has_the_bits_of_one_that_does_not(engine, schedule, tmp_path):
    """Stopped within an epoch, and resumed with other threads; also where the rate goes by step."""
    sample = data.load("sample")
    train, test = sample.train.subset(150), sample.test.subset(20)
    size = 1 if engine == "online" else 16

    class Stop(Callback):
        def on_batch_end(self, trainer, progress):
            if progress.epoch == 2 and progress.phase == "train":
                trainer.stop()

    def trainer(seed=5, threads=1, **options):
        new = Trainer(
            digits(),
            optimiser=AdamW(),
            schedule=schedule,
            batch_size=size,
            seed=seed,
            engine=engine,
            threads=threads,
            **options,
        )
        new.engine.images_a_call = 40
        return new

    judge = trainer(threads=2)
    judge.fit(train, test, epochs=3)
    first = trainer(out=tmp_path / "run", callbacks=[Stop()])
    first.fit(train, test, epochs=3)
    assert first.saved is not None
    assert (first.saved.epoch, first.saved.batch > 0) == (1, True)
    resumed = Trainer.resume(tmp_path / "run", threads=3)
    resumed.engine.images_a_call = 40
    resumed.fit(train, test)
    assert_same(
        state_of(resumed.network, resumed.optimiser), state_of(judge.network, judge.optimiser)
    )
    other = trainer(seed=6)
    other.fit(train, test, epochs=1)
    assert [row.train_loss for row in judge.history.rows[:1]] != [
        row.train_loss for row in other.history.rows
    ]
    # The order of the images is the same in an order that is not shuffled: then only draws differ.
    ends = []
    for seed in (5, 6):
        fixed = trainer(seed=seed, shuffle=False)
        fixed.fit(train, test, epochs=1)
        ends.append(fixed.history.rows[0].train_loss)
    assert ends[0] != ends[1]
    # The test images were evaluated without dropout.
    outputs = resumed.network.predict(test.images)
    wrong = int((resumed.network.classify_outputs(outputs) != test.labels).sum())
    assert resumed.history.rows[-1].test_errors == wrong


def test_files_pictures_and_pages_of_a_network_with_dropout(tmp_path):
    net = digits()
    files.save_model(tmp_path / "a.safetensors", net)
    again = files.load_model(tmp_path / "a.safetensors")
    assert again.config() == net.config()
    assert [layer.p for layer in again.layers if isinstance(layer, Dropout)] == [0.2, 0.1, 0.5]
    image = data.load("sample").test.images[0]
    np.testing.assert_array_equal(again.predict(image), net.predict(image))
    assert list(net.stages) == ["C1", "pool1", "F2", "OUT"]
    assert net.activations(image)["half"].shape == (20,)
    require("matplotlib")
    from lenet_fast import plots

    assert len(plots.features(net, image).axes) >= 4
    from lenet_fast.web.snapshots import NetworkSnapshot

    snapshot = NetworkSnapshot(net, 1, "dropping")
    assert [stage["name"] for stage in snapshot.describe()["stages"]] == ["C1", "pool1", "F2"]
    assert snapshot.inspect(image)["digit"] in range(10)


def test_the_error_falls_with_dropout():
    """The rate of a unit is right on average: what training learns holds in evaluation."""
    sample = data.load("sample")
    net = digits()
    trainer = Trainer(net, schedule=Constant(0.05), seed=1, threads=1)
    history = trainer.fit(sample.train, sample.test, epochs=4)
    assert history.rows[-1].test_loss < history.rows[0].test_loss
    errors = history.rows[-1].test_errors / len(sample.test)
    assert errors < 0.15
    # In training a part of the network is missing.
    assert history.rows[-1].train_errors / len(sample.train) > errors
