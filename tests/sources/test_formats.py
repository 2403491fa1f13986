import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modyn.errors import ConfigError, DataError
from modyn.policy import build
from modyn.sources import Memory, Source, ledger
from modyn.sources.arrow import Arrow
from modyn.sources.binary import Binary
from modyn.sources.files import Files
from modyn.sources.guess import guess_format
from modyn.sources.jsonl import Jsonl
from modyn.sources.parquet import Parquet
from modyn.sources.tar import Tar

Fill = Callable[..., Any]
TABLE = pa.table(
    {
        "x": pa.array([1, 2, 3], pa.int32()),
        "v": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "name": pa.array(["a", None, "c"]).dictionary_encode(),
        "y": ["cat", "dog", "cat"],
        "t": pa.array([10, 20, 30], pa.timestamp("s", tz="Europe/Zurich")),
    }
)


def check_table(data: Any) -> None:
    assert data.labels() == [0, 1, 0]
    assert data.dataset.label_classes == ("cat", "dog")
    assert data.times() == [10**7, 2 * 10**7, 3 * 10**7]
    assert data.column("x") == [1, 2, 3]
    assert data.column("v") == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert data.column("name") == ["a", "", "c"]


def test_parquet(fill: Fill, folder: Path) -> None:
    pq.write_table(TABLE, folder / "a.parquet", row_group_size=2)
    check_table(fill(Parquet(path=str(folder / "a.parquet"), label="y", timestamp="t")))


def test_parquet_row_groups_bigger_than_a_piece_are_cut(
    fill: Fill, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modyn.sources.tables.PIECE", 1000)
    pq.write_table(
        pa.table({"x": np.arange(5000), "y": np.arange(5000) % 3}), folder / "a.parquet", row_group_size=1300
    )
    data = fill(Parquet(path=str(folder / "a.parquet"), label="y"))
    assert data.column("x") == list(range(5000))


def test_a_file_that_is_no_parquet_says_so(fill: Fill, folder: Path) -> None:
    (folder / "a.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        fill(Parquet(path=str(folder / "a.parquet")))


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow(fill: Fill, folder: Path, kind: str) -> None:
    opened = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with opened(folder / "a.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    check_table(fill(Arrow(path=str(folder / "a.arrow"), label="y", timestamp="t")))


def test_jsonl_with_nested_objects_and_lists(fill: Fill, folder: Path) -> None:
    lines = [{"x": i, "meta": {"y": i % 2}, "v": [i, 2.5], "at": i} for i in range(20)]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = fill(Jsonl(path=str(folder / "a.jsonl"), label="meta.y", timestamp="at", time_unit="s"))
    assert data.labels() == [i % 2 for i in range(20)]
    assert data.column("v")[3] == [3.0, 2.5]


def test_jsonl_lines_that_do_not_fit_are_set_aside_one_by_one(fill: Fill, folder: Path) -> None:
    good = [json.dumps({"x": i, "y": 0.5}) for i in range(100)]
    wrong = ['{"x": "seven", "y": 1}', "{not json", "[1, 2]", '{"x": 5}']
    (folder / "a.jsonl").write_text("\n".join([*good[:50], *wrong, *good[50:]]) + "\n")
    data = fill(Jsonl(path=str(folder / "a.jsonl"), label="y"))
    assert data.column("x") == [*range(50), *range(50, 100)]
    with data.dataset.workspace.transaction() as connection:
        found = {q.bad.row: q.bad for q in ledger.quarantined(connection, data.dataset.name)}
    assert sorted(found) == [50, 51, 52, 53]
    assert found[51].reason.startswith("not valid JSON")
    assert found[53].reason == "y (the label) is missing"
    assert found[50].raw == b'{"x": "seven", "y": 1}\n'


@pytest.mark.parametrize("order", ["little", "big"])
def test_binary_records_with_label_first(fill: Fill, folder: Path, order: str) -> None:
    mark = "<" if order == "little" else ">"
    (folder / "a.bin").write_bytes(b"".join(struct.pack(f"{mark}i8s", i, bytes([i] * 8)) for i in range(5)))
    data = fill(Binary(path=str(folder / "a.bin"), record_size=12, label_type="int32", byte_order=order))
    assert data.labels() == [0, 1, 2, 3, 4]
    assert dict(data.dataset.column_types) == {"payload": "uint8[8]"}
    assert data.column("payload")[3] == [3] * 8


def test_binary_label_in_the_middle_time_and_fields(fill: Fill, folder: Path) -> None:
    record = struct.Struct(">2sBq2f")
    (folder / "a.bin").write_bytes(b"head" + b"".join(record.pack(b"ab", i, i * 1000, i, -i) for i in range(4)))
    options = {"record_size": 19, "header_size": 4, "byte_order": "big", "label_type": "uint8", "label_offset": 2}
    times = {"time_type": "int64", "time_offset": 3, "time_unit": "ms"}
    data = fill(Binary(path=str(folder / "a.bin"), **options, **times))
    assert data.labels() == [0, 1, 2, 3]
    assert data.times() == [0, 10**6, 2 * 10**6, 3 * 10**6]
    assert bytes(data.column("payload")[2]) == b"ab" + struct.pack(">2f", 2, -2)
    fields = {"v": {"offset": 11, "type": "float32", "count": 2}}
    assert fill(Binary(path=str(folder / "a.bin"), **options, fields=fields)).column("v")[3] == [3.0, -3.0]


def test_bytes_that_are_no_whole_record_are_set_aside(fill: Fill, folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"x" * 25)
    data = fill(Binary(path=str(folder / "a.bin"), record_size=10))
    assert data.added.samples == 2
    assert "the last 5 bytes are no whole record of 10" in data.added.first_bad


def test_a_field_must_lie_in_the_record() -> None:
    with pytest.raises(ConfigError, match="field 'label' ends at byte 12 of a record of 8 bytes"):
        build(Source, {"binary": {"path": "a", "record_size": 8, "label_offset": 4, "label_type": "int64"}})


@pytest.fixture
def photos(folder: Path) -> Path:
    for number, kind in enumerate(["cat", "dog", "cat"]):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"2013010{number + 1}_{kind}.jpg").write_bytes(bytes([number]) * (number + 1))
        (folder / kind / f"2013010{number + 1}_{kind}.label").write_text(f"{number}\n")
    return folder


def test_labels_from_folders_and_times_from_names(fill: Fill, photos: Path) -> None:
    source = Files(
        path=str(photos), label_from="folder", time_from="file-name", time_pattern=r"(\d{8})_", time_format="%Y%m%d"
    )
    data = fill(source)
    assert [bytes(p) for p in data.column("payload")] == [b"\0", b"\2\2\2", b"\1\1"]
    assert data.labels() == [0, 0, 1]
    assert data.dataset.label_classes == ("cat", "dog")
    assert np.diff(data.times()).tolist() == [2 * 86_400 * 10**6, -86_400 * 10**6]


def test_labels_from_siblings_patterns_and_an_index(fill: Fill, photos: Path) -> None:
    assert fill(Files(path=str(photos), label_from="sibling")).labels() == [0, 2, 1]
    assert fill(Files(path=str(photos), label_from="pattern", label_pattern=r"0(\d)_")).labels() == [1, 3, 2]
    (photos / "index.csv").write_text(
        "path,score,day\n20130101_cat.jpg,0.5,2013-01-05\ndog/20130102_dog.jpg,1.5,2013-01-06\n"
    )
    data = fill(Files(path=str(photos), index=str(photos / "index.csv"), label="score", timestamp="day"))
    assert data.labels() == [0.5, 1.5]
    assert data.added.quarantined == 1


def test_a_file_whose_name_tells_no_time_is_set_aside(fill: Fill, photos: Path) -> None:
    (photos / "cat" / "undated.jpg").write_bytes(b"x")
    pattern = {"time_pattern": r"(\d{8})_", "time_format": "%Y%m%d"}
    data = fill(Files(path=str(photos), label_from="folder", time_from="file-name", **pattern))
    assert (data.added.samples, data.added.quarantined) == (3, 1)


def test_mtime_is_a_time(fill: Fill, photos: Path) -> None:
    import os

    for path in photos.rglob("*.jpg"):
        os.utime(path, (5, 5))
    assert fill(Files(path=str(photos), time_from="mtime")).times() == [5 * 10**6] * 3


def test_webdataset_tar(fill: Fill, folder: Path) -> None:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number in range(4):
            members = {
                "jpg": bytes([number]),
                "cls": str(number % 2).encode(),
                "json": json.dumps({"at": number}).encode(),
            }
            if number == 2:
                del members["jpg"]
            for ending, content in members.items():
                info = tarfile.TarInfo(f"part/{number:04}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    source = Tar(path=str(folder / "a.tar"), label="cls", timestamp="json.at", time_unit="s", id="key")
    data = fill(source)
    assert [bytes(p) for p in data.column("jpg")] == [b"\0", b"\1", b"\3"]
    assert data.labels() == [0, 1, 1]
    assert data.times() == [0, 10**6, 3 * 10**6]
    assert data.column("key") == ["part/0000", "part/0001", "part/0003"]
    assert data.added.first_bad.endswith("sample 'part/0002' has no member .jpg")


def test_a_damaged_archive_says_so(fill: Fill, folder: Path) -> None:
    (folder / "a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match=r"a\.tar cannot be read|archive is damaged"):
        fill(Tar(path=str(folder / "a.tar")))


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"x": [1, 2], "y": ["a", "b"], "t": pd.to_datetime(["2013-01-01", "2013-01-02"])}),
        pa.table({"x": [1, 2], "y": ["a", "b"], "t": ["2013-01-01", "2013-01-02"]}),
        {"x": np.array([1, 2]), "y": ["a", "b"], "t": np.array(["2013-01-01", "2013-01-02"], "M8[D]")},
        [
            pa.record_batch({"x": [1], "y": ["a"], "t": ["2013-01-01"]}),
            pa.record_batch({"x": [2], "y": ["b"], "t": ["2013-01-02"]}),
        ],
    ],
    ids=["pandas", "arrow", "arrays", "batches"],
)
def test_tables_in_memory(fill: Fill, data: Any) -> None:
    filled = fill(Memory(data=data, label="y", timestamp="t"))
    assert filled.column("x") == [1, 2]
    assert filled.labels() == [0, 1]
    assert np.diff(filled.times()).tolist() == [86_400 * 10**6]


def test_images_in_memory_keep_their_shape(fill: Fill) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array(fill(Memory(data={"image": images})).column("image")).tolist() == images.reshape(2, 3, 4).tolist()


def test_columns_of_different_length_are_refused(fill: Fill) -> None:
    with pytest.raises(DataError, match="columns differ in length: x has 2, y has 3"):
        fill(Memory(data={"x": [1, 2], "y": [1, 2, 3]}))


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "csv"),
        ("b.parquet", "parquet"),
        ("c.jsonl.gz", "jsonl"),
        ("d.tar.gz", "tar"),
        ("e.jpg", "files"),
    ],
)
def test_the_format_shows_in_the_ending(name: str, format_: str) -> None:
    assert guess_format(name) == format_


def test_the_format_of_a_folder_is_that_of_most_of_its_files(folder: Path) -> None:
    for name in ("a.csv", "b.csv", "c.parquet"):
        (folder / name).write_text("")
    assert guess_format(str(folder)) == "csv"


@pytest.mark.parametrize("kind", ["records", "files"])
def test_linked_samples_are_read_in_place(fill: Fill, folder: Path, kind: str) -> None:
    if kind == "records":
        (folder / "a.bin").write_bytes(b"".join(struct.pack("<iq4s", i, i, bytes([i] * 4)) for i in range(5)))
        options: dict[str, Any] = {"label_type": "int32", "time_type": "int64", "time_offset": 4, "time_unit": "s"}
        data = fill(Binary(path=str(folder / "a.bin"), record_size=16, **options), storage="link")
        assert data.times() == [i * 10**6 for i in range(5)]
        (folder / "a.bin").write_bytes((folder / "a.bin").read_bytes() + struct.pack("<iq4s", 5, 5, b"\5" * 4))
        assert data.poll().samples == 1
        assert data.labels() == [0, 1, 2, 3, 4, 5]
    else:
        for i in range(5):
            (folder / f"{i}.jpg").write_bytes(bytes([i] * 4))
            (folder / f"{i}.label").write_text(str(i))
        data = fill(Files(path=str(folder), label_from="sibling"), storage="link")
        assert data.labels() == [0, 1, 2, 3, 4]
    assert bytes(data.column("payload")[3]) == b"\3" * 4


def test_only_files_that_can_be_read_in_place_are_linked(fill: Fill, folder: Path) -> None:
    from modyn.sources.csv import Csv

    (folder / "a.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="cannot be linked"):
        fill(Csv(path=str(folder / "a.csv")), storage="link")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"label_type": "uint8", "label_offset": 3}, r"the payload lies in several pieces \(bytes 0-2, 4-15\)"),
        ({"time_type": "int64", "time_unit": "ns"}, "times in ns are cut to microseconds"),
        ({"time_type": "float32", "time_unit": "s"}, "times of type float32 are rounded"),
        ({"label": ["a", "b"], "fields": {"a": {"offset": 0}, "b": {"offset": 1}, "c": {"offset": 2}}}, "2 fields"),
    ],
)
def test_records_that_only_a_copy_can_hold_are_not_linked(
    fill: Fill, folder: Path, options: dict[str, Any], why: str
) -> None:
    (folder / "a.bin").write_bytes(bytes(64))
    source = Binary(path=str(folder), record_size=16, **options)
    with pytest.raises(DataError, match=f"cannot be linked: .*{why}"):
        fill(source, storage="link")
    assert fill(source).added.samples == 4
