"""Contents of a network, and its outputs for an image: links, kernels, maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_fast import bitmaps, checks
from lenet_fast.checks import Array
from lenet_fast.connections import Table
from lenet_fast.layers import Conv2D
from lenet_fast.network import Network
from lenet_fast.plots import style
from lenet_fast.plots.digits import rbf_centres

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_OUTPUTS = {
    "rbf": "penalty (the smallest wins)",
    "softmax": "probability",
    "linear": "score (the largest wins)",
}


@style.drawing
def connection_table(table: Table | Network) -> Figure:
    """Draw which input maps each output map of a convolution reads.

    Parameters
    ----------
    table : bool ndarray (c_out, c_in), or Network
        Such as :data:`lenet_fast.connections.LENET5_C3`; for a network, the table of its first
        layer with one.

    Returns
    -------
    matplotlib.figure.Figure
        One column per output map, one row per input map, an X per link; their numbers at the ends
        of rows and columns.

    Raises
    ------
    TypeError, ValueError
        If it is not a table, or a network without one.

    Notes
    -----
    As in LeCun et al. 1998, table I.

    Examples
    --------
    >>> from lenet_fast import connections, plots
    >>> [axes] = plots.connection_table(connections.LENET5_C3).axes
    >>> axes.get_title()
    '60 of 96 links'
    """
    seen, seeing = "input map", "output map"
    if isinstance(table, Network):
        layer = _with_table(table)
        links = layer.links
        seen, seeing = f"map of {_before(table, layer)}", f"map of {layer.name}"
    else:
        if not isinstance(table, np.ndarray) or table.dtype != np.bool_ or table.ndim != 2:
            raise TypeError(f"table: expected a bool array or a network, got {checks.kind(table)}")
        links = table
    c_out, c_in = links.shape
    picture = style.figure(1.5 + 0.42 * c_in)
    axes = picture.subplots()
    outputs, inputs = np.nonzero(links)
    axes.plot(outputs, inputs, "X", color=style.BLUE, markersize=13, linestyle="none")
    axes.set(xticks=range(c_out), yticks=range(c_in))
    for place, count in enumerate(links.sum(axis=0)):
        axes.text(c_out - 0.35, place, f"{count}", va="center", color=style.GREY)
    for place, count in enumerate(links.sum(axis=1)):
        axes.text(place, c_in - 0.25, f"{count}", ha="center", va="center", color=style.GREY)
    axes.set(xlim=(-0.5, c_out - 0.5), ylim=(c_in - 0.5, -0.5))
    axes.hlines(np.arange(c_in - 1) + 0.5, -0.5, c_out - 0.5, color="#dddddd", linewidth=0.8)
    axes.vlines(np.arange(c_out - 1) + 0.5, -0.5, c_in - 0.5, color="#dddddd", linewidth=0.8)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.set(xlabel=seeing, ylabel=seen)
    axes.set_title(f"{links.sum()} of {links.size} links", pad=10)
    return picture


@style.drawing
def filters(network: Network, layer: str | None = None) -> Figure:
    """Draw the kernels of convolutions.

    Parameters
    ----------
    network : Network
    layer : str, optional
        Name of a convolution; by default the first two are drawn, C1 and C3 of LeNet-5.

    Returns
    -------
    matplotlib.figure.Figure
        For each layer, one column per output map and one row per input map, empty where there is
        no link. Blue is below zero, red above, with one scale per layer.

    Raises
    ------
    ValueError
        If the network has no such layer.

    Examples
    --------
    >>> from lenet_fast import models, plots
    >>> axes, scale = plots.filters(models.lenet5(), "C1").axes
    >>> axes.get_title(), scale.get_ylabel()
    ('C1: 6 kernels of 5 x 5', 'weight')
    """
    style.check_network(network)
    found = [each for each in network.layers if isinstance(each, Conv2D)]
    chosen = found[:2] if layer is None else [each for each in found if each.name == layer]
    if not chosen:
        names = ", ".join(each.name for each in found) or "no convolutions"
        raise ValueError(f"layer: expected a convolution of the network ({names}), got {layer!r}")
    wholes = [_kernels(each) for each in chosen]
    inches = [0.76 * style.WIDTH * np.array(whole.shape) / max(whole.shape) for whole in wholes]
    heights = [0.8 + size[0] for size in inches]
    picture = style.figure(sum(heights))
    rows = picture.subplots(len(chosen), squeeze=False, height_ratios=heights)[:, 0]
    for axes, each, whole, sides in zip(rows, chosen, wholes, inches, strict=True):
        image = style.show_signed(axes, whole)
        for set_ticks, count, size, room in (
            (axes.set_yticks, each.c_in, each.kernel[0], sides[0] / 0.2),
            (axes.set_xticks, each.c_out, each.kernel[1], sides[1] / 0.35),
        ):
            shown = range(0, count, max(1, math.ceil(count / room)))
            set_ticks([(size + 1) * place + (size - 1) / 2 for place in shown], [*map(str, shown)])
        axes.tick_params(length=0)
        axes.set(xlabel=f"map of {each.name}", ylabel=f"map of {_before(network, each)}")
        axes.set_title(f"{each.name}: {each.links.sum()} kernels of {_by(each.kernel)}")
        picture.colorbar(image, ax=axes, label="weight", aspect=14, pad=0.01)
    return picture


@style.drawing
def features(network: Network, image: Array, label: int | None = None) -> Figure:
    """Draw the outputs of every layer of a network for an image.

    Parameters
    ----------
    network : Network
    image : ndarray
        One image, as for :meth:`lenet_fast.network.Network.predict`.
    label : int, optional
        Its true class, for the title.

    Returns
    -------
    matplotlib.figure.Figure
        The input and the maps of the layers; units without maps as strips; and the outputs as bars,
        the winner in orange. With the paper's RBF outputs also the 84 units of the layer before
        as a bitmap, beside the bitmap of the winner. Except for the input, blue is below zero and
        red above, with one scale per layer: its ends are in the layer's title.

    Raises
    ------
    TypeError, ValueError
        If it is not one image, or does not fit the network, or `label` is not one of its classes.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> digits = data.load("sample").test
    >>> picture = plots.features(models.lenet5(), digits.images[0], digits.labels[0])
    >>> [axes.get_title() for axes in picture.axes][:2]
    ['input: a 4', 'C1: 6 of 28 x 28\\n±0.435']
    """
    style.check_network(network)
    found = network.activations(image)
    outputs = found[network.layers[-1].name]
    if outputs.ndim != 1:
        raise ValueError(f"image: expected one, got {len(outputs)}")
    if label is not None:
        label = checks.integer("label", label, 0, len(outputs.T) - 1)
    winner = int(network.classify_outputs(outputs[np.newaxis])[0])
    stages = {name: found[last] for name, last in network.stages.items()}
    del stages[list(stages)[-1]]
    maps = {name: y for name, y in stages.items() if y.ndim == 3 and y[0].size > 1}
    strips = {name: y.ravel() for name, y in stages.items() if name not in maps}
    heights = (2.3, max(0.55 * len(strips), 0.01), 2.3)
    picture = style.figure(sum(heights))
    above, middle, below = picture.subfigures(3, squeeze=False, height_ratios=heights)[:, 0]
    of = None if label is None else network.classes[label]
    _draw_maps(above, np.asarray(image), of, maps)
    if strips:
        _draw_strips(middle, strips)
    _draw_outputs(below, network, outputs, winner, stages)
    return picture


@style.drawing
def readings(
    network: Network, images: Array, words: Sequence[str], labels: Array | None = None
) -> Figure:
    """Draw the outputs of every layer of a network for several images, one row each.

    Parameters
    ----------
    network : Network
    images : ndarray
        At least one, as for :meth:`lenet_fast.network.Network.predict`.
    words : sequence of str
        What is beside each image, such as its label.
    labels : ndarray (n,), integers, optional
        True classes, to draw wrong answers in orange.

    Returns
    -------
    matplotlib.figure.Figure
        Per row the image, the maps of the layers, units without maps in a block, and the answer.
        Except for the image, blue is below zero and red above, with one scale per layer and image.

    Raises
    ------
    TypeError, ValueError
        If there are no images, or they do not fit the network, or there are more or fewer words.

    Notes
    -----
    As in LeCun et al. 1998, figure 13. For one image with more detail, see :func:`features`.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> digits = data.load("sample").test
    >>> picture = plots.readings(models.lenet5(), digits.images[:2], ["a 4", "a 2"])
    >>> [axes.get_title() for axes in picture.axes][:3]
    ['input', 'C1', 'S2']
    """
    style.check_network(network)
    outputs = network.predict(images)
    if outputs.ndim != 2 or not 0 < len(outputs) == len(words):
        shape = np.shape(images)
        raise ValueError(
            f"words: expected one per image, at least one, got {len(words)} for images of {shape}"
        )
    answers = network.classify_outputs(outputs)
    truth = (
        answers if labels is None else checks.labels("labels", labels, len(words), outputs.shape[1])
    )
    names = list(network.stages)[:-1]
    picture = style.figure(0.5 + 1.05 * len(words))
    rows = picture.subplots(len(words), len(names) + 2, squeeze=False)
    shown = zip(rows, images, words, answers, truth, strict=True)
    for axes, image, word, answer, true in shown:
        found = network.activations(image)
        parts = [found[network.stages[name]] for name in names]
        style.show(axes[0], image if image.ndim == 2 else style.mosaic(image, 1), "gray_r")
        axes[0].set_ylabel(word, rotation=0, ha="right", va="center")
        for each, y in zip(axes[1:-1], parts, strict=True):
            tiles = y.reshape(len(y), *(y.shape[1:] or (1, 1)))
            style.show_signed(each, style.mosaic(tiles, _columns(len(y)), int(tiles[0].size > 1)))
        style.bare(axes[-1])
        colour = "black" if answer == true else style.ORANGE
        said = network.classes[answer]
        axes[-1].text(0.5, 0.5, said, size=20, ha="center", va="center", color=colour)
    for axes, name in zip(rows[0], ["input", *names, "answer"], strict=True):
        axes.set_title(name, fontsize=10)
    return picture


def _draw_maps(part: SubFigure, image: Array, label: str | None, maps: dict[str, Array]) -> None:
    pixels = image if image.ndim == 2 else style.mosaic(image, 1)
    wholes = {name: style.mosaic(y, _columns(len(y))) for name, y in maps.items()}
    ratios = [1.0, *(whole.shape[1] / whole.shape[0] for whole in wholes.values())]
    axes = part.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    style.show(axes[0], pixels, "gray_r")
    axes[0].set_title("input" if label is None else f"input: {style.article(label)}", fontsize=10)
    for each, (name, whole) in zip(axes[1:], wholes.items(), strict=True):
        style.show_signed(each, whole)
        y = maps[name]
        n, *size = y.shape
        each.set_title(f"{name}: {n} of {_by(size)}\n{_scale(y)}", fontsize=10)


def _draw_strips(part: SubFigure, strips: dict[str, Array]) -> None:
    rows = part.subplots(len(strips), squeeze=False)[:, 0]
    for axes, (name, values) in zip(rows, strips.items(), strict=True):
        style.show_signed(axes, values[np.newaxis])
        axes.set_aspect("auto")
        axes.set_title(f"{name}: {len(values)} units, {_scale(values)}", fontsize=10)


def _draw_outputs(
    part: SubFigure, network: Network, outputs: Array, winner: int, stages: dict[str, Array]
) -> None:
    name, units = list(stages.items())[-1] if stages else ("", np.zeros(0))
    values = outputs
    if network.output == "softmax":
        values = network.probabilities(outputs[np.newaxis])[0]
    bitmap = (bitmaps.ROWS, bitmaps.COLUMNS)
    as_bitmaps = network.output == "rbf" and units.size == bitmaps.ROWS * bitmaps.COLUMNS
    ratios = (1, 1, 3) if as_bitmaps else (1,)
    columns = part.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    if as_bitmaps:
        style.show_signed(columns[0], units.reshape(bitmap))
        columns[0].set_title(f"{name} as 7 x 12", fontsize=10)
        style.show_signed(columns[1], rbf_centres(network)[winner].reshape(bitmap))
        columns[1].set_title(f"bitmap of {network.classes[winner]}", fontsize=10)
    axes = columns[-1]
    colours = [style.ORANGE if k == winner else style.BLUE for k in range(len(values))]
    bars = axes.bar(np.arange(len(values)), values, 0.75, color=colours)
    words = [f"{value:.3g}" if k == winner else "" for k, value in enumerate(values)]
    axes.bar_label(bars, words, color=style.ORANGE, fontsize=10, padding=1)
    style.plain(axes, "y")
    axes.margins(y=0.12)
    axes.set(xlabel="class", ylabel=_OUTPUTS[network.output])
    style.name_ticks(axes, "x", network.classes)
    axes.set_title(f"read as {network.classes[winner]}", color=style.ORANGE, fontsize=10)


def _scale(values: Array) -> str:
    """Return the ends of the colours of :func:`style.show_signed`."""
    return f"±{np.abs(values).max():.3g}"


def _columns(n: int) -> int:
    """Return how many of n maps to put in a row, so that rows and columns are about equal."""
    return next(k for k in range(int(n**0.5 + 0.5), 0, -1) if n % k == 0 or k == 1)


def _before(network: Network, layer: Conv2D) -> str:
    names = ["the input", *network.stages]
    return names[names.index(layer.name) - 1]


def _with_table(network: Network) -> Conv2D:
    for layer in network.layers:
        if isinstance(layer, Conv2D) and layer.table is not None:
            return layer
    raise ValueError("network: expected a layer with a connection table, got none")


def _kernels(layer: Conv2D) -> Array:
    """Return all kernels as one image: columns are output maps, rows input maps."""
    tiles = np.full((layer.c_out, layer.c_in, *layer.kernel), np.nan)
    w, links = layer.parameters["w"], layer.links
    tiles[links] = w.reshape(-1, *layer.kernel) if layer.table is None else w[layer.table]
    return style.mosaic(tiles.swapaxes(0, 1).reshape(-1, *layer.kernel), layer.c_out)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
