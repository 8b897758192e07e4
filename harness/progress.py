"""What a user sees while a study runs: a live display on a terminal, a plain line every few seconds elsewhere.

Whether the output is a terminal is asked of the output itself: colours may be forced upon a file, a display that
redraws itself may not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 5.0  # between lines when the output is no terminal
PLAIN_WIDTH = 110


def standard_output() -> Console:
    """Standard output; a fixed width where it is no terminal, since nobody can say how wide a file is."""
    console = Console(highlight=False)
    return console if console.file.isatty() else Console(highlight=False, width=PLAIN_WIDTH)


def is_live(console: Console) -> bool:
    """Whether a display there can redraw itself."""
    return console.file.isatty() and not console.is_dumb_terminal


class Pause:
    """Shows that something takes its time: a moving sign on a terminal, a plain line every few seconds elsewhere."""

    def __init__(self, console: Console, text: str) -> None:
        self._console, self._text = console, text
        self._status = console.status(Text(text)) if is_live(console) else None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Pause:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, how_far: str) -> None:
        """Say how far it is."""
        now = time.monotonic()
        text = Text(f"{self._text}: {how_far}, {now - self._started:.0f} s")
        if self._status is not None:
            self._status.update(text)
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._console.print(text, soft_wrap=True)


class Progress:
    """State of a study under way, and its two displays.

    Parameters
    ----------
    console : Console
        Where to show it; a live display if it can show one.
    epochs : dict of str to int
        Epochs of each run still to be made, by run id.
    """

    def __init__(self, console: Console, epochs: dict[str, int]) -> None:
        self._console, self._epochs = console, epochs
        self._total_epochs = sum(epochs.values())
        self._running: dict[str, dict[str, Any]] = {}
        self._finished = self._finished_epochs = self._failed = self._diverged = 0
        self._gone: dict[str, int] = {}  # epochs of runs that went on, trained earlier
        self._started = time.monotonic()
        self._last_line = self._started
        self._live: Live | None = None
        self._bars = Bars(
            TextColumn("runs"), BarColumn(40), MofNCompleteColumn(), TextColumn("{task.fields[left]}"), console=console
        )
        self._bar = self._bars.add_task("runs", total=len(epochs), left="")

    def __enter__(self) -> Progress:
        if is_live(self._console):
            self._live = Live(self._render(), console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, events: Iterable[dict[str, Any]]) -> None:
        """Take in news from the workers and show the state."""
        for event in events:
            if event["kind"] == "note":
                self.note(event["text"])
            elif event["kind"] == "resumed":
                self._gone[event["run_id"]] = event["epoch"]
            elif event["kind"] == "start":
                self._running[event["run_id"]] = {**event, "epoch": 0}
            elif event["kind"] == "wait":
                holder = event["holder"] or "another process"
                self.note(f"{event['variant']} seed {event['seed']} is being made by {holder}; waiting for it")
            elif event["run_id"] in self._running:
                self._running[event["run_id"]].update(event)
        self._show()

    def finish(self, run_id: str, status: str) -> None:
        """One run has ended."""
        self._running.pop(run_id, None)
        self._finished += 1
        self._finished_epochs += self._epochs.get(run_id, 0)
        self._failed += status == "failed"
        self._diverged += status == "diverged"
        self._show()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._render())
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(Text(self._line()), soft_wrap=True)

    def _seconds_left(self) -> float:
        done = self._finished_epochs + sum(run["epoch"] for run in self._running.values())
        elapsed, fresh = time.monotonic() - self._started, done - sum(self._gone.values())
        return elapsed * (self._total_epochs - done) / fresh if fresh > 0 else math.nan

    def _counts(self) -> str:
        bad = [f"{n} {name}" for n, name in ((self._diverged, "diverged"), (self._failed, "failed")) if n]
        return f" ({', '.join(bad)})" if bad else ""

    def _left(self) -> str:
        seconds = self._seconds_left()
        return "" if math.isnan(seconds) else f"about {duration(seconds)} left"

    def _render(self) -> Group:
        self._bars.update(self._bar, completed=self._finished, left=self._left() + self._counts())
        table = Table("variant", "seed", "epoch", "validation accuracy", box=None, padding=(0, 2), header_style="dim")
        for run_id, run in self._running.items():
            bar = _bar(run["epoch"], self._epochs.get(run_id, 1))
            table.add_row(Text(str(run["variant"])), str(run["seed"]), bar, _percent(run.get("val_accuracy")))
        return Group(self._bars, table)

    def _line(self) -> str:
        running = [
            f"{run['variant']} seed {run['seed']} epoch {run['epoch']}/{self._epochs.get(run_id, '?')}"
            + (f" val {_percent(run['val_accuracy'])}" if run.get("val_accuracy") is not None else "")
            for run_id, run in self._running.items()
        ]
        parts = [f"{self._finished}/{len(self._epochs)} runs{self._counts()}", self._left(), "; ".join(running)]
        return " | ".join(part for part in parts if part)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}%"


def _bar(done: int, total: int) -> str:
    width = 20
    filled = round(width * done / max(total, 1))
    return f"{'━' * filled}{'─' * (width - filled)} {done}/{total}"


def duration(seconds: float) -> str:
    """Seconds in hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
