"""Indexing the user's files in place, for linked storage."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets import links
from modyn.datasets.links import MTIME, PATH, PAYLOAD, SIZE, Field, Records
from modyn.datasets.shards import Rows, time_range
from modyn.errors import DataError
from modyn.types import Array, Int64s

__all__ = ["PAYLOAD", "index_files", "index_records"]


def index_files(paths: Sequence[str | Path], timestamps: Int64s, labels: Array | None) -> Rows:
    """What is stored of one file a sample: absolute path, size and modification time. Raises DataError for a missing file."""
    absolute = [os.path.abspath(path) for path in paths]
    try:
        found = [os.stat(path) for path in absolute]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be linked: {error.strerror}") from None
    stored: dict[str, Any] = {
        PATH: pa.array(absolute, pa.large_string()),
        SIZE: np.array([s.st_size for s in found], np.int64),
        MTIME: np.array([s.st_mtime_ns for s in found], np.int64),
    }
    return Rows(timestamps, labels, stored)


def index_records(records: Records, *, origin_key: int) -> dict[str, Any]:
    """What the catalog keeps of linked records, but for their keys. Raises DataError if a field leaves the record."""
    records.check()
    if not records.num_records:
        return {}
    absolute = Records(**{**vars(records), "path": os.path.abspath(records.path)})
    content = links.map_records(absolute)
    moment = absolute.timestamp
    if isinstance(moment, Field):
        times = absolute.view(content, moment).astype(np.int64) * moment.scale
        times_known = time_range(times)
    else:
        times_known = {"min_time": moment, "max_time": moment, "in_time_order": True}
    mtime = os.stat(absolute.path).st_mtime_ns
    edges = links.fingerprint(absolute, content)
    return {
        "kind": "records",
        "file": f"{origin_key}.records",
        **times_known,
        "num_bytes": 0,
        "sha256": "",
        "link": links.to_json(absolute, origin_key=origin_key, mtime_ns=mtime, edges=edges),
    }
