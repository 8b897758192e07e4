"""Single kernels of a layer, one call each, against NumPy."""

import numpy as np
import pytest
from buffers import ONE_CALL, packed, padded, relative

from kernels import dense, panels

SHAPES = [(1, 1, 1), (3, 5, 7), (64, 784, 128), (13, 37, 65), (9, 64, 63), (130, 17, 200)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("m", "n_in", "n_out"), SHAPES)
def test_forward_is_a_matrix_product_plus_bias(m, n_in, n_out, dtype):
    rng = np.random.default_rng(0)
    H, W, b = (rng.standard_normal(s).astype(dtype) for s in ((m, n_in), (n_in, n_out), n_out))
    (h, h_stride), (z, z_stride) = padded(H), padded(np.zeros((m, n_out), dtype))
    bias = panels.zeros(panels.padded_width(n_out, dtype), dtype)
    bias[:n_out] = b
    product, p = dense.compile_product(dtype).ctypes, packed(W)
    product(h.ctypes.data, h_stride, m, n_in, p.ctypes.data, n_out, bias.ctypes.data, z.ctypes.data, z_stride)
    assert relative(z[:m, :n_out], H @ W + b) < ONE_CALL[dtype]
    assert not z[:, panels.padded_width(n_out, dtype) :].any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (5, 7), (37, 65), (64, 63), (130, 200)])
def test_the_transposed_copy_is_the_packed_transpose(n_in, n_out, dtype):
    W = np.random.default_rng(0).standard_normal((n_in, n_out)).astype(dtype)
    transpose, p = dense.compile_transpose(dtype).ctypes, packed(W)
    out = panels.zeros(panels.packed_size(n_out, n_in, dtype), dtype)
    transpose(p.ctypes.data, n_in, n_out, out.ctypes.data)
    np.testing.assert_array_equal(out, packed(np.ascontiguousarray(W.T)))
