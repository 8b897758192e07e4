"""What tests of studies share: a small study, and writing a study file."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

# Two variants that differ in their hidden layers; ``more`` stands for further keys of the study.
WIDTHS = """
title = "Widths"
question = "How wide?"
baseline = "narrow"
seeds = 2
{{more}}
[base]
engine = "numpy"
epochs = {epochs}
[variants]
narrow = {{{{ hidden = [3] }}}}
wide = {{{{ hidden = {wide} }}}}
"""


def writer(folder: Path) -> Callable[..., str]:
    """Make a function that writes a study file, or an extension, and gives its path as a user would type it."""

    def write(text: str | bytes, name: str = "my.toml") -> str:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return str(path)

    return write
