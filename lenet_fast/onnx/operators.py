"""The operators that are read, and the options that each may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lenet_fast.checks import quoted
from lenet_fast.onnx import form

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow")
FOLDED = (
    *ELEMENTWISE,
    *(
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Flatten",
        "Gather",
        "Identity",
        "Neg",
        "ReduceProd",
        "Reshape",
        "Shape",
    ),
    *("Size", "Slice", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that are evaluated if they read only constants and shapes."""

REARRANGING = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that only rearrange what they read."""


class _Choice(tuple[Any, ...]):
    """The only allowed values of an option, with the default first."""


_POOL: dict[str, Any] = {
    "auto_pad": _Choice(("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")),
    "ceil_mode": _Choice((0, 1)),
    "dilations": _Choice(([1, 1],)),
    "kernel_shape": [0, 0],  # required, because layers refuse this value
    "pads": [0, 0, 0, 0],
    "strides": [1, 1],
}
OPERATORS: dict[str, dict[str, Any]] = {
    "AveragePool": _POOL | {"count_include_pad": _Choice((0, 1))},
    "BatchNormalization": {
        "epsilon": 1e-5,
        "momentum": 0.9,  # of training
        "spatial": _Choice((1,)),
        "training_mode": _Choice((0,)),
    },
    "Cast": {"to": 0, "saturate": 1},
    "Conv": _POOL | {"dilations": [1, 1], "group": 1, "ceil_mode": _Choice((0,))},
    "Dropout": {"seed": 0, "ratio": 0.5},
    "Erf": {},
    "Gather": {"axis": 0},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": _Choice((0,)), "transB": _Choice((0, 1))},
    "GlobalAveragePool": {},
    "GlobalMaxPool": {},
    "Identity": {},
    "LogSoftmax": {"axis": _Choice((-1, 1))},
    "MatMul": {},
    "MaxPool": _POOL | {"storage_order": _Choice((0,))},
    "Pad": {"mode": _Choice(("constant",)), "pads": None, "value": 0.0},
    "ReduceMean": {
        "axes": None,
        "keepdims": _Choice((1, 0)),
        "noop_with_empty_axes": _Choice((0,)),
    },
    "ReduceSum": {"axes": None, "keepdims": _Choice((1, 0)), "noop_with_empty_axes": _Choice((0,))},
    "Softmax": {"axis": _Choice((-1, 1))},
    **{operator: {} for operator in ELEMENTWISE},
    **{
        operator: {name: getattr(kind(), option) for option, name in names.items()}
        for kind, (operator, names) in form.ACTIVATIONS.items()
    },
}
"""The operators of layers with their options. A default determines an option's type and length;
None: a list of ints of any length."""

_KINDS = {int: "an int", float: "a float", str: "a string", type(None): "a list of ints"}


def options_of(onnx: Any, node: Any) -> dict[str, Any]:
    """Return a node's options; ValueError for one that is not allowed."""
    allowed: Mapping[str, Any] = OPERATORS[node.op_type]
    options = {
        name: default[0] if isinstance(default, _Choice) else default
        for name, default in allowed.items()
    }
    for attribute in node.attribute:
        name = attribute.name
        if name not in allowed:
            known = f"one of {', '.join(allowed)}" if allowed else "none"
            raise ValueError(f"attribute: expected {known}, got {quoted(name)}")
        value, default = _value(onnx, attribute), allowed[name]
        if isinstance(default, _Choice):
            if value not in default or type(value) is not type(default[0]):
                choices = " or ".join(map(str, default))
                raise ValueError(f"{name}: expected {choices}, got {str(value)[:64]}")
        elif default is None:
            if not isinstance(value, list):
                raise ValueError(f"{name}: expected a list of ints, got {str(value)[:64]}")
        elif type(value) is not type(default) or (
            isinstance(default, list) and len(value) != len(default)
        ):
            what = f"{len(default)} ints" if isinstance(default, list) else _KINDS[type(default)]
            raise ValueError(f"{name}: expected {what}, got {str(value)[:64]}")
        options[name] = value
    return options


def _value(onnx: Any, attribute: Any) -> Any:
    """Return an attribute's value, or None for a type that no known option has."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.INT:
        return int(attribute.i)
    if attribute.type == kinds.FLOAT:
        # By its shortest text: 0.01 in float32 is 0.01 again, and not 0.00999999977.
        return float(str(np.float32(attribute.f)))
    if attribute.type == kinds.STRING:
        return str(attribute.s[:64].decode())
    return list(attribute.ints) if attribute.type == kinds.INTS else None
