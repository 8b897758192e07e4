"""The update of a layer's weights fused with their gradient dW = H.T dZ, which never leaves the first-level cache.

The sums of one block of dW stay in registers. Then they wait in a small buffer, and the optimizer's rule is applied to
them vector by vector between the steps of the next block's sums, so that its divisions and roots run beside
multiply-adds that do not depend on them. Shapes and addresses as in :mod:`kernels.dense`; a block is what one tile
computes, and lies in one piece in the panels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels import target
from kernels.dense import shape
from kernels.emit import Vectors, emit_prefetch, int64, load, splat, store, typed
from kernels.jit import callback
from kernels.memory import make_scratch
from kernels.rules import Program
from kernels.tile import INT, Block, element, for_each_width, k_step, loop, products

FUSED_SIGNATURE = "float64(int64, int64, int64, int64, int64, int64, int64, int64, int64, int64, {}, int64)"
FLAT_SIGNATURE = "float64(int64, int64, int64, {}, int64, int64)"


def compile_update(program: Program, dtype: Any) -> tuple[Any, Any]:
    """Compile an optimizer: the update of a layer's weights fused with dW = H.T dZ, and the update of stored gradients.

    Returns
    -------
    fused : callback
        ``(H, h_stride, m, n_in, dZ, z_stride, n_out, W, slot_bytes, hyper, l2, backwards)``; the gradient is
        dW + l2 W. Steps that go over the weights forwards and backwards by turns find the part they touched last
        still in the second-level cache (2% of an epoch of 784-128-10 with Adam).
    flat : callback
        ``(P, G, n, scale, slot_bytes, hyper)`` for n parameters (whole vectors) with gradient ``scale * G``.
    """
    size, lanes, full, tile_rows, multiple = shape(dtype)
    plain, decayed = (make_update_tile(dtype, program, decay) for decay in (False, True))
    one_vector, vector_bytes = make_update_vector(dtype, program), lanes * size
    scratch = make_scratch(max(rows * vectors for vectors, rows in enumerate(tile_rows)) * vector_bytes)
    zero, one, key = np.dtype(dtype).type(0), np.dtype(dtype).type(1), f"{dtype} {program.key}"

    def fused(H, h_stride, m, n_in, dZ, z_stride, n_out, W, slot_bytes, hyper, l2, backwards):
        rows = (n_in + multiple - 1) // multiple * multiple
        total = (n_out + lanes - 1) // lanes
        panels = (total + full - 1) // full
        gradient, waiting, n_waiting = scratch(), W, 0
        for panel in range(panels):
            first = (panels - 1 - panel if backwards else panel) * full
            vectors = min(full, total - first)
            step, column = tile_rows[vectors], first * lanes
            tiles = (n_in + step - 1) // step
            for t in range(tiles):
                i = (tiles - 1 - t if backwards else t) * step
                block = W + (column * rows + i * vectors * lanes) * size
                for j in range(m, n_waiting):  # a small batch has too few steps to put all of them between
                    one_vector(waiting + j * vector_bytes, gradient + j * vector_bytes, one, slot_bytes, hyper, l2)
                n_between = min(m, n_waiting)
                if l2 == zero:
                    plain(vectors, H + i * size, 1, h_stride, dZ + column * size, z_stride, m,
                          gradient, waiting, n_between, slot_bytes, hyper, l2, block)  # fmt: skip
                else:
                    decayed(vectors, H + i * size, 1, h_stride, dZ + column * size, z_stride, m,
                            gradient, waiting, n_between, slot_bytes, hyper, l2, block)  # fmt: skip
                waiting, n_waiting = block, step * vectors
        for j in range(n_waiting):
            one_vector(waiting + j * vector_bytes, gradient + j * vector_bytes, one, slot_bytes, hyper, l2)
        return 0.0

    def flat(P, G, n, scale, slot_bytes, hyper):
        for i in range(0, n, lanes):
            one_vector(P + i * size, G + i * size, scale, slot_bytes, hyper, zero)
        return 0.0

    return (
        callback(FUSED_SIGNATURE.format(dtype), key)(fused),
        callback(FLAT_SIGNATURE.format(dtype), key)(flat),
    )


def _apply_rule(v: Vectors, program: Program, g: ir.Value, w_at: ir.Value, slot_bytes: ir.Value, hyper: ir.Value,
                l2: ir.Value | None) -> None:  # fmt: skip
    """Emit the optimizer's rule for one vector of parameters at ``w_at`` whose gradient is ``g + l2 w``, in place.

    Slot i lies ``(i + 1) * slot_bytes`` after the parameters; scalars lie at ``hyper`` in the program's order.
    """
    builder = v.builder
    n_slots = len(program.outputs) - 1
    places = [w_at, *(builder.add(w_at, builder.mul(slot_bytes, int64(i + 1))) for i in range(n_slots))]
    w, *slots = (load(builder, place, v.type) for place in places)
    if l2 is not None:
        g = v.multiply_add(splat(builder, l2, v.type), w, g)
    scalars = {
        name: splat(builder, load(builder, builder.add(hyper, int64(i * v.item_bytes)), v.element), v.type)
        for i, name in enumerate(program.inputs[2 + n_slots :])
    }
    inputs = {"w": w, "g": g, **{f"s{i}": s for i, s in enumerate(slots)}, **scalars}
    for value, place in zip(v.run(program, inputs), places, strict=True):
        store(builder, value, place)


def make_update_tile(dtype: Any, program: Program, decay: bool) -> Any:
    """``tile(vectors, A, a_row, a_k, B, b_k, depth, G, waiting, n_waiting, slot_bytes, hyper, l2, block)``.

    Leaves the sums A B in the buffer G, whose former content it uses up: the rule is applied to the first
    ``n_waiting <= depth`` vectors of the block at ``waiting``. Parameters and slots at ``block``, which come next, are
    asked for meanwhile: they outgrow the second-level cache (without it 784-512-512-512-10 takes 13% longer).

    With Adam and m = 64 a tile of 16 vectors takes 580 cycles, of which 512 are the multiply-adds; the rule applied
    straight to the registers made it 640. A rule between every two steps while there are twice as many steps, else
    between every one: rules must not go on to the last step, or their latency shows (99 against 121 cycles).
    """

    @intrinsic
    def tile(typingctx, vectors, A, a_row, a_k, B, b_k, depth, G, waiting, n_waiting, slot_bytes, hyper, l2, block):
        sig = types.void(*[INT] * 12, l2, INT)

        def codegen(context, builder, sig, args):
            vectors, A, a_row, a_k, B, b_k, depth, G, waiting, n_waiting, slot_bytes, hyper, l2, block = args
            v = typed(builder, dtype, target.current().lanes(dtype), target.current().fma)
            vector_bytes, l2_or_none = v.lanes * v.item_bytes, l2 if decay else None
            a_step, b_step = (builder.mul(stride, int64(v.item_bytes)) for stride in (a_k, b_k))

            def rule_between(rows: list[ir.Value], steps: int) -> Callable[[ir.Value, Block], Block]:
                def step(i: ir.Value, acc: Block) -> Block:
                    for u in range(steps):
                        k = builder.add(builder.mul(i, int64(steps)), int64(u))
                        acc = k_step(v, acc, rows, builder.mul(k, a_step), builder.add(B, builder.mul(k, b_step)))
                    offset = builder.mul(i, int64(vector_bytes))
                    for slot in range(len(program.outputs)):
                        soon = builder.add(block, builder.mul(slot_bytes, int64(slot)))
                        emit_prefetch(builder, builder.add(soon, offset), for_write=True)
                    g = load(builder, builder.add(G, offset), v.type)
                    _apply_rule(v, program, g, builder.add(waiting, offset), slot_bytes, hyper, l2_or_none)
                    return acc

                return step

            def width(n_vectors: int, n_rows: int) -> None:
                rows = [element(builder, A, builder.mul(a_row, int64(i)), v.item_bytes) for i in range(n_rows)]
                acc = [[v.const(0.0)] * n_vectors] * n_rows
                many = builder.icmp_signed(">=", depth, builder.mul(n_waiting, int64(4)))
                by_two = builder.select(many, n_waiting, int64(0))
                by_one = builder.sub(n_waiting, by_two)
                acc = loop(v, by_two, acc, rule_between(rows, 2))
                acc = loop(v, by_one, acc, rule_between(rows, 1))
                done = builder.add(n_waiting, by_two)
                rows = [builder.add(row, builder.mul(done, a_step)) for row in rows]
                rest = builder.add(B, builder.mul(done, b_step))
                acc = products(v, acc, rows, rest, a_step, b_step, builder.sub(depth, done))
                for i in range(n_rows):
                    for j in range(n_vectors):
                        store(builder, acc[i][j], builder.add(G, int64((i * n_vectors + j) * vector_bytes)))

            for_each_width(builder, vectors, width)
            return context.get_dummy_value()

        return sig, codegen

    return tile


def make_update_vector(dtype: Any, program: Program) -> Any:
    """``update(W, G, scale, slot_bytes, hyper, l2)``: in place, the rule with gradient ``scale G + l2 W``."""

    @intrinsic
    def update(typingctx, W, G, scale, slot_bytes, hyper, l2):
        sig = types.void(INT, INT, scale, INT, INT, l2)

        def codegen(context, builder, sig, args):
            W, G, scale, slot_bytes, hyper, l2 = args
            v = typed(builder, dtype, target.current().lanes(dtype), target.current().fma)
            g = v.mul(load(builder, G, v.type), splat(builder, scale, v.type))
            _apply_rule(v, program, g, W, slot_bytes, hyper, l2)
            return context.get_dummy_value()

        return sig, codegen

    return update
