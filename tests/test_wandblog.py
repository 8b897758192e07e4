"""The end of the file in which W&B keeps a run: found where it is, whatever is cut off, and nowhere else."""

from __future__ import annotations

import struct

import pytest

from harness.wandblog import is_ended

HEADER = b":W&B\xe1\xbe\x00"
RUN, EXIT = b"\x8a\x01", b"\x92\x01"  # fields 17 and 18, with bytes


def record(field: bytes, length: int) -> bytes:
    """A message: its number, and a field of so many bytes."""
    size = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
    return b"\x08\x05" + field + size + b"\x12" * length


def log(*records: bytes) -> bytes:
    """A file of records, in pieces that fit into blocks of 32 KiB."""
    content = bytearray(HEADER)
    for rest in records:
        first = True
        while first or rest:
            left = 32768 - len(content) % 32768
            if left < 7:
                content += bytes(left)
                continue
            piece, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            content += struct.pack("<IHB", 0, len(piece), kind) + piece
            first = False
    return bytes(content)


@pytest.mark.parametrize("length", [0, 5, 32721, 32722, 32723, 32729, 32735, 32740, 100_000])
def test_a_run_has_ended_when_its_last_record_is_there_to_its_last_byte(tmp_path, length):
    before, end = log(record(RUN, length)), log(record(RUN, length), record(EXIT, 3))
    path = tmp_path / "run.wandb"
    path.write_bytes(end)
    assert is_ended(path)
    for cut in (0, 3, 7, len(before), *range(len(before) + 1, len(end))):
        path.write_bytes(end[:cut])
        assert not is_ended(path)


def test_an_end_that_is_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "run.wandb"
    path.write_bytes(log(record(EXIT, 100_000)))
    assert is_ended(path)
    path.write_bytes(log(record(EXIT, 100_000))[:-1])
    assert not is_ended(path)


def test_what_follows_the_end_of_a_run_that_goes_on_is_no_end(tmp_path):
    path = tmp_path / "run.wandb"
    path.write_bytes(log(record(EXIT, 3), record(RUN, 3)))
    assert not is_ended(path)
    path.write_bytes(HEADER + b"\xff" * 100)
    assert not is_ended(path)
