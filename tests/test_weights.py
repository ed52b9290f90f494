"""Lists of weights, as clients exchange them, and data sets whose images have weights."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_within
from network_cases import NETWORKS

from lenet_fast import data, engines, losses, models
from lenet_fast.data import Dataset
from lenet_fast.training import SDLM, Trainer
from lenet_fast.training.batches import shuffled

SAMPLE = data.load("sample")


# --- Network.get_weights and set_weights ---


@pytest.mark.parametrize("title", NETWORKS)
def test_weights_come_back_in_the_order_of_the_parameters(title):
    network, other = NETWORKS[title]("float32"), NETWORKS[title]("float32")
    for array in network.parameters.values():
        array += 1
    weights = network.get_weights()
    for array, own in zip(weights, network.parameters.values(), strict=True):
        np.testing.assert_array_equal(array, own)
        assert not np.shares_memory(array, own)
    arrays = list(other.parameters.values())
    other.set_weights(tuple(weights))
    for array, own, before in zip(weights, other.parameters.values(), arrays, strict=True):
        np.testing.assert_array_equal(array, own)
        assert own is before  # engines and optimisers hold these arrays
        assert not np.shares_memory(array, own)


def test_predictions_follow_at_once():
    network, other = models.lenet5(seed=1), models.lenet5(seed=2)
    images = SAMPLE.test.images[:4]
    expected, before = other.predict(images), network.predict(images)
    network.set_weights(other.get_weights())
    np.testing.assert_array_equal(network.predict(images), expected)
    assert not np.array_equal(expected, before)


def test_weights_may_be_views_of_the_network_itself():
    network = models.lenet5(pooling="max", seed=1)
    arrays = list(network.parameters.values())
    arrays[0] = arrays[0][::-1, :, ::-1]
    expected = arrays[0].copy()
    network.set_weights(arrays)
    np.testing.assert_array_equal(network.parameters["C1.w"], expected)


def replaced(position, change):
    weights = models.lenet5().get_weights()
    weights[position] = change(weights[position])
    return weights


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (None, TypeError, "weights: expected a list of arrays, got None"),
        (np.zeros(3), TypeError, "weights: expected a list of arrays, got ndarray"),
        ({}, TypeError, "weights: expected a list of arrays, got dict"),
        ([], ValueError, r"weights: expected 13 arrays, C1.w, .*, OUTPUT.w; got 0"),
        (replaced(4, np.ravel), ValueError, r"weights: C3.w: expected shape \(16, 6, 5, 5\)"),
        (replaced(5, np.float64), TypeError, "weights: C3.b: expected dtype float32 of the"),
        (replaced(12, list), TypeError, "weights: OUTPUT.w: expected an array, got list"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(weights, error, message):
    network = models.lenet5(seed=3)
    before = network.get_weights()
    with pytest.raises(error, match=message):
        network.set_weights(weights)
    np.testing.assert_equal(network.get_weights(), before)


# --- Dataset.weights ---


def weighted(count, weights, name="few"):
    return Dataset(SAMPLE.train.images[:count], SAMPLE.train.labels[:count], name, weights)


def test_a_trainer_passes_the_weights_on_in_the_order_of_its_images():
    weights = np.random.default_rng(0).integers(0, 3, 200).astype(float)
    trainer = Trainer(models.lenet5(pooling="max", output="softmax"), schedule=0.01, seed=7)
    history = trainer.fit(weighted(200, weights), SAMPLE.test.subset(50), epochs=2, verbose=False)
    network = models.lenet5(pooling="max", output="softmax")
    engine = engines.create(network, losses.CrossEntropy())
    optimiser = Trainer(network).optimiser
    for epoch in (1, 2):
        totals = engine.train(
            *(SAMPLE.train.images[:200], SAMPLE.train.labels[:200], shuffled(200, 7, epoch)),
            *(32, optimiser, 0.01),
            weights=weights,
        )
    np.testing.assert_equal(trainer.network.get_weights(), network.get_weights())
    assert history.rows[1].train_loss == pytest.approx(sum(each.loss for each in totals) / 200)


def test_distorted_images_keep_their_weights(monkeypatch):
    given = []
    train = engines.LanesEngine.train

    def noted(self, x, labels, order, *others, weights, **options):
        given.append((labels[order], weights[order]))
        return train(self, x, labels, order, *others, weights=weights, **options)

    monkeypatch.setattr(engines.LanesEngine, "train", noted)
    network = models.lenet5(pooling="max", output="softmax")
    trainer = Trainer(network, distortion="elastic", engine="lanes")
    weights = SAMPLE.train.labels[:200] / 5
    trainer.fit(weighted(200, weights), SAMPLE.test.subset(50), epochs=1, verbose=False)
    assert sum(len(labels) for labels, _ in given) == 200
    for labels, found in given:
        assert len(np.unique(labels)) == 10
        np.testing.assert_array_equal(found, labels / 5)


def test_weights_that_favour_one_class_make_it_the_answer():
    weights = np.where(SAMPLE.train.labels[:400] == 3, 9.0, 0.01)
    trainer = Trainer(models.lenet5(pooling="max", output="softmax"))
    trainer.fit(weighted(400, weights), SAMPLE.test.subset(50), epochs=2, verbose=False)
    share = np.mean(trainer.network.classify(SAMPLE.test.images) == 3)
    assert share > 0.9


def test_a_resumed_run_needs_the_same_weights(tmp_path):
    weights, test = np.linspace(0, 2, 64), SAMPLE.test.subset(50)
    network = models.lenet5(pooling="max", output="softmax")
    Trainer(network, out=tmp_path).fit(weighted(64, weights), test, epochs=1, verbose=False)
    for others in (None, weights[::-1].copy()):
        with pytest.raises(ValueError, match="train: expected the data of the run so far"):
            Trainer.resume(tmp_path).fit(weighted(64, others), test, epochs=2, verbose=False)
    resumed = Trainer.resume(tmp_path)
    resumed.fit(weighted(64, weights), test, epochs=2, verbose=False)
    whole = Trainer(models.lenet5(pooling="max", output="softmax"))
    whole.fit(weighted(64, weights), test, epochs=2, verbose=False)
    np.testing.assert_equal(resumed.network.get_weights(), whole.network.get_weights())


def test_weights_stay_with_their_images():
    weights = np.arange(20, dtype=np.float32)
    assert weighted(20, weights).subset(3).weights.tolist() == [0, 1, 2]
    assert weighted(20, None).subset(3).weights is None
    assert_within(data.as_1989(weighted(20, weights)).weights, weights, 0)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(3), ValueError, r"weights: expected shape \(20,\) \(one per image\), got \(3,\)"),
        (np.ones(20, int), TypeError, "weights: expected dtype float32 or float64"),
        (np.full(20, -0.5), ValueError, "weights: expected finite numbers not below 0, got -0.5"),
    ],
)
def test_weights_that_a_set_cannot_have(weights, error, message):
    with pytest.raises(error, match=message):
        weighted(20, weights)


def test_where_weights_would_be_ignored():
    network = models.lenet5()
    plain, heavy = weighted(20, None), weighted(20, np.ones(20))
    with pytest.raises(ValueError, match="test: expected a set without weights"):
        Trainer(network).fit(plain, heavy, epochs=1)
    with pytest.raises(ValueError, match="train: expected a set without weights for SDLM"):
        Trainer(network, optimiser=SDLM(1.0)).fit(heavy, plain, epochs=1)
