"""Several runs side by side: what each scored, what each cost, and which of them no other beats on both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modyn.errors import RunError
from modyn.reports.words import duration_text, score_text
from modyn.run import COMPOSITES, STATIONS, Run

if TYPE_CHECKING:
    import pandas as pd

COSTS: Mapping[str, str] = {
    "retraining_seconds": "seconds of retraining",
    "samples_trained": "samples trained on",
    "rounds": "trainings",
}
"""What a run's score can be set against. Seconds of retraining are those of all stations but ``evaluate``."""
Place = tuple[int, int]
"""A window's borders in microseconds: the same window in every run, whatever its number there."""


def pareto_front(
    costs: Iterable[float], scores: Iterable[float], *, higher_is_better: bool = True
) -> npt.NDArray[np.bool_]:
    """Which points no other beats, ``[n]``: none is as good in cost and score and better in one.

    Points with an undefined score are never among them.

    >>> pareto_front([1, 2, 3, 3], [0.6, 0.7, 0.7, float("nan")]).tolist()
    [True, True, False, False]
    """
    cost, score = np.asarray(list(costs), dtype=float), np.asarray(list(scores), dtype=float)
    score = score if higher_is_better else -score
    as_good: npt.NDArray[np.bool_] = (cost[:, None] <= cost) & (score[:, None] >= score)
    better: npt.NDArray[np.bool_] = (cost[:, None] < cost) | (score[:, None] > score)
    beaten = np.any(as_good & better, axis=0)
    on_front: npt.NDArray[np.bool_] = np.logical_not(beaten | np.isnan(cost) | np.isnan(score))
    return on_front


@dataclass(frozen=True, eq=False)
class Comparison:
    """A row a run, then the baselines' rows.

    ``table`` has: name (unique), kind (``run`` or ``baseline``), run (its id; of a baseline, the run that it belongs to),
    model, status, rounds, samples_trained, seconds_<station>, seconds, retraining_seconds; for each metric ``<metric>``
    (mean of the active model), ``<metric> trained`` and ``<metric> windows`` (how many are in the mean); and front (whether
    no other row beats it on the headline metric and retraining_seconds). Means go over the windows that every run has and
    where each run's active model has a score; ``notes`` says where that leaves something out.
    """

    runs: Sequence[Run]
    table: "pd.DataFrame"
    metrics: Mapping[str, bool]
    notes: Sequence[str]

    @property
    def headline(self) -> str | None:
        """The first metric; None if there is none."""
        return next(iter(self.metrics), None)

    def front(self, metric: str, cost: str = "retraining_seconds") -> npt.NDArray[np.bool_]:
        """Which rows lie on the Pareto front of a metric against one of ``COSTS``, ``[row]``; guesses do not count."""
        trained = self.table["rounds"].to_numpy() > 0
        scores = self.table[metric].where(trained)
        return pareto_front(self.table[cost], scores, higher_is_better=self.metrics[metric])

    def __repr__(self) -> str:
        return "\n".join([self._short().to_string(index=False), *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return self._short().to_html(index=False, escape=True) + notes

    def rows(self) -> list[dict[str, str]]:
        """The table as texts by column title, as the terminal and notebooks show it."""
        return [self._row(row) for row in self.table.to_dict("records")]

    def _row(self, row: Mapping[Any, Any]) -> dict[str, str]:
        spent = {station: row[f"seconds_{station}"] for station in STATIONS}
        trained = bool(row["rounds"])
        shown = {"run": str(row["name"])}
        shown |= {"status": str(row["status"])} if set(self.table["status"]) - {"", "finished"} else {}
        shown |= {metric: score_text(row[metric]) for metric in self.metrics}
        shown |= {"front": "yes" if row["front"] else ""} if len(self.runs) > 1 else {}
        shown |= {"trainings": f"{row['rounds']}" if trained else ""}
        shown |= {"samples trained": f"{row['samples_trained']:,}" if trained else ""}
        shown |= {station: duration_text(s) if s else "" for station, s in spent.items() if self._is_spent(station)}
        return shown

    def _is_spent(self, station: str) -> bool:
        return bool(self.table[f"seconds_{station}"].any())

    def _short(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame(self.rows())


def compare(runs: Sequence[Run] | Run) -> Comparison:
    """Set runs side by side. Raises RunError if there is none."""
    runs = [runs] if isinstance(runs, Run) else list(runs)
    if not runs:
        raise RunError("there is no run to compare")
    import pandas as pd

    metrics = _shared_metrics(runs)
    shared = {metric: shared_windows(runs, metric) for metric in metrics}
    names = run_names(runs)
    rows = [_run_row(run, name, shared) for run, name in zip(runs, names, strict=True)]
    rows += _baseline_rows(runs, names, shared)
    stations = [f"seconds_{station}" for station in STATIONS]
    columns = [
        "name",
        "kind",
        "run",
        "model",
        "status",
        "rounds",
        "samples_trained",
        *stations,
        "seconds",
        "retraining_seconds",
    ]
    scores = [column for m in metrics for column in (m, f"{m} trained", f"{m} windows")]
    table = pd.DataFrame(rows, columns=[*columns, *scores])
    comparison = Comparison(runs, table, metrics, _notes(runs, names, shared))
    table["front"] = comparison.front(comparison.headline) if comparison.headline else False
    return comparison


def run_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: what it was called, which is its pipeline's name unless said; or its id where two would share one."""
    names = [run.called for run in runs]
    return [run.id if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def shared_windows(runs: Sequence[Run], metric: str) -> frozenset[Place]:
    """The windows in which the active model of every run has a score."""
    found = [set(places(run, "active", metric)) for run in runs]
    return frozenset(set.intersection(*found))


def places(run: Run, model: str, metric: str) -> Mapping[Place, float]:
    """A model's defined scores by window."""
    table = run.composite
    table = table[(table["model"] == model) & (table["metric"] == metric) & table["value"].notna()]
    starts, ends = (_microseconds(table[border]) for border in ("start", "end"))
    return dict(zip(zip(starts, ends, strict=True), table["value"].tolist(), strict=True))


def mean_score(run: Run, model: str, metric: str, windows: Iterable[Place]) -> float:
    """The mean of a model's scores over windows; NaN unless it has one in each of them."""
    found, windows = places(run, model, metric), list(windows)
    if not windows or any(window not in found for window in windows):
        return float("nan")
    return float(np.mean([found[window] for window in sorted(windows)]))


def _run_row(run: Run, name: str, shared: Mapping[str, frozenset[Place]]) -> dict[str, Any]:
    spent = run.finished_costs.groupby("station")["seconds"].sum()
    row = {
        "name": name,
        "kind": "run",
        "run": run.id,
        "model": "active",
        "status": run.status,
        "rounds": run.num_rounds,
        "samples_trained": int(run.rounds.loc[run.rounds["finished"].astype(bool), "num_trained"].sum()),
        **{f"seconds_{station}": float(spent.get(station, 0.0)) for station in STATIONS},
        "seconds": float(spent.sum()),
        "retraining_seconds": run.retraining_seconds,
    }
    for metric, windows in shared.items():
        row[metric] = mean_score(run, "active", metric, windows)
        row[f"{metric} trained"] = mean_score(run, "trained", metric, windows)
        row[f"{metric} windows"] = len(windows)
    return row


def _baseline_rows(
    runs: Sequence[Run], names: Sequence[str], shared: Mapping[str, frozenset[Place]]
) -> list[dict[str, Any]]:
    """A row for each first checkpoint that is worth one, then one for each different guess."""
    numbers = first_checkpoints(runs)
    rows = [
        _baseline_row(runs[n], "never-retrained", shared)
        | {"name": first_checkpoint_name(names[n], alone=len(numbers) == 1)}
        for n in numbers
    ]
    seen: set[Any] = set()
    for run in runs:
        for model in guesses(run):
            row = _baseline_row(run, model, shared)
            same = (model, *(score_text(row[metric]) for metric in shared))
            if same not in seen:
                rows.append(row | {"name": _BASELINES.get(model, model)})
            seen.add(same)
    return rows


def guesses(run: Run) -> list[str]:
    """The baselines of a run that need no training."""
    return [str(model) for model in run.composite["model"].unique() if model not in COMPOSITES]


def first_checkpoints(runs: Sequence[Run]) -> list[int]:
    """The numbers of the runs whose first checkpoint, never retrained, is worth showing.

    Not those that were trained once only, and one only of several that score the same everywhere.
    """
    seen = {_fingerprint(run, "active") for run in runs if run.num_rounds == 1}
    found = []
    for number, run in enumerate(runs):
        scores = _fingerprint(run, "never-retrained")
        if run.num_rounds > 1 and scores not in seen:
            found.append(number)
        seen.add(scores)
    return found


def first_checkpoint_name(run_name: str, *, alone: bool) -> str:
    return "never retrained" if alone else f"{run_name} (first checkpoint)"


def _fingerprint(run: Run, model: str) -> Any:
    return frozenset((m, w, score_text(v)) for m in run.metrics for w, v in places(run, model, m).items())


_BASELINES = {
    "never-retrained": "never retrained",
    "no-change": "no change",
    "majority-class": "majority class",
    "mean-label": "mean label",
}


def _baseline_row(run: Run, model: str, shared: Mapping[str, frozenset[Place]]) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": "baseline", "run": run.id, "model": model, "status": "", "rounds": 0}
    row |= dict.fromkeys((*(f"seconds_{s}" for s in STATIONS), "seconds", "retraining_seconds"), 0.0)
    row |= {"samples_trained": 0}
    if model == "never-retrained" and len(run.rounds):
        first = run.rounds.iloc[0]
        row |= {f"seconds_{station}": float(first[f"seconds_{station}"]) for station in STATIONS}
        row |= {"rounds": 1, "seconds": float(first["seconds"])}
        row |= {"retraining_seconds": row["seconds"] - row["seconds_evaluate"]}
        row |= {"samples_trained": 0 if first.isna()["num_trained"] else int(first["num_trained"])}
    for metric, windows in shared.items():
        row[metric] = mean_score(run, model, metric, windows)
        row[f"{metric} trained"] = float("nan")
        row[f"{metric} windows"] = len(windows)
    return row


def _shared_metrics(runs: Sequence[Run]) -> Mapping[str, bool]:
    return {m: higher for m, higher in runs[0].metrics.items() if all(m in run.metrics for run in runs)}


def _notes(runs: Sequence[Run], names: Sequence[str], shared: Mapping[str, frozenset[Place]]) -> list[str]:
    """What a reader must know before setting these runs against each other."""
    notes = []
    datasets = {(run.started.get("dataset"), run.started.get("dataset_version")) for run in runs}
    if len(datasets) > 1:
        notes.append("The runs did not use the same version of the same dataset, so their scores are not comparable.")
    if not shared:
        notes.append("The runs share no metric.")
    for metric, windows in shared.items():
        whose = "every run" if len(runs) > 1 else "the run"
        count = max(len(run.active_windows) for run in runs)
        if len(windows) < count:
            notes.append(
                f"{metric}: means go over the {len(windows)} of {count} windows in which {whose} has a defined score."
            )
    unfinished = [f"{name} ({run.status})" for run, name in zip(runs, names, strict=True) if run.status != "finished"]
    if unfinished:
        notes.append(f"Not finished, so what they cost and scored is not all that they would: {', '.join(unfinished)}.")
    return notes


def _microseconds(times: "pd.Series[Any]") -> list[int]:
    return [int(t) for t in times.dt.tz_localize(None).astype("datetime64[us]").astype("int64")]
