"""Shares and clients of a federation, without Flower: see also test_federated_flower.py."""

import re
from functools import partial

import numpy as np
import pytest
from helpers import printed_by, require

from benchmarks import federated as federated_benchmark
from lenet_fast import data, federated, losses, models
from lenet_fast.training import SGD, AdamW, TrainingDiverged, train_many

OPTIONS = {"batch_size": 7, "schedule": 0.01}


@pytest.fixture(scope="module")
def digits():
    sample = data.load("sample")
    return sample.train.subset(200)


def build(seed=0, **options):
    options = {"pooling": "max", "activation": "relu", "output": "softmax"} | options
    return models.lenet5(seed=seed, **options)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# --- shares ---


@pytest.mark.parametrize("concentration", [None, 0.1, 100.0])
@pytest.mark.parametrize(("n", "clients"), [(1000, 1), (1000, 7), (1003, 30)])
def test_shares_have_each_image_once(concentration, n, clients):
    labels = np.random.default_rng(5).integers(0, 10, n).astype(np.uint8)
    shares = federated.partition(labels, clients, concentration=concentration)
    again = federated.partition(labels, clients, concentration=concentration)
    others = federated.partition(labels, clients, concentration=concentration, seed=1)
    assert len(shares) == clients
    assert sorted(np.concatenate(shares)) == list(range(n))
    assert same(shares, again)
    assert not np.array_equal(np.concatenate(shares), np.concatenate(others))
    assert not all(np.array_equal(share, np.sort(share)) for share in shares)


def test_even_shares_differ_by_one_image_at_most():
    sizes = [len(share) for share in federated.partition(np.zeros(1003, int), 10)]
    assert set(sizes) == {100, 101}


def test_shares_of_classes_are_dirichlets():
    """A client's share of a class has the mean 1/k and the variance of a beta distribution."""
    labels, k = np.repeat(np.arange(10), 1000), 5
    for a in (0.3, 3.0):
        found = [
            np.bincount(labels[share], minlength=10) / 1000
            for seed in range(100)
            for share in federated.partition(labels, k, concentration=a, seed=seed)
        ]
        assert np.mean(found) == pytest.approx(1 / k)
        expected = (k - 1) / (k**2 * (k * a + 1))
        assert np.var(found) == pytest.approx(expected, rel=0.1)


def test_least_number_of_images():
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    few = [len(share) for share in federated.partition(labels, 10, concentration=0.1)]
    more = federated.partition(labels, 10, concentration=0.1, least=30)
    assert min(few) < 30 <= min(map(len, more))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1, 2], 2), {}, TypeError, "labels: expected an array of integers, got list"),
        ((np.zeros(3), 2), {}, TypeError, "labels: expected an array of integers"),
        ((np.zeros((3, 1), int), 2), {}, ValueError, "labels: expected shape (n,)"),
        ((np.zeros(3, int), 0), {}, ValueError, "clients: expected an int from 1"),
        ((np.zeros(3, int), 4), {}, ValueError, "clients: expected at most 3, for 3 images"),
        ((np.zeros(9, int), 4), {"least": 3}, ValueError, "clients: expected at most 3, for 9"),
        ((np.zeros(9, int), 1), {"least": 10}, ValueError, "labels: expected at least 10"),
        ((np.zeros(0, int), 1), {}, ValueError, "labels: expected at least 1"),
        ((np.zeros(9, int), 2), {"concentration": 1e308}, ValueError, "above 0, up to 1e+06"),
        ((np.zeros(9, int), 4), {"concentration": 0}, ValueError, "concentration: expected a numb"),
        ((np.zeros(9, int), 4), {"concentration": "x"}, TypeError, "concentration: expected"),
        ((np.zeros(9, int), 9), {"concentration": 1e-3}, ValueError, "100 draws did not give that"),
        ((np.zeros(9, int), 4), {"seed": -1}, ValueError, "seed: expected"),
    ],
)
def test_bad_shares(arguments, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        federated.partition(*arguments, **options)


# --- clients ---


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {"epochs": 2, "optimiser": AdamW()},
        {"optimiser": "sdlm", "distortion": "paper"},
        {"epochs": 3, "average_from": 2, **OPTIONS},
    ],
)
def test_a_round_is_a_training_of_train_many(digits, options):
    start = build(3)
    client = federated.Client(build(), digits, seed=40, **options)
    weights, images, metrics = client.fit(start.get_weights(), {"server-round": 2})
    (run,) = train_many(start, digits, digits.subset(9), [(None, 42)], **{"epochs": 1, **options})
    assert same(weights, run.network.get_weights())
    assert images == len(digits)
    row = run.history.rows[-1]
    assert metrics == {"loss": row.train_loss, "accuracy": 1 - row.train_errors / 200}
    assert not same(weights, start.get_weights())


def test_a_mean_of_clients_is_that_of_train_many(digits):
    """A round of federated averaging in both ways, with clients of different sizes."""
    start = build()
    shares = federated.partition(digits.labels, 3, concentration=0.5)
    factors = [np.float32(len(share) / len(digits)) for share in shares]
    assert len(set(factors)) == 3
    runs = train_many(start, digits, digits.subset(1), [(s, 1) for s in shares], epochs=1)
    replies = []
    for share in shares:
        mine = data.Dataset(digits.images[share], digits.labels[share])
        replies.append(
            federated.Client(build(), mine).fit(start.get_weights(), {"server_round": 1})
        )
    assert [images for _, images, _ in replies] == [len(share) for share in shares]

    def mean(networks):
        return [
            sum(f * array for f, array in zip(factors, arrays, strict=True))
            for arrays in zip(*networks, strict=True)
        ]

    expected = mean([run.network.get_weights() for run in runs])
    assert same(mean([weights for weights, _, _ in replies]), expected)


def test_nothing_but_weights_goes_from_round_to_round(digits):
    optimiser = SGD(momentum=0.9)
    client = federated.Client(build(), digits, optimiser=optimiser, **OPTIONS)
    start = build(1).get_weights()
    first = client.fit(start, {"server_round": 1})
    client.fit(build(2).get_weights(), {"server_round": 2})
    again = client.fit(start, {"server_round": 1})
    assert same(first[0], again[0])
    assert first[1:] == again[1:]
    assert optimiser.steps == 0
    other = client.fit(start, {"server_round": 2})  # another order of the images
    assert not same(first[0], other[0])


def test_a_server_sets_options_of_a_round(digits):
    client = federated.Client(build(), digits, batch_size=5, schedule=0.5)
    told = federated.Client(build(), digits, epochs=2, batch_size=10, schedule=0.01)
    start = build().get_weights()
    config = {"server_round": 1, "epochs": 2, "batch_size": 10, "schedule": 0.01}
    assert same(client.fit(start, config)[0], told.fit(start, {"server_round": 1})[0])


def test_evaluation(digits):
    test = data.load("sample").test.subset(30)
    network = build(2)
    weights = network.get_weights()
    right = int((network.classify(test.images) == test.labels).sum())
    loss, images, metrics = federated.Client(build(), digits, test).evaluate(weights)
    assert (images, metrics) == (30, {"accuracy": right / 30})
    outputs = network.predict(test.images)
    values = losses.CrossEntropy().values(outputs, test.labels)
    assert loss == pytest.approx(values.mean(), rel=1e-5)
    assert federated.Client(build(), digits).evaluate(weights)[1] == 200


def test_weights_of_images_count_in_training_only(digits):
    halves = np.repeat([0.0, 2.0], 100)
    weighted = data.Dataset(digits.images, digits.labels, weights=halves)
    start = build().get_weights()
    client = federated.Client(build(), weighted, **OPTIONS)
    plain = federated.Client(build(), digits, **OPTIONS)
    told = {"server_round": 1}
    assert not same(client.fit(start, told)[0], plain.fit(start, told)[0])
    assert client.evaluate(start) == plain.evaluate(start)


def test_bitmaps_stay_the_clients_own(digits):
    """Else the rounding of every mean would wear them off."""
    network = models.lenet5()
    bitmaps = network.parameters["OUTPUT.w"].copy()
    client = federated.Client(network, digits)
    sent = [array * np.float32(0.9999) for array in network.get_weights()]
    weights, _, _ = client.fit(sent, {"server_round": 1})
    assert np.array_equal(weights[-1], bitmaps)
    assert not np.array_equal(weights[0], sent[0])


def test_floats_of_servers_are_converted(digits):
    """NumPy computes Flower's FedAdam in float64."""
    client = federated.Client(build(), digits, **OPTIONS)
    start, told = build().get_weights(), {"server_round": 1}
    wide = [array.astype(np.float64) for array in start]
    weights, _, _ = client.fit(wide, told)
    assert same(weights, client.fit(start, told)[0])
    assert {array.dtype for array in weights} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda w: w[:-1], ValueError, "weights: expected 10 arrays, C1.w, C1.b"),
        (lambda w: [w[0].T, *w[1:]], ValueError, "weights: C1.w: expected shape (6, 1, 5, 5)"),
        (lambda w: [*w[:3], w[4], *w[4:]], ValueError, "weights: C3.b: expected shape (16,)"),
        (lambda w: [w[0].astype(int), *w[1:]], TypeError, "weights: C1.w: expected dtype float32"),
        (lambda w: [w[0].tolist(), *w[1:]], TypeError, "weights: C1.w: expected an array"),
        (lambda w: 3, TypeError, "weights: expected a list of arrays, got int 3"),
        (lambda w: [w[0] * np.nan, *w[1:]], ValueError, "weights: C1.w: expected finite numbers"),
        (lambda w: [w[0].astype(float) * 1e99, *w[1:]], ValueError, "C1.w: expected finite"),
    ],
)
def test_wrong_weights(digits, spoil, error, message):
    client = federated.Client(build(), digits, **OPTIONS)
    for call in (lambda w: client.fit(w, {"server_round": 1}), client.evaluate):
        with pytest.raises(error, match=re.escape(message)):
            call(spoil(build().get_weights()))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({}, ValueError, "expected the number of the round as server_round, which determines"),
        ({"lr": 0.1}, ValueError, "got lr; strategies"),
        ({"server-round": 1.0}, TypeError, "config: server_round: expected an int"),
        ({"server-round": 1, "proximal-mu": 0.1}, ValueError, "got proximal-mu, which this client"),
        (
            {"server-round": 1, "lr": 0.1},
            ValueError,
            "some of epochs, batch_size, schedule, got lr",
        ),
        ({"server-round": 1, "epochs": 0}, ValueError, "epochs: expected an int from 1"),
        (None, TypeError, "config: expected a mapping, got NoneType"),
    ],
)
def test_wrong_configs(digits, config, error, message):
    client = federated.Client(build(), digits, **OPTIONS)
    with pytest.raises(error, match=re.escape(message)):
        client.fit(build().get_weights(), config)


def test_wrong_clients(digits):
    with pytest.raises(ValueError, match="train: expected at least one image of the client, got n"):
        federated.Client(build(), digits.subset(0))
    with pytest.raises(ValueError, match="test: expected at least one image of the client, got no"):
        federated.Client(build(), digits, digits.subset(0))
    with pytest.raises(TypeError, match="train: expected a Dataset"):
        federated.Client(build(), data.load("sample"))
    with pytest.raises(TypeError, match="network: expected a Network"):
        federated.Client("lenet5", digits)
    with pytest.raises(ValueError, match="options: expected one of"):
        federated.Client(build(), digits, batchsize=3)
    with pytest.raises(ValueError, match="batch_size: expected an int from 1"):
        federated.Client(build(), digits, batch_size=0)
    with pytest.raises(ValueError, match="epochs: expected an int from 1"):
        federated.Client(build(), digits, epochs=0)
    for name in ("threads", "stop_on_error"):
        with pytest.raises(ValueError, match=f"options: expected one of .*, got {name}"):
            federated.Client(build(), digits, **{name: True})
    client = federated.Client(build(), digits, schedule=1e30)
    with pytest.raises(TrainingDiverged):
        client.fit(build().get_weights(), {"server_round": 1})


def test_flower_is_named_when_it_is_missing():
    code = (
        "import sys; sys.modules.update(flwr=None)\n"
        "from lenet_fast import data, federated, models\n"
        "digits = data.load('sample').train\n"
        "for make in federated.client_app, federated.numpy_client:\n"
        "    try: make(models.lenet1(), digits)\n"
        "    except ImportError as error: print(error)"
    )
    lines = printed_by(code).splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ("client_app", "numpy_client"), strict=True):
        assert re.match(rf"federated\.{name} needs Flower: .* install 'lenet_fast\[fed", line), line


# --- the benchmark ---


def test_benchmark(capsys, monkeypatch):
    monkeypatch.setattr(federated_benchmark, "installed", lambda library: False)
    few = ["--clients", "100", "--per-round", "2", "--rounds", "1", "--repeats", "1"]
    federated_benchmark.main(["--dataset", "sample", *few])
    assert re.search(r"^lenet_fast +\d", capsys.readouterr().out, re.MULTILINE)


def test_pytorch_client_of_the_benchmark_learns_the_same(monkeypatch, request):
    torch = require("torch")
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    job, digits = federated_benchmark.Job("sample", 25, 1), data.load("sample").train
    share = federated.partition(digits.labels, 25)[0]
    federated_benchmark.verify(job, digits, share)
    pytorch = federated_benchmark.pytorch_clients(job).fit
    monkeypatch.setattr(
        federated_benchmark.PyTorchClients,
        "fit",
        lambda self, client, weights, turn: pytorch(client + 1, weights, turn),
    )
    with pytest.raises(SystemExit, match="PyTorch's client does not learn what ours does"):
        federated_benchmark.verify(job, digits, share)
