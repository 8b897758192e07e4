"""What a user sees: plain lines in a file, a display that redraws itself on a terminal, and the same facts in both."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
import threading
from contextlib import suppress

import pytest
from rich.console import Console

from harness import progress
from harness.progress import PLAIN_SECONDS, PLAIN_WIDTH, Pause, Progress

EPOCHS = {"a": 4, "b": 4, "c": 4}


def start(run_id, variant="relu", seed=0):
    return {"kind": "start", "run_id": run_id, "variant": variant, "seed": seed}


def epoch(run_id, number, accuracy=0.5):
    return {"kind": "epoch", "run_id": run_id, "epoch": number, "val_accuracy": accuracy}


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test turns."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def plain():
    return Console(file=io.StringIO(), highlight=False, width=PLAIN_WIDTH)


def lines(console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_plain_lines_come_at_least_every_ten_seconds_and_not_all_the_time(plain, clock):
    assert PLAIN_SECONDS < 10
    with Progress(plain, EPOCHS) as shown:
        shown.update([start("a")])
        for _ in range(1000):  # polls
            clock.now += 0.1
            shown.update([])
    assert 100 / PLAIN_SECONDS - 2 <= len(lines(plain)) <= 100 / PLAIN_SECONDS


def test_a_plain_line_says_what_is_done_what_runs_and_how_long_it_takes(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.update([start("a"), start("b", "two words", 3), epoch("a", 1, 0.25), epoch("b", 2, 0.8125)])
        shown.finish("a", "done")
        clock.now += 60
        shown.update([epoch("b", 2, 0.8125)])
    (line,) = lines(plain)
    assert line == "1/3 runs | about 1 min 0 s left | two words seed 3 epoch 2/4 val 81.25%"


def test_bad_ends_are_counted(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        for run_id, status in (("a", "failed"), ("b", "diverged"), ("c", "diverged")):
            shown.finish(run_id, status)
        clock.now += 60
        shown.update([])
    assert lines(plain)[-1].startswith("3/3 runs (2 diverged, 1 failed)")


def test_epochs_trained_by_an_earlier_command_say_nothing_about_the_speed_of_this_one(plain, clock):
    with Progress(plain, {"a": 8, "b": 8}) as shown:
        gone = [epoch("a", number) for number in range(1, 7)]
        shown.update([start("a"), {"kind": "resumed", "run_id": "a", "epoch": 6}, *gone])
        clock.now += PLAIN_SECONDS
        shown.update([])
        assert "left" not in lines(plain)[-1]
        clock.now += PLAIN_SECONDS
        shown.update([epoch("a", 7)])
    assert "about 1 min 30 s left" in lines(plain)[-1]


def test_a_note_of_a_worker_stays(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.update([{"kind": "note", "run_id": "a", "text": "run a: [something]"}])
    assert "run a: [something]" in lines(plain)


def test_an_accuracy_that_is_no_number_is_left_out(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.update([start("a"), epoch("a", 1, None)])
        clock.now += 60
        shown.update([])
    assert lines(plain)[-1].endswith("relu seed 0 epoch 1/4")


def test_news_of_unknown_or_finished_runs_is_harmless(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.update([epoch("never started", 1)])
        shown.finish("a", "done")
        shown.update([epoch("a", 4)])
        shown.finish("never heard of", "done")
        clock.now += 60
        shown.update([])
    assert len(lines(plain)) == 1


def test_names_are_shown_as_they_are_never_as_markup(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.update([start("a", "[bold]x[/] {y} %s :smile:")])
        shown.note("run [red]a[/red] failed")
        clock.now += 60
        shown.update([])
    assert lines(plain)[0] == "run [red]a[/red] failed"
    assert "[bold]x[/] {y} %s :smile: seed 0" in lines(plain)[1]


def test_long_lines_are_not_wrapped(plain, clock):
    with Progress(plain, EPOCHS) as shown:
        shown.note("x " * 200)
        shown.update([start(name, "y" * 90) for name in EPOCHS])
        clock.now += 60
        shown.update([])
    assert len(lines(plain)) == 2


def test_a_pause_tells_how_far_it_is_every_few_seconds(plain, clock):
    with Pause(plain, "compiling") as pause:
        for _ in range(120):
            clock.now += 0.1
            pause.update("1 of 4")
    assert [line.rstrip("0123456789 s") for line in lines(plain)] == ["compiling: 1 of 4,"] * 2


def test_no_display_redraws_itself_in_a_file_even_where_colours_are_forced(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(console, EPOCHS) as shown, Pause(console, "compiling") as pause:
        shown.update([start("a"), epoch("a", 1)])
        clock.now += 60
        shown.update([])
        pause.update("1 of 4")
    text = console.file.getvalue()
    assert not re.search(r"\x1b\[\?25|\x1b\[\d*[AFG]|\r", text)
    assert len(text.splitlines()) == 2


def test_output_that_is_no_terminal_has_a_fixed_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert progress.standard_output().width == PLAIN_WIDTH


class Terminal:
    """A real terminal of 100 columns, and all that was written to it."""

    def __init__(self, kind: str = "xterm-256color") -> None:
        self._main, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
        self._file = os.fdopen(side, "w", encoding="utf-8")
        self.console = Console(file=self._file, highlight=False, _environ={"TERM": kind})
        self._data = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # which says that the other side is closed
            while True:
                self._data += os.read(self._main, 65536)

    def text(self) -> str:
        """All of it, after the end."""
        self._file.close()
        self._reader.join()
        os.close(self._main)
        return self._data.decode()


@pytest.fixture
def terminal():
    return Terminal()


def test_a_terminal_shows_the_grid_and_each_running_run(terminal):
    with Progress(terminal.console, EPOCHS) as shown:
        shown.update([start("a", "two words", 3), start("b"), epoch("a", 3, 0.8125)])
        shown.finish("b", "diverged")
        shown.note("a line that stays")
    text = terminal.text()
    for part in ("runs", "1/3", "1 diverged", "two words", "3/4", "81.25%", "left", "validation accuracy"):
        assert part in text
    assert "\x1b[?25l" in text  # the cursor hides
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and comes back


def test_a_terminal_gets_its_cursor_back_after_ctrl_c(terminal):
    def act() -> None:
        with Progress(terminal.console, EPOCHS) as shown:
            shown.update([start("a")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        act()
    text = terminal.text()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_terminal_shows_a_moving_sign_during_a_pause(terminal):
    with Pause(terminal.console, "compiling kernels") as pause:
        pause.update("1 of 4")
        pause.update("2 of 4")
    text = terminal.text()
    assert "compiling kernels" in text
    assert "\x1b[?25h" in text


def test_a_terminal_that_cannot_redraw_gets_plain_lines(clock):
    terminal = Terminal("dumb")
    with Progress(terminal.console, EPOCHS) as shown:
        shown.update([start("a")])
        clock.now += 60
        shown.update([])
    text = terminal.text()
    assert "0/3 runs" in text
    assert "\x1b[?25l" not in text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7322, "2 h 2 min")])
def test_durations_are_told_as_people_do(plain, clock, seconds, text):
    with Progress(plain, {"a": 1, "b": 1}) as shown:
        clock.now += max(seconds, PLAIN_SECONDS)
        clock.now += seconds - max(seconds, PLAIN_SECONDS)
        shown._last_line -= PLAIN_SECONDS
        shown.finish("a", "done")
    assert f"about {text} left" in lines(plain)[-1]
