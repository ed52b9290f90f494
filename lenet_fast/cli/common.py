"""Shared by several commands: options, printed lines, and the way from a file to an engine."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, get_args

import click
from click.core import ParameterSource

from lenet_fast import backends, choices
from lenet_fast.cli import types
from lenet_fast.cli.help import option, section

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from lenet_fast.checks import Array
    from lenet_fast.data import Dataset, Splits
    from lenet_fast.engines import Engine
    from lenet_fast.losses import Loss
    from lenet_fast.network import Network
    from lenet_fast.onnx import LoadedModel

Command = TypeVar("Command", bound=Callable[..., Any])

DATASETS = get_args(choices.Dataset)
"""Those of :data:`lenet_fast.data.DATASETS`, without its import, which takes time."""

LARGEST = 32
"""Rows and columns of the input of LeNet-5, and of LeNet-4."""

STOPPED = 130
"""Exit status after Ctrl-C, as in shells: 128 + SIGINT."""

_BATCH = 500
_READS = 0.5  # the smallest share of digits that a trained network reads correctly


def integer_option(
    name: str,
    text: str,
    default: int | None = None,
    *,
    least: int = 1,
    most: int | None = None,
    metavar: str = "N",
    also: tuple[str, ...] = (),
) -> Callable[[Command], Command]:
    """Return an option that takes an int from `least` to `most`; `text` is its help."""
    kind = types.Integer(least, most)
    return option(name, also=also, type=kind, metavar=metavar, default=default, help=text)


data_options = section(
    "Data",
    option(
        "--data",
        "folder",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Folder with the four IDX files, plain or .gz; for usps, with zip.train and "
        "zip.test. Or your own: an .npz, a .csv, a folder with a folder of pictures per class.  "
        "[default: LENET_FAST_DATA, else the cache, else a download]",
    ),
    option(
        "--dataset",
        type=click.Choice(DATASETS),
        default="auto",
        help="auto: MNIST if it can be had, else the bundled sample, with a notice.",
    ),
)
"""Add the options that select the data."""

engine_options = section(
    "Engine",
    option(
        "--backend",
        type=click.Choice(backends.NAMES),
        help="Implementation of the operations.  [default: the first of these that works here]",
    ),
    option(
        "--engine",
        type=click.Choice(get_args(choices.Engine)),
        default="auto",
        help="lanes: many images at a time, one per vector lane. online: one image at a time, for "
        "batches of one. layers: layer by layer.",
    ),
    integer_option(
        "--threads",
        "Number of threads; does not change results.  [default: one per physical core]",
        most=1024,
    ),
)
"""Add the options that select engine, backend and threads; they change results by rounding."""


_ONNX = "lenet_fast.onnx"  # key of the options below among what a command line was told


def _remember(context: click.Context, given: click.Parameter, value: Any) -> None:
    """Keep an option for ONNX files for :func:`read_model`, which the commands call."""
    low, high = value if given.name == "pixel_range" and value else (0.0, 1.0)
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        raise click.BadParameter(f"expected two different numbers, got {low:g} {high:g}")
    if context.get_parameter_source(given.name or "") is ParameterSource.COMMANDLINE:
        context.meta.setdefault(_ONNX, {})[given.name] = value


onnx_options = section(
    "ONNX files",
    option(
        "--pixel-range",
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        expose_value=False,
        callback=_remember,
        help="What the network was given for the bytes 0 and 255, such as 0 1.  [default: found by "
        "trying usual ones]",
    ),
    option(
        "--onnx-output",
        "output",
        metavar="NAME",
        expose_value=False,
        callback=_remember,
        help="Which of several outputs to read.",
    ),
    option(
        "--external-data",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Read weights that lie in other files of the same folder.",
    ),
)
"""Add the options for models that are ONNX files, which :func:`read_model` reads."""


def given(context: click.Context) -> set[str]:
    """Return the names of the options that are on the command line."""
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def say(text: str, style: str | None = None) -> None:
    """Print a line to standard error, in colour if it is a terminal."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(
        printable(text), style=style, markup=False, highlight=False
    )


def fail(message: str) -> None:
    """Print an error in one line; if even that fails, the exit status still stands."""
    with contextlib.suppress(OSError, SystemExit):  # rich raises SystemExit on a broken pipe
        say(f"lenet-fast: error: {message}", style="bold red")


def problem(error: OSError) -> str:
    """Return what the system refused, and for which file."""
    # Errors of files have their names; of those without, these are of the standard streams.
    if error.filename is None and error.errno == errno.EAGAIN:
        return f"no process or thread can be started: {error.strerror}"
    streams = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE)
    if error.filename is None and error.errno not in streams:
        return error.strerror or str(error)
    return f"{error.filename or 'standard output'}: {error.strerror}"


def flush(*streams: TextIO | None) -> None:
    """Drop output that cannot be written, so that Python does not try again and fail on exit."""
    for stream in streams:
        if stream is None:  # closed before Python began
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: object) -> str:
    """Return a text, such as a file name, without characters that would control a terminal."""
    shown = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate, as JSON may hold one
        shown = os.fsencode(shown).decode(errors="backslashreplace")
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in shown
    )


def line(label: str, *parts: object) -> None:
    """Print a line of a report: its label, and the parts, separated by commas."""
    click.echo(wrapped(f"{label:<9} {printable(', '.join(map(str, parts)))}", indent=10))


def print_json(value: Any) -> None:
    """Print what a command found as one line of JSON.

    JSON has no infinity and no NaN: they become texts, "inf" as ``--j inf`` takes it.
    """
    click.echo(json.dumps(_as_json(value), allow_nan=False))


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def command(label: str, text: str) -> None:
    """Print a command line to copy; the terminal wraps it, because a line break would end it."""
    click.echo(f"{label:<9} {printable(text)}")


def wrapped(text: str, indent: int = 0) -> str:
    """Return text that breaks between words, if a terminal is too narrow for it."""
    columns = columns_of_terminal()
    if len(text) <= columns:
        return text
    lines = textwrap.wrap(
        text,
        int(columns),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows, each with a text per column; columns of numbers are flush right.

    On a terminal that is too narrow for the lines, each row fills several lines.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[printable(row.get(name, "")) for name in names] for row in rows]
    columns = list(zip(names, *cells, strict=True))
    numbers = [all(re.match(r"-?(\d|$)", cell) for cell in column[1:]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in zip(*columns, strict=True)
    ]
    if max(map(len, lines)) <= columns_of_terminal():
        click.echo("\n".join(lines))
        return
    label = max(map(len, names[1:])) + 4
    for line in cells:
        click.echo(wrapped(line[0]))
        for name, cell in zip(names[1:], line[1:], strict=True):
            if cell:
                click.echo(wrapped(f"  {name:<{label - 2}}{cell}", indent=label))


def columns_of_terminal() -> float:
    """Return how wide lines may be: anything goes into a file or a pipe."""
    if "COLUMNS" not in os.environ and (sys.stdout is None or not sys.stdout.isatty()):
        return math.inf
    return shutil.get_terminal_size().columns


def full_path(option: str, path: Path) -> Path:
    """Return an option's path as an absolute path, with ``~`` expanded."""
    from lenet_fast import checks

    return checks.path(option, path).absolute()


def make_folder(option: str, folder: Path) -> None:
    """Create the folder that an option names, and its parents."""
    from lenet_fast import locks

    if (obstacle := locks.in_the_way(folder)) is not None:
        raise click.UsageError(f"{option}: expected a folder, got {obstacle}")
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def writing_out() -> Iterator[None]:
    """Within the block, say that --out names another place if one cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise click.ClickException(f"{problem(error)}; --out names another place") from error


def load_data(dataset: Any, folder: Path | None) -> Splits:
    """Load data; report slow steps, and data other than those that one would expect."""
    from lenet_fast import data

    if folder is not None and dataset in ("sample", "digits"):
        raise click.UsageError(f"--data: expected none with --dataset {dataset}, got {folder}")
    with _downloading() as (report, progress):
        splits = data.load(dataset, folder, report=report, progress=progress)
    if splits.notice:
        notice(splits.notice)
    return splits


@contextlib.contextmanager
def _downloading() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Print lines, and show a bar for each download if standard error is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    bars: list[Progress] = []
    with contextlib.ExitStack() as stack:

        def progress(done: int, size: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(*columns)))
                bars[0].add_task("", total=size)
            bars[0].update(bars[0].task_ids[0], completed=done)

        def report(step: str) -> None:
            stack.close()
            bars.clear()
            say(step, style="dim")

        yield report, progress


def prepare_plots() -> None:
    """Let matplotlib keep its cache where it can: it complains about a home that is missing or
    read-only. In LENET_FAST_CACHE, if that is set, else in a folder that is removed at the end."""
    import atexit
    import tempfile

    from lenet_fast.data import fetch

    home = os.path.expanduser("~")
    named = any(os.environ.get(name) for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME"))
    if named or (os.path.isabs(home) and os.access(home, os.W_OK)):
        return
    if os.environ.get(fetch.CACHE_VARIABLE):
        folder = os.path.abspath(fetch.cache_folder() / "matplotlib")
    else:
        folder = tempfile.mkdtemp(prefix="lenet-fast-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["MPLCONFIGDIR"] = folder


def notice(text: str) -> None:
    """Print a prominent line."""
    say(f"\n*** {text} ***\n", style="bold yellow")


def read_model(path: Path) -> tuple[Path, Network, Loss]:
    """Return path, network and loss of the model at `path`: a file, or a run's folder."""
    from lenet_fast import checks, files, losses
    from lenet_fast.training import runs

    file = path / runs.MODEL if path.is_dir() else path
    if not file.exists():
        what = "a model file or a run's folder"
        where = f"no {runs.MODEL} in {path}" if path.is_dir() else f"there is no {path}"
        raise FileNotFoundError(f"model: expected {what}, but {where}")
    if (model := read_onnx(file)) is not None:
        network, loss = model.network, None
    else:
        saved = files.read_model(file)
        network, loss = saved.network, saved.loss
    maps, rows, columns = network.input_shape
    if rows != columns:
        raise ValueError(
            f"{file}: expected a network for square images, got one for images of {maps} x {rows} "
            f"x {columns}"
        )
    if model is not None and not network.pixel_range_known:
        _find_pixel_range(file, network)
    if not network.pixel_range_known:
        raise ValueError(
            f"{file}: expected a network that records the values of the bytes 0 and 255, got one "
            "that does not; in Python, set its pixel_range and save it again"
        )
    if network.inverted is None and maps == 1 and network.classes == checks.DIGITS:
        network.inverted = _inverted(network)
    return file, network, loss or losses.default_for(network)


def check_size(splits: Splits, size: int, reader: object) -> None:
    """Refuse data whose images are larger than the input, `size` by `size`, of what reads them."""
    rows, columns = splits.test.images.shape[-2:]
    if max(rows, columns) > size:
        raise click.UsageError(
            f"--data: expected images of at most {size}x{size} for {reader}, got {rows}x{columns}"
        )


def check_images(file: Path, network: Network, splits: Splits) -> None:
    """Refuse data whose images the network cannot read."""
    channels = splits.test.channels
    if network.input_shape[0] != channels:
        maps = "one map" if channels == 1 else f"{channels} maps"
        size = " x ".join(map(str, network.input_shape))
        raise ValueError(
            f"{file}: expected a network for square images of {maps}, as {splits.title} has, got "
            f"one for images of {size}"
        )
    if splits.test.images.shape[-2:] != (28, 28):  # these are made smaller
        check_size(splits, network.input_shape[-1], file)


def class_names(file: Path, network: Network, splits: Splits) -> tuple[str, ...]:
    """Return the names of the classes of the data; raise if a network has other numbers of classes
    or channels, or a smaller input."""
    check_images(file, network, splits)
    names = splits.test.classes
    numbers = tuple(map(str, range(len(network.classes))))
    if len(names) != len(network.classes):
        raise ValueError(
            f"{file}: expected a network with {len(names)} outputs, one per class of "
            f"{splits.title}, got {len(numbers)}; --dataset and --data choose other data"
        )
    if network.classes not in (names, numbers):
        notice(
            f"The model was trained on other classes, {', '.join(network.classes)}; those of the "
            f"data are {', '.join(names)}."
        )
    return names


def read_onnx(file: Path) -> LoadedModel | None:
    """Return what an ONNX file holds, read as the command line says; None for other files."""
    options = click.get_current_context().meta.get(_ONNX, {})
    if file.suffix.lower() != ".onnx":
        for name in options:
            raise click.UsageError(f"{_SPELLED[name]}: expected with a model in .onnx, got {file}")
        return None
    from lenet_fast import onnx

    return onnx.read_model(file, **options)


_SPELLED = {
    "pixel_range": "--pixel-range",
    "output": "--onnx-output",
    "external_data": "--external-data",
}

_MEAN, _DEVIATION = 0.1307, 0.3081  # of MNIST, in countless PyTorch programs
PIXEL_RANGES = (
    (0.0, 1.0),
    (-_MEAN / _DEVIATION, (1 - _MEAN) / _DEVIATION),
    (-1.0, 1.0),
    (0.0, 255.0),
    (-0.1, 1.175),
)
"""Usual values of the bytes 0 and 255, which other programs' ONNX files do not contain."""


def _find_pixel_range(file: Path, network: Network) -> None:
    """Set the usual pixel range with which a network reads most digits of the bundled sample."""
    from lenet_fast import checks, data

    if network.classes != checks.DIGITS or network.input_shape[0] > 1:
        raise ValueError(
            f"{file}: expected a network that records the values of the bytes 0 and 255, or one of "
            "digits, with which they can be tried out; --pixel-range names them"
        )
    known = data.load("sample").train.subset(500)
    found = []
    for pixel_range in PIXEL_RANGES:
        network.pixel_range = pixel_range
        found.append(max(_accuracies(network, known)))
    best = max(found)
    if best < _READS:
        raise ValueError(
            f"{file}: expected a network that reads digits with one of the usual pixel ranges, got "
            f"{100 * best:.0f} % at most; --pixel-range names another"
        )
    network.pixel_range = low, high = PIXEL_RANGES[found.index(best)]
    say(
        f"{file} does not say what pixels it reads: taken as {low:.4g} (background) to {high:.4g}, "
        f"with which it reads {100 * best:.1f} % of the sample's first {len(known)} training "
        "images; --pixel-range LOW HIGH says otherwise",
        style="yellow",
    )


def _inverted(network: Network) -> bool | None:
    """Return whether a network reads dark digits on light; None if it reads neither kind.

    For files from before networks recorded this: it is tried out on the bundled sample.
    """
    from lenet_fast import data

    bright, dark = _accuracies(network, data.load("sample").test.subset(200))
    if max(bright, dark) < _READS or min(bright, dark) > max(bright, dark) / 2:
        return None
    return dark > bright


def _accuracies(network: Network, digits: Dataset) -> tuple[float, float]:
    """Return which shares of bright digits, and of the same inverted, a network reads."""
    import numpy as np

    from lenet_fast import engines, losses

    engine = engines.create(network, losses.default_for(network), threads=1)
    with np.errstate(over="ignore", invalid="ignore"), contextlib.closing(engine):
        bright, dark = (
            float(np.mean(network.winners(engine.predict(seen)) == digits.labels))
            for seen in (fitted(network, digits.images, turned=turned) for turned in (False, True))
        )
    return bright, dark


def engine_lines(engine: Engine) -> None:
    """Print what an engine runs on: backend, instruction set, engine, threads."""
    module = backends.get(engine.backend)
    with_what = f"{module.isa()} kernels" if hasattr(module, "isa") else module.describe()
    threads = "1 thread" if engine.threads == 1 else f"{engine.threads} threads"
    line("backend", engine.backend, with_what, f"engine {engine.name}", threads)
    if engine.note:
        line("", f"no faster engine: {engine.note}")


def outputs(
    engine: Engine, network: Network, images: Array, *, turned: bool = False
) -> Iterator[tuple[slice, Array]]:
    """Yield a network's outputs for images (n, rows, columns), part by part, with a progress bar.

    `engine` is an engine of `network`. `turned`: whether to invert the images' grey values.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with progress_bar(*columns, hidden=len(images) <= _BATCH) as bar:  # little to wait for
        task = bar.add_task("images", total=len(images))
        for first in range(0, len(images), _BATCH):
            part = slice(first, min(first + _BATCH, len(images)))
            yield part, engine.predict(fitted(network, images[part], turned=turned))
            bar.advance(task, part.stop - part.start)


def fitted(network: Network, images: Array, *, turned: bool = False) -> Array:
    """Return images like those of a data set in the form in which a network saw them."""
    from lenet_fast import data

    size = network.input_shape[-1]
    return data.fitted(images, size, turned=turned, reduced=network.reduced)


def turned(network: Network, images: Array) -> bool:
    """Return whether a network was trained on inverted images of this kind; if so, say it."""
    from lenet_fast.data import arrays

    if network.inverted is None or images.ndim == 4 or not arrays.differ(network.inverted, images):
        return False
    kind = "dark digits on light" if network.inverted else "bright digits on dark"
    notice(f"The model was trained on {kind}; these images are the reverse and get inverted.")
    return True


@contextlib.contextmanager
def progress_bar(*columns: ProgressColumn, hidden: bool = False) -> Iterator[Progress]:
    """Show one of rich's progress bars within the block, if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from lenet_fast import threads

    console = Console(stderr=True)
    hidden = hidden or not console.is_terminal
    bar = Progress(*columns, console=console, transient=True, disable=hidden)
    threads.start_bar(bar)
    with bar:
        yield bar
