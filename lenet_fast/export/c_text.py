"""C as text: loops, numbers and arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.export.stages import Constant, dimensions

WIDTH = 100

TYPES: dict[str, str] = {
    "float32": "float",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned long",
}
"""Types of C by those of NumPy. Unsigned ones count or are bytes of an image, and may be wider."""


def number(value: Any) -> str:
    """Return a number as C has it; floats read back to the same float32.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.export.c_text import number
    >>> number(np.float32(0.1)), number(2.0), number(np.int8(-3))
    ('0.1f', '2.0f', '-3')
    """
    if isinstance(value, int | np.integer):
        return str(int(value))
    return f"{np.float32(value)!s}f"


def loop(index: str, count: int, body: Sequence[str]) -> list[str]:
    """Return a loop over `count` values, with braces where the body has several statements.

    Examples
    --------
    >>> from lenet_fast.export.c_text import loop
    >>> print("\\n".join(loop("o", 6, ["y[o] = 0;"])))
    for (int o = 0; o < 6; o++)
        y[o] = 0;
    """
    return block(f"for (int {index} = 0; {index} < {count}; {index}++)", body)


def loops(indices: str, counts: Sequence[int], body: Sequence[str]) -> list[str]:
    """Return loops inside each other, the first index outermost; an index is one letter."""
    lines = list(body)
    for index, count in reversed(list(zip(indices, counts, strict=True))):
        lines = loop(index, count, lines)
    return lines


def block(head: str, body: Sequence[str]) -> list[str]:
    """Return what `head` governs, in braces if it is more than one statement."""
    statements = [line for line in body if line[:1] not in (" ", "}")]
    inner = [f"    {line}" for line in body]
    return [head, *inner] if len(statements) == 1 else [f"{head} {{", *inner, "}"]


def at(array: str, *indices: object) -> str:
    """Return an element of an array: ``x[c][r + u]``."""
    return array + "".join(f"[{index}]" for index in indices)


def affine(index: str, factor: int, inner: str = "", step: int = 1, start: int = 0) -> str:
    """Return ``index * factor + inner * step - start``, without what changes nothing.

    Examples
    --------
    >>> from lenet_fast.export.c_text import affine
    >>> affine("r", 1, "u"), affine("r", 2, "u", 1, 2)
    ('r + u', 'r * 2 + u - 2')
    """
    words = [f"{name} * {by}" if by > 1 else name for name, by in ((index, factor), (inner, step))]
    text = " + ".join(word for word in words if word)
    return f"{text} - {start}" if start else text


def declaration(constant: Constant) -> str:
    """Return the definition of a constant array."""
    array = constant.array
    kind = TYPES[array.dtype.name]
    head = f"static const {kind} {constant.name}{dimensions(array.shape)} ="
    return f"/* {constant.meaning} */\n{head}\n{_braces(array)};\n"


def _braces(array: Array, depth: int = 0) -> str:
    """Return an array's values in nested braces, as NumPy prints brackets."""
    indent = " " * (depth + 1)
    if array.ndim > 1:
        return "{" + f",\n{indent}".join(_braces(part, depth + 1) for part in array) + "}"
    text = ", ".join(map(number, array))
    return "{" + textwrap.fill(text, WIDTH - depth, subsequent_indent=indent) + "}"


def comment(*lines: str) -> list[str]:
    """Return a comment of one or several lines."""
    if len(lines) == 1:
        return [f"/* {lines[0]} */"]
    return ["/*", *(f" * {line}".rstrip() for line in lines), " */"]
