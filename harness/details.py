"""``details.npz``: what figures and the report need beyond the tables, per cell, in a file small enough to commit.

Kinds of arrays go in by their worth, each for all cells or for none, until one would make the file too large. So a
study of a few cells has them all, and one of a thousand has at least its confusion matrices.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harness.network import Array
from harness.store import StoredRun, load_statistics

DETAILS_BYTES = 5_000_000
HISTOGRAM_EPOCHS = 6  # epochs, evenly spaced from the first to the last one, whose histograms are kept

Named = Iterator[tuple[str, Array]]


def pack(runs: Mapping[str, Sequence[StoredRun]], images: Array | None = None) -> bytes:
    """Put details of the done runs of each variant into the bytes of an ``.npz`` file.

    Names end in the variant's place among ``variants``; a variant without a run has no arrays. Confusion matrices are
    summed over runs, all else is of the first one.

    Parameters
    ----------
    runs : mapping of str to sequence of StoredRun
        Done runs by variant.
    images : (n, d) uint8, optional
        The data set's pixels, of which those of the surest errors are kept.

    Returns
    -------
    bytes
        At most `DETAILS_BYTES`, as long as the names of the variants alone are no more.
    """
    cells = [(i, stored) for i, stored in enumerate(runs.values()) if stored]
    kept: dict[str, Array] = {"variants": np.array(list(runs))}
    size = len(_npz(kept))
    for alternatives in (
        [_sums("confusion", cells)],
        [_sums("val_confusion", cells)],
        [_first("surest_errors", cells)],
        [_histograms(cells, HISTOGRAM_EPOCHS), _histograms(cells, 1)],
        *([] if images is None or not cells else [[_images(cells, images)]]),
        [_first("first_layer", cells)],
    ):
        fitting = (taken for each in alternatives if (taken := _take(each, DETAILS_BYTES - size)))
        arrays, more = next(fitting, ({}, 0))
        if not arrays:
            break
        kept |= arrays
        size += more
    return _npz(kept)


def _take(arrays: Named, room: int) -> tuple[dict[str, Array], int] | None:
    """All arrays and their bytes in a file; None where they need more room."""
    taken, size = {}, 0
    for name, array in arrays:
        taken[name] = array
        size += len(_npz({name: array}))  # files of one array are together a little larger than one file of them all
        if size > room:
            return None
    return taken, size


def _sums(name: str, cells: Sequence[tuple[int, Sequence[StoredRun]]]) -> Named:
    for i, runs in cells:
        yield f"{name}_{i}", np.sum([run.arrays(name)[name] for run in runs], axis=0)


def _first(name: str, cells: Sequence[tuple[int, Sequence[StoredRun]]]) -> Named:
    for i, runs in cells:
        yield f"{name}_{i}", runs[0].arrays(name)[name]


def _images(cells: Sequence[tuple[int, Sequence[StoredRun]]], images: Array) -> Named:
    """Rows and pixels of all images among the surest errors, each once."""
    rows = np.unique(np.concatenate([runs[0].arrays("surest_errors")["surest_errors"][:, 0] for _, runs in cells]))
    yield "surest_rows", rows.astype(np.int64)
    yield "surest_images", np.asarray(images[rows.astype(np.int64)])


def _histograms(cells: Sequence[tuple[int, Sequence[StoredRun]]], n_epochs: int) -> Named:
    """Histograms of the first run of each cell at some epochs, the last one always among them."""
    for i, runs in cells:
        statistics = load_statistics(runs[0].folder)
        if i == cells[0][0]:
            yield "histogram_edges", statistics.histogram_edges
        last = len(statistics.weight_histogram) - 1
        chosen = np.unique(np.linspace(last, 0, n_epochs).round().astype(np.int64))
        yield f"histogram_epochs_{i}", chosen + 1
        for kind in ("weight", "gradient", "activation"):
            histograms = getattr(statistics, f"{kind}_histogram")
            yield f"{kind}_histogram_{i}", histograms[chosen]


def _npz(arrays: Mapping[str, Array]) -> bytes:
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()
