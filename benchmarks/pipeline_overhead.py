"""What does Modyn cost over a bare PyTorch script that does the same trainings and evaluations?

The rival holds everything in memory as tensors, trains the same MLP on the same samples in the same number of steps, and scores every
checkpoint on every window with the same scikit-learn functions: no dataset, no journal, no checkpoints on disk. Both train twelve rounds of
the flights pipelines. Interleaved, medians over ``--repeats``.

    python benchmarks/pipeline_overhead.py [--repeats 5]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

import modyn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "pipelines"))

import flights  # noqa: E402

SETTINGS = ["evaluation.metrics=[roc-auc, accuracy]", "training.device=cpu"]
DAY = 86_400 * 10**6


def bare(x: torch.Tensor, y: torch.Tensor, times: np.ndarray, history: str) -> list[float]:
    """The same trainings and evaluations, written by hand; returns the AUC of each checkpoint's next window."""
    period = (times - times[0]) // (30 * DAY)
    labels = y.numpy()
    scores = []
    for number in range(int(period[-1])):
        rows = torch.from_numpy(np.flatnonzero(period == number if history == "round" else period <= number))
        torch.manual_seed(number)
        model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
        loss_of = torch.nn.CrossEntropyLoss()
        for _ in range(3):
            order = rows[torch.randperm(len(rows))]
            for batch in order.split(512):
                optimizer.zero_grad(set_to_none=True)
                loss_of(model(x[batch]), y[batch]).backward()
                optimizer.step()
        with torch.inference_mode():
            outputs = torch.softmax(torch.cat([model(part) for part in x.split(65_536)]), dim=1).numpy()
        for window in range(int(period[-1]) + 1):
            inside = period == window
            auc = roc_auc_score(labels[inside], outputs[inside, 1])
            accuracy_score(labels[inside], outputs[inside].argmax(1))
            if window == number + 1:
                scores.append(float(auc))
    return scores


def main() -> None:
    """Measure, print medians, end with the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        workspace = modyn.Workspace(folder)
        table = flights.load()
        times = table.pop("time").astype("datetime64[us, UTC]").astype("int64").to_numpy()
        labels = table.pop("late").to_numpy()
        columns = {name: table[name].to_numpy() for name in table}
        modyn.Dataset.create(workspace, "flights").append(columns, timestamps=times, labels=labels)
        x, y = flights.features(columns), torch.from_numpy(labels)
        seconds: dict[tuple[str, str], list[float]] = {}
        first_steps: list[list[float]] = []
        for repeat in range(repeats + 1):
            for history in ("round", "all"):
                name = "monthly" if history == "round" else "all"
                pipeline = modyn.Pipeline.load(ROOT / f"pipelines/flights-{name}.yaml", SETTINGS)
                before = time.perf_counter()
                run = pipeline.run(workspace)
                between = time.perf_counter()
                bare(x, y, times, history)
                after = time.perf_counter()
                if repeat:  # the first is a warm-up
                    seconds.setdefault((history, "modyn"), []).append(between - before)
                    seconds.setdefault((history, "bare"), []).append(after - between)
                    first_steps.append(run.rounds["first_step_s"].tolist())
    report(seconds, first_steps)


def report(seconds: dict[tuple[str, str], list[float]], first_steps: list[list[float]]) -> None:
    """Print the medians and the ratios."""
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    for (history, who), value in medians.items():
        print(f"{history:>5} {who:>6}: {value:7.2f} s over 12 rounds")
    steps = np.median(np.array([s for s in first_steps if len(s) == 12]), axis=0) * 1000
    print("trigger to first optimiser step, ms, by round:", " ".join(f"{s:.0f}" for s in steps))
    print(f"ratio first-step-last-over-first-half: {np.median(steps[6:]) / np.median(steps[:6]):.2f} (flat is 1)")
    print(f"trigger-to-first-step: {np.median(steps):.1f} ms (goal < 50)")
    print(
        f"ratio pipeline-overhead-small-rounds: {medians['round', 'modyn'] / medians['round', 'bare']:.2f} (goal <= 1.10)"
    )
    print(f"ratio pipeline-overhead: {medians['all', 'modyn'] / medians['all', 'bare']:.2f} (goal <= 1.10)")


if __name__ == "__main__":
    main()
