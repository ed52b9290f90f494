"""Networks: the papers' tables and counts, shapes that fit together, hostile descriptions."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
from helpers import normal

from lenet_fast import bitmaps, connections, data, engines, layers, losses, models
from lenet_fast.layers import (
    ELU,
    GELU,
    MAX_VALUES,
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Tanh,
)
from lenet_fast.network import Network
from lenet_fast.training import SGD, Trainer

# --- tables and bitmaps ---------------------------------------------------------------------


def test_table_of_lenet5():
    table = connections.LENET5_C3
    assert table.shape == (16, 6)
    assert table.sum() == 60
    np.testing.assert_array_equal(table.sum(axis=0), [10] * 6)
    np.testing.assert_array_equal(table.sum(axis=1), [3] * 6 + [4] * 9 + [6])
    # Rows 0-5 and 6-11 are runs of three and four neighbours in a ring of six maps.
    for o, length in [(o, 3) for o in range(6)] + [(o, 4) for o in range(6, 12)]:
        run = {(o + step) % 6 for step in range(length)}
        assert set(np.flatnonzero(table[o])) == run
    assert [np.flatnonzero(row).tolist() for row in table[12:15]] == [
        *([0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5])
    ]


def test_table_of_lenet1():
    table = connections.LENET1_H3
    assert table.shape == (12, 4)
    assert table.sum() == 20
    np.testing.assert_array_equal(table.sum(axis=0), [5] * 4)
    assert not table[:6, 2:].any()
    assert not table[6:, :2].any()
    np.testing.assert_array_equal(table[6:, 2:], table[:6, :2])
    # Paper's counts of H3: 20 kernels and 12 biases, 8x8 places.
    layer = Conv2D(4, 12, 5, connections=table)
    layer.build((4, 12, 12), np.float32)
    assert (layer.parameter_count(), layer.connections((4, 12, 12))) == (512, 32_768)


def test_table_of_lenet4():
    table = connections.LENET4_C3
    assert table.shape == (16, 8)
    assert table.sum() == 47
    np.testing.assert_array_equal(table.sum(axis=0), [6, 6, 6, 5, 6, 6, 6, 6])
    np.testing.assert_array_equal(table.sum(axis=1), [3] * 15 + [2])
    assert len(np.unique(table, axis=0)) == 16
    # Any two maps of S2 are seen together once or twice.
    together = table.T.astype(int) @ table
    assert set(together[np.triu_indices(8, 1)]) == {1, 2}
    # Maps 2 m and 2 m + 1 come from map m of C1: half of C3 sees such a pair.
    pairs = table.reshape(16, 4, 2)
    assert pairs.all(axis=2).any(axis=1).sum() == 8
    np.testing.assert_array_equal(pairs.any(axis=2).sum(axis=1), [2, 3] * 7 + [2, 2])


def test_table_of_the_network_of_1989():
    table = connections.LENET1989_H2
    assert table.shape == (12, 12)
    np.testing.assert_array_equal(table.sum(axis=0), [8] * 12)
    np.testing.assert_array_equal(table.sum(axis=1), [8] * 12)
    seen = [np.flatnonzero(row).tolist() for row in table]
    assert seen[:4] == [[0, 1, 2, 3, 4, 5, 6, 7]] * 4
    assert seen[4:8] == [[4, 5, 6, 7, 8, 9, 10, 11]] * 4
    assert seen[8:] == [[0, 1, 2, 3, 8, 9, 10, 11]] * 4


def test_tables_cannot_be_altered():
    with pytest.raises(ValueError, match="read-only"):
        connections.LENET5_C3[0, 0] = False
    own = connections.full(3, 2)
    assert own.shape == (3, 2)
    assert own.all()
    layer = Conv2D(2, 3, connections=own)
    own[0] = False
    assert layer.table.all()


def test_bitmaps():
    digits = bitmaps.digits()
    assert digits.shape == (10, 12, 7)
    assert digits.sum(axis=(1, 2)).tolist() == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]
    numbers = [int("".join("01"[int(cell)] for cell in digit.ravel()), 2) for digit in digits]
    assert [f"{number:x}" for number in numbers] == [
        *("7c00e36c78f1e36c70000", "1871e0c183060c18fc000", "7c01f638618e30c1fc000"),
        *("fe0c30c3c0c183c6f8000", "7c0003367cf1e3cefc183", "7c03fe0c0f0f03c6f8000"),
        *("3cc3060fdcf1e3e6f8000", "fe0c1861830c183060000", "7d8f1e37d8f1e3c6f8000"),
        "7d9f1e3cefc1830cf0000",
    ]


def test_distances_between_bitmaps():
    centres = bitmaps.centres()
    assert centres.shape == (10, 84)
    assert set(np.unique(centres)) == {-1, 1}
    distances = {
        (a, b): int(((centres[a] - centres[b]) ** 2).sum())
        for a, b in itertools.combinations(range(10), 2)
    }
    assert min(distances, key=distances.get) == (6, 8)
    assert max(distances, key=distances.get) == (1, 4)
    assert (distances[6, 8], distances[1, 4]) == (48, 200)
    assert round(sum(distances.values()) / 45, 2) == 124.36


# --- LeNet-5 ----------------------------------------------------------------------------------


def by_layer(net: Network) -> dict[str, tuple[int, int]]:
    """Return parameters and connections of the layers that have connections."""
    rows = {
        layer.name: (layer.parameter_count(), layer.connections(shape))
        for layer, shape in zip(net.layers, net.shapes[:-1], strict=True)
    }
    return {name: row for name, row in rows.items() if row != (0, 0)}


def test_lenet5_has_the_papers_counts():
    net = models.lenet5()
    assert by_layer(net) == {
        "C1": (156, 122_304),
        "S2": (12, 5_880),
        "C3": (1_516, 151_600),
        "S4": (32, 2_000),
        "C5": (48_120, 48_120),
        "F6": (10_164, 10_164),
        "OUTPUT": (0, 840),
    }
    assert net.counts() == (9118, 60_000, 340_908)
    np.testing.assert_array_equal(net.parameters["OUTPUT.w"], bitmaps.centres())


def test_lenet5_with_all_links_between_s2_and_c3():
    net = models.lenet5(connections="full")
    assert by_layer(net)["C3"] == (2_416, 241_600)
    assert net.counts().parameters == 60_900


def test_lenet5_layers():
    net = models.lenet5()
    assert [layer.name for layer in net.layers] == [
        *("C1", "C1.activation", "S2", "S2.activation"),
        *("C3", "C3.activation", "S4", "S4.activation"),
        *("C5", "C5.activation", "F6", "F6.activation", "OUTPUT"),
    ]
    assert net.trainable_names == [
        f"{layer}.{name}" for layer in ("C1", "S2", "C3", "S4", "C5", "F6") for name in "wb"
    ]
    shapes = {layer.name: shape for layer, shape in zip(net.layers, net.shapes[1:], strict=True)}
    assert shapes["C1"] == (6, 28, 28)
    assert shapes["S2"] == (6, 14, 14)
    assert shapes["C3"] == (16, 10, 10)
    assert shapes["S4"] == (16, 5, 5)
    assert shapes["C5"] == (120, 1, 1)
    assert shapes["F6"] == (84,)
    assert net.output_shape == (10,)


@pytest.mark.parametrize(("pooling", "kind"), [("average", AvgPool2D), ("max", MaxPool2D)])
def test_pooling_is_not_squashed(pooling, kind):
    net = models.lenet5(pooling=pooling)
    names = [layer.name for layer in net.layers]
    assert names[2:5] == ["S2", "C3", "C3.activation"]
    assert type(net.layers[2]) is kind
    assert net.counts().parameters == 60_000 - 44


def test_none_is_among_the_poolings_of_a_message():
    """`--pooling none` of the command line is None here."""
    for wrong in ("maxx", "none"):
        with pytest.raises(ValueError, match=f"of subsample, average, max, None, got '{wrong}'$"):
            models.lenet5(pooling=wrong)


def test_without_pooling_the_convolutions_take_steps_of_two():
    net = models.lenet5(pooling=None)
    assert [name for name in net.parameters if name.endswith(".w")] == [
        *("C1.w", "C3.w", "C5.w", "F6.w", "OUTPUT.w")
    ]
    assert net.counts().parameters == 60_000 - 44
    assert net.shapes[1] == (6, 14, 14)
    assert net.shapes[3] == (16, 5, 5)


@pytest.mark.parametrize(
    ("activation", "kind", "options", "initialiser"),
    [
        ("scaled_tanh", ScaledTanh, {}, "lecun_sqrt"),
        ("tanh", Tanh, {}, "lecun_sqrt"),
        ("sigmoid", Sigmoid, {}, "glorot_sigmoid"),
        ("relu", ReLU, {}, "he_normal"),
        ("leaky_relu", LeakyReLU, {"slope": 0.01}, "he_normal"),
        ("leaky_relu:0.2", LeakyReLU, {"slope": 0.2}, "he_normal"),
        (LeakyReLU(0.3, name="mine"), LeakyReLU, {"slope": 0.3}, "he_normal"),
        ("elu", ELU, {"alpha": 1.0}, "he_normal"),
        ("elu:0.5", ELU, {"alpha": 0.5}, "he_normal"),
        ("gelu", GELU, {"approximate": "none"}, "he_normal"),
        ("gelu:tanh", GELU, {"approximate": "tanh"}, "he_normal"),
    ],
)
def test_activation(activation, kind, options, initialiser):
    net = models.lenet5(activation=activation, pooling="max", seed=3)
    squashing = [layer for layer in net.layers if layer.name.endswith(".activation")]
    assert [type(layer) for layer in squashing] == [kind] * 4
    assert all(layer.arguments == options for layer in squashing)
    assert models.default_initialiser("max", "rbf", activation) == initialiser
    usual = models.lenet5(activation=activation, pooling="max", seed=3, initialiser=initialiser)
    np.testing.assert_array_equal(net.parameters["C3.w"], usual.parameters["C3.w"])
    again = Network.from_config(net.config())
    assert again.config() == net.config()


def test_every_activation_is_known_by_its_name():
    for name, kind in layers.ACTIVATIONS.items():
        layer = layers.activation("activation", name)
        assert type(layer) is kind
        assert layer.text == name
        assert layers.activation("activation", layer.text).arguments == layer.arguments
    assert layers.activation("activation", "leaky_relu:1e-1").text == "leaky_relu:0.1"
    assert layers.activation("activation", "leaky_relu:0.01").text == "leaky_relu"
    assert repr(layers.activation("activation", "elu:2")) == "ELU(alpha=2.0)"


@pytest.mark.parametrize(
    ("activation", "error", "text"),
    [
        ("swish", ValueError, "activation: expected one of scaled_tanh, .*gelu, got 'swish'"),
        ("relu:0.1", ValueError, "activation: expected relu without an option, got 'relu:0.1'"),
        ("leaky_relu:-1", ValueError, "activation: leaky_relu: slope: expected .* 0, got -1.0"),
        ("leaky_relu:nan", ValueError, "activation: leaky_relu: slope: expected .*, got nan"),
        ("leaky_relu:", ValueError, "activation: leaky_relu: slope: expected a number, got"),
        ("elu:0", ValueError, "activation: elu: alpha: expected a number above 0, got 0.0"),
        ("gelu:erf", ValueError, "activation: gelu: approximate: expected one of none, tanh, got"),
        (ReLU, TypeError, "activation: expected a name or a layer, got"),
        (None, TypeError, "activation: expected a name or a layer, got None"),
    ],
)
def test_wrong_activations(activation, error, text):
    with pytest.raises(error, match=f"^{text}"):
        models.lenet5(activation=activation)
    with pytest.raises(error, match=f"^{text}"):
        models.lenet1989(activation=activation)


def test_options_of_activations_that_no_layer_takes():
    for wrong, error in ((-0.5, ValueError), (np.inf, ValueError), ("0.1", TypeError)):
        with pytest.raises(error, match=r"^slope: expected"):
            LeakyReLU(wrong)
    for wrong, error in ((0, ValueError), (-1, ValueError), (None, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"^alpha: expected"):
            ELU(wrong)
    with pytest.raises(ValueError, match=r"^approximate: expected one of none, tanh, got 'quick'"):
        GELU("quick")
    config = LeakyReLU(0.2, name="one").config()
    assert config == {"type": "LeakyReLU", "name": "one", "slope": 0.2}
    for change in ({"slope": -1.0}, {"slope": "0.2"}, {"alpha": 1.0}):
        with pytest.raises(ValueError, match=r"LeakyReLU|slope: expected"):
            layers.from_config(config | change)


def test_extra_dense_layer():
    net = models.lenet5(extra_dense=50, output="softmax")
    names = [layer.name for layer in net.layers]
    assert names[-6:-3] == ["C5.activation", "EXTRA", "EXTRA.activation"]
    assert names[-3:] == ["F6", "F6.activation", "OUTPUT"]
    assert net.parameters["EXTRA.w"].shape == (50, 120)
    assert net.parameters["F6.w"].shape == (84, 50)


@pytest.mark.parametrize("output", ["rbf", "softmax", "linear"])
@pytest.mark.parametrize("pooling", ["subsample", "average", "max", None])
def test_every_variant_learns(pooling, output, rng):
    # A few steps of plain descent on twenty images must bring the loss down, in every variant.
    net = models.lenet5(
        pooling=pooling, output=output, extra_dense=40 if output == "linear" else None
    )
    net.initialise("eblearn")  # lecun1998 starts so close to zero that it takes long to get going
    engine = engines.create(net, losses.default_for(net), threads=1)
    x = normal(rng, 20, 1, 32, 32, dtype=np.float32)
    labels = np.arange(20) % 10
    rate = {"rbf": 0.002, "softmax": 0.1, "linear": 0.02}[output]
    first, _ = engine.loss_and_gradients(x, labels)
    for _ in range(60):
        _, gradients = engine.loss_and_gradients(x, labels)
        for name, gradient in gradients.items():
            net.parameters[name][...] -= np.float32(rate) * gradient
    last = engine.evaluate(x, labels)
    assert last.loss < 0.8 * first.loss


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"pooling": "mean"}, ValueError, "pooling: expected one of subsample, average, max"),
        ({"pooling": 2}, TypeError, "pooling: expected one of"),
        ({"connections": "lenet"}, ValueError, "connections: expected one of table, full"),
        ({"output": "svm"}, ValueError, "output: expected one of linear, softmax, rbf"),
        ({"activation": "step"}, ValueError, "activation: expected one of scaled_tanh"),
        ({"extra_dense": 0}, ValueError, "extra_dense: expected an int from 1"),
        ({"initialiser": "zeros"}, ValueError, "initialiser: expected one of"),
        ({"seed": "1"}, TypeError, "seed: expected an int"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
    ],
)
def test_wrong_options(options, error, text):
    with pytest.raises(error, match=text):
        models.lenet5(**options)


# --- the network of 1989 ------------------------------------------------------------------------


def test_lenet1_has_the_papers_counts():
    net = models.lenet1()
    assert by_layer(net) == {
        "H1": (104, 59_904),
        "H2": (8, 2_880),
        "H3": (512, 32_768),
        "H4": (24, 960),
        "OUTPUT": (1_930, 1_930),
    }
    assert net.counts() == (4_634, 2_578, 98_442)
    assert net.shapes[::2] == [(1, 28, 28), (4, 24, 24), (4, 12, 12), (12, 8, 8), (12, 4, 4), (10,)]
    assert {type(layer) for layer in net.layers[1::2]} == {ScaledTanh}


@pytest.mark.parametrize("batch_size", [1, 32])
def test_lenet1_learns(batch_size):
    sample = data.load("sample")
    net = models.lenet1()
    trainer = Trainer(net, batch_size=batch_size, threads=1)
    assert trainer.engine.name == ("online" if batch_size == 1 else "lanes")
    history = trainer.fit(sample.train, sample.test.subset(500), epochs=4)
    assert history.rows[-1].test_errors < 100  # chance: 450


def test_lenet4_has_our_counts():
    net = models.lenet4()
    assert by_layer(net) == {
        "C1": (104, 81_536),
        "S2": (16, 7_840),
        "C3": (1_191, 119_100),
        "S4": (32, 2_000),
        "C5": (48_120, 48_120),
        "OUTPUT": (1_210, 1_210),
    }
    assert net.counts() == (7_858, 50_673, 259_806)
    assert models.lenet4(connections="full").counts() == (7_858, 52_698, 462_306)
    assert net.shapes[::2] == [
        *((1, 32, 32), (4, 28, 28), (8, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (10,)),
    ]
    assert net.output == "linear"
    assert {type(layer) for layer in net.layers[1::2]} == {ScaledTanh}
    plain = models.lenet4(output="softmax", initialiser="lecun_sqrt", seed=3, dtype="float64")
    assert (plain.output, plain.dtype, plain.layers[-1].name) == ("softmax", np.float64, "OUTPUT")


def test_two_maps_of_lenet4_sub_sample_the_same_map(rng):
    net = models.lenet4(dtype="float64")
    layer = net.layers[2]
    x = normal(rng, 2, 4, 28, 28)
    y = layer.forward(x)
    sums = x.reshape(2, 4, 14, 2, 14, 2).sum(axis=(3, 5))
    for o, (w, b) in enumerate(zip(layer.parameters["w"], layer.parameters["b"], strict=True)):
        np.testing.assert_allclose(y[:, o], w * sums[:, o // 2] + b, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_lenet4_learns(output):
    sample = data.load("sample")
    net = models.lenet4(output=output)
    batch_size = 1 if output == "linear" else 32
    trainer = Trainer(net, batch_size=batch_size, threads=1)
    assert trainer.engine.name == ("online" if batch_size == 1 else "lanes")
    history = trainer.fit(sample.train, sample.test.subset(500), epochs=6)
    assert history.rows[-1].test_errors < 100  # chance: 450


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"connections": "half"}, ValueError, "connections: expected one of table, full"),
        ({"output": "rbf"}, ValueError, "output: expected one of linear, softmax"),
        ({"initialiser": "zeros"}, ValueError, "initialiser: expected one of"),
    ],
)
def test_wrong_options_of_lenet4(options, error, text):
    with pytest.raises(error, match=text):
        models.lenet4(**options)


def test_lenet1989_has_the_papers_counts():
    net = models.lenet1989()
    assert by_layer(net) == {
        "H1": (1_068, 19_968),
        "H2": (2_592, 38_592),
        "H3": (5_790, 5_790),
        "OUTPUT": (310, 310),
    }
    assert net.counts() == (1256, 9_760, 64_660)


def test_lenet1989_layers():
    net = models.lenet1989(dtype="float64")
    names = ("H1", "H2", "H3", "OUTPUT")
    assert [layer.name for layer in net.layers] == [
        each for name in names for each in (name, f"{name}.activation")
    ]
    assert {type(layer) for layer in net.layers[1::2]} == {ScaledTanh}
    assert net.shapes[::2] == [(1, 16, 16), (12, 8, 8), (12, 4, 4), (30,), (10,)]
    assert net.output == "linear"
    assert net.dtype == np.float64
    assert net.parameters["H1.b"].shape == (12, 8, 8)  # a bias a unit
    assert net.parameters["H2.b"].shape == (12, 4, 4)
    absent = ~connections.LENET1989_H2
    assert not net.parameters["H2.w"][absent].any()
    # The paper's initial weights: uniform in +-2.4 / F.
    for name, fan_in in (("H1", 25), ("H2", 200), ("H3", 192), ("OUTPUT", 30)):
        largest = np.abs(net.parameters[f"{name}.w"]).max()
        assert 0.9 * 2.4 / fan_in < largest <= 2.4 / fan_in
    again, other = (models.lenet1989(seed=seed, dtype="float64") for seed in (0, 1))
    np.testing.assert_array_equal(net.parameters["H3.w"], again.parameters["H3.w"])
    assert (net.parameters["H3.w"] != other.parameters["H3.w"]).any()


def test_a_network_from_before_it_had_a_range_of_pixels():
    config = models.lenet5().config()
    assert models.lenet1989().config()["pixel_range"] == [-1.0, 1.0]
    del config["pixel_range"]
    assert Network.from_config(config).pixel_range == (-0.1, 1.175)
    for wrong, error in (
        *(((0,), TypeError), (1, TypeError), ((0, float("nan")), ValueError)),
        *(((0, 0), ValueError), ((1, 1 + 1e-12), ValueError)),  # paper and ink look the same
    ):
        with pytest.raises(error, match="pixel_range: expected"):
            Network([Dense(4, 2)], input_shape=(1, 2, 2), pixel_range=wrong)


def test_lenet1989_with_other_squashing():
    net = models.lenet1989(activation="tanh", output_activation="sigmoid")
    assert [type(layer) for layer in net.layers[1::2]] == [Tanh, Tanh, Tanh, Sigmoid]
    assert {type(layer) for layer in models.lenet1989(activation="relu").layers[1::2]} == {ReLU}
    for argument in ("activation", "output_activation"):
        with pytest.raises(ValueError, match=f"{argument}: expected"):
            models.lenet1989(**{argument: "step"})


def test_lenet1989_sees_a_border_of_background():
    # On a page of background all units of a map see the same: the border is no edge.
    net = models.lenet1989()
    layer = net.layers[0]
    layer.parameters["b"][...] = 0.25
    y = layer.forward(np.full((1, 1, 16, 16), -1, np.float32))
    expected = 0.25 - layer.parameters["w"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(
        y[0], np.broadcast_to(expected[:, None, None], (12, 8, 8)), atol=1e-6
    )
    assert net.layers[2].pad_value == -1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["layers", "auto"])
def test_lenet1989_learns_one_pattern_at_a_time(engine, rng):
    net = models.lenet1989()
    x = normal(rng, 40, 1, 16, 16, dtype=np.float32).clip(-1, 1)
    labels = np.arange(40) % 10
    loss = losses.MeanSquaredError(scale=0.1)
    made = engines.create(net, loss, engine=engine, batch_size=1, threads=1)
    first = made.evaluate(x, labels)
    made.train(x, labels, np.tile(np.arange(40), 50), 1, SGD(), 0.03)
    last = made.evaluate(x, labels)
    assert last.loss < 0.5 * first.loss
    assert last.errors < first.errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"initialiser": "zeros"}, ValueError, "initialiser: expected one of"),
        ({"seed": -1}, ValueError, "seed: expected"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
    ],
)
def test_wrong_options_of_lenet1989(options, error, text):
    with pytest.raises(error, match=text):
        models.lenet1989(**options)


# --- Network ------------------------------------------------------------------------------------


def test_names_are_given_and_unique():
    net = Network(
        [
            Conv2D(1, 2, 3),
            ReLU(),
            Conv2D(2, 3, 3, name="conv1"),
            ReLU(),
            ReLU(name="x"),
            Dense(12, 2),
        ],
        input_shape=(1, 6, 6),
    )
    names = [layer.name for layer in net.layers]
    assert names == ["conv2", "activation1", "conv1", "activation2", "x", "dense1"]
    assert list(net.parameters) == [
        *("conv2.w", "conv2.b", "conv1.w", "conv1.b", "dense1.w", "dense1.b")
    ]


def test_parameters_are_the_layers_own():
    net = models.lenet5()
    net.parameters["C1.b"][0] = 7
    assert net.layers[0].parameters["b"][0] == 7
    assert net.parameters["C1.b"] is net.layers[0].parameters["b"]


def test_a_copy_has_its_own_parameters():
    net = models.lenet5()
    twin = copy.deepcopy(net)
    twin.parameters["C1.b"][...] = 7
    assert not (net.parameters["C1.b"] == 7).any()
    assert twin.config() == net.config()


used = Dense(1, 2)
Network([used], input_shape=(1, 1, 1))
twice = ReLU()


@pytest.mark.parametrize(
    ("layers", "options", "error", "text"),
    [
        ([], {}, ValueError, "layers: expected 1 to 1000 layers, got 0"),
        ([ReLU()] * 1001, {}, ValueError, "layers: expected 1 to 1000 layers, got 1001"),
        ("relu", {}, TypeError, "layers: expected a list of layers, got str"),
        ([ReLU], {}, TypeError, "layers: expected layers, got .* at 0"),
        (
            [used],
            {},
            ValueError,
            "expected new layers, got dense1 at 0, which is already part of a network",
        ),
        ([twice, twice], {}, ValueError, "expected new layers, got ReLU at 1"),
        (
            [ReLU(name="A"), Tanh(name="A")],
            {},
            ValueError,
            "expected different names, got A twice",
        ),
        (
            [Conv2D(1, 6, name="C1"), Conv2D(5, 16, name="C3")],
            {},
            ValueError,
            r"layer C3: input: expected 5 maps, got 6 \(shape \(6, 28, 28\)\)",
        ),
        ([Conv2D(1, 6)], {}, ValueError, r"expected a last layer .* got conv1 .* \(6, 28, 28\)"),
        ([Dense(1024, 2)], {"output": "rbf"}, ValueError, "output: expected 'rbf' if, and only if"),
        ([RBF(1024, 2, centres="given")], {}, ValueError, "output: expected 'rbf' if, and only if"),
        ([Dense(1024, 2)], {"output": "logits"}, ValueError, "output: expected one of"),
        ([Dense(1024, 2)], {"dtype": "int32"}, TypeError, "dtype: expected float32 or float64"),
        ([Dense(1024, 2)], {"dtype": ">f4"}, TypeError, "dtype: expected float32 or float64"),
        ([Dense(1024, 2)], {"dtype": None}, TypeError, "dtype: expected float32 or float64"),
        ([Dense(4, 2)], {"input_shape": (2, 2)}, ValueError, "input_shape: expected three numbers"),
        ([Dense(4, 2)], {"input_shape": 4}, TypeError, r"input_shape: expected \(c, h, w\)"),
        ([Dense(4, 2)], {"input_shape": (1, 2, 0)}, ValueError, "input_shape: expected an int"),
        (
            [Dense(1024, 2**17)],
            {},
            ValueError,
            "layer dense1: expected at most 67108864 parameters",
        ),
    ],
)
def test_wrong_networks(layers, options, error, text):
    with pytest.raises(error, match=text):
        Network(layers, **options)


def test_absurd_sizes_allocate_nothing():
    layers = [Conv2D(1, 2**16, 1), MaxPool2D(32), Dense(2**16, 2)]
    with pytest.raises(ValueError, match="layer conv1: expected at most 67108864 parameters"):
        Network(layers, input_shape=(1, 32, 33))
    assert not any(layer.parameters for layer in layers)
    # Weights of absent links take memory too.
    table = np.eye(2**10, dtype=bool)
    with pytest.raises(ValueError, match="layer conv1: expected at most"):
        Network([Conv2D(2**10, 2**10, 9, connections=table)], input_shape=(2**10, 9, 9))
    with pytest.raises(ValueError, match="expected at most"):
        Network([Dense(MAX_VALUES, 1), ReLU()], input_shape=(1, 1, MAX_VALUES))


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), "f4"])
def test_dtype_by_any_name(dtype):
    net = Network([Dense(4, 2)], input_shape=(1, 2, 2), dtype=dtype)
    assert net.dtype == np.float32
    assert net.parameters["dense1.w"].dtype == np.float32


def test_activations_by_name_among_layers():
    by_name = Network([Conv2D(1, 2, 3), "leaky_relu:0.2", Dense(1800, 3), "tanh"])
    assert repr(by_name.layers[1::2]) == "[LeakyReLU(slope=0.2), Tanh()]"
    names = ["conv1", "activation1", "dense1", "activation2"]
    assert [layer.name for layer in by_name.layers] == names
    with pytest.raises(ValueError, match=r"layers\[1\]: expected one of scaled_tanh, .*'rleu'"):
        Network([Dense(1024, 3), "rleu"])


def test_classify_outputs():
    outputs = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 6.0], [0.0, 0.0, 0.0]])
    scores = Network([Dense(4, 3)], input_shape=(1, 2, 2))
    np.testing.assert_array_equal(scores.classify_outputs(outputs), [1, 2, 0])
    penalties = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    np.testing.assert_array_equal(penalties.classify_outputs(outputs), [0, 0, 0])
    assert scores.classify_outputs(outputs[:0]).shape == (0,)


def test_a_network_says_its_summary():
    net = models.lenet5(output="softmax", dtype="float64")
    assert repr(net) == f"Network(output='softmax', dtype='float64')\n{net.summary()}"
    page = net._repr_html_()
    assert page.count("<tr>") == 1 + len(net.layers) + 2
    for word in ("Subsample2D", "6 x 14 x 14", "151,600", "60,850", "340,918"):
        assert word in page


def test_probabilities():
    net = Network([Dense(4, 3)], input_shape=(1, 2, 2), output="softmax")
    found = net.probabilities(np.array([[0.0, np.log(2), np.log(5)], [1000.0, 0.0, -1000.0]]))
    np.testing.assert_allclose(found, [[1 / 8, 2 / 8, 5 / 8], [1, 0, 0]], atol=1e-15)
    assert net.probabilities(np.zeros((0, 3))).shape == (0, 3)
    for output, layer in (("linear", Dense(4, 10)), ("rbf", RBF(4, 10, centres=np.eye(10, 4)))):
        other = Network([layer], input_shape=(1, 2, 2), output=output)
        with pytest.raises(ValueError, match=f"output: expected .* 'softmax' .*, got '{output}'"):
            other.probabilities(np.zeros((1, 10)))


def test_activations_by_the_names_of_older_files_and_scripts():
    net = models.lenet5(seed=3)
    config = json.loads(json.dumps(net.config()).replace(".activation", ".squash"))
    old = Network.from_config(config)
    assert "C1.squash" in [layer.name for layer in old.layers]
    x = np.random.default_rng(0).integers(0, 256, (2, 28, 28)).astype(np.uint8)
    old.initialise("lecun1998", 3)
    np.testing.assert_array_equal(old.predict(x), net.predict(x))
    expected = net.activations(x)["C1.activation"]
    for network in (net, old):
        for found, right in ((network.activations(x), expected), (network.activations(x[0]), None)):
            np.testing.assert_array_equal(found["C1.squash"], found["C1.activation"])
            assert right is None or np.array_equal(found["C1.squash"], right)
            for name in ("C9.squash", "C9.activation", "C9"):
                with pytest.raises(KeyError, match=name):
                    found[name]
    assert models.SQUASHING is layers.ACTIVATIONS


def test_activations():
    net = Network([Conv2D(1, 2, 1, name="C"), Tanh(), Dense(8, 3, name="D")], input_shape=(1, 2, 2))
    parameters = net.parameters
    parameters["C.w"][:, 0, 0, 0] = 2, -1
    parameters["C.b"][:] = 0.5, 0
    x = np.array([[[[1, 2], [3, 4]]], [[[0, -1], [5, 1]]]], np.float32)
    found = net.activations(x)
    assert repr(found) == (
        "{'C': <float32 (2, 2, 2, 2)>,\n"
        " 'activation1': <float32 (2, 2, 2, 2)>,\n"
        " 'D': <float32 (2, 3)>}"
    )
    assert list(found) == ["C", "activation1", "D"]
    maps = np.concatenate([2 * x + 0.5, -x], axis=1)
    np.testing.assert_array_equal(found["C"], maps)
    np.testing.assert_allclose(found["activation1"], np.tanh(maps), rtol=1e-6)
    weighted = np.tanh(maps).reshape(2, 8) @ parameters["D.w"].T + parameters["D.b"]
    np.testing.assert_allclose(found["D"], weighted, rtol=1e-5, atol=1e-6)
    for name, values in net.activations(x[1]).items():
        np.testing.assert_array_equal(values, found[name][1])


def test_activations_of_bytes():
    net, images = models.lenet5(), data.load("sample").test.images[:3]
    found = net.activations(images)
    assert found["S4.activation"].shape == (3, 16, 5, 5)
    np.testing.assert_allclose(found["OUTPUT"], net.predict(images), rtol=1e-5)
    one = net.activations(images[2])
    assert one["S4.activation"].shape == (16, 5, 5)
    np.testing.assert_allclose(one["OUTPUT"], found["OUTPUT"][2], rtol=1e-5)
    with pytest.raises(ValueError, match=r"x: expected bytes .* at most 32 by 32"):
        net.activations(np.zeros((40, 40), np.uint8))


def test_summary():
    lines = models.lenet5().summary().splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["layer", "kind", "output", "units", "parameters", "connections"]
    assert ["C3", "Conv2D", "16", "x", "10", "x", "10", "1,600", "1,516", "151,600"] in cells
    assert ["OUTPUT", "RBF", "10", "10", "840"] in cells
    assert cells[-1] == ["total", "9,118", "60,000", "340,908"]
    assert max(map(len, lines)) <= 80


# --- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "max", "output": "softmax", "activation": "relu", "connections": "full"},
        {"pooling": None, "output": "linear", "extra_dense": 9, "dtype": "float64"},
    ],
)
def test_config_survives_json(options):
    net = models.lenet5(**options)
    config = json.loads(json.dumps(net.config(), allow_nan=False))
    twin = Network.from_config(config)
    assert twin.config() == net.config() == config
    assert twin.summary() == net.summary()
    assert twin.dtype == net.dtype
    assert {name: array.shape for name, array in twin.parameters.items()} == {
        name: array.shape for name, array in net.parameters.items()
    }


GOOD = models.lenet5().config()


@pytest.mark.parametrize(
    "config",
    [
        *(None, [], {}, "lenet5"),
        GOOD | {"seed": 1},
        {key: value for key, value in GOOD.items() if key != "dtype"},
        *(
            GOOD | {"layers": layers}
            for layers in (None, {}, [], [None], "C1", GOOD["layers"][:-1])
        ),
        GOOD | {"layers": GOOD["layers"] * 100},
        GOOD | {"layers": GOOD["layers"][1:]},
        *(GOOD | {"input_shape": shape} for shape in ([32, 32], [1, 32.0, 32], [1, -1, 32], 32)),
        GOOD | {"input_shape": [1, 2**31 - 1, 2**31 - 1]},
        *(GOOD | {"output": output} for output in ("softmax", None, ["rbf"])),
        *(GOOD | {"dtype": dtype} for dtype in ("float16", "object", None, ["float32"], 4, {})),
    ],
)
def test_from_config_trusts_nothing(config):
    with pytest.raises(ValueError, match=r".+: expected .+, got "):
        Network.from_config(config)


# --- what is given for images, or for outputs ----------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda image: image[..., None], ValueError, "(28, 28, 1), whose last axis seems to be"),
        (lambda image: np.stack([image] * 3, -1), ValueError, "(28, 28, 3), whose last axis"),
        (lambda image: np.stack([image] * 4, -1), ValueError, "(28, 28, 4), whose last axis"),
        (lambda image: np.stack([image] * 2, -1), ValueError, "pass numpy.moveaxis(x, 2, 0)"),
        (lambda image: np.stack([image] * 9, -1), ValueError, "pass numpy.moveaxis(x, 2, 0)"),
        (lambda image: np.stack([image] * 9, 1), ValueError, "pass numpy.moveaxis(x, 1, 0)"),
        (lambda image: np.zeros((32, 32, 9), np.uint8), ValueError, "(32, 32, 9), whose last"),
        (lambda image: image[None, ..., None], ValueError, "(1, 28, 28, 1)"),
        (lambda image: image.ravel(), ValueError, "(784,)"),
        (
            lambda image: image // 255,
            ValueError,
            "from 0 (background) to 255 (foreground), got 0 to 1",
        ),
        (lambda image: image // 16, ValueError, "got 0 to 15"),
        (lambda image: np.stack([image // 255] * 2), ValueError, "got 0 to 1"),
        (lambda image: (image / 255).astype("f4"), ValueError, "lenet_fast.data.prepare"),
        (lambda image: np.ones((3, 28, 28), np.float32), ValueError, "got shape (3, 28, 28)"),
        (lambda image: np.ones(784, np.float32), ValueError, "got shape (784,)"),
        (lambda image: image.tolist(), TypeError, "x: expected a NumPy array of images, got list"),
        (lambda image: data.load("sample").test, TypeError, "got Dataset; pass its images"),
        (lambda image: data.load("sample"), TypeError, "got Splits; pass the images of one of"),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_do(make, error, words):
    network = models.lenet5()
    wrong = make(data.load("sample").test.images[0])
    for method in (network.predict, network.activations):
        with pytest.raises(error, match=r"^x: expected") as found:
            method(wrong)
        assert words in str(found.value)
        assert len(str(found.value)) < 300


@pytest.mark.parametrize("shape", [(28, 28, 28), (5, 28, 20), (28, 20, 18), (20, 20, 5), (1, 1, 1)])
def test_images_of_any_sides_may_be_asked_for(shape):
    assert models.lenet5().predict(np.full(shape, 99, np.uint8)).shape == (shape[0], 10)


def test_blank_and_faint_images_beside_others_may_be_asked_for():
    network = models.lenet5()
    images = data.load("sample").test.images[:3].copy()
    images[0] = 0
    images[1] //= 64
    assert network.predict(images).shape == (3, 10)
    assert network.predict(images[0]).shape == (10,)


@pytest.mark.parametrize("output", ["rbf", "softmax"])
def test_classify_outputs_takes_rows_or_one(output):
    network = models.lenet5(output=output)
    outputs = network.predict(data.load("sample").test.images[:5])
    found = network.classify_outputs(outputs)
    best = np.argmin if output == "rbf" else np.argmax
    np.testing.assert_array_equal(found, best(outputs, axis=1))
    assert [int(network.classify_outputs(row)) for row in outputs] == found.tolist()
    np.testing.assert_array_equal(network.classify_outputs(outputs.tolist()), found)
    np.testing.assert_array_equal(network.classify_outputs(list(outputs)), found)
    assert network.classify_outputs(outputs[:0]).shape == (0,)


def test_probabilities_of_rows_or_one():
    network = models.lenet5(output="softmax")
    outputs = network.predict(data.load("sample").test.images[:5])
    found = network.probabilities(outputs)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(network.probabilities(outputs[2]), found[2])
    np.testing.assert_array_equal(network.probabilities(list(outputs)), found)


@pytest.mark.parametrize("method", ["classify_outputs", "probabilities"])
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (np.zeros((2, 28, 28), np.uint8), ValueError, "got (2, 28, 28)"),
        (np.zeros((28, 28), np.uint8), ValueError, "got (28, 28)"),
        (np.zeros((10, 10), np.uint8), TypeError, "got uint8"),
        (np.zeros((2, 9)), ValueError, "expected shape (n, 10) or (10,)"),
        (np.float32(1), TypeError, "got float32"),
        (np.full((2, 10), np.nan), ValueError, "got NaN or infinity"),
        (np.full(10, np.inf), ValueError, "got NaN or infinity"),
        ([[1.0] * 10, [1.0] * 9], ValueError, "different lengths"),
        ("0123456789", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_what_are_no_outputs_is_refused(method, wrong, error, words):
    with pytest.raises(error, match=r"^outputs: expected") as found:
        getattr(models.lenet5(output="softmax"), method)(wrong)
    assert words in str(found.value)
    if getattr(wrong, "ndim", 0) == 3:
        call = "classify(images)" if method == "classify_outputs" else f"{method}(network.predict("
        assert f"call network.{call}" in str(found.value)


@pytest.mark.parametrize("output", ["rbf", "softmax"])
def test_classify_takes_images_as_predict_does(output):
    network = models.lenet5(output=output, initialiser="lecun_sqrt")
    images = data.load("sample").test.images[:40]
    expected = network.classify_outputs(network.predict(images))
    assert len(set(expected.tolist())) > 1
    np.testing.assert_array_equal(network.classify(images), expected)
    np.testing.assert_array_equal(network.classify(data.prepare(images)), expected)
    one = network.classify(images[7])
    assert one.shape == ()
    assert one == expected[7]
    assert network.classify(images[:0]).shape == (0,)


def test_classify_refuses_outputs_and_what_predict_refuses():
    """`classify` took outputs once: nobody may get the wrong answer in silence."""
    network = models.lenet5(output="softmax")
    images = data.load("sample").test.images[:3]
    outputs = network.predict(images)
    for wrong in (outputs, outputs[0], outputs.astype(np.float64)):
        with pytest.raises(ValueError, match=r"^x: expected images, .* got shape .*10,?\).* call "):
            network.classify(wrong)
        with pytest.raises(ValueError, match=r"call network\.classify_outputs\(outputs\)$"):
            network.classify(wrong)
    with pytest.raises(TypeError, match=r"x: expected a NumPy array of images, got list"):
        network.classify(outputs.tolist())
    with pytest.raises(TypeError, match=r"got Dataset; pass its images$"):
        network.classify(data.load("sample").test)
    with pytest.raises(ValueError, match=r"x: expected floats of shape"):
        network.classify(np.zeros((3, 28, 28), np.float32))
    network.parameters["C1.w"][...] = np.nan
    with pytest.raises(ValueError, match=r"outputs: expected finite numbers"):
        network.classify(images)


def test_bytes_are_refused_where_nobody_knows_what_they_were():
    network = Network([Dense(784, 10)], input_shape=(1, 28, 28), pixel_range=None)
    images = data.load("sample").test.images[:2]
    for wrong in (images, images[0]):
        with pytest.raises(ValueError, match=r"does not know .* got bytes; set its pixel_range"):
            network.predict(wrong)
    x = data.prepare(images, size=28, background=0, ink=1)
    expected = network.predict(x)
    again = Network.from_config(network.config())
    assert not again.pixel_range_known
    network.pixel_range = (0.0, 1.0)
    assert network.pixel_range_known
    np.testing.assert_allclose(network.predict(images), expected, rtol=1e-5, atol=1e-5)
    network.predict(images[0])
    network.pixel_range = (1.0, 0.0)  # what an engine has read before is forgotten
    np.testing.assert_allclose(
        network.predict(images[0]), network.predict(1 - x)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("scale", [255, 100, 16])
def test_floats_far_beyond_the_pixel_range_are_refused(scale):
    network = models.lenet5()
    images = data.load("sample").test.images[:3]
    x = data.prepare(images, background=0, ink=scale)
    for wrong in (x, x[0]):
        for method in (network.predict, network.activations):
            with pytest.raises(ValueError, match=rf"x: .* 1.175 .*, got up to {scale}; .*range"):
                method(wrong)
    noise = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    assert np.isfinite(network.predict(noise)).all()
    network.pixel_range = (0, scale)
    np.testing.assert_allclose(network.predict(x), network.predict(images), rtol=1e-5, atol=1e-4)
    network.pixel_range_known = False
    network.predict(255 * x)


def test_networks_remember_how_ink_was():
    network = models.lenet5()
    assert "inverted" not in network.config()
    for inverted in (True, False):
        network.inverted = inverted
        assert Network.from_config(network.config()).inverted is inverted
    assert Network.from_config(models.lenet5().config()).inverted is None
    with pytest.raises(ValueError, match="inverted: expected"):
        Network.from_config({**network.config(), "inverted": "yes"})
