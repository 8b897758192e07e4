"""The command that sends stored runs afterwards: its options and errors. What it sends: see test_tracking."""

from __future__ import annotations

import pytest
from wandb_runs import STUDY

from harness import ablate, track


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a study first"),
        (("exp3", "--wandb", "onlin"), "unknown mode 'onlin' in --wandb (did you mean 'online'?)"),
        (("exp3", "--wandb", "disabled"), "tracking is disabled"),
        (("exp3",), "tracking is disabled"),  # by the environment of the tests
        (("exp3", "--jobs", "3"), "unknown option '--jobs'"),
        (("exp33", "--wandb", "offline"), "exp33"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, said, capsys):
    assert track.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.usefixtures("small_data")
def test_without_a_stored_run_it_says_which_command_makes_them(tmp_path, capsys):
    (tmp_path / "widths.toml").write_text(STUDY.format(more=""))
    request = [str(tmp_path / "widths.toml"), "--out", str(tmp_path / "out"), "--wandb", "offline"]
    assert track.main(request) == 2
    assert "no run of widths is stored in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_its_options_are_those_of_ablate_that_say_which_runs():
    def names(parser):
        return {action.dest for action in parser._actions}

    assert names(ablate.parser()) - names(track.parser()) == {
        *("list", "jobs", "backend", "scheduler", "fresh", "timing", "dry_run", "checkpoint_every", "from_epoch")
    }
    assert names(track.parser()) <= names(ablate.parser())
