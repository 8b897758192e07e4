"""The journal of a search: nothing is lost, doubled or left behind, whenever its process is killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from complaints import complaint
from processes import ROOT
from searches import PARAMETERS

from harness.journal import FILE, opened, read


@contextlib.contextmanager
def open_in(folder, method="random", seed=0, identity="me", **options):
    with opened(folder, **options) as shelf:
        yield shelf.journal(identity, PARAMETERS, method, seed)


def end(book, trial, accuracies=(0.1, 0.2), status="done"):
    book.tell(trial, list(accuracies), {"status": status, "reason": "", "run_id": "r", "train_seconds": 1.0})


@pytest.mark.parametrize("status", ["done", "pruned", "diverged", "failed"])
def test_a_trial_that_was_told_is_read_back_as_it_was(tmp_path, status):
    with open_in(tmp_path) as book:
        trial = book.ask()
        end(book, trial, (0.5, 0.25), status)
        (told,) = book.told()
    with open_in(tmp_path) as book:
        assert book.told() == [told]
        assert book.unfinished() == []
    assert (told.number, told.chosen, told.accuracies) == (0, trial.chosen, [0.5, 0.25])
    assert told.result["status"] == status


def test_a_trial_without_an_epoch_can_fail(tmp_path):
    with open_in(tmp_path) as book:
        end(book, book.ask(), (), "failed")
        assert book.told()[0].accuracies == []


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_trials_do_not_depend_on_when_the_process_ended(tmp_path, method):
    with open_in(tmp_path / "a", method) as book:
        for i in range(14):
            end(book, book.ask(), (0.1, i / 20))
        whole = book.told()
    for _ in range(14):
        with open_in(tmp_path / "b", method) as book:
            book.ask()
        with open_in(tmp_path / "b", method) as book:
            (trial,) = book.unfinished()
            end(book, trial, (0.1, trial.number / 20))
    with open_in(tmp_path / "b", method) as book:
        assert book.told() == whole
    assert len({str(each.chosen) for each in whole}) == 14


def test_the_seed_decides_the_choices(tmp_path):
    chosen = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with open_in(tmp_path / name, seed=seed) as book:
            chosen.append(book.ask().chosen)
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_journal_cut_at_any_byte_goes_on_to_the_same_trials(tmp_path, method):
    with open_in(tmp_path / "whole", method) as book:
        for i in range(12):
            end(book, book.ask(), (0.1, i / 20))
        whole = book.told()
    content = (tmp_path / "whole" / FILE).read_bytes()
    places = [round(len(content) * part) for part in (0.01, 0.33, 0.77, 0.97, 0.999)]
    for n, place in enumerate(places):
        folder = tmp_path / f"cut{n}"
        folder.mkdir()
        (folder / FILE).write_bytes(content[:place])
        with open_in(folder, method) as book:
            for trial in book.unfinished():
                end(book, trial, (0.1, trial.number / 20))
            while len(book) < 12:
                trial = book.ask()
                end(book, trial, (0.1, trial.number / 20))
            assert book.told() == whole
            assert book.unfinished() == []


def test_another_search_in_the_same_file_has_trials_of_its_own(tmp_path):
    with open_in(tmp_path) as book:
        end(book, book.ask())
    with open_in(tmp_path, identity="other") as book:
        assert book.told() == []
        end(book, book.ask())
        others = book.told()
        assert [each.number for each in others] == [0]
    assert read(tmp_path, "other") == others
    assert [len(read(tmp_path, name)) for name in ("me", "other", "nobody")] == [1, 1, 0]


def test_searches_in_one_file_go_on_side_by_side(tmp_path):
    with opened(tmp_path) as shelf:
        books = [shelf.journal(name, PARAMETERS, "random", 0) for name in ("a", "b")]
        trials = [book.ask() for book in books for _ in range(2)]
        for trial, book in zip(reversed(trials), (books[1], books[1], books[0], books[0]), strict=True):
            end(book, trial)
        assert trials[0].chosen == trials[2].chosen
        assert [[each.number for each in book.told()] for book in books] == [[0, 1], [0, 1]]


def test_a_journal_that_is_begun_anew_has_forgotten_all(tmp_path):
    for _ in range(2):
        with open_in(tmp_path, anew=True) as book:
            end(book, book.ask())
            assert [each.number for each in book.told()] == [0]


def test_a_folder_without_a_journal_has_no_trials_and_gets_none_by_reading(tmp_path):
    assert read(tmp_path, "me") == []
    assert list(tmp_path.iterdir()) == []


def test_two_processes_cannot_search_in_one_folder(tmp_path):
    code = "from harness.journal import opened; import sys, pathlib\nopened(pathlib.Path(sys.argv[1])).__enter__()"
    with open_in(tmp_path):
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False,
            cwd=ROOT / "tests", env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )  # fmt: skip
    assert "UserError: another process is searching" in other.stderr
    with open_in(tmp_path) as book:
        assert book.told() == []


def test_a_damaged_journal_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"rubbish\nmore\n")

    def enter():
        with open_in(tmp_path):
            pass

    assert FILE in complaint(enter)
    assert FILE in complaint(lambda: read(tmp_path, "me"))
