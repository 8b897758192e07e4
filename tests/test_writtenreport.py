"""The written report: whatever state the tables are in, what it says is so, and what it lacks it says."""

from __future__ import annotations

import re

import pytest
from pages import HOSTILE, write_csv, write_search, write_study

from harness import committed, studyfile, writtenreport
from harness.config import DATASET_NAMES
from harness.findings import FINDING_COLUMNS

VARIANTS = {"plain": {"l2": 0.0}, "strong": {"l2": 0.123456789}}
FINDING = {
    "claim": 1,
    "text": "L2 helps",
    "claim_verdict": "held",
    "metric": "test_accuracy",
    "better": "strong",
    "than": "plain",
    "at": "",
    "margin": "",
    "n": 3,
    "difference": 0.1,
    "difference_low": 0.08,
    "difference_high": 0.12,
    "p_value": 0.01,
    "p_holm": 0.02,
    "p_least": 0.001,
    "not_reached": 0,
    "diverged_better": 0,
    "diverged_than": 0,
    "verdict": "held",
}


@pytest.fixture
def results(tmp_path):
    folder = write_study(tmp_path / "mine" / "fashion-mnist", VARIANTS)
    write_csv(folder / "findings.csv", [{name: FINDING[name] for name in FINDING_COLUMNS}])
    return tmp_path


def report(results, *names, everything=False):
    return writtenreport.text([committed.read(*found) for found in committed.find(results, names)], everything)


def section(text, heading):
    return re.split(r"\n(?=#)", text.split(f"\n{heading}", 1)[1])[0]


def test_a_study_has_its_claims_with_intervals_and_its_table(results):
    own = section(report(results), "#### mine on Fashion-MNIST")
    assert "2 variants, 3 seeds. The same for all: batch_size 64." in own
    assert (
        "1. held: L2 helps\n   - strong minus plain: +0.1000 ± 0.0200 test accuracy, 3 pairs, p (Holm) 0.02: held"
        in own
    )
    assert re.search(r"\| strong \| 0\.123 \| 3 \| 0\.\d{4} ± 0\.\d{4} \|", own)


def test_the_overview_counts_runs_once_and_claims_by_verdict(results):
    write_study(results / "mine" / "cifar-10", VARIANTS)
    text = report(results)
    assert re.search(r"\| mine:.* \| Fashion-MNIST \| 2 \| 6 \| 0\.\d{4} ± 0\.\d{4} \(strong\) \| 1 held \|", text)
    assert "All studies: 6 runs" in text
    assert "Claims: 1 held." in text


def test_texts_of_the_data_set_are_told_and_escaped(results, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\nquestion = "Is *it*?"\nfinding = "Of all."\n[datasets.cifar-10]\nfinding = "Of <this>."\n',
        encoding="utf-8",
    )
    write_study(results / "mine" / "cifar-10", VARIANTS)
    text = report(results, str(file))
    assert "*Question:* Is \\*it\\*?" in text
    assert section(text, "#### mine on CIFAR-10").strip().startswith("*Finding:* Of &lt;this&gt;.")
    assert section(text, "#### mine on Fashion-MNIST").strip().startswith("*Finding:* Of all.")


def test_a_finding_about_all_data_sets_is_told_once(results, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('finding = "Of both."\n', encoding="utf-8")
    write_study(results / "mine" / "cifar-10", VARIANTS)
    text = report(results, str(file))
    assert text.count("Of both.") == 1
    assert text.index("Of both.") < text.index("#### mine on Fashion-MNIST")


def test_figures_are_shown_where_they_are(results):
    write_study(results / "mine" / "cifar-10", VARIANTS)
    figures = results / "mine" / "cifar-10" / "figures"
    figures.mkdir()
    assert "![" not in report(results)
    (figures / "summary.png").write_bytes(b"")
    (line,) = [line for line in report(results).splitlines() if "![" in line]
    assert line.startswith("|  | ![")
    assert line.endswith("](mine/cifar-10/figures/summary.png) |")


def test_a_search_has_its_trials_its_winner_and_importances(results):
    write_search(results / "searched" / "fashion-mnist")
    own = section(report(results), "### searched on Fashion-MNIST")
    assert "30 trials: " in own
    assert "The best trial, number 3: " in own
    assert "test accuracy 0.8900" in own
    assert "| optimizer.lr | 0.70 |" in own


def test_a_study_that_searched_first_is_a_study(results):
    folder = results / "mine" / "fashion-mnist"
    write_csv(folder / "trials.csv", [{"trial": i, "status": "done", "variant": "plain"} for i in range(7)])
    text = report(results)
    assert "settings chosen by 7 trials with another seed" in section(text, "#### mine on Fashion-MNIST")
    assert "Search mine" not in text


def test_what_is_missing_is_said_of_all_studies_but_not_of_chosen_ones(results):
    (results / "mine" / "fashion-mnist" / "details.npz").unlink()
    missing = section(report(results, everything=True), "## What is missing")
    for name in studyfile.available():
        assert all(f"- {name}/{dataset}: no tables" in missing for dataset in DATASET_NAMES)
    assert "- mine/fashion-mnist: details.npz: not there" in missing
    assert "no tables" not in report(results)


@pytest.mark.parametrize("name", [*committed.EXPECTED["study"], "findings.csv"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.97])
def test_a_file_cut_anywhere_breaks_nothing(results, name, share):
    path = results / "mine" / "fashion-mnist" / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert report(results).endswith("\n")


def test_infinite_times_break_nothing(results):
    for path in results.glob("*/*/*.csv"):
        rows = path.read_text(encoding="utf-8").splitlines()
        rows[1] = ",".join("inf" if re.fullmatch(r"[\d.]+", cell) else cell for cell in rows[1].split(","))
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        assert "of training and evaluation" in report(results)


def test_the_end_of_a_report_of_other_studies_names_their_commands_and_no_shipped_study(results):
    end = report(results).partition("## Limits")[2]
    assert "exp3" not in end
    assert "python -m harness.ablate my_study.toml\n" in end
    assert "harness.ablate all" not in end


def test_tables_of_texts_break_nothing(results):
    folder = results / "mine" / "fashion-mnist"
    for name in ("summary", "runs", "findings"):
        header, *lines = (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        cut = [",".join("word" for _ in header.split(",")) for _ in lines]
        (folder / f"{name}.csv").write_text("\n".join([header, *cut, ""]), encoding="utf-8")
    assert report(results).endswith("\n")


def test_hostile_names_are_no_markup(results):
    write_study(results / "bad" / "fashion-mnist", {name: {"a": name} for name in HOSTILE if name})
    text = report(results)
    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text


def test_the_same_tables_give_the_same_text(results):
    assert report(results, everything=True) == report(results, everything=True)
