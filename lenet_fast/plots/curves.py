"""Curves and distributions: errors by epoch, rates by layer, errors against a parameter."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.plots import style
from lenet_fast.training import History, runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Run = History | str | os.PathLike[str]

_RUN = (History, str, os.PathLike)
_LINE = 11
"""Points from a line of labels to the next."""
_BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
"""What lies behind a label, so that no line runs through it."""
_NAMED = 3
"""Most curves of a sweep that have their values beside them."""
PAPERS_RATES = (7e-5, 0.016)
"""The smallest and largest effective rate in LeCun et al. 1998, section III.B."""


@style.drawing
def errors(
    histories: Run | Sequence[Run | Sequence[Run]],
    labels: Sequence[str] | None = None,
    *,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
    saved: bool = True,
) -> Figure:
    """Draw the error rates on the training and the test set by epoch.

    Parameters
    ----------
    histories : History, path, or sequence
        One run or several, each a history or the folder of a run. A sequence in place of a run
        holds the runs of several seeds: a line shows their mean, and a band the range from the
        smallest to the largest.
    labels : sequence of str, optional
        One name per run; by default that of its folder, or "run 1" and so on.
    log : bool
        Whether the error rate is on a logarithmic axis.
    marks : mapping of str to float, optional
        Values to compare with, such as a paper's, by what their labels say: a dotted line each.
    saved : bool
        Whether to mark the epoch with the fewest test errors, whose network a run saves.

    Returns
    -------
    matplotlib.figure.Figure
        The last test error is beside its line. A star marks the epoch with the fewest test errors,
        whose network a run saves; where a line is the mean of several seeds, there is none.

    Raises
    ------
    TypeError, ValueError
        If there is no run, or one without a complete epoch; if seeds differ in the number of
        epochs; or if there are more or fewer labels than runs.
    FileNotFoundError, FileFormatError
        If a folder is not that of a run.

    Notes
    -----
    As in LeCun et al. 1998, figure 5. :class:`lenet_fast.training.Row` explains the errors on the
    training set.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> from lenet_fast.training import Trainer
    >>> digits = data.load("sample")
    >>> trainer = Trainer(models.lenet5(output="softmax"))
    >>> history = trainer.fit(digits.train.subset(500), digits.test.subset(100), epochs=2)
    >>> [axes] = plots.errors(history).axes
    >>> [line.get_label() for line in axes.lines][:2]
    ['training', 'test']
    """
    return _by_epoch(histories, labels, log, marks or {}, saved, "errors")


@style.drawing
def losses(
    histories: Run | Sequence[Run | Sequence[Run]],
    labels: Sequence[str] | None = None,
    *,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
    saved: bool = True,
) -> Figure:
    """Draw the mean loss on the training and the test set by epoch.

    Parameters
    ----------
    histories, labels, marks, saved
        As for :func:`errors`.
    log : bool
        Whether the loss is on a logarithmic axis.

    Returns
    -------
    matplotlib.figure.Figure
        As :func:`errors`.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, FileFormatError
        As :func:`errors`.

    Examples
    --------
    >>> from lenet_fast import data, models, plots
    >>> from lenet_fast.training import Trainer
    >>> digits = data.load("sample")
    >>> trainer = Trainer(models.lenet5(output="softmax"))
    >>> history = trainer.fit(digits.train.subset(500), digits.test.subset(100), epochs=2)
    >>> [axes] = plots.losses(history, marks={"chance": 2.303}).axes
    >>> axes.get_ylabel(), axes.lines[-1].get_label()
    ('mean loss', 'chance: 2.3')
    """
    return _by_epoch(histories, labels, log, marks or {}, saved, "loss")


def _by_epoch(
    histories: Run | Sequence[Run | Sequence[Run]],
    labels: Sequence[str] | None,
    log: bool,
    marks: Mapping[str, float],
    saved: bool,
    quantity: Literal["errors", "loss"],
) -> Figure:
    ylabel, number = {"errors": ("error rate (%)", "{:.2f} %"), "loss": ("mean loss", "{:.3g}")}[
        quantity
    ]
    given: list[Run | Sequence[Run]] = (
        [histories] if isinstance(histories, _RUN) else list(histories)
    )
    if not given:
        raise ValueError("histories: expected at least one run, got none")
    names = [_name(run, i) for i, run in enumerate(given)] if labels is None else list(labels)
    if len(names) != len(given):
        raise ValueError(f"labels: expected {len(given)}, one per run, got {len(names)}")
    found = [_curves([one] if isinstance(one, _RUN) else list(one), quantity) for one in given]
    picture = style.figure(4.5)
    axes = picture.subplots()
    ends: list[tuple[float, float, str]] = []
    for i, (name, (epochs, sets, best)) in enumerate(zip(names, found, strict=True)):
        for (what, rates), line in zip(sets.items(), ("--", "-"), strict=True):
            # A single run needs no name, and has one colour per set.
            alone = len(given) == 1 and labels is None
            colour = style.COLOURS[(i + (alone and what == "training")) % len(style.COLOURS)]
            mean = rates.mean(axis=0)
            axes.plot(
                *(epochs, mean, line),
                color=colour,
                linewidth=1.8,
                marker="o" if len(epochs) <= 30 else None,
                markersize=3.5,
                label=what if alone else f"{name}, {what}",
            )
            if len(rates) > 1:
                low, high = rates.min(axis=0), rates.max(axis=0)
                axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
            if what == "test":
                ends.append((epochs[-1], mean[-1], colour))
                if saved and best is not None:
                    axes.plot(
                        *(epochs[best], mean[best], "*"),
                        color=colour,
                        markersize=11,
                        label=f"saved: epoch {epochs[best]}, {number.format(mean[best])}",
                    )
    _draw_marks(axes, marks, number)
    style.plain(axes)
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.locator_params(axis="x", integer=True)
    if log:
        axes.set_yscale("log")
        style.log_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    _write_ends(axes, ends, number, 0.75 * 72 * picture.get_figheight())
    if marks or len(given) > 2:  # whose lines would run through it
        picture.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    else:
        axes.legend(frameon=False)
    return picture


def _write_ends(
    axes: Axes, ends: Sequence[tuple[float, float, str]], number: str, height: float
) -> None:
    """Write the last values, (x, y, colour), beside their lines, none over another.

    `height`: of the axes, in points, about.
    """
    places = np.array([(x, y) for x, y, _ in ends])
    heights = height * axes.transAxes.inverted().transform(axes.transData.transform(places))[:, 1]
    lowest = -np.inf
    for i in np.argsort(heights, kind="stable"):
        x, y, colour = ends[i]
        lowest = max(lowest + _LINE, heights[i])
        axes.annotate(
            number.format(y),
            (x, y),
            (6, lowest - heights[i]),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
            bbox=_BEHIND,
        )


def _name(run: object, index: int) -> str:
    if isinstance(run, str | os.PathLike):
        return Path(run).resolve().name
    return f"run {index + 1}"


def _curves(
    seeds: Sequence[Run], quantity: Literal["errors", "loss"]
) -> tuple[Array, dict[str, Array], int | None]:
    """Return the epochs of a run; for each set what is drawn (seeds, epochs), per image, errors in
    per cent; and the index of the epoch that a run saves, None for several seeds."""
    read = []
    for one in seeds:
        if not isinstance(one, _RUN):
            raise TypeError(f"histories: expected histories or folders, got {checks.kind(one)}")
        history = one if isinstance(one, History) else runs.read_history(one)
        if not history.rows or min(history.train_images, history.test_images) < 1:
            raise ValueError("histories: expected at least one epoch per run, got none")
        read.append(history)
    epochs = [[row.epoch for row in history.rows] for history in read]
    if not epochs or any(one != epochs[0] for one in epochs):
        raise ValueError(
            "histories: expected the same number of epochs for each seed, got "
            f"{', '.join(str(len(one)) for one in epochs) or 'no seed'}"
        )
    if quantity == "loss":
        train = [[row.train_loss for row in h.rows] for h in read]
        test = [[row.test_loss for row in h.rows] for h in read]
    else:
        train = [[100 * row.train_errors / h.train_images for row in h.rows] for h in read]
        test = [[100 * row.test_errors / h.test_images for row in h.rows] for h in read]
    sets = {"training": np.array(train), "test": np.array(test)}
    best = read[0].best if len(read) == 1 else None
    return np.array(epochs[0]), sets, None if best is None else read[0].rows.index(best)


@style.drawing
def rates(
    factors: Mapping[str, Array], rate: float = 1.0, *, network: Network | None = None
) -> Figure:
    """Draw the distribution of the weights' effective learning rates, by layer.

    Parameters
    ----------
    factors : mapping of str to ndarray
        Factors of the rate for each weight, by parameter name such as ``C1.w``:
        :attr:`lenet_fast.training.SDLM.factors`.
    rate : float
        The global rate; 1 if `factors` are already effective rates.
    network : Network, optional
        The network, to leave out the weights of absent links, which are not trained.

    Returns
    -------
    matplotlib.figure.Figure
        Rates on a logarithmic axis, one histogram per layer, all of the same height; the range in
        the paper is shaded.

    Raises
    ------
    TypeError, ValueError
        If there are no factors, or some are not finite numbers above 0.

    Notes
    -----
    LeCun et al. 1998, section III.B: from 7e-5 to 0.016 over the set of parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import plots
    >>> from lenet_fast.training import SDLM
    >>> sdlm = SDLM(mu=0.02)
    >>> sdlm.follow({"C1.w": np.linspace(0, 0.1, 150), "F6.w": np.linspace(0, 1, 10080)})
    >>> [axes] = plots.rates(sdlm.factors, rate=0.0005).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['C1\\n150', 'F6\\n10,080']
    """
    rate = checks.real("rate", rate)
    layers = effective_rates(factors, rate, network)
    edges = np.geomspace(
        min(values.min() for values in layers.values()) * 0.8,
        max(values.max() for values in layers.values()) * 1.25,
        81,
    )
    picture = style.figure(1.4 + 0.55 * len(layers))
    axes = picture.subplots()
    low, high = PAPERS_RATES
    words = f"range in the paper: ${low * 1e5:g} \\cdot 10^{{-5}}$ to {high:g}"
    axes.axvspan(low, high, color="#eeeeee", zorder=0, label=words)
    axes.set_xscale("log")
    axes.set_xlabel("effective learning rate of a weight")
    _draw_layers(picture, axes, layers, edges)
    return picture


@style.drawing
def weights(network: Network) -> Figure:
    """Draw the distribution of the weights, by layer.

    Parameters
    ----------
    network : Network

    Returns
    -------
    matplotlib.figure.Figure
        One histogram per layer, all of the same height, of its trained weights and biases; those
        of absent links are left out.

    Raises
    ------
    TypeError, ValueError
        If it is no network, has nothing to train, or a weight is not finite.

    Examples
    --------
    >>> from lenet_fast import models, plots
    >>> [axes] = plots.weights(models.lenet5()).axes
    >>> [label.get_text() for label in axes.get_yticklabels()][:3]
    ['C1\\n156', 'S2\\n12', 'C3\\n1,516']
    """
    style.check_network(network)
    parameters = network.parameters
    layers = _by_layer({name: parameters[name] for name in network.trainable_names}, network)
    if not layers:
        raise ValueError("network: expected one with something to train, got none")
    every = np.concatenate([*layers.values()])
    if not np.isfinite(every).all():
        raise ValueError("network: expected finite weights")
    low, high = float(every.min()), float(every.max())
    margin = 0.05 * (high - low) or 0.5
    picture = style.figure(1.4 + 0.55 * len(layers))
    axes = picture.subplots()
    axes.axvline(0, color=style.GREY, linewidth=0.8, zorder=0)
    axes.set_xlabel("weight")
    _draw_layers(picture, axes, layers, np.linspace(low - margin, high + margin, 121))
    return picture


def _draw_layers(picture: Figure, axes: Axes, layers: Mapping[str, Array], edges: Array) -> None:
    """Draw a histogram per layer, one below the other, each with its median."""
    for i, values in enumerate(layers.values()):
        counts, _ = np.histogram(values, edges)
        base = -float(i)
        axes.stairs(
            *(base + 0.8 * counts / counts.max(), edges),
            baseline=base,
            fill=True,
            color=style.BLUE,
            label="weights of a layer" if i == 0 else None,
        )
        axes.plot(
            *([np.median(values)] * 2, [base, base + 0.8]),
            color=style.ORANGE,
            linewidth=2,
            label="median" if i == 0 else None,
        )
    axes.set_yticks(
        [-i + 0.3 for i in range(len(layers))],
        [f"{name}\n{values.size:,}" for name, values in layers.items()],
    )
    style.plain(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("layer, and its number of weights")
    picture.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)


def effective_rates(
    factors: Mapping[str, Array], rate: float, network: Network | None
) -> dict[str, Array]:
    """Return the rates of the trained weights by layer; arguments as for :func:`rates`."""
    effective = {}
    for name, given in factors.items():
        array = np.asarray(given)
        if array.dtype.kind != "f" or not array.size:
            raise TypeError(f"factors[{name!r}]: expected floats, got {checks.kind(array)}")
        effective[name] = rate * array
        if not (np.isfinite(effective[name]) & (effective[name] > 0)).all():
            raise ValueError(f"factors[{name!r}]: expected finite rates above 0")
    if not effective:
        raise ValueError("factors: expected those of at least one parameter, got none")
    return _by_layer(effective, network)


def _by_layer(parameters: Mapping[str, Array], network: Network | None) -> dict[str, Array]:
    """Return the values of each layer in one array, without those of the network's absent links."""
    tables = {}
    if network is not None:
        tables = {f"{layer.name}.w": getattr(layer, "table", None) for layer in network.layers}
    layers: dict[str, list[Array]] = {}
    for name, array in parameters.items():
        table = tables.get(name)
        learned = array if table is None else array[table]
        layers.setdefault(name.rpartition(".")[0] or name, []).append(learned.ravel())
    return {name: np.concatenate(parts) for name, parts in layers.items()}


@style.drawing
def sweep(
    x: Sequence[float],
    means: Sequence[float] | Mapping[str, Sequence[float]],
    spreads: Sequence[float] | Array | Mapping[str, Sequence[float] | Array] | None = None,
    xlabel: str = "parameter",
    *,
    ylabel: str = "test error (%)",
    log: bool = True,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Draw an error against a parameter, with its spread over seeds.

    Parameters
    ----------
    x : sequence of float
        Values of the parameter.
    means : sequence of float, or mapping of str to such
        The mean error at each. A mapping draws several curves by name.
    spreads : sequence of float, or (2, k), optional
        Length of the error bars to both sides, such as the standard deviation over seeds; or the
        lengths downwards and upwards. For a mapping of means, a mapping with the same names.
    xlabel, ylabel : str
        Labels of the axes, with units.
    log : bool
        Whether the parameter is on a logarithmic axis.
    marks : mapping of str to float, optional
        Values to compare with, as for :func:`errors`.

    Returns
    -------
    matplotlib.figure.Figure
        The smallest mean of a single curve is marked; two or three have the value beside each
        point.

    Raises
    ------
    ValueError
        If the lengths or names differ, or there are none, or a number is not finite, or not above 0
        with `log`.

    Examples
    --------
    >>> from lenet_fast import plots
    >>> figure = plots.sweep([1, 3, 10, 30], [1.4, 1.1, 0.9, 1.0], [0.1] * 4, "j")
    >>> [axes] = figure.axes
    >>> axes.get_xlabel(), [text.get_text() for text in axes.texts]  # the smallest mean
    ('j', ['0.90 at 10'])
    """
    alone = not isinstance(means, Mapping)
    curves = {"": means} if not isinstance(means, Mapping) else means
    lengths = spreads if isinstance(spreads, Mapping) else dict.fromkeys(curves, spreads)
    if not curves or lengths.keys() != curves.keys():
        raise ValueError(
            f"spreads: expected the names of the means, at least one: {list(curves)}, got "
            f"{list(lengths)}"
        )
    picture = style.figure(4.5)
    axes = picture.subplots()
    for colour, (name, heights) in zip(itertools.cycle(style.COLOURS), curves.items()):
        places, y, bars = _checked_sweep(x, heights, lengths[name], log)
        axes.errorbar(
            *(places, y, bars),
            color=colour,
            linewidth=1.8,
            marker="o",
            markersize=5,
            elinewidth=1.4,
            capsize=4,
            label=name or None,
        )
        if alone:
            _mark_least(axes, places, y, y - bars[0])
        if alone or len(curves) > _NAMED:
            continue
        for place, value in zip(places, y, strict=True):
            axes.annotate(
                f"{value:.2f}",
                (place, value),
                (6, 4),
                textcoords="offset points",
                color=colour,
                fontsize=9,
                bbox=_BEHIND,
            )
    _draw_marks(axes, marks or {}, "{:.2f}")
    if log:
        axes.set_xscale("log")
        style.log_ticks(axes.xaxis)
    style.plain(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if marks or not alone:
        style.legend_above(picture, curves)
    return picture


def _checked_sweep(
    x: Sequence[float], means: Sequence[float], spreads: Sequence[float] | Array | None, log: bool
) -> tuple[Array, Array, Array]:
    """Return a curve and its error bars, by ascending x."""
    places, heights = np.asarray(x, float), np.asarray(means, float)
    if places.ndim != 1 or not places.size or heights.shape != places.shape:
        raise ValueError(
            "means: expected as many numbers as x, at least one, got shapes "
            f"{places.shape} and {heights.shape}"
        )
    bars = _checked_spreads("spreads", 0 * places if spreads is None else spreads, places.size)
    for name, values in (("x", places), ("means", heights)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite numbers")
    if log and places.min() <= 0:
        raise ValueError(f"x: expected numbers above 0 on a logarithmic axis, got {places.min():g}")
    order = np.argsort(places, kind="stable")
    return places[order], heights[order], bars[..., order]


def _checked_spreads(name: str, spreads: Sequence[float] | Array, count: int) -> Array:
    """Return how far error bars reach below and above so many values, (2, count)."""
    reach = np.asarray(spreads, float)
    if reach.shape not in ((count,), (2, count)):
        raise ValueError(f"{name}: expected shape {(count,)} or {(2, count)}, got {reach.shape}")
    if not (np.isfinite(reach) & (reach >= 0)).all():
        raise ValueError(f"{name}: expected finite numbers of at least 0")
    return np.broadcast_to(reach, (2, count))


def _draw_marks(axes: Axes, marks: Mapping[str, float], number: str) -> None:
    """Draw a line with its label at each value to compare with."""
    for i, (what, value) in enumerate(marks.items()):
        value = checks.real(f"marks[{what!r}]", value)
        label = f"{what}: {number.format(value)}"
        axes.axhline(
            value, color="#555555", linestyle=("-.", ":")[i % 2], linewidth=1.2, label=label
        )


def _mark_least(axes: Axes, x: Array, y: Array, low: Array) -> None:
    """Mark the smallest y, and label it below its bar, which reaches down to `low`."""
    least = int(y.argmin())
    axes.plot(x[least], y[least], "o", color=style.ORANGE, markersize=8, zorder=3)
    axes.annotate(
        f"{y[least]:.2f} at {x[least]:g}",
        (x[least], low[least]),
        (0, -8),
        textcoords="offset points",
        ha="center",
        va="top",
        color=style.ORANGE,
    )
    axes.margins(y=0.15)


@style.drawing
def bars(
    names: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    xlabel: str,
    *,
    spreads: Mapping[str, Sequence[float] | Array] | None = None,
    number: str = "{:,.0f}",
) -> Figure:
    """Draw a value of several things, such as networks, by several sources.

    Parameters
    ----------
    names : sequence of str
        The things.
    values : mapping of str to sequence
        By source, one value per name; None if the source gives none.
    xlabel : str
        What the values are, with their unit.
    spreads : mapping of str to array (n,) or (2, n), optional
        By source, how far an error bar reaches to both sides of each value, or below and above it.
    number : str
        Format of the values beside the bars.

    Returns
    -------
    matplotlib.figure.Figure
        Horizontal bars, the first name at the top; where a source gives no value, it says so.

    Raises
    ------
    TypeError, ValueError
        If there are no names or sources, the lengths differ, a value or spread is not a finite
        number of at least 0, or spreads are of a source without values.

    Examples
    --------
    >>> from lenet_fast import plots
    >>> values = {"here": [2578, 50673], "paper": [2600, None]}
    >>> [axes] = plots.bars(["LeNet-1", "LeNet-4"], values, "parameters").axes
    >>> [text.get_text() for text in axes.texts]
    [' 2,578', ' 50,673', ' 2,600', ' paper: no value']
    """
    if not names or not values or any(len(each) != len(names) for each in values.values()):
        lengths = {source: len(each) for source, each in values.items()}
        raise ValueError(
            f"values: expected at least one source, with a value for each of {len(names)} names, "
            f"at least one, got {lengths}"
        )
    for source, each in values.items():
        for value in each:
            if value is not None and not 0 <= checks.real(f"values[{source!r}]", value) < np.inf:
                raise ValueError(f"values[{source!r}]: expected at least 0, got {value}")
    whiskers = {
        source: _checked_spreads(f"spreads[{source!r}]", spread, len(names))
        for source, spread in (spreads or {}).items()
    }
    if not whiskers.keys() <= values.keys():
        raise ValueError(f"spreads: expected sources of values, {list(values)}, got {[*whiskers]}")
    thick = 0.8 / len(values)
    picture = style.figure(1.2 + 0.28 * len(values) * len(names))
    axes = picture.subplots()
    for i, (colour, (source, each)) in enumerate(
        zip(itertools.cycle(style.COLOURS), values.items())
    ):
        places = np.arange(len(names)) + (i - (len(values) - 1) / 2) * thick
        lengths_drawn = [value or 0 for value in each]
        reach = whiskers.get(source, np.zeros((2, len(names))))
        axes.barh(places, lengths_drawn, 0.9 * thick, color=colour, label=source)
        if source in whiskers:
            axes.errorbar(lengths_drawn, places, xerr=reach, fmt="none", ecolor="k", capsize=3)
        for place, value, above in zip(places, each, reach[1], strict=True):
            word = f" {source}: no value" if value is None else " " + number.format(value)
            end = (value or 0) + above
            axes.text(end, place, word, va="center", color=colour, fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    style.plain(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(xlabel)
    if len(values) > 1:
        picture.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return picture
