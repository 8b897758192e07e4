"""Short JSON: digits, the forms of a column, and that no text of a study leaves its script element."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from pages import HOSTILE

from harness.compact import column, dumps, packed, rounded


def unpacked(packed_column, rows):
    if "c" in packed_column:
        return [packed_column["c"]] * rows
    if "d" in packed_column:
        return [packed_column["d"][i] for i in packed_column["i"]]
    return packed_column["n" if "n" in packed_column else "t"]


def test_numbers_have_a_bounded_number_of_digits():
    assert rounded([0.12345678912, 20.0, 1e-9 / 3, -2.5]) == [0.123456789, 20, 3.33333333e-10, -2.5]
    assert rounded([1234567.0], 3) == [1230000]
    assert json.dumps(rounded([20.0])) == "[20]"


def test_what_json_cannot_say_is_null():
    assert rounded([math.nan, math.inf, -math.inf, 1e308]) == [None, None, None, 1e308]
    assert column(["inf", "nan", "", "1"]) == {"n": [None, None, None, 1]}


def test_whole_numbers_keep_all_their_digits():
    assert column(["123456789", "987654321"]) == {"n": [123456789, 987654321]}


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["a"] * 5, "c"),
        (["1", "2", "1"], "n"),
        (["a", "b", "a", "a", "b"], "d"),
        (["a", "b", "c"], "t"),
        (["1", "x", "2"], "t"),
        ([], "n"),
    ],
)
def test_a_column_takes_the_shortest_form_and_reads_back(texts, form):
    made = column(texts)
    assert form in made
    assert [str(value) for value in unpacked(made, len(texts))] == texts


def test_a_column_of_texts_stays_texts_whatever_it_looks_like():
    assert column(["1e5", "007"], text=True) == {"t": ["1e5", "007"]}
    assert column(["0.10", "0.10"], text=True) == {"c": "0.10"}


def test_direction_marks_and_control_codes_are_written_out():
    assert column(["a\u202eb", "c\u2028d"], text=True) == {"t": [r"a\u202eb", r"c\u2028d"]}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_can_end_its_element(name):
    text = dumps({"name": name})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": name}


def test_bytes_go_as_base64():
    assert base64.b64decode(packed(np.array([[1, -1]], np.int8))) == b"\x01\xff"
