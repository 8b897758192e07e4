"""Findings as texts: a sentence per comparison, for the screen and as a section of ``summary.md``.

What came out is the business of ``harness.findings``. Names come from users: none can break the page, be read as
markup, or pass control codes to a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.claims import METRICS
from harness.findings import ALPHA
from harness.summaries import counted, escaped, probability, seconds, visible

if TYPE_CHECKING:
    import pandas as pd

WORDS = {
    "test_accuracy": "test accuracy",
    "test_f1_macro": "test F1",
    "val_accuracy": "validation accuracy",
    "best_val_accuracy": "best validation accuracy",
    "train_accuracy": "training accuracy",
    "gap": "gap",
    "epochs_to_target": "epochs to the target",
    "seconds_to_target": "seconds to the target",
    "train_seconds": "seconds of training",
}
assert WORDS.keys() == METRICS.keys()


def findings_markdown(findings: pd.DataFrame, texts: Mapping[str, str]) -> str:
    """Write findings as a section of a Markdown page.

    Parameters
    ----------
    findings : DataFrame
        As from ``findings.findings_frame``.
    texts : mapping of str to str
        Sentences of the study by their heading, such as its question; empty ones are left out.

    Returns
    -------
    str
        Empty where there is nothing to say, else begins and ends with a newline.
    """
    said = [f"- {heading}: {escaped(text)}" for heading, text in texts.items() if text]
    listed = claims_markdown(findings)
    blocks = [said, listed, [escaped(_legend(findings))] if listed else []]
    page = "\n\n".join("\n".join(block) for block in blocks if block)
    return f"\n## Findings\n\n{page}\n" if page else ""


def claims_markdown(findings: pd.DataFrame) -> list[str]:
    """Lines of a numbered list: each claim with its verdict, and its comparisons below it."""
    listed = []
    for number, (claim, comparisons) in enumerate(_claims(findings), 1):
        listed += [f"{number}. {escaped(claim)}", *(f"   - {escaped(comparison)}" for comparison in comparisons)]
    return listed


def terminal_lines(findings: pd.DataFrame) -> list[str]:
    """Lines for a terminal: each claim with its verdict, and its comparisons below it."""
    lines = []
    for number, (claim, comparisons) in enumerate(_claims(findings), 1):
        lines += [f"{number}. {claim}", *(f"   {comparison}" for comparison in comparisons)]
    return [*lines, _legend(findings)] if lines else []


def _claims(findings: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Each claim's line, and those of its comparisons."""
    for _, group in findings.groupby("claim", sort=True):
        lines = group.to_dict("records")
        yield f"{lines[0]['claim_verdict']}: {visible(lines[0]['text'])}", [sentence(line) for line in lines]


def sentence(line: Mapping[Any, Any]) -> str:
    """One comparison with its numbers and its verdict."""
    where = f", at {visible(line['at'])}" if line["at"] else ""
    aim = "" if math.isnan(line["margin"]) else f" (no worse by more than {line['margin']:g})"
    measured = f"{_with_margin(line)} {WORDS[line['metric']]}" if line["n"] else WORDS[line["metric"]]
    p = f", p (Holm) {probability(line['p_holm'])}" if line["n"] else ""
    head = f"{visible(line['better'])} minus {visible(line['than'])}{where}: {measured}{aim}, "
    notes = [line["verdict"]]
    if line["n"] and line["p_least"] >= ALPHA:
        notes[0] += f" (p cannot fall below {probability(line['p_least'])})"
    if line["not_reached"]:
        notes.append(f"{counted(line['not_reached'], 'run')} never reached the target and counted by a bound")
    diverged = {side: line[f"diverged_{side}"] for side in ("better", "than")}
    notes += [f"{visible(line[side])} diverged in {counted(n, 'seed')}, left out" for side, n in diverged.items() if n]
    return f"{head}{counted(line['n'], 'pair')}{p}: {'; '.join(notes)}"


def _with_margin(line: Mapping[Any, Any]) -> str:
    """A mean difference and half the width of its interval."""
    mean, half = line["difference"], (line["difference_high"] - line["difference_low"]) / 2
    if line["metric"] == "epochs_to_target":
        shown = [f"{abs(value):.1f}" for value in (mean, half)]
    elif "seconds" in line["metric"]:
        shown = [seconds(abs(value)) for value in (mean, half)]
    else:
        shown = [f"{abs(value):.4f}" for value in (mean, half)]
    sign = "-" if mean < 0 and float(shown[0]) else "+"
    return f"{sign}{shown[0]}" if math.isnan(half) else f"{sign}{shown[0]} ± {shown[1]}"


def _legend(findings: pd.DataFrame) -> str:
    """How to read verdicts."""
    return (
        "Means over seeds of paired differences ± half the width of their 95% Student t interval. "
        f"Held: the claimed direction with p < {ALPHA:g} in a sign-flip test, corrected by Holm's method "
        f"({counted(int((findings['n'] > 0).sum()), 'comparison')}); direction only: the direction without that p; "
        f"not held: another direction, contradicted where p < {ALPHA:g}."
    )
