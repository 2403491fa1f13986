"""Sources on an object store: an S3-compatible server on loopback."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

from modyn.errors import DataError  # noqa: E402
from modyn.sources.csv import Csv  # noqa: E402
from modyn.sources.files import Files  # noqa: E402
from modyn.sources.guess import guess_format  # noqa: E402
from modyn.sources.parquet import Parquet  # noqa: E402

Fill = Callable[..., Any]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A bucket and how to write to it."""

    def __init__(self, fs: Any, name: str) -> None:
        self.fs = fs
        self.url = f"s3://{name}"

    def put(self, path: str, content: bytes) -> None:
        self.fs.pipe_file(f"{self.url}/{path}", content)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3")
    bucket = Bucket(fs, f"bucket-{os.urandom(4).hex()}")
    fs.mkdir(bucket.url)
    yield bucket
    fs.rm(bucket.url, recursive=True)


def test_a_folder_of_csv_files_is_taken_and_followed(fill: Fill, bucket: Bucket) -> None:
    bucket.put("in/a.csv", b"x,y\n1,0\n2,1\n")
    data = fill(Csv(path=f"{bucket.url}/in", label="y"))
    assert data.column("x") == [1, 2]
    assert data.poll().samples == 0
    bucket.put("in/a.csv", b"x,y\n1,0\n2,1\n3,0\n")
    bucket.put("in/b.csv", b"x,y\n4,0\nfive,1\n")
    added = data.poll()
    assert (added.samples, added.quarantined) == (2, 1)
    assert "/in/b.csv, row 2: x is not a whole number" in added.first_bad
    assert data.column("x") == [1, 2, 3, 4]
    bucket.fs.rm(f"{bucket.url}/in/b.csv")
    assert "b.csv is gone" in data.poll().refused[0]


def test_parquet_and_single_objects(fill: Fill, bucket: Bucket, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    bucket.put("a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert guess_format(f"{bucket.url}/") == "parquet"
    assert fill(Parquet(path=f"{bucket.url}/a.parquet")).column("x") == [1, 2]


def test_one_object_a_sample_with_sibling_labels(fill: Fill, bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"photos/{number:02}.jpg", bytes([number]))
        bucket.put(f"photos/{number:02}.label", str(number % 2).encode())
    data = fill(Files(path=f"{bucket.url}/photos", label_from="sibling"))
    assert data.labels() == [i % 2 for i in range(20)]
    assert bytes(data.column("payload")[7]) == b"\x07"


def test_a_missing_object_is_one_clear_error(fill: Fill, bucket: Bucket) -> None:
    bucket.put("flights.csv", b"x\n1\n")
    with pytest.raises(
        DataError, match=r"there is no file or folder s3://.*/flihgts\.csv\. Did you mean 'flights\.csv'\?"
    ):
        fill(Csv(path=f"{bucket.url}/flihgts.csv"))
    with pytest.raises(DataError, match="there is no file or folder s3://no-such-bucket-at-all"):
        fill(Csv(path="s3://no-such-bucket-at-all/x.csv"))


def test_objects_cannot_be_linked(fill: Fill, bucket: Bucket) -> None:
    bucket.put("a.jpg", b"x")
    with pytest.raises(DataError, match="cannot be linked"):
        fill(Files(path=bucket.url), storage="link")
