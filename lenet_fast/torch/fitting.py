"""Training of a module in place, with our engines."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lenet_fast import checks, engines, layers
from lenet_fast.checks import Array
from lenet_fast.engines import Engine, Totals
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.torch import bridge, criteria, loaders, sequential, tensors
from lenet_fast.torch.rates import Rates
from lenet_fast.training import History, Row, TrainingDiverged
from lenet_fast.training.interrupts import stop_on_sigint

_EVALUATED = 4096  # images at a time, so that Ctrl-C takes effect soon


def fit(
    module: nn.Module,
    loader: DataLoader[Any],
    *,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    epochs: int = 1,
    test: TensorDataset | None = None,
    engine: str = "auto",
    backend: str | None = None,
    threads: int | None = None,
) -> History:
    """Train an ``nn.Sequential`` like a loop over the loader, several times faster.

    The loop is the usual one: outputs, criterion, ``zero_grad``, ``backward``, ``step``. The
    module's parameters, the state of the optimizer and PyTorch's random generators end as that loop
    would leave them, within rounding; training can continue either way. Only with dropout they
    cannot: see Notes.

    Parameters
    ----------
    module : nn.Sequential
        Of modules that :func:`from_torch` supports, float32 or float64. Its parameters are updated
        in place; those with ``requires_grad=False`` do not change, and ``grad`` is not touched.
    loader : DataLoader
        Over a TensorDataset of images (n, c, h, w), in the module's dtype, and targets: labels
        (n,) or, for MSELoss, target outputs (n, k) of two different values. Batches are used in
        the loader's order. It must have no workers and no custom ``collate_fn`` or
        ``batch_sampler``; any sampler and ``drop_last`` are allowed.
    criterion : nn.Module
        CrossEntropyLoss (with ``label_smoothing``), NLLLoss after a LogSoftmax, or MSELoss, with
        reduction "mean"; or, after a last RBF, :class:`MAPLoss` or :class:`PenaltyLoss`.
    optimizer : torch.optim.SGD, Adam, AdamW, RMSprop or Adadelta
        Over all parameters of the module. Options without a counterpart are refused: dampening,
        maximize, amsgrad, differentiable, and groups that differ; also hooks, here and on the
        module, its parameters and the criterion.
    scheduler : torch.optim.lr_scheduler.LRScheduler, optional
        Of the optimizer; its ``step`` is called after each batch. It must change the learning rate
        only, and need no loss. By default the rate is constant: for a scheduler that is stepped per
        epoch, call this once per epoch.
    epochs : int
    test : TensorDataset, optional
        Images and targets to evaluate on after each epoch.
    engine, backend, threads : optional
        As in :func:`lenet_fast.engines.create`.

    Returns
    -------
    lenet_fast.training.History
        Losses are the criterion's. Without `test`, its columns hold NaN and 0.

    Raises
    ------
    TypeError, ValueError
        If something cannot be done the same way here. Nothing has been changed; only if a sampler
        yields a wrong number late, the batches before it have been trained on.
    lenet_fast.training.TrainingDiverged
        If a loss is not finite. That batch has changed nothing, the batches before it have.
    KeyboardInterrupt
        After Ctrl-C. The current call of the engine (up to 512 images, or 4,096 in batches of one)
        has finished, and module and optimizer are in the state after a step; after a second Ctrl-C
        this is not guaranteed.

    Notes
    -----
    However the call ends, module and optimizer hold the result of the finished batches.

    Dropout and Dropout2d in training mode drop with their probabilities, but other units than in
    PyTorch: those of :func:`lenet_fast.ops.dropout`, with one number that each call draws from
    PyTorch's default generator as the seed. So ``torch.manual_seed`` determines them, and the next
    call has others. In evaluation mode they drop nothing, as in PyTorch. `test` is always evaluated
    without dropout.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from lenet_fast.torch import fit
    >>> module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10))
    >>> images, labels = torch.rand(64, 1, 28, 28), torch.arange(64) % 10
    >>> history = fit(
    ...     module,
    ...     DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True),
    ...     criterion=nn.CrossEntropyLoss(),
    ...     optimizer=torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9),
    ...     epochs=2,
    ... )
    >>> [row.epoch for row in history.rows]
    [1, 2]
    """
    batch_size = loaders.sampler_of(loader).batch_size
    images, targets = loaders.tensors_of("loader", loader.dataset)
    loss, labels = criteria.read(criterion, targets)
    run = _Run(module, images, criterion, optimizer, loss.output, scheduler)
    criteria.check_width(criterion, targets, run.network.output_shape[0])
    epochs = checks.integer("epochs", epochs, 1)
    x, labels = loaders.examples("loader", run.network, images, labels)
    shown = None if test is None else _shown(test, criterion, loss, run.network)
    made = engines.create(
        run.network,
        loss,
        engine=engine,
        batch_size=batch_size,
        optimiser=run.bridge.ours,
        backend=backend,
        threads=threads,
    )
    history = History(train_images=len(x), test_images=0 if shown is None else len(shown[0]))
    stop = _Stop()
    try:
        with stop_on_sigint(stop):
            for epoch in range(1, epochs + 1):
                started = time.perf_counter()
                totals, highest = Totals(), 0.0
                for part in loaders.parts(loader, made.images_a_call):
                    rates = run.rates.take(math.ceil(len(part) / batch_size))
                    totals += run.train(made, x, labels, part, batch_size, rates)
                    highest = max(highest, float(rates.max()))
                    stop.check()
                seconds = time.perf_counter() - started
                on_test = _evaluated(made, shown, stop)
                history.rows.append(Row.of(epoch, seconds, totals, on_test, highest))
                stop.check()
    finally:
        made.close()
        run.give_back()
    return history


class _Stop:
    """Set by the first Ctrl-C."""

    stopping = False

    def stop(self) -> None:
        self.stopping = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came."""
        if self.stopping:
            raise KeyboardInterrupt


class _Run:
    """A network in a module's memory, with our optimiser in place of PyTorch's."""

    def __init__(
        self,
        module: nn.Module,
        images: torch.Tensor,
        criterion: nn.Module,
        optimizer: torch.optim.Optimizer,
        output: str,
        scheduler: object,
    ) -> None:
        if images.dim() != 4:
            raise ValueError(f"images: expected shape (n, c, h, w), got {tuple(images.shape)}")
        c, h, w = images.shape[1:]
        row = sequential.read(module, (c, h, w))
        criteria.check_end(criterion, row.softmax)
        self.network: Network = row.network(output, None)
        given = row.tensors(self.network)
        for layer in self.network.layers:
            for name in layer.parameters:
                if (tensor := given.get(f"{layer.name}.{name}")) is not None:
                    layer.parameters[name] = tensors.array(name, tensor)
        names = set(self.network.trainable_names)
        self._trained = {
            name: tensor for name, tensor in given.items() if name in names and tensor.requires_grad
        }
        self.bridge = bridge.Bridge(optimizer, self._trained)
        self.rates = Rates(optimizer, scheduler)
        still = names - set(self._trained)  # frozen ones, and biases that the module lacks
        self.bridge.ours.factors = bridge.without(self.network.parameters, still)
        self._seed = 0
        dropping = False
        for layer, place in zip(self.network.layers, row.places, strict=True):
            if isinstance(layer, layers.Dropout):
                if not place.module.training:
                    layer.p = 0.0
                dropping = dropping or layer.p > 0
        if dropping:
            self._seed = int(torch.randint(2**63 - 1, ()))

    def train(
        self,
        engine: Engine,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        rates: Array,
    ) -> Totals:
        """Train on a list of batches."""
        bridge = self.bridge
        # Overflow shows up as a non-finite loss, which is reported below.
        with np.errstate(over="ignore", invalid="ignore"):
            found = engine.train(x, labels, order, batch_size, bridge.ours, rates, seed=self._seed)
        if not math.isfinite(found[-1].loss):
            self.rates.undo(len(found) - 1)
            rate = rates[len(found) - 1]
            raise TrainingDiverged(
                f"after {bridge.ours.steps} steps at rate {rate:g}: expected a finite loss, "
                f"got {found[-1].loss}. The module is as before that batch; start again with a "
                "lower rate"
            )
        return sum(found, Totals())

    def give_back(self) -> None:
        """Update the optimizer's state, and tell autograd that parameters have changed."""
        self.bridge.give_back()
        for tensor in self._trained.values():
            torch.autograd.graph.increment_version(tensor)


def _shown(
    test: TensorDataset, criterion: nn.Module, loss: Loss, network: Network
) -> tuple[Array, Array]:
    """Return images and labels to evaluate on."""
    images, targets = loaders.tensors_of("test", test)
    found, labels = criteria.read(criterion, targets)
    if found.config() != loss.config():
        raise ValueError(f"test: expected targets like those of the loader, {loss}, got {found}")
    if not len(images):
        raise ValueError("test: expected at least one image, got none")
    return loaders.examples("test", network, images, labels)


def _evaluated(engine: Engine, shown: tuple[Array, Array] | None, stop: _Stop) -> Totals:
    totals = Totals()
    if shown is not None:
        x, labels = shown
        for first in range(0, len(x), _EVALUATED):
            block = slice(first, first + _EVALUATED)
            totals += engine.evaluate(x[block], labels[block])
            stop.check()
    return totals
