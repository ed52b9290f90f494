"""Trainable sub-sampling in every backend: definition, differences, the factors of sum and mean."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    assert_summed,
    assert_within,
    curvatures,
    normal,
    slopes,
    subsample_by_definition,
    windows,
)
from hypothesis import given
from hypothesis import strategies as st
from test_pool2d import cases

from lenet_fast import ops

REDUCTIONS = ("sum", "mean")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(case=cases(), sign=st.sampled_from([-1, 1]), multiplier=st.sampled_from([1, 2, 3]))
def test_all_passes_agree_with_the_definition(case, sign, multiplier, backend, dtype, reduction):
    shape, kernel, stride, seed = case
    rng = np.random.default_rng(seed)
    x = normal(rng, *shape, dtype=dtype)
    maps = shape[1] * multiplier
    w, b = sign * normal(rng, maps, dtype=dtype), normal(rng, maps, dtype=dtype)
    (n, _, h_out, w_out), _ = windows(shape, kernel, stride)
    dy = normal(rng, n, maps, h_out, w_out, dtype=dtype)
    taps = kernel[0] * kernel[1]
    how = {"kernel": kernel, "stride": stride, "reduction": reduction, "backend": backend}

    def judge(x, w, b, dy, power=1):
        share = 1 / taps if reduction == "mean" else 1.0
        return subsample_by_definition(x, w, b, dy, kernel, stride, share, power)

    def absolute(power=1):
        return judge(np.abs(x), np.abs(w), np.abs(b), np.abs(dy), power)

    found = (ops.subsample2d(x, w, b, **how), *ops.subsample2d_backward(dy, x, w, **how))
    terms = 2 * taps + dy.size + 4
    right = judge(x, w, b, dy)
    for name, one, expected, size in zip(
        ("y", "dx", "dw", "db"), found, right, absolute(), strict=True
    ):
        assert_summed(one, expected, size, terms, dtype, name)
    found = ops.subsample2d_hessian(np.abs(dy), x, w, **how)
    right = judge(x, w, b, np.abs(dy), power=2)[1:]
    for name, one, expected, size in zip(
        ("hx", "hw", "hb"), found, right, absolute(power=2)[1:], strict=True
    ):
        assert_summed(one, expected, size, terms, dtype, name)


def test_by_hand(backend, dtype):
    """Coefficient 3, bias 10, inputs 1 2 3 4: the paper adds, s = 10; the mean is 2.5."""
    x = np.array([[[[1, 2], [3, 4]]]], dtype)
    w, b = np.array([3], dtype), np.array([10], dtype)
    g = np.array([[[[16]]]], dtype)
    expected = {
        "sum": (40, 48, 160, 16, 144, 1600, 16),
        "mean": (17.5, 12, 40, 16, 9, 100, 16),
    }
    for reduction, (y, dx, dw, db, hx, hw, hb) in expected.items():
        how = {"reduction": reduction, "backend": backend}
        assert_within(ops.subsample2d(x, w, b, **how), [[[[y]]]], 0.0, dtype)
        found = ops.subsample2d_backward(g, x, w, **how)
        for one, right in zip(found, (np.full(x.shape, dx), [dw], [db]), strict=True):
            assert_within(one, right, 0.0, dtype)
        found = ops.subsample2d_hessian(g, x, w, **how)
        for one, right in zip(found, (np.full(x.shape, hx), [hw], [hb]), strict=True):
            assert_within(one, right, 0.0, dtype)


@pytest.mark.parametrize("multiplier", [2, 3])
def test_more_maps_are_those_of_a_repeated_input(backend, dtype, rng, multiplier):
    x = normal(rng, 3, 4, 28, 28, dtype=dtype)
    w, b = (normal(rng, 4 * multiplier, dtype=dtype) for _ in range(2))
    twin = np.repeat(x, multiplier, axis=1)
    y = ops.subsample2d(x, w, b, backend=backend)
    assert y.shape == (3, 4 * multiplier, 14, 14)
    np.testing.assert_array_equal(y, ops.subsample2d(twin, w, b, backend=backend))
    dy = normal(rng, *y.shape, dtype=dtype)
    for run in (ops.subsample2d_backward, ops.subsample2d_hessian):
        dx, *found = run(dy, x, w, backend=backend)
        to_twin, *expected = run(dy, twin, w, backend=backend)
        for one, right in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, right)
        shares = to_twin.reshape(3, 4, multiplier, 28, 28).astype(np.float64)
        sizes = np.abs(shares).sum(axis=2)
        assert_summed(dx, shares.sum(axis=2), sizes, 2 * multiplier, dtype, run.__name__)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("kernel", "stride", "multiplier"), [(2, None, 1), ((2, 3), 1, 2), (2, 3, 1)]
)
def test_backward_and_hessian_against_differences(
    backend, rng, reduction, kernel, stride, multiplier
):
    """With E = sum q (y - t)^2 / 2 over this linear layer both passes are exact."""
    how = {"kernel": kernel, "stride": stride, "reduction": reduction, "backend": backend}
    x, w, b = normal(rng, 2, 2, 5, 5), *(normal(rng, 2 * multiplier) for _ in range(2))
    y = ops.subsample2d(x, w, b, **how)
    q, t = rng.random(y.shape) + 0.5, normal(rng, *y.shape)

    def error(x=x, w=w, b=b):
        return float((q * (ops.subsample2d(x, w, b, **how) - t) ** 2).sum() / 2)

    first = ops.subsample2d_backward(q * (y - t), x, w, **how)
    second = ops.subsample2d_hessian(q, x, w, **how)
    functions = (
        (x, lambda moved: error(x=moved)),
        (w, lambda moved: error(w=moved)),
        (b, lambda moved: error(b=moved)),
    )
    for which, (at, f), d, h in zip("xwb", functions, first, second, strict=True):
        assert_within(d, slopes(f, at, step=0.1), 1e-9, what=f"d{which}")
        assert_within(h, curvatures(f, at, step=0.1), 1e-7, what=f"h{which}")


@pytest.mark.parametrize("shape", [(3, 6, 28, 28), (2, 16, 10, 10), (2, 3, 7, 39)])
def test_lenet_layers_agree_with_the_reference(backend, dtype, rng, shape):
    x = normal(rng, *shape, dtype=dtype)
    w, b = normal(rng, shape[1], dtype=dtype), normal(rng, shape[1], dtype=dtype)
    wide = [a.astype(np.float64) for a in (x, w, b)]
    sizes = [np.abs(a) for a in wide]
    y = ops.subsample2d(x, w, b, backend=backend)
    assert_summed(
        y,
        ops.subsample2d(*wide, backend="numpy"),
        ops.subsample2d(*sizes, backend="numpy"),
        6,
        dtype,
        "y",
    )
    dy = normal(rng, *y.shape, dtype=dtype)
    for run, incoming in (
        (ops.subsample2d_backward, dy),
        (ops.subsample2d_hessian, np.abs(dy)),
    ):
        found = run(incoming, x, w, backend=backend)
        expected = run(incoming.astype(np.float64), *wide[:2], backend="numpy")
        size = run(np.abs(dy).astype(np.float64), *sizes[:2], backend="numpy")
        for which, one, right, scale in zip("xwb", found, expected, size, strict=True):
            terms = y.size // shape[1] + 12
            assert_summed(one, right, scale, terms, dtype, f"{run.__name__}, {which}")
