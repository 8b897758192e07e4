"""The overview of many studies against counts and sums by hand."""

import pytest
from records import runs_of
from studyfiles import writer

from harness.claims import Claim, Comparison
from harness.command import DONE, SOME_FAILED
from harness.config import DATASET_NAMES
from harness.findings import findings_frame
from harness.outputs import Entry
from harness.overview import OVERVIEW_COLUMNS, Part, overview_frame, overview_markdown, overview_name, time_lines, write
from harness.session import Ending, Request
from harness.study import Overrides, load
from harness.tables import from_csv


@pytest.fixture
def ask(tmp_path):
    """Make a request of a study of two variants and two seeds."""

    def ask(name="one", **changes) -> Request:
        path = writer(tmp_path)("title = 'T|'\nseeds = 2\n[variants]\na = {}\nb = { l2 = 1 }", f"{name}.toml")
        return Request(load(path, Overrides(**changes)), ("x",), out=tmp_path / "out", jobs=2)

    return ask


def entry(name, status="done", train=3.0):
    row = {"run_id": name, "status": status, "train_seconds": train, "eval_seconds": 0.5, "compile_seconds": 0.25}
    stored = None if status == "failed" else object()
    return Entry("a", row if stored else {"run_id": name, "status": status}, stored)


def findings(*verdicts_of):
    """Findings of claims with the given accuracies of a; b has ten fives."""
    claims = [Claim(f"claim {i}", ((Comparison("test_accuracy", v, "b", "", ((v, "b"),)),),)) for i, v in
              enumerate(verdicts_of)]  # fmt: skip
    levels = {"better": 0.9, "worse": 0.1, "b": 0.5}
    return findings_frame(runs_of({name: [level] * 10 for name, level in levels.items()}), claims)


def test_counts_and_sums_by_hand(ask):
    ending = Ending(
        SOME_FAILED,
        made=frozenset({"r1", "r2"}),
        entries=(entry("r1"), entry("r2", "diverged", 1.0), entry("r3"), entry("r4", "failed")),
        findings=findings("better", "worse", "better"),
    )
    frame = overview_frame([Part(ask(), ending, 9.0)])
    assert tuple(frame.columns) == OVERVIEW_COLUMNS
    (line,) = frame.to_dict("records")
    expected = {
        "study": "one",
        "dataset": "fashion-mnist",
        "variants": 2,
        "seeds": 2,
        "runs": 4,
        "made": 2,
        "stored": 1,
    }
    expected |= {"done": 2, "diverged": 1, "failed": 1, "run_seconds": 3.75 + 1.75 + 3.75, "wall_seconds": 9.0}
    expected |= {"claims": 3, "held": 2, "contradicted": 1, "not_held": 0, "direction_only": 0}
    expected |= {"too_few_seeds_to_say": 0, "folder": "one/fashion-mnist", "error": ""}
    assert line == expected


def test_a_run_that_two_studies_share_counts_once_in_sums(ask):
    first = Ending(DONE, made=frozenset({"r1"}), entries=(entry("r1"), entry("r2", train=60.0)))
    second = Ending(DONE, made=frozenset({"r3"}), entries=(entry("r1"), entry("r3", train=7.0)))
    lines = time_lines([Part(ask("one"), first, 5.0), Part(ask("two"), second, 6.0)], 11.4)
    assert lines[0] == "Wall time of this command: 11 s; it made 2 of 3 runs, 2 at a time."
    assert lines[1].startswith("Run time (training, evaluation, compiling) summed over all 3 runs: 1 min 12 s;")
    assert lines[1].endswith("over those that this command made: 12 s.")
    assert lines[2].startswith("Stored by earlier commands: 1; ")


def test_nothing_is_said_of_earlier_commands_where_there_were_none(ask):
    ending = Ending(SOME_FAILED, made=frozenset({"r1"}), entries=(entry("r1"), entry("r2", "failed")))
    lines = time_lines([Part(ask(), ending, 5.0)], 5.0)
    assert len(lines) == 2
    assert lines[0].endswith("it made 1 of 2 runs; 1 failed, 2 at a time.")
    assert "all 1 runs: 4 s" in lines[1]


def test_the_page_has_claims_and_failures(ask):
    ending = Ending(DONE, made=frozenset({"r1"}), entries=(entry("r1"),), findings=findings("better"))
    failed = Ending(SOME_FAILED)
    page = overview_markdown([Part(ask("one"), ending, 5.0), Part(ask("two"), failed, 0.1, "no <data>")], 6.0)
    assert "## one on fashion-mnist: T\\|\n\n- held: claim 0\n" in page
    assert "two on fashion-mnist failed: no &lt;data&gt;\n" in page
    assert "| one | fashion-mnist | 4 | 1 | 0 | 4 s | 5 s | 1 held |" in page
    assert "| two | fashion-mnist | 4 | 0 | 0 | 0 s | 0 s | no tables |" in page
    assert "- Machine: " in page
    assert page.endswith("\n")


def test_files_are_named_after_what_was_asked(ask):
    both = [ask(dataset=dataset) for dataset in DATASET_NAMES]
    assert overview_name(both) == "overview"
    assert overview_name(both[:1]) == "overview+dataset=fashion-mnist"
    changed = [ask(dataset=dataset, epochs=3, only=("a",)) for dataset in DATASET_NAMES]
    assert overview_name(changed) == "overview+epochs=3,only=a"


def test_both_files_are_written(ask, tmp_path):
    ending = Ending(DONE, made=frozenset({"r1"}), entries=(entry("r1"),), findings=findings("better"))
    path = write(tmp_path / "out", [Part(ask(), ending, 5.0)], 5.0)
    assert path == tmp_path / "out" / "overview+dataset=fashion-mnist.md"
    assert path.read_text().startswith("# All studies\n")
    assert from_csv(path.with_suffix(".csv").read_bytes())["held"].tolist() == [1]
