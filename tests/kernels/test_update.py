"""The update fused with the gradient, and that of stored gradients, one call each, against NumPy."""

import numpy as np
import pytest
from buffers import ONE_CALL, packed, padded, relative

from kernels import panels, update
from kernels.optimizers import KEEP_GRADIENT, OPTIMIZERS

# Batches with fewer rows than a block has vectors, with just as many, and with more than rules need between steps.
BATCHES = [1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 130]
LAYERS = [(1, 1), (5, 7), (37, 65), (64, 130)]


def fused(optimizer, H, dZ, W, slots, l2, backwards, dtype):
    """W, slots after one step, and whether padding stayed 0."""
    (m, n_in), n_out = H.shape, dZ.shape[1]
    (h, h_stride), (z, z_stride) = padded(H), padded(dZ)
    rows = 1 + optimizer.n_slots
    parameters = panels.zeros(rows * panels.packed_size(n_in, n_out, dtype), dtype).reshape(rows, -1)
    for row, values in zip(parameters, (W, *slots), strict=True):
        row[:] = packed(values)
    hyper = optimizer.tables(np.array([0.01]), np.array([3]), {}, dtype)[0]
    step, _ = update.compile_update(optimizer.program, dtype)
    step.ctypes(h.ctypes.data, h_stride, m, n_in, z.ctypes.data, z_stride, n_out, parameters.ctypes.data,
                parameters.strides[0], hyper.ctypes.data, l2, backwards)  # fmt: skip
    new_W, *new_slots = (panels.unpack(row, n_in, n_out) for row in parameters)
    clean = all((packed(panels.unpack(row, n_in, n_out)) == row).all() for row in parameters)
    return new_W, new_slots, clean


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m", BATCHES)
def test_the_gradient_of_the_weights_is_a_matrix_product_plus_decay(m, dtype):
    rng = np.random.default_rng(0)
    for n_in, n_out in LAYERS:
        H, dZ, W = (rng.standard_normal(s).astype(dtype) for s in ((m, n_in), (m, n_out), (n_in, n_out)))
        for l2 in (0.0, 0.1):
            want = H.T @ dZ + np.dtype(dtype).type(l2) * W
            results = [fused(KEEP_GRADIENT, H, dZ, W, [np.zeros_like(W)], l2, backwards, dtype) for backwards in (0, 1)]
            for new_W, (gradient,), clean in results:
                assert relative(gradient, want) < ONE_CALL[dtype]
                assert (new_W == W).all()
                assert clean
            assert (results[0][1][0] == results[1][1][0]).all()  # the way over the blocks changes no bit


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("m", [3, 40, 64])
def test_one_fused_update_is_the_rule_on_the_matrix_product(m, name, dtype):
    rng, optimizer, (n_in, n_out) = np.random.default_rng(0), OPTIMIZERS[name], (37, 65)
    H, dZ, W = (rng.standard_normal(s).astype(dtype) for s in ((m, n_in), (m, n_out), (n_in, n_out)))
    slots = tuple(rng.standard_normal((optimizer.n_slots, *W.shape)).astype(dtype) ** 2)
    h = type("Scalars", (), optimizer.scalars(0.01, 3.0, optimizer.with_defaults({})))
    want_W, want_slots = optimizer.rule(W, H.T @ dZ, slots, h)
    new_W, new_slots, _ = fused(optimizer, H, dZ, W, slots, 0.0, 0, dtype)
    assert relative(new_W, want_W) < ONE_CALL[dtype]
    for got, want in zip(new_slots, want_slots, strict=True):
        assert relative(got, want) < ONE_CALL[dtype]


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
    hyper = optimizer.tables(np.array([0.01]), np.array([t]), {}, dtype)[0]
    _, flat = update.compile_update(optimizer.program, dtype)
    flat.ctypes(parameters.ctypes.data, g.ctypes.data, n, 1.0, parameters.strides[0], hyper.ctypes.data)
    assert relative(parameters[0], want) < ONE_CALL[dtype]
    for got, slot in zip(parameters[1:], want_slots, strict=True):
        assert relative(got, slot) < ONE_CALL[dtype]
