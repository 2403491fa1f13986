"""Per-sample training metadata: append-only, the same as a plain dictionary, and safe to train an epoch again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import Damaged
from modyn.selectors.metadata import Metadata

EPOCHS = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.floats(0, 10, width=32), st.integers(0, 1)), max_size=15),
    min_size=1,
    max_size=6,
)


@given(EPOCHS)
@settings(max_examples=60, deadline=None)
def test_it_remembers_what_a_plain_loop_remembers(tmp_path_factory, epochs):
    metadata = Metadata(tmp_path_factory.mktemp("run"))
    loss, right, forgotten, learned, times = {}, {}, {}, {}, {}
    for number, rows in enumerate(epochs):
        keys = np.array([key for key, _, _ in rows], dtype=np.int64)
        metadata.append(
            number // 2,
            number % 2,
            keys=keys,
            losses=np.array([x for _, x, _ in rows]),
            right=np.array([bool(r) for _, _, r in rows]),
        )
        for key, value, now in rows:
            before = right.get(key, -1)
            forgotten[key] = forgotten.get(key, 0) + (before == 1 and now == 0)
            learned[key] = learned.get(key, 0) + (before != 1 and now == 1)
            times[key] = times.get(key, 0) + 1
            loss[key], right[key] = value, now
        asked = np.arange(20)
        for fresh in (metadata, Metadata(metadata.folder.parent)):
            assert fresh.forgotten(asked).tolist() == [forgotten.get(k, 0) for k in range(20)]
            assert fresh.learned(asked).tolist() == [learned.get(k, 0) for k in range(20)]
            assert fresh.times_trained(asked).tolist() == [times.get(k, 0) for k in range(20)]
            expected = np.array([loss.get(k, np.nan) for k in range(20)], dtype=np.float32)
            assert np.array_equal(fresh.losses(asked), expected, equal_nan=True)


def test_an_epoch_that_is_trained_again_counts_once(tmp_path):
    metadata = Metadata(tmp_path)
    keys = np.arange(3)
    metadata.append(0, 0, keys=keys, losses=np.ones(3), right=np.array([True, True, False]))
    metadata.append(0, 1, keys=keys, losses=np.full(3, 9.0), right=np.zeros(3, bool))
    assert metadata.forgotten(keys).tolist() == [1, 1, 0]
    assert metadata.losses(keys, before=(0, 1)).tolist() == [1, 1, 1]
    assert metadata.forgotten(keys, before=(0, 1)).tolist() == [0, 0, 0]
    assert metadata.times_trained(keys, before=(0, 0)).tolist() == [0, 0, 0]
    assert metadata.losses(keys).tolist() == [9, 9, 9]
    metadata.append(0, 1, keys=keys[:1], losses=np.full(1, 5.0), right=np.zeros(1, bool))
    metadata.append(0, 1, keys=keys[:2], losses=np.full(2, 5.0), right=np.zeros(2, bool))
    assert metadata.losses(keys).tolist() == [5, 5, 1]
    assert np.array_equal(metadata.forgetting(keys), [1, 1, np.nan], equal_nan=True)
    assert metadata.forgotten(keys).tolist() == [1, 1, 0]
    assert metadata.times_trained(keys).tolist() == [2, 2, 1]


def test_a_damaged_file_is_named(tmp_path):
    metadata = Metadata(tmp_path)
    metadata.append(0, 0, keys=np.arange(3), losses=np.ones(3))
    path = tmp_path / "samples" / "000000-000000.arrow"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(Damaged, match=r"000000-000000\.arrow does not hold per-sample metadata"):
        metadata.losses(np.arange(3))


def test_rounds_fold_in_numeric_order(tmp_path):
    metadata = Metadata(tmp_path)
    for number in (999_999, 1_000_000):
        metadata.append(number, 0, keys=np.arange(1), losses=np.full(1, float(number)))
    assert Metadata(tmp_path).losses(np.arange(1)).tolist() == [1_000_000]
