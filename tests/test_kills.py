"""SIGKILL to workers and to whole commands at random moments: nothing finished is lost, nothing is made twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from faults import SMALL, Watch, age, at_work, left_by_killed, remains, tables
from processes import Command, alive, children, wait_until

from harness import runner
from harness.locks import LOCK_PREFIX, last_holder, name_of

KILLS = 30
STUDY = ("exp3", *SMALL, "--epochs", "60", "--seeds", "12")
N_RUNS = 5 * 12

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    """Tables of the study when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = Command(folder)(*STUDY)
    assert (status, err) == (0, "")
    found = tables(folder / "results")
    assert len(found["runs.csv"]) == N_RUNS
    assert set(found) >= {"runs.csv", "summary.csv", "history.csv", "classes.csv", "details.npz", "val_loss.png"}
    return found


@pytest.fixture
def rng(request) -> random.Random:
    """Random numbers of a seed that a failing test shows."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed of the moments: {seed}")
    return random.Random(seed)


def test_workers_killed_at_random_moments_cost_no_run(command, undisturbed, rng):
    """30 deaths in mid-run, some as of a crash, at most two to a run: the third would be the end of it by right."""
    runs = command.folder / "results" / "runs"
    process, watch, deaths = command.start(*STUDY), Watch(runs), Counter()
    while sum(deaths.values()) < KILLS and process.poll() is None:
        time.sleep(rng.uniform(0.0, 0.3))
        watch.look()
        busy = [(pid, run) for pid, run in at_work(process, runs).items() if deaths[run] < runner.TRIES - 1]
        if not busy:
            continue
        pid, _ = rng.choice(busy)
        if not alive({pid}):  # ended with the pool of the one before
            continue
        os.kill(pid, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
        wait_until(lambda pid=pid: not alive({pid}))
        left = [path.name for path in runs.glob(f"{LOCK_PREFIX}*") if last_holder(path) == name_of(pid)]
        deaths.update(name.removeprefix(f"{LOCK_PREFIX}-") for name in left)  # else it had just ended its run
    assert sum(deaths.values()) == KILLS, "the study ended too soon"
    status, out, _ = command.finish(process)
    assert (status, watch.look()) == (0, N_RUNS)
    assert "failed" not in out
    assert tables(command.folder / "results") == undisturbed
    assert left_by_killed(command.folder / "results") == []


def test_a_run_that_kills_its_worker_every_time_is_given_up_alone(command, tmp_path):
    """The rest finish, also those that go down with its worker each time."""
    deaths = tmp_path / "deaths"
    (tmp_path / "deadly.py").write_text(f"""
import os
import numpy as np
from kernels.optimizers import Optimizer, register
def scalars(lr, t, settings):
    if np.size(lr) and np.all(lr == 0.0625):
        open({str(deaths)!r}, "a").write("x")
        os.abort()
    return {{"lr": lr}}
register(Optimizer("deadly", lambda w, g, slots, h: (w - h.lr * g, ()), scalars))
""")
    (tmp_path / "deadly.toml").write_text("""
extensions = ["deadly.py"]
[variants]
one = { epochs = 90 }
deadly = { optimizer = { name = "deadly", lr = 0.0625 } }
two = { epochs = 91 }
three = { epochs = 92 }
""")
    status, out, _ = command(tmp_path / "deadly.toml", *SMALL, "--seeds", "1")
    assert (status, deaths.read_text()) == (1, "x" * runner.TRIES)
    assert f"failed: its worker process died {runner.TRIES} times of SIGABRT" in out
    assert "1 of 4 runs failed; the same command tries them again." in out
    rows = tables(command.folder / "results", "deadly")["runs.csv"]
    assert [row["status"] for row in rows] == ["done", "failed", "done", "done"]
    assert left_by_killed(command.folder / "results") == []


def test_commands_killed_at_random_moments_and_started_again_end_in_the_same_tables(command, undisturbed, rng):
    """20 deaths while runs are made, 10 while tables are, orphans left to themselves."""
    results = command.folder / "results"
    watch, moments = Watch(results / "runs"), Counter()
    orphans: set[int] = set()
    for _ in range(2 * KILLS):
        if moments.total() == KILLS:
            break
        process, before = command.start(*STUDY), watch.look()
        if moments.total() < 2 * KILLS // 3:
            target = before + rng.choice([0, 0, 1, 1, 2])
            wait_until(
                lambda process=process, target=target: (
                    (at_work(process, watch.runs) and watch.look() >= target) or watch.look() == N_RUNS
                )
            )
            time.sleep(rng.uniform(0.0, 0.3))
        else:
            if before < N_RUNS:
                wait_until(lambda: watch.look() == N_RUNS)
            maps = Path(f"/proc/{process.pid}/maps")
            wait_until(lambda process=process, maps=maps: "numpy" in maps.read_text() or process.poll() is not None)
            time.sleep(rng.uniform(0.0, 1.5))
        busy, there = at_work(process, watch.runs), watch.look()
        orphans |= children(process.pid)
        process.kill()
        killed = process.wait() == -signal.SIGKILL
        process.stdout.close()
        process.stderr.close()
        if killed:  # or else it had just ended: that is no moment
            moments["runs" if busy else "tables" if there == N_RUNS else "between"] += 1
        written = tables(results)
        assert written == {name: undisturbed[name] for name in written}
    print(moments)
    assert moments.total() == KILLS
    assert moments["runs"] >= 10
    assert moments["tables"] >= 5
    wait_until(lambda: not alive(orphans))
    status, _, err = command(*STUDY)
    assert (status, err, watch.look()) == (0, "", N_RUNS)
    assert tables(results) == undisturbed
    age(results)
    shutil.rmtree(results / "exp3")
    assert command(*STUDY)[0] == 0
    assert remains(results) == []
    assert tables(results) == undisturbed
