"""Reading what is committed of a study, whatever state it is in: whole, half-finished or damaged.

Nothing here fails because of a file: what is missing or cannot be read is left out and said in one line each
(`StudyFolder.problems`). Tables are columns of texts, which become numbers when they are asked for. What is made of
them is the business of ``harness.pagedata`` and ``harness.paperfigures``.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import studyfile
from harness.errors import UserError, unknown
from harness.network import Array

Numbers = npt.NDArray[np.float64]

TABLES = ("summary", "runs", "history", "classes", "timing", "trials", "importances", "findings")
EXPECTED = {  # files without which a folder is incomplete, by what kind of folder it is
    "study": ("summary.csv", "runs.csv", "history.csv", "classes.csv", "details.npz", "environment.json"),
    "search": ("trials.csv", "history.csv", "importances.csv", "winner.json", "environment.json"),
}
NEEDED = {  # columns without which a table says nothing
    "summary": {"variant"},
    "runs": {"variant", "seed", "status"},
    "history": {"epoch"},
    "classes": {"variant", "class"},
    "trials": {"trial", "status"},
}
MARKS = ("summary.csv", "runs.csv", "trials.csv", "details.npz", "history.csv", "environment.json")
MAX_FIELD = 1 << 24  # characters of one cell; more is damage
DAMAGE = (OSError, ValueError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error)  # of an npz file
TEXTS = ("title", "question", "expectation", "finding")


@dataclass(frozen=True)
class Table:
    """Columns of texts, all of one length."""

    columns: dict[str, list[str]]
    rows: int

    def texts(self, name: str) -> list[str]:
        """A column as it is written; empty texts where there is none."""
        return self.columns.get(name) or [""] * self.rows

    def numbers(self, name: str) -> Numbers:
        """A column as float64 (rows,); NaN where there is no number."""
        return numbers(self.texts(name))


@dataclass
class StudyFolder:
    """What could be read of ``results/STUDY/DATASET/``.

    Attributes
    ----------
    path : Path
        The folder.
    study, dataset : str
        Names of the two folders.
    texts : dict
        `TEXTS` of the study's file; empty where it is not known.
    declared_baseline : str or None
        The baseline by the study's file.
    tables : dict of str to Table
        By name, of `TABLES`; those that could be read.
    details : dict of str to ndarray
        Arrays of ``details.npz`` that could be read.
    environment, winner : dict
        The two JSON files.
    problems : list of str
        What is missing or damaged, one line each.
    """

    path: Path
    study: str
    dataset: str
    texts: dict[str, str] = field(default_factory=dict)
    declared_baseline: str | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    details: dict[str, Array] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    winner: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_search(self) -> bool:
        """Whether it is a hyperparameter search; a study may have trials too, beside its runs."""
        return self.study == "sweep" or ("trials" in self.tables and not {"summary", "runs"} & self.tables.keys())

    @property
    def key(self) -> str:
        """Name of the folder below the results: ``STUDY/DATASET``."""
        return f"{self.study}/{self.dataset}"


def numbers(texts: Iterable[str]) -> Numbers:
    """Texts as float64; NaN where one is no number."""
    return np.array([_number(text) for text in texts], dtype=np.float64)


def find(results: Path, wanted: Sequence[str]) -> list[tuple[Path, Path | None]]:
    """Folders to show, with the study's file where the request names it.

    Without names: every study as written, but for requests that departed from it (``DATASET+…``). A name is a study,
    ``STUDY/DATASET``, or the path of a study's file.

    Raises
    ------
    UserError
        For a name without a folder, or when there is nothing to show at all.
    """
    there = sorted(
        folder
        for folder in results.glob("*/*")
        if folder.parent.name not in studyfile.RESERVED_NAMES
        and not folder.parent.name.startswith(".")
        and any((folder / mark).is_file() for mark in MARKS)
    )
    if not wanted:
        found: list[tuple[Path, Path | None]] = [(folder, None) for folder in there if "+" not in folder.name]
        if not found:
            raise UserError(f"{results} holds no tables of a study as written; python -m harness.ablate makes them")
        return found
    chosen: dict[Path, Path | None] = {}
    for name in wanted:
        file = Path(name) if name.endswith(".toml") else None
        study, _, dataset = (file.stem if file else name.strip("/")).partition("/")
        of_study = [folder for folder in there if folder.parent.name == study]
        matching = [folder for folder in of_study if folder.name == dataset or (not dataset and "+" not in folder.name)]
        if not matching and of_study and not dataset:
            departures = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in of_study)
            raise UserError(f"{results} holds no tables of {study} as written, but {departures}; name one of these")
        if not matching:
            allowed = {folder.parent.name for folder in there} | {f"{f.parent.name}/{f.name}" for f in of_study}
            raise unknown("study", name, allowed, f"{results}")
        chosen.update({folder: file or chosen.get(folder) for folder in matching})
    return list(chosen.items())


def read(path: Path, file: Path | None = None) -> StudyFolder:
    """Read a folder; whatever is wrong with it stands in ``problems``.

    Parameters
    ----------
    path : Path
        ``results/STUDY/DATASET``.
    file : Path, optional
        The study's file; without it a shipped study's is taken, or the one that the recorded command names.
    """
    folder = StudyFolder(path, study=path.parent.name, dataset=path.name)
    for name in TABLES:
        if (path / f"{name}.csv").exists():
            table = _read_table(path / f"{name}.csv", folder.problems)
            if table is not None and (lacking := NEEDED.get(name, set()) - set(table.columns)):
                folder.problems.append(f"{name}.csv: has no column {', '.join(sorted(lacking))}")
            elif table is not None:
                folder.tables[name] = table
    folder.details = _read_details(path / "details.npz", folder.problems)
    folder.environment = _read_json(path / "environment.json", folder.problems)
    folder.winner = _read_json(path / "winner.json", folder.problems)
    for name in EXPECTED["search" if folder.is_search else "study"]:
        if not (path / name).exists():
            folder.problems.append(f"{name}: not there")
    _read_study(folder, file)
    return folder


def _read_study(folder: StudyFolder, file: Path | None) -> None:
    """Take texts and the baseline from the study's file."""
    path = file or studyfile.shipped().get(folder.study) or _file_of_command(folder)
    if path is None:
        folder.problems.append("the study's file is not known here: no question, expectation and finding")
        return
    try:
        read = studyfile.read(path)
        folder.texts = {key: text for key in TEXTS if (text := read.text(key).strip())}
        folder.texts |= _texts_of_dataset(read.document, folder.dataset)
        if "+" in folder.dataset:  # the finding speaks of the study as written
            folder.texts.pop("finding", None)
    except UserError as error:
        if file is not None:
            raise
        folder.problems.append(f"the study's file: {error}")
        return
    baseline = read.document.get("baseline")
    folder.declared_baseline = baseline if isinstance(baseline, str) else None


def _texts_of_dataset(document: dict[str, Any], dataset: str) -> dict[str, str]:
    """Texts that a study's file has for one data set alone."""
    own = document.get("datasets", {})
    own = own.get(dataset.partition("+")[0], {}) if isinstance(own, dict) else {}
    return {key: own[key].strip() for key in TEXTS if isinstance(own, dict) and isinstance(own.get(key), str)}


def _file_of_command(folder: StudyFolder) -> Path | None:
    """The study's file that the recorded command names, if it is there."""
    with suppress(ValueError, OSError):
        for word in shlex.split(str(folder.environment.get("command", ""))):
            if word.endswith(".toml") and Path(word).stem == folder.study and Path(word).is_file():
                return Path(word)
    return None


def _read_table(path: Path, problems: list[str]) -> Table | None:
    """A CSV file; lines of another length than the header's are left out."""
    csv.field_size_limit(MAX_FIELD)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig", errors="replace").replace("\0", "�")
        header, *lines = csv.reader(io.StringIO(text, newline=""))
    except (OSError, csv.Error, ValueError) as error:
        reason = "empty" if isinstance(error, ValueError) else getattr(error, "strerror", None) or error
        problems.append(f"{path.name}: cannot be read ({reason})")
        return None
    whole = [line for line in lines if len(line) == len(header)]
    if len(whole) < len(lines):
        lost = len(lines) - len(whole)
        problems.append(f"{path.name}: {lost} damaged {'line' if lost == 1 else 'lines'} left out")
    if "�" in text and b"\xef\xbf\xbd" not in data:
        problems.append(f"{path.name}: holds bytes that are no text")
    columns = zip(*whole, strict=True) if whole else ((),) * len(header)
    return Table({name: list(column) for name, column in zip(header, columns, strict=True)}, len(whole))


def _read_details(path: Path, problems: list[str]) -> dict[str, Array]:
    """Arrays of an npz file, one by one, so that a damaged one does not take the others with it."""
    if not path.exists():
        return {}
    arrays: dict[str, Array] = {}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for name in file.files:
                with suppress(*DAMAGE):
                    arrays[name] = np.asarray(file[name])
            damaged = len(file.files) - len(arrays)
    except DAMAGE:
        problems.append(f"{path.name}: damaged")
        return {}
    if damaged:
        problems.append(f"{path.name}: {damaged} damaged {'array' if damaged == 1 else 'arrays'} left out")
    return arrays


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        problems.append(f"{path.name}: damaged")
        return {}
    return content


def _number(text: str) -> float:
    """A number, or NaN."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
