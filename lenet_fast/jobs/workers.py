"""What a process of a cluster does: one job, on data of its own, whose files it returns."""

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
from lenet_fast.jobs.runner import Job, Marks, Packed, Report, Stop
from lenet_fast.training import runs


class ClusterError(Exception):
    """A cluster that cannot be reached, or a worker that cannot do a job as its client would."""


class Task(NamedTuple):
    """A job for a worker."""

    name: str  # of the job
    packed: Packed
    dataset: str
    folder: str | None  # the client's folder or file of data, which machines may share
    marks: Marks  # of the data that the job needs
    source: str  # of the client's data, in words
    code: dict[str, str] | None  # see Job.code; None if any will do


def work(task: Task, report: Report, stop: Stop) -> dict[str, bytes]:
    """Do a job with one thread; return the files of its folder, by name.

    Raises
    ------
    ClusterError
        If this process has another version of this library or of NumPy, another instruction set,
        or other data than the client.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-fast-") as name:
        folder = Path(name)
        try:
            job = task.packed.unpacked(folder)
        except ValueError as error:
            raise ClusterError(f"{here()}: {error}") from error
        _check_code(task, job)
        job.run(_splits(task), task.marks, 1, report, stop, folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def here() -> str:
    """Return what messages call this process."""
    return f"the worker on {socket.gethostname()}, process {os.getpid()}"


def _check_code(task: Task, job: Job[Any]) -> None:
    if task.code is None:
        return
    differing = runs.differing(task.code, job.code())
    if differing is not None:
        expected, got, cure = differing
        raise ClusterError(
            f"{here()}: expected {expected}, as the client has, got {got}; the numbers would "
            f"differ in the last digits. Either {cure}, or allow it with --cluster-mixed"
        )


def _splits(task: Task) -> Splits:
    there = task.folder is None or os.path.exists(task.folder)
    try:
        with _loading:
            return _load(task.dataset, task.folder if there else None, task.marks)
    except _OtherDataError as error:
        lacks = "" if there else f"; there is no {task.folder} here"
        raise ClusterError(
            f"{here()}: expected the client's data, {task.source}, got {error}, whose "
            f"fingerprint is another{lacks}; LENET_FAST_DATA names the place of a worker's data"
        ) from error
    except (OSError, ValueError, ImportError) as error:
        raise ClusterError(f"{here()}: no data: {error}") from error


_loading = threading.Lock()  # threads of one worker share the data


class _OtherDataError(Exception):
    """Data with another fingerprint than the client's."""


# By fingerprint too: a worker lives longer than a client, whose file may change meanwhile.
@functools.lru_cache(maxsize=4)
def _load(dataset: Any, folder: str | None, marks: Marks) -> Splits:
    splits = data.load(dataset, folder)
    if Marks.of(splits) != marks:
        raise _OtherDataError(splits.source)
    return splits
