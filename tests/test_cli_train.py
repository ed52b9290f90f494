"""``lenet-fast train``: the older networks, options of earlier runs, second names, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from cli_cases import assert_one_line
from PIL import Image

from lenet_fast import cli, data, defaults, engines, files, losses, models
from lenet_fast.cli import common, help, settings
from lenet_fast.data import distort
from lenet_fast.locks import LockedFolder
from lenet_fast.training import SDLM, checkpoints, runs
from lenet_fast.training.schedules import LENET5_1998_RATES

SAMPLE = data.load("sample")
SHORT = ("--dataset", "sample", "--limit", "128", "--epochs", "1")


def options_of(run: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(Path(run, "config.toml").read_text())["options"]
    return found


# --- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["lenet5", *defaults.MODELS])
def test_every_network_trains_and_is_read_by_all_commands(lenet_fast: Any, model: str) -> None:
    result = lenet_fast("train", *SHORT, "--model", model)
    assert result.status == 0, result.err
    assert ("digits of 16x16 pixels" in result.out) == (model in ("lenet1", "lenet1989"))
    run = Path("runs", model)
    network = files.load_model(run / "model.safetensors")
    assert network.counts() == getattr(models, model)().counts()
    assert network.reduced == (model == "lenet1")
    evaluated = lenet_fast("evaluate", run, "--dataset", "sample", "--json")
    best = runs.read_history(run).best
    assert best is not None
    assert json.loads(evaluated.out)["errors"] == best.test_errors
    Image.fromarray(SAMPLE.test.images[0]).save("digit.png")
    assert lenet_fast("predict", run, "digit.png").status == 0
    assert lenet_fast("info", run).status == 0
    assert lenet_fast("train", "--resume", run, "--epochs", "2").status == 0
    result = lenet_fast("train", "--resume", run, "--model", "lenet5", "--epochs", "2")
    assert result.status == (0 if model == "lenet5" else 2)


def test_the_older_networks_see_digits_as_reproduce_gives_them(lenet_fast: Any) -> None:
    for model, reduced in (("lenet1", data.as_1990), ("lenet1989", data.as_1989)):
        assert lenet_fast("train", *SHORT, "--model", model, "--out", model).status == 0
        checkpoint = checkpoints.load(Path(model, runs.CHECKPOINT))
        expected = reduced(SAMPLE.test)
        network, loss = files.read_model(Path(model, runs.MODEL))[:2]
        engine = engines.create(network, loss)
        assert checkpoint.test.name == expected.name
        assert engine.evaluate(expected.images, expected.labels).errors == (
            checkpoint.rows[0].test_errors
        )
        engine.close()


def test_reduced_digits_are_a_part_of_the_model(lenet_fast: Any, tmp_path: Path) -> None:
    network = models.lenet1()
    network.reduced = True
    files.save_model(tmp_path / "reduced.safetensors", network, losses.MeanSquaredError())
    loaded = files.load_model(tmp_path / "reduced.safetensors")
    assert loaded.reduced
    np.testing.assert_array_equal(
        common.fitted(loaded, SAMPLE.test.images[:3]), data.as_1990(SAMPLE.test).images[:3]
    )
    assert "reduced" not in models.lenet1().config()
    with pytest.raises(ValueError, match="reduced: expected true or false, got"):
        type(network).from_config(network.config() | {"reduced": 1})


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["--model", "lenet1", "--pooling", "max"], "--pooling: expected with --model lenet5 only"),
        (
            ["--model", "lenet1989", "--output", "linear"],
            "--output: expected with --model",
        ),
        (["--model", "lenet4", "--output", "rbf"], "--output: expected one of linear, softmax"),
        (["--model", "lenet4", "--recipe", "fast"], "--recipe: expected with --model lenet5 only"),
        (["--output-activation", "relu"], "--output-activation: expected with --model lenet1989"),
        (["--model", "lenet6"], "'lenet6' is not one of 'lenet5', 'lenet4'"),
        (["--smoothing", "0.1"], "--smoothing: expected with --loss cross_entropy only, got map"),
        (["--output", "softmax", "--j", "3"], "--j: expected with --loss map only"),
        (["--j", "-1"], "'--j': -1.0 is not in the range"),
        (["--model", "lenet4", "--target-on", "-2"], "--target-on: expected a target above"),
        (["--target-on", "1"], "--target-on: expected with --loss mean_squared_error only"),
        (["--extra-dense", "0"], "'--extra-dense': 0 is not in the range"),
        (["--last-rate", "1"], "--last-rate: expected at most --rate, 0.0028, got 1"),
        (
            ["--last-rate", "1", "--schedule", "one_cycle"],
            "--last-rate: expected with --schedule cosine only",
        ),
        (["--warmup", "x"], "'--warmup': 'x' is not a valid number"),
        (["--epochs", "x"], "'--epochs': 'x' is not a valid integer"),
        (["--optimiser", "sdlm", "--warmup", "0.1"], "--optimiser sdlm: expected together with"),
        (["--distort", "shift=200"], "'--distort': shift: expected 0 to 100, got 200"),
        (["--distort", "shift"], "amounts such as shift=2,rotation=10, out of shift, scale"),
        (["--distort", "shift=1,shift=2"], "'--distort': expected none, paper, elastic"),
        (["--overwrite"], "--overwrite: expected together with --out"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_a_network_does_not_have_is_refused(
    lenet_fast: Any, command: list[str], words: str
) -> None:
    assert_one_line(lenet_fast("train", *SHORT, *command), words, status=2)
    assert not Path("runs").exists()


def test_options_reach_the_library(lenet_fast: Any) -> None:
    command = ["--model", "lenet5", "--extra-dense", "7", "--dtype", "float64", "--no-shuffle"]
    command += ["--output", "softmax", "--label-smoothing", "0.25", "--schedule", "cosine"]
    command += ["--last-rate", "0.001", "--optimiser", "rmsprop", "--alpha", "0.5", "--centred"]
    command += ["--distort", "shift=1.5,rotation=3"]
    result = lenet_fast("train", *SHORT, *command, "--out", "run")
    assert result.status == 0, result.err
    run = checkpoints.load(Path("run", runs.CHECKPOINT))
    assert run.network.config() | {"inverted": False} == (
        models.lenet5(output="softmax", extra_dense=7, dtype="float64").config()
        | {"inverted": False}
    )
    assert run.loss.config() == losses.CrossEntropy(0.25).config()
    assert run.optimiser.config()["alpha"] == 0.5
    assert run.optimiser.config()["centered"] is True
    assert run.schedule.config()["last"] == 0.001
    assert run.distortion == distort.Distortion(shift=1.5, rotation=3)
    assert not run.shuffle


def test_sdlm_takes_the_steps_and_rates_of_the_paper(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--optimiser", "sdlm", "--patterns", "50", "--out", "run")
    assert result.status == 0, result.err
    run = checkpoints.load(Path("run", runs.CHECKPOINT))
    assert run.batch_size == 1
    assert run.optimiser.config() == SDLM(1.0, patterns=50).config()
    assert run.schedule.config()["rates"] == list(LENET5_1998_RATES)


# --- options of an earlier run --------------------------------------------------------------


def test_a_config_starts_the_same_run_again(lenet_fast: Any) -> None:
    first = ["--model", "lenet4", "--output", "softmax", "--smoothing", "0.1", "--seed", "3"]
    first += ["--optimiser", "adadelta", "--rho", "0.8", "--rates", "0.5,0.25", "--epochs", "2"]
    assert lenet_fast("train", *SHORT, *first, "--out", "one").status == 0
    for file in ("one", "one/config.toml"):
        result = lenet_fast("train", "--config", file, "--out", "two", "--overwrite")
        assert result.status == 0, result.err
        assert options_of("one") == options_of("two")
        assert (
            Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()
        )


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ([], ["--seed", "5"], {"seed": 5, "optimiser": "sgd", "rate": 0.0028}),
        ([], ["--rate", "0.001"], {"rate": 0.001, "momentum": 0.9}),
        ([], ["--batch-size", "16"], {"rate": 0.0014, "batch_size": 16}),
        (["--batch-size", "16"], ["--batch-size", "32"], {"rate": 0.0028}),
        (["--rate", "0.02"], ["--batch-size", "16"], {"rate": 0.02}),
        (["--schedule", "constant"], ["--batch-size", "16"], {"rate": 0.00035}),
        (["--schedule", "constant", "--rate", "0.02"], ["--batch-size", "16"], {"rate": 0.02}),
        ([], ["--schedule", "constant"], {"rate": 0.0007, "warmup": None}),
        ([], ["--step", "2"], {"schedule": "step_decay", "rate": 0.0007, "warmup": None}),
        (["--recipe", "fast"], ["--schedule", "cosine"], {"rate": 0.1, "warmup": 0.0}),
        (["--recipe", "fast", "--output", "softmax"], ["--optimiser", "sgd"], {"rate": 0.1}),
        (["--loss", "penalty"], ["--output", "rbf"], {"loss": "penalty", "rate": 0.0021}),
        (["--recipe", "fast"], ["--last-rate", "0.001"], {"schedule": "cosine", "rate": 0.1}),
        (
            ["--recipe", "fast", "--schedule", "cosine"],
            ["--schedule", "one_cycle"],
            {"rate": 0.1, "warmup": 0.15, "last_rate": None},
        ),
        (["--recipe", "fast", "--warmup", "0.4"], ["--seed", "2"], {"warmup": 0.4}),
        (["--optimiser", "adamw"], ["--batch-size", "8"], {"rate": 0.001}),
        ([], ["--optimizer", "adamw"], {"rate": 0.002, "momentum": None, "weight_decay": 0.01}),
        ([], ["--output", "softmax"], {"loss": "cross_entropy", "j": None, "rate": 0.03}),
        ([], ["--model", "lenet1"], {"model": "lenet1", "recipe": None, "rate": 0.015}),
        (["--model", "lenet1"], ["--model", "lenet5"], {"loss": "map", "rate": 0.0028}),
        (["--recipe", "accurate"], ["--distort", "none"], {"distort": "none", "rate": 0.1}),
        (["--recipe", "accurate", "--distort", "none"], [], {"distort": "none"}),
        (["--rates", "0.001"], ["--lr", "0.002"], {"rates": None, "schedule": "one_cycle"}),
        (["--rates", "0.001"], ["--step", "2"], {"rates": None, "schedule": "step_decay"}),
        (["--optimiser", "sdlm"], ["--optimiser", "sgd"], {"rates": None, "batch_size": 1}),
        ([], ["--optimiser", "sdlm"], {"schedule": "rate_list", "batch_size": 1, "warmup": None}),
        (["--step", "3"], ["--optimiser", "sdlm"], {"schedule": "rate_list", "step": None}),
        (["--last-rate", "0.0001"], ["--optimiser", "sdlm"], {"schedule": "rate_list"}),
        (["--optimiser", "sdlm"], ["--mu", "2"], {"mu": 2.0, "schedule": "rate_list"}),
        (["--optimiser", "sdlm", "--rate", "0.001"], [], {"rate": 0.001, "schedule": "one_cycle"}),
        ([], ["--optimiser", "sdlm", "--batch-size", "4", "--rate", "0.001"], {"rate": 0.001}),
        (["--activation", "relu"], ["--activation", "tanh"], {"initialiser": "lecun_sqrt"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_options_override_a_config(
    lenet_fast: Any, first: list[str], then: list[str], expected: dict[str, Any]
) -> None:
    assert lenet_fast("train", *SHORT, *first, "--out", "one").status == 0
    result = lenet_fast("train", "--config", "one", *then, "--out", "two")
    assert result.status == 0, result.err
    found = options_of("two")
    assert {name: found.get(name) for name in expected} == expected
    assert found["limit"] == 128


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[options", "expected TOML"),
        ("", "expected a table [options]"),
        ("options = 3", "expected a table [options]"),
        ("[options]\nrat = 3", "got rat; did you mean rate?"),
        ("[options]\nthreads = 3", "got threads"),
        ("[options]\nrate = -3", "rate = -3: -3.0 is not in the range x>0"),
        ("[options]\nrate = 'x'", "rate = 'x': 'x' is not a valid number"),
        ("[options]\nrate = nan", "rate = nan: "),
        ("[options]\nbatch_size = 1.5", "batch_size = 1.5: '1.5' is not a valid integer"),
        ("[options]\nbatch_size = true", "batch_size = True: expected a number or a text"),
        ("[options]\nshuffle = 1", "shuffle = 1: expected true or false"),
        ("[options]\npooling = 'mean'", "'mean' is not one of 'subsample', 'average', 'max'"),
        ("[options]\nactivation = 'swish'", "activation = 'swish': expected one of scaled_tanh"),
        ("[options]\nrates = [0.1, -1]", "rates = [0.1, -1]: -1.0 is not in the range x>0"),
        ("[options]\noptimiser = 'adamw'\nmomentum = 0.5", "--momentum: expected with"),
        ("[options]\nmodel = 'lenet1'\nrecipe = 'fast'", "--recipe: expected with --model"),
        ("[options]\nseed = 0\n[run]\nepochs = 0", "epochs = 0: 0 is not in the range x>=1"),
    ],
)
def test_a_bad_config_is_refused(lenet_fast: Any, text: str, words: str) -> None:
    Path("config.toml").write_text(text)
    result = lenet_fast("train", "--config", "config.toml", "--dataset", "sample")
    assert_one_line(result, words, status=2)
    assert not Path("runs").exists()


def test_config_goes_with_neither_resume_nor_recipe(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--out", "run").status == 0
    result = lenet_fast("train", "--config", "run", "--recipe", "fast")
    assert_one_line(result, "--recipe: expected without --config", status=2)
    result = lenet_fast("train", "--config", "run", "--resume", "run")
    assert_one_line(result, "--config: a run resumes with its own options", status=2)
    assert_one_line(lenet_fast("train", "--config", "none"), "there is no", status=2)


def test_configs_of_other_origins(lenet_fast: Any) -> None:
    """One of Python has more than options; older ones lack some."""
    from lenet_fast.training import recipes

    trainer = recipes.FAST.trainer(seed=3, out="python")
    trainer.fit(SAMPLE.train.subset(64), SAMPLE.test.subset(64), 1)
    result = lenet_fast("train", "--config", "python")
    assert_one_line(result, "got one that was started in Python", status=2)

    command = ("train", *SHORT, "--recipe", "accurate", "--distort", "none", "--out", "new")
    assert lenet_fast(*command).status == 0
    lines = Path("new/config.toml").read_text().splitlines()
    added = ("model", "distort", "dtype", "shuffle", "on", "off", "scale", "j", "smoothing")
    kept = [line for line in lines if line.partition(" =")[0] not in added]
    Path("old.toml").write_text("\n".join(kept))
    assert lenet_fast("train", "--config", "old.toml", "--out", "again").status == 0
    assert options_of("again") == options_of("new")


def test_runs_of_older_versions_have_the_defaults_of_newer_options(tmp_path: Path) -> None:
    options = {"model": "lenet5", "shuffle": True, "distort": None, "out": tmp_path, "limit": 1}
    settings.check_same(options, {"model", "shuffle", "distort"}, {}, tmp_path)
    with pytest.raises(click.UsageError, match=r"--model: the run in .* has lenet5, got lenet4"):
        settings.check_same(options | {"model": "lenet4"}, {"model"}, {}, tmp_path)
    assert settings.of_run({}, tmp_path) == ("auto", None, "lenet5", None)


def test_a_short_config_of_ones_own(lenet_fast: Any) -> None:
    Path("mine.toml").write_text("[options]\nepochs = 1\nlimit = 128\ndataset = 'sample'\n")
    assert lenet_fast("train", "--config", "mine.toml", "--out", "one").status == 0
    assert lenet_fast("train", *SHORT, "--out", "two").status == 0
    assert options_of("one") == options_of("two")


# --- second names, help ---------------------------------------------------------------------


def test_second_names(lenet_fast: Any) -> None:
    command = ["--optimizer", "adam", "--lr", "0.01", "--batch", "64", "--network", "lenet4"]
    command += ["--initializer", "eblearn"]
    assert lenet_fast("train", *SHORT, *command, "--out", "one").status == 0
    found = options_of("one")
    assert (found["optimiser"], found["rate"], found["batch_size"]) == ("adam", 0.01, 64)
    text = lenet_fast("train", "--help").out
    assert "\n  --rate NUMBER " in text
    assert "Also --lr, --learning-rate." in " ".join(text.split())
    assert_one_line(lenet_fast("train", "--lr", "-1"), "'--rate': -1.0 is not in", status=2)


def test_help_comes_in_the_order_of_work(lenet_fast: Any) -> None:
    text = lenet_fast("--help").out
    places = [text.index(f"\n  {name} ") for name in ("train", "evaluate", "plot", "reproduce")]
    places.append(text.index("\n  bench "))
    assert places == sorted(places)
    text = lenet_fast("train", "--help").out
    heads = ("Run", "Data", "Network", "Loss", "Learning rate", "Optimiser", "Engine", "Files")
    places = [text.index(f"\n{head}") for head in heads]
    assert places == sorted(places)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(
    lenet_fast: Any, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("train", "predict"):
        lines = lenet_fast(command, "--help").out.partition("Example")[0].splitlines()
        assert max(map(len, lines)) <= columns


def test_help_is_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def text() -> str:
        context = click.Context(cli.train, info_name="train")
        context.formatter_class = help.Formatter
        return cli.train.get_help(context)

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" not in text()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[" in text()
    assert click.unstyle(text()).count("--rate NUMBER") == 1
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in text()


def test_help_needs_no_numpy() -> None:
    code = (
        "import sys\n"
        "from lenet_fast.cli import main\n"
        "for command in ([], ['train'], ['plot'], ['reproduce'], ['bench']):\n"
        "    try: main([*command, '--help'])\n"
        "    except SystemExit: pass\n"
        "print([m for m in ('numpy', 'rich', 'asyncio') if m in sys.modules])\n"
    )
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


# --- output ---------------------------------------------------------------------------------


def test_train_prints_json(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--json", "--out", "run")
    assert result.status == 0
    assert result.err == ""
    facts = json.loads(result.out)
    assert facts["best"] == facts["history"][0]
    assert facts["options"] | {"distort": None} == settings_of("run") | {"distort": None}
    assert (facts["train_images"], facts["test_images"], facts["interrupted"]) == (128, 1000, False)
    again = json.loads(lenet_fast("train", "--resume", "run", "--epochs", "2", "--json").out)
    assert [row["epoch"] for row in again["history"]] == [1, 2]


def settings_of(run: str) -> dict[str, Any]:
    return dict(checkpoints.load(Path(run, runs.CHECKPOINT)).options)


def test_train_says_what_to_do_next(lenet_fast: Any) -> None:
    result = lenet_fast("train", *SHORT, "--out", "a run")
    last = result.out.splitlines()[-3:]
    assert last[0].startswith("next ")
    assert last[0].endswith("evaluate 'a run' --dataset sample")
    assert "plot 'a run' --what mistakes --out mistakes.png --dataset sample" in last[1]
    assert last[2].endswith("serve 'a run' --dataset sample")


def test_every_option_spells_as_the_errors_say() -> None:
    for option in cli.train.params:
        assert settings.spelled(option.name) in {*option.opts, "--json", "--as-json"}


# --- ranges, faults -------------------------------------------------------------------------

RANGES = [
    (name, option)
    for name, command in cli.group.commands.items()
    for option in command.params
    if isinstance(option.type, (click.IntRange, click.FloatRange))
]


@pytest.mark.parametrize(
    ("command", "option"), RANGES, ids=[f"{name} {option.name}" for name, option in RANGES]
)
def test_every_number_out_of_range_has_the_same_status_and_names_the_option(
    lenet_fast: Any, command: str, option: click.Option
) -> None:
    shown = option.opts[0]
    wrong = ["-1e99", "1e999", "nan", "x"]
    if isinstance(option.type, click.IntRange):
        wrong += ["1.5", str((option.type.min or 0) - 1)]
        if option.type.max is not None:
            wrong.append(str(option.type.max + 1))
    arguments = {"reproduce": ["1989"], "plot": ["--what", "samples", "--out", "x.png"]}
    for value in wrong:
        if (option.name, value) in {("j", "1e999"), ("on", "-1e99"), ("off", "-1e99")}:
            continue  # in their ranges
        result = lenet_fast(command, *arguments.get(command, []), f"{shown}={value}")
        assert_one_line(result, f"'{shown}'", status=2)
    assert not Path("runs").exists()


def test_a_finished_run_stays_as_it_is_when_it_is_resumed(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--out", "run").status == 0
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    result = lenet_fast("train", "--resume", "run")
    assert result.status == 0
    assert "has completed its epoch; for more, pass --epochs" in result.err
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_run_in_use_is_told_of_the_option_that_named_it(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--out", "run").status == 0
    with LockedFolder("run"):
        for option, words in (
            ("--resume", ("--resume", "run", "--epochs", "2")),
            ("--out", (*SHORT, "--out", "run", "--overwrite")),
        ):
            result = lenet_fast("train", *words)
            assert_one_line(result, f"{option}: expected a folder that no other training writes to")


def test_an_epoch_takes_one_line_on_a_narrow_terminal() -> None:
    import io

    from rich.console import Console

    from lenet_fast.training import EpochTable, Trainer

    for columns in (40, 60, 80, 200):
        text = io.StringIO()
        console = Console(file=text, force_terminal=True, width=columns)
        trainer = Trainer(models.lenet5(output="softmax"), callbacks=[EpochTable(console)])
        history = trainer.fit(SAMPLE.train.subset(64), SAMPLE.test.subset(100), 1)
        lines = [click.unstyle(line) for line in text.getvalue().splitlines()]
        assert max(map(len, lines)) <= columns
        wrong = history.rows[0].test_errors
        assert f" {wrong}.00%" in lines[-1]
        assert f" {wrong} " in lines[-1]


def test_reports_break_between_words_on_a_narrow_terminal(
    lenet_fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    result = lenet_fast("train", *SHORT, "--out", "run")
    lines = result.out.split("next ")[0].splitlines()
    assert max(map(len, lines)) <= 80  # the epochs, where there is no terminal
    rest = [line for line in lines if "%" not in line and "---" not in line and "loss" not in line]
    assert max(map(len, rest)) <= 40
    assert "60,000" in " ".join(rest).split()
    text = lenet_fast("info", "run").out
    assert max(map(len, text.splitlines())) <= 40
    assert "connections  122,304" in text
    assert "parameters   60,000" in text


def test_errors_of_streams_and_files_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    full = OSError(errno.ENOSPC, "No space left on device")
    assert common.problem(full) == "standard output: No space left on device"
    named = OSError(errno.ENOSPC, "No space left on device", "run/x")
    assert common.problem(named) == "run/x: No space left on device"
    assert common.problem(OSError(errno.EMFILE, "Too many open files")) == "Too many open files"
    assert common.problem(OSError(errno.EAGAIN, "Try again")).startswith("no process or thread")


def test_second_names_of_a_flag_and_its_opposite(lenet_fast: Any) -> None:
    assert lenet_fast("train", *SHORT, "--out", "run").status == 0
    np.save("digit.npy", SAMPLE.test.images[0])
    for first, second in (("--centre", "--center"), ("--no-centre", "--no-center")):
        expected = lenet_fast("predict", "run", "digit.npy", first).out
        assert lenet_fast("predict", "run", "digit.npy", second).out == expected
    text = " ".join(lenet_fast("predict", "--help").out.split())
    assert "Also --center/--no-center." in text


def test_numba_is_said_to_compile_each_time_where_it_cannot_keep_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jit = pytest.importorskip("lenet_fast.backends.numba_backend.jit")
    jit.keeps.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(jit, "_nowhere", lambda: True)
            assert not jit.keeps()
        jit.keeps.cache_clear()
        with monkeypatch.context() as patch:

            def no_locator(*_: Any, **__: Any) -> None:
                raise RuntimeError("cannot cache function: no locator available")

            patch.setattr(jit, "_nowhere", lambda: False)
            patch.setattr(jit, "njit", no_locator)
            assert not jit.keeps()
    finally:
        jit.keeps.cache_clear()


@pytest.mark.parametrize(
    ("activation", "initialiser"), [("sigmoid", "glorot_sigmoid"), ("tanh", "eblearn")]
)
def test_sigmoids_start_from_their_own_weights(
    lenet_fast: Any, activation: str, initialiser: str
) -> None:
    """Also the network of 1989, which the program starts otherwise than the paper."""
    options = ("--model", "lenet1989", "--activation", activation, "--epochs", "1")
    result = lenet_fast("train", "--dataset", "sample", "--limit", "60", *options, "--out", "run")
    assert result.status == 0, result.err
    assert f'initialiser = "{initialiser}"' in Path("run/config.toml").read_text()
