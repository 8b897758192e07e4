"""The Python interface: it gives what the commands give."""

from __future__ import annotations

import shlex
import subprocess
import sys

import numpy as np
import pytest
from documents import blocks
from studyfiles import WIDTHS

import harness
from harness import ablate
from harness.errors import UserError

SMALL = {"hidden": [7], "epochs": 2, "batch_size": 16}


@pytest.fixture
def study(small_data, tmp_path):
    path = tmp_path / "widths.toml"
    path.write_text(WIDTHS.format(epochs=2, wide="[11, 7]").format(more=""))
    return harness.load_study(path, seeds=2)


def test_importing_it_loads_no_heavy_library():
    code = "import sys, harness; print([m for m in ('numpy', 'pandas', 'numba', 'joblib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_all_its_names_are_there_and_others_are_not():
    assert set(harness.__all__) <= set(dir(harness))
    assert all(getattr(harness, name).__doc__ for name in harness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        harness.trian  # noqa: B018


def test_a_study_gives_the_tables_that_the_command_writes(study, tmp_path, capsys):
    results = harness.run_study(study, out=tmp_path / "out", jobs=1)
    assert len(results.runs) == 4
    assert len(results.summary) == 2
    assert len(results.history) == 8
    assert len(results.classes) == 2 * 3
    assert len(results.findings) == 0  # the study makes no claim
    assert "numpy" in results.environment["libraries"]
    assert ablate.main([str(study.path), "--seeds", "2", "--out", str(tmp_path / "out")]) == 0
    assert "4 already stored" in capsys.readouterr().out
    again = harness.open_results(results.folder)
    np.testing.assert_array_equal(again.runs["test_accuracy"], results.runs["test_accuracy"])


def test_what_a_request_changes_is_changed(study, tmp_path):
    changed = harness.load_study(study.path, settings={"optimizer.lr": 0.5, "hidden": [3]}, only=["narrow"])
    assert [config.optimizer.lr for config in changed.variants.values()] == [0.5]
    assert [config.hidden for config in changed.variants.values()] == [(3,)]


def test_tables_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder"):
        harness.open_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no tables"):
        harness.open_results(tmp_path)
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(UserError, match=r"runs\.csv: No such file"):
        _ = harness.open_results(tmp_path).runs


@pytest.mark.parametrize("damage", [b"", b"variant,n\nsgd\n", b"\xff\xfe\x00"])
def test_a_damaged_table_is_named(tmp_path, damage):
    for name in ("runs.csv", "environment.json"):
        (tmp_path / name).write_bytes(damage)
    results = harness.open_results(tmp_path)
    with pytest.raises(UserError, match=r"runs\.csv is damaged"):
        _ = results.runs
    with pytest.raises(UserError, match=r"environment\.json is damaged"):
        _ = results.environment


def test_arguments_of_another_kind_are_one_line(study, tmp_path):
    for call, words in (
        (lambda: harness.run_study("exp3"), "study = 'exp3': must come from harness.load_study"),
        (lambda: harness.run_study(study, jobs=0, out=tmp_path), r"jobs = 0: must be a whole number in \[1, 1024\]"),
        (lambda: harness.run_study(study, jobs="x", out=tmp_path), "jobs = 'x'"),
        (lambda: harness.run_study(study, out=""), "the name of a folder is empty"),
        (lambda: harness.load_study("exp3", only="sgd"), "only = 'sgd': must be a list"),
        (lambda: harness.load_study("exp3", settings=[1]), r"settings = \[1\]: must be a mapping"),
        (lambda: harness.train([1]), r"settings = \[1\]: must be a mapping"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_the_recorded_command_makes_the_same_tables(study, tmp_path):
    changed = harness.load_study(study.path, seeds=1, settings={"optimizer.lr": 0.5}, only=["narrow"])
    results = harness.run_study(changed, out=tmp_path / "out", jobs=1)
    words = shlex.split(results.environment["command"])
    assert words[:3] == ["python", "-m", "harness.ablate"]
    words[3], words[words.index("--out") + 1] = str(study.path), str(tmp_path / "again")
    assert ablate.main([*words[3:], "--jobs", "1"]) == 0
    again = harness.open_results(tmp_path / "again" / results.folder.relative_to(tmp_path / "out"))
    assert again.runs["test_accuracy"].tolist() == results.runs["test_accuracy"].tolist()


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_a_trained_network_has_a_history_figures_and_predictions(engine):
    network = harness.train(SMALL, engine=engine, optimizer={"name": "sgd", "lr": 0.1})
    assert list(network.history["epoch"]) == [1, 2]
    assert network.weights[0][0].shape == (20, 7)
    assert network.confusion.to_numpy().sum() == 31
    assert list(network.confusion.columns) == ["ant", "bee", "cod"]
    images = harness.load_images()
    predictions = network.predict(images.X)
    assert predictions.shape == images.y.shape
    assert (network.predict(images.X[5]) == predictions[5]).all()


@pytest.mark.usefixtures("small_data")
def test_predictions_are_those_that_were_measured():
    from harness import data

    network, dataset = harness.train(SMALL, **{"data.standardise": True}), harness.load_images()
    test = data.make_split(dataset).test
    share = np.mean(network.predict(dataset.X[test]) == dataset.y[test])
    assert share == pytest.approx(network.metrics["test_accuracy"])


@pytest.mark.usefixtures("small_data")
def test_a_wrong_setting_is_named():
    with pytest.raises(UserError, match=r"optimizer\.lr = -1"):
        harness.train({"optimizer.lr": -1})


@pytest.mark.usefixtures("small_data")
def test_the_documents_examples_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("docs/python.md", "python"):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert names["results"].folder.is_relative_to("results")
    assert set(names["last"].index) == {"sgd", "adam"}
    assert "adam" in capsys.readouterr().out
