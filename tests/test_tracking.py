"""Tracking in W&B, with the real library: what arrives there, and that nothing about it can hurt a study."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faults import at_work
from processes import ROOT, Command, alive, children, wait_until
from test_worker import UNUSUAL
from wandb_runs import STUDY, folders, ids, read_all
from wandb_server import KEY, server

from harness import ablate, track, tracking
from harness.errors import UserError
from harness.store import load_run
from harness.tables import RESULT_COLUMNS, from_csv
from harness.tracking import chosen_mode

LONG = ("exp3", "--limit", "2000", "--epochs", "60", "--set", "hidden=[16]", "--seeds", "1", "--jobs", "2")
OFFLINE = {"WANDB_MODE": "offline"}
BROKEN = r"^W&B: .* (The study goes on; its runs are|The rest is) kept offline\.$"  # under way, or at the end


@pytest.fixture
def write(tmp_path):
    def write(text: str = STUDY.format(more="")) -> str:
        (tmp_path / "widths.toml").write_text(text)
        return str(tmp_path / "widths.toml")

    return write


@pytest.fixture
def ask(small_data, tmp_path, capsys, monkeypatch):
    """Make a request with ``harness.ablate`` or another command; gives status, stdout and stderr."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))

    def ask(*arguments: str, command=ablate) -> tuple[int, str, str]:
        status = command.main([*arguments, "--out", str(tmp_path / "out")])
        return status, *capsys.readouterr()

    return ask


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "out" / "widths" / "fashion-mnist" / "wandb"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 64 KB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounting.returncode:
        pytest.skip("mounting a small disk needs more rights")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def path_of(tmp_path) -> str:
    return str(tmp_path / "widths.toml")


def tracked(command) -> list[Path]:
    """Folders that W&B has begun under a command's results."""
    return [path for root in (command.folder / "results").glob("exp3/*/wandb") for path in folders(root)]


def tables(tmp_path) -> Path:
    return tmp_path / "out" / "widths" / "fashion-mnist"


def test_every_run_arrives_whole(ask, write, root, tmp_path):
    status, out, err = ask(write(STUDY.format(more="target_accuracy = 0.01")), "--jobs", "2")
    assert (status, err) == (0, "")
    assert f"wandb leet {root}" in out.splitlines()[-1]
    assert f"wandb sync {root}" in out.splitlines()[-1]
    seen = read_all(root)
    assert set(seen) == {*(f"{v} seed {s}" for v in ("narrow", "wide") for s in (0, 1)), "widths/fashion-mnist"}
    assert {run.run["run_group"] for run in seen.values()} == {"widths/fashion-mnist"}
    assert {run.run["project"] for run in seen.values()} == {"ablation-bench"}
    assert all(run.exits == [0] for run in seen.values())
    lines = from_csv((tables(tmp_path) / "runs.csv").read_bytes()).set_index(["variant", "seed"])
    run = seen["wide seed 1"]
    stored = load_run(tmp_path / "out" / "runs", run.config["run_id"])
    assert run.run["job_type"] == "wide"
    assert set(run.run["tags"]) == {"fashion-mnist", "numpy"}
    assert run.config["optimizer"]["name"] == "adam"
    assert run.config["hidden"] == [11, 7]
    assert run.config["data_fingerprint"] == stored.row["data_fingerprint"]
    assert run.config["code_version"] == stored.row["code_version"]
    assert [(metric["glob_name"], metric["step_metric"]) for metric in run.metrics] == [("*", "epoch")]
    assert [row["epoch"] for row in run.rows] == [1, 2, 3]
    for row, record in zip(run.rows, stored.history, strict=True):
        assert {key: row[key] for key in record} == record
        for name in ("weight_histogram_3", "gradient_histogram_1", "activation_histogram_2"):
            assert row[f"{name}._type"] == "histogram"
            assert len(row[f"{name}.bins"]) == len(row[f"{name}.values"]) + 1
        assert sum(row["weight_histogram_2.values"]) == 77
    figures = lines.loc[("wide", 1), [name for name in RESULT_COLUMNS if name not in run.config]].dropna()
    assert {"test_accuracy", "best_val_accuracy", "gap", "epochs_to_target", "seconds_to_target"} <= {*figures.index}
    assert {name: run.summary.get(name) for name in figures.index} == figures.to_dict()
    assert run.rows[-1]["per_class.nrows"] == 3
    assert run.rows[-1]["confusion_matrix_table.nrows"] == 9
    (model,) = run.models()
    assert [file["path"] for file in model["manifest"]["contents"]] == [
        "best/model.safetensors",
        "last/model.safetensors",
        "result.json",
    ]
    assert model["name"] == "widths-fashion-mnist"
    assert "wide-seed-1" in model["aliases"]
    study = seen["widths/fashion-mnist"]
    assert study.rows[0]["runs_table.nrows"] == 4
    assert study.rows[0]["summary_table.nrows"] == 2
    assert study.rows[0]["figures/val_accuracy._type"] == "image-file"
    best = lines.reset_index().sort_values("val_accuracy", ascending=False, kind="stable").iloc[0]
    (chosen,) = study.models()
    assert "best" in chosen["aliases"]
    assert chosen["digest"] == seen[f"{best.variant} seed {best.seed}"].models()[0]["digest"]


def test_the_table_of_a_class_has_its_name(ask, write, root):
    ask(write(), "--only", "wide", "--seeds", "1")
    (path,) = (root.parents[1] / "fashion-mnist+seeds=1,only=wide" / "wandb").rglob("per_class*.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["class", "precision", "recall", "f1", "images"]
    assert [line[0] for line in table["data"]] == ["ant", "bee", "cod"]


def timeless(seen):
    """What must not depend on when a run was made and sent: no times, no random names."""

    def keep(items):
        hidden = ("seconds", "artifact_path", "peak_memory")
        return {k: v for k, v in items.items() if not k.startswith("_") and not any(word in k for word in hidden)}

    files = sorted((artifact["name"], sorted(artifact["aliases"])) for artifact in seen.artifacts)
    facts = [seen.run[name] for name in ("display_name", "job_type", "run_group", "run_id", "tags", "project")]
    return seen.config, [keep(row) for row in seen.rows], keep(seen.summary), files, facts, seen.metrics, seen.exits


def test_runs_sent_afterwards_have_the_content_of_tracked_ones_and_are_sent_once(ask, write, root):
    path = write()
    ask(path, "--wandb", "disabled", "--jobs", "1")
    assert not root.exists()
    status, out, err = ask(path, command=track)
    assert (status, err) == (0, "")
    assert f"wandb sync {root}" in out
    afterwards, names = read_all(root), [folder.name for folder in folders(root)]
    assert len(ids(root)) == len(set(ids(root))) == 5
    assert ask(path, command=track)[0] == 0
    assert [folder.name for folder in folders(root)] == names
    ask(path, "--fresh", "--jobs", "1")
    live = read_all(root)
    assert len(ids(root)) == len(set(ids(root))) == 5
    assert not set(names) & {folder.name for folder in folders(root)}
    for seen in (live, afterwards):
        del seen["widths/fashion-mnist"]  # hashes of tables that hold times
    assert {name: timeless(run) for name, run in live.items()} == {n: timeless(run) for n, run in afterwards.items()}


@pytest.mark.long
@pytest.mark.alone
def test_epochs_are_there_while_training_goes_on(command):
    process = command.start("exp1", "--epochs", "100000", "--limit", "100", "--jobs", "1", environment=OFFLINE)
    root = command.folder / "results" / "exp1" / "fashion-mnist+epochs=100000,limit=100" / "wandb"
    wait_until(lambda: any(path.stat().st_size > 100_000 for path in root.glob("*/*.wandb")))
    assert process.poll() is None
    (run,) = read_all(root).values()
    assert [row["epoch"] for row in run.rows] == list(range(1, len(run.rows) + 1))
    family = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    status, _, err = command.finish(process)
    assert (status, err) == (130, "")
    assert time.monotonic() - start < 2.5
    wait_until(lambda: not alive(family))


@pytest.mark.parametrize("behaviour", ["refuses the key", "drops", "never answers"])
def test_a_server_that_is_of_no_use_costs_nothing_but_one_line(ask, write, root, tmp_path, monkeypatch, behaviour):
    with server(behaviour) as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        start = time.monotonic()
        status, out, err = ask(write(), "--wandb", "online")
        assert time.monotonic() - start < 30
        assert it.requests
    assert (status, err) == (0, "")
    assert len(re.findall(BROKEN, out, re.MULTILINE)) == 1
    assert KEY not in out
    assert set(from_csv((tables(tmp_path) / "runs.csv").read_bytes())["status"]) == {"done"}
    assert len(ids(root)) == len(set(ids(root))) == 5
    assert all(folder.name.startswith("offline-") for folder in folders(root))
    assert f"wandb sync {root}" in out.splitlines()[-1]


@pytest.mark.parametrize("behaviour", ["refuses the key", "drops"])
def test_runs_that_were_to_be_sent_afterwards_and_were_not_are_kept_and_told_by_the_status(
    ask, write, root, monkeypatch, behaviour
):
    path = write()
    ask(path, "--wandb", "disabled")
    with server(behaviour) as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        status, out, err = ask(path, "--wandb", "online", command=track)
        assert (status, err) == (1, "")
        assert len(re.findall(r"^W&B: .* The rest is kept offline\.$", out, re.MULTILINE)) == 1
        assert "goes on" not in out
        assert len(ids(root)) == len(set(ids(root))) == 5
        assert all(folder.name.startswith("offline-") for folder in folders(root))
        it.behaviour = "accepts"
        assert ask(path, "--wandb", "online", command=track)[0] == 0
        assert len(it.opened) == 5


def test_a_key_is_reason_enough_to_go_online(ask, write, root, tmp_path, monkeypatch):
    path = write()
    with server() as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        status, out, err = ask(path)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == f"W&B: {it.environment['WANDB_BASE_URL']}/us/ablation-bench"
        assert sorted(it.opened) == ids(root)
        assert all(len(opened) == 1 for opened in it.opened.values())
        runs = [opened[0]["jobType"] for opened in it.opened.values()]
        assert sorted(runs) == ["narrow", "narrow", "study", "wide", "wide"]
        rows = [len(rows) for rows in it.rows.values()]
        assert sorted(rows) == [1, 3, 3, 3, 3]
        assert sum(alias["alias"] == "best" for model in it.models for alias in model["aliases"]) == 1
        ask(path, command=track)
        assert all(len(opened) == 1 for opened in it.opened.values())
    assert not any(folder.name.startswith("offline-") for folder in folders(root))


def test_a_server_that_answers_late_has_every_run_once_and_the_study_whole_tables(
    ask, write, root, tmp_path, monkeypatch
):
    with server("delays") as it:
        for name, value in {**it.environment, "WANDB_INIT_TIMEOUT": "15"}.items():
            monkeypatch.setenv(name, value)
        start = time.monotonic()
        status, out, err = ask(write(), "--wandb", "online")
        assert time.monotonic() - start < tracking.FINISH_SECONDS
    assert (status, err) == (0, "")
    assert list(from_csv((tables(tmp_path) / "runs.csv").read_bytes())["status"]) == ["done"] * 4
    assert len(ids(root)) == len(set(ids(root))) == 5
    assert out.splitlines()[-1] == f"W&B: {it.environment['WANDB_BASE_URL']}/us/ablation-bench"
    assert sorted(it.opened) == ids(root)
    assert sorted(len(rows) for rows in it.rows.values()) == [1, 3, 3, 3, 3]


@pytest.mark.long
def test_after_a_failure_in_mid_study_both_places_are_said(ask, write, root, tmp_path, monkeypatch):
    act = f"import pathlib, time\n        while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)"
    (tmp_path / "patient.py").write_text(UNUSUAL.format(act=act))
    more = 'patient = { optimizer = { name = "unusual", lr = 0.0625 } }\n'
    path = write(STUDY.format(more='extensions = ["patient.py"]') + more)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")
    with server() as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)

        def fail() -> None:
            wait_until(lambda: list(root.glob("*/tracked.json")))
            it.behaviour = "drops"
            (tmp_path / "go").touch()

        thread = threading.Thread(target=fail)
        thread.start()
        status, out, err = ask(path, "--wandb", "online", "--jobs", "1")
        thread.join()
    assert (status, err) == (0, "")
    assert len(re.findall(BROKEN, out, re.MULTILINE)) == 1
    first, last = out.splitlines()[-2:]
    assert first == f"W&B: {it.environment['WANDB_BASE_URL']}/us/ablation-bench"
    assert f"wandb leet {root}" in last
    assert f"wandb sync {root}" in last
    assert len(ids(root)) == len(set(ids(root))) == 7
    assert {folder.name.startswith("offline-") for folder in folders(root)} == {True, False}


def test_offline_runs_go_online_when_that_is_asked_for(ask, write, root, monkeypatch):
    path = write()
    ask(path, "--wandb", "offline")
    with server() as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        status, _, err = ask(path, "--wandb", "online", command=track)
        assert (status, err) == (0, "")
        assert len(it.opened) == 5
    assert len(ids(root)) == 5
    assert not any(folder.name.startswith("offline-") for folder in folders(root))


def test_without_the_library_a_study_says_so_once_and_runs(ask, write, root, tmp_path, monkeypatch):
    (tmp_path / "without").mkdir()
    blocker = "raise ModuleNotFoundError(name='wandb')"
    (tmp_path / "without" / "wandb.py").write_text(blocker)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert out.count("W&B: wandb is not installed. The study is not tracked;") == 1
    assert set(from_csv((tables(tmp_path) / "runs.csv").read_bytes())["status"]) == {"done"}
    assert not folders(root)
    assert ask(path_of(tmp_path), command=track)[0] == 1


def test_a_folder_that_cannot_be_written_is_said_once(ask, write, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file" / "below"))
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert out.count("W&B: ") == 1
    assert "The study is not tracked" in out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WANDB_PROJECT", "a/b", "its settings are refused: Invalid project name 'a/b'"),
        ("WANDB_BASE_URL", "nonsense", "its setting base_url is refused"),
        ("WANDB_API_KEY", f" {KEY}", "its settings are refused: API key"),
    ],
)
def test_a_setting_that_is_refused_is_said_once(ask, write, root, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    status, out, err = ask(write(), "--seeds", "1")
    assert (status, err) == (0, "")
    assert out.count("W&B: ") == out.count(f"W&B: {said}") == out.count("The study is not tracked") == 1
    assert KEY not in out
    assert not folders(root)


def test_variables_that_are_empty_or_meant_for_one_run_or_odd_do_no_harm(ask, write, root, monkeypatch):
    for name in ("MODE", "DIR", "PROJECT", "ENTITY", "API_KEY", "BASE_URL", "NOTES"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    for name in ("RUN_ID", "SWEEP_ID", "NAME", "JOB_TYPE"):
        monkeypatch.setenv(f"WANDB_{name}", "mine")
    for name in ("RESUME_FROM", "FORK_FROM"):
        monkeypatch.setenv(f"WANDB_{name}", "mine?_step=3")
    monkeypatch.setenv("WANDB_RESUME", "must")
    monkeypatch.setenv("WANDB_TAGS", f"a,, b ,a,numpy,{'x' * 100}")
    monkeypatch.setenv("WANDB_RUN_GROUP", "g" * 200)
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert "kept offline. Look at it" in out
    seen = read_all(root)
    assert len(seen) == len(set(ids(root))) == 5
    for run in seen.values():
        first = ["study", "fashion-mnist", "a", "b"] if run.run["job_type"] == "study" else ["fashion-mnist", "numpy"]
        assert run.run["tags"] == list(dict.fromkeys([*first, "a", "b", "numpy", "x" * 63 + "…"]))
        assert len(run.run["run_group"]) == 128
        assert run.run["job_type"] != "mine"


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_something_else_in_the_place_of_wandbs_folder_is_said_once(ask, write, root, make):
    root.parent.mkdir(parents=True)
    make(root)
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert out.count("W&B: ") == out.count("The study is not tracked") == 1
    assert re.search("^W&B: .*widths/fashion-mnist/wandb", out, re.MULTILINE)


def test_a_damaged_run_is_left_out_and_the_others_are_sent(ask, write, root, tmp_path):
    path = write()
    ask(path, "--wandb", "disabled")
    damaged = sorted((tmp_path / "out" / "runs").glob("*/last/model.safetensors"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    status, out, err = ask(path, command=track)
    assert (status, err) == (1, "")
    assert out.splitlines()[0].startswith("1 of 4 runs are not stored whole and cannot be sent;")
    assert f"wandb sync {root}" in out.splitlines()[-1]
    assert len(ids(root)) == len(set(ids(root))) == 4
    assert not any(damaged.parents[1].name in each for each in ids(root))
    assert ask(path)[0] == 0
    assert len(ids(root)) == len(set(ids(root))) == 5


@pytest.mark.parametrize("name", ["summary.csv", "figures/val_loss.png"])
def test_a_damaged_table_or_figure_keeps_no_run_back(ask, write, root, tmp_path, name):
    path = write()
    ask(path, "--wandb", "disabled")
    (tables(tmp_path) / name).write_bytes(b"\xff\xfe damaged")
    status, out, err = ask(path, command=track)
    assert (status, err) == (1, "")
    assert out.count("a table or a figure cannot be read") == out.count("It is not tracked.") == 1
    assert len(ids(root)) == 4
    assert all(run.exits == [0] for run in read_all(root).values())


def test_a_process_that_hangs_is_replaced(ask, write, root, monkeypatch):
    monkeypatch.setattr(tracking, "SILENCE_SECONDS", 3.0)

    def stop() -> None:
        wait_until(lambda: folders(root))
        for pid in children(os.getpid()):
            if b"harness.trackproc" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    status, out, err = ask(write())
    thread.join()
    assert (status, err) == (0, "")
    assert out.count("W&B: it has not answered for 3 s. The rest is kept offline.") == 1
    assert len(ids(root)) == len(set(ids(root))) == 5
    assert all(run.exits == [0] for run in read_all(root).values())


def test_a_full_disk_is_said_once_and_costs_no_table(ask, write, tmp_path, small_disk, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(small_disk))
    status, out, err = ask(write(), "--jobs", "2")
    assert (status, err) == (0, "")
    assert out.count("The study ") == out.count("No space left on device. The study is not tracked") == 1
    assert set(from_csv((tables(tmp_path) / "runs.csv").read_bytes())["status"]) == {"done"}


def test_what_wandbs_own_settings_disable_is_not_tracked(ask, write, root, tmp_path, monkeypatch):
    settings = tmp_path / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nmode = disabled\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    status, out, err = ask(write())
    assert (status, err) == (0, "")
    assert "W&B" not in out
    assert not folders(root)
    status, out, err = ask(path_of(tmp_path), command=track)
    assert (status, err.count("\n")) == (2, 1)
    assert "tracking is disabled" in err


def test_a_killed_command_leaves_nothing_that_the_next_one_does_not_close(command):
    process = command.start(*LONG, environment=OFFLINE)
    wait_until(lambda: len(tracked(command)) >= 2)
    family = children(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(family))
    command.finish(process)
    (root,) = (command.folder / "results" / "exp3").glob("*/wandb")
    status, _, err = command(*LONG, environment=OFFLINE)
    assert (status, err) == (0, "")
    assert len(ids(root)) == len(set(ids(root))) == 6
    seen = read_all(root)
    assert all(run.exits == [0] for run in seen.values())
    epochs = [[row["epoch"] for row in run.rows] for name, run in seen.items() if " seed " in name]
    assert epochs == [list(range(1, 61))] * 5
    assert [path.name for path in root.iterdir() if not path.is_dir()] == [path.name for path in root.glob(".*.lock")]


def test_a_run_that_was_lost_with_its_worker_is_kept_once_and_whole(command):
    small = ("--limit", "2000", "--epochs", "1000", "--set", "hidden=[16]", "--seeds", "1", "--jobs", "1")
    process = command.start("exp1", *small, environment=OFFLINE)
    results = command.folder / "results"

    def begun() -> set[Path]:
        return {path for root in results.glob("exp1/*/wandb") for path in folders(root)}

    wait_until(lambda: begun() and at_work(process, results / "runs"))
    lost = begun()
    os.kill(min(at_work(process, results / "runs")), signal.SIGKILL)
    status, out, _ = command.finish(process)
    assert status == 0
    assert "goes on" not in out
    (root,) = results.glob("exp1/*/wandb")
    assert len(ids(root)) == len(set(ids(root))) == 2
    assert not lost & set(folders(root))
    seen = read_all(root)
    assert [row["epoch"] for row in seen["one hidden layer seed 0"].rows] == list(range(1, 1001))
    assert all(run.exits == [0] for run in seen.values())


@pytest.mark.parametrize("victim", ["wandb-core", "harness.trackproc"])
def test_the_end_of_wandbs_process_is_not_the_end_of_the_study(command, victim):
    process = command.start(*LONG, environment=OFFLINE)
    wait_until(lambda: tracked(command))
    for pid in children(process.pid):
        if victim.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    status, out, err = command.finish(process)
    assert (status, err) == (0, "")
    assert len(list((command.folder / "results" / "runs").iterdir())) == 5
    assert len(re.findall(BROKEN, out, re.MULTILINE)) == 1
    (root,) = (command.folder / "results" / "exp3").glob("*/wandb")
    assert len(ids(root)) == len(set(ids(root))) == 6


def test_a_failed_run_is_closed_as_failed(ask, write, root, tmp_path):
    act = "import time; time.sleep(0.5); raise ValueError('not in the mood')"
    (tmp_path / "moody.py").write_text(UNUSUAL.format(act=act))
    more = 'moody = { optimizer = { name = "unusual", lr = 0.0625 } }\n'
    status, _, err = ask(write(STUDY.format(more='extensions = ["moody.py"]') + more))
    assert (status, err) == (1, "")
    seen = read_all(root)
    assert len(ids(root)) == len(set(ids(root))) == 7
    for name, run in seen.items():
        failed = name.startswith("moody")
        assert run.exits == [1 if failed else 0]
        if failed:
            assert run.summary["status"] == "failed"
            assert run.summary["reason"] == "ValueError: not in the mood"
    (tmp_path / "moody.py").write_text(UNUSUAL.format(act="pass"))
    assert ask(path_of(tmp_path))[0] == 0
    assert all(run.exits == [0] for run in read_all(root).values())


def test_a_diverged_run_arrives_as_far_as_it_came(ask, write, root):
    wild = 'wild = { optimizer = { name = "sgd", lr = 1e38 }, l2 = 1e30 }\n'
    assert ask(write(STUDY.format(more="") + wild), "--only", "wild", "--seeds", "1")[0] == 0
    (folder,) = root.parents[1].iterdir()
    run = read_all(folder / "wandb")["wild seed 0"]
    assert [row["epoch"] for row in run.rows] == [1]
    assert run.summary["status"] == "diverged"
    assert "test_accuracy" not in run.summary
    assert run.exits == [0]


def test_nothing_personal_is_written(tmp_path):
    """Not even with all results at home, but for one thing: W&B must know which files it is to send."""
    home = tmp_path / "home-of-somebody"
    home.mkdir()
    small = ("exp1", "--limit", "200", "--epochs", "2", "--seeds", "1", "--engine", "numpy")
    environment = {"HOME": str(home), "WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}
    status, _, err = Command(home)(*small, environment=environment)
    assert (status, err) == (0, "")
    (root,) = (home / "results" / "exp1").glob("*/wandb")
    assert len(folders(root)) == 2
    for path in (home / "results").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in (KEY, str(home), sys.executable, str(ROOT)):
            assert word.encode() not in content or (path.suffix, word) == (".wandb", str(home)), path
    for run in read_all(root).values():
        for file in [file for artifact in run.artifacts for file in artifact["manifest"]["contents"]]:
            assert Path(file.pop("local_path")).is_relative_to(home / "results")
        assert home.name not in str(run)
        assert "host" not in run.run


def test_the_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert chosen_mode(None) == "disabled"
    assert chosen_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert chosen_mode(None) == "offline"
    monkeypatch.delenv("WANDB_MODE")
    assert chosen_mode(None) is None


def test_a_mode_that_is_none_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"unknown mode 'ofline' in --wandb \(did you mean 'offline'\?\)"):
        chosen_mode("ofline")
    monkeypatch.setenv("WANDB_MODE", "disable")
    with pytest.raises(UserError, match="in WANDB_MODE"):
        chosen_mode(None)


@pytest.mark.parametrize(("value", "mode"), [("true", "disabled"), ("1", "disabled"), ("false", None), ("", None)])
def test_the_old_variable_that_disables_is_heeded_unless_something_else_is_said(monkeypatch, value, mode):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_DISABLED", value)
    assert chosen_mode(None) == mode
    assert chosen_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert chosen_mode(None) == "online"
