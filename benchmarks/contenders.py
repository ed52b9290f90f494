"""The contenders for a step: our backends, algorithms and instruction sets, and PyTorch.

A contender is named before anything is imported or allocated, and created when its turn comes.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.operations import Case, Step, results
from lenet_fast import backends, ops, threads
from lenet_fast.bench.rounds import Contender, compare
from lenet_fast.checks import Array
from lenet_fast.layers import Conv2D
from lenet_fast.network import Network

OURS = ("cython", "numba", "numpy")
ALGORITHMS = ("direct", "im2col")
PYTORCH = ("PyTorch", "PyTorch channels_last")


def checker(
    name: str, case: Case, arrays: Callable[[Any], tuple[Array, ...]] = results
) -> Callable[[Any], None]:
    """Return the check of a contender whose results `arrays` converts to the reference's."""

    def check(value: Any) -> None:
        compare(name, arrays(value), case.answer, case.dtype)

    return check


def installed(library: str) -> bool:
    """Return whether a library can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def table(network: Network) -> Array | None:
    """Return which maps C3 reads, as a factor of its weights; None if it reads all of them."""
    layer = next(layer for layer in network.layers if layer.name == "C3")
    assert isinstance(layer, Conv2D)
    return None if layer.table is None else layer.table[:, :, None, None].astype(np.float32)


def names(step: Step) -> list[str]:
    """Return the contenders available for a step, ours first."""
    algorithms = ALGORITHMS if step.operation == "conv2d" else ("",)
    found = []
    for backend in OURS:
        if not backends.available()[backend].usable:
            continue
        module = backends.get(backend)
        sets = module.instruction_sets()[::-1] if backend == "cython" else ("",)
        found += [" ".join(filter(None, (backend, s, a))) for s in sets for a in algorithms]
    if installed("torch") and step.function in _PYTORCH:
        four = any(word in step.operation for word in ("2d", "tanh")) and step.layer != "F6 tanh"
        found += PYTORCH if four else PYTORCH[:1]
    return found


def make(name: str, case: Case) -> Contender:
    """Return one of the contenders named by :func:`names`."""
    return _pytorch(name, case) if name in PYTORCH else _ours(name, case)


def _ours(name: str, case: Case) -> Contender:
    backend, *rest = name.split()
    algorithm = rest.pop() if rest and rest[-1] in ALGORITHMS else None
    isa = rest.pop() if rest else None
    options = dict(case.step.options)
    if algorithm:
        options["algorithm"] = algorithm
    run = partial(getattr(ops, case.step.function), *case.arrays, **options, backend=backend)
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    if isa:
        around = partial(backends.get("cython").use_isa, isa)
    elif backend == "numpy":
        around = threads.alone_with_blas
    info: dict[str, Any] = {"backend": backend, "algorithm": algorithm, "isa": isa}
    module = backends.get(backend)
    usual = backend == backends.current() and isa == (module.isa() if isa else None)
    if algorithm:
        sizes = case.answer[0].shape if case.step.direction == "forward" else case.arrays[0].shape
        usual = usual and algorithm == module.conv2d_algorithm(sizes[0], *sizes[2:])
    info["default"] = usual  # what a call without options selects
    return Contender(name, run, checker(name, case), around, info=info)


# --- PyTorch: each operation as its users write it. Backward is what autograd runs for it. ---


def _torch_conv2d(functional: Any, options: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    table = options.get("table")
    return functional.conv2d(x, w if table is None else w * table, b)


def _torch_max(functional: Any, options: dict[str, Any], x: Any) -> Any:
    return functional.max_pool2d(x, 2)


def _torch_average(functional: Any, options: dict[str, Any], x: Any) -> Any:
    return functional.avg_pool2d(x, 2)


def _torch_sub(functional: Any, options: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    sums = functional.avg_pool2d(x, 2, divisor_override=1)
    return sums * w[:, None, None] + b[:, None, None]


def _torch_tanh(functional: Any, options: dict[str, Any], x: Any) -> Any:
    return 1.7159 * (x * (2 / 3)).tanh()


def _torch_dense(functional: Any, options: dict[str, Any], x: Any, w: Any, b: Any) -> Any:
    return functional.linear(x, w, b)


def _torch_rbf(functional: Any, options: dict[str, Any], x: Any, w: Any) -> Any:
    return (x[:, None, :] - w).square().sum(2)


def _torch_entropy(functional: Any, options: dict[str, Any], x: Any, labels: Any) -> Any:
    return functional.cross_entropy(x, labels)


def _torch_squared(functional: Any, options: dict[str, Any], x: Any, targets: Any) -> Any:
    return functional.mse_loss(x, targets, reduction="sum") * (0.5 / len(x))


def _torch_map(functional: Any, options: dict[str, Any], x: Any, labels: Any) -> Any:
    right = x.gather(1, labels[:, None])[:, 0]
    rubbish = functional.pad(-x, (0, 1), value=-options["j"])
    return (right + rubbish.logsumexp(1)).mean()


_FORWARD: dict[str, Callable[..., Any]] = {
    "conv2d": _torch_conv2d,
    "max_pool2d": _torch_max,
    "avg_pool2d": _torch_average,
    "subsample2d": _torch_sub,
    "scaled_tanh": _torch_tanh,
    "dense": _torch_dense,
    "rbf": _torch_rbf,
    "softmax_cross_entropy": _torch_entropy,
    "mean_squared_error": _torch_squared,
    "map_loss": _torch_map,
}
_PYTORCH = {
    *_FORWARD,
    *(f"{name}_backward" for name in _FORWARD),
    *("conv2d_hessian", "dense_hessian"),  # the backward pass on squares
}
_WITH_BIAS = ("conv2d", "subsample2d", "dense")


def _pytorch(name: str, case: Case) -> Contender:
    import torch
    from torch.nn import functional

    layout = torch.channels_last if name.endswith("channels_last") else torch.contiguous_format
    step = case.step
    tensors = [_tensor(torch, array, layout) for array in case.arrays]
    options = dict(step.options)
    if "connections" in options:
        table = options["connections"][:, :, None, None].astype(case.dtype)
        options["table"] = torch.from_numpy(table)
    forward = partial(_FORWARD[step.operation], functional, options)
    if step.direction == "forward":
        return Contender(name, _without_grad(torch, forward, tensors), checker(name, case, _arrays))
    backward = _backward(torch, forward, case, tensors, layout)
    return Contender(name, backward, checker(name, case, _arrays))


def _without_grad(torch: Any, function: Callable[..., Any], tensors: list[Any]) -> Any:
    def run() -> Any:
        with torch.inference_mode():
            return function(*tensors)

    return run


def _backward(
    torch: Any, forward: Callable[..., Any], case: Case, tensors: list[Any], layout: Any
) -> Callable[[], Any]:
    """Return the backward pass alone: the forward pass runs once, here, and its graph is kept."""
    step = case.step
    losses = ("softmax_cross_entropy", "mean_squared_error", "map_loss")
    if step.operation in losses:
        tensors[0].requires_grad_()
        value = forward(*tensors)
        return lambda: torch.autograd.grad(value, tensors[0], retain_graph=True)
    dy, inputs = tensors[0], tensors[1:]
    if step.direction == "hessian":
        inputs = [tensor.square() for tensor in inputs]
    if step.operation == "scaled_tanh":  # from y, like ours, although the graph needs x
        inputs = [torch.atanh(inputs[0].double() / 1.7159).to(inputs[0].dtype) * 1.5]
    elif step.operation == "avg_pool2d":
        inputs = [tensors[1]]
    if step.operation in _WITH_BIAS:
        shape = case.answer[2].shape
        inputs = [*inputs, torch.zeros(shape, dtype=dy.dtype)]
    for tensor in inputs:
        tensor.requires_grad_()
    value = forward(*inputs)
    return lambda: torch.autograd.grad(value, inputs, dy, retain_graph=True)


def _tensor(torch: Any, array: Array, layout: Any) -> Any:
    tensor = torch.from_numpy(array.copy())
    return tensor.contiguous(memory_format=layout) if array.ndim == 4 else tensor


def _arrays(value: Any) -> tuple[Array, ...]:
    tensors = value if isinstance(value, tuple) else (value,)
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)
