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

from harness.findings import ALPHA
from harness.stats import least_p
from harness.tables import SUMMARY_COLUMNS, missing

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

MISSING = "–"
WEIGHTS = {"last": "after the last epoch", "best": "after the epoch with the best validation accuracy"}
TO_TARGET = {"epochs_to_target": "Epochs to target", "seconds_to_target": "s to target"}  # columns and their headers

TERMINAL_WIDTH = 100
FOLDED = 16  # characters that the name of a variant has at least, if it needs them
LEAST_NEEDED = ("p", "s per run", "Pairs", "s per epoch")  # on a terminal, the least first; files have them all


def summary_markdown(
    summary: pd.DataFrame, runs: pd.DataFrame, title: str, baseline: str | None = None, show: Collection[str] = ()
) -> str:
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
    show : names
        Further columns: ``gap``, ``epochs_to_target``, ``seconds_to_target``; others change nothing.

    Returns
    -------
    str
        Ends with a newline. Names are escaped: none can break the table or be read as markup.
    """
    columns = summary_cells(summary, baseline, show)
    lines = [
        f"# {escaped(title)}",
        "",
        f"- Data set: {_facts(runs, 'dataset')}, fingerprint {_facts(runs, 'data_fingerprint')}",
        f"- Runs: {len(runs)}, over {_seeds(runs)}",
        f"- Jobs at a time: {_facts(runs, 'jobs')}; engine: {_facts(runs, 'engine')}, {_facts(runs, 'precision')}",
        "",
        *markdown_table(columns, ("Variant", *summary_factors(summary))),
    ]
    return "\n".join([*lines, "", escaped(_legend(summary, baseline, show)), ""])


def terminal_table(summary: pd.DataFrame, title: str, baseline: str | None = None, show: Collection[str] = ()) -> Table:
    """Lay a summary out for a terminal of 100 columns; long names are folded, factors and what has no room left out.

    The baseline's line is bold, and says so in place of a difference. Names are shown as they are, never as markup.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = summary_cells(summary.drop(columns=summary_factors(summary)), baseline, show)
    if "Gap" in columns:
        columns["Gap"] = [text.partition(" ±")[0] for text in columns["Gap"]]
    for header in LEAST_NEEDED:
        if header == "p" or _width(columns) > TERMINAL_WIDTH:
            columns.pop(header, None)
    caption = Text(_legend(summary, baseline, show), justify="left")
    table = Table(title=Text(visible(title)), caption=caption, box=box.SIMPLE_HEAD)
    for header in columns:
        if header == "Variant":
            table.add_column(header, overflow="fold")
        else:
            table.add_column(Text(_in_two_lines(header)), justify="right", no_wrap=True)
    for variant, *cells in zip(*columns.values(), strict=True):
        style = "bold" if baseline is not None and variant == visible(baseline) else None
        table.add_row(*map(Text, (variant, *cells)), style=style)
    return table


def _in_two_lines(header: str) -> str:
    return header.replace("s per", "s per\n").replace(" to ", " to\n")


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """Characters that a table needs; a variant's name can be folded."""
    widths = {
        header: max(map(len, (*_in_two_lines(header).split("\n"), *cells))) + 2 for header, cells in columns.items()
    }
    return sum(widths.values()) - max(0, widths["Variant"] - FOLDED) + 2


def visible(name: str) -> str:
    """Return the name on one line: unprintable characters (line ends, escapes, direction marks) as backslash codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def seconds(value: float) -> str:
    """Seconds to three significant digits, without an exponent."""
    if not math.isfinite(value):
        return MISSING
    places = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(max(places, 0), 6)}f}"


def counted(n: int, one: str, many: str = "") -> str:
    """``1 run``, ``2 runs``; a plural that is no ``s`` is given."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def markdown_table(columns: Mapping[str, Sequence[str]], left: Collection[str]) -> list[str]:
    """Lines of a Markdown table of columns of texts, which are escaped; those not in ``left`` are set to the right."""
    return [
        "| " + " | ".join(map(escaped, columns)) + " |",
        "|" + "|".join(" :-- " if header in left else " --: " for header in columns) + "|",
        *("| " + " | ".join(map(escaped, cells)) + " |" for cells in zip(*columns.values(), strict=True)),
    ]


def summary_factors(summary: pd.DataFrame) -> list[str]:
    """Columns that are settings."""
    return [name for name in summary.columns if name not in SUMMARY_COLUMNS]


def summary_cells(summary: pd.DataFrame, baseline: str | None, show: Collection[str]) -> dict[str, list[str]]:
    """Columns of texts, one text per variant, by their headers; columns that would say nothing are left out."""
    compared = baseline is not None
    lines = summary.to_dict("records")
    columns = {"Variant": [visible(str(line["variant"])) for line in lines]}
    for factor in summary_factors(summary):
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
        columns["p"] = [probability(line["p_value"]) for line in lines]
        columns["p (Holm)"] = [probability(line["p_holm"]) for line in lines]
    if "gap" in show:
        columns["Gap"] = [_with_margin(line, "gap", "+") for line in lines]
    for name, header in TO_TARGET.items():
        if name in show:
            columns[header] = [_to_target(line, name) for line in lines]
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


def _to_target(line: Mapping[Any, Any], name: str) -> str:
    """A median until the target, and how many runs reached it where not all did."""
    text = f"{line[name]:g}" if name == "epochs_to_target" and not math.isnan(line[name]) else seconds(line[name])
    return text if line["reached"] == line["n"] else f"{text} ({line['reached']}/{line['n']})"


def _scalar(value: Any) -> str:
    """One setting's value."""
    return MISSING if missing(value) else visible(str(value))


def probability(p: float) -> str:
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
    return f"{counted(len(seeds), 'seed')}{names}"


def _legend(summary: pd.DataFrame, baseline: str | None, show: Collection[str]) -> str:
    """How to read the table, as one paragraph."""
    text = "Test accuracy: mean over the n done runs ± half the width of its 95% Student t interval"
    weights = WEIGHTS.get(summary["select"].iloc[0]) if len(summary) else None
    text += f", with the weights {weights}." if weights else "."
    if baseline is not None:
        text += f" Difference: the same for the paired difference, seed by seed, from {visible(baseline)}."
        text += " p: sign-flip test; p (Holm): corrected for the number of variants."
        pairs = int(summary["difference_n"].max()) if len(summary) else 0
        compared = int((summary["difference_n"] > 0).sum())
        least = min(1.0, compared * least_p(pairs))
        if pairs and least >= ALPHA:
            of = f"{counted(compared, 'comparison')} of {counted(pairs, 'pair')}"
            text += f" {of} cannot give a p (Holm) below {probability(least)}."
    if (summary[["diverged", "failed"]] > 0).any(axis=None):
        text += " Diverged and failed runs are counted, not averaged."
    if "gap" in show:
        text += " Gap: mean of training less validation accuracy, both with the final weights and dropout off."
    if TO_TARGET.keys() & set(show):
        text += " To target: median until the target accuracy, runs that never reached it coming last (reached/n)."
    return text + " Seconds: training steps only; median per epoch, mean per run."


def escaped(text: str) -> str:
    """Return the text with everything escaped that Markdown or HTML would read as markup."""
    text = re.sub(r"([\\|`*\[\]~$#])", r"\\\1", html.escape(visible(text), quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
