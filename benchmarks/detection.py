"""Where triggers fire on streams whose change points are known: delay after each change, and false alarms per 100,000 samples.

SEA (Street and Kim 2001): three uniform columns, label = column 0 + column 1 <= theta, 10 % of the labels flipped; theta is 8, 9, 7, 9.5 in turn, so the
inputs never change and only the labels do. Moving Gaussians: ten columns whose mean jumps in two of them. A deployed model is logistic regression,
trained at each firing on the last 2,000 samples that arrived. Run: python benchmarks/detection.py [--samples 60000] [--seeds 3]
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.memory_features import MemoryFeatures
from modyn.triggers.simulate import simulate
from modyn.types import Round, Samples

CHECK, WINDOW, TRAIN = 500, 2000, 2000


@dataclass(frozen=True)
class Stream:
    raw: np.ndarray
    labels: np.ndarray
    changes: np.ndarray


def sea(n: int, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0, 10, size=(n, 3))
    theta = np.array([8, 9, 7, 9.5])[np.arange(n) // (n // 8) % 4]
    labels = (raw[:, 0] + raw[:, 1] <= theta) ^ (rng.random(n) < 0.1)
    return Stream(raw, labels.astype(np.int64), np.arange(1, 8) * (n // 8))


def gaussians(n: int, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    regime = np.arange(n) // (n // 8)
    means = rng.normal(scale=0.6, size=(9, 2)).cumsum(axis=0)
    raw = rng.normal(size=(n, 10))
    raw[:, :2] += means[regime]
    labels = (raw[:, 0] > means[regime][:, 0]) ^ (rng.random(n) < 0.1)
    return Stream(raw, labels.astype(np.int64), np.arange(1, 8) * (n // 8))


STREAMS = {"SEA": sea, "moving Gaussians": gaussians}


def drift(metric: Any, criterion: Any, features: str = "raw") -> dict[str, Any]:
    return {
        "drift": {
            "features": features,
            "metrics": {"it": {"metric": metric, "criterion": criterion}},
            "check_every": CHECK,
            "window": {"amount": {"reference": WINDOW, "current": WINDOW // 2}},
        }
    }


P005 = {"p-value": {"level": 0.005}}
TRIGGERS: dict[str, Any] = {
    "drift: mmd, p-value (199 permutations)": drift({"mmd": {"permutations": 199}}, P005),
    "drift: mmd, quantile of the last 10": drift("mmd", "quantile"),
    "drift: ks, bonferroni p-value": drift({"ks": {"combine": "bonferroni"}}, P005),
    "drift: energy, p-value": drift({"energy": {"permutations": 199}}, P005),
    "drift: psi max > 0.1": drift({"psi": {"combine": "max"}}, {"threshold": {"value": 0.1}}),
    "drift: classifier, p-value": drift("classifier", P005),
    "drift: chi2 of the labels, p-value": drift("chi2", P005, "label"),
    "drift: ks of the losses, p-value": drift("ks", P005, "loss"),
    "performance: 3 % below the mean of 10": {
        "performance": {"check_every": CHECK, "criteria": {"it": {"rolling-average": {"deviation": 0.03}}}}
    },
    "performance: avoidable errors > 60": {
        "performance": {"check_every": CHECK, "criteria": {"it": {"avoidable-misclassifications": {"threshold": 60}}}}
    },
    "stream-detector: adwin": {"stream-detector": {"detector": "adwin", "check_every": 100}},
    "stream-detector: ddm": {"stream-detector": {"detector": "ddm", "check_every": 100}},
    "stream-detector: hddm-a": {"stream-detector": {"detector": "hddm-a", "check_every": 100}},
    "stream-detector: page-hinkley": {"stream-detector": {"detector": "page-hinkley", "check_every": 100}},
    "every 2,000 samples (baseline)": {"every": {"samples": 2000}},
}


def firings(document: Any, stream: Stream) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    n = len(stream.raw)
    features = MemoryFeatures(stream.raw, labels=stream.labels)

    def deploy(done: Round) -> None:
        end = done.window.end
        rows = slice(max(0, end - TRAIN), end)
        model = LogisticRegression().fit(stream.raw[rows], stream.labels[rows])
        features.deploy(f"simulated/{done.number}", model=model.predict_proba)

    samples = Samples(np.arange(n), np.arange(n) * 1_000_000, stream.labels)
    found = simulate(build(Trigger, document), [samples], features=features, deploy=deploy)
    return np.array([firing.key for firing in found.firings])


def judge(fired: np.ndarray, stream: Stream) -> tuple[list[int], int, int]:
    """Delays of the changes that were found before the next one, how many were missed, and how many firings were false alarms.

    The first firing makes the first model, and one within a window of a detection belongs to it; neither is a false alarm.
    """
    borders = [*stream.changes.tolist(), len(stream.raw)]
    delays, missed = [], 0
    excused = set(fired[:1].tolist())
    for start, end in pairwise(borders):
        inside = fired[(fired >= start) & (fired < end)]
        if not len(inside):
            missed += 1
            continue
        delays.append(int(inside[0]) - start)
        excused |= set(inside[inside <= inside[0] + WINDOW].tolist())
    return delays, missed, len(set(fired.tolist()) - excused)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name, make in STREAMS.items():
        streams = [make(options.samples, seed) for seed in range(options.seeds)]
        print(f"\n{name}: a change each {options.samples // 8:,} samples, {options.seeds} seeds\n")
        print(
            "| trigger | changes found | median delay (samples) | false alarms per 100,000 samples | s per 100,000 samples |"
        )
        print("|---|---|---|---|---|")
        for title, document in TRIGGERS.items():
            before = time.perf_counter()
            found = [judge(firings(document, stream), stream) for stream in streams]
            seconds = time.perf_counter() - before
            delays = [delay for result in found for delay in result[0]]
            changes = sum(len(stream.changes) for stream in streams)
            total = options.samples * options.seeds
            alarms = sum(result[2] for result in found) / total * 1e5
            delay = f"{statistics.median(delays):,.0f}" if delays else "-"
            print(
                f"| {title} | {len(delays)} of {changes} | {delay} | {alarms:.1f} | {seconds / total * 1e5:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
