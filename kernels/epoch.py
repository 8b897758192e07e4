"""A whole epoch of training and a whole evaluation, each in one compiled call without the GIL.

``table`` describes the network to the compiled code, one row per layer, by addresses and sizes; ``units`` holds the
addresses of the compiled parts that do the work (see :mod:`kernels.memory`); ``batch`` describes the data. So one
compiled epoch serves every activation, loss, optimizer and type of data, and compiles in two seconds.
:class:`kernels.engine.Engine` owns the memory. Shapes: m rows in a mini-batch.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.denormals import flush, restore
from kernels.dropout import key as dropout_key
from kernels.jit import inline, kernel
from kernels.memory import invoke, matrix
from kernels.rows import make_rows

# Columns of ``table``. Addresses: W, BIAS parameters; WT transposed panels (nothing for the first layer); H inputs of
# the layer; Z pre-activations; A activations (may be Z); D what the next layer reads (A, or its copy after dropout); G
# dL/dZ; GRAD_W and GRAD_B stored gradients.
N_IN, N_OUT, W, BIAS, WT, H, H_STRIDE, Z, A, D, STRIDE, G, GRAD_W, GRAD_B, W_SIZE, B_SIZE = range(16)
COLUMNS = 16
# Entries of ``units``.
(GATHER, PRODUCT, TRANSPOSE, COLUMN_SUMS, DROPOUT, PREDICT, KEEP, ACTIVATION, ACTIVATION_BACK, LOSS, SMOOTHING, UPDATE,
 UPDATE_FLAT) = range(13)  # fmt: skip
UNITS = 13
# Entries of ``batch``: addresses of data (X, Y), of the order of rows, of scale and shift per feature, of the labels
# and predictions of a mini-batch, of a row of zeros; distances from a parameter to its slots and stored gradient.
X, Y, ORDER, N_ORDER, SCALE, SHIFT, LABELS, PREDICTIONS, ZEROS, SLOT_BYTES, KEEP_BYTES = range(11)
ENTRIES = 11


@functools.cache
def make_epoch(dtype: str) -> tuple[Any, Any, Any]:
    """Compiled ``train``, ``evaluate`` and ``gradients`` for one dtype."""
    size = np.dtype(dtype).itemsize
    real = np.dtype(dtype).type
    zero, one, rows = real(0), real(1), make_rows(dtype)
    scale_row, squares = rows.scale, rows.squares

    @inline
    def gather(batch, table, units, start, m):
        t = table[0]
        invoke(units[GATHER], (batch[X], t[N_IN], batch[Y], batch[ORDER], batch[N_ORDER], start, m, batch[SCALE],
                               batch[SHIFT], t[H], t[H_STRIDE], batch[LABELS]))  # fmt: skip

    @inline
    def drop(t, units, source, sink, m, layer, masks):
        """Dropout of layer's activations or of their gradient; ``masks`` = (seed, step, threshold, scale)."""
        seed, step, threshold, scale = masks
        if threshold > 0:
            mask = dropout_key(seed, step, layer)
            invoke(units[DROPOUT], (source, sink, m, t[N_OUT], t[STRIDE], mask, np.uint32(threshold), scale))

    @inline
    def forward(table, units, m, masks):
        """Run all layers; the logits are the last layer's Z."""
        last = len(table) - 1
        for i in range(len(table)):
            t = table[i]
            invoke(units[PRODUCT], (t[H], t[H_STRIDE], m, t[N_IN], t[W], t[N_OUT], t[BIAS], t[Z], t[STRIDE]))
            if i < last:
                invoke(units[ACTIVATION], (t[Z], t[A], m, t[N_OUT], t[STRIDE]))
                drop(t, units, t[A], t[D], m, i, masks)

    @inline
    def predict(batch, table, units, m, predictions):
        t = table[-1]
        return invoke(units[PREDICT], (t[Z], m, t[N_OUT], t[STRIDE], batch[LABELS], predictions))

    @inline
    def loss_and_gradient(batch, table, units, m, smoothing):
        """Sum of the losses of a mini-batch; leaves dL/dlogits of their mean in the last layer's G."""
        t, scale = table[-1], one / real(m)
        loss = invoke(units[LOSS], (t[Z], batch[LABELS], t[G], m, t[N_OUT], t[STRIDE]))
        if smoothing > 0.0:
            loss += invoke(units[SMOOTHING], (t[Z], batch[LABELS], t[G], m, t[N_OUT], t[STRIDE], smoothing))
        for i in range(m):
            scale_row(t[G] + i * t[STRIDE] * size, t[N_OUT], scale)
        return loss

    @inline
    def backward_data(batch, table, units, i, m, masks):
        """From dL/dZ of layer i to dL/dZ of layer i - 1: through the weights, the dropout mask, the activation."""
        t, p = table[i], table[i - 1]
        invoke(units[PRODUCT], (t[G], t[STRIDE], m, t[N_OUT], t[WT], t[N_IN], batch[ZEROS], p[G], p[STRIDE]))
        drop(p, units, p[G], p[G], m, i - 1, masks)
        invoke(units[ACTIVATION_BACK], (p[G], p[Z], p[A], m, p[N_OUT], p[STRIDE]))

    @inline
    def weight_gradient(batch, t, units, unit, m, slot_bytes, hyper, l2, backwards):
        """DW = H.T dZ, consumed in registers by the unit (an optimizer, or what keeps it), and db into GRAD_B."""
        invoke(
            units[unit],
            (t[H], t[H_STRIDE], m, t[N_IN], t[G], t[STRIDE], t[N_OUT], t[W], slot_bytes, hyper, l2, backwards),
        )
        invoke(units[COLUMN_SUMS], (t[G], t[STRIDE], m, t[N_OUT], t[GRAD_B]))

    @inline
    def refresh(t, units, i):
        if i > 0:
            invoke(units[TRANSPOSE], (t[W], t[N_IN], t[N_OUT], t[WT]))

    @inline
    def keep_gradients(batch, table, units, m, l2, masks):
        """Backward pass that keeps dW (with the L2 term) and db instead of using them up."""
        for i in range(len(table) - 1, -1, -1):
            if i > 0:
                backward_data(batch, table, units, i, m, masks)
            weight_gradient(batch, table[i], units, KEEP, m, batch[KEEP_BYTES], table[i, W], l2, 0)

    @inline
    def squared_norm(table):
        """Sum of squares of all stored gradients (padding is 0)."""
        total = 0.0
        for i in range(len(table)):
            t = table[i]
            total += squares(t[GRAD_W], t[W_SIZE]) + squares(t[GRAD_B], t[B_SIZE])
        return total

    @inline
    def update_clipped(batch, table, units, m, l2, hyper_w, hyper_b, masks, clip_norm):
        """Clip by the global norm: all gradients must be there before the first update."""
        keep_gradients(batch, table, units, m, l2, masks)
        norm = np.sqrt(squared_norm(table))
        scale = real(clip_norm / norm) if norm > clip_norm else one
        for i in range(len(table)):
            t = table[i]
            invoke(units[UPDATE_FLAT], (t[W], t[GRAD_W], t[W_SIZE], scale, batch[SLOT_BYTES], hyper_w))
            invoke(units[UPDATE_FLAT], (t[BIAS], t[GRAD_B], t[B_SIZE], scale, batch[SLOT_BYTES], hyper_b))
            refresh(t, units, i)

    @inline
    def update_fused(batch, table, units, m, l2, hyper_w, hyper_b, masks):
        """Backward pass from the last layer to the first, each layer updated as soon as its weights were used."""
        for i in range(len(table) - 1, -1, -1):
            t = table[i]
            if i > 0:
                backward_data(batch, table, units, i, m, masks)
            weight_gradient(batch, t, units, UPDATE, m, batch[SLOT_BYTES], hyper_w, l2, masks[1] & 1)
            invoke(units[UPDATE_FLAT], (t[BIAS], t[GRAD_B], t[B_SIZE], one, batch[SLOT_BYTES], hyper_b))
            refresh(t, units, i)

    @kernel(key=f"train {dtype}")
    def train(
        batch, table, units, batch_size, hyper_w, hyper_b, n_scalars, l2, smoothing, dropout, dropout_seed, clip_norm
    ):
        # hyper_w, hyper_b: addresses of the scalars of every step, (steps, n_scalars); clip_norm 0: no clipping.
        threshold, keep_scale = np.int64(dropout * 4294967296.0), real(1.0 / (1.0 - dropout))
        total, correct, steps, seen, n_rows = 0.0, 0.0, 0, 0, batch[N_ORDER]
        mode = flush()
        for start in range(0, n_rows, batch_size):
            m, masks = min(batch_size, n_rows - start), (dropout_seed, steps, threshold, keep_scale)
            gather(batch, table, units, start, m)
            forward(table, units, m, masks)
            correct += predict(batch, table, units, m, batch[PREDICTIONS])
            loss = loss_and_gradient(batch, table, units, m, smoothing)
            total += loss
            seen += m
            if not np.isfinite(loss):
                break
            offset, l2_per_row = steps * n_scalars * size, real(l2 / m)
            if clip_norm > 0.0:
                update_clipped(batch, table, units, m, l2_per_row, hyper_w + offset, hyper_b + offset, masks, clip_norm)
            else:
                update_fused(batch, table, units, m, l2_per_row, hyper_w + offset, hyper_b + offset, masks)
            steps += 1
        restore(mode)
        return total, correct, steps, seen

    @kernel(key=f"evaluate {dtype}")
    def evaluate(batch, table, units, batch_size, predictions, logits):
        # predictions, logits: addresses of the results for all rows.
        n_rows, masks, total = batch[N_ORDER], (np.uint64(0), 0, 0, one), 0.0
        t = table[-1]
        n_out, mode = t[N_OUT], flush()
        results = matrix(logits, n_rows, n_out, zero)
        for start in range(0, n_rows, batch_size):
            m = min(batch_size, n_rows - start)
            gather(batch, table, units, start, m)
            forward(table, units, m, masks)
            predict(batch, table, units, m, predictions + start * 8)
            rows = matrix(t[Z], m, t[STRIDE], zero)
            for i in range(m):
                for j in range(n_out):
                    results[start + i, j] = rows[i, j]
            total += invoke(units[LOSS], (t[Z], batch[LABELS], t[G], m, n_out, t[STRIDE]))
        restore(mode)
        return total

    @kernel(key=f"gradients {dtype}")
    def gradients(batch, table, units, l2, smoothing):
        m, masks = batch[N_ORDER], (np.uint64(0), 0, 0, one)
        gather(batch, table, units, 0, m)
        forward(table, units, m, masks)
        loss_and_gradient(batch, table, units, m, smoothing)
        keep_gradients(batch, table, units, m, real(l2 / m), masks)

    return train, evaluate, gradients
