"""The border to Flower: its clients and messages."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lenet_fast import checks, cures, data, initialisers
from lenet_fast.checks import Array
from lenet_fast.federated.clients import Client
from lenet_fast.federated.partitions import partition as deal_out
from lenet_fast.network import Network
from lenet_fast.training import parts

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.client import NumPyClient
    from flwr.clientapp import ClientApp

Partition = Callable[[npt.NDArray[np.uint8], int], Sequence[npt.NDArray[np.intp]]]


def numpy_client(
    network: Network,
    train: data.Dataset,
    test: data.Dataset | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> NumPyClient:
    """Return a ``NumPyClient`` of Flower, for an app with a ``client_fn``.

    Parameters
    ----------
    network, train, test, seed, **options
        As for :class:`Client`, whose methods it has.

    Raises
    ------
    ImportError
        If Flower is not installed.
    TypeError, ValueError
        As from :class:`Client`.

    Examples
    --------
    >>> from lenet_fast import data, federated, models
    >>> def client_fn(context):
    ...     train = data.load("sample").train
    ...     shares = federated.partition(train.labels, context.node_config["num-partitions"])
    ...     share = shares[context.node_config["partition-id"]]
    ...     mine = data.Dataset(train.images[share], train.labels[share])
    ...     network = models.lenet5(pooling="max", output="softmax")
    ...     return federated.numpy_client(network, mine, schedule=0.01).to_client()
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp(client_fn)
    """
    try:
        from flwr.client import NumPyClient
    except ImportError as error:
        raise _missing("numpy_client") from error
    made: NumPyClient = type("NumPyClient", (Client, NumPyClient), {})(
        network, train, test, seed=seed, **options
    )
    return made


def client_app(
    network: Network,
    load: Callable[[], data.Dataset],
    *,
    partition: Partition = deal_out,
    held_out: float = 0.0,
    seed: int = 0,
    mods: Sequence[Any] = (),
    **options: Any,
) -> ClientApp:
    """Return a ``ClientApp`` of Flower that trains and evaluates with :class:`Client`.

    Parameters
    ----------
    network : Network
        Of the federation's architecture. Its weights are not used: the server sends them.
    load : callable
        Without arguments; returns the images, as a :class:`lenet_fast.data.Dataset`. Each process
        calls it once. Let it read a file: Flower's simulation sends the app along with each
        message, and with it what a function of your script refers to.
    partition : callable
        Of the images' labels (n,) and the number of clients; returns each client's indices, such
        as ``functools.partial(federated.partition, concentration=0.5)``. It is called once per
        process, and must return the same each time. Default: :func:`partition`, evenly. A client
        that Flower gives no "partition-id" has a computer of its own, and takes all that `load`
        returns.
    held_out : float, default 0.0
        Share of a client's images, the last ones and at least one, that it does not train on, but
        evaluates. With 0 it evaluates those that it trains on.
    seed : int, default 0
        As for :class:`Client`; the same for all clients.
    mods : sequence
        Of Flower's ``ClientApp``.
    **options
        As for :class:`Client`.

    Returns
    -------
    ClientApp
        Takes the weights as an ``ArrayRecord``, and the round and options from a ``ConfigRecord``;
        replies with the weights, and with a ``MetricRecord`` of "num-examples", "loss" and
        "accuracy". Strategies of ``flwr.serverapp`` send and expect that.

    Raises
    ------
    ImportError
        If Flower is not installed.
    TypeError, ValueError
        If an argument is wrong. An error of a client goes to the server, which prints it.

    Examples
    --------
    >>> from lenet_fast import data, federated, models
    >>> app = federated.client_app(
    ...     models.lenet5(pooling="max", output="softmax"),
    ...     lambda: data.load("sample").train,
    ...     held_out=0.1,
    ...     batch_size=10,
    ...     schedule=0.01,
    ... )
    """
    try:
        from flwr.clientapp import ClientApp
    except ImportError as error:
        raise _missing("client_app") from error
    for name, function in (("load", load), ("partition", partition)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {checks.kind(function)}")
    held_out = checks.real("held_out", held_out)
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out: expected a number from 0 to below 1, got {held_out}")
    one = data.Dataset(np.full((1, 1, 1), 255, np.uint8), np.zeros(1, np.uint8))
    checked = Client(network, one, seed=seed, **options)  # an error now, not in each process
    app = ClientApp(mods=list(mods))
    ours = _App(network.config(), checked._fixed, load, partition, held_out, seed, options)
    app.train()(partial(_train, ours))
    app.evaluate()(partial(_evaluate, ours))
    return app


def _missing(what: str) -> ImportError:
    return ImportError(f"federated.{what} needs Flower: {cures.install('lenet_fast[federated]')}")


@dataclass(frozen=True)
class _App:
    """What goes to the processes of the clients."""

    network: dict[str, Any]  # its config
    fixed: dict[str, Array]
    load: Callable[[], data.Dataset]
    partition: Partition
    held_out: float
    seed: int
    options: dict[str, Any]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


class _Here:
    """What the clients of an app share in this process."""

    def __init__(self, app: _App) -> None:
        self.token = app.token
        with initialisers.deferred():  # the server sends weights
            self.network = Network.from_config(app.network)
        for name, array in app.fixed.items():
            self.network.parameters[name][...] = array
        self.train = parts.dataset("load", app.load())
        self.shares: dict[int, Sequence[npt.NDArray[np.intp]]] = {}


_here: _Here | None = None
"""Of the latest app: a process works for one."""


def _client(app: _App, context: Context) -> Client:
    """Return the client that a message is for."""
    global _here
    if _here is None or _here.token != app.token:
        _here = _Here(app)
    train, node = _here.train, context.node_config
    if "partition-id" in node:
        client, clients = int(node["partition-id"]), int(node["num-partitions"])
        if clients not in _here.shares:
            _here.shares[clients] = app.partition(train.labels, clients)
        if len(_here.shares[clients]) != clients:
            raise ValueError(
                f"partition: expected the images of {clients} clients, got those of "
                f"{len(_here.shares[clients])}"
            )
        name = f"client {client} of {clients}"
        train = parts.subset(name, train, _here.shares[clients][client])
    test = None
    if app.held_out:
        kept = len(train) - max(1, round(len(train) * app.held_out))
        test = parts.subset("held_out", train, np.arange(kept, len(train)))
        train = train.subset(kept)
    return Client(_here.network, train, test, seed=app.seed, **app.options)


def _train(app: _App, message: Message, context: Context) -> Message:
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    arrays, config = _content(message)
    weights, images, metrics = _client(app, context).fit(arrays, config)
    records = {
        "arrays": ArrayRecord(weights),
        "metrics": MetricRecord({"num-examples": images, **metrics}),
    }
    return Message(RecordDict(records), reply_to=message)


def _evaluate(app: _App, message: Message, context: Context) -> Message:
    from flwr.app import Message, MetricRecord, RecordDict

    arrays, _ = _content(message)
    loss, images, metrics = _client(app, context).evaluate(arrays)
    record = MetricRecord({"num-examples": images, "loss": loss, **metrics})
    return Message(RecordDict({"metrics": record}), reply_to=message)


def _content(message: Message) -> tuple[list[Array], dict[str, Any]]:
    """Return the arrays and the configuration in a message, under whatever names."""
    (arrays,) = message.content.array_records.values()
    config = {
        name: value
        for record in message.content.config_records.values()
        for name, value in record.items()
    }
    return arrays.to_numpy_ndarrays(), config
