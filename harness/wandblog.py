"""The file in which W&B keeps a run: whether it has been written to its end.

W&B says that a run is finished before its service has written the last of it; only the file tells. It is a header of
7 bytes and blocks of 32 KiB, of records in pieces: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3: middle,
4: last), and so many bytes. A record is a message in the format of protocol buffers: its number, and one field that
tells what it is about.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
PIECE = struct.Struct("<IHB")
WHOLE, FIRST, LAST = 1, 2, 4
WRITING_SECONDS = 20.0  # from a run's end to the end of its file
ENDS = {18, 20, 22}  # that the run has ended, and what may follow on that
VARINT, FIXED_64, TEXT, FIXED_32 = 0, 1, 2, 5  # kinds of fields


def is_ended(path: Path) -> bool:
    """Whether the last record of a run's file says that the run has ended."""
    content = path.read_bytes()
    record, place, whole = b"", HEADER_BYTES, False
    while place < len(content):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < PIECE.size:  # filled up
            place += left
            continue
        if place + PIECE.size > len(content):
            return False
        _, length, kind = PIECE.unpack_from(content, place)
        place += PIECE.size + length
        piece = content[place - length : place]
        record = piece if kind in (WHOLE, FIRST) else record + piece
        whole = kind in (WHOLE, LAST) and len(piece) == length
    return whole and not ENDS.isdisjoint(_fields(record))


def wait_for_end(path: Path) -> None:
    """Wait until W&B's service has written all of a run.

    Raises
    ------
    RuntimeError
        When that takes too long.
    """
    end = time.monotonic() + WRITING_SECONDS
    while not is_ended(path):
        if time.monotonic() > end:
            raise RuntimeError(f"{path.name} was not written to its end")
        time.sleep(0.01)


def _fields(message: bytes) -> set[int]:
    """Numbers of the fields of a message; none for what is no message."""
    found, place = set(), 0
    try:
        while place < len(message):
            key, place = _varint(message, place)
            found.add(key >> 3)
            if key & 7 == VARINT:
                _, place = _varint(message, place)
            elif key & 7 == TEXT:
                length, place = _varint(message, place)
                place += length
            else:
                place += {FIXED_64: 8, FIXED_32: 4}[key & 7]
    except LookupError:
        return set()
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
