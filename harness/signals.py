"""Ctrl-C: where it may strike, where it must wait, and who hears of it.

Ctrl-C raises KeyboardInterrupt at any moment in the main thread. That is right nearly everywhere, but worker processes
must not be torn while they are started, cleaning up must not be broken off, and a library may swallow the exception or
make another one of it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_stopping = threading.Event()


def install() -> None:
    """Treat a request to end this process (SIGTERM, SIGHUP) as Ctrl-C, and let `checkpoint` know of both."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _stop)
    report, show, lose = sys.unraisablehook, sys.excepthook, threading.excepthook
    # What was broken off leaves half-made objects, which complain when they are deleted.
    sys.unraisablehook = lambda lost: None if _stopping.is_set() else report(lost)
    # So may threads of libraries: that of a pool of workers looks for what it has given to one that was ended.
    threading.excepthook = lambda lost: None if _stopping.is_set() else lose(lost)
    # Some libraries print what broke off their import, and go on with another error.
    sys.excepthook = lambda kind, *rest: None if _stopping.is_set() and kind is KeyboardInterrupt else show(kind, *rest)


def checkpoint() -> None:
    """Raise KeyboardInterrupt again where a library swallowed it, as some do while they are imported."""
    if _stopping.is_set():
        raise KeyboardInterrupt


@contextmanager
def restored() -> Iterator[None]:
    """An error that Ctrl-C became on its way through a library is KeyboardInterrupt again behind this block."""
    try:
        yield
    except Exception:
        checkpoint()
        raise


@contextmanager
def ignored() -> Iterator[None]:
    """Ctrl-C does nothing in this block: an earlier one is being seen to."""
    if not _is_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def deferred() -> Iterator[None]:
    """Ctrl-C waits for the end of this block, and processes that are started in it never get one."""
    came: list[object] = []
    main = _is_main_thread()
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(1)) if main else None
    # A child inherits what its parent's thread has blocked, so it is deaf before its first instruction.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _stop(*_: object) -> None:
    _stopping.set()
    raise KeyboardInterrupt


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
