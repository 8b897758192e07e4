"""What is committed in ``results/``, as git has it: who runs a study in the clone changes the files that lie there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from documents import ROOT


def export_results(folder: Path) -> Path:
    """Write the results that git knows, staged ones too, to ``folder/results``; without git, those that lie here."""
    listed = subprocess.run(["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        words = ["git", "checkout-index", "-z", "--stdin", f"--prefix={folder}/"]
        subprocess.run(words, cwd=ROOT, input=listed.stdout, check=True)
    else:
        shutil.copytree(ROOT / "results", folder / "results", ignore=shutil.ignore_patterns("runs", "wandb", "*+*"))
    return folder / "results"
