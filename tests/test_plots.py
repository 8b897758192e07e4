"""Learning curves: what is drawn, which limits, and files that are the same for the same numbers."""

import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
import seaborn
from matplotlib import style as styles
from matplotlib.colors import to_rgb

from harness import plots, tables
from harness.errors import UserError

NAN = math.nan


def history_of(values):
    """History from variant -> one list per seed of the metric by epoch."""
    return tables.history_frame(
        {
            **dict.fromkeys(tables.HISTORY_COLUMNS, 0.0),
            "run_id": f"{variant}-{seed}",
            "variant": variant,
            "seed": seed,
            "epoch": epoch,
            "val_accuracy": value,
            "val_loss": value,
        }
        for variant, runs in values.items()
        for seed, run in enumerate(runs)
        for epoch, value in enumerate(run, 1)
    )


def draw(values, metric="val_accuracy", title=""):
    """The axes and the legend's texts."""
    figure = plots.learning_curves(history_of(values), list(values), metric, title)
    (axes,) = figure.axes
    legend = axes.get_legend() or figure.legends[0]
    return axes, [text.get_text() for text in legend.get_texts()]


def rising(start, end, epochs=10):
    return (end - (end - start) * np.exp(-np.arange(epochs) / 2)).tolist()


# ---- curves


def test_curve_is_the_mean_and_t_interval_by_hand():
    (curve,) = plots.curves(history_of({"a": [[0.5, 0.6], [0.6, 0.8], [0.7, 1.0]]}), ["a"], "val_accuracy")
    half = (
        0.95 * math.sqrt(2 / 0.0975) * 0.2 / math.sqrt(3)
    )  # the t quantile in closed form, for two degrees of freedom
    np.testing.assert_array_equal(curve.epochs, [1, 2])
    np.testing.assert_allclose(curve.mean, [0.6, 0.8])
    assert (curve.low[1], curve.high[1]) == pytest.approx((0.8 - half, 0.8 + half))
    assert (curve.runs, curve.complete) == (3, 3)


def test_curve_uses_the_runs_that_have_the_epoch():
    (curve,) = plots.curves(history_of({"a": [[0.5, NAN, 0.7], [0.7, math.inf], [0.9, 0.4]]}), ["a"], "val_accuracy")
    np.testing.assert_array_equal(curve.epochs, [1, 2, 3])
    np.testing.assert_allclose(curve.mean, [0.7, 0.4, 0.7])
    assert np.isnan(curve.low[1:]).all()
    assert (curve.runs, curve.complete) == (3, 1)


def test_variant_without_a_finite_value_has_an_empty_curve():
    history = history_of({"a": [[NAN, math.inf]], "b": [[0.5]]})
    for curve in plots.curves(history, ["a", "absent"], "val_accuracy"):
        assert curve.epochs.size == curve.mean.size == curve.complete == 0


# ---- what is drawn


def test_one_line_per_variant_and_a_band_where_there_are_seeds():
    axes, names = draw({"a": [rising(0.1, 0.8), rising(0.2, 0.9)], "b": [rising(0.1, 0.7)]})
    assert len(axes.get_lines()) == 2
    assert len(axes.collections) == 1
    assert names == ["a", "b"]
    np.testing.assert_allclose(axes.get_lines()[1].get_ydata(), rising(0.1, 0.7))


def test_single_epoch_is_a_visible_marker():
    axes, _ = draw({"a": [[0.5]], "b": [[0.6]]})
    assert [line.get_markevery() for line in axes.get_lines()] == [(0, 1), (0, 1)]
    assert axes.get_xlim() == (0.5, 1.5)
    assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_position_decides_the_looks_and_no_two_of_sixty_are_alike():
    looks = [plots.style(position) for position in range(60)]
    assert len({(look["color"], look["linestyle"], look["marker"]) for look in looks}) == 60
    assert len({(look["linestyle"], look["marker"]) for look in looks[:7]}) == 7  # without colour
    axes, names = draw({"a": [[0.5, 0.6]], "not run": [], "c": [[0.5, 0.7]]})
    assert [line.get_color() for line in axes.get_lines()] == [looks[0]["color"], looks[2]["color"]]
    assert names == ["a", "c"]


def test_legend_moves_out_for_many_or_long_names():
    few = {f"v{i}": [[0.5, 0.6]] for i in range(6)}
    assert draw(few)[0].get_legend() is not None
    assert draw(few | {"v6": [[0.5, 0.6]]})[0].get_legend() is None
    axes, names = draw({"long " * 40: [[0.5, 0.6]], "b": [[0.5, 0.6]]})
    assert axes.get_legend() is None
    assert len(names[0]) == plots.NAME_LENGTH


def test_legend_says_what_the_picture_hides():
    _, names = draw({"a": [[0.5, 0.6], [0.5]], "b": [[NAN]]})
    assert names == ["a (1 of 2 runs reach epoch 2)", "b (no finite value)"]


# ---- limits


def test_one_bad_variant_does_not_flatten_the_rest():
    good = {f"v{i}": [rising(0.75, 0.88 + i / 200)] for i in range(4)}
    axes, names = draw({"bad": [[0.1] * 10]} | good)
    low, high = axes.get_ylim()
    assert 0.7 < low < 0.75
    assert 0.895 < high < 0.95
    assert names[0] == "bad (off the axis, ends at 0.1)"


def test_one_bad_variant_of_two_is_shown():
    low, high = draw({"bad": [[0.1] * 10], "good": [rising(0.75, 0.9)]})[0].get_ylim()
    assert low < 0.1
    assert high > 0.89


def test_the_steep_start_of_all_variants_is_shown():
    low, _ = draw({name: [[0.3, 0.8, 0.82, 0.83]] for name in "abcd"})[0].get_ylim()
    assert low < 0.3


def test_exploded_and_failing_variants_leave_a_linear_axis_for_the_rest():
    good = {f"v{i}": [rising(0.6, 0.3 + i / 100)] for i in range(4)}
    axes, names = draw({"exploded": [[1e30] * 10], "chance": [[2.3] * 10]} | good, "val_loss")
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[1] < 0.8
    assert names[:2] == ["exploded (off the axis, ends at 1e+30)", "chance (off the axis, ends at 2.3)"]


def test_loss_over_more_than_a_decade_has_a_logarithmic_axis():
    axes, _ = draw({"a": [np.geomspace(5, 0.1, 10)], "b": [np.geomspace(4, 0.2, 10)]}, "val_loss")
    assert axes.get_yscale() == "log"
    assert 0.01 < axes.get_ylim()[0] < 0.1
    assert 5 < axes.get_ylim()[1] < 50
    assert draw({"a": [np.geomspace(5, 0.1, 10)]}, "val_accuracy")[0].get_yscale() == "linear"


def test_loss_that_reaches_zero_stays_linear():
    axes, _ = draw({"a": [[1.0, 0.1, 0.0]]}, "val_loss")
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


def test_wide_band_takes_at_most_half_of_the_axis():
    axes, _ = draw({"a": [[0.4, 0.45], [0.6, 0.65]]})
    low, high = axes.get_ylim()
    assert high - low < 2.2 * 0.05


def test_accuracy_axis_ends_at_one():
    assert draw({"a": [[0.9, 1.0], [0.8, 1.0], [0.7, 1.0]]})[0].get_ylim()[1] <= 1.02


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"a": []},
        {"a": [[NAN]]},
        {"a": [[math.inf, -math.inf, NAN]], "b": [[NAN, 0.5, math.inf]]},
        {"a": [[0.0]]},
        {"a": [[0.5] * 3] * 3},
        {"a": [[1e308, 1e299], [1e308, 1e299]]},
        {"a": [[5e-324, 1.0]]},
        {str(i): [[0.5, i]] for i in range(40)},
    ],
    ids=["none", "no runs", "nan", "inf", "zero", "constant", "huge", "tiny", "many"],
)
def test_nothing_in_a_history_breaks_a_figure(values, metric, tmp_path):
    figure = plots.learning_curves(history_of(values), list(values), metric, "t")
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    assert all(path.stat().st_size > 1000 for path in plots.save(figure, tmp_path, "figure"))


def test_unknown_metric_names_the_known_ones():
    with pytest.raises(UserError, match=r"'val_acuracy' \(did you mean 'val_accuracy'\?\); allowed: train_accuracy"):
        plots.learning_curves(history_of({}), [], "val_acuracy")


# ---- files


def test_names_are_never_read_as_markup(tmp_path):
    names = ["$\\frac$", "_hidden", "<b>&", "two\nlines", "$x$ ${", "日本"]
    figure = plots.learning_curves(history_of({name: [[0.5, 0.6]] for name in names}), names, title="$\\oops{ <&")
    png, svg = plots.save(figure, tmp_path, "figure")
    assert png.read_bytes().startswith(b"\x89PNG")
    texts = "\n".join(ElementTree.parse(svg).getroot().itertext())
    for text in ("$\\frac$", "_hidden", "<b>&", r"two\nlines", "$x$ ${", "日本", "$\\oops{ <&"):
        assert text in texts


def test_same_numbers_give_the_same_bytes_whatever_the_user_s_style(tmp_path):
    values = {"a": [rising(0.1, 0.8), rising(0.2, 0.9)], "b": [rising(0.1, 0.7)]}

    def files(folder):
        figure = plots.learning_curves(history_of(values), list(values), title="t")
        return [path.read_bytes() for path in plots.save(figure, folder, "figure")]

    first = files(tmp_path / "first")
    with styles.context("dark_background"):
        second = files(tmp_path / "second")
    assert first == second
    assert not re.search(rb"dc:date|matplotlib\.org|\d{4}-\d\d-\d\dT", first[1])


def test_making_and_saving_figures_leaves_settings_and_no_other_file(tmp_path):
    before = dict(matplotlib.rcParams)
    figure = plots.learning_curves(history_of({"a": [[0.5, 0.6]]}), ["a"])
    paths = plots.save(figure, tmp_path, "curves")
    assert dict(matplotlib.rcParams) == before
    assert sorted(tmp_path.iterdir()) == sorted(paths) == [tmp_path / "curves.png", tmp_path / "curves.svg"]


def test_the_colours_are_those_of_seaborns_palette_for_the_colour_blind():
    assert list(map(to_rgb, plots.COLOURS)) == list(seaborn.color_palette("colorblind"))
