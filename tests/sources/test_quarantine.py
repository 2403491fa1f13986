import gzip
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modyn.errors import BadSample, DataError
from modyn.sources import Memory, Source, ledger
from modyn.sources.binary import Binary
from modyn.sources.csv import Csv
from modyn.sources.files import Files
from modyn.sources.jsonl import Jsonl
from modyn.sources.parquet import Parquet
from modyn.sources.retrying import retry
from modyn.sources.tar import Tar

Fill = Callable[..., Any]


def bad_rows(data: Any) -> list[int]:
    with data.dataset.workspace.transaction() as connection:
        return [q.bad.row for q in ledger.quarantined(connection, data.dataset.name)]


def with_options(data: Any, **options: Any) -> Source:
    with data.dataset.workspace.transaction() as connection:
        ((_, source),) = ledger.sources_of(connection, data.dataset.name)
    return source.model_copy(update=options)


def test_nothing_is_lost_between_samples_and_quarantine(fill: Fill, folder: Path) -> None:
    rows = [str(i) if i % 7 else f"bad{i}" for i in range(1000)]
    (folder / "a.csv").write_text("y,x\n" + "".join(f"1,{row}\n" for row in rows))
    data = fill(Csv(path=str(folder), label="x", label_kind="integer"))
    assert data.added.samples + data.added.quarantined == 1000
    assert bad_rows(data) == list(range(0, 1000, 7))
    assert data.labels() == [i for i in range(1000) if i % 7]


def test_a_retry_after_a_fix_of_the_options_takes_the_rows(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("x,t\n" + "1,2013-01-01\n" * 30 + "7,2013/01/05\n8,never\n")
    data = fill(Csv(path=str(folder), timestamp="t"))
    assert bad_rows(data) == [30, 31]
    again = retry(data.dataset)
    assert (again.samples, again.still_bad) == (0, 2)
    again = retry(data.dataset, source=with_options(data, time_format="%Y/%m/%d"))
    assert (again.samples, again.still_bad, again.untried) == (1, 1, 0)
    assert data.column("x")[-1] == 7
    assert bad_rows(data) == [31]
    assert data.poll().samples == 0


def test_rows_are_retried_from_the_file_once_purge_has_emptied_the_quarantine(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("x,t\n" + "1,2013-01-01\n" * 3 + "7,2013/01/05\n")
    data = fill(Csv(path=str(folder), timestamp="t"))
    data.dataset.delete([0])
    data.dataset.purge()
    with data.dataset.workspace.transaction() as connection:
        (kept,) = ledger.quarantined(connection, data.dataset.name)
    assert kept.bad.raw is None
    assert kept.bad.value is None
    assert retry(data.dataset, source=with_options(data, time_format="%Y/%m/%d")).samples == 1
    assert data.column("x") == [1, 1, 7]


def test_a_retry_of_a_purged_row_whose_file_changed_is_told(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("x,t\n" + "1,2013-01-01\n" * 3 + "7,2013/01/05\n")
    data = fill(Csv(path=str(folder), timestamp="t"))
    data.dataset.delete([0])
    data.dataset.purge()
    (folder / "a.csv").write_text("x,t\n9,2013-01-01\n")
    again = retry(data.dataset)
    assert again.untried == 1
    assert "has changed since" in again.reasons[0]


def test_a_missing_sibling_label_is_taken_once_it_is_there(fill: Fill, folder: Path) -> None:
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    (folder / "a.label").write_text("3")
    data = fill(Files(path=str(folder), label_from="sibling"))
    assert (data.added.samples, data.added.quarantined) == (1, 1)
    (folder / "b.label").write_text("4")
    assert retry(data.dataset).samples == 1
    assert data.labels() == [3, 4]
    assert bad_rows(data) == []
    assert data.poll().samples == 0


def make_file(folder: Path, kind: str, wrong: str) -> Source:
    values = ["1", "2", wrong]
    if kind == "jsonl":
        (folder / "a.jsonl").write_text("".join(f'{{"v": 1, "y": "{v}"}}\n' for v in values))
        return Jsonl(path=str(folder), label="y", label_kind="integer")
    if kind == "parquet":
        pq.write_table(pa.table({"v": [1, 1, 1], "y": values}), folder / "a.parquet")
        return Parquet(path=str(folder), label="y", label_kind="integer")
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number, value in enumerate(values):
            for ending, content in (("jpg", b"x"), ("cls", value.encode())):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(content)
                archive.addfile(info, BytesIO(content))
    return Tar(path=str(folder), label="cls", label_kind="integer")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "tar"])
def test_every_format_tries_its_rows_again(fill: Fill, folder: Path, kind: str) -> None:
    data = fill(make_file(folder, kind, "2.5"))
    assert (data.added.samples, bad_rows(data)) == (2, [2])
    again = retry(data.dataset, source=with_options(data, on_bad_sample="quarantine"))
    assert (again.samples, again.still_bad, again.untried) == (0, 1, 0)
    assert bad_rows(data) == [2]


def test_a_file_that_could_not_be_read_is_read_on_once_it_can(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "b.csv.gz").write_bytes(b"not gzip")
    data = fill(Csv(path=str(folder)))
    assert bad_rows(data) == [-1]
    assert retry(data.dataset).untried == 1
    with gzip.open(folder / "b.csv.gz", "wt") as file:
        file.write("x\n2\n3\n")
    again = retry(data.dataset)
    assert (again.samples, again.untried) == (2, 0)
    assert data.column("x") == [1, 2, 3]
    assert data.poll().samples == 0
    assert bad_rows(data) == []


def test_a_rest_that_is_no_record_stays_bad_until_it_is_whole(fill: Fill, folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"x" * 25)
    data = fill(Binary(path=str(folder), record_size=10))
    with (folder / "a.bin").open("ab") as file:
        file.write(b"x" * 5)
    assert data.poll().samples == 1
    assert data.dataset.num_samples == 3


def test_what_came_from_memory_cannot_be_tried_again(fill: Fill) -> None:
    data = fill(Memory(data={"x": [1, 2], "y": [1.0, float("nan")]}, label="y"))
    again = retry(data.dataset)
    assert again.untried == 1
    assert "add it once more" in again.reasons[0]


def test_fail_keeps_earlier_batches_and_nothing_of_the_failing_one(
    fill: Fill, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    data = fill(Csv(path=str(folder), on_bad_sample="fail"))
    (folder / "b.csv").write_text("x\n2\n3\n")
    (folder / "c.csv").write_text("x\n4\nfive\n")
    with pytest.raises(BadSample, match=r"c\.csv, row 2: x is not a whole number: 'five'"):
        data.poll()
    assert data.column("x") == [1]
    (folder / "c.csv").write_text("x\n4\n5\n")
    assert data.poll().samples == 4


def test_a_dataset_with_two_sources_needs_to_know_which_is_meant(fill: Fill, folder: Path) -> None:
    from modyn.sources import add

    for name in "ab":
        (folder / f"{name}.csv").write_text("x\n1\n")
    data = fill(Csv(path=str(folder / "a.csv")))
    add(data.dataset, Csv(path=str(folder / "b.csv")), clock=data.clock)
    assert data.dataset.num_samples == 2
    with pytest.raises(DataError, match="has 2 sources"):
        retry(data.dataset, source=with_two(data))


def with_two(data: Any) -> Source:
    with data.dataset.workspace.transaction() as connection:
        return ledger.sources_of(connection, data.dataset.name)[0][1]


def test_a_renamed_file_takes_its_bad_rows_along(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("x\n" + "1\n" * 20 + "bad\n")
    data = fill(Csv(path=str(folder)))
    (folder / "a.csv").rename(folder / "b.csv")
    data.poll()
    retried = retry(data.dataset, clock=data.clock)
    assert (retried.still_bad, retried.untried) == (1, 0)


@pytest.mark.parametrize("lines", ["{}", '{"x": 2}', "no JSON", '{"y": 1}'])
def test_a_json_line_without_its_columns_is_one_bad_row(fill: Fill, folder: Path, lines: str) -> None:
    (folder / "a.jsonl").write_text('{"x": 1, "y": 1, "in": {"z": 3}}\n')
    data = fill(Jsonl(path=str(folder), label="y"))
    with (folder / "a.jsonl").open("a") as file:
        file.write(lines + "\n")
    added = data.poll()
    assert (added.samples, added.quarantined) == (0, 1)
    with (folder / "a.jsonl").open("a") as file:
        file.write('{"x": 5, "y": 0, "in": {"z": 1}}\n')
    assert data.poll().samples == 1
    assert retry(data.dataset, clock=data.clock).still_bad == 1


def test_text_in_another_encoding_is_bad_until_the_encoding_is_told(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_bytes("name,x\nZ\u00fcrich,1\nBern,2\n".encode("latin-1"))
    data = fill(Csv(path=str(folder)))
    assert data.column("name") == ["Bern"]
    assert "name is not text in utf8 (encoding)" in data.added.first_bad
    retried = retry(data.dataset, source=with_options(data, encoding="latin-1"), clock=data.clock)
    assert retried.samples == 1
    assert data.column("name") == ["Bern", "Z\u00fcrich"]


def test_a_missing_text_is_empty_and_a_missing_array_is_a_bad_row(fill: Fill, folder: Path) -> None:
    rows = ['{"s": null, "v": [1, 2]}', '{"s": "b", "v": [1, 2]}', '{"s": "c", "v": null}']
    (folder / "a.jsonl").write_text("\n".join(rows) + "\n")
    data = fill(Jsonl(path=str(folder)))
    assert data.column("s") == ["", "b"]
    assert "row 3: v is missing" in data.added.first_bad
