"""Tasks made up one by one: as late as can be, and every one ends, whoever dies."""

from __future__ import annotations

import os
import signal
import time

import pytest
from test_runner import DIE, workers
from test_worker import failing

from harness import feed, runner

__all__ = ["failing"]  # a fixture


def endings(tasks, jobs=2, on_poll=lambda: None):
    """(run id, status) in the order of ends."""
    waiting = list(tasks)
    with feed.workers(jobs) as pool:
        ended = feed.run(lambda: waiting.pop(0) if waiting else None, pool, on_poll)
        return [(task.run_id, outcome.status) for task, outcome in ended]


def test_a_task_is_asked_for_when_a_worker_is_free_for_it(make_task):
    ended: list[str] = []
    asked: list[int] = []

    def next_task():
        asked.append(len(ended))
        return make_task(f"run{len(asked)}") if len(asked) <= 6 else None

    with feed.workers(2) as pool:
        for task, _ in feed.run(next_task, pool, lambda: None):
            ended.append(task.run_id)
    assert sorted(ended) == [f"run{i}" for i in range(1, 7)]
    assert all(n - ends <= 2 for n, ends in enumerate(asked[:6], start=1))


def test_tasks_that_come_later_are_carried_out_too(make_task):
    waiting = [make_task("first")]
    with feed.workers(2) as pool:
        ended = []
        for task, _ in feed.run(lambda: waiting.pop() if waiting else None, pool, lambda: None):
            ended.append(task.run_id)
            if len(ended) < 3:
                waiting.append(make_task(f"after {task.run_id}"))
    assert ended == ["first", "after first", "after after first"]


def test_nothing_to_do_is_the_end():
    assert endings([], jobs=1) == []


@pytest.mark.long
def test_a_task_that_kills_its_worker_fails_and_takes_no_other_down(make_task, failing):
    tasks = [make_task("run0"), failing(DIE), make_task("run2"), make_task("run3")]
    assert sorted(endings(tasks)) == [("run", "failed"), ("run0", "done"), ("run2", "done"), ("run3", "done")]


@pytest.mark.parametrize(("name", "guess"), [("SIGABRT", ""), ("SIGKILL", "; out of memory?")])
def test_only_the_task_that_killed_its_worker_is_charged_and_its_reason_names_the_signal(
    make_task, failing, monkeypatch, name, guess
):
    monkeypatch.setattr(runner, "TRIES", 1)  # who is charged is given up
    tasks = [make_task("beside", epochs=1500), failing(f"import os, signal; os.kill(os.getpid(), signal.{name})")]
    with feed.workers(2) as pool:
        ended = list(feed.run(lambda: tasks.pop(0) if tasks else None, pool, lambda: None))
    assert {task.run_id: (outcome.status, outcome.reason) for task, outcome in ended} == {
        "beside": ("done", ""),
        "run": ("failed", f"its worker process died 1 times of {name}{guess}"),
    }


def test_a_killed_worker_costs_no_task(make_task):
    began = time.monotonic()
    killed: list[int] = []

    def on_poll():
        if not killed and time.monotonic() - began > 0.5 and (found := workers()):
            killed.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    tasks = [make_task(f"run{i}", epochs=400) for i in range(3)]
    assert sorted(endings(tasks, on_poll=on_poll)) == [(f"run{i}", "done") for i in range(3)]
    assert killed


def test_workers_end_with_an_error(make_task):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        endings([make_task(epochs=100_000)], on_poll=stop)
    assert workers() == []
    assert runner.TRIES > 1
