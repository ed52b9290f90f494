"""The notebooks' functions, judged by their own loops, written anew from the definitions."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_summed, assert_within, layouts, normal, require

from lenet_fast import drop_in, use_backend
from lenet_fast.drop_in import _shared
from lenet_fast.threads import ENVIRONMENT_VARIABLE

# --- as notebooks have them: a loop over images, rows, columns and maps ---


def conv_forward(A_prev, W, b, hparameters):
    stride, pad = hparameters["stride"], hparameters["pad"]
    f, count = W.shape[0], W.shape[3]
    padded = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    n_h, n_w = ((length - f) // stride + 1 for length in padded.shape[1:3])
    Z = np.zeros((len(A_prev), n_h, n_w, count))
    for i, h, w, c in np.ndindex(Z.shape):
        seen = padded[i, h * stride : h * stride + f, w * stride : w * stride + f]
        Z[i, h, w, c] = np.sum(seen * W[..., c]) + b[0, 0, 0, c]
    return Z, (A_prev, W, b, hparameters)


def conv_backward(dZ, cache):
    A_prev, W, b, hparameters = cache
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    padded = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dpadded, dW, db = np.zeros(padded.shape), np.zeros(W.shape), np.zeros(b.shape)
    for i, h, w, c in np.ndindex(dZ.shape):
        place = i, slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
        dpadded[place] += W[..., c] * dZ[i, h, w, c]
        dW[..., c] += padded[place] * dZ[i, h, w, c]
        db[..., c] += dZ[i, h, w, c]
    rows, columns = A_prev.shape[1:3]
    return dpadded[:, pad : pad + rows, pad : pad + columns], dW, db


def conv_SDLM(d2Z, cache):
    A_prev, W, b, hparameters = cache
    return conv_backward(d2Z, (A_prev**2, W**2, b, hparameters))


def pool_windows(A_prev, hparameters):
    """Yield the place of each output, and of its window."""
    f, stride = hparameters["f"], hparameters["stride"]
    n_h, n_w = ((length - f) // stride + 1 for length in A_prev.shape[1:3])
    for i, h, w, c in np.ndindex(len(A_prev), n_h, n_w, A_prev.shape[3]):
        window = slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
        yield (i, h, w, c), (i, *window, c)


def pool_forward(A_prev, hparameters, mode="max"):
    found = {
        at: (np.max if mode == "max" else np.mean)(A_prev[window])
        for at, window in pool_windows(A_prev, hparameters)
    }
    shape = tuple(np.max(list(found), axis=0) + 1)
    return np.array(list(found.values())).reshape(shape), (A_prev, hparameters)


def pool_backward(dA, cache, mode="max", power=1):
    A_prev, hparameters = cache
    dA_prev = np.zeros(A_prev.shape)
    for at, window in pool_windows(A_prev, hparameters):
        if mode == "max":
            dA_prev[window] += (A_prev[window] == A_prev[window].max()) * dA[at]
        else:
            dA_prev[window] += dA[at] / hparameters["f"] ** (2 * power)
    return dA_prev


def im2col(x, fh, fw, stride=1, pad=0):
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, _, rows, columns = x.shape
    return np.array(
        [
            x[i, :, r : r + fh, s : s + fw].ravel()
            for i in range(n)
            for r in range(0, rows - fh + 1, stride)
            for s in range(0, columns - fw + 1, stride)
        ]
    )


# --- convolution ---

HPARAMETERS = [{"stride": 1, "pad": 0}, {"stride": 1, "pad": 2}, {"stride": 2, "pad": 1}]


@pytest.mark.parametrize("hparameters", HPARAMETERS, ids=str)
def test_convolution_has_the_numbers_of_the_loops(backend, dtype, hparameters, rng):
    A_prev, W = normal(rng, 5, 7, 6, 2, dtype=dtype), normal(rng, 3, 3, 2, 4, dtype=dtype)
    b = normal(rng, 1, 1, 1, 4, dtype=dtype)
    with use_backend(backend):
        Z, cache = drop_in.conv_forward(A_prev, W, b, hparameters)
    expected, known = conv_forward(A_prev.astype(float), W.astype(float), b, hparameters)
    size, _ = conv_forward(abs(A_prev), abs(W), abs(b), hparameters)
    assert_summed(Z, expected, size, 18, dtype, "Z")
    assert all(one is other for one, other in zip(cache, (A_prev, W, b, hparameters), strict=True))

    dZ = normal(rng, *Z.shape, dtype=dtype)
    sizes = conv_backward(abs(dZ), (abs(A_prev), abs(W), b, hparameters))
    with use_backend(backend):
        found = drop_in.conv_backward(dZ, cache)
        curved = drop_in.conv_SDLM(dZ**2, cache, bias=True)
        two = drop_in.conv_SDLM(dZ**2, cache)
    for one, other, size in zip(found, conv_backward(dZ, known), sizes, strict=True):
        assert_summed(one, other, size, Z.size, dtype, "gradient")
    for one, other in zip(curved, conv_SDLM(dZ.astype(float) ** 2, known), strict=True):
        assert_summed(one, other, other, 3 * Z.size, dtype, "curvature")
    assert len(two) == 2
    for one, other in zip(two, curved, strict=False):
        np.testing.assert_array_equal(one, other)


def test_the_steps_of_a_convolution(rng):
    X = normal(rng, 2, 3, 4, 2)
    padded = drop_in.zero_pad(X, 2)
    assert padded.shape == (2, 7, 8, 2)
    np.testing.assert_array_equal(padded[:, 2:5, 2:6], X)
    assert np.count_nonzero(padded) == X.size
    W, b = normal(rng, 3, 4, 2), normal(rng, 1, 1, 1)
    expected = sum(x * w for x, w in zip(X[0].flat, W.flat, strict=True)) + b[0, 0, 0]
    assert drop_in.conv_single_step(X[0], W, b) == pytest.approx(expected, rel=1e-12)
    for bias in (0.25, np.float32(0.25), np.float64(0.25), np.full((1, 1, 1), 0.25)):
        found = drop_in.conv_single_step(X[0], W, bias)
        assert type(found) is np.float64
        assert found == pytest.approx(expected - b[0, 0, 0] + 0.25, rel=1e-12)
    whole = np.arange(4).reshape(2, 2)
    assert drop_in.conv_single_step(whole, whole, 0.5) == 14.5


def test_one_step_keeps_the_dtype_of_its_arrays(rng):
    seen, W, b = (
        normal(rng, *shape).astype(np.float32) for shape in ((3, 3, 2), (3, 3, 2), (1, 1, 1))
    )
    expected = float((seen.astype(float) * W).sum())
    for bias in (b, b[0, 0, 0], 0.25, 3):
        found = drop_in.conv_single_step(seen, W, bias)
        assert type(found) is np.float32
        assert found == pytest.approx(expected + float(np.asarray(bias).item()), rel=1e-5)
    for arguments in ((seen.astype(float), W, b), (seen, W, np.float64(0.25))):
        assert type(drop_in.conv_single_step(*arguments)) is np.float64


def test_the_course_checks_what_it_has_checked():
    """Andrew Ng's notebook, "Convolutional Model: Step by Step": its seeds, numbers, asserts."""

    def draw(*shapes):
        state = np.random.RandomState(1)
        return [state.randn(*shape) for shape in shapes]

    x = drop_in.zero_pad(*draw((4, 3, 3, 2)), 3)
    assert type(x) is np.ndarray
    assert x.shape == (4, 9, 9, 2)
    Z = drop_in.conv_single_step(*draw((4, 4, 3), (4, 4, 3), (1, 1, 1)))
    assert type(Z) == np.float64, "You must cast the output to numpy float 64"  # noqa: E721
    assert np.isclose(Z, -6.999089450680221)
    A_prev, W, b = draw((2, 5, 7, 4), (3, 3, 4, 8), (1, 1, 1, 8))
    Z, cache = drop_in.conv_forward(A_prev, W, b, {"pad": 1, "stride": 2})
    assert type(Z) is np.ndarray
    assert Z.shape == (2, 3, 4, 8)
    assert np.isclose(np.mean(Z), 0.5511276474566768)
    expected = [-2.17796037, 8.07171329, -0.5772704, 3.36286738]
    expected += [4.48113645, -2.89198428, 10.99288867, 3.03171932]
    assert np.allclose(Z[0, 2, 1], expected)
    assert np.allclose(cache[0][1][2][3], [-1.1191154, 1.9560789, -0.3264995, -1.34267579])
    A_prev, W, b = draw((10, 4, 4, 3), (2, 2, 3, 8), (1, 1, 1, 8))
    Z, cache = drop_in.conv_forward(A_prev, W, b, {"pad": 2, "stride": 2})
    means = [np.mean(each) for each in drop_in.conv_backward(Z, cache)]
    assert np.allclose(means, [1.4524377775388075, 1.7269914583139097, 7.839232564616838])


def test_the_course_looks_for_the_largest_value():
    x = np.array([[-1, 2, 3], [2, -3, 2], [1, 5, -2]])
    mask = drop_in.create_mask_from_window(x)
    assert type(mask) is np.ndarray
    assert mask.dtype == bool
    assert mask.tolist() == [[False] * 3, [False] * 3, [False, True, False]]
    assert drop_in.create_mask_from_window(np.float32([[2, 2], [1, 2]])).tolist() == [
        [True, True],
        [False, True],
    ]


def test_the_course_spreads_a_value():
    for dz, shape in ((2, (2, 2)), (100, (10, 10)), (-3.5, (2, 3)), (np.float64(7), [1, 7])):
        a = drop_in.distribute_value(dz, shape)
        assert type(a) is np.ndarray
        assert a.dtype == np.float64
        assert a.shape == tuple(shape)
        assert np.allclose(a, dz / a.size)
    assert drop_in.distribute_value(np.float32(1), (2, 2)).dtype == np.float32


@pytest.mark.parametrize("mode", ["max", "average"])
def test_pooling_backward_by_the_parts_of_the_course(mode, rng):
    """As exercise 8 puts masks and shares together."""
    A_prev, dA = rng.integers(0, 5, (2, 6, 6, 3)) * 1.0, normal(rng, 2, 3, 3, 3)
    expected = np.zeros_like(A_prev)
    for i, h, w, c in np.ndindex(dA.shape):
        window = i, slice(2 * h, 2 * h + 2), slice(2 * w, 2 * w + 2), c
        if mode == "max":
            expected[window] += drop_in.create_mask_from_window(A_prev[window]) * dA[i, h, w, c]
        else:
            expected[window] += drop_in.distribute_value(dA[i, h, w, c], (2, 2))
    found = drop_in.pool_backward(dA, (A_prev, {"f": 2, "stride": 2}), mode)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- pooling ---


@pytest.mark.parametrize(("f", "stride"), [(2, 2), (2, 3), (3, 3), (3, 2), (2, 1)])
def test_pooling_has_the_numbers_of_the_loops(backend, dtype, f, stride, rng):
    A_prev = rng.integers(0, 3, (4, 7, 8, 3)).astype(dtype)  # few values: many ties
    cache = A_prev, {"f": f, "stride": stride}
    for mode in ("max", "average"):
        expected, _ = pool_forward(*cache, mode)
        dA = rng.integers(-4, 5, expected.shape).astype(dtype)
        with use_backend(backend):
            A, (first, second) = drop_in.pool_forward(*cache, mode)
            dA_prev = drop_in.pool_backward(dA, cache, mode)
        assert first is A_prev
        assert second is cache[1]
        assert_summed(A, expected, expected, f * f, dtype, mode)
        size = pool_backward(abs(dA), cache, mode)
        assert_summed(dA_prev, pool_backward(dA, cache, mode), size, f * f, dtype, mode)


def test_of_several_maxima_the_first_one_wins_if_asked():
    A_prev = np.array([[1.0, 1, 0, 2], [0, 1, 2, 2]]).reshape(1, 2, 4, 1)
    cache, dA = (A_prev, {"f": 2, "stride": 2}), np.array([3.0, 5]).reshape(1, 1, 2, 1)
    every, first = (drop_in.pool_backward(dA, cache, ties=ties) for ties in ("all", "first"))
    assert every.ravel().tolist() == [3, 3, 0, 5, 0, 3, 5, 5]
    assert first.ravel().tolist() == [3, 0, 0, 5, 0, 0, 0, 0]


def test_the_curvature_of_a_mean_takes_the_squared_share(rng):
    cache, d2A = (normal(rng, 2, 4, 6, 3), {"f": 2, "stride": 2}), rng.random((2, 2, 3, 3))
    for curvature, power, share in ((False, 1, 1 / 4), (True, 2, 1 / 16)):
        found = drop_in.pool_backward(d2A, cache, "average", curvature=curvature)
        assert_within(found, pool_backward(d2A, cache, "average", power), 1e-15)
        assert found[0, 0, 0, 0] == pytest.approx(share * d2A[0, 0, 0, 0])


@pytest.mark.parametrize("reduction", [None, "sum"])
def test_subsampling_is_that_of_the_definition(reduction, rng):
    hparameters = {"f": 2, "stride": 2} | ({"reduction": reduction} if reduction else {})
    A_prev, dA = normal(rng, 3, 4, 6, 2), normal(rng, 3, 2, 3, 2)
    weight, b = normal(rng, 1, 1, 1, 2), normal(rng, 1, 1, 1, 2)
    A, cache = drop_in.subsampling_forward(A_prev, weight, b, hparameters)
    means, pooled = pool_forward(A_prev, hparameters, "average")
    scale = 4 if reduction else 1
    assert_within(A, scale * means * weight + b, 1e-13)
    for dy, power, curvature in ((dA, 1, False), (dA**2, 2, True)):
        found = drop_in.subsampling_backward(dy, cache, curvature=curvature)
        share = (scale * weight) ** power
        expected = (
            pool_backward(dy * share, pooled, "average", power),
            (dy * (scale * means) ** power).sum((0, 1, 2), keepdims=True),
            dy.sum((0, 1, 2), keepdims=True),
        )
        published = drop_in.subsampling_backward(dy, weight, b, cache, curvature=curvature)
        for one, other, third in zip(found, expected, published, strict=True):
            assert_within(one, other, 1e-12)
            np.testing.assert_array_equal(one, third)


# --- columns ---


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1)])
def test_columns_are_those_of_the_book(dtype, stride, pad, rng):
    x = normal(rng, 3, 2, 5, 6, dtype=dtype)
    geometry = (3, 2, stride, pad)
    col = drop_in.im2col(x, *geometry)
    assert_within(col, im2col(x, *geometry), 0, dtype)
    y = rng.integers(-5, 6, col.shape).astype(dtype)
    back = drop_in.col2im(y, x.shape, *geometry)
    # Each pixel takes what its copies hold: one at a time, by the definition of the columns.
    number = im2col(np.arange(1.0, x.size + 1).reshape(x.shape), *geometry)
    expected = [y[number == k].sum() for k in range(1, x.size + 1)]
    assert_within(back, np.reshape(expected, x.shape), 0, dtype)


# --- what a notebook relies on ---


def train(functions, steps=3):
    """Train as notebooks do; return losses and weights."""
    rng = np.random.default_rng(1)
    X, Y = normal(rng, 6, 10, 10, 1), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    W1, b1 = normal(rng, 3, 3, 1, 2), np.zeros((1, 1, 1, 2))
    W2, b2 = normal(rng, 2, 2, 2, 4), np.zeros((1, 1, 1, 4))
    W3, losses = normal(rng, 4, 3), []
    conv, pool = {"stride": 1, "pad": 0}, {"f": 2, "stride": 2}
    for _ in range(steps):
        Z1, cache1 = functions.conv_forward(X, W1, b1, conv)
        P1, cache2 = functions.pool_forward(np.clip(Z1, -1, 1), pool, mode="max")
        Z2, cache3 = functions.conv_forward(P1, W2, b2, conv)
        P2, cache4 = functions.pool_forward(np.tanh(Z2), {"f": 3, "stride": 2}, mode="average")
        flat = P2.reshape(len(X), -1)
        error = flat @ W3 - Y
        losses.append(np.square(error).mean())
        dP2 = (error @ W3.T / len(X)).reshape(P2.shape)
        dZ2 = functions.pool_backward(dP2, cache4, mode="average") / np.cosh(Z2) ** 2
        dP1, dW2, db2 = functions.conv_backward(dZ2, cache3)
        dZ1 = functions.pool_backward(dP1, cache2, mode="max")  # straight through np.clip
        _, dW1, db1 = functions.conv_backward(dZ1, cache1)
        W3 = W3 - 0.1 * flat.T @ error
        W2, b2, W1, b1 = W2 - 0.1 * dW2, b2 - 0.1 * db2, W1 - 0.1 * dW1, b1 - 0.1 * db1
    return np.concatenate([losses, *map(np.ravel, (W1, b1, W2, b2, W3))])


def test_a_training_loop_gives_the_same_numbers_after_its_import_has_changed():
    theirs = SimpleNamespace(
        conv_forward=conv_forward,
        conv_backward=conv_backward,
        pool_forward=pool_forward,
        pool_backward=pool_backward,
    )
    expected = train(theirs)
    assert_within(train(drop_in), expected, 1e-10)
    theirs.pool_backward = lambda dA, cache, mode: drop_in.pool_backward(
        dA, cache, mode, ties="first"
    )
    assert np.abs(train(theirs) - expected).max() > 1e-3  # there are ties


def test_signatures_are_those_of_the_notebooks():
    for name, published in {
        "zero_pad": "X, pad",
        "conv_single_step": "a_slice_prev, W, b",
        "conv_forward": "A_prev, W, b, hparameters",
        "conv_backward": "dZ, cache",
        "pool_forward": "A_prev, hparameters, mode",
        "pool_backward": "dA, cache, mode",
        "create_mask_from_window": "x",
        "distribute_value": "dz, shape",
        "subsampling_forward": "A_prev, weight, b, hparameters",
        "im2col": "input_data, filter_h, filter_w, stride, pad",
        "col2im": "col, input_shape, filter_h, filter_w, stride, pad",
    }.items():
        found = inspect.signature(getattr(drop_in, name)).parameters.values()
        usual = [one.name for one in found if one.kind is not one.KEYWORD_ONLY]
        assert ", ".join(usual) == published, name


def test_threads_change_no_bit_and_pytorch_agrees(monkeypatch, rng):
    """With blocks of 32 images: two full ones, and a rest."""
    torch = require("torch")
    monkeypatch.setattr(_shared, "BLOCK_BYTES", 1)
    x, w = normal(rng, 70, 6, 6, 2), normal(rng, 3, 3, 2, 4)
    b, hparameters = normal(rng, 1, 1, 1, 4), {"stride": 1, "pad": 1}
    dz = normal(rng, 70, 6, 6, 4)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, threads)
        z, cache = drop_in.conv_forward(x, w, b, hparameters)
        pooled, _ = drop_in.pool_forward(z, {"f": 2, "stride": 2})
        found.append([z, *drop_in.conv_backward(dz, cache), pooled])
        _shared._pool(threads).close()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    tensors = [torch.from_numpy(array.copy()) for array in (x, w, b.ravel())]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    y = torch.nn.functional.conv2d(
        leaves[0].permute(0, 3, 1, 2), leaves[1].permute(3, 2, 0, 1), leaves[2], padding=1
    )
    gradients = torch.autograd.grad(y.permute(0, 2, 3, 1), leaves, torch.from_numpy(dz))
    expected = [y.permute(0, 2, 3, 1), *gradients]
    for one, other in zip(found[0][:4], expected, strict=True):
        assert_within(one, other.detach().numpy().reshape(one.shape), 1e-10)
    assert len(np.unique(found[0][4])) == 70 * 3 * 3 * 4


def test_the_memory_order_of_images_does_not_matter(rng):
    x, w, b = normal(rng, 3, 6, 6, 2), normal(rng, 3, 3, 2, 2), np.zeros((1, 1, 1, 2))
    expected, _ = drop_in.conv_forward(x, w, b, HPARAMETERS[0])
    dz = normal(rng, *expected.shape)
    gradients = drop_in.conv_backward(dz, (x, w, b, HPARAMETERS[0]))
    for name, array in layouts(x):
        z, cache = drop_in.conv_forward(array, w, b, HPARAMETERS[0])
        np.testing.assert_array_equal(z, expected, err_msg=name)
        for one, other in zip(drop_in.conv_backward(dz, cache), gradients, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_numbers_that_are_not_all_float32_are_float64(rng):
    x, w, b = rng.integers(0, 256, (2, 5, 5, 1)), normal(rng, 3, 3, 1, 2), np.zeros((1, 1, 1, 2))
    expected, _ = conv_forward(x, w, b, HPARAMETERS[0])
    z, cache = drop_in.conv_forward(x.astype(np.uint8), w, b, HPARAMETERS[0])
    assert_within(z, expected, 1e-10, np.float64)
    assert cache[0].dtype == np.uint8
    single = [array.astype(np.float32) for array in (x, w, b)]
    z, cache = drop_in.conv_forward(*single, HPARAMETERS[0])
    assert z.dtype == np.float32
    assert {array.dtype for array in drop_in.conv_backward(z, cache)} == {z.dtype}
    dA_prev, dW, _ = drop_in.conv_backward(expected, cache)
    assert dA_prev.dtype == dW.dtype == np.float64
    judge = conv_backward(expected, [array.astype(float) for array in single] + [HPARAMETERS[0]])
    assert_within(dW, judge[1], 1e-8)


@pytest.mark.parametrize("f", [3, 4])  # the latter sees the whole image
def test_an_empty_batch_has_no_gradient(f):
    x, w, b = np.zeros((0, 4, 4, 1)), np.ones((f, f, 1, 2)), np.ones((1, 1, 1, 2))
    z, cache = drop_in.conv_forward(x, w, b, HPARAMETERS[0])
    assert z.shape == (0, 5 - f, 5 - f, 2)
    dx, dw, db = drop_in.conv_backward(z, cache)
    assert (dx.shape, dw.any(), db.any()) == (x.shape, False, False)
    assert drop_in.pool_forward(x, {"f": 2, "stride": 2})[0].shape == (0, 2, 2, 1)
    assert drop_in.im2col(x.reshape(0, 1, 4, 4), 2, 2).shape == (0, 4)


# --- bad input ---

X, W, B = np.ones((2, 5, 5, 2)), np.ones((3, 3, 2, 4)), np.ones((1, 1, 1, 4))
CONV, POOL = {"stride": 1, "pad": 0}, {"f": 2, "stride": 2}


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("conv_forward", (X.tolist(), W, B, CONV), TypeError, "A_prev: expected an array"),
        ("conv_forward", (X + 1j, W, B, CONV), TypeError, "A_prev: expected an array of real"),
        ("conv_forward", (X[0], W, B, CONV), ValueError, "A_prev: expected axes (m, n_H_prev"),
        ("conv_forward", (X, W[0], B, CONV), ValueError, "W: expected axes (f, f, n_C_prev"),
        ("conv_forward", (X[..., :0], W, B, CONV), ValueError, "A_prev: expected at least 1"),
        ("conv_forward", (X[..., :1], W, B, CONV), ValueError, "W: expected 1 maps (n_C_prev"),
        ("conv_forward", (X, W, B.ravel(), CONV), ValueError, "b: expected shape (1, 1, 1, 4)"),
        ("conv_forward", (X[:, :2], W, B, CONV), ValueError, "W: expected a window that fits"),
        ("conv_forward", (X, W, B, {"stride": 1}), ValueError, 'expected the key "pad"'),
        ("conv_forward", (X, W, B, 1), TypeError, "hparameters: expected a dict, got int 1"),
        (
            *("conv_forward", (X, W, B, {"stride": 0, "pad": 0})),
            *(ValueError, 'hparameters["stride"]: expected an int from 1'),
        ),
        ("conv_backward", (X, (X, W, B)), TypeError, "cache: expected (A_prev, W, b, hparam"),
        ("conv_backward", (X, (X, W, B, CONV)), ValueError, "dZ: expected shape (2, 3, 3, 4)"),
        ("conv_SDLM", (X, (X, W, B, CONV)), ValueError, "d2Z: expected shape (2, 3, 3, 4)"),
        ("conv_single_step", (X[0], W, 1.0), ValueError, "W: expected shape (5, 5, 2)"),
        ("conv_single_step", (X[0], X[0], B), ValueError, "b: expected one number"),
        ("zero_pad", (X, -1), ValueError, "pad: expected an int from 0"),
        ("create_mask_from_window", ([[1, 2]],), TypeError, "x: expected an array of real"),
        ("create_mask_from_window", (X[:0],), ValueError, "x: expected at least one number"),
        ("distribute_value", ("2", (2, 2)), TypeError, "dz: expected a number, got str"),
        ("distribute_value", (1j, (2, 2)), TypeError, "dz: expected an array of real numbers"),
        ("distribute_value", (X, (2, 2)), ValueError, "dz: expected one number, got shape"),
        ("distribute_value", (2, 4), TypeError, "shape: expected (n_H, n_W), got int 4"),
        ("distribute_value", (2, (2, 2, 2)), TypeError, "shape: expected (n_H, n_W), got tuple"),
        ("distribute_value", (2, (2, 0)), ValueError, "shape: expected an int from 1"),
        ("pool_forward", (X, {"stride": 2}), ValueError, 'expected the key "f"'),
        ("pool_forward", (X, POOL, "mean"), ValueError, "mode: expected one of max, average"),
        ("pool_forward", (X[:, :1], POOL), ValueError, 'hparameters["f"]: expected a window'),
        ("pool_backward", (X, (X,)), TypeError, "cache: expected (A_prev, hparameters)"),
        ("pool_backward", (X, (X, POOL)), ValueError, "dA: expected shape (2, 2, 2, 2)"),
        ("subsampling_forward", (X, B, B, POOL), ValueError, "weight: expected shape (1, 1, 1, 2)"),
        ("subsampling_backward", (X, B, B), TypeError, "cache: expected the cache, or weight"),
        ("im2col", (X, 6, 2), ValueError, "filter_h and filter_w: expected a window"),
        ("im2col", (X, 2.0, 2), TypeError, "filter_h: expected an int"),
        ("col2im", (X, X.shape, 2, 2), ValueError, "col: expected shape (8, 20)"),
        ("col2im", (X, 5, 2, 2), TypeError, "input_shape: expected (N, C, H, W)"),
    ],
)
def test_what_is_wrong_is_named(name, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        getattr(drop_in, name)(*arguments)
