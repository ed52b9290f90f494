"""Digits in arrays, in .npy and IDX files: in which shape and on which scale they are.

Nothing about an array says which axis is which and what is paper. What can be told is brought into
the form of MNIST's images, with a note of what was taken for what; the rest is refused.
"""

from __future__ import annotations

import math
import os
import tokenize
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data import idx
from lenet_fast.data.images import centre
from lenet_fast.errors import FileFormatError
from lenet_fast.pixels import BACKGROUND, FAINT, INK

__all__ = [
    "AS_THEY_ARE",
    "MAX_BYTES",
    "MAX_IMAGES",
    "Digits",
    "as_bytes",
    "as_images",
    "blank",
    "differ",
    "digits",
    "is_array",
    "look_inverted",
    "look_transposed",
    "read_array",
    "turned_round",
]

AS_THEY_ARE = ((28, 28), (32, 32))
"""Sizes of images that are taken as they are, unless told otherwise; others are centred."""

MAX_BYTES = 2**29
"""Files that hold more numbers are not read: MNIST's training set takes 376 million bytes as
float64. A packed file of half a million bytes may hold so many."""

MAX_IMAGES = 2**18
"""More are not read at a time; EMNIST's training set has 240,000 digits."""

_FEWEST_LINES = 8  # of a picture of a digit that may be a table
_FEWEST = 5  # pixels of a digit; in MNIST's 70,000 images it is 34
_CONTRAST = 2 / 3  # of ink to paper: with less, an image or set of images is on another scale
_PIECE = 4096  # images at a time, since floats take several times the memory of bytes
_NPY_MAGIC = b"\x93NUMPY"

# What NumPy is known to raise on damaged headers, which it hands to Python's own parser.
_DAMAGED = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    AttributeError,
    EOFError,
)


class Digits(NamedTuple):
    """Images of digits that came in an array.

    Attributes
    ----------
    images : ndarray, (n, rows, columns), uint8
        Those that can be read, 0 paper to 255 ink.
    numbers : list of int
        Which of the array's images they are.
    faults : dict of int to str
        By their numbers, why the others cannot be read.
    several : bool
        Whether the array may hold several images.
    notes : list of str
        What the array was taken for, where it is not what is usual.
    """

    images: npt.NDArray[np.uint8]
    numbers: list[int]
    faults: dict[int, str]
    several: bool
    notes: list[str]


# --- files -------------------------------------------------------------------------------------


def is_array(head: bytes) -> bool:
    """Tell by its first four bytes or more whether a file is .npy, IDX, or packed with gzip.

    Pictures may begin with two zero bytes too: HEIC, AVIF, ICO and TGA do.
    """
    is_idx = head[:2] == b"\0\0" and len(head) > 3 and head[2] in idx.TYPES
    is_idx = is_idx and 1 <= head[3] <= idx.MAX_DIMENSIONS
    return is_idx or head.startswith((_NPY_MAGIC, b"\x1f\x8b"))


def read_array(path: str | os.PathLike[str]) -> Array:
    """Read a .npy file, or an IDX file, plain or packed with gzip.

    Parameters
    ----------
    path : path
        The file. What it is is told from its content, not from its name.

    Returns
    -------
    ndarray
        Of real numbers. That of a .npy file is mapped: a false header takes no memory.

    Raises
    ------
    FileFormatError
        If the file is neither, damaged, longer than its header says, holds anything but real
        numbers, or more than :data:`MAX_BYTES` of them. Nothing in it is ever executed.
    OSError
        If it cannot be opened.
    """
    with idx.open_regular(path) as file:
        head = file.read(len(_NPY_MAGIC))
    if head == _NPY_MAGIC:
        return _read_npy(os.fspath(path))
    return idx.read(path, max_bytes=MAX_BYTES)


def _read_npy(name: str) -> Array:
    size = os.stat(name).st_size
    try:
        with warnings.catch_warnings():
            # Python's parser warns of numbers such as 1if; the header is refused all the same.
            warnings.simplefilter("ignore")
            array = np.load(name, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        # The first argument of a SyntaxError is its text, without where that was; what follows a
        # colon may be the whole header.
        text = error.args[0] if error.args else ""
        if "Python objects" in str(text):
            raise FileFormatError(
                f"{name}: expected grey images of real numbers, got Python objects"
            ) from None
        reason = str(text).partition(": ")[0].partition("\n")[0][:90] or type(error).__name__
        raise FileFormatError(
            f"{name}: expected a sound .npy file, got a damaged one ({reason})"
        ) from None
    if array.dtype.kind not in "biuf":
        raise FileFormatError(f"{name}: expected grey images of real numbers, got {array.dtype}")
    if array.nbytes > MAX_BYTES:
        raise FileFormatError(
            f"{name}: expected at most {MAX_BYTES:,} bytes, got {array.nbytes:,}; split it"
        )
    end = array.offset + array.nbytes
    if array.size and end != size:
        raise FileFormatError(
            f"{name}: expected one array, {end:,} bytes with its header, got {size:,} bytes"
        )
    return array


# --- shapes ------------------------------------------------------------------------------------


def as_images(array: Array) -> tuple[Array, bool, list[str]]:
    """Return an array as grey images, as far as its shape and values tell what is what.

    Parameters
    ----------
    array : ndarray
        One image (rows, columns); several (n, rows, columns); either with an axis of channels,
        grey or red, green and blue; or a table with an image in each row, (n, 784) for 28x28.

    Returns
    -------
    images : ndarray, (n, rows, columns)
        In the dtype of the array.
    several : bool
        Whether the array may hold several.
    notes : list of str
        What it was taken for, where that is not what is usual.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If it is not clear what is an image. The message has the shape, and says what to save.

    Notes
    -----
    A table of 1,024 columns and a photograph of 1,024 columns have the same shape. They are told
    apart by their neighbours. In a table of images of 32x32, what lies 32 numbers further on is the
    pixel below: more alike than what lies 16 or 48 further on, and than the same pixel of the next
    image.

    Examples
    --------
    >>> import numpy as np
    >>> images, several, notes = as_images(np.eye(784, dtype=np.uint8)[:3])
    >>> images.shape, several, notes
    ((3, 28, 28), True, ['3 rows of 784 numbers taken as 28x28 pixels'])
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected grey images of real numbers, got {array.dtype}")
    whole = array.shape
    notes: list[str] = []
    if array.ndim == 4:
        array, note = _without_channels(array, whole)
        notes += note
    elif array.ndim == 3 and array.shape[2] <= 4 and min(array.shape[:2]) > 4:
        if array.shape[2] == 1 and _side(array.shape[1]):  # a table with an axis of channels
            array = array[:, :, 0]
        else:
            array, note = _without_channels(array[np.newaxis], whole)
            return array, False, note
    elif array.ndim == 3 and array.shape[1] == 1 and _side(array.shape[2]):
        array = array[:, 0]
    elif array.ndim == 3 and array.shape[2] == 1 and _side(array.shape[1]):
        array = array[:, :, 0]
    if array.ndim == 3:
        if array.size:
            _check_sides(array.shape[1:], whole)
            _check_first_axis(array)
        return array, True, notes
    if array.ndim != 2:
        side = _side(array.size) if array.ndim == 1 else 0
        hint = f"; reshape it to ({side}, {side}) if it is one image" if side else ""
        raise ValueError(
            "expected grey images, (rows, columns) or (n, rows, columns), or rows of a table, got "
            f"{array.dtype} of shape {whole}{hint}"
        )
    return _of_two_axes(array)


def _of_two_axes(array: Array) -> tuple[Array, bool, list[str]]:
    """Return one image, or the rows of a table."""
    rows, columns = array.shape
    side = _side(columns)
    if side and _is_table(array, side):
        counted = "1 row" if rows == 1 else f"{rows} rows"
        note = f"{counted} of {columns} numbers taken as {side}x{side} pixels"
        return array.reshape(rows, side, side), True, [note]
    if columns % 3 == 0:
        side = _side(columns // 3)
        if side and (_is_table(array, side) or _is_table(array, 3 * side)):
            raise ValueError(
                f"expected rows of {side * side} pixels, got {columns} numbers a row, shape "
                f"{array.shape}, as if each had three colours; save grey images"
            )
    extra = next((n for n in (1, 2, 3) if _side(columns - n)), 0)
    if extra and _is_table(array[:, extra:], _side(columns - extra)):
        raise ValueError(
            f"expected rows of {columns - extra} pixels, got {columns} numbers a row, shape "
            f"{array.shape}; save it without the {'column' if extra == 1 else 'columns'} of "
            "labels or of an index"
        )
    side = _side(rows)
    if side and (side >= 16 or columns >= _FEWEST_LINES) and _is_table(array.T, side):
        raise ValueError(
            f"expected an image in each row, got one in each column, shape {array.shape}; save "
            "the transpose"
        )
    for side, _ in AS_THEY_ARE:
        short, long = sorted(array.shape)
        if short == side and long > side and long % side == 0:
            raise ValueError(
                f"expected grey images, (rows, columns) or (n, rows, columns), got shape "
                f"{array.shape}, as if {long // side} images of {side}x{side} were side by side; "
                f"save ({long // side}, {side}, {side}), or (1, {rows}, {columns}) if it is one"
            )
    if array.size:
        _check_sides(array.shape, array.shape)
    return array[np.newaxis], False, []


def _check_sides(sides: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise ValueError if images have far more rows than columns, or the reverse."""
    if max(sides) > 16 * min(sides):
        raise ValueError(
            f"expected grey images, (rows, columns) or (n, rows, columns), got shape {shape}, too "
            "narrow for a digit"
        )


def _side(pixels: int) -> int:
    """Return the side of a square image with so many pixels; 0 if there is none, or it is small."""
    side = math.isqrt(max(pixels, 0))
    return side if side >= 8 and side * side == pixels else 0


def _is_table(array: Array, side: int) -> bool:
    """Tell whether rows are images of `side` columns, and not lines of one picture."""
    if len(array) < _FEWEST_LINES:
        return True
    sample = _finite(array[: 64 * 64])
    lines = np.abs(np.diff(sample, axis=0)).mean()
    below, beside, beyond = (
        np.abs(sample[:, n:] - sample[:, :-n]).mean() for n in (side, side // 2, side * 3 // 2)
    )
    if below == lines == 0:  # a blank picture, as it has so many lines
        return False
    # Lines that are all alike make no picture: they are one image several times.
    # Small images are coarse: from pixel to pixel they change as much as from one to the next.
    is_alike = below < lines or side < 12
    return bool(lines == 0 or (is_alike and below < 0.8 * min(beside, beyond)))


def _finite(array: Array) -> Array:
    """Return numbers as floats, whose differences do not overflow; 0 for NaN and infinity."""
    return np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0).clip(-1e300, 1e300)


def _check_first_axis(array: Array) -> None:
    """Raise ValueError if images lie along another axis than the first, as MATLAB has them."""
    if min(array.shape) < 2:
        return
    sample = _finite(array[:64, :64, :64])
    changes = [np.abs(np.diff(sample, axis=axis)).mean() for axis in range(3)]
    for axis, name in ((1, "second"), (2, "last")):
        # Images are square as a rule, and their neighbouring pixels are alike.
        rows, columns = (each for each in range(3) if each != axis)
        if array.shape[rows] != array.shape[columns]:
            continue
        less, more = sorted((changes[rows], changes[columns]))
        # As many as there are rows may also be images of the usual kind that hardly differ.
        is_cube = array.shape[axis] == array.shape[rows]
        if changes[axis] > 1.4 * more and not (is_cube and less < more / 2):
            raise ValueError(
                f"expected grey images, (n, rows, columns), got shape {array.shape} whose {name} "
                f"axis seems to count the images; save numpy.moveaxis(images, {axis}, 0)"
            )


def _without_channels(array: Array, whole: tuple[int, ...]) -> tuple[Array, list[str]]:
    """Return images (n, rows, columns) from those with an axis of channels, behind or before."""
    shape = array.shape
    for axis in (1, 3):
        if shape[axis] in (1, 3) and min(shape[4 - axis], shape[2]) > 4:
            channels = np.moveaxis(array, axis, -1)
            if shape[axis] == 1:
                return channels[..., 0], []
            return _grey(channels), ["colours taken as grey"]
    raise ValueError(
        "expected grey images, (rows, columns) or (n, rows, columns), or with an axis of 1 or 3 "
        f"channels, got shape {whole}"
    )


def _grey(colours: Array) -> Array:
    """Return the luma of red, green and blue (n, rows, columns, 3), in the same dtype."""
    first = colours[..., 0]
    if (colours == first[..., np.newaxis]).all():
        return first
    if colours.dtype.kind == "b":
        raise ValueError("expected grey images, got channels of bools that differ")
    kind = np.result_type(colours, np.float32)  # which holds bytes exactly; a photograph has many
    red, green, blue = np.moveaxis(colours, -1, 0)
    luma: Array = np.multiply(red, 0.299, dtype=kind)  # ITU-R BT.601, as Pillow has it
    luma += np.multiply(green, 0.587, dtype=kind)
    luma += np.multiply(blue, 0.114, dtype=kind)
    if colours.dtype.kind != "f":
        luma = np.rint(luma)
    return luma.astype(colours.dtype)


# --- scales ------------------------------------------------------------------------------------


def as_bytes(images: Array) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Return grey values as bytes, from any of the scales that are told from each other.

    Parameters
    ----------
    images : ndarray, (n, rows, columns)
        Integers from 0 paper to 255 ink, bools, floats from 0 paper to 1 ink or from -0.1 to
        1.175, the networks' own. Where they span less than two thirds of that, as in images of 0
        and 1, or of 0 to 16, or none is near paper, the smallest is taken for paper and the largest
        for ink. NaN and
        infinity become paper.

    Returns
    -------
    images : ndarray, (n, rows, columns), uint8
        0 paper to 255 ink.
    notes : list of str
        What was taken for paper and ink, where it is not what is usual.

    Raises
    ------
    ValueError
        If the values are on another scale.

    Examples
    --------
    >>> import numpy as np
    >>> as_bytes(np.array([[[0, 1], [1, 0]]]))[0].tolist()
    [[[0, 255], [255, 0]]]
    """
    if not images.size:
        return np.zeros(images.shape, np.uint8), []
    low, high = _range(images)
    paper, ink = _scale(images.dtype, low, high)
    notes = []
    whole = ink - paper
    is_other = (high - low) / whole < _CONTRAST or (low - paper) / whole > FAINT / 255
    if is_other and (high - low) / whole > 1e-6:
        start = "" if low == paper else f"{low:g} taken for paper and "
        notes.append(
            f"values from {low:g} to {high:g}, not {paper:g} to {ink:g}: {start}{high:g} taken for "
            "ink"
        )
        paper, ink = low, high
    if images.dtype == np.uint8 and (paper, ink) == (0, 255):
        return np.asarray(images), notes
    made = np.empty(images.shape, np.uint8)
    for first in range(0, len(images), _PIECE):
        piece = slice(first, first + _PIECE)
        values = images[piece].astype(np.float64)
        shares = np.nan_to_num((values - paper) / (ink - paper), nan=0, posinf=0, neginf=0)
        made[piece] = np.rint(255 * shares).clip(0, 255)
    return made, notes


def _range(images: Array) -> tuple[float, float]:
    """Return the smallest and largest finite value; 0 and 0 if there is none."""
    low, high = images.min(), images.max()
    if images.dtype.kind != "f" or (np.isfinite(low) and np.isfinite(high)):
        return low.item(), high.item()
    finite = images[np.isfinite(images)]
    return (finite.min().item(), finite.max().item()) if finite.size else (0.0, 0.0)


def _scale(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    """Return what is paper and what is ink."""
    if dtype.kind == "b":
        return 0, 1
    # With a float, lest integers overflow.
    shifted = f"({'images -' if low > 0 else 'images +'} {abs(float(low))})" if low else "images"
    way_out = f"bring them there with {shifted} / {float(high) - float(low)}"
    if dtype.kind in "iu":
        if low < 0 or high > 255:
            if dtype == np.int8 and low < -1:
                way_out = f"if 0 is paper, with images.view(numpy.uint8), else {way_out}"
            raise ValueError(
                f"expected integers from 0 paper to 255 ink, got {low} to {high}; {way_out}"
            )
        return 0, 255
    margin = 1e-3 if dtype.itemsize == 2 else 1e-6  # what was computed is not exact
    if low >= -margin and high <= 1 + margin:
        return 0.0, 1.0
    # Values just below 0 may also be a resized image's; the networks' own have paper of -0.1.
    if abs(low - BACKGROUND) <= margin and high <= INK + margin:
        return BACKGROUND, INK
    if low >= 0 and _CONTRAST * 255 < high <= 255:
        way_out = "divide by 255"
    raise ValueError(
        "expected floats from 0 paper to 1 ink, or from -0.1 to 1.175, the networks' own scale, "
        f"got {low} to {high}; {way_out}"
    )


def blank(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell of each image whether too few of its pixels differ for a digit.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values, bright on dark or dark on light.

    Returns
    -------
    ndarray, (n,), bool
        Whether fewer than five pixels lie more than :data:`FAINT` above the others.
    """
    found = np.ones(len(images), np.bool_)
    if images[:1].size <= 2 * _FEWEST:
        return found
    for first in range(0, len(images), _PIECE):
        values = images[first : first + _PIECE]
        flat = np.partition(values.reshape(len(values), -1), (_FEWEST - 1, -_FEWEST), axis=1)
        contrast = flat[:, -_FEWEST].astype(int) - flat[:, _FEWEST - 1]
        found[first : first + _PIECE] = contrast <= FAINT
    return found


# --- what a set of images looks like -------------------------------------------------------------


def look_inverted(images: Array) -> bool:
    """Tell whether most of some images have dark ink on light paper, the reverse of MNIST's.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values; blank images do not count.

    Returns
    -------
    bool
        True if in more than half of them the median of the border is in the lightest quarter.

    Examples
    --------
    >>> from lenet_fast import data
    >>> images = data.load("sample").test.images
    >>> look_inverted(images), look_inverted(255 - images)
    (False, True)
    """
    border, low, contrast = _borders(images[:: max(1, len(images) // 1000)])
    told = contrast > FAINT
    light = np.median(border, axis=1) > low + 0.75 * contrast
    return bool((light & told).sum() > told.sum() / 2)


def differ(inverted: bool, images: Array) -> bool:
    """Tell whether images have paper and ink the other way round than those with `inverted`."""
    sound = images[~blank(images)]
    return len(sound) > 0 and look_inverted(sound) != inverted


def turned_round(inverted: bool, images: Array) -> npt.NDArray[np.bool_]:
    """Tell which images, none of them blank, are the other way round than those with `inverted`.

    They are what most of them are, but for those whose whole border is of the other kind. One
    image tells less than many: Fashion-MNIST's clothes cover half of the border, though not all.
    """
    border, low, contrast = _borders(images)
    dark = border.max(axis=1) < low + 0.25 * contrast
    light = border.min(axis=1) > low + 0.75 * contrast
    if differ(inverted, images):
        return ~(light if inverted else dark)
    return dark if inverted else light


def _borders(images: Array) -> tuple[Array, Array, Array]:
    """Return of each image the pixels of its border, its smallest value, and its contrast."""
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1
    )
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    low = flat.min(axis=1).astype(float)
    return border, low, flat.max(axis=1) - low


def look_transposed(images: Array) -> str:
    """Tell whether digits lie on their sides, as those of EMNIST's files do.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Digits, bright on dark.

    Returns
    -------
    str
        How many are wider than high, such as "9 of 10 are wider than high", if those are
        four or more and seven of ten; else "".

    Notes
    -----
    Of MNIST's digits 8 in 100 are wider than high, and 76 higher than wide.

    Examples
    --------
    >>> from lenet_fast import data
    >>> images = data.load("sample").test.images
    >>> look_transposed(images), look_transposed(images.transpose(0, 2, 1))
    ('', '801 of 1000 are wider than high')
    """
    sample = images[:: max(1, len(images) // 1000)]
    ink = sample > 64
    heights, widths = _extent(np.any(ink, axis=2)), _extent(np.any(ink, axis=1))
    wide, high = int((widths > heights).sum()), int((heights > widths).sum())
    if wide < 4 or wide < 0.7 * (wide + high):
        return ""
    return f"{wide} of {len(sample)} are wider than high"


def _extent(profiles: Array) -> Array:
    """Return from the first to the last True in each row, how many there are."""
    length = profiles.shape[1] - profiles.argmax(axis=1) - profiles[:, ::-1].argmax(axis=1)
    return np.where(profiles.any(axis=1), length, 0)


# --- all of it ---------------------------------------------------------------------------------


def digits(
    array: Array,
    *,
    centred: bool | None = None,
    transposed: bool = False,
    inverted: bool | None = False,
) -> Digits:
    """Return the digits of an array as a network reads them.

    Parameters
    ----------
    array : ndarray
        As for :func:`as_images` and :func:`as_bytes`.
    centred : bool, optional
        Whether to bring them into MNIST's form with :func:`lenet_fast.data.centre`; by default
        those of other sizes than 28x28 and 32x32.
    transposed : bool
        Whether rows and columns are exchanged, as in EMNIST's files.
    inverted : bool, optional
        Whether the network was trained on dark ink on light paper. Images of the other kind are
        turned round, unless `centred` is False. None: not known, and they are left as they are.

    Returns
    -------
    Digits
        With a note of all that was taken for something else than it seems.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_images` and :func:`as_bytes` do.
    """
    # A damaged file may hold anything, such as bits that are no number at all.
    with np.errstate(invalid="ignore", over="ignore"):
        images, several, notes = as_images(array)
        if not 0 < len(images) <= MAX_IMAGES:
            way_out = "; split the file" if len(images) else ""
            raise ValueError(f"expected 1 to {MAX_IMAGES:,} images, got {len(images):,}{way_out}")
        if transposed:
            images = images.transpose(0, 2, 1)
        if (centred is None and images.shape[1:] in AS_THEY_ARE) or centred is False:
            made, faults, more = _taken(images, turn=centred is None, inverted=inverted)
        else:
            made, faults, more = _centred(images, inverted)
    found = [number for number in range(len(images)) if number not in faults]
    if several and not transposed:
        # Ink is bright in what is looked at.
        wide = look_transposed(255 - made[found] if look_inverted(made[found]) else made[found])
        if wide:
            more.append(
                f"{wide}, as if rows and columns were exchanged; --transpose exchanges them"
            )
    return Digits(made[found], found, faults, several, notes + more)


Made = tuple[npt.NDArray[np.uint8], dict[int, str], list[str]]


def _taken(images: Array, *, turn: bool, inverted: bool | None) -> Made:
    """Return images as they are, on the networks' scale of bytes."""
    faults: dict[int, str] = {}
    if images.dtype.kind == "f":
        wrong = ~np.isfinite(images).all(axis=(1, 2))
        text = "expected finite values, got nan or infinity"
        faults = dict.fromkeys(np.flatnonzero(wrong).tolist(), text)
    made, notes = as_bytes(images)
    for number in np.flatnonzero(blank(made)).tolist():
        faults.setdefault(number, _blank(made[number]))
    sound = np.setdiff1d(np.arange(len(made)), list(faults)).astype(np.intp)
    others = sound[turned_round(bool(inverted), made[sound])]
    if len(others):
        which = f"{len(others)} of {len(sound)} have " if len(others) < len(sound) else ""
        seen = "bright ink on dark paper" if inverted else "dark ink on light paper"
        whose = "MNIST's" if inverted is None else "what the model was trained on"
        turn = turn and inverted is not None
        if turn:
            made = made.copy()
            made[others] = 255 - made[others]
        done = "turned round" if turn else "taken as it is"
        notes.append(f"{which}{seen}, the reverse of {whose}: {done}")
    return made, faults, notes


def _blank(image: Array) -> str:
    low, high = image.min(), image.max()
    values = f"all {low}" if low == high else f"{low} to {high}"
    return f"expected a digit, got a blank image ({values} of 255)"


def _centred(images: Array, inverted: bool | None) -> Made:
    made: npt.NDArray[np.uint8] = np.zeros((len(images), 28, 28), np.uint8)
    faults = {}
    for number, image in enumerate(images):
        try:
            made[number] = centre(image)
        except ValueError as error:
            faults[number] = str(error).removeprefix("image: ")
    return 255 - made if inverted else made, faults, []
