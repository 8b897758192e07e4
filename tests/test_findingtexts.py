"""Findings as texts: what they say, and that no name can break them."""

import pytest
from records import HOSTILE, row, runs_of

from harness.claims import METRICS, Claim, Comparison
from harness.findings import findings_frame
from harness.findingtexts import findings_markdown, sentence, terminal_lines
from harness.tables import runs_frame

TEN = [0.01 * i for i in range(10)]


def findings(accuracies, *comparisons, text="A beats B"):
    return findings_frame(runs_of(accuracies), [Claim(text, (comparisons or (compare(),),))])


def compare(metric="test_accuracy", better="a", than="b", at="", **other):
    return Comparison(metric, better, than, at, ((better, than),), **other)


def only(frame):
    (line,) = frame.to_dict("records")
    return sentence(line)


def test_a_sentence_has_the_difference_its_interval_n_p_and_verdict():
    frame = findings({"a": [0.02 + x for x in TEN], "b": TEN})
    assert only(frame) == "a minus b: +0.0200 ± 0.0000 test accuracy, 10 pairs, p (Holm) 0.00195: held"


def test_too_few_seeds_are_told_with_the_least_p():
    frame = findings({"a": [0.02 + x for x in TEN[:5]], "b": TEN[:5]})
    assert only(frame).endswith("5 pairs, p (Holm) 0.0625: too few seeds to say (p cannot fall below 0.0625)")


def test_a_place_a_margin_and_lost_seeds_are_told():
    frame = findings({"a": [0.5, "diverged"], "b": [0.6, "diverged"]}, compare(at="l2=1", margin=0.002))
    assert only(frame) == (
        "a minus b, at l2=1: -0.1000 test accuracy (no worse by more than 0.002), 1 pair, p (Holm) 1: too few seeds to "
        "say (p cannot fall below 1); a diverged in 1 seed, left out; b diverged in 1 seed, left out"
    )


def test_without_a_pair_there_is_no_number():
    assert only(findings({"a": ["diverged"], "b": [0.5]})) == (
        "a minus b: test accuracy, 0 pairs: too few seeds to say; a diverged in 1 seed, left out"
    )


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("epochs_to_target", "-18.0 ± 0.0 epochs to the target, 10 pairs"),
        ("seconds_to_target", "-5.50 ± 0 seconds to the target, 10 pairs"),
    ],
)
def test_times_to_the_target_have_their_own_digits_and_say_what_was_not_reached(metric, text):
    late = {"epochs_to_target": None, "seconds_to_target": None, "epochs_done": 20, "train_seconds": 8.0}
    early = {"epochs_to_target": 3, "seconds_to_target": 2.5, "epochs_done": 20, "train_seconds": 8.0}
    runs = runs_frame([row(v, s, **own) for v, own in (("a", early), ("b", late)) for s in range(10)])
    said = only(findings_frame(runs, [Claim("T", ((compare(metric),),))]))
    assert f"a minus b: {text}" in said
    assert said.endswith("held; 10 runs never reached the target and counted by a bound")


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_words(metric):
    assert "_" not in only(findings({"a": [0.5], "b": [0.5]}, compare(metric)))


def test_a_page_lists_texts_claims_and_comparisons():
    frame = findings({"a": [0.5], "b": [0.4], "c": [0.3]}, compare(), compare(than="c"))
    page = findings_markdown(frame, {"Question": "Is it?", "Expectation": "", "Finding": "It is."})
    lines = page.split("\n")
    assert lines[:8] == [
        "",
        "## Findings",
        "",
        "- Question: Is it?",
        "- Finding: It is.",
        "",
        "1. too few seeds to say: A beats B",
        "   - a minus b: +0.1000 test accuracy, 1 pair, p (Holm) 1: too few seeds to say (p cannot fall below 1)",
    ]
    assert len(lines) == 12
    assert "Holm's method (2 comparisons)" in lines[10]
    assert page.endswith("\n")


def test_without_claims_the_texts_stay_and_without_both_there_is_no_section():
    nothing = findings_frame(runs_of({"a": [0.5]}), [])
    assert findings_markdown(nothing, {"Question": "Q?"}) == "\n## Findings\n\n- Question: Q?\n"
    assert findings_markdown(nothing, {"Question": ""}) == ""
    assert terminal_lines(nothing) == []


def test_names_can_break_neither_page_nor_terminal():
    comparisons = [compare(better=name, than=HOSTILE[(i + 1) % len(HOSTILE)]) for i, name in enumerate(HOSTILE)]
    frame = findings({name: [0.5] for name in HOSTILE}, *comparisons, text="\n".join(HOSTILE))
    page = findings_markdown(frame, {"Question": "\n".join(HOSTILE)})
    assert len(page.split("\n")) == 2 + 2 + 2 + len(HOSTILE) + 3
    assert r"a\|b" in page
    assert "&lt;b&gt;" in page
    lines = terminal_lines(frame)
    assert len(lines) == 1 + len(HOSTILE) + 1
    assert all(line.isprintable() for line in lines)
