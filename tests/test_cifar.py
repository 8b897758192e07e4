"""CIFAR-10 archives and unpacked folders: what is read, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
from datafiles import CIFAR, CLASSES, cifar_members, flip, tar_bytes, write_archive

from harness.formats import DamageError, decode, locate


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


def test_the_archive_is_preferred_to_an_unpacked_folder_since_it_can_be_verified(tmp_path):
    members, _, _ = cifar_members()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name, content in members.items():
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(content)
    assert write_archive(tmp_path, b"") == (tmp_path / "cifar-10-binary.tar.gz",)
