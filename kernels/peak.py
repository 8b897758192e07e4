"""The most multiply-adds one core can do: the yardstick that kernels are measured against.

Twelve to sixteen chains of vector multiply-adds that depend on nothing but themselves, all in registers.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels import target
from kernels.emit import I64, int64, splat, typed
from kernels.jit import kernel


def _chains() -> int:
    """Independent accumulators: at least latency x ports, with registers left for the operands."""
    return 16 if target.current().registers >= 32 else 12


@functools.cache
def _make_spin(dtype: str) -> Any:
    lanes, fma = target.current().lanes(np.dtype(dtype)), target.current().fma

    @intrinsic
    def spin(typingctx, count, seed):
        sig = seed(types.int64, seed)

        def codegen(context, builder, sig, args):
            v = typed(builder, dtype, lanes, fma)
            factor, before = splat(builder, args[1], v.type), builder.block
            body, after = builder.append_basic_block("spin"), builder.append_basic_block("spin.end")
            builder.branch(body)
            builder.position_at_end(body)
            k = builder.phi(I64)
            chains = [builder.phi(v.type) for _ in range(_chains())]
            new = [v.multiply_add(chain, factor, factor) for chain in chains]
            k_next = builder.add(k, int64(1))
            for phi, start, value in [
                (k, int64(0), k_next),
                *((c, factor, n) for c, n in zip(chains, new, strict=True)),
            ]:
                phi.add_incoming(start, before)
                phi.add_incoming(value, body)
            builder.cbranch(builder.icmp_signed("<", k_next, args[0]), body, after)
            builder.position_at_end(after)
            total = new[0]
            for value in new[1:]:
                total = v.add(total, value)
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return sig, codegen

    @kernel(key=f"peak {dtype}")
    def loop(count, seed):
        return spin(count, seed)

    return loop


def measure_peak(dtype: Any = np.float32, repeats: int = 20) -> float:
    """FLOP/s of one core, a multiply-add counted as two: the best of ``repeats`` of about 2 ms."""
    dtype = np.dtype(dtype)
    loop, seed = _make_spin(dtype.name), dtype.type(0.5)
    count = 200_000
    loop(count, seed)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        loop(count, seed)
        seconds.append(time.perf_counter() - start)
    return 2 * count * _chains() * target.current().lanes(dtype) / min(seconds)
