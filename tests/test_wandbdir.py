"""W&B's folder: ids, marks, what is outdated and what was left behind."""

from __future__ import annotations

import pytest

from harness.wandbdir import (
    MARK,
    digest,
    folders,
    is_current,
    marks,
    run_stamp,
    sweep,
    tables_stamp,
    wandb_id,
    write_mark,
)

GROUP, OTHER = "exp/data", "exp/data+epochs=5"
RUN = "0123456789abcdef"


def make(root, time: str, identity: str, mode: str = "offline", stamp: str | None = "s"):
    folder = root / f"{'offline-' if mode == 'offline' else ''}run-20260101_{time}-{identity}"
    folder.mkdir(parents=True)
    if stamp is not None:
        write_mark(folder, stamp, mode)
    return folder


def test_an_id_is_always_the_same_and_differs_between_runs_and_groups():
    given = [(RUN, GROUP), (RUN, OTHER), (RUN[::-1], GROUP), ("study", GROUP), ("study", OTHER)]
    made = [wandb_id(*each) for each in given]
    assert len(set(made)) == len(made)
    assert made == [wandb_id(*each) for each in given]
    assert wandb_id(RUN, GROUP).startswith(f"{RUN}-")
    assert all(len(each) == 25 for each in made)


def test_folders_are_those_of_the_group_the_oldest_first(tmp_path):
    identity = wandb_id(RUN, GROUP)
    new = make(tmp_path, "000002", identity)
    old = make(tmp_path, "000001", identity, "online")
    make(tmp_path, "000003", wandb_id(RUN, OTHER))
    (tmp_path / "run-20260101_000000-somebody").mkdir()
    (tmp_path / "latest-run").mkdir()
    assert folders(tmp_path, GROUP) == {identity: [old, new]}


def test_what_was_broken_off_is_swept_and_the_rest_stays(tmp_path):
    whole = make(tmp_path, "000001", wandb_id(RUN, GROUP))
    broken = make(tmp_path, "000002", wandb_id(RUN, GROUP), stamp=None)
    others = make(tmp_path, "000003", wandb_id(RUN, OTHER), stamp=None)
    sweep(tmp_path, GROUP)
    assert whole.exists()
    assert others.exists()
    assert not broken.exists()


def test_the_newest_readable_mark_counts(tmp_path):
    identity = wandb_id(RUN, GROUP)
    make(tmp_path, "000001", identity, stamp="old")
    make(tmp_path, "000002", identity, stamp="new")
    (make(tmp_path, "000003", identity) / MARK).write_text("{")
    assert marks(tmp_path, GROUP)[identity]["stamp"] == "new"


@pytest.mark.parametrize(
    ("made", "synced", "asked", "current"),
    [
        ("offline", False, "offline", True),
        ("offline", False, None, True),
        ("offline", False, "online", False),
        ("offline", True, "online", True),
        ("online", False, "online", True),
        ("online", False, "offline", True),
    ],
)
def test_a_run_is_written_again_when_it_was_not_sent_and_should_be(tmp_path, made, synced, asked, current):
    identity = wandb_id(RUN, GROUP)
    folder = make(tmp_path, "000001", identity, made)
    if synced:
        (folder / "run.wandb.synced").write_text("")
    assert is_current(marks(tmp_path, GROUP)[identity], "s", asked) == current


def test_other_content_or_another_target_is_not_current(tmp_path, monkeypatch):
    identity = wandb_id(RUN, GROUP)
    make(tmp_path, "000001", identity)
    mark = marks(tmp_path, GROUP)[identity]
    assert is_current(mark, "s", None)
    assert not is_current(mark, "t", None)
    assert not is_current(None, "s", None)
    monkeypatch.setenv("WANDB_PROJECT", "another")
    assert not is_current(mark, "s", None)


def test_a_password_in_an_address_is_in_no_mark(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://somebody:secret@localhost")
    assert "secret" not in (make(tmp_path, "000001", wandb_id(RUN, GROUP)) / MARK).read_text()


@pytest.mark.parametrize(("mode", "current"), [("offline", False), ("online", True)])
def test_a_run_whose_file_was_cut_is_written_again_unless_it_was_sent(tmp_path, mode, current):
    identity = wandb_id(RUN, GROUP)
    folder = make(tmp_path, "000001", identity, mode, stamp=None)
    (folder / "run.wandb").write_bytes(bytes(100))
    write_mark(folder, "s", mode)
    assert is_current(marks(tmp_path, GROUP)[identity], "s", None)
    (folder / "run.wandb").write_bytes(bytes(99))
    assert is_current(marks(tmp_path, GROUP).get(identity), "s", None) == current


def test_a_stamp_is_that_of_the_content(tmp_path):
    assert run_stamp(tmp_path) is None
    assert tables_stamp(tmp_path) is None
    (tmp_path / "result.json").write_text("1")
    first = run_stamp(tmp_path)
    (tmp_path / "result.json").write_text("2")
    assert first != run_stamp(tmp_path)
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
