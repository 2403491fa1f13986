"""The metrics against scipy, scikit-learn, direct formulas and known distributions."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from modyn.drift import DriftMetric, benjamini_hochberg, project
from modyn.drift.anderson_darling import AndersonDarling, limit_p_value
from modyn.drift.chi2 import Chi2
from modyn.drift.classifier import auc_of_folds
from modyn.drift.cramer_von_mises import CramerVonMises
from modyn.drift.energy import Energy
from modyn.drift.hellinger import Hellinger
from modyn.drift.jensen_shannon import JensenShannon
from modyn.drift.kernels import median_distance
from modyn.drift.kl import Kl, kl
from modyn.drift.ks import Ks
from modyn.drift.lsdd import Lsdd
from modyn.drift.mean_distance import MeanDistance
from modyn.drift.mmd import Mmd, linear_mmd2, mmd2
from modyn.drift.psi import Psi, psi
from modyn.drift.wasserstein import Wasserstein
from modyn.policy import build

RNG = np.random.default_rng(7)
LEFT, RIGHT = RNG.normal(size=200), RNG.normal(0.3, 1.2, size=150)
TIED = np.round(LEFT, 1), np.round(RIGHT, 1)
both = pytest.mark.parametrize("windows", [(LEFT, RIGHT), TIED, (LEFT[:7], RIGHT[:5])], ids=["free", "tied", "small"])


@both
def test_ks_is_that_of_scipy(windows):
    found, expected = Ks().distance(*windows), stats.ks_2samp(*windows, method="asymp")
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


@both
def test_cramer_von_mises_is_that_of_scipy(windows):
    found, expected = CramerVonMises().distance(*windows), stats.cramervonmises_2samp(*windows)
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


@both
def test_anderson_darling_is_that_of_scipy_and_so_is_its_p_value_where_scipys_is_not_capped(windows):
    found = AndersonDarling().distance(*windows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stats.anderson_ksamp(list(windows), variant="midrank")
    assert found.value == pytest.approx(expected.statistic)
    if 0.002 < expected.pvalue < 0.24:
        assert found.p_value == pytest.approx(expected.pvalue, rel=0.1)


@pytest.mark.parametrize(("value", "level"), [(1.933, 0.10), (2.492, 0.05), (3.070, 0.025), (3.878, 0.01)])
def test_the_anderson_darling_limit_has_the_published_quantiles(value, level):
    assert limit_p_value(value) == pytest.approx(level, rel=0.01)


@both
def test_wasserstein_is_that_of_scipy(windows):
    assert Wasserstein(scaled=False).distance(*windows).value == pytest.approx(stats.wasserstein_distance(*windows))


@both
def test_energy_of_one_column_is_that_of_scipy(windows):
    assert Energy().distance(*windows).value == pytest.approx(stats.energy_distance(*windows), rel=1e-6)


def test_energy_of_rows_is_the_formula():
    x, y = RNG.normal(size=(80, 4)), RNG.normal(0.2, 1, size=(60, 4))
    expected = np.sqrt(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean())
    assert Energy().distance(x, y).value == pytest.approx(expected)
    assert Energy(permutations=9).distance(x, y).value == pytest.approx(expected)


def test_jensen_shannon_is_that_of_scipy():
    from scipy.spatial.distance import jensenshannon

    edges = np.histogram_bin_edges(np.concatenate([LEFT, RIGHT]), 20)
    expected = jensenshannon(np.histogram(LEFT, edges)[0], np.histogram(RIGHT, edges)[0], base=2)
    assert JensenShannon().distance(LEFT, RIGHT).value == pytest.approx(expected)


def shares(edges, floor):
    """Of both windows' values in bins, each with a floor added and scaled to 1 again."""
    for window in (LEFT, RIGHT):
        share = np.histogram(np.clip(window, edges[0], edges[-1]), edges)[0] / len(window) + floor
        yield share / share.sum()


def test_hellinger_is_the_formula_over_numpys_bins():
    p, q = shares(np.histogram_bin_edges(np.concatenate([LEFT, RIGHT]), 20), 0)
    expected = np.sqrt(1 - np.sqrt(p * q).sum())
    assert Hellinger().distance(LEFT, RIGHT).value == pytest.approx(expected)


def test_binned_kl_and_psi_are_scipys_entropies_over_numpys_bins():
    p, q = shares(np.histogram_bin_edges(np.concatenate([LEFT, RIGHT]), 20), 1e-4)
    assert Kl().distance(LEFT, RIGHT).value == pytest.approx(stats.entropy(q, p))
    p, q = shares(np.quantile(LEFT, np.linspace(0, 1, 11)), 1e-4)
    assert Psi().distance(LEFT, RIGHT).value == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_windows_too_small_for_a_test_have_no_share_of_significant_columns():
    found = CramerVonMises(combine="bonferroni").distance(np.array([[1.0]]), np.array([[2.0], [3.0]]))
    assert np.isnan(found.value)
    assert found.p_value is None


def test_the_linear_form_is_certain_of_constant_windows_that_differ():
    metric = Mmd(form="linear")
    assert metric.distance(np.zeros((50, 1)), np.ones((50, 1))).p_value == 0
    assert metric.distance(np.zeros((50, 1)), np.zeros((50, 1))).p_value == 1


def test_kl_and_psi_are_scipys_entropies():
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    assert kl(p, q) == pytest.approx(stats.entropy(p, q))
    assert psi(p, q) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_chi2_is_scipys_contingency_test():
    x, y = RNG.integers(0, 4, 100), RNG.integers(0, 5, 130)
    table = [np.bincount(x, minlength=5), np.bincount(y, minlength=5)]
    expected = stats.chi2_contingency(table, correction=False)
    found = Chi2(measure_as="statistic").distance(x, y)
    assert (found.value, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert Chi2().distance(x, y).value == pytest.approx(stats.contingency.association(np.array(table)))


@pytest.mark.parametrize("norm", ["euclidean", "cosine", "cityblock"])
def test_mean_distance_is_that_of_scipy(norm):
    x, y = RNG.normal(1, 1, size=(20, 4)), RNG.normal(2, 1, size=(30, 4))
    expected = cdist(x.mean(axis=0)[None], y.mean(axis=0)[None], norm)[0, 0]
    assert MeanDistance(norm=norm).distance(x, y).value == pytest.approx(expected)


def _plain_mmd2(x, y, bandwidth, biased):
    gamma = 0.5 / bandwidth**2
    xx, yy, xy = rbf_kernel(x, x, gamma), rbf_kernel(y, y, gamma), rbf_kernel(x, y, gamma)
    n, m = len(x), len(y)
    if biased:
        return xx.mean() + yy.mean() - 2 * xy.mean()
    return (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "tolerance"), [((300, 200), 1e-12), ((1300, 2100), 2e-7)], ids=["float64", "float32"])
def test_blocked_mmd_is_the_plain_formula(rows, tolerance, biased):
    x, y = RNG.normal(size=(rows[0], 16)), RNG.normal(0.1, 1, size=(rows[1], 16))
    expected = _plain_mmd2(x, y, 4.0, biased)
    assert mmd2(x, y, bandwidth=4.0, biased=biased) == pytest.approx(expected, abs=tolerance)
    permuted = Mmd(bandwidth=4.0, form="biased" if biased else "unbiased", permutations=3).distance(x, y)
    assert permuted.value == pytest.approx(expected, abs=tolerance)


def test_small_windows_of_float32_are_compared_in_float32_and_as_exactly_as_matters():
    x, y = RNG.normal(size=(250, 64)), RNG.normal(0.1, 1, size=(250, 64))
    exact, quick = Mmd().distance(x, y), Mmd().distance(x.astype(np.float32), y.astype(np.float32))
    assert quick.value == pytest.approx(exact.value, abs=1e-6)


def test_mmd_does_not_lose_its_digits_far_from_the_origin():
    x, y = RNG.normal(size=(1500, 4)), RNG.normal(0.1, 1, size=(1500, 4))
    far = mmd2((x + 1e4).astype(np.float64), y + 1e4, bandwidth=2.0)
    assert far == pytest.approx(_plain_mmd2(x, y, 2.0, False), abs=1e-6)


def test_linear_and_fourier_forms_agree_with_the_quadratic_one():
    x, y = RNG.normal(size=(3000, 2)), RNG.normal(1, 1, size=(3000, 2))
    exact = Mmd(bandwidth=1.5, form="biased").distance(x, y).value
    assert Mmd(bandwidth=1.5, form="fourier", num_features=1000).distance(x, y).value == pytest.approx(exact, rel=0.1)
    assert linear_mmd2(x, y, bandwidth=1.5).value == pytest.approx(exact, rel=0.25)


def test_the_median_heuristic_is_the_median_of_the_pairs_and_survives_equal_rows():
    left, right = LEFT[:100], RIGHT[:100]
    pooled = np.concatenate([left, right])[:, None]
    pairs = np.abs(pooled - pooled.T)[np.triu_indices(len(pooled), 1)]
    assert median_distance(left[:, None], right[:, None]) == pytest.approx(np.median(pairs))
    mostly_equal = np.array([[0.0]] * 9 + [[2.0]])
    assert median_distance(mostly_equal, mostly_equal) == pytest.approx(2.0)
    assert median_distance(np.ones((3, 1)), np.ones((3, 1))) == 1.0


def test_lsdd_estimates_the_l2_distance_between_two_normal_densities():
    x, y = RNG.normal(size=4000), RNG.normal(1, 1, size=4000)
    width = 0.7
    exact = (1 - np.exp(-0.25)) / np.sqrt(np.pi)
    found = Lsdd(bandwidth=width, ridge=1e-3).distance(x, y).value / np.sqrt(np.pi * width**2)
    assert found == pytest.approx(exact, rel=0.1)


def test_the_auc_of_one_fold_is_that_of_scikit_learn_and_its_p_value_that_of_the_rank_sum_test():
    truth, score = RNG.integers(0, 2, 100), np.round(RNG.normal(size=100), 1)
    found = auc_of_folds([truth], [score])
    assert found.value == pytest.approx(roc_auc_score(truth, score))
    expected = stats.mannwhitneyu(
        score[truth == 1], score[truth == 0], alternative="greater", method="asymptotic", use_continuity=False
    )
    assert found.p_value == pytest.approx(expected.pvalue)


def test_benjamini_hochberg_is_that_of_scipy():
    p_values = RNG.uniform(size=50) ** 2
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_projection_is_scikit_learns_pca_up_to_sign():
    from sklearn.decomposition import PCA

    x, y = RNG.normal(size=(50, 6)), RNG.normal(size=(40, 6))
    model = PCA(3).fit(x)
    for found, expected in zip(project(x, y, components=3), (model.transform(x), model.transform(y)), strict=True):
        assert np.abs(found) == pytest.approx(np.abs(expected))


UNIFORM = [
    ("ks", (300, 400), 1),
    ("cramer-von-mises", (60, 50), 1),
    ("anderson-darling", (60, 50), 1),
    ({"chi2": {}}, (400, 300), 1),
    ({"mmd": {"permutations": 99}}, (30, 40), 3),
    ({"mmd": {"form": "fourier", "permutations": 99, "num_features": 32}}, (30, 40), 3),
    ({"mmd": {"form": "linear"}}, (400, 400), 2),
    ({"energy": {"permutations": 99}}, (30, 40), 3),
    ({"mean-distance": {"permutations": 99}}, (30, 40), 3),
    ({"lsdd": {"permutations": 99, "centres": 30}}, (30, 40), 3),
    ({"wasserstein": {"permutations": 99}}, (20, 30), 1),
]


@pytest.mark.parametrize(("document", "rows", "columns"), UNIFORM, ids=lambda v: str(v))
def test_p_values_are_uniform_without_drift(document, rows, columns):
    metric, rng = build(DriftMetric, document), np.random.default_rng(3)
    p_values = []
    for repeat in range(500):
        left, right = rng.normal(size=(rows[0], columns)), rng.normal(size=(rows[1], columns))
        if "chi2" in str(document):
            left, right = np.clip(np.round(left), -1, 1), np.clip(np.round(right), -1, 1)
        p_values.append(metric.distance(left, right, seed=repeat).p_value)
    assert stats.kstest(np.array(p_values), "uniform").pvalue > 0.001
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("combine", ["bonferroni", "benjamini-hochberg"])
def test_corrected_p_values_of_many_columns_hold_their_level_without_drift(combine):
    metric, rng = Ks(combine=combine), np.random.default_rng(5)
    found = [metric.distance(rng.normal(size=(100, 5)), rng.normal(size=(100, 5))).p_value for _ in range(100)]
    assert np.mean(np.array(found) <= 0.05) <= 0.1


def test_a_classifiers_p_value_is_rarely_small_without_drift():
    metric, rng = build(DriftMetric, "classifier"), np.random.default_rng(5)
    found = [metric.distance(rng.normal(size=(60, 2)), rng.normal(size=(60, 2))).p_value for _ in range(40)]
    assert np.mean(np.array(found) <= 0.05) <= 0.1


@pytest.mark.parametrize(("document", "rows", "columns"), UNIFORM, ids=lambda v: str(v))
def test_power_grows_with_the_shift(document, rows, columns):
    metric, rng = build(DriftMetric, document), np.random.default_rng(3)
    found = []
    for shift in (0.0, 0.6, 1.8):
        rejected = 0
        for repeat in range(30):
            left, right = rng.normal(size=(rows[0], columns)), rng.normal(shift, 1, size=(rows[1], columns))
            if "chi2" in str(document):
                left, right = np.round(left), np.round(right)
            rejected += metric.distance(left, right, seed=repeat).p_value <= 0.05
        found.append(rejected)
    assert found[0] <= 6 < found[2]
    assert found == sorted(found)
    assert found[2] >= 29


@pytest.mark.slow
@pytest.mark.parametrize("form", ["unbiased", "linear", "fourier"])
def test_mmd_of_20_000_by_20_000_rows_of_512_needs_less_than_500_mb(form):
    x = np.random.default_rng(0).standard_normal((20_000, 512), dtype=np.float32)
    y = np.random.default_rng(1).standard_normal((20_000, 512), dtype=np.float32)
    tracemalloc.start()
    Mmd(form=form, permutations=20 if form != "linear" else 0).distance(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6
