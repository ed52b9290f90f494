"""The lane engine: judged by the layers engine on NumPy in float64, and by difference quotients."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from engine_cases import (
    ALL,
    EVERYTHING,
    Fences,
    Results,
    assert_agree,
    copied,
    examples,
    judged,
    results,
)
from helpers import LANE_BACKENDS, assert_within, in_child, missing, slopes, using, using_lanes

from lenet_fast import layers, losses, memory, models
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import LanesEngine, LayersEngine, Rule, Totals, Unsupported, tile
from lenet_fast.layers import Conv2D, Dense, ReLU
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training import SGD, Adam, AdamW

# --- the judge ----------------------------------------------------------------------------------


def assert_nothing_stale_is_read(
    engine: LanesEngine, x: np.ndarray, labels: np.ndarray, found: Results
) -> None:
    """Fail unless the same bits come out where NaN lay in all memory that the engine keeps."""
    for array in (*engine._memories, engine._gradients, engine._copies):
        array.fill(np.nan)
    for name, array in results(engine, x, labels).items():
        np.testing.assert_array_equal(array, found[name], name)


def check(net: Network, loss: Loss, expected: Results, n: int, backend: str) -> None:
    """Judge the lane engine on a network."""
    engine = LanesEngine(net, loss, backend=backend, threads=1)
    x, labels = examples(net, n)
    found = results(engine, x, labels)
    assert_agree(found, expected, net, n)
    assert_nothing_stale_is_read(engine, x, labels, found)


@pytest.fixture(autouse=True)
def fences(monkeypatch):
    """Put a fence on both sides of each thread's memory, and look at it afterwards."""
    fences = Fences()
    monkeypatch.setattr(memory, "aligned", fences.aligned)
    yield fences
    assert fences.hold()


@functools.cache
def judged_case(name: str, n: int) -> Results:
    return judged(ALL[name].network(np.float64), ALL[name].loss, n)


# --- every option of every layer ----------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_layers(name, dtype, lane_backend):
    # 17 is no multiple of any number of lanes, so the last tile has lanes without an image.
    check(ALL[name].network(dtype), ALL[name].loss, judged_case(name, 17), 17, lane_backend)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 33, 257])
@pytest.mark.parametrize("name", ["everything", "groups", "table", "dense on images"])
def test_batch_sizes(name, n, dtype, lane_backend):
    check(ALL[name].network(dtype), ALL[name].loss, judged_case(name, n), n, lane_backend)


def test_cases_reach_what_they_are_for():
    """A case that lost its option would test nothing."""
    seen: dict[str, set[str]] = {"loss": set(), "kind": set()}
    for case in ALL.values():
        seen["loss"].add(repr(case.loss))
        for layer in case.network(np.float32).layers:
            kind = type(layer).__name__
            seen["kind"].add(kind)
            for option in layer.options:
                seen.setdefault(f"{kind}.{option}", set()).add(str(getattr(layer, option)))
    assert seen["kind"] == {
        *("Conv2D", "Dense", "RBF", "MaxPool2D", "AvgPool2D", "Subsample2D"),
        *("Dropout", "Dropout2D"),
        *(kind.__name__ for kind in layers.ACTIVATIONS.values()),
    }
    assert seen["Conv2D.bias"] == {"None", "map", "unit"}
    assert seen["Conv2D.stride"] >= {"(1, 2)", "(2, 1)", "(2, 2)", "(3, 4)"}
    assert seen["Conv2D.dilation"] >= {"(2, 2)", "(1, 3)", "(3, 2)"}
    assert seen["Conv2D.groups"] == {"1", "2", "3", "9"}
    assert seen["Conv2D.pad_value"] == {"0.0", "0.5", "-1.0"}
    assert seen["Conv2D.kernel"] >= {"(1, 1)", "(3, 3)", "(2, 5)", "(7, 3)", "(3, 11)", "(5, 5)"}
    assert seen["LeakyReLU.slope"] == {"0.01", "0.3"}
    assert seen["ELU.alpha"] == {"1.0", "1.7"}
    assert seen["GELU.approximate"] == {"none", "tanh"}
    assert seen["Subsample2D.reduction"] == {"sum", "mean"}
    assert seen["Subsample2D.multiplier"] == {"1", "2", "3", "17"}
    for kind in ("MaxPool2D", "AvgPool2D", "Subsample2D"):
        assert seen[f"{kind}.kernel"] >= {"(3, 3)", "(2, 2)", "(1, 2)", "(3, 1)"}
        assert seen[f"{kind}.stride"] >= {"(2, 2)", "(3, 3)", "(1, 2)", "(2, 1)"}
    assert {f"MAP(j={j})" for j in (0.0, 5.0, 20.0, math.inf)} <= seen["loss"]
    assert {"MAP(j=5.0, curvature='exact')", "Penalty()"} <= seen["loss"]
    assert "CrossEntropy(smoothing=0.2)" in seen["loss"]


# --- every option of LeNet-5 --------------------------------------------------------------------

POOLING = ("subsample", "average", "max", None)
OUTPUTS = ("rbf", "softmax", "linear")
INNER = tuple(itertools.product(layers.ACTIVATIONS, ("table", "full")))


def lenet5(dtype: object, **options: object) -> Network:
    """Return a LeNet-5 with the same weights in both dtypes, and all of them at work.

    Those of "lecun1998" would leave the outputs hardly depending on the input.
    """
    net = models.lenet5(**options)
    net.initialise("eblearn", 2)
    return copied(net, dtype)


@functools.cache
def judged_lenet5(n: int, **options: object) -> Results:
    net = lenet5(np.float64, **options)
    return judged(net, losses.default_for(net), n)


@pytest.mark.parametrize(("activation", "connections"), INNER)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("pooling", POOLING)
def test_lenet5(pooling, output, activation, connections, dtype, lane_backend):
    extra_dense = 50 if INNER.index((activation, connections)) % 3 == 0 else None
    options = {"pooling": pooling, "output": output, "activation": activation}
    options |= {"connections": connections, "extra_dense": extra_dense}
    net = lenet5(dtype, **options)
    check(net, losses.default_for(net), judged_lenet5(9, **options), 9, lane_backend)


@pytest.mark.parametrize(
    "n", [1, 15, 16, 17, *(pytest.param(n, marks=pytest.mark.slow) for n in (256, 257))]
)
def test_lenet5_batch_sizes(n, dtype, lane_backend):
    net = lenet5(dtype)
    check(net, losses.MAP(), judged_lenet5(n), n, lane_backend)


# --- difference quotients -----------------------------------------------------------------------


def test_gradients_are_slopes(lane_backend):
    # Independent of the layers engine: the lane engine's own loss, moved weight by weight.
    net = EVERYTHING.network(np.float64)
    engine = LanesEngine(net, EVERYTHING.loss, backend=lane_backend, threads=1)
    x, labels = examples(net, 5)
    _, gradients = engine.loss_and_gradients(x, labels)
    assert list(gradients) == net.trainable_names
    for name, gradient in gradients.items():
        array = net.parameters[name]
        original = array.copy()

        def mean_loss(moved, array=array):
            array[...] = moved
            return engine.evaluate(x, labels).loss / len(x)

        expected = slopes(mean_loss, original, 1e-5)
        array[...] = original
        assert_within(gradient, expected, 1e-8, np.float64, name)
        assert np.abs(expected).max() > 1e-3, name


# --- planted errors -----------------------------------------------------------------------------


def plant(monkeypatch, field: str, change) -> None:
    """Change one column of the table of steps of every program."""
    lay_out = tile.lay_out

    def wrong(network, count, **options):
        made = lay_out(network, count, **options)
        made.steps[field] = change(made.steps[field])
        return made

    monkeypatch.setattr(tile, "lay_out", wrong)


@pytest.mark.parametrize(
    ("name", "field", "change"),
    [
        ("padding", "top", lambda column: 0 * column),
        ("Tanh", "activation", lambda column: np.where(column < 0, column, (column + 1) % 4)),
        ("maximum, rest", "dx", lambda column: np.where(column < 0, column, column.max())),
        ("groups", "width", lambda column: 0 * column + 1),
        ("sub-sampling first", "stride_h", lambda column: 0 * column + 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_judge_sees_a_planted_error(name, field, change, monkeypatch, lane_backend):
    plant(monkeypatch, field, change)
    case = ALL[name]
    # What a wrong program reads may differ from call to call.
    with pytest.raises(AssertionError, match=r"elements are off|Arrays are not equal"):
        check(case.network(np.float32), case.loss, judged_case(name, 17), 17, lane_backend)


def test_the_judge_sees_one_wrong_weight(lane_backend):
    net = lenet5(np.float32)
    net.parameters["C3.w"][0, 1, 2, 2] *= 1.01
    with pytest.raises(AssertionError, match="elements are off"):
        check(net, losses.MAP(), judged_lenet5(9), 9, lane_backend)


def test_the_fences_are_looked_at(fences):
    net = ALL["Tanh"].network(np.float32)
    LanesEngine(net, ALL["Tanh"].loss, threads=1).predict(examples(net, 5)[0])
    for at in (fences.width - 1, -fences.width):
        assert fences.hold()
        fences.made[0][at] = 0
        assert not fences.hold()
        fences.made[0][at] = fences.mark


def test_stale_memory_is_seen(monkeypatch):
    net = ALL["padding"].network(np.float32)
    engine = LanesEngine(net, ALL["padding"].loss, threads=1)
    x, labels = examples(net, 5)
    found = results(engine, x, labels)
    # The network's input now lies behind what is filled: its last pixels are never written.
    engine._program.steps["x"][0] += 1
    with pytest.raises(AssertionError):
        assert_nothing_stale_is_read(engine, x, labels, found)


# --- absent links -------------------------------------------------------------------------------


def test_an_absent_link_has_no_gradient(dtype, lane_backend):
    net = lenet5(dtype)
    x, labels = examples(net, 33)
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=2)
    for found in (engine.loss_and_gradients(x, labels)[1], engine.hessian_diagonal(x, labels)):
        linked = found["C3.w"].reshape(16, 6, 25)
        assert (linked[~LENET5_C3] == 0).all()
        assert (linked[LENET5_C3] != 0).all()
    engine.close()


# --- threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 17, 60, pytest.param(150, marks=pytest.mark.slow)])
def test_threads_change_no_bit(n, dtype, lane_backend):
    net = lenet5(dtype)
    x, labels = examples(net, n)
    expected = None
    for threads in (1, 2, 3, 7):
        engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=threads)
        found = results(engine, x, labels)
        expected = expected or found
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], f"{threads} threads, {name}")
        engine.close()


def test_threads_start_again_after_close_and_end_with_the_engine(lane_backend):
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        missing("this system does not list the threads of a process")

    def all_ended() -> bool:
        end = time.monotonic() + 10
        while len(list(tasks.iterdir())) > before and time.monotonic() < end:
            time.sleep(0.01)
        return len(list(tasks.iterdir())) == before

    net = lenet5(np.float32)
    x, labels = examples(net, 60)
    alone, engine = (
        LanesEngine(net, losses.MAP(), backend=lane_backend, threads=n) for n in (1, 3)
    )
    expected = results(alone, x, labels)
    before = len(list(tasks.iterdir()))
    for _ in range(2):
        for name, array in results(engine, x, labels).items():
            np.testing.assert_array_equal(array, expected[name], name)
        # In Python, one that is idle is taken again.
        assert 1 <= len(list(tasks.iterdir())) - before <= 2
        engine.close()
        engine.close()
        assert all_ended()
    engine.predict(x)
    del engine
    assert all_ended()


def test_blocks_have_their_own_sums(monkeypatch, lane_backend):
    """Planted: cut into other blocks, a batch has other bits; so the comparison sees bits."""
    net = lenet5(np.float32)
    x, labels = examples(net, 150)
    first = LanesEngine(net, losses.MAP(), backend=lane_backend).loss_and_gradients(x, labels)[1]
    tile.batch_items.cache_clear()
    monkeypatch.setattr(tile, "BLOCKS", 3)
    second = LanesEngine(net, losses.MAP(), backend=lane_backend).loss_and_gradients(x, labels)[1]
    tile.batch_items.cache_clear()
    assert any((array != second[name]).any() for name, array in first.items())


def test_one_engine_called_from_two_python_threads(lane_backend):
    net = lenet5(np.float32)
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=2)
    x, labels = examples(net, 90)
    pieces = [(x[:50], labels[:50]), (x[50:], labels[50:])]
    expected = [results(engine, *piece) for piece in pieces]
    found: list[list[Results]] = [[], []]

    def work(which: int) -> None:
        for _ in range(10):
            found[which].append(results(engine, *pieces[which]))

    workers = [threading.Thread(target=work, args=(which,), daemon=True) for which in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    for which in (0, 1):
        assert len(found[which]) == 10
        for each in found[which]:
            for name, array in each.items():
                np.testing.assert_array_equal(array, expected[which][name], name)
    engine.close()


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_works_after_a_fork(threads, lane_backend):
    net = lenet5(np.float32)
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=threads)
    x, labels = examples(net, 60)
    expected = results(engine, x, labels)  # the parent's threads have run

    def child() -> int:
        found = results(engine, x, labels)
        right = all((array == expected[name]).all() for name, array in found.items())
        totals = engine.train(x, labels, np.arange(60), 20, SGD(0.9), 0.01)
        other = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=threads)
        changed = (other.predict(x) != expected["outputs"]).any()
        return 7 if right and len(totals) == 3 and changed else 1

    assert in_child(child) == 7
    for name, array in results(engine, x, labels).items():
        np.testing.assert_array_equal(array, expected[name], name)
    engine.close()


def test_works_after_a_fork_in_the_middle_of_a_call():
    net = lenet5(np.float32)
    engine = LanesEngine(net, losses.MAP(), threads=2)
    x, _ = examples(net, 60)
    expected = engine.predict(x)
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:  # as a call in another Python thread does
        with engine._pool.lock:
            holds.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait(30)
    status = in_child(lambda: 7 if (engine.predict(x) == expected).all() else 1)
    done.set()
    holder.join()
    assert status == 7
    engine.close()


def test_a_hang_in_a_child_is_seen():
    def hang() -> int:
        threading.Event().wait(30)
        return 7

    assert in_child(hang, seconds=0.05) == -1


@pytest.mark.skipif(len(LANE_BACKENDS) < 3, reason="there is one build of the kernels here")
def test_instruction_set_is_settled_at_construction():
    net = lenet5(np.float32)
    x, _ = examples(net, 5)
    outputs = []
    for build in LANE_BACKENDS:
        with using(build) as backend:
            if build.startswith("cython-"):
                engine = LanesEngine(net, losses.MAP(), backend=backend, threads=1)
                outputs.append((engine, engine.predict(x)))
    for engine, expected in outputs:
        np.testing.assert_array_equal(engine.predict(x), expected)


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["C1.w", "F6.b"])
def test_nan_reaches_what_it_should(layer, lane_backend):
    net = lenet5(np.float32)
    net.parameters[layer].reshape(-1)[0] = np.nan
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend)
    x, labels = examples(net, 20)
    assert np.isnan(engine.predict(x)).all()
    totals, gradients = engine.loss_and_gradients(x, np.zeros_like(labels))
    assert math.isnan(totals.loss)
    assert totals.errors == 0  # the first NaN wins, as in NumPy's argmin
    assert engine.evaluate(x, np.ones_like(labels)).errors == 20
    assert np.isnan(gradients["F6.b"]).any()


def test_nan_in_one_image_stays_there(lane_backend):
    net = lenet5(np.float32)
    x, _ = examples(net, 20)
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend)
    expected = engine.predict(x)
    x[7, 0, 16, 16] = np.nan
    found = engine.predict(x)
    assert np.isnan(found[7]).all()
    found[7] = expected[7]
    np.testing.assert_array_equal(found, expected)


def test_a_sum_that_overflows_changes_nothing(lane_backend):
    net = Network([Dense(1, 2)], input_shape=(1, 1, 1), dtype="float64")
    for array in net.parameters.values():
        array[...] = 1.0
    x = np.full((16, 1, 1, 1), 4.3e153)  # a loss of 1.8e307 each: 8 are finite, 16 are not
    engine = LanesEngine(net, losses.MeanSquaredError(), backend=lane_backend)
    totals = engine.train(x, np.zeros(16, int), np.arange(16), 16, SGD(), 1e-306)
    assert totals == [Totals(math.inf, 0, 16)]
    assert (net.parameters["dense1.w"] == 1.0).all()


def test_a_lane_without_an_image_does_not_overflow_alone(lane_backend):
    # Of an image of zeros the first layer makes infinities, which times no gradient are NaN.
    net = Network([Dense(4, 5), ReLU(), Dense(5, 3)], input_shape=(1, 2, 2), output="softmax")
    net.parameters["dense1.w"][...] = 1
    net.parameters["dense1.b"][...] = 3e38
    net.parameters["dense2.w"][...] = 2
    x = np.full((5, 1, 2, 2), -0.75e38, np.float32)
    engine = LanesEngine(net, losses.CrossEntropy(), backend=lane_backend)
    totals, gradients = engine.loss_and_gradients(x, np.zeros(5, int))
    assert math.isfinite(totals.loss)
    for found in (gradients, engine.hessian_diagonal(x, np.zeros(5, int))):
        for name, array in found.items():
            assert name == "dense1.w" or np.isfinite(array).all(), name


def test_squares_that_overflow_are_told_by_the_result(lane_backend):
    net = Network([Dense(4, 5), Dense(5, 3)], input_shape=(1, 2, 2), output="softmax")
    net.initialise("lecun_sqrt")
    net.parameters["dense2.w"][...] = np.finfo(np.float32).max
    engine = LanesEngine(net, losses.CrossEntropy(), backend=lane_backend)
    x = np.ones((5, 1, 2, 2), np.float32)
    assert not np.isfinite(engine.hessian_diagonal(x, np.zeros(5, int))["dense1.w"]).all()


def test_an_unknown_rule_is_refused(lane_backend):
    class Mine(SGD):
        @property
        def rule(self):
            return Rule("mine")

    net = lenet5(np.float32)
    x, labels = examples(net, 5)
    before = net.parameters["C1.w"].copy()
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend)
    with pytest.raises(Unsupported, match="optimiser: only engine='layers' knows the rule 'mi"):
        engine.train(x, labels, np.arange(5), 5, Mine(), 0.1)
    np.testing.assert_array_equal(net.parameters["C1.w"], before)
    layers = LayersEngine(net, losses.MAP(), backend=lane_backend)
    assert len(layers.train(x, labels, np.arange(5), 5, Mine(), 0.001)) == 1


@pytest.mark.parametrize("at", [None, 0, 95])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_long_orders_go_in_pieces_without_a_trace(kind, at, monkeypatch, lane_backend):
    ends = []
    for batches in (256, 2):
        monkeypatch.setattr(LanesEngine, "_BATCHES", batches)
        net, optimiser = lenet5(np.float32), kind()
        x, labels = examples(net, 150)
        if at is not None:
            x[at] = np.nan
        engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=2)
        totals = engine.train(x, labels, np.arange(150), 20, optimiser, 0.001)
        engine.close()
        arrays = net.parameters | optimiser.state()
        ends.append((repr(totals), {name: array.tobytes() for name, array in arrays.items()}))
        assert len(totals) == {None: 8, 0: 1, 95: 5}[at]
        assert optimiser.steps == {None: 8, 0: 0, 95: 4}[at]
    assert ends[0] == ends[1]


def test_profile(lane_backend):
    net = lenet5(np.float32)
    engine = LanesEngine(net, losses.MAP(), backend=lane_backend, threads=2)
    x, labels = examples(net, 60)
    before = results(engine, x, labels)
    seconds = engine.profile(x, labels)
    assert seconds.shape == (len(net.layers), 3)
    forward, to_input, to_weights = seconds.T
    assert (forward > 0).all()
    for layer, backwards, learning in zip(net.layers, to_input, to_weights, strict=True):
        assert (learning > 0) == layer.trainable
        # Nothing is wanted below C1; the RBF's share comes with the loss, image by image.
        assert (backwards > 0) == (layer.name not in ("C1", "OUTPUT"))
    assert 0 < seconds.sum() < 10
    alone = engine.profile(x, labels, train=False)
    assert (alone[:, 0] > 0).all()
    assert not alone[:, 1:].any()
    assert not engine.profile(x[:0], labels[:0]).any()
    for name, array in results(engine, x, labels).items():
        np.testing.assert_array_equal(array, before[name])
    engine.close()


def test_a_twin_that_breaks_is_no_reason_to_skip(monkeypatch):
    """Kernels that are there and do not work fail; those that are missing leave a test out."""
    from lenet_fast.backends import numpy_backend

    with pytest.raises(BaseException, match="no lane kernels") as caught, using_lanes("numpy"):
        pass
    assert not isinstance(caught.value, Exception)  # pytest's own: skipped, or failed in CI
    monkeypatch.setattr(numpy_backend, "lane_kernels", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), using_lanes("numpy"):
        pass


def test_a_convolution_that_covers_its_input_is_a_dense_layer(lane_backend):
    """The same bits as those of the dense layer of its weights."""
    conv = Network([Conv2D(2, 7, (4, 5)), Dense(7, 3)], input_shape=(2, 4, 5), output="softmax")
    conv.initialise("lecun_sqrt", 1)
    dense = Network([Dense(40, 7), Dense(7, 3)], input_shape=(2, 4, 5), output="softmax")
    for (name, twin), array in zip(dense.parameters.items(), conv.parameters.values(), strict=True):
        twin[...] = array.reshape(twin.shape)
        assert name.startswith("dense")
    x, labels = examples(conv, 20)
    found = [
        list(
            results(
                LanesEngine(net, losses.CrossEntropy(), backend=lane_backend), x, labels
            ).values()
        )
        for net in (conv, dense)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.reshape(-1), other.reshape(-1))


# --- where parameters and the optimiser's arrays lie ---------------------------------------------


def apart(net: Network) -> Network:
    """Move each parameter into memory of its own, as those of PyTorch's modules have."""
    for layer in net.layers:
        layer.parameters = {name: array.copy() for name, array in layer.parameters.items()}
    return net


@pytest.mark.parametrize("optimiser", [SGD(0.9), Adam()], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", ["everything", "table"])
def test_bits_do_not_depend_on_where_parameters_lie(name, optimiser, dtype, lane_backend):
    case, found = ALL[name], []
    for place in (lambda net: net, copy.deepcopy, apart):
        net = place(case.network(dtype))
        engine = LanesEngine(net, case.loss, backend=lane_backend, threads=1)
        x, labels = examples(net, 40)
        rule = copy.deepcopy(optimiser)
        engine.train(x, labels, np.arange(40), 16, rule, 0.01)
        outputs = engine.predict(x)
        assert (len(engine._copies) == 0) == (place is not apart)
        rule.load_state(rule.state(), {each: net.parameters[each] for each in net.trainable_names})
        for layer in net.layers:  # others in their place are noticed
            layer.parameters = {each: array.copy() for each, array in layer.parameters.items()}
        engine.train(x, labels, np.arange(40), 16, rule, 0.01)
        found.append([outputs, engine.predict(x), *net.parameters.values()])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


# --- recorded passes ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 17, 40])
@pytest.mark.parametrize("name", ["everything", "padding", "dropout", "RBF on images"])
def test_recorded_passes(name, n, dtype, lane_backend):
    """The same bits as by going forward again, for passes in any order, and more than once."""
    net = ALL[name].network(dtype)
    engine = LanesEngine(net, ALL[name].loss, backend=lane_backend, threads=2)
    x, _ = examples(net, n)
    dropout = (3, 5)
    for to_inputs in (False, True):
        batches = [x, x[::-1].copy()]
        passes = [engine.record(each, inputs=to_inputs, dropout=dropout) for each in batches]
        for given, recorded in reversed(list(zip(batches, passes, strict=True))):
            assert recorded is not None
            dy = np.random.default_rng(n).standard_normal(recorded.outputs.shape).astype(dtype)
            expected = engine.backward(dy, to_inputs, x=given, dropout=dropout)
            outputs = engine.forward(given, dropout=dropout)
            np.testing.assert_array_equal(recorded.outputs, outputs)
            for _ in range(2):
                gradients, dx = recorded.backward(dy)
                if to_inputs:
                    np.testing.assert_array_equal(dx, expected[1])
                else:
                    assert dx is None
                for each, array in (expected[0] if to_inputs else expected).items():
                    np.testing.assert_array_equal(gradients[each], array, err_msg=each)


def test_recorded_passes_use_memory_again():
    engine = LanesEngine(models.lenet5(), losses.MAP(), threads=1)
    x = np.zeros((20, 1, 32, 32), np.float32)
    first = engine.record(x)
    at = first._memory.ctypes.data
    assert engine.record(x)._memory.ctypes.data != at
    del first
    assert engine.record(x)._memory.ctypes.data == at
    assert engine.record(x[:0]) is None
    assert engine.record(np.zeros((4000, 1, 32, 32), np.float32)) is None  # more than 128 MiB
    with pytest.raises(ValueError, match="d_outputs: expected shape"):
        engine.record(x).backward(np.zeros((19, 10), np.float32))


def test_a_recorded_pass_keeps_its_weights_where_they_are_copied(lane_backend):
    x, _ = examples(ALL["table"].network(np.float32), 20)
    dy = np.ones((20, 10), np.float32)[:, : ALL["table"].network(np.float32).output_shape[0]]
    found = []
    for place in (lambda net: net, apart):
        net = place(ALL["table"].network(np.float32))
        engine = LanesEngine(net, ALL["table"].loss, backend=lane_backend)
        first = engine.record(x)
        others = engine.record(x[::-1].copy())
        found.append((first.backward(dy)[0], others.backward(dy)[0], first.backward(dy)[0]))
        apart(net)  # in other memory, which has not been copied
        found[-1] += (first.backward(dy)[0], engine.record(x).backward(dy)[0])
    for one, other in zip(*found, strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])


def test_threads_may_record_with_one_engine():
    engine = LanesEngine(models.lenet5(), losses.MAP(), threads=1)
    batches = np.random.default_rng(0).random((4, 20, 1, 32, 32), np.float32)
    dy = np.ones((20, 10), np.float32)
    expected = [engine.backward(dy, x=x)["C3.w"] for x in batches]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(25):
            recorded = engine.record(batches[k])
            if not np.array_equal(recorded.backward(dy)[0]["C3.w"], expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
