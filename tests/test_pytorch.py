"""Models in PyTorch, where it is installed: the snippet of the documents gives the predictions of our engine."""

from __future__ import annotations

import numpy as np
import pytest
from documents import blocks

from harness.config import RunConfig
from harness.data import make_split
from harness.store import save_run
from harness.trainer import train

torch = pytest.importorskip("torch")


def test_the_documents_snippet_gives_our_predictions(fashion, tmp_path, monkeypatch):
    import safetensors.torch

    config = RunConfig.from_settings({"epochs": 2, "data.limit": 2000}, "a test")
    split = make_split(fashion, limit=2000)
    save_run(tmp_path, "run", config, train(config, fashion, split), {})
    images, y = fashion.X[split.test].reshape(-1, 28, 28), fashion.y[split.test]
    (snippet,) = blocks("docs/models.md", "python")
    assert len(snippet.splitlines()) == 3
    for select in ("last", "best"):
        monkeypatch.chdir(tmp_path / "run" / select)
        names = {"torch": torch, "safetensors": safetensors, "images": images}
        exec(compile(snippet, "docs/models.md", "exec"), names)
        confusion = np.load("arrays.npz")["confusion"]
        right = float(np.mean(names["predictions"].numpy() == y))
        assert right == pytest.approx(np.trace(confusion) / confusion.sum(), abs=2 / len(y))  # rounding may turn a tie
        assert right > 0.7
