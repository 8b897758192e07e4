"""From rules to vector instructions: LLVM IR for the programs of :mod:`kernels.rules`, one vector at a time.

A value is a vector of ``lanes`` floats in a register, in float32 or float64. Functions that LLVM lacks (exp, tanh,
erf) are written out here: float32 as polynomials good to 2 units in the last place, so that they cost a few
cycles per vector; float64 takes erf from the C library, lane by lane, since only checks run in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from kernels.rules import Program

I32, I64 = ir.IntType(32), ir.IntType(64)
# Contraction into multiply-adds and no signed zeros; reciprocals stay exact, NaN and infinities are kept.
FLAGS = ("contract", "nsz")


def int64(value: int) -> ir.Constant:
    """A 64-bit integer constant."""
    return ir.Constant(I64, value)


def splat(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """A vector with ``scalar`` in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """Load a scalar or a vector from an integer address, aligned to its element only."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = _element_bytes(kind)
    return value


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """Store a scalar or a vector at an integer address, aligned to its element only."""
    instruction = builder.store(value, builder.inttoptr(address, value.type.as_pointer()))
    instruction.align = _element_bytes(value.type)


def emit_prefetch(builder: ir.IRBuilder, address: ir.Value, for_write: bool) -> None:
    """Ask for the cache line at an integer address."""
    kind = ir.IntType(8).as_pointer()
    function_type = ir.FunctionType(ir.VoidType(), [kind, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    keep_in_all_levels, data = ir.Constant(I32, 3), ir.Constant(I32, 1)
    builder.call(
        function, [builder.inttoptr(address, kind), ir.Constant(I32, int(for_write)), keep_in_all_levels, data]
    )


def _element_bytes(kind: ir.Type) -> int:
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    return 4 if isinstance(element, ir.FloatType) else 8


class Vectors:
    """Arithmetic on vectors of one type through an IR builder."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, lanes: int, fma: bool) -> None:
        self.builder, self.element, self.lanes, self.has_fma = builder, element, lanes, fma
        self.type = ir.VectorType(element, lanes)
        self.is_double = isinstance(element, ir.DoubleType)
        self.item_bytes = 8 if self.is_double else 4
        self.int_type = ir.VectorType(I64 if self.is_double else I32, lanes)

    def const(self, value: float) -> ir.Constant:
        """The same number in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def _ints(self, value: int) -> ir.Constant:
        return ir.Constant(self.int_type, [value] * self.lanes)

    def intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        """Call ``llvm.NAME`` for this vector type (llvmlite's own declaration rejects vectors)."""
        suffix = f"v{self.lanes}f{64 if self.is_double else 32}"
        function_type = ir.FunctionType(self.type, [v.type for v in values])
        function = cgutils.get_or_insert_function(self.builder.module, function_type, f"llvm.{name}.{suffix}")
        return self.builder.call(function, values)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Sum."""
        return self.builder.fadd(a, b, flags=FLAGS)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Difference."""
        return self.builder.fsub(a, b, flags=FLAGS)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Product."""
        return self.builder.fmul(a, b, flags=FLAGS)

    def div(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Quotient, exact: no reciprocal estimates."""
        return self.builder.fdiv(a, b, flags=FLAGS)

    def lt(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Lanes where a < b; false for NaN."""
        return self.builder.fcmp_ordered("<", a, b)

    def where(self, condition: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        """The lanes of a where the condition holds, else those of b."""
        return self.builder.select(condition, a, b)

    def abs(self, a: ir.Value) -> ir.Value:
        """Absolute value."""
        return self.intrinsic("fabs", a)

    def sqrt(self, a: ir.Value) -> ir.Value:
        """Square root."""
        return self.intrinsic("sqrt", a)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, in one rounding where the CPU can."""
        return self.intrinsic("fma", a, b, c) if self.has_fma else self.add(self.mul(a, b), c)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """Horner's rule; coefficients from the highest power down."""
        value = self.const(coefficients[0])
        for c in coefficients[1:]:
            value = self.multiply_add(value, x, self.const(c))
        return value

    def exp(self, x: ir.Value) -> ir.Value:
        """e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2) / 2, e^r by its Taylor series.

        Adding 1.5 * 2^mantissa rounds to an integer and leaves it in the low bits, without a rounding
        instruction (SSE2 has none). Below the smallest normal number the result is 0.
        """
        b = self.builder
        # ln 2 in two parts, the first short enough that n * first is exact (Cody & Waite 1980).
        if self.is_double:
            magic, mantissa, low, high, order = 1.5 * 2**52, 52, -708.39, 709.78, 13
            ln2 = (float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33"))
        else:
            magic, mantissa, low, high, order = 1.5 * 2**23, 23, -87.33, 88.72, 7
            ln2 = (0.693359375, -2.12194440e-4)
        inside = self.where(self.lt(x, self.const(low)), self.const(low), x)
        inside = self.where(self.lt(self.const(high), x), self.const(high), inside)
        shifted = b.fadd(b.fmul(inside, self.const(1 / math.log(2))), self.const(magic))
        n = b.fsub(shifted, self.const(magic))
        r = self.multiply_add(n, self.const(-ln2[0]), inside)
        r = self.multiply_add(n, self.const(-ln2[1]), r)
        series = self.polynomial(r, [1 / math.factorial(k) for k in range(order, -1, -1)])
        exponent = b.shl(b.bitcast(shifted, self.int_type), self._ints(mantissa))
        value = b.bitcast(b.add(b.bitcast(series, self.int_type), exponent), self.type)
        value = self.where(self.lt(x, self.const(low)), self.const(0.0), value)
        value = self.where(self.lt(self.const(high), x), self.const(math.inf), value)
        return self.where(b.fcmp_unordered("uno", x, x), x, value)

    def tanh(self, x: ir.Value) -> ir.Value:
        """(1 - t) / (1 + t) with t = exp(-2 |x|); near 0, where that cancels, a Padé approximant."""
        size = self.abs(x)
        t = self.exp(self.mul(size, self.const(-2.0)))
        far = self.div(self.sub(self.const(1.0), t), self.add(self.const(1.0), t))
        far = self.intrinsic("copysign", far, x)
        square = self.mul(x, x)
        above = self.polynomial(square, (1.0, 105.0, 945.0))
        below = self.polynomial(square, (15.0, 420.0, 945.0))
        near = self.div(self.mul(x, above), below)
        return self.where(self.lt(size, self.const(0.03 if self.is_double else 0.5)), near, far)

    def erf(self, x: ir.Value) -> ir.Value:
        """Error function; float32 by Abramowitz & Stegun 7.1.26 (absolute error 1.5e-7), float64 by libm."""
        if self.is_double:
            return self._lane_by_lane("erf", x)
        size = self.abs(x)
        t = self.div(self.const(1.0), self.multiply_add(size, self.const(0.3275911), self.const(1.0)))
        series = self.polynomial(t, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
        tail = self.mul(self.mul(series, t), self.exp(self.sub(self.const(0.0), self.mul(x, x))))
        return self.intrinsic("copysign", self.sub(self.const(1.0), tail), x)

    def _lane_by_lane(self, name: str, x: ir.Value) -> ir.Value:
        function_type = ir.FunctionType(self.element, [self.element])
        function = cgutils.get_or_insert_function(self.builder.module, function_type, name)
        result: ir.Value = ir.Constant(self.type, ir.Undefined)
        for lane in range(self.lanes):
            position = ir.Constant(I32, lane)
            value = self.builder.call(function, [self.builder.extract_element(x, position)])
            result = self.builder.insert_element(result, value, position)
        return result

    def run(self, program: Program, inputs: Mapping[str, ir.Value]) -> list[ir.Value]:
        """Emit a program; returns its outputs."""
        values: list[ir.Value] = []
        for line in program.text.split("\n"):
            op, *words = line.split(" ")
            if op == "input":
                values.append(inputs.get(words[0]))
                continue
            operands = [values[int(w[1:])] if w.startswith("%") else self.const(float(w)) for w in words]
            values.append(getattr(self, op)(*operands))
        return [values[i] for i in program.outputs]


def typed(builder: ir.IRBuilder, dtype: Any, lanes: int, fma: bool) -> Vectors:
    """Vector arithmetic for a NumPy dtype (float32 or float64)."""
    return Vectors(builder, ir.DoubleType() if str(dtype) == "float64" else ir.FloatType(), lanes, fma)
