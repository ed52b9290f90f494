"""Client apps that `benchmarks.federated` compares: they differ in what a client does only.

The processes of Flower's simulation import this module. The functions of a script, and all that
they refer to, would be sent along with every message.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks import federated as shared
from lenet_fast import federated


def ours(job: shared.Job) -> ClientApp:
    """Return an app whose clients train with `lenet_fast.federated`."""
    load, options = partial(shared.load, job.dataset), shared.options(job)
    return federated.client_app(shared.network(), load, **options)


def pytorch(job: shared.Job) -> ClientApp:
    """Return an app whose clients train with PyTorch."""
    return _app(partial(_train_pytorch, job))


def idle(job: shared.Job) -> ClientApp:
    """Return an app whose clients send back what they get: the time is Flower's and Ray's."""
    return _app(_return)


def _app(train: Any) -> ClientApp:
    app = ClientApp()
    app.train()(train)
    return app


def _return(message: Message, context: Any) -> Message:
    return _reply(message, message.content["arrays"])


def _reply(message: Message, arrays: ArrayRecord) -> Message:
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def _train_pytorch(job: shared.Job, message: Message, context: Any) -> Message:
    client = int(context.node_config["partition-id"])
    arrays, turn = message.content["arrays"], int(message.content["config"]["server-round"])
    found = shared.pytorch_clients(job).fit(client, arrays.to_numpy_ndarrays(), turn)
    return _reply(message, ArrayRecord(found))
