"""Trainings of the page: step by step, with other rates and recipes, one after the other."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import QUICK

from lenet_fast import data, models
from lenet_fast.network import Network
from lenet_fast.training import Callback, Constant, Trainer, recipes, runs
from lenet_fast.web import manager, shared
from lenet_fast.web.manager import TrainingManager
from lenet_fast.web.records import Run
from lenet_fast.web.shared import BusyError, Shared
from lenet_fast.web.training_requests import ENGINES, RECIPES, TrainingRequest, choices

SAMPLE = data.load("sample")
SMALL = data.Splits(SAMPLE.train.subset(640), SAMPLE.test.subset(100), SAMPLE.source)
LENET1 = {"model": "lenet1", "distort": "none", "epochs": 2}


def bits(network: Network) -> bytes:
    return b"".join(array.tobytes() for array in network.parameters.values())


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Pupil:
    """What a visitor does, without the server."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.manager = TrainingManager(SMALL, folder / "page", models.lenet1(), "one", **options)

    @property
    def run(self) -> Run:
        return self.manager._runs[self.manager._count]

    def done(self) -> Run:
        until(lambda: self.manager._thread is None)
        return self.run


@pytest.fixture
def pupil(tmp_path: Path) -> Pupil:
    return Pupil(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        LENET1,
        LENET1 | {"engine": "online"},
        LENET1 | {"engine": "layers", "epochs": 1},
        QUICK | {"distort": "elastic"},
        {"recipe": "fast", "epochs": 1},
        {"recipe": "lenet1989", "epochs": 1, "engine": "online"},
    ],
    ids=["lanes", "online", "layers", "distorted", "recipe", "1989"],
)
def test_watched_paused_and_by_single_steps_the_bits_stay(
    pupil: Pupil, settings: dict[str, Any]
) -> None:
    request = TrainingRequest.from_json(settings, len(SMALL.train))
    trainer = request.trainer()
    splits = request.fitted(SMALL)
    trainer.fit(splits.train, splits.test, request.epochs, verbose=False)
    pupil.manager.start(settings, paused=True)
    size = trainer.batch_size
    for steps in (1, 2, 3):
        pupil.manager.step()
        until(lambda: pupil.run.update and pupil.run.images == steps * size)  # noqa: B023
        assert pupil.run.state == "paused"
    pupil.manager.go_on()
    pupil.manager.pause()
    pupil.manager.step()
    pupil.manager.go_on()
    run = pupil.done()
    assert run.state == "done"
    assert bits(run.snapshot.network) == bits(trainer.network)
    assert [row.test_errors for row in run.rows] == [
        row.test_errors for row in trainer.history.rows
    ]


def test_of_a_single_image_the_update_is_seen(pupil: Pupil) -> None:
    pupil.manager.start(LENET1 | {"engine": "online"}, paused=True)
    until(lambda: pupil.run.points)
    before = pupil.run.snapshot.network
    pupil.manager.step()
    until(lambda: pupil.run.update)
    update = pupil.run.update
    assert update is not None
    after = pupil.run.snapshot.network
    index = int(np.argsort(np.random.Philox(key=[0, 1]).random_raw(640), kind="stable")[0])
    image = data.as_1990(SMALL.train).images[index]
    np.testing.assert_array_equal(update.image, image)
    assert update.label == SMALL.train.labels[index]
    assert update.read == before.classify(image)
    assert (update.images, update.errors) == (1, int(update.read != update.label))
    change = after.parameters["H1.w"] - before.parameters["H1.w"]
    np.testing.assert_allclose(update.maps["change"], change.ravel(), rtol=1e-4)
    assert np.abs(change).max() > 0
    assert [layer["name"] for layer in update.layers] == ["H1", "H2", "H3", "H4", "OUTPUT"]
    assert update.layers[0]["change"] == pytest.approx(
        np.sqrt(
            np.mean(
                np.concatenate(
                    [
                        (after.parameters[f"H1.{key}"] - before.parameters[f"H1.{key}"]).ravel()
                        for key in "wb"
                    ]
                )
                ** 2
            )
        ),
        rel=1e-4,
    )
    pupil.manager.stop()
    assert pupil.done().state == "stopped"


def test_gradients_are_those_of_the_engine(pupil: Pupil) -> None:
    pupil.manager.start(LENET1, paused=True)
    until(lambda: pupil.run.points)
    engine = TrainingRequest.from_json(LENET1, 640).trainer().engine
    few = data.as_1990(SMALL.train).subset(64)
    _, gradients = engine.loss_and_gradients(few.images, few.labels)
    expected = [
        np.sqrt(np.mean(np.concatenate([gradients[f"{n}.{k}"].ravel() for k in "wb"]) ** 2))
        for n in pupil.run.layers
    ]
    np.testing.assert_allclose(pupil.run.points[0].gradients, expected, rtol=1e-4)
    pupil.manager.stop()
    pupil.done()


def test_a_changed_rate_acts_and_is_recorded(pupil: Pupil) -> None:
    settings = LENET1 | {"schedule": "constant", "rate": 0.001}
    pupil.manager.start(settings, paused=True)
    for _ in range(2):
        images = pupil.run.images
        pupil.manager.step()
        until(lambda: pupil.run.images > images)  # noqa: B023
    pupil.manager.set_rate(0.004)
    assert pupil.manager.current()["run"]["rate"] == 0.004
    pupil.manager.go_on()
    run = pupil.done()
    assert run.changes == [(64, 0.004)]
    assert [row.rate for row in run.rows] == [0.004, 0.004]

    class Change(Callback):
        def on_batch_end(self, trainer: Trainer, progress: Any) -> None:
            if progress.images == 64:
                trainer.schedule = Constant(0.004)

    trainer = TrainingRequest.from_json(settings, 640).trainer(callbacks=[Change()])
    trainer.engine.images_a_call = 32
    splits = TrainingRequest.from_json(settings, 640).fitted(SMALL)
    trainer.fit(splits.train, splits.test, 2, verbose=False)
    assert bits(run.snapshot.network) == bits(trainer.network)
    folder = pupil.manager.save()
    saved = tomllib.loads((folder / runs.CONFIG).read_text())
    assert saved["run"]["rate_changes"] == [{"images": 64, "rate": 0.004}]
    assert saved["lesson"]["rate"] == 0.001
    assert runs.read_history(folder).rows[0].rate == 0.004


@pytest.mark.parametrize("rate", [0, -1, 11, float("nan"), "0.1", None, True])
def test_what_is_no_rate_changes_nothing(pupil: Pupil, rate: Any) -> None:
    pupil.manager.start(LENET1, paused=True)
    with pytest.raises((TypeError, ValueError), match="rate"):
        pupil.manager.set_rate(rate)
    pupil.manager.stop()
    assert pupil.done().changes == []


def test_without_a_training_nothing_can_be_controlled(pupil: Pupil) -> None:
    for action in (pupil.manager.pause, pupil.manager.go_on, pupil.manager.step):
        with pytest.raises(BusyError, match="no training is in progress"):
            action()
    with pytest.raises(BusyError, match="no training is in progress"):
        pupil.manager.set_rate(0.1)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_recipes_are_those_of_the_command_line(recipe: str, engine: str) -> None:
    request = TrainingRequest.from_json({"recipe": recipe, "engine": engine}, 5_000)
    trainer = request.trainer()
    if recipe in recipes.RECIPES:
        size = {"batch_size": 1} if engine == "online" else {}
        expected = recipes.named(recipe).trainer(engine=engine, **size)
        assert bits(trainer.network) == bits(expected.network)
        for name in ("schedule", "optimiser"):
            assert getattr(trainer, name).config() == getattr(expected, name).config()
        assert trainer.batch_size == expected.batch_size
        assert trainer.distortion == expected.distortion
    else:
        expected = getattr(models, recipe)(initialiser="eblearn")
        assert bits(trainer.network) == bits(expected)
        assert trainer.optimiser.config()["nesterov"] == (engine != "online")
        assert trainer.distortion is None
    assert trainer.network.reduced == (recipe == "lenet1")
    offered = {each["value"]: each for each in choices(5_000)["recipes"]}[recipe]
    assert offered["rates"][engine] == request.rate
    assert {name: offered[name] for name in ("model", "output", "epochs", "schedule")} == {
        name: request.to_json()[name] for name in ("model", "output", "epochs", "schedule")
    }


def test_runs_are_named(pupil: Pupil) -> None:
    pupil.manager.start(LENET1 | {"epochs": 1}, name="  slow   one ")
    assert pupil.done().name == "slow one"
    pupil.manager.rename(1, "fast <b>one</b>")
    state = pupil.manager.everything()
    assert state["runs"][0]["name"] == "fast <b>one</b>"
    assert state["networks"] == [
        {"number": 0, "name": "one"},
        {"number": 1, "name": "fast <b>one</b>"},
    ]
    assert 'name = "fast <b>one</b>"' in (pupil.manager.save() / runs.CONFIG).read_text()
    pupil.manager.rename(1, "")
    assert pupil.run.snapshot.describe()["name"] == "Run 1"
    for number in (0, 2, "1", None, True):
        with pytest.raises(ValueError, match="number"):
            pupil.manager.rename(number, "a")


# --- one after the other  ---


def test_trainings_wait_in_order_and_a_paused_one_lets_others_go(tmp_path: Path) -> None:
    places = Shared(SMALL)
    one, two, three = (Pupil(tmp_path, shared=places) for _ in range(3))
    long = LENET1 | {"epochs": 100}
    one.manager.start(long)
    until(lambda: one.run.images)
    two.manager.start(LENET1)
    three.manager.start(LENET1)
    assert [each.manager.current()["run"]["before"] for each in (one, two, three)] == [0, 1, 2]
    assert [each.run.state for each in (one, two, three)] == ["running", "waiting", "waiting"]
    version = three.manager.current()["version"]
    one.manager.pause()
    assert three.manager.wait(version, 30)
    assert two.done().state == three.done().state == "done"
    assert one.run.state == "paused"
    one.manager.go_on()
    until(lambda: one.run.state == "running")
    two.manager.start(LENET1)
    two.manager.stop()
    assert (two.done().state, two.run.images) == ("stopped", 0)
    one.manager.stop()
    assert one.done().state == "stopped"


def test_a_long_training_gives_its_place_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "TURN_SECONDS", 0.1)
    places = Shared(SMALL)
    one, two = (Pupil(tmp_path, shared=places) for _ in range(2))
    one.manager.start(LENET1 | {"epochs": 100})
    until(lambda: one.run.images)
    two.manager.start(LENET1)
    assert two.done().state == "done"
    assert one.run.state in ("running", "waiting")
    one.manager.stop()
    one.done()


def test_so_many_at_a_time_and_so_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MAX_WAITING", 1)
    places = Shared(SMALL, trainings=2)
    pupils = [Pupil(tmp_path, shared=places) for _ in range(4)]
    for each in pupils[:3]:
        each.manager.start(LENET1 | {"epochs": 100})
        until(lambda: each.run.images or each.run.state == "waiting")  # noqa: B023
    assert [each.run.state for each in pupils[:3]] == ["running", "running", "waiting"]
    with pytest.raises(BusyError, match="1 trainings are waiting"):
        pupils[3].manager.start(LENET1)
    for each in pupils[:3]:
        each.manager.stop()
        each.done()
    pupils[3].manager.start(LENET1)
    assert pupils[3].done().state == "done"


# --- the zip codes  ---


def test_zip_codes_are_taken_where_they_are_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENET_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LENET_FAST_DATA", raising=False)
    pupil = Pupil(tmp_path)
    assert not pupil.manager.shared.has_zip_codes
    with pytest.raises(ValueError, match="not on this machine"):
        pupil.manager.start({"model": "lenet1989", "data": "zip"})
    folder = tmp_path / "mnist" / "usps"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        rows = np.hstack(
            [np.arange(count)[:, np.newaxis] % 10, np.where(rng.random((count, 256)) < 0.5, -1, 1)]
        )
        np.savetxt(folder / f"zip.{part}", rows, fmt="%.4f")
    pupil = Pupil(tmp_path, shared=Shared(SMALL, tmp_path / "mnist"))
    pupil.manager.start({"model": "lenet1989", "data": "zip", "epochs": 1})
    run = pupil.done()
    assert (run.state, run.train_images, run.test_images) == ("done", 40, 10)
    assert run.data == "USPS zip codes"
    saved = tomllib.loads((pupil.manager.save() / runs.CONFIG).read_text())
    assert saved["data"]["train"] == {"name": "usps-train-20x20-16x16", "images": 40}
