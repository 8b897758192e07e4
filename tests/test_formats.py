"""What all layouts share: finding files in a folder, and knowing whether contents are the official ones."""

from __future__ import annotations

import dataclasses

import pytest
from datafiles import CIFAR, IDX, pixels_and_labels, write_idx

from harness.cifar import CIFAR_BATCHES
from harness.formats import DamageError, decode, digest, locate


def test_a_recompressed_copy_of_the_official_files_is_official(tmp_path):
    write_idx(tmp_path / "a", level=1)
    write_idx(tmp_path / "b", level=9)
    official = dataclasses.replace(IDX, sha256=digest(*pixels_and_labels()))
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert decode(official, locate(official, folder)).doubt is None


def test_valid_files_with_other_pixels_are_doubted(tmp_path):
    official = dataclasses.replace(IDX, sha256=digest(*pixels_and_labels(IDX, seed=0)))
    write_idx(tmp_path, seed=1)
    assert decode(official, locate(official, tmp_path)).doubt == "not the official pixels"


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
