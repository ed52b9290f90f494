"""Engines: gradients and Hessians of whole networks, and which engine is made; and of the layers
engine its threads, blocks and memory."""

from __future__ import annotations

import functools
import re
import threading
import tracemalloc

import numpy as np
import pytest
from blas import numpy_blas_threads
from helpers import assert_within, curvatures, jacobian, missing, normal, require, slopes

import lenet_fast
from lenet_fast import engines, losses, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import LanesEngine, LayersEngine, Totals
from lenet_fast.engines.layers import blocks
from lenet_fast.layers import (
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from lenet_fast.network import Network
from lenet_fast.training import SDLM, SGD, Adadelta, Adam, AdamW, RMSprop

TABLE = np.array([[1, 0], [1, 1], [0, 1]], bool)


def tiny(output: str, dtype: object = "float64") -> Network:
    """Return small networks which, taken together, hold every layer."""
    inner = {
        "linear": [
            Conv2D(1, 2, 3, padding=1, bias="unit"),
            ScaledTanh(),
            Subsample2D(2),
            Tanh(),
            Conv2D(2, 3, 2, connections=TABLE),
            Sigmoid(),
            Dense(12, 3),
        ],
        "softmax": [
            Conv2D(1, 4, 3, bias=None),
            ReLU(),
            MaxPool2D(2),
            Conv2D(4, 4, 2, groups=2, stride=(1, 2)),
            Tanh(),
            Dense(4, 5),
            Tanh(),
            Dense(5, 3),
        ],
        "rbf": [
            AvgPool2D(2, 1),
            Conv2D(1, 2, 2, dilation=2),
            ScaledTanh(),
            Subsample2D(2, 3, reduction="mean"),
            ScaledTanh(),
            RBF(2, 3, centres=np.array([[1.0, -1.0], [-0.5, 1.0], [1.5, 0.5]])),
        ],
    }[output]
    net = Network(inner, input_shape=(1, 6, 6), output=output, dtype=dtype)
    net.initialise("lecun_sqrt", 3)
    for name in net.trainable_names:
        if name.endswith(".b"):
            net.parameters[name][...] = np.linspace(-0.3, 0.4, net.parameters[name].size).reshape(
                net.parameters[name].shape
            )
    return net


LOSSES = {
    "linear": [losses.MeanSquaredError(), losses.MeanSquaredError(0.9, 0.2, 1.0)],
    "softmax": [losses.CrossEntropy()],
    "rbf": [losses.MAP(), losses.MAP(1.0), losses.MAP(np.inf)],
}
PAIRS = pytest.mark.parametrize(
    ("output", "loss"),
    [(output, loss) for output, several in LOSSES.items() for loss in several],
    ids=lambda value: value if isinstance(value, str) else repr(value),
)


def examples(rng, n=5, dtype=np.float64, shape=(1, 6, 6), classes=3):
    x = rng.permutation(np.linspace(-2, 2.1, n * int(np.prod(shape)))).reshape(n, *shape)
    return x.astype(dtype), rng.integers(0, classes, n)


def digits(rng, n, dtype=np.float32):
    return normal(rng, n, 1, 32, 32, dtype=dtype), rng.integers(0, 10, n)


# --- gradients ------------------------------------------------------------------------------


@PAIRS
def test_gradients_of_whole_networks_are_slopes(output, loss, rng, create):
    net = tiny(output)
    engine = create(net, loss, threads=1)
    x, labels = examples(rng)
    totals, gradients = engine.loss_and_gradients(x, labels)
    assert list(gradients) == net.trainable_names
    evaluated = engine.evaluate(x, labels)
    assert (totals.errors, totals.images) == (evaluated.errors, 5)
    assert totals.loss == pytest.approx(evaluated.loss, rel=1e-14)
    for name, gradient in gradients.items():
        array = net.parameters[name]
        original = array.copy()

        def mean_loss(moved, array=array):
            array[...] = moved
            return engine.evaluate(x, labels).loss / len(x)

        expected = slopes(mean_loss, original, 1e-4)
        array[...] = original
        assert_within(gradient, expected, 1e-9, np.float64, name)
        assert np.abs(expected).max() > 1e-4


def test_gradients_of_lenet5_agree_with_pytorch(rng, create):
    torch = require("torch")
    nets = [
        models.lenet5(output=output, pooling=pooling, dtype="float64", seed=1)
        for output, pooling in (("rbf", "subsample"), ("softmax", "max"), ("linear", "average"))
    ]
    x, labels = digits(rng, 6, np.float64)
    for net in nets:
        net.initialise("eblearn", 1)  # lecun1998 would leave the outputs hardly depending on x
        loss = losses.default_for(net)
        engine = create(net, loss)
        totals, gradients = engine.loss_and_gradients(x, labels)
        p = {
            name: torch.tensor(array, requires_grad=name in gradients)
            for name, array in net.parameters.items()
        }
        value = torch_loss(torch, net, loss, p, torch.tensor(x), torch.tensor(labels))
        value.backward()
        assert totals.loss == pytest.approx(value.item() * len(x), rel=1e-12)
        for name, gradient in gradients.items():
            expected = p[name].grad.numpy()
            if name == "C3.w":
                expected = np.where(LENET5_C3[:, :, None, None], expected, 0)
            bound = 1e-11 * np.abs(expected).max()
            assert_within(gradient, expected, bound, np.float64, f"{net.output} {name}")


def torch_loss(torch, net, loss, p, x, labels):
    """Return the mean loss of LeNet-5 as PyTorch computes it."""
    f = torch.nn.functional

    def squash(a):
        return 1.7159 * torch.tanh(2 * a / 3)

    def pool(name, a):
        if f"{name}.w" in p:
            s = 4 * f.avg_pool2d(a, 2)
            return squash(s * p[f"{name}.w"][:, None, None] + p[f"{name}.b"][:, None, None])
        is_max = any(layer.name == name and isinstance(layer, MaxPool2D) for layer in net.layers)
        return f.max_pool2d(a, 2) if is_max else f.avg_pool2d(a, 2)

    table = torch.tensor(LENET5_C3)[:, :, None, None]
    a = pool("S2", squash(f.conv2d(x, p["C1.w"], p["C1.b"])))
    a = pool("S4", squash(f.conv2d(a, p["C3.w"] * table, p["C3.b"])))
    a = squash(f.conv2d(a, p["C5.w"], p["C5.b"])).flatten(1)
    a = squash(f.linear(a, p["F6.w"], p["F6.b"]))
    if net.output == "rbf":
        y = ((a[:, None, :] - p["OUTPUT.w"]) ** 2).sum(2)
        right = y.gather(1, labels[:, None])[:, 0]
        rubbish = torch.full((len(y), 1), -loss.j, dtype=y.dtype)
        return (right + torch.logsumexp(torch.cat([-y, rubbish], 1), 1)).mean()
    y = f.linear(a, p["OUTPUT.w"], p["OUTPUT.b"])
    if net.output == "softmax":
        return f.cross_entropy(y, labels)
    targets = 2.0 * f.one_hot(labels, 10) - 1
    return 0.5 * ((y - targets) ** 2).sum(1).mean()


@pytest.mark.parametrize("output", LOSSES)
def test_backends_agree_with_the_reference(output, rng, backend, dtype):
    net = models.lenet5(output=output, dtype=dtype, seed=2)
    net.initialise("eblearn", 2)
    loss = losses.default_for(net)
    x, labels = digits(rng, 9, dtype)
    engine = LayersEngine(net, loss, backend=backend)
    reference = LayersEngine(net, loss, backend="numpy")
    assert engine.backend == backend
    bound = 2000 * np.finfo(dtype).eps
    expected = reference.predict(x)
    assert_within(engine.predict(x), expected, bound * np.abs(expected).max(), dtype)
    for found, wanted in (
        (engine.loss_and_gradients(x, labels)[1], reference.loss_and_gradients(x, labels)[1]),
        (engine.hessian_diagonal(x, labels), reference.hessian_diagonal(x, labels)),
    ):
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert_within(found[name], array, bound * np.abs(array).max(), dtype, name)


# --- the Hessian's diagonal -----------------------------------------------------------------------


def slow_diagonal(net: Network, loss: losses.Loss, x: np.ndarray, labels: np.ndarray) -> dict:
    """Return the recursion of LeCun et al. 1998, appendix C, written with whole Jacobians.

    ``h_in = (J o J)^T h_out`` for each layer, J by difference quotients of its forward pass, one
    image at a time; the RBF's own curvature is added. Nothing of backward or hessian is used.
    With an exact curvature of MAP the second differences of the loss itself are those at the
    inputs of the RBF.
    """
    exact = isinstance(loss, losses.MAP) and loss.curvature == "exact"
    sums = {name: np.zeros_like(net.parameters[name]) for name in net.trainable_names}
    for image, label in zip(x, labels, strict=True):
        inputs = [image[None]]
        for layer in net.layers:
            inputs.append(layer.forward(inputs[-1], "numpy"))
        label = np.array([label])

        def value(y, label=label):
            return float(loss.values(y, label, "numpy").sum())

        dy, hy = slopes(value, inputs[-1]).ravel(), curvatures(value, inputs[-1]).ravel()
        for layer, seen in zip(reversed(net.layers), reversed(inputs[:-1]), strict=True):

            def forward(layer=layer, seen=seen):
                return layer.forward(seen, "numpy")

            if layer.trainable:
                for name, array in layer.parameters.items():
                    squares = jacobian(forward, array) ** 2
                    sums[f"{layer.name}.{name}"] += (hy @ squares).reshape(array.shape)
            through = jacobian(forward, seen)
            hy_below = hy @ through**2
            if isinstance(layer, RBF):
                hy_below += 2 * dy.sum()
            if layer is net.layers[-1] and exact:

                def below(moved, layer=layer, value=value):
                    return value(layer.forward(moved, "numpy"))

                hy_below = curvatures(below, seen).ravel()
            dy, hy = dy @ through, hy_below
    return {name: array / len(x) for name, array in sums.items()}


@PAIRS
def test_hessian_is_the_papers_recursion(output, loss, rng, create):
    net = tiny(output)
    x, labels = examples(rng, n=2)
    expected = slow_diagonal(net, loss, x, labels)
    found = create(net, loss).hessian_diagonal(x, labels)
    assert list(found) == net.trainable_names
    for name, array in expected.items():
        assert_within(found[name], array, 1e-6 * (1 + np.abs(array)), np.float64, name)
        assert (found[name] >= 0).all()
        assert array.max() > 1e-6


def like_lenet5() -> Network:
    """Return what LeNet-5 of 1998 is made of, as small as it can be."""
    layers = [
        *(Conv2D(1, 2, 3), ScaledTanh(), Subsample2D(2), ScaledTanh()),
        *(Conv2D(2, 3, 2, connections=TABLE), ScaledTanh(), Dense(3, 4), ScaledTanh()),
        RBF(4, 3, centres=np.array([[1.0, -1, 1, 1], [-1, -1, 1, 1], [1, 1, -1, 1]])),
    ]
    net = Network(layers, input_shape=(1, 6, 6), output="rbf", dtype="float64")
    net.initialise("lecun_sqrt", 5)
    return net


@functools.cache
def slow_diagonal_like_lenet5(loss: losses.Loss) -> dict:
    return slow_diagonal(like_lenet5(), loss, *examples(np.random.default_rng(8), n=3))


RBF_LOSSES = (losses.MAP(10.0), losses.MAP(10.0, "exact"), losses.Penalty())


@pytest.mark.parametrize("loss", RBF_LOSSES, ids=repr)
def test_hessian_of_a_small_lenet5(loss, create_any):
    expected = slow_diagonal_like_lenet5(loss)
    x, labels = examples(np.random.default_rng(8), n=3)
    found = create_any(like_lenet5(), loss).hessian_diagonal(x, labels)
    for name, array in expected.items():
        assert_within(found[name], array, 1e-7 * np.abs(array).max(), np.float64, name)
        assert (found[name] >= 0).all()


def test_curvatures_differ():
    """Or the test above could not tell them apart."""
    paper, exact, plain = (slow_diagonal_like_lenet5(loss)["dense1.b"] for loss in RBF_LOSSES)
    for one, other in ((paper, exact), (paper, plain), (exact, plain)):
        assert np.abs(one - other).max() > 0.1 * np.abs(other).max()


@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_hessian_of_a_last_layer_is_exact(output, rng, create):
    # Where nothing bends between the weight and the loss, and one weight reaches one output, the
    # recursion drops nothing.
    net = tiny(output)
    engine = create(net, losses.default_for(net))
    x, labels = examples(rng)
    found = engine.hessian_diagonal(x, labels)
    last = net.layers[-1].name
    for name in (f"{last}.w", f"{last}.b"):
        array = net.parameters[name]
        original = array.copy()

        def mean_loss(moved, array=array):
            array[...] = moved
            return engine.evaluate(x, labels).loss / len(x)

        expected = curvatures(mean_loss, original)
        array[...] = original
        assert_within(found[name], expected, 1e-7, np.float64, name)


@pytest.mark.parametrize(
    "loss", [losses.MAP(0.0), losses.MAP(0.0, "exact"), losses.Penalty()], ids=repr
)
def test_hessian_below_the_rbf_of_a_linear_criterion(loss, rng, create):
    # With j = 0 and all penalties large the loss is y_D, linear: only the RBF's own curvature is
    # left, 2 for every input, and F6 sees 2 f'^2 (papers: twice the rubbish class's probability).
    net = Network(
        [Dense(9, 4), RBF(4, 3, centres=np.full((3, 4), 20.0))],
        input_shape=(1, 3, 3),
        output="rbf",
        dtype="float64",
    )
    engine = create(net, loss)
    x, labels = examples(rng, shape=(1, 3, 3))
    h = engine.hessian_diagonal(x, labels)
    assert_within(h["dense1.b"], np.full(4, 2.0), 1e-9)
    assert_within(h["dense1.w"], np.tile(2 * (x**2).mean(0).ravel(), (4, 1)), 1e-9)


def test_gradient_reaches_a_curved_layer_that_is_not_the_last(rng):
    # An RBF in the middle: its Hessian needs the gradient at its output, through layers above it.
    layers = [Dense(9, 2), RBF(2, 2, centres=np.eye(2)), ScaledTanh(), Dense(2, 3)]
    net = Network(layers, input_shape=(1, 3, 3), dtype="float64")
    loss = losses.MeanSquaredError()
    x, labels = examples(rng, n=2, shape=(1, 3, 3))
    expected = slow_diagonal(net, loss, x, labels)
    for name, array in LayersEngine(net, loss).hessian_diagonal(x, labels).items():
        assert_within(array, expected[name], 1e-6 * (1 + np.abs(expected[name])), None, name)


# --- blocks and threads ---------------------------------------------------------------------------


def test_blocks():
    for n in (0, 1, 2, 31, 32, 33, 63, 64, 65, 100, 256, 60_000):
        cut = blocks(n)
        assert [i for block in cut for i in range(n)[block]] == list(range(n))
        sizes = [block.stop - block.start for block in cut]
        if n:
            assert 1 <= min(sizes) <= max(sizes) <= (32 if n <= 256 else 64)
            assert max(sizes) - min(sizes) <= 1
        assert len(cut) >= (2 if n >= 32 else min(n, 1))
    assert [len(blocks(n)) for n in (64, 256, 512, 513, 1024)] == [2, 8, 8, 9, 16]


@pytest.mark.parametrize("output", LOSSES)
def test_threads_change_no_bit(output, rng, backend):
    net = models.lenet5(output=output, pooling="max" if output == "softmax" else "subsample")
    x, labels = digits(rng, 75)
    results = []
    for threads in (1, 2, 7):
        engine = LayersEngine(net, losses.default_for(net), backend=backend, threads=threads)
        assert engine.threads == threads
        for _ in range(2):
            totals, gradients = engine.loss_and_gradients(x, labels)
            results.append(
                [
                    totals,
                    engine.evaluate(x, labels),
                    engine.predict(x).tobytes(),
                    {name: array.tobytes() for name, array in gradients.items()},
                    {
                        name: array.tobytes()
                        for name, array in engine.hessian_diagonal(x, labels).items()
                    },
                ]
            )
        engine.close()
    assert all(result == results[0] for result in results)
    assert results[0][0] == results[0][1]


def test_two_models_in_two_python_threads(rng, backend):
    x, labels = digits(rng, 70)
    nets = [models.lenet5(seed=seed) for seed in (0, 1)]
    alone = [LayersEngine(net, losses.MAP(), backend=backend, threads=2) for net in nets]
    expected = [engine.loss_and_gradients(x, labels) for engine in alone]
    results: dict[int, list] = {0: [], 1: []}

    def work(which: int) -> None:
        for _ in range(3):
            results[which].append(alone[which].loss_and_gradients(x, labels))

    workers = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for which in (0, 1):
        assert len(results[which]) == 3
        for totals, gradients in results[which]:
            assert totals == expected[which][0]
            for name, array in gradients.items():
                np.testing.assert_array_equal(array, expected[which][1][name])


def test_results_of_blocks_are_sums(rng):
    net = tiny("softmax")
    engine = LayersEngine(net, losses.CrossEntropy(), backend="numpy")
    x, labels = examples(rng, 70)
    totals, gradients = engine.loss_and_gradients(x, labels)
    parts = [engine.loss_and_gradients(x[i : i + 1], labels[i : i + 1]) for i in range(70)]
    assert totals.loss == pytest.approx(sum(part.loss for part, _ in parts), rel=1e-13)
    assert totals.errors == sum(part.errors for part, _ in parts)
    assert totals.images == 70
    for name, array in gradients.items():
        mean = sum(part[name] for _, part in parts) / 70
        assert_within(array, mean, 1e-14, np.float64, name)


def test_memory_does_not_grow_with_the_batch(rng):
    net = models.lenet5()
    engine = LayersEngine(net, losses.MAP(), backend="numpy", threads=2)
    x, labels = digits(rng, 640)
    engine.loss_and_gradients(x[:64], labels[:64])
    for run in (
        lambda: engine.predict(x),
        lambda: engine.evaluate(x, labels),
        lambda: engine.loss_and_gradients(x, labels),
        lambda: engine.hessian_diagonal(x, labels),
    ):
        tracemalloc.start()
        run()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # C1's output alone has 19 kB an image, 12 MB for all; its columns have 78 kB, 50 MB.
        assert peak < 40e6


def test_no_gradient_is_computed_that_nobody_wants(rng, monkeypatch):
    net = tiny("rbf")  # begins with a pooling layer, which has nothing to learn
    asked = []

    def spy(layer, name):
        run = getattr(layer, name)

        def noted(*arguments):
            asked.append((layer.name, arguments[-1]))
            return run(*arguments)

        monkeypatch.setattr(layer, name, noted)

    for layer in net.layers:
        spy(layer, "backward")
        spy(layer, "hessian")
    engine = LayersEngine(net, losses.MAP(), threads=1)
    expected = [(layer.name, layer.name != "conv1") for layer in reversed(net.layers[1:])]
    engine.loss_and_gradients(*examples(rng))
    assert asked == expected
    asked.clear()
    engine.hessian_diagonal(*examples(rng))
    assert asked == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_numpy_products_keep_to_one_thread(threads, rng, monkeypatch):
    import threadpoolctl

    net = models.lenet5()
    engine = LayersEngine(net, losses.MAP(), backend="numpy", threads=threads)
    forward, seen = net.layers[0].forward, []

    def watched(*arguments):
        seen.append(numpy_blas_threads())
        return forward(*arguments)

    monkeypatch.setattr(net.layers[0], "forward", watched)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        engine.predict(digits(rng, 40)[0])
        assert numpy_blas_threads() == 2
    assert set(seen) == {1}


# --- edges ----------------------------------------------------------------------------------------


def test_single_image(rng, create):
    net = models.lenet5()
    engine = create(net, losses.MAP())
    x, _ = digits(rng, 3)
    whole = engine.predict(x)
    assert_within(engine.predict(x[1:2]), whole[1:2], 1e-4 * np.abs(whole).max(), np.float32)


@pytest.mark.parametrize("output", LOSSES)
def test_errors_are_counted(output, rng, create):
    net = models.lenet5(output=output)
    net.initialise("eblearn", 2)  # lecun1998 would let one class win always
    engine = create(net, losses.default_for(net))
    x, _ = digits(rng, 40)
    winners = net.classify_outputs(engine.predict(x))
    assert len(set(winners)) > 1
    assert engine.evaluate(x, winners).errors == 0
    winners[:7] = (winners[:7] + 1) % 10
    assert engine.evaluate(x, winners).errors == 7


def test_layers_without_parameters_alone(rng, create):
    net = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    engine = create(net, losses.MAP())
    x = normal(rng, 5, 1, 2, 2, dtype=np.float32)
    labels = np.zeros(5, int)
    totals, gradients = engine.loss_and_gradients(x, labels)
    assert totals.images == 5
    assert gradients == {}
    assert engine.hessian_diagonal(x, labels) == {}


def test_weights_of_the_moment_are_used(rng, create):
    net = models.lenet5()
    engine = create(net, losses.MAP())
    x, _ = digits(rng, 2)
    before = engine.predict(x)
    net.parameters["F6.b"][...] += 1
    assert (engine.predict(x) != before).any()


def test_nan_is_not_hidden(rng, create):
    net = models.lenet5()
    engine = create(net, losses.MAP())
    x, labels = digits(rng, 2)
    net.parameters["F6.b"][0] = np.nan
    totals, gradients = engine.loss_and_gradients(x, labels)
    assert np.isnan(totals.loss)
    assert np.isnan(gradients["F6.b"]).any()


# --- create -------------------------------------------------------------------------------------


def test_create_checks_its_arguments():
    net = models.lenet5()
    assert engines.NAMES == ("auto", "lanes", "online", "layers")
    for name in ("oneline", "torch"):
        with pytest.raises(
            ValueError, match="engine: expected one of auto, lanes, online, layers, got"
        ):
            engines.create(net, losses.MAP(), engine=name)
    for name in engines.NAMES:
        with pytest.raises(ValueError, match="backend: expected one of cython, numba, numpy"):
            engines.create(net, losses.MAP(), engine=name, backend="cuda")
        with pytest.raises(ValueError, match="threads: expected an int from 1"):
            engines.create(net, losses.MAP(), engine=name, backend=with_lanes(), threads=0)
        with pytest.raises(
            ValueError, match="loss: expected map or penalty for a network with output 'rbf'"
        ):
            engines.create(net, losses.CrossEntropy(), engine=name)


def with_lanes() -> str:
    """Return a backend with kernels for the lane engine, or leave the test out."""
    for name, status in lenet_fast.backends.available().items():
        if status.usable and lenet_fast.backends.get(name).lane_kernels() is not None:
            return name
    missing("no backend here has lane kernels")
    raise AssertionError


@pytest.mark.parametrize("name", ["auto", "lanes"])
def test_lanes_are_taken_where_they_can_be(name):
    net = models.lenet5()
    backend = with_lanes()
    engine = engines.create(net, losses.MAP(), engine=name, backend=backend, threads=3)
    assert type(engine) is LanesEngine
    assert (engine.name, engine.backend, engine.threads) == ("lanes", backend, 3)
    assert engine.note == ""
    with lenet_fast.use_backend(backend):
        assert engines.create(net, losses.MAP(), engine=name).backend == backend


@pytest.mark.parametrize(
    ("name", "batch_size", "taken"),
    [
        ("auto", 1, "online"),
        ("auto", 2, "lanes"),
        ("auto", None, "lanes"),
        ("online", 16, "online"),
        ("lanes", 1, "lanes"),
        ("layers", 1, "layers"),
    ],
)
def test_batches_of_one_are_for_the_online_engine(name, batch_size, taken):
    engine = engines.create(
        models.lenet5(), losses.MAP(), engine=name, batch_size=batch_size, backend=with_lanes()
    )
    assert (engine.name, engine.note) == (taken, "")
    assert engine.images_a_call == (4096 if taken == "online" else 512)


def test_layers_are_taken_where_asked_for(backend):
    engine = engines.create(
        models.lenet5(), losses.MAP(), engine="layers", backend=backend, threads=3
    )
    assert type(engine) is LayersEngine
    assert (engine.name, engine.backend, engine.threads) == ("layers", backend, 3)
    assert engine.note == ""


class Halved(Dense):
    """A layer that the library does not know: half of a dense one."""

    def forward(self, x, backend=None):
        return super().forward(x, backend) / 2


class Shifted(Tanh):
    """Likewise, of a squashing layer."""

    def forward(self, x, backend=None):
        return super().forward(x, backend) + 1


class Twice(losses.CrossEntropy):
    """A loss that the library does not know."""

    def values(self, outputs, labels, backend=None):
        return 2 * super().values(outputs, labels, backend)


UNSUPPORTED = {
    "RBF in the middle": (
        lambda: [Dense(9, 2), RBF(2, 2, centres=np.eye(2), name="MID"), Tanh(), Dense(2, 3)],
        losses.MeanSquaredError(),
        "layer MID: only engine='layers' runs an RBF layer that is not the last",
    ),
    "layer": (
        lambda: [Halved(9, 3, name="HALF")],
        losses.MeanSquaredError(),
        "layer HALF: only engine='layers' knows Halved",
    ),
    "squashing layer": (
        lambda: [Dense(9, 3), Shifted(name="UP"), Dense(3, 3)],
        losses.MeanSquaredError(),
        "layer UP: only engine='layers' knows Shifted",
    ),
    "gradients to all maxima": (
        lambda: [MaxPool2D(2, 1, ties="all", name="S2"), Dense(4, 3)],
        losses.MeanSquaredError(),
        "layer S2: only engine='layers' knows ties='all'",
    ),
    "loss": (
        lambda: [Dense(9, 3)],
        Twice(),
        "loss: only engine='layers' knows Twice",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_lanes_cannot_run_is_said(case, rng):
    layers, loss, message = UNSUPPORTED[case]
    net = Network(layers(), input_shape=(1, 3, 3), output=loss.output)
    net.initialise("lecun_sqrt")
    backend = with_lanes()
    for name in ("lanes", "online"):
        with pytest.raises(engines.Unsupported, match=f"^{re.escape(message)}$"):
            engines.create(net, loss, engine=name, backend=backend)
    assert issubclass(engines.Unsupported, ValueError)
    engine = engines.create(net, loss, backend=backend, threads=2)
    assert (engine.name, engine.backend, engine.threads) == ("layers", backend, 2)
    assert engine.note == message
    # What is unknown is run, not what it derives from.
    x, labels = examples(rng, shape=(1, 3, 3), dtype=np.float32)
    expected = LayersEngine(net, loss, backend="numpy").evaluate(x, labels)
    assert engine.evaluate(x, labels).loss == pytest.approx(expected.loss, rel=1e-5)


def test_numpy_has_no_lanes_by_design():
    net = models.lenet5()
    for name, batch_size in (("lanes", 16), ("online", 1)):
        message = (
            f"engine: expected 'layers' with the numpy backend, which has no kernels for {name!r}"
        )
        with pytest.raises(engines.Unsupported, match=f"^{re.escape(message)}$"):
            engines.create(net, losses.MAP(), engine=name, backend="numpy")
        with (
            lenet_fast.use_backend("numpy"),
            pytest.raises(engines.Unsupported, match=f"^{re.escape(message)}$"),
        ):
            engines.create(net, losses.MAP(), engine=name)
        engine = engines.create(net, losses.MAP(), batch_size=batch_size, backend="numpy")
        assert (engine.name, engine.backend, engine.note) == ("layers", "numpy", message)


class Clipped(SGD):
    """A user's own: no gradient is longer than 1e-3."""

    def step(self, parameters, gradients, rate):
        lengths = {name: np.sqrt((array**2).sum()) for name, array in gradients.items()}
        scaled = {name: g * min(1, 1e-3 / lengths[name]) for name, g in gradients.items()}
        super().step(parameters, scaled, rate)


class Slowed(Adadelta):
    """Another, by what is taken off the weights."""

    def _change(self, w, gradient, slots):
        return super()._change(w, gradient, slots) / 2


class Signs:
    """What a class may have beside an optimiser."""

    def step(self, parameters, gradients, rate):
        super().step(parameters, {name: np.sign(g) for name, g in gradients.items()}, rate)


class Mixed(Signs, AdamW):
    """One whose step comes from there."""


class Renamed(SGD):
    """One that only says more of itself, and steps as SGD does."""

    def __repr__(self):
        return "mine"


@pytest.mark.parametrize("kind", [Clipped, Slowed, Mixed])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_optimiser_that_compiled_engines_lack_is_for_layers(kind, batch_size, rng):
    """They would make the steps of the class above it."""
    optimiser, nets = kind(), [models.lenet5(pooling="max", output="softmax") for _ in range(2)]
    loss = losses.CrossEntropy()
    rule = f"optimiser: only engine='layers' knows the rule {kind.__name__!r}"
    for name in ("lanes", "online"):
        with pytest.raises(engines.Unsupported, match=f"^{rule}$"):
            engines.create(nets[0], loss, engine=name, optimiser=optimiser, backend=with_lanes())
    engine = engines.create(nets[0], loss, batch_size=batch_size, optimiser=optimiser)
    assert (engine.name, engine.note) == ("layers", rule)
    x, labels = rng.normal(size=(8, 1, 32, 32)).astype("f4"), np.arange(8)
    engine.train(x, labels, np.arange(8), 8, optimiser, 1.0)
    judge = engines.create(nets[1], loss, engine="layers")
    _, gradients = judge.loss_and_gradients(x, labels)
    kind().step(nets[1].parameters, gradients, 1.0)
    for name, array in nets[0].parameters.items():
        np.testing.assert_array_equal(array, nets[1].parameters[name])


@pytest.mark.parametrize(
    "optimiser", [SGD(0.9), Renamed(), SDLM(1.0), AdamW(), Adam(), RMSprop(), Adadelta()]
)
def test_all_optimisers_of_the_package_are_for_compiled_engines(optimiser):
    for batch_size, name in ((1, "online"), (32, "lanes")):
        engine = engines.create(
            models.lenet5(),
            losses.MAP(),
            batch_size=batch_size,
            optimiser=optimiser,
            backend=with_lanes(),
        )
        assert (engine.name, engine.note) == (name, "")


@pytest.mark.parametrize("wrong", ["adamw", SGD, object(), 3])
def test_what_is_no_optimiser_is_refused(wrong):
    for name in engines.NAMES:
        with pytest.raises(TypeError, match=r"^optimiser: expected an optimiser, such as .*, got"):
            engines.create(models.lenet5(), losses.MAP(), engine=name, optimiser=wrong)


def test_auto_hides_no_missing_backend(monkeypatch):
    """What is wrong with the backend itself is no reason to take another engine."""

    def gone(name):
        raise ImportError(f"no {name} here")

    monkeypatch.setattr(lenet_fast.backends, "_load", gone)
    for name in engines.NAMES:
        with pytest.raises(ImportError, match="no numba here"):
            engines.create(models.lenet5(), losses.MAP(), engine=name, backend="numba")


def test_backend_is_settled_at_construction(monkeypatch, rng):
    net = models.lenet5()
    with lenet_fast.use_backend("numpy"):
        engine = engines.create(net, losses.MAP(), threads=2)
    assert engine.backend == "numpy"
    monkeypatch.setenv("LENET_FAST_BACKEND", "nonsense")
    assert engine.predict(digits(rng, 40)[0]).shape == (40, 10)


def test_totals_add():
    assert Totals(1.5, 2, 3) + Totals(0.5, 1, 1) == Totals(2.0, 3, 4)
