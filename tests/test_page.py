"""The page in a real browser: nothing on the console, and what it offers works, by mouse and by keyboard."""

from __future__ import annotations

import re
import time

import pytest
from browsers import TWO_FRAMES, browser, opened, shown
from pages import HOSTILE, write_search, write_study, write_trials
from processes import ROOT

from harness import pagebuild, report

__all__ = ["browser"]

LIMIT_SECONDS = 3.0  # until the page of 5,000 runs is there

# Elements with a text of less contrast than WCAG's 4.5.
POOR_CONTRAST = r"""() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('main *:not(svg *), nav *')].flatMap((e) => {
    if (!e.offsetParent || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) return [];
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${e.className} ${e.textContent.slice(0, 20)} ${ratio.toFixed(2)}`] : [];
  });
}"""

NAMELESS = """() => [...document.querySelectorAll('button, input, select, svg[role=img], canvas')]
  .filter((e) => e.getClientRects().length)
  .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length)))
  .map((e) => e.outerHTML.slice(0, 80))"""

INJECTION = """() => {
  const script = document.createElement('script');
  script.textContent = 'window.ran = true';
  document.body.append(script);
  return Boolean(window.ran);
}"""


def build(results, *arguments):
    assert report.main(["--out", str(results), *arguments]) == 0
    return results / "report.html"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of a study, a grid of depth and width, a response, a search and hostile names."""
    results = tmp_path_factory.mktemp("page") / "results"
    rates = (0.0001, 0.001, 0.01, 0.1)
    write_study(
        results / "a-plain" / "fashion-mnist",
        {"sgd": {"l2": 0.0}, "adam": {"l2": 0.1}, "odd": {"l2": 0.2}},
        seeds=6,
        diverged=["odd"],
        failed=["adam"],
    )
    write_study(
        results / "b-grid" / "fashion-mnist",
        {f"hidden={'x'.join([str(w)] * d)}": {"hidden": "x".join([str(w)] * d)} for d in (1, 2, 3) for w in (8, 16)},
    )
    write_study(
        results / "c-rates" / "fashion-mnist",
        {f"{o}, lr={lr}": {"optimizer.name": o, "optimizer.lr": lr} for o in ("sgd", "adam") for lr in rates},
    )
    write_search(results / "d-search" / "fashion-mnist")
    write_study(results / "e-hostile" / "fashion-mnist", {name: {"optimizer.name": name} for name in HOSTILE})
    write_trials(write_study(results / "f-tuned" / "fashion-mnist", {"sgd": {}, "adam": {}}), ("sgd", "adam"))
    write_trials(results / "e-hostile" / "fashion-mnist", HOSTILE, 3)
    return build(results)


STUDIES = {"plain": 0, "grid": 1, "rates": 2, "search": 3, "hostile": 4, "tuned": 5}


@pytest.fixture
def show(browser, page_file):
    """Open a study's view, by its name."""
    contexts = []

    def start(name="plain", **options):
        address = f"#study-view-{STUDIES[name]}" if name in STUDIES else f"#{name}"
        contexts.append(opened(browser, page_file, address, **options))
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def part(page, study, name):
    return page.locator(f"#study-view-{STUDIES[study]}-{name}")


def column(locator, n):
    return locator.locator(f"tbody tr > :nth-child({n})").all_inner_texts()


# ---- what is there


def test_an_address_of_nothing_shows_the_overview(browser, page_file):
    for address in ("#nowhere", "#%E0%A4%A", "#<b>"):
        with opened(browser, page_file, address) as page:
            assert page.locator("#overview .card").count() == 6


def test_the_overview_has_every_study_and_says_what_is_missing(show):
    page = show("overview")
    page.locator("#overview .missing summary").click()
    assert page.locator(".card").count() == 6
    counts = page.locator("#overview .counts").first.inner_text()
    assert counts.startswith("6 studies, 93 runs and 79 trials; ")  # two of the studies share six runs
    assert "the study's file is not known here" in page.locator("#overview .missing").inner_text()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_whole_and_no_wider_than_its_window(show, width, scheme):
    page = show("overview", width=width, color_scheme=scheme)
    for name in ["overview", "compare", *(f"study-view-{i}" for i in STUDIES.values())]:
        page.evaluate(f"location.hash = '{name}'")
        assert "cannot be shown" not in shown(page, name).inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("main .part:visible, main .card:visible").count() > 3
    assert (
        page.evaluate(
            "[...document.querySelectorAll('svg.chart')].filter((each) => each.outerHTML.includes('NaN')).length"
        )
        == 0
    )


def test_a_study_has_all_its_parts(show):
    titles = show("plain").locator("main h3").all_inner_texts()
    assert titles == [
        "Result",
        "Response",
        "Learning curves",
        "Accuracy against time",
        "Distribution over seeds",
        "Confusion",
        "Classes",
        "Layers",
        "Weights and activations",
        "Surest errors",
        "First layer",
        "Runs",
        "Commands and environment",
    ]


def test_depth_and_width_make_a_heat_map_whose_cells_hold_numbers(show):
    page = show("grid")
    heat = part(page, "grid", "grid")
    assert heat.locator("thead th").all_inner_texts() == ["8", "16"]
    assert heat.locator("tbody th").all_inner_texts() == ["1", "2", "3"]
    assert all(re.fullmatch(r"0\.\d{4}", text) for text in heat.locator("tbody td").all_inner_texts())
    assert heat.locator("td.best").count() == 1
    for quantity, best in (("Test accuracy", max), ("Training less validation accuracy", min)):
        heat.get_by_label("Quantity").select_option(quantity)
        assert heat.locator("td.best").inner_text() == best(heat.locator("tbody td").all_inner_texts())


def test_a_learning_rate_makes_a_response_with_a_line_per_optimizer(show):
    page = show("rates")
    lines = part(page, "rates", "response")
    assert lines.locator("path.line").count() == 2
    assert lines.locator("text.end").all_text_contents() != []
    assert lines.get_by_role("button", name="Log").get_attribute("aria-pressed") == "true"
    lines.get_by_role("combobox", name="A line for each").select_option("nothing")
    lines.get_by_label("Quantity").select_option("Validation accuracy")
    assert "Validation accuracy" in lines.locator("text.end").text_content()


def test_trials_that_tuned_a_study_make_a_response_per_variant_and_a_table(show):
    page = show("tuned")
    response = part(page, "tuned", "tuning")
    assert response.locator("path.marker").count() == 2 * 7 + 2  # and two in the key
    assert response.locator("circle.ring").count() == 2
    assert response.locator("path.cross").count() == 2
    assert response.locator(".key li").all_inner_texts() == ["sgd", "adam"]
    trials = part(page, "tuned", "trials")
    assert "16 rows" in trials.inner_text()
    trials.get_by_role("searchbox").fill("adam diverged")
    assert column(trials, 2) == ["7"]
    assert "Tuned by 16 trials." in page.locator("#study-view-5 .counts").inner_text()


def test_levels_that_are_not_positive_have_their_place_in_a_response(browser, tmp_path):
    strengths = {f"l2={l2}, {activation}": {"l2": l2, "activation": activation}
                 for l2 in (0.0, 0.001, 0.01, 0.1) for activation in ("relu", "tanh")}  # fmt: skip
    write_study(tmp_path / "results" / "strengths" / "fashion-mnist", strengths)
    with opened(browser, build(tmp_path / "results"), "#study-view-0") as page:
        response = page.locator("#study-view-0-response")
        assert response.get_by_role("button", name="Even steps").get_attribute("aria-pressed") == "true"
        for axis in ("Linear", "Log", "Even steps"):
            response.get_by_role("button", name=axis).click()
            assert response.locator("path.marker").count() == 8
            assert response.locator("path.band").count() == 2


def test_numbers_on_the_shipped_page_are_those_of_the_shipped_tables(browser):
    """To the last digit; the page rounds by itself."""
    with opened(browser, ROOT / "results" / "report.html") as page:
        links = "[...document.querySelectorAll('#nav > ul > li > a:has(small)')]"
        views = page.evaluate(f"{links}.map((a) => [a.hash, a.querySelector('small').textContent])")
        compared = 0
        for view, key in views:
            text = (ROOT / "results" / key / "summary.md").read_text(encoding="utf-8")
            lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
            if not lines or "Test accuracy" not in lines[0]:  # a search
                continue
            page.evaluate(f"location.hash = '{view}'")
            shown(page, view.removeprefix("#"))
            table = page.locator(f"{view}-result table.data").first
            heads = [head.strip() for head in table.locator("thead th").all_inner_texts()]
            for name in ("Test accuracy", "Difference", "p", "p (Holm)"):
                if name in lines[0] and name in heads:
                    expected = [row[lines[0].index(name)] for row in lines[2:] if len(row) == len(lines[0])]
                    cells = column(table, heads.index(name) + 1)
                    cells = [cell.replace("−", "-").replace("< ", "&lt;") for cell in cells]
                    there = [i for i, value in enumerate(expected) if value not in ("baseline", "–")]
                    assert [cells[i] for i in there] == [expected[i] for i in there], (key, name)
                    compared += len(there)
        assert compared > 300


def test_baseline_is_marked_and_diverged_and_failed_are_counted(show):
    page = show("plain")
    table = part(page, "plain", "result").locator("table.data")
    heads = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    assert "baseline" in table.locator("tbody tr").first.inner_text()
    assert column(table, 1 + heads.index("Diverged")) == ["0", "0", "1"]
    assert column(table, 1 + heads.index("Failed")) == ["0", "1", "0"]
    assert column(table, 1 + heads.index("n")) == ["6", "5", "5"]
    assert re.fullmatch(r"0\.\d{4} ± 0\.\d{4}", column(table, 1 + heads.index("Test accuracy"))[0])


def test_each_table_says_the_command_that_makes_it(show):
    page = show("plain")
    assert "is made by python -m harness.ablate my_study.toml" in part(page, "plain", "runs").inner_text()
    commands = part(page, "plain", "environment").locator(".commands").inner_text()
    assert "python -m harness.ablate my_study.toml" in commands
    assert "python -m harness.report" in commands


def test_seconds_have_three_digits_and_no_exponent(show):
    """Whatever their size and sign: differences of two runs are shown so too."""
    seconds = "() => {" + pagebuild.source("format.js") + "return [1500, -1500, 999.7, 0.1234, 0, 1e-9].map(seconds);}"
    assert show("overview").evaluate(seconds) == ["1,500", "−1,500", "1,000", "0.123", "0", "0.000000"]


# ---- tables


def test_sorting_by_a_column_and_back(show):
    page = show("plain")
    runs = part(page, "plain", "runs")
    head = runs.get_by_role("columnheader", name="Test accuracy")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = column(runs.locator("table.data"), 5)
    numbers = [float(value) for value in values if value != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert values[-2:] == ["–", "–"]  # what has no number stays at the end
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(runs.locator("table.data"), 5) if value != "–"] == sorted(numbers)


def test_filtering_by_words_and_conditions(show):
    page = show("plain")
    runs = part(page, "plain", "runs")
    box, rows, status = runs.get_by_role("searchbox"), runs.locator("tbody tr"), runs.locator(".status")
    for text, n in (
        ("adam", 6),
        ("status=diverged", 1),
        ("seed>=4", 6),
        ("adam seed<2", 2),
        ("sgd status!=done", 0),
        ("adam seed < 2", 2),
        ('"Seed" >= 4', 6),
        ("", 18),
    ):
        box.fill(text)
        assert rows.count() == n, text
        assert status.inner_text() == (f"{n} of 18 rows" if n < 18 else "18 rows")
    box.fill("no_such_column>1")
    assert "No column is called" in status.inner_text()
    assert box.get_attribute("aria-invalid") == "true"


# ---- figures


def test_a_click_switches_a_variant_in_all_figures(show):
    page = show("plain")
    curves, spread = part(page, "plain", "curves"), part(page, "plain", "spread")
    assert curves.locator("path.line").count() == 3
    assert curves.locator("path.band").count() == 3
    button = page.locator(".variants").get_by_role("button", name="adam")
    button.click()
    assert curves.locator("path.line").count() == 2
    assert spread.locator("text.name").count() == 2
    assert page.locator(".variants").get_by_role("button", name="adam").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Enter")  # it still has the focus
    assert curves.locator("path.line").count() == 3


def test_curves_by_seconds_on_a_log_axis_with_single_runs(show):
    page = show("plain")
    curves = part(page, "plain", "curves")
    before = curves.locator("svg.chart").inner_html()
    curves.get_by_role("button", name="Seconds").click()
    assert "Seconds in training steps" in curves.locator("svg.chart").text_content()
    curves.get_by_label("Quantity").select_option("Validation loss")
    curves.get_by_role("button", name="Log").click()
    curves.get_by_role("button", name="Single runs").click()
    assert curves.locator("path.thin").count() == 18
    assert curves.locator("svg.chart").inner_html() != before


def test_curves_are_means_over_the_done_runs(show):
    """As the tables; the third variant's last seed diverged."""
    page = show("plain")
    read = """() => {
      const {history} = JSON.parse(document.getElementById('study-0').textContent);
      const ends = [...Array(5).keys()].map((seed) => history.val_accuracy[4 * (11 + seed) + 3]);
      return ends.reduce((a, b) => a + b) / 5;
    }"""
    chart = part(page, "plain", "curves").locator("svg.chart")
    chart.focus()
    chart.press("End")
    assert f"{page.evaluate(read):.4f}" in part(page, "plain", "curves").locator(".tip").inner_text()


def test_arrow_keys_read_a_chart_out(show):
    page = show("plain")
    chart = part(page, "plain", "curves").locator("svg.chart")
    chart.focus()
    chart.press("End")
    tip = part(page, "plain", "curves").locator(".tip")
    assert "Epoch 4" in tip.inner_text()
    assert "adam" in tip.inner_text()
    chart.press("ArrowLeft")
    assert "Epoch 3" in tip.inner_text()
    chart.press("Escape")
    assert tip.is_hidden()


def test_confusion_by_counts_and_as_a_difference(show):
    page = show("plain")
    confusion = part(page, "plain", "confusion")
    confusion.get_by_role("button", name="Counts").click()
    assert all(re.fullmatch(r"\d+", text) for text in confusion.locator("td.diagonal").all_inner_texts())
    confusion.get_by_role("button", name="Difference").click()
    assert "sgd less adam" in confusion.locator(".caption").inner_text()


def test_first_layer_and_histograms_are_drawn(show):
    page = show("plain")
    weights = part(page, "plain", "weights")
    assert weights.locator("canvas").count() == 5
    painted = weights.locator("canvas").first.evaluate(
        "(c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert painted > 5
    histograms = part(page, "plain", "histograms")
    histograms.get_by_role("button", name="Variants at the end").click()
    assert histograms.locator("path.step").count() == 2 * 3


def test_ranges_of_parallel_coordinates_by_keyboard_and_by_dragging(show):
    page = show("search")
    coordinates = part(page, "search", "parallel")
    assert coordinates.locator(".verdict").inner_text().startswith("28 of 28 lines") or coordinates.locator(
        ".verdict"
    ).inner_text().startswith("30 of 30")
    coordinates.locator("summary").click()
    coordinates.locator("fieldset", has_text="batch_size").get_by_label("from").select_option("64")
    assert coordinates.locator(".verdict").inner_text().startswith("20 of 30 lines")
    coordinates.get_by_role("button", name="Clear all ranges").click()
    ends = "(e) => [...e.querySelectorAll('select')].map((s) => s.selectedIndex / (s.length - 1))"
    assert coordinates.locator("fieldset", has_text="batch_size").evaluate(ends) == [0, 1]
    box = coordinates.locator("rect.grip").last.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] / 2)
    page.mouse.up()
    kept = int(coordinates.locator(".verdict").inner_text().split()[0])
    assert 0 < kept < 30
    low, high = coordinates.locator("fieldset").last.evaluate(ends)  # the fields say what was dragged
    assert 0.4 < low < 0.6 < high


# ---- two runs side by side


def test_two_runs_are_compared_as_chosen_in_the_table(show):
    page = show("plain")
    runs = part(page, "plain", "runs")
    runs.get_by_role("button", name="Run A of the comparison: sgd, seed 0").click()
    runs.get_by_role("button", name="Run B of the comparison: adam, seed 3").click()
    page.get_by_role("navigation").get_by_role("link", name="Compare two runs").click()
    view = shown(page, "compare")
    settings = view.locator(".part", has_text="Settings that differ").locator("tbody tr").all_inner_texts()
    assert [line.split() for line in settings] == [["l2", "0", "0.1"], ["seed", "0", "3"]]
    assert view.locator(".part", has_text="Curves").locator("path.line").count() == 2
    assert view.locator("table.confusion td").count() == 9 + 1
    view.get_by_label("Study").nth(1).select_option("b-grid (b-grid/fashion-mnist)")
    assert "hidden" in view.locator(".part", has_text="Settings that differ").inner_text()


def test_one_run_at_a_time_is_marked_as_a(show):
    page = show("plain")
    runs = part(page, "plain", "runs")
    first, second = (
        runs.get_by_role("button", name=f"Run A of the comparison: {run}") for run in ("sgd, seed 0", "adam, seed 3")
    )
    for button, other in ((first, second), (second, first)):
        button.click()
        assert (button.get_attribute("aria-pressed"), button.inner_text()) == ("true", "A ✓")
        assert (other.get_attribute("aria-pressed"), other.inner_text()) == ("false", "A")
    page.evaluate("location.hash = 'compare'")
    shown(page, "compare").get_by_label("Variant").first.select_option("sgd")
    page.evaluate("location.hash = 'study-view-0'")
    shown(page, "study-view-0")
    assert first.get_attribute("aria-pressed") == "true"
    assert second.get_attribute("aria-pressed") == "false"


def test_two_runs_of_one_variant_have_no_confusion_to_compare(show):
    page = show("plain")
    runs = part(page, "plain", "runs")
    for side, seed in (("A", 0), ("B", 3)):
        runs.get_by_role("button", name=f"Run {side} of the comparison: adam, seed {seed}").click()
    page.get_by_role("navigation").get_by_role("link", name="Compare two runs").click()
    assert "Both runs are of one variant" in shown(page, "compare").inner_text()
    assert page.locator("#compare table.confusion").count() == 0


def test_two_runs_without_matrices_have_none_to_compare(browser, tmp_path):
    write_study(tmp_path / "results" / "bare" / "fashion-mnist", {"one": {}}, details=False)
    with opened(browser, build(tmp_path / "results"), "#compare") as page:
        assert "There are no two matrices to compare." in page.locator("#compare").inner_text()


def test_the_confusion_of_two_data_sets_is_not_compared(browser, tmp_path):
    for dataset in ("cifar-10", "fashion-mnist"):
        write_study(tmp_path / "results" / "mine" / dataset, {"one": {"l2": 0.0}, "two": {"l2": 0.1}})
    with opened(browser, build(tmp_path / "results"), "#compare") as page:
        view = page.locator("#compare")
        assert view.locator("table.confusion").count() == 1
        view.get_by_label("Study").nth(1).select_option("mine (mine/fashion-mnist)")
        assert "The classes of the two runs differ." in view.inner_text()
        assert view.locator("table.confusion").count() == 0


# ---- looks


def test_dark_by_preference_and_by_button(show):
    background = "getComputedStyle(document.body).backgroundColor"
    assert show("plain", color_scheme="dark").evaluate(background) == "rgb(20, 23, 26)"
    page = show("plain", color_scheme="light")
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(background) == "rgb(20, 23, 26)"
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.evaluate(background) == "rgb(20, 23, 26)"  # it is kept
    page.get_by_role("button", name="Light colours").click()
    assert page.evaluate(background) == light


def test_texts_have_enough_contrast(show):
    for scheme in ("light", "dark"):
        assert show("plain", color_scheme=scheme).evaluate(POOR_CONTRAST) == []


def test_the_contents_open_on_a_phone(show):
    page = show("plain", width=390)
    assert page.locator("#nav").is_hidden()
    page.get_by_role("button", name="Contents").click()
    page.locator("#nav").get_by_role("link", name="Confusion").click()
    page.locator("#nav").wait_for(state="hidden")
    assert part(page, "plain", "confusion").evaluate("(e) => Math.abs(e.getBoundingClientRect().top) < 250")
    assert page.evaluate("document.activeElement.id") == "study-view-0-confusion-title"


def test_tab_reaches_the_content_and_every_control_has_a_name(show):
    page = show("")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    page.locator("main a", has_text="a-plain").press("Enter")
    shown(page, "study-view-0")
    assert page.evaluate("document.activeElement.id") == "study-view-0-title"
    nameless = page.evaluate(NAMELESS)
    assert nameless == []


def test_choosing_all_or_no_variants_keeps_the_focus(show):
    page = show("plain")
    bar = page.locator("#study-view-0 .variants")
    for name, pressed in (("none", 0), ("all", 3)):
        bar.get_by_role("button", name=name, exact=True).press("Enter")
        assert bar.locator("[aria-pressed=true]").count() == pressed
        assert page.evaluate("document.activeElement.textContent") == name


def test_the_focus_stays_in_a_long_table_that_is_scrolled(browser, tmp_path):
    folder = tmp_path / "results" / "long" / "fashion-mnist"
    write_study(folder, {"a": {"l2": 0.0}, "b": {"l2": 0.1}}, seeds=100, epochs=1, details=False)
    with opened(browser, build(tmp_path / "results"), "#study-view-0") as page:
        runs = page.locator("#study-view-0-runs")
        runs.get_by_role("button", name="Run B of the comparison: a, seed 9", exact=True).focus()
        name = "document.activeElement.getAttribute('aria-label')"
        for row, expected in ((15, "Run B of the comparison: a, seed 9"), (150, "Runs")):  # drawn, and no longer drawn
            runs.locator(".scroller").evaluate(f"(e) => {{ e.scrollTop = {row} * 33; }}")
            page.evaluate(TWO_FRAMES)
            assert page.evaluate(name) == expected
        assert runs.locator("tr.spacer").first.is_visible()
        page.emulate_media(media="print")
        assert runs.locator("tr.spacer").first.is_hidden()  # pages of nothing otherwise


def test_printing_shows_all_studies_in_light_colours(show):
    page = show("overview", color_scheme="dark")
    data = page.pdf()
    assert data.startswith(b"%PDF")
    assert max(map(int, re.findall(rb"/Count (\d+)", data))) > 20
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_cells_are_drawn_for_paper_in_light_colours_and_then_as_before(show):
    page = show("grid", color_scheme="dark")
    cell = part(page, "grid", "grid").locator("tbody td").first  # of little accuracy, so near the background
    light = "(e) => getComputedStyle(e).backgroundColor.match(/\\d+/g).every((part) => part > 200)"
    for event, expected in (("beforeprint", True), ("afterprint", False)):
        page.evaluate(f"dispatchEvent(new Event('{event}'))")
        assert cell.evaluate(light) is expected


# ---- harm


def test_hostile_names_are_shown_and_do_nothing(show):
    page = show("hostile")
    assert page.title() == "e-hostile – ablation-bench"
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    table = part(page, "hostile", "result").locator("table.data").inner_text()
    for name in HOSTILE[:5]:
        assert name[:20] in table or name in table
    for button in page.locator(".variants button").all():
        button.click()
    part(page, "hostile", "runs").get_by_role("searchbox").fill(HOSTILE[0])
    assert page.title() == "e-hostile – ablation-bench"


def test_nothing_but_the_pages_own_script_can_run(browser, page_file):
    page = browser.new_page()
    page.goto(f"file://{page_file}")
    page.wait_for_selector("html[data-ready]", state="attached")
    ran = page.evaluate(INJECTION)
    assert not ran
    policy = page.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    page.close()


def test_damaged_results_still_give_a_page(browser, tmp_path, capsys):
    folder = write_study(tmp_path / "results" / "mine" / "fashion-mnist", {"a": {"l2": 0.0}, "b": {"l2": 0.1}})
    for name in ("summary.csv", "details.npz", "environment.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
    data = (folder / "history.csv").read_bytes()
    (folder / "history.csv").write_bytes(data[: len(data) // 2])
    page_file = build(tmp_path / "results")
    assert "mine/fashion-mnist: details.npz: damaged" in capsys.readouterr().out
    with opened(browser, page_file, "#study-view-0") as page:
        missing = page.locator("#study-view-0 .missing").inner_text()
        assert "details.npz: damaged" in missing
        assert "environment.json: damaged" in missing
        assert page.locator("main h3").all_inner_texts()[0] == "Result"


@pytest.mark.long
@pytest.mark.alone
def test_five_thousand_runs_open_at_once(browser, tmp_path):
    cells = {
        f"lr={lr}, batch_size={size}": {"optimizer.lr": lr / 1000, "batch_size": size}
        for lr in range(1, 101)
        for size in range(10)
    }
    write_study(tmp_path / "results" / "big" / "fashion-mnist", cells, seeds=5, epochs=20)
    page_file = build(tmp_path / "results")
    assert page_file.stat().st_size < 12_000_000
    start = time.perf_counter()
    with opened(browser, page_file) as page:
        assert time.perf_counter() - start < LIMIT_SECONDS
        start = time.perf_counter()
        page.evaluate("location.hash = 'study-view-0'")
        shown(page, "study-view-0")
        assert time.perf_counter() - start < LIMIT_SECONDS
        runs = page.locator("#study-view-0-runs")
        assert "5,000 rows" in runs.inner_text()
        assert runs.locator("tbody tr").count() < 100  # only those in view
        runs.locator(".scroller").evaluate("(e) => { e.scrollTop = e.scrollHeight; }")
        runs.locator("tbody", has_text="lr=100").wait_for()
        runs.get_by_role("searchbox").fill("seed=3 optimizer.lr>0.09")
        assert "100 of 5,000 rows" in runs.inner_text()
        page.get_by_placeholder("Add a variant").fill("lr=50, batch_size=3")
        page.locator(".found button").first.click()
        assert "9 of 1,000 variants" in page.locator(".variants").inner_text()
