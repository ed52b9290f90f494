"""Recipes in Python: what a trainer of one records, and what overrides it."""

import tomllib

import numpy as np
import pytest

from lenet_fast import data, files
from lenet_fast.training import (
    SDLM,
    SGD,
    AdamW,
    Constant,
    Cosine,
    LinearDecay,
    OneCycle,
    StepDecay,
    Trainer,
    recipes,
    runs,
)


@pytest.fixture(scope="module")
def sets():
    sample = data.load("sample")
    return sample.train.subset(320), sample.test.subset(100)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_run_says_by_which_recipe(sets, tmp_path, name):
    recipe = recipes.named(name)
    trainer = recipe.trainer(seed=3, out=tmp_path, threads=1)
    trainer.fit(*sets, epochs=1)
    assert files.read_model(tmp_path / "model.safetensors").extra["recipe"] == name
    config = tomllib.loads((tmp_path / runs.CONFIG).read_text())
    assert config["options"]["recipe"] == name
    assert config["schedule"] == trainer.schedule.config()
    resumed = Trainer.resume(tmp_path)
    assert resumed.options["recipe"] == name
    resumed.fit(*sets, epochs=2)
    assert files.read_model(tmp_path / "model.safetensors").extra["recipe"] == name


def test_a_run_without_a_recipe_names_none(sets, tmp_path):
    network = recipes.FAST.trainer().network
    Trainer(network, out=tmp_path, threads=1).fit(*sets, epochs=1)
    assert "recipe" not in files.read_model(tmp_path / "model.safetensors").extra


def test_arguments_override_a_recipe():
    trainer = recipes.FAST.trainer(batch_size=8, schedule=Constant(0.01), optimiser=SGD())
    assert trainer.batch_size == 8
    assert trainer.schedule.config() == Constant(0.01).config()
    assert trainer.optimiser.config() == SGD().config()
    # The rate follows smaller batches.
    for size, rate in ((None, 0.0028), (64, 0.0028), (8, 0.0007), (1, 0.0028 / 32)):
        options = {} if size is None else {"batch_size": size}
        found = recipes.PAPER.trainer(**options).schedule.config()["rate"]
        assert found == pytest.approx(rate)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"optimiser": "adamw"}, 0.002),
        ({"optimizer": "adamw"}, 0.002),
        ({"optimiser": AdamW()}, 0.002),
        ({"optimiser": "rmsprop", "batch_size": 8}, 0.0005),
        ({"optimiser": "sgd"}, 0.1),
        ({"optimiser": None, "schedule": None}, 0.1),
        ({"optimiser": SGD(0.5)}, 0.1),
        ({"batch_size": None}, 0.1),
        ({"loss": "cross_entropy"}, 0.1),
    ],
)
def test_the_rate_is_that_of_the_optimiser_and_the_loss(settings, rate):
    # As the command line has it: at SGD's rate, AdamW learned nothing.
    found = recipes.FAST.trainer(**settings).schedule
    assert isinstance(found, OneCycle)
    assert found.config() == {"type": "one_cycle", "rate": pytest.approx(rate), "warmup": 0.15}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one_cycle", OneCycle(0.1, warmup=0.15)),
        ("linear_decay", LinearDecay(0.1)),
        ("cosine", Cosine(0.1)),
        ("step_decay", StepDecay(0.01, 6, 0.4)),
        ("constant", Constant(0.01)),
    ],
)
def test_schedules_by_name_have_the_rates_of_the_command_line(name, expected):
    assert recipes.FAST.trainer(schedule=name).schedule.config() == expected.config()


@pytest.mark.parametrize("name", ["sgd", None])
def test_the_recipes_own_optimiser_has_its_options(name):
    expected = {"type": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    assert recipes.FAST.trainer(optimiser=name).optimiser.config() == expected
    assert recipes.FAST.trainer(optimiser=SGD()).optimiser.config() == SGD().config()


def test_another_loss_has_another_rate():
    found = recipes.PAPER.trainer(loss="penalty").schedule
    assert found.config()["rate"] == pytest.approx(0.0021)


def test_batches_of_one_have_no_nesterov_as_on_the_command_line():
    assert recipes.FAST.trainer(batch_size=1).optimiser.config()["nesterov"] is False
    assert recipes.FAST.trainer(batch_size=2).optimiser.config()["nesterov"] is True


def test_sdlm_takes_its_own_rates():
    for optimiser in ("sdlm", SDLM(mu=1.0)):
        found = recipes.PAPER.trainer(optimiser=optimiser)
        assert (found.batch_size, found.schedule.config()["type"]) == (1, "rate_list")
    with pytest.raises(ValueError, match="schedule: expected one for SDLM"):
        recipes.PAPER.trainer(optimiser="sdlm", batch_size=2)
    for name in ("cosine", "constant"):
        with pytest.raises(ValueError, match=f"schedule: expected a rate .* sdlm, got '{name}'"):
            recipes.PAPER.trainer(optimiser="sdlm", schedule=name)


def test_the_seed_is_that_of_weights_and_order():
    one, same, other = (recipes.FAST.trainer(seed=seed) for seed in (1, 1, 2))
    assert (one.seed, other.seed) == (1, 2)
    w = [trainer.network.parameters["C1.w"] for trainer in (one, same, other)]
    np.testing.assert_array_equal(w[0], w[1])
    assert (w[0] != w[2]).all()


def test_recipes_learn_in_few_steps(sets):
    """The sample's 5,000 digits are a tenth of MNIST's."""
    sample = data.load("sample")
    trainer = recipes.FAST.trainer(threads=1)
    row = trainer.fit(sample.train, sample.test, recipes.FAST.epochs).rows[-1]
    assert row.test_errors / len(sample.test) < 0.06


def test_names_of_no_recipe():
    with pytest.raises(ValueError, match=r"^recipe: expected one of paper, fast, accurate, got 'a"):
        recipes.named("average")
