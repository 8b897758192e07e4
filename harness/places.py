"""Where runs are made, as a study sees it: something to open, to give tasks to, and to close.

`Local` is the processors of this machine, behind joblib's workers; ``harness.cluster`` has workers anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness import runner, signals
from harness.events import Event, Listener
from harness.files import sweep
from harness.worker import Kind, Outcome, Task

COMPILED_SECONDS = 4.0  # longer than workers take to start and to load kernels


class PlaceLostError(Exception):
    """The place has gone and no run can be made any more; the message says what happened, in one line."""


class Place(Protocol):
    """Where runs are made."""

    @property
    def jobs(self) -> int:
        """Runs that go on side by side, as far as is known now."""

    @property
    def most_jobs(self) -> int:
        """Runs that may go on side by side, should more workers come."""

    def open(self) -> None:
        """Begin to get workers.

        Raises
        ------
        UserError
            When there is nothing of the kind.
        """

    @property
    def cpu(self) -> str | None:
        """Processors that runs are made on; None for those of this machine."""

    def prepare(self, say: Callable[[str], Any], on_poll: Callable[[str], Any]) -> None:
        """Wait for workers that are ready for tasks.

        Parameters
        ----------
        say
            Called with lines for the screen.
        on_poll
            Called with how far it is, at least ten times a second.

        Raises
        ------
        UserError, PlaceLostError
            When there are none to be had.
        """

    def run(self, tasks: Sequence[Task], on_poll: Callable[[], Any]) -> Iterator[Outcome]:
        """Carry out tasks, starting them in the given order; yields outcomes as runs end, and they are stored then.

        Parameters
        ----------
        tasks
            What is to be done.
        on_poll
            Called at least ten times a second, for progress.

        Raises
        ------
        PlaceLostError
            When no run can be made any more.
        """

    def news(self) -> list[Event]:
        """Events of runs that go on, since the last call; those of kind ``note`` are lines for the screen."""

    def close(self) -> None:
        """End what was opened; nothing is going on."""

    def kill(self) -> None:
        """End it now, whatever is going on; no harm if it was never opened."""


class _Opened(Protocol):
    def open(self) -> None: ...
    def close(self) -> None: ...
    def kill(self) -> None: ...


P = TypeVar("P", bound=_Opened)


@contextmanager
def opened(place: P) -> Iterator[P]:
    """A place, or a pool of workers, that ends with the block, and at once if it breaks off."""
    try:
        place.open()
        yield place
        place.close()
    except BaseException:
        with signals.ignored():
            place.kill()
        raise


def compile_once(
    kinds: Sequence[Kind], extensions: Sequence[Path], pool: runner.Pool, say: Callable[[str], Any],
    on_poll: Callable[[str], Any],
) -> None:  # fmt: skip
    """Compile what kinds of runs need, once, before workers look for it in the cache on disk."""
    if not kinds:
        return
    from kernels.jit import cache_folder

    sweep(cache_folder())
    if not cache_folder().is_dir():
        say("Compiling kernels for this machine, once (5 to 20 s) …")

    def on_parts(ready: int, parts: int) -> None:
        on_poll(f"compiling kernels, {ready} of {parts} parts ready" if parts else "starting the workers")

    start = time.perf_counter()
    runner.compile_kernels(kinds, extensions, pool, on_parts)
    seconds = time.perf_counter() - start
    if seconds > COMPILED_SECONDS:
        say(f"Compiling took {seconds:.1f} s; later commands find the kernels in the cache.")


class Local:
    """The processors of this machine.

    Parameters
    ----------
    jobs : int
        Workers.
    kinds : sequence of Kind
        What runs need compiled.
    extensions : sequence of Path
        Files that register some of it.
    """

    cpu = None

    def __init__(self, jobs: int, kinds: Sequence[Kind], extensions: Sequence[Path]) -> None:
        self.jobs = self.most_jobs = jobs
        self._kinds, self._extensions = kinds, extensions
        self.pool, self._listener = runner.Pool(jobs), Listener()

    def open(self) -> None:
        """Start the workers."""
        self.pool.open()

    def prepare(self, say: Callable[[str], Any], on_poll: Callable[[str], Any]) -> None:
        """Compile what the runs need."""
        compile_once(self._kinds, self._extensions, self.pool, say, on_poll)

    def run(self, tasks: Sequence[Task], on_poll: Callable[[], Any]) -> Iterator[Outcome]:
        """Carry out tasks."""
        return runner.run([replace(task, news=self._listener.address) for task in tasks], self.pool, on_poll)

    def news(self) -> list[Event]:
        """Events since the last call."""
        return self._listener.drain()

    def close(self) -> None:
        """End idle workers."""
        self._listener.close()
        self.pool.close()

    def kill(self) -> None:
        """End workers, whatever they do."""
        self._listener.close()
        self.pool.kill()
