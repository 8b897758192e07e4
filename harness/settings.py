"""Settings given piecemeal: TOML texts, ``key=value`` words, and tables that lie over one another.

What a setting may be, and how dotted keys nest, is left to ``harness.config``; where the pieces come from, to
``harness.study``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from harness.config import CHOICES
from harness.errors import UserError, show

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BARE_WORD = re.compile(r"""[^\s"'\[\]{},=#]+""")


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings ``below`` overlaid with those of ``above``, as a new table.

    Tables merge key by key. An optimizer or a schedule with another name than the one below brings its own settings:
    of those below only the learning rate stays. Over hidden layers of equal width, their number or their width alone
    may be laid.
    """
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if key == "hidden" and isinstance(value, Mapping):
            old = _shape(old)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if key in CHOICES and "name" in value:
                default = CHOICES[key].model_fields["name"].default
                if value["name"] != old.get("name", default):
                    old = {"lr": old["lr"]} if "lr" in old else {}
            value = {**old, **value}
        merged[key] = value
    return merged


def _shape(hidden: object) -> object:
    """Number and width of hidden layers that are equally wide; anything else as it is."""
    layers = hidden if isinstance(hidden, list) else [hidden]
    if layers and all(type(width) is int and width == layers[0] for width in layers):
        return {"layers": len(layers), "units": layers[0]}
    return hidden


def assign(settings: dict[str, Any], dotted_key: str, value: object) -> None:
    """Set one setting in place, with the tables on its way; ``UserError`` where a value lies on the way."""
    *sections, last = dotted_key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise UserError(f"{dotted_key} = {show(value)}: {section} = {show(settings)} is not a table")
    settings[last] = value


def parse_toml(text: str) -> dict[str, Any]:
    """TOML text as a table; ``ValueError`` for anything else."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ValueError("arrays or tables are nested too deep") from None
    return table


def parse_assignment(text: str, option: str = "--set") -> tuple[str, Any]:
    """Key and value of ``key=value``; the value is TOML, or a bare word, which is a string.

    Raises
    ------
    UserError
        When there is no key, no value, or the value is neither.
    """
    key, equals, given = (part.strip() for part in text.partition("="))
    if not (equals and key and given and all(key.split("."))):
        raise UserError(f"{option} {show(text)}: must read key=value, such as optimizer.lr=0.01")
    try:
        parsed = parse_toml(f"value = {given}")
    except ValueError:
        parsed = {"value": given} if _BARE_WORD.fullmatch(given) else {}
    if set(parsed) != {"value"}:
        raise UserError(
            f'{option} {show(text)}: {show(given)} is neither a TOML value (0.01, true, [128, 64], "text") nor one word'
        )
    return key, parsed["value"]
