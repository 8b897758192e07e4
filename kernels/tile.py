"""The register-tiled matrix product: one block of C = A B, all of its accumulators in vector registers.

A tile is ``rows x (vectors * lanes)`` elements of C. For each k it loads one row of B (contiguous, from a panel) and
multiplies it by ``rows`` scalars of A, broadcast. A is read through a row stride and a k stride, so the same tile
does ``X @ W`` and ``X.T @ dZ``. The sum over k runs in order, whatever lies beside the tile: results do not depend on
what else is computed. Addresses are integers; strides count elements; nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels import target
from kernels.emit import I64, Vectors, int64, load, splat, store, typed
from kernels.rules import Program

INT = types.int64
Block = list[list[ir.Value]]  # vectors of a tile, [row][column]


def element(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, size: int) -> ir.Value:
    """Address of element ``offset`` after ``base``."""
    return builder.add(base, builder.mul(offset, int64(size)))


def k_step(v: Vectors, acc: Block, a_rows: list[ir.Value], a_offset: ir.Value, b_row: ir.Value) -> Block:
    """Emit ``acc[i][j] + A[i, k] B[k, j]`` for one k; A[i, k] lies ``a_offset`` bytes after ``a_rows[i]``."""
    builder, vector_bytes = v.builder, v.lanes * v.item_bytes
    loads = [load(builder, builder.add(b_row, int64(j * vector_bytes)), v.type) for j in range(len(acc[0]))]
    new = []
    for row, address in zip(acc, a_rows, strict=True):
        a = splat(builder, load(builder, builder.add(address, a_offset), v.element), v.type)
        new.append([v.multiply_add(a, b, old) for b, old in zip(loads, row, strict=True)])
    return new


def products(v: Vectors, start: Block, a_rows: list[ir.Value], b: ir.Value, a_step: ir.Value, b_step: ir.Value,
             depth: ir.Value) -> Block:  # fmt: skip
    """Emit ``start[i][j] + sum over k of A[i, k] B[k, j]``; steps from k to k + 1 in bytes."""

    def step(k: ir.Value, acc: Block) -> Block:
        return k_step(v, acc, a_rows, v.builder.mul(k, a_step), v.builder.add(b, v.builder.mul(k, b_step)))

    return loop(v, depth, start, step)


def loop(v: Vectors, count: ir.Value, start: Block, step: Callable[[ir.Value, Block], Block]) -> Block:
    """Emit ``for k in range(count): acc = step(k, acc)``; the accumulators are phi nodes, so they stay in registers."""
    builder = v.builder
    before, body, after = builder.block, builder.append_basic_block("k"), builder.append_basic_block("k.end")
    builder.cbranch(builder.icmp_signed(">", count, int64(0)), body, after)
    builder.position_at_end(body)
    k = builder.phi(I64)
    k.add_incoming(int64(0), before)
    acc = [[builder.phi(value.type) for value in row] for row in start]
    new = step(k, acc)
    end = builder.block
    k_next = builder.add(k, int64(1))
    k.add_incoming(k_next, end)
    builder.cbranch(builder.icmp_signed("<", k_next, count), body, after)
    builder.position_at_end(after)
    result = []
    for first, here, last in zip(start, acc, new, strict=True):
        result.append([builder.phi(value.type) for value in first])
        for one, old, current, last_one in zip(result[-1], first, here, last, strict=True):
            for phi in (one, current):
                phi.add_incoming(old, before)
                phi.add_incoming(last_one, end)
    return result


def for_each_width(builder: ir.IRBuilder, vectors: ir.Value, emit_width: Any) -> None:
    """Emit one tile per width of panel and a switch between them."""
    done = builder.append_basic_block("done")
    switch = builder.switch(vectors, done)
    for n_vectors, n_rows in enumerate(target.current().tile_rows):
        if n_vectors:
            block = builder.append_basic_block(f"width{n_vectors}")
            switch.add_case(int64(n_vectors), block)
            builder.position_at_end(block)
            emit_width(n_vectors, n_rows)
            builder.branch(done)
    builder.position_at_end(done)


def make_store_tile(dtype: Any) -> Any:
    """``tile(vectors, A, a_row, a_k, B, b_k, depth, C, c_row, bias)``: C = bias + A B for one block of C.

    ``bias`` is the address of one row of start values. Strides in elements.
    """
    size = np.dtype(dtype).itemsize

    @intrinsic
    def tile(typingctx, vectors, A, a_row, a_k, B, b_k, depth, C, c_row, bias):
        sig = types.void(*[INT] * 10)

        def codegen(context, builder, sig, args):
            vectors, A, a_row, a_k, B, b_k, depth, C, c_row, bias = args
            lanes = target.current().lanes(dtype)
            v = typed(builder, dtype, lanes, target.current().fma)

            def width(n_vectors: int, n_rows: int) -> None:
                rows = [element(builder, A, builder.mul(a_row, int64(i)), size) for i in range(n_rows)]
                first = [load(builder, builder.add(bias, int64(j * lanes * size)), v.type) for j in range(n_vectors)]
                steps = (builder.mul(stride, int64(size)) for stride in (a_k, b_k))
                acc = products(v, [first] * n_rows, rows, B, *steps, depth)
                for i in range(n_rows):
                    row = element(builder, C, builder.mul(c_row, int64(i)), size)
                    for j in range(n_vectors):
                        store(builder, acc[i][j], builder.add(row, int64(j * lanes * size)))

            for_each_width(builder, vectors, width)
            return context.get_dummy_value()

        return sig, codegen

    return tile


def make_map_vector(dtype: Any, program: Program) -> Any:
    """``apply(z, a, g, out, valid)``: out = rule(z, a, g) for one vector; lanes from ``valid`` on become 0.

    The mask keeps padding at zero for rules with f(0) != 0 (sigmoid, …). Inputs that the rule does not use are not
    read.
    """

    @intrinsic
    def apply(typingctx, z, a, g, out, valid):
        sig = types.void(*[INT] * 5)

        def codegen(context, builder, sig, args):
            lanes = target.current().lanes(dtype)
            v = typed(builder, dtype, lanes, target.current().fma)
            places = zip(program.inputs, args, strict=False)
            inputs = {name: load(builder, place, v.type) for name, place in places if program.uses(name)}
            (value,) = v.run(program, inputs)
            lane = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
            inside = builder.icmp_signed("<", lane, splat(builder, args[4], lane.type))
            store(builder, v.where(inside, value, v.const(0.0)), args[3])
            return context.get_dummy_value()

        return sig, codegen

    return apply


def make_transpose_block(dtype: Any) -> Any:
    """``block(source, source_row, sink, sink_row)``: transpose a square of one vector a side; strides in elements.

    In log2(lanes) rounds, each of which exchanges halves of pairs of rows (Eklundh 1972).
    """
    size = np.dtype(dtype).itemsize

    @intrinsic
    def block(typingctx, source, source_row, sink, sink_row):
        sig = types.void(*[INT] * 4)

        def codegen(context, builder, sig, args):
            source, source_row, sink, sink_row = args
            lanes = target.current().lanes(dtype)
            kind = typed(builder, dtype, lanes, target.current().fma).type

            def address(base: ir.Value, row: ir.Value, i: int) -> ir.Value:
                return element(builder, base, builder.mul(row, int64(i)), size)

            rows = [load(builder, address(source, source_row, i), kind) for i in range(lanes)]
            half = lanes // 2
            while half:
                pairs = [i for i in range(lanes) if not i & half]
                low = [j if not j & half else lanes + j - half for j in range(lanes)]
                high = [j + half if not j & half else lanes + j for j in range(lanes)]
                for i in pairs:
                    a, b = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (
                        builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask))
                        for mask in (low, high)
                    )
                half //= 2
            for i, row in enumerate(rows):
                store(builder, row, address(sink, sink_row, i))
            return context.get_dummy_value()

        return sig, codegen

    return block
