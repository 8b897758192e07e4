"""Locks between processes: on a file that names its holder, and gone with the process that holds it, however it ends.

A lock is the system's (``flock``), not the file: one that a killed process left behind holds nobody up. Locks are
advice among commands of ours. Where none can be had (a file system without them, a full disk, Windows), work goes on
without: whole files and folders (``harness.files``) keep two that make the same thing from spoiling it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UserError, show_path

LOCK_PREFIX = ".lock"
WAIT_SECONDS = 0.1  # between looks at a lock that is waited for
TRIES = 10  # to open a file whose folder comes and goes


class BusyError(Exception):
    """Another process holds the lock; ``holder`` is how it calls itself, or empty."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder or 'another process'}")
        self.holder = holder


def name_of(pid: int) -> str:
    """What a process of this machine calls itself in a lock that it holds."""
    return f"process {pid} on {socket.gethostname()}"


@contextmanager
def held(path: Path, on_wait: Callable[[str], object] | None = None) -> Iterator[None]:
    """Hold a lock during a block; its file is there that long.

    Parameters
    ----------
    path : Path
        The lock's file; its folder is made.
    on_wait : callable, optional
        Called once with the holder's name, if there is one; then the lock is waited for.

    Raises
    ------
    BusyError
        When another process holds it and nobody is to be told of the wait.
    """
    descriptor = None
    with suppress(OSError, ImportError):  # no lock to be had
        descriptor = _try(path)
        if descriptor is None and on_wait is not None:
            on_wait(last_holder(path))
        while descriptor is None:
            if on_wait is None:
                raise BusyError(last_holder(path))
            time.sleep(WAIT_SECONDS)
            descriptor = _try(path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):  # somebody took its folder away
                path.unlink()
            os.close(descriptor)


@contextmanager
def claimed(runs_folder: Path, folder: Path) -> Iterator[None]:
    """Be the one command that is at work on a folder of tables; the lock lies with the runs, which nobody commits.

    Raises
    ------
    UserError
        When another one is.
    """
    digest = hashlib.sha256("/".join(folder.parts[-2:]).encode()).hexdigest()
    try:
        with held(runs_folder / f"{LOCK_PREFIX}-study-{digest[:16]}"):
            yield
    except BusyError as busy:
        raise UserError(
            f"{busy.holder or 'another process'} is at work on {show_path(folder)}; wait for its end, stop it, "
            "or name another folder with --out"
        ) from busy


def last_holder(path: Path) -> str:
    """Name of who holds a lock, or held it when it was killed; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def sweep_locks(folder: Path) -> None:
    """Remove the files of locks that killed processes left in a folder."""
    for path in folder.glob(f"{LOCK_PREFIX}*"):
        with suppress(BusyError), held(path):
            pass


def _try(path: Path) -> int | None:
    """Descriptor of the lock, or None where another process holds it."""
    import fcntl

    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                with suppress(OSError):  # a full disk: then nobody knows the holder's name
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, name_of(os.getpid()).encode(), 0)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # of a file that its last holder removed in this very moment


def _open(path: Path) -> int:
    """Open or make a file, with its folder."""
    for _ in range(TRIES):
        with suppress(
            FileNotFoundError
        ):  # another command, which asked whether it can write there, took its folder back
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
