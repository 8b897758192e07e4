"""Tracking a study in Weights & Biases, as the study sees it: messages to a process of its own, and never a wait.

All that talks to W&B happens in ``harness.trackproc``. This side starts that process, hands on what happens, and reads
its answers; a process that breaks is replaced once, by one that keeps the runs offline. What became of each run is
seen in W&B's folder (``harness.wandbdir``), so nothing is tracked twice and nothing that a kill cut short is left out.
Only the end waits, for a bounded time.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness import signals, wandbdir
from harness.cache import Dataset
from harness.errors import unknown
from harness.outputs import impersonal
from harness.progress import Pause
from harness.study import Run, Study
from harness.version import code_version

MODES = ("offline", "online", "disabled")
# What W&B calls them in its own variable, old names too.
NAMED_MODES = {**{mode: mode for mode in MODES}, "dryrun": "offline", "run": "online", "shared": "online"}
FINISH_SECONDS = 60.0  # that a study waits for W&B at its end,
WRITE_SECONDS = 0.5  # and for each run that is yet to be written
LAST_WORDS_SECONDS = 0.5  # to close open runs when the study is stopped
POLL_SECONDS = 0.05
MAX_BACKLOG = 10_000  # messages that wait while W&B hangs; epochs beyond that are sent from the run's folder
BATCH_SECONDS = 2.0  # between messages handed on: many at once cost less than one by one

# One run's business, not that of all runs of a study; and a service that is not ours to end.
NOT_PASSED_ON = {f"WANDB_{name}" for name in ("MODE", "RUN_ID", "NAME", "JOB_TYPE", "RESUME", "SWEEP_ID", "SERVICE")}

Message = dict[str, Any]


def chosen_mode(option: str | None) -> str | None:
    """Where runs go, by the option or else by WANDB_MODE; None leaves it to W&B's settings and to whether it has a key.

    Raises
    ------
    UserError
        When one of them names no mode.
    """
    if option is not None and option not in MODES:
        raise unknown("mode", option, MODES, "--wandb")
    named = os.environ.get("WANDB_MODE", "").lower()
    if option is None and named and named not in NAMED_MODES:
        raise unknown("mode", named, NAMED_MODES, "WANDB_MODE")
    return option or NAMED_MODES.get(named)


class Tracker:
    """Tracks the runs of a request; no method raises what W&B is the reason of, and only `close` waits.

    Parameters
    ----------
    mode : str or None
        As from `chosen_mode`.
    study, dataset : Study, Dataset
        What is run, on what.
    runs : sequence of (str, Run)
        All runs of the request, with their names.
    folder, runs_folder : Path
        Where the tables and the runs are.
    console : Console
        Where to say the little that there is to say.
    """

    def __init__(
        self, mode: str | None, study: Study, dataset: Dataset, runs: Sequence[tuple[str, Run]], folder: Path,
        runs_folder: Path, console: Console,
    ) -> None:  # fmt: skip
        self._mode, self._console = mode, console
        self._off = mode == "disabled"
        self._folder, self._runs_folder = folder.absolute(), runs_folder.absolute()
        self._root = Path(os.environ["WANDB_DIR"]).absolute() if os.environ.get("WANDB_DIR") else self._folder
        self._shown = Path(os.environ.get("WANDB_DIR") or folder) / "wandb"
        self._group = f"{study.name}/{folder.name}"
        self._study, self._dataset, self._runs = study, dataset, dict(runs)
        self._process: _Process | None = None
        self._sent: set[str] = set()  # of the process at hand
        self._replaced = self._closed = False
        self._url = ""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(LAST_WORDS_SECONDS)

    def _end(self, seconds: float) -> None:
        if self._process is not None:
            with signals.ignored():
                self._process.end(seconds)
            self._process = None

    def update(self, events: Iterable[Mapping[str, Any]] = ()) -> None:
        """Hand on news from workers, and see how W&B is doing."""
        for event in events:
            if event["kind"] == "start":
                self._send({**event, **self._facts(event["run_id"])})
            elif self._process is not None and self._process.backlog() < MAX_BACKLOG:  # what is left out is stored
                self._send(event)
        self._listen()

    def finish(self, run_id: str, status: str, reason: str) -> None:
        """One run has ended, and is stored unless it failed."""
        self._sent.add(run_id)
        message = {"kind": "finish", "run_id": run_id, "status": status, "reason": impersonal(reason)}
        self._send({**message, **self._facts(run_id)})

    def close(self, tables: bool = True) -> bool:
        """Track what is stored and not tracked yet, and the tables; wait until it is done, but not for ever.

        Returns
        -------
        bool
            Whether W&B has all of it.
        """
        if self._off:
            return False
        rest = self._send_rest(tables)
        end = time.monotonic() + FINISH_SECONDS + WRITE_SECONDS * rest
        with Pause(self._console, "W&B") as pause:
            while self._process is not None and not self._closed:
                process = self._process
                self._listen()
                if process is not self._process:  # another one took its place, which knows of nothing yet
                    self._send_rest(tables)
                signals.checkpoint()
                pause.update("sending the last runs")
                if time.monotonic() > end:
                    self._give_up(f"it was not done {FINISH_SECONDS + WRITE_SECONDS * rest:.0f} s after the study")
                time.sleep(POLL_SECONDS)
        self._end(LAST_WORDS_SECONDS)
        if not self._off:
            self._say_where()
        return not self._off

    def _send(self, message: Mapping[str, Any]) -> None:
        """Give a message to the process, which is started by the first one."""
        if self._off:
            return
        if self._process is None:
            self._start()
        if self._process is not None:
            self._process.send(message)

    def _start(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with signals.deferred():
                self._process = _Process(self._hello())
        except OSError as error:  # no folder, no memory for another process
            self._give_up(f"{self._shown}: {error.strerror or error}")

    def _facts(self, run_id: str) -> Message:
        """What is known of a run before it ends."""
        run = self._runs[run_id]
        return {"variant": run.variant, "config": json.loads(run.config.canonical())}

    def _hello(self) -> Message:
        study = self._study
        facts = {
            "study": study.name,
            "title": study.title,
            "question": study.question,
            "expectation": study.expectation,
            "finding": study.finding,
            "baseline": study.baseline,
            "variants": list(study.variants),
            "seeds": study.seeds,
            "changes": list(study.changes),
            "dataset": self._dataset.name,
        }
        return {
            "kind": "hello",
            "root": str(self._root),
            "mode": self._mode,
            "group": self._group,
            "study": facts,
            "tables": str(self._folder),
            "runs_folder": str(self._runs_folder),
            "class_names": list(self._dataset.class_names),
            "circumstances": {"data_fingerprint": self._dataset.fingerprint, "code_version": code_version()},
        }

    def _listen(self) -> None:
        for answer in self._process.answers() if self._process is not None else ():
            if answer["kind"] == "failed":
                self._break(answer["reason"], answer["final"])
                return  # the rest are the last words of a process that is gone
            if answer["kind"] == "open":
                self._mode = answer["mode"]
            self._url = answer.get("url") or self._url
            self._closed = self._closed or answer["kind"] == "closed"
            if answer["kind"] == "end" and not self._closed:
                self._break("its process died", False)
                return

    def _break(self, reason: str, final: bool) -> None:
        """W&B has failed: go on offline, once."""
        if final or self._replaced:
            self._give_up(reason)
            return
        self._end(0.0)
        self._say(f"W&B: {impersonal(reason)}. The study goes on; its runs are kept offline.")
        self._replaced, self._mode = True, "offline"
        self._sent.clear()
        self._start()

    def _give_up(self, reason: str) -> None:
        self._off = True
        self._end(0.0)
        if reason:
            words = "The study is not tracked; python -m harness.track does it afterwards."
            self._say(f"W&B: {impersonal(reason)}. {words}")

    def _send_rest(self, tables: bool) -> int:
        """Have written what is stored but not tracked; returns how many runs are to be waited for."""
        marks = wandbdir.marks(self._root / "wandb", self._group)
        for name in self._runs:
            stamp = wandbdir.run_stamp(self._runs_folder / name)
            mark = marks.get(wandbdir.wandb_id(name, self._group))
            if stamp is not None and name not in self._sent and not wandbdir.is_current(mark, stamp, self._mode):
                self.finish(name, "stored", "")
        stamp = wandbdir.tables_stamp(self._folder) if tables else None
        mark = marks.get(wandbdir.wandb_id("study", self._group))
        if stamp is not None and not wandbdir.is_current(mark, stamp, self._mode):
            self._send({"kind": "study"})
        if self._process is not None:
            self._process.send({"kind": "close"})
        return len(self._sent)

    def _say_where(self) -> None:
        """How to look at the runs, and how to send them."""
        place = shlex.quote(str(self._shown))
        if self._url:
            self._say(f"W&B: {self._url}")
        elif not all(mark["sent"] for mark in wandbdir.marks(self._root / "wandb", self._group).values()):
            self._say(f"W&B: kept offline. Look at it: wandb leet {place}   Send it: wandb sync {place}")

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class _Process:
    """The process that talks to W&B; a thread feeds it and a thread listens, so that nobody else ever waits."""

    def __init__(self, hello: Message) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
        environment.setdefault("WANDB_ERROR_REPORTING", "false")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.trackproc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is not for it
            encoding="utf-8",
        )
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._hurry = threading.Event()
        for act in (self._feed, self._hear):
            threading.Thread(target=act, daemon=True).start()
        self.send(hello)

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message."""
        self._messages.put(message)
        if message["kind"] == "close":
            self._hurry.set()

    def backlog(self) -> int:
        """How many messages wait."""
        return self._messages.qsize()

    def answers(self) -> list[Message]:
        """Answers that came since the last call."""
        found = []
        while not self._answers.empty():
            found.append(self._answers.get_nowait())
        return found

    def end(self, seconds: float) -> None:
        """End the process: give it a moment for its last words, then kill it; its own service follows it."""
        self._messages.put(None)
        self._hurry.set()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _feed(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        batch: list[Mapping[str, Any] | None] = []
        with suppress(OSError, ValueError):  # it has ended
            while None not in batch:
                batch = [self._messages.get()]
                self._hurry.wait(BATCH_SECONDS)
                while not self._messages.empty():
                    batch.append(self._messages.get_nowait())
                stream.writelines(json.dumps(message) + "\n" for message in batch if message is not None)
                stream.flush()
        with suppress(OSError, ValueError):
            stream.close()

    def _hear(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with suppress(OSError, ValueError), stream:
            for line in stream:
                self._answers.put(json.loads(line))
        self._answers.put({"kind": "end"})
