"""IDX files: what is read, and what is refused with which words."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest
from datafiles import CLASSES, IDX, flip, idx_bytes, pixels_and_labels, write_idx

from harness.formats import DamageError, decode, locate


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_decode_to_the_pooled_images_published_training_set_first(tmp_path, zipped):
    write_idx(tmp_path, zipped=zipped)
    X, y = pixels_and_labels()
    decoded = decode(IDX, locate(IDX, tmp_path))
    assert decoded.X.shape == (38, 15)
    np.testing.assert_array_equal(decoded.X, X)
    np.testing.assert_array_equal(decoded.y, y)
    assert decoded.class_names == CLASSES
    assert decoded.sha256 == hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()


def test_a_file_called_gz_that_was_unzipped_on_the_way_is_read(tmp_path):
    write_idx(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(decode(IDX, locate(IDX, tmp_path)).y, pixels_and_labels()[1])


ZIPPED_DAMAGE = {
    "checksum": (lambda raw: flip(raw, -8), "CRC"),
    "stored length": (lambda raw: flip(raw, -2), "length"),
    "cut off": (lambda raw: raw[: len(raw) // 2], "truncated"),
    "cut off in the trailer": (lambda raw: raw[:-3], "truncated"),
    "deflate data": (lambda raw: raw[:12] + b"\xff" * 40 + raw[52:], "gzip"),
    "something behind": (lambda raw: raw + b"garbage", "gzip"),
    "empty": (lambda raw: b"", "magic number missing"),
    "web page": (lambda raw: b"<!DOCTYPE html><html></html>", "neither gzip nor IDX"),
}


@pytest.mark.parametrize("damage", sorted(ZIPPED_DAMAGE))
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damage_to_a_gzip_file_is_one_line_that_names_file_and_fault(tmp_path, name, damage):
    write_idx(tmp_path, level=0)
    path = tmp_path / f"{name}.gz"
    change, fault = ZIPPED_DAMAGE[damage]
    if damage == "deflate data":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(100)))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamageError) as caught:
        decode(IDX, locate(IDX, tmp_path))
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


IMAGES = np.zeros((31, 5, 3), dtype=np.uint8)
PLAIN_DAMAGE = {
    "cut off": (idx_bytes(IMAGES)[:-1], "truncated (480 of 481 bytes)"),
    "cut off in the header": (idx_bytes(IMAGES)[:10], "truncated (10 of 481 bytes)"),
    "too long": (idx_bytes(IMAGES) + b"\0", "longer than the 481 bytes"),
    "labels instead of images": (idx_bytes(IMAGES[:, 0, 0]), "magic number 0x00000801, expected 0x00000803"),
    "of floats": (flip(idx_bytes(IMAGES), 2), "magic number 0x0000f703"),
    "one image too many": (idx_bytes(np.zeros((32, 5, 3), np.uint8)), "holds 32 x 5 x 3, expected 31 x 5 x 3"),
    "one image too few": (idx_bytes(IMAGES[1:]), "holds 30 x 5 x 3, expected 31 x 5 x 3"),
    "images turned": (idx_bytes(IMAGES.swapaxes(1, 2)), "holds 31 x 3 x 5, expected 31 x 5 x 3"),
}


@pytest.mark.parametrize("damage", sorted(PLAIN_DAMAGE))
@pytest.mark.parametrize("zipped", [True, False])
def test_an_image_file_of_another_kind_count_or_size_is_refused(tmp_path, zipped, damage):
    content, fault = PLAIN_DAMAGE[damage]
    write_idx(tmp_path, zipped=zipped)
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * zipped)
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DamageError) as caught:
        decode(IDX, locate(IDX, tmp_path))
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_label_beyond_the_last_class_is_refused(tmp_path, name):
    write_idx(tmp_path, zipped=False)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1] + b"\x03")
    with pytest.raises(DamageError, match=rf"{name}: label 3 is out of range 0\.\.2"):
        decode(IDX, locate(IDX, tmp_path))
