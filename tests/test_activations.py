"""Activations in every backend: units in the last place, saturation, slopes, NaN."""

from __future__ import annotations

import decimal
import functools
import math

import numpy as np
import pytest
from helpers import assert_within, complains, normal, require, slopes

from lenet_fast import layers, ops

# By what `activation=` takes: each as it is, and with other options.
CHOICES = (*layers.ACTIVATIONS, "leaky_relu:0.3", "elu:1.7", "gelu:tanh")
LAYERS = {name: layers.activation("activation", name) for name in CHOICES}
FUNCTIONS = {
    name: tuple(functools.partial(run, **layer.arguments) for run in layer.operations)
    for name, layer in LAYERS.items()
}
SMOOTH = ("scaled_tanh", "tanh", "sigmoid", "elu", "elu:1.7", "gelu", "gelu:tanh")
LIMITS = {
    "scaled_tanh": (-1.7159, 1.7159),
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "relu": (0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "leaky_relu:0.3": (-np.inf, np.inf),
    "elu": (-1, np.inf),
    "elu:1.7": (-1.7, np.inf),
    "gelu": (0, np.inf),  # on either side; the least is -0.17
    "gelu:tanh": (0, np.inf),
}
# Units in the last place, for both dtypes. scaled_tanh rounds its argument and its amplitude, too.
ULPS = {
    "tanh": 3,
    "sigmoid": 5,
    "scaled_tanh": 5,
    "elu": 4,
    "elu:1.7": 4,
    "gelu": 5,
    "gelu:tanh": 5,
}
# The worst in one backend or another: of some ten million arguments each, then of all of float32.
HARD = (
    *(-0.22050884077128408, -4.150514125823975, -4.849466567883434, 0.21972917539140302),
    *(0.20505844056606293, 0.11339520663022995, -3.4392659664154053, -0.28668200969696045),
)


def seen(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what the slope is taken from."""
    return x if LAYERS[name].needs_input else y


def units(name: str, x: np.ndarray) -> np.ndarray:
    """Return the units in the last place that are allowed: those of GELU grow on the left."""
    wide = x.astype(np.float64)
    grows = name.startswith("gelu") & (x < 0)
    return ULPS[name] * np.where(grows, 1 + wide * wide, 1)


# --- forward: exact to a few units in the last place  ---


def _tanh(x: decimal.Decimal) -> decimal.Decimal:
    if abs(x) < decimal.Decimal("1e-8"):
        return x - x**3 / 3  # the next term is 2 x^5 / 15: below 1e-32 of x
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


def _elu(x: decimal.Decimal, alpha: str) -> decimal.Decimal:
    if x > 0:
        return x
    small = abs(x) < decimal.Decimal("1e-8")  # the next term is x^4 / 24
    return decimal.Decimal(alpha) * (x + x**2 / 2 + x**3 / 6 if small else x.exp() - 1)


PI = decimal.Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534"
)


def _gelu(x: decimal.Decimal) -> decimal.Decimal:
    """Return x Phi(x), whose integral is a series (Abramowitz and Stegun, 26.2.11)."""
    term = total = x
    n = 1
    while abs(term) > decimal.Decimal("1e-80"):
        n += 2
        term *= x * x / n
        total += term
    return x * (decimal.Decimal("0.5") + total * (-x * x / 2).exp() / (2 * PI).sqrt())


def _gelu_tanh(x: decimal.Decimal) -> decimal.Decimal:
    return x / (1 + (-(8 / PI).sqrt() * (x + decimal.Decimal("0.044715") * x**3)).exp())


EXACT = {
    "tanh": _tanh,
    "scaled_tanh": lambda x: decimal.Decimal("1.7159") * _tanh(2 * x / 3),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "elu": lambda x: _elu(x, "1"),
    "elu:1.7": lambda x: _elu(x, "1.7"),
    "gelu": _gelu,
    "gelu:tanh": _gelu_tanh,
}
# Where they are no normal numbers any more in float32, or soon will be.
LOWEST = {"gelu": -12.5, "gelu:tanh": -7.2}


@functools.cache
def points(name: str, dtype: np.dtype) -> tuple[np.ndarray, tuple[decimal.Decimal, ...]]:
    """Return arguments over the whole range, and the function there to 40 digits."""
    info = np.finfo(dtype)
    # Below its lower end sigmoid is no normal number any more.
    lowest = float(np.log(info.tiny)) + 1 if name == "sigmoid" else LOWEST.get(name, -30.0)
    tiny = np.geomspace(float(info.tiny) * 8, 1.0, 400)
    x = np.concatenate(
        [np.linspace(-4, 4, 1601), np.linspace(lowest, 30, 800), tiny, -tiny, HARD, [0.0]]
    ).astype(dtype)
    with decimal.localcontext(prec=90, Emin=-99999, Emax=99999):
        return x, tuple(EXACT[name](decimal.Decimal(float(value))) for value in x)


@pytest.mark.parametrize("name", SMOOTH)
def test_within_some_units_in_the_last_place(backend, dtype, name):
    x, exact = points(name, dtype)
    y = FUNCTIONS[name][0](x, backend=backend)
    rounded = np.array([float(value) for value in exact]).astype(dtype)
    unit = np.spacing(np.abs(rounded)).astype(np.float64)
    error = np.array([float(decimal.Decimal(float(a)) - b) for a, b in zip(y, exact, strict=True)])
    allowed = units(name, x)
    worst = int(np.argmax(np.abs(error) / unit / allowed))
    assert abs(error[worst]) <= allowed[worst] * unit[worst], (
        f"{name}({x[worst]!r}) = {y[worst]!r}, off by {error[worst] / unit[worst]:.2f} units"
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_many_float32_arguments(backend, name):
    """The same bound on a fine grid, with NumPy's float64 as judge (checked above)."""
    x = np.linspace(LOWEST.get(name, -20), 20, 200_003).astype(np.float32)
    y = FUNCTIONS[name][0](x, backend=backend)
    exact = FUNCTIONS[name][0](x.astype(np.float64), backend="numpy")
    bound = units(name, x) * np.spacing(np.abs(exact).astype(np.float32))
    assert_within(y, exact, bound, np.float32)


def test_scaled_tanh_is_the_papers(backend, dtype):
    """f(1) = 1 and f(-1) = -1 to four digits; slope 1.1439 at zero."""
    x = np.array([-1, 0, 1], dtype)
    y = ops.scaled_tanh(x, backend=backend)
    assert_within(y, [-1, 0, 1], 1e-4, dtype)
    dx = ops.scaled_tanh_backward(np.ones_like(y), y, backend=backend)
    assert_within(dx[1:2], [1.7159 * 2 / 3], 1e-6, dtype)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_saturates_without_overflow(backend, dtype, name):
    largest = float(np.finfo(dtype).max)
    x = np.array([50, 1e3, 1e30, largest, np.inf], dtype)
    low, high = LIMITS[name]
    forward = FUNCTIONS[name][0]
    expected = x.astype(np.float64) if high == np.inf else np.full(5, high)
    assert_within(forward(x, backend=backend), expected, 1.8 * np.finfo(dtype).eps, dtype)
    x = np.array([-800, -1e30, -largest, -np.inf], dtype)
    below = forward(x, backend=backend)
    bound = np.finfo(dtype).tiny if name == "sigmoid" else 1.8 * np.finfo(dtype).eps
    if low == -np.inf:
        expected = dtype.type(LAYERS[name].option) * x
        assert_within(below[:3], expected[:3], bound * np.abs(expected[:3]), dtype)
        assert below[3] == -np.inf
    else:
        assert_within(below, np.full(4, low), bound, dtype)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_saturate_without_overflow(backend, dtype, name):
    """At both ends, infinity included, a slope is that of the line which the function nears."""
    x = np.array([-np.inf, np.finfo(dtype).min, -1e4, -50, 50, 1e4, np.finfo(dtype).max, np.inf])
    x = x.astype(dtype)
    forward, backward, hessian = FUNCTIONS[name]
    there = seen(name, x, forward(x, backend=backend))
    low, high = LIMITS[name]
    left = LAYERS[name].option if low == -np.inf else 0.0
    expected = np.repeat([left, 1.0 if high == np.inf else 0.0], 4)
    for run, power in ((backward, 1), (hessian, 2)):
        slope = run(np.ones_like(x), there, backend=backend)
        assert_within(slope, expected**power, 4 * np.finfo(dtype).eps, dtype)


@pytest.mark.parametrize("name", ["scaled_tanh", "tanh", "sigmoid", "elu", "elu:1.7"])
def test_never_leaves_its_range_so_no_slope_is_negative(backend, dtype, name):
    low, high = LIMITS[name]
    x = np.linspace(-40, 40, 4001).astype(dtype)
    forward, backward, hessian = FUNCTIONS[name]
    y = forward(x, backend=backend)
    assert y.min() >= dtype.type(low)
    assert y.max() <= dtype.type(high)
    one = np.ones_like(y)
    assert backward(one, y, backend=backend).min() >= -np.finfo(dtype).eps
    assert hessian(one, y, backend=backend).min() >= 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_goes_in_and_comes_out(backend, dtype, name):
    """At every position of a vector: a clamp by min and max may lose a NaN in some lanes."""
    forward, backward, hessian = FUNCTIONS[name]
    for at in range(19):
        x = np.linspace(-1, 1, 19).astype(dtype)
        clean = forward(x, backend=backend)
        x[at] = np.nan
        y = forward(x, backend=backend)
        assert np.isnan(y[at])
        others = np.arange(19) != at
        np.testing.assert_array_equal(y[others], clean[others])
        for run in (backward, hessian):
            dx = run(np.ones_like(y), seen(name, x, y), backend=backend)
            assert np.isnan(dx[at]), run
            assert np.isfinite(dx[others]).all()
            positive = np.full(19, 0.5, dtype)
            assert np.isnan(run(x, positive, backend=backend)[at]), run


def test_relu_is_exact(backend, dtype):
    info = np.finfo(dtype)
    x = np.array([-np.inf, -1, -info.tiny, -0.0, 0.0, info.tiny, 2.5, np.inf], dtype)
    y = ops.relu(x, backend=backend)
    assert_within(y, [0, 0, 0, 0, 0, info.tiny, 2.5, np.inf], 0.0, dtype)
    dy = np.arange(1, 9, dtype=dtype)
    for run in (ops.relu_backward, ops.relu_hessian):
        assert_within(run(dy, y, backend=backend), [0, 0, 0, 0, 0, 6, 7, 8], 0.0, dtype)


def test_slope_of_relu_is_told_by_the_sign_of_any_y(backend, dtype):
    """Also for a y that no ReLU puts out, such as x in its place; and no zero is negative."""
    y = np.array([-np.inf, np.finfo(dtype).min, -1, -0.0, 0.0, 1, np.inf, np.nan], dtype)
    assert list(np.signbit(ops.relu(y, backend=backend)[:7])) == [False] * 3 + [True] + [False] * 3
    for run in (ops.relu_backward, ops.relu_hessian):
        for value in (3, -3, np.inf):
            dx = run(np.full_like(y, value), y, backend=backend)
            np.testing.assert_array_equal(dx, [0, 0, 0, 0, 0, value, value, np.nan])
            assert not np.signbit(dx[:5]).any()


def test_leaky_relu_is_exact(backend, dtype):
    info = np.finfo(dtype)
    x = np.array([-np.inf, -8, -info.tiny, -0.0, 0.0, info.tiny, 2.5, np.inf], dtype)
    y = ops.leaky_relu(x, slope=0.25, backend=backend)
    assert_within(y, [-np.inf, -2, -info.tiny / 4, 0, 0, info.tiny, 2.5, np.inf], 0.0, dtype)
    dy = np.arange(1, 9, dtype=dtype)
    for known in (x, y):  # of the same sign
        dx = ops.leaky_relu_backward(dy, known, slope=0.25, backend=backend)
        assert_within(dx, [0.25, 0.5, 0.75, 1, 1.25, 6, 7, 8], 0.0, dtype)
        hx = ops.leaky_relu_hessian(dy, known, slope=0.25, backend=backend)
        assert_within(hx, [1 / 16, 2 / 16, 3 / 16, 4 / 16, 5 / 16, 6, 7, 8], 0.0, dtype)


def test_gelu_by_hand(backend, dtype):
    """Of a normal distribution, 84.13 % lie below one standard deviation, 97.72 % below two."""
    x = np.array([-2, -1, 0, 1, 2], dtype)
    y = ops.gelu(x, backend=backend)
    assert_within(y, [-2 * 0.0227501, -0.1586553, 0, 0.8413447, 2 * 0.9772499], 2e-7, dtype)
    near = ops.gelu(x, approximate="tanh", backend=backend)
    assert 1e-5 < np.abs(near - y).max() < 5e-4
    dx = ops.gelu_backward(np.ones_like(x), x, backend=backend)
    assert_within(dx[2:4], [0.5, 0.8413447 + 0.2419707], 2e-7, dtype)


def test_leaky_relu_without_a_slope_is_relu(backend, dtype, rng):
    x, dy = normal(rng, 61, dtype=dtype), normal(rng, 61, dtype=dtype)
    y = ops.leaky_relu(x, slope=0, backend=backend)
    np.testing.assert_array_equal(y, ops.relu(x, backend=backend))
    for name in ("backward", "hessian"):
        found = getattr(ops, f"leaky_relu_{name}")(dy, y, slope=0, backend=backend)
        expected = getattr(ops, f"relu_{name}")(dy, y, backend=backend)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", ["", "_backward", "_hessian"])
def test_options_that_are_refused(suffix):
    x = np.ones(3)
    given = (x,) if suffix == "" else (x, x)
    leaky_relu, elu, gelu = (
        getattr(ops, f"{name}{suffix}") for name in ("leaky_relu", "elu", "gelu")
    )
    for slope in (-0.1, np.nan, np.inf, 1e39):
        with complains("slope", ValueError, got=str(slope)):
            leaky_relu(*given, slope=slope)
    for alpha in (0, -1.5, np.nan):
        with complains("alpha", ValueError, got=str(alpha)):
            elu(*given, alpha=alpha)
    with complains("approximate", ValueError, about="none, tanh", got="erf"):
        gelu(*given, approximate="erf")
    with complains("approximate", TypeError, about="none, tanh", got="bool"):
        gelu(*given, approximate=True)
    with complains("slope", TypeError, about="number", got="0.2"):
        leaky_relu(*given, slope="0.2")


# --- backward and Hessian  ---


_normal = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[np.float64])


def _gelu_tanh_slope(x: np.ndarray) -> np.ndarray:
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return (1 + t + x * (1 - t**2) * inner) / 2


SLOPES = {  # of the output; of GELU, of the input
    "scaled_tanh": lambda y: 2 / 3 * (1.7159 - y**2 / 1.7159),
    "tanh": lambda y: 1 - y**2,
    "sigmoid": lambda y: y * (1 - y),
    "relu": lambda y: (y > 0).astype(np.float64),
    "leaky_relu": lambda y: np.where(y > 0, 1, 0.01),
    "leaky_relu:0.3": lambda y: np.where(y > 0, 1, 0.3),
    "elu": lambda y: np.where(y > 0, 1, y + 1),
    "elu:1.7": lambda y: np.where(y > 0, 1, y + 1.7),
    "gelu": lambda x: _normal(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gelu:tanh": _gelu_tanh_slope,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_by_their_formulas(backend, dtype, rng, name):
    """Of the output, or of GELU's input."""
    low, high = (-3.0, 3.0) if LAYERS[name].needs_input else LIMITS[name]
    _, backward, hessian = FUNCTIONS[name]
    y = rng.uniform(max(low, -3.0), min(high, 3.0), 1003).astype(dtype)
    dy = normal(rng, y.size, dtype=dtype)
    slope = SLOPES[name](y.astype(np.float64))
    # Each slope is a difference of numbers below 2: a few roundings of that size.
    rounding = 8 * np.finfo(dtype).eps
    wide = dy.astype(np.float64)
    assert_within(backward(dy, y, backend=backend), slope * wide, rounding * np.abs(wide), dtype)
    expected = slope**2 * wide
    assert_within(hessian(dy, y, backend=backend), expected, 3 * rounding * np.abs(wide), dtype)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_against_differences(backend, name):
    """Slopes are those of the function; the Hessian drops the term in f''."""
    forward, backward, hessian = FUNCTIONS[name]
    x = np.linspace(-3.05, 3, 30)
    assert np.abs(x).min() > 0.01, "relu has no slope at zero"
    g = np.linspace(1, 2, 30)
    y = forward(x, backend=backend)
    slope = slopes(lambda moved: float(forward(moved, backend=backend).sum()), x)
    known = seen(name, x, y)
    assert_within(backward(g, known, backend=backend), g * slope, 1e-10)
    assert_within(hessian(g, known, backend=backend), g * slope**2, 1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (3, 0, 2), (2, 3, 5, 7)])
def test_any_shape(backend, dtype, rng, name, shape):
    x = normal(rng, *shape, dtype=dtype)
    g = normal(rng, *shape, dtype=dtype)
    forward, backward, hessian = FUNCTIONS[name]
    y = forward(x, backend=backend)
    wide = x.astype(np.float64).reshape(-1)
    exact = forward(wide, backend="numpy").reshape(shape)
    share = (8 if LAYERS[name].needs_input else 4) * np.finfo(dtype).eps
    assert_within(y, exact, share * np.abs(exact) * (1 + (x < 0) * x * x), dtype, "y")
    known = seen(name, x, y)
    slope = SLOPES[name](known.astype(np.float64)) if known.size else known
    rounding = 24 * np.finfo(dtype).eps
    wide = g.astype(np.float64)
    for run, factor in ((backward, slope), (hessian, slope**2)):
        bound = rounding * np.abs(wide)
        assert_within(run(g, known, backend=backend), factor * wide, bound, dtype, str(run))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_length_up_to_some_vectors(backend, dtype, rng, name):
    """The rest behind the last full vector gets its own care: each length, nothing written past."""
    forward, backward, hessian = FUNCTIONS[name]
    x, g = normal(rng, 70, dtype=dtype), normal(rng, 70, dtype=dtype)
    whole = forward(x, backend=backend)
    known = seen(name, x, whole)
    slope = backward(g, known, backend=backend)
    second = hessian(g, known, backend=backend)
    close = 4 * np.finfo(dtype).eps
    for length in range(1, 70):
        part = slice(0, length)
        for run, arguments, right in (
            (forward, (x[part],), whole),
            (backward, (g[part], known[part]), slope),
            (hessian, (g[part], known[part]), second),
        ):
            wall = np.full(length + 40, 123, dtype)
            run(*arguments, backend=backend, out=wall[20 : 20 + length])
            bound = close * np.abs(right[part])
            if LAYERS[name].needs_input:  # the loop for what is left over may round otherwise
                bound = close * np.maximum(np.abs(right[part]), 1)
            assert_within(wall[20 : 20 + length], right[part], bound, dtype)
            assert (wall[:20] == 123).all()
            assert (wall[20 + length :] == 123).all()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "scaled_tanh"])
def test_agrees_with_pytorch(backend, dtype, rng, name):
    torch = require("torch")
    x, dy = 3 * normal(rng, 501, dtype=dtype), normal(rng, 501, dtype=dtype)
    x[7] = 0  # where a slope may be that of either side
    tx = torch.tensor(x, requires_grad=True)
    values = tuple(LAYERS[name].arguments.values())
    arguments = {"approximate": values[0]} if name.startswith("gelu") else values
    run = getattr(torch.nn.functional, name.partition(":")[0])
    ty = run(tx, **arguments) if isinstance(arguments, dict) else run(tx, *arguments)
    ty.backward(torch.tensor(dy))
    forward, backward, _ = FUNCTIONS[name]
    y = forward(x, backend=backend)
    eps = np.finfo(dtype).eps
    # PyTorch adds 1 to the erf or tanh in GELU, and so is exact to units of 1 alone.
    scale = np.abs(x) if LAYERS[name].needs_input else np.abs(y)
    assert_within(y, ty.detach().numpy(), 8 * eps * scale, dtype)
    found = backward(dy, seen(name, x, y), backend=backend)
    share = 64 if name == "gelu:tanh" else 16  # its 1 - tanh^2 cancels
    assert_within(found, tx.grad.numpy(), share * eps * np.abs(dy), dtype)
