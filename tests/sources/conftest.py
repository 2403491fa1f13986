"""A dataset filled from a source, with a clock that is ahead, so that files just written count as settled."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modyn.datasets import Dataset
from modyn.sources import Added, Feed, Source, add
from modyn.sources.times import now_us
from modyn.workspace import Workspace

HOUR = 3600 * 10**6


def later() -> int:
    return now_us() + HOUR


class Filled:
    """A dataset, what adding its source came to, and the ways to look at both."""

    def __init__(self, dataset: Dataset, source: Source, clock: Callable[[], int] = later) -> None:
        self.dataset = dataset
        self.added = add(dataset, source, clock=clock)
        self.clock = clock

    def poll(self) -> Added:
        return Feed(self.dataset, clock=self.clock).poll()

    def column(self, name: str) -> list[object]:
        return self.dataset.reader([name]).read(self.dataset.samples().keys)[name].tolist()  # type: ignore[no-any-return]

    def labels(self) -> list[object]:
        labels = self.dataset.samples().labels
        assert labels is not None
        return labels.tolist()  # type: ignore[no-any-return]

    def times(self) -> list[int]:
        return self.dataset.samples().timestamps.tolist()


@pytest.fixture
def fill(workspace: Workspace) -> Callable[..., Filled]:
    def make(source: Source, **options: object) -> Filled:
        name = f"d{len(Dataset.names(workspace))}"
        return Filled(Dataset.create(workspace, name, **options), source)  # type: ignore[arg-type]

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return place
