"""What several commands share: options, lines for people, and the way from a file to an engine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lenet_fast import backends

if TYPE_CHECKING:
    from lenet_fast.checks import Array
    from lenet_fast.data import Splits
    from lenet_fast.engines import Engine
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network

Command = TypeVar("Command", bound=Callable[..., Any])

DATASETS = ("auto", "mnist", "sample", "fashion-mnist", "emnist-digits", "digits")
"""Those of :data:`lenet_fast.data.DATASETS`, without the time that its import takes."""

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

_BATCH = 500
_READS = 0.5  # the share of digits that a network reads at least, for which it was trained


def example(*lines: str) -> str:
    """Return the end of a help text: command lines to copy."""
    word = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(["\b", f"{word}:", *(f"  {line}" for line in lines)])


def data_options(command: Command) -> Command:
    """Add the options that say which data to take."""
    options = (
        click.option(
            "--data",
            "folder",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Folder of the four IDX files, plain or .gz.  [default: LENET_FAST_DATA, or else "
            "the cache, and a download]",
        ),
        click.option(
            "--dataset",
            type=click.Choice(DATASETS),
            default="auto",
            show_default=True,
            help="auto: MNIST, or else the bundled sample, and says so.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def engine_options(command: Command) -> Command:
    """Add the options that say what to compute with; they change results by rounding at most."""
    options = (
        click.option(
            "--backend",
            type=click.Choice(backends.NAMES),
            help="[default: the first of these that works here]",
        ),
        click.option(
            "--engine",
            type=click.Choice(("auto", "lanes", "online", "layers")),
            default="auto",
            show_default=True,
            help="lanes: a tile of images through the whole network at a time. online: one image, "
            "for batches of one. layers: layer by layer.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            metavar="N",
            help="Changes no result.  [default: one a physical core]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def say(text: str, style: str | None = None) -> None:
    """Print a line to the standard error output; in colour where it is a terminal."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(
        printable(text), style=style, markup=False, highlight=False
    )


def fail(message: str) -> None:
    """Say in a line what could not be done; the exit status stands, even if nobody can be told."""
    with contextlib.suppress(OSError, SystemExit):  # the latter is rich's, of a broken pipe
        say(f"lenet-fast: error: {message}", style="bold red")


def printable(text: object) -> str:
    """Return a text, such as a file's name, that does nothing to a terminal but appear on it."""
    shown = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    with contextlib.suppress(UnicodeEncodeError):  # of half a character, as JSON may hold one
        shown = os.fsencode(shown).decode(errors="backslashreplace")
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in shown
    )


def line(label: str, *parts: object) -> None:
    """Print a line of a report: what it is about, and the parts, with commas between them."""
    click.echo(f"{label:<9} {printable(', '.join(map(str, parts)))}")


def command_line(*arguments: object) -> str:
    """Return what to type to run this program again, as it was run now."""
    program = sys.argv[0]
    words = ["python", "-m", "lenet_fast"]
    if os.path.basename(program) == "lenet-fast":
        found = shutil.which("lenet-fast")
        on_path = found and os.path.exists(program) and os.path.samefile(found, program)
        words = ["lenet-fast" if on_path else program]
    return shlex.join([*words, *map(str, arguments)])


def full_path(option: str, path: Path) -> Path:
    """Return an option's path from the root, with the home folder for a ``~``."""
    from lenet_fast import checks

    return checks.path(option, path).absolute()


def load_data(dataset: str, folder: Path | None) -> Splits:
    """Load data; say what takes time, and if they are not the ones that one would expect."""
    from lenet_fast import data

    if folder is not None and dataset in ("sample", "digits"):
        raise click.UsageError(f"--data: expected none with --dataset {dataset}, got {folder}")
    splits = data.load(dataset, folder, report=lambda step: say(step, style="dim"))
    if splits.notice:
        notice(splits.notice)
    return splits


def notice(text: str) -> None:
    """Print a line that cannot be missed."""
    say(f"\n*** {text} ***\n", style="bold yellow")


def read_model(path: Path) -> tuple[Path, Network, Loss]:
    """Return the model file at `path`, or in the run's folder there, its network and its loss."""
    from lenet_fast import files, losses
    from lenet_fast.training import runs

    file = path / runs.MODEL if path.is_dir() else path
    if not file.exists():
        what = "a model file or a run's folder"
        where = f"no {runs.MODEL} in {path}" if path.is_dir() else f"there is no {path}"
        raise FileNotFoundError(f"model: expected {what}, but {where}")
    saved = files.read_model(file)
    if not saved.network.pixel_range_known:
        raise ValueError(
            f"{file}: expected a network that knows what the bytes 0 and 255 become, got one "
            "without; in Python, set its pixel_range and save it again"
        )
    maps, rows, columns = saved.network.input_shape
    if maps != 1 or rows != columns or saved.network.output_shape != (10,):
        raise ValueError(
            f"{file}: expected a network for square images of one map and ten digits, got one for "
            f"images of {maps} x {rows} x {columns} with {saved.network.output_shape[0]} outputs"
        )
    if saved.network.inverted is None:
        saved.network.inverted = _inverted(saved.network)
    return file, saved.network, saved.loss or losses.default_for(saved.network)


def _inverted(network: Network) -> bool | None:
    """Return whether a network reads dark digits on light paper; None if it reads neither kind.

    For files from before networks remembered it: they are asked.
    """
    import numpy as np

    from lenet_fast import data, engines, losses

    test = data.load("sample").test.subset(200)
    engine = engines.create(network, losses.default_for(network), threads=1)
    with np.errstate(over="ignore", invalid="ignore"), contextlib.closing(engine):
        bright, dark = (
            float(np.mean(network.winners(engine.predict(seen)) == test.labels))
            for seen in (
                data.fitted(test.images, network.input_shape[-1], turned=turned)
                for turned in (False, True)
            )
        )
    if max(bright, dark) < _READS or min(bright, dark) > max(bright, dark) / 2:
        return None
    return dark > bright


def engine_lines(engine: Engine) -> None:
    """Print what an engine computes with: backend, instruction set, engine, threads."""
    module = backends.get(engine.backend)
    with_what = f"{module.isa()} kernels" if hasattr(module, "isa") else module.describe()
    threads = "1 thread" if engine.threads == 1 else f"{engine.threads} threads"
    line("backend", engine.backend, with_what, f"engine {engine.name}", threads)
    if engine.note:
        line("", f"not a faster engine: {engine.note}")


def outputs(
    engine: Engine, network: Network, images: Array, *, turned: bool = False
) -> Iterator[tuple[slice, Array]]:
    """Yield a network's outputs for images (n, rows, columns), a part at a time, with a bar.

    `engine` is one of `network`. `turned`: whether paper and ink are to be exchanged.
    """
    from lenet_fast import data

    with _progress(len(images)) as advance:
        for first in range(0, len(images), _BATCH):
            part = slice(first, min(first + _BATCH, len(images)))
            seen = data.fitted(images[part], network.input_shape[-1], turned=turned)
            yield part, engine.predict(seen)
            advance(part.stop - part.start)


def turned(network: Network, images: Array) -> bool:
    """Return whether a network was trained on the reverse of these images; say so if it was."""
    from lenet_fast.data import arrays

    if network.inverted is None or not arrays.differ(network.inverted, images):
        return False
    kind = "dark ink on light paper" if network.inverted else "bright ink on dark paper"
    notice(f"The model was trained on {kind}, and these images are the reverse: turned round.")
    return True


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar while there is something to wait for and someone at a terminal to do so."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from lenet_fast import threads

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not console.is_terminal or total <= _BATCH
    bar = Progress(*columns, console=console, transient=True, disable=hidden)
    threads.start_bar(bar)
    with bar:
        task = bar.add_task("images", total=total)
        yield lambda images: bar.advance(task, images)
