"""What tests of the documents share: texts, the code blocks in them, and registries that forget what examples add."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from kernels.activations import ACTIVATIONS
from kernels.losses import LOSSES
from kernels.optimizers import OPTIMIZERS

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    """A document's text, by its path in the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Fenced blocks of a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)


def write_extensions(folder: Path) -> list[Path]:
    """Write the examples of CONTRIBUTING.md into files of the names that their first lines give."""
    paths = []
    for code in blocks("CONTRIBUTING.md", "python"):
        paths.append(folder / code.split()[1])
        paths[-1].write_text(code, encoding="utf-8")
    return paths


@contextlib.contextmanager
def forgetful_registries() -> Iterator[None]:
    """Registries as before, afterwards, so that extensions can be loaded again and other tests see none of them."""
    kept = [(registry, dict(registry)) for registry in (ACTIVATIONS, LOSSES, OPTIMIZERS)]
    modules = set(sys.modules)
    try:
        yield
    finally:
        for registry, before in kept:
            registry.clear()
            registry.update(before)
        for name in set(sys.modules) - modules:
            if name.startswith("ablation_extension_"):
                del sys.modules[name]
