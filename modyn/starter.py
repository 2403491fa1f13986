"""A commented starter pipeline for a dataset: ``modyn init``."""

import json
from pathlib import Path

import numpy as np

from modyn.config import format_duration, parse
from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, DataError
from modyn.types import Samples
from modyn.workspace import Workspace

_DAY, _HOUR, _MINUTE = 86_400 * 10**6, 3_600 * 10**6, 60 * 10**6

_PIPELINE = """\
# A pipeline says WHEN to retrain, on WHAT, HOW, and HOW WELL it went.
# Check it with: modyn check {name}.yaml      Run it with: modyn run {name}.yaml
name: {quoted}
dataset: {quoted}                       # as modyn data ls names it
parser: ./{name}.py:features          # turns columns into the model's input; a file beside this one
model: {{mlp: {{inputs: {inputs}, hidden: [64], outputs: {outputs}}}}}   # or your own: {{./net.py:Net: {{...}}}}

# WHEN: modyn policies trigger lists all.
trigger: {{every: {{interval: {every}}}}}

# On WHAT: modyn policies selector lists all. history: all = everything so far, round = only what is new.
selector: {{all: {{history: all}}}}

# HOW
training:
  start: scratch                      # or latest: go on from the checkpoint before
  epochs: 2
  batch_size: 512
  optimizer: {{adamw: {{lr: 1e-3}}}}
  loss: {loss}

# HOW WELL: every checkpoint is scored on every window; modyn policies metric lists all.
evaluation:
  windows: {{slices: {{every: {every}}}}}
  metrics: [{metrics}]

seed: 0
"""

_PARSER = '''\
"""Turns samples of the dataset '{name}' into the model's input."""

import numpy as np
import torch

COLUMNS = {columns}


def features(columns):
    """A batch of columns (name to array) as one float32 tensor [samples, {inputs}]."""
    rows = np.stack([columns[name] for name in COLUMNS], axis=1, dtype=np.float32, casting="unsafe")
    return torch.from_numpy(np.nan_to_num(rows))
'''

_PAYLOAD_PARSER = '''\
"""Turns samples of the dataset '{name}' into the model's input."""

import numpy as np
import torch


def features(columns):
    """A batch of payloads (uint8[samples, width], or an object array of memoryviews) as one float32 tensor."""
    payload = columns["payload"]
    rows = payload if payload.dtype == np.uint8 else np.stack([np.frombuffer(p, dtype=np.uint8) for p in payload])
    return torch.from_numpy(rows.astype(np.float32) / 255)
'''


def write_starter(workspace: Workspace, name: str, folder: Path) -> list[Path]:
    """Write ``name.yaml`` and ``name.py`` into a folder; returns their paths.

    Raises NotFound if there is no such dataset, DataError if it is empty, AlreadyExists if a file would be overwritten.
    """
    dataset = Dataset.open(workspace, name)
    samples = dataset.samples()
    if not len(samples):
        raise DataError(f"dataset '{name}' has no samples yet; add some with: modyn data add")
    columns = [c for c, kind in dataset.column_types.items() if _is_number(kind)]
    payload = dataset.reader().read(samples.keys[:1]).get("payload")
    inputs = len(columns) or (payload.shape[1] if payload is not None and payload.ndim == 2 else 1)
    outputs, loss, metrics = _task(samples)
    pipeline = _PIPELINE.format(
        name=name,
        quoted=_quoted(name),
        inputs=inputs,
        outputs=outputs,
        every=_interval(samples),
        loss=loss,
        metrics=metrics,
    )
    parser = (_PARSER if columns else _PAYLOAD_PARSER).format(name=name, columns=_python_list(columns), inputs=inputs)
    files = {folder / f"{name}.yaml": pipeline, folder / f"{name}.py": parser}
    for path in files:
        if path.exists():
            raise AlreadyExists(f"{path} exists already; move it away, or choose another folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


def _quoted(name: str) -> str:
    """The name as YAML text that is read back as text: 2013, no and 1e5 need quotes."""
    return name if parse(f"name: {name}").data["name"] == name else json.dumps(name)


def _is_number(kind: str) -> bool:
    return kind.startswith(("int", "uint", "float", "double", "halffloat", "bool"))


def _python_list(names: list[str]) -> str:
    return "[\n" + "".join(f"    {json.dumps(name)},\n" for name in names) + "]"


def _task(samples: Samples) -> tuple[int, str, str]:
    labels = samples.labels
    if labels is not None and labels.dtype.kind in "iub" and labels.ndim == 1 and labels.min() >= 0:
        classes = max(2, int(labels.max()) + 1)
        if classes <= 10_000:
            return classes, "cross-entropy", "roc-auc, accuracy" if classes == 2 else "accuracy"
    width = labels.shape[1] if labels is not None and labels.ndim == 2 else 1
    return width, "mse", "rmse, r2"


def _interval(samples: Samples) -> str:
    """About a twelfth of the time that the samples span, in whole days, hours, minutes or seconds."""
    span = int(np.ptp(samples.timestamps))
    for unit in (_DAY, _HOUR, _MINUTE):
        if span >= 12 * unit:
            return format_duration(span // 12 // unit * unit)
    return format_duration(max(10**6, span // 12 // 10**6 * 10**6))
