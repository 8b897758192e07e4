"""Peak memory of this process over a stretch of work, where the system tells.

Linux can forget the peak so far, so that a run in a worker that has made others before is told its own peak. Elsewhere
the peak is that of the process since it began. It counts resident memory, mapped files such as the data set included.
"""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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
