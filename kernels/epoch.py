"""A whole epoch of training and a whole evaluation, each in one compiled call without the GIL.

``table`` describes the network to the compiled code, one row per layer, by addresses and sizes (the columns below);
:class:`kernels.engine.Engine` owns the memory. Activations, losses and optimizers come in as addresses of functions
(see :mod:`kernels.memory`), so one compiled epoch serves all of them.

Shapes: X (N, n_in) uint8 or float, y (N,) int64, ``order`` indices of rows; m rows in a mini-batch.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.denormals import flush, restore
from kernels.dense import make_column_sums, make_forward, make_transpose
from kernels.dropout import key as dropout_key
from kernels.dropout import make_dropout
from kernels.jit import inline, kernel
from kernels.memory import invoke, matrix, prefetch, vector
from kernels.panels import ALIGNMENT_BYTES
from kernels.rows import make_rows

# Columns of the table. Addresses: W, BIAS parameters; WT transposed panels (0 for the first layer); H inputs of the
# layer; Z pre-activations; A activations (may be Z); D what the next layer reads (A, or its copy after dropout);
# G dL/dZ; GRAD_W and GRAD_B stored gradients.
N_IN, N_OUT, W, BIAS, WT, H, H_STRIDE, Z, A, D, STRIDE, G, GRAD_W, GRAD_B, W_SIZE, B_SIZE = range(16)
COLUMNS = 16
# Entries of ``units``: addresses of callbacks.
ACTIVATION, ACTIVATION_BACK, LOSS, UPDATE, UPDATE_FLAT, KEEP = range(6)
AHEAD = 16  # rows between asking for a row of X and reading it


@functools.cache
def make_epoch(dtype: str) -> tuple[Any, Any, Any]:
    """Compiled ``train``, ``evaluate`` and ``gradients`` for one dtype."""
    size = np.dtype(dtype).itemsize
    real = np.dtype(dtype).type
    zero, one = real(0), real(1)
    layer_forward, transpose, column_sums = make_forward(dtype), make_transpose(dtype), make_column_sums(dtype)
    dropout, rows = make_dropout(dtype), make_rows(dtype)
    find, largest = rows.find, rows.largest

    @inline
    def gather(X, y, order, start, m, scale, shift, table, labels):
        """Copy m rows of a mini-batch into the first layer's input, scaled: x * scale + shift."""
        sink = matrix(table[0, H], m, table[0, H_STRIDE], zero)
        n_in, row_bytes, base = table[0, N_IN], X.strides[0], X.ctypes.data
        for i in range(m):
            # Rows lie anywhere in the data: asked for AHEAD rows early, 64 x 784 take 4 us instead of 12.
            soon = base + order[min(start + i + AHEAD, len(order) - 1)] * row_bytes
            for line in range(0, row_bytes, ALIGNMENT_BYTES):
                prefetch(soon + line)
            source, row = X[order[start + i]], sink[i]
            for j in range(n_in):
                row[j] = real(source[j]) * scale[j] + shift[j]
            labels[i] = y[order[start + i]]

    @inline
    def forward(table, units, m, seed, step, threshold, keep_scale):
        """Run all layers; the logits are the last layer's Z."""
        last = len(table) - 1
        for i in range(len(table)):
            t = table[i]
            layer_forward(t[H], t[H_STRIDE], m, t[N_IN], t[W], t[N_OUT], t[BIAS], t[Z], t[STRIDE])
            if i < last:
                invoke(units[ACTIVATION], (t[Z], t[A], m, t[N_OUT], t[STRIDE]))
                if threshold > 0:
                    mask = dropout_key(seed, step, i)
                    dropout(t[A], t[D], m, t[N_OUT], t[STRIDE], mask, np.uint32(threshold), keep_scale)

    @inline
    def predict(table, m, predictions):
        """Largest logit of each row; the first on a tie, NaN below every number."""
        t = table[-1]
        for i in range(m):
            row = t[Z] + i * t[STRIDE] * size
            predictions[i] = find(row, t[N_OUT], largest(row, t[N_OUT]))

    @inline
    def mean_gradient(table, m):
        """Divide dL/dlogits of each row by m."""
        t, scale = table[-1], one / real(m)
        rows = matrix(t[G], m, t[STRIDE], zero)
        for i in range(m):
            row = rows[i]
            for j in range(t[N_OUT]):
                row[j] *= scale

    @inline
    def backward_data(table, units, i, m, seed, step, threshold, keep_scale, zeros):
        """From dL/dZ of layer i to dL/dZ of layer i - 1: through the weights, the dropout mask, the activation."""
        t, p = table[i], table[i - 1]
        layer_forward(t[G], t[STRIDE], m, t[N_OUT], t[WT], t[N_IN], zeros, p[G], p[STRIDE])
        if threshold > 0:
            mask = dropout_key(seed, step, i - 1)
            dropout(p[G], p[G], m, p[N_OUT], p[STRIDE], mask, np.uint32(threshold), keep_scale)
        invoke(units[ACTIVATION_BACK], (p[G], p[Z], p[A], m, p[N_OUT], p[STRIDE]))

    @inline
    def bias_gradient(t, m):
        column_sums(t[G], t[STRIDE], m, t[N_OUT], t[GRAD_B])

    @inline
    def store_gradients(table, units, m, l2, seed, step, threshold, keep_scale, zeros, keep_bytes):
        """Backward pass that keeps dW (with the L2 term) and db instead of using them up."""
        for i in range(len(table) - 1, -1, -1):
            t = table[i]
            if i > 0:
                backward_data(table, units, i, m, seed, step, threshold, keep_scale, zeros)
            invoke(units[KEEP], (t[H], t[H_STRIDE], m, t[N_IN], t[G], t[STRIDE], t[N_OUT], t[W],
                                 keep_bytes, t[W], l2))  # fmt: skip
            bias_gradient(t, m)

    @inline
    def squared_norm(table):
        """Sum of squares of all stored gradients (padding is 0)."""
        total = 0.0
        for i in range(len(table)):
            t = table[i]
            for address, n in ((t[GRAD_W], t[W_SIZE]), (t[GRAD_B], t[B_SIZE])):
                values = vector(address, n, zero)
                for j in range(n):
                    total += float(values[j]) * float(values[j])
        return total

    @inline
    def update_clipped(table, units, m, l2, hyper_w, hyper_b, seed, step, threshold, keep_scale, zeros, slot_bytes,
                       keep_bytes, clip_norm):  # fmt: skip
        """Clip by the global norm: all gradients must be there before the first update."""
        store_gradients(table, units, m, l2, seed, step, threshold, keep_scale, zeros, keep_bytes)
        norm = np.sqrt(squared_norm(table))
        scale = real(clip_norm / norm) if norm > clip_norm else one
        for i in range(len(table)):
            t = table[i]
            invoke(units[UPDATE_FLAT], (t[W], t[GRAD_W], t[W_SIZE], scale, slot_bytes, hyper_w))
            invoke(units[UPDATE_FLAT], (t[BIAS], t[GRAD_B], t[B_SIZE], scale, slot_bytes, hyper_b))
            if i > 0:
                transpose(t[W], t[N_IN], t[N_OUT], t[WT])

    @inline
    def update_fused(table, units, m, l2, hyper_w, hyper_b, seed, step, threshold, keep_scale, zeros, slot_bytes):
        """Backward pass from the last layer to the first, each layer updated as soon as its weights were used."""
        for i in range(len(table) - 1, -1, -1):
            t = table[i]
            if i > 0:
                backward_data(table, units, i, m, seed, step, threshold, keep_scale, zeros)
            invoke(units[UPDATE], (t[H], t[H_STRIDE], m, t[N_IN], t[G], t[STRIDE], t[N_OUT], t[W],
                                   slot_bytes, hyper_w, l2))  # fmt: skip
            bias_gradient(t, m)
            invoke(units[UPDATE_FLAT], (t[BIAS], t[GRAD_B], t[B_SIZE], one, slot_bytes, hyper_b))
            if i > 0:
                transpose(t[W], t[N_IN], t[N_OUT], t[WT])

    @kernel(key=f"train {dtype}")
    def train(X, y, order, batch_size, scale, shift, table, units, labels, predictions, hyper_w, hyper_b, n_scalars,
              l2, dropout_probability, dropout_seed, clip_norm, zeros, slot_bytes, keep_bytes):  # fmt: skip
        # hyper_w, hyper_b: addresses of (steps, n_scalars) tables; clip_norm <= 0: no clipping; zeros: address of a
        # row of zeros; slot_bytes, keep_bytes: distance from a parameter to its slots and to its stored gradient.
        threshold = np.int64(dropout_probability * 4294967296.0)
        keep_scale = real(1.0 / (1.0 - dropout_probability))
        total, correct, steps, seen = 0.0, 0, 0, 0
        mode = flush()
        for start in range(0, len(order), batch_size):
            m = min(batch_size, len(order) - start)
            gather(X, y, order, start, m, scale, shift, table, labels)
            forward(table, units, m, dropout_seed, steps, threshold, keep_scale)
            predict(table, m, predictions)
            for i in range(m):
                correct += predictions[i] == labels[i]
            t = table[-1]
            loss = invoke(units[LOSS], (t[Z], labels.ctypes.data, t[G], m, t[N_OUT], t[STRIDE]))
            total += loss
            seen += m
            if not np.isfinite(loss):
                break
            mean_gradient(table, m)
            offset = steps * n_scalars * size
            if clip_norm > 0.0:
                update_clipped(table, units, m, real(l2 / m), hyper_w + offset, hyper_b + offset, dropout_seed, steps,
                               threshold, keep_scale, zeros, slot_bytes, keep_bytes, clip_norm)  # fmt: skip
            else:
                update_fused(table, units, m, real(l2 / m), hyper_w + offset, hyper_b + offset, dropout_seed, steps,
                             threshold, keep_scale, zeros, slot_bytes)  # fmt: skip
            steps += 1
        restore(mode)
        return total, correct, steps, seen

    @kernel(key=f"evaluate {dtype}")
    def evaluate(X, y, rows, batch_size, scale, shift, table, units, labels, predictions, logits):
        total = 0.0
        mode = flush()
        for start in range(0, len(rows), batch_size):
            m = min(batch_size, len(rows) - start)
            gather(X, y, rows, start, m, scale, shift, table, labels)
            forward(table, units, m, 0, 0, 0, one)
            predict(table, m, predictions[start : start + m])
            t = table[-1]
            logits[start : start + m] = matrix(t[Z], m, t[STRIDE], zero)[:, : t[N_OUT]]
            total += invoke(units[LOSS], (t[Z], labels.ctypes.data, t[G], m, t[N_OUT], t[STRIDE]))
        restore(mode)
        return total

    @kernel(key=f"gradients {dtype}")
    def gradients(X, y, rows, scale, shift, table, units, labels, l2, zeros, keep_bytes):
        m = len(rows)
        gather(X, y, rows, 0, m, scale, shift, table, labels)
        forward(table, units, m, 0, 0, 0, one)
        t = table[-1]
        invoke(units[LOSS], (t[Z], labels.ctypes.data, t[G], m, t[N_OUT], t[STRIDE]))
        mean_gradient(table, m)
        store_gradients(table, units, m, real(l2 / m), 0, 0, 0, one, zeros, keep_bytes)

    return train, evaluate, gradients
