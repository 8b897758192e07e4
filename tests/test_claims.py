"""Claims of a study: the cells that they compare, and one line for whatever is wrong with one."""

import pytest
from complaints import complaint
from studyfiles import writer

from harness.claims import METRICS
from harness.study import Overrides, load
from harness.studyfile import available

NAMED = "baseline = 'a'\n[variants]\na = {}\nb = { l2 = 1 }\nc = { l2 = 2 }\n"
GRID = "[grid]\nhidden.layers = [1, 2, 3]\nhidden.units = [4, 8]\nclip_norm = ['none', 1]\n"


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


@pytest.fixture
def claims(write):
    """Read the claims of a study; each is the body of one table."""

    def claims(study: str, *bodies: str, overrides: Overrides = Overrides()):  # noqa: B008
        return load(write(study + "".join(f"\n[[claims]]\n{body}\n" for body in bodies)), overrides).claims

    return claims


def comparisons(claim):
    return [(c.metric, c.better, c.than, c.at, c.margin) for c in claim.comparisons]


def test_each_must_do_better_than_all_in_every_metric(claims):
    (claim,) = claims(NAMED, 'text=" T "\nbetter=["a", "b"]\nthan=["c", 0.5]\nmetric=["gap", "val_accuracy"]')
    assert claim.text == "T"
    assert len(claim.groups) == 1
    assert comparisons(claim) == [
        (metric, better, than, "", None)
        for better in ("a", "b")
        for than in ("c", "0.5")
        for metric in ("gap", "val_accuracy")
    ]
    assert [(c.cells, c.value) for c in claim.comparisons[::2]] == [
        ((("a", "c"),), None),
        ((("a", None),), 0.5),
        ((("b", "c"),), None),
        ((("b", None),), 0.5),
    ]
    assert claim.variants == {"a", "b", "c"}


def test_of_some_each_is_a_group(claims):
    (claim,) = claims(NAMED, 'text="T"\nsome=true\nbetter=["a", "b"]\nthan="c"\nno_worse={ test_accuracy = 0.01 }')
    assert [[(c.better, c.metric, c.margin) for c in group] for group in claim.groups] == [
        [("a", "test_accuracy", 0.01)],
        [("b", "test_accuracy", 0.01)],
    ]


def test_the_test_accuracy_is_meant_where_nothing_is_said(claims):
    (claim,) = claims(NAMED, 'text="T"\nbetter="a"\nthan="b"')
    assert comparisons(claim) == [("test_accuracy", "a", "b", "", None)]


def test_a_margin_comes_beside_a_metric(claims):
    (claim,) = claims(NAMED, 'text="T"\nbetter="a"\nthan="b"\nmetric="gap"\nno_worse.val_accuracy = 0')
    assert comparisons(claim) == [("gap", "a", "b", "", None), ("val_accuracy", "a", "b", "", 0.0)]


def test_cells_chosen_by_settings_meet_those_that_differ_in_these_alone(claims):
    (claim,) = claims(GRID, 'text="T"\nbetter={ hidden.layers = 3 }\nthan={ hidden.layers = 1 }\nat={ clip_norm = 1 }')
    (comparison,) = claim.comparisons
    assert comparison.cells == tuple(
        (f"hidden.layers=3, hidden.units={u}, clip_norm=1", f"hidden.layers=1, hidden.units={u}, clip_norm=1")
        for u in (4, 8)
    )
    assert (comparison.better, comparison.than) == ("hidden.layers=3", "hidden.layers=1")
    assert comparison.at == "clip_norm=1"


def test_settings_are_nested_or_dotted_and_none_is_none(claims):
    (claim,) = claims(GRID, 'text="T"\nbetter={ hidden = { layers = 2, units = 4 }, clip_norm = "none" }\nthan=0.9')
    assert claim.comparisons[0].cells == (("hidden.layers=2, hidden.units=4, clip_norm=none", None),)


def test_widths_are_chosen_as_lists(claims):
    study = "[grid]\nhidden = [[4], [4, 8]]\n"
    (claim,) = claims(study, 'text="T"\nbetter={ hidden = [4, 8] }\nthan={ hidden = [4] }')
    assert claim.comparisons[0].cells == (("hidden=4x8", "hidden=4"),)
    assert claim.comparisons[0].better == "hidden=4x8"


def test_a_claim_about_a_variant_that_the_request_leaves_out_is_not_made(claims):
    bodies = ('text="1"\nbetter="a"\nthan="b"', 'text="2"\nbetter="a"\nthan=["b", "c"]')
    made = claims(NAMED, *bodies, overrides=Overrides(only=("a", "b")))
    assert [claim.text for claim in made] == ["1"]


def test_a_data_set_may_have_claims_of_its_own(write):
    text = NAMED + '[[claims]]\ntext="1"\nbetter="a"\nthan=0.9\n[[datasets.cifar-10.claims]]\ntext="2"\nbetter="a"\n'
    path = write(text + "than=0.5\n")
    assert [claim.text for claim in load(path).claims] == ["1"]
    assert [claim.text for claim in load(path, Overrides(dataset="cifar-10")).claims] == ["2"]


def test_a_study_without_claims_has_none(write):
    assert load(write(NAMED)).claims == ()


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("dataset", ["fashion-mnist", "cifar-10"])
def test_shipped_studies_claim_something(name, dataset):
    study = load(name, Overrides(dataset=dataset))
    assert study.claims
    assert all(claim.variants <= study.variants.keys() for claim in study.claims)


def test_shipped_studies_have_seeds_enough_on_fashion_mnist_for_all_their_comparisons():
    """The smallest p that n pairs can have, times the number of comparisons, lies below 0.05."""
    for name in available():
        study = load(name)
        n_comparisons = sum(len(claim.comparisons) for claim in study.claims)
        assert n_comparisons * 2 / 2**study.seeds < 0.05, name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "my.toml, claims 1: text is missing: must be a sentence"),
        ("text = ' '", "my.toml, claims 1: text = ' ': must be a sentence"),
        ("text = 'T'\nbeter = 'a'", "unknown key 'beter' in my.toml, claims 1 (did you mean 'better'?); allowed: at, "),
        ("text = 'T'", "my.toml, claims 1: better is missing: must be a variant's name or a table of settings"),
        ("text = 'T'\nbetter = 'a'", "my.toml, claims 1: than is missing: must be a variant's name or a table of sett"),
        ("text = 'T'\nbetter = 0.5\nthan = 'a'", "my.toml, claims 1: better = 0.5: must be a variant's name or a tab"),
        ("text = 'T'\nbetter = []\nthan = 'a'", "my.toml, claims 1: better = []: must be"),
        ("text = 'T'\nbetter = 'a'\nthan = true", "my.toml, claims 1: than = True: must be a variant's name or a tab"),
        ("text = 'T'\nbetter = 'a'\nthan = nan", "my.toml, claims 1: than = nan: must be"),
        ("text = 'T'\nbetter = 'a'\nthan = {}", "my.toml, claims 1: than = {}: must be"),
        ("text = 'T'\nbetter = 'aa'\nthan = 'b'", "unknown variant 'aa' in my.toml, claims 1, better (did you mean"),
        ("text = 'T'\nbetter = 'a'\nthan = ['b', 'd']", "unknown variant 'd' in my.toml, claims 1, than"),
        ("text = 'T'\nbetter = 'a'\nthan = 'a'", "my.toml, claims 1: than = 'a': is the same as better"),
        ("text = 'T'\nbetter = 'a'\nthan = { l2 = 1 }", "my.toml, claims 1: than = {'l2': 1}: better and than must bo"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nat = { l2 = 1 }", "my.toml, claims 1: at = {'l2': 1}: is for cells th"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nat = 3", "my.toml, claims 1: at = 3: must be a table of settings"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nsome = 1", "my.toml, claims 1: some = 1: must be true or false"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nmetric = 'acuracy'", "unknown metric 'acuracy' in my.toml, claims 1 ("),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nmetric = []", "my.toml, claims 1: metric = []: name at least one"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nno_worse = 1", "my.toml, claims 1: no_worse = 1: must be a table of m"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nno_worse.gap = -1", "my.toml, claims 1, no_worse: gap = -1: must be a"),
        ("text = 'T'\nbetter = 'a'\nthan = 'b'\nno_worse.x = 1", "unknown metric 'x' in my.toml, claims 1"),
        (
            "text = 'T'\nbetter = { l2 = 3 }\nthan = { l2 = 1 }",
            "my.toml, claims 1, better: l2 = 3: no variant has it; ",
        ),
        ("text = 'T'\nbetter = { epochs = 3 }\nthan = { l2 = 1 }", "unknown setting 'epochs' in my.toml, claims 1, be"),
        ("text = 'T'\nbetter = { l2 = 1 }\nthan = { l2 = 1 }", "my.toml, claims 1: than = {'l2': 1}: is the same as b"),
    ],
)
def test_a_wrong_claim_is_one_line(write, body, message):
    assert complaint(load, write(f"{NAMED}[[claims]]\n{body}")).startswith(message)


def test_cells_without_a_partner_are_named(write):
    text = "[variants]\na = { l2 = 1, dropout = 0.5 }\nb = { l2 = 2 }\n[[claims]]\ntext = 'T'\n"
    message = complaint(load, write(text + "better = { l2 = 1 }\nthan = { l2 = 2 }"))
    assert message == "my.toml, claims 1: than = {'l2': 2}: no variant is like 'a' but for l2=2"
    message = complaint(load, write(text + "better = { l2 = 1 }\nthan = 0.5\nat = { dropout = 0 }"))
    assert message == "my.toml, claims 1: better = {'l2': 1}: no variant has dropout=0, l2=1"
    message = complaint(load, write(text + "better = { l2 = 1 }\nthan = { dropout = 0 }"))
    assert "must give the same settings other values" in message


@pytest.mark.parametrize("text", ["claims = 3", "claims = ['x']", "[claims]\ntext = 'T'"])
def test_claims_are_a_list_of_tables(write, text):
    assert complaint(load, write(text)).startswith("my.toml: claims = ")


def test_metrics_are_documented_as_columns():
    assert set(METRICS.values()) == {1, -1}
