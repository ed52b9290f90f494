"""One network, trained by the processes of an MPI program: its ranks.

Each rank computes the gradients of some blocks of a batch. Then each gets all blocks' gradients of
its part of the parameters, adds them in the order of the blocks, and updates that part; all get
the new parameters. So the results are those of the lane engine in one process, bit for bit, for
every number of ranks and threads.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lenet_fast import choices, cures
from lenet_fast import threads as thread_counts
from lenet_fast.checks import Array, kind
from lenet_fast.engines import inputs, tile
from lenet_fast.engines.interface import Optimiser, Totals
from lenet_fast.engines.lanes import LanesEngine, batch_totals
from lenet_fast.engines.program import ItemKind
from lenet_fast.losses import Loss
from lenet_fast.network import Network

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

Value = TypeVar("Value")

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Where launchers say how many processes they have started: MPICH's, Intel's; Open MPI's."""


class RankError(ValueError):
    """A rank failed, or differs from the first one; all ranks raise it.

    Examples
    --------
    >>> from lenet_fast.engines.ranks import RankError
    >>> issubclass(RankError, ValueError)
    True
    """


def launched() -> int:
    """Return how many processes an MPI launcher says it has started; 1 without one.

    Examples
    --------
    >>> import os
    >>> from unittest import mock
    >>> from lenet_fast.engines import ranks
    >>> with mock.patch.dict(os.environ, PMI_SIZE="4"):
    ...     ranks.launched()
    4
    """
    texts = [os.environ.get(name, "") for name in _SIZES]
    return max([1, *(int(text) for text in texts if text.isdecimal())])


def library(what: str) -> Any:
    """Return mpi4py's module MPI, which `what` needs; ImportError says how to get it.

    Examples
    --------
    >>> from lenet_fast.engines import ranks
    >>> ranks.library("this example").COMM_WORLD.size  # doctest: +SKIP
    1
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter without an MPI library
        raise ImportError(
            f"{what} needs mpi4py and MPI: {cures.install('lenet_fast[mpi]')}; {error}"
        ) from error
    return MPI


def leave_signals_to_the_first() -> None:
    """Ignore the signals that end programs: the first process gets them, too, and tells the others.

    Examples
    --------
    >>> from lenet_fast.engines import ranks
    >>> ranks.leave_signals_to_the_first()  # doctest: +SKIP
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class Link:
    """What the processes say to each other; all must say the same things in the same order.

    Attributes
    ----------
    alike : bool
        Whether all have compared what they are about to do.
    """

    def __init__(self, mpi: Any, communicator: Intracomm) -> None:
        self._mpi, self._comm = mpi, communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.alike = False

    def default_threads(self) -> int:
        """Return how many threads each process uses by default."""
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
        sharing = sum(not cpus.isdisjoint(other) for other in local.allgather(cpus))
        local.Free()
        threads = thread_counts.default_threads()
        if os.environ.get(thread_counts.ENVIRONMENT_VARIABLE):
            return threads
        return max(1, threads // sharing)

    def name(self, rank: int) -> str:
        """Return what messages call a rank."""
        return f"rank {rank} of {self.size}"

    def here(self) -> str:
        """Return what messages of all call this process."""
        return f"{self.name(self.rank)}, process {os.getpid()} on {platform.node()},"

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, to all; RankError if one has failed."""
        return self._gathered(None, value)

    def fail(self, why: str) -> None:
        """Raise RankError in all ranks that call :meth:`gather`, or this, in place of it."""
        self._gathered(f"{self.here()} failed: {why}", None)

    def _gathered(self, why: str | None, value: Any) -> list[Any]:
        found = self._comm.allgather((why, value))
        for failed, _ in found:
            if failed is not None:
                self.alike = True  # in that nobody will call this again
                raise RankError(failed)
        return [value for _, value in found]

    def all_come(self, seconds: float | None) -> bool:
        """Return whether all ranks call this within some seconds; None: wait without end."""
        request = self._comm.Ibarrier()
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def abort(self, status: int) -> None:
        """End all ranks at once."""
        self._comm.Abort(status)

    def spread(self, array: Array, edges: Sequence[int]) -> None:
        """Copy each rank's part of an array, between its edges, to all; rows stay whole."""
        width = array.size // max(len(array), 1)
        counts = [(last - first) * width for first, last in itertools.pairwise(edges)]
        places = [first * width for first in edges[:-1]]
        self._comm.Allgatherv(self._mpi.IN_PLACE, [array, (counts, places)])

    def exchange(
        self, gradients: Array, totals: Array, blocks: Sequence[int], parts: Sequence[int]
    ) -> None:
        """Get the gradients (blocks, trained) of the other ranks' blocks for this rank's part of
        the parameters, and the totals of all blocks; send them this rank's."""
        comm, requests = self._comm, []
        own, mine = range(*blocks[self.rank : self.rank + 2]), slice(*parts[self.rank :][:2])
        for peer in range(self.size):
            if peer == self.rank:
                continue
            theirs = slice(*parts[peer : peer + 2])
            requests += [
                comm.Irecv(gradients[k, mine], peer, k) for k in range(*blocks[peer : peer + 2])
            ]
            requests += [comm.Isend(gradients[k, theirs], peer, k) for k in own]
        self.spread(totals, blocks)
        self._mpi.Request.Waitall(requests)


class Ranks:
    """The processes of an MPI program that train one network together.

    For :class:`lenet_fast.training.Trainer`. Every process makes the same calls, with the same
    arguments and data; only the first one writes files and shows the progress.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm, optional
        The processes; by default all, ``MPI.COMM_WORLD``.
    mixed : bool
        Whether ranks may have other versions, backends and instruction sets than the first. Then
        results differ by rounding from those of one process.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.
    threads : int
        By default, each process uses so many: those of ``LENET_FAST_THREADS``, or its share of the
        cores that several of them may use.

    Raises
    ------
    ImportError
        Without mpi4py or an MPI library.
    ValueError
        If there are more than eight processes, since a batch has at most eight blocks; or one
        only, although the launcher says that it has started several, because it belongs to
        another MPI than mpi4py.

    Examples
    --------
    In a file that ``mpiexec -n 4 python -m mpi4py`` runs, which ends all processes if one fails:

    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import Ranks, Trainer
    >>> sample = data.load("sample")
    >>> trainer = Trainer(models.lenet5(), batch_size=128, ranks=Ranks())  # doctest: +SKIP
    >>> history = trainer.fit(sample.train, sample.test, epochs=2)  # doctest: +SKIP
    """

    def __init__(self, communicator: Intracomm | None = None, mixed: bool = False) -> None:
        mpi = library("training on several ranks")
        if communicator is None:
            communicator = mpi.COMM_WORLD
            if communicator.size == 1 < launched():
                raise ValueError(
                    f"ranks: expected the {launched()} processes of the launcher, got one, so the "
                    "launcher belongs to another MPI than mpi4py, which uses "
                    f"{mpi.Get_library_version().split(',')[0].splitlines()[0]}"
                )
        if not isinstance(communicator, mpi.Intracomm):
            raise TypeError(
                f"communicator: expected an mpi4py.MPI.Intracomm, got {kind(communicator)}"
            )
        if communicator.size > tile.BLOCKS:
            raise ValueError(
                f"ranks: expected at most {tile.BLOCKS}, since a batch is cut into at most so many "
                f"blocks, got {communicator.size}; give each more threads instead"
            )
        self.mixed, self.link = mixed, Link(mpi, communicator.Dup())
        self.rank, self.size = self.link.rank, self.link.size
        self.threads = self.link.default_threads()

    def __repr__(self) -> str:
        return f"Ranks({self.rank} of {self.size})"


class RanksEngine(LanesEngine):
    """The lane engine of one of several ranks, whose training, evaluation and Hessians are shared
    out: all ranks must call these together. Its other methods work alone.

    Raises
    ------
    Unsupported
        As from :class:`LanesEngine`.
    """

    images_a_call = 4096  # at its end, all get the optimiser's arrays of all parts

    def __init__(
        self,
        network: Network,
        loss: Loss,
        ranks: Ranks,
        *,
        backend: choices.Backend | None = None,
        threads: int | None = None,
    ) -> None:
        threads = ranks.threads if threads is None else threads
        super().__init__(network, loss, backend=backend, threads=threads)
        self._link = ranks.link
        # Batches are cut alike everywhere, even where vectors have fewer lanes.
        self._cut = max(ranks.link.gather(self._lanes))
        self._parts = tile.cuts(self._program.trained, ranks.size, tile.ALIKE)

    def own(self, count: int, batch_size: int) -> Array:
        """Return which of `count` images, in batches, are in this rank's blocks."""
        items = [
            share.gradients.items for share in self._shares(count, batch_size, ItemKind.GRADIENT)
        ]
        pairs = [pair for some in items for pair in some[["first", "last"]].tolist()]
        return np.concatenate([np.arange(0), *(np.arange(*pair) for pair in pairs)])

    def _shares(self, n: int, batch_size: int, kind: ItemKind) -> tuple[tile.Share, ...]:
        trained, link = self._program.trained, self._link
        return tile.shares(
            *(n, batch_size, self._cut, trained, kind, self._together, link.rank, link.size)
        )

    def evaluate(self, x: Array, labels: Array) -> Totals:
        x, labels = inputs.examples(self.network, x, labels)
        if not len(x):
            return Totals()
        work = tile.forward_items(len(x), self._cut)
        edges = tile.cuts(len(work.items), self._link.size)
        first, last = edges[self._link.rank :][:2]
        totals = np.empty((len(work.items), 2))
        if first < last:
            totals[first:last] = self._process(tile.part_of(work, first, last), x, labels)
        self._link.spread(totals, edges)
        return batch_totals(work, totals)[0]

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        x, labels = inputs.examples(self.network, x, labels)
        diagonal = self._zeros()
        if not len(x):
            return diagonal
        with self._pool.lock:
            (share,) = self._shares(len(x), len(x), ItemKind.CURVATURE)
            self._exchanged(share, x, labels, np.arange(len(x)))
            self._process(share.update, x)  # without a rule: the mean
            self._link.spread(self._gradients[: self._program.trained], self._parts)
            for part in self._program.learned:
                part.unpack(self._gradients, diagonal[part.name])
        return diagonal

    def _exchanged(
        self, share: tile.Share, x: Array, labels: Array, order: Array, **options: Any
    ) -> Totals:
        """Compute this rank's share of the gradients of a batch, and get those of the others for
        its part of the parameters; return the batch's totals."""
        blocks, trained = share.blocks, self._program.trained
        first, last = blocks[self._link.rank :][:2]
        self._reserve(blocks[-1])
        totals = np.empty((blocks[-1], 2))
        if first < last:
            totals[first:last] = self._process(share.gradients, x, labels, order, **options)
        gradients = self._gradients[: blocks[-1] * trained].reshape(-1, trained)
        self._link.exchange(gradients, totals, blocks, self._parts)
        whole = share.gradients._replace(batches=(slice(0, blocks[-1]),))
        return batch_totals(whole, totals)[0]

    def _train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        size: int,
        optimiser: Optimiser,
        rates: Array,
        seed: int,
        weights: Array | None,
    ) -> list[Totals]:
        if weights is not None:
            raise ValueError("weights: expected none with several ranks, got some")
        return super()._train(x, labels, order, size, optimiser, rates, seed, weights)

    def _learn(
        self, x: Array, labels: Array, order: Array, size: int, *optimiser: Array
    ) -> list[Totals]:
        if x.dtype != np.uint8:
            x = x[order]
        updates, state, factors = optimiser
        trained, found = self._program.trained, []
        parameters = self._values(None)
        for share in self._shares(len(order), size, ItemKind.GRADIENT):
            changing: dict[str, Any] = {"updates": updates, "parameters": parameters}
            totals = self._exchanged(share, x, labels, order, **changing)
            found.append(totals)
            if not math.isfinite(totals.loss):
                break
            self._process(share.update, x, labels, order, state=state, factors=factors, **changing)
            self._link.spread(parameters[:trained], self._parts)
        for slot in state.reshape(-1, max(trained, 1)):
            self._link.spread(slot, self._parts)
        return found
