"""Blocks of vectors that begin at any number of an array, sums over their lanes, addresses."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.cgutils import ir
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.vector.vectors import (
    Lanes,
    Writer,
    lane_count,
    lane_count_of,
)

_LANE = ir.IntType(32)


def _places(count: int) -> ir.VectorType:
    """Return the type of the places that a shuffle takes its lanes from."""
    return ir.VectorType(_LANE, count)


def _block_places(
    writer: Writer, at: Any, step: Any, rows: int, columns: int, full: int
) -> list[Any]:
    """Return where the vectors of a block begin: its rows are `step` numbers apart."""
    starts, across = writer.in_steps(at, step, rows), at.type(full)
    return [place for start in starts for place in writer.in_steps(start, across, columns)]


@intrinsic(prefer_literal=True)
def get_block(typing: Any, memory: Any, at: Any, step: Any, rows: Any, columns: Any) -> Any:
    """Return rows of adjacent vectors; `step` numbers lead from one row to the next."""
    size = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        places = _block_places(writer, values[1], values[2], *size, lane_count(memory.dtype))
        return writer.load(memory, values[0], places, 1)

    lanes = Lanes(memory.dtype, size[0] * size[1])
    return lanes(memory, types.intp, types.intp, rows, columns), generate


@intrinsic(prefer_literal=True)
def put_block(typing: Any, memory: Any, at: Any, step: Any, rows: Any, lanes: Any) -> Any:
    """Write rows of adjacent vectors, the first one first: they may overlap."""
    count = rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, full = Writer(context, builder), lane_count(memory.dtype)
        places = _block_places(writer, values[1], values[2], count, lanes.count // count, full)
        return writer.store(memory, values[0], places, 1, values[4])

    return types.void(memory, types.intp, types.intp, rows, lanes), generate


@intrinsic(prefer_literal=True)
def add_block(typing: Any, memory: Any, at: Any, step: Any, rows: Any, lanes: Any) -> Any:
    """Add to rows of adjacent vectors, one vector after the other: they may overlap."""
    count = rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, full = Writer(context, builder), lane_count(memory.dtype)
        places = _block_places(writer, values[1], values[2], count, lanes.count // count, full)
        for place, vector in zip(places, writer.split(values[4]), strict=True):
            where = writer.vector_address(memory, values[0], place, 1)
            builder.store(builder.fadd(builder.load(**where), vector), **where)
        return context.get_dummy_value()

    return types.void(memory, types.intp, types.intp, rows, lanes), generate


@intrinsic(prefer_literal=True)
def get_first(typing: Any, memory: Any, at: Any, step: Any, wanted: Any, count: Any) -> Any:
    """Return vectors `step` numbers apart; beyond the first `wanted`, the last one again."""
    lanes = Lanes(memory.dtype, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array, at, step, wanted, _ = values
        last, places = builder.sub(wanted, wanted.type(1)), []
        for k in map(wanted.type, range(lanes.count)):
            row = builder.select(builder.icmp_signed("<", k, last), k, last)
            places.append(builder.add(at, builder.mul(row, step)))
        return Writer(context, builder).load(memory, array, places, 1)

    return lanes(memory, types.intp, types.intp, types.intp, count), generate


@intrinsic
def put_first(typing: Any, memory: Any, at: Any, step: Any, wanted: Any, lanes: Any) -> Any:
    """Write the first `wanted` of some vectors, `step` numbers apart; they may overlap."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array, at, step, wanted, vectors = values
        writer = Writer(context, builder)
        places = writer.in_steps(at, step, lanes.count)
        for k, (place, vector) in enumerate(zip(places, writer.split(vectors), strict=True)):
            with builder.if_then(builder.icmp_signed("<", wanted.type(k), wanted)):
                builder.store(vector, **writer.vector_address(memory, array, place, 1))
        return context.get_dummy_value()

    return types.void(memory, types.intp, types.intp, types.intp, lanes), generate


def _get_every_second(first: int) -> Any:
    @intrinsic
    def get_every_second(typing: Any, memory: Any, at: Any) -> Any:
        full = lane_count(memory.dtype)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            writer = Writer(context, builder)
            places = writer.in_steps(values[1], values[1].type(full), 2)
            both = writer.split(writer.load(memory, values[0], places, 1))
            wanted = ir.Constant(_places(full), [*range(first, 2 * full, 2)])
            return writer.joined([builder.shuffle_vector(*both, wanted)])

        return Lanes(memory.dtype, 1)(memory, types.intp), generate

    return get_every_second


# Of two adjacent vectors, the numbers with even places, and the others.
get_evens, get_odds = _get_every_second(0), _get_every_second(1)


@intrinsic
def zipped(typing: Any, evens: Any, odds: Any) -> Any:
    """Return the two vectors whose numbers these are."""
    full = lane_count(evens.real)
    order = [k // 2 + k % 2 * full for k in range(2 * full)]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        both = [builder.extract_value(each, 0) for each in values]
        halves = [ir.Constant(_places(full), half) for half in (order[:full], order[full:])]
        made = [builder.shuffle_vector(*both, half) for half in halves]
        return Writer(context, builder).joined(made)

    return Lanes(evens.real, 2)(evens, odds), generate


@intrinsic
def only_lanes(typing: Any, lanes: Any, first: Any, last: Any) -> Any:
    """Return vectors with zeros in all lanes before the first, and from the last on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, full = Writer(context, builder), lane_count(lanes.real)
        pattern = ir.VectorType(ir.IntType(64), full)
        none, zeros = ir.Constant(pattern, ir.Undefined), ir.Constant(_places(full), None)
        lane = ir.Constant(pattern, list(range(full)))
        edges = [
            builder.shuffle_vector(builder.insert_element(none, edge, _LANE(0)), none, zeros)
            for edge in values[1:]
        ]
        stays = builder.and_(
            builder.icmp_signed(">=", lane, edges[0]), builder.icmp_signed("<", lane, edges[1])
        )
        vectors = writer.split(values[0])
        kept = [builder.select(stays, each, ir.Constant(each.type, None)) for each in vectors]
        return writer.joined(kept)

    return lanes(lanes, types.intp, types.intp), generate


@intrinsic
def put_lane_sums(typing: Any, memory: Any, at: Any, lanes: Any) -> Any:
    """Write the sum of the lanes of each vector, one number per vector: 1, 2, 4 ... of them.

    Each round adds neighbours, throughout the row of all lanes of all vectors.
    """
    count = lanes.count

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        row = writer.split(values[2])
        while len(row) * row[0].type.count > count:
            width = row[0].type.count
            pairs = list(zip(row[::2], row[1::2], strict=True)) if len(row) > 1 else [row * 2]
            left = range(0, 2 * width if len(row) > 1 else width, 2)
            halves = [ir.Constant(_places(len(left)), [k + i for k in left]) for i in (0, 1)]
            row = [
                builder.fadd(*(builder.shuffle_vector(*pair, half) for half in halves))
                for pair in pairs
            ]
        for k, sums in enumerate(row):
            width = sums.type.count
            place = builder.add(values[1], values[1].type(k * width))
            made = builder.extract_element(sums, _LANE(0)) if width == 1 else sums
            where = writer.address(memory, values[0], place, width)
            builder.store(made, where, align=memory.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(memory, types.intp, lanes), generate


@part
def whole_vectors(memory, count):
    """Return a count of numbers, or the next one above it that fills vectors."""
    full = lane_count_of(memory)
    return (count + full - 1) // full * full


@intrinsic
def array_at(typing: Any, address: Any, count: Any, like: Any) -> Any:
    """Return the numbers at an address as an array of this type."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(like)(context, builder)
        size = context.get_constant(types.intp, like.dtype.bitwidth // 8)
        data = builder.inttoptr(values[0], array.data.type)
        populate_array(array, data, [values[1]], [size], size, None)
        return array._getvalue()

    return like(types.intp, types.intp, like), generate
