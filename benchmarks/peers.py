"""Contenders that only this suite has: the published method, and other libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import contenders, pytorch_network, tensorflow_network
from benchmarks.contenders import installed
from benchmarks.modified_network import ModifiedNetwork
from lenet_fast import onnx, threads
from lenet_fast.bench import workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import MOMENTUM, Work
from lenet_fast.losses import MAP

Array = np.ndarray[Any, Any]


def names(work: Work) -> list[str]:
    """Return the names of the available contenders for a piece of work."""
    found = pytorch_network.names()
    if work.network == "1998":
        found.append("modified")
    if not work.trains and installed("onnxruntime") and installed("onnx"):
        found.append("onnxruntime")
    if installed("jax"):
        found.append("JAX")
    if installed("tensorflow"):
        found += ["TensorFlow"] if work.trains else ["TensorFlow", "TensorFlow Lite"]
    return found


def make(name: str, work: Work, count: int) -> Contender:
    """Return a contender with a number of threads."""
    if name in pytorch_network.NAMES:
        return pytorch_network.contender(name, work, count)
    return _MAKERS[name](work, count)


def _modified(work: Work, count: int) -> Contender:
    net = ModifiedNetwork(*workloads.fresh(batch=work.batch), MOMENTUM)
    step: Any = net.step if work.trains else net.predict
    return workloads.contender("modified", work, step, around=threads.alone_with_blas)


def _onnxruntime(work: Work, count: int) -> Contender:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = count, 1
    model = onnx.to_bytes(workloads.fresh(work.network).network)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(x: Array) -> Any:
        return session.run(None, {"images": x})[0]

    return workloads.contender("onnxruntime", work, predict)


def _jax(work: Work, count: int) -> Contender:
    """Return JAX: single images in one ``lax.scan``; larger batches, for which its loops are slow,
    one jitted step after the other. Its threads cannot be limited from here.

    In the scan a convolution is a matrix product on unfolded patches (im2col), which is more than
    twice as fast there as XLA's convolution.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    network, loss, rate = workloads.fresh(work.network, work.batch)
    table = contenders.table(network)
    bitmaps = jnp.asarray(network.parameters["OUTPUT.w"])  # unless they are trained
    p = {name: jnp.asarray(network.parameters[name]) for name in network.trainable_names}

    def squash(a: Any) -> Any:
        return 1.7159 * jnp.tanh(2 / 3 * a)

    def conv(x: Any, w: Any, b: Any) -> Any:
        return squash(convolve(x, w) + b[:, None, None])

    def convolve(x: Any, w: Any) -> Any:
        if not work.trains or work.batch > 1:
            return lax.conv(x, w, (1, 1), "VALID")
        (c_out, _, kh, kw), (_, _, h_in, w_in) = w.shape, x.shape
        h_out, w_out = h_in - kh + 1, w_in - kw + 1
        seen = [x[0, :, u : u + h_out, v : v + w_out] for u in range(kh) for v in range(kw)]
        columns = jnp.stack(seen, axis=1).reshape(-1, h_out * w_out)
        return (w.reshape(c_out, -1) @ columns).reshape(1, c_out, h_out, w_out)

    def pool(p: Any, x: Any, name: str) -> Any:
        n, c, h_in, w_in = x.shape
        sums = x.reshape(n, c, h_in // 2, 2, w_in // 2, 2).sum((3, 5))
        if f"{name}.w" not in p:
            return sums / 4
        return squash(sums * p[f"{name}.w"][:, None, None] + p[f"{name}.b"][:, None, None])

    def outputs(p: Any, x: Any) -> Any:
        x = pool(p, conv(x, p["C1.w"], p["C1.b"]), "S2")
        w = p["C3.w"] if table is None else p["C3.w"] * table
        x = pool(p, conv(x, w, p["C3.b"]), "S4")
        x = conv(x, p["C5.w"], p["C5.b"]).reshape(len(x), -1)
        x = squash(x @ p["F6.w"].T + p["F6.b"])
        if "OUTPUT.b" in p:
            return x @ p["OUTPUT.w"].T + p["OUTPUT.b"]
        return jnp.square(x[:, None, :] - bitmaps).sum(2)

    def mean_loss(p: Any, x: Any, labels: Any) -> Any:
        y = outputs(p, x)
        right = jnp.take_along_axis(y, labels[:, None], 1)[:, 0]
        if not isinstance(loss, MAP):  # cross-entropy
            return (jax.nn.logsumexp(y, axis=1) - right).mean()
        all_classes = jnp.pad(-y, ((0, 0), (0, 1)), constant_values=-loss.j)
        return (right + jax.nn.logsumexp(all_classes, axis=1)).mean()

    def train(state: Any, part: Any) -> Any:
        p, velocity = state
        value, gradients = jax.value_and_grad(mean_loss)(p, *part)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return (jax.tree.map(lambda w, v: w - rate * v, p, velocity), velocity), value

    if not work.trains:
        jitted = jax.jit(outputs)
        return workloads.contender("JAX", work, lambda x: np.asarray(jitted(p, x)), threads="all")
    parts = work.parts
    stacked = tuple(np.stack(each) for each in zip(*parts, strict=True))
    scan, step = jax.jit(partial(lax.scan, train)), jax.jit(train)
    state = [(p, jax.tree.map(jnp.zeros_like, p))]

    def run() -> Any:
        if work.batch == 1:
            state[0], values = scan(state[0], stacked)
            return np.asarray(values)
        values = []
        for part in parts:
            state[0], value = step(state[0], part)
            values.append(float(value))
        return values

    return Contender("JAX", run, workloads.checker("JAX", work), info={"threads": "all"})


_MAKERS: dict[str, Callable[[Work, int], Contender]] = {
    "modified": _modified,
    "onnxruntime": _onnxruntime,
    "JAX": _jax,
    "TensorFlow": tensorflow_network.contender,
    "TensorFlow Lite": tensorflow_network.lite_contender,
}
