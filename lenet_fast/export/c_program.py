"""A network as a program in C99: one function per layer, written as the loops of its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from string import Template
from typing import Any

import numpy as np

from lenet_fast.export import c_main
from lenet_fast.export.c_text import (
    TYPES,
    affine,
    at,
    block,
    comment,
    declaration,
    loop,
    loops,
    number,
)
from lenet_fast.export.stages import Constant, Stage, area, bytes_shape, dimensions, stages
from lenet_fast.layers import RBF, AvgPool2D, Conv2D, Dense, MaxPool2D, Shape, Subsample2D
from lenet_fast.network import Network

_INDICES = {1: "o", 3: "ors"}


class Program:
    """A network in float.

    Parameters
    ----------
    network : Network
    name : str
        What the names of the public functions begin with.
    """

    value, sum, output = "float", "float", "float"  # types of values, of their sums, of outputs
    unit = ""
    kind, include, define, libraries = "in float", "", "", "-lm "

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.stages = self._stages()

    def _stages(self) -> list[Any]:
        return list(stages(self.network))

    def constants(self) -> Iterator[Constant]:
        """Yield all constant arrays."""
        for stage in self.stages:
            yield from stage.constants()

    @property
    def flash(self) -> int:
        """Bytes of the constant arrays."""
        return sum(constant.array.nbytes for constant in self.constants())

    @property
    def ram(self) -> int:
        """Bytes of the two buffers."""
        size = np.dtype(next(name for name, kind in TYPES.items() if kind == self.value)).itemsize
        buffers = (map(math.prod, tensors.values()) for tensors in self._buffers())
        return size * sum(max(sizes, default=0) for sizes in buffers)

    def _buffers(self) -> tuple[dict[str, Shape], dict[str, Shape]]:
        """Return what the two buffers hold one after the other: every layer reads one of them and
        writes the other; the last one writes the outputs."""
        tensors = [("image", self.network.input_shape)]
        tensors += [(f"{stage.name}_y", stage.after) for stage in self.stages[:-1]]
        return dict(tensors[::2]), dict(tensors[1::2])

    # --- one layer -----------------------------------------------------------------------------

    def function(self, stage: Stage) -> list[str]:
        """Return the function that computes a stage."""
        kind = self.output if stage is self.stages[-1] else self.value
        arguments = f"{self.value} x{dimensions(stage.before)}, {kind} y{dimensions(stage.after)}"
        indices = _INDICES[len(stage.after)]
        body = loops(indices, stage.after, self._unit(stage))
        lines = "\n".join(f"    {line}" for line in body).split("\n")
        head = [f"static void {stage.name}_layer({arguments})", "{"]
        return [*comment(f"{stage.name}: {stage.title}"), *head, *lines, "}"]

    def _unit(self, stage: Stage) -> list[str]:
        """Return what computes one unit."""
        y = at("y", *_INDICES[len(stage.after)])
        if stage.layer is None:
            return self._finish(stage, at("x", *_INDICES[len(stage.before)]), y)
        return [*self._write(stage), *self._finish(stage, "sum", y)]

    def _write(self, stage: Stage) -> list[str]:
        """Return what computes the sum."""
        writers: dict[type, Callable[[Stage], list[str]]] = {
            Conv2D: self._conv2d,
            MaxPool2D: self._max_pool2d,
            AvgPool2D: self._avg_pool2d,
            Subsample2D: self._subsample2d,
            Dense: self._dense,
            RBF: self._rbf,
        }
        return writers[type(stage.layer)](stage)

    def _conv2d(self, stage: Stage) -> list[str]:
        layer: Any = stage.layer
        w, x_map = at(f"{stage.name}_w", "o", "c", "u", "v"), "c"
        if stage.links is not None:
            w, x_map = at(f"{stage.name}_w", "k", "u", "v"), at(f"{stage.name}_maps", "k")
        top, _, left, _ = layer.padding
        (down, across), (rows_apart, columns_apart) = layer.stride, layer.dilation
        row = affine("r", down, "u", rows_apart, top)
        column = affine("s", across, "v", columns_apart, left)
        if any(layer.padding):
            _, h, w_in = stage.before
            inside = f"i >= 0 && i < {h} && j >= 0 && j < {w_in}"
            pixel = f"({inside} ? {at('x', x_map, 'i', 'j')} : {self._border(stage)})"
            add = [f"int i = {row}, j = {column};", f"sum += {self._product(w, pixel)};"]
        else:
            add = [f"sum += {self._product(w, at('x', x_map, row, column))};"]
        kernel = loops("uv", layer.kernel, add)
        bias = {None: "0", "map": at(f"{stage.name}_b", "o")}
        start = bias.get(layer.bias, at(f"{stage.name}_b", "o", "r", "s"))
        if stage.links is not None:
            first = f"{stage.name}_first"
            links = f"for (int k = {first}[o]; k < {first}[o + 1]; k++)"
            return [f"{self.sum} sum = {start};", *block(links, kernel)]
        return [f"{self.sum} sum = {start};", *loop("c", layer.c_in, kernel)]

    def _pixel_of_window(self, stage: Stage, x_map: str = "o") -> str:
        _, (down, across) = stage.window
        return at("x", x_map, affine("r", down, "u"), affine("s", across, "v"))

    def _max_pool2d(self, stage: Stage) -> list[str]:
        kernel, (down, across) = stage.window
        first = at("x", "o", affine("r", down), affine("s", across))
        pixel = self._pixel_of_window(stage)
        larger = loops("uv", kernel, block(f"if ({pixel} > sum)", [f"sum = {pixel};"]))
        return [f"{self.sum} sum = {first};  /* the largest so far */", *larger]

    def _avg_pool2d(self, stage: Stage) -> list[str]:
        add = loops("uv", stage.window[0], [f"sum += {self._pixel_of_window(stage)};"])
        return [f"{self.sum} sum = 0;", *add, *self._mean(stage)]

    def _subsample2d(self, stage: Stage) -> list[str]:
        layer: Any = stage.layer
        x_map = f"o / {layer.multiplier}" if layer.multiplier > 1 else "o"
        add = loops("uv", layer.kernel, [f"sum += {self._pixel_of_window(stage, x_map)};"])
        mean = self._mean(stage) if layer.reduction == "mean" else []
        w, b = at(f"{stage.name}_w", "o"), at(f"{stage.name}_b", "o")
        return [f"{self.sum} sum = 0;", *add, *mean, f"sum = {w} * sum + {b};"]

    def _dense(self, stage: Stage) -> list[str]:
        indices = "crs" if len(stage.before) == 3 else "i"
        w, x = at(f"{stage.name}_w", "o", *indices), at("x", *indices)
        add = loops(indices, stage.before, [f"sum += {self._product(w, x)};"])
        return [f"{self.sum} sum = {at(f'{stage.name}_b', 'o')};", *add]

    def _rbf(self, stage: Stage) -> list[str]:
        indices = "crs" if len(stage.before) == 3 else "i"
        w, x = at(f"{stage.name}_w", "o", *indices), at("x", *indices)
        add = [f"{self.sum} d = {x} - {w};", "sum += d * d;"]
        return [f"{self.sum} sum = 0;", *loops(indices, stage.before, add)]

    # --- what float and fixed point do in different ways ----------------------------------------

    def _product(self, w: str, x: str) -> str:
        return f"{w} * {x}"

    def _border(self, stage: Stage) -> str:
        layer: Any = stage.layer
        return number(float(layer.pad_value))

    def _mean(self, stage: Stage) -> list[str]:
        return [f"sum /= {area(stage)};"]

    def _finish(self, stage: Stage, x: str, y: str) -> list[str]:
        """Return what turns the sum into the output."""
        if stage.activation is None:
            return [f"{y} = {x};"]
        option = stage.activation.option
        by = f", {number(option)}" if stage.activation.function in ("leaky_relu", "elu") else ""
        function = {"tanh": "tanhf"}.get(stage.activation.function, stage.activation.function)
        return [f"{y} = {function}({x}{by});"]

    def helpers(self) -> Iterator[str]:
        """Yield the functions that the layers call."""
        names = {stage.activation.function for stage in self.stages if stage.activation}
        softmax = {"softmax"} if self.softmax else set()
        needs = {need for name in names | softmax for need in c_main.NEEDS.get(name, "").split()}
        if needs:
            own = "".join(c_main.OWN[name] for name in c_main.OWN if name in needs)
            yield f"#ifdef {self.name.upper()}_NO_LIBM\n{own}#else\n{c_main.LIBM}#endif\n"
        yield from (c_main.ACTIVATIONS[name] for name in c_main.ACTIVATIONS if name in names)

    # --- the files -----------------------------------------------------------------------------

    def _fields(self) -> dict[str, str]:
        """Return what the templates leave open."""
        rows, columns = bytes_shape(self.network)
        maps, h, w = self.network.input_shape
        best = ("smallest", "<") if self.network.output == "rbf" else ("largest", ">")
        lines = [f"{stage.name}: {stage.title}" for stage in self.stages]
        return {
            "name": self.name,
            "NAME": self.name.upper(),
            "rows": str(rows),
            "columns": str(columns),
            "maps": str(maps),
            "height": str(h),
            "width": str(w),
            "classes": str(self.network.output_shape[0]),
            "value": self.value,
            "output": self.output,
            "image": dimensions(self.network.input_shape),
            "which": best[0],
            "better": best[1],
            "layers": "\n".join(f" *     {line}" for line in lines),
            "sizes": f"{self.flash:,} bytes of constants, {self.ram:,} bytes of buffers",
            "kind": self.kind,
            "buffers": "\n".join(self._unions()),
            "calls": "\n".join(self._calls()),
            "pixel": self._pixel(),
            "number": "outputs[k]" + self.unit,
            "meaning": self._meaning(),
            "outputs": {
                "linear": "scores, of which the largest wins",
                "softmax": "scores, of which the largest wins; their softmax are probabilities",
                "rbf": "penalties, of which the smallest wins",
            }[self.network.output],
            "inverted": self._digits(),
            "include": self.include,
            "define": self.define,
            "libraries": self.libraries,
        }

    def _digits(self) -> str:
        """Return what the images are to look like."""
        light = "dark digits on light" if self.network.inverted else "bright digits on dark"
        return light + (", reduced to 16x16 and centred" if self.network.reduced else "")

    def _unions(self) -> Iterator[str]:
        for name, tensors in zip(("even", "odd"), self._buffers(), strict=True):
            if tensors:  # a network of one layer has but one
                members = (f"    {self.value} {x}{dimensions(tensors[x])};" for x in tensors)
                yield "\n".join(["static union {", *members, f"}} {name};", ""])

    def _calls(self) -> list[str]:
        """Return the calls of the layers, from one buffer to the other."""
        source, lines = "image", []
        for k, stage in enumerate(self.stages):
            target = f"{('odd', 'even')[k % 2]}.{stage.name}_y"
            target = "outputs" if stage is self.stages[-1] else target
            lines.append(f"    {stage.name}_layer({source}, {target});")
            source = target
        return lines

    @property
    def softmax(self) -> bool:
        """Whether there is a function that turns outputs into probabilities."""
        return self.network.output == "softmax"

    def _pixel(self) -> str:
        """Return how a byte becomes a value of the input."""
        background, foreground = map(number, self.network.pixel_range)
        share = "pixel / 255.0f"
        return f"{background} * (1 - {share}) + {foreground} * ({share})"

    def _meaning(self) -> str:
        background, foreground = self.network.pixel_range
        return f"from {background:g} to {foreground:g}"

    def source(self) -> str:
        """Return the file NAME.c."""
        functions = ["\n".join(self.function(stage)) + "\n" for stage in self.stages]
        return self._filled(
            c_main.HEAD,
            *map(declaration, self.constants()),
            *self.helpers(),
            *functions,
            c_main.RUN,
            *([c_main.SOFTMAX] if self.softmax else []),
            c_main.MAIN,
        )

    def header(self) -> str:
        """Return the file NAME.h."""
        softmax = [c_main.SOFTMAX_DECLARED] if self.softmax else []
        return self._filled(c_main.HEADER, *softmax, c_main.HEADER_END)

    def _filled(self, *parts: str) -> str:
        fields = self._fields()
        return "\n".join(Template(part).substitute(fields) for part in parts)
