"""Keep samples and find them: a named, versioned log of samples, held in immutable memory-mapped shards."""

from modyn.datasets.dataset import Dataset
from modyn.datasets.links import Field, Records
from modyn.datasets.memory_dataset import MemoryDataset
from modyn.datasets.reader import Ragged, Reader
from modyn.datasets.writer import Writer

__all__ = ["Dataset", "Field", "MemoryDataset", "Ragged", "Reader", "Records", "Writer"]
