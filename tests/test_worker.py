"""What a worker does with a task: a run on disk, or one line that says why not."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
from processes import wait_until
from test_ablate import assert_same_bits

from harness import worker
from harness.checkpoint import NO_WISHES, Keeper, Wishes, begun
from harness.config import RunConfig
from harness.events import Listener
from harness.extensions import load_extensions
from harness.store import load_run
from harness.trainer import train
from harness.worker import Outcome, execute

# An optimizer that does something unusual when it trains at this very rate, not when it is looked at or compiled.
UNUSUAL = """
from kernels.optimizers import Optimizer, register
import numpy as np
def scalars(lr, t, settings):
    if np.size(lr) and np.all(lr == 0.0625):
        {act}
    return {{"lr": lr}}
register(Optimizer("unusual", lambda w, g, slots, h: (w - h.lr * g, ()), scalars))
"""


@pytest.fixture
def failing(make_task, tmp_path):
    """Give a task whose run does something unusual."""

    def make(act: str):
        path = tmp_path / "unusual.py"
        path.write_text(UNUSUAL.format(act=act))
        load_extensions([path])  # settings are checked in this process, which must know the name too
        return make_task(extensions=[path], optimizer={"name": "unusual", "lr": 0.0625})

    return make


def test_a_task_ends_on_disk(make_task, small):
    task = make_task(seed=5)
    assert execute(task) == Outcome("run", "done")
    row = load_run(task.runs_folder, "run").row
    assert (row["seed"], row["jobs"], row["data_fingerprint"]) == (5, 1, small.fingerprint)


def test_a_diverged_run_is_on_disk_and_says_where(make_task):
    task = make_task(optimizer={"name": "sgd", "lr": 1e38}, l2=1e30)
    outcome = execute(task)
    assert (outcome.status, outcome.reason) == ("diverged", "the training loss was not finite in epoch 1")
    assert load_run(task.runs_folder, "run").row["reason"] == outcome.reason


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ('raise RuntimeError("two\\nlines")', "RuntimeError: two lines"),
        ("raise MemoryError", "out of memory: MemoryError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_run_that_raises_fails_with_one_line_and_leaves_nothing(failing, act, reason):
    task = failing(act)
    assert execute(task) == Outcome("run", "failed", reason)
    assert list(task.runs_folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_fails_the_run(make_task, tmp_path):
    (tmp_path / "file").write_text("")
    task = dataclasses.replace(make_task(), runs_folder=tmp_path / "file")
    reason = f"cannot write {tmp_path / 'file' / 'run'}: Not a directory"
    assert execute(task) == Outcome("run", "failed", reason)


def test_data_that_went_away_fail_the_run(make_task, tmp_path):
    task = make_task()
    shutil.copytree(task.data_folder, tmp_path / "entry")
    (tmp_path / "entry" / "y.npy").write_bytes(b"rubbish")
    outcome = execute(dataclasses.replace(task, data_folder=tmp_path / "entry"))
    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"the cache entry {tmp_path / 'entry'} is missing or damaged")


def test_code_that_was_edited_in_the_meantime_fails_the_run(make_task):
    task = make_task()
    outcome = execute(dataclasses.replace(task, circumstances={**task.circumstances, "code_version": "old"}))
    assert outcome == Outcome("run", "failed", "the code was edited while the study ran")


def test_a_run_that_failed_goes_on_from_its_checkpoint(failing, tmp_path):
    """Its optimizer is out of order while a file is there, in the third epoch, whose rate the schedule makes."""
    blocker = tmp_path / "blocker"
    task = failing(f"import os\n        if os.path.exists({str(blocker)!r}): raise ValueError('out of order')")
    schedule = {"name": "step", "gamma": 0.5, "every": 2.0}
    settings = {"hidden": [7], "engine": "numpy", "epochs": 5, "optimizer": {"name": "unusual", "lr": 0.125}}
    config = RunConfig.from_settings({**settings, "schedule": schedule}, "a test")
    task = dataclasses.replace(task, config=config, wishes=Wishes(every=2))
    whole = dataclasses.replace(task, runs_folder=tmp_path / "whole", wishes=NO_WISHES)
    assert execute(whole).status == "done"
    blocker.write_text("")
    assert execute(task) == Outcome("run", "failed", "ValueError: out of order")
    assert begun(task.runs_folder) == {"run": [2]}
    blocker.unlink()
    assert execute(task) == Outcome("run", "done")
    assert load_run(task.runs_folder, "run").row["resumed"] == 1
    assert_same_bits(task.runs_folder / "run", whole.runs_folder / "run")


def test_a_run_that_goes_on_tells_the_epochs_gone_by_as_well(make_task, small, split):
    task = make_task(epochs=4)
    keeper = Keeper(task.runs_folder, "run", Wishes(every=3), print)
    train(task.config, small, split, on_progress=keeper)
    listener = Listener()
    execute(dataclasses.replace(task, news=listener.address))
    events: list = []
    wait_until(lambda: events.extend(listener.drain()) or len(events) >= 6)
    kinds = [(event["kind"], event.get("epoch")) for event in events]
    assert kinds == [("start", None), ("resumed", 3), *(("epoch", epoch) for epoch in (1, 2, 3, 4))]
    assert all(len(event["histograms"]["weight"]) == 2 for event in events[2:])
    worker._sender(listener.address).close()
    listener.close()
    assert begun(task.runs_folder) == {"run": [3]}


def test_news_tells_the_start_and_every_epoch(make_task):
    listener = Listener()
    task = dataclasses.replace(make_task(epochs=3, seed=2), news=listener.address)
    execute(task)
    events: list = []
    wait_until(lambda: events.extend(listener.drain()) or len(events) >= 4)
    assert events[0] == {"kind": "start", "run_id": "run", "variant": "variant of run", "seed": 2}
    assert [(event["kind"], event["epoch"]) for event in events[1:]] == [("epoch", 1), ("epoch", 2), ("epoch", 3)]
    history = load_run(task.runs_folder, "run").history
    assert [event["val_accuracy"] for event in events[1:]] == [record["val_accuracy"] for record in history]
    worker._sender(task.news).close()
    listener.close()


def test_a_trial_that_is_told_to_stop_ends_there_and_leaves_nothing(make_task):
    listener = Listener(lambda event: event["trial"] == "a" and event["epoch"] == 2)
    for trial, outcome in (("a", Outcome("run", "pruned")), ("b", Outcome("run", "done"))):
        task = dataclasses.replace(make_task(epochs=4), news=listener.address, trial=trial)
        assert execute(task) == outcome
        assert any(task.runs_folder.iterdir()) == (trial == "b")
    events: list = []
    wait_until(lambda: events.extend(listener.drain()) or len(events) >= 8)
    assert [event.get("epoch") for event in events] == [None, 1, 2, None, 1, 2, 3, 4]
    worker._sender(task.news).close()
    listener.close()
