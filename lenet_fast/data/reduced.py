"""Digits of other sizes: smaller than MNIST's for the older networks, and as large as its."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data.images import BOX, SIZE, resize
from lenet_fast.data.sources import Dataset

_OF_1990 = 1, 24, 2  # margin, size, border: 0.8 times 28 is not an integer, 0.8 times 30 is

_PIECE = 4096  # images at a time; their floats take eight times the memory of their bytes


def as_1989(dataset: Dataset) -> Dataset:
    """Return digits for :func:`lenet_fast.models.lenet1989`: whole images shrunk to 16x16.

    Parameters
    ----------
    dataset : Dataset
        Of 28x28 images, such as MNIST's.

    Returns
    -------
    Dataset
        Of 16x16 images.

    Raises
    ------
    ValueError
        If the images have another size.

    Notes
    -----
    The digits of LeCun et al. 1989 filled 16x16 pixels. Shrinking the whole image, including its
    margin, follows A. Karpathy (karpathy/lecun1989-repro).

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data import as_1989
    >>> as_1989(data.load("sample").test).images.shape
    (1000, 16, 16)
    """
    return _resized(dataset, 0, 16, 0)


def as_1990(dataset: Dataset) -> Dataset:
    """Return digits for :func:`lenet_fast.models.lenet1`: of 16x16 pixels, centred in 28x28.

    Parameters
    ----------
    dataset : Dataset
        Of 28x28 images with digits of 20x20, such as MNIST's.

    Returns
    -------
    Dataset
        Of 28x28 images, the digits shrunk by 0.8 about the middle.

    Raises
    ------
    ValueError
        If the images have another size.

    Notes
    -----
    LeCun et al. 1998, section III.C: LeNet-1 used digits of 16x16 pixels in the middle of 28x28.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data import as_1990
    >>> images = as_1990(data.load("sample").test).images
    >>> images.shape, int(images[:, :2].max())
    ((1000, 28, 28), 0)
    """
    return _resized(dataset, *_OF_1990)


def as_mnist(dataset: Dataset) -> Dataset:
    """Return digits of 16x16 as MNIST has them: enlarged to 20x20, in the middle of 28x28.

    Parameters
    ----------
    dataset : Dataset
        Of 16x16 images that the digits fill, such as ``"usps"``.

    Returns
    -------
    Dataset
        Of 28x28 images, for LeNet-5.

    Raises
    ------
    ValueError
        If the images have another size.

    Notes
    -----
    MNIST's digits fill 20x20 pixels (LeCun et al. 1998, section III.A); here they are not moved to
    their centre of mass.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import Dataset, as_mnist
    >>> digits = Dataset(np.full((3, 16, 16), 255, np.uint8), np.array([1, 2, 3], np.uint8))
    >>> image = as_mnist(digits).images[0]
    >>> image.shape, image[3:25, 3:25].min(), image[4:24, 4:24].min()
    ((28, 28), np.uint8(0), np.uint8(255))
    """
    return _resized(dataset, 0, BOX, (SIZE - BOX) // 2, given=16)


def fitted(images: Array, size: int, *, turned: bool = False, reduced: bool = False) -> Array:
    """Return images like MNIST's for a network with an input of `size` by `size` pixels.

    Parameters
    ----------
    images : ndarray (n, rows, columns) uint8
    size : int
        Rows and columns of the network's input.
    turned : bool
        Whether to invert the images, because the network was trained on inverted ones.
    reduced : bool
        Whether to reduce images of 28x28 as by :func:`as_1990`, because the network was trained on
        reduced ones.

    Returns
    -------
    ndarray (n, rows, columns) uint8
        Images of 28x28 that are larger than the input, as for the network of 1989, are shrunk as by
        :func:`as_1989`. Others keep their size: engines centre smaller ones in the input.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import fitted
    >>> fitted(np.zeros((1, 28, 28), np.uint8), 16).shape
    (1, 16, 16)
    >>> fitted(np.zeros((1, 28, 28), np.uint8), 32).shape
    (1, 28, 28)
    """
    images = 255 - images if turned else images
    if images.shape[1:] != (SIZE, SIZE):
        return images
    if reduced:
        return _shrunk(images, *_OF_1990)
    return _shrunk(images, 0, size, 0) if size < SIZE else images


def _resized(dataset: Dataset, margin: int, size: int, border: int, given: int = SIZE) -> Dataset:
    shape = dataset.images.shape
    if shape[1:] != (given, given):
        raise ValueError(f"dataset: expected images of {given}x{given}, got {shape}")
    images = _shrunk(dataset.images, margin, size, border)
    return replace(dataset, images=images, name=f"{dataset.name}-{size}x{size}")


def _shrunk(images: Array, margin: int, size: int, border: int) -> npt.NDArray[np.uint8]:
    """Return images with a margin added, resized, and with a border of background around them."""
    side = size + 2 * border
    made: npt.NDArray[np.uint8] = np.zeros((len(images), side, side), np.uint8)
    inner = slice(border, border + size)
    for first in range(0, len(images), _PIECE):
        piece = slice(first, first + _PIECE)
        wide = np.pad(images[piece], ((0, 0), (margin, margin), (margin, margin)))
        made[piece, inner, inner] = np.rint(resize(wide.astype(np.float32), size, size))
    return made
