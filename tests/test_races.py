"""What a call is given may be changed by another thread meanwhile: results may then be anything,
but no kernel may read or write where it should not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import LANE_BACKENDS, run_python, using

from lenet_fast import checks, engines, losses, models
from lenet_fast.engines import inputs

PROLOGUE = """
import sys
import threading

import numpy as np

from lenet_fast import engines, losses, models, ops, training

backend, calls = sys.argv[1], 300
sys.setswitchinterval(1e-5)
rng = np.random.default_rng(0)
n = 1024
images = rng.integers(0, 256, (n, 28, 28), np.uint8)
labels, order = rng.integers(0, 10, n), np.arange(n)
network = models.lenet5()
network.initialise("eblearn", 1)


def engine(name):
    loss = losses.default_for(network)
    return engines.create(network, loss, engine=name, backend=backend, threads=2)


def train(name, batch_size):
    made, optimiser = engine(name), training.SGD(momentum=0)
    return lambda: made.train(images, labels, order, batch_size, optimiser, 0.0)


def numbers(array):
    right = array.copy()

    def change():
        array[...] = 10**9
        array[...] = right

    return change


def shapes(array, *others):
    right = array.shape

    def change():
        for shape in (*others, right):
            array.shape = shape

    return change
"""

EPILOGUE = """
call()  # once without a race: it compiles, and works
ended = threading.Event()


def keep_changing():
    while not ended.is_set():
        change()


thread = threading.Thread(target=keep_changing)
thread.start()
for _ in range(calls):
    try:
        call()
    except (TypeError, ValueError, AssertionError):  # it was wrong just when it was checked
        pass
ended.set()
thread.join()
print("alive")
"""

RACES = {
    "order, lanes": "change, call, calls = numbers(order), train('lanes', 32), 2000",
    "order, online": "change, call, calls = numbers(order), train('online', 1), 2000",
    "order, layers": "change, call, calls = numbers(order), train('layers', 32), 20",
    "labels, train": "change, call = numbers(labels), train('lanes', 32)",
    "labels, evaluate": """
change, made = numbers(labels), engine("lanes")
call = lambda: made.evaluate(images, labels)
""",
    "labels, gradients": """
change, made = numbers(labels), engine("lanes")
call = lambda: made.loss_and_gradients(images, labels)
""",
    "labels, gradients per example": """
some, made = labels[:64], engine("lanes")
change, call = numbers(some), lambda: made.gradients_per_example(images[:64], some)
""",
    "shape of gradients at the outputs": """
made = engine("lanes")
given = np.zeros((64, 10), np.float32)
change, calls = shapes(given, (32, 20), (128, 5)), 1000
call = lambda: made.backward(given, x=images[:64])
""",
    "labels, curvature": """
change, made = numbers(labels), engine("online")
call = lambda: made.hessian_diagonal(images, labels)
""",
    "labels, operation": """
x, labels = rng.standard_normal((50_000, 10)), rng.integers(0, 10, 50_000)
change = numbers(labels)
call = lambda: ops.softmax_cross_entropy_backward(x, labels, backend=backend)
""",
    "shape of x, convolution": """
x, w = rng.standard_normal((64, 6, 14, 14)), rng.standard_normal((16, 6, 5, 5))
change, calls = shapes(x, (196, 6, 8, 8), (1, 6, 112, 112)), 100
call = lambda: ops.conv2d(x, w, backend=backend)
""",
    "shape of x, dense": """
x, w = rng.standard_normal((64, 400)), rng.standard_normal((84, 400))
change, calls = shapes(x, (6400, 4), (1, 25600)), 3000
call = lambda: ops.dense(x, w, backend=backend)
""",
    "shape of out": """
x, out = rng.standard_normal((64, 6, 14, 14)), np.empty((64, 6, 7, 7))
change, calls = shapes(out, (1, 6, 56, 56)), 3000
call = lambda: ops.max_pool2d(x, backend=backend, out=out)
""",
    "shape of images": """
change, made = shapes(images, (n // 4, 56, 56), (n * 4, 14, 14)), engine("lanes")
call = lambda: made.predict(images)
""",
    "shape of one image": """
image, made = images[0].copy(), engine("online")
change, calls = shapes(image, (56, 14), (784, 1)), 3000
call = lambda: made.predict_one(image)
""",
}


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize("backend", ["cython", "numba"])
def test_no_race_ends_the_process(backend, race):
    with using(backend):  # or left out
        done = run_python(PROLOGUE + RACES[race] + EPILOGUE, backend)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("dtype", [np.intp, np.uint8, np.int32, np.uint64])
def test_numbers_that_say_where_to_read_are_copied(dtype):
    given = np.arange(6, dtype=dtype)
    for array in (given, given[::-1], given[::2]):
        for taken in (checks.labels("labels", array, len(array), 6), inputs.order(array, 6)):
            assert taken.dtype == np.intp
            assert taken.flags.c_contiguous
            assert not np.shares_memory(taken, given)
            np.testing.assert_array_equal(taken, array)


def test_numbers_that_fit_no_index_are_refused():
    for wrong in (2**63, 2**64 - 1, 2**63 + 3):
        array = np.array([1, wrong], np.uint64)
        with pytest.raises(ValueError, match=f"labels: expected labels from 0 to 9, got {wrong}"):
            checks.labels("labels", array, 2, 10)
        with pytest.raises(ValueError, match=f"order: .* got 1 to {wrong}"):
            inputs.order(array, 10)


def test_the_callers_shape_is_not_ours(rng):
    x = rng.standard_normal((4, 6))
    taken = checks.floats("x", x, "n, k")
    x.shape = (6, 4)
    assert taken.shape == (4, 6)
    assert np.shares_memory(taken, x)


@pytest.mark.parametrize("backend", LANE_BACKENDS)
def test_an_array_in_use_cannot_be_resized(backend):
    """NumPy refuses while there are other references: a call has one to all that it is given."""
    network = models.lenet5()
    with using(backend) as name:
        engine = engines.create(network, losses.default_for(network), engine="online", backend=name)
    for array in network.parameters.values():
        with pytest.raises(ValueError, match="resize"):
            array.resize((0,))
    del engine
