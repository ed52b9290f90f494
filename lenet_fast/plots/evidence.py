"""What in an image an answer depends on: gradients at the pixels, and covered places."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from lenet_fast import checks, engines, losses, pixels
from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 10


@style.drawing
def saliency(network: Network, images: Array, labels: Array | None = None) -> Figure:
    """Draw how much each pixel of an image speaks for the answer.

    Parameters
    ----------
    network : Network
        With one square input map.
    images : ndarray (rows, columns) or (n, rows, columns), uint8
        One image, or up to ten, as for :meth:`lenet_fast.network.Network.predict`.
    labels : ndarray (n,) or int, optional
        Their true classes, for the titles.

    Returns
    -------
    matplotlib.figure.Figure
        The images, and below each the gradient of the answer's lead at the pixels, with the outline
        of the digit. The lead is by how much the output of the class that wins is better than that
        of the next. Red: more ink here would make it larger; blue: smaller. One scale per image.

    Raises
    ------
    TypeError, ValueError
        If the images or labels do not fit, or there are none or more than ten.

    Notes
    -----
    K. Simonyan, A. Vedaldi and A. Zisserman 2013, "Deep inside convolutional networks", take the
    gradient of a class score.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> digits = data.load("sample").test
    >>> picture = plots.saliency(models.lenet5(), digits.images[:3], digits.labels[:3])
    >>> len(picture.axes)
    6
    """
    images, x = _inputs(network, images)
    with closing(engines.create(network, losses.default_for(network))) as engine:
        _, winners, rivals = _leads(network, engine.predict(x))
        rows = np.arange(len(x))
        slopes = np.zeros((len(x), *network.output_shape), network.dtype)
        slopes[rows, winners], slopes[rows, rivals] = 1, -1
        _, maps = engine.backward(-slopes if network.output == "rbf" else slopes, True, x=x)
    size = images.shape[1:]
    top, left = ((whole - part) // 2 for whole, part in zip(x.shape[2:], size, strict=True))
    maps = maps[:, 0, top : top + size[0], left : left + size[1]]
    picture, pairs = _pairs(images, winners, labels, network.classes)
    for axes, image, values in zip(pairs, images, maps, strict=True):
        style.show_signed(axes, values)
        _outline(axes, image)
    words = "red: more ink would make the answer's lead larger; blue: smaller"
    picture.supxlabel(words, fontsize=10)
    return picture


@style.drawing
def occlusion(
    network: Network, images: Array, labels: Array | None = None, *, size: int = 7
) -> Figure:
    """Draw how the answer changes when a part of an image is covered.

    Parameters
    ----------
    network : Network
        With one square input map.
    images : ndarray (rows, columns) or (n, rows, columns), uint8
        One image, or up to ten, as for :meth:`lenet_fast.network.Network.predict`.
    labels : ndarray (n,) or int, optional
        Their true classes, for the titles.
    size : int
        Rows and columns of the patch, an odd number. It has the value of the background, 0.

    Returns
    -------
    matplotlib.figure.Figure
        The images, and below each a map with the change of the answer's lead, as in
        :func:`saliency`, if the patch lies around a pixel. Red: the lead gets smaller, so what is
        covered speaks for the answer; blue: larger. Dots: the answer changes.

    Raises
    ------
    TypeError, ValueError
        If the images or labels do not fit, or there are none or more than ten; if `size` is not an
        odd number from 1 on.

    Notes
    -----
    M. Zeiler and R. Fergus 2013, "Visualizing and understanding convolutional networks", section
    4.2.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> digits = data.load("sample").test
    >>> picture = plots.occlusion(models.lenet5(), digits.images[0], size=9)
    >>> picture.axes[1].images[0].get_array().shape
    (28, 28)
    """
    if checks.integer("size", size, 1) % 2 == 0:
        raise ValueError(f"size: expected an odd number, got {size}")
    images, x = _inputs(network, images)
    with closing(engines.create(network, losses.default_for(network))) as engine:
        leads, winners, _ = _leads(network, engine.predict(x))
        covered = [engine.predict(_prepared(network, _covered(image, size))) for image in images]
    picture, pairs = _pairs(images, winners, labels, network.classes)
    for axes, image, outputs, lead, winner in zip(
        pairs, images, covered, leads, winners, strict=True
    ):
        left, _, _ = _leads(network, outputs, winner)
        style.show_signed(axes, (lead - left).reshape(image.shape))
        _outline(axes, image)
        rows, columns = np.nonzero((left < 0).reshape(image.shape))
        axes.plot(columns, rows, ".", color="black", markersize=2.5 if len(images) > 3 else 4)
    words = "red: covering this place makes the answer's lead smaller; dots: changes the answer"
    picture.supxlabel(words, fontsize=10)
    return picture


def _inputs(network: Network, images: Array) -> tuple[Array, Array]:
    """Return the images (n, rows, columns), and the network's inputs made of them."""
    style.check_network(network)
    shape = network.input_shape
    if shape[0] != 1 or shape[1] != shape[2]:
        raise ValueError(f"network: expected one with one square input map, got {shape}")
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected bytes (uint8), got {checks.kind(images)}")
    images = images[np.newaxis] if images.ndim == 2 else images
    if images.ndim != 3 or not 1 <= len(images) <= _MOST:
        raise ValueError(
            f"images: expected (rows, columns), or (n, rows, columns) of 1 to {_MOST}, got "
            f"{images.shape}"
        )
    return images, _prepared(network, images)


def _prepared(network: Network, images: Array) -> Array:
    background, ink = network.pixel_range
    size = network.input_shape[-1]
    return pixels.prepare(images, size=size, dtype=network.dtype, background=background, ink=ink)


def _leads(
    network: Network, outputs: Array, winners: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return by how much each winner's output is better than the best other, the winners, and
    those others; with `winners` given, the lead of these classes, which may be negative."""
    scores = -outputs if network.output == "rbf" else outputs.copy()
    rows = np.arange(len(scores))
    winners = np.broadcast_to(scores.argmax(axis=1) if winners is None else winners, len(scores))
    own = scores[rows, winners]
    scores[rows, winners] = -np.inf
    rivals = scores.argmax(axis=1)
    return own - scores[rows, rivals], winners, rivals


def _covered(image: Array, size: int) -> Array:
    """Return an image per pixel (rows * columns, rows, columns), with a patch of background there.

    At the edge, the patch is cut off.
    """
    rows, columns = image.shape
    down, across = np.indices((rows, columns))
    half = size // 2
    near_row = np.abs(down.reshape(-1, 1) - np.arange(rows)) <= half
    near_column = np.abs(across.reshape(-1, 1) - np.arange(columns)) <= half
    covered: Array = np.where(near_row[:, :, None] & near_column[:, None, :], np.uint8(0), image)
    return covered


def _pairs(
    images: Array, winners: Array, labels: Array | None, classes: tuple[str, ...]
) -> tuple[Figure, list[Axes]]:
    """Return a figure with the images above, and the empty axes below them."""
    n = len(images)
    if labels is not None:
        labels = checks.labels("labels", np.atleast_1d(labels), n, len(classes))
    side = min(style.WIDTH / n, 3.0)
    picture = style.figure(0.75 + 2 * side, max(side * n, 6.0))
    axes = picture.subplots(2, n, squeeze=False)
    for i in range(n):
        style.show(axes[0, i], images[i], "gray_r", 0, 255)
        winner = classes[winners[i]]
        read = f"read as {winner}"
        if labels is not None and labels[i] != winners[i]:
            label = classes[labels[i]]
            read = f"{style.article(label)}, {read}" if n <= 6 else f"{label}→{winner}"
        axes[0, i].set_title(read if n <= 6 else read.removeprefix("read as "), fontsize=10)
    return picture, list(axes[1])


def _outline(axes: Axes, image: Array) -> None:
    if image.max() > image.min():
        axes.contour(image, levels=[(int(image.max()) + int(image.min())) / 2], colors="black",
                     linewidths=0.7)  # fmt: skip
