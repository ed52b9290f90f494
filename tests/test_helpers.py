"""The judges are judged first: a planted wrong answer must fail."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    Convolution,
    assert_summed,
    assert_within,
    complains,
    curvatures,
    layouts,
    new_rng,
    normal,
    places,
    require,
    slopes,
    summed,
    windows,
    winner,
)


def test_exact_answer_passes():
    y = normal(new_rng(), 3, 4)
    assert_within(y, y.copy(), 0.0, np.float64)


@pytest.mark.parametrize("at", [(0, 0), (2, 3), (1, 2)])
def test_one_wrong_element_fails(at):
    y = normal(new_rng(), 3, 4)
    wrong = y.copy()
    wrong[at] += 1e-6
    with pytest.raises(AssertionError, match="1 of 12 elements are off"):
        assert_within(wrong, y, 1e-7)
    assert_within(wrong, y, 2e-6)


def test_bound_holds_element_by_element():
    with pytest.raises(AssertionError, match=r"at \(1,\)"):
        assert_within(np.array([1e6 + 1, 1.1]), np.array([1e6, 1.0]), np.array([2.0, 0.01]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_non_finite_where_a_number_is_due_fails(wrong):
    with pytest.raises(AssertionError, match="1 of 2"):
        assert_within(np.array([1.0, wrong]), np.array([1.0, 2.0]), 1e30)
    with pytest.raises(AssertionError, match="1 of 2"):
        assert_within(np.array([1.0, 2.0]), np.array([1.0, wrong]), 1e30)
    assert_within(np.array([wrong]), np.array([wrong]), 0.0)


def test_wrong_sign_of_infinity_fails():
    with pytest.raises(AssertionError):
        assert_within(np.array([np.inf]), np.array([-np.inf]), 1e30)


def test_bound_that_is_nan_fails():
    with pytest.raises(AssertionError, match="lets nothing fail"):
        assert_within(np.array([5.0]), np.array([1.0]), np.nan)


def test_wrong_shape_dtype_or_kind_fails():
    with pytest.raises(AssertionError, match="shape"):
        assert_within(np.zeros((2, 1)), np.zeros((2,)), 1.0)
    with pytest.raises(AssertionError, match="dtype"):
        assert_within(np.zeros(2, np.float64), np.zeros(2), 1.0, np.float32)
    with pytest.raises(AssertionError, match="plain array"):
        assert_within([0.0, 0.0], np.zeros(2), 1.0)


def test_bound_of_a_sum_is_small():
    # 100 terms of size one in float32: 1.2e-5 of 100, less than one part in 10^5 of a term's loss.
    assert summed(100, np.float32, 100.0) < 2e-3
    assert summed(100, np.float64, 100.0) < 3e-12
    with pytest.raises(AssertionError):
        assert_summed(np.float32([99.0]), [100.0], [100.0], 100, np.float32)


def test_random_inputs_vary():
    rng = new_rng()
    first, second = normal(rng, 4, 5), normal(rng, 4, 5)
    assert np.unique(np.concatenate([first, second])).size == 40
    np.testing.assert_array_equal(first, normal(new_rng(), 4, 5))


def test_layouts_hold_the_same_values_in_other_memory():
    x = normal(new_rng(), 3, 4, 5, dtype=np.float32)
    found = dict(layouts(x))
    for name, variant in found.items():
        np.testing.assert_array_equal(variant, x, err_msg=name)
        assert not np.shares_memory(variant, x), name
    assert not found["read-only"].flags.writeable
    assert found["Fortran order"].flags.f_contiguous
    assert not found["strided"].flags.c_contiguous
    assert found["negative strides"].strides[0] < 0
    assert not found["strided batch"].flags.c_contiguous
    assert not found["unaligned"].flags.aligned


def test_slopes_and_curvatures_of_known_functions():
    x = np.array([0.3, -1.2])
    np.testing.assert_allclose(slopes(lambda v: np.sin(v).sum(), x), np.cos(x), rtol=1e-10)
    np.testing.assert_allclose(curvatures(lambda v: np.sin(v).sum(), x), -np.sin(x), rtol=1e-8)
    np.testing.assert_allclose(curvatures(lambda v: v[0] * v[1] ** 2, x), [0, 0.6], atol=1e-9)


def test_message_judge_wants_argument_expectation_and_what_came():
    with complains("w"):
        raise ValueError("w: expected 3 input maps (c_in of x), got 4")
    for message in ("x: expected 3, got 4", "w: 4 is wrong", "w: expected 3"):
        with pytest.raises(AssertionError), complains("w"):
            raise ValueError(message)
    with pytest.raises(TypeError), complains("w"):
        raise TypeError("w: expected an array, got list")


def test_require_leaves_out_or_fails(monkeypatch):
    monkeypatch.setenv("LENET_FAST_REQUIRE_ALL", "0")
    with pytest.raises(pytest.skip.Exception, match="no_such_module"):
        require("no_such_module")
    monkeypatch.setenv("LENET_FAST_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no_such_module"):
        require("no_such_module")
    assert require("math").__name__ == "math"


def test_places_by_hand():
    assert places(5, 3, 1) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert places(5, 2, 2) == [[0, 1], [2, 3]]
    assert places(5, 2, 3, 2) == [[0, 2]]
    assert places(2, 3, 1) == []


def test_windows_and_winner_by_hand():
    shape, seen = windows((1, 1, 2, 3), 2, 1)
    assert shape == (1, 1, 1, 2)
    assert seen[1] == (
        (0, 0, 0, 1),
        [(0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 1), (0, 0, 1, 2)],
    )
    x = np.array([[[[1.0, 5.0, 5.0], [5.0, np.nan, np.nan]]]])
    assert winner(x, [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2)]) == (0, 0, 0, 1)
    assert winner(x, seen[1][1]) == (0, 0, 1, 1)


def test_convolution_by_definition_by_hand():
    # Worked by hand: one map, kernel [[1, 10], [100, 1000]], left border of -1.
    x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    w = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    judge = Convolution(x.shape, w.shape, padding=(0, 0, 1, 0), pad_value=-1.0)
    y = judge.forward(x, w, np.array([0.5]))
    np.testing.assert_array_equal(y, [[[[-1 + 10 - 100 + 3000 + 0.5, 4321.5]]]])
    dx, dw, db = judge.backward(np.array([[[[1.0, 2.0]]]]), x, w, "map")
    np.testing.assert_array_equal(dx, [[[[10 + 2, 20.0], [1000 + 200, 2000.0]]]])
    np.testing.assert_array_equal(dw, [[[[-1 + 2, 1 + 4.0], [-1 + 6, 3 + 8.0]]]])
    np.testing.assert_array_equal(db, [3.0])
    hx, hw, _ = judge.backward(np.array([[[[1.0, 2.0]]]]), x, w, "map", power=2)
    np.testing.assert_array_equal(hx, [[[[100 + 2, 200.0], [1e6 + 2e4, 2e6]]]])
    np.testing.assert_array_equal(hw, [[[[1 + 2, 1 + 8.0], [1 + 18, 9 + 32.0]]]])
