"""News from worker processes to the one that started them: epochs as they end, over a loopback socket, one JSON a line.

News is for the eye: a lost line costs nothing, and a worker that cannot send goes on with its run. Results do not
travel this way. A worker may also ask: it then waits for a line that says yes or no.
"""

from __future__ import annotations

import json
import math
import queue
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

Event = dict[str, Any]
CONNECT_SECONDS = 2.0


class Sends(Protocol):
    """Something that sends events."""

    def send(self, event: Event) -> None:
        """Send one event, if anybody listens."""

    def ask(self, event: Event) -> bool:
        """Send one event and wait for the answer; no, if nobody is there to say yes."""


@dataclass(frozen=True)
class Address:
    """Where to send news, and the word that proves the sender is one of ours."""

    port: int
    token: str = field(repr=False)


class Listener:
    """Collects events from any number of senders until it is closed.

    Parameters
    ----------
    answer : callable, optional
        Answers the events that are questions, in a thread of its own for each sender; without it the answer is no.

    Attributes
    ----------
    address : Address or None
        None on a machine without a loopback network: there is no news then.
    """

    def __init__(self, answer: Callable[[Event], bool] = lambda event: False) -> None:
        self._answer = answer
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._socket: socket.socket | None = None
        self.address: Address | None = None
        with suppress(OSError):
            self._socket = socket.create_server(("127.0.0.1", 0))
            self.address = Address(self._socket.getsockname()[1], secrets.token_hex(16))
            threading.Thread(target=self._accept, args=(self._socket, self.address.token), daemon=True).start()

    def drain(self) -> list[Event]:
        """Events that came since the last call."""
        events = []
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    def close(self) -> None:
        """Accept no more senders."""
        if self._socket is not None:
            with suppress(OSError):  # some systems call a listening socket not connected
                self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
            self._socket.close()

    def _accept(self, server: socket.socket, token: str) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._read, args=(connection, token), daemon=True).start()

    def _read(self, connection: socket.socket, token: str) -> None:
        # An error means that the sender died in mid-line, or is none of ours.
        with connection, connection.makefile("r", encoding="utf-8") as lines, suppress(OSError, ValueError):
            if lines.readline(100).strip() == token:
                for line in lines:
                    event = json.loads(line)
                    self._events.put(event)
                    if event.get("question"):
                        connection.sendall(b"yes\n" if self._answer(event) else b"no\n")


class Sender:
    """Sends events to a listener; after the first failure it stays silent."""

    def __init__(self, address: Address | None) -> None:
        self._socket: socket.socket | None = None
        if address is None:
            return
        with suppress(OSError):
            self._socket = socket.create_connection(("127.0.0.1", address.port), CONNECT_SECONDS)
            self._socket.sendall(f"{address.token}\n".encode())

    def send(self, event: Event) -> None:
        """Send one event, if anybody listens."""
        if self._socket is None:
            return
        try:
            self._socket.sendall((json.dumps(finite(event)) + "\n").encode())
        except OSError:
            self.close()

    def ask(self, event: Event) -> bool:
        """Send one event and wait for the answer; no, if nobody is there to say yes."""
        self.send({**event, "question": True})
        reply = b""
        try:
            while self._socket is not None and not reply.endswith(b"\n"):
                self._socket.settimeout(None)
                if not (part := self._socket.recv(8)):
                    self.close()
                reply += part
        except OSError:
            self.close()
        return reply == b"yes\n"

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def finite(value: Any) -> Any:
    """The value with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
