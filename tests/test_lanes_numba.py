"""The lane engine in Numba: its tables, vectors and threads. What it computes: test_lanes.py."""

from __future__ import annotations

import importlib
import inspect
import threading
from types import ModuleType

import numpy as np
import pytest
from helpers import compiled_kernels, normal, printed_by, require

from lenet_fast import losses
from lenet_fast.engines import lanes as lane_engine
from lenet_fast.engines.program import ItemKind
from lenet_fast.layers import Conv2D, Dense, Tanh
from lenet_fast.network import Network


def part_of_backend(name: str) -> ModuleType:
    require("numba")
    return importlib.import_module(f"lenet_fast.backends.numba_backend.{name}")


def compiled(function):
    return importlib.import_module("numba").njit(function)


# --- the same arguments as the compiled kernel's ---------------------------------------------


def test_arguments_are_those_of_the_compiled_kernel():
    engine = part_of_backend("engines.lanes")
    build = compiled_kernels()
    program, *names, memories, helpers = inspect.signature(build.run_lanes).parameters
    assert (program, memories, helpers) == ("program", "memories", "helpers")
    assert engine.Run._fields == (*engine.Program._fields, *names)


# --- vectors --------------------------------------------------------------------------------


def lane_count(dtype: np.dtype) -> int:
    """Return how many numbers a vector holds: as many bytes as the module says."""
    return part_of_backend("vector.vectors").BYTES // dtype.itemsize


def test_vectors_are_read_and_written_where_they_should_be(rng, dtype):
    lanes, full = part_of_backend("vector.vectors"), lane_count(dtype)
    get, put = lanes.get, lanes.put
    get_row, put_row, get_rows, put_rows = (
        *(lanes.get_row, lanes.put_row),
        *(lanes.get_rows, lanes.put_rows),
    )
    get_numbers, put_numbers = lanes.get_numbers, lanes.put_numbers
    spread, spread_each, splat, get_bytes = (
        *(lanes.spread, lanes.spread_each),
        *(lanes.splat, lanes.get_bytes),
    )

    @compiled
    def move(memory, numbers, places, pixels, made):
        put(made, 0, get(memory, 3))
        put_row(made, 1, 2, get_row(memory, 4, 3, 2))  # to 1 and 3
        put_row(made, 4, 1, get_rows(memory, places, 1, 2, 2, 3))  # to 4 ... 9
        put_rows(made, places, 1, 10, 2, get_row(memory, 0, 1, 4))  # to 10 + 7, 18, 13, 14
        put_numbers(made, 19 * full + 1, full + 2, get_numbers(numbers, 5, 3, 2))
        put_row(made, 22, 1, spread(numbers, 2, 4, 2))
        put_row(made, 24, 1, spread_each(numbers, places, 0, 1, 3))
        put_row(made, 27, 1, splat(memory, 2.5, 2))
        put_row(made, 29, 1, get_bytes(memory, pixels, places, 6))

    memory, numbers = normal(rng, 30 * full, dtype=dtype), normal(rng, 100, dtype=dtype)
    vectors = memory.reshape(-1, full)
    places = np.array([1, 7, 3, *range(4, 4 + full)])
    pixels = rng.integers(0, 256, 100).astype(np.uint8)
    made = np.zeros((29 + full) * full, dtype)
    move(memory, numbers, places, pixels, made)
    expected = np.zeros((29 + full, full), dtype)
    expected[0], expected[1], expected[3] = vectors[3], vectors[4], vectors[7]
    expected[4:7], expected[7:10] = vectors[9:12], vectors[5:8]
    expected[17:19], expected[13:15] = vectors[0:2], vectors[2:4]
    flat = expected.reshape(-1)
    flat[19 * full + 1 : 20 * full + 1] = numbers[5 : 5 + full]
    flat[20 * full + 3 : 21 * full + 3] = numbers[8 : 8 + full]
    expected[22:24] = numbers[[2, 6], None]
    expected[24:27] = numbers[[2, 8, 4], None]
    expected[27:29] = 2.5
    expected[29:] = [pixels[place + 6 : place + 6 + full] for place in places[:full]]
    np.testing.assert_array_equal(made, flat)


def test_vectors_are_multiplied_added_and_turned_as_they_should_be(rng, dtype):
    lanes, products, full = part_of_backend("vector.vectors"), part_of_backend("vector.products"), 0
    get_row, put_row, lane_count_of = lanes.get_row, lanes.put_row, lanes.lane_count_of
    plus_products, plus_products_with = products.plus_products, products.plus_products_with
    plus_scattered, total, transposed = (
        *(products.plus_scattered, products.total),
        products.transposed,
    )

    @compiled
    def work(memory, made):
        full = lane_count_of(memory)
        square = get_row(memory, 0, 1, full)
        put_row(made, 0, 1, transposed(square))
        put_row(made, full, 1, total(square))
        a, b, sums = get_row(memory, 1, 1, 2), get_row(memory, 3, 1, 3), get_row(memory, 6, 1, 6)
        put_row(made, full + 1, 1, plus_products(sums, a, b))
        put_row(made, full + 7, 1, plus_products_with(sums, a, memory, 3, 1))
        put_row(made, full + 13, 1, plus_scattered(get_row(memory, 6, 1, 4), a, b))
        put_row(made, full + 17, 1, a * a - a + b_of(memory))

    b_of = compiled(lambda memory: get_row(memory, 5, 1, 2))
    full = lane_count(dtype)
    memory = normal(rng, max(12, full) * full, dtype=dtype)
    made = np.zeros((full + 19) * full, dtype)
    work(memory, made)
    x, y = memory.reshape(-1, full).astype(np.float64), made.reshape(-1, full)
    np.testing.assert_array_equal(y[:full], x[:full].T.astype(dtype))
    expected = np.zeros((19, full))
    expected[0] = x[:full].sum(axis=0)
    outer = x[6:12] + (x[1:3, None] * x[None, 3:6]).reshape(6, full)
    expected[1:7] = expected[7:13] = outer
    expected[13:17] = x[6:10]
    for v in range(2):
        expected[13 + v : 16 + v] += x[1 + v] * x[3:6]
    expected[17:] = x[1:3] ** 2 - x[1:3] + x[5:7]
    terms = np.abs(memory).max() ** 2 * 2 * full
    np.testing.assert_allclose(y[full:], expected, rtol=0, atol=terms * np.finfo(dtype).eps)


def test_the_leader_is_the_first_maximum_and_nan_beats_numbers(dtype):
    lanes, products, full = part_of_backend("vector.vectors"), part_of_backend("vector.products"), 0
    get, put, leader, where_same = lanes.get, lanes.put, products.leader, products.where_same

    @compiled
    def compare(memory, made):
        first, second = get(memory, 0), get(memory, 1)
        put(made, 0, leader(first, second))
        put(made, 1, where_same(first, first, second, True))
        put(made, 2, where_same(first, first, second, False))

    full = lane_count(dtype)
    values = np.array([0.0, -0.0, 1.0, -np.inf, np.inf, np.nan], dtype)
    pairs = np.array([(a, b) for a in values for b in values])
    for start in range(0, len(pairs), full):
        memory = np.resize(pairs[start : start + full], (full, 2)).T.copy()
        made = np.zeros((3, full), dtype)
        compare(memory.reshape(-1), made.reshape(-1))
        first, second = memory
        takes = ~np.isnan(first) & (np.isnan(second) | (second > first))
        winner = np.where(takes, second, first)
        same = first.view(f"i{dtype.itemsize}") == second.view(f"i{dtype.itemsize}")
        for k, expected in enumerate((winner, np.where(same, first, 0), np.where(same, 0, first))):
            assert made[k].tobytes() == expected.astype(dtype).tobytes(), (k, first, second)


BEYOND = """
import numba, numpy as np
from lenet_fast.backends.numba_backend.vector import vectors as lanes
get, put, spread = lanes.get, lanes.put, lanes.spread
full = lanes.BYTES // 4

@numba.njit
def read(x, at):
    return spread(x, at, 1, 1)

@numba.njit
def move(x, source, target):
    put(x, target, get(x, source))

x = np.zeros(3 * full, np.float32)
move(x, 2, 0)
for arguments in ((3, 0), (0, 3), (-1, 0), (0, -1)):
    try:
        move(x, *arguments)
    except IndexError:
        print("seen")
"""


def test_a_bounds_checked_run_sees_vectors_beyond_the_memory(tmp_path):
    require("numba")
    printed = printed_by(BEYOND, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert printed.split() == ["seen"] * 4


@pytest.mark.quick
@pytest.mark.parametrize(
    ("features", "width"),
    [("+sse2,+avx,+avx2,+avx512f", 64), ("+sse2,+avx", 32), ("+sse2,-avx,-avx512f", 16), ("", 16)],
)
def test_vectors_are_as_wide_as_the_registers(features, width):
    require("numba")
    code = "import lenet_fast.backends as b; n = b.get('numba'); print(n.lane_kernels()[0])"
    printed = printed_by(code, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert printed == str({"float32": width // 4, "float64": width // 8})


def test_where_numba_does_not_compile_nothing_runs_on_vectors_of_images():
    require("numba")
    code = "import lenet_fast.backends as b; print(b.get('numba').{})"
    for call, compiled, not_compiled in (
        ("lane_kernels() is None", "False", "True"),
        ("conv2d_algorithm(64, 28, 28)", "direct", "im2col"),
    ):
        assert printed_by(code.format(call), NUMBA_DISABLE_JIT="0") == compiled
        assert printed_by(code.format(call), NUMBA_DISABLE_JIT="1") == not_compiled


def test_what_is_kept_on_disk_goes_with_all_sources():
    engine, jit = part_of_backend("engines.lanes"), part_of_backend("jit")
    convolutions = part_of_backend("layers.conv2d")._compiled(jit.sources())
    for kernel in (engine._compiled(jit.sources()), *convolutions):
        assert [cell.cell_contents for cell in kernel.py_func.__closure__] == [jit.sources()]
    assert len(jit.sources()) == 64


# --- threads --------------------------------------------------------------------------------


def test_no_two_threads_get_the_same_ticket():
    add_shared = part_of_backend("vector.shared").add_shared
    numba = importlib.import_module("numba")

    @numba.njit(nogil=True)
    def take(shared, tickets):
        for k in range(len(tickets)):
            tickets[k] = add_shared(shared, 8, 1)

    shared, tickets = np.zeros(24, np.int64), np.zeros((4, 50_000), np.int64)
    take(shared, tickets[0, :0])  # compile
    threads = [threading.Thread(target=take, args=(shared, row)) for row in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared[8] == tickets.size
    np.testing.assert_array_equal(np.sort(tickets, axis=None), np.arange(tickets.size))


class Call(Exception):  # noqa: N818
    """What the engine would have run: its arguments, its memories."""


@pytest.fixture(params=["float32", "float64"])
def call(rng, request) -> tuple[tuple, list]:
    """Return the arguments and memories of a call for gradients, which are then worked on here."""
    require("numba")
    dtype = np.dtype(request.param)
    layers = [Conv2D(1, 2, 3), Tanh(), Dense(32, 3)]
    net = Network(layers, input_shape=(1, 6, 6), output="softmax", dtype=dtype)
    net.initialise("lecun_sqrt", 1)
    engine = lane_engine.LanesEngine(net, losses.CrossEntropy(), backend="numba", threads=2)

    def caught(arguments, memories, together):
        raise Call(arguments, memories)

    engine._run_lanes = caught
    with pytest.raises(Call) as raised:
        engine.loss_and_gradients(normal(rng, 70, 1, 6, 6, dtype=dtype), rng.integers(0, 3, 70))
    return raised.value.args


def one_after_the_other(function, items):
    for item in items:
        function(item)


def test_a_thread_that_waits_for_long_comes_back_and_goes_on(call):
    engine, jit = part_of_backend("engines.lanes"), part_of_backend("jit")
    arguments, (memory, _) = call
    run, clock = engine.run_of(arguments), np.zeros(4, int)
    blocks = int((run.items["kind"] != ItemKind.UPDATE).sum())
    kernel, shared = engine._compiled(jit.sources()), np.zeros(24, np.int64)
    shared[engine.TICKET] = blocks  # as if another thread were at work on all blocks
    assert kernel(run, -1, shared, memory, clock) == blocks
    assert shared[engine.DONE] == 0
    run.gradients[:] = 1
    shared[engine.DONE] = blocks
    assert kernel(run, blocks, shared, memory, clock) == -1
    assert shared[engine.DONE] == len(run.items)
    np.testing.assert_allclose(run.gradients[: run.trained], blocks / 70, rtol=1e-6)


def test_when_a_thread_fails_the_others_do_not_wait_for_it(call):
    engine = part_of_backend("engines.lanes")
    arguments, memories = call

    def together(function, items):
        with pytest.raises(importlib.import_module("numba").TypingError, match="object"):
            function(object())
        one_after_the_other(function, items)

    engine.run(arguments, memories, together)
    assert np.isnan(engine.run_of(arguments).totals).all()
    engine.run(arguments, memories, one_after_the_other)
    assert np.isfinite(engine.run_of(arguments).totals[:, 0]).any()


def test_seconds_say_what_is_missing_where_there_is_no_clock(call, monkeypatch):
    engine, shared = part_of_backend("engines.lanes"), part_of_backend("vector.shared")
    arguments, memories = call

    def no_library(name):
        raise OSError("no such library")

    monkeypatch.setattr(shared.ctypes, "CDLL", no_library)
    timed = (*arguments[:-1], np.zeros((3, 3)))
    with pytest.raises(NotImplementedError, match=r"seconds: .*clock_gettime.*no such library"):
        engine.run(timed, memories, one_after_the_other)


def test_seconds_are_told_by_layer(call):
    engine = part_of_backend("engines.lanes")
    arguments, memories = call
    seconds = np.zeros((3, 3))
    timed = (*arguments[:-1], seconds)
    engine.run(timed, memories[:1], one_after_the_other)
    assert (seconds[:, 0] > 0).all()
    np.testing.assert_array_equal(
        seconds > 0, [[True, False, True], [True, True, False], [True] * 3]
    )
    assert seconds.sum() < 10
