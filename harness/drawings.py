"""The drawings of a study for papers, each a figure or None where there are no data for it.

Made with matplotlib's objects and seaborn, never through pyplot. A variant's place decides its colour, line and marker,
as in ``harness.plots`` and on the page. Which figures there are, and writing them, is left to
``harness.paperfigures``; grids of cells and of pictures to ``harness.griddrawings``.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import pagelayers
from harness.committed import Numbers, StudyFolder, Table
from harness.plots import NAME_LENGTH, settings, style
from harness.stats import mean_interval
from harness.summaries import visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 7.5, "color": "0.4"}
BUDGETS = 120
PANELS = 3  # side by side


@dataclass(frozen=True)
class Subject:
    """What is drawn: a study's folder, names of all its variants, places of those to draw, the baseline, a title."""

    folder: StudyFolder
    names: list[str]
    drawn: list[int]
    baseline: str | None
    title: str
    data_dir: Path | None

    def name(self, place: int) -> str:
        """A variant's name, short enough for an axis."""
        text = visible(self.names[place]) or "(no name)"
        return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 13]}…{text[-12:]}"

    def table(self, name: str, *columns: str) -> Table | None:
        """A table that has these columns."""
        table = self.folder.tables.get(name)
        return table if table is not None and set(columns) <= set(table.columns) else None


def history_frame(subject: Subject, metric: str) -> pd.DataFrame:
    """The history of the drawn variants, as ``plots.learning_curves`` takes it."""
    import pandas as pd

    history = subject.folder.tables["history"]
    frame: pd.DataFrame = pd.DataFrame(
        {
            **{name: history.texts(name) for name in ("run_id", "variant")},
            **{name: history.numbers(name) for name in ("epoch", metric)},
        }
    )
    drawn = {subject.names[place] for place in subject.drawn}
    kept: pd.DataFrame = frame[frame["variant"].isin(drawn) & np.isfinite(frame["epoch"])]
    return kept


def summary(subject: Subject) -> Figure | None:
    """Test accuracy of each variant and its paired difference from the baseline, with 95% intervals."""
    table = subject.table("summary", "variant", "test_accuracy", "test_accuracy_low", "test_accuracy_high")
    if table is None or not np.isfinite(table.numbers("test_accuracy")).any():
        return None
    rows = {name: row for row, name in enumerate(table.texts("variant"))}
    places = [place for place in subject.drawn if subject.names[place] in rows]
    kinds = [("test_accuracy", "Test accuracy (fraction of images)")]
    if subject.baseline is not None and "difference" in table.columns:
        kinds.append(("difference", "Paired difference from the baseline"))
    with figure((3.4 * len(kinds) + 1.4, 1.0 + 0.3 * len(places)), subject.title) as drawn:
        for i, (kind, label) in enumerate(kinds):
            axes = drawn.add_subplot(1, len(kinds), i + 1)
            mean, low, high = (table.numbers(f"{kind}{end}") for end in ("", "_low", "_high"))
            for y, place in enumerate(places):
                row, looks = rows[subject.names[place]], style(place)
                axes.plot([low[row], high[row]], [y, y], color=looks["color"], linewidth=1.8)
                axes.plot([mean[row]], [y], color=looks["color"], marker=looks["marker"], linestyle="none")
            names_axis(axes, subject, places if i == 0 else None, len(places))
            if kind == "difference":
                axes.axvline(0, color="0.3", linewidth=0.8, linestyle=":")
            axes.set_xlabel(label, parse_math=False)
        drawn.supxlabel("Marks: means over the done runs. Lines: 95% t intervals.", **CAPTION)
    return drawn


def distribution(subject: Subject) -> Figure | None:
    """Test accuracy of every done run, with quartiles."""
    import seaborn as sns

    runs = subject.table("runs", "variant", "status", "test_accuracy")
    if runs is None:
        return None
    accuracy, status = runs.numbers("test_accuracy"), np.array(runs.texts("status"))
    owner = np.array(runs.texts("variant"))
    groups = {
        place: values
        for place in subject.drawn
        if (values := accuracy[(owner == subject.names[place]) & (status == "done") & np.isfinite(accuracy)]).size
    }
    if not groups:
        return None
    x = np.concatenate(list(groups.values()))
    y = np.repeat(np.arange(len(groups)), [len(values) for values in groups.values()])
    colours = [style(place)["color"] for place in groups]
    with figure((5.6, 0.9 + 0.42 * len(groups)), subject.title) as drawn:
        axes = drawn.add_subplot()
        for i, (place, values) in enumerate(groups.items()):
            q1, q2, q3 = np.quantile(values, [0.25, 0.5, 0.75])
            color = style(place)["color"]
            axes.plot([values.min(), values.max()], [i, i], color=color, linewidth=1)
            axes.barh(i, q3 - q1, left=q1, height=0.5, color=color, alpha=0.3)
            axes.plot([q2, q2], [i - 0.25, i + 0.25], color="0.2", linewidth=1.4)
        with seeded():
            sns.stripplot(x=x, y=y, hue=y, palette=colours, orient="h", ax=axes, size=3.5, jitter=0.18, legend=False)
        names_axis(axes, subject, list(groups), len(groups))
        axes.set_xlabel("Test accuracy (fraction of images)")
        drawn.supxlabel("Points: done runs, one per seed. Boxes: quartiles and median.", **CAPTION)
    return drawn


def accuracy_by_seconds(subject: Subject) -> Figure | None:
    """Validation accuracy that a variant has after so many seconds of training: mean over its done runs."""
    history = subject.table("history", "variant", "run_id", "epoch", "train_seconds", "val_accuracy")
    table = subject.table("runs", "run_id", "status")
    if history is None or table is None:
        return None
    done = np.array(table.texts("run_id"))[np.array(table.texts("status")) == "done"]
    seconds, values = history.numbers("train_seconds"), history.numbers("val_accuracy")
    owner, runs = np.array(history.texts("variant")), np.array(history.texts("run_id"))
    usable = np.isin(runs, done) & np.isfinite(seconds) & np.isfinite(values) & (seconds > 0)
    lines = []
    for place in subject.drawn:
        own = (owner == subject.names[place]) & usable
        steps = [(seconds[own & (runs == run)], values[own & (runs == run)]) for run in dict.fromkeys(runs[own])]
        if steps:
            lines.append((place, *_mean_steps(steps)))
    if not lines:
        return None
    with figure((6.4, 4.2), subject.title) as drawn:
        axes = drawn.add_subplot()
        for n, (place, budgets, mean, half) in enumerate(lines):
            looks = style(place)
            axes.plot(budgets, mean, **looks, markevery=(3 * n, BUDGETS // 8), label=str(place))
            axes.fill_between(budgets, mean - half, mean + half, color=looks["color"], alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        top = max(float(mean.max()) for _, _, mean, _ in lines)
        middle = float(np.median(np.concatenate([mean for _, _, mean, _ in lines])))
        axes.set_ylim(top - 2.2 * max(top - middle, 0.01), top + 0.15 * max(top - middle, 0.01))
        axes.set_xlabel("Budget: seconds in training steps")
        axes.set_ylabel("Validation accuracy (fraction of images)")
        legend(axes, subject, [place for place, *_ in lines])
        drawn.supxlabel("At the last epoch finished within the budget. Bands: 95% t intervals.", **CAPTION)
    return drawn


def classes(subject: Subject) -> Figure | None:
    """F1 per class and variant."""
    table = subject.table("classes", "variant", "class", "test_f1")
    if table is None or not table.rows:
        return None
    owner, scores = np.array(table.texts("variant")), table.numbers("test_f1")
    labels = list(dict.fromkeys(table.texts("class")))
    names = dict(zip(table.texts("class"), table.texts("class_name"), strict=True))
    row = np.array([labels.index(label) for label in table.texts("class")])
    places = [place for place in subject.drawn if (owner == subject.names[place]).any()]
    if not places:
        return None
    with figure((6.4, 1.2 + 0.3 * len(labels)), subject.title) as drawn:
        axes = drawn.add_subplot()
        for place in places:
            own, looks = owner == subject.names[place], style(place)
            axes.plot(scores[own], row[own], color=looks["color"], marker=looks["marker"], linestyle="none", alpha=0.9)
        ticks(axes.yaxis, range(len(labels)), [visible(names[label]) or label for label in labels])
        axes.invert_yaxis()
        axes.set_xlabel("F1 on the test images (mean over runs)")
        legend(axes, subject, places, outside=True)
    return drawn


def gradient_norms(subject: Subject) -> Figure | None:
    """Norm of the gradient of each layer by epoch."""
    return _by_layer(subject, "grad_norm", "Gradient norm")


def gradient_spread(subject: Subject) -> Figure | None:
    """Standard deviation of the gradient's entries of each layer by epoch."""
    return _by_layer(subject, "grad_std", "Gradient spread (std of entries)")


def _by_layer(subject: Subject, kind: str, label: str) -> Figure | None:
    """A panel per layer: mean over seeds by epoch, with 95% intervals."""
    history = subject.table("history", "variant", "epoch")
    if history is None:
        return None
    places = {name: place for place, name in enumerate(subject.names)}
    numbers = pagelayers.layers(history, places, subject.drawn, subject.table("runs", "run_id", "status"))
    found = sorted(numbers.get("kinds", {}).get(kind, {}).items(), key=lambda item: int(item[0]))
    if all(value is None for _, values in found for row in values["mean"] for value in row):
        return None
    with panels(subject, len(found)) as (drawn, grid):
        for axes, (layer, values) in zip(grid, found, strict=False):
            for row, place in enumerate(numbers["variants"]):
                looks, epochs = style(place), np.array(numbers["epochs"], dtype=np.float64)
                mean, half = (np.array(values[name][row], dtype=np.float64) for name in ("mean", "half"))
                axes.plot(epochs, mean, **looks, markevery=(row % 3, max(1, len(epochs) // 6)), markersize=4)
                low = np.maximum(mean - half, np.nanmin(mean) / 10) if np.isfinite(mean).any() else mean
                axes.fill_between(epochs, low, mean + half, color=looks["color"], alpha=0.15, linewidth=0)
            axes.set_title(f"Layer {layer}", loc="left")
            known = [value for row in values["mean"] for value in row if value is not None]
            if known and min(known) > 0:
                _log_axis(axes)
            axes.set_xlabel("Epoch")
        grid[0].set_ylabel(label)
        legend(grid[len(found) - 1], subject, numbers["variants"], outside=True)
        drawn.supxlabel("Lines: means over seeds. Bands: 95% t intervals.", **CAPTION)
    return drawn


def weights(subject: Subject) -> Figure | None:
    """Distribution of the weights of each layer after the last epoch."""
    return _histograms(subject, "weight", "Weight")


def activations(subject: Subject) -> Figure | None:
    """Distribution of the activations of each hidden layer after the last epoch."""
    return _histograms(subject, "activation", "Activation")


def _histograms(subject: Subject, kind: str, label: str) -> Figure | None:
    """A panel per layer: share of entries per octave, on an axis that is logarithmic on either side of zero."""
    edges = pagelayers.array(subject.folder, "histogram_edges", 1)
    by_place = pagelayers.in_details(subject.folder, subject.names)
    counts = {
        place: found[-1]
        for place in subject.drawn
        if (found := pagelayers.array(subject.folder, f"{kind}_histogram_{by_place.get(place, -1)}", 3)) is not None
        and edges is not None and found.shape[2] == len(edges) - 1
    }  # fmt: skip
    n_layers = max((len(found) for found in counts.values()), default=0)
    if edges is None or not n_layers:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.abs(np.log2(np.abs(edges[1:] / edges[:-1])))
    octaves[len(octaves) // 2] = np.inf  # the bin around zero
    scale = _inner_scale(edges, [layer for found in counts.values() for layer in found])
    with panels(subject, n_layers) as (drawn, grid):
        for i, axes in enumerate(grid[:n_layers]):
            for place, found in counts.items():
                if i < len(found) and found[i].sum() > 0:
                    looks = style(place)
                    shares = found[i] / found[i].sum()
                    density = np.where(np.abs(edges[:-1] + edges[1:]) < scale, np.nan, shares / octaves)
                    axes.stairs(density, edges, color=looks["color"], linestyle=looks["linestyle"], baseline=None)
            axes.set_xscale("symlog", linthresh=scale, linscale=0.3)
            used = np.sum([found[i] for found in counts.values() if i < len(found)], axis=0) > 0
            left, right = max(-edges[:-1][used].min(), 2 * scale), max(edges[1:][used].max(), 2 * scale)
            axes.set_xlim(-1.2 * left, 1.2 * right)
            powers = 10.0 ** np.arange(math.ceil(math.log10(scale)), math.floor(math.log10(max(left, right))) + 1)
            powers = powers[:: -(-len(powers) // 3)]
            places = [*(-power for power in powers[::-1] if power <= left), 0, *(p for p in powers if p <= right)]
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.minorticks_off()
            axes.set_title(f"Layer {i + 1}", loc="left")
            axes.set_xlabel(label)
        grid[0].set_ylabel("Share of entries per octave")
        legend(grid[n_layers - 1], subject, list(counts), outside=True)
        drawn.supxlabel("First seed, after the last epoch; what is next to zero is left out.", **CAPTION)
    return drawn


def _log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at it."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _inner_scale(edges: Any, layers: Sequence[Any]) -> float:
    """Magnitude below which next to nothing but zeros lies: where the axis becomes linear."""
    middle = (len(edges) - 1) // 2
    k = middle + 1
    while k < len(edges) - 2:
        inner = [layer[len(edges) - 2 - k : k + 1].sum() - layer[middle] for layer in layers]
        if any(part > 0.004 * layer.sum() for part, layer in zip(inner, layers, strict=True)):
            break
        k += 1
    return float(edges[k])


def _mean_steps(steps: Sequence[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers, Numbers]:
    """Mean and half interval over runs of what each had reached, at budgets from where all have finished an epoch."""
    start = max(float(seconds.min()) for seconds, _ in steps)
    end = max(float(seconds.max()) for seconds, _ in steps)
    budgets = np.geomspace(start, max(end, start * 1.001), BUDGETS)
    reached = [values[np.maximum(np.searchsorted(seconds, budgets, side="right") - 1, 0)] for seconds, values in steps]
    intervals = [mean_interval(column) for column in np.array(reached).T.tolist()]
    half = np.array([each.high - each.mean for each in intervals])
    return budgets, np.array([each.mean for each in intervals]), half


def names_axis(axes: Axes, subject: Subject, places: Sequence[int] | None, n: int) -> None:
    """Variants on the vertical axis, the first on top; None leaves the names out."""
    texts = [""] * n if places is None else [subject.name(place) for place in places]
    ticks(axes.yaxis, range(n), texts)
    axes.set_ylim(n - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def ticks(axis: Any, places: Any, texts: Sequence[str]) -> None:
    """Ticks whose texts are never read as markup."""
    axis.set_ticks(places, ["" for _ in places])
    for tick in axis.get_major_ticks():
        for label in (tick.label1, tick.label2):
            label.set_parse_math(False)
    axis.set_ticklabels(list(texts), parse_math=False)


def legend(axes: Axes, subject: Subject, places: Sequence[int], outside: bool = False) -> None:
    """Name the variants."""
    legend_of(axes, [(style(place), subject.name(place)) for place in places], outside)


def legend_of(axes: Axes, entries: Sequence[tuple[Mapping[str, Any], str]], outside: bool = False) -> None:
    """Name lines with these looks; the names are never read as markup."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **looks) for looks, _ in entries]
    place: dict[str, Any] = {"loc": "best"}
    if outside or len(entries) > 6:
        place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0)}
    drawn = axes.legend(handles, [str(i) for i in range(len(entries))], handlelength=3, **place)
    for text, (_, name) in zip(drawn.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


@contextmanager
def panels(subject: Subject, n: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with a panel for each of n layers, in rows."""
    columns = min(PANELS, n)
    rows = math.ceil(n / columns)
    with figure((2.9 * columns + 2.0, 2.5 * rows + 0.5), subject.title) as drawn:
        grid = list(drawn.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[n:]:
            axes.remove()
        yield drawn, grid


@contextmanager
def figure(size: tuple[float, float], title: str) -> Iterator[Figure]:
    """A figure in our style, whatever the user's is."""
    from matplotlib.figure import Figure

    with settings():
        drawn = Figure(figsize=size, layout="constrained")
        yield drawn
        text = "\n".join(textwrap.wrap(visible(title), max(30, int(size[0] * 11))))
        drawn.suptitle(text, x=0.01, ha="left", fontsize=10, parse_math=False)


@contextmanager
def seeded() -> Iterator[None]:
    """The same jitter each time; NumPy's global state, which seaborn uses, is left as it was."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
