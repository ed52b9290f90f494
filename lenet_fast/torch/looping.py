"""Training by PyTorch's own criterion, optimizer and scheduler, around the engines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from lenet_fast.checks import Array
from lenet_fast.engines import Totals
from lenet_fast.torch import bridge, masking, tensors
from lenet_fast.torch.criteria import Own
from lenet_fast.torch.loaders import Part, Source
from lenet_fast.torch.passes import Options
from lenet_fast.torch.rates import Schedule
from lenet_fast.torch.refusals import Refusals
from lenet_fast.torch.wrapping import Wrapper
from lenet_fast.training import TrainingDiverged


class Loop:
    """The loop as scripts have it: outputs, criterion, ``zero_grad``, ``backward``, ``step``.

    The engines compute the outputs and their gradients; the module itself is not wrapped. In the
    end its parameters have the ``grad`` of before.
    """

    images_a_call = 1  # each batch is read when a loop reads it

    def __init__(
        self,
        module: nn.Module,
        source: Source,
        tested: Source | None,
        criterion: Own,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor] | None,
        options: Options,
        refusals: Refusals,
    ) -> None:
        self._shape = source.shape[1:]
        self._wrapper = Wrapper(module, options)
        self._criterion, self.schedule, self._optimizer = criterion, schedule, optimizer
        own = [*module.parameters()]
        if isinstance(criterion.call, nn.Module):
            own += criterion.call.parameters()
        with refusals.collect():
            reading = self._wrapper.reading(torch.empty(0, *self._shape))
            self.network = reading.network
            criterion.check_end(reading.softmax)
            if self.network.output_shape[0] == 1:
                raise ValueError(
                    "module: expected several outputs, the highest of which tells the class, got "
                    "one; lenet_fast.torch.wrap takes any"
                )
            for each in filter(None, (source, tested)):
                with refusals.collect():
                    each.bind(self.network, criterion, self._shape)
            given = {path: module.get_parameter(path) for path in reading.trained()}
            trained = bridge.stepped(optimizer, given)
            kept = masking.read(module, masks, trained).items()
            self._masks = [(trained[path], torch.from_numpy(mask != 0)) for path, mask in kept]
            pruned = reading.masks().items()
            self._masks += [(trained[path], mask != 0) for path, mask in pruned if path in trained]
        with refusals.collect():
            bridge.check_parameters(optimizer, own)
        if refusals.found:
            raise refusals.error()
        self._own, self._steps = own, 0

    def start(self) -> None:
        """Put the gradients aside."""
        self._gradients = [tensor.grad for tensor in self._own]
        for tensor in self._own:
            tensor.grad = None

    def train(self, part: Part) -> tuple[list[Totals], float]:
        """Train on some batches; return their totals, and the highest rate."""
        found, rates = [], []
        for x, targets in self._batches(part):
            rates.append(self.schedule.highest)
            found.append(self._step(x, targets))
        return found, max(rates)

    def _step(self, x: torch.Tensor, targets: Array) -> Totals:
        self._optimizer.zero_grad()
        with torch.enable_grad():
            outputs = self._wrapper.reading(x)(x)
            loss = self._loss(outputs, targets)
        totals = self._totals(outputs, targets, loss)
        if not math.isfinite(totals.loss):
            raise diverged(self._steps, self.schedule.highest, loss.item())
        loss.backward()
        kept = [tensor.detach()[~mask] for tensor, mask in self._masks]
        for tensor, mask in self._masks:
            if tensor.grad is not None:
                tensor.grad *= mask
        self._optimizer.step()
        for (tensor, mask), numbers in zip(self._masks, kept, strict=True):
            tensor.detach()[~mask] = numbers  # which weight decay may have changed
        self.schedule.end_batch()
        self._steps += 1
        return totals

    def evaluate(self, part: Part) -> Totals:
        """Return the totals of some batches."""
        totals = Totals()
        with torch.no_grad():
            for x, targets in self._batches(part):
                outputs = self._wrapper.reading(x).evaluated(x)
                totals += self._totals(outputs, targets, self._loss(outputs, targets))
        return totals

    def _batches(self, part: Part) -> Iterator[tuple[torch.Tensor, Array]]:
        for first in range(0, len(part.order), part.batch_size):
            numbers = part.order[first : first + part.batch_size]
            x = torch.from_numpy(part.x[numbers]).reshape(len(numbers), *self._shape)
            yield x, part.labels[numbers]

    def _loss(self, outputs: torch.Tensor, targets: Array) -> torch.Tensor:
        loss = self._criterion.call(outputs, torch.from_numpy(targets))
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            found = (
                f"one of shape {tuple(loss.shape)}"
                if isinstance(loss, torch.Tensor)
                else tensors.kind(loss)
            )
            raise TypeError(f"criterion: expected one that returns one number, got {found}")
        return loss

    def _totals(self, outputs: torch.Tensor, targets: Array, loss: torch.Tensor) -> Totals:
        count = len(targets)
        errors = self._criterion.errors(self.network.winners(outputs.detach().numpy()), targets)
        return Totals(loss.item() * (1 if self._criterion.sums else count), errors, count)

    def value(self, totals: Totals) -> float:
        """Return the criterion's value for a batch."""
        return totals.loss if self._criterion.sums else totals.loss / totals.images

    def give_back(self) -> None:
        """Do nothing: PyTorch's own optimizer has done it."""

    def close(self) -> None:
        """Leave the gradients as they were."""
        for tensor, gradient in zip(self._own, self._gradients, strict=True):
            tensor.grad = gradient


def diverged(steps: int, rate: float, loss: float) -> TrainingDiverged:
    """Return the error for a loss that is not finite."""
    return TrainingDiverged(
        f"after {steps} steps at rate {rate:g}: expected a finite loss, got {loss}. The module is "
        "as before that batch; start again with a lower rate"
    )
