"""Finding out which axis of an array is which, from its shape and values."""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.checks import Array

AS_THEY_ARE = ((28, 28), (32, 32))
"""Sizes of images that are not centred by default; other sizes are."""

_FEWEST_LINES = 8  # rows that an array needs to be tested for being a picture, not a table


def as_images(array: Array) -> tuple[Array, bool, list[str]]:
    """Return an array as grey images, as far as its shape and values determine the axes.

    Parameters
    ----------
    array : ndarray
        One image (rows, columns); several (n, rows, columns); either with an axis of channels,
        grey or red, green and blue; or a table with one image per row, (n, 784) for 28x28.

    Returns
    -------
    images : ndarray, (n, rows, columns)
        In the dtype of the array.
    several : bool
        Whether the array may hold several.
    notes : list of str
        How the array was read, where that is unusual.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the axes are not clear. The message has the shape, and says what to save instead.

    Notes
    -----
    A table of 1,024 columns and a photograph of 1,024 columns have the same shape. Their neighbours
    tell them apart. In a table of 32x32 images, the number 32 places further on is the pixel below:
    more similar than those 16 or 48 places further on, and than the same pixel of the next image.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.arrays import as_images
    >>> images, several, notes = as_images(np.eye(784, dtype=np.uint8)[:3])
    >>> images.shape, several, notes
    ((3, 28, 28), True, ['3 rows of 784 numbers read as 28x28 pixels'])
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected grey images of real numbers, got {array.dtype}")
    whole = array.shape
    notes: list[str] = []
    if array.ndim == 4:
        array, note = _without_channels(array, whole)
        notes += note
    elif array.ndim == 3 and array.shape[2] == 1 and _side(array.shape[1]):
        array = array[:, :, 0]  # a table with an axis of channels, last
    elif array.ndim == 3 and array.shape[1] == 1 and _side(array.shape[2]):
        array = array[:, 0]
    elif array.ndim == 3 and array.shape[2] <= 4 and min(array.shape[:2]) > 4:
        array, note = _without_channels(array[np.newaxis], whole)
        return array, False, note
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
        note = f"{counted} of {columns} numbers read as {side}x{side} pixels"
        return array.reshape(rows, side, side), True, [note]
    if columns % 3 == 0:
        side = _side(columns // 3)
        if side and (_is_table(array, side) or _is_table(array, 3 * side)):
            raise ValueError(
                f"expected rows of {side * side} pixels, got {columns} numbers per row, shape "
                f"{array.shape}, as if each had three colours; save grey images"
            )
    extra = next((n for n in (1, 2, 3) if _side(columns - n)), 0)
    if extra and _is_table(array[:, extra:], _side(columns - extra)):
        raise ValueError(
            f"expected rows of {columns - extra} pixels, got {columns} numbers per row, shape "
            f"{array.shape}; save it without the {'column' if extra == 1 else 'columns'} of "
            "labels or of an index"
        )
    side = _side(rows)
    if side and (side >= 16 or columns >= _FEWEST_LINES) and _is_table(array.T, side):
        raise ValueError(
            f"expected one image per row, got one per column, shape {array.shape}; save the "
            "transpose"
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
    """Return the side of a square image with this many pixels; 0 if there is none, or below 8."""
    side = math.isqrt(max(pixels, 0))
    return side if side >= 8 and side * side == pixels else 0


def _is_table(array: Array, side: int) -> bool:
    """Return whether the rows are images of `side` columns, rather than lines of one picture."""
    if len(array) < _FEWEST_LINES:
        return True
    sample = _finite(array[: 64 * 64])
    lines = np.abs(np.diff(sample, axis=0)).mean()
    below, beside, beyond = (
        np.abs(sample[:, n:] - sample[:, :-n]).mean() for n in (side, side // 2, side * 3 // 2)
    )
    if below == lines == 0:  # a blank picture
        return False
    # Identical lines are not a picture, but one image several times.
    # Small images are coarse: neighbouring pixels differ as much as successive images do.
    is_alike = below < lines or side < 12
    return bool(lines == 0 or (is_alike and below < 0.8 * min(beside, beyond)))


def _finite(array: Array) -> Array:
    """Return numbers as floats whose differences cannot overflow; 0 for NaN and infinity."""
    return np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0).clip(-1e300, 1e300)


def _check_first_axis(array: Array) -> None:
    """Raise ValueError if another axis than the first counts the images, as in MATLAB."""
    if min(array.shape) < 2:
        return
    sample = _finite(array[:64, :64, :64])
    changes = [np.abs(np.diff(sample, axis=axis)).mean() for axis in range(3)]
    for axis, name in ((1, "second"), (2, "last")):
        # Images are usually square, and their neighbouring pixels are similar.
        rows, columns = (each for each in range(3) if each != axis)
        if array.shape[rows] != array.shape[columns]:
            continue
        less, more = sorted((changes[rows], changes[columns]))
        # If all three sizes are equal, these may also be usual images that hardly differ.
        is_cube = array.shape[axis] == array.shape[rows]
        if changes[axis] > 1.4 * more and not (is_cube and less < more / 2):
            raise ValueError(
                f"expected grey images, (n, rows, columns), got shape {array.shape} whose {name} "
                f"axis seems to count the images; save numpy.moveaxis(images, {axis}, 0)"
            )


def _without_channels(array: Array, whole: tuple[int, ...]) -> tuple[Array, list[str]]:
    """Return images (n, rows, columns) from images with an axis of channels, last or first."""
    shape = array.shape
    for axis in (1, 3):
        if shape[axis] in (1, 3) and min(shape[4 - axis], shape[2]) > 4:
            channels = np.moveaxis(array, axis, -1)
            if shape[axis] == 1:
                return channels[..., 0], []
            return _grey(channels), ["colours converted to grey"]
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
    kind = np.result_type(colours, np.float32)  # holds bytes exactly, at half the memory of float64
    red, green, blue = np.moveaxis(colours, -1, 0)
    luma: Array = np.multiply(red, 0.299, dtype=kind)  # ITU-R BT.601, as in Pillow
    luma += np.multiply(green, 0.587, dtype=kind)
    luma += np.multiply(blue, 0.114, dtype=kind)
    if colours.dtype.kind != "f":
        luma = np.rint(luma)
    return luma.astype(colours.dtype)


def as_colours(array: Array, channels: int) -> tuple[Array, bool]:
    """Return an array as images (n, channels, rows, columns), and whether it may hold several.

    Parameters
    ----------
    array : ndarray
        One image, (channels, rows, columns) or (rows, columns, channels), or several, with an axis
        before these.
    channels : int
        Their number.

    Returns
    -------
    images : ndarray, (n, channels, rows, columns)
        In the dtype of the array.
    several : bool

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If there are no axes like these.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.arrays import as_colours
    >>> as_colours(np.zeros((5, 32, 32, 3)), 3)[0].shape
    (5, 3, 32, 32)
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected images of real numbers, got {array.dtype}")
    several = array.ndim != 3
    images = array if several else array[np.newaxis]
    axis = next((k for k in (1, 3) if images.ndim == 4 and images.shape[k] == channels), None)
    if axis is None:
        raise ValueError(
            f"expected images of {channels} channels, (n, {channels}, rows, columns) or (n, rows, "
            f"columns, {channels}), got shape {array.shape}"
        )
    return np.moveaxis(images, axis, 1), several
