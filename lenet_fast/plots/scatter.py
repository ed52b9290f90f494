"""What a network makes of many images: the outputs of a layer, in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLOCK = 256
"""Images at a time: the outputs of all layers are kept for so many."""
_MARKERS = "o^sDvP"
"""For classes with the same colour, if their names are too long to be signs themselves."""


@style.drawing
def embedding(network: Network, images: Array, labels: Array, layer: str | None = None) -> Figure:
    """Draw the outputs of a layer for many images as points in two dimensions.

    Parameters
    ----------
    network : Network
    images : ndarray
        At least two, as for :meth:`lenet_fast.network.Network.predict`. A few hundred show most.
    labels : ndarray (n,), integers
        Their true classes.
    layer : str, optional
        Name of a layer, after its activation; by default the one before the outputs, F6 of
        LeNet-5.

    Returns
    -------
    matplotlib.figure.Figure
        One point per image, with colour and sign of its class. Digits and letters are signs
        themselves, with a larger one in the middle of a class; other names are in a legend.
        Circles: images that the network misclassifies.

    Raises
    ------
    TypeError, ValueError
        If the images or labels do not fit, or the network has no such layer, or its outputs are
        not finite.

    Notes
    -----
    The two axes are the principal components: those directions, of as many as the layer has
    outputs, in which the points differ most (K. Pearson 1901). Distances along all others are not
    seen: what overlaps here may be far apart.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> digits = data.load("sample").test.subset(100)
    >>> [axes] = plots.embedding(models.lenet5(), digits.images, digits.labels).axes
    >>> axes.get_xlabel()[:29]
    'first principal component of '
    """
    style.check_network(network)
    names = list(network.stages)
    if layer is None:
        layer = names[max(len(names) - 2, 0)]
    if layer not in names:
        raise ValueError(f"layer: expected one of {', '.join(names)}, got {layer!r}")
    outputs = network.predict(images)
    if outputs.ndim != 2 or len(outputs) < 2:
        raise ValueError(f"images: expected at least two, got shape {np.shape(images)}")
    n, k = outputs.shape
    labels = checks.labels("labels", labels, n, k)
    values = np.concatenate(
        [
            network.activations(images[i : i + _BLOCK])[network.stages[layer]].astype(np.float64)
            for i in range(0, n, _BLOCK)
        ]
    ).reshape(n, -1)
    if not np.isfinite(values).all():
        raise ValueError(f"network: expected finite outputs of {layer}")
    points, share = _principal_components(values)
    width, height = np.ptp(points, axis=0)
    picture = style.figure(0.7 + style.WIDTH * (min(max(height / width, 0.4), 1) if width else 1))
    axes = picture.subplots()
    short = all(len(name) == 1 and name.isascii() and name.isalnum() for name in network.classes)
    for label, name in enumerate(network.classes):
        own = points[labels == label]
        row, column = divmod(label, len(style.COLOURS))
        axes.scatter(
            *(own[:, 0], own[:, 1]),
            s=18,
            marker=f"${name}$" if short else _MARKERS[row % len(_MARKERS)],
            color=style.COLOURS[column],
            linewidths=0.2,
            alpha=0.8,
            label=name,
        )
    wrong = points[network.classify_outputs(outputs) != labels]
    axes.scatter(
        wrong[:, 0], wrong[:, 1], s=70, facecolors="none", edgecolors="black", linewidths=0.8
    )
    if short:
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": style.GREY}
        for label in np.unique(labels):
            x, y = np.median(points[labels == label], axis=0)
            axes.text(x, y, network.classes[label], ha="center", va="center", size=12, bbox=box)
    else:
        style.legend_above(picture, network.classes)
    units = f"{values.shape[1]:,} outputs of {layer}"
    axes.set(xlabel=f"first principal component of the {units}", ylabel="second")
    axes.set_aspect("equal", "datalim")
    style.plain(axes)
    axes.set_title(
        f"{n:,} {style.things(network.classes)}, {100 * share:.0f} % of the variance"
        f"; circles: {len(wrong):,} misclassified"
    )
    return picture


def _principal_components(values: Array) -> tuple[Array, float]:
    """Return the first two principal components (n, 2) of values (n, k), and how much of the
    variance they have. Signs are such that the largest weight of each is positive."""
    centred = values - values.mean(axis=0)
    left, scales, axes = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(axes).argmax(axis=1)
    points = left * scales * np.sign(axes[np.arange(len(axes)), largest])
    if points.shape[1] == 1:
        points = np.hstack((points, np.zeros_like(points)))
    variances = scales**2
    total = float(variances.sum())
    return points[:, :2], float(variances[:2].sum()) / total if total else 1.0
