"""One file a sample: images, texts, recordings."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from pydantic import Field, field_validator, model_validator

from modyn.errors import DataError
from modyn.sources import Bad, Cursor, File, FileSource, Layout, Rows
from modyn.sources.paths import is_local, open_file_system
from modyn.sources.rows import as_arrow
from modyn.sources.shape import need
from modyn.sources.times import check_pattern

_READERS = 16
"""Files read side by side: on an object store most of the time is waiting."""


class Files(FileSource):
    """Takes each file as one sample, its bytes as ``payload``. Can be linked in place.

    The label comes from the folder's name, a sibling file, a pattern in the path, or, like any other column, from an index: a CSV or
    JSON lines file with a column of paths.

    >>> Files(path="photos/", include="*.jpg", label_from="folder").label_columns
    ['label']
    """

    suffixes: ClassVar[tuple[str, ...]] = (
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".wav",
        ".flac",
        ".mp3",
        ".txt",
    )
    untyped: ClassVar[bool] = True
    one_each: ClassVar[bool] = True
    links: ClassVar[bool] = True

    label_from: Literal["folder", "sibling", "pattern"] | None = Field(
        None,
        description="where the label stands: the folder's name, a sibling file, the path (null = the index, or none)",
    )
    sibling_suffix: str = Field(
        ".label", description="ending of the file that holds the label, in place of the sample's or after it"
    )
    label_pattern: str | None = Field(None, description="regular expression on the path; its first group is the label")
    index: str | None = Field(None, description="a CSV or JSON lines file with a row for each sample")
    index_path: str = Field("path", description="the index's column of paths, relative to the folder or just names")

    @field_validator("label_pattern")
    @classmethod
    def _is_label_pattern(cls, value: str | None) -> str | None:
        return check_pattern(value)

    @model_validator(mode="before")
    @classmethod
    def _name_label(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("label_from") is not None:
            given = {"label": "label", **given}
        return given

    @model_validator(mode="after")
    def _label_is_somewhere(self) -> "Files":
        if self.label_from == "pattern" and self.label_pattern is None:
            raise ValueError("label_from: pattern needs label_pattern")
        if self.label is not None and self.label_from is None and self.index is None:
            raise ValueError("label needs label_from: folder, sibling or pattern, or an index with that column")
        return self

    def payload_columns(self, names: Sequence[str]) -> list[str]:
        """The bytes, and the columns of the index that are asked for."""
        return (
            super().payload_columns(names) if self.columns is not None else ["payload", *([self.id] if self.id else [])]
        )

    def together(self, files: Sequence[File], *, link: bool = False) -> Rows:
        """The samples that files are; those that cannot be read are bad. With ``link``, their bytes stay where they are."""
        columns: dict[str, Any] = {"path": pa.array([file.path for file in files], pa.string())}
        if self.index is not None:
            columns |= self._from_index(files)
        if self.label_from is not None:
            columns["label"] = pa.array(self._labels(files), pa.string())
        contents: list[bytes | OSError] = [b""] * len(files) if link else _read_all(files)
        good = np.array([isinstance(content, bytes) for content in contents], bool)
        bad = [Bad(row=i, reason=f"cannot be read: {c}") for i, c in enumerate(contents) if not isinstance(c, bytes)]
        columns["payload"] = pa.array([c if isinstance(c, bytes) else b"" for c in contents], pa.large_binary())
        numbers = np.flatnonzero(good)
        table = pa.table(columns)
        return Rows(table if good.all() else table.take(as_arrow(numbers)), numbers, Cursor(1, 1), bad)

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The one sample that a file is."""
        if start.row == 0:
            yield self.together([file])

    def _labels(self, files: Sequence[File]) -> list[str | None]:
        if self.label_from == "folder":
            return [file.path.split("/")[-2] for file in files]
        if self.label_from == "pattern":
            found = [re.search(self.label_pattern or "", file.path) for file in files]
            return [None if m is None else (m[1] if m.re.groups else m[0]) for m in found]
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._sibling, files))

    def _sibling(self, file: File) -> str | None:
        stem = re.sub(r"\.[^./]*$", "", file.path)
        for path in (stem + self.sibling_suffix, file.path + self.sibling_suffix):
            try:
                return replace(file, path=path, inode=None).read().decode().strip() or None
            except (FileNotFoundError, UnicodeDecodeError):
                continue
        return None

    def _from_index(self, files: Sequence[File]) -> dict[str, pa.Array]:
        """The index's columns for each file; null where it has no row."""
        table = _read_index(self.index or "")
        need([self.index_path], table.column_names, where=self.index or "", role="index_path")
        places = {path: row for row, path in enumerate(table[self.index_path].to_pylist())}
        rows = pa.array([self._place(file.path, places) for file in files], pa.int64())
        return {name: table[name].take(rows).combine_chunks() for name in table.column_names if name != "path"}

    def _place(self, path: str, places: dict[str, int]) -> int | None:
        parts = path.split("/")
        return next((places[tail] for i in range(len(parts)) if (tail := "/".join(parts[i:])) in places), None)


def _read_index(path: str) -> pa.Table:
    fs, inside = open_file_system(path)
    try:
        data = pa.BufferReader(fs.cat_file(inside))
        if path.endswith((".jsonl", ".ndjson")):
            return pa.json.read_json(data)
        tabs = path.endswith((".tsv", ".tab"))
        return pa.csv.read_csv(data, parse_options=pa.csv.ParseOptions(delimiter="\t" if tabs else ","))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"the index {path} cannot be read: {error}") from None


def _read_all(files: Sequence[File]) -> list[bytes | OSError]:
    """The bytes of every file, or why it cannot be read."""

    def read(file: File) -> bytes | OSError:
        try:
            return file.read()
        except OSError as error:
            return error

    if len(files) == 1 or is_local(files[0].path):
        return [read(file) for file in files]
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, files))
