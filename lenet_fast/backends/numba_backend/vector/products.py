"""What is done with vectors in registers: products added to sums, sums, squares turned round."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.cgutils import ir
from numba.extending import intrinsic

from lenet_fast.backends.numba_backend.vector.vectors import Lanes, Writer, lane_count


@intrinsic
def plus_products(typing: Any, sums: Any, left: Any, right: Any) -> Any:
    """Return sums + left * right, with each of left times each of right: a row for each of left."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        made, a, b = (writer.split(value) for value in values)
        for k, total in enumerate(made):
            made[k] = writer.plus_product(total, a[k // len(b)], b[k % len(b)])
        return writer.joined(made)

    return sums(sums, left, right), generate


@intrinsic
def plus_products_with(typing: Any, sums: Any, left: Any, memory: Any, at: Any, step: Any) -> Any:
    """The same with the vectors at, at + step, ... on the right, each read when it is needed: a
    block that fills the registers has no room for all of them."""
    columns = sums.count // left.count

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, full = Writer(context, builder), lane_count(memory.dtype)
        made, factors = writer.split(values[0]), writer.split(values[1])
        for column, place in enumerate(writer.in_steps(values[3], values[4], columns)):
            (seen,) = writer.split(writer.load(memory, values[2], [place], full))
            for m, factor in enumerate(factors):
                k = m * columns + column
                made[k] = writer.plus_product(made[k], factor, seen)
        return writer.joined(made)

    return sums(sums, left, memory, types.intp, types.intp), generate


@intrinsic
def plus_scattered(typing: Any, sums: Any, factors: Any, x: Any) -> Any:
    """Return sums + factors * x, the products of the v-th factor added from the v-th sum on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        made, taps, seen = (writer.split(value) for value in values)
        for v, factor in enumerate(taps):
            for k, each in enumerate(seen):
                made[k + v] = writer.plus_product(made[k + v], factor, each)
        return writer.joined(made)

    return sums(sums, factors, x), generate


@intrinsic
def total(typing: Any, lanes: Any) -> Any:
    """Return the sum of all vectors, the first one first."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer = Writer(context, builder)
        made, *others = writer.split(values[0])
        for other in others:
            made = builder.fadd(made, other)
        return writer.joined([made])

    return Lanes(lanes.real, 1)(lanes), generate


@intrinsic
def transposed(typing: Any, square: Any) -> Any:
    """Return as many vectors as each has lanes, with rows and columns exchanged.

    Each round merges row i with the row half a square below it; after as many rounds as there are
    bits in a row's number, every number is in its place.
    """
    full = square.count
    merged = [k // 2 + k % 2 * full for k in range(2 * full)]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        writer, pattern = Writer(context, builder), ir.VectorType(ir.IntType(32), full)
        halves = [ir.Constant(pattern, half) for half in (merged[:full], merged[full:])]
        rows = writer.split(values[0])
        for _ in range(full.bit_length() - 1):
            pairs = list(zip(rows[: full // 2], rows[full // 2 :], strict=True))
            rows = [builder.shuffle_vector(*pair, half) for pair in pairs for half in halves]
        return writer.joined(rows)

    return square(square), generate


@intrinsic
def leader(typing: Any, first: Any, second: Any) -> Any:
    """Return the larger of two pixels: the first of equals stays, NaN beats numbers."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        a, b = (builder.extract_value(value, 0) for value in values)
        larger = builder.fcmp_unordered(">", b, a)
        takes = builder.and_(larger, builder.fcmp_ordered("ord", a, a))
        return Writer(context, builder).joined([builder.select(takes, b, a)])

    return first(first, second), generate


@intrinsic(prefer_literal=True)
def where_same(typing: Any, lanes: Any, x: Any, best: Any, same: Any) -> Any:
    """Return what stands where x has the bits of best, or where it has not; zero elsewhere.

    So a NaN is found, and the other zero is not.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value, *both = (builder.extract_value(each, 0) for each in values[:3])
        bits = ir.VectorType(ir.IntType(x.real.bitwidth), value.type.count)
        sign = "==" if same.literal_value else "!="
        stays = builder.icmp_signed(sign, *(builder.bitcast(each, bits) for each in both))
        zero = ir.Constant(value.type, None)
        return Writer(context, builder).joined([builder.select(stays, value, zero)])

    return lanes(lanes, x, best, same), generate
