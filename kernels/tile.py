"""The register-tiled matrix product: one block of C = A B, all of its accumulators in vector registers.

A tile is ``rows x (vectors * lanes)`` elements of C. For each k it loads one row of B (contiguous, from a panel) and
multiplies it by ``rows`` scalars of A, broadcast. A is read through a row stride and a k stride, so the same tile
does ``X @ W`` and ``X.T @ dZ``. The sum over k runs in order, whatever lies beside the tile: results do not depend on
what else is computed. Addresses are integers; strides count elements; nothing is checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels import target
from kernels.emit import I64, Vectors, emit_prefetch, int64, load, splat, store, typed
from kernels.rules import Program

ADDRESS = INT = types.int64


def _element(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, size: int) -> ir.Value:
    """Address of element ``offset`` after ``base``."""
    return builder.add(base, builder.mul(offset, int64(size)))


def _products(v: Vectors, start: list[list[ir.Value]], a_rows: list[ir.Value], a_k: ir.Value, b: ir.Value,
              b_k: ir.Value, depth: ir.Value, ahead: Any = None) -> list[list[ir.Value]]:  # fmt: skip
    """Emit ``acc[i][j] = start[i][j] + sum over k of A[i, k] B[k, j]``; accumulators are phi nodes, so registers."""
    builder, size = v.builder, 8 if v.is_double else 4
    vectors = len(start[0])
    before, body, after = builder.block, builder.append_basic_block("k"), builder.append_basic_block("k.end")
    a_step, b_step = builder.mul(a_k, int64(size)), builder.mul(b_k, int64(size))
    builder.cbranch(builder.icmp_signed(">", depth, int64(0)), body, after)
    builder.position_at_end(body)
    k = builder.phi(I64)
    k.add_incoming(int64(0), before)
    acc = [[builder.phi(v.type) for _ in row] for row in start]
    b_row, a_offset = builder.add(b, builder.mul(k, b_step)), builder.mul(k, a_step)
    loads = [load(builder, builder.add(b_row, int64(j * v.lanes * size)), v.type) for j in range(vectors)]
    if ahead is not None:
        ahead(k)
    new = []
    for i, row in enumerate(a_rows):
        a = splat(builder, load(builder, builder.add(row, a_offset), v.element), v.type)
        new.append([v.multiply_add(a, loads[j], acc[i][j]) for j in range(vectors)])
    k_next = builder.add(k, int64(1))
    k.add_incoming(k_next, body)
    builder.cbranch(builder.icmp_signed("<", k_next, depth), body, after)
    builder.position_at_end(after)
    result = []
    for i, row in enumerate(acc):
        result.append([])
        for j, phi in enumerate(row):
            phi.add_incoming(start[i][j], before)
            phi.add_incoming(new[i][j], body)
            end = builder.phi(v.type)
            end.add_incoming(start[i][j], before)
            end.add_incoming(new[i][j], body)
            result[i].append(end)
    return result


def _for_each_width(builder: ir.IRBuilder, vectors: ir.Value, emit_width: Any) -> None:
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
                rows = [_element(builder, A, builder.mul(a_row, int64(i)), size) for i in range(n_rows)]
                first = [load(builder, builder.add(bias, int64(j * lanes * size)), v.type) for j in range(n_vectors)]
                acc = _products(v, [first] * n_rows, rows, a_k, B, b_k, depth)
                for i in range(n_rows):
                    row = _element(builder, C, builder.mul(c_row, int64(i)), size)
                    for j in range(n_vectors):
                        store(builder, acc[i][j], builder.add(row, int64(j * lanes * size)))

            _for_each_width(builder, vectors, width)
            return context.get_dummy_value()

        return sig, codegen

    return tile


def _apply_rule(v: Vectors, program: Program, g: ir.Value, w_at: ir.Value, slot_bytes: ir.Value, hyper: ir.Value,
                l2: ir.Value | None) -> None:  # fmt: skip
    """Emit the optimizer's rule for one vector of parameters at ``w_at`` whose gradient is ``g``, in place.

    Slot i lies ``(i + 1) * slot_bytes`` after the parameters; scalars lie at ``hyper`` in the program's order.
    """
    builder, size = v.builder, 8 if v.is_double else 4
    n_slots = len(program.outputs) - 1
    places = [w_at, *(builder.add(w_at, builder.mul(slot_bytes, int64(i + 1))) for i in range(n_slots))]
    w, *slots = (load(builder, place, v.type) for place in places)
    if l2 is not None:
        g = v.multiply_add(l2, w, g)
    scalars = {
        name: splat(builder, load(builder, builder.add(hyper, int64(i * size)), v.element), v.type)
        for i, name in enumerate(program.inputs[2 + n_slots :])
    }
    inputs = {"w": w, "g": g, **{f"s{i}": s for i, s in enumerate(slots)}, **scalars}
    for value, place in zip(v.run(program, inputs), places, strict=True):
        store(builder, value, place)


def _prefetcher(builder: ir.IRBuilder, program: Program, next_W: ir.Value, slot_bytes: ir.Value, block_bytes: int,
                depth: ir.Value) -> Any:  # fmt: skip
    """What to emit in every step of the k loop so that parameters and slots of the next block are there in time.

    They outgrow the second-level cache. One line at a time, spread over the loop: all lines at its start would keep
    the loop's own loads waiting (784-512-512-512-10, batch 128, first layer: 500 us against 567 us).
    """
    step = builder.sdiv(builder.add(int64(block_bytes - 1), depth), depth)
    next_blocks = [builder.add(next_W, builder.mul(slot_bytes, int64(slot))) for slot in range(len(program.outputs))]

    def ahead(k: ir.Value) -> None:
        for block in next_blocks:
            emit_prefetch(builder, builder.add(block, builder.mul(k, step)), for_write=True)

    return ahead


def make_update_tile(dtype: Any, program: Program) -> Any:
    """``tile(vectors, A, a_row, a_k, B, b_k, depth, W, slot_bytes, hyper, l2, to_next)``: update a block of W.

    g = A B (the block of dW) + l2 * W stays in registers; the optimizer's rule is applied to it at once, so dW is
    never stored: 142 us against 162 us for an update that runs behind it (784 x 128, batch 64). Running the rule of
    one block inside the k loop of the next, vector by vector, was slower still (share of peak 0.77 against 0.80).
    ``to_next`` is the distance in bytes to the block that comes next.
    """
    size = np.dtype(dtype).itemsize

    @intrinsic
    def tile(typingctx, vectors, A, a_row, a_k, B, b_k, depth, W, slot_bytes, hyper, l2, to_next):
        sig = types.void(*[INT] * 10, l2, INT)

        def codegen(context, builder, sig, args):
            vectors, A, a_row, a_k, B, b_k, depth, W, slot_bytes, hyper, l2, to_next = args
            lanes = target.current().lanes(dtype)
            v = typed(builder, dtype, lanes, target.current().fma)

            def width(n_vectors: int, n_rows: int) -> None:
                rows = [_element(builder, A, builder.mul(a_row, int64(i)), size) for i in range(n_rows)]
                ahead = _prefetcher(
                    builder, program, builder.add(W, to_next), slot_bytes, n_rows * n_vectors * lanes * size, depth
                )
                zero = [v.const(0.0)] * n_vectors
                acc = _products(v, [zero] * n_rows, rows, a_k, B, b_k, depth, ahead)
                decay = splat(builder, l2, v.type)
                for i in range(n_rows):
                    for j in range(n_vectors):
                        place = builder.add(W, int64((i * n_vectors + j) * lanes * size))
                        _apply_rule(v, program, acc[i][j], place, slot_bytes, hyper, decay)

            _for_each_width(builder, vectors, width)
            return context.get_dummy_value()

        return sig, codegen

    return tile


def make_update_vector(dtype: Any, program: Program) -> Any:
    """``update(W, G, scale, slot_bytes, hyper)``: in place, the rule for one vector with gradient ``scale * G``."""

    @intrinsic
    def update(typingctx, W, G, scale, slot_bytes, hyper):
        sig = types.void(INT, INT, scale, INT, INT)

        def codegen(context, builder, sig, args):
            W, G, scale, slot_bytes, hyper = args
            v = typed(builder, dtype, target.current().lanes(dtype), target.current().fma)
            g = v.mul(load(builder, G, v.type), splat(builder, scale, v.type))
            _apply_rule(v, program, g, W, slot_bytes, hyper, None)
            return context.get_dummy_value()

        return sig, codegen

    return update


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
            address = lambda base, row, i: _element(builder, base, builder.mul(row, int64(i)), size)  # noqa: E731
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
