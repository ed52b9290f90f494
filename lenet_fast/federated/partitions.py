"""Shares of a data set for the clients of a federation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lenet_fast import checks

_MOST = 1e6
"""A concentration that gives nearly even shares; much larger ones would overflow."""

_DRAWS = 100
"""How often Dirichlet's shares are drawn before there are too few images for them."""


def partition(
    labels: npt.NDArray[np.integer],
    clients: int,
    *,
    concentration: float | None = None,
    least: int = 1,
    seed: int = 0,
) -> list[npt.NDArray[np.intp]]:
    """Deal out images to clients.

    Parameters
    ----------
    labels : ndarray (n,), integers
        Classes of the images.
    clients : int
        From 1 to n.
    concentration : float, optional
        Of Dirichlet's distribution, from which come the clients' shares of each class. The smaller,
        the fewer classes a client has: with 0.1 mostly one or two of ten, with 100 nearly as many
        images of each. Up to 1e6. Default: every client gets the same number of images, drawn from
        all.
    least : int, default 1
        Images that each client has to get. With a `concentration`, shares are drawn again until
        they do, at most 100 times.
    seed : int, default 0
        The same seed gives the same shares.

    Returns
    -------
    list of ndarray, intp
        For each client the indices of its images, in mixed order. Each image has one client.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a client would get too few images.

    Notes
    -----
    The shares by class are those of Yurochkin et al. 2019, "Bayesian nonparametric federated
    learning of neural networks", and of Li et al. 2022, "Federated learning on non-IID data silos".
    Clients differ in the number of their images, too.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import data, federated
    >>> labels = data.load("sample").train.labels
    >>> shares = federated.partition(labels, 5, concentration=0.1)
    >>> [len(share) for share in shares], [len(set(labels[share])) for share in shares]
    ([1827, 592, 1441, 296, 844], [7, 3, 6, 4, 9])
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an array of integers, got {checks.kind(labels)}")
    if labels.ndim != 1:
        raise ValueError(f"labels: expected shape (n,), one per image, got {labels.shape}")
    clients, least = checks.integer("clients", clients, 1), checks.integer("least", least, 1)
    if not len(labels) or least > len(labels):
        raise ValueError(
            f"labels: expected at least {least}, for a client with least={least}, got {len(labels)}"
        )
    if clients * least > len(labels):
        raise ValueError(
            f"clients: expected at most {len(labels) // least}, for {len(labels)} images and "
            f"least={least}, got {clients}"
        )
    random = np.random.default_rng(checks.seed(seed))
    if concentration is None:
        return np.array_split(random.permutation(len(labels)), clients)
    concentration = checks.real("concentration", concentration)
    if not 0 < concentration <= _MOST:
        raise ValueError(
            f"concentration: expected a number above 0, up to {_MOST:g}, got {concentration}"
        )
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(_DRAWS):
        pieces = []
        for images in classes:
            ends = np.cumsum(random.dirichlet(np.full(clients, concentration)))[:-1]
            ends = (ends * len(images)).astype(np.intp)
            pieces.append(np.split(random.permutation(images), ends))
        shares = [np.concatenate(of_one) for of_one in zip(*pieces, strict=True)]
        if min(map(len, shares)) >= least:
            return [random.permutation(share) for share in shares]
    raise ValueError(
        f"concentration: expected one with which {clients} clients get at least {least} of "
        f"{len(labels)} images each, got {concentration}, with which {_DRAWS} draws did not give "
        "that; take a larger one, or fewer clients"
    )
