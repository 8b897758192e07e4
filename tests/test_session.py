"""A request from start to end, in this process but for its workers: what is made, what is reused, what is said."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from studyfiles import WIDTHS
from test_worker import UNUSUAL

from harness import ablate, making, study
from harness.idx import IDX_FILES
from harness.session import Request, make_plan
from harness.tables import from_csv

STUDY = WIDTHS.format(epochs=2, wide="[11]")


@pytest.fixture
def write(tmp_path):
    """Write a study file."""

    def write(text: str = STUDY.format(more=""), name: str = "widths.toml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def ask(small_data, tmp_path, capsys):
    """Make a request; gives status, stdout and stderr."""

    def ask(*arguments: str) -> tuple[int, str, str]:
        status = ablate.main([*arguments, "--out", str(tmp_path / "out")])
        return status, *capsys.readouterr()

    return ask


def tables(tmp_path, name: str = "widths", folder: str = "fashion-mnist"):
    return tmp_path / "out" / name / folder


def runs_of(folder):
    return from_csv((folder / "runs.csv").read_bytes())


def stamps(tmp_path) -> dict[str, int]:
    """When each stored run was put there."""
    return {path.name: path.stat().st_ctime_ns for path in (tmp_path / "out" / "runs").iterdir()}


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_request_ends_in_a_table_and_files(ask, write, tmp_path):
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert "widths: How wide?" in out
    assert "248 / 31 / 31 images to train, validate, test; 4 runs: 2 variants x 2 seeds, 0 already stored" in out
    assert f"Tables and figures: {tables(tmp_path)}" in out
    assert "baseline" in out
    runs = runs_of(tables(tmp_path))
    assert list(runs["variant"]) == ["narrow", "wide"] * 2
    assert list(runs["seed"]) == [0, 0, 1, 1]
    assert set(runs["status"]) == {"done"}
    assert set(runs["study"]) == {"widths"}
    assert set(runs["run_id"]) == set(stamps(tmp_path))
    assert not list((tmp_path / "out").rglob(".tmp*"))


def test_a_second_request_computes_nothing_and_writes_the_same_tables(ask, write, tmp_path):
    ask(write(), "--jobs", "2")
    before, files = stamps(tmp_path), contents(tables(tmp_path))
    status, out, _ = ask(write(), "--jobs", "1")
    assert status == 0
    assert "4 already stored" in out
    assert stamps(tmp_path) == before
    after = contents(tables(tmp_path))
    for each in (files, after):
        del each["environment.json"]
    assert after == files


def test_more_seeds_compute_only_what_is_missing_and_fresh_computes_all(ask, write, tmp_path):
    ask(write(), "--seeds", "1")
    before = stamps(tmp_path)
    _, out, _ = ask(write())
    assert "2 already stored" in out
    both = stamps(tmp_path)
    assert len(both) == 4
    assert before.items() <= both.items()
    _, out, _ = ask(write(), "--fresh")
    assert "0 already stored" in out
    again = stamps(tmp_path)
    assert again.keys() == both.keys()
    assert all(again[name] > both[name] for name in both)


def test_another_target_makes_other_tables_of_the_same_runs(ask, write, tmp_path):
    ask(write(STUDY.format(more="target_accuracy = 0.01")))
    before, easy = stamps(tmp_path), runs_of(tables(tmp_path))
    _, out, _ = ask(write(STUDY.format(more="target_accuracy = 1")))
    assert "4 already stored" in out
    assert stamps(tmp_path) == before
    hard = runs_of(tables(tmp_path))
    assert list(easy["epochs_to_target"]) == [1] * 4
    assert (easy["seconds_to_target"] < easy["train_seconds"]).all()
    assert hard[["epochs_to_target", "seconds_to_target"]].isna().all(axis=None)
    assert list(hard["target_accuracy"]) == [1.0] * 4


def test_the_best_weights_make_other_tables_of_the_same_runs_and_every_table_says_so(ask, write, tmp_path):
    path = write(STUDY.format(more="").replace("epochs = 2", "epochs = 9\noptimizer = { lr = 0.1 }"))
    _, usual, _ = ask(path)
    before, last = stamps(tmp_path), contents(tables(tmp_path))
    status, out, _ = ask(path, "--select", "best")
    assert status == 0
    assert "4 already stored" in out
    assert stamps(tmp_path) == before
    assert contents(tables(tmp_path)) == last
    folder = tables(tmp_path, folder="fashion-mnist+select=best")
    ours, theirs = runs_of(folder), runs_of(tables(tmp_path))
    assert (ours["val_accuracy"] == ours["best_val_accuracy"]).all()
    assert (ours["best_val_accuracy"] == theirs["best_val_accuracy"]).all()
    assert (ours["val_accuracy"] > theirs["val_accuracy"]).any()
    assert (ours["test_loss"] != theirs["test_loss"]).any()
    assert list(ours["train_accuracy"].isna()) == list(ours["best_val_epoch"] < 9)
    for name in ("runs", "summary", "classes"):
        assert set(from_csv((folder / f"{name}.csv").read_bytes())["select"]) == {"best"}
        assert set(from_csv(last[f"{name}.csv"])["select"]) == {"last"}
    words = "with the weights after the epoch with the best validation accuracy."
    assert words in (folder / "summary.md").read_text()
    assert words in " ".join(out.split())
    assert "with the weights after the last epoch." in last["summary.md"].decode()
    assert "with the weights after the last epoch." in " ".join(usual.split())
    for name in ("classes.csv", "details.npz"):
        assert (folder / name).read_bytes() != last[name]


def test_a_study_that_reports_the_best_weights_is_so_as_written(ask, write, tmp_path):
    path = write(STUDY.format(more='select = "best"'))
    ask(path, "--seeds", "2")
    assert set(runs_of(tables(tmp_path))["select"]) == {"best"}
    ask(path, "--select", "last")
    assert set(runs_of(tables(tmp_path, folder="fashion-mnist+select=last"))["select"]) == {"last"}


def test_checkpoints_that_a_kill_left_behind_are_removed_once_the_run_is_stored(ask, write, tmp_path):
    ask(write(), "--seeds", "1", "--checkpoint-every", "1")
    runs = tmp_path / "out" / "runs"
    kept = sorted(runs.glob("*.checkpoints/*"))
    assert [path.name for path in kept] == ["epoch-1.safetensors"] * 2
    kept[0].rename(kept[0].with_name("running-1.safetensors"))
    _, out, _ = ask(write(), "--seeds", "1")
    assert "2 already stored\n" in out
    assert sorted(runs.glob("*.checkpoints/*")) == kept[1:]
    assert len(list(runs.iterdir())) == 3


def test_a_fresh_start_goes_on_from_no_checkpoint_and_removes_them(ask, write, tmp_path):
    ask(write(), "--seeds", "1", "--checkpoint-every", "1")
    runs = tmp_path / "out" / "runs"
    _, out, _ = ask(write(), "--seeds", "1", "--from-epoch", "1")
    assert "0 already stored, 2 to go on from a checkpoint" in out
    assert list(runs_of(tables(tmp_path, folder="fashion-mnist+seeds=1"))["resumed"]) == [1, 1]
    _, out, _ = ask(write(), "--seeds", "1", "--fresh")
    assert "0 already stored\n" in out
    assert list(runs_of(tables(tmp_path, folder="fashion-mnist+seeds=1"))["resumed"]) == [0, 0]
    assert list(runs.glob("*.checkpoints")) == []


def test_another_study_that_names_the_same_runs_reuses_them(ask, write, tmp_path):
    ask(write())
    before = stamps(tmp_path)
    _, out, _ = ask(write(STUDY.format(more="").replace("wide =", '"very wide" ='), "other.toml"))
    assert "4 already stored" in out
    assert stamps(tmp_path) == before
    runs = runs_of(tables(tmp_path, "other"))
    assert list(runs["variant"]) == ["narrow", "very wide"] * 2
    assert set(runs["study"]) == {"other"}


def test_runs_that_were_edited_cut_off_or_removed_are_computed_again_with_the_same_result(ask, write, tmp_path):
    ask(write())
    before, files = stamps(tmp_path), contents(tables(tmp_path))
    folders = [tmp_path / "out" / "runs" / name for name in sorted(before)]
    record = json.loads((folders[0] / "result.json").read_text())
    record["metrics"]["test_accuracy"] = 1.0
    (folders[0] / "result.json").write_text(json.dumps(record, indent=1))
    arrays = folders[1] / "best" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    shutil.rmtree(folders[2])
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert "1 already stored" in out
    after = stamps(tmp_path)
    assert after.keys() == before.keys()
    assert [after[path.name] == before[path.name] for path in folders] == [False, False, False, True]
    new = contents(tables(tmp_path))
    assert new["details.npz"] == files["details.npz"]
    columns = ["run_id", "test_accuracy", "test_loss", "val_accuracy"]
    (tmp_path / "old.csv").write_bytes(files["runs.csv"])
    assert runs_of(tables(tmp_path))[columns].equals(from_csv(files["runs.csv"])[columns])


def test_a_request_that_departs_from_the_study_has_tables_of_its_own(ask, write, tmp_path):
    ask(write(), "--only", "wide", "--set", "l2=0.1", "--seeds", "1")
    assert [path.name for path in (tmp_path / "out" / "widths").iterdir()] == ["fashion-mnist+l2=0.1,seeds=1,only=wide"]


def test_a_diverged_run_keeps_its_row_and_the_rest_goes_on(ask, write, tmp_path):
    text = STUDY.format(more="") + 'wild = { optimizer = { name = "sgd", lr = 1e38 }, l2 = 1e30 }\n'
    status, out, err = ask(write(text))
    assert (status, err) == (0, "")
    assert "Diverged" in out
    runs = runs_of(tables(tmp_path)).set_index("variant")
    assert list(runs["status"]) == ["done", "done", "diverged"] * 2
    wild = runs.loc["wild"]
    assert set(wild["reason"]) == {"the training loss was not finite in epoch 1"}
    assert wild[["test_accuracy", "val_accuracy", "test_f1_macro"]].isna().all(axis=None)
    status, out, _ = ask(write(text))  # its end is known: it is not tried again
    assert "6 already stored" in out
    assert status == 0


def test_a_failed_run_is_told_keeps_its_row_and_is_tried_again(ask, write, tmp_path):
    """It fails while a file is there, which then goes away."""
    blocker = tmp_path / "blocker"
    blocker.write_text("")
    act = f"import os\n        if os.path.exists({str(blocker)!r}): raise ValueError('not in the mood')"
    (tmp_path / "unusual.py").write_text(UNUSUAL.format(act=act))
    more = 'moody = { optimizer = { name = "unusual", lr = 0.0625 } }\n'
    path = write(STUDY.format(more='extensions = ["unusual.py"]') + more)
    status, out, err = ask(path)
    assert (status, err) == (1, "")
    assert "2 of 6 runs failed; the same command tries them again." in out
    assert "failed: ValueError: not in the mood" in out
    runs = runs_of(tables(tmp_path)).set_index("variant")
    assert list(runs["status"]) == ["done", "done", "failed"] * 2
    assert set(runs.loc["moody", "reason"]) == {"ValueError: not in the mood"}
    before = stamps(tmp_path)
    assert len(before) == 4
    blocker.unlink()
    status, out, _ = ask(path)
    assert status == 0
    assert "4 already stored" in out
    assert before.items() <= stamps(tmp_path).items()
    assert set(runs_of(tables(tmp_path))["status"]) == {"done"}


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(ask, write, tmp_path):
    status, out, err = ask(write(), "--dry-run", "--seeds", "3")
    assert (status, err) == (0, "")
    assert "6 runs: 2 variants x 3 seeds, 0 already stored" in out
    assert re.search(r"^  wide: hidden = \[11\]; [\d.]+ s a run$", out, re.MULTILINE)
    assert re.search(r"^6 runs to be made, [\d.]+ s each.*; about [\d.]+ s here, \d+ at a time$", out, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_other_pixels_are_warned_of_and_make_other_runs(ask, write, tmp_path, small_data):
    path = write()
    ask(path, "--seeds", "1")
    before = stamps(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(small_data, other)
    images = bytearray((other / IDX_FILES[0]).read_bytes())
    images[-1] ^= 1
    (other / IDX_FILES[0]).write_bytes(images)
    status, out, err = ask(path, "--seeds", "1", "--data-dir", str(other))
    assert (status, err) == (0, "")
    assert "warning: fashion-mnist: " in out
    assert "0 already stored" in out
    assert len(stamps(tmp_path)) == 2 * len(before)
    assert len(set(runs_of(tables(tmp_path, folder="fashion-mnist+seeds=1"))["data_fingerprint"])) == 1


def test_a_plan_lists_runs_variant_by_variant_within_a_seed(small_data, write, tmp_path):
    request = Request(study.load(write()), ("x",), out=tmp_path / "out")
    plan = make_plan(request)
    assert [(run.variant, run.config.seed) for _, run in plan.missing] == [
        ("narrow", 0),
        ("wide", 0),
        ("narrow", 1),
        ("wide", 1),
    ]
    assert len({name for name, _ in plan.runs}) == 4
    assert plan.stored == set()


def test_timing_is_a_table_of_its_own_and_makes_no_run(ask, write, tmp_path):
    path = write(STUDY.format(more="") + 'wild = { optimizer = { name = "sgd", lr = 1e38 }, l2 = 1e30 }\n')
    ask(path)
    before, files = stamps(tmp_path), contents(tables(tmp_path))
    status, out, err = ask(path, "--timing")
    assert (status, err) == (1, "")
    assert "6 already stored" in out
    assert "wild has no times: the training loss was not finite in epoch 1" in out
    assert stamps(tmp_path) == before
    after = contents(tables(tmp_path))
    assert {name for name in after if after[name] != files.get(name)} == {
        "environment.json",  # which has the command
        "timing.csv",
        "timing.md",
    }
    times = from_csv(after["timing.csv"]).set_index("variant")
    assert list(times["epochs_timed"]) == [9, 9, 0]
    assert set(times["jobs"]) == {1}
    assert times.loc["narrow", "ratio"] == 1
    assert times.loc["wild", ["seconds_per_epoch", "ratio", "images_per_second", "eval_seconds"]].isna().all()
    for line in times.loc[["narrow", "wide"]].itertuples():
        assert 0 < line.fastest_epoch_seconds <= line.seconds_per_epoch <= line.slowest_epoch_seconds
        assert line.images_per_second == pytest.approx(248 / line.seconds_per_epoch)
        assert line.eval_seconds > 0


def test_without_being_asked_nothing_is_timed(ask, write, tmp_path):
    ask(write(), "--seeds", "1")
    assert not list((tmp_path / "out").rglob("timing*"))


def test_remains_of_killed_commands_are_swept(ask, write, tmp_path):
    for folder in (tmp_path / "out" / "runs", tables(tmp_path)):
        (folder / ".tmp-old").mkdir(parents=True)
        os.utime(folder / ".tmp-old", (0, 0))
    ask(write())
    assert not list((tmp_path / "out").rglob(".tmp*"))


def test_no_more_workers_are_started_than_runs_are_missing(ask, write, tmp_path):
    ask(write(), "--jobs", "64", "--seeds", "1", "--only", "wide")
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["jobs"] == 1


def test_cores_are_those_this_process_may_use():
    assert 1 <= making.usable_cores() <= len(os.sched_getaffinity(0))
