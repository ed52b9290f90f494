"""Shared by all figures: size, colours, grids of small images, and saving."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from lenet_fast import checks, cures, disk, docstrings
from lenet_fast.checks import Array
from lenet_fast.network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""Formats that :func:`save` writes, by file name extension."""

_FITTING = 6  # characters below an image, with 14 in a row

WIDTH, DPI = 8.0, 150
"""Inches, and pixels per inch: text of 10 points is readable on a slide 1,200 pixels wide."""

BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
GREY = "#777777"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, "black")
"""From M. Okabe and K. Ito; also distinguishable with red-green colour blindness."""


drawing = docstrings.completed(
    Returns="matplotlib.figure.Figure", Raises="ImportError\n    If matplotlib is missing."
)
"""Complete the docstring of a function that draws a figure."""


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, size in inches; ImportError if matplotlib is missing."""
    try:
        from lenet_fast.plots.figures import Figure
    except ImportError as error:
        raise ImportError(f"plots need matplotlib: {cures.install('lenet_fast[plot]')}") from error
    return Figure((width, height), dpi=DPI, layout="constrained")


def check_out(path: str | os.PathLike[str]) -> str:
    """Return the format for a file name; raise if a figure could not be written there.

    Parameters
    ----------
    path : path
        The file that :func:`save` will write.

    Raises
    ------
    TypeError
        If it is no path.
    ValueError
        If its extension is not one of :data:`FORMATS`.
    FileNotFoundError, PermissionError
        If its folder is missing, or cannot be written.
    IsADirectoryError
        If it is a folder.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from lenet_fast import plots
    >>> plots.check_out("errors.svg")
    'svg'
    >>> plots.check_out("errors.xls")
    Traceback (most recent call last):
    ValueError: out: expected a name that ends in one of .png, .svg, .pdf, got errors.xls
    """
    path = checks.pathlike("path", path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise ValueError(f"out: expected a name that ends in one of {allowed}, got {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"out: expected an existing folder, but there is no {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"out: expected a file, got the folder {path}")
    if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    figure(1)
    return suffix


_TEXT: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none"}
"""TrueType fonts in PDF, because conferences refuse matplotlib's Type 3; text as text in SVG."""


def save(picture: Figure, path: str | os.PathLike[str], *, dpi: int | None = None) -> None:
    """Write a figure to a file, atomically; an existing file is replaced.

    Parameters
    ----------
    picture : matplotlib.figure.Figure
    path : path
        Its extension, .png, .svg or .pdf, determines the format. Its folder must exist. PDF files
        contain their fonts (Type 42), and text in SVG files is text.
    dpi : int, optional
        Pixels per inch of a .png, 10 to 2,400; by default the figure's, 150.

    Raises
    ------
    TypeError, ValueError
        If `picture` is no figure, the name has another extension, or `dpi` is not such a number.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet_fast import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.save(plots.bitmaps(), os.path.join(folder, "bitmaps.svg"))
    ...     os.listdir(folder)
    ['bitmaps.svg']
    """
    suffix = check_out(path)
    resolution = "figure" if dpi is None else checks.integer("dpi", dpi, 10, 2400)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not isinstance(picture, Figure):
        raise TypeError(f"picture: expected a matplotlib Figure, got {checks.kind(picture)}")

    def write(file: BinaryIO) -> None:
        with rc_context(_TEXT):
            picture.savefig(file, format=suffix, dpi=resolution)

    disk.write_atomic(path, write)


def article(name: str) -> str:
    """Return a digit or letter with its article, "a 7", "an 8"; other names as they are."""
    if len(name) > 1:
        return name
    return f"an {name}" if name in "8AEFHILMNORSXaefhilmnorsx" else f"a {name}"


def noun(classes: Sequence[str]) -> str:
    """Return what to call a class: a digit or a class."""
    return "digit" if tuple(classes) == checks.DIGITS else "class"


def things(classes: Sequence[str]) -> str:
    """Return what to call images of these classes."""
    return "digits" if tuple(classes) == checks.DIGITS else "images"


def name_ticks(axes: Axes, axis: Literal["x", "y"], classes: Sequence[str]) -> None:
    """Label an axis with names of classes, along it or, if they are long, across."""
    turn = 90 if axis == "x" and max(map(len, classes)) > 3 else 0
    words: dict[str, Any] = {"labels": list(classes), "rotation": turn}
    words["fontsize"] = 10 if len(classes) <= 40 else 7
    (axes.set_xticks if axis == "x" else axes.set_yticks)(range(len(classes)), **words)


def plain(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Keep only the parts of the frame with a scale, and draw a light grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis=grid, which="major", color="#dddddd")
    axes.set_axisbelow(True)


def legend_above(picture: Figure, names: Iterable[str] = ()) -> None:
    """Put a legend above the axes, in as many columns as names of that length leave room for."""
    longest = max(map(len, names), default=0)
    columns = 3 if longest <= 24 else 2 if longest <= 44 else 1
    picture.legend(loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: 1 and, if there is room, 2 and 5 per decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def bare(axes: Axes) -> None:
    """Remove frame and scales, which are meaningless around an image."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def mosaic(tiles: Array, columns: int, gap: int = 1, below: int = 0) -> Array:
    """Return images (n, h, w) in a grid, row by row, as one image, with NaN between them.

    There are `gap` pixels between rows and columns, and `below` more under each, for a label.
    """
    n, h, w = tiles.shape
    down, across = h + below + gap, w + gap
    rows = -(-n // columns)
    whole = np.full((rows * down - gap, columns * across - gap), np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * down, i % columns * across
        whole[top : top + h, left : left + w] = tile
    return whole


def digits_with_words(images: Array, words: Sequence[str], columns: int, title: str) -> Figure:
    """Return a figure of images (n, h, w), dark on white, with a label below each."""
    n, h, w = images.shape
    gap, below, points = 1, max(round(0.4 * h), 10), 10 if columns <= 14 else 8
    longest = max((len(line) for word in words for line in word.splitlines()), default=0)
    if longest > _FITTING:  # else names would run into each other
        columns = min(columns, max(14 * _FITTING // longest, 1))
    columns = min(columns, max(n, 1))
    whole = mosaic(images, columns, gap, below) if n else np.full((h, w), np.nan)
    # A few images are not enlarged to the whole width.
    width = min(WIDTH, max(0.6 * columns, 4.0))
    # The title and the margins take 0.45 inches of the height, the margins 0.1 of the width.
    picture = figure(0.45 + (width - 0.1) * whole.shape[0] / whole.shape[1], width)
    picture.set_layout_engine("constrained", h_pad=0.08)
    axes = picture.subplots()
    show(axes, whole, "gray_r", 0, 255 if images.dtype == np.uint8 else None)
    for i, word in enumerate(words):
        x = i % columns * (w + gap) + (w - 1) / 2
        y = i // columns * (h + below + gap) + h + below / 2
        axes.text(x, y, word, ha="center", va="center", fontsize=points)
    axes.set_title(title)
    return picture


def show(axes: Axes, image: Array, colours: str, low: Any = None, high: Any = None) -> Any:
    """Draw an image of square pixels, without scales; NaN stays white."""
    bare(axes)
    return axes.imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def show_signed(axes: Axes, image: Array) -> Any:
    """Draw values of both signs, blue below zero, white at zero, red above it."""
    known = np.abs(image[np.isfinite(image)])
    largest = float(known.max()) if known.size and known.max() else 1.0
    return show(axes, image, "RdBu_r", -largest, largest)


def check_network(value: object) -> None:
    """Raise TypeError if the argument `network` is none."""
    if not isinstance(value, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(value)}")


def grey_images(name: str, value: object, axes: str) -> Array:
    """Return real numbers with these axes, such as "n, rows, columns"; raise for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got {checks.kind(array)}")
    if array.ndim != len(axes.split(", ")):
        raise ValueError(f"{name}: expected ({axes}), got shape {array.shape}")
    return array


def as_grey(images: object) -> Array:
    """Return images (n, rows, columns), or (n, channels, rows, columns), for dark on white."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        mean = images.mean(axis=1)  # of colours, which have no background: bright stays bright
        return np.rint(255 - mean).astype(np.uint8)
    return grey_images("images", images, "n, rows, columns")
