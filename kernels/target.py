"""Vector width, registers and tile shapes of the CPU that Numba compiles for, read off LLVM itself.

A two-line function with one wide multiply-add is compiled for the target and its assembly looked at, so that
``NUMBA_CPU_NAME`` and CPUs unknown to us are served as well as the host.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
from numba.core.registry import cpu_target

_PROBE = """
target triple = "{triple}"
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(<16 x float>* %p) {{
  %a = load <16 x float>, <16 x float>* %p, align 4
  %b = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %a, <16 x float> %a)
  store <16 x float> %b, <16 x float>* %p, align 4
  ret void
}}
"""


@dataclass(frozen=True)
class Target:
    """What the tile needs to know of a CPU.

    Attributes
    ----------
    vector_bytes : int
        Width of one vector register.
    registers : int
        Number of vector registers.
    fma : bool
        Whether a fused multiply-add is one instruction; if not, ``llvm.fma`` would be a library call per lane.
    """

    vector_bytes: int
    registers: int
    fma: bool
    is_x86: bool = True

    def lanes(self, dtype: np.dtype) -> int:
        """Elements of ``dtype`` in one vector register."""
        return self.vector_bytes // np.dtype(dtype).itemsize

    @property
    def tile_rows(self) -> tuple[int, ...]:
        """Rows of a tile that is 0, 1, 2, … vectors wide; the last entry belongs to a full panel.

        The accumulators, one row of B and one broadcast must fit the registers, and there must be at least
        latency x ports (8 on current CPUs) accumulators, or the multiply-adds wait for each other.
        """
        if self.registers >= 32:
            return (0, 16, 8)
        return (0, 6, 6) if self.fma else (0, 4, 4)

    @property
    def row_multiple(self) -> int:
        """Rows are padded to a multiple of this, so that every tile height and every vector's width divides them."""
        return int(np.lcm.reduce([*self.tile_rows[1:], self.lanes(np.dtype(np.float32))]))

    @property
    def panel_vectors(self) -> int:
        """Width of a full panel in vectors."""
        return len(self.tile_rows) - 1


@functools.cache
def current() -> Target:
    """The CPU that Numba compiles for in this process."""
    codegen = cpu_target.target_context.codegen()
    module = llvm.parse_assembly(_PROBE.format(triple=llvm.get_process_triple()))
    assembly = codegen._tm.emit_assembly(module)
    if "zmm" in assembly:
        return Target(64, 32, True)
    if "ymm" in assembly:
        return Target(32, 16, bool(re.search(r"\bvfmadd", assembly)))
    if "xmm" in assembly:
        return Target(16, 16, False)
    registers = 32 if "aarch64" in llvm.get_process_triple() else 16
    return Target(16, registers, fma=not re.search(r"\bfmaf\b", assembly), is_x86=False)
