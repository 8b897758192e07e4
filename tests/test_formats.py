"""Decoding and verifying IDX and CIFAR-10 files: what is read, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import pathlib
import struct
import tarfile

import numpy as np
import pytest

from harness.formats import CIFAR_BATCHES, IDX_FILES, DamageError, DatasetSpec, decode, digest, locate

CLASSES = ("ant", "bee", "cod")
IDX = DatasetSpec("tiny", "idx", CLASSES, image_shape=(5, 3), n_train=31, n_test=7)
CIFAR = DatasetSpec(
    "tiny", "cifar", CLASSES, image_shape=(3, 2, 3), n_train=35, n_test=9, archive_md5="0" * 32
)  # 7 images in a batch


def pixels_and_labels(spec: DatasetSpec, seed: int = 0):
    rng = np.random.default_rng(seed)
    n = spec.n_train + spec.n_test
    X = rng.integers(0, 256, size=(n, int(np.prod(spec.image_shape))), dtype=np.uint8)
    y = rng.integers(0, len(spec.class_names), size=n, dtype=np.uint8)
    return X, y


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def write_idx(folder: pathlib.Path, spec: DatasetSpec = IDX, seed: int = 0, zipped: bool = True, level: int = 9):
    """Write the four files, and return what they hold."""
    X, y = pixels_and_labels(spec, seed)
    images = X.reshape(-1, *spec.image_shape)
    m = spec.n_train
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in zip(IDX_FILES, (images[:m], y[:m], images[m:], y[m:]), strict=True):
        raw = idx_bytes(values)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(raw, level) if zipped else raw)
    return X, y


def cifar_members(spec: DatasetSpec = CIFAR, seed: int = 0) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    X, y = pixels_and_labels(spec, seed)
    parts = np.split(np.column_stack([y, X]), [7, 14, 21, 28, 35])
    members = {name: part.tobytes() for name, part in zip(CIFAR_BATCHES, parts, strict=True)}
    members["batches.meta.txt"] = "\n".join([*CLASSES, "", ""]).encode()
    return members, X, y


def tar_bytes(members: dict[str, bytes], prefix: str = "cifar-10-batches-bin/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_archive(folder: pathlib.Path, content: bytes) -> tuple[pathlib.Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cifar-10-binary.tar.gz").write_bytes(content)
    found = locate(CIFAR, folder)
    assert found is not None
    return found


# ---------------------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_decode_to_the_pooled_images_published_training_set_first(tmp_path, zipped):
    X, y = write_idx(tmp_path, zipped=zipped)
    decoded = decode(IDX, locate(IDX, tmp_path))
    assert decoded.X.shape == (38, 15)
    np.testing.assert_array_equal(decoded.X, X)
    np.testing.assert_array_equal(decoded.y, y)
    assert decoded.class_names == CLASSES
    assert decoded.sha256 == hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()


def test_a_recompressed_copy_of_the_official_files_is_official(tmp_path):
    X, y = write_idx(tmp_path / "a", level=1)
    write_idx(tmp_path / "b", level=9)
    official = dataclasses.replace(IDX, sha256=digest(X, y))
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert decode(official, locate(official, folder)).doubt is None


def test_valid_files_with_other_pixels_are_doubted(tmp_path):
    official = dataclasses.replace(IDX, sha256=digest(*pixels_and_labels(IDX, seed=0)))
    write_idx(tmp_path, seed=1)
    assert decode(official, locate(official, tmp_path)).doubt == "not the official pixels"


def test_a_file_called_gz_that_was_unzipped_on_the_way_is_read(tmp_path):
    _, y = write_idx(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(decode(IDX, locate(IDX, tmp_path)).y, y)


def flip(raw: bytes, position: int) -> bytes:
    changed = bytearray(raw)
    changed[position] ^= 0xFF
    return bytes(changed)


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


# ---------------------------------------------------------------------------------------------------- CIFAR-10


def test_a_cifar_archive_decodes_to_the_pooled_images_whatever_the_order_of_its_members(tmp_path):
    members, X, y = cifar_members()
    backwards = dict(reversed(members.items()))
    for k, ordered in enumerate((members, backwards)):
        decoded = decode(CIFAR, write_archive(tmp_path / str(k), gzip.compress(tar_bytes(ordered))))
        np.testing.assert_array_equal(decoded.X, X)
        np.testing.assert_array_equal(decoded.y, y)


def test_the_official_archive_is_known_by_its_md5_and_any_other_is_doubted(tmp_path):
    content = gzip.compress(tar_bytes(cifar_members()[0]))
    files = write_archive(tmp_path, content)
    official = dataclasses.replace(CIFAR, archive_md5=hashlib.md5(content).hexdigest())
    assert decode(official, files).doubt is None
    assert decode(CIFAR, files).doubt == "not the official archive, so perhaps not the official pixels"


@pytest.mark.parametrize("place", [".", "cifar-10-batches-bin", "tiny", "tiny/cifar-10-batches-bin"])
def test_an_unpacked_cifar_folder_decodes_like_the_archive_but_is_doubted(tmp_path, place):
    members, X, y = cifar_members()
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name, content in members.items():
        (tmp_path / place / name).write_bytes(content)
    decoded = decode(CIFAR, locate(CIFAR, tmp_path))
    np.testing.assert_array_equal(decoded.X, X)
    np.testing.assert_array_equal(decoded.y, y)
    assert "unpacked folder" in decoded.doubt


def test_class_names_come_from_the_archive_or_else_from_the_specification(tmp_path):
    members, _, _ = cifar_members()
    members["batches.meta.txt"] = b"Ameise\r\nBiene\r\nKabeljau\r\n"
    decoded = decode(CIFAR, write_archive(tmp_path / "a", gzip.compress(tar_bytes(members))))
    assert decoded.class_names == ("Ameise", "Biene", "Kabeljau")
    del members["batches.meta.txt"]
    decoded = decode(CIFAR, write_archive(tmp_path / "b", gzip.compress(tar_bytes(members))))
    assert decoded.class_names == CLASSES


def without(name):
    return lambda members: members.pop(name)


def replaced(name, change):
    return lambda members: members.__setitem__(name, change(members[name]))


MEMBER_DAMAGE = {
    "no fourth batch": (without("data_batch_4.bin"), "without data_batch_4.bin"),
    "no test batch": (without("test_batch.bin"), "without test_batch.bin"),
    "short batch": (
        replaced("data_batch_2.bin", lambda raw: raw[:-19]),
        "has 114 bytes, expected 133",
    ),
    "long batch": (replaced("test_batch.bin", lambda raw: raw + b"\0" * 19), "test_batch.bin has 172 bytes"),
    "label": (replaced("data_batch_3.bin", lambda raw: b"\x03" + raw[1:]), "label 3"),
    "two class names": (replaced("batches.meta.txt", lambda raw: b"a\nb\n"), "3 different class names"),
    "twice the same class": (replaced("batches.meta.txt", lambda raw: b"a\nb\nb\n"), "3 different class names"),
}


@pytest.mark.parametrize("damage", sorted(MEMBER_DAMAGE))
def test_a_cifar_archive_with_a_wrong_member_is_refused(tmp_path, damage):
    change, fault = MEMBER_DAMAGE[damage]
    members, _, _ = cifar_members()
    change(members)
    files = write_archive(tmp_path, gzip.compress(tar_bytes(members)))
    with pytest.raises(DamageError) as caught:
        decode(CIFAR, files)
    assert str(caught.value).startswith(f"{files[0]}: ")
    assert fault in str(caught.value)


ARCHIVE_DAMAGE = {
    "empty": (lambda tar: b"", "not a tar archive"),
    "web page": (lambda tar: b"<html></html>", "not a gzip file"),
    "not gzipped": (lambda tar: tar, "not a gzip file"),
    "gzipped text": (lambda tar: gzip.compress(b"no archive at all\n" * 100), "not a tar archive"),
    "gzip cut off": (lambda tar: gzip.compress(tar, 0)[:4000], "truncated"),
    "gzip trailer cut off": (lambda tar: gzip.compress(tar)[:-2], "truncated"),
    "gzip checksum": (lambda tar: flip(gzip.compress(tar), -8), "CRC"),
    "a pixel": (lambda tar: flip(gzip.compress(tar, 0), 600), "CRC"),
    "tar cut off": (lambda tar: gzip.compress(tar[:600]), "damaged"),
}


@pytest.mark.parametrize("damage", sorted(ARCHIVE_DAMAGE))
def test_a_damaged_cifar_archive_is_one_line_that_names_file_and_fault(tmp_path, damage):
    change, fault = ARCHIVE_DAMAGE[damage]
    files = write_archive(tmp_path, change(tar_bytes(cifar_members()[0])))
    with pytest.raises(DamageError) as caught:
        decode(CIFAR, files)
    assert str(caught.value).startswith(f"{files[0]}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_that_stands_twice_in_the_archive_is_refused(tmp_path):
    members, _, _ = cifar_members()
    doubled = {**members, "again/test_batch.bin": members["test_batch.bin"]}
    with pytest.raises(DamageError, match=r"holds test_batch\.bin twice"):
        decode(CIFAR, write_archive(tmp_path, gzip.compress(tar_bytes(doubled))))


def test_no_member_of_an_archive_is_written_to_disk_wherever_its_path_points(tmp_path):
    members, X, _ = cifar_members()
    folder = tmp_path / "deep" / "down"
    files = write_archive(folder, gzip.compress(tar_bytes({**members, "../evil.txt": b"x"}, prefix="../../")))
    np.testing.assert_array_equal(decode(CIFAR, files).X, X)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == list(files)


def test_a_link_in_an_archive_does_not_stand_for_a_batch(tmp_path):
    members, _, _ = cifar_members()
    secret = tmp_path / "secret"
    secret.write_bytes(members.pop("test_batch.bin"))
    buffer = io.BytesIO(tar_bytes(members))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    with pytest.raises(DamageError, match=r"without test_batch\.bin"):
        decode(CIFAR, write_archive(tmp_path / "a", gzip.compress(buffer.getvalue())))


# ---------------------------------------------------------------------------------------------------- finding files


@pytest.mark.parametrize("place", [".", "tiny"])
def test_files_are_found_in_the_folder_and_in_its_subfolder_named_after_the_data_set(tmp_path, place):
    write_idx(tmp_path / place)
    assert [path.parent for path in locate(IDX, tmp_path)] == [tmp_path / place] * 4


@pytest.mark.parametrize("spec", [IDX, CIFAR])
def test_a_folder_without_the_data_set_yields_nothing(tmp_path, spec):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "README").write_text("nothing here")
    assert locate(spec, tmp_path) is None
    assert locate(spec, tmp_path / "missing") is None


def test_a_folder_with_some_of_the_files_names_those_that_are_missing(tmp_path):
    write_idx(tmp_path / "idx")
    (tmp_path / "idx" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DamageError, match=r"tiny is incomplete, without t10k-labels-idx1-ubyte$"):
        locate(IDX, tmp_path / "idx")
    (tmp_path / "cifar").mkdir()
    for name in CIFAR_BATCHES[2:]:
        (tmp_path / "cifar" / name).touch()
    with pytest.raises(DamageError, match=r"without data_batch_1\.bin, data_batch_2\.bin$"):
        locate(CIFAR, tmp_path / "cifar")


def test_a_complete_subfolder_is_preferred_to_an_incomplete_folder(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    write_idx(tmp_path / "tiny")
    assert locate(IDX, tmp_path)[0].parent == tmp_path / "tiny"


def test_the_archive_is_preferred_to_an_unpacked_folder_since_it_can_be_verified(tmp_path):
    members, _, _ = cifar_members()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name, content in members.items():
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(content)
    assert write_archive(tmp_path, b"") == (tmp_path / "cifar-10-binary.tar.gz",)
