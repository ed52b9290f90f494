"""Rules that hold for every public function, in every backend: layouts, `out`, batch sizes."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from helpers import assert_within, layouts
from op_cases import ALL, LOSSES

from lenet_fast import docstrings, ops

every_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)


def test_every_public_function_is_here():
    assert {case.name for case in ALL} == set(ops.__all__)
    for name in ops.__all__:
        parameters = inspect.signature(getattr(ops, name)).parameters
        for option in ("backend", "out"):
            assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY, name
            assert parameters[option].default is None, name


def test_every_public_function_is_documented():
    for name in ops.__all__:
        text = inspect.getdoc(getattr(ops, name)) or ""
        assert "Parameters" in text, name
        assert text.splitlines()[0].endswith("."), name
        alike = re.search(r"Parameters,.* and errors are those of", text)
        assert alike or ("See :mod:`lenet_fast.ops`." in text and "Raises" in text), name


def test_a_docstring_gets_what_it_lacks_in_the_order_of_numpydoc():
    @docstrings.completed(Parameters="b : int", Raises="TypeError\n    If not.", Notes="Twice.")
    def function(a, b):
        """Add.

        Parameters
        ----------
        a : int
            One.

        Notes
        -----
        Once.
        """

    assert function.__doc__.split("\n") == [
        *("Add.", "", "Parameters", "----------", "a : int", "    One.", "b : int", ""),
        *("Raises", "------", "TypeError", "    If not.", "", "Notes", "-----", "Once.", "Twice."),
    ]
    before = function.__doc__
    assert docstrings.completed(Raises="TypeError\n    If not.")(function).__doc__ == before
    function.__doc__ = None  # as under python -OO
    assert docstrings.completed(Raises="TypeError")(function).__doc__ is None


@every_case
def test_layouts(case, backend, dtype, rng):
    """Read-only, Fortran, strided, reversed, unaligned: the bits of the plain call; inputs kept."""
    arrays = case.arrays(rng, 3, dtype)
    kept = {name: array.copy() for name, array in arrays.items()}
    expected = case.run(arrays, backend=backend)
    for result, array in zip(case.results, expected, strict=True):
        assert array.flags.c_contiguous, result
        assert array.flags.writeable, result
        assert array.dtype == dtype, result
        assert not any(np.shares_memory(array, given) for given in arrays.values()), result
    variants = {name: dict(layouts(array)) for name, array in arrays.items()}
    for layout in next(iter(variants.values())):
        changed = {name: variants[name][layout] for name in arrays}
        for result, one, right in zip(
            case.results, case.run(changed, backend=backend), expected, strict=True
        ):
            assert_within(one, right, 0.0, dtype, f"{layout}: {result}")
        for name, array in changed.items():
            np.testing.assert_array_equal(array, kept[name], err_msg=f"{layout}: {name} changed")


@every_case
def test_out_is_overwritten_and_returned(case, backend, dtype, rng):
    arrays = case.arrays(rng, 3, dtype)
    expected = case.run(arrays, backend=backend)
    for fill in (np.nan, 7.0):
        given = tuple(np.full_like(array, fill) for array in expected)
        found = case.run(arrays, backend=backend, out=given if len(given) > 1 else given[0])
        for result, one, mine, right in zip(case.results, found, given, expected, strict=True):
            assert one is mine, result
            assert_within(mine, right, 0.0, dtype, result)


@every_case
def test_out_may_be_part_of_a_larger_array_and_nothing_else_is_written(case, backend, dtype, rng):
    arrays = case.arrays(rng, 3, dtype)
    expected = case.run(arrays, backend=backend)
    walls = [np.full(array.size + 64, 123, dtype) for array in expected]
    given = tuple(
        wall[32:-32].reshape(array.shape) for wall, array in zip(walls, expected, strict=True)
    )
    case.run(arrays, backend=backend, out=given if len(given) > 1 else given[0])
    for wall, one, right in zip(walls, given, expected, strict=True):
        np.testing.assert_array_equal(one, right)
        assert (wall[:32] == 123).all()
        assert (wall[-32:] == 123).all()


@every_case
def test_empty_batch(case, backend, dtype, rng):
    """No images: empty results, and sums over nothing, which are zero."""
    expected = case.run(case.arrays(rng, 2, dtype), backend=backend)
    arrays = case.arrays(rng, 0, dtype)
    shapes = [
        (0, *array.shape[1:]) if case.is_batched(result) else array.shape
        for result, array in zip(case.results, expected, strict=True)
    ]
    given = tuple(np.full(shape, np.nan, dtype) for shape in shapes)
    for out in (None, given if len(given) > 1 else given[0]):
        found = case.run(arrays, backend=backend, out=out)
        for result, one, shape in zip(case.results, found, shapes, strict=True):
            assert_within(one, np.zeros(shape), 0.0, dtype, result)


@every_case
def test_batch_is_its_images_one_by_one(case, backend, dtype, rng):
    """Results an image are those of the image alone; parameters' are the sum over the images.

    Each image comes as a slice of a wider array: a batch of one whose unused stride is odd.
    """
    arrays = case.arrays(rng, 5, dtype)
    together = case.run(arrays, backend=backend)
    batched = {name for name, shape in case.shapes.items() if shape[0] == -1}
    alone = []
    for i in range(5):
        one = {
            name: np.repeat(array, 2, axis=0)[2 * i : 2 * i + 1] if name in batched else array
            for name, array in arrays.items()
        }
        place = {"first": i} if case.numbered else {}
        alone.append(case.run(one, backend=backend, **place))
    for at, result in enumerate(case.results):
        parts = np.array([found[at] for found in alone], np.float64)
        right = parts[:, 0] if case.is_batched(result) else parts.sum(axis=0)
        # Some 100 terms of a few units each.
        bound = 200 * np.finfo(dtype).eps * max(1.0, float(np.abs(parts).max()))
        assert_within(together[at], right, bound, dtype, result)
    # The images do differ, so that a result that repeats one of them is seen.
    constant = ("mean_squared_error_hessian", "penalty_loss_hessian")
    if case.is_batched(case.results[0]) and case.name not in constant:
        assert not np.array_equal(together[0][0], together[0][1])


@every_case
def test_dtypes_agree(case, backend, rng):
    """One call in float32 and float64 on the same numbers: no number passes through the other."""
    narrow = case.arrays(rng, 3, np.float32)
    wide = {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in narrow.items()
    }
    for result, one, other in zip(
        case.results,
        case.run(narrow, backend=backend),
        case.run(wide, backend=backend),
        strict=True,
    ):
        bound = 300 * np.finfo(np.float32).eps * max(1.0, float(np.abs(other).max()))
        assert_within(one, other, bound, np.float32, result)
        # What only picks or adds a few numbers, or is one factor, is exact in float32 as well.
        exact = case.name.startswith(("max_pool2d", "relu", "penalty_loss"))
        if not exact and result != "hx" and result != "hb":
            assert not np.array_equal(other, other.astype(np.float32)), result


@every_case
def test_every_backend_agrees_with_the_reference(case, backend, dtype, rng):
    arrays = case.arrays(rng, 4, dtype)
    expected = case.run(arrays, backend="numpy")
    for result, one, right in zip(
        case.results, case.run(arrays, backend=backend), expected, strict=True
    ):
        bound = 300 * np.finfo(dtype).eps * max(1.0, float(np.abs(right).max()))
        assert_within(one, right, bound, dtype, result)
        assert case.name == "penalty_loss_hessian" or np.abs(right).max() > 0.01, (
            f"{result}: nothing to compare"
        )


@every_case
def test_same_call_gives_the_same_bits(case, backend, dtype, rng):
    arrays = case.arrays(rng, 3, dtype)
    for one, other in zip(
        case.run(arrays, backend=backend), case.run(arrays, backend=backend), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_out_of_a_reduced_loss_is_refused(case, rng):
    if case.results != ("y",):
        case = next(other for other in LOSSES if case.name.startswith(other.name))
    arrays = case.arrays(rng, 3, np.float64)
    with pytest.raises(ValueError, match=r"^out: expected None.*, got"):
        case.run(arrays, reduction="mean", out=np.empty(3))


def test_memory_maps_are_read_and_written(backend, dtype, rng, tmp_path):
    """The one subclass of ndarray that carries no other meaning."""
    x, w = rng.standard_normal((4, 6)).astype(dtype), rng.standard_normal((3, 6)).astype(dtype)
    stored = np.memmap(tmp_path / "x", dtype, "w+", shape=x.shape)
    stored[...] = x
    out = np.memmap(tmp_path / "y", dtype, "w+", shape=(4, 3))
    expected = ops.dense(x, w, backend=backend)
    found = ops.dense(np.memmap(tmp_path / "x", dtype, "r", shape=x.shape), w, backend=backend)
    np.testing.assert_array_equal(found, expected)
    assert ops.dense(stored, w, backend=backend, out=out) is out
    np.testing.assert_array_equal(out, expected)
