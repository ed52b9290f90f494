"""Training of a module in place, with our engines."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lenet_fast import checks, engines, layers
from lenet_fast.bench import counts
from lenet_fast.checks import Array
from lenet_fast.engines import Engine, Totals
from lenet_fast.network import Network
from lenet_fast.torch import bridge, loaders, reading, rows, tensors
from lenet_fast.torch.criteria import Criterion
from lenet_fast.torch.loaders import Part, Source
from lenet_fast.torch.rates import Rates
from lenet_fast.training import History, Row, TrainingDiverged
from lenet_fast.training.interrupts import stop_on_sigint

_log = logging.getLogger(__name__)

_EVALUATED = 4096  # images at a time, so that Ctrl-C takes effect soon
_MASKS = (torch.bool, *tensors.INTEGERS, *tensors.FLOATS)


def fit(
    module: nn.Module,
    loader: DataLoader[Any] | Dataset[Any] | Iterable[Any],
    *,
    criterion: nn.Module | Callable[..., Any],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    scheduler_step: str | None = None,
    epochs: int = 1,
    output: int | str | None = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    test: DataLoader[Any] | Dataset[Any] | Iterable[Any] | None = None,
    masks: Mapping[str, torch.Tensor] | None = None,
    materialise: bool | None = None,
    on_batch_end: Callable[[int, int, float], object] | None = None,
    on_epoch_end: Callable[[Row], object] | None = None,
    engine: str = "auto",
    backend: str | None = None,
    threads: int | None = None,
) -> History:
    """Train a module like a loop over the loader, several times faster.

    The loop is the usual one: outputs, criterion, ``zero_grad``, ``backward``, ``step``. The
    module's parameters, the state of the optimizer and the random generators end as that loop
    would leave them, within rounding; training can continue either way. Only with dropout they
    cannot: see Notes.

    Parameters
    ----------
    module : nn.Module
        One that :func:`from_torch` supports, float32 or float64. Its parameters are updated
        in place; those with ``requires_grad=False`` do not change, nor those that the optimizer
        lacks, and ``grad`` is not touched.
    loader : DataLoader, data set, or iterable of batches
        Of images as the module takes them, (n, c, h, w), (n, h, w) or (n, k), and in its dtype, and
        targets: labels (n,), or target outputs (n, k) of two different values, one for the right
        class. Any data set, sampler, transform, ``collate_fn`` and number of workers; batches are
        used in the loader's order. See Notes for how it is read. A data set needs a `batch_size`.
    criterion : nn.Module or function
        CrossEntropyLoss (with ``label_smoothing``), NLLLoss after a log-softmax, or MSELoss, or
        ``torch.nn.functional``'s of these names, also in a ``functools.partial``, with reduction
        "mean"; or, after a last RBF, :class:`MAPLoss` or :class:`PenaltyLoss`.
    optimizer : torch.optim.SGD, Adam, AdamW, RMSprop or Adadelta
        Over parameters of the module. Parameter groups may differ in their rates. Options
        without a counterpart are refused: dampening, maximize, amsgrad, differentiable; also hooks,
        here and on the module, its parameters and the criterion.
    scheduler : torch.optim.lr_scheduler.LRScheduler, optional
        Of the optimizer. It must change the learning rate only. By default the rate is constant.
        ReduceLROnPlateau gets the loss of `test`.
    scheduler_step : {"batch", "epoch"}
        After what the scheduler makes a step; required with one.
    epochs : int
    output : int or str, optional
        Which output of a module that returns several: a place in its tuple, or a key of its dict.
    batch_size : int, optional
    shuffle : bool
        Of the DataLoader that is made for a data set.
    test : DataLoader, data set, or iterable of batches, optional
        Images and targets to evaluate on after each epoch.
    masks : mapping of str to tensor, optional
        Zeros and ones, by names of ``module.named_parameters()``: where one is 0, the parameter
        does not change, as if the gradient were multiplied with the mask before each step, and the
        optimizer's state is 0. Parameters that are 0 there stay so, as when lottery tickets are
        trained. The masks of ``torch.nn.utils.prune`` act without being given; what they hide in
        ``weight_orig`` stays as it is.
    materialise : bool, optional
        False: iterate the loaders in every epoch, whatever they yield. True: keep all samples in
        memory after the first epoch, also for later calls with the same data sets, or raise
        ValueError. By default see Notes.
    on_batch_end : callable, optional
        Called with epoch and batch, both from 1, and the criterion's value for the batch before
        its step. The module may be some batches further, because the engine takes many in a call.
    on_epoch_end : callable, optional
        Called with the epoch's row of the history, when module, optimizer and scheduler are as a
        loop leaves them after the epoch. If it returns True, training ends, and
        ``history.interrupted`` is True.
    engine, backend, threads : optional
        As in :func:`lenet_fast.engines.create`.

    Returns
    -------
    lenet_fast.training.History
        Losses are the criterion's. Without `test`, its columns hold NaN and 0.

    Raises
    ------
    TypeError, ValueError
        If something cannot be done the same way here; the message has all reasons. Nothing has
        been changed; only if later batches do not fit, those before them have been trained on.
    lenet_fast.training.TrainingDiverged
        If a loss is not finite. That batch has changed nothing, the batches before it have.
    KeyboardInterrupt
        After Ctrl-C. The current call of the engine (up to 512 images, or 4,096 in batches of one)
        has finished, and module and optimizer are in the state after a step; after a second Ctrl-C
        this is not guaranteed.

    Notes
    -----
    However the call ends, module and optimizer hold the result of the finished batches.

    How the loader is read: images in memory are used as they lie there. That is a TensorDataset, or
    torchvision's MNIST or CIFAR with ToTensor (or ToImage and ToDtype) and Normalize at most, also
    through Subset, ``random_split`` and ConcatDataset. Other data sets are read sample by sample.
    If there are several epochs and the samples do not change, each is read once, in this process,
    and kept (up to 4 GiB). They count as unchanging if 32 of them are the same when read twice, and
    if no sample draws from the global random generators of PyTorch, NumPy or Python. A data set
    with a generator of its own, which reading twice advances, or with rarer changes needs
    ``materialise=False``. Everything else is iterated in every epoch, as in a loop: samples that
    draw random numbers, an IterableDataset, a ``collate_fn``, persistent workers. The logger
    ``lenet_fast.torch.fitting`` says which it is, at level INFO. In any case batches are read
    before the engine has trained on those before them, so samplers and data sets must not depend
    on the module.

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
    refusals = _Refusals()
    source = tested = goal = rates = row = None
    with refusals.collect():
        epochs = checks.integer("epochs", epochs, 1)
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle}
        source = loaders.read(loader, epochs, materialise=materialise, **options)
    if test is not None:
        with refusals.collect():
            tested = loaders.read_test(test, epochs, materialise)
    with refusals.collect():
        goal = Criterion(criterion)
    with refusals.collect():
        bridge.check(optimizer)
        rates = Rates(optimizer, scheduler, scheduler_step, test is not None)
    with refusals.collect():
        row = _row(module, source, output)
    if refusals.found or source is None or goal is None or rates is None or row is None:
        raise refusals.error()
    for each in filter(None, (source, tested)):
        _log.info(each.note)
    run = _Run(module, row, source, tested, goal, rates, optimizer, masks, refusals)
    if (note := counts.note_on_speed(run.network)) is not None:
        _log.warning(note)
    made = engines.create(
        run.network,
        goal.loss,
        engine=engine,
        batch_size=source.batch_size,
        optimiser=run.bridge.ours,
        backend=backend,
        threads=threads,
    )
    history = History()
    stop = _Stop()
    try:
        with stop_on_sigint(stop):
            for epoch in range(1, epochs + 1):
                started = time.perf_counter()
                totals, highest, batches = Totals(), 0.0, 0
                for part in source.parts(made.images_a_call):
                    steps = rates.take(math.ceil(len(part.order) / part.batch_size))
                    found = run.train(made, part, steps)
                    if on_batch_end is not None:
                        for number, batch in enumerate(found, batches + 1):
                            on_batch_end(epoch, number, batch.loss / batch.images)
                    batches += len(found)
                    totals = sum(found, totals)
                    highest = max(highest, float(steps.max()))
                    stop.check()
                seconds = time.perf_counter() - started
                on_test = _evaluated(made, tested, stop)
                history.train_images, history.test_images = totals.images, on_test.images
                history.rows.append(Row.of(epoch, seconds, totals, on_test, highest))
                rates.end_epoch(history.rows[-1].test_loss)
                if on_epoch_end is not None:
                    run.give_back()
                    history.interrupted = on_epoch_end(history.rows[-1]) is True
                stop.check()
                if history.interrupted:
                    break
    finally:
        made.close()
        run.give_back()
    return history


class _Refusals:
    """Collects errors, to raise them as one."""

    def __init__(self) -> None:
        self.found: list[TypeError | ValueError] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError) as error:
            self.found.append(error)

    def error(self) -> TypeError | ValueError:
        """Return the error, or one that has the messages of all."""
        if len(self.found) == 1:
            return self.found[0]
        kinds = {type(error) for error in self.found}
        kind = kinds.pop() if len(kinds) == 1 else ValueError
        return kind("\n- ".join(["fit: this cannot be trained:", *map(str, self.found)]))


class _Stop:
    """Set by the first Ctrl-C."""

    stopping = False

    def stop(self) -> None:
        self.stopping = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came."""
        if self.stopping:
            raise KeyboardInterrupt


def _row(module: nn.Module, source: Source | None, output: int | str | None) -> rows.Row | None:
    """Return the content of a module; without images only check it, as far as possible."""
    if source is None:
        try:
            reading.read(module, None, output, masks=True, views=True)
        except ValueError as error:
            if not str(error).startswith("input_shape"):
                raise
        return None
    shape = source.shape
    try:
        return reading.read(module, shape[1:], output, masks=True, views=True)
    except (TypeError, ValueError) as error:
        if len(shape) == 4:
            raise
        raise type(error)(
            f"{source.name}: expected images (n, c, h, w), got shape {shape}, which the module "
            f"cannot take ({error}); a transform or a collate_fn can add what lacks"
        ) from None


class _Run:
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
        refusals: _Refusals,
    ) -> None:
        with refusals.collect():
            criterion.check_end(row.softmax)
        self.rates = rates
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
        stepped = {id(each) for group in optimizer.param_groups for each in group["params"]}
        self._trained = {
            name: tensor
            for name, tensor in given.items()
            if name in names and tensor.requires_grad and id(tensor) in stepped
        }
        self._pruned = {
            name: (self.network.parameters[name], tensors.array(name, mask) != 0)
            for name, mask in pruned.items()
            if name in self._trained
        }
        with refusals.collect():
            factors = _masks(module, masks, self._trained, views)
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
        self._seed = 0
        dropping = False
        for layer, place in zip(self.network.layers, row.places, strict=True):
            if isinstance(layer, layers.Dropout):
                if not place.training:
                    layer.p = 0.0
                dropping = dropping or layer.p > 0
        if dropping:
            self._seed = int(torch.randint(2**63 - 1, ()))

    def train(self, engine: Engine, part: Part, rates: Array) -> list[Totals]:
        """Train on some batches."""
        bridge, (x, labels, order, batch_size) = self.bridge, part
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
        return found

    def give_back(self) -> None:
        """Update the optimizer's state, and tell autograd that parameters have changed."""
        self.bridge.give_back()
        for name, (array, mask) in self._pruned.items():
            np.copyto(tensors.array(name, self._trained[name]), array, where=mask)
        for tensor in self._trained.values():
            torch.autograd.graph.increment_version(tensor)


def _masks(
    module: nn.Module,
    masks: Mapping[str, torch.Tensor] | None,
    trained: Mapping[str, torch.Tensor],
    views: Mapping[str, rows.View],
) -> dict[str, Array]:
    """Return masks of the module's parameters by our names, in our layout."""
    found = {}
    ours = {id(tensor): name for name, tensor in trained.items()}
    theirs = dict(module.named_parameters(remove_duplicate=False))
    for path, mask in (masks or {}).items():
        name = ours.get(id(theirs.get(path)))
        if name is None:
            raise ValueError(
                f"masks: expected names of trained parameters of the module, got {path!r}"
            )
        array = tensors.without_gradient(f"masks: {path}", mask, _MASKS)
        if array.shape != tuple(trained[name].shape) or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"masks: expected zeros and ones of shape {tuple(trained[name].shape)} for {path}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        numbers = array.astype(tensors.array(path, trained[name]).dtype, order="C")
        found[name] = views[name](numbers) if name in views else numbers
    return found


def _evaluated(engine: Engine, tested: Source | None, stop: _Stop) -> Totals:
    totals = Totals()
    for part in tested.parts(_EVALUATED) if tested is not None else ():
        totals += engine.evaluate(part.x[part.order], part.labels[part.order])
        stop.check()
    return totals
