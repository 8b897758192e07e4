"""Summaries as texts: what they say, and that no name can break them."""

import io
import re

import pytest
from records import HOSTILE, row, runs_of
from rich.console import Console

from harness.summaries import summary_markdown, terminal_table
from harness.tables import runs_frame, summary_frame


def terminal(table, width=100):
    """What a terminal shows."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table)
    return console.file.getvalue()


def cells(markdown):
    """The cells of each line of a Markdown table."""
    lines = [text for text in markdown.split("\n") if text.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", text)[1:-1]] for text in lines]


def test_all_diverged_or_no_runs_at_all_still_make_every_table():
    for runs in (runs_of({"a": ["diverged"], "b": ["diverged"]}), runs_frame([])):
        summary = summary_frame(runs, ["a", "b"], "a", ["seed"])
        assert len(summary) == 2
        assert len(cells(summary_markdown(summary, runs, "t", "a"))) == 4
        assert "baseline" in terminal(terminal_table(summary, "t", "a"))


# ---- Markdown


def test_markdown_says_what_was_run_and_shows_mean_and_margin():
    runs = runs_of({"a": [0.5, 0.6, 0.7], "b": [0.6, 0.8, 1.0]})
    text = summary_markdown(summary_frame(runs, ["a", "b"], "a"), runs, "My study", "a")
    head, a, b = cells(text)[0], *cells(text)[2:]
    assert text.startswith("# My study\n")
    for fact in ("fashion-mnist, fingerprint 0123", "6, over 3 seeds (0 to 2)", "Jobs at a time: 2"):
        assert fact in text
    assert head == ["Variant", "n", "Test accuracy", "Difference", "p", "p (Holm)", "s per epoch", "s per run"]
    assert a == ["a", "3", "0.6000 ± 0.2484", "baseline", "–", "–", "2.00", "6.00"]
    assert b == ["b", "3", "0.8000 ± 0.4968", "+0.2000 ± 0.2484", "0.25", "0.25", "2.00", "6.00"]
    assert "1 comparison of 3 pairs cannot give a p (Holm) below 0.25" in text
    assert "mean over the n done runs ± half the width of its 95% Student t interval" in text


def test_a_table_of_many_comparisons_says_when_no_corrected_p_can_be_small():
    names = [f"v{i}" for i in range(8)]
    for n, said in ((8, True), (9, False)):  # 7 * 2 / 2^8 = 0.055, 7 * 2 / 2^9 = 0.027
        runs = runs_of({name: [0.5 + 0.01 * i for i in range(n)] for name in names})
        text = summary_markdown(summary_frame(runs, names, "v0"), runs, "t", "v0")
        assert ("7 comparisons of 8 pairs cannot give a p (Holm) below 0.0547" in text) == said


def test_markdown_shows_diverged_failed_and_pairs_only_where_there_are_any():
    runs = runs_of({"a": [0.5, 0.6], "b": [0.6, "diverged"]})
    text = summary_markdown(summary_frame(runs, ["a", "b"], "b"), runs, "t", "b")
    assert cells(text)[0][:6] == ["Variant", "n", "Diverged", "Test accuracy", "Difference", "Pairs"]
    assert cells(text)[2][:6] == ["a", "2", "0", "0.5500 ± 0.6353", "-0.1000", "1"]
    assert cells(text)[3][:6] == ["b", "1", "1", "0.6000", "baseline", "–"]
    assert "Diverged and failed runs are counted, not averaged." in text


def test_markdown_without_a_baseline_has_no_comparison():
    runs = runs_of({"a": [0.5], "b": [0.6]})
    text = summary_markdown(summary_frame(runs, ["a", "b"], None), runs, "t")
    assert cells(text)[0] == ["Variant", "n", "Test accuracy", "s per epoch", "s per run"]
    assert "Difference" not in text
    assert "1 seed (0)" in text


def test_markdown_names_cannot_break_the_table_or_become_markup():
    runs = runs_frame([row(name, setting=name) for name in HOSTILE])
    summary = summary_frame(runs, HOSTILE, HOSTILE[0], ["setting"])
    text = summary_markdown(summary, runs, "\n".join(HOSTILE), HOSTILE[0])
    table = cells(text)
    assert len(table) == 2 + len(HOSTILE)
    assert {len(columns) for columns in table} == {9}
    assert len(text.split("\n")) == 6 + len(table) + 3
    names = [columns[0] for columns in table[2:]]
    assert names[:3] == [r"a\|b", r"two\\nlines", 'comma, "quote"']
    assert names[4:6] == ["&lt;b&gt;&amp;amp;", r"\*s\* \_u\_ \`c\`"]


def test_names_with_inner_underscores_stay_readable():
    runs = runs_of({"leaky_relu": [0.5]})
    assert "| leaky_relu |" in summary_markdown(summary_frame(runs, ["leaky_relu"], None), runs, "t")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.000123, "0.000123"), (0.0412, "0.0412"), (2.0, "2.00"), (45.678, "45.7"), (1234.5, "1234")],
)
def test_seconds_have_three_digits_and_no_exponent(seconds, text):
    runs = runs_frame([row(train_seconds=seconds)])
    assert cells(summary_markdown(summary_frame(runs, ["relu"], None), runs, "t"))[2][-1] == text


def test_further_columns_are_shown_where_they_are_asked_for():
    rows = [
        row("a", s, epochs_to_target=e, seconds_to_target=e and e / 4, gap=0.02) for s, e in enumerate([3, 5, None])
    ]
    rows += [row("b", s, epochs_to_target=2, seconds_to_target=1.5, gap=-0.01) for s in range(3)]
    runs = runs_frame(rows)
    show = {"gap", "epochs_to_target", "seconds_to_target", "test_accuracy"}
    text = summary_markdown(summary_frame(runs, ["a", "b"], None), runs, "t", None, show)
    head, _, a, b = cells(text)
    assert head[3:6] == ["Gap", "Epochs to target", "s to target"]
    assert a[3:6] == ["+0.0200 ± 0.0000", "5 (2/3)", "1.25 (2/3)"]
    assert b[3:6] == ["-0.0100 ± 0.0000", "2", "1.50"]
    for words in ("Gap: mean of training less validation accuracy", "runs that never reached it coming last"):
        assert words in text


# ---- terminal


def test_terminal_table_fits_in_100_columns():
    names = ["relu", "a name that is much longer than any that one would give to a variant " * 2]
    runs = runs_of({name: [0.5, 0.6, "diverged", "failed"] for name in names})
    shown = terminal(terminal_table(summary_frame(runs, names, "relu"), "t", "relu"), width=100)
    assert max(map(len, shown.split("\n"))) <= 100
    for text in ("0.5500 ± 0.6353", "+0.0000 ± 0.0000", "baseline", "Diverged", "Failed", "2.00", "6.00"):
        assert text in shown
    assert "…" not in shown


@pytest.mark.parametrize("show", [{"gap"}, {"epochs_to_target", "seconds_to_target"}])
def test_terminal_table_with_further_columns_fits_in_100_columns(show):
    rows = [row(v, s, a, gap=0.0123) for v in ("a" * 30, "b") for s, a in enumerate([0.5, 0.6])]
    rows += [row("b", 2 + i, status=status) for i, status in enumerate(("diverged", "failed"))]
    rows += [row("b", 4, epochs_to_target=None, seconds_to_target=None, gap=0.0123)]
    summary = summary_frame(runs_frame(rows), ["a" * 30, "b"], "a" * 30)
    shown = terminal(terminal_table(summary, "t", "a" * 30, show), width=100)
    assert max(map(len, shown.split("\n"))) <= 100
    assert "…" not in shown
    for text in ("+0.0123",) if "gap" in show else ("2 (2/3)", "4.00 (2/3)"):
        assert text in shown


def test_terminal_table_shows_names_as_they_are_and_passes_no_control_codes_on():
    names = ["[bold]x[/]", "[/nonsense]", "two\nlines", "\x1b[31mred", ":smile:"]
    runs = runs_of({name: [0.5, 0.6] for name in names})
    table = terminal_table(summary_frame(runs, names, names[0]), "[red]title[/]", names[0])
    shown = terminal(table, width=160)
    for text in ("[bold]x[/]", "[/nonsense]", r"two\nlines", r"\x1b[31mred", ":smile:", "[red]title[/]"):
        assert text in shown
    assert "\x1b[31m" not in shown
