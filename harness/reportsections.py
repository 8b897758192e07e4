"""The sections of the written report: a study, and a search, on all its data sets.

The report around them is ``harness.writtenreport``; tables and claims as Markdown come from ``harness.summaries`` and
``harness.findingtexts``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.committed import StudyFolder, Table
from harness.findings import FINDING_COLUMNS, VERDICTS
from harness.findingtexts import WORDS, claims_markdown
from harness.pagedata import baseline_of, variant_names
from harness.summaries import counted, escaped, markdown_table, summary_cells, summary_factors
from harness.tables import RESULT_COLUMNS, RUN_COLUMNS, SUMMARY_COLUMNS, TEXT_COLUMNS, from_texts, missing
from kernels.optimizers import OPTIMIZERS
from kernels.schedules import SCHEDULES

if TYPE_CHECKING:
    import pandas as pd

TITLES = {"fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10"}
FIGURES = {  # stems of the figures that are shown, and what they are of
    "summary": "Test accuracy and difference from the baseline",
    "heatmap": "Test accuracy by cell",
    "responses": "Validation accuracy against each searched setting",
    "val_accuracy": "Validation accuracy by epoch",
}
SEARCH_FIGURES = {"importances": "Importance of settings", "responses": FIGURES["responses"]}
REGISTRIES: dict[str, Mapping[str, Any]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
OFF = ("", "none", "0.0", "constant")  # values of settings that do nothing


def frame(table: Table | None, columns: Sequence[str]) -> pd.DataFrame | None:
    """A table as data frame with these columns, where what is no number is missing; None without the first of them."""
    import pandas as pd

    if table is None or columns[0] not in table.columns or not table.rows:
        return None
    made: pd.DataFrame = from_texts(table.columns)
    made = made.reindex(columns=[*(name for name in made if name not in columns), *columns])
    for name in columns:
        if name in TEXT_COLUMNS:
            made[name] = ["" if missing(value) else str(value) for value in made[name]]
        else:
            made[name] = pd.to_numeric(made[name], errors="coerce")
    return made


# ---- studies


def of_study(name: str, folders: Sequence[StudyFolder]) -> str:
    """The section of a study."""
    texts = folders[0].texts
    blocks = [f"### {escaped(name)}: {escaped(texts.get('title', name))}"]
    blocks += _texts_of_all(folders)
    for folder in folders:
        blocks += [f"#### {escaped(name)} on {title(folder)}", *_own_finding(folder, folders), *_result(folder)]
    return "\n\n".join([*blocks, *_figures(folders, FIGURES)])


def _texts_of_all(folders: Sequence[StudyFolder]) -> list[str]:
    """Question, expectation, and a finding that is about all data sets."""
    texts = folders[0].texts
    told = ["question", "expectation", *(["finding"] if _shares_finding(folders) else [])]
    return [f"*{key.capitalize()}:* {escaped(texts[key])}" for key in told if key in texts]


def _own_finding(folder: StudyFolder, folders: Sequence[StudyFolder]) -> list[str]:
    """What came out on one data set, in words."""
    finding = folder.texts.get("finding")
    return [f"*Finding:* {escaped(finding)}"] if finding and not _shares_finding(folders) else []


def _shares_finding(folders: Sequence[StudyFolder]) -> bool:
    """Whether one finding is about several data sets."""
    return len(folders) > 1 and len({folder.texts.get("finding") for folder in folders}) == 1


def _result(folder: StudyFolder) -> list[str]:
    """Blocks on what came out on one data set."""
    findings, summary = told_findings(folder), frame(folder.tables.get("summary"), SUMMARY_COLUMNS)
    blocks = [_what_ran(folder)]
    if findings is not None:
        blocks.append("\n".join(claims_markdown(findings)))
    if summary is not None:
        show = set() if findings is None else set(findings["metric"])
        summary = summary.drop(columns=[key for key in summary_factors(summary) if _spelled(summary, key)])
        for key in summary_factors(summary):
            summary[key] = [_short(str(value)) for value in summary[key]]
        columns = summary_cells(summary, baseline_of(folder, variant_names(folder)), show)
        blocks.append("\n".join(markdown_table(columns, ("Variant", *summary_factors(summary)))))
    return blocks


def _spelled(summary: pd.DataFrame, key: str) -> bool:
    """Whether the names of all variants say what a setting is."""
    names = summary["variant"]
    return bool((names == summary[key].astype(str)).all() or names.str.contains(f"{key}=", regex=False).all())


def _what_ran(folder: StudyFolder) -> str:
    """One line: variants, seeds, what all runs share, how they ended."""
    runs, trials = folder.tables.get("runs"), folder.tables.get("trials")
    if runs is None:
        return "There is no table of runs."
    seeds = set(runs.texts("seed"))
    words = [counted(len(variant_names(folder)), "variant"), counted(len(seeds), "seed")]
    ended = [f"{runs.texts('status').count(status)} {status}" for status in ("diverged", "failed")]
    words += [each for each in ended if not each.startswith("0 ")]
    if trials is not None:
        words.append(f"settings chosen by {counted(trials.rows, 'trial')} with another seed")
    head, tail = {*RUN_COLUMNS, "seed"}, set(RESULT_COLUMNS)
    settings = [name for name in runs.columns if name not in head | tail and not name.startswith("data.")]
    fixed = {name: next(iter(set(runs.texts(name)))) for name in settings if len(set(runs.texts(name))) == 1}
    shared = [f"{name} {value}" for name, value in fixed.items() if value not in OFF and not _usual(name, fixed)]
    return escaped(f"{', '.join(words)}. The same for all: {', '.join(shared) or 'nothing'}.")


def _usual(name: str, fixed: Mapping[str, str]) -> bool:
    """Whether it is a setting of an optimizer or a schedule that has its default."""
    section, _, key = name.partition(".")
    entry = REGISTRIES.get(section, {}).get(fixed.get(f"{section}.name", ""))
    return entry is not None and key in entry.settings and fixed[name] == str(entry.settings[key].default)


def _figures(folders: Sequence[StudyFolder], stems: dict[str, str]) -> list[str]:
    """A table of figures, a column per data set; those that are not there are left out."""
    lines = []
    for stem, words in stems.items():
        links = [_figure(folder, stem, words) for folder in folders]
        if any(links):
            lines.append(f"| {' | '.join(links)} |")
    if not lines:
        return []
    return ["\n".join([f"| {' | '.join(map(title, folders))} |", "|" + " :-- |" * len(folders), *lines])]


def _figure(folder: StudyFolder, stem: str, words: str) -> str:
    """An image, or nothing where there is no file."""
    there = (folder.path / "figures" / f"{stem}.png").is_file()
    return f"![{words}, {escaped(folder.study)}, {title(folder)}]({folder.key}/figures/{stem}.png)" if there else ""


# ---- searches


def of_search(name: str, folders: Sequence[StudyFolder]) -> str:
    """The section of a search."""
    texts = folders[0].texts
    blocks = [f"## Search {escaped(name)}: {escaped(texts.get('title', name))}"]
    blocks += _texts_of_all(folders)
    for folder in folders:
        blocks += [f"### {escaped(name)} on {title(folder)}", *_own_finding(folder, folders)]
        blocks += [each for each in (_trials(folder), _winner(folder), _importances(folder)) if each]
    return "\n\n".join([*blocks, *_figures(folders, SEARCH_FIGURES)])


def _trials(folder: StudyFolder) -> str:
    statuses = texts_of(folder, "trials", "status")
    counts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)]
    return escaped(f"{counted(len(statuses), 'trial')}: {', '.join(counts)}.") if statuses else ""


def _winner(folder: StudyFolder) -> str:
    """Settings of the best trial and what it reached."""
    metrics, trials = folder.winner.get("metrics"), folder.tables.get("trials")
    number = str(folder.winner.get("trial", ""))
    if not isinstance(metrics, dict) or trials is None or number not in trials.texts("trial"):
        return ""
    row = trials.texts("trial").index(number)
    columns = list(trials.columns)
    start = columns.index("run_id") + 1 if "run_id" in columns else 0
    end = columns.index("val_accuracy") if "val_accuracy" in columns else start
    own = [f"{name} {_short(trials.texts(name)[row])}" for name in columns[start:end] if trials.texts(name)[row]]
    reached = [
        f"{words} accuracy {metrics[key]:.4f}"
        for key, words in (("val_accuracy", "validation"), ("test_accuracy", "test"))
        if isinstance(metrics.get(key), float)
    ]
    return escaped(f"The best trial, number {number}: {', '.join(own)}; {', '.join(reached)}.")


def _importances(folder: StudyFolder) -> str:
    table = folder.tables.get("importances")
    if table is None or not table.rows:
        return ""
    shares = [f"{value:.2f}" for value in table.numbers("importance").tolist()]
    return "\n".join(markdown_table({"Setting": table.texts("parameter"), "Importance": shares}, ("Setting",)))


# ---- small things


def told_findings(folder: StudyFolder) -> pd.DataFrame | None:
    """Findings that can be told in words."""
    findings = frame(folder.tables.get("findings"), FINDING_COLUMNS)
    if findings is None:
        return None
    told: pd.DataFrame = findings[findings["metric"].isin(list(WORDS)) & findings["claim_verdict"].isin(VERDICTS)]
    return told


def title(folder: StudyFolder) -> str:
    """The data set's name as people write it."""
    return TITLES.get(folder.dataset, escaped(folder.dataset))


def texts_of(folder: StudyFolder, table: str, column: str) -> list[str]:
    """A column of a table as it is written; empty where there is no such table."""
    return folder.tables[table].texts(column) if table in folder.tables else []


def _short(value: str) -> str:
    """A number to three digits, anything else as it is."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
