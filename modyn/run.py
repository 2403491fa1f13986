"""One run, read back from its journal as tables.

Every table is a pandas DataFrame built from the run's events alone, so a run that is still going, was stopped, failed or
lost its process can be read like a finished one: it has the rounds that it has. Times are UTC datetimes, intervals are
half-open, an undefined score is NaN with its reason beside it.
"""

import json
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modyn import rounds
from modyn.errors import NotFound, did_you_mean
from modyn.rounds import STATIONS as STATIONS
from modyn.runlog import Event, RunLog

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COMPOSITES = ("active", "trained", "never-retrained")
"""The models made of the run's checkpoints: its two composites, and its first checkpoint never retrained."""
TABLES = (
    "rounds", "evaluations", "costs", "epochs", "triggers", "selections", "composite", "windows", "scores", "warnings",
)  # fmt: skip
Score = tuple[float, str | None]


class Run:
    """A run's tables, from the journal as it stands when the object is made; make another one to see what came since.

    ``started`` holds the fields of the ``run-started`` event (seed, versions, git, dataset, ...), ``pipeline`` the resolved
    document.
    """

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self._events = list(log.events())

    @property
    def id(self) -> str:
        return self.log.run_id

    @property
    def name(self) -> str:
        """The pipeline's name; the run's id if the journal does not have it."""
        return str(self.pipeline.get("name") or self.id)

    @property
    def called(self) -> str:
        """What the run was called when it was started: its id without the number; its pipeline's name unless another was given."""
        called, _, number = self.id.rpartition("-")
        return called if called and number.isdigit() else self.id

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped``, ``failed``, or ``interrupted`` (its process died)."""
        return self.log.status

    @property
    def why(self) -> str:
        """Why the run stopped or failed; empty if it did neither."""
        for event in reversed(self._events):
            if event.kind in ("run-stopped", "run-failed"):
                return str(event.fields.get("reason" if event.kind == "run-stopped" else "error") or "")
            if event.kind in ("run-finished", "run-started"):
                break
        return ""

    @cached_property
    def started(self) -> Mapping[str, Any]:
        """The fields of the last ``run-started`` event; empty if the run never started."""
        return self._last("run-started")

    @property
    def pipeline(self) -> Mapping[str, Any]:
        return self.started.get("pipeline") or {}

    @property
    def metrics(self) -> Mapping[str, bool]:
        """Each metric's name, in the pipeline's order, and whether higher values are better."""
        known = {str(m["name"]): bool(m.get("higher_is_better", True)) for m in self.started.get("metrics") or ()}
        for metric in self.evaluations["metric"].unique():
            known.setdefault(str(metric), True)
        return known

    @property
    def num_rounds(self) -> int:
        """How many rounds are done."""
        return len({e.round for e in self._events if e.kind == "round-finished"})

    @property
    def seconds(self) -> float:
        """Seconds spent in all stations so far."""
        return float(self.costs["seconds"].sum())

    @property
    def retraining_seconds(self) -> float:
        """Seconds that finished rounds spent in all stations but ``evaluate``: what keeping the model up to date costs."""
        costs = self.finished_costs
        return float(costs.loc[costs["station"] != "evaluate", "seconds"].sum())

    @property
    def finished_costs(self) -> "pd.DataFrame":
        """``costs``, less those of a round that was begun and not finished."""
        begun = self.rounds.loc[~self.rounds["finished"].astype(bool), "round"]
        return self.costs[~self.costs["round"].isin(begun)]

    @cached_property
    def rounds(self) -> "pd.DataFrame":
        """A row a round.

        round, finished, started_at (wall clock), trigger, start_key, end_key, start_time, end_time, data_until,
        num_samples (arrived), num_candidates, num_selected, num_trained (each once, however many epochs), num_steps, epochs,
        loss, checkpoint, parent, device, peak_memory_bytes, size_bytes, first_step_s, seconds_<station> for each station,
        seconds (their sum), score_<metric> (on the first window that starts at or after the end of the round's data).
        """
        import pandas as pd

        costs = self.costs
        spent = costs.groupby(["round", "station"])["seconds"].sum().to_dict() if len(costs) else {}
        rows = []
        for number, events in sorted(rounds.by_number(self._events).items()):
            done = rounds.last_fields(events, "round-finished")
            scores = done.get("scores") or (self._later_scores(done) if self.started.get("following") else {})
            named = {f"score_{metric}": _number(scores.get(metric)) for metric in self.metrics}
            rows.append(rounds.row(number, events, spent) | named)
        table = pd.DataFrame(
            rows, columns=[*rounds.COLUMNS, *(f"score_{metric}" for metric in self.metrics)], dtype=object
        )
        for column in ("start_time", "end_time", "data_until", "started_at"):
            table[column] = _times(table[column])
        measured = [c for c in table.columns if c.startswith(("seconds", "score_")) or c in ("loss", "first_step_s")]
        return table.astype(dict.fromkeys(rounds.COUNTS, "Int64") | dict.fromkeys(measured, "float64"))

    @cached_property
    def windows(self) -> "pd.DataFrame":
        """A row an evaluation window: window (its number), start, end (half-open), num_samples."""
        import pandas as pd

        table = pd.DataFrame(self._window_rows, columns=["start", "end", "num_samples"])
        table.insert(0, "window", range(len(table)))
        table["start"], table["end"] = _times(table["start"]), _times(table["end"])
        return table.astype({"window": "int64", "num_samples": "Int64"})

    @cached_property
    def evaluations(self) -> "pd.DataFrame":
        """A row a score of a checkpoint or of a baseline on a window.

        round, checkpoint (or None), baseline (or None), window, start, end, metric, value (NaN = undefined), reason.
        """
        import pandas as pd

        columns = ["round", "checkpoint", "baseline", "window", "metric", "value", "reason"]
        round_of = self._round_of_checkpoint
        rows = []
        for event in self._of("evaluated"):
            checkpoint, baseline = event.fields.get("checkpoint"), event.fields.get("baseline")
            number = round_of.get(checkpoint, event.round) if checkpoint is not None else None
            for score in event.fields.get("scores") or ():
                value = _number(score.get("value"))
                rows.append(
                    (number, checkpoint, baseline, score["window"], score["metric"], value, score.get("reason"))
                )
        table = pd.DataFrame(rows, columns=columns, dtype=object)
        table = table.drop_duplicates(["checkpoint", "baseline", "window", "metric"], keep="last", ignore_index=True)
        table = table.astype({"round": "Int64", "window": "int64", "value": "float64"})
        return _with_borders(table, self.windows)

    @cached_property
    def costs(self) -> "pd.DataFrame":
        """A row an expense: round (missing = outside rounds), station, seconds, num_samples."""
        import pandas as pd

        rows = [
            (e.round, e.fields.get("station"), _number(e.fields.get("seconds")), e.fields.get("num_samples"))
            for e in self._of("cost")
        ]
        known = {(number, station) for number, station, _, _ in rows}
        for event in self._of("round-finished"):
            for station, seconds in (event.fields.get("costs") or {}).items():
                if (event.round, station) not in known:
                    rows.append((event.round, station, _number(seconds), None))
        table = pd.DataFrame(rows, columns=["round", "station", "seconds", "num_samples"], dtype=object)
        return table.astype({"round": "Int64", "seconds": "float64", "num_samples": "Int64"})

    @cached_property
    def epochs(self) -> "pd.DataFrame":
        """A row an epoch: round, epoch, at, loss, num_samples, samples_per_s, and all else that the trainer gives.

        Of a round that was trained anew, those of the last time.
        """
        return self._flat(
            rounds.last_epochs(self._events), ["round", "epoch", "at", "loss", "num_samples", "samples_per_s"]
        )

    @property
    def training_seconds(self) -> dict[str, float]:
        """Where the time of all epochs went: seconds by phase (wait, move, forward, backward, step)."""
        phases = [column for column in self.epochs.columns if column.startswith("seconds.")]
        return {column.removeprefix("seconds."): float(self.epochs[column].sum()) for column in phases}

    @cached_property
    def triggers(self) -> "pd.DataFrame":
        """A row a check of the trigger: round, at, key, timestamp, and its numbers (nested ones as ``outer.inner``)."""
        table = self._flat(self._of("trigger-checked"), ["round", "at", "key", "timestamp"])
        table["timestamp"] = _times(table["timestamp"])
        return table

    @cached_property
    def selections(self) -> "pd.DataFrame":
        """A row a selection, with the fields of the ``selected`` event (``modyn.runlog.KINDS``); counts and weights are dicts."""
        import pandas as pd

        rows = [{"round": e.round, **e.fields} for e in self._of("selected")]
        table = pd.DataFrame(rows, columns=_SELECTION_COLUMNS, dtype=object)
        table["oldest"], table["newest"] = _times(table["oldest"]), _times(table["newest"])
        counts = dict.fromkeys(("round", "num_candidates", "num_selected", "never_used"), "Int64")
        return table.astype(counts | dict.fromkeys(("new_share", "overlap", "batch_share"), "float64"))

    @cached_property
    def composite(self) -> "pd.DataFrame":
        """What each model scored in each window: those of ``COMPOSITES``, and the baselines that need no training.

        model, window, start, end, checkpoint and round (None where there is no checkpoint yet, and for baselines),
        metric, value (NaN = undefined), reason. ``never-retrained`` is the first checkpoint, in the windows where there is
        an active one.
        """
        import pandas as pd

        scores = self._score_of
        rows: list[tuple[Any, ...]] = []
        for model, checkpoints in self._composite_checkpoints().items():
            for window, checkpoint in enumerate(checkpoints):
                number = self._round_of_checkpoint.get(checkpoint) if checkpoint else None
                for metric in self.metrics:
                    value, reason = _score(scores, model, checkpoint, window, metric)
                    rows.append((model, window, checkpoint, number, metric, value, reason))
        columns = ["model", "window", "checkpoint", "round", "metric", "value", "reason"]
        table = pd.DataFrame(rows, columns=columns, dtype=object)
        table = table.astype({"window": "int64", "round": "Int64", "value": "float64"})
        return _with_borders(table, self.windows)

    @cached_property
    def scores(self) -> "pd.DataFrame":
        """A row a model and metric, with the model's mean.

        model, metric, higher_is_better, mean, num_windows (in the mean), num_undefined (left out of it). For every model
        the mean goes over the windows in which the run has an active checkpoint.
        """
        return self.scores_over(self.active_windows)

    @property
    def active_windows(self) -> Sequence[int]:
        """The numbers of the windows in which the run has an active checkpoint; all of them if it never has one."""
        active = self._composite_checkpoints()["active"]
        return [w for w, checkpoint in enumerate(active) if checkpoint is not None] or list(range(len(self.windows)))

    def scores_over(self, windows: Iterable[int]) -> "pd.DataFrame":
        """``scores``, with the mean taken over these windows."""
        import pandas as pd

        table = self.composite
        table = table[table["window"].isin(list(windows))]
        found = {key: group["value"] for key, group in table.groupby(["model", "metric"], sort=False)}
        rows = []
        for model in self._composite_checkpoints():
            for metric, higher in self.metrics.items():
                values = found.get((model, metric), pd.Series(dtype="float64"))
                defined = int(values.notna().sum())
                rows.append((model, metric, higher, float(values.mean()), defined, len(values) - defined))
        return pd.DataFrame(
            rows, columns=["model", "metric", "higher_is_better", "mean", "num_windows", "num_undefined"]
        )

    @cached_property
    def warnings(self) -> "pd.DataFrame":
        """A row a warning: at, round, message."""
        import pandas as pd

        rows = [(e.at, e.round, str(e.fields.get("message", ""))) for e in self._events if e.kind == "warning"]
        table = pd.DataFrame(rows, columns=["at", "round", "message"], dtype=object)
        table["at"] = _times(table["at"])
        return table.astype({"round": "Int64"})

    def to_arrow(self, table: str) -> "pa.Table":
        """One of ``TABLES`` for Arrow; dicts are written as JSON text. Raises NotFound for another name."""
        import pandas as pd
        import pyarrow as pa

        if table not in TABLES:
            raise NotFound(f"a run has no table '{table}'. {did_you_mean(table, TABLES)}")
        frame: pd.DataFrame = getattr(self, table).copy()
        for column in frame.columns:
            if frame[column].dtype == object:
                texts = [v if v is None or isinstance(v, str) else _as_text(v) for v in frame[column]]
                frame[column] = pd.array(texts, dtype="string")
        return pa.Table.from_pandas(frame, preserve_index=False)

    def report(self, path: str | Path) -> Path:
        """Write the run's report, one HTML file that needs no network, and return its path."""
        from modyn.reports.html import write_html

        return write_html([self], path)

    def __repr__(self) -> str:
        lines = [f"{self.id} ({self.name}): {self.status}, {_count(self.num_rounds, 'round')}, {self.seconds:.1f} s"]
        for model, texts in self._headline():
            lines.append(f"  {model:<16}" + "   ".join(f"{metric} {value}" for metric, value in texts))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(metric)}</th>" for metric in self.metrics)
        body = "".join(
            f"<tr><th>{escape(model)}</th>" + "".join(f"<td>{escape(value)}</td>" for _, value in texts) + "</tr>"
            for model, texts in self._headline()
        )
        title = f"<b>{escape(self.id)}</b> ({escape(self.name)}): {self.status}, {_count(self.num_rounds, 'round')}"
        return f"<p>{title}, {self.seconds:.1f} s</p><table><tr><th>mean over windows</th>{head}</tr>{body}</table>"

    def _headline(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each model with the text of its mean scores."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in self.scores.to_dict("records"):
            text = f"{row['mean']:.3f}" if row["num_windows"] else "undefined"
            if row["num_windows"] and row["num_undefined"]:
                text += f" ({row['num_windows']} of {row['num_windows'] + row['num_undefined']} windows)"
            found[str(row["model"])].append((str(row["metric"]), text))
        return list(found.items())

    def _of(self, kind: str) -> list[Event]:
        return [event for event in self._events if event.kind == kind]

    def _last(self, kind: str) -> Mapping[str, Any]:
        return next((event.fields for event in reversed(self._events) if event.kind == kind), {})

    @cached_property
    def _window_rows(self) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for event in self._of("windows"):
            rows[event.fields.get("first", 0) :] = event.fields.get("windows") or []
        return rows

    @cached_property
    def _round_of_checkpoint(self) -> Mapping[str, int]:
        """Checkpoint id to round, in order of rounds."""
        found = {
            str(e.fields["checkpoint"]): e.round
            for kind in ("stored", "round-finished")
            for e in self._of(kind)
            if e.fields.get("checkpoint") is not None and e.round is not None
        }
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def _later_scores(self, done: Mapping[str, Any]) -> Mapping[str, float | None]:
        """A finished round's scores on its next window, which came after it, as those of a run that follows its dataset do."""
        window = bisect_left(self._window_rows, done.get("data_until", math.inf), key=itemgetter("start"))
        return {m: self._score_of.get((done.get("checkpoint"), window, m), (None, None))[0] for m in self.metrics}

    @cached_property
    def _score_of(self) -> Mapping[tuple[str | None, int, str], Score]:
        """(checkpoint or baseline, window, metric) to score."""
        table = self.evaluations
        who = table["checkpoint"].where(table["checkpoint"].notna(), table["baseline"])
        keys = zip(who, table["window"], table["metric"], strict=True)
        return dict(zip(keys, zip(table["value"], table["reason"], strict=True), strict=True))

    def _composite_checkpoints(self) -> Mapping[str, list[str | None]]:
        """For each model, the checkpoint that stands for it in each window."""
        event, count = self._last("composite"), len(self.windows)
        active, trained = (list(event.get(name) or ())[:count] for name in ("active", "trained"))
        if not event:
            active, trained = self._derived_composite()
        active, trained = (c + [None] * (count - len(c)) for c in (active, trained))
        first = next(iter(self._round_of_checkpoint), None)
        never = [first if checkpoint is not None else None for checkpoint in active]
        baselines = self.evaluations["baseline"].dropna().unique()
        return dict(zip(COMPOSITES, (active, trained, never), strict=True)) | {
            str(b): [None] * count for b in baselines
        }

    def _derived_composite(self) -> tuple[list[str | None], list[str | None]]:
        """The composite models of a run that ended before it wrote them down."""
        done = [e.fields for e in self._of("round-finished") if e.fields.get("data_until") is not None]
        borders = sorted((int(f["data_until"]), str(f["checkpoint"])) for f in done if f.get("checkpoint") is not None)
        before = [bisect_right(borders, row["start"], key=itemgetter(0)) for row in self._window_rows]
        active = [borders[n - 1][1] if n else None for n in before]
        return active, [borders[min(n, len(borders) - 1)][1] if borders else None for n in before]

    def _flat(self, events: Iterable[Event], columns: list[str]) -> "pd.DataFrame":
        """The events with nested fields as ``outer.inner`` columns; the given columns are there in any case."""
        import pandas as pd

        rows = [{"round": e.round, "at": e.at, **_flatten(e.fields)} for e in events]
        table = pd.DataFrame(rows)
        table = table.reindex(columns=[*columns, *(c for c in table.columns if c not in columns)])
        table["at"] = _times(table["at"])
        return table.astype({"round": "Int64"})


_SELECTION_COLUMNS = (
    "round", "selector", "num_candidates", "num_selected", "oldest", "newest", "labels", "candidate_labels", "arrived",
    "candidates_arrived", "new_share", "overlap", "never_used", "weights", "batch_share",
)  # fmt: skip


def _score(scores: Mapping[Any, Score], model: str, checkpoint: str | None, window: int, metric: str) -> Score:
    """What stands for a model in a window, with the reason if that is nothing."""
    is_baseline = model not in COMPOSITES
    if checkpoint is None and not is_baseline:
        return float("nan"), "no checkpoint yet"
    value, reason = scores.get((model if is_baseline else checkpoint, window, metric), (float("nan"), "not evaluated"))
    return value, reason or ("not given" if value != value else None)


def _with_borders(table: "pd.DataFrame", windows: "pd.DataFrame") -> "pd.DataFrame":
    """The table with ``start`` and ``end`` of its windows put after ``window``."""
    borders = windows.set_index("window")
    place = list(table.columns).index("window")
    for offset, name in enumerate(("start", "end"), start=1):
        table.insert(place + offset, name, borders[name].reindex(table["window"]).array)
    return table


def _times(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Microseconds (None where missing) as UTC datetimes, at the resolution of microseconds, so that any year fits."""
    import numpy as np
    import pandas as pd

    moments = [np.datetime64("NaT") if pd.isna(v) else np.datetime64(int(v), "us") for v in values]
    return pd.Series(np.array(moments, dtype="datetime64[us]"), index=values.index).dt.tz_localize("UTC")


def _number(value: Any) -> float:
    """The value as a float; NaN for None and for what is not a number."""
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found.update(_flatten(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def _as_text(value: Any) -> str | None:
    return None if isinstance(value, float) and value != value else json.dumps(value, default=str)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
