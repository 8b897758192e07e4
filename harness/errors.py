"""Errors a user can cause: one line that names the bad value, its place, what is allowed and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A request that cannot be carried out; command lines print it as one line and exit with status 2."""


def nearest(value: str, allowed: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest of the allowed names, or an empty string."""
    close = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(what: str, value: str, allowed: Iterable[str], where: str = "") -> UserError:
    """The error for a name that is none of the allowed ones."""
    names = sorted(allowed)
    place = f" in {where}" if where else ""
    return UserError(f"unknown {what} {value!r}{place}{nearest(value, names)}; allowed: {', '.join(names)}")
