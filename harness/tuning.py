"""What a study's ``[search]`` chooses for every variant before the variants are compared.

    [search]
    trials = 25                                                  # for each variant
    method = "bayes"                                             # or "random"
    [search.space]
    optimizer.lr = { min = 1e-5, max = 0.1, log = true }         # as in the file of a search

Trials train with a seed that no study uses, so that the luck that a choice owes to its seed is in no comparison.
Carrying the searches out is left to ``harness.tuner``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config import RunConfig
from harness.errors import UserError, show, unknown
from harness.space import LAYERS, UNITS, Parameter, Space, entries, read_space
from harness.studyfile import MAX_SEEDS
from harness.sweepfile import scalar

KEYS = ("trials", "method", "space")
DEFAULTS: dict[str, Any] = {"trials": 25, "method": "bayes"}
TRIAL_SEED = MAX_SEEDS  # a study's seeds end before it


@dataclass(frozen=True)
class Tuning:
    """The searches of a study.

    Attributes
    ----------
    spaces : dict of str to Space
        By variant; all with the same parameters.
    trials : int
        For each variant.
    method : str
        One of ``harness.sweepfile.METHODS``.
    """

    spaces: dict[str, Space]
    trials: int
    method: str

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is chosen."""
        return next(iter(self.spaces.values())).parameters


def read_tuning(table: Any, variants: Mapping[str, RunConfig], source: Callable[[str, str], str], file: str) -> Tuning:
    """Check the ``[search]`` of a study.

    Parameters
    ----------
    table : object
        As TOML gives it.
    variants : mapping of str to RunConfig
        Settings of each variant.
    source : callable
        Where a variant's setting is given, from the names of both; an empty text where it is not.
    file : str
        The study's file.

    Raises
    ------
    UserError
        For the first key or value that is not allowed, and for a setting that is both searched and given.
    """
    place = f"{file}, search"
    if not isinstance(table, dict):
        raise UserError(f"{file}: search = {show(table)}: must be a table with trials, method and space")
    if stray := [key for key in table if key not in KEYS]:
        raise unknown("key", stray[0], KEYS, place)
    plain = {key: scalar(key, table.get(key, default), f"{place}: {key}") for key, default in DEFAULTS.items()}
    wanted = table.get("space", {})
    if not isinstance(wanted, dict):
        raise UserError(f"{place}: space = {show(wanted)}: must be a table of settings to choose")
    keys = [key for key, _ in entries(wanted, f"{place}, space")]
    spaces = {}
    for name, config in variants.items():
        for key in keys:
            own = "hidden" if key in (UNITS, LAYERS) else key
            if given := source(name, own):
                raise UserError(f"{given}: {own} is given, but chosen by [search]; keep one of both")
        spaces[name] = read_space(wanted, _without(config, keys), place)
    return Tuning(spaces, **plain)


def _without(config: RunConfig, keys: list[str]) -> dict[str, Any]:
    """A variant's settings, nested, but for those that are chosen."""
    settings = {**config.model_dump(mode="json"), "seed": TRIAL_SEED}
    for key in keys:
        section, _, inner = key.partition(".")
        if key in (UNITS, LAYERS) or not inner:
            settings.pop(section, None)
        elif isinstance(table := settings.get(section), dict):
            kept = ("lr",) if inner == "name" else table.keys() - {inner}  # another optimizer brings its own settings
            settings[section] = {name: table[name] for name in table if name in kept}
    return settings
