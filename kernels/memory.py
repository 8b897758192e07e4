"""Raw memory inside kernels: addresses of arrays, arrays at addresses, and calls through a function's address.

Activations, losses and optimizers are compiled one by one and called by the epoch through their addresses, so a
new one costs its own compilation and no other.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.emit import emit_prefetch
from kernels.panels import ALIGNMENT_BYTES


@intrinsic
def _pointer(typingctx: Any, address: Any, like: Any) -> Any:
    """Typed pointer from an integer; ``like`` is a value of the element type."""
    sig = types.CPointer(like)(address, like)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return sig, codegen


@numba.njit
def matrix(address, rows, columns, zero):
    """Array of shape (rows, columns) over memory at ``address``; ``zero`` is a value of its element type."""
    return numba.carray(_pointer(address, zero), (rows, columns))


@numba.njit
def vector(address, n, zero):
    """Array of shape (n,) over memory at ``address``; ``zero`` is a value of its element type."""
    return numba.carray(_pointer(address, zero), (n,))


def make_scratch(n_bytes: int) -> Any:
    """``scratch()``: the address of ``n_bytes`` on the stack of the function that calls it, on a cache line."""

    @intrinsic
    def scratch(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            memory = cgutils.alloca_once(builder, ir.IntType(8), size=n_bytes)
            memory.align = ALIGNMENT_BYTES
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.int64(), codegen

    return scratch


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address, to be read soon; any address will do."""
    sig = types.void(types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        emit_prefetch(builder, args[0], for_write=False)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def invoke(typingctx: Any, address: Any, args: Any) -> Any:
    """Call the C function at ``address`` with a tuple of integers and floats; it returns a float64."""
    sig = types.float64(address, args)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        members = [context.get_value_type(t) for t in sig.args[1].types]
        function_type = ir.FunctionType(ir.DoubleType(), members)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        return builder.call(function, [builder.extract_value(values[1], i) for i in range(len(members))])

    return sig, codegen
