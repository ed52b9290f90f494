"""The contract with the compiled loops: the same names on every side, and no number unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import NamedTuple, get_type_hints

import numpy as np
import program_files
import pytest
from helpers import missing

from lenet_fast import backends, layers, losses
from lenet_fast.engines import LanesEngine, OnlineEngine, compiled, program, tile
from lenet_fast.engines.compile import records
from lenet_fast.engines.program import Activation, Item, ItemKind, Kind, LossKind, Rule, Update
from lenet_fast.network import Network
from lenet_fast.training import SGD, Adadelta, Adam, AdamW, RMSprop

# --- the files that are derived  ---


@pytest.mark.parametrize(
    ("path", "text"),
    [(program_files.PXD, program_files.cython()), (program_files.NUMBA, program_files.numba())],
    ids=["Cython", "Numba"],
)
def test_derived_files_are_those_of_the_program(path, text):
    if not path.exists():
        missing(f"{path.name}: the kernels' sources are in the checkout only")
    assert path.read_text(encoding="utf-8") == text, "run: python tests/program_files.py"


def test_a_planted_change_is_seen():
    """Renamed, moved, forgotten, of another type; a number changed, a name changed."""
    names = [*get_type_hints(program.Input).items()]
    first, second, *others = names
    right = program_files.cython()
    for changed in (
        [("near", first[1]), second, *others],
        [second, first, *others],
        [first, *others],
        [(first[0], float), second, *others],
    ):
        records = [
            NamedTuple("Input", changed) if each is program.Input else each
            for each in program.RECORDS
        ]
        assert program_files.cython(records=records) != right
    for members in ({"NO_RULE": 0, "SGD": 2, "ADAMW": 1}, {"NO_RULE": 0, "SGD": 1, "ADAM": 2}):
        numbers = [*program.NUMBERS[:-1], IntEnum("Rule", members)]
        assert program_files.cython(numbers) != right
        assert program_files.numba(numbers) != program_files.numba()


@pytest.mark.parametrize("record", program.RECORDS, ids=lambda record: record.__name__)
def test_records_have_the_fields_in_order_and_no_gaps(record):
    made = records(record, [tuple(range(len(record._fields)))])
    assert made.dtype.names == record._fields
    assert made.dtype.itemsize == 8 * len(record._fields)
    assert made[0].tolist() == tuple(range(len(record._fields)))
    kinds = {int: np.intp, float: np.float64}
    for name, kind in get_type_hints(record).items():
        assert made.dtype[name] == kinds[kind]


# --- what Python makes of layers, losses and rules  ---


def test_each_activation_has_its_number():
    rows = [
        (layers.ScaledTanh(), "SCALED_TANH", 0.0),
        (layers.Tanh(), "TANH", 0.0),
        (layers.Sigmoid(), "SIGMOID", 0.0),
        (layers.ReLU(), "RELU", 0.0),
        (layers.LeakyReLU(), "LEAKY_RELU", 0.01),
        (layers.LeakyReLU(0.3), "LEAKY_RELU", 0.3),
        (layers.ELU(1.7), "ELU", 1.7),
        (layers.GELU(), "GELU", 0.0),
        (layers.GELU("tanh"), "GELU_TANH", 0.0),
    ]
    assert {name for _, name, _ in rows} == {
        each.name for each in Activation if each is not Activation.NO_ACTIVATION
    }
    assert {type(layer) for layer, _, _ in rows} == set(layers.ACTIVATIONS.values())
    for layer, name, option in rows:
        net = Network([layer, layers.Dense(4, 2)], input_shape=(1, 2, 2))
        step, dense = tile.lay_out(net, 4).steps
        assert (step["kind"], step["activation"]) == (Kind.ACTIVATION, Activation[name])
        assert step["option"] == option
        assert (dense["kind"], dense["activation"]) == (Kind.FULL, Activation.NO_ACTIVATION)


def test_each_loss_has_its_record():
    for loss, fields in (
        (losses.CrossEntropy(0.1), {"kind": LossKind.CROSS_ENTROPY, "smoothing": 0.1}),
        (
            losses.MeanSquaredError(0.9, 0.2, 1.5),
            {"kind": LossKind.SQUARED_ERROR, "scale": 1.5, "on": 0.9, "off": 0.2},
        ),
        (losses.MAP(0.5), {"kind": LossKind.MAP, "floor": -0.5, "exact": 0}),
        (losses.MAP(0.5, "exact"), {"kind": LossKind.MAP, "floor": -0.5, "exact": 1}),
        (losses.Penalty(), {"kind": LossKind.PENALTY}),
    ):
        for smallest_wins in (False, True):
            record = compiled.loss_record(loss, smallest_wins=smallest_wins)
            expected = {"smallest_wins": int(smallest_wins), **fields}
            assert {name: record[name][0] for name in expected} == expected
    assert compiled.loss_record(losses.CrossEntropy(), smallest_wins=False)["floor"] == -math.inf


def test_each_rule_has_its_record():
    nesterov, rmsprop = SGD(0.9, 0.1, nesterov=True), RMSprop(0.8, 0.1, 0.7, True, 0.2)
    nesterov.steps = 7
    for optimiser, fields in (
        (SGD(), {"rule": Rule.SGD, "momentum": 0, "nesterov": 0, "weight_decay": 0}),
        (nesterov, {"rule": Rule.SGD, "momentum": 0.9, "nesterov": 1, "weight_decay": 0.1}),
        (AdamW(0.7, 0.8, 1e-3, 0.2), {"rule": Rule.ADAMW, "beta1": 0.7, "epsilon": 1e-3}),
        (Adam(0.7, 0.8, 1e-3, 0.2), {"rule": Rule.ADAM, "beta2": 0.8, "weight_decay": 0.2}),
        (rmsprop, {"rule": Rule.RMSPROP, "beta1": 0.8, "beta2": 0.8, "momentum": 0.7}),
        (RMSprop(0.8), {"rule": Rule.RMSPROP, "beta1": 0, "beta2": 0.8, "momentum": 0}),
        (Adadelta(0.7, 1e-3), {"rule": Rule.ADADELTA, "beta2": 0.7, "epsilon": 1e-3}),
    ):
        updates = compiled.update_records(optimiser, optimiser.slots({}), np.array([0.5, 0.25]), 3)
        assert len(updates) == 2
        for k, record in enumerate(updates):
            expected = {"rate": 0.5 ** (k + 1), "done": optimiser.steps + k, "seed": 3, **fields}
            assert {name: record[name] for name in expected} == expected


@pytest.mark.quick
@pytest.mark.parametrize("engine", [LanesEngine, OnlineEngine])
@pytest.mark.parametrize("optimiser", [SGD(0.9), AdamW(), RMSprop(0.9, 0.1, 0.9)])
def test_other_slots_than_the_rule_needs_are_refused(
    optimiser, engine, compiled_backend, monkeypatch
):
    """The loops would write behind the end of those that there are."""
    slots, name = optimiser.slots, optimiser.rule.name
    made = engine(network(), losses.CrossEntropy(), backend=compiled_backend, threads=1)

    def learn(engine: LanesEngine) -> None:
        engine.train(*images(), np.arange(5), 1, optimiser, 0.1)

    for change in (lambda found: found[:-1], lambda found: [*found, found[0]]):
        monkeypatch.setattr(optimiser, "slots", lambda w, change=change: change(slots(w)))
        refuses(made, learn, rf"^optimiser: expected \d slots with the rule '{name}', got \d$")


# --- numbers that no loop knows  ---


@pytest.fixture(params=["cython", "numba"])
def compiled_backend(request) -> str:
    if not backends.available()[request.param].usable:
        missing(f"the {request.param} backend is not here")
    return request.param


def network() -> Network:
    """Return a network with planar pooling in the online engine."""
    body = [
        layers.Conv2D(1, 2, 3),
        layers.Tanh(),
        layers.AvgPool2D(2),
        layers.Sigmoid(),
        layers.Dense(2 * 3 * 15, 3),
    ]
    net = Network(body, input_shape=(1, 8, 32), output="softmax", dtype="float32")
    net.initialise("lecun_sqrt", 1)
    return net


def images() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((5, 1, 8, 32), np.float32), np.arange(5) % 3


def learn(engine: LanesEngine) -> None:
    x, labels = images()
    batch = 1 if engine.name == "online" else 5
    engine.train(x, labels, np.arange(5), batch, SGD(), 0.1)


def plant(monkeypatch, layout: ModuleType, k: int, field: str, number: int) -> None:
    """Change one step of every program of a layout."""
    lay_out = layout.lay_out

    def planted(network, count):
        made = lay_out(network, count)
        made.steps[field][k] = number
        return made

    monkeypatch.setattr(layout, "lay_out", planted)


def plant_step(engine: OnlineEngine, k: int, field: str, number: int) -> None:
    engine._single.steps[field][k] = number


def refuses(engine: LanesEngine, act: Callable[[LanesEngine], object], message: str) -> None:
    """Fail unless it is refused, before a weight or a total is touched."""
    before = {name: array.copy() for name, array in engine.network.parameters.items()}
    with pytest.raises(ValueError, match=message):
        act(engine)
    for name, array in engine.network.parameters.items():
        np.testing.assert_array_equal(array, before[name])


UNKNOWN = [
    ("kind of step 0", 0, "kind", 99),
    ("kind of step 4", 4, "kind", -1),
    ("activation of step 1", 1, "activation", 8),
    ("activation of step 3", 3, "activation", Activation.NO_ACTIVATION),
]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("message", "k", "field", "number"),
    [
        *UNKNOWN,
        # which is the online engine's
        ("kind of step 0", 0, "kind", Kind.CONVOLUTION_ALONG_MAPS),
    ],
)
def test_lanes_refuse_steps_they_do_not_know(
    compiled_backend, message, k, field, number, monkeypatch
):
    plant(monkeypatch, tile, k, field, number)
    with pytest.raises(ValueError, match=rf"^{message}: expected one of [-0-9, ]+, got {number}$"):
        LanesEngine(network(), losses.CrossEntropy(), backend=compiled_backend, threads=1)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("message", "k", "field", "number"),
    [
        *UNKNOWN,
        ("kind of step 0", 0, "kind", Kind.CONVOLUTION),  # which is the lane engine's
        *(
            ("activation of step 2", 2, "activation", each)  # of planar pooling
            for each in (Activation.RELU, Activation.LEAKY_RELU, Activation.ELU, Activation.GELU)
        ),
    ],
)
def test_online_refuses_steps_it_does_not_know(compiled_backend, message, k, field, number):
    net = network()
    engine = OnlineEngine(net, losses.CrossEntropy(), backend=compiled_backend, threads=1)
    assert engine._single.steps["planar"][2], "what is planted is not looked at"
    plant_step(engine, k, field, number)
    pattern = rf"^{message}: expected one of [-0-9, ]+, got {number}$"
    refuses(engine, learn, pattern)
    refuses(engine, lambda engine: engine._bind(), pattern)


@pytest.mark.quick
@pytest.mark.parametrize("kind", [LanesEngine, OnlineEngine])
def test_unknown_losses_and_rules_are_refused(compiled_backend, kind, monkeypatch):
    def made() -> LanesEngine:
        return kind(network(), losses.CrossEntropy(), backend=compiled_backend, threads=1)

    engine = made()
    updates = records(Update, [Update()] * 2 + [Update(6)] * 3)  # not only the first is checked
    monkeypatch.setattr(compiled, "update_records", lambda *_: updates)
    refuses(engine, learn, r"^rule of the update: expected one of 0, 1, 2, 3, 4, 5, got 6$")
    monkeypatch.undo()
    record = compiled.loss_record(losses.CrossEntropy(), smallest_wins=False)
    record["kind"] = 17
    monkeypatch.setattr(compiled, "loss_record", lambda *loss, **options: record)
    with pytest.raises(ValueError, match=r"^kind of the loss: expected one of 0, 1, 2, 3, got 17$"):
        made()


@pytest.mark.quick
def test_unknown_items_are_refused(compiled_backend, monkeypatch):
    engine = LanesEngine(network(), losses.CrossEntropy(), backend=compiled_backend, threads=1)
    items = records(Item, [Item(6, 0, 5, 0)])
    work = tile.Work(ItemKind.FORWARD, items, (slice(0, 1),), (5,), 1)
    x, labels = images()
    refuses(
        engine,
        lambda engine: engine._run(work, x, labels),
        r"^kind of item 0: expected one of 0, 1, 2, 3, 4, 5, got 6$",
    )
