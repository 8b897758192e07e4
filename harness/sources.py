"""Fetch the published files of a data set: from the folder that the user named, or from the web.

Each way of fetching either returns paths of files or says in one line why it could not; ``harness.data`` decides on
the order, ``harness.formats`` on what the files are worth, and ``harness.apt`` fetches from a Debian mirror. Nothing
heavy is imported before something is fetched. The waiting is bounded: a machine without internet, or behind a firewall
that swallows packets, must go on at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

DATA_VARIABLE = "ABLATION_BENCH_DATA"
CONNECT_SECONDS = 5.0  # over all addresses of a data set together
READ_SECONDS = 20.0  # without a single byte

Fetch = Callable[[Path], tuple[Path, ...]]


class SourceError(Exception):
    """A source that yields nothing; the message says why, for the list of what was tried."""


def named_folder(data_dir: Path | None) -> Path | None:
    """Return the folder that the user named: the argument, or else ``ABLATION_BENCH_DATA``, or else none.

    Raises
    ------
    UserError
        Where that folder does not exist or cannot be read.
    """
    name, place = (str(data_dir), "--data-dir") if data_dir else (os.environ.get(DATA_VARIABLE, ""), DATA_VARIABLE)
    if not name:
        return None
    folder = Path(os.path.abspath(os.path.expanduser(name)))
    if not folder.exists():
        raise UserError(f"the data folder {name!r} (from {place}) does not exist")
    if not folder.is_dir():
        raise UserError(f"the data folder {name!r} (from {place}) is not a folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"the data folder {name!r} (from {place}) cannot be read: permission denied")
    return folder


def download(
    names: Sequence[str],
    address: str,
    folder: Path,
    *,
    connect_seconds: float = CONNECT_SECONDS,
    read_seconds: float = READ_SECONDS,
) -> tuple[Path, ...]:
    """Download files from one web folder, with a progress bar where stderr is a terminal.

    Parameters
    ----------
    names : sequence of str
        The files' names.
    address : str
        The web folder.
    folder : Path
        Where to put them; files of these names are overwritten.
    connect_seconds : float
        Time for resolving names and connecting, over all files together.
    read_seconds : float
        The longest wait for a byte.

    Raises
    ------
    SourceError
        Where there is no connection, or the answer is an error, a web page, or short.
    """
    paths = []
    for name in names:
        began = time.monotonic()
        response, connected = _answer(f"{address.rstrip('/')}/{name}", connect_seconds, read_seconds)
        connect_seconds -= connected - began
        n_bytes = response.length
        received = 0
        paths.append(folder / name)
        with response, open(paths[-1], "wb") as file, _progress(name, n_bytes) as advance:
            for chunk in _chunks(response, read_seconds):
                if not received and (_is_html(response) or chunk.lstrip().startswith(b"<")):
                    raise SourceError(f"a web page came instead of {name}")
                file.write(chunk)
                advance(len(chunk))
                received += len(chunk)
        if n_bytes is not None and received != n_bytes:
            raise SourceError(f"{name} was cut off after {received:,} of {n_bytes:,} bytes")
    return tuple(paths)


def _answer(url: str, connect_seconds: float, read_seconds: float) -> tuple[HTTPResponse, float]:
    """Send a request; return the answer, and the time at which the connection stood.

    Resolving a name obeys no timeout, and connecting tries every address of the host in turn; so both happen in a
    thread, which is left behind when the time is up.
    """
    from concurrent.futures import Future, wait

    connected: list[float] = []
    waiting = threading.Event()
    answer: Future[HTTPResponse] = Future()

    def note() -> None:
        connected.append(time.monotonic())
        waiting.set()

    def ask() -> None:
        try:
            answer.set_result(_opener(note, read_seconds).open(url, timeout=connect_seconds))
        except Exception as error:
            answer.set_exception(error)
        finally:
            note()

    threading.Thread(target=ask, name="ablation-bench-download", daemon=True).start()
    if not (connect_seconds > 0 and waiting.wait(connect_seconds)):
        answer.add_done_callback(_abandon)
        raise SourceError(f"no connection within {max(connect_seconds, 0):.3g} s")
    wait([answer], read_seconds)
    if not answer.done():
        answer.add_done_callback(_abandon)
        raise SourceError(f"connected, but no answer within {read_seconds:.3g} s")
    error = answer.exception()
    if error is not None:
        raise SourceError(_why(error)) from error
    return answer.result(), connected[0]


def _abandon(answer: Any) -> None:
    """Close an answer, or the error page, that came after its time."""
    late = answer.exception() or answer.result()
    if hasattr(late, "close"):
        late.close()


def _opener(note: Callable[[], None], read_seconds: float) -> OpenerDirector:
    """Make an opener, with proxies and redirects as usual, whose connections call `note` once they stand."""
    import http.client
    import urllib.request

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(read_seconds)
            note()

    class SecureConnection(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(read_seconds)
            note()

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Connection, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(SecureConnection, req)

    opener = urllib.request.build_opener(Handler, SecureHandler)
    opener.addheaders = [("User-Agent", "ablation-bench")]
    return opener


def _why(error: BaseException) -> str:
    """Say in a few words why a request failed."""
    import socket
    import urllib.error

    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(reason, TimeoutError):
        return "the connection timed out"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__


def _chunks(response: HTTPResponse, read_seconds: float) -> Iterator[bytes]:
    """Yield the body piece by piece; errors of the network become `SourceError`, those of the disk do not."""
    from http.client import HTTPException

    try:
        while chunk := response.read(1 << 16):
            yield chunk
    except TimeoutError as error:
        raise SourceError(f"not a byte came for {read_seconds:.3g} s") from error
    except (OSError, HTTPException) as error:
        raise SourceError(f"the connection broke ({_why(error)})") from error


def _is_html(response: HTTPResponse) -> bool:
    """Tell whether the server calls its answer a web page: a log-in page, say, or an error page with status 200."""
    return response.headers.get_content_type() == "text/html"


@contextmanager
def _progress(label: str, n_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr where that is a terminal; yield what advances it by so many bytes."""
    if not sys.stderr.isatty():
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=n_bytes)
        yield lambda n: progress.advance(task, n)
