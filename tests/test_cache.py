"""The cache of decoded data: it cannot be caught half-written, and damage to it does no harm."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from datafiles import CLASSES, IDX, empty_cache, fingerprint, leftovers, pixels_and_labels, write_idx

from harness.cache import CACHE_VARIABLE, Dataset, open_cached
from harness.data import find
from harness.errors import UserError
from harness.formats import DamageError

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    return empty_cache(tmp_path, monkeypatch)


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(tmp_path):
    path = write_idx(tmp_path / "mine") / "train-images-idx3-ubyte.gz"
    find("tiny", tmp_path / "mine")
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(find("tiny", tmp_path / "mine").X, pixels_and_labels()[0])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(DamageError):
        find("tiny", tmp_path / "mine")


def test_replaced_files_are_noticed(tmp_path):
    find("tiny", write_idx(tmp_path / "mine", seed=0))
    assert find("tiny", write_idx(tmp_path / "mine", seed=1)).fingerprint == fingerprint(1)[:16]


def flip_a_byte(entry: pathlib.Path) -> None:
    with (entry / "X.npy").open("r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def put_a_pickle(entry: pathlib.Path) -> None:
    (entry / "y.npy").write_bytes(pickle.dumps(Bomb()))


def put_an_object_array(entry: pathlib.Path) -> None:
    np.save(entry / "y.npy", np.array([Bomb()] * 38), allow_pickle=True)


CACHE_DAMAGE = {
    "cut off": lambda entry: os.truncate(entry / "X.npy", 300),
    "a byte": flip_a_byte,
    "no labels": lambda entry: (entry / "y.npy").unlink(),
    "no meta": lambda entry: (entry / "meta.json").unlink(),
    "empty meta": lambda entry: (entry / "meta.json").write_text("{}"),
    "half a meta": lambda entry: os.truncate(entry / "meta.json", 40),
    "meta of a list": lambda entry: (entry / "meta.json").write_text("[]"),
    "other version": lambda entry: (entry / "meta.json").write_text('{"format": 0}'),
    "other type": lambda entry: np.save(entry / "y.npy", np.zeros(38, np.int16)),
    "other shape": lambda entry: np.save(entry / "X.npy", np.zeros((37, 15), np.uint8)),
    "a pickle": put_a_pickle,
    "an object array": put_an_object_array,
    "an empty folder": lambda entry: (shutil.rmtree(entry), entry.mkdir()),
}


@pytest.mark.parametrize("damage", sorted(CACHE_DAMAGE))
def test_a_damaged_cache_entry_is_rebuilt_in_silence(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "mine")
    entry = find("tiny", tmp_path / "mine").folder
    CACHE_DAMAGE[damage](entry)
    found = find("tiny", tmp_path / "mine")
    np.testing.assert_array_equal(found.X, pixels_and_labels()[0])
    np.testing.assert_array_equal(found.y, pixels_and_labels()[1])
    np.testing.assert_array_equal(open_cached(entry).X, pixels_and_labels()[0])
    assert not (tmp_path / "exploded").exists()
    assert leftovers(entry.parent) == []


@pytest.mark.parametrize("damage", ["cut off", "no meta", "a pickle", "an object array", "other type", "other shape"])
def test_a_worker_that_meets_a_damaged_entry_says_so(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    entry = find("tiny", write_idx(tmp_path / "mine")).folder
    CACHE_DAMAGE[damage](entry)
    with pytest.raises(UserError, match="missing or damaged"):
        open_cached(entry)
    assert not (tmp_path / "exploded").exists()


def test_a_damaged_entry_without_another_source_is_reported_as_damaged(tmp_path):
    entry = find("tiny", write_idx(tmp_path / "mine")).folder
    CACHE_DAMAGE["cut off"](entry)
    with pytest.raises(UserError, match=r"cache \S+: damaged"):
        find("tiny")


def test_a_copied_cache_serves_after_one_look_at_its_bytes(tmp_path, monkeypatch, cache):
    find("tiny", write_idx(tmp_path / "mine"))
    shutil.copytree(cache, tmp_path / "copy", copy_function=shutil.copy)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "copy"))
    for _ in range(2):
        assert find("tiny").folder == tmp_path / "copy" / "tiny-official"
    stamps = json.loads((tmp_path / "copy" / "tiny-official" / "meta.json").read_text())["stamps"]
    assert stamps[0][1] == (tmp_path / "copy" / "tiny-official" / "X.npy").stat().st_mtime_ns


def test_a_cache_that_cannot_be_written_is_one_line_that_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot write to the cache folder .*; set ABLATION_BENCH_CACHE to") as caught:
        find("tiny", write_idx(tmp_path / "mine"))
    assert "\n" not in str(caught.value)


SPECIFY = f"""
import pathlib, resource, signal, sys
from harness import cache, data, idx
from harness.formats import DatasetSpec, digest
data.DATASETS["tiny"] = DatasetSpec(
    "tiny", idx.LAYOUT, {CLASSES}, {IDX.image_shape}, {IDX.n_train}, {IDX.n_test}, sha256="{fingerprint()}"
)
mine = pathlib.Path(sys.argv[1])
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SPECIFY + code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, cache):
    code = "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
    code += "try: data.find('tiny', mine)\nexcept data.UserError as error: print(error)"
    process = start(code, str(write_idx(tmp_path / "mine")))
    assert "cannot write to the cache folder" in process.communicate()[0]
    assert process.returncode == 0
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("state", ["empty", "damaged"])
def test_processes_that_find_the_same_data_at_once_do_not_disturb_each_other(tmp_path, state):
    mine = write_idx(tmp_path / "mine")
    code = "import os, time\n"
    code += "for k in range(12):\n"
    code += "    os.environ[cache.CACHE_VARIABLE] = f'{sys.argv[2]}-{k}'\n"
    code += "    while time.time() < float(sys.argv[3]) + 0.03 * k: pass\n"
    code += "    found = data.find('tiny', mine)\n"
    code += "    assert digest(found.X, found.y)[:16] == found.fingerprint, found\n"
    caches = [tmp_path / f"shared-{k}" for k in range(12)]
    if state == "damaged":
        entry = find("tiny", mine).folder
        CACHE_DAMAGE["cut off"](entry)
        for folder in caches:
            shutil.copytree(entry.parent, folder)
    begin = str(time.time() + 0.4)
    for process in [start(code, str(mine), str(tmp_path / "shared"), begin) for _ in range(3)]:
        assert process.communicate()[0] == ""
        assert process.returncode == 0
    for folder in caches:
        assert sorted(path.name for path in folder.iterdir()) == ["sources", "tiny-official"]
        assert sorted(path.name for path in (folder / "tiny-official").iterdir()) == ["X.npy", "meta.json", "y.npy"]


def test_what_a_killed_process_left_behind_is_swept_away_after_a_day(tmp_path, cache):
    for name, age_seconds in (("tmp-old", 2 * 24 * 3600), ("tmp-new", 60)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age_seconds,) * 2)
    find("tiny", write_idx(tmp_path / "mine"))
    assert leftovers(cache) == ["tmp-new"]


def test_a_data_set_pickles_as_the_path_of_its_cache_entry(tmp_path):
    found = find("tiny", write_idx(tmp_path / "mine"))
    pickled = pickle.dumps(found)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert isinstance(again.X, np.memmap)
    np.testing.assert_array_equal(again.X, found.X)
    for field in dataclasses.fields(Dataset):
        if field.name not in ("X", "y"):
            assert getattr(again, field.name) == getattr(found, field.name)
