"""Mini-batch training: epochs, files, stopping and going on."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from lenet_fast import checks, data, disk, engines, files, losses
from lenet_fast.checks import Array
from lenet_fast.data import Distortion, arrays
from lenet_fast.engines import Totals, online
from lenet_fast.errors import FileFormatError
from lenet_fast.locks import LockedFolder
from lenet_fast.network import Network
from lenet_fast.threads import Pool
from lenet_fast.training import checkpoints, parts, runs
from lenet_fast.training.averages import WeightAverage
from lenet_fast.training.batches import evaluate, fingerprint, shuffled
from lenet_fast.training.callbacks import Callback, Progress
from lenet_fast.training.history import History, Row
from lenet_fast.training.interrupts import stop_on_sigint
from lenet_fast.training.optimisers import SGD, Optimiser
from lenet_fast.training.schedules import DEFAULT_RATES, Schedule, default_for

EPOCHS = 20
"""How many times a run sees all images, unless told otherwise: as often as in the 1998 paper."""


class TrainingDiverged(ArithmeticError):  # noqa: N818  (what happened, as in StopIteration)
    """The loss or a weight has become infinite or NaN.

    Parameters
    ----------
    reason : str
        What has happened, and what may help.
    kept : str
        What has become of the files of the run.

    Attributes
    ----------
    reason : str
    """

    def __init__(self, reason: str, kept: str = "") -> None:
        super().__init__(f"{reason} {kept}".strip())
        self.reason = reason


class _Stopped(Exception):  # noqa: N818
    """Leaves the loops after :meth:`Trainer.stop`; never seen outside of this module."""


class Trainer:
    """Trains a network, and can stop after any batch and go on later with the same bits.

    Parameters
    ----------
    network : Network
        Changed in place.
    loss : Loss, optional
        One of :mod:`lenet_fast.losses`; the one that fits the network's output by default.
    optimiser : Optimiser, optional
        ``SGD(momentum=0.9)`` by default.
    schedule : Schedule, optional
        :func:`lenet_fast.training.schedules.default_for` the loss, the optimiser and the batch
        size by default.
    batch_size : int, default 32
        Images a step. The last batch of an epoch may be smaller; every image is seen.
    seed : int, default 0
        From 0 to 2**63 - 1. With the epoch, it decides the order of the images, and their
        distortions.
    distortion : Distortion, optional
        What happens to the images before they are trained on, anew in each epoch.
    evaluate_train : bool, default False
        Whether to go through the training set again after each epoch, for its loss and errors
        then, as the papers plot them, without distortions. Otherwise they are those met while
        learning, and cost nothing.
    shuffle : bool, default True
        Whether each epoch goes through the images in an order of its own, or all in the order of
        the set, as in 1989.
    average_from : int, optional
        The epoch after which :attr:`result` is no longer the network but the mean of its weights
        at the ends of epochs, from this one on; see
        :class:`lenet_fast.training.averages.WeightAverage`. By default there is no mean.
    engine, backend, threads : optional
        As in :func:`lenet_fast.engines.create`.
    out : path, optional
        A folder for ``checkpoint.safetensors`` (written at the start, after every epoch and when
        stopped), ``config.toml``, ``model.safetensors`` (the best epoch, see
        :attr:`History.best`) and ``history.csv``. Without it nothing is written. While :meth:`fit`
        goes on, the folder is locked against all other runs.
    overwrite : bool, default False
        Whether those four files may be replaced if they are in `out` already; only with `out`.
    checkpoint_every : int, optional
        Save the checkpoint within an epoch, too, after every so many images, or the whole
        batches that they are part of; only with `out`.
    callbacks : sequence of Callback
        Told about batches and epochs.
    options : mapping, optional
        Anything TOML and JSON can hold; goes into ``config.toml`` as ``[options]``, and into
        checkpoints.

    Attributes
    ----------
    history : History
        The epochs so far.
    epochs : int
        How many there will be.
    result : Network
        What the last row of the history is about: `network`, or with `average_from` the mean.
    stopping : bool
        Whether :meth:`stop` was called since :meth:`fit` began.
    saved : Position or None
        Where the checkpoint in `out` stands: complete epochs, and batches of the next one. None if
        none has been written.

    Raises
    ------
    FileExistsError
        If `out` holds a run already. Nothing of it has been touched.
    lenet_fast.engines.Unsupported
        A ValueError: as from :func:`lenet_fast.engines.create`; and if the engine is "online" and
        batches have more than one image.
    TypeError, ValueError
        If an argument is none of those, such as a name or a class in place of an object.

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

    def __init__(
        self,
        network: Network,
        loss: losses.Loss | None = None,
        *,
        optimiser: Optimiser | None = None,
        schedule: Schedule | None = None,
        batch_size: int = 32,
        seed: int = 0,
        distortion: Distortion | None = None,
        evaluate_train: bool = False,
        shuffle: bool = True,
        average_from: int | None = None,
        engine: str = "auto",
        backend: str | None = None,
        threads: int | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        checkpoint_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
        self.network = network
        self.loss = losses.default_for(network) if loss is None else loss
        self.optimiser = SGD(momentum=0.9) if optimiser is None else parts.optimiser(optimiser)
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.callbacks = parts.callbacks(callbacks)
        if not isinstance(options, Mapping | None):
            raise TypeError(f"options: expected a mapping, got {checks.kind(options)}")
        if not isinstance(self.loss, losses.Loss):  # before a schedule is made for it
            raise TypeError(losses.no_loss(self.loss))
        if schedule is None:
            rule = "sdlm" if self.optimiser.curvature_images else self.optimiser.rule.name
            schedule = default_for(self.loss, rule, self.batch_size)
        self.schedule = parts.schedule(schedule)
        self.seed = checks.seed(seed)
        if not isinstance(distortion, Distortion | None):
            raise TypeError(f"distortion: expected a Distortion, got {checks.kind(distortion)}")
        self.distortion = distortion
        self.evaluate_train = checks.flag("evaluate_train", evaluate_train)
        self.shuffle = checks.flag("shuffle", shuffle)
        self.average_from: int = 0  # never
        if average_from is not None:
            self.average_from = checks.integer("average_from", average_from, 1)
        self._set_checkpoint_every(checkpoint_every)

        def create(network: Network) -> engines.Engine:
            return engines.create(
                network,
                self.loss,
                engine=engine,
                batch_size=self.batch_size,
                backend=backend,
                threads=threads,
            )

        self.engine = create(network)
        self._average: WeightAverage | None = None
        if self.average_from:
            self._average = WeightAverage(network)
            self._average_engine = create(self._average.network)
        if self.engine.name == "online":  # before anything is written
            online.check_batch_size(self.batch_size)
        self._pool = Pool(self.engine.threads)
        self.options = dict(options or {})
        self.epochs = EPOCHS
        self.history = History()
        self._position = checkpoints.Position()
        self._data: tuple[checkpoints.Fingerprint, checkpoints.Fingerprint] | None = None
        self.stopping = False
        if not isinstance(out, str | os.PathLike | None):
            raise TypeError(f"out: expected a path, got {checks.kind(out)}")
        self._out = None if out is None else Path(out)
        self._locked = out if isinstance(out, LockedFolder) else None
        self._folder: LockedFolder | None = None  # while fit goes on
        self._overwrite = checks.flag("overwrite", overwrite)
        if out is None and (self._overwrite or checkpoint_every is not None):
            name = "overwrite" if self._overwrite else "checkpoint_every"
            raise ValueError(
                f"{name}: expected together with out, the folder that it is about, got no out"
            )
        self.saved: checkpoints.Position | None = None
        self._stamp: tuple[int, ...] | None = None  # of the checkpoint that is ours
        self._new = True
        if self._out is not None and not self._overwrite:
            runs.check_free(self._out)

    @classmethod
    def resume(
        cls,
        run: str | os.PathLike[str],
        *,
        engine: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        checkpoint_every: int | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Trainer:
        """Return a trainer that stands where a run stopped; :meth:`fit` then goes on.

        Network, loss, optimiser, schedule, batch size, seed, distortion and options are those of
        the run, and it goes on in the same folder. With the same data it ends with the bits of a
        run that was never stopped.

        Parameters
        ----------
        run : path
            The run's folder or the ``checkpoint.safetensors`` in it.
        engine, backend : str, optional
            Those of the run by default. With others, another instruction set, or another version
            of this library or of NumPy, the results may differ by rounding, and a UserWarning
            says so.
        threads : int, optional
            Does not change the results.
        checkpoint_every : int, optional
            As for a new run; nor does this.
        callbacks : sequence of Callback
            Told about batches and epochs.

        Raises
        ------
        FileNotFoundError, FileFormatError
            If there is no checkpoint, or a damaged one.
        ImportError
            If the backend of the run is missing here.
        """
        path = runs.checkpoint_path(run)
        stamp = runs.stamp(path.parent)  # before it is read: who changes it meanwhile is noticed
        saved = checkpoints.load(path)
        try:
            trainer = cls(
                saved.network,
                saved.loss,
                optimiser=saved.optimiser,
                schedule=saved.schedule,
                batch_size=saved.batch_size,
                seed=saved.seed,
                distortion=saved.distortion,
                evaluate_train=saved.evaluate_train,
                shuffle=saved.shuffle,
                average_from=saved.average_from or None,
                engine=engine or saved.code["engine"],
                backend=backend or saved.code["backend"],
                threads=threads,
                callbacks=callbacks,
                options=saved.options,
            )
        except engines.Unsupported as error:
            if engine is None and backend is None:
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
                f"{path.parent}: the run goes on with other code ({', '.join(changed)}); "
                "the results can differ by rounding from those of a run never stopped",
                stacklevel=2,
            )
        return trainer

    def _set_checkpoint_every(self, images: int | None) -> None:
        self._checkpoint_batches = 0  # never within an epoch
        if images is not None:
            images = checks.integer("checkpoint_every", images, 1)
            self._checkpoint_batches = math.ceil(images / self.batch_size)

    def fit(self, train: data.Dataset, test: data.Dataset, epochs: int | None = None) -> History:
        """Train until `epochs` epochs are complete, those done before included.

        Parameters
        ----------
        train, test : Dataset
            At least one image each. The test set decides which epoch is the best; nothing is
            learned from it.
        epochs : int, optional
            By default as many as last time, also if that was before :meth:`resume`; 20 if
            there was none. A larger number makes a finished run go on.

        Returns
        -------
        History
            Its ``interrupted`` is true if :meth:`stop` or Ctrl-C came first. Then the batches in
            work (of up to 512 images together, or 4,096 one by one) were finished, and the state
            saved where `out` was given; a second Ctrl-C raises KeyboardInterrupt at once, and only
            :meth:`resume` goes on exactly from there. The files are whole in any case.

        Raises
        ------
        TrainingDiverged
            If the loss or a weight is no longer finite. The files stay as they were after the
            last epoch or stop, or at the start; the network in memory is of no use.
        BlockingIOError
            If another run writes to the folder `out`.
        FileExistsError
            If `out` holds a run, or not the one that this trainer goes on with. Nothing of it has
            been touched.
        OSError
            If a file cannot be written. What was saved before is whole; see ``saved``.
        ValueError
            If a set is empty, or not the one that this run was trained on before; if the images to
            train on are not on the scale from 0 to 255; or if `average_from` is beyond the last
            epoch.
        TypeError
            If a set is no Dataset.
        """
        epochs = self.epochs if epochs is None else checks.integer("epochs", epochs, 1)
        if self.average_from > epochs:
            raise ValueError(
                f"average_from: expected at most {epochs}, the last epoch, got "
                f"{self.average_from}, which would leave nothing to average"
            )
        self.epochs = epochs
        self._recognise(train, test)
        self._check_scale(train)
        self.history.train_images, self.history.test_images = len(train.images), len(test.images)
        self.history.interrupted = False
        self.stopping = False
        with contextlib.ExitStack() as stack:
            if self._out is not None:
                self._folder = self._locked or stack.enter_context(LockedFolder(self._out))
                self._begin_files(self._out)
            self._fit(train, test)
        return self.history

    def _fit(self, train: data.Dataset, test: data.Dataset) -> None:
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
            with stop_on_sigint(self):
                while self._position.epoch < self.epochs:
                    self._one_epoch(train, test)
        except _Stopped:
            self.history.interrupted = True
            self._check_state()
            self._save_checkpoint()
        finally:
            for callback in self.callbacks:
                callback.on_train_end(self)
            self.engine.close()
            if self._average is not None:
                self._average_engine.close()
            self._pool.close()

    @property
    def result(self) -> Network:
        """The network that the last row of the history is about."""
        if self._average is None or not self._average.count:
            return self.network
        return self._average.network

    def stop(self) -> None:
        """Ask :meth:`fit` to return after the batches in work; may come from another thread."""
        self.stopping = True

    # ------------------------------------------------------------------ one epoch

    def _one_epoch(self, train: data.Dataset, test: data.Dataset) -> None:
        position = self._position
        epoch = position.epoch + 1
        rate = self.schedule.rate(epoch)
        self._train(train, epoch, rate)
        engine = self.engine
        if self._average is not None and epoch >= self.average_from:
            # Not again, where a run was stopped while it was evaluated.
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
        row = Row(
            epoch=epoch,
            train_seconds=position.seconds,
            images_per_second=on_train.images / max(position.seconds, 1e-9),
            train_loss=on_train.loss / on_train.images,
            train_errors=on_train.errors,
            test_loss=on_test.loss / on_test.images,
            test_errors=on_test.errors,
            rate=rate,
        )
        self.history.rows.append(row)
        self._position = checkpoints.Position(epoch=epoch)
        if self._out is not None:
            self._write_epoch(self._out, row)
        for callback in self.callbacks:
            callback.on_epoch_end(self, row)

    def _train(self, train: data.Dataset, epoch: int, rate: float) -> None:
        position = self._position
        started = time.perf_counter()
        order = np.arange(len(train.images))
        if self.shuffle:
            order = shuffled(len(train.images), self.seed, epoch)
        report = self._report("train", epoch)
        if position.batch == 0 and self.optimiser.curvature_images:
            self._follow_curvature(train, order[: self.optimiser.curvature_images], epoch)
        while position.batch * self.batch_size < len(order):
            if self.stopping:
                raise _Stopped
            first, last = position.batch * self.batch_size, self._next_pause() * self.batch_size
            images, labels, turns = train.images, train.labels, order[first:last]
            if self.distortion is not None:
                images, labels = self._examples(train, turns, epoch)
                turns = np.arange(len(turns))
            # What overflows here is found in the loss, and said in words.
            with np.errstate(over="ignore", invalid="ignore"):
                batches = self.engine.train(
                    images, labels, turns, self.batch_size, self.optimiser, rate
                )
            for totals in batches:
                if not math.isfinite(totals.loss):
                    self._diverged(f"expected a finite loss, got {totals.loss}")
                position.batch += 1
                position.loss_sum += totals.loss
                position.errors += totals.errors
            position.seconds += time.perf_counter() - started
            if self._checkpoint_batches and position.batch % self._checkpoint_batches == 0:
                self._check_state()
                self._save_checkpoint()
            report(min(last, len(order)), len(order), position.loss_sum)
            started = time.perf_counter()

    def _examples(self, train: data.Dataset, chosen: Array, epoch: int) -> tuple[Array, Array]:
        """Return some of the images, as they are to be in an epoch, and their labels."""
        images, labels = train.images[chosen], train.labels[chosen]
        if self.distortion is not None:
            images = self.distortion(
                images,
                chosen,
                epoch,
                self.seed,
                size=self.network.input_shape[-1],  # not to lose ink that is moved
                backend=self.engine.backend,
                pool=self._pool,
            )
        return images, labels

    def _follow_curvature(self, train: data.Dataset, chosen: Array, epoch: int) -> None:
        """Let the optimiser set its rates by the Hessian's diagonal over some images."""
        images, labels = self._examples(train, chosen, epoch)
        with np.errstate(over="ignore", invalid="ignore"):
            diagonal = self.engine.hessian_diagonal(images, labels)
        if not all(np.isfinite(array).all() for array in diagonal.values()):
            self._diverged("expected a finite curvature, got NaN or infinity")
        self.optimiser.follow(diagonal)

    def _next_pause(self) -> int:
        """Return the batch of this epoch before which the engine comes back."""
        batch = self._position.batch + max(1, self.engine.images_a_call // self.batch_size)
        every = self._checkpoint_batches
        return min(batch, (self._position.batch // every + 1) * every) if every else batch

    def _report(
        self, phase: Literal["train", "evaluate"], epoch: int
    ) -> Callable[[int, int, float], None]:
        started = time.perf_counter()

        def report(images: int, total: int, loss_sum: float) -> None:
            seconds = self._position.seconds if phase == "train" else time.perf_counter() - started
            progress = Progress(
                phase=phase,
                epoch=epoch,
                epochs=self.epochs,
                images=images,
                total=total,
                loss=loss_sum / images,
                images_per_second=images / max(seconds, 1e-9),
            )
            for callback in self.callbacks:
                callback.on_batch_end(self, progress)
            if phase == "evaluate" and self.stopping:
                raise _Stopped

        return report

    def _check_state(self) -> None:
        """Raise TrainingDiverged unless every weight and every array of the optimiser is finite."""
        arrays = [*self.network.parameters.values(), *self.optimiser.state().values()]
        if not all(np.isfinite(array).all() for array in arrays):
            self._diverged("expected finite weights, got NaN or infinity")

    def _diverged(self, what: str) -> NoReturn:
        position = self._position
        rate = self.schedule.rate(position.epoch + 1)
        kept = ""
        if self.saved is not None:
            good = "the last good state, " if self.saved.epoch or self.saved.batch else "the state "
            kept = f"The files in {self._out} hold {good}{self.saved}."
        raise TrainingDiverged(
            f"epoch {position.epoch + 1}, after {position.batch} batches at rate {rate:g}: {what}. "
            "The rate is too high for this network, loss and optimiser; start again with a "
            f"lower one, such as {self._lower_rate(rate):g}.",
            kept,
        )

    def _lower_rate(self, rate: float) -> float:
        """Return a rate to try after one that was too high: the usual one, if that is lower."""
        if self.loss.name in DEFAULT_RATES:
            rule = "sdlm" if self.optimiser.curvature_images else self.optimiser.rule.name
            usual = default_for(self.loss, rule, self.batch_size).rate(1)
            if usual < rate:
                return usual
        return rate / 10

    # ------------------------------------------------------------------ files

    def _begin_files(self, out: Path) -> None:
        """Write the first files of a run, or note that it goes on."""
        self._new = self.saved is None
        if self._new and not self._overwrite:
            runs.check_free(out)
        if not self._new:
            if self._stamp is not None and runs.stamp(out) not in (self._stamp, None):
                raise FileExistsError(
                    f"out: expected the run in {out} as this trainer left it, but its "
                    f"{runs.CHECKPOINT} is another; resume the run anew, or name another folder"
                )
            if self._position.epoch >= self.epochs:
                return  # there is nothing to do, so nothing changes
        config = runs.config(self._checkpoint(), self.engine.threads)  # first: it may be refused
        for name in runs.FILES:
            disk.remove_leftovers(out / name)
        try:
            # The checkpoint comes first: a folder that holds anything can be gone on with.
            if runs.stamp(out) is None or self._new:
                self._save_checkpoint()
            if not self.history.rows:  # those of a run that is overwritten
                runs.clear(out, (runs.MODEL, runs.HISTORY))
            self._write(out / runs.CONFIG, config)
        except BaseException:
            if self._new and self.saved is not None:
                runs.clear(out)
                self.saved = self._stamp = None
            raise

    def _write_epoch(self, out: Path, row: Row) -> None:
        self._check_folder()
        # The checkpoint comes last: after a crash between two files, the epoch is done again.
        if row is self.history.best or not (out / runs.MODEL).exists():
            extra = {"epoch": row.epoch, "test_errors": row.test_errors, "test_loss": row.test_loss}
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
            self._checkpoint().save(self._out / runs.CHECKPOINT)
            self.saved = dataclasses.replace(self._position)
            self._stamp = runs.stamp(self._out)

    def _checkpoint(self) -> checkpoints.Checkpoint:
        assert self._data is not None
        train, test = self._data
        return checkpoints.Checkpoint(
            network=self.network,
            loss=self.loss,
            optimiser=self.optimiser,
            schedule=self.schedule,
            batch_size=self.batch_size,
            seed=self.seed,
            distortion=self.distortion,
            evaluate_train=self.evaluate_train,
            shuffle=self.shuffle,
            average_from=self.average_from,
            averaged=0 if self._average is None else self._average.count,
            average={} if self._average is None else self._average.state(),
            epochs=self.epochs,
            code=runs.code(self.engine),
            train=train,
            test=test,
            options=self.options,
            position=self._position,
            rows=self.history.rows,
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

    def _check_scale(self, train: data.Dataset) -> None:
        """Let the network know whether ink is dark; raise if it could not read other images."""
        low, high = int(train.images.min()), int(train.images.max())
        if high - low < 128:
            raise ValueError(
                f"train: expected images from 0 paper to 255 ink, got {low} to {high}; bring them "
                "to that scale"
            )
        if not self.network.pixel_range_known:
            raise ValueError(
                "network: expected one that knows what the bytes 0 and 255 become, got one "
                "without; set its pixel_range, such as to (0.0, 1.0)"
            )
        self.network.inverted = arrays.look_inverted(train.images)
        if self._average is not None:
            self._average.network.inverted = self.network.inverted
