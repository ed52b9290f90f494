"""Bad arguments: the right error, naming the argument, what was expected and what came.

The checks run before any backend is called, so the reference stands for all of them.
"""

from __future__ import annotations

import math
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
from helpers import complains, normal
from op_cases import ALL

from lenet_fast import layers, ops

every_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)


def calling(case, arrays, **options):
    return case.run(arrays, backend="numpy", **options)


ANY_SHAPE = tuple(layers.ACTIVATIONS)


def floats(case):
    """Return the arguments of a case that are float arrays."""
    return [name for name in case.shapes if name != "labels"]


# --- array arguments of every function  ---


WRONG_DTYPES = {
    "int64": lambda a: a.astype(np.int64),
    "bool": lambda a: a > 0,
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder()),
    "complex": lambda a: a.astype(np.complex128),
    "object": lambda a: a.astype(object),
    "str": lambda a: a.astype(str),
    "structured": lambda a: a.astype([("value", np.float64)]),
    "the other float": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
}
NO_ARRAYS = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a),
    "None": lambda a: None,
    "float": lambda a: 1.0,
    "str": lambda a: "x",
    "numpy scalar": lambda a: a.dtype.type(1),
    "masked array": np.ma.MaskedArray,
    "buffer": lambda a: memoryview(a),
}


@pytest.mark.parametrize("kind", WRONG_DTYPES)
@every_case
def test_wrong_dtype_of_one_argument(case, dtype, kind, rng):
    arrays = case.arrays(rng, 2, dtype)
    for name in floats(case):
        wrong = WRONG_DTYPES[kind](arrays[name])
        if wrong.dtype in (np.float32, np.float64) and len(floats(case)) == 1:
            continue  # either will do where there is no other array to agree with
        if wrong.dtype == dtype:
            continue  # long double is double here
        # Of two float arrays that differ, the message may name the other one.
        names = "|".join(floats(case))
        with pytest.raises(TypeError, match=rf"^({names}): expected dtype .+, got .+"):
            calling(case, {**arrays, name: wrong})


MAY_BE_NONE = {("conv2d", "b"), ("dense", "b"), ("rbf_hessian", "dy")}


@pytest.mark.parametrize("kind", NO_ARRAYS)
@every_case
def test_what_is_no_array(case, kind, rng):
    arrays = case.arrays(rng, 2, np.float64)
    for name in arrays:
        if kind == "None" and (case.name, name) in MAY_BE_NONE:
            continue  # may be left out
        with complains(name, TypeError):
            calling(case, {**arrays, name: NO_ARRAYS[kind](arrays[name])})


@every_case
def test_wrong_number_of_axes(case, rng):
    arrays = case.arrays(rng, 2, np.float64)
    names = "|".join(arrays)
    for name, array in arrays.items():
        for wrong in (array[None], array[..., None], array.reshape(-1)[:1].reshape(())):
            batch = case.name == "dropout" and wrong.ndim > 1
            if batch or (len(arrays) == 1 and case.name in ANY_SHAPE):
                assert calling(case, {name: wrong})[0].shape == wrong.shape
                continue
            with pytest.raises(ValueError, match=rf"^({names}): expected .+, got .+"):
                calling(case, {**arrays, name: wrong})


@every_case
def test_every_length_is_checked(case, rng):
    """One longer or shorter along any axis of one argument never gets through to a kernel."""
    arrays = case.arrays(rng, 2, np.float64)
    for name, array in arrays.items():
        for axis in range(array.ndim):
            for wrong in (np.repeat(array, 2, axis=axis), np.delete(array, 0, axis=axis)):
                try:
                    found = calling(case, {**arrays, name: wrong})
                except ValueError as error:
                    message = str(error)
                else:
                    assert _may_vary(case, name, axis), f"{name}, axis {axis}: {wrong.shape}"
                    assert all(isinstance(one, np.ndarray) for one in found)
                    continue
                assert re.match(r"\w+: expected .+, got .+", message), message


def _may_vary(case, name, axis):
    """Whether a length may be changed in one argument alone."""
    forward = case.results == ("y",)
    operation = case.name
    if operation.startswith("conv2d"):
        # More rows or columns than the outputs need, and another batch, only in the forward pass;
        # a stride of 2 leaves the number of output rows as it is.
        return (forward and (name, axis) in {("x", 0), ("x", 2), ("x", 3), ("w", 2), ("w", 3)}) or (
            name in ("x", "w") and axis == 2
        )
    if operation.startswith(("max_pool2d", "avg_pool2d", "subsample2d")):
        free = {("x", 0), ("x", 2), ("x", 3)} if forward else set()
        if operation in ("max_pool2d", "avg_pool2d"):
            free.add(("x", 1))
        return (name, axis) in free or (name, axis) in {("x", 2), ("x", 3)}
    if operation in ("dense", "rbf"):
        free = {("x", 0)} | ({("w", 0)} if operation == "rbf" else set())
        return (name, axis) in free
    if operation in (*ANY_SHAPE, "dropout"):
        return True
    if operation.startswith(("softmax", "map_loss", "penalty")):
        return (name, axis) == ("x", 1)  # more classes than the labels name, or one fewer
    return False


@pytest.mark.parametrize(
    ("name", "axes"),
    [("conv2d", 4), ("max_pool2d", 4), ("avg_pool2d", 4), ("dense", 2), ("rbf", 2)],
)
def test_only_the_batch_may_be_empty(name, axes):
    arguments = {
        "conv2d": [np.ones((1, 1, 1, 1))],
        "dense": [np.ones((1, 1))],
        "rbf": [np.ones((1, 1))],
    }
    for axis in range(1, axes):
        shape = [2] * axes
        shape[axis] = 0
        with complains("x"):
            getattr(ops, name)(np.ones(shape), *arguments.get(name, []), backend="numpy")


# --- out  ---


def outs(case, arrays):
    """Yield (position, its name in messages, the fitting array, a function that replaces it)."""
    fitting = calling(case, arrays)
    for at, result in enumerate(case.results):
        label = "out" if len(fitting) == 1 else f"out ({result})"

        def put(array, at=at):
            copies = [one.copy() for one in fitting]
            copies[at] = array
            return copies[0] if len(copies) == 1 else tuple(copies)

        yield label, fitting[at], put


@every_case
def test_wrong_out(case, dtype, rng):
    arrays = case.arrays(rng, 3, dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    for label, right, put in outs(case, arrays):
        readonly = right.copy()
        readonly.flags.writeable = False
        wide = np.zeros((*right.shape[:-1], 2 * right.shape[-1]), dtype)
        unaligned = np.zeros(right.nbytes + 1, np.uint8)[1:].view(dtype).reshape(right.shape)
        wrong_values = {
            "short": right[:-1].copy(),
            "long": np.zeros((right.shape[0] + 1, *right.shape[1:]), dtype),
            "flat": right.reshape(-1)[None].copy(),
            "empty": np.zeros(0, dtype),
            "read-only": readonly,
            "broadcast": np.broadcast_to(dtype.type(0), right.shape),
            "strided": wide[..., ::2],
            "reversed": right.copy()[::-1],
            "unaligned": unaligned,
        }
        if right.ndim > 1:
            wrong_values["Fortran order"] = np.asfortranarray(right)
        for kind, wrong in wrong_values.items():
            with complains(label):
                calling(case, arrays, out=put(wrong))
                pytest.fail(f"{label}, {kind}, was let through")
        for kind in (other, np.int64, np.float16, object, right.dtype.newbyteorder()):
            with complains(label, TypeError):
                calling(case, arrays, out=put(right.astype(kind)))
        for wrong in (right.tolist(), 1.0, "out", np.ma.MaskedArray(right)):
            with complains(label, TypeError):
                calling(case, arrays, out=put(wrong))


@every_case
def test_out_that_overlaps_an_input(case, rng):
    arrays = case.arrays(rng, 3, np.float64)
    for label, right, put in outs(case, arrays):
        for name, array in arrays.items():
            # One piece of memory that holds both, one element apart: the shapes need not agree.
            pool = np.zeros(right.size + array.size)
            start = array.size - 1
            given = pool[: array.size].view(array.dtype).reshape(array.shape)
            given[...] = array
            out = pool[start : start + right.size].reshape(right.shape)
            assert np.shares_memory(given, out)
            with complains(label, about="its own memory"):
                calling(case, {**arrays, name: given}, out=put(out))
            np.testing.assert_array_equal(given, array)
        if len(case.results) > 1:
            continue
        for name, array in arrays.items():
            if array.shape == right.shape and array.dtype == right.dtype:
                with complains(label, about="its own memory", got=name):
                    calling(case, arrays, out=array)


@pytest.mark.parametrize("case", [c for c in ALL if len(c.results) > 1], ids=lambda case: case.id)
def test_out_of_several_results(case, rng):
    arrays = case.arrays(rng, 3, np.float64)
    fitting = calling(case, arrays)
    for wrong in (fitting[0], fitting[:-1], (*fitting, fitting[0]), (), "abc", iter(fitting)):
        with complains("out", TypeError, ValueError):
            calling(case, arrays, out=wrong)
    pool = np.zeros(sum(one.size for one in fitting))
    shared = tuple(pool[: one.size].reshape(one.shape) for one in fitting)
    with complains(f"out ({case.results[1]})", about="its own memory"):
        calling(case, arrays, out=shared)
    # Side by side in one piece of memory they are fine, and so is a part of them.
    ends = np.cumsum([one.size for one in fitting])
    apart = tuple(
        pool[end - one.size : end].reshape(one.shape)
        for end, one in zip(ends, fitting, strict=True)
    )
    for out in (apart, list(apart), (apart[0], *[None] * (len(apart) - 1))):
        for mine, given, right in zip(calling(case, arrays, out=out), out, fitting, strict=True):
            assert given is None or mine is given
            np.testing.assert_array_equal(mine, right)


def test_out_between_the_rows_of_an_input_overlaps_nothing(rng):
    """A work space cut into pieces: the bounds of the pieces cross, their elements do not."""
    space = rng.standard_normal((10, 100))
    x, out = space[:, :50], space[3, 50:60].reshape(10, 1)
    w = rng.standard_normal((1, 50))
    expected = ops.dense(x, w, backend="numpy")
    assert ops.dense(x, w, backend="numpy", out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["conv2d_backward", "conv2d_hessian", "dense_backward"])
def test_out_for_a_gradient_not_asked_for(name, rng):
    case = next(case for case in ALL if case.name == name)
    arrays = case.arrays(rng, 2, np.float64)
    out = calling(case, arrays)
    with complains(f"out ({case.results[0]})", about="None"):
        calling(case, arrays, out=out, input_gradient=False)


# --- integers  ---


X, W = np.ones((2, 4, 6, 6)), np.ones((2, 4, 3, 3))
NO_INTS = {
    "float": 2.0,
    "nan": math.nan,
    "inf": math.inf,
    "bool": True,
    "numpy bool": np.True_,
    "str": "2",
    "None in a pair": (1, None),
    "float in a pair": (1, 2.0),
    "bool in a pair": (True, 1),
    "array": np.array([1, 1]),
    "fraction": Fraction(2),
    "numpy float": np.float64(1),
    "complex": 1j,
    "dict": {1: 1},
}
INTEGERS = {
    "stride": lambda value: ops.conv2d(X, W, stride=value, backend="numpy"),
    "dilation": lambda value: ops.conv2d(X, W, dilation=value, backend="numpy"),
    "padding": lambda value: ops.conv2d(X, W, padding=value, backend="numpy"),
    "groups": lambda value: ops.conv2d(X, W, groups=value, backend="numpy"),
    "kernel": lambda value: ops.max_pool2d(X, kernel=value, backend="numpy"),
    "stride of a pool": lambda value: ops.avg_pool2d(X, stride=value, backend="numpy"),
    "stride of a sub-sampling": lambda value: ops.subsample2d(
        X, np.ones(4), np.ones(4), stride=value, backend="numpy"
    ),
}


@pytest.mark.parametrize("argument", INTEGERS)
@pytest.mark.parametrize("kind", NO_INTS)
def test_what_is_no_integer(argument, kind):
    with complains(argument.split()[0], TypeError):
        INTEGERS[argument](NO_INTS[kind])


@pytest.mark.parametrize("argument", INTEGERS)
@pytest.mark.parametrize("value", [-1, -(2**70), 2**31, 2**63, 2**64, 10**30])
def test_integer_out_of_range(argument, value):
    with complains(argument.split()[0]):
        INTEGERS[argument](value)
    if argument != "groups":
        with complains(argument.split()[0]):
            INTEGERS[argument]((1, value))


@pytest.mark.parametrize("argument", [a for a in INTEGERS if a != "padding"])
def test_zero_where_something_must_move(argument):
    with complains(argument.split()[0]):
        INTEGERS[argument](0)


@pytest.mark.parametrize("argument", [a for a in INTEGERS if a != "groups"])
def test_wrong_number_of_integers(argument):
    for value in ((), (1,), (1, 1, 1), [1] * 5, [[1, 1]]):
        with complains(argument.split()[0], ValueError, TypeError):
            INTEGERS[argument](value)
    if argument != "padding":
        with complains(argument.split()[0]):
            INTEGERS[argument]((1, 1, 1, 1))


@pytest.mark.parametrize("padding", [2**31 - 1, (2**31 - 1, 0), (0, 0, 2**31 - 1, 0)])
def test_padding_beyond_any_memory(padding):
    """A petabyte of border: a clear error, whether of the value or of the memory."""
    shape = (1, 1, 1, 2**17) if padding == (2**31 - 1, 0) else (1, 1, 2**18, 1)
    with pytest.raises((ValueError, MemoryError)):
        ops.conv2d(np.ones(shape), np.ones((1, 1, 1, 1)), padding=padding)


# --- conv2d  ---


def test_kernel_larger_than_the_padded_input():
    for shape, options in (
        ((2, 4, 7, 3), {}),
        ((2, 4, 3, 7), {}),
        ((2, 4, 9, 3), {"padding": (1, 1)}),
        ((2, 4, 3, 3), {"dilation": 3}),
        ((2, 4, 3, 2), {"dilation": (1, 2**31 - 1)}),
        ((2, 4, 3, 3), {"dilation": (1, 4), "padding": (0, 0, 1, 1)}),
    ):
        w = np.ones(shape)
        with complains("w", about="fits"):
            ops.conv2d(X, w, **options)
        with complains("w", about="fits"):
            ops.conv2d_backward(np.ones((2, 2, 1, 1)), X, w, **options)
    assert ops.conv2d(X, np.ones((2, 4, 8, 7)), padding=(1, 1, 0, 1)).shape == (2, 2, 1, 1)


@pytest.mark.parametrize("kernel", [7, (1, 7), (7, 1), 2**31 - 1])
def test_pooling_window_larger_than_the_input(kernel):
    for call in (
        lambda: ops.max_pool2d(X, kernel=kernel),
        lambda: ops.avg_pool2d(X, kernel=kernel),
        lambda: ops.subsample2d(X, np.ones(4), np.ones(4), kernel=kernel),
        lambda: ops.max_pool2d_backward(X, X, kernel=kernel),
    ):
        with complains("kernel", about="fits"):
            call()


def test_wrong_number_of_maps():
    with pytest.raises(
        ValueError, match=r"^w: expected 4 input maps \(c_in of x\), got 3$"
    ):  # the example of the style guide
        ops.conv2d(X, W[:, :3].copy())
    for groups, message in ((3, "groups"), (4, "groups"), (2, "w")):
        with complains(message):
            ops.conv2d(X, W, groups=groups)
    assert ops.conv2d(X, W[:, :2].copy(), groups=2).shape == (2, 2, 4, 4)


def test_wrong_bias():
    for wrong in (np.ones(3), np.ones((2, 1, 1)), np.ones((2, 4, 3)), np.ones((1, 2)), np.ones(())):
        with complains("b"):
            ops.conv2d(X, W, wrong)
    with complains("b"):
        ops.dense(X[0, 0], W[0, 0, :1].repeat(2, axis=1), np.ones(2))
    for wrong in (np.ones(3), np.ones((4, 1))):
        with complains("b"):
            ops.subsample2d(X, np.ones(4), wrong)
        with complains("w"):
            ops.subsample2d(X, wrong, np.ones(4))
    with complains("b"):  # two coefficients a map, one bias a map
        ops.subsample2d(X, np.ones(8), np.ones(4))
    for count in (2, 6):
        with pytest.raises(ValueError, match=rf"^w: expected 4 .* or a multiple, got {count}$"):
            ops.subsample2d(X, np.ones(count), np.ones(count))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (np.ones((2, 3), bool), ValueError),
        (np.ones((4, 2), bool), ValueError),
        (np.ones(8, bool), ValueError),
        (np.ones((2, 4, 1), bool), ValueError),
        (np.ones((2, 4)), TypeError),
        (np.ones((2, 4), np.uint8), TypeError),
        (np.ones((2, 4), object), TypeError),
        ([[True] * 4] * 2, TypeError),
        (True, TypeError),
    ],
)
def test_wrong_connection_table(wrong, error):
    for call in (
        lambda: ops.conv2d(X, W, connections=wrong),
        lambda: ops.conv2d_backward(np.ones((2, 2, 4, 4)), X, W, connections=wrong),
        lambda: ops.conv2d_hessian(np.ones((2, 2, 4, 4)), X, W, connections=wrong),
    ):
        with complains("connections", error):
            call()


def test_connection_table_in_any_layout(rng):
    table = rng.random((2, 4)) < 0.5
    expected = ops.conv2d(X, W, connections=table)
    wide = np.zeros((4, 8), bool)
    wide[::2, ::2] = table
    for same in (np.asfortranarray(table), wide[::2, ::2], table[::-1].copy()[::-1]):
        np.testing.assert_array_equal(ops.conv2d(X, W, connections=same), expected)


# --- numbers and words  ---


NUMBERS = {
    "pad_value": lambda value, x: ops.conv2d(x, W.astype(x.dtype), padding=1, pad_value=value),
    "scale": lambda value, x: ops.mean_squared_error(x[0, 0], x[0, 0], scale=value),
    "j": lambda value, x: ops.map_loss(x[0, 0], np.zeros(6, np.intp), j=value),
    "smoothing": lambda value, x: ops.softmax_cross_entropy(
        x[0, 0], np.zeros(6, np.intp), smoothing=value
    ),
}


@pytest.mark.parametrize("argument", NUMBERS)
def test_numbers(argument):
    call = NUMBERS[argument]
    for wrong in (None, "1", True, np.False_, 1j, [1.0], np.array([1.0]), Fraction(1, 2)):
        with complains(argument, TypeError):
            call(wrong, X)
    for wrong in (math.nan, -math.inf, np.float32("nan")):
        with complains(argument):
            call(wrong, X)
    with complains(argument):
        call(10**400, X)
    for right in (0, 0.5, np.float32(0.5), *([2, np.int8(3)] if argument != "smoothing" else [])):
        call(right, X)


def test_infinity_and_sign_of_numbers():
    for argument in ("pad_value", "scale"):
        with complains(argument):
            NUMBERS[argument](math.inf, X)
    for wrong in (-1.0, -1e-9):
        for argument in ("j", "smoothing"):
            with complains(argument):
                NUMBERS[argument](wrong, X)
    for wrong in (1, 1.0, 7.0):
        with complains("smoothing"):
            NUMBERS["smoothing"](wrong, X)
    for infinite in (math.inf, np.float32(np.inf), np.float64(np.inf), 1e300, np.float64(1e300)):
        for dtype in (np.float32, np.float64):
            NUMBERS["j"](infinite, X.astype(dtype))
    NUMBERS["pad_value"](-1.0, X)


@pytest.mark.parametrize("argument", ["pad_value", "scale"])
def test_number_that_float32_cannot_hold(argument):
    """No warning out of the depths, and no infinity that nobody asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with complains(argument):
            NUMBERS[argument](1e300, X.astype(np.float32))


def test_derivatives_check_their_numbers_too():
    x, labels = X[0, 0], np.zeros(6, np.intp)
    for run in (ops.mean_squared_error_backward, ops.mean_squared_error_hessian):
        with complains("scale"):
            run(x, x, scale=math.nan)
    for run in (ops.map_loss_backward, ops.map_loss_hessian):
        with complains("j"):
            run(x, labels, j=-1.0)
    with complains("j"):
        ops.map_rbf_hessian(x, x, x, j=-1.0)
    for run in (ops.softmax_cross_entropy_backward, ops.softmax_cross_entropy_hessian):
        with complains("smoothing"):
            run(x, labels, smoothing=1.0)


def test_j_must_be_given():
    for run in (ops.map_loss, ops.map_loss_backward, ops.map_loss_hessian):
        with pytest.raises(TypeError, match="j"):
            run(X[0, 0], np.zeros(6, np.intp))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("algorithm", lambda word: ops.conv2d(X, W, algorithm=word)),
        ("algorithm", lambda word: ops.conv2d_backward(X[:, :2, :4, :4], X, W, algorithm=word)),
        ("bias", lambda word: ops.conv2d_backward(X[:, :2, :4, :4], X, W, bias=word)),
        ("bias", lambda word: ops.conv2d_hessian(X[:, :2, :4, :4], X, W, bias=word)),
        ("reduction", lambda word: ops.subsample2d(X, np.ones(4), np.ones(4), reduction=word)),
        (
            "reduction",
            lambda word: ops.softmax_cross_entropy(
                np.ones((1, 2)), np.zeros(1, int), reduction=word
            ),
        ),
        (
            "reduction",
            lambda word: ops.mean_squared_error(np.ones((1, 2)), np.ones((1, 2)), reduction=word),
        ),
        ("backend", lambda word: ops.tanh(np.ones(2), backend=word)),
    ],
)
def test_unknown_words(argument, call):
    for wrong in ("", "winograd", "Mean", "NUMPY", "numpy ", b"numpy", 3, True, ["mean"], np):
        error = ValueError if isinstance(wrong, str) else TypeError
        with complains(argument, error):
            call(wrong)


def test_derivative_has_no_reduction_none():
    for name in ("softmax_cross_entropy", "map_loss"):
        for suffix in ("backward", "hessian"):
            options = {"j": 1.0} if name == "map_loss" else {}
            with complains("reduction"):
                getattr(ops, f"{name}_{suffix}")(
                    np.ones((1, 2)), np.zeros(1, int), reduction="none", **options
                )


# --- labels  ---


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (np.array([0, 1, 5]), ValueError),
        (np.array([0, -1, 1]), ValueError),
        (np.array([0, 1, -(2**63)]), ValueError),
        (np.array([0, 1, 2**63 + 1], np.uint64), ValueError),
        (np.array([0, 1, 2**32], np.int64), ValueError),
        (np.array([255, 0, 0], np.uint8), ValueError),
        (np.array([-128, 0, 0], np.int8), ValueError),
        (np.array([0, 1]), ValueError),
        (np.array([0, 1, 2, 3]), ValueError),
        (np.array([[0, 1, 2]]), ValueError),
        (np.array(0), ValueError),
        (np.zeros(0, int), ValueError),
        (np.array([0.0, 1.0, 2.0]), TypeError),
        (np.array([True, False, True]), TypeError),
        (np.array(["0", "1", "2"]), TypeError),
        (np.array([0, 1, 2], object), TypeError),
        (np.array([0, 1, 2], "m8[s]"), TypeError),
        ([0, 1, 2], TypeError),
        (1, TypeError),
        (None, TypeError),
    ],
)
def test_wrong_labels(wrong, error):
    for name, options in (("softmax_cross_entropy", {}), ("map_loss", {"j": 1.0})):
        for suffix in ("", "_backward", "_hessian"):
            with complains("labels", error):
                getattr(ops, name + suffix)(np.ones((3, 5)), wrong, **options)


def test_labels_of_an_empty_batch_still_need_a_shape_and_dtype():
    with complains("labels"):
        ops.softmax_cross_entropy(np.ones((0, 5)), np.zeros((0, 5), int))
    with complains("labels", TypeError):
        ops.softmax_cross_entropy(np.ones((0, 5)), np.zeros(0))


# --- nothing happens before the checks  ---


def test_a_refused_call_leaves_out_as_it_was(rng):
    x, w = normal(rng, 2, 3), normal(rng, 4, 3)
    out = np.full((2, 4), 7.0)
    for call in (
        lambda: ops.dense(x, w[:, :2], out=out),
        lambda: ops.dense(x, w, np.ones(3), out=out),
        lambda: ops.dense(x, w, out=out, backend="fortran"),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    given = (np.full((2, 3), 7.0), np.full((4, 3), 7.0), np.full(5, 7.0))
    with complains("out (db)"):
        ops.dense_backward(out, x, w, out=given)
    for array in (out, *given):
        assert (array == 7).all()


def test_positional_options_are_refused():
    with pytest.raises(TypeError, match="positional"):
        ops.conv2d(X, W, None, 2)
    with pytest.raises(TypeError, match="positional"):
        ops.max_pool2d(X, 2)
    with pytest.raises(TypeError, match="unexpected keyword"):
        ops.conv2d(X, W, strides=2)
