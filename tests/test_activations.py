"""Squashing functions in every backend: units in the last place, saturation, slopes, NaN."""

from __future__ import annotations

import decimal
import functools

import numpy as np
import pytest
from helpers import assert_within, normal, require, slopes

from lenet_fast import ops

FUNCTIONS = {
    name: tuple(getattr(ops, name + suffix) for suffix in ("", "_backward", "_hessian"))
    for name in ("scaled_tanh", "tanh", "sigmoid", "relu")
}
SMOOTH = ("scaled_tanh", "tanh", "sigmoid")
LIMITS = {"scaled_tanh": (-1.7159, 1.7159), "tanh": (-1, 1), "sigmoid": (0, 1), "relu": (0, np.inf)}
# Units in the last place, for both dtypes. scaled_tanh rounds its argument and its amplitude, too.
ULPS = {"tanh": 3, "sigmoid": 5, "scaled_tanh": 5}
# The worst of some ten million arguments each, in one backend or another: up to 2.6, 4.3 and 4.2.
HARD = (-0.22050884077128408, -4.150514125823975, -4.849466567883434, 0.21972917539140302)


# --- forward: exact to a few units in the last place  ---


def _tanh(x: decimal.Decimal) -> decimal.Decimal:
    if abs(x) < decimal.Decimal("1e-8"):
        return x - x**3 / 3  # the next term is 2 x^5 / 15: below 1e-32 of x
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


EXACT = {
    "tanh": _tanh,
    "scaled_tanh": lambda x: decimal.Decimal("1.7159") * _tanh(2 * x / 3),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}


@functools.cache
def points(name: str, dtype: np.dtype) -> tuple[np.ndarray, tuple[decimal.Decimal, ...]]:
    """Return arguments over the whole range, and the function there to 50 digits."""
    info = np.finfo(dtype)
    # Below its lower end sigmoid is no normal number any more.
    lowest = float(np.log(info.tiny)) + 1 if name == "sigmoid" else -30.0
    tiny = np.geomspace(float(info.tiny) * 8, 1.0, 400)
    x = np.concatenate(
        [np.linspace(-4, 4, 1601), np.linspace(lowest, 30, 800), tiny, -tiny, HARD, [0.0]]
    ).astype(dtype)
    with decimal.localcontext(prec=50, Emin=-99999, Emax=99999):
        return x, tuple(EXACT[name](decimal.Decimal(float(value))) for value in x)


@pytest.mark.parametrize("name", SMOOTH)
def test_within_some_units_in_the_last_place(backend, dtype, name):
    x, exact = points(name, dtype)
    y = FUNCTIONS[name][0](x, backend=backend)
    rounded = np.array([float(value) for value in exact]).astype(dtype)
    unit = np.spacing(np.abs(rounded)).astype(np.float64)
    error = np.array([float(decimal.Decimal(float(a)) - b) for a, b in zip(y, exact, strict=True)])
    worst = int(np.argmax(np.abs(error) / unit))
    assert abs(error[worst]) <= ULPS[name] * unit[worst], (
        f"{name}({x[worst]!r}) = {y[worst]!r}, off by {error[worst] / unit[worst]:.2f} units"
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_many_float32_arguments(backend, name):
    """The same bound on a fine grid, with NumPy's float64 as judge (checked above)."""
    x = np.linspace(-20, 20, 200_003).astype(np.float32)
    y = FUNCTIONS[name][0](x, backend=backend)
    exact = FUNCTIONS[name][0](x.astype(np.float64), backend="numpy")
    assert_within(y, exact, ULPS[name] * np.spacing(np.abs(exact).astype(np.float32)), np.float32)


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
    expected = x.astype(np.float64) if name == "relu" else np.full(5, high)
    assert_within(forward(x, backend=backend), expected, 1.8 * np.finfo(dtype).eps, dtype)
    below = forward(np.array([-800, -1e30, -largest, -np.inf], dtype), backend=backend)
    bound = np.finfo(dtype).tiny if name == "sigmoid" else 1.8 * np.finfo(dtype).eps
    assert_within(below, np.full(4, low), bound, dtype)


@pytest.mark.parametrize("name", SMOOTH)
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
            dx = run(np.ones_like(y), y, backend=backend)
            assert np.isnan(dx[at]), run.__name__
            assert np.isfinite(dx[others]).all()
            positive = np.full(19, 0.5, dtype)
            assert np.isnan(run(x, positive, backend=backend)[at]), run.__name__


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


# --- backward and Hessian  ---


SLOPES = {
    "scaled_tanh": lambda y: 2 / 3 * (1.7159 - y**2 / 1.7159),
    "tanh": lambda y: 1 - y**2,
    "sigmoid": lambda y: y * (1 - y),
    "relu": lambda y: (y > 0).astype(np.float64),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_from_the_output(backend, dtype, rng, name):
    low, high = LIMITS[name]
    _, backward, hessian = FUNCTIONS[name]
    y = rng.uniform(low, min(high, 3.0), 1003).astype(dtype)
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
    """Slopes taken from the output are those of the function; the Hessian drops the term in f''."""
    forward, backward, hessian = FUNCTIONS[name]
    x = np.linspace(-3.05, 3, 30)
    assert np.abs(x).min() > 0.01, "relu has no slope at zero"
    g = np.linspace(1, 2, 30)
    y = forward(x, backend=backend)
    slope = slopes(lambda moved: float(forward(moved, backend=backend).sum()), x)
    assert_within(backward(g, y, backend=backend), g * slope, 1e-10)
    assert_within(hessian(g, y, backend=backend), g * slope**2, 1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (17,), (3, 0, 2), (2, 3, 5, 7)])
def test_any_shape(backend, dtype, rng, name, shape):
    x = normal(rng, *shape, dtype=dtype)
    g = normal(rng, *shape, dtype=dtype)
    forward, backward, hessian = FUNCTIONS[name]
    y = forward(x, backend=backend)
    wide = x.astype(np.float64).reshape(-1)
    exact = forward(wide, backend="numpy").reshape(shape)
    assert_within(y, exact, 4 * np.finfo(dtype).eps * np.abs(exact), dtype, "y")
    slope = SLOPES[name](y.astype(np.float64))
    rounding = 24 * np.finfo(dtype).eps
    wide = g.astype(np.float64)
    for run, factor in ((backward, slope), (hessian, slope**2)):
        bound = rounding * np.abs(wide)
        assert_within(run(g, y, backend=backend), factor * wide, bound, dtype, run.__name__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_length_up_to_some_vectors(backend, dtype, rng, name):
    """The rest behind the last full vector gets its own care: each length, nothing written past."""
    forward, backward, hessian = FUNCTIONS[name]
    x, g = normal(rng, 70, dtype=dtype), normal(rng, 70, dtype=dtype)
    whole = forward(x, backend=backend)
    slope = backward(g, whole, backend=backend)
    second = hessian(g, whole, backend=backend)
    close = 4 * np.finfo(dtype).eps
    for length in range(1, 70):
        part = slice(0, length)
        for run, arguments, right in (
            (forward, (x[part],), whole),
            (backward, (g[part], whole[part]), slope),
            (hessian, (g[part], whole[part]), second),
        ):
            wall = np.full(length + 40, 123, dtype)
            run(*arguments, backend=backend, out=wall[20 : 20 + length])
            assert_within(wall[20 : 20 + length], right[part], close * np.abs(right[part]), dtype)
            assert (wall[:20] == 123).all()
            assert (wall[20 + length :] == 123).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu"])
def test_agrees_with_pytorch(backend, dtype, rng, name):
    torch = require("torch")
    x, dy = 3 * normal(rng, 501, dtype=dtype), normal(rng, 501, dtype=dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = getattr(torch, name)(tx)
    ty.backward(torch.tensor(dy))
    forward, backward, _ = FUNCTIONS[name]
    y = forward(x, backend=backend)
    eps = np.finfo(dtype).eps
    assert_within(y, ty.detach().numpy(), 8 * eps * np.abs(y), dtype)
    found = backward(dy, y, backend=backend)
    assert_within(found, tx.grad.numpy(), 16 * eps * np.abs(dy), dtype)
