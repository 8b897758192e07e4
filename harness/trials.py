"""Tables of a search: its trials, the best of them, which parameters mattered, and the winner on the test set.

Pure functions from ended trials to frames and texts, and :func:`write`, which puts all into the search's folder. Only
the winner's test figures are ever read. :func:`write_tuned` does the same for the searches of a study's variants.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cache import Dataset
from harness.config import RunConfig
from harness.files import write_atomic
from harness.journal import Told
from harness.space import LAYERS, UNITS, Parameter
from harness.store import StoredRun
from harness.studyfile import word
from harness.summaries import visible
from harness.sweepfile import Search
from harness.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("trial", "status", "reason", "run_id")
TAIL = ("val_accuracy", "best_val_accuracy", "best_val_epoch", "epochs_done", "train_seconds")
BEST = 10  # trials in summary.md
TOP_SHARE = 0.1  # importance is measured for getting among the best tenth, but at least among the best TOP_TRIALS
TOP_TRIALS = 5
TEST_FIGURES = ("test_accuracy", "test_f1_macro", "test_loss")


@dataclass(frozen=True)
class Results:
    """A search whose trials have ended.

    Attributes
    ----------
    search : Search
        What was asked for.
    dataset : Dataset
        The data.
    told : list of Told
        All trials, by number.
    winner : Told or None
        The best of them; None if none was trained to its end.
    stored : StoredRun or None
        The winner's run.
    """

    search: Search
    dataset: Dataset
    told: list[Told]
    winner: Told | None
    stored: StoredRun | None


def winner(told: Sequence[Told]) -> Told | None:
    """The done trial with the highest validation accuracy after its last epoch; of equals the first."""
    done = [each for each in told if each.result["status"] == "done"]
    return max(done, key=lambda each: (each.accuracies[-1], -each.number), default=None)


def config_of(search: Search, told: Told) -> RunConfig:
    """Settings of a trial's run."""
    names = {p.key: p.names if p.values else {} for p in search.space.parameters}
    return search.space.config({key: names[key].get(value, value) for key, value in told.chosen.items()})


def trials_frame(told: Sequence[Told], parameters: Sequence[Parameter]) -> pd.DataFrame:
    """One line per trial: `HEAD`, the parameters under their keys (and the ``hidden`` they make), `TAIL`."""
    return _frame([_row(each) for each in told], HEAD, parameters)


def tuned_frame(
    found: Mapping[str, Sequence[Told]], chosen: Mapping[str, Told], parameters: Sequence[Parameter]
) -> pd.DataFrame:
    """The same for the trials of several variants; ``chosen`` marks the one whose settings each variant gets."""
    rows = [
        {"variant": name, "chosen": each.number == chosen[name].number, **_row(each)}
        for name, told in found.items()
        for each in told
    ]
    return _frame(rows, ("variant", HEAD[0], "chosen", *HEAD[1:]), parameters)


def _frame(rows: Sequence[dict[str, Any]], head: Sequence[str], parameters: Sequence[Parameter]) -> pd.DataFrame:
    import pandas as pd

    keys = [p.key for p in parameters]
    columns = [*head, *keys, *(["hidden"] if UNITS in keys else []), *TAIL]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    for name in ("best_val_epoch", "epochs_done"):
        frame[name] = frame[name].astype("Int64")
    return frame


def _row(told: Told) -> dict[str, Any]:
    accuracies = told.accuracies
    best = max(accuracies, default=math.nan)
    row = {"trial": told.number, **told.result, **told.chosen, "epochs_done": len(accuracies)}
    if UNITS in told.chosen:
        row["hidden"] = "x".join([str(told.chosen[UNITS])] * told.chosen[LAYERS]) or "none"
    if accuracies:
        row |= {"val_accuracy": accuracies[-1], "best_val_accuracy": best, "best_val_epoch": accuracies.index(best) + 1}
    return row


def history_frame(told: Sequence[Told]) -> pd.DataFrame:
    """One line per epoch of each trial."""
    import pandas as pd

    rows = [(each.number, epoch, value) for each in told for epoch, value in enumerate(each.accuracies, start=1)]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=["trial", "epoch", "val_accuracy"])
    return frame


def importances(told: Sequence[Told], parameters: Sequence[Parameter]) -> dict[str, float]:
    """Share of each parameter in what makes a trial one of the best, the largest first.

    PED-ANOVA (Watanabe, Bansal and Hutter, 2023): how far the distribution of a parameter's values among the best
    tenth of all trials (at least five) is from that among all trials. Trials that were stopped early count with their
    last accuracy. Zeros where fewer than two trials can be told apart.
    """
    import optuna

    known = [each for each in told if each.accuracies]
    varied = [p for p in parameters if len(p.values) != 1]
    if len({each.accuracies[-1] for each in known}) < 2 or not varied:
        return dict.fromkeys((p.key for p in parameters), 0.0)
    study = optuna.create_study(direction="maximize")
    for each in known:
        study.add_trial(
            optuna.trial.create_trial(
                params=each.chosen,
                distributions={p.key: p.distribution() for p in parameters},
                value=each.accuracies[-1],
            )
        )
    share = min(0.5, max(TOP_SHARE, TOP_TRIALS / len(known)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials: their number stands beside the result
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    shares = {p.key: found.get(p.key, 0.0) for p in parameters}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def write(folder: Path, results: Results, environment: Mapping[str, Any]) -> None:
    """Write all files of a search into ``folder``.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    from harness import trialplots
    from harness.plots import save

    parameters = results.search.space.parameters
    frame = trials_frame(results.told, parameters)
    shares = importances(results.told, parameters)
    write_atomic(folder / "trials.csv", to_csv(frame))
    write_atomic(folder / "history.csv", to_csv(history_frame(results.told)))
    write_atomic(folder / "importances.csv", _importances_csv(shares))
    write_atomic(folder / "summary.md", summary(results, shares).encode())
    write_atomic(folder / "environment.json", json.dumps(environment, indent=1, sort_keys=True).encode())
    if results.winner is not None and results.stored is not None:
        write_atomic(folder / "winner.json", _winner_json(results.winner, results.stored))
    title = results.search.title
    save(trialplots.importances(shares, title), folder / "figures", "importances")
    save(trialplots.responses(frame, parameters, title), folder / "figures", "responses")
    save(trialplots.course(frame, title), folder / "figures", "course")


def write_tuned(
    folder: Path, found: Mapping[str, Sequence[Told]], chosen: Mapping[str, Told], parameters: Sequence[Parameter],
    title: str,
) -> None:  # fmt: skip
    """Write ``trials.csv`` and ``figures/responses`` of the searches of a study's variants into the study's folder.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    from harness import trialplots
    from harness.plots import save

    frame = tuned_frame(found, chosen, parameters)
    write_atomic(folder / "trials.csv", to_csv(frame))
    save(trialplots.tuned(frame, parameters, list(found), title), folder / "figures", "responses")


def _importances_csv(shares: Mapping[str, float]) -> bytes:
    import pandas as pd

    return to_csv(pd.DataFrame({"parameter": list(shares), "importance": list(shares.values())}))


def _winner_json(told: Told, stored: StoredRun) -> bytes:
    """The winner's settings and figures."""
    config = json.loads(RunConfig.from_settings(_settings(stored), "the store").canonical())
    figures = {key: stored.row[key] for key in ("val_accuracy", "best_val_accuracy", "train_accuracy", *TEST_FIGURES)}
    record = {"trial": told.number, "run_id": stored.row["run_id"], "metrics": figures, "config": config}
    return (json.dumps(record, indent=1) + "\n").encode()


def _settings(stored: StoredRun) -> dict[str, Any]:
    from harness.config import setting_keys

    own = [key for key in stored.row if key.startswith(("optimizer.", "schedule."))]
    return {
        key: "none" if stored.row[key] is None else stored.row[key] for key in dict.fromkeys([*setting_keys(), *own])
    }


def counts(told: Sequence[Told]) -> str:
    """How many trials ended in which way, in words: ``20 trials: 12 done, 8 pruned``."""
    statuses = [each.result["status"] for each in told]
    parts = [f"{statuses.count(name)} {name}" for name in ("done", "pruned", "diverged", "failed") if name in statuses]
    return f"{len(told)} trials: {', '.join(parts) or 'none'}"


def summary(results: Results, shares: Mapping[str, float]) -> str:
    """Write the search as a Markdown text: what was run, the best trials, the winner on the test set, importances."""
    search, told = results.search, results.told
    keys = [p.key for p in search.space.parameters]
    ranked = sorted(
        (each for each in told if each.result["status"] == "done"), key=lambda t: (-t.accuracies[-1], t.number)
    )
    how = f"{search.method}, pruning: {search.pruning}, seed {search.seed}"
    lines = [f"# {_cell(search.title)}", ""]
    lines += [f"- Question: {_cell(search.question)}"] if search.question else []
    lines += [
        f"- Data set: {results.dataset.name}, fingerprint {results.dataset.fingerprint}",
        f"- Method: {how}{', deterministic' if search.deterministic else ''}",
        f"- {counts(told)}; {sum(len(each.accuracies) for each in told)} of {len(told) * search.shared.epochs} epochs",
    ]
    if results.winner is not None and results.stored is not None:
        figures = ", ".join(f"{name.removeprefix('test_')} {results.stored.row[name]:.4f}" for name in TEST_FIGURES)
        lines.append(f"- Winner: trial {results.winner.number}; on the test images: {figures}")
    lines += ["", "## Best trials", ""]
    lines += _table(
        ["Trial", *keys, "Validation accuracy", "Best epoch"],
        [
            [
                str(t.number),
                *(_value(t.chosen[key]) for key in keys),
                f"{t.accuracies[-1]:.4f}",
                str(_row(t)["best_val_epoch"]),
            ]
            for t in ranked[:BEST]
        ],
    )
    lines += ["", "Validation accuracy: after the last epoch, the figure that is maximised. Only the winner's test "
              "figures were looked at.", "", "## Importances", ""]  # fmt: skip
    lines += _table(["Parameter", "Importance"], [[key, f"{share:.3f}"] for key, share in shares.items()])
    return "\n".join([*lines, ""])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, [" --- "] * len(header), *rows]
    return ["|" + "|".join(f" {_cell(cell)} " for cell in line) + "|" for line in lines]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else word(value)


def _cell(text: str) -> str:
    """A text that cannot break a table."""
    return visible(text).replace("|", "\\|").strip()
