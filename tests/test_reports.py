"""The command, the file that it writes, and figures for papers."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from pages import HOSTILE, write_search, write_study
from processes import ROOT

from harness import committed, pagebuild, paperfigures, pictures, plots, report
from harness.data import find
from harness.errors import UserError

VARIANTS = {"plain": {"l2": 0.0}, "strong": {"l2": 0.1}}


@pytest.fixture
def results(tmp_path):
    write_study(tmp_path / "results" / "mine" / "fashion-mnist", VARIANTS)
    return tmp_path / "results"


def data_of(text):
    """The JSON in a page, by the name of its element."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', text)
    return {name: json.loads(content) for name, content in found}


# ---- the command


def test_the_page_holds_every_study_and_the_command_says_what_it_lacks(results, capsys):
    (results / "mine" / "fashion-mnist" / "classes.csv").unlink()
    write_search(results / "other" / "cifar-10")
    assert report.main(["--out", str(results)]) == 0
    out = capsys.readouterr().out
    assert "mine/fashion-mnist: classes.csv: not there\n" in out
    assert re.search(r"report\.html: 2 studies, 6 runs, 0\.\d MB\n", out)
    data = data_of((results / "report.html").read_text(encoding="utf-8"))
    assert set(data) == {"common", "study-0", "study-1"}
    assert data["study-0"]["key"] == "mine/fashion-mnist"
    assert data["common"]["command"].startswith("python -m harness.report --out ")


def test_named_studies_alone_are_shown(results, tmp_path):
    write_study(results / "yours" / "fashion-mnist", VARIANTS)
    (tmp_path / "yours.toml").write_text('title = "Yours"\nquestion = "Q?"\n', encoding="utf-8")
    assert report.main([str(tmp_path / "yours.toml"), "--out", str(results)]) == 0
    data = data_of((results / "report.html").read_text(encoding="utf-8"))
    assert data["common"]["studies"] == 1
    assert data["study-0"]["title"] == "Yours"


def test_wrong_requests_are_one_line(results, capsys):
    for arguments, words in (
        (["nothing"], "unknown study 'nothing'"),
        (["--figure"], "did you mean '--figures'"),
        (["--out", str(results / "mine")], "holds no tables"),
        (["--data-dir", str(results / "nowhere")], "does not exist"),
    ):
        assert report.main(["--out", str(results), *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_of_a_study_with_departures_alone_these_are_named(tmp_path, capsys):
    write_study(tmp_path / "mine" / "fashion-mnist+epochs=3", VARIANTS)
    for name in ("mine", "mine.toml"):
        assert report.main(["--out", str(tmp_path), name]) == 2
        assert "no tables of mine as written, but mine/fashion-mnist+epochs=3; name one" in capsys.readouterr().err


def test_runs_that_all_diverged_at_once_leave_figures_out_and_stop_nothing(results, capsys):
    folder = results / "mine" / "fashion-mnist"
    lines = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    layers = [i for i, name in enumerate(lines[0]) if name.startswith(("grad_", "weight_"))]
    for line in lines[1:]:
        for i in layers:
            line[i] = ""
    (folder / "history.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    assert report.main(["--out", str(results), "--figures"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert not (folder / "figures" / "gradient_norms.png").exists()
    assert (folder / "figures" / "summary.png").exists()


def test_accuracy_by_seconds_is_of_done_runs_alone(tmp_path):
    for name, diverged in (("done", []), ("wild", ["a", "b"])):
        folder = tmp_path / "results" / name / "fashion-mnist"
        write_study(folder, {"a": {"l2": 0.0}, "b": {"l2": 0.1}}, seeds=1, diverged=diverged)
        assert report.main([name, "--out", str(tmp_path / "results"), "--figures"]) == 0
        assert (folder / "figures" / "accuracy_by_seconds.png").exists() == (not diverged)


def test_the_documented_options_and_figures_are_the_real_ones():
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    options = re.findall(r"^\| `([\w-]+)[^|]* \|", text.partition("## What the page shows")[0], re.MULTILINE)
    actions = [action for action in report.parser()._actions if "--help" not in action.option_strings]
    assert options == ["STUDY", *(action.option_strings[0] for action in actions if action.option_strings)]
    drawn = set(re.findall(r"`(\w+)`", text.partition("## Figures for papers")[2].partition("They need")[0]))
    assert drawn == {*plots.METRICS, *paperfigures.DRAWINGS}
    parts = set(re.findall(r"^\| (\w[\w ]*) \|", text, re.MULTILINE)) - {"Option", "Part"}
    code = pagebuild.source("study.js").partition("SEARCH_PARTS")[0].partition("STUDY_PARTS")[2]
    assert parts == set(re.findall(r"\[\s*'\w+',\s*'([\w ]+)'", code))


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom harness import report\nreport.parser()\nprint('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_the_same_results_give_the_same_page(results):
    pages = []
    for _ in range(2):
        assert report.main(["--out", str(results)]) == 0
        pages.append((results / "report.html").read_bytes())
    assert pages[0] == pages[1]


# ---- the file


def test_nothing_is_loaded_and_only_the_hashed_script_may_run(results):
    assert report.main(["--out", str(results)]) == 0
    text = (results / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!#|data:,)', text) == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for kind, element in (("script-src", "script"), ("style-src", "style")):
        content = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)[1]
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_hostile_names_stay_in_their_elements(results):
    write_study(results / "hostile" / "fashion-mnist", {name: {"optimizer.name": name} for name in HOSTILE})
    assert report.main(["--out", str(results)]) == 0
    text = (results / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script") == 4
    assert 'title="owned"' not in re.sub(r'<script type="application/json".*?</script>', "", text)
    assert data_of(text)["study-0"]["variants"][0] == HOSTILE[0]


def test_every_source_of_the_page_is_used_and_packaged():
    folder = Path(pagebuild.__file__).parent / "page"
    assert {path.name for path in folder.iterdir()} == {f"{name}.js" for name in pagebuild.SCRIPTS} | {
        "page.css",
        "report.md",
        "template.html",
    }
    assert 'harness = ["page/*"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_no_source_makes_markup_of_texts():
    for name in pagebuild.SCRIPTS:
        code = pagebuild.source(f"{name}.js")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", code), name


def test_looks_are_those_of_the_figures(results):
    assert report.main(["--out", str(results)]) == 0
    looks = data_of((results / "report.html").read_text(encoding="utf-8"))["common"]["looks"]
    assert looks["colours"] == list(plots.COLOURS)
    assert looks["lines"] == list(plots.LINES)
    assert looks["markers"] == list(plots.MARKERS)
    code = pagebuild.source("looks.js")
    for name in plots.MARKERS:
        assert re.search(rf"^  '?{re.escape(name)}'?: \(r\)", code, re.MULTILINE), name


# ---- pictures


@pytest.mark.parametrize(
    ("inputs", "shape"), [(784, (28, 28)), (3072, (3, 32, 32)), (12, (3, 2, 2)), (10, None), (1, None)]
)
def test_shape_of_a_picture(inputs, shape):
    assert pictures.shape_of(inputs) == shape


def test_pictures_come_from_a_data_set_that_is_here_and_has_the_same_pixels(results, tmp_path, small):
    folder = committed.read(results / "mine" / "fashion-mnist")
    assert pictures.images(folder, [3, 1], None) is None
    assert folder.problems[-1] == "pictures of the images: the data set on this machine has other pixels"
    folder.tables["runs"].columns["data_fingerprint"] = [small.fingerprint] * 6
    assert pictures.images(folder, [3, 1], None) is None  # 5 x 4 pixels are no square
    small_rows = np.asarray(small.X[[3, 1]])
    assert small_rows.shape == (2, 20)


def test_pictures_that_are_committed_need_no_data_set(results):
    folder = committed.read(results / "mine" / "fashion-mnist")
    folder.details["surest_rows"] = np.array([1, 3, 8])
    folder.details["surest_images"] = np.arange(48, dtype=np.uint8).reshape(3, 16)
    pixels, shape = pictures.images(folder, [8, 1], None)
    assert shape == (4, 4)
    np.testing.assert_array_equal(pixels, [np.arange(32, 48), np.arange(16)])


@pytest.mark.usefixtures("small_data")
def test_nothing_is_fetched_for_pictures(monkeypatch, tmp_path):
    monkeypatch.delenv("ABLATION_BENCH_DATA")
    monkeypatch.setenv("ABLATION_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.data.remote", lambda spec: pytest.fail("it was fetched"))
    with pytest.raises(UserError, match="was not found"):
        find("fashion-mnist", fetch=False)


# ---- figures for papers


def test_figures_of_a_study_hold_no_font_and_are_the_same_each_time(results, monkeypatch, capsys):
    monkeypatch.setattr("harness.plots.DPI", 40)
    folder = results / "mine" / "fashion-mnist"
    assert report.main(["mine", "--figures", "--out", str(results)]) == 0
    first = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    stems = {name.partition(".")[0] for name in first}
    assert stems == {
        *("val_accuracy", "val_loss", "train_accuracy", "train_loss", "summary", "accuracy_by_seconds", "distribution"),
        *("confusion", "classes", "gradient_norms", "gradient_spread", "weights", "activations", "first_layer"),
    }
    assert set(first) == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert f"figures: {len(first)} files" in capsys.readouterr().out
    assert {path.name for path in results.iterdir()} == {"mine", "report.html", "report.md"}
    for name, data in first.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(data).tag.endswith("svg")
            assert b"<text" not in data
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert report.main(["mine", "--figures", "--out", str(results)]) == 0
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == first


def figures_of(folder, monkeypatch, rendered=False):
    """Stems of the figures that are drawn; rendering them takes most of the time."""
    monkeypatch.setattr("harness.plots.DPI", 40)
    if not rendered:
        monkeypatch.setattr(plots, "save", lambda figure, folder, stem, outlines: [folder / stem])
    return {path.stem for path in paperfigures.write(committed.read(folder), None)}


def test_depth_and_width_have_a_heat_map_and_rates_a_response(results, monkeypatch):
    grid = {f"hidden={w}": {"hidden": w} for w in ("8", "16", "8x8", "16x16", "8x8x8", "16x16x16")}
    folder = write_study(results / "grid" / "fashion-mnist", grid, details=False)
    assert {"heatmap", "response", "parallel"} <= figures_of(folder, monkeypatch)
    rates = {f"lr={lr}": {"optimizer.lr": lr} for lr in (0.001, 0.01, 0.1)}
    folder = write_study(results / "rates" / "fashion-mnist", rates, details=False)
    drawn = figures_of(folder, monkeypatch)
    assert "response" in drawn
    assert "heatmap" not in drawn


def test_neither_hostile_names_nor_missing_files_break_figures(results, monkeypatch):
    folder = write_study(results / "bad" / "fashion-mnist", {f"{name} $\\frac$": {"a": name} for name in HOSTILE})
    assert "summary" in figures_of(folder, monkeypatch, rendered=True)
    for name in committed.EXPECTED["study"]:
        (folder / name).unlink()
        figures_of(folder, monkeypatch)


def test_a_search_has_parallel_coordinates(results, monkeypatch):
    assert figures_of(write_search(results / "found" / "fashion-mnist"), monkeypatch) == {"parallel"}


def test_without_seaborn_the_error_says_how_to_get_it(results, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "seaborn", None)
    assert report.main(["--figures", "--out", str(results)]) == 2
    assert "pip install" in capsys.readouterr().err
