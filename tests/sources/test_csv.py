from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modyn.errors import BadSample, ConfigError, DataError
from modyn.policy import build
from modyn.sources import Source, ledger
from modyn.sources.csv import Csv

DAY = 86_400 * 10**6


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def test_columns_become_payload_label_and_time(fill: Callable[..., Any], folder: Path) -> None:
    path = write(folder / "a.csv", "x,late,at,name\n1,0,1970-01-02,ann\n2,1,1970-01-03 00:00:01,bob\n")
    data = fill(Csv(path=path, label="late", timestamp="at"))
    assert dict(data.dataset.column_types) == {"x": "int64", "name": "text"}
    assert data.column("name") == ["ann", "bob"]
    assert data.labels() == [0, 1]
    assert data.times() == [DAY, 2 * DAY + 10**6]


def test_tabs_quotes_line_ends_in_quotes_and_a_byte_order_mark_are_understood(
    fill: Callable[..., Any], folder: Path
) -> None:
    path = write(folder / "a.tsv", '\ufefftext\ty\r\n"two\nlines, ""quoted"""\t1\r\nplain\t2\r\n')
    data = fill(Csv(path=path, label="y"))
    assert data.column("text") == ['two\nlines, "quoted"', "plain"]


@pytest.mark.parametrize("size", [16, 64, 1 << 20])
@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_may_end_as_on_any_machine(
    fill: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch, end: str, size: int
) -> None:
    monkeypatch.setattr("modyn.sources.csv.FIRST_BLOCK", size)
    monkeypatch.setattr("modyn.sources.lines.BLOCK", size)
    rows = [f'{i},{i % 2},"t{end}{i}"' for i in range(50)]
    rows[7] = "7,1"  # too few fields
    text = end.join(["x,y,text", *rows, ""])
    data = fill(Csv(path=write(folder / "a.csv", text), label="y"))
    kept = [i for i in range(50) if i != 7]
    assert data.column("x") == kept
    assert data.column("text") == [f"t{end}{i}" for i in kept]
    with data.dataset.workspace.transaction() as connection:
        (bad,) = ledger.quarantined(connection, data.dataset.name)
    assert bad.bad.row == 7
    assert bad.bad.reason == "has 2 fields, not 3"
    assert bad.bad.raw.rstrip() == b"7,1"


def test_a_file_whose_lines_end_with_carriage_returns_may_grow(fill: Callable[..., Any], folder: Path) -> None:
    path = write(folder / "a.csv", "x,y\r1,0\r2,1\r")
    data = fill(Csv(path=path, label="y"))
    write(folder / "a.csv", "x,y\r1,0\r2,1\r3,0\r4,1")
    assert data.poll().samples == 2
    assert data.column("x") == [1, 2, 3, 4]


def test_a_stray_carriage_return_spoils_its_row_only_and_the_row_is_kept_as_it_is(
    fill: Callable[..., Any], folder: Path
) -> None:
    data = fill(Csv(path=write(folder / "a.csv", "x,text\n1,a\n2,b\rc\n3,far\nfar,d\n"), types={"x": "int64"}))
    assert data.column("x") == [1, 2, 3]
    with data.dataset.workspace.transaction() as connection:
        bad = ledger.quarantined(connection, data.dataset.name)
    assert [q.bad.raw.rstrip() for q in bad] == [b"c", b"far,d"]


def test_a_file_without_a_header_gets_names(fill: Callable[..., Any], folder: Path) -> None:
    path = write(folder / "a.csv", "1;2.5;u\n3;4.5;v\n")
    data = fill(Csv(path=path, header=False, delimiter=";", names=["a", "b", "c"], label="c"))
    assert data.column("b") == [2.5, 4.5]
    assert data.dataset.label_classes == ("u", "v")
    assert dict(fill(Csv(path=path, header=False, delimiter=";", label="f2")).dataset.column_types) == {
        "f0": "int64",
        "f1": "float64",
    }


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_compressed_files_are_read(fill: Callable[..., Any], folder: Path, ending: str) -> None:
    import bz2
    import gzip
    import lzma
    import zipfile

    path = folder / f"a.csv{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", "x\n1\n2\n")
    else:
        opened: Any = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending]
        with opened.open(path, "wb") as file:
            file.write(b"x\n1\n2\n")
    assert fill(Csv(path=str(path))).column("x") == [1, 2]


def test_text_in_a_numeric_column_is_set_aside_and_the_rest_is_taken(fill: Callable[..., Any], folder: Path) -> None:
    rows = "".join(f"{i},{i % 2}\n" for i in range(200))
    data = fill(Csv(path=write(folder / "a.csv", "x,y\n" + rows + "oops,1\n7,1\n"), label="y"))
    assert data.added.samples == 201
    assert data.column("x")[-1] == 7
    with data.dataset.workspace.transaction() as connection:
        (bad,) = ledger.quarantined(connection, data.dataset.name)
    assert (bad.bad.row, bad.bad.reason, bad.bad.value) == (200, "x is not a whole number", "oops")
    assert bad.bad.raw == b"oops,1\n"


def test_each_way_for_a_row_to_be_unusable_is_named(fill: Callable[..., Any], folder: Path) -> None:
    good = "".join(f"{i},{i % 2},2013-01-01\n" for i in range(50))
    text = "x,y,t\n" + good + "1,,2013-01-01\n1,1,2013-13-01\n1,1\n1,maybe,2013-01-01\n1,1,\n"
    data = fill(Csv(path=write(folder / "a.csv", text), label="y", timestamp="t"))
    with data.dataset.workspace.transaction() as connection:
        found = [(q.bad.row, q.bad.reason) for q in ledger.quarantined(connection, data.dataset.name)]
    assert found == [
        (50, "y (the label) is missing"),
        (51, "t is not a time"),
        (52, "has 2 fields, not 3"),
        (53, "y (the label) is not a whole number"),
        (54, "t is not a time"),
    ]
    assert data.added.samples == 50


def test_bytes_that_are_no_text_spoil_only_their_row(fill: Callable[..., Any], folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"x,name\n" + b"1,ann\n" * 20 + b"2,\xff\xfe\n3,bob\n")
    data = fill(Csv(path=str(folder / "a.csv")))
    assert data.added.samples + data.added.quarantined == 22
    assert data.column("x")[-1] == 3


def test_fail_stops_with_nothing_of_the_batch_committed(fill: Callable[..., Any], folder: Path, workspace: Any) -> None:
    from modyn.datasets import Dataset

    path = write(folder / "a.csv", "x,t\n1,2013-01-01\n2,never\n")
    with pytest.raises(BadSample, match=r"a\.csv, row 2: t is not a time: 'never'"):
        fill(Csv(path=path, timestamp="t", on_bad_sample="fail"))
    assert Dataset.open(workspace, "d0").num_samples == 0


def test_a_wrong_column_is_answered_with_the_nearest_and_the_list(fill: Callable[..., Any], folder: Path) -> None:
    path = write(folder / "a.csv", "distance,late\n1,0\n")
    with pytest.raises(
        DataError, match=r"no column 'lat' \(the label\)\. Did you mean 'late'\? Its columns: distance, late"
    ):
        fill(Csv(path=path, label="lat"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,y\n", "holds no samples"),
        ("x,x\n1,2\n", "column 'x' stands twice"),
        ("x,t\n1,yesterday\n", "row 1: t is not a time: 'yesterday'"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_an_error(
    fill: Callable[..., Any], folder: Path, text: str, message: str
) -> None:
    timestamp = "t" if ",t" in text else None
    with pytest.raises(DataError, match=message):
        fill(Csv(path=write(folder / "a.csv", text), timestamp=timestamp))


def test_a_missing_file_is_answered_with_the_nearest(fill: Callable[..., Any], folder: Path) -> None:
    write(folder / "flights.csv", "x\n1\n")
    with pytest.raises(DataError, match=r"there is no file or folder .*flihgts\.csv\. Did you mean 'flights\.csv'\?"):
        fill(Csv(path=str(folder / "flihgts.csv")))


def test_a_quote_that_never_ends_is_told(
    fill: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modyn.sources.lines.LONGEST_ROW", 1000)
    monkeypatch.setattr("modyn.sources.csv.FIRST_BLOCK", 500)
    monkeypatch.setattr("modyn.sources.lines.BLOCK", 500)
    path = write(folder / "a.csv", 'x,y\n1,"' + "a\n" * 2000)
    with pytest.raises(DataError, match="is a quote missing"):
        fill(Csv(path=path))


def test_later_blocks_follow_the_types_of_the_first(
    fill: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modyn.sources.csv.FIRST_BLOCK", 64)
    monkeypatch.setattr("modyn.sources.lines.BLOCK", 64)
    text = "x,y\n" + "".join(f"{i},{i / 2}\n" for i in range(100)) + "1.5,2\n8,\n"
    data = fill(Csv(path=write(folder / "a.csv", text)))
    assert data.column("x") == [*range(100), 8]
    assert data.added.quarantined == 1


def test_given_types_hold(fill: Callable[..., Any], folder: Path) -> None:
    data = fill(Csv(path=write(folder / "a.csv", "x,zip\n1,01234\n2,99999\n"), types={"x": "float32", "zip": "string"}))
    assert dict(data.dataset.column_types) == {"x": "float32", "zip": "text"}
    assert data.column("zip") == ["01234", "99999"]


def test_whole_numbers_with_gaps_become_floats(fill: Callable[..., Any], folder: Path) -> None:
    column = fill(Csv(path=write(folder / "a.csv", "x,y\n1,1\nNA,2\n"))).column("x")
    assert column[0] == 1.0
    assert column[1] != column[1]


def test_several_labels_make_a_row_each(fill: Callable[..., Any], folder: Path) -> None:
    data = fill(Csv(path=write(folder / "a.csv", "x,a,b\n1,0.5,1\n2,1.5,0\n"), label=["a", "b"]))
    assert data.labels() == [[0.5, 1.0], [1.5, 0.0]]


def test_fixed_classes_refuse_others(fill: Callable[..., Any], folder: Path) -> None:
    path = write(folder / "a.csv", "x,y\n1,dog\n2,cat\n3,cow\n")
    data = fill(Csv(path=path, label="y", classes=("cat", "dog")), label_classes=("cat", "dog"))
    assert data.labels() == [1, 0]
    assert data.added.first_bad is not None
    assert "y (the label) is none of the classes: 'cow'" in data.added.first_bad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "::"}, "must be one ASCII character"),
        ({"encoding": "utf-99"}, "no encoding is named"),
        ({"timezone": "Mars/Base"}, "no time zone is named 'Mars/Base'"),
        ({"types": {"x": "flot"}}, "'flot' (of x) is no Arrow type"),
        ({"time_from": "file-name"}, "needs time_pattern"),
        ({"delimitr": ","}, "Did you mean 'delimiter'?"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Source, {"csv": {"path": "a.csv", **options}})
    assert message in str(caught.value)
