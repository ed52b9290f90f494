"""Constants and checks shared by the writing and the reading of ONNX files."""

from __future__ import annotations

import json
import math
from types import ModuleType
from typing import Any

from lenet_fast import choices, cures
from lenet_fast.layers import ELU, GELU, Activation, LeakyReLU, ReLU, Sigmoid, Tanh

OPSET, IR_VERSION = 17, 8
"""Versions of the operators and of the format of exported files, both of 2022."""

OPSETS = (7, 28)
"""Oldest and newest operators that can be read. Before 7, sums had no broadcasting."""

MAX_BYTES = 2**25
"""Largest size of a file. LeNet-5 takes about 250,000 bytes."""

MAX_FIELDS = 2**18
"""Most fields of a file that is read; LeNet-5 has fewer than 500. An empty node takes two bytes in
a file, and eighty times as many in memory."""

MAX_NODES = 5000
"""Most nodes of a graph that is read; LeNet-5 has 30."""

MAX_NUMBERS = 2**24
"""Most numbers in all layers, for a batch of images, and in computed constants: a small file can
make huge ones."""

SLOPE, AMPLITUDE = 2 / 3, 1.7159
"""Constants of the scaled tanh of 1998."""

ACTIVATIONS: dict[type[Activation], tuple[str, dict[str, str]]] = {
    Tanh: ("Tanh", {}),
    Sigmoid: ("Sigmoid", {}),
    ReLU: ("Relu", {}),
    LeakyReLU: ("LeakyRelu", {"slope": "alpha"}),
    ELU: ("Elu", {"alpha": "alpha"}),
    GELU: ("Gelu", {"approximate": "approximate"}),
}
"""Operators of the layers that are a single node, and the attributes that hold their options."""

X = "x"
_ERF = (("Div", math.sqrt(2)), ("Erf", None), ("Add", 1.0))
_INNER = (("Mul", 0.044715), ("Add", X), ("Mul", math.sqrt(2 / math.pi)))
_TANH = (*_INNER, ("Tanh", None), ("Add", 1.0))
_LAST = ((("Mul", 0.5), ("Mul", X)), (("Mul", X), ("Mul", 0.5)))
_CUBES = ((("Pow", 3.0),), (("Mul", X), ("Mul", X)))

GELUS: dict[choices.GeluForm, list[tuple[tuple[str, float | str | None], ...]]] = {
    "none": [(*_ERF, *last) for last in _LAST],
    "tanh": [(*cube, *_TANH, *last) for cube in _CUBES for last in _LAST],
}
"""GELU as rows of nodes, since an operator for it came with opset 20: what each reads besides what
the one before it made, a number, or what went into the first. The first row of each is written, as
PyTorch's exporter writes it; its older exporter writes the last."""

OUTPUT, PIXEL_RANGE, INVERTED, REDUCED, CLASSES, CONNECTIONS = (
    f"lenet_fast.{key}"
    for key in ("output", "pixel_range", "inverted", "reduced", "classes", "connections")
)
"""Keys of the model's metadata, for what the nodes do not say."""


def tables_of(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the connection tables, by layer name."""
    tables = json_of(metadata, CONNECTIONS, "{}")
    if not isinstance(tables, dict):
        raise ValueError(f"{CONNECTIONS}: expected tables by layer name, got none")
    return tables


def flag_of(metadata: dict[str, str], key: str) -> bool | None:
    """Return true, false or, if there is none, None."""
    flag = json_of(metadata, key)
    if not isinstance(flag, bool | None):
        raise ValueError(f"{key}: expected true or false, got {flag!r}")
    return flag


def json_of(metadata: dict[str, str], key: str, default: str = "null") -> Any:
    """Return a value of a model's metadata."""
    try:
        return json.loads(metadata.get(key, default))
    except (ValueError, RecursionError):
        raise ValueError(f"{key}: expected JSON, got {metadata[key][:64]!r}") from None


def library() -> ModuleType:
    """Import onnx; ImportError, with the way to get it, if it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"ONNX files need onnx: {cures.install('lenet_fast[onnx]')}") from error
    return onnx


def check_fields(raw: bytes, kind: Any) -> None:
    """Count a file's fields before it is parsed, because the parser would allocate all of them.

    `kind`, the descriptor of the file's message, says which fields are messages. ValueError if
    there are more than :data:`MAX_FIELDS`; protobuf's DecodeError if the file is truncated, or not
    such a message. The format: https://protobuf.dev/programming-guides/encoding/
    """
    from google.protobuf.message import DecodeError

    count, pending = 0, [(0, len(raw), kind)]
    while pending:
        at, end, kind = pending.pop()
        while at < end:
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f"expected at most {MAX_FIELDS} fields, got more")
            tag, at = _varint(raw, at, end)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                _, at = _varint(raw, at, end)
                continue
            if wire == _LENGTH:
                size, at = _varint(raw, at, end)
                field = kind.fields_by_number.get(number)
                if field is not None and field.message_type is not None:
                    pending.append((at, at + size, field.message_type))
            elif wire in _SIZES:
                size = _SIZES[wire]
            else:  # a group, which ONNX does not have
                raise DecodeError
            at += size
            if at > end:
                raise DecodeError


_VARINT, _LENGTH = 0, 2
_SIZES = {1: 8, 5: 4}


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the variable-length number at an offset, and the offset after it."""
    value = 0
    for k in range(10):
        if at + k >= end:
            break
        value |= (raw[at + k] & 127) << 7 * k
        if raw[at + k] < 128:
            return value, at + k + 1
    from google.protobuf.message import DecodeError

    raise DecodeError
