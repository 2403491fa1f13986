"""Selecting half of 10 million candidates without a model: time against ``rng.permutation``, memory against the array of keys.

Rivals take turns in one process; memory is the peak of what NumPy allocates during the choice, in a run of its own.
"""

import statistics
import time
import tracemalloc

import numpy as np

from modyn.policy import build
from modyn.selectors import Selector
from modyn.types import Candidates, Samples

N, REPEATS = 10_000_000, 5


def stream(n: int) -> Candidates:
    rng = np.random.default_rng(0)
    keys = np.arange(n)
    samples = Samples(keys, keys * 1000, rng.integers(0, 10, n))
    used = rng.integers(0, 2, n)
    return Candidates(samples, keys // (n // 20), used, used - 1, 20)


def main() -> None:
    candidates = stream(N)
    documents = {
        "uniform": {"uniform": {"budget": "50%"}},
        "balanced": {"balanced": {"budget": "50%"}},
        "balanced by round": {"balanced": {"budget": "50%", "by": "round"}},
        "freshness": {"freshness": {"budget": "50%"}},
        "without-replacement": {"without-replacement": {"budget": "50%"}},
        "reservoir": {"reservoir": {"budget": "50%"}},
        "recency-weighted": {"recency-weighted": {"budget": "50%", "half_life": "1h"}},
        "rs2": {"rs2": {"budget": "50%"}},
    }
    selectors = {name: build(Selector, document) for name, document in documents.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ("permutation", *selectors)}
    for repeat in range(REPEATS):
        before = time.perf_counter()
        np.random.default_rng(repeat).permutation(N)
        seconds["permutation"].append(time.perf_counter() - before)
        for name, selector in selectors.items():
            before = time.perf_counter()
            chosen = selector.choose(candidates, None, seed=repeat)
            seconds[name].append(time.perf_counter() - before)
            assert len(chosen) == N // 2
    base = statistics.median(seconds["permutation"])
    print(f"rng.permutation of {N:,}: {base:.3f} s")
    ratios = {}
    for name, selector in selectors.items():
        tracemalloc.start()
        selector.choose(candidates, None, seed=0)
        memory = tracemalloc.get_traced_memory()[1] / candidates.keys.nbytes
        tracemalloc.stop()
        ratios[name] = statistics.median(seconds[name]) / base, memory
        print(f"{name}: {statistics.median(seconds[name]):.3f} s, peak memory {memory:.2f} times the keys")
    for name in ("uniform", "balanced"):
        print(f"ratio {name}-10m-vs-permutation: {ratios[name][0]:.2f} (goal <= 2)")
        print(f"ratio {name}-10m-memory: {ratios[name][1]:.2f} (goal <= 3)")


if __name__ == "__main__":
    main()
