"""Loss objects: what they hand to the operations, and what they can be combined with."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_within, curvatures, normal, slopes

from lenet_fast import losses
from lenet_fast.losses import MAP, CrossEntropy, MeanSquaredError, Penalty

LOSSES = [
    CrossEntropy(),
    CrossEntropy(smoothing=0.3),
    MeanSquaredError(),
    MeanSquaredError(on=0.9, off=0.1, scale=1.0),
    MAP(),
    MAP(j=0.0),
    MAP(j=math.inf),
    MAP(curvature="exact"),
    Penalty(),
]


def example(rng):
    return np.abs(normal(rng, 4, 5)) * 3, np.array([0, 4, 2, 2])


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_values_and_derivatives_are_each_images_own(loss, rng, backend):
    outputs, labels = example(rng)
    values = loss.values(outputs, labels, backend)
    assert values.shape == (4,)

    def total(moved):
        return float(loss.values(moved, labels, backend).sum())

    assert_within(loss.gradient(outputs, labels, backend), slopes(total, outputs), 1e-8)
    assert_within(loss.hessian(outputs, labels, backend), curvatures(total, outputs), 1e-6)
    one = loss.values(outputs[1:2], labels[1:2], backend)
    assert_within(one, values[1:2], 1e-14)
    one = loss.gradient(outputs[1:2], labels[1:2], backend)
    assert_within(one, loss.gradient(outputs, labels, backend)[1:2], 1e-14)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_empty_batch(loss, backend):
    outputs, labels = np.zeros((0, 5), np.float32), np.zeros(0, int)
    assert loss.values(outputs, labels, backend).shape == (0,)
    assert loss.gradient(outputs, labels, backend).shape == (0, 5)
    assert loss.hessian(outputs, labels, backend).shape == (0, 5)


def test_values_by_hand(backend):
    outputs, labels = np.array([[1.0, 0.0, 2.0]]), np.array([0])
    assert MeanSquaredError().values(outputs, labels, backend)[0] == 0.5 * (0 + 1 + 9)
    assert MeanSquaredError(0.9, 0.1, 1.0).values(outputs, labels, backend)[0] == pytest.approx(
        0.1**2 + 0.1**2 + 1.9**2
    )
    powers = math.exp(1) + 1 + math.exp(2)
    assert CrossEntropy().values(outputs, labels, backend)[0] == pytest.approx(math.log(powers) - 1)
    # A fifth of the target is spread over all three, 1/15 each.
    smoothed = math.log(powers) - (0.8 * 1 + (1 + 0 + 2) / 15)
    assert CrossEntropy(0.2).values(outputs, labels, backend)[0] == pytest.approx(smoothed)
    assert Penalty().values(outputs, labels, backend)[0] == 1
    rubbish = math.exp(-2) + math.exp(-1) + 1 + math.exp(-2)
    assert MAP(j=2).values(outputs, labels, backend)[0] == pytest.approx(1 + math.log(rubbish))


def test_push_on_the_wrong_class_depends_on_j():
    # Half-way between the bitmaps of 6 and 8 both penalties are 12 (papers: 0.0001, 0.11, 0.50).
    penalties = np.full((1, 10), 200.0)
    penalties[0, [6, 8]] = 12.0
    push = {j: -MAP(j).gradient(penalties, np.array([6]))[0, 8] for j in (3, 10, 20, math.inf)}
    assert push[3] == pytest.approx(1.2e-4, rel=0.1)
    assert push[10] == pytest.approx(0.11, abs=0.005)
    assert push[20] == pytest.approx(0.5, abs=0.001)
    assert push[math.inf] == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_config_survives_json(loss):
    config = json.loads(json.dumps(loss.config(), allow_nan=False))
    twin = losses.from_config(config)
    assert type(twin) is type(loss)
    assert vars(twin) == vars(loss)
    assert twin.config() == loss.config()
    assert repr(twin) == repr(loss)


def test_options_added_later_may_be_absent():
    """Descriptions from before there were any still mean what they meant."""
    loss = losses.from_config({"name": "map", "j": 3.0})
    assert (loss.j, loss.curvature, repr(loss)) == (3.0, "paper", "MAP(j=3.0)")
    loss = losses.from_config({"name": "cross_entropy"})
    assert (loss.smoothing, repr(loss)) == (0.0, "CrossEntropy()")


@pytest.mark.parametrize(
    "config",
    [
        *(None, [], "map", {}, {"name": "hinge"}, {"name": ["map"]}, {"name": "map"}),
        *({"name": "map", "j": j} for j in (-1, "-inf", "20", None, math.nan, True, [1])),
        {"name": "map", "j": 1.0, "scale": 1.0},
        {"name": "map", "curvature": "exact"},
        *({"name": "map", "j": 1.0, "curvature": c} for c in ("inf", "Exact", None, 1, ["paper"])),
        *({"name": "cross_entropy", "smoothing": s} for s in (1.0, -0.1, "inf", "0.1", None, True)),
        {"name": "penalty", "j": 1.0},
        {"name": "cross_entropy", "j": 1.0},
        {"name": "mean_squared_error", "on": 1.0, "off": -1.0},
        {"name": "mean_squared_error", "on": "inf", "off": -1.0, "scale": 0.5},
        {"name": "mean_squared_error", "on": -1.0, "off": -1.0, "scale": 0.5},
        {"name": "mean_squared_error", "on": 1.0, "off": -1.0, "scale": 0.0},
    ],
)
def test_from_config_trusts_nothing(config):
    with pytest.raises(ValueError, match=r".+: expected .+, got "):
        losses.from_config(config)


@pytest.mark.parametrize(
    ("output", "kinds"),
    [("linear", [MeanSquaredError]), ("softmax", [CrossEntropy]), ("rbf", [MAP, Penalty])],
)
def test_each_goes_with_one_output(output, kinds):
    network = SimpleNamespace(output=output)
    assert type(losses.default_for(network)) is kinds[0]
    assert [type(loss) for loss in losses.all_for(network).values()] == kinds
    names = " or ".join(kind.name for kind in kinds)
    for loss in LOSSES:
        if type(loss) in kinds:
            loss.check(network)
        else:
            with pytest.raises(ValueError, match=f"loss: expected {names} for .*, got {loss.name}"):
                loss.check(network)


def test_default_targets_are_where_the_squashing_bends_most():
    assert (MeanSquaredError().on, MeanSquaredError().off) == (1.0, -1.0)
    assert MeanSquaredError().scale == 0.5


def test_wrong_labels_are_refused():
    outputs = np.zeros((2, 3))
    for loss in (CrossEntropy(), MeanSquaredError(), MAP(), Penalty()):
        with pytest.raises(ValueError, match="labels: expected labels from 0 to 2, got 3"):
            loss.values(outputs, np.array([0, 3]))
