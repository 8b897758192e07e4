"""The written report: one Markdown text of all studies, made from their tables (``results/report.md``).

Its fixed sentences stand in ``harness/page/report.md``; what came out, in words, in the studies' files; every number
comes from the tables, whatever state they are in. Names and texts of studies are escaped. Reading folders is left to
``harness.committed``, the sections of studies and searches to ``harness.reportsections``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from harness import reportsections, studyfile
from harness.committed import StudyFolder
from harness.config import DATASET_NAMES, RunConfig
from harness.data import DATASETS
from harness.findings import ALPHA, VERDICTS
from harness.pagebuild import source
from harness.pagedata import variant_names
from harness.progress import duration
from harness.stats import EXACT_LIMIT
from harness.summaries import MISSING, escaped, markdown_table, summary_cells, visible
from harness.tables import SUMMARY_COLUMNS

if TYPE_CHECKING:
    pass

LAST = "best"  # the study that puts together what the others found
CONFIDENCE = "95%"
SECONDS = ("train_seconds", "eval_seconds")
SHIPPED_LIMITS = """\
- Apart from `exp3` and `exp7`, one learning rate serves all variants. A variant that would like another one is judged
  too harshly.
- Learning rates and the settings of `best` were chosen on validation images of the same split that training used.
"""
ALL_COMMANDS = """\
python -m harness.ablate all          # every study on both data sets
python -m harness.sweep               # the search; again with --dataset cifar-10
python -m harness.report --figures    # figures, report.html and this text"""


def text(folders: Sequence[StudyFolder], everything: bool = True) -> str:
    """Write the report.

    Parameters
    ----------
    folders : sequence of StudyFolder
        As from ``committed.read``.
    everything : bool
        Whether these are all that there are, so that a shipped study without tables is missing.

    Returns
    -------
    str
        Markdown that ends with a newline; links to figures are relative to the folder of results.
    """
    studies = _by_study(folder for folder in folders if not folder.is_search)
    searches = _by_study(folder for folder in folders if folder.is_search)
    shipped = studyfile.available().keys()
    parts = {
        "overview": _overview(studies),
        "data": " ".join(map(_data, DATASETS)),
        "defaults": _defaults(),
        "confidence": CONFIDENCE,
        "exact": str(EXACT_LIMIT),
        "alpha": f"{ALPHA:g}",
        "machine": _machine(folders),
        "studies": "\n\n".join(reportsections.of_study(*item) for item in studies.items()) or "There are none.",
        "searches": "\n\n".join(reportsections.of_search(*item) for item in searches.items()),
        "limits": SHIPPED_LIMITS if shipped & studies.keys() else "",
        "commands": _commands(folders) if shipped - studies.keys() else ALL_COMMANDS,
        "missing": _missing(folders, everything),
    }
    filled = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], source("report.md"))
    return re.sub(r"\n{3,}", "\n\n", filled).rstrip("\n") + "\n"


def _by_study(folders: Iterable[StudyFolder]) -> dict[str, list[StudyFolder]]:
    """Folders of each study, shipped studies first, the data sets in their order."""
    shipped, datasets = studyfile.available(), [*DATASET_NAMES]

    def place(folder: StudyFolder) -> tuple[Any, ...]:
        known = datasets.index(folder.dataset) if folder.dataset in datasets else len(datasets)
        return folder.study not in shipped, folder.study == LAST, folder.study, known, folder.dataset

    grouped: dict[str, list[StudyFolder]] = {}
    for folder in sorted(folders, key=place):
        grouped.setdefault(folder.study, []).append(folder)
    return grouped


# ---- the head


def _overview(studies: dict[str, list[StudyFolder]]) -> str:
    """A line per study and data set, and sums."""
    folders = [folder for group in studies.values() for folder in group]
    if not folders:
        return "There are no tables yet."
    columns: dict[str, list[str]] = {
        "Study": [f"{visible(folder.study)}: {visible(folder.texts.get('title', ''))}" for folder in folders],
        "Data set": [reportsections.title(folder) for folder in folders],
        "Variants": [str(len(variant_names(folder))) for folder in folders],
        "Runs": [str(_runs(folder)) for folder in folders],
        "Highest mean test accuracy": [_highest(folder) for folder in folders],
        "Claims": [_verdicts([folder]) for folder in folders],
    }
    lines = markdown_table(columns, ("Study", "Data set", "Highest mean test accuracy", "Claims"))
    counted = len({run for folder in folders for run in reportsections.texts_of(folder, "runs", "run_id")})
    total = duration(sum(_seconds(folders).values()))
    sums = f"All studies: {counted} runs, {total} of training and evaluation. Claims: {_verdicts(folders)}."
    return "\n".join([*lines, "", sums])


def _runs(folder: StudyFolder) -> int:
    table = folder.tables.get("runs")
    return 0 if table is None else table.rows


def _highest(folder: StudyFolder) -> str:
    """The variant with the highest mean test accuracy."""
    summary = reportsections.frame(folder.tables.get("summary"), SUMMARY_COLUMNS)
    if summary is None or not summary["test_accuracy"].notna().any():
        return MISSING
    best = summary.loc[[summary["test_accuracy"].idxmax()]]
    shown = summary_cells(best, None, ())
    return f"{shown['Test accuracy'][0]} ({shown['Variant'][0]})"


def _verdicts(folders: Iterable[StudyFolder]) -> str:
    """How many claims came to which verdict."""
    verdicts: list[str] = []
    for folder in folders:
        findings = reportsections.told_findings(folder)
        if findings is not None:
            verdicts += findings.drop_duplicates("claim")["claim_verdict"].tolist()
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts]
    return ", ".join(counts) or MISSING


def _seconds(folders: Iterable[StudyFolder]) -> dict[str, float]:
    """Seconds of training and evaluation of every run, by its name: studies share runs."""
    seconds: dict[str, float] = {}
    for folder in folders:
        runs = reportsections.frame(folder.tables.get("runs"), ("run_id", *SECONDS))
        if runs is not None:
            own = runs[list(SECONDS)].replace(math.inf, math.nan).sum(axis=1)  # of a damaged table
            seconds |= dict(zip(runs["run_id"].tolist(), own.tolist(), strict=True))
    return seconds


def _data(name: str) -> str:
    """How many images of which size a data set has, and what the split makes of them."""
    spec = DATASETS[name]
    n, sides = spec.n_train + spec.n_test, " x ".join(map(str, spec.image_shape))
    part = n // 10
    parts = f"{n - 2 * part:,} to train, {part:,} to validate, {part:,} to test"
    return f"{reportsections.TITLES[name]}: {n:,} images of {sides} bytes, {parts}."


def _defaults() -> str:
    """The default settings that shape a run."""
    own = RunConfig()
    width = ", ".join(map(str, own.hidden))
    return (
        f"one hidden layer of {width} units, activation {own.activation}, initial weights {own.init}, loss "
        f"{own.loss}, batches of {own.batch_size}, {own.epochs} epochs, {own.optimizer.name} at {own.optimizer.lr:g}, "
        f"{own.precision}"
    )


def _machine(folders: Iterable[StudyFolder]) -> str:
    """Processors and libraries, as the tables were made."""
    facts: dict[str, None] = {}
    for folder in folders:
        own = folder.environment
        libraries = own.get("libraries")
        versions = (
            [f"{name} {libraries[name]}" for name in ("numpy", "numba") if name in libraries] if libraries else []
        )
        words = [str(own.get("cpu", MISSING)), f"{own.get('jobs', MISSING)} at a time"]
        facts[", ".join([*words, f"Python {own.get('python', MISSING)}", *versions])] = None
    return f"Machine: {escaped('; '.join(facts))}." if facts else ""


# ---- the end


def _commands(folders: Iterable[StudyFolder]) -> str:
    """What makes each table, and this text, again."""
    made = [str(folder.environment.get("command") or "") for folder in folders]
    lines = [visible(command) for command in dict.fromkeys(made) if command and "```" not in command]
    return "\n".join([*lines, "python -m harness.report"])


def _missing(folders: Sequence[StudyFolder], everything: bool) -> str:
    """What the report would hold if it were there."""
    there = {folder.key for folder in folders}
    wanted = [
        f"{study}/{dataset}" for study in (*studyfile.available(), *studyfile.SEARCHES) for dataset in DATASET_NAMES
    ]
    lines = [f"- {key}: no tables" for key in wanted if everything and key not in there]
    lines += [f"- {escaped(folder.key)}: {escaped(problem)}" for folder in folders for problem in folder.problems]
    return "\n".join(["\n## What is missing", "", *lines]) if lines else ""
