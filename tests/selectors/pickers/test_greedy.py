"""Submodular pickers: lazy equals naive, and greedy keeps its guarantee against brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import ConfigError
from modyn.policy import build
from modyn.selectors.pickers import Picker, facility_location, points
from modyn.selectors.pickers.facility_location import Cover, FacilityLocation
from modyn.selectors.pickers.graph_cut import GraphCut
from modyn.selectors.pickers.log_determinant import LogDeterminant, rows_of
from modyn.types import Gradients

GUARANTEE = 1 - 1 / np.e
SUBMODULAR = [
    {"facility-location": {}},
    {"facility-location": {"metric": "cosine"}},
    {"graph-cut": {}},
    {"graph-cut": {"metric": "euclidean"}},
    {"log-determinant": {}},
]


def likeness(x: np.ndarray, metric: str) -> np.ndarray:
    if metric == "cosine":
        unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
        return (1 + unit @ unit.T) / 2
    centred = x - x.mean(axis=0)
    ceiling = 2 * np.linalg.norm(centred, axis=1).max()
    return ceiling - np.linalg.norm(x[:, None] - x[None], axis=2)


def value_of(picker: Picker, x: np.ndarray, rows) -> float:
    """The set function by its formula, with full matrices."""
    rows = list(rows)
    if isinstance(picker, LogDeterminant):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return float(np.linalg.slogdet(np.eye(len(rows)) + unit[rows] @ unit[rows].T / picker.ridge)[1])
    s = likeness(x, picker.metric)
    if isinstance(picker, FacilityLocation):
        return float(s[rows].max(axis=0).sum())
    assert isinstance(picker, GraphCut)
    return float(s[rows].sum() - picker.redundancy * s[np.ix_(rows, rows)].sum())


@pytest.mark.parametrize("document", SUBMODULAR, ids=str)
@given(n=st.integers(2, 11), budget=st.integers(1, 4), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_greedy_reaches_its_share_of_the_best_value(document, n, budget, seed):
    x = np.random.default_rng(seed).standard_normal((n, 3))
    picker = build(Picker, document)
    budget = min(budget, n)
    rows = picker.pick(x, budget, np.random.default_rng(0)).rows
    best = max(value_of(picker, x, chosen) for chosen in combinations(range(n), budget))
    assert value_of(picker, x, rows) >= GUARANTEE * best - 1e-4


@pytest.mark.parametrize("document", SUBMODULAR, ids=str)
@given(
    n=st.integers(1, 300),
    budget=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    copies=st.integers(1, 3),
    factored=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_lazy_takes_exactly_what_naive_takes(document, n, budget, seed, copies, factored):
    rng = np.random.default_rng(seed)
    x = np.tile(rng.standard_normal((n, 4)).round(1), (copies, 1)).astype(np.float32)
    signal = Gradients(x[:, :2], x[:, 2:]) if factored else x
    ((name, options),) = document.items()
    taken = {
        method: build(Picker, {name: {**options, "method": method}}).pick(signal, budget, np.random.default_rng(0)).rows
        for method in ("lazy", "naive")
    }
    assert taken["lazy"].tolist() == taken["naive"].tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_lazy_takes_exactly_what_naive_takes_when_pairs_are_not_kept(metric, monkeypatch):
    monkeypatch.setattr(facility_location, "KEPT_BYTES", 0)
    x = np.random.default_rng(3).standard_normal((700, 16)).astype(np.float32)
    x[350:] = x[:350]
    lazy = FacilityLocation(metric=metric).pick(x, 60, np.random.default_rng(0))
    naive = FacilityLocation(metric=metric, method="naive").pick(x, 60, np.random.default_rng(0))
    assert lazy.rows.tolist() == naive.rows.tolist()
    assert lazy.weights.tolist() == naive.weights.tolist()


@pytest.mark.parametrize("factored", [False, True])
def test_each_pair_of_points_counts_in_the_sum_of_distances_of_both(factored):
    rng = np.random.default_rng(1)
    e, h = rng.standard_normal((1300, 3)).astype(np.float32), rng.standard_normal((1300, 5)).astype(np.float32)
    given_points = points.points_of(Gradients(e, h) if factored else e)
    wide = given_points.exact(np.arange(1300), np.arange(1300))
    squares = np.diag(wide)
    direct = np.sqrt(np.maximum(squares[:, None] + squares - 2 * wide, 0)).sum(axis=1)
    norms = given_points.squared_norms.astype(np.float32)
    assert np.allclose(points.total_distances(given_points, norms), direct, rtol=1e-4)
    to_some = np.sqrt(np.maximum(squares[:, None] + squares - 2 * wide, 0))[:, :600].sum(axis=1)
    assert np.allclose(points.total_distances(given_points, norms, 600), to_some, rtol=1e-4)


@pytest.mark.parametrize("document", SUBMODULAR, ids=str)
def test_each_step_takes_the_row_that_adds_most_by_the_formula(document):
    x = np.random.default_rng(5).standard_normal((30, 4))
    picker = build(Picker, document)
    rows = picker.pick(x, 8, np.random.default_rng(0)).rows.tolist()
    for step in range(8):
        values = [value_of(picker, x, [*rows[:step], row]) for row in range(30) if row not in rows[:step]]
        assert value_of(picker, x, rows[: step + 1]) >= max(values) - 1e-5


@pytest.mark.parametrize("document", SUBMODULAR, ids=str)
def test_stochastic_greedy_comes_near(document):
    x = np.random.default_rng(7).standard_normal((200, 4))
    ((name, options),) = document.items()
    picker = build(Picker, {name: {**options, "method": "stochastic"}})
    values = [value_of(picker, x, picker.pick(x, 20, np.random.default_rng(seed)).rows) for seed in range(5)]
    lazy = value_of(picker, x, build(Picker, document).pick(x, 20, np.random.default_rng(0)).rows)
    assert np.mean(values) >= 0.95 * lazy


@given(
    n=st.integers(1, 60),
    budget=st.integers(1, 20),
    seed=st.integers(0, 999),
    metric=st.sampled_from(["euclidean", "cosine"]),
)
@settings(max_examples=40, deadline=None)
def test_facility_location_weights_are_cluster_sizes_and_sum_to_n(n, budget, seed, metric):
    x = np.random.default_rng(seed).standard_normal((n, 3))
    picked = FacilityLocation(metric=metric).pick(x, budget, np.random.default_rng(0))
    assert picked.weights.sum() == n
    assert np.all(picked.weights >= 1)
    nearest = likeness(x, metric)[picked.rows].argmax(axis=0)
    assert np.bincount(nearest, minlength=len(picked.rows)).tolist() == picked.weights.tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_sample_stands_for_all_rows_in_the_function_but_all_may_be_taken_and_all_are_counted(metric):
    x = np.random.default_rng(2).standard_normal((900, 4)).astype(np.float32)
    exact = FacilityLocation(metric=metric).pick(x, 30, np.random.default_rng(0))
    sampled = FacilityLocation(metric=metric, sample=300).pick(x, 30, np.random.default_rng(0))
    values = [
        value_of(FacilityLocation(metric=metric), x.astype(float), list(picked.rows)) for picked in (exact, sampled)
    ]
    assert 0.97 * values[0] <= values[1] < values[0]
    assert sampled.weights.sum() == 900
    seen = np.random.default_rng(0).permutation(900)[:300]
    assert not np.isin(sampled.rows, seen).all(), "rows outside the sample may be taken"
    naive = FacilityLocation(metric=metric, sample=300, method="naive").pick(x, 30, np.random.default_rng(0))
    assert naive.rows.tolist() == sampled.rows.tolist()


def test_many_points_are_represented_by_a_sample_without_being_asked(monkeypatch):
    monkeypatch.setattr(facility_location, "MOST_EXACT", 500)
    monkeypatch.setattr(facility_location, "SAMPLED", 200)
    x = np.random.default_rng(2).standard_normal((600, 4)).astype(np.float32)
    unasked, asked = (FacilityLocation(sample=n).pick(x, 20, np.random.default_rng(0)) for n in (None, 200))
    assert unasked.rows.tolist() == asked.rows.tolist()
    everything = FacilityLocation(sample=600).pick(x, 20, np.random.default_rng(0))
    assert everything.rows.tolist() != asked.rows.tolist()


def test_per_class_in_parallel_gives_what_each_class_gives_alone():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((800, 6)).astype(np.float32), rng.integers(4, size=800)
    together = FacilityLocation(per_class=True).pick(x, 40, np.random.default_rng(1), labels=labels)
    for label in range(4):
        rows = np.flatnonzero(labels == label)
        alone = FacilityLocation().pick(x[rows], 10, np.random.default_rng(1))
        mine = labels[together.rows] == label
        assert together.rows[mine].tolist() == rows[alone.rows].tolist()
        assert together.weights[mine].tolist() == alone.weights.tolist()


def test_per_class_weights_sum_to_n_too():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=90)
    picked = FacilityLocation(per_class=True).pick(rng.standard_normal((90, 3)), 20, rng, labels=labels)
    assert picked.weights.sum() == 90
    assert np.bincount(labels[picked.rows], picked.weights).tolist() == np.bincount(labels).tolist()


def test_the_value_that_a_cover_reports_is_the_formula():
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    for metric in ("euclidean", "cosine"):
        cover = Cover(points.points_of(x), metric)
        for row in (3, 40, 7):
            cover.add(row)
        expected = value_of(FacilityLocation(metric=metric), x.astype(float), [3, 40, 7])
        assert cover.value == pytest.approx(expected, rel=1e-5)


def test_factored_gradients_give_what_written_out_gradients_give():
    rng = np.random.default_rng(0)
    factored = Gradients(
        rng.standard_normal((80, 3)).astype(np.float32), rng.standard_normal((80, 5)).astype(np.float32)
    )
    with_bias = np.concatenate([factored.embeddings, np.ones((80, 1))], axis=1)
    written = np.einsum("ic,ih->ich", factored.errors, with_bias).reshape(80, -1)
    assert np.allclose(rows_of(factored) @ rows_of(factored).T, rows_of(written) @ rows_of(written).T, atol=1e-5)
    for document in [*SUBMODULAR[:4], "k-center", "herding", "matching-pursuit"]:
        picker = build(Picker, document)
        one = picker.pick(factored, 12, np.random.default_rng(0)).rows.tolist()
        two = picker.pick(written, 12, np.random.default_rng(0)).rows.tolist()
        assert one == two, document


def test_log_determinant_refuses_gradients_too_wide_to_write_out():
    wide = Gradients(np.ones((3, 100), np.float32), np.ones((3, 100), np.float32))
    with pytest.raises(ConfigError, match="at most 4096 numbers a sample; this one has 10100"):
        LogDeterminant().pick(wide, 1, np.random.default_rng(0))
