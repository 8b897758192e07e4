"""Vector kernels on one row: largest element, where it is, exponentials and their sum, scaling.

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


class Rows(NamedTuple):
    """Kernels on rows for one dtype."""

    largest: Any  # largest(row, n) -> value, -inf where all are NaN
    find: Any  # find(row, n, value) -> first position of value, 0 where it is nowhere
    exp_and_sum: Any  # exp_and_sum(row, out, n, top) -> sum of out, with out = exp(row - top)
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
    lowest = np.dtype(dtype).type(-math.inf)

    def vectors(builder: Any) -> Vectors:
        return typed(builder, dtype, lanes, target.current().fma)

    @intrinsic
    def vector_largest(typingctx, at, valid):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            value = load(builder, args[0], v.type)
            number = builder.and_(_inside(v, args[1]), builder.fcmp_ordered("ord", value, value))
            # Without NaN a maximum is one instruction a round, with it three.
            return _reduce(v, "fmax", v.where(number, value, v.const(-math.inf)), flags=("nnan",))

        return real(types.int64, types.int64), codegen

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
    def vector_exp(typingctx, at, out, valid, top):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            shifted = v.sub(load(builder, args[0], v.type), splat(builder, args[3], v.type))
            values = v.where(_inside(v, args[2]), v.exp(shifted), v.const(0.0))
            store(builder, values, args[1])
            return _reduce(v, "fadd", ir.Constant(v.element, 0.0), values, flags=("reassoc",))

        return real(types.int64, types.int64, types.int64, real), codegen

    @intrinsic
    def vector_scale(typingctx, at, factor):
        def codegen(context, builder, sig, args):
            v = vectors(builder)
            store(builder, v.mul(load(builder, args[0], v.type), splat(builder, args[1], v.type)), args[0])
            return context.get_dummy_value()

        return types.void(types.int64, real), codegen

    @inline
    def largest(row, n):
        top = lowest
        for j in range(0, n, lanes):
            here = vector_largest(row + j * size, n - j)
            top = here if here > top else top
        return top

    @inline
    def find(row, n, value):
        for j in range(0, n, lanes):
            position = vector_find(row + j * size, n - j, value)
            if position >= 0:
                return j + position
        return 0

    @inline
    def exp_and_sum(row, out, n, top):
        total = vector_exp(row, out, n, top)
        for j in range(lanes, n, lanes):
            total += vector_exp(row + j * size, out + j * size, n - j, top)
        return total

    @inline
    def scale(row, n, factor):
        for j in range(0, n, lanes):
            vector_scale(row + j * size, factor)

    return Rows(largest, find, exp_and_sum, scale)
