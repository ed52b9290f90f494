"""Clusters that carry out jobs: Dask's, and the ranks of an MPI program.

Both are reached through their :class:`concurrent.futures.Executor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lenet_fast import cures
from lenet_fast.data import Splits
from lenet_fast.engines import ranks
from lenet_fast.jobs import workers
from lenet_fast.jobs.runner import Job, Marks, Report, WorkersLost
from lenet_fast.jobs.workers import ClusterError, Task

if TYPE_CHECKING:
    from distributed import Client
    from mpi4py.MPI import Intracomm

MPI = "mpi"
SECONDS = 10
"""How long to wait for a scheduler and for a first worker."""


class Asked(NamedTuple):
    """What a user asks of a cluster."""

    address: str  # "mpi", or that of a Dask scheduler
    dataset: str  # for jobs without one of their own
    folder: str | None = None  # of the data, if the user names one
    tls: tuple[str, str, str] | None = None  # files: authority, certificate and key
    mixed: bool = False  # whether workers may have other versions and instruction sets


class Cluster:
    """A :class:`.runner.Cluster` over an executor, whose workers call `function` with tasks."""

    started_by = ""  # what has to stand before this command line

    def __init__(
        self, executor: Executor, function: Callable[..., dict[str, bytes]], asked: Asked
    ) -> None:
        self._executor, self._function, self._asked = executor, function, asked
        self._futures: list[Future[dict[str, bytes]]] = []
        self._reports: dict[str, Report] = {}  # by the jobs' names

    def about(self) -> str:
        """Return what the cluster is, in words."""
        raise NotImplementedError

    def submit(
        self, job: Job[Any], folder: Path, marks: Marks, splits: Splits, report: Report
    ) -> Future[dict[str, bytes]]:
        """See :meth:`.runner.Cluster.submit`."""
        self._reports[job.name] = report
        task = Task(
            job.name,
            job.packed(folder),
            job.dataset or self._asked.dataset,
            self._asked.folder,
            marks,
            splits.source,
            None if self._asked.mixed else job.code(),
        )
        future = self._executor.submit(self._function, task)
        self._futures.append(future)
        return future

    def result(self, future: Future[dict[str, bytes]]) -> dict[str, bytes]:
        """See :meth:`.runner.Cluster.result`."""
        return future.result()

    def check(self) -> None:
        """See :meth:`.runner.Cluster.check`."""

    def stop(self) -> None:
        """See :meth:`.runner.Cluster.stop`."""
        for future in self._futures:
            future.cancel()


@contextlib.contextmanager
def opened(asked: Asked, say: Callable[[str], None]) -> Iterator[Cluster | None]:
    """Yield the cluster that a user asks for; None to a process that has worked for one, which is
    done.

    `say` is called with what the user should know while runs go on.

    Raises
    ------
    ClusterError
        If the cluster cannot be reached, or has no worker.
    ImportError
        If its library is not installed.
    """
    with _mpi(asked) if asked.address == MPI else _dask(asked, say) as cluster:
        yield cluster


# --- Dask  ---


@contextlib.contextmanager
def _dask(asked: Asked, say: Callable[[str], None]) -> Iterator[Cluster]:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            f"--cluster with an address needs Dask: {cures.install('lenet_fast[dask]')}"
        ) from error
    given = {}
    if asked.tls is not None:
        names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
        given = dict(zip(names, asked.tls, strict=True)) | {"require_encryption": True}
    security = distributed.Security(**given)  # for the rest, Dask's configuration
    try:
        arguments = security.get_connection_args("client")
    except OSError as error:
        files = ", ".join(asked.tls or ("those of Dask's configuration",))
        raise ClusterError(
            f"--cluster-tls: expected a certificate of an authority, a certificate and its key, "
            f"got {files}: {error}"
        ) from error

    async def look() -> None:
        async with asyncio.timeout(SECONDS + 1):  # others than schedulers may never answer
            comm = await distributed.comm.connect(asked.address, timeout=SECONDS, **arguments)
            await comm.close()

    try:
        asyncio.run(look())  # first: a client that meets no scheduler ends after half a minute
        client = distributed.Client(
            asked.address, timeout=SECONDS, security=security, set_as_default=False
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        why = str(first) or f"nothing came in {SECONDS} seconds"
        raise ClusterError(
            f"--cluster: expected the address of a Dask scheduler, got {asked.address}, where none "
            f"answers: {why}"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError as error:
            raise ClusterError(
                f"--cluster: expected a worker at {asked.address}, but in {SECONDS} seconds none "
                f"has come; start some with: dask worker {asked.address}"
            ) from error
        # They import this package to say their name, so it has to be there.
        for where, said in client.run(workers.here, on_error="return").items():
            if isinstance(said, Exception):
                raise ClusterError(_SAME.format(f"worker at {where}", said)) from said
        yield _Dask(client, asked, say)


_SAME = "--cluster: expected the client's lenet_fast on the {}, got: {}"


class _Dask(Cluster):
    def __init__(self, client: Client, asked: Asked, say: Callable[[str], None]) -> None:
        self._token = uuid.uuid4().hex  # of this command: several may share a cluster
        function = functools.partial(_on_dask, self._token)
        super().__init__(client.get_executor(), function, asked)
        self._client, self._say, self._told = client, say, False
        client.subscribe_topic(self._token, self._heard)

    def about(self) -> str:
        threads = self._client.nthreads()
        each = f"{len(threads)} worker{'s' if len(threads) > 1 else ''}"
        return f"{each}, {sum(threads.values())} runs at once, at {self._asked.address}"

    def _heard(self, event: tuple[float, Any]) -> None:
        name, done = event[1]
        self._reports[name](done)

    def result(self, future: Future[dict[str, bytes]]) -> dict[str, bytes]:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            raise WorkersLost(
                f"{deaths} workers died in it, the last at {error.last_worker.address}; their logs "
                "say why"
            ) from error
        except RuntimeError as error:
            if "deserialization" in str(error):
                raise ClusterError(_SAME.format("scheduler", error.__cause__ or error)) from error
            raise
        except CancelledError:
            raise self._gone() from None

    def _gone(self) -> ClusterError:
        # It would print a traceback when it closes.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        return ClusterError(
            f"the scheduler at {self._asked.address} is gone; the complete runs are kept"
        )

    def check(self) -> None:
        if self._client.status != "running":
            raise self._gone()
        try:
            nobody = not self._client.nthreads()
        except OSError as error:
            raise self._gone() from error
        if nobody and not self._told:
            self._say("no worker is left; waiting for a new one")
        self._told = nobody

    def stop(self) -> None:
        if self._client.status != "running":
            return
        super().stop()
        with contextlib.suppress(OSError):  # the scheduler may be gone by now
            self._client.run(_stop_on_dask, self._token, on_error="ignore")


_stopped: set[str] = set()
"""The tokens of commands that have been stopped, in a worker."""


def _stop_on_dask(token: str) -> None:
    _stopped.add(token)


class _StoppedOnDask:
    def __init__(self, token: str) -> None:
        self._token = token

    def is_set(self) -> bool:
        return self._token in _stopped


def _on_dask(token: str, task: Task) -> dict[str, bytes]:
    """Work in a thread of a Dask worker, which tells the client twice a second how far it is."""
    import distributed

    worker, told = distributed.get_worker(), 0.0

    def report(done: float) -> None:
        nonlocal told
        if time.monotonic() > told + 0.5:
            told = time.monotonic()
            worker.log_event(token, [task.name, done])

    return workers.work(task, report, _StoppedOnDask(token))


# --- MPI  ---

_orders: Intracomm | None = None
"""Where the first process tells the others to stop, and they tell it how far they are, apart from
what the executor sends."""


@contextlib.contextmanager
def _mpi(asked: Asked) -> Iterator[Cluster | None]:
    global _orders
    world = ranks.library("--cluster mpi").COMM_WORLD
    from mpi4py.futures import MPICommExecutor

    if world.size < 2:
        raise ClusterError(
            "--cluster mpi: expected at least 2 processes, the first of which only hands out the "
            "runs, got 1; start it with: mpiexec -n 3 lenet-fast ... --cluster mpi"
        )
    _orders = world.Dup()
    if world.rank:
        ranks.leave_signals_to_the_first()
    with MPICommExecutor(world) as executor:
        yield None if executor is None else _Ranks(cast(Executor, executor), asked, _orders)
    while _orders.iprobe():
        _orders.recv()


class _Ranks(Cluster):
    def __init__(self, executor: Executor, asked: Asked, orders: Intracomm) -> None:
        super().__init__(executor, _on_mpi, asked)
        self._orders = orders
        self.started_by = f"mpiexec -n {orders.size} "

    def about(self) -> str:
        return f"{self._orders.size - 1} of {self._orders.size} MPI processes"

    def check(self) -> None:
        while self._orders.iprobe():
            name, done = self._orders.recv()
            self._reports[name](done)

    def stop(self) -> None:
        super().stop()
        for rank in range(1, self._orders.size):
            self._orders.isend(None, rank)


class _StoppedByRank:
    def is_set(self) -> bool:
        assert _orders is not None
        return _orders.iprobe(source=0)


def _on_mpi(task: Task) -> dict[str, bytes]:
    """Work in another process than the first, which reads every two seconds how far this is."""
    assert _orders is not None
    orders, told, sent = _orders, time.monotonic(), None

    def report(done: float) -> None:
        nonlocal told, sent  # the latter, or the message could go before it is read
        if time.monotonic() > told + 1:
            told, sent = time.monotonic(), orders.isend((task.name, done), 0)

    return workers.work(task, report, _StoppedByRank())
