"""Pictures for the page and the figures: the images that a network was surest of and wrong, and first-layer weights.

Pixels of images are those in ``details.npz``; of tables without them they come from the data set where this machine has
it, and nothing is fetched.
Shapes: d inputs; a picture is (height, width) or (3, height, width).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.committed import StudyFolder
from harness.compact import packed, rounded
from harness.errors import UserError
from harness.network import Array
from harness.pagelayers import array

UNITS = 64  # of the first layer, those of the largest norm
FEWEST_UNITS = 16
WEIGHT_BYTES = 1_500_000  # of one study
ERRORS = 24  # images per variant
CODES = 127


def shape_of(inputs: int) -> tuple[int, ...] | None:
    """Shape of a picture of so many numbers: a grey square, or a square in three colours; None for neither."""
    side = math.isqrt(inputs)
    if side * side == inputs and side > 1:
        return (side, side)
    side = math.isqrt(inputs // 3)
    return (3, side, side) if 3 * side * side == inputs and side > 1 else None


def first_layers(folder: StudyFolder, by_place: Mapping[int, int], chosen: Sequence[int]) -> dict[str, Any]:
    """First-layer weights per variant, of the units with the largest norm, as signed bytes scaled by ``largest``."""
    matrices = {
        place: found for place in chosen if (found := _first_layer(folder, by_place.get(place, -1))) is not None
    }
    if not matrices:
        return {}
    inputs = max(len(matrix) for matrix in matrices.values())
    units = min(UNITS, max(FEWEST_UNITS, WEIGHT_BYTES // (inputs * len(matrices))))
    record = {}
    for place, matrix in matrices.items():
        norms = np.linalg.norm(matrix, axis=0)
        kept = np.sort(np.argsort(-norms, kind="stable")[:units])
        largest = float(np.abs(matrix[:, kept]).max()) or 1.0
        codes = np.rint(matrix[:, kept].T / largest * CODES).astype(np.int8)
        record[str(place)] = {
            "shape": shape_of(len(matrix)),
            "units": kept.tolist(),
            "of": matrix.shape[1],
            "largest": rounded([largest], 3)[0],
            "data": packed(codes),
        }
    return record


def _first_layer(folder: StudyFolder, i: int) -> Array | None:
    """Weights (d, units) as float32, zeros for what is not finite; None where they are no pictures."""
    matrix = array(folder, f"first_layer_{i}", 2)
    if matrix is None or shape_of(len(matrix)) is None:
        return None
    return np.nan_to_num(matrix.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def surest_errors(folder: StudyFolder, by_place: Mapping[int, int]) -> dict[str, list[list[float | int | None]]]:
    """Per variant the wrong images that the first run was surest of: row, true class, predicted class, probability."""
    record = {}
    for place, i in by_place.items():
        rows = array(folder, f"surest_errors_{i}", 2)
        if rows is not None and rows.shape[1] == 4 and np.isfinite(rows).all():
            record[str(place)] = [[*map(int, row[:3]), rounded(row[3:])[0]] for row in rows[:ERRORS]]
    return record


def images(folder: StudyFolder, rows: Sequence[int], data_dir: Path | None) -> tuple[Array, tuple[int, ...]] | None:
    """Pixels (n, d) uint8 of rows of the study's data set, and the shape of a picture; None where it is not here.

    Why it is not stands in the folder's ``problems`` then.
    """
    committed = _committed_images(folder, rows)
    return _found_images(folder, rows, data_dir) if committed is None else committed


def _committed_images(folder: StudyFolder, rows: Sequence[int]) -> tuple[Array, tuple[int, ...]] | None:
    """Pixels as ``details.npz`` has them."""
    known, pixels = array(folder, "surest_rows", 1), array(folder, "surest_images", 2)
    if known is None or pixels is None or len(known) != len(pixels) or not set(rows) <= set(known.tolist()):
        return None
    shape = shape_of(pixels.shape[1])
    places = {row: place for place, row in enumerate(known.tolist())}
    return None if shape is None else (pixels[[places[row] for row in rows]], shape)


def _found_images(
    folder: StudyFolder, rows: Sequence[int], data_dir: Path | None
) -> tuple[Array, tuple[int, ...]] | None:
    """Pixels as the data set has them."""
    from harness import data

    runs = folder.tables.get("runs")
    name = folder.dataset.partition("+")[0]
    if runs is None or not runs.rows or not rows:
        return None
    if name not in data.DATASETS:
        folder.problems.append(f"pictures of the images: the data set {name!r} is not known here")
        return None
    try:
        dataset = data.find(name, data_dir, fetch=False)
    except UserError:
        folder.problems.append("pictures of the images: the data set is not on this machine (see --data-dir)")
        return None
    fingerprints = set(runs.texts("data_fingerprint")) - {""}
    if fingerprints - {dataset.fingerprint}:
        folder.problems.append("pictures of the images: the data set on this machine has other pixels")
        return None
    shape = shape_of(dataset.X.shape[1])
    if shape is None or min(rows) < 0 or max(rows) >= len(dataset.X):
        return None
    return np.asarray(dataset.X[list(rows)]), shape


def add(
    record: dict[str, Any],
    folder: StudyFolder,
    by_place: Mapping[int, int],
    chosen: Sequence[int],
    data_dir: Path | None,
) -> None:
    """Add to a study's record, in place: ``weights``, ``errors`` and ``images``."""
    record["weights"] = first_layers(folder, by_place, chosen)
    errors = surest_errors(folder, {place: i for place, i in by_place.items() if place in set(chosen)})
    record["errors"] = errors
    rows = sorted({int(error[0] or 0) for each in errors.values() for error in each})
    found = images(folder, rows, data_dir)
    if found is not None:
        pixels, shape = found
        record["images"] = {"rows": rows, "shape": shape, "data": packed(pixels.astype(np.uint8))}
