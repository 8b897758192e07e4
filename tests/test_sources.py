"""Where the files of a data set come from: named folder and web server; and how long each may take."""

from __future__ import annotations

import contextlib
import http.server
import os
import pathlib
import pty
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import data, idx, sources
from harness.errors import UserError
from harness.formats import DatasetSpec

ROOT = pathlib.Path(__file__).resolve().parents[1]
BODY = b"\x1f\x8b" + bytes(range(256)) * 999


@contextlib.contextmanager
def server(answer):
    """A web server on this machine; `answer` is called with each request's handler."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                answer(self)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.block_on_close = False
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/data"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@contextlib.contextmanager
def deaf_address():
    """An address that neither accepts nor refuses: its queue of waiting connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def refused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def send(handler, body=BODY, *, status=200, kind="application/octet-stream", n_bytes=None):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if n_bytes is None else n_bytes))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv(sources.DATA_VARIABLE, raising=False)


# ---------------------------------------------------------------------------------------------------- named folder


def test_the_argument_beats_the_environment_and_nothing_named_is_no_folder(tmp_path, monkeypatch):
    assert sources.named_folder(None) is None
    monkeypatch.setenv(sources.DATA_VARIABLE, "")
    assert sources.named_folder(None) is None
    (tmp_path / "a").mkdir()
    monkeypatch.setenv(sources.DATA_VARIABLE, str(tmp_path))
    assert sources.named_folder(None) == tmp_path
    assert sources.named_folder(tmp_path / "a") == tmp_path / "a"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.named_folder(pathlib.Path("~/a")) == tmp_path / "a"


def test_a_named_folder_that_does_not_exist_or_is_a_file_is_an_error_that_says_where_the_name_came_from(
    tmp_path, monkeypatch
):
    with pytest.raises(UserError, match=r"gone' \(from --data-dir\) does not exist"):
        sources.named_folder(tmp_path / "gone")
    (tmp_path / "file").touch()
    monkeypatch.setenv(sources.DATA_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file' \(from ABLATION_BENCH_DATA\) is not a folder"):
        sources.named_folder(None)


# ---------------------------------------------------------------------------------------------------- download


def test_files_are_downloaded_whole_and_in_silence_where_there_is_no_terminal(tmp_path, capfd):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        send(handler, BODY + handler.path.encode())

    with server(answer) as address:
        paths = sources.download(["one.gz", "two.gz"], address + "/", tmp_path)
    assert asked == ["/data/one.gz", "/data/two.gz"]
    assert paths == (tmp_path / "one.gz", tmp_path / "two.gz")
    assert [path.read_bytes() for path in paths] == [BODY + b"/data/one.gz", BODY + b"/data/two.gz"]
    assert capfd.readouterr() == ("", "")


def redirect(handler):
    if handler.path.startswith("/data/"):
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    else:
        send(handler)


def test_a_redirect_is_followed(tmp_path):
    with server(redirect) as address:
        assert sources.download(["one.gz"], address, tmp_path)[0].read_bytes() == BODY


def test_a_body_of_unknown_length_is_read_to_its_end(tmp_path):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)

    with server(answer) as address:
        assert sources.download(["one.gz"], address, tmp_path)[0].read_bytes() == BODY


def stall(handler):
    send(handler, BODY[:10_000], n_bytes=len(BODY))
    handler.wfile.flush()
    time.sleep(2)


FAILURES = {
    "a web page": (
        lambda handler: send(handler, b"\n<html>log in</html>", kind="text/html; charset=utf-8"),
        "web page",
    ),
    "a web page in disguise": (lambda handler: send(handler, b"\n <!DOCTYPE html>"), "web page"),
    "not found": (lambda handler: send(handler, b"no", status=404), "answered 404"),
    "server error": (lambda handler: send(handler, b"no", status=503), "answered 503"),
    "cut off": (lambda handler: send(handler, BODY[:1000], n_bytes=len(BODY)), "cut off after 1,000 of 255,746 bytes"),
    "stalled": (stall, "not a byte came for 0.3 s"),
    "no answer": (lambda handler: time.sleep(2), "no answer within 0.3 s|timed out"),
    "not HTTP": (lambda handler: handler.wfile.write(b"220 ftp ready\r\n"), "220 ftp ready"),
}


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_a_download_that_fails_says_why(tmp_path, failure):
    answer, why = FAILURES[failure]
    with server(answer) as address, pytest.raises(sources.SourceError, match=why):
        sources.download(["one.gz"], address, tmp_path, read_seconds=0.3)


def test_a_refused_connection_and_an_unknown_host_fail_at_once(tmp_path):
    began = time.monotonic()
    with pytest.raises(sources.SourceError, match="connection refused"):
        sources.download(["one.gz"], refused_address(), tmp_path)
    with pytest.raises(sources.SourceError, match=r"name cannot be resolved|no connection"):
        sources.download(["one.gz"], "http://nowhere.invalid", tmp_path, connect_seconds=1.0)
    assert time.monotonic() - began < 3


def test_an_address_that_swallows_packets_costs_no_more_than_the_time_for_connecting(tmp_path):
    with deaf_address() as address:
        began = time.monotonic()
        with pytest.raises(sources.SourceError, match=r"no connection within 0\.3 s|timed out"):
            sources.download(["one.gz"], address, tmp_path, connect_seconds=0.3)
        assert time.monotonic() - began < 0.8


def test_a_name_server_that_does_not_answer_costs_no_more_than_the_time_for_connecting(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1.0) or [])
    began = time.monotonic()
    with pytest.raises(sources.SourceError, match=r"no connection within 0\.2 s"):
        sources.download(["one.gz"], "http://example.invalid", tmp_path, connect_seconds=0.2)
    assert time.monotonic() - began < 0.7


def test_all_addresses_together_get_no_more_than_the_time_for_connecting(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.6)
    with deaf_address() as first, deaf_address() as second:
        spec = DatasetSpec("tiny", idx.LAYOUT, ("a",), (1, 1), 1, 1, addresses=(first, second))
        began = time.monotonic()
        for _, fetch in data.remote(spec):
            with pytest.raises(sources.SourceError):
                fetch(tmp_path)
        assert time.monotonic() - began < 1.1


def test_a_server_that_is_slow_once_connected_is_waited_for(tmp_path):
    def answer(handler):
        time.sleep(0.4)
        send(handler)

    with server(answer) as address:
        assert sources.download(["one.gz"], address, tmp_path, connect_seconds=0.2)[0].read_bytes() == BODY


def test_a_full_disk_is_not_mistaken_for_a_broken_connection(tmp_path):
    (tmp_path / "one.gz").mkdir()
    with server(send) as address, pytest.raises(OSError, match="Is a directory"):
        sources.download(["one.gz"], address, tmp_path)


def test_a_progress_bar_is_shown_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    code = "import sys, pathlib; from harness.sources import download; "
    code += "download(['one.gz'], sys.argv[1], pathlib.Path(sys.argv[2]))"

    def slowly(handler):
        send(handler, BODY[:100_000], n_bytes=len(BODY))
        handler.wfile.flush()
        time.sleep(0.3)
        handler.wfile.write(BODY[100_000:])

    with server(slowly) as address:
        run = subprocess.run(
            [sys.executable, "-c", code, address, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
            check=True,
        )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal announces itself
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert run.stdout == b""
    assert b"one.gz" in shown
    assert b"kB" in shown
