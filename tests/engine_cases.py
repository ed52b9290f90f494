"""Small networks that, taken together, reach every option of every layer, and the judge of engines.

Sizes are chosen to miss the literal ones of the kernels' register blocks: odd numbers of maps,
rows of columns that leave a rest, kernels of more and fewer than five taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from helpers import assert_within, new_rng

from lenet_fast import layers, losses, memory
from lenet_fast.engines import Engine, LayersEngine
from lenet_fast.layers import (
    GELU,
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training import SGD, Adadelta, Adam, AdamW, RMSprop

CLASSES = 3

# --- the judge  ---

Results = dict[str, np.ndarray]


def copied(net: Network, dtype: object) -> Network:
    """Return a network of the same architecture and weights in another dtype."""
    twin = Network.from_config(net.config() | {"dtype": np.dtype(dtype).name})
    for name, array in net.parameters.items():
        twin.parameters[name][...] = array
    return twin


def examples(net: Network, n: int, dtype: object = None) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels, the same numbers in both dtypes; by default in the network's."""
    rng = new_rng()
    x = rng.standard_normal((n, *net.input_shape)).astype(np.float32)
    return x.astype(dtype or net.dtype), rng.integers(0, net.output_shape[0], n)


def results(engine: Engine, x: np.ndarray, labels: np.ndarray) -> Results:
    """Return all that an engine makes of a batch, by name."""
    totals, gradients = engine.loss_and_gradients(x, labels)
    again, same, d_inputs = engine.loss_and_gradients(x, labels, inputs=True)
    np.testing.assert_equal((again, same), (totals, gradients))
    evaluated = engine.evaluate(x, labels)
    assert (evaluated.errors, evaluated.images) == (totals.errors, len(x))
    assert totals.images == len(x)
    found = {
        "outputs": engine.predict(x),
        "loss": np.array(totals.loss),
        "loss without gradients": np.array(evaluated.loss),
        "errors": np.array(totals.errors),
    }
    found |= {f"gradient of {name}": array for name, array in gradients.items()}
    diagonal = engine.hessian_diagonal(x, labels)
    found |= {f"curvature of {name}": array for name, array in diagonal.items()}
    found |= {"gradient of the images": d_inputs}
    return found | on_demand(engine, x, labels)


def on_demand(engine: Engine, x: np.ndarray, labels: np.ndarray) -> Results:
    """Return what an engine makes of given gradients at the outputs, and of each image."""
    outputs = engine.forward(x)
    given = incoming(outputs.shape).astype(outputs.dtype)
    gradients, d_inputs = engine.backward(given, inputs=True, x=x)
    found = {f"backward to {name}": array for name, array in gradients.items()}
    found["backward to the images"] = d_inputs
    totals, gradients = engine.gradients_per_example(x, labels)
    for name, array in gradients.items():
        found[f"gradients per example of {name}"] = array
    if gradients and len(x):
        middle = np.median(norms(gradients))
        clip = 2.0 ** np.round(np.log2(middle)) if 0 < middle < np.inf else 1.0
        clipped, gradients = engine.gradients_per_example(x, labels, clip=clip)
        assert clipped.errors == totals.errors
        found |= {f"clipped sum of {name}": array for name, array in gradients.items()}
    return found


def incoming(shape: tuple[int, ...]) -> np.ndarray:
    """Return gradients at the outputs, the same numbers in both dtypes."""
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def norms(gradients: dict[str, np.ndarray]) -> np.ndarray:
    """Return the norm of each example's gradient, in float64."""
    rows = [array.astype(float).reshape(len(array), -1) for array in gradients.values()]
    return np.sqrt(sum((row**2).sum(axis=1) for row in rows))


def judged(net: Network, loss: Loss, n: int) -> Results:
    """Return what the layers engine makes of a network and its examples, on NumPy in float64."""
    judge = LayersEngine(copied(net, np.float64), loss, backend="numpy", threads=1)
    found = results(judge, *examples(net, n, np.float64))
    for name, array in found.items():
        assert name == "errors" or array.any(), f"{name}: nothing to compare"
    return found


def terms(net: Network, n: int) -> int:
    """Return the lengths of the sums on the way of n images through a network and back, added up.

    Squashing counts as 10: the function and its slope are within a few units in the last place.
    """
    total = 0
    for layer, before, after in zip(net.layers, net.shapes[:-1], net.shapes[1:], strict=True):
        if isinstance(layer, Conv2D):
            window, maps = math.prod(layer.kernel), (layer.c_in + layer.c_out) // layer.groups
            total += window * maps + n * math.prod(after[1:])
        elif isinstance(layer, (Dense, RBF)):
            total += math.prod(before) + layer.n_out + n
        elif isinstance(layer, (MaxPool2D, AvgPool2D, Subsample2D)):
            total += 2 * math.prod(layer.kernel) + n * math.prod(after[1:])
        else:
            total += 10
    return total


def rounding(net: Network, n: int, dtype: object = None) -> float:
    """Return ``8 sqrt(terms) u``, a bound of rounding errors relative to the largest result.

    The rounding errors of a sum of n terms, taken as random, exceed ``l sqrt(n) u`` times its
    magnitude with a probability of ``2 exp(-l^2 / 2)`` (Higham and Mary 2019, "A new approach to
    probabilistic rounding error analysis", theorem 2.4), and those of one layer reach all later
    ones; u is half a unit in the last place of 1. The largest seen is a quarter of it.
    """
    unit = float(np.finfo(net.dtype if dtype is None else dtype).eps) / 2
    return 8 * math.sqrt(terms(net, n)) * unit


def assert_agree(found: Results, expected: Results, net: Network, n: int) -> None:
    """Compare within :func:`rounding`; errors exactly, and a loss by the outputs it is made of."""
    assert found.keys() == expected.keys()
    share = rounding(net, n)
    for name, array in expected.items():
        if name == "errors":
            assert abs(found[name] - array) <= _undecided(expected["outputs"], net, share)
        elif name.startswith("loss"):
            scale = np.abs(expected["outputs"]).max() ** (2 if net.output == "linear" else 1)
            assert abs(found[name] - array) <= share * (abs(array) + n * scale), name
        else:
            assert_within(found[name], array, share * np.abs(array).max(), net.dtype, name)


def _undecided(outputs: np.ndarray, net: Network, share: float) -> int:
    """Return how many images have two best classes that rounding may exchange."""
    if outputs.shape[1] < 2:
        return 0
    best = np.sort(outputs if net.output == "rbf" else -outputs, axis=1)[:, :2]
    return int((best[:, 1] - best[:, 0] <= 2 * share * np.abs(outputs).max()).sum())


# --- training  ---

OPTIMISERS = {
    "sgd": lambda net: SGD(),
    "decay": lambda net: SGD(weight_decay=0.1),
    "momentum": lambda net: SGD(0.9, 0.01),
    "nesterov": lambda net: SGD(0.8, 0.01, nesterov=True),
    "factors": lambda net: SGD(factors=factors(net)),
    "momentum, factors": lambda net: SGD(0.9, 0.1, factors=factors(net)),
    "nesterov, factors": lambda net: SGD(0.9, nesterov=True, factors=factors(net)),
    "adamw": lambda net: AdamW(epsilon=1e-3),
    "adamw, options": lambda net: AdamW(0.7, 0.9, 1e-2, 0.3, factors=factors(net)),
    "adamw, no memory": lambda net: AdamW(0.0, 0.0, 1e-1, 0.0),
    "adam": lambda net: Adam(epsilon=1e-3),
    "adam, options": lambda net: Adam(0.7, 0.9, 1e-2, 0.3, factors=factors(net)),
    "rmsprop": lambda net: RMSprop(epsilon=1e-2),
    "rmsprop, centered": lambda net: RMSprop(0.8, 1e-2, centered=True, weight_decay=0.3),
    "rmsprop, momentum": lambda net: RMSprop(0.8, 1e-2, 0.6, factors=factors(net)),
    "rmsprop, options": lambda net: RMSprop(0.9, 1e-2, 0.8, True, 0.3, factors=factors(net)),
    "adadelta": lambda net: Adadelta(epsilon=1e-2),
    "adadelta, options": lambda net: Adadelta(0.7, 1e-1, 0.3, factors=factors(net)),
}

ADAPTIVE = ("adamw, options", "adam, options", "rmsprop, options", "adadelta, options")
"""The rules that scale the gradient of each weight, with all their options."""


def factors(net: Network) -> dict[str, np.ndarray]:
    """Return factors for every second parameter, some of them zero."""
    rng = np.random.default_rng(7)
    chosen = {name: net.parameters[name] for name in net.trainable_names[::2]}
    return {
        name: np.maximum(rng.uniform(-0.3, 2, array.shape), 0).astype(array.dtype)
        for name, array in chosen.items()
    }


def batch(engine: Engine, most: int) -> int:
    """Return how many images an engine may get a step: so many, or one."""
    return 1 if engine.name == "online" else most


def state_of(net: Network, optimiser) -> dict[str, np.ndarray]:
    """Return all that a training changes."""
    arrays = net.parameters | optimiser.state()
    return {name: array.copy() for name, array in arrays.items()}


def assert_close(found, expected, share: float, dtype) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        kind = np.int64 if name == "steps" else dtype
        bound = 0 if name == "steps" else share * np.abs(array).max(initial=0.0)
        assert_within(found[name], array, bound, kind, name)


# --- memory  ---


_aligned = memory.aligned


class Fences:
    """Memory with a fence on both sides, and what would be seen at once if it were read unset."""

    width, mark = 4096, 1998

    def __init__(self) -> None:
        self.made: list[np.ndarray] = []

    def aligned(self, count: int, dtype: np.dtype) -> np.ndarray:
        """Take the place of ``memory.aligned``."""
        whole = _aligned(count + 2 * self.width, dtype)
        whole.fill(self.mark)
        self.made.append(whole)
        inside = whole[self.width : -self.width]
        inside.fill(np.nan)
        return inside

    def hold(self) -> bool:
        """Return whether nobody trod on them."""
        sides = [side for each in self.made for side in (each[: self.width], each[-self.width :])]
        return all((side == self.mark).all() for side in sides)


# --- the networks  ---


@dataclass(frozen=True)
class Case:
    """A network by its layers, and a loss that goes with it."""

    layers: Callable[[], list[Layer]]
    input_shape: tuple[int, int, int]
    loss: Loss

    def network(self, dtype: object) -> Network:
        """Return the network with weights that are the same numbers in both dtypes."""
        net = Network(
            self.layers(), input_shape=self.input_shape, output=self.loss.output, dtype="float32"
        )
        net.initialise("lecun_sqrt", 3)
        for name in net.trainable_names:
            if name.endswith(".b"):
                array = net.parameters[name]
                array[...] = np.linspace(-0.3, 0.4, array.size).reshape(array.shape)
        return copied(net, dtype)


def _ends(
    shape: tuple[int, int, int], *layers: Callable[[], Layer], loss: Loss | None = None
) -> Case:
    """Return a case whose last layer, a dense one, fits whatever those given make of the input."""

    def made() -> list[Layer]:
        body = [layer() for layer in layers]
        size: tuple[int, ...] = shape
        for layer in body:
            size = layer.output_shape(size)
        return [*body, Dense(math.prod(size), CLASSES)]

    return Case(made, shape, losses.CrossEntropy() if loss is None else loss)


def _conv(*arguments: object, **options: object) -> Callable[[], Layer]:
    return lambda: Conv2D(*arguments, **options)


def _layer(kind: type[Layer], *arguments: object, **options: object) -> Callable[[], Layer]:
    return lambda: kind(*arguments, **options)


def _seen(c_out: int, c_in: int) -> np.ndarray:
    """Return a table in which the maps see 1, 2, ... c_in others, and then 1 again."""
    table = np.zeros((c_out, c_in), bool)
    for o in range(c_out):
        table[o, [(o + k) % c_in for k in range(o % c_in + 1)]] = True
    return table


def _centres(n_in: int) -> np.ndarray:
    return np.sign(np.cos(np.arange(CLASSES * n_in) ** 2 + 0.5)).reshape(CLASSES, n_in)


_UNSEEN = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 1, 1], [0, 1, 0]], bool)

_POOLS = {
    "overlap": (3, 2),
    "gaps": (2, 3),
    "one row": ((1, 2), None),
    "one column": ((3, 1), (2, 1)),
    "rest": (2, None),
}

CASES: dict[str, Case] = {
    "stride": _ends(
        *((1, 9, 11), _conv(1, 3, 3, stride=(1, 2)), Tanh),
        *(_conv(3, 2, (3, 2), stride=(2, 1)), Tanh),
    ),
    "stride over kernel": _ends((1, 11, 13), _conv(1, 3, 2, stride=(3, 4)), Tanh, _conv(3, 2, 1)),
    "padding": _ends(
        *((1, 6, 7), _conv(1, 4, 3, padding=(0, 1, 2, 3), pad_value=-1.0), ScaledTanh),
        *(_conv(4, 5, 3, padding=(2, 0, 1, 0), pad_value=0.5), ScaledTanh),
    ),
    "padding, stride": _ends(
        *((1, 7, 6), _conv(1, 3, 3, padding=(1, 2, 0, 1), stride=2, pad_value=-1.0), Tanh),
        *(_conv(3, 5, (2, 3), padding=(1, 2), stride=(2, 1)), Tanh),
    ),
    "dilation": _ends(
        *((1, 10, 11), _conv(1, 3, 3), Tanh, _conv(3, 4, 3, dilation=2), Tanh),
        *(_conv(4, 3, (1, 2), dilation=(1, 3)),),
    ),
    "dilation, stride, padding": _ends(
        *((1, 9, 10), _conv(1, 3, 3), Tanh),
        _conv(3, 5, (2, 3), dilation=(3, 2), stride=(1, 2), padding=(1, 0, 2, 1), pad_value=-1.0),
    ),
    "groups": _ends(
        *((2, 7, 8), _conv(2, 6, 3, groups=2), Tanh),
        *(_conv(6, 9, 2, groups=3, connections=_seen(9, 2)), Tanh),
        *(_conv(9, 9, 2, groups=9, padding=1, bias="unit"),),
    ),
    "table": _ends(
        *((1, 8, 9), _conv(1, 5, 3), Tanh, _conv(5, 12, 2, connections=_seen(12, 5)), ScaledTanh),
        *(_conv(12, 3, 2, connections=_seen(3, 12), stride=2),),
    ),
    "map that nobody sees": _ends(
        *((1, 7, 7), _conv(1, 3, 3), Tanh, _conv(3, 5, 2, connections=_UNSEEN), Tanh),
    ),
    "no bias": _ends(
        *((1, 7, 8), _conv(1, 3, 3, bias=None), Tanh, _conv(3, 4, 2, bias=None), Tanh),
        *(_conv(4, 5, (4, 5), bias=None), Tanh),
    ),
    "bias a unit": _ends(
        *((1, 7, 8), _conv(1, 3, 3, bias="unit"), Tanh, _conv(3, 4, 2, bias="unit"), Tanh),
        *(_conv(4, 5, (4, 5), bias="unit"), Tanh),
    ),
    "kernel 1x1": _ends((2, 5, 4), _conv(2, 3, 1), Tanh, _conv(3, 5, 1), Tanh),
    "kernel 2x5": _ends((1, 6, 13), _conv(1, 3, (2, 5)), Tanh, _conv(3, 4, (2, 5)), Tanh),
    "kernel 7x3": _ends((1, 16, 8), _conv(1, 3, (7, 3)), Tanh, _conv(3, 4, (7, 3)), Tanh),
    "kernel 3x11": _ends((1, 7, 26), _conv(1, 3, (3, 11)), Tanh, _conv(3, 4, (3, 11)), Tanh),
    "kernel 5x5": _ends((1, 13, 12), _conv(1, 5, 5), Tanh, _conv(5, 3, 5), Tanh),
    "wide": _ends(
        *((1, 5, 68), _conv(1, 3, 3), Tanh, _conv(3, 5, (2, 5)), Tanh, _layer(AvgPool2D, (1, 8))),
    ),
    "wide, stride": _ends(
        *((1, 5, 99), _conv(1, 3, 3, stride=(1, 2)), Tanh, _conv(3, 5, 2, stride=(1, 2)), Tanh),
        *(_layer(AvgPool2D, (1, 4)),),
    ),
    "many maps": _ends((1, 6, 6), _conv(1, 7, 3), Tanh, _conv(7, 17, 2), Tanh, _conv(17, 1, 2)),
    "one position": _ends(
        *((1, 4, 5), _conv(1, 9, (4, 5)), Tanh, _conv(9, 7, 1), Sigmoid),
        *(_conv(7, 5, 1, connections=_seen(5, 7)), Tanh, _conv(5, 4, 3, padding=1)),
    ),
    "squashing twice": _ends(
        *((1, 6, 6), _conv(1, 3, 3), Tanh, ScaledTanh, Sigmoid, _conv(3, 2, 2), ReLU, Tanh),
    ),
    # Planar maps in the online engine, whose pooling goes back through some activations itself.
    **{
        f"{name}, planar": _ends(
            *((1, 8, 34), _conv(1, 2, 3), partial(layers.activation, "activation", name)),
            *(_layer(kind, *first, 2), Tanh),
        )
        for name in ("leaky_relu:0.3", "elu:1.7", "gelu", "gelu:tanh")
        for kind, first in ((MaxPool2D, ()), (Subsample2D, (2,)))
    },
    "activations that need their input": _ends(
        *((1, 6, 6), GELU, _conv(1, 3, 3), Tanh, GELU, ReLU, _conv(3, 2, 2), GELU, LeakyReLU, GELU),
    ),
    "dropout": _ends(
        *((1, 9, 10), _layer(Dropout, 0.2), _conv(1, 3, 3), Tanh, _layer(Dropout2D, 0.3)),
        *(_layer(MaxPool2D, 2), Dropout, _conv(3, 4, 2, padding=1), ReLU, Dropout, Dropout, Tanh),
        *(GELU, Dropout, _layer(Dense, 80, 9), Sigmoid, _layer(Dropout, 0.1)),
    ),
    # Dropout writes behind the maps that the online engine keeps one by one.
    "dropout, planar": _ends(
        *((1, 8, 34), _conv(1, 2, 3), Tanh, _layer(AvgPool2D, 2), _layer(Dropout2D, 0.3)),
        *(_conv(2, 5, 2), _layer(Dropout2D, 0.2), ReLU, _layer(Dense, 150, 7), ReLU, Dropout),
    ),
    "squashing first": _ends((1, 6, 6), ScaledTanh, _conv(1, 3, 3), Tanh),
    "squashing first, twice": _ends((1, 6, 6), Sigmoid, Tanh, _conv(1, 3, 3), ReLU),
    "squashing last": Case(
        lambda: [Conv2D(1, 3, 3), Tanh(), Dense(48, CLASSES), Sigmoid()],
        (1, 6, 6),
        losses.MeanSquaredError(0.9, 0.1),
    ),
    "squashing twice last": Case(
        lambda: [Dense(36, CLASSES), Tanh(), ScaledTanh()],
        (1, 6, 6),
        losses.MeanSquaredError(),
    ),
    "pooling first": _ends((1, 9, 8), _layer(MaxPool2D, 2), _conv(1, 3, 3), Tanh),
    "nothing learns below": _ends(
        *((2, 9, 9), Tanh, _layer(AvgPool2D, 2, 1), ReLU, _layer(MaxPool2D, 2), Sigmoid),
        *(_conv(2, 3, 2), Tanh),
    ),
    "sub-sampling first": _ends((2, 6, 6), _layer(Subsample2D, 2), Tanh, _conv(2, 3, 2)),
    # The first reads planar maps, more than there are lanes comes out; the others do not.
    "sub-sampling with more maps": _ends(
        *((1, 11, 10), _conv(1, 7, 3), Tanh, _layer(Subsample2D, 7, 2, multiplier=3), Tanh),
        _layer(Subsample2D, 21, (1, 2), 1, reduction="mean", multiplier=2),
    ),
    "sub-sampling with more maps than lanes": _ends(
        *((1, 6, 10), _conv(1, 1, 3), ReLU, _layer(Subsample2D, 1, 2, multiplier=17), Tanh),
    ),
    "sub-sampling with more maps first": _ends(
        (2, 6, 6), _layer(Subsample2D, 2, 2, multiplier=3), Tanh, _conv(6, 3, 2)
    ),
    "dense on images": _ends((2, 5, 7), _layer(Dense, 70, 31), Tanh, _layer(Dense, 31, 17), ReLU),
    "dense alone": _ends((1, 3, 5)),
    "dense, large": _ends((1, 11, 13), _layer(Dense, 143, 90), Tanh, _layer(Dense, 90, 25), Tanh),
    "float images of two maps": _ends(
        (2, 7, 10), _conv(2, 5, 3), ScaledTanh, _layer(MaxPool2D, 2), _conv(5, 3, 2), Tanh
    ),
    # Several tiles together from there on, because of its 134,784 weights.
    "large dense layer": _ends(
        *((1, 18, 18), _conv(1, 4, 3, padding=1), ReLU, _layer(Dense, 1296, 104)),
        *(Dropout, Tanh),
    ),
    "large dense layer first": _ends((1, 15, 24), _layer(Dense, 360, 370), ReLU),
    "maps by fours": _ends((2, 14, 13), _conv(2, 8, 3), Tanh, _conv(8, 12, 5, stride=(1, 2)), ReLU),
    "one class": Case(
        lambda: [Dense(12, 5), Tanh(), Dense(5, 1)], (1, 3, 4), losses.MeanSquaredError()
    ),
    "many classes": Case(
        lambda: [Dense(12, 5), Tanh(), Dense(5, 37)], (1, 3, 4), losses.CrossEntropy()
    ),
    "mean squared error": _ends((1, 5, 5), _conv(1, 3, 2), Tanh, loss=losses.MeanSquaredError()),
    "mean squared error, options": _ends(
        (1, 5, 5), _conv(1, 3, 2), Tanh, loss=losses.MeanSquaredError(0.8, -0.3, 1.7)
    ),
    "label smoothing": _ends((1, 5, 5), _conv(1, 3, 2), Tanh, loss=losses.CrossEntropy(0.2)),
    "RBF on images": Case(
        lambda: [Conv2D(1, 3, 3), ScaledTanh(), RBF(27, CLASSES, centres=_centres(27))],
        (1, 5, 5),
        losses.MAP(),
    ),
    "RBF alone": Case(lambda: [RBF(20, CLASSES, centres=_centres(20))], (1, 4, 5), losses.MAP()),
    **{
        f"RBF, j = {j}": Case(
            lambda: [Dense(20, 7), ScaledTanh(), RBF(7, CLASSES, centres=_centres(7))],
            (1, 4, 5),
            losses.MAP(j),
        )
        for j in (0.0, 5.0, 20.0, math.inf)
    },
    **{
        f"RBF, {loss}": Case(
            lambda: [Dense(20, 7), ScaledTanh(), RBF(7, CLASSES, centres=_centres(7))],
            (1, 4, 5),
            loss,
        )
        for loss in (losses.MAP(5.0, "exact"), losses.MAP(math.inf, "exact"), losses.Penalty())
    },
    **{
        f"{name}, {title}": _ends(
            *((1, 11, 10), _conv(1, 5, 3), Tanh, _layer(kind, *first, *window, **options), Tanh),
            *(_conv(5, 2, (1, 2)),),
        )
        for name, kind, first, options in (
            ("maximum", MaxPool2D, (), {}),
            ("average", AvgPool2D, (), {}),
            ("sub-sampled sum", Subsample2D, (5,), {}),
            ("sub-sampled mean", Subsample2D, (5,), {"reduction": "mean"}),
        )
        for title, window in _POOLS.items()
    },
    **{
        layers.ACTIVATIONS[name].__name__ if ":" not in name else name: _ends(
            (1, 6, 7),
            *(_conv(1, 3, 3), partial(layers.activation, "activation", name)),
            *(_layer(Dense, 60, 9), partial(layers.activation, "activation", name)),
        )
        for name in (*layers.ACTIVATIONS, "leaky_relu:0.3", "elu:1.7", "gelu:tanh")
    },
}
"""By what is special about them."""

EVERYTHING = Case(
    lambda: [
        Conv2D(1, 3, 3, padding=(1, 0, 0, 1), pad_value=-1.0, bias="unit"),
        ScaledTanh(),
        MaxPool2D(3, 2),
        Conv2D(3, 4, 2, connections=_seen(4, 3)),
        Tanh(),
        AvgPool2D((1, 2), 1),
        Subsample2D(4, (2, 1), 1),
        Sigmoid(),
        Dense(8, 6),
        ReLU(),
        RBF(6, CLASSES, centres=_centres(6)),
    ],
    (1, 9, 10),
    losses.MAP(4.0),
)
"""All kinds of layers in one."""

ALL: dict[str, Case] = CASES | {"everything": EVERYTHING}
