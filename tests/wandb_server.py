"""A stand-in for W&B's server on the loopback network: takes in runs, or is as useless as a server can be.

It knows the few requests that this project causes; artifacts it claims to have already, so no file of theirs is sent.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4  # has the form of a key, and is easy to find where it should not be
VIEWER = {"id": "u", "entity": "us", "username": "we", "email": "", "flags": "{}", "admin": False}
NO_NAMES = {"edges": []}
DELAY_SECONDS = 0.3  # of each answer, of a server that delays


class Server(ThreadingHTTPServer):
    """One that ``accepts``, ``delays``, ``refuses the key``, ``drops`` or ``never answers`` requests; and what arrived.

    Attributes: ``opened``, how each run was opened, by id; ``models``, artifacts; ``rows`` of the history, by id.
    """

    daemon_threads = True

    def __init__(self, behaviour: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.requests = 0
        self.opened: dict[str, list[dict[str, Any]]] = {}
        self.models: list[dict[str, Any]] = []
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead W&B here."""
        port = self.server_address[1]
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": KEY, "WANDB_INIT_TIMEOUT": "2"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""


@contextmanager
def server(behaviour: str = "accepts") -> Iterator[Server]:
    """Run a server for a while."""
    with Server(behaviour) as it:
        threading.Thread(target=it.serve_forever, args=(0.05,), daemon=True).start()
        yield it
        it.behaviour = "accepts"  # lets go of those it keeps waiting
        it.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        behaviour = self.server.behaviour
        self.server.requests += 1
        while self.server.behaviour == "never answers":
            time.sleep(0.05)
        self._delay()
        if behaviour in ("drops", "never answers"):
            self.close_connection = True
        elif behaviour == "refuses the key":
            self._answer({}, 401)
        elif self.path == "/graphql":
            request = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
            self._answer({"data": self._graphql(name[1] if name else "", request.get("variables") or {})})
        else:
            self._stream(self.path.split("/")[-2], json.loads(body))
            self._answer({})

    def do_PUT(self) -> None:
        self._body()
        self._delay()
        self._answer({})

    def _delay(self) -> None:
        if self.server.behaviour == "delays":
            time.sleep(DELAY_SECONDS)

    def _graphql(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name == "UpsertBucket":
            if given["groupName"]:
                self.server.opened.setdefault(given["name"], []).append(given)
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "us"}}
            bucket = {"id": given["name"], "name": given["name"], "displayName": "", "description": None}
            bucket |= {"config": "{}", "sweepName": None, "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "Viewer":
            return {"viewer": {**VIEWER, "teams": NO_NAMES, "apiKeys": NO_NAMES}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            if given["input"]["artifactTypeName"] == "model":
                self.server.models.append(given["input"])
            sequence = {"id": "s", "latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}
        if name == "CreateRunFiles":
            place = f"http://{self.headers['Host']}/"
            files = [{"name": file, "uploadUrl": place + file} for file in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {"serverInfo": {"features": []}}

    def _stream(self, run: str, given: dict[str, Any]) -> None:
        history = given.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for place, line in enumerate(history["content"], history["offset"]):
            self.server.rows.setdefault(run, {})[place] = json.loads(line)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
