"""What all command lines share: errors as one line, Ctrl-C without a traceback, and output that may lose its reader.

Exit status: 0 done, 1 some run failed, 2 the request was wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from harness import memory, signals
from harness.errors import UserError, show, unknown

DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
MAX_JOBS = 1024  # processes of this machine


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the nearest option."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments.

        Raises
        ------
        UserError
            For an option or an argument too many, or a value that is not of its option's kind.
        """
        options, rest = self.parse_known_args(arguments)
        if not rest:
            return options
        if rest[0].startswith("-"):
            raise unknown(
                "option", rest[0].partition("=")[0], (name for name in self._option_string_actions if "--" in name)
            )
        raise UserError(f"{show(rest[0])} is one argument too many; see python -m {self.prog} --help")

    def error(self, message: str) -> NoReturn:
        """Turn argparse's complaint into ours."""
        raise UserError(f"{message}; see python -m {self.prog} --help")


def folder(text: str) -> Path:
    """Option value that names a folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a folder is empty")
    return Path(text)


def number(text: str) -> int | str:
    """Option value that should be a whole number; where it is none, who checks its range can say what is wanted."""
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else text


def require_number(name: str, value: object, most: int) -> None:
    """Check an option that is a whole number from 1 on, if it was given.

    Raises
    ------
    UserError
        With its name and its range.
    """
    if value is not None and not (isinstance(value, int) and 1 <= value <= most):
        raise UserError(f"{name} = {show(value)}: must be a whole number in [1, {most}]")


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Call a command with its arguments; returns its exit status, with what went wrong on stderr in one line."""
    try:
        with signals.restored():
            return command(arguments)
    except UserError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return WRONG_REQUEST
    except KeyboardInterrupt:
        print("stopped before any run began", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not memory.ran_out(error):
            raise
        print("error: out of memory; finished runs are kept, and the same command goes on", file=sys.stderr)
        return WRONG_REQUEST


def main(command: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command as this process's whole purpose; never returns."""
    signals.install()
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed standard stream: no other file may take its place
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout, sys.stderr = cast(TextIO, _Output(sys.stdout)), cast(TextIO, _Output(sys.stderr))
    status = run(command, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late to stop anything
    if status == INTERRUPTED:  # modules that were broken off half-imported may crash when Python takes them down
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _one_line(error: UserError) -> str:
    """An error's message without line breaks and other unprintable characters that a name may have brought in."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(error))


class _Output:
    """A standard stream that cannot fail: what nobody reads is dropped, what it cannot encode is written as codes."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[..., Any], *arguments: Any) -> None:
        try:
            act(*arguments)
        except OSError:  # its reader has gone, or the disk is full: from here on into nothing
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
