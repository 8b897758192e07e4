"""Carries out tasks in worker processes: joblib's loky pool, one thread each, results as they come.

A worker that dies takes no finished run with it: what was running is tried again in a new pool, up to TRIES times, and
alone, so that a run that kills its worker takes no other one down. Ctrl-C ends the workers at once.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from harness import signals, worker
from harness.worker import Outcome, Task

TRIES = 3
POLL_SECONDS = 0.1
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
IDLE_SECONDS = 3600.0


class Pool:
    """A pool of worker processes, none until it is opened."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor: Any = None

    def open(self) -> None:
        """Start the workers; they get ready while the caller goes on."""
        from joblib.externals.loky import ProcessPoolExecutor

        if os.name == "posix":  # these shield themselves from Ctrl-C when they start, and then lift our own shield
            from multiprocessing import resource_tracker

            from joblib.externals.loky.backend import resource_tracker as loky_tracker

            resource_tracker.ensure_running()
            loky_tracker.ensure_running()
        # Loky replaces a worker whose memory grew; that is no news to a user.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        self._executor = ProcessPoolExecutor(
            self.jobs, env=ONE_THREAD, initializer=worker.start, initargs=(os.getpid(),), timeout=IDLE_SECONDS
        )
        self.submit(int)  # starts all workers

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a worker call a function.

        Raises
        ------
        BrokenProcessPool
            When a worker has died; the future raises it too.
        """
        with signals.deferred():
            future: Future[Any] = self._executor.submit(function, *arguments)
        return future

    def reopen(self) -> None:
        """Replace a pool whose worker died."""
        self.kill()
        self.open()

    def kill(self) -> None:
        """End the workers now, whatever they do."""
        with contextlib.suppress(Exception):  # never opened, or a broken one, half gone
            self._executor.shutdown(wait=True, kill_workers=True)

    def close(self) -> None:
        """End idle workers."""
        self._executor.shutdown(wait=True)


def compile_kernels(
    needs: Sequence[tuple[str, str, str, str]], extensions: Sequence[Path], pool: Pool, on_poll: Callable[[int], Any]
) -> None:
    """Compile what kinds of run need, the first kind alone, since the others share most of it.

    In a worker, since Ctrl-C in mid-compilation can get lost in the compiler. Whatever goes wrong here goes wrong again
    in the run that needs it, which then says so.

    Parameters
    ----------
    needs
        (activation, loss, optimizer, precision) of each kind.
    extensions
        Files that register some of these.
    pool
        Who does it.
    on_poll
        Called with the number of kinds that are ready, at least ten times a second.
    """
    futures: list[Future[Any]] = []
    with contextlib.suppress(BrokenProcessPool):
        for part in (needs[:1], needs[1:]):
            futures += [pool.submit(worker.compile_kernels, need, extensions) for need in part]
            while not all(future.done() for future in futures):
                wait(futures, POLL_SECONDS)
                on_poll(sum(future.done() for future in futures))


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
        lost: list[tuple[Task, int]] = []
        while (
            waiting and not lost and _may_start(waiting[0][1], [attempt for _, attempt in running.values()], pool.jobs)
        ):
            task, attempt = waiting.popleft()
            try:
                running[pool.submit(worker.execute, task)] = (task, attempt)
            except BrokenProcessPool:
                lost.append((task, attempt))
        finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        on_poll()
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
                    yield Outcome(task.run_id, "failed", f"its worker process died {TRIES} times; out of memory?")


def _may_start(attempt: int, running: Sequence[int], jobs: int) -> bool:
    """Whether a task may join those running, given their attempts: one that was with a dead worker runs alone."""
    return not running if attempt > 1 else len(running) < jobs and max(running, default=1) == 1
