"""Softmax over rows, for losses and as a hidden activation with its full Jacobian.

S[i, j] = exp(Z[i, j] - max_j Z[i, :]) / sum_j exp(...). Backward: dZ = S * (dS - sum_j dS S), the product of the
Jacobian diag(s) - s s^T with dS, never formed. Arguments are addresses and element counts; rows are samples.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.jit import inline
from kernels.memory import matrix
from kernels.rows import make_rows


def on_arrays(Z: np.ndarray) -> np.ndarray:
    """Softmax of each row of an array."""
    e = np.exp(Z - Z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def no_derivative(z: Any, a: Any) -> Any:
    """Softmax has a Jacobian per row, not an element-wise derivative."""
    raise TypeError("softmax mixes the elements of a row: use its backward pass")


@functools.cache
def make_softmax_row(dtype: Any) -> Any:
    """``softmax_row(z, s, n) -> (top, total)``: s = exp(z - top) / total; s may be z, a NaN makes all of s NaN."""
    one, rows = np.dtype(dtype).type(1), make_rows(dtype)
    largest, exp_and_sum, scale = rows.largest, rows.exp_and_sum, rows.scale

    @inline
    def softmax_row(z, s, n):
        top = largest(z, n)
        total = exp_and_sum(z, s, n, top)
        scale(s, n, one / total)
        return top, total

    return softmax_row


@functools.cache
def make_softmax(dtype: Any) -> Any:
    """``softmax(Z, S, m, n, stride)``: S may be Z; padding becomes 0."""
    size, softmax_row = np.dtype(dtype).itemsize, make_softmax_row(dtype)

    @inline
    def softmax(Z, S, m, n, stride):
        for i in range(m):
            at = i * stride * size
            softmax_row(Z + at, S + at, n)

    return softmax


@functools.cache
def make_jacobian(dtype: Any) -> Any:
    """``jacobian(G, S, m, n, stride)``: G becomes S * (G - sum_j G S), row by row, in place."""
    size, zero, dot = np.dtype(dtype).itemsize, np.dtype(dtype).type(0), make_rows(dtype).dot

    @inline
    def jacobian(G, S, m, n, stride):
        gradients, outputs = matrix(G, m, stride, zero), matrix(S, m, stride, zero)
        for i in range(m):
            g, s, at = gradients[i], outputs[i], i * stride * size
            inner = dot(G + at, S + at, n)
            for j in range(n):
                g[j] = s[j] * (g[j] - inner)

    return jacobian


def make_hidden(dtype: Any) -> tuple[Any, Any]:
    """Forward and backward of softmax as a hidden activation (see :mod:`kernels.activations`)."""
    softmax, jacobian = make_softmax(dtype), make_jacobian(dtype)

    def forward(Z, A, m, n, stride):
        softmax(Z, A, m, n, stride)
        return 0.0

    def backward(G, Z, A, m, n, stride):
        jacobian(G, A, m, n, stride)
        return 0.0

    return forward, backward
