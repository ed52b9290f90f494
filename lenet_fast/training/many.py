"""Many small trainings on shared data: one per thread."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from lenet_fast import checks, data, initialisers
from lenet_fast.network import Network
from lenet_fast.threads import Pool, resolve
from lenet_fast.training import parts
from lenet_fast.training.callbacks import Callback, Progress
from lenet_fast.training.checkpoints import Fingerprint
from lenet_fast.training.history import History
from lenet_fast.training.trainer import Trainer

_OWN = {"network", "seed", "threads", "ranks"}
_OPTIONS = {*signature(Trainer).parameters, "epochs", "optimizer"} - _OWN


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of one training of :func:`train_many`.

    Attributes
    ----------
    index : int
        Its place in the list, from 0.
    network : Network or None
        :attr:`Trainer.result`; None after an error.
    history : History
        The epochs that are complete.
    error : Exception or None
        What ended this training, such as :class:`TrainingDiverged`.

    Examples
    --------
    >>> from lenet_fast.training.many import Trained
    >>> Trained(0, error=ValueError("no digits")).error
    ValueError('no digits')
    """

    index: int
    network: Network | None = None
    history: History = field(default_factory=History)
    error: Exception | None = None


def train_many(
    network: Network | Callable[[int], Network],
    train: data.Dataset,
    test: data.Dataset,
    trainings: Iterable[tuple[Any, ...]],
    *,
    threads: int | None = None,
    stop_on_error: bool = False,
    **options: Any,
) -> Iterator[Trained]:
    """Train a network on many subsets of the same data, one training per thread.

    For the value of data, whose estimates need thousands of trainings, for federated rounds, and
    for statistics over seeds. Each training has the bits of
    ``Trainer(network, seed=seed, **options).fit(subset, test, epochs)``.

    Parameters
    ----------
    network : Network or callable
        Each training starts from a copy of this network, which stays as it is; or from the network
        that a function of the seed returns, such as ``lambda seed: models.lenet5(seed=seed)``. The
        function is called in the threads.
    train : Dataset
        The images of all trainings. They are shared.
    test : Dataset
        Evaluated after each epoch of each training. A small one is quick: an image costs about a
        third of one in training.
    trainings : iterable of tuple
        For each training ``(subset, seed)`` or ``(subset, seed, options)``: the indices of its
        images in `train`, or None for all; the seed; and a mapping of options that apply to this
        training only. A generator is advanced as trainings begin.
    threads : int, optional
        Trainings at a time; each runs on one thread. Default: as in
        :func:`lenet_fast.engines.create`. Results do not depend on it.
    stop_on_error : bool, default False
        Whether to raise the first error of a training, in the order of the list, and stop.
    **options
        Of :class:`Trainer`, except `network`, `seed` and `threads`, and ``epochs``, by default 20.
        An optimiser is copied for each training. Callbacks are called in the threads.

    Yields
    ------
    Trained
        In the order of `trainings`, each as soon as it and those before it are complete. Only a few
        more than `threads` are computed ahead of those taken, so that memory is limited to one
        engine per thread and what you keep. An error of one training is in its result.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when the current trainings have stopped. Nothing is left running if you close
        the iterator early, either.
    TypeError, ValueError
        If an argument is of the wrong kind, an index is out of range, or an option is unknown.

    Examples
    --------
    What single digits are worth to LeNet-5, by leaving each of three out:

    >>> import numpy as np
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import train_many
    >>> sample = data.load("sample")
    >>> start = models.lenet5(pooling="max", output="softmax")
    >>> subsets = [np.delete(np.arange(100), digit) for digit in range(3)]
    >>> runs = train_many(
    ...     start,
    ...     sample.train,
    ...     sample.test.subset(100),
    ...     [(subset, 0) for subset in subsets],
    ...     batch_size=10,
    ...     epochs=2,
    ... )
    >>> errors = [run.history.rows[-1].test_errors for run in runs]
    >>> len(errors)
    3

    Training 1 of two diverges; the other one does not notice:

    >>> jobs = [(None, 0), (range(64), 1, {"schedule": 1e30})]
    >>> for run in train_many(start, sample.train.subset(640), sample.test, jobs, epochs=1):
    ...     print(run.index, type(run.error).__name__)
    0 NoneType
    1 TrainingDiverged
    """
    if not (isinstance(network, Network) or callable(network)):
        raise TypeError(
            "network: expected a Network, or a function of the seed that returns one, got "
            f"{checks.kind(network)}"
        )
    for name, dataset in (("train", train), ("test", test)):
        if not len(parts.dataset(name, dataset)):
            raise ValueError(f"{name}: expected at least one image, got none")
    if not isinstance(trainings, Iterable) or isinstance(trainings, str):
        raise TypeError(
            "trainings: expected a list of tuples (subset, seed) or (subset, seed, options), got "
            f"{checks.kind(trainings)}"
        )
    options = checked_options("options", options)
    checks.flag("stop_on_error", stop_on_error)
    many = _Many(network, train, test, options)
    return many.run(enumerate(trainings), resolve(threads), stop_on_error)


class _Many:
    """The shared parts of all trainings, and the request to stop them."""

    def __init__(
        self,
        network: Network | Callable[[int], Network],
        train: data.Dataset,
        test: data.Dataset,
        options: dict[str, Any],
    ) -> None:
        self.network, self.train, self.test, self.options = network, train, test, options
        self.stop = threading.Event()

    def run(
        self, trainings: Iterable[tuple[int, Any]], threads: int, stop_on_error: bool
    ) -> Generator[Trained]:
        """Yield the results in order."""
        pool = Pool(threads)
        pending: deque[Future[Trained]] = deque()

        def taken() -> Trained:
            found = pending.popleft().result()
            if stop_on_error and found.error is not None:
                raise found.error
            return found

        try:
            for index, training in trainings:
                arguments = index, *self._checked(f"trainings[{index}]", training)
                # A context of its own, so that a backend chosen by `with` holds in the thread.
                context = contextvars.copy_context()
                future = pool.submit(context.run, self._one, *arguments)
                if future is None:  # no thread can start: do the work here
                    future = Future()
                    future.set_result(self._one(*arguments))
                pending.append(future)
                if len(pending) > 2 * threads:
                    yield taken()
            while pending:
                yield taken()
        finally:
            self.stop.set()
            for future in pending:
                future.cancel()
            pool.close()

    def _checked(self, name: str, training: Any) -> tuple[data.Dataset, int, dict[str, Any]]:
        """Return a training's images, seed and options."""
        if not isinstance(training, tuple | list) or len(training) not in (2, 3):
            raise TypeError(
                f"{name}: expected a tuple (subset, seed) or (subset, seed, options), got "
                f"{checks.kind(training)}"
            )
        subset, seed, *others = training
        seed = checks.integer(f"{name}: seed", seed, 0, 2**63 - 1)
        options = self.options | checked_options(f"{name}: options", others[0] if others else {})
        return parts.subset(f"{name}: subset", self.train, subset), seed, options

    def _one(self, index: int, train: data.Dataset, seed: int, options: dict[str, Any]) -> Trained:
        history = History()
        try:
            network, epochs = self._start(seed), options.pop("epochs", None)
            for name in ("optimiser", "optimizer"):
                if name in options:
                    options[name] = copy.deepcopy(options[name])
            stopping = _Stopping(self.stop)
            options["callbacks"] = [*parts.callbacks(options.get("callbacks", ())), stopping]
            trainer = _Quick(network, seed=seed, threads=1, **options)
            history = trainer.history
            trainer.fit(train, self.test, epochs, verbose=False)
            return Trained(index, trainer.result, history)
        except Exception as error:
            return Trained(index, None, history, error)

    def _start(self, seed: int) -> Network:
        """Return the network of a training before it."""
        if not isinstance(self.network, Network):
            return self.network(seed)
        with initialisers.deferred():  # whose weights would be overwritten
            network = Network.from_config(self.network.config())
        network.set_weights(list(self.network.parameters.values()))
        return network


class _Quick(Trainer):
    """A trainer that does not compute checksums of its data unless files have to hold them."""

    def _recognise(self, train: data.Dataset, test: data.Dataset) -> None:
        if self._out is not None:
            super()._recognise(train, test)
            return
        self._data = Fingerprint(train.name, len(train), ""), Fingerprint(test.name, len(test), "")


class _Stopping(Callback):
    """Stops a training when all are to stop."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        if self._stop.is_set():
            trainer.stop()


def checked_options(name: str, options: object) -> dict[str, Any]:
    """Return options of the trainers of :func:`train_many`; raise for others."""
    if not isinstance(options, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {checks.kind(options)}")
    for option in options:
        if option not in _OPTIONS:
            raise ValueError(f"{name}: expected one of {', '.join(sorted(_OPTIONS))}, got {option}")
    return dict(options)
