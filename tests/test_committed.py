"""Reading committed folders in any state: what is there is read, what is not is said, nothing raises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pages import HOSTILE, write_search, write_study

from harness import committed
from harness.errors import UserError

VARIANTS = {"plain": {"l2": 0.0}, "strong": {"l2": 0.1}}
NOT_KNOWN = "the study's file is not known here: no question, expectation and finding"


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "results" / "mine" / "fashion-mnist", VARIANTS)


def problems(folder):
    return [problem for problem in committed.read(folder).problems if problem != NOT_KNOWN]


# ---- which folders


def test_all_studies_as_written_are_found_and_departures_only_by_name(tmp_path):
    results = tmp_path / "results"
    for name in ("b/fashion-mnist", "a/cifar-10", "a/cifar-10+epochs=1", "runs/0123"):
        write_study(results / name, VARIANTS, details=False)
    names = [path.relative_to(results).as_posix() for path, _ in committed.find(results, [])]
    assert names == ["a/cifar-10", "b/fashion-mnist"]
    assert [path.name for path, _ in committed.find(results, ["a"])] == ["cifar-10"]
    assert [path.name for path, _ in committed.find(results, ["a/cifar-10+epochs=1"])] == ["cifar-10+epochs=1"]
    assert [str(file) for _, file in committed.find(results, ["some/where/a.toml", "a"])] == ["some/where/a.toml"]


def test_a_name_without_a_folder_names_the_nearest(tmp_path, folder):
    with pytest.raises(UserError, match=r"unknown study 'mein'.*did you mean 'mine'"):
        committed.find(tmp_path / "results", ["mein"])


def test_results_without_tables_are_an_error(tmp_path):
    (tmp_path / "empty" / "x" / "y").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no tables"):
        committed.find(tmp_path / "empty", [])


# ---- what is read


def test_a_whole_folder_has_no_problem_but_its_unknown_file(folder):
    read = committed.read(folder)
    assert read.problems == [NOT_KNOWN]
    assert set(read.tables) == {"summary", "runs", "history", "classes"}
    assert read.environment["jobs"] == 2
    assert "first_layer_1" in read.details
    assert read.tables["runs"].texts("l2") == ["0.0"] * 3 + ["0.1"] * 3
    assert math.isnan(read.tables["history"].numbers("variant")[0])


def test_texts_and_baseline_come_from_the_file_that_is_named_or_stands_in_the_command(folder, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(
        'title = "T"\nquestion = "Q?"\nbaseline = "strong"\n[datasets.fashion-mnist]\nfinding = "F"\n', encoding="utf-8"
    )
    read = committed.read(folder, tmp_path / "mine.toml")
    assert (read.texts, read.declared_baseline) == ({"title": "T", "question": "Q?", "finding": "F"}, "strong")
    environment = json.dumps({"command": "python -m harness.ablate mine.toml --seeds 3"})
    (folder / "environment.json").write_text(environment, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert committed.read(folder).texts["title"] == "T"


def test_a_shipped_study_is_known(tmp_path):
    write_study(tmp_path / "exp3" / "fashion-mnist", VARIANTS)
    read = committed.read(tmp_path / "exp3" / "fashion-mnist")
    assert read.texts["title"] == "Optimizers"
    assert read.problems == []


def test_a_departure_from_a_study_is_not_told_its_finding(folder, tmp_path):
    (tmp_path / "mine.toml").write_text('title = "T"\n[datasets.fashion-mnist]\nfinding = "F"\n', encoding="utf-8")
    departure = folder.rename(folder.with_name("fashion-mnist+epochs=5"))
    assert committed.read(departure, tmp_path / "mine.toml").texts == {"title": "T"}


def test_the_shipped_search_is_known_and_a_study_with_trials_is_no_search(tmp_path):
    search = committed.read(write_search(tmp_path / "sweep" / "fashion-mnist"))
    assert search.texts["title"] == "Hyperparameter search"
    both = write_study(write_search(tmp_path / "exp7" / "fashion-mnist"), VARIANTS)
    assert not committed.read(both).is_search


def test_a_search_misses_none_of_a_studys_files(tmp_path):
    read = committed.read(write_search(tmp_path / "searched" / "fashion-mnist"))
    assert read.is_search
    assert [problem for problem in read.problems if "not there" in problem] == []


# ---- damage


@pytest.mark.parametrize("name", committed.EXPECTED["study"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert problems(folder) == [f"{name}: not there"]


@pytest.mark.parametrize("name", committed.EXPECTED["study"])
@pytest.mark.parametrize(
    "content", [b"", b"\0\xff\xfe", b"{[", b"PK\x03\x04" + bytes(50)], ids=["empty", "bytes", "json", "zip"]
)
def test_no_content_raises(folder, name, content):
    (folder / name).write_bytes(content)
    assert any(problem.startswith(f"{name}: ") for problem in problems(folder))


@pytest.mark.parametrize("name", committed.EXPECTED["study"])
def test_a_file_cut_anywhere_gives_what_is_left(folder, name):
    data = (folder / name).read_bytes()
    for share in (0.02, 0.3, 0.7, 0.99):
        (folder / name).write_bytes(data[: int(share * len(data))])
        committed.read(folder)


def test_damaged_lines_are_left_out_and_counted(folder):
    lines = (folder / "runs.csv").read_text(encoding="utf-8").splitlines()
    (folder / "runs.csv").write_text("\n".join([*lines[:3], "x,y", *lines[3:], lines[-1][:30]]), encoding="utf-8")
    read = committed.read(folder)
    assert read.tables["runs"].rows == 6
    assert "runs.csv: 2 damaged lines left out" in read.problems


def test_a_table_without_its_key_columns_is_none(folder):
    (folder / "runs.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert problems(folder) == ["runs.csv: has no column seed, status, variant"]


def test_one_damaged_array_leaves_the_others(folder):
    data = bytearray((folder / "details.npz").read_bytes())
    at = data.index(b"surest_errors_0.npy") + 40
    data[at : at + 40] = bytes(40)
    (folder / "details.npz").write_bytes(bytes(data))
    read = committed.read(folder)
    assert "surest_errors_1" in read.details
    assert "surest_errors_0" not in read.details
    assert "details.npz: 1 damaged array left out" in read.problems


def test_objects_are_never_unpickled(folder):
    np.savez(folder / "details.npz", variants=np.array([{"a": 1}], dtype=object))
    assert problems(folder) == ["details.npz: 1 damaged array left out"]


def test_hostile_names_are_read_as_they_are(tmp_path):
    path = write_study(tmp_path / "s" / "d", {name: {"l2": i} for i, name in enumerate(HOSTILE)})
    assert committed.read(path).tables["summary"].texts("variant") == list(HOSTILE)
