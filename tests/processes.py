"""What tests share that start processes: commands as a user types them, waiting, and who is still alive (Linux)."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 120.0  # after which something counts as hanging

# A shell has what it starts in the background ignore Ctrl-C, and so would the commands that tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclasses.dataclass
class Command:
    """A command as a user starts it: a process of its own, in a group of its own, in some folder."""

    folder: Path
    module: str = "harness.ablate"

    def start(self, *arguments: str | Path, environment: dict[str, str] | None = None, **options: Any) -> Any:
        """Begin ``python -m MODULE``; options are those of Popen."""
        return subprocess.Popen(
            [sys.executable, "-m", self.module, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
            encoding="utf-8",
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Status, stdout and stderr at the end."""
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, out, err

    def __call__(self, *arguments: str | Path, **options: Any) -> tuple[int, str, str]:
        """Carry a command out."""
        return self.finish(self.start(*arguments, **options))


def children(pid: int) -> set[int]:
    """Process numbers of all living descendants."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(path.parent.name)
            found |= {child} | children(child)
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still do something."""
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(pid)
    return found


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
