"""Memory: this process's peak over a stretch of work, what is still to be had, and whether there was too little.

Linux can forget the peak so far, so that a run in a worker that has made others before is told its own peak. Elsewhere
the peak is that of the process since it began. It counts resident memory, mapped files such as the data set included.
"""

from __future__ import annotations

import errno
import math
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from harness.errors import UserError

MINIMUM_MIB = 1536  # of address space: less, and a library fails while it is loaded, in ways of its own
_UNLOADABLE = re.compile("failed to map segment|[Cc]annot allocate memory")  # as the system's loader puts it
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MACHINE, _GROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def reset_peak() -> None:
    """Begin a stretch: forget the peak so far, where the system can."""
    with suppress(OSError):  # no Linux, or not allowed in this container
        _CLEAR.write_text("5")


def peak_bytes() -> float:
    """Largest resident memory since :func:`reset_peak`, or else since the process began; NaN where nobody knows."""
    with suppress(OSError, ValueError, IndexError):
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024  # "VmHWM:   12345 kB", and these are 1,024 bytes each
    with suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return math.nan


def require_address_space() -> None:
    """Make sure, before any work, that a limit on memory leaves room for the libraries.

    Raises
    ------
    UserError
        With the limit and what is needed.
    """
    with suppress(ImportError):  # not on Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY and limit < MINIMUM_MIB << 20:
            raise UserError(
                f"memory is limited to {limit >> 20:,} MiB of address space (ulimit -v): at least {MINIMUM_MIB:,} "
                "are needed"
            )


def ran_out(error: BaseException | None) -> bool:
    """Whether an error says, itself or by what led to it, that there was too little memory."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, (ImportError, OSError)) and _UNLOADABLE.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def available_bytes() -> float:
    """Memory that this machine, or this process's control group, can still give; infinite where nobody knows."""
    return min(_machine_bytes(), _group_bytes())


def _machine_bytes() -> float:
    with suppress(OSError, ValueError, IndexError):
        (line,) = (line for line in _MACHINE.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024.0
    with suppress(ValueError, OSError, AttributeError):  # no Linux: of all memory, half
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return math.inf


def _group_bytes() -> float:
    """What is left of a control group's limit, of either version; files that it may drop count as free."""
    for folder, limit, used, idle in (
        (_GROUPS, "memory.max", "memory.current", "inactive_file"),
        (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # no such group, or "max": no limit
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
            return float(left + sum(int(line.split()[1]) for line in lines if line.split()[0] == idle))
    return math.inf
