"""Whatever is done to a dataset, in whatever order, it holds what a plain Python model holds."""

import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modyn.datasets import Dataset
from modyn.errors import NotFound
from modyn.types import Window
from modyn.workspace import Workspace

MOMENTS = st.lists(st.integers(0, 50), min_size=1, max_size=12)


class Machine(RuleBasedStateMachine):
    """``everything`` is every sample ever: key -> (time, label, text); ``history[v]`` the live keys of version v."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace(self.folder.name)
        self.dataset = Dataset.create(self.workspace, "d")
        self.dataset.compacts_in_background = False
        self.everything = []
        self.history = [frozenset()]
        self.purged = frozenset()
        self.reader = self.dataset.reader()

    def teardown(self):
        self.workspace.engine.dispose()
        self.folder.cleanup()

    @property
    def live(self):
        return self.history[-1]

    @rule(moments=MOMENTS)
    def append(self, moments):
        self._append(self.dataset, moments)

    def _append(self, target, moments):
        first = len(self.everything)
        added = [(moment, (first + i) % 3, "x" * (moment % 4)) for i, moment in enumerate(moments)]
        target.append(
            {"serial": np.arange(first, first + len(added)), "text": [t for *_, t in added]},
            timestamps=[m for m, *_ in added],
            labels=[label for _, label, _ in added],
        )
        self.everything += added
        self.history.append(self.live | set(range(first, len(self.everything))))

    @rule(parts=st.lists(MOMENTS, min_size=1, max_size=3), data=st.data())
    def write(self, parts, data):
        first, kept = len(self.everything), self.live
        doomed = data.draw(st.sets(st.sampled_from(sorted(kept)), max_size=3)) if kept else set()
        with self.dataset.write(shard_bytes=100) as writer:
            writer.delete(sorted(doomed))
            for part in parts:
                self._append(writer, part)
                self.history.pop()
        self.history.append((kept - doomed) | set(range(first, len(self.everything))))

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def delete(self, data):
        keys = data.draw(st.lists(st.integers(0, len(self.everything) - 1), max_size=8))
        gone = set(keys) & self.live
        assert self.dataset.delete(keys) == len(gone)
        if gone:
            self.history.append(self.live - gone)

    @precondition(lambda self: self.everything)
    @rule(label=st.integers(0, 3), before=st.integers(0, 51))
    def delete_where(self, label, before):
        found = self.dataset.find([f"label == {label}", "text != xxx"], Window(0, before, by="time"))
        expected = {
            k for k in self.live if self.everything[k][1:] != () and self._matches(self.everything[k], label, before)
        }
        assert found.tolist() == sorted(expected)
        self.dataset.delete(found)
        if expected:
            self.history.append(self.live - expected)

    @staticmethod
    def _matches(sample, label, before):
        return sample[1] == label and sample[2] != "xxx" and sample[0] < before

    @rule()
    def purge(self):
        receipt = self.dataset.purge()
        gone = set(range(len(self.everything))) - self.live - self.purged
        assert receipt.num_keys == len(gone)
        self.purged |= gone
        self.history = [version - gone for version in self.history]

    @rule(size=st.sampled_from([500, 5000, 1 << 30]))
    def compact(self, size):
        self.dataset.compact(target_bytes=size)

    @rule()
    def reopen(self):
        self.dataset = Dataset.open(self.workspace, "d")
        self.dataset.compacts_in_background = False

    @rule(data=st.data())
    def look_back(self, data):
        version = data.draw(st.integers(0, len(self.history) - 1))
        self._check(self.dataset.at(version), self.history[version])

    @rule(data=st.data())
    def read_what_is_gone(self, data):
        gone = sorted(set(range(len(self.everything) + 2)) - self.live)
        key = data.draw(st.sampled_from(gone))
        with pytest.raises(NotFound):
            self.reader.read(np.array([*sorted(self.live)[:3], key]))

    @invariant()
    def holds_what_the_model_holds(self):
        assert self.dataset.version == len(self.history) - 1
        assert self.dataset.end_key == len(self.everything)
        self._check(self.dataset, self.live, self.reader)

    def _check(self, dataset, live, reader=None):
        keys = sorted(live)
        assert dataset.num_samples == len(keys)
        samples = dataset.samples()
        assert samples.keys.tolist() == keys
        assert samples.timestamps.tolist() == [self.everything[k][0] for k in keys]
        between = dataset.samples(Window(10, 30, by="time")).keys.tolist()
        assert between == [k for k in keys if 10 <= self.everything[k][0] < 30]
        if keys:
            assert samples.labels.tolist() == [self.everything[k][1] for k in keys]
            backwards = np.array(keys[::-1])
            found = (reader or dataset.reader()).read(backwards)
            assert found["serial"].tolist() == keys[::-1]
            assert found["text"].tolist() == [self.everything[k][2] for k in keys[::-1]]


Machine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDataset = Machine.TestCase


@pytest.mark.slow
def test_the_same_at_length():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Machine, settings=settings(Machine.TestCase.settings, max_examples=150, stateful_step_count=40)
    )
