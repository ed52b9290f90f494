"""Functions that classes write out in several steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch

from lenet_fast.torch.recording import Step, Value, replayed

_SLOPE, _AMPLITUDE = 2 / 3, 1.7159

ARITHMETIC = {
    **dict.fromkeys(("add", "__add__"), "add"),
    **dict.fromkeys(("sub", "subtract", "__sub__"), "sub"),
    **dict.fromkeys(("mul", "multiply", "__mul__"), "mul"),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), "div"),
    **dict.fromkeys(("__rsub__", "rsub"), "__rsub__"),
}
"""Operations by the names of functions."""


def constant(step: Step) -> Any:
    """Return what the images are combined with, or None."""
    operands = [*step.args, *step.kwargs.values()]
    if len(operands) != 2 or set(step.kwargs) - {"other", "input"}:
        return None
    first, second = operands
    of_images = [isinstance(each, Value) and each.from_images for each in operands]
    if all(of_images):
        return None
    if of_images[0]:
        return second
    return None if ARITHMETIC[step.name] in ("div", "sub", "__rsub__") else first


def _product(steps: list[Step]) -> tuple[float, int]:
    """Return the product of numbers by which steps multiply, and how many steps these are."""
    product, count = 1.0, 0
    for step in steps:
        operation = ARITHMETIC.get(step.name)
        number = constant(step) if operation in ("mul", "div") else None
        if isinstance(number, Value):
            fixed = number.tensor.numel() == 1 and not number.tensor.requires_grad
            number = number.tensor.item() if fixed else None
        if not isinstance(number, int | float):
            break
        product = product / number if operation == "div" else product * number
        count += 1
    return product, count


def scaled_tanh(steps: list[Step]) -> int:
    """Return how many of the first steps are ``1.7159 tanh(2 x / 3)``."""
    before, count = _product(steps)
    if not count or [each.name for each in steps[count : count + 1]] != ["tanh"]:
        return 0
    after, more = _product(steps[count + 1 :])
    same = math.isclose(before, _SLOPE, rel_tol=1e-6) and math.isclose(after, _AMPLITUDE)
    return count + 1 + more if same else 0


def mean_axes(steps: list[Step], axes: int) -> list[int]:
    """Return the axes of the images over which the first steps take the mean, one axis a step, or
    several in one."""
    left = list(range(axes + 1))
    found: list[int] = []
    for step in steps:
        options = dict(zip(("input", "dim", "keepdim"), step.args, strict=False)) | step.kwargs
        dim = options.get("dim")
        if step.name != "mean" or not isinstance(dim, int | list | tuple):
            break
        several = [dim] if isinstance(dim, int) else dim
        found += [left[each] for each in several]
        if not isinstance(dim, int):
            break
        if not options.get("keepdim"):
            left.pop(dim)
    return found


def subsampling(steps: Sequence[Step], maps: int) -> tuple[Value, Value] | None:
    """Return the coefficients and biases, one per map, if two steps after a mean are those of the
    trainable sub-sampling of 1998."""
    found = []
    for step, operation in zip(steps, ("mul", "add"), strict=False):
        number = constant(step) if ARITHMETIC.get(step.name) == operation else None
        if not isinstance(number, Value) or number.tensor.shape[-3:] != (maps, 1, 1):
            return None
        found.append(number)
    return (found[0], found[1]) if len(found) == 2 else None


def squared_distances(steps: list[Step]) -> torch.Tensor | None:
    """Return the centres (n_out, n_in), if the first three steps are squared distances to them: of
    images (n, 1, n_in), or of images (n, n_in, 1) and centres (n_in, n_out)."""
    names = [each.name for each in steps[:3]]
    if len(names) < 3 or ARITHMETIC.get(names[0]) != "sub" or names[2] != "sum":
        return None
    minus, power, total = steps[:3]
    squared = (
        power.name == "square"
        or (power.name in ("pow", "__pow__") and [*power.args[1:], *power.kwargs.values()] == [2])
        or (ARITHMETIC.get(power.name) == "mul" and constant(power) is None)
    )
    centres = [each.tensor for each in minus.inputs if not each.from_images]
    differences = minus.results[0].tensor
    if not squared or len(centres) != 1 or differences.dim() != 3:
        return None
    options = dict(zip(("input", "dim", "keepdim"), total.args, strict=False)) | total.kwargs
    dim = options.get("dim", options.get("axis"))
    axis = dim[0] if isinstance(dim, list | tuple) and len(dim) == 1 else dim
    w = centres[0]
    if axis in (1, -2) and w.dim() > 1:
        w = w.transpose(-1, -2)
        differences = differences.transpose(1, 2)
    elif axis not in (2, -1):
        return None
    n, k, size = differences.shape
    if w.numel() != k * size or total.results[0].tensor.shape != (n, k):
        return None
    return w.reshape(k, size)


_JOINING = ("cat", "concat", "concatenate")
_SELECTIONS = ("__getitem__", *_JOINING, "index_select", "narrow")
_GEOMETRY = ("stride", "padding", "dilation", "groups")


def merged(step: Step) -> Step | None:
    """Return the one convolution that several make together, each of some maps of their common
    images, as in the network of 1989 and in C3 of LeNet-5; None if a step is none."""
    made = [value.step for value in _joined(step)]
    parts = [
        inspect.getcallargs(_conv2d, *each.args, **each.kwargs)
        for each in made
        if each is not None and each.name == "conv2d"
    ]
    sources = {_source(part["input"]) for part in parts}
    geometry = [[part[name] for name in _GEOMETRY] for part in parts]
    if (
        not parts
        or len(parts) < len(made)
        or len(sources) != 1
        or any(each != geometry[0] for each in geometry)
    ):
        return None
    (source,) = sources
    n, c, h, w = source.tensor.shape
    numbers = torch.arange(c).reshape(1, c, 1, 1).expand(n, c, h, w)
    kernels = []
    links = []
    for part in parts:
        maps = replayed(part["input"], source, numbers)
        kernel = part["weight"].tensor
        seen = maps[0, :, 0, 0]
        if maps.shape[2:] != (h, w) or len(seen.unique()) != kernel.shape[1]:
            return None
        whole = kernel.new_zeros(len(kernel), c, *kernel.shape[2:])
        kernels.append(whole.index_copy(1, seen, kernel))
        links.append(torch.zeros(len(kernel), c, dtype=torch.bool).index_fill(1, seen, True))
    biases = [part["bias"] for part in parts]
    bias = None
    if any(biases):
        zeros = [each.new_zeros(len(each)) for each in kernels]
        pairs = zip(biases, zeros, strict=True)
        bias = Value(torch.cat([zero if each is None else each.tensor for each, zero in pairs]))
    table = torch.cat(links)
    return Step(
        "conv2d",
        step.function,
        (source, Value(torch.cat(kernels)), bias, *geometry[0]),
        {"connections": None if table.all() else table.numpy(), "parts": len(parts)},
        step.where,
        step.path,
        step.module,
        step.results,
    )


def _conv2d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> None:
    """Have the arguments of PyTorch's function."""


def _joined(step: Step) -> list[Value]:
    """Return the maps that a step, and those before it, put one behind the other; of an empty
    tensor, to which a loop adds maps, nothing."""
    if step.name not in _JOINING or [*step.args[1:], *step.kwargs.values()] not in ([1], [-3]):
        return []
    found: list[Value] = []
    for value in step.args[0]:
        if value.from_images or value.tensor.numel():
            found += (value.step and _joined(value.step)) or [value]
    return found


def _source(value: Value) -> Value:
    """Return the images of which functions have only selected maps."""
    if value.step is None or value.step.name not in _SELECTIONS:
        return value
    sources = {_source(each) for each in value.step.images}
    return sources.pop() if len(sources) == 1 else value
