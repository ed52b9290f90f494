"""Names that arguments take: their types match what runs; a type checker finds a wrong one."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from lenet_fast import (
    backends,
    choices,
    data,
    defaults,
    engines,
    initialisers,
    layers,
    losses,
    models,
    network,
    ops,
)
from lenet_fast.data import distort
from lenet_fast.ops import _activations, _conv2d, _losses, _pool2d, _subsample2d
from lenet_fast.training import OPTIMISERS, Trainer, schedules

ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = {
    "Activation": tuple(layers.ACTIVATIONS),
    "Algorithm": _conv2d.ALGORITHMS,
    "Backend": backends.NAMES,
    "Bias": _conv2d.BIASES,
    "Connections": ("table", "full"),
    "Curvature": ("paper", "exact"),
    "DType": network.DTYPES,
    "Dataset": data.DATASETS,
    "Distortion": tuple(distort.PRESETS),
    "Engine": engines.NAMES,
    "GeluForm": _activations.GELU_FORMS,
    "Initialiser": tuple(initialisers.INITIALISERS),
    "Loss": tuple(losses.LOSSES),
    "LossReduction": _losses.REDUCTIONS,
    "Optimiser": tuple(OPTIMISERS),
    "Output": network.OUTPUTS,
    "Pooling": models.POOLINGS,
    "Schedule": defaults.SCHEDULES,
    "Ties": _pool2d.TIES,
    "WindowReduction": _subsample2d.REDUCTIONS,
}
TYPES = {name: value for name, value in vars(choices).items() if get_origin(value) is Literal}


def test_every_type_has_its_registry_and_the_same_names() -> None:
    assert {name: get_args(value) for name, value in TYPES.items()} == REGISTRIES


def test_names_are_those_of_what_they_name() -> None:
    for name in get_args(choices.Loss):
        assert losses.LOSSES[name].name == name
    for name in get_args(choices.Schedule):
        assert schedules.SCHEDULES[name].__name__.lower() == name.replace("_", "")
    for name in get_args(choices.DType):
        assert models.lenet1(dtype=name).dtype.name == name


def taken(function: Any, argument: str) -> set[Any]:
    """Return the names that an argument's type allows."""
    of = function.__init__ if inspect.isclass(function) else function
    hint = get_type_hints(inspect.unwrap(of), vars(sys.modules[of.__module__]))[argument]
    parts = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    return {name for part in parts if get_origin(part) is Literal for name in get_args(part)}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (models.lenet5, "activation pooling connections output initialiser dtype"),
        (models.lenet4, "connections initialiser dtype"),
        (models.lenet1, "initialiser dtype"),
        (models.lenet1989, "activation output_activation=Activation initialiser dtype"),
        (network.Network, "output dtype"),
        (network.Network.initialise, "initialiser"),
        (data.load, "dataset"),
        (engines.create, "loss engine backend"),
        (Trainer, "loss optimiser schedule distortion engine backend"),
        (Trainer.resume, "engine backend"),
        (backends.get, "name=Backend"),
        (backends.use_backend, "name=Backend"),
        (layers.Conv2D, "bias algorithm"),
        (layers.Subsample2D, "reduction=WindowReduction"),
        (layers.GELU, "approximate=GeluForm"),
        (losses.MAP, "curvature"),
        (ops.conv2d, "algorithm backend"),
        (ops.subsample2d, "reduction=WindowReduction backend"),
        (ops.map_loss, "reduction=LossReduction backend"),
        (ops.gelu, "approximate=GeluForm backend"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_public_functions_take_these_types(function: Any, arguments: str) -> None:
    for word in arguments.split():
        argument, _, kind = word.partition("=")
        kind = kind or ("DType" if argument == "dtype" else argument.capitalize())
        assert taken(function, argument) == set(REGISTRIES[kind]), argument


def test_every_operation_takes_a_backend_of_this_type() -> None:
    for name in ops.__all__:
        assert taken(getattr(ops, name), "backend") == set(backends.NAMES), name


WRONG = """\
import numpy as np
import lenet_fast as lf
from lenet_fast.training import Trainer
network = lf.models.lenet5(output="softmax", pooling=None, dtype=np.float32)
trainer = Trainer(network, "cross_entropy", optimiser="adamw", schedule=0.01, backend="numpy")
history = trainer.fit(lf.data.load("sample").train, lf.data.load("sample").test, verbose=False)
accuracy: float = trainer.evaluate(lf.data.load("mnist").test).accuracy
lf.use_backend("numpy")
lf.load("runs/lenet5").save("copy.safetensors")
lf.models.lenet5(output="sofmax")  # wrong
lf.models.lenet5(pooling="maxx")  # wrong
lf.models.lenet5(dtype="float16")  # wrong
Trainer(network, "crossentropy")  # wrong
Trainer(network, optimiser="adamax")  # wrong
Trainer(network, engine="gpu")  # wrong
lf.data.load("mnits")  # wrong
lf.use_backend("cuda")  # wrong
lf.layers.Conv2D(1, 6, 5, bias="no")  # wrong
"""


@pytest.mark.slow
def test_a_type_checker_finds_wrong_names(tmp_path: Any) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(script)],
        cwd=ROOT,  # with the settings and the cache of the package
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(line) for line in re.findall(r"^\S*script\.py:(\d+): error", done.stdout, re.M)}
    lines = WRONG.splitlines()
    expected = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert found == expected, done.stdout + done.stderr
