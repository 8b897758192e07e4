"""Vector kernels on one row: largest element, where it is, exponentials and their sum, dot product, scaling.

A row is n elements in a padded buffer; lanes beyond n are masked on reading and written as 0. Arguments are addresses
and element counts. NaN never counts as the largest element.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels import target
from kernels.emit import I64, Vectors, int64, load, splat, store, typed
from kernels.jit import inline
from kernels.tile import Block, loop


class Rows(NamedTuple):
    """Kernels on rows for one dtype."""

    largest: Any  # largest(row, n) -> value, -inf where all are NaN
    find: Any  # find(row, n, value) -> first position of value, 0 where it is nowhere
    exp_and_sum: Any  # exp_and_sum(row, out, n, top) -> sum of out, with out = exp(row - top)
    dot: Any  # dot(a, b, n) -> sum of a * b; padding is read and must be 0
    squares: Any  # squares(row, n) -> sum of squares, in float64; padding is read and must be 0
    scale: Any  # scale(row, n, factor): row *= factor, in place


def _inside(v: Vectors, valid: ir.Value) -> ir.Value:
    """Mask of the lanes before ``valid``."""
    lane = ir.Constant(ir.VectorType(I64, v.lanes), list(range(v.lanes)))
    return v.builder.icmp_signed("<", lane, splat(v.builder, valid, lane.type))


def _reduce(v: Vectors, name: str, *values: ir.Value, flags: tuple[str, ...]) -> ir.Value:
    """Call ``llvm.vector.reduce.NAME``; ``reassoc`` adds up a sum as a tree."""
    suffix = f"v{v.lanes}f{64 if v.is_double else 32}"
    function_type = ir.FunctionType(v.element, [value.type for value in values])
    function = cgutils.get_or_insert_function(v.builder.module, function_type, f"llvm.vector.reduce.{name}.{suffix}")
    return v.builder.call(function, values, fastmath=flags)


@functools.cache
def make_rows(dtype: Any) -> Rows:
    """Kernels on rows for float32 or float64."""
    size, lanes = np.dtype(dtype).itemsize, target.current().lanes(dtype)
    real = types.float64 if size == 8 else types.float32

    def vectors(builder: Any) -> Vectors:
        return typed(builder, dtype, lanes, target.current().fma)

    def over_vectors(v: Vectors, n: ir.Value, start: ir.Value, step: Any) -> ir.Value:
        """Emit ``acc = step(byte offset, mask of the lanes that lie in the row, acc)`` for each vector of a row."""

        def one(k: ir.Value, acc: Block) -> Block:
            b = v.builder
            inside = _inside(v, b.sub(n, b.mul(k, int64(lanes))))
            return [[step(b.mul(k, int64(lanes * size)), inside, acc[0][0])]]

        count = v.builder.sdiv(v.builder.add(n, int64(lanes - 1)), int64(lanes))
        return loop(v, count, [[start]], one)[0][0]

    @intrinsic
    def largest(typingctx, row, n):
        def codegen(context, builder, sig, args):
            v = vectors(builder)

            def step(offset, inside, top):
                value = load(builder, builder.add(args[0], offset), v.type)
                number = builder.and_(inside, builder.fcmp_ordered("ord", value, value))
                value = v.where(number, value, v.const(-math.inf))
                return v.where(v.lt(top, value), value, top)

            # Without NaN a maximum is one instruction a round, with it three.
            return _reduce(v, "fmax", over_vectors(v, args[1], v.const(-math.inf), step), flags=("nnan",))

        return real(types.int64, types.int64), codegen

    @intrinsic
    def exp_and_sum(typingctx, row, out, n, top):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            row, out, n, top = args
            top = splat(builder, top, v.type)

            def step(offset, inside, total):
                shifted = v.sub(load(builder, builder.add(row, offset), v.type), top)
                values = v.where(inside, v.exp(shifted), v.const(0.0))
                store(builder, values, builder.add(out, offset))
                return v.add(total, values)

            total = over_vectors(v, n, v.const(0.0), step)
            return _reduce(v, "fadd", ir.Constant(v.element, 0.0), total, flags=("reassoc",))

        return real(types.int64, types.int64, types.int64, real), codegen

    @intrinsic
    def dot(typingctx, a, b, n):
        def codegen(context, builder, sig, args):
            v = vectors(builder)

            def step(offset, inside, total):
                a, b = (load(builder, builder.add(row, offset), v.type) for row in args[:2])
                return v.multiply_add(a, b, total)

            total = over_vectors(v, args[2], v.const(0.0), step)
            return _reduce(v, "fadd", ir.Constant(v.element, 0.0), total, flags=("reassoc",))

        return real(types.int64, types.int64, types.int64), codegen

    @intrinsic
    def squares(typingctx, row, n):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            double = Vectors(builder, ir.DoubleType(), lanes, v.has_fma)

            def step(offset, inside, total):
                value = load(builder, builder.add(args[0], offset), v.type)
                value = value if v.is_double else builder.fpext(value, double.type)
                return double.multiply_add(value, value, total)

            total = over_vectors(v, args[1], double.const(0.0), step)
            return _reduce(double, "fadd", ir.Constant(double.element, 0.0), total, flags=("reassoc",))

        return types.float64(types.int64, types.int64), codegen

    @intrinsic
    def vector_find(typingctx, at, valid, value):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            same = builder.fcmp_ordered("==", load(builder, args[0], v.type), splat(builder, args[2], v.type))
            bits = builder.zext(builder.bitcast(builder.and_(same, _inside(v, args[1])), ir.IntType(lanes)), I64)
            first = builder.cttz(bits, ir.Constant(ir.IntType(1), 0))
            return builder.select(builder.icmp_signed("==", bits, int64(0)), int64(-1), first)

        return types.int64(types.int64, types.int64, real), codegen

    @intrinsic
    def vector_scale(typingctx, at, factor):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            store(builder, v.mul(load(builder, args[0], v.type), splat(builder, args[1], v.type)), args[0])
            return context.get_dummy_value()

        return types.void(types.int64, real), codegen

    @inline
    def find(row, n, value):
        for j in range(0, n, lanes):
            position = vector_find(row + j * size, n - j, value)
            if position >= 0:
                return j + position
        return 0

    @inline
    def scale(row, n, factor):
        for j in range(0, n, lanes):
            vector_scale(row + j * size, factor)

    return Rows(largest, find, exp_and_sum, dot, squares, scale)
