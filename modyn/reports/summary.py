"""What retraining was worth, in sentences that claim no more than the run's numbers carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from modyn.reports.compare import COSTS, Comparison, Place, places, run_names
from modyn.reports.policies import given
from modyn.reports.words import MODEL_NAMES, count_text, duration_text, policy_text, score_text
from modyn.run import COMPOSITES, Run

MIN_WINDOWS = 3
"""With fewer windows no difference is called one."""
CAUTION = (
    "The numbers come from one execution of each run with one seed. Neighbouring windows are alike, so their differences "
    "are not independent of each other: repeat with other seeds before relying on small ones."
)


@dataclass(frozen=True)
class Finding:
    """What is said of one run: its name, when and on what it trains, and what that was worth."""

    name: str
    how: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name} ({self.how}) {self.sentence}"


def findings(comparison: Comparison, metric: str) -> list[Finding]:
    """One finding for each run, on one metric."""
    higher, several = comparison.metrics[metric], len(comparison.runs) > 1
    return [
        Finding(name, policies(run), run_sentence(run, metric, higher_is_better=higher, brief=several))
        for run, name in zip(comparison.runs, run_names(comparison.runs), strict=True)
    ]


def summary(comparison: Comparison, metric: str | None = None) -> str:
    """The findings on a metric (by default the first), the Pareto front of several runs, and a caution; a line each."""
    metric = metric or comparison.headline
    if metric is None:
        return "Nothing was evaluated, so there are no scores to report."
    front = [front_sentence(comparison, metric)] if len(comparison.runs) > 1 else []
    return "\n".join([*map(str, findings(comparison, metric)), *front, CAUTION])


def run_sentence(run: Run, metric: str, *, higher_is_better: bool, brief: bool = False) -> str:
    """What one run scored against its first checkpoint and against guessing, at what cost; it follows the run's name.

    Each comparison goes over the windows in which both models have a score. ``brief`` leaves out the guesses that the
    model beats, and how many windows are undefined.
    """
    cost = f"{count_text(run.num_rounds, 'training')} in {duration_text(run.retraining_seconds)}"
    active = places(run, "active", metric)
    if not run.num_rounds:
        return "has finished no training, so there is nothing to judge."
    if not active:
        return f"has no defined {metric} in any window that its active model served, after {cost}."
    if run.num_rounds == 1:
        scored = f"scored a mean {metric} of {_mean(active)} over {count_text(len(active), 'window')}"
        worth = f"trained once, in {duration_text(run.retraining_seconds)}, and {scored}."
    else:
        worth = _worth(active, places(run, "never-retrained", metric), metric, cost, higher_is_better)
    undefined = len(run.active_windows) - len(active)
    left_out = (
        f" Left out: {count_text(undefined, 'window')} without a defined {metric}." if undefined and not brief else ""
    )
    return worth + _against_guesses(run, active, metric, higher=higher_is_better, brief=brief) + left_out


def policies(run: Run) -> str:
    """When and on what the run trains, as its pipeline has it."""
    trigger, selector = (
        policy_text(given(run.pipeline.get(role) or run.started.get(role) or "?", role))
        for role in ("trigger", "selector")
    )
    return f"when: {trigger}; on: {selector}"


def _worth(active: Mapping[Place, float], never: Mapping[Place, float], metric: str, cost: str, higher: bool) -> str:
    """The active model against the first checkpoint, on the windows where both have a score."""
    shared = sorted(set(active) & set(never))
    if not shared:
        scored = f"scored a mean {metric} of {_mean(active)} over {count_text(len(active), 'window')}"
        return f"{scored} with {cost}; its first checkpoint has no score there."
    now, before = (np.array([scores[w] for w in shared]) for scores in (active, never))
    gain = (now - before) if higher else (before - now)
    first, last = score_text(before.mean()), score_text(now.mean())
    moved = f"mean {metric} from {first} (its first checkpoint, never retrained) to {last}"
    tally = f"better in {int((gain > 0).sum())} of {count_text(len(shared), 'window')}"
    if len(shared) < MIN_WINDOWS:
        verdict = (
            f"moved the {moved}, over {count_text(len(shared), 'window')}: too few to tell whether retraining helped"
        )
    elif not is_clear(gain):
        verdict = f"made no clear difference: {moved}, {tally}"
    elif gain.mean() > 0:
        verdict = f"improved the {moved}, {tally}"
    else:
        verdict = f"made the model worse: {moved}, {tally}"
    return f"{verdict}, with {cost}."


def is_clear(gain: "np.ndarray[Any, Any]") -> bool:
    """Whether a mean of differences lies more than two standard errors from zero, windows taken as independent."""
    return bool(abs(gain.mean()) > 2 * gain.std(ddof=1) / sqrt(len(gain)))


def _against_guesses(run: Run, active: Mapping[Place, float], metric: str, *, higher: bool, brief: bool) -> str:
    """Whether the model beats what needs no model, on the windows where both have a score."""
    beaten: list[str] = []
    unbeaten: list[str] = []
    for model in run.composite["model"].unique():
        guess = places(run, model, metric) if model not in COMPOSITES else {}
        shared = sorted(set(active) & set(guess))
        if shared:
            own, other = (float(np.mean([scores[w] for w in shared])) for scores in (active, guess))
            text = f"{MODEL_NAMES.get(model, model)} {score_text(other)}"
            (beaten if (own > other) == higher and own != other else unbeaten).append(text)
    worse = "lower" if higher else "higher, which is worse"
    if unbeaten:
        but = f"; it does beat {', '.join(beaten)}" if beaten else ""
        return f" Mind: a guess without a model does as well or better: {', '.join(unbeaten)}{but}."
    return f" Guessing without a model scores {worse}: {', '.join(beaten)}." if beaten and not brief else ""


def front_sentence(comparison: Comparison, metric: str) -> str:
    """Which runs no other run, nor a first checkpoint never retrained, beats in both score and cost."""
    table = comparison.table
    on_front, judged = comparison.front(metric), (table["kind"] == "run") & table[metric].notna()
    front, beaten = (", ".join(table["name"][mask]) for mask in (judged & on_front, judged & ~on_front))
    if not judged.any():
        return f"There is no window in which all runs have a defined {metric}, so they are not set against each other."
    count = int(table[f"{metric} windows"].iloc[0])
    where = f"Over the {count_text(count, 'window')} that all share"
    text = f"{where}, on the Pareto front of {metric} against {COSTS['retraining_seconds']}: {front or 'none of the runs'}."
    return text + (f" Beaten (something else is at least as good for no more seconds): {beaten}." if beaten else "")


def _mean(scores: Mapping[Place, float]) -> str:
    return score_text(float(np.mean(list(scores.values()))))


def headline(runs: Sequence[Run]) -> str:
    """The page's title."""
    subject = runs[0].called if len(runs) == 1 else f"{len(runs)} runs compared"
    return f"{subject}: what retraining was worth"
