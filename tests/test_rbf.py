"""RBF units in every backend: definition, differences, the curvature of the units themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_summed, assert_within, curvatures, normal, slopes
from hypothesis import given
from hypothesis import strategies as st

from lenet_fast import ops


def forward(x, w):
    y = np.zeros((len(x), len(w)))
    for n, i in np.ndindex(y.shape):
        y[n, i] = sum((float(p) - float(q)) ** 2 for p, q in zip(x[n], w[i], strict=True))
    return y


def backward(dy, x, w, distance=lambda p, q: p - q):
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for n, i in np.ndindex(dy.shape):
        for j in range(x.shape[1]):
            slope = 2 * distance(float(x[n, j]), float(w[i, j])) * float(dy[n, i])
            dx[n, j] += slope
            dw[i, j] -= slope
    return dx, dw


def hessian(hy, dy, x, w):
    hx, hw = np.zeros(x.shape), np.zeros(w.shape)
    for n, i in np.ndindex(hy.shape):
        for j in range(x.shape[1]):
            slope = 2 * (float(x[n, j]) - float(w[i, j]))
            curvature = slope**2 * float(hy[n, i]) + 2 * float(dy[n, i])
            hx[n, j] += curvature
            hw[i, j] += curvature
    return hx, hw


@given(sizes=st.tuples(st.integers(0, 4), st.integers(1, 19), st.integers(1, 11)))
def test_all_passes_agree_with_the_definition(sizes, backend, dtype):
    n, n_in, n_out = sizes
    rng = np.random.default_rng(sizes)
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    dy, hy = normal(rng, n, n_out, dtype=dtype), rng.random((n, n_out)).astype(dtype)
    # A difference may cancel: its error is that of |x| + |w|, not of what is left.
    y_size = forward(np.abs(x), -np.abs(w))
    assert_summed(ops.rbf(x, w, backend=backend), forward(x, w), y_size, n_in, dtype, "y")
    found = ops.rbf_backward(dy, x, w, backend=backend)
    size = [np.abs(a) for a in backward(-np.abs(dy), abs(x), -np.abs(w))]
    for name, one, right, scale, terms in zip(
        ("dx", "dw"), found, backward(dy, x, w), size, (n_out, n), strict=True
    ):
        assert_summed(one, right, scale, terms + 1, dtype, name)
    size = hessian(hy, abs(dy), abs(x), -np.abs(w))
    for curvature in (None, dy):
        found = ops.rbf_hessian(hy, x, w, curvature, backend=backend)
        kept = np.zeros_like(dy) if curvature is None else curvature
        for name, one, right, scale, terms in zip(
            ("hx", "hw"), found, hessian(hy, kept, x, w), size, (n_out, n), strict=True
        ):
            assert_summed(one, right, scale, 2 * terms + 4, dtype, name)


def test_by_hand(backend, dtype):
    x, w = np.array([[1, -2]], dtype), np.array([[3, 0], [1, 1]], dtype)
    assert_within(ops.rbf(x, w, backend=backend), [[8, 9]], 0.0, dtype)
    g = np.array([[1, 10]], dtype)
    dx, dw = ops.rbf_backward(g, x, w, backend=backend)
    assert_within(dx, [[-4, -4 - 60]], 0.0, dtype)
    assert_within(dw, [[4, 4], [0, 60]], 0.0, dtype)
    hx, hw = ops.rbf_hessian(g, x, w, backend=backend)
    assert_within(hx, [[16, 16 + 360]], 0.0, dtype)
    assert_within(hw, [[16, 16], [0, 360]], 0.0, dtype)
    hx, hw = ops.rbf_hessian(g, x, w, np.array([[5, -7]], dtype), backend=backend)
    assert_within(hx, [[16 - 4, 376 - 4]], 0.0, dtype)
    assert_within(hw, [[26, 26], [-14, 346]], 0.0, dtype)


def test_identical_vectors_have_distance_zero(backend, dtype, rng):
    """Expanded into x^2 - 2 x w + w^2 this would leave rounding, even below zero."""
    w = normal(rng, 10, 84, dtype=dtype) * dtype.type(100)
    y = ops.rbf(w, w, backend=backend)
    assert (np.diag(y) == 0).all()
    assert (y >= 0).all()


def test_backward_and_hessian_against_differences(backend, rng):
    """With E = sum q (y - t)^2 / 2, whose dy is q (y - t), the kept curvature makes it exact."""
    x, w = normal(rng, 3, 4), normal(rng, 2, 4)
    q, t = rng.random((3, 2)) + 0.5, 5 * rng.random((3, 2))

    def error(x=x, w=w):
        return float((q * (ops.rbf(x, w, backend=backend) - t) ** 2).sum() / 2)

    dy = q * (ops.rbf(x, w, backend=backend) - t)
    first = ops.rbf_backward(dy, x, w, backend=backend)
    second = ops.rbf_hessian(q, x, w, dy, backend=backend)
    functions = ((x, lambda moved: error(x=moved)), (w, lambda moved: error(w=moved)))
    for which, (at, f), d, h in zip("xw", functions, first, second, strict=True):
        # E is of the fourth degree: fourth-order slopes are exact, and so are the curvatures.
        assert_within(d, slopes(f, at, step=0.1), 1e-8, what=f"d{which}")
        assert_within(h, curvatures(f, at, step=0.1), 1e-7, what=f"h{which}")


def test_plain_criterion_keeps_the_curvature_of_the_units(backend, dtype, rng):
    """E = y_D is linear in y: hy = 0, and only the units' own curvature 2 is left."""
    x, w = normal(rng, 4, 84, dtype=dtype), normal(rng, 10, 84, dtype=dtype)
    dy = np.zeros((4, 10), dtype)
    labels = [3, 3, 0, 9]
    dy[np.arange(4), labels] = 1
    hx, hw = ops.rbf_hessian(np.zeros_like(dy), x, w, dy, backend=backend)
    assert_within(hx, np.full(x.shape, 2.0), 0.0, dtype)
    expected = np.zeros(w.shape)
    for label in labels:
        expected[label] += 2
    assert_within(hw, expected, 0.0, dtype)


def test_map_loss_through_the_units_never_turns_negative(backend, dtype, rng):
    """papers: 2 sum dE/dy is twice the probability of the rubbish class."""
    x, w = normal(rng, 50, 84, dtype=dtype), normal(rng, 10, 84, dtype=dtype)
    y = ops.rbf(x, w, backend=backend)
    labels = rng.integers(0, 10, 50)
    how = {"j": 140.0, "reduction": "sum", "backend": backend}
    dy = ops.map_loss_backward(y, labels, **how)
    hy = ops.map_loss_hessian(y, labels, **how)
    hx, _ = ops.rbf_hessian(hy, x, w, dy, backend=backend)
    shares = 2 * dy.astype(np.float64).sum(axis=1)
    assert shares.max() > 0.1
    assert hx.min() >= -100 * np.finfo(dtype).eps
    plain, _ = ops.rbf_hessian(hy, x, w, backend=backend)
    bound = 100 * np.finfo(dtype).eps * (1 + np.abs(plain).max())
    difference = hx.astype(np.float64) - plain
    assert_within(difference, np.repeat(shares[:, None], 84, axis=1), bound)


def map_hessian(y, x, w, j):
    """The whole Hessian at the outputs, diag(p) - p p^T, between explicit slopes, and 2 sum dy."""
    hx = np.zeros(x.shape)
    for n in range(len(x)):
        terms = [*np.exp(y[n].min() - y[n].astype(np.float64)), math.exp(y[n].min() - j)]
        *p, rubbish = np.array(terms) / math.fsum(terms)
        for k in range(x.shape[1]):
            slopes = [2 * (float(x[n, k]) - float(centre)) for centre in w[:, k]]
            hx[n, k] = 2 * rubbish + math.fsum(
                slopes[a] * slopes[b] * ((p[a] if a == b else 0.0) - p[a] * p[b])
                for a in range(len(w))
                for b in range(len(w))
            )
    return hx


@pytest.mark.parametrize("j", [0.0, 20.0, math.inf])
@given(sizes=st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 7)))
def test_exact_hessian_of_map_agrees_with_the_definition(sizes, backend, dtype, j):
    n, n_in, n_out = sizes
    rng = np.random.default_rng(sizes)
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    y = ops.rbf(x, w, backend="numpy")
    # A share is off by what its exponent is off by, and so are the squares of the differences.
    largest = 2 + 16 * max(np.abs(x).max(initial=0), np.abs(w).max()) ** 2
    exponents = np.abs(y).max(initial=0) + (0 if j == math.inf else j)
    bound = (exponents + n_out + 8) * np.finfo(dtype).eps * largest
    found = ops.map_rbf_hessian(y, x, w, j=j, backend=backend)
    assert_within(found, map_hessian(y, x, w, j), bound, dtype, "hx")


def test_exact_hessian_of_map_against_differences(backend, rng):
    x, w, labels = normal(rng, 3, 4), normal(rng, 5, 4), np.array([4, 0, 0])
    for j in (1.0, 5.0, math.inf):

        def error(moved, j=j):
            penalties = ops.rbf(moved, w, backend="numpy")
            return float(ops.map_loss(penalties, labels, j=j, reduction="sum", backend="numpy"))

        found = ops.map_rbf_hessian(ops.rbf(x, w), x, w, j=j, backend=backend)
        # papers, 6.2: within 4e-7; here differences of the fourth order.
        assert_within(found, curvatures(error, x), 2e-7)
        paper, _ = ops.rbf_hessian(
            ops.map_loss_hessian(ops.rbf(x, w), labels, j=j, reduction="sum"),
            *(x, w, ops.map_loss_backward(ops.rbf(x, w), labels, j=j, reduction="sum")),
        )
        assert np.abs(found - paper).max() > 0.01


def test_exact_hessian_of_map_is_never_negative(backend, dtype, rng):
    """Where all centres are the same, far away, a mean of squares less the square of the mean would
    be, by rounding."""
    x, w = 3 * normal(rng, 200, 9, dtype=dtype), normal(rng, 10, 9, dtype=dtype)
    for centres in (w, np.repeat(w[:1] + dtype.type(100), 10, axis=0)):
        y = ops.rbf(x, centres, backend=backend)
        for j in (0.0, float(y.mean()), math.inf):
            found = ops.map_rbf_hessian(y, x, centres, j=j, backend=backend)
            assert (found >= 0).all()
            assert centres is not w or found.max() > 0.1


@pytest.mark.parametrize("sizes", [(5, 84, 10), (3, 37, 17)])
def test_lenet_sizes_agree_with_the_reference(backend, dtype, rng, sizes):
    n, n_in, n_out = sizes
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    dy, hy = normal(rng, n, n_out, dtype=dtype), rng.random((n, n_out)).astype(dtype)
    wide = {"x": x.astype(np.float64), "w": w.astype(np.float64)}
    plain = {**wide, "backend": "numpy"}
    mine = {"x": x, "w": w, "backend": backend}
    size = forward(np.abs(x), -np.abs(w))
    assert_summed(ops.rbf(**mine), ops.rbf(**plain), size, n_in, dtype, "y")
    largest = 2 * (np.abs(x).max() + np.abs(w).max())
    wide_dy, wide_hy = dy.astype(np.float64), hy.astype(np.float64)
    pairs = (
        (ops.rbf_backward(dy, **mine), ops.rbf_backward(wide_dy, **plain), largest),
        (
            ops.rbf_hessian(hy, dy=dy, **mine),
            ops.rbf_hessian(wide_hy, dy=wide_dy, **plain),
            largest**2 + 2,
        ),
    )
    for found, expected, factor in pairs:
        for one, right, terms in zip(found, expected, (n_out, n), strict=True):
            scale = terms * factor * max(np.abs(dy).max(), 1.0)
            assert_summed(one, right, scale, 4 + terms, dtype)
