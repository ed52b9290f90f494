"""Losses in every backend: definition in long arithmetic, differences, extremes, PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_within, curvatures, normal, require, slopes
from hypothesis import given
from hypothesis import strategies as st

from lenet_fast import ops

RUBBISH = (0.0, 0.1, 1.0, 10.0, 42.0, 100.0, math.inf)

# --- definitions, on Python floats  ---


def cross_entropy(x, labels, smoothing=0.0):
    """Return losses, gradients and Hessian diagonals.

    With smoothed labels it is the mean of what each class as the label would give.
    """
    losses, dx, hx = np.zeros(len(x)), np.zeros(x.shape), np.zeros(x.shape)
    for i, row in enumerate(x.astype(np.float64).tolist()):
        top = max(row)
        terms = [math.exp(value - top) for value in row]
        total = math.fsum(terms)
        losses[i] = (top - row[labels[i]]) + math.log(total)
        for k in range(len(row)):
            p = terms[k] / total
            # 1 - p without cancellation, so that the judge is exact where p is nearly 1.
            rest = math.fsum(terms[:k] + terms[k + 1 :]) / total
            dx[i, k] = -rest if k == labels[i] else p
            hx[i, k] = p * rest
    if smoothing:
        every = [cross_entropy(x, np.full(len(x), k))[:2] for k in range(x.shape[1])]
        losses = (1 - smoothing) * losses + smoothing * np.mean([each for each, _ in every], axis=0)
        dx = (1 - smoothing) * dx + smoothing * np.mean([each for _, each in every], axis=0)
    return losses, dx, hx


def map_criterion(x, labels, j):
    """Return losses, gradients, Hessian diagonals; the rubbish class is one more, of penalty j."""
    penalties = np.concatenate([x.astype(np.float64), np.full((len(x), 1), float(j))], axis=1)
    # log(e^-j + sum e^-y) + y_D is the cross-entropy of the logits -y.
    losses, dx, hx = cross_entropy(-penalties, labels)
    return losses, -dx[:, :-1], hx[:, :-1]


# --- cross-entropy  ---

SOFTMAX = (
    ops.softmax_cross_entropy,
    ops.softmax_cross_entropy_backward,
    ops.softmax_cross_entropy_hessian,
)
MAP = (ops.map_loss, ops.map_loss_backward, ops.map_loss_hessian)
PENALTY = (ops.penalty_loss, ops.penalty_loss_backward, ops.penalty_loss_hessian)
SQUARED = (
    ops.mean_squared_error,
    ops.mean_squared_error_backward,
    ops.mean_squared_error_hessian,
)


def assert_shares(functions, how, x, labels, judged, backend, dtype):
    """Compare the three functions of a loss over classes.

    A difference of logits z is off by |z| eps / 2, and so is exp(z), relatively; the sum, the
    quotient and the logarithm add a few eps more.
    """
    eps = float(np.finfo(dtype).eps)
    j = how.get("j", 0.0)
    spread = np.ptp(x, axis=1) + (abs(j) if math.isfinite(j) else 0.0)
    bound = (np.minimum(spread, 800.0)[:, None] + x.shape[1] + 8) * eps
    losses, dx, hx = judged
    forward, backward, hessian = functions
    found = forward(x, labels, reduction="none", backend=backend, **how)
    largest = np.abs(x).max(axis=1, initial=0)
    assert_within(found, losses, 4 * eps * (largest + np.abs(losses) + 12), dtype, "losses")
    how = {"reduction": "sum", "backend": backend, **how}
    assert_within(backward(x, labels, **how), dx, bound, dtype, "dx")
    assert_within(hessian(x, labels, **how), hx, bound, dtype, "hx")


@given(
    sizes=st.tuples(st.integers(0, 5), st.integers(1, 19)),
    scale=st.sampled_from([0.1, 1.0, 10.0, 100.0]),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_cross_entropy_agrees_with_the_definition(sizes, scale, smoothing, backend, dtype):
    rng = np.random.default_rng(sizes)
    x = (scale * normal(rng, *sizes)).astype(dtype)
    labels = rng.integers(0, sizes[1], sizes[0])
    judged = cross_entropy(x, labels, smoothing)
    assert_shares(SOFTMAX, {"smoothing": smoothing}, x, labels, judged, backend, dtype)


def test_cross_entropy_of_extreme_logits(backend, dtype):
    """Far beyond where exp overflows and underflows."""
    x = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e30, -1e30, 0], [0, 200, 100]], dtype)
    labels = np.array([2, 1, 1, 1])
    losses = ops.softmax_cross_entropy(x, labels, reduction="none", backend=backend)
    expected = np.array([2e4, math.log(3), 2 * float(dtype.type(1e30)), 0.0])
    assert_within(losses, expected, 8 * np.finfo(dtype).eps * expected + 1e-40, dtype)
    dx = ops.softmax_cross_entropy_backward(x, labels, reduction="sum", backend=backend)
    third = 1 / 3
    expected = [[1, 0, -1], [third, -2 * third, third], [1, -1, 0], [0, 0, 0]]
    assert_within(dx, expected, 4 * np.finfo(dtype).eps, dtype)
    hx = ops.softmax_cross_entropy_hessian(x, labels, reduction="sum", backend=backend)
    assert_within(hx[1], np.full(3, third - third**2), 4 * np.finfo(dtype).eps, dtype)
    assert_within(hx[[0, 2, 3]], np.zeros((3, 3)), 1e-40, dtype)


# --- MAP  ---


@pytest.mark.parametrize("j", RUBBISH)
@given(
    sizes=st.tuples(st.integers(0, 5), st.integers(1, 13)),
    top=st.sampled_from([1.0, 20.0, 104.0, 620.0]),
)
def test_map_agrees_with_the_definition(sizes, top, backend, dtype, j):
    rng = np.random.default_rng(sizes)
    x = (top * rng.random(sizes)).astype(dtype)
    labels = rng.integers(0, sizes[1], sizes[0])
    assert_shares(MAP, {"j": j}, x, labels, map_criterion(x, labels, j), backend, dtype)


@pytest.mark.parametrize("j", RUBBISH)
def test_map_of_large_penalties(backend, dtype, j):
    """exp(-y) is zero in float32 beyond 104, in float64 beyond 745; penalties exceed 620."""
    x = np.array(
        [
            [620, 620, 620],
            [620, 600, 610],
            [0, 620, 620],
            [620, 0, 0],
            [105, 106, 107],
            [5000, 5001, 5000.5],
        ],
        dtype,
    )
    labels = np.array([0, 1, 0, 0, 2, 1])
    assert_shares(MAP, {"j": j}, x, labels, map_criterion(x, labels, j), backend, dtype)


def test_map_by_hand(backend, dtype):
    """papers, 4.4: half-way between 6 and 8 (y = 12 for both) the push on the wrong class."""
    x, labels = np.array([[12, 12]], dtype), np.array([0])
    pushes = {0.1: 7e-6, 1.0: 2e-5, 3.0: 1e-4, 10.0: 0.11, 12.0: 1 / 3, 20.0: 0.50, 50.0: 0.50}
    for j, push in pushes.items():
        dx = ops.map_loss_backward(x, labels, j=j, backend=backend)
        share = math.exp(-12) / (math.exp(-j) + 2 * math.exp(-12))
        assert share == pytest.approx(push, rel=0.3)
        assert_within(dx, [[1 - share, -share]], 4 * np.finfo(dtype).eps, dtype)


def test_map_without_rubbish_class_is_cross_entropy(backend, dtype, rng):
    x, labels = normal(rng, 7, 10, dtype=dtype), rng.integers(0, 10, 7)
    how = {"reduction": "none", "backend": backend}
    one = ops.map_loss(x, labels, j=np.inf, **how)
    other = ops.softmax_cross_entropy(-x, labels, **how)
    assert_within(one, other, 32 * np.finfo(dtype).eps, dtype)


def test_rubbish_penalty_beyond_float32(backend, dtype, rng):
    """1e300 is a number from 0 to infinity, and means that there is no rubbish class."""
    x, labels = 10 * rng.random((4, 10)).astype(dtype), rng.integers(0, 10, 4)
    for function in MAP:
        one = function(x, labels, j=1e300, backend=backend)
        other = function(x, labels, j=math.inf, backend=backend)
        np.testing.assert_array_equal(one, other)


# --- the plain criterion  ---


def test_penalty_by_hand(backend, dtype):
    """papers, 6.2: it is linear in the penalties."""
    x, labels = np.array([[3, 7, 0.5], [600, 2, 1]], dtype), np.array([2, 0])
    forward, backward, hessian = PENALTY
    how = {"backend": backend}
    assert_within(forward(x, labels, reduction="none", **how), [0.5, 600], 0.0, dtype)
    dx = backward(x, labels, reduction="sum", **how)
    assert_within(dx, [[0, 0, 1], [1, 0, 0]], 0.0, dtype)
    assert_within(hessian(x, labels, reduction="sum", **how), np.zeros((2, 3)), 0.0, dtype)


# --- squared error  ---


@given(sizes=st.tuples(st.integers(0, 5), st.integers(1, 19)), scale=st.sampled_from([0.5, 1, 0.1]))
def test_squared_error_agrees_with_the_definition(sizes, scale, backend, dtype):
    rng = np.random.default_rng(sizes)
    x, t = normal(rng, *sizes, dtype=dtype), normal(rng, *sizes, dtype=dtype)
    wide = x.astype(np.float64) - t
    eps = float(np.finfo(dtype).eps)
    how = {"scale": scale, "backend": backend}
    losses = np.array([scale * math.fsum(d * d for d in row) for row in wide.tolist()])
    found = ops.mean_squared_error(x, t, reduction="none", **how)
    assert_within(found, losses, (sizes[1] + 4) * eps * losses, dtype, "losses")
    found = ops.mean_squared_error_backward(x, t, reduction="sum", **how)
    assert_within(found, 2 * scale * wide, 4 * eps * np.abs(wide), dtype, "dx")
    found = ops.mean_squared_error_hessian(x, t, reduction="sum", **how)
    assert_within(found, np.full(sizes, 2 * scale), 2 * eps, dtype, "hx")


def test_squared_error_by_hand(backend, dtype):
    x, t = np.array([[1, 2], [3, 3]], dtype), np.array([[0, 4], [3, 1]], dtype)
    how = {"reduction": "none", "backend": backend}
    assert_within(ops.mean_squared_error(x, t, **how), [2.5, 2.0], 0.0, dtype)
    assert_within(ops.mean_squared_error(x, t, scale=1, **how), [5.0, 4.0], 0.0, dtype)
    how = {"reduction": "sum", "backend": backend}
    found = ops.mean_squared_error_backward(x, t, **how)
    assert_within(found, [[1, -2], [0, 2]], 0.0, dtype)
    # papers, 6.1: 1 for half the squared error, 2 without the half.
    assert_within(ops.mean_squared_error_hessian(x, t, **how), np.ones((2, 2)), 0.0, dtype)
    found = ops.mean_squared_error_hessian(x, t, scale=1, **how)
    assert_within(found, np.full((2, 2), 2.0), 0.0, dtype)


# --- all  ---


def setups(rng, n=4, k=5):
    """Yield each loss as (functions, x, second argument, options)."""
    labels = rng.integers(0, k, n)
    yield SOFTMAX, normal(rng, n, k), labels, {}
    yield SOFTMAX, normal(rng, n, k), labels, {"smoothing": 0.2}
    yield SQUARED, normal(rng, n, k), normal(rng, n, k), {"scale": 0.7}
    for j in (0.5, 3.0, math.inf):
        yield MAP, 4 * rng.random((n, k)), labels, {"j": j}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_and_hessian_against_differences(backend, rng, reduction):
    for (forward, backward, hessian), x, answers, options in setups(rng):
        how = {"reduction": reduction, "backend": backend, **options}

        def error(x, forward=forward, answers=answers, how=how):
            return forward(x, answers, **how)

        dx, hx = backward(x, answers, **how), hessian(x, answers, **how)
        assert_within(dx, slopes(error, x), 1e-10, what=backward.__name__)
        assert_within(hx, curvatures(error, x), 1e-7, what=hessian.__name__)


def test_reductions(backend, dtype, rng):
    eps = float(np.finfo(dtype).eps)
    for (forward, backward, hessian), x, answers, options in setups(rng):
        x = x.astype(dtype)
        answers = answers.astype(dtype) if answers.ndim == 2 else answers
        how = {"backend": backend, **options}
        each = forward(x, answers, reduction="none", **how)
        assert each.shape == (4,)
        assert each.dtype == dtype
        total = float(each.sum(dtype=np.float64))
        for reduction, expected in (("sum", total), ("mean", total / 4)):
            value = forward(x, answers, reduction=reduction, **how)
            assert type(value) is float
            assert value == pytest.approx(expected, rel=8 * eps)
        assert forward(x, answers, **how) == forward(x, answers, reduction="mean", **how)
        for run in (backward, hessian):
            summed = run(x, answers, reduction="sum", **how)
            mean = run(x, answers, reduction="mean", **how)
            assert_within(mean, summed.astype(np.float64) / 4, 2 * eps, dtype)
            np.testing.assert_array_equal(run(x, answers, **how), mean)


def test_sum_over_many_images_is_taken_in_float64(backend):
    """In float32 a running sum of 0.1s stalls; the mean of equal losses is that loss."""
    x = np.zeros((50_000, 2), np.float32)
    labels = np.zeros(50_000, np.int64)
    value = ops.softmax_cross_entropy(x, labels, backend=backend)
    assert value == pytest.approx(math.log(2), rel=1e-7)


def test_mean_of_an_empty_batch_is_zero(backend, dtype):
    x, none = np.zeros((0, 3), dtype), np.zeros(0, np.intp)
    for (forward, backward, hessian), answers, options in (
        (SOFTMAX, none, {}),
        (MAP, none, {"j": 1.0}),
        (PENALTY, none, {}),
        (SQUARED, x, {}),
    ):
        for reduction in ("mean", "sum"):
            how = {"reduction": reduction, "backend": backend, **options}
            assert forward(x, answers, **how) == 0.0
            assert backward(x, answers, **how).shape == (0, 3)
            assert hessian(x, answers, **how).shape == (0, 3)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, ">i4", np.intp])
def test_labels_of_any_integer_dtype(backend, rng, kind):
    x = normal(rng, 6, 10)
    labels = rng.integers(0, 10, 6)
    for functions, options in ((SOFTMAX, {}), (MAP, {"j": 2.0}), (PENALTY, {})):
        for run in functions:
            how = {"backend": backend, **options}
            np.testing.assert_array_equal(run(x, labels.astype(kind), **how), run(x, labels, **how))


def test_nan_goes_in_and_comes_out(backend, dtype, rng):
    """Only for the image that holds it."""
    for (forward, backward, _), x, answers, options in setups(rng):
        x = x.astype(dtype)
        answers = answers.astype(dtype) if answers.ndim == 2 else answers
        how = {"backend": backend, **options}
        x[2, 3] = np.nan
        others = [0, 1, 3]
        losses = forward(x, answers, reduction="none", **how)
        assert np.isnan(losses[2]), forward.__name__
        assert np.isfinite(losses[others]).all()
        dx = backward(x, answers, reduction="sum", **how)
        assert np.isnan(dx[2, 3]), backward.__name__
        assert np.isfinite(dx[others]).all()


def test_agrees_with_pytorch(backend, dtype, rng):
    torch = require("torch")
    eps = float(np.finfo(dtype).eps)
    x, labels = 3 * normal(rng, 20, 10, dtype=dtype), rng.integers(0, 10, 20)
    t = normal(rng, 20, 10, dtype=dtype)
    functional = torch.nn.functional
    for reduction, share in (("mean", 20), ("sum", 1)):
        how = {"reduction": reduction, "backend": backend}
        for smoothing in (0.0, 0.1, 0.7):
            tx = torch.tensor(x, requires_grad=True)
            loss = functional.cross_entropy(
                tx, torch.tensor(labels), reduction=reduction, label_smoothing=smoothing
            )
            loss.backward()
            value = ops.softmax_cross_entropy(x, labels, smoothing=smoothing, **how)
            assert value == pytest.approx(loss.item(), rel=64 * eps)
            dx = ops.softmax_cross_entropy_backward(x, labels, smoothing=smoothing, **how)
            assert_within(dx, tx.grad.numpy(), 64 * eps, dtype, "cross-entropy")

        tx = torch.tensor(x, requires_grad=True)
        loss = functional.mse_loss(tx, torch.tensor(t), reduction="sum") / 2 / share
        loss.backward()
        assert ops.mean_squared_error(x, t, **how) == pytest.approx(loss.item(), rel=64 * eps)
        dx = ops.mean_squared_error_backward(x, t, **how)
        assert_within(dx, tx.grad.numpy(), 64 * eps, dtype, "squared error")
