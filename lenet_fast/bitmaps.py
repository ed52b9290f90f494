"""The ten 7x12 characters that are the centres of LeNet-5's RBF output units.

Transcribed from figure 3 of LeCun et al. 1998. The bars above 0, 2, 4 and 5 look like errors,
but they are in the figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["centres", "digits"]

ROWS, COLUMNS = 12, 7

_FIGURE = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


def digits() -> npt.NDArray[np.bool_]:
    """Return the bitmaps.

    Returns
    -------
    bool ndarray (10, 12, 7)
        Digit, row and column; True for foreground.

    Examples
    --------
    >>> from lenet_fast import bitmaps
    >>> for row in bitmaps.digits()[4]:
    ...     print("".join("#" if cell else "-" for cell in row))
    -#####-
    -------
    -------
    -##--##
    -##--##
    ###--##
    ##---##
    ##---##
    ##--###
    -######
    -----##
    -----##
    """
    rows = [line.split() for line in _FIGURE.split("\n") if line]
    return np.array([[[cell == "#" for cell in row[d]] for row in rows] for d in range(10)])


def centres(dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Return the centres of the ten RBF units, which are the bitmaps row by row.

    Parameters
    ----------
    dtype : dtype

    Returns
    -------
    ndarray (10, 84), `dtype`
        +1 for foreground, -1 for background.

    Examples
    --------
    The closest two are 6 and 8: each of the 12 pixels in which they differ adds ``2^2`` to their
    squared distance.

    >>> from lenet_fast import bitmaps
    >>> six, eight = bitmaps.centres()[[6, 8]]
    >>> int(((six - eight) ** 2).sum())
    48
    """
    return np.where(digits().reshape(10, ROWS * COLUMNS), 1, -1).astype(dtype)
