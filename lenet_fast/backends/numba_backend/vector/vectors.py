"""The vector type, one image per lane, and what moves vectors: see kernels/vector/vectors.h and
vectors.pxd.

Left to itself, the compiler makes vectors of a loop over lanes only behind checks that its arrays
do not overlap, and keeps no sum in a register from one turn of the loop around it to the next. So
there is a type of Numba's for so many vectors, as ``lanes sums[14]`` is in C, whose values live in
registers: + - and * work on it lane by lane. A product that is added to a sum may be fused with it,
as in the compiled kernels; nothing is reordered.

Memory is a flat array, and places in it count vectors; in an array of `numbers` they count numbers.
A vector has as many lanes as the CPU's registers hold: 16, 8 or 4 of float32. Where a function
below wants a count, it is a literal in the kernel that calls it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils, config
from numba.core.cgutils import ir
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from lenet_fast.backends.numba_backend.jit import part


def _vector_bytes() -> int:
    """Return how wide the registers are of the CPU that Numba compiles for."""
    settings: Any = config
    features = settings.CPU_FEATURES  # NUMBA_CPU_FEATURES
    known = (get_host_cpu_features() if features is None else features).split(",")
    return 64 if "+avx512f" in known else 32 if "+avx" in known else 16


BYTES = _vector_bytes()

# The register block of each kernel: as many sums as the registers hold.
CONV_MAPS, CONV_COLUMNS = (2, 14) if BYTES == 64 else (1, 10)
GRADIENT_MAPS = 4 if BYTES == 64 else 2
DENSE_OUTPUTS = 20 if BYTES == 64 else 12


# --- the type -----------------------------------------------------------------------------------


class Lanes(types.Type):
    """`count` vectors of float32 or float64."""

    def __init__(self, real: Any, count: int) -> None:
        self.real, self.count = real, count
        super().__init__(name=f"Lanes({real}, {count})")


def lane_count(real: Any) -> int:
    """Return how many numbers a vector holds."""
    return BYTES * 8 // real.bitwidth


def vector_type(real: Any) -> ir.VectorType:
    """Return one vector as the compiler knows it."""
    number = ir.FloatType() if real == types.float32 else ir.DoubleType()
    return ir.VectorType(number, lane_count(real))


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, ir.ArrayType(vector_type(lanes.real), lanes.count))


class Writer:
    """Writes the instructions of an operation, in Numba's terms `context` and `builder`."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def split(self, lanes: Any) -> list[Any]:
        """Return the single vectors of a value."""
        return [self.builder.extract_value(lanes, k) for k in range(lanes.type.count)]

    def joined(self, vectors: list[Any]) -> Any:
        """Return the value that has these vectors."""
        lanes = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
        for k, vector in enumerate(vectors):
            lanes = self.builder.insert_value(lanes, vector, k)
        return lanes

    def plus_product(self, total: Any, a: Any, b: Any) -> Any:
        """Return total + a * b, fused where the CPU can."""
        product = self.builder.fmul(a, b, flags=_FUSED)
        return self.builder.fadd(total, product, flags=_FUSED)

    def splat(self, number: Any, real: Any) -> Any:
        """Return one vector with a number in every lane."""
        none = ir.Constant(vector_type(real), ir.Undefined)
        first = self.builder.insert_element(none, number, ir.IntType(32)(0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), none.type.count), None)
        return self.builder.shuffle_vector(first, none, places)

    def in_steps(self, at: Any, step: Any, count: int) -> list[Any]:
        """Return at, at + step, at + 2 step, ..."""
        found = [at]
        while len(found) < count:
            found.append(self.builder.add(found[-1], step))
        return found

    def looked_up(self, places_type: Any, places: Any, first: Any, at: Any, count: int) -> Any:
        """Return places[first] + at, places[first + 1] + at, ..."""
        found = []
        for index in self.in_steps(first, first.type(1), count):
            place = self.builder.load(self.address(places_type, places, index, 1))
            found.append(self.builder.add(place, at))
        return found

    def address(self, array_type: Any, array: Any, at: Any, size: int) -> Any:
        """Return where `size` numbers of an array are; one is no vector."""
        array = self.context.make_array(array_type)(self.context, self.builder, array)
        if self.context.enable_boundscheck:
            for number in (at, self.builder.add(at, at.type(size - 1))):
                cgutils.do_boundscheck(self.context, self.builder, number, array.nitems)
        first = self.builder.gep(array.data, [at])
        if size == 1:
            return first
        wanted = ir.VectorType(first.type.pointee, size)
        return self.builder.bitcast(first, wanted.as_pointer())

    def vector_address(self, array_type: Any, array: Any, at: Any, unit: int) -> dict[str, Any]:
        """Return where a vector is, whose place counts units of so many numbers."""
        number = self.builder.mul(at, at.type(unit))
        where = self.address(array_type, array, number, lane_count(array_type.dtype))
        return {"ptr": where, "align": array_type.dtype.bitwidth // 8}

    def load(self, array_type: Any, array: Any, places: list[Any], unit: int) -> Any:
        """Return the vectors at these places."""
        found = [self.vector_address(array_type, array, at, unit) for at in places]
        return self.joined([self.builder.load(**each) for each in found])

    def store(self, array_type: Any, array: Any, places: list[Any], unit: int, lanes: Any) -> Any:
        """Write vectors to these places."""
        for at, vector in zip(places, self.split(lanes), strict=True):
            self.builder.store(vector, **self.vector_address(array_type, array, at, unit))
        return self.context.get_dummy_value()

    def spread(self, array_type: Any, array: Any, places: list[Any]) -> Any:
        """Return vectors with the numbers at these places in every lane."""
        found = [self.builder.load(self.address(array_type, array, at, 1)) for at in places]
        return self.joined([self.splat(number, array_type.dtype) for number in found])


_FUSED = ("contract",)


def _lane_by_lane(function: Callable[..., Any], instruction: str) -> None:
    """Teach Numba what an operator does to two values of the same number of vectors."""

    @type_callable(function)
    def _(context: Any) -> Any:
        return lambda a, b: a if isinstance(a, Lanes) and a == b else None

    @lower_builtin(function, Lanes, Lanes)
    def _(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        pairs = zip(writer.split(values[0]), writer.split(values[1]), strict=True)
        operation = getattr(builder, instruction)
        return writer.joined([operation(a, b, flags=_FUSED) for a, b in pairs])


_lane_by_lane(operator.add, "fadd")
_lane_by_lane(operator.sub, "fsub")
_lane_by_lane(operator.mul, "fmul")


# --- between memory and registers ---------------------------------------------------------------


@intrinsic
def get(typing: Any, memory: Any, at: Any) -> Any:
    """Return one vector."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return Writer(context, builder).load(memory, *_one(values), lane_count(memory.dtype))

    return Lanes(memory.dtype, 1)(memory, types.intp), generate


@intrinsic
def put(typing: Any, memory: Any, at: Any, lanes: Any) -> Any:
    """Write one vector."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        unit = lane_count(memory.dtype)
        return Writer(context, builder).store(memory, *_one(values), unit, values[2])

    return types.void(memory, types.intp, lanes), generate


def _one(values: Any) -> tuple[Any, list[Any]]:
    return values[0], [values[1]]


def _row_movers(of_numbers: bool) -> tuple[Any, Any]:
    """Return what reads and what writes vectors `step` apart, in vectors or in numbers."""

    @intrinsic(prefer_literal=True)
    def get_row(typing: Any, memory: Any, at: Any, step: Any, count: Any) -> Any:
        lanes = Lanes(memory.dtype, count.literal_value)
        unit = 1 if of_numbers else lane_count(memory.dtype)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            writer = Writer(context, builder)
            places = writer.in_steps(values[1], values[2], lanes.count)
            return writer.load(memory, values[0], places, unit)

        return lanes(memory, types.intp, types.intp, count), generate

    @intrinsic
    def put_row(typing: Any, memory: Any, at: Any, step: Any, lanes: Any) -> Any:
        unit = 1 if of_numbers else lane_count(memory.dtype)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            writer = Writer(context, builder)
            places = writer.in_steps(values[1], values[2], lanes.count)
            return writer.store(memory, values[0], places, unit, values[3])

        return types.void(memory, types.intp, types.intp, lanes), generate

    return get_row, put_row


# get_row(memory, at, step, count) returns the vectors at, at + step, ...; with get_numbers they
# begin with these numbers. put_row(memory, at, step, lanes) and put_numbers write them.
get_row, put_row = _row_movers(of_numbers=False)
get_numbers, put_numbers = _row_movers(of_numbers=True)


def _grid(writer: Writer, places: Any, values: Any, rows: int, columns: int) -> list[Any]:
    starts = writer.looked_up(places, values[1], values[2], values[3], rows)
    one = starts[0].type(1)
    return [place for start in starts for place in writer.in_steps(start, one, columns)]


@intrinsic(prefer_literal=True)
def get_rows(
    typing: Any, memory: Any, places: Any, first: Any, at: Any, rows: Any, columns: Any
) -> Any:
    """Return rows of adjacent vectors: row m begins at vector places[first + m] + at."""
    m, k = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        grid = _grid(writer, places, values, m, k)
        return writer.load(memory, values[0], grid, lane_count(memory.dtype))

    lanes = Lanes(memory.dtype, m * k)
    return lanes(memory, places, types.intp, types.intp, rows, columns), generate


@intrinsic(prefer_literal=True)
def put_rows(
    typing: Any, memory: Any, places: Any, first: Any, at: Any, rows: Any, lanes: Any
) -> Any:
    """Write rows of adjacent vectors."""
    m = rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        grid = _grid(writer, places, values, m, lanes.count // m)
        return writer.store(memory, values[0], grid, lane_count(memory.dtype), values[5])

    return types.void(memory, places, types.intp, types.intp, rows, lanes), generate


@intrinsic
def get_bytes(typing: Any, memory: Any, pixels: Any, places: Any, at: Any) -> Any:
    """Return a square of vectors of memory's numbers: bytes places[k] + at and on are in row k."""
    full = lane_count(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, vectors = Writer(context, builder), []
        for place in writer.looked_up(places, values[2], values[3].type(0), values[3], full):
            loaded = builder.load(writer.address(pixels, values[1], place, full), align=1)
            vectors.append(builder.uitofp(loaded, vector_type(memory.dtype)))
        return writer.joined(vectors)

    return Lanes(memory.dtype, full)(memory, pixels, places, types.intp), generate


@intrinsic(prefer_literal=True)
def spread(typing: Any, numbers: Any, at: Any, step: Any, count: Any) -> Any:
    """Return vectors with numbers at, at + step, ... in every lane."""
    lanes = Lanes(numbers.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        places = writer.in_steps(values[1], values[2], lanes.count)
        return writer.spread(numbers, values[0], places)

    return lanes(numbers, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)
def spread_each(typing: Any, numbers: Any, places: Any, first: Any, at: Any, count: Any) -> Any:
    """Return vectors with numbers places[first] + at, places[first + 1] + at, ... in every lane."""
    lanes = Lanes(numbers.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        found = writer.looked_up(places, values[1], values[2], values[3], lanes.count)
        return writer.spread(numbers, values[0], found)

    return lanes(numbers, places, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)
def splat(typing: Any, memory: Any, number: Any, count: Any) -> Any:
    """Return vectors with one number in every lane."""
    lanes = Lanes(memory.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        return writer.joined([writer.splat(values[1], memory.dtype)] * lanes.count)

    return lanes(memory, memory.dtype, count), generate


@intrinsic
def lane_count_of(typing: Any, memory: Any) -> Any:
    """Return how many numbers a vector holds: a literal."""
    count = types.literal(lane_count(memory.dtype))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, count.literal_value)

    return count(memory), generate


@part
def fill(memory, at, count, number):
    """Set `count` vectors to one number."""
    lanes = splat(memory, number, 1)
    for k in range(count):
        put(memory, at + k, lanes)


@part
def copy(memory, source, target, count):
    """Copy `count` vectors."""
    for k in range(count):
        put(memory, target + k, get(memory, source + k))
