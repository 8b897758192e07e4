"""The two ends of a mini-batch: gathering its rows from the data set, and reading its predictions off the logits.

Data stay as they lie on disk (uint8, memory-mapped); a mini-batch is copied, scaled, into a buffer that stays in cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import callback
from kernels.memory import matrix, prefetch, vector
from kernels.panels import ALIGNMENT_BYTES
from kernels.rows import make_rows

AHEAD = 16  # rows between asking for a row of the data set and reading it


def compile_gather(dtype: Any, data_dtype: Any) -> Any:
    """Callback that copies m rows of the data set: ``x * scale + shift`` into a buffer, and their labels.

    Arguments: ``(X, n_in, y, order, n_order, start, m, scale, shift, sink, stride, labels)``; the rows are
    ``order[start : start + m]``.
    """
    real = np.dtype(dtype).type
    zero, data_zero, index = real(0), np.dtype(data_dtype).type(0), np.int64(0)
    item_bytes = np.dtype(data_dtype).itemsize

    def gather(X, n_in, y, order, n_order, start, m, scale, shift, sink, stride, labels):
        row_bytes, rows = n_in * item_bytes, vector(order, n_order, index)
        factors, offsets = vector(scale, n_in, zero), vector(shift, n_in, zero)
        buffer, batch_labels = matrix(sink, m, stride, zero), vector(labels, m, index)
        for i in range(m):
            # Rows lie anywhere in 44 MB: asked for early, 64 x 784 take 5 us instead of 12.
            soon = X + rows[min(start + i + AHEAD, n_order - 1)] * row_bytes
            for line in range(0, row_bytes, ALIGNMENT_BYTES):
                prefetch(soon + line)
            here = rows[start + i]
            source, row = vector(X + here * row_bytes, n_in, data_zero), buffer[i]
            for j in range(n_in):
                row[j] = real(source[j]) * factors[j] + offsets[j]
            batch_labels[i] = vector(y + here * 8, 1, index)[0]
        return 0.0

    return callback(f"float64({', '.join(['int64'] * 12)})", f"{dtype} {data_dtype}")(gather)


def compile_predict(dtype: Any) -> Any:
    """Callback ``(logits, m, n, stride, labels, predictions)`` that returns how many predictions are right.

    The prediction is the largest logit of each row: the first on a tie, NaN below every number, 0 where all are NaN.
    """
    size, kernels_on_rows = np.dtype(dtype).itemsize, make_rows(dtype)
    find, largest, index = kernels_on_rows.find, kernels_on_rows.largest, np.int64(0)

    def predict(logits, m, n, stride, labels, predictions):
        right, truth, guess = 0, vector(labels, m, index), vector(predictions, m, index)
        for i in range(m):
            row = logits + i * stride * size
            guess[i] = find(row, n, largest(row, n))
            right += guess[i] == truth[i]
        return float(right)

    return callback("float64(int64, int64, int64, int64, int64, int64)", dtype)(predict)
