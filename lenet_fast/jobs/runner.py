"""Jobs: several at a time with one thread each, or one at a time with all threads.

What carries them out is a :class:`concurrent.futures.Executor`: threads of this process, whose
engines release the GIL, or a cluster, see :mod:`lenet_fast.jobs.clusters`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from lenet_fast import backends, disk
from lenet_fast.data import Splits
from lenet_fast.engines import Engine
from lenet_fast.threads import Pool
from lenet_fast.training import Callback, Progress, Trainer, runs
from lenet_fast.training.batches import fingerprint

RESULT = "result.json"
"""The file of a job's folder that is written last."""

Report = Callable[[float], None]
"""Called with the share that is done, from 0 to 1."""

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Found = TypeVar("Found")


class Stop(Protocol):
    """Whether to stop; a :class:`threading.Event` is one."""

    def is_set(self) -> bool:
        """Return whether a job is to stop."""


class Stopped(Exception):  # noqa: N818  (named after the event)
    """A job was stopped before its end."""


class WorkersLost(Exception):  # noqa: N818  (named after the event)
    """A job whose workers died, one after the other."""


class Watch(Callback):
    """Reports the progress of a training, and stops it on request."""

    def __init__(self, report: Report, stop: Stop) -> None:
        self.report, self.stop = report, stop

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        """Report the progress, and stop if requested."""
        done = progress.images / progress.total if progress.phase == "train" else 1.0
        self.report((progress.epoch - 1 + done) / progress.epochs)
        if self.stop.is_set():
            trainer.stop()


class Marks(NamedTuple):
    """The fingerprints of data."""

    train: str
    test: str

    @classmethod
    def of(cls, splits: Splits) -> Marks:
        """Return those of these data."""
        return cls(*(fingerprint(name, getattr(splits, name)).sha256 for name in cls._fields))


class Packed(Protocol):
    """A job as it is sent to a worker; it can be pickled."""

    def unpacked(self, folder: Path) -> Job[Any]:
        """Return the job, for a worker that does it in a folder.

        ValueError if this process would do another one.
        """


class Job(Protocol[Found]):
    """A training to do, whose result is of type `Found`; hashable."""

    @property
    def name(self) -> str:
        """Its folder, below that of all jobs."""

    @property
    def title(self) -> str:
        """What progress bars call it."""

    @property
    def size(self) -> float:
        """How long it takes, in comparison with others."""

    @property
    def dataset(self) -> str | None:
        """The data set that it needs; None: whatever the user names."""

    @property
    def alone(self) -> bool:
        """Whether no other runs beside it, so that it has all threads."""

    def code(self) -> dict[str, str]:
        """Return what its bits depend on, besides itself: see :func:`code`."""

    def packed(self, folder: Path) -> Packed:
        """Return it for a worker, with what it needs of its folder."""

    def run(
        self,
        splits: Splits,
        marks: Marks,
        threads: int,
        report: Report,
        stop: Stop,
        folder: Path,
    ) -> None:
        """Do it, and write its files, RESULT last; Stopped if it was stopped before."""

    def read(self, folder: Path) -> Found | None:
        """Return the result in a folder; None if there is none, or one that is not whole."""

    def has(self, result: Found, marks: Marks) -> bool:
        """Return whether a result is of this very job, on data with these fingerprints."""


AnyJob = TypeVar("AnyJob", bound=Job[Any])
Data = Mapping[str | None, Splits]
"""The data of jobs, by :attr:`Job.dataset`."""


class Cluster(Protocol):
    """Where else than here jobs may be carried out."""

    def submit(
        self, job: Job[Any], folder: Path, marks: Marks, splits: Splits, report: Report
    ) -> Future[dict[str, bytes]]:
        """Start a job on data of these fingerprints; `folder` is its own here.

        `report` is called with the share that is done, by any thread, if the cluster tells it.
        """

    def result(self, future: Future[dict[str, bytes]]) -> dict[str, bytes]:
        """Return the files of a job, by name; raise WorkersLost if its workers died."""

    def check(self) -> None:
        """Tell the user if there is nobody who could go on; called every few seconds."""

    def stop(self) -> None:
        """Stop all jobs."""


class Threads(Executor):
    """Threads of this process; a call that none can start for is made by the caller.

    Examples
    --------
    >>> from lenet_fast.jobs.runner import Threads
    >>> with Threads(2) as executor:
    ...     list(executor.map(abs, [-1, 2]))
    [1, 2]
    """

    def __init__(self, most: int) -> None:
        self._pool = Pool(most)

    def submit(
        self,
        function: Callable[Parameters, Returned],
        /,
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Future[Returned]:
        """See :meth:`concurrent.futures.Executor.submit`."""
        future = self._pool.submit(functools.partial(function, *arguments, **options))
        if future is None:
            future = Future()
            future.set_result(function(*arguments, **options))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See :meth:`concurrent.futures.Executor.shutdown`."""
        self._pool.close()


def run_all(
    jobs: Sequence[AnyJob],
    data: Data,
    out: Path,
    *,
    at_once: int,
    threads: int,
    report: Callable[[AnyJob, float], None],
    finished: Callable[[AnyJob, Any], None],
    cluster: Cluster | None = None,
) -> list[Any]:
    """Do all jobs without a result; return all results, in the order of the jobs.

    `out` holds the jobs' folders; a result in it that a job has is not computed again. `at_once`
    jobs go on at a time, with one thread each; `threads` are for jobs that need them all. A cluster
    decides that itself. Any thread may call `report`, with the share of a job that is done. After
    Ctrl-C, KeyboardInterrupt is raised when the current jobs have stopped.
    """
    marks = {name: Marks.of(splits) for name, splits in data.items()}
    done: dict[AnyJob, Any] = {}

    def keep(job: AnyJob, result: Any) -> None:
        done[job] = result
        finished(job, result)

    for job in jobs:
        found = job.read(out / job.name)
        if found is not None and job.has(found, marks[job.dataset]):
            keep(job, found)
    missing = [job for job in jobs if job not in done]
    if cluster is not None:
        _on_cluster(cluster, missing, data, marks, out, report, keep)
    else:
        crowd = [job for job in missing if not job.alone]
        alone = [job for job in missing if job.alone]
        for several, most, each in ((crowd, at_once, 1), (alone, 1, threads)):
            _here(several, data, marks, out, most, each, report, keep)
    return [done[job] for job in jobs]


def _here(
    jobs: Sequence[AnyJob],
    data: Data,
    marks: Mapping[str | None, Marks],
    out: Path,
    at_once: int,
    threads: int,
    report: Callable[[AnyJob, float], None],
    keep: Callable[[AnyJob, Any], None],
) -> None:
    """Do jobs in this process, each on the given number of threads."""
    stop = threading.Event()
    futures: dict[Future[None], AnyJob] = {}
    with Threads(at_once) as executor:
        try:
            for job in jobs:
                folder = out / job.name
                folder.mkdir(parents=True, exist_ok=True)
                future = executor.submit(
                    job.run,
                    data[job.dataset],
                    marks[job.dataset],
                    threads,
                    functools.partial(report, job),
                    stop,
                    folder,
                )
                futures[future] = job
            for future in concurrent.futures.as_completed(futures):
                future.result()
                job = futures[future]
                keep(job, _result(job, out / job.name))
        except BaseException as error:
            stop.set()
            for future in futures:
                future.cancel()
            if isinstance(error, Stopped):  # by a signal whose handler stops the trainer
                raise KeyboardInterrupt from None
            raise


def _on_cluster(
    cluster: Cluster,
    jobs: Sequence[AnyJob],
    data: Data,
    marks: Mapping[str | None, Marks],
    out: Path,
    report: Callable[[AnyJob, float], None],
    keep: Callable[[AnyJob, Any], None],
) -> None:
    """Do jobs on a cluster; an error of one that killed its workers is raised at the end."""
    lost: list[WorkersLost] = []
    try:
        futures = {}
        for job in jobs:
            name, folder = job.dataset, out / job.name
            tell = functools.partial(report, job)
            futures[cluster.submit(job, folder, marks[name], data[name], tell)] = job
        left = set(futures)
        while left:
            ended, left = concurrent.futures.wait(left, 2, concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                job = futures[future]
                try:
                    content = cluster.result(future)
                except WorkersLost as error:
                    lost.append(WorkersLost(f"{job.title}: {error}"))
                else:
                    write(content, out / job.name)
                    keep(job, _result(job, out / job.name))
            cluster.check()
    except BaseException:
        cluster.stop()
        raise
    if lost:
        raise lost[0]


def write(content: Mapping[str, bytes], folder: Path) -> None:
    """Write the files that a worker sent, the result last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(content, key=RESULT.__eq__):
        path = folder / Path(name).name  # wherever a worker would have it
        disk.write_beside(path, content[name], path)


def _result(job: Job[Found], folder: Path) -> Found:
    found = job.read(folder)
    if found is None:
        raise ValueError(f"{folder}: expected the result of a job, got something else")
    return found


def code(engine: Engine) -> dict[str, str]:
    """Return what the bits of a job depend on, besides its settings: versions, backend, build."""
    backend = backends.get(engine.backend)
    isa = {"isa": backend.isa()} if hasattr(backend, "isa") else {}
    return runs.code(engine) | isa
