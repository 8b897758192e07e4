"""Errors a user can cause: one line that names the bad value, its place, what is allowed and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMES = 40  # listed in one message
MAX_WIDTH = 80  # characters of one value


class UserError(Exception):
    """A request that cannot be carried out; command lines print it as one line and exit with status 2."""


def show(value: object) -> str:
    """Any value on one line of bounded length, strings in quotes."""
    try:
        text = repr(value).replace("\n", " ")
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list nested thousands deep
        text = f"<{type(value).__name__} too large to show>"
    return text if len(text) <= MAX_WIDTH else text[: MAX_WIDTH - 3] + "..."


def show_path(path: object) -> str:
    """Write a path on one line: as it is, unless it holds what cannot be printed."""
    return str(path) if str(path).isprintable() else show(str(path))


def nearest(value: object, allowed: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest of the allowed names, or an empty string.

    Upper and lower case are alike. Dotted names are compared by their last part where the rest agrees, so that a long
    common part does not make two names alike; a bare ``lr`` finds ``optimizer.lr``.
    """
    names = {name.lower(): name for name in allowed}
    wanted = str(value)[:MAX_WIDTH].lower()
    section, dot, last = wanted.rpartition(".")
    inside = {
        low.removeprefix(section + dot): name for low, name in names.items() if dot and low.startswith(section + dot)
    }
    if inside:
        wanted, names = last, inside
    else:
        names = {low.rpartition(".")[2]: name for low, name in names.items()} | names
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def unknown(what: str, value: object, allowed: Iterable[str], where: str = "") -> UserError:
    """Make the error for a name that is none of the allowed ones."""
    names = sorted(allowed)
    place = f" in {where}" if where else ""
    more = f", ... ({len(names)} in all)" if len(names) > MAX_NAMES else ""
    listed = ", ".join(names[:MAX_NAMES]) or "none"
    guess = nearest(value, names) if isinstance(value, str) else ""
    return UserError(f"unknown {what} {show(value)}{place}{guess}; allowed: {listed}{more}")
