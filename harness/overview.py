"""An overview of many studies: what was run, how long it took, and what came of their claims.

``overview.csv`` and ``overview.md``, in the folder of results. Running the studies is left to ``harness.everything``.
Times are seconds: of single runs as they were stored, whenever that was, and of this command by the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import outputs
from harness.config import DATASET_NAMES
from harness.files import write_atomic
from harness.findings import VERDICTS
from harness.making import usable_cores
from harness.outputs import Entry
from harness.progress import duration
from harness.session import Ending, Request
from harness.study import safe_name
from harness.summaries import MISSING, escaped, markdown_table, visible
from harness.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

RUN_SECONDS = ("train_seconds", "eval_seconds", "compile_seconds")
STATUSES = ("done", "diverged", "failed")
VERDICT_COLUMNS = {verdict: verdict.replace(" ", "_") for verdict in VERDICTS}
OVERVIEW_COLUMNS = (
    *("study", "dataset", "variants", "seeds", "runs", "made", "stored", *STATUSES),
    *("run_seconds", "wall_seconds", "claims", *VERDICT_COLUMNS.values(), "folder", "error"),
)


@dataclass(frozen=True)
class Part:
    """One study on one data set: what was asked, how it ended, its seconds by the clock, and why there are no tables.

    ``error`` is empty where there are tables.
    """

    request: Request
    ending: Ending
    wall_seconds: float
    error: str = ""


def overview_frame(parts: Sequence[Part]) -> pd.DataFrame:
    """One line per study and data set, in the order given: `OVERVIEW_COLUMNS`."""
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame([_line(part) for part in parts], columns=list(OVERVIEW_COLUMNS))
    return frame


def _line(part: Part) -> dict[str, Any]:
    study, entries = part.request.study, part.ending.entries
    claims = _claims(part)
    statuses = [entry.row["status"] for entry in entries]
    verdicts = [verdict for verdict, _ in claims]
    return {
        "study": study.name,
        "dataset": study.dataset,
        "variants": len(study.variants),
        "seeds": study.seeds,
        "runs": len(study.variants) * study.seeds,
        "made": len(part.ending.made),
        "stored": len(entries) - statuses.count("failed") - len(part.ending.made),
        **{status: statuses.count(status) for status in STATUSES},
        "run_seconds": sum(map(_run_seconds, entries)),
        "wall_seconds": part.wall_seconds,
        "claims": len(claims),
        **{column: verdicts.count(verdict) for verdict, column in VERDICT_COLUMNS.items()},
        "folder": f"{study.name}/{study.folder_name()}",
        "error": outputs.impersonal(part.error),
    }


def time_lines(parts: Sequence[Part], wall_seconds: float) -> list[str]:
    """How long it took, as sentences: by the clock, and summed over runs, each of which counts once."""
    entries = {entry.row["run_id"]: entry for part in parts for entry in part.ending.entries}
    runs = {name: _run_seconds(entry) for name, entry in entries.items() if entry.stored is not None}
    made = {name for part in parts for name in part.ending.made}
    jobs = parts[0].request.jobs or usable_cores()
    failed = f"; {len(entries) - len(runs)} failed" if len(runs) < len(entries) else ""
    lines = [
        f"Wall time of this command: {duration(wall_seconds)}; it made {len(made)} of {len(entries)} runs{failed}, "
        f"{jobs} at a time.",
        f"Run time (training, evaluation, compiling) summed over all {len(runs)} runs: {duration(sum(runs.values()))}; "
        f"over those that this command made: {duration(sum(runs[name] for name in made))}.",
    ]
    if earlier := len(runs) - len(made):
        lines.append(
            f"Stored by earlier commands: {earlier}; the wall time does not cover these runs, and their run times are "
            "those of then."
        )
    return lines


def write(out: Path, parts: Sequence[Part], wall_seconds: float) -> Path:
    """Write ``overview.csv`` and ``overview.md`` into a folder; returns the path of the second.

    A request that departs from the studies as written, or that leaves data sets out, has a name of its own.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    name = overview_name([part.request for part in parts])
    write_atomic(out / f"{name}.csv", to_csv(overview_frame(parts)))
    write_atomic(out / f"{name}.md", overview_markdown(parts, wall_seconds).encode())
    return out / f"{name}.md"


def overview_name(requests: Sequence[Request]) -> str:
    """Name of the files: ``overview``, and what the request changes."""
    datasets = dict.fromkeys(request.study.dataset for request in requests)
    changes = sorted({change for request in requests for change in request.study.changes})
    left_out = [] if len(datasets) == len(DATASET_NAMES) else [f"dataset={dataset}" for dataset in datasets]
    parts = [*left_out, *changes]
    return safe_name(f"overview+{','.join(parts)}" if parts else "overview")


def overview_markdown(parts: Sequence[Part], wall_seconds: float) -> str:
    """Write the overview as a Markdown page: how long it took on which machine, all studies, and all claims.

    Ends with a newline. Names are escaped: none can break the page or be read as markup.
    """
    facts = outputs.environment(("python",), parts[0].request.jobs or usable_cores(), "")
    lines = ["# All studies", "", f"- Machine: {escaped(facts['cpu'])}, {usable_cores()} cores, {facts['platform']}"]
    lines += [f"- {escaped(line)}" for line in time_lines(parts, wall_seconds)]
    lines += ["", *markdown_table(_cells(parts), ("Study", "Data set")), "", escaped(LEGEND)]
    for part in parts:
        if claims := _claims(part):
            study = part.request.study
            lines += ["", f"## {escaped(study.name)} on {study.dataset}: {escaped(study.title)}", ""]
            lines += [f"- {verdict}: {escaped(text)}" for verdict, text in claims]
        elif part.error:
            lines += ["", f"{escaped(part.request.study.name)} on {part.request.study.dataset} failed: "]
            lines[-1] += escaped(outputs.impersonal(part.error))
    return "\n".join([*lines, ""])


def terminal_table(parts: Sequence[Part]) -> Table:
    """Lay the overview out for a terminal of 100 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="All studies", caption=Text(LEGEND, justify="left"), box=box.SIMPLE_HEAD)
    columns = _cells(parts)
    for header in columns:
        left = header in ("Study", "Data set", "Claims")
        table.add_column(header, justify="left" if left else "right", overflow="fold", no_wrap=header != "Claims")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


LEGEND = (
    "Runs that an earlier study of the same command made count as stored. Run time: training, evaluation and "
    "compiling, summed over all runs of the line, whenever they were made; wall time: of this command. Verdicts are "
    "explained in the summary of each study."
)


def _cells(parts: Sequence[Part]) -> dict[str, list[str]]:
    """Header -> one text per study and data set; columns that would say nothing are left out."""
    lines = [_line(part) for part in parts]
    columns = {
        "Study": [visible(line["study"]) for line in lines],
        "Data set": [line["dataset"] for line in lines],
        "Runs": [str(line["runs"]) for line in lines],
        "Made": [str(line["made"]) for line in lines],
        "Stored": [str(line["stored"]) for line in lines],
    }
    for status in ("diverged", "failed"):
        if any(line[status] for line in lines):
            columns[status.capitalize()] = [str(line[status]) for line in lines]
    columns["Run time"] = [duration(line["run_seconds"]) for line in lines]
    columns["Wall time"] = [duration(line["wall_seconds"]) for line in lines]
    columns["Claims"] = [_verdicts(line) for line in lines]
    return columns


def _verdicts(line: dict[str, Any]) -> str:
    """How many claims came to which verdict."""
    if line["error"]:
        return "no tables"
    counts = [f"{line[column]} {verdict}" for verdict, column in VERDICT_COLUMNS.items() if line[column]]
    return ", ".join(counts) or MISSING


def _claims(part: Part) -> list[tuple[str, str]]:
    """Verdict and text of each claim."""
    if part.ending.findings is None:
        return []
    lines = part.ending.findings.drop_duplicates("claim").to_dict("records")
    return [(line["claim_verdict"], line["text"]) for line in lines]


def _run_seconds(entry: Entry) -> float:
    """Seconds that a run took in all; 0 for a failed one, of which nothing is stored."""
    return sum(entry.row[name] for name in RUN_SECONDS) if entry.stored is not None else 0.0
