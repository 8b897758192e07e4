"""Finding data sets in the right order, and the splits."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import pathlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from datafiles import (
    CIFAR,
    CLASSES,
    TINY,
    cifar_members,
    empty_cache,
    fingerprint,
    idx_files,
    leftovers,
    pixels_and_labels,
    tar_bytes,
    write_idx,
)

from harness.cache import Dataset
from harness.data import DATASETS, find, make_split
from harness.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    return empty_cache(tmp_path, monkeypatch)


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


# ---------------------------------------------------------------------------------------------------- order of sources


@pytest.mark.parametrize("place", [".", "tiny"])
def test_the_named_folder_serves_and_is_reported(tmp_path, place, cache):
    write_idx(tmp_path / "mine" / place)
    found = find("tiny", tmp_path / "mine")
    X, y = pixels_and_labels()
    np.testing.assert_array_equal(found.X, X)
    np.testing.assert_array_equal(found.y, y)
    assert found.source == f"folder {tmp_path / 'mine' / place}"
    assert found.warning is None
    assert found.fingerprint == fingerprint()[:16]
    assert (found.name, found.n_official_train, found.class_names, found.image_shape) == ("tiny", 31, CLASSES, (5, 3))
    assert found.folder.parent == cache
    assert leftovers(cache) == []


def test_the_arrays_are_read_only_memory_maps_of_uint8(tmp_path):
    found = find("tiny", write_idx(tmp_path / "mine"))
    for array in (found.X, found.y):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_environment_names_a_folder_unless_the_argument_does(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATION_BENCH_DATA", str(write_idx(tmp_path / "a")))
    assert find("tiny").source == f"folder {tmp_path / 'a'}"
    assert find("tiny", write_idx(tmp_path / "b")).source == f"folder {tmp_path / 'b'}"


def test_a_folder_that_does_not_exist_is_an_error_even_where_another_source_would_serve(tmp_path):
    find("tiny", write_idx(tmp_path / "mine"))
    with pytest.raises(UserError, match="does not exist"):
        find("tiny", tmp_path / "typo")


def test_a_folder_without_this_data_set_falls_through_to_the_cache(tmp_path, cache):
    find("tiny", write_idx(tmp_path / "mine"))
    (tmp_path / "other").mkdir()
    found = find("tiny", tmp_path / "other")
    assert found.source == f"cache {cache / 'tiny-official'} (folder {tmp_path / 'mine'})"
    np.testing.assert_array_equal(found.X, pixels_and_labels()[0])


def test_damage_in_the_named_folder_is_an_error_and_no_fall_through(tmp_path):
    find("tiny", write_idx(tmp_path / "good"))
    path = write_idx(tmp_path / "bad") / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=rf"{path}: truncated"):
        find("tiny", tmp_path / "bad")


def test_other_pixels_in_the_named_folder_are_used_with_a_warning_that_gives_their_fingerprint(tmp_path):
    found = find("tiny", write_idx(tmp_path / "mine", seed=1))
    np.testing.assert_array_equal(found.X, pixels_and_labels(seed=1)[0])
    assert found.warning == f"tiny: not the official pixels (fingerprint {fingerprint(1)[:16]})"


def test_other_pixels_and_official_ones_are_never_mixed(tmp_path, monkeypatch):
    specify(monkeypatch, system_folders=(str(write_idx(tmp_path / "system")),))
    for _ in range(2):
        assert find("tiny", write_idx(tmp_path / "mine", seed=1)).fingerprint == fingerprint(1)[:16]
        found = find("tiny")
        assert (found.fingerprint, found.warning) == (fingerprint(0)[:16], None)


def test_a_system_folder_serves_after_the_cache_and_before_the_web(tmp_path, monkeypatch, publish):
    address, asked = publish(idx_files())
    specify(monkeypatch, system_folders=("/nowhere/at/all", str(write_idx(tmp_path / "system"))), addresses=(address,))
    assert find("tiny").source == f"folder {tmp_path / 'system'}"
    assert find("tiny").source.startswith("cache ")
    assert asked == []


def test_a_damaged_system_folder_is_passed_over(tmp_path, monkeypatch, publish):
    address, _ = publish(idx_files())
    (write_idx(tmp_path / "system") / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    specify(monkeypatch, system_folders=(str(tmp_path / "system"),), addresses=(address,))
    assert find("tiny").source == f"fetched from {address}"


def test_a_download_is_kept_decoded_so_that_it_happens_once(monkeypatch, publish, cache):
    address, asked = publish(idx_files())
    specify(monkeypatch, addresses=(address,))
    found = find("tiny")
    assert found.source == f"fetched from {address}"
    assert found.warning is None
    np.testing.assert_array_equal(found.y, pixels_and_labels()[1])
    assert find("tiny").source == f"cache {cache / 'tiny-official'} (fetched from {address})"
    assert asked == [f"/{name}" for name in idx_files()]
    assert sorted(path.name for path in cache.iterdir()) == ["tiny-official"]


BAD_DOWNLOADS = {
    "a web page": ({}, "a web page came instead of train-images-idx3-ubyte.gz"),
    "other pixels": (idx_files(seed=1), "discarded, not the official pixels"),
    "damage": (
        {**idx_files(), "t10k-labels-idx1-ubyte.gz": idx_files()["t10k-labels-idx1-ubyte.gz"][:-5]},
        "discarded, t10k-labels-idx1-ubyte.gz: truncated",
    ),
}


@pytest.mark.parametrize("kind", sorted(BAD_DOWNLOADS))
def test_a_bad_download_is_discarded_and_the_next_address_tried(monkeypatch, publish, cache, kind):
    bodies, why = BAD_DOWNLOADS[kind]
    bad, _ = publish(bodies)
    good, _ = publish(idx_files())
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
        f"put {', '.join(idx_files())} into a folder and name it with --data-dir or ABLATION_BENCH_DATA, "
        "or install the Debian package dataset-of-nobody"
    )


def test_an_unknown_data_set_is_an_error_with_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown data set 'fashion-minst' \(did you mean 'fashion-mnist'\?\)"):
        find("fashion-minst")


def test_a_cifar_archive_is_official_by_its_md5_and_used_with_a_warning_otherwise(tmp_path, monkeypatch, publish):
    right, wrong = (gzip.compress(tar_bytes(cifar_members(seed=seed)[0])) for seed in (0, 1))
    address, _ = publish({"cifar-10-binary.tar.gz": right})
    elsewhere, _ = publish({"cifar-10-binary.tar.gz": wrong})
    md5 = hashlib.md5(right).hexdigest()
    spec = dataclasses.replace(CIFAR, archive_md5=md5, addresses=(elsewhere, address))
    monkeypatch.setitem(DATASETS, "tiny", spec)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cifar-10-binary.tar.gz").write_bytes(wrong)
    found = find("tiny", tmp_path / "mine")
    assert found.X.shape == (44, 18)
    assert found.warning.startswith("tiny: not the official archive")
    assert f"(fingerprint {found.fingerprint})" in found.warning
    official = find("tiny")
    assert official.source == f"fetched from {address}"
    assert official.warning is None
    assert official.fingerprint != found.fingerprint
    assert find("tiny").source.startswith("cache ")
    assert find("tiny", tmp_path / "mine").warning == found.warning


def test_importing_the_module_is_light():
    heavy = "{'pooch', 'requests', 'urllib.request', 'http.client', 'rich', 'pandas', 'numba', 'ssl'}"
    code = f"import sys, harness.data; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


@pytest.mark.long
def test_fashion_mnist_is_found_without_help_and_then_again_at_once():
    found = find("fashion-mnist")
    assert found.X.shape == (70_000, 784)
    assert np.bincount(found.y[:60_000]).tolist() == [6000] * 10
    assert (found.fingerprint, found.warning) == ("2cbc59191665e1ba", None)
    began = time.perf_counter()
    again = find("fashion-mnist")
    assert time.perf_counter() - began < 0.5
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
