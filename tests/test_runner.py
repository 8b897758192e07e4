"""The pool of workers: every task ends, whoever dies, and nobody outlives anybody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import ROOT, alive, children, wait_until
from test_worker import failing

from harness import runner
from harness.store import load_run

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
    assert ended.pop("run") == ("failed", f"its worker process died {runner.TRIES} times; out of memory?")
    assert ended == dict.fromkeys(("long", "run0", "run1", "run2"), ("done", ""))


def test_what_cannot_be_compiled_is_left_for_its_run_to_tell(pool):
    polls: list[int] = []
    runner.compile_kernels([("relu", "no such loss", "sgd", "float32")] * 2, (), pool, polls.append)
    assert polls[-1] == 2
    runner.compile_kernels([], (), pool, polls.append)


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
