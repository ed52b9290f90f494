"""Initial weights: ranges, moments, and independence of everything but seed and place."""

from __future__ import annotations

import numpy as np
import pytest

from lenet_fast import data, files, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.initialisers import INITIALISERS, deferred
from lenet_fast.layers import Conv2D, Dense, ScaledTanh, Subsample2D
from lenet_fast.network import Network
from lenet_fast.training import Trainer

NAMES = pytest.mark.parametrize("name", INITIALISERS)


def drawn(name: str, seed: int = 0, **options: object) -> dict[str, np.ndarray]:
    return models.lenet5(initialiser=name, seed=seed, **options).parameters


def assert_uniform(values: np.ndarray, half_width: float) -> None:
    """Compare with the uniform distribution on +-half_width: bounds, mean, deviation, coverage."""
    assert np.abs(values).max() <= half_width * (1 + 1e-6)
    if values.size > 100:
        deviation = half_width / np.sqrt(3)
        assert abs(values.mean()) < 5 * deviation / np.sqrt(values.size)
        assert values.std() == pytest.approx(deviation, rel=3 / np.sqrt(values.size))
        assert np.abs(values).max() > 0.95 * half_width


@pytest.mark.parametrize(
    ("name", "half_width", "biases", "coefficients"),
    [
        ("lecun1998", lambda f: 2.4 / f, lambda f: 2.4 / f, "drawn"),
        ("lecun_sqrt", lambda f: 2.4 / np.sqrt(f), None, "drawn"),
        ("eblearn", lambda f: 1 / np.sqrt(f), None, 0.5),
    ],
)
def test_uniform_by_fan_in(name, half_width, biases, coefficients):
    p = drawn(name)
    fans = {"C1": 25, "S2": 4, "S4": 4, "C5": 400, "F6": 120}
    for layer, fan in fans.items():
        if layer[0] == "S" and coefficients != "drawn":
            np.testing.assert_array_equal(p[f"{layer}.w"], coefficients)
        else:
            assert_uniform(p[f"{layer}.w"], half_width(fan))
        if biases:
            assert_uniform(p[f"{layer}.b"], biases(fan))
            assert p[f"{layer}.b"].all()
        else:
            assert not p[f"{layer}.b"].any()
    for o in range(16):  # in C3 the fan-in is that of each map
        seen = p["C3.w"][o][LENET5_C3[o]]
        assert_uniform(seen.ravel(), half_width(25 * LENET5_C3[o].sum()))
    assert np.abs(p["C3.w"][0]).max() > half_width(25 * 6)


def test_glorot_uniform():
    p = drawn("glorot_uniform")
    assert_uniform(p["C1.w"], np.sqrt(6 / (25 + 150)))
    assert_uniform(p["C3.w"][15], np.sqrt(6 / (150 + 250)))  # a map of S2 goes to ten of C3
    assert_uniform(p["F6.w"], np.sqrt(6 / (120 + 84)))
    np.testing.assert_array_equal(p["S2.w"], 0.25)
    assert not any(p[name].any() for name in p if name.endswith(".b"))


def test_glorot_sigmoid_centres_what_sigmoids_pass_on():
    p, narrow = drawn("glorot_sigmoid"), drawn("glorot_uniform")
    for name in ("C1.w", "C3.w", "F6.w", "S2.w"):
        np.testing.assert_allclose(p[name], 6 * narrow[name], rtol=1e-6)
    layers = [
        Subsample2D(2),
        Subsample2D(2, reduction="mean"),
        Conv2D(2, 2, 2, connections=[[True, False], [True, True]], bias="unit"),
        Dense(2, 3),
    ]
    net = Network(layers, input_shape=(2, 8, 8))
    net.initialise("glorot_sigmoid")
    for layer, shape in zip(layers, ((2, 8, 8), (2, 4, 4), (2, 2, 2), (2, 1, 1)), strict=True):
        found = layer.forward(np.full((1, *shape), 0.5, "float32"))
        np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        lambda: models.lenet5(activation="sigmoid", output="softmax"),
        lambda: models.lenet5(activation="sigmoid", output="softmax", pooling="max"),
        lambda: models.lenet5(activation="sigmoid", output="linear", pooling=None),
    ],
)
def test_sigmoids_learn_by_default(network):
    sample = data.load("sample")
    trainer = Trainer(network())
    history = trainer.fit(sample.train, sample.test, 10, verbose=False)
    assert history.rows[-1].test_errors < 200, "of 1,000; at chance it is 900"


def test_he_normal():
    p = drawn("he_normal")
    for name, fan in (("C5.w", 400), ("F6.w", 120)):
        scaled = p[name].ravel() / np.sqrt(2 / fan)
        assert scaled.std() == pytest.approx(1, rel=3 / np.sqrt(scaled.size))
        assert abs(scaled.mean()) < 5 / np.sqrt(scaled.size)
        assert (np.abs(scaled) > 2).mean() == pytest.approx(
            0.0455, abs=0.01
        )  # a normal one's tails
    np.testing.assert_array_equal(p["S4.w"], 0.25)
    assert not any(p[name].any() for name in p if name.endswith(".b"))


def test_sub_sampling_that_averages_starts_as_average():
    for name in ("glorot_uniform", "he_normal"):
        net = Network([Subsample2D(1, reduction="mean"), Dense(4, 2)], input_shape=(1, 4, 4))
        net.initialise(name)
        assert net.layers[0].parameters["w"] == 1


@NAMES
def test_absent_links_are_zero_and_centres_stay(name):
    p = drawn(name)
    assert not p["C3.w"][~LENET5_C3].any()
    assert p["C3.w"][LENET5_C3].all()
    assert set(np.unique(p["OUTPUT.w"])) == {-1, 1}


@NAMES
def test_the_seed_decides(name):
    first, again, other = drawn(name, 3), drawn(name, 3), drawn(name, 4)
    for parameter in ("C1.w", "C3.w", "C5.w", "F6.w"):
        np.testing.assert_array_equal(first[parameter], again[parameter])
        assert (first[parameter] != other[parameter]).any()
    # No two arrays share a stream.
    a, b = first["C5.w"].ravel()[:100], first["F6.w"].ravel()[:100]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.5


@NAMES
def test_other_layers_have_no_part(name):
    def second(first: Conv2D, third: Dense) -> np.ndarray:
        net = Network([first, Dense(64, 30), third], input_shape=(1, 6, 6))
        net.initialise(name, 5)
        return net.layers[1].parameters["w"]

    one = second(Conv2D(1, 4, 3), Dense(30, 10))
    other = second(Conv2D(1, 64, 6, bias=None), Dense(30, 3))
    np.testing.assert_array_equal(one, other)


@NAMES
def test_dtypes_start_alike(name):
    single, double = drawn(name), drawn(name, dtype="float64")
    for parameter, array in double.items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(single[parameter], array.astype(np.float32))


def test_a_new_network_is_initialised_by_default():
    layers = [Conv2D(1, 2), ScaledTanh(), Dense(2, 3)]
    net = Network(layers, input_shape=(1, 5, 5))
    fresh = {name: array.copy() for name, array in net.parameters.items()}
    net.initialise("lecun1998", 0)
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(fresh[name], array)
        assert array.all()


def test_streams_do_not_change_between_versions():
    # Written down once: results published with a seed must stay reproducible.
    net = Network([Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
    net.initialise("lecun1998", 1998)
    expected = [-0.32806240372158374, 0.1505234544906027, 0.17739290591108653, -0.11099929390091202]
    np.testing.assert_allclose(net.parameters["dense1.w"][0], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("xavier", 0), ValueError, "initialiser: expected one of lecun1998, .*, got 'xavier'"),
        ((None, 0), TypeError, "initialiser: expected one of"),
        (("lecun1998", -1), ValueError, "seed: expected an int from 0"),
        (("lecun1998", 1.5), TypeError, "seed: expected an int, got float"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    net = Network([Dense(4, 2)], input_shape=(1, 2, 2))
    with pytest.raises(error, match=text):
        net.initialise(*arguments)


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1])
def test_seeds_of_any_size(seed):
    network = models.lenet5(seed=seed)
    again = models.lenet5(seed=seed)
    other = models.lenet5(seed=1)
    np.testing.assert_array_equal(network.parameters["C1.w"], again.parameters["C1.w"])
    assert not np.array_equal(network.parameters["C1.w"], other.parameters["C1.w"])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match="seed: expected an int from 0 to"):
        models.lenet5(seed=seed)


@pytest.fixture
def draws(monkeypatch):
    """Return a list that grows by the name of each parameter whose initial values are drawn."""
    names = []
    for each, draw in INITIALISERS.items():

        def noted(layer, name, shape, random, draw=draw):
            names.append(f"{layer.name}.{name}")
            return draw(layer, name, shape, random)

        monkeypatch.setitem(INITIALISERS, each, noted)
    return names


@pytest.mark.parametrize(
    "model", [models.lenet5, models.lenet4, models.lenet1, models.lenet1989, Network]
)
def test_a_new_network_is_initialised_once(draws, model):
    network = model() if model is not Network else Network([Dense(1024, 10, name="D")])
    assert draws == network.trainable_names
    assert all(network.parameters[name].any() for name in network.trainable_names)


def test_a_network_from_a_file_is_not_initialised(draws, tmp_path):
    network = models.lenet5(seed=3)
    files.save_model(tmp_path / "model.safetensors", network)
    draws.clear()
    loaded = files.load_model(tmp_path / "model.safetensors")
    assert draws == []
    for name, array in network.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)


def test_an_error_ends_the_block_in_which_initialising_is_deferred(draws):
    with pytest.raises(ValueError, match=r"^pooling: expected"), deferred():
        models.lenet5(pooling="sum")
    models.lenet1()
    assert draws
