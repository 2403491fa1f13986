"""The samples of a dataset that belong to a pipeline's stream."""

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from modyn.datasets import Dataset
from modyn.errors import ConfigError, DataError
from modyn.types import Samples, Window, to_microseconds

if TYPE_CHECKING:
    from modyn.pipeline import Pipeline, Stream


def streamed(dataset: Dataset, pipeline: "Pipeline") -> Samples:
    """The samples that the pipeline replays. Raises DataError or ConfigError if there are none."""
    samples = dataset.samples()
    if not len(samples):
        raise DataError(f"dataset '{pipeline.dataset}' has no samples yet; add some with: modyn data add")
    found = chosen(samples, pipeline.stream)
    if not len(found):
        span = Window(int(samples.timestamps.min()), int(samples.timestamps.max()) + 1, by="time")
        place = _words(pipeline.stream.start, pipeline.stream.end)
        raise ConfigError(f"stream: no sample of dataset '{pipeline.dataset}' lies {place}; it spans {span}")
    return found


def _words(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return f"before {end}" if start is None else f"at or after {start}"
    return f"between {start} and {end}"


def identity_of(dataset: Dataset) -> str | None:
    """What tells a dataset from one that had its name before. Raises NotFound if it was removed."""
    caches = dataset.reader().caches
    return None if caches is None else caches.name


def chosen(samples: Samples, stream: "Stream") -> Samples:
    """Those of the samples that belong to the stream."""
    if stream.start is None and stream.end is None:
        return samples
    inside = np.ones(len(samples), dtype=bool)
    if stream.start is not None:
        inside &= samples.timestamps >= to_microseconds(stream.start)
    if stream.end is not None:
        inside &= samples.timestamps < to_microseconds(stream.end)
    return samples[inside]
