"""Mini-batch training: epochs, files, stopping and resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from lenet_fast import checks, choices, data, defaults, disk, engines, files, losses, notebooks
from lenet_fast.checks import Array
from lenet_fast.data import Distortion, arrays
from lenet_fast.engines import Totals, compiled, online
from lenet_fast.engines.ranks import Ranks, RanksEngine
from lenet_fast.errors import FileFormatError
from lenet_fast.locks import LockedFolder
from lenet_fast.network import Network
from lenet_fast.threads import Pool
from lenet_fast.training import agreement, checkpoints, parts, runs, schedules
from lenet_fast.training.averages import WeightAverage
from lenet_fast.training.batches import evaluate, fingerprint, shuffled
from lenet_fast.training.callbacks import Callback, Progress, reports
from lenet_fast.training.evaluation import Evaluation, evaluation
from lenet_fast.training.history import History, Row
from lenet_fast.training.interrupts import stop_on_sigint
from lenet_fast.training.optimisers import OPTIMISERS, Optimiser
from lenet_fast.training.schedules import DEFAULT_RATES, Schedule, default_for

_SETTINGS = (
    *("network", "loss", "optimiser", "schedule", "batch_size", "seed", "distortion"),
    *("evaluate_train", "shuffle", "options"),
)
"""Attributes of a trainer that a checkpoint holds, and a resumed trainer gets, as they are."""


class TrainingDiverged(ArithmeticError):  # noqa: N818  (named after the event, as StopIteration)
    """The loss or a weight has become infinite or NaN.

    Parameters
    ----------
    reason : str
        What happened, and what may help.
    kept : str
        The state of the run's files.

    Attributes
    ----------
    reason : str

    Examples
    --------
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import Trainer, TrainingDiverged
    >>> sample = data.load("sample")
    >>> trainer = Trainer(models.lenet5(pooling="max", output="softmax"), schedule=1e30)
    >>> try:
    ...     trainer.fit(sample.train.subset(640), sample.test.subset(50), epochs=1)
    ... except TrainingDiverged as error:
    ...     print(error.reason.rpartition("; ")[2])
    start again with a lower one, such as 0.01.
    """

    def __init__(self, reason: str, kept: str = "") -> None:
        super().__init__(f"{reason} {kept}".strip())
        self.reason = reason


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button, has ended :meth:`Trainer.fit`, which has saved first.

    The trainer is in the state of the last step: ``fit`` continues from there, with the same bits.

    Examples
    --------
    It is a KeyboardInterrupt, so that a notebook's "run all" stops:

    >>> from lenet_fast.training import TrainingInterrupted
    >>> issubclass(TrainingInterrupted, KeyboardInterrupt)
    True
    """


class _Stopped(Exception):  # noqa: N818
    """Leaves the loops after :meth:`Trainer.stop`; internal to this module."""


class Trainer:
    """Trains a network; it can stop after any batch and resume later with the same bits.

    Parameters
    ----------
    network : Network
        Trained in place.
    loss : Loss or str, optional
        One of :mod:`lenet_fast.losses`, or its name, such as "cross_entropy"; default: the one for
        the network's output.
    optimiser : Optimiser or str, optional
        An object, such as ``AdamW(weight_decay=0.1)``, or a name, for its default options: "sgd"
        (``SGD(momentum=0.9)``, the default), "adamw", "adam", "rmsprop", "adadelta" or "sdlm"
        (``SDLM(mu=1.0)``).
    schedule : Schedule, float or str, optional
        An object, such as ``OneCycle(0.1)``; a number, for a constant rate; or a name,
        "one_cycle", "linear_decay", "cosine", "step_decay" or "constant", for the rates of
        :func:`lenet_fast.training.schedules.named`. Default:
        :func:`lenet_fast.training.schedules.default_for` the loss, the optimiser and the batch
        size. An optimiser of your own has no default rates, nor has SDLM for batches of several
        images: those of the paper are for single ones.
    batch_size : int, optional
        Images per step. The last batch of an epoch may be smaller; no image is left out. Default:
        32, or 1 with SDLM.
    seed : int, default 0
        From 0 to 2**63 - 1. Seed and epoch determine the order of the images and their
        distortions; seed and step determine which units dropout layers drop.
    distortion : Distortion or {"paper", "elastic"}, optional
        Distorts the training images, anew in each epoch.
    evaluate_train : bool, default False
        Whether to measure the training loss and errors after each epoch, as the papers plot them,
        without distortions. By default they are collected while the network learns, at no cost.
    shuffle : bool, default True
        Whether to shuffle the images in each epoch. False: keep the data set's order, as in 1989.
    average_from : int, optional
        From the end of this epoch on, :attr:`result` is the average of the network's weights over
        the ends of epochs, instead of the network; see
        :class:`lenet_fast.training.averages.WeightAverage`. Default: no averaging.
    engine, backend, threads : optional
        As in :func:`lenet_fast.engines.create`.
    ranks : Ranks, optional
        The processes of an MPI program that train this network together; each has such a trainer.
        Each batch is shared out among them, and so are distortions, tests and SDLM's curvature.
        Results are those of one process, bit for bit. Callbacks are called in each process; only
        the first one writes files. For batches of several images, on the lane engine.
    out : path, optional
        A folder for ``checkpoint.safetensors`` (written at the start, after every epoch and on a
        stop), ``config.toml``, ``model.safetensors`` (the best epoch, see :attr:`History.best`)
        and ``history.csv``. Without it nothing is written. During :meth:`fit` the folder is locked
        against other runs.
    overwrite : bool, default False
        Whether to replace those four files if they exist in `out`; only with `out`. An earlier run
        stays until this one has completed its first epoch, or is stopped in it; until then,
        `checkpoint_every` does not save.
    checkpoint_every : int, optional
        Also save the checkpoint within an epoch, whenever this many images are done (rounded up
        to whole batches); only with `out`.
    callbacks : sequence of Callback
        Informed about batches and epochs.
    options : mapping, optional
        Data that TOML and JSON can hold, for ``[options]`` in ``config.toml`` and for checkpoints.

    Attributes
    ----------
    history : History
        The epochs so far.
    epochs : int
        Number of epochs of the current or last call of :meth:`fit`.
    result : Network
        The network of the last row of the history: `network`, or with `average_from` the average.
    stopping : bool
        Whether :meth:`stop` was called since :meth:`fit` began.
    saved : Position or None
        Position of the checkpoint in `out`: complete epochs, and batches of the next one. None if
        there is none yet.

    Raises
    ------
    FileExistsError
        If `out` already holds a run, which is then left unchanged.
    lenet_fast.engines.Unsupported
        A ValueError, as from :func:`lenet_fast.engines.create`; also if the engine is "online" and
        the batch size is not 1, or if `ranks` would need another engine than "lanes".
    TypeError, ValueError
        If an argument is of the wrong kind, such as a class instead of an object, a name is
        unknown, or a number is out of range.

    Examples
    --------
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import Constant, Trainer
    >>> sample = data.load("sample")
    >>> network = models.lenet5(pooling="max", output="softmax")
    >>> trainer = Trainer(network, schedule=Constant(0.1), batch_size=32)
    >>> history = trainer.fit(sample.train.subset(320), sample.test.subset(100), epochs=1)
    >>> len(history.rows), history.interrupted
    (1, False)
    """

    @choices.american
    def __init__(
        self,
        network: Network,
        loss: losses.Loss | choices.Loss | None = None,
        *,
        optimiser: Optimiser | choices.Optimiser | None = None,
        schedule: Schedule | float | choices.Schedule | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        distortion: Distortion | choices.Distortion | None = None,
        evaluate_train: bool = False,
        shuffle: bool = True,
        average_from: int | None = None,
        engine: choices.Engine = "auto",
        backend: choices.Backend | None = None,
        threads: int | None = None,
        ranks: Ranks | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        checkpoint_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
        self.network = network
        self.loss = losses.default_for(network) if loss is None else losses.chosen(loss)
        self.loss.check(network)
        self.optimiser = parts.optimiser("sgd" if optimiser is None else optimiser, self.loss.name)
        if batch_size is None:
            batch_size = 1 if self._rule == "sdlm" else defaults.BATCH_SIZE
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.callbacks = self._informed = parts.callbacks(callbacks)
        if not isinstance(options, Mapping | None):
            raise TypeError(f"options: expected a mapping, got {checks.kind(options)}")
        if schedule is None:
            schedule = self._default_schedule()
            if schedule is None:
                raise ValueError(
                    "schedule: expected one for an optimiser without default rates, "
                    f"{self.optimiser.rule.name!r}, got none"
                )
            if self._rule == "sdlm" and self.batch_size > 1:
                raise ValueError(
                    f"schedule: expected one for SDLM with batches of {self.batch_size}, such as a "
                    "rate, got none; the paper's rates are for batch_size=1"
                )
        self.schedule = schedule
        self.seed = checks.seed(seed)
        self.distortion = parts.distortion(distortion)
        self.evaluate_train = checks.flag("evaluate_train", evaluate_train)
        self.shuffle = checks.flag("shuffle", shuffle)
        self.average_from: int = 0  # never
        if average_from is not None:
            self.average_from = checks.integer("average_from", average_from, 1)
        self._set_checkpoint_every(checkpoint_every)

        if not isinstance(ranks, Ranks | None):
            raise TypeError(
                f"ranks: expected a lenet_fast.training.Ranks, got {checks.kind(ranks)}"
            )
        self._ranks = ranks

        def create(network: Network) -> engines.Engine:
            if ranks is not None:
                return self._create_shared(network, ranks, engine, backend, threads)
            return engines.create(
                network,
                self.loss,
                engine=engine,
                batch_size=self.batch_size,
                optimiser=self.optimiser,
                backend=backend,
                threads=threads,
            )

        self.engine = create(network)
        self._average: WeightAverage | None = None
        if self.average_from:
            self._average = WeightAverage(network)
            self._average_engine = create(self._average.network)
        if self.engine.name == "online":  # before any file is written
            online.check_batch_size(self.batch_size)
        self._pool = Pool(self.engine.threads)
        self.options = dict(options or {})
        self.epochs = defaults.EPOCHS
        self.history = History()
        self._position = checkpoints.Position()
        self._data: tuple[checkpoints.Fingerprint, checkpoints.Fingerprint] | None = None
        self.stopping = False
        self._out = None if out is None else checks.pathlike("out", out)
        self._locked = out if isinstance(out, LockedFolder) else None
        self._folder: LockedFolder | None = None  # during fit
        self._overwrite = checks.flag("overwrite", overwrite)
        if out is None and (self._overwrite or checkpoint_every is not None):
            name = "overwrite" if self._overwrite else "checkpoint_every"
            raise ValueError(
                f"{name}: expected together with out, the folder that it refers to, got no out"
            )
        if not self._first:
            self._out = self._locked = None
        self.saved: checkpoints.Position | None = None
        self._stamp: tuple[int, ...] | None = None  # of our checkpoint
        self._new = True
        self._replace: Callable[[], None] | None = None  # puts this run in place of another
        if self._out is not None and not self._overwrite:
            runs.check_free(self._out)

    def _create_shared(
        self,
        network: Network,
        ranks: Ranks,
        engine: choices.Engine,
        backend: choices.Backend | None,
        threads: int | None,
    ) -> engines.Engine:
        """Return the engine of one of several ranks."""
        if checks.choice("engine", engine, engines.NAMES) not in ("auto", "lanes"):
            raise engines.Unsupported(
                f"engine: expected 'lanes', the only one for several ranks, got {engine!r}"
            )
        if engine == "auto" and self.batch_size == 1:
            raise engines.Unsupported(
                "batch_size: expected several images, whose gradients the ranks share out, got 1"
            )
        compiled.check_rule(self.optimiser)
        return RanksEngine(network, self.loss, ranks, backend=backend, threads=threads)

    @property
    def _first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self._ranks is None or self._ranks.rank == 0

    @classmethod
    @choices.american
    def resume(
        cls,
        run: str | os.PathLike[str],
        *,
        engine: choices.Engine | None = None,
        backend: choices.Backend | None = None,
        threads: int | None = None,
        ranks: Ranks | None = None,
        checkpoint_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        optimiser: Optimiser | None = None,
        schedule: Schedule | None = None,
    ) -> Trainer:
        """Return a trainer in the state in which a run stopped; :meth:`fit` then continues it.

        The run keeps its network, loss, optimiser, schedule, batch size, seed, distortion, options
        and folder. With the same data it ends with the same bits as a run that never stopped.

        Parameters
        ----------
        run : path
            The run's folder or the ``checkpoint.safetensors`` in it.
        engine, backend : str, optional
            Default: those of the run. With others, another instruction set, or another version of
            this library or of NumPy, results may differ by rounding, and a UserWarning says so.
        threads : int, optional
            Does not change results.
        ranks : Ranks, optional
            As for a new run; neither they nor their number change results. All must be able to
            read the run.
        checkpoint_every : int, optional
            As for a new run; does not change results.
        callbacks : sequence of Callback
            Informed about batches and epochs.
        optimiser, schedule : optional
            Those of the run, new or used, if they are of your own: files cannot describe them. The
            optimiser's state is replaced by the one saved with the run.

        Raises
        ------
        FileNotFoundError, FileFormatError
            If there is no checkpoint, or it is damaged.
        TypeError, ValueError
            If `optimiser` or `schedule` has the wrong type, or differs from the run's.
        ImportError
            If the run's backend is missing here.

        Examples
        --------
        >>> import tempfile
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Trainer
        >>> sample = data.load("sample")
        >>> train, test = sample.train.subset(64), sample.test.subset(50)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = Trainer(models.lenet5(), out=folder).fit(train, test, epochs=1)
        ...     history = Trainer.resume(folder).fit(train, test, epochs=2)
        >>> [row.epoch for row in history.rows], history.rows[0] == first.rows[0]
        ([1, 2], True)
        """
        path = runs.checkpoint_path(run)
        stamp = runs.stamp(path.parent)  # before reading, so that a change meanwhile is noticed
        saved = checkpoints.load(
            path,
            None if optimiser is None else parts.optimiser(optimiser),
            None if schedule is None else parts.schedule(schedule),
        )
        try:
            trainer = cls(
                **{name: getattr(saved, name) for name in _SETTINGS},
                average_from=saved.average_from or None,
                engine=engine or saved.code["engine"],
                backend=backend or saved.code["backend"],
                threads=threads,
                ranks=ranks,
                callbacks=callbacks,
            )
        except engines.Unsupported as error:
            if engine is None and backend is None and ranks is None:
                raise FileFormatError(f"{path}: {error}") from error
            raise
        trainer._set_checkpoint_every(checkpoint_every)
        trainer.epochs = saved.epochs
        trainer.history.rows = saved.rows
        trainer._position = saved.position
        if trainer._average is not None and (saved.average or saved.averaged):
            try:
                trainer._average.load_state(saved.average, saved.averaged)
            except ValueError as error:
                raise FileFormatError(f"{path}: {error}") from None
        trainer._data = (saved.train, saved.test)
        if trainer._first:
            trainer._out = path.parent
            trainer._locked = run if isinstance(run, LockedFolder) else None
        trainer.saved, trainer._stamp = dataclasses.replace(saved.position), stamp
        here = runs.code(trainer.engine)
        changed = [
            f"{key} {saved.code.get(key)} -> {value}"
            for key, value in here.items()
            if saved.code.get(key) != value
        ]
        if changed:
            warnings.warn(
                f"{path.parent}: the run resumes with other code ({', '.join(changed)}); the "
                "results can differ by rounding from those of a run that never stopped",
                stacklevel=2,
            )
        return trainer

    def _set_checkpoint_every(self, images: int | None) -> None:
        self._checkpoint_batches = 0  # never within an epoch
        if images is not None:
            images = checks.integer("checkpoint_every", images, 1)
            self._checkpoint_batches = math.ceil(images / self.batch_size)

    def fit(
        self,
        train: data.Dataset,
        test: data.Dataset,
        epochs: int | None = None,
        *,
        verbose: bool | Literal["auto"] = "auto",
    ) -> History:
        """Train until `epochs` epochs are complete, including earlier ones.

        Parameters
        ----------
        train, test : Dataset
            At least one image each. The test set determines the best epoch; it is not trained on.
            If `train` has weights, so has the training loss, unless `evaluate_train` measures it.
        epochs : int, optional
            Default: that of the previous :meth:`fit` (also before :meth:`resume`), else 20. With a
            larger number, a finished run continues.
        verbose : bool or "auto"
            Whether to show a table of the epochs, and, on a terminal or in a notebook, a bar with
            the time left: :class:`EpochTable` and :class:`ProgressBar`. "auto": on a terminal and
            in a notebook only. Nothing is added if the trainer's callbacks have one of the two.

        Returns
        -------
        History
            ``interrupted`` is true if :meth:`stop` ended the training early. The current call of
            the engine (up to 512 images, or 4,096 in batches of one and on several ranks) is
            completed first, and the state is saved if there is an `out`.

        Raises
        ------
        TrainingInterrupted
            A KeyboardInterrupt, after Ctrl-C or the stop button of a notebook: when the call of the
            engine is complete and the state is saved, so that another :meth:`fit` continues
            exactly. A second Ctrl-C raises KeyboardInterrupt at once; then only :meth:`resume`
            continues exactly. The files are always intact.
        TrainingDiverged
            If the loss or a weight is no longer finite. The files keep the state of the last epoch
            or stop, or of the start; the network in memory is useless.
        BlockingIOError
            If another run writes to the folder `out`.
        FileExistsError
            If `out` already holds a run, or a checkpoint other than this trainer's. It is left
            unchanged.
        OSError
            If a file cannot be written. What was saved before is intact; see ``saved``.
        ValueError
            If a set is empty, or differs from the one that this run was trained on before; if its
            classes do not fit the network or the other set's; if the
            training images do not range from 0 to 255; if `average_from` is beyond the last
            epoch; or if `test` has weights, or `train` has with SDLM.
        TypeError
            If a set is not a Dataset.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Trainer
        >>> sample = data.load("sample")
        >>> train, test = sample.train.subset(320), sample.test.subset(100)
        >>> trainer = Trainer(models.lenet5())
        >>> len(trainer.fit(train, test, epochs=1).rows)
        1
        >>> len(trainer.fit(train, test, epochs=3).rows)  # two more
        3
        """
        epochs = self.epochs if epochs is None else checks.integer("epochs", epochs, 1)
        if self.average_from > epochs:
            raise ValueError(
                f"average_from: expected at most {epochs}, the last epoch, got "
                f"{self.average_from}, which leaves nothing to average"
            )
        shown = reports(verbose, self.callbacks) if self._first else []
        self._recognise(train, test)
        self._check_weights(train, test)
        self.epochs = epochs
        self._check_scale(train)
        self._name_classes(train, test)
        self.history.train_images, self.history.test_images = len(train.images), len(test.images)
        self.history.interrupted = False
        self.stopping = False
        self._informed = [*self.callbacks, *shown]
        with contextlib.ExitStack() as stack:
            if self._ranks is not None:
                agreement.check(self._ranks, self._agreed())
            if self._out is not None:
                self._folder = self._locked or stack.enter_context(LockedFolder(self._out))
                self._begin_files(self._out)
            self._fit(train, test)
        return self.history

    def _fit(self, train: data.Dataset, test: data.Dataset) -> None:
        try:
            for callback in self._informed:
                callback.on_train_begin(self)
            with stop_on_sigint(self) as came:
                while self._position.epoch < self.epochs:
                    self._one_epoch(train, test)
        except _Stopped:
            self.history.interrupted = True
            self._check_state()
            self._save_checkpoint()
            if self._ranks is not None:
                self._ranks.link.gather(None)  # nobody ends the others before they have saved
        finally:
            for callback in self._informed:
                callback.on_train_end(self)
            self.engine.close()
            if self._average is not None:
                self._average_engine.close()
            self._pool.close()
        if came.is_set():
            if self._position.epoch == self.epochs:
                raise TrainingInterrupted("stopped after the last epoch")
            where = f", and {self._out} has its state" if self._out is not None else ""
            raise TrainingInterrupted(
                f"stopped in epoch {self._position.epoch + 1} of {self.epochs}{where}; the "
                "trainer's fit goes on from there"
            )

    def evaluate(self, dataset: data.Dataset) -> Evaluation:
        """Return loss, errors and confusion matrix of :attr:`result` on a data set.

        Parameters
        ----------
        dataset : Dataset
            At least one image, such as ``splits.test``.

        Raises
        ------
        TypeError, ValueError
            If it is not such a data set, has labels beyond the network's classes, or an output is
            not finite.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Trainer
        >>> trainer = Trainer(models.lenet5(output="softmax"))
        >>> result = trainer.evaluate(data.load("sample").test)
        >>> result.count, result.confusion.shape
        (1000, (10, 10))
        >>> result.accuracy == 1 - result.errors / 1000
        True
        """
        engine = self.engine if self.result is self.network else self._average_engine
        try:
            return evaluation(engine, self.result, self.loss, dataset)
        finally:
            engine.close()

    @property
    def schedule(self) -> Schedule:
        """The learning rates; a callback may replace them, by whatever the argument may be.

        Raises
        ------
        TypeError, ValueError
            As for the argument.

        Examples
        --------
        >>> from lenet_fast import models
        >>> from lenet_fast.training import Trainer
        >>> trainer = Trainer(models.lenet5())
        >>> trainer.schedule = 0.0005
        >>> trainer.schedule
        Constant(0.0005)
        """
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | float | choices.Schedule) -> None:
        def named(name: str) -> Schedule:
            return schedules.named(name, self.loss, self._rule, self.batch_size)

        self._schedule = parts.schedule(schedule, named)

    @property
    def result(self) -> Network:
        """The network that the last row of the history describes.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Trainer
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), average_from=2)
        >>> history = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=3)
        >>> trainer.result is trainer.network  # it is the average of epochs 2 and 3
        False
        """
        if self._average is None or not self._average.count:
            return self.network
        return self._average.network

    def stop(self) -> None:
        """Make :meth:`fit` return after the current batches; may be called from any thread.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> from lenet_fast.training import Callback, Trainer
        >>> class StopAtOnce(Callback):
        ...     def on_batch_end(self, trainer, progress):
        ...         trainer.stop()
        >>> sample = data.load("sample")
        >>> trainer = Trainer(models.lenet5(), callbacks=[StopAtOnce()])
        >>> trainer.fit(sample.train, sample.test, epochs=1).interrupted
        True
        """
        self.stopping = True

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self._facts().items())
        return f"Trainer({facts})"

    def _repr_html_(self) -> str:
        """Return the settings and the state for notebooks."""
        rows = [(name.replace("_", " "), value) for name, value in self._facts().items()]
        body = notebooks.table(("Trainer", ""), rows, texts=2)
        return f"<div>{body}{self.history._repr_html_() if self.history.rows else ''}</div>"

    def _facts(self) -> dict[str, str]:
        """Return the settings that matter, in words."""
        counts, network, engine = self.network.counts(), self.network, self.engine
        facts = {
            "network": f"<{len(network.layers)} layers, {counts.parameters:,} parameters, "
            f"{network.output} outputs>",
            **{name: repr(getattr(self, name)) for name in ("loss", "optimiser", "schedule")},
            **{name: str(getattr(self, name)) for name in ("batch_size", "seed")},
            "engine": f"<{engine.name}, {engine.backend}, {engine.threads} threads>",
        }
        if self._ranks is not None:
            facts["ranks"] = repr(self._ranks)
        if self.distortion is not None:
            facts["distortion"] = repr(self.distortion)
        if self.average_from:
            facts["average_from"] = str(self.average_from)
        if self._out is not None:
            facts["out"] = repr(os.fspath(self._out))
        return {**facts, "history": f"<{len(self.history.rows)} epochs>"}

    # ------------------------------------------------------------------ one epoch

    def _one_epoch(self, train: data.Dataset, test: data.Dataset) -> None:
        position = self._position
        epoch = position.epoch + 1
        rates = self._rates()
        self._train(train, epoch, rates)
        engine = self.engine
        if self._average is not None and epoch >= self.average_from:
            # Not twice, if the run was stopped during the evaluation.
            if self._average.count <= epoch - self.average_from:
                self._average.add(self.network)
            engine = self._average_engine
        report = self._report("evaluate", epoch)
        on_train = Totals(position.loss_sum, position.errors, len(train))
        if self.evaluate_train:
            on_train = evaluate(engine, train, on_batch=report)
        on_test = evaluate(engine, test, on_batch=report)
        if not math.isfinite(on_train.loss + on_test.loss):
            self._diverged(f"expected finite losses, got {on_train.loss} and {on_test.loss}")
        self._check_state()
        row = Row.of(epoch, position.seconds, on_train, on_test, float(rates.max()))
        self.history.rows.append(row)
        self._position = checkpoints.Position(epoch=epoch)
        if self._out is not None:
            self._write_epoch(self._out, row)
        for callback in self._informed:
            callback.on_epoch_end(self, row)

    def _rates(self) -> Array:
        """Return the rates of all batches of the current epoch."""
        assert self._data is not None
        batches = math.ceil(self._data[0].images / self.batch_size)
        epoch = self._position.epoch + 1
        return schedules.rates(
            self.schedule, epoch, 0, batches, batches=batches, epochs=self.epochs
        )

    def _train(self, train: data.Dataset, epoch: int, rates: Array) -> None:
        position, schedule = self._position, self.schedule
        started = time.perf_counter()
        order = np.arange(len(train.images))
        if self.shuffle:
            order = shuffled(len(train.images), self.seed, epoch)
        report = self._report("train", epoch)
        if self._should_stop():  # before the curvature, which would be followed again
            raise _Stopped
        if position.batch == 0 and self.optimiser.curvature_images:
            self._follow_curvature(train, order[: self.optimiser.curvature_images], epoch)
        while position.batch * self.batch_size < len(order):
            if position.batch and self._should_stop():
                raise _Stopped
            batch, pause = position.batch, self._next_pause()
            if self.schedule is not schedule:  # a callback has replaced it
                schedule = self.schedule
                rates[batch:] = self._rates()[batch:]
            first, last = batch * self.batch_size, pause * self.batch_size
            images, labels, turns = train.images, train.labels, order[first:last]
            weights = train.weights
            if self.distortion is not None or images.ndim == 4:  # which the engine converts
                images, labels = self._examples(train, turns, epoch, self.batch_size)
                weights = None if weights is None else weights[turns]
                turns = np.arange(len(turns))
            # Overflow shows up as a non-finite loss, which is reported below.
            with np.errstate(over="ignore", invalid="ignore"):
                batches = self.engine.train(
                    *(images, labels, turns, self.batch_size, self.optimiser),
                    rates[batch:pause],
                    seed=self.seed,
                    weights=weights,
                )
            for totals in batches:
                if not math.isfinite(totals.loss):
                    self._diverged(f"expected a finite loss, got {totals.loss}")
                position.batch += 1
                position.loss_sum += totals.loss
                position.errors += totals.errors
            position.seconds += time.perf_counter() - started
            every = 0 if self._replace else self._checkpoint_batches
            if every and position.batch % every == 0:
                self._check_state()
                self._save_checkpoint()
            seen = Totals(position.loss_sum, position.errors, min(last, len(order)))
            report(seen, len(order))
            started = time.perf_counter()

    def _examples(
        self, train: data.Dataset, chosen: Array, epoch: int, batch_size: int
    ) -> tuple[Array, Array]:
        """Return some training images, distorted for an epoch, and their labels. Of several ranks,
        each distorts the images of its blocks; the others are empty."""
        images, labels = train.images[chosen], train.labels[chosen]
        if self.distortion is None:
            return images, labels
        if not isinstance(self.engine, RanksEngine):
            return self._distorted(self.distortion, images, chosen, epoch), labels
        own = self.engine.own(len(chosen), batch_size)
        part = self._distorted(self.distortion, images[own], chosen[own], epoch)
        images = np.zeros((len(chosen), *part.shape[1:]), part.dtype)
        images[own] = part
        return images, labels

    def _distorted(self, distortion: Distortion, images: Array, chosen: Array, epoch: int) -> Array:
        distorted = partial(
            distortion,
            samples=chosen,
            epoch=epoch,
            seed=self.seed,
            size=self.network.input_shape[-1],  # so that a shift does not cut off the digit
            backend=self.engine.backend,
            pool=self._pool,
        )
        if images.ndim == 4:  # an image's channels are distorted alike
            planes = np.ascontiguousarray(images.swapaxes(0, 1))
            return np.stack([distorted(plane) for plane in planes], axis=1)
        return distorted(images)

    def _follow_curvature(self, train: data.Dataset, chosen: Array, epoch: int) -> None:
        """Let the optimiser set its rates from the Hessian's diagonal over some images."""
        images, labels = self._examples(train, chosen, epoch, len(chosen))
        with np.errstate(over="ignore", invalid="ignore"):
            diagonal = self.engine.hessian_diagonal(images, labels)
        if not all(np.isfinite(array).all() for array in diagonal.values()):
            self._diverged("expected a finite curvature, got NaN or infinity")
        self.optimiser.follow(diagonal)

    def _should_stop(self) -> bool:
        """Return whether to stop: all ranks do after the same batch."""
        if self._ranks is None:
            return self.stopping
        return any(self._ranks.link.gather(self.stopping))

    def _next_pause(self) -> int:
        """Return the batch of this epoch before which the engine returns."""
        batch = self._position.batch + max(1, self.engine.images_a_call // self.batch_size)
        every = self._checkpoint_batches
        return min(batch, (self._position.batch // every + 1) * every) if every else batch

    def _report(
        self, phase: Literal["train", "evaluate"], epoch: int
    ) -> Callable[[Totals, int], None]:
        started = time.perf_counter()

        def report(totals: Totals, total: int) -> None:
            seconds = self._position.seconds if phase == "train" else time.perf_counter() - started
            progress = Progress(
                phase=phase,
                epoch=epoch,
                epochs=self.epochs,
                images=totals.images,
                total=total,
                loss=totals.loss / totals.images,
                errors=totals.errors,
                images_per_second=totals.images / max(seconds, 1e-9),
            )
            for callback in self._informed:
                callback.on_batch_end(self, progress)
            if phase == "evaluate" and self._should_stop():
                raise _Stopped

        return report

    def _check_state(self) -> None:
        """Raise TrainingDiverged unless all weights and arrays of the optimiser are finite."""
        arrays = [*self.network.parameters.values(), *self.optimiser.state().values()]
        if not all(np.isfinite(array).all() for array in arrays):
            self._diverged("expected finite weights, got NaN or infinity")

    def _diverged(self, what: str) -> NoReturn:
        position = self._position
        rate = float(self._rates()[: position.batch + 1].max())
        kept = ""
        if self.saved is not None:
            good = "the last good state, " if self.saved.epoch or self.saved.batch else "the state "
            kept = f"The files in {self._out} hold {good}{self.saved}."
        elif self._replace is not None:
            kept = f"The run that was to be overwritten in {self._out} is still there."
        raise TrainingDiverged(
            f"epoch {position.epoch + 1}, after {position.batch} batches at rate {rate:g}: {what}. "
            "The rate is too high for this network, loss and optimiser; start again with a "
            f"lower one, such as {self._lower_rate(rate):g}.",
            kept,
        )

    def _lower_rate(self, rate: float) -> float:
        """Return a lower rate to try: the default, if that is lower than the current one."""
        default = self._default_schedule() if self.loss.name in DEFAULT_RATES else None
        if default is not None and (first := default.rate_at(0, 1, 1)) < rate:
            return first
        return rate / 10

    def _default_schedule(self) -> Schedule | None:
        """Return the default schedule, or None if the optimiser has none."""
        rule = self._rule
        return default_for(self.loss, rule, self.batch_size) if rule in OPTIMISERS else None

    @property
    def _rule(self) -> Any:
        """The optimiser's name in `OPTIMISERS`, if it is one of them."""
        return parts.rule(self.optimiser)

    # ------------------------------------------------------------------ files

    def _begin_files(self, out: Path) -> None:
        """Write the first files of a run, or check those of a resumed one."""
        self._new, self._replace = self.saved is None, None
        if self._new and not self._overwrite:
            runs.check_free(out)
        if not self._new:
            if self._stamp is not None and runs.stamp(out) not in (self._stamp, None):
                raise FileExistsError(
                    f"out: expected the run in {out} as this trainer left it, but its "
                    f"{runs.CHECKPOINT} has changed; resume the run again, or choose another folder"
                )
            if self._position.epoch >= self.epochs:
                return  # nothing to do, so nothing changes
        start = self._checkpoint()
        config = runs.config(start, self.engine.threads, self._ranks)  # first: it may raise
        content = start.packed(out / runs.CHECKPOINT)
        begin = partial(self._begin_run, out, content, config, dataclasses.replace(self._position))
        for name in runs.FILES:
            disk.remove_leftovers(out / name)
        if self._new and any(os.path.lexists(out / name) for name in runs.FILES):
            if not os.access(out, os.W_OK):  # as the first epoch would find out
                name = os.fspath(out / runs.CHECKPOINT)
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            self._replace = begin  # a new run that diverges is no reason to lose a good one
        else:
            begin()

    def _begin_run(
        self, out: Path, checkpoint: bytes, config: str, position: checkpoints.Position
    ) -> None:
        try:
            # The checkpoint comes first: a folder with any file of a run can be resumed.
            if runs.stamp(out) is None or self._new:
                disk.write_beside(out / runs.CHECKPOINT, checkpoint, out / runs.CHECKPOINT)
                self.saved = position
                self._stamp = runs.stamp(out)
            if self._new or not self.history.rows:  # remove those of an overwritten run
                runs.clear(out, (runs.MODEL, runs.HISTORY))
            self._write(out / runs.CONFIG, config)
        except BaseException:
            if self._new and self.saved is not None:
                runs.clear(out)
                self.saved = self._stamp = None
            raise

    def _replace_run(self) -> None:
        """Replace the run that `overwrite` is about, unless that is done."""
        begin, self._replace = self._replace, None
        if begin is not None:
            begin()

    def _write_epoch(self, out: Path, row: Row) -> None:
        self._check_folder()
        self._replace_run()
        # The checkpoint comes last: after a crash between two files, the epoch is repeated.
        if row is self.history.best or not (out / runs.MODEL).exists():
            extra = {"epoch": row.epoch, "test_errors": row.test_errors, "test_loss": row.test_loss}
            if "recipe" in self.options:
                extra["recipe"] = self.options["recipe"]
            files.write_model(
                out / runs.MODEL, self.result, self.loss, extra, beside=out / runs.CHECKPOINT
            )
        self._write(out / runs.HISTORY, self.history.to_csv())
        self._save_checkpoint()

    def _check_folder(self) -> None:
        if self._folder is not None:
            self._folder.check()

    def _write(self, path: Path, text: str) -> None:
        disk.write_beside(path, text.encode(), path.with_name(runs.CHECKPOINT))

    def _save_checkpoint(self) -> None:
        if self._out is not None:
            self._check_folder()
            self._replace_run()
            self._checkpoint().save(self._out / runs.CHECKPOINT)
            self.saved = dataclasses.replace(self._position)
            self._stamp = runs.stamp(self._out)

    def _checkpoint(self) -> checkpoints.Checkpoint:
        assert self._data is not None
        train, test = self._data
        return checkpoints.Checkpoint(
            **{name: getattr(self, name) for name in _SETTINGS},
            average_from=self.average_from,
            averaged=0 if self._average is None else self._average.count,
            average={} if self._average is None else self._average.state(),
            epochs=self.epochs,
            code=runs.code(self.engine),
            train=train,
            test=test,
            position=self._position,
            rows=self.history.rows,
        )

    def _agreed(self) -> agreement.Facts:
        """Return what has to be the same in all ranks."""
        state = self._checkpoint()
        settings = {
            name: getattr(state, name)
            for name in ("batch_size", "seed", "evaluate_train", "shuffle", "average_from")
        }
        settings |= {"epochs": self.epochs, "checkpoint_every": self._checkpoint_batches}
        for name in ("loss", "optimiser", "schedule", "distortion", "network"):
            part = getattr(state, name)
            settings[name] = None if part is None else part.config()
        arrays = {**self.network.parameters, **self.optimiser.state()}
        arrays |= {f"average/{name}": array for name, array in state.average.items()}
        return agreement.Facts(
            code=state.code,
            settings=settings | {"epoch": state.position.epoch, "batch": state.position.batch},
            data={"train": state.train, "test": state.test},
            arrays=agreement.digest(arrays),
        )

    def _recognise(self, train: data.Dataset, test: data.Dataset) -> None:
        found = fingerprint("train", train), fingerprint("test", test)
        for name, before, now in zip(("train", "test"), self._data or found, found, strict=True):
            if (before.images, before.sha256) != (now.images, now.sha256):
                raise ValueError(
                    f"{name}: expected the data of the run so far ({before.name}, {before.images} "
                    f"images), got others ({now.name}, {now.images} images)"
                )
        self._data = found

    def _check_weights(self, train: data.Dataset, test: data.Dataset) -> None:
        if test.weights is not None:
            raise ValueError("test: expected a set without weights, which only training uses")
        if train.weights is not None and self._ranks is not None:
            raise ValueError("train: expected a set without weights for several ranks, got weights")
        if train.weights is not None and self.optimiser.curvature_images:
            raise ValueError(
                "train: expected a set without weights for SDLM, whose curvature has none"
            )

    def _check_scale(self, train: data.Dataset) -> None:
        """Set whether the network's digits are dark on light; raise if the scale is wrong."""
        low, high = int(train.images.min()), int(train.images.max())
        if high - low < 128:
            raise ValueError(
                f"train: expected images from 0 (background) to 255 (foreground), got {low} to "
                f"{high}; convert them to that scale"
            )
        if not self.network.pixel_range_known:
            raise ValueError(
                "network: expected one that records the values of the bytes 0 and 255, got one "
                "that does not; set its pixel_range, such as to (0.0, 1.0)"
            )
        grey = train.images.ndim == 3
        self.network.inverted = arrays.look_inverted(train.images) if grey else None
        if self._average is not None:
            self._average.network.inverted = self.network.inverted

    def _name_classes(self, train: data.Dataset, test: data.Dataset) -> None:
        """Name the network's outputs after the classes; raise if the data's do not fit."""
        if train.classes != test.classes:
            raise ValueError(
                f"test: expected the classes of train, {', '.join(train.classes)}, got "
                f"{', '.join(test.classes)}"
            )
        (outputs,) = self.network.output_shape
        if len(train.classes) == outputs:
            for network in {self.network, self.result}:
                network.classes = train.classes
        elif train.classes != checks.DIGITS:  # which may be no more than a default
            raise ValueError(
                f"train: expected {outputs} classes, one per output of the network, got "
                f"{len(train.classes)}; build the network with classes={len(train.classes)}"
            )
