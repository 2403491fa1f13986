"""How much faster the pickers are than NumPy written directly, at the same objective.

The direct forms are what a careful user writes: k-center with a norm at each step; facility location with the full matrix of similarities and
all gains at each step. Beyond what fits in memory the direct facility location works through the matrix in row blocks; then a few of
its steps are timed and multiplied, as each costs the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from modyn.selectors.pickers.facility_location import Cover, FacilityLocation
from modyn.selectors.pickers.k_center import KCenter, radius
from modyn.selectors.pickers.matching_pursuit import MatchingPursuit, Pursuit
from modyn.selectors.pickers.points import points_of

MATRIX_BYTES = 1 << 30
TIMED_STEPS = 1


def clusters(n: int, width: int = 128) -> np.ndarray:
    """``[n, width]`` points in 50 clusters of the size that embeddings have."""
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.standard_normal((50, width))
    return (centres[rng.integers(50, size=n)] + rng.standard_normal((n, width))).astype(np.float32)


def direct_k_center(x: np.ndarray, k: int, first: int) -> np.ndarray:
    """Greedy k-center as it is usually written."""
    gaps = np.linalg.norm(x - x[first], axis=1)
    rows = [first]
    for _ in range(k - 1):
        rows.append(int(np.argmax(gaps)))
        gaps = np.minimum(gaps, np.linalg.norm(x - x[rows[-1]], axis=1))
    return np.array(rows)


def distances_to_all(x: np.ndarray, rows: slice) -> np.ndarray:
    squares = (x**2).sum(axis=1)
    return np.sqrt(np.maximum(squares[rows, None] + squares[None] - 2 * x[rows] @ x.T, 0))


class DirectFacilityLocation:
    """All gains at each step, from the full matrix, or from row blocks of it where it does not fit."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self.full = distances_to_all(x, slice(None)) if 4 * len(x) ** 2 <= MATRIX_BYTES else None
        self.gaps = np.full(len(x), 2 * np.linalg.norm(x - x.mean(axis=0), axis=1).max(), np.float32)

    def step(self) -> int:
        n = len(self.x)
        gains = np.empty(n)
        for start in range(0, n, 1000):
            rows = slice(start, start + 1000)
            block = distances_to_all(self.x, rows) if self.full is None else self.full[rows]
            gains[rows] = np.maximum(self.gaps - block, 0).sum(axis=1)
        row = int(np.argmax(gains))
        self.gaps = np.minimum(self.gaps, distances_to_all(self.x, slice(row, row + 1))[0])
        return row


def direct_matching_pursuit(x: np.ndarray, k: int) -> float:
    """Orthogonal matching pursuit with scipy's non-negative least squares at each step; the residual's length."""
    from scipy.optimize import nnls

    wide, target = x.astype(np.float64), x.sum(axis=0, dtype=np.float64)
    residual, rows = target, []
    for _ in range(k):
        scores = wide @ residual
        scores[rows] = -np.inf
        rows.append(int(np.argmax(scores)))
        weights, _ = nnls(wide[rows].T, target)
        residual = target - weights @ wide[rows]
    return float(np.linalg.norm(residual))


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    before = time.perf_counter()
    result = function()
    return time.perf_counter() - before, result


def compare_k_center(x: np.ndarray, k: int, repeats: int) -> float:
    ours, direct = [], []
    for seed in range(repeats):
        first = int(np.random.default_rng(seed).integers(len(x)))
        seconds, picked = timed(lambda seed=seed: KCenter().pick(x, k, np.random.default_rng(seed)))
        ours.append(seconds)
        seconds, rows = timed(lambda first=first: direct_k_center(x, k, first))
        direct.append(seconds)
    gaps = radius(x, picked.rows), radius(x, rows)
    print(
        f"k-center n={len(x)} k={k}: {statistics.median(ours):.3f} s, direct {statistics.median(direct):.3f} s, "
        f"radius {gaps[0]:.4f} and {gaps[1]:.4f}"
    )
    return statistics.median(direct) / statistics.median(ours)


def value(x: np.ndarray, rows: np.ndarray) -> float:
    cover = Cover(points_of(x), "euclidean")
    for row in rows:
        cover.add(int(row))
    return cover.value


def compare_facility_location(x: np.ndarray, k: int) -> float:
    ours, picked = timed(lambda: FacilityLocation(sample=len(x)).pick(x, k, np.random.default_rng(0)))
    setup, direct = timed(lambda: DirectFacilityLocation(x))
    steps = k if direct.full is not None else TIMED_STEPS
    seconds, rows = timed(lambda: [direct.step() for _ in range(steps)])
    total = setup + seconds * k / steps
    same = value(x, picked.rows[:steps]), value(x, np.array(rows))
    how = "" if steps == k else f" ({steps} steps timed, times {k / steps:g})"
    print(
        f"facility-location n={len(x)} k={k}: {ours:.2f} s, direct {total:.2f} s{how}, "
        f"value of the first {steps} {same[0]:.6g} and {same[1]:.6g}"
    )
    fast, sampled = timed(lambda: FacilityLocation(sample=10_000).pick(x, k, np.random.default_rng(0)))
    print(f"  with sample: 10000, {fast:.2f} s, value {value(x, sampled.rows):.6g} against {value(x, picked.rows):.6g}")
    return total / ours


def compare_matching_pursuit(x: np.ndarray, k: int) -> float:
    ours, _ = timed(lambda: MatchingPursuit(ridge=0).pick(x, k, np.random.default_rng(0)))
    pursuit = Pursuit(points_of(x), 0.0)
    while len(pursuit.rows) < k and pursuit.step():
        pass
    direct, residual = timed(lambda: direct_matching_pursuit(x, k))
    print(
        f"matching-pursuit n={len(x)} k={k}: {ours:.3f} s, direct {direct:.3f} s, "
        f"residual {np.linalg.norm(pursuit.residual):.5g} and {residual:.5g}"
    )
    return direct / ours


def peers(x: np.ndarray, k: int) -> None:
    """Facility location by apricot-select and submodlib-py, where they are installed (``pip install apricot-select submodlib-py``)."""
    ours, picked = timed(lambda: FacilityLocation().pick(x, k, np.random.default_rng(0)))
    best = value(x, picked.rows)
    for name, run in (("apricot-select", by_apricot), ("submodlib-py", by_submodlib)):
        try:
            seconds, rows = timed(lambda run=run: run(x, k))
        except ImportError:
            print(f"{name} is not installed here")
            continue
        except Exception as error:  # a peer that fails on current NumPy is worth a line, not an end
            print(f"{name} failed: {type(error).__name__}: {error}")
            continue
        print(
            f"facility-location n={len(x)} k={k} by {name}: {seconds:.2f} s, {seconds / ours:.1f} times ours, "
            f"value {value(x, rows):.6g} against {best:.6g}"
        )


def by_apricot(x: np.ndarray, k: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    return FacilityLocationSelection(k, metric="euclidean", optimizer="lazy").fit(x).ranking


def by_submodlib(x: np.ndarray, k: int) -> np.ndarray:
    from submodlib import FacilityLocationFunction

    made = FacilityLocationFunction(n=len(x), mode="dense", data=x, metric="euclidean")
    return np.array([row for row, _ in made.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="only facility location against other packages")
    options = parser.parse_args()
    if options.peers:
        peers(clusters(10_000), options.k)
        return
    found: dict[str, list[float]] = {"k-center": [], "facility-location": [], "matching-pursuit": []}
    for n in (10_000, 50_000):
        x = clusters(n)
        KCenter().pick(x[:1000], 5, np.random.default_rng(0))
        found["k-center"].append(compare_k_center(x, options.k, options.repeats))
        found["matching-pursuit"].append(compare_matching_pursuit(x, options.k))
        found["facility-location"].append(compare_facility_location(x, options.k))
    for name, ratios in found.items():
        for n, ratio in zip((10_000, 50_000), ratios, strict=True):
            print(f"{name} n={n}: {ratio:.1f} times faster")
    print(f"ratio k-center-vs-numpy: {min(found['k-center']):.2f} (goal >= 3)")
    print(f"ratio facility-location-vs-numpy: {min(found['facility-location']):.2f} (goal >= 3)")
    print(f"ratio matching-pursuit-vs-numpy: {min(found['matching-pursuit']):.2f} (for the record)")


if __name__ == "__main__":
    main()
