"""The estimators, judged by scikit-learn's own checks, and the rows' way to images by hand."""

from __future__ import annotations

import multiprocessing
import pickle
import re
import warnings

import numpy as np
import pytest
from helpers import assert_within, printed_by

from lenet_fast import cures, data, models
from lenet_fast.data.distort import PAPER
from lenet_fast.engines import LanesEngine
from lenet_fast.initialisers import INITIALISERS
from lenet_fast.layers import GELU, LeakyReLU
from lenet_fast.threads import ENVIRONMENT_VARIABLE
from lenet_fast.training import (
    Cosine,
    LinearDecay,
    OneCycle,
    RateList,
    StepDecay,
    TrainingDiverged,
)

pytest.importorskip("sklearn")  # CI has it: other tests fail there without

from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_estimator,
    check_sample_weight_equivalence_on_dense_data,
)

from lenet_fast.sklearn import LeNetClassifier, LeNetFeatures, TableWarning, _rows, _scale

SAMPLE = data.load("sample").train.subset(400)
X, Y = SAMPLE.images.reshape(400, 784), SAMPLE.labels
PAPER_PIXEL, INK_PIXEL = np.float32(-0.1), np.float32(1.175)


def quick(**parameters):
    return LeNetClassifier(**{"epochs": 2, "random_state": 0} | parameters)


# --- scikit-learn's judgement ---


EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "it allows less than float32 resolves, 1e-7"
}


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LeNetClassifier(max_iter=8), EXPECTED),
        pytest.param(LeNetClassifier(max_iter=8, dtype="float64"), {}, marks=pytest.mark.slow),
        (LeNetFeatures(max_iter=3, dtype="float64"), {}),
        pytest.param(
            LeNetFeatures("lenet1", max_iter=3, backend="numpy"), EXPECTED, marks=pytest.mark.slow
        ),
    ],
)
def test_scikit_learn_finds_nothing_wrong(estimator, expected):
    """With few epochs, to be quick; some of its checks ask for something to be learned."""
    options = {"expected_failed_checks": expected, "on_fail": None, "on_skip": None}
    found = check_estimator(estimator, **options)
    wrong = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert wrong == {}
    assert [each["check_name"] for each in found if each["status"] == "xfail"] == [*expected]
    assert sum(each["status"] == "passed" for each in found) > 45


@pytest.mark.parametrize("kind", [LeNetClassifier, LeNetFeatures])
def test_weights_are_repetitions_in_a_batch_of_all_rows(kind):
    """scikit-learn's own check, which allows a relative difference of 1e-7."""
    estimator = kind(batch_size=1000, epochs=8, dtype="float64")
    check_sample_weight_equivalence_on_dense_data(kind.__name__, estimator)


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


# --- which values are background and foreground ---

NORMAL = {
    "bytes": X,
    "shares": X / 255,
    "both signs": X / 127.5 - 1,
    "binary": X > 127,
    "a point of ink in all": np.eye(400, 784),
    "eight by eight": load_digits(return_X_y=True)[0],
    "standardised": StandardScaler().fit_transform(X),
    "light on each": X + np.linspace(0, 300, 400)[:, np.newaxis],
    "largest numbers": np.where(X > 127, 1, -1) * np.finfo(np.float64).max,
    "few rows": X[:3],
    "small digits on large pages": np.pad(
        load_digits().images[:100], ((0, 0), (4, 36), (4, 36))
    ).reshape(100, 48 * 48),
    "a little ink": np.random.default_rng(0).random(X.shape)
    * (np.random.default_rng(3).random(X.shape) < 0.005),
    "few columns with ink": np.pad(
        np.random.default_rng(0).lognormal(-2, 3, (300, 20)), ((0, 0), (0, 1004))
    ).clip(0, 1),
    "probabilities": np.random.default_rng(0).dirichlet(np.full(10, 0.05), 60).round(1),
}


@pytest.mark.parametrize("rows", NORMAL.values(), ids=NORMAL)
def test_the_ends_of_a_table_are_its_scale(rows):
    scale = _scale.learn(rows)
    assert (scale.lowest, scale.highest) == (rows.min(), rows.max())
    for part in (rows, rows[: len(rows) // 2], rows[:1]):
        _scale.check_same(part, scale)


def with_strays(kind, rows=X):
    """Return a table in which a few cells are no pixels."""
    found, rng = rows.astype(np.float64), np.random.default_rng(5)
    everywhere = rng.random(found.shape) < 0.003
    changes = {
        "row numbers": (np.s_[:, 3], np.linspace(0, 42000, len(found))),
        "a small range of row numbers": (np.s_[:, -1], np.arange(1000, 1000 + len(found))),
        "a year": (np.s_[:, 0], 2024),
        "seconds since 1970": (np.s_[:, 783], 1.7e9 + np.arange(len(found))),
        "three columns": (np.s_[:, [0, 1, 500]], rng.normal(0, 1e6, (len(found), 3))),
        "a bright pixel": (np.s_[7, 300], 65535),
        "a missing pixel": (np.s_[7, 300], -999),
        "a missing row": (np.s_[7], -999),
        "as far below as ink above": (np.s_[7, 300], -255),
        "nearer than that": (np.s_[7, 300], -80),
        "a column nearer than that": (np.s_[:, 3], np.linspace(400, 450, len(found))),
        "missing pixels everywhere": (everywhere, -999),
        "a row on another scale": (np.s_[7], found[7] * 10),
        "a row of noise": (np.s_[7], rng.normal(0, 1e300, 784)),
        "the largest float32": (np.s_[7, 7], np.finfo(np.float32).max),
        "the largest float64": (np.s_[7, 7:9], [-np.finfo(np.float64).max, np.finfo(float).max]),
    }
    where, what = changes[kind]
    found[where] = what
    if kind == "three columns":  # and more at once
        found[9], found[11, 11] = 1e9, -1e9
    return found


STRAYS = (
    *("row numbers", "a small range of row numbers", "a year", "seconds since 1970"),
    *("three columns", "a bright pixel", "a missing pixel", "a missing row"),
    *("as far below as ink above", "nearer than that", "a column nearer than that"),
    *("missing pixels everywhere", "a row on another scale", "a row of noise"),
    *("the largest float32", "the largest float64"),
)


@pytest.mark.parametrize("kind", STRAYS)
def test_strays_decide_about_nothing_else(kind):
    table = with_strays(kind)
    with pytest.warns(TableWarning, match="X: expected pixels on one scale, got nearly all values"):
        scale = _scale.learn(table)
    assert (scale.lowest, scale.highest) == (0, 255)


def test_two_columns_of_a_small_table_are_strays():
    table = load_digits(return_X_y=True)[0]
    table[:, :2] = np.random.default_rng(0).normal(0, 1e4, (len(table), 2))
    with pytest.warns(TableWarning, match="got nearly all values from 0 to 16, .* in 2 columns"):
        scale = _scale.learn(table)
    assert (scale.lowest, scale.highest) == (0, 16)


MANY = {
    "missing pixels": np.where(
        np.random.default_rng(3).random(X.shape) < 0.04, -999, X.astype(int)
    ),
    "many missing pixels": np.where(
        np.random.default_rng(3).random(X.shape) < 0.1, -999, X.astype(int)
    ),
    "many rows on another scale": X * np.where(np.arange(400) < 80, 257, 1)[:, np.newaxis],
    "rows on another scale": X * np.where(np.arange(400) < 30, 100, 1)[:, np.newaxis],
    "a row among few": np.vstack([X[:12], np.full((1, 784), 60000.0)]),
}


@pytest.mark.parametrize("table", MANY.values(), ids=MANY)
def test_strays_that_are_not_so_few_are_told_and_left(table):
    with pytest.warns(
        TableWarning, match="X: expected pixels on one scale, got most values from 0"
    ):
        scale = _scale.learn(table)
    assert (scale.lowest, scale.highest) == (table.min(), table.max())


@pytest.mark.parametrize("kind", ["row numbers", "a bright pixel", "a missing row"])
def test_digits_are_learned_in_spite_of_strays(kind):
    test = data.load("sample").test.subset(300)
    rows, labels = test.images.reshape(300, 784), test.labels
    with pytest.warns(TableWarning, match="X: expected pixels on one scale"):
        found = quick(epochs=12).fit(with_strays(kind), Y)
    assert found.score(rows, labels) > quick(epochs=12).fit(X, Y).score(rows, labels) - 0.03
    assert found.pixel_range_ == (0, 255)


def test_two_values_are_a_scale_however_rare_one_is():
    rows = np.zeros((400, 784))
    rows[3, 3] = 9
    assert _scale.learn(rows)[:2] == (0, 9)


@pytest.mark.parametrize("value", [0, 7.5])
def test_a_table_of_one_value_is_told(value):
    with pytest.warns(TableWarning, match=f"X: expected values that differ, got {value:g} every"):
        quick().partial_fit(np.full((20, 64), value), Y[:20], classes=range(10))


def test_columns_on_scales_of_their_own_are_told():
    rows, labels = load_wine(return_X_y=True)
    with pytest.warns(TableWarning, match="half vary by less than a hundredth .* StandardScaler"):
        quick().fit(rows, labels)
    make_pipeline(StandardScaler(), quick()).fit(rows, labels)


@pytest.mark.parametrize("features", [785, 783, 635, 65, 63, 37])
def test_many_features_that_are_no_square_are_told(features):
    rows = np.resize(X[:60], (60, features))
    with pytest.warns(TableWarning, match=rf"X: expected a square number .*, got {features},"):
        quick(epochs=1).fit(rows, Y[:60])
    quick(epochs=1, image_shape=(1, features)).fit(rows, Y[:60])
    quick(epochs=1).fit(X[:60, 400:413], Y[:60])  # that many are loose numbers


OTHER_SCALES = {
    "shares of bytes": (X, X / 255, "smaller range"),
    "bytes for shares": (X / 255, X, "far outside"),
    "shares for both signs": (X / 127.5 - 1, X / 255, "smaller range"),
    "both signs for shares": (X / 255, X / 127.5 - 1, "far outside"),
    "both signs for bytes": (X, X / 127.5 - 1, "smaller range"),
    "booleans for bytes": (X, X > 127, "smaller range"),
    "ink on black for ink on white": (255 - X, X, "swapped"),
    "white paper": (X, 255 - X, "swapped"),
    "sixteen bits": (X, X.astype(np.uint16) * 257, "far outside"),
}


@pytest.mark.parametrize(("rows", "others", "what"), OTHER_SCALES.values(), ids=OTHER_SCALES)
def test_rows_on_another_scale_are_told(rows, others, what):
    found = quick(epochs=1).fit(rows[:200], Y[:200])
    for ask in (found.predict, found.predict_proba, found.decision_function):
        with pytest.warns(
            TableWarning, match=f"X: expected values as in the training rows, .*{what}"
        ):
            ask(others[:50])
    found = quick().partial_fit(rows[:200], Y[:200], classes=range(10))
    with pytest.warns(TableWarning, match=what):
        found.partial_fit(others[200:], Y[200:])
    features = LeNetFeatures(epochs=1).fit(rows[:200], Y[:200])
    with pytest.warns(TableWarning, match=what):
        features.transform(others[:50])


def test_a_warning_is_of_the_line_that_asked():
    table, plain = with_strays("a bright pixel"), quick(epochs=1).fit(X, Y)
    pipeline = make_pipeline(quick(epochs=1)).fit(X, Y)
    for ask in (
        lambda: quick(epochs=1).fit(table, Y),
        lambda: make_pipeline(quick(epochs=1)).fit(table, Y),
        lambda: plain.score(X / 255, Y),
        lambda: pipeline.predict_log_proba(X / 255),
        lambda: cross_val_score(quick(epochs=1), table, Y, cv=2),
    ):
        with pytest.warns(TableWarning) as told:
            ask()
        assert {each.filename for each in told} == {__file__}


def test_code_in_no_module_is_warned_too():
    with pytest.warns(TableWarning, match="X: expected a square number"):
        exec(
            "found.fit(rows, classes)",
            {"found": quick(epochs=1), "rows": X[:60, 1:], "classes": Y[:60]},
        )


def test_strays_among_rows_that_are_asked_about_are_cut_off():
    found = quick(epochs=1).fit(X, Y)
    rows = X[:50].astype(float)
    rows[3, 3], rows[4, 4] = 1e9, -1e9
    same = X[:50].copy()
    same[3, 3], same[4, 4] = 255, 0
    np.testing.assert_array_equal(found.predict_proba(rows), found.predict_proba(same))
    found.predict(np.zeros((2, 784)))  # a blank row is on any scale


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


def rows_alone(found):
    together = found.predict_proba(X[:33])
    alone = np.concatenate([found.predict_proba(X[k : k + 1]) for k in range(33)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(found.predict_proba(X[5:23][::-1]), together[5:23][::-1])
    assert_within(together.sum(axis=1), np.ones(33), 1e-12)
    assert np.array_equal(found.predict(X[:33]), together.argmax(axis=1))


def test_a_row_gets_the_same_bits_alone_and_among_others(backend):
    for engine in ("auto", "layers"):
        rows_alone(quick(epochs=1, engine=engine, backend=backend).fit(X[:100], Y[:100]))


def test_so_it_does_with_the_engine_for_batches_of_one(online_backend):
    parameters = {"engine": "online", "batch_size": 1, "epochs": 1, "backend": online_backend}
    rows_alone(quick(**parameters).fit(X[:100], Y[:100]))


@pytest.mark.parametrize("model", ["lenet5", "lenet4", "lenet1"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_so_it_does_with_numpy(model, dtype):
    rows_alone(quick(model=model, epochs=1, backend="numpy", dtype=dtype).fit(X[:100], Y[:100]))


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
    with pytest.raises(
        ValueError, match=r"y: expected .* 9\], those of the first call, got \[77\]"
    ):
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
    assert_within(found.predict_log_proba(X[:30]), np.log(found.predict_proba(X[:30])), 1e-12)


def test_logarithms_of_probabilities_stay_finite(monkeypatch):
    found = quick().fit(X, Y)
    scores = np.array([[0.0, -2000, 3], [1e300, 0, 0]])
    monkeypatch.setattr(found, "_scores", lambda rows: scores.copy())
    logarithms = found.predict_log_proba(X[:2])
    expected = [[-3.0485873515737421, -2003.0485873515737, -0.048587351573742], [0, -1e300, -1e300]]
    assert_within(
        logarithms / np.maximum(1, np.abs(expected)),
        np.sign(expected) * np.minimum(1, np.abs(expected)),
        1e-12,
    )
    assert (found.predict_proba(X[:2]) == 0).any()


def test_logarithms_of_probabilities_go_through_pipelines_and_searches():
    pipeline = make_pipeline(StandardScaler(), quick(epochs=1))
    assert pipeline.fit(X, Y).predict_log_proba(X[:5]).shape == (5, 10)
    search = GridSearchCV(quick(epochs=1), {"batch_size": [32, 64]}, cv=2).fit(X, Y)
    assert np.isfinite(search.predict_log_proba(X[:5])).all()
    found = cross_val_predict(quick(epochs=1), X, Y, cv=2, method="predict_log_proba")
    assert_within(np.exp(found).sum(axis=1), np.ones(400), 1e-12)


@pytest.mark.parametrize(
    ("model", "layer", "units"),
    [
        ("lenet5", "F6.activation", 84),
        ("lenet4", "C5.activation", 120),
        ("lenet1", "H4.activation", 192),
    ],
)
def test_features_are_the_activations_below_the_outputs(model, layer, units):
    found = LeNetFeatures(model, epochs=1, random_state=0).fit(X[:100], Y[:100])
    features = found.transform(X[:20])
    x = _rows.images(X[:20], (1, 28, 28), found.pixel_range_, found.network_)
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
        ({"pooling": "sum"}, ValueError, "pooling: expected one of .*, None, got 'sum'"),
        ({"momentum": "abc"}, TypeError, "momentum: expected a number, got str 'abc'"),
        ({"optimiser": "sgd", "momentum": 1}, ValueError, "momentum: expected a number from 0"),
        ({"weight_decay": -1}, ValueError, "weight_decay: expected a number not below 0"),
        ({"engine": "online"}, ValueError, "batch_size: expected 1 for the online engine"),
        ({"verbose": "yes"}, TypeError, "verbose: expected a bool, got str 'yes'"),
        ({"n_jobs": 0}, ValueError, "n_jobs: expected a number of threads, or -1 for all, got 0"),
        ({"n_jobs": 1.5}, TypeError, "n_jobs: expected None or an int, got float 1.5"),
        ({"output": "linear"}, ValueError, "output: expected one of softmax, rbf, got 'linear'"),
        ({"optimiser": "sdlm"}, ValueError, "optimiser: expected one of sgd, adamw, adam, rms"),
        (
            {"schedule": 3},
            TypeError,
            "schedule: expected one of cosine, one_cycle, linear_decay, step_decay, constant",
        ),
        ({"learning_rate": -1}, ValueError, "learning_rate: expected a number above 0, got -1"),
        ({"learning_rate": "low"}, TypeError, "learning_rate: expected a number, got str"),
        ({"learning_rate_init": -1}, ValueError, "learning_rate_init: expected a number above 0"),
        (
            {"learning_rate_init": "adaptive"},
            TypeError,
            "learning_rate_init: expected a number, got str 'adaptive'; schedule= says how",
        ),
        ({"solver": "lbfgs"}, ValueError, "solver: expected one of sgd, adamw, adam, .*'lbfgs'"),
        ({"max_iter": 0, "epochs": None}, ValueError, "max_iter: expected an int from 1"),
        ({"max_iter": 1.0, "epochs": None}, TypeError, "max_iter: expected an int, got float"),
        ({"shuffle": 1}, TypeError, "shuffle: expected a bool, got int 1"),
        ({"warm_start": "yes"}, TypeError, "warm_start: expected a bool, got str"),
        ({"early_stopping": 3}, TypeError, "early_stopping: expected a bool, got int 3"),
        ({"tol": -1.0}, ValueError, "tol: expected a number of at least 0, got -1"),
        ({"tol": "1e-4"}, TypeError, "tol: expected a number, got str '1e-4'"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: expected an int from 1"),
        ({"validation_fraction": 1}, ValueError, "validation_fraction: expected a number from 0"),
        ({"validation_fraction": 0}, ValueError, "validation_fraction: expected a number above 0"),
        ({"beta_1": 1}, ValueError, "beta_1: expected a number from 0 to below 1, got 1"),
        ({"beta_2": None}, TypeError, "beta_2: expected a number, got None"),
        ({"epsilon": 0}, ValueError, "epsilon: expected a number of at least"),
        ({"nesterovs_momentum": "no"}, TypeError, "nesterovs_momentum: expected a bool"),
        (
            {"nesterovs_momentum": True, "momentum": 0, "optimiser": "sgd"},
            ValueError,
            "nesterovs_momentum: expected a momentum above 0 with it, got 0",
        ),
        ({"random_state": "seed"}, ValueError, "random_state: expected an int from 0 to"),
        ({"backend": "cuda"}, ValueError, "backend: expected one of cython, numba, numpy"),
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


def test_activations_with_options():
    for activation, kind, options in (
        ("gelu", GELU, {"approximate": "none"}),
        ("leaky_relu:0.2", LeakyReLU, {"slope": 0.2}),
        (LeakyReLU(0.2), LeakyReLU, {"slope": 0.2}),
    ):
        estimator = clone(quick(activation=activation))
        found = estimator.partial_fit(X[:60], Y[:60], classes=range(10))
        layers = [layer for layer in found.network_.layers if layer.name.endswith(".activation")]
        assert {type(layer) for layer in layers} == {kind}
        assert all(layer.arguments == options for layer in layers)
        assert pickle.loads(pickle.dumps(found)).predict(X[:5]).shape == (5,)
        assert repr(LeakyReLU(0.2)) == "LeakyReLU(slope=0.2)"
    found.set_params(activation="leaky_relu:0.20").partial_fit(X[:60], Y[:60])  # the same
    with pytest.raises(ValueError, match=r"activation: expected 'leaky_relu:0.2', as when .*'elu'"):
        found.set_params(activation="elu").partial_fit(X[:60], Y[:60])
    for wrong, error, text in (
        ("swish", ValueError, "activation: expected one of"),
        ("elu:-1", ValueError, "activation: elu: alpha: expected a number above 0"),
        (0.1, TypeError, "activation: expected a name or a layer"),
    ):
        with pytest.raises(error, match=f"^{text}"):
            quick(activation=wrong).fit(X[:60], Y[:60])


OTHERS = {"pooling": ("average", None), "activation": ("tanh",), "output": ("rbf",)}
UNUSED = [
    *[({"model": model, name: value}, name) for model in ("lenet1", "lenet4")
      for name, values in OTHERS.items() for value in values],
    ({"momentum": 0.5}, "momentum"),
    ({"momentum": 0.5, "optimiser": "adamw", "model": "lenet1"}, "momentum"),
    ({"momentum": 0.5, "optimiser": "rmsprop"}, "momentum"),
    ({"momentum": 0.5, "solver": "adam"}, "momentum"),
    ({"nesterovs_momentum": True}, "nesterovs_momentum"),
    ({"beta_1": 0.5, "optimiser": "rmsprop"}, "beta_1"),
    ({"beta_2": 0.5, "solver": "sgd"}, "beta_2"),
    ({"epsilon": 0.5, "solver": "adadelta"}, "epsilon"),
    ({"validation_fraction": 0.5}, "validation_fraction"),
]  # fmt: skip
NONE = [
    *[({"model": model, name: "swish"}, name) for model in ("lenet1", "lenet4", "lenet5")
      for name in OTHERS],
]  # fmt: skip


@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [LeNetClassifier, LeNetFeatures])
def test_parameters_that_would_be_ignored_are_refused(kind, learn):
    for parameters, name in UNUSED:
        with pytest.raises(ValueError, match=f"^{name}: expected .*, the default, with"):
            getattr(kind(epochs=1, **parameters), learn)(X[:60], Y[:60])
    for parameters, name in NONE:
        with pytest.raises(ValueError, match=f"^{name}: expected one of"):
            getattr(kind(epochs=1, **parameters), learn)(X[:60], Y[:60])


@pytest.mark.parametrize(
    "change",
    [{"model": "lenet1"}, {"optimiser": "sgd"}, {"weight_decay": 0.1}, {"dtype": "float64"}],
)
def test_what_partial_fit_has_settled_cannot_change(change):
    found = quick().partial_fit(X[:60], Y[:60], classes=range(10))
    ((name, _),) = change.items()
    with pytest.raises(ValueError, match=f"{name}: expected .* as when learning began"):
        found.set_params(**change).partial_fit(X[:60], Y[:60])


def test_python_names_the_estimator_in_its_errors():
    for kind in (LeNetClassifier, LeNetFeatures):
        with pytest.raises(
            TypeError, match=rf"{kind.__name__}\.__init__\(\) got .* 'hidden_layer_sizes'"
        ):
            kind(hidden_layer_sizes=(100,))
        for learn in ("fit", "partial_fit"):
            with pytest.raises(TypeError, match=rf"{kind.__name__}\.{learn}\(\) got .* 'weights'"):
                getattr(kind(), learn)(X, Y, weights=1)


def _threads_of_a_worker(jobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return LeNetClassifier(n_jobs=jobs)._threads()


def test_a_worker_process_may_have_threads(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "4")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_threads_of_a_worker, [None, 1, 2]) == [1, 1, 2]


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
            estimator.fit(X[:60, :676], Y[:60] + 100)
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
        f"lenet_fast.sklearn needs scikit-learn: {cures.install('lenet_fast[sklearn]')}"
    )


@pytest.mark.parametrize("model", ["lenet5", "lenet4", "lenet1"])
def test_a_fit_initialises_its_network_once(model, monkeypatch):
    drawn = []
    for each, draw in INITIALISERS.items():

        def noted(layer, name, shape, random, draw=draw):
            drawn.append(f"{layer.name}.{name}")
            return draw(layer, name, shape, random)

        monkeypatch.setitem(INITIALISERS, each, noted)
    rows, y = load_digits(return_X_y=True)
    pick = y < 3
    options = {} if model == "lenet5" else {"model": model}
    features = LeNetFeatures(**options, epochs=1, random_state=0).fit(rows[pick], y[pick])
    assert drawn == features.network_.trainable_names
    drawn.clear()
    features.transform(rows[:3])
    assert drawn == []


@pytest.fixture
def given(monkeypatch):
    """The rates that the engine was given, step by step."""
    given = []
    train = LanesEngine.train

    def noted(self, x, labels, order, size, optimiser, rate, **others):
        given.extend(rate.tolist())
        return train(self, x, labels, order, size, optimiser, rate, **others)

    monkeypatch.setattr(LanesEngine, "train", noted)
    return given


class Own:
    def rate_at(self, step, steps, epoch):
        return 0.001 * (step + epoch)

    def config(self):
        return {"type": "own"}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Cosine(0.01, warmup=0.25), Cosine(0.01, warmup=0.25)),
        (RateList([0.002, 0.001]), RateList([0.002, 0.001])),
        (Own(), Own()),
        ("step_decay", StepDecay(0.001, 6, 0.4)),
    ],
    ids=["cosine with warm-up", "rate list", "the user's own", "step_decay"],
)
def test_schedules_with_rates_of_their_own(schedule, expected, given):
    rows, y = load_digits(return_X_y=True)
    options = {"epochs": 8, "schedule": schedule, "random_state": 0, "engine": "lanes"}
    clone(LeNetClassifier(**options)).fit(rows[:50], y[:50])
    assert given == [expected.rate_at(step, 16, step // 2 + 1) for step in range(16)]


def test_a_schedule_has_its_own_rate():
    with pytest.raises(ValueError, match="learning_rate_init: expected None with a schedule"):
        quick(schedule=OneCycle(0.01), learning_rate_init=0.1).fit(X, Y)
    with pytest.raises(TypeError, match=r"schedule: expected .* got the class OneCycle"):
        quick(schedule=OneCycle).fit(X, Y)


@pytest.mark.parametrize(
    ("schedule", "kind"), [("one_cycle", OneCycle), ("linear_decay", LinearDecay)]
)
def test_schedules_by_step(schedule, kind, given):
    """Each step has its rate, the last batch of an epoch may be short, and the end is near 0."""
    rows, y = load_digits(return_X_y=True)
    options = {"epochs": 3, "schedule": schedule, "random_state": 0, "engine": "lanes"}
    LeNetClassifier(**options).fit(rows[:100], y[:100])
    expected = kind(0.002)  # AdamW's
    assert given == [expected.rate_at(step, 12, 1) for step in range(12)]
    given.clear()
    LeNetClassifier(**options, optimiser="sgd", batch_size=16).fit(rows[:50], y[:50])
    assert given == [kind(0.015).rate_at(step, 12, 1) for step in range(12)]
