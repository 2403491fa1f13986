"""What a drift trigger costs: embedding MMD, checked every 1,000 samples over the flights of 2013.

The pipeline is pipelines/flights-drift.yaml; once as it stands, once trained for 20 epochs instead of 3. The trigger's
time is from showing it 1,000 samples to its notes, embedding included. Needs: pip install 'modyn[demo]'. Run: python benchmarks/trigger_cost.py
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "pipelines"))
THOROUGH = ("training.epochs=20",)


class Watch:
    """An observer of a run that times each check, less the round that a firing kept by the cooldown may cause before it."""

    def __init__(self) -> None:
        self.shown = self.paused = 0.0
        self.seconds: list[float] = []
        self.rounds = 0

    def __call__(self, event: object) -> None:
        kind = getattr(event, "kind", "")
        if kind == "stream":
            self.shown = time.perf_counter()
        elif kind == "trigger-checked" and getattr(event, "fields", {}).get("trigger") == "drift" and self.shown:
            self.seconds.append(time.perf_counter() - self.shown)
            self.shown = 0.0
        elif kind == "round-started":
            self.paused = time.perf_counter()
        elif kind == "round-finished":
            self.rounds += 1
            self.shown += time.perf_counter() - self.paused if self.shown else 0.0


def measure(workspace: str, settings: tuple[str, ...]) -> tuple[list[float], float, int]:
    from modyn import Pipeline, config, stations

    stations.STREAM_BATCH = 1000
    document = config.override(config.load(ROOT / "pipelines" / "flights-drift.yaml"), settings)
    watch, before = Watch(), time.perf_counter()
    Pipeline.of(document).run(workspace, observers=[watch])
    return watch.seconds, time.perf_counter() - before, watch.rounds


def main() -> None:
    import flights

    with tempfile.TemporaryDirectory() as workspace:
        os.environ["MODYN_WORKSPACE"] = workspace
        flights.prepare()
        for name, settings in (("as-it-stands", ()), ("thorough-training", THOROUGH)):
            seconds, wall, rounds = measure(workspace, settings)
            compared = seconds[60:]
            quarter = len(compared) // 4
            medians = [statistics.median(compared[n * quarter : (n + 1) * quarter]) * 1e3 for n in range(4)]
            print(f"{name}: {len(seconds)} checks, {rounds} rounds, {sum(seconds):.1f} s of checks in {wall:.1f} s")
            print(f"  ms a check, median by quarter of the stream: {', '.join(f'{m:.1f}' for m in medians)}")
            print(f"ratio share-of-run-{name}: {sum(seconds) / wall:.3f} (goal <= 0.05)")
            tenth = len(compared) // 10
            ends = [statistics.median(part) for part in (compared[:tenth], compared[-tenth:])]
            print(f"ratio last-tenth-of-checks-over-first-{name}: {ends[1] / ends[0]:.2f} (goal <= 1.2)")


if __name__ == "__main__":
    main()
