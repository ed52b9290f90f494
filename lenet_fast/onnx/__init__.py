"""Networks as ONNX files: exported for other programs and devices, and loaded from them.

Files contain standard operators only, so any runtime can run them without this package. The library
``onnx`` is imported on first use.

Examples
--------
>>> import tempfile
>>> import numpy as np
>>> from lenet_fast import models, onnx
>>> network = models.lenet5()
>>> with tempfile.TemporaryDirectory() as folder:
...     onnx.export(network, f"{folder}/lenet5.onnx")
...     again = onnx.load(f"{folder}/lenet5.onnx")
>>> x = np.zeros((1, 1, 32, 32), np.float32)
>>> np.allclose(again.predict(x), network.predict(x), rtol=1e-4)
True
"""

from lenet_fast.onnx.comparing import Comparison, compare
from lenet_fast.onnx.form import MAX_BYTES, MAX_FIELDS, MAX_NODES, MAX_NUMBERS, OPSET, OPSETS
from lenet_fast.onnx.loading import LoadedModel, load, read_model
from lenet_fast.onnx.writing import export, to_bytes

__all__ = [
    "MAX_BYTES",
    "MAX_FIELDS",
    "MAX_NODES",
    "MAX_NUMBERS",
    "OPSET",
    "OPSETS",
    "Comparison",
    "LoadedModel",
    "compare",
    "export",
    "load",
    "read_model",
    "to_bytes",
]
