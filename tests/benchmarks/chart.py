"""The times of epochs as bars, one panel per network, in multiples of this project's. Reads without colour."""

from __future__ import annotations

from benchmarks.cases import OURS, groups
from benchmarks.problems import NETWORKS
from benchmarks.report import Group, Results
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, DARK, LIGHT = "#222222", "#1f4e79", "#cfd8e3"


def draw(results: Results) -> Figure:
    """Draw a panel for every network with times."""
    found = [group for name in NETWORKS if (group := results.groups.get(f"epoch {name}")) is not None]
    columns = min(2, max(1, len(found)))
    rows = max(1, -(-len(found) // columns))
    figure = Figure(figsize=(5.6 * columns, 0.7 + 2.9 * rows), layout="constrained")
    figure.suptitle("Time of a training epoch on one core, as a multiple of this project's", color=INK)
    for i, group in enumerate(found):
        _bars(figure.add_subplot(rows, columns, i + 1), group, names=i % columns == 0)
    return figure


def _bars(axes: Axes, group: Group, names: bool) -> None:
    """One bar per implementation, with its ratio and time written out."""
    network = group.name.removeprefix("epoch ")
    implementations = [case.implementation for case in groups()[group.name]]
    ratios = {name: group.ratio(name) for name in implementations}
    widest = max((ratio for ratio in ratios.values() if ratio is not None), default=1.0)
    for y, name in enumerate(implementations):
        ratio, ours = ratios[name], name == OURS
        if ratio is None:
            said = group.unavailable.get(name, "not run")
            axes.text(0.01 * widest, y, said[:40], va="center", fontsize=8, style="italic", color=INK,
                      bbox={"color": "white", "pad": 1})  # fmt: skip
            continue
        line = group.lines[name]
        low, high = (ratio * (quartile / line.median) for quartile in line.quartiles)
        axes.barh(y, ratio, color=DARK if ours else LIGHT, edgecolor=INK, linewidth=0.6, height=0.72)
        axes.plot([low, high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
        seconds = f"{1e3 * line.median:.0f} ms" if line.median < 1 else f"{line.median:.2f} s"
        axes.text(max(high, ratio) + 0.015 * widest, y, f"{ratio:.2f} ×   {seconds}", va="center", fontsize=8,
                  color=INK, weight="bold" if ours else "normal")  # fmt: skip
    share = group.share_of_peak(OURS)
    said = "" if share is None else f", {100 * share:.0f}% of FMA peak"
    axes.set_title(f"{network}, batch {NETWORKS[network][1]}{said}", fontsize=10, color=INK, loc="left")
    axes.set_yticks(range(len(implementations)), implementations if names else [""] * len(implementations), fontsize=9)
    axes.set_ylim(len(implementations) - 0.4, -0.6)
    axes.set_xlim(0, 1.32 * widest)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
