"""Counts of classes: in a data set, and by true and predicted class."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Draw the number of images of each class in the training and the test set.

    Parameters
    ----------
    splits : Splits
        See :func:`lenet_fast.data.load`.

    Returns
    -------
    matplotlib.figure.Figure
        One bar per class and set; a broken line marks equal numbers.

    Examples
    --------
    >>> from lenet_fast import data, plots
    >>> figure = plots.class_distribution(data.load("sample"))
    >>> figure.axes[0].get_title()
    '5,000 training images (broken line: a tenth)'
    """
    classes = splits.train.classes
    k = len(classes)
    picture = style.figure(5.0)
    sets = (("training", splits.train, style.BLUE), ("test", splits.test, style.ORANGE))
    for axes, (name, dataset, colour) in zip(picture.subplots(2, sharex=True), sets, strict=True):
        counts = np.bincount(dataset.labels, minlength=k)
        bars = axes.bar(np.arange(k), counts, 0.75, color=colour)
        if k <= 10:
            words = [f"{count:,}" for count in counts]
            axes.bar_label(bars, words, label_type="center", color="white")
        axes.axhline(len(dataset) / k, color="black", linewidth=1, linestyle="--")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_ylabel("images")
        share = "a tenth" if k == 10 else f"1 / {k}"
        axes.set_title(f"{len(dataset):,} {name} images (broken line: {share})", fontsize=11)
        style.plain(axes, "y")
    axes.set(xlabel=style.noun(classes))
    style.name_ticks(axes, "x", classes)
    return picture


@style.drawing
def confusion(labels: Array, predicted: Array, classes: Sequence[str] = checks.DIGITS) -> Figure:
    """Draw a confusion matrix: how often each class was classified as each.

    Parameters
    ----------
    labels, predicted : ndarray (n,), integers from 0 to the number of classes minus 1
        True and predicted classes of the images.
    classes : sequence of str
        Their names; by default the ten digits.

    Returns
    -------
    matplotlib.figure.Figure
        One row per true class, one column per predicted class; errors are shaded by number.

    Raises
    ------
    TypeError, ValueError
        If they are not such labels, or differ in number; if `classes` are not such names.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import plots
    >>> labels, predicted = np.array([3, 5, 5, 8]), np.array([3, 5, 3, 8])
    >>> figure = plots.confusion(labels, predicted)
    >>> figure.axes[0].get_title()
    '1 of 4 digits misclassified (25.00 %)'
    """
    classes = checks.class_names("classes", classes)
    k = len(classes)
    labels = checks.labels("labels", labels, np.size(labels), k)
    predicted = checks.labels("predicted", predicted, len(labels), k)
    counts = np.zeros((k, k), np.intp)
    np.add.at(counts, (labels, predicted), 1)
    wrong = counts - np.diag(np.diag(counts))
    picture = style.figure(6.4 if k <= 20 else style.WIDTH)
    points = 10 if k <= 12 else max(120 / k, 2.5)
    axes = picture.subplots()
    axes.set_facecolor("#e3eef6")  # visible through the diagonal
    shaded = np.where(np.eye(k), np.nan, wrong)
    style.show(axes, shaded, "Oranges", 0, max(int(wrong.max()), 1))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = wrong[row, column] > 0.6 * wrong.max() > 0
            axes.text(
                *(column, row, f"{count:,}"),
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=points,
            )
    style.name_ticks(axes, "x", classes)
    style.name_ticks(axes, "y", classes)
    axes.tick_params(length=0)
    noun = style.noun(classes)
    axes.set(xlabel=f"{noun} found", ylabel=f"{noun} in the image")
    errors = int(wrong.sum())
    share = f" ({100 * errors / len(labels):.2f} %)" if len(labels) else ""
    axes.set_title(f"{errors:,} of {len(labels):,} {style.things(classes)} misclassified{share}")
    return picture
