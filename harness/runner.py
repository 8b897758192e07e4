"""Carries out tasks in worker processes: joblib's loky pool, one thread each, results as they come.

A worker that dies takes no finished run with it: its pool is replaced, and its run is tried again, alone, so that it
takes no other one down with it; after TRIES deaths it is given up. Which run was with the dead worker is read off the
lock that a worker holds while it makes one; where that does not tell, all that may have been is tried alone. Ctrl-C
ends the workers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from harness import locks, signals, worker
from harness.errors import UserError
from harness.worker import Kind, Outcome, Task

T = TypeVar("T")

TRIES = 3
POLL_SECONDS = 0.1
DEATH_SECONDS = 1.0  # at most, from the end of a process's files to its exit code
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
IDLE_SECONDS = 3600.0


@dataclass(frozen=True)
class Attempt:
    """A task, how many workers have died of it, and whether it may run beside others."""

    task: Task
    deaths: int = 0
    alone: bool = False


class Pool:
    """A pool of worker processes, none until it is opened.

    Attributes
    ----------
    jobs : int
        So many workers.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._dead: dict[int, int | None] = {}
        self._looked = threading.Event()
        self._executor: Any = None

    def open(self) -> None:
        """Start the workers; they get ready while the caller goes on.

        Raises
        ------
        UserError
            When the system grants no more processes, memory or semaphores.
        """
        try:
            self._open()
        except OSError as error:
            raise UserError(f"cannot start {self.jobs} worker processes: {error.strerror or error}") from error

    def _open(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        if os.name == "posix":  # these shield themselves from Ctrl-C when they start, and then lift our own shield
            from multiprocessing import resource_tracker

            from joblib.externals.loky.backend import resource_tracker as loky_tracker

            resource_tracker.ensure_running()
            loky_tracker.ensure_running()
        # Loky replaces a worker whose memory grew; that is no news to a user.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        # A crash is told by its signal; loky would add the stacks of all threads, unless the user asks for them.
        environment = {**ONE_THREAD, "PYTHONFAULTHANDLER": os.environ.get("PYTHONFAULTHANDLER", "")}
        self._executor = ProcessPoolExecutor(
            self.jobs,
            env=environment,
            initializer=worker.start,
            initargs=(os.getpid(), self.jobs),
            timeout=IDLE_SECONDS,
        )
        self._dead = {}
        self._looked.clear()
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
        future.add_done_callback(self._look_for_dead)
        return future

    def _look_for_dead(self, future: Future[Any]) -> None:
        """Note who has died; loky calls this when it has seen that somebody has, and before it ends the others."""
        if not future.cancelled() and isinstance(future.exception(), BrokenProcessPool) and not self._looked.is_set():
            with contextlib.suppress(Exception):  # loky's own table, which it may be taking down
                processes = {each.sentinel: each for each in list(self._executor._processes.values())}
                ended = [processes[sentinel] for sentinel in connection.wait(processes, 0)]
                for each in ended:
                    each.join(DEATH_SECONDS)
                self._dead = {each.pid: each.exitcode for each in ended}
            self._looked.set()

    def dead(self) -> dict[int, int | None]:
        """Exit codes by process number of the workers whose death broke the pool; loky then ends the others."""
        self._looked.wait(2 * DEATH_SECONDS)  # futures are done a moment before anybody looks
        return self._dead

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
        each(worker.compile_part, [(*part, extensions) for part in names.result()], pool, on_poll)


def each(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]], pool: Pool, on_poll: Callable[[int, int], Any]
) -> list[Future[T]]:
    """Have workers call a function with each of the given arguments; returns when all calls have ended.

    Raises
    ------
    BrokenProcessPool
        When a worker has died.
    """
    futures: list[Future[T]] = []
    running: set[Future[T]] = set()
    while len(futures) < len(calls) or running:
        while len(futures) < len(calls) and len(running) < 2 * pool.jobs:  # stopped with more, loky fails
            futures.append(pool.submit(function, *calls[len(futures)]))
            running.add(futures[-1])
        _, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        on_poll(len(futures) - len(running), len(calls))
    return futures


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
    waiting = deque(Attempt(task) for task in tasks)
    given: dict[Future[Outcome], Attempt] = {}  # to the pool, in this order
    while waiting or given:
        broken = False
        try:
            while waiting and _may_be_given(waiting[0], given.values(), pool.jobs):
                given[pool.submit(worker.execute, waiting[0].task)] = waiting[0]
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
            innocent, suspects, given_up = recover(list(given.values()), pool)
            given.clear()
            waiting.extendleft(reversed(innocent))
            waiting.extend(suspects)
            yield from (outcome for _, outcome in given_up)


def recover(lost: Sequence[Attempt], pool: Pool) -> tuple[list[Attempt], list[Attempt], list[tuple[Task, Outcome]]]:
    """Replace a pool that a dead worker has broken, and find out what it died of.

    Parameters
    ----------
    lost
        What the pool had and has not ended, in the order given.
    pool
        Which one.

    Returns
    -------
    list of Attempt
        Those under no suspicion, in their order.
    list of Attempt
        Those to be tried again, alone.
    list of (Task, Outcome)
        Those given up.
    """
    dead = pool.dead()
    suspects, sure = _suspects(lost, pool.jobs, dead)
    why = _why(next(iter(dead.values()), None))
    pool.reopen()
    charged = [replace(each, deaths=each.deaths + sure, alone=True) for each in suspects]
    innocent = [each for each in lost if each not in suspects]
    again = [each for each in charged if each.deaths < TRIES]
    return innocent, again, [(it.task, Outcome(it.task.run_id, "failed", why)) for it in charged if it.deaths >= TRIES]


def _suspects(lost: Sequence[Attempt], jobs: int, dead: Iterable[int]) -> tuple[list[Attempt], bool]:
    """Those that the dead workers were at, or else all that may have begun; and whether it is sure that it was they."""
    begun = list(lost[:jobs])  # workers take tasks in order
    names = {locks.name_of(pid) for pid in dead}
    with_them = [each for each in begun if locks.last_holder(each.task.lock) in names]
    if with_them:
        return with_them, True
    return begun, len(begun) == 1 and (begun[0].alone or jobs == 1)


def _why(exit_code: int | None) -> str:
    """Reason of a run that is given up."""
    how = ""
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):  # a number without a name
            how = f" of {signal.Signals(-exit_code).name}"
    return f"its worker process died {TRIES} times{how}" + ("; out of memory?" if how in ("", " of SIGKILL") else "")


def _may_be_given(attempt: Attempt, given: Collection[Attempt], jobs: int) -> bool:
    """Whether the pool may get a task beside those it has.

    It gets as many ahead as it has workers, so that none waits for this process; what may have ended a worker runs
    alone.
    """
    return not given if attempt.alone else len(given) < 2 * jobs and not any(each.alone for each in given)
