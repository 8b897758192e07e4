"""One fully connected layer, in loops over tiles: forward, backward to its input, transposed copy, bias gradient.

Shapes: H (m, n_in) inputs of the layer, W (n_in, n_out) in panels, Z (m, n_out) pre-activations, dZ (m, n_out).
Arguments are addresses and element counts (see :mod:`kernels.tile`); buffers are padded as :mod:`kernels.panels`
says, so tiles at the edges compute padding rather than branch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import target
from kernels.jit import callback
from kernels.memory import matrix, vector
from kernels.tile import make_store_tile, make_transpose_block


def shape(dtype: Any) -> tuple[int, int, int, tuple[int, ...], int]:
    """Item size, lanes, vectors of a full panel, rows of a tile per width, row multiple."""
    cpu = target.current()
    return np.dtype(dtype).itemsize, cpu.lanes(dtype), cpu.panel_vectors, cpu.tile_rows, cpu.row_multiple


def compile_product(dtype: Any) -> Any:
    """Callback ``(H, h_stride, m, n_in, W, n_out, bias, Z, z_stride)``: Z = H W + b, W in panels."""
    size, lanes, full, tile_rows, multiple = shape(dtype)
    tile = make_store_tile(dtype)

    def product(H, h_stride, m, n_in, W, n_out, bias, Z, z_stride):
        rows = (n_in + multiple - 1) // multiple * multiple
        total = (n_out + lanes - 1) // lanes
        for first in range(0, total, full):
            vectors = min(full, total - first)
            step, column = tile_rows[vectors], first * lanes
            for i in range(0, m, step):
                tile(vectors, H + i * h_stride * size, h_stride, 1, W + column * rows * size, vectors * lanes, n_in,
                     Z + (i * z_stride + column) * size, z_stride, bias + column * size)  # fmt: skip
        return 0.0

    return callback(f"float64({', '.join(['int64'] * 9)})", dtype)(product)


def compile_transpose(dtype: Any) -> Any:
    """Callback ``(W, n_in, n_out, WT)``: panels of W.T from panels of W, in square blocks of one vector a side."""
    size, lanes, full, _, multiple = shape(dtype)
    block, panel = make_transpose_block(dtype), full * lanes

    def transpose(W, n_in, n_out, WT):
        rows_in = (n_in + multiple - 1) // multiple * multiple
        rows_out = (n_out + multiple - 1) // multiple * multiple
        width_in = (n_in + lanes - 1) // lanes * lanes
        width_out = (n_out + lanes - 1) // lanes * lanes
        for o in range(0, width_out, lanes):
            o_panel = o // panel * panel
            o_width = min(panel, width_out - o_panel)
            source = W + (o_panel * rows_in + o - o_panel) * size
            for i in range(0, width_in, lanes):
                i_panel = i // panel * panel
                i_width = min(panel, width_in - i_panel)
                sink = WT + (i_panel * rows_out + o * i_width + i - i_panel) * size
                block(source + i * o_width * size, o_width, sink, i_width)
        return 0.0

    return callback("float64(int64, int64, int64, int64)", dtype)(transpose)


def compile_column_sums(dtype: Any) -> Any:
    """Callback ``(dZ, z_stride, m, n, out)``: out[j] = sum over rows of dZ[:, j] (db)."""
    zero = np.dtype(dtype).type(0)

    def column_sums(dZ, z_stride, m, n, out):
        rows, sums = matrix(dZ, m, z_stride, zero), vector(out, n, zero)
        for j in range(n):
            sums[j] = zero
        for i in range(m):
            row = rows[i]
            for j in range(n):
                sums[j] += row[j]
        return 0.0

    return callback("float64(int64, int64, int64, int64, int64)", dtype)(column_sums)
