"""Summaries as texts: a Markdown page, and a table for the terminal.

What a summary holds is the business of ``harness.tables``. Names come from users: none can break a table, be read as
markup, or pass control codes to a terminal.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.tables import SUMMARY_COLUMNS, missing

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

MISSING = "–"


def summary_markdown(summary: pd.DataFrame, runs: pd.DataFrame, title: str, baseline: str | None = None) -> str:
    """Write a summary as a Markdown text: title, what was run, the table, and how to read it.

    Parameters
    ----------
    summary : DataFrame
        As from ``harness.tables.summary_frame``.
    runs : DataFrame
        The runs it summarises; data set, fingerprint, seeds and jobs are read from it.
    title : str
        The heading.
    baseline : str, optional
        The variant that the summary compares with.

    Returns
    -------
    str
        Ends with a newline. Names are escaped: none can break the table or be read as markup.
    """
    columns = _cells(summary, baseline)
    lines = [
        f"# {escaped(title)}",
        "",
        f"- Data set: {_facts(runs, 'dataset')}, fingerprint {_facts(runs, 'data_fingerprint')}",
        f"- Runs: {len(runs)}, over {_seeds(runs)}",
        f"- Jobs at a time: {_facts(runs, 'jobs')}; engine: {_facts(runs, 'engine')}, {_facts(runs, 'precision')}",
        "",
        *markdown_table(columns, ("Variant", *_factors(summary))),
    ]
    return "\n".join([*lines, "", escaped(_legend(summary, baseline)), ""])


def terminal_table(summary: pd.DataFrame, title: str, baseline: str | None = None) -> Table:
    """Lay a summary out for a terminal of 100 columns; long names are folded, factors are left out.

    The baseline's line is bold, and says so in place of a difference. Names are shown as they are, never as markup.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = _cells(summary.drop(columns=_factors(summary)), baseline)
    columns.pop("p", None)
    caption = Text(_legend(summary, baseline), justify="left")
    table = Table(title=Text(visible(title)), caption=caption, box=box.SIMPLE_HEAD)
    for header in columns:
        if header == "Variant":
            table.add_column(header, overflow="fold")
        else:
            table.add_column(Text(header.replace("s per", "s per\n")), justify="right", no_wrap=True)
    for variant, *cells in zip(*columns.values(), strict=True):
        style = "bold" if baseline is not None and variant == visible(baseline) else None
        table.add_row(*map(Text, (variant, *cells)), style=style)
    return table


def visible(name: str) -> str:
    """Return the name on one line: unprintable characters (line ends, escapes, direction marks) as backslash codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def seconds(value: float) -> str:
    """Seconds to three significant digits, without an exponent."""
    if math.isnan(value):
        return MISSING
    places = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(max(places, 0), 6)}f}"


def markdown_table(columns: Mapping[str, Sequence[str]], left: Collection[str]) -> list[str]:
    """Lines of a Markdown table of columns of texts, which are escaped; those not in ``left`` are set to the right."""
    return [
        "| " + " | ".join(map(escaped, columns)) + " |",
        "|" + "|".join(" :-- " if header in left else " --: " for header in columns) + "|",
        *("| " + " | ".join(map(escaped, cells)) + " |" for cells in zip(*columns.values(), strict=True)),
    ]


def _factors(summary: pd.DataFrame) -> list[str]:
    """Columns that are settings."""
    return [name for name in summary.columns if name not in SUMMARY_COLUMNS]


def _cells(summary: pd.DataFrame, baseline: str | None) -> dict[str, list[str]]:
    """Header -> one text per variant; columns that would say nothing are left out."""
    compared = baseline is not None
    lines = summary.to_dict("records")
    columns = {"Variant": [visible(str(line["variant"])) for line in lines]}
    for factor in _factors(summary):
        columns[factor] = [_scalar(line[factor]) for line in lines]
    columns["n"] = [str(line["n"]) for line in lines]
    for status in ("diverged", "failed"):
        if summary[status].any():
            columns[status.capitalize()] = [str(line[status]) for line in lines]
    columns["Test accuracy"] = [_with_margin(line, "test_accuracy", "") for line in lines]
    if compared:
        columns["Difference"] = [
            "baseline" if line["variant"] == baseline else _with_margin(line, "difference", "+") for line in lines
        ]
        if any(line["difference_n"] != line["n"] for line in lines if line["variant"] != baseline):
            columns["Pairs"] = [MISSING if line["variant"] == baseline else str(line["difference_n"]) for line in lines]
        columns["p"] = [_probability(line["p_value"]) for line in lines]
        columns["p (Holm)"] = [_probability(line["p_holm"]) for line in lines]
    columns["s per epoch"] = [seconds(line["seconds_per_epoch"]) for line in lines]
    columns["s per run"] = [seconds(line["train_seconds"]) for line in lines]
    return columns


def _with_margin(line: Mapping[Any, Any], name: str, sign: str) -> str:
    """``0.8921 ± 0.0012``: a mean and half the width of its interval."""
    mean, low, high = line[name], line[f"{name}_low"], line[f"{name}_high"]
    if math.isnan(mean):
        return MISSING
    text = f"{round(mean, 4) + 0.0:{sign}.4f}"  # + 0.0 turns -0.0 into 0.0
    return text if math.isnan(low) else f"{text} ± {(high - low) / 2:.4f}"


def _scalar(value: Any) -> str:
    """One setting's value."""
    return MISSING if missing(value) else visible(str(value))


def _probability(p: float) -> str:
    """Format a p value to three significant digits."""
    return MISSING if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3g}"


def _facts(runs: pd.DataFrame, column: str) -> str:
    """List the distinct values of a column."""
    return ", ".join(escaped(_scalar(value)) for value in runs[column].unique()) or MISSING


def _seeds(runs: pd.DataFrame) -> str:
    """How many seeds, and which."""
    seeds = sorted({int(seed) for seed in runs["seed"]})
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    names = f" ({', '.join(map(str, seeds))})" if seeds else ""
    return f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}{names}"


def _legend(summary: pd.DataFrame, baseline: str | None) -> str:
    """How to read the table, as one paragraph."""
    text = "Test accuracy: mean over the n done runs ± half the width of its 95% Student t interval."
    if baseline is not None:
        text += f" Difference: the same for the paired difference, seed by seed, from {visible(baseline)}."
        text += " p: sign-flip test; p (Holm): corrected for the number of variants."
        pairs = int(summary["difference_n"].max()) if len(summary) else 0
        if 0 < pairs < 7:  # from 7 pairs on, single comparisons can reach 0.016
            text += f" {pairs} pairs cannot give a p below {_probability(2 / 2**pairs)}."
    if (summary[["diverged", "failed"]] > 0).any(axis=None):
        text += " Diverged and failed runs are counted, not averaged."
    return text + " Seconds: training steps only; median per epoch, mean per run."


def escaped(text: str) -> str:
    """Return the text with everything escaped that Markdown or HTML would read as markup."""
    text = re.sub(r"([\\|`*\[\]~$#])", r"\\\1", html.escape(visible(text), quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
