"""Journals of made-up runs, written through the real RunLog, for the tests of tables and reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modyn.run import Run
from modyn.runlog import RunLog

DAY = 86_400_000_000
JAN = 1_356_998_400_000_000  # 2013-01-01 UTC, in microseconds


class Journal:
    """Writes one run's events as the loop does: windows of 30 days, a round at the end of each of the first ones."""

    def __init__(
        self,
        runs: Path,
        name: str = "flights",
        *,
        num_windows: int = 4,
        metrics: Sequence[tuple[str, bool]] = (("accuracy", True),),
        pipeline: Mapping[str, Any] | None = None,
    ) -> None:
        self.log = RunLog.create(runs, name)
        self.name = name
        self.metrics = list(metrics)
        self.windows = [
            {"start": JAN + 30 * DAY * w, "end": JAN + 30 * DAY * (w + 1), "num_samples": 100 + w}
            for w in range(num_windows)
        ]
        self.start(pipeline)

    def start(self, pipeline: Mapping[str, Any] | None = None) -> None:
        document = pipeline or {"name": self.name, "trigger": {"every": {"interval": "30d"}}, "selector": {"all": {}}}
        self.log.append(
            "run-started",
            run=self.log.run_id,
            pipeline={"name": self.name, **document},
            source="name: flights\n",
            versions={"modyn": "0.1", "torch": "2.14.1"},
            git="0123abc",
            seed=7,
            dataset="flights",
            dataset_version=1,
            num_samples=1000,
            stream=[0, 1000],
            stream_time=[JAN, JAN + 30 * DAY * len(self.windows)],
            trigger="every",
            selector="all",
            metrics=[{"name": n, "higher_is_better": h, "description": f"the {n}"} for n, h in self.metrics],
            resumed=False,
        )
        self.log.append("windows", windows=self.windows)

    def round(
        self,
        number: int,
        *,
        seconds: float = 2.0,
        labels: Mapping[str, int] | None = None,
        finish: bool = True,
        scores: Mapping[str, float | None] | None = None,
        selected: Mapping[str, Any] | None = None,
    ) -> str:
        """One round, trained on the window of its number; its checkpoint is ``<run>-c<number>``."""
        log, window = self.log, self.windows[number]
        checkpoint = f"{log.run_id}-c{number}"
        span = {"start_key": 100 * number, "end_key": 100 * (number + 1)}
        times = {"start_time": window["start"], "end_time": window["end"]}
        log.append("round-started", round=number, trigger="every", num_samples=100, **span, **times)
        counts = labels or {"0": 60, "1": 40}
        described = {
            "selector": "all",
            "num_candidates": 100 * (number + 1),
            "num_selected": 100,
            "oldest": JAN,
            "newest": window["end"] - 1,
            "labels": counts,
            "new_share": 1 / (number + 1),
        }
        log.append("selected", round=number, **described | dict(selected or {}))
        log.append("cost", round=number, station="select", seconds=0.1, num_samples=100)
        for epoch in range(2):
            log.append(
                "epoch",
                round=number,
                epoch=epoch,
                loss=0.7 - 0.01 * number - 0.1 * epoch,
                num_samples=100,
                samples_per_s=5e4,
                seconds={"wait": 0.1, "forward": 0.2},
            )
        log.append(
            "trained",
            round=number,
            parent=None,
            num_samples=200,
            num_steps=4,
            loss=0.6,
            device="cpu",
            peak_memory_bytes=1 << 20,
            first_step_s=0.01,
        )
        log.append("cost", round=number, station="train", seconds=seconds, num_samples=200)
        log.append("stored", round=number, checkpoint=checkpoint, size_bytes=4096)
        log.append("cost", round=number, station="store", seconds=0.05, num_samples=0)
        log.append("cost", round=number, station="evaluate", seconds=0.5, num_samples=400)
        if finish:
            log.append(
                "round-finished",
                round=number,
                checkpoint=checkpoint,
                end_key=span["end_key"],
                data_until=window["end"],
                trigger_state={},
                costs={"select": 0.1, "train": seconds, "store": 0.05, "evaluate": 0.5},
                scores=scores or {},
            )
        return checkpoint

    def evaluated(
        self,
        checkpoint: str | None,
        values: Mapping[str, Sequence[float | None]],
        *,
        baseline: str | None = None,
        round: int | None = None,  # noqa: A002
        reason: str = "only one class",
    ) -> None:
        scores = [
            {"window": w, "metric": m, "value": v, "reason": reason if v is None else None}
            for m, column in values.items()
            for w, v in enumerate(column)
        ]
        self.log.append(
            "evaluated", round=round, checkpoint=checkpoint, baseline=baseline, num_samples=400, scores=scores
        )

    def composite(self, active: Sequence[str | None], trained: Sequence[str | None]) -> None:
        self.log.append("composite", active=list(active), trained=list(trained))

    def finish(self, num_rounds: int) -> Run:
        self.log.append("run-finished", num_rounds=num_rounds, seconds=1.5)
        return self.close()

    def close(self) -> Run:
        self.log.close()
        return Run(self.log)


def small_run(runs: Path, name: str = "flights", *, gain: float = 0.1, seconds: float = 2.0) -> Run:
    """Four windows, three rounds, accuracy; window 2 has one class only for every model.

    active = -, .6, undefined, .6 + 2 gain; never retrained = -, .6, undefined, .6; majority class = -, .5, .5, .5.
    """
    journal = Journal(runs, name)
    checkpoints = []
    for number in range(3):
        checkpoints.append(journal.round(number, seconds=seconds))
        values = [0.9, 0.6 + gain * number, None, 0.6 + gain * number]
        journal.evaluated(checkpoints[-1], {"accuracy": values}, round=number)
    journal.evaluated(None, {"accuracy": [None, 0.5, 0.5, 0.5]}, baseline="majority-class")
    journal.evaluated(None, {"accuracy": [None, 0.55, 0.55, 0.4]}, baseline="no-change")
    journal.composite([None, *checkpoints], [*checkpoints, checkpoints[-1]])
    return journal.finish(3)


def long_run(
    runs: Path,
    name: str = "flights",
    *,
    seed: int = 0,
    num_rounds: int = 12,
    metrics: Sequence[tuple[str, bool]] = (("roc-auc", True), ("accuracy", True), ("log-loss", False)),
    decay: float = 0.004,
    every: int = 1,
    drift: bool = False,
) -> Run:
    """A run of many rounds with scores that decay as checkpoints age; ``drift`` logs a drift trigger's numbers too."""
    rng = np.random.default_rng(seed)
    trigger = {"drift": {"metrics": {"mmd": {}}}} if drift else {"every": {"interval": f"{30 * every}d"}}
    document = {"trigger": trigger, "selector": {"uniform": {"budget": "25%"}} if seed % 2 else "all"}
    journal = Journal(runs, name, num_windows=num_rounds, metrics=metrics, pipeline=document)
    checkpoints: dict[int, str] = {}
    for number in range(0, num_rounds, every):
        if drift:
            _check_for_drift(journal, number, rng)
        counts = {"0": int(rng.integers(60, 80)), "1": int(rng.integers(15, 35)), "2": 9}
        seconds = 2.0 + float(rng.random()) + 0.1 * number
        checkpoints[number] = journal.round(number, seconds=seconds, labels=counts, scores={metrics[0][0]: 0.7})
        ages = np.abs(np.arange(num_rounds) - number - 1)
        season = 0.015 * np.sin(np.arange(num_rounds) / 2)
        columns: dict[str, list[float | None]] = {}
        for place, (metric, higher) in enumerate(metrics):
            noise = 0.003 * rng.standard_normal(num_rounds)
            values = 0.7 + 0.02 * place + season - decay * ages + noise
            columns[metric] = [float(v) if higher else float(1.2 - v) for v in values]
        columns[metrics[0][0]][num_rounds // 2] = None
        journal.evaluated(checkpoints[number], columns, round=number)
    for baseline, level in (("majority-class", 0.5), ("no-change", 0.55)):
        columns = {m: [None] + [level if higher else 0.9] * (num_rounds - 1) for m, higher in metrics}
        journal.evaluated(None, columns, baseline=baseline, reason="no sample comes before this window")
    done = sorted(checkpoints)
    active = [next((checkpoints[n] for n in reversed(done) if n < w), None) for w in range(num_rounds)]
    trained = [next((checkpoints[n] for n in done if n >= w), checkpoints[done[-1]]) for w in range(num_rounds)]
    journal.composite(active, trained)
    journal.log.append("warning", message="window 6 has one class only, so roc-auc is undefined there")
    return journal.finish(len(done))


def choosy_run(runs: Path, name: str = "choosy", *, num_rounds: int = 12, weighted: bool = True) -> Run:
    """A run that selects a quarter of all data with weights, prefers label 1, and goes back to old data now and then."""
    rng = np.random.default_rng(3)
    pipeline = {"trigger": {"every": {"interval": "30d"}}, "selector": {"gradient-norm": {"budget": "25%"}}}
    journal = Journal(runs, name, num_windows=num_rounds, pipeline=pipeline)
    for number in range(num_rounds):
        total = 100 * (number + 1)
        size, old = total // 4, min(number, 9)
        arrived = {str(n): size // (old + 1) for n in range(number - old, number)}
        arrived[str(number)] = size - sum(arrived.values())
        journal.round(
            number,
            labels={"0": size // 3, "1": size - size // 3},
            selected={
                "selector": "gradient-norm",
                "num_candidates": total,
                "num_selected": size,
                "candidate_labels": {"0": total - total // 4, "1": total // 4},
                "arrived": arrived,
                "candidates_arrived": {str(n): 100 for n in range(number + 1)},
                "overlap": None if number == 0 else 0.2 + 0.3 * float(rng.random()),
                "never_used": int(total * 0.75 * 0.85**number),
                "weights": {"min": 0.2, "q25": 0.7, "median": 0.9, "q75": 1.2, "max": 3.0 + number / 2, "mean": 1.0}
                if weighted
                else None,
                "batch_share": None,
            },
        )
    return journal.finish(num_rounds)


def _check_for_drift(journal: Journal, number: int, rng: np.random.Generator) -> None:
    """Five checks in the round's window; the last one fires."""
    for check in range(5):
        at = journal.windows[number]["start"] + (check + 1) * 6 * DAY - 1
        distance = 0.02 + 0.01 * check + 0.004 * float(rng.random())
        journal.log.append(
            "trigger-checked",
            key=100 * number + 20 * check,
            timestamp=at,
            distance=distance,
            threshold=0.058,
            fired=check == 4,
            p_value=0.5 - 0.1 * check,
        )
