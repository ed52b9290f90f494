"""Loading of a network from an ONNX file, with a check of its outputs."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import disk, engines, files, losses
from lenet_fast.checks import Array
from lenet_fast.errors import FileFormatError
from lenet_fast.network import Network
from lenet_fast.onnx import form
from lenet_fast.onnx.comparing import Comparison
from lenet_fast.onnx.external import External
from lenet_fast.onnx.graphs import Graph
from lenet_fast.onnx.reading import Reader

LARGEST = 1e-4
"""Largest difference of outputs that rounding can explain, relative to the largest output."""

_MOST_CONNECTIONS = 2**27  # onnx's reference is slow: 400 images of LeNet-5 take it a minute


class LoadedModel(NamedTuple):
    """What :func:`read_model` found in an ONNX file.

    Attributes
    ----------
    network : Network
    comparison : Comparison or None
        Of the outputs for a few random images with those of onnx's reference; None if it was not
        wanted, or would have taken minutes.
    opset : int
        Version of the operators.
    producer : str
        The program that wrote the file, as it says itself.
    input, output : str
        Names of the graph's input, and of the output that was read.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import models, onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     onnx.export(models.lenet1(), f"{folder}/lenet1.onnx")
    ...     found = onnx.read_model(f"{folder}/lenet1.onnx")
    >>> found.opset, found.input, found.output, found.comparison.relative < 1e-5
    (17, 'images', 'outputs', True)
    """

    network: Network
    comparison: Comparison | None
    opset: int
    producer: str
    input: str
    output: str


def load(
    path: str | os.PathLike[str],
    *,
    pixel_range: tuple[float, float] | None = None,
    output: str | None = None,
    external_data: bool = False,
    check: bool = True,
) -> Network:
    """Load a network from an ONNX file of :func:`export`, or of another program's plain LeNet.

    Parameters
    ----------
    path : path
        The file.
    pixel_range : (background, foreground), optional
        Values of the bytes 0 and 255 on the network's scale; by default those in the file, if
        :func:`export` wrote it. Other files do not contain them; without them, the network takes
        prepared floats only, and refuses bytes until its ``pixel_range`` is set.
    output : str, optional
        Name of the output to read, if the model has several.
    external_data : bool
        Whether to read arrays that the model keeps in other files of its own folder; never from
        elsewhere.
    check : bool
        Whether to compare the outputs for a few random images with those of onnx's reference
        implementation. If that would take minutes, because the file has a fixed, large number of
        images, it is left out, and a UserWarning says so.

    Returns
    -------
    Network
        For images (c, h, w), whatever their layout in the file. Its outputs are those of the
        graph, except for a final Softmax or LogSoftmax, which is dropped; the network's output is
        then "softmax". Layers get the names of their nodes, if these are valid for layers.

    Raises
    ------
    ImportError
        If onnx is missing.
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not an ONNX model, is too large (:data:`MAX_BYTES`, :data:`MAX_FIELDS`), truncated
        or damaged; if its opset is not within :data:`OPSETS`; if the output is not a chain of
        known layers from one input of float or double; or if the outputs differ. The message names
        the node and says what is allowed there.

    Notes
    -----
    It reads Conv, MaxPool and AveragePool without padding, GlobalAveragePool, GlobalMaxPool,
    ReduceMean over rows and columns, Relu, LeakyRelu, Elu, Gelu (also as PyTorch writes it for
    opsets below 20), Tanh, Sigmoid, Gemm, MatMul, and a final Softmax or LogSoftmax. Before that
    it simplifies the graph: what no output needs is left out; constants and shapes are computed by
    onnx's reference operators; Flatten, Reshape, Transpose, Squeeze and Unsqueeze become an order
    of the weights; BatchNormalization, Add, Sub, Mul and Div by constants are folded into the
    weights, or become a :class:`.Subsample2D` of single pixels; Identity, Dropout, Cast to the same
    type, Pad by nothing are dropped. Inputs can be (n, c, h, w), (n, h, w, c), (n, h, w) or rows
    (n, h * w), the number of images open or fixed. Loading runs nothing in the file.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet_fast import models, onnx
    >>> network = models.lenet4(output="softmax")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lenet4.onnx")
    ...     onnx.export(network, path)
    ...     onnx.load(path).config() == network.config()
    True
    """
    return read_model(
        path, pixel_range=pixel_range, output=output, external_data=external_data, check=check
    ).network


def read_model(
    path: str | os.PathLike[str],
    *,
    pixel_range: tuple[float, float] | None = None,
    output: str | None = None,
    external_data: bool = False,
    check: bool = True,
) -> LoadedModel:
    """Load a network and what else the file says; parameters and errors are those of :func:`load`.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import models, onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     onnx.export(models.lenet5(), f"{folder}/lenet5.onnx")
    ...     found = onnx.read_model(f"{folder}/lenet5.onnx", check=False)
    >>> found.comparison is None, found.producer.split()[0]
    (True, 'lenet_fast')
    """
    onnx = form.library()
    from google.protobuf.message import DecodeError

    raw = disk.read_bytes(path, form.MAX_BYTES)
    try:
        # What overflows is found by the checks of the arrays and of the outputs.
        with np.errstate(all="ignore"):
            form.check_fields(raw, onnx.ModelProto.DESCRIPTOR)
            model = onnx.load_model_from_string(raw)
            graph = Graph(onnx, model, output, External(path, external_data))
            reader = Reader(graph)
            network = reader.network(pixel_range)
            tensors = {
                f"{layer.name}.{name}": array
                for layer, arrays in zip(network.layers, reader.arrays, strict=True)
                for name, array in arrays.items()
            }
            files.check_arrays(path, tensors, network.parameters)
            for name, array in network.parameters.items():
                array[...] = tensors[name]
            comparison = _compared(onnx, model, graph, reader, network) if check else None
    except DecodeError as error:
        raise FileFormatError(
            f"{path}: expected an ONNX model, got another file or a truncated one"
        ) from error
    except FileFormatError:
        raise
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise FileFormatError(f"{path}: {error}") from error
    return LoadedModel(
        *(network, comparison, graph.opset),
        f"{model.producer_name} {model.producer_version}".strip(),
        *(graph.input, graph.output),
    )


def _compared(
    onnx: Any, model: Any, graph: Graph, reader: Reader, network: Network
) -> Comparison | None:
    """Compare a network's outputs with those of the part of a model that was read."""
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.ops.op_batch_normalization import BatchNormalization_14

    class BatchNormalization(BatchNormalization_14):
        """As in prediction: before opset 14, the reference takes the statistics of the batch."""

        def _run(self, *arrays: Any, **options: Any) -> Any:
            return super()._run(*arrays, **(options | {"training_mode": 0}))

    images = graph.sizes[0]
    connections = images * network.counts().connections
    if connections > _MOST_CONNECTIONS:
        warnings.warn(
            f"outputs not compared with those of onnx's reference, which would take minutes: "
            f"{images} images at a time have {connections:,} connections",
            stacklevel=2,
        )
        return None
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(node for _, node in graph.nodes)
    for attribute in (each for node in part.graph.node for each in node.attribute):
        if attribute.name == "auto_pad" and attribute.s == b"VALID":
            attribute.s = b"NOTSET"  # the same; the reference until 1.21 got it wrong
    part.graph.output.append(onnx.ValueInfoProto(name=reader.outputs))
    x = _images(network, images)
    pixels = x.reshape(images, -1)[:, reader.arrangement.pixels].reshape(graph.sizes)
    try:
        evaluator = ReferenceEvaluator(part, new_ops=[BatchNormalization])
        outputs: Any = evaluator.run(None, {graph.input: pixels})
        theirs = np.asarray(outputs[0])
    except Exception as error:  # the operators raise errors of many kinds
        raise ValueError(
            f"check: expected a model that onnx's reference can run, got: {str(error)[:200]}"
        ) from error
    ours = engines.LayersEngine(network, losses.default_for(network), threads=1).predict(x)
    if theirs.shape != ours.shape:
        raise ValueError(f"outputs: expected shape {theirs.shape}, got {ours.shape}")
    largest = float(np.abs(theirs - ours).max(initial=0))
    scale = float(np.abs(theirs).max(initial=0))
    relative = largest / scale if scale else largest
    if not relative <= LARGEST:  # also for NaN
        raise ValueError(
            f"outputs: expected those of onnx's reference for {images} random images, got a "
            f"difference of {largest:.1e}, {relative:.1e} of the largest output"
        )
    return Comparison(f"the reference of onnx {onnx.__version__}", largest, relative)


def _images(network: Network, count: int) -> Array:
    """Return random images, within the pixel range if it is known."""
    rng = np.random.default_rng(0)
    shape = (count, *network.input_shape)
    if not network.pixel_range_known:
        return rng.normal(size=shape).astype(network.dtype)
    low, high = sorted(network.pixel_range)
    return rng.uniform(low, high, shape).astype(network.dtype)
