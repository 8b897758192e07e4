"""The command as a user types it: wrong requests, and whole studies on Fashion-MNIST with the same bits every way."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from documents import blocks, write_extensions
from processes import PATIENCE_SECONDS, ROOT, Command
from safetensors.numpy import load_file

from harness import ablate
from harness.cache import cache_folder
from harness.config import RunConfig
from harness.data import make_split
from harness.idx import IDX_FILES
from harness.store import SEALED, load_run, save_run
from harness.tables import from_csv
from harness.trainer import train

SMALL = ("--limit", "500", "--epochs", "2", "--set", "hidden=[16]")
OF_THE_MACHINE = {"train_seconds", "eval_seconds", "compile_seconds", "seconds_per_epoch", "peak_memory_bytes"}
OF_THE_MACHINE |= {"jobs", "resumed"}

# ------------------------------------------------------------------------------------------------------ wrong requests


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The one line with which a request is refused; nothing may be written."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "file").write_text("in the way")
    monkeypatch.chdir(folder)

    def refuse(*arguments: str) -> str:
        before = sorted(folder.rglob("*"))
        assert ablate.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        assert sorted(folder.rglob("*")) == before
        return err.removeprefix("error: ").rstrip("\n")

    return refuse


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["name a study"]),
        (["exp33"], ["unknown study 'exp33'", "did you mean 'exp3'?", "allowed: best, exp1, exp2, exp3"]),
        (["exp3", "exp2"], ["'exp2'", "too many"]),
        (["nowhere.toml"], ["nowhere.toml", "no such file"]),
        (["exp3", "--frobnicate"], ["unknown option '--frobnicate'", "allowed: --backend"]),
        (["exp3", "--epoch", "3"], ["unknown option '--epoch'", "did you mean '--epochs'?"]),
        (["exp3", "--jobs", "0"], ["--jobs = 0", "[1, 1024]"]),
        (["exp3", "--jobs", "-2"], ["--jobs = -2", "[1, 1024]"]),
        (["exp3", "--jobs", "many"], ["--jobs = 'many'", "[1, 1024]"]),
        (["exp3", "--jobs", "1e3"], ["--jobs = '1e3'"]),
        (["exp3", "--jobs"], ["--jobs"]),
        (["exp3", "--jobs", "1025"], ["--jobs = 1025", "[1, 1024]"]),
        (["exp3", "--jobs", "100001", "--dry-run"], ["--jobs = 100001", "[1, 100000]"]),
        (["exp3", "--backend", "daks"], ["'daks'", "--backend", "did you mean 'dask'?", "dask, loky"]),
        (["exp3", "--backend", "loky", "--scheduler", "tcp://10.0.0.1:1"], ["--scheduler", "needs --backend dask"]),
        (["exp3", "--scheduler", "10.0.0.1:8786"], ["--scheduler = '10.0.0.1:8786'", "tcp://10.0.0.1:8786"]),
        (["exp3", "--scheduler", "tcp://10.0.0.1:1", "--timing"], ["--timing", "leave out --scheduler"]),
        (["exp3", "--set", "optimizer.rl=1"], ["optimizer.rl", "--set", "did you mean 'optimizer.lr'?"]),
        (["exp3", "--set", "optimizer.lr=-1"], ["--set", "optimizer.lr = -1", "(0, inf)"]),
        (["exp3", "--set", "optimizer.lr"], ["--set 'optimizer.lr'", "key=value"]),
        (["exp3", "--set", "hidden=[128,"], ["--set", "[128,"]),
        (["exp3", "--set", "activation=rellu"], ["'rellu'", "did you mean 'relu'?"]),
        (["exp3", "--seeds", "0"], ["--seeds = 0"]),
        (["exp3", "--seeds", "some"], ["--seeds = 'some'"]),
        (["exp3", "--epochs", "0"], ["--epochs", "0"]),
        (["exp3", "--epochs", "2.5"], ["--epochs", "'2.5'"]),
        (["exp3", "--limit", "-1"], ["--limit", "-1"]),
        (["exp3", "--only", "adm"], ["unknown variant 'adm' in --only", "did you mean 'adam'?"]),
        (["exp3", "--select", "worst"], ["unknown epoch 'worst' in --select", "allowed: best, last"]),
        (["exp3", "--checkpoint-every", "0"], ["--checkpoint-every = 0", "[1, 1000000000]"]),
        (["exp3", "--from-epoch", "first"], ["--from-epoch = 'first'", "[1, 1000000000]"]),
        (["exp3", "--from-epoch", "2"], ["--from-epoch 2: 'sgd' seed 0", "none is kept", "--checkpoint-every"]),
        (["exp3", "--from-epoch", "2", "--fresh"], ["--fresh and --from-epoch"]),
        (["exp3", "--engine", "cuda"], ["unknown engine 'cuda'", "numba, numpy"]),
        (["exp3", "--precision", "float16"], ["'float16'", "float32, float64"]),
        (["exp3", "--dataset", "mnist"], ["'mnist'", "did you mean 'fashion-mnist'?"]),
        (["exp3", "--out", "file"], ["cannot write into", "--out", "Not a directory"]),
        (["exp3", "--out", "file/deeper/still"], ["cannot write into", "--out", "Not a directory"]),
        (["exp3", "--out", ""], ["--out", "empty"]),
        (["exp3", "--out", "x" * 300], ["cannot write into", "--out", "too long"]),
        (["exp3", "--data-dir", "nowhere"], ["'nowhere'", "--data-dir", "does not exist"]),
        (["exp3", "--data-dir", "file"], ["'file'", "--data-dir", "not a folder"]),
        (["exp\n3"], ["'exp\\n3'"]),
        (["exp3", "--only", "\x1b[31madam"], ["\\x1b"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("small_data")
def test_a_wrong_request_is_one_line_that_says_what_is_wrong(refused, arguments, parts):
    message = refused(*arguments)
    assert [part for part in parts if part not in message] == []


@pytest.mark.usefixtures("small_data")
def test_more_images_than_there_are_cannot_be_asked_for(refused):
    assert "99999" in refused("exp3", "--limit", "99999")


@pytest.mark.parametrize("damage", ["truncated", "empty", "of another kind", "a label out of range"])
def test_a_damaged_data_file_is_refused_by_name(refused, small_data, tmp_path, damage):
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    path = folder / IDX_FILES[1 if "label" in damage else 0]
    data = path.read_bytes()
    forms = {
        "truncated": data[:-9],
        "empty": b"",
        "of another kind": b"<html>" + data,
        "a label out of range": data[:-1] + b"\x63",
    }
    path.write_bytes(forms[damage])
    assert path.name in refused("exp3", "--data-dir", str(folder))


def test_a_study_file_with_errors_is_refused(refused, tmp_path):
    path = tmp_path / "mine.toml"
    for text, part in (
        ("[base\n", "mine.toml: line 1"),
        ("[base]\nhiden = [3]\n", "did you mean 'hidden'?"),
        ("[base]\nhidden = [-3]\n", "mine.toml, base: hidden = [-3]"),
        ("sedes = 3\n", "did you mean 'seeds'?"),
        ('extensions = ["gone.py"]\n', "gone.py"),
    ):
        path.write_text(text)
        assert part in refused(str(path))


def test_a_wrong_request_is_status_2_for_real(command):
    status, out, err = command("exp3", "--only", "adm")
    assert (status, out) == (2, "")
    assert err.startswith("error: unknown variant 'adm'")
    assert err.count("\n") == 1
    assert list(command.folder.iterdir()) == []


def test_help_and_list_load_no_heavy_library():
    code = """
import sys
from harness import ablate
assert ablate.main(["--list"]) == 0
try:
    ablate.main(["--help"])
except SystemExit as end:
    assert end.code == 0
print(sorted({"numba", "pandas", "scipy", "matplotlib", "seaborn", "joblib", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("best")
    assert last == "[]"


# ------------------------------------------------------------------------------------------------------ whole studies


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """Results of a small form of the main job: two workers, five optimizers, two seeds."""
    folder = tmp_path_factory.mktemp("grid")
    status, out, err = Command(folder)("exp3", *SMALL, "--seeds", "2", "--jobs", "2")
    assert (status, err) == (0, "")
    assert "500 / 7,000 / 7,000 images to train, validate, test; 10 runs: 5 variants x 2 seeds, 0 already stored" in out
    assert "Tables and figures: results/exp3/fashion-mnist+epochs=2,hidden=16,limit=500,seeds=2" in out
    return folder / "results"


def timeless(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in OF_THE_MACHINE}


def assert_same_bits(one: Path, other: Path) -> None:
    """Two folders hold the same run, but for its times and its memory."""
    assert one.name == other.name
    for name in set(SEALED) - {"history.csv"}:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    for select in ("last", "best"):
        a, b = (load_run(folder.parent, folder.name, select) for folder in (one, other))
        assert [timeless(record) for record in a.history] == [timeless(record) for record in b.history]
        assert repr(timeless(a.row)) == repr(timeless(b.row))


def test_all_runs_are_done_and_in_the_tables(grid):
    folder = grid / "exp3" / "fashion-mnist+epochs=2,hidden=16,limit=500,seeds=2"
    runs = from_csv((folder / "runs.csv").read_bytes())
    assert list(runs["status"]) == ["done"] * 10
    assert set(runs["run_id"]) == {path.name for path in (grid / "runs").iterdir()}
    summary = from_csv((folder / "summary.csv").read_bytes())
    assert list(summary["variant"]) == ["sgd", "sgd untuned", "momentum", "rmsprop", "adam"]
    assert (summary["n"] == 2).all()
    assert len(from_csv((folder / "history.csv").read_bytes())) == 20
    assert json.loads((folder / "environment.json").read_text())["jobs"] == 2


def test_one_worker_gives_the_same_bits_as_two(grid, command):
    assert command("exp3", *SMALL, "--seeds", "2", "--jobs", "1")[0] == 0
    runs = sorted((command.folder / "results" / "runs").iterdir())
    assert len(runs) == 10
    for run in runs:
        assert_same_bits(run, grid / "runs" / run.name)


def test_a_run_alone_gives_the_same_bits_as_in_a_grid(grid, command):
    status, _, err = command("exp3", *SMALL, "--seeds", "1", "--only", "adam", "--out", "my results/../my results")
    assert (status, err) == (0, "")
    (run,) = (command.folder / "my results" / "runs").iterdir()
    assert_same_bits(run, grid / "runs" / run.name)


def test_a_run_in_this_process_gives_the_same_bits_as_a_worker(grid, fashion, tmp_path):
    for folder in list((grid / "runs").iterdir())[:3]:
        record = json.loads((folder / "result.json").read_text())
        config = RunConfig.from_settings(record["config"], "a stored run")
        split = make_split(fashion, config.data.split, config.data.split_seed, config.data.limit)
        facts = {key: record[key] for key in ("jobs", "data_fingerprint", "code_version")}
        save_run(tmp_path, folder.name, config, train(config, fashion, split), facts)
        assert_same_bits(folder, tmp_path / folder.name)


@pytest.mark.long
def test_a_cold_cache_of_compiled_code_gives_the_same_bits_as_a_warm_one(grid, command, tmp_path):
    cache = cold_cache(tmp_path)
    status, out, _ = command("exp3", *SMALL, "--seeds", "2", environment={"ABLATION_BENCH_CACHE": str(cache)})
    assert status == 0
    assert "Compiling kernels" in out
    for run in (command.folder / "results" / "runs").iterdir():
        assert_same_bits(run, grid / "runs" / run.name)


@pytest.mark.long
def test_code_that_several_commands_compiled_is_told_apart_by_a_later_one(command, tmp_path):
    """Equal hash seeds make compilers in two processes choose the same names for the code of both precisions."""
    environment = {"ABLATION_BENCH_CACHE": str(cold_cache(tmp_path)), "PYTHONHASHSEED": "0"}
    (tmp_path / "both.toml").write_text('seeds = 1\n[grid]\nprecision = ["float32", "float64"]\n')
    arguments = (tmp_path / "both.toml", *SMALL, "--jobs", "1")
    for only in (["--only", "precision=float32"], ["--only", "precision=float64"], ["--out", "both"]):
        assert command(*arguments, *only, environment=environment)[0] == 0
    for run in (command.folder / "results" / "runs").iterdir():
        assert_same_bits(run, command.folder / "both" / "runs" / run.name)


def cold_cache(tmp_path: Path) -> Path:
    """A cache that has the data and no compiled code."""
    cache = tmp_path / "cold"
    cache.mkdir()
    for path in cache_folder().iterdir():
        if path.name != "kernels":
            (cache / path.name).symlink_to(path)
    return cache


def test_both_engines_give_the_same_study_within_rounding(command):
    arguments = ("exp3", *SMALL, "--precision", "float64", "--seeds", "1", "--only", "sgd", "adam")
    rows, weights = [], []
    for engine in ("numba", "numpy"):
        assert command(*arguments, "--engine", engine, "--out", engine)[0] == 0
        (path,) = (command.folder / engine / "exp3").glob("*/runs.csv")
        rows.append(from_csv(path.read_bytes()))
        assert set(rows[-1]["engine"]) == {engine}
        models = [command.folder / engine / "runs" / name / "last" / "model.safetensors" for name in rows[-1]["run_id"]]
        weights.append([load_file(model) for model in models])
    metrics = ["test_accuracy", "test_loss", "val_accuracy", "test_f1_macro", "train_loss"]
    np.testing.assert_allclose(rows[0][metrics], rows[1][metrics], rtol=1e-9)
    for compiled, reference in zip(*weights, strict=True):
        assert compiled.keys() == reference.keys()
        for name in compiled:
            np.testing.assert_allclose(compiled[name], reference[name], rtol=0, atol=1e-9)


def test_a_study_with_extensions_of_a_users_own_runs_with_both_engines(command, tmp_path):
    write_extensions(tmp_path)
    (tmp_path / "mine.toml").write_text(blocks("CONTRIBUTING.md", "toml")[0])
    losses = []
    for engine in ("numba", "numpy"):
        status, _, err = command(tmp_path / "mine.toml", *SMALL, "--seeds", "1", "--engine", engine, "--out", engine)
        assert (status, err) == (0, "")
        (path,) = (command.folder / engine / "mine").glob("*/runs.csv")
        runs = from_csv(path.read_bytes())
        assert set(runs["status"]) == {"done"}
        assert list(runs["variant"]) == ["plain", "swish", "focal", "lion"]
        losses.append(runs["test_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_a_reader_that_leaves_early_costs_no_table(command):
    process = command.start("exp3", *SMALL, "--seeds", "1", "--only", "sgd", "--out", "out")
    assert process.stdout.readline().startswith("exp3: ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(PATIENCE_SECONDS) == 0
    process.stderr.close()
    assert list((command.folder / "out" / "exp3").glob("*/figures/val_loss.png"))


def test_a_command_without_standard_streams_ends_in_tables(command):
    arguments = ("exp3", *SMALL, "--seeds", "1", "--only", "sgd", "--engine", "numpy", "--out", "out")
    words = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "harness.ablate", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=command.folder, env=environment, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0
    assert list((command.folder / "out" / "exp3").glob("*/summary.md"))


def test_neither_home_folder_nor_user_name_is_in_any_written_file(command, tmp_path):
    home = tmp_path / "alice"
    home.mkdir()
    (home / "cache").symlink_to(cache_folder())
    environment = {"HOME": str(home), "LOGNAME": "alice", "USER": "alice", "ABLATION_BENCH_CACHE": str(home / "cache")}
    out = home / "results of alice"
    arguments = ("exp3", *SMALL, "--seeds", "1", "--only", "sgd", "--out", out)
    assert command(*arguments, environment=environment)[0] == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 8 + 7 + 4
    for path in files:
        assert str(home).encode() not in path.read_bytes()
    (path,) = out.rglob("environment.json")
    facts = json.loads(path.read_text())
    assert facts["command"].endswith("--out '~/results of alice'")
    assert facts["data_source"].startswith("cache $ABLATION_BENCH_CACHE/")
    shutil.rmtree(out)


def test_a_terminal_sees_a_display_that_redraws_itself(command):
    """A real pseudo-terminal: the display hides the cursor, gives it back, and ends in the table."""
    main, side = pty.openpty()
    data = bytearray()

    def read() -> None:
        with suppress(OSError):  # which says that the other side is closed
            while True:
                data.extend(os.read(main, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    arguments = ("exp3", *SMALL, "--seeds", "2", "--only", "adam", "sgd", "--out", "out")
    process = command.start(*arguments, stdin=side, stdout=side, stderr=side, environment={"TERM": "xterm"})
    os.close(side)
    status = command.finish(process)[0]
    reader.join()
    os.close(main)
    text = data.decode()
    assert status == 0
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    for part in ("runs", "4/4", "validation accuracy", "Test accuracy", "Tables and figures: out/exp3"):
        assert part in text
    assert "Traceback" not in text


@pytest.mark.long
def test_plain_lines_come_at_least_every_ten_seconds(command, tmp_path):
    """From a cold start, over compiling and runs that take long, to the table."""
    arguments = ("exp3", "--epochs", "60", "--seeds", "1", "--only", "adam", "rmsprop", "--set", "hidden=[128]")
    environment = {"ABLATION_BENCH_CACHE": str(cold_cache(tmp_path)), "PYTHONUNBUFFERED": "1"}
    process = command.start(*arguments, environment=environment)
    moments = [time.monotonic()]
    lines = []
    for line in process.stdout:
        moments.append(time.monotonic())
        lines.append(line)
    status, _, err = command.finish(process)
    moments.append(time.monotonic())
    assert (status, err) == (0, "")
    assert max(np.diff(moments)) < 10, lines
    assert any("epoch" in line and "val" in line for line in lines)
