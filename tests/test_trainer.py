"""Training: what an epoch does, what it writes, and that stopping leaves no trace."""

import csv
import math
import os
import re
import signal
import sys
import threading
import tomllib
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import get_args

import numpy as np
import pytest
from helpers import complains, require, run_python
from hypothesis import given
from hypothesis import strategies as st

from lenet_fast import choices, data, engines, files, losses, models, notebooks
from lenet_fast.data import Distortion, distort
from lenet_fast.engines import LanesEngine, LayersEngine, OnlineEngine
from lenet_fast.engines.interface import Rule
from lenet_fast.errors import FileFormatError
from lenet_fast.layers import Dense, ReLU
from lenet_fast.network import Network
from lenet_fast.training import (
    OPTIMISERS,
    SDLM,
    SGD,
    AdamW,
    Callback,
    Constant,
    Cosine,
    EpochTable,
    History,
    LinearDecay,
    OneCycle,
    ProgressBar,
    Row,
    StepDecay,
    Trainer,
    TrainingDiverged,
    TrainingInterrupted,
    batches,
    callbacks,
    checkpoints,
    evaluate,
    runs,
    schedules,
)
from lenet_fast.training.averages import WeightAverage

training_module = sys.modules[Trainer.__module__]
COLUMNS = "epoch,train_seconds,images_per_second,train_loss,train_errors,test_loss,test_errors,rate"


@pytest.fixture(scope="module")
def sets():
    sample = data.load("sample")
    return sample.train.subset(200), sample.test.subset(60)


@pytest.fixture(autouse=True)
def one_batch_a_call(monkeypatch):
    """Stop where a test says, not after the hundreds of images of a call."""
    for engine in (LanesEngine, LayersEngine, OnlineEngine):
        monkeypatch.setattr(engine, "images_a_call", 1)


def new_trainer(backend=None, seed=1, **options):
    network = models.lenet5(pooling="max", output="softmax", seed=seed)
    settings = {
        "optimiser": SGD(momentum=0.9, weight_decay=1e-4),
        "schedule": StepDecay(0.02, step=1, decay_rate=0.5),
        "batch_size": 64,
    }
    return Trainer(network, seed=seed, backend=backend, **(settings | options))


class StopAt(Callback):
    """Stops, by a function, once so many batches have been trained on or evaluated."""

    def __init__(self, batch, stop, phase="train"):
        self.left, self.stop, self.phase = batch, stop, phase

    def on_batch_end(self, trainer, progress):
        if progress.phase == self.phase:
            self.left -= 1
            if self.left == 0:
                self.stop(trainer)


def same_bits(one, other):
    """Compare weights, optimiser's arrays and everything in the history but the times."""
    for a, b in (
        (one.network.parameters, other.network.parameters),
        (one.optimiser.state(), other.optimiser.state()),
    ):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)

    def untimed(trainer):
        return [
            (r.epoch, r.train_loss, r.train_errors, r.test_loss, r.test_errors, r.rate)
            for r in trainer.history.rows
        ]

    assert untimed(one) == untimed(other)


# ------------------------------------------------------------------ order of the images


def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    first = batches.shuffled(1000, 5, 1)
    assert sorted(first) == list(range(1000))
    np.testing.assert_array_equal(batches.shuffled(1000, 5, 1), first)
    for other in (batches.shuffled(1000, 5, 2), batches.shuffled(1000, 6, 1)):
        assert (other != first).mean() > 0.9
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.1


def philox(counter, key):
    """Philox-4x64-10 of Salmon et al. 2011, from its definition: four 64-bit numbers."""
    mask = 2**64 - 1
    a, b, c, d = counter, 0, 0, 0
    first, second = key
    for _ in range(10):
        product_a, product_c = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (
            product_c >> 64 ^ b ^ first,
            product_c & mask,
            product_a >> 64 ^ d ^ second,
            product_a & mask,
        )
        first = first + 0x9E3779B97F4A7C15 & mask
        second = second + 0xBB67AE8584CAA73B & mask
    return a, b, c, d


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (7, 20), (2**63 - 1, 3)])
def test_the_order_is_the_same_with_every_version_of_numpy(seed, epoch):
    drawn = [number for counter in range(1, 26) for number in philox(counter, (seed, epoch))]
    expected = sorted(range(98), key=drawn[:98].__getitem__)
    assert batches.shuffled(98, seed, epoch).tolist() == expected


# ------------------------------------------------------------------ one epoch


def test_an_epoch_is_the_gradient_steps_of_its_batches(sets):
    train, test = sets
    trainer = new_trainer()
    twin = models.lenet5(pooling="max", output="softmax", seed=1)
    engine = engines.create(twin, losses.CrossEntropy())
    velocity = dict.fromkeys(twin.trainable_names, 0.0)
    order = batches.shuffled(200, 1, 1)
    for part in (order[:64], order[64:128], order[128:192], order[192:]):
        x = data.prepare(train.images[part])
        _, gradients = engine.loss_and_gradients(x, train.labels[part].astype(np.intp))
        for name in twin.trainable_names:
            w = twin.parameters[name]
            velocity[name] = 0.9 * velocity[name] + (gradients[name] + 1e-4 * w)
            w -= 0.02 * velocity[name]
    trainer.fit(train, test, epochs=1)
    for name, w in twin.parameters.items():
        # Four steps of a handful of roundings each; weights and changes are below one.
        np.testing.assert_allclose(
            trainer.network.parameters[name], w, rtol=0, atol=64 * np.finfo("f4").eps, err_msg=name
        )


def test_the_history_says_what_the_network_then_does(sets, backend):
    train, test = sets
    trainer = new_trainer(backend, threads=1, evaluate_train=True)
    history = trainer.fit(train, test, epochs=2)
    last = history.rows[-1]
    for dataset, loss, errors in (
        (train, last.train_loss, last.train_errors),
        (test, last.test_loss, last.test_errors),
    ):
        outputs = trainer.engine.predict(data.prepare(dataset.images)).astype(np.float64)
        logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
        assert loss == pytest.approx(-logs[np.arange(len(logs)), dataset.labels].mean(), rel=1e-5)
        assert errors == (outputs.argmax(axis=1) != dataset.labels).sum()
    assert [row.epoch for row in history.rows] == [1, 2]
    assert [row.rate for row in history.rows] == [0.02, 0.01]
    assert (history.train_images, history.test_images) == (200, 60)
    assert not history.interrupted
    for row in history.rows:
        assert row.images_per_second == pytest.approx(200 / row.train_seconds)


def test_figures_met_while_learning_are_those_of_the_batches(sets, monkeypatch):
    train, test = sets
    trainer = new_trainer(threads=1)
    found = []

    def noted(*arguments, run=trainer.engine.train, **options):
        found.extend(run(*arguments, **options))
        return found[-1:]

    monkeypatch.setattr(trainer.engine, "train", noted)
    row = trainer.fit(train, test, epochs=1).rows[0]
    assert [totals.images for totals in found] == [64, 64, 64, 8]
    assert row.train_errors == sum(totals.errors for totals in found)
    assert row.train_loss == pytest.approx(sum(totals.loss for totals in found) / 200)


def test_several_batches_a_call_have_the_bits_of_one(sets, monkeypatch):
    one = new_trainer(batch_size=16)
    rows = one.fit(*sets, epochs=2).rows
    monkeypatch.setattr(LanesEngine, "images_a_call", 70)
    several = new_trainer(batch_size=16)
    for row, other in zip(rows, several.fit(*sets, epochs=2).rows, strict=True):
        assert (row.train_loss, row.train_errors) == (other.train_loss, other.train_errors)
        assert (row.test_loss, row.test_errors) == (other.test_loss, other.test_errors)
    for name, array in one.network.parameters.items():
        np.testing.assert_array_equal(several.network.parameters[name], array)


def test_it_learns(sets):
    train, test = sets
    network = models.lenet5(output="softmax", initialiser="lecun_sqrt")
    trainer = Trainer(network, optimiser=SGD(momentum=0.9), schedule=Constant(0.01), batch_size=20)
    last = trainer.fit(train, test, epochs=8).rows[-1]
    # Of 200 and of 60; guessing leaves nine of ten wrong.
    assert last.train_errors < 10
    assert last.test_errors < 25


def test_evaluate_adds_up_its_batches(sets, monkeypatch):
    train, _ = sets
    trainer = new_trainer()
    calls = []
    whole = evaluate(trainer.engine, train)
    monkeypatch.setattr(batches, "_EVALUATION_BATCH", 70)
    parts = evaluate(trainer.engine, train, on_batch=lambda *call: calls.append(call))
    assert (parts.errors, parts.images) == (whole.errors, whole.images)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert [(totals.images, images) for totals, images in calls] == [
        *((70, 200), (140, 200), (200, 200))
    ]
    assert calls[-1][0] == parts


@pytest.mark.parametrize("output", ["rbf", "softmax", "linear"])
def test_the_defaults_learn(output):
    sample = data.load("sample")
    trainer = Trainer(models.lenet5(output=output, initialiser="lecun_sqrt"))
    last = trainer.fit(sample.train, sample.test, epochs=3).rows[-1]
    assert last.test_errors < 120  # of 1000; guessing leaves 900 wrong


def test_threads_do_not_change_a_bit(sets, backend):
    one, two = new_trainer(backend, threads=1), new_trainer(backend, threads=2)
    one.fit(*sets, epochs=1)
    two.fit(*sets, epochs=1)
    same_bits(one, two)


def test_the_seed_changes_the_order(sets):
    one, other = (new_trainer() for _ in range(2))
    other.seed = 2
    one.fit(*sets, epochs=1)
    other.fit(*sets, epochs=1)
    assert any(
        (w != other.network.parameters[name]).any() for name, w in one.network.parameters.items()
    )


# ------------------------------------------------------------------ files of a run


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("history.csv", "", "history.csv: history: expected columns epoch,"),
        ("history.csv", "epoch,errors\n1,2\n", "history.csv: history: expected columns epoch,"),
        ("history.csv", f"{COLUMNS}\n1,2,3\n", "expected 8 values per epoch, got 3 in row 1"),
        ("history.csv", f"{COLUMNS}\n1,1,1,1,many,1,1,1\n", "history.csv: .*many"),
        ("history.csv", None, "there is no .*history.csv"),
        ("config.toml", None, "there is no .*config.toml"),
        ("config.toml", "data = 1\n", "config.toml: expected the numbers of images"),
        (
            "config.toml",
            "[data.train]\nname = 'x'\n",
            "config.toml: expected the numbers of images",
        ),
        ("config.toml", "rubbish", "config.toml: expected the numbers of images"),
    ],
)
def test_histories_that_are_none(tmp_path, file, text, words):
    (tmp_path / "history.csv").write_text(f"{COLUMNS}\n1,1.0,1.0,1.0,1,1.0,1,0.1\n")
    (tmp_path / "config.toml").write_text("[data.train]\nimages = 2\n[data.test]\nimages = 2\n")
    assert len(runs.read_history(tmp_path).rows) == 1
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        runs.read_history(tmp_path)
    with pytest.raises(NotADirectoryError, match="run: expected a run's folder"):
        runs.read_history(__file__)


ROW = "1,1.0,1.0,1.0,1,1.0,1,0.1"


@pytest.mark.parametrize(
    "history",
    [
        f"{COLUMNS}\n{ROW},{'1' * 200_000}\n",  # csv's own limit is 131,072
        f"{COLUMNS}\n{'x' * 200_000}\n",
        f"{COLUMNS}\n{ROW.replace('1.0', '9' * 200_000, 1)}\n",
        f"{COLUMNS}\n{ROW.replace('1,', '9' * 5000 + ',', 1)}\n",
        f"{COLUMNS}\n{ROW.replace('1.0,1.0,1.0', '1.0,1.0,inf')}\n",
        f"{COLUMNS}\n{ROW.replace('1.0,1.0,1.0', 'nan,1.0,1.0')}\n",
        f"{COLUMNS}\n{ROW.replace('1.0,1.0,1.0', '-1.0,1.0,1.0')}\n",
        f"{COLUMNS}\n{ROW.replace('1.0,1,0.1', '1.0,3,0.1')}\n",  # errors of 2 images
        f"{COLUMNS}\n{ROW.replace('1.0,1,0.1', '1.0,-1,0.1')}\n",
        f"{COLUMNS}\n{ROW.replace('1.0,1,0.1', '1.0,1.5,0.1')}\n",
        f"{COLUMNS}\n2{ROW[1:]}\n{ROW}\n",
        f"{COLUMNS}\n{ROW}\n{ROW}\n",
        f"{COLUMNS}\n{ROW}\n\n2{ROW[1:]}\n",
        f"{COLUMNS}\n{ROW}\x00\n",
        f'{COLUMNS}\n"{ROW}\n',
        f"{COLUMNS},epoch\n{ROW},1\n",
        f"epoch,{COLUMNS}\n1,{ROW}\n",
        COLUMNS.replace("rate", "epoch") + f"\n{ROW}\n",
        f"\ufeff{COLUMNS}\n{ROW}\n".encode("utf-16"),
        f"{COLUMNS}\n\xe9{ROW}\n".encode("latin-1"),
        b"\x00" * 100,
    ],
)
def test_damaged_histories(tmp_path, history):
    (tmp_path / "config.toml").write_text("[data.train]\nimages = 2\n[data.test]\nimages = 2\n")
    content = history if isinstance(history, bytes) else history.encode()
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"history\.csv: .{0,400}$"):
        runs.read_history(tmp_path)


@pytest.mark.parametrize(
    "images",
    [
        *("inf", "nan", "0", "-5", "true", '"5"', "1.5", "2.0", "[1]", "{a = 1}", "9" * 5000),
        *("1" + "0" * 30, "[" * 5000, "[" * 5000 + "]" * 5000, "1979-05-27", "0x", '"\\u0000"'),
    ],
)
def test_damaged_configs(tmp_path, images):
    (tmp_path / "history.csv").write_text(f"{COLUMNS}\n{ROW}\n")
    for train, test in ((images, "2"), ("2", images)):
        text = f"[data.train]\nimages = {train}\n[data.test]\nimages = {test}\n"
        (tmp_path / "config.toml").write_text(text)
        with pytest.raises(FileFormatError, match=r"config\.toml: expected the numbers of im"):
            runs.read_history(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        b"\xff\xfe[data]",
        b"data = {train = {images = 2}, test = {images = 2}}\n\x00",
        b"[data]\n[data]\n",
        b"",
        b"[data]\ntrain = [{images = 2}]\ntest = 1\n",
    ],
)
def test_configs_that_are_no_toml(tmp_path, config):
    (tmp_path / "history.csv").write_text(f"{COLUMNS}\n{ROW}\n")
    (tmp_path / "config.toml").write_bytes(config)
    with pytest.raises(FileFormatError, match=r"config\.toml: expected the numbers of images"):
        runs.read_history(tmp_path)


@pytest.mark.parametrize("name", ["history.csv", "config.toml"])
def test_a_history_is_read_from_regular_files(tmp_path, name):
    (tmp_path / "history.csv").write_text(f"{COLUMNS}\n{ROW}\n")
    (tmp_path / "config.toml").write_text("[data.train]\nimages = 2\n[data.test]\nimages = 2\n")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(FileFormatError, match="expected a file, got a folder"):
        runs.read_history(tmp_path)
    (tmp_path / name).rmdir()
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileFormatError, match="expected a regular file, got a device or a pipe"):
        runs.read_history(tmp_path)


def test_a_history_without_test_images_comes_back():
    """As that of lenet_fast.torch.fit without a test set."""
    row = Row(1, 1.0, 2.0, 0.5, 3, math.nan, 0, 0.1)
    read = History.from_csv(History([row], 10, 0).to_csv(), 10, 0)
    assert math.isnan(read.rows[0].test_loss)
    assert read.rows[0].train_errors == 3


def test_a_run_writes_its_files(sets, tmp_path):
    out = tmp_path / "runs" / "first"
    trainer = new_trainer(out=out, options={"rate": 0.02, "path": "a\\b", "none": None})
    history = trainer.fit(*sets, epochs=3)
    assert sorted(os.listdir(out)) == sorted(runs.FILES)

    text = (out / "history.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    for line, row in zip(csv.DictReader(text.splitlines()), history.rows, strict=True):
        for column in ("epoch", "train_errors", "test_errors"):
            assert int(line[column]) == getattr(row, column)
        for column in ("train_loss", "test_loss", "rate"):
            assert float(line[column]) == getattr(row, column)
        assert float(line["train_seconds"]) == pytest.approx(row.train_seconds, abs=1e-6)

    read = runs.read_history(out)
    assert (read.train_images, read.test_images) == (200, 60)
    for row, same in zip(read.rows, history.rows, strict=True):
        for column in ("epoch", "train_errors", "test_errors", "train_loss", "test_loss", "rate"):
            assert getattr(row, column) == getattr(same, column)

    config = tomllib.loads((out / "config.toml").read_text())
    assert config["run"]["epochs"] == 3
    assert config["run"]["batch_size"] == 64
    assert config["run"]["seed"] == 1
    assert config["run"]["threads"] == trainer.engine.threads
    assert config["options"] == {"rate": 0.02, "path": "a\\b"}
    assert config["code"]["backend"] == trainer.engine.backend
    assert config["optimiser"] == {
        "type": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "nesterov": False,
    }
    assert config["schedule"]["decay_rate"] == 0.5
    assert config["data"]["train"]["images"] == 200
    assert len(config["data"]["test"]["sha256"]) == 64
    assert len(config["network"]["layers"]) == len(trainer.network.layers)


class RiggedEngine:
    """An engine that answers what it was told for the test set, to rank the epochs."""

    def __init__(self, engine, results):
        self.engine, self.results = engine, list(results)

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def evaluate(self, x, labels):
        totals = self.engine.evaluate(x, labels)
        if len(labels) != 60:
            return totals
        errors, loss = self.results.pop(0)
        return engines.Totals(loss * 60, errors, 60)


def test_the_best_epoch_is_kept_as_the_model(sets, tmp_path):
    # (errors, loss): epoch 3 has the fewest errors, with 5 and 6; 5 has the lower loss of them.
    results = [(9, 0.5), (8, 0.9), (5, 0.7), (6, 0.1), (5, 0.6), (5, 0.6), (7, 0.0)]
    weights = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, row):
            weights[row.epoch] = {k: w.copy() for k, w in trainer.network.parameters.items()}

    trainer = new_trainer(out=tmp_path / "run", callbacks=[Keep()])
    trainer.engine = RiggedEngine(trainer.engine, results)
    history = trainer.fit(*sets, epochs=len(results))
    assert history.best.epoch == 5
    saved = files.read_model(tmp_path / "run" / "model.safetensors")
    assert saved.extra == {"epoch": 5, "test_errors": 5, "test_loss": 0.6}
    assert saved.loss.name == "cross_entropy"
    for name, w in saved.network.parameters.items():
        np.testing.assert_array_equal(w, weights[5][name])
    assert any((w != weights[7][name]).any() for name, w in saved.network.parameters.items())


def test_a_run_is_not_overwritten_unless_asked(sets, tmp_path):
    out = tmp_path / "run"
    (out / "notes").mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    new_trainer(out=out).fit(*sets, epochs=1)
    before = {name: (out / name).read_bytes() for name in runs.FILES}
    with pytest.raises(FileExistsError, match=r"out: expected .*model\.safetensors, checkpoint"):
        new_trainer(out=out)
    assert before == {name: (out / name).read_bytes() for name in runs.FILES}
    again = new_trainer(out=out, overwrite=True, seed=2)
    assert before == {name: (out / name).read_bytes() for name in runs.FILES}
    again.fit(*sets, epochs=1)
    assert (out / "mine.txt").read_text() == "mine"
    assert (out / "notes").is_dir()
    assert checkpoints.load(out / runs.CHECKPOINT).seed == 2


def test_a_file_that_appears_before_training_starts_is_not_overwritten(sets, tmp_path):
    trainer = new_trainer(out=tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("mine")
    with pytest.raises(FileExistsError, match=r"config\.toml"):
        trainer.fit(*sets, epochs=1)
    assert (tmp_path / "run" / "config.toml").read_text() == "mine"


def test_out_may_not_be_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="out: expected a folder"):
        new_trainer(out=tmp_path / "file")


TOML = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), TOML, max_size=4))
def test_toml_comes_back(tables):
    # Lone surrogates cannot be in a TOML file; file names may hold them, and lose a byte.
    assert tomllib.loads(runs.to_toml(tables)) == tables


def test_toml_of_awkward_values(tmp_path):
    nested = {"a": [{"b": {"c": 1}}, {"b": {"c": 2}}, {}, {"d": {}}], "e": {"f": {"g": [[{}], 1]}}}
    assert tomllib.loads(runs.to_toml(nested)) == nested
    name = 'a\x7f\x00"\\\n\U0001f600\udc80'
    text = runs.to_toml({"name": name, "path": tmp_path, "none": None, "float": np.float32(0.5)})
    read = tomllib.loads(text.encode().decode())
    assert read == {"name": name.replace("\udc80", "?"), "path": str(tmp_path), "float": 0.5}
    with pytest.raises(TypeError, match="config: expected"):
        runs.to_toml({"object": object()})


# ------------------------------------------------------------------ stop and resume


def uninterrupted(sets, tmp_path, backend=None, threads=1):
    trainer = new_trainer(backend, threads=threads, out=tmp_path / "uninterrupted")
    trainer.fit(*sets, epochs=3)
    return trainer


@pytest.mark.parametrize("threads", [(1, 1), (2, 1)], ids=["one thread", "two, then one"])
def test_a_resumed_run_has_the_bits_of_one_never_stopped(sets, tmp_path, backend, threads):
    judge = uninterrupted(sets, tmp_path, backend)
    out = tmp_path / "run"
    stop = StopAt(6, Trainer.stop)  # in the middle of epoch 2
    first = new_trainer(backend, threads=threads[0], out=out, callbacks=[stop])
    history = first.fit(*sets, epochs=3)
    assert history.interrupted
    assert len(history.rows) == 1
    second = Trainer.resume(out, threads=threads[1])
    assert not second.fit(*sets).interrupted
    same_bits(second, judge)
    model = (out / runs.MODEL).read_bytes()
    assert model == (tmp_path / "uninterrupted" / runs.MODEL).read_bytes()


@pytest.mark.parametrize("batch_size", [64, 1], ids=["a short last batch", "one image"])
@pytest.mark.parametrize(
    "schedule", [OneCycle(0.02), LinearDecay(0.02), Cosine(0.02, warmup=0.3)], ids=repr
)
def test_rates_by_step_are_those_of_the_schedule(sets, tmp_path, monkeypatch, schedule, batch_size):
    """Also over a stop within an epoch, with checkpoints there, and on other engine calls."""
    train, test = sets[0].subset(70 if batch_size == 1 else 200), sets[1]
    options = {"schedule": schedule, "batch_size": batch_size, "threads": 1}
    given = []
    engine = OnlineEngine if batch_size == 1 else LanesEngine
    learn = engine.train

    def spy(self, x, labels, order, size, optimiser, rate, **others):
        given.extend(rate.tolist())
        return learn(self, x, labels, order, size, optimiser, rate, **others)

    monkeypatch.setattr(engine, "train", spy)
    judge = new_trainer(**options)
    judge.fit(train, test, epochs=3)
    steps = 3 * math.ceil(len(train) / batch_size)
    assert given == [schedule.rate_at(k, steps, 1 + 3 * k // steps) for k in range(steps)]
    highest = [max(given[k * steps // 3 : (k + 1) * steps // 3]) for k in range(3)]
    assert [row.rate for row in judge.history.rows] == highest
    monkeypatch.setattr(engine, "images_a_call", 3 * batch_size)
    stop = StopAt(2, Trainer.stop)
    first = new_trainer(**options, out=tmp_path, checkpoint_every=2 * batch_size, callbacks=[stop])
    assert first.fit(train, test, epochs=3).interrupted
    assert first.saved.batch
    second = Trainer.resume(tmp_path, threads=1)
    assert second.schedule.config() == schedule.config()
    second.fit(train, test)
    same_bits(second, judge)
    table = tomllib.loads((tmp_path / runs.CONFIG).read_text())["schedule"]
    assert table == schedule.config()


def test_a_longer_run_asks_for_the_rates_of_the_longer_run(sets):
    trainer = new_trainer(schedule=LinearDecay(0.02), batch_size=100)
    trainer.fit(*sets, epochs=1)
    trainer.fit(*sets, epochs=2)
    assert [row.rate for row in trainer.history.rows] == [0.02, 0.01]


# ------------------------------------------------------------------ the mean of the weights


@pytest.mark.parametrize("options", [{}, {"batch_size": 1, "optimiser": SGD()}])
def test_the_mean_of_the_weights_at_the_ends_of_epochs(sets, tmp_path, options):
    train, test = sets[0].subset(60), sets[1]
    ends = []

    class Keep(Callback):
        def on_epoch_end(self, trainer, row):
            ends.append({name: w.copy() for name, w in trainer.network.parameters.items()})

    options = {"threads": 1, "average_from": 2} | options
    trainer = new_trainer(callbacks=[Keep()], out=tmp_path / "run", **options)
    assert trainer.result is trainer.network
    trainer.fit(train, test, epochs=4)
    for name, w in trainer.result.parameters.items():
        mean = np.mean([end[name] for end in ends[1:]], axis=0, dtype=np.float64)
        np.testing.assert_array_equal(w, mean.astype(np.float32))
    assert (ends[-1]["C1.w"] != trainer.result.parameters["C1.w"]).any()
    outputs = trainer.result.predict(test.images)
    wrong = (trainer.result.classify_outputs(outputs) != test.labels).sum()
    assert trainer.history.rows[-1].test_errors == wrong
    model = files.read_model(tmp_path / "run" / runs.MODEL)
    assert model.extra["epoch"] == trainer.history.best.epoch
    # Another run without a mean has the same weights, and other figures from epoch 3 on.
    plain = new_trainer(**(options | {"average_from": None}))
    plain.fit(train, test, epochs=4)
    losses_of = [[row.test_loss for row in each.history.rows] for each in (trainer, plain)]
    assert losses_of[0][:2] == losses_of[1][:2]
    assert losses_of[0][2:] != losses_of[1][2:]
    np.testing.assert_array_equal(
        trainer.network.parameters["F6.w"], plain.network.parameters["F6.w"]
    )


@pytest.mark.parametrize(("batch", "phase"), [(5, "train"), (2, "evaluate"), (3, "evaluate")])
def test_the_mean_goes_on_with_the_same_bits(sets, tmp_path, batch, phase):
    judge = new_trainer(average_from=2)
    judge.fit(*sets, epochs=3)
    stop = StopAt(batch, Trainer.stop, phase)
    new_trainer(average_from=2, out=tmp_path, callbacks=[stop]).fit(*sets, epochs=3)
    resumed = Trainer.resume(tmp_path)
    resumed.fit(*sets)
    same_bits(resumed, judge)
    for name, w in judge.result.parameters.items():
        np.testing.assert_array_equal(resumed.result.parameters[name], w)


def test_a_mean_that_a_checkpoint_lacks(sets, tmp_path):
    new_trainer(average_from=1, out=tmp_path).fit(*sets, epochs=1)
    file = tmp_path / runs.CHECKPOINT
    tensors, metadata = files.read_tensors(file, "checkpoint")
    left = {name: array for name, array in tensors.items() if not name.startswith("average/")}
    files.write_tensors(file, "checkpoint", left, metadata)
    with pytest.raises(FileFormatError, match="average: expected the shapes"):
        Trainer.resume(tmp_path)


def test_the_order_of_the_set(sets):
    trainer = new_trainer(shuffle=False, optimiser=SGD())
    twin = models.lenet5(pooling="max", output="softmax", seed=1)
    engine = engines.create(twin, losses.CrossEntropy())
    for rate in (0.02, 0.01):
        engine.train(sets[0].images, sets[0].labels, np.arange(200), 64, SGD(), rate)
    trainer.fit(*sets, epochs=2)
    for name, w in twin.parameters.items():
        np.testing.assert_array_equal(trainer.network.parameters[name], w)


@pytest.mark.parametrize(
    ("batch", "phase"),
    [
        *((batch, "train") for batch in (1, 3, 4, 5, 12)),
        *((batch, "evaluate") for batch in (1, 2, 3, 6)),
    ],
)
def test_it_may_be_stopped_anywhere(sets, tmp_path, batch, phase):
    judge = uninterrupted(sets, tmp_path)
    out = tmp_path / "run"
    new_trainer(out=out, threads=1, callbacks=[StopAt(batch, Trainer.stop, phase)]).fit(
        *sets, epochs=3
    )
    resumed = Trainer.resume(out / "checkpoint.safetensors", threads=1)
    resumed.fit(*sets)
    same_bits(resumed, judge)


def test_it_may_be_stopped_again_and_again(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    out = tmp_path / "run"
    trainer = new_trainer(out=out, threads=1, callbacks=[StopAt(1, Trainer.stop)])
    stops = 0
    while trainer.fit(*sets, epochs=3).interrupted:
        stops += 1
        trainer = Trainer.resume(out, threads=1, callbacks=[StopAt(1, Trainer.stop)])
    assert stops == 12
    same_bits(trainer, judge)


def test_a_trainer_goes_on_without_files(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    trainer = new_trainer(threads=1, callbacks=[StopAt(2, Trainer.stop)])
    assert trainer.fit(*sets, epochs=2).interrupted
    assert not trainer.fit(*sets).interrupted
    assert len(trainer.history.rows) == 2
    trainer.fit(*sets, epochs=3)
    same_bits(trainer, judge)


def test_a_finished_run_can_be_extended(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    out = tmp_path / "run"
    new_trainer(out=out, threads=1).fit(*sets, epochs=2)
    resumed = Trainer.resume(out, threads=1)
    assert len(resumed.fit(*sets).rows) == 2  # there is nothing left to do
    resumed.fit(*sets, epochs=3)
    same_bits(resumed, judge)
    assert len((out / "history.csv").read_text().splitlines()) == 4


def test_a_run_killed_in_its_first_epoch_can_be_resumed(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    out = tmp_path / "run"
    with pytest.raises(SystemExit):
        new_trainer(out=out, threads=1, callbacks=[StopAt(2, die)]).fit(*sets, epochs=3)
    resumed = Trainer.resume(out, threads=1)
    resumed.fit(*sets)
    same_bits(resumed, judge)


def die(trainer):
    raise SystemExit


@pytest.mark.parametrize(
    ("batch_size", "every", "epoch", "stop", "kept"),
    [(64, 64, 1, 3, 3), (64, 100, 2, 3, 2), (64, 1, 1, 2, 2), (3, 7, 2, 8, 6), (1, 70, 1, 99, 70)],
)
def test_a_run_killed_within_an_epoch_goes_on_from_its_last_checkpoint(
    sets, tmp_path, batch_size, every, epoch, stop, kept
):
    """Saved after the whole batches that so many images are part of."""
    judge = new_trainer(batch_size=batch_size, threads=1)
    judge.fit(*sets, epochs=2)
    out, batches_an_epoch = tmp_path / "run", -(-200 // batch_size)
    told = StopAt(stop + (epoch - 1) * batches_an_epoch, die)
    first = new_trainer(
        batch_size=batch_size, threads=1, out=out, checkpoint_every=every, callbacks=[told]
    )
    with pytest.raises(SystemExit):
        first.fit(*sets, epochs=2)
    saved = checkpoints.load(out / runs.CHECKPOINT).position
    assert (saved.epoch, saved.batch) == (epoch - 1, kept)
    resumed = Trainer.resume(out, threads=1)
    resumed.fit(*sets)
    same_bits(resumed, judge)


# ------------------------------------------------------------------ distortions


def test_an_epoch_trains_on_its_distortions_and_evaluates_without(sets, monkeypatch):
    train, test = sets
    trainer = sdlm_trainer(distortion=distort.PAPER, batch_size=64, evaluate_train=True)
    seen = {"hessian_diagonal": [], "train": [], "evaluate": []}
    for name, calls in seen.items():
        run = getattr(trainer.engine, name)

        def noted(images, *rest, run=run, calls=calls, **options):
            calls.append((images, *rest))
            return run(images, *rest, **options)

        monkeypatch.setattr(trainer.engine, name, noted)
    trainer.fit(train, test, epochs=2)
    for epoch in (1, 2):
        order = batches.shuffled(200, 1, epoch)
        right = distort.PAPER(train.images[order], order, epoch, seed=1, size=32)
        assert (right != distort.PAPER(train.images[order], order, 3, seed=1, size=32)).any()
        images, labels = seen["hessian_diagonal"][epoch - 1]
        np.testing.assert_array_equal(images, right[:70])
        np.testing.assert_array_equal(labels, train.labels[order[:70]])
        calls = seen["train"][4 * epoch - 4 : 4 * epoch]
        np.testing.assert_array_equal(
            np.concatenate([x[turns] for x, _, turns, *_ in calls]), right
        )
        found = np.concatenate([labels[turns] for _, labels, turns, *_ in calls])
        np.testing.assert_array_equal(found, train.labels[order])
    for k, dataset in enumerate((train, test, train, test)):
        np.testing.assert_array_equal(seen["evaluate"][k][0], dataset.images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "every", "stop", "engine"), [(64, 100, 7, "lanes"), (1, 70, 290, "online")]
)
def test_a_distorted_run_killed_goes_on_with_the_same_bits(
    sets, tmp_path, batch_size, every, stop, engine
):
    bent = Distortion(shift=1, rotation=10, elastic=30)
    rates = StepDecay(0.02 if batch_size > 1 else 0.002, step=1, decay_rate=0.5)
    common = {"batch_size": batch_size, "schedule": rates}
    judge = new_trainer(**common, threads=1, distortion=bent)
    assert judge.engine.name == engine
    judge.fit(*sets, epochs=2)
    first = new_trainer(
        **common,
        threads=2,
        distortion=bent,
        out=tmp_path / "run",
        checkpoint_every=every,
        callbacks=[StopAt(stop, die)],
    )
    with pytest.raises(SystemExit):
        first.fit(*sets, epochs=2)
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["distortion"] == bent.config()
    assert checkpoints.load(tmp_path / "run" / runs.CHECKPOINT).position.batch > 0
    resumed = Trainer.resume(tmp_path / "run", threads=1)
    assert resumed.distortion == bent
    resumed.fit(*sets)
    same_bits(resumed, judge)
    plain = new_trainer(**common, threads=1)
    plain.fit(*sets, epochs=2)
    assert plain.history.rows[-1].train_loss < judge.history.rows[-1].train_loss


def test_what_is_no_distortion():
    with complains("distortion", TypeError, got="bool True"):
        new_trainer(distortion=True)


def test_a_checkpoint_cuts_no_call_that_it_does_not_have_to(sets, tmp_path, monkeypatch):
    for engine in (LanesEngine, OnlineEngine):
        monkeypatch.setattr(engine, "images_a_call", 128)
    for batch_size, every, expected in (
        (1, None, [128, 72]),
        (1, 70, [70, 70, 60]),
        (1, 130, [128, 2, 70]),
        (64, None, [128, 72]),
        (64, 65, [128, 72]),
        (64, 1, [64, 64, 64, 8]),
        (64, 129, [128, 64, 8]),
    ):
        out = None if every is None else tmp_path / f"{batch_size}, {every}"
        trainer = new_trainer(batch_size=batch_size, threads=1, out=out, checkpoint_every=every)
        assert trainer.engine.name == ("online" if batch_size == 1 else "lanes")
        calls = []

        def noted(x, labels, order, *rest, run=trainer.engine.train, calls=calls, **options):
            calls.append(len(order))
            return run(x, labels, order, *rest, **options)

        monkeypatch.setattr(trainer.engine, "train", noted)
        trainer.fit(*sets, epochs=1)
        assert calls == expected


KILLED = """
import os, signal, sys
from lenet_fast import data, models
from lenet_fast.engines import OnlineEngine
from lenet_fast.training import SGD, Callback, StepDecay, Trainer

class Kill(Callback):
    def on_batch_end(self, trainer, progress):
        if progress.epoch == 2 and progress.images >= 100:
            os.kill(os.getpid(), signal.SIGKILL)

sample = data.load("sample")
network = models.lenet5(pooling="max", output="softmax", seed=1)
trainer = Trainer(
    network, optimiser=SGD(momentum=0.9, weight_decay=1e-4), batch_size=1, seed=1, threads=1,
    schedule=StepDecay(0.002, step=1, decay_rate=0.5), checkpoint_every=60, out=sys.argv[1],
    callbacks=[Kill()],
)
trainer.fit(sample.train.subset(200), sample.test.subset(60), epochs=2)
"""


def test_a_killed_process_goes_on_with_the_same_bits(sets, tmp_path):
    schedule = StepDecay(0.002, step=1, decay_rate=0.5)
    judge = new_trainer(batch_size=1, schedule=schedule, threads=1)
    judge.fit(*sets, epochs=2)
    done = run_python(KILLED, str(tmp_path / "run"), LENET_FAST_BACKEND=judge.engine.backend)
    assert done.returncode == -signal.SIGKILL, done.stderr
    saved = checkpoints.load(tmp_path / "run" / runs.CHECKPOINT)
    assert (saved.position.epoch, saved.position.batch) == (1, 120)
    resumed = Trainer.resume(tmp_path / "run", threads=1)
    assert resumed.engine.name == "online"
    resumed.fit(*sets)
    same_bits(resumed, judge)


def sdlm_trainer(**options):
    return new_trainer(
        optimiser=SDLM(mu=0.5, patterns=70),
        schedule=Constant(0.0005),
        **({"batch_size": 1, "threads": 1} | options),
    )


@pytest.mark.parametrize("engine", ["online", "layers"])
def test_sdlm_follows_the_curvature_of_each_epochs_first_images(sets, engine):
    train, test = sets
    trainer = sdlm_trainer(engine=engine)
    twin = models.lenet5(pooling="max", output="softmax", seed=1)
    made = engines.create(twin, losses.CrossEntropy(), engine=engine, batch_size=1, threads=1)
    sgd = SGD()
    for epoch in (1, 2):
        trainer.fit(train, test, epoch)
        order = batches.shuffled(len(train), 1, epoch)
        first = order[:70]
        diagonal = made.hessian_diagonal(train.images[first], train.labels[first])
        sgd.factors = {name: 1 / (0.5 + h) for name, h in diagonal.items()}
        made.train(train.images, train.labels, order, 1, sgd, 0.0005)
    for name, array in trainer.network.parameters.items():
        np.testing.assert_array_equal(array, twin.parameters[name])


def test_sdlm_goes_on_within_an_epoch_at_the_rates_it_had(sets, tmp_path):
    judge = sdlm_trainer()
    judge.fit(*sets, epochs=2)
    stopped = sdlm_trainer(out=tmp_path / "run", callbacks=[StopAt(290, Trainer.stop)])
    assert stopped.fit(*sets, epochs=2).interrupted
    resumed = Trainer.resume(tmp_path / "run", threads=1)
    for name, factor in stopped.optimiser.factors.items():
        np.testing.assert_array_equal(resumed.optimiser.factors[name], factor)
    resumed.fit(*sets)
    same_bits(resumed, judge)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["sdlm", SDLM(mu=1.0)])
def test_sdlm_learns(optimiser):
    sample = data.load("sample")
    trainer = Trainer(models.lenet5(), optimiser=optimiser)
    trainer.fit(sample.train, sample.test.subset(500), epochs=1, verbose=False)
    assert trainer.history.rows[-1].test_errors < 75


@pytest.mark.parametrize("optimiser", ["sdlm", SDLM(mu=1.0)])
def test_sdlm_takes_batches_of_one(optimiser):
    assert Trainer(models.lenet5(), optimiser=optimiser).batch_size == 1
    with pytest.raises(
        ValueError,
        match=r"schedule: expected one for SDLM with batches of 32, such as a rate, got none; "
        r"the paper's rates are for batch_size=1$",
    ):
        Trainer(models.lenet5(), optimiser=optimiser, batch_size=32)
    assert Trainer(models.lenet5(), optimiser=optimiser, schedule=0.01).batch_size == 1
    assert Trainer(models.lenet5(), optimiser=optimiser, schedule=0.01, batch_size=64)
    assert Trainer(models.lenet5(), optimiser="adam").batch_size == 32
    assert Trainer(models.lenet5()).batch_size == 32


def test_sdlm_takes_the_papers_rates():
    trainer = Trainer(models.lenet5(), optimiser=SDLM(mu=0.5), batch_size=1)
    assert [trainer.schedule.rate(epoch) for epoch in (1, 3, 20)] == [0.0005, 0.0002, 0.00001]


class Clipped(SGD):
    """A user's own: no gradient is larger than 1e-3."""

    def step(self, parameters, gradients, rate):
        clipped = {name: np.clip(array, -1e-3, 1e-3) for name, array in gradients.items()}
        super().step(parameters, clipped, rate)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_an_optimiser_of_the_users_own_makes_its_own_steps(sets, batch_size):
    trainer = new_trainer(optimiser=Clipped(), schedule=Constant(0.01), batch_size=batch_size)
    network = trainer.network
    before = {name: array.copy() for name, array in network.parameters.items()}
    assert trainer.engine.name == "layers"
    assert trainer.engine.note == "optimiser: only engine='layers' knows the rule 'Clipped'"
    trainer.fit(sets[0].subset(64), sets[1], epochs=1)
    bound = 1e-5 * 64 / batch_size
    changes = [np.abs(network.parameters[name] - array).max() for name, array in before.items()]
    assert 0.1 * bound < max(changes) <= 1.01 * bound  # an SGD's are a hundred times that


def test_an_optimiser_of_the_users_own_is_refused_before_anything_begins(tmp_path):
    for name, batch_size in (("lanes", 32), ("online", 1)):
        with pytest.raises(
            engines.Unsupported, match=r"^optimiser: only engine='layers' knows the rule 'Clipped'$"
        ):
            Trainer(
                models.lenet5(),
                optimiser=Clipped(),
                schedule=Constant(0.01),
                engine=name,
                batch_size=batch_size,
                out=tmp_path / "run",
            )
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"^schedule: expected one for .*, 'Clipped', got none$"):
        Trainer(models.lenet5(), optimiser=Clipped())


class Halving(Constant):
    """A user's own schedule."""

    def rate(self, epoch):
        return super().rate(epoch) / 2**epoch

    def config(self):
        return super().config() | {"type": "halving", "first": (1, 2)}  # JSON has no tuples


@pytest.mark.parametrize("kind", [Clipped, type("sgd", (SGD,), {"_change": lambda s, w, g, a: -g})])
def test_a_run_with_parts_of_the_users_own_resumes_with_them(sets, tmp_path, kind):
    """Also if the class bears the name of a built-in rule, which would do something else."""
    whole = new_trainer(optimiser=kind(0.9), schedule=Halving(0.01))
    assert whole.engine.name == "layers"
    whole.fit(*sets, epochs=2)
    first = new_trainer(optimiser=kind(0.9), schedule=Halving(0.01), out=tmp_path)
    first.fit(*sets, epochs=1)
    assert first.optimiser.config()["type"] not in (*OPTIMISERS, "")

    hint = (
        r"expected an optimiser that .*; if it is your own, pass it to .*resume\(optimiser=...\)$"
    )
    with pytest.raises(FileFormatError, match=hint):
        Trainer.resume(tmp_path)
    with pytest.raises(FileFormatError, match=r"a schedule that .*resume\(schedule=...\)$"):
        Trainer.resume(tmp_path, optimiser=kind(0.9))
    with pytest.raises(ValueError, match=r"optimiser: expected the run's, .*0.9.*, got .*0.5"):
        Trainer.resume(tmp_path, optimiser=kind(0.5), schedule=Halving(0.01))
    with pytest.raises(ValueError, match=r"optimiser: expected the run's, .*, got .*'sgd'"):
        Trainer.resume(tmp_path, optimiser=SGD(0.9), schedule=Halving(0.01))
    with pytest.raises(ValueError, match=r"schedule: expected the run's, .*halving.*, got"):
        Trainer.resume(tmp_path, optimiser=kind(0.9), schedule=Constant(0.01))
    with pytest.raises(TypeError, match=r"optimiser: expected .* an optimiser"):
        Trainer.resume(tmp_path, optimiser=kind, schedule=Halving(0.01))

    resumed = Trainer.resume(tmp_path, optimiser=kind(0.9), schedule=Halving(0.01))
    resumed.fit(*sets, epochs=2)
    same_bits(resumed, whole)


def test_an_optimiser_that_a_file_would_take_for_another_is_refused():
    """Its rule is its own, so that no engine takes it for another; its configuration is not."""

    class Other:
        steps, factors, curvature_images = 0, MappingProxyType({}), 0
        rule = Rule("other")
        slots = step = follow = state = load_state = None

        def config(self):
            return {"type": "adamw"}

    with pytest.raises(
        ValueError, match=r"optimiser: expected Other with a type .* got 'adamw', for"
    ):
        new_trainer(optimiser=Other())


class ByItself:
    def rate_at(self, step, steps, epoch):
        return 0.001

    def config(self):
        return {"type": "constant", "rate": 0.5}


def test_a_schedule_that_a_file_would_take_for_another_is_refused():
    step = type("Step", (OneCycle,), {"rate_at": ByItself.rate_at})(0.1)
    epoch = type("Epoch", (Constant,), {"rate": lambda self, epoch: 0.1 / epoch})(0.1)
    for own, name in ((ByItself(), "constant"), (step, "one_cycle"), (epoch, "constant")):
        expected = rf"^schedule: expected {type(own).__name__} with a type .* got '{name}', for"
        with pytest.raises(ValueError, match=expected):
            new_trainer(schedule=own)
    same = type("Same", (OneCycle,), {})(0.1)
    assert new_trainer(schedule=same).schedule is same


def test_a_callback_may_give_a_rate_or_a_name(sets):
    class Falling(Callback):
        def on_epoch_end(self, trainer, row):
            trainer.schedule = 0.001 if row.epoch == 1 else "constant"

    trainer = new_trainer(schedule=0.002, callbacks=[Falling()])
    usual = schedules.named("constant", trainer.loss).rate(1)
    assert [row.rate for row in trainer.fit(*sets, epochs=3).rows] == [0.002, 0.001, usual]
    with complains("schedule", TypeError):
        trainer.schedule = None


def test_a_rate_too_high_for_an_optimiser_of_the_users_own_is_told(sets):
    trainer = Trainer(models.lenet5(), optimiser=Clipped(), schedule=Constant(1e30))
    with pytest.raises(TrainingDiverged, match=r"at rate 1e\+30: .* such as 1e\+29\."):
        trainer.fit(*sets, epochs=1)


def test_a_curvature_that_is_no_number_is_divergence(sets):
    trainer = sdlm_trainer()
    trainer.network.parameters["F6.w"][...] = 1e30
    with pytest.raises(TrainingDiverged, match="expected a finite curvature, got NaN or infinity"):
        trainer.fit(*sets, epochs=1)


def test_batches_of_one_learn(sets, monkeypatch):
    monkeypatch.setattr(OnlineEngine, "images_a_call", 4096)
    trainer = new_trainer(batch_size=1, schedule=Constant(0.002))
    assert trainer.engine.name == "online"
    rows = trainer.fit(*sets, epochs=5).rows
    assert rows[-1].train_errors < 20  # of 200
    assert rows[-1].test_errors < 25  # of 60
    twin = models.lenet5(pooling="max", output="softmax", seed=1)
    engine = engines.create(twin, losses.CrossEntropy(), engine="layers")
    train, sgd = sets[0], SGD(momentum=0.9, weight_decay=1e-4)
    totals = engine.train(train.images, train.labels, batches.shuffled(200, 1, 1), 1, sgd, 0.002)
    assert sum(each.errors for each in totals) == rows[0].train_errors
    assert sum(each.loss for each in totals) / 200 == pytest.approx(rows[0].train_loss, rel=1e-4)


def test_batches_are_refused_by_the_online_engine_before_anything_is_written(tmp_path):
    message = "batch_size: expected 1 for the online engine, got 32; use engine='lanes'"
    with pytest.raises(engines.Unsupported, match=message):
        new_trainer(engine="online", batch_size=32, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_replace_no_checkpoint(sets, tmp_path, monkeypatch):
    """A loss may be the last finite one: it is that before the step."""
    trainer = new_trainer(out=tmp_path, checkpoint_every=64)

    def spoiled(*arguments, run=trainer.engine.train, **options):
        found = run(*arguments, **options)
        trainer.network.parameters["C1.w"][0] = np.inf if trainer._position.batch == 2 else 0.1
        return found

    monkeypatch.setattr(trainer.engine, "train", spoiled)
    with pytest.raises(
        TrainingDiverged, match=r"epoch 1, after 3 batches .* hold the last good st"
    ):
        trainer.fit(*sets, epochs=1)
    saved = checkpoints.load(tmp_path / runs.CHECKPOINT)
    assert saved.position.batch == 2
    assert np.isfinite(saved.network.parameters["C1.w"]).all()


def test_resuming_keeps_the_settings(sets, tmp_path):
    trainer = new_trainer(out=tmp_path, seed=5, options={"dataset": "sample"}, backend="numpy")
    trainer.fit(*sets, epochs=1)
    resumed = Trainer.resume(tmp_path)
    assert (resumed.batch_size, resumed.seed, resumed.epochs) == (64, 5, 1)
    assert resumed.options == {"dataset": "sample"}
    assert resumed.engine.backend == "numpy"
    assert resumed.schedule.config() == trainer.schedule.config()
    assert resumed.optimiser.config() == trainer.optimiser.config()
    assert resumed.loss.config() == trainer.loss.config()


def test_resuming_on_other_data_is_refused(sets, tmp_path):
    train, test = sets
    new_trainer(out=tmp_path).fit(train, test, epochs=1)
    labels = train.labels.copy()
    labels[7] = (labels[7] + 1) % 10
    other = data.Dataset(train.images, labels, "other")
    resumed = Trainer.resume(tmp_path)
    with pytest.raises(ValueError, match=r"train: expected the data .* got others \(other, 200"):
        resumed.fit(other, test, epochs=2)
    with pytest.raises(ValueError, match=r"test: expected the data .* 59 images"):
        resumed.fit(train, test.subset(59), epochs=2)
    resumed.fit(train, test, epochs=2)


@pytest.mark.slow
def test_resuming_on_another_backend_warns(sets, tmp_path):
    require("numba")
    new_trainer("numpy", out=tmp_path).fit(*sets, epochs=1)
    with pytest.warns(UserWarning, match="backend numpy -> numba"):
        resumed = Trainer.resume(tmp_path, backend="numba")
    assert len(resumed.fit(*sets, epochs=2).rows) == 2


def test_resuming_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*absent"):
        Trainer.resume(tmp_path / "absent" / "checkpoint.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no .*checkpoint\.safetensors"):
        Trainer.resume(tmp_path)
    copy = tmp_path / "copy-of-checkpoint.safetensors"
    copy.touch()
    with pytest.raises(ValueError, match="run: expected a run's folder"):
        Trainer.resume(copy)


def test_a_lost_model_file_is_written_again(sets, tmp_path):
    new_trainer(out=tmp_path).fit(*sets, epochs=1)
    (tmp_path / runs.MODEL).unlink()
    Trainer.resume(tmp_path).fit(*sets, epochs=2)
    assert files.read_model(tmp_path / runs.MODEL).extra["epoch"] == 2


# ------------------------------------------------------------------ Ctrl-C


def interrupt(trainer):
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_finishes_the_batch_and_saves(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    trainer = new_trainer(out=out, threads=1, callbacks=[StopAt(6, interrupt)])
    with pytest.raises(TrainingInterrupted, match=r"^stopped in epoch 2 of 3, and .*run has its"):
        trainer.fit(*sets, epochs=3)
    assert trainer.history.interrupted
    assert signal.getsignal(signal.SIGINT) is before
    saved = checkpoints.load(out / runs.CHECKPOINT)
    assert (saved.position.epoch, saved.position.batch) == (1, 2)
    resumed = Trainer.resume(out, threads=1)
    resumed.fit(*sets)
    same_bits(resumed, judge)


def test_a_second_ctrl_c_stops_at_once_and_leaves_whole_files(sets, tmp_path):
    def twice(trainer):
        interrupt(trainer)
        interrupt(trainer)

    judge = uninterrupted(sets, tmp_path)
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as told:
        new_trainer(out=out, threads=1, callbacks=[StopAt(6, twice)]).fit(*sets, epochs=3)
    assert not isinstance(told.value, TrainingInterrupted)
    assert signal.getsignal(signal.SIGINT) is before
    assert not [name for name in os.listdir(out) if name.endswith(".tmp")]
    resumed = Trainer.resume(out, threads=1)  # from the end of epoch 1
    resumed.fit(*sets)
    same_bits(resumed, judge)


def test_after_ctrl_c_fit_goes_on_with_the_same_bits(sets, tmp_path):
    judge = uninterrupted(sets, tmp_path)
    trainer = new_trainer(threads=1, callbacks=[StopAt(6, interrupt)])
    with pytest.raises(TrainingInterrupted, match=r"^stopped in epoch 2 of 3; the trainer's fit"):
        trainer.fit(*sets, epochs=3)
    assert len(trainer.history.rows) == 1
    assert not trainer.fit(*sets).interrupted
    same_bits(trainer, judge)


def test_ctrl_c_in_the_last_moment_is_not_lost(sets):
    class Last(Callback):
        def on_epoch_end(self, trainer, row):
            interrupt(trainer)

    trainer = new_trainer(callbacks=[Last()])
    with pytest.raises(TrainingInterrupted, match=r"^stopped after the last epoch$"):
        trainer.fit(*sets, epochs=1)
    assert not trainer.history.interrupted


def test_an_ignored_signal_stays_ignored(sets):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = new_trainer(callbacks=[StopAt(2, interrupt)]).fit(*sets, epochs=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted


def test_training_in_another_thread(sets):
    results = []
    trainer = new_trainer()
    thread = threading.Thread(target=lambda: results.append(trainer.fit(*sets, epochs=1)))
    thread.start()
    thread.join()
    assert len(results[0].rows) == 1


# ------------------------------------------------------------------ what goes wrong


def test_divergence_is_said_and_the_files_are_kept(sets, tmp_path):
    new_trainer(out=tmp_path).fit(*sets, epochs=1)
    before = {name: (tmp_path / name).read_bytes() for name in (runs.MODEL, runs.CHECKPOINT)}
    resumed = Trainer.resume(tmp_path)
    resumed.schedule = Constant(1e30)
    with pytest.raises(TrainingDiverged, match=r"epoch 2, .* rate 1e\+30: .* such as 0\.01\. "):
        resumed.fit(*sets, epochs=2)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content


def test_weights_that_are_not_finite_are_not_saved_on_stopping(sets, tmp_path):
    def spoil(trainer):
        trainer.network.parameters["C1.w"][0] = np.nan
        trainer.stop()

    trainer = new_trainer(out=tmp_path, callbacks=[StopAt(1, spoil)])
    with pytest.raises(TrainingDiverged, match="epoch 1, after 1 batches"):
        trainer.fit(*sets, epochs=1)
    saved = checkpoints.load(tmp_path / runs.CHECKPOINT)
    assert np.isfinite(saved.network.parameters["C1.w"]).all()


def test_bad_arguments(sets):
    train, test = sets
    for wrong in (-1, 2**63):
        with pytest.raises(ValueError, match="seed: expected"):
            new_trainer(seed=1).__class__(models.lenet5(), seed=wrong)
    with pytest.raises(TypeError, match="seed: expected"):
        Trainer(models.lenet5(), seed=1.5)
    with pytest.raises(ValueError, match="batch_size: expected"):
        Trainer(models.lenet5(), batch_size=0)
    for wrong, error in ((0, ValueError), (-1, ValueError), (2.5, TypeError), ("9", TypeError)):
        with pytest.raises(error, match="checkpoint_every: expected an int"):
            new_trainer(checkpoint_every=wrong)
    for unused in ({"checkpoint_every": 60}, {"overwrite": True}):
        with pytest.raises(ValueError, match=f"{next(iter(unused))}: expected together with out"):
            new_trainer(**unused)
    with pytest.raises(ValueError, match="epochs: expected"):
        new_trainer().fit(train, test, epochs=0)
    with pytest.raises(TypeError, match=r"train: expected a Dataset, such as .*, got tuple"):
        new_trainer().fit((train.images, train.labels), test, epochs=1)
    with pytest.raises(TypeError, match=r"train: expected a .*, got Splits; pass its train or its"):
        new_trainer().fit(data.load("sample"), test, epochs=1)
    with pytest.raises(ValueError, match="train: expected at least one image"):
        new_trainer().fit(train.subset(0), test, epochs=1)
    with pytest.raises(ValueError, match="test: expected at least one image"):
        new_trainer().fit(train, test.subset(0), epochs=1)


def _torch_like():
    class Adam:
        def step(self): ...

        def state_dict(self): ...

    return Adam()


NO_PARTS = [
    ("network", "lenet5", "a Network, got str 'lenet5'"),
    ("network", models.lenet5, "a Network, got the function lenet5"),
    ("loss", losses.MAP, r"one of .* penalty, or a loss, such as .*\(\), got the class MAP"),
    ("loss", 0.5, "one of cross_entropy, .*, got float 0.5"),
    ("optimiser", SGD, "one of sgd, .*, or an optimiser, such as .*, got the class SGD"),
    ("optimiser", _torch_like(), "one of .* an optimiser, .*, got an object of type Adam"),
    ("optimiser", 0.01, "one of .*, got float 0.01"),
    ("schedule", Constant, "a rate, one of one_cycle, .*, or a schedule, .* the class Constant"),
    ("schedule", [0.1], r"a rate, one of .*, got list \[0.1\]"),
    ("schedule", True, "a number, got bool True"),
    ("callbacks", [EpochTable], "a callback, such as .*, got the class EpochTable"),
    ("callbacks", [Callback(), None], "a callback, such as .*, got NoneType None"),
    ("callbacks", EpochTable(), "a list of callbacks, .*, got EpochTable"),
    ("callbacks", "table", "a list of callbacks, .*, got str 'table'"),
    ("callbacks", None, "a list of callbacks, .*, got NoneType None"),
    ("distortion", 0.5, "one of paper, elastic, or a Distortion, got float 0.5"),
    ("shuffle", "no", "a bool, got str 'no'"),
    ("evaluate_train", 1, "a bool, got int 1"),
    ("overwrite", "yes", "a bool, got str 'yes'"),
    ("options", ["seed"], "a mapping, got list"),
    ("out", 5, "a path, got int 5"),
    ("batch_size", True, "an int, got bool True"),
    ("batch_size", np.nan, "an int, got float nan"),
    ("average_from", 1.5, "an int, got float 1.5"),
    ("seed", None, "an int, got NoneType None"),
]


@pytest.mark.parametrize(("name", "value", "words"), NO_PARTS)
def test_what_is_no_part_of_a_trainer_is_refused_when_it_is_made(name, value, words):
    with pytest.raises(TypeError, match=rf"{name}(\[\d\])?: expected {words}") as told:
        Trainer(**({"network": models.lenet5()} | {name: value}))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", get_args(choices.Optimiser))
def test_an_optimiser_by_its_name_is_the_one_with_default_options(name):
    trainer = Trainer(models.lenet5(), optimiser=name)
    options = {"sgd": {"momentum": 0.9}, "sdlm": {"mu": 1.0}}.get(name, {})
    assert trainer.optimiser.config() == OPTIMISERS[name](**options).config()
    assert trainer.schedule.config() == schedules.default_for(trainer.loss, name).config()


@pytest.mark.parametrize("name", get_args(choices.Loss))
def test_a_loss_by_its_name(name):
    output = losses.LOSSES[name].output
    trainer = Trainer(models.lenet5(output=output), name)
    assert trainer.loss.config() == losses.LOSSES[name]().config()
    engine = engines.create(trainer.network, name, engine="layers")
    assert engine.loss.config() == trainer.loss.config()


@pytest.mark.parametrize(
    ("schedule", "optimiser", "expected"),
    [
        (0.01, "sgd", Constant(0.01)),
        (1, "adamw", Constant(1.0)),
        (np.float32(0.5), "sgd", Constant(0.5)),
        ("constant", "adamw", Constant(0.001)),
        ("one_cycle", "sgd", OneCycle(0.03)),
        ("one_cycle", "adamw", OneCycle(0.002)),
        ("linear_decay", "sgd", LinearDecay(0.03)),
        ("cosine", "rmsprop", Cosine(0.001)),
        ("step_decay", "sgd", StepDecay(0.01, 6, 0.4)),
    ],
    ids=repr,
)
def test_a_schedule_by_its_rate_or_name(schedule, optimiser, expected):
    network = models.lenet5(output="softmax")
    trainer = Trainer(network, "cross_entropy", optimiser=optimiser, schedule=schedule)
    assert trainer.schedule.config() == expected.config()


def test_names_that_are_unknown_are_refused_when_the_trainer_is_made():
    for name, wrong, words in (
        ("loss", "cross-entropy", "one of cross_entropy, mean_squared_error, map, penalty"),
        ("optimiser", "adamax", "one of sgd, adamw, adam, rmsprop, adadelta, sdlm"),
        ("schedule", "plateau", "one of one_cycle, linear_decay, cosine, step_decay, constant"),
        ("distortion", "affine", "one of paper, elastic"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected {words}, got '{wrong}'$"):
            Trainer(models.lenet5(), **{name: wrong})
    with pytest.raises(ValueError, match="loss: expected map or penalty for a network with output"):
        Trainer(models.lenet5(), "cross_entropy")
    with pytest.raises(ValueError, match=r"schedule: expected a rate .* optimiser sdlm, got 'cos"):
        Trainer(models.lenet5(), optimiser="sdlm", schedule="cosine")
    with pytest.raises(ValueError, match="schedule: expected a number above 0, got 0"):
        Trainer(models.lenet5(), schedule=0)
    assert Trainer(models.lenet5(), distortion="paper").distortion is distort.PAPER


def test_american_names_of_arguments():
    network = models.lenet5(initializer="he_normal", seed=3)
    again = models.lenet5(initialiser="he_normal", seed=3)
    np.testing.assert_array_equal(network.parameters["C1.w"], again.parameters["C1.w"])
    network.initialise(initializer="lecun_sqrt")
    assert not np.array_equal(network.parameters["C1.w"], again.parameters["C1.w"])
    assert Trainer(network, optimizer="adamw").optimiser.config() == AdamW().config()
    with pytest.raises(TypeError, match="optimiser: expected once, got it as optimizer, too"):
        Trainer(network, optimizer="adamw", optimiser="sgd")
    with pytest.raises(TypeError, match="unexpected keyword argument 'optimisation'"):
        Trainer(network, optimisation="adamw")
    assert "optimiser" in signature(Trainer).parameters


def test_parts_may_be_of_other_making(sets):
    """With the methods that are used, and no base class of ours."""

    class Falling:
        def rate(self, epoch):
            return 0.01 / epoch

        def config(self):
            return {"type": "falling"}

    class Told:
        seen = 0

        def on_train_begin(self, trainer): ...

        def on_batch_end(self, trainer, progress): ...

        def on_epoch_end(self, trainer, row):
            Told.seen = row.rate

        def on_train_end(self, trainer): ...

    Trainer(models.lenet5(), schedule=Falling(), callbacks=(Told(),)).fit(*sets, epochs=2)
    assert Told.seen == 0.005


def test_a_mean_of_no_epoch_is_refused(sets, tmp_path):
    trainer = new_trainer(average_from=3, out=tmp_path / "run")
    with pytest.raises(ValueError, match="average_from: expected at most 2, the last epoch, got 3"):
        trainer.fit(*sets, epochs=2)
    with pytest.raises(
        ValueError, match="average_from: expected at most 20, the last epoch, got 21"
    ):
        new_trainer(average_from=21).fit(*sets)
    assert not (tmp_path / "run").exists()
    stop = StopAt(1, Trainer.stop, "evaluate")
    trainer = new_trainer(average_from=3, out=tmp_path / "run", callbacks=[stop])
    trainer.fit(*sets, epochs=4)
    with pytest.raises(ValueError, match="average_from: expected at most 2, the last epoch, got 3"):
        Trainer.resume(tmp_path / "run").fit(*sets, epochs=2)


def test_a_mean_is_of_networks_alike():
    with pytest.raises(TypeError, match="network: expected a Network, got str 'lenet5'"):
        WeightAverage("lenet5")
    average = WeightAverage(models.lenet5())
    with pytest.raises(ValueError, match="network: expected the parameters of the first"):
        average.add(models.lenet1())
    assert average.count == 0


@pytest.mark.parametrize("callback", [EpochTable, ProgressBar])
def test_what_is_no_console(callback):
    with pytest.raises(TypeError, match=r"console: expected a rich\.console\.Console, got str"):
        callback("stderr")


def test_what_is_no_engine_evaluates_nothing(sets):
    engine = engines.create(models.lenet5(), losses.MAP())
    with pytest.raises(
        TypeError,
        match=r"dataset: expected a Dataset, .* got tuple of ndarray of dtype \w+, ndarray[\w ]+$",
    ):
        evaluate(engine, (sets[0].images, sets[0].labels))
    with pytest.raises(TypeError, match=r"engine: expected an engine, from .*create, got str 'e'"):
        evaluate("e", sets[0])
    for wrong, words in (
        ("network", "network: expected a Network"),
        ("loss", "loss: expected one"),
    ):
        right = {"network": models.lenet5(), "loss": losses.MAP()}
        with pytest.raises(TypeError, match=words):
            engines.create(**(right | {wrong: 5}))
    with pytest.raises(TypeError, match="batch_size: expected an int, got str"):
        engines.create(models.lenet5(), losses.MAP(), engine="layers", batch_size="many")


# ------------------------------------------------------------------ callbacks


def test_callbacks_are_told_in_order(sets):
    told = []

    class Listen(Callback):
        def on_train_begin(self, trainer):
            told.append("begin")

        def on_batch_end(self, trainer, progress):
            told.append((progress.phase, progress.epoch, progress.images, progress.total))
            assert progress.epochs == 2
            assert np.isfinite(progress.loss)
            assert progress.images_per_second > 0

        def on_epoch_end(self, trainer, row):
            assert trainer.history.rows[-1] is row
            told.append(row.epoch)

        def on_train_end(self, trainer):
            told.append("end")

    new_trainer(callbacks=[Listen()], evaluate_train=True).fit(*sets, epochs=2)
    epochs = [
        [("train", epoch, images, 200) for images in (64, 128, 192, 200)]
        + [("evaluate", epoch, 200, 200), ("evaluate", epoch, 60, 60), epoch]
        for epoch in (1, 2)
    ]
    assert told == ["begin", *epochs[0], *epochs[1], "end"]


def test_callbacks_are_told_of_an_end_by_an_exception(sets):
    told = []

    class Listen(Callback):
        def on_batch_end(self, trainer, progress):
            raise OSError("the page was closed")

        def on_train_end(self, trainer):
            told.append("end")

    with pytest.raises(OSError, match="the page was closed"):
        new_trainer(callbacks=[Listen()]).fit(*sets, epochs=1)
    assert told == ["end"]


def console(width=80, terminal=False):
    import io

    from rich.console import Console

    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def test_the_epoch_table_is_one_plain_line_an_epoch(sets, tmp_path):
    screen = console(width=40)
    trainer = new_trainer(out=tmp_path, callbacks=[EpochTable(screen), ProgressBar(screen)])
    rows = trainer.fit(*sets, epochs=2).rows
    lines = screen.file.getvalue().splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 80 and "\x1b" not in line for line in lines)
    for line, row in zip(lines[2:], rows, strict=True):
        words = line.split()
        assert words[:8] == [
            str(row.epoch),
            f"{row.rate:.2g}",
            f"{row.train_loss:.4f}",
            f"{row.train_errors / 2:.2f}%",
            str(row.train_errors),
            f"{row.test_loss:.4f}",
            f"{100 * row.test_errors / 60:.2f}%",
            str(row.test_errors),
        ]
    assert lines[2].endswith("*")
    screen = console()
    resumed = Trainer.resume(tmp_path, callbacks=[EpochTable(screen)])
    resumed.fit(*sets, epochs=3)
    again = screen.file.getvalue().splitlines()
    assert again[:4] == lines
    assert len(again) == 5


def test_the_progress_bar_on_a_terminal(sets):
    screen = console(terminal=True)
    bar = ProgressBar(screen)
    new_trainer(callbacks=[bar, EpochTable(screen)]).fit(*sets, epochs=1)
    shown = screen.file.getvalue()
    assert re.search(r"epoch 1/1 .*% wrong +[\d,]+ images/s +[\d.]+ s left", shown)
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is back


@pytest.mark.parametrize(
    ("width", "words"),
    [(80, ["loss", "wrong", "images/s", "left"]), (62, ["loss", "wrong", "left"]), (40, ["left"])],
)
def test_a_narrow_terminal_gets_fewer_words_and_whole_numbers(sets, width, words):
    screen = console(terminal=True, width=width)
    new_trainer(callbacks=[ProgressBar(screen)]).fit(*sets, epochs=12)
    lines = re.sub(r"\x1b\[[\d?;]*\w", "", screen.file.getvalue()).replace("\n", "\r").split("\r")
    assert max(map(len, lines)) <= width
    seen = [line.rstrip() for line in lines if line.startswith("epoch 12/12")]
    assert seen
    for line in seen:
        assert "…" not in line
        assert [word for word in ("loss", "wrong", "images/s", "left") if word in line] == words


def test_the_time_left_is_that_of_the_whole_run(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now[0])
    clock = callbacks._Clock()

    def left(seconds, phase, epoch, images):
        now[0] = 100 + seconds
        told = callbacks.Progress(phase, epoch, 4, images, 100, 0.0, 0, 10.0)
        return clock.left(told, now[0])

    assert left(5, "train", 1, 50) == (50 + 300) / 10  # by images/s
    assert left(12, "evaluate", 1, 10) == 3 * 12  # by the epoch so far
    assert left(15, "train", 2, 1) == 2 * 15 + 15  # by the epoch before
    assert left(20, "evaluate", 2, 1) == 2 * 15 + 10
    assert left(50, "evaluate", 2, 100) == 2 * 15
    assert left(51, "train", 3, 1) == 36 + 36
    assert [callbacks._duration(each) for each in (0.26, 9.94, 9.96, 59.4, 59.6, 80, 7500)] == [
        *("0.3 s", "9.9 s", "10 s", "59 s", "1:00 min", "1:20 min", "2:05 h")
    ]


def test_the_table_says_where_large_layers_gain_less(sets, caplog):
    net = Network([Dense(784, 300), ReLU(), Dense(300, 10)], input_shape=(1, 28, 28))
    net.initialise("he_normal", 0)
    for verbose, said in ((False, 0), (True, 1)):
        Trainer(net).fit(*sets, epochs=1, verbose=verbose)
        assert caplog.text.count("99% of the multiply-adds are in") == said
    new_trainer().fit(*sets, epochs=1, verbose=True)
    assert len(caplog.records) == 1


def test_fit_shows_the_progress_where_it_is_seen(sets, monkeypatch, capsys):
    fit = partial(new_trainer().fit, *sets, epochs=1)
    fit()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for verbose, lines in (("auto", 3), (True, 3), (1, 3), (False, 0), (0, 0)):
        new_trainer().fit(*sets, epochs=1, verbose=verbose)
        shown = capsys.readouterr().out
        assert shown.count("\n") >= lines
        assert ("epoch    rate" in shown) is (lines > 0)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    new_trainer().fit(*sets, epochs=1, verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 3
    new_trainer(callbacks=[EpochTable(console())]).fit(*sets, epochs=1, verbose=True)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)  # as under pythonw
    fit()
    for wrong in (2, "always", None, "True"):
        with pytest.raises(TypeError, match="verbose: expected True, False or 'auto', got"):
            new_trainer().fit(*sets, epochs=1, verbose=wrong)


# --- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"average_from": 1}])
def test_evaluate_says_what_the_history_says(sets, options):
    train, test = sets
    trainer = new_trainer(**options)
    trainer.fit(train, test, epochs=2)
    row = trainer.history.rows[-1]
    result = trainer.evaluate(test)
    assert (result.errors, result.count) == (row.test_errors, 60)
    assert result.loss == pytest.approx(row.test_loss, rel=1e-6)
    assert result.accuracy == 1 - row.test_errors / 60
    confusion = np.zeros((10, 10), int)
    for label, found in zip(test.labels, trainer.result.classify(test.images), strict=True):
        confusion[label, found] += 1
    np.testing.assert_array_equal(result.confusion, confusion)
    assert 0 < result.errors < 60
    assert repr(result) == (
        f"Evaluation({result.errors} of 60 images wrong, accuracy {result.accuracy:.4f}, "
        f"loss {result.loss:.4f})"
    )


def test_what_cannot_be_evaluated(sets):
    trainer = new_trainer()
    with pytest.raises(
        TypeError,
        match=r"dataset: expected a Dataset, .* got tuple of ndarray of dtype \w+, ndarray[\w ]+$",
    ):
        trainer.evaluate((sets[1].images, sets[1].labels))
    with pytest.raises(ValueError, match="dataset: expected at least one image, got none"):
        trainer.evaluate(sets[1].subset(0))


def test_what_a_trainer_and_a_history_say(sets, tmp_path):
    trainer = new_trainer(out=tmp_path / "run", average_from=1, distortion="paper", seed=3)
    assert repr(trainer.history) == "History(no epoch yet)"
    assert "<svg" not in trainer._repr_html_()
    history = trainer.fit(*sets, epochs=2)
    text = repr(trainer)
    for part in (
        "Trainer(network=<11 layers, 60,",
        "optimiser=SGD(momentum=0.9",
        "seed=3",
        "average_from=1",
        f"out={str(tmp_path / 'run')!r}",
        "history=<2 epochs>)",
    ):
        assert part in text, text
    assert "\n" not in text
    best = history.best
    assert repr(history) == (
        f"History(2 epochs; best: epoch {best.epoch}, {best.test_errors} of 60 test images wrong, "
        f"{best.test_errors / 0.6:.2f} %)"
    )
    curve = history._repr_html_()
    assert curve.count("<polyline") == 2
    assert f"test {history.rows[-1].test_errors / 0.6:.2f} %" in curve
    assert trainer._repr_html_().endswith(f"{curve}</div>")
    history.rows.pop()
    history.interrupted = True
    assert repr(history).startswith("History(1 epoch, interrupted; best: epoch 1, ")
    assert "<svg" not in history._repr_html_()  # one epoch is no curve
    without = History(history.rows * 2, 200)
    assert repr(without) == "History(2 epochs)"
    assert without._repr_html_().count("<polyline") == 1
    assert repr(trainer.engine).startswith("LanesEngine(<11 layers>, CrossEntropy(), backend='")


@pytest.mark.parametrize(
    ("ends", "apart"), [((50, 80), (50, 80)), ((50, 52), (44.5, 57.5)), ((98, 97), (98, 85))]
)
def test_labels_of_a_curve_do_not_overlap(ends, apart):
    assert tuple(notebooks._apart(ends, 13, 98)) == apart


def test_results_draw_themselves(sets):
    pytest.importorskip("matplotlib")
    trainer = new_trainer()
    with pytest.raises(ValueError, match="expected at least one epoch"):
        trainer.history.plot()
    history = trainer.fit(*sets, epochs=2)
    axes = history.plot(log=True).axes[0]
    assert axes.get_yscale() == "log"
    expected = [row.test_errors / 0.6 for row in history.rows]
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
    assert any(np.allclose(rates, expected) for rates in drawn)
    result = trainer.evaluate(sets[1])
    title = result.plot().axes[0].get_title()
    assert title.startswith(f"{result.errors} of 60 digits misclassified")


# --- what the network remembers ------------------------------------------------------------------


def turned(dataset):
    return data.Dataset(255 - dataset.images, dataset.labels, "turned")


@pytest.mark.parametrize("average_from", [None, 1])
def test_a_network_remembers_whether_ink_was_dark(sets, tmp_path, average_from):
    for inverted in (True, False):
        train, test = map(turned, sets) if inverted else sets
        out = tmp_path / f"{inverted}"
        trainer = new_trainer(out=out, average_from=average_from)
        trainer.fit(train, test, epochs=1)
        assert trainer.result.inverted is inverted
        assert files.load_model(out).inverted is inverted
        assert Trainer.resume(out).network.inverted is inverted


def test_images_that_nothing_else_would_be_like_are_refused(sets, tmp_path):
    train, test = sets
    for pixels, got in ((train.images // 3, "0 to 85"), (100 + train.images // 3, "100 to 185")):
        other = data.Dataset(pixels, train.labels, "other")
        with complains("train", about="from 0 (background) to 255 (foreground)", got=got):
            new_trainer(out=tmp_path / "run").fit(other, test, epochs=1)
    assert not (tmp_path / "run").exists()
    trainer = new_trainer()
    trainer.network.pixel_range_known = False
    with complains("network", about="values of the bytes 0 and 255"):
        trainer.fit(train, test, epochs=1)
