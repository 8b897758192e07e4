"""A search as one request asks for it: the file with its space, and what the command line changes.

title = "..."                                   # question, expectation, finding: texts
trials = 100                                    # the budget
method = "bayes"                                # or "random"
pruning = "median"                              # or "halving", "none"
seed = 0                                        # of the choices
extensions = ["swish.py"]                       # Python files that register more
[base]                                          # settings of every trial
[space]                                         # settings to choose: lists, and ranges { min, max, log }
"""

from __future__ import annotations

import importlib.resources
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import studyfile
from harness.config import RunConfig, nest
from harness.errors import UserError, show, unknown
from harness.extensions import load_extensions
from harness.pruning import RULES
from harness.settings import merge
from harness.space import Space, read_space

SHIPPED = "sweep"
METHODS = ("random", "bayes")
KEYS = (*studyfile.TEXTS, "trials", "method", "pruning", "seed", "extensions", "base", "space")
DEFAULTS: dict[str, Any] = {"trials": 100, "method": "bayes", "pruning": "median", "seed": 0}
RANGES = {"trials": (1, 100_000), "seed": (0, 2**32 - 1)}
NAMES: dict[str, tuple[str, ...]] = {"method": METHODS, "pruning": tuple(RULES)}


@dataclass(frozen=True)
class Overrides:
    """How a request departs from the file as written; None keeps what it says."""

    dataset: str | None = None
    epochs: Any = None
    limit: Any = None
    trials: Any = None
    method: str | None = None
    pruning: str | None = None
    seed: Any = None
    deterministic: bool = False


AS_WRITTEN = Overrides()


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes
    ----------
    name, title, question : str
        The file's name without its ending, and texts from it.
    space : Space
        What is chosen, and the settings that all trials share.
    trials : int
        How many trials there are to be in the end.
    method, pruning : str
        One of `METHODS`, and a key of ``harness.pruning.RULES``.
    seed : int
        Of the choices; all trials train with seed 0.
    deterministic : bool
        Whether the same trials come out whatever the timing.
    extensions : tuple of Path
        Python files that register what the settings name; absolute.
    changes : tuple of str
        What the request changed, such as ``epochs=5``, sorted; the number of trials is no change.
    """

    name: str
    title: str
    question: str
    space: Space
    trials: int
    method: str
    pruning: str
    seed: int
    deterministic: bool
    extensions: tuple[Path, ...]
    changes: tuple[str, ...]

    @property
    def shared(self) -> RunConfig:
        """The settings that all trials share, with defaults for the rest."""
        return next(self.space.corners())

    def folder_name(self) -> str:
        """Folder of this request's tables: the data set, and what was changed."""
        dataset = self.shared.dataset
        return f"{dataset}+{','.join(self.changes)}" if self.changes else dataset


def locate(name_or_path: str) -> Path:
    """Find the file of a search; ``UserError`` where there is none that could be one."""
    if name_or_path == SHIPPED:
        return Path(str(importlib.resources.files("ablations"))) / f"{SHIPPED}.toml"
    if not ("/" in name_or_path or os.sep in name_or_path or name_or_path.endswith(".toml")):
        raise UserError(f"{unknown('search space', name_or_path, [SHIPPED])}; or the path of a .toml file")
    return studyfile.locate(name_or_path)


def load(name_or_path: str = SHIPPED, overrides: Overrides = AS_WRITTEN) -> Search:
    """Read a search and apply a request's overrides.

    Parameters
    ----------
    name_or_path : str
        ``sweep``, or the path of a TOML file.
    overrides : Overrides
        What the request changes.

    Raises
    ------
    UserError
        For whatever is wrong with the file or the request, in one line.
    """
    path = locate(name_or_path)
    document = studyfile.read(path)
    given, file = document.document, path.name
    if stray := [key for key in given if key not in KEYS]:
        raise unknown("key", stray[0], KEYS, file)
    texts = {key: document.text(key).strip() for key in studyfile.TEXTS}
    extensions = document.extensions()
    load_extensions(extensions)

    base = nest(_table(given, "base", f"{file}: base"), f"{file}, base")
    requested: dict[str, Any] = {}
    for key, setting in (("dataset", "dataset"), ("epochs", "epochs"), ("limit", "data.limit")):
        if (value := getattr(overrides, key)) is not None:
            RunConfig.from_settings({setting: value}, f"--{key}")
            requested[setting] = value
    if "seed" in base:
        raise UserError(f"{file}, base: seed = {show(base['seed'])}: all trials train with seed 0; write seed = N at "
                        "the top of the file for another choice of trials")  # fmt: skip
    written = read_space(_table(given, "space", f"{file}: space"), base, file)
    space = Space(merge(base, nest(requested, "the command line")), written.parameters, file)

    plain = {key: scalar(key, given.get(key, default), f"{file}: {key}") for key, default in DEFAULTS.items()}
    wanted = {
        key: plain[key] if (value := getattr(overrides, key)) is None else scalar(key, value, f"--{key}")
        for key in DEFAULTS
    }
    before, after = next(written.corners()).flat(), next(space.corners()).flat()
    changes = [
        f"{key.removeprefix('data.')}={after[key]}" for key in ("epochs", "data.limit") if before[key] != after[key]
    ]
    changes += [f"{key}={wanted[key]}" for key in ("method", "pruning", "seed") if plain[key] != wanted[key]]
    changes += ["deterministic"] if overrides.deterministic else []
    return Search(
        name=path.stem,
        title=texts["title"] or path.stem,
        question=texts["question"],
        space=space,
        deterministic=overrides.deterministic,
        extensions=extensions,
        changes=tuple(sorted(changes)),
        **wanted,
    )


def _table(document: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    """Take a table; an empty one where there is none."""
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{place} = {show(value)}: must be a table of settings, such as {{ name = value }}")
    return value


def scalar(key: str, value: Any, place: str) -> Any:
    """Check the value of ``trials``, ``method``, ``pruning`` or ``seed``; ``UserError`` for one that is not allowed."""
    if key in NAMES:
        if not isinstance(value, str) or value not in NAMES[key]:
            raise unknown(key, value, NAMES[key], place if place.startswith("--") else place.partition(":")[0])
        return value
    low, high = RANGES[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{place} = {show(value)}: must be a whole number in [{low}, {high}]")
    return value
