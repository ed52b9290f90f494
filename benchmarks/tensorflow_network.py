"""LeNet-5 in TensorFlow and TensorFlow Lite, as contenders of the whole network."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from benchmarks import contenders
from benchmarks.contenders import installed
from lenet_fast.bench import workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import MOMENTUM, Work
from lenet_fast.losses import MAP, Loss
from lenet_fast.network import Network

Array = np.ndarray[Any, Any]


def contender(work: Work, count: int) -> Contender:
    """Return TensorFlow: all steps of training in one graph, or one graph per prediction.

    These were the fastest of the variants tried, each alone on one thread, in images/s with the
    network of 1998. Training in a loop in the graph, 12,600 at batch 256 and 2,500 at batch 1,
    beats a call per batch, 12,100 and 1,200; the better of the two with XLA (``jit_compile``)
    reached 4,500 and 1,600. XLA is slower in evaluation too, 11,100 against 38,400, and faster for
    a single image, 3,800 against 3,200.
    """
    tf, info = load(count)
    net = TensorFlowNetwork(tf, *workloads.fresh(work.network, work.batch))
    if not work.trains:
        predict = tf.function(net.outputs, jit_compile=work.batch == 1)
        predict = predict.get_concrete_function(tf.TensorSpec([work.batch, 32, 32, 1]))
        return workloads.contender(
            "TensorFlow", work, lambda x: predict(tf.constant(_nhwc(x))).numpy(), **info
        )
    x, labels = (np.stack(each) for each in zip(*work.parts, strict=True))
    x, train = _nhwc(x, len(x)), tf.function(net.train)
    check = workloads.checker("TensorFlow", work)
    return Contender("TensorFlow", lambda: train(x, labels).numpy(), check, info=info)


def lite_contender(work: Work, count: int) -> Contender:
    """Return TensorFlow Lite: the network converted, for one size of batch, and interpreted.

    All of its operations are XNNPACK's, which the interpreter uses by default.
    """
    tf, _ = load(count)
    net = TensorFlowNetwork(tf, *workloads.fresh(work.network, work.batch))
    outputs = tf.function(net.outputs)
    graph = outputs.get_concrete_function(tf.TensorSpec([work.batch, 32, 32, 1]))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], net.module)
    interpreter = _interpreter(tf, converter.convert(), count)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def predict(x: Array) -> Any:
        interpreter.set_tensor(source, _nhwc(x))
        interpreter.invoke()
        return interpreter.get_tensor(target)  # a copy

    return workloads.contender("TensorFlow Lite", work, predict)


def load(count: int) -> tuple[Any, dict[str, Any]]:
    """Import TensorFlow with a number of threads; return it, and a note for the results.

    Its threads and devices are fixed by its first use in the process. If that was elsewhere, or
    with another number, it keeps it, and the results say so.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else it logs a lot
    import tensorflow as tf

    threading = tf.config.threading
    try:
        tf.config.set_visible_devices([], "GPU")
        threading.set_intra_op_parallelism_threads(count)
        threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        return tf, {"threads": threading.get_intra_op_parallelism_threads() or "all"}
    return tf, {}


class TensorFlowNetwork:
    """A network with its loss and training by SGD with momentum, in NHWC order.

    Parameters
    ----------
    tf : module
    network : Network
        Has the initial weights: that of 1998, or the plain one.
    loss : Loss
    rate : float
    """

    def __init__(self, tf: Any, network: Network, loss: Loss, rate: float) -> None:
        self._tf, self._rate = tf, rate
        self._j = loss.j if isinstance(loss, MAP) else None
        w = {
            name: np.ascontiguousarray(w.transpose(2, 3, 1, 0)) if w.ndim == 4 else w
            for name, w in network.parameters.items()
        }
        # C5 reads all of S4: a matrix product equals that convolution, and is 10 to 20 % faster.
        w["C5.w"] = w["C5.w"].reshape(-1, w["C5.w"].shape[-1])
        w["F6.w"] = w["F6.w"].T
        if "OUTPUT.b" in w:
            w["OUTPUT.w"] = w["OUTPUT.w"].T
        self.weights = {name: tf.Variable(array) for name, array in w.items()}
        self._trained = [self.weights[name] for name in network.trainable_names]
        self._velocity = [tf.Variable(tf.zeros_like(one)) for one in self._trained]
        links = contenders.table(network)
        self._table = None if links is None else tf.constant(links.transpose(2, 3, 1, 0))
        self.module = tf.Module()  # owns the weights, for the converter
        self.module.weights = list(self.weights.values())

    def outputs(self, x: Any) -> Any:
        """Return distances to the ten bitmaps, or ten sums, for images (n, 32, 32, 1)."""
        tf, p = self._tf, self.weights

        def squash(a: Any) -> Any:
            return 1.7159 * tf.tanh(2 / 3 * a)

        def conv(a: Any, name: str, w: Any) -> Any:
            return squash(tf.nn.conv2d(a, w, 1, "VALID") + p[f"{name}.b"])

        def pool(a: Any, name: str) -> Any:
            means = tf.nn.avg_pool2d(a, 2, 2, "VALID")
            if f"{name}.w" not in p:
                return means
            return squash(means * (4 * p[f"{name}.w"]) + p[f"{name}.b"])  # the network has sums

        x = pool(conv(x, "C1", p["C1.w"]), "S2")
        w = p["C3.w"] if self._table is None else p["C3.w"] * self._table
        x = pool(conv(x, "C3", w), "S4")
        x = tf.reshape(x, (-1, p["C5.w"].shape[0]))
        x = squash(x @ p["C5.w"] + p["C5.b"])
        x = squash(x @ p["F6.w"] + p["F6.b"])
        if "OUTPUT.b" in p:
            return x @ p["OUTPUT.w"] + p["OUTPUT.b"]
        return tf.reduce_sum(tf.square(x[:, None, :] - p["OUTPUT.w"]), 2)

    def loss(self, x: Any, labels: Any) -> Any:
        """Return the mean of the MAP criterion, or of the cross-entropy."""
        tf = self._tf
        y = self.outputs(x)
        if self._j is None:
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y))
        right = tf.gather(y, labels, axis=1, batch_dims=1)
        rubbish = tf.pad(-y, ((0, 0), (0, 1)), constant_values=-self._j)
        return tf.reduce_mean(right + tf.reduce_logsumexp(rubbish, axis=1))

    def step(self, x: Any, labels: Any) -> Any:
        """Train on one batch; return its mean loss."""
        tf = self._tf
        with tf.GradientTape() as tape:
            loss = self.loss(x, labels)
        gradients = tape.gradient(loss, self._trained)
        for w, velocity, gradient in zip(self._trained, self._velocity, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=w.handle, accum=velocity.handle, lr=self._rate, grad=gradient, momentum=MOMENTUM
            )
        return loss

    def train(self, x: Any, labels: Any) -> Any:
        """Train on batches, one after the other; return the mean loss of each."""
        return self._tf.map_fn(
            lambda part: self.step(*part),
            (x, labels),
            parallel_iterations=1,
            fn_output_signature=self._tf.float32,
        )


def _nhwc(x: Array, *batches: int) -> Array:
    """Return images of one map in NHWC order, which has the same bytes."""
    return x.reshape(*batches, -1, 32, 32, 1)


def _interpreter(tf: Any, model: bytes, count: int) -> Any:
    """Return an interpreter, from the package that succeeds TensorFlow's own if installed."""
    if installed("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=model, num_threads=count)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        return tf.lite.Interpreter(model_content=model, num_threads=count)
