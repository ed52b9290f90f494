"""The folder of a run: its files, when they may be replaced, and ``config.toml``."""

from __future__ import annotations

import json
import os
import platform
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lenet_fast import backends, checks, disk, locks
from lenet_fast.engines import Engine
from lenet_fast.engines.ranks import Ranks
from lenet_fast.errors import FileFormatError
from lenet_fast.files import MODEL
from lenet_fast.training.checkpoints import Checkpoint
from lenet_fast.training.history import History

__all__ = ["CHECKPOINT", "CONFIG", "FILES", "HISTORY", "read_history"]

CHECKPOINT = "checkpoint.safetensors"
"""Everything that a run needs to resume."""

HISTORY = "history.csv"
"""One row per epoch; see :func:`read_history`."""

CONFIG = "config.toml"
"""The network, the training settings, the data, and the version of the code."""

_MAX_TEXT_BYTES = 2**26

FILES = (MODEL, CHECKPOINT, HISTORY, CONFIG)
"""All files of a run; none is overwritten unless the caller says so."""


def check_free(folder: Path) -> None:
    """Raise unless a new run may write its files to a folder.

    NotADirectoryError if there is a file with that name, FileExistsError if there is one of the
    files that a run writes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet_fast.training import runs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs.check_free(Path(folder))
    ...     Path(folder, "history.csv").touch()
    ...     try:
    ...         runs.check_free(Path(folder))
    ...     except FileExistsError as error:
    ...         print(str(error).partition(",")[0])
    out: expected a folder without a run in it
    """
    if (obstacle := locks.in_the_way(folder)) is not None:
        raise NotADirectoryError(f"out: expected a folder, got {obstacle}")
    taken = [name for name in FILES if os.path.lexists(folder / name)]
    if taken:
        resume = "resume that run, " if CHECKPOINT in taken else ""
        raise FileExistsError(
            f"out: expected a folder without a run in it, but {folder} holds {', '.join(taken)}; "
            f"{resume}choose another folder, or ask for it to be overwritten"
        )


def clear(folder: Path, names: Sequence[str] = FILES) -> None:
    """Remove the files of an earlier run, and nothing else."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def stamp(folder: Path) -> tuple[int, ...] | None:
    """Return an identification of the checkpoint in a folder; None if there is none."""
    try:
        found = os.stat(folder / CHECKPOINT)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint of a run, given its folder or the checkpoint itself.

    FileNotFoundError if there is none, ValueError if `path` is a file with another name: a run
    resumes in the folder of its checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT
    if not path.exists():
        raise FileNotFoundError(f"run: expected the checkpoint of a run, but there is no {path}")
    if path.name != CHECKPOINT:
        raise ValueError(f"run: expected a run's folder or its {CHECKPOINT}, got {path}")
    return path


def code(engine: Engine) -> dict[str, str]:
    """Return what the bits of results depend on, besides a run's settings."""
    from lenet_fast import __version__

    return {
        "lenet_fast": __version__,
        "numpy": np.__version__,
        "engine": engine.name,
        "backend": engine.backend,
        "built": backends.get(engine.backend).describe(),
    }


def differing(ours: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return what of :func:`code` differs, in words: ours, what was found, and what to do; or None.

    Examples
    --------
    >>> from lenet_fast.training import runs
    >>> runs.differing({"numpy": "2.0", "engine": "lanes"}, {"numpy": "2.1", "engine": "lanes"})
    ('numpy 2.0', 'numpy 2.1', 'install the same versions on both')
    """
    names = [name for name in {**ours, **found} if ours.get(name) != found.get(name)]
    if not names:
        return None
    expected, got = (
        ", ".join(f"{name} {each.get(name, 'unknown')}" for name in names) for each in (ours, found)
    )
    if {"lenet_fast", "numpy"} & set(names):
        return expected, got, "install the same versions on both"
    return expected, got, "set LENET_FAST_BACKEND and LENET_FAST_ISA alike for both"


def config(run: Checkpoint, threads: int, ranks: Ranks | None = None) -> str:
    """Return the description of a run for ``config.toml``."""
    tables = {
        "run": {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_epoch": run.position.epoch + 1,
            "epochs": run.epochs,
            "batch_size": run.batch_size,
            "seed": run.seed,
            "shuffle": run.shuffle,
            "average_from": run.average_from,
            "threads": threads,
            "ranks": None if ranks is None else ranks.size,
        },
        "options": run.options,
        "code": run.code
        | {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "system": platform.platform(),
        },
        "data": {"train": vars(run.train), "test": vars(run.test)},
        "optimiser": run.optimiser.config(),
        "schedule": run.schedule.config(),
        "loss": run.loss.config(),
        "distortion": None if run.distortion is None else run.distortion.config(),
        "network": run.network.config(),
    }
    head = (
        "# What this run does; rewritten whenever training starts or resumes.\n"
        "# lenet-fast train --config starts a new run with the same [options].\n"
        f"# lenet-fast train --resume reads {CHECKPOINT}, never this file.\n\n"
    )
    return head + to_toml(tables)


def read_history(folder: str | os.PathLike[str]) -> History:
    """Return a run's measurements from the ``history.csv`` and ``config.toml`` in its folder.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    NotADirectoryError
        If `folder` is a file, such as a model file.
    FileFormatError
        If a file does not have the form in which a run writes it.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import data, models
    >>> from lenet_fast.training import Trainer
    >>> from lenet_fast.training.runs import read_history
    >>> sample = data.load("sample")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = Trainer(models.lenet5(), out=folder)
    ...     written = trainer.fit(sample.train.subset(64), sample.test.subset(50), epochs=1)
    ...     history = read_history(folder)
    >>> history.train_images, history.rows[0].test_errors == written.rows[0].test_errors
    (64, True)
    """
    folder = Path(folder)
    history, config = folder / HISTORY, folder / CONFIG
    if folder.is_file():
        raise NotADirectoryError(
            f"run: expected a run's folder, with the errors in its {HISTORY}, got the file {folder}"
        )
    for path in (history, config):
        if not path.exists():
            raise FileNotFoundError(f"run: expected a run's folder, but there is no {path}")
    try:
        sets = tomllib.loads(text(config))["data"]
        train, test = (
            checks.integer(f"data.{name}.images", sets[name]["images"], 1)
            for name in ("train", "test")
        )
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(
            f"{config}: expected the numbers of images, as a run writes them "
            f"({type(error).__name__}: {error})"
        ) from error
    try:
        return History.from_csv(text(history), train, test)
    except FileFormatError:
        raise
    except ValueError as error:
        raise FileFormatError(f"{history}: {error}") from error


def text(path: Path) -> str:
    """Return the text of a run's file; an OSError or ValueError says what is wrong."""
    if path.is_file() and not os.stat(path).st_size:
        return ""
    return disk.read_bytes(path, _MAX_TEXT_BYTES).decode("utf-8")


def to_toml(table: Mapping[str, Any]) -> str:
    """Return a table as TOML.

    Entries that are None are left out, because TOML has no null.

    Examples
    --------
    >>> from lenet_fast.training.runs import to_toml
    >>> print(to_toml({"run": {"seed": 0, "rates": [0.1, 1e-05], "data": {"name": "a b"}}}))
    [run]
    seed = 0
    rates = [0.1, 1e-05]
    <BLANKLINE>
    [run.data]
    name = "a b"
    <BLANKLINE>
    """
    return "\n".join(_tables(table, "", "")).lstrip("\n") + "\n"


def _tables(table: Mapping[str, Any], path: str, header: str) -> list[str]:
    plain, below = [], []
    for key, value in table.items():
        name = _key(key)
        inner = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            below += _tables(value, inner, f"[{inner}]")
        elif isinstance(value, list | tuple) and value and _all_tables(value):
            for item in value:
                below += _tables(item, inner, f"[[{inner}]]")
        elif value is not None:
            plain.append(f"{name} = {_value(value)}")
    if header.startswith("[[") or (header and (plain or not below)):
        plain = ["", header, *plain]
    return plain + below


def _all_tables(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):  # TOML and Python write numbers, inf and nan the same way
        return repr(value)
    if isinstance(value, str | os.PathLike):
        return _string(os.fspath(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    raise TypeError(f"config: expected something that TOML can hold, got {type(value).__name__}")


def _string(text: str) -> str:
    # A JSON string is also a TOML string, except for DEL. Bytes that are not Unicode are replaced.
    text = text.encode(errors="replace").decode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
