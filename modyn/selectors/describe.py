"""What was selected, in numbers for the run log; counted over arrays, payloads untouched."""

from typing import Any

import numpy as np

from modyn.types import Candidates, Float32s, Int64s, Selection

MOST_LABELS = 50
"""Labels beyond the most frequent so many are counted together, so that an event stays small."""


def describe(candidates: Candidates, selection: Selection, before: Selection | None = None) -> dict[str, Any]:
    """Size, time span, labels, ages, weights, share of new samples, and overlap with the selection of the round ``before``."""
    rows: slice | Int64s = slice(None)
    if len(selection) != len(candidates) or not np.array_equal(selection.keys, candidates.keys):
        rows = np.searchsorted(candidates.keys, selection.keys)
    times = candidates.timestamps[rows]
    fresh = candidates.times_used[rows] == 0
    return {
        "num_candidates": len(candidates),
        "num_selected": len(selection),
        "oldest": int(times.min()) if len(times) else None,
        "newest": int(times.max()) if len(times) else None,
        "new_share": float(fresh.mean()) if len(times) else None,
        "labels": _label_counts(candidates, rows),
        "candidate_labels": _label_counts(candidates, slice(None)),
        "arrived": _round_counts(candidates, rows),
        "candidates_arrived": _round_counts(candidates, slice(None)),
        "overlap": _overlap(selection, before),
        "never_used": int((candidates.times_used == 0).sum()) - len(np.unique(selection.keys[fresh])),
        "weights": _spread(selection.weights),
    }


def _round_counts(candidates: Candidates, rows: slice | Int64s) -> dict[str, int]:
    """How many arrived in each round, the latest ``MOST_LABELS`` rounds by themselves, all before together."""
    counts = np.bincount(candidates.arrived[rows], minlength=0)
    first = max(0, len(counts) - MOST_LABELS)
    found = {str(number): int(counts[number]) for number in range(first, len(counts)) if counts[number]}
    return found | ({"earlier": int(counts[:first].sum())} if counts[:first].any() else {})


def _overlap(selection: Selection, before: Selection | None) -> float | None:
    """The share of the selection that was in the one before."""
    if before is None or not len(selection):
        return None
    return float(np.isin(selection.keys, before.keys).mean())


def _spread(weights: Float32s | None) -> dict[str, float] | None:
    """Smallest, largest, quartiles and mean of the weights; None if all are 1."""
    if weights is None or not len(weights):
        return None
    low, first, middle, third, high = np.quantile(weights.astype(np.float64), [0, 0.25, 0.5, 0.75, 1])
    return {"min": low, "q25": first, "median": middle, "q75": third, "max": high, "mean": float(weights.mean())}


def _label_counts(candidates: Candidates, rows: slice | Int64s) -> dict[str, int] | None:
    labels = candidates.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        return None
    chosen = labels[rows]
    if not len(chosen):
        return {}
    if chosen.min() >= 0 and chosen.max() < 10_000:
        counts = np.bincount(chosen)
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(chosen, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = {str(values[i]): int(counts[i]) for i in order[:MOST_LABELS]}
    return found | ({"other": int(counts[order[MOST_LABELS:]].sum())} if len(order) > MOST_LABELS else {})
