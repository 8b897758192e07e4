"""Carries out tasks in worker processes: joblib's loky pool, one thread each, results as they come.

A worker that dies takes no finished run with it: what was running is tried again in a new pool, up to TRIES times.
Ctrl-C ends the workers at once.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from harness import worker
from harness.worker import Outcome, Task

TRIES = 3
POLL_SECONDS = 0.1
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


class Pool:
    """A pool of worker processes that is there from its making on, so that workers start up while the caller prepares."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._open()

    def _open(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self._executor = ProcessPoolExecutor(self.jobs, env=ONE_THREAD, initializer=worker.start, timeout=3600)
        for _ in range(self.jobs):
            self._executor.submit(worker.ready)

    def submit(self, task: Task) -> Future[Outcome]:
        """Hand a task to a worker."""
        future: Future[Outcome] = self._executor.submit(worker.execute, task)
        return future

    def reopen(self) -> None:
        """Replace a pool whose worker died."""
        self.kill()
        self._open()

    def kill(self) -> None:
        """End the workers now, whatever they do."""
        with contextlib.suppress(Exception):  # a broken pool may be half gone
            self._executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        """End idle workers."""
        self._executor.shutdown(wait=True)


def run(tasks: Sequence[Task], pool: Pool, on_poll: Callable[[], Any]) -> Iterator[Outcome]:
    """Carry out tasks, starting them in the given order; yields outcomes as runs end.

    Parameters
    ----------
    tasks
        What is to be done.
    pool
        Who does it.
    on_poll
        Called at least ten times a second while runs go on, for progress.
    """
    waiting: deque[tuple[Task, int]] = deque((task, 1) for task in tasks)
    running: dict[Future[Outcome], tuple[Task, int]] = {}
    while waiting or running:
        while waiting and len(running) < pool.jobs:
            task, attempt = waiting.popleft()
            running[pool.submit(task)] = (task, attempt)
        finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        on_poll()
        lost: list[tuple[Task, int]] = []
        for future in finished:
            task, attempt = running.pop(future)
            try:
                yield future.result()
            except BrokenProcessPool:
                lost.append((task, attempt))
        if lost:
            lost += running.values()  # a dead worker ends the whole pool
            running.clear()
            pool.reopen()
            for task, attempt in lost:
                if attempt < TRIES:
                    waiting.appendleft((task, attempt + 1))
                else:
                    yield Outcome(task.run_id, "failed", f"its worker process died {TRIES} times")
