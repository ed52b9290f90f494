"""LeNet-5 as a PyTorch user would write it: the contender of the whole-network measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lenet_fast.connections import LENET5_C3
from lenet_fast.losses import MAP
from lenet_fast.network import Network


class Trainer:
    """Trains the network of 1998 (RBF output, MAP loss) by SGD, eagerly, from the same weights."""

    def __init__(self, network: Network, loss: MAP, rate: float, momentum: float) -> None:
        self.weights = {
            name: torch.tensor(array, requires_grad=name in network.trainable_names)
            for name, array in network.parameters.items()
        }
        trained = [weight for weight in self.weights.values() if weight.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=rate, momentum=momentum)
        self.table = torch.tensor(LENET5_C3[:, :, None, None].astype(np.float32))
        self.j = loss.j

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Return the distances to the ten bitmaps."""
        p = self.weights

        def squash(a: torch.Tensor) -> torch.Tensor:
            return 1.7159 * torch.tanh(2 / 3 * a)

        def subsample(a: torch.Tensor, name: str) -> torch.Tensor:
            sums = 4 * functional.avg_pool2d(a, 2)
            shape = (1, -1, 1, 1)
            return squash(sums * p[f"{name}.w"].view(shape) + p[f"{name}.b"].view(shape))

        x = squash(functional.conv2d(x, p["C1.w"], p["C1.b"]))
        x = subsample(x, "S2")
        x = squash(functional.conv2d(x, p["C3.w"] * self.table, p["C3.b"]))
        x = subsample(x, "S4")
        x = squash(functional.conv2d(x, p["C5.w"], p["C5.b"])).flatten(1)
        x = squash(functional.linear(x, p["F6.w"], p["F6.b"]))
        return (x[:, None, :] - p["OUTPUT.w"]).square().sum(2)

    def step(self, x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
        """Train on one batch; return its mean loss."""
        y = self.outputs(torch.from_numpy(x))
        right = y[torch.arange(len(y)), torch.from_numpy(labels)]
        rubbish = torch.full((len(y), 1), -self.j)
        loss = (right + torch.logsumexp(torch.cat([-y, rubbish], 1), 1)).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()
