"""The models under results/models do what the committed tables say of their runs, measured anew."""

from __future__ import annotations

import csv
import json
import re

import pytest
from processes import ROOT

from harness import data, evaluate
from harness.errors import UserError
from harness.modelfile import load_model
from harness.outputs import cpu_name
from kernels import target

MODELS = ROOT / "results" / "models"
DATASETS = ("fashion-mnist", "cifar-10")


def row_of(dataset: str) -> dict[str, str]:
    """What the committed table says of the run that made a data set's model."""
    run_id = load_model(MODELS / dataset / "model.safetensors").run_id
    with (ROOT / "results" / "best" / dataset / "runs.csv").open(newline="", encoding="utf-8") as file:
        (row,) = (row for row in csv.DictReader(file) if row["run_id"] == run_id)
    return row


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_model_has_the_figures_of_the_committed_tables(dataset):
    model, row = load_model(MODELS / dataset / "model.safetensors"), row_of(dataset)
    assert model.config.dataset == dataset
    for name in ("test_accuracy", "test_loss", "val_accuracy"):
        assert model.metrics[name] == pytest.approx(float(row[name]), abs=1e-6)
    line = next(
        line for line in (MODELS / "README.md").read_text(encoding="utf-8").splitlines() if f"({dataset}/" in line
    )
    assert f"| {model.metrics['val_accuracy']:.4f} | {model.metrics['test_accuracy']:.4f} |" in line


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_model_measured_anew_has_its_figures(dataset, capsys):
    try:
        data.find(dataset)
    except UserError as error:
        pytest.skip(f"without the images nothing can be measured: {error}")
    status = evaluate.main([str(MODELS / dataset / "model.safetensors")])
    out = capsys.readouterr().out
    made_on = json.loads((ROOT / "results" / "best" / dataset / "environment.json").read_text(encoding="utf-8"))
    if (made_on["cpu"], made_on["vector_bytes"]) == (cpu_name(), target.current().vector_bytes):
        assert status == 0
        assert "As reported, to the last digit" in out
    else:  # processors round differently
        measured = float(re.search(r"^test_accuracy +(\S+)$", out, re.M)[1])
        assert measured == pytest.approx(float(row_of(dataset)["test_accuracy"]), abs=0.0005)
