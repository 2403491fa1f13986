"""What was selected, in numbers for the run log; counted over arrays, payloads untouched."""

from typing import Any

import numpy as np

from modyn.types import Candidates, Int64s, Selection

MOST_LABELS = 50
"""Labels beyond the most frequent so many are counted together, so that an event stays small."""


def describe(candidates: Candidates, selection: Selection) -> dict[str, Any]:
    """Size, time span, label counts and share of never-used samples of a selection."""
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
    }


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
