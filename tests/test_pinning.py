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


def test_workers_of_a_full_pool_have_one_core_each_and_others_all():
    for jobs in (CORES, 1):
        pool = runner.Pool(jobs)
        pool.open()
        try:
            allowed = pool.submit(os.sched_getaffinity, 0).result()
        finally:
            pool.kill()
        assert len(allowed) in ((1, CORES) if jobs == CORES else (CORES,))
