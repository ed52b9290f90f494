"""Max and average pooling in every backend: definition, ties and NaN, differences, PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    assert_summed,
    assert_within,
    complains,
    curvatures,
    max_pool_by_definition,
    normal,
    require,
    slopes,
    subsample_by_definition,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_fast import ops


@st.composite
def cases(draw):
    """Draw an image's shape, a kernel that fits it, and strides: overlapping, tiling, with gaps."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = tuple(taps + draw(st.integers(0, 5)) for taps in kernel)
    stride = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), None, (2, 3), (4, 1), (3, 4)]))
    n, c = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return (n, c, *size), kernel, stride, draw(st.integers(0, 2**16))


def ones(c):
    return np.ones(c), np.zeros(c)


# --- max  ---


@given(case=cases())
def test_max_agrees_with_the_definition(case, backend, dtype):
    shape, kernel, stride, seed = case
    rng = np.random.default_rng(seed)
    # Whole numbers: many ties, and sums of gradients that are exact.
    x = rng.integers(-2, 3, shape).astype(dtype)
    y_shape, _ = windows(shape, kernel, stride)
    dy = rng.integers(-9, 10, y_shape).astype(dtype)
    how = {"kernel": kernel, "stride": stride, "backend": backend}
    for ties in ("first", "all"):
        y, dx = max_pool_by_definition(x, dy, kernel, stride, ties)
        assert_within(ops.max_pool2d(x, **how), y, 0.0, dtype, "y")
        assert_within(ops.max_pool2d_backward(dy, x, ties=ties, **how), dx, 0.0, dtype, "dx")
        assert_within(ops.max_pool2d_hessian(dy, x, ties=ties, **how), dx, 0.0, dtype, "hx")


def test_first_of_equal_maxima_in_scan_order_wins(backend, dtype):
    x = np.array([[[[1, 7], [7, 7]], [[0, 0], [0, 0]], [[2, 3], [9, 9]]]], dtype)
    dy = np.array([[[[5]], [[6]], [[4]]]], dtype)
    expected = [[[[0, 5], [0, 0]], [[6, 0], [0, 0]], [[0, 0], [4, 0]]]]
    assert_within(ops.max_pool2d(x, backend=backend), [[[[7]], [[0]], [[9]]]], 0.0, dtype)
    assert_within(ops.max_pool2d_backward(dy, x, backend=backend), expected, 0.0, dtype)
    assert_within(ops.max_pool2d_hessian(dy, x, backend=backend), expected, 0.0, dtype)


def test_all_equal_maxima_win_if_asked(backend, dtype):
    nan = np.nan
    x = np.array(
        [[[[1, 7], [7, 7]], [[0, -0.0], [-1, 0]], [[2, 3], [9, 9]], [[nan, 1]] * 2]], dtype
    )
    dy = np.array([[[[5]], [[6]], [[4]], [[3]]]], dtype)
    expected = [[[[0, 5], [5, 5]], [[6, 6], [0, 6]], [[0, 0], [4, 4]], [[0, 0], [0, 0]]]]
    dx = ops.max_pool2d_backward(dy, x, ties="all", backend=backend)
    assert_within(dx, expected, 0.0, dtype)
    with complains("ties", about="first, all", got="last"):
        ops.max_pool2d_backward(dy, x, ties="last", backend=backend)


def test_winner_of_several_windows_gets_all_of_them(backend, dtype):
    x = np.array([[[[0, 1, 0], [2, 9, 3], [0, 4, 0]]]], dtype)
    dy = np.array([[[[1, 10], [100, 1000]]]], dtype)
    expected = np.zeros((1, 1, 3, 3))
    expected[0, 0, 1, 1] = 1111
    dx = ops.max_pool2d_backward(dy, x, kernel=2, stride=1, backend=backend)
    assert_within(dx, expected, 0.0, dtype)


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_window_of_equal_infinities(backend, dtype, value):
    """A running maximum that starts at -inf and asks for more never finds a winner here."""
    x = np.full((2, 1, 4, 4), value, dtype)
    dy = np.arange(1, 9, dtype=dtype).reshape(2, 1, 2, 2)
    expected = np.zeros(x.shape)
    expected[:, :, ::2, ::2] = dy
    assert_within(ops.max_pool2d(x, backend=backend), np.full(dy.shape, value), 0.0, dtype)
    assert_within(ops.max_pool2d_backward(dy, x, backend=backend), expected, 0.0, dtype)


@pytest.mark.parametrize("at", range(4))
def test_first_nan_is_the_largest(backend, dtype, at):
    x = np.array([[[[1, np.inf], [-np.inf, 2]]]], dtype)
    x.reshape(-1)[at] = np.nan
    dy = np.full((1, 1, 1, 1), 3, dtype)
    expected = np.zeros(4)
    expected[at] = 3
    expected = expected.reshape(x.shape)
    assert np.isnan(ops.max_pool2d(x, backend=backend)).all()
    assert_within(ops.max_pool2d_backward(dy, x, backend=backend), expected, 0.0, dtype)
    x.reshape(-1)[at:] = np.nan
    assert_within(ops.max_pool2d_backward(dy, x, backend=backend), expected, 0.0, dtype)


def test_max_of_images_agrees_with_the_reference(backend, dtype, rng):
    """Sizes past a vector's length, with and without a rest."""
    for shape, kernel, stride in (
        ((3, 6, 28, 28), 2, None),
        ((2, 3, 17, 37), (3, 2), 2),
        ((2, 2, 9, 40), 3, 1),
    ):
        x = normal(rng, *shape, dtype=dtype)
        how = {"kernel": kernel, "stride": stride}
        y = ops.max_pool2d(x, backend="numpy", **how)
        dy = rng.integers(-99, 100, y.shape).astype(dtype)
        assert_within(ops.max_pool2d(x, backend=backend, **how), y, 0.0, dtype, "y")
        for run in (ops.max_pool2d_backward, ops.max_pool2d_hessian):
            for ties in ("first", "all"):
                dx = run(dy, x, ties=ties, backend="numpy", **how)
                found = run(dy, x, ties=ties, backend=backend, **how)
                assert_within(found, dx, 0.0, dtype, run.__name__)


# --- average  ---


@given(case=cases())
def test_average_agrees_with_the_definition(case, backend, dtype):
    shape, kernel, stride, seed = case
    rng = np.random.default_rng(seed)
    x = normal(rng, *shape, dtype=dtype)
    y_shape, _ = windows(shape, kernel, stride)
    dy = normal(rng, *y_shape, dtype=dtype)
    taps = kernel[0] * kernel[1]
    how = {"kernel": kernel, "stride": stride, "backend": backend}

    def judge(x, dy, power=1):
        return subsample_by_definition(x, *ones(shape[1]), dy, kernel, stride, 1 / taps, power)[:2]

    y, dx = judge(x, dy)
    y_size, dx_size = judge(np.abs(x), np.abs(dy))
    assert_summed(ops.avg_pool2d(x, **how), y, y_size, taps, dtype, "y")
    assert_summed(ops.avg_pool2d_backward(dy, x, **how), dx, dx_size, taps, dtype, "dx")
    _, hx = judge(x, np.abs(dy), power=2)
    found = ops.avg_pool2d_hessian(np.abs(dy), x, **how)
    assert_summed(found, hx, hx, taps + 1, dtype, "hx")


def test_hessian_of_a_mean_of_four_takes_a_sixteenth(backend, dtype):
    x, hy = np.ones((1, 1, 2, 2), dtype), np.full((1, 1, 1, 1), 16, dtype)
    assert_within(ops.avg_pool2d_backward(hy, x, backend=backend), 4 * x, 0.0, dtype)
    assert_within(ops.avg_pool2d_hessian(hy, x, backend=backend), x, 0.0, dtype)


def test_average_of_images_agrees_with_the_reference(backend, dtype, rng):
    for shape, kernel, stride in (
        ((3, 6, 28, 28), 2, None),
        ((2, 3, 17, 37), (3, 2), 2),
        ((2, 2, 9, 40), 3, 1),
    ):
        x = normal(rng, *shape, dtype=dtype)
        how = {"kernel": kernel, "stride": stride}
        wide = x.astype(np.float64)
        y = ops.avg_pool2d(x, backend=backend, **how)
        plain = {**how, "backend": "numpy"}
        size = ops.avg_pool2d(np.abs(wide), **plain)
        assert_summed(y, ops.avg_pool2d(wide, **plain), size, 9, dtype, "y")
        dy = normal(rng, *y.shape, dtype=dtype)
        for run in (ops.avg_pool2d_backward, ops.avg_pool2d_hessian):
            expected = run(dy.astype(np.float64), wide, **plain)
            size = run(np.abs(dy).astype(np.float64), wide, **plain)
            assert_summed(run(dy, x, backend=backend, **how), expected, size, 10, dtype, "x")


# --- both  ---


POOLS = {
    "max": (ops.max_pool2d, ops.max_pool2d_backward, ops.max_pool2d_hessian),
    "average": (ops.avg_pool2d, ops.avg_pool2d_backward, ops.avg_pool2d_hessian),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("kernel", "stride"), [(2, None), ((3, 2), 1), (2, 3)])
def test_backward_and_hessian_against_differences(backend, rng, pool, kernel, stride):
    """With E = sum q (y - t)^2 / 2 both are exact, as long as no winner changes."""
    forward, backward, hessian = POOLS[pool]
    how = {"kernel": kernel, "stride": stride, "backend": backend}
    x = rng.permutation(2 * 5 * 5).reshape(1, 2, 5, 5) / 4.0  # no two closer than 1/4
    y = forward(x, **how)
    q, t = rng.random(y.shape) + 0.5, normal(rng, *y.shape)

    def error(x):
        return float((q * (forward(x, **how) - t) ** 2).sum() / 2)

    dx = backward(q * (y - t), x, **how)
    assert_within(dx, slopes(error, x, step=0.05), 1e-9)
    assert_within(hessian(q, x, **how), curvatures(error, x, step=0.05), 1e-7)


@pytest.mark.parametrize("pool", POOLS)
def test_pixels_that_no_window_sees_get_zero(backend, dtype, rng, pool):
    _, backward, hessian = POOLS[pool]
    x = normal(rng, 2, 2, 7, 8, dtype=dtype)
    for run in (backward, hessian):
        dx = run(np.ones((2, 2, 2, 2), dtype), x, kernel=2, stride=4, backend=backend)
        unseen = np.ones((7, 8), bool)
        for top in (0, 4):
            for left in (0, 4):
                unseen[top : top + 2, left : left + 2] = False
        assert (dx[:, :, unseen] == 0).all()
        assert dx.sum() > 0


@pytest.mark.parametrize("pool", POOLS)
def test_stride_larger_than_any_image(backend, dtype, rng, pool):
    forward, backward, _ = POOLS[pool]
    x = normal(rng, 1, 2, 3, 4, dtype=dtype)
    far = {"kernel": 2, "stride": 2**31 - 1, "backend": backend}
    y = forward(x, **far)
    np.testing.assert_array_equal(y, forward(x[:, :, :2, :2].copy(), kernel=2, backend=backend))
    dx = backward(np.ones_like(y), x, **far)
    assert dx[:, :, :2, :2].sum() == pytest.approx(2.0)
    assert not dx[:, :, 2:].any()
    assert not dx[:, :, :, 2:].any()


@pytest.mark.parametrize("pool", POOLS)
@given(case=cases())
@settings(max_examples=15)
def test_agrees_with_pytorch(case, backend, dtype, pool):
    torch = require("torch")
    shape, kernel, stride, seed = case
    rng = np.random.default_rng(seed)
    x = normal(rng, *shape, dtype=dtype)
    forward, backward, _ = POOLS[pool]
    how = {"kernel": kernel, "stride": stride, "backend": backend}
    y = forward(x, **how)
    dy = normal(rng, *y.shape, dtype=dtype)
    tx = torch.tensor(x, requires_grad=True)
    functional = torch.nn.functional
    torch_pool = {"max": functional.max_pool2d, "average": functional.avg_pool2d}[pool]
    ty = torch_pool(tx, kernel, stride)
    ty.backward(torch.tensor(dy))
    taps = kernel[0] * kernel[1]
    assert_summed(y, ty.detach().numpy(), np.abs(x).max(), taps, dtype, "y")
    size = taps * np.abs(dy).max()
    found = backward(dy, x, **how)
    assert_summed(found, tx.grad.numpy(), size, taps, dtype, "dx")
