"""Recipes, their runs, and the report of them."""

import csv
import dataclasses
import json
import os
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import missing
from PIL import Image

from lenet_fast import data, engines, models, plots
from lenet_fast.cli import common, group
from lenet_fast.cli.reproduce import NAMES
from lenet_fast.errors import FileFormatError
from lenet_fast.initialisers import deferred
from lenet_fast.jobs import runner as carrying_out
from lenet_fast.jobs.runner import Stopped, run_all
from lenet_fast.losses import MAP, CrossEntropy
from lenet_fast.reproduce import (
    boosting,
    catalogue,
    paper_figures,
    recipes,
    results,
    runner,
    summary,
    training,
)
from lenet_fast.training import SGD, Constant, Row, Trainer

ALL = {recipe.name: recipe for group in catalogue.RECIPES.values() for recipe in group}

TINY = dataclasses.replace(
    catalogue.SEED0, name="tiny", epochs=2, schedule=Constant(0.05), digits=recipes.as_they_are
)


@pytest.fixture(scope="module")
def splits():
    sample = data.load("sample")
    return dataclasses.replace(sample, train=sample.train.subset(300), test=sample.test.subset(100))


def run(jobs, splits, out, *, at_once=1, finished=lambda job, result: None):
    return run_all(
        jobs,
        {None: splits},
        out,
        at_once=at_once,
        threads=1,
        report=lambda *_: None,
        finished=finished,
    )


# ------------------------------------------------------------------ the catalogue


def test_the_command_knows_every_name():
    assert list(NAMES) == list(catalogue.RECIPES)


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
def test_a_recipe_fits_together(recipe):
    assert recipe.name in ALL
    network = recipe.network(3)
    again, other = recipe.network(3), recipe.network(4)
    name = network.trainable_names[0]
    np.testing.assert_array_equal(network.parameters[name], again.parameters[name])
    assert (network.parameters[name] != other.parameters[name]).any()
    trainer = Trainer(
        network,
        recipe.loss,
        optimiser=recipe.optimiser(),
        schedule=recipe.schedule,
        batch_size=recipe.batch_size,
        distortion=recipe.distortion,
        average_from=recipe.average_from,
    )
    assert trainer.engine.name == ("online" if recipe.batch_size == 1 else "lanes")
    assert recipe.schedule.rate(recipe.epochs) > 0
    json.dumps(recipe.description())


def test_recipes_are_what_the_papers_count():
    counts = {
        "1989": (9_760, 64_660),
        "seed2": (9_760, 64_660),
        "lenet1": (2_578, 98_442),
        "lenet4": (50_673, 259_806),
        "lenet5": (60_000, 340_908),
        "lenet5-distorted": (60_000, 340_908),
    }
    for name, expected in counts.items():
        assert ALL[name].network(0).counts()[1:] == expected
    assert [recipe.loss.config()["j"] for recipe in catalogue.SWEEP][
        :: len(catalogue.SWEEP) - 1
    ] == [
        1,
        100,
    ]


def test_karpathys_network():
    network = ALL["1989"].network(0)
    assert set(network.parameters["OUTPUT.b"]) == {-1}
    largest = np.abs(network.parameters["H1.w"]).max()
    assert 0.9 * 2.4 / 5 < largest <= 2.4 / 5  # F = 25
    few = ALL["1989"].digits(data.load("sample"), 0)
    assert (few.train.images.shape, few.test.images.shape) == ((5000, 16, 16), (1000, 16, 16))
    other = ALL["1989"].digits(data.load("sample"), 1)
    assert (few.train.labels != other.train.labels).any()


@pytest.mark.slow
def test_karpathys_run_from_his_very_weights_and_order():
    """A. Karpathy (karpathy/lecun1989-repro) reports, after 23 passes, losses of 4.073e-3 and
    2.838e-2, and 45 and 82 errors. PyTorch's generator is MT19937, so NumPy draws his weights; he
    draws the digits with NumPy, those of the test set first. In the first passes his code, run
    here, has the same errors as ours, to the digit. Then rounding is amplified: in eight runs of
    ours, with other instruction sets or with 1e-6 added to a weight, 44 to 46 and 81 to 89.
    """
    if not os.environ.get("LENET_FAST_DATA"):
        missing("MNIST, in the folder of LENET_FAST_DATA")
    splits = data.load("mnist")
    at = 28 / 16 * (np.arange(16) + 0.5) - 0.5
    bilinear = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(28)))
    order = np.random.RandomState(1337)
    sets = {}
    for name, dataset, count in (("test", splits.test, 2007), ("train", splits.train, 7291)):
        drawn = order.permutation(len(dataset))[:count]
        images = bilinear @ (dataset.images[drawn] / 127.5 - 1) @ bilinear.T
        sets[name] = images[:, None].astype(np.float32), dataset.labels[drawn]

    source = np.random.MT19937()
    source._legacy_seeding(1337)  # torch.manual_seed(1337)

    def weights(fan_in, *shape):
        bits = source.random_raw(int(np.prod(shape))).astype(np.uint32) & 0xFFFFFF
        uniform = bits.astype(np.float32) * np.float32(2**-24)  # torch.rand
        centred = (uniform - np.float32(0.5)) * 2 * np.float32(2.4)
        return (centred / np.float32(fan_in**0.5)).reshape(shape)

    with deferred():
        network = models.lenet1989(activation="tanh")
    p = network.parameters
    p["H1.w"][...] = weights(25, 12, 1, 5, 5)
    p["H2.w"][network.layers[2].table] = weights(200, 96, 5, 5)
    p["H3.w"][...] = weights(192, 192, 30).T
    p["OUTPUT.w"][...] = weights(30, 30, 10).T
    p["OUTPUT.b"][...] = -1

    recipe = ALL["1989"]
    engine = engines.create(network, recipe.loss, batch_size=1, threads=1)
    errors = []
    for _ in range(recipe.epochs):
        engine.train(*sets["train"], np.arange(7291), 1, recipe.optimiser(), 0.03)
        train, test = engine.evaluate(*sets["train"]), engine.evaluate(*sets["test"])
        errors.append((train.errors, test.errors))
    assert errors[:6] == [(656, 206), (493, 168), (393, 152), (325, 146), (253, 114), (230, 114)]
    assert abs(train.errors - 45) <= 3
    assert abs(test.errors - 82) <= 8
    assert train.loss / 7291 == pytest.approx(4.073e-3, rel=0.05)
    assert test.loss / 2007 == pytest.approx(2.838e-2, rel=0.03)


def test_validation_keeps_away_from_the_test_set(splits):
    mine = recipes.validation(splits)
    np.testing.assert_array_equal(
        np.concatenate([mine.train.images, mine.test.images]), splits.train.images
    )
    np.testing.assert_array_equal(
        np.concatenate([mine.train.labels, mine.test.labels]), splits.train.labels
    )
    assert (len(mine.train), len(mine.test)) == (250, 50)


# ------------------------------------------------------------------ runs


def test_runs_at_once_are_those_of_one_after_the_other(splits, tmp_path):
    jobs = [runner.Job(TINY, seed) for seed in (0, 1, 2)]
    one, two = (run(jobs, splits, tmp_path / str(n), at_once=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert (a.seed, a.predicted, a.train_errors) == (b.seed, b.predicted, b.train_errors)
        wrong = np.array(a.predicted) != splits.test.labels
        assert a.test_errors == wrong.sum()
        assert len(a.rows) == 2
        assert a.rows[-1]["test_errors"] == a.test_errors  # the network at the end
    assert one[0].predicted != one[1].predicted
    saved = results.load(tmp_path / "1" / jobs[0].name)
    assert saved == one[0]
    assert (tmp_path / "1" / jobs[0].name / results.MODEL).exists()


def test_what_is_there_is_not_computed_again(splits, tmp_path):
    (first,) = run([runner.Job(TINY, 0)], splits, tmp_path)
    file = tmp_path / "tiny" / "seed-0" / results.RESULT
    before = file.stat().st_mtime_ns
    assert run([runner.Job(TINY, 0)], splits, tmp_path) == [first]
    assert file.stat().st_mtime_ns == before
    # Another recipe under the same name, other data, or a file cut short: anew.
    changed = dataclasses.replace(TINY, schedule=Constant(0.1))
    (second,) = run([runner.Job(changed, 0)], splits, tmp_path)
    assert second.description != first.description
    fewer = dataclasses.replace(splits, train=splits.train.subset(200))
    (third,) = run([runner.Job(changed, 0)], fewer, tmp_path)
    assert third.train_images == 200
    file.write_text(file.read_text()[:100])
    (fourth,) = run([runner.Job(changed, 0)], fewer, tmp_path)
    assert fourth.predicted == third.predicted


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: [saved],
        lambda saved: saved | {"code": []},
        lambda saved: saved | {"seconds": "1"},
        lambda saved: saved | {"rows": [{"epoch": 1}]},
        lambda saved: saved | {"predicted": saved["predicted"][1:]},
        lambda saved: saved | {"train_images": 0},
        lambda saved: {"recipe": "tiny"},
        lambda saved: saved | {"code": {"lenet_fast": "1"}},
        lambda saved: saved | {"threads": 0},
        lambda saved: saved | {"seconds": float("inf")},
        lambda saved: saved | {"remarks": {"error (%)": "1"}},
        lambda saved: saved | {"train_errors": 2001},
        lambda saved: saved | {"test_errors": -1},
        lambda saved: saved | {"predicted": [1, 2, 10]},
        lambda saved: saved | {"predicted": [1, 2, 3.0]},
        lambda saved: saved | {"rates": [1.0, 2.0]},
        lambda saved: saved | {"rates": [1.0, 2.0, float("nan")]},
        lambda saved: saved | {"rows": [saved["rows"][0] | {"test_loss": float("inf")}]},
        lambda saved: saved | {"rows": saved["rows"] * 2},
    ],
)
def test_a_damaged_result_is_none(damage, tmp_path):
    row = Row(1, 1.0, 2000.0, 0.5, 4, 0.25, 1, 0.1)
    saved = result(
        0, 1, test_images=3, predicted=[1, 2, 3], seconds=2.0, rows=[dataclasses.asdict(row)]
    )
    saved.save(tmp_path)
    assert results.load(tmp_path) == saved
    file = tmp_path / results.RESULT
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    assert results.load(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "{}", "null"])
def test_what_is_no_result_is_none(content, tmp_path):
    (tmp_path / results.RESULT).write_text(content)
    assert results.load(tmp_path) is None


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
@pytest.mark.parametrize("target", [None, "/dev/zero"])
def test_a_result_that_never_ends_is_refused(target, tmp_path):
    if target is None:
        os.mkfifo(tmp_path / results.RESULT)
    else:
        (tmp_path / results.RESULT).symlink_to(target)
    with pytest.raises(
        FileFormatError, match=r"result\.json: expected a regular file, got a device or a pipe"
    ):
        results.load(tmp_path)


def test_a_run_that_diverges_says_so(splits, tmp_path):
    wild = dataclasses.replace(TINY, schedule=Constant(1e30))
    (found,) = run([runner.Job(wild, 0)], splits, tmp_path)
    assert "lower" in found.failed
    section = summary.Section("tiny", [(wild, [found])])
    assert "| failed |" in summary.table([section])
    assert found.failed in summary.markdown([section], "x", "digits", {})


def test_ctrl_c_stops_all_runs_and_they_go_on_later(splits, tmp_path):
    interrupted = threading.Event()

    def interrupt(job, result):
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    long = dataclasses.replace(TINY, name="long", epochs=200)
    jobs = [runner.Job(TINY, 0), runner.Job(long, 0)]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, splits, tmp_path, at_once=2, finished=interrupt)
    assert results.load(tmp_path / "tiny/seed-0") is not None
    assert results.load(tmp_path / "long/seed-0") is None


def test_rates_of_the_first_epoch(splits, tmp_path):
    small = dataclasses.replace(splits, train=splits.train.subset(60))
    recipe = dataclasses.replace(catalogue.LENET5, epochs=1)
    (found,) = run([runner.Job(recipe, 0)], small, tmp_path)
    least, middle, most = found.rates
    # Absent links have no curvature, and thus the largest rate of all; they are no weights.
    assert 0 < least < middle < most < 0.999 * 0.0005 / catalogue.MU


def test_images_that_are_rejected_for_an_error():
    labels = np.zeros(10, int)
    outputs = np.zeros((10, 3))
    outputs[:, 0] = np.arange(10, 0, -1)  # right, the last ones barely
    outputs[[2, 9], 1] = 10.5, 3  # wrong, by 2.5 and by 2
    expected = {100: 0, 20: 0, 19.9: 20, 13: 20, 12.5: 20, 12.4: 30, 0: 30}
    for most, share in expected.items():
        assert training.rejected(outputs, labels, most) == share, most
    assert training.rejected(outputs[2:3], labels[2:3], 50) == 100


@pytest.mark.slow
def test_the_network_of_1989_on_its_zip_codes(tmp_path, monkeypatch):
    """The paper: 5.0 % errors on the test set, 0.14 % on the training set."""
    folder = Path(os.environ.get("LENET_FAST_DATA", "")).parent / "usps"
    if not folder.is_dir():
        missing("the zip codes, in a folder usps beside that of LENET_FAST_DATA")
    monkeypatch.setattr(summary, "RECIPES", {"1989-usps": (catalogue.LENET1989_USPS,)})
    arguments = ["reproduce", "1989-usps", "--data", str(folder), "--seeds", "2", "--jobs", "2"]
    done = CliRunner().invoke(group, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = (tmp_path / summary.REPORT).read_text()
    for name in ("1989-usps--errors", "1989-usps--losses", "1989-usps--mistakes", "usps-samples"):
        assert f"({name}.png)" in text
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "- test images to reject for 1 % errors among the others (%): 1" in text
    for seed in (0, 1):
        found = results.load(tmp_path / f"1989-usps/seed-{seed}")
        assert (found.train_images, found.test_images) == (7291, 2007)
        assert found.test_errors < 0.06 * 2007
        assert found.train_errors < 0.004 * 7291


def test_scores_add_up_and_turn_penalties_round(splits):
    nets = [models.lenet5(seed=seed) for seed in (0, 1)]
    images = splits.test.images[:5]
    expected = -(nets[0].predict(images) + nets[1].predict(images))
    np.testing.assert_allclose(training.scores(nets, images, 1), expected, rtol=1e-5)
    net = models.lenet5(output="softmax")
    np.testing.assert_allclose(training.scores([net], images, 1), net.predict(images), rtol=1e-5)


# ------------------------------------------------------------------ boosting


def test_the_sets_of_the_second_and_third_network(splits, monkeypatch):
    """The label is in the first pixel; the first network is wrong for 3, the second for 4."""
    y = np.tile(np.arange(10, dtype=np.uint8), 30)
    x = np.zeros((300, 4, 4), np.uint8)
    x[:, 0, 0], x[:, 0, 1] = y, np.arange(300) % 256

    def said(networks, images, threads):
        labels = images[:, 0, 0].copy()
        labels[labels == networks[0]] = 0
        return np.eye(10)[labels]

    monkeypatch.setattr(boosting, "scores", said)
    watch = training.Watch(lambda done: None, threading.Event())
    hard = boosting._hard(iter([(x, y)] * 5), [3], 100, 1, watch, lambda done: None)
    assert len(hard) == 100
    assert (hard.labels == 3).sum() == 50
    np.testing.assert_array_equal(hard.labels, hard.images[:, 0, 0])
    assert len(set(hard.labels[hard.labels != 3].tolist())) == 9  # from all over the set
    hard = boosting._hard(iter([(x, y)] * 5), [3, 4], 100, 1, watch, lambda done: None)
    assert len(hard) == 100
    assert set(hard.labels.tolist()) == {3, 4}
    with pytest.raises(training.NothingToLearn, match="network 2 has nothing to learn from"):
        boosting._hard(iter([(x, y)]), [11], 100, 1, watch, lambda done: None)
    watch.stop.set()
    with pytest.raises(Stopped):
        boosting._hard(iter([(x, y)]), [3], 100, 1, watch, lambda done: None)


def test_three_networks_and_where_the_first_is_unsure(splits, tmp_path):
    small = dataclasses.replace(splits, train=splits.train.subset(60))
    recipe = dataclasses.replace(
        catalogue.BOOSTED_LENET4, epochs=1, batch_size=20, optimiser=SGD, schedule=Constant(0.01)
    )
    (found,) = run([runner.Job(recipe, 0)], small, tmp_path)
    assert len(found.remarks) == 5
    names = [f"{i}-{results.MODEL}" for i in (1, 2, 3)]
    from lenet_fast import files

    nets = [files.read_model(tmp_path / "boosted-lenet4/seed-0" / name).network for name in names]
    images = small.test.images
    outputs = [net.predict(images) for net in nets]
    assert found.predicted == sum(outputs).argmax(axis=1).tolist()
    unsure = boosting.where_unsure(nets, images, 1)
    alone = np.isclose(unsure, outputs[0], rtol=1e-4).all(axis=1)
    assert alone.sum() == pytest.approx(100 * (1 - (boosting.COST - 1) / 2), abs=1)
    rest = np.isclose(unsure, sum(outputs), rtol=1e-4).all(axis=1)
    assert (alone | rest).all()


# ------------------------------------------------------------------ the report


def result(seed, errors, **options):
    options = {"test_images": 1000, "train_images": 2000, "train_errors": 4, "seconds": 2} | options
    code = {"lenet_fast": "1", "numpy": "2", "backend": "cython"}
    return results.Result("tiny", seed, {}, code, {}, test_errors=errors, **options)


def test_the_figures_of_seeds():
    found = [result(0, 10), result(1, 20), result(2, 30), result(3, 0, failed="it diverged")]
    numbers = summary.figures(found)
    assert numbers[:4] == pytest.approx((2.0, 1.0, 1.0, 3.0))
    assert numbers[4:] == pytest.approx((0.2, 2, 3))
    text = summary.table([summary.Section("tiny", [(TINY, found)])])
    row = text.splitlines()[-1]
    assert "**2.00** ± 1.00 (1.00 to 3.00) | 0.20 | 3 | 2 |" in row
    assert row.startswith(f"| tiny | {TINY.title} | {TINY.published} |")
    one = summary.table([summary.Section("tiny", [(TINY, found[:1])])])
    assert "| **1.00** | 0.20 | 1 |" in one


def test_the_command(tmp_path):
    tmp_path /= "new/folder"
    arguments = ["reproduce", "1989", "--quick", "--dataset", "sample", "--out", str(tmp_path)]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    text = (tmp_path / summary.REPORT).read_text()
    assert "9,760 free parameters, 64,660 connections" in text
    for name in ("1989--errors", "1989--mistakes", "data-samples", "data-classes"):
        assert f"({name}.png)" in text
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    with open(tmp_path / summary.TABLE) as file:
        (row,) = csv.DictReader(file)
    saved = results.load(tmp_path / "1989/seed-0")
    assert int(row["test_errors"]) == saved.test_errors
    assert saved.test_rate < 15  # it learned: chance is 90
    assert f"**{saved.test_rate:.2f}**" in done.output


@pytest.mark.slow
def test_the_figures_of_1998(tmp_path, monkeypatch):
    """A picture each, whose numbers are those of the results."""

    def few(count):
        def digits(splits, seed):
            test = splits.test.subset(100)
            return dataclasses.replace(splits, train=splits.train.subset(count), test=test)

        return digits

    sizes = {catalogue.SIZES[0].name: 60, catalogue.SIZES[1].name: 120}
    tiny = tuple(
        dataclasses.replace(
            recipe,
            epochs=1,
            digits=few(sizes.get(recipe.name.replace("-distorted", ""), 200)),
            optimiser=SGD,
            schedule=Constant(0.001),
        )
        for recipe in catalogue.RECIPES["figures"]
    )
    drawn, reach = {}, []
    for name in ("errors", "sweep", "mistakes", "bars", "readings"):
        plain = getattr(plots, name)

        def keep(*arguments, plain=plain, name=name, **options):
            drawn.setdefault(name, []).append(arguments)
            if options.get("spreads") is not None:
                reach.append(options["spreads"]["ours"])
            return plain(*arguments, **options)

        monkeypatch.setattr(plots, name, keep)
    monkeypatch.setattr(summary, "RECIPES", {"figures": tiny})
    arguments = ["reproduce", "figures", "--seeds", "2", "--jobs", "2", "--dataset", "sample"]
    done = CliRunner().invoke(group, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = (tmp_path / summary.REPORT).read_text()
    for figure in ("5-passes", "6-sizes", "8-mistakes", "10-rejects", "11-operations"):
        assert f"(figures--{figure}.png)\n\nFigure {figure.partition('-')[0]}: " in text
        assert (tmp_path / f"figures--{figure}.png").read_bytes()[:4] == b"\x89PNG"
    runs = {
        recipe.name: [results.load(tmp_path / f"{recipe.name}/seed-{seed}") for seed in (0, 1)]
        for recipe in tiny
    }
    [([histories], _)] = drawn["errors"]
    assert [each.rows for each in histories] == [each.history().rows for each in runs["lenet5"]]
    [(images, means, spreads, *_)] = drawn["sweep"]
    assert images == [60, 120, 200]
    names = ["lenet5-distorted-15000", "lenet5-distorted-30000", "lenet5-distorted"]
    rates = np.array([[each.test_rate for each in runs[name]] for name in names])
    np.testing.assert_allclose(means["test, distortions"], rates.mean(axis=1))
    np.testing.assert_allclose(
        spreads["test, distortions"][1], rates.max(axis=1) - rates.mean(axis=1), atol=1e-9
    )
    assert means["training"][2] == np.mean([each.train_rate for each in runs["lenet5"]])
    [(_, labels, predicted)] = drawn["mistakes"]
    median = results.middle(runs["lenet5-distorted"])
    assert (labels != predicted).sum() == median.test_errors
    (_, rejects, _), (_, operations, _), (_, memory, _) = drawn["bars"]
    low, high = sorted(sum(each.remarks.values()) for each in runs["lenet1"])
    np.testing.assert_allclose(rejects["ours"][0], (low + high) / 2)
    [(below, above)] = reach
    np.testing.assert_allclose((below[0], above[0]), (high - low) / 4, atol=1e-9)
    assert "Lines are means of 2 seeds; bands" in text
    assert "Points are means of" in text
    assert "Bars are medians of" in text
    assert f"of that kind, the median of 2 seeds (seed {median.seed})." in text
    assert operations["ours"][:3] == [98_442, 259_806, 340_908]
    assert memory["ours"] == [2_578, 50_673, 60_000, 3 * 50_673]
    [(network, digits, words, labels)] = drawn["readings"]
    assert [int(word.split()[1]) for word in words] == labels.tolist()
    right = network.classify(digits) == labels
    assert f"LeNet-5 of figure 8: {right.sum()} of 9 are right" in text


def test_the_section_on_mu_describes_its_recipes(splits):
    """A picture of all curves, no mistakes, and what each recipe reads into the paper."""
    row = dataclasses.asdict(Row(1, 1.0, 2000.0, 0.5, 4, 0.25, 1, 0.1))
    parts = [(recipe, [result(0, 10, rows=[row])]) for recipe in catalogue.PAPERS_MU]
    section = summary.Section("mu", parts)
    pictures = summary._pictures([section], {None: splits})
    assert [name for name in pictures if name.startswith("mu")] == ["mu--errors"]
    text = summary.markdown([section], "x", "digits", {})
    assert "## mu: The constant mu of the rates" in text
    for recipe in catalogue.PAPERS_MU:
        assert f"`{recipe.optimiser()}`" in text
        assert all(f"- {each}" in text for each in recipe.chosen)


def test_a_section_does_not_tell_the_same_twice():
    parts = [(recipe, [result(0, 10)]) for recipe in catalogue.PAPERS_MU]
    text = summary.markdown([summary.Section("mu", parts)], "x", "digits", {})
    assert text.count("RateList") == 1
    assert text.count("Trained likewise, but with `SDLM(") == 3
    parts = [(recipe, [result(0, 10)]) for recipe in catalogue.SEED1]
    text = summary.markdown([summary.Section("seed1", parts)], "x", "digits", {})
    assert text.count("Trained likewise.") == 2
    parts = [(recipe, [result(0, 10)]) for recipe in catalogue.RECIPES["1989-usps"]]
    text = summary.markdown([summary.Section("1989-usps", parts)], "x", "digits", {})
    assert "likewise" not in text, "of recipes that differ in much"


def test_one_seed_has_no_range():
    parts = {
        recipe.name: (recipe, [result(0, 10, remarks={results.REJECTED.format(0.5): 1.0})])
        for recipe in catalogue.RECIPES["figures"]
    }
    drawn = paper_figures._rejects(parts)
    assert drawn is not None
    assert "seeds" not in drawn.caption
    assert len(drawn.picture.axes[0].containers) == 1, "no error bars"


def test_figures_whose_runs_failed_are_left_out(tmp_path):
    parts = {recipe.name: (recipe, []) for recipe in catalogue.RECIPES["figures"]}
    drawn = paper_figures.draw(parts, data.load("sample"), tmp_path)
    assert list(drawn) == ["11-operations", "12-memory"]


def test_no_sizes_of_a_training_set_that_is_smaller():
    parts = {recipe.name: (recipe, [result(0, 10)]) for recipe in catalogue.RECIPES["figures"]}
    assert paper_figures._sizes(parts) is None
    name = catalogue.SIZES[0].name
    parts[name] = (catalogue.SIZES[0], [result(0, 10, train_images=500)])
    drawn = paper_figures._sizes(parts)
    assert [word.get_text() for word in drawn.picture.axes[0].get_xticklabels()] == ["500", "2,000"]


def test_fewer_training_images_are_drawn_by_the_seed():
    sample = data.load("sample")
    digits = recipes.training_images(100)
    assert digits.__name__ == "training_images_100"
    one, again, other = (digits(sample, seed) for seed in (0, 0, 1))
    assert len(one.train) == 100
    assert one.test is sample.test
    np.testing.assert_array_equal(one.train.images, again.train.images)
    assert (one.train.images != other.train.images).any()

    def pairs(train):
        return {x.tobytes() + bytes([y]) for x, y in zip(train.images, train.labels, strict=True)}

    assert len(pairs(one.train)) == 100
    assert pairs(one.train) <= pairs(sample.train)


def test_the_command_says_which_runs_failed(tmp_path, monkeypatch):
    def few(splits, seed):
        return dataclasses.replace(splits, train=splits.train.subset(64))

    wild = dataclasses.replace(TINY, name="wild", schedule=Constant(1e30), digits=few)
    monkeypatch.setattr(summary, "RECIPES", {"seed0": (wild,)})
    out = tmp_path / "new" / "folder"
    arguments = ["reproduce", "seed0", "--quick", "--dataset", "sample", "--out", str(out)]
    done = CliRunner().invoke(group, arguments)
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert "some runs failed" in done.output
    text = (out / summary.REPORT).read_text()
    assert "wild, seed 0: epoch 1, after" in text
    assert "reproduce seed0 --quick --dataset sample`" in text


def test_what_to_type_after_ctrl_c(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(carrying_out, "run_all", stopped)
    options = ["--seeds", "2", "--dataset", "sample"]
    arguments = ["reproduce", "1989", *options, "--out", str(tmp_path / "a b"), "--jobs", "3"]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == common.STOPPED
    assert shlex.join(arguments) in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["1989", "--quick"], "1 in {out}"),
        (["1989", "--seeds", "1", "--jobs", "2"], "1 in {out}"),
        (["1989", "--seeds", "2", "--jobs", "8"], "2 in {out}, 2 at once"),
        (["1989", "--seeds", "5", "--jobs", "2"], "5 in {out}, 2 at once"),
        (["1989", "--seeds", "5", "--jobs", "1"], "5 in {out}, one after the other"),
        # Each on all threads.
        (["best", "--seeds", "3", "--jobs", "2"], "3 in {out}, one after the other"),
    ],
)
def test_how_many_runs_go_on_at_once_is_told_as_it_is(tmp_path, monkeypatch, options, said):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(carrying_out, "run_all", stopped)
    monkeypatch.setenv("COLUMNS", "400")  # a path of any length
    arguments = ["reproduce", *options, "--dataset", "sample", "--out", str(tmp_path)]
    done = CliRunner().invoke(group, arguments)
    assert f"\nruns      {said.format(out=tmp_path)}\n" in done.output


def test_recipes_are_for_ten_digits(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for k in range(12):
            image = np.random.default_rng(k).integers(0, 255, (28, 28), np.uint8)
            Image.fromarray(image).save(tmp_path / "animals" / name / f"{k}.png")
    options = ["--data", str(tmp_path / "animals"), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(group, ["reproduce", "seed0", *options])
    assert done.exit_code == 2, done.output
    assert "expected ten digits, got 2 classes" in done.output


@pytest.mark.parametrize("arguments", [["lenet9"], [], ["1989", "--seeds", "0"]])
def test_wrong_arguments(arguments):
    assert CliRunner().invoke(group, ["reproduce", *arguments]).exit_code == 2


def test_the_middle_run_is_drawn(splits):
    """The picture of mistakes is that of the run with the median of the errors."""
    labels = splits.test.labels
    found = []
    for seed, wrong in enumerate((9, 1, 4)):
        predicted = labels.astype(int).copy()
        predicted[:wrong] = (predicted[:wrong] + 1) % 10
        found.append(result(seed, wrong, predicted=predicted.tolist(), test_images=100))
    picture = summary._mistakes(TINY, found, splits)
    titles = [axes.get_title().partition(" (")[0] for axes in picture.axes]
    assert titles == ["4 of 100 digits misclassified"]


def test_pictures_leave_failed_runs_out(splits):
    predicted = splits.test.labels.tolist()
    failed = [result(seed, 0, failed="it diverged") for seed in (0, 2)]
    found = [failed[0], result(1, 0, predicted=predicted, test_images=100), failed[1]]
    alone = [summary.Section("tiny", [(TINY, failed)]), summary.Section("j", [(TINY, failed)])]
    assert list(summary._pictures(alone, {None: splits})) == ["data-samples", "data-classes"]
    made = summary._pictures([summary.Section("tiny", [(TINY, found)])], {None: splits})
    assert next(iter(made)) == "tiny--mistakes"


def test_losses_are_those_of_the_sources():
    assert isinstance(ALL["lenet5"].loss, MAP)
    assert isinstance(ALL["seed0"].loss, CrossEntropy)
