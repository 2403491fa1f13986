"""``modyn selection show``: what a round of a run trained on, sample by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from modyn.cli.console import make_console
from modyn.cli.finding import label_text
from modyn.datasets import Dataset
from modyn.errors import NotFound, RunError, counted
from modyn.reports.words import score_text
from modyn.runlog import Event, RunLog
from modyn.selectors import stored
from modyn.types import Array, Float64s, Int64s, Selection, Window, to_datetime
from modyn.workspace import Workspace

app = typer.Typer(help="Show what a run trained on.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Show what a run trained on."""


@app.command("show")
def show(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="The number of a round.", min=0)],
    most: Annotated[int, typer.Option(help="Show at most so many samples.", min=1)] = 20,
) -> None:
    """List what a round selected: keys with scores and weights, the highest first, and each sample's time and label."""
    log = RunLog.find(Workspace().runs, run)
    event = _selected(log, number)
    chosen = _Chosen.read(log, number)
    console = make_console()
    for line in _said(log, event, chosen):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    rows = chosen.first(most)
    console.print(_table(log, chosen, rows))
    if len(rows) < len(chosen.selection):
        console.print(f"{len(rows):,} of {len(chosen.selection):,} shown; --most N shows more", style="dim")


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A selection with the scores it was made by: ``scores[n]``, NaN where a sample has none; None if there are none at all."""

    selection: Selection
    scores: Float64s | None
    epochs: Int64s | None
    """In how many epochs each was trained on, ``[n]``; None if all were in all."""
    num_anew: int
    """How often the selection was made anew while the round trained."""

    @classmethod
    def read(cls, log: RunLog, number: int) -> "_Chosen":
        path = log.folder / "selections" / f"{number}.arrow"
        if not path.exists():
            raise NotFound(f"run {log.run_id} does not have the selection of round {number} any more: {path} is gone")
        selection, later = stored.read(path), stored.made_while_training(log.folder, number)
        scored = [s for epoch in (None, *later) if (s := stored.scores_of(log.folder, number, epoch)) is not None]
        scores = _aligned(selection.keys, *stored.latest(scored)) if scored else None
        return cls(selection, scores, _epochs_of(selection.keys, later), len(later) - (0 in later))

    def first(self, most: int) -> Int64s:
        """The rows to show: by score, else by weight, the highest first; else by key."""
        by = self.selection.weights if self.scores is None else self.scores
        if by is None:
            return np.arange(min(most, len(self.selection)))
        return np.argsort(-np.nan_to_num(by.astype(np.float64), nan=-np.inf), kind="stable")[:most]


def _epochs_of(keys: Int64s, later: Mapping[int, Selection]) -> Int64s | None:
    """``[n]``: in how many epochs each key was drawn out of the batches; None if it was not so that the choice was made."""
    if 0 not in later:
        return None
    drawn = np.sort(np.concatenate([part.keys for part in later.values()]))
    return np.searchsorted(drawn, keys, side="right") - np.searchsorted(drawn, keys, side="left")


def _aligned(keys: Int64s, scored: Int64s, scores: Array) -> Float64s:
    """``[n]``: the score of each of ``keys``, NaN where it is not among ``scored``."""
    found = np.full(len(keys), np.nan)
    if len(scored):
        order = np.argsort(scored, kind="stable")
        places = order[np.searchsorted(scored, keys, sorter=order).clip(max=len(scored) - 1)]
        found = np.where(scored[places] == keys, scores[places], np.nan)
    return found


def _selected(log: RunLog, number: int) -> Event:
    """The last ``selected`` event of a round. Raises NotFound, or RunError if the round has not come so far."""
    found = [event for event in log.events("selected") if event.round == number]
    if found:
        return found[-1]
    rounds = sorted({event.round for event in log.events("round-started") if event.round is not None})
    if number in rounds:
        raise RunError(f"round {number} of run {log.run_id} has not selected anything yet")
    if not rounds:
        raise NotFound(f"run {log.run_id} has no rounds yet")
    known = f"only round {rounds[0]}" if len(rounds) == 1 else f"rounds {rounds[0]} to {rounds[-1]}"
    raise NotFound(f"run {log.run_id} has no round {number}; it has {known}")


def _said(log: RunLog, event: Event, chosen: _Chosen) -> Sequence[str]:
    lines = [
        f"{log.run_id}, round {event.round}: {event['num_selected']:,} of {event['num_candidates']:,} candidates, "
        f"selected by {event['selector']}"
    ]
    share = event.fields.get("batch_share")
    if share is not None:
        lines.append(
            f"{share:.3g} of each large batch was trained on, chosen while training: below is all that came up in any epoch, with "
            "its last score."
        )
    elif chosen.num_anew:
        lines.append(
            f"Selected anew {_times(chosen.num_anew)} while it trained: below is all that it trained on, "
            f"{counted(len(chosen.selection), 'sample')}, each with its last score."
        )
    return lines


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _table(log: RunLog, chosen: _Chosen, rows: Int64s) -> Table:
    selection = chosen.selection
    keys = selection.keys[rows]
    columns: dict[str, Sequence[str]] = {"key": [str(key) for key in keys]}
    if chosen.scores is not None:
        columns["score"] = ["" if np.isnan(score) else score_text(float(score)) for score in chosen.scores[rows]]
    if selection.weights is not None:
        columns["weight"] = [score_text(float(weight)) for weight in selection.weights[rows]]
    if chosen.epochs is not None:
        columns["epochs"] = [str(times) for times in chosen.epochs[rows]]
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns |= _known_of(log, keys)
    for title in columns:
        table.add_column(title, header_style="dim", justify="right")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _known_of(log: RunLog, keys: Int64s) -> dict[str, Sequence[str]]:
    """The times and labels of keys, as the run's dataset has them now; nothing if it is gone."""
    name = str(next(log.events("run-started"))["dataset"])
    try:
        dataset = Dataset.open(Workspace(), name)
    except NotFound:
        return {f"(dataset {name} is gone)": [""] * len(keys)}
    if not len(keys):
        return {}
    samples = dataset.samples(Window(int(keys.min()), int(keys.max()) + 1))
    rows = np.searchsorted(samples.keys, keys).clip(max=max(0, len(samples) - 1))
    live = samples.keys[rows] == keys if len(samples) else np.zeros(len(keys), dtype=bool)
    times = [
        f"{to_datetime(int(samples.timestamps[row])):%Y-%m-%d %H:%M:%S}" if there else "deleted since"
        for row, there in zip(rows, live, strict=True)
    ]
    found: dict[str, Sequence[str]] = {"time (UTC)": times}
    if samples.labels is not None:
        found["label"] = [
            label_text(samples.labels, int(row), dataset.label_classes) if there else ""
            for row, there in zip(rows, live, strict=True)
        ]
    return found
