"""What the documents say is so: commands, examples, tables of settings, options and columns, links."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import ROOT, blocks, forgetful_registries, text, write_extensions
from safetensors import safe_open

from harness import ablate, data, evaluate, settingsdoc, study, sweep, sweepfile
from harness.cache import CACHE_VARIABLE, cache_folder
from harness.claims import CLAIM_KEYS, METRICS
from harness.config import RunConfig, setting_keys
from harness.errors import UserError
from harness.findings import VERDICTS
from harness.idx import IDX_FILES
from harness.overview import OVERVIEW_COLUMNS
from harness.settings import parse_toml
from harness.sources import DATA_VARIABLE
from harness.studyfile import DATASET_KEYS, DEFAULT_SEEDS, DEFAULT_TARGETS, KEYS, MAX_SEEDS

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
STUDY_DOCUMENTS = [path for path in DOCUMENTS if path.name != "sweep.md"]  # its examples are spaces
N_TRAIN, N_TEST = 6000, 1000


def rows(name: str, first_header: str) -> list[list[str]]:
    """Cells of the lines of the one table whose first column is called so, without the header."""
    tables = re.findall(rf"^\| {first_header} \|.*\n\|[-| :]+\n((?:\|.*\n)+)", text(name), re.MULTILINE)
    assert len(tables) == 1, f"{name} has {len(tables)} tables headed {first_header!r}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in tables[0].splitlines()]


def codes(cell: str) -> list[str]:
    """The `code` words of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def section(name: str, heading: str) -> str:
    """A document's text from one heading of the second level to the next."""
    return text(name).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def column_table(heading: str) -> list[str]:
    """Names in the first column of the table in a section of docs/output.md; ``*settings*`` stands for itself."""
    cells = re.findall(r"^\| ([`*].*?) \|", section("docs/output.md", heading), re.MULTILINE)
    return [word for cell in cells for word in (codes(cell) or [cell])]


@pytest.fixture(scope="module")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small data set under the name of Fashion-MNIST, an empty cache of data, and the usual cache of kernels."""
    folder, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    rng = np.random.default_rng(0)
    for (images, labels), n in zip((IDX_FILES[:2], IDX_FILES[2:]), (N_TRAIN, N_TEST), strict=True):
        y = rng.integers(0, 10, n, dtype=np.uint8)
        X = rng.integers(0, 20, (n, 784), dtype=np.uint8) + 10 * y[:, None]
        (folder / images).write_bytes(struct.pack(">4I", 0x803, n, 28, 28) + X.astype(np.uint8).tobytes())
        (folder / labels).write_bytes(struct.pack(">2I", 0x801, n) + y.tobytes())
    kernels = cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(kernels)
    spec = dataclasses.replace(data.DATASETS["fashion-mnist"], n_train=N_TRAIN, n_test=N_TEST, sha256=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "fashion-mnist", spec)
        patch.setenv(CACHE_VARIABLE, str(cache))
        patch.setenv(DATA_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def readme_results(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the README's own example of a study, made small by overrides."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "dropout.toml").write_text(blocks("README.md", "toml")[0], encoding="utf-8")
    overrides = ["--limit", "300", "--epochs", "1", "--seeds", "1", "--jobs", "1", "--out", str(folder / "results")]
    overrides += ["--timing"]
    assert ablate.main([str(folder / "dropout.toml"), *overrides]) == 0
    return folder / "results"


@pytest.fixture(scope="module")
def tables(readme_results: Path) -> Path:
    return readme_results / "dropout" / "fashion-mnist+epochs=1,limit=300,seeds=1"


def header(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def is_setting(column: str) -> bool:
    return column in setting_keys() or column.startswith(("optimizer.", "schedule."))


# ---------------------------------------------------------------------------------------------------------- README


def test_the_readmes_example_of_a_study_runs_to_its_end(tables):
    summary = (tables / "summary.md").read_text(encoding="utf-8")
    for name in ("none", "dropout 0.2", "dropout 0.5"):
        assert f"| {name} |" in summary
    assert "| diverged |" not in summary.lower()


@pytest.mark.usefixtures("small_data")
def test_the_readmes_python_example_runs(capsys):
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    _, *epochs, last = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in epochs] == ["1", "2", "3"]
    assert 0 < float(last) < 1


def test_the_readmes_options_are_those_of_the_command():
    actions = [action for action in ablate.parser()._actions if not isinstance(action, argparse._HelpAction)]
    named = [codes(cells[0])[0] for cells in rows("README.md", "Option")]
    assert {name.split()[0] for name in named} == {
        a.option_strings[0] if a.option_strings else "STUDY" for a in actions
    }


@pytest.mark.parametrize("ending", ["-m harness.ablate exp3", "-m pytest -n auto"])
def test_the_readme_has_each_command_on_one_line_that_sets_up_too(ending):
    lines = [line for line in text("README.md").splitlines() if line.endswith(ending)]
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_readmes_table_has_the_variants_of_exp3():
    between = re.findall(r"<!-- exp3 table -->\n(.*?)<!-- end -->", text("README.md"), re.DOTALL)
    assert len(between) == 1
    lines = [line.split("|")[1].strip() for line in between[0].splitlines() if line.startswith("|")]
    assert lines[2:] == list(study.load("exp3").variants)


def test_the_readmes_benchmarks_are_those_of_the_report():
    between = re.findall(r"<!-- benchmarks table -->\n(.*?)<!-- end -->", text("README.md"), re.DOTALL)
    assert len(between) == 1
    table = [line for line in between[0].splitlines() if line]
    report = [line for line in text("results/benchmarks.md").splitlines() if line.startswith("|")]
    assert len(table) >= 6
    assert report[: len(table)] == table


# ------------------------------------------------------------------------------------------------------- settings


def value(cell: str) -> Any:
    """A default as the table writes it, in TOML; ``none`` is None."""
    parsed = parse_toml(f"x = {codes(cell)[0]}")["x"]
    return None if parsed == "none" else parsed


def accepted(key: str, given: Any) -> bool:
    try:
        RunConfig.from_settings({key: given}, "a test")
    except UserError:
        return False
    return True


SETTINGS = {codes(cells[0])[0]: cells for cells in rows("docs/settings.md", "Setting")}


def test_the_page_of_settings_is_what_the_model_gives():
    assert text("docs/settings.md") == settingsdoc.text()


def test_the_page_of_settings_has_every_setting_and_says_what_each_means():
    assert list(SETTINGS) == [key for key in setting_keys() if key not in settingsdoc.NOT_IN_A_FILE]
    every = [cells for header in ("Setting", "Optimizer", "Schedule") for cells in rows("docs/settings.md", header)]
    assert all(all(cells) for cells in every)


@pytest.mark.parametrize("key", SETTINGS)
def test_the_default_of_a_setting_can_be_given(key):
    default = RunConfig().flat()[key]
    assert value(SETTINGS[key][1]) == default
    assert type(value(SETTINGS[key][1])) is type(default)
    assert RunConfig.from_settings({key: value(SETTINGS[key][1])}, "a test") == RunConfig()


@pytest.mark.parametrize("key", [key for key, cells in SETTINGS.items() if "number" in cells[2]])
def test_a_setting_is_accepted_in_its_range_and_nowhere_else(key):
    kind, low_end, low, high, high_end = re.match(
        r"([^\[(]*) in ([\[(])(\S+), ([^\])]+)([\])])", SETTINGS[key][2]
    ).groups()  # fmt: skip
    number = int if "whole" in kind else float
    wrap = (lambda x: [x]) if kind.startswith("list") else (lambda x: x)
    step = 1 if number is int else 1e-9
    assert accepted(key, wrap(number(low))) == (low_end == "[")
    assert accepted(key, wrap(number(low) + step))
    assert not accepted(key, wrap(number(low) - step))
    if high == "inf":
        assert accepted(key, 1e300)
    else:
        top = number(float(high))
        assert accepted(key, wrap(top)) == (high_end == "]")
        assert accepted(key, wrap(top - step))
        assert not accepted(key, wrap(top + step))
    assert accepted(key, "none") == ("`none`" in SETTINGS[key][2])
    if number is int:
        assert not accepted(key, wrap(number(low) + 1.5))


@pytest.mark.parametrize("key", [key for key, cells in SETTINGS.items() if "number" not in cells[2]])
def test_every_name_is_accepted(key):
    names = codes(SETTINGS[key][2]) or [True, False]
    assert all(accepted(key, name) for name in names)
    assert not accepted(key, 1)


def test_the_table_of_a_studys_keys_is_complete():
    keys = [key for cells in rows("docs/studies.md", "Key") for key in codes(cells[0])]
    assert [key.strip("[]").partition(".")[0] for key in keys] == list(KEYS)
    seeds = next(cells for cells in rows("docs/studies.md", "Key") if "seeds" in cells[0])
    assert value(seeds[2]) == DEFAULT_SEEDS
    assert f"[1, {MAX_SEEDS}]" in seeds[1]
    target = next(cells for cells in rows("docs/studies.md", "Key") if "target_accuracy" in cells[0])
    words = codes(target[2])
    assert dict(zip(words[1::2], map(float, words[::2]), strict=True)) == DEFAULT_TARGETS


def test_the_tables_about_claims_and_data_sets_are_complete():
    fields = {codes(cells[0])[0]: cells for cells in rows("docs/studies.md", "Field")}
    assert tuple(fields) == CLAIM_KEYS
    more, less = fields["metric"][1].split("(more is better)")
    named = dict.fromkeys(codes(more), 1) | dict.fromkeys(codes(less), -1)
    assert named == METRICS
    assert [codes(cells[0])[0] for cells in rows("docs/studies.md", "Verdict")] == list(VERDICTS)
    assert {word for cells in rows("docs/studies.md", "Entry") for word in codes(cells[0])} == set(DATASET_KEYS)


EXAMPLES = [
    (path.relative_to(ROOT).as_posix(), i) for path in STUDY_DOCUMENTS for i in range(len(blocks(str(path), "toml")))
]


@pytest.mark.parametrize(("name", "i"), EXAMPLES)
def test_every_example_of_a_study_loads(name, i, tmp_path):
    write_extensions(tmp_path)
    (tmp_path / "example.toml").write_text(blocks(name, "toml")[i], encoding="utf-8")
    with forgetful_registries():
        loaded = study.load(str(tmp_path / "example.toml"))
    assert loaded.baseline in loaded.variants
    assert len(loaded.variants) > 1


# --------------------------------------------------------------------------------------------------------- search


def test_the_table_of_the_searchs_options_is_that_of_the_command():
    actions = [action for action in sweep.parser()._actions if not isinstance(action, argparse._HelpAction)]
    named = [codes(cells[0])[0].split()[0] for cells in rows("docs/sweep.md", "Option")]
    assert named == [a.option_strings[0] if a.option_strings else "SPACE" for a in actions]


def test_the_table_of_a_searchs_keys_is_complete_with_defaults_and_ranges():
    cells = rows("docs/sweep.md", "Key")
    assert [key.strip("[]") for row in cells for key in codes(row[0])] == list(
        dict.fromkeys(("title", *[k for k in sweepfile.KEYS if k in sweepfile.studyfile.TEXTS], *sweepfile.KEYS))
    )
    for row in cells:
        (key, *_) = codes(row[0])
        if key in sweepfile.DEFAULTS:
            assert value(row[2]) == sweepfile.DEFAULTS[key]
        if key in sweepfile.RANGES:
            assert str(list(sweepfile.RANGES[key])) in row[1]
        if key in sweepfile.NAMES:
            assert sorted(codes(row[1])) == sorted(sweepfile.NAMES[key])


@pytest.mark.usefixtures("small_data")
def test_the_example_of_a_search_runs_and_has_the_documented_files_and_columns(tmp_path):
    path = tmp_path / "example.toml"
    path.write_text(blocks("docs/sweep.md", "toml")[0].replace("[base]", '[base]\nengine = "numpy"'), encoding="utf-8")
    small = ["--trials", "2", "--epochs", "1", "--limit", "100", "--jobs", "1", "--out", str(tmp_path)]
    assert sweep.main([str(path), *small]) == 0
    folder = tmp_path / "example" / "fashion-mnist+epochs=1,limit=100"
    files = {codes(cells[0])[0].strip("/"): codes(cells[1]) for cells in rows("docs/sweep.md", "File")}
    assert set(files) == {path.name for path in folder.iterdir()}
    for name in ("history.csv", "importances.csv"):
        assert header(folder / name) == files[name]
    assert list(json.loads((folder / "winner.json").read_text())) == files["winner.json"]
    assert {f"{name}.{kind}" for name in files["figures"][:3] for kind in ("png", "svg")} == {
        path.name for path in (folder / "figures").iterdir()
    }
    documented = [name for cells in rows("docs/sweep.md", "Column") for name in codes(cells[0]) or [cells[0]]]
    at = documented.index("*parameters*")
    parameters = ["optimizer.name", "optimizer.lr", "batch_size", "activation", "dropout"]
    assert header(folder / "trials.csv") == [*documented[:at], *parameters, *documented[at + 2 :]]


# -------------------------------------------------------------------------------------------------------- outputs


def test_the_documented_columns_of_runs_are_the_real_ones(tables):
    settings = [column for column in header(tables / "runs.csv") if is_setting(column)]
    documented = column_table("runs.csv")
    own = [column for column in settings if column not in documented]
    at = documented.index("*settings*")
    assert header(tables / "runs.csv") == [*documented[:at], *own, *documented[at + 1 :]]
    assert set(settings) >= set(setting_keys())


def test_the_documented_columns_of_the_summary_are_the_real_ones(tables):
    documented = column_table("summary.csv, summary.md")
    at = documented.index("*settings*")
    assert header(tables / "summary.csv") == [*documented[:at], "dropout", *documented[at + 1 :]]


def test_the_documented_columns_of_findings_are_the_real_ones(tables):
    assert column_table("findings.csv") == header(tables / "findings.csv")
    assert len((tables / "findings.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2


def test_the_documented_columns_of_the_overview_are_the_real_ones():
    assert column_table("overview") == list(OVERVIEW_COLUMNS)


def test_the_documented_columns_of_the_history_are_the_real_ones(tables, readme_results):
    documented = column_table("history.csv")
    plain = [column for column in documented if not column.endswith("_1")]
    kinds = [column.removesuffix("_1") for column in documented if column.endswith("_1")]
    hidden = ("activation_mean", "activation_variance", "dead_share")  # the last layer has none
    layers = [f"{kind}_{layer}" for kind in kinds for layer in ((1,) if kind in hidden else (1, 2))]
    assert plain + layers == header(tables / "history.csv")
    run = next((readme_results / "runs").iterdir())
    assert sorted(header(run / "history.csv")) == sorted(
        set(header(tables / "history.csv")) - {"run_id", "variant", "seed"}
    )


def test_the_documented_columns_of_classes_are_the_real_ones(tables):
    assert column_table("classes.csv") == header(tables / "classes.csv")
    assert len((tables / "classes.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 10


def test_the_documented_columns_of_the_times_are_the_real_ones(tables):
    documented = column_table("timing.csv, timing.md")
    at = documented.index("*settings*")
    assert header(tables / "timing.csv") == [*documented[:at], "dropout", *documented[at + 1 :]]


def test_the_documented_arrays_are_the_real_ones(tables, readme_results):
    documented = column_table("details.npz")
    with np.load(tables / "details.npz") as details:
        assert {re.sub(r"_\d+$", "_i", name) for name in details.files} == set(documented)
        assert details["confusion_0"].shape == (10, 10)
        assert details["surest_errors_0"].shape[1] == 4
        assert details["first_layer_0"].shape == (784, 256)
        assert details["weight_histogram_0"].shape == (1, 2, len(details["histogram_edges"]) - 1)
    run = next((readme_results / "runs").iterdir())
    cells = {name: codes(cells[1]) for cells in rows("docs/output.md", "File") for name in codes(cells[0])}
    files = [path for path in run.rglob("*") if path.is_file()]
    assert sorted(cells) == sorted(path.relative_to(run).as_posix() for path in files)
    with np.load(run / "last" / "arrays.npz") as arrays:
        assert sorted(arrays.files) == sorted(cells["last/arrays.npz"])
    with np.load(run / "statistics.npz") as arrays:
        assert sorted(arrays.files) == sorted(cells["statistics.npz"])
    assert sorted(json.loads((run / "result.json").read_text())) == sorted(cells["result.json"])


def test_the_documented_facts_in_a_model_are_the_real_ones(readme_results):
    said = {codes(cells[0])[0]: codes(cells[1]) for cells in rows("docs/models.md", "Key")}
    names = [name for cells in rows("docs/models.md", "Key") for name in codes(cells[0])]
    run = next((readme_results / "runs").iterdir())
    with safe_open(run / "best" / "model.safetensors", "numpy") as file:
        facts = json.loads(file.metadata()["ablation-bench"])
    assert sorted(names) == sorted(facts)
    assert sorted(name for name in said["metrics"] if name.isidentifier()) == sorted(facts["metrics"])


def test_the_documented_options_of_evaluate_are_those_of_the_command():
    actions = [action for action in evaluate.parser()._actions if not isinstance(action, argparse._HelpAction)]
    named = [codes(cells[0])[0].split()[0] for cells in rows("docs/models.md", "Argument")]
    assert named == [action.option_strings[0] if action.option_strings else "MODEL" for action in actions]


def test_the_documented_files_of_a_study_are_the_real_ones(tables):
    headings = re.findall(r"^## (.*)$", text("docs/output.md"), re.MULTILINE)
    files = {word.strip("/") for heading in headings for word in heading.split(", ") if re.search(r"[./]", word)}
    assert files == {path.name for path in tables.iterdir()}
    figures = {f"{stem}.{kind}" for stem in codes(section("docs/output.md", "figures/"))[:2] for kind in ("png", "svg")}
    assert {path.name for path in (tables / "figures").iterdir()} == figures
    assert list(json.loads((tables / "environment.json").read_text())) == sorted(column_table("environment.json"))


# ---------------------------------------------------------------------------------------------------------- links


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = Path(os.path.normpath(path.parent / file)) if file else path
        assert place.exists(), f"{path.name}: {target}"
        assert place.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(place), f"{path.name}: {target}"


def test_the_readme_leads_to_every_document_and_notebook():
    linked = set(re.findall(r"\]\(([^)#\s]+)", text("README.md")))
    there = [*ROOT.glob("docs/*.md"), *ROOT.glob("results/notebooks/*.ipynb"), ROOT / "results" / "report.md"]
    assert {path.relative_to(ROOT).as_posix() for path in there} <= linked


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path):
    """Names in code marks that look like files of ours."""
    document = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:kernels|harness|ablations|tests|docs|\.ci)/[\w./]*)`", document):
        assert (ROOT / name).exists(), f"{path.name}: {name}"
    if path.name == "kernels.md":
        for name in re.findall(r"`(\w+\.py)`", document):
            assert (ROOT / "kernels" / name).exists(), name
