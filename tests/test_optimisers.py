"""The update rules, against numbers worked out by hand, their bare definitions and PyTorch's."""

import functools
import json
import math

import numpy as np
import pytest
from helpers import assert_within, complains, require

from lenet_fast import defaults, training
from lenet_fast.engines import interface, program
from lenet_fast.training import (
    OPTIMISERS,
    SDLM,
    SGD,
    Adadelta,
    Adam,
    AdamW,
    RMSprop,
    optimisers,
)

SHAPES = {"C1.w": (6, 1, 5, 5), "C1.b": (6,), "F6.w": (7, 11)}


def random_arrays(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def random_factors(seed=7, dtype="float64"):
    """Factors of two of the three parameters, some of them zero."""
    rng = np.random.default_rng(seed)
    found = {name: rng.uniform(0, 2, SHAPES[name]).astype(dtype) for name in ("C1.w", "F6.w")}
    found["F6.w"][2] = 0
    return found


MAKERS = {
    "sgd": lambda **more: SGD(**more),
    "momentum": lambda **more: SGD(0.9, 0.01, **more),
    "nesterov": lambda **more: SGD(0.9, 0.01, nesterov=True, **more),
    "adamw": lambda **more: AdamW(weight_decay=0.1, **more),
    "adam": lambda **more: Adam(weight_decay=0.1, **more),
    "rmsprop": lambda **more: RMSprop(0.9, **more),
    "rmsprop, options": lambda **more: RMSprop(0.8, 0.1, 0.5, True, 0.1, **more),
    "adadelta": lambda **more: Adadelta(0.8, 0.01, 0.1, **more),
}
SLOTS = dict(zip(MAKERS, (0, 1, 1, 2, 2, 1, 3, 2), strict=True))
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# --- what a step does  ---


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
    assert sgd.state()["velocities/w"][0] == 4.75


def test_nesterov_by_hand():
    w = {"w": np.array([4.0])}
    sgd = SGD(momentum=0.5, weight_decay=0.25, nesterov=True)
    sgd.step(w, {"w": np.array([1.0])}, rate=0.5)  # g = 2, v = 2;          w = 4 - (2 + 1) / 2
    assert w["w"][0] == 2.5
    sgd.step(w, {"w": np.array([3.0])}, rate=0.25)  # g = 3.625, v = 4.625;  5.9375 / 4 = 1.484375
    assert w["w"][0] == 1.015625
    assert sgd.state()["velocities/w"][0] == 4.625


def test_adamw_by_hand():
    w = {"w": np.array([2.0])}
    adamw = AdamW(beta1=0.5, beta2=0.75, epsilon=4, weight_decay=0.25)
    # m = 2, v = 4; m' = 2 / 0.5, v' = 4 / 0.25; 4 / (4 + 4) + 0.25 * 2 = 1; w = 2 - 0.5
    adamw.step(w, {"w": np.array([4.0])}, rate=0.5)
    assert w["w"][0] == 1.5
    # m = 1 - 2, v = 3 + 4; m' = -1 / 0.75, v' = 7 / 0.4375; -1/6 + 0.375; w = 1.5 - 0.1041666...
    adamw.step(w, {"w": np.array([-4.0])}, rate=0.5)
    assert w["w"][0] == pytest.approx(1.5 - 5 / 48, rel=1e-15)
    assert [slot["w"][0] for slot in adamw.slots(w)] == [-1, 7]
    assert adamw.steps == 2


def test_the_first_step_of_adamw_is_the_rate_whatever_the_gradient():
    w = {"w": np.zeros(4)}
    AdamW(epsilon=1e-30).step(w, {"w": np.array([1e-9, -1e-3, 1.0, 1e9])}, rate=0.25)
    np.testing.assert_allclose(w["w"], [-0.25, 0.25, -0.25, -0.25], rtol=1e-14)


def test_adam_by_hand():
    w = {"w": np.array([2.0])}
    adam = Adam(beta1=0.5, beta2=0.75, epsilon=3, weight_decay=0.5)
    # g = 5, m = 2.5, v = 6.25; m' = 5, v' = 25; 5 / (5 + 3) = 0.625
    adam.step(w, {"w": np.array([4.0])}, rate=0.5)
    assert w["w"][0] == 2 - 0.3125
    assert [slot["w"][0] for slot in adam.slots(w)] == [2.5, 6.25]


def test_rmsprop_by_hand():
    w = {"w": np.array([2.0])}
    rmsprop = RMSprop(alpha=0.75, epsilon=1, momentum=0.5, weight_decay=0.5)
    # g = 2 + 1, s = 9 / 4; 3 / (1.5 + 1) = 1.2 = v
    rmsprop.step(w, {"w": np.array([2.0])}, rate=0.5)
    assert w["w"][0] == pytest.approx(1.4, rel=1e-15)
    # g = 0.7 - 0.7, s = 27 / 16; v = 0.6
    rmsprop.step(w, {"w": np.array([-0.7])}, rate=0.5)
    assert w["w"][0] == pytest.approx(1.1, rel=1e-15)
    assert [slot["w"][0] for slot in rmsprop.slots(w)] == pytest.approx([27 / 16, 0.6])


def test_centered_rmsprop_by_hand():
    w = {"w": np.array([0.0])}
    rmsprop = RMSprop(alpha=0.5, epsilon=1, centered=True)
    # s = 8, m = 2, 8 - 4 = 4; 4 / (2 + 1)
    rmsprop.step(w, {"w": np.array([4.0])}, rate=0.75)
    assert w["w"][0] == -1
    assert [slot["w"][0] for slot in rmsprop.slots(w)] == [8, 2]
    # A variance that rounding makes negative is 0: then the gradient is over epsilon alone.
    s, m = rmsprop.slots(w)
    s["w"][...], m["w"][...] = 16, 4.5
    rmsprop.step(w, {"w": np.array([4.0])}, rate=0.75)
    assert w["w"][0] == -1 - 3


def test_adadelta_by_hand():
    w = {"w": np.array([2.0])}
    adadelta = Adadelta(rho=0.75, epsilon=0.25, weight_decay=0.5)
    # g = 1 + 1, s = 1; d = 0.5 / sqrt(1.25) * 2, d^2 = 0.8, u = 0.2
    adadelta.step(w, {"w": np.array([1.0])}, rate=0.5)
    assert w["w"][0] == pytest.approx(2 - math.sqrt(0.8) / 2, rel=1e-15)
    assert [slot["w"][0] for slot in adadelta.slots(w)] == pytest.approx([1, 0.2], rel=1e-15)
    # u = 0.2: the next change is larger.
    before = w["w"][0]
    adadelta.step(w, {"w": np.array([2 - before / 2])}, rate=1)
    assert before - w["w"][0] == pytest.approx(2 * math.sqrt(0.45 / 2), rel=1e-15)


def test_factors_by_hand():
    w = {"w": np.array([4.0, 4.0, 4.0]), "b": np.array([1.0])}
    g = {"w": np.array([1.0, 1.0, 1.0]), "b": np.array([2.0])}
    sgd = SGD(momentum=0.5, weight_decay=0.25, factors={"w": np.array([0.0, 1.0, 0.5])})
    sgd.step(w, g, rate=0.5)
    assert w["w"].tolist() == [4, 3, 3.5]
    assert w["b"].tolist() == [1 - 0.5 * 2.25]
    # The velocities are those of steps without factors.
    assert sgd.state()["velocities/w"].tolist() == [2, 2, 2]


def by_definition(rule, w, gradients, rates, factors):
    """Return a weight after some steps: one Python float, the formulas of the docstrings."""
    v, m, s, u = 0.0, 0.0, 0.0, 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        g = g + (rule.weight_decay * w if rule.name != "adamw" else 0)
        m = rule.beta1 * m + (1 - rule.beta1) * g
        s = rule.beta2 * s + (1 - rule.beta2) * g**2
        if rule.name == "sgd":
            v = rule.momentum * v + g
            w = w - rate * factors * (g + rule.momentum * v if rule.nesterov else v)
        elif rule.name == "rmsprop":
            variance = s - m**2 if rule.beta1 else s
            v = rule.momentum * v + g / (math.sqrt(variance) + rule.epsilon)
            w = w - rate * factors * v
        elif rule.name == "adadelta":
            d = math.sqrt(u + rule.epsilon) / math.sqrt(s + rule.epsilon) * g
            u = rule.beta2 * u + (1 - rule.beta2) * d**2
            w = w - rate * factors * d
        else:
            assert rule.name in ("adam", "adamw")
            first, second = m / (1 - rule.beta1**t), s / (1 - rule.beta2**t)
            beside = rule.weight_decay * w if rule.name == "adamw" else 0
            w = w - rate * factors * (first / (math.sqrt(second) + rule.epsilon) + beside)
    return w


@every
def test_agrees_with_the_definition_for_each_weight(make, dtype):
    steps, factors = 6, random_factors(dtype=dtype)
    optimiser, before = make(factors=factors), random_arrays(0, dtype)
    now = {name: w.copy() for name, w in before.items()}
    gradients = [random_arrays(step + 1, dtype) for step in range(steps)]
    rates = [0.1 / (1 + step // 4) for step in range(steps)]
    for gradient, rate in zip(gradients, rates, strict=True):
        optimiser.step(now, gradient, rate)
    for name, w in now.items():
        expected = np.zeros(w.shape)
        for at in np.ndindex(w.shape):
            expected[at] = by_definition(
                optimiser.rule,
                float(before[name][at]),
                [float(gradient[name][at]) for gradient in gradients],
                rates,
                float(factors[name][at]) if name in factors else 1.0,
            )
        assert_within(w, expected, bound(steps, dtype), dtype, name)
        if name in factors:
            unmoved = factors[name] == 0
            np.testing.assert_array_equal(w[unmoved], before[name][unmoved])
            assert (w[~unmoved] != before[name][~unmoved]).all()


def bound(steps, dtype):
    """Return how far two computations of some steps, of rates up to 0.1, may be apart.

    Weights are below 8, velocities below 12, quotients of moments below 5. Step k rounds the
    weight twice, the decay included, by 2 eps; and it takes off 0.1 times a velocity, of k
    terms with two roundings each: 0.1 * 12 * k eps. Both computations do.
    """
    return 2 * sum(4 + 1.2 * k for k in range(1, steps + 1)) * float(np.finfo(dtype).eps)


def agrees_with_pytorch(ours, judge, dtype, first_rate=0.1):
    torch = require("torch")
    w = random_arrays(0, dtype)
    theirs = {name: torch.tensor(array, requires_grad=True) for name, array in w.items()}
    reference = judge(torch, list(theirs.values()))
    before = {name: array.copy() for name, array in w.items()}
    for step in range(10):
        rate = first_rate / (1 + step // 4)
        gradients = random_arrays(step + 1, dtype)
        ours.step(w, gradients, rate)
        reference.param_groups[0]["lr"] = rate
        for name, tensor in theirs.items():
            tensor.grad = torch.tensor(gradients[name])
        reference.step()
    for name, array in w.items():
        assert_within(array, theirs[name].detach().numpy(), bound(10, dtype), dtype, name)
        assert (np.abs(array - before[name]) > 100 * bound(10, dtype)).mean() > 0.5


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)]
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_sgd_agrees_with_pytorch(momentum, nesterov, weight_decay, dtype):
    agrees_with_pytorch(
        SGD(momentum, weight_decay, nesterov),
        lambda torch, tensors: torch.optim.SGD(
            tensors, lr=0.1, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        ),
        dtype,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.0},
        {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3},
        {"beta1": 0.0, "beta2": 0.0, "epsilon": 0.1},
    ],
    ids=str,
)
def test_adamw_agrees_with_pytorch(options, dtype):
    theirs = {
        "eps": options.get("epsilon", 1e-8),
        "weight_decay": options.get("weight_decay", 0.01),
    }
    betas = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    agrees_with_pytorch(
        AdamW(**options),
        lambda torch, tensors: torch.optim.AdamW(tensors, lr=0.1, betas=betas, **theirs),
        dtype,
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3)])
def test_adam_agrees_with_pytorch(beta1, beta2, epsilon, weight_decay, dtype):
    agrees_with_pytorch(
        Adam(beta1, beta2, epsilon, weight_decay),
        lambda torch, tensors: torch.optim.Adam(
            tensors, lr=0.1, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay
        ),
        dtype,
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(("alpha", "epsilon"), [(0.95, 1e-8), (0.5, 0.1)])
def test_rmsprop_agrees_with_pytorch(alpha, epsilon, momentum, centered, weight_decay, dtype):
    options = {"momentum": momentum, "centered": centered, "weight_decay": weight_decay}
    agrees_with_pytorch(
        RMSprop(alpha, epsilon, **options),
        lambda torch, tensors: torch.optim.RMSprop(
            tensors, lr=0.1, alpha=alpha, eps=epsilon, **options
        ),
        dtype,
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("rho", "epsilon", "rate"), [(0.9, 1e-6, 30.0), (0.5, 0.1, 1.0)])
def test_adadelta_agrees_with_pytorch(rho, epsilon, rate, weight_decay, dtype):
    agrees_with_pytorch(
        Adadelta(rho, epsilon, weight_decay),
        lambda torch, tensors: torch.optim.Adadelta(
            tensors, lr=rate, rho=rho, eps=epsilon, weight_decay=weight_decay
        ),
        dtype,
        rate,
    )


@every
def test_works_in_place_in_the_dtype_of_the_network_and_leaves_gradients_alone(make):
    w, g = random_arrays(0, "float32"), random_arrays(1, "float32")
    arrays, before = dict(w), {name: array.copy() for name, array in g.items()}
    for array in g.values():
        array.flags.writeable = False
    optimiser = make(factors=random_factors(dtype="float32"))
    optimiser.step(w, g, 0.1)
    optimiser.step(w, g, np.float64(0.1))
    for name, array in w.items():
        assert array is arrays[name]
        assert array.dtype == np.float32
        for slot in optimiser.slots(w):
            assert slot[name].dtype == np.float32
        np.testing.assert_array_equal(g[name], before[name])


@every
def test_a_rate_that_is_a_numpy_number_changes_no_bit(make):
    one, other = random_arrays(0, "float32"), random_arrays(0, "float32")
    make().step(one, random_arrays(1, "float32"), 0.1)
    make().step(other, random_arrays(1, "float32"), np.float64(0.1))
    for name, w in one.items():
        np.testing.assert_array_equal(w, other[name])


@every
def test_absent_links_stay_zero_and_parameters_without_gradient_stay_as_they_are(make):
    w, g = random_arrays(0, "float32"), random_arrays(1, "float32")
    w["C1.w"][2:4] = g["C1.w"][2:4] = 0
    fixed = w["F6.w"].copy()
    del g["F6.w"]
    optimiser = make()
    for _ in range(5):
        optimiser.step(w, g, 0.1)
    assert (w["C1.w"][2:4] == 0).all()
    np.testing.assert_array_equal(w["F6.w"], fixed)
    assert not [name for name in optimiser.state() if "F6.w" in name]


# --- what an engine needs that makes the steps on its own  ---


def test_rules():
    assert SGD().rule == ("sgd", 0.0, False, 0.0, 0.0, 0.0, 0.0)
    assert SGD(0.9, 0.1, nesterov=True).rule == interface.Rule(
        "sgd", momentum=0.9, nesterov=True, weight_decay=0.1
    )
    assert AdamW(0.8, 0.9, 1e-6, 0.2).rule == interface.Rule(
        "adamw", weight_decay=0.2, beta1=0.8, beta2=0.9, epsilon=1e-6
    )
    assert AdamW().rule == ("adamw", 0.0, False, 0.01, 0.9, 0.999, 1e-8)
    assert Adam().rule == AdamW(weight_decay=0).rule._replace(name="adam")
    assert RMSprop().rule == interface.Rule("rmsprop", beta2=0.99, epsilon=1e-8)
    assert RMSprop(0.9, 0.1, 0.8, True, 0.2).rule == interface.Rule(
        "rmsprop", momentum=0.8, weight_decay=0.2, beta1=0.9, beta2=0.9, epsilon=0.1
    )
    assert Adadelta().rule == interface.Rule("adadelta", beta2=0.9, epsilon=1e-6)


@pytest.mark.parametrize("base", [SGD, AdamW, functools.partial(SDLM, 0.5)])
@pytest.mark.parametrize("name", ["sgd", "adamw", "sdlm"])
@pytest.mark.parametrize("method", ["step", "_change", "follow"])
def test_a_subclass_is_not_taken_for_the_rule_whose_name_it_has(base, name, method):
    """Neither by engines, which know rules, nor by files, which know types."""
    ours = base().__class__
    own = type(name, (ours,), {method: lambda *arguments: None})
    plain = type(name, (ours,), {})
    given = (0.5,) if ours is SDLM else ()
    for each in (own, type("Again", (own,), {})):
        assert each(*given).config()["type"] == f"{__name__}.{name}"
        rule = ours(*given).rule.name if method == "follow" else f"{__name__}.{name}"
        assert each(*given).rule.name == rule
    assert plain(*given).config() == ours(*given).config()
    assert plain(*given).rule == ours(*given).rule


def test_the_lists_of_optimisers_have_the_same_names():
    """Engines know the rules of all, files all, and front ends all but SDLM."""
    assert {*OPTIMISERS} == {*defaults.OPTIMISERS, "sdlm"} == {*program.RULES, "sdlm"}
    assert {make().rule.name for make in MAKERS.values()} == {*program.RULES}
    for name, kind in OPTIMISERS.items():
        made = kind(1.0) if name == "sdlm" else kind()
        assert made.config()["type"] == name
        assert getattr(training, kind.__name__) is kind


@pytest.mark.parametrize(
    ("make", "count"), [(MAKERS[name], SLOTS[name]) for name in MAKERS], ids=MAKERS
)
def test_slots_are_made_of_zeros_and_are_live(make, count):
    w = random_arrays(0, "float32")
    w["C1.w"] = np.asfortranarray(w["C1.w"])
    few = {name: w[name] for name in ("F6.w", "C1.w")}
    optimiser = make()
    slots = optimiser.slots(few)
    assert len(slots) == count
    assert optimiser.steps == 0
    for slot in slots:
        assert list(slot) == ["F6.w", "C1.w"]
        for name, array in slot.items():
            assert not array.any()
            assert (array.shape, array.dtype) == (w[name].shape, w[name].dtype)
            assert array.flags.c_contiguous
            assert array.flags.writeable
    again = optimiser.slots(w)
    for slot, other in zip(slots, again, strict=True):
        assert list(other) == list(w)
        assert all(other[name] is array for name, array in slot.items())
    # What is done to them by hand, the next step goes on from.
    for slot in slots:
        for array in slot.values():
            array += 0.25
    plain, other = make(), {name: array.copy() for name, array in w.items()}
    optimiser.step(w, random_arrays(1, "float32"), 0.1)
    plain.step(other, random_arrays(1, "float32"), 0.1)
    for name, array in w.items():
        assert (array != other[name]).any() == (count > 0 and name in few)


@every
def test_steps_made_by_another_hand_are_counted_on(make):
    """An engine that follows rule, slots, steps and factors is as good as the optimiser."""
    one, other = random_arrays(0), random_arrays(0)
    optimiser, twin = make(factors=random_factors()), make(factors=random_factors())
    for step in range(6):
        gradients = random_arrays(step + 1)
        optimiser.step(one, gradients, 0.1)
        if step % 2:
            twin.step(other, gradients, 0.1)
        else:
            _step_by_hand(twin, other, gradients, 0.1)
    assert optimiser.steps == twin.steps == 6
    for name, w in one.items():
        np.testing.assert_allclose(w, other[name], rtol=1e-13, atol=1e-13)


def _step_by_hand(optimiser, parameters, gradients, rate):
    """Change weights and slots as the rule says, the slots by their order."""
    rule, slots = optimiser.rule, optimiser.slots(parameters)
    optimiser.steps += 1
    t = optimiser.steps
    for name, w in parameters.items():
        kept = [slot[name] for slot in slots]
        g = gradients[name] + (rule.weight_decay * w if rule.name != "adamw" else 0)
        if rule.name == "sgd":
            change = g
            for v in kept:
                v[...] = rule.momentum * v + g
                change = g + rule.momentum * v if rule.nesterov else v
        elif rule.name == "rmsprop":
            kept[0][...] = rule.beta2 * kept[0] + (1 - rule.beta2) * g**2
            variance = kept[0]
            if rule.beta1:
                kept[-1][...] = rule.beta1 * kept[-1] + (1 - rule.beta1) * g
                variance = variance - kept[-1] ** 2
            change = g / (np.sqrt(variance) + rule.epsilon)
            if rule.momentum:
                kept[1][...] = rule.momentum * kept[1] + change
                change = kept[1]
        elif rule.name == "adadelta":
            kept[0][...] = rule.beta2 * kept[0] + (1 - rule.beta2) * g**2
            change = np.sqrt((kept[1] + rule.epsilon) / (kept[0] + rule.epsilon)) * g
            kept[1][...] = rule.beta2 * kept[1] + (1 - rule.beta2) * change**2
        else:
            m, v = kept
            m[...] = rule.beta1 * m + (1 - rule.beta1) * g
            v[...] = rule.beta2 * v + (1 - rule.beta2) * g**2
            change = m / (1 - rule.beta1**t) / (np.sqrt(v / (1 - rule.beta2**t)) + rule.epsilon)
            change = change + (rule.weight_decay * w if rule.name == "adamw" else 0)
        w -= rate * optimiser.factors.get(name, 1.0) * change


@every
def test_steps_are_counted_and_may_be_set(make):
    optimiser = make()
    for _ in range(3):
        optimiser.step(random_arrays(0), random_arrays(1), 0.1)
    assert optimiser.steps == 3
    optimiser.steps += 4
    assert optimiser.steps == 7
    for wrong in (-1, 2**63):
        with pytest.raises(
            ValueError, match="steps: expected an int from 0 to 9223372036854775807"
        ):
            optimiser.steps = wrong
    with pytest.raises(TypeError, match=r"steps: expected an int, got float 1\.5"):
        optimiser.steps = 1.5
    assert optimiser.steps == 7


def test_factors_are_copied_and_may_be_set():
    given = random_factors()
    sgd = SGD(factors=given)
    assert list(sgd.factors) == list(given)
    given["C1.w"][...] = np.nan
    assert np.isfinite(sgd.factors["C1.w"]).all()
    sgd.factors = {}
    assert sgd.factors == SGD().factors == {}
    sgd.factors = {"C1.b": np.full(6, 0.5)[::-1]}
    w = {"C1.b": np.zeros(6)}
    sgd.step(w, {"C1.b": np.ones(6)}, 1)
    sgd.factors["C1.b"][0] = 0  # live, as the slots are
    sgd.step(w, {"C1.b": np.ones(6)}, 1)
    assert w["C1.b"].tolist() == [-0.5] + 5 * [-1]


# --- state  ---


@every
@pytest.mark.parametrize("factors", [None, random_factors(dtype="float32")], ids=["", "factors"])
def test_state_taken_over_goes_on_with_the_same_bits(make, factors):
    one, other = random_arrays(0, "float32"), random_arrays(0, "float32")
    first, second = make(factors=factors), make(factors=factors)
    for step in range(3):
        for w, optimiser in ((one, first), (other, second)):
            optimiser.step(w, random_arrays(step, "float32"), 0.1)
    third = optimisers.from_config(json.loads(json.dumps(second.config())))
    third.load_state(second.state(), other)
    assert third.config() == second.config()
    assert repr(third) == repr(second)
    assert third.steps == 3
    for step in range(3):
        for w, optimiser in ((one, first), (other, third)):
            optimiser.step(w, random_arrays(step + 9, "float32"), 0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(one[name], other[name])
    old, new = second.state(), third.state()
    assert old.keys() == new.keys() == first.state().keys()
    for name in old:
        # A third optimiser that went on with the second's arrays would change them too.
        assert not np.shares_memory(old[name], new[name])
        np.testing.assert_array_equal(new[name], first.state()[name])


def test_the_names_of_a_state():
    w, g = {"C1.w": np.ones(2), "a/b": np.ones(3)}, {"C1.w": np.ones(2), "a/b": np.ones(3)}
    optimiser = AdamW(factors={"a/b": np.ones(3)})
    assert list(optimiser.state()) == ["steps", "factors/a/b"]
    optimiser.step(w, g, 0.1)
    state = optimiser.state()
    assert sorted(state) == [
        *("factors/a/b", "first_moments/C1.w", "first_moments/a/b"),
        *("second_moments/C1.w", "second_moments/a/b", "steps"),
    ]
    assert (state["steps"].dtype, state["steps"].tolist()) == (np.int64, [1])
    other = AdamW()
    other.load_state(state, w)
    assert other.state().keys() == state.keys()


def test_only_steps_without_momentum():
    sgd = SGD()
    assert sgd.state()["steps"].tolist() == [0]
    sgd.step(random_arrays(0), random_arrays(1), 0.1)
    assert {name: array.tolist() for name, array in sgd.state().items()} == {"steps": [1]}


@every
def test_a_state_before_the_first_step(make):
    optimiser, other = make(), make(factors=random_factors())
    optimiser.load_state(other.state(), random_arrays(0))
    assert optimiser.steps == 0
    assert optimiser.factors.keys() == other.factors.keys()
    optimiser.load_state(make().state(), random_arrays(0))
    assert optimiser.factors == {}


def full_state():
    """Return a state of AdamW for the parameters of SHAPES, all ones, after five steps."""
    kinds = ("first_moments", "second_moments", "factors")
    state = {f"{kind}/{name}": np.ones(shape) for kind in kinds for name, shape in SHAPES.items()}
    return state | {"steps": np.array([5], np.int64)}


NOT_FINITE = np.array([0, 0, np.nan, 0, 0, 0])
BELOW_ZERO = np.array([0, 0, 0, 0, -1.0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": np.zeros(6)}, "expected steps, first_moments, .* got unknown"),
        ({"C1.b": np.zeros(6)}, r"expected steps, .* got C1\.b"),
        ({"velocities/C1.b": np.zeros(6)}, r"expected .* got velocities/C1\.b"),
        ({"first_moments/F9.w": np.zeros(6)}, r"expected .* got first_moments/F9\.w"),
        ({"first_moments/C1.b": np.zeros(7)}, r"first_moments\['C1\.b'\]: expected shape \(6,\)"),
        (
            {"factors/C1.b": np.zeros((6, 1))},
            r"factors\['C1\.b'\]: expected shape \(6,\) .* \(6, 1\)",
        ),
        (
            {"second_moments/C1.b": np.zeros(6, "f4")},
            r"C1\.b'\]: expected dtype float64 .* float32",
        ),
        ({"first_moments/C1.b": np.zeros(6, "i8")}, r"C1\.b'\]: expected dtype float64 .* int64"),
        (
            {"first_moments/C1.b": NOT_FINITE},
            r"first.*\['C1\.b'\]: expected finite numbers, got nan",
        ),
        ({"second_moments/C1.b": BELOW_ZERO}, r"expected finite numbers not below 0, got -1\.0"),
        ({"factors/C1.b": BELOW_ZERO}, r"expected finite numbers not below 0, got -1\.0"),
        ({"factors/C1.b": NOT_FINITE}, r"expected finite numbers not below 0, got nan"),
        ({"steps": np.array([0], np.int64), "first_moments/C1.b": None}, "first_moments of all"),
        ({"first_moments/C1.b": None}, r"first_moments of all parameters, got none of \['C1\.b'\]"),
        ({"second_moments/C1.b": None}, "second_moments of all parameters, got none"),
        ({"steps": None}, "expected steps, one int64 not below 0, got none"),
        (
            {"steps": np.array([-1], np.int64)},
            r"expected steps, .* got int64 of shape \(1,\): \[-1\]",
        ),
        ({"steps": np.array([1.0])}, "expected steps, .* got float64"),
        ({"steps": np.array(1, np.int64)}, r"expected steps, .* got int64 of shape \(\)"),
        ({"steps": np.zeros(0, np.int64)}, r"expected steps, .* got int64 of shape \(0,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    state = {name: array for name, array in (full_state() | change).items() if array is not None}
    adamw = AdamW()
    adamw.step(random_arrays(0), random_arrays(1), 0.1)
    before = {name: array.copy() for name, array in adamw.state().items()}
    with pytest.raises(ValueError, match=f"^state: .*{message}"):
        adamw.load_state(state, random_arrays(0))
    after = adamw.state()
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    adamw.load_state(full_state(), random_arrays(0))
    assert adamw.steps == 5


def test_a_state_without_moments_is_one_before_the_first_step_only():
    state = {"steps": np.array([0], np.int64)}
    AdamW().load_state(state, random_arrays(0))
    with pytest.raises(ValueError, match="state: expected first_moments of all parameters"):
        AdamW().load_state({"steps": np.array([1], np.int64)}, random_arrays(0))


# --- what is refused  ---


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "beta1", "beta2", "epsilon"])
def test_bad_numbers(name):
    make = SGD if name == "momentum" else AdamW
    below_one = name not in ("weight_decay", "epsilon")
    for wrong in (-0.1, float("nan"), float("inf"), *((1.0, 1.5) if below_one else ())):
        with complains(name, got=str(wrong)):
            make(**{name: wrong})
    for wrong in ("0.9", True, None):
        with complains(name, TypeError, about="a number"):
            make(**{name: wrong})


def test_an_epsilon_that_float32_cannot_hold():
    for wrong in (0, 1e-46, 1.17e-38):
        with complains("epsilon", about="at least 1.1754944e-38", got=str(wrong)):
            AdamW(epsilon=wrong)
    w = {"w": np.zeros(1, np.float32)}
    AdamW(epsilon=1.18e-38).step(w, {"w": np.zeros(1, np.float32)}, 0.1)
    assert w["w"][0] == 0


def test_nesterov_needs_a_momentum():
    with complains("nesterov", about="a momentum above 0", got="a momentum of 0"):
        SGD(nesterov=True)
    for wrong in (1, "yes", None):
        with complains("nesterov", TypeError, about="a bool", got=repr(wrong)):
            SGD(0.9, nesterov=wrong)


@pytest.mark.parametrize(
    ("factors", "argument", "error", "about"),
    [
        ([1.0], "factors", TypeError, "a mapping of arrays"),
        ({1: np.ones(2)}, "factors", TypeError, "names of parameters"),
        ({"w": 2.0}, "factors['w']", TypeError, "a NumPy array"),
        ({"w": [2.0]}, "factors['w']", TypeError, "a NumPy array"),
        ({"w": np.ones(2, int)}, "factors['w']", TypeError, "dtype float32 or float64"),
        ({"w": np.array([1, -0.5])}, "factors['w']", ValueError, "finite numbers not below 0"),
        ({"w": np.array([1, np.nan])}, "factors['w']", ValueError, "finite numbers not below 0"),
        ({"w": np.array(np.inf)}, "factors['w']", ValueError, "finite numbers not below 0"),
    ],
)
def test_bad_factors(factors, argument, error, about):
    for make in (SGD, AdamW):
        with complains(argument, error, about=about):
            make(factors=factors)
    sgd = SGD()
    with complains(argument, error, about=about):
        sgd.factors = factors


@every
@pytest.mark.parametrize(
    ("factors", "argument", "error", "about"),
    [
        ({"C9.w": np.ones(6)}, "factors", ValueError, "parameters out of C1.w, C1.b, F6.w"),
        ({"C1.b": np.ones(7)}, "factors['C1.b']", ValueError, "shape (6,)"),
        ({"C1.b": np.ones(6, "f4")}, "factors['C1.b']", TypeError, "dtype float64"),
    ],
    ids=["name", "shape", "dtype"],
)
def test_factors_that_do_not_fit(make, factors, argument, error, about):
    w, optimiser = random_arrays(0), make(factors=factors)
    with complains(argument, error, about=about):
        optimiser.slots(w)
    with complains(argument, error, about=about):
        optimiser.step(w, random_arrays(1), 0.1)
    assert optimiser.steps == 0
    for name, array in random_arrays(0).items():
        np.testing.assert_array_equal(w[name], array)


def test_factors_of_parameters_that_are_not_trained_are_refused():
    """Such a checkpoint could not be read back."""
    w, g = random_arrays(0), random_arrays(1)
    del g["F6.w"]
    with complains("factors", about="out of C1.w, C1.b", got="'F6.w'"):
        SGD(factors=random_factors()).step(w, g, 0.1)


def test_slots_of_another_network_are_refused():
    adamw = AdamW()
    adamw.slots(random_arrays(0))
    with complains("first_moments['C1.b']", about="shape (7,)", got="(6,)"):
        adamw.slots({"C1.b": np.zeros(7)})
    with complains("first_moments['C1.b']", TypeError, about="dtype float32", got="float64"):
        adamw.step({"C1.b": np.zeros(6, "f4")}, {"C1.b": np.zeros(6, "f4")}, 0.1)


def test_bad_descriptions():
    for wrong in ("lbfgs", None, 3):
        with pytest.raises(
            ValueError, match=r"optimiser: expected a type out of sgd, adamw, adam, .*, sdlm, got"
        ):
            optimisers.from_config({"type": wrong})
    for config in ({"type": "sgd", "beta1": 0.9}, {"type": "adamw", "momentum": 0.9}):
        with pytest.raises(TypeError):
            optimisers.from_config(config)
    with pytest.raises(ValueError, match="nesterov: expected"):
        optimisers.from_config({"type": "sgd", "nesterov": True})
    with pytest.raises(TypeError, match=r"factors\['w'\]: expected a NumPy array, got list"):
        optimisers.from_config({"type": "adamw", "factors": {"w": [1.0]}})


def test_descriptions_for_people():
    assert repr(SGD(0.9)) == "SGD(momentum=0.9, weight_decay=0.0, nesterov=False)"
    assert repr(AdamW()) == ("AdamW(beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01)")
    assert repr(RMSprop()) == ("RMSprop(alpha=0.99, epsilon=1e-08, momentum=0.0, weight_decay=0.0)")
    assert repr(RMSprop(centered=True)).endswith(", weight_decay=0.0, centered=True)")
    assert repr(Adadelta()) == "Adadelta(rho=0.9, epsilon=1e-06, weight_decay=0.0)"
    assert repr(SGD(factors={"C1.w": np.ones(2), "C1.b": np.ones(1)})) == (
        "SGD(momentum=0.0, weight_decay=0.0, nesterov=False, factors of C1.w, C1.b)"
    )


# --- rates that follow the curvature  ---


def test_sdlm_by_hand():
    w = {"w": np.array([4.0, 4.0])}
    sdlm = SDLM(mu=0.5, patterns=3)
    assert (sdlm.curvature_images, sdlm.rule.name, SGD().curvature_images) == (3, "sgd", 0)
    sdlm.follow({"w": np.array([0.0, 1.5])})
    sdlm.step(w, {"w": np.array([1.0, 1.0])}, rate=0.25)
    assert w["w"].tolist() == [3.5, 3.875]  # 4 - 0.25 / 0.5, 4 - 0.25 / 2


def test_the_moving_average_of_sdlm():
    sdlm = SDLM(mu=0.5, gamma=0.25)
    h, mean = [np.array([0.0, 2.0]), np.array([4.0, 0.0]), np.array([0.0, 1.0])], None
    for each in h:
        mean = each if mean is None else 0.75 * mean + 0.25 * each
        sdlm.follow({"w": each})
        np.testing.assert_allclose(sdlm.factors["w"], 1 / (0.5 + mean), rtol=1e-14)


@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_sdlm_comes_back_from_its_state(gamma):
    sdlm = SDLM(mu=0.5, gamma=gamma)
    w = random_arrays(0, "float32")
    sdlm.follow({name: np.abs(array) for name, array in w.items()})
    sdlm.step(w, w, 0.1)
    twin = optimisers.from_config(json.loads(json.dumps(sdlm.config())))
    twin.load_state(sdlm.state(), w)
    assert repr(twin) == repr(sdlm)
    assert {array.dtype for array in twin.factors.values()} == {np.dtype(np.float32)}
    for name, array in sdlm.factors.items():
        np.testing.assert_array_equal(twin.factors[name], array)
    for each in (sdlm, twin):  # what the next estimate meets is part of the state, too
        each.follow({name: np.abs(array) + 1 for name, array in w.items()})
    for name, array in sdlm.factors.items():
        np.testing.assert_array_equal(twin.factors[name], array)


@pytest.mark.parametrize(
    ("options", "argument", "error"),
    [
        ({"mu": 0.1, "gamma": 0}, "gamma", ValueError),
        ({"mu": 0.1, "gamma": 0.5, "factors": {"w": np.ones(1)}}, "factors", ValueError),
        ({"mu": 0.1, "gamma": 1.1}, "gamma", ValueError),
        ({"mu": 0.1, "gamma": "all"}, "gamma", TypeError),
        ({"mu": 0.0}, "mu", ValueError),
        ({"mu": -1}, "mu", ValueError),
        ({"mu": math.nan}, "mu", ValueError),
        ({"mu": "much"}, "mu", TypeError),
        ({"mu": 0.1, "patterns": 0}, "patterns", ValueError),
        ({"mu": 0.1, "patterns": 1.5}, "patterns", TypeError),
    ],
)
def test_wrong_options_of_sdlm(options, argument, error):
    with complains(argument, error):
        SDLM(**options)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_sdlm_refuses_a_curvature_that_cannot_be(wrong):
    with complains("diagonal['w']", about="not below 0", got=str(wrong)):
        SDLM(mu=0.1).follow({"w": np.array([1.0, wrong])})
