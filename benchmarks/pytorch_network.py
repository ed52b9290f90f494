"""PyTorch's LeNet-5, as its users write it: eager, with its other memory layout, or compiled."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.contenders import installed, table
from lenet_fast import losses
from lenet_fast.bench import workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import Work
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.network import Network

NAMES = ("PyTorch eager", "PyTorch channels_last", "PyTorch compile")


def names() -> list[str]:
    """Return the available variants: compiling needs a compiler."""
    if not installed("torch"):
        return []
    compiler = os.environ.get("CXX", "g++")
    return [*(NAMES if shutil.which(compiler) else NAMES[:2])]


def contender(name: str, work: Work, threads: int) -> Contender:
    """Return PyTorch, eager, with its other memory layout, or compiled."""
    import torch

    net = PyTorchNetwork(
        *workloads.fresh(work.network, work.batch), channels_last=name.endswith("channels_last")
    )
    if name.endswith("compile"):
        net.compile()

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        torch.set_num_threads(threads)
        yield

    step: Any = net.step if work.trains else net.predict
    return workloads.contender(name, work, step, lambda y: y.numpy(), around)


class PyTorchNetwork:
    """A network as a PyTorch user would write it, trained by SGD with momentum.

    Parameters
    ----------
    network : Network
        Has the initial weights: that of 1998, or the plain one.
    loss : Loss
    rate : float
    channels_last : bool
        Whether images and kernels are stored with their channels innermost.
    """

    def __init__(
        self, network: Network, loss: Loss, rate: float, channels_last: bool = False
    ) -> None:
        import torch

        self._torch = torch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.weights = {
            name: self._laid_out(torch.tensor(array)).requires_grad_(
                name in network.trainable_names
            )
            for name, array in network.parameters.items()
        }
        trained = [weight for weight in self.weights.values() if weight.requires_grad]
        self._optimiser = torch.optim.SGD(trained, lr=rate, momentum=workloads.MOMENTUM)
        links = table(network)
        self._table = None if links is None else torch.tensor(links)
        self._j = loss.j if isinstance(loss, losses.MAP) else None
        self._outputs: Callable[[Any], Any] = self.outputs
        self._loss: Callable[[Any, Any], Any] = self.loss

    def compile(self) -> None:
        """Compile passes and loss on the first calls, which takes a while."""
        compiled = partial(self._torch.compile, dynamic=False)
        self._outputs, self._loss = compiled(self.outputs), compiled(self.loss)

    def _laid_out(self, tensor: Any) -> Any:
        return tensor.contiguous(memory_format=self._layout) if tensor.dim() == 4 else tensor

    def outputs(self, x: Any) -> Any:
        """Return the distances to the ten bitmaps, or the ten sums of the plain network."""
        functional, p = self._torch.nn.functional, self.weights

        def squash(a: Any) -> Any:
            return 1.7159 * (2 / 3 * a).tanh()

        def pool(a: Any, name: str) -> Any:
            if f"{name}.w" not in p:
                return functional.avg_pool2d(a, 2)
            sums = functional.avg_pool2d(a, 2, divisor_override=1)
            return squash(sums * p[f"{name}.w"][:, None, None] + p[f"{name}.b"][:, None, None])

        x = pool(squash(functional.conv2d(x, p["C1.w"], p["C1.b"])), "S2")
        w = p["C3.w"] if self._table is None else p["C3.w"] * self._table
        x = pool(squash(functional.conv2d(x, w, p["C3.b"])), "S4")
        x = squash(functional.conv2d(x, p["C5.w"], p["C5.b"])).flatten(1)
        x = squash(functional.linear(x, p["F6.w"], p["F6.b"]))
        if "OUTPUT.b" in p:
            return functional.linear(x, p["OUTPUT.w"], p["OUTPUT.b"])
        return (x[:, None, :] - p["OUTPUT.w"]).square().sum(2)

    def loss(self, x: Any, labels: Any) -> Any:
        """Return the mean of the MAP criterion, or of the cross-entropy."""
        functional, y = self._torch.nn.functional, self.outputs(x)
        if self._j is None:
            return functional.cross_entropy(y, labels)
        right = y.gather(1, labels[:, None])[:, 0]
        rubbish = functional.pad(-y, (0, 1), value=-self._j)
        return (right + rubbish.logsumexp(1)).mean()

    def step(self, x: Array, labels: Array) -> float:
        """Train on one batch; return its mean loss."""
        torch = self._torch
        loss = self._loss(self._laid_out(torch.from_numpy(x)), torch.from_numpy(labels))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())

    def predict(self, x: Array) -> Any:
        """Return the outputs for a batch."""
        with self._torch.inference_mode():
            return self._outputs(self._laid_out(self._torch.from_numpy(x)))
