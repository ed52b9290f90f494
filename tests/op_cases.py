"""A call of every public function of `lenet_fast.ops`, for the rules that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lenet_fast import layers, ops


@dataclass(frozen=True)
class Case:
    """One function with arguments that fit together, for any batch size."""

    name: str
    shapes: dict[str, tuple[int, ...]]  # of its arrays in order; -1 stands for the batch size
    options: dict[str, object] = field(default_factory=dict)
    results: tuple[str, ...] = ("y",)
    title: str = ""
    numbered: bool = False  # whether it is told the place of an image in its batch

    @property
    def function(self) -> Callable[..., object]:
        return getattr(ops, self.name)

    @property
    def id(self) -> str:
        return self.title or self.name

    def arrays(self, rng: np.random.Generator, n: int, dtype: object) -> dict[str, np.ndarray]:
        """Return random arguments; a Hessian comes in positive, a class label below 4."""
        made = {}
        for argument, shape in self.shapes.items():
            size = tuple(n if length == -1 else length for length in shape)
            if argument == "labels":
                made[argument] = rng.integers(0, 4, size)
            elif argument == "hy":
                made[argument] = rng.random(size).astype(dtype)
            else:
                made[argument] = rng.standard_normal(size).astype(dtype)
        return made

    def run(self, arrays: dict[str, np.ndarray], **options: object) -> tuple[np.ndarray, ...]:
        """Call the function, and return its results as a tuple always."""
        found = self.function(*arrays.values(), **{**self.options, **options})
        return found if isinstance(found, tuple) else (found,)

    def is_batched(self, result: str) -> bool:
        """Whether a result has one entry an image; the others are summed over the batch."""
        return result in ("y", "dx", "hx")


def _passes(
    name: str,
    x: tuple[int, ...],
    y: tuple[int, ...],
    parameters: dict[str, tuple[int, ...]],
    options: dict[str, object],
    needs_x: bool = True,
    title: str = "",
) -> list[Case]:
    """Return forward, backward and Hessian of one operation."""
    title = title or name
    weights = {key: shape for key, shape in parameters.items() if key == "w"}
    forward = Case(name, {"x": x, **parameters}, options, title=title)
    cases = [forward]
    for suffix, d in (("backward", "d"), ("hessian", "h")):
        first = {f"{d}y": y, **({"x": x} if needs_x else {"y": y}), **weights}
        results = (f"{d}x", *(f"{d}{key}" for key in parameters))
        cases.append(Case(f"{name}_{suffix}", first, options, results, f"{title}_{suffix}"))
    return cases


CONV = {
    "stride": (2, 1),
    "padding": (1, 0, 0, 2),
    "dilation": (1, 2),
    "groups": 2,
    "connections": np.array([[True, False], [True, True], [False, True], [True, True]]),
    "pad_value": -1.0,
}

CASES = [
    *(
        case
        for algorithm in ("direct", "im2col")
        for case in _passes(
            "conv2d",
            (-1, 4, 6, 7),
            (-1, 4, 3, 5),
            {"w": (4, 2, 3, 3), "b": (4,)},
            {**CONV, "algorithm": algorithm},
            title=f"conv2d, {algorithm}",
        )
    ),
    *_passes("max_pool2d", (-1, 3, 7, 6), (-1, 3, 3, 2), {}, {"kernel": 3, "stride": 2}),
    *_passes("avg_pool2d", (-1, 3, 7, 6), (-1, 3, 3, 2), {}, {"kernel": 3, "stride": 2}),
    *_passes(
        "subsample2d",
        (-1, 3, 7, 6),
        (-1, 3, 3, 2),
        {"w": (3,), "b": (3,)},
        {"kernel": 3, "stride": 2},
    ),
    *_passes("dense", (-1, 7), (-1, 5), {"w": (5, 7), "b": (5,)}, {}),
    *(
        Case(
            "dropout",
            {"x": (-1, 9, 3, 4)},
            {"p": 0.3, "seed": 1, "step": 2, "layer": 3, "by_map": by_map},
            title=f"dropout, {title}",
            numbered=True,
        )
        for by_map, title in ((False, "units"), (True, "maps"))
    ),
    Case("rbf", {"x": (-1, 7), "w": (5, 7)}),
    Case("rbf_backward", {"dy": (-1, 5), "x": (-1, 7), "w": (5, 7)}, {}, ("dx", "dw")),
    Case(
        "rbf_hessian",
        {"hy": (-1, 5), "x": (-1, 7), "w": (5, 7), "dy": (-1, 5)},
        {},
        ("hx", "hw"),
    ),
    Case("map_rbf_hessian", {"y": (-1, 5), "x": (-1, 7), "w": (5, 7)}, {"j": 1.5}, ("hx",)),
    *(
        case
        for title in (*layers.ACTIVATIONS, "leaky_relu:0.3", "elu:1.7", "gelu:tanh")
        for layer in [layers.activation("activation", title)]
        for case in _passes(
            layer.operations.forward.__name__,
            *((-1, 3, 5), (-1, 3, 5), {}, layer.arguments),
            needs_x=layer.needs_input,
            title=title,
        )
    ),
]

LOSSES = [
    case
    for name, answers, options in (
        ("softmax_cross_entropy", {"labels": (-1,)}, {"smoothing": 0.2}),
        ("mean_squared_error", {"targets": (-1, 4)}, {"scale": 0.75}),
        ("map_loss", {"labels": (-1,)}, {"j": 1.5}),
        ("penalty_loss", {"labels": (-1,)}, {}),
    )
    for case in (
        Case(name, {"x": (-1, 4), **answers}, {**options, "reduction": "none"}),
        Case(
            f"{name}_backward", {"x": (-1, 4), **answers}, {**options, "reduction": "sum"}, ("dx",)
        ),
        Case(
            f"{name}_hessian", {"x": (-1, 4), **answers}, {**options, "reduction": "sum"}, ("hx",)
        ),
    )
]

ALL = CASES + LOSSES
