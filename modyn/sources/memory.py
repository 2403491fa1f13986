"""Tables that are in memory already: pandas, Arrow, mappings of arrays, Hugging Face datasets."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from modyn.errors import DataError
from modyn.sources import Cursor, Layout, Rows, Source
from modyn.sources.tables import rows_of


class Memory(Source):
    """Takes a table in memory: a pandas data frame, an Arrow table or batches, arrays by column, or a Hugging Face dataset.

    Class labels of a Hugging Face dataset become text classes. All of the table is new each time that it is added.

    >>> import numpy as np
    >>> source = Memory(data={"x": np.zeros(3), "y": [0, 1, 0], "t": [1, 2, 3]}, label="y", timestamp="t", time_unit="s")
    >>> [len(rows.numbers) for rows in source.rows_after(Cursor(), None)]
    [3]
    """

    remembers: ClassVar[bool] = False

    data: Any = Field(None, exclude=True, repr=False, description="the table; given in Python only")

    @model_validator(mode="after")
    def _is_table(self) -> "Memory":
        if self.data is not None and not isinstance(self.data, Mapping | pa.Table | pa.RecordBatch | Iterable):
            raise ValueError(f"data must be a table: pandas, Arrow, arrays by column; got {type(self.data).__name__}")
        return self

    def rows_after(self, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The table's rows, from row ``start.row`` on. Raises DataError if it is none that is known."""
        yield from rows_of(_batches(self.data), start)


def _batches(data: Any) -> Iterator[pa.RecordBatch]:
    if data is None:
        raise DataError("a memory source has no data any more once it has been added; give it again")
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, Mapping):
        yield from _from_arrays(data).to_batches()
    elif isinstance(data, pa.Table):
        yield from data.to_batches()
    elif hasattr(data, "with_format") and hasattr(data, "features"):
        yield from _from_hugging_face(data)
    elif hasattr(data, "__arrow_c_stream__") or hasattr(data, "to_feather"):
        yield from _from_frame(data).to_batches()
    else:
        for part in data:
            yield from _batches(part)


def _from_frame(frame: Any) -> pa.Table:
    try:
        if hasattr(frame, "to_feather"):
            return pa.Table.from_pandas(frame, preserve_index=frame.index.name is not None)
        return pa.table(frame)
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"the table cannot be taken: {error}") from None


def _from_arrays(data: Mapping[str, Any]) -> pa.Table:
    columns = {name: _column(name, values) for name, values in data.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError("columns differ in length: " + ", ".join(f"{n} has {k}" for n, k in lengths.items()))
    return pa.table(columns)


def _column(name: str, values: Any) -> pa.Array:
    """A column of numbers, texts or times; with more axes than one, as lists of fixed size."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    array = np.asarray(values)
    try:
        if array.ndim <= 1 or not array.size:
            return pa.array(values if array.dtype == object else array, from_pandas=True)
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        for length in reversed(array.shape[1:]):
            flat = pa.FixedSizeListArray.from_arrays(flat, length)
        return flat
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"column '{name}' cannot be taken: {error}") from None


def _from_hugging_face(data: Any) -> Iterator[pa.RecordBatch]:
    names = {n: f.names for n, f in (data.features or {}).items() if hasattr(f, "names") and hasattr(f, "str2int")}
    for table in data.with_format("arrow").iter(batch_size=10_000):
        for name, classes in names.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, pa.array(classes, pa.string()).take(table[name].combine_chunks()))
        yield from table.to_batches()
