"""News from worker processes to the one that started them: epochs as they end, over a loopback socket, one JSON a line.

News is for the eye: a lost line costs nothing, and a worker that cannot send goes on with its run. Results do not
travel this way.
"""

from __future__ import annotations

import json
import math
import queue
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Address:
    """Where to send news, and the word that proves the sender is one of ours."""

    port: int
    token: str = field(repr=False)


class Listener:
    """Collects events from any number of senders until it is closed.

    Attributes
    ----------
    address : Address or None
        None on a machine without a loopback network: there is no news then.
    """

    def __init__(self) -> None:
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
                    self._events.put(json.loads(line))


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
            self._socket.sendall((json.dumps(_finite(event)) + "\n").encode())
        except OSError:
            self.close()

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _finite(value: Any) -> Any:
    """The value with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
