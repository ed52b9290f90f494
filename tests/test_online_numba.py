"""The online engine in Numba: its tables, vectors and arrays. What it computes: test_online.py."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType

import numpy as np
import pytest
from helpers import compiled_kernels, normal, require

from lenet_fast import losses
from lenet_fast.engines import OnlineEngine, single
from lenet_fast.layers import Conv2D, Dense, Tanh
from lenet_fast.network import Network
from lenet_fast.training import SGD


def part_of_backend(name: str) -> ModuleType:
    require("numba")
    return importlib.import_module(f"lenet_fast.backends.numba_backend.{name}")


def compiled(function):
    return importlib.import_module("numba").njit(function)


def lane_count(dtype: np.dtype) -> int:
    """Return how many numbers a vector holds."""
    return part_of_backend("vector.vectors").BYTES // dtype.itemsize


# --- the same arguments as the compiled kernel's ---------------------------------------------


def test_arguments_are_those_of_the_compiled_kernel():
    arguments = list(part_of_backend("engines.online").Run._fields)
    build = compiled_kernels()
    assert arguments == list(inspect.signature(build.run_online).parameters)


def test_taps_follow_the_order_of_the_weights(dtype):
    layers = [Conv2D(2, 3, (2, 3), dilation=(2, 1)), Tanh(), Dense(3 * 3 * 4, 2)]
    network = Network(layers, input_shape=(2, 5, 6), dtype=dtype)
    program = single.lay_out(network, lane_count(dtype))
    taps, ends = part_of_backend("engines.online_run").tap_table(program.steps)
    assert ends.tolist() == [0, 12, 12, 12]
    row = [0, 1, 2, 3, 4, 5]  # three columns of two maps, side by side
    assert taps.tolist() == [*row, *(2 * 6 * 2 + place for place in row)]


# --- vectors --------------------------------------------------------------------------------


def test_blocks_are_read_written_and_added_one_vector_after_the_other(rng, dtype):
    blocks, full = part_of_backend("vector.blocks"), lane_count(dtype)
    get_block, put_block, add_block = blocks.get_block, blocks.put_block, blocks.add_block
    get_first, put_first = blocks.get_first, blocks.put_first

    @compiled
    def move(x, made, added, some, wanted):
        put_block(made, 2, 2 * full + 3, 2, get_block(x, 1, full, 2, 2))
        add_block(added, 5, 1, 3, get_block(x, 0, full, 3, 1))
        put_first(some, 1, full + 1, wanted, get_first(x, 3, 2, wanted, 4))

    x = normal(rng, 6 * full, dtype=dtype)
    made, added, some = (np.zeros(6 * full, dtype) for _ in range(3))
    move(x, made, added, some, 3)
    wanted = np.zeros_like(made)
    wanted[2 : 2 + 2 * full] = x[1 : 1 + 2 * full]
    wanted[5 + 2 * full : 5 + 4 * full] = x[1 + full : 1 + 3 * full]
    np.testing.assert_array_equal(made, wanted)
    wanted[:] = 0
    for k in range(3):
        wanted[5 + k : 5 + k + full] += x[k * full : (k + 1) * full]
    np.testing.assert_array_equal(added, wanted)
    wanted[:] = 0
    for k in range(3):
        wanted[1 + k * (full + 1) :][:full] = x[3 + 2 * k :][:full]
    np.testing.assert_array_equal(some, wanted)


def test_what_is_not_wanted_is_not_read(rng, dtype):
    get_first = part_of_backend("vector.blocks").get_first
    put_numbers, full = part_of_backend("vector.vectors").put_numbers, lane_count(dtype)

    @compiled
    def move(x, made, wanted):
        put_numbers(made, 0, full, get_first(x, 0, full, wanted, 4))

    x, made = normal(rng, 2 * full, dtype=dtype), np.zeros(4 * full, dtype)
    move(x, made, 2)  # the third and fourth would lie behind the end
    np.testing.assert_array_equal(made, np.concatenate([x, x[full:], x[full:]]))


def test_columns_go_apart_and_come_together(rng, dtype):
    blocks, put = part_of_backend("vector.blocks"), part_of_backend("vector.vectors").put
    get_evens, get_odds, zipped = blocks.get_evens, blocks.get_odds, blocks.zipped
    put_first, full = blocks.put_first, lane_count(dtype)

    @compiled
    def move(x, made, back, wanted):
        evens, odds = get_evens(x, 1), get_odds(x, 1)
        put(made, 0, evens)
        put(made, 1, odds)
        put_first(back, 1, full, wanted, zipped(evens, odds))

    x = normal(rng, 2 * full + 1, dtype=dtype)
    made, back = np.zeros(2 * full, dtype), np.zeros(2 * full + 1, dtype)
    move(x, made, back, 1)
    np.testing.assert_array_equal(made, np.concatenate([x[1::2], x[2::2]]))
    np.testing.assert_array_equal(back, [0, *x[1 : 1 + full], *np.zeros(full)])
    move(x, made, back, 2)
    np.testing.assert_array_equal(back[1:], x[1:])


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_lanes_are_summed_vector_by_vector(rng, dtype, count):
    put_lane_sums = part_of_backend("vector.blocks").put_lane_sums
    get_numbers, full = part_of_backend("vector.vectors").get_numbers, lane_count(dtype)

    @compiled
    def move(x, made):
        put_lane_sums(made, 3, get_numbers(x, 0, full, count))

    x, made = rng.integers(-99, 99, count * full).astype(dtype), np.zeros(count + 4, dtype)
    move(x, made)
    sums = x.reshape(count, full).sum(axis=1)
    np.testing.assert_array_equal(made, [0, 0, 0, *sums, 0])


def test_lanes_are_left_out_whatever_they_hold(dtype):
    only_lanes = part_of_backend("vector.blocks").only_lanes
    lanes, full = part_of_backend("vector.vectors"), lane_count(dtype)
    get_numbers, put_numbers = lanes.get_numbers, lanes.put_numbers

    @compiled
    def move(x, made, first, last):
        put_numbers(made, 0, full, only_lanes(get_numbers(x, 0, full, 2), first, last))

    x, made = np.full(2 * full, np.nan, dtype), np.zeros(2 * full, dtype)
    x[1], x[full + 1] = 5, 7
    move(x, made, 1, 2)
    expected = np.zeros(2 * full)
    expected[[1, full + 1]] = 5, 7
    np.testing.assert_array_equal(made, expected)
    move(x, made, 0, 99)
    np.testing.assert_array_equal(made, x)


# --- arrays without a count of references ---------------------------------------------------


def small(dtype) -> tuple[Network, OnlineEngine]:
    layers = [Conv2D(1, 2, 3), Tanh(), Dense(32, 3)]
    network = Network(layers, input_shape=(1, 6, 6), output="softmax", dtype=dtype)
    network.initialise("lecun_sqrt", 1)
    loss = losses.default_for(network)
    return network, OnlineEngine(network, loss, backend="numba", threads=1)


def test_no_call_keeps_an_array(rng, dtype):
    require("numba")
    network, engine = small(dtype)
    x, labels = normal(rng, 4, 1, 6, 6, dtype=dtype), np.arange(4) % 3
    held = [x, *network.parameters.values()]

    def work():
        engine.train(x, labels, np.arange(4), 1, SGD(), 0.1)
        engine.predict_one(x[0])

    work()
    before = [sys.getrefcount(array) for array in held]
    for _ in range(3):
        work()
    assert [sys.getrefcount(array) for array in held] == before


def test_an_image_may_be_read_only_or_not_for_one_compiled_function(rng, dtype):
    predictor = part_of_backend("engines.online_predict")
    _, engine = small(dtype)
    image = normal(rng, 1, 6, 6, dtype=dtype)
    outputs = engine.predict_one(image)
    image.setflags(write=False)
    np.testing.assert_array_equal(engine.predict_one(image), outputs)
    jit = part_of_backend("jit")
    records = engine._single.steps, engine._single.input, engine._bindings.table
    dtypes = (np.dtype(dtype), *(each.dtype for each in records))
    _, predict = predictor._compiled(jit.sources(), *dtypes)
    assert len(predict.signatures) == 1


def test_variants_of_a_part_have_names_of_their_own():
    """By one name, kernels of two processes took each other's: distances became products."""
    dense, maps = part_of_backend("single.dense"), part_of_backend("single.conv2d_maps")
    for parts in (
        (dense._products, dense.row_distances),
        (dense._keep, dense._descend, dense._descend_own_rates, dense._roll, dense._roll_own_rates),
        (maps._column_of_many, maps._column_of_one),
    ):
        assert len({part.py_func.__qualname__ for part in parts}) == len(parts)
