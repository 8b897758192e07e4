"""All studies at once, in this process but for the workers: order, sharing, failures, and what is left at the end."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil

import pytest
from datafiles import CIFAR, cifar_members, tar_bytes
from studyfiles import writer
from test_worker import UNUSUAL

from harness import ablate, data, session, studyfile
from harness.cache import CACHE_VARIABLE
from harness.tables import from_csv

BASE = "[base]\nengine = 'numpy'\nepochs = 1\nhidden = [3]\n"
STUDIES = {
    "one": f"seeds = 2\n{BASE}[variants.plain]\n",
    "two": f"baseline = 'plain'\nseeds = 2\n{BASE}[variants]\nplain = {{}}\nwide = {{ hidden = [5] }}\n"
    "[[claims]]\ntext = 'Wide is better'\nbetter = 'wide'\nthan = 'plain'\n"
    "[datasets.cifar-10]\nseeds = 1\n",
}


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two small studies stand for all that are shipped; a function adds another one."""
    write = writer(tmp_path)
    paths = {name: write(text, f"{name}.toml") for name, text in STUDIES.items()}
    monkeypatch.setattr(studyfile, "available", lambda: {name: tmp_path / f"{name}.toml" for name in sorted(paths)})

    def add(name: str, text: str) -> None:
        paths[name] = write(text, f"{name}.toml")

    return add


@pytest.fixture
def both_data_sets(small_data, tmp_path, monkeypatch):
    """The small data set, and a small one by the name of CIFAR-10 beside it."""
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    archive = gzip.compress(tar_bytes(cifar_members()[0]), mtime=0)
    (folder / "cifar-10-binary.tar.gz").write_bytes(archive)
    md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(data.DATASETS, "cifar-10", dataclasses.replace(CIFAR, name="cifar-10", archive_md5=md5))
    monkeypatch.setenv("ABLATION_BENCH_DATA", str(folder))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return folder


@pytest.fixture
def no_cifar(small_data, tmp_path, monkeypatch):
    """Only one data set can be found."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setitem(data.DATASETS, "cifar-10", dataclasses.replace(CIFAR, name="cifar-10"))


@pytest.fixture
def ask(studies, tmp_path, capsys):
    """Ask for all studies; gives status, stdout and stderr."""

    def ask(*arguments: str) -> tuple[int, str, str]:
        status = ablate.main(["all", *arguments, "--jobs", "1", "--out", str(tmp_path / "out")])
        return status, *capsys.readouterr()

    return ask


def overview(tmp_path, name="overview"):
    return from_csv((tmp_path / "out" / f"{name}.csv").read_bytes())


def tables(tmp_path):
    return sorted(str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("summary.md"))


@pytest.mark.usefixtures("both_data_sets")
def test_every_study_runs_on_every_data_set_and_shared_runs_are_made_once(ask, tmp_path):
    status, out, err = ask()
    assert (status, err) == (0, "")
    lines = overview(tmp_path)
    assert lines["folder"].tolist() == tables_in_order()
    assert tables(tmp_path) == sorted(tables_in_order())
    assert lines["made"].tolist() == [2, 2, 2, 1]
    assert lines["stored"].tolist() == [0, 2, 0, 1]
    assert lines["seeds"].tolist() == [2, 2, 2, 1]
    assert lines["too_few_seeds_to_say"].tolist() == [0, 1, 0, 1]
    assert [out.index(f"[{i}/4] ") for i in range(1, 5)] == sorted(out.index(f"[{i}/4] ") for i in range(1, 5))
    assert "it made 7 of 7 runs, 1 at a time" in out
    assert "too few seeds to say: Wide is better" in (tmp_path / "out" / "overview.md").read_text()


def tables_in_order():
    return [f"{study}/{dataset}" for dataset in ("fashion-mnist", "cifar-10") for study in ("one", "two")]


@pytest.mark.usefixtures("both_data_sets")
def test_all_again_makes_nothing_and_says_so_and_fresh_makes_each_run_once(ask, tmp_path):
    ask()
    status, out, _ = ask()
    assert status == 0
    assert overview(tmp_path)["made"].sum() == 0
    assert "it made 0 of 7 runs" in out
    assert "Stored by earlier commands: 7; " in out
    ask("--fresh")
    assert overview(tmp_path)["made"].tolist() == [2, 2, 2, 1]


@pytest.mark.usefixtures("both_data_sets")
def test_tables_are_those_of_each_study_on_its_own(ask, tmp_path, capsys):
    ask()
    folder = tmp_path / "out" / "two" / "cifar-10"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = ["two", "--dataset", "cifar-10", "--jobs", "1", "--out", str(tmp_path / "out")]
    assert ablate.main(again) == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    del before["environment.json"], after["environment.json"]
    assert after == before
    assert "1 already stored" not in capsys.readouterr().err


@pytest.mark.usefixtures("both_data_sets")
def test_the_command_of_each_table_makes_it_again(ask, tmp_path):
    ask("--epochs", "2")
    text = (tmp_path / "out" / "two" / "cifar-10+epochs=2" / "environment.json").read_text()
    assert "harness.ablate two --epochs 2 --jobs 1 --out " in text
    assert "--dataset cifar-10" in text
    assert (tmp_path / "out" / "overview+epochs=2.md").exists()


def test_one_data_set_may_be_asked_for(ask, small_data, tmp_path):
    status, _, _ = ask("--dataset", "fashion-mnist", "--only", "plain")
    assert status == 0
    lines = overview(tmp_path, "overview+dataset=fashion-mnist,only=plain")
    assert lines["dataset"].tolist() == ["fashion-mnist"] * 2


@pytest.mark.usefixtures("both_data_sets")
def test_a_dry_run_lists_all_and_writes_nothing(ask, tmp_path):
    status, out, err = ask("--dry-run")
    assert (status, err) == (0, ""), out
    assert out.count("variant") >= 4
    assert "All: 4 tables of 10 runs" in out
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_cannot_be_found_keeps_no_other_from_running(ask, no_cifar, tmp_path):
    status, out, _ = ask()
    assert status == 1
    assert out.count("on cifar-10 failed: ") == 2
    lines = overview(tmp_path)
    assert lines["made"].tolist() == [2, 2, 0, 0]
    assert (lines["error"] != "").tolist() == [False, False, True, True]
    assert ask("--dry-run")[0] == 1


def test_where_no_data_can_be_found_the_request_is_wrong(ask, small_data, tmp_path):
    status, out, err = ask("--dataset", "fashion-mnist", "--limit", "99999")
    assert (status, out) == (2, "")
    assert "99999" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [("--only", "plian"), ("--set", "epochs=0"), ("--dataset", "mnist"), ("two",)])
def test_a_request_that_fits_no_study_is_one_line(ask, small_data, arguments, tmp_path):
    status, out, err = ask(*arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_failed_run_and_a_study_that_breaks_keep_no_other_from_running(
    ask, small_data, studies, tmp_path, monkeypatch
):
    carry_out = session.run

    def run(request):
        if request.study.name == "broken":
            raise RuntimeError("our fault")
        return carry_out(request)

    monkeypatch.setattr(session, "run", run)
    studies("broken", f"{BASE}l2 = 1\n")
    (tmp_path / "unusual.py").write_text(UNUSUAL.format(act="raise ValueError('not in the mood')"))
    moody = "optimizer = { name = 'unusual', lr = 0.0625 }"
    studies("failing", f"extensions = ['unusual.py']\nseeds = 1\n{BASE}{moody}\n")
    status, _, err = ask("--dataset", "fashion-mnist")
    assert status == 1
    assert "Traceback" in err
    assert "RuntimeError: our fault" in err
    lines = overview(tmp_path, "overview+dataset=fashion-mnist").set_index("study")
    assert list(lines.index) == ["broken", "failing", "one", "two"]
    assert lines["error"].tolist() == ["RuntimeError: our fault", "", "", ""]
    assert lines["failed"].tolist() == [0, 1, 0, 0]
    assert lines["made"].tolist() == [0, 0, 2, 2]


def test_ctrl_c_stops_all(ask, small_data, tmp_path, monkeypatch):
    carry_out = session.run
    asked = []

    def run(request):
        asked.append(request.study.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return carry_out(request)

    monkeypatch.setattr(session, "run", run)
    status, out, err = ask("--dataset", "fashion-mnist")
    assert (status, err) == (130, "")
    assert "Stopped after 1 of 2 studies; the same command goes on from there." in out
    assert not list((tmp_path / "out").glob("overview*"))


def test_all_is_listed(capsys, studies):
    assert ablate.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all ")
