"""Tables, importances and figures of trials that have ended."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from searches import PARAMETERS, told

from harness import trialplots
from harness.plots import save
from harness.space import Parameter
from harness.tables import from_csv, to_csv
from harness.trials import history_frame, importances, trials_frame, tuned_frame, winner

ENDED = [
    told(0, (0.5, 0.4)),
    told(1, (0.3,), "pruned", activation="tanh"),
    told(2, (), "failed"),
    told(3, (0.2, 0.6), hidden__layers=0),
]


def test_a_line_per_trial_with_every_parameter_under_its_key():
    frame = from_csv(to_csv(trials_frame(ENDED, PARAMETERS)))
    assert list(frame["trial"]) == [0, 1, 2, 3]
    assert list(frame["status"]) == ["done", "pruned", "failed", "done"]
    assert [frame[p.key].iloc[0] for p in PARAMETERS] == [0.01, "relu", 3, 2]
    assert list(frame["hidden"]) == ["3x3", "3x3", "3x3", "none"]
    assert list(frame["val_accuracy"])[:2] == [0.4, 0.3]
    assert list(frame["best_val_accuracy"])[:2] == [0.5, 0.3]
    assert list(frame["best_val_epoch"].dropna()) == [1, 1, 2]
    assert list(frame["epochs_done"]) == [2, 1, 0, 2]


def test_the_history_has_every_epoch():
    assert history_frame(ENDED).to_numpy().tolist() == [[0, 1, 0.5], [0, 2, 0.4], [1, 1, 0.3], [3, 1, 0.2], [3, 2, 0.6]]


def test_the_winner_is_the_first_best_of_those_that_ended():
    better = told(5, (0.9,), "pruned")
    assert winner([*ENDED, better]).number == 3
    assert winner([told(1), told(0), told(2)]).number == 0
    assert winner([better, told(6, (), "failed")]) is None


def test_the_parameter_that_decides_is_the_most_important_one():
    trials = [
        told(
            i, (0.9 if i % 2 else 0.1 + i / 1000,), activation=("relu", "tanh")[i % 2], hidden__units=(3, 5)[i // 2 % 2]
        )
        for i in range(40)
    ]
    shares = importances(trials, PARAMETERS)
    assert next(iter(shares)) == "activation"
    assert set(shares) == {p.key for p in PARAMETERS}
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("trials", [[], [told(0)], [told(0), told(1)], [told(0), told(1, (0.1, 0.2))]])
def test_few_trials_have_importances_too(trials):
    shares = importances(trials, PARAMETERS)
    assert set(shares) == {p.key for p in PARAMETERS}
    assert all(0 <= share <= 1 for share in shares.values())


def test_importances_stay_the_same():
    trials = [told(i, (i / 30,), optimizer__lr=10 ** -(1 + i % 3)) for i in range(20)]
    assert importances(trials, PARAMETERS) == importances(trials, PARAMETERS)


FOUND = {"a_$b$": ENDED, "c": [told(0, (0.2,), "diverged", optimizer__lr=0.1)]}
CHOSEN = {"a_$b$": ENDED[3], "c": FOUND["c"][0]}


def test_trials_of_several_variants_say_which_was_chosen():
    frame = from_csv(to_csv(tuned_frame(FOUND, CHOSEN, PARAMETERS)))
    assert list(frame["variant"]) == ["a_$b$"] * 4 + ["c"]
    assert list(frame["trial"]) == [0, 1, 2, 3, 0]
    assert list(frame["chosen"]) == [False, False, False, True, True]
    assert list(frame.columns)[3:] == list(trials_frame(ENDED, PARAMETERS).columns)[1:]


@pytest.mark.parametrize("parameters", [PARAMETERS[:1], PARAMETERS], ids=["one", "many"])
def test_their_figure_has_a_line_for_each_and_the_same_bytes_each_time(parameters, tmp_path):
    frame = tuned_frame(FOUND, CHOSEN, parameters)
    figures = [trialplots.tuned(frame, parameters, list(FOUND), "$a_b") for _ in range(2)]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == list(FOUND)
    assert len(figures[0].axes) == len(parameters)
    pictures = [[path.read_bytes() for path in save(each, tmp_path, "f")] for each in figures]
    assert pictures[0] == pictures[1]


def test_numbers_ascend_on_their_axis_and_words_keep_their_order():
    parameters = (Parameter("l2", values=(0.0, 0.1, 0.01)), Parameter("activation", values=("tanh", "relu")))
    figure = trialplots.responses(trials_frame([told(l2=0.01)], parameters), parameters, "")
    labels = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes]
    assert labels == [["0.0", "0.01", "0.1"], ["tanh", "relu"]]


@pytest.mark.parametrize("trials", [ENDED, [], [told(2, (), "failed")], [told(i, (i / 9,)) for i in range(9)]])
def test_figures_are_drawn_of_any_trials_with_the_same_bytes(trials, tmp_path):
    parameters = (*PARAMETERS, Parameter("clip_norm", values=(None, 1.0)))
    trials = [told(t.number, t.accuracies, t.result["status"], clip_norm=("none", 1.0)[t.number % 2]) for t in trials]
    frame = trials_frame(trials, parameters)
    for draw in (
        lambda: trialplots.importances(importances(trials, parameters), "$a_b"),
        lambda: trialplots.responses(frame, parameters, "x" * 200),
        lambda: trialplots.course(frame, ""),
    ):
        assert isinstance(draw(), Figure)
        pictures = [[path.read_bytes() for path in save(draw(), tmp_path / name, "f")] for name in ("a", "b")]
        assert pictures[0] == pictures[1]
