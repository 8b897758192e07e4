"""From the times of a run to tables: medians, interquartile ranges, ratios, share of peak, and what is missing and why.

Reads what pytest-benchmark wrote, takes no time itself, and holds no date, so that equal times make equal reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.cases import BLAS, CHOICES, CHOICES_NETWORK, COMPILED, EAGER, FUSED, JAX, OPERATIONS, OURS, groups
from benchmarks.problems import NETWORKS

NONE = "–"
COLUMNS = ("median", "interquartile range", "ratio", "share of peak", "first call", "note")


@dataclass(frozen=True)
class Line:
    """Times of one implementation. Seconds are those of a whole call, scaled where only a part was timed."""

    name: str
    seconds: np.ndarray
    flops: float
    first_seconds: float
    subject: str
    note: str

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)


@dataclass(frozen=True)
class Group:
    """One table: its lines in the order of the table of cases, and the peak that was measured between them."""

    name: str
    lines: dict[str, Line]
    unavailable: dict[str, str]
    peaks: np.ndarray  # FLOP/s

    @property
    def baseline(self) -> Line | None:
        """The first line, which the others are compared with; None where it has no times."""
        first = groups()[self.name][0].implementation
        return self.lines.get(first)

    def ratio(self, name: str) -> float | None:
        """Median time as a multiple of the baseline's."""
        if self.baseline is None or name not in self.lines:
            return None
        return self.lines[name].median / self.baseline.median

    def share_of_peak(self, name: str) -> float | None:
        line = self.lines.get(name)
        return line.flops / line.median / float(np.median(self.peaks)) if line is not None and line.flops else None


@dataclass(frozen=True)
class Results:
    """All groups of a run that have times, and the machine."""

    groups: dict[str, Group]
    environment: dict[str, Any]


def read(times: dict[str, Any]) -> Results:
    """Collect the turns of every implementation from pytest-benchmark's JSON."""
    taken: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for benchmark in times["benchmarks"]:
        taken.setdefault((benchmark["group"], benchmark["extra_info"]["implementation"]), []).append(benchmark)
    found = {}
    for group, cases in groups().items():
        turns = {case.implementation: taken.get((group, case.implementation), []) for case in cases}
        lines = {name: _line(name, all_turns) for name, all_turns in turns.items() if all_turns}
        peaks = [peak for all_turns in turns.values() for turn in all_turns for peak in turn["extra_info"]["peaks"]]
        if lines:
            found[group] = Group(group, lines, times["unavailable"].get(group, {}), np.array(peaks))
    return Results(found, times["environment"])


def _line(name: str, turns: list[dict[str, Any]]) -> Line:
    info = turns[0]["extra_info"]
    seconds = np.concatenate([turn["stats"]["data"] for turn in turns]) / info["share"]
    return Line(name, seconds, info["flops"] / info["share"], info["first_seconds"], info["subject"], info["note"])


# ----------------------------------------------------------------------------------------------------------- tables


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def table(group: Group) -> list[str]:
    """The lines of a group's table."""
    factor, unit = (1e6, "µs") if max(line.median for line in group.lines.values()) < 1e-2 else (1e3, "ms")
    header = ["", *COLUMNS]
    header[1:3] = [f"{name}, {unit}" for name in COLUMNS[:2]]
    header[5] += ", s"
    rows = [_row(*header), _row("---", *["--:"] * 5, "---")]
    for case in groups()[group.name]:
        name = case.implementation
        if name in group.lines:
            rows.append(_row(name, *_cells(group, group.lines[name], factor)))
        else:
            rows.append(_row(name, *[NONE] * 5, group.unavailable.get(name, "not run")))
    return rows


def _cells(group: Group, line: Line, factor: float) -> list[str]:
    ratio, share = group.ratio(line.name), group.share_of_peak(line.name)
    low, high = (_number(factor * seconds) for seconds in line.quartiles)
    return [
        _number(factor * line.median),
        f"{low} – {high}",
        NONE if ratio is None else f"{ratio:.2f}",
        NONE if share is None else f"{share:.2f}",
        f"{line.first_seconds:.2f}",
        line.note,
    ]


def _best(group: Group, *names: str) -> str:
    """The smallest ratio among some implementations, and whose it is where there are several."""
    ratios = {name: ratio for name in names if (ratio := group.ratio(name)) is not None}
    if not ratios:
        return NONE
    best = min(ratios, key=lambda name: ratios[name])
    return f"{ratios[best]:.2f}" + (f" ({best.removeprefix('PyTorch ')})" if len(names) > 1 else "")


def overview(results: Results) -> list[str]:
    """One line per network: share of peak, and how much longer peers take."""
    rows = [_row("epoch", "share of peak", "evaluation", JAX, "best PyTorch", BLAS), _row("---", *["--:"] * 5)]
    for network, (_, batch_size, _) in NETWORKS.items():
        group, evaluation = (results.groups.get(f"{kind} {network}") for kind in ("epoch", "evaluation"))
        if group is not None:
            shares = [g and g.share_of_peak(OURS) for g in (group, evaluation)]
            ratios = _best(group, JAX), _best(group, EAGER, FUSED, COMPILED), _best(group, BLAS)
            rows.append(_row(f"{network}, batch {batch_size}", *(f"{s:.2f}" if s else NONE for s in shares), *ratios))
    return rows


def _machine(results: Results) -> list[str]:
    environment, peaks = results.environment, np.concatenate([group.peaks for group in results.groups.values()])
    versions = [f"{name} {version or 'not installed'}" for name, version in environment["packages"].items()]
    low, middle, high = (peak / 1e9 for peak in np.quantile(peaks, (0, 0.5, 1)))
    cores = "one core" if environment["cores"] == 1 else "not pinned to a core"
    return [
        f"- Processor: {environment['cpu']}, {environment['vector_bits']}-bit vectors; {cores}, one thread.",
        f"- FMA peak, measured before and after every time that was taken: median {middle:.0f} GFLOP/s in float32, "
        f"from {low:.0f} to {high:.0f}.",
        f"- Python {environment['python']}; {', '.join(versions)}.",
        f"- BLAS of NumPy: {environment['blas']}.",
    ]


TITLES = {
    "epoch": "Epochs",
    "evaluation": "Evaluations",
    **dict.fromkeys(OPERATIONS, "Single operations"),
    **dict.fromkeys(CHOICES, f"Optimizers and settings of this project, {CHOICES_NETWORK}"),
}


def document(results: Results) -> str:
    """The whole report in Markdown."""
    lines = ["# Benchmarks", "", "Written by `python tests/benchmarks`; how times are taken stands in"]
    lines += ["[docs/benchmarks.md](../docs/benchmarks.md). A ratio is a time over that of the table's first line.", ""]
    if results.environment["quick"]:
        lines += ["**A quick run, to see that everything works: these times mean nothing.**", ""]
    lines += [*_machine(results), ""]
    if any(name.startswith("epoch") for name in results.groups):
        lines += ["![Time of an epoch by implementation](benchmarks.png)", "", *overview(results), ""]
    order: dict[str, list[Group]] = {title: [] for title in TITLES.values()}
    for group in results.groups.values():
        kind = next(kind for kind in TITLES if group.name.startswith(kind))
        order[TITLES[kind]].append(group)
    for title, its_groups in order.items():
        if its_groups:
            lines += [f"## {title}", ""]
        for group in its_groups:
            peak = f"FMA peak {float(np.median(group.peaks)) / 1e9:.0f} GFLOP/s."
            said = [line.subject for line in group.lines.values() if line.subject]
            lines += [f"### {group.name}", "", f"{said[0]}. {peak}" if said else peak, "", *table(group), ""]
    return "\n".join(lines)
