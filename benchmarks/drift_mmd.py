"""MMD^2 between 5,000 and 5,000 rows of 512 columns: Modyn's blocks against the plain torch formula with full matrices.

Both find their own median distance (Modyn's of 1,000 rows, the plain one of all pairs); a second comparison gives both the same bandwidth.
Run: python benchmarks/drift_mmd.py [--rows 5000] [--columns 512] [--repeats 5]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def windows(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((rows, columns), dtype=np.float32)
    return reference, rng.standard_normal((rows, columns), dtype=np.float32) + np.float32(0.05)


def modyn_mmd2(reference: np.ndarray, current: np.ndarray, bandwidth: float | None) -> float:
    from modyn.drift.mmd import Mmd

    return Mmd(bandwidth=bandwidth).distance(reference, current).value


def plain_mmd2(reference: np.ndarray, current: np.ndarray, bandwidth: float | None) -> float:
    """The formula as it is usually written in torch: one matrix of all pairs."""
    import torch

    x, y = torch.from_numpy(reference), torch.from_numpy(current)
    n, m = len(x), len(y)
    distances = torch.cdist(torch.cat([x, y]), torch.cat([x, y]))
    width = distances[distances > 0].median().item() if bandwidth is None else bandwidth
    kernel = torch.exp(-(distances**2) / (2 * width**2))
    xx, yy, xy = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    return float((xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean())


RIVALS: dict[str, Callable[[np.ndarray, np.ndarray, float | None], float]] = {
    "modyn": modyn_mmd2,
    "plain": plain_mmd2,
}


def peak_mb(name: str, rows: int, columns: int) -> float:
    """Peak memory of one computation in a process of its own, beyond that of its imports and data."""
    code = [sys.executable, __file__, "--measure", name, "--rows", str(rows), "--columns", str(columns)]
    return float(subprocess.run(code, capture_output=True, text=True, check=True).stdout)


def measure(name: str, rows: int, columns: int) -> None:
    data = windows(rows, columns)
    RIVALS[name](data[0][:64], data[1][:64], None)
    before = peak_kb()
    RIVALS[name](*data, None)
    print((peak_kb() - before) / 1024)


def peak_kb() -> int:
    """The most memory that this process has held so far (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def seconds(data: tuple[np.ndarray, np.ndarray], bandwidth: float | None, repeats: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in RIVALS}
    for repeat in range(repeats + 1):
        for name, rival in RIVALS.items():
            start = time.perf_counter()
            rival(*data, bandwidth)
            if repeat:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure")
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.rows, options.columns)
    data = windows(options.rows, options.columns)
    own, given = seconds(data, None, options.repeats), seconds(data, 32.0, options.repeats)
    memory = {name: peak_mb(name, options.rows, options.columns) for name in RIVALS}
    for name, rival in RIVALS.items():
        print(
            f"{name:6} median heuristic {own[name]:.3f} s, bandwidth given {given[name]:.3f} s, peak {memory[name]:.0f} MB, "
            f"MMD^2 {rival(*data, 32.0):.6f}"
        )
    print(f"ratio speed-vs-plain: {own['plain'] / own['modyn']:.2f} (goal >= 1.0)")
    print(f"ratio speed-vs-plain-bandwidth-given: {given['plain'] / given['modyn']:.2f} (goal >= 1.0)")
    print(f"ratio memory-vs-plain: {memory['modyn'] / memory['plain']:.2f} (goal <= 0.25)")
    return None


if __name__ == "__main__":
    main()
