"""Peak memory, which can be told for one stretch of work at a time; and too little memory, told in one line."""

from __future__ import annotations

import errno
import math
import mmap
import resource
import sys
from pathlib import Path

import pytest
from complaints import complaint

from harness import command, memory

SIZE = 80_000_000


def use(size: int) -> None:
    """Touch so many bytes and give them back to the system: what is freed on the heap may stay with the process."""
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1


def test_the_peak_is_at_least_what_was_in_use():
    use(SIZE)
    assert memory.peak_bytes() > SIZE


def can_forget() -> bool:
    """Whether this system lets a process forget its peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def test_a_stretch_has_its_own_peak_where_the_system_can_forget():
    forgets = can_forget()
    use(SIZE)
    before = memory.peak_bytes()
    memory.reset_peak()
    after = memory.peak_bytes()
    use(SIZE)
    if forgets:
        assert after < before - SIZE / 2
        assert memory.peak_bytes() > after + SIZE / 2
    else:
        assert after >= before


@pytest.mark.skipif(sys.platform == "win32", reason="has no such module")
def test_without_proc_the_systems_own_account_serves(monkeypatch, tmp_path):
    expected = memory.peak_bytes()
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "none")
    memory.reset_peak()
    assert memory.peak_bytes() >= 0.5 * expected


def test_a_system_that_tells_nothing_gives_nan(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(memory.peak_bytes())


@pytest.mark.parametrize("limit_mib", [64, memory.MINIMUM_MIB - 1])
def test_a_limit_too_low_for_the_libraries_is_one_line(monkeypatch, limit_mib):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit_mib << 20, resource.RLIM_INFINITY))
    message = complaint(memory.require_address_space)
    assert message.startswith(f"memory is limited to {limit_mib:,} MiB of address space (ulimit -v)")


@pytest.mark.parametrize("limit", [memory.MINIMUM_MIB << 20, resource.RLIM_INFINITY])
def test_a_limit_that_leaves_room_is_no_trouble(monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    memory.require_address_space()


SHORT = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libX.so: failed to map segment from shared object"),
    OSError("libX.so: cannot allocate memory in static TLS block"),
]


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_want_of_memory_is_known_in_all_its_forms_and_behind_other_errors(error):
    assert memory.ran_out(error)
    later, last = ValueError("another"), KeyError("yet another")
    later.__context__, last.__cause__ = error, later
    assert memory.ran_out(last)


@pytest.mark.parametrize(
    "error", [ValueError("memory"), OSError(errno.ENOSPC, "No space"), ImportError("no such"), None]
)
def test_other_errors_are_no_want_of_memory(error):
    assert not memory.ran_out(error)


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_a_command_that_runs_out_of_memory_says_so_in_one_line(capsys, error):
    def act(_: object) -> int:
        raise error

    assert command.run(act, []) == command.WRONG_REQUEST
    assert capsys.readouterr().err == "error: out of memory; finished runs are kept, and the same command goes on\n"


def test_available_memory_is_what_the_machine_or_its_group_can_give(monkeypatch, tmp_path):
    assert 0 < memory.available_bytes() < math.inf
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert memory.available_bytes() == 4000 * 1024
    for name, text in (
        ("memory.max", "3000000"),
        ("memory.current", "2500000"),
        ("memory.stat", "anon 7\ninactive_file 100000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert memory.available_bytes() == 600_000
    (tmp_path / "memory.max").write_text("max")
    assert memory.available_bytes() == 4000 * 1024
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "none")
    assert memory.available_bytes() > 1e6


def test_a_control_group_of_the_older_kind_counts_too(monkeypatch, tmp_path):
    group = tmp_path / "memory"
    group.mkdir()
    for name, text in (
        ("memory.limit_in_bytes", "3000"),
        ("memory.usage_in_bytes", "2500"),
        ("memory.stat", "total_inactive_file 100\n"),
    ):
        (group / name).write_text(text)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert memory.available_bytes() == 600
