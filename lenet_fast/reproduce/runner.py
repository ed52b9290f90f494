"""The runs of recipes, as jobs."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import __version__, disk, engines, files
from lenet_fast.data import Splits
from lenet_fast.jobs import runner
from lenet_fast.jobs.runner import Marks, Report, Stop
from lenet_fast.network import Network
from lenet_fast.reproduce import boosting, catalogue, results
from lenet_fast.reproduce.recipes import Recipe, reduced_to_1990
from lenet_fast.reproduce.results import Result
from lenet_fast.reproduce.training import NothingToLearn, Watch, rejected, scores, train
from lenet_fast.training import TrainingDiverged, runs


class Job(NamedTuple):
    """A run to do: a :class:`lenet_fast.jobs.runner.Job`."""

    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        """The folder of the run."""
        return f"{self.recipe.name}/seed-{self.seed}"

    @property
    def title(self) -> str:
        """See :attr:`.jobs.runner.Job.title`."""
        return self.name

    @property
    def size(self) -> float:
        """See :attr:`.jobs.runner.Job.size`."""
        return self.recipe.epochs * (3 if self.recipe.boosted else 1)

    @property
    def dataset(self) -> str | None:
        """See :attr:`.jobs.runner.Job.dataset`."""
        return self.recipe.dataset

    @property
    def alone(self) -> bool:
        """See :attr:`.jobs.runner.Job.alone`."""
        return self.recipe.alone

    def code(self) -> dict[str, str]:
        """See :meth:`.jobs.runner.Job.code`."""
        return code(self.recipe)

    def packed(self, folder: Path) -> Named:
        """See :meth:`.jobs.runner.Job.packed`."""
        return Named(self.recipe.name, self.seed, results.plain(self.recipe.description()))

    def run(
        self,
        splits: Splits,
        marks: Marks,
        threads: int,
        report: Report,
        stop: Stop,
        folder: Path,
    ) -> None:
        """See :meth:`.jobs.runner.Job.run`."""
        run(self, splits, marks, threads, report, stop, folder)

    def read(self, folder: Path) -> Result | None:
        """See :meth:`.jobs.runner.Job.read`."""
        return results.load(folder)

    def has(self, result: Result, marks: Marks) -> bool:
        """See :meth:`.jobs.runner.Job.has`; the version of this library has to be the same, too."""
        return (
            (result.recipe, result.seed) == (self.recipe.name, self.seed)
            and result.description == results.plain(self.recipe.description())
            and result.data == marks._asdict()
            and result.code.get("lenet_fast") == __version__
        )


class Named(NamedTuple):
    """A run for a worker: by the name of its recipe, which functions make up."""

    recipe: str
    seed: int
    description: dict[str, Any]  # of the recipe, as JSON can hold it

    def unpacked(self, folder: Path) -> Job:
        """See :meth:`lenet_fast.jobs.runner.Packed.unpacked`."""
        for recipes in catalogue.RECIPES.values():
            for recipe in recipes:
                if recipe.name == self.recipe:
                    if results.plain(recipe.description()) == self.description:
                        return Job(recipe, self.seed)
                    raise ValueError(
                        f"expected the client's recipe {self.recipe}, got another of that name; "
                        "install the same lenet_fast on both"
                    )
        raise ValueError(
            f"expected a recipe {self.recipe}, but there is none; install the same lenet_fast on "
            "both"
        )


def run(
    job: Job,
    splits: Splits,
    marks: Marks,
    threads: int,
    report: Report,
    stop: Stop,
    folder: Path,
) -> None:
    """Train, test, and write the files of a run."""
    recipe, seed = job
    mine = recipe.seen(splits, seed)
    result = Result(recipe.name, seed, results.plain(recipe.description()), {}, marks._asdict())
    watch = Watch(report, stop)
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


@functools.lru_cache
def code(recipe: Recipe) -> dict[str, str]:
    """Return what the bits of a run depend on, besides the recipe."""
    engine = engines.create(recipe.network(0), recipe.loss, batch_size=recipe.batch_size, threads=1)
    return runner.code(engine)
