"""What the writing and the reading of ONNX files agree on."""

from __future__ import annotations

from types import ModuleType

OPSET, IR_VERSION = 17, 8
"""Versions of the operators and of the format that are written, both of 2022."""

OPSETS = (13, 28)
"""Oldest and newest operators that are read. Before 13 some of ours had other inputs."""

MAX_BYTES = 2**25
"""No file larger than this is written or read. LeNet-5 takes about 250,000 bytes; what a hostile
file makes the parser allocate may be a hundred times its size."""

MAX_NODES = 5000
"""Nodes of a graph that is read, at most; LeNet-5 has 30."""

SLOPE, AMPLITUDE = 2 / 3, 1.7159
"""Of the squashing of 1998."""

OUTPUT, PIXEL_RANGE, INVERTED, CONNECTIONS = (
    f"lenet_fast.{key}" for key in ("output", "pixel_range", "inverted", "connections")
)
"""Keys of the model's metadata: what the nodes do not tell."""


def library() -> ModuleType:
    """Import onnx; ImportError, with the cure, if it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need onnx: pip install 'lenet_fast[onnx]'") from error
    return onnx
