"""Workers on their way to their first task: who is refused, and that each machine is made ready once, whoever dies."""

from __future__ import annotations

import dataclasses
from collections import deque
from functools import partial

import pytest

from harness import cache, remote
from harness.link import GoneError
from harness.muster import Muster, Needs, pieces, unfit

FACTS = remote.Facts(remote.versions(), "node", "a processor", "a site", 4, 1e9, dict.fromkeys(remote.THREADS, "1"))


def test_a_worker_like_this_process_is_fit():
    assert unfit(FACTS, 1) == ""
    here = remote.facts()
    assert here.versions == remote.versions()
    assert here.cores >= 1
    assert here.available_bytes > 0
    assert "-bit vectors" in here.cpu


@pytest.mark.parametrize("name", remote.versions())
def test_another_version_is_named(name):
    other = dataclasses.replace(FACTS, versions={**FACTS.versions, name: "0.1"})
    assert unfit(other, 1) == f" on node has {name} 0.1, this command {FACTS.versions[name]}: results could differ"
    missing = dataclasses.replace(FACTS, versions={k: v for k, v in FACTS.versions.items() if k != name})
    assert f"has {name} None" in unfit(missing, 1)


@pytest.mark.parametrize(
    ("answer", "threads", "words"),
    [
        (FACTS, 2, "runs 2 tasks at a time"),
        (dataclasses.replace(FACTS, threads={**FACTS.threads, "MKL_NUM_THREADS": ""}), 1, "without MKL_NUM_THREADS=1"),
        (ModuleNotFoundError("No module named 'harness'"), 1, "lacks a module (No module named 'harness')"),
        (RuntimeError("Error during deserialization of the task graph."), 1, "the scheduler cannot read the call"),
        (ValueError("two\nlines"), 1, "cannot be asked what it is: ValueError: two lines"),
    ],
)
def test_whoever_cannot_be_used_is_told_why_in_one_line(answer, threads, words):
    line = unfit(answer, threads)
    assert words in line
    assert "\n" not in line


class Here:
    """A link whose workers are all this process; each call is carried out when its turn comes."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.calls: deque = deque()
        self.log: list[tuple[str, str]] = []
        self.gone: set[str] = set()

    def call(self, worker, function, *arguments, then):
        self.calls.append((worker, function.__name__, partial(function, *arguments), then))

    def send(self, worker, objects, then):
        self.calls.append((worker, "send", lambda: objects, then))

    def turn(self) -> bool:
        """Carry out one call; whether there was one."""
        if not self.calls:
            return False
        worker, name, act, then = self.calls.popleft()
        self.log.append((worker, name))
        if worker in self.gone:
            then(GoneError())
            return True
        try:
            answer = act()
        except Exception as error:
            answer = error
        then(answer)
        return True


@pytest.fixture
def band(small, monkeypatch):
    """A muster of workers that say they are at the site that their name begins with; and what came of them."""
    link, ready, refused = Here(), [], []
    needs = Needs(small, [("relu", "cross_entropy", "sgd", "float32")], ())
    muster = Muster(lambda: link, needs, lambda worker, facts: ready.append(worker), refused.append)
    monkeypatch.setattr(remote, "facts", facts)
    monkeypatch.setattr(remote, "kernel_parts", kernel_parts)
    monkeypatch.setattr(remote, "compile_part", compile_part)
    return muster, link, ready, refused


def facts():
    return FACTS


def kernel_parts(kinds, extensions):
    return [(kind, (part,)) for kind in kinds for part in ("a", "b", "c")]


def compile_part(kind, key, extensions):
    assert key in {("a",), ("b",), ("c",)}


def drain(link: Here) -> None:
    while link.turn():
        pass


def test_a_site_is_made_ready_once_by_all_who_are_there(band):
    muster, link, ready, refused = band
    for worker in ("x", "y"):
        muster.join(worker, 1)
    assert not muster.idle
    assert "asking 2 workers" in muster.state()
    drain(link)
    assert (sorted(ready), refused) == (["x", "y"], [])
    assert muster.idle
    acts = [name for _, name in link.log]
    assert acts.count("find_data") == acts.count("kernel_parts") == 1
    assert acts.count("compile_part") == 3
    assert {worker for worker, name in link.log if name == "compile_part"} == {"x", "y"}
    muster.join("late", 1)
    drain(link)
    assert ready[-1] == "late"
    assert link.log[len(acts) :] == [("late", "resolve_name"), ("late", "facts")]


def test_data_that_are_not_there_are_sent_once(band, monkeypatch, tmp_path):
    muster, link, ready, _ = band
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "other"))  # where the workers look from here on
    monkeypatch.setenv("ABLATION_BENCH_DATA", "")
    for worker in ("x", "y"):
        muster.join(worker, 1)
    drain(link)
    assert sorted(ready) == ["x", "y"]
    assert [name for _, name in link.log].count("send") == 1
    assert (tmp_path / "other" / "fashion-mnist-official" / "X.npy").exists()


def test_data_that_cannot_be_put_there_rule_the_site_out(band, monkeypatch, tmp_path):
    muster, link, ready, refused = band
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "file"))
    monkeypatch.setenv("ABLATION_BENCH_DATA", "")
    muster.join("x", 1)
    drain(link)
    assert ready == []
    assert refused[0].startswith("worker x on node: the data set could not be put there: cannot write to the cache")


@pytest.mark.parametrize("after", range(8))
def test_whenever_the_first_worker_dies_the_next_one_goes_on(band, after):
    muster, link, ready, refused = band
    for worker in ("x", "y"):
        muster.join(worker, 1)
    for _ in range(after):
        link.turn()
    link.gone.add("x")
    muster.leave("x")
    drain(link)
    assert [worker for worker in ready if worker == "y"] == ["y"]
    assert refused == []
    assert muster.idle


def test_an_unfit_worker_is_refused_and_does_nothing(band):
    muster, link, ready, refused = band
    muster.join("x", 4)
    drain(link)
    assert ready == []
    assert refused == ["worker x on node runs 4 tasks at a time: start workers with --nthreads 1, one for each core"]
    assert link.log == [("x", "resolve_name"), ("x", "facts")]


def test_pieces_are_all_of_the_data(small):
    joined: dict[str, bytes] = {}
    for name, piece in pieces(small):
        joined[name] = joined.get(name, b"") + piece
    assert joined == {path.name: path.read_bytes() for path in small.folder.iterdir()}
