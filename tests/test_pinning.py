"""Workers on cores of their own: no two on one, none where that helps nobody, and no harm where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processes import ROOT

from harness import pinning, runner

CODE = "import os; from harness.pinning import pin; print(pin({n}), sorted(os.sched_getaffinity(0))); input()"

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds nobody to cores")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def start(n: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE.format(n=n)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_processes_get_cores_of_their_own_and_those_too_many_stay_free():
    processes = [start(CORES) for _ in range(CORES + 1)]
    try:
        lines = [process.stdout.readline().split(maxsplit=1) for process in processes]
    finally:
        for process in processes:
            process.communicate("\n")
    pinned = [core for core, _ in lines if core != "None"]
    assert len(set(pinned)) == len(pinned) <= CORES
    for core, allowed in lines:
        assert allowed.strip() == (str(sorted(os.sched_getaffinity(0))) if core == "None" else f"[{core}]")


def test_fewer_workers_than_cores_are_left_to_the_system():
    assert pinning.pin(CORES - 1) is None


def test_a_system_that_refuses_is_no_trouble(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert pinning.pin(10**6) is None
    for claim in pinning._claims.values():
        claim.close()
    pinning._claims.clear()


def cores_of_a_worker(jobs: int) -> int:
    """How many cores a worker of a pool may use."""
    pool = runner.Pool(jobs)
    pool.open()
    try:
        return len(pool.submit(os.sched_getaffinity, 0).result())
    finally:
        pool.kill()


@pytest.mark.skipif(CORES < 2, reason="there is but one core")
def test_a_worker_of_a_pool_that_leaves_cores_free_may_use_all():
    assert cores_of_a_worker(1) == CORES


@pytest.mark.long
@pytest.mark.alone  # workers of other commands would have claimed the cores
def test_a_worker_of_a_full_pool_has_one_core():
    assert cores_of_a_worker(CORES) == 1
