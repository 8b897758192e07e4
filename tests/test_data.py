"""Finding data sets in the right order, the cache that cannot be caught half-written, and the splits."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

from harness import data
from harness.data import DATASETS, Dataset, find, make_split, open_cached
from harness.errors import UserError
from harness.formats import CIFAR_BATCHES, IDX_FILES, DamageError, DatasetSpec

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASSES = ("ant", "bee", "cod")
SHAPE, N_TRAIN, N_TEST = (5, 3), 31, 7


def pixels(seed: int = 0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, size=(N_TRAIN + N_TEST, 15), dtype=np.uint8)
    return X, rng.integers(0, len(CLASSES), size=N_TRAIN + N_TEST, dtype=np.uint8)


def fingerprint(seed: int = 0) -> str:
    X, y = pixels(seed)
    return hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()


def files(seed: int = 0) -> dict[str, bytes]:
    X, y = pixels(seed)
    images = X.reshape(-1, *SHAPE)
    parts = (images[:N_TRAIN], y[:N_TRAIN], images[N_TRAIN:], y[N_TRAIN:])
    headers = (struct.pack(f">{1 + part.ndim}I", 0x800 + part.ndim, *part.shape) for part in parts)
    raw = (header + part.tobytes() for header, part in zip(headers, parts, strict=True))
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in zip(IDX_FILES, raw, strict=True)}


def put(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(seed).items():
        (folder / name).write_bytes(content)
    return folder


TINY = DatasetSpec("tiny", "idx", CLASSES, SHAPE, N_TRAIN, N_TEST, sha256=fingerprint())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    """An empty cache, no data folder, and a data set "tiny" that is published nowhere."""
    monkeypatch.setenv(data.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("ABLATION_BENCH_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(DATASETS, "tiny", TINY)
    return tmp_path / "cache"


@pytest.fixture
def publish(monkeypatch):
    """Publish files (path -> body) on a web server of this machine; returns its address and the paths asked for."""
    running = []

    def start(bodies: dict[str, bytes]) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                body = bodies.get(self.path.lstrip("/"), b"<html>not here</html>")
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def refused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def specify(monkeypatch, **changes) -> None:
    monkeypatch.setitem(DATASETS, "tiny", dataclasses.replace(TINY, **changes))


def leftovers(cache: pathlib.Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.name.startswith("tmp-")]


# ---------------------------------------------------------------------------------------------------- order of sources


@pytest.mark.parametrize("place", [".", "tiny"])
def test_the_named_folder_serves_and_is_reported(tmp_path, place, cache):
    found = find("tiny", put(tmp_path / "mine" / place).parents[0] if place == "tiny" else put(tmp_path / "mine"))
    X, y = pixels()
    np.testing.assert_array_equal(found.X, X)
    np.testing.assert_array_equal(found.y, y)
    assert found.source == f"folder {tmp_path / 'mine' / place}"
    assert found.warning is None
    assert found.fingerprint == fingerprint()[:16]
    assert (found.name, found.n_official_train, found.class_names, found.image_shape) == ("tiny", 31, CLASSES, SHAPE)
    assert found.folder.parent == cache
    assert leftovers(cache) == []


def test_the_arrays_are_read_only_memory_maps_of_uint8(tmp_path):
    found = find("tiny", put(tmp_path / "mine"))
    for array in (found.X, found.y):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_environment_names_a_folder_unless_the_argument_does(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATION_BENCH_DATA", str(put(tmp_path / "a")))
    assert find("tiny").source == f"folder {tmp_path / 'a'}"
    assert find("tiny", put(tmp_path / "b")).source == f"folder {tmp_path / 'b'}"


def test_a_folder_that_does_not_exist_is_an_error_even_where_another_source_would_serve(tmp_path):
    find("tiny", put(tmp_path / "mine"))
    with pytest.raises(UserError, match="does not exist"):
        find("tiny", tmp_path / "typo")


def test_a_folder_without_this_data_set_falls_through_to_the_cache(tmp_path, cache):
    find("tiny", put(tmp_path / "mine"))
    (tmp_path / "other").mkdir()
    found = find("tiny", tmp_path / "other")
    assert found.source == f"cache {cache / 'tiny-official'} (folder {tmp_path / 'mine'})"
    np.testing.assert_array_equal(found.X, pixels()[0])


def test_damage_in_the_named_folder_is_an_error_and_no_fall_through(tmp_path):
    find("tiny", put(tmp_path / "good"))
    path = put(tmp_path / "bad") / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=rf"{path}: truncated"):
        find("tiny", tmp_path / "bad")


def test_other_pixels_in_the_named_folder_are_used_with_a_warning_that_gives_their_fingerprint(tmp_path):
    found = find("tiny", put(tmp_path / "mine", seed=1))
    np.testing.assert_array_equal(found.X, pixels(1)[0])
    assert found.warning == f"tiny: not the official pixels (fingerprint {fingerprint(1)[:16]})"


def test_other_pixels_and_official_ones_are_never_mixed(tmp_path, monkeypatch):
    specify(monkeypatch, system_folders=(str(put(tmp_path / "system")),))
    for _ in range(2):
        assert find("tiny", put(tmp_path / "mine", seed=1)).fingerprint == fingerprint(1)[:16]
        found = find("tiny")
        assert (found.fingerprint, found.warning) == (fingerprint(0)[:16], None)


def test_a_system_folder_serves_after_the_cache_and_before_the_web(tmp_path, monkeypatch, publish):
    address, asked = publish(files())
    specify(monkeypatch, system_folders=("/nowhere/at/all", str(put(tmp_path / "system"))), addresses=(address,))
    assert find("tiny").source == f"folder {tmp_path / 'system'}"
    assert find("tiny").source.startswith("cache ")
    assert asked == []


def test_a_damaged_system_folder_is_passed_over(tmp_path, monkeypatch, publish):
    address, _ = publish(files())
    (put(tmp_path / "system") / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    specify(monkeypatch, system_folders=(str(tmp_path / "system"),), addresses=(address,))
    assert find("tiny").source == f"fetched from {address}"


def test_a_download_is_kept_decoded_so_that_it_happens_once(monkeypatch, publish, cache):
    address, asked = publish(files())
    specify(monkeypatch, addresses=(address,))
    found = find("tiny")
    assert found.source == f"fetched from {address}"
    assert found.warning is None
    np.testing.assert_array_equal(found.y, pixels()[1])
    assert find("tiny").source == f"cache {cache / 'tiny-official'} (fetched from {address})"
    assert asked == [f"/{name}" for name in files()]
    assert sorted(path.name for path in cache.iterdir()) == ["tiny-official"]


BAD_DOWNLOADS = {
    "a web page": ({}, "a web page came instead of train-images-idx3-ubyte.gz"),
    "other pixels": (files(1), "discarded, not the official pixels"),
    "damage": (
        {**files(), "t10k-labels-idx1-ubyte.gz": files()["t10k-labels-idx1-ubyte.gz"][:-5]},
        "discarded, t10k-labels-idx1-ubyte.gz: truncated",
    ),
}


@pytest.mark.parametrize("kind", sorted(BAD_DOWNLOADS))
def test_a_bad_download_is_discarded_and_the_next_address_tried(monkeypatch, publish, cache, kind):
    bodies, why = BAD_DOWNLOADS[kind]
    bad, _ = publish(bodies)
    good, _ = publish(files())
    specify(monkeypatch, addresses=(bad,))
    with pytest.raises(UserError, match=f"{bad}: {why}"):
        find("tiny")
    assert list(cache.iterdir()) == []
    specify(monkeypatch, addresses=(refused_address(), bad, good))
    assert find("tiny").source == f"fetched from {good}"


def test_when_all_sources_fail_one_line_lists_them_with_reasons_and_says_what_to_do(tmp_path, monkeypatch, publish):
    page, _ = publish({})
    nowhere = refused_address()
    specify(
        monkeypatch,
        system_folders=(str(tmp_path / "system"),),
        addresses=(nowhere, page),
        debian_package="dataset-of-nobody",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError) as caught:
        find("tiny", tmp_path / "mine")
    assert str(caught.value) == (
        f"tiny was not found: {tmp_path / 'mine'}: not there; cache {tmp_path / 'cache'}: not there; "
        f"{tmp_path / 'system'}: not there; {nowhere}: connection refused; "
        f"{page}: a web page came instead of train-images-idx3-ubyte.gz; "
        "apt-get download dataset-of-nobody: apt-get is not on this machine. What to do: "
        f"put {', '.join(files())} into a folder and name it with --data-dir or ABLATION_BENCH_DATA, "
        "or install the Debian package dataset-of-nobody"
    )


def test_an_unknown_data_set_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown data set 'fashion-minst' \(did you mean 'fashion-mnist'\?\)"):
        find("fashion-minst")


def cifar_archive(seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in CIFAR_BATCHES:
            records = np.column_stack([rng.integers(0, 3, 6), rng.integers(0, 256, (6, 12))]).astype(np.uint8)
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    return gzip.compress(buffer.getvalue(), mtime=0)


def test_a_cifar_archive_is_official_by_its_md5_and_used_with_a_warning_otherwise(tmp_path, monkeypatch, publish):
    right, wrong = cifar_archive(0), cifar_archive(1)
    address, _ = publish({"cifar-10-binary.tar.gz": right})
    elsewhere, _ = publish({"cifar-10-binary.tar.gz": wrong})
    md5 = hashlib.md5(right).hexdigest()
    spec = DatasetSpec("tiny", "cifar", CLASSES, (3, 2, 2), 30, 6, archive_md5=md5, addresses=(elsewhere, address))
    monkeypatch.setitem(DATASETS, "tiny", spec)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cifar-10-binary.tar.gz").write_bytes(wrong)
    found = find("tiny", tmp_path / "mine")
    assert found.X.shape == (36, 12)
    assert found.warning.startswith("tiny: not the official archive")
    assert f"(fingerprint {found.fingerprint})" in found.warning
    official = find("tiny")
    assert official.source == f"fetched from {address}"
    assert official.warning is None
    assert official.fingerprint != found.fingerprint
    assert find("tiny").source.startswith("cache ")
    assert find("tiny", tmp_path / "mine").warning == found.warning


# ---------------------------------------------------------------------------------------------------- cache


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(tmp_path):
    path = put(tmp_path / "mine") / "train-images-idx3-ubyte.gz"
    find("tiny", tmp_path / "mine")
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(find("tiny", tmp_path / "mine").X, pixels()[0])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(DamageError):
        find("tiny", tmp_path / "mine")


def test_replaced_files_are_noticed(tmp_path):
    find("tiny", put(tmp_path / "mine", seed=0))
    assert find("tiny", put(tmp_path / "mine", seed=1)).fingerprint == fingerprint(1)[:16]


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
    put(tmp_path / "mine")
    entry = find("tiny", tmp_path / "mine").folder
    CACHE_DAMAGE[damage](entry)
    found = find("tiny", tmp_path / "mine")
    np.testing.assert_array_equal(found.X, pixels()[0])
    np.testing.assert_array_equal(found.y, pixels()[1])
    np.testing.assert_array_equal(open_cached(entry).X, pixels()[0])
    assert not (tmp_path / "exploded").exists()
    assert leftovers(entry.parent) == []


@pytest.mark.parametrize("damage", ["cut off", "no meta", "a pickle", "an object array", "other type", "other shape"])
def test_a_worker_that_meets_a_damaged_entry_says_so(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    entry = find("tiny", put(tmp_path / "mine")).folder
    CACHE_DAMAGE[damage](entry)
    with pytest.raises(UserError, match="missing or damaged"):
        open_cached(entry)
    assert not (tmp_path / "exploded").exists()


def test_a_damaged_entry_without_another_source_is_reported_as_damaged(tmp_path):
    entry = find("tiny", put(tmp_path / "mine")).folder
    CACHE_DAMAGE["cut off"](entry)
    with pytest.raises(UserError, match=r"cache \S+: damaged"):
        find("tiny")


def test_a_copied_cache_serves_after_one_look_at_its_bytes(tmp_path, monkeypatch, cache):
    find("tiny", put(tmp_path / "mine"))
    shutil.copytree(cache, tmp_path / "copy", copy_function=shutil.copy)
    monkeypatch.setenv(data.CACHE_VARIABLE, str(tmp_path / "copy"))
    for _ in range(2):
        assert find("tiny").folder == tmp_path / "copy" / "tiny-official"
    stamps = json.loads((tmp_path / "copy" / "tiny-official" / "meta.json").read_text())["stamps"]
    assert stamps[0][1] == (tmp_path / "copy" / "tiny-official" / "X.npy").stat().st_mtime_ns


def test_a_cache_that_cannot_be_written_is_one_line_that_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(data.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot write to the cache folder .*; set ABLATION_BENCH_CACHE to") as caught:
        find("tiny", put(tmp_path / "mine"))
    assert "\n" not in str(caught.value)


SPECIFY = f"""
import pathlib, resource, signal, sys
from harness import data
from harness.formats import DatasetSpec
data.DATASETS["tiny"] = DatasetSpec("tiny", "idx", {CLASSES}, {SHAPE}, {N_TRAIN}, {N_TEST}, sha256="{fingerprint()}")
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
    process = start(code, str(put(tmp_path / "mine")))
    assert "cannot write to the cache folder" in process.communicate()[0]
    assert process.returncode == 0
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("state", ["empty", "damaged"])
def test_processes_that_find_the_same_data_at_once_do_not_disturb_each_other(tmp_path, state):
    mine = put(tmp_path / "mine")
    code = "import os, time\n"
    code += "for k in range(12):\n"
    code += "    os.environ[data.CACHE_VARIABLE] = f'{sys.argv[2]}-{k}'\n"
    code += "    while time.time() < float(sys.argv[3]) + 0.03 * k: pass\n"
    code += "    found = data.find('tiny', mine)\n"
    code += "    assert data.digest(found.X, found.y)[:16] == found.fingerprint, found\n"
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
    find("tiny", put(tmp_path / "mine"))
    assert leftovers(cache) == ["tmp-new"]


def test_a_data_set_pickles_as_the_path_of_its_cache_entry(tmp_path):
    found = find("tiny", put(tmp_path / "mine"))
    pickled = pickle.dumps(found)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert isinstance(again.X, np.memmap)
    np.testing.assert_array_equal(again.X, found.X)
    for field in dataclasses.fields(Dataset):
        if field.name not in ("X", "y"):
            assert getattr(again, field.name) == getattr(found, field.name)


def test_importing_the_module_is_light():
    heavy = "{'pooch', 'requests', 'urllib.request', 'http.client', 'rich', 'pandas', 'numba', 'ssl'}"
    process = start(f"print(sorted({heavy} & set(sys.modules)))", ".")
    assert process.communicate()[0] == "[]\n"


@pytest.mark.long
def test_fashion_mnist_is_found_without_help_and_then_again_at_once():
    found = find("fashion-mnist")
    assert found.X.shape == (70_000, 784)
    assert np.bincount(found.y[:60_000]).tolist() == [6000] * 10
    assert (found.fingerprint, found.warning) == ("2cbc59191665e1ba", None)
    began = time.perf_counter()
    again = find("fashion-mnist")
    assert time.perf_counter() - began < 0.05
    assert again.source.startswith("cache ")
    split = make_split(again)
    assert [len(part) for part in (split.train, split.val, split.test)] == [56_000, 7_000, 7_000]


# ---------------------------------------------------------------------------------------------------- splits


def labelled(counts: list[int], n_official_train: int, seed: int = 0) -> Dataset:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    names = tuple(f"class {k}" for k in range(len(counts)))
    X = np.zeros((len(y), 1), dtype=np.uint8)
    return Dataset("labelled", X, y, n_official_train, names, (1, 1), "0" * 16, "made here", None, pathlib.Path("."))


SEVEN_HUNDRED = labelled([70] * 10, 600)


@pytest.mark.parametrize("kind", ["80/10/10", "official"])
@pytest.mark.parametrize("counts", [[70] * 10, [1, 9, 10, 11, 94, 333]])
def test_the_parts_are_disjoint_and_together_are_all_images(kind, counts):
    dataset = labelled(counts, sum(counts) * 6 // 7)
    split = make_split(dataset, kind, seed=3)
    parts = [split.train, split.val, split.test]
    assert all(part.dtype == np.int64 and part.ndim == 1 for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(sum(counts)))


def test_the_default_split_takes_a_tenth_of_each_class_for_validation_and_a_tenth_for_the_test():
    split = make_split(SEVEN_HUNDRED)
    for part, of_each_class in ((split.train, 56), (split.val, 7), (split.test, 7)):
        np.testing.assert_array_equal(np.bincount(SEVEN_HUNDRED.y[part]), [of_each_class] * 10)


def test_classes_whose_size_is_no_multiple_of_ten_are_rounded_to_the_nearest_image():
    counts = np.array([1, 9, 10, 11, 94, 333])
    dataset = labelled(counts.tolist(), 400)
    split = make_split(dataset)
    for part in (split.val, split.test):
        np.testing.assert_array_equal(np.bincount(dataset.y[part], minlength=6), [0, 1, 1, 1, 9, 33])


def test_the_official_split_tests_on_the_published_test_set_whatever_the_seed():
    for seed in range(3):
        split = make_split(SEVEN_HUNDRED, "official", seed)
        np.testing.assert_array_equal(np.sort(split.test), np.arange(600, 700))
        for label in range(10):
            in_train = np.count_nonzero(SEVEN_HUNDRED.y[:600] == label)
            assert np.count_nonzero(SEVEN_HUNDRED.y[split.val] == label) == (in_train + 5) // 10


@pytest.mark.parametrize("kind", ["80/10/10", "official"])
def test_the_split_depends_on_the_seed_alone(kind):
    first = make_split(SEVEN_HUNDRED, kind, seed=5)
    np.random.default_rng(0).random(10)
    again = make_split(SEVEN_HUNDRED, kind, seed=5)
    other = make_split(SEVEN_HUNDRED, kind, seed=6)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert not np.array_equal(getattr(first, part), getattr(other, part))


@pytest.mark.parametrize("kind", ["80/10/10", "official"])
def test_every_part_is_shuffled_over_the_classes(kind):
    split = make_split(SEVEN_HUNDRED, kind)
    for part in (split.train, split.val, split.test):
        assert np.any(np.diff(part) < 0)
        assert len(set(SEVEN_HUNDRED.y[part[:20]].tolist())) > 4


def test_the_split_of_seed_0_stays_what_it_was_when_tables_were_made():
    split = make_split(SEVEN_HUNDRED)
    assert hashlib.sha256(split.train.astype("<i8").tobytes()).hexdigest()[:16] == "0229d36431e73f2c"


@pytest.mark.parametrize("kind", ["80/10/10", "official"])
@pytest.mark.parametrize("limit", [1, 97])
def test_a_limit_keeps_the_first_training_images_and_leaves_the_rest_whole(kind, limit):
    whole, limited = make_split(SEVEN_HUNDRED, kind), make_split(SEVEN_HUNDRED, kind, limit=limit)
    np.testing.assert_array_equal(limited.train, whole.train[:limit])
    np.testing.assert_array_equal(limited.val, whole.val)
    np.testing.assert_array_equal(limited.test, whole.test)


def test_a_limit_of_the_whole_training_part_is_allowed_and_one_more_is_not():
    assert len(make_split(SEVEN_HUNDRED, limit=560).train) == 560
    with pytest.raises(UserError, match=r"limit 561 is not allowed: the training part has 560 images, so 1\.\.560"):
        make_split(SEVEN_HUNDRED, limit=561)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(UserError, match=f"limit {limit} is not allowed"):
        make_split(SEVEN_HUNDRED, limit=limit)


def test_an_unknown_split_and_a_negative_seed_are_refused():
    with pytest.raises(UserError, match=r"unknown split 'oficial' .did you mean 'official'"):
        make_split(SEVEN_HUNDRED, "oficial")
    with pytest.raises(UserError, match="split seed -1"):
        make_split(SEVEN_HUNDRED, seed=-1)
