"""Carries out tasks that are made up one by one: the next is asked for when a worker is free for it, not before.

For whole lists of tasks there is ``harness.runner``, whose pool of worker processes this module uses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any

from harness import worker
from harness.places import opened
from harness.runner import POLL_SECONDS, TRIES, Pool
from harness.worker import Outcome, Task


def workers(jobs: int) -> AbstractContextManager[Pool]:
    """Worker processes, which end with the block, and at once if it breaks off."""
    return opened(Pool(jobs))


def run(next_task: Callable[[], Task | None], pool: Pool, on_poll: Callable[[], Any]) -> Iterator[tuple[Task, Outcome]]:
    """Carry out tasks until there is none; yields each with its outcome as runs end.

    A worker that dies takes no other run with it: what was running is tried again, alone, up to TRIES times.

    Parameters
    ----------
    next_task
        Gives a task, or None when there is none now; the end is when nothing runs either.
    pool
        Who does it.
    on_poll
        Called at least ten times a second while runs go on, for progress.
    """
    again: deque[tuple[Task, int]] = deque()
    running: dict[Future[Outcome], tuple[Task, int]] = {}
    while True:
        broken = False
        while not broken and len(running) < pool.jobs and all(attempt == 1 for _, attempt in running.values()):
            if again and running:
                break
            if not again:
                if (task := next_task()) is None:
                    break
                again.append((task, 1))
            try:
                running[pool.submit(worker.execute, again[0][0])] = again[0]
                again.popleft()
            except BrokenProcessPool:
                broken = True
        if not running and not again:
            return
        finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        on_poll()
        for future in finished:
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
            else:
                task, _ = running.pop(future)
                yield task, future.result()
        if broken:  # a dead worker ends the whole pool
            lost = list(running.values())
            running.clear()
            pool.reopen()
            for task, attempt in lost:
                if attempt < TRIES:
                    again.append((task, attempt + 1))
                else:
                    reason = f"its worker process died {TRIES} times; out of memory?"
                    yield task, Outcome(task.run_id, "failed", reason)
