"""Convolution in every backend: definition, difference quotients, adjoints, PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    Convolution,
    assert_summed,
    assert_within,
    curvatures,
    new_rng,
    normal,
    require,
    slopes,
    summed,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lenet_fast import backends, ops

ALGORITHMS = ("direct", "im2col", "auto")


# --- all options, against the definition  ---


@st.composite
def cases(draw):
    """Draw the shapes and options of a small convolution whose kernel fits."""
    small = st.integers(1, 3)
    groups = draw(st.integers(1, 2))
    width, height = draw(small), draw(small)  # input and output maps a group
    kh, kw = draw(small), draw(small)
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(small, small))
    padding = draw(st.permutations([0, 0, 1, 2]).map(tuple) | st.just((0, 0, 0, 0)))
    extents = (kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1
    least = (
        max(1, extents[0] - padding[0] - padding[1]),
        max(1, extents[1] - padding[2] - padding[3]),
    )
    size = tuple(low + draw(st.integers(0, 4)) for low in least)
    w_shape = (groups * height, width, kh, kw)
    table = None
    if draw(st.booleans()):
        links = draw(st.lists(st.booleans(), min_size=w_shape[0] * width, max_size=9999))
        table = np.array(links[: w_shape[0] * width]).reshape(w_shape[:2])
    return {
        "x_shape": (draw(st.integers(1, 2)), groups * width, *size),
        "w_shape": w_shape,
        "bias": draw(st.sampled_from(["unit", "map", None])),
        "seed": draw(st.integers(0, 2**16)),
        "options": {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "connections": table,
            "pad_value": draw(st.sampled_from([0.0, -1.0, 0.375])),
        },
    }


LENET1989 = {
    "x_shape": (1, 1, 6, 6),
    "w_shape": (2, 1, 5, 5),
    "bias": "unit",
    "seed": 0,
    "options": {
        "stride": (2, 2),
        "padding": (2, 2, 2, 2),
        "dilation": (1, 1),
        "groups": 1,
        "connections": None,
        "pad_value": -1.0,
    },
}
NO_LINK = {
    **LENET1989,
    "x_shape": (2, 2, 3, 3),
    "w_shape": (2, 2, 3, 2),
    "bias": "map",
    "options": {
        **LENET1989["options"],
        "stride": (1, 1),
        "connections": np.array([[False, False], [True, False]]),
    },
}


@given(case=cases())
@example(case=LENET1989)
@example(case=NO_LINK)
def test_all_passes_agree_with_the_definition(case, backend, dtype):
    options = case["options"]
    rng = np.random.default_rng(case["seed"])
    judge = Convolution(case["x_shape"], case["w_shape"], **options)
    x, w = normal(rng, *case["x_shape"], dtype=dtype), normal(rng, *case["w_shape"], dtype=dtype)
    dy = normal(rng, *judge.y_shape, dtype=dtype)
    b = {
        "map": normal(rng, w.shape[0], dtype=dtype),
        "unit": normal(rng, *judge.y_shape[1:], dtype=dtype),
        None: None,
    }[case["bias"]]
    bias = case["bias"] or "map"
    terms = w[0].size
    many = dy.size

    y = judge.forward(x, w, b)
    gradients = judge.backward(dy, x, w, bias)
    hessians = judge.backward(np.abs(dy), x, w, bias, power=2)
    positive = judge.magnitude()
    y_size = positive.forward(np.abs(x), np.abs(w), None if b is None else np.abs(b))
    sizes = positive.backward(np.abs(dy), np.abs(x), np.abs(w), bias)
    for algorithm in ALGORITHMS:
        how = {**options, "algorithm": algorithm, "backend": backend}
        assert_summed(ops.conv2d(x, w, b, **how), y, y_size, terms, dtype, f"y, {algorithm}")
        found = ops.conv2d_backward(dy, x, w, bias=bias, **how)
        for name, one, right, size, count in zip(
            ("dx", "dw", "db"), found, gradients, sizes, (terms * len(w), many, many), strict=True
        ):
            assert_summed(one, right, size, count, dtype, f"{name}, {algorithm}")
        found = ops.conv2d_hessian(np.abs(dy), x, w, bias=bias, **how)
        for name, one, right, count in zip(
            ("hx", "hw", "hb"), found, hessians, (terms * len(w), many, many), strict=True
        ):
            assert_summed(one, right, right, count + 1, dtype, f"{name}, {algorithm}")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_by_hand(backend, dtype, algorithm):
    # Two maps seen by one kernel, not flipped: 1*1 + 2*2 + 3*3 + 4*4 + (1 + 1 + 1 + 1)*10 + 0.5
    x = np.array([[[[1, 2], [3, 4]], [[1, 1], [1, 1]]]], dtype)
    w = np.array([[[[1, 2], [3, 4]], [[10, 10], [10, 10]]]], dtype)
    y = ops.conv2d(x, w, np.array([0.5], dtype), algorithm=algorithm, backend=backend)
    assert_within(y, [[[[70.5]]]], 0.0, dtype)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_options_as_int_pair_and_four_sides_mean_the_same(backend, rng, algorithm):
    x, w = normal(rng, 2, 2, 7, 6), normal(rng, 3, 2, 2, 3)
    how = {"algorithm": algorithm, "backend": backend}
    one = ops.conv2d(x, w, stride=2, padding=1, dilation=2, **how)
    for padding in ((1, 1), [1, 1, 1, 1], np.int64(1)):
        same = ops.conv2d(x, w, stride=(2, 2), padding=padding, dilation=[2, np.int8(2)], **how)
        np.testing.assert_array_equal(one, same)
    wide = ops.conv2d(x, w, padding=(0, 2), **how)
    assert wide.shape == (2, 3, 6, 8), "a pair is (vertical, horizontal)"
    np.testing.assert_array_equal(wide, ops.conv2d(x, w, padding=(0, 0, 2, 2), **how))


# --- connection tables  ---


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("groups", [1, 2])
def test_weight_of_an_absent_link_counts_as_zero_even_if_nan(
    backend, dtype, rng, algorithm, groups
):
    x = normal(rng, 2, 4, 6, 5, dtype=dtype)
    w = normal(rng, 6, 4 // groups, 3, 3, dtype=dtype)
    table = rng.random(w.shape[:2]) < 0.5
    assert table.any()
    assert not table.all()
    poisoned = np.where(table[:, :, None, None], w, np.nan).astype(dtype)
    cleared = np.where(table[:, :, None, None], w, 0).astype(dtype)
    dy = normal(rng, 2, 6, 4, 3, dtype=dtype)
    how = {"groups": groups, "algorithm": algorithm, "backend": backend}
    np.testing.assert_array_equal(
        ops.conv2d(x, poisoned, connections=table, **how),
        ops.conv2d(x, cleared, connections=table, **how),
    )
    for run in (ops.conv2d_backward, ops.conv2d_hessian):
        dx, dw, _ = run(np.abs(dy), x, poisoned, connections=table, **how)
        full_dx, full_dw, _ = run(np.abs(dy), x, cleared, **how)
        bound = summed(6 * 9, dtype, np.abs(full_dx).max() * 10)
        assert_within(dx, full_dx, bound, dtype, "dx")
        assert (dw[~table] == 0).all()
        linked = np.where(table[:, :, None, None], full_dw, 0)
        assert_within(dw, linked, summed(24, dtype, np.abs(full_dw).max() * 10), dtype, "dw")


# --- difference quotients  ---


DIFFERENCES = {
    "table": {"stride": (2, 1), "padding": (1, 0, 2, 1), "pad_value": -1.0, "table": True},
    "groups": {"groups": 2, "dilation": (1, 2), "padding": (0, 1)},
}


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("bias", ["map", "unit"])
def test_backward_and_hessian_against_differences(backend, rng, algorithm, name, bias):
    """With E = sum q (y - t)^2 / 2 over a single linear layer both passes are exact."""
    options = {**DIFFERENCES[name], "algorithm": algorithm, "backend": backend}
    x = normal(rng, 2, 2, 4, 3)
    w = normal(rng, 2, 2 // options.get("groups", 1), 2, 2)
    if options.pop("table", False):
        options["connections"] = np.array([[True, False], [True, True]])
    y = ops.conv2d(x, w, **options)
    b = normal(rng, *(y.shape[1:] if bias == "unit" else y.shape[1:2]))
    q, t = rng.random(y.shape) + 0.5, normal(rng, *y.shape)

    def error(x=x, w=w, b=b):
        return float((q * (ops.conv2d(x, w, b, **options) - t) ** 2).sum() / 2)

    dy = q * (ops.conv2d(x, w, b, **options) - t)
    first = ops.conv2d_backward(dy, x, w, bias=bias, **options)
    second = ops.conv2d_hessian(q, x, w, bias=bias, **options)
    functions = (
        (x, lambda moved: error(x=moved)),
        (w, lambda moved: error(w=moved)),
        (b, lambda moved: error(b=moved)),
    )
    for which, (at, f), d, h in zip("xwb", functions, first, second, strict=True):
        # E is a parabola in each number: the differences are exact but for rounding.
        assert_within(d, slopes(f, at, step=0.1), 1e-10, what=f"d{which}")
        assert_within(h, curvatures(f, at, step=0.1), 1e-8, what=f"h{which}")


# --- adjoints  ---


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@given(case=cases())
@settings(max_examples=20)
def test_passes_are_adjoint(case, backend, dtype, algorithm):
    """<conv(x, w), dy> = <x, dx> = <w, dw> with no bias and a border of zeros."""
    options = {**case["options"], "pad_value": 0.0, "algorithm": algorithm, "backend": backend}
    rng = np.random.default_rng(case["seed"])
    x, w = normal(rng, *case["x_shape"], dtype=dtype), normal(rng, *case["w_shape"], dtype=dtype)
    y = ops.conv2d(x, w, **options)
    dy = normal(rng, *y.shape, dtype=dtype)
    dx, dw, db = ops.conv2d_backward(dy, x, w, **options)

    def inner(a, b):
        return float((a.astype(np.float64) * b.astype(np.float64)).sum())

    # Each of the elements of y, dx and dw is off by the bound of a sum of so many terms.
    terms = max(w.size, dy.size)
    magnitude = np.abs(x).max() * np.abs(w).max() * np.abs(dy).sum() * w[0].size
    bound = float(summed(terms, dtype, magnitude))
    assert abs(inner(y, dy) - inner(x, dx)) <= bound
    assert abs(inner(y, dy) - inner(w, dw)) <= bound
    bound = float(summed(dy.size, dtype, np.abs(dy).sum()))
    assert abs(inner(dy, np.ones_like(dy)) - inner(db, np.ones_like(db))) <= bound


# --- LeNet's own layers  ---


LAYERS = {
    "C1": ((3, 1, 32, 32), (6, 1, 5, 5), {}),
    "C3": ((3, 6, 14, 14), (16, 6, 5, 5), {"table": True}),
    "C5": ((3, 16, 5, 5), (120, 16, 5, 5), {}),
    "H1 of 1989": ((3, 1, 16, 16), (12, 1, 5, 5), {"stride": 2, "padding": 2, "pad_value": -1.0}),
    "wide and short": ((2, 3, 7, 67), (17, 3, 3, 4), {"padding": (1, 3)}),
    "vector tails": ((1, 2, 9, 23), (9, 2, 2, 2), {}),
}


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("layer", LAYERS)
def test_lenet_layers_agree_with_the_reference(backend, dtype, rng, algorithm, layer):
    x_shape, w_shape, options = LAYERS[layer]
    options = dict(options)
    if options.pop("table", False):
        options["connections"] = rng.random(w_shape[:2]) < 0.6
    x, w = normal(rng, *x_shape, dtype=dtype), normal(rng, *w_shape, dtype=dtype)
    b = normal(rng, w_shape[0], dtype=dtype)
    compare_with_the_reference(x, w, b, options, algorithm, backend)


def compare_with_the_reference(x, w, b, options, algorithm, backend):
    """Compare all passes with the reference, judged above, in float64 on the same numbers."""
    dtype, w_shape, rng = x.dtype, w.shape, new_rng()
    how = {**options, "algorithm": algorithm, "backend": backend}
    plain = {**options, "algorithm": "direct", "backend": "numpy"}
    border = {**plain, "pad_value": abs(options.get("pad_value", 0.0))}
    wide = [a.astype(np.float64) for a in (x, w, b)]
    sizes = [np.abs(a) for a in wide]
    y = ops.conv2d(x, w, b, **how)
    terms = w[0].size
    assert_summed(y, ops.conv2d(*wide, **plain), ops.conv2d(*sizes, **border), terms, dtype, "y")
    dy = normal(rng, *y.shape, dtype=dtype)
    wide_dy = dy.astype(np.float64)
    many = y.size // w_shape[0]
    counts = (terms * w_shape[0], many, many)
    passes = (
        (ops.conv2d_backward, dy, wide_dy),
        (ops.conv2d_hessian, np.abs(dy), np.abs(wide_dy)),
    )
    for run, narrow, right in passes:
        found = run(narrow, x, w, **how)
        expected = run(right, *wide[:2], **plain)
        magnitude = run(np.abs(wide_dy), *sizes[:2], **border)
        for which, one, judged, size, count in zip(
            "xwb", found, expected, magnitude, counts, strict=True
        ):
            assert_summed(one, judged, size, count + 1, dtype, f"{run.__name__}, {which}")


@st.composite
def larger_cases(draw):
    """Draw sizes around the lengths of vectors and register blocks, full and ragged."""
    kh, kw = draw(st.integers(1, 7)), draw(st.integers(1, 11))
    dilation = draw(st.sampled_from([1, 1, 2]))
    stride = (draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2, 3])))
    size = (
        (kh - 1) * dilation + draw(st.integers(1, 6)),
        (kw - 1) * dilation + draw(st.integers(1, 33)),
    )
    n = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33]))
    c_in, c_out = draw(st.integers(1, 4)), draw(st.integers(1, 11))
    options = {"stride": stride, "dilation": dilation}
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        options["connections"] = rng.random((c_out, c_in)) < 0.7
    return (n, c_in, *size), (c_out, c_in, kh, kw), options


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@given(case=larger_cases())
def test_sizes_around_the_length_of_a_vector(case, backend, dtype, algorithm):
    rng = new_rng()
    x_shape, w_shape, options = case
    x, w = normal(rng, *x_shape, dtype=dtype), normal(rng, *w_shape, dtype=dtype)
    b = normal(rng, w_shape[0], dtype=dtype)
    compare_with_the_reference(x, w, b, options, algorithm, backend)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_batches_of_several_tiles(backend, dtype, rng, algorithm):
    w, b = normal(rng, 5, 3, 5, 5, dtype=dtype), normal(rng, 5, dtype=dtype)
    for n in (40, 63, 64, 65, 130):
        x = normal(rng, n, 3, 7, 8, dtype=dtype)
        compare_with_the_reference(x, w, b, {}, algorithm, backend)


def test_depth_and_width_beyond_a_block_of_the_product(backend, dtype, rng):
    """Matrix products are cut into blocks of some hundreds: here they end in ragged ones."""
    for x_shape, w_shape in (
        ((2, 31, 26, 24), (13, 31, 3, 3)),  # 528 columns, 279 deep
        ((3, 67, 3, 3), (9, 67, 3, 3)),  # one output a map: 603 deep
        ((70, 5, 2, 2), (530, 5, 2, 2)),  # and 530 maps
    ):
        x, w = normal(rng, *x_shape, dtype=dtype), normal(rng, *w_shape, dtype=dtype)
        b = normal(rng, w_shape[0], dtype=dtype)
        compare_with_the_reference(x, w, b, {}, "im2col", backend)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_a_kernel_may_be_asked_for_fewer_outputs_than_fit(backend, dtype, rng, algorithm):
    """The size of y decides: rows and columns left over at the end are not looked at."""
    kernel = backends.get(backend)
    x, w = normal(rng, 3, 2, 8, 9, dtype=dtype), normal(rng, 3, 2, 3, 2, dtype=dtype)
    b, links = np.zeros((3, 1, 1), dtype), np.ones((3, 2), np.uint8)
    window = (1, 2, 1, 1)
    how = {"stride": (1, 2), "algorithm": algorithm, "backend": backend}
    whole = ops.conv2d(x, w, **how)
    assert whole.shape == (3, 3, 6, 4)
    y = np.empty((3, 3, 4, 3), dtype)
    getattr(kernel, f"conv2d_{algorithm}")(x, w, b, links, y, *window)
    bound = summed(14, dtype, 12 * np.abs(x).max() * np.abs(w).max())
    assert_within(y, whole[:, :, :4, :3], bound, dtype, "y")
    dy = np.zeros_like(whole)
    dy[:, :, :4, :3] = normal(rng, *y.shape)
    cut = dy[:, :, :4, :3].copy()
    right = ops.conv2d_backward(dy, x, w, **how)
    dx, dw, db = (np.full_like(array, np.nan) for array in right)
    getattr(kernel, f"conv2d_input_gradient_{algorithm}")(cut, w, links, dx, *window)
    to_weights = getattr(kernel, f"conv2d_weight_gradient_{algorithm}")
    to_weights(cut, x, links, dw, db.reshape(3, 1, 1), *window)
    for which, one, expected in zip("xwb", (dx, dw, db), right, strict=True):
        bound = summed(40, dtype, 10 * np.abs(expected).max())
        assert_within(one, expected, bound, dtype, f"d{which}")


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_input_gradient_may_be_left_out(backend, dtype, rng, algorithm):
    x, w = normal(rng, 2, 2, 5, 5, dtype=dtype), normal(rng, 3, 2, 3, 3, dtype=dtype)
    dy = normal(rng, 2, 3, 3, 3, dtype=dtype)
    how = {"algorithm": algorithm, "backend": backend}
    for run in (ops.conv2d_backward, ops.conv2d_hessian):
        _, dw, db = run(dy, x, w, **how)
        nothing, same_dw, same_db = run(dy, x, w, input_gradient=False, **how)
        assert nothing is None
        np.testing.assert_array_equal(same_dw, dw)
        np.testing.assert_array_equal(same_db, db)
        given_dw, given_db = np.full_like(dw, np.nan), np.full_like(db, np.nan)
        result = run(dy, x, w, input_gradient=False, out=(None, given_dw, given_db), **how)
        assert result[0] is None
        assert result[1] is given_dw
        assert result[2] is given_db
        np.testing.assert_array_equal(given_dw, dw)
        np.testing.assert_array_equal(given_db, db)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_largest_stride_and_dilation_that_mean_something(backend, rng, algorithm):
    """One window of one tap: neither is ever multiplied by more than zero."""
    largest = 2**31 - 1
    how = {"algorithm": algorithm, "backend": backend}
    x, w = normal(rng, 2, 2, 3, 4), normal(rng, 2, 2, 1, 1)
    dy = normal(rng, 2, 2, 1, 1)
    once = ops.conv2d(x, w, stride=7, **how)
    assert once.shape == dy.shape
    far = {"stride": largest, "dilation": largest, **how}
    np.testing.assert_array_equal(ops.conv2d(x, w, **far), once)
    for one, same in zip(
        ops.conv2d_backward(dy, x, w, **far),
        ops.conv2d_backward(dy, x, w, stride=7, **how),
        strict=True,
    ):
        np.testing.assert_array_equal(one, same)


# --- PyTorch  ---


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@given(case=cases())
@settings(max_examples=15)
def test_agrees_with_pytorch(case, backend, dtype, algorithm):
    torch = require("torch")
    options = case["options"]
    table = options["connections"]
    rng = np.random.default_rng(case["seed"])
    x = normal(rng, *case["x_shape"], dtype=dtype)
    w = normal(rng, *case["w_shape"], dtype=dtype)
    b = normal(rng, len(w), dtype=dtype)
    how = {**options, "algorithm": algorithm, "backend": backend}
    y = ops.conv2d(x, w, b, **how)
    dy = normal(rng, *y.shape, dtype=dtype)
    gradients = ops.conv2d_backward(dy, x, w, **how)

    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    top, bottom, left, right = options["padding"]
    padded = torch.nn.functional.pad(tx, (left, right, top, bottom), value=options["pad_value"])
    linked = tw if table is None else tw * torch.tensor(table)[:, :, None, None]
    ty = torch.nn.functional.conv2d(
        padded, linked, tb, options["stride"], 0, options["dilation"], options["groups"]
    )
    ty.backward(torch.tensor(dy))
    terms = w[0].size
    size = max(1.0, abs(options["pad_value"]), np.abs(x).max()) * np.abs(w).max()
    assert_summed(y, ty.detach().numpy(), terms * size + np.abs(b).max(), terms, dtype, "y")
    largest = np.abs(dy).max()
    scales = (
        terms * len(w) * np.abs(w).max() * largest,
        dy.size * max(1.0, np.abs(x).max()) * largest,
        dy.size * largest,
    )
    counts = (terms * len(w), dy.size, dy.size)
    for one, theirs, scale, count in zip(gradients, (tx, tw, tb), scales, counts, strict=True):
        assert_summed(one, theirs.grad.numpy(), scale, count, dtype)
