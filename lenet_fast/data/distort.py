"""Random distortions of training images, fresh in every epoch.

The distortion of an image depends only on the seed, the epoch, and its number in the data set: not
on the order of the images, on which images are distorted together, on the number of threads, or on
the backend.

Examples
--------
>>> import numpy as np
>>> from lenet_fast import data
>>> from lenet_fast.data import distort
>>> images, numbers = data.load("sample").train.images[:3], np.arange(3)
>>> first, second = (distort.PAPER(images, numbers, epoch, seed=0) for epoch in (1, 2))
>>> first.shape, bool((first == second).all())
((3, 28, 28), False)
>>> print(distort.PAPER)
shift 2, scale 0.15, squeeze 0.1, shear 0.2
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lenet_fast import checks, choices, configs
from lenet_fast.checks import Array
from lenet_fast.ops import warping
from lenet_fast.ops.warping import POSITION_BITS, splitmix64, stream
from lenet_fast.threads import Pool

__all__ = ["ELASTIC", "MAX_SIZE", "PAPER", "PRESETS", "Distortion", "from_config"]

MAX_SIZE = warping.MAX_SIZE
"""Most rows and columns of an image, because positions are 32-bit numbers."""

_PIECE = 128
"""Images per task of a thread: their displacements fit in the cache."""

_LIMITS = {
    "shift": (0.0, 100.0),
    "scale": (0.0, 0.5),
    "squeeze": (0.0, 0.5),
    "shear": (0.0, 1.0),
    "rotation": (0.0, 180.0),
    "elastic": (0.0, 1000.0),
    "smoothness": (0.5, 50.0),
}


@dataclass(frozen=True)
class Distortion:
    """Ranges of random distortions; each amount is drawn uniformly from its range.

    An image is scaled and squeezed, sheared, rotated, all about its centre, and shifted. If
    `elastic` is above 0, each pixel is also displaced, by similar amounts as its neighbours.

    Parameters
    ----------
    shift : float, default 0
        Largest shift in pixels, up or down and, drawn separately, left or right; at most 100.
    scale : float, default 0
        The size is multiplied by 1 - `scale` to 1 + `scale`; at most 0.5.
    squeeze : float, default 0
        The height is multiplied by 1 - `squeeze` to 1 + `squeeze`, and the width divided by the
        same factor; at most 0.5.
    shear : float, default 0
        Largest shift of a row to the left or right, in pixels per pixel above the centre; at most
        1.
    rotation : float, default 0
        Largest angle in degrees, to either side; at most 180.
    elastic : float, default 0
        Alpha, in pixels: the factor of the smoothed noise; at most 1000. This is not a range: the
        noise is random, not alpha.
    smoothness : float, default 4
        Sigma of the Gaussian that smoothes the noise, 0.5 to 50 pixels.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number, or out of its limits.

    Notes
    -----
    LeCun et al. 1998, section III.B, distort the training images by shifts along both axes,
    scaling, squeezing (narrower and taller at once, or the reverse) and horizontal shearing. The
    ranges are not in the paper; those of :data:`lenet_fast.data.distort.PAPER` are ours.

    Elastic distortions are those of Simard, Steinkraus and Platt 2003: the displacements along one
    axis are noise, uniform from -1 to 1, smoothed by a Gaussian whose weights add up to 1, times
    alpha. Their root mean square is ``0.163 alpha / sigma`` pixels, and less near the border,
    because there is no noise outside the image. The Gaussian ends at 4 sigma.

    Pixels are interpolated linearly between four, at positions rounded to 1/2048 of a pixel, and
    rounded to the nearest byte; outside the image all is 0. The arithmetic uses integers, which
    gives the same bytes everywhere; in images of up to 64 x 64 they are within 0.7 grey levels of
    exact interpolation at the exact positions.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import Distortion
    >>> images = np.zeros((2, 28, 28), np.uint8)
    >>> images[:, 8:20, 13:15] = 255
    >>> distortion = Distortion(shift=2, rotation=10)
    >>> first = distortion(images, np.array([0, 1]), epoch=1, seed=0)
    >>> again = distortion(images[1:], np.array([1]), epoch=1, seed=0)
    >>> bool((first[1] == again[0]).all()), bool((first[0] == first[1]).all())
    (True, False)
    """

    shift: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    rotation: float = 0.0
    elastic: float = 0.0
    smoothness: float = 4.0

    DRAWN: ClassVar = ("shift_down", "shift_right", "scale", "squeeze", "shear", "rotation")
    """The keys of :meth:`draw`, in the order in which they take numbers from a stream."""

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            number = checks.real(name, getattr(self, name))
            if not least <= number <= most:
                raise ValueError(f"{name}: expected {least:g} to {most:g}, got {number:g}")
            object.__setattr__(self, name, number)

    def __call__(
        self,
        images: Array,
        samples: Array,
        epoch: int,
        seed: int,
        *,
        size: int | None = None,
        backend: choices.Backend | None = None,
        pool: Pool | None = None,
    ) -> Array:
        """Return distorted images.

        Parameters
        ----------
        images : ndarray, (n, rows, columns), uint8
            Grey values, from 0 (background) to 255 (foreground); up to 256 x 256.
        samples : ndarray, (n,), integers of at least 0
            The number of each image in its data set.
        epoch : int
            At least 0.
        seed : int
            From 0 to 2**63 - 1.
        size : int, optional
            Rows and columns of the results, at least those of the images, which are centred as by
            :func:`lenet_fast.data.prepare`; so a digit that moves out of its image is kept. By
            default the size of the images.
        backend : {"cython", "numba", "numpy"}, optional
            Does not change any byte.
        pool : Pool, optional
            Threads that share the work. Does not change any byte.

        Returns
        -------
        ndarray, (n, size, size), uint8

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        ImportError
            If the backend is missing here.
        """
        images = warping.checked("images", images)
        height, width = _canvas(images.shape[1:], size)
        drawn = self.draw(samples, epoch, seed)
        if len(samples) != len(images):
            raise ValueError(f"samples: expected {len(images)}, one per image, got {len(samples)}")
        matrices = _matrices(drawn, images.shape[1:], (height, width))
        keys = _keys(samples, epoch, seed)
        made = np.empty((len(images), height, width), np.uint8)
        down, across = _smoothing(height, self.smoothness), _smoothing(width, self.smoothness)
        factor = self.elastic * 2.0 ** (POSITION_BITS - _FIELD_BITS)

        def one(piece: slice) -> None:
            fields = None
            if self.elastic:
                fields = warping.smooth_noise(keys[piece], down, across, factor, backend=backend)
            warping.warp(images[piece], matrices[piece], fields, made[piece], backend=backend)

        pieces = [slice(k, k + _PIECE) for k in range(0, len(images), _PIECE)]
        with contextlib.closing((pool or Pool(1)).run(one, pieces)) as results:
            for _ in results:
                pass
        return made

    def draw(self, samples: Array, epoch: int, seed: int) -> dict[str, Array]:
        """Return the amounts of each distortion, by name.

        Parameters
        ----------
        samples, epoch, seed
            As for a call.

        Returns
        -------
        dict of str to float64 ndarray (n,)
            ``shift_down`` and ``shift_right`` in pixels; ``scale`` and ``squeeze`` minus 1;
            ``shear``, to the right above the centre; ``rotation`` in degrees, counter-clockwise.
            All are drawn, even if a range is 0.

        Notes
        -----
        Each image has its own splitmix64 generator, whose initial state is the hash of seed, epoch
        and sample. Its first six numbers are for these amounts; the noise starts at the ninth.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.data import distort
        >>> drawn = distort.PAPER.draw(np.array([0, 1]), epoch=1, seed=0)
        >>> drawn["shift_down"].round(2), drawn["scale"].round(2)  # up to 2 pixels, and 0.15
        (array([ 1.27, -1.12]), array([ 0.14, -0.03]))
        """
        keys = _keys(samples, epoch, seed)
        shifts, rest = (self.shift, self.shift), (self.scale, self.squeeze, self.shear)
        ranges = (*shifts, *rest, self.rotation)
        shares = (stream(keys, 0, len(ranges)) >> np.uint64(11)) * 2.0**-52 - 1.0
        return dict(zip(self.DRAWN, (shares * ranges).T.copy(), strict=True))

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`.distort.from_config`.

        Examples
        --------
        >>> from lenet_fast.data import Distortion
        >>> Distortion(shift=2).config()["shift"]
        2.0
        """
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        words = [f"{name} {value:g}" for name, value in self.config().items() if value]
        return ", ".join(words if self.elastic else words[:-1]) or "none"


PAPER = Distortion(shift=2, scale=0.15, squeeze=0.1, shear=0.2)
"""The distortions of LeCun et al. 1998, section III.B. The ranges are ours."""

ELASTIC = Distortion(shift=1, scale=0.1, shear=0.1, rotation=8, elastic=20, smoothness=4)
"""Rotation and elastic distortions; the ranges and alpha are ours, and digits stay readable."""

PRESETS: Mapping[str, Distortion] = {"paper": PAPER, "elastic": ELASTIC}
"""Distortions by their names on the command line."""


def from_config(config: object) -> Distortion:
    """Return the distortion described by an untrusted :meth:`.Distortion.config`.

    Raises
    ------
    ValueError
        If it is not such a description.

    Examples
    --------
    >>> from lenet_fast.data import distort
    >>> distort.from_config(distort.PAPER.config()) == distort.PAPER
    True
    """
    names = [field.name for field in dataclasses.fields(Distortion)]
    values = configs.checked("distortion", config, names)
    try:
        return Distortion(**values)
    except TypeError as error:
        raise ValueError(f"distortion: {error}") from error


def _canvas(shape: tuple[int, ...], size: int | None) -> tuple[int, int]:
    if size is None:
        return shape[0], shape[1]
    size = checks.integer("size", size, max(shape), MAX_SIZE)
    return size, size


def _keys(samples: Array, epoch: int, seed: int) -> Array:
    """Return the initial state of each image's random stream."""
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "iu":
        raise TypeError(f"samples: expected an array of integers, got {checks.kind(samples)}")
    if samples.ndim != 1 or (len(samples) and samples.min() < 0):
        got = samples.shape if samples.ndim != 1 else samples.min()
        raise ValueError(f"samples: expected (n,) integers of at least 0, got {got}")
    start = np.array([checks.seed(seed)], np.uint64)
    start = splitmix64(splitmix64(start) + np.uint64(checks.integer("epoch", epoch, 0)))
    return splitmix64(start + samples.astype(np.uint64))


def _matrices(drawn: Mapping[str, Array], shape: tuple[int, ...], canvas: tuple[int, int]) -> Array:
    """Return the maps from output to input pixels: (n, 2, 3), in units of 2**-18 pixels.

    With rows counted downwards, a point (row, column) about the centre goes to
    ``rotation @ shear @ (height * row, width * column)``, where ``shear = [[1, 0], [-shear, 1]]``
    and ``rotation = [[cos, -sin], [sin, cos]]``. The matrices are the inverse of that.
    """
    height = (1 + drawn["scale"]) * (1 + drawn["squeeze"])
    width = (1 + drawn["scale"]) / (1 + drawn["squeeze"])
    angle = np.deg2rad(drawn["rotation"])
    cosine, sine, shear = np.cos(angle), np.sin(angle), drawn["shear"]
    unit = 2.0**POSITION_BITS
    matrices = np.empty((len(shear), 2, 3), np.int32)
    matrices[:, 0, 0] = np.rint(unit * cosine / height)
    matrices[:, 0, 1] = np.rint(unit * sine / height)
    matrices[:, 1, 0] = np.rint(unit * (shear * cosine - sine) / width)
    matrices[:, 1, 1] = np.rint(unit * (shear * sine + cosine) / width)
    # The image is centred on the canvas, or lies half a pixel above or to the left of its centre.
    centre = [(side - 1) / 2 for side in shape]
    row, column = (
        at + (large - side) // 2 + shift
        for at, side, large, shift in zip(
            centre, shape, canvas, (drawn["shift_down"], drawn["shift_right"]), strict=True
        )
    )
    for axis in range(2):
        moved = matrices[:, axis, 0] * row + matrices[:, axis, 1] * column
        matrices[:, axis, 2] = np.rint(unit * centre[axis] - moved)
    return matrices


_WEIGHT_BITS = 13
_FIELD_BITS = 10 + _WEIGHT_BITS  # of smoothed noise between -1 and 1: 8 + 13 - 11 + 13


@functools.lru_cache(maxsize=8)
def _smoothing(size: int, sigma: float) -> Array:
    """Return the matrix (size, size) that smoothes along an axis, in units of 2**-13."""
    reach = int(4 * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(reach + 1)]
    total = 2 * sum(weights) - 1
    whole = np.zeros(max(size, reach + 1), np.float32)
    whole[: reach + 1] = [round(2.0**_WEIGHT_BITS * weight / total) for weight in weights]
    index = np.arange(size)
    matrix: Array = whole[np.abs(index[:, np.newaxis] - index)]
    return matrix
