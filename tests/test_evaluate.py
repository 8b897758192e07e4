"""Measuring a model again: the figures that were reported, to the last bit, or what is wrong in one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from documents import write_extensions
from processes import ROOT
from safetensors.numpy import load_file, save_file
from test_modelfile import metadata_of, rewrite

from harness import ablate, evaluate
from harness.idx import IDX_FILES
from harness.store import load_run

STUDY = """
seeds = 1
{more}
[base]
epochs = 3
optimizer = {{ lr = 0.05 }}
[variants]
"numpy" = {{ engine = "numpy", hidden = [7] }}
"numba" = {{ hidden = [7, 5], dropout = 0.2, data = {{ standardise = true }} }}
"double" = {{ precision = "float64", hidden = [], data = {{ split = "official", limit = 50 }} }}
"""


@pytest.fixture
def made(small_data, tmp_path, capsys):
    """Runs of a small study; gives their folders by variant."""
    (tmp_path / "study.toml").write_text(STUDY.format(more=""))
    assert ablate.main([str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    capsys.readouterr()
    folders = {}
    for path in (tmp_path / "out" / "runs").iterdir():
        config = json.loads((path / "result.json").read_text())["config"]
        folders["numpy" if config["engine"] == "numpy" else "double" if not config["hidden"] else "numba"] = path
    return folders


@pytest.fixture
def measure(capsys):
    """Carry the command out; gives status, stdout and stderr."""

    def measure(*arguments: object) -> tuple[int, str, str]:
        status = evaluate.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return measure


@pytest.mark.parametrize("select", ["last", "best"])
@pytest.mark.parametrize("variant", ["numpy", "numba", "double"])
def test_the_reported_figures_are_reproduced_to_the_last_bit(made, measure, variant, select):
    folder = made[variant]
    row = load_run(folder.parent, folder.name, select).row
    status, out, err = measure(folder / select / "model.safetensors")
    assert (status, err) == (0, "")
    names = ("test_accuracy", "test_loss", "test_precision_macro", "test_recall_macro", "test_f1_macro")
    assert out.splitlines()[-1] == f"As reported, to the last digit: {', '.join(names)}."
    for name in names:
        assert re.search(rf"^{name} +{row[name]:.6f}$", out, re.MULTILINE)
    for name in ("ant", "bee", "cod", "Precision", "Recall", "F1"):
        assert name in out
    status, out, _ = measure(folder / select / "model.safetensors", "--split", "validation")
    assert status == 0
    assert out.splitlines()[-1] == "As reported, to the last digit: val_accuracy, val_loss."


def test_another_weight_gives_other_figures_and_status_1(made, measure):
    path = made["numba"] / "last" / "model.safetensors"
    tensors, metadata = load_file(path), metadata_of(path)
    tensors["0.weight"] = -tensors["0.weight"]
    save_file(tensors, path, metadata)
    status, out, err = measure(path)
    assert (status, err) == (1, "")
    assert re.match(r"Not as reported: test_\w+ was [\d.]+, is [\d.]+\.$", out.splitlines()[-1])


def test_what_may_have_made_the_difference_is_told(made, measure, small_data, tmp_path):
    path = made["numba"] / "last" / "model.safetensors"
    other = tmp_path / "other"
    shutil.copytree(small_data, other)
    images = bytearray((other / IDX_FILES[0]).read_bytes())
    images[16:] = bytes(255 - value for value in images[16:])
    (other / IDX_FILES[0]).write_bytes(images)
    rewrite(path, code_version="0123456789ab")
    status, out, _ = measure(path, "--data-dir", other)
    assert status == 1
    assert "warning: fashion-mnist: " in out
    assert "It was made with other pixels: fingerprint " in out
    assert "It was made by another version of the code: 0123456789ab, not " in out


def test_a_model_without_figures_is_measured_but_not_confirmed(made, measure):
    path = made["numba"] / "last" / "model.safetensors"
    rewrite(path, metrics={"test_accuracy": "nan"})
    status, out, _ = measure(path)
    assert status == 1
    assert out.splitlines()[-1] == "The file reports no such figures: there is nothing to compare with."
    assert "test_accuracy " in out


def test_a_model_of_other_images_is_refused(made, measure):
    path = made["numpy"] / "last" / "model.safetensors"
    tensors = load_file(path)
    tensors["0.weight"] = np.ascontiguousarray(tensors["0.weight"][:, :19])
    rewrite(path, tensors)
    line = "takes 19 inputs and tells 3 classes apart; fashion-mnist has 20 pixels and 3 classes"
    assert measure(path) == (2, "", f"error: {path}: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "name a model file"),
        (["nowhere.safetensors"], "nowhere.safetensors: there is no such file"),
        (["a", "b"], "'b' is one argument too many"),
        (["a", "--split", "train"], "unknown part 'train' in --split; allowed: test, validation"),
        (["a", "--splt", "test"], "did you mean '--split'?"),
        (["a", "--extension", "nowhere.py"], "nowhere.py"),
    ],
)
def test_a_wrong_request_is_one_line(measure, arguments, part):
    status, out, err = measure(*arguments)
    assert (status, out) == (2, "")
    assert part in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_data_that_cannot_be_found_are_one_line(made, measure):
    status, _, err = measure(made["numpy"] / "last" / "model.safetensors", "--data-dir", "nowhere")
    assert status == 2
    assert "'nowhere'" in err
    assert err.count("\n") == 1


def test_a_model_with_an_extension_needs_its_file(small_data, tmp_path, measure, capsys):
    write_extensions(tmp_path)
    study = 'seeds = 1\nextensions = ["swish.py"]\n[base]\nepochs = 1\nhidden = [3]\nactivation = "swish"\n'
    (tmp_path / "mine.toml").write_text(study)
    assert ablate.main([str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    capsys.readouterr()
    (path,) = (tmp_path / "out" / "runs").glob("*/last/model.safetensors")
    script = "import sys; from harness import evaluate; sys.exit(evaluate.main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "swish" in done.stderr
    status, out, _ = measure(path, "--extension", tmp_path / "swish.py")
    assert status == 0
    assert "swish" in out


def test_help_loads_no_heavy_library():
    code = """
import sys
from harness import evaluate
try:
    evaluate.main(["--help"])
except SystemExit as end:
    assert end.code == 0
print(sorted({"numba", "numpy", "pandas", "scipy", "rich", "safetensors", "pydantic"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
