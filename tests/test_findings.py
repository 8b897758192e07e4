"""Findings against values computed by hand: differences by seed, verdicts, and runs that are missing, wild or late."""

import math

import pytest
from pandas.testing import assert_frame_equal
from records import NAN, row, runs_of

from harness import findings as module
from harness.claims import Claim, Comparison
from harness.findings import CONTRADICTED, DIRECTION_ONLY, HELD, NOT_HELD, TOO_FEW, claim_verdict, findings_frame
from harness.tables import from_csv, runs_frame, to_csv

T_1 = math.tan(0.475 * math.pi)  # Student's t at 0.975 in closed form, for one degree of freedom
TEN = [0.01 * i for i in range(10)]


def compare(*cells, metric="test_accuracy", **other):
    """A comparison of a with b, or of the cells given."""
    return Comparison(metric, "x", "y", "", cells or (("a", "b"),), **other)


def claim(*comparisons):
    return Claim("T", (comparisons or (compare(),),))


def only(runs, *comparisons):
    """The line of a single comparison."""
    frame = findings_frame(runs, [claim(*comparisons)])
    assert tuple(frame.columns) == module.FINDING_COLUMNS
    assert len(frame) == 1
    return frame.iloc[0]


def shifted(by, n=10):
    return [value + by for value in TEN[:n]]


def test_a_difference_by_hand():
    line = only(runs_of({"a": [0.5, 0.8], "b": [0.4, 0.6]}))
    half = T_1 * math.sqrt(2 * 0.05**2) / math.sqrt(2)  # of the differences 0.1 and 0.2
    assert (line["n"], line["claim"], line["text"]) == (2, 1, "T")
    assert line["difference"] == pytest.approx(0.15)
    assert (line["difference_low"], line["difference_high"]) == pytest.approx((0.15 - half, 0.15 + half))
    assert line["p_value"] == line["p_holm"] == line["p_least"] == 0.5
    assert line["verdict"] == line["claim_verdict"] == TOO_FEW


def test_cells_are_averaged_within_each_seed():
    runs = runs_of({"a": [0.5, 0.6], "b": [0.3, 0.6], "c": [0.9, 0.9], "d": [0.5, 0.8]})
    line = only(runs, compare(("a", "b"), ("c", "d")))  # (0.2 + 0.4) / 2 and (0.0 + 0.1) / 2
    half = T_1 * math.sqrt(2 * 0.125**2) / math.sqrt(2)
    assert line["n"] == 2
    assert line["difference"] == pytest.approx(0.175)
    assert line["difference_high"] - line["difference"] == pytest.approx(half)


def test_a_number_may_take_the_other_side():
    line = only(runs_of({"a": [0.5, 0.8]}), compare(("a", None), value=0.6))
    assert line["n"] == 2
    assert line["difference"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("by", "metric", "verdict"),
    [
        (0.02, "test_accuracy", HELD),
        (-0.02, "test_accuracy", CONTRADICTED),
        (0.02, "train_seconds", CONTRADICTED),
        (-0.02, "train_seconds", HELD),
        (0.0, "test_accuracy", NOT_HELD),
        (0.0, "train_seconds", NOT_HELD),
    ],
)
def test_verdicts_of_equal_differences_follow_their_sign(by, metric, verdict):
    rows = [row(v, s, **{metric: x}) for v, xs in (("a", shifted(by)), ("b", TEN)) for s, x in enumerate(xs)]
    line = only(runs_frame(rows), compare(metric=metric))
    assert line["verdict"] == verdict
    assert line["p_value"] == (1.0 if by == 0 else 2 / 2**10)


@pytest.mark.parametrize(("sign", "verdict"), [(1, DIRECTION_ONLY), (-1, NOT_HELD)])
def test_without_significance_the_sign_decides(sign, verdict):
    steps = [0.01 * sign if i < 7 else -0.01 * sign for i in range(10)]
    line = only(runs_of({"a": [x + step for x, step in zip(TEN, steps, strict=True)], "b": TEN}))
    assert line["p_value"] == pytest.approx(2 * (1 + 10 + 45 + 120) / 2**10)  # seven or more of ten, on either side
    assert line["verdict"] == verdict


@pytest.mark.parametrize(
    ("n", "verdict", "least"), [(1, TOO_FEW, 1.0), (5, TOO_FEW, 2 / 32), (6, HELD, 2 / 64), (10, HELD, 2 / 1024)]
)
def test_five_pairs_are_too_few_to_say_anything(n, verdict, least):
    line = only(runs_of({"a": shifted(0.02, n), "b": TEN[:n]}))
    assert (line["n"], line["verdict"], line["p_least"]) == (n, verdict, least)


def test_all_comparisons_of_all_claims_are_corrected_together():
    runs = runs_of({"a": shifted(0.02, 6), "b": TEN[:6], "c": shifted(-0.02, 6)})
    claims = [claim(compare(("a", "b"))), claim(compare(("b", "c")), compare(("a", "absent")))]
    frame = findings_frame(runs, claims)
    assert frame["p_value"].tolist()[:2] == [2 / 64, 2 / 64]
    assert frame["p_holm"].tolist()[:2] == [2 * 2 / 64, 2 * 2 / 64]  # the third has no pair, so there are two
    assert math.isnan(frame["p_holm"][2])
    assert frame["p_least"].tolist() == [2 * 2 / 64, 2 * 2 / 64, 1.0]
    assert frame["verdict"].tolist() == [TOO_FEW] * 3  # one comparison of six pairs could have held, two cannot


@pytest.mark.parametrize(
    ("by", "margin", "verdict"),
    [(-0.005, 0.01, HELD), (-0.015, 0.01, CONTRADICTED), (-0.01, 0.01, NOT_HELD), (0.0, 0.0, NOT_HELD)],
)
def test_no_worse_is_tested_against_the_margin(by, margin, verdict):
    runs = runs_of({"a": shifted(by), "b": TEN})
    line = only(runs, compare(margin=margin))
    assert line["verdict"] == verdict
    assert line["difference"] == pytest.approx(by)
    assert line["margin"] == margin
    runs["gap"] = -runs["test_accuracy"]
    assert only(runs, compare(metric="gap", margin=margin))["verdict"] == verdict


# ---- runs that are missing or wild


def test_seeds_without_both_runs_are_left_out():
    line = only(runs_of({"a": [0.5, "failed", 0.7, 0.9], "b": [0.4, 0.5, "failed"]}))
    assert line["n"] == 1
    assert line["difference"] == pytest.approx(0.1)
    assert math.isnan(line["difference_low"])
    assert (line["diverged_better"], line["diverged_than"]) == (0, 0)


def test_one_seed_has_a_difference_but_no_interval():
    line = only(runs_of({"a": [0.5], "b": [0.25]}))
    assert (line["n"], line["difference"], line["p_value"]) == (1, 0.25, 1.0)
    assert math.isnan(line["difference_low"])


def test_a_seed_of_which_one_cell_is_missing_is_left_out_whole():
    runs = runs_of({"a": [0.5, 0.6], "b": [0.3, 0.6], "c": ["diverged", 0.9], "d": [0.5, 0.8]})
    line = only(runs, compare(("a", "b"), ("c", "d")))
    assert (line["n"], line["diverged_better"], line["diverged_than"]) == (1, 1, 0)
    assert line["difference"] == pytest.approx(0.05)


def test_a_variant_that_diverges_once_cannot_have_its_claim_held():
    line = only(runs_of({"a": [*shifted(0.02), "diverged"], "b": [*TEN, 0.1]}))
    assert (line["n"], line["diverged_better"]) == (10, 1)
    assert line["p_holm"] < 0.05
    assert line["verdict"] == DIRECTION_ONLY


def test_a_variant_that_mostly_diverges_is_not_better():
    runs = runs_of({"a": [0.9, 0.9, *["diverged"] * 8], "b": [0.5] * 10})
    line = only(runs)
    assert (line["n"], line["diverged_better"], line["verdict"]) == (2, 8, NOT_HELD)
    assert only(runs_of({"a": ["diverged"] * 10, "b": [0.5] * 10}))["verdict"] == NOT_HELD


def test_a_partner_that_diverges_adds_nothing_to_the_mean_and_no_significance():
    line = only(runs_of({"a": [0.9] * 10, "b": [0.5, 0.5, *["diverged"] * 8]}))
    assert (line["n"], line["diverged_than"], line["verdict"]) == (2, 8, DIRECTION_ONLY)
    line = only(runs_of({"a": [0.9] * 10, "b": ["diverged"] * 10}))
    assert (line["n"], line["verdict"]) == (0, DIRECTION_ONLY)
    assert math.isnan(line["difference"])
    line = only(runs_of({"a": [0.4] * 10, "b": [0.5, 0.5, *["diverged"] * 8]}))
    assert line["verdict"] == TOO_FEW


def test_a_partner_that_diverges_does_not_stand_in_the_way_of_the_rest():
    line = only(runs_of({"a": shifted(0.02), "b": [*TEN[:8], "diverged", "diverged"]}))
    assert (line["n"], line["verdict"]) == (8, HELD)


def test_where_all_diverge_there_is_nothing_to_say():
    line = only(runs_of({"a": ["diverged"] * 10, "b": ["diverged"] * 10}))
    assert (line["n"], line["diverged_better"], line["diverged_than"]) == (0, 10, 10)
    assert line["verdict"] == TOO_FEW
    assert math.isnan(line["p_value"])
    assert math.isnan(line["p_holm"])


def test_no_runs_at_all_say_nothing():
    assert only(runs_frame([]))["verdict"] == TOO_FEW


def test_a_done_run_without_its_number_is_an_error():
    runs = runs_of({"a": [0.5, 0.6], "b": [0.4, 0.6]})
    runs.loc[1, "test_accuracy"] = NAN
    with pytest.raises(ValueError, match="value 1 of 2 is nan"):
        findings_frame(runs, [claim()])


def test_without_claims_there_are_columns_and_no_lines():
    frame = findings_frame(runs_of({"a": [0.5]}), [])
    assert tuple(frame.columns) == module.FINDING_COLUMNS
    assert len(frame) == 0


# ---- runs that never reach the target


def run(epochs=NAN, seconds=NAN, done=20.0, total=8.0):
    return {"epochs_to_target": epochs, "seconds_to_target": seconds, "epochs_done": done, "train_seconds": total}


@pytest.mark.parametrize(
    ("better", "than", "epochs", "seconds", "never"),
    [
        (run(3, 1.5), run(5, 2.0), -2, -0.5, 0),
        (run(3, 1.5), run(), 3 - 21, 1.5 - 8, 1),
        (run(), run(20, 7.5), 1, 0.5, 1),
        (run(), run(20, 9.0), 1, 0.0, 1),  # a quick end is no credit to a run that never got there
        (run(20, 9.0), run(), -1, 0.0, 1),
        (run(), run(total=7.0), 0, 0.0, 2),
    ],
)
def test_a_run_that_never_got_there_counts_by_a_bound(better, than, epochs, seconds, never):
    assert module.difference("epochs_to_target", better, than) == (epochs, never)
    assert module.difference("seconds_to_target", better, than) == (seconds, never)


def test_a_number_of_epochs_is_a_bound_too():
    assert module.difference("epochs_to_target", run(3), 5.0) == (-2, 0)
    assert module.difference("epochs_to_target", run(), 5.0) == (16, 1)
    assert module.difference("epochs_to_target", run(), 50.0) == (0, 1)


def test_runs_that_never_got_there_are_counted():
    epochs = {"a": [2, 3, None], "b": [4, None, None]}
    rows = [row(v, s, epochs_to_target=e, epochs_done=9) for v, es in epochs.items() for s, e in enumerate(es)]
    line = only(runs_frame(rows), compare(metric="epochs_to_target"))  # -2, 3 - 10, 0
    assert (line["n"], line["not_reached"]) == (3, 3)
    assert line["difference"] == pytest.approx(-3)


# ---- claims


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [
        ([[HELD, HELD]], HELD),
        ([[HELD, DIRECTION_ONLY]], DIRECTION_ONLY),
        ([[HELD, TOO_FEW, DIRECTION_ONLY]], TOO_FEW),
        ([[HELD, NOT_HELD, TOO_FEW]], NOT_HELD),
        ([[CONTRADICTED, NOT_HELD]], CONTRADICTED),
        ([[HELD, NOT_HELD], [HELD, DIRECTION_ONLY]], DIRECTION_ONLY),
        ([[NOT_HELD], [HELD], [CONTRADICTED]], HELD),
    ],
)
def test_the_worst_of_a_group_and_the_best_of_groups_counts(groups, verdict):
    assert claim_verdict(groups) == verdict


def test_findings_survive_csv():
    runs = runs_of({"a": [*shifted(0.02), "diverged"], "b": [*TEN, 0.1]})
    for claims in ([], [claim(), claim(compare(margin=0.5))], [Claim("1e5", ((compare(("a", "absent")),),))]):
        frame = findings_frame(runs, claims)
        again = from_csv(to_csv(frame))
        assert to_csv(again) == to_csv(frame)
        if claims:
            assert_frame_equal(again, frame, check_exact=True, check_dtype=False)
