"""Run folders: what comes back is what went in, or nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil

import numpy as np
import pytest

from harness.config import RunConfig
from harness.diagnostics import Statistics
from harness.errors import UserError
from harness.modelfile import load_model
from harness.network import initial_weights
from harness.result import Measured, RunResult
from harness.store import (
    FORMAT,
    MEASURED,
    SEALED,
    adopt_run,
    load_run,
    load_statistics,
    read_files,
    save_run,
)

CONFIG = RunConfig.from_settings({"hidden": [4], "optimizer": {"name": "momentum", "lr": 0.1}, "seed": 3}, "a test")
CIRCUMSTANCES = {"jobs": 2, "data_fingerprint": "0123", "code_version": "4567"}
NAMES = ("result.json", *SEALED)
STATISTICS = Statistics(
    weight_histogram=np.arange(2 * 2 * 5).reshape(2, 2, 5),
    gradient_histogram=np.arange(2 * 2 * 5).reshape(2, 2, 5) + 2**40,
    activation_histogram=np.arange(2 * 1 * 5).reshape(2, 1, 5),
    histogram_edges=np.array([-math.pi, -1, -0.1, 0.1, 1, math.pi]),
)


def measured(epoch: int, **changes) -> Measured:
    given = {
        "metrics": {"test_accuracy": 2 / 3 / epoch, "test_loss": math.inf, "test_f1_macro": math.nan},
        "confusion": np.arange(9).reshape(3, 3) * epoch,
        "val_confusion": np.eye(3, dtype=np.int64),
        "surest_errors": np.array([[5.0, 1.0, 2.0, 0.9]]),
        "weights": initial_weights((5, 4, 3), "he", epoch, np.float32),
    }
    return Measured(epoch, **{**given, **changes})


def result(**changes) -> RunResult:
    history = [
        {"epoch": 1, "train_loss": 0.1 + 0.2, "val_accuracy": 1 / 3, "lr": 1e-300, "grad_norm_1": 5e-324},
        {"epoch": 2, "train_loss": math.inf, "val_accuracy": math.nan, "lr": 0.1, "grad_norm_1": -0.0},
    ]
    given = {
        "status": "done",
        "reason": "",
        "history": history,
        "totals": {"best_val_epoch": 1, "epochs_done": 2},
        "statistics": STATISTICS,
        "last": measured(2),
        "best": measured(1),
    }
    return RunResult(**{**given, **changes})


@pytest.fixture
def saved(tmp_path):
    save_run(tmp_path, "abc", CONFIG, result(), CIRCUMSTANCES)
    return tmp_path


def test_every_figure_comes_back_as_it_was(saved):
    for select in ("last", "best"):
        run = load_run(saved, "abc", select)
        assert repr(run.history) == repr(result().history)
        row = {"run_id": "abc", "status": "done", "reason": "", **CIRCUMSTANCES, **CONFIG.flat(), **result().totals}
        row |= {"select": select, **getattr(result(), select).metrics}
        assert repr(sorted(run.row.items())) == repr(sorted(row.items()))


@pytest.mark.parametrize("select", ["last", "best"])
def test_arrays_come_back_and_pictures_are_small(saved, select):
    arrays, given = load_run(saved, "abc", select).arrays(), getattr(result(), select)
    assert np.array_equal(arrays["confusion"], given.confusion)
    assert np.array_equal(arrays["val_confusion"], given.val_confusion)
    assert np.array_equal(arrays["surest_errors"], given.surest_errors)
    assert arrays["first_layer"].dtype == np.float16
    np.testing.assert_allclose(arrays["first_layer"], given.weights[0][0], rtol=1e-3)


def test_both_networks_come_back_with_their_figures(saved):
    for select in ("last", "best"):
        model, given = load_model(saved / "abc" / select / "model.safetensors"), getattr(result(), select)
        assert (model.config, model.epoch, model.run_id) == (CONFIG, given.epoch, "abc")
        assert repr(sorted(model.metrics.items())) == repr(sorted(given.metrics.items()))
        for (W, b), (V, c) in zip(model.weights, given.weights, strict=True):
            assert np.array_equal(W, V)
            assert np.array_equal(b, c)


@pytest.mark.parametrize("links", [True, False])
def test_where_the_last_epoch_is_the_best_its_files_have_two_names(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError("no such thing here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    only = measured(2)
    save_run(tmp_path, "abc", CONFIG, result(last=only, best=only), CIRCUMSTANCES)
    assert load_run(tmp_path, "abc", "best").row["test_accuracy"] == 1 / 3
    for name in MEASURED:
        last, best = (tmp_path / "abc" / select / name for select in ("last", "best"))
        assert last.samefile(best) == links
        assert last.read_bytes() == best.read_bytes()


def test_one_array_comes_back_alone(saved):
    (name,) = load_run(saved, "abc").arrays("val_confusion")
    assert name == "val_confusion"


@pytest.mark.parametrize("hidden_layers", [0, 1])
def test_histograms_come_back_as_they_were(tmp_path, hidden_layers):
    activations = STATISTICS.activation_histogram[:, :hidden_layers]
    given = dataclasses.replace(STATISTICS, activation_histogram=activations)
    save_run(tmp_path, "abc", CONFIG, result(statistics=given), CIRCUMSTANCES)
    loaded = load_statistics(tmp_path / "abc")
    for name, array in vars(given).items():
        assert getattr(loaded, name).dtype == array.dtype
        np.testing.assert_array_equal(getattr(loaded, name), array)


def test_objects_are_never_unpickled(saved):
    arrays = {**vars(STATISTICS), "weight_histogram": np.array([print], dtype=object)}
    np.savez(saved / "abc" / "statistics.npz", **arrays)
    with pytest.raises(UserError, match=r"statistics\.npz was removed or damaged"):
        load_statistics(saved / "abc")


def test_a_folder_holds_these_files_and_nothing_else(saved):
    files = [path for path in (saved / "abc").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(saved / "abc").as_posix() for path in files) == sorted(NAMES)
    assert [path.name for path in saved.iterdir()] == ["abc"]


def test_the_record_is_json_that_everybody_reads(saved):
    def refuse(name):
        raise AssertionError(name)

    record = json.loads((saved / "abc" / "result.json").read_text(), parse_constant=refuse)
    assert record["config"]["optimizer"] == {"name": "momentum", "lr": 0.1, "mu": 0.9}
    assert record["best"]["test_f1_macro"] == "nan"


def test_the_same_run_gives_the_same_files(saved, tmp_path):
    save_run(tmp_path / "again", "abc", CONFIG, result(), CIRCUMSTANCES)
    for name in NAMES:
        assert (saved / "abc" / name).read_bytes() == (tmp_path / "again" / "abc" / name).read_bytes()


@pytest.mark.filterwarnings("error")
def test_weights_of_a_diverged_run_can_be_stored(tmp_path):
    weights = [(np.array([[1e38, math.nan], [-math.inf, 1.0]], np.float32), np.zeros(2, np.float32))]
    last = measured(2, weights=weights)
    save_run(tmp_path, "abc", CONFIG, result(last=last, status="diverged", reason="why"), CIRCUMSTANCES)
    run = load_run(tmp_path, "abc")
    assert (run.row["status"], run.row["reason"]) == ("diverged", "why")
    assert np.array_equal(run.arrays()["first_layer"], [[math.inf, math.nan], [-math.inf, 1]], equal_nan=True)


def test_a_run_that_was_never_made_is_none(tmp_path):
    assert load_run(tmp_path, "abc") is None
    assert load_run(tmp_path / "nowhere", "abc") is None


@pytest.mark.parametrize("damage", ["gone", "empty", "truncated", "longer", "one bit", "a folder"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_with_a_damaged_file_counts_as_none(saved, name, damage):
    path = saved / "abc" / name
    data = path.read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        forms = {"empty": b"", "truncated": data[:-7], "longer": data + b"\n0", "one bit": flipped}
        path.write_bytes(forms[damage])
    assert load_run(saved, "abc") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "diverged"),
        ("metrics", {"test_accuracy": 1.0}),
        ("last", {"test_accuracy": 1.0}),
        ("best", {}),
        ("metrics", {}),
        ("config", {"hidden": "rubbish"}),
        ("config", None),
        ("run_id", "other"),
        ("format", FORMAT - 1),
        ("seal", "0" * 16),
        ("jobs", 64),
    ],
)
def test_a_record_edited_by_hand_counts_as_none(saved, key, value):
    path = saved / "abc" / "result.json"
    record = json.loads(path.read_text())
    assert key in record
    path.write_text(json.dumps({**record, key: value}, indent=1))
    assert load_run(saved, "abc") is None


@pytest.mark.parametrize("text", ["", "null", "[]", '"text"', "{}", "{", "\x00", "[" * 100_000, "1" * 5000])
def test_a_record_that_is_something_else_counts_as_none(saved, text):
    (saved / "abc" / "result.json").write_text(text)
    assert load_run(saved, "abc") is None


def test_a_record_that_is_no_text_counts_as_none(saved):
    (saved / "abc" / "result.json").write_bytes(b"\xff\xfe{}")
    assert load_run(saved, "abc") is None


def test_a_run_under_another_name_counts_as_none(saved):
    shutil.copytree(saved / "abc", saved / "xyz")
    assert load_run(saved, "xyz") is None


def test_a_run_reformatted_but_not_changed_still_counts(saved):
    path = saved / "abc" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert load_run(saved, "abc") is not None


def test_saving_again_replaces_what_is_there(saved):
    (saved / "abc" / "history.csv").write_text("damaged")
    (saved / "abc" / "other").write_text("not ours")
    save_run(saved, "abc", CONFIG, result(status="diverged"), CIRCUMSTANCES)
    assert load_run(saved, "abc").row["status"] == "diverged"
    assert not (saved / "abc" / "other").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*abc: Not a directory$"):
        save_run(tmp_path / "file", "abc", CONFIG, result(), CIRCUMSTANCES)


def test_a_run_that_was_made_elsewhere_is_the_same_here(saved, tmp_path):
    files = read_files(saved, "abc")
    adopt_run(tmp_path / "here", "abc", files)
    here = tmp_path / "here" / "abc"
    assert {str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()} == files
    assert repr(load_run(tmp_path / "here", "abc").row) == repr(load_run(saved, "abc").row)


def test_a_run_that_did_not_arrive_whole_is_refused_and_leaves_nothing(saved, tmp_path):
    files = read_files(saved, "abc")
    bad = [{**files, "history.csv": b""}, {}]
    bad += [{name: content for name, content in files.items() if name != "last/arrays.npz"}]
    for given in bad:
        with pytest.raises(UserError, match="did not arrive as it was written"):
            adopt_run(tmp_path / "here", "abc", given)
    with pytest.raises(UserError, match="did not arrive as it was written"):
        adopt_run(tmp_path / "here", "another", files)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_run_from_elsewhere_brings_no_files_of_other_names(saved, tmp_path):
    adopt_run(tmp_path / "here", "abc", {**read_files(saved, "abc"), "../escape": b"", "more": b""})
    assert not {"escape", "more"} & {path.name for path in tmp_path.rglob("*")}


def test_a_network_that_is_last_and_best_travels_once_and_lies_there_once(tmp_path):
    one = result()
    save_run(tmp_path, "abc", CONFIG, dataclasses.replace(one, best=one.last), CIRCUMSTANCES)
    files = read_files(tmp_path, "abc")
    assert files["last/model.safetensors"] is files["best/model.safetensors"]
    adopt_run(tmp_path / "here", "abc", files)
    here = tmp_path / "here" / "abc"
    assert (here / "last" / "arrays.npz").samefile(here / "best" / "arrays.npz")
