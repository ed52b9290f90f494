"""The choice of integers for a network: how many digits each layer has behind the binary point."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.export.fixed import (
    LIMITS,
    SUMS,
    TABLE,
    FixedStage,
    Function,
    Quantised,
    Values,
    largest_point,
    rounded,
    slope_of,
)
from lenet_fast.export.stages import TABLES, area, centred, stages, values_of_bytes
from lenet_fast.layers import RBF, AvgPool2D, Conv2D, Dense, MaxPool2D, Subsample2D
from lenet_fast.network import Network

_WEIGHTS = 127
_COEFFICIENTS = 32767
_CALIBRATION = 1000
_MOST_VALUES = 2**25  # of all layers for all images of the calibration


def quantise(network: Network, images: Array, *, values: Values = "int8") -> Quantised:
    """Return a network in integers.

    Parameters
    ----------
    network : Network
        With any layers of :mod:`lenet_fast.layers`.
    images : ndarray of uint8
        Bytes (n, rows, columns) of the training set, as :meth:`.Network.predict` takes them, or
        maps of bytes (n, c, h, w): the first 1,000 of them, fewer for large networks, show how
        large the outputs of each layer become.
    values : {"int8", "int16"}
        Integers for what goes from layer to layer.

    Returns
    -------
    Quantised

    Raises
    ------
    TypeError, ValueError
        If it is not a network, or an argument is of the wrong kind; if a layer cannot be computed
        in integers, in which case the message names it.

    Notes
    -----
    Weights are int8, with a point per output map; the coefficients of sub-sampling, one per map,
    are int16, and biases int32. Points are chosen where the rounded weights or values differ least
    from the exact ones. Sums are below 2^30 whatever the image: values are limited so that the sum
    of the absolute weights times the largest value is. Activations are tables of 257 entries with
    straight lines between them, wrong by 0.0005 at most.

    Examples
    --------
    >>> from lenet_fast import data, export, models
    >>> images = data.load("sample").train.images
    >>> quantised = export.quantise(models.lenet5(), images)
    >>> [(stage.name, stage.target) for stage in quantised.stages][:2]
    [('C1', 8), ('S2', 6)]
    """
    checks.choice("values", values, tuple(LIMITS))
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images: expected an array of bytes, got {checks.kind(images)}")
    if images.shape[:1] == (0,):
        raise ValueError("images: expected at least one, got none")
    return _in_integers(network, values, _values(network, images))


def _values(network: Network, images: Array) -> dict[str, Array]:
    """Return the outputs of every layer for images of the training set, in float."""
    most = max(1, min(_CALIBRATION, _MOST_VALUES // sum(map(math.prod, network.shapes))))
    seen = centred(network, images[:most] if images.ndim else images)
    y = network.activations(values_of_bytes(network).astype(network.dtype)[seen])
    for name, outputs in y.items():
        if not np.isfinite(outputs).all():
            raise ValueError(f"network: expected finite outputs, got NaN or infinity in {name}")
    return dict(y)


def _in_integers(network: Network, values: Values, seen: dict[str, Array]) -> Quantised:
    """Choose points, and turn the parameters into integers."""
    chain = [FixedStage(**vars(stage)) for stage in stages(network)]
    largest = LIMITS[values]
    points = [_quantise_weights(stage) for stage in chain]
    limits = [_input_limit(stage, largest) for stage in chain]
    for k in reversed(range(len(chain) - 1)):
        if _keeps_point(chain[k]):  # a maximum is as large as what it is of
            limits[k] = min(limits[k], limits[k + 1])
    of_bytes = values_of_bytes(network)
    point = min(largest_point(of_bytes, limits[0], most=14), _centres_point(chain[0], limits[0]))
    source = point
    for k, stage in enumerate(chain):
        stage.source = source
        last = k == len(chain) - 1
        stage.limit = None if last else limits[k + 1]
        most = 14 if last else _centres_point(chain[k + 1], limits[k + 1])
        named = stage.activation or stage.layer
        _fit(stage, points[k], limits[k], most, seen[named.name if named else ""])
        source = stage.target
    return Quantised(network, values, chain, rounded(of_bytes, point).astype(values), point)


def _centres_point(stage: FixedStage, limit: int) -> int:
    """Return the largest point that a layer's input may have: that at which its centres fit."""
    if not isinstance(stage.layer, RBF) or stage.w is None:
        return 14
    return largest_point(stage.w, limit, most=14)


def _keeps_point(stage: FixedStage) -> bool:
    """Return whether outputs are values of the input."""
    return isinstance(stage.layer, MaxPool2D) and stage.activation is None


def _quantise_weights(stage: FixedStage) -> Array | None:
    """Turn a layer's weights into integers; return their points, one per output map."""
    if stage.w is None or isinstance(stage.layer, RBF):
        return None
    w = stage.w.astype(np.float64)
    if isinstance(stage.layer, Subsample2D):
        if stage.layer.reduction == "mean":
            w = w / area(stage)
        # Four of the largest values, or nine, must not be too large a sum.
        points = [largest_point(each, _COEFFICIENTS // (2 * area(stage))) for each in w]
        stage.w = np.array([rounded(*pair) for pair in zip(w, points, strict=True)], np.int16)
        return np.array(points)
    kernels = [w[part] for part in _by_map(stage)]
    points = [_best_point(kernel, _WEIGHTS) for kernel in kernels]
    integers = np.zeros(w.shape, np.int8)
    for part, point in zip(_by_map(stage), points, strict=True):
        integers[part] = np.clip(rounded(w[part], point), -_WEIGHTS, _WEIGHTS)
    stage.w = integers
    return np.array(points)


def _by_map(stage: FixedStage) -> list[slice]:
    """Return which weights are of each output map."""
    if stage.links is not None:
        first = stage.links[0].astype(int)
        return [slice(a, b) for a, b in itertools.pairwise(first)]
    return [slice(o, o + 1) for o in range(len(stage.w if stage.w is not None else ()))]


def _input_limit(stage: FixedStage, largest: int) -> int:
    """Return how large the input may be, so that no sum is too large."""
    if isinstance(stage.layer, RBF):
        return min(largest, math.isqrt(SUMS // math.prod(stage.before)) // 2)
    if isinstance(stage.layer, Conv2D | Dense) and stage.w is not None:
        weight = max(int(abs(stage.w[part].astype(int)).sum()) for part in _by_map(stage))
        return min(largest, int(0.75 * SUMS / max(weight, 1)))
    return largest


def _fit(stage: FixedStage, points: Array | None, limit: int, most: int, outputs: Array) -> None:
    """Choose the point of the outputs, `most` at most, the shifts and the biases; `limit` is that
    of the input."""
    layer, source = stage.layer, stage.source
    sums: Any = source  # points of the sums
    if isinstance(layer, AvgPool2D):
        digits = area(stage).bit_length() - 1
        if area(stage) != 2**digits:
            digits = int(math.log2(SUMS / limit))
        stage.factor = round(2**digits / area(stage))
        sums = source + digits
    elif isinstance(layer, RBF) and stage.w is not None:
        stage.w = _smallest_signed(rounded(stage.w, source))
        sums = 2 * source
    elif points is not None:
        points = _with_biases(stage, points, limit)
        sums = source + points
    if isinstance(layer, Conv2D):
        stage.border = int(np.clip(rounded(np.array(layer.pad_value), source), -limit, limit))
    finest = int(np.min(sums))
    function = stage.activation.function if stage.activation else ""
    if function in TABLES and stage.activation:
        stage.function = Function.of(stage.activation)
        finest = stage.function.point
    elif function == "leaky_relu" and stage.activation:
        slope_of(stage.activation)  # raises where it is too large
    if _keeps_point(stage) or (stage.limit is None and function != "leaky_relu"):
        stage.target = finest
    else:
        best = _best_point(outputs, stage.limit or LIMITS["int16"])
        stage.target = min(best, finest, most)
    stage.shift = sums - (TABLE if stage.function else stage.target)
    if np.max(stage.shift) > 30 or np.min(stage.shift) < -30:
        raise ValueError(
            f"network: expected weights and outputs that fixed point can hold, got very large or "
            f"small ones in layer {layer.name if layer else stage.name}"
        )


def _with_biases(stage: FixedStage, points: Array, limit: int) -> Array:
    """Turn the biases into integers; return the weights' points, of which those of maps with very
    large biases become smaller."""
    assert stage.w is not None
    points = points.copy()
    b = np.zeros(len(points)) if stage.b is None else stage.b
    biases = b.reshape(len(points), -1).astype(np.float64)
    for o, part in enumerate(_by_map(stage)):
        pixels = area(stage) if isinstance(stage.layer, Subsample2D) else 1
        w = stage.w[part].astype(np.float64)
        while (
            pixels * limit * abs(w).sum() + abs(biases[o]).max() * 2.0 ** (points[o] + stage.source)
            > SUMS
            or points[o] + stage.source > 29
        ):
            points[o] -= 1
            w = np.floor((w + 1) / 2)
        stage.w[part] = w
    if stage.b is not None:
        integers = [rounded(*pair) for pair in zip(biases, points + stage.source, strict=True)]
        stage.b = np.array(integers, np.int32).reshape(stage.b.shape)
    return points


def _best_point(x: Array, limit: int) -> int:
    """Return the point at which numbers differ least from integers up to the limit, by the sum of
    squares: a few large ones may be cut off for the sake of the others."""
    first = largest_point(x, limit)
    x = x.astype(np.float64)
    return min((first + k for k in range(3)), key=lambda point: _error(x, point, limit))


def _error(x: Array, point: int, limit: int) -> float:
    near = np.clip(rounded(x, point), -limit, limit) / 2.0**point
    return float(np.square(near - x).sum())


def _smallest_signed(x: Array) -> Array:
    for dtype in (np.int8, np.int16):
        if abs(x).max() <= np.iinfo(dtype).max:
            return x.astype(dtype)
    return x.astype(np.int32)
