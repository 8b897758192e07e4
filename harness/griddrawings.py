"""Drawings for papers that are grids: confusion matrices, two factors as a heat map, responses, and pictures.

Each is a figure or None where there are no data for it, as in ``harness.drawings``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import pagelayers, pictures
from harness.committed import Table
from harness.drawings import CAPTION, Subject, figure, legend_of, ticks
from harness.pagedata import TRIAL_HEAD
from harness.plots import style
from harness.stats import mean_interval
from harness.summaries import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRICES = 6  # confusion matrices in a figure: the baseline's and the best ones'
UNITS = 64
ERRORS = 16
MOST_LEVELS = 12  # values of a factor that get lines of their own


def confusion(subject: Subject) -> Figure | None:
    """Confusion matrices of some variants: percent of each true class, over all seeds."""
    import seaborn as sns

    by_place = pagelayers.in_details(subject.folder, subject.names)
    found = {
        place: matrix
        for place in subject.drawn
        if (matrix := pagelayers.array(subject.folder, f"confusion_{by_place.get(place, -1)}", 2)) is not None
        and matrix.shape[0] == matrix.shape[1]
    }
    shown = list(found)[:MATRICES]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    labels = _class_names(subject, max(len(found[place]) for place in shown))
    with figure((3.6 * columns + 0.6, 3.4 * rows + 0.4), subject.title) as drawn:
        grid = list(drawn.subplots(rows, columns, squeeze=False).flat)
        for n, (axes, place) in enumerate(zip(grid, shown, strict=False)):
            matrix = found[place].astype(np.float64)
            shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            texts = np.array(
                [[f"{x:.0f}" if x >= 9.95 else f"{x:.1f}" if x >= 0.05 else "" for x in row] for row in shares]
            )
            sns.heatmap(np.sqrt(shares), annot=texts, fmt="", cmap="Blues", vmin=0, vmax=10, cbar=False, square=True,
                        ax=axes, annot_kws={"fontsize": 5.5}, linewidths=0.4)  # fmt: skip
            axes.grid(visible=False)
            axes.set_title(subject.name(place), loc="left", parse_math=False)
            middles = np.arange(len(matrix)) + 0.5
            ticks(axes.yaxis, middles, labels[: len(matrix)] if n % columns == 0 else [""] * len(matrix))
            ticks(axes.xaxis, middles, labels[: len(matrix)] if n + columns >= len(shown) else [""] * len(matrix))
            axes.tick_params(axis="x", rotation=90, labelsize=6.5, length=0)
            axes.tick_params(axis="y", rotation=0, labelsize=6.5, length=0)
        for axes in grid[len(shown) :]:
            axes.remove()
        drawn.supylabel("True class", fontsize=8)
        drawn.supxlabel("Predicted class. Numbers: percent of each true class, test images of all seeds.", **CAPTION)
    return drawn


def heatmap(subject: Subject) -> Figure | None:
    """Mean test accuracy by two factors that make a grid, such as depth and width."""
    import seaborn as sns

    table = subject.table("summary", "variant", "test_accuracy")
    pair = _grid_pair(_factors(table)) if table is not None else None
    if table is None or pair is None:
        return None
    (rows, row_values), (columns, column_values) = pair
    row_levels, column_levels = _levels(row_values), _levels(column_values)
    accuracy = table.numbers("test_accuracy")
    means = np.full((len(row_levels), len(column_levels)), np.nan)
    for i, row in enumerate(row_levels):
        for j, column in enumerate(column_levels):
            cell = [a for a, r, c in zip(accuracy, row_values, column_values, strict=True) if (r, c) == (row, column)]
            known = [a for a in cell if np.isfinite(a)]
            means[i, j] = sum(known) / len(known) if known else np.nan
    with figure((1.6 + 0.75 * len(column_levels), 1.3 + 0.5 * len(row_levels)), subject.title) as drawn:
        axes = drawn.add_subplot()
        sns.heatmap(
            means, annot=True, fmt=".4f", cmap="Blues", ax=axes, cbar=False, annot_kws={"fontsize": 8}, linewidths=1
        )
        ticks(axes.yaxis, np.arange(len(row_levels)) + 0.5, [_text(level) for level in row_levels])
        ticks(axes.xaxis, np.arange(len(column_levels)) + 0.5, [_text(level) for level in column_levels])
        axes.tick_params(rotation=0, length=0)
        axes.grid(visible=False)
        axes.set_ylabel(rows, parse_math=False)
        axes.set_xlabel(columns, parse_math=False)
        drawn.supxlabel("Mean test accuracy over the done runs.", **CAPTION)
    return drawn


def response(subject: Subject) -> Figure | None:
    """Test accuracy against a factor that is a number (the learning rate, if it is one), by another factor."""
    table = subject.table("summary", "variant", "test_accuracy", "test_accuracy_low", "test_accuracy_high")
    factors = _factors(table) if table is not None else {}
    numeric = [name for name, values in factors.items() if _numeric(values) and len(_levels(values)) > 2]
    if table is None or not numeric:
        return None
    x = "optimizer.lr" if "optimizer.lr" in numeric else max(numeric, key=lambda name: len(_levels(factors[name])))
    others = [name for name in factors if name != x and len(_levels(factors[name])) <= MOST_LEVELS]
    by = "optimizer.name" if "optimizer.name" in others else next(iter(others), None)
    accuracy, low, high = (table.numbers(f"test_accuracy{end}") for end in ("", "_low", "_high"))
    levels: list[Any] = _levels(factors[by]) if by is not None else [None]
    lines = []
    for level in levels:
        own = [i for i in range(table.rows) if (by is None or factors[by][i] == level) and np.isfinite(accuracy[i])]
        places = sorted({factors[x][i] for i in own if factors[x][i] is not None})
        cells = [[i for i in own if factors[x][i] == place] for place in places]
        lines.append((level, places, cells))
    if max((len(places) for _, places, _ in lines), default=0) < 3:
        return None
    with figure((6.4, 4.0), subject.title) as drawn:
        axes = drawn.add_subplot()
        for n, (_, places, cells) in enumerate(lines):
            looks = style(n)
            axes.plot(places, [mean_interval(accuracy[cell].tolist()).mean for cell in cells], **looks)
            ends = np.array([[low[cell[0]], high[cell[0]]] if len(cell) == 1 else [np.nan, np.nan] for cell in cells])
            axes.fill_between(places, *ends.reshape(-1, 2).T, color=looks["color"], alpha=0.15, linewidth=0)
        every = _levels(factors[x])
        if every[0] > 0 and every[-1] >= 16 * every[0]:
            axes.set_xscale("log")
        axes.set_xlabel(x, parse_math=False)
        axes.set_ylabel("Test accuracy (fraction of images)")
        if by is not None:
            legend_of(axes, [(style(n), _text(level)) for n, level in enumerate(levels)])
        drawn.supxlabel("Points: means over the done runs of a cell. Bands: 95% t intervals.", **CAPTION)
    return drawn


def parallel(subject: Subject) -> Figure | None:
    """Parallel coordinates: a line for each cell, or trial of a search, through its settings and its accuracy."""
    axes_of = _parallel_axes(subject)
    if len(axes_of) < 3:
        return None
    result = np.array(axes_of["accuracy"][0], dtype=np.float64)
    order = np.argsort(result)
    with figure((1.2 + 1.35 * len(axes_of), 3.6), subject.title) as drawn:
        axes = drawn.add_subplot()
        from matplotlib import colormaps

        for row in order[np.isfinite(result[order])]:
            heights = [float(places[row]) for places, _ in axes_of.values()]
            axes.plot(range(len(heights)), heights, color=colormaps["Blues"](0.25 + 0.75 * heights[-1]), linewidth=0.9)
        for x, (_, marks) in enumerate(axes_of.values()):
            axes.axvline(x, color="0.3", linewidth=0.8)
            for height, text in marks:
                axes.text(x - 0.03, height, text, ha="right", va="center", fontsize=6.5, parse_math=False)
        ticks(axes.xaxis, range(len(axes_of)), list(axes_of))
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlim(-0.6, len(axes_of) - 0.8)
        drawn.supxlabel("A line for each cell or trial; the darker, the higher its accuracy.", **CAPTION)
    return drawn


def _parallel_axes(subject: Subject) -> dict[str, tuple[list[float], list[tuple[float, str]]]]:
    """Factors and the accuracy: heights of all rows in [0, 1], and which heights have names."""
    trials = subject.table("trials", "trial", "val_accuracy")
    summary = subject.table("summary", "variant", "test_accuracy")
    table, name = (trials, "val_accuracy") if trials is not None else (summary, "test_accuracy")
    if table is None:
        return {}
    header = list(table.columns)
    if trials is not None:
        keys = [key for key in header[: header.index(name)] if key not in (*TRIAL_HEAD, "hidden")]
        factors = {key: [_value(text) for text in table.texts(key)] for key in keys}
    else:
        factors = _factors(table)
    known = {key: values for key, values in factors.items() if len(_levels(values)) > 1}
    return {key: _heights(values) for key, values in known.items()} | {
        "accuracy": _heights([_value(text) for text in table.texts(name)])
    }


def _heights(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values are on an axis from 0 to 1, and some of them by name."""
    levels = _levels(values)
    if not _numeric(levels) or len(levels) < 2:
        at = {level: i / max(len(levels) - 1, 1) for i, level in enumerate(levels)}
        return [at.get(value, math.nan) for value in values], [(at[level], _text(level)) for level in levels]
    wide = levels[0] > 0 and levels[-1] >= 16 * levels[0]
    places = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    low, high = (math.log(levels[0]), math.log(levels[-1])) if wide else (levels[0], levels[-1])
    heights = ((np.log(places) if wide else places) - low) / (high - low)
    named = levels if len(levels) <= MOST_LEVELS / 2 else [levels[0], levels[len(levels) // 2], levels[-1]]
    marks = [(((math.log(level) if wide else level) - low) / (high - low), f"{level:.4g}") for level in named]
    return heights.tolist(), marks


def first_layer(subject: Subject) -> Figure | None:
    """First-layer weights of the baseline, or of the first variant, as pictures: units of the largest norm."""
    by_place = pagelayers.in_details(subject.folder, subject.names)
    layers = pictures.first_layers(subject.folder, by_place, subject.drawn)
    if not layers:
        return None
    baseline = str(subject.names.index(subject.baseline)) if subject.baseline is not None else ""
    place = baseline if baseline in layers else next(iter(layers))
    matrix = pagelayers.array(subject.folder, f"first_layer_{by_place[int(place)]}", 2)
    units, shape = layers[place]["units"][:UNITS], layers[place]["shape"]
    if matrix is None:
        return None
    largest = layers[place]["largest"]

    def draw(axes: Axes, n: int) -> None:
        picture = np.nan_to_num(matrix[:, units[n]].astype(np.float32)).reshape(shape)
        if len(shape) == 3:
            axes.imshow(np.clip(0.5 + picture.transpose(1, 2, 0) / (2 * largest), 0, 1), interpolation="nearest")
        else:
            axes.imshow(picture, cmap="PuOr", vmin=-largest, vmax=largest, interpolation="nearest")

    of = layers[place]["of"]
    caption = f"{subject.name(int(place))}, first seed: {len(units)} of {of} units; weights within ±{largest:.3g}."
    return _gallery(subject, len(units), 16, draw, caption)


def surest_errors(subject: Subject) -> Figure | None:
    """Test images of which the network was surest and wrong, where the data set is on this machine."""
    by_place = pagelayers.in_details(subject.folder, subject.names)
    errors = pictures.surest_errors(subject.folder, by_place)
    baseline = str(subject.names.index(subject.baseline)) if subject.baseline is not None else ""
    place = baseline if errors.get(baseline) else next((key for key, found in errors.items() if found), None)
    if place is None:
        return None
    chosen = errors[place][:ERRORS]
    found = pictures.images(subject.folder, [int(error[0] or 0) for error in chosen], subject.data_dir)
    if found is None:
        return None
    pixels, shape = found
    labels = _class_names(subject, 1 + max(int(error[k] or 0) for error in chosen for k in (1, 2)))

    def draw(axes: Axes, n: int) -> None:
        picture = pixels[n].reshape(shape)
        axes.imshow(picture.transpose(1, 2, 0) if len(shape) == 3 else 255 - picture, cmap="gray", vmin=0, vmax=255)
        _, truth, guess, share = chosen[n]
        text = f"{labels[int(truth or 0)]}\n→ {labels[int(guess or 0)]}\n{share:.4f}"
        axes.set_title(text, fontsize=6.5, loc="left", parse_math=False)

    return _gallery(
        subject, len(chosen), 8, draw, f"{subject.name(int(place))}, first seed: true class → prediction, probability."
    )


def _gallery(subject: Subject, n: int, columns: int, draw: Callable[[Axes, int], None], caption: str) -> Figure:
    """A grid of n pictures without axes."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    size = 8.0 / columns
    with figure((8.0, 0.8 + rows * size * (1.45 if size > 0.8 else 1.05)), subject.title) as drawn:
        grid = list(drawn.subplots(rows, columns, squeeze=False).flat)
        for i, axes in enumerate(grid):
            axes.set_axis_off()
            if i < n:
                draw(axes, i)
        drawn.supxlabel(visible(caption), **CAPTION, parse_math=False)
    return drawn


def _class_names(subject: Subject, n: int) -> list[str]:
    table = subject.table("classes", "class", "class_name")
    names = dict(zip(table.texts("class"), table.texts("class_name"), strict=True)) if table is not None else {}
    return [visible(names.get(str(i), "")) or str(i) for i in range(n)]


def _factors(table: Table) -> dict[str, list[Any]]:
    """Factors of a summary with more than one value; depth and width of equal layers are taken from the widths."""
    header = list(table.columns)
    end = header.index("n") if "n" in header else 1
    factors: dict[str, list[Any]] = {name: [_value(text) for text in table.texts(name)] for name in header[1:end]}
    if "hidden" in factors and "hidden.layers" not in factors:
        widths = [[] if text == "none" else str(text).split("x") for text in factors["hidden"]]
        if all(len(set(each)) <= 1 and all(width.isdecimal() for width in each) for each in widths):
            factors["hidden.layers"] = [len(each) for each in widths]
            factors["hidden.units"] = [int(each[0]) if each else None for each in widths]
    if "hidden.layers" in factors:
        factors.pop("hidden", None)  # says the same
    return {name: values for name, values in factors.items() if len(_levels(values)) > 1}


def _grid_pair(factors: dict[str, list[Any]]) -> tuple[tuple[str, list[Any]], tuple[str, list[Any]]] | None:
    """Two factors whose combinations are mostly there, each a number if possible."""
    best, most = None, -1.0
    for a, row in factors.items():
        for b, column in factors.items():
            cells = {(r, c) for r, c in zip(row, column, strict=True) if r is not None and c is not None}
            n, m = len(_levels(row)), len(_levels(column))
            if a == b or len(cells) <= max(n, m) or len(cells) < 0.4 * n * m or max(n, m) > 3 * MOST_LEVELS:
                continue
            score = 10.0 * (_numeric(row) + _numeric(column)) + 100.0 * ((a, b) == ("hidden.layers", "hidden.units"))
            if score > most:
                best, most = ((a, row), (b, column)), score
    return best


def _value(text: str) -> Any:
    """A number, a text, or None for an empty cell."""
    if not text:
        return None
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in values if value is not None)


def _levels(values: Sequence[Any]) -> list[Any]:
    """Distinct values, numbers in order."""
    levels = list(dict.fromkeys(value for value in values if value is not None))
    return sorted(levels) if _numeric(levels) else levels


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else visible(str(value))
