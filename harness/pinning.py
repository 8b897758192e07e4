"""Workers bound to cores, one each, where the system allows it and nothing is lost by it.

A worker that stays on its core keeps its caches. It is bound only where workers fill the machine: with fewer of them
than cores the system can do better by moving them about. A core is claimed by a name that the kernel gives to one
process at a time and takes back when the process ends, however it ends; so two commands on one machine never bind two
workers to one core. Linux only; elsewhere, and wherever the system refuses, workers go unbound.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_claims: dict[int, socket.socket] = {}  # kept open as long as this process lives


def pin(workers: int) -> int | None:
    """Bind the calling thread to a core that no other worker on this machine has.

    Parameters
    ----------
    workers
        Workers of the same kind on this machine.

    Returns
    -------
    int or None
        The core; None where the thread was left as it is.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if workers < len(allowed) or len(allowed) < 2:
        return None
    for core in [*_claims, *sorted(allowed, key=_sibling_rank)]:
        if core in allowed and (core in _claims or _claim(core)):
            with suppress(OSError):
                os.sched_setaffinity(0, {core})
                return core
            return None
    return None


def _claim(core: int) -> bool:
    """Take a core's name in the abstract namespace of sockets."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0ablation-bench core {core}")
    except OSError:  # another worker has it
        claim.close()
        return False
    _claims[core] = claim
    return True


def _sibling_rank(core: int) -> tuple[int, int]:
    """First threads of all cores before second ones."""
    with suppress(OSError, ValueError):
        siblings = Path(_TOPOLOGY.format(core)).read_text().strip().replace("-", ",").split(",")
        return sorted(map(int, siblings)).index(core), core
    return 0, core
