"""Learning rates by epoch, against values worked out by hand."""

import json

import numpy as np
import pytest

from lenet_fast import defaults, losses, models
from lenet_fast.training import Trainer, schedules
from lenet_fast.training.schedules import (
    LENET5_1998_RATES,
    Constant,
    Cosine,
    LinearDecay,
    OneCycle,
    RateList,
    StepDecay,
)

BY_STEP = [OneCycle(0.1), OneCycle(0.3, warmup=0.0), LinearDecay(0.2), Cosine(0.1, warmup=0.25)]


def rates(schedule, epochs):
    return [schedule.rate(epoch) for epoch in range(1, epochs + 1)]


def by_step(schedule, steps):
    return [schedule.rate_at(step, steps, 1) for step in range(steps)]


def test_one_cycle_is_the_lower_of_two_lines():
    found = by_step(OneCycle(0.4, warmup=0.25), 8)
    expected = [0.4 * min(1, (k + 1) / 2, (8 - k) / 6) for k in range(8)]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert max(found) == 0.4
    # Where the share is no whole number of steps, no rate is above the highest.
    found = by_step(OneCycle(0.4, warmup=0.15), 30)
    expected = [0.4 * min(1, (k + 1) / 4.5, (30 - k) / 25.5) for k in range(30)]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert by_step(OneCycle(0.4, warmup=0.9), 1) == [0.4]


def test_linear_decay_ends_at_zero_after_the_last_step():
    assert by_step(LinearDecay(0.5), 5) == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1], rel=1e-15)
    assert by_step(OneCycle(0.5, warmup=0), 5) == by_step(LinearDecay(0.5), 5)


def test_cosine_by_step():
    found = by_step(Cosine(0.5, last=0.1), 4)
    expected = [0.1 + 0.4 * (1 + np.cos(np.pi * k / 4)) / 2 for k in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    found = by_step(Cosine(0.5, last=0.1, warmup=0.5), 8)
    expected = [0.125, 0.25, 0.375, 0.5, *expected]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert Cosine(0.5, epochs=3).rate_at(999, 1000, 1) == 0.5  # by epoch
    with pytest.raises(ValueError, match=r"^rate: expected a schedule by epoch, Cosine\(rate, ep"):
        Cosine(0.5).rate(1)
    with pytest.raises(ValueError, match=r"^warmup: expected 0 for a rate .* by epoch, got 0\.1"):
        Cosine(0.5, 3, warmup=0.1)
    with pytest.raises(ValueError, match=r"^last: expected at most the rate, 0\.1, got 0\.2"):
        Cosine(0.1, last=0.2)


@pytest.mark.parametrize("schedule", BY_STEP, ids=repr)
def test_rates_by_step_are_above_zero_and_cut_anywhere_the_same(schedule):
    whole = np.concatenate(
        [schedules.rates(schedule, epoch, 0, 7, batches=7, epochs=3) for epoch in (1, 2, 3)]
    )
    assert whole.tolist() == [schedule.rate_at(step, 21, 1 + step // 7) for step in range(21)]
    assert (whole > 0).all()
    assert len(set(whole)) > 15
    part = schedules.rates(schedule, 2, 3, 6, batches=7, epochs=3)
    np.testing.assert_array_equal(part, whole[10:13])
    for step in (-1, 21):
        with pytest.raises(ValueError, match=rf"^step: expected an int from 0 to 20, got {step}"):
            schedule.rate_at(step, 21, 1)
    for step, steps, words in (("1", 21, "step: .* int, got str"), (0, 0, "steps: .* from 1 to")):
        with pytest.raises((TypeError, ValueError), match=f"^{words}"):
            schedule.rate_at(step, steps, 1)
    assert schedule.rate_at(np.int64(2), np.int32(21), 1) == whole[2]


@pytest.mark.parametrize("kind", [OneCycle, Cosine])
@pytest.mark.parametrize("wrong", [-0.1, 1, float("nan")])
def test_a_warmup_is_a_share(kind, wrong):
    with pytest.raises(ValueError, match=r"^warmup: expected a number"):
        kind(0.1, warmup=wrong)


def test_old_schedules_answer_by_epoch():
    schedule = StepDecay(1.0, step=1, decay_rate=0.5)
    assert [schedule.rate_at(step, 6, 1 + step // 2) for step in range(6)] == [1, 1, 0.5, 0.5] + [
        0.25
    ] * 2


class ByEpoch:
    """A user's own, with what was asked for before there were rates by step."""

    def __init__(self, rate):
        self.value = rate

    def rate(self, epoch):
        return self.value

    def config(self):
        return {"type": "own"}


def test_a_schedule_of_ones_own_by_epoch():
    found = schedules.rates(ByEpoch(0.25), 3, 2, 5, batches=9, epochs=4)
    assert found.tolist() == [0.25] * 3
    trainer = Trainer(models.lenet5(), schedule=ByEpoch(0.25))
    assert trainer.schedule.value == 0.25


@pytest.mark.parametrize("wrong", ["0.1", None])
def test_rates_that_are_no_numbers(wrong):
    with pytest.raises(TypeError, match=r"^rate: expected a number, got"):
        schedules.rates(ByEpoch(wrong), 1, 0, 1, batches=1, epochs=1)


class ByStep:
    """A user's own, by step."""

    def __init__(self, *rates):
        self.values = rates

    def rate_at(self, step, steps, epoch):
        return self.values[step]


@pytest.mark.parametrize(
    ("wrong", "words"), [(float("inf"), "that is finite"), (-0.1, "of at least 0, got -0.1")]
)
def test_rates_that_are_infinite_or_negative(wrong, words):
    for schedule in (ByStep(0.1, wrong), ByEpoch(wrong)):
        with pytest.raises(ValueError, match=rf"^rate: expected a number {words}"):
            schedules.rates(schedule, 1, 0, 2, batches=2, epochs=1)
    assert schedules.rates(ByStep(0.0, 0.1), 1, 0, 2, batches=2, epochs=1).tolist() == [0, 0.1]


def test_constant():
    assert rates(Constant(0.25), 3) == [0.25, 0.25, 0.25]


def test_cosine_falls_from_the_first_rate_to_the_last():
    found = rates(Cosine(0.5, epochs=5, last=0.1), 7)
    expected = [0.1 + 0.4 * (1 + np.cos(np.pi * k / 4)) / 2 for k in (0, 1, 2, 3, 4, 4, 4)]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert rates(Cosine(0.5, epochs=2), 2) == pytest.approx([0.5, 0.005], rel=1e-15)
    assert rates(Cosine(0.5, epochs=1), 2) == pytest.approx([0.5, 0.005], rel=1e-15)


def test_step_decay_multiplies_every_step_epochs():
    assert rates(StepDecay(1.0, step=3, decay_rate=0.5), 8) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(StepDecay(0.5, step=1, decay_rate=2), 3) == [0.5, 1, 2]


def test_rate_list_repeats_its_last_rate():
    assert rates(RateList([0.3, 0.2, 0.1]), 5) == [0.3, 0.2, 0.1, 0.1, 0.1]
    assert rates(RateList(np.array([0.3, 0.2])), 3) == [0.3, 0.2, 0.2]


def test_rates_of_the_1998_paper():
    expected = 2 * [5e-4] + 3 * [2e-4] + 3 * [1e-4] + 4 * [5e-5] + 8 * [1e-5]
    assert rates(RateList(LENET5_1998_RATES), 20) == expected
    assert len(LENET5_1998_RATES) == 20


@pytest.mark.parametrize(
    "schedule",
    [
        *(Constant(0.1), Cosine(0.3, 4, 0.1), StepDecay(0.3, 2, 0.7), RateList([0.1, 1e-5 / 3])),
        *BY_STEP,
    ],
    ids=repr,
)
def test_a_schedule_comes_back_from_its_config(schedule):
    again = schedules.from_config(json.loads(json.dumps(schedule.config())))
    assert type(again) is type(schedule)
    for epoch in range(1, 9):
        expected = schedules.rates(schedule, epoch, 0, 5, batches=5, epochs=9)
        found = schedules.rates(again, epoch, 0, 5, batches=5, epochs=9)
        np.testing.assert_array_equal(found, expected)
    assert repr(again) == repr(schedule)


def test_every_loss_has_a_default():
    for loss in (losses.MAP(), losses.CrossEntropy(), losses.MeanSquaredError()):
        found = rates(schedules.default_for(loss), 20)
        first = schedules.DEFAULT_RATES[loss.name]
        assert found == pytest.approx([first * 0.4 ** (epoch // 6) for epoch in range(20)])
        assert rates(schedules.default_for(loss, "sgd"), 20) == found
        for name, first in defaults.ADAPTIVE_RATES.items():
            found = rates(schedules.default_for(loss, name), 20)
            assert found == pytest.approx([first * 0.4 ** (epoch // 6) for epoch in range(20)])
        with pytest.raises(
            ValueError, match=r"optimiser: expected one of sgd, adamw, .*, sdlm, got 'lbfgs'"
        ):
            schedules.default_for(loss, "lbfgs")


def test_the_default_is_smaller_for_small_batches():
    for loss in (losses.MAP(), losses.CrossEntropy(), losses.MeanSquaredError()):
        first = schedules.DEFAULT_RATES[loss.name]
        sizes = (1, 2, 8, 31, 32, 33, 256)
        found = [schedules.default_for(loss, batch_size=size).rate(1) for size in sizes]
        shares = [1 / 32, 1 / 16, 1 / 4, 31 / 32, 1, 1, 1]
        assert found == pytest.approx([first * share for share in shares], rel=1e-12)
        assert found[4:] == [first] * 3  # to the bit
        found = [schedules.default_for(loss, "adamw", size).rate(1) for size in (2, 8, 32, 64)]
        assert found == pytest.approx([0.00025, 0.0005, 0.001, 0.001], rel=1e-12)
    with pytest.raises(ValueError, match="batch_size: expected an int from 1"):
        schedules.default_for(losses.MAP(), batch_size=0)


def test_a_trainer_asks_for_the_rate_of_its_batches():
    network = models.lenet5(output="softmax")
    assert Trainer(network, batch_size=1).schedule.rate(1) == 0.01 / 32
    assert Trainer(network).schedule.rate(1) == Trainer(network, batch_size=64).schedule.rate(1)
    assert Trainer(network, batch_size=1, schedule=Constant(0.1)).schedule.rate(1) == 0.1


@pytest.mark.parametrize("wrong", [0, -0.1, float("nan"), float("inf")])
def test_rates_must_be_positive_and_finite(wrong):
    with pytest.raises(ValueError, match="rate: expected"):
        Constant(wrong)
    with pytest.raises(ValueError, match="rate: expected"):
        StepDecay(wrong, 2, 0.5)
    with pytest.raises(ValueError, match="decay_rate: expected"):
        StepDecay(0.1, 2, wrong)
    with pytest.raises(ValueError, match=r"rates\[1\]: expected"):
        RateList([0.1, wrong])


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="step: expected"):
        StepDecay(0.1, 0, 0.5)
    with pytest.raises(TypeError, match="step: expected"):
        StepDecay(0.1, 1.5, 0.5)
    with pytest.raises(TypeError, match="rate: expected"):
        Constant("0.1")
    with pytest.raises(ValueError, match="rates: expected"):
        RateList([])
    with pytest.raises(ValueError, match="rates: expected at least one rate, got none"):
        RateList(np.array([]))
    with pytest.raises(TypeError, match="rates: expected"):
        RateList("0.1")
    for schedule in (Constant(0.1), Cosine(0.1, 2), StepDecay(0.1, 1, 0.5), RateList([0.1])):
        with pytest.raises(ValueError, match="epoch: expected"):
            schedule.rate(0)
    with pytest.raises(ValueError, match="schedule: expected a type out of"):
        schedules.from_config({"type": "sine"})
    with pytest.raises(TypeError):
        schedules.from_config({"type": "constant", "speed": 1})
