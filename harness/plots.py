"""Figures: learning curves over seeds, and saving a figure so that the same numbers give the same bytes.

Figures are made with matplotlib's objects, never through pyplot, so making one changes no global state. A variant's
place in the list decides its colour, line and marker in every figure (`style`). Numbers come from ``harness.tables``,
intervals from ``harness.stats``.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.errors import unknown
from harness.files import write_atomic
from harness.stats import Interval, mean_interval
from harness.summaries import visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {
    "val_accuracy": "Validation accuracy (fraction of images)",
    "val_loss": "Validation loss (mean per image)",
    "train_accuracy": "Training accuracy (fraction of images)",
    "train_loss": "Training loss (mean per image)",
}
BANDS = "Lines: mean over runs. Bands: 95% t interval of the mean."
# Seaborn's palette "colorblind", written down: importing seaborn takes half a second.
COLOURS = (
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # their number shares no factor with the colours', so pairs do not recur
DPI = 150
NAME_LENGTH = 40  # characters of a variant's name in a legend
LEGEND_ROWS = 24
RC = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "lines.linewidth": 1.5,
    "lines.markersize": 5.5,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ablation-bench",
}


@dataclass(frozen=True)
class Curve:
    """A variant's mean over seeds at each epoch.

    Attributes
    ----------
    epochs : (e,) int64
        Epochs at which a run has a finite value.
    mean, low, high : (e,) float64
        Mean and its 95% Student t interval; the interval is NaN where one run is left.
    runs, complete : int
        Runs in the history, and those with a finite value at the last of ``epochs``.
    """

    epochs: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    runs: int
    complete: int


def style(position: int) -> dict[str, Any]:
    """Colour, line and marker of the variant at a position: keyword arguments of ``Axes.plot``.

    Lines and markers tell variants apart without colour.
    """
    line = (position + position // len(COLOURS)) % len(LINES)
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": LINES[line],
        "marker": MARKERS[position % len(MARKERS)],
    }


def curves(history: pd.DataFrame, variants: Sequence[str], metric: str) -> list[Curve]:
    """Average a column of the history over the seeds of each variant, epoch by epoch.

    Parameters
    ----------
    history : DataFrame
        As from ``tables.history_frame``. NaN and infinite values count as absent.
    variants : names
        One curve each, in this order; without values a curve is empty.
    metric : str
        A column of ``history``.

    Returns
    -------
    list of Curve
    """
    groups = {str(name): group for name, group in history.groupby("variant", sort=False)}
    return [_curve(groups.get(variant, history.iloc[:0]), metric) for variant in variants]


def learning_curves(
    history: pd.DataFrame, variants: Sequence[str], metric: str = "val_accuracy", title: str = ""
) -> Figure:
    """Draw a metric over epochs: per variant the mean over its runs, with the 95% t interval of the mean as a band.

    A variant with one run has no band. A loss that spans more than a decade has a logarithmic axis. The axis may leave
    out what lies far from the rest, so that one variant cannot flatten the others; the legend then says where that
    variant ended. It also says so when some runs of a variant are shorter than others.

    Parameters
    ----------
    history : DataFrame
        As from ``tables.history_frame``.
    variants : names
        Those to draw; the place in this list decides the looks. One without a run in the history is left out.
    metric : str
        A key of `METRICS`.
    title : str
        Above the axes.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UserError
        If the metric is none of `METRICS`.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawn = curves(history, variants, metric)
    low, high, logarithmic = _limits(drawn, loss=metric.endswith("loss"))
    names = [_label(name, curve, low, high) for name, curve in zip(variants, drawn, strict=True) if curve.runs]
    with settings():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for position, curve in enumerate(drawn):
            if curve.runs:
                _draw(axes, curve, position)
        if logarithmic:
            axes.set_yscale("log")
        axes.set_ylim(low, high)
        last = max((int(curve.epochs[-1]) for curve in drawn if curve.epochs.size), default=1)
        margin = 0.02 * (last - 1) or 0.5
        axes.set_xlim(1 - margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("Epoch (passes over the training images)")
        axes.set_ylabel(METRICS[metric])
        axes.set_title("\n".join(textwrap.wrap(visible(title), 75)), loc="left", parse_math=False)
        if axes.collections:
            figure.supxlabel(BANDS, x=0.01, ha="left", fontsize=7.5, color="0.4")
        _legend(figure, axes, names)
    return figure


def save(figure: Figure, folder: Path, stem: str, outlines: bool = False) -> list[Path]:
    """Write ``folder/stem.png`` (150 dpi) and ``folder/stem.svg``, each whole or not at all.

    The files hold no date and no version, and the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : Path
    stem : str
    outlines : bool
        Whether the SVG's texts are drawn with outlines of the font, which look the same everywhere, or stay texts.

    Returns
    -------
    list of Path
        The files written.
    """
    paths = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        with settings({"svg.fonttype": "path" if outlines else "none"}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a name may be in any script
            figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
        path = folder / f"{stem}.{suffix}"
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths


@contextmanager
def settings(more: dict[str, Any] | None = None) -> Iterator[None]:
    """Our settings over matplotlib's defaults, whatever the user's are."""
    from matplotlib import style as styles

    with styles.context(["default", RC | (more or {})]):
        yield


def _curve(rows: pd.DataFrame, metric: str) -> Curve:
    """Mean and interval at each epoch of one variant's finite values."""
    values: dict[int, list[float]] = {}
    for epoch, value in zip(rows["epoch"], rows[metric].to_numpy(dtype=np.float64), strict=True):
        if abs(value) < 1e300:  # neither NaN nor infinity is, nor what would overflow when summed
            values.setdefault(int(epoch), []).append(float(value))
    epochs = sorted(values)
    intervals: list[Interval] = [mean_interval(values[epoch]) for epoch in epochs]
    mean, low, high = (
        np.array([getattr(interval, name) for interval in intervals], dtype=np.float64)
        for name in ("mean", "low", "high")
    )
    complete = len(values[epochs[-1]]) if epochs else 0
    return Curve(np.array(epochs, dtype=np.int64), mean, low, high, int(rows["run_id"].nunique()), complete)


def _draw(axes: Axes, curve: Curve, position: int) -> None:
    """Line and band of one variant; at most about eight markers, not at the neighbours' epochs."""
    looks = style(position)
    step = max(1, round(curve.epochs.size / 8))
    axes.plot(curve.epochs, curve.mean, **looks, markevery=(position % step, step))
    if np.isfinite(curve.low).any():
        axes.fill_between(curve.epochs, curve.low, curve.high, color=looks["color"], alpha=0.15, linewidth=0)


def _limits(drawn: Sequence[Curve], loss: bool) -> tuple[float, float, bool]:
    """Choose the ends of the y axis, and whether it is logarithmic: the means to show, and bands that are not huge."""
    bottom, top = _range(drawn, loss)
    logarithmic = loss and _decades(bottom, top)
    edges = np.concatenate([np.empty(0), *(_edges(curve, bottom, top) for curve in drawn)])
    points = np.append(edges[edges > 0] if logarithmic else edges, [bottom, top])
    points = np.log(points) if logarithmic else points
    lowest, highest = float(points[-2]), float(points[-1])
    span = max(highest - lowest, 0.01 * abs(highest), 1e-6)
    low = max(float(points.min()), lowest - span / 2) - 0.05 * span
    high = min(float(points.max()), highest + span / 2) + 0.05 * span
    if logarithmic:
        return max(math.exp(low), 1e-300), math.exp(high), True
    if loss:
        return max(low, min(bottom, 0.0)), high, False
    return max(low, -0.02), min(high, 1.02), False


def _range(drawn: Sequence[Curve], loss: bool) -> tuple[float, float]:
    """Lowest and highest mean to show: without those of at most a third of the variants, if a wide gap parts them."""
    means = np.concatenate([np.empty(0), *(curve.mean for curve in drawn)])
    owners = np.repeat(np.arange(len(drawn)), [curve.mean.size for curve in drawn])
    order = np.argsort(means, kind="stable")
    means, owners = means[order], owners[order]
    allowed = len(set(owners.tolist())) // 3
    left_out: set[int] = set()
    while means.size > 1:
        scale = np.log(means) if loss and _decades(means[0], means[-1]) else means
        gaps = np.diff(scale)
        cut = int(gaps.argmax()) + 1
        below, above = set(owners[:cut].tolist()), set(owners[cut:].tolist())
        far, rest = (below, slice(cut, None)) if len(below) < len(above) else (above, slice(None, cut))
        if gaps[cut - 1] <= 0.5 * (scale[-1] - scale[0]) or len(left_out | far) > allowed:
            break
        left_out |= far
        means, owners = means[rest], owners[rest]
    return (float(means[0]), float(means[-1])) if means.size else (0.0, 1.0)


def _decades(low: float, high: float) -> bool:
    """Whether a positive range spans more than a decade."""
    return bool(low > 0 and high > 10 * low)


def _edges(curve: Curve, bottom: float, top: float) -> npt.NDArray[np.float64]:
    """Finite band edges at the epochs whose mean lies between bottom and top."""
    inside = (curve.mean >= bottom) & (curve.mean <= top) & np.isfinite(curve.low)
    return np.concatenate([curve.low[inside], curve.high[inside]])


def _label(name: str, curve: Curve, low: float, high: float) -> str:
    """Compose a variant's name for the legend, with what the picture alone would hide."""
    text = visible(name)
    if len(text) > NAME_LENGTH:
        text = f"{text[: NAME_LENGTH - 13]}…{text[-12:]}"
    notes = []
    if not curve.epochs.size:
        notes.append("no finite value")
    elif curve.complete < curve.runs:
        notes.append(f"{curve.complete} of {curve.runs} runs reach epoch {curve.epochs[-1]}")
    if curve.epochs.size and not low <= curve.mean[-1] <= high:
        notes.append(f"off the axis, ends at {curve.mean[-1]:.3g}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def _legend(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Name the lines: beside the axes for many or long names, else in the axes; the names are never read as markup."""
    if not names:
        return
    longest = max(map(len, names))
    handles = axes.get_lines()
    labels = [str(position) for position in range(len(names))]  # the names follow: a label "_x" would be left out
    if len(names) > 6 or longest > 30:
        columns = math.ceil(len(names) / LEGEND_ROWS)
        rows = math.ceil(len(names) / columns)
        figure.set_size_inches(6.4 + columns * (0.6 + 0.075 * longest), max(4.2, 0.6 + 0.19 * rows))
        legend = figure.legend(handles, labels, loc="outside right upper", ncols=columns, handlelength=3)
    else:
        legend = axes.legend(handles, labels, loc="best", handlelength=3)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
