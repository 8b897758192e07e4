"""Tracking runs in Weights & Biases, as who trains them sees it: messages to a process of its own, and never a wait.

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
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness import signals, wandbdir
from harness.cache import Dataset
from harness.errors import unknown
from harness.outputs import impersonal
from harness.progress import Pause
from harness.study import Run
from harness.version import code_version

MODES = ("offline", "online", "disabled")
# What W&B calls them in its own variable, old names too.
NAMED_MODES = {**{mode: mode for mode in MODES}, "dryrun": "offline", "run": "online", "shared": "online"}
FINISH_SECONDS = 60.0  # that a study waits for W&B at its end,
WRITE_SECONDS = 0.5  # and for each run that is yet to be written
SILENCE_SECONDS = 35.0  # after which a process hangs; W&B's own limits are below that
LAST_WORDS_SECONDS = 0.5  # to close open runs when the study is stopped
POLL_SECONDS = 0.05
MAX_BACKLOG = 10_000  # messages that wait while W&B hangs; epochs beyond that are sent from the run's folder
BATCH_SECONDS = 2.0  # between messages handed on: many at once cost less than one by one

# What we say ourselves, and a service that is not ours to end.
NOT_PASSED_ON = {f"WANDB_{name}" for name in ("MODE", "NAME", "JOB_TYPE", "SERVICE")}
# Which run of which sweep it is: the business of one that is alone.
OF_ONE_RUN = {
    f"WANDB_{name}" for name in ("RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "SWEEP_ID", "SWEEP_PARAM_PATH")
}
YES = ("1", "true", "yes", "on")  # of WANDB_DISABLED, which W&B itself no longer reads, and other libraries do

Message = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What tracked runs belong to.

    Attributes
    ----------
    kind : str
        ``study``, ``search``, or ``run`` for one that is alone: W&B's variables may then say which one it is.
    facts : dict
        Configuration of the run at W&B that stands for the whole; ``study`` is its name.
    trials : bool
        Whether the runs are trials of a search: what they do on the test images is nobody's business then.
    """

    kind: str
    facts: Message
    trials: bool = False


def chosen_mode(option: str | None) -> str | None:
    """Where runs go, by the option or else by WANDB_MODE or WANDB_DISABLED; None leaves it to W&B's settings and key.

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
    if option is None and not named and os.environ.get("WANDB_DISABLED", "").lower() in YES:
        return "disabled"
    return option or NAMED_MODES.get(named)


class Tracker:
    """Tracks the runs of a request; no method raises what W&B is the reason of, and only `close` waits.

    Parameters
    ----------
    mode : str or None
        As from `chosen_mode`.
    subject, dataset : Subject, Dataset
        What the runs are for, and what they train on.
    runs : sequence of (str, Run)
        Those that are known, with their names.
    folder, runs_folder : Path
        Where the tables and the runs are.
    console : Console
        Where to say the little that there is to say.
    """

    def __init__(
        self, mode: str | None, subject: Subject, dataset: Dataset, runs: Sequence[tuple[str, Run]], folder: Path,
        runs_folder: Path, console: Console,
    ) -> None:  # fmt: skip
        self._mode, self._console = mode, console
        self._off = mode == "disabled"
        self.disabled = self._off  # by the option or the environment, or, once its process is asked, by W&B's settings
        self._folder, self._runs_folder = folder.absolute(), runs_folder.absolute()
        self._root = Path(os.environ["WANDB_DIR"]).absolute() if os.environ.get("WANDB_DIR") else self._folder
        self._shown = Path(os.environ.get("WANDB_DIR") or folder) / "wandb"
        self._group = self._scope = f"{subject.facts['study']}/{folder.name}"
        self._alone = subject.kind == "run"
        if self._alone:
            self._scope += f"/{os.environ.get('WANDB_RUN_ID') or runs[0][0]}"
        self._subject, self._dataset, self._runs = subject, dataset, dict(runs)
        self._pruned: dict[str, list[float]] = {}  # accuracies by epoch of runs that were stopped early
        self._process: _Process | None = None
        self._sent: set[str] = set()  # of the process at hand
        self._replaced = self._closed = self._incomplete = self._ending = False
        self._url = ""
        self._heard_seconds = 0.0  # when the process last said something; 0 for one that is still starting

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
            elif event["kind"] == "epoch" and self._process is not None and self._process.backlog() < MAX_BACKLOG:
                self._send(event)  # what is left out is stored
        self._listen()

    def add(self, run_id: str, run: Run, pruned: Sequence[float] | None = None) -> None:
        """One more run is to be tracked; ``pruned`` has the accuracies of one that was stopped early and not stored."""
        self._runs[run_id] = run
        self._pruned.pop(run_id, None)
        if pruned is not None:
            self._pruned[run_id] = list(pruned)

    def finish(self, run_id: str, status: str, reason: str) -> None:
        """One run has ended, and is stored unless it failed or was stopped."""
        self._sent.add(run_id)
        message: Message = {"kind": "finish", "run_id": run_id, "status": status, "reason": impersonal(reason)}
        if run_id in self._pruned:
            epochs = [{"epoch": i, "val_accuracy": each} for i, each in enumerate(self._pruned[run_id], start=1)]
            message |= {"epochs": epochs, "stamp": self._stamp(run_id)}
        self._send({**message, **self._facts(run_id)})

    def stop(self, run_id: str, seconds: float) -> None:
        """A run was stopped by who drives it: close it as it is, and wait for that, but not for long."""
        self.finish(run_id, "stopped", "")
        self._end(seconds)

    def close(self, tables: bool = True, say: bool = True) -> bool:
        """Track what is stored and not tracked yet, and the tables; wait until it is done, but not for ever.

        Parameters
        ----------
        tables : bool
            Whether there is a run that stands for the whole.
        say : bool
            Whether to say where the runs are.

        Returns
        -------
        bool
            Whether W&B has all of it, where it was asked to: not what was to be sent and is kept offline instead.
        """
        if self._off:
            return False
        self._ending = True
        rest = self._send_rest(tables)
        patience_seconds = FINISH_SECONDS + WRITE_SECONDS * rest
        end = time.monotonic() + patience_seconds
        self._heard_seconds = time.monotonic() if self._heard_seconds else 0.0
        with Pause(self._console, "W&B") as pause:
            while self._process is not None and not self._closed:
                process = self._process
                self._listen()
                silent_seconds = time.monotonic() - self._heard_seconds if self._heard_seconds else 0.0
                if silent_seconds > SILENCE_SECONDS and not self._replaced:
                    self._break(f"it has not answered for {SILENCE_SECONDS:.0f} s", False)
                if process is not self._process:  # another one took its place, which knows of nothing yet
                    self._send_rest(tables)
                signals.checkpoint()
                pause.update("sending the last runs")
                if time.monotonic() > end:
                    self._give_up(f"it was not done {patience_seconds:.0f} s after the {self._subject.kind}")
                time.sleep(POLL_SECONDS)
        self._end(LAST_WORDS_SECONDS)
        if say and not self._off:
            self._say_where()
        return not (self._off or self._incomplete)

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
                self._process = _Process(self._hello(), NOT_PASSED_ON | (set() if self._alone else OF_ONE_RUN))
        except OSError as error:  # no folder, no memory for another process
            self._give_up(f"{self._shown}: {error.strerror or error}")

    def _facts(self, run_id: str) -> Message:
        """What is known of a run before it ends."""
        run = self._runs[run_id]
        return {"variant": run.variant, "config": json.loads(run.config.canonical())}

    def _hello(self) -> Message:
        return {
            "kind": "hello",
            "root": str(self._root),
            "mode": self._mode,
            "group": self._group,
            "scope": self._scope,
            "study": {**self._subject.facts, "dataset": self._dataset.name},
            "trials": self._subject.trials,
            "tables": str(self._folder),
            "runs_folder": str(self._runs_folder),
            "class_names": list(self._dataset.class_names),
            "circumstances": {"data_fingerprint": self._dataset.fingerprint, "code_version": code_version()},
        }

    def _listen(self) -> None:
        for answer in self._process.answers() if self._process is not None else ():
            self._heard_seconds = time.monotonic()
            if answer["kind"] == "failed":
                self._break(answer["reason"], answer["final"])
                return  # the rest are the last words of a process that is gone
            if answer["kind"] == "skipped":
                self._incomplete = True
                self._say(f"W&B: {impersonal(answer['reason'])}. It is not tracked.")
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
        kept = "it is kept offline" if self._alone else "its runs are kept offline"
        what = "The rest is kept offline" if self._ending else f"The {self._subject.kind} goes on; {kept}"
        self._say(f"W&B: {impersonal(reason)}. {what}.")
        self._incomplete |= self._mode != "offline"  # it was to be sent, or was to be as far as is known
        self._replaced, self._mode = True, "offline"
        self._sent.clear()
        self._heard_seconds = 0.0
        self._start()

    def _give_up(self, reason: str) -> None:
        self._off = True
        self._end(0.0)
        self.disabled = not reason
        if reason:
            kind = self._subject.kind
            later = "python -m harness.track" if kind == "study" else "the same command"
            self._say(f"W&B: {impersonal(reason)}. The {kind} is not tracked; {later} does it afterwards.")

    def _stamp(self, run_id: str) -> str | None:
        """What names the content of a run; None when there is none."""
        if run_id in self._pruned:
            return wandbdir.digest(json.dumps(self._pruned[run_id]).encode())
        return wandbdir.run_stamp(self._runs_folder / run_id)

    def _send_rest(self, tables: bool) -> int:
        """Have written what is stored but not tracked; returns how many runs are to be waited for."""
        marks = wandbdir.marks(self._root / "wandb", self._scope)
        for name in self._runs:
            stamp = self._stamp(name)
            mark = marks.get(wandbdir.wandb_id(name, self._scope))
            if stamp is not None and name not in self._sent and not wandbdir.is_current(mark, stamp, self._mode):
                self.finish(name, "pruned" if name in self._pruned else "stored", "")
        stamp = wandbdir.tables_stamp(self._folder) if tables else None
        mark = marks.get(wandbdir.wandb_id("study", self._scope))
        if stamp is not None and not wandbdir.is_current(mark, stamp, self._mode):
            self._send({"kind": "study"})
        if self._process is not None:
            self._process.send({"kind": "close"})
        return len(self._sent)

    def _say_where(self) -> None:
        """Where the runs are that were sent; how to look at those that were not, and how to send them."""
        place = shlex.quote(str(self._shown))
        if self._url:
            self._say(f"W&B: {self._url}")
        if not all(mark["sent"] for mark in wandbdir.marks(self._root / "wandb", self._scope).values()):
            self._say(f"W&B: kept offline. Look at it: wandb leet {place}   Send it: wandb sync {place}")

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class _Process:
    """The process that talks to W&B; a thread feeds it and a thread listens, so that nobody else ever waits."""

    def __init__(self, hello: Message, not_passed_on: Collection[str]) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        environment = {name: value for name, value in os.environ.items() if name not in not_passed_on}
        environment = {k: v for k, v in environment.items() if v or not k.startswith("WANDB_")}  # empty is unset
        if settings := environment.get("WANDB_SWEEP_PARAM_PATH"):
            environment["WANDB_SWEEP_PARAM_PATH"] = os.path.abspath(settings)  # the process works in another folder
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
