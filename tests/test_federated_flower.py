"""Clients in Flower itself: in its simulation, on Ray, and one by one.

Flower wants older versions of libraries than others here do; CI runs this file in an environment of
its own.
"""

import functools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lenet_fast import data, federated, models
from lenet_fast.training import parts, train_many

pytest.importorskip("flwr")
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.client import NumPyClient
from flwr.common import (
    Code,
    FitIns,
    GetParametersIns,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.serverapp.strategy import FedAdam, FedProx
from flwr.supercore import telemetry
from flwr.supercore.task_identity import TaskIdentity

CLIENTS = 4
OPTIONS = {"batch_size": 10, "schedule": 0.01}
SKEWED = functools.partial(federated.partition, concentration=0.5)


def load():
    return data.load("sample").train.subset(400)


def build(seed=0):
    return models.lenet5(pooling="max", activation="relu", output="softmax", seed=seed)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


SIMULATION = """
import functools, json, sys

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from lenet_fast import data, federated, models

class InOrder(FedAvg):
    def aggregate_train(self, server_round, replies):
        replies = sorted(replies, key=lambda reply: str(reply.content["metrics"]))
        return super().aggregate_train(server_round, replies)

def load():
    return data.load("sample").train.subset(400)

network = models.lenet5(pooling="max", activation="relu", output="softmax")
app = federated.client_app(
    network, load, partition=functools.partial(federated.partition, concentration=0.5), seed=5,
    batch_size=10, schedule=0.01,
)
server = ServerApp()

@server.main()
def main(grid, context):
    strategy = InOrder(min_train_nodes=4, min_available_nodes=4)
    result = strategy.start(grid, ArrayRecord(network.get_weights()), num_rounds=2)
    np.savez("weights.npz", *result.arrays.to_numpy_ndarrays())
    found = result.train_metrics_clientapp, result.evaluate_metrics_clientapp
    print(json.dumps([{turn: dict(record) for turn, record in each.items()} for each in found]))

resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
run_simulation(server, app, num_supernodes=4, backend_config=resources)
"""


def output(script, folder):
    """Run a script in a process of its own: Ray leaves files and processes open."""
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def message(kind, arrays, config):
    content = RecordDict({"arrays": ArrayRecord(arrays), "config": ConfigRecord(config)})
    return Message(content, dst_node_id=1, message_type=kind)


def context(**node):
    return Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})


@pytest.mark.slow  # Ray takes its time to start
def test_a_simulation_has_the_bits_of_train_many(tmp_path):
    said, log = output(SIMULATION, tmp_path)
    trained, evaluated = json.loads(said.splitlines()[-1])
    weights = np.load(tmp_path / "weights.npz")

    digits, server = load(), build()
    shares = SKEWED(digits.labels, CLIENTS)
    for turn in (1, 2):
        jobs = [(share, 5 + turn) for share in shares]
        runs = list(train_many(server, digits, digits.subset(1), jobs, epochs=1, **OPTIONS))
        replies = []
        for share, run in zip(shares, runs, strict=True):
            row = run.history.rows[-1]
            metrics = {"loss": row.train_loss, "accuracy": 1 - row.train_errors / len(share)}
            record = MetricRecord({"num-examples": len(share), **metrics})
            replies.append((str(record), len(share), metrics, run.network.get_weights()))
        replies.sort(key=lambda reply: reply[0])
        total = sum(n for _, n, _, _ in replies)
        factors = [n / total for _, n, _, _ in replies]
        mean = [
            functools.reduce(np.add, [a * f for a, f in zip(arrays, factors, strict=True)])
            for arrays in zip(*(weights for *_, weights in replies), strict=True)
        ]
        server.set_weights(mean)
        for name in ("loss", "accuracy"):
            values = [f * m[name] for (_, _, m, _), f in zip(replies, factors, strict=True)]
            assert trained[str(turn)][name] == pytest.approx(sum(values))
        everyone = federated.Client(build(), digits)
        loss, _, metrics = everyone.evaluate(mean)
        found = evaluated[str(turn)]
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        assert found["accuracy"] == pytest.approx(metrics["accuracy"])
    assert same(weights.values(), server.get_weights())
    assert log.count(" 0 failures") == 4


@pytest.mark.slow
def test_the_script_of_the_documentation_learns(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "howto" / "federated.rst").read_text()
    script = re.search(r"code-block:: python\n\n((?:   .*\n|\n)+)", page)[1]
    script = textwrap.dedent(script).replace('"mnist"', '"sample"')
    said, log = output(script.replace("num_rounds=10", "num_rounds=2"), tmp_path)
    assert [line.rpartition(" ")[0] for line in said.splitlines() if line[0] == "r"] == [
        f"round {turn}: accuracy" for turn in range(3)
    ]
    assert "10 results and 0 failures" in log


@pytest.fixture(autouse=True)
def _task():
    """Say who sends messages, as a server does."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


@pytest.fixture
def apart():
    """An app in this process, and what its client trains on."""
    app = federated.client_app(build(), load, partition=SKEWED, **OPTIONS)
    mine = parts.subset("mine", load(), SKEWED(load().labels, CLIENTS)[2])
    return app, federated.Client(build(), mine, **OPTIONS)


def test_an_app_trains_and_evaluates_as_its_client(apart):
    app, client = apart
    start, node = build(3).get_weights(), context(**{"partition-id": 2, "num-partitions": CLIENTS})
    for turn in (1, 2):
        reply = app(message(MessageType.TRAIN, start, {"server-round": turn}), node)
        weights, images, metrics = client.fit(start, {"server_round": turn})
        assert same(reply.content["arrays"].to_numpy_ndarrays(), weights)
        assert dict(reply.content["metrics"]) == {"num-examples": images, **metrics}
    reply = app(message(MessageType.EVALUATE, start, {"server-round": 1}), node)
    loss, images, metrics = client.evaluate(start)
    assert dict(reply.content["metrics"]) == {"num-examples": images, "loss": loss, **metrics}


def test_a_client_with_a_computer_of_its_own_takes_all():
    app = federated.client_app(build(), load, held_out=0.25, **OPTIONS)
    start, digits = build().get_weights(), load()
    reply = app(message(MessageType.TRAIN, start, {"server-round": 1}), context())
    expected = federated.Client(build(), digits.subset(300), **OPTIONS)
    weights, _, _ = expected.fit(start, {"server_round": 1})
    assert same(reply.content["arrays"].to_numpy_ndarrays(), weights)
    reply = app(message(MessageType.EVALUATE, start, {}), context())
    assert reply.content["metrics"]["num-examples"] == 100
    app = federated.client_app(build(), load, held_out=1e-20, **OPTIONS)
    reply = app(message(MessageType.EVALUATE, start, {}), context())
    assert reply.content["metrics"]["num-examples"] == 1


def test_data_are_loaded_once_per_process():
    calls = []

    def counted():
        calls.append(1)
        return load()

    app = federated.client_app(build(), counted, **OPTIONS)
    start = build().get_weights()
    for client in range(3):
        node = context(**{"partition-id": client, "num-partitions": 10})
        app(message(MessageType.TRAIN, start, {"server-round": 1}), node)
    assert calls == [1]


def test_an_app_is_small():
    """The simulation sends it along with every message."""
    from ray import cloudpickle

    app = federated.client_app(build(), load, partition=SKEWED, **OPTIONS)
    assert len(cloudpickle.dumps(app)) < 5_000


def test_errors_of_an_app():
    with pytest.raises(TypeError, match="load: expected a function, got Dataset"):
        federated.client_app(build(), load())
    with pytest.raises(TypeError, match="partition: expected a function, got int 3"):
        federated.client_app(build(), load, partition=3)
    with pytest.raises(ValueError, match="held_out: expected a number from 0 to below 1"):
        federated.client_app(build(), load, held_out=1)
    with pytest.raises(ValueError, match="options: expected one of"):
        federated.client_app(build(), load, batchsize=3)
    start = build().get_weights()
    node = context(**{"partition-id": 1, "num-partitions": 2})
    for keywords, sent, error in (
        ({}, start[:-1], "weights: expected 10 arrays"),
        ({"partition": lambda labels, n: [[0], []]}, start, "client 1 of 2: expected at least one"),
        (
            {"partition": lambda labels, n: [[0]]},
            start,
            "partition: expected the images of 2 client",
        ),
        ({"held_out": 0.999}, start, "train: expected at least one image of the client"),
    ):
        app = federated.client_app(build(), load, **keywords)
        with pytest.raises(ValueError, match=error):
            app(message(MessageType.TRAIN, sent, {"server-round": 1}), node)
    app = federated.client_app(build(), load)
    with pytest.raises(ValueError, match="got proximal-mu, which this client would ignore"):
        app(message(MessageType.TRAIN, start, {"server-round": 1, "proximal-mu": 0.1}), node)
    assert FedProx(proximal_mu=0.1)  # sends that


def test_numpy_client(apart):
    _, client = apart
    mine = parts.subset("mine", load(), SKEWED(load().labels, CLIENTS)[2])
    made = federated.numpy_client(build(), mine, **OPTIONS)
    assert isinstance(made, NumPyClient)
    start = build(3).get_weights()
    assert same(made.fit(start, {"server_round": 1})[0], client.fit(start, {"server_round": 1})[0])
    wrapped = made.to_client()
    result = wrapped.fit(FitIns(ndarrays_to_parameters(start), {"server_round": 1}))
    assert (result.status.code, result.num_examples) == (Code.OK, len(mine))
    weights = parameters_to_ndarrays(result.parameters)
    assert same(weights, client.fit(start, {"server_round": 1})[0])
    asked = wrapped.get_parameters(GetParametersIns({}))
    assert len(parameters_to_ndarrays(asked.parameters)) == len(weights)


def test_a_strategy_that_computes_in_float64(apart):
    """FedAdam does, in the second of its rounds."""
    app, _ = apart
    node = context(**{"partition-id": 2, "num-partitions": CLIENTS})
    strategy, weights = FedAdam(eta=0.01), build().get_weights()
    for turn in (1, 2):
        strategy.current_arrays = {str(k): array for k, array in enumerate(weights)}
        reply = app(message(MessageType.TRAIN, weights, {"server-round": turn}), node)
        arrays, _ = strategy.aggregate_train(turn, [reply])
        weights = arrays.to_numpy_ndarrays()
        assert {array.dtype for array in weights} == {np.dtype(np.float64)}


def test_nothing_goes_over_the_network():
    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
