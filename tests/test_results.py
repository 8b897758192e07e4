"""What is committed in ``results/`` belongs together: texts say what the tables say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import notebooks
import pytest
from documents import ROOT, text
from exports import export_results

from harness import committed, pagedata, studyfile, writtenreport
from harness.committed import Numbers, StudyFolder
from harness.compact import dumps
from harness.config import DATASET_NAMES

FILES = sorted((ROOT / "ablations").glob("*.toml"))
NOT_QUOTED = ("history",)  # so many numbers that any would be among them
LEVELS = (0.05, 0.01, 0.001)  # of p
NUMBER = re.compile(r"(?<![\w.])(\d*\.\d+(?:e-?\d+)?|\d+(?=\s?(?:%|percent)))(?!\.?\d)\s?(%|percent|points?)?")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_results(tmp_path_factory.mktemp("committed"))


@pytest.fixture(scope="module")
def folders(results: Path) -> list[StudyFolder]:
    return [committed.read(path, file) for path, file in committed.find(results, [])]


def quoted(said: str) -> Iterator[tuple[str, float]]:
    """Numbers of a text that have a decimal point or are percentages, as written, and what they are parts of."""
    for number, unit in NUMBER.findall(said):
        yield number, 0.01 if unit else 1.0


def is_among(number: str, scale: float, numbers: Numbers) -> bool:
    """Whether a number is one of those, rounded to its digits, whatever the sign."""
    mantissa, _, exponent = number.partition("e")
    step = scale * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return bool((abs(abs(numbers) - scale * float(number)) <= step * (0.5 + 1e-6)).any())


def settings_in(value: Any) -> Iterator[float]:
    """All numbers in a study's file."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from settings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from settings_in(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def numbers_of(folder: StudyFolder, document: dict[str, Any]) -> Numbers:
    """Numbers in the tables of a study and in its file, and half the widths of its intervals."""
    columns = {
        f"{table}.{name}": content.numbers(name)
        for table, content in folder.tables.items()
        if table not in NOT_QUOTED
        for name in content.columns
    }
    halves = [
        (columns[name[: -len("_low")] + "_high"] - low) / 2 for name, low in columns.items() if name.endswith("_low")
    ]
    single = [*settings_in(document), *settings_in(folder.winner), *LEVELS]
    everything = [value for column in (*columns.values(), *halves) for value in column.tolist()] + single
    return committed.numbers(str(value) for value in everything if math.isfinite(value))


def columns(document: str) -> dict[str, list[str]]:
    """Columns of a Markdown table, the only one of a document, by their headers."""
    lines = [line.strip("| ").split(" | ") for line in document.splitlines() if line.startswith("|")]
    return {header: cells for header, *cells in zip(*lines[:1], *lines[2:], strict=True)}


# ---- the checks themselves


def test_numbers_are_found_in_texts():
    said = "From 0.8912 ± 0.0012 to 91% (1.5 points, 12 percent) at 3.2e-4 in exp3, 10 seeds, 80/10/10, p < .05."
    assert list(quoted(said)) == [
        *(("0.8912", 1.0), ("0.0012", 1.0), ("91", 0.01), ("1.5", 0.01), ("12", 0.01)),
        *(("3.2e-4", 1.0), (".05", 1.0)),
    ]


@pytest.mark.parametrize(
    ("number", "scale", "value"),
    [("0.89", 1.0, 0.8934), ("0.0199", 1.0, -0.01993), ("3.2e-4", 1.0, 0.000321), ("89", 0.01, 0.894), ("1.5", 1, 1.5)],
)
def test_a_number_is_found_rounded_to_its_digits_and_no_other_is(number, scale, value):
    assert is_among(number, scale, committed.numbers([str(value)]))
    assert not is_among(number, scale, committed.numbers([str(value * 1.06), "nan"]))


# ---- what is committed


def test_the_report_is_what_the_tables_give(results, folders):
    assert (results / "report.md").read_text(encoding="utf-8") == writtenreport.text(folders)


def test_the_readmes_table_is_that_of_exp3(results):
    (between,) = re.findall(r"<!-- exp3 table -->\n(.*?)<!-- end -->", text("README.md"), re.DOTALL)
    there = columns((results / "exp3" / "fashion-mnist" / "summary.md").read_text(encoding="utf-8"))
    for header, cells in columns(between).items():
        assert cells == there[header]


@pytest.mark.parametrize("part", ["finding", "summary", "findings", "importances"])
def test_the_page_holds_what_the_tables_give(results, folders, part):
    page = (results / "report.html").read_text(encoding="utf-8")
    records = [json.loads(found) for found in re.findall(r'id="study-\d+">(.*?)</script>', page)]
    made = [json.loads(dumps(pagedata.study(folder))) for folder in folders]
    assert {record["key"]: record.get(part) for record in records} == {own["key"]: own.get(part) for own in made}


def test_the_notebook_of_the_experiments_shows_what_the_tables_give(results):
    path = next((results / "notebooks").glob("3_*.ipynb"))
    again = notebooks.run(path)
    assert notebooks.texts(again) == notebooks.texts(nbformat.read(path, as_version=4))
    shown = [output for cell in again.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "stream"]


@pytest.mark.parametrize("dataset", DATASET_NAMES)
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_numbers_in_a_finding_stand_in_the_tables(file, dataset, folders):
    there = [folder for folder in folders if folder.study == file.stem]
    finding = {folder.dataset: folder.texts.get("finding", "") for folder in there}.get(dataset, "")
    document = studyfile.read(file).document
    tables = [numbers_of(folder, document) for folder in there if folder.texts.get("finding") == finding]
    strange = [number for number, scale in quoted(finding) if not any(is_among(number, scale, own) for own in tables)]
    assert strange == [], f"{file.name}, {dataset}: not in results/{file.stem}/*/*.csv"
