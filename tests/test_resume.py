"""Real commands that are killed in mid-run: the next one goes on from the newest checkpoint, to the same bits."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS, Command, alive, children, wait_until
from test_ablate import assert_same_bits

from harness.checkpoint import begun
from harness.store import load_run

STUDY = """
seeds = 1
[base]
hidden = [24, 16]
epochs = 60
dropout = 0.2
l2 = 0.01
data = { limit = 3000 }
[variants]
"adam" = { optimizer = { name = "adam", lr = 0.003 }, schedule = { name = "one_cycle" } }
"momentum" = { optimizer = { name = "momentum", lr = 0.02 }, schedule = { name = "cosine", warmup_epochs = 2 } }
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The study and the results of a command that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.toml").write_text(STUDY)
    status, _, err = Command(folder)(folder / "long.toml", "--jobs", "2")
    assert (status, err) == (0, "")
    return folder


def kill(command, process) -> None:
    """No chance to tidy up: the command and its workers, at once."""
    family = children(process.pid)
    for pid in (process.pid, *family):
        os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_SECONDS)
    command.finish(process)
    wait_until(lambda: not alive(family))


def newest(runs: Path, at_least: int) -> int:
    """How many runs have a checkpoint of this epoch or a later one."""
    return sum(epochs[-1] >= at_least for epochs in begun(runs).values())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_study_goes_on_from_its_newest_checkpoints_to_the_same_bits(undisturbed, command, jobs):
    arguments = (undisturbed / "long.toml", "--jobs", jobs, "--checkpoint-every", "3")
    runs = command.folder / "results" / "runs"
    for epoch in (3, 15):  # killed twice
        process = command.start(*arguments)
        wait_until(lambda epoch=epoch: newest(runs, epoch) == int(jobs))
        kill(command, process)
        assert not list(runs.glob("*/result.json"))
    status, out, err = command(*arguments)
    assert (status, err) == (0, "")
    assert f"0 already stored, {jobs} to go on from a checkpoint" in out
    made = sorted(path for path in runs.iterdir() if (path / "result.json").exists())
    assert len(made) == 2
    for path in made:
        assert_same_bits(path, undisturbed / "results" / "runs" / path.name)
    resumed = [load_run(runs, path.name).row["resumed"] for path in made]
    assert sorted(resumed) == ([0, 2] if jobs == "1" else [2, 2])
    for path in made:
        seconds = [record["train_seconds"] for record in load_run(runs, path.name).history]
        assert seconds == sorted(seconds)
        assert len(seconds) == 60
    assert begun(runs) == {path.name: list(range(3, 60, 3)) for path in made}


def test_done_runs_are_rolled_back_to_an_epoch_that_was_kept(undisturbed, command):
    arguments = (undisturbed / "long.toml", "--jobs", "2")
    assert command(*arguments, "--checkpoint-every", "25")[0] == 0
    runs = command.folder / "results" / "runs"
    before = {path: path.stat().st_ctime_ns for path in runs.glob("*/result.json")}
    status, out, err = command(*arguments, "--from-epoch", "25")
    assert (status, err) == (0, "")
    assert "0 already stored, 2 to go on from a checkpoint" in out
    for path, moment in before.items():
        assert path.stat().st_ctime_ns > moment
        assert_same_bits(path.parent, undisturbed / "results" / "runs" / path.parent.name)
        assert load_run(runs, path.parent.name).row["resumed"] == 1
    status, out, err = command(*arguments, "--from-epoch", "30")
    assert (status, out) == (2, "")
    assert "'adam' seed 0 has no checkpoint of this epoch; kept: 25, 50;" in err


def test_a_damaged_checkpoint_is_told_and_costs_the_epochs_since_the_one_before(undisturbed, command):
    arguments = (undisturbed / "long.toml", "--jobs", "1", "--only", "adam", "--checkpoint-every", "4")
    runs = command.folder / "results" / "runs"
    process = command.start(*arguments)
    wait_until(lambda: newest(runs, 8))
    kill(command, process)
    ((name, epochs),) = begun(runs).items()
    path = runs / f"{name}.checkpoints" / f"epoch-{epochs[-1]}.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    status, out, err = command(*arguments)
    assert (status, err) == (0, "")
    assert f"run {name}: the checkpoint of epoch {epochs[-1]} is ignored: it is damaged" in " ".join(out.split())
    assert_same_bits(runs / name, undisturbed / "results" / "runs" / name)
    assert load_run(runs, name).row["resumed"] == 1
