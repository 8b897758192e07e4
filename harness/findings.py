"""What came out of a study's claims: paired differences over seeds, corrected for their number, and verdicts.

Pure functions of ``runs.csv``. What a claim may be is left to ``harness.claims``, the statistics to ``harness.stats``,
sentences to ``harness.findingtexts``.

Of each comparison there is one value per seed: the mean over its cells of ``better - than``. A seed of which a run is
not done gives none. A diverged run cannot help its variant: with one on the side of ``better`` alone a claim does not
hold, and where such seeds outnumber those compared it is not so at all. A run that never reached the target counts as
if it had done so right after its end or with its partner, whichever is later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.claims import METRICS, Claim, Comparison
from harness.stats import holm, least_p, mean_interval, sign_flip_p

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
DIGITS = 12  # after the point, of a difference: what lies beyond is rounding, not a direction
HELD, DIRECTION_ONLY, TOO_FEW = "held", "direction only", "too few seeds to say"
NOT_HELD, CONTRADICTED = "not held", "contradicted"
VERDICTS = (HELD, DIRECTION_ONLY, TOO_FEW, NOT_HELD, CONTRADICTED)  # from best to worst
FINDING_COLUMNS = (
    *("claim", "text", "claim_verdict", "metric", "better", "than", "at", "margin", "n"),
    *("difference", "difference_low", "difference_high", "p_value", "p_holm", "p_least"),
    *("not_reached", "diverged_better", "diverged_than", "verdict"),
)
# Metrics that a run may never reach -> a column that it had got to by its end, and what to add for the next moment.
ENDS = {"epochs_to_target": ("epochs_done", 1.0), "seconds_to_target": ("train_seconds", 0.0)}

Figures = Mapping[str, float]


@dataclass
class _Evidence:
    """What the seeds say about one comparison: differences, and counts of what stands in their way."""

    differences: list[float] = field(default_factory=list)
    not_reached: int = 0
    diverged_better: int = 0
    diverged_than: int = 0
    lost: int = 0  # seeds in which only ``better`` diverged
    won: int = 0  # only ``than``


def findings_frame(runs: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """Hold claims against runs.

    Parameters
    ----------
    runs : DataFrame
        As from ``tables.runs_frame``.
    claims : sequence of Claim
        Of the study.

    Returns
    -------
    DataFrame
        `FINDING_COLUMNS`; one line per comparison. ``p_holm`` is corrected for all of them that have a pair, and so
        is ``p_least``, the smallest that it could be.

    Raises
    ------
    ValueError
        If a done run lacks a number that it cannot lack.
    """
    import pandas as pd

    done, diverged = _by_variant_and_seed(runs) if claims else ({}, set())
    seeds = sorted({int(seed) for seed in runs["seed"]}) if claims else []
    comparisons = [comparison for claim in claims for comparison in claim.comparisons]
    evidence = [_gather(comparison, seeds, done, diverged) for comparison in comparisons]
    lines = [_line(comparison, facts) for comparison, facts in zip(comparisons, evidence, strict=True)]
    tested = [line for line in lines if line["n"]]
    for corrected, p in (("p_holm", "p_value"), ("p_least", "p_least")):
        for line, value in zip(tested, holm([line[p] for line in tested]), strict=True):
            line[corrected] = value
    for comparison, line, facts in zip(comparisons, lines, evidence, strict=True):
        line["verdict"] = _verdict(comparison, line, facts)
    rest = iter(lines)
    for number, claim in enumerate(claims, 1):
        groups = [[next(rest) for _ in group] for group in claim.groups]
        overall = claim_verdict([[line["verdict"] for line in group] for group in groups])
        for line in itertools.chain(*groups):
            line |= {"claim": number, "text": claim.text, "claim_verdict": overall}
    frame: pd.DataFrame = pd.DataFrame(lines, columns=list(FINDING_COLUMNS))
    return frame


def claim_verdict(groups: Sequence[Sequence[str]]) -> str:
    """Join verdicts: of a group the worst one counts, among groups the best."""
    return VERDICTS[min(max(map(VERDICTS.index, group)) for group in groups)]


def difference(metric: str, better: Figures, than: Figures | float) -> tuple[float, int]:
    """Difference of two runs, or of a run and a number, and how many of them never got to what the metric tells.

    Such a run counts as if it had got there right after its end or together with the other one, whichever is later: a
    bound that never speaks for it. Two such runs are alike.
    """
    a = better[metric]
    b = than if isinstance(than, float) else than[metric]
    if metric not in ENDS:
        return a - b, 0
    column, more = ENDS[metric]
    never = math.isnan(a) + math.isnan(b)
    if never == 2:
        return 0.0, 2
    if math.isnan(a):
        a = max(better[column] + more, b)
    if math.isnan(b) and not isinstance(than, float):
        b = max(than[column] + more, a)
    return a - b, never


def _gather(
    comparison: Comparison,
    seeds: Sequence[int],
    done: Mapping[tuple[str, int], Figures],
    diverged: set[tuple[str, int]],
) -> _Evidence:
    """One difference per seed that has all of its runs."""
    facts = _Evidence()
    for seed in seeds:
        one = [(better, seed) for better, _ in comparison.cells]
        other = [(than, seed) for _, than in comparison.cells if than is not None]
        wild, partner_wild = bool(diverged & set(one)), bool(diverged & set(other))
        facts.diverged_better += wild
        facts.diverged_than += partner_wild
        facts.lost += wild and not partner_wild
        facts.won += partner_wild and not wild
        if not all(run in done for run in (*one, *other)):
            continue
        total = 0.0
        for i, run in enumerate(one):
            than = done[other[i]] if comparison.value is None else comparison.value
            step, never = difference(comparison.metric, done[run], than)
            total += step
            facts.not_reached += never
        facts.differences.append(round(total / len(one), DIGITS))
    return facts


def _line(comparison: Comparison, facts: _Evidence) -> dict[str, Any]:
    """The columns of a comparison that do not depend on others."""
    interval = mean_interval(facts.differences)
    shift = METRICS[comparison.metric] * (comparison.margin or 0.0)  # so that 0 is the least that is claimed
    return {
        "metric": comparison.metric,
        "better": comparison.better,
        "than": comparison.than,
        "at": comparison.at,
        "margin": math.nan if comparison.margin is None else comparison.margin,
        "n": interval.n,
        "difference": interval.mean,
        "difference_low": interval.low,
        "difference_high": interval.high,
        "p_value": sign_flip_p(round(value + shift, DIGITS) for value in facts.differences),
        "p_holm": math.nan,
        "p_least": least_p(interval.n),
        "not_reached": facts.not_reached,
        "diverged_better": facts.diverged_better,
        "diverged_than": facts.diverged_than,
    }


def _verdict(comparison: Comparison, line: Mapping[str, Any], facts: _Evidence) -> str:
    """What a comparison's line comes to."""
    n = line["n"]
    right = n > 0 and round(METRICS[comparison.metric] * line["difference"] + (comparison.margin or 0.0), DIGITS) > 0
    if least_p(n + facts.lost + facts.won) >= ALPHA:
        return TOO_FEW
    if facts.lost > n:
        return NOT_HELD
    if facts.won > n and (right or n == 0):
        return DIRECTION_ONLY
    if line["p_least"] >= ALPHA:
        return TOO_FEW
    significant = line["p_holm"] < ALPHA
    if right:
        return HELD if significant and not facts.lost else DIRECTION_ONLY
    return CONTRADICTED if significant else NOT_HELD


def _by_variant_and_seed(runs: pd.DataFrame) -> tuple[dict[tuple[str, int], Figures], set[tuple[str, int]]]:
    """Figures of the done runs, and which runs diverged."""
    names = [*METRICS, *(column for column, _ in ENDS.values() if column not in METRICS)]
    columns = [runs[name].to_numpy(dtype=np.float64, na_value=math.nan).tolist() for name in names]
    keys = [(str(variant), int(seed)) for variant, seed in zip(runs["variant"], runs["seed"], strict=True)]
    figures: list[Figures] = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    status = runs["status"].tolist()
    done = {key: own for key, own, how in zip(keys, figures, status, strict=True) if how == "done"}
    return done, {key for key, how in zip(keys, status, strict=True) if how == "diverged"}
