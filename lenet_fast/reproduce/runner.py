"""Runs of recipes: several at a time with one thread each, or one at a time with all threads.

What carries them out is a :class:`concurrent.futures.Executor`: threads of this process, whose
engines release the GIL, or a cluster, see :mod:`lenet_fast.reproduce.clusters`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from lenet_fast import __version__, backends, disk, engines, files
from lenet_fast.data import Splits
from lenet_fast.network import Network
from lenet_fast.reproduce import boosting, results
from lenet_fast.reproduce.recipes import Recipe, reduced_to_1990
from lenet_fast.reproduce.results import Result
from lenet_fast.reproduce.training import (
    NothingToLearn,
    Report,
    Stop,
    Stopped,
    Watch,
    rejected,
    scores,
    train,
)
from lenet_fast.threads import Pool
from lenet_fast.training import TrainingDiverged, runs
from lenet_fast.training.batches import fingerprint


class Job(NamedTuple):
    """A run to do."""

    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        """The folder of the run."""
        return f"{self.recipe.name}/seed-{self.seed}"


class Marks(NamedTuple):
    """The fingerprints of data."""

    train: str
    test: str

    @classmethod
    def of(cls, splits: Splits) -> Marks:
        """Return those of these data."""
        return cls(*(fingerprint(name, getattr(splits, name)).sha256 for name in cls._fields))


class WorkersLost(Exception):  # noqa: N818  (named after the event)
    """A run whose workers died, one after the other."""


Data = Mapping[str | None, Splits]
"""The data of recipes, by :attr:`Recipe.dataset`."""


Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class Cluster(Protocol):
    """Where else than here runs may be carried out."""

    def submit(
        self, job: Job, marks: Marks, splits: Splits, report: Report
    ) -> Future[dict[str, bytes]]:
        """Start a run on data of these fingerprints.

        `report` is called with the share that is done, by any thread, if the cluster tells it.
        """

    def result(self, future: Future[dict[str, bytes]]) -> dict[str, bytes]:
        """Return the files of a run, by name; raise WorkersLost if its workers died."""

    def check(self) -> None:
        """Tell the user if there is nobody who could go on; called every few seconds."""

    def stop(self) -> None:
        """Stop all runs."""


class Threads(Executor):
    """Threads of this process; a call that none can start for is made by the caller.

    Examples
    --------
    >>> from lenet_fast.reproduce.runner import Threads
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
    jobs: Sequence[Job],
    data: Data,
    out: Path,
    *,
    at_once: int,
    threads: int,
    report: Callable[[Job, float], None],
    finished: Callable[[Job, Result], None],
    cluster: Cluster | None = None,
) -> list[Result]:
    """Run all jobs without a result; return all results, in the order of the jobs.

    `out` holds the runs' folders; results in it for the same recipe, data and version of this
    library are reused. `at_once` runs go on at a time, with one thread each; `threads` are for runs
    that need them all. A cluster decides that itself. Any thread may call `report`, with the share
    of a job that is done. After Ctrl-C, KeyboardInterrupt is raised when the current runs have
    stopped.
    """
    marks = {name: Marks.of(splits) for name, splits in data.items()}
    done: dict[Job, Result] = {}
    for job in jobs:
        found = results.load(out / job.name)
        if found is not None and _is_of(found, job, marks[job.recipe.dataset]):
            done[job] = found
            finished(job, found)

    def keep(job: Job, result: Result) -> None:
        done[job] = result
        finished(job, result)

    missing = [job for job in jobs if job not in done]
    if cluster is not None:
        _on_cluster(cluster, missing, data, marks, out, report, keep)
    else:
        crowd = [job for job in missing if not job.recipe.alone]
        alone = [job for job in missing if job.recipe.alone]
        for several, most, each in ((crowd, at_once, 1), (alone, 1, threads)):
            _here(several, data, marks, out, most, each, report, keep)
    return [done[job] for job in jobs]


def _here(
    jobs: Sequence[Job],
    data: Data,
    marks: Mapping[str | None, Marks],
    out: Path,
    at_once: int,
    threads: int,
    report: Callable[[Job, float], None],
    keep: Callable[[Job, Result], None],
) -> None:
    """Run jobs in this process, each on the given number of threads."""
    stop = threading.Event()
    futures: dict[Future[Result], Job] = {}
    with Threads(at_once) as executor:
        try:
            for job in jobs:
                future = executor.submit(
                    run,
                    job,
                    data[job.recipe.dataset],
                    marks[job.recipe.dataset],
                    threads,
                    functools.partial(report, job),
                    stop,
                    out / job.name,
                )
                futures[future] = job
            for future in concurrent.futures.as_completed(futures):
                keep(futures[future], future.result())
        except BaseException as error:
            stop.set()
            for future in futures:
                future.cancel()
            if isinstance(error, Stopped):  # by a signal whose handler stops the trainer
                raise KeyboardInterrupt from None
            raise


def _on_cluster(
    cluster: Cluster,
    jobs: Sequence[Job],
    data: Data,
    marks: Mapping[str | None, Marks],
    out: Path,
    report: Callable[[Job, float], None],
    keep: Callable[[Job, Result], None],
) -> None:
    """Run jobs on a cluster; an error of one that killed its workers is raised at the end."""
    lost: list[WorkersLost] = []
    try:
        futures = {}
        for job in jobs:
            name = job.recipe.dataset
            started = cluster.submit(job, marks[name], data[name], functools.partial(report, job))
            futures[started] = job
        left = set(futures)
        while left:
            ended, left = concurrent.futures.wait(left, 2, concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                job = futures[future]
                try:
                    keep(job, _written(cluster.result(future), out / job.name))
                except WorkersLost as error:
                    lost.append(WorkersLost(f"{job.name}: {error}"))
            cluster.check()
    except BaseException:
        cluster.stop()
        raise
    if lost:
        raise lost[0]


def _written(content: Mapping[str, bytes], folder: Path) -> Result:
    """Write what a worker sent, the result last, and return the result."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(content, key=results.RESULT.__eq__):
        path = folder / Path(name).name  # wherever a worker would have it
        disk.write_beside(path, content[name], path)
    found = results.load(folder)
    if found is None:
        raise ValueError(f"{folder}: expected a worker's result, got something else")
    return found


def _is_of(result: Result, job: Job, marks: Marks) -> bool:
    return (
        (result.recipe, result.seed) == (job.recipe.name, job.seed)
        and result.description == results.plain(job.recipe.description())
        and result.data == marks._asdict()
        and result.code.get("lenet_fast") == __version__
    )


def run(
    job: Job,
    splits: Splits,
    marks: Marks,
    threads: int,
    report: Report,
    stop: Stop,
    folder: Path,
) -> Result:
    """Train, test, and write the files of a run."""
    recipe, seed = job
    mine = recipe.seen(splits, seed)
    result = Result(recipe.name, seed, results.plain(recipe.description()), {}, marks._asdict())
    watch = Watch(report, stop)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    networks: list[Network] = []
    try:
        if recipe.boosted:
            networks = boosting.train_three(recipe, seed, mine, threads, watch)
        else:
            trainer = train(
                recipe,
                recipe.network(seed),
                mine,
                seed=seed,
                distortion=recipe.distortion,
                threads=threads,
                watch=watch,
            )
            networks = [trainer.result]
            result.rows = [results.plain(vars(row)) for row in trainer.history.rows]
            path = folder / runs.HISTORY
            disk.write_beside(path, trainer.history.to_csv().encode(), path)
    except (TrainingDiverged, NothingToLearn) as error:
        result.failed = str(error)
    result.seconds = time.perf_counter() - started
    result.threads = threads
    result.rates = watch.rates
    result.code = code(recipe)
    if networks:
        _judge(result, recipe, networks, mine, threads)
        for i, network in enumerate(networks):
            network.reduced = recipe.digits is reduced_to_1990
            name = results.MODEL if len(networks) == 1 else f"{i + 1}-{results.MODEL}"
            files.write_model(folder / name, network, recipe.loss, beside=folder / name)
    result.save(folder)
    return result


def _judge(
    result: Result, recipe: Recipe, networks: list[Network], splits: Splits, threads: int
) -> None:
    """Count the errors of networks at the end of a run."""
    train, test = splits.train, splits.test
    outputs = scores(networks, test.images, threads)
    said = outputs.argmax(axis=1)
    result.predicted = said.tolist()
    if recipe.reject_to is not None:
        name = results.REJECTED.format(recipe.reject_to)
        result.remarks[name] = rejected(outputs, test.labels, recipe.reject_to)
    if recipe.end_losses:
        last = result.rows[-1]
        result.remarks["mean loss at the end, training set"] = last["train_loss"]
        result.remarks["mean loss at the end, test set"] = last["test_loss"]
    result.test_images, result.test_errors = len(test), int((said != test.labels).sum())
    learned = scores(networks, train.images, threads).argmax(axis=1)
    result.train_images, result.train_errors = len(train), int((learned != train.labels).sum())
    if len(networks) > 1:
        for i, network in enumerate(networks):
            alone = scores([network], test.images, threads).argmax(axis=1)
            errors = (alone != test.labels).sum()
            result.remarks[f"network {i + 1} alone, test error (%)"] = 100 * errors / len(test)
        unsure = boosting.where_unsure(networks, test.images, threads).argmax(axis=1)
        name = f"networks 2 and 3 only where 1 is unsure, {boosting.COST} on average"
        errors = (unsure != test.labels).sum()
        result.remarks[f"{name}, test error (%)"] = 100 * errors / len(test)


def code(recipe: Recipe) -> dict[str, str]:
    """Return what the bits of a run depend on, besides the recipe: versions, backend, its build."""
    engine = engines.create(recipe.network(0), recipe.loss, batch_size=recipe.batch_size, threads=1)
    backend = backends.get(engine.backend)
    isa = {"isa": backend.isa()} if hasattr(backend, "isa") else {}
    return runs.code(engine) | isa
