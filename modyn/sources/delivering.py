"""Rows that are labels of samples which are there already: whose they are, and the delivery in the catalog's transaction."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modyn.errors import DataError
from modyn.sources import Source
from modyn.sources.added import Dataset, Writer
from modyn.sources.rows import Bad, Labels, Shaped, as_arrow
from modyn.types import Array, Int64s

KEY = "key"
"""What ``labels_of`` says where ids are the samples' keys."""


def deliver(writer: Writer, dataset: Dataset, source: Source, shaped: Shaped) -> tuple[int, list[Bad]]:
    """Label the samples that the rows name; returns how many got one, and the rows that name none.

    Of rows that name the same sample the last counts; a row labels every sample that has its id. Costs a look at the id column of all
    samples unless ids are keys. Raises DataError if ids are of another type than what they are matched with.
    """
    assert source.id is not None
    assert source.labels_of is not None
    ids = shaped.table[source.id].combine_chunks()
    keys, rows, missing = (
        _by_key(ids, dataset, source) if source.labels_of == KEY else _by_column(ids, dataset, source.labels_of)
    )
    what = "sample" if source.labels_of == KEY else f"sample whose {source.labels_of} is"
    bad = [
        Bad(row=int(shaped.numbers[row]), reason=f"there is no {what} {ids[row].as_py()}", value=str(ids[row].as_py()))
        for row in np.flatnonzero(missing).tolist()
    ]
    return writer.label(keys, _taken(shaped.labels, rows)) if len(keys) else 0, bad


def _by_key(ids: pa.Array, dataset: Dataset, source: Source) -> tuple[Int64s, Int64s, Array]:
    if not pa.types.is_integer(ids.type):
        raise DataError(
            f"column '{source.id}' holds {ids.type}, but keys are integers (labels_of: COLUMN matches another)"
        )
    keys = ids.to_numpy(zero_copy_only=False).astype(np.int64)
    missing = (keys < 0) | (keys >= dataset.end_key)
    return keys[~missing], np.flatnonzero(~missing), missing


def _by_column(ids: pa.Array, dataset: Dataset, column: str) -> tuple[Int64s, Int64s, Array]:
    found = dataset.find_ids(column, ids.unique().to_pylist())
    values: Any = dataset.reader([column]).read(found)[column]
    kind = pa.large_string() if values.dtype == object else pa.int64()
    known, asked = pa.array(values, kind), ids.cast(kind)
    newest = pc.index_in(known, value_set=asked[::-1])  # the first in reverse is the last row of an id
    rows = len(ids) - 1 - newest.to_numpy(zero_copy_only=False).astype(np.int64)
    missing = ~pc.is_in(asked, value_set=known).to_numpy(zero_copy_only=False)
    return found, rows, missing


def _taken(labels: Labels, rows: Int64s) -> Labels:
    if labels is None:
        return None
    return labels.take(as_arrow(rows)) if isinstance(labels, pa.Array) else labels[rows]
