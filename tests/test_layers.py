"""Layers: shapes, counts, passes against difference quotients, descriptions from hostile files."""

from __future__ import annotations

import functools
import json
import math

import numpy as np
import pytest
from helpers import (
    assert_within,
    curvatures,
    jacobian,
    max_pool_by_definition,
    new_rng,
    normal,
    require,
    slopes,
)

from lenet_fast import bitmaps, layers, ops
from lenet_fast.layers import (
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Layer,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
    Tanh,
)

TABLE = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], bool)

LAYERS = {
    "conv": (lambda: Conv2D(2, 3, 3), (2, 5, 6)),
    "conv, table": (lambda: Conv2D(4, 3, 3, connections=TABLE), (4, 5, 4)),
    "conv, all options": (
        lambda: Conv2D(
            *(4, 6, (3, 2)),
            stride=(2, 1),
            padding=(1, 2, 0, 1),
            dilation=(1, 2),
            groups=2,
            pad_value=-0.5,
            bias="unit",
            algorithm="im2col",
        ),
        (4, 5, 6),
    ),
    "conv, no bias": (lambda: Conv2D(1, 2, 2, bias=None, algorithm="direct"), (1, 4, 4)),
    "max": (lambda: MaxPool2D(2), (2, 4, 6)),
    "max, overlap": (lambda: MaxPool2D((3, 2), (2, 1)), (2, 5, 4)),
    "max, all of equals": (lambda: MaxPool2D(2, ties="all"), (2, 4, 6)),
    "average": (lambda: AvgPool2D((2, 3)), (2, 5, 6)),
    "sub-sampling": (lambda: Subsample2D(3), (3, 4, 6)),
    "sub-sampling, mean": (lambda: Subsample2D(2, 3, 2, reduction="mean"), (2, 5, 6)),
    "sub-sampling, multiplier": (lambda: Subsample2D(2, (1, 2), multiplier=3), (2, 3, 4)),
    "dense": (lambda: Dense(7, 4), (7,)),
    "dense on images": (lambda: Dense(12, 4), (2, 3, 2)),
    "rbf": (lambda: RBF(5, 3, centres=np.linspace(-1, 1, 15).reshape(3, 5)), (5,)),
    "scaled tanh": (ScaledTanh, (2, 3, 2)),
    "tanh": (Tanh, (5,)),
    "sigmoid": (Sigmoid, (5,)),
    "relu": (ReLU, (2, 3, 2)),
    "dropout": (lambda: Dropout(0.3), (5,)),
    "dropout of maps": (lambda: Dropout2D(0.4), (2, 3, 2)),
}
CASES = pytest.mark.parametrize("case", LAYERS)


def built(case: str, rng: np.random.Generator, n: int = 2) -> tuple[Layer, np.ndarray]:
    """Return a layer with random parameters, and inputs for it, in float64.

    No two inputs are equal, nor is any zero, by more than the steps of a difference quotient: there
    are kinks in max-pooling and ReLU.
    """
    make, shape = LAYERS[case]
    layer = make()
    layer.build(shape, np.float64)
    if layer.trainable:
        for array in layer.parameters.values():
            array[...] = normal(rng, *array.shape)
    size = n * math.prod(shape)
    return layer, rng.permutation(np.linspace(-2, 2.1, size)).reshape(n, *shape)


def arrays(layer: Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": x} | (layer.parameters if layer.trainable else {})


@CASES
def test_output_shape_is_that_of_forward(case, rng, backend):
    layer, x = built(case, rng)
    y = layer.forward(x, backend)
    assert y.shape == (2, *layer.output_shape(x.shape[1:]))
    for name, shape in layer.parameter_shapes(x.shape[1:]).items():
        assert layer.parameters[name].shape == shape


@CASES
def test_backward_is_the_slope(case, rng, backend):
    layer, x = built(case, rng)
    y = layer.forward(x, backend)
    dy = normal(rng, *y.shape)
    dx, gradients = layer.backward(dy, x, y, backend)
    found = {"x": dx} | gradients
    assert found.keys() == arrays(layer, x).keys()
    for name, array in arrays(layer, x).items():
        original = array.copy()

        def loss(moved, array=array):
            array[...] = moved
            return float((layer.forward(x, backend) * dy).sum())

        expected = slopes(loss, original)
        array[...] = original
        assert_within(found[name], expected, 1e-8, np.float64, name)


@CASES
def test_hessian_is_the_curvature_without_that_of_the_squashing(case, rng, backend):
    # E = sum of dy y + hy (y - y0)^2 / 2 has the derivatives dy and hy at y0. Through a layer that
    # is linear in its input or a weight, or an RBF, the recursion is then exact.
    layer, x = built(case, rng)
    y = layer.forward(x, backend)
    dy, hy = normal(rng, *y.shape), np.abs(normal(rng, *y.shape))
    hx, diagonals = layer.hessian(hy, dy if layer.curved else None, x, y, backend)
    found = {"x": hx} | diagonals
    assert found.keys() == arrays(layer, x).keys()
    squashing = layer.units(x.shape[1:]) == 0
    for name, array in arrays(layer, x).items():
        original = array.copy()

        def loss(moved, array=array):
            array[...] = moved
            now = layer.forward(x, backend)
            return float((dy * now + hy * (now - y) ** 2 / 2).sum())

        if squashing:
            expected = hy * slopes(lambda moved: float(layer.forward(moved, backend).sum()), x) ** 2
        else:
            expected = curvatures(loss, original, step=1e-3)
        array[...] = original
        assert_within(found[name], expected, 1e-7 * (1 + np.abs(expected)), np.float64, name)


@functools.cache
def squared_jacobians(case: str) -> dict[str, np.ndarray]:
    """Return the squares of dy/dx and dy/dparameter, by differences of the reference's forward."""
    layer, x = built(case, new_rng())
    return {
        name: jacobian(lambda: layer.forward(x, "numpy"), array) ** 2
        for name, array in arrays(layer, x).items()
    }


def assert_recursion(layer, x, squares, rng, backend) -> None:
    """LeCun et al. 1998, appendix C: ``(J o J)^T h``, and twice the sum of dy for RBF units."""
    y = layer.forward(x, backend)
    dy, hy = normal(rng, *y.shape), np.abs(normal(rng, *y.shape))
    hx, diagonals = layer.hessian(hy, dy, x, y, backend)
    for name, found in ({"x": hx} | diagonals).items():
        expected = (hy.ravel() @ squares[name]).reshape(found.shape)
        if layer.curved:
            expected += 2 * dy.sum(axis=1, keepdims=True)
        assert_within(found, expected, 1e-8 * np.abs(expected).max(), np.float64, name)


@CASES
def test_hessian_is_that_of_the_squared_jacobians(case, rng, backend):
    layer, x = built(case, new_rng())
    assert_recursion(layer, x, squared_jacobians(case), rng, backend)


def torch_forward(torch, layer):
    """Return a layer's forward pass as a function of its arrays, in PyTorch's words."""
    f = torch.nn.functional
    if isinstance(layer, RBF):
        centres = torch.tensor(layer.parameters["w"])
        return lambda x: ((x[:, None, :] - centres) ** 2).sum(2)
    if isinstance(layer, Subsample2D):
        window = {"kernel_size": layer.kernel, "stride": layer.stride}
        return lambda x, w, b: (
            f.avg_pool2d(x, **window, divisor_override=1 if layer.reduction == "sum" else None)
            * w[:, None, None]
            + b[:, None, None]
        )
    top, bottom, left, right = layer.padding
    links = torch.ones(1) if layer.table is None else torch.tensor(layer.table)[:, :, None, None]
    options = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}

    def convolve(x, w, b):
        padded = f.pad(x, (left, right, top, bottom), value=layer.pad_value)
        return f.conv2d(padded, w * links, **options) + (b if b.ndim == 3 else b[:, None, None])

    return convolve


@pytest.mark.parametrize(
    "case",
    ["conv, table", "conv, all options", "sub-sampling", "sub-sampling, mean", "rbf"],
)
def test_hessian_is_that_of_jacobians_by_pytorch(case, rng, backend):
    torch = require("torch")
    layer, x = built(case, new_rng())
    given = {name: torch.tensor(array) for name, array in arrays(layer, x).items()}
    every = torch.func.jacrev(torch_forward(torch, layer), tuple(range(len(given))))
    outputs = layer.forward(x, "numpy").size
    squares = {
        name: each.reshape(outputs, -1).numpy() ** 2
        for name, each in zip(given, every(*given.values()), strict=True)
    }
    assert_recursion(layer, x, squares, rng, backend)


@CASES
def test_passes_leave_out_the_input_if_asked(case, rng):
    layer, x = built(case, rng)
    y = layer.forward(x)
    ones = np.ones_like(y)
    for run, full in (
        (layer.backward(ones, x, y, None, False), layer.backward(ones, x, y)),
        (layer.hessian(ones, ones, x, y, None, False), layer.hessian(ones, ones, x, y)),
    ):
        assert run[0] is None
        assert full[0] is not None
        assert run[1].keys() == full[1].keys()
        for name in run[1]:
            np.testing.assert_array_equal(run[1][name], full[1][name])


@CASES
def test_empty_batch(case, rng, backend):
    layer, x = built(case, rng, n=0)
    y = layer.forward(x, backend)
    assert y.shape == (0, *layer.output_shape(x.shape[1:]))
    for dx, gradients in (
        layer.backward(y, x, y, backend),
        layer.hessian(y, y, x, y, backend),
    ):
        assert dx.shape == x.shape
        for name, gradient in gradients.items():
            assert gradient.shape == layer.parameters[name].shape
            assert not gradient.any()


def test_curvature_of_the_rbf_is_kept(rng):
    layer, x = built("rbf", rng)
    y = layer.forward(x)
    # A loss that is linear in y has no second derivative but the one of the RBF: 2 sum of dy.
    hx, _ = layer.hessian(np.zeros_like(y), np.ones_like(y), x, y)
    assert_within(hx, np.full(x.shape, 2.0 * 3), 1e-12)
    without, _ = layer.hessian(np.zeros_like(y), None, x, y)
    assert not without.any()


def test_absent_links_have_no_part(rng, backend):
    layer, x = built("conv, table", rng)
    y = layer.forward(x, backend)
    _, gradients = layer.backward(np.ones_like(y), x, y, backend)
    assert not gradients["w"][~TABLE].any()
    assert gradients["w"][TABLE].all()
    layer.parameters["w"][~TABLE] = 100.0
    np.testing.assert_array_equal(layer.forward(x, backend), y)


# --- counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "units", "parameters", "connections"),
    [
        (Conv2D(1, 6, 5), (1, 32, 32), 4704, 156, 122_304),
        (Subsample2D(6), (6, 28, 28), 1176, 12, 5_880),
        (Subsample2D(4, multiplier=2), (4, 28, 28), 1568, 16, 7_840),
        (Conv2D(1, 12, 5, stride=2, padding=2, bias="unit"), (1, 16, 16), 768, 1_068, 19_968),
        (Conv2D(4, 3, 3, connections=TABLE), (4, 5, 4), 18, 7 * 9 + 3, 18 // 3 * (7 * 9 + 3)),
        (Conv2D(2, 3, 1, bias=None), (2, 2, 2), 12, 6, 24),
        (Conv2D(4, 6, 3, groups=2), (4, 3, 3), 6, 6 * 19, 6 * 19),
        (MaxPool2D(2), (6, 28, 28), 1176, 0, 4 * 1176),
        (AvgPool2D(2), (6, 28, 28), 1176, 0, 4 * 1176),
        (Dense(120, 84), (120, 1, 1), 84, 10_164, 10_164),
        (RBF(), (84,), 10, 0, 840),
        (ScaledTanh(), (6, 28, 28), 0, 0, 0),
    ],
)
def test_counts(layer, shape, units, parameters, connections):
    layer.build(shape, np.float32)
    assert layer.units(shape) == units
    assert layer.parameter_count() == parameters
    assert layer.connections(shape) == connections


def test_fan_in_counts_links():
    np.testing.assert_array_equal(Conv2D(4, 3, 3, connections=TABLE).fan_in(), [18, 9, 36])
    np.testing.assert_array_equal(Conv2D(4, 6, 5, groups=2).fan_in(), [50] * 6)
    np.testing.assert_array_equal(Subsample2D(2).fan_in(), [4, 4])
    np.testing.assert_array_equal(Subsample2D(1, multiplier=3).fan_in(), [4, 4, 4])
    assert Subsample2D(1, multiplier=3).fan_out() == 3
    np.testing.assert_array_equal(Dense(7, 2).fan_in(), [7, 7])
    assert ReLU().fan_in().size == 0
    assert Conv2D(4, 3, 3, connections=TABLE).fan_out() == 7 * 9 / 4


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (Conv2D(6, 16), (1, 14, 14), "input: expected 6 maps, got 1"),
        (Conv2D(6, 16), (84,), r"input: expected images \(c, h, w\), got shape \(84,\)"),
        (Conv2D(1, 1, 5), (1, 4, 9), "expected one that fits 4 x 9 pixels, .* covers 5 x 5"),
        (Conv2D(1, 1, 3, dilation=4), (1, 8, 9), "fits 8 x 9 pixels, .* covers 9 x 9"),
        (Conv2D(1, 1, padding=2**20, stride=2**20), (1, 9, 9), "padding: expected at most"),
        (Subsample2D(6), (5, 4, 4), "input: expected 6 maps, got 5"),
        (MaxPool2D(3), (5, 2, 4), "expected one that fits 2 x 4 pixels"),
        (Dense(120, 84), (16, 5, 5), r"expected 120 numbers per image \(n_in\), got 400"),
        (RBF(), (83,), r"expected 84 numbers per image \(n_in\), got 83"),
    ],
)
def test_inputs_that_do_not_fit(layer, shape, text):
    with pytest.raises(ValueError, match=text):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Conv2D(0, 1), ValueError, "c_in: expected an int from 1"),
        (lambda: Conv2D(1, 2**27), ValueError, "c_out: expected an int from 1 to 67108864"),
        (lambda: Conv2D(1, 1.0), TypeError, "c_out: expected an int, got float"),
        (lambda: Conv2D(1, 1, True), TypeError, "kernel: expected an int"),
        (lambda: Conv2D(1, 1, (3, 0)), ValueError, "kernel: expected an int from 1"),
        (lambda: Conv2D(1, 1, padding=(1, 2, 3)), ValueError, "padding: expected an int or"),
        (lambda: Conv2D(3, 4, groups=2), ValueError, "groups: expected a divisor of c_in = 3"),
        (lambda: Conv2D(1, 1, pad_value=math.nan), ValueError, "pad_value: expected a number"),
        (lambda: Conv2D(1, 1, bias="all"), ValueError, "bias: expected one of map, unit"),
        (lambda: Conv2D(1, 1, algorithm="fft"), ValueError, "algorithm: expected one of"),
        (lambda: Conv2D(3, 4, connections=TABLE), ValueError, r"expected shape \(4, 3\)"),
        (
            lambda: Conv2D(4, 3, connections=TABLE.astype(int)),
            TypeError,
            "connections: expected dtype bool",
        ),
        (
            lambda: Conv2D(4, 3, connections=np.array([[1], [0], [1]]) > [[0] * 4]),
            ValueError,
            "connections: expected at least one link .* none for map 1",
        ),
        (lambda: Subsample2D(2, reduction="max"), ValueError, "reduction: expected one of"),
        (lambda: Subsample2D(2, multiplier=0), ValueError, "multiplier: expected an int from 1"),
        (lambda: Subsample2D(2, multiplier=2.0), TypeError, "multiplier: expected an int"),
        (lambda: Subsample2D(2, multiplier=2**26), ValueError, "channels [*] multiplier: expected"),
        (lambda: MaxPool2D(stride=-1), ValueError, "stride: expected an int from 1"),
        (lambda: MaxPool2D(ties="last"), ValueError, "ties: expected one of first, all, got"),
        (lambda: MaxPool2D(padding=1), TypeError, r"^MaxPool2D\.__init__\(\) got .* 'padding'"),
        (lambda: Dense(1, 1, bias=False), TypeError, r"^FullyConnected\.__init__\(\) got"),
        (lambda: RBF(84, 9), ValueError, r"centres: expected shape \(9, 84\)"),
        (lambda: RBF(2, 2, centres=[[1.0, 2.0]]), TypeError, "centres: expected a NumPy array"),
        (lambda: RBF(2, 2, centres="ascii"), ValueError, "centres: expected one of digits, given"),
        (lambda: Dense(1, 1, name="a b"), ValueError, "name: expected 1 to 64 of"),
        (lambda: Dense(1, 1, name=""), ValueError, "name: expected 1 to 64 of"),
        (lambda: Dense(1, 1, name="F6\n"), ValueError, "name: expected 1 to 64 of"),
        (lambda: Dense(1, 1, name=6), TypeError, "name: expected a string, got int 6"),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_rbf_centres():
    digits = RBF()
    digits.build((84,), np.float32)
    np.testing.assert_array_equal(digits.parameters["w"], bitmaps.centres(np.float32))
    own = np.eye(3)
    layer = RBF(3, 3, centres=own)
    own[...] = 7
    layer.build((3,), np.float64)
    np.testing.assert_array_equal(layer.parameters["w"], np.eye(3))


# --- descriptions -----------------------------------------------------------------------------


def test_older_descriptions_have_no_multiplier():
    config = Subsample2D(3, reduction="mean", name="S2").config()
    assert config.pop("multiplier") == 1
    layer = layers.from_config(config)
    assert (layer.channels, layer.reduction, layer.multiplier) == (3, "mean", 1)


@CASES
def test_config_survives_json(case, rng):
    layer, x = built(case, rng)
    twin = layers.from_config(
        json.loads(json.dumps(layer.config(), allow_nan=False)) | {"name": "T"}
    )
    assert type(twin) is type(layer)
    assert twin.name == "T"
    assert twin.config() | {"name": ""} == layer.config()
    twin.build(x.shape[1:], np.float64)
    for name, array in layer.parameters.items():
        twin.parameters[name][...] = array
    np.testing.assert_array_equal(twin.forward(x), layer.forward(x))


GOOD = Conv2D(4, 3, 3, connections=TABLE, name="C3").config()


@pytest.mark.parametrize(
    "config",
    [
        *(None, [], "Conv2D", 1, {}),
        *({"type": "Conv3D"}, {"type": ["Conv2D"]}, {"type": "Layer"}, {"type": "__init__"}),
        {key: value for key, value in GOOD.items() if key != "stride"},
        GOOD | {"trainable": False},
        GOOD | {1: 2},
        *(GOOD | {"name": name} for name in (3, "", "../x", "x" * 65, ["C3"])),
        *(GOOD | {"c_in": size} for size in (-1, 0, 2.0, "4", None, True, 2**40, 10**400)),
        *(GOOD | {"kernel": kernel} for kernel in ([3], [3, 3, 3], [[3], 3], "33", {}, [3, True])),
        *(GOOD | {"padding": padding} for padding in ([1, 2, 3], -1, 2**31, [0, 0, 0, 0.0])),
        *(GOOD | {"pad_value": value} for value in ("0", math.nan, math.inf, None, True)),
        *(GOOD | {"bias": bias} for bias in ("both", 0, True, ["map"])),
        *(GOOD | {"algorithm": algorithm} for algorithm in (None, "fastest", [])),
        *(
            GOOD | {"connections": links}
            for links in (
                *([], {}, 1, "table", [1, 0, 1], [[1, 0, 1, 0]] * 2, [[1, 0, 1]] * 3),
                *([[1, 0, 1, 2]] * 3, [[1, 0, 1, 0.0]] * 3, [["1", 0, 1, 0]] * 3),
                *([[0, 0, 0, 0]] * 3, [[1, 0, 1, [0]]] * 3, [[1, 0, 1, None]] * 3),
            )
        ),
        RBF().config() | {"centres": [[0.0]]},
        RBF().config() | {"n_in": 83},
        {"type": "ReLU", "name": "R", "slope": 0.1},
        {"type": "Dense", "name": "D", "n_in": 1, "n_out": 2**31},
    ],
)
def test_from_config_trusts_nothing(config):
    with pytest.raises(ValueError, match=r".+: expected .+, got "):
        layers.from_config(config)


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_says_the_call_that_creates_it(case):
    layer = LAYERS[case][0]()
    layer.name = "C1"
    if getattr(layer, "table", None) is not None:
        assert "connections=<7 of 12 links>" in repr(layer)
        return
    again = eval(repr(layer), vars(layers))
    assert again.config() | {"name": "C1"} == layer.config()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2D(1, 6), "Conv2D(1, 6, 5)"),
        (Conv2D(1, 6, 2, stride=2, padding=1, name="C1"), None),
        (Conv2D(1, 2, (3, 2), padding=(1, 1, 2, 2), bias=None), None),
        (MaxPool2D(2, 2), "MaxPool2D(2)"),
        (MaxPool2D(3, 2), None),
        (MaxPool2D(2, ties="all"), "MaxPool2D(2, ties='all')"),
        (AvgPool2D((2, 3)), None),
        (Subsample2D(4, 2, multiplier=2, name="S2"), None),
        (Dense(120, 84, name="F6"), None),
        (RBF(), "RBF(84, 10)"),
        (Dropout(0.25), None),
        (layers.LeakyReLU(0.2), "LeakyReLU(slope=0.2)"),
        (Tanh(), None),
    ],
    ids=repr,
)
def test_a_layer_says_what_is_not_usual(layer, text):
    if text is None:
        again = eval(repr(layer), vars(layers))
        assert again.config() == layer.config()
    else:
        assert repr(layer) == text


def test_ties_are_written_only_if_chosen(rng, dtype):
    """A file without them is read, and other versions can read a file that does not need them."""
    plain, every = MaxPool2D(2, name="S2"), MaxPool2D(2, ties="all", name="S2")
    assert list(plain.config()) == ["type", "name", "kernel", "stride"]
    assert layers.from_config(plain.config()).ties == "first"
    assert every.config() == {**plain.config(), "ties": "all"}
    assert layers.from_config(every.config()).ties == "all"
    with pytest.raises(ValueError, match="ties: expected one of first, all"):
        layers.from_config({**plain.config(), "ties": "none"})

    x = rng.integers(0, 3, (3, 2, 5, 7)).astype(dtype)  # few values: many ties
    for kernel, stride in ((2, 2), (3, 2)):
        dy = rng.integers(-4, 5, MaxPool2D(kernel, stride).forward(x).shape).astype(dtype)
        for ties in ("first", "all"):
            layer = MaxPool2D(kernel, stride, ties=ties)
            y, dx = max_pool_by_definition(x, dy, kernel, stride, ties)
            np.testing.assert_array_equal(layer.forward(x), y)
            np.testing.assert_array_equal(layer.backward(dy, x, y)[0], dx)
            np.testing.assert_array_equal(layer.hessian(dy, None, x, y)[0], dx)


def test_layers_go_through_ops(rng, backend):
    # A spot check that options reach the operations and are not only kept.
    layer, x = built("conv, all options", rng)
    expected = ops.conv2d(
        x,
        layer.parameters["w"],
        layer.parameters["b"],
        stride=(2, 1),
        padding=(1, 2, 0, 1),
        dilation=(1, 2),
        groups=2,
        pad_value=-0.5,
        algorithm="im2col",
        backend=backend,
    )
    np.testing.assert_array_equal(layer.forward(x, backend), expected)
    layer, x = built("sub-sampling, mean", rng)
    expected = ops.subsample2d(
        x, *layer.parameters.values(), kernel=3, stride=2, reduction="mean", backend=backend
    )
    np.testing.assert_array_equal(layer.forward(x, backend), expected)
