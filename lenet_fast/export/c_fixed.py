"""A network in integers as a program in C99."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from string import Template
from typing import Any

from lenet_fast.export import c_main
from lenet_fast.export.c_program import Program
from lenet_fast.export.c_text import TYPES, at
from lenet_fast.export.fixed import (
    INTERVALS,
    REACH,
    SUMS,
    TABLE,
    FixedStage,
    Function,
    Quantised,
    slope_of,
)
from lenet_fast.export.stages import Constant, Stage
from lenet_fast.layers import Subsample2D


class FixedProgram(Program):
    """A network in integers.

    Parameters
    ----------
    quantised : Quantised
    name : str
        What the names of the public functions begin with.
    """

    sum, output = "int32_t", "int32_t"
    include, libraries = "#include <stdint.h>\n\n", ""
    softmax = False  # the outputs would have to be floats

    def __init__(self, quantised: Quantised, name: str) -> None:
        self.quantised = quantised
        self.value = TYPES[quantised.values]
        self.kind = "in integers"
        self.unit = f" * {quantised.unit!r}"
        self.define = (
            f"#define {name.upper()}_UNIT {quantised.unit!r}  /* what 1 means in the outputs */\n"
        )
        super().__init__(quantised.network, name)

    def _stages(self) -> list[Any]:
        return list(self.quantised.stages)

    def constants(self) -> Iterator[Constant]:
        """Yield all constant arrays."""
        meaning = f"the input's values for bytes, times 2^{self.quantised.point}"
        yield Constant("pixel_values", self.quantised.pixels, meaning)
        yield from super().constants()
        yield from (function.constant for function in self._functions().values())

    def _functions(self) -> dict[str, Function]:
        functions = [stage.function for stage in self.stages if stage.function is not None]
        return {function.name: function for function in functions}

    def _product(self, w: str, x: str) -> str:
        return f"(int32_t){w} * {x}"

    def _border(self, stage: Stage) -> str:
        assert isinstance(stage, FixedStage)
        return str(stage.border)

    def _mean(self, stage: Stage) -> list[str]:
        assert isinstance(stage, FixedStage)
        if isinstance(stage.layer, Subsample2D) or stage.factor == 1:
            return []  # the weights, or the shift, are smaller by as much
        return [f"sum *= {stage.factor};"]

    def _finish(self, stage: Stage, x: str, y: str) -> list[str]:
        assert isinstance(stage, FixedStage)
        value = f"scaled({x}, {at(f'{stage.name}_shift', 'o')})"
        if isinstance(stage.shift, int):
            value = f"scaled({x}, {stage.shift})" if stage.shift else x
        lines = []
        function = stage.activation.function if stage.activation else ""
        if function == "relu":
            value = f"relu({value})"
        elif function == "leaky_relu" and stage.activation:
            value = f"leaky_relu({value}, {slope_of(stage.activation)})"
        elif stage.function is not None:
            value = f"{stage.function.name}_by_table({value})"
            if lose := stage.function.point - stage.target:
                lines, value = [f"int32_t value = {value};"], f"scaled(value, {lose})"
        if stage.limit is not None:
            value = f"({self.value})clamp({value}, {stage.limit})"
        return [*lines, f"{y} = {value};"]

    def helpers(self) -> Iterator[str]:
        """Yield the functions that the layers call."""
        half = REACH * 2**TABLE
        step = 2 * half // INTERVALS
        numbers = {"sums": SUMS, "one": 2**TABLE, "half": half, "last": half - 1, "step": step}
        numbers |= {"entries": INTERVALS + 1, "digits": int(math.log2(step))}
        found = [*map(_by_table, self._functions().values())]
        callers = "\n".join(line for stage in self.stages for line in self.function(stage))
        for name, text in reversed(c_main.FIXED.items()):
            if re.search(rf"\b{name}\(", "".join(found) + callers):
                found.insert(0, Template(text).substitute(numbers))
        yield from found

    def _pixel(self) -> str:
        return "pixel_values[pixel]"

    def _meaning(self) -> str:
        return f"with values times {2**self.quantised.point}"


def _by_table(function: Function) -> str:
    linear = f" + (x > 0 ? clamp(x, 16777216) * {2 ** (function.point - TABLE)} : 0)"
    linear = linear if function.linear else ""
    return Template(c_main.BY_TABLE).substitute(function=function.name, linear=linear)
