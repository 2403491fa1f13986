"""How a column's values are counted in bins, for the metrics that compare frequencies."""

from typing import Literal

import numpy as np

from modyn.types import Float64s

Binning = Literal["width", "quantile"]


def edges_of(reference: Float64s, current: Float64s, *, bins: int, binning: Binning) -> Float64s:
    """The inner borders of the bins: equally wide over both windows' range, or at the reference's quantiles.

    A value that is several quantiles at once has a bin of its own.
    """
    if binning == "quantile":
        edges, counts = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]), return_counts=True)
        return np.union1d(edges, np.nextafter(edges[counts > 1], np.inf))
    low = min(float(reference.min()), float(current.min()))
    high = max(float(reference.max()), float(current.max()))
    return np.linspace(low, high, bins + 1)[1:-1] if high > low else np.array([low])


def frequencies(
    reference: Float64s, current: Float64s, *, bins: int, binning: Binning, floor: float = 0.0
) -> tuple[Float64s, Float64s]:
    """The share of each window's values in each bin, with ``floor`` added to every share; each sums to 1.

    >>> frequencies(np.array([0.0, 1.0]), np.array([1.0, 1.0]), bins=2, binning="width")
    (array([0.5, 0.5]), array([0., 1.]))
    """
    edges = edges_of(reference, current, bins=bins, binning=binning)

    def shares(values: Float64s) -> Float64s:
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        raised = counts / counts.sum() + floor
        return np.asarray(raised / raised.sum(), dtype=np.float64)

    return shares(reference), shares(current)
