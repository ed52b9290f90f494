"""Export of a network: each layer becomes one or a few nodes, in a chain."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast import checks, disk, files, layers
from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.onnx import form

_MEANINGS = {
    "linear": "scores, of which the largest wins",
    "softmax": "logits, of which the largest wins; their softmax are probabilities",
    "rbf": "penalties, of which the smallest wins",
}


def export(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX file.

    Parameters
    ----------
    network : Network
        With any layers of :mod:`lenet_fast.layers`.
    path : path
        The file; an existing one is replaced. Its folder must exist.

    Raises
    ------
    ImportError
        If onnx is missing.
    TypeError, ValueError
        If it is not a network, has other layers, parameters that are not finite, or more of them
        than :func:`load` accepts.
    OSError
        If the file cannot be written.

    Notes
    -----
    The graph reads ``images``, (n, c, h, w) with any n, in the network's dtype and pixel range, and
    returns ``outputs``, (n, k), those of :meth:`.Network.predict`: without a softmax. The model's
    metadata hold ``lenet_fast.output``, ``lenet_fast.pixel_range``, ``lenet_fast.inverted``,
    ``lenet_fast.reduced``, ``lenet_fast.classes`` and ``lenet_fast.connections``, the connection
    tables; absent links are weights of zero. The model is checked by onnx's checker. Neither the
    algorithm of a convolution nor dropout is stored.

    The options of LeakyReLU and ELU become float32, which ONNX has for them.

    onnxruntime runs networks in float32; it has no convolution in float64.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet_fast import models, onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lenet5.onnx")
    ...     onnx.export(models.lenet5(), path)
    ...     onnx.load(path).counts().parameters
    60000
    """
    disk.write_atomic(path, to_bytes(network))


def to_bytes(network: Network) -> bytes:
    """Return the ONNX model that :func:`export` writes; it raises the same errors.

    Examples
    --------
    >>> import onnx
    >>> from lenet_fast import models
    >>> from lenet_fast.onnx import to_bytes
    >>> graph = onnx.load_from_string(to_bytes(models.lenet1())).graph
    >>> [node.op_type for node in graph.node][:4]  # 1.7159 tanh(2 x / 3) takes three
    ['Conv', 'Mul', 'Tanh', 'Mul']
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    onnx = form.library()
    files.check_finite(network)
    size = sum(array.nbytes for array in network.parameters.values())
    if size > form.MAX_BYTES - 2**20:  # leave room for everything else
        raise ValueError(
            f"network: expected parameters of at most {form.MAX_BYTES - 2**20} bytes, got {size}"
        )
    model = _model(onnx, network)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _model(onnx: Any, network: Network) -> Any:
    from lenet_fast import __version__

    chain = _Chain(onnx, network.dtype)
    for layer, shape in zip(network.layers, network.shapes[:-1], strict=True):
        writer = _WRITERS.get(type(layer))
        if writer is None:
            raise TypeError(
                f"network: expected layers of lenet_fast.layers, got {type(layer).__name__} "
                f"({layer.name})"
            )
        writer(chain, layer, shape)
    if not chain.nodes:  # nothing but dropout
        chain.add("Identity", "outputs/identity")
    chain.nodes[-1].output[0] = "outputs"
    kind = onnx.helper.np_dtype_to_tensor_dtype(network.dtype)
    describe = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        chain.nodes,
        "network",
        [describe("images", kind, ["n", *network.input_shape])],
        [describe("outputs", kind, ["n", *network.output_shape])],
        [onnx.numpy_helper.from_array(array, name) for name, array in chain.constants.items()],
    )
    range_ = network.pixel_range if network.pixel_range_known else ("unknown", "unknown")
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", form.OPSET)],
        ir_version=form.IR_VERSION,
        producer_name="lenet_fast",
        producer_version=__version__,
        doc_string=(
            f"images: {range_[0]} background to {range_[1]} foreground. "
            f"outputs: {_MEANINGS[network.output]}."
        ),
    )
    onnx.helper.set_model_props(model, _metadata(network))
    return model


def _metadata(network: Network) -> dict[str, str]:
    metadata = {
        form.OUTPUT: network.output,
        form.PIXEL_RANGE: json.dumps(network.pixel_range if network.pixel_range_known else None),
    }
    if network.inverted is not None:
        metadata[form.INVERTED] = json.dumps(network.inverted)
    if network.reduced:
        metadata[form.REDUCED] = json.dumps(True)
    if (classes := network.config().get("classes")) is not None:
        metadata[form.CLASSES] = json.dumps(classes)
    tables = {
        layer.name: layer.table.astype(int).tolist()
        for layer in network.layers
        if isinstance(layer, layers.Conv2D) and layer.table is not None
    }
    return metadata | ({form.CONNECTIONS: json.dumps(tables)} if tables else {})


class _Chain:
    """Nodes that each read the output of the previous one, and the constants they read.

    A layer's main node has the layer's name. All other names contain a slash, unlike names of
    layers and parameters, or no dot, unlike names of parameters.
    """

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self._make_node = onnx.helper.make_node
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.value = "images"

    def add(self, operator: str, name: str, *constants: str, **attributes: Any) -> None:
        output = f"{name}/y"
        inputs = [self.value, *constants]
        self.nodes.append(self._make_node(operator, inputs, [output], name, **attributes))
        self.value = output

    def floats(self, name: str, value: Any) -> str:
        # A copy, because a parameter may have any memory layout.
        self.constants[name] = np.array(value, self.dtype, order="C")
        return name

    def integers(self, name: str, *values: int) -> str:
        self.constants[name] = np.array(values, np.int64)
        return name

    def flatten(self, layer: layers.Layer, shape: layers.Shape) -> None:
        if len(shape) > 1:
            self.add("Flatten", f"{layer.name}/flat", axis=1)


def _conv2d(chain: _Chain, layer: layers.Conv2D, shape: layers.Shape) -> None:
    name, w = layer.name, layer.parameters["w"]
    if layer.table is not None:
        w = np.where(layer.table[:, :, np.newaxis, np.newaxis], w, 0)
    top, bottom, left, right = layer.padding
    pads = [top, left, bottom, right]
    if layer.pad_value and any(pads):  # Conv pads with zeros only
        around = chain.integers(f"{name}/pads", 0, 0, top, left, 0, 0, bottom, right)
        chain.add("Pad", f"{name}/pad", around, chain.floats(f"{name}/border", layer.pad_value))
        pads = [0, 0, 0, 0]
    constants = [chain.floats(f"{name}.w", w)]
    if layer.bias:
        b = chain.floats(f"{name}.b", layer.parameters["b"])
    if layer.bias == "map":
        constants.append(b)
    chain.add(
        "Conv",
        name,
        *constants,
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=pads,
        dilations=layer.dilation,
        group=layer.groups,
    )
    if layer.bias == "unit":
        chain.add("Add", f"{name}/bias", b)


def _pool2d(
    chain: _Chain,
    layer: layers.MaxPool2D | layers.AvgPool2D | layers.Subsample2D,
    shape: layers.Shape,
) -> None:
    operator = "MaxPool" if isinstance(layer, layers.MaxPool2D) else "AveragePool"
    chain.add(operator, layer.name, kernel_shape=layer.kernel, strides=layer.stride)


def _subsample2d(chain: _Chain, layer: layers.Subsample2D, shape: layers.Shape) -> None:
    name = layer.name
    _pool2d(chain, layer, shape)
    if layer.reduction == "sum":
        area = chain.floats(f"{name}/area", math.prod(layer.kernel))
        chain.add("Mul", f"{name}/sum", area)
    if layer.multiplier > 1:
        seen = np.repeat(np.arange(layer.channels), layer.multiplier)
        chain.add("Gather", f"{name}/maps", chain.integers(f"{name}/seen", *seen), axis=1)
    w, b = (layer.parameters[key][:, np.newaxis, np.newaxis] for key in ("w", "b"))
    chain.add("Mul", f"{name}/times", chain.floats(f"{name}.w", w))
    chain.add("Add", f"{name}/bias", chain.floats(f"{name}.b", b))


def _dense(chain: _Chain, layer: layers.Dense, shape: layers.Shape) -> None:
    chain.flatten(layer, shape)
    constants = [chain.floats(f"{layer.name}.{key}", layer.parameters[key]) for key in ("w", "b")]
    chain.add("Gemm", layer.name, *constants, transB=1)


def _rbf(chain: _Chain, layer: layers.RBF, shape: layers.Shape) -> None:
    # Not |x|^2 - 2 w.x + |w|^2, in which the terms cancel.
    name = layer.name
    chain.flatten(layer, shape)
    chain.add("Unsqueeze", f"{name}/row", chain.integers("axis1", 1))  # (n, 1, n_in)
    chain.add("Sub", name, chain.floats(f"{name}.w", layer.parameters["w"]))  # (n, n_out, n_in)
    chain.add("Pow", f"{name}/square", chain.floats("two", 2))
    chain.add("ReduceSum", f"{name}/sum", chain.integers("axis2", 2), keepdims=0)


def _scaled_tanh(chain: _Chain, layer: layers.ScaledTanh, shape: layers.Shape) -> None:
    chain.add("Mul", f"{layer.name}/in", chain.floats("slope", form.SLOPE))
    chain.add("Tanh", layer.name)
    chain.add("Mul", f"{layer.name}/out", chain.floats("amplitude", form.AMPLITUDE))


def _gelu(chain: _Chain, layer: layers.GELU, shape: layers.Shape) -> None:
    x = chain.value
    for k, (operator, other) in enumerate(form.GELUS[layer.approximate][0]):
        name = f"{layer.name}/{k}"
        if other is None:
            chain.add(operator, layer.name)
        else:
            chain.add(operator, name, x if other == form.X else chain.floats(f"{name}/by", other))


def _dropout(chain: _Chain, layer: layers.Dropout, shape: layers.Shape) -> None:
    """Write nothing: the graph is for prediction."""


def _activation(chain: _Chain, layer: layers.Activation, shape: layers.Shape) -> None:
    operator, names = form.ACTIVATIONS[type(layer)]
    chain.add(operator, layer.name, **{names[key]: layer.arguments[key] for key in names})


_WRITERS: dict[type[layers.Layer], Callable[[_Chain, Any, layers.Shape], None]] = {
    layers.Conv2D: _conv2d,
    layers.MaxPool2D: _pool2d,
    layers.AvgPool2D: _pool2d,
    layers.Subsample2D: _subsample2d,
    layers.Dense: _dense,
    layers.RBF: _rbf,
    **dict.fromkeys(form.ACTIVATIONS, _activation),
    layers.ScaledTanh: _scaled_tanh,
    layers.GELU: _gelu,
    layers.Dropout: _dropout,
    layers.Dropout2D: _dropout,
}
