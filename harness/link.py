"""The one line to a Dask scheduler: calls to workers by their address, each of them answered, and who comes and goes.

All of ``distributed`` that the rest of the program touches is here. Dask's own scheduling is not used: a call goes to
the worker that it names and to no other. Every call is answered, by what the function gave or by an exception, which
is `GoneError` where the worker ended first. Answers are handed out by :meth:`Link.turn`, in the thread that calls it.
Nothing waits for ever: a scheduler that is gone, or does not answer, ends the link.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from harness.errors import UserError
from harness.places import PlaceLostError

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0  # after which a silent scheduler counts as gone
WATCH_SECONDS = 1.0
CLOSE_SECONDS = 2.0
MOST_TURN_SECONDS = 2.0  # a turn that took longer was held up by something else

Then = Callable[[Any], Any]  # called with an answer


class GoneError(Exception):
    """The worker that was called has ended."""


class Link:
    """A connection to a scheduler.

    Parameters
    ----------
    address : str
        Of the scheduler.
    on_join : callable
        Called with a worker's address and its number of threads when it comes.
    on_leave : callable
        Called with its address when it goes, and whether that was as asked for: it was retired, say.

    Attributes
    ----------
    clock : float
        Seconds that this process has been at it: it stands still while the process is stopped, or its machine asleep.

    Raises
    ------
    UserError
        When nobody answers there.
    """

    def __init__(self, address: str, on_join: Callable[[str, int], Any], on_leave: Callable[[str, bool], Any]) -> None:
        quiet()
        from distributed import Client

        self.address = address
        self._on_join, self._on_leave = on_join, on_leave
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._calls: dict[str, tuple[str, Any, Then]] = {}  # by key: the worker, the future, what follows
        self._workers: dict[str, int] = {}  # threads by address
        self._name = f"ablation-bench-{uuid.uuid4().hex}"
        self._count = 0
        self.clock = 0.0
        self._heard, self._turned = 0.0, time.monotonic()
        # Made in two steps, so that one that fails can be closed. Left to the collector of garbage, it is closed at any
        # moment: also while the next client starts, and then the two wait for each other for ever.
        self._client = Client.__new__(Client)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other versions over there: what matters is checked by us
                Client.__init__(self._client, address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, ImportError, TypeError, RuntimeError) as error:
            with suppress(Exception):
                self._client.close(timeout=CONNECT_SECONDS)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"no Dask scheduler answers at {address} (--scheduler): {reason}") from None
        self._topics = ["all"]
        self._client.subscribe_topic("all", self._hear)
        self._client.loop.add_callback(self._watch)

    def subscribe(self, topic: str, handle: Callable[[Any], Any]) -> None:
        """Have events of a topic handed on, from another thread."""
        self._topics.append(topic)
        self._client.subscribe_topic(topic, lambda event: handle(event[1]))

    def call(self, worker: str, function: Callable[..., Any], *arguments: Any, then: Then) -> None:
        """Have a worker call a function; ``then`` is called with the answer."""
        self._count += 1
        key = f"{self._name}-{self._count}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large arguments
            future = self._client.submit(
                function,
                *arguments,
                key=key,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                priority=-self._count,
            )
        self._calls[key] = worker, future, then
        self._client.loop.add_callback(self._follow, key, future)

    def send(self, worker: str, pieces: Sequence[Any], then: Then) -> None:
        """Put objects into a worker's memory; the answer stands for them among the arguments of a call."""
        self._count += 1
        key = f"{self._name}-{self._count}"
        self._calls[key] = worker, None, then
        self._client.loop.add_callback(self._scatter, key, worker, list(pieces))

    def turn(self, seconds: float) -> None:
        """Wait for news, for so long at most, and hand out what there is, for about as long.

        Raises
        ------
        PlaceLostError
            When the scheduler is gone.
        """
        with suppress(queue.Empty):
            message = self._inbox.get(timeout=seconds)
            end = time.monotonic() + seconds
            self._handle(*message)
            while time.monotonic() < end:
                self._handle(*self._inbox.get_nowait())
        now = time.monotonic()
        self.clock += min(now - self._turned, MOST_TURN_SECONDS)
        self._turned = now
        if self._client.status != "running":
            raise PlaceLostError(f"the scheduler at {self.address} is gone")
        if self.clock - self._heard > ANSWER_SECONDS:
            raise PlaceLostError(f"the scheduler at {self.address} has not answered for {ANSWER_SECONDS:.0f} s")

    def close(self) -> None:
        """Leave; what workers still do for us is called off."""
        futures = [future for _, future, _ in self._calls.values() if future is not None]
        self._calls.clear()
        with suppress(Exception):  # the scheduler may be gone
            if self._client.status == "running":
                for topic in self._topics:
                    self._client.unsubscribe_topic(topic)
                self._client.cancel(futures, force=True)
        with suppress(Exception):
            self._client.close(timeout=CLOSE_SECONDS)

    # What follows runs in the client's thread, but for _handle and _left.

    def _hear(self, event: Any) -> None:
        """An event that the scheduler tells everybody."""
        if isinstance(event[1], dict) and event[1].get("action") == "remove-worker":
            self._inbox.put(("left", event[1]["worker"], bool(event[1].get("expected"))))

    async def _watch(self) -> None:
        """Ask for all workers now and then: the first ones, and a sign of life."""
        while self._client.status == "running":
            with suppress(Exception):
                threads = await asyncio.wait_for(self._client.scheduler.ncores(), ANSWER_SECONDS)
                self._inbox.put(("workers", dict(threads)))
            await asyncio.sleep(WATCH_SECONDS)

    async def _follow(self, key: str, future: Any) -> None:
        """Wait for an answer, and fetch it."""
        try:
            answer = await self._client.gather(future, asynchronous=True)
        except BaseException as error:  # whatever it is, it is the answer; cancellation among them
            answer = error
        self._inbox.put(("answer", key, answer))

    async def _scatter(self, key: str, worker: str, pieces: list[Any]) -> None:
        try:
            answer = await self._client.scatter(pieces, workers=[worker], hash=False, asynchronous=True)
        except BaseException as error:
            answer = error
        self._inbox.put(("answer", key, answer))

    def _handle(self, what: str, subject: Any, answer: Any = None) -> None:
        if what == "answer":
            _, _, then = self._calls.pop(subject, (None, None, None))
            if then is not None:
                then(answer)
        elif what == "workers":
            self._heard = self.clock
            for worker, threads in subject.items():
                if worker not in self._workers:
                    self._workers[worker] = threads
                    self._on_join(worker, threads)
        else:
            self._left(subject, answer)

    def _left(self, worker: str, expected: bool) -> None:
        if self._workers.pop(worker, None) is None:
            return
        self._on_leave(worker, expected)
        lost = [key for key, call in self._calls.items() if call[0] == worker]
        calls = [self._calls.pop(key) for key in lost]
        futures = [future for _, future, _ in calls if future is not None]
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)  # or a new worker at this address would take them up
        for _, _, then in calls:
            then(GoneError(f"the worker {worker} has ended"))


def quiet() -> None:
    """Keep Dask's own log off the screen of this process; call it before ``distributed`` is imported."""
    try:
        import dask
    except ImportError:
        raise UserError(
            "Dask is not installed: pip install 'ablation-bench[dask]', or leave out --backend and --scheduler"
        ) from None
    names = ("distributed", "distributed.client", "distributed.gc", "bokeh", "tornado", "tornado.application")
    dask.config.set({"logging": dict.fromkeys(names, "critical")})
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
