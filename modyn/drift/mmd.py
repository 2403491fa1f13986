"""Maximum mean discrepancy with an RBF kernel."""

from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from modyn.drift import Distance, DriftMetric, SquaredDistances, memberships, permutation_p_value
from modyn.drift.kept import median_of, permuted_sums_of, sums_of
from modyn.drift.kernels import Sums, median_distance, one_blas_thread, permuted_sums, prepared, rbf, sums
from modyn.types import Array


class Mmd(DriftMetric):
    """The squared maximum mean discrepancy between both windows, with the kernel exp(-d^2 / (2 bandwidth^2)).

    Gretton et al. 2012, "A Kernel Two-Sample Test"; random Fourier features by Rahimi and Recht 2007, Zhao and Meng 2015. The unbiased form is
    below 0 about half the time without drift, and needs two rows in each window (NaN with fewer); the linear form needs two as well, and its
    p-value comes from the normal limit. The cost is n^2 d for the unbiased and biased forms, n d for the linear, n d features for the Fourier form.

    >>> import numpy as np
    >>> metric = Mmd(bandwidth=1.0, form="biased")
    >>> round(metric.distance(np.zeros((5, 1)), np.ones((5, 1))).value, 6)  # 2 - 2 exp(-1/2)
    0.786939
    """

    bandwidth: PositiveFloat | None = Field(
        None, allow_inf_nan=False, description="the kernel's width (null = the median distance)"
    )
    form: Literal["unbiased", "biased", "linear", "fourier"] = Field("unbiased", description="which estimate of it")
    permutations: NonNegativeInt = Field(0, description="permutations for the p-value (0 = none)")
    num_features: PositiveInt = Field(512, description="random frequencies of the fourier form")

    @model_validator(mode="after")
    def _of_its_form(self) -> "Mmd":
        if self.form == "linear" and self.permutations:
            raise ValueError("permutations: the linear form has a p-value without them; leave them out")
        if self.form != "fourier" and self.num_features != type(self).model_fields["num_features"].default:
            raise ValueError(f"num_features is for form: fourier; got form: {self.form}")
        return self

    @property
    def gives_p_value(self) -> bool:
        return self.form == "linear" or self.permutations > 0

    @property
    def needs_rows(self) -> bool:
        return self.pca is not None or self.form in ("linear", "fourier")

    def of_distances(self, squared: SquaredDistances, *, seed: int) -> Distance:
        m, n = squared.between.shape
        # The distances are exact enough that none is below 0, so the kernel need not be kept from exceeding 1.
        kernel = rbf(self.bandwidth or median_of(squared))._replace(finish=lambda tile: np.exp(tile, out=tile))
        if self.permutations:
            members = memberships(n, m, permutations=self.permutations, seed=seed)
            values = _estimates(permuted_sums_of(squared, kernel, members), n, m, self.form)
        else:
            values = _estimates(sums_of(squared, kernel), n, m, self.form)
        return Distance(float(values[0]), permutation_p_value(values))

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        with one_blas_thread():
            return self._measure(*prepared(reference, current), seed=seed)

    def _measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        width = self.bandwidth or median_distance(reference, current)
        if self.form == "linear":
            return linear_mmd2(reference, current, bandwidth=width, seed=seed)
        count = self.permutations
        members = memberships(len(reference), len(current), permutations=count, seed=seed) if count else None
        if self.form == "fourier":
            values = _fourier(reference, current, width, members=members, num_features=self.num_features, seed=seed)
        elif members is None:
            values = _estimates(sums(reference, current, rbf(width)), len(reference), len(current), self.form)
        else:
            found = permuted_sums(reference, current, rbf(width), members)
            values = _estimates(found, len(reference), len(current), self.form)
        return Distance(float(values[0]), permutation_p_value(values))


def mmd2(reference: Array, current: Array, *, bandwidth: float, biased: bool = False) -> float:
    """The squared MMD between ``reference[n, d]`` and ``current[m, d]``; NaN if unbiased and a window has a single row.

    >>> round(mmd2(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]), bandwidth=1.0), 6)
    -0.393469
    """
    form = "biased" if biased else "unbiased"
    return Mmd(bandwidth=bandwidth, form=form).distance(reference, current).value


def _estimates(found: Sums, n: int, m: int, form: str) -> Array:
    """The estimate for each division of the rows, from the sums over pairs of different rows; k(x, x) is 1."""
    if form == "biased":
        return np.atleast_1d((found.reference + n) / n**2 + (found.current + m) / m**2 - 2 * found.between / (n * m))
    if min(n, m) < 2:
        return np.array([np.nan])
    return np.atleast_1d(found.reference / (n * (n - 1)) + found.current / (m * (m - 1)) - 2 * found.between / (n * m))


def linear_mmd2(reference: Array, current: Array, *, bandwidth: float, seed: int = 0) -> Distance:
    """The linear-time estimate, of disjoint pairs of randomly ordered rows, with its p-value in the normal limit (Gretton et al. 2012, section 6)."""
    rng, pairs = np.random.default_rng(seed), min(len(reference), len(current)) // 2
    if not pairs:
        return Distance(float("nan"))
    x = reference[rng.permutation(len(reference))[: 2 * pairs]].reshape(pairs, 2, -1)
    y = current[rng.permutation(len(current))[: 2 * pairs]].reshape(pairs, 2, -1)

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray(np.exp(-((a - b) ** 2).sum(axis=1, dtype=np.float64) / (2 * bandwidth**2)))

    terms = kernel(x[:, 0], x[:, 1]) + kernel(y[:, 0], y[:, 1]) - kernel(x[:, 0], y[:, 1]) - kernel(x[:, 1], y[:, 0])
    value, error = float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(pairs)) if pairs > 1 else 0.0
    if error == 0:
        return Distance(value, 1.0 if value <= 0 else 0.0 if pairs > 1 else None)
    from scipy.stats import norm

    return Distance(value, float(norm.sf(value / error)))


def _fourier(
    reference: Array, current: Array, bandwidth: float, *, members: Array | None, num_features: int, seed: int
) -> Array:
    """The biased estimate in random Fourier features for each division of the rows; one block of rows after the other."""
    pooled = np.concatenate([reference, current])
    frequencies = np.random.default_rng(seed + 1).normal(size=(pooled.shape[1], num_features)) / bandwidth
    frequencies = frequencies.astype(pooled.dtype)
    if members is None:
        members = memberships(len(reference), len(current), permutations=0, seed=0)
    weights = members / len(reference) - (1 - members) / len(current)
    means = np.zeros((weights.shape[1], 2 * num_features))
    for start in range(0, len(pooled), 4096):
        angles = pooled[start : start + 4096] @ frequencies
        means += weights[start : start + 4096].T @ np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray((means**2).sum(axis=1) / num_features)
