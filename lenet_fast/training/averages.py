"""The average of a network's weights over epochs, as a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.network import Network

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average of a network's weights over the calls of :meth:`add`.

    Parameters
    ----------
    network : Network
        Determines the architecture.

    Attributes
    ----------
    network : Network
        A network with the average weights.
    count : int
        Number of networks added.

    Notes
    -----
    Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", here
    over the ends of epochs. Sums are accumulated in float64.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.training.averages import WeightAverage
    >>> network = models.lenet1()
    >>> average = WeightAverage(network)
    >>> for value in (1.0, 3.0):  # as after two epochs
    ...     network.parameters["H1.b"][...] = value
    ...     average.add(network)
    >>> average.count, average.network.parameters["H1.b"]
    (2, array([2., 2., 2., 2.], dtype=float32))
    """

    def __init__(self, network: Network) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
        self.network = Network.from_config(network.config())
        self.count = 0
        self._means = {
            name: np.zeros(network.parameters[name].shape) for name in network.trainable_names
        }

    def add(self, network: Network) -> None:
        """Add a network's weights to the average.

        Parameters
        ----------
        network : Network

        Raises
        ------
        ValueError
            If the network has other parameters.

        Examples
        --------
        >>> from lenet_fast import models
        >>> from lenet_fast.training.averages import WeightAverage
        >>> average = WeightAverage(models.lenet1())
        >>> average.add(models.lenet1(seed=1))
        >>> average.add(models.lenet1(seed=2))
        >>> average.count
        2
        """
        shapes = {name: network.parameters[name].shape for name in network.trainable_names}
        if shapes != {name: mean.shape for name, mean in self._means.items()}:
            raise ValueError("network: expected the parameters of the first network, got others")
        self.count += 1
        for name, mean in self._means.items():
            mean += (network.parameters[name] - mean) / self.count
        self._show()

    def __repr__(self) -> str:
        return f"WeightAverage(<{self.count} networks>)"

    def state(self) -> dict[str, Array]:
        """Return the averages.

        Returns
        -------
        dict of str to float64 ndarray
            By parameter name; not copies.

        Examples
        --------
        >>> from lenet_fast import models
        >>> from lenet_fast.training.averages import WeightAverage
        >>> average = WeightAverage(models.lenet1())
        >>> average.state()["H1.w"].shape, average.state()["H1.w"].dtype
        ((4, 1, 5, 5), dtype('float64'))
        """
        return self._means

    def load_state(self, means: Mapping[str, Array], count: int) -> None:
        """Restore the result of :meth:`state`, and the count.

        Parameters
        ----------
        means : mapping of str to ndarray
        count : int

        Raises
        ------
        ValueError
            If the names or shapes do not match this network's parameters, or a number is not
            finite.

        Examples
        --------
        >>> from lenet_fast import models
        >>> from lenet_fast.training.averages import WeightAverage
        >>> average, again = WeightAverage(models.lenet1()), WeightAverage(models.lenet1())
        >>> average.add(models.lenet1(seed=1))
        >>> again.load_state(average.state(), average.count)
        >>> again.count, bool((again.state()["H1.w"] == average.state()["H1.w"]).all())
        (1, True)
        """
        if {name: mean.shape for name, mean in means.items()} != {
            name: mean.shape for name, mean in self._means.items()
        }:
            raise ValueError("average: expected the shapes of the network's parameters")
        if not all(np.isfinite(mean).all() for mean in means.values()):
            raise ValueError("average: expected finite numbers")
        self._means = {name: mean.astype(np.float64) for name, mean in means.items()}
        self.count = checks.integer("average", count, 0)
        if count:
            self._show()

    def _show(self) -> None:
        for name, mean in self._means.items():
            self.network.parameters[name][...] = mean
