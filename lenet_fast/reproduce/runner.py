"""Runs of recipes: several at a time with one thread each, or one at a time with all threads."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lenet_fast import __version__, backends, disk, engines, files
from lenet_fast.data import Splits
from lenet_fast.network import Network
from lenet_fast.reproduce import boosting, results
from lenet_fast.reproduce.recipes import Recipe, reduced_to_1990
from lenet_fast.reproduce.results import Result
from lenet_fast.reproduce.training import (
    NothingToLearn,
    Report,
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


Data = Mapping[str | None, Splits]
"""The data of recipes, by :attr:`Recipe.dataset`."""


def run_all(
    jobs: Sequence[Job],
    data: Data,
    out: Path,
    *,
    at_once: int,
    threads: int,
    report: Callable[[Job, float], None],
    finished: Callable[[Job, Result], None],
) -> list[Result]:
    """Run all jobs without a result; return all results, in the order of the jobs.

    `out` holds the runs' folders; results in it for the same recipe, data and version of this
    library are reused. `at_once` runs go on at a time, with one thread each; `threads` are for runs
    that need them all. Any thread may call `report`, with the share of a job that is done, and
    `finished`. After Ctrl-C, KeyboardInterrupt is raised when the current runs have stopped.
    """
    marks = {
        name: {
            "train": fingerprint("train", splits.train).sha256,
            "test": fingerprint("test", splits.test).sha256,
        }
        for name, splits in data.items()
    }
    stop = threading.Event()

    def one(job: Job, threads: int) -> Result:
        folder = out / job.name
        found = results.load(folder)
        splits, mark = data[job.recipe.dataset], marks[job.recipe.dataset]
        if found is None or not _is_of(found, job, mark):
            found = _run(job, splits, mark, threads, lambda done: report(job, done), stop, folder)
        finished(job, found)
        return found

    done: dict[Job, Result] = {}
    crowd = [job for job in jobs if not job.recipe.alone]
    pool, futures = Pool(at_once), {}
    try:
        for job in crowd:
            future = pool.submit(one, job, 1)
            if future is not None:  # else no thread can start: run one after the other, below
                futures[future] = job
        for future in concurrent.futures.as_completed(futures):
            done[futures[future]] = future.result()
    except BaseException:
        stop.set()
        for future in futures:
            future.cancel()
        raise
    finally:
        pool.close()
    for job in jobs:
        if job not in done:
            try:
                done[job] = one(job, threads if job.recipe.alone else 1)
            except Stopped:  # by a signal whose handler stops the trainer
                raise KeyboardInterrupt from None
    return [done[job] for job in jobs]


def _is_of(result: Result, job: Job, data: dict[str, str]) -> bool:
    return (
        (result.recipe, result.seed) == (job.recipe.name, job.seed)
        and result.description == results.plain(job.recipe.description())
        and result.data == data
        and result.code.get("lenet_fast") == __version__
    )


def _run(
    job: Job,
    splits: Splits,
    data: dict[str, str],
    threads: int,
    report: Report,
    stop: threading.Event,
    folder: Path,
) -> Result:
    """Train, test, and write the files of a run."""
    recipe, seed = job
    mine = recipe.seen(splits, seed)
    result = Result(recipe.name, seed, results.plain(recipe.description()), {}, data)
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
    result.code = _code(recipe, threads)
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


def _code(recipe: Recipe, threads: int) -> dict[str, str]:
    engine = engines.create(
        recipe.network(0), recipe.loss, batch_size=recipe.batch_size, threads=threads
    )
    backend = backends.get(engine.backend)
    isa = {"isa": backend.isa()} if hasattr(backend, "isa") else {}
    return runs.code(engine) | isa
