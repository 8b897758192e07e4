"""Statistics of arrays in one compiled pass each: moments, largest magnitude, histogram, dead columns.

A histogram of floats needs no search: sign, exponent and first bit of the mantissa are the top bits of a float, so
counting by these bits gives two bins to the octave, and folding the counts gives the bins of
:func:`kernels.model.histogram_edges`. Magnitudes compare like integers, with infinity and then NaN on top.
:mod:`kernels.reference.statistics` says the same in plain NumPy.

Shapes: an array has m rows of n entries, ``stride`` elements apart; columns are units.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.jit import callback
from kernels.memory import vector
from kernels.model import Summary, histogram_edges

SIGNATURE = "float64(int64, int64, int64, int64, int64, int64, int64, int64)"


@functools.cache
def compile_statistics(dtype: str) -> Any:
    """Callback ``(values, stride, m, n, moments, peaks, counts, results)`` for float32 or float64.

    In place: ``moments`` (2, n) float64 is room to work in; ``peaks`` (n,), unsigned integers as wide as the dtype,
    becomes the largest magnitude of each column as its bits, ``counts`` int64 gains one per entry at its top bits,
    ``results`` float64 becomes mean, variance and Euclidean norm. The first two must be zero.
    """
    bits = np.dtype(dtype).itemsize * 8
    unsigned = np.dtype(f"uint{bits}").type
    zero, nothing, size = np.dtype(dtype).type(0), unsigned(0), bits // 8
    magnitude, shift = unsigned(2 ** (bits - 1) - 1), unsigned(_shift(dtype))
    n_bins = 1 << (bits - _shift(dtype))

    def statistics(values, stride, m, n, moments, peaks, counts, results):
        # Sums run along columns: then vectors can be used without changing the order of a sum.
        sums, squares = vector(moments, n, 0.0), vector(moments + n * 8, n, 0.0)
        tops, bins, out = vector(peaks, n, nothing), vector(counts, n_bins, 0), vector(results, 3, 0.0)
        for i in range(m):
            row, raw = vector(values + i * stride * size, n, zero), vector(values + i * stride * size, n, nothing)
            for j in range(n):
                x = np.float64(row[j])
                sums[j] += x
                squares[j] += x * x
            for j in range(n):
                tops[j] = max(tops[j], unsigned(raw[j] & magnitude))
            for j in range(n):
                bins[raw[j] >> shift] += 1
        total, total_squares = 0.0, 0.0
        for j in range(n):
            total += sums[j]
            total_squares += squares[j]
            sums[j] = 0.0
        mean = total / (m * n)
        for i in range(m):
            row = vector(values + i * stride * size, n, zero)
            for j in range(n):
                distance = np.float64(row[j]) - mean
                sums[j] += distance * distance
        spread = 0.0
        for j in range(n):
            spread += sums[j]
        out[0], out[1], out[2] = mean, spread / (m * n), np.sqrt(total_squares)
        return 0.0

    return callback(SIGNATURE, dtype)(statistics)


def _shift(dtype: Any) -> int:
    """How far to shift a float's bits so that sign, exponent and first bit of the mantissa remain."""
    return int(np.finfo(dtype).nmant) - 1


@functools.cache
def _bins_of_top_bits(dtype: str) -> np.ndarray:
    """The histogram's bin of each value of the top bits; one more than the last for NaN."""
    width = np.dtype(dtype).itemsize * 8
    lowest = np.arange(1 << (width - _shift(dtype)), dtype=f"uint{width}") << _shift(dtype)
    values, edges = lowest.view(dtype).astype(np.float64), histogram_edges()
    inner, centre = edges[len(edges) // 2 :], len(edges) // 2 - 1
    steps = np.minimum(np.searchsorted(inner, np.abs(values), side="right"), centre)
    return np.where(np.isnan(values), len(edges) - 1, np.where(np.signbit(values), centre - steps, centre + steps))


def describe(address: int, stride: int, m: int, n: int, dtype: np.dtype[Any]) -> tuple[Summary, float]:
    """Statistics of the array at an address, and the share of its columns in which every entry is 0."""
    width = dtype.itemsize * 8
    moments, peaks, results = np.zeros((2, n)), np.zeros(n, f"uint{width}"), np.zeros(3)
    bins = _bins_of_top_bits(dtype.name)
    counts = np.zeros(len(bins), np.int64)
    compile_statistics(dtype.name).ctypes(
        address, stride, m, n, moments.ctypes.data, peaks.ctypes.data, counts.ctypes.data, results.ctypes.data
    )
    mean, variance, norm = results.tolist()
    largest = float(peaks.max(keepdims=True).view(dtype)[0])
    histogram = np.bincount(bins, weights=counts)[:-1].astype(np.int64)
    return Summary(mean, variance, largest, norm, histogram), float(np.mean(peaks == 0))
