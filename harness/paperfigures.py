"""Figures for papers: which there are of a study, and writing them (``python -m harness.report --figures``).

The same set as on the page, as PNG and as SVG with outlines in place of fonts. Each drawing is a function of
``harness.drawings`` or ``harness.griddrawings``; one without data gives no figure. A study of very many variants is
drawn with its baseline and the best, but for the figures that show all cells.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import drawings, griddrawings, plots
from harness.committed import StudyFolder
from harness.drawings import Subject
from harness.errors import UserError
from harness.pagedata import baseline_of, variant_names
from harness.summaries import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 8  # variants in a figure, where there are more than MANY
MANY = 10

Drawing = Callable[[Subject], "Figure | None"]

DRAWINGS: dict[str, Drawing] = {
    "summary": drawings.summary,
    "accuracy_by_seconds": drawings.accuracy_by_seconds,
    "distribution": drawings.distribution,
    "confusion": griddrawings.confusion,
    "classes": drawings.classes,
    "gradient_norms": drawings.gradient_norms,
    "gradient_spread": drawings.gradient_spread,
    "weights": drawings.weights,
    "activations": drawings.activations,
    "heatmap": griddrawings.heatmap,
    "response": griddrawings.response,
    "parallel": griddrawings.parallel,
    "first_layer": griddrawings.first_layer,
    "surest_errors": griddrawings.surest_errors,
}


def write(folder: StudyFolder, data_dir: Path | None) -> list[Path]:
    """Draw all figures of a study that there are data for, into its folder ``figures/``.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    UserError
        Without seaborn, or when a file cannot be written.
    """
    try:
        importlib.import_module("seaborn")
    except ImportError:
        raise UserError("figures for papers need seaborn, which is not installed: pip install seaborn") from None
    paths = []
    for stem, figure in _figures(folder, data_dir):
        paths += plots.save(figure, folder.path / "figures", stem, outlines=True)
    return paths


def _figures(folder: StudyFolder, data_dir: Path | None) -> Iterator[tuple[str, Figure]]:
    names = variant_names(folder)
    title = visible(folder.texts.get("title", folder.study))
    subject = Subject(folder, names, _drawn(folder, names), baseline_of(folder, names), title, data_dir)
    history = folder.tables.get("history")
    if history is not None and {"variant", "run_id"} <= set(history.columns):
        for metric in plots.METRICS:
            if metric in history.columns:
                yield metric, plots.learning_curves(drawings.history_frame(subject, metric), names, metric, title)
    for stem, draw in DRAWINGS.items():
        figure = draw(subject)
        if figure is not None:
            yield stem, figure


def _drawn(folder: StudyFolder, names: Sequence[str]) -> list[int]:
    """Places of the variants to draw: all, or of many the baseline and the best."""
    if len(names) <= MANY:
        return list(range(len(names)))
    summary = folder.tables.get("summary")
    accuracies: dict[str, float] = {}
    if summary is not None:
        accuracies = dict(zip(summary.texts("variant"), summary.numbers("test_accuracy").tolist(), strict=True))
    ranked = sorted(range(len(names)), key=lambda i: (-np.nan_to_num(accuracies.get(names[i], 0.0)), i))
    baseline = baseline_of(folder, names)
    first = [] if baseline is None else [names.index(baseline)]
    return sorted(list(dict.fromkeys(first + ranked))[:DRAWN])
