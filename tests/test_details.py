"""Details of a study: what is kept of which run, and that the file stays within its size whatever the grid."""

from __future__ import annotations

import io

import numpy as np
import pytest

from harness import details
from harness.config import RunConfig
from harness.diagnostics import Statistics
from harness.network import initial_weights
from harness.result import Measured, RunResult
from harness.store import StoredRun, load_run, save_run
from kernels.model import histogram_edges

BINS = len(histogram_edges()) - 1
CONFIG = RunConfig.from_settings({}, "a test")
HISTORY = [{"epoch": 1, "val_accuracy": 0.5}]
KINDS = ("confusion", "val_confusion", "surest_errors", "histograms", "first_layer")


def histograms(rng: np.random.Generator, epochs: int, layers: int) -> np.ndarray:
    """Counts like those of weights: most of the bins are empty."""
    sizes = rng.standard_normal((epochs, layers, 5000)) * 10.0 ** rng.uniform(-4, 0, (epochs, layers, 1))
    return np.array([[np.histogram(part, histogram_edges())[0] for part in row] for row in sizes])


@pytest.fixture
def store(tmp_path):
    """Store a run; gives it back as read from its folder."""

    def make(seed: int = 0, epochs: int = 4, sizes: tuple[int, ...] = (5, 4, 3), classes: int = 3) -> StoredRun:
        rng = np.random.default_rng(seed)
        n_layers = len(sizes) - 1
        kinds = [histograms(rng, epochs, n_layers), histograms(rng, epochs, n_layers)]
        activations = histograms(rng, epochs, n_layers)[:, : n_layers - 1]
        errors = np.column_stack([rng.integers(0, 70000, 32), rng.integers(0, classes, (32, 2)), rng.random(32)])
        last = Measured(
            epochs, initial_weights(sizes, "he", seed, np.float32), {"test_accuracy": 0.5},
            rng.integers(0, 700, (classes, classes)), rng.integers(0, 700, (classes, classes)), errors,
        )  # fmt: skip
        statistics = Statistics(*kinds, activations, histogram_edges())
        result = RunResult("done", "", HISTORY, {}, statistics, last, last)
        save_run(tmp_path, f"run{seed}", CONFIG, result, {})
        return load_run(tmp_path, f"run{seed}")

    return make


def unpack(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def test_confusions_are_summed_and_the_rest_is_of_the_first_run(store):
    runs = [store(seed) for seed in range(3)]
    arrays = unpack(details.pack({"a": runs[:1], "nothing": [], "b": runs[1:]}))
    assert list(arrays["variants"]) == ["a", "nothing", "b"]
    assert {name for name in arrays if name.endswith("_1")} == set()
    for name in ("confusion", "val_confusion"):
        expected = runs[1].arrays()[name] + runs[2].arrays()[name]
        np.testing.assert_array_equal(arrays[f"{name}_2"], expected)
    for name in ("surest_errors", "first_layer"):
        np.testing.assert_array_equal(arrays[f"{name}_2"], runs[1].arrays()[name])


def test_images_of_the_surest_errors_are_kept_each_once(store):
    runs = [store(seed) for seed in range(2)]
    images = np.random.default_rng(0).integers(0, 255, (70000, 3), dtype=np.uint8)
    arrays = unpack(details.pack({"a": runs[:1], "b": runs[1:]}, images))
    named = {int(row) for run in runs for row in run.arrays("surest_errors")["surest_errors"][:, 0]}
    assert arrays["surest_rows"].tolist() == sorted(named)
    np.testing.assert_array_equal(arrays["surest_images"], images[sorted(named)])
    assert list(unpack(details.pack({"a": []}, images))) == ["variants"]


@pytest.mark.parametrize(
    ("epochs", "chosen"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 3, 4, 5, 6]), (20, [1, 5, 9, 12, 16, 20])]
)
def test_histograms_of_six_epochs_are_kept_the_first_and_the_last_among_them(store, epochs, chosen):
    run = store(epochs=epochs)
    arrays, whole = unpack(details.pack({"a": [run]})), details.load_statistics(run.folder)
    assert list(arrays["histogram_epochs_0"]) == chosen
    for kind in ("weight", "gradient", "activation"):
        expected = getattr(whole, f"{kind}_histogram")[np.array(chosen) - 1]
        np.testing.assert_array_equal(arrays[f"{kind}_histogram_0"], expected)
    np.testing.assert_array_equal(arrays["histogram_edges"], histogram_edges())


def test_a_network_without_a_hidden_layer_has_no_activations(store):
    arrays = unpack(details.pack({"a": [store(sizes=(5, 3))]}))
    assert arrays["activation_histogram_0"].shape == (4, 0, BINS)


def test_no_runs_give_the_names_alone():
    assert list(unpack(details.pack({"a": [], "b": []}))) == ["variants"]


def kinds_of(arrays: dict[str, np.ndarray]) -> set[str]:
    return {kind for kind in KINDS if any(name.startswith(kind.rstrip("s")) for name in arrays)}


def test_kinds_are_left_out_for_all_cells_or_none_the_least_important_first(store, monkeypatch):
    runs = {f"variant {i}": [store(seed=i, sizes=(784, 64, 3))] for i in range(3)}
    steps, room = [], details.DETAILS_BYTES
    while not steps or steps[-1] != (set(), 0):
        monkeypatch.setattr(details, "DETAILS_BYTES", room)
        data = details.pack(runs)
        arrays = unpack(data)
        assert len(data) <= room
        assert all(name in ("variants", "histogram_edges") or f"{name[:-1]}2" in arrays for name in arrays)
        steps.append((kinds_of(arrays), len(arrays.get("histogram_epochs_0", ()))))
        room = len(data) - 1
    assert steps == [(set(KINDS[:n]), epochs) for n, epochs in ((5, 4), (4, 4), (4, 1), (3, 0), (2, 0), (1, 0), (0, 0))]


@pytest.mark.parametrize(("cells", "kinds"), [(5, 5), (500, 4), (3000, 2)])
def test_a_study_of_any_size_stays_within_five_megabytes(store, cells, kinds):
    stored = [store(seed=i, epochs=20, sizes=(784, 128, 64, 10), classes=10) for i in range(2)]
    data = details.pack({f"optimizer.lr={i / cells}, hidden=128x64": [stored[i % 2]] for i in range(cells)})
    assert len(data) <= 5_000_000
    arrays = unpack(data)
    assert len(arrays["variants"]) == cells
    assert kinds_of(arrays) == set(KINDS[:kinds])
