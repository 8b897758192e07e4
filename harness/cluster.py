"""Where runs are made, when that is a Dask cluster: one that this command starts on this machine, or one that is there.

Runs go to workers one by one, with one ahead (``harness.dispatch``); each comes back with its files, which are stored
here as if it had been made here. Workers may come at any time and may go at any time. A worker that dies costs the run
that it had begun a try, and nobody else anything; one that is retired costs nothing. Without any worker for
NO_WORKER_SECONDS the study ends.

Dask's pickles are code: whoever reaches the scheduler can run anything on scheduler, workers and here.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from harness import checkpoint, footprint, remote, store
from harness.dispatch import TRIES, Dispatcher
from harness.errors import UserError
from harness.events import Event
from harness.link import GoneError, Link
from harness.localcluster import LocalCluster
from harness.muster import Muster, Needs
from harness.places import PlaceLostError
from harness.remote import Facts
from harness.worker import Outcome, Task, one_line

NO_WORKER_SECONDS = 60.0
POLL_SECONDS = 0.1
ANY_NUMBER = 10**6
GIVEN_AT_ONCE = 64  # runs, before what has come in is looked at


class Cluster:
    """A Dask cluster.

    Parameters
    ----------
    address : str or None
        Of a scheduler; None starts one on this machine.
    limit : int or None
        Workers to use at most; None for all there are. How many to start, where they are started.
    needs : Needs
        What workers must have.
    largest_bytes : float
        Memory of the largest run.
    """

    def __init__(self, address: str | None, limit: int | None, needs: Needs, largest_bytes: float) -> None:
        self._address, self._limit, self._needs = address, limit, needs
        self._largest_bytes = largest_bytes
        self._own: LocalCluster | None = None
        self._link: Link | None = None
        self._muster = Muster(self._linked, needs, self._ready, self._unfit)
        self._waiting: dict[str, Task] = {}
        self._desk: Dispatcher[str] = Dispatcher(())
        self._workers: dict[str, Facts] = {}  # that are ready
        self._hosts: Counter[str] = Counter()  # workers by host
        self._room: dict[str, int] = {}  # by host: runs that fit into its memory
        self._cramped: set[str] = set()  # hosts with more workers than that, which was said
        self._unfit_lines: list[str] = []
        self._ended: list[Outcome] = []
        self._news: SimpleQueue[Event] = SimpleQueue()
        self._topic = f"ablation-bench-{uuid.uuid4().hex}"
        self._useful = 0.0  # when there last was a worker, by the link's clock
        self._begun = False

    @property
    def jobs(self) -> int:
        """Workers that are ready, or the limit."""
        return max(1, min(len(self._workers), self.most_jobs))

    @property
    def most_jobs(self) -> int:
        """The limit, or any number."""
        return ANY_NUMBER if self._limit is None else self._limit

    def open(self) -> None:
        """Connect; where no address is given, start a cluster first."""
        if self._address is None:
            self._own = LocalCluster(self.most_jobs)
            self._address = self._own.address
        self._link = Link(self._address, self._muster.join, self._left)
        self._link.subscribe(self._topic, self._news.put)

    @property
    def cpu(self) -> str | None:
        """Processors of all workers that there have been."""
        return "; ".join(self._muster.cpus) or None

    def prepare(self, say: Callable[[str], Any], on_poll: Callable[[str], Any]) -> None:
        """Wait for the first workers; all that are there must be fit."""
        while not self._workers or not self._muster.idle:
            self._turn()
            on_poll(self._muster.state())
            if self._unfit_lines:
                more = f" (and {len(self._unfit_lines) - 1} more)" if len(self._unfit_lines) > 1 else ""
                raise UserError(self._unfit_lines[0] + more)
            if self._workers and self._linked().clock > NO_WORKER_SECONDS:  # some are slow: they are late ones
                break
        self._begun = True
        cpus, hosts = self._muster.cpus, [f"{n} on {host}" for host, n in self._hosts.most_common(5)]
        machines = ", ".join([*hosts[:4], *(["…"] if len(hosts) > 4 else [])])
        workers = f"{len(self._workers)} worker{'s' if len(self._workers) > 1 else ''}"
        say(f"Dask at {self._address}: {workers} ({machines}); {cpus[0]}")
        if len(cpus) > 1:
            others = "; ".join(cpus[1:4])
            say(f"warning: other processors, too ({others}): their results agree within rounding only")

    def run(self, tasks: Sequence[Task], on_poll: Callable[[], Any]) -> Iterator[Outcome]:
        """Carry out tasks on all workers that are there, and on those that come."""
        self._waiting = {task.run_id: task for task in tasks}
        self._desk = Dispatcher(self._waiting, self._limit)
        for worker, facts in self._workers.items():
            self._take_on(worker, facts)
        while not self._desk.done:
            for worker, name in islice(self._desk.give(), GIVEN_AT_ONCE):
                self._give(worker, name)
            self._turn()
            on_poll()
            ended, self._ended = self._ended, []
            yield from ended

    def news(self) -> list[Event]:
        """Events since the last call."""
        events = []
        with suppress(Empty):
            while True:
                events.append(self._news.get_nowait())
        return events

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        self.kill()

    def kill(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        own, self._own = self._own, None
        if own is not None:  # first, so that leaving waits for nobody
            own.end()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _linked(self) -> Link:
        assert self._link is not None
        return self._link

    def _turn(self) -> None:
        """Take in what has happened; sees that there is somebody to work."""
        self._linked().turn(POLL_SECONDS)
        now = self._linked().clock
        if self._workers:
            self._useful = now
        elif now - max(self._useful, self._muster.heard) > NO_WORKER_SECONDS:
            raise PlaceLostError(f"no worker at {self._address} for {NO_WORKER_SECONDS:.0f} s")

    def _left(self, worker: str, expected: bool) -> None:
        self._muster.leave(worker)
        facts = self._workers.pop(worker, None)
        if facts is None:
            return
        self._hosts[facts.host] -= 1
        self._note(f"worker {worker} is gone; {len(self._workers)} left")
        for name in self._desk.leave(worker, expected):
            self._ended.append(Outcome(name, "failed", f"its worker process died {TRIES} times; out of memory?"))

    def _ready(self, worker: str, facts: Facts) -> None:
        self._workers[worker] = facts
        self._hosts[facts.host] += 1
        if self._begun:
            self._note(f"worker {worker} on {facts.host} joins; {len(self._workers)} now")
        self._take_on(worker, facts)

    def _take_on(self, worker: str, facts: Facts) -> None:
        host = facts.host
        room = self._room.setdefault(host, footprint.room(facts.available_bytes, self._largest_bytes))
        if max(room, 1) < min(self._hosts[host], self.most_jobs) and host not in self._cramped:
            self._cramped.add(host)
            self._note(f"Memory of {host}: {max(room, 1)} at a time, fewer than it has workers")
        self._desk.join(worker, host, room)

    def _unfit(self, line: str) -> None:
        if self._begun:
            self._note(f"{line}; it is not used")
        else:
            self._unfit_lines.append(line)

    def _note(self, text: str) -> None:
        self._news.put({"kind": "note", "text": text})

    def _give(self, worker: str, name: str) -> None:
        task = self._waiting[name]
        task = replace(task, circumstances={**task.circumstances, "jobs": self.jobs})
        neighbours = self._hosts[self._workers[worker].host]
        begun = checkpoint.pick(task.runs_folder, name, task.wishes)
        arguments = (task, self._needs.data, self._needs.extensions, self._topic, neighbours, begun)
        self._linked().call(worker, remote.execute, *arguments, then=partial(self._answered, worker, task))

    def _answered(self, worker: str, task: Task, answer: Any) -> None:
        """A run has come back, or the news that it will not."""
        if isinstance(answer, GoneError) or not self._desk.end(worker, task.run_id):
            return  # what happens to it was decided when the worker left
        if isinstance(answer, BaseException):
            self._ended.append(Outcome(task.run_id, "failed", one_line(answer)))
            return
        outcome = answer.outcome
        try:
            checkpoint.put(task.runs_folder, task.run_id, answer.checkpoints)
            if outcome.status != "failed":
                store.adopt_run(task.runs_folder, task.run_id, answer.files)
                checkpoint.finish(task.runs_folder, task.run_id)
        except UserError as error:
            outcome = Outcome(task.run_id, "failed", one_line(error))
        self._ended.append(outcome)
