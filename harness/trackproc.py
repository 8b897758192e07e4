"""The process that talks to W&B: one per command, fed by ``harness.tracking`` with a JSON message a line.

It alone imports wandb, whose calls may block, print, fail or take the process down: whatever happens here, the study
does not notice. The first message says where and what; then come ``start``, ``epoch`` and ``finish`` of runs, ``study``
when the tables are written, and ``close``. If the input ends without that, the command has died: what is open is closed
as failed, and the next command writes it again. Answers: ``tracked`` per run that is whole, ``skipped`` with a reason
for what cannot be read from our folders, ``failed`` with a reason when no more will come, ``closed`` at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import wandbdir, wandblog
from harness.trackerrors import UnwantedError, complaint, failure

Message = dict[str, Any]
FINISHERS = 8  # runs whose last data are sent at a time
NICENESS = 10  # training goes first
ORPHAN_SECONDS = 20.0  # to close what is open when the command has died
UNSTORED = ("failed", "pruned", "stopped")

# Nothing of this machine, its user or this process is recorded: no host, paths, packages, git state, console, usage.
PRIVATE: dict[str, Any] = {
    **dict.fromkeys(("silent", "disable_git", "disable_code", "disable_job_creation", "label_disable"), True),
    **dict.fromkeys(("x_disable_meta", "x_disable_stats", "x_disable_machine_info", "x_disable_viewer"), True),
    **dict.fromkeys(("save_code", "x_save_requirements", "symlink", "use_dot_wandb"), False),
    **dict.fromkeys(("host", "program", "x_executable"), ""),
    "console": "off",
}
BEHAVIOUR: dict[str, Any] = {
    "finish_timeout_raises": True,
    "x_transaction_log_flush_interval": 5.0,  # seconds until an epoch can be seen by who reads W&B's file
}
TIMEOUTS = {"init_timeout": 15.0, "finish_timeout": 30.0}  # seconds, where the environment has no others


@dataclass
class Live:
    """A run that W&B holds open, and the epochs it has."""

    run: Any
    epochs: int
    sent: int = field(default=0)


@dataclass
class Lost:
    """A run whose worker died: W&B holds one run of an id, so what comes after it waits until it is closed."""

    closing: Future[None]
    messages: list[Message]


class Host:
    """The runs of one study at W&B.

    Parameters
    ----------
    hello : dict
        ``root`` (where W&B's folder is), ``mode`` (or None), ``group``, ``scope`` (what ids are made from: the group,
        or one run in it), ``study`` (its facts), ``trials`` (whether runs are trials of a search: of the test images
        nothing is told then), ``tables``, ``runs_folder``, ``class_names``, ``circumstances`` (of all runs).
    speak : callable
        Takes an answer.
    """

    def __init__(self, hello: Message, speak: Callable[[Message], None]) -> None:
        self._hello, self._speak = hello, speak
        self._group: str = hello["group"]
        self._scope: str = hello["scope"]
        self._root = Path("wandb")
        self._live: dict[str, Live] = {}
        self._lost: dict[str, Lost] = {}
        self._ended: set[str] = set()
        self._finishing = ThreadPoolExecutor(FINISHERS)
        os.chdir(hello["root"])  # so that W&B's own records hold no path to here
        self._staging = wandbdir.staging(self._root, self._scope)
        (self._staging / "tmp").mkdir(parents=True, exist_ok=True)
        self._lock = None if os.environ.get("WANDB_RUN_ID") else wandbdir.lock(self._staging.with_suffix(".lock"))
        for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
            os.environ.setdefault(f"WANDB_{name}_DIR", str(self._staging / name.lower()))
        tempfile.tempdir = str(self._staging / "tmp")
        self._wandb = _import()
        wandbdir.sweep(self._root, self._scope)
        self._older = wandbdir.folders(self._root, self._scope)
        timeouts = {key: value for key, value in TIMEOUTS.items() if f"WANDB_{key.upper()}" not in os.environ}
        own = os.path.expanduser("~/.config/wandb/settings")
        self._tags = _own_tags(os.environ.pop("WANDB_TAGS", ""))
        wanted = {"settings_system": own, "root_dir": ".", "stop_fn": _ignore, **timeouts, **BEHAVIOUR, **PRIVATE}
        try:
            settings = self._wandb.setup(self._wandb.Settings(**wanted)).settings  # of all runs: for each it takes long
        except Exception as error:  # of the environment or of W&B's own file; offline they would be refused as well
            raise UnwantedError(complaint(error)) from error
        self._project = settings.project or wandbdir.PROJECT
        self.mode = hello["mode"] or _usual_mode(settings)
        if self.mode == "disabled":
            raise UnwantedError("")

    def take(self, message: Message) -> None:
        """Do what a message says, after what waited for runs that are closed by now."""
        for run_id in [run_id for run_id, lost in self._lost.items() if lost.closing.done()]:
            self._go_on(run_id)
        self._do(message)

    def _go_on(self, run_id: str) -> None:
        """Do what was to wait until a lost run is closed."""
        lost = self._lost.pop(run_id)
        wait([lost.closing])
        for message in lost.messages:
            self._do(message)

    def _do(self, message: Message) -> None:
        kind, run_id = message["kind"], message.get("run_id")
        if run_id in self._lost:
            self._lost[run_id].messages.append(message)
        elif kind == "start" and run_id in self._live:
            self._lost[run_id] = Lost(self._finishing.submit(self._drop, self._live.pop(run_id).run), [message])
        elif kind == "start" and run_id not in self._ended:  # news may come late
            self._start(message)
        elif kind == "epoch":
            self._epoch(message)
        elif kind == "finish":
            self._finish(message)
        elif kind == "study":
            self._study()

    def close(self) -> None:
        """Close what is still open as failed, and wait until W&B has everything."""
        while self._lost:
            self._go_on(next(iter(self._lost)))
        for live in self._live.values():
            self._finishing.submit(live.run.finish, exit_code=1)
        self._live.clear()
        self._finishing.shutdown(wait=True)
        self._wandb.teardown()
        shutil.rmtree(self._staging, ignore_errors=True)

    def _start(self, message: Message) -> None:
        """Open a run."""
        from harness.tracked import NAME_LENGTH, TAG_LENGTH, short

        run_id, config, variant = message["run_id"], message["config"], message["variant"]
        facts = {"study": self._hello["study"]["study"], "variant": variant, "run_id": run_id}
        run = self._open(
            run_id,
            name=short(f"{variant} seed {config['seed']}", NAME_LENGTH),
            job_type=short("trial" if self._hello["trials"] else variant, TAG_LENGTH),
            tags=[config["dataset"], config["engine"]],
            config={**config, **facts, **self._hello["circumstances"]},
        )
        run.define_metric("*", step_metric="epoch", step_sync=True)
        self._live[run_id] = Live(run, config["epochs"])

    def _epoch(self, message: Message) -> None:
        """Send an epoch, but for the last one, which goes with the tables; of two lost ones the end has all."""
        from harness.tracked import row

        live = self._live.get(message["run_id"])
        ended = message["val_loss"] is None or message["train_loss"] is None
        if live is None or ended or not live.sent + 1 == message["epoch"] < live.epochs:
            return
        record = {key: value for key, value in message.items() if key not in ("kind", "run_id", "histograms")}
        live.run.log(row(record, message["histograms"]))
        live.sent += 1

    def _finish(self, message: Message) -> None:
        """Send what a run's folder holds beyond what was sent, and close it."""
        from harness.tracked import StoredFolder, alias, safe

        run_id, config, trials = message["run_id"], message["config"], self._hello["trials"]
        self._ended.add(run_id)
        if message["status"] in UNSTORED:
            self._break_off(message)
            return
        folder = Path(self._hello["runs_folder"]) / run_id
        stamp = wandbdir.run_stamp(folder)
        try:  # all of it first: what cannot be read should not be begun
            stored = StoredFolder(folder, self._hello["study"])
            *rows, last = stored.rows(self._live[run_id].sent if run_id in self._live else 0) or [{}]
            tables = {} if trials else stored.tables(self._hello["class_names"])
            model = None if trials else stored.model(safe(self._group))
        except Exception as error:
            self._skip(f"run {run_id}", error)
            self._break_off({**message, "status": "failed", "reason": "its folder cannot be read"})
            return
        if run_id not in self._live:
            self._start(message)
        run = self._live.pop(run_id).run
        for row in rows:
            run.log(row)
        run.log({**last, **tables})
        run.summary.update(stored.without_test() if trials else stored.summary)
        if model is not None:
            run.log_artifact(model, aliases=[alias(message["variant"], config["seed"])])
        self._end(run, stamp or "")

    def _skip(self, what: str, error: Exception) -> None:
        """Tell of something of ours that cannot be read, unless the error is not about it alone."""
        answer = failure(error)
        if answer["final"]:
            raise error
        self._speak({"kind": "skipped", "reason": f"{what} cannot be read: {answer['reason']}"})

    def _break_off(self, message: Message) -> None:
        """Close a run that has left no folder, with the epochs that are known; without any it need not be there."""
        run_id, status, epochs = message["run_id"], message["status"], message.get("epochs", [])
        if run_id not in self._live and epochs:
            self._start(message)
        if run_id not in self._live:
            return
        live = self._live.pop(run_id)
        for record in epochs[live.sent :]:
            live.run.log(record)
        live.run.summary.update({"status": status, "reason": message["reason"]})
        self._end(live.run, message.get("stamp") or status, exit_code=int(status == "failed"))

    def _study(self) -> None:
        """Write the run that stands for the study: tables, figures, the best model."""
        from harness.tracked import NAME_LENGTH, StoredFolder, StudyTables, safe, short

        folder, facts = Path(self._hello["tables"]), self._hello["study"]
        stamp, model = wandbdir.tables_stamp(folder), None
        try:
            tables = StudyTables(folder)
            content, overview, best = tables.figures(), tables.overview(), tables.best()
        except Exception as error:
            self._skip(f"{folder.name}: a table or a figure", error)
            return
        if best:
            try:
                stored = StoredFolder(Path(self._hello["runs_folder"]) / best["run_id"], facts)
                model = stored.model(safe(self._group))
            except Exception as error:
                self._skip(f"the best run, {best['run_id']},", error)
        texts = (f"{name}: {facts[name]}" for name in ("question", "expectation", "finding") if facts.get(name))
        run = self._open(
            "study",
            name=short(self._group, NAME_LENGTH),
            job_type="study",
            tags=["study", facts["dataset"]],
            config={**facts, **self._hello["circumstances"]},
            notes="\n\n".join(texts),
        )
        run.log(content)
        run.summary.update(overview)
        if model is not None:
            run.log_artifact(model, aliases=["best"])
        self._end(run, stamp or "")

    def _open(self, identity: str, tags: list[str], **facts: Any) -> Any:
        """A new run at W&B under the id that belongs to a run id, or to "study", if the environment has no other."""
        from harness.tracked import NAME_LENGTH, TAG_LENGTH, short

        run = self._wandb.init(
            id=os.environ.get("WANDB_RUN_ID") or wandbdir.wandb_id(identity, self._scope),
            dir=".",
            mode=self.mode,
            project=self._project,
            group=short(os.environ.get("WANDB_RUN_GROUP") or self._group, NAME_LENGTH),
            tags=list(dict.fromkeys(short(tag, TAG_LENGTH) for tag in [*tags, *self._tags])),
            reinit="create_new",
            **facts,
        )
        # Files that wait to be sent lie with the run they belong to, and go with it.
        os.environ["WANDB_DATA_DIR"] = str(Path(run.dir).parent / "staging")
        return run

    def _end(self, run: Any, stamp: str, exit_code: int = 0) -> None:
        """Close a run, beside the others; when W&B has it all, mark it as whole and remove logs and older folders."""

        def end() -> None:
            try:
                folder = self._closed(run, exit_code)
                wandbdir.write_mark(folder, stamp, self.mode)
                for older in (folder / "logs", folder / "tmp", *self._older.get(run.id, ())):
                    shutil.rmtree(older, ignore_errors=True)
                self._older[run.id] = [folder]
                self._speak({"kind": "tracked", "url": run.project_url if self.mode == "online" else ""})
            except Exception as error:  # whoever waits for this run is not there any more
                self._speak(failure(error))

        self._finishing.submit(end)

    def _drop(self, run: Any) -> None:
        """Close a lost run and remove what is kept of it: another one of its id takes its place."""
        with suppress(Exception):  # if W&B has failed, that one will see it
            self._closed(run, 1)
        shutil.rmtree(Path(run.dir).parent, ignore_errors=True)

    def _closed(self, run: Any, exit_code: int) -> Path:
        """The folder of a run that is closed and written to its end."""
        run.finish(exit_code=exit_code)
        folder = Path(run.dir).parent
        if self.mode != "online":
            wandblog.wait_for_end(folder / f"run-{run.id}.wandb")
        return folder


def _import() -> Any:
    try:
        import wandb
    except ImportError as error:
        missing = error.name == "wandb" or error.name is None
        raise UnwantedError("wandb is not installed" if missing else f"wandb cannot be imported: {error}") from error
    return wandb


def _own_tags(text: str) -> list[str]:
    """Tags that the environment names; W&B would refuse them all for one that is empty or too long."""
    return [tag for each in text.split(",") if (tag := each.strip())]


def _usual_mode(general: Any) -> str:
    """What to do when nobody said: as W&B's own settings have it; online only with a key."""
    if general.mode in ("offline", "dryrun", "disabled"):
        return "offline" if general.mode == "dryrun" else str(general.mode)
    try:
        from wandb.sdk.lib import wbauth

        key = wbauth.authenticate_session(host=general.base_url, source="", prompt=False, update_session=False)
    except Exception:  # a key that is none, or a library that keeps keys elsewhere
        return "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return "online" if key else "offline"


def _follow(parent: int) -> None:
    """End this process soon after the command has died, whatever it is doing then."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _ignore() -> None:
    """What happens when somebody stops a run on W&B's pages: nothing."""


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)  # W&B and its service may print what they like
    os.dup2(nothing, 2)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    speaking = threading.Lock()

    def speak(message: Mapping[str, Any]) -> None:
        with speaking:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    if hasattr(os, "nice"):
        os.nice(NICENESS)
    messages = map(json.loads, sys.stdin)
    try:
        host = Host(next(messages), speak)
        speak({"kind": "open", "mode": host.mode})
        for message in messages:
            if message["kind"] == "close":
                break
            host.take(message)
        host.close()
        speak({"kind": "closed"})
        os._exit(0)  # all is done; what W&B does at a normal exit would only take time
    except Exception as error:  # whatever W&B raises; who reads the answers decides what becomes of it
        speak(failure(error))
        os._exit(1)  # no tidying up with what has failed


if __name__ == "__main__":
    main()
