"""Dropout masks from a counter: a hash of (seed, step, layer, element), so nothing is stored between passes.

Kept activations are divided by the keep probability (inverted dropout, Srivastava et al. 2014). The mask of an element
depends on nothing else, so any engine, batch split or number of processes draws the same one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import callback, inline
from kernels.memory import matrix


@inline
def key(seed, step, layer):
    """32-bit key of one layer's mask at one step (finaliser of SplitMix64, Steele et al. 2014)."""
    z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(64 * step + layer + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint32((z ^ (z >> np.uint64(31))) & np.uint64(0xFFFFFFFF))


@inline
def element_hash(key, element):
    """32 random bits for one element (integer hash with low bias found by Wellons 2018)."""
    x = np.uint32(element) ^ key
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


def compile_dropout(dtype: Any) -> Any:
    """Callback ``(source, sink, m, n, stride, key, threshold, scale)``: sink = source * scale where kept, else 0.

    An element is dropped when its hash is below ``threshold`` = floor(p * 2^32); scale = 1 / (1 - p). Sink may be
    source: the backward pass runs this on the gradient.
    """
    zero = np.dtype(dtype).type(0)

    def dropout(source, sink, m, n, stride, key, threshold, scale):
        A, D = matrix(source, m, stride, zero), matrix(sink, m, stride, zero)
        for i in range(m):
            a, d = A[i], D[i]
            for j in range(n):
                d[j] = a[j] * scale if element_hash(key, i * n + j) >= threshold else zero
        return 0.0

    signature = f"float64(int64, int64, int64, int64, int64, uint32, uint32, {dtype})"
    return callback(signature, dtype)(dropout)
