"""Peak memory: it grows with what is used, and can be told for one stretch of work at a time."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from harness import memory

SIZE = 80_000_000


def use(size: int) -> None:
    """Touch so many bytes and give them back."""
    np.ones(size, np.uint8).sum()


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
