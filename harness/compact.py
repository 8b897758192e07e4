"""Numbers, texts and bytes as short JSON: what a page of thousands of runs is made of.

Numbers have few digits more than are shown; what JSON cannot say (NaN, infinity) becomes null. A column is one
of ``{"c": value}`` (the same in all rows), ``{"n": [numbers]}``, ``{"d": [texts], "i": [places]}`` (few texts that
recur) or ``{"t": [texts]}``. The page's ``data.js`` reads them.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.network import Array
from harness.summaries import visible

DIGITS = 9
EXACT = 17  # no digit is lost: means over 10 seeds of 6,000 images end in a 5 that is rounded for the screen
SAFE_INTEGER = 2**53
_WHOLE = re.compile(r"[+-]?\d{1,16}")


def rounded(values: Iterable[float], digits: int = DIGITS) -> list[float | int | None]:
    """Numbers to so many significant digits, whole ones without a point; None for what is not finite."""
    return [_round(value, digits) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


def column(texts: Sequence[str], text: bool = False, digits: int = DIGITS) -> dict[str, Any]:
    """A column of a table; ``text`` says that it holds no numbers, whatever it looks like."""
    values = texts if text else [_parse(word, digits) for word in texts]
    numeric = not text and not any(isinstance(value, str) for value in values)
    if not numeric:
        values = [visible(word) for word in texts]
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return {"c": distinct[0]}
    if numeric:
        return {"n": list(values)}
    if len(distinct) > len(values) / 2:
        return {"t": list(values)}
    places = {value: place for place, value in enumerate(distinct)}
    return {"d": distinct, "i": [places[value] for value in values]}


def packed(values: Array) -> str:
    """Bytes of an array of one-byte numbers, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def dumps(content: Any) -> str:
    """JSON that can stand in a ``<script>`` element: ASCII, without ``<``, ``>`` and ``&``."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _round(value: float, digits: int) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < SAFE_INTEGER else short


def _parse(word: str, digits: int) -> float | int | str | None:
    """A number, None for an empty cell or what is not finite, or the word itself."""
    if not word:
        return None
    if _WHOLE.fullmatch(word) and abs(int(word)) < SAFE_INTEGER:
        return int(word)
    try:
        return _round(float(word), digits)
    except ValueError:
        return word
