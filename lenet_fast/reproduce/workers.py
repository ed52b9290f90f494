"""What a process of a cluster does: one run, from data of its own, whose files it returns."""

from __future__ import annotations

import functools
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import data
from lenet_fast.data import Splits
from lenet_fast.reproduce import catalogue, results, runner
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.reproduce.runner import Job, Marks
from lenet_fast.reproduce.training import Report, Stop
from lenet_fast.training import runs


class ClusterError(Exception):
    """A cluster that cannot be reached, or a worker that cannot do a run as its client would."""


class Task(NamedTuple):
    """A run for a worker; a recipe is sent by name, since functions make it up."""

    recipe: str
    seed: int
    description: dict[str, Any]  # of the recipe, as JSON can hold it
    dataset: str
    folder: str | None  # the client's folder of data, which machines may share
    marks: Marks  # of the data that the run needs
    source: str  # of the client's data, in words
    code: dict[str, str] | None  # see runner.code; None if any will do


def work(task: Task, report: Report, stop: Stop) -> dict[str, bytes]:
    """Do a run with one thread; return the files of its folder, by name.

    Raises
    ------
    ClusterError
        If this process has another version of this library or of NumPy, another instruction set,
        or other data than the client.
    """
    recipe = _recipe(task)
    _check_code(task, recipe)
    splits = _splits(task)
    with tempfile.TemporaryDirectory(prefix="lenet-fast-") as folder:
        runner.run(Job(recipe, task.seed), splits, task.marks, 1, report, stop, Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def here() -> str:
    """Return what messages call this process."""
    return f"the worker on {socket.gethostname()}, process {os.getpid()}"


def _recipe(task: Task) -> Recipe:
    for recipes in catalogue.RECIPES.values():
        for recipe in recipes:
            if recipe.name == task.recipe:
                if results.plain(recipe.description()) == task.description:
                    return recipe
                raise ClusterError(
                    f"{here()}: expected the client's recipe {task.recipe}, got another of that "
                    "name; install the same lenet_fast on both"
                )
    raise ClusterError(
        f"{here()}: expected a recipe {task.recipe}, but there is none; install the same "
        "lenet_fast on both"
    )


def _check_code(task: Task, recipe: Recipe) -> None:
    if task.code is None:
        return
    differing = runs.differing(task.code, runner.code(recipe))
    if differing is not None:
        expected, got, cure = differing
        raise ClusterError(
            f"{here()}: expected {expected}, as the client has, got {got}; the numbers would "
            f"differ in the last digits. Either {cure}, or allow it with --cluster-mixed"
        )


def _splits(task: Task) -> Splits:
    folder = task.folder if task.folder and os.path.isdir(task.folder) else None
    try:
        with _loading:
            splits, marks = _load(task.dataset, folder)
    except (OSError, ValueError, ImportError) as error:
        raise ClusterError(f"{here()}: no data: {error}") from error
    if marks != task.marks:
        raise ClusterError(
            f"{here()}: expected the client's data, {task.source}, got {splits.source}, whose "
            "fingerprint is another; LENET_FAST_DATA names the folder of a worker's data"
        )
    return splits


_loading = threading.Lock()  # threads of one worker share the data


@functools.lru_cache(maxsize=4)
def _load(dataset: Any, folder: str | None) -> tuple[Splits, Marks]:
    splits = data.load(dataset, folder)
    return splits, Marks.of(splits)
