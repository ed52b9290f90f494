"""Networks as ONNX files, for programs and devices that run such files, and back.

A file holds standard operators alone, none of our own, so that any runtime can do without us. The
library ``onnx`` is imported when the first file is written or read.
"""

from lenet_fast.onnx.comparing import Comparison, compare
from lenet_fast.onnx.form import MAX_BYTES, MAX_FIELDS, MAX_NODES, OPSET, OPSETS
from lenet_fast.onnx.reading import load
from lenet_fast.onnx.writing import export, to_bytes

__all__ = [
    "MAX_BYTES",
    "MAX_FIELDS",
    "MAX_NODES",
    "OPSET",
    "OPSETS",
    "Comparison",
    "compare",
    "export",
    "load",
    "to_bytes",
]
