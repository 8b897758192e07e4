"""What tests of studies share: writing a study file."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path


def writer(folder: Path) -> Callable[..., str]:
    """Make a function that writes a study file, or an extension, and gives its path as a user would type it."""

    def write(text: str | bytes, name: str = "my.toml") -> str:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return str(path)

    return write
