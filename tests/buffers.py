"""What tests of single kernels share: matrices in the kernels' own layout, and how far a result may be from NumPy's."""

import numpy as np

from kernels import panels

ONE_CALL = {"float64": 1e-12, "float32": 1e-5}


def padded(A):
    """A matrix in a buffer of the kernels' own layout, and its row stride."""
    stride = panels.row_stride(A.shape[1], A.dtype)
    buffer = panels.zeros(panels.padded_rows(A.shape[0]) * stride, A.dtype).reshape(-1, stride)
    buffer[: A.shape[0], : A.shape[1]] = A
    return buffer, stride


def packed(W):
    out = panels.zeros(panels.packed_size(*W.shape, W.dtype), W.dtype)
    panels.pack(W, out)
    return out


def relative(got, want):
    return np.abs(got - want).max() / np.abs(want).max()
