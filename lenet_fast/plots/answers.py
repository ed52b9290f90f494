"""Counts of digits: in a data set, and by true and predicted class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.data import Splits
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.drawing
def class_distribution(splits: Splits) -> Figure:
    """Draw the number of images of each digit in the training and the test set.

    Parameters
    ----------
    splits : Splits
        See :func:`lenet_fast.data.load`.

    Returns
    -------
    matplotlib.figure.Figure
        One bar per digit and set; a broken line marks equal numbers.

    Examples
    --------
    >>> from lenet_fast import data, plots
    >>> figure = plots.class_distribution(data.load("sample"))
    >>> figure.axes[0].get_title()
    '5,000 training images (broken line: a tenth)'
    """
    picture = style.figure(5.0)
    sets = (("training", splits.train, style.BLUE), ("test", splits.test, style.ORANGE))
    for axes, (name, dataset, colour) in zip(picture.subplots(2, sharex=True), sets, strict=True):
        counts = np.bincount(dataset.labels, minlength=10)
        bars = axes.bar(np.arange(10), counts, 0.75, color=colour)
        words = [f"{count:,}" for count in counts]
        axes.bar_label(bars, words, label_type="center", color="white")
        axes.axhline(len(dataset) / 10, color="black", linewidth=1, linestyle="--")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_ylabel("images")
        axes.set_title(f"{len(dataset):,} {name} images (broken line: a tenth)", fontsize=11)
        style.plain(axes, "y")
    axes.set(xticks=range(10), xlabel="digit")
    return picture


@style.drawing
def confusion(labels: Array, predicted: Array) -> Figure:
    """Draw a confusion matrix: how often each digit was classified as each.

    Parameters
    ----------
    labels, predicted : ndarray (n,), integers from 0 to 9
        True and predicted classes of the images.

    Returns
    -------
    matplotlib.figure.Figure
        One row per true digit, one column per predicted digit; errors are shaded by number.

    Raises
    ------
    TypeError, ValueError
        If they are not such labels, or differ in number.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import plots
    >>> labels, predicted = np.array([3, 5, 5, 8]), np.array([3, 5, 3, 8])
    >>> figure = plots.confusion(labels, predicted)
    >>> figure.axes[0].get_title()
    '1 of 4 digits misclassified (25.00 %)'
    """
    labels = checks.labels("labels", labels, np.size(labels), 10)
    predicted = checks.labels("predicted", predicted, len(labels), 10)
    counts = np.zeros((10, 10), np.intp)
    np.add.at(counts, (labels, predicted), 1)
    wrong = counts - np.diag(np.diag(counts))
    picture = style.figure(6.4)
    axes = picture.subplots()
    axes.set_facecolor("#e3eef6")  # visible through the diagonal
    shaded = np.where(np.eye(10), np.nan, wrong)
    style.show(axes, shaded, "Oranges", 0, max(int(wrong.max()), 1))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = wrong[row, column] > 0.6 * wrong.max() > 0
            axes.text(
                *(column, row, f"{count:,}"),
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    axes.set(xticks=range(10), yticks=range(10))
    axes.tick_params(length=0)
    axes.set(xlabel="digit found", ylabel="digit in the image")
    errors = int(wrong.sum())
    share = f" ({100 * errors / len(labels):.2f} %)" if len(labels) else ""
    axes.set_title(f"{errors:,} of {len(labels):,} digits misclassified{share}")
    return picture
