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
from harness.runner import POLL_SECONDS, Attempt, Pool, recover
from harness.worker import Outcome, Task


def workers(jobs: int) -> AbstractContextManager[Pool]:
    """Worker processes, which end with the block, and at once if it breaks off."""
    return opened(Pool(jobs))


def run(next_task: Callable[[], Task | None], pool: Pool, on_poll: Callable[[], Any]) -> Iterator[tuple[Task, Outcome]]:
    """Carry out tasks until there is none; yields each with its outcome as runs end.

    A worker that dies takes no other run with it: its own is tried again, alone, as in ``harness.runner``.

    Parameters
    ----------
    next_task
        Gives a task, or None when there is none now; the end is when nothing runs either.
    pool
        Who does it.
    on_poll
        Called at least ten times a second while runs go on, for progress.
    """
    waiting: deque[Attempt] = deque()  # to be tried again, and one that has just been asked for
    running: dict[Future[Outcome], Attempt] = {}
    while True:
        broken = False
        while not broken and len(running) < pool.jobs and not any(each.alone for each in running.values()):
            if not waiting:
                if (task := next_task()) is None:
                    break
                waiting.append(Attempt(task))
            if waiting[0].alone and running:
                break
            try:
                running[pool.submit(worker.execute, waiting[0].task)] = waiting[0]
                waiting.popleft()
            except BrokenProcessPool:
                broken = True
        if not running and not waiting:
            return
        finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        on_poll()
        for future in finished:
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
            else:
                yield running.pop(future).task, future.result()
        if broken:  # a dead worker ends the whole pool
            innocent, suspects, given_up = recover(list(running.values()), pool)
            running.clear()
            waiting.extendleft(reversed(innocent))
            waiting.extend(suspects)
            yield from given_up
