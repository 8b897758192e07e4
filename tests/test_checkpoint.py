"""Checkpoints: what comes back is what was kept, the newest whole one is used, and only what is wished for stays."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_modelfile import metadata_of
from test_trainer import configure, same_bits

from harness import checkpoint
from harness.checkpoint import Keeper, UnusableError, Wishes, begun, files, finish, forget, kept, pick, put, read, write
from harness.errors import UserError
from harness.result import Progress
from harness.trainer import train

SETTINGS = {"hidden": [5, 3], "dropout": 0.2, "l2": 0.1, "epochs": 6, "optimizer": {"name": "adam", "lr": 0.02}}


def flat(progress: Progress) -> list[np.ndarray]:
    layers = [
        *progress.state.weights,
        *(pair for slot in progress.state.slots for pair in slot),
        *progress.best.weights,
    ]
    return [
        *(part for layer in layers for part in layer),
        progress.best.val_confusion,
        *vars(progress.statistics).values(),
    ]


@pytest.fixture
def config():
    return configure(**SETTINGS)


@pytest.fixture
def progress(small, split, config) -> Progress:
    """A run after two epochs."""
    kept: list[Progress] = []
    train(config, small, split, on_progress=lambda epoch, take: kept.append(take()) if epoch == 2 else None)
    return kept[0]


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Keep a run's checkpoints, one after each epoch unless it is said otherwise; gives what was said to the user."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "LARGEST_SHARE", 1e9)

    def make(said: list[str], name: str = "run", **wishes: int) -> Keeper:
        return Keeper(tmp_path, name, Wishes(**wishes), said.append)

    return make


def names(tmp_path) -> list[str]:
    return [path.name for _, path in files(tmp_path / "run.checkpoints")]


@pytest.mark.parametrize(
    "settings", [SETTINGS, {"hidden": [], "optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 3}], ids=str
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_what_was_kept_comes_back_to_the_last_bit(small, split, tmp_path, settings, precision):
    kept: list[Progress] = []
    train(configure(**settings, precision=precision), small, split, on_progress=lambda _, take: kept.append(take()))
    progress = dataclasses.replace(kept[-1], totals={**kept[-1].totals, "eval_seconds": 1 / 3})
    progress.history[0]["grad_max_1"] = np.inf
    progress.history[1]["grad_mean_1"] = np.nan
    write(tmp_path / "x.safetensors", "run", progress)
    again = read(tmp_path / "x.safetensors", "run")
    for mine, theirs in zip(flat(progress), flat(again), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert (again.state.steps, again.best.epoch) == (progress.state.steps, progress.best.epoch)
    assert repr(again.history) == repr(progress.history)
    assert again.totals == progress.totals


def test_a_run_goes_on_from_its_file_to_the_same_bits(small, split, config, keep):
    whole = train(config, small, split)
    train(config, small, split, on_progress=keep([]))  # all but its last epoch
    said: list[str] = []
    progress = keep(said).load()
    assert len(progress.history) == 5
    assert same_bits(train(config, small, split, None, None, progress), whole)
    assert said == []


def test_two_files_stay_while_a_run_goes_on_and_none_when_it_has_ended(small, split, config, keep, tmp_path):
    keeper = keep([])
    train(config, small, split, on_progress=keeper)
    assert names(tmp_path) == ["running-4.safetensors", "running-5.safetensors"]
    assert begun(tmp_path) == {"run": [4, 5]}
    finish(tmp_path, "run")
    assert list(tmp_path.iterdir()) == []


def test_epochs_that_were_wished_for_stay(small, split, config, keep, tmp_path, monkeypatch):
    keeper = keep([], every=2)
    train(config, small, split, on_progress=keeper)
    assert names(tmp_path) == [f"{name}.safetensors" for name in ("epoch-2", "running-3", "epoch-4", "running-5")]
    finish(tmp_path, "run")
    assert names(tmp_path) == ["epoch-2.safetensors", "epoch-4.safetensors"]
    assert begun(tmp_path) == {"run": [2, 4]}
    whole = train(config, small, split)
    for epoch in (2, 4):
        progress = keep([], from_epoch=epoch).load()
        assert len(progress.history) == epoch
        assert same_bits(train(config, small, split, None, None, progress), whole)
    assert keep([], from_epoch=3).load() is None
    forget(tmp_path, "run")
    assert begun(tmp_path) == {}


def test_slow_writing_makes_checkpoints_rare(progress, keep, tmp_path, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock, written = Clock(), []

    def slowly(path, *_):
        written.append(path.name)
        clock.now += 5.0

    monkeypatch.setattr(checkpoint, "time", clock)
    monkeypatch.setattr(checkpoint, "write", slowly)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 30.0)
    monkeypatch.setattr(checkpoint, "LARGEST_SHARE", 0.01)
    keeper = keep([], every=700)
    for epoch in range(1, 1001):  # of a second
        clock.now += 1.0
        keeper(epoch, lambda: progress)
    assert written == ["running-30.safetensors", "running-530.safetensors", "epoch-700.safetensors"]


def test_a_short_run_writes_none(small, split, config, tmp_path):
    train(config, small, split, on_progress=Keeper(tmp_path, "run", Wishes(), print))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "truncated", "one bit", "rubbish", "of another run", "of another version"])
def test_a_checkpoint_that_cannot_be_used_is_told_and_the_next_older_one_taken(progress, keep, tmp_path, damage):
    folder = tmp_path / "run.checkpoints"
    write(folder / "epoch-1.safetensors", "run", progress)
    path = folder / "running-2.safetensors"
    write(path, "other" if damage == "of another run" else "run", progress)
    data = path.read_bytes()
    if damage == "of another version":
        data = data.replace(b'\\"format\\": 1', b'\\"format\\": 0')
        path.write_bytes(data)
        parts, metadata = load_file(path), metadata_of(path)
        save_file(parts, path, {**metadata, "seal": checkpoint._seal(metadata[checkpoint.ENTRY], parts)})
        data = path.read_bytes()
    middle = len(data) - 100
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    forms = {"empty": b"", "truncated": data[:-1], "one bit": flipped, "rubbish": b"\x93" * 5000}
    path.write_bytes(forms.get(damage, data))
    said: list[str] = []
    assert keep(said).load() is not None
    reason = damage if damage.startswith("of") else "damaged"
    assert said == [f"the checkpoint of epoch 2 is ignored: it is {reason}"]
    shutil.copy(path, folder / "epoch-1.safetensors")
    assert keep(said).load() is None
    assert len(said) == 3


@pytest.mark.parametrize("change", [{"slots": 7}, {"steps": None, "history": []}, {"totals": None, "slots": -1}])
def test_a_sealed_file_of_wrong_content_is_damaged(progress, tmp_path, change):
    path = tmp_path / "x.safetensors"
    write(path, "run", progress)
    parts, metadata = load_file(path), metadata_of(path)
    text = json.dumps({**json.loads(metadata[checkpoint.ENTRY]), **change})
    parts.pop("history" if "totals" in change else "0.weight")
    save_file(parts, path, {checkpoint.ENTRY: text, checkpoint.SEAL: checkpoint._seal(text, parts)})
    with pytest.raises(UnusableError):
        read(path, "run")


def test_a_disk_that_refuses_a_checkpoint_costs_one_line(small, split, config, keep, tmp_path, monkeypatch):
    tried = []

    def refuse(path, *_):
        tried.append(path)
        raise UserError("cannot write it: No space left on device")

    monkeypatch.setattr(checkpoint, "write", refuse)
    said: list[str] = []
    assert train(config, small, split, on_progress=keep(said)).status == "done"
    assert said == ["goes on without checkpoints: cannot write it: No space left on device"]
    assert len(tried) == 1


def test_other_files_in_the_folder_are_left_alone(progress, keep, tmp_path):
    folder = tmp_path / "run.checkpoints"
    write(folder / "running-2.safetensors", "run", progress)
    for name in ("notes.txt", "epoch-x.safetensors", ".tmp-123", "epoch-1.safetensors.bak"):
        (folder / name).write_text("mine")
    write(folder / "epoch-1.safetensors", "run", progress)
    finish(tmp_path, "run")
    assert [path.name for path in sorted(folder.iterdir())] == [
        *(".tmp-123", "epoch-1.safetensors", "epoch-1.safetensors.bak", "epoch-x.safetensors", "notes.txt")
    ]


def test_what_travels_is_what_would_be_loaded_and_what_comes_back_is_what_was_wished_for(progress, tmp_path):
    here, there, folder = tmp_path / "here", tmp_path / "there", tmp_path / "here" / "run.checkpoints"
    assert pick(here, "run", Wishes()) == {}
    for name in ("epoch-2", "running-3", "running-4"):
        write(folder / f"{name}.safetensors", "run", progress)
    assert list(pick(here, "run", Wishes())) == ["running-4.safetensors"]
    assert list(pick(here, "run", Wishes(from_epoch=2))) == ["epoch-2.safetensors"]
    assert pick(here, "run", Wishes(from_epoch=1)) == {}
    (folder / "running-4.safetensors").write_bytes(b"rubbish")
    chosen = pick(here, "run", Wishes())
    assert list(chosen) == ["running-3.safetensors"]
    put(there, "run", {**chosen, "../escape": b"", "other.txt": b""})
    assert {path.name for path in there.rglob("*") if path.is_file()} == {"running-3.safetensors"}
    assert Keeper(there, "run", Wishes(), print).load() is not None
    assert kept(here, "run") == {"epoch-2.safetensors": (folder / "epoch-2.safetensors").read_bytes()}
    assert kept(there, "run") == {}
