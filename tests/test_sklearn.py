"""The estimators, judged by scikit-learn's own checks, and the rows' way to images by hand."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest
from helpers import assert_within, printed_by

from lenet_fast import data, models
from lenet_fast.data.distort import PAPER
from lenet_fast.threads import ENVIRONMENT_VARIABLE
from lenet_fast.training import TrainingDiverged

pytest.importorskip("sklearn")  # CI has it: other tests fail there without

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from lenet_fast.sklearn import LeNetClassifier, LeNetFeatures, _rows

SAMPLE = data.load("sample").train.subset(400)
X, Y = SAMPLE.images.reshape(400, 784), SAMPLE.labels
PAPER_PIXEL, INK_PIXEL = np.float32(-0.1), np.float32(1.175)


def quick(**parameters):
    return LeNetClassifier(**{"epochs": 2, "random_state": 0} | parameters)


# --- scikit-learn's judgement ---


@pytest.mark.parametrize("estimator", [LeNetClassifier(epochs=8), LeNetFeatures(epochs=3)])
def test_scikit_learn_finds_nothing_wrong(estimator):
    """With few epochs, to be quick; some of its checks ask for something to be learned."""
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    wrong = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert wrong == {}
    assert sum(each["status"] == "passed" for each in found) > 40


def test_its_checks_can_fail():
    class Forgetful(LeNetClassifier):
        def predict(self, rows):
            return super().predict(rows)[:1].repeat(len(rows))

    found = check_estimator(Forgetful("lenet1", epochs=1), on_fail=None, on_skip=None)
    assert any(each["status"] == "failed" for each in found)


# --- from rows to images ---


def images(rows, shape=None, pixel_range=None, network=None):
    rows = np.asarray(rows)
    shape = _rows.image_shape(rows.shape[1], shape)
    pixel_range = pixel_range or (float(rows.min()), float(rows.max()))
    return _rows.images(rows, shape, pixel_range, network or models.lenet5())


def test_rows_of_mnist_become_what_its_images_become():
    assert_within(images(X[:20]), data.prepare(SAMPLE.images[:20]), 1e-6)
    padded = np.pad(SAMPLE.images[:20], ((0, 0), (2, 2), (2, 2)))
    assert_within(images(padded.reshape(20, 1024)), images(X[:20]), 0)
    assert_within(images(X[:20] / 255), images(X[:20]), 1e-6)


def test_few_features_are_large_pixels_followed_by_paper():
    """Three features: 2x2, the last one paper, each of 14x14 pixels from the second row on."""
    ((picture,),) = images([[1.0, 0.5, 2.0]])
    expected = np.full((32, 32), PAPER_PIXEL)
    expected[2:16, 2:16] = -0.1 + 1.275 / 3
    expected[16:30, 2:16] = INK_PIXEL
    assert_within(picture, expected, 1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "drawn"),
    [
        ((1, 1), 32, (28, 28)),
        ((8, 8), 32, (24, 24)),
        ((2, 14), 32, (4, 28)),
        ((15, 15), 32, (15, 15)),
        ((28, 28), 32, (28, 28)),
        ((32, 30), 32, (32, 30)),
        ((32, 30), 28, (28, 26)),
        ((64, 33), 32, (28, 14)),
        ((1, 300), 32, (1, 28)),
    ],
)
def test_sides_are_multiplied_or_shrunk(shape, size, drawn):
    assert _rows.drawn_shape(shape, size) == drawn


def test_large_images_shrink_by_the_means_of_areas(rng):
    """Twice as large: each pixel the mean of four. Else: the parts of pixels, one by one."""
    row = rng.random((1, 56 * 56))
    ((picture,),) = images(row, pixel_range=(0.0, 1.0))
    means = row.reshape(28, 2, 28, 2).mean(axis=(1, 3))
    assert_within(picture[2:30, 2:30], -0.1 + 1.275 * means, 1e-6)
    for n_in, n_out in ((5, 3), (33, 28), (7, 1), (3, 6)):
        expected = np.zeros((n_out, n_in))
        for out in range(n_out):
            for part in range(n_in * n_out):  # n_out parts an input, n_in an output
                expected[out, part // n_out] += (part // n_in == out) / n_in
        assert_within(_rows.averages(n_in, n_out), expected, 1e-15)


def test_features_can_have_a_shape_of_their_own():
    ((picture,),) = images([[0.0, 1.0, 0.0, 0.0, 0.0, 2.0]], shape=(2, 3))
    assert picture[7:16, 11:20] == pytest.approx((PAPER_PIXEL + INK_PIXEL) / 2)
    assert (picture[16:25, 20:29] == INK_PIXEL).all()
    assert (picture == PAPER_PIXEL).sum() == 32 * 32 - 2 * 81
    with pytest.raises(ValueError, match=r"image_shape: expected .* 784, got \(2, 3\)"):
        quick(image_shape=(2, 3)).fit(X, Y)


def test_extreme_values_stay_on_the_scale():
    largest = np.finfo(np.float64).max
    found = images([[-largest, 0, largest, 1e-300]])[0, 0]
    assert [found[2, 2], found[16, 2]] == [PAPER_PIXEL, INK_PIXEL]
    assert found[2, 16] == pytest.approx(0.5375)
    assert_within(
        images([[5.0, -7.0]], pixel_range=(0.0, 1.0))[0, 0, 15, [2, 16]], [1.175, -0.1], 1e-6
    )
    assert (images(np.full((2, 4), 3.0)) == PAPER_PIXEL).all()


# --- learning ---


def test_digits_are_learned_by_default_as_any_classes():
    """Eight by eight, 0 to 16, five of them, by name."""
    rows, labels = load_digits(return_X_y=True)
    names = np.array(["zero", "one", "two", "three", "four"])
    rows, labels = rows[labels < 5][:400], names[labels[labels < 5]][:400]
    found = LeNetClassifier(random_state=0).fit(rows[:300], labels[:300])
    assert list(found.classes_) == sorted(names)
    assert found.score(rows[300:], labels[300:]) > 0.95
    assert found.n_iter_ == len(found.loss_curve_) == 30  # ten steps an epoch
    assert found.loss_curve_[-1] < 0.1 < found.loss_curve_[0]


def test_a_row_gets_the_same_bits_alone_and_among_others():
    for parameters in ({}, {"engine": "online", "batch_size": 1, "epochs": 1}):
        found = quick(**parameters).fit(X[:200], Y[:200])
        together = found.predict_proba(X[:33])
        alone = np.concatenate([found.predict_proba(X[k : k + 1]) for k in range(33)])
        assert np.array_equal(together, alone)
        assert_within(together.sum(axis=1), np.ones(33), 1e-12)
        assert np.array_equal(found.predict(X[:33]), together.argmax(axis=1))


def test_threads_and_dtype_of_rows_change_no_bit(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "4")
    first = quick().fit(X, Y).decision_function(X)
    assert np.array_equal(first, quick(n_jobs=2).fit(X, Y).decision_function(X))
    assert np.array_equal(first, quick(n_jobs=-1).fit(X.astype(float), Y).decision_function(X))
    assert not np.array_equal(first, quick(random_state=1).fit(X, Y).decision_function(X))
    state = np.random.RandomState(0)
    assert np.array_equal(first, quick(random_state=state).fit(X, Y).decision_function(X))
    assert not np.array_equal(first, quick(random_state=state).fit(X, Y).decision_function(X))


def test_partial_fit_is_an_epoch_of_fit_at_a_constant_rate():
    whole = quick(epochs=3, schedule="constant").fit(X, Y)
    steps = quick()
    for _ in range(3):
        steps = pickle.loads(pickle.dumps(steps.partial_fit(X, Y, classes=range(10))))
    assert steps.loss_curve_ == whole.loss_curve_
    assert steps.n_iter_ == 3
    assert np.array_equal(steps.predict_proba(X), whole.predict_proba(X))
    falling = quick(epochs=3).fit(X, Y)
    assert falling.loss_curve_[0] == whole.loss_curve_[0]
    assert falling.loss_curve_[2] != whole.loss_curve_[2]
    with pytest.raises(ValueError, match=r"y: expected classes out of .*, got \[77\]"):
        steps.partial_fit(X, np.where(Y == 3, 77, Y.astype(int)))
    with pytest.raises(ValueError, match="classes: expected those of the first call"):
        steps.partial_fit(X, Y, classes=[1, 2])


def test_pickles_hold_no_engine_and_answer_alike():
    found = quick().fit(X, Y)
    answers = found.predict_proba(X)
    found.network_.predict(data.prepare(SAMPLE.images[:1]))  # which keeps one
    again = pickle.loads(pickle.dumps(found))
    assert again.network_._engines == {}
    assert np.array_equal(again.predict_proba(X), answers)
    assert not hasattr(clone(found), "network_")


@pytest.mark.parametrize("output", ["softmax", "rbf"])
def test_probabilities_are_those_of_the_outputs(output):
    """The MAP criterion's: exp(-penalty), as shares."""
    labels = Y.astype(str) if output == "rbf" else Y  # as openml has them
    found = quick(output=output, activation="scaled_tanh").fit(X, labels)
    outputs = found.network_.predict(data.prepare(SAMPLE.images[:30])).astype(np.float64)
    powers = np.exp(-outputs if output == "rbf" else outputs)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert_within(found.predict_proba(X[:30]), expected, 1e-4)
    assert list(found.predict(X[:30])) == [
        str(k) if output == "rbf" else k for k in expected.argmax(1)
    ]


@pytest.mark.parametrize(
    ("model", "layer", "units"),
    [("lenet5", "F6.squash", 84), ("lenet4", "C5.squash", 120), ("lenet1", "H4.squash", 192)],
)
def test_features_are_the_activations_below_the_outputs(model, layer, units):
    found = LeNetFeatures(model, epochs=1, random_state=0).fit(X[:100], Y[:100])
    features = found.transform(X[:20])
    x = _rows.images(X[:20], (28, 28), found.pixel_range_, found.network_)
    expected = found.network_.activations(x)[layer].reshape(20, units)
    assert features.dtype == np.float32
    assert_within(features, expected, 1e-5)
    assert found.get_feature_names_out()[-1] == f"lenetfeatures{units - 1}"


def test_backends_agree(lane_backend):
    found = quick(epochs=1, batch_size=50).fit(X[:100], Y[:100])
    expected = found.decision_function(X[:20])
    again = quick(epochs=1, batch_size=50, backend=lane_backend).fit(X[:100], Y[:100])
    assert_within(again.decision_function(X[:20]), expected, 1e-3)


def test_distortions_change_what_is_learned():
    plain, distorted = quick().fit(X, Y), quick(distortion=PAPER).fit(X, Y)
    assert plain.loss_curve_[0] < distorted.loss_curve_[0] < 3
    assert quick(distortion=PAPER, n_jobs=2).fit(X, Y).loss_curve_ == distorted.loss_curve_


# --- with the rest of scikit-learn ---


def test_pipelines_searches_and_cross_validation():
    pipeline = make_pipeline(
        StandardScaler(), LeNetFeatures(epochs=3, random_state=0), KNeighborsClassifier()
    )
    search = GridSearchCV(pipeline, {"lenetfeatures__activation": ["sigmoid", "relu"]}, cv=2)
    assert search.fit(X, Y).best_params_ == {"lenetfeatures__activation": "relu"}
    assert search.score(X, Y) > 0.7
    alone = cross_val_score(quick(), X, Y, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the workers are processes: what they warn of is theirs
        assert np.array_equal(cross_val_score(quick(), X, Y, cv=2, n_jobs=2), alone)


def test_a_line_an_epoch_if_wanted(capsys):
    quick(verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [
        bool(re.fullmatch(rf"Epoch {k}/2: loss \d\.\d{{4}}, .*% wrong", lines[k - 1]))
        for k in (1, 2)
    ]
    quick().fit(X, Y)
    assert capsys.readouterr().out == ""


def test_an_interrupt_comes_through(monkeypatch):
    found = quick()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(found, "_check_finite", interrupt)
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": "lenet6"}, ValueError, "model: expected one of lenet5, lenet4, lenet1"),
        ({"pooling": "sum"}, ValueError, "pooling: expected one of"),
        ({"output": "linear"}, ValueError, "output: expected one of softmax, rbf, got 'linear'"),
        ({"optimiser": "adam"}, ValueError, "optimiser: expected one of adamw, sgd"),
        ({"schedule": 3}, TypeError, "schedule: expected one of cosine, constant"),
        ({"learning_rate": -1}, ValueError, "learning_rate: expected a number above 0, got -1"),
        ({"learning_rate": "low"}, TypeError, "learning_rate: expected a number, got str"),
        ({"epochs": 0}, ValueError, "epochs: expected an int from 1"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int from 1"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
        ({"engine": "fast"}, ValueError, "engine: expected one of"),
        ({"distortion": "paper"}, TypeError, "distortion: expected a Distortion, got str"),
        ({"optimiser": "sgd", "learning_rate": 1e9}, TrainingDiverged, "learning_rate: expected"),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        quick(**parameters).fit(X[:100], Y[:100])


def test_bitmaps_are_for_the_ten_digits_only():
    with pytest.raises(ValueError, match=r"output: expected 'softmax' unless .* ten digits"):
        quick(output="rbf").fit(X[Y < 9], Y[Y < 9])
    for labels in (Y.astype(float), Y.astype(str)):
        network = quick(output="rbf", epochs=1).fit(X[:60], labels[:60]).network_
        assert network.output == "rbf"


DIVERGING = {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 1e30}
FAILING = [
    ({"output": "rbf"}, "output"),
    ({"engine": "fast"}, "engine"),
    ({"learning_rate": -1.0}, "learning_rate"),
    ({"schedule": "linear"}, "schedule"),
    ({"n_jobs": 0}, "n_jobs"),
    (DIVERGING, "learning_rate: expected one with which"),
]


@pytest.mark.parametrize(("parameters", "message"), FAILING)
def test_a_fit_that_fails_leaves_the_last_fit_or_none(parameters, message):
    classifier = quick(epochs=1).fit(X[:60], Y[:60])
    expected = classifier.predict_proba(X[:9])
    untouched = LeNetClassifier(**parameters)
    for estimator in (classifier.set_params(**parameters), untouched):
        with pytest.raises((ValueError, TrainingDiverged), match=message):
            estimator.fit(X[:60, :700], Y[:60] + 100)
    classifier.set_params(engine="auto", n_jobs=None)
    np.testing.assert_array_equal(classifier.predict_proba(X[:9]), expected)
    with pytest.raises(NotFittedError):
        untouched.predict(X[:9, :700])


def test_a_partial_fit_that_fails_leaves_the_last_one():
    classifier = quick().partial_fit(X[:60], Y[:60], classes=range(10))
    expected = classifier.predict_proba(X[:9])
    with pytest.raises(TrainingDiverged):
        classifier.set_params(learning_rate=1e30).partial_fit(X[:60], Y[:60])
    np.testing.assert_array_equal(classifier.predict_proba(X[:9]), expected)
    untouched = quick()
    with pytest.raises(ValueError, match="classes out of"):
        untouched.partial_fit(X[:60], Y[:60], classes=[0, 1])
    with pytest.raises(NotFittedError):
        untouched.predict(X[:9])


def test_without_scikit_learn_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import lenet_fast.sklearn\nexcept ImportError as error:\n    print(error)"
    )
    assert printed_by(code) == (
        "lenet_fast.sklearn needs scikit-learn: pip install 'lenet_fast[sklearn]'"
    )
