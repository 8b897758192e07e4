"""What a worker on another machine does: find or take in data, and forget what another study registered."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import ROOT

from harness import cache, remote
from harness.errors import UserError
from harness.extensions import load_extensions
from harness.muster import pieces
from kernels.activations import ACTIVATIONS

OWN = """
from kernels.activations import Activation, register
register(Activation("own", lambda z: {factor} * z, lambda z, a: {factor} + 0.0 * z))
"""


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Another machine: an empty cache, and no folder of data."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    monkeypatch.delenv("ABLATION_BENCH_DATA", raising=False)
    return tmp_path / "elsewhere"


def test_data_in_the_cache_are_found_by_their_pixels(small):
    assert remote.find_data(small.name, small.fingerprint)
    assert not remote.find_data(small.name, "0" * 16)


def test_data_in_a_folder_of_the_worker_are_found(small, elsewhere, monkeypatch, small_data):
    assert not remote.find_data(small.name, small.fingerprint)
    monkeypatch.setenv("ABLATION_BENCH_DATA", str(small_data))
    assert remote.find_data(small.name, small.fingerprint)
    assert not remote.find_data(small.name, "0" * 16)


@pytest.mark.parametrize("folder", ["does not exist", ""])
def test_a_folder_that_is_not_there_is_no_trouble(small, elsewhere, monkeypatch, folder):
    monkeypatch.setenv("ABLATION_BENCH_DATA", folder)
    assert not remote.find_data(small.name, small.fingerprint)


def test_data_that_were_sent_are_the_same(small, elsewhere):
    sent = list(pieces(small))
    assert remote.keep_data(small.name, small.fingerprint, small.folder.name, sent)
    kept = cache.open_cached(elsewhere / small.folder.name)
    assert (kept.X == small.X).all()
    assert (kept.y == small.y).all()
    assert kept.class_names == small.class_names
    assert remote.keep_data(small.name, small.fingerprint, small.folder.name, sent)  # again, or by another worker
    (elsewhere / small.folder.name / "X.npy").write_bytes(b"rubbish")
    assert not remote.find_data(small.name, small.fingerprint)
    assert remote.keep_data(small.name, small.fingerprint, small.folder.name, sent)
    assert [path.name for path in elsewhere.iterdir()] == [small.folder.name]


def test_data_that_arrive_otherwise_are_not_kept(small, elsewhere):
    good = list(pieces(small))
    flipped = [(name, piece[:-1] + bytes([piece[-1] ^ 1]) if name == "X.npy" else piece) for name, piece in good]
    short = [(name, piece[:-9] if name == "y.npy" else piece) for name, piece in good]
    for bad in (flipped, short, good[:-1]):
        with pytest.raises(UserError, match="fashion-mnist did not arrive as it was sent"):
            remote.keep_data(small.name, small.fingerprint, small.folder.name, bad)
    with pytest.raises(UserError, match="is no file of a data set"):
        remote.keep_data(small.name, small.fingerprint, small.folder.name, [("../escape", b"x")])
    with pytest.raises(UserError, match="did not arrive as it was sent"):
        remote.keep_data(small.name, "0" * 16, small.folder.name, good)
    assert list(elsewhere.iterdir()) == []
    assert not remote.find_data(small.name, small.fingerprint)


def test_a_name_with_a_path_stays_in_the_cache(small, elsewhere):
    assert remote.keep_data(small.name, small.fingerprint, f"../../{small.folder.name}", list(pieces(small)))
    assert [path.name for path in elsewhere.iterdir()] == [small.folder.name]


def test_extensions_of_another_study_are_forgotten(elsewhere):
    built_in = dict(ACTIVATIONS)
    keys = []
    for factor in (2, 3, 2):
        load_extensions(remote._written((("own.py", OWN.format(factor=factor).encode()),)))
        keys.append(ACTIVATIONS["own"].key)
    assert keys[0] == keys[2] != keys[1]
    assert remote._written(()) == ()
    assert built_in == ACTIVATIONS
    remote._loaded.clear()


def test_extensions_are_written_as_they_were_sent_and_damaged_ones_again(elsewhere):
    sent = (("a.py", b"# one\n"), ("a.py", b"# two\n"))
    paths = remote._written(sent)
    assert [path.read_bytes() for path in paths] == [b"# one\n", b"# two\n"]
    paths[0].write_bytes(b"")
    assert [path.read_bytes() for path in remote._written(sent)] == [b"# one\n", b"# two\n"]
    remote._loaded.clear()


def test_all_processes_call_a_cache_by_the_same_name(elsewhere):
    code = "from harness.remote import _cache_name; print(_cache_name())"

    def ask(_: int) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(3) as threads:
        names = set(threads.map(ask, range(3)))
    assert names == {f"{remote._cache_name()}\n"}
    assert [path.name for path in elsewhere.iterdir()] == ["name"]


def test_a_cache_that_cannot_be_written_has_a_name_too(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "file"))
    assert remote._cache_name()
