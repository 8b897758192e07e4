"""The tutorial's commands run one after another, as they are written."""

from __future__ import annotations

import importlib
import shlex

import pytest
from documents import blocks, text

PYTHON = ".venv/bin/python -m "
COMMANDS = [line for block in blocks("docs/tutorial.md", "sh") for line in block.splitlines()]


def test_it_installs_as_the_readme_does():
    install, *rest = COMMANDS
    words, _, extra = install.partition(" -e ")
    assert f"{words} -e ." in text("README.md")
    assert extra == "'.[figures]'"
    assert all(line.startswith(PYTHON) for line in rest)


@pytest.mark.usefixtures("small_data")
def test_its_commands_run_as_they_are_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.plots.DPI", 40)
    (tmp_path / "width.toml").write_text(blocks("docs/tutorial.md", "toml")[0], encoding="utf-8")
    said = []
    for line in COMMANDS[1:]:
        module, *arguments = shlex.split(line.removeprefix(PYTHON))
        assert importlib.import_module(module).main(arguments) == 0
        said.append(capfd.readouterr().out)
    changed = "exp3/fashion-mnist+hidden=256,seeds=5,only=sgd,adam"
    assert f"`results/{changed}/`" in text("docs/tutorial.md")
    for folder in ("exp3/fashion-mnist", changed, "width/fashion-mnist"):
        assert (tmp_path / "results" / folder / "summary.csv").is_file()
    assert "256 units are more accurate than 128" in said[-2]
    assert all("2 studies" in said[i] for i in (-4, -1))
    for name in ("report.html", "report.md", "exp3/fashion-mnist/figures/summary.png"):
        assert (tmp_path / "results" / name).is_file()
