"""A client of a federation: trains a network on its own images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lenet_fast import checks, data
from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.training import Trainer, parts, train_many
from lenet_fast.training.many import checked_options

_SENT = ("epochs", "batch_size", "schedule")
"""The options that a server may set for a round."""
_ROUND = ("server-round", "server_round")
_CLIPPING = "clipping_norm"
"""Read by the clipping mods of Flower, which change what the client returns."""


class Client:
    """A client that trains and evaluates a network on its own images.

    It has the methods of Flower's ``NumPyClient``, and needs no Flower; :func:`numpy_client` and
    :func:`client_app` make Flower's clients of it. A round is a training of
    :func:`lenet_fast.training.train_many`, with its bits, on one thread. Nothing but the weights
    goes from one round to the next: each begins with a new optimiser.

    Parameters
    ----------
    network : Network
        Of the federation's architecture. It gets the weights of each call. Fixed arrays, such as
        the bitmaps of an RBF layer, stay its own, because a server's mean of them may differ by
        rounding.
    train : Dataset
        The client's images, at least one.
    test : Dataset, optional
        Those that :meth:`evaluate` takes. Default: those of `train`; the mean over the clients is
        then what federated averaging minimises.
    seed : int, default 0
        Round r has the seed ``seed + r``.
    **options
        Of :class:`lenet_fast.training.Trainer`, except `network`, `seed` and `threads`; and
        ``epochs`` per round, by default 1. Flower's rounds are short ones, so give a `schedule`,
        or the default one runs from its first to its last rate in each round.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a client has no image.

    Notes
    -----
    McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized
    data", algorithm 1 (FederatedAveraging), ClientUpdate.

    Examples
    --------
    A round of two clients, without Flower:

    >>> import numpy as np
    >>> from lenet_fast import data, federated, models
    >>> network = models.lenet5(pooling="max", activation="relu", output="softmax")
    >>> train = data.load("sample").train
    >>> clients = []
    >>> for share in federated.partition(train.labels, 2):
    ...     images = data.Dataset(train.images[share], train.labels[share])
    ...     clients.append(federated.Client(network, images, schedule=0.01, batch_size=10))
    >>> start = network.get_weights()
    >>> replies = [client.fit(start, {"server_round": 1}) for client in clients]
    >>> [images for weights, images, metrics in replies]
    [2500, 2500]
    >>> mean = [(one + other) / 2 for one, other in zip(replies[0][0], replies[1][0])]
    >>> loss, images, metrics = clients[0].evaluate(mean)
    >>> metrics["accuracy"] > 0.8
    True
    """

    def __init__(
        self,
        network: Network,
        train: data.Dataset,
        test: data.Dataset | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
        for name, dataset in (("train", train), ("test", train if test is None else test)):
            if not len(parts.dataset(name, dataset)):
                raise ValueError(f"{name}: expected at least one image of the client, got none")
        self._network, self._train, self._test = network, train, train if test is None else test
        self._seed = checks.seed(seed)
        self._options = {"epochs": 1, **checked_options("options", options)}
        others = dict(self._options)
        checks.integer("epochs", others.pop("epochs"), 1)
        self._trainer = Trainer(network, threads=1, **others)  # for evaluate; checks their values
        fixed = network.parameters.keys() - set(network.trainable_names)
        self._fixed = {name: network.parameters[name].copy() for name in fixed}

    def get_parameters(self, config: Mapping[str, Any] | None = None) -> list[Array]:
        """Return copies of the network's arrays, in their order.

        See :meth:`lenet_fast.network.Network.get_weights`.

        Parameters
        ----------
        config : mapping, optional
            From Flower; not used.

        Examples
        --------
        >>> from lenet_fast import data, federated, models
        >>> client = federated.Client(models.lenet1(), data.load("sample").train)
        >>> [array.shape for array in client.get_parameters()][:2]
        [(4, 1, 5, 5), (4,)]
        """
        return self._network.get_weights()

    def fit(
        self, parameters: Sequence[Array], config: Mapping[str, Any]
    ) -> tuple[list[Array], int, dict[str, float]]:
        """Train for one round.

        Parameters
        ----------
        parameters : sequence of ndarray
            The server's weights, in the order and shapes of
            :meth:`lenet_fast.network.Network.get_weights`. Floats of other dtypes than the
            network's are converted: some strategies compute in float64.
        config : mapping
            "server-round" or "server_round": the number of the round, an int. The server may also
            send the options "epochs", "batch_size" and "schedule" (a rate or a name) of this round.

        Returns
        -------
        parameters : list of ndarray
            The weights after training.
        images : int
            The client's number of images, its weight in the mean.
        metrics : dict
            "loss" and "accuracy" of the last epoch, on the way.

        Raises
        ------
        TypeError, ValueError
            If weights do not fit the network or are not finite; the message names the parameter. If
            the round is
            missing, or the server sends what this client does not know, such as FedProx's
            ``proximal-mu``: that term does not exist here.
        lenet_fast.training.TrainingDiverged
            If the loss or a weight is no longer finite.

        Examples
        --------
        >>> from lenet_fast import data, federated, models
        >>> network = models.lenet1()
        >>> client = federated.Client(network, data.load("sample").train)
        >>> weights, images, metrics = client.fit(
        ...     network.get_weights(), {"server_round": 1, "epochs": 2, "schedule": 0.01}
        ... )
        >>> images, sorted(metrics)
        (5000, ['accuracy', 'loss'])
        """
        turn, sent = _told(config)
        self._set(parameters)
        train = self._train
        # A trainer evaluates after each epoch; here nobody reads that.
        test = dataclasses.replace(train, weights=None).subset(1)
        (run,) = train_many(
            *(self._network, train, test, [(None, self._seed + turn)]),
            threads=1,
            stop_on_error=True,
            **self._options | sent,
        )
        assert run.network is not None
        row = run.history.rows[-1]
        metrics = {"loss": row.train_loss, "accuracy": 1 - row.train_errors / len(train)}
        return run.network.get_weights(), len(train), metrics

    def evaluate(
        self, parameters: Sequence[Array], config: Mapping[str, Any] | None = None
    ) -> tuple[float, int, dict[str, float]]:
        """Return the loss of given weights, the number of images, and the accuracy.

        Parameters
        ----------
        parameters : sequence of ndarray
            As for :meth:`fit`.
        config : mapping, optional
            From Flower; not used.

        Returns
        -------
        loss : float
            The mean over the images.
        images : int
        metrics : dict
            "accuracy", from 0 to 1.

        Raises
        ------
        TypeError, ValueError
            If weights do not fit the network, or an output is not finite.

        Examples
        --------
        >>> from lenet_fast import data, federated, models
        >>> network, splits = models.lenet1(), data.load("sample")
        >>> client = federated.Client(network, splits.train, splits.test)
        >>> loss, images, metrics = client.evaluate(network.get_weights())
        >>> images, list(metrics)
        (1000, ['accuracy'])
        """
        self._set(parameters)
        result = self._trainer.evaluate(self._test)
        return result.loss, result.count, {"accuracy": result.accuracy}

    def _set(self, parameters: Sequence[Array]) -> None:
        dtype = self._network.dtype
        if isinstance(parameters, Sequence):
            with np.errstate(over="ignore"):  # which is refused below
                parameters = [
                    each.astype(dtype, copy=False)
                    if isinstance(each, np.ndarray) and each.dtype.kind == "f"
                    else each
                    for each in parameters
                ]
        self._network.set_weights(parameters)
        for name, array in self._fixed.items():
            self._network.parameters[name][...] = array
        for name, array in self._network.parameters.items():
            if not np.isfinite(array).all():
                raise ValueError(
                    f"weights: {name}: expected finite numbers, as {dtype}, got NaN or infinity "
                    "from the server; a client whose training diverged may be in its mean"
                )


def _told(config: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return what a server says of a round: its number, and options for it."""
    if not isinstance(config, Mapping):
        raise TypeError(f"config: expected a mapping, got {checks.kind(config)}")
    turns = [config[name] for name in _ROUND if name in config]
    if not turns:
        raise ValueError(
            "config: expected the number of the round as server_round, which determines the order "
            f"of the images, got {', '.join(config) or 'nothing'}; strategies of flwr.serverapp "
            "send it, to others give on_fit_config_fn=lambda round: {'server_round': round}"
        )
    sent = {name: value for name, value in config.items() if name not in (*_ROUND, _CLIPPING)}
    for name in sent:
        if name not in _SENT:
            raise ValueError(
                f"config: expected the round and some of {', '.join(_SENT)}, got {name}, which "
                "this client would ignore"
            )
    return checks.integer("config: server_round", turns[0], 0), sent
