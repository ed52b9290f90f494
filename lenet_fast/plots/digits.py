"""Grids of digits: samples, mistakes, distortions, and the bitmaps of the output units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_fast import bitmaps as characters
from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.data import Dataset
from lenet_fast.network import Network
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.drawing
def samples(dataset: Dataset, count: int = 70, *, columns: int = 14) -> Figure:
    """Draw the first digits of a data set with their labels.

    Parameters
    ----------
    dataset : Dataset
        See :func:`lenet_fast.data.load`.
    count : int
        Largest number of digits.
    columns : int
        Digits per row.

    Raises
    ------
    TypeError, ValueError
        If a number is not a positive int.

    Examples
    --------
    >>> from lenet_fast import data, plots
    >>> [axes] = plots.samples(data.load("sample").test, 28).axes
    >>> axes.get_title()
    'The first 28 of 1,000 images of sample-test'
    """
    checks.integer("columns", columns, 1)
    shown = dataset.subset(min(checks.integer("count", count, 1), len(dataset)))
    title = f"The first {len(shown):,} of {len(dataset):,} images of {dataset.name}"
    words = [shown.classes[label] for label in shown.labels]
    return style.digits_with_words(style.as_grey(shown.images), words, columns, title)


@style.drawing
def mistakes(
    images: Array,
    labels: Array,
    predicted: Array,
    *,
    outputs: Array | None = None,
    classes: Sequence[str] = checks.DIGITS,
    columns: int = 14,
    limit: int = 98,
) -> Figure:
    """Draw the misclassified images, each with its true and its predicted class.

    Parameters
    ----------
    images : ndarray (n, rows, columns)
        Grey values, from 0 (background) to 255 (foreground); all images, not only misclassified. Or
        colours, (n, channels, rows, columns), which are drawn in grey.
    labels, predicted : ndarray (n,), integers from 0 to the number of classes minus 1
        True and predicted classes.
    outputs : ndarray (n, classes), optional
        The network's outputs. With them the worst mistakes come first: those where the outputs of
        the true and the predicted class differ most. Without them, the images keep their order.
    classes : sequence of str
        Names of the classes; by default the ten digits.
    columns : int
        Images per row; fewer where names are long.
    limit : int
        Largest number of images to draw, the first ones.

    Returns
    -------
    matplotlib.figure.Figure
        Below each digit "8→3": an 8, read as a 3.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not images and labels, or differ in number.

    Notes
    -----
    As in LeCun et al. 1998, figure 8.

    Examples
    --------
    >>> from lenet_fast import data, plots
    >>> digits = data.load("sample").test
    >>> predicted = digits.labels.copy()
    >>> predicted[3] = 8
    >>> [axes] = plots.mistakes(digits.images, digits.labels, predicted).axes
    >>> axes.get_title()
    '1 of 1,000 digits misclassified (2→8: a 2, read as an 8)'
    """
    images = style.as_grey(images)
    classes = checks.class_names("classes", classes)
    labels = checks.labels("labels", labels, len(images), len(classes))
    predicted = checks.labels("predicted", predicted, len(images), len(classes))
    checks.integer("columns", columns, 1)
    wrong = np.flatnonzero(labels != predicted)
    if outputs is not None:
        outputs = checks.floats("outputs", np.asarray(outputs), "n, classes")
        if outputs.shape != (expected := (len(images), len(classes))):
            raise ValueError(f"outputs: expected {expected}, got {outputs.shape}")
        margins = np.abs(outputs[wrong, labels[wrong]] - outputs[wrong, predicted[wrong]])
        wrong = wrong[np.argsort(-margins, kind="stable")]
    shown = wrong[: checks.integer("limit", limit, 1)]
    arrow = "→" if max(map(len, classes)) <= 3 else "\n→ "
    words = [f"{classes[labels[i]]}{arrow}{classes[predicted[i]]}" for i in shown]
    title = f"{len(wrong):,} of {len(images):,} {style.things(classes)} misclassified"
    if len(shown) < len(wrong):
        title += f", the {'first' if outputs is None else 'worst'} {len(shown)}"
    elif outputs is not None and len(wrong) > 1:
        title += ", worst first"
    if len(shown):
        first = labels[shown[0]], predicted[shown[0]]
        true, read = (style.article(classes[label]) for label in first)
        if "\n" not in words[0]:
            title += f" ({words[0]}: {true}, read as {read})"
    return style.digits_with_words(images[shown], words, columns, title)


@style.drawing
def distorted(images: Array, versions: Array) -> Figure:
    """Draw digits and distorted versions of them.

    Parameters
    ----------
    images : ndarray (n, rows, columns)
        The originals: grey values on any scale, with a background of 0.
    versions : ndarray (n, k, rows, columns)
        The k versions of each.

    Returns
    -------
    matplotlib.figure.Figure
        One row per digit, the original first.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not images, or do not match.

    Notes
    -----
    As in LeCun et al. 1998, figure 7.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import data, plots
    >>> from lenet_fast.data import distort
    >>> images, numbers = data.load("sample").test.images[:5], np.arange(5)
    >>> epochs = [distort.PAPER(images, numbers, epoch, seed=0) for epoch in range(8)]
    >>> figure = plots.distorted(images, np.stack(epochs, axis=1))
    >>> [axes.get_title() for axes in figure.axes]
    ['original', 'distorted']
    """
    images = style.grey_images("images", images, "n, rows, columns")
    versions = style.grey_images("versions", versions, "n, k, rows, columns")
    n, k, *size = versions.shape
    if images.shape != (n, *size) or not versions.size:
        raise ValueError(
            "versions: expected (n, k, rows, columns) with those of the images, none 0, got "
            f"{versions.shape} for {images.shape}"
        )
    parts = [style.mosaic(images, 1, 3), style.mosaic(versions.reshape(n * k, *size), k, 3)]
    shares = [part.shape[1] for part in parts]
    height = style.WIDTH * parts[0].shape[0] / (sum(shares) + size[1] / 2)
    picture = style.figure(0.55 + height)
    picture.set_layout_engine("constrained", wspace=0.06, h_pad=0.12)
    high = max(images.max(), versions.max())
    for axes, part, title in zip(
        picture.subplots(1, 2, width_ratios=shares), parts, ("original", "distorted"), strict=True
    ):
        style.show(axes, part, "gray_r", 0, high)
        axes.set_title(title)
    return picture


@style.drawing
def bitmaps(network: Network | None = None) -> Figure:
    """Draw the 7x12 bitmaps that are the centres of the RBF output units.

    Parameters
    ----------
    network : Network, optional
        A network with ten RBF outputs of 84 inputs each, to draw its centres; by default those of
        the paper.

    Raises
    ------
    ValueError
        If the network has no such outputs.

    Notes
    -----
    LeCun et al. 1998, figure 3.

    Examples
    --------
    >>> from lenet_fast import plots
    >>> figure = plots.bitmaps()
    >>> [axes.get_title() for axes in figure.axes]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    size = (characters.ROWS, characters.COLUMNS)
    if network is None:
        centres = characters.centres()
    else:
        centres = rbf_centres(network)
        if centres.shape != (10, 84):
            raise ValueError(
                f"network: expected ten RBF outputs of 84 inputs each, got {centres.shape}"
            )
    picture = style.figure(4.9)
    for digit, axes in enumerate(picture.subplots(2, 5).flat):
        axes.pcolormesh(
            centres[digit].reshape(size), cmap="gray_r", vmin=-1, vmax=1,
            edgecolors="#dddddd", linewidth=0.5,
        )  # fmt: skip
        axes.set_aspect("equal")
        axes.invert_yaxis()
        style.bare(axes)
        axes.set_title(f"{digit}")
    return picture


def rbf_centres(network: Network) -> Array:
    """Return the centres (classes, units) of a network's RBF outputs; ValueError if it has none."""
    style.check_network(network)
    if network.output != "rbf":
        raise ValueError(f"network: expected one with RBF outputs, got {network.output!r} outputs")
    return network.layers[-1].parameters["w"]
