"""Single kernels, one call each, against NumPy."""

import numpy as np
import pytest

from kernels import dense, panels, update
from kernels.optimizers import OPTIMIZERS

ONE_CALL = {"float64": 1e-12, "float32": 1e-5}
SHAPES = [(1, 1, 1), (3, 5, 7), (64, 784, 128), (13, 37, 65), (9, 64, 63), (130, 17, 200)]


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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_update_of_stored_gradients_is_the_twins(name, dtype):
    rng, optimizer, n, t = np.random.default_rng(0), OPTIMIZERS[name], 8 * 16, 3
    parameters = panels.zeros((1 + optimizer.n_slots) * n, dtype).reshape(-1, n)
    parameters[:] = rng.standard_normal(parameters.shape) ** 2  # second moments are not negative
    g = rng.standard_normal(n).astype(dtype)
    slots = tuple(parameters[1:].copy())
    scalars = optimizer.scalars(0.01, float(t), optimizer.with_defaults({}))
    h = type("Scalars", (), scalars)
    want, want_slots = optimizer.rule(parameters[0].copy(), g, slots, h)
    hyper = optimizer.table(np.array([0.01]), np.array([t]), {}, dtype, biases=False)
    _, flat = update.compile_update(optimizer.program, dtype)
    flat.ctypes(parameters.ctypes.data, g.ctypes.data, n, 1.0, parameters.strides[0], hyper.ctypes.data)
    assert relative(parameters[0], want) < ONE_CALL[dtype]
    for got, slot in zip(parameters[1:], want_slots, strict=True):
        assert relative(got, slot) < ONE_CALL[dtype]
