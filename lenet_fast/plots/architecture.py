"""A drawing of a network: its maps and units, and what leads from one layer to the next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lenet_fast.layers import RBF, AvgPool2D, Conv2D, Dense, Layer, MaxPool2D, Shape, Subsample2D
from lenet_fast.network import Network
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PER_ROW = 8  # layers
_HEIGHT = 2.5  # of a row, in inches
_SHEETS = 6  # maps that are drawn of a layer, at most
_NAMES = {
    Conv2D: "convolution",
    Subsample2D: "sub-sampling",
    AvgPool2D: "average pooling",
    MaxPool2D: "max pooling",
    Dense: "full connection",
    RBF: "distances to\ncentres",
}


@style.drawing
def architecture(network: Network) -> Figure:
    """Draw the layers of a network, as the papers do.

    Parameters
    ----------
    network : Network
        Any network; eight layers fit in a row.

    Returns
    -------
    matplotlib.figure.Figure
        Maps as stacked sheets, up to six of them, larger ones for larger maps; units without maps
        as bars. Above each its name, number and size, below it its free parameters and
        connections; between them the operation. Activations and dropout are not drawn.

    Notes
    -----
    As in LeCun et al. 1998, figure 2.

    Examples
    --------
    >>> from lenet_fast import models, plots
    >>> [axes] = plots.architecture(models.lenet5()).axes
    >>> [text.get_text() for text in axes.texts][:3]
    ['input\\n1 map\\n32 x 32', 'C1\\n6 maps\\n28 x 28', 'convolution\\n5 x 5']
    """
    style.check_network(network)
    inputs = dict(zip((each.name for each in network.layers), network.shapes, strict=False))
    by_name = {each.name: each for each in network.layers}
    stages = [by_name[name] for name in network.stages]
    shapes = [network.input_shape, *(each.output_shape(inputs[each.name]) for each in stages)]
    rows = math.ceil(len(shapes) / _PER_ROW)
    across = math.ceil(len(shapes) / rows)
    picture = style.figure(0.4 + _HEIGHT * rows)
    axes = picture.subplots()
    style.bare(axes)
    axes.set(xlim=(-0.6, across - 0.4), ylim=(-_HEIGHT * (rows - 0.5), _HEIGHT / 2))
    largest = max([max(shape[1:]) for shape in shapes if len(shape) == 3])
    for i, shape in enumerate(shapes):
        x, y = i % across, -_HEIGHT * (i // across)
        layer = stages[i - 1] if i else None
        _draw(axes, x, y, shape, largest, across / style.WIDTH)
        _write(axes, x, y + 0.92, _title(layer, shape), 9, "black")
        if layer is None:
            continue
        _write(axes, x - 0.5, y - 0.68, _operation(layer), 7.5, style.BLUE)
        arrow = {"arrowstyle": "-|>", "color": style.BLUE}
        axes.annotate("", (x - 0.4, y), (x - 0.6, y), arrowprops=arrow)
        parameters, links = layer.parameter_count(), layer.connections(inputs[layer.name])
        words = f"{parameters:,} parameters\n" if parameters else "\n"
        _write(axes, x, y - 1.06, words + f"{links:,} connections", 6, style.GREY)
    counts = network.counts()
    axes.set_title(
        f"{counts.parameters:,} free parameters, {counts.connections:,} connections", fontsize=11
    )
    return picture


def _draw(axes: Axes, x: float, y: float, shape: Shape, largest: int, inch: float) -> None:
    """Draw maps (c, h, w) as sheets, or units as a bar, around (x, y); `inch` of the x axis."""
    from matplotlib.patches import Rectangle

    look: dict[str, Any] = {"facecolor": "#e3eef6", "edgecolor": style.BLUE, "linewidth": 0.8}
    if len(shape) == 3 and max(shape[1:]) > 1:
        sheets = min(shape[0], _SHEETS)
        height, width = (0.12 + 0.42 * (side / largest) ** 0.8 for side in shape[1:])
        width *= inch
        for k in reversed(range(sheets)):
            shift = 0.035 * (k - (sheets - 1) / 2)
            corner = (x - width / 2 + shift * inch, y - height / 2 + shift)
            axes.add_patch(Rectangle(corner, width, height, **look))
    else:
        height = 0.25 + 0.3 * math.log10(math.prod(shape))
        corner = (x - 0.05 * inch, y - height / 2)
        axes.add_patch(Rectangle(corner, 0.1 * inch, height, **look))


def _write(axes: Axes, x: float, y: float, words: str, size: float, colour: str) -> None:
    axes.text(x, y, words, ha="center", va="center", fontsize=size, color=colour)


def _title(layer: Layer | None, shape: Shape) -> str:
    name = "input" if layer is None else layer.name
    if len(shape) == 3 and max(shape[1:]) > 1:
        maps = f"{shape[0]} maps" if shape[0] > 1 else "1 map"
        return f"{name}\n{maps}\n{shape[1]} x {shape[2]}"
    return f"{name}\n{math.prod(shape)} units"


def _operation(layer: Layer) -> str:
    words = next((name for kind, name in _NAMES.items() if isinstance(layer, kind)), None)
    words = type(layer).__name__ if words is None else words
    if isinstance(layer, Conv2D | Subsample2D | AvgPool2D | MaxPool2D):
        words += "\n" + " x ".join(map(str, layer.kernel))
        usual = (1, 1) if isinstance(layer, Conv2D) else layer.kernel
        if layer.stride != usual:
            words += f", stride {layer.stride[0]}"
        if isinstance(layer, Conv2D) and layer.table is not None:
            words += ", table"
    return words
