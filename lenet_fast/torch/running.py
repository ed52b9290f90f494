"""Training by the engines alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from lenet_fast import counts, engines, layers
from lenet_fast.engines import Totals
from lenet_fast.network import Network
from lenet_fast.torch import bridge, masking, rows, tensors
from lenet_fast.torch.criteria import Criterion
from lenet_fast.torch.loaders import Part, Source
from lenet_fast.torch.looping import diverged
from lenet_fast.torch.passes import Options
from lenet_fast.torch.rates import Rates
from lenet_fast.torch.refusals import Refusals

_log = logging.getLogger("lenet_fast.torch.fitting")


class Run:
    """A network in a module's memory, with our optimiser in place of PyTorch's."""

    def __init__(
        self,
        module: nn.Module,
        row: rows.Row,
        source: Source,
        tested: Source | None,
        criterion: Criterion,
        rates: Rates,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor] | None,
        options: Options,
        refusals: Refusals,
    ) -> None:
        with refusals.collect():
            criterion.check_end(row.softmax)
        self.schedule, self._criterion, self._places = rates, criterion, row.places
        self._options, self._batch_size = options, source.batch_size
        if row.output == "rbf" != criterion.output:
            raise ValueError(
                "criterion: expected MAPLoss or PenaltyLoss after a last RBF, whose smallest "
                f"output wins, got {criterion.name}; lenet_fast.torch.wrap takes any"
            )
        self.network: Network = row.network(criterion.output, None)
        given = row.tensors(self.network)
        views = row.views(self.network)
        pruned = row.masks(self.network)  # whose arrays in the network are masked copies
        for layer in self.network.layers:
            for name in layer.parameters:
                path = f"{layer.name}.{name}"
                if path in given and path not in pruned:
                    array = tensors.array(name, given[path])
                    layer.parameters[name] = views[path](array) if path in views else array
        names = set(self.network.trainable_names)
        self._trained = {
            name: tensor
            for name, tensor in bridge.stepped(optimizer, given).items()
            if name in names and tensor.requires_grad
        }
        self._pruned = {
            name: (self.network.parameters[name], tensors.array(name, mask) != 0)
            for name, mask in pruned.items()
            if name in self._trained
        }
        with refusals.collect():
            factors = {
                name: views[name](mask) if name in views else mask
                for name, mask in masking.read(module, masks, self._trained).items()
            }
            for name, (array, mask) in self._pruned.items():
                factors[name] = factors.get(name, 1) * mask.astype(array.dtype)
            self.bridge = bridge.Bridge(
                optimizer, self._trained, rates.shares, factors, module.parameters(), views
            )
            still = names - set(self._trained)  # frozen ones, and biases that the module lacks
            self.bridge.ours.factors |= bridge.without(self.network.parameters, still)
        for each in filter(None, (source, tested)):
            with refusals.collect():
                each.bind(self.network, criterion, source.shape[1:])
        if refusals.found:
            raise refusals.error()

    def start(self) -> None:
        """Create the engine, and draw the seed of dropout if there is some."""
        if (note := counts.note_on_speed(self.network)) is not None:
            _log.warning(note)
        dropping = False
        for layer, place in zip(self.network.layers, self._places, strict=True):
            if isinstance(layer, layers.Dropout):
                if not place.training:
                    layer.p = 0.0
                dropping = dropping or layer.p > 0
        self._engine = engines.create(
            self.network,
            self._criterion.loss,
            engine=self._options.engine,
            batch_size=self._batch_size,
            optimiser=self.bridge.ours,
            backend=self._options.backend,
            threads=self._options.threads,
        )
        self._seed = int(torch.randint(2**63 - 1, ())) if dropping else 0

    @property
    def images_a_call(self) -> int:
        """How many images the engine takes at once."""
        return self._engine.images_a_call

    def train(self, part: Part) -> tuple[list[Totals], float]:
        """Train on some batches; return their totals, and the highest rate."""
        ours, (x, labels, order, batch_size) = self.bridge.ours, part
        rates = self.schedule.take(math.ceil(len(order) / batch_size))
        # Overflow shows up as a non-finite loss, which is reported below.
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._engine.train(x, labels, order, batch_size, ours, rates, seed=self._seed)
        if not math.isfinite(found[-1].loss):
            self.schedule.undo(len(found) - 1)
            raise diverged(ours.steps, rates[len(found) - 1], found[-1].loss)
        return found, float(rates.max())

    def evaluate(self, part: Part) -> Totals:
        """Return the totals of some batches."""
        return self._engine.evaluate(part.x[part.order], part.labels[part.order])

    def value(self, totals: Totals) -> float:
        """Return the criterion's value for a batch."""
        return totals.loss / totals.images

    def close(self) -> None:
        """Stop the engine."""
        self._engine.close()

    def give_back(self) -> None:
        """Update the optimizer's state, and tell autograd that parameters have changed."""
        self.bridge.give_back()
        for name, (array, mask) in self._pruned.items():
            np.copyto(tensors.array(name, self._trained[name]), array, where=mask)
        for tensor in self._trained.values():
            torch.autograd.graph.increment_version(tensor)
