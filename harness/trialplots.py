"""Figures of a search: importances, response curves, and the course of the search.

Made like those of ``harness.plots``: with matplotlib's objects, the same bytes for the same numbers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.plots import RC, style
from harness.space import Parameter
from harness.stats import mean_interval
from harness.studyfile import word
from harness.summaries import visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY = "Validation accuracy (fraction)"
BINS = 6  # of a range, with equally many trials
COLUMNS = 3
LEGEND = "Points: trials, hollow if stopped early (last accuracy). Lines: means, with 95% t intervals."
TUNED_LEGEND = "Points: trials. In a ring: the chosen ones. Crosses: diverged."


def importances(shares: Mapping[str, float], title: str) -> Figure:
    """Draw the share of each parameter as a bar."""
    with _figure((6.4, 1.2 + 0.32 * len(shares)), title) as figure:
        axes = figure.add_subplot()
        items = list(shares.items())[::-1]
        axes.barh([visible(name) for name, _ in items], [share for _, share in items], color=style(0)["color"])
        axes.set_xlim(0, max([*shares.values(), 0.01]) * 1.05)
        axes.set_xlabel("Importance (share of what makes a trial one of the best)")
        axes.grid(axis="y", visible=False)
    return figure


def responses(trials: pd.DataFrame, parameters: Sequence[Parameter], title: str) -> Figure:
    """Draw validation accuracy against each parameter, one panel each."""
    shown = trials[np.isfinite(trials["val_accuracy"].to_numpy(dtype=np.float64))]
    columns = min(COLUMNS, len(parameters))
    rows = math.ceil(len(parameters) / columns)
    with _figure((1.2 + 2.9 * columns, 0.9 + 2.3 * rows), title) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for axes, parameter in zip(panels, parameters, strict=False):
            _response(axes, shown, parameter)
        for axes in list(figure.axes)[len(parameters) :]:
            axes.remove()
        if len(shown):  # the points decide: intervals of few trials are wide
            low, high = float(shown["val_accuracy"].min()), float(shown["val_accuracy"].max())
            margin = 0.05 * (high - low) or 0.01
            figure.axes[0].set_ylim(low - margin, high + margin)
        figure.supylabel(ACCURACY, fontsize=9)
        figure.supxlabel(LEGEND, x=0.01, ha="left", fontsize=7.5, color="0.4")
    return figure


def course(trials: pd.DataFrame, title: str) -> Figure:
    """Draw each trial's validation accuracy by number, and the best so far."""
    with _figure((6.4, 3.6), title) as figure:
        axes = figure.add_subplot()
        x, y = trials["trial"].to_numpy(), trials["val_accuracy"].to_numpy(dtype=np.float64)
        done = (trials["status"] == "done").to_numpy()
        _points(axes, x, y, done)
        best = np.fmax.accumulate(np.where(done, y, np.nan)) if len(y) else y
        axes.step(x, best, where="post", color=style(1)["color"], label="best so far")
        axes.set_xlabel("Trial")
        axes.set_ylabel(ACCURACY)
        axes.legend(loc="best")
    return figure


def tuned(trials: pd.DataFrame, parameters: Sequence[Parameter], variants: Sequence[str], title: str) -> Figure:
    """Draw validation accuracy against each parameter, one line per variant, with the chosen trials marked.

    Parameters
    ----------
    trials : DataFrame
        As from ``trials.tuned_frame``.
    parameters : sequence of Parameter
        One panel each; where there are several, the others vary too and the points are not joined.
    variants : names
        The place in this list decides the looks.
    title : str
        Above the panels.
    """
    with _figure((2.2 + 4.2 * len(parameters), 4.2), title) as figure:
        panels = figure.subplots(1, len(parameters), squeeze=False, sharey=True)[0]
        for axes, parameter in zip(panels, parameters, strict=True):
            for position, name in enumerate(variants):
                own = trials[trials["variant"] == name]
                _tuned_line(axes, own, parameter, style(position), joined=len(parameters) == 1)
            _scale(axes, parameter)
            axes.set_xlabel(visible(parameter.key), parse_math=False)
        panels[0].set_ylabel(ACCURACY)
        handles = [line for line in panels[0].get_lines() if line.get_gid() == "done"]
        legend = figure.legend(handles, [str(i) for i in range(len(variants))], loc="outside right upper")
        for text, name in zip(legend.get_texts(), variants, strict=True):  # the names follow: they are no markup
            text.set_parse_math(False)
            text.set_text(visible(name))
        figure.supxlabel(TUNED_LEGEND, x=0.01, ha="left", fontsize=7.5, color="0.4")
    return figure


def _tuned_line(axes: Axes, trials: pd.DataFrame, parameter: Parameter, looks: dict[str, Any], joined: bool) -> None:
    """One variant's done trials, those that diverged as crosses at the bottom, and the chosen one."""
    x = np.array([_place(value, parameter) for value in trials[parameter.key]], dtype=np.float64)
    y = trials["val_accuracy"].to_numpy(dtype=np.float64)
    done, diverged = ((trials["status"] == status).to_numpy() for status in ("done", "diverged"))
    order = np.flatnonzero(done)[np.argsort(x[done], kind="stable")]
    line = looks["linestyle"] if joined else "none"
    axes.plot(x[order], y[order], **{**looks, "linestyle": line}, linewidth=1, markersize=4.5, gid="done")
    bottom = axes.get_xaxis_transform()
    axes.plot(x[diverged], np.full(diverged.sum(), 0.03), "x", color=looks["color"], transform=bottom, markersize=5,
              markeredgecolor=looks["color"], markeredgewidth=1.2)  # fmt: skip
    best = done & trials["chosen"].to_numpy(dtype=bool)
    axes.plot(x[best], y[best], "o", color="none", markersize=12, markeredgecolor=looks["color"], markeredgewidth=1.8,
              zorder=3)  # fmt: skip


def _names(parameter: Parameter) -> list[Any]:
    """A list's values as tables have them, in the order of the axis: numbers ascend."""
    names = list(parameter.names)
    return names if any(isinstance(name, str) for name in names) else sorted(names)


def _place(value: Any, parameter: Parameter) -> float:
    """Where a value lies on a parameter's axis."""
    return float(_names(parameter).index(value) if parameter.values else value)


def _scale(axes: Axes, parameter: Parameter) -> None:
    """The axis of a parameter."""
    from matplotlib.ticker import MaxNLocator

    if parameter.values:
        names = [word(name) for name in _names(parameter)]
        axes.set_xticks(range(len(names)), [visible(name) for name in names])
        if max(map(len, names)) * len(names) > 24:
            axes.tick_params(axis="x", rotation=40)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    if parameter.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if parameter.log:
        axes.set_xscale("log")
        axes.set_xlim(parameter.low / 1.2, parameter.high * 1.2)


def _response(axes: Axes, trials: pd.DataFrame, parameter: Parameter) -> None:
    values, y = list(trials[parameter.key]), trials["val_accuracy"].to_numpy(dtype=np.float64)
    done = (trials["status"] == "done").to_numpy()
    axes.set_title(visible(parameter.key), loc="left", parse_math=False)
    if parameter.values:
        places = np.array([_place(value, parameter) for value in values])
        jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(places))
        _points(axes, places + jitter, y, done)
        groups = [(float(i), y[places == i]) for i in range(len(parameter.values))]
    else:
        x = np.array(values, dtype=np.float64)
        _points(axes, x, y, done)
        order = np.argsort(x, kind="stable")
        if parameter.whole and len(set(values)) <= BINS:
            groups = [(float(value), y[x == value]) for value in sorted(set(values))]
        else:
            parts = [part for part in np.array_split(order, min(BINS, max(1, len(order) // 3))) if part.size]
            groups = [(float(np.median(x[part])), y[part]) for part in parts]
    _scale(axes, parameter)
    ordered = not any(isinstance(value, str) for value in parameter.values)
    _means(axes, groups, "-" if ordered else "none")


def _points(axes: Axes, x: Any, y: Any, done: Any) -> None:
    color = style(0)["color"]
    axes.plot(x[done], y[done], "o", color=color, markersize=3.5, alpha=0.7)
    axes.plot(x[~done], y[~done], "o", color=color, markersize=3.5, alpha=0.5, markerfacecolor="none",
              markeredgecolor=color)  # fmt: skip


def _means(axes: Axes, groups: Sequence[tuple[float, Any]], line: str) -> None:
    """Mean of each group with its interval where there are two or more."""
    known = [(x, mean_interval(map(float, group))) for x, group in groups if len(group)]
    if not known:
        return
    x = [at for at, _ in known]
    axes.plot(x, [each.mean for _, each in known], color=style(1)["color"], linestyle=line, marker="D", markersize=4)
    for at, each in known:
        if math.isfinite(each.low):
            axes.plot([at, at], [max(each.low, 0.0), min(each.high, 1.0)], color=style(1)["color"], linewidth=1)


@contextmanager
def _figure(size: tuple[float, float], title: str) -> Iterator[Figure]:
    """A figure in our style, whatever the user's is."""
    from matplotlib import style as styles
    from matplotlib.figure import Figure

    with styles.context(["default", RC]):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        text = "\n".join(textwrap.wrap(visible(title), 75))
        figure.suptitle(text, x=0.01, ha="left", fontsize=10, parse_math=False)
