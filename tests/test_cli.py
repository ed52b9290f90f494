"""The command line, run as its user does: exit status, what it prints, what it writes."""

from __future__ import annotations

import csv
import errno
import gzip
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import Result, assert_fits, assert_one_line
from helpers import require, started
from PIL import Image

from lenet_fast import (
    cli,
    data,
    defaults,
    engines,
    files,
    initialisers,
    layers,
    losses,
    models,
    network,
)
from lenet_fast.cli import common, settings, types
from lenet_fast.data import distort, idx
from lenet_fast.defaults import ADAPTIVE_RATES
from lenet_fast.training import (
    OPTIMISERS,
    SGD,
    Adadelta,
    Adam,
    AdamW,
    Callback,
    RMSprop,
    recipes,
    runs,
    schedules,
    trainer,
)

SAMPLE = data.load("sample")
SHORT = ("--dataset", "sample", "--limit", "128", "--epochs", "1", "--output", "softmax")
PICTURES = ("errors", "filters", "features", "bitmaps", "confusion", "mistakes", "table")
PICTURES += ("architecture", "saliency", "occlusion", "distribution", "samples")
PICTURES += ("weights", "embedding")
COMMANDS = ("train", "evaluate", "predict", "serve", "export", "plot", "info", "data")
COLUMNS = "epoch,train_seconds,images_per_second,train_loss,train_errors,test_loss,test_errors,rate"


@pytest.fixture(scope="module")
def softmax_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network that knows some digits."""
    from lenet_fast.training import Constant, Trainer

    network = models.lenet5(output="softmax", pooling="max", initialiser="glorot_uniform")
    Trainer(network, schedule=Constant(0.02), batch_size=32).fit(
        SAMPLE.train.subset(2000), SAMPLE.test, epochs=3
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    files.save_model(path, network, losses.CrossEntropy())
    return path


@pytest.fixture(scope="module")
def rbf_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an untrained network with the paper's outputs."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    files.save_model(path, models.lenet5())
    return path


# --- help, versions ------------------------------------------------------------------------------


def test_without_arguments_it_helps(lenet_fast: Any) -> None:
    result = lenet_fast()
    assert result.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits_80_columns(lenet_fast: Any, command: str) -> None:
    result = lenet_fast(command, "--help")
    assert result.status == 0
    assert "\n  Example" in result.out
    assert f"lenet-fast {command}" in result.out.split("Example")[1]
    assert max(map(len, result.out.splitlines())) <= 80


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lenet_fast.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numba', 'rich', 'requests', 'PIL', 'safetensors', "
        "'lenet_fast.training') if m in sys.modules])\n"
    )
    assert run_python("-c", code).stdout.splitlines()[-1] == "[]"


def test_choices_are_those_of_the_library() -> None:
    options = {option.name: option for option in cli.train.params}
    assert common.DATASETS == data.DATASETS
    assert tuple(options["engine"].type.choices) == engines.NAMES
    assert {*options["schedule"].type.choices} == {*schedules.SCHEDULES} - {"rate_list"}
    assert tuple(options["recipe"].type.choices) == tuple(recipes.RECIPES)
    for recipe in recipes.RECIPES.values():
        assert {*recipe.options} <= {*options}
    activation = options["activation"]
    assert activation.type.get_metavar(activation) == f"[{'|'.join(layers.ACTIVATIONS)}]"
    assert tuple(options["initialiser"].type.choices) == tuple(initialisers.INITIALISERS)
    fitting = [losses.all_for(models.lenet5(output=output)) for output in defaults.LOSSES]
    assert sorted(options["loss"].type.choices) == sorted(itertools.chain(*fitting))
    assert {*options["optimiser"].type.choices} == {*OPTIMISERS}
    assert {*settings.OPTIMISER_OPTIONS} == {
        name for kind in OPTIMISERS.values() for name in inspect.signature(kind).parameters
    } - {"factors"}
    networks = [getattr(models, name) for name in ("lenet5", *defaults.MODELS)]
    assert {*settings.MODEL_OPTIONS} == {
        name for network in networks for name in inspect.signature(network).parameters
    } - {"seed", "dtype", "classes", "channels"}  # the latter are those of the data
    kinds = [loss for output in fitting for loss in output.values()]
    assert {*settings.LOSS_OPTIONS} == {name for loss in kinds for name in loss.options}
    assert tuple(layers.ACTIVATIONS) == types.ACTIVATIONS
    for name, loss in defaults.LOSSES.items():
        assert losses.default_for(models.lenet5(output=name)).name == loss


@pytest.mark.parametrize("name", defaults.OPTIMISERS)
@pytest.mark.parametrize("output", defaults.LOSSES)
def test_defaults_are_those_of_the_library(name: str, output: str) -> None:
    kind = OPTIMISERS[name]
    network = models.lenet5(output=output)
    for size in (1, 31, 32, 256):
        optimiser = kind(defaults.MOMENTUM, nesterov=size > 1) if name == "sgd" else kind()
        library = trainer.Trainer(network, optimiser=optimiser, batch_size=size)
        command = ["--optimiser", name, "--output", output, "--batch-size", str(size)]
        options = filled_in(*command, "--schedule", "step_decay")
        assert settings.schedule(options).config() == library.schedule.config()
        assert settings.optimiser(options).config() == library.optimiser.config()
        highest = settings.schedule(filled_in(*command)).config()
        rate = (3 if name == "sgd" else 2) * library.schedule.rate(1)
        if (name, output) == ("sgd", "rbf"):  # those of the recipe, which has a rate
            rate = defaults.recipe_rate(recipes.PAPER.options, size)
        assert highest == {"type": "one_cycle", "rate": rate, "warmup": 0.3}


def filled_in(*command: str) -> dict[str, Any]:
    """Return the options of ``lenet-fast train`` with all defaults."""
    context = cli.train.make_context("train", list(command))
    settings.fill_in(context.params, common.given(context))
    return context.params


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_the_same_in_python(name: str) -> None:
    recipe, options = recipes.RECIPES[name], filled_in("--recipe", name)
    if name == "paper":
        assert filled_in() == options
    network, loss = settings.network(options)
    made = recipe.trainer()
    assert made.network.config() == network.config()
    assert made.loss.config() == loss.config()
    assert made.optimiser.config() == settings.optimiser(options).config()
    assert made.schedule.config() == settings.schedule(options).config()
    assert made.distortion == settings.distortion(options)
    assert (made.batch_size, recipe.epochs) == (options["batch_size"], options["epochs"])
    assert made.options == {"recipe": name}
    for key, array in network.parameters.items():
        np.testing.assert_array_equal(made.network.parameters[key], array)
    if name == "paper":
        assert (network.counts().parameters, network.output) == (60000, "rbf")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["--rate", "0.05"], {"rate": 0.05, "schedule": "one_cycle", "warmup": 0.15}),
        (["--epochs", "7", "--batch-size", "32"], {"epochs": 7, "rate": 0.05, "batch_size": 32}),
        (["--optimiser", "adamw"], {"rate": 0.002, "nesterov": None, "weight_decay": 0.01}),
        (["--output", "rbf"], {"rate": 0.0021, "pooling": "max", "weight_decay": 5e-4}),
        (["--momentum", "0"], {"nesterov": False, "momentum": 0.0}),
        (["--no-nesterov"], {"nesterov": False, "momentum": 0.9}),
        (["--distort", "paper"], {"distort": "paper"}),
        (["--schedule", "cosine"], {"rate": 0.1, "warmup": 0.0}),
        (["--schedule", "linear_decay"], {"rate": 0.1, "warmup": None}),
        (["--step", "2"], {"schedule": "step_decay", "step": 2, "decay_rate": 0.4, "rate": 0.01}),
        (["--schedule", "step_decay"], {"rate": 0.01, "step": 6, "warmup": None}),
        (["--schedule", "constant"], {"rate": 0.01, "warmup": None}),
        (["--schedule", "constant", "--rate", "0.1"], {"rate": 0.1}),
        (["--rates", "0.1,0.2"], {"schedule": "rate_list", "rate": None, "rates": [0.1, 0.2]}),
    ],
    ids=" ".join,
)
def test_options_override_a_recipe(command: list[str], expected: dict[str, Any]) -> None:
    options = filled_in("--recipe", "fast", *command)
    assert {name: options[name] for name in expected} == expected
    assert options["recipe"] == "fast"
    settings.schedule(options), settings.optimiser(options)


def test_no_distortion_overrides_a_recipe() -> None:
    assert filled_in("--recipe", "accurate")["distort"] == "elastic"
    assert filled_in("--recipe", "accurate", "--distort", "none")["distort"] is None


def run_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    root = str(Path(cli.__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_as_a_module() -> None:
    done = run_python("-m", "lenet_fast", "--version")
    assert done.returncode == 0
    assert "0." in done.stdout


# --- info, data -----------------------------------------------------------------------------


def test_info(lenet_fast: Any) -> None:
    result = lenet_fast("info")
    assert result.status == 0
    assert "numpy" in result.out
    assert "download it with: " in result.out
    facts = json.loads(lenet_fast("info", "--json").out)
    assert facts["backends"]["numpy"]["usable"] is True
    assert facts["threads"] >= 1


def test_info_on_a_model(lenet_fast: Any, tmp_path: Path) -> None:
    small, large = tmp_path / "small.safetensors", tmp_path / "large.safetensors"
    files.save_model(small, models.lenet5())
    maps = [layers.Conv2D(1, 32, 5), layers.ReLU(), layers.Conv2D(32, 64, 5), layers.MaxPool2D(24)]
    files.save_model(
        large,
        network.Network([*maps, layers.Dense(64, 10)], output="softmax"),
    )
    result = lenet_fast("info", str(small))
    assert result.status == 0
    assert "60,000" in result.out  # the paper's count of parameters
    assert "onnxruntime" not in result.out
    result = lenet_fast("info", str(large))
    assert "98% of the multiply-adds" in result.out
    assert "onnxruntime may predict batches as fast or faster" in result.out
    facts = json.loads(lenet_fast("info", str(large), "--json").out)
    assert facts["counts"]["parameters"] == 32 * 26 + 64 * 801 + 650
    assert "onnxruntime" in facts["note"]
    result = lenet_fast("info", str(tmp_path / "none"))
    assert result.status == 2
    assert "expected a model file or a run's folder" in result.err


def test_info_says_how_to_get_what_is_missing(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_fast import backends

    state = backends.Status(False, "no compiler; get one by: apt install gcc")
    monkeypatch.setattr(
        backends, "available", lambda: {"cython": state, "numpy": backends.Status(True, "here")}
    )
    monkeypatch.setattr(backends, "current", lambda: "numpy")
    result = lenet_fast("info")
    assert "missing: no compiler\n          get one by: apt install gcc\n" in result.out
    assert "kernels" not in result.out


def test_data_of_the_sample(lenet_fast: Any) -> None:
    result = lenet_fast("data", "--dataset", "sample")
    assert result.status == 0
    assert "5,000 images" in result.out
    assert "1,000 images" in result.out


@pytest.mark.parametrize("columns", [60, 40, 3])
def test_data_cuts_no_checksum_on_a_narrow_terminal(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    whole = "".join(lenet_fast("data", "--dataset", "sample").out.split())
    monkeypatch.setenv("COLUMNS", str(columns))
    text = lenet_fast("data", "--dataset", "sample").out
    text = text[text.index("sample-train") :]  # after the paths
    assert whole.endswith("".join(text.split()))
    assert columns == 3 or max(map(len, text.splitlines())) <= columns


def test_data_that_are_not_to_be_had(lenet_fast: Any) -> None:
    result = lenet_fast("data")
    assert result.status == 1
    assert "LENET_FAST_OFFLINE" in result.err
    assert "--dataset sample" in result.err


# --- train ----------------------------------------------------------------------------------


def test_train_writes_a_run(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--threads", "1", "--seed", "3")
    assert result.status == 0, result.err
    assert result.err == ""
    assert "1 thread\n" in result.out
    assert "128 training images" in result.out
    out = Path("runs/lenet5")
    assert {path.name for path in out.iterdir()} == set(runs.FILES)
    assert files.load_model(out / "model.safetensors").output == "softmax"
    text = (out / "history.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    assert [row["epoch"] for row in csv.DictReader(text.splitlines())] == ["1"]
    config = tomllib.loads((out / "config.toml").read_text())
    assert config["run"]["seed"] == 3
    assert config["options"]["dataset"] == "sample"
    assert config["options"]["loss"] == "cross_entropy"
    assert_fits(result.out)


def test_train_takes_a_new_folder_each_time(lenet_fast: Any) -> None:
    lenet_fast("train", *SHORT)
    lenet_fast("train", *SHORT)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["lenet5", "lenet5-2"]


def test_a_run_that_does_not_come_about_leaves_no_folder(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--limit", "5001").status == 2
    assert not Path("runs").exists()


def test_train_leaves_a_run_alone(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--out", "run").status == 0
    before = Path("run/model.safetensors").read_bytes()
    result = lenet_fast("train", *SHORT, "--out", "run", "--seed", "1")
    assert_one_line(result, "--resume run", "--overwrite", status=2)
    assert Path("run/model.safetensors").read_bytes() == before
    result = lenet_fast("train", *SHORT, "--out", "run", "--seed", "1", "--overwrite")
    assert result.status == 0
    assert Path("run/model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (["--output", "rbf", "--loss", "penalty"], "RBF"),
        (["--output", "linear", "--pooling", "none"], "Dense"),
        (["--pooling", "average", "--connections", "full", "--activation", "relu"], "AvgPool2D"),
        (["--pooling", "max", "--rates", "0.1,0.05", "--weight-decay", "1e-4"], "MaxPool2D"),
        (["--step", "1", "--decay-rate", "0.5", "--initialiser", "eblearn"], "Subsample2D"),
        (["--optimiser", "adamw", "--weight-decay", "0", "--rate", "0.002"], "Subsample2D"),
    ],
)
def test_train_with_options(lenet_fast: Any, options: list[str], layers: str) -> None:
    result = lenet_fast("train", *SHORT, *options, "--out", "run")
    assert result.status == 0, result.err
    network = files.load_model("run/model.safetensors")
    assert layers in {type(layer).__name__ for layer in network.layers}


@pytest.mark.parametrize(
    ("option", "text", "config"),
    [
        ("leaky_relu", "leaky_relu", {"slope": 0.01}),
        ("leaky_relu:0.20", "leaky_relu:0.2", {"slope": 0.2}),
        ("elu:2", "elu:2.0", {"alpha": 2.0}),
        ("gelu:none", "gelu", {"approximate": "none"}),
    ],
)
def test_train_with_an_activation_and_its_option(
    lenet_fast: Any, option: str, text: str, config: dict[str, object]
) -> None:
    result = lenet_fast("train", *SHORT, "--activation", option, "--out", "run")
    assert result.status == 0, result.err
    network = files.load_model("run/model.safetensors")
    found = [layer.config() for layer in network.layers if layer.name == "C1.activation"]
    assert [{name: each[name] for name in config} for each in found] == [config]
    assert tomllib.loads(Path("run/config.toml").read_text())["options"]["activation"] == text
    result = lenet_fast("train", "--resume", "run", "--epochs", "2", "--activation", option)
    assert result.status == 0, result.err
    result = lenet_fast("train", "--resume", "run", "--epochs", "3", "--activation", "relu")
    assert_one_line(result, "--activation", text, "got relu", status=2)


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        ("swish", ("scaled_tanh, tanh", "gelu", "'swish'")),
        ("relu:1", ("relu without an option", "'relu:1'")),
        ("leaky_relu:-1", ("leaky_relu: slope: expected", "got -1.0")),
        ("elu:zero", ("elu: alpha: expected a number", "'zero'")),
        ("gelu:erf", ("gelu: approximate: expected one of none, tanh", "'erf'")),
    ],
)
def test_train_refuses_activations(lenet_fast: Any, option: str, texts: tuple[str, ...]) -> None:
    result = lenet_fast("train", *SHORT, "--activation", option, "--out", "run")
    assert_one_line(result, "--activation", *texts, status=2)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "optimiser", "rate"),
    [
        ([], SGD(0.9, nesterov=True), 0.03),
        (["--schedule", "constant"], SGD(0.9, nesterov=True), 0.01),
        (["--no-nesterov", "--rate", "0.02"], SGD(0.9), 0.02),
        (["--momentum", "0"], SGD(), 0.03),
        (["--optimiser", "sgd", "--nesterov", "--momentum", "0.5"], SGD(0.5, nesterov=True), 0.03),
        (["--nesterov", "--weight-decay", "0.1"], SGD(0.9, 0.1, nesterov=True), 0.03),
        (["--optimiser", "adamw"], AdamW(), 0.002),
        (["--optimiser", "adamw", "--weight-decay", "0"], AdamW(weight_decay=0.0), 0.002),
        (["--optimiser", "adamw", "--rates", "0.003,0.002"], AdamW(), 0.003),
        (["--optimiser", "adamw", "--step", "1", "--decay-rate", "0.5"], AdamW(), 0.001),
        (["--optimiser", "adam", "--weight-decay", "0.1"], Adam(weight_decay=0.1), 0.002),
        (["--optimiser", "rmsprop"], RMSprop(), 2 * ADAPTIVE_RATES["rmsprop"]),
        (
            ["--optimiser", "rmsprop", "--momentum", "0.5", "--rate", "0.001"],
            RMSprop(momentum=0.5),
            0.001,
        ),
        (["--optimiser", "adadelta"], Adadelta(), 2 * ADAPTIVE_RATES["adadelta"]),
    ],
)
def test_train_with_an_optimiser(
    lenet_fast: Any, options: list[str], optimiser: Any, rate: float
) -> None:
    result = lenet_fast("train", *SHORT, *options, "--out", "run")
    assert result.status == 0, result.err
    assert f"\ntraining  {optimiser}\n" in result.out
    assert_fits(result.out)
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["optimiser"] == optimiser.config()
    for name in ("momentum", "weight_decay"):
        assert config["options"].get(name) == optimiser.config().get(name)
    highest = float(Path("run/history.csv").read_text().splitlines()[1].split(",")[-1])
    assert 0.8 * rate <= highest <= rate  # no step of a short run may have the highest
    assert config["schedule"].get("rate", rate) == rate


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        (
            ["--optimiser", "adamw", "--momentum", "0.9"],
            "sgd or rmsprop or sdlm only, got adamw",
            2,
        ),
        (["--optimiser", "adadelta", "--momentum", "0"], "--momentum: expected with", 2),
        (["--optimiser", "adamw", "--nesterov"], "--optimiser sgd only, got adamw", 2),
        (["--optimiser", "rmsprop", "--nesterov"], "--optimiser sgd only, got rmsprop", 2),
        (["--nesterov", "--momentum", "0"], "--nesterov: expected with a --momentum above 0", 2),
        (["--optimiser", "sdlm", "--batch", "2"], "sdlm: expected together with --rate or", 2),
        (
            ["--optimiser", "sdlm", "--schedule", "cosine"],
            "sdlm: expected together with --rate for",
            2,
        ),
        (["--optimiser", "sdlm", "--nesterov"], "--optimiser sgd only, got sdlm", 2),
        (["--optimiser", "sdlm", "--gamma", "0"], "'--gamma': 0.0 is not in the range", 2),
        (["--optimiser", "adam", "--epsilon", "1e-40"], "--epsilon: expected a number of at", 2),
        (["--optimiser", "adam", "--beta1", "1"], "'--beta1': 1.0 is not in the range", 2),
        (["--mu", "1"], "--mu: expected with --optimiser sdlm only, got sgd", 2),
        (["--momentum", "1"], "'--momentum': 1.0 is not in the range 0<=x<1", 2),
        (["--optimiser", "adamw", "--weight-decay", "-1"], "'--weight-decay': -1.0 is not in", 2),
    ],
)
def test_train_refuses_optimisers_that_make_no_sense(
    lenet_fast: Any, options: list[str], words: str, status: int
) -> None:
    assert_one_line(lenet_fast("train", *SHORT, *options), words, status=status)
    assert not Path("runs").exists()


def test_adamw_learns(lenet_fast: Any) -> None:
    result = lenet_fast(
        *("train", "--dataset", "sample", "--optimiser", "adamw", "--epochs", "2"),
        *("--output", "softmax", "--out", "run"),
    )
    assert result.status == 0, result.err
    last = list(csv.DictReader(Path("run/history.csv").read_text().splitlines()))[-1]
    assert int(last["test_errors"]) < 120  # of 1000; guessing leaves 900 wrong


@pytest.mark.parametrize("name", ["paper", "elastic"])
def test_train_distorts(lenet_fast: Any, name: str) -> None:
    result = lenet_fast("train", *SHORT, "--distort", name, "--out", "run")
    assert result.status == 0, result.err
    assert f"\ndistorted {distort.PRESETS[name]}\n" in result.out
    assert_fits(result.out)
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["options"]["distort"] == name
    assert config["distortion"] == distort.PRESETS[name].config()


def test_auto_falls_back_to_the_sample_and_cannot_be_missed(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--dataset", "auto", "--out", "run")
    assert result.status == 0
    assert result.err.count("NOT THE FULL MNIST") == 2
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["options"]["dataset"] == "sample"


@pytest.mark.parametrize(
    "options",
    [
        *([], ["--nesterov"], ["--distort", "elastic"]),
        *(["--optimiser", name] for name in defaults.ADAPTIVE_RATES),
        ["--optimiser", "rmsprop", "--momentum", "0.5"],
    ],
    ids=str,
)
def test_resume_gives_the_bits_of_an_uninterrupted_run(lenet_fast: Any, options: list[str]) -> None:
    command = ("train", *SHORT, *options, "--schedule", "step_decay")  # as long as it is
    assert lenet_fast(*command, "--epochs", "2", "--out", "whole").status == 0
    assert lenet_fast(*command, "--out", "parts").status == 0
    result = lenet_fast("train", "--resume", "parts", "--epochs", "2", "--output", "softmax")
    assert result.status == 0, result.err
    whole, parts = (
        files.load_model(f"{name}/model.safetensors").parameters for name in ("whole", "parts")
    )
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name])


def test_checkpoints_within_an_epoch(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("train", *SHORT, "--batch-size", "1", "--momentum", "0", "--rate", "0.002")
    result = lenet_fast(*command, "--out", "whole", "--threads", "1")
    assert result.status == 0, result.err
    assert "engine online, 1 thread" in result.out
    save, saved = trainer.Trainer._save_checkpoint, []

    def noted(self: Any) -> None:
        save(self)
        saved.append(self._position.batch)
        if saved[-1] == 100:
            raise SystemExit(9)  # as good as killed

    monkeypatch.setattr(trainer.Trainer, "_save_checkpoint", noted)
    assert lenet_fast(*command, "--out", "parts", "--checkpoint-every", "50").status == 9
    assert saved == [50, 100]
    result = lenet_fast("train", "--resume", "parts", "--checkpoint-every", "24")
    assert result.status == 0, result.err
    assert saved[2:4] == [120, 0]
    whole, parts = (
        files.load_model(f"{name}/model.safetensors").parameters for name in ("whole", "parts")
    )
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name])
    assert lenet_fast("train", *SHORT, "--checkpoint-every", "50").status == 0  # in a new folder
    assert_one_line(lenet_fast("train", "--checkpoint-every", "0"), "--checkpoint-every", status=2)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--rate", "0.5"], "--rate"),
        (["--output", "rbf"], "--output"),
        (["--batch-size", "7"], "--batch-size"),
        (["--seed", "9"], "--seed"),
        (["--distort", "paper"], "--distort"),
        (["--rates", "0.1"], "--rates"),
        (["--optimiser", "adamw"], "--optimiser"),
        (["--no-nesterov"], "--nesterov"),
        (["--schedule", "constant"], "--schedule"),
        (["--warmup", "0.5"], "--warmup"),
        (["--recipe", "fast"], "--recipe"),
        (["--momentum", "0.5"], "--momentum"),
        (["--weight-decay", "0.5"], "--weight-decay"),
        (["--limit", "64"], "--limit"),
        (["--dataset", "mnist"], "--dataset"),
        (["--out", "other"], "--out"),
        (["--overwrite"], "--overwrite"),
    ],
)
def test_resume_refuses_to_change_the_run(lenet_fast: Any, options: list[str], word: str) -> None:
    lenet_fast("train", *SHORT, "--out", "run")
    assert_one_line(lenet_fast("train", "--resume", "run", *options), word, status=2)
    assert lenet_fast("train", "--resume", "run", "--out", "./run").status == 0


def test_resume_refuses_fewer_epochs_than_there_were(lenet_fast: Any) -> None:
    lenet_fast("train", *SHORT, "--epochs", "2", "--out", "run")
    result = lenet_fast("train", "--resume", "run", "--epochs", "1")
    assert_one_line(result, "at least 2", status=2)


def test_resume_refuses_an_end_before_the_mean_begins(lenet_fast: Any) -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: trainer.Trainer, row: Any) -> None:
            trainer.stop()

    run = trainer.Trainer(models.lenet5(), average_from=3, out="run", callbacks=[Stop()])
    run.fit(SAMPLE.train.subset(32), SAMPLE.test.subset(32), epochs=4)
    result = lenet_fast("train", "--resume", "run", "--epochs", "2")
    assert_one_line(result, "--average-from: expected at most the last epoch, 2", status=2)


def test_resume_of_a_complete_run_changes_nothing(lenet_fast: Any) -> None:
    lenet_fast("train", *SHORT, "--out", "run")
    before = Path("run/model.safetensors").read_bytes(), Path("run/history.csv").read_bytes()
    result = lenet_fast("train", "--resume", "run")
    assert result.status == 0
    assert "has completed its epoch;" in result.err
    assert (
        Path("run/model.safetensors").read_bytes(),
        Path("run/history.csv").read_bytes(),
    ) == before


@pytest.mark.filterwarnings("default")
def test_resume_with_other_code_says_so(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lenet_fast("train", *SHORT, "--out", "run")
    monkeypatch.setattr("lenet_fast.__version__", "9.9")
    result = lenet_fast("train", "--resume", "run", "--epochs", "2")
    assert result.status == 0
    assert result.err.startswith("lenet-fast: note: ")
    assert "9.9" in result.err
    assert result.err.count("\n") == 1


def test_resume_with_data_that_have_moved(lenet_fast: Any) -> None:
    _write_data(Path("here"))
    assert lenet_fast("train", *SHORT[2:], "--data", "here", "--out", "run").status == 0
    Path("here").rename("there")
    assert_one_line(lenet_fast("train", "--resume", "run", "--epochs", "2"), "here")
    result = lenet_fast("train", "--resume", "run", "--epochs", "2", "--data", "there")
    assert result.status == 0, result.err
    for path in Path("there").glob("t10k-images*"):
        idx.write(path, SAMPLE.test.images[::-1])
    result = lenet_fast("train", "--resume", "run", "--epochs", "3", "--data", "there")
    assert_one_line(result, "expected the data of the run")


def test_resume_after_a_notice_on_the_data(lenet_fast: Any) -> None:
    _write_data(Path("inverted"))
    for path in Path("inverted").glob("*images*"):
        idx.write(path, 255 - idx.read(path))
    result = lenet_fast("train", *SHORT[2:], "--data", "inverted", "--out", "run")
    assert result.status == 0, result.err
    assert "look inverted" in result.err
    result = lenet_fast("train", "--resume", "run", "--epochs", "2")
    assert result.status == 0, result.err


def _write_data(folder: Path) -> None:
    folder.mkdir()
    for name, split in (("train", SAMPLE.train), ("t10k", SAMPLE.test)):
        idx.write(folder / f"{name}-images-idx3-ubyte", split.images)
        idx.write(folder / f"{name}-labels-idx1-ubyte.gz", split.labels)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
def test_ctrl_c_stops_in_order_and_the_run_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lenet_fast", "train", *SHORT, "--epochs", "10000"]
    root = str(Path(cli.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
    history = tmp_path / "run" / "history.csv"
    with started([*command, "--out", "run"], cwd=tmp_path, env=environment) as process:
        deadline = time.monotonic() + 60
        while not history.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "train --resume run" in err
    assert "Traceback" not in err
    done = len(history.read_text().splitlines()) - 1
    assert done >= 1
    again = run_python(
        "-m", "lenet_fast", "train", "--resume", "run", "--epochs", str(done + 1), cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert len(history.read_text().splitlines()) == done + 2


def test_a_diverging_run_says_so(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--rate", "1e30", "--out", "run")
    assert_one_line(result, "rate")


# --- evaluate ----------------------------------------------------------------------------------


def test_evaluate(lenet_fast: Any, softmax_model: Path) -> None:
    result = lenet_fast("evaluate", softmax_model, "--dataset", "sample", "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    network = files.load_model(softmax_model)
    engine = engines.create(network, losses.CrossEntropy())
    x = data.prepare(SAMPLE.test.images)
    found = network.classify_outputs(engine.predict(x))
    confusion = np.zeros((10, 10), int)
    for label, digit in zip(SAMPLE.test.labels, found, strict=True):
        confusion[label, digit] += 1
    assert report["confusion"] == confusion.tolist()
    assert report["errors"] == 1000 - np.trace(confusion)
    assert report["accuracy"] == pytest.approx(np.trace(confusion) / 1000)
    totals = engine.evaluate(x, SAMPLE.test.labels.astype(np.intp))
    assert report["loss"] == pytest.approx(totals.loss / 1000, rel=1e-5)
    assert 0 < report["errors"] < 300  # it has learned, but not all

    text = lenet_fast("evaluate", softmax_model.parent, "--dataset", "sample").out
    assert f"{report['errors']} of 1,000" in text
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    for digit in range(10):
        cells = [str(count or ".") for count in confusion[digit]]
        wrong = str(confusion[digit].sum() - confusion[digit, digit])
        assert [str(digit), *cells, wrong] in rows


@pytest.mark.parametrize("columns", [80, 60, 45, 30, 12, 3])
def test_evaluate_cuts_no_count_on_a_narrow_terminal(
    lenet_fast: Any, softmax_model: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    command = ("evaluate", softmax_model, "--dataset", "sample")
    confusion = np.array(json.loads(lenet_fast(*command, "--json").out)["confusion"])
    monkeypatch.setenv("COLUMNS", str(columns))
    text = lenet_fast(*command).out
    lines = [line.split() for line in text.splitlines()]
    rules = [
        k
        for k, line in enumerate(lines)
        if line and set(line[0]) == {"\N{BOX DRAWINGS LIGHT HORIZONTAL}"}
    ]
    shown: dict[str, list[str]] = {}
    for k in rules:  # a head above it, ten rows below
        digits, *cells = zip(*lines[k + 1 : k + 11], strict=True)
        assert digits == tuple(map(str, range(10)))
        shown |= zip(lines[k - 1], cells, strict=True)
    assert list(shown) == [*map(str, range(10)), "wrong"]
    for digit in range(10):
        assert list(shown[str(digit)]) == [str(count or ".") for count in confusion[:, digit]]
    wrong = confusion.sum(axis=1) - np.diag(confusion)
    assert list(shown["wrong"]) == [str(count) for count in wrong]
    assert (len(rules) == 1) == (columns >= 45)
    if columns >= 12:
        assert max(map(len, text[text.index("Columns:") :].splitlines())) <= columns


def test_evaluate_with_json_keeps_notices_off_the_standard_output(
    lenet_fast: Any, rbf_model: Path
) -> None:
    result = lenet_fast("evaluate", rbf_model, "--json", "--backend", "numpy")
    assert json.loads(result.out)["images"] == 1000
    assert "NOT THE FULL MNIST" in result.err


# --- predict -----------------------------------------------------------------------------------


def test_predict_pictures(lenet_fast: Any, softmax_model: Path) -> None:
    network = files.load_model(softmax_model)
    engine = engines.create(network, losses.CrossEntropy())
    expected = network.classify_outputs(engine.predict(data.prepare(SAMPLE.test.images[:20])))
    names = []
    for index, image in enumerate(SAMPLE.test.images[:20]):
        # Larger, dark on light, and not in the middle.
        page = Image.new("L", (150, 120), 255)
        page.paste(Image.fromarray(255 - image).resize((84, 84)), (50, 10))
        names.append(f"{index}.png")
        page.save(names[-1])
    result = lenet_fast("predict", softmax_model, *names, "--json")
    found = json.loads(result.out)
    assert [each["file"] for each in found] == names
    assert [each["index"] for each in found] == [None] * 20
    agree = sum(each["class"] == label for each, label in zip(found, expected, strict=True))
    assert agree >= 18  # resizing to and fro may change a doubtful one
    for each in found:
        assert sum(each["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert each["probability"] == max(each["probabilities"])

    result = lenet_fast("predict", softmax_model, "0.png")
    assert f"0.png  {found[0]['class']}  probability {found[0]['probability']:.4f}" in result.out


def test_predict_arrays_of_every_kind_alike(lenet_fast: Any, softmax_model: Path) -> None:
    images = SAMPLE.test.images[:4]
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    np.save("grey.npy", images)
    np.save("padded.npy", padded)
    np.save("floats.npy", images / 255)
    np.save("network.npy", data.prepare(images))
    np.save("fortran.npy", np.asfortranarray(images.astype(np.int64)))
    idx.write("images.idx", images)
    idx.write("images.gz", images)
    names = ["grey.npy", "padded.npy", "floats.npy", "network.npy", "fortran.npy"]
    names += ["images.idx", "images.gz"]
    result = lenet_fast("predict", softmax_model, *names, "--json")
    assert result.err == ""
    found = json.loads(result.out)
    assert len(found) == 4 * len(names)
    for number, each in enumerate(found):
        assert each["file"] == names[number // 4]
        assert each["index"] == number % 4
        assert each["probabilities"] == found[number % 4]["probabilities"]


def test_predict_one_image_and_none(lenet_fast: Any, rbf_model: Path) -> None:
    np.save("one.npy", SAMPLE.test.images[0])
    np.save("none.npy", SAMPLE.test.images[:0])
    [found] = json.loads(lenet_fast("predict", rbf_model, "one.npy", "none.npy", "--json").out)
    assert found["index"] is None
    assert found["penalty"] == min(found["penalties"])
    assert found["class"] == int(np.argmin(found["penalties"]))
    text = lenet_fast("predict", rbf_model, "one.npy").out
    assert f"one.npy  {found['class']}  penalty {found['penalty']:.2f}, then" in text


def test_predict_centres_arrays_of_other_sizes(lenet_fast: Any, softmax_model: Path) -> None:
    np.save("small.npy", SAMPLE.test.images[:2])
    np.save("large.npy", np.pad(SAMPLE.test.images[:2], ((0, 0), (3, 40), (30, 2))))
    found = json.loads(lenet_fast("predict", softmax_model, "small.npy", "large.npy", "--json").out)
    assert [each["class"] for each in found[:2]] == [each["class"] for each in found[2:]]
    result = lenet_fast("predict", softmax_model, "large.npy", "--no-centre")
    assert_one_line(result, "large.npy", "32 by 32")


def test_predict_goes_on_after_a_bad_file(lenet_fast: Any, rbf_model: Path) -> None:
    np.save("good.npy", SAMPLE.test.images[0])
    result = lenet_fast("predict", rbf_model, "missing.png", "good.npy")
    assert_one_line(result, "missing.png")
    assert "good.npy" in result.out


def _weird(folder: Path) -> dict[str, str]:
    """Write files that are no images of digits; return what the message must say of each."""
    folder.joinpath("text.png").write_text("this is no picture\n")
    folder.joinpath("empty.png").touch()
    folder.joinpath("folder").mkdir()
    folder.joinpath("packed.gz").write_bytes(gzip.compress(b"hello"))
    np.save(folder / "whole.npy", SAMPLE.test.images)
    folder.joinpath("cut.npy").write_bytes((folder / "whole.npy").read_bytes()[:5000])
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "words.npy", np.array(["seven"]))
    np.save(folder / "line.npy", np.zeros(784, np.uint8))
    np.save(folder / "nan.npy", np.full((28, 28), np.nan))
    np.save(folder / "grey300.npy", np.full((28, 28), 300))
    np.save(folder / "blank.npy", np.zeros((40, 40)))
    idx.write(folder / "labels.idx", SAMPLE.test.labels)
    return {
        "text.png": "image file",
        "empty.png": "empty file",
        "folder": "folder",
        "packed.gz": "IDX",
        "cut.npy": "cut.npy",
        "objects.npy": "objects.npy",
        "words.npy": "expected grey images",
        "line.npy": "expected grey images",
        "nan.npy": "nan",
        "grey300.npy": "300",
        "blank.npy": "blank",
        "labels.idx": "expected grey images",
    }


def test_predict_weird_files(lenet_fast: Any, rbf_model: Path, tmp_path: Path) -> None:
    for name, words in _weird(tmp_path).items():
        assert_one_line(lenet_fast("predict", rbf_model, name), name, words)


def _answers(result: Result) -> dict[str, list[int]]:
    """Return the digits found in each file."""
    found: dict[str, list[int]] = {}
    for each in json.loads(result.out):
        found.setdefault(each["file"], []).append(each["class"])
    return found


@pytest.fixture(scope="module")
def digits(softmax_model: Path) -> Any:
    """Return digits that the network reads, and what it reads in them."""
    images = SAMPLE.test.images[:8]
    known = files.load_model(softmax_model)
    return images, known.classify(images).tolist()


def test_predict_says_what_it_takes_an_array_for(
    lenet_fast: Any, softmax_model: Path, digits: Any
) -> None:
    images, expected = digits
    ways: dict[str, tuple[Any, str]] = {
        "bits.npy": (
            (images > 127).astype(np.uint8),
            "from 0 to 1, not 0 to 255: read as background",
        ),
        "sixteen.npy": (
            images.astype(np.int64) // 16,
            "from 0 to 15, not 0 to 255: read as background",
        ),
        "twice.npy": (images / 255 / 255, "read as background to foreground"),
        "table.npy": (images.reshape(8, 784), "8 rows of 784 numbers read as 28x28 pixels"),
        "colours.npy": (np.repeat(images[..., None], 3, axis=3), "colours converted to grey"),
        "dark.npy": (255 - images, "dark digits on light"),
    }
    for name, (array, _) in ways.items():
        np.save(name, array)
    idx.write("bits.idx", (images > 127).astype(np.uint8))
    idx.write("table.idx", images.reshape(8, 784))
    ways |= {"bits.idx": ways["bits.npy"], "table.idx": ways["table.npy"]}
    result = lenet_fast("predict", softmax_model, *ways, "--json")
    assert result.status == 0, result.err
    known = files.load_model(softmax_model)
    bits = known.classify(np.where(images > 127, np.uint8(255), np.uint8(0)))
    sixteen = known.classify(np.rint(images // 16 * 17.0).astype(np.uint8))
    for name, found in _answers(result).items():
        wanted = {"bits": bits.tolist(), "sixt": sixteen.tolist()}.get(name[:4], expected)
        assert found == wanted, name
    lines = result.err.splitlines()
    assert len(lines) == len(ways)
    for line, (name, (_, words)) in zip(lines, ways.items(), strict=True):
        assert line.startswith(f"{name}: ")
        assert words in line


def test_predict_goes_on_after_a_blank_image_of_several(
    lenet_fast: Any, softmax_model: Path, digits: Any
) -> None:
    images, expected = digits
    some = images.copy()
    some[2] = 0
    np.save("some.npy", some)
    np.save("blank.npy", np.zeros((28, 28), np.uint8))
    Image.new("L", (50, 50), "white").save("blank.png")
    np.save("last.npy", images[0])
    names = ("some.npy", "blank.npy", "blank.png", "last.npy")
    result = lenet_fast("predict", softmax_model, *names)
    assert result.status == 1
    wrong = [line.split(": ")[2] for line in result.err.splitlines()]
    assert wrong == ["some.npy[2]", "blank.npy", "blank.png"]
    assert result.err.count("expected a digit, got a blank image") == 3
    assert "some.npy[1]" in result.out
    assert "some.npy[2]" not in result.out
    assert "last.npy " in result.out
    found = json.loads(lenet_fast("predict", softmax_model, "some.npy", "--json").out)
    assert [each["index"] for each in found] == [0, 1, 3, 4, 5, 6, 7]
    assert [each["class"] for each in found] == expected[:2] + expected[3:]


def test_predict_goes_on_after_a_damaged_npy(lenet_fast: Any, softmax_model: Path) -> None:
    np.save("good.npy", SAMPLE.test.images[0])
    content = Path("good.npy").read_bytes()
    Path("cut.npy").write_bytes(content.replace(b"}", b" "))
    Path("octal.npy").write_bytes(content.replace(b"(28, 28)", b"(028, 8)"))
    Path("heic.npy").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = lenet_fast("predict", softmax_model, "cut.npy", "octal.npy", "heic.npy", "good.npy")
    assert result.status == 1
    assert result.err.count("\n") == 3, result.err
    assert "element type" not in result.err
    assert "good.npy" in result.out


def test_predict_transposed(lenet_fast: Any, softmax_model: Path, digits: Any) -> None:
    images, expected = digits
    idx.write("emnist", np.ascontiguousarray(images.transpose(0, 2, 1)))
    result = lenet_fast("predict", softmax_model, "emnist", "--json")
    assert _answers(result)["emnist"] != expected
    assert "--transpose" in result.err
    result = lenet_fast("predict", softmax_model, "emnist", "--transpose", "--json")
    assert _answers(result)["emnist"] == expected
    assert not result.err


@pytest.fixture(scope="module")
def inverted_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network that was trained on dark ink on light paper."""
    from lenet_fast.training import Constant, Trainer

    train, test = (
        data.Dataset(255 - each.images, each.labels, "inverted")
        for each in (SAMPLE.train.subset(2000), SAMPLE.test)
    )
    network = models.lenet5(output="softmax", pooling="max", initialiser="glorot_uniform")
    Trainer(network, schedule=Constant(0.02), batch_size=32).fit(train, test, epochs=3)
    path = tmp_path_factory.mktemp("model") / "inverted.safetensors"
    files.save_model(path, network, losses.CrossEntropy())
    return path


@pytest.mark.parametrize("old", [False, True])
def test_a_model_of_dark_ink_reads_all_kinds(
    lenet_fast: Any, inverted_model: Path, tmp_path: Path, old: bool
) -> None:
    network = files.load_model(inverted_model)
    assert network.inverted
    if old:  # a file from before networks remembered it
        network.inverted = None
        inverted_model = tmp_path / "old.safetensors"
        files.save_model(inverted_model, network)
    images, labels = SAMPLE.test.images[:40], SAMPLE.test.labels[:40]
    np.save("dark.npy", 255 - images)
    np.save("bright.npy", images)
    for number, image in enumerate(images):
        Image.fromarray(255 - image).save(f"dark{number}.png")
        Image.fromarray(image).save(f"bright{number}.png")
    right = []
    for names in (
        ["dark.npy"],
        ["bright.npy"],
        [f"dark{number}.png" for number in range(40)],
        [f"bright{number}.png" for number in range(40)],
    ):
        result = lenet_fast("predict", inverted_model, "--json", *names)
        right.append([each["class"] for each in json.loads(result.out)])
    for found in right:
        assert sum(np.array(found) == labels) >= 33
    assert right[0] == right[1]  # the same bytes in the end
    folder = _folder_of("inverted", 255)
    for place in (["--data", str(folder)], ["--dataset", "sample"]):
        result = lenet_fast("evaluate", inverted_model, "--json", *place)
        assert json.loads(result.out)["accuracy"] > 0.8
        assert ("get inverted" in result.err) == (place[0] == "--dataset")


def _folder_of(name: str, top: int) -> Path:
    """Write the sample's images as `top` minus their values."""
    folder = Path(name)
    folder.mkdir()
    for part, each in (("train", SAMPLE.train.subset(500)), ("t10k", SAMPLE.test.subset(300))):
        images = top - each.images if top == 255 else (each.images > 127).astype(np.uint8)
        idx.write(folder / f"{part}-images-idx3-ubyte", images)
        idx.write(folder / f"{part}-labels-idx1-ubyte", each.labels)
    return folder


def test_train_says_that_ink_is_dark_or_values_small(lenet_fast: Any) -> None:
    options = ("--epochs", "1", "--output", "softmax", "--pooling", "max")
    result = lenet_fast("train", "--data", _folder_of("dark", 255), *options, "--out", "run")
    assert result.status == 0
    assert "look inverted" in result.err
    assert files.load_model("run").inverted is True
    result = lenet_fast("train", "--data", _folder_of("bits", 1), *options, "--out", "other")
    assert result.status == 0
    assert "values from 0 to 1, not 0 to 255" in result.err
    assert files.load_model("other").inverted is False


def test_a_file_given_for_the_folder_of_data(lenet_fast: Any) -> None:
    folder = _folder_of("bits", 1)
    result = lenet_fast("train", "--data", folder / "train-images-idx3-ubyte")
    assert_one_line(result, "got a file; its folder is bits")


# --- export ----------------------------------------------------------------------------------


def test_export(lenet_fast: Any, rbf_model: Path) -> None:
    require("onnx")
    require("onnxruntime")
    Path("out.onnx").write_bytes(b"old")
    result = lenet_fast("export", rbf_model, "out.onnx")
    assert result.status == 0, result.err
    assert os.listdir() == ["out.onnx"]
    lines = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert lines["output"] == "outputs, n x 10, rbf"
    assert "-0.1 background to 1.175 foreground" in lines["input"]
    assert lines["compared"].startswith("with onnxruntime")
    assert float(lines["largest"].split()[1].rstrip(",")) < 1e-3
    assert lines["written"] == f"out.onnx, {os.path.getsize('out.onnx'):,} bytes"


def test_export_of_a_network_that_sees_16_pixels(lenet_fast: Any, tmp_path: Path) -> None:
    require("onnx")
    files.save_model(tmp_path / "1989", models.lenet1989(dtype="float64"))
    result = lenet_fast("export", "1989", "1989.onnx")
    assert result.status == 0, result.err
    assert "-1.0 background to 1.0 foreground" in result.out
    assert "with the reference of onnx" in result.out


def test_export_writes_nothing_that_answers_otherwise(
    lenet_fast: Any, rbf_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnx")
    from lenet_fast import onnx

    other = onnx.to_bytes(models.lenet5(seed=1))
    monkeypatch.setattr(onnx, "to_bytes", lambda network: other)
    words = ("differ by up to", "nothing is written")
    assert_one_line(lenet_fast("export", rbf_model, "a.onnx"), *words)
    assert not os.path.exists("a.onnx")


def test_export_without_onnx(
    lenet_fast: Any, rbf_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = lenet_fast("export", rbf_model, "a.onnx")
    assert_one_line(result, "pip install 'lenet_fast[onnx]'")


# --- plot -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run of the paper's network."""
    from lenet_fast.training import Trainer

    out = tmp_path_factory.mktemp("run") / "run"
    train, test = SAMPLE.train.subset(64), SAMPLE.test.subset(64)
    Trainer(models.lenet5(), out=out).fit(train, test, epochs=2)
    return out


@pytest.mark.parametrize("what", PICTURES)
def test_plot(lenet_fast: Any, run_folder: Path, what: str) -> None:
    require("matplotlib")
    words = () if what in ("distribution", "samples") else (run_folder,)
    result = lenet_fast("plot", *words, "--what", what, "--out", "a.png", "--dataset", "sample")
    assert result.status == 0, result.err
    assert result.err == ""
    assert result.out.endswith("picture   a.png\n")
    with Image.open("a.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == 1200


def test_plot_by_default_and_with_options(lenet_fast: Any, run_folder: Path) -> None:
    require("matplotlib")
    result = lenet_fast("plot", run_folder, run_folder, "--what", "errors", "--log", "--dpi", "75")
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith("picture   errors.png\n")
    with Image.open("errors.png") as picture:
        assert picture.width == 600
    words = ("--what", "saliency", "--image", "7", "--count", "2", "--dataset", "sample")
    assert lenet_fast("plot", run_folder, *words).status == 0
    assert sorted(os.listdir()) == ["errors.png", "saliency.png"]


@pytest.mark.slow
def test_plot_all(lenet_fast: Any, run_folder: Path) -> None:
    require("matplotlib")
    words = ("--what", "all", "--dataset", "sample")
    result = lenet_fast("plot", run_folder, *words, "--out", "new/pictures")
    assert result.status == 0, result.err
    drawn = {path.stem for path in Path("new/pictures").iterdir()}
    left_out = set(re.findall(r"left out  (\w+): ", result.out))
    assert drawn | left_out == set(PICTURES)
    assert not drawn & left_out
    assert lenet_fast("plot", *words).status == 0
    assert sorted(os.listdir("plots")) == ["distribution.png", "samples.png"]
    files.save_model("model", models.lenet5(output="softmax", connections="full"))
    result = lenet_fast("plot", "model", *words, "--out", "others")
    for line in ("errors: a model file has no history", "bitmaps: the network has no RBF outputs"):
        assert f"left out  {line}\n" in result.out
    assert "left out  table: no layer has a connection table\n" in result.out


def test_plot_as_its_user_runs_it(run_folder: Path, tmp_path: Path) -> None:
    require("matplotlib")
    out = tmp_path / "a.svg"
    words = ("plot", str(run_folder), "--what", "errors", "--out", str(out))
    done = run_python("-m", "lenet_fast", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "</svg>" in out.read_text()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("errors", "RUN_OR_MODEL: expected a run's folder, with the errors in its history.csv"),
        ("bitmaps", "network: expected one with RBF outputs, got 'softmax'"),
        ("table", "network: expected a layer with a connection table, got none"),
    ],
)
def test_plot_what_a_model_lacks(lenet_fast: Any, what: str, words: str) -> None:
    require("matplotlib")
    files.save_model("model", models.lenet5(output="softmax", connections="full"))
    status = 2 if words.startswith("RUN") else 1
    result = lenet_fast("plot", "model", "--what", what, "--out", "a.png")
    assert_one_line(result, words, status=status)
    assert os.listdir() == ["model"]


def test_plot_an_image_that_is_not_there(lenet_fast: Any, rbf_model: Path) -> None:
    require("matplotlib")
    words = ("--what", "features", "--dataset", "sample", "--out", "a.png", "--image", "1000")
    assert_one_line(lenet_fast("plot", rbf_model, *words), "--image: expected 0 to 999", status=2)


def test_plot_without_matplotlib(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "lenet_fast.plots.figures", raising=False)  # of other tests
    result = lenet_fast("plot", "--what", "samples", "--out", "a.png")
    assert_one_line(result, "pip install 'lenet_fast[plot]'")


# --- wrong input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tran"], "tran"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--epochs", "many"], "many"),
        (["train", "--batch-size", "-1"], "--batch-size"),
        (["train", "--output", "hardmax"], "hardmax"),
        (["train", "--backend", "fortran"], "fortran"),
        (["train", "--threads", "0"], "--threads"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--seed", str(2**63)], "--seed"),
        (["train", "--rates", "0.1;0.2"], "0.1;0.2"),
        (["train", "--rates", "0.1", "--rate", "0.1"], "--rates"),
        (["train", "--step", "2", "--schedule", "cosine"], "step_decay only, got cosine"),
        (["train", "--rates", "0.1", "--schedule", "cosine"], "--rates: expected without"),
        (["train", "--warmup", "0.1", "--schedule", "constant"], "--warmup: expected with"),
        (["train", "--warmup", "1"], "'--warmup': 1.0 is not in the range"),
        (["train", "--recipe", "slow"], "'slow' is not one of 'paper', 'fast', 'accurate'"),
        (
            ["train", "--dataset", "sample", "--limit", "5001"],
            "--limit: expected at most the 5,000",
        ),
        (["train", "--overwrite"], "--out"),
        (["train", "--rate", "nan"], "'--rate': nan is not a finite number"),
        (["train", "--rate", "inf"], "'--rate': inf is not a finite number"),
        (["train", "--rate", "-1"], "'--rate': -1.0 is not in the range x>0"),
        (["train", "--rate", "0"], "'--rate': 0.0 is not in the range x>0"),
        (["train", "--rates", "0.1,0"], "'--rates': 0.0 is not in the range x>0"),
        (["train", "--rates", "0.1,nan"], "'--rates': nan is not a finite number"),
        (["train", "--step", "1", "--decay-rate", "0"], "'--decay-rate': 0.0 is not in the range"),
        (["train", "--momentum", "1"], "'--momentum': 1.0 is not in the range 0<=x<1"),
        (["train", "--momentum", "nan"], "'--momentum': nan is not a finite number"),
        (["train", "--weight-decay", "-1"], "'--weight-decay': -1.0 is not in the range x>=0"),
        (["train", "--data", "nowhere", "--dataset", "sample"], "--data: expected none with"),
        (["train", "--average-from", "5", "--epochs", "4"], "--average-from: expected at most"),
        (["train", "--average-from", "21"], "--average-from: expected at most the last epoch, 6"),
        (["train", "--engine", "online"], "--engine online: expected with --batch-size 1, got 32"),
        (["plot", "run", "--what", "samples", "--out", "a.png"], "RUN_OR_MODEL: expected none"),
        (["bench", "--seconds", "nan"], "'--seconds': nan is not a finite number"),
        (["reproduce", "1989", "--quick", "--seeds", "3"], "--quick: expected without --seeds"),
        (
            ["bench", "--only", "latency", "--threads", "2"],
            "--threads: expected with more than single",
        ),
        (
            ["bench", "--only", "batch", "--only", "C9"],
            "--only: expected a part of a name such as",
        ),
        (["train", "--loss", "cross_entropy"], "--loss: expected map or penalty with"),
        (["train", "--rubbish"], "--rubbish"),
        (["train", "surplus"], "surplus"),
        (["evaluate"], "RUN_OR_MODEL"),
        (["predict", "model"], "FILES"),
        (["export", "run"], "OUT: expected a name that ends in .onnx"),
        (["plot", "run", "--out", "a.png"], "--what"),
        (["plot", "run", "--what", "errors", "--count", "3"], "--count: expected with --what"),
        (["plot", "run", "--what", "table", "--log"], "--log: expected with --what errors"),
        (["plot", "run", "--what", "table", "--dpi", "9"], "--dpi"),
        (["plot", "run", "other", "--what", "table"], "RUN_OR_MODEL: expected one with --what"),
        (["plot", "run", "--what", "colours", "--out", "a.png"], "colours"),
        (["plot", "--what", "errors", "--out", "a.png"], "RUN_OR_MODEL"),
        (["plot", "run", "--what", "errors", "--image", "1", "--out", "a.png"], "--image"),
        (["serve", "--host", ""], "--host: expected an address"),
        (["serve", "--port", "65536"], "--port"),
    ],
)
def test_wrong_calls(lenet_fast: Any, arguments: list[str], words: str) -> None:
    assert_one_line(lenet_fast(*arguments), words, "--help", status=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--data", "empty"], "empty"),
        (["train", "--data", "damaged"], "train-images"),
        (["evaluate", "text"], "text"),
        (["evaluate", "cut.safetensors"], "cut.safetensors"),
        (["evaluate", "altered.safetensors"], "altered.safetensors"),
        (["evaluate", "picture.png"], "picture.png"),
        (["predict", "picture.png", "picture.png"], "picture.png"),
        (["export", "text", "a.onnx"], "text"),
        (["plot", "text", "--what", "filters", "--out", "a.png"], "text"),
    ],
)
def test_wrong_input(lenet_fast: Any, rbf_model: Path, arguments: list[str], words: str) -> None:
    Path("empty").mkdir()
    Path("damaged").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        Path("damaged", f"{name}-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    Path("text").write_text("hello")
    model = rbf_model.read_bytes()
    Path("cut.safetensors").write_bytes(model[:1000])
    Path("altered.safetensors").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    before = sorted(os.listdir())
    assert_one_line(lenet_fast(*arguments), words)
    assert sorted(os.listdir()) == before


ERRORS = ("plot", "text", "--what", "errors", "--out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", *SHORT, "--out", "text"), "--out: expected a folder, got the file text"),
        (("train", *SHORT, "--out", "text/a"), "--out: expected a folder, got the file text"),
        (("train", *SHORT, "--out", "link"), "--out: expected a folder, got the link to nowhere"),
        (("train", "--resume", "nowhere"), "--resume: expected the checkpoint of a run, but"),
        (("train", "--resume", "empty"), "but there is no empty/checkpoint.safetensors"),
        (("train", "--resume", "text"), "--resume: expected a run's folder or its checkpoint"),
        (("evaluate", "nowhere"), "RUN_OR_MODEL: expected a model file or a run's folder, but"),
        (("evaluate", "empty"), "but no model.safetensors in empty"),
        (("export", "text", "a.safetensors"), "OUT: expected a name that ends in .onnx, got"),
        (("export", "text", "nowhere/a.onnx"), "OUT: expected an existing folder, but there"),
        (("export", "nowhere", "a.onnx"), "RUN_OR_MODEL: expected a model file"),
        ((*ERRORS, "nowhere/a.png"), "--out: expected an existing folder, but there is no nowhere"),
        ((*ERRORS, "a.gif"), "--out: expected a name that ends in one of .png, .svg, .pdf, got"),
        ((*ERRORS, "dir.png"), "--out: expected a file, got the folder dir.png"),
        ((*ERRORS, "a.png"), "RUN_OR_MODEL: expected a run's folder, with the errors in its"),
        (("plot", "empty", *ERRORS[2:], "a.png"), "there is no empty/history.csv"),
        (("plot", "nowhere", "--what", "filters"), "RUN_OR_MODEL: expected a model file"),
        (("plot", "--what", "all", "--out", "text"), "--out: expected a folder, got the file text"),
        (("plot", "--what", "all", "--out", "text/a"), "--out: expected a folder, got the file"),
        (("plot", "--what", "samples", "--count", "981"), "--count: expected 1 to 980 with --what"),
        (("plot", "a", "--what", "saliency", "--count", "11"), "--count: expected 1 to 10 with"),
        (("compare", "empty", "text", "--out", "a.gif"), "--out: expected a name that ends in"),
        (
            ("compare", "empty", "text", "--out", "dir.png"),
            "--out: expected a file, got the folder",
        ),
        (("compare", "empty", "text"), "RUN: expected a run's folder, but there is no empty/hist"),
        (("compare", "text", "empty"), "RUN: expected a run's folder, with the errors in its"),
        (("notebook", "link"), "DIR: expected a folder, got the link to nowhere "),
        (("notebook", "text/a"), "DIR: expected a folder, got the file "),
        (("runs", "text"), "DIR: expected a folder with runs in it, got the file text"),
        (("runs", "link"), "DIR: expected a folder with runs in it, got the link to nowhere link"),
    ],
)
def test_a_wrong_argument_is_named(lenet_fast: Any, arguments: list[str], words: str) -> None:
    require("matplotlib")
    Path("empty").mkdir()
    Path("dir.png").mkdir()
    Path("text").write_text("hello")
    Path("link").symlink_to("absent")
    before = sorted(os.listdir())
    result = lenet_fast(*arguments)
    assert_one_line(result, words, f"; see lenet-fast {arguments[0]} --help", status=2)
    assert result.out == ""
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [("train", *SHORT), ("train", *SHORT, "--out", "below/run"), ("plot", "--what", "samples")],
)
@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_a_current_folder_that_cannot_be_written(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Also for the superuser, who may write anywhere."""

    def denied(path: Any, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(Path, "mkdir", denied)
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = lenet_fast(*arguments, "--dataset", "sample")
    assert_one_line(result, ": Permission denied; --out names another place")
    assert os.listdir() == []


def test_help_shows_no_range_where_there_is_none(lenet_fast: Any) -> None:
    text = lenet_fast("train", "--help").out
    assert "None" not in text
    assert "[x>0]" in text


def test_a_network_that_sees_16_pixels_gets_digits_shrunk(lenet_fast: Any, tmp_path: Path) -> None:
    model = models.lenet1989()
    files.save_model("1989", model)
    sample = data.load("sample").test
    found = model.classify(data.as_1989(sample).images)
    result = lenet_fast("evaluate", "1989", "--dataset", "sample", "--json")
    assert json.loads(result.out)["errors"] == np.count_nonzero(found != sample.labels)
    np.save("digits.npy", sample.images[:20])
    result = lenet_fast("predict", "1989", "digits.npy", "--json")
    assert [each["class"] for each in json.loads(result.out)] == found[:20].tolist()
    require("matplotlib")
    for what in ("features", "confusion"):
        result = lenet_fast(
            "plot", "1989", "--what", what, "--out", f"{what}.png", "--dataset", "sample"
        )
        assert result.status == 0, result.err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("shape", [(1, 32, 30), (2, 8, 8)])
def test_models_of_other_tasks(lenet_fast: Any, command: str, shape: tuple[int, int, int]) -> None:
    layer = layers.Dense(shape[0] * shape[1] * shape[2], 10)
    files.save_model("other", network.Network([layer], input_shape=shape))
    more = ["digit.png"] if command == "predict" else ["--dataset", "sample"]
    Image.new("L", (8, 8)).save("digit.png")
    result = lenet_fast(command, "other", *more)
    if shape[1] != shape[2]:
        assert_one_line(
            result, "expected a network for square images, got one for images of 1 x 32"
        )
    elif command == "predict":
        assert "digit.png: expected a .npy file for a network of 2 channels" in result.err
    else:
        assert_one_line(result, "expected a network for square images of one map, as the bundled s")


def test_resuming_remembers_where_the_data_are(lenet_fast: Any) -> None:
    sample = data.load("sample")
    for folder in ("old", "new"):
        Path(folder).mkdir()
        for name, part in (("train", sample.train.subset(200)), ("t10k", sample.test.subset(50))):
            idx.write(Path(folder, f"{name}-images-idx3-ubyte"), part.images)
            idx.write(Path(folder, f"{name}-labels-idx1-ubyte"), part.labels)
    begin = ("train", "--data", "old", "--epochs", "1", "--out", "run")
    assert lenet_fast(*begin).status == 0
    shutil.rmtree("old")
    assert lenet_fast("train", "--resume", "run", "--epochs", "2", "--data", "new").status == 0
    assert lenet_fast("train", "--resume", "run", "--epochs", "3").status == 0


def test_names_do_nothing_to_the_terminal(lenet_fast: Any, rbf_model: Path) -> None:
    result = lenet_fast("predict", rbf_model, "bell\a\x1b[31m.npy")
    assert_one_line(result, "\\x07", "\\x1b")
    assert "\x1b" not in result.err


@pytest.mark.parametrize("option", ["dataset", "data", "limit"])
@pytest.mark.parametrize("text", ["\ud800", "x" * 200_000, "\x1b[31m"])
def test_a_run_with_odd_options_takes_a_line(lenet_fast: Any, option: str, text: str) -> None:
    begin = ("train", "--dataset", "sample", "--limit", "64", "--epochs", "1", "--out", "run")
    assert lenet_fast(*begin).status == 0
    path = "run/checkpoint.safetensors"
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata["run"]["options"][option] = text
    parts = ("network", "loss", "optimiser", "schedule", "distortion", "run")
    altered = {name: metadata[name] for name in parts}
    files.write_tensors(path, "checkpoint", tensors, altered)
    for more in ((), ("--limit", "64")):
        result = lenet_fast("train", "--resume", "run", *more)
        assert_one_line(result, status=result.status)
        assert result.status in (1, 2)
        assert len(result.err) < 500
        assert "\x1b" not in result.err


def test_traceback_on_request(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_FAST_TRACEBACK", "1")
    result = lenet_fast("evaluate", "nowhere")
    assert result.status == 2
    assert "Traceback" in result.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lenet_fast", "data", "--dataset", "sample"],
            env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "lenet-fast: error: standard output: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize(("arguments", "status"), [("train --nonsense", 2), ("evaluate no", 2)])
def test_the_status_stands_where_nobody_can_be_told(arguments: str, status: int) -> None:
    command = [sys.executable, "-m", "lenet_fast", *arguments.split()]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    with open("/dev/full", "w") as full:
        assert (
            subprocess.run(command, env=environment, stderr=full, check=False).returncode == status
        )
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as broken:
        done = subprocess.run(command, env=environment, stderr=broken, check=False)
    assert done.returncode == status


# --- poor machines -------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="a shell closes streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "train --help",
        "info --json",
        "evaluate {model} --dataset sample",
        "predict {model} {picture} --json",
        "export {model} model.onnx",
        "train --dataset sample --limit 128 --epochs 1 --output softmax --out run",
    ],
)
def test_closed_streams_are_nobodys_fault(
    arguments: str, closed: str, softmax_model: Path, tmp_path: Path
) -> None:
    if "onnx" in arguments:
        require("onnx")
    picture = tmp_path / "seven.png"
    Image.fromarray(SAMPLE.test.images[0]).save(picture)
    line = arguments.format(model=softmax_model, picture=picture)
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m lenet_fast {line} {closed}', sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    for made in ("run", "onnx"):
        assert any(path.match(f"*{made}*") for path in tmp_path.iterdir()) == (made in line)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, lenet_fast: Any) -> Any:
    """Return a function that runs the command line as a container's user without a home does."""
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LENET_FAST_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    return lenet_fast


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system knows a home")
def test_without_a_home_there_is_no_cache(homeless: Any, softmax_model: Path) -> None:
    result = homeless("info")
    assert result.status == 0
    words = "no home folder is known here; set LENET_FAST_CACHE to a cache folder"
    assert words in " ".join(result.out.split())
    result = homeless("data", "--dataset", "sample")
    assert result.status == 0
    assert "set LENET_FAST_CACHE to a cache folder" in " ".join(result.out.split())
    result = homeless("train", *SHORT[2:], "--out", "run")
    assert result.status == 0
    assert "NOT THE FULL MNIST" in result.err
    assert "set LENET_FAST_CACHE to a cache folder" in " ".join(result.err.split())
    assert homeless("evaluate", softmax_model).status == 0
    for arguments in (("data",), ("train", *SHORT[2:], "--dataset", "emnist-digits")):
        result = homeless(*arguments)
        assert result.status == 1
        assert "cache: no home folder is known here; set LENET_FAST_CACHE to" in result.err


@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_an_error_of_the_library_names_the_option(lenet_fast: Any, name: str) -> None:
    result = lenet_fast("plot", "--what", "samples", "--out", name)
    words = f"--out: expected a name that ends in one of .png, .svg, .pdf, got {name}"
    assert_one_line(result, words, status=2)
    assert not os.path.lexists(name)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system knows a home")
def test_a_home_that_nobody_knows(homeless: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = homeless("train", *SHORT[2:], "--data", "~/mnist", "--out", "run")
    words = "--data: expected a path, got '~/mnist', but no home folder is known"
    assert_one_line(result, words, status=2)
    result = homeless("serve", "--out", "~/page", "--no-browser")
    assert_one_line(result, "--out: expected a path, got '~/page'", status=2)
    monkeypatch.setenv("LENET_FAST_CACHE", "~/cache")
    result = homeless("data")
    assert result.status == 1
    assert "cache: LENET_FAST_CACHE: expected a path, got '~/cache'" in result.err
    monkeypatch.setenv("LENET_FAST_DATA", "~/mnist")
    assert_one_line(homeless("data"), "LENET_FAST_DATA: expected a path, got '~/mnist'")


def test_a_cache_that_cannot_be_one(lenet_fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("LENET_FAST_CACHE", "file")
    assert lenet_fast("info").status == 0
    result = lenet_fast("data")
    assert result.status == 1
    assert "cache file/mnist: " in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("can't start new thread"), "the system has no thread left"),
        (RecursionError("maximum recursion depth exceeded"), "with less nesting"),
        (MemoryError(), "out of memory"),
        (KeyError("engine"), "a bug in lenet-fast, please report it: KeyError: 'engine'"),
        (AttributeError("two\nlines"), "please report it: AttributeError: two lines; LENET_FAST"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
    ],
)
def test_no_error_is_a_traceback(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(data, "load", fail)
    assert_one_line(lenet_fast("data"), words)
    monkeypatch.setenv("LENET_FAST_TRACEBACK", "1")
    assert "Traceback" in lenet_fast("data").err


def test_without_threads_it_computes_the_same(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch, softmax_model: Path
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expected = lenet_fast("evaluate", softmax_model, "--dataset", "sample", "--json").out
    assert lenet_fast("train", *SHORT, "--threads", "3", "--out", "judge").status == 0
    monkeypatch.setattr(threading.Thread, "start", refuse)
    result = lenet_fast("evaluate", softmax_model, "--dataset", "sample", "--json", "--threads", 3)
    assert (result.status, json.loads(result.out)["errors"]) == (0, json.loads(expected)["errors"])
    assert lenet_fast("train", *SHORT, "--threads", "3", "--out", "run").status == 0
    judge, model = (Path(name, runs.MODEL).read_bytes() for name in ("judge", "run"))
    assert model == judge
