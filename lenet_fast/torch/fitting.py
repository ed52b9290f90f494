"""Training of a module in place, with our engines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lenet_fast import checks, choices
from lenet_fast.engines import Totals
from lenet_fast.torch import bridge, loaders, reading, rows
from lenet_fast.torch.criteria import Criterion, Own
from lenet_fast.torch.loaders import Source
from lenet_fast.torch.looping import Loop
from lenet_fast.torch.passes import Options
from lenet_fast.torch.rates import Rates, Schedule
from lenet_fast.torch.refusals import Refusals
from lenet_fast.torch.running import Run
from lenet_fast.training import History, Row
from lenet_fast.training.interrupts import Stop, stop_on_sigint

_log = logging.getLogger(__name__)

_EVALUATED = 4096  # images at a time, so that Ctrl-C takes effect soon


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
    engine: choices.Engine = "auto",
    backend: choices.Backend | None = None,
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
        Of outputs and targets; its result is one number. The engines compute CrossEntropyLoss (with
        ``label_smoothing``), NLLLoss after a log-softmax, and MSELoss, or ``torch.nn.functional``'s
        of these names, also in a ``functools.partial``, with reduction "mean"; and, after a last
        RBF, :class:`MAPLoss` and :class:`PenaltyLoss`.
    optimizer : torch.optim.Optimizer
        Over parameters of the module, and of the criterion; without a closure. The engines compute
        SGD, Adam, AdamW, RMSprop and Adadelta without dampening, maximize, amsgrad and hooks, also
        with parameter groups that differ in their rates.
    scheduler : torch.optim.lr_scheduler.LRScheduler, optional
        Of the optimizer. Beside the engines' own steps it changes the learning rate only. By
        default the rate is constant. ReduceLROnPlateau gets the loss of `test`.
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
        state of an optimizer that the engines compute is 0. Parameters that are 0 there stay so, as
        when lottery tickets are trained. The masks of ``torch.nn.utils.prune`` act without being
        given; what they hide in ``weight_orig`` stays as it is.
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
        Losses are the criterion's: the mean per image, or, of a criterion that the engines do not
        compute, the mean of its values for the batches, weighted with their numbers of images.
        Without `test`, its columns hold NaN and 0.

    Raises
    ------
    TypeError, ValueError
        If something cannot be done the same way here; the message has all reasons. Nothing has
        been changed; only if later batches do not fit, those before them have been trained on.
    lenet_fast.training.TrainingDiverged
        If a loss is not finite. That batch has changed nothing, the batches before it have.
    KeyboardInterrupt
        After Ctrl-C. The current call of the engine (up to 512 images, or 4,096 in batches of one;
        or one batch, if the optimizer is PyTorch's own) has finished, and module and optimizer are
        in the state after a step; after a second Ctrl-C this is not guaranteed.

    Notes
    -----
    However the call ends, module and optimizer hold the result of the finished batches.

    A criterion, optimizer or scheduler that the engines do not compute runs itself, in PyTorch, for
    instance class weights, sums, functions of the user's, Adagrad, or OneCycleLR with its cycle of
    the momentum. The engines then compute the module's outputs and gradients only, as with
    :func:`wrap`, which is about half as fast. The logger ``lenet_fast.torch.fitting`` says so, and
    for which reason, at level WARNING. If only later targets turn out to need that, as those of a
    loader that is iterated, it is an error. Errors in the history count the images whose highest
    output belongs to another class than the label, or the highest target. Images that
    ``ignore_index`` leaves out are not counted.

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
    PyTorch's default generator as the seed, or each batch with PyTorch's own optimizer. So
    ``torch.manual_seed`` determines them, and the next call has others. In evaluation mode they
    drop nothing, as in PyTorch. `test` is always evaluated without dropout.

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
    refusals = Refusals()
    source = tested = own = goal = schedule = rates = row = None
    with refusals.collect():
        epochs = checks.integer("epochs", epochs, 1)
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle}
        source = loaders.read(loader, epochs, materialise=materialise, **options)
    if test is not None:
        with refusals.collect():
            tested = loaders.read_test(test, epochs, materialise)
    with refusals.collect():
        own = Own(criterion)
        goal = Criterion(criterion)
    with refusals.collect():
        bridge.check_kind(optimizer)
        of_scheduler = optimizer, scheduler, scheduler_step, test is not None
        schedule = Schedule(*of_scheduler)
        bridge.check(optimizer)
        steps = 1 if source is None else epochs
        if source is not None and scheduler_step == "batch":
            steps *= source.batches
        rates = Rates(*of_scheduler, steps)
    with refusals.collect():
        row = _row(module, source, output)
    if refusals.found or source is None or own is None or schedule is None or row is None:
        raise refusals.error()
    run: Run | Loop | None = None
    given = optimizer, masks, Options(output, backend, threads, engine, alone=True), refusals
    if goal is not None and rates is not None:
        run = Run(module, row, source, tested, goal, rates, *given)
    if refusals.beyond:
        run = Loop(module, source, tested, own, schedule, *given)
        _log.warning(
            "PyTorch's own criterion, optimizer and scheduler, around the engines: about half as "
            "fast as the engines alone, for which fit needs: %s",
            "; ".join(refusals.beyond),
        )
    assert run is not None
    for each in filter(None, (source, tested)):
        _log.info(each.note)
    run.start()
    history = History()
    stop = Stop()
    try:
        with stop_on_sigint(stop):
            for epoch in range(1, epochs + 1):
                started = time.perf_counter()
                totals, highest, batches = Totals(), 0.0, 0
                for part in source.parts(run.images_a_call):
                    found, rate = run.train(part)
                    if on_batch_end is not None:
                        for number, batch in enumerate(found, batches + 1):
                            on_batch_end(epoch, number, run.value(batch))
                    batches += len(found)
                    totals = sum(found, totals)
                    highest = max(highest, rate)
                    stop.check()
                seconds = time.perf_counter() - started
                on_test = _evaluated(run, tested, stop)
                history.train_images, history.test_images = totals.images, on_test.images
                history.rows.append(Row.of(epoch, seconds, totals, on_test, highest))
                run.schedule.end_epoch(history.rows[-1].test_loss)
                if on_epoch_end is not None:
                    run.give_back()
                    history.interrupted = on_epoch_end(history.rows[-1]) is True
                stop.check()
                if history.interrupted:
                    break
    finally:
        run.close()
        run.give_back()
    return history


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


def _evaluated(run: Run | Loop, tested: Source | None, stop: Stop) -> Totals:
    totals = Totals()
    for part in tested.parts(_EVALUATED) if tested is not None else ():
        totals += run.evaluate(part)
        stop.check()
    return totals
