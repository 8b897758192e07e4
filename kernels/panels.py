"""Where numbers lie: weights in panels, rows padded to the tile, buffers aligned.

A weight matrix (n_in, n_out) is cut into panels of NR columns, each stored row after row: ``[n_out / NR][n_in][NR]``,
so that a tile reads its weights as one contiguous stream and nothing is packed per call. Widths are padded to whole
vectors, the last panel may be narrower, and rows are padded to the tile's height; padding is zero and stays zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import target

ALIGNMENT_BYTES = 64


def round_up(n: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is at least n."""
    return -(-n // multiple) * multiple


def zeros(n: int, dtype: Any) -> np.ndarray:
    """A 1-D array of n zeros that begins on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + n * dtype.itemsize].view(dtype)


def padded_width(n_out: int, dtype: Any) -> int:
    """``n_out`` rounded up to whole vectors."""
    return round_up(n_out, target.current().lanes(dtype))


def padded_rows(n: int) -> int:
    """``n`` rounded up to whole tiles."""
    return round_up(n, target.current().row_multiple)


def row_stride(n: int, dtype: Any) -> int:
    """Elements between rows of a buffer that is n wide: whole vectors, whole tiles, an odd number of cache lines.

    An even number (1,024 or 2,048 bytes, say) would map the rows of a column to a few sets of the first-level cache.
    """
    line = ALIGNMENT_BYTES // np.dtype(dtype).itemsize
    lines = round_up(max(padded_width(n, dtype), padded_rows(n)), line) // line
    return (lines + (lines + 1) % 2) * line


def packed_size(n_in: int, n_out: int, dtype: Any) -> int:
    """Elements that the panels of an (n_in, n_out) matrix take."""
    return padded_rows(n_in) * padded_width(n_out, dtype)


def _panels(n_out: int, dtype: Any) -> list[tuple[int, int]]:
    """(first column, width) of each panel."""
    full = target.current().panel_vectors * target.current().lanes(dtype)
    width = padded_width(n_out, dtype)
    return [(start, min(full, width - start)) for start in range(0, width, full)]


def pack(W: np.ndarray, out: np.ndarray) -> None:
    """In place: write W (n_in, n_out) into the panels ``out`` (1-D, of :func:`packed_size`); padding becomes 0."""
    n_in, n_out = W.shape
    rows = padded_rows(n_in)
    out[:] = 0
    for start, width in _panels(n_out, out.dtype):
        columns = W[:, start : start + width]
        panel = out[start * rows : (start + width) * rows].reshape(rows, width)
        panel[:n_in, : columns.shape[1]] = columns


def unpack(packed: np.ndarray, n_in: int, n_out: int) -> np.ndarray:
    """Plain (n_in, n_out) copy of packed weights."""
    rows = padded_rows(n_in)
    W = np.empty((n_in, n_out), packed.dtype)
    for start, width in _panels(n_out, packed.dtype):
        panel = packed[start * rows : (start + width) * rows].reshape(rows, width)
        W[:, start : start + width] = panel[:n_in, : n_out - start]
    return W
