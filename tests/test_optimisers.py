"""SGD, against numbers worked out by hand and against PyTorch's."""

import json

import numpy as np
import pytest
from helpers import require

from lenet_fast.training import SGD, optimisers

SHAPES = {"C1.w": (6, 1, 5, 5), "C1.b": (6,), "F6.w": (7, 11)}


def random_arrays(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def test_plain_sgd_by_hand():
    w = {"w": np.array([1.0, -2.0])}
    SGD().step(w, {"w": np.array([0.5, 0.25])}, rate=0.5)
    assert w["w"].tolist() == [0.75, -2.125]


def test_momentum_and_weight_decay_by_hand():
    w = {"w": np.array([4.0])}
    sgd = SGD(momentum=0.5, weight_decay=0.25)
    sgd.step(w, {"w": np.array([1.0])}, rate=0.5)  # v = 1 + 1 = 2;            w = 4 - 1 = 3
    assert w["w"][0] == 3
    sgd.step(w, {"w": np.array([3.0])}, rate=0.25)  # v = 1 + 3 + 0.75 = 4.75;  w = 3 - 1.1875
    assert w["w"][0] == 1.8125
    assert sgd.state()["w"][0] == 4.75


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_pytorch(momentum, weight_decay, dtype):
    torch = require("torch")
    ours = random_arrays(0, dtype)
    theirs = {name: torch.tensor(w, requires_grad=True) for name, w in ours.items()}
    sgd = SGD(momentum, weight_decay)
    judge = torch.optim.SGD(theirs.values(), lr=0.1, momentum=momentum, weight_decay=weight_decay)
    for step in range(10):
        rate = 0.1 / (1 + step // 4)
        gradients = random_arrays(step + 1, dtype)
        sgd.step(ours, gradients, rate)
        judge.param_groups[0]["lr"] = rate
        for name, w in theirs.items():
            w.grad = torch.tensor(gradients[name])
        judge.step()
    # Ten steps of four operations on values of order one: 40 roundings of half an ulp each, and
    # as many in PyTorch.
    bound = 40 * np.finfo(dtype).eps * 4
    for name, w in ours.items():
        np.testing.assert_allclose(w, theirs[name].detach().numpy(), rtol=0, atol=bound)


def test_works_in_place_in_the_dtype_of_the_network_and_leaves_gradients_alone():
    w, g = random_arrays(0, "float32"), random_arrays(1, "float32")
    arrays, before = dict(w), {name: array.copy() for name, array in g.items()}
    for array in g.values():
        array.flags.writeable = False
    sgd = SGD(momentum=0.9, weight_decay=0.1)
    sgd.step(w, g, 0.1)
    sgd.step(w, g, 0.1)
    for name, array in w.items():
        assert array is arrays[name]
        assert array.dtype == np.float32
        assert sgd.state()[name].dtype == np.float32
        np.testing.assert_array_equal(g[name], before[name])


def test_absent_links_stay_zero_and_parameters_without_gradient_stay_as_they_are():
    w, g = random_arrays(0), random_arrays(1)
    w["C1.w"][2:4] = g["C1.w"][2:4] = 0
    fixed = w["F6.w"].copy()
    del g["F6.w"]
    sgd = SGD(momentum=0.9, weight_decay=0.1)
    for _ in range(5):
        sgd.step(w, g, 0.1)
    assert (w["C1.w"][2:4] == 0).all()
    np.testing.assert_array_equal(w["F6.w"], fixed)
    assert "F6.w" not in sgd.state()


def test_state_taken_over_goes_on_with_the_same_bits():
    one, other = random_arrays(0, "float32"), random_arrays(0, "float32")
    first, second = SGD(0.9, 0.01), SGD(0.9, 0.01)
    for step in range(3):
        for w, sgd in ((one, first), (other, second)):
            sgd.step(w, random_arrays(step, "float32"), 0.1)
    third = optimisers.from_config(json.loads(json.dumps(second.config())))
    third.load_state(second.state(), other)
    for step in range(3):
        for w, sgd in ((one, first), (other, third)):
            sgd.step(w, random_arrays(step + 9, "float32"), 0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(one[name], other[name])
        # A third optimiser that went on with the second's arrays would change them too.
        assert not np.shares_memory(second.state()[name], third.state()[name])


def test_no_state_without_momentum():
    sgd = SGD()
    sgd.step(random_arrays(0), random_arrays(1), 0.1)
    assert sgd.state() == {}


def test_bad_arguments():
    for momentum in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="momentum: expected"):
            SGD(momentum)
    for decay in (-0.1, float("inf")):
        with pytest.raises(ValueError, match="weight_decay: expected"):
            SGD(weight_decay=decay)
    with pytest.raises(TypeError, match="momentum: expected"):
        SGD("0.9")
    with pytest.raises(ValueError, match="optimiser: expected a type out of"):
        optimisers.from_config({"type": "adam"})


@pytest.mark.parametrize(
    "state",
    [
        {"unknown": np.zeros(6)},
        {"C1.b": np.zeros(7)},
        {"C1.b": np.zeros(6, np.float32)},
    ],
    ids=["name", "shape", "dtype"],
)
def test_state_of_another_network_is_refused(state):
    with pytest.raises(ValueError, match="state: expected"):
        SGD(0.9).load_state(state, random_arrays(0))
