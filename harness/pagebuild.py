"""The page: one HTML file from the data of studies and the sources in ``harness/page/``.

Scripts and style stand in the file, and a Content-Security-Policy with their hashes lets the browser run these and
nothing else: no text of a study can become code, and nothing is ever loaded. The data stand in elements of their own
as JSON, see ``harness.compact``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import pagedata, pagelayers, pictures, plots
from harness.committed import StudyFolder
from harness.compact import dumps, rounded
from harness.outputs import impersonal

SCRIPTS = (  # in this order, all inside one function
    *("dom", "format", "data", "stats", "looks", "scale", "chart", "lines", "filter", "table", "choice"),
    *("results", "runs", "curves", "budget", "spread", "confusion", "classes", "layers", "histograms", "grids"),
    *("response", "parallel", "pictures", "facts", "search", "study", "overview", "compare", "main"),
)
MAX_QUANTILES = 500


def study_record(folder: StudyFolder, results: Path, data_dir: Path | None) -> dict[str, Any]:
    """All that the page holds of a study."""
    record = pagedata.study(folder)
    names = pagedata.variant_names(folder)
    pagelayers.add(record, folder, names, results / "runs")
    pictures.add(record, folder, pagelayers.in_details(folder, names), record["focus"], data_dir)
    record["problems"] = [impersonal(problem) for problem in folder.problems]
    return record


def page(records: Sequence[Mapping[str, Any]], command: str, version: str) -> str:
    """The whole file.

    Parameters
    ----------
    records : sequence of mappings
        As from `study_record`.
    command : str
        The command that makes this page.
    version : str
        Of this package.
    """
    seeds = max([_most_runs(record) for record in records], default=0)
    common = {
        "command": command,
        "version": version,
        "studies": len(records),
        "looks": {"colours": plots.COLOURS, "lines": plots.LINES, "markers": plots.MARKERS},
        "t": rounded(pagelayers.t_quantile(np.arange(-1.0, min(seeds, MAX_QUANTILES))), 6),
    }
    style = source("page.css")
    script = "(() => {\n'use strict';\n" + "\n".join(source(f"{name}.js") for name in SCRIPTS) + "\n})();\n"
    data = [_json("common", common), *(_json(f"study-{i}", record) for i, record in enumerate(records))]
    parts = {
        "policy": "; ".join(
            [
                "default-src 'none'",
                f"script-src '{_hash(script)}'",
                f"style-src '{_hash(style)}'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        "style": style,
        "data": "\n".join(data),
        "script": script,
        "without": "".join(f"<li>{html.escape(_line(record))}</li>" for record in records),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], source("template.html"))


def source(name: str) -> str:
    """Text of a file in ``harness/page/``."""
    return (importlib.resources.files("harness") / "page" / name).read_text(encoding="utf-8")


def _most_runs(record: Mapping[str, Any]) -> int:
    """Most runs that a variant of a study has."""
    owners = record.get("runs", {}).get("variant") or record.get("trials", {}).get("trial", {}).get("n") or []
    return int(np.unique(owners, return_counts=True)[1].max()) if record["kind"] == "study" and owners else len(owners)


def _json(name: str, content: Mapping[str, Any]) -> str:
    return f'<script type="application/json" id="{name}">{dumps(content)}</script>'


def _hash(text: str) -> str:
    """Hash of an inline element's text, as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _line(record: Mapping[str, Any]) -> str:
    """A study in one line, for a browser without scripts."""
    return (
        f"{record['key']}: {record.get('title', '')}. {record.get('question', '')} {record.get('finding', '')}".strip()
    )
