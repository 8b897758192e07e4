"""Dropout masks: the published hash, the share that is dropped, independence of everything but the counter."""

import numpy as np
import pytest

from kernels import dropout, panels
from kernels.reference import dropout as reference


def test_keys_are_the_published_splitmix64_outputs():
    assert [hex(dropout.key(0, 0, layer)) for layer in range(3)] == ["0x7b1dcdaf", "0xa1b965f4", "0x8009454f"]


def kept(m, n, key, p, dtype="float32"):
    """Which elements of an (m, n) matrix the kernel keeps."""
    A = panels.zeros(m * panels.row_stride(n, dtype), dtype).reshape(m, -1)
    A[:, :n] = 1
    keep_scale = 1 / (1 - p)
    callback = dropout.compile_dropout(dtype).ctypes
    callback(A.ctypes.data, A.ctypes.data, m, n, A.shape[1], key, int(p * 2**32), keep_scale)
    assert not A[:, n:].any()
    np.testing.assert_array_equal(np.unique(A[:, :n]), np.array([0, keep_scale], dtype))
    return A[:, :n] > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(10, 100), (3, 7), (5, 16)])
def test_both_engines_drop_the_same_elements(shape, dtype):
    key = dropout.key(123456789012345, 7, 2)
    mask = reference.keep_mask(reference.mask_key(123456789012345, 7, 2), shape, 0.25)
    np.testing.assert_array_equal(mask, kept(*shape, key, 0.25, dtype))


def test_the_share_dropped_is_the_probability():
    assert abs(kept(100, 200, dropout.key(1, 2, 0), 0.3).mean() - 0.7) < 0.01
