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
from harness.worker import Kind, Outcome, Task

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
    kinds: Sequence[Kind], extensions: Sequence[Path], pool: Pool, on_poll: Callable[[int, int], Any]
) -> None:
    """Compile the parts that kinds of run are made of, each once, in whichever worker is free.

    In workers, since Ctrl-C in mid-compilation can get lost in the compiler. Whatever goes wrong here goes wrong again
    in the run that needs it, which then says so.

    Parameters
    ----------
    kinds
        Activation, loss, optimizer and precision of each.
    extensions
        Files that register some of these.
    pool
        Who does it.
    on_poll
        Called with the numbers of parts that are ready and of all parts (0: not known yet), at least ten times a
        second.
    """
    with contextlib.suppress(BrokenProcessPool):
        names = pool.submit(worker.kernel_parts, kinds, extensions)
        while not names.done():
            wait([names], POLL_SECONDS)
            on_poll(0, 0)
        if names.exception() is not None:
            return
        waiting, running, ready = deque(names.result()), set[Future[Any]](), 0
        n_parts = len(waiting)
        while waiting or running:
            while waiting and len(running) < 2 * pool.jobs:  # loky fails when it is stopped with more than it can hold
                running.add(pool.submit(worker.compile_part, *waiting.popleft(), extensions))
            finished, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            ready += len(finished)
            on_poll(ready, n_parts)


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
    given: dict[Future[Outcome], tuple[Task, int]] = {}  # to the pool, in this order
    while waiting or given:
        broken = False
        try:
            while waiting and _may_be_given(waiting[0][1], [attempt for _, attempt in given.values()], pool.jobs):
                given[pool.submit(worker.execute, waiting[0][0])] = waiting[0]
                waiting.popleft()
        except BrokenProcessPool:
            broken = True
        finished, _ = wait(given, POLL_SECONDS, FIRST_COMPLETED)
        on_poll()
        for future in finished:
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
            else:
                del given[future]
                yield future.result()
        if broken:
            lost = list(given.values())  # a dead worker ends the whole pool
            given.clear()
            pool.reopen()
            for place, (task, attempt) in reversed(list(enumerate(lost))):
                if place >= pool.jobs:  # workers take tasks in order, so this one had not begun
                    waiting.appendleft((task, attempt))
                elif attempt < TRIES:
                    waiting.appendleft((task, attempt + 1))
                else:
                    yield Outcome(task.run_id, "failed", f"its worker process died {TRIES} times; out of memory?")


def _may_be_given(attempt: int, given: Sequence[int], jobs: int) -> bool:
    """Whether the pool may get a task beside those it has, given their attempts.

    It gets as many ahead as it has workers, so that none waits for this process; what was with a dead worker runs
    alone.
    """
    return not given if attempt > 1 else len(given) < 2 * jobs and max(given, default=1) == 1
