"""Studies on real Dask clusters: the same results as here, whoever comes, goes, hangs or dies. Loopback only."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from clusters import compute_process, dask_cluster, network_namespaces
from processes import alive, children, wait_until
from studyfiles import WIDTHS
from test_worker import UNUSUAL

from harness import ablate, cluster, link
from harness.store import load_history, load_run
from harness.tables import from_csv
from harness.tracking import Tracker

pytestmark = pytest.mark.long

STUDY = WIDTHS.format(epochs=2, wide="[11]").format(more="")
SLOW = WIDTHS.format(epochs=250, wide="[11]").format(more="")
SAME = ["run_id", "status", "test_accuracy", "test_loss", "val_accuracy", "train_loss", "best_val_epoch"]
WANDB = ("--wandb", "disabled")


@pytest.fixture
def dask(tmp_path):
    with dask_cluster(tmp_path / "dask") as made:
        yield made


@pytest.fixture
def ask(tmp_path, capfd, small_data):
    """Make a request in this process; gives status, stdout and stderr."""

    def ask(text: str, *arguments: str, out: str = "out") -> tuple[int, str, str]:
        path = tmp_path / "widths.toml"
        path.write_text(text)
        status = ablate.main([str(path), *arguments, "--out", str(tmp_path / out), *WANDB])
        return status, *capfd.readouterr()

    return ask


def results(folder: Path):
    """What runs gave, without times."""
    (path,) = (folder / "widths").glob("*/runs.csv")
    return from_csv(path.read_bytes())[SAME]


def stored(folder: Path) -> dict[str, bytes]:
    """The parts of all stored runs that do not hold times."""
    runs = folder / "runs"
    return {
        str(path.relative_to(runs)): path.read_bytes()
        for run in runs.iterdir()
        if load_run(runs, run.name)
        for path in run.rglob("*")
        if path.suffix in (".safetensors", ".npz")
    }


def in_the_background(act):
    """Run a function beside what the test does; joined at the end."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_four_workers_give_the_same_bits_as_this_machine_and_a_second_request_computes_nothing(
    dask, ask, tmp_path, monkeypatch
):
    for cache in ("one", "one", "two", "two"):
        dask.worker(cache)
    ask(STUDY, "--seeds", "5", out="here")
    heard: list[dict] = []
    monkeypatch.setattr(Tracker, "update", lambda self, events=(): heard.extend(events))
    status, out, err = ask(STUDY, "--seeds", "5", "--scheduler", dask.address)
    assert (status, err) == (0, "")
    for path in (tmp_path / "out" / "runs").iterdir():
        told = [event["val_accuracy"] for event in heard if (event["run_id"], event["kind"]) == (path.name, "epoch")]
        assert told == [record["val_accuracy"] for record in load_history(path)]
    assert re.search(r"Dask at tcp://127\.0\.0\.1:\d+: \d workers? \(", out)
    assert results(tmp_path / "out").equals(results(tmp_path / "here"))
    assert stored(tmp_path / "out") == stored(tmp_path / "here")
    assert len(stored(tmp_path / "out")) == 10 * 5  # last and best models and what was measured on them; statistics
    for cache in ("one", "two"):  # sent to each, once
        assert (dask.folder / cache / "fashion-mnist-official" / "X.npy").exists()
        assert not list((dask.folder / cache).glob("tmp-*"))
    before = {path.name: path.stat().st_ctime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    status, out, _ = ask(STUDY, "--seeds", "5", "--scheduler", dask.address)
    assert "10 already stored" in out
    assert status == 0
    assert {path.name: path.stat().st_ctime_ns for path in (tmp_path / "out" / "runs").iterdir()} == before


def test_workers_on_hosts_of_their_own_that_share_nothing_give_the_same_bits(ask, tmp_path):
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(network_namespaces(2))
        except OSError as error:
            pytest.skip(f"this machine allows no network namespaces: {error}")
        dask = stack.enter_context(dask_cluster(tmp_path / "dask", hosts[0][1]))
        for i, (prefix, _) in enumerate(hosts):
            for _ in range(2):
                dask.worker(f"host{i}", prefix=prefix)
        ask(STUDY, "--seeds", "4", out="here")
        status, out, err = ask(STUDY, "--seeds", "4", "--scheduler", dask.address)
        assert (status, err) == (0, "")
        assert dask.address in out
        assert "127.0.0.1" not in out
        for i in range(2):
            assert (dask.folder / f"host{i}" / "fashion-mnist-official" / "X.npy").exists()
    assert results(tmp_path / "out").equals(results(tmp_path / "here"))
    assert stored(tmp_path / "out") == stored(tmp_path / "here")


def test_kernels_are_compiled_once_for_each_machine_and_extensions_come_along(dask, ask, tmp_path):
    """The compiled engine, on workers that have no kernels yet; an extension that they cannot read from here."""
    for _ in range(2):
        dask.worker("cold", warm=False)
    (tmp_path / "own.py").write_text(UNUSUAL.format(act="pass"))
    text = STUDY.replace("seeds = 2", 'seeds = 2\nextensions = ["own.py"]')
    text += 'own = { optimizer = { name = "unusual", lr = 0.0625 } }\n'
    options = ("--engine", "numba", "--seeds", "3")
    ask(text, *options, out="here")
    status, _, err = ask(text, *options, "--scheduler", dask.address)
    assert (status, err) == (0, "")
    assert results(tmp_path / "out").equals(results(tmp_path / "here"))
    assert stored(tmp_path / "out") == stored(tmp_path / "here")
    files = list((dask.folder / "cold" / "kernels").rglob("*.nbc"))
    assert files
    assert len({path.name.rpartition(".")[0].rpartition(".")[0] for path in files}) == len(files)


def test_checkpoints_that_were_asked_for_come_back_and_runs_go_on_from_them(dask, ask, tmp_path):
    dask.worker()
    ask(STUDY, "--epochs", "5", out="here")
    status, _, err = ask(STUDY, "--epochs", "5", "--checkpoint-every", "2", "--scheduler", dask.address)
    assert (status, err) == (0, "")
    runs = tmp_path / "out" / "runs"
    for path in (tmp_path / "here" / "runs").iterdir():
        kept = {each.name for each in (runs / f"{path.name}.checkpoints").iterdir()}
        assert kept == {"epoch-2.safetensors", "epoch-4.safetensors"}
    before = stored(tmp_path / "out")
    status, _, err = ask(STUDY, "--epochs", "5", "--from-epoch", "2", "--scheduler", dask.address)
    assert (status, err) == (0, "")
    assert stored(tmp_path / "out") == before == stored(tmp_path / "here")
    (path,) = (tmp_path / "out" / "widths").glob("*/runs.csv")
    assert set(from_csv(path.read_bytes())["resumed"]) == {1}
    assert list((dask.folder / "shared" / "running").iterdir()) == []


def test_a_cluster_that_is_started_here_gives_the_same_and_ends_with_the_command(ask, tmp_path, small_data):
    ask(STUDY, out="here")
    status, out, err = ask(STUDY, "--backend", "dask", "--jobs", "2")
    assert (status, err) == (0, "")
    assert "2 workers" in out
    assert results(tmp_path / "out").equals(results(tmp_path / "here"))
    wait_until(
        lambda: not [pid for pid in children(os.getpid()) if b"dask" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    )


def test_a_worker_that_comes_late_is_used(dask, ask, tmp_path):
    dask.worker("one")

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 1)
        dask.worker("two")

    helper = in_the_background(act)
    status, out, _ = ask(SLOW, "--seeds", "20", "--scheduler", dask.address)
    helper.join()
    assert status == 0
    assert re.search(r"worker tcp://\S+ on \S+ joins; 2 now", out)
    assert 2 in set(from_csv(next((tmp_path / "out" / "widths").glob("*/runs.csv")).read_bytes())["jobs"])


def test_a_worker_that_is_killed_in_mid_run_costs_nothing_but_time(dask, ask, tmp_path):
    first, second = dask.worker(), dask.worker()
    killed: list[int] = []

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 2)
        for worker in (first, second):
            killed.append(compute_process(worker))
            os.kill(killed[-1], signal.SIGKILL)  # its nanny starts another one

    helper = in_the_background(act)
    status, out, _ = ask(SLOW, "--seeds", "6", "--scheduler", dask.address)
    helper.join()
    assert status == 0
    assert len(killed) == 2
    assert "is gone" in out
    assert set(results(tmp_path / "out")["status"]) == {"done"}


def test_a_run_that_kills_its_worker_each_time_is_given_up_and_the_others_are_made(dask, ask, tmp_path):
    for _ in range(2):
        dask.worker()
    (tmp_path / "deadly.py").write_text(UNUSUAL.format(act="import os; os.kill(os.getpid(), 9)"))
    text = STUDY.replace("seeds = 2", 'seeds = 2\nextensions = ["deadly.py"]')
    text += 'deadly = { optimizer = { name = "unusual", lr = 0.0625 } }\n'
    status, _, _ = ask(text, "--scheduler", dask.address)
    assert status == 1
    found = from_csv(next((tmp_path / "out" / "widths").glob("*/runs.csv")).read_bytes()).set_index("variant")
    assert set(found.loc["deadly", "reason"]) == {"its worker process died 3 times; out of memory?"}
    assert set(found.loc[["narrow", "wide"], "status"]) == {"done"}


def test_a_scheduler_that_is_killed_ends_the_command_and_finished_runs_are_kept(dask, ask, tmp_path):
    dask.worker()

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 2)
        dask.scheduler.kill()

    helper = in_the_background(act)
    status, out, err = ask(SLOW, "--seeds", "30", "--scheduler", dask.address)
    helper.join()
    assert (status, err) == (1, "")
    said = re.search(
        r"Stopped: the scheduler at \S+ is gone\. (\d+) of 60 runs are kept; the same command goes on", out
    )
    assert said
    assert 2 <= int(said[1]) == len(list((tmp_path / "out" / "runs").glob("[!.]*"))) < 60


def test_a_scheduler_that_hangs_ends_the_command(dask, ask, tmp_path, monkeypatch):
    monkeypatch.setattr(link, "ANSWER_SECONDS", 3.0)
    dask.worker()

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 1)
        dask.scheduler.send_signal(signal.SIGSTOP)

    helper = in_the_background(act)
    status, out, err = ask(SLOW, "--seeds", "30", "--scheduler", dask.address)
    helper.join()
    assert (status, err) == (1, "")
    assert "has not answered for 3 s" in out


def test_without_a_worker_the_command_ends(dask, ask, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NO_WORKER_SECONDS", 3.0)
    status, out, err = ask(STUDY, "--scheduler", dask.address)
    assert (status, err) == (1, "")
    assert re.search(r"Stopped: no worker at \S+ for 3 s\. 0 of 4 runs are kept", out)
    worker = dask.worker("one", "--no-nanny", environment=ONE_THREAD)

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 1)
        worker.kill()

    monkeypatch.setattr(cluster, "NO_WORKER_SECONDS", 10.0)
    helper = in_the_background(act)
    status, out, err = ask(SLOW, "--seeds", "30", "--scheduler", dask.address)
    helper.join()
    assert (status, err) == (1, "")
    assert "for 10 s" in out


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
FAKE = "import numba\nnumba.__version__ = '0.1'\n"


def test_a_worker_with_another_version_is_refused_at_the_start_and_left_out_later(dask, ask, tmp_path):
    (dask.folder / "fake.py").write_text(FAKE)
    fake = ("--preload", str(dask.folder / "fake.py"))
    worker = dask.worker("one", *fake)
    status, out, err = ask(STUDY, "--scheduler", dask.address)
    assert status == 2
    assert re.fullmatch(r"error: worker tcp://\S+ on \S+ has numba 0\.1, this command \S+: results could differ\n", err)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait()
    dask.worker("two")

    def act() -> None:
        wait_until(lambda: len(list((tmp_path / "out" / "runs").glob("[!.]*"))) >= 1)
        dask.worker("one", *fake)

    helper = in_the_background(act)
    status, out, err = ask(SLOW, "--seeds", "12", "--scheduler", dask.address)
    helper.join()
    assert (status, err) == (0, "")
    assert re.search(r"has numba 0\.1, this command \S+: results could differ; it is not used", out)


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (("--nthreads", "2"), {}, "runs 2 tasks at a time: start workers with --nthreads 1"),
        (("--no-nanny",), {"OMP_NUM_THREADS": "4"}, "was started without OMP_NUM_THREADS=1"),
    ],
)
def test_a_worker_with_several_threads_is_refused(dask, ask, options, environment, words):
    dask.worker("one", *options, environment=environment)
    status, _, err = ask(STUDY, "--scheduler", dask.address)
    assert status == 2
    assert words in err


BLOCK = "import sys; sys.modules['harness'] = None"


def test_a_worker_or_a_scheduler_without_this_project_is_refused(ask, tmp_path):
    (tmp_path / "block.py").write_text(BLOCK)
    block = ("--preload", str(tmp_path / "block.py"))
    with dask_cluster(tmp_path / "first") as dask:
        dask.worker("one", *block)
        status, _, err = ask(STUDY, "--scheduler", dask.address)
        assert status == 2
        assert re.search(r"^error: worker tcp://\S+ lacks a module \(.*harness.*\): install the same", err)
    with dask_cluster(tmp_path / "second", options=block) as dask:
        dask.worker("one")
        status, _, err = ask(STUDY, "--scheduler", dask.address)
        assert status == 2
        assert "the scheduler cannot read the call; install the same ablation-bench there" in err


def test_jobs_is_how_many_workers_are_used(dask, ask, tmp_path):
    for _ in range(2):
        dask.worker()
    status, _, _ = ask(STUDY, "--jobs", "1", "--scheduler", dask.address)
    assert status == 0
    assert set(from_csv(next((tmp_path / "out" / "widths").glob("*/runs.csv")).read_bytes())["jobs"]) == {1}


def test_ctrl_c_leaves_the_cluster_as_it_was_and_stops_its_own(dask, command):
    dask.worker()
    study = ("exp1", "--engine", "numpy", "--limit", "1000", "--epochs", "5", "--seeds", "50")
    for out, options in (("joined", ("--scheduler", dask.address)), ("own", ("--backend", "dask", "--jobs", "2"))):
        process = command.start(*study, *options, "--out", out)
        runs = command.folder / out / "runs"
        wait_until(lambda runs=runs: len(list(runs.glob("[!.]*"))) >= 2)
        family = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        start = time.monotonic()
        status, out, err = command.finish(process)
        assert time.monotonic() - start < 5
        assert (status, err) == (130, "")
        assert re.search(r"Stopped\. \d+ of 50 runs are kept", out)
        wait_until(lambda family=family: not alive(family))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_cluster_that_is_started_here_does_not_outlive_its_command(command, number):
    study = ("exp1", "--engine", "numpy", "--limit", "1000", "--epochs", "5", "--seeds", "50")
    process = command.start(*study, "--backend", "dask", "--jobs", "2")
    wait_until(lambda: list((command.folder / "results" / "runs").glob("[!.]*")))
    family = children(process.pid)
    assert len(family) >= 3
    process.send_signal(number)
    command.finish(process)
    wait_until(lambda: not alive(family))
