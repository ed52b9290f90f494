"""The modules of the courses, judged by loops written from each course's definition."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from helpers import assert_summed, assert_within, jacobian, layouts, normal

from lenet_fast import drop_in, use_backend
from lenet_fast.drop_in import _shared, cs231n, dlfs, holberton
from lenet_fast.threads import ENVIRONMENT_VARIABLE

# --- the definitions: one window after the other ---


def windows(shape, kernel, stride):
    """Yield the place of each window (row, column) and its rows and columns, in scan order."""
    (height, width), (kh, kw), (down, across) = shape, kernel, stride
    for r in range((height - kh) // down + 1):
        for s in range((width - kw) // across + 1):
            yield (
                (r, s),
                (slice(r * down, r * down + kh), slice(s * across, s * across + kw)),
            )


def conv_nchw(x, w, b, stride, pad, dout=None):
    """Return the convolution; with dout, dx, dw and db. All in float64."""
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    dpadded, dw, outputs = np.zeros(padded.shape), np.zeros(w.shape), {}
    for i, f in np.ndindex(len(x), len(w)):
        for at, window in windows(padded.shape[2:], w.shape[2:], stride):
            seen = (i, slice(None), *window)
            outputs[i, f, *at] = (padded[seen] * w[f]).sum() + b[f]
            if dout is not None:
                dpadded[seen] += w[f].astype(float) * dout[i, f, *at]
                dw[f] += padded[seen] * dout[i, f, *at]
    if dout is not None:
        rows, columns = x.shape[2:]
        dx = dpadded[:, :, pad[0] : pad[0] + rows, pad[1] : pad[1] + columns]
        return dx, dw, dout.astype(float).sum((0, 2, 3))
    return np.array(list(outputs.values())).reshape(np.max(list(outputs), axis=0) + 1)


def max_nchw(x, kernel, stride, dout=None, ties="first"):
    """Return the maxima; with dout, dx, whose equal maxima get it as told."""
    outputs, dx = {}, np.zeros(x.shape)
    for i, c in np.ndindex(x.shape[:2]):
        for at, window in windows(x.shape[2:], kernel, stride):
            seen = x[i, c][window]
            outputs[i, c, *at] = seen.max()
            if dout is not None:
                mask = seen == seen.max()
                if ties == "first":
                    mask = np.arange(seen.size).reshape(seen.shape) == seen.argmax()
                share = mask.sum() if ties == "share" else 1
                dx[i, c][window] += mask * float(dout[i, c, *at]) / share
    if dout is not None:
        return dx
    return np.array(list(outputs.values())).reshape(np.max(list(outputs), axis=0) + 1)


def mean_nchw(x, kernel, stride, dout=None):
    outputs, dx = {}, np.zeros(x.shape)
    for i, c in np.ndindex(x.shape[:2]):
        for at, window in windows(x.shape[2:], kernel, stride):
            outputs[i, c, *at] = x[i, c][window].astype(float).mean()
            if dout is not None:
                dx[i, c][window] += float(dout[i, c, *at]) / (kernel[0] * kernel[1])
    if dout is not None:
        return dx
    return np.array(list(outputs.values())).reshape(np.max(list(outputs), axis=0) + 1)


def columns(x, kernel, stride, pad):
    """Return the book's columns: a row per image and window, in this order."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.array(
        [
            each[:, window[0], window[1]].ravel()
            for each in padded
            for _, window in windows(padded.shape[2:], kernel, (stride, stride))
        ]
    )


def nchw(array):
    return array.transpose(0, 3, 1, 2)


def nhwc(array):
    return array.transpose(0, 2, 3, 1)


def check_conv(found, expected, sizes, terms, dtype):
    for one, other, size in zip(found, expected, sizes, strict=True):
        assert one.shape == other.shape
        assert_summed(one, other, size, terms, dtype, "convolution")
        if dtype == np.float64:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


# --- CS231n ---

CONV_PARAMS = [
    {"stride": 1, "pad": 0},
    {"stride": 1, "pad": 1},
    {"stride": 2, "pad": 1},  # leaves a column over
    {"stride": 3, "pad": 2},  # and more
]
FORWARD = {name: getattr(cs231n, f"conv_forward_{name}") for name in ("naive", "fast", "strides")}


@pytest.mark.parametrize("conv_param", CONV_PARAMS, ids=str)
def test_cs231n_convolves(backend, dtype, conv_param, rng):
    x, w = normal(rng, 3, 2, 7, 6, dtype=dtype), normal(rng, 4, 2, 3, 3, dtype=dtype)
    b, (stride, pad) = normal(rng, 4, dtype=dtype), conv_param.values()
    how = ((stride, stride), (pad, pad))
    expected, size = conv_nchw(x, w, b, *how), conv_nchw(abs(x), abs(w), abs(b), *how)
    dout = normal(rng, *expected.shape, dtype=dtype)
    gradients = conv_nchw(x, w, b, *how, dout)
    sizes = conv_nchw(abs(x), abs(w), abs(b), *how, abs(dout))
    with use_backend(backend):
        for name, forward in FORWARD.items():
            out, cache = forward(x, w, b, conv_param)
            assert out.dtype == dtype
            check_conv([out], [expected], [size], 18, dtype)
            given = (x, w, b, conv_param, *([] if name == "naive" else [None]))
            assert len(cache) == len(given)
            assert all(one is other for one, other in zip(cache, given, strict=True))
            found = getattr(cs231n, f"conv_backward_{name}")(dout, cache)
            check_conv(found, gradients, sizes, 3 * dout.size, dtype)
    if (7 + 2 * pad - 3) % stride == (6 + 2 * pad - 3) % stride == 0:
        out, cache = cs231n.conv_forward_im2col(x, w, b, conv_param)
        check_conv([out], [expected], [size], 18, dtype)
        found = cs231n.conv_backward_im2col(dout, (*cache[:4], np.zeros(3)))  # columns or not
        check_conv(found, gradients, sizes, 3 * dout.size, dtype)
    else:
        with pytest.raises(ValueError, match=r'conv_param\["stride"\]: expected a divisor of'):
            cs231n.conv_forward_im2col(x, w, b, conv_param)


POOLINGS = [(2, 2, 2), (3, 3, 3), (2, 2, 1), (3, 2, 1), (3, 3, 2), (2, 3, 4)]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_cs231n_pools(backend, dtype, pooling, rng):
    kernel, stride = pooling[:2], (pooling[2],) * 2
    pool_param = dict(zip(("pool_height", "pool_width", "stride"), pooling, strict=True))
    x = rng.integers(0, 3, (2, 3, 6, 9 if pooling[2] == 3 else 8)).astype(dtype)  # many ties
    expected = max_nchw(x, kernel, stride)
    dout = rng.integers(-4, 5, expected.shape).astype(dtype)
    with use_backend(backend):
        out, cache = cs231n.max_pool_forward_naive(x, pool_param)
        np.testing.assert_array_equal(out, expected)
        assert cache[0] is x
        assert cache[1] is pool_param
        for ties in ("first", "all"):
            dx = cs231n.max_pool_backward_naive(dout, cache, ties=ties)
            np.testing.assert_array_equal(dx, max_nchw(x, kernel, stride, dout, ties))
        by_default = cs231n.max_pool_backward_naive(dout, cache)
        first = max_nchw(x, kernel, stride, dout)
        np.testing.assert_array_equal(by_default, first)

        fills = not any((x.shape[2 + k] - kernel[k]) % pooling[2] for k in range(2))
        tiles = len(set(pooling)) == 1
        if not fills:
            for function in ("fast", "im2col"):
                with pytest.raises(ValueError, match="expected a divisor of"):
                    getattr(cs231n, f"max_pool_forward_{function}")(x, pool_param)
        else:
            out, cache = cs231n.max_pool_forward_im2col(x, pool_param)
            np.testing.assert_array_equal(out, expected)
            assert cache[0] is x
            assert cache[1:] == (None, None, pool_param)
            np.testing.assert_array_equal(cs231n.max_pool_backward_im2col(dout, cache), first)
            out, cache = cs231n.max_pool_forward_fast(x, pool_param)
            np.testing.assert_array_equal(out, expected)
            assert cache[0] == ("reshape" if tiles else "im2col")
            share = max_nchw(x, kernel, stride, dout, "share" if tiles else "first")
            dx = cs231n.max_pool_backward_fast(dout, cache)
            assert_within(dx, share, 1e-15 if dtype == np.float64 else 1e-6, dtype)
        if not tiles:
            with pytest.raises(ValueError, match="pool_param: expected square windows that tile"):
                cs231n.max_pool_forward_reshape(x, pool_param)
            return
        out, (_, reshaped, same) = cs231n.max_pool_forward_reshape(x, pool_param)
        assert same is out
        np.testing.assert_array_equal(reshaped.max(axis=(3, 5)), expected)
        dx = cs231n.max_pool_backward_reshape(dout, (x, reshaped, out))
        assert_within(dx, share, 1e-15 if dtype == np.float64 else 1e-6, dtype)
        assert np.abs(share - first).max() > 0.3  # there are ties


def test_cs231n_the_checks_of_the_notebook():
    """ConvolutionalNetworks.ipynb: its inputs, and the outputs that it calls correct."""

    def line(first, last, *shape):
        return np.linspace(first, last, num=np.prod(shape)).reshape(shape)

    x, w, b = line(-0.1, 0.5, 2, 3, 4, 4), line(-0.2, 0.3, 3, 3, 4, 4), line(-0.1, 0.2, 3)
    correct = [
        *(-0.08759809, -0.10987781, -0.18387192, -0.2109216, 0.21027089, 0.21661097),
        *(0.22847626, 0.23004637, 0.50813986, 0.54309974, 0.64082444, 0.67101435),
        *(-0.98053589, -1.03143541, -1.19128892, -1.24695841, 0.69108355, 0.66880383),
        *(0.59480972, 0.56776003, 2.36270298, 2.36904306, 2.38090835, 2.38247847),
    ]
    for forward in FORWARD.values():
        out, _ = forward(x, w, b, {"stride": 2, "pad": 1})
        np.testing.assert_allclose(out, np.reshape(correct, (2, 3, 2, 2)), atol=5e-9)
    x = line(-0.3, 0.4, 2, 3, 4, 4)
    out, _ = cs231n.max_pool_forward_naive(x, {"pool_width": 2, "pool_height": 2, "stride": 2})
    np.testing.assert_allclose(out[0, 0], [[-0.26315789, -0.24842105], [-0.20421053, -0.18947368]])
    np.testing.assert_allclose(out[1, 2], [[0.32631579, 0.34105263], [0.38526316, 0.4]])


def test_cs231n_columns(rng, dtype):
    x = rng.integers(-5, 6, (3, 2, 4, 6)).astype(dtype)
    for kernel, padding, stride in (((3, 3), 1, 1), ((2, 4), 0, 2), ((2, 2), 1, 2)):
        cols = cs231n.im2col_indices(x, *kernel, padding, stride)
        assert cols.dtype == dtype
        k, i, j = cs231n.get_im2col_indices(x.shape, *kernel, padding, stride)
        padded = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
        # By the course's own use of the indices, and by the definition: windows before images.
        by_index = padded[:, k, i, j].transpose(1, 2, 0).reshape(len(cols), -1)
        np.testing.assert_array_equal(cols, by_index)
        book = columns(x, kernel, stride, padding).reshape(3, -1, len(cols))
        np.testing.assert_array_equal(cols, book.transpose(2, 1, 0).reshape(len(cols), -1))
        y = rng.integers(-5, 6, cols.shape).astype(dtype)
        back = cs231n.col2im_indices(y, x.shape, *kernel, padding, stride)
        expected = np.zeros(padded.shape)
        np.add.at(expected, (slice(None), k, i, j), y.reshape(len(k), -1, 3).transpose(2, 0, 1))
        rows, width = x.shape[2:]
        inner = expected[:, :, padding : padding + rows, padding : padding + width]
        np.testing.assert_array_equal(back, inner)
    assert_within(cs231n.im2col_indices(x, 3, 3), cs231n.im2col_indices(x, 3, 3, 1, 1), 0, dtype)
    with pytest.raises(ValueError, match="stride: expected a divisor of 2 and 3"):
        cs231n.im2col_indices(x, 2, 3, 0, 2)


def test_cs231n_layers_of_several(rng, dtype):
    """Judged by the gradients of a sum, in the steps of the definitions."""
    x, w, b = (normal(rng, *shape, dtype=dtype) for shape in ((3, 2, 8, 8), (4, 2, 3, 3), (4,)))
    conv, pool = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}
    how, atol = ((1, 1), (1, 1)), 1e-10 if dtype == np.float64 else 2e-4
    a = conv_nchw(x, w, b, *how)
    active = np.maximum(a, 0)
    out, cache = cs231n.conv_relu_forward(x, w, b, conv)
    np.testing.assert_allclose(out, active, atol=atol)
    dout = normal(rng, *out.shape, dtype=dtype)
    for one, other in zip(
        cs231n.conv_relu_backward(dout, cache),
        conv_nchw(x, w, b, *how, dout * (a > 0)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=atol)
    out, cache = cs231n.conv_relu_pool_forward(x, w, b, conv, pool)
    np.testing.assert_allclose(out, max_nchw(active, (2, 2), (2, 2)), atol=atol)
    assert [len(each) for each in (cache, cache[0], cache[2])] == [3, 5, 2]
    dout = normal(rng, *out.shape, dtype=dtype)
    da = max_nchw(active, (2, 2), (2, 2), dout, "share") * (a > 0)
    for one, other in zip(
        cs231n.conv_relu_pool_backward(dout, cache), conv_nchw(x, w, b, *how, da), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=atol)

    w, b = normal(rng, 128, 5, dtype=dtype), normal(rng, 5, dtype=dtype)
    rows = x.reshape(3, -1).astype(float)
    affine = rows @ w + b
    out, cache = cs231n.affine_relu_forward(x, w, b)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, np.maximum(affine, 0), atol=atol)
    dout = normal(rng, 3, 5, dtype=dtype)
    dx, dw, db = cs231n.affine_relu_backward(dout, cache)
    da = dout * (affine > 0)
    np.testing.assert_allclose(dx, (da @ w.T).reshape(x.shape), atol=atol)
    np.testing.assert_allclose(dw, rows.T @ da, atol=atol)
    np.testing.assert_allclose(db, da.sum(0), atol=atol)
    assert cache[0][0] is x


# --- Deep Learning from Scratch ---


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 2), (2, 1), (3, 0)])
def test_dlfs_convolution(backend, dtype, stride, pad, rng):
    """By columns and a matrix product, as the book defines it."""
    x, W = normal(rng, 3, 2, 7, 8, dtype=dtype), normal(rng, 4, 2, 3, 2, dtype=dtype)
    b = normal(rng, 4, dtype=dtype)
    conv = dlfs.Convolution(W, b, stride, pad)
    assert (conv.x, conv.col, conv.col_W, conv.dW, conv.db) == (None,) * 5
    col, col_W = columns(x.astype(float), (3, 2), stride, pad), W.reshape(4, -1).T.astype(float)
    with use_backend(backend):
        out = conv.forward(x)
        dout = normal(rng, *out.shape, dtype=dtype)
        dx = conv.backward(dout)
    assert conv.x is x
    np.testing.assert_array_equal(conv.col, col)
    np.testing.assert_array_equal(conv.col_W, col_W)
    places = len(col) // 3

    def images(rows):
        return rows.reshape(3, out.shape[2], out.shape[3], 4).transpose(0, 3, 1, 2)

    assert places == out.shape[2] * out.shape[3]
    size = images(abs(col) @ abs(col_W) + abs(b))
    check_conv([out], [images(col @ col_W + b)], [size], 13, dtype)
    rows = dout.transpose(0, 2, 3, 1).reshape(-1, 4).astype(float)
    dW = (col.T @ rows).T.reshape(W.shape)
    sizes = (abs(col).T @ abs(rows)).T.reshape(W.shape), abs(rows).sum(0)
    check_conv([conv.dW, conv.db], [dW, rows.sum(0)], sizes, len(col), dtype)
    known = conv_nchw(x, W, b, (stride, stride), (pad, pad), dout)[0]
    size = conv_nchw(abs(x), abs(W), b, (stride, stride), (pad, pad), abs(dout))[0]
    check_conv([dx], [known], [size], 24, dtype)


def test_dlfs_weights_are_read_again(rng):
    """The book's optimisers change the arrays in place, its numerical gradients one by one."""
    W, b, x = normal(rng, 2, 1, 2, 2), normal(rng, 2), normal(rng, 2, 1, 3, 4)
    conv, pool = dlfs.Convolution(W, b), dlfs.Pooling(2, 2, stride=2)
    target = normal(rng, *pool.forward(conv.forward(x)).shape)
    dx = conv.backward(pool.backward(target))

    def loss():
        return np.array([(pool.forward(conv.forward(x)) * target).sum()])

    for array, gradient in ((W, conv.dW), (b, conv.db), (x, dx)):
        found = jacobian(loss, array).reshape(array.shape)
        np.testing.assert_allclose(gradient, found, atol=1e-7)


@pytest.mark.parametrize("pooling", [(2, 2, 2, 0), (2, 2, 1, 0), (3, 2, 2, 0), (3, 3, 2, 1)])
def test_dlfs_pooling(backend, dtype, pooling, rng):
    pool_h, pool_w, stride, pad = pooling
    x = rng.integers(-1, 2, (3, 2, 7, 8)).astype(dtype)  # many ties, some of them below zero
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    pool, how = dlfs.Pooling(*pooling), ((pool_h, pool_w), (stride, stride))
    assert (pool.x, pool.arg_max) == (None, None)
    with use_backend(backend):
        out = pool.forward(x)
        dout = rng.integers(-4, 5, out.shape).astype(dtype)
        dx = pool.backward(dout)
    assert out.dtype == dx.dtype == dtype
    assert pool.x is x
    np.testing.assert_array_equal(out, max_nchw(padded, *how))
    expected = max_nchw(padded, *how, dout)
    np.testing.assert_array_equal(dx, expected[:, :, pad : pad + 7, pad : pad + 8])
    col = columns(x, (pool_h, pool_w), stride, pad).reshape(-1, pool_h * pool_w)
    np.testing.assert_array_equal(pool.arg_max, col.argmax(axis=1))
    np.testing.assert_array_equal(nhwc(out).ravel(), col.max(axis=1))


def test_dlfs_signatures_and_defaults():
    assert str(inspect.signature(dlfs.Convolution)).startswith("(W: ")
    for kind, names, defaults in (
        (dlfs.Convolution, "W b stride pad", [1, 0]),
        (dlfs.Pooling, "pool_h pool_w stride pad", [1, 0]),
        (dlfs.im2col, "input_data filter_h filter_w stride pad", [1, 0]),
        (dlfs.col2im, "col input_shape filter_h filter_w stride pad", [1, 0]),
        (cs231n.im2col_indices, "x field_height field_width padding stride", [1, 1]),
        (
            cs231n.col2im_indices,
            "cols x_shape field_height field_width padding stride",
            [3, 3, 1, 1],
        ),
        (holberton.conv_forward, "A_prev W b activation padding stride", ["same", (1, 1)]),
        (holberton.conv_backward, "dZ A_prev W b padding stride", ["same", (1, 1)]),
        (holberton.pool_forward, "A_prev kernel_shape stride mode", [(1, 1), "max"]),
        (holberton.pool_backward, "dA A_prev kernel_shape stride mode", [(1, 1), "max"]),
    ):
        parameters = inspect.signature(kind).parameters
        assert " ".join(parameters) == names
        found = [each.default for each in parameters.values() if each.default is not each.empty]
        assert found == defaults
    assert drop_in.im2col is dlfs.im2col


# --- Holberton ---


def same(size, kernel, stride):
    """Return the padding that keeps a size, as the course's formula has it."""
    return int(np.ceil(((size - 1) * stride + kernel - size) / 2))


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"),
    [
        ((3, 3), "same", (1, 1)),
        ((3, 2), "same", (1, 1)),  # even: one column more
        ((3, 3), "same", (2, 3)),
        ((3, 3), "valid", (1, 1)),
        ((2, 3), "valid", (2, 1)),
        ((2, 2), (0, 1), (1, 2)),
        ((7, 6), "valid", (1, 1)),  # the whole image
    ],
    ids=str,
)
def test_holberton_convolves(backend, dtype, kernel, padding, stride, rng):
    A_prev = normal(rng, 3, 7, 6, 2, dtype=dtype)
    W, b = normal(rng, *kernel, 2, 4, dtype=dtype), normal(rng, 1, 1, 1, 4, dtype=dtype)
    pad = {"valid": (0, 0), "same": tuple(map(same, (7, 6), kernel, stride))}.get(padding, padding)
    arrays = nchw(A_prev), W.transpose(3, 2, 0, 1), b.ravel()
    positive = [abs(each) for each in arrays]
    expected, size = conv_nchw(*arrays, stride, pad), conv_nchw(*positive, stride, pad)
    if padding == "same" and kernel == (3, 3):
        assert expected.shape[2:] == (7, 6)
    with use_backend(backend):
        Z = holberton.conv_forward(A_prev, W, b, lambda z: z, padding, stride)
        A = holberton.conv_forward(A_prev, W, b, np.tanh, padding, stride)
        dZ = normal(rng, *Z.shape, dtype=dtype)
        found = holberton.conv_backward(dZ, A_prev, W, b, padding, stride)
    np.testing.assert_array_equal(A, np.tanh(Z))
    check_conv([nchw(Z)], [expected], [size], 2 * kernel[0] * kernel[1] + 1, dtype)
    dx, dw, db = found
    assert (dx.shape, dw.shape, db.shape) == (A_prev.shape, W.shape, b.shape)
    check_conv(
        [nchw(dx), dw.transpose(3, 2, 0, 1), db.ravel()],
        conv_nchw(*arrays, stride, pad, nchw(dZ)),
        conv_nchw(*positive, stride, pad, abs(nchw(dZ))),
        dZ.size,
        dtype,
    )


@pytest.mark.parametrize(
    ("kernel_shape", "stride"), [((2, 2), (2, 2)), ((3, 2), (1, 1)), ((2, 2), (3, 1))], ids=str
)
def test_holberton_pools(backend, dtype, kernel_shape, stride, rng):
    A_prev = rng.integers(0, 3, (3, 7, 6, 2)).astype(dtype)  # many ties: all get the gradient
    x = nchw(A_prev)
    with use_backend(backend):
        A = holberton.pool_forward(A_prev, kernel_shape, stride)
        mean = holberton.pool_forward(A_prev, kernel_shape, stride, "avg")
        dA = rng.integers(-4, 5, A.shape).astype(dtype)
        dmax = holberton.pool_backward(dA, A_prev, kernel_shape, stride)
        dmean = holberton.pool_backward(dA, A_prev, kernel_shape, stride, mode="avg")
    np.testing.assert_array_equal(nchw(A), max_nchw(x, kernel_shape, stride))
    np.testing.assert_array_equal(
        nchw(dmax), max_nchw(x, kernel_shape, stride, nchw(dA), ties="all")
    )
    atol = 1e-10 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(nchw(mean), mean_nchw(x, kernel_shape, stride), atol=atol)
    expected = mean_nchw(x, kernel_shape, stride, nchw(dA))
    np.testing.assert_allclose(nchw(dmean), expected, atol=atol)
    assert {A.dtype, mean.dtype, dmax.dtype, dmean.dtype} == {np.dtype(dtype)}


# --- what all of them share ---


def test_neither_threads_nor_memory_order_change_a_bit(monkeypatch, rng):
    monkeypatch.setattr(_shared, "BLOCK_BYTES", 1)  # blocks of 32 images
    x, w, b = normal(rng, 70, 2, 6, 6), normal(rng, 3, 2, 3, 3), normal(rng, 3)
    conv, pool = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, threads)
        for _, array in layouts(x):
            out, cache = cs231n.conv_relu_pool_forward(array, w, b, conv, pool)
            layer = dlfs.Convolution(w, b, pad=1)
            dx = layer.backward(layer.forward(array))
            kernels = w.transpose(2, 3, 1, 0), b.reshape(1, 1, 1, 3)
            A = holberton.conv_forward(nhwc(array), *kernels, np.tanh)
            found.append([out, *cs231n.conv_relu_pool_backward(out, cache)])
            found[-1] += [dx, layer.dW, A, *holberton.conv_backward(A, nhwc(array), *kernels)]
        _shared._pool(threads).close()
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_mixed_numbers_become_float64(rng):
    x, w, b = rng.integers(0, 9, (2, 1, 5, 5)), normal(rng, 2, 1, 2, 2), np.zeros(2, np.float32)
    out, cache = cs231n.conv_forward_fast(x, w, b, CONV)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, conv_nchw(x, w, b, (1, 1), (0, 0)), atol=1e-10)
    single = x.astype(np.float32), w.astype(np.float32), b
    out, cache = cs231n.conv_forward_fast(*single, CONV)
    assert out.dtype == np.float32
    assert cs231n.conv_backward_fast(out.astype(float), cache)[1].dtype == np.float64
    layer = dlfs.Convolution(*single[1:])
    assert layer.forward(single[0]).dtype == np.float32
    assert layer.backward(out.astype(float)).dtype == np.float64


def test_an_empty_batch():
    x, w, b = np.zeros((0, 2, 4, 4)), np.ones((3, 2, 3, 3)), np.ones(3)
    out, cache = cs231n.conv_relu_pool_forward(x, w, b, {"stride": 1, "pad": 1}, POOL)
    assert out.shape == (0, 3, 2, 2)
    dx, dw, db = cs231n.conv_relu_pool_backward(out, cache)
    assert (dx.shape, dw.any(), db.any()) == (x.shape, False, False)
    assert cs231n.im2col_indices(x, 3, 3).shape == (18, 0)
    assert dlfs.Pooling(2, 2).forward(x).shape == (0, 2, 3, 3)
    assert holberton.pool_forward(nhwc(x), (2, 2)).shape == (0, 3, 3, 2)


# --- bad input ---

X, W, B = np.ones((2, 2, 5, 5)), np.ones((4, 2, 3, 3)), np.ones(4)
CONV, POOL = {"stride": 1, "pad": 0}, {"pool_height": 2, "pool_width": 2, "stride": 2}
Y, K, C = nhwc(X), W.transpose(2, 3, 1, 0), B.reshape(1, 1, 1, 4)


def conv_of(x, dout=None, **options):
    layer = dlfs.Convolution(W, B, **options)
    layer.forward(x)
    if dout is not None:
        layer.backward(dout)


def pool_of(x, *arguments, dout=None):
    layer = dlfs.Pooling(*arguments)
    layer.forward(x)
    if dout is not None:
        layer.backward(dout)


WRONG = [
    (cs231n.conv_forward_naive, (X.tolist(), W, B, CONV), TypeError, "x: expected an array of"),
    (cs231n.conv_forward_naive, (X[0], W, B, CONV), ValueError, "x: expected axes (N, C, H, W)"),
    (cs231n.conv_forward_fast, (X, W[0], B, CONV), ValueError, "w: expected axes (F, C, HH, WW)"),
    (cs231n.conv_forward_fast, (X, W[:, :1], B, CONV), ValueError, "w: expected 2 maps (C of x)"),
    (cs231n.conv_forward_fast, (X, W, B[:1], CONV), ValueError, "b: expected shape (4,)"),
    (
        cs231n.conv_forward_fast,
        (X, W, B, {"pad": 0}),
        ValueError,
        'conv_param: expected the key "s',
    ),
    (cs231n.conv_forward_fast, (X, W, B, 3), TypeError, "conv_param: expected a dict, got int 3"),
    (
        *(cs231n.conv_forward_fast, (X, W, B, {"stride": 1, "pad": -1})),
        *(ValueError, 'conv_param["pad"]: expected an int from 0'),
    ),
    (
        *(cs231n.conv_forward_fast, (X, W, B, {"stride": 0.5, "pad": 1})),
        *(TypeError, 'conv_param["stride"]: expected an int, got float 0.5'),
    ),
    (cs231n.conv_forward_fast, (X[:, :, :2], W, B, CONV), ValueError, "w: expected a window that"),
    (cs231n.conv_backward_fast, (X, (X, W, B)), TypeError, "cache: expected (x, w, b, conv_param)"),
    (cs231n.conv_backward_fast, (X, (X, W, B, CONV)), ValueError, "dout: expected shape (2, 4, 3"),
    (cs231n.max_pool_forward_naive, (X, CONV), ValueError, 'expected the key "pool_height"'),
    (cs231n.max_pool_forward_naive, (X[:, :, :1], POOL), ValueError, "pool_param: expected a win"),
    (
        cs231n.max_pool_backward_naive,
        (X, (X, POOL)),
        ValueError,
        "dout: expected shape (2, 2, 2, 2",
    ),
    (
        cs231n.max_pool_backward_reshape,
        (X, (X, X, X)),
        TypeError,
        "cache: expected x_reshaped (N, C",
    ),
    (
        cs231n.max_pool_backward_im2col,
        (X, (X, POOL)),
        TypeError,
        "cache: expected (x, x_cols, x_col",
    ),
    (
        cs231n.max_pool_backward_fast,
        (X, ("fft", X)),
        ValueError,
        "cache[0]: expected one of reshape",
    ),
    (cs231n.im2col_indices, (X, 6, 2, 0), ValueError, "field_height and field_width: expected a w"),
    (cs231n.im2col_indices, (X, 2.0, 2), TypeError, "field_height: expected an int"),
    (cs231n.im2col_indices, (X, 2, 2, -1), ValueError, "padding: expected an int from 0"),
    (cs231n.col2im_indices, (X, X.shape), ValueError, "cols: expected shape (18, 50)"),
    (cs231n.get_im2col_indices, (5, 2, 2), TypeError, "x_shape: expected (N, C, H, W), got int 5"),
    (cs231n.affine_forward, (X, W, B), ValueError, "w: expected axes (D, M)"),
    (cs231n.affine_forward, (X, np.ones((49, 4)), B), ValueError, "w: expected 50 rows (D of x)"),
    (cs231n.affine_forward, (X, np.ones((50, 3)), B), ValueError, "b: expected shape (3,)"),
    (cs231n.affine_forward, (B, W, B), ValueError, "x: expected axes (N, d_1, ..., d_k)"),
    (
        cs231n.affine_backward,
        (B, (X, np.ones((50, 4)), B)),
        ValueError,
        "dout: expected shape (2, 4",
    ),
    (cs231n.relu_backward, (X, B), ValueError, "dout: expected shape (4,)"),
    (cs231n.conv_relu_backward, (X, (X,)), TypeError, "cache: expected (conv_cache, relu_cache)"),
    (dlfs.Convolution, (W, B, 0), ValueError, "stride: expected an int from 1"),
    (dlfs.Convolution, (W, B, 1, 0.5), TypeError, "pad: expected an int"),
    (dlfs.Pooling, (2, "2"), TypeError, "pool_w: expected an int"),
    (conv_of, (X[:, :1],), ValueError, "x: expected 2 maps (C of W), got 1"),
    (conv_of, (X[:, :, :2],), ValueError, "W: expected a window that fits into 2 x 5"),
    (conv_of, (X, X), ValueError, "dout: expected shape (2, 4, 3, 3)"),
    (dlfs.Convolution(W, B[:2]).forward, (X,), ValueError, "b: expected shape (4,)"),
    (dlfs.Convolution(W[0], B).forward, (X,), ValueError, "W: expected axes (FN, C, FH, FW)"),
    (dlfs.Convolution(W, B).backward, (X,), ValueError, "dout: expected the gradient of a forward"),
    (
        dlfs.Pooling(2, 2).backward,
        (X,),
        ValueError,
        "dout: expected the gradient of a forward pass",
    ),
    (pool_of, (X, 6, 2), ValueError, "pool_h and pool_w: expected a window that fits into 5 x 5"),
    (pool_of, (X[0], 2, 2), ValueError, "x: expected axes (N, C, H, W)"),
    (
        holberton.conv_forward,
        (Y, K, C, "relu"),
        TypeError,
        "activation: expected a function, got st",
    ),
    (
        holberton.conv_forward,
        (Y, K, C, abs, "full"),
        ValueError,
        "padding: expected one of same, va",
    ),
    (
        holberton.conv_forward,
        (Y, K, C, abs, 1),
        TypeError,
        'padding: expected ("same", "valid" or ph',
    ),
    (
        holberton.conv_forward,
        (Y, K, C, abs, "same", 1),
        TypeError,
        "stride: expected (sh, sw), got",
    ),
    (
        holberton.conv_forward,
        (Y, K, C, abs, "same", (1, 0)),
        ValueError,
        "stride: expected an int f",
    ),
    (holberton.conv_forward, (Y, K, B, abs), ValueError, "b: expected shape (1, 1, 1, 4)"),
    (
        holberton.conv_forward,
        (Y, K[0], C, abs),
        ValueError,
        "W: expected axes (kh, kw, c_prev, c_new",
    ),
    (
        holberton.conv_forward,
        (Y[0], K, C, abs),
        ValueError,
        "A_prev: expected axes (m, h_prev, w_pr",
    ),
    (holberton.conv_forward, (X, K, C, abs), ValueError, "W: expected 5 maps (c_prev of A_prev)"),
    (holberton.conv_backward, (Y, Y, K, C), ValueError, "dZ: expected shape (2, 5, 5, 4)"),
    (holberton.pool_forward, (Y, 2), TypeError, "kernel_shape: expected (kh, kw), got int 2"),
    (holberton.pool_forward, (Y, (6, 2)), ValueError, "kernel_shape: expected a window that fits"),
    (
        holberton.pool_forward,
        (Y, (2, 2), (2, 2), "average"),
        ValueError,
        "mode: expected one of max,",
    ),
    (holberton.pool_backward, (Y, Y, (2, 2)), ValueError, "dA: expected shape (2, 4, 4, 2)"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"), WRONG, ids=[each[3][:40] for each in WRONG]
)
def test_what_is_wrong_is_named(function, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(*arguments)
