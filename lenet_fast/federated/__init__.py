"""Federated learning: clients for Flower, and how to share out data among them.

- :func:`client_app` returns a ``ClientApp`` of Flower, for its simulation and for its servers.
- :func:`numpy_client` returns a ``NumPyClient``, for apps that still have a ``client_fn``.
- :class:`Client` is what both run, and needs no Flower.
- :func:`partition` deals out images, evenly or with another mix of classes for each client.

Flower is imported on first use. Tested with Flower 1.42.

Examples
--------
>>> from lenet_fast import data, federated
>>> train = data.load("sample").train
>>> shares = federated.partition(train.labels, 10)
>>> len(shares), len(shares[0])
(10, 500)
"""

from lenet_fast.federated.clients import Client
from lenet_fast.federated.flower import client_app, numpy_client
from lenet_fast.federated.partitions import partition

__all__ = ["Client", "client_app", "numpy_client", "partition"]
