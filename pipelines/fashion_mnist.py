"""The ``fashion-mnist`` dataset: 70,000 images of clothes in ten classes, 28 x 28 pixels (Zalando Research, MIT licence).

The data come with the Debian package ``dataset-fashion-mnist``. It has no times, so a stream is made: the 60,000 training images, shuffled
with a seed, arrive every 6 minutes from 2020-01-01 on, and the 10,000 test images after them, from 2020-09-07 on.
``python pipelines/fashion_mnist.py`` makes the dataset in the workspace; ``images`` is the pipelines' parser.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
START_US = 1_577_836_800 * 1_000_000
STEP_US = 6 * 60 * 1_000_000


def images(columns):
    """Images as float32 [samples, 1, 28, 28] in [0, 1]."""
    return torch.from_numpy(columns["image"]).unsqueeze(1).float() / 255


def read(kind: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``uint8[n, 28, 28]`` and labels ``int64[n]`` of ``train`` or ``t10k``."""
    files = folder / f"{kind}-images-idx3-ubyte.gz", folder / f"{kind}-labels-idx1-ubyte.gz"
    if not all(file.is_file() for file in files):
        raise SystemExit(f"{files[0]} is missing; it comes with: apt-get install dataset-fashion-mnist")
    pixels, labels = (np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8) for file in files)
    return pixels[16:].reshape(-1, 28, 28), labels[8:].astype(np.int64)


def prepare(name: str = "fashion-mnist", folder: Path = FOLDER, seed: int = 0) -> None:
    """Make the dataset in the workspace, unless it is there already."""
    from modyn import Dataset, Workspace

    workspace = Workspace()
    if name in Dataset.names(workspace) and Dataset.open(workspace, name).num_samples:
        print(f"dataset {name}: {Dataset.open(workspace, name).num_samples:,} samples, there already")
        return
    pixels, labels = read("train", folder)
    order = np.random.default_rng(seed).permutation(len(labels))
    test_pixels, test_labels = read("t10k", folder)
    if name not in Dataset.names(workspace):
        Dataset.create(workspace, name, label_classes=CLASSES)
    all_labels = np.concatenate([labels[order], test_labels])
    times = START_US + STEP_US * np.arange(len(all_labels), dtype=np.int64)
    columns = {"image": np.concatenate([pixels[order], test_pixels])}
    Dataset.open(workspace, name).append(columns, timestamps=times, labels=all_labels)
    print(f"dataset {name}: {len(all_labels):,} samples added")


if __name__ == "__main__":
    prepare(*sys.argv[1:2])
