"""The report says what the times say, and what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import chart, report
from benchmarks.cases import BLAS, JAX, OURS, SKLEARN
from matplotlib.figure import Figure

GROUP = "epoch 784-128-10"


def one(name: str, seconds: list[float], share: float = 1.0, group: str = GROUP) -> dict:
    info = {"implementation": name, "flops": 10e9 * share, "share": share, "first_seconds": 3.0, "peaks": [50e9, 50e9]}
    info["note"] = "" if share == 1 else "first 88 of 875 mini-batches, scaled"
    return {
        "group": group,
        "extra_info": {**info, "subject": "56,000 images"},
        "stats": {"data": seconds},
    }


@pytest.fixture
def times() -> dict:
    lines = [one(OURS, [0.2, 0.25]), one(BLAS, [0.5]), one(OURS, [0.3]), one(BLAS, [0.5]), one(SKLEARN, [0.1], 0.1)]
    packages = {"numpy": "2.0", "jax": None}
    environment = {
        "cpu": "A processor",
        "vector_bits": 512,
        "cores": 1,
        "python": "3.12",
        "blas": "a BLAS",
        "quick": False,
    }
    missing = {GROUP: {JAX: "jax is not installed"}}
    environment |= {"quick": False, "packages": packages}
    return {"benchmarks": lines, "unavailable": missing, "environment": environment}


def cells(document: str, name: str) -> list[str]:
    """Cells of the last line that begins with a name."""
    lines = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", document, re.MULTILINE)
    return [cell.strip() for cell in lines[-1].split("|")]


def test_turns_are_joined_to_one_median(times):
    assert cells(report.document(report.read(times)), OURS) == ["250", "225 – 275", "1.00", "0.80", "3.00", ""]


def test_ratios_are_times_over_that_of_this_project(times):
    assert cells(report.document(report.read(times)), BLAS)[2:4] == ["2.00", "0.40"]


def test_part_of_an_epoch_is_scaled_and_said(times):
    line = cells(report.document(report.read(times)), SKLEARN)
    assert line[0] == "1000"
    assert line[2:4] == ["4.00", "0.20"]
    assert line[-1] == "first 88 of 875 mini-batches, scaled"


def test_a_missing_peer_is_said(times):
    document = report.document(report.read(times))
    assert cells(document, JAX) == ["–"] * 5 + ["jax is not installed"]
    assert "jax not installed" in document


def test_the_overview_has_the_network(times):
    assert "| 784-128-10, batch 64 | 0.80 | – | – | – | 2.00 |" in report.document(report.read(times))


def test_a_run_without_this_project_has_no_ratios(times):
    times["benchmarks"] = [line for line in times["benchmarks"] if line["extra_info"]["implementation"] != OURS]
    results = report.read(times)
    assert cells(report.document(results), BLAS)[2] == "–"
    assert isinstance(chart.draw(results), Figure)


def test_the_chart_has_a_panel_per_network_and_names_every_implementation(times):
    times["benchmarks"].append(one(OURS, [1.0], group="epoch 784-64-10"))
    first, second = chart.draw(report.read(times)).axes
    assert {OURS, JAX} <= {label.get_text() for label in first.get_yticklabels()}
    assert any("not installed" in text.get_text() for text in first.texts)
    assert "784-64-10" in second.get_title(loc="left")


def test_a_quick_run_says_that_its_times_mean_nothing(times):
    assert "mean nothing" not in report.document(report.read(times))
    times["environment"]["quick"] = True
    assert "mean nothing" in report.document(report.read(times))


def test_the_command_writes_the_report_again_from_kept_times(times, tmp_path):
    (tmp_path / "times.json").write_text(json.dumps(times))
    command = [sys.executable, str(Path(report.__file__).parent), "--from", str(tmp_path / "times.json")]
    subprocess.run([*command, "--out", str(tmp_path / "out")], check=True, capture_output=True)
    assert (tmp_path / "out" / "benchmarks.md").read_text() == report.document(report.read(times))
    assert (tmp_path / "out" / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_usual_test_runs_take_no_times(request):
    assert not [item.name for item in request.session.items if item.get_closest_marker("speed")]
