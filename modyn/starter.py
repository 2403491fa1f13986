"""A commented starter pipeline for a dataset: ``modyn init``."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modyn.config import format_duration, parse
from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, DataError
from modyn.types import Array, Columns, Samples
from modyn.workspace import Workspace

SEEN = 10_000
"""How many samples, the first ones, the parser's scales are read off at most; at most a tenth of all, where that is 100 or more."""
_DAY, _HOUR, _MINUTE = 86_400 * 10**6, 3_600 * 10**6, 60 * 10**6

_PIPELINE = """\
# A pipeline says WHEN to retrain, on WHAT, HOW, and HOW WELL it went.
# Check it with: modyn check {name}.yaml      Run it with: modyn run {name}.yaml
name: {quoted}
dataset: {quoted}                       # as modyn data ls names it
parser: {parser}          # turns columns into the model's input; a file beside this one
model: {model}   # or your own: {{./net.py:Net: {{...}}}}

# WHEN: modyn policies trigger lists all.{about_time}
trigger: {{every: {{{rhythm}}}}}

# On WHAT: modyn policies selector lists all. history: all = everything so far, round = only what is new.
selector: {{all: {{history: all}}}}

# HOW
training:
  start: scratch                      # or latest: go on from the checkpoint before
  epochs: 5
  batch_size: {batch_size}
  {threads}optimizer: {{adamw: {{lr: 1e-3}}}}
  loss: {loss}

# HOW WELL: every checkpoint is scored on every window; modyn policies metric lists all.
evaluation:
  windows: {{slices: {{every: {every}}}}}
  metrics: [{metrics}]

seed: 0
"""

_PARSER = '''\
"""Turns samples of the dataset {name} into the model's input.

Numbers are centred and scaled by what the first {seen:,} samples hold, so that nothing is known of later ones; a missing number becomes
the mean. Of a text column the most frequent values are told apart.{left_out}
"""

import numpy as np
import torch

# Column: (mean, standard deviation)
NUMBERS = {numbers}

# Column: the values that get an input each
TEXTS = {texts}


def features(columns):
    """A batch of columns (name to array) as one float32 tensor [samples, {inputs}]."""
    parts = [((columns[name] - mean) / spread).reshape(len(columns[name]), -1) for name, (mean, spread) in NUMBERS.items()]
    parts += [columns[name][:, None] == np.array(values, dtype=object) for name, values in TEXTS.items()]
    rows = np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
    return torch.from_numpy(np.nan_to_num(rows))
'''

_BYTES_PARSER = '''\
"""Turns samples of the dataset {name} into the model's input."""

import numpy as np
import torch


def features(columns):
    """A batch of {width:,} bytes a sample (uint8[samples, width], or an object array of memoryviews) as one float32 tensor."""
    values = columns[{column}]
    rows = values if values.dtype == np.uint8 else np.stack([np.frombuffer(v, dtype=np.uint8) for v in values])
    return torch.from_numpy(rows.astype(np.float32) / 255)
'''

_IMAGE_PARSER = '''\
"""Turns images of the dataset {name} into the model's input."""

import io

import numpy as np
import torch
from PIL import Image  # pip install pillow

SIZE = {size}  # height and width that images are scaled to; the pipeline's model names it too


def features(sample):
    """One sample's image as float32[3, SIZE, SIZE], from 0 to 1."""
    image = Image.open(io.BytesIO(sample[{column}])).convert("RGB").resize((SIZE, SIZE))
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
'''
_IMAGE_BEGINS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")
_LARGEST_IMAGE = 64
_WIDEST = 4096
_ONE_TIME = """
# All samples came within seconds (modyn data add --timestamp names the column of their time), so it goes by their number here;
# the windows of time below cannot tell how a model does on later samples."""

_ONE_THREAD = "threads: 1                          # fastest for so small a model; without it, all cores\n  "


class _Inputs(NamedTuple):
    """What a starter does with a dataset's columns: the parser's text, its name in the pipeline, and the model, short of its outputs."""

    text: str
    parser: str
    model: str
    is_small: bool


def write_starter(workspace: Workspace, name: str, folder: Path) -> list[Path]:
    """Write ``name.yaml`` and ``name.py`` into a folder; returns their paths.

    Raises NotFound if there is no such dataset, DataError if it is empty, AlreadyExists if a file would be overwritten.
    """
    dataset = Dataset.open(workspace, name)
    samples = dataset.samples()
    if not len(samples):
        raise DataError(f"dataset '{name}' has no samples yet; add some with: modyn data add")
    seen = min(SEEN, max(100, len(samples) // 10), len(samples))
    inputs = _inputs(name, dataset.reader().read(samples.keys[:seen]), seen)
    outputs, loss, metrics = _task(samples)
    every, is_spread = _interval(samples), np.ptp(samples.timestamps) >= 12 * 10**6
    pipeline = _PIPELINE.format(
        name=name,
        quoted=_quoted(name),
        parser=inputs.parser,
        model=inputs.model.format(outputs=outputs),
        about_time="" if is_spread else _ONE_TIME,
        rhythm=f"interval: {every}" if is_spread else f"samples: {max(1, len(samples) // 12)}",
        every=every,
        threads=_ONE_THREAD if inputs.is_small else "",
        batch_size=32 if len(samples) < 20_000 else 512,
        loss=loss,
        metrics=metrics,
    )
    files = {folder / f"{name}.yaml": pipeline, folder / f"{name}.py": inputs.text}
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


def _inputs(name: str, columns: Columns, seen: int) -> _Inputs:
    """Inputs from the columns: numbers and texts side by side; else one of bytes. Raises DataError if there is nothing to use."""
    numbers: dict[str, tuple[float, float]] = {}
    texts: dict[str, list[str]] = {}
    left_out: list[str] = []
    for column, values in columns.items():
        is_number = values.dtype.kind in "iufb"
        if column == "payload" or _is_bytes(values):
            left_out.append(f"{column} (bytes)")
        elif values.ndim == 1 and values.dtype.kind in "iu" and len(values) > 1 and (np.diff(values) > 0).all():
            left_out.append(f"{column} (rises with every sample: an id?)")
        elif is_number and (values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= _WIDEST)):
            numbers[column] = _mean_and_spread(values)
        elif values.ndim == 1 and values.dtype.kind in "OU":
            found, counts = np.unique(values.astype(str), return_counts=True)
            if len(found) > max(20, seen // 2):
                left_out.append(f"{column} (nearly as many values as samples)")
            else:
                texts[column] = [str(found[i]) for i in np.argsort(-counts, kind="stable")[:20]]
        else:
            left_out.append(f"{column} ({values.dtype}{list(values.shape[1:]) or ''})")
    if not numbers and not texts:
        return _inputs_of_bytes(name, columns, left_out)
    inputs = sum(columns[column][0].size for column in numbers) + sum(len(values) for values in texts.values())
    told = f"\nLeft out: {json.dumps(', '.join(left_out))[1:-1]}." if left_out else ""
    text = _PARSER.format(
        name=json.dumps(name), seen=seen, left_out=told, numbers=_literal(numbers), texts=_literal(texts), inputs=inputs
    )
    return _Inputs(text, f"./{name}.py:features", _mlp(inputs), is_small=True)


def _inputs_of_bytes(name: str, columns: Columns, left_out: list[str]) -> _Inputs:
    """Inputs from the first column of images, or of equally many bytes a sample."""
    quoted = json.dumps(name)
    for column, values in columns.items():
        if values.dtype == np.uint8 and values.ndim == 2:
            widths = {values.shape[1]}
        elif _is_bytes(values):
            if bytes(values[0][:4]).startswith(_IMAGE_BEGINS):
                text = _IMAGE_PARSER.format(
                    name=quoted, column=json.dumps(column), size=(size := _image_size(values[0]))
                )
                model = f"{{{{small-cnn: {{{{channels: 3, size: {size}, outputs: {{outputs}}}}}}}}}}"
                return _Inputs(text, f"{{per_sample: ./{name}.py:features}}", model, is_small=False)
            widths = {len(value) for value in values}
        else:
            continue
        if len(widths) == 1:
            text = _BYTES_PARSER.format(name=quoted, column=json.dumps(column), width=(width := widths.pop()))
            return _Inputs(text, f"./{name}.py:features", _mlp(width), is_small=True)
    raise DataError(
        f"dataset '{name}' has no column that a starter can make inputs of: {', '.join(left_out)}. Write its pipeline with a parser of "
        "your own (of text: modyn.training.text:tokens); see docs/training.md"
    )


def _image_size(encoded: bytes | memoryview) -> int:
    """The greater of an encoded image's height and width, within what a small network is trained on soon."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(encoded)) as image:
            return min(_LARGEST_IMAGE, max(8, *image.size))
    except (ImportError, OSError):  # it only begins like an image: the parser will say so of each that is none
        return _LARGEST_IMAGE


def _mlp(inputs: int) -> str:
    return f"{{{{mlp: {{{{inputs: {inputs}, hidden: [64], outputs: {{outputs}}}}}}}}}}"


def _is_bytes(values: Array) -> bool:
    return values.dtype == object and values.ndim == 1 and isinstance(values[0], bytes | memoryview)


def _mean_and_spread(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return 0.0, 1.0
    return float(f"{known.mean():.6g}"), float(f"{known.std():.6g}") or 1.0


def _literal(options: Mapping[str, object]) -> str:
    """A mapping of text to numbers and texts as Python source; JSON's strings and lists are Python's."""
    lines = [f"    {json.dumps(name)}: {json.dumps(value)},\n" for name, value in options.items()]
    return "{\n" + "".join(lines) + "}" if lines else "{}"


def _task(samples: Samples) -> tuple[int, str, str]:
    labels = samples.with_known_labels().labels
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
