"""Dropout masks: the published hash, the share that is dropped, independence of everything but the counter."""

import numpy as np

from kernels import dropout
from kernels.reference import dropout as reference


def test_keys_are_the_published_splitmix64_outputs():
    assert [hex(dropout.key(0, 0, layer)) for layer in range(3)] == ["0x7b1dcdaf", "0xa1b965f4", "0x8009454f"]


def test_both_engines_hash_alike():
    elements = np.arange(1000)
    key = dropout.key(123456789012345, 7, 2)
    compiled = np.array([dropout.element_hash(key, i) for i in elements])
    assert compiled.dtype.kind in "ui"
    mask = reference.keep_mask(reference.mask_key(123456789012345, 7, 2), (10, 100), 0.25)
    np.testing.assert_array_equal(mask.ravel(), compiled >= int(0.25 * 2**32))


def test_the_share_dropped_is_the_probability():
    hashes = np.array([dropout.element_hash(dropout.key(1, 2, 0), i) for i in range(20000)])
    assert abs((hashes < int(0.3 * 2**32)).mean() - 0.3) < 0.01
