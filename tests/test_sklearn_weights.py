"""The estimators' weights of rows and classes, images as X, early stopping and warm starts; and
the names that they share with MLPClassifier."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers import assert_within

from lenet_fast import data, engines, losses
from lenet_fast.data.distort import PAPER
from lenet_fast.engines import LanesEngine, LayersEngine
from lenet_fast.training import Constant, schedules

pytest.importorskip("sklearn")  # CI has it: other tests fail there without

import sklearn
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from lenet_fast.sklearn import LeNetClassifier, LeNetFeatures, _data, _rows

SAMPLE = data.load("sample").train.subset(400)
X, Y = SAMPLE.images.reshape(400, 784), SAMPLE.labels
SOME = np.random.default_rng(0).integers(0, 4, 400).astype(float)


def quick(**parameters):
    return LeNetClassifier(**{"epochs": 2, "random_state": 0} | parameters)


def same(one, other):
    np.testing.assert_equal(one.network_.get_weights(), other.network_.get_weights())
    assert one.loss_curve_ == other.loss_curve_


# --- weights of rows ---


@pytest.mark.parametrize("kind", [LeNetClassifier, LeNetFeatures])
def test_only_the_ratios_of_weights_count(kind):
    plain = kind(epochs=2, random_state=0).fit(X, Y)
    for weights in (np.full(400, 7), [0.5] * 400, 3, np.full(400, 1e308)):
        same(kind(epochs=2, random_state=0).fit(X, Y, weights), plain)
    halves = np.where(np.arange(400) < 200, 0.25, 1)
    same(
        kind(epochs=1, random_state=0).fit(X, Y, sample_weight=halves),
        kind(epochs=1, random_state=0).fit(X, Y, sample_weight=halves * 8),
    )


def test_a_weight_of_zero_is_absence():
    """Also where the absent rows would set the scale; only their classes stay."""
    rows, weights = X.astype(float), SOME.copy()
    weights[Y == 7] = 0
    rows[weights == 0] *= 300
    kept = weights > 0
    found = quick().fit(rows, Y, weights)
    assert found.pixel_range_ == (0, 255)
    assert found.classes_.tolist() == list(range(10))
    assert found.t_ == 2 * kept.sum()
    assert 7 not in found.predict(X)
    pieces = quick().partial_fit(rows, Y, range(10), weights)
    others = quick().partial_fit(X[kept], Y[kept], range(10), weights[kept])
    same(pieces, others)


def test_weights_go_to_the_engine_divided_by_their_mean(monkeypatch):
    given = []
    train = LanesEngine.train

    def noted(self, *arguments, weights, **options):
        given.append(weights)
        return train(self, *arguments, weights=weights, **options)

    monkeypatch.setattr(LanesEngine, "train", noted)
    quick(engine="lanes").fit(X, Y, SOME)
    positive = SOME[SOME > 0]
    assert_within(given[0], positive / positive.mean(), 1e-15)
    quick(engine="lanes").partial_fit(X, Y, range(10), SOME)
    assert_within(given[-1], positive, 0)
    quick(engine="lanes").fit(X, Y, np.ones(400))
    assert given[-1] is None  # they are all equal


def test_a_weighted_fit_is_the_engines_training():
    found = quick(epochs=3, schedule="constant", learning_rate=0.01, shuffle=False).fit(X, Y, SOME)
    fresh, kept = quick(), SOME > 0
    fresh._begin(fresh._data(X, Y, SOME, True), fresh._new_seed())
    images = _rows.images(X[kept], (1, 28, 28), (0, 255), fresh.network_)
    labels, weights = Y[kept].astype(int), SOME[kept] / SOME[kept].mean()
    engine = engines.create(fresh.network_, losses.CrossEntropy())
    for _ in range(3):
        order = np.arange(kept.sum())
        engine.train(images, labels, order, 32, fresh._optimiser, 0.01, weights=weights)
    np.testing.assert_equal(found.network_.get_weights(), fresh.network_.get_weights())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(399), r"sample_weight.shape == \(399,\), expected \(400,\)"),
        (np.ones((400, 1)), "Sample weights must be 1D"),
        (np.full(400, np.nan), "sample_weight contains NaN"),
        (np.full(400, -1.0), "Negative values in data passed to `sample_weight`"),
        (np.zeros(400), "zero"),
    ],
)
def test_weights_that_are_wrong(weights, message):
    for learn in (quick().fit, lambda *rows: quick().partial_fit(*rows[:2], None, rows[2])):
        with pytest.raises(ValueError, match=message):
            learn(X, Y, weights)


# --- weights of classes ---


def test_weights_of_classes_are_weights_of_their_rows():
    few = np.flatnonzero((Y != 3) | (np.arange(400) % 4 == 0))
    rows, labels = X[few], Y[few].astype(str)
    factors = {"3": 5, "7": 0.5}
    for weight in ("balanced", factors):
        expected = [factors.get(label, 1) for label in labels]
        if weight == "balanced":
            expected = compute_sample_weight(weight, labels)
        found = quick(class_weight=weight).fit(rows, labels)
        other = quick().fit(rows, labels, expected)
        assert found.loss_curve_ == pytest.approx(other.loss_curve_, rel=1e-5)
        both = quick(class_weight={"3": 5}).fit(rows, labels, SOME[few])
        product = np.where(labels == "3", 5, 1) * SOME[few]
        same(both, quick().fit(rows, labels, product))


def test_balanced_counts_rows_by_their_weights():
    labels, weights = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 1, 1, 1, 0.0])
    factors = _data.of_classes("balanced", np.arange(3), labels, weights)
    assert_within(factors, [0.75, 1.5, 0], 1e-15)  # 3 and 3
    factors = _data.of_classes("balanced", np.arange(3), labels, None)
    assert_within(factors[labels], compute_sample_weight("balanced", labels), 1e-15)


def test_rare_classes_gain():
    rare = np.flatnonzero((Y < 5) | (np.arange(400) % 8 == 0))
    test = data.load("sample").test
    rows, labels = test.images.reshape(1000, 784), test.labels
    scores = []
    for weight in (None, "balanced"):
        found = quick(epochs=6, class_weight=weight).fit(X[rare], Y[rare]).predict(rows)
        scores.append(balanced_accuracy_score(labels, found))
    assert scores[1] > scores[0] + 0.02


def test_a_fold_may_lack_a_class():
    few = Y < 9
    found = quick(class_weight=dict.fromkeys(range(10), 2)).fit(X[few], Y[few])
    same(found, quick().fit(X[few], Y[few]))


def test_a_class_of_weight_zero_is_absent():
    found = quick(class_weight={3: 0}).fit(X, Y)
    same(found, quick().fit(X, Y, np.where(Y == 3, 0, 1)))


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (
            "even",
            ValueError,
            "class_weight: expected None, 'balanced', or a dict .* got str 'even'",
        ),
        ([1, 2], TypeError, "class_weight: expected None, 'balanced', or a dict"),
        ({3: -1}, ValueError, r"class_weight\[3\]: expected a number of at least 0, got -1"),
        ({3: "much"}, TypeError, r"class_weight\[3\]: expected a number, got str 'much'"),
        (
            {"three": 2},
            ValueError,
            r"class_weight: expected classes out of \[0, .*, 9\], got \['three'\]",
        ),
    ],
)
def test_weights_of_classes_that_are_wrong(weight, error, message):
    with pytest.raises(error, match=message):
        quick(class_weight=weight).fit(X, Y)


def test_parts_know_no_balance():
    with pytest.raises(ValueError, match="class_weight: expected None or a dict with partial_fit"):
        quick(class_weight="balanced").partial_fit(X, Y)
    found = quick(class_weight={3: 9}).partial_fit(X, Y, range(10))
    same(found, quick().partial_fit(X, Y, range(10), np.where(Y == 3, 9.0, 1)))


# --- with the rest of scikit-learn ---


def test_weights_in_cross_validation_and_searches():
    params = {"sample_weight": SOME}
    scores = cross_val_score(quick(), X, Y, cv=2, params=params)
    assert not np.array_equal(scores, cross_val_score(quick(), X, Y, cv=2))
    search = GridSearchCV(quick(), {"class_weight": [None, {3: 2}]}, cv=2).fit(X, Y, **params)
    best = search.best_params_["class_weight"]
    same(search.best_estimator_, quick(class_weight=best).fit(X, Y, SOME))


def test_score_takes_weights():
    found = quick().fit(X, Y)
    right = found.predict(X) == Y
    assert found.score(X, Y, SOME) == pytest.approx(np.average(right, weights=SOME))
    assert found.score(X, Y, SOME) != found.score(X, Y)


def test_ensembles_that_need_weights():
    boosted = AdaBoostClassifier(quick(epochs=3), n_estimators=2, random_state=0).fit(X, Y)
    assert len(boosted.estimators_) == 2
    assert boosted.score(X, Y) > 0.5
    bagged = BaggingClassifier(quick(epochs=3), n_estimators=2, random_state=0).fit(X, Y)
    assert bagged.score(X, Y) > 0.5


def test_weights_are_routed():
    """Through a search and a pipeline to the fit, and to scores, only where they are asked for."""
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, quick().set_fit_request(sample_weight=True))
        grid = {"lenetclassifier__batch_size": [32]}
        search = GridSearchCV(pipeline, grid, cv=2, scoring=scorer).fit(X, Y, sample_weight=SOME)
        same(search.best_estimator_[-1], quick().fit(scaler.fit_transform(X), Y, SOME))
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            cross_validate(quick(), X, Y, cv=2, params={"sample_weight": SOME})
        options = {"cv": 2, "scoring": scorer, "params": {"sample_weight": SOME}}
        scores = cross_val_score(quick().set_fit_request(sample_weight=False), X, Y, **options)
        assert not np.array_equal(scores, cross_val_score(quick(), X, Y, cv=2))
        estimator = quick().fit(X, Y).set_score_request(sample_weight=True)
        assert estimator.get_metadata_routing().score.requests == {"sample_weight": True}


# --- images as X ---


def test_images_are_rows_of_their_pixels():
    images = SAMPLE.images
    found = quick().fit(images, Y)
    same(found, quick().fit(X, Y))
    assert found.image_shape_ == (28, 28)
    assert found.n_features_in_ == 784
    expected = found.predict_proba(X[:9])
    for rows in (images[:9], images[:9, np.newaxis], list(images[:9]), images[:9].tolist()):
        if isinstance(rows, list) and isinstance(rows[0], list):
            rows = np.array(rows)
        np.testing.assert_array_equal(found.predict_proba(rows), expected)
    assert found.score(images, Y) == found.score(X, Y)
    features = LeNetFeatures(epochs=1, random_state=0).fit(images, Y)
    assert features.transform(images[:5, np.newaxis]).shape == (5, 84)


def test_images_need_not_be_square():
    images = SAMPLE.images[:, 2:22, :]
    found = quick(epochs=1).fit(images, Y)
    same(found, quick(epochs=1, image_shape=(20, 28)).fit(images.reshape(400, 560), Y))
    assert found.image_shape_ == (20, 28)
    same(quick(epochs=1, image_shape=(20, 28)).fit(images, Y), found)
    for wrong in (images.transpose(0, 2, 1), images[:, np.newaxis].transpose(0, 1, 3, 2)):
        with pytest.raises(ValueError, match=r"X: expected images of shape \(1, 20, 28\), got"):
            found.predict(wrong)
    with pytest.raises(ValueError, match=r"X: expected images of shape \(1, 20, 28\)"):
        found.set_params(warm_start=True).fit(images.transpose(0, 2, 1), Y)


def colours(images):
    """Return digits in three colours: red, green or blue, by their index."""
    found = np.zeros((len(images), 3, *images.shape[1:]), np.uint8)
    found[np.arange(len(images)), np.arange(len(images)) % 3] = images
    return found


@pytest.mark.parametrize("model", ["lenet5", "lenet4", "lenet1"])
def test_images_of_three_channels(model):
    """The class is the colour, which no grey image shows."""
    images, labels = colours(SAMPLE.images), np.arange(400) % 3
    found = quick(model=model, epochs=4).fit(images[:300], labels[:300])
    assert found.score(images[300:], labels[300:]) > 0.9
    assert found.image_shape_ == (3, 28, 28)
    assert found.network_.input_shape[0] == 3
    rows = images.reshape(400, -1)
    other = quick(model=model, epochs=4, image_shape=(3, 28, 28)).fit(rows[:300], labels[:300])
    same(found, other)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(rows), found.predict(images))
    small = _rows.images(rows[:2], (3, 28, 28), (0, 255), found.network_)
    for channel in range(3):
        alone = _rows.images(
            images[:2, channel].reshape(2, -1), (1, 28, 28), (0, 255), found.network_
        )
        assert_within(small[:, channel], alone[:, 0], 0)


@pytest.mark.parametrize(
    ("images", "parameters", "message"),
    [
        (SAMPLE.images[..., np.newaxis], {}, r"X: expected images \(n, channels, rows, columns\)"),
        (
            SAMPLE.images,
            {"image_shape": (14, 56)},
            r"image_shape: expected images of shape \(1, 14",
        ),
        (SAMPLE.images[:, :0], {}, r"X: expected images with pixels, got shape \(400, 0, 28\)"),
        (SAMPLE.images[np.newaxis, :, np.newaxis], {}, "Found array with dim 5"),
        (
            colours(SAMPLE.images),
            {"distortion": PAPER},
            "distortion: expected None for images of 3",
        ),
        (X, {"image_shape": (1, 2, 3, 4)}, "image_shape: expected"),
        (X, {"image_shape": (3, 28, 28)}, "image_shape: expected as many pixels as X has"),
    ],
)
def test_images_that_are_wrong(images, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(images, Y)


# --- stopping early ---


def test_a_fit_stops_when_the_validation_score_no_longer_improves():
    options = {"epochs": 40, "schedule": "constant", "early_stopping": True}
    found = quick(**options, n_iter_no_change=3, validation_fraction=0.25).fit(X, Y)
    scores = found.validation_scores_
    assert len(scores) == found.n_iter_ == len(found.loss_curve_) < 40
    assert found.best_validation_score_ == max(scores)
    assert found.t_ == 300 * found.n_iter_
    assert found.best_loss_ is None
    best = np.maximum.accumulate(scores)
    gains = np.flatnonzero(np.diff(best, prepend=-1) >= 1e-4)
    assert found.n_iter_ == gains[-1] + 1 + 3
    same_again = quick(**options, n_iter_no_change=3, validation_fraction=0.25).fit(X, Y)
    same(found, same_again)


def test_the_best_epoch_is_kept(monkeypatch):
    """A rate that is far too high at the end, by a schedule of its own."""

    class Rising(Constant):
        def rate(self, epoch):
            return 0.002 if epoch < 4 else 0.2

    monkeypatch.setitem(schedules.SCHEDULES, "constant", Rising)
    found = quick(epochs=6, schedule="constant", early_stopping=True, validation_fraction=0.25)
    found.fit(X, Y)
    scores = found.validation_scores_
    assert max(scores) == scores[2] > scores[-1] + 0.2
    learned, held_out = found._data(X, Y, None, False).split(0.25, found._seed)
    assert (len(learned.X), len(held_out.X)) == (300, 100)
    assert not {*map(bytes, learned.X)} & {*map(bytes, held_out.X)}
    assert accuracy_score(held_out.y, found.predict(held_out.X)) == max(scores)
    assert np.bincount(held_out.y).min() >= 7  # of each class


def test_a_fit_stops_when_the_loss_no_longer_improves():
    never = quick(epochs=12, schedule="constant").fit(X, Y)
    assert never.n_iter_ == 12
    assert never.validation_scores_ is None
    assert never.best_loss_ == min(never.loss_curve_)
    for options in ({"tol": 0.5, "n_iter_no_change": 2}, {"tol": 5, "n_iter_no_change": 4}):
        found = quick(epochs=12, schedule="constant", **options).fit(X, Y)
        best, since = np.inf, 0
        for loss in never.loss_curve_:
            since = 0 if loss <= best - options["tol"] else since + 1
            best = min(best, loss)
            if since == options["n_iter_no_change"]:
                break
        assert found.loss_curve_[-1] == loss
        assert found.loss_curve_ == never.loss_curve_[: found.n_iter_]
        assert found.n_iter_ < 12
    assert quick(epochs=30, tol=100).fit(X, Y).n_iter_ == 11  # ten without, after the first
    assert quick(epochs=3, n_iter_no_change=1).fit(X, Y).n_iter_ == 3  # it improves by 1e-4


def test_validation_scores_have_the_weights():
    weights = np.where(Y < 5, 1.0, 1e-6)
    found = quick(epochs=1, early_stopping=True).fit(X, Y, weights)
    held_out = found._data(X, Y, weights, False).split(0.1, found._seed)[1]
    expected = accuracy_score(held_out.y, found.predict(held_out.X), sample_weight=held_out.weights)
    assert found.validation_scores_ == [pytest.approx(expected)]
    plain = accuracy_score(held_out.y, found.predict(held_out.X))
    assert abs(plain - expected) > 0.05


def test_verbose_says_why_it_stopped(capsys):
    quick(epochs=9, tol=100, n_iter_no_change=1, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Stopped: the training loss has not improved by 100 for 1 epochs"
    quick(epochs=9, tol=1, n_iter_no_change=1, early_stopping=True, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("Epoch 1/9", "Validation score", "Epoch 2/9", "Validation score", "Stopped"),
    ]


def test_where_early_stopping_makes_no_sense():
    with pytest.raises(ValueError, match="early_stopping: expected False with partial_fit"):
        quick(early_stopping=True).partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"early_stopping: expected rows of which a share of 0\.1"):
        quick(early_stopping=True).fit(X[:11], np.arange(11))


# --- starting warm ---


def test_a_warm_fit_goes_on():
    options = {"schedule": "constant", "warm_start": True}
    whole = quick(epochs=5, schedule="constant").fit(X, Y)
    steps = quick(epochs=2, **options).fit(X, Y)
    assert steps.n_iter_ == 2
    again = pickle.loads(pickle.dumps(steps)).set_params(max_iter=3, epochs=None).fit(X, Y)
    same(again, whole)
    assert (again.n_iter_, again.t_) == (5, 2000)
    same(quick(epochs=2, **options).fit(X, Y), quick(epochs=2, schedule="constant").fit(X, Y))
    same(clone(again).fit(X, Y), quick(epochs=3, schedule="constant").fit(X, Y))


def test_a_warm_fit_that_fails_leaves_the_last_one():
    found = quick(warm_start=True).fit(X, Y)
    expected, curve = found.predict_proba(X[:9]), list(found.loss_curve_)
    for change, error, message in (
        ({"optimiser": "sgd"}, ValueError, "optimiser: expected 'adamw', as when learning began"),
        ({"solver": "adam"}, ValueError, "solver: expected 'adamw', as when learning began"),
        ({"learning_rate": 1e30}, ArithmeticError, "learning_rate: expected one with which"),
    ):
        again = pickle.loads(pickle.dumps(found)).set_params(**change)
        with pytest.raises(error, match=message):
            again.fit(X, Y)
        np.testing.assert_array_equal(again.predict_proba(X[:9]), expected)
        assert again.loss_curve_ == curve
        assert again.n_iter_ == 2
    with pytest.raises(ValueError, match="y: expected classes out of"):
        found.fit(X, Y + 3)
    with pytest.raises(ValueError, match="X has 676 features, but LeNetClassifier is expecting"):
        found.fit(X[:, :676], Y)


# --- names of MLPClassifier ---


def test_two_names_are_one_parameter():
    plain = quick(epochs=1, optimiser="sgd", learning_rate=0.02).fit(X, Y)
    other = LeNetClassifier(max_iter=1, solver="sgd", learning_rate_init=0.02, random_state=0)
    same(other.fit(X, Y), plain)
    same(other.set_params(epochs=1, optimiser="sgd", learning_rate=0.02).fit(X, Y), plain)
    for name, value, message in (
        ("epochs", 2, "max_iter: expected 2 or None, since it is another name of epochs, got 1"),
        (
            "optimiser",
            "adamw",
            "solver: expected 'adamw' or None, since .* of optimiser, got 'sgd'",
        ),
        ("learning_rate", 1, "learning_rate_init: expected 1 or None, .*, got 0.02"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(other).set_params(**{name: value}).fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_for_an_mlp_searches_lenets_too():
    grid = {"solver": ["adam", "sgd"], "max_iter": [1], "learning_rate_init": [0.001]}
    for estimator in (LeNetClassifier(random_state=0), MLPClassifier(random_state=0)):
        search = GridSearchCV(estimator, grid, cv=2).fit(X / 255, Y)
        assert search.best_params_ == {name: values[0] for name, values in grid.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "nesterovs_momentum": True, "momentum": 0.8},
        {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
        {"beta_1": 0.5},
    ],
)
def test_options_of_optimisers(options):
    rule = quick(**options).fit(X[:60], Y[:60])._optimiser.rule
    names = {"beta_1": "beta1", "beta_2": "beta2", "nesterovs_momentum": "nesterov"}
    assert rule.name == options.get("solver", "adamw")
    for name, value in options.items():
        assert name == "solver" or getattr(rule, names.get(name, name)) == value


def test_rows_in_their_order(monkeypatch):
    orders = []
    train = LayersEngine.train

    def noted(self, x, labels, order, *others, **options):
        orders.append(order)
        return train(self, x, labels, order, *others, **options)

    monkeypatch.setattr(LayersEngine, "train", noted)
    quick(shuffle=False, engine="layers").fit(X[:50], Y[:50])
    quick(engine="layers").fit(X[:50], Y[:50])
    assert [np.array_equal(order, np.arange(50)) for order in orders] == [True, True, False, False]
