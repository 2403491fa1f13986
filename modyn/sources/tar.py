"""Tar archives in the WebDataset convention."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from modyn.sources import Bad, Cursor, File, FileSource, Layout, Rows

PIECE = 16 << 20


class Tar(FileSource):
    """Reads tar archives in which the members ``a/0001.jpg``, ``a/0001.cls``, ``a/0001.json`` are one sample (WebDataset).

    Each ending is a column of bytes; the values in ``.json`` members are columns ``json.name``, and ``key`` is the name without ending.

    >>> Tar(path="shards/", columns=["jpg"], label="cls", timestamp="json.taken_at").label_columns
    ['cls']
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
    untyped: ClassVar[bool] = True

    def payload_columns(self, names: Sequence[str]) -> list[str]:
        """The endings of the members that are payload: all that are neither label nor time nor JSON."""
        if self.columns is not None:
            return super().payload_columns(names)
        apart = {*self.label_columns, self.timestamp, "key", "json"}
        return [n for n in names if (n not in apart and not n.startswith("json.")) or n == self.id]

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The samples of an archive from sample ``start.row`` on."""
        mode = "r|" + {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(file.path.rpartition(".")[2], "")
        with file.open() as stream, tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
            samples: list[dict[str, Any]] = []
            size = row = 0
            for sample in _samples(archive):
                row += 1
                if row <= start.row:
                    continue
                samples.append(sample)
                size += sum(len(v) for v in sample.values() if isinstance(v, bytes))
                if size >= PIECE:
                    yield self._rows(samples, row, layout)
                    samples, size = [], 0
            if samples:
                yield self._rows(samples, row, layout)

    def _rows(self, samples: list[dict[str, Any]], end: int, layout: Layout | None) -> Rows:
        first = end - len(samples)
        names = list(dict.fromkeys(name for sample in samples for name in sample))
        self.check_columns(names, where="the archive")
        payload = self.payload_columns(names) if layout is None else layout.schema.names
        bad, good = [], []
        for place, sample in enumerate(samples):
            missing = [name for name in payload if name not in sample]
            if missing:
                bad.append(Bad(row=first + place, reason=f"sample '{sample['key']}' has no member .{missing[0]}"))
            else:
                good.append(place)
        columns = {name: _column(name, [samples[i].get(name) for i in good], name in payload) for name in names}
        return Rows(pa.table(columns), first + np.array(good, np.int64), Cursor(end, end), bad)


def _samples(archive: tarfile.TarFile) -> Iterator[dict[str, Any]]:
    """Members grouped by their name without endings: consecutive ones of one name are one sample."""
    sample: dict[str, Any] = {}
    for member in archive:
        folder, _, name = member.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        if not member.isfile() or not dot or not stem:
            continue
        key = f"{folder}/{stem}" if folder else stem
        if sample and sample["key"] != key:
            yield sample
            sample = {}
        content = archive.extractfile(member)
        assert content is not None
        sample.setdefault("key", key)
        sample[ending.lower()] = data = content.read()
        if ending.lower() == "json":
            sample |= _values(data)
    if sample:
        yield sample


def _values(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    return {f"json.{name}": value for name, value in values.items()} if isinstance(values, dict) else {}


def _column(name: str, values: list[Any], is_payload: bool) -> pa.Array:
    """Payload members as bytes; others, which are read for label or time, as text."""
    if name.startswith("json."):
        plain = [v if isinstance(v, str | int | float | bool) or v is None else json.dumps(v) for v in values]
        try:
            return pa.array(plain)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if v is None else str(v) for v in plain], pa.string())
    if name == "key" or is_payload:
        return pa.array(values, pa.string() if name == "key" else pa.large_binary())
    return pa.array([None if v is None else v.decode("utf-8", "replace").strip() for v in values], pa.string())
