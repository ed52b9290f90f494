"""Comparison of an ONNX model's outputs with those of its network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.network import Network
from lenet_fast.onnx import form


class Comparison(NamedTuple):
    """Difference between a model's outputs and the network's.

    Attributes
    ----------
    runtime : str
        The program that ran the model, with its version.
    largest : float
        Largest difference between two outputs.
    relative : float
        The same, relative to the network's largest output.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import models, onnx
    >>> network = models.lenet5()
    >>> x = np.zeros((1, 1, 32, 32), np.float32)
    >>> comparison = onnx.compare(onnx.to_bytes(network), network, x)
    >>> comparison.relative < 1e-5
    True
    """

    runtime: str
    largest: float
    relative: float


def compare(model: bytes, network: Network, x: Array) -> Comparison:
    """Run an ONNX model and compare its outputs with a network's.

    Parameters
    ----------
    model : bytes
        From :func:`to_bytes`, or the content of an ONNX file. It must be trusted, because
        onnxruntime reads it.
    network : Network
    x : ndarray (n, c, h, w)
        At least one image, in the network's dtype and pixel range.

    Returns
    -------
    Comparison
        onnxruntime runs the model if it is installed and the network is float32, because it has no
        float64 convolution; otherwise onnx itself does, slowly.

    Raises
    ------
    ImportError
        If onnx is missing.
    TypeError, ValueError
        If the images do not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import models, onnx
    >>> network = models.lenet1()
    >>> x = np.ones((2, 1, 28, 28), np.float32)
    >>> onnx.compare(onnx.to_bytes(network), network, x).relative < 1e-5
    True
    """
    if np.ndim(x) != 4 or not len(x):
        raise ValueError(f"x: expected images (n, c, h, w), at least one, got shape {np.shape(x)}")
    ours = network.predict(x)
    runtime, theirs = _run(model, x)
    largest = float(np.abs(theirs - ours).max())
    scale = float(np.abs(ours).max())
    return Comparison(runtime, largest, largest / scale if scale else largest)


def _run(model: bytes, x: Array) -> tuple[str, Array]:
    onnx = form.library()
    if x.dtype == np.float32:
        try:
            import onnxruntime
        except ImportError:
            pass
        else:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors
            options.intra_op_num_threads = 1  # enough for so few images
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            name = f"onnxruntime {onnxruntime.__version__}"
            return name, session.run(["outputs"], {"images": x})[0]
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(model).run(["outputs"], {"images": x})
    return f"the reference of onnx {onnx.__version__}", np.asarray(outputs[0])
