"""Where samples come from: a source reads a format, knows which columns are label and time, and continues where it stopped.

``Dataset.create`` makes a dataset, ``modyn.sources.add`` fills it, ``modyn.sources.Feed`` follows the source for as long as it grows.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from modyn.config import DurationOrZero
from modyn.errors import DataError
from modyn.policy import Policy, name_of
from modyn.sources.rows import START, Bad, Cursor, File, Rows
from modyn.sources.shape import Layout, need
from modyn.sources.times import check_pattern, check_zone

if TYPE_CHECKING:
    from modyn.sources.feed import Added, Feed, add, watch
    from modyn.sources.memory import Memory

__all__ = [
    "START", "Added", "Bad", "Cursor", "Feed", "File", "FileSource", "Layout", "Memory", "Rows", "Source", "add", "watch",
]  # fmt: skip
_LAZY = {"Added": "feed", "Feed": "feed", "add": "feed", "watch": "feed", "Memory": "memory"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"modyn.sources.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'modyn.sources' has no attribute '{name}'")


class Source(Policy):
    """Where samples come from, and which of their fields are label, time and payload."""

    role: ClassVar[str] = "source"
    untyped: ClassVar[bool] = False
    """Whether values are texts that only look like numbers, so that a text among them is a bad row, not a type."""
    remembers: ClassVar[bool] = True
    """Whether reading goes on where it stopped; False: all of it is new each time."""

    label: str | list[str] | None = Field(None, description="the label's column, or several (null = unlabelled)")
    label_kind: Literal["integer", "float", "text"] | None = Field(
        None, description="what labels are (null = as the first ones look); text is mapped to class numbers"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="the text classes, in the order of their numbers (null = as found, new ones added at the end)"
    )
    timestamp: str | None = Field(None, description="the column that holds the sample's time (null = time of arrival)")
    time_unit: Literal["d", "h", "s", "ms", "us", "ns"] | None = Field(
        None, description="what a time that is a number counts, since 1970-01-01 UTC"
    )
    time_format: str | None = Field(None, description="how times are written, as for strptime (null = ISO 8601)")
    timezone: str = Field("UTC", description="the zone of times that name none, such as Europe/Zurich")
    id: str | None = Field(None, description="the column that identifies a sample or its subject, kept as payload")
    labels_of: str | None = Field(
        None,
        description="rows are labels of samples that are there already: what id is matched with, key or a column of "
        "the dataset (null = rows are samples)",
    )
    columns: list[str] | None = Field(
        None, min_length=1, description="the payload columns (null = all but label and time)"
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="Arrow types of columns, such as {distance: float64} (others as the first rows look)",
    )
    on_bad_sample: Literal["quarantine", "fail"] = Field(
        "quarantine", description="set unusable samples aside and go on, or stop with nothing of their batch committed"
    )

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return check_zone(value)

    @field_validator("types")
    @classmethod
    def _known_types(cls, value: dict[str, str]) -> dict[str, str]:
        for name, alias in value.items():
            try:
                pa.type_for_alias(alias)
            except ValueError:
                raise ValueError(
                    f"'{alias}' (of {name}) is no Arrow type: int64, float32, float64, bool, string, ..."
                ) from None
        return value

    @model_validator(mode="after")
    def _labels_have_an_owner(self) -> "Source":
        if self.labels_of is not None and (self.id is None or self.label is None):
            raise ValueError("labels_of needs id, the column that says whose label it is, and label")
        return self

    @property
    def label_columns(self) -> list[str]:
        """The label's columns; empty if there is no label."""
        return [self.label] if isinstance(self.label, str) else list(self.label or ())

    def payload_columns(self, names: Sequence[str]) -> list[str]:
        """Which of a file's columns become payload. Raises DataError if none is left."""
        if self.labels_of is not None and self.id is not None:
            return [self.id]
        if self.columns is not None:
            return list(dict.fromkeys([*self.columns, *([self.id] if self.id else [])]))
        apart = {*self.label_columns, self.timestamp}
        found = [name for name in names if name not in apart or name == self.id]
        if not found:
            raise DataError("no column is left for the payload: all are label or time. Name some with columns: [...]")
        return found

    def used_columns(self, names: Sequence[str], layout: "Layout | None") -> list[str]:
        """Which of a file's columns need to be read at all."""
        payload = self.payload_columns(names) if layout is None else layout.schema.names
        used = {*payload, *self.label_columns, self.timestamp}
        return [name for name in names if name in used]

    def check_columns(self, names: Sequence[str], *, where: str, layout: "Layout | None" = None) -> None:
        """Raise DataError, with the nearest name, unless the columns that this source names, and earlier rows had, are there."""
        need(self.label_columns, names, where=where, role="label")
        need([self.timestamp] if self.timestamp else [], names, where=where, role="timestamp")
        need([self.id] if self.id else [], names, where=where, role="id")
        need(self.columns or [], names, where=where, role="payload")
        need(list(self.types), names, where=where, role="types")
        need(layout.schema.names if layout is not None else [], names, where=where, role="payload")

    def rows_after(self, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows that came after ``start``, in pieces of some megabytes; each says where to go on.

        What a stream that is not made of files implements; ``layout`` holds the types of earlier rows.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """In a few words, where the samples come from."""
        return name_of(type(self))


class FileSource(Source):
    """A source that is made of files: one, a folder, or a pattern such as ``data/*.csv``, anywhere that fsspec reaches."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """The endings of the files of this format, in a folder and for guessing."""
    grows: ClassVar[bool] = False
    """Whether a file of this format may grow, so that only its new end is read."""

    one_each: ClassVar[bool] = False
    """Whether each file is one sample, so that many are read together."""
    links: ClassVar[bool] = False
    """Whether a dataset may leave the samples in the files and keep only where they are."""

    path: str = Field(
        description="a file, a folder, or a pattern such as data/*.csv; s3://bucket/folder with modyn[s3]"
    )
    include: str | None = Field(
        None, description="in a folder, take the names that match (null = those with the format's ending)"
    )
    time_from: Literal["column", "file-name", "mtime", "arrival"] | None = Field(
        None, description="where a sample's time comes from (null = the timestamp column if one is named, else arrival)"
    )
    time_pattern: str | None = Field(
        None, description="regular expression on the path; its first group is the time (file-name)"
    )
    changed: Literal["append-new", "replace", "refuse"] = Field(
        "refuse",
        description="when a file already taken is different now: add the rows not seen before, "
        "also delete the samples whose rows are gone, or report it and take nothing",
    )
    vanished: Literal["keep", "delete"] = Field("keep", description="keep or delete the samples of a file that is gone")
    settle: DurationOrZero = Field(
        1_000_000, validate_default=False, description="a file is taken once it has not changed for so long"
    )
    done_suffix: str | None = Field(
        None, description="take a file only once another of its name plus this ending exists, such as .done"
    )

    @field_validator("time_pattern")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        return check_pattern(value)

    @model_validator(mode="after")
    def _times_fit(self) -> "FileSource":
        if self.time_from == "file-name" and self.time_pattern is None:
            raise ValueError(
                "time_from: file-name needs time_pattern, a regular expression whose first group is the time"
            )
        if self.time_from == "column" and self.timestamp is None:
            raise ValueError("time_from: column needs timestamp, the column's name")
        return self

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows of a file from ``start`` on, in pieces of some megabytes; ``layout`` holds the types of earlier ones."""
        raise NotImplementedError

    def together(self, files: Sequence[File], *, link: bool = False) -> Rows:
        """The rows of files of one sample each; a row's number is its file's place in ``files``."""
        raise NotImplementedError

    def link_of(self, file: File, start: Cursor, times: int | None) -> dict[str, Any] | None:
        """Where the rows of a file from ``start`` on lie, if they may be left there (``links``); None if there is none."""
        raise NotImplementedError

    def continues(self, file: File, start: Cursor) -> bool:
        """Whether a file that has grown can be read on from ``start``."""
        return self.grows

    def again(self, raws: Sequence[bytes], file: File | None, layout: Layout | None) -> Rows | None:
        """Rows from the bytes kept of bad ones, numbered 0, 1, 2, ...; None if this format must read the file again."""
        return None

    def describe(self) -> str:
        """In a few words, where the samples come from."""
        return self.path
