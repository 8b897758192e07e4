"""Workers of a cluster on their way to their first task: asked what they are, checked, and their machine made ready.

Workers that share a cache folder and a kind of processor form a site. A site is made ready once, by its first worker:
the data set is found there or sent, and kernels are compiled by all workers of the site that are there. Whoever comes
later finds both. Who gets which run is left to ``harness.cluster``.
"""

from __future__ import annotations

import pkgutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness import cache, remote
from harness.cache import Dataset
from harness.errors import UserError
from harness.link import GoneError, Link
from harness.remote import Extensions, Facts
from harness.worker import Kind

FACTS = "harness.remote:facts"  # what a worker is asked
PIECE_BYTES = 8 * 2**20  # of data, sent at a time


@dataclass(frozen=True)
class Needs:
    """What a study needs of a worker.

    Attributes
    ----------
    dataset : Dataset
        The data.
    kinds : sequence of Kind
        What its runs need compiled.
    extensions : Extensions
        Files that register some of it.
    """

    dataset: Dataset
    kinds: Sequence[Kind]
    extensions: Extensions

    @property
    def data(self) -> tuple[str, str]:
        """Name and fingerprint of the data."""
        return self.dataset.name, self.dataset.fingerprint


@dataclass(eq=False)
class Site:
    """Workers that share a cache folder and a kind of processor."""

    host: str  # of its first worker
    members: dict[str, Facts] = field(default_factory=dict)
    ready: bool = False
    at_it: str | None = None  # who makes it ready
    parts: deque[Any] = field(default_factory=deque)  # of kernels, to be compiled
    compiling: int = 0


class Muster:
    """Takes workers on.

    Parameters
    ----------
    link : callable
        Gives the link to call workers by.
    needs : Needs
        What they must have.
    on_ready : callable
        Called with a worker and what it is when it can take tasks.
    on_unfit : callable
        Called with a line that says why a worker cannot be used.

    Attributes
    ----------
    cpus : list of str
        Kinds of processors that have come.
    heard : float
        When a worker last gave a sign of life, by the link's clock.
    """

    def __init__(
        self, link: Callable[[], Link], needs: Needs, on_ready: Callable[[str, Facts], Any],
        on_unfit: Callable[[str], Any],
    ) -> None:  # fmt: skip
        self._link, self._needs = link, needs
        self._on_ready, self._on_unfit = on_ready, on_unfit
        self._asked: dict[str, int] = {}  # threads of workers that have not answered yet
        self._sites: dict[str, Site] = {}
        self.cpus: list[str] = []
        self.heard = 0.0

    @property
    def idle(self) -> bool:
        """Whether all workers that have come are ready or unfit."""
        return not self._asked and all(site.ready for site in self._sites.values() if site.members)

    def join(self, worker: str, threads: int) -> None:
        """A worker has come."""
        self._asked[worker] = threads
        # The name alone at first: a worker without this project cannot read calls of it, and ends over the first one.
        self._link().call(worker, pkgutil.resolve_name, FACTS, then=partial(self._have_project, worker))

    def leave(self, worker: str) -> None:
        """A worker has gone."""
        self._asked.pop(worker, None)
        for site in self._sites.values():
            site.members.pop(worker, None)

    def state(self) -> str:
        """How far it is, in words."""
        waiting = len(self._asked)
        busy = [site for site in self._sites.values() if site.members and not site.ready]
        parts = sum(len(site.parts) + site.compiling for site in busy)
        texts = [f"asking {waiting} workers what they are"] if waiting else []
        texts += [f"making {len(busy)} machines ready, {parts} parts to compile"] if busy else []
        return "; ".join(texts) or "waiting for workers"

    def _have_project(self, worker: str, answer: Any) -> None:
        if answer is remote.facts and worker in self._asked:
            self._link().call(worker, remote.facts, then=partial(self._have_facts, worker))
        else:
            self._have_facts(worker, answer)

    def _have_facts(self, worker: str, answer: Any) -> None:
        threads = self._asked.pop(worker, None)
        if threads is None or isinstance(answer, GoneError):
            return
        self.heard = self._link().clock
        reason = unfit(answer, threads)
        if reason:
            self._on_unfit(f"worker {worker}{reason}")
            return
        site = self._sites.setdefault(answer.site, Site(answer.host))
        site.members[worker] = answer
        if answer.cpu not in self.cpus:
            self.cpus.append(answer.cpu)
        if site.ready:
            self._on_ready(worker, answer)
        elif site.at_it is None:
            self._prepare(site)
        else:
            self._compile(site, worker)

    def _prepare(self, site: Site) -> None:
        """Begin to make a site ready, by its first worker."""
        site.at_it = next(iter(site.members), None)
        if site.at_it is not None:
            then = partial(self._have_data, site, site.at_it, False)
            self._link().call(site.at_it, remote.find_data, *self._needs.data, then=then)

    def _have_data(self, site: Site, worker: str, sent: bool, answer: Any) -> None:
        if isinstance(answer, GoneError):
            self._prepare(site)  # by the next one
        elif answer is True:
            self.heard = self._link().clock
            then = partial(self._have_parts, site, worker)
            self._link().call(worker, remote.kernel_parts, self._needs.kinds, self._needs.extensions, then=then)
        elif sent:
            self._give_up(site, f"the data set could not be put there: {_reason(answer)}")
        else:
            self._link().send(worker, list(pieces(self._needs.dataset)), partial(self._have_sent, site, worker))

    def _have_sent(self, site: Site, worker: str, answer: Any) -> None:
        if isinstance(answer, list):
            self.heard = self._link().clock
            arguments = (*self._needs.data, self._needs.dataset.folder.name, answer)
            self._link().call(worker, remote.keep_data, *arguments, then=partial(self._have_data, site, worker, True))
        else:
            self._have_data(site, worker, True, answer)

    def _have_parts(self, site: Site, worker: str, answer: Any) -> None:
        if isinstance(answer, GoneError):
            self._prepare(site)
            return
        if not isinstance(answer, Exception):  # else a run will say what is wrong
            site.parts.extend(answer)
        for member in list(site.members):
            self._compile(site, member)
        self._see(site)

    def _compile(self, site: Site, worker: str) -> None:
        """Give a worker the next part of the kernels."""
        if site.parts and worker in site.members:
            site.compiling += 1
            part = site.parts.popleft()
            then = partial(self._have_compiled, site, worker, part)
            self._link().call(worker, remote.compile_part, *part, self._needs.extensions, then=then)

    def _have_compiled(self, site: Site, worker: str, part: Any, answer: Any) -> None:
        site.compiling -= 1
        self.heard = self._link().clock
        self._compile(site, worker)
        self._see(site)

    def _see(self, site: Site) -> None:
        """A site whose kernels are compiled is ready; what died with its worker, a run will compile."""
        if site.at_it is not None and not site.parts and not site.compiling and not site.ready:
            site.ready = True
            for worker, facts in site.members.items():
                self._on_ready(worker, facts)
        elif site.parts and not site.compiling:  # all who compiled are gone
            site.parts.clear()
            self._prepare(site)

    def _give_up(self, site: Site, reason: str) -> None:
        for worker in site.members:
            self._on_unfit(f"worker {worker} on {site.host}: {reason}")
        site.members.clear()
        site.at_it = None


def unfit(answer: Any, threads: int) -> str:
    """Say why a worker cannot be used, as the rest of a sentence that begins with its address; empty if it can."""
    if isinstance(answer, ModuleNotFoundError):
        return f" lacks a module ({answer}): install the same ablation-bench there"
    if isinstance(answer, RuntimeError) and "deserialization" in str(answer):
        return " was never reached: the scheduler cannot read the call; install the same ablation-bench there, too"
    if not isinstance(answer, Facts):
        return f" cannot be asked what it is: {_reason(answer)}"
    here = remote.versions()
    for name, version in here.items():
        there = answer.versions.get(name)
        if there != version:
            return f" on {answer.host} has {name} {there}, this command {version}: results could differ"
    if threads != 1:
        return f" on {answer.host} runs {threads} tasks at a time: start workers with --nthreads 1, one for each core"
    many = [name for name, value in answer.threads.items() if value != "1"]
    if many:
        return f" on {answer.host} was started without {many[0]}=1: set it, or start workers with a nanny, which does"
    return ""


def pieces(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    """The files of a data set's cache entry, in pieces."""
    for name in ("meta.json", *cache.ARRAYS):
        with open(Path(dataset.folder) / name, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield name, piece


def _reason(answer: Any) -> str:
    """Any answer that is not the right one, as a line."""
    text = str(answer) if isinstance(answer, UserError) else f"{type(answer).__name__}: {answer}"
    return " ".join(text.split())[:300]
