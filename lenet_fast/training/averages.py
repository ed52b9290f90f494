"""The mean of a network's weights over epochs, as a network of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.network import Network

__all__ = ["WeightAverage"]


class WeightAverage:
    """The mean of a network's weights, at the times when it is added.

    Parameters
    ----------
    network : Network
        Gives the architecture.

    Attributes
    ----------
    network : Network
        One with the mean weights.
    count : int
        How many networks were added.

    Notes
    -----
    Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", in
    the mean over the ends of epochs. The sums are those of float64.
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
        """Take a network's weights into the mean.

        Raises
        ------
        ValueError
            If it is a network of other parameters.
        """
        found = {name: network.parameters[name].shape for name in network.trainable_names}
        if found != {name: mean.shape for name, mean in self._means.items()}:
            raise ValueError("network: expected one with the parameters of the first, got another")
        self.count += 1
        for name, mean in self._means.items():
            mean += (network.parameters[name] - mean) / self.count
        self._show()

    def state(self) -> dict[str, Array]:
        """Return the means, live, by parameter."""
        return self._means

    def load_state(self, means: Mapping[str, Array], count: int) -> None:
        """Take over what :meth:`state` gave, and the count.

        Raises
        ------
        ValueError
            If the names or shapes are not those of this network's parameters, or a number is not
            finite.
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
