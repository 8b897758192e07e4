"""The Python interface, for notebooks and scripts: load a study, run it, look at its tables; train one network.

``import harness`` gives all of it. Everything is done by the modules that the commands use; here stand only the few
calls that a person types. What a user got wrong is a :class:`harness.errors.UserError` of one line.
"""

from __future__ import annotations

import csv
import functools
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import RunConfig
from harness.errors import UserError, show, show_path
from harness.study import Overrides, Study, load

if TYPE_CHECKING:
    import pandas as pd

    from harness.cache import Dataset
    from harness.network import Array, Weights
    from harness.result import RunResult


@dataclass(frozen=True)
class Results:
    """The tables of a study that has run; each is read when it is asked for.

    Attributes
    ----------
    folder : Path
        Where the tables lie; docs/output.md explains their columns.
    """

    folder: Path

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """A row per variant: means, intervals, differences from the baseline."""
        return self._table("summary.csv")

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        """A row per run: settings and figures."""
        return self._table("runs.csv")

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """A row per run and epoch: losses, accuracies, what the layers look like."""
        return self._table("history.csv")

    @functools.cached_property
    def classes(self) -> pd.DataFrame:
        """A row per variant and class: precision, recall, F1."""
        return self._table("classes.csv")

    @functools.cached_property
    def findings(self) -> pd.DataFrame:
        """A row per comparison of the study's claims: its numbers and its verdict."""
        return self._table("findings.csv")

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial, of a search or of a study that chose settings first."""
        return self._table("trials.csv")

    @functools.cached_property
    def environment(self) -> dict[str, Any]:
        """What the tables were made with: versions, processor, the command."""
        found: dict[str, Any] = self._read("environment.json", json.loads)
        return found

    def _table(self, name: str) -> pd.DataFrame:
        from harness.tables import from_csv

        table: pd.DataFrame = self._read(name, from_csv)
        return table

    def _read(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        path = self.folder / name
        try:
            return parse(path.read_bytes())
        except OSError as error:
            raise UserError(f"{show_path(path)}: {error.strerror}") from None
        except (ValueError, csv.Error):  # bytes that are no text, lines of unequal lengths, no JSON
            raise UserError(f"{show_path(path)} is damaged; the command that made it writes it again") from None


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that :func:`train` has trained.

    Attributes
    ----------
    config : RunConfig
        Its settings, defaults filled in.
    result : RunResult
        All that was measured.
    class_names : tuple of str
        Of the data set, in the order of the class numbers.
    """

    config: RunConfig
    result: RunResult = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    _scaling: tuple[Array, Array] = field(repr=False)

    @property
    def history(self) -> pd.DataFrame:
        """A row per epoch: losses, accuracies, learning rate, seconds, and what the layers look like."""
        import pandas as pd

        frame: pd.DataFrame = pd.DataFrame(self.result.history)
        return frame

    @property
    def metrics(self) -> dict[str, float]:
        """Figures after the last epoch, such as ``test_accuracy``."""
        return self.result.metrics

    @property
    def weights(self) -> Weights:
        """(W, b) of each layer, W (n_in, n_out), b (n_out,)."""
        return self.result.last.weights

    @property
    def confusion(self) -> pd.DataFrame:
        """Test images by true class (row) and predicted class (column)."""
        import pandas as pd

        confusion, names = self.result.last.confusion, self.class_names
        frame: pd.DataFrame = pd.DataFrame(confusion, index=names, columns=names)
        return frame

    def predict(self, images: Array) -> Array:
        """The class number of each image; images (n, pixels) as in the data set, pixels 0 to 255.

        Raises
        ------
        UserError
            For images of another shape.
        """
        import numpy as np

        from harness.trainer import ENGINE_MODULES
        from kernels.model import Model

        images, pixels = np.atleast_2d(images), len(self.weights[0][0])
        if images.ndim != 2 or images.shape[1] != pixels:
            raise UserError(f"images of shape {images.shape}: must be (n, {pixels}), a row of pixels for each image")
        sizes = (pixels, *(len(b) for _, b in self.weights))
        model = Model(sizes, activation=self.config.activation, loss=self.config.loss)
        module = importlib.import_module(ENGINE_MODULES[self.config.engine])
        engine = module.Engine(model, self.weights, np.dtype(self.config.precision), *self._scaling)
        no_labels = np.zeros(len(images), np.int64)
        predictions: Array = engine.evaluate(images, no_labels, np.arange(len(images))).predictions
        return predictions


def load_study(
    name_or_path: str, *, dataset: str | None = None, epochs: int | None = None, seeds: int | None = None,
    limit: int | None = None, only: Sequence[str] = (), settings: Mapping[str, Any] | None = None,
) -> Study:  # fmt: skip
    """Load a study, and change what a request may change.

    Parameters
    ----------
    name_or_path : str
        A shipped study, such as ``"exp3"``, or the path of a TOML file.
    dataset, epochs, seeds, limit, only
        As ``--dataset`` and so on of ``python -m harness.ablate``.
    settings : mapping, optional
        Settings of every variant by dotted key, such as ``{"optimizer.lr": 0.01}``.

    Returns
    -------
    Study
        ``study.variants`` shows all settings of each variant.

    Raises
    ------
    UserError
        For whatever is wrong with the file or the changes.
    """
    if isinstance(only, str):
        raise UserError(f"only = {only!r}: must be a list of variants")
    texts = tuple(f"{key}={json.dumps(value)}" for key, value in _mapping(settings).items())
    changes = Overrides(
        dataset=dataset, epochs=epochs, seeds=seeds, limit=limit, only=tuple(only), settings=texts
    )  # fmt: skip
    return load(str(name_or_path), changes)


def run_study(
    study: Study, *, out: str | Path = "results", data_dir: str | Path | None = None, jobs: int | None = None,
    fresh: bool = False, wandb: str | None = "disabled",
) -> Results:  # fmt: skip
    """Make the runs of a study that are not stored yet, on all cores, and write and read its tables.

    Parameters
    ----------
    study : Study
        From :func:`load_study`.
    out, data_dir, jobs, fresh, wandb
        As ``--out`` and so on of ``python -m harness.ablate``; tracking is off unless asked for, None leaves it to
        W&B's settings.

    Returns
    -------
    Results
        The tables; a run that failed has its row in ``results.runs``, with its reason.

    Raises
    ------
    UserError
        When the study cannot be run; nothing has been run then.
    KeyboardInterrupt
        When it was stopped; the same call goes on with the rest.
    """
    from harness import session, studyfile
    from harness.command import INTERRUPTED, MAX_JOBS, require_number

    _require(study, Study, "study", "must come from harness.load_study")
    require_number("jobs", jobs, MAX_JOBS)
    if not str(out):
        raise UserError("out: the name of a folder is empty")
    name = study.name if studyfile.available().get(study.name) == study.path else str(study.path)
    places = [("--out", out), ("--data-dir", data_dir), ("--wandb", wandb)]
    words = [word for flag, value in places if value is not None for word in (flag, str(value))]
    request = session.Request(
        study=study,
        command=("python", "-m", "harness.ablate", name, *words, *study.overrides.words()),
        out=Path(out),
        data_dir=None if data_dir is None else Path(data_dir),
        jobs=jobs,
        fresh=fresh,
        wandb=wandb,
    )
    if session.run(request).status == INTERRUPTED:
        raise KeyboardInterrupt
    return Results(request.folder)


def open_results(folder: str | Path) -> Results:
    """The tables in a folder such as ``results/exp3/fashion-mnist``."""
    from harness.committed import MARKS

    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{show_path(folder)} is no folder; tables lie in results/STUDY/DATASET")
    if not any((folder / name).is_file() for name in MARKS):
        raise UserError(f"{show_path(folder)} holds no tables; they lie in results/STUDY/DATASET")
    return Results(folder)


def train(
    settings: Mapping[str, Any] | None = None, *, data_dir: str | Path | None = None, **more: Any
) -> TrainedNetwork:
    """Train one network, in this process, and store nothing.

    Parameters
    ----------
    settings : mapping, optional
        Settings by name, nested or with dotted keys: ``{"optimizer.lr": 0.01}``. Those not given take their defaults.
    data_dir : path, optional
        Folder that holds the data sets.
    **more
        Further settings: ``hidden=[64], epochs=3, optimizer={"name": "sgd", "lr": 0.1}``.

    Returns
    -------
    TrainedNetwork
        Its history, figures and weights.

    Raises
    ------
    UserError
        For a setting that is unknown or not allowed, or data that cannot be found.
    """
    from harness import data, trainer

    config = RunConfig.from_settings({**_mapping(settings), **more}, "harness.train")
    dataset = data.find(config.dataset, None if data_dir is None else Path(data_dir))
    split = data.make_split(dataset, config.data.split, config.data.split_seed, config.data.limit)
    result = trainer.train(config, dataset, split)
    scaling = trainer.input_scaling(dataset, split, config.data.standardise)
    return TrainedNetwork(config, result, tuple(dataset.class_names), scaling)


def load_images(name: str = "fashion-mnist", data_dir: str | Path | None = None) -> Dataset:
    """A data set: ``X`` (N, pixels) uint8, ``y`` (N,) class numbers, ``class_names``."""
    from harness import data

    return data.find(name, None if data_dir is None else Path(data_dir))


def _mapping(settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Settings as they were given, none if there are none."""
    settings = settings or {}
    _require(settings, Mapping, "settings", "must be a mapping, such as {'optimizer.lr': 0.01}")
    return settings


def _require(value: object, kind: type, name: str, wanted: str) -> None:
    """Refuse an argument of another kind."""
    if not isinstance(value, kind):
        raise UserError(f"{name} = {show(value)}: {wanted}")
