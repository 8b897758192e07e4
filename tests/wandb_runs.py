"""What tests of tracking share: a study on the small data set, and W&B's own reader of the runs that it keeps."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from studyfiles import WIDTHS

STUDY = WIDTHS.format(epochs=3, wide="[11, 7]")


@dataclasses.dataclass
class Seen:
    """A run as ``wandb leet inspect`` shows it: ``run``, ``config``, ``rows``, ``summary``, ``models``, ``exits``."""

    run: dict[str, Any]
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    exits: list[int]

    def models(self) -> list[dict[str, Any]]:
        return [artifact for artifact in self.artifacts if artifact["type"] == "model"]


def folders(root: Path) -> list[Path]:
    """Folders of runs in W&B's folder."""
    return sorted(path for path in root.glob("*run-*") if path.is_dir())


def ids(root: Path) -> list[str]:
    """W&B's ids of the runs in its folder, as often as they are there."""
    names = (re.sub(r"^(offline-)?run-\d+_\d+-", "", path.name) for path in folders(root))
    return sorted(re.sub(r"(?<=-[0-9a-f]{8})-\d+$", "", name) for name in names)  # two of one second differ at the end


def read(folder: Path) -> Seen:
    """Read a run's folder as ``wandb leet inspect FOLDER --json`` does, without half a second of Python around it."""
    (package,) = importlib.util.find_spec("wandb").submodule_search_locations
    (file,) = folder.glob("*.wandb")
    core = [str(Path(package, "bin", "wandb-core")), "leet", "inspect", "--no-observability"]
    command = [*core, "--json", "--run-file", str(file), str(folder.parent)]
    output = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    records = [json.loads(line) for line in output.splitlines()]

    def of(kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in records if record["type"] == kind]

    (run,) = of("run")
    config = dict(run["config"]["update"])
    summary: dict[str, Any] = {}
    for change in of("config"):
        config.update(change.get("update", {}))
    for change in of("summary"):
        summary.update(change.get("update", {}))
    return Seen(
        run=run,
        config=config,
        rows=[row["item"] for row in of("history")],
        summary=summary,
        artifacts=of("artifact"),
        metrics=of("metric"),
        exits=[end["exit_code"] for end in of("exit")],
    )


def read_all(root: Path) -> dict[str, Seen]:
    """Read all runs in W&B's folder, by their names; the study's own is called after its group."""
    return {seen.run["display_name"]: seen for seen in map(read, folders(root))}
