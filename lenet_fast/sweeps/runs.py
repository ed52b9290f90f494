"""The runs of a sweep, as jobs: each trains on one part of the training set, and is judged on
another. The test set is not used."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from lenet_fast import __version__, checks, configs, data, disk, losses, models
from lenet_fast.data import Dataset, Splits, distort
from lenet_fast.jobs import runner
from lenet_fast.jobs.runner import RESULT, Marks, Report, Stop, Stopped
from lenet_fast.training import History, Progress, Row, Trainer, TrainingDiverged
from lenet_fast.training import runs as folders
from lenet_fast.training.batches import shuffled
from lenet_fast.training.history import checked_row
from lenet_fast.training.optimisers import from_config as optimiser_of
from lenet_fast.training.schedules import from_config as schedule_of

_MAX_BYTES = 2**24
_SAMPLED = {"lenet1": data.as_1990, "lenet1989": data.as_1989}
"""What makes digits as small as those of older networks."""


@dataclasses.dataclass
class Result:
    """What a run has measured; in its rows, "test" means the validation part."""

    settings: dict[str, Any]  # see Job
    seed: int
    code: dict[str, str]
    data: dict[str, str]
    train_images: int = 0
    validation_images: int = 0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0  # of the part that was computed last
    failed: str = ""  # why there are no more rows

    def history(self) -> History:
        """Return the rows as a history."""
        rows = [Row(**row) for row in self.rows]
        return History(rows, self.train_images, self.validation_images)


class Job(NamedTuple):
    """A training up to the end of an epoch: a :class:`lenet_fast.jobs.runner.Job`.

    The settings are a JSON object: `model` and its arguments `network`; `loss`, `optimiser`,
    `schedule` and `distortion` as their configurations; `epochs`, `batch_size`, `shuffle`,
    `average_from` and `evaluate_train` as for :class:`~lenet_fast.training.Trainer`; and the
    numbers of images of both parts, `images` and `validation`. The schedule is that of all
    `epochs`, even if the training pauses before.
    """

    settings: str
    seed: int
    until: int  # the last epoch
    words: str = ""  # for people

    @property
    def name(self) -> str:
        """The folder of the run, which longer trainings share: they go on from its checkpoint."""
        key = hashlib.sha256(f"{self.settings} {self.seed}".encode()).hexdigest()
        return f"runs/{key[:20]}"

    @property
    def title(self) -> str:
        """See :attr:`.jobs.runner.Job.title`."""
        return f"{self.words}, seed {self.seed}"

    @property
    def size(self) -> float:
        """See :attr:`.jobs.runner.Job.size`."""
        return self.until

    @property
    def dataset(self) -> str | None:
        """See :attr:`.jobs.runner.Job.dataset`: the one that the user names."""
        return None

    @property
    def alone(self) -> bool:
        """See :attr:`.jobs.runner.Job.alone`."""
        return False

    def code(self) -> dict[str, str]:
        """See :meth:`.jobs.runner.Job.code`."""
        return _code(self.settings)

    def packed(self, folder: Path) -> Packed:
        """See :meth:`.jobs.runner.Job.packed`."""
        names = (RESULT, folders.CHECKPOINT)
        there = [folder / name for name in names if (folder / name).is_file()]
        return Packed(self, {path.name: path.read_bytes() for path in there})

    def read(self, folder: Path) -> Result | None:
        """See :meth:`.jobs.runner.Job.read`."""
        return load(folder)

    def has(self, result: Result, marks: Marks) -> bool:
        """See :meth:`.jobs.runner.Job.has`; the version of this library has to be the same, too."""
        done = bool(result.failed) or len(result.rows) >= self.until
        return done and self._is_of(result, marks)

    def _is_of(self, result: Result, marks: Marks) -> bool:
        return (
            (result.settings, result.seed) == (json.loads(self.settings), self.seed)
            and result.data == marks._asdict()
            and result.code.get("lenet_fast") == __version__
        )

    def run(
        self,
        splits: Splits,
        marks: Marks,
        threads: int,
        report: Report,
        stop: Stop,
        folder: Path,
    ) -> None:
        """See :meth:`.jobs.runner.Job.run`.

        A training that pauses leaves a checkpoint; one that finds a checkpoint of its own goes on.
        """
        settings = json.loads(self.settings)
        epochs, checkpoint = settings["epochs"], folder / folders.CHECKPOINT
        train, validation = parts(
            splits, settings["validation"], settings["images"], settings["model"]
        )
        before = load(folder)
        goes_on = before is not None and self._is_of(before, marks) and checkpoint.exists()
        if not goes_on:
            folders.clear(folder, (RESULT, *folders.FILES))
        result = Result(settings, self.seed, {}, marks._asdict(), len(train), len(validation))
        watch = _Watch(report, stop, self.until)
        started = time.perf_counter()
        if goes_on:
            trainer = Trainer.resume(folder, threads=threads, callbacks=[watch])
        else:
            out = folder if self.until < epochs else None
            trainer = _trainer(settings, self.seed, threads=threads, callbacks=[watch], out=out)
        rows = trainer.history.rows
        try:
            if len(rows) < self.until:  # else only the result was lost
                trainer.fit(train, validation, epochs, verbose=False)
        except TrainingDiverged as error:
            result.failed = error.reason
        if not result.failed and len(rows) < self.until:
            raise Stopped
        result.seconds = time.perf_counter() - started
        result.rows = json.loads(json.dumps([vars(row) for row in rows]))
        result.code = runner.code(trainer.engine)
        ended = result.failed or len(rows) == epochs
        kept = () if ended else (folders.CHECKPOINT,)
        folders.clear(folder, [name for name in folders.FILES if name not in kept])
        content = json.dumps(dataclasses.asdict(result)).encode()
        disk.write_beside(folder / RESULT, content, folder / RESULT)


class Packed(NamedTuple):
    """A run for a worker, with the files of its folder."""

    job: Job
    files: dict[str, bytes]

    def unpacked(self, folder: Path) -> Job:
        """See :meth:`lenet_fast.jobs.runner.Packed.unpacked`."""
        runner.write(self.files, folder)
        return self.job


class _Watch(runner.Watch):
    """Ends a training after an epoch, and reports the share that is done until then."""

    def __init__(self, report: Report, stop: Stop, until: int) -> None:
        super().__init__(report, stop)
        self._until = until

    def on_batch_end(self, trainer: Trainer, progress: Progress) -> None:
        super().on_batch_end(trainer, dataclasses.replace(progress, epochs=self._until))

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if row.epoch == self._until < trainer.epochs:
            trainer.stop()


def _trainer(settings: dict[str, Any], seed: int, **more: Any) -> Trainer:
    """Return the trainer of a run."""
    distortion = settings["distortion"]
    return Trainer(
        getattr(models, settings["model"])(**settings["network"], seed=seed),
        losses.from_config(settings["loss"]),
        optimiser=optimiser_of(settings["optimiser"]),
        schedule=schedule_of(settings["schedule"]),
        distortion=None if distortion is None else distort.from_config(distortion),
        seed=seed,
        **{
            name: settings[name]
            for name in ("batch_size", "shuffle", "average_from", "evaluate_train")
        },
        **more,
    )


@functools.lru_cache(maxsize=1000)
def _code(settings: str) -> dict[str, str]:
    engine = _trainer(json.loads(settings), 0, threads=1).engine
    engine.close()
    return runner.code(engine)


@functools.lru_cache(maxsize=4)
def parts(
    splits: Splits, validation: int, images: int | None, model: str
) -> tuple[Dataset, Dataset]:
    """Return what a run trains on, at most `images`, and what judges it: parts of the training set.

    Files may be sorted by class, so both are drawn; the same ones by everybody.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.sweeps.runs import parts
    >>> [len(part) for part in parts(data.load("sample"), 1000, None, "lenet5")]
    [4000, 1000]
    """
    order = shuffled(len(splits.train), 0, 0)
    last = None if images is None else validation + images

    def part(name: str, chosen: Any) -> Dataset:
        found = dataclasses.replace(
            splits.train,
            images=splits.train.images[chosen],
            labels=splits.train.labels[chosen],
            weights=None,
            name=f"{splits.train.name}-{name}",
        )
        small = found.images.shape[-2:] == (16, 16)
        return found if small or model not in _SAMPLED else _SAMPLED[model](found)

    return part("part", order[validation:last]), part("validation", order[:validation])


def load(folder: Path) -> Result | None:
    """Return the result in a run's folder; None if there is none, or an incomplete one."""
    try:
        content = disk.read_bytes(folder / RESULT, _MAX_BYTES)
    except FileNotFoundError:
        return None
    try:
        fields = [field.name for field in dataclasses.fields(Result)]
        found = Result(**configs.checked("result", json.loads(content), fields))
        _check(found)
    except (TypeError, ValueError, RecursionError):
        return None
    return found


def _check(found: Result) -> None:
    """Raise TypeError or ValueError unless all fields are as a run writes them."""
    empty = Result({}, 0, {}, {})
    for name, value in vars(found).items():
        if type(value) is not type(getattr(empty, name)):
            raise TypeError(f"{name}: expected {type(getattr(empty, name))}, got {type(value)}")
    checks.integer("train_images", found.train_images, 1)
    checks.integer("validation_images", found.validation_images, 1)
    for epoch, row in enumerate(found.rows, 1):
        checked_row(row, epoch, found.train_images, found.validation_images)
    if not found.rows and not found.failed:
        raise ValueError("rows: expected at least one, got none")
