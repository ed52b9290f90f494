"""Fully connected layers in every backend: definition, differences, the reference, PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_summed, assert_within, curvatures, normal, require, slopes
from hypothesis import given
from hypothesis import strategies as st

from lenet_fast import ops


def forward(x, w, b):
    y = np.zeros((len(x), len(w)))
    for i in range(len(x)):
        for o in range(len(w)):
            y[i, o] = sum(float(p) * float(q) for p, q in zip(x[i], w[o], strict=True))
            y[i, o] += float(b[o])
    return y


def backward(dy, x, w, power=1):
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(len(w))
    for i, o in np.ndindex(dy.shape):
        incoming = float(dy[i, o])
        db[o] += incoming
        for c in range(x.shape[1]):
            dx[i, c] += incoming * float(w[o, c]) ** power
            dw[o, c] += incoming * float(x[i, c]) ** power
    return dx, dw, db


@given(sizes=st.tuples(st.integers(0, 5), st.integers(1, 19), st.integers(1, 19)))
def test_all_passes_agree_with_the_definition(sizes, backend, dtype):
    n, n_in, n_out = sizes
    rng = np.random.default_rng(sizes)
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    b, dy = normal(rng, n_out, dtype=dtype), normal(rng, n, n_out, dtype=dtype)
    right = (forward(x, w, b), *backward(dy, x, w))
    size = (forward(abs(x), abs(w), abs(b)), *backward(abs(dy), abs(x), abs(w)))
    found = (ops.dense(x, w, b, backend=backend), *ops.dense_backward(dy, x, w, backend=backend))
    names, counts = ("y", "dx", "dw", "db"), (n_in, n_out, n, n)
    for name, one, expected, scale, terms in zip(names, found, right, size, counts, strict=True):
        assert_summed(one, expected, scale, terms, dtype, name)
    right = backward(abs(dy), x, w, power=2)
    found = ops.dense_hessian(abs(dy), x, w, backend=backend)
    for name, one, expected, terms in zip(names[1:], found, right, counts[1:], strict=True):
        assert_summed(one, expected, expected, terms + 1, dtype, f"Hessian, {name}")


def test_by_hand(backend, dtype):
    x, w = np.array([[1, 2], [3, 4]], dtype), np.array([[1, 10], [100, 1000], [0, 1]], dtype)
    y = ops.dense(x, w, np.array([1, 2, 3], dtype), backend=backend)
    assert_within(y, [[22, 2102, 5], [44, 4302, 7]], 0.0, dtype)
    without = ops.dense(x, w, backend=backend)
    assert_within(without, [[21, 2100, 2], [43, 4300, 4]], 0.0, dtype)


def test_backward_and_hessian_against_differences(backend, rng):
    """With E = sum q (y - t)^2 / 2 over a single linear layer both passes are exact."""
    x, w, b = normal(rng, 3, 5), normal(rng, 4, 5), normal(rng, 4)
    q, t = rng.random((3, 4)) + 0.5, normal(rng, 3, 4)

    def error(x=x, w=w, b=b):
        return float((q * (ops.dense(x, w, b, backend=backend) - t) ** 2).sum() / 2)

    dy = q * (ops.dense(x, w, b, backend=backend) - t)
    first = ops.dense_backward(dy, x, w, backend=backend)
    second = ops.dense_hessian(q, x, w, backend=backend)
    functions = (
        (x, lambda moved: error(x=moved)),
        (w, lambda moved: error(w=moved)),
        (b, lambda moved: error(b=moved)),
    )
    for which, (at, f), d, h in zip("xwb", functions, first, second, strict=True):
        assert_within(d, slopes(f, at, step=0.1), 1e-10, what=f"d{which}")
        assert_within(h, curvatures(f, at, step=0.1), 1e-8, what=f"h{which}")


@given(sizes=st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70)))
def test_passes_are_adjoint(sizes, backend, dtype):
    n, n_in, n_out = sizes
    rng = np.random.default_rng(sizes)
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    dy = normal(rng, n, n_out, dtype=dtype)
    y = ops.dense(x, w, backend=backend)
    dx, dw, _ = ops.dense_backward(dy, x, w, backend=backend)
    wide = np.float64
    left = (y.astype(wide) * dy).sum()
    magnitude = (np.abs(dy).astype(wide) * (np.abs(x).astype(wide) @ np.abs(w).T)).sum()
    for one, other in ((x, dx), (w, dw)):
        right = (one.astype(wide) * other).sum()
        bound = 2 * (n + n_in + n_out) * np.finfo(dtype).eps * magnitude
        assert abs(left - right) <= bound


@pytest.mark.parametrize(
    "sizes",
    [
        *((5, 400, 120), (7, 120, 84), (3, 84, 10), (1, 33, 17)),  # LeNet's, and a small one
        *((17, 300, 530), (9, 530, 300), (270, 13, 21)),  # blocks of a product, ragged at the end
    ],
)
def test_larger_layers_agree_with_the_reference(backend, dtype, rng, sizes):
    n, n_in, n_out = sizes
    x, w = normal(rng, n, n_in, dtype=dtype), normal(rng, n_out, n_in, dtype=dtype)
    b, dy = normal(rng, n_out, dtype=dtype), normal(rng, n, n_out, dtype=dtype)
    wide = [a.astype(np.float64) for a in (x, w, b)]
    sizes = [np.abs(a) for a in wide]
    y = ops.dense(x, w, b, backend=backend)
    assert_summed(
        y,
        ops.dense(*wide, backend="numpy"),
        ops.dense(*sizes, backend="numpy"),
        n_in,
        dtype,
        "y",
    )
    for run, incoming in ((ops.dense_backward, dy), (ops.dense_hessian, np.abs(dy))):
        found = run(incoming, x, w, backend=backend)
        expected = run(incoming.astype(np.float64), *wide[:2], backend="numpy")
        size = run(np.abs(dy).astype(np.float64), *sizes[:2], backend="numpy")
        for which, one, right, scale in zip("xwb", found, expected, size, strict=True):
            what = f"{run.__name__}, {which}"
            assert_summed(one, right, scale, n_out + n + 1, dtype, what)


def test_input_gradient_may_be_left_out(backend, dtype, rng):
    x, w = normal(rng, 3, 5, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    dy = normal(rng, 3, 4, dtype=dtype)
    for run in (ops.dense_backward, ops.dense_hessian):
        _, dw, db = run(dy, x, w, backend=backend)
        nothing, same_dw, same_db = run(dy, x, w, input_gradient=False, backend=backend)
        assert nothing is None
        np.testing.assert_array_equal(same_dw, dw)
        np.testing.assert_array_equal(same_db, db)


def test_agrees_with_pytorch(backend, dtype, rng):
    torch = require("torch")
    x, w = normal(rng, 6, 30, dtype=dtype), normal(rng, 9, 30, dtype=dtype)
    b, dy = normal(rng, 9, dtype=dtype), normal(rng, 6, 9, dtype=dtype)
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    ty = torch.nn.functional.linear(tx, tw, tb)
    ty.backward(torch.tensor(dy))
    y = ops.dense(x, w, b, backend=backend)
    assert_summed(y, ty.detach().numpy(), forward(abs(x), abs(w), abs(b)), 30, dtype, "y")
    found = ops.dense_backward(dy, x, w, backend=backend)
    size = backward(abs(dy), abs(x), abs(w))
    for one, theirs, scale in zip(found, (tx, tw, tb), size, strict=True):
        assert_summed(one, theirs.grad.numpy(), scale, 9, dtype)
