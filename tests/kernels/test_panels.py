"""Layout of weights and buffers."""

import numpy as np
import pytest

from kernels import panels, target


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (13, 63), (13, 64), (13, 65), (64, 128), (37, 131), (784, 10)]
)
def test_unpacking_gives_back_what_was_packed(shape, dtype):
    W = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    packed = panels.zeros(panels.packed_size(*shape, dtype), dtype)
    panels.pack(W, packed)
    np.testing.assert_array_equal(panels.unpack(packed, *shape), W)


def test_packing_leaves_nothing_but_zeros_in_the_padding():
    packed = panels.zeros(panels.packed_size(13, 7, np.float32), np.float32)
    packed[:] = np.nan
    panels.pack(np.ones((13, 7), np.float32), packed)
    assert packed.sum() == 13 * 7
    assert np.isfinite(packed).all()


def test_a_panel_is_read_as_one_contiguous_stream():
    width = target.current().panel_vectors * target.current().lanes(np.float32)
    W = np.arange(3 * 2 * width, dtype=np.float32).reshape(3, 2 * width)
    packed = panels.zeros(panels.packed_size(*W.shape, np.float32), np.float32)
    panels.pack(W, packed)
    np.testing.assert_array_equal(packed[: 3 * width], W[:, :width].ravel())


@pytest.mark.parametrize("n", [1, 15, 16, 17, 64, 100, 128, 512, 784, 1024])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_buffer_hold_whole_tiles_and_do_not_fall_on_the_same_cache_sets(n, dtype):
    stride = panels.row_stride(n, dtype)
    lines, rest = divmod(stride * np.dtype(dtype).itemsize, panels.ALIGNMENT_BYTES)
    assert stride >= max(panels.padded_width(n, dtype), panels.padded_rows(n))
    assert rest == 0
    assert lines % 2 == 1


def test_buffers_begin_on_a_cache_line():
    for n in (1, 3, 1000):
        assert panels.zeros(n, np.float32).ctypes.data % panels.ALIGNMENT_BYTES == 0
