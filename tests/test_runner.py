"""The pool of workers: every task ends, whoever dies, and nobody outlives anybody."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import ROOT, alive, children, wait_until
from test_worker import failing

from harness import runner, worker
from harness.locks import last_holder
from harness.store import load_run
from kernels.activations import ACTIVATIONS
from kernels.optimizers import OPTIMIZERS

__all__ = ["failing"]  # a fixture

DIE = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture
def pool():
    pool = runner.Pool(2)
    pool.open()
    yield pool
    pool.kill()


def outcomes(tasks, pool, on_poll=lambda: None) -> dict[str, tuple[str, str]]:
    return {each.run_id: (each.status, each.reason) for each in runner.run(tasks, pool, on_poll)}


def workers() -> list[int]:
    """Processes of this one that are workers."""
    found = []
    for pid in children(os.getpid()):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"LokyProcess" in file.read():
                found.append(pid)
    return sorted(found)


def test_all_tasks_end_and_workers_have_one_thread_each(pool, make_task):
    tasks = [make_task(f"run{i}", seed=i) for i in range(7)]
    polls: list[float] = []
    ended = outcomes(tasks, pool, lambda: polls.append(time.monotonic()))
    assert ended == {f"run{i}": ("done", "") for i in range(7)}
    assert all(load_run(task.runs_folder, task.run_id) for task in tasks)
    assert polls
    for name in runner.ONE_THREAD:
        assert pool.submit(os.getenv, name).result() == "1"


def test_outcomes_come_as_runs_end_and_runs_start_in_order(pool, make_task):
    tasks = [make_task(f"run{i}", epochs=1 + 2000 * (i == 0)) for i in range(4)]
    order = [each.run_id for each in runner.run(tasks, pool, lambda: None)]
    assert order == ["run1", "run2", "run3", "run0"]


def test_workers_go_on_while_this_process_is_busy(pool, make_task):
    """When one outcome is known, as many tasks as there are workers lie ready, and get done though nobody asks."""
    tasks = [make_task(f"run{i}") for i in range(7)]
    coming = runner.run(tasks, pool, lambda: None)
    next(coming)
    wait_until(lambda: len([task for task in tasks if (task.runs_folder / task.run_id).exists()]) >= 2 * pool.jobs)
    assert len(list(coming)) == 6


def test_no_tasks_are_no_trouble(pool):
    assert outcomes([], pool) == {}


def test_a_run_that_raises_fails_alone(pool, make_task, failing):
    ended = outcomes([make_task("a"), failing("1 / 0"), make_task("b")], pool)
    assert ended["run"] == ("failed", "ZeroDivisionError: division by zero")
    assert ended["a"] == ended["b"] == ("done", "")


def test_a_killed_worker_only_costs_a_retry(pool, make_task):
    tasks = [make_task(f"run{i}", epochs=1500) for i in range(4)]
    killed: list[int] = []

    def kill_one() -> None:
        if not killed and (tasks[0].runs_folder / "run0").exists():
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    assert set(outcomes(tasks, pool, kill_one).values()) == {("done", "")}
    assert killed


def test_workers_killed_while_idle_are_replaced(pool, make_task):
    pool.submit(os.getpid).result()
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    assert outcomes([make_task("a"), make_task("b")], pool) == {"a": ("done", ""), "b": ("done", "")}


def test_a_run_that_kills_its_worker_takes_no_other_one_down(pool, make_task, failing):
    tasks = [make_task("long", epochs=4000), failing(DIE), *(make_task(f"run{i}") for i in range(3))]
    ended = outcomes(tasks, pool)
    assert ended.pop("run") == ("failed", f"its worker process died {runner.TRIES} times of SIGKILL; out of memory?")
    assert ended == dict.fromkeys(("long", "run0", "run1", "run2"), ("done", ""))


@pytest.mark.long
def test_a_run_that_goes_down_with_others_is_never_charged(pool, make_task, failing):
    """It is beside each of four that end their worker, more often than it could be charged, and is done at the end."""
    slow, deadly = make_task("slow", epochs=4000), failing(DIE)
    makers: set[str] = set()
    tasks = [slow, *(dataclasses.replace(deadly, run_id=f"deadly{i}") for i in range(runner.TRIES + 1))]
    ended = outcomes(tasks, pool, lambda: makers.add(last_holder(slow.lock)))
    assert ended.pop("slow") == ("done", "")
    assert {status for status, _ in ended.values()} == {"failed"}
    assert len(makers - {""}) > runner.TRIES


def test_a_run_that_another_process_has_made_by_now_is_not_made_again(pool, make_task):
    tasks = [make_task(f"run{i}") for i in range(3)]
    assert set(outcomes(tasks, pool).values()) == {("done", "")}
    moments = [(task.runs_folder / task.run_id).stat().st_mtime_ns for task in tasks]
    again = [*tasks[:2], dataclasses.replace(tasks[2], replaces=load_run(tasks[2].runs_folder, "run2").seal)]
    assert set(outcomes(again, pool).values()) == {("done", "")}
    same = [(task.runs_folder / task.run_id).stat().st_mtime_ns == at for task, at in zip(tasks, moments, strict=True)]
    assert same == [True, True, False]


def test_where_no_lock_tells_whose_worker_died_suspects_are_tried_alone(
    pool, make_task, failing, tmp_path, monkeypatch
):
    """As on a file system without locks: both that were under way are suspects, and tried again, one at a time."""
    folder = tmp_path / "locks"
    folder.write_text("no folder")
    monkeypatch.setattr(worker.Task, "lock", property(lambda task: folder / task.run_id))
    tasks = [make_task("slow", epochs=1500), failing(DIE), make_task("a")]
    ended = outcomes(tasks, pool)
    assert ended.pop("run")[0] == "failed"
    assert ended == {"slow": ("done", ""), "a": ("done", "")}


def test_a_run_that_waited_behind_a_dead_worker_is_under_no_suspicion(make_task, failing, tmp_path):
    """Both kill their worker; the second, which had not begun when the first did, has all its tries, too."""
    task = failing(f"open({str(tmp_path / 'deaths')!r}, 'a').write('x'); {DIE}")
    tasks = [dataclasses.replace(task, run_id=name) for name in ("first", "second")]
    pool = runner.Pool(1)
    pool.open()
    try:
        assert {status for status, _ in outcomes([*tasks, make_task("a")], pool).values()} == {"failed", "done"}
    finally:
        pool.kill()
    assert (tmp_path / "deaths").read_text() == "x" * 2 * runner.TRIES


def test_what_cannot_be_compiled_is_left_for_its_run_to_tell(pool):
    polls: list[tuple[int, int]] = []
    kinds = [("relu", "no such loss", "sgd", "float32")] * 2
    runner.compile_kernels(kinds, (), pool, lambda *ready: polls.append(ready))
    assert set(polls) == {(0, 0)}
    assert pool.submit(int).result() == 0


@pytest.mark.long
def test_a_cold_start_compiles_every_part_once_and_runs_find_them_all(pool, make_task, monkeypatch, tmp_path):
    monkeypatch.setenv("ABLATION_BENCH_CACHE", str(tmp_path / "cold"))
    pool.reopen()
    kinds = [(name, "cross_entropy", "sgd", "float32") for name in ACTIVATIONS]
    kinds += [("relu", "cross_entropy", name, "float32") for name in OPTIMIZERS] + [("relu", "mse", "sgd", "float32")]
    polls: list[tuple[int, int]] = []
    runner.compile_kernels(kinds, (), pool, lambda *ready: polls.append(ready))
    parts = worker.kernel_parts(kinds, ())
    assert polls[-1] == (len(parts), len(parts))
    assert len({key for _, key in parts}) == len(parts)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cold").rglob("*.nbc")}
    assert len(files) > len(parts)  # some have two functions
    tasks = [
        make_task(f"{kind}", engine="numba", activation=kind[0], loss=kind[1], optimizer={"name": kind[2], "lr": 0.1})
        for kind in kinds
    ]
    assert set(outcomes(tasks, pool).values()) == {("done", "")}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cold").rglob("*.nbc")} == files


def test_workers_do_not_hear_ctrl_c(pool, make_task):
    pool.submit(os.getpid).result()
    before = workers()
    assert len(before) == 2
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert outcomes([make_task("a")], pool) == {"a": ("done", "")}
    assert workers() == before


def test_workers_are_deaf_before_their_first_instruction(pool):
    for pid in workers():  # those of a fresh pool, which are still importing
        with open(f"/proc/{pid}/status") as file:
            (blocked,) = (line.split()[1] for line in file if line.startswith("SigBlk"))
        assert int(blocked, 16) >> (signal.SIGINT - 1) & 1


def test_killing_ends_workers_whatever_they_do():
    pool = runner.Pool(2)
    pool.open()
    pool.submit(time.sleep, 1000)
    pids = set(workers())
    assert len(pids) == 2
    pool.kill()
    wait_until(lambda: not alive(pids))
    pool.kill()


def test_closing_ends_idle_workers():
    pool = runner.Pool(1)
    pool.open()
    assert pool.submit(int).result() == 0
    pids = set(workers())
    pool.close()
    wait_until(lambda: not alive(pids))


PARENT = """
import sys, time
from harness import runner
pool = runner.Pool(2)
pool.open()
for _ in range(2):
    pool.submit(time.sleep, 1000)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_its_parent(name):
    command = [sys.executable, "-c", PARENT]
    # What the trackers of semaphores say about this sudden end is of no interest.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"ready\n"
        wait_until(lambda: len(children(process.pid)) == 4)  # two workers, two trackers of semaphores
        pids = children(process.pid)
    finally:
        process.send_signal(getattr(signal, name))
        process.wait()
        process.stdout.close()
    wait_until(lambda: not alive(pids))
