"""What the writing and the reading of ONNX files agree on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

OPSET, IR_VERSION = 17, 8
"""Versions of the operators and of the format that are written, both of 2022."""

OPSETS = (13, 28)
"""Oldest and newest operators that are read. Before 13 some of ours had other inputs."""

MAX_BYTES = 2**25
"""No file larger than this is written or read. LeNet-5 takes about 250,000 bytes."""

MAX_FIELDS = 2**18
"""Fields of a file that is read, at most; LeNet-5's has fewer than 500. An empty node takes two
bytes of a file, and eighty times as many in memory."""

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


def check_fields(raw: bytes, kind: Any) -> None:
    """Count a file's fields without making anything of them, which the parser would do at once.

    Parameters
    ----------
    raw : bytes
        The file.
    kind : Descriptor
        Of its message: says which fields hold messages in turn.

    Raises
    ------
    ValueError
        If there are more than :data:`MAX_FIELDS`.
    google.protobuf.message.DecodeError
        If the file is cut short, or no such message.

    Notes
    -----
    The format: https://protobuf.dev/programming-guides/encoding/
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
    """Return the number of variable length that begins there, and where the next field begins."""
    value = 0
    for k in range(10):
        if at + k >= end:
            break
        value |= (raw[at + k] & 127) << 7 * k
        if raw[at + k] < 128:
            return value, at + k + 1
    from google.protobuf.message import DecodeError

    raise DecodeError
