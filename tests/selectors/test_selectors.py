"""Selectors that need no model: what each promises, over rounds and epochs."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import ConfigError
from modyn.policy import build, to_document
from modyn.selectors import Selector
from modyn.selectors.schedule import Schedule, Step
from modyn.selectors.shares import group_codes, grouped_rows, water_fill
from modyn.selectors.uniform import Uniform
from modyn.types import Gradients
from tests.selectors.stream import candidates, play


def make(document) -> Selector:
    return build(Selector, document)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 300))
def test_water_filling_is_fair_and_exact(counts, total):
    shares = water_fill(np.array(counts), total)
    assert shares.sum() == min(total, sum(counts))
    assert np.all((shares >= 0) & (shares <= counts))
    roomy = shares < counts
    if roomy.any():
        assert shares[roomy].max() - shares[roomy].min() <= 1
        assert shares.max() <= shares[roomy].min() + 1


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 3, 2]),
        np.array([-5, 100_000, -5]),
        np.array([True, False, True]),
        np.array(["b", "a", "b"]),
        np.array([0.5, -1.0, 0.5]),
        np.array([-128, 127, 0], dtype=np.int8),
        np.array([7, 3000, 7], dtype=np.uint64),
    ],
    ids=str,
)
def test_group_codes_number_values_in_ascending_order(values):
    codes, count = group_codes(values)
    found, expected = np.unique(values, return_inverse=True)
    assert count == len(found)
    assert codes.tolist() == expected.tolist()
    assert [rows.tolist() for rows in grouped_rows(codes, count)] == [
        np.flatnonzero(values == value).tolist() for value in found
    ]


@given(n=st.integers(1, 150), budget=st.integers(1, 150), seed=st.integers(0, 99))
@settings(deadline=None)
def test_balanced_takes_fair_shares_of_each_label(n, budget, seed):
    given_ = candidates(n, seed)
    chosen = make({"balanced": {"budget": budget}}).choose(given_, None, seed=seed)
    counts = np.bincount(given_.labels, minlength=4)
    got = np.bincount(given_.labels[np.isin(given_.keys, chosen.keys)], minlength=4)
    assert sorted(got.tolist()) == sorted(water_fill(counts, budget).tolist())
    assert len(chosen) == min(budget, n)


def test_balanced_by_round_takes_as_many_from_each_round():
    last = play(make({"balanced": {"by": "round", "budget": 30}}), per_round=50, num_rounds=3)[-1]
    arrived = last[0].arrived[np.isin(last[0].keys, last[1].keys)]
    assert np.bincount(arrived).tolist() == [10, 10, 10]


@pytest.mark.parametrize("by", ["label", "round", "site"])
def test_any_selector_can_be_balanced(by):
    given_ = candidates(400, columns={"site": np.arange(400) % 7})
    chosen = make({"uniform": {"budget": 100, "balance_by": by}}).choose(given_, None, seed=0)
    values = {"label": given_.labels, "round": given_.arrived, "site": given_.columns["site"]}[by]
    counts = np.unique(values[np.isin(given_.keys, chosen.keys)], return_counts=True)[1]
    assert len(chosen) == 100
    assert counts.max() - counts.min() <= 1
    assert np.all(np.diff(chosen.keys) > 0)


def test_balancing_by_a_column_that_is_not_there_names_the_nearest():
    selector = make({"uniform": {"budget": 3, "balance_by": "sit"}})
    assert selector.columns == ("sit",)
    with pytest.raises(ConfigError, match=r"no column 'sit' to balance by\. Did you mean 'site'"):
        selector.choose(candidates(9, columns={"site": np.arange(9)}), None, seed=0)


def test_warm_up_rounds_take_all():
    played = play(make({"uniform": {"budget": 5, "warmup_rounds": 2}}), per_round=10, num_rounds=4)
    assert [len(chosen) for _, chosen in played] == [10, 20, 5, 5]


@given(share=st.floats(0, 1), budget=st.integers(1, 100), unused=st.integers(0, 60), used=st.integers(0, 60))
@settings(deadline=None)
def test_freshness_keeps_its_share_and_fills_up(share, budget, unused, used):
    n = unused + used
    if n == 0:
        return
    times = np.repeat([0, 2], [unused, used])
    given_ = candidates(n, times_used=times)
    filled = make({"freshness": {"unused_share": share, "budget": budget}}).choose(given_, None, seed=0)
    assert len(filled) == min(budget, n)
    fresh = times[np.isin(given_.keys, filled.keys)] == 0
    wanted = round(share * min(budget, n))
    assert fresh.sum() == min(unused, max(wanted, min(budget, n) - used))
    strict = make({"freshness": {"unused_share": share, "budget": budget, "fill": False}}).choose(given_, None, seed=0)
    if used:
        fresh = times[np.isin(given_.keys, strict.keys)] == 0
        assert len(strict) <= min(budget, n)
        assert abs(fresh.sum() - share * len(strict)) <= 1.5 + share


def test_without_replacement_uses_nothing_twice_before_everything_once():
    selector = make({"without-replacement": {"budget": 30}})
    for given_, chosen in play(selector, per_round=40, num_rounds=8):
        times = given_.times_used + np.isin(given_.keys, chosen.keys)
        assert len(chosen) == 30
        assert given_.times_used[np.isin(given_.keys, chosen.keys)].max() <= given_.times_used.min() + 1
        assert times.max() - given_.times_used.min() <= 2


def test_a_reservoir_never_takes_back_what_it_displaced():
    played = play(make({"reservoir": {"budget": 50}}), per_round=60, num_rounds=10)
    gone: set[int] = set()
    for (_, before), (given_, after) in pairwise(played):
        gone |= set(before.keys.tolist()) - set(after.keys.tolist())
        assert not gone & set(after.keys.tolist())
        assert len(after) == 50
        assert len(given_) > 50


def test_a_reservoir_is_uniform_over_all_that_arrived():
    counts = np.zeros(300)
    for seed in range(300):
        counts[play(make({"reservoir": {"budget": 30}}), per_round=100, num_rounds=3, seed=seed)[-1][1].keys] += 1
    thirds = counts.reshape(3, 100).sum(axis=1)
    assert np.allclose(thirds / thirds.sum(), 1 / 3, atol=0.02)


def test_recency_halves_with_each_half_life():
    n = 100_000
    given_ = candidates(n)
    times = np.repeat([0, 10**6], n // 2)
    given_ = dataclasses.replace(given_, samples=dataclasses.replace(given_.samples, timestamps=times))
    for replace in (False, True):
        chosen = make({"recency-weighted": {"half_life": "1s", "budget": 3000, "replace": replace}}).choose(
            given_, None, seed=1
        )
        old = (times[np.searchsorted(given_.keys, chosen.keys)] == 0).mean()
        assert old == pytest.approx(1 / 3, abs=0.03)
        assert (len(np.unique(chosen.keys)) == 3000) != replace


def test_drawing_with_replacement_takes_samples_several_times():
    given_ = candidates(400)
    chosen = make({"uniform": {"budget": 400, "replace": True}}).choose(given_, None, seed=1)
    assert len(chosen) == 400
    assert len(np.unique(chosen.keys)) == pytest.approx(400 * (1 - np.exp(-1)), abs=25)
    assert (np.diff(chosen.keys) >= 0).all()
    assert np.isin(chosen.keys, given_.keys).all()


def test_groups_drawn_with_replacement_have_equal_shares_however_small_they_are():
    given_ = candidates(400)
    labels = np.repeat([0, 1, 2], [390, 9, 1])
    given_ = dataclasses.replace(given_, samples=dataclasses.replace(given_.samples, labels=labels))
    chosen = make({"balanced": {"budget": 300, "replace": True}}).choose(given_, None, seed=1)
    counts = np.bincount(labels[np.searchsorted(given_.keys, chosen.keys)])
    assert counts.tolist() == [100, 100, 100]
    fair = make({"balanced": {"budget": 300}}).choose(given_, None, seed=1)
    assert np.bincount(labels[np.searchsorted(given_.keys, fair.keys)]).tolist() == [290, 9, 1]


def test_without_a_budget_a_coreset_is_everything_each_standing_for_itself():
    given_ = candidates(300)
    signals = {"gradient": Gradients(np.random.default_rng(0).normal(size=(300, 3)), None)}
    for name in ("gradmatch", "craig"):
        chosen = make({name: {}}).choose(given_, signals, seed=0)
        assert chosen.keys.tolist() == given_.keys.tolist()
        assert chosen.weights is None


def test_ages_of_thousands_of_half_lives_are_no_problem():
    given_ = candidates(50)
    chosen = make({"recency-weighted": {"half_life": "1us", "budget": 20}}).choose(given_, None, seed=0)
    assert chosen.keys.tolist() == given_.keys[-20:].tolist()


@given(n=st.integers(1, 60), budget=st.integers(1, 60), num_epochs=st.integers(1, 12), seed=st.integers(0, 99))
@settings(deadline=None)
def test_rs2_walks_through_disjoint_chunks_until_all_are_used(n, budget, num_epochs, seed):
    selector = make({"rs2": {"budget": budget}})
    given_ = candidates(n)
    times = np.zeros(n, int)
    for epoch in range(num_epochs):
        chosen = selector.choose(dataclasses.replace(given_, epoch=epoch), None, seed=seed)
        assert len(np.unique(chosen.keys)) == len(chosen) == min(budget, n)
        times += np.isin(given_.keys, chosen.keys)
        assert times.max() - times.min() <= 1


def test_rs2_with_replacement_draws_each_epoch_independently():
    selector = make({"rs2": {"budget": 50, "replace": True}})
    given_ = candidates(100)
    drawn = [set(selector.choose(dataclasses.replace(given_, epoch=e), None, seed=0).keys.tolist()) for e in (0, 1)]
    assert 10 < len(drawn[0] & drawn[1]) < 45


def test_deduplicate_keeps_one_of_each_kind():
    columns = {
        "pixels": np.array([[1, 2], [1, 2], [3, 4], [1, 2]], np.uint8),
        "text": np.array(["a", "a", "b", "c"], object),
        "raw": np.empty(4, object),
    }
    columns["raw"][:] = [memoryview(b"xx"), memoryview(b"xx"), memoryview(b"yy"), memoryview(b"xx")]
    given_ = candidates(4, columns=columns)
    keys = given_.keys

    def kept(**options):
        return make({"deduplicate": options}).choose(given_, None, seed=0).keys.tolist()

    assert kept(by=["pixels"]) == keys[[2, 3]].tolist()
    assert kept(by=["pixels"], keep="first") == keys[[0, 2]].tolist()
    assert kept(by=["raw"], keep="first") == keys[[0, 2]].tolist()
    assert kept(by=["pixels", "text"], keep="first") == keys[[0, 2, 3]].tolist()
    assert len(kept(by=["pixels", "text"], budget=2)) == 2
    with pytest.raises(ConfigError, match=r"no column 'pixel'\. Did you mean 'pixels'"):
        kept(by=["pixel"])


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(allow_nan=True)), min_size=1, max_size=30))
def test_deduplicate_agrees_with_a_plain_loop(rows):
    given_ = candidates(len(rows), columns={"a": np.array([a for a, _ in rows]), "b": np.array([b for _, b in rows])})
    seen, first = set(), []
    for key, (a, b) in zip(given_.keys.tolist(), rows, strict=True):
        kind = (a, "nan" if b != b else b)
        if kind not in seen:
            seen.add(kind)
            first.append(key)
    chosen = make({"deduplicate": {"by": ["a", "b"], "keep": "first"}}).choose(given_, None, seed=0)
    assert chosen.keys.tolist() == first


def test_a_schedule_switches_at_its_rounds():
    selector = make(
        {
            "schedule": {
                "history": "round",
                "steps": [{"use": "all"}, {"start": 2, "use": {"uniform": {"budget": 3, "history": "all"}}}],
            }
        }
    )
    assert [len(chosen) for _, chosen in play(selector, per_round=10, num_rounds=4)] == [10, 10, 3, 3]
    assert selector.for_round(0).history.last == 1
    assert selector.for_round(2).history.last is None


def test_a_schedule_means_the_same_when_it_is_read_from_its_own_document():
    """A run keeps its pipeline with every option spelt out, and goes on with that."""
    inner = {
        "schedule": {"warmup_rounds": 1, "steps": [{"use": "newest"}, {"start": 2, "use": {"uniform": {"budget": 3}}}]}
    }
    selector = make({"schedule": {"budget": "20%", "steps": [{"use": inner}, {"start": 4, "use": "all"}]}})
    again = make(to_document(selector))
    assert again == selector
    for number, budget in enumerate((0.2, 0.2, 3, 3, 0.2)):
        assert again.for_round(number).budget == budget
    assert [again.for_round(number).warmup_rounds for number in (0, 3, 4)] == [1, 1, 0]


def test_a_schedule_hands_its_options_on_before_its_steps_are_checked():
    at_batch = {"loss": {"at": "batch"}}
    assert make({"schedule": {"budget": "50%", "steps": [{"use": at_batch}]}}).for_round(0).in_batch.share == 0.5
    assert Schedule(steps=[Step(use=Uniform(history="round"))], budget=4).for_round(0) == Uniform(
        history="round", budget=4
    )
    with pytest.raises(ConfigError, match=r"selector\.schedule\.steps\.0\.use\.loss: at: batch needs a budget"):
        make({"schedule": {"steps": [{"use": at_batch}]}})
    with pytest.raises(ConfigError, match=r"steps\.0\.use\.loss: at: batch picks within each batch; balance_by"):
        make({"schedule": {"budget": "50%", "balance_by": "label", "steps": [{"use": at_batch}]}})
    with pytest.raises(ConfigError, match=r"steps\.0\.use: no selector is named 'alll'"):
        make({"schedule": {"steps": [{"use": "alll"}]}})


def test_balancing_needs_one_value_a_sample():
    given_ = dataclasses.replace(candidates(4), columns={"x": np.zeros((4, 2))})
    with pytest.raises(ConfigError, match=r"balancing needs one value a sample, and column 'x' holds \[2\]"):
        make({"uniform": {"budget": 2, "balance_by": "x"}}).choose(given_, None, seed=0)


def test_a_schedule_must_rise_from_round_0():
    with pytest.raises(ConfigError, match="must start at round 0 and rise; got 1, 1"):
        make({"schedule": {"steps": [{"start": 1, "use": "all"}, {"start": 1, "use": "newest"}]}})


@pytest.mark.parametrize(
    "document",
    [
        "all",
        {"uniform": {"budget": 7}},
        {"balanced": {"budget": 7}},
        {"freshness": {"budget": 7}},
        {"reservoir": {"budget": 7}},
        {"without-replacement": {"budget": 7}},
        {"rs2": {"budget": 7}},
        {"recency-weighted": {"budget": 7, "half_life": "1s"}},
        {"deduplicate": {"budget": 7, "by": ["label"]}},
        {"uniform": {"budget": 7, "balance_by": "label"}},
    ],
    ids=str,
)
def test_nothing_to_choose_from_gives_nothing(document):
    assert len(make(document).choose(candidates(0), None, seed=0)) == 0
