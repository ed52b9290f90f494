"""LeNet-5 of 1998 by the published "modified" method: NumPy, tensordot per output position.

Convolutions are those of baselines.py; the other layers are written in the same style. Images are
in NHWC order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.baselines import modified_conv, modified_conv_backward
from lenet_fast.connections import LENET5_C3
from lenet_fast.losses import MAP, Loss
from lenet_fast.network import Network

Array = np.ndarray[Any, Any]
A, S = np.float32(1.7159), np.float32(2 / 3)


class ModifiedNetwork:
    """Trains by SGD with momentum, from the weights of a network.

    Parameters
    ----------
    network : Network
    loss : MAP
    rate, momentum : float
    """

    def __init__(self, network: Network, loss: Loss, rate: float, momentum: float) -> None:
        assert isinstance(loss, MAP)
        self.w = {
            name: np.ascontiguousarray(w.transpose(2, 3, 1, 0)) if w.ndim == 4 else w.copy()
            for name, w in network.parameters.items()
        }
        self.trained = network.trainable_names
        self.table = LENET5_C3.T.astype(np.float32)
        self.w["C3.w"] *= self.table
        self.velocity = {name: np.zeros_like(self.w[name]) for name in self.trained}
        self.j, self.rate, self.momentum = loss.j, rate, momentum

    def predict(self, x: Array) -> Array:
        """Return the distances to the ten bitmaps, for images (n, 1, 32, 32)."""
        return self._forward(x)[-1]

    def step(self, x: Array, labels: Array) -> float:
        """Train on one batch; return its mean loss."""
        values = self._forward(x)
        y, n, rows = values[-1], len(x), np.arange(len(x))
        # MAP criterion: distance to the right bitmap, and log of the sum over all and rubbish.
        lowest = np.minimum(y.min(axis=1, keepdims=True), self.j)
        powers = np.exp(lowest - y)
        total = powers.sum(axis=1, keepdims=True) + np.exp(lowest - self.j)
        loss = (y[rows, labels] + np.log(total[:, 0]) - lowest[:, 0]).mean()
        dy = -powers / total / n
        dy[rows, labels] += np.float32(1 / n)
        self._learn(self._backward(values, dy))
        return float(loss)

    def _forward(self, x: Array) -> list[Array]:
        """Return the images, the activations of all layers, then the outputs."""
        w = self.w
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        c1 = _squash(modified_conv(x, w["C1.w"], w["C1.b"]))
        s2 = _squash(_sums(c1) * w["S2.w"] + w["S2.b"])
        c3 = _squash(modified_conv(s2, w["C3.w"], w["C3.b"]))
        s4 = _squash(_sums(c3) * w["S4.w"] + w["S4.b"])
        c5 = _squash(modified_conv(s4, w["C5.w"], w["C5.b"]))
        f6 = _squash(c5[:, 0, 0] @ w["F6.w"].T + w["F6.b"])
        away = f6[:, None, :] - w["OUTPUT.w"]
        return [x, c1, s2, c3, s4, c5, f6, (away * away).sum(axis=2)]

    def _backward(self, values: list[Array], dy: Array) -> dict[str, Array]:
        x, c1, s2, c3, s4, c5, f6, _ = values
        w, d = self.w, {}
        away = f6[:, None, :] - w["OUTPUT.w"]
        g = _unsquash((2 * dy[:, :, None] * away).sum(axis=1), f6)
        d["F6.w"], d["F6.b"] = g.T @ c5[:, 0, 0], g.sum(axis=0)
        g = _unsquash((g @ w["F6.w"])[:, None, None, :], c5)
        g, d["C5.w"], d["C5.b"] = modified_conv_backward(g, s4, w["C5.w"])
        g = self._back_through_sums("S4", g, s4, c3, d)
        g, d["C3.w"], d["C3.b"] = modified_conv_backward(_unsquash(g, c3), s2, w["C3.w"])
        d["C3.w"] *= self.table
        g = self._back_through_sums("S2", g, s2, c1, d)
        _, d["C1.w"], d["C1.b"] = modified_conv_backward(_unsquash(g, c1), x, w["C1.w"])
        return d

    def _back_through_sums(
        self, name: str, g: Array, y: Array, below: Array, d: dict[str, Array]
    ) -> Array:
        g = _unsquash(g, y)
        d[f"{name}.w"], d[f"{name}.b"] = (g * _sums(below)).sum((0, 1, 2)), g.sum((0, 1, 2))
        return (g * self.w[f"{name}.w"]).repeat(2, axis=1).repeat(2, axis=2)

    def _learn(self, gradients: dict[str, Array]) -> None:
        for name in self.trained:
            self.velocity[name] *= np.float32(self.momentum)
            self.velocity[name] += gradients[name]
            self.w[name] -= np.float32(self.rate) * self.velocity[name]


def _squash(a: Array) -> Array:
    return A * np.tanh(S * a)


def _unsquash(g: Array, y: Array) -> Array:
    return g * (A * S - (S / A) * y * y)


def _sums(x: Array) -> Array:
    """Return the sums over 2x2 windows."""
    n, h_in, w_in, c = x.shape
    return x.reshape(n, h_in // 2, 2, w_in // 2, 2, c).sum(axis=(2, 4))
